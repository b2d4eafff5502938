// SPDX-License-Identifier: GPL-2.0

//! What the ending kernel takes away from the units it leaves translating.
//!
//! The memory behind an entry that is not preserved is free for anything in the next kernel, so
//! the entry has to be gone before that kernel starts.

use crate::hooks::DirectMap;
use kernel::prelude::*;
use liveupdate_state::{
    vtd,
    State,
    Unit, //
};

/// Clears every entry of the unit that no device in `state` needs.
///
/// Returns whether the unit has to go on translating. What hardware caches is left to the caller.
///
/// Does not sleep, and takes no lock.
pub(crate) fn scrub(state: &[u8], found: &Unit<'_>) -> bool {
    let state = match State::parse(state) {
        Ok(state) => state,
        Err(e) => {
            pr_err!(
                "the own state is unreadable ({}), blocking all DMA\n",
                format_args!("{e}")
            );
            return vtd::clear_all(&DirectMap, found.root_table);
        }
    };
    let Some(unit) = state.unit(found.register_base) else {
        return false;
    };

    let keep = |id, entry: vtd::ContextEntry| {
        state
            .device_by_requester_id(unit.register_base, id)
            .and_then(|device| Some((state.domain(device.domain)?, device.domain_id)))
            .is_some_and(|(domain, did)| entry.matches(&domain, did))
    };
    let scrubbed = if unit.root_table == found.root_table {
        vtd::scrub(&DirectMap, &unit, keep)
    } else {
        None
    };
    match scrubbed {
        Some(scrubbed) => pr_info!(
            "unit at {:#x} goes on: {} entries kept, {} cleared\n",
            unit.register_base,
            scrubbed.kept,
            scrubbed.cleared
        ),
        None => {
            pr_err!(
                "unit at {:#x} has lost its tables, blocking all DMA\n",
                unit.register_base
            );
            vtd::clear_all(&DirectMap, found.root_table);
        }
    }
    true
}
