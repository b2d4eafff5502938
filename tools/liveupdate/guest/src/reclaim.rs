// SPDX-License-Identifier: GPL-2.0
//! Page tables of the previous kernel that this one frees in the background.

use anyhow::{Context, Result, ensure};
use std::fs;
use std::io::ErrorKind;
use std::thread::sleep;
use std::time::{Duration, Instant};

const COUNTERS: &str = "/sys/kernel/debug/iommu/liveupdate/counters";
/// How many of them are under way.
const COUNTER: &str = "reclaims";
/// Far longer than it takes.
const PATIENCE: Duration = Duration::from_secs(20);
const INTERVAL: Duration = Duration::from_millis(20);

/// Waits until nothing is left to be freed: whoever looks at the memory wants to see the end of it.
///
/// # Errors
///
/// If that takes too long.
pub fn settle() -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while under_way()? > 0 {
        ensure!(
            Instant::now() < deadline,
            "page tables are still being freed"
        );
        sleep(INTERVAL);
    }
    Ok(())
}

/// How many there are; none in a kernel that does not know of it.
fn under_way() -> Result<u64> {
    let text = match fs::read_to_string(COUNTERS) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(0),
        text => text.context(COUNTERS)?,
    };
    let mut lines = text.lines().filter_map(|line| line.split_once(' '));
    let (_, value) = lines
        .find(|(name, _)| *name == COUNTER)
        .context("no counter")?;
    Ok(value.parse()?)
}
