// SPDX-License-Identifier: GPL-2.0

//! What the iommufds that were retrieved may do with the restored domains.
//!
//! A restored domain can be in use twice: by the groups of its devices, since boot, and by a HWPT
//! that userspace has asked for. It is given back when both are gone and either the HWPT was
//! destroyed or the session is finished.

use crate::{
    flb::FLB,
    hooks::{
        self,
        Device,
        Domain,
        Function, //
    },
    incoming::{
        find_run_list,
        DomainKey,
        Incoming,
        Progress,
        Records,
        RestoredDomain, //
    },
    iommufd_hooks,
    reclaim::{
        are_tables_intact,
        Unused, //
    },
    tables_hooks::PreservedTables,
    trust::is_trusting, //
};
use kernel::{
    prelude::*,
    sync::Arc, //
};
use liveupdate_state::{
    decode,
    Tree, //
};

/// What an iommufd is known by: the address of its context.
///
/// It is unique as long as LUO holds the file, which is until the session is finished.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Context(pub(crate) usize);

/// An iommufd that was retrieved.
pub(crate) struct Retrieved {
    /// The number that the previous kernel gave to it.
    owner: u64,
    context: Context,
}

impl Progress {
    /// Finds the number of the iommufd of the previous kernel for which `context` stands.
    fn owner(&self, context: Context) -> Option<u64> {
        let iommufd = self.retrieved.iter().find(|r| r.context == context)?;

        Some(iommufd.owner)
    }
}

/// Lets the iommufd `context` stand for `owner`.
///
/// # Errors
///
/// `ENODATA` without a state of the IOMMUs, `ENOMEM`.
pub(crate) fn register(owner: u64, context: Context) -> Result {
    let guard = FLB.incoming()?;
    let incoming = guard.get();
    let retrieved = Retrieved { owner, context };

    incoming
        .progress
        .lock()
        .retrieved
        .push(retrieved, GFP_KERNEL)?;
    Ok(())
}

/// Whether the iommufd `context` may become the owner of `device`.
///
/// # Context
///
/// Process context, with the lock of the group held.
pub(crate) fn may_claim(device: &Device, context: Context) -> bool {
    let find = || -> Option<bool> {
        let guard = FLB.incoming().ok()?;
        let incoming = guard.get();
        let (records, _) = incoming.device(Function::of(device).ok()?.address)?;

        let owner = incoming.progress.lock().owner(context);

        Some(owner? == records.owner())
    };

    find().unwrap_or(false)
}

/// A restored domain as the HWPT of an iommufd. Dropping it is destroying the HWPT.
pub(crate) struct RestoredHwpt {
    incoming: Arc<Incoming>,
    key: DomainKey,
    domain: Domain,
}

impl RestoredHwpt {
    /// Returns the domain, which is valid as long as this value.
    pub(crate) fn domain(&self) -> Domain {
        self.domain
    }
}

/// Returns the HWPT that the iommufd `context` had under `token`.
///
/// # Errors
///
/// `ENOENT` if it had none, or the HWPT was destroyed; `EEXIST` if there is one already; `ENODEV`
/// if none of its devices goes on with it.
pub(crate) fn restore_hwpt(context: Context, token: u64) -> Result<RestoredHwpt> {
    let guard = FLB.incoming().map_err(|_| ENOENT)?;
    let incoming: Arc<Incoming> = guard.get().into();
    let mut progress = incoming.progress.lock();

    let owner = progress.owner(context).ok_or(ENOENT)?;
    let records = incoming.records(owner).ok_or(ENOENT)?;
    let key = records.hwpt(token).ok_or(ENOENT)?;
    if progress.gone.contains(&key) {
        return Err(ENOENT);
    }
    let restored = progress.domain(key).ok_or(ENODEV)?;
    if restored.has_hwpt {
        return Err(EEXIST);
    }
    restored.has_hwpt = true;
    let domain = restored.domain;
    drop(progress);

    Ok(RestoredHwpt {
        incoming,
        key,
        domain,
    })
}

impl Drop for RestoredHwpt {
    fn drop(&mut self) {
        let mut progress = self.incoming.progress.lock();
        let Some(restored) = progress.domain(self.key) else {
            return;
        };

        restored.has_hwpt = false;
        // A device that still uses it, but not through the HWPT, keeps it.
        if restored.users > 0 {
            return;
        }
        let restored = progress.give_back(self.key);
        drop(progress);
        if let Ok(Some(restored)) = restored {
            free(&self.incoming, restored);
        }
    }
}

/// Whether a device still uses a domain that belonged to `owner`.
pub(crate) fn is_attached(incoming: &Incoming, owner: u64) -> bool {
    let progress = incoming.progress.lock();

    progress
        .domains
        .iter()
        .any(|d| d.key.owner == owner && d.users > 0)
}

/// Gives back what the iommufd stood for whose state is at the physical address `state`, except for
/// domains with a HWPT: those go when the HWPT is destroyed.
///
/// No device may use any of it, see [`is_attached`].
pub(crate) fn finish(incoming: &Arc<Incoming>, state: u64) {
    let Some(iommufd) = incoming.iommufd_at(state) else {
        return free_unknown(Some(incoming), state);
    };

    match iommufd.records() {
        Ok(records) => {
            for domain in records.domains() {
                finish_domain(incoming, records, records.key(domain.number));
            }
            incoming
                .progress
                .lock()
                .retrieved
                .retain(|r| r.owner != records.owner());
        }
        Err(_) => match iommufd.run_list() {
            // SAFETY: Nothing of it was adopted, so that hardware has never read its tables in this
            // kernel.
            Some(list) => unsafe { Unused::rejected(incoming.clone(), list) }.free(),
            None => pr_warn!("page tables of an iommufd stay reserved: their list is lost\n"),
        },
    }
}

/// Frees the page tables that belong to the state at the physical address `state`, to which the index
/// does not lead. Without an index there is no `incoming`, and nothing was adopted.
pub(crate) fn free_unknown(incoming: Option<&Arc<Incoming>>, state: u64) {
    let record = iommufd_hooks::state(state)
        .ok()
        .and_then(|blob| decode::run_list(&blob));
    // The index may lead to the run list nevertheless.
    if let Some((incoming, record)) = incoming.zip(record) {
        if incoming.rejected_with(&record).is_some() {
            // SAFETY: Nothing of an iommufd whose state was rejected was adopted.
            return unsafe { Unused::rejected(incoming.clone(), record) }.free();
        }
    }
    let list = record.and_then(|record| find_run_list(&record, false).ok().flatten());
    match list.and_then(|list| Arc::new(list, GFP_KERNEL).ok()) {
        // SAFETY: What is adopted has its list in the index, and no list is there twice.
        Some(list) => unsafe { Unused::list(list) }.free(),
        None => pr_warn!("page tables of an iommufd stay reserved: their list is lost\n"),
    }
}

fn finish_domain(incoming: &Arc<Incoming>, records: &Records, key: DomainKey) {
    let mut progress = incoming.progress.lock();

    if progress
        .domain(key)
        .is_some_and(|d| d.has_hwpt || d.users > 0)
    {
        return;
    }
    let restored = progress.give_back(key);
    drop(progress);
    match restored {
        Ok(Some(restored)) => free(incoming, restored),
        Ok(None) => give_back_unused(incoming, records, key),
        // Its HWPT was destroyed.
        Err(e) if e == EALREADY => {}
        Err(_) => pr_warn!("domain {} stays reserved: out of memory\n", key.number),
    }
}

/// Frees a restored domain at once, and its tables in the background.
fn free(incoming: &Arc<Incoming>, restored: RestoredDomain) {
    // One of its devices may have come back, and another one not.
    clear_entries(incoming, restored.key);

    // SAFETY: Nothing uses the domain any more: no group, and no HWPT.
    unsafe { restored.domain.free() };
    // SAFETY: As above.
    unsafe { Unused::domain(incoming.clone(), restored.key) }.free();
}

/// Gives back the tables of a domain none of whose devices came back.
fn give_back_unused(incoming: &Arc<Incoming>, records: &Records, key: DomainKey) {
    clear_entries(incoming, key);
    if let Some(first) = records.devices().find(|d| d.domain == key.number) {
        if incoming.progress.lock().has_adopted(key.owner, first.unit) {
            hooks::release_domain_id(first.unit, first.domain_id);
        }
    }
    // SAFETY: No entry leads to the tables: either they were cleared, or the unit has never read them
    // in this kernel.
    unsafe { Unused::domain(incoming.clone(), key) }.free();
}

/// Clears what still leads to the tables of a domain that no group uses: the entries of devices
/// that did not come back. A device that is added there later must not find them.
fn clear_entries(incoming: &Incoming, key: DomainKey) {
    let Some(records) = incoming.records(key.owner) else {
        return;
    };

    for device in records.devices().filter(|d| d.domain == key.number) {
        // A unit that was not adopted reads none of the old tables.
        if !incoming.progress.lock().has_adopted(key.owner, device.unit) {
            continue;
        }
        for id in device.requester_ids.iter() {
            hooks::clear_entry(device.unit, id, device.domain_id);
        }
    }
}

/// Finds what was restored as `domain`.
fn find(incoming: &Incoming, domain: Domain) -> Option<RestoredDomain> {
    let progress = incoming.progress.lock();

    progress
        .domains
        .iter()
        .copied()
        .find(|d| d.domain == domain)
}

/// Checks that the page tables of a restored domain are what the previous kernel preserved, as long
/// as a session with an iommufd is not finished.
///
/// # Errors
///
/// `EBADMSG` if they are not.
///
/// # Context
///
/// Process context, takes time linear in the size of the tables.
pub(crate) fn check_tables(domain: Domain) -> Result {
    // Without a session, nobody knows the checksums any more.
    let Ok(guard) = FLB.incoming() else {
        return Ok(());
    };
    let incoming = guard.get();
    let restored = find(&incoming, domain).ok_or(EBADMSG)?;
    let runs = incoming.runs(restored.key).ok_or(EBADMSG)?;
    let record = incoming.domain(restored.key).ok_or(EBADMSG)?;

    if !are_tables_intact(&record, &runs) && !is_trusting() {
        pr_warn!(
            "the page tables of domain {} are damaged\n",
            restored.key.number
        );
        return Err(EBADMSG);
    }
    Ok(())
}

/// Preserves the page tables of a restored domain once more.
///
/// # Errors
///
/// `EBADMSG` if the tables are damaged, `ENODEV` if the domain was not restored, `ENOMEM`, otherwise
/// from KHO.
///
/// # Context
///
/// Process context, takes time linear in the size of the tables.
pub(crate) fn preserve_again(domain: Domain) -> Result<PreservedTables> {
    let guard = FLB.incoming()?;
    let incoming = guard.get();
    let restored = find(&incoming, domain).ok_or(ENODEV)?;
    let runs = incoming.runs(restored.key).ok_or(ENODEV)?;
    let record = incoming.domain(restored.key).ok_or(ENODEV)?;

    if !are_tables_intact(&record, &runs) {
        return Err(EBADMSG);
    }
    domain.preserve_again(&runs, record.table_pages)
}
