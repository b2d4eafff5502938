// SPDX-License-Identifier: GPL-2.0

//! How the pages of the previous kernel's page tables become pages of this one, or free memory.
//!
//! Until then they are what KHO keeps reserved. Which pages they are is in a run list, so that they can
//! be given back if they are damaged. Nobody touches their descriptors before they are freed: a device
//! that goes on needs none of that.

use crate::{
    counters,
    hooks::{
        self,
        DirectMap, //
    },
    incoming::{
        DomainKey,
        Incoming,
        Iommufd, //
    },
    run_list,
    tables_hooks::{
        account,
        claim_pages, //
    },
    trust::is_trusting, //
};
use kernel::{
    prelude::*,
    sync::Arc,
    workqueue, //
};
use liveupdate_state::{
    records::TABLE_SIZE,
    runs::are_all_tables,
    second_stage,
    Domain,
    RunGroup,
    RunList,
    RunListRecord, //
};

/// Whether the page tables of `domain` are in the pages of `runs`, with what the previous kernel had
/// in them.
///
/// # Context
///
/// Process context, takes time linear in the size of the pages.
pub(crate) fn are_tables_intact(domain: &Domain, runs: &RunGroup<'_>) -> bool {
    runs.is_intact(&DirectMap) && are_tables(domain, runs)
}

/// Whether the page tables of `domain` are in the pages of `runs`.
fn are_tables(domain: &Domain, runs: &RunGroup<'_>) -> bool {
    let words = runs.words().unwrap_or(usize::MAX);
    let (Some(table), Ok(mut memory)) = (
        second_stage::page_table(domain),
        KVVec::from_elem(0, words, GFP_KERNEL),
    ) else {
        return false;
    };

    are_all_tables(
        &DirectMap,
        &table,
        runs,
        domain.table_pages,
        &mut memory,
        hooks::cond_resched,
    )
}

/// Pages of page tables that nobody uses any more.
///
/// # Invariants
///
/// Hardware does not use them.
#[derive(Clone)]
pub(crate) struct Unused(Pages);

/// Where it is written which pages.
#[derive(Clone)]
enum Pages {
    /// At a domain of a sound state.
    Domain(Arc<Incoming>, DomainKey),
    /// In this run list of an iommufd whose state was rejected.
    Rejected(Arc<Incoming>, RunListRecord),
    /// In a run list that belongs to nothing else.
    List(Arc<run_list::Incoming>),
}

impl Unused {
    /// The pages of a domain.
    ///
    /// # Safety
    ///
    /// Hardware must not use them, from now on.
    pub(crate) unsafe fn domain(incoming: Arc<Incoming>, key: DomainKey) -> Self {
        // INVARIANT: By the safety requirement.
        Self(Pages::Domain(incoming, key))
    }

    /// The pages of the iommufd with the run list `list` whose state was rejected.
    ///
    /// # Safety
    ///
    /// Hardware must not use them, from now on.
    pub(crate) unsafe fn rejected(incoming: Arc<Incoming>, list: RunListRecord) -> Self {
        // INVARIANT: By the safety requirement.
        Self(Pages::Rejected(incoming, list))
    }

    /// The pages of a list that was found without a sound state.
    ///
    /// # Safety
    ///
    /// Hardware must not use them, from now on.
    pub(crate) unsafe fn list(list: Arc<run_list::Incoming>) -> Self {
        // INVARIANT: By the safety requirement.
        Self(Pages::List(list))
    }

    /// Checks and frees the pages in the background: that takes time linear in their size, and whoever
    /// has closed a file is not to wait for it.
    ///
    /// What is not done when the kernel ends is not handed over, so the next one has it as free memory.
    ///
    /// # Context
    ///
    /// Process context. Does it at once if there is no memory.
    pub(crate) fn free(self) {
        let pending = counters::RECLAIMS.hold(1);
        let unused = self.clone();
        let work = move || {
            unused.free_now();
            drop(pending);
        };

        if workqueue::system_unbound()
            .try_spawn(GFP_KERNEL, work)
            .is_err()
        {
            self.free_now();
        }
    }

    fn free_now(&self) {
        match &self.0 {
            Pages::Domain(incoming, key) => {
                let (Some(domain), Some(runs)) = (incoming.domain(*key), incoming.runs(*key))
                else {
                    return;
                };
                let counted = incoming.progress.lock().has_adopted_any(key.owner);

                free_domain(&domain, &runs, counted);
            }
            Pages::Rejected(incoming, list) => {
                if let Some(runs) = incoming.rejected_with(list).and_then(Iommufd::runs) {
                    free_rejected(&runs);
                }
            }
            Pages::List(list) => free_rejected(&list.get()),
        }
    }
}

/// Adds the pages of an iommufd that goes on to the statistics, long before they are claimed.
///
/// # Context
///
/// Process context, takes time linear in the number of runs.
pub(crate) fn count(runs: &RunList<'_>) {
    for run in runs.runs() {
        account(run.base, run.pages.into(), true);
    }
}

/// Frees the pages of the page tables of `domain`, of which `counted` tells whether they are in the
/// statistics.
///
/// They stay reserved if the list is wrong: if they are as the previous kernel had them, but not
/// the page tables. Then they may belong to anybody.
fn free_domain(domain: &Domain, runs: &RunGroup<'_>, counted: bool) {
    if runs.is_intact(&DirectMap) && !are_tables(domain, runs) && !is_trusting() {
        pr_warn!(
            "page tables of domain {} stay reserved: their list is wrong\n",
            domain.number
        );
        for run in runs.iter().filter(|_| counted) {
            account(run.base, run.pages.into(), false);
        }
        return;
    }
    claim_and_free(runs, counted);
}

/// Frees the pages that the list of a rejected state leads to: those of domains in which nothing has
/// changed, as others may be anybody's.
fn free_rejected(runs: &RunList<'_>) {
    for runs in runs.groups() {
        if runs.is_intact(&DirectMap) {
            claim_and_free(&runs, false);
        } else {
            pr_warn!("page tables of an iommufd stay reserved: they are damaged\n");
        }
    }
}

/// Frees all pages that can be claimed, which are those of an [`Unused`].
fn claim_and_free(runs: &RunGroup<'_>, counted: bool) {
    let mut missing: u64 = 0;

    for run in runs.iter() {
        let mut page = run.base;

        while page < run.end() {
            let left = run.end().saturating_sub(page) / TABLE_SIZE;

            match claim_pages(page, left) {
                Ok(pages) => {
                    counters::PAGES_CLAIMED.add(pages);
                    if !counted {
                        account(page, pages, true);
                    }
                    free_pages(page, pages);
                    page = page.saturating_add(pages.saturating_mul(TABLE_SIZE));
                }
                Err(_) => {
                    missing = missing.saturating_add(1);
                    if counted {
                        account(page, 1, false);
                    }
                    page = page.saturating_add(TABLE_SIZE);
                }
            }
        }
    }
    if missing > 0 {
        pr_warn!(
            "{} pages of page tables are not as they were preserved\n",
            missing
        );
    }
}

/// How many pages are freed before other tasks may run.
const BATCH: u64 = 512;

/// Frees `count` pages from `first` on, which were claimed.
fn free_pages(first: u64, count: u64) {
    for index in 0..count {
        // SAFETY: The page was claimed, and hardware does not use it by the invariants of `Unused`.
        unsafe { hooks::free_page(first.saturating_add(index.saturating_mul(TABLE_SIZE))) };
        if index % BATCH == 0 {
            hooks::cond_resched();
        }
    }
    counters::PAGES_FREED.add(count);
}
