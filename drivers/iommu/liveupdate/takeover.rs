// SPDX-License-Identifier: GPL-2.0

//! What becomes of a unit that the previous kernel left translating.
//!
//! Either everything that hardware reads is where the state says, or the unit gets an empty root
//! table: DMA then faults, it does not roam.

use crate::{
    flb::FLB,
    hooks::{
        self,
        DirectMap,
        IntelIommu, //
    },
    incoming::Incoming, //
};
use kernel::{
    kho,
    prelude::*, //
};
use liveupdate_state::{
    vtd,
    ContextTables,
    Unit, //
};

/// What to do with a unit.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Takeover {
    /// It is none of ours.
    None,
    /// Its root table goes on.
    Adopt,
    /// It gets an empty root table and goes on translating.
    Block,
}

/// Decides about the unit `found`, which is translating at boot.
///
/// # Context
///
/// Process context, before any device of the unit is probed.
pub(crate) fn take_over(found: &hooks::Unit, iommu: &IntelIommu) -> Takeover {
    let record = found.record(ContextTables::new(&[]));
    let base = record.register_base;

    let reason = match FLB.incoming() {
        Ok(guard) => match adopt(&guard.get(), found, iommu) {
            Ok(scrubbed) => {
                pr_info!(
                    "unit at {:#x} taken over: {} entries kept, {} cleared\n",
                    base,
                    scrubbed.kept,
                    scrubbed.cleared
                );
                return Takeover::Adopt;
            }
            Err(reason) => {
                stop_devices_of(&guard.get(), base);
                reason
            }
        },
        Err(e) if e == ENODATA || e == ENOENT || e == EOPNOTSUPP => {
            // Only an update leaves a unit translating. Without KHO, it was the firmware.
            if !kho::is_kho_boot() {
                return Takeover::None;
            }
            hooks::stop_all_functions();
            "the previous kernel handed over no state"
        }
        Err(_) => {
            hooks::stop_all_functions();
            "the state of the previous kernel is lost"
        }
    };
    pr_err!("unit at {:#x} blocks all DMA: {}\n", base, reason);
    Takeover::Block
}

/// Checks the tables of a unit against the state, and becomes their owner.
fn adopt(
    incoming: &Incoming,
    found: &hooks::Unit,
    iommu: &IntelIommu,
) -> core::result::Result<vtd::Scrubbed, &'static str> {
    if incoming.error().is_some() {
        return Err("the state of the previous kernel is rejected");
    }
    let hardware = found.record(ContextTables::new(&[]));
    let unit = incoming
        .unit(hardware.register_base)
        .ok_or("the state does not mention it")?;

    check_hardware(&unit, &hardware, found.is_scalable())?;
    check_memory(incoming, &unit)?;

    let keep = |id, entry: vtd::ContextEntry| {
        incoming
            .devices()
            .find(|d| d.unit == unit.register_base && d.requester_ids.contains(id))
            .and_then(|device| Some((incoming.domain(device.domain)?, device.domain_id)))
            .is_some_and(|(domain, did)| entry.matches(&domain, did))
    };
    let scrubbed = vtd::scrub(&DirectMap, &unit, keep).ok_or("a table is not in memory")?;

    reserve_domain_ids(incoming, &unit, iommu)?;

    let tables = unit.context_tables.iter().map(|(_, table)| table);
    for page in Iterator::chain(tables, [unit.root_table]) {
        hooks::restore_page(page).map_err(|_| "a table cannot be restored")?;
    }

    incoming
        .progress
        .lock()
        .adopted
        .push(unit.register_base, GFP_KERNEL)
        .map_err(|_| "out of memory")?;
    Ok(scrubbed)
}

/// Whether the unit is the one that the state describes, and still reads the same table.
fn check_hardware(
    unit: &Unit<'_>,
    hardware: &Unit<'_>,
    scalable: bool,
) -> core::result::Result<(), &'static str> {
    if scalable {
        return Err("it is in scalable mode");
    }
    if unit.segment != hardware.segment {
        return Err("it is in another PCI segment");
    }
    if unit.capability != hardware.capability
        || unit.extended_capability != hardware.extended_capability
    {
        return Err("its capabilities have changed");
    }
    if unit.root_table != hardware.root_table {
        return Err("it reads another root table");
    }
    Ok(())
}

/// Whether every table that the state names is a page of memory that was preserved, and no page is
/// named twice.
fn check_memory(incoming: &Incoming, unit: &Unit<'_>) -> core::result::Result<(), &'static str> {
    let contexts = || unit.context_tables.iter().map(|(_, table)| table);
    let tops = || incoming.domains().map(|d| d.top_table);
    let is_top = |page| tops().any(|top| top == page);

    if !hooks::is_preserved_page(unit.root_table)
        || !contexts().all(hooks::is_preserved_page)
        || !tops().all(hooks::is_preserved_page)
    {
        return Err("a table was not preserved");
    }
    if contexts().any(|page| page == unit.root_table || is_top(page)) || is_top(unit.root_table) {
        return Err("its tables overlap");
    }
    Ok(())
}

/// Keeps the domain ids in the entries of the unit from being used again.
fn reserve_domain_ids(
    incoming: &Incoming,
    unit: &Unit<'_>,
    iommu: &IntelIommu,
) -> core::result::Result<(), &'static str> {
    let devices = || {
        incoming
            .devices()
            .filter(|d| d.unit == unit.register_base)
            .enumerate()
    };

    for (index, device) in devices() {
        let same = |(i, d): (usize, _)| {
            let d: liveupdate_state::Device<'_> = d;
            i < index && d.domain_id == device.domain_id
        };

        if !devices().any(same) {
            iommu
                .reserve_domain_id(device.domain_id)
                .map_err(|_| "a domain id is not available")?;
        }
    }
    Ok(())
}

/// Frees the tables of the units that were not taken over.
///
/// # Safety
///
/// The initialization of the IOMMUs must be over: from then on these units read other tables, or
/// none.
pub(crate) unsafe fn give_back(incoming: &Incoming) {
    let progress = incoming.progress.lock();

    for unit in incoming.units() {
        if progress.adopted.contains(&unit.register_base) {
            continue;
        }
        let tables = unit.context_tables.iter().map(|(_, table)| table);
        for page in Iterator::chain(tables, [unit.root_table]) {
            if hooks::restore_page(page).is_ok() {
                // SAFETY: By the safety requirement, and nobody else had claimed the page.
                unsafe { hooks::free_page(page) };
            }
        }
    }
}

/// Clears bus mastering of the devices that used a unit which is not taken over.
fn stop_devices_of(incoming: &Incoming, register_base: u64) {
    if incoming.error().is_some() {
        return hooks::stop_all_functions();
    }
    for device in incoming.devices().filter(|d| d.unit == register_base) {
        hooks::stop_function(device.address);
    }
}

/// Makes sure that no device is doing DMA, because translation is about to be switched off.
pub(crate) fn stop_devices() {
    match FLB.incoming() {
        Ok(guard) if guard.get().error().is_none() => {
            for device in guard.get().devices() {
                hooks::stop_function(device.address);
            }
            pr_err!("the IOMMU is not used, so all preserved devices were stopped\n");
        }
        Err(e) if !kho::is_kho_boot() && (e == ENODATA || e == ENOENT || e == EOPNOTSUPP) => {}
        _ => hooks::stop_all_functions(),
    }
}
