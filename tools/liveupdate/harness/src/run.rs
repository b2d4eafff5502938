// SPDX-License-Identifier: GPL-2.0
//! A machine with a VMM whose devices DMA, watched from outside.

use crate::cli::Options;
use crate::progress::Series;
use crate::ram::{GuestRam, Pages};
use crate::run_dir::RunDir;
use crate::sampler::Sampler;
use crate::vm::{Machine, Remains, Vm};
use anyhow::{Context, Result, bail, ensure};
use devices::block;
use devices::layout::{DATA, data_page};
use devices::memory::DmaMemory;
use devices::plan::{Operation, operation};
use protocol::{
    Back, Device, Hello, OUTCOME_OK, Opened, Preserved, Reply, Request, Stage, Statistics, Tree,
    VerifiedReads, VmmConfig, VmmMemory,
};
use std::ffi::OsString;
use std::ops::Range;
use std::thread::sleep;
use std::time::Duration;

/// Where the kernel shows what it hands over and what it took over.
pub const DEBUGFS: &str = "/sys/kernel/debug/iommu/liveupdate";
/// In it, how many domain ids of each IOMMU are in use.
const UNITS: &str = "/sys/kernel/debug/iommu/liveupdate/units";
/// How long devices are watched when nothing else happens.
pub const QUIET: Duration = Duration::from_millis(500);
/// How long the last command may take.
const COMPLETE: Duration = Duration::from_secs(60);
/// Commands that are outstanding while something happens: more than it takes.
pub const OUTSTANDING: u16 = 600;
/// So many take much less than that.
const SWAPS_AT_ONCE: u32 = 1000;
/// Without progress for this long, no further completion is expected.
const STALLED: Duration = Duration::from_secs(2);
/// QEMU 7.2 crashes when a controller with queued commands is reset, as the kernel's NVMe driver
/// would do with one that is not preserved.
pub const WITHOUT_NVME_DRIVER: &str = " initcall_blacklist=nvme_init";

/// What the page tables of a kernel take.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Usage {
    /// Memory.
    pub statistics: Statistics,
    /// Domain ids, as debugfs shows them.
    pub domain_ids: String,
}

/// What was seen when everything is over.
pub struct Seen {
    /// DMA progress.
    pub series: Vec<Series>,
    /// Differences between the blocks that were read and their content, in the guest's RAM.
    pub reads_outside: Vec<String>,
    /// What is left.
    pub remains: Remains,
}

/// The machine.
pub struct Run {
    /// The machine.
    pub vm: Vm,
    /// Where the VMM's memory is.
    pub memory: VmmMemory,
    sampler: Sampler,
    /// Bytes of memory that the guest has filled.
    filled: u64,
}

impl Run {
    /// Boots, passes `devices` through and brings them up.
    pub fn start(
        options: &Options,
        name: &str,
        machine: &Machine,
        devices: &[Device],
    ) -> Result<(Self, Hello)> {
        let dir = RunDir::create(&options.out, name)?;
        Self::start_in(options, &dir, machine, devices, &[])
    }

    /// The same with logs in `dir`, and `more` arguments for QEMU.
    pub fn start_in(
        options: &Options,
        dir: &RunDir,
        machine: &Machine,
        devices: &[Device],
        more: &[OsString],
    ) -> Result<(Self, Hello)> {
        let mut options = options.clone();
        options.cmdline_extra += WITHOUT_NVME_DRIVER;
        let (mut vm, hello) = Vm::boot_with(&options, dir, machine, GuestRam::create()?, more)?;
        let memory = open_vmm(&mut vm, devices, machine.ios)?;
        let sampler = Sampler::start(&vm.ram, devices, &memory, vm.clock)?;
        vm.request_done(&Request::StartDma)?;
        let run = Self {
            vm,
            memory,
            sampler,
            filled: 0,
        };
        Ok((run, hello))
    }

    /// Lets another VMM have `devices`, which do nothing.
    pub fn open_again(&mut self, devices: &[Device]) -> Result<VmmMemory> {
        open_vmm(&mut self.vm, devices, 0)
    }

    /// Creates a session and fills it.
    pub fn preserve(&mut self, marked: &[Device]) -> Result<Preserved> {
        let marked = marked.to_vec();
        match self.vm.request(&Request::Preserve { marked })? {
            Reply::Preserved(preserved) => Ok(preserved),
            reply => bail!("unexpected {reply:?}"),
        }
    }

    /// Starts the loaded kernel and waits for its agent; returns how long that took.
    pub fn replace_kernel(&mut self) -> Result<(Range<Duration>, Hello)> {
        let start = self.vm.clock.now();
        self.vm.start_kexec()?;
        let (end, hello) = self.vm.hello()?;
        Ok((start..end, hello))
    }

    fn back(&mut self, request: &Request) -> Result<Back> {
        match self.vm.request(request)? {
            Reply::Back(back) => Ok(back),
            reply => bail!("unexpected {reply:?}"),
        }
    }

    /// Goes the way back with `devices`, to the end of stage `to`.
    pub fn come_back(&mut self, devices: &[Device], to: Stage) -> Result<Back> {
        let devices = devices.to_vec();
        self.back(&Request::ComeBack { devices, to })
    }

    /// The same in another process, which is killed there.
    pub fn come_back_and_die(&mut self, devices: &[Device], to: Stage) -> Result<Back> {
        let devices = devices.to_vec();
        self.back(&Request::ComeBackAndDie { devices, to })
    }

    /// The project's debugfs.
    pub fn debugfs(&mut self) -> Result<Tree> {
        self.tree(DEBUGFS)
    }

    /// What page tables take now.
    pub fn usage(&mut self) -> Result<Usage> {
        let statistics = match self.vm.request(&Request::ReadStatistics)? {
            Reply::Statistics(statistics) => statistics,
            reply => bail!("unexpected {reply:?}"),
        };
        let units = self.tree(UNITS)?.files.into_iter();
        let domain_ids = units.filter_map(|file| file.content.ok()).collect();
        Ok(Usage {
            statistics,
            domain_ids,
        })
    }

    /// Writes to a file of sysfs or debugfs.
    pub fn write_file(&mut self, path: &str, content: &str) -> Result<()> {
        let request = Request::WriteFile {
            path: path.into(),
            content: content.into(),
        };
        let outcome = self.vm.outcome(&request)?;
        ensure!(outcome == OUTCOME_OK, "{path}: {outcome}");
        Ok(())
    }

    /// The files below `path`.
    pub fn tree(&mut self, path: &str) -> Result<Tree> {
        let path = path.into();
        match self.vm.request(&Request::ReadTree { path })? {
            Reply::Tree(tree) => Ok(tree),
            reply => bail!("unexpected {reply:?}"),
        }
    }

    /// Memory that belongs to the kernel, in KiB: all but what is reserved, as what the previous
    /// kernel has preserved is until it is given back.
    pub fn kernel_memory(&mut self) -> Result<i64> {
        let meminfo = self.tree("/proc/meminfo")?;
        let texts = meminfo
            .files
            .iter()
            .filter_map(|file| file.content.as_deref().ok());
        let total = texts
            .flat_map(str::lines)
            .find_map(|line| line.strip_prefix("MemTotal:"));
        let kib = total.and_then(|value| value.trim().strip_suffix(" kB"));
        Ok(kib.context("no MemTotal")?.parse()?)
    }

    /// Whether `device` is on its bus.
    pub fn is_present(&mut self, device: Device) -> Result<bool> {
        match self.vm.request(&Request::IsPresent { device })? {
            Reply::Present { present } => Ok(present),
            reply => bail!("unexpected {reply:?}"),
        }
    }

    /// Lets another VMM try to open `device`.
    pub fn open_function(&mut self, device: Device) -> Result<Opened> {
        match self.vm.request(&Request::OpenFunction { device })? {
            Reply::Opened(opened) => Ok(opened),
            reply => bail!("unexpected {reply:?}"),
        }
    }

    /// Replaces the page tables `count` times, under the load of both devices.
    pub fn swap(&mut self, count: u32) -> Result<()> {
        let mut left = count;
        while left > 0 {
            let count = left.min(SWAPS_AT_ONCE);
            self.vm.queue_ios(OUTSTANDING)?;
            self.vm.request_done(&Request::Swap { count })?;
            left -= count;
        }
        Ok(())
    }

    fn filled(&mut self, request: &Request) -> Result<u64> {
        match self.vm.request(request)? {
            Reply::Filled { bytes } => Ok(bytes),
            reply => bail!("unexpected {reply:?}"),
        }
    }

    /// Lets the guest fill its free memory with a pattern.
    pub fn fill_memory(&mut self) -> Result<()> {
        self.filled = self.filled(&Request::FillMemory)?;
        Ok(())
    }

    /// Bytes that were filled, and how many of them are unchanged.
    pub fn check_memory(&mut self) -> Result<(u64, u64)> {
        Ok((self.filled, self.filled(&Request::CheckMemory)?))
    }

    fn verify_reads(&mut self) -> Result<VerifiedReads> {
        match self.vm.request(&Request::VerifyReads)? {
            Reply::Reads(reads) => Ok(reads),
            reply => bail!("unexpected {reply:?}"),
        }
    }

    /// Queues `count` commands behind those that are outstanding.
    pub fn queue_more(&mut self, count: u16) -> Result<()> {
        let reads = self.verify_reads()?;
        let outstanding = reads.queued.saturating_sub(reads.completed);
        self.vm.queue_ios(outstanding + count)
    }

    /// Asks until all commands are completed or no more complete.
    pub fn wait_for_reads(&mut self) -> Result<VerifiedReads> {
        let clock = self.vm.clock;
        let start = clock.now();
        let mut last_progress = start;
        let mut last = 0;
        let mut details = Vec::new();
        loop {
            let mut reads = self.verify_reads()?;
            details.append(&mut reads.details);
            let now = clock.now();
            if reads.completed > last {
                (last, last_progress) = (reads.completed, now);
            }
            let over = now - last_progress > STALLED || now - start > COMPLETE;
            if reads.completed >= reads.queued || over {
                reads.details = details;
                return Ok(reads);
            }
            sleep(QUIET);
        }
    }

    /// Stops looking, switches the machine off, and returns what was seen.
    pub fn end(self) -> Result<Seen> {
        let series = self.sampler.finish()?;
        let reads_outside = verify_outside(&self.vm, &self.memory)?;
        Ok(Seen {
            series,
            reads_outside,
            remains: self.vm.power_off()?,
        })
    }
}

fn open_vmm(vm: &mut Vm, devices: &[Device], ios: u16) -> Result<VmmMemory> {
    let config = VmmConfig {
        devices: devices.to_vec(),
        nvme_ios: ios,
        unmapped: false,
        samples_per_second: VmmConfig::SAMPLES_PER_SECOND,
    };
    match vm.request(&Request::OpenVmm(config))? {
        Reply::Vmm(memory) => Ok(memory),
        reply => bail!("unexpected {reply:?}"),
    }
}

/// Compares the blocks that were read, in the guest's RAM as QEMU has it.
fn verify_outside(vm: &Vm, memory: &VmmMemory) -> Result<Vec<String>> {
    let pages = Pages::new(vm.ram.clone(), &memory.pages)?.part(DATA)?;
    let mut wrong = Vec::new();
    for cid in (0..vm.queued()).filter(|&cid| operation(cid) == Operation::Read) {
        let mut page = [0; block::SIZE];
        pages.read(data_page(cid) - DATA.start, &mut page);
        wrong.extend(block::difference(&page, cid.into(), 0));
    }
    Ok(wrong)
}
