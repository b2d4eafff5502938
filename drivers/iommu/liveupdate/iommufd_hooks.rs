// SPDX-License-Identifier: GPL-2.0

//! The objects of an iommufd as a live update sees them.
//!
//! The types follow the steps of preserving one: an [`Iommufd`] is asked to fix its marks, a marked
//! or restored [`Hwpt`] is frozen, and only a [`FrozenHwpt`] tells what is mapped and which devices
//! use it. Dropping a value undoes its step.
//!
//! Everything here runs in process context and may sleep.
//!
//! C counterpart: `drivers/iommu/iommufd/liveupdate.c`.

use crate::{
    hooks::{
        Device,
        Domain, //
    },
    iommufd::policy::{
        DeviceFacts,
        Refusal, //
    },
    retrieved::Context,
    verify, //
};
use core::{
    iter,
    mem::MaybeUninit,
    ptr::NonNull, //
};
use kernel::{
    bindings,
    error::{
        from_err_ptr,
        from_result,
        to_result, //
    },
    ffi::c_int,
    fs::File,
    kho,
    page::PAGE_SIZE,
    prelude::*,
    sync::aref::ARef, //
};
use liveupdate_state::verify::Reason;

/// A reference to an iommufd.
///
/// # Invariants
///
/// `ctx` points to an iommufd context to which this value owns a reference.
struct Iommufd {
    ctx: NonNull<bindings::iommufd_ctx>,
}

impl Iommufd {
    /// Returns the iommufd behind a file.
    ///
    /// # Errors
    ///
    /// `EBADFD` if the file is none.
    fn from_file(file: &File) -> Result<Self> {
        // SAFETY: The file is valid; the function only looks at it.
        let ctx = from_err_ptr(unsafe { bindings::iommufd_ctx_from_file(file.as_ptr()) })?;

        // INVARIANT: The function returned a reference.
        Ok(Self {
            ctx: NonNull::new(ctx).ok_or(EBADFD)?,
        })
    }
}

impl Clone for Iommufd {
    fn clone(&self) -> Self {
        // SAFETY: This value owns a reference.
        unsafe { bindings::iommufd_ctx_get(self.ctx.as_ptr()) };

        // INVARIANT: Just taken.
        Self { ctx: self.ctx }
    }
}

impl Drop for Iommufd {
    fn drop(&mut self) {
        // SAFETY: This value owns a reference and gives it up.
        unsafe { bindings::iommufd_ctx_put(self.ctx.as_ptr()) };
    }
}

/// Tells whether a file is an iommufd.
pub(crate) fn is_iommufd(file: &File) -> bool {
    Iommufd::from_file(file).is_ok()
}

/// Creates an iommufd that is not open in any process.
///
/// # Errors
///
/// `ENOMEM`, or `ENFILE` if there are too many files.
pub(crate) fn create() -> Result<(ARef<File>, Context)> {
    // SAFETY: The function has no preconditions.
    let file = from_err_ptr(unsafe { bindings::iommufd_create_file() })?;
    let file = NonNull::new(file).ok_or(ENOMEM)?;
    // SAFETY: The function returned a valid file with a reference, which moves to the `ARef`. The
    // file is in no table, so that nobody can be using its position.
    let file: ARef<File> = unsafe { ARef::from_raw(file.cast()) };
    let context = Context(Iommufd::from_file(&file)?.ctx.addr().get());

    Ok((file, context))
}

/// Lets other tasks run if it is time for that, in the middle of something that takes long.
///
/// # Errors
///
/// `EINTR` if the caller was killed.
pub(crate) fn pause() -> Result {
    // SAFETY: Everything that takes long is in process context.
    to_result(unsafe { bindings::iommufd_liveupdate_pause() })
}

/// An iommufd in which HWPTs can no longer be marked for preservation.
///
/// # Invariants
///
/// `iommufd_liveupdate_begin()` succeeded for `iommufd`, and this value stands for that.
pub(crate) struct FixedMarks {
    iommufd: Iommufd,
}

// SAFETY: The C functions take the locks they need and can be called by any thread.
unsafe impl Send for FixedMarks {}

impl FixedMarks {
    /// Fixes the marks of the iommufd behind a file.
    ///
    /// # Errors
    ///
    /// `EBADFD` if the file is no iommufd, `EBUSY` if its marks are fixed already.
    pub(crate) fn new(file: &File) -> Result<Self> {
        let iommufd = Iommufd::from_file(file)?;

        // SAFETY: `iommufd` holds a reference to the context.
        to_result(unsafe { bindings::iommufd_liveupdate_begin(iommufd.ctx.as_ptr()) })?;

        // INVARIANT: It succeeded.
        Ok(Self { iommufd })
    }

    /// Iterates over the marked and the restored HWPTs.
    pub(crate) fn hwpts(&self) -> impl Iterator<Item = Hwpt> + '_ {
        let mut id = 0;

        iter::from_fn(move || {
            let mut token = 0;

            // SAFETY: The context is valid, and the pointers are valid for writing.
            let hwpt = unsafe {
                bindings::iommufd_liveupdate_next_hwpt(
                    self.iommufd.ctx.as_ptr(),
                    &raw mut id,
                    &raw mut token,
                )
            };

            // INVARIANT: The function returned a HWPT of this iommufd with a reference.
            Some(Hwpt {
                ptr: NonNull::new(hwpt)?,
                iommufd: self.iommufd.clone(),
                id,
                token,
            })
        })
    }
}

impl Drop for FixedMarks {
    fn drop(&mut self) {
        // SAFETY: This value stands for a successful `iommufd_liveupdate_begin()`.
        unsafe { bindings::iommufd_liveupdate_end(self.iommufd.ctx.as_ptr()) };
    }
}

/// A HWPT that is marked for preservation, or was restored, and cannot be destroyed.
///
/// # Invariants
///
/// `ptr` points to a HWPT of `iommufd` to which this value owns a reference.
pub(crate) struct Hwpt {
    ptr: NonNull<bindings::iommufd_hw_pagetable>,
    iommufd: Iommufd,
    id: u32,
    token: u64,
}

// SAFETY: The C functions take the locks they need and can be called by any thread.
unsafe impl Send for Hwpt {}

impl Hwpt {
    /// Returns its object ID.
    pub(crate) fn id(&self) -> u32 {
        self.id
    }

    /// Returns the token that it is marked with, or was restored from.
    pub(crate) fn token(&self) -> u64 {
        self.token
    }

    /// Tells whether it was restored. If not, it is one of an IOAS.
    pub(crate) fn is_restored(&self) -> bool {
        // SAFETY: The HWPT is valid.
        unsafe { bindings::iommufd_liveupdate_hwpt_is_restored(self.ptr.as_ptr()) }
    }

    /// Freezes its mappings and the attachments of its devices.
    pub(crate) fn freeze(self) -> Result<FrozenHwpt, Refusal> {
        // SAFETY: Both are valid by the invariants.
        let ret = unsafe {
            bindings::iommufd_liveupdate_freeze_hwpt(self.iommufd.ctx.as_ptr(), self.ptr.as_ptr())
        };

        to_result(ret).map_err(|e| {
            if e == EOPNOTSUPP {
                Refusal::EmulatedDevice
            } else {
                Refusal::MappingInProgress
            }
        })?;

        // INVARIANT: It is frozen.
        Ok(FrozenHwpt { hwpt: self })
    }
}

impl Drop for Hwpt {
    fn drop(&mut self) {
        // SAFETY: This value owns a reference and gives it up.
        unsafe { bindings::iommufd_liveupdate_put_hwpt(self.ptr.as_ptr()) };
    }
}

/// A HWPT whose mappings and attachments do not change.
///
/// # Invariants
///
/// `iommufd_liveupdate_freeze_hwpt()` succeeded for `hwpt`, and this value stands for that.
pub(crate) struct FrozenHwpt {
    hwpt: Hwpt,
}

impl FrozenHwpt {
    /// Returns its object ID.
    pub(crate) fn id(&self) -> u32 {
        self.hwpt.id()
    }

    /// Returns the token that it is marked with, or was restored from.
    pub(crate) fn token(&self) -> u64 {
        self.hwpt.token()
    }

    /// Tells whether it was restored. If not, it is one of an IOAS.
    pub(crate) fn is_restored(&self) -> bool {
        self.hwpt.is_restored()
    }

    /// Returns its domain, which is valid as long as this value.
    pub(crate) fn domain(&self) -> Domain {
        // SAFETY: The HWPT is valid.
        let domain = unsafe { bindings::iommufd_liveupdate_hwpt_domain(self.hwpt.ptr.as_ptr()) };

        // SAFETY: A HWPT gets its domain before it can be found and keeps it until it is destroyed,
        // which this value prevents. The caller uses the domain no longer than that.
        unsafe { Domain::from_raw(NonNull::new_unchecked(domain)) }
    }

    /// Tells whether one of its devices was detached nevertheless.
    pub(crate) fn is_broken(&self) -> bool {
        // SAFETY: The HWPT is valid and frozen.
        unsafe { bindings::iommufd_liveupdate_hwpt_is_broken(self.hwpt.ptr.as_ptr()) }
    }

    /// Iterates over its mappings in ascending order. Those of a restored HWPT are not known.
    pub(crate) fn areas(&self) -> impl Iterator<Item = Area<'_>> {
        let mut next = Some(0);

        iter::from_fn(move || {
            let mut area = MaybeUninit::<bindings::iommufd_liveupdate_area>::zeroed();

            // SAFETY: The HWPT is valid and frozen, and `area` is valid for writing.
            let found = unsafe {
                bindings::iommufd_liveupdate_next_area(
                    self.hwpt.ptr.as_ptr(),
                    next?,
                    area.as_mut_ptr(),
                )
            };
            if !found {
                return None;
            }

            // SAFETY: It was zeroed, and any bytes are valid for its integers and pointers.
            let area = unsafe { area.assume_init() };

            next = area.last_iova.checked_add(1);
            Some(Area {
                iova: area.iova,
                seals: u32::try_from(area.seals).ok(),
                file: NonNull::new(area.file).map(|file| {
                    // SAFETY: The mapping holds a reference to its file and exists as long as the
                    // HWPT is frozen. For that reference, `fdget_pos()` takes the lock.
                    unsafe { File::from_raw_file(file.as_ptr()) }
                }),
            })
        })
    }

    /// Checks that a mapping maps the pages that its file has now.
    ///
    /// The file must be preserved.
    ///
    /// # Errors
    ///
    /// The first IOVA that maps another page.
    pub(crate) fn check_area(&self, area: &Area<'_>) -> Result<(), u64> {
        let mut stale_iova = area.iova;

        // SAFETY: The HWPT is valid and frozen, and `stale_iova` is valid for writing.
        let ret = unsafe {
            bindings::iommufd_liveupdate_check_area(
                self.hwpt.ptr.as_ptr(),
                area.iova,
                &raw mut stale_iova,
            )
        };
        to_result(ret).map_err(|_| stale_iova)
    }

    /// Iterates over the devices that are attached to it.
    pub(crate) fn devices(&self) -> impl Iterator<Item = AttachedDevice> + '_ {
        let mut id = 0;

        iter::from_fn(move || {
            let mut out = MaybeUninit::<bindings::iommufd_liveupdate_device>::zeroed();

            // SAFETY: The context and the HWPT are valid, the HWPT is frozen, and both pointers are
            // valid for writing.
            let found = unsafe {
                bindings::iommufd_liveupdate_next_device(
                    self.hwpt.iommufd.ctx.as_ptr(),
                    self.hwpt.ptr.as_ptr(),
                    &raw mut id,
                    out.as_mut_ptr(),
                )
            };
            if !found {
                return None;
            }

            // SAFETY: It was zeroed, which is valid for all of its fields, and C wrote to it what
            // is valid for them.
            let out = unsafe { out.assume_init() };
            let device = NonNull::new(out.dev)?;

            Some(AttachedDevice {
                // SAFETY: C returned a valid device with a reference, which moves to the `ARef`.
                device: unsafe { ARef::from_raw(device.cast()) },
                facts: DeviceFacts {
                    group_devices: out.group_devices,
                    is_pci: out.is_pci,
                    is_virtfn: out.is_virtfn,
                    has_virtfns: out.has_virtfns,
                    ats_enabled: out.ats_enabled,
                    pri_enabled: out.pri_enabled,
                    has_pasids: out.has_pasids,
                    has_vdevice: out.has_vdevice,
                },
            })
        })
    }
}

impl Drop for FrozenHwpt {
    fn drop(&mut self) {
        // SAFETY: This value stands for a successful `iommufd_liveupdate_freeze_hwpt()`.
        unsafe {
            bindings::iommufd_liveupdate_unfreeze_hwpt(
                self.hwpt.iommufd.ctx.as_ptr(),
                self.hwpt.ptr.as_ptr(),
            )
        };
    }
}

/// A mapping of a frozen HWPT.
pub(crate) struct Area<'a> {
    /// First IOVA.
    pub(crate) iova: u64,
    /// The file whose pages are mapped, if it is one.
    pub(crate) file: Option<&'a File>,
    /// The seals of the file, if it can have any.
    seals: Option<u32>,
}

impl Area<'_> {
    /// Tells whether neither the size nor the seals of the file can change.
    pub(crate) fn is_sealed(&self) -> bool {
        const SEALS: u32 = bindings::F_SEAL_SEAL | bindings::F_SEAL_GROW | bindings::F_SEAL_SHRINK;

        self.seals.is_some_and(|seals| seals & SEALS == SEALS)
    }
}

/// A device that is attached to a frozen HWPT.
pub(crate) struct AttachedDevice {
    /// The device.
    pub(crate) device: Device,
    /// What matters for preserving it.
    pub(crate) facts: DeviceFacts,
}

/// The state of an iommufd that the previous kernel preserved, to be read where it lies.
///
/// `data` comes from the previous kernel.
///
/// # Errors
///
/// `ENOENT` if nothing is preserved there.
pub(crate) fn state(data: u64) -> Result<kho::PreservedRef> {
    let size = PAGE_SIZE
        .checked_shl(kho::preserved_order(data)?)
        .ok_or(EINVAL)?;

    // SAFETY: What LUO has for a file of this handler belongs to this handler, which restores it in
    // `finish()` only, when LUO calls nothing else for the file.
    unsafe { kho::PreservedRef::from_phys(data, size) }
}

/// Frees the state of an iommufd that the previous kernel preserved.
///
/// `data` comes from the previous kernel.
///
/// # Errors
///
/// `ENOENT` if nothing is preserved there.
pub(crate) fn free_state(data: u64) -> Result {
    // SAFETY: As in `state()`, and this is `finish()`.
    unsafe { kho::RestoredFolio::from_phys(data) }.map(drop)
}

/// The difference in the terms of userspace.
fn reason_code(reason: Option<Reason>) -> u32 {
    match reason {
        None => bindings::iommu_hwpt_liveupdate_verify_reason_IOMMU_HWPT_LIVEUPDATE_EQUAL,
        Some(Reason::Unmapped) => {
            bindings::iommu_hwpt_liveupdate_verify_reason_IOMMU_HWPT_LIVEUPDATE_UNMAPPED
        }
        Some(Reason::Address) => {
            bindings::iommu_hwpt_liveupdate_verify_reason_IOMMU_HWPT_LIVEUPDATE_ADDRESS
        }
        Some(Reason::Rights) => {
            bindings::iommu_hwpt_liveupdate_verify_reason_IOMMU_HWPT_LIVEUPDATE_RIGHTS
        }
        Some(Reason::Extra) => {
            bindings::iommu_hwpt_liveupdate_verify_reason_IOMMU_HWPT_LIVEUPDATE_EXTRA
        }
    }
}

/// Compares the page tables of two domains.
///
/// Returns 0, with the first difference in `iova` and `reason`, or an error, see
/// [`verify::compare`].
///
/// # Safety
///
/// The domains must be valid, and nothing may change their page tables meanwhile, except for bits
/// that hardware sets. `iova` and `reason` must be valid for writing.
#[export]
pub(crate) unsafe extern "C" fn iommu_liveupdate_verify(
    restored: *mut bindings::iommu_domain,
    new: *mut bindings::iommu_domain,
    allow_extra: bool,
    iova: *mut u64,
    reason: *mut u32,
) -> c_int {
    from_result(|| {
        let restored = NonNull::new(restored).ok_or(EINVAL)?;
        let new = NonNull::new(new).ok_or(EINVAL)?;
        // SAFETY: By the safety requirement.
        let (restored, new) = unsafe { (Domain::from_raw(restored), Domain::from_raw(new)) };
        let difference = verify::compare(restored, new, allow_extra)?;

        // SAFETY: By the safety requirement.
        unsafe {
            iova.write(difference.map_or(0, |d| d.iova));
            reason.write(reason_code(difference.map(|d| d.reason)));
        }
        Ok(0)
    })
}
