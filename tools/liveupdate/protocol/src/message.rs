// SPDX-License-Identifier: GPL-2.0
//! The messages.

use serde::{Deserialize, Serialize};

/// Name of the live-update session that the VMM creates.
pub const SESSION_NAME: &str = "vm0";
/// Token of the memfd in the session.
pub const TOKEN_MEMFD: u64 = 1;
/// Token of the iommufd in the session.
pub const TOKEN_IOMMUFD: u64 = 2;
/// Token of the first HWPT; device `n` of the VMM has `HWPT_TOKEN_BASE + n`.
pub const HWPT_TOKEN_BASE: u64 = 0x100;
/// Where the initramfs holds the kernel that the guest starts by kexec.
pub const NEXT_KERNEL: &str = "/boot/next-kernel";
/// What a [`Reply::Outcome`] says when the operation succeeded.
pub const OUTCOME_OK: &str = "OK";

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
}

/// What the VMM should set up.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct VmmConfig {
    /// The functions to pass through, each with a page table (HWPT) of its own.
    pub devices: Vec<Device>,
    /// How many NVMe commands will be queued.
    pub nvme_ios: u16,
    /// Leave the IOAS empty, so that every access of a device is a fault.
    pub unmapped: bool,
}

/// From the harness to the agent.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(tag = "request", rename_all = "snake_case")]
pub enum Request {
    /// Allocate the memfd, bind the functions to vfio-pci and attach them. Answer: `Vmm`.
    OpenVmm(VmmConfig),
    /// Bring the NVMe queues up and start the ADC ring. Answer: `Done`.
    StartDma,
    /// Load the next kernel with this command line. Answer: `Loaded`.
    LoadKernel { cmdline: String },
    /// Queue every planned NVMe command and ring the doorbell once. Answer: `Done`.
    QueueIos,
    /// Create the session, preserve the memory and, if any device is named, the iommufd with the
    /// page tables of these devices marked. Answer: `Preserved`.
    Preserve { marked: Vec<Device> },
    /// Close the session, which gives everything in it back. Answer: `Done`.
    Cancel,
    /// Start the loaded kernel; an answer comes only when that fails.
    Kexec,
    /// Collect every file below `path`. Answer: `Tree`.
    ReadTree { path: String },
    /// Bind `device` to a host driver. Answer: `Outcome`.
    BindDriver { device: Device, driver: String },
    /// Take `device` off its bus. Answer: `Done`.
    Remove { device: Device },
    /// Bind `device` to vfio-pci and to an iommufd that has nothing to do with the session.
    /// Answer: `Bound`.
    ForeignBind { device: Device },
    /// Retrieve the session, the memfd and the iommufd. Answer: `Retrieved`.
    Retrieve,
    /// Compare the blocks that the device read into the retrieved memory. Answer: `Reads`.
    VerifyReads { ios: u16 },
    /// Run a program, its output as `Event::Output`. Answer: `Exited`.
    Run { argv: Vec<String>, timeout_s: u64 },
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
    /// What the two binds gave.
    Bound(Bound),
    /// What could be retrieved.
    Retrieved(Retrieved),
    /// Result of the comparison.
    Reads(VerifiedReads),
    /// Exit status, `None` after a timeout or a signal.
    Exited { code: Option<i32> },
}

/// Where the VMM's memory is.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct VmmMemory {
    /// Guest-physical address of each page of the memfd, in file order.
    pub pages: Vec<u64>,
    /// Addresses of the functions, `0000:00:07.0`, in the order of the configuration.
    pub functions: Vec<String>,
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

/// A foreign iommufd's attempt to take a function.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Bound {
    /// Binding the function to vfio-pci.
    pub vfio_pci: String,
    /// `VFIO_DEVICE_BIND_IOMMUFD`.
    pub iommufd: String,
}

/// What came back from a session.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Retrieved {
    /// `LIVEUPDATE_IOCTL_RETRIEVE_SESSION`.
    pub session: String,
    /// The memfd.
    pub memfd: String,
    /// The iommufd.
    pub iommufd: String,
    /// Guest-physical pages of the retrieved memfd.
    pub pages: Vec<u64>,
}

/// Blocks that the device read, compared with their known content.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct VerifiedReads {
    /// Commands whose completion is in the queue.
    pub completed: u16,
    /// Completions with a status other than success.
    pub failed: u16,
    /// Blocks compared.
    pub compared: u16,
    /// Blocks that differ.
    pub wrong: u16,
    /// The first few differences.
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
