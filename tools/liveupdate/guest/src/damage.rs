// SPDX-License-Identifier: GPL-2.0
//! Telling the kernel what to damage before the next one starts.

use anyhow::{Context, Result};
use protocol::MemoryWrite;
use std::fs;

const FILE: &str = "/sys/kernel/debug/iommu/liveupdate/damage";

/// Replaces the list of writes.
pub fn set(writes: &[MemoryWrite]) -> Result<()> {
    let mut list = Vec::new();
    for write in writes {
        list.extend_from_slice(&write.address.to_le_bytes());
        list.extend_from_slice(&u32::try_from(write.bytes.len())?.to_le_bytes());
        list.extend_from_slice(&write.bytes);
    }
    fs::write(FILE, list).context(FILE)
}
