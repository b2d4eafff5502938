// SPDX-License-Identifier: GPL-2.0

//! What C calls.
//!
//! C headers: `drivers/iommu/liveupdate/hooks.h`,
//! [`include/linux/iommu-liveupdate.h`](srctree/include/linux/iommu-liveupdate.h)

use crate::{
    counters,
    debugfs,
    hooks::{
        self,
        Device,
        Domain,
        IntelIommu, //
    },
    restore,
    retrieved::{
        self,
        Context,
        RestoredHwpt, //
    },
    scrub,
    sealed,
    takeover::{
        self,
        Takeover, //
    }, //
};
use core::{
    ptr::{
        self,
        NonNull, //
    },
    slice, //
};
use kernel::{
    bindings,
    device,
    error::from_result,
    ffi::{
        c_int,
        c_uint,
        c_void, //
    },
    prelude::*,
    seq_file::SeqFile,
    types::ForeignOwnable, //
};
use liveupdate_state::ContextTables;

/// Takes a reference to a device from C.
///
/// # Safety
///
/// `dev` must be valid.
unsafe fn device(dev: *mut bindings::device) -> Device {
    // SAFETY: By the safety requirement.
    unsafe { device::Device::get_device(dev) }
}

/// Decides about a unit that is translating at boot.
///
/// # Safety
///
/// `unit` and `iommu` must be valid for the duration of the call.
#[export]
pub(crate) unsafe extern "C" fn iommu_liveupdate_takeover(
    unit: *const bindings::iommu_liveupdate_unit,
    iommu: *mut bindings::intel_iommu,
) -> bindings::iommu_liveupdate_takeover {
    let Some(iommu) = NonNull::new(iommu) else {
        return bindings::iommu_liveupdate_takeover_IOMMU_LIVEUPDATE_TAKEOVER_NONE;
    };
    // SAFETY: By the safety requirement.
    let (unit, iommu) = unsafe { (hooks::Unit::new(*unit), IntelIommu::from_raw(iommu)) };

    match takeover::take_over(&unit, &iommu) {
        Takeover::None => bindings::iommu_liveupdate_takeover_IOMMU_LIVEUPDATE_TAKEOVER_NONE,
        Takeover::Adopt => bindings::iommu_liveupdate_takeover_IOMMU_LIVEUPDATE_TAKEOVER_ADOPT,
        Takeover::Block => bindings::iommu_liveupdate_takeover_IOMMU_LIVEUPDATE_TAKEOVER_BLOCK,
    }
}

/// Clears what the next kernel must not find in the tables of a unit, and returns whether the unit
/// goes on translating.
///
/// # Safety
///
/// `unit` must be valid, and the kernel must be shutting down with one CPU left.
#[export]
pub(crate) unsafe extern "C" fn iommu_liveupdate_scrub(
    unit: *const bindings::iommu_liveupdate_unit,
) -> bool {
    // SAFETY: By the safety requirement.
    let (unit, state) = unsafe { (hooks::Unit::new(*unit), sealed::get()) };
    let unit = unit.record(ContextTables::new(&[]));

    if sealed::is_stopping() {
        scrub::clear(&unit);
    }
    let goes_on = state.is_some_and(|state| scrub::scrub(&state, &unit));

    #[cfg(CONFIG_IOMMU_LIVEUPDATE_DAMAGE)]
    if goes_on {
        // SAFETY: By the safety requirement.
        unsafe { crate::damage_hooks::carry_out() };
    }
    goes_on
}

/// Returns whether the tables of all units are cleared at the end of this kernel.
///
/// # Safety
///
/// None; C has no notion of it.
#[export]
pub(crate) unsafe extern "C" fn iommu_liveupdate_is_stopping() -> bool {
    sealed::is_stopping()
}

/// Makes sure that no device is doing DMA, because translation is about to be switched off.
///
/// # Safety
///
/// None; C has no notion of it.
#[export]
pub(crate) unsafe extern "C" fn iommu_liveupdate_stop_devices() {
    takeover::stop_devices();
}

/// Returns the domain that the device goes on with, or NULL.
///
/// # Safety
///
/// `dev` must be valid and have been probed by the IOMMU core.
#[export]
pub(crate) unsafe extern "C" fn iommu_liveupdate_restore_domain(
    dev: *mut bindings::device,
    singular: bool,
) -> *mut bindings::iommu_domain {
    // SAFETY: By the safety requirement.
    let device = unsafe { device(dev) };

    restore::restore(&device, singular).map_or(ptr::null_mut(), Domain::as_ptr)
}

/// Ends the translation that the previous kernel left for the device.
///
/// # Safety
///
/// `dev` must be valid and have been probed by the IOMMU core.
#[export]
pub(crate) unsafe extern "C" fn iommu_liveupdate_discard_device(dev: *mut bindings::device) {
    // SAFETY: By the safety requirement.
    restore::discard(&unsafe { device(dev) });
}

/// Notes that the group of the device no longer uses a domain from
/// [`iommu_liveupdate_restore_domain`].
///
/// # Safety
///
/// Both must be valid, and the caller must have detached the domain.
#[export]
pub(crate) unsafe extern "C" fn iommu_liveupdate_leave_domain(
    domain: *mut bindings::iommu_domain,
    dev: *mut bindings::device,
) {
    if let Some(domain) = NonNull::new(domain) {
        // SAFETY: By the safety requirement.
        let (domain, device) = unsafe { (Domain::from_raw(domain), device(dev)) };

        restore::leave(domain, &device);
    }
}

/// Whether `owner`, which is the context of an iommufd or something else, may own the device.
///
/// # Safety
///
/// `dev` must be valid.
#[export]
pub(crate) unsafe extern "C" fn iommu_liveupdate_may_claim(
    dev: *mut bindings::device,
    owner: *mut c_void,
) -> bool {
    // SAFETY: By the safety requirement.
    retrieved::may_claim(&unsafe { device(dev) }, Context(owner.addr()))
}

/// Finds the HWPT that a retrieved iommufd had under a token.
///
/// Returns 0, `-ENOENT`, `-ENODEV`, `-EEXIST` or `-ENOMEM`, see [`retrieved::restore_hwpt`].
///
/// # Safety
///
/// `hwpt` must be valid for writing.
#[export]
pub(crate) unsafe extern "C" fn iommu_liveupdate_restore_hwpt(
    ictx: *mut bindings::iommufd_ctx,
    token: u64,
    hwpt: *mut bindings::iommu_liveupdate_hwpt,
) -> c_int {
    from_result(|| {
        let restored = retrieved::restore_hwpt(Context(ictx.addr()), token)?;
        let domain = restored.domain().as_ptr();
        let handle = KBox::new(restored, GFP_KERNEL)?.into_foreign();

        // SAFETY: By the safety requirement.
        unsafe { hwpt.write(bindings::iommu_liveupdate_hwpt { domain, handle }) };
        Ok(0)
    })
}

/// Gives up a HWPT from [`iommu_liveupdate_restore_hwpt`].
///
/// # Safety
///
/// `handle` must come from there, and neither it nor the domain may be used afterwards.
#[export]
pub(crate) unsafe extern "C" fn iommu_liveupdate_release_hwpt(handle: *mut c_void) {
    // SAFETY: By the safety requirement, it comes from `into_foreign()`.
    drop(unsafe { KBox::<RestoredHwpt>::from_foreign(handle) });
}

/// Whether attaching the restored domain to the device changes nothing.
///
/// # Safety
///
/// Both must be valid.
#[export]
pub(crate) unsafe extern "C" fn iommu_liveupdate_may_attach(
    domain: *mut bindings::iommu_domain,
    dev: *mut bindings::device,
) -> bool {
    NonNull::new(domain).is_some_and(|domain| {
        // SAFETY: By the safety requirement.
        let (domain, device) = unsafe { (Domain::from_raw(domain), device(dev)) };

        restore::may_attach(domain, &device)
    })
}

/// Prints the state of one direction as a table.
///
/// # Safety
///
/// `m` must be the file that is being shown.
#[export]
pub(crate) unsafe extern "C" fn iommu_liveupdate_show(
    m: *mut bindings::seq_file,
    direction: bindings::iommu_liveupdate_direction,
) {
    // SAFETY: By the safety requirement.
    let m = unsafe { SeqFile::from_raw(m) };

    if is_incoming(direction) {
        debugfs::show_incoming(m);
    } else {
        debugfs::show_outgoing(m);
    }
}

/// Counts an entry of the hardware's tables that was exchanged while it was in use.
///
/// # Safety
///
/// None; C has no notion of it.
#[export]
pub(crate) unsafe extern "C" fn iommu_liveupdate_count_replaced(flushes: c_uint) {
    counters::ENTRIES_REPLACED.add(1);
    counters::REPLACE_FLUSHES.add(flushes.into());
}

/// Prints the counters.
///
/// # Safety
///
/// `m` must be the file that is being shown.
#[export]
pub(crate) unsafe extern "C" fn iommu_liveupdate_show_counters(m: *mut bindings::seq_file) {
    // SAFETY: By the safety requirement.
    counters::show(unsafe { SeqFile::from_raw(m) });
}

/// Copies the index of one direction and the states to which it leads, one after the other, and
/// returns their size in bytes.
///
/// # Safety
///
/// `buf` must have `size` bytes that are initialised and can be written to.
#[export]
pub(crate) unsafe extern "C" fn iommu_liveupdate_copy_state(
    buf: *mut c_void,
    size: usize,
    direction: bindings::iommu_liveupdate_direction,
) -> usize {
    // SAFETY: By the safety requirement.
    let buf = unsafe { slice::from_raw_parts_mut(buf.cast::<u8>(), size) };
    let mut copied = 0;

    debugfs::for_each_blob(is_incoming(direction), |blob| {
        let rest = buf.get_mut(copied..).unwrap_or(&mut []);

        for (to, from) in rest.iter_mut().zip(blob) {
            *to = *from;
        }
        copied = copied.saturating_add(blob.len()).min(size);
    });
    copied
}

fn is_incoming(direction: bindings::iommu_liveupdate_direction) -> bool {
    direction == bindings::iommu_liveupdate_direction_IOMMU_LIVEUPDATE_INCOMING
}
