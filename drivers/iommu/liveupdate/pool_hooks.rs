// SPDX-License-Identifier: GPL-2.0

//! The pool of a domain as C knows it, and the memory of a pool.
//!
//! C counterparts: `drivers/iommu/liveupdate/pool.c`, `drivers/iommu/iommu-pages.c`

use crate::{
    counters,
    hooks::Domain,
    module_parameters,
    pool::Pool, //
};
use core::{
    mem::ManuallyDrop,
    ptr, //
};
use kernel::{
    alloc::Flags,
    bindings,
    ffi::c_int,
    prelude::*,
    sync::{
        Arc,
        ArcBorrow, //
    }, //
};

/// How memory is to be allocated.
pub(crate) struct Request {
    node: c_int,
    gfp: bindings::gfp_t,
}

impl Request {
    /// A request of process context, without a charge.
    #[cfg(CONFIG_IOMMU_LIVEUPDATE_KUNIT_TEST)]
    pub(crate) fn kernel() -> Self {
        Self {
            node: bindings::NUMA_NO_NODE,
            gfp: bindings::GFP_KERNEL,
        }
    }

    /// The flags for what is allocated along with it.
    pub(crate) fn flags(&self) -> Flags {
        // SAFETY: The function accepts any flags.
        if unsafe { bindings::iommu_liveupdate_may_sleep(self.gfp) } {
            GFP_KERNEL_ACCOUNT
        } else {
            GFP_NOWAIT
        }
    }
}

/// Pages that follow each other, which are freed when this is dropped.
///
/// # Invariants
///
/// There are 2^`order` pages from `iommu_liveupdate_alloc_block()` at `phys`.
pub(crate) struct Memory {
    phys: u64,
    order: u8,
}

impl Memory {
    /// Allocates 2^`order` pages, naturally aligned, on the node of `request` only if `is_local`.
    ///
    /// Returns [`None`] if there is no such memory.
    pub(crate) fn new(request: &Request, order: u8, is_local: bool) -> Option<Self> {
        // SAFETY: The function accepts any order, and `request` is as its caller permits.
        let phys = unsafe {
            bindings::iommu_liveupdate_alloc_block(
                request.node,
                request.gfp,
                order.into(),
                is_local,
            )
        };
        if phys == 0 {
            return None;
        }
        counters::POOL_BLOCKS.add(1);
        counters::POOL_PAGES.add(1 << order);
        // INVARIANT: The memory was just allocated.
        Some(Self { phys, order })
    }

    /// The physical address of the first page.
    pub(crate) fn phys(&self) -> u64 {
        self.phys
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        counters::POOL_BLOCKS.sub(1);
        counters::POOL_PAGES.sub(1 << self.order);
        // SAFETY: By the invariants. A pool drops only blocks of which no page is in use, and goes
        // itself after the last of its pages.
        unsafe { bindings::iommu_free_block(self.phys, self.order.into()) };
    }
}

/// Borrows a pool from C.
///
/// # Safety
///
/// `pool` must come from `Arc::into_raw()`, and live as long as the result.
unsafe fn borrow<'a>(pool: *mut bindings::iommu_liveupdate_pool) -> ArcBorrow<'a, Pool> {
    // SAFETY: By the safety requirement.
    unsafe { ArcBorrow::from_raw(pool.cast_const().cast()) }
}

/// Creates a pool, or returns NULL if there is no memory. See [`Pool::new`].
///
/// # Safety
///
/// None; C has no notion of it.
#[export]
pub(crate) unsafe extern "C" fn iommu_liveupdate_new_pool(
    has_all_but_top: bool,
) -> *mut bindings::iommu_liveupdate_pool {
    Pool::new(has_all_but_top).map_or(ptr::null_mut(), |pool| {
        Arc::into_raw(pool).cast_mut().cast()
    })
}

/// Gives up the reference of the domain.
///
/// # Safety
///
/// `pool` must come from [`iommu_liveupdate_new_pool`], and not be used by the caller afterwards.
#[export]
pub(crate) unsafe extern "C" fn iommu_liveupdate_put_pool(
    pool: *mut bindings::iommu_liveupdate_pool,
) {
    // SAFETY: By the safety requirement.
    drop(unsafe { Arc::<Pool>::from_raw(pool.cast_const().cast()) });
}

/// Takes a page, which has a reference to the pool from now on, and returns its physical address,
/// or 0 if there is none.
///
/// # Safety
///
/// `pool` must be alive, and the context be one that `gfp` permits, but not an interrupt.
#[export]
pub(crate) unsafe extern "C" fn iommu_liveupdate_take_page(
    pool: *mut bindings::iommu_liveupdate_pool,
    node: c_int,
    gfp: bindings::gfp_t,
) -> bindings::phys_addr_t {
    // SAFETY: By the safety requirement.
    let pool = unsafe { borrow(pool) };

    pool.take(&Request { node, gfp }).map_or(0, |page| {
        // `iommu_liveupdate_give_page()` drops it.
        let _reference = ManuallyDrop::new(Arc::from(pool));
        page
    })
}

/// Gives back a page with its reference to the pool.
///
/// # Safety
///
/// The page must come from [`iommu_liveupdate_take_page`], and not be used by the caller
/// afterwards.
#[export]
pub(crate) unsafe extern "C" fn iommu_liveupdate_give_page(
    pool: *mut bindings::iommu_liveupdate_pool,
    page: bindings::phys_addr_t,
) {
    // SAFETY: By the safety requirement, there is a reference for the page.
    unsafe { Arc::<Pool>::from_raw(pool.cast_const().cast()) }.give(page);
}

/// Whether domains get a pool.
///
/// # Safety
///
/// None; C has no notion of it.
#[export]
pub(crate) unsafe extern "C" fn iommu_liveupdate_uses_pools() -> bool {
    uses_pools()
}

/// Whether domains get a pool. If not, each of their pages is preserved on its own.
pub(crate) fn uses_pools() -> bool {
    module_parameters::pool.value()
}

impl Domain {
    /// The pool of the domain, if it has one.
    pub(crate) fn pool(self) -> Option<Arc<Pool>> {
        // SAFETY: The domain is alive.
        let pool = unsafe { bindings::iommu_liveupdate_pool_of(self.as_ptr()) };

        // SAFETY: The pool lives as long as the domain, which is alive.
        (!pool.is_null()).then(|| unsafe { borrow(pool) }.into())
    }
}
