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
        Incoming,
        Progress,
        RestoredDomain,
        TablePages, //
    },
    reclaim, //
};
use kernel::{
    prelude::*,
    sync::Arc, //
};
use liveupdate_state::iommufd::Hwpt;

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
    hwpts: KVec<Hwpt>,
}

impl Progress {
    /// Finds the owner and the number of the domain that the iommufd `context` calls `token`.
    fn hwpt(&self, context: Context, token: u64) -> Option<(u64, u32)> {
        let iommufd = self.retrieved.iter().find(|r| r.context == context)?;
        let hwpt = iommufd.hwpts.iter().find(|h| h.token == token)?;

        Some((iommufd.owner, hwpt.domain))
    }
}

/// Lets the iommufd `context` stand for `owner`, to which `hwpts` belonged.
///
/// # Errors
///
/// `ENODATA` without a state of the IOMMUs, `ENOMEM`.
pub(crate) fn register(owner: u64, hwpts: KVec<Hwpt>, context: Context) -> Result {
    let guard = FLB.incoming()?;
    let incoming = guard.get();
    let retrieved = Retrieved {
        owner,
        context,
        hwpts,
    };

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
        let record = incoming.device(Function::of(device).ok()?.address)?;
        let progress = incoming.progress.lock();
        let iommufd = progress.retrieved.iter().find(|r| r.context == context)?;

        Some(iommufd.owner == record.owner)
    };

    find().unwrap_or(false)
}

/// A restored domain as the HWPT of an iommufd. Dropping it is destroying the HWPT.
pub(crate) struct RestoredHwpt {
    incoming: Arc<Incoming>,
    number: u32,
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

    let (owner, number) = progress.hwpt(context, token).ok_or(ENOENT)?;
    if progress.gone.contains(&number) {
        return Err(ENOENT);
    }
    let restored = progress.domain(number).ok_or(ENODEV)?;
    if restored.owner != owner {
        return Err(ENODEV);
    }
    if restored.has_hwpt {
        return Err(EEXIST);
    }
    restored.has_hwpt = true;
    let domain = restored.domain;
    drop(progress);

    Ok(RestoredHwpt {
        incoming,
        number,
        domain,
    })
}

impl Drop for RestoredHwpt {
    fn drop(&mut self) {
        let mut progress = self.incoming.progress.lock();
        let Some(restored) = progress.domain(self.number) else {
            return;
        };

        restored.has_hwpt = false;
        // A device that still uses it, but not through the HWPT, keeps it.
        if restored.users > 0 {
            return;
        }
        let restored = progress.give_back(self.number);
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
        .any(|d| d.owner == owner && d.users > 0)
}

/// Gives back what `hwpts` of `owner` stood for, except where there is a HWPT: that goes when the
/// HWPT is destroyed.
///
/// No device may use any of it, see [`is_attached`].
pub(crate) fn finish(incoming: &Incoming, owner: u64, hwpts: impl Iterator<Item = Hwpt>) {
    for hwpt in hwpts {
        let mut progress = incoming.progress.lock();
        let is_in_use = |d: &mut RestoredDomain| d.owner != owner || d.has_hwpt || d.users > 0;

        if progress.domain(hwpt.domain).is_some_and(is_in_use) {
            continue;
        }
        let restored = progress.give_back(hwpt.domain);
        drop(progress);
        match restored {
            Ok(Some(restored)) => free(incoming, restored),
            Ok(None) => give_back_unused(incoming, owner, hwpt.domain),
            // Its HWPT was destroyed.
            Err(e) if e == EALREADY => {}
            Err(_) => pr_warn!("domain {} stays reserved: out of memory\n", hwpt.domain),
        }
    }

    let mut progress = incoming.progress.lock();
    progress.retrieved.retain(|r| r.owner != owner);
}

/// Frees a restored domain and its tables.
fn free(incoming: &Incoming, restored: RestoredDomain) {
    // One of its devices may have come back, and another one not.
    clear_entries(incoming, restored.number);

    match restored.pages {
        TablePages::Preserved => {
            if let Some(record) = incoming.domain(restored.number) {
                // SAFETY: Nothing uses the domain any more: no group, and no HWPT.
                unsafe { reclaim::free(&record) };
            }
        }
        // SAFETY: As above.
        TablePages::Owned => unsafe { restored.domain.free_tables() },
        TablePages::Damaged => {}
    }
    // SAFETY: As above.
    unsafe { restored.domain.free() };
}

/// Gives back the tables of a domain none of whose devices came back.
fn give_back_unused(incoming: &Incoming, owner: u64, number: u32) {
    let Some(record) = incoming.domain(number) else {
        return;
    };
    let devices = || incoming.devices().filter(|d| d.domain == number);

    if devices().any(|d| d.owner != owner) {
        return;
    }
    clear_entries(incoming, number);
    if let Some(first) = devices().next() {
        if incoming.progress.lock().adopted.contains(&first.unit) {
            hooks::release_domain_id(first.unit, first.domain_id);
        }
    }
    // SAFETY: No entry leads to the tables: either they were cleared, or the unit has never read
    // them in this kernel.
    unsafe { reclaim::free(&record) };
}

/// Clears what still leads to the tables of a domain that no group uses: the entries of devices
/// that did not come back. A device that is added there later must not find them.
fn clear_entries(incoming: &Incoming, number: u32) {
    for device in incoming.devices().filter(|d| d.domain == number) {
        // A unit that was not adopted reads none of the old tables.
        if !incoming.progress.lock().adopted.contains(&device.unit) {
            continue;
        }
        for id in device.requester_ids.iter() {
            hooks::clear_entry(device.unit, id, device.domain_id);
        }
    }
}

/// Makes this kernel the owner of the tables of `domain`, if it was restored, so that they can be
/// preserved again.
///
/// # Errors
///
/// `EBADMSG` if the tables are damaged.
pub(crate) fn own(domain: Domain) -> Result {
    if !domain.is_restored() {
        return Ok(());
    }
    let guard = FLB.incoming()?;
    let incoming = guard.get();
    let find = |progress: &Progress| {
        progress
            .domains
            .iter()
            .copied()
            .find(|d| d.domain == domain)
    };
    let restored = find(&incoming.progress.lock()).ok_or(ENODEV)?;

    match restored.pages {
        TablePages::Owned => return Ok(()),
        TablePages::Damaged => return Err(EBADMSG),
        TablePages::Preserved => {}
    }
    let record = incoming.domain(restored.number).ok_or(ENODEV)?;
    let (pages, result) = if reclaim::own(&record) {
        (TablePages::Owned, Ok(()))
    } else {
        (TablePages::Damaged, Err(EBADMSG))
    };
    if let Some(restored) = incoming.progress.lock().domain(restored.number) {
        restored.pages = pages;
    }
    result
}
