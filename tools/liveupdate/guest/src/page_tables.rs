// SPDX-License-Identifier: GPL-2.0
//! How much memory the kernel says that page tables take.

use crate::reclaim;
use anyhow::{Context, Result};
use protocol::Statistics;
use std::fs;

/// Folds the counters of all processors into the global ones.
const REFRESH: &str = "/proc/sys/vm/stat_refresh";
const VMSTAT: &str = "/proc/vmstat";

/// Reads the counters, when what is not used any more is freed.
pub fn statistics() -> Result<Statistics> {
    reclaim::settle()?;
    fs::write(REFRESH, "1").context(REFRESH)?;
    let text = fs::read_to_string(VMSTAT).context(VMSTAT)?;
    let counter = |name: &str| -> Result<i64> {
        let mut lines = text.lines().filter_map(|line| line.split_once(' '));
        let (_, value) = lines.find(|(key, _)| *key == name).context("no counter")?;
        Ok(value.trim().parse()?)
    };
    Ok(Statistics {
        iommu_pages: counter("nr_iommu_pages")?,
        secondary_page_tables: counter("nr_sec_page_table_pages")?,
    })
}
