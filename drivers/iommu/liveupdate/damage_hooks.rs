// SPDX-License-Identifier: GPL-2.0

//! Damaging what this kernel hands over, and believing what the previous one has damaged.
//!
//! Test only, see `CONFIG_IOMMU_LIVEUPDATE_DAMAGE`.
//!
//! C counterpart: `drivers/iommu/liveupdate/damage.c`.

use crate::damage::{
    writes,
    Write, //
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
    error::from_result,
    ffi::{
        c_int,
        c_void, //
    },
    page::PAGE_SIZE,
    prelude::*,
    sync::atomic::{
        Acquire,
        Atomic,
        Full, //
    }, //
};

type List = KVec<u8>;

/// What is to be done, or NULL. At shutdown no lock can be taken, so it is replaced as a whole.
static LIST: Atomic<*mut List> = Atomic::new(ptr::null_mut());

/// Whether checks of what the previous kernel has handed over are to be skipped.
pub(crate) fn is_trusting() -> bool {
    // SAFETY: The function has no preconditions.
    unsafe { bindings::iommu_liveupdate_trust() }
}

/// Replaces the list of writes.
///
/// Returns 0, `-EINVAL` if the list is cut off, `-EFAULT` if it has an address where no RAM is, or
/// `-ENOMEM`.
///
/// # Safety
///
/// `list` must be valid for reading `size` bytes. Calls must not be concurrent with [`carry_out`].
#[export]
pub(crate) unsafe extern "C" fn iommu_liveupdate_set_damage(
    list: *const c_void,
    size: usize,
) -> c_int {
    from_result(|| {
        let mut new = List::with_capacity(size, GFP_KERNEL)?;
        if size != 0 {
            // SAFETY: By the safety requirement.
            let list = unsafe { slice::from_raw_parts(list.cast::<u8>(), size) };
            new.extend_from_slice(list, GFP_KERNEL)?;
        }
        for write in writes(&new) {
            each_page(write.ok_or(EINVAL)?, |_, _| ())?;
        }

        let new = KBox::into_raw(KBox::new(new, GFP_KERNEL)?);
        let old = LIST.xchg(new, Full);
        if !old.is_null() {
            // SAFETY: It came from `into_raw()`, and nobody else can have got it.
            drop(unsafe { KBox::from_raw(old) });
        }
        Ok(0)
    })
}

/// Carries the list out.
///
/// # Safety
///
/// The kernel must be shutting down with one CPU left, and go on with nothing but the next kernel:
/// the writes may hit anything.
pub(crate) unsafe fn carry_out() {
    // SAFETY: It is NULL or came from `into_raw()`, and no other CPU can replace it any more.
    let Some(list) = (unsafe { LIST.load(Acquire).as_ref() }) else {
        return;
    };
    let mut bytes: usize = 0;

    for write in writes(list).flatten() {
        // The addresses were checked when the list was set.
        let _ = each_page(write, |to, part| {
            bytes = bytes.saturating_add(part.len());
            // SAFETY: There is RAM, mapped for writing; what is in it matters to nobody by the
            // safety requirement. The list is elsewhere unless it is to be overwritten as well.
            unsafe { ptr::copy(part.as_ptr(), to.as_ptr(), part.len()) };
        });
    }
    pr_info!("damaged: {} bytes\n", bytes);
}

/// Calls `f` for the part of `write` in each page, with the address of the part.
///
/// # Errors
///
/// `EFAULT` if there is no RAM.
fn each_page(write: Write<'_>, mut f: impl FnMut(NonNull<u8>, &[u8])) -> Result {
    let mut phys = write.phys;
    let mut rest = write.bytes;

    while !rest.is_empty() {
        // It is less than the size of a page.
        let offset = (phys % PAGE_SIZE as u64) as usize;
        let part;
        (part, rest) = rest.split_at(rest.len().min(PAGE_SIZE.saturating_sub(offset)));

        // SAFETY: The function accepts any address.
        let page = unsafe { bindings::iommu_liveupdate_map_pages(phys - offset as u64, 1) };
        let page = NonNull::new(page.cast::<u8>()).ok_or(EFAULT)?;

        // SAFETY: The offset is inside the page.
        f(unsafe { page.add(offset) }, part);
        phys = phys.checked_add(part.len() as u64).ok_or(EFAULT)?;
    }
    Ok(())
}
