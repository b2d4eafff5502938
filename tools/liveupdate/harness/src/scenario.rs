// SPDX-License-Identifier: GPL-2.0
//! Live updates in a row with everything that is observed around them.

use crate::cli::Options;
use crate::hop::{self, Hop};
use crate::progress::Series;
use crate::qemu::Topology;
use crate::run::{QUIET, Run, Usage};
use crate::status::Status;
use crate::timeline::{KernelLog, split_kernels};
use crate::vm::{Machine, Remains};
use anyhow::{Context, Result};
use protocol::{Device, Hello, OUTCOME_OK, Stage, VerifiedReads};
use std::ops::Range;
use std::thread::sleep;
use std::time::Duration;

/// Everything that was observed.
pub struct Record {
    /// What was done.
    pub scenario: Scenario,
    /// The kernel that was booted.
    pub old: Hello,
    /// What page tables took in it, with the devices attached.
    pub usage: Usage,
    /// The updates.
    pub hops: Vec<Hop>,
    /// Whether the memory was always at the same place.
    pub memory_moved: bool,
    /// The guest's comparison of the blocks that were read; absent without a memfd.
    pub reads: Option<VerifiedReads>,
    /// The same comparison from outside.
    pub reads_outside: Vec<String>,
    /// Memory that the guest has filled, and how much of it stayed as it was.
    pub filled: Option<(u64, u64)>,
    /// DMA progress.
    pub series: Vec<Series>,
    /// From the last kernel's first answer to the end of all observations.
    pub afterwards: Range<Duration>,
    /// Kernel logs.
    pub kernels: Vec<KernelLog>,
    /// What is left.
    pub remains: Remains,
}

impl Record {
    /// The first update.
    pub fn first(&self) -> Result<&Hop> {
        self.hops.first().context("there was no update")
    }

    /// The last update.
    pub fn last(&self) -> Result<&Hop> {
        self.hops.last().context("there was no update")
    }

    /// The log of the kernel that was replaced.
    pub fn old_log(&self, hop: &Hop) -> Result<&KernelLog> {
        let log = self.kernels.get(hop.number);
        log.context("no log of the old kernel")
    }

    /// The log of the kernel that replaced it.
    pub fn new_log(&self, hop: &Hop) -> Result<&KernelLog> {
        let log = self.kernels.get(hop.number + 1);
        log.context("no log of the new kernel")
    }
}

/// What to do.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Names the folder of the logs.
    pub name: &'static str,
    /// Which functions there are.
    pub topology: Topology,
    /// The sessions one after the other, each with the devices whose page tables are marked. All
    /// but the last are cancelled; without a device, a session has the memory only.
    pub sessions: &'static [&'static [Device]],
    /// Live updates in a row.
    pub hops: usize,
    /// Whether all but the last stop when the restored page tables are attached.
    pub unfinished: bool,
    /// Times that the page tables are replaced in each kernel after the first time.
    pub swaps: u32,
    /// Whether to damage the state when the old kernel has let go of it.
    pub damage_state: bool,
    /// The device that is removed from its bus in the new kernel.
    pub remove: Option<Device>,
    /// Whether a kernel of another configuration follows.
    pub other_kernel: bool,
    /// More words for the next kernel's command line.
    pub next_cmdline: &'static str,
    /// Whether the guest fills its free memory before anything is retrieved.
    pub fill_memory: bool,
}

impl Scenario {
    /// The update that should work.
    pub const PRESERVED: Self = Self {
        name: "preserved",
        topology: Topology::RootBus,
        sessions: &[&[Device::Es1370, Device::Nvme]],
        hops: 1,
        unfinished: false,
        swaps: 0,
        damage_state: false,
        remove: None,
        other_kernel: false,
        next_cmdline: "",
        fill_memory: false,
    };

    /// What the demonstration shows.
    pub const DEMO: Self = Self {
        hops: 2,
        swaps: 100,
        ..Self::PRESERVED
    };

    /// An update without the page tables.
    pub const CONTROL: Self = Self {
        name: "control",
        sessions: &[&[]],
        ..Self::PRESERVED
    };

    /// Whether the page tables of `device` go to the next kernel.
    pub fn preserves(&self, device: Device) -> bool {
        let last = self.sessions.last();
        last.is_some_and(|marked| marked.contains(&device))
    }

    /// How many devices do.
    pub fn preserved_devices(&self) -> usize {
        self.sessions.last().map_or(0, |marked| marked.len())
    }
}

/// Runs it.
pub fn run(options: &Options, scenario: &Scenario) -> Result<Record> {
    let status = Status::new(scenario.name);
    status.phase("booting");
    let machine = Machine {
        topology: scenario.topology,
        ..Machine::LOADED
    };
    let devices = [Device::Es1370, Device::Nvme];
    let (mut run, old) = Run::start(options, scenario.name, &machine, &devices)?;
    let usage = run.usage()?;
    let mut hops = Vec::new();
    for number in 0..scenario.hops {
        hops.push(hop::run(&mut run, scenario, number, &status)?);
    }
    status.phase("waiting for the last block");
    let last = hops.last().context("there was no update")?;
    let kexec_end = last.marks.kexec.end;
    let mut reads = None;
    if last.outcome(Stage::Memory) == OUTCOME_OK {
        reads = Some(run.wait_for_reads()?);
    }
    let filled = match scenario.fill_memory {
        true => Some(run.check_memory()?),
        false => None,
    };
    sleep(QUIET);
    let pages = &run.memory.pages;
    let memory_moved = hops.iter().any(|hop| hop.back.pages != *pages);
    let end = run.vm.clock.now();
    status.phase("switching off");
    let seen = run.end()?;

    Ok(Record {
        scenario: scenario.clone(),
        old,
        usage,
        hops,
        memory_moved,
        reads,
        reads_outside: seen.reads_outside,
        filled,
        series: seen.series,
        afterwards: kexec_end..end,
        kernels: split_kernels(&seen.remains.console),
        remains: seen.remains,
    })
}
