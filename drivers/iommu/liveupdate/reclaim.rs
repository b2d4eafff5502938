// SPDX-License-Identifier: GPL-2.0

//! How the pages of the previous kernel's page tables become pages of this one, or free memory.
//!
//! Until then they are what KHO keeps reserved. Which pages they are is in a run list, so that they can
//! be given back if they are damaged.

use crate::{
    hooks::{
        self,
        DirectMap, //
    },
    trust::is_trusting, //
};
use kernel::prelude::*;
use liveupdate_state::{
    runs::{
        are_all_tables,
        Run, //
    },
    second_stage,
    Domain,
    RunList, //
};

/// Whether the page tables of `domain` are the pages of `runs`, with what the previous kernel had in
/// them.
///
/// # Context
///
/// Process context, takes time linear in the size of the pages.
pub(crate) fn are_tables_intact(domain: &Domain, runs: &RunList<'_>) -> bool {
    are_intact(runs) && are_tables(domain, runs)
}

/// Whether the page tables of `domain` are the pages of `runs`.
fn are_tables(domain: &Domain, runs: &RunList<'_>) -> bool {
    second_stage::page_table(domain)
        .is_some_and(|table| are_all_tables(&DirectMap, &table, runs, hooks::cond_resched))
}

/// Whether nothing has changed in the pages since the previous kernel preserved them.
///
/// # Context
///
/// Process context, takes time linear in the size of the pages.
fn are_intact(runs: &RunList<'_>) -> bool {
    runs.iter().all(|run| {
        hooks::cond_resched();
        run.is_intact(&DirectMap)
    })
}

/// Takes the pages over, as if this kernel had allocated them.
///
/// # Errors
///
/// `EBADMSG` if some are not as the previous kernel preserved them; the others then belong to this
/// kernel.
///
/// # Context
///
/// Process context, takes time linear in the number of the pages.
pub(crate) fn own(runs: &RunList<'_>) -> Result {
    claim_all(runs.iter(), |_| {})
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
pub(crate) unsafe fn free(domain: &Domain, runs: &RunList<'_>) {
    if are_intact(runs) && !are_tables(domain, runs) && !is_trusting() {
        pr_warn!(
            "page tables of domain {} stay reserved: their list is wrong\n",
            domain.number
        );
        return;
    }
    let free = |page| {
        // SAFETY: The page was claimed, and by the safety requirement hardware does not read it.
        unsafe { hooks::free_page(page) };
    };

    // What is not there cannot be freed either.
    let _ = claim_all(runs.iter(), free);
}

/// Frees the pages that the list of a rejected state leads to: those in which nothing has changed,
/// as others may be anybody's.
///
/// # Safety
///
/// As for [`free`].
///
/// # Context
///
/// Process context, takes time linear in the size of the pages.
pub(crate) unsafe fn free_rejected(runs: &RunList<'_>) {
    let is_intact = |run: &Run| {
        hooks::cond_resched();
        run.is_intact(&DirectMap)
    };
    let free = |page| {
        // SAFETY: By the safety requirement.
        unsafe { hooks::free_page(page) };
    };

    if !runs.iter().all(|run| is_intact(&run)) {
        pr_warn!("page tables of an iommufd stay reserved: they are damaged\n");
    }
    // What is not there cannot be freed either.
    let _ = claim_all(runs.iter().filter(is_intact), free);
}

/// Calls `then` for each page that could be claimed.
fn claim_all(runs: impl Iterator<Item = Run>, mut then: impl FnMut(u64)) -> Result {
    let mut missing: u64 = 0;

    for run in runs {
        for page in run.addresses() {
            match hooks::restore_page(page) {
                Ok(()) => then(page),
                Err(_) => missing = missing.saturating_add(1),
            }
        }
        hooks::cond_resched();
    }
    if missing > 0 {
        pr_warn!(
            "{} pages of page tables are not as they were preserved\n",
            missing
        );
        return Err(EBADMSG);
    }
    Ok(())
}
