// SPDX-License-Identifier: GPL-2.0

//! The pages of page tables, as they are preserved and claimed.

use crate::{
    counters,
    hooks::{
        DirectMap,
        Domain, //
    },
    pool::FrozenPool,
    pool_hooks::uses_pools, //
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
/// The first `preserved` of the runs are preserved, each with one call, or with one for each page if
/// `is_scattered`, and the pages stay allocated as long as this exists.
pub(crate) struct PreservedTables {
    /// In the order of their addresses.
    runs: KVVec<Run>,
    preserved: usize,
    /// Each page is preserved on its own.
    is_scattered: bool,
    table_pages: u64,
    checksum: u64,
    /// What is freed in it would be freed while it is preserved.
    _pool: Option<FrozenPool>,
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
        let (pool, mut runs, mut table_pages) = match self.pool() {
            Some(pool) => {
                let (pool, blocks, used) = FrozenPool::new(pool)?;
                (Some(pool), blocks, used)
            }
            None => (None, KVVec::new(), 0),
        };
        let others = self.add_other_tables(pool.as_ref(), &mut runs)?;
        table_pages = table_pages.saturating_add(others);
        let merged = runs::merge(&mut runs);
        runs.truncate(merged);

        let mut tables = PreservedTables::new(runs, table_pages, pool)?;
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
        let mut tables = PreservedTables::new(again, table_pages, None)?;
        tables.checksum = runs.checksum();
        Ok(tables)
    }
}

/// What a walk finds.
struct Found<'a> {
    pool: Option<&'a FrozenPool>,
    /// Tables that are not of the pool are added here.
    runs: &'a mut KVVec<Run>,
    /// How many of them there are.
    others: u64,
    /// How many tables there are in all.
    walked: u64,
}

impl Found<'_> {
    fn add(&mut self, page: u64) -> Result {
        self.walked = self.walked.saturating_add(1);
        if self.pool.is_some_and(|pool| pool.contains(page)) {
            return Ok(());
        }
        self.others = self.others.saturating_add(1);
        self.runs.push(
            Run {
                base: page,
                pages: 1,
            },
            GFP_KERNEL,
        )?;
        Ok(())
    }
}

impl Domain {
    /// Adds the tables that are not of `pool` to `runs`, and returns their number.
    ///
    /// If all tables but the one that was the top at first are of the pool, there is no need to look
    /// for others as long as that is the top.
    fn add_other_tables(self, pool: Option<&FrozenPool>, runs: &mut KVVec<Run>) -> Result<u64> {
        let mut found = Found {
            pool,
            runs,
            others: 0,
            walked: 0,
        };

        if let Some(pool) = pool.filter(|pool| pool.has_all_but_top()) {
            let top = self.describe()?.top_table;

            if !pool.contains(top) {
                found.add(top)?;
                return Ok(found.others);
            }
        }
        // SAFETY: The domain is alive, and `add_found()` takes this context.
        to_result(unsafe {
            bindings::iommu_liveupdate_walk_tables(
                self.as_ptr(),
                Some(add_found),
                ptr::from_mut(&mut found).cast(),
            )
        })?;
        counters::PAGES_WALKED.add(found.walked);
        Ok(found.others)
    }
}

/// Adds a table to the [`Found`] that `context` is.
///
/// # Safety
///
/// `context` must be valid, and not be used by anybody else meanwhile.
unsafe extern "C" fn add_found(context: *mut c_void, page: u64) -> c_int {
    // SAFETY: By the safety requirement.
    let found = unsafe { &mut *context.cast::<Found<'_>>() };

    from_result(|| found.add(page).map(|()| 0))
}

impl PreservedTables {
    /// Preserves `runs`, which are the pages of page tables in the order of their addresses.
    fn new(runs: KVVec<Run>, table_pages: u64, pool: Option<FrozenPool>) -> Result<Self> {
        // INVARIANT: None is preserved yet.
        let mut tables = Self {
            runs,
            preserved: 0,
            is_scattered: !uses_pools(),
            table_pages,
            checksum: 0,
            _pool: pool,
        };

        while let Some(run) = tables.runs.get(tables.preserved) {
            tables.preserve(run)?;
            // INVARIANT: It is preserved.
            tables.preserved += 1;
        }
        Ok(tables)
    }

    fn preserve(&self, run: &Run) -> Result {
        for (done, part) in (0usize..).zip(self.parts(run)) {
            // SAFETY: There are pages at the address: those of page tables.
            let result = to_result(unsafe {
                bindings::iommu_liveupdate_preserve_pages(part.base, part.pages.into())
            });

            if let Err(e) = result {
                self.unpreserve(run, done);
                return Err(e);
            }
            counters::KHO_ENTRIES.add(kho_entries(&part));
        }
        Ok(())
    }

    /// Undoes the first `count` calls of [`preserve`](Self::preserve).
    fn unpreserve(&self, run: &Run, count: usize) {
        for part in self.parts(run).take(count) {
            // SAFETY: It was preserved with one call.
            unsafe { bindings::iommu_liveupdate_unpreserve_pages(part.base, part.pages.into()) };
            counters::KHO_ENTRIES.sub(kho_entries(&part));
        }
    }

    /// What is preserved with one call each.
    fn parts(&self, run: &Run) -> impl Iterator<Item = Run> {
        let pages = if self.is_scattered { 1 } else { run.pages };

        run.addresses()
            .step_by(pages.max(1) as usize)
            .map(move |base| Run { base, pages })
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
        // By the invariants.
        for run in self.runs.iter().take(self.preserved) {
            self.unpreserve(run, usize::MAX);
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
