// SPDX-License-Identifier: GPL-2.0

//! What the ending kernel takes away from the units it leaves translating.
//!
//! The memory behind an entry that is not preserved is free for anything in the next kernel, so
//! the entry has to be gone before that kernel starts.

use crate::{
    counters,
    hooks::DirectMap,
    sealed::{
        self,
        Sealed, //
    }, //
};
use kernel::{
    prelude::*,
    sync::atomic::{
        Atomic,
        Relaxed, //
    }, //
};
use liveupdate_state::{
    vtd,
    Domain,
    Tree,
    Unit, //
};

/// What of a unit is preserved.
///
/// It is written and read while the kernel shuts down, when no memory can be allocated.
static PRESERVED: Preserved = Preserved {
    buses: [const { Atomic::new(0) }; 4],
    context_tables: [const { Atomic::new(0) }; 256],
    requester_ids: [const { Atomic::new(0) }; 1024],
};

struct Preserved {
    /// A bit for each bus for which there is anything else.
    buses: [Atomic<u64>; 4],
    /// The address of the context table for each bus, 0 for none.
    context_tables: [Atomic<u64>; 256],
    /// A bit for each requester id.
    requester_ids: [Atomic<u64>; 1024],
}

impl Preserved {
    /// Forgets everything, in time that grows with what there is.
    fn clear(&self) {
        for (first, word) in (0..).step_by(64).zip(&self.buses) {
            let mut buses = word.xchg(0, Relaxed);

            while buses != 0 {
                self.clear_bus(first | buses.trailing_zeros() as usize);
                buses &= buses.wrapping_sub(1);
            }
        }
    }

    fn clear_bus(&self, bus: usize) {
        if let Some(table) = self.context_tables.get(bus) {
            table.store(0, Relaxed);
        }
        for word in self
            .requester_ids
            .iter()
            .skip(bus.saturating_mul(4))
            .take(4)
        {
            word.store(0, Relaxed);
        }
    }

    fn note_bus(&self, bus: u8) {
        if let Some(word) = self.buses.get(usize::from(bus / 64)) {
            word.store(word.load(Relaxed) | 1 << (bus % 64), Relaxed);
        }
    }

    /// Adds what belongs to the devices of `tree`, as far as hardware has it too.
    fn add(&self, tree: &impl Tree, unit: &Unit<'_>) {
        for (bus, table) in unit.context_tables.iter() {
            self.note_bus(bus);
            if let Some(word) = self.context_tables.get(usize::from(bus)) {
                word.store(table, Relaxed);
            }
        }
        // They are written in the order in which devices refer to them, and so each is read once.
        let mut domains = tree.domains();
        let mut domain = domains.next();

        for device in tree.devices_of(unit.register_base) {
            let is_it = |d: &Domain| d.number == device.domain;

            if !domain.as_ref().is_some_and(is_it) {
                domain = domains.find(is_it).or_else(|| tree.domain(device.domain));
            }
            let is_attached = domain
                .as_ref()
                .is_some_and(|domain| vtd::is_attached(&DirectMap, unit, &device, domain));

            for id in device.requester_ids.iter().filter(|_| is_attached) {
                if let Some(word) = self.requester_ids.get(usize::from(id / 64)) {
                    word.store(word.load(Relaxed) | 1 << (id % 64), Relaxed);
                }
            }
        }
    }

    fn has_context_table(&self, bus: u8, table: u64) -> bool {
        self.context_tables
            .get(usize::from(bus))
            .is_some_and(|word| word.load(Relaxed) == table)
    }

    fn has_requester_id(&self, id: u16) -> bool {
        self.requester_ids
            .get(usize::from(id / 64))
            .is_some_and(|word| word.load(Relaxed) & 1 << (id % 64) != 0)
    }
}

/// Clears every entry of the unit. What hardware caches is left to the caller.
///
/// Does not sleep, and takes no lock.
pub(crate) fn clear(found: &Unit<'_>) {
    vtd::clear_all(&DirectMap, found.root_table);
    pr_info!(
        "unit at {:#x} stops: all entries cleared\n",
        found.register_base
    );
}

/// Clears every entry of the unit that no device in `sealed` needs.
///
/// Returns whether the unit has to go on translating. What hardware caches is left to the caller.
///
/// Does not sleep, and takes no lock. Only one may run at a time.
pub(crate) fn scrub(sealed: &Sealed, found: &Unit<'_>) -> bool {
    let mut goes_on = false;

    PRESERVED.clear();
    for state in sealed.states() {
        let state = match state {
            Ok(state) => state,
            Err(e) => {
                // Its entries are cleared with those of everybody else.
                pr_err!("an own state is unreadable ({})\n", format_args!("{e}"));
                goes_on = true;
                continue;
            }
        };

        let Some(unit) = state.unit(found.register_base) else {
            continue;
        };
        goes_on = true;
        if unit.root_table == found.root_table {
            PRESERVED.add(&state, &unit);
        }
    }
    if !goes_on {
        return false;
    }

    let scrubbed = vtd::scrub(
        &DirectMap,
        found.root_table,
        |bus, table| PRESERVED.has_context_table(bus, table),
        |id, _| PRESERVED.has_requester_id(id),
    );
    match scrubbed {
        Some(scrubbed) => {
            counters::BUSES_SCRUBBED.add(scrubbed.context_tables.into());
            pr_info!(
                "unit at {:#x} goes on: {} entries kept, {} cleared, on {} buses, {} table pages read\n",
                found.register_base,
                scrubbed.kept,
                scrubbed.cleared,
                scrubbed.context_tables,
                sealed::pages_read()
            );
        }
        None => {
            pr_err!(
                "unit at {:#x} has lost its tables, blocking all DMA\n",
                found.register_base
            );
            vtd::clear_all(&DirectMap, found.root_table);
        }
    }
    true
}
