// SPDX-License-Identifier: GPL-2.0
//! Trying to replace a kernel by another one.

use super::row::{Expected, Kernel, Remedy, Row};
use crate::cli::TestOptions;
use crate::run::{DEBUGFS, QUIET, Run, Seen, Usage};
use crate::timeline::{JUMP, KernelLog, split_kernels};
use crate::vm::Machine;
use anyhow::{Context, Result};
use protocol::{Back, Device, NOT_TRIED, OUTCOME_OK, Preflight, Request, Stage, Stopped, Tree};
use std::ops::Range;
use std::thread::sleep;
use std::time::Duration;

/// What the VMM has.
pub const DEVICES: [Device; 1] = [Device::Es1370];

/// In debugfs, whether the kernel uses the feature.
const USE_TEST_FEATURE: &str = "use_test_feature";
/// Where the kernel shows what it can take over.
const SUPPORTED: &str = "/sys/kernel/iommu_liveupdate/supported";
/// Where it is told what to do about a kernel that cannot.
const ON_INCOMPATIBLE: &str = "/sys/kernel/iommu_liveupdate/on_incompatible";

/// A kernel after another one, from its first answer to the end of all observations.
pub struct Next {
    /// From reboot(2) to its first answer.
    pub kexec: Range<Duration>,
    /// What it can take over.
    pub supported: Tree,
    /// How far the VMM came back.
    pub back: Back,
    /// What giving the rest back gave.
    pub reaped: String,
    /// What page tables take in the end.
    pub usage: Usage,
    /// Memory that belongs to the kernel before something is given back, in KiB.
    pub kept: i64,
    /// The same in the end.
    pub memory: i64,
}

/// What was observed.
pub struct Attempt {
    /// What `liveupdate-image` said.
    pub preflight: Preflight,
    /// What reboot(2) gave.
    pub reboot: String,
    /// In the old kernel, after the reboot was refused; empty if it was not.
    pub refused: Range<Duration>,
    /// The kernel that was started in the end.
    pub next: Option<Next>,
    /// What page tables took in the old kernel.
    pub before: Usage,
    /// When all observations ended.
    pub end: Duration,
    /// What was seen from outside.
    pub seen: Seen,
    /// Kernel logs.
    pub kernels: Vec<KernelLog>,
}

/// Lets the VMM come back as far as it can. What it does not get is given back.
fn come_back(run: &mut Run, kexec: Range<Duration>) -> Result<Next> {
    let supported = run.tree(SUPPORTED)?;
    let back = run.come_back(&DEVICES, Stage::Finish)?;
    let mut reaped = NOT_TRIED.to_owned();
    let kept = run.kernel_memory()?;
    if let Some(stopped) = &back.stopped {
        sleep(QUIET);
        run.vm.request_done(&Request::CloseVmm)?;
        if stopped.stage > Stage::Session {
            let devices = DEVICES.to_vec();
            reaped = run.vm.outcome(&Request::Reap { devices })?;
        }
        // Whoever comes next gets the device.
        run.open_again(&DEVICES)?;
        run.vm.request_done(&Request::CloseVmm)?;
    }
    Ok(Next {
        kexec,
        supported,
        back,
        reaped,
        usage: run.usage()?,
        kept,
        memory: run.kernel_memory()?,
    })
}

fn start_next(run: &mut Run) -> Result<Next> {
    let (kexec, _) = run.replace_kernel()?;
    come_back(run, kexec)
}

fn use_feature(run: &mut Run, on: bool) -> Result<()> {
    let content = if on { "1" } else { "0" };
    run.write_file(&format!("{DEBUGFS}/{USE_TEST_FEATURE}"), content)
}

/// What was refused is done in another way.
fn try_again(run: &mut Run, remedy: Remedy) -> Result<Option<Next>> {
    match remedy {
        Remedy::CommandLine => run.vm.load_kernel("")?,
        Remedy::WithoutFeature => {
            run.vm.request_done(&Request::Cancel)?;
            use_feature(run, false)?;
            run.preserve(&DEVICES)?;
        }
        Remedy::Cancel => {
            run.vm.request_done(&Request::Cancel)?;
            run.vm.request_done(&Request::Swap { count: 1 })?;
            run.preserve(&DEVICES)?;
            return Ok(None);
        }
    }
    start_next(run).map(Some)
}

impl Attempt {
    /// Tries `row`.
    pub fn run(options: &TestOptions, row: &Row) -> Result<Self> {
        let files = tempfile::tempdir()?;
        let machine = row.machine(options, &files)?;
        let (mut run, _) = Run::start(&machine, row.name, &Machine::PLAIN, &DEVICES)?;
        let before = run.usage()?;
        if row.old == Kernel::Newer {
            use_feature(&mut run, row.feature)?;
        }
        if let Expected::Stopped = row.expected {
            run.write_file(ON_INCOMPATIBLE, "stop")?;
        }
        run.vm.load_kernel(row.words)?;
        run.preserve(&DEVICES)?;
        let preflight = run.vm.check_image(row.words)?;

        let (reboot, refused, next);
        if let Expected::Refused(remedy) = row.expected {
            reboot = run.vm.outcome(&Request::Kexec)?;
            let start = run.vm.clock.now();
            sleep(QUIET);
            refused = start..run.vm.clock.now();
            next = try_again(&mut run, remedy)?;
        } else {
            reboot = OUTCOME_OK.into();
            refused = Duration::ZERO..Duration::ZERO;
            next = Some(start_next(&mut run)?);
        }
        sleep(QUIET);
        let end = run.vm.clock.now();
        let seen = run.end()?;
        Ok(Self {
            preflight,
            reboot,
            refused,
            next,
            before,
            end,
            kernels: split_kernels(&seen.remains.console),
            seen,
        })
    }

    /// Bytes that the devices wrote in `window`, from the first look on.
    pub fn bytes(&self, window: &Range<Duration>) -> u64 {
        let series = self.seen.series.iter();
        let bytes = series.map(|series| {
            let start = series.next_look(window.start);
            series.within(&(start..window.end)).bytes
        });
        bytes.sum()
    }

    /// The log of the kernel that was booted.
    pub fn old_log(&self) -> Result<&KernelLog> {
        self.kernels.first().context("no log of the old kernel")
    }

    /// From the end of the old kernel to the first answer of the next one, and from there on.
    pub fn after(&self, next: &Next) -> Result<(Range<Duration>, Range<Duration>)> {
        let jump = self.old_log()?.first(JUMP).context("no kexec in its log")?;
        Ok((jump..next.kexec.end, next.kexec.end..self.end))
    }

    /// What happened to the devices and to the VMM.
    pub fn result(&self) -> Result<String> {
        if self.reboot != OUTCOME_OK {
            let dma = match self.bytes(&self.refused) {
                0 => "DMA ends",
                _ => "DMA goes on",
            };
            return Ok(format!("refused (`{}`), {dma}", self.reboot));
        }
        let next = self.next.as_ref().context("no next kernel")?;
        let (jump, then) = self.after(next)?;
        let off = self.seen.remains.iommu.translation_off;
        let dma = match (self.bytes(&jump), self.bytes(&then), off) {
            (_, 1.., 0) => "DMA goes on",
            (1.., 0, 0) => "DMA is blocked by the next kernel",
            (0, 0, _) => "DMA is stopped by the running kernel",
            (_, _, 1..) => "translation is switched off under DMA",
        };
        Ok(match &next.back.stopped {
            None => format!("{dma}, the VMM comes back"),
            Some(Stopped { stage, errno, .. }) => {
                format!(
                    "{dma}, the VMM does not get its {} back (`{errno}`)",
                    stage.name()
                )
            }
        })
    }
}
