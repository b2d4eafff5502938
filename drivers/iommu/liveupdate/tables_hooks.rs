// SPDX-License-Identifier: GPL-2.0

//! The pages of page tables, as they are preserved and claimed.

use crate::{
    counters,
    hooks::{
        DirectMap,
        Domain, //
    }, //
};
use core::ptr;
use kernel::{
    bindings,
    error::{
        from_result,
        to_result, //
    },
    ffi::{
        c_int,
        c_void, //
    },
    kho,
    prelude::*, //
};
use liveupdate_state::{
    runs,
    Run,
    RunGroup, //
};

/// The page tables of a domain, preserved. Dropping it undoes that.
///
/// # Invariants
///
/// The first `preserved` of the runs are preserved, each with one call, and the pages stay allocated as
/// long as this exists.
pub(crate) struct PreservedTables {
    /// In the order of their addresses.
    runs: KVVec<Run>,
    preserved: usize,
    table_pages: u64,
    checksum: u64,
}

impl Domain {
    /// Preserves the page tables, which nobody may change until the result is dropped.
    ///
    /// # Errors
    ///
    /// `EOPNOTSUPP` for a page-table format that generic_pt does not know, `ENOMEM`, otherwise from
    /// KHO.
    ///
    /// # Context
    ///
    /// Process context, takes time linear in the size of the page tables.
    pub(crate) fn preserve_tables(self) -> Result<PreservedTables> {
        let mut pages = KVVec::new();

        // SAFETY: The domain is alive, and `push_page()` takes this context.
        to_result(unsafe {
            bindings::iommu_liveupdate_for_each_table(
                self.as_ptr(),
                Some(push_page),
                ptr::from_mut(&mut pages).cast(),
            )
        })?;
        let table_pages = pages.len() as u64;
        counters::PAGES_WALKED.add(table_pages);
        let merged = runs::merge(&mut pages);
        pages.truncate(merged);

        let mut tables = PreservedTables::new(pages, table_pages)?;
        let content = runs::content(tables.runs.iter().copied(), &DirectMap);
        tables.checksum = content.ok_or(EINVAL)?;
        Ok(tables)
    }

    /// Preserves the page tables of a restored domain, which are in the pages of `runs`, once more.
    /// Whether this kernel has claimed the pages does not matter.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, otherwise from KHO.
    pub(crate) fn preserve_again(
        self,
        runs: &RunGroup<'_>,
        table_pages: u64,
    ) -> Result<PreservedTables> {
        let mut again = KVVec::with_capacity(runs.len(), GFP_KERNEL)?;

        for run in runs.iter() {
            again.push(run, GFP_KERNEL)?;
        }
        let mut tables = PreservedTables::new(again, table_pages)?;
        tables.checksum = runs.checksum();
        Ok(tables)
    }
}

/// Adds a page to the `KVVec<Run>` that `context` is.
///
/// # Safety
///
/// `context` must be valid, and not be used by anybody else meanwhile.
unsafe extern "C" fn push_page(context: *mut c_void, page: u64) -> c_int {
    // SAFETY: By the safety requirement.
    let pages = unsafe { &mut *context.cast::<KVVec<Run>>() };

    from_result(|| {
        let page = Run {
            base: page,
            pages: 1,
        };

        pages.push(page, GFP_KERNEL)?;
        Ok(0)
    })
}

impl PreservedTables {
    /// Preserves `runs`, which are the pages of page tables in the order of their addresses.
    fn new(runs: KVVec<Run>, table_pages: u64) -> Result<Self> {
        // INVARIANT: None is preserved yet.
        let mut tables = Self {
            runs,
            preserved: 0,
            table_pages,
            checksum: 0,
        };

        while let Some(run) = tables.runs.get(tables.preserved) {
            // SAFETY: There are pages at the address: those of page tables.
            to_result(unsafe {
                bindings::iommu_liveupdate_preserve_pages(run.base, run.pages.into())
            })?;
            counters::KHO_ENTRIES.add(kho_entries(run));
            // INVARIANT: It is preserved.
            tables.preserved += 1;
        }
        Ok(tables)
    }

    /// The pages, in the order of their addresses.
    pub(crate) fn runs(&self) -> &[Run] {
        &self.runs
    }

    /// How many of them are tables.
    pub(crate) fn table_pages(&self) -> u64 {
        self.table_pages
    }

    /// The checksum of their content.
    pub(crate) fn checksum(&self) -> u64 {
        self.checksum
    }
}

impl Drop for PreservedTables {
    fn drop(&mut self) {
        for run in self.runs.iter().take(self.preserved) {
            // SAFETY: By the invariants.
            unsafe { bindings::iommu_liveupdate_unpreserve_pages(run.base, run.pages.into()) };
            counters::KHO_ENTRIES.sub(kho_entries(run));
        }
    }
}

fn kho_entries(run: &Run) -> u64 {
    counters::kho_entries(run.base, run.pages.into())
}

/// How many pages the previous kernel preserved together from `phys` on that nobody has claimed yet.
pub(crate) fn preserved_pages(phys: u64) -> Option<u64> {
    let pages = 1u64.checked_shl(kho::preserved_order(phys).ok()?)?;

    // SAFETY: The function accepts any range.
    (!unsafe { bindings::iommu_liveupdate_is_scratch(phys, pages) }).then_some(pages)
}

/// Makes the pages that were preserved together from `phys` on single pages of iommu-pages of this
/// kernel, and returns their number, which is at most `max`. The statistics do not change.
///
/// # Errors
///
/// `ENOENT` if there are none, or more.
pub(crate) fn claim_pages(phys: u64, max: u64) -> Result<u64> {
    let pages = preserved_pages(phys)
        .filter(|pages| *pages <= max)
        .ok_or(ENOENT)?;

    // SAFETY: There are as many preserved pages.
    if unsafe { bindings::iommu_liveupdate_restore_pages(phys, pages) } {
        Ok(pages)
    } else {
        Err(ENOENT)
    }
}

/// Adds `pages` pages from `phys` on to the statistics of iommu-pages, or removes them, whatever is
/// there.
pub(crate) fn account(phys: u64, pages: u64, add: bool) {
    // SAFETY: The function accepts any range.
    unsafe { bindings::iommu_liveupdate_account_pages(phys, pages, add) };
}
