// SPDX-License-Identifier: GPL-2.0
//! One live update with everything that is observed around it.

use crate::cli::Options;
use crate::damage;
use crate::progress::Series;
use crate::qemu::Topology;
use crate::sampler::Sampler;
use crate::status::Status;
use crate::timeline::{KernelLog, SCRUBBED, split_kernels};
use crate::vm::{Machine, Remains, Vm};
use anyhow::{Context, Result, bail};
use devices::layout::DATA;
use devices::memory::DmaMemory;
use devices::plan::{Operation, operation};
use devices::{block, layout};
use protocol::{
    Bound, Device, Hello, OUTCOME_OK, Preserved, Reply, Request, Retrieved, Tree, VerifiedReads,
    VmmConfig, VmmMemory,
};
use std::ops::Range;
use std::thread::sleep;
use std::time::Duration;

/// Where the kernel shows what it hands over and what it took over.
pub const DEBUGFS: &str = "/sys/kernel/debug/iommu/liveupdate";

/// A driver that binds to any function and, unlike vfio-pci, leaves the IOMMU to the kernel.
const HOST_DRIVER: &str = "uio_pci_generic";
/// In the control, the kernel's NVMe driver would bind to the controller and reset it, and QEMU 7.2
/// crashes when a controller with queued commands is reset.
const WITHOUT_NVME_DRIVER: &str = " initcall_blacklist=nvme_init";

/// Commands that are queued.
const IOS: u16 = 1000;
/// Commands that the drive completes in a second.
const IOS_PER_SECOND: u32 = 100;
/// How long the devices are watched before anything happens, and after everything.
const QUIET: Duration = Duration::from_millis(500);
/// How long the last command may take.
const COMPLETE: Duration = Duration::from_secs(60);
/// Without progress for this long, no further completion is expected.
const STALLED: Duration = Duration::from_secs(2);

/// When what was asked for.
#[derive(Clone, Debug)]
pub struct Marks {
    /// The session is created and filled.
    pub preserve: Range<Duration>,
    /// From reboot(2) to the answer of the new kernel's agent.
    pub kexec: Range<Duration>,
    /// The memfd is retrieved and compared.
    pub retrieve: Range<Duration>,
    /// A device is removed, or the time at which it would have been.
    pub remove: Range<Duration>,
    /// From the new kernel's first answer to the end of all observations.
    pub afterwards: Range<Duration>,
}

/// Everything that was observed.
pub struct Record {
    /// What was done.
    pub scenario: Scenario,
    /// The devices.
    pub config: VmmConfig,
    /// The old kernel.
    pub old: Hello,
    /// The new kernel.
    pub new: Hello,
    /// Durations of the ioctls.
    pub preserved: Preserved,
    /// Debugfs of the old kernel just before the kexec.
    pub handed_over: Tree,
    /// Debugfs of the new kernel.
    pub taken_over: Tree,
    /// What a host driver got.
    pub host_driver_bind: String,
    /// What a foreign iommufd got.
    pub foreign_bind: Bound,
    /// What the session gave back.
    pub retrieved: Retrieved,
    /// Whether the memory is at the same place.
    pub memory_moved: bool,
    /// The guest's comparison of the blocks that were read; absent without a memfd.
    pub reads: Option<VerifiedReads>,
    /// The same comparison from outside.
    pub reads_outside: Vec<String>,
    /// DMA progress.
    pub series: Vec<Series>,
    /// Times.
    pub marks: Marks,
    /// Kernel logs.
    pub kernels: Vec<KernelLog>,
    /// What is left.
    pub remains: Remains,
}

impl Record {
    /// The log of the old kernel.
    pub fn old_log(&self) -> Result<&KernelLog> {
        self.kernels.first().context("no log of the old kernel")
    }

    /// The log of the new kernel.
    pub fn new_log(&self) -> Result<&KernelLog> {
        self.kernels.get(1).context("no log of the new kernel")
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
    /// Whether to damage the state when the old kernel has let go of it.
    pub damage_state: bool,
    /// The device that is removed from its bus in the new kernel.
    pub remove: Option<Device>,
}

impl Scenario {
    /// The update that should work.
    pub const PRESERVED: Self = Self {
        name: "preserved",
        topology: Topology::RootBus,
        sessions: &[&[Device::Es1370, Device::Nvme]],
        damage_state: false,
        remove: None,
    };

    /// The same without the page tables.
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
    let mut options = options.clone();
    options.cmdline_extra += WITHOUT_NVME_DRIVER;
    let status = Status::new(scenario.name);
    status.phase("booting");
    let machine = Machine {
        topology: scenario.topology,
        ios: IOS,
        ios_per_second: IOS_PER_SECOND,
    };
    let (mut vm, old) = Vm::boot(&options, scenario.name, &machine)?;

    let config = VmmConfig {
        devices: vec![Device::Es1370, Device::Nvme],
        nvme_ios: IOS,
        unmapped: false,
    };
    status.phase("passing the devices through");
    let memory = match vm.request(&Request::OpenVmm(config.clone()))? {
        Reply::Vmm(memory) => memory,
        reply => bail!("unexpected {reply:?}"),
    };
    let sampler = Sampler::start(&vm.ram, &config, &memory, vm.clock)?;
    vm.request_done(&Request::StartDma)?;
    status.phase("loading the next kernel");
    vm.load_kernel()?;
    sleep(QUIET);
    vm.request_done(&Request::QueueIos)?;
    sleep(QUIET * 2);

    status.phase("preserving");
    let mut preserve = vm.clock.now()..vm.clock.now();
    let mut preserved = Preserved { steps: Vec::new() };
    for (index, marked) in scenario.sessions.iter().enumerate() {
        if index > 0 {
            vm.request_done(&Request::Cancel)?;
        }
        let start = vm.clock.now();
        let marked = marked.to_vec();
        preserved = match vm.request(&Request::Preserve { marked })? {
            Reply::Preserved(preserved) => preserved,
            reply => bail!("unexpected {reply:?}"),
        };
        preserve = start..vm.clock.now();
    }
    let handed_over = read_tree(&mut vm)?;

    status.phase("replacing the kernel");
    let kexec_start = vm.clock.now();
    vm.start_kexec()?;
    if scenario.damage_state {
        vm.wait_for_line(SCRUBBED)?;
        vm.while_stopped(damage::damage_state)?;
    }
    let (kexec_end, new) = vm.hello()?;

    status.phase("checking in the new kernel");
    sleep(QUIET);
    let taken_over = read_tree(&mut vm)?;
    let host_driver_bind = match vm.request(&Request::BindDriver {
        device: Device::Nvme,
        driver: HOST_DRIVER.into(),
    })? {
        Reply::Outcome { errno } => errno,
        reply => bail!("unexpected {reply:?}"),
    };
    let foreign_bind = match vm.request(&Request::ForeignBind {
        device: Device::Es1370,
    })? {
        Reply::Bound(bound) => bound,
        reply => bail!("unexpected {reply:?}"),
    };

    let retrieve_start = vm.clock.now();
    let retrieved = match vm.request(&Request::Retrieve)? {
        Reply::Retrieved(retrieved) => retrieved,
        reply => bail!("unexpected {reply:?}"),
    };
    let retrieve_end = vm.clock.now();
    if let Some(device) = scenario.remove {
        sleep(QUIET);
        status.phase("removing a device");
        vm.request_done(&Request::Remove { device })?;
    }
    let remove_end = vm.clock.now();
    status.phase("waiting for the last block");
    let mut reads = None;
    if retrieved.memfd == OUTCOME_OK {
        reads = Some(wait_for_reads(&mut vm)?);
    }
    sleep(QUIET);
    let series = sampler.finish()?;
    let reads_outside = verify_outside(&vm, &memory)?;
    let end = vm.clock.now();
    status.phase("switching off");
    let remains = vm.power_off()?;

    Ok(Record {
        scenario: scenario.clone(),
        memory_moved: retrieved.pages != memory.pages,
        kernels: split_kernels(&remains.console),
        config,
        old,
        new,
        preserved,
        handed_over,
        taken_over,
        host_driver_bind,
        foreign_bind,
        retrieved,
        reads,
        reads_outside,
        series,
        marks: Marks {
            preserve,
            kexec: kexec_start..kexec_end,
            retrieve: retrieve_start..retrieve_end,
            remove: retrieve_end..remove_end,
            afterwards: kexec_end..end,
        },
        remains,
    })
}

fn read_tree(vm: &mut Vm) -> Result<Tree> {
    let path = DEBUGFS.into();
    match vm.request(&Request::ReadTree { path })? {
        Reply::Tree(tree) => Ok(tree),
        reply => bail!("unexpected {reply:?}"),
    }
}

/// Asks until all commands are completed or no more complete.
fn wait_for_reads(vm: &mut Vm) -> Result<VerifiedReads> {
    let start = vm.clock.now();
    let mut last_progress = start;
    let mut last = 0;
    loop {
        let reads = match vm.request(&Request::VerifyReads { ios: IOS })? {
            Reply::Reads(reads) => reads,
            reply => bail!("unexpected {reply:?}"),
        };
        let now = vm.clock.now();
        if reads.completed > last {
            (last, last_progress) = (reads.completed, now);
        }
        if reads.completed >= IOS || now - last_progress > STALLED || now - start > COMPLETE {
            return Ok(reads);
        }
        sleep(QUIET);
    }
}

/// Compares the blocks that were read, in the guest's RAM as QEMU has it.
fn verify_outside(vm: &Vm, memory: &VmmMemory) -> Result<Vec<String>> {
    let pages = crate::ram::Pages::new(vm.ram.clone(), &memory.pages)?.part(DATA)?;
    let mut wrong = Vec::new();
    for cid in (0..IOS).filter(|&cid| operation(cid) == Operation::Read) {
        let mut page = [0; block::SIZE];
        pages.read(layout::data_page(cid) - DATA.start, &mut page);
        wrong.extend(block::difference(&page, cid.into(), 0));
    }
    Ok(wrong)
}
