// SPDX-License-Identifier: GPL-2.0
//! The steps of a live update, and the kernel's functions whose calls they are.

use serde::Serialize;

/// A step.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// `PRESERVE_FD` of the iommufd and of the vfio files.
    Preserve,
    /// The same undone.
    Unpreserve,
    /// `reboot(KEXEC)` before the point of no return.
    Freeze,
    /// The IOMMU's shutdown hook.
    Shutdown,
    /// Reserving the memory that was handed over, at boot.
    Reservation,
    /// Adopting the tables of the IOMMU.
    Takeover,
    /// Putting a restored domain in front of each device when it is found.
    Restore,
    /// `RETRIEVE_FD` of the iommufd and of the vfio files.
    Retrieve,
    /// `IOMMU_HWPT_LIVEUPDATE_RESTORE`.
    RestoreHwpt,
    /// `IOMMU_HWPT_LIVEUPDATE_VERIFY`.
    Verify,
    /// Attaching each device to its new page table.
    Swap,
    /// `IOMMU_DESTROY` of the restored page table.
    Destroy,
    /// Giving its pages back, in the background.
    Background,
    /// `LIVEUPDATE_SESSION_FINISH`.
    Finish,
}

/// The function in which a kernel starts.
pub const KERNEL_START: &str = "x86_64_start_kernel";
/// The first function after which a kernel's userspace runs.
pub const USERSPACE: &str = "kernel_execve";
/// The kernel that is booted is the first to start.
pub const OLD: u32 = 1;
/// The one that replaces it.
pub const NEW: u32 = 2;

/// `reboot(KEXEC)` before the point of no return.
pub const FREEZE: &str = "liveupdate_reboot";

const PRESERVE: [&str; 2] = [
    "<kernel::liveupdate::FileOps<main::iommufd::Iommufd>>::preserve_callback",
    "<kernel::liveupdate::FileOps<main::vfio::VfioPci>>::preserve_callback",
];
const UNPRESERVE: [&str; 2] = [
    "<kernel::liveupdate::FileOps<main::iommufd::Iommufd>>::unpreserve_callback",
    "<kernel::liveupdate::FileOps<main::vfio::VfioPci>>::unpreserve_callback",
];
const RETRIEVE: [&str; 2] = [
    "<kernel::liveupdate::FileOps<main::iommufd::Iommufd>>::retrieve_callback",
    "<kernel::liveupdate::FileOps<main::vfio::VfioPci>>::retrieve_callback",
];

impl Step {
    /// All of them.
    pub const ALL: [Self; 14] = [
        Self::Preserve,
        Self::Unpreserve,
        Self::Freeze,
        Self::Shutdown,
        Self::Reservation,
        Self::Takeover,
        Self::Restore,
        Self::Retrieve,
        Self::RestoreHwpt,
        Self::Verify,
        Self::Swap,
        Self::Destroy,
        Self::Background,
        Self::Finish,
    ];

    /// Those of the subsystem in which the guest stands still.
    pub const BLACKOUT: [Self; 4] = [Self::Freeze, Self::Shutdown, Self::Takeover, Self::Restore];

    /// Name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Preserve => "preserve",
            Self::Unpreserve => "unpreserve",
            Self::Freeze => "freeze",
            Self::Shutdown => "shutdown",
            Self::Reservation => "reservation",
            Self::Takeover => "takeover",
            Self::Restore => "restore",
            Self::Retrieve => "retrieve",
            Self::RestoreHwpt => "RESTORE",
            Self::Verify => "VERIFY",
            Self::Swap => "swap",
            Self::Destroy => "destroy",
            Self::Background => "background",
            Self::Finish => "finish",
        }
    }

    /// The functions whose calls it is. None is called by another.
    pub const fn functions(self) -> &'static [&'static str] {
        match self {
            Self::Preserve => &PRESERVE,
            Self::Unpreserve => &UNPRESERVE,
            Self::Freeze => &[FREEZE],
            Self::Shutdown => &["intel_iommu_shutdown"],
            Self::Reservation => &["kho_memory_init_early", "kho_memory_init"],
            Self::Takeover => &["intel_iommu_liveupdate_takeover"],
            Self::Restore => &["iommu_liveupdate_restore_domain"],
            Self::Retrieve => &RETRIEVE,
            Self::RestoreHwpt => &["iommufd_hwpt_liveupdate_restore"],
            Self::Verify => &["iommufd_hwpt_liveupdate_verify"],
            Self::Swap => &["iommufd_device_replace"],
            Self::Destroy => &["iommufd_destroy"],
            Self::Background => &["<main::reclaim::Unused>::free_now"],
            Self::Finish => &["luo_session_finish"],
        }
    }

    /// Which kernel does it.
    pub const fn kernel(self) -> u32 {
        match self {
            Self::Preserve | Self::Unpreserve | Self::Freeze | Self::Shutdown => OLD,
            _ => NEW,
        }
    }
}
