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
}

/// Clears every entry of `unit` that `keep` does not claim.
///
/// A root entry stays if it points to the context table that the unit has on record for its bus,
/// a context entry if `keep` returns true for its requester id and its content.
///
/// Returns [`None`] if the root table, or a context table that would have to be looked into, is
/// nowhere in memory: then nothing is known about what hardware may reach.
pub fn scrub<M: Memory>(
    memory: &M,
    unit: &Unit<'_>,
    mut keep: impl FnMut(u16, ContextEntry) -> bool,
) -> Option<Scrubbed> {
    let root = memory.table(unit.root_table)?;
    let mut scrubbed = Scrubbed::default();
    let mut count = |kept: bool| {
        let counter = if kept {
            &mut scrubbed.kept
        } else {
            &mut scrubbed.cleared
        };
        *counter = counter.saturating_add(1);
    };

    for bus in 0..=u8::MAX {
        let Some(address) = RootEntry::new(root.read(bus)).context_table() else {
            continue;
        };

        if unit.context_tables.get(bus) != Some(address) {
            root.clear(bus);
            count(false);
            continue;
        }
        let context = memory.table(address)?;
        for devfn in 0..=u8::MAX {
            let entry = ContextEntry::new(context.read(devfn));

            if entry.is_present() {
                let kept = keep(u16::from_be_bytes([bus, devfn]), entry);

                if !kept {
                    context.clear(devfn);
                }
                count(kept);
            }
        }
    }
    Some(scrubbed)
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
        let address = RootEntry::new(root.read(bus)).context_table()?;

        if unit.context_tables.get(bus) != Some(address) {
            return None;
        }
        Some(ContextEntry::new(memory.table(address)?.read(devfn)))
    };

    device
        .requester_ids
        .iter()
        .all(|id| entry(id).is_some_and(|e| e.matches(domain, device.domain_id)))
}
