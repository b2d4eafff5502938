// SPDX-License-Identifier: GPL-2.0

//! How the pages of the previous kernel's page tables become pages of this one, or free memory.
//!
//! Until then they are what KHO keeps reserved. Which pages they are is in a run list, so nothing
//! depends on what is in them.

use crate::hooks::{
    self,
    DirectMap, //
};
use kernel::prelude::*;
use liveupdate_state::RunList;

/// Whether nothing has changed in the pages since the previous kernel preserved them.
///
/// # Context
///
/// Process context, takes time linear in the size of the pages.
pub(crate) fn are_intact(runs: &RunList<'_>) -> bool {
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
    claim_all(runs, |_| {})
}

/// Frees the pages.
///
/// # Safety
///
/// Hardware must not use them any more.
///
/// # Context
///
/// Process context, takes time linear in the number of the pages.
pub(crate) unsafe fn free(runs: &RunList<'_>) {
    let free = |page| {
        // SAFETY: The page was claimed, and by the safety requirement hardware does not read it.
        unsafe { hooks::free_page(page) };
    };

    // What is not there cannot be freed either.
    let _ = claim_all(runs, free);
}

/// Calls `then` for each page that could be claimed.
fn claim_all(runs: &RunList<'_>, mut then: impl FnMut(u64)) -> Result {
    let mut missing: u64 = 0;

    for run in runs.iter() {
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
