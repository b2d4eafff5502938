// SPDX-License-Identifier: GPL-2.0

//! Whether page tables may take the place of restored ones while a device uses them.

use crate::{
    hooks::{
        self,
        DirectMap,
        Domain, //
    },
    retrieved, //
};
use kernel::{
    current,
    prelude::*, //
};
use liveupdate_state::{
    page_table::PageTable,
    second_stage::{
        self,
        SecondStage, //
    },
    verify::{
        Comparison,
        Difference,
        Progress, //
    }, //
};

/// How many pairs of extents are compared before other tasks may run.
const BUDGET: usize = 64;

/// Returns the first difference between the page tables of two domains.
///
/// With `allow_extra`, `new` may map more than `restored` does.
///
/// # Errors
///
/// `EOPNOTSUPP` if the format of one of them is not known, `EBADMSG` if one is damaged, `EINTR` if
/// a signal is pending.
///
/// # Context
///
/// Process context, may take long. Nobody may change the page tables meanwhile, except for bits
/// that hardware sets.
pub(crate) fn compare(
    restored: Domain,
    new: Domain,
    allow_extra: bool,
) -> Result<Option<Difference>> {
    retrieved::check_tables(restored)?;
    let (restored, new) = (page_table(restored)?, page_table(new)?);
    let mut comparison = Comparison::new(&DirectMap, restored, new, allow_extra);

    loop {
        let progress = comparison.step(BUDGET).map_err(|e| {
            pr_warn!("page tables cannot be compared: {}\n", format_args!("{e}"));
            EBADMSG
        })?;

        match progress {
            Progress::Equal => return Ok(None),
            Progress::Different(difference) => return Ok(Some(difference)),
            Progress::Continue => {}
        }
        if current!().signal_pending() {
            return Err(EINTR);
        }
        hooks::cond_resched();
    }
}

fn page_table(domain: Domain) -> Result<PageTable<SecondStage>> {
    second_stage::page_table(&domain.describe()?).ok_or(EOPNOTSUPP)
}
