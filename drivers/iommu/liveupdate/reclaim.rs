// SPDX-License-Identifier: GPL-2.0

//! How the pages of the previous kernel's page tables become pages of this one, or free memory.
//!
//! Until then they are what KHO keeps reserved. That nobody else has claimed a page is what tells
//! it from memory that an entry, if it is damaged, could lead to.

use crate::hooks::{
    self,
    DirectMap, //
};
use kernel::prelude::*;
use liveupdate_state::{
    reclaim::{
        Owner,
        Reclaim, //
    },
    second_stage,
    Domain as DomainRecord, //
};

/// How many entries are looked at before other tasks may run.
const BUDGET: usize = 4096;

/// Gives the pages to iommu-pages.
struct Keep;

impl Owner for Keep {
    fn claim(&mut self, table: u64) -> bool {
        hooks::restore_page(table).is_ok()
    }

    fn release(&mut self, _table: u64) {}
}

/// Gives the pages to the page allocator.
struct Free;

impl Owner for Free {
    fn claim(&mut self, table: u64) -> bool {
        hooks::restore_page(table).is_ok()
    }

    fn release(&mut self, table: u64) {
        // SAFETY: The page was claimed, and by the requirement of `free()` hardware does not read
        // it. The walk is done with it.
        unsafe { hooks::free_page(table) };
    }
}

/// Takes the pages over. Returns false if some of the tables are not what the previous kernel
/// preserved; then only some of the pages belong to this kernel.
///
/// # Context
///
/// Process context, may take long.
pub(crate) fn own(domain: &DomainRecord) -> bool {
    walk(domain, &mut Keep)
}

/// Frees the pages, except for what damaged tables do not lead to.
///
/// # Safety
///
/// Hardware must not use the tables any more.
///
/// # Context
///
/// Process context, may take long.
pub(crate) unsafe fn free(domain: &DomainRecord) {
    walk(domain, &mut Free);
}

fn walk(domain: &DomainRecord, owner: &mut impl Owner) -> bool {
    let Some(table) = second_stage::page_table(domain) else {
        return false;
    };
    let mut walk = Reclaim::new(&DirectMap, table, owner);
    let reclaimed = loop {
        if let Some(reclaimed) = walk.step(BUDGET) {
            break reclaimed;
        }
        hooks::cond_resched();
    };

    let is_sound = reclaimed.refused == 0 && reclaimed.claimed == domain.table_pages;
    if !is_sound {
        pr_warn!(
            "domain {} of the previous kernel is damaged: {} of {} table pages found, {} others\n",
            domain.number,
            reclaimed.claimed,
            domain.table_pages,
            reclaimed.refused
        );
    }
    is_sound
}
