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
        Records,
        RestoredDomain, //
    },
    trust::is_trusting, //
};
use kernel::prelude::*;
use liveupdate_state::{
    vtd,
    Device as DeviceRecord,
    PciAddress,
    Tree, //
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
    let (records, record) = incoming.device(function.address)?;

    if incoming.progress.lock().left.contains(&record.address) {
        return None;
    }
    match restore_record(&incoming, device, &function, records, &record, singular) {
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
    records: &Records,
    record: &DeviceRecord<'_>,
    singular: bool,
) -> core::result::Result<Domain, &'static str> {
    let mut progress = incoming.progress.lock();

    if !singular {
        return Err("its group has got other devices");
    }
    if progress.rejected.contains(&record.address) {
        return Err("it was rejected before");
    }
    if progress.gone.contains(&records.key(record.domain)) {
        return Err("its session is finished");
    }
    if function.vendor_device != record.vendor_device || function.class != record.class {
        return Err("it is another device");
    }
    if !is_attached(records, record) && !is_trusting() {
        return Err("its entries were cleared");
    }
    progress.get(device, records, record)
}

impl Progress {
    /// Returns the domain of the device, and counts it as one more user.
    fn get(
        &mut self,
        device: &Device,
        records: &Records,
        record: &DeviceRecord<'_>,
    ) -> core::result::Result<Domain, &'static str> {
        let key = records.key(record.domain);

        if let Some(domain) = self.domain(key) {
            domain.users = domain.users.saturating_add(1);
            return Ok(domain.domain);
        }

        let tables = records
            .domain(record.domain)
            .ok_or("its domain is not in the state")?;
        self.domains
            .reserve(1, GFP_KERNEL)
            .map_err(|_| "out of memory")?;
        let domain = Domain::restore(device, &tables, record.domain_id)
            .map_err(|_| "the driver does not accept its page tables")?;
        let restored = RestoredDomain {
            key,
            domain,
            users: 1,
            has_hwpt: false,
        };
        self.domains
            .push(restored, GFP_KERNEL)
            .map_err(|_| "out of memory")?;
        Ok(domain)
    }
}

/// Whether hardware still has the entries that the state describes.
fn is_attached(records: &Records, record: &DeviceRecord<'_>) -> bool {
    match (records.unit(record.unit), records.domain(record.domain)) {
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
        let (records, record) = incoming.device(Function::of(device).ok()?.address)?;
        let progress = incoming.progress.lock();
        let restored = progress.domains.iter().find(|d| d.domain == domain)?;

        Some(
            restored.key == records.key(record.domain)
                && (is_attached(records, &record) || is_trusting()),
        )
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

/// Notes that the group of `device` no longer uses `domain`, which [`restore`] returned.
///
/// The domain stays for those who may still ask for it, see `retrieved.rs`.
///
/// # Context
///
/// Process context, with the lock of the group held.
pub(crate) fn leave(domain: Domain, device: &Device) {
    let Ok(guard) = FLB.incoming() else {
        return;
    };
    let incoming = guard.get();
    let mut progress = incoming.progress.lock();

    if let Some(restored) = progress.domains.iter_mut().find(|d| d.domain == domain) {
        restored.users = restored.users.saturating_sub(1);
    }
    if let Ok(function) = Function::of(device) {
        // If there is no memory, the entries that are no longer there will do as a reason.
        let _ = progress.left.push(function.address, GFP_KERNEL);
    }
}

/// Whether the device at `address` goes on with its restored domain.
pub(crate) fn is_restored(incoming: &Incoming, address: PciAddress) -> bool {
    let Some((records, record)) = incoming.device(address) else {
        return false;
    };
    let mut progress = incoming.progress.lock();

    !progress.left.contains(&address)
        && !progress.rejected.contains(&address)
        && progress
            .domain(records.key(record.domain))
            .is_some_and(|d| d.users > 0)
}
