// SPDX-License-Identifier: GPL-2.0
//! What is measured, in terms of page tables.

use serde::{Deserialize, Serialize};

/// PCI vendor and device id of QEMU's `edu`, of which a measured machine has as many as are asked for.
pub const EDU: (u16, u16) = (0x1234, 0x11e8);

/// How the entries of the lowest page tables are used.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Shape {
    /// One entry of each, and the tables lie scattered in memory.
    Scattered,
    /// All entries.
    Dense,
}

impl Shape {
    /// Name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Scattered => "scattered",
            Self::Dense => "dense",
        }
    }
}

/// The page tables of a function. Each has such an HWPT of its own, and all have the same IOAS.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Tables {
    /// How many tables of the lowest level.
    pub lowest: u64,
    /// How they are used.
    pub shape: Shape,
}

/// What the VMM is to do next. All steps are answered by `Done`.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(tag = "step", rename_all = "snake_case")]
pub enum BenchStep {
    /// Build the page tables and attach all functions.
    Build(Tables),
    /// Fill a session.
    Preserve,
    /// Close it.
    Cancel,
    /// In the next kernel: the whole way back with the same page tables.
    ComeBack(Tables),
}
