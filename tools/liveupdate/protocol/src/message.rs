// SPDX-License-Identifier: GPL-2.0
//! The messages.

use crate::bench::BenchStep;
use serde::{Deserialize, Serialize};

/// Name of the live-update session that the VMM creates.
pub const SESSION_NAME: &str = "vm0";
/// Token of the memfd in the session.
pub const TOKEN_MEMFD: u64 = 1;
/// Token of the iommufd in the session.
pub const TOKEN_IOMMUFD: u64 = 2;
/// Where the initramfs holds the kernel that the guest starts by kexec.
pub const NEXT_KERNEL: &str = "/boot/next-kernel";
/// What a [`Reply::Outcome`] says when the operation succeeded.
pub const OUTCOME_OK: &str = "OK";
/// What stands for an outcome when there was no operation.
pub const NOT_TRIED: &str = "not tried";

/// The functions that the VMM in the guest can drive.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Device {
    /// Ensoniq ES1370 sound card: its ADC fills a ring for ever.
    Es1370,
    /// NVMe controller.
    Nvme,
}

impl Device {
    /// PCI vendor and device id as QEMU emulates it.
    pub const fn pci_id(self) -> (u16, u16) {
        match self {
            Self::Es1370 => (0x1274, 0x5000),
            Self::Nvme => (0x1b36, 0x0010),
        }
    }

    /// Name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Es1370 => "es1370",
            Self::Nvme => "nvme",
        }
    }

    /// Token of its vfio file in the session.
    pub const fn cdev_token(self) -> u64 {
        0x10 + self as u64
    }

    /// Token of its page table.
    pub const fn hwpt_token(self) -> u64 {
        0x100 + self as u64
    }
}

/// What the VMM should set up.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct VmmConfig {
    /// The functions to pass through, each with a page table (HWPT) of its own.
    pub devices: Vec<Device>,
    /// How many NVMe commands will be queued at most.
    pub nvme_ios: u16,
    /// Leave the IOAS empty, so that every access of a device is a fault.
    pub unmapped: bool,
    /// Samples that the ES1370 writes in a second.
    pub samples_per_second: u32,
}

impl VmmConfig {
    /// The highest rate that the ES1370 is asked for.
    pub const SAMPLES_PER_SECOND: u32 = 44100;
}

/// What a VMM does in the new kernel, in this order.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Retrieve the session.
    Session,
    /// Retrieve the memfd and map it.
    Memory,
    /// Retrieve the iommufd.
    Iommufd,
    /// Retrieve the vfio file of each function.
    Functions,
    /// Bind each function to the iommufd.
    Bind,
    /// Set the interrupts up again.
    Interrupts,
    /// Get a HWPT for each page table of the old kernel.
    Restore,
    /// Attach each function to its restored HWPT.
    Attach,
    /// Build new page tables from a new IOAS.
    Rebuild,
    /// Compare them with the restored ones.
    Verify,
    /// Attach the functions to the new ones while they DMA.
    Swap,
    /// Destroy the restored HWPTs.
    Destroy,
    /// Mark the new HWPTs for the next update.
    Mark,
    /// Finish the session.
    Finish,
}

impl Stage {
    /// All of them.
    pub const ALL: [Self; 14] = [
        Self::Session,
        Self::Memory,
        Self::Iommufd,
        Self::Functions,
        Self::Bind,
        Self::Interrupts,
        Self::Restore,
        Self::Attach,
        Self::Rebuild,
        Self::Verify,
        Self::Swap,
        Self::Destroy,
        Self::Mark,
        Self::Finish,
    ];

    /// Name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::Memory => "memory",
            Self::Iommufd => "iommufd",
            Self::Functions => "functions",
            Self::Bind => "bind",
            Self::Interrupts => "interrupts",
            Self::Restore => "restore",
            Self::Attach => "attach",
            Self::Rebuild => "rebuild",
            Self::Verify => "verify",
            Self::Swap => "swap",
            Self::Destroy => "destroy",
            Self::Mark => "mark",
            Self::Finish => "finish",
        }
    }
}

/// From the harness to the agent.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(tag = "request", rename_all = "snake_case")]
pub enum Request {
    /// Let all that follows be about the VMM whose session has this name. Answer: `Done`.
    TurnTo { session: String },
    /// Allocate the memory of VMMs that are opened later, a page of each in turn. Answer: `Done`.
    AllocateMemory { memories: Vec<Memory> },
    /// Allocate the memfd unless there is one, bind the functions to vfio-pci and attach them.
    /// Files that the VMM has are closed first. Answer: `Vmm`.
    OpenVmm(VmmConfig),
    /// Bring the NVMe queues up and start the ADC ring. Answer: `Done`.
    StartDma,
    /// Load the next kernel with this command line. Answer: `Loaded`.
    LoadKernel { cmdline: String },
    /// Queue NVMe commands until `outstanding` are, and ring the doorbell once. Answer: `Queued`.
    QueueIos { outstanding: u16 },
    /// Create the session, preserve the memory and, if any device is named, the iommufd with the
    /// page tables of these devices marked, and their vfio files. Answer: `Preserved`.
    Preserve { marked: Vec<Device> },
    /// Close the session, which gives everything in it back. Answer: `Done`.
    Cancel,
    /// Start the loaded kernel; an answer, `Outcome`, comes only when that fails.
    Kexec,
    /// Ask `liveupdate-image` whether the next kernel, with this command line, can take over what
    /// would be handed over now. Answer: `Preflight`.
    CheckImage { cmdline: String },
    /// Write `content` to a file of sysfs or debugfs. Answer: `Outcome`.
    WriteFile { path: String, content: String },
    /// Collect every file below `path`. Answer: `Tree`.
    ReadTree { path: String },
    /// Bind `device` to a host driver. Answer: `Outcome`.
    BindDriver { device: Device, driver: String },
    /// Take `device` off its bus. Answer: `Done`.
    Remove { device: Device },
    /// Whether `device` is on its bus. Answer: `Present`.
    IsPresent { device: Device },
    /// Bind `device` to vfio-pci, open its character device, and bind that to an iommufd that has
    /// nothing to do with the session. Answer: `Opened`.
    OpenFunction { device: Device },
    /// Go the way back, from where it stopped to the end of stage `to`. Answer: `Back`.
    ComeBack { devices: Vec<Device>, to: Stage },
    /// Do the same in another process, which is killed there. Answer: `Back`.
    ComeBackAndDie { devices: Vec<Device>, to: Stage },
    /// Retrieve the vfio files of `devices`, whatever else there is. Answer: `Back`.
    RetrieveFunctions { devices: Vec<Device> },
    /// Try to finish the session of the VMM. Answer: `Outcome`.
    TryFinish,
    /// Let go of all files of the VMM. Answer: `Done`.
    CloseVmm,
    /// Retrieve what a VMM has left behind, and release it. Answer: `Outcome` of the last step,
    /// `FINISH`.
    Reap { devices: Vec<Device> },
    /// Give a function up whose way back has not been completed. Answer: `Outcome`.
    GiveUp { device: Device },
    /// Attach the functions `count` times to another page table of the same memory. Answer: `Done`.
    Swap { count: u32 },
    /// Try to free memory that devices use. Answer: `Outcome`.
    PunchHole,
    /// Compare the blocks that the device read into the VMM's memory since the last time.
    /// Answer: `Reads`.
    VerifyReads,
    /// Count the memory of page tables. Answer: `Statistics`.
    ReadStatistics,
    /// Fill nearly all free memory with a pattern. Answer: `Filled`.
    FillMemory,
    /// Compare that memory with the pattern. Answer: `Filled`, with the bytes that are unchanged.
    CheckMemory,
    /// Take all free memory but for `left` bytes, `most` at most, and keep it. Answer: `Vmm`, with its
    /// pages.
    TakeMemory { left: usize, most: usize },
    /// Where that memory is now. Answer: `Vmm`.
    FindMemory,
    /// Let the kernel damage memory as the last thing before the next one starts. Answer: `Done`.
    Damage { writes: Vec<MemoryWrite> },
    /// Run a program, its output as `Event::Output`. Answer: `Exited`.
    Run { argv: Vec<String>, timeout_s: u64 },
    /// Do one step of what is measured. Answer: `Done`.
    Bench { step: BenchStep },
    /// Switch the machine off; no answer.
    PowerOff,
}

/// From the agent to the harness.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The agent of a freshly booted kernel is ready.
    Hello(Hello),
    /// A line that a program printed.
    Output { line: String },
    /// The request was carried out.
    Reply(Reply),
    /// The request could not be carried out.
    Failed(Failure),
}

/// Who is there.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Hello {
    /// `uname -r`.
    pub release: String,
    /// `uname -v`.
    pub version: String,
    /// The kernel's command line.
    pub cmdline: String,
    /// Where the kernel's code begins.
    pub text: u64,
    /// Highest number of a processor that the kernel is built for.
    pub kernel_max: u32,
}

/// Answers.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(tag = "reply", rename_all = "snake_case")]
pub enum Reply {
    /// Nothing more to say.
    Done,
    /// The VMM's memory.
    Vmm(VmmMemory),
    /// The image is loaded.
    Loaded(Loaded),
    /// Everything asked for is preserved.
    Preserved(Preserved),
    /// Contents of files.
    Tree(Tree),
    /// `OUTCOME_OK` or the name of the errno.
    Outcome { errno: String },
    /// What `liveupdate-image` says.
    Preflight(Preflight),
    /// Whether the function is there.
    Present { present: bool },
    /// What opening and binding gave.
    Opened(Opened),
    /// How far the way back went.
    Back(Back),
    /// All commands that were queued so far.
    Queued { total: u16 },
    /// The counters.
    Statistics(Statistics),
    /// Bytes of memory.
    Filled { bytes: u64 },
    /// Result of the comparison.
    Reads(VerifiedReads),
    /// Exit status, `None` after a timeout or a signal.
    Exited { code: Option<i32> },
}

/// Pages one after the other.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct PageRun {
    /// Guest-physical address of the first.
    pub first: u64,
    /// Number of pages.
    pub count: u64,
}

/// Memory of a VMM.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Memory {
    /// The name of its session.
    pub session: String,
    /// Its size.
    pub bytes: usize,
}

/// A write to memory.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct MemoryWrite {
    /// Guest-physical address of the first byte.
    pub address: u64,
    /// What is written.
    pub bytes: Vec<u8>,
}

/// Where the VMM's memory is.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct VmmMemory {
    /// The pages of the memfd, in file order.
    pub pages: Vec<PageRun>,
}

/// How long something took.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Step {
    /// What was done.
    pub name: String,
    /// Nanoseconds.
    pub ns: u64,
}

/// The loaded image.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Loaded {
    /// Size of the kernel image.
    pub kernel_bytes: u64,
    /// Size of the initramfs.
    pub initramfs_bytes: u64,
}

/// Whether the next kernel can take the state over.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Preflight {
    /// What its image offers.
    pub offered: Vec<String>,
    /// What the state requires.
    pub required: Vec<String>,
    /// What is required and not offered, then what is missing on the command line.
    pub missing: Vec<String>,
}

/// The preserved session.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Preserved {
    /// Each ioctl with its duration.
    pub steps: Vec<Step>,
}

/// One file of a tree.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct FileContent {
    /// Path of the file.
    pub path: String,
    /// Text, or why it could not be read.
    pub content: Result<String, String>,
}

/// Files below a directory.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Tree {
    /// Sorted by path; empty when the directory does not exist.
    pub files: Vec<FileContent>,
}

/// An attempt to take a function.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Opened {
    /// Binding the function to vfio-pci.
    pub vfio_pci: String,
    /// Opening its character device.
    pub open: String,
    /// `VFIO_DEVICE_BIND_IOMMUFD` with an iommufd of another VMM.
    pub iommufd: String,
}

/// A stage that could not be completed.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Stopped {
    /// The stage.
    pub stage: Stage,
    /// Name of the errno.
    pub errno: String,
    /// The whole chain of causes.
    pub message: String,
}

/// What a comparison of page tables gave.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Comparison {
    /// Whose page tables.
    pub device: Device,
    /// `EQUAL`, or what differs first.
    pub result: String,
    /// Where it differs.
    pub iova: u64,
}

/// How often each interrupt of a function was signalled when it had been set up.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Signals {
    /// The function.
    pub device: Device,
    /// One count for each vector.
    pub vectors: Vec<u64>,
}

/// What a function gave.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct DeviceOutcome {
    /// The function.
    pub device: Device,
    /// `OUTCOME_OK` or the name of the errno.
    pub errno: String,
}

/// How far the way back went, and what it gave.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Back {
    /// The stages that are completed, with their durations.
    pub done: Vec<Step>,
    /// Why it did not go on.
    pub stopped: Option<Stopped>,
    /// The pages of the retrieved memfd, in file order.
    pub pages: Vec<PageRun>,
    /// What retrieving the vfio files gave.
    pub functions: Vec<DeviceOutcome>,
    /// What binding them to an iommufd of another VMM gave.
    pub foreign_bind: Vec<DeviceOutcome>,
    /// Interrupts that were signalled at once.
    pub signals: Vec<Signals>,
    /// Old and new page tables compared.
    pub comparisons: Vec<Comparison>,
    /// The same with new ones in which the last page is not mapped.
    pub incomplete: Vec<Comparison>,
}

impl Back {
    /// Adds what came later.
    pub fn append(&mut self, mut later: Self) {
        self.done.append(&mut later.done);
        self.stopped = later.stopped;
        self.pages.append(&mut later.pages);
        self.functions.append(&mut later.functions);
        self.foreign_bind.append(&mut later.foreign_bind);
        self.signals.append(&mut later.signals);
        self.comparisons.append(&mut later.comparisons);
        self.incomplete.append(&mut later.incomplete);
    }
}

/// Memory of page tables, in pages.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Statistics {
    /// `nr_iommu_pages`.
    pub iommu_pages: i64,
    /// `nr_sec_page_table_pages`.
    pub secondary_page_tables: i64,
}

/// Blocks that the device read, compared with their known content.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct VerifiedReads {
    /// Commands that were queued.
    pub queued: u16,
    /// Commands that are completed.
    pub completed: u16,
    /// Completions with a status other than success.
    pub failed: u16,
    /// Blocks compared.
    pub compared: u16,
    /// Blocks that differ.
    pub wrong: u16,
    /// The first few differences since the last time.
    pub details: Vec<String>,
}

/// Why a request failed.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Failure {
    /// The whole chain of causes.
    pub message: String,
    /// Name of the errno, when there is one.
    pub errno: Option<String>,
}
