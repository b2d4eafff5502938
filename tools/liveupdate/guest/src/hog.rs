// SPDX-License-Identifier: GPL-2.0
//! Taking nearly all free memory, to find out whether anyone else uses it.

use anyhow::{Context, Result};
use devices::layout::PAGE;
use std::fs;

/// What the kernel, also one with KASAN, and the agent need to go on.
const LEFT: usize = 128 << 20;
const MEMINFO: &str = "/proc/meminfo";

/// Bytes of free memory, in whole pages, without those that are `left`.
pub fn spare_bytes(left: usize) -> Result<usize> {
    let text = fs::read_to_string(MEMINFO).context(MEMINFO)?;
    let free = text.lines().find_map(|line| line.strip_prefix("MemFree:"));
    let kib: usize = free
        .and_then(|value| value.trim().strip_suffix(" kB"))
        .context("no MemFree")?
        .parse()?;
    Ok((kib << 10).saturating_sub(left) / PAGE * PAGE)
}

/// Memory, each word with its own number in it.
pub struct Hog(Vec<u64>);

fn pattern(index: usize) -> u64 {
    !(index as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

impl Hog {
    /// Fills what is free.
    pub fn fill() -> Result<Self> {
        Ok(Self((0..spare_bytes(LEFT)? / 8).map(pattern).collect()))
    }

    /// Its size.
    pub fn bytes(&self) -> u64 {
        self.0.len() as u64 * 8
    }

    /// Bytes that hold what they were filled with.
    pub fn unchanged(&self) -> u64 {
        let words = self.0.iter().enumerate();
        words
            .filter(|(index, word)| **word == pattern(*index))
            .count() as u64
            * 8
    }
}
