// SPDX-License-Identifier: GPL-2.0

//! How a device gets back the domain that the previous kernel attached it to.

use crate::{
    flb::FLB,
    hooks::{
        self,
        Device,
        DirectMap,
        Domain,
        Function, //
    },
    incoming::{
        Incoming,
        Progress,
        RestoredDomain, //
    }, //
};
use kernel::prelude::*;
use liveupdate_state::{
    vtd,
    Device as DeviceRecord, //
};

/// Returns the domain that stands for the page tables that `device` is using, to be attached
/// instead of its default domain, or [`None`] if there are none.
///
/// `singular` tells whether the device is alone in its group. If the device has a record but
/// cannot go on, its bus mastering and its entries are gone when this returns.
///
/// # Context
///
/// Process context, with the lock of the group held.
pub(crate) fn restore(device: &Device, singular: bool) -> Option<Domain> {
    let guard = FLB.incoming().ok()?;
    let incoming = guard.get();
    let function = Function::of(device).ok()?;
    let record = incoming.device(function.address)?;

    match restore_record(&incoming, device, &function, &record, singular) {
        Ok(domain) => {
            hooks::set_dma_inherited(device);
            dev_info!(device, "restored domain {}\n", record.domain);
            Some(domain)
        }
        Err(reason) => {
            dev_err!(device, "DMA is stopped: {}\n", reason);
            reject(&incoming, device, &function);
            None
        }
    }
}

fn restore_record(
    incoming: &Incoming,
    device: &Device,
    function: &Function,
    record: &DeviceRecord<'_>,
    singular: bool,
) -> core::result::Result<Domain, &'static str> {
    let mut progress = incoming.progress.lock();

    if !singular {
        return Err("its group has got other devices");
    }
    if !progress.adopted.contains(&record.unit) {
        return Err("its IOMMU unit was not taken over");
    }
    if progress.rejected.contains(&record.address) {
        return Err("it was rejected before");
    }
    if function.vendor_device != record.vendor_device || function.class != record.class {
        return Err("it is another device");
    }
    if !is_attached(incoming, record) {
        return Err("its entries were cleared");
    }
    progress.get(incoming, device, record)
}

impl Progress {
    /// Returns the domain of the device, and counts it as one more user.
    fn get(
        &mut self,
        incoming: &Incoming,
        device: &Device,
        record: &DeviceRecord<'_>,
    ) -> core::result::Result<Domain, &'static str> {
        if let Some(domain) = self.domains.iter_mut().find(|d| d.number == record.domain) {
            domain.users = domain.users.saturating_add(1);
            return Ok(domain.domain);
        }

        let tables = incoming
            .domain(record.domain)
            .ok_or("its domain is not in the state")?;
        self.domains
            .reserve(1, GFP_KERNEL)
            .map_err(|_| "out of memory")?;
        let domain = Domain::restore(device, &tables, record.domain_id)
            .map_err(|_| "the driver does not accept its page tables")?;
        let restored = RestoredDomain {
            number: record.domain,
            owner: record.owner,
            domain,
            users: 1,
        };
        self.domains
            .push(restored, GFP_KERNEL)
            .map_err(|_| "out of memory")?;
        Ok(domain)
    }
}

/// Whether hardware still has the entries that the state describes.
fn is_attached(incoming: &Incoming, record: &DeviceRecord<'_>) -> bool {
    match (incoming.unit(record.unit), incoming.domain(record.domain)) {
        (Some(unit), Some(domain)) => vtd::is_attached(&DirectMap, &unit, record, &domain),
        _ => false,
    }
}

/// Whether attaching `domain`, which was restored, to `device` changes nothing.
///
/// # Context
///
/// Process context, with the lock of the group held.
pub(crate) fn may_attach(domain: Domain, device: &Device) -> bool {
    let find = || -> Option<bool> {
        let guard = FLB.incoming().ok()?;
        let incoming = guard.get();
        let record = incoming.device(Function::of(device).ok()?.address)?;
        let progress = incoming.progress.lock();
        let restored = progress.domains.iter().find(|d| d.domain == domain)?;

        Some(restored.number == record.domain && is_attached(&incoming, &record))
    };

    find().unwrap_or(false)
}

fn reject(incoming: &Incoming, device: &Device, function: &Function) {
    hooks::stop(device);
    hooks::discard(device);

    // If there is no memory, the entries that are gone will do as a reason.
    let _ = incoming
        .progress
        .lock()
        .rejected
        .push(function.address, GFP_KERNEL);
}

/// Ends the translation that the previous kernel left for `device`: its restored domain could not be
/// attached, or the device is going away.
pub(crate) fn discard(device: &Device) {
    if let (Ok(guard), Ok(function)) = (FLB.incoming(), Function::of(device)) {
        dev_warn!(device, "DMA is stopped: its restored domain is given up\n");
        reject(&guard.get(), device, &function);
    }
}

/// Gives up a domain that [`restore`] returned, and frees it if it was the last user.
///
/// The page tables stay reserved.
pub(crate) fn put(domain: Domain) {
    let Ok(guard) = FLB.incoming() else {
        return;
    };
    let incoming = guard.get();
    let mut progress = incoming.progress.lock();
    let Some(index) = progress.domains.iter().position(|d| d.domain == domain) else {
        return;
    };

    if let Some(restored) = progress.domains.get_mut(index) {
        restored.users = restored.users.saturating_sub(1);
        if restored.users > 0 {
            return;
        }
    }
    if progress.domains.remove(index).is_ok() {
        // SAFETY: The last group has detached the domain, and it cannot be found any more.
        unsafe { domain.free() };
    }
}
