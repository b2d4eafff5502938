// SPDX-License-Identifier: GPL-2.0
//! A machine in which instructions can be counted: one processor, whose clock is the number of
//! instructions that it has executed.

use super::kernel::Kernel;
use crate::cli::BenchOptions;
use crate::ram::GuestRam;
use crate::run_dir::RunDir;
use crate::vm::{Machine, Vm};
use anyhow::{Context, Result, bail};
use protocol::{BenchStep, CountConfig, Counts, Reply, Request};
use std::ffi::OsString;
use std::fs::File;
use std::io::{BufReader, BufWriter};
use std::path::Path;
use std::time::Duration;

/// Enough for 100,000 table pages, as many new ones, and as many pages between them.
const RAM: usize = 2 << 30;
/// Where functions are known to be, no messages on the way, and nothing that goes on beside it.
const CMDLINE: &str = " nokaslr quiet initramfs_async=0";
/// How long a step may take.
const STEP: Duration = Duration::from_secs(1800);
/// Slots of the root bus with a port for each function.
const SLOTS: std::ops::Range<usize> = 0x10..0x18;
const FUNCTIONS: usize = 8;

/// A machine whose instructions are counted.
pub struct Counted {
    /// The machine.
    pub vm: Vm,
    dir: RunDir,
}

/// What the plugin is to count.
pub struct Counting<'a> {
    /// The kernel, in which all addresses are known.
    pub kernel: &'a Kernel,
    /// Those whose calls are counted.
    pub measured: Vec<String>,
    /// Where a kernel starts.
    pub start: &'a str,
}

/// Names of files in the folder of a run.
const CONFIG: &str = "count.json";
const COUNTS: &str = "counts.json";

impl Counting<'_> {
    /// QEMU's arguments for a machine with one processor whose logs are in `dir`.
    pub fn arguments(&self, plugin: &Path, dir: &RunDir) -> Result<Vec<OsString>> {
        let output = dir.file(COUNTS);
        let output = output.to_str().context("the path is not UTF-8")?.into();
        let config = CountConfig {
            output,
            functions: self.kernel.functions.clone(),
            measured: self.measured.clone(),
            returns: self.kernel.returns(&self.measured),
            start: self.start.into(),
        };
        serde_json::to_writer(BufWriter::new(dir.create_file(CONFIG)?), &config)?;
        // A comma in a path is doubled.
        let path = |path: &Path| path.display().to_string().replace(',', ",,");
        let plugin = path(&plugin.canonicalize()?);
        let mut arguments = Vec::new();
        option(&mut arguments, "-smp", "1");
        option(
            &mut arguments,
            "-plugin",
            format!("{plugin},config={}", path(&dir.file(CONFIG))),
        );
        Ok(arguments)
    }
}

/// What was counted in the machine whose logs are in `dir`, once QEMU has ended.
pub fn read_counts(dir: &RunDir) -> Result<Counts> {
    let path = dir.file(COUNTS);
    let what = || path.display().to_string();
    let file = File::open(&path).with_context(what)?;
    serde_json::from_reader(BufReader::new(file)).with_context(what)
}

fn option(arguments: &mut Vec<OsString>, name: &str, value: impl Into<OsString>) {
    arguments.push(name.into());
    arguments.push(value.into());
}

/// QEMU's arguments for `devices` functions, each alone behind a port, and so in an IOMMU group of its
/// own.
fn functions(devices: usize) -> Result<Vec<OsString>> {
    let mut arguments = Vec::new();
    let places = SLOTS.flat_map(|slot| (0..FUNCTIONS).map(move |function| (slot, function)));
    let mut places = places.enumerate().take(devices);
    if devices > SLOTS.len() * FUNCTIONS {
        bail!("there is no place for {devices} functions");
    }
    places.try_for_each(|(number, (slot, function))| {
        let port = format!(
            "pcie-root-port,id=port{number},chassis={},io-reserve=0,multifunction=on,\
             addr={slot:#x}.{function}",
            number + 1
        );
        option(&mut arguments, "-device", port);
        option(&mut arguments, "-device", format!("edu,bus=port{number}"));
        anyhow::Ok(())
    })?;
    Ok(arguments)
}

impl Counted {
    /// Boots with `devices` functions of QEMU's `edu`.
    pub fn boot(
        options: &BenchOptions,
        name: &str,
        devices: usize,
        cmdline: &str,
        counting: &Counting<'_>,
    ) -> Result<Self> {
        let dir = RunDir::create(&options.common.out, name)?;
        let mut arguments = functions(devices)?;
        arguments.extend(counting.arguments(&options.plugin, &dir)?);
        option(&mut arguments, "-icount", "shift=0,sleep=off");
        option(&mut arguments, "-rtc", "base=2026-01-01,clock=vm");
        // Random numbers that are the same each time, and no byte by byte string operations.
        option(&mut arguments, "-seed", "1");
        option(
            &mut arguments,
            "-cpu",
            "max,la57=off,rdrand=off,rdseed=off,erms=off",
        );
        let mut machine = options.common.clone();
        machine.cmdline_extra += CMDLINE;
        machine.cmdline_extra += cmdline;
        machine.timeout = machine.timeout.max(STEP.as_secs());
        let ram = GuestRam::with_size(RAM)?;
        let (vm, _) = Vm::boot_with(&machine, &dir, &Machine::PLAIN, ram, &arguments)?;
        Ok(Self { vm, dir })
    }

    /// Lets the VMM do a step.
    pub fn step(&mut self, step: BenchStep) -> Result<()> {
        match self.vm.request_within(&Request::Bench { step }, STEP)? {
            Reply::Done => Ok(()),
            reply => bail!("unexpected {reply:?}"),
        }
    }

    /// Switches the machine off; returns what was counted and what it leaves behind.
    pub fn end(self) -> Result<(Counts, crate::vm::Remains)> {
        let remains = self.vm.power_off()?;
        let counts = read_counts(&self.dir)?;
        Ok((counts, remains))
    }
}
