// SPDX-License-Identifier: GPL-2.0
//! Where in guest-physical memory this process' memory is.

use anyhow::{Context, Result, ensure};
use devices::layout::PAGE;
use protocol::PageRun;
use std::fs::File;
use std::os::unix::fs::FileExt;

const PAGEMAP: &str = "/proc/self/pagemap";
const PRESENT: u64 = 1 << 63;
const PFN: u64 = (1 << 55) - 1;
/// Entries that are read at once.
const ENTRIES: usize = 512;

/// The pages from the address `start` on, which must be in the page table.
pub fn runs(start: usize, len: usize) -> Result<Vec<PageRun>> {
    let pagemap = File::open(PAGEMAP).context(PAGEMAP)?;
    let (first, count) = (start / PAGE, len / PAGE);
    let mut runs: Vec<PageRun> = Vec::new();
    let mut bytes = [0; ENTRIES * 8];
    for chunk in (0..count).step_by(ENTRIES) {
        let entries = (count - chunk).min(ENTRIES);
        let bytes = &mut bytes[..entries * 8];
        pagemap
            .read_exact_at(bytes, ((first + chunk) * 8) as u64)
            .context(PAGEMAP)?;
        for (entry, index) in bytes.as_chunks::<8>().0.iter().zip(chunk..) {
            let entry = u64::from_ne_bytes(*entry);
            ensure!(
                entry & PRESENT != 0 && entry & PFN != 0,
                "page {index} is not in memory (pagemap {entry:#x})"
            );
            add(&mut runs, (entry & PFN) * PAGE as u64);
        }
    }
    Ok(runs)
}

fn add(runs: &mut Vec<PageRun>, page: u64) {
    match runs.last_mut() {
        Some(run) if run.first + run.count * PAGE as u64 == page => run.count += 1,
        _ => runs.push(PageRun {
            first: page,
            count: 1,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_that_follow_each_other_are_one_run() {
        let mut runs = Vec::new();
        for page in [0x3000, 0x4000, 0x5000, 0x1000, 0x2000, 0x9000] {
            add(&mut runs, page);
        }
        let runs: Vec<_> = runs.iter().map(|run| (run.first, run.count)).collect();
        assert_eq!(runs, [(0x3000, 3), (0x1000, 2), (0x9000, 1)]);
    }
}
