// SPDX-License-Identifier: GPL-2.0

//! What kexec asks about an image, and what sysfs shows of it.
//!
//! C headers: `drivers/iommu/liveupdate/hooks.h`,
//! [`include/linux/iommu-liveupdate.h`](srctree/include/linux/iommu-liveupdate.h),
//! [`include/linux/kho/abi/iommu.h`](srctree/include/linux/kho/abi/iommu.h)

use crate::preflight::{
    self,
    Policy, //
};
use core::slice;
use kernel::{
    bindings,
    ffi::{
        c_char,
        c_void, //
    },
    prelude::*, //
};
use liveupdate_state::{
    features::FEATURES,
    image,
    offer::{
        format,
        KHO_ON, //
    },
    schema, //
};

/// Whether `c`, a string of a C header with its terminator, is `name`.
const fn same(c: &[u8], name: &str) -> bool {
    let name = name.as_bytes();
    let mut i = 0;

    while i < name.len() {
        if i >= c.len() || c[i] != name[i] {
            return false;
        }
        i += 1;
    }
    c.len() == name.len() + 1
}

// What the image says is written with the C header, what is required with these names.
const _: () = {
    use bindings::*;

    assert!(same(
        IOMMU_LIVEUPDATE_INDEX_COMPATIBLE,
        schema::INDEX_COMPATIBLE
    ));
    assert!(same(
        IOMMUFD_LIVEUPDATE_STATE_COMPATIBLE,
        schema::IOMMUFD_COMPATIBLE
    ));
    assert!(same(VFIO_PCI_LIVEUPDATE_FH_COMPATIBLE, format::VFIO_PCI));
    assert!(same(IOMMU_LIVEUPDATE_INFO_KHO, format::KHO));
    assert!(same(IOMMU_LIVEUPDATE_INFO_LUO, format::LUO));
    assert!(same(IOMMU_LIVEUPDATE_INFO_MEMFD, format::MEMFD));
    assert!(same(IOMMU_LIVEUPDATE_INFO_KHO_ON, KHO_ON));
    // Each feature has its macro.
    assert!(FEATURES.len() == 1 && same(IOMMU_LIVEUPDATE_FEATURE_TEST, FEATURES[0]));
    assert!(match IOMMU_LIVEUPDATE_INFO_MAGIC.first_chunk() {
        Some(magic) => u32::from_le_bytes(*magic) == u32::from_le_bytes(image::MAGIC),
        None => false,
    });
};

/// Borrows memory from C.
///
/// # Safety
///
/// `data` must be null, or valid for reads of `len` bytes for `'a`.
unsafe fn bytes<'a>(data: *const c_void, len: usize) -> &'a [u8] {
    if data.is_null() {
        return &[];
    }
    // SAFETY: By the safety requirement.
    unsafe { slice::from_raw_parts(data.cast(), len) }
}

/// Returns what an image can take over from this kernel, as a number for
/// [`Flb::preflight`](kernel::liveupdate::Flb::preflight).
///
/// # Safety
///
/// `image` and `cmdline` must each be null or valid for reads of the size that follows.
#[export]
pub(crate) unsafe extern "C" fn iommu_liveupdate_offer(
    image: *const c_void,
    image_len: usize,
    cmdline: *const c_char,
    cmdline_len: usize,
) -> u64 {
    // SAFETY: By the safety requirement.
    let (image, cmdline) = unsafe { (bytes(image, image_len), bytes(cmdline.cast(), cmdline_len)) };

    preflight::offer(image, cmdline).bits()
}

/// Writes a list of names, one on a line, and returns its size in bytes.
///
/// # Safety
///
/// `buf` must have `size` bytes that are initialised and can be written to.
#[export]
pub(crate) unsafe extern "C" fn iommu_liveupdate_list(
    buf: *mut c_char,
    size: usize,
    names: bindings::iommu_liveupdate_names,
) -> usize {
    // SAFETY: By the safety requirement.
    let buf = unsafe { slice::from_raw_parts_mut(buf.cast(), size) };

    if names == bindings::iommu_liveupdate_names_IOMMU_LIVEUPDATE_REQUIRED {
        preflight::write_required(buf)
    } else {
        preflight::write_supported(buf)
    }
}

/// Returns what becomes of a reboot into an image that cannot take over.
///
/// # Safety
///
/// None; C has no notion of it.
#[export]
pub(crate) unsafe extern "C" fn iommu_liveupdate_policy() -> bindings::iommu_liveupdate_policy {
    match preflight::policy() {
        Policy::Refuse => bindings::iommu_liveupdate_policy_IOMMU_LIVEUPDATE_REFUSE,
        Policy::Stop => bindings::iommu_liveupdate_policy_IOMMU_LIVEUPDATE_STOP,
    }
}

/// Sets what becomes of a reboot into an image that cannot take over.
///
/// # Safety
///
/// None; C has no notion of it.
#[export]
pub(crate) unsafe extern "C" fn iommu_liveupdate_set_policy(
    policy: bindings::iommu_liveupdate_policy,
) {
    preflight::set_policy(
        if policy == bindings::iommu_liveupdate_policy_IOMMU_LIVEUPDATE_STOP {
            Policy::Stop
        } else {
            Policy::Refuse
        },
    );
}
