// SPDX-License-Identifier: GPL-2.0

//! Whether what a state says about a unit is what the unit does.
//!
//! The states of several iommufds can speak of one unit. Each is held against the hardware alone,
//! so that one that is wrong stands alone, and then those that are right against each other.

use crate::{
    check::{
        sorted,
        Key, //
    },
    error,
    records::{
        Device,
        Domain,
        PciAddress,
        Tree,
        Unit,
        TABLE_SIZE, //
    },
    runs::{
        Run,
        RunList,
        MAX_PAGES, //
    },
    vtd::{
        self,
        Capability, //
    }, //
};
use core::fmt;

/// The memory of the previous kernel.
pub trait Memory: vtd::Memory {
    /// How many pages the previous kernel has preserved together from `address` on, a power of two.
    ///
    /// Returns [`None`] if there are none that nobody has claimed yet, in memory that nobody can have
    /// been given meanwhile.
    fn preserved_pages(&self, address: u64) -> Option<u64>;
}

/// Whether a page at `address` was preserved on its own.
fn is_preserved<M: Memory>(memory: &M, address: u64) -> bool {
    memory.preserved_pages(address) == Some(1)
}

/// Whether a page at `address` was preserved, perhaps together with others.
fn is_among_preserved<M: Memory>(memory: &M, address: u64) -> bool {
    let page = address / TABLE_SIZE;

    // Pages that are preserved together are aligned to their number.
    (0..=MAX_PAGES.ilog2()).any(|order| {
        let first = (page >> order) << order;
        let pages = memory.preserved_pages(first.saturating_mul(TABLE_SIZE));

        pages.is_some_and(|pages| page.saturating_sub(first) < pages)
    })
}

/// What is not as a state says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mismatch {
    /// The state does not mention the unit.
    NotMentioned,
    /// The unit is in another PCI segment.
    Segment,
    /// The capability registers are different.
    Capabilities,
    /// The hardware reads another root table.
    RootTable,
    /// The root table leads to another context table for this bus.
    ContextTable(u8),
    /// There is no preserved page at this address.
    NotPreserved(u64),
    /// The hardware cannot have such page tables for this device, or such a domain id.
    Limits(PciAddress),
    /// The entries of this device are different.
    Entry(PciAddress),
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotMentioned => f.write_str("it is not mentioned"),
            Self::Segment => f.write_str("it is in another PCI segment"),
            Self::Capabilities => f.write_str("its capabilities are different"),
            Self::RootTable => f.write_str("it reads another root table"),
            Self::ContextTable(bus) => {
                write!(f, "it reads another context table for bus {bus:02x}")
            }
            Self::NotPreserved(page) => write!(f, "the table at {page:#x} was not preserved"),
            Self::Limits(device) => write!(f, "it cannot translate for {device} in this way"),
            Self::Entry(device) => write!(f, "its entries for {device} are different"),
        }
    }
}

/// Checks that the unit `found` does for all devices of `tree` what `tree` says.
///
/// Reads the root table, the context tables and the entries of the devices, but no page tables.
///
/// # Errors
///
/// The first mismatch.
pub fn check<M: Memory>(memory: &M, tree: &impl Tree, found: &Unit<'_>) -> Result<(), Mismatch> {
    let unit = tree
        .unit(found.register_base)
        .ok_or(Mismatch::NotMentioned)?;

    check_unit(&unit, found)?;
    check_tables(memory, &unit)?;
    for device in tree.devices_of(unit.register_base) {
        let domain = tree
            .domain(device.domain)
            .ok_or(Mismatch::Entry(device.address))?;

        if !is_possible(found, &device, &domain) {
            return Err(Mismatch::Limits(device.address));
        }
        if !is_among_preserved(memory, domain.top_table) {
            return Err(Mismatch::NotPreserved(domain.top_table));
        }
        if !vtd::is_attached(memory, &unit, &device, &domain) {
            return Err(Mismatch::Entry(device.address));
        }
    }
    Ok(())
}

/// Checks that the previous kernel has preserved the first pages of each run, and nothing beyond the
/// run together with them.
///
/// # Errors
///
/// The first that it has not.
pub fn check_runs<M: Memory>(memory: &M, runs: &RunList<'_>) -> Result<(), Mismatch> {
    let is_preserved = |run: &Run| {
        memory
            .preserved_pages(run.base)
            .is_some_and(|pages| pages <= run.pages.into())
    };

    match runs.runs().find(|run| !is_preserved(run)) {
        Some(run) => Err(Mismatch::NotPreserved(run.base)),
        None => Ok(()),
    }
}

fn check_unit(unit: &Unit<'_>, found: &Unit<'_>) -> Result<(), Mismatch> {
    if unit.segment != found.segment {
        return Err(Mismatch::Segment);
    }
    if unit.capability != found.capability || unit.extended_capability != found.extended_capability
    {
        return Err(Mismatch::Capabilities);
    }
    if unit.root_table != found.root_table {
        return Err(Mismatch::RootTable);
    }
    Ok(())
}

fn check_tables<M: Memory>(memory: &M, unit: &Unit<'_>) -> Result<(), Mismatch> {
    let preserved = |page| {
        if is_preserved(memory, page) {
            Ok(())
        } else {
            Err(Mismatch::NotPreserved(page))
        }
    };

    preserved(unit.root_table)?;
    for (bus, table) in unit.context_tables.iter() {
        let mut found = vtd::context_tables(memory, unit.root_table);

        if !found.any(|entry| entry == (bus, table)) {
            return Err(Mismatch::ContextTable(bus));
        }
        preserved(table)?;
    }
    Ok(())
}

/// Whether the unit can have such page tables and such a domain id.
fn is_possible(unit: &Unit<'_>, device: &Device<'_>, domain: &Domain) -> bool {
    let capability = Capability::new(unit.capability);

    // Domain id 0 is reserved (section 6.2.2.1), and the driver gives id 1 to no domain.
    device.domain_id > 1
        && u32::from(device.domain_id) < capability.domain_ids()
        && capability.has_level(domain.top_level)
        && domain.input_bits <= capability.input_bits()
        && domain.page_sizes & !capability.page_sizes() == 0
}

/// Something of a unit that belongs to one iommufd alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    begin: u64,
    length: u32,
}

/// A requester id.
const REQUESTER_ID: u64 = 1 << 60;
/// A domain id.
const DOMAIN_ID: u64 = 2 << 60;
/// A page, by its number.
const PAGE: u64 = 3 << 60;

impl Claim {
    fn page(address: u64, pages: u32) -> Self {
        Self {
            begin: PAGE | (address / TABLE_SIZE),
            length: pages,
        }
    }

    fn one(begin: u64) -> Self {
        Self { begin, length: 1 }
    }

    fn end(self) -> u64 {
        self.begin.saturating_add(self.length.into())
    }
}

/// What the iommufd of `tree`, whose run list is `runs`, claims of the unit at `register_base`.
pub fn claims<'a>(
    tree: &'a impl Tree,
    runs: RunList<'a>,
    register_base: u64,
) -> impl Iterator<Item = Claim> + 'a {
    let of_devices = tree.devices_of(register_base).flat_map(|d| {
        let ids = d.requester_ids.iter();

        ids.map(|id| Claim::one(REQUESTER_ID | u64::from(id)))
            .chain([Claim::one(DOMAIN_ID | u64::from(d.domain_id))])
    });

    of_devices.chain(page_claims(runs))
}

/// The pages in a run list.
pub fn page_claims(runs: RunList<'_>) -> impl Iterator<Item = Claim> + '_ {
    runs.runs().map(|run| Claim::page(run.base, run.pages))
}

/// What the unit `unit` of a state itself claims: its root table and its context tables.
pub fn own_claims<'a>(unit: &Unit<'a>) -> impl Iterator<Item = Claim> + 'a {
    let root_table = unit.root_table;

    unit.context_tables
        .iter()
        .map(|(_, table)| table)
        .chain([root_table])
        .map(|table| Claim::page(table, 1))
}

/// Calls `conflict` with the two who claim the same, for each claim in `claims` that is not the
/// first one. `keys` is the memory for it.
///
/// # Errors
///
/// [`error::Error::NoSpace`] if there are fewer keys than claims.
pub fn conflicts(
    keys: &mut [Key],
    claims: impl Iterator<Item = (u32, Claim)>,
    mut conflict: impl FnMut(u32, u32),
) -> error::Result<()> {
    let key =
        |(who, claim): (u32, Claim)| [claim.begin, u64::from(claim.length) << 32 | u64::from(who)];
    let mut last = (0, Claim::one(0));

    for [begin, rest] in sorted(keys, claims.map(key))? {
        let who = (rest & u64::from(u32::MAX)) as u32;
        let claim = Claim {
            begin: *begin,
            length: (rest >> 32) as u32,
        };

        if claim.begin < last.1.end() && who != last.0 {
            conflict(last.0, who);
        }
        if claim.end() > last.1.end() {
            last = (who, claim);
        }
    }
    Ok(())
}
