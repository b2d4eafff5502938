// SPDX-License-Identifier: GPL-2.0

//! What becomes of a unit that the previous kernel left translating.
//!
//! Each iommufd for whose devices everything that hardware reads is where its state says goes on.
//! The entries of all others are cleared. If none is left, the unit gets an empty root table: DMA
//! then faults, it does not roam.

use crate::{
    counters,
    flb::FLB,
    hooks::{
        self,
        DirectMap,
        IntelIommu, //
    },
    incoming::{
        Incoming,
        Iommufd,
        Records, //
    },
    module_parameters,
    reclaim,
    trust::is_trusting, //
};
use kernel::{
    kho,
    prelude::*, //
};
use liveupdate_state::{
    hardware,
    vtd,
    ContextTables,
    Key,
    PciAddress,
    RunList,
    Tree,
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
    let unit = found.record(ContextTables::new(&[]));

    let reason = match FLB.incoming() {
        Ok(_) if found.is_scalable() => "it is in scalable mode",
        Ok(guard) => match adopt(&guard.get(), &unit, iommu) {
            Ok(scrubbed) => {
                counters::BUSES_SCRUBBED.add(scrubbed.context_tables.into());
                pr_info!(
                    "unit at {:#x} taken over: {} entries kept, {} cleared, on {} buses\n",
                    unit.register_base,
                    scrubbed.kept,
                    scrubbed.cleared,
                    scrubbed.context_tables
                );
                return Takeover::Adopt;
            }
            Err(reason) => reason,
        },
        Err(e) if e == ENODATA || e == ENOENT || e == EOPNOTSUPP => {
            // Only an update leaves a unit translating. Without KHO, it was the firmware.
            if !kho::is_kho_boot() {
                return Takeover::None;
            }
            "the previous kernel handed over no state"
        }
        Err(_) => "the state of the previous kernel is lost",
    };
    stop_functions_of(&unit, found.is_scalable());
    pr_err!(
        "unit at {:#x} blocks all DMA: {}\n",
        unit.register_base,
        reason
    );
    Takeover::Block
}

/// An iommufd that has the unit in its state.
struct Candidate<'a> {
    records: &'a Records,
    runs: RunList<'a>,
}

/// Checks the tables of a unit against the states of the iommufds, and becomes their owner.
fn adopt(
    incoming: &Incoming,
    found: &Unit<'_>,
    iommu: &IntelIommu,
) -> core::result::Result<vtd::Scrubbed, &'static str> {
    // What is not adopted is freed when all sessions are finished.
    retire_tables(incoming, found);
    if incoming.error().is_some() {
        return Err("the state of the previous kernel is rejected");
    }
    let no_memory = |_| "out of memory";
    let mut adopted = candidates(incoming, found).map_err(no_memory)?;

    drop_conflicts(&mut adopted, found).map_err(no_memory)?;
    adopted.retain(|c| reserve_domain_ids(c.records, found, iommu));
    if adopted.is_empty() {
        return Err("no state describes it as it is");
    }

    let is_context = |bus, table| {
        let is_known = |c: &Candidate<'_>| {
            let unit = c.records.unit(found.register_base);

            unit.is_some_and(|u| u.context_tables.get(bus) == Some(table))
        };
        let known = is_trusting() || adopted.iter().any(is_known);

        if !known {
            hooks::stop_bus(found.segment, bus);
        }
        known
    };
    let keep = |requester_id, entry: vtd::ContextEntry| {
        let base = found.register_base;
        let claims = |c: &Candidate<'_>| c.records.claims(base, requester_id, entry);
        let kept = is_trusting() || adopted.iter().any(claims);

        if !kept {
            hooks::stop_function(PciAddress {
                segment: found.segment,
                requester_id,
            });
        }
        kept
    };

    incoming
        .progress
        .lock()
        .adopted
        .reserve(adopted.len(), GFP_KERNEL)
        .map_err(|_| "out of memory")?;
    let scrubbed = vtd::scrub(&DirectMap, found.root_table, is_context, keep)
        .ok_or("a table is not in memory")?;
    let tables = vtd::context_tables(&DirectMap, found.root_table).map(|(_, table)| table);
    for page in Iterator::chain(tables, [found.root_table]) {
        hooks::restore_page(page).map_err(|_| "a table cannot be restored")?;
    }

    let mut progress = incoming.progress.lock();
    for candidate in &adopted {
        let pair = (candidate.records.owner(), found.register_base);

        if !progress.has_adopted_any(candidate.records.owner()) {
            reclaim::count(&candidate.runs);
        }
        progress
            .adopted
            .push(pair, GFP_KERNEL)
            .map_err(|_| "out of memory")?;
    }
    Ok(scrubbed)
}

/// The iommufds whose states describe the unit as it is.
fn candidates<'a>(incoming: &'a Incoming, found: &Unit<'_>) -> Result<KVec<Candidate<'a>>> {
    let mut candidates = KVec::new();

    for iommufd in incoming.iommufds() {
        let (Ok(records), Some(runs)) = (iommufd.records(), iommufd.runs()) else {
            continue;
        };
        let reject = |reason: &dyn core::fmt::Display| {
            pr_err!(
                "iommufd {} cannot go on behind the unit at {:#x}: {}\n",
                records.owner(),
                found.register_base,
                format_args!("{reason}")
            );
        };

        let checked = hardware::check(&DirectMap, records, found)
            .and_then(|()| hardware::check_runs(&DirectMap, &runs));
        match checked {
            _ if is_trusting() => candidates.push(Candidate { records, runs }, GFP_KERNEL)?,
            Ok(()) if !are_tables_intact(iommufd) => reject(&"its page tables are damaged"),
            Ok(()) => candidates.push(Candidate { records, runs }, GFP_KERNEL)?,
            Err(hardware::Mismatch::NotMentioned) => {}
            Err(mismatch) => reject(&mismatch),
        }
    }
    Ok(candidates)
}

/// Whether the page tables are intact, as far as that is to be known before they are used.
fn are_tables_intact(iommufd: &Iommufd) -> bool {
    if !module_parameters::check_tables.value() {
        return true;
    }
    let (Ok(records), Some(runs)) = (iommufd.records(), iommufd.runs()) else {
        return false;
    };

    records.domains().all(|domain| {
        runs.group(domain.runs)
            .is_some_and(|runs| reclaim::are_tables_intact(&domain, &runs))
    })
}

/// Drops the candidates that claim what another one claims.
fn drop_conflicts(candidates: &mut KVec<Candidate<'_>>, found: &Unit<'_>) -> Result {
    /// Nobody's number in the list of candidates.
    const UNIT: u32 = u32::MAX;

    if is_trusting() {
        return Ok(());
    }
    let base = found.register_base;
    let mut claims = KVVec::new();
    for (who, candidate) in (0u32..).zip(candidates.iter()) {
        for claim in hardware::claims(candidate.records, candidate.runs, base) {
            claims.push((who, claim), GFP_KERNEL)?;
        }
    }
    // The hardware may lead to more, which is cleared.
    for unit in candidates.iter().filter_map(|c| c.records.unit(base)) {
        for claim in hardware::own_claims(&unit) {
            claims.push((UNIT, claim), GFP_KERNEL)?;
        }
    }
    let mut keys = KVVec::from_elem(Key::default(), claims.len(), GFP_KERNEL)?;
    let mut in_conflict = KVec::from_elem(false, candidates.len(), GFP_KERNEL)?;

    hardware::conflicts(&mut keys, claims.iter().copied(), |a, b| {
        for who in [a, b] {
            if let Some(conflict) = in_conflict.get_mut(who as usize) {
                *conflict = true;
            }
        }
    })
    .map_err(|_| EINVAL)?;

    let mut in_conflict = in_conflict.into_iter();
    candidates.retain(|c| {
        let keep = in_conflict.next() == Some(false);

        if !keep {
            pr_err!(
                "iommufd {} cannot go on behind the unit at {:#x}: another one claims the same\n",
                c.records.owner(),
                base
            );
        }
        keep
    });
    Ok(())
}

/// Keeps the domain ids of an iommufd from being used again. Returns false if that is not possible.
fn reserve_domain_ids(records: &Records, found: &Unit<'_>, iommu: &IntelIommu) -> bool {
    let devices = || records.devices_of(found.register_base).enumerate();

    for (index, device) in devices() {
        let is_same = |(i, d): (usize, liveupdate_state::Device<'_>)| {
            i < index && d.domain_id == device.domain_id
        };

        if !devices().any(is_same) && iommu.reserve_domain_id(device.domain_id).is_err() {
            pr_err!(
                "iommufd {} cannot go on: domain id {} is not available\n",
                records.owner(),
                device.domain_id
            );
            return false;
        }
    }
    true
}

/// Notes the root table of the unit and the tables to which it leads, for [`give_back`].
///
/// If there are states, one of them has to know a table: where the root table is damaged, it may
/// lead to a page of somebody else.
fn retire_tables(incoming: &Incoming, found: &Unit<'_>) {
    let root_table = found.root_table;
    if !hooks::is_preserved_page(root_table) {
        return;
    }
    let units = || {
        incoming
            .iommufds()
            .filter_map(|i| i.records().ok()?.unit(found.register_base))
    };
    let is_known = |bus, table| {
        units().next().is_none() || units().any(|u| u.context_tables.get(bus) == Some(table))
    };
    let tables = vtd::context_tables(&DirectMap, root_table)
        .filter(|(bus, table)| is_known(*bus, *table))
        .map(|(_, table)| table);
    for (bus, table) in units().flat_map(|u| u.context_tables.iter()) {
        if vtd::context_table(&DirectMap, root_table, bus) != Some(table) {
            pr_warn!(
                "the table at {:#x} stays reserved: no entry leads to it\n",
                table
            );
        }
    }
    let mut progress = incoming.progress.lock();

    for page in Iterator::chain(tables, [root_table]) {
        if hooks::is_preserved_page(page) && progress.retired.push(page, GFP_KERNEL).is_err() {
            pr_warn!("the table at {:#x} stays reserved: out of memory\n", page);
        }
    }
}

/// Frees the tables of the hardware that nobody took over.
///
/// # Safety
///
/// The initialization of the IOMMUs must be over: from then on no unit reads them.
pub(crate) unsafe fn give_back(incoming: &Incoming) {
    for page in &incoming.progress.lock().retired {
        if hooks::restore_page(*page).is_ok() {
            // SAFETY: By the safety requirement, and nobody else had claimed the page.
            unsafe { hooks::free_page(*page) };
        }
    }
}

/// Clears bus mastering of the functions for which the unit translates, of all functions if that is
/// not known.
fn stop_functions_of(unit: &Unit<'_>, scalable: bool) {
    if scalable || !hooks::is_preserved_page(unit.root_table) {
        return hooks::stop_all_functions();
    }
    for (bus, _) in vtd::context_tables(&DirectMap, unit.root_table) {
        hooks::stop_bus(unit.segment, bus);
    }
}

/// Makes sure that no device is doing DMA, because translation is about to be switched off.
pub(crate) fn stop_devices() {
    match FLB.incoming() {
        Err(e) if !kho::is_kho_boot() && (e == ENODATA || e == ENOENT || e == EOPNOTSUPP) => {}
        _ => {
            hooks::stop_all_functions();
            pr_err!("the IOMMU is not used, so all devices were stopped\n");
        }
    }
}
