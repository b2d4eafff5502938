// SPDX-License-Identifier: GPL-2.0

//! How much work a live update takes, and what is kept for it now.
//!
//! Times differ from machine to machine; how often something is done does not. So these numbers tell
//! whether a step depends on the amount of mapped memory.

use crate::debugfs;
use kernel::{
    page::PAGE_SHIFT,
    seq_file::SeqFile,
    seq_print,
    sync::atomic::{
        Atomic,
        Relaxed, //
    }, //
};

/// A number of pages, entries or operations.
///
/// Can be changed from any context.
pub(crate) struct Counter(Atomic<u64>);

impl Counter {
    const fn new() -> Self {
        Self(Atomic::new(0))
    }

    /// Counts `count` more.
    pub(crate) fn add(&self, count: u64) {
        self.0.add(count, Relaxed);
    }

    /// Counts `count` less, which were counted before.
    pub(crate) fn sub(&self, count: u64) {
        self.0.fetch_sub(count, Relaxed);
    }

    /// Counts `count` more until the returned value is dropped.
    pub(crate) fn hold(&'static self, count: u64) -> Held {
        self.add(count);
        Held {
            counter: self,
            count,
        }
    }

    fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// What is counted as long as it exists.
pub(crate) struct Held {
    counter: &'static Counter,
    count: u64,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.counter.sub(self.count);
    }
}

/// Entries in which KHO keeps what is preserved now, see [`kho_entries`].
pub(crate) static KHO_ENTRIES: Counter = Counter::new();
/// Table pages that were looked into, or collected from a page table.
pub(crate) static PAGES_WALKED: Counter = Counter::new();
/// Pages that were read for a checksum.
pub(crate) static PAGES_CHECKSUMMED: Counter = Counter::new();
/// Pages of the previous kernel's page tables that were claimed from KHO.
pub(crate) static PAGES_CLAIMED: Counter = Counter::new();
/// Those of them that were freed.
pub(crate) static PAGES_FREED: Counter = Counter::new();
/// Domains and rejected states whose pages are being given back in the background now.
pub(crate) static RECLAIMS: Counter = Counter::new();
/// Blocks that pools have now.
pub(crate) static POOL_BLOCKS: Counter = Counter::new();
/// Pages in these blocks.
pub(crate) static POOL_PAGES: Counter = Counter::new();
/// Those of them that are page tables.
pub(crate) static POOL_PAGES_IN_USE: Counter = Counter::new();
/// Entries of the hardware's tables that were exchanged for others while they were in use.
pub(crate) static ENTRIES_REPLACED: Counter = Counter::new();
/// Invalidations of the hardware's caches that were asked for because of that.
pub(crate) static REPLACE_FLUSHES: Counter = Counter::new();
/// Buses whose context tables were searched for entries that have to go.
pub(crate) static BUSES_SCRUBBED: Counter = Counter::new();

const COUNTERS: [(&str, &Counter); 12] = [
    ("kho_entries", &KHO_ENTRIES),
    ("pages_walked", &PAGES_WALKED),
    ("pages_checksummed", &PAGES_CHECKSUMMED),
    ("pages_claimed", &PAGES_CLAIMED),
    ("pages_freed", &PAGES_FREED),
    ("reclaims", &RECLAIMS),
    ("pool_blocks", &POOL_BLOCKS),
    ("pool_pages", &POOL_PAGES),
    ("pool_pages_in_use", &POOL_PAGES_IN_USE),
    ("entries_replaced", &ENTRIES_REPLACED),
    ("replace_flushes", &REPLACE_FLUSHES),
    ("buses_scrubbed", &BUSES_SCRUBBED),
];

/// How many table pages were looked into or read, for whatever reason.
pub(crate) fn pages_read() -> u64 {
    PAGES_WALKED.get().saturating_add(PAGES_CHECKSUMMED.get())
}

/// How many entries KHO makes of `pages` pages at `base` that are preserved at once: one for each
/// naturally aligned power of two of pages. Where memory of several NUMA nodes meets, it makes more.
pub(crate) fn kho_entries(base: u64, pages: u64) -> u64 {
    let mut first = base >> PAGE_SHIFT;
    let mut left = pages;
    let mut entries: u64 = 0;

    while let Some(largest) = left.checked_ilog2() {
        let chunk = 1 << largest.min(first.trailing_zeros());

        first = first.saturating_add(chunk);
        left = left.saturating_sub(chunk);
        entries = entries.saturating_add(1);
    }
    entries
}

/// Prints all of them, a name and a value on each line.
///
/// # Context
///
/// Process context, takes the lock of the outgoing state.
pub(crate) fn show(m: &SeqFile) {
    let outgoing = debugfs::outgoing_size();

    for (name, counter) in COUNTERS {
        seq_print!(m, "{} {}\n", name, counter.get());
    }
    seq_print!(m, "outgoing_runs {}\n", outgoing.runs);
    seq_print!(m, "outgoing_bytes {}\n", outgoing.bytes);
}
