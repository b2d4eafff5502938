// SPDX-License-Identifier: GPL-2.0

//! How the pages of the previous kernel's page tables become pages of this one, or free memory.
//!
//! Until then they are what KHO keeps reserved. Which pages they are is in a run list, so that they can
//! be given back if they are damaged.

use crate::{
    counters,
    hooks::{
        self,
        DirectMap, //
    },
    tables_hooks::{
        account,
        claim_pages, //
    },
    trust::is_trusting, //
};
use kernel::prelude::*;
use liveupdate_state::{
    records::TABLE_SIZE,
    runs::are_all_tables,
    second_stage,
    Domain,
    RunGroup,
    RunList, //
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

/// Frees the pages of the page tables of `domain`.
///
/// They stay reserved if the list is wrong: if they are as the previous kernel had them, but not
/// the page tables. Then they may belong to anybody.
///
/// # Safety
///
/// Hardware must not use them any more.
///
/// # Context
///
/// Process context, takes time linear in the size of the pages.
pub(crate) unsafe fn free(domain: &Domain, runs: &RunGroup<'_>) {
    if runs.is_intact(&DirectMap) && !are_tables(domain, runs) && !is_trusting() {
        pr_warn!(
            "page tables of domain {} stay reserved: their list is wrong\n",
            domain.number
        );
        return;
    }
    // SAFETY: By the safety requirement.
    unsafe { claim_and_free(runs) };
}

/// Frees the pages that the list of a rejected state leads to: those of domains in which nothing has
/// changed, as others may be anybody's.
///
/// # Safety
///
/// As for [`free`].
///
/// # Context
///
/// Process context, takes time linear in the size of the pages.
pub(crate) unsafe fn free_rejected(runs: &RunList<'_>) {
    for runs in runs.groups() {
        if runs.is_intact(&DirectMap) {
            // SAFETY: By the safety requirement.
            unsafe { claim_and_free(&runs) };
        } else {
            pr_warn!("page tables of an iommufd stay reserved: they are damaged\n");
        }
    }
}

/// Frees all pages that can be claimed.
///
/// # Safety
///
/// As for [`free`].
unsafe fn claim_and_free(runs: &RunGroup<'_>) {
    let mut missing: u64 = 0;

    for run in runs.iter() {
        let mut page = run.base;

        while page < run.end() {
            let left = run.end().saturating_sub(page) / TABLE_SIZE;
            let claimed = claim_pages(page, left);
            let next = page.saturating_add(claimed.unwrap_or(1).saturating_mul(TABLE_SIZE));

            match claimed {
                Ok(pages) => {
                    counters::PAGES_CLAIMED.add(pages);
                    account(page, pages, true);
                }
                Err(_) => missing = missing.saturating_add(1),
            }
            while claimed.is_ok() && page < next {
                // SAFETY: The page was claimed, and by the safety requirement hardware does not
                // read it.
                unsafe { hooks::free_page(page) };
                counters::PAGES_FREED.add(1);
                page = page.saturating_add(TABLE_SIZE);
            }
            page = next;
            hooks::cond_resched();
        }
    }
    if missing > 0 {
        pr_warn!(
            "{} pages of page tables are not as they were preserved\n",
            missing
        );
    }
}
