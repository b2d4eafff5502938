// SPDX-License-Identifier: GPL-2.0
//! Replacing page tables while their devices DMA: what it takes, and how long DMA has to wait.

use super::kernel::Kernel;
use super::machine::{Counting, read_counts};
use super::step::{KERNEL_START, Step};
use super::table::short;
use crate::cli::BenchOptions;
use crate::counters::Counters;
use crate::iommu_trace::{ACCESSES, Access, FLUSHES, accesses, count};
use crate::run::{OUTSTANDING, Run};
use crate::run_dir::RunDir;
use crate::verdict::Property;
use crate::vm::Machine;
use anyhow::{Context, Result};
use protocol::{Call, Device};
use serde::Serialize;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt::Write;
use std::ops::Range;
use std::thread::sleep;
use std::time::Duration;

const DEVICES: [Device; 2] = [Device::Es1370, Device::Nvme];
/// Swaps, each of the page tables of one function.
const SWAPS: u32 = 100_000;
const SWAPS_QUICK: u32 = 10_000;
/// Swaps of which the instructions are counted.
const SWAPS_COUNTED: u32 = 2_000;
/// How often the drive is given more to do while nothing is swapped.
const REFILL: Duration = Duration::from_secs(4);
/// The sound card transfers as often as QEMU can let it, so that it notices short waits too.
const MACHINE: Machine = Machine {
    audio_period: 500,
    ..Machine::LOADED
};
/// Functions that are listed of a profile.
const LISTED: usize = 8;

/// How long a function waited from one DMA to the next.
#[derive(Clone, Debug, Serialize)]
pub struct Waits {
    /// Accesses to memory.
    accesses: usize,
    /// Half of the times are shorter.
    median_ms: f64,
    /// One of a hundred is longer.
    percentile_99_ms: f64,
    /// None is longer.
    longest_ms: f64,
}

/// What a function did while its page tables were replaced, and next to it in as much time while they
/// were not.
#[derive(Clone, Debug, Serialize)]
struct Dma {
    swapping: Waits,
    quiet: Waits,
}

/// A function of the kernel in which swaps spend time.
#[derive(Clone, Debug, Serialize)]
struct Share {
    function: String,
    /// Instructions of each swap on average, without what it calls.
    instructions: f64,
}

/// Instructions of one swap, from the ioctl's function on.
#[derive(Clone, Debug, Serialize)]
struct Instructions {
    swaps: usize,
    median: u64,
    /// With an interrupt, if there was one meanwhile.
    longest: u64,
    profile: Vec<Share>,
}

/// Everything.
#[derive(Clone, Debug, Serialize)]
pub struct Swaps {
    swaps: u32,
    seconds: f64,
    faults: usize,
    /// Entries that the kernel says it has replaced, and flushes that it took.
    replaced: u64,
    flushes: u64,
    /// Flushes that QEMU has seen, of the context cache and of the IOTLB, a few others included.
    flushes_by_qemu: [u64; 2],
    dma: BTreeMap<&'static str, Dma>,
    instructions: Instructions,
}

/// How often both functions have to be attached to another page table.
fn rounds(swaps: u32) -> u32 {
    swaps / DEVICES.len() as u32
}

/// How QEMU's trace names a function.
fn name_in_trace(device: Device) -> &'static str {
    match device {
        Device::Es1370 => "00:07.00",
        Device::Nvme => "00:08.00",
    }
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// The times between the accesses of `device` in `window`.
fn waits(all: &[Access], device: Device, window: &Range<Duration>) -> Result<Waits> {
    let of_device = |access: &&Access| {
        access.function == name_in_trace(device) && window.contains(&access.time)
    };
    let times: Vec<_> = all
        .iter()
        .filter(of_device)
        .map(|access| access.time)
        .collect();
    let pairs = times.windows(2);
    let mut waits: Vec<_> = pairs.map(|pair| pair[1].saturating_sub(pair[0])).collect();
    waits.sort_unstable();
    let at = |part: usize| {
        let wait = waits.get(waits.len() * part / 100).or(waits.last());
        let wait = wait.with_context(|| format!("no DMA of {}", device.name()))?;
        anyhow::Ok(milliseconds(*wait))
    };
    Ok(Waits {
        accesses: times.len(),
        median_ms: at(50)?,
        percentile_99_ms: at(99)?,
        longest_ms: at(100)?,
    })
}

/// Lets the devices do the same as during the swaps, for `time`.
fn stay_quiet(run: &mut Run, time: Duration) -> Result<Range<Duration>> {
    let start = run.vm.clock.now();
    while run.vm.clock.now() < start + time {
        run.vm.queue_ios(OUTSTANDING)?;
        sleep(REFILL.min((start + time).saturating_sub(run.vm.clock.now())));
    }
    Ok(start..run.vm.clock.now())
}

/// Instructions of swaps under the same load, in a machine with one processor.
fn count_instructions(options: &BenchOptions, kernel: &Kernel) -> Result<Instructions> {
    let measured = Step::Swap.functions();
    let counting = Counting {
        kernel,
        measured: measured.iter().copied().map(String::from).collect(),
        start: KERNEL_START,
    };
    let dir = RunDir::create(&options.common.out, "bench-swaps-counted")?;
    let arguments = counting.arguments(&options.plugin, &dir)?;
    let mut machine = options.common.clone();
    machine.cmdline_extra += " nokaslr";
    let (mut run, _) = Run::start_in(&machine, &dir, &Machine::LOADED, &DEVICES, &arguments)?;
    run.swap(rounds(SWAPS_COUNTED))?;
    run.end()?;

    let counts = read_counts(&dir)?;
    let of_swaps = |call: &&Call| measured.contains(&&*call.function) && call.returned;
    let calls = counts.calls.iter().filter(of_swaps);
    let mut each: Vec<_> = calls.map(|call| call.instructions).collect();
    each.sort_unstable();
    let mut profile: Vec<_> = counts
        .profile
        .iter()
        .filter(|entry| measured.contains(&&*entry.within))
        .map(|entry| Share {
            function: entry.function.clone(),
            instructions: entry.instructions as f64 / each.len().max(1) as f64,
        })
        .collect();
    profile.sort_by(|a, b| b.instructions.total_cmp(&a.instructions));
    profile.truncate(LISTED);
    Ok(Instructions {
        swaps: each.len(),
        median: *each.get(each.len() / 2).context("no swap was counted")?,
        longest: *each.last().context("no swap was counted")?,
        profile,
    })
}

/// Swaps under load, once to look at the devices and once to count instructions.
pub fn measure(options: &BenchOptions, kernel: &Kernel) -> Result<Swaps> {
    let swaps = match options.quick {
        true => SWAPS_QUICK,
        false => SWAPS,
    };
    let dir = RunDir::create(&options.common.out, "bench-swaps")?;
    let events = FLUSHES.iter().chain([&ACCESSES]);
    let arguments: Vec<_> = events
        .flat_map(|event| ["-trace", event])
        .map(OsString::from)
        .collect();
    let (mut run, _) = Run::start_in(&options.common, &dir, &MACHINE, &DEVICES, &arguments)?;
    let path = run.vm.dir.file("iommu.trace");
    let before = (Counters::read(&mut run.vm)?, count(&path, FLUSHES)?);
    let start = run.vm.clock.now();
    run.swap(rounds(swaps))?;
    let swapping = start..run.vm.clock.now();
    let after = (Counters::read(&mut run.vm)?, count(&path, FLUSHES)?);
    let quiet = stay_quiet(&mut run, swapping.end - swapping.start)?;
    let clock = run.vm.clock;
    let faults = run.end()?.remains.iommu.faults.len();

    let all = accesses(&path, clock)?;
    let dma = DEVICES.iter().map(|&device| {
        let dma = Dma {
            swapping: waits(&all, device, &swapping)?,
            quiet: waits(&all, device, &quiet)?,
        };
        Ok((device.name(), dma))
    });
    Ok(Swaps {
        swaps,
        seconds: (swapping.end - swapping.start).as_secs_f64(),
        faults,
        replaced: after.0.since(&before.0, "entries_replaced")?,
        flushes: after.0.since(&before.0, "replace_flushes")?,
        flushes_by_qemu: [0, 1].map(|index| after.1[index] - before.1[index]),
        dma: dma.collect::<Result<_>>()?,
        instructions: count_instructions(options, kernel)?,
    })
}

impl Swaps {
    /// Flushes of each swap.
    fn flushes_per_swap(&self) -> f64 {
        self.flushes as f64 / self.replaced.max(1) as f64
    }

    /// What it has to show.
    pub fn properties(&self) -> Vec<Property> {
        let swaps = u64::from(self.swaps);
        let seen: u64 = self.flushes_by_qemu.iter().sum();
        vec![
            Property::new(
                format!("no IOMMU fault in {swaps} swaps under DMA (QEMU's trace)"),
                self.faults == 0,
                format!("{} faults", self.faults),
            ),
            Property::new(
                "each of them replaced an entry, with the same number of flushes",
                self.replaced == swaps && self.flushes.is_multiple_of(swaps),
                format!("{} entries, {} flushes", self.replaced, self.flushes),
            ),
            // Each time that page tables are made and destroyed, there are some more.
            Property::new(
                "QEMU sees these flushes, and less than one in a hundred besides",
                seen >= self.flushes && (seen - self.flushes) * 100 < seen,
                format!("{seen} flushes"),
            ),
        ]
    }

    /// For people.
    pub fn render(&self) -> Result<String> {
        let mut out = String::new();
        let instructions = &self.instructions;
        writeln!(
            out,
            "Swaps of page tables under DMA\n\n  {} swaps in {:.1} s in QEMU, {} faults, {:.1} flushes each\n  \
             {} instructions each (median of {}, at most {} with interrupts)",
            self.swaps,
            self.seconds,
            self.faults,
            self.flushes_per_swap(),
            short(instructions.median),
            instructions.swaps,
            short(instructions.longest),
        )?;
        for share in &instructions.profile {
            writeln!(out, "    {:>8.0} in {}", share.instructions, share.function)?;
        }
        writeln!(
            out,
            "\n  From one DMA of a device to its next, as QEMU sees it, in ms of this machine's clock\n\n  \
             {:<22} {:>9} {:>9} {:>9} {:>9}",
            "", "accesses", "median", "99 %", "longest"
        )?;
        for (device, dma) in &self.dma {
            for (when, waits) in [("swapping", &dma.swapping), ("without swaps", &dma.quiet)] {
                writeln!(
                    out,
                    "  {:<22} {:>9} {:>9.3} {:>9.1} {:>9.1}",
                    format!("{device}, {when}"),
                    waits.accesses,
                    waits.median_ms,
                    waits.percentile_99_ms,
                    waits.longest_ms
                )?;
            }
        }
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(function: &str, ms: u64) -> Access {
        Access {
            time: Duration::from_millis(ms),
            function: function.into(),
        }
    }

    #[test]
    fn waits_are_those_of_one_device_in_the_window() {
        let times = [0, 10, 20, 30, 90, 100, 500];
        let mut all: Vec<_> = times.map(|ms| access("00:07.00", ms)).into();
        all.push(access("00:08.00", 50));
        let window = Duration::ZERO..Duration::from_millis(200);
        let waits = waits(&all, Device::Es1370, &window).unwrap();
        assert_eq!(waits.accesses, 6);
        assert_eq!((waits.median_ms, waits.longest_ms), (10.0, 60.0));
        let nothing = super::waits(&all, Device::Nvme, &(window.end..window.end));
        assert!(nothing.is_err());
    }
}
