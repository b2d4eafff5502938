// SPDX-License-Identifier: GPL-2.0

//! Devices of vfio-pci as a live update sees them.
//!
//! Everything here runs in process context and may sleep.
//!
//! C counterpart: `drivers/vfio/liveupdate.c`.

use crate::hooks::{
    as_raw,
    Device, //
};
use core::ptr::{
    self,
    NonNull, //
};
use kernel::{
    bindings,
    device,
    error::{
        from_err_ptr,
        to_result, //
    },
    fs::File,
    prelude::*,
    sync::aref::ARef, //
};
use liveupdate_state::PciAddress;

/// The file of a device of vfio-pci that is bound to an iommufd.
///
/// # Invariants
///
/// `vfio_liveupdate_bound_device()` found a device behind `file`, and does so until `file` is
/// released. `device` and `iommufd` are what it returned.
#[derive(Clone, Copy)]
pub(crate) struct BoundCdev<'a> {
    file: &'a File,
    device: &'a device::Device,
    iommufd: &'a File,
}

impl<'a> BoundCdev<'a> {
    /// Looks behind `file`.
    ///
    /// Returns [`None`] for any other file, as for one that a VFIO group handed out.
    pub(crate) fn of(file: &'a File) -> Option<Self> {
        let mut iommufd = ptr::null_mut();

        // SAFETY: The file is valid, and `iommufd` is a valid out pointer.
        let device =
            unsafe { bindings::vfio_liveupdate_bound_device(file.as_ptr(), &raw mut iommufd) };
        let device: NonNull<device::Device> = NonNull::new(device)?.cast();

        // INVARIANT: Once bound, a device is only unbound when its file is released.
        Some(Self {
            file,
            // SAFETY: The device is valid as long as the file. `device::Device` is a transparent
            // wrapper of the C structure.
            device: unsafe { device.as_ref() },
            // SAFETY: The device holds a reference to the iommufd as long as the file. For that
            // reference, `fdget_pos()` takes the lock.
            iommufd: unsafe { File::from_raw_file(iommufd) },
        })
    }

    /// Returns the device.
    pub(crate) fn device(&self) -> Device {
        self.device.into()
    }

    /// Returns the file of the iommufd that the device is bound to.
    pub(crate) fn iommufd(&self) -> &File {
        self.iommufd
    }

    /// Checks that the device can be handed over as it is now.
    ///
    /// # Errors
    ///
    /// `EBUSY` if it is not in D0, or was detached while its HWPT was being preserved, `EOPNOTSUPP`
    /// for Intel graphics.
    pub(crate) fn check(&self) -> Result {
        // SAFETY: By the invariants, there is a device behind the file.
        to_result(unsafe { bindings::vfio_liveupdate_check(self.file.as_ptr()) })
    }

    /// Masks the interrupts of the device, and keeps its user from unmasking them.
    ///
    /// # Errors
    ///
    /// `EBUSY` if it is not in D0.
    pub(crate) fn freeze(&self) -> Result {
        // SAFETY: By the invariants, there is a device behind the file.
        to_result(unsafe { bindings::vfio_liveupdate_freeze(self.file.as_ptr()) })
    }

    /// Undoes [`freeze`](Self::freeze), which must have succeeded.
    pub(crate) fn unfreeze(&self) {
        // SAFETY: By the invariants, there is a device behind the file.
        unsafe { bindings::vfio_liveupdate_unfreeze(self.file.as_ptr()) };
    }
}

/// Finds the PCI function at `address`.
pub(crate) fn find(address: PciAddress) -> Option<Device> {
    // SAFETY: The function accepts any address.
    let device = unsafe { bindings::vfio_liveupdate_find(address.segment, address.requester_id) };
    let device: NonNull<device::Device> = NonNull::new(device)?.cast();

    // SAFETY: C returned a valid device with a reference, which moves to the `ARef`.
    Some(unsafe { ARef::from_raw(device) })
}

/// Opens a PCI function whose DMA outlived the previous kernel, without touching it.
///
/// # Errors
///
/// `EAGAIN` if vfio-pci is not bound to it, `EBADMSG` if its DMA did not go on, `EBUSY` if it was
/// opened by this function before, `ENOMEM`, `ENFILE`.
pub(crate) fn open(device: &device::Device) -> Result<ARef<File>> {
    // SAFETY: The device is a PCI function, or no vfio-pci device is registered for it.
    let file = from_err_ptr(unsafe { bindings::vfio_liveupdate_retrieve(as_raw(device)) })?;

    // SAFETY: C returned a new file, whose reference moves to the `ARef`. Nobody else knows of it.
    Ok(unsafe { ARef::from_raw(NonNull::new(file).ok_or(ENODEV)?.cast()) })
}
