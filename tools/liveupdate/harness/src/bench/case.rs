// SPDX-License-Identifier: GPL-2.0
//! One live update that is counted.

use super::figures::{self, Figures, Share};
use super::kernel::Kernel;
use super::machine::{Counted, Counting};
use super::step::{KERNEL_START, Step, USERSPACE};
use crate::cli::BenchOptions;
use crate::counters::Counters;
use crate::timeline::CRASHES;
use anyhow::{Result, ensure};
use protocol::{BenchStep, Shape, Tables};
use serde::Serialize;
use std::collections::BTreeMap;

/// Entries of a table.
const ENTRIES: u64 = 512;
/// The two highest levels, of which the page table uses one table each.
const HIGHEST: u64 = 2;

/// What is measured.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
pub struct Case {
    /// How the page tables are used.
    pub shape: Shape,
    /// How many pages those of a device take, about.
    pub pages: u64,
    /// How many devices there are, each with page tables of its own.
    pub devices: usize,
    /// Whether the pages come from a pool.
    pub pool: bool,
}

impl Case {
    /// Name in logs.
    pub fn name(&self) -> String {
        let pool = if self.pool { "pool" } else { "pages" };
        let (shape, pages, devices) = (self.shape.name(), self.pages, self.devices);
        format!("bench-{shape}-{pages}-{devices}-{pool}")
    }

    /// The most tables of the lowest level that fit.
    fn lowest(&self) -> u64 {
        let rest = self.pages.saturating_sub(HIGHEST);
        let mut lowest = rest;
        while lowest > 1 && lowest + lowest.div_ceil(ENTRIES) > rest {
            lowest -= 1;
        }
        lowest.max(1)
    }

    /// How many pages the page tables take.
    fn table_pages(&self) -> u64 {
        self.lowest() + self.lowest().div_ceil(ENTRIES) + HIGHEST
    }
}

/// What it gave.
#[derive(Clone, Debug, Serialize)]
pub struct Measured {
    /// What was measured.
    #[serde(flatten)]
    pub case: Case,
    /// How many pages the page tables of a device took.
    pub table_pages: u64,
    /// Instructions by step.
    pub figures: Figures,
    /// Instructions of the steps in which the guest stands still.
    pub blackout: u64,
    /// Instructions from `reboot(KEXEC)` to the new kernel's userspace, all of the boot included.
    pub reboot: u64,
    /// The kernel's own counters before the reboot.
    pub handed_over: BTreeMap<String, u64>,
    /// The same of the new kernel, at the end.
    pub taken_over: BTreeMap<String, u64>,
    /// Seconds on this machine's clock from the request for the reboot to the new kernel's agent.
    pub reboot_seconds: f64,
    /// Where each step spends most.
    pub profiles: BTreeMap<Step, Vec<Share>>,
}

/// Boots, replaces the kernel once and goes the whole way back.
pub fn measure(options: &BenchOptions, kernel: &Kernel, case: &Case) -> Result<Measured> {
    let steps = Step::ALL.iter().flat_map(|step| step.functions());
    let measured: Vec<_> = steps
        .copied()
        .chain([USERSPACE])
        .map(String::from)
        .collect();
    let counting = Counting {
        kernel,
        measured,
        start: KERNEL_START,
    };
    let cmdline = if case.pool {
        ""
    } else {
        " iommu_liveupdate.pool=0"
    };
    let tables = Tables {
        lowest: case.lowest(),
        shape: case.shape,
    };
    let mut machine = Counted::boot(options, &case.name(), case.devices, cmdline, &counting)?;
    machine.vm.load_kernel("")?;
    machine.step(BenchStep::Build(tables))?;
    for step in [BenchStep::Preserve, BenchStep::Cancel, BenchStep::Preserve] {
        machine.step(step)?;
    }
    let handed_over = Counters::read(&mut machine.vm)?.into_map();
    let start = machine.vm.clock.now();
    machine.vm.kexec()?;
    let reboot_seconds = (machine.vm.clock.now() - start).as_secs_f64();
    machine.step(BenchStep::ComeBack(tables))?;
    let taken_over = Counters::read(&mut machine.vm)?.into_map();
    let (counts, remains) = machine.end()?;
    for line in &remains.console {
        let crash = CRASHES.iter().find(|crash| line.text.contains(**crash));
        ensure!(crash.is_none(), "the kernel says {:?}", line.text);
    }
    if let Some(fault) = remains.iommu.faults.first() {
        anyhow::bail!("QEMU saw a fault: {}", fault.text);
    }
    let figures = figures::figures(&counts)?;
    Ok(Measured {
        case: *case,
        table_pages: case.table_pages(),
        blackout: figures::blackout(&figures),
        figures,
        reboot: figures::reboot(&counts)?,
        handed_over,
        taken_over,
        reboot_seconds,
        profiles: figures::profiles(&counts),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn case(pages: u64) -> Case {
        Case {
            shape: Shape::Scattered,
            pages,
            devices: 1,
            pool: true,
        }
    }

    #[test]
    fn page_tables_take_as_many_pages_as_asked_for() {
        for pages in [10, 1000, 10_000, 100_000] {
            let taken = case(pages).table_pages();
            assert!(taken <= pages && taken + 2 >= pages, "{taken} of {pages}");
        }
        assert_eq!(case(10).lowest(), 7);
    }
}
