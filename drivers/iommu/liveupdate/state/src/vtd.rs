// SPDX-License-Identifier: GPL-2.0

//! Root and context tables of VT-d legacy mode.
//!
//! Intel Virtualization Technology for Directed I/O, sections 9.1 (Root Entry) and 9.3 (Context
//! Entry). Both tables have 256 entries of 16 bytes.

use crate::records::{
    Device,
    Domain,
    Unit, //
};

/// The bits of a table address in an entry.
const ADDRESS: u64 = !0xfff;
/// Bit 0 of both entries.
const PRESENT: u64 = 1;

/// The capability register of a unit (CAP_REG, section 11.4.2).
#[derive(Clone, Copy, Debug)]
pub struct Capability(u64);

impl Capability {
    /// Wraps the content of the register.
    pub fn new(raw: u64) -> Self {
        Self(raw)
    }

    /// How many domain ids there are (ND, bits 2:0).
    pub fn domain_ids(self) -> u32 {
        let bits = 4u64.saturating_add((self.0 & 7).saturating_mul(2));

        1u32.checked_shl(bits as u32).unwrap_or(0)
    }

    /// Whether second-stage tables can have a top table of the level `top_level`, counted from 0
    /// (SAGAW, bits 12:8).
    pub fn has_level(self, top_level: u32) -> bool {
        let sagaw = (self.0 >> 8) & 0x1f;
        let bit = top_level.checked_sub(1).and_then(|n| sagaw.checked_shr(n));

        bit.is_some_and(|bit| bit & 1 != 0)
    }

    /// The most bits that an input address can have (MGAW, bits 21:16).
    pub fn input_bits(self) -> u32 {
        (((self.0 >> 16) & 0x3f) as u32).saturating_add(1)
    }

    /// A bitmap of the page sizes of second-stage tables (SSLPS, bits 37:34).
    pub fn page_sizes(self) -> u64 {
        let large = [1 << 21, 1 << 30];

        large
            .iter()
            .zip(34u32..)
            .fold(1 << 12, |sizes, (size, bit)| {
                sizes | if self.0 & (1 << bit) != 0 { *size } else { 0 }
            })
    }
}

/// A root or context table that hardware may read at any time.
pub trait Table {
    /// Reads the entry at `index`, low half first.
    fn read(&self, index: u8) -> [u64; 2];

    /// Makes the entry at `index` not present, and then zero, in memory that hardware sees.
    ///
    /// Caches of the hardware are left to the caller.
    fn clear(&self, index: u8);
}

/// Where the tables of a unit are found.
pub trait Memory {
    /// What stands for a table.
    type Table<'a>: Table
    where
        Self: 'a;

    /// Returns the table at the physical address `address`, or [`None`] if no table can be there.
    fn table(&self, address: u64) -> Option<Self::Table<'_>>;
}

/// An entry of a root table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RootEntry([u64; 2]);

impl RootEntry {
    /// Wraps the two halves of an entry.
    pub fn new(raw: [u64; 2]) -> Self {
        Self(raw)
    }

    /// Returns the address of the context table, or [`None`] if the entry is not present.
    pub fn context_table(self) -> Option<u64> {
        let [lo, _] = self.0;

        (lo & PRESENT != 0).then_some(lo & ADDRESS)
    }

    /// Whether the entry leads to the context table at `table`, with no reserved bit set.
    pub fn leads_to(self, table: u64) -> bool {
        self.0 == [(table & ADDRESS) | PRESENT, 0]
    }
}

/// An entry of a context table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContextEntry([u64; 2]);

impl ContextEntry {
    /// Wraps the two halves of an entry.
    pub fn new(raw: [u64; 2]) -> Self {
        Self(raw)
    }

    /// Whether hardware translates with this entry.
    pub fn is_present(self) -> bool {
        let [lo, _] = self.0;

        lo & PRESENT != 0
    }

    /// Whether the entry is what makes `device` use `domain`: present, faults reported,
    /// untranslated requests through second-stage tables, and no reserved bit set.
    pub fn matches(self, domain: &Domain, domain_id: u16) -> bool {
        self.0 == Self::translating(domain, domain_id)
    }

    /// The entry that makes a device use `domain` under the domain id `domain_id`.
    ///
    /// The translation type (bits 3:2) is 0 and faults are reported (bit 1 is 0). The address
    /// width (bits 66:64) is 1 for three levels, 2 for four and 3 for five, which is one less
    /// than the level of the top table counted from 0.
    pub fn translating(domain: &Domain, domain_id: u16) -> [u64; 2] {
        let address_width = u64::from(domain.top_level.saturating_sub(1));

        [
            (domain.top_table & ADDRESS) | PRESENT,
            (u64::from(domain_id) << 8) | (address_width & 7),
        ]
    }
}

/// What [`scrub`] found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scrubbed {
    /// Present entries that stay.
    pub kept: u32,
    /// Present entries that were cleared, in root and context tables.
    pub cleared: u32,
    /// Context tables that were looked into.
    pub context_tables: u32,
}

impl Scrubbed {
    fn count(&mut self, kept: bool) {
        let counter = if kept {
            &mut self.kept
        } else {
            &mut self.cleared
        };
        *counter = counter.saturating_add(1);
    }
}

/// Clears every entry below the root table at `root_table` that nobody needs.
///
/// A root entry stays if `is_context` returns true for its bus number and the address of its context
/// table, and no reserved bit is set, a context entry if `keep` returns true for its requester id and
/// its content. Both are asked before an entry is cleared.
///
/// Returns [`None`] if the root table, or a context table that would have to be looked into, is
/// nowhere in memory: then nothing is known about what hardware may reach.
pub fn scrub<M: Memory>(
    memory: &M,
    root_table: u64,
    mut is_context: impl FnMut(u8, u64) -> bool,
    mut keep: impl FnMut(u16, ContextEntry) -> bool,
) -> Option<Scrubbed> {
    let root = memory.table(root_table)?;
    let mut scrubbed = Scrubbed::default();

    for bus in 0..=u8::MAX {
        let entry = RootEntry::new(root.read(bus));
        let Some(address) = entry.context_table() else {
            continue;
        };

        if !is_context(bus, address) || !entry.leads_to(address) {
            root.clear(bus);
            scrubbed.count(false);
            continue;
        }
        let context = memory.table(address)?;
        scrubbed.context_tables = scrubbed.context_tables.saturating_add(1);
        for devfn in 0..=u8::MAX {
            let entry = ContextEntry::new(context.read(devfn));

            if entry.is_present() {
                let kept = keep(u16::from_be_bytes([bus, devfn]), entry);

                if !kept {
                    context.clear(devfn);
                }
                scrubbed.count(kept);
            }
        }
    }
    Some(scrubbed)
}

/// Iterates over the bus numbers and the addresses of the context tables to which the root table at
/// `root_table` leads.
pub fn context_tables<M: Memory>(
    memory: &M,
    root_table: u64,
) -> impl Iterator<Item = (u8, u64)> + '_ {
    let root = memory.table(root_table);

    (0..=u8::MAX).filter_map(move |bus| {
        let entry = RootEntry::new(root.as_ref()?.read(bus));

        Some((bus, entry.context_table()?))
    })
}

/// The address of the context table to which the root table at `root_table` leads for `bus`, [`None`]
/// if there is none.
pub fn context_table<M: Memory>(memory: &M, root_table: u64, bus: u8) -> Option<u64> {
    RootEntry::new(memory.table(root_table)?.read(bus)).context_table()
}

/// Clears every entry of the root table at `address`, so that no request is translated.
///
/// Returns false if there is no such table.
pub fn clear_all<M: Memory>(memory: &M, address: u64) -> bool {
    let Some(root) = memory.table(address) else {
        return false;
    };

    for bus in 0..=u8::MAX {
        root.clear(bus);
    }
    true
}

/// Whether every requester id of `device` still has the entry that makes it use `domain`, in the
/// context table that the root table of `unit` leads to.
pub fn is_attached<M: Memory>(
    memory: &M,
    unit: &Unit<'_>,
    device: &Device<'_>,
    domain: &Domain,
) -> bool {
    let entry = |id: u16| {
        let [bus, devfn] = id.to_be_bytes();
        let root = memory.table(unit.root_table)?;
        let address = unit.context_tables.get(bus)?;

        if !RootEntry::new(root.read(bus)).leads_to(address) {
            return None;
        }
        Some(ContextEntry::new(memory.table(address)?.read(devfn)))
    };

    device
        .requester_ids
        .iter()
        .all(|id| entry(id).is_some_and(|e| e.matches(domain, device.domain_id)))
}
