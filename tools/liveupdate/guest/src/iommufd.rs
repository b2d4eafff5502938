// SPDX-License-Identifier: GPL-2.0
//! iommufd, the part that a VMM needs: IOASes with file mappings, HWPTs, and live update.
//!
//! Structures and numbers mirror include/uapi/linux/iommufd.h.

use crate::ioctl;
use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use std::fs::{File, OpenOptions};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

const TYPE: u8 = b';';
const DESTROY: u8 = 0x80;
const IOAS_ALLOC: u8 = 0x81;
const HWPT_ALLOC: u8 = 0x89;
const IOAS_MAP_FILE: u8 = 0x8f;
const HWPT_LIVEUPDATE_MARK_PRESERVE: u8 = 0x96;
const HWPT_LIVEUPDATE_RESTORE: u8 = 0x97;
const HWPT_LIVEUPDATE_VERIFY: u8 = 0x98;

const HWPT_ALLOC_LIVEUPDATE: u32 = 1 << 4;

const MAP_FIXED_IOVA: u32 = 1 << 0;
const MAP_WRITEABLE: u32 = 1 << 1;
const MAP_READABLE: u32 = 1 << 2;

#[repr(C)]
#[derive(Default)]
struct IoasAlloc {
    size: u32,
    flags: u32,
    out_ioas_id: u32,
}

#[repr(C)]
#[derive(Default)]
struct IoasMapFile {
    size: u32,
    flags: u32,
    ioas_id: u32,
    fd: i32,
    start: u64,
    length: u64,
    iova: u64,
}

#[repr(C)]
#[derive(Default)]
struct HwptAlloc {
    size: u32,
    flags: u32,
    dev_id: u32,
    pt_id: u32,
    out_hwpt_id: u32,
    reserved: u32,
    data_type: u32,
    data_len: u32,
    data_uptr: u64,
    fault_id: u32,
    reserved2: u32,
}

#[repr(C)]
#[derive(Default)]
struct HwptMarkPreserve {
    size: u32,
    hwpt_id: u32,
    hwpt_token: u64,
}

#[repr(C)]
#[derive(Default)]
struct Destroy {
    size: u32,
    id: u32,
}

#[repr(C)]
#[derive(Default)]
struct HwptRestore {
    size: u32,
    flags: u32,
    hwpt_token: u64,
    out_hwpt_id: u32,
    reserved: u32,
}

#[repr(C)]
#[derive(Default)]
struct HwptVerify {
    size: u32,
    flags: u32,
    restored_hwpt_id: u32,
    new_hwpt_id: u32,
    out_iova: u64,
    out_reason: u32,
    reserved: u32,
}

/// What a comparison of two page tables gave first, `enum iommu_hwpt_liveupdate_verify_reason`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Difference {
    /// Both translate everything alike.
    Equal,
    /// An IOVA is mapped in the restored page table only.
    Unmapped,
    /// An IOVA is mapped to another address.
    Address,
    /// An IOVA is mapped with other rights.
    Rights,
    /// An IOVA is mapped in the new page table only.
    Extra,
}

impl Difference {
    /// Name without the prefix.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Equal => "EQUAL",
            Self::Unmapped => "UNMAPPED",
            Self::Address => "ADDRESS",
            Self::Rights => "RIGHTS",
            Self::Extra => "EXTRA",
        }
    }
}

const fn size_of_u32<T>() -> u32 {
    size_of::<T>() as u32
}

fn is_unsupported(error: &anyhow::Error) -> bool {
    error.downcast_ref() == Some(&Errno::EOPNOTSUPP)
}

/// An open /dev/iommu.
pub struct Iommufd(File);

impl Iommufd {
    /// Opens a new context.
    pub fn open() -> Result<Self> {
        let path = "/dev/iommu";
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(path)
            .context(path)?;
        Ok(Self(file))
    }

    /// A context that was retrieved from a session.
    pub fn from_retrieved(fd: OwnedFd) -> Self {
        Self(fd.into())
    }

    fn call<T>(&self, number: u8, what: &'static str, argument: &mut T) -> Result<()> {
        // SAFETY: every caller passes the structure that belongs to `number`, with its size and
        // without pointers.
        unsafe { ioctl::call(self.0.as_fd(), ioctl::io(TYPE, number), argument) }.context(what)?;
        Ok(())
    }

    /// Allocates an IOAS and returns its id.
    pub fn alloc_ioas(&self) -> Result<u32> {
        let mut alloc = IoasAlloc {
            size: size_of_u32::<IoasAlloc>(),
            ..Default::default()
        };
        self.call(IOAS_ALLOC, "IOMMU_IOAS_ALLOC", &mut alloc)?;
        Ok(alloc.out_ioas_id)
    }

    /// Maps `length` bytes of `file` from `start` on at `iova`, readable and writable.
    pub fn map_file(
        &self,
        ioas: u32,
        file: BorrowedFd<'_>,
        start: u64,
        iova: u64,
        length: u64,
    ) -> Result<()> {
        self.call(
            IOAS_MAP_FILE,
            "IOMMU_IOAS_MAP_FILE",
            &mut IoasMapFile {
                size: size_of_u32::<IoasMapFile>(),
                flags: MAP_FIXED_IOVA | MAP_WRITEABLE | MAP_READABLE,
                ioas_id: ioas,
                fd: file.as_raw_fd(),
                start,
                length,
                iova,
            },
        )
    }

    /// Allocates a paging HWPT of `ioas` for a bound device and returns its id. It is one for a live
    /// update, unless the kernel knows of none.
    pub fn alloc_hwpt(&self, device: u32, ioas: u32) -> Result<u32> {
        let alloc = |flags| {
            let mut alloc = HwptAlloc {
                size: size_of_u32::<HwptAlloc>(),
                flags,
                dev_id: device,
                pt_id: ioas,
                ..Default::default()
            };
            self.call(HWPT_ALLOC, "IOMMU_HWPT_ALLOC", &mut alloc)?;
            Ok(alloc.out_hwpt_id)
        };
        match alloc(HWPT_ALLOC_LIVEUPDATE) {
            Err(error) if is_unsupported(&error) => alloc(0),
            result => result,
        }
    }

    /// Marks an HWPT for preservation under `token`.
    pub fn mark_preserve(&self, hwpt: u32, token: u64) -> Result<()> {
        self.call(
            HWPT_LIVEUPDATE_MARK_PRESERVE,
            "IOMMU_HWPT_LIVEUPDATE_MARK_PRESERVE",
            &mut HwptMarkPreserve {
                size: size_of_u32::<HwptMarkPreserve>(),
                hwpt_id: hwpt,
                hwpt_token: token,
            },
        )
    }

    /// Returns the id of the HWPT that stands for the page table that the previous kernel had
    /// under `token`.
    pub fn restore_hwpt(&self, token: u64) -> Result<u32> {
        let mut restore = HwptRestore {
            size: size_of_u32::<HwptRestore>(),
            hwpt_token: token,
            ..Default::default()
        };
        self.call(
            HWPT_LIVEUPDATE_RESTORE,
            "IOMMU_HWPT_LIVEUPDATE_RESTORE",
            &mut restore,
        )?;
        Ok(restore.out_hwpt_id)
    }

    /// Compares a restored HWPT with a new one; returns the first difference and its IOVA.
    pub fn verify_hwpt(&self, restored: u32, new: u32) -> Result<(Difference, u64)> {
        let mut verify = HwptVerify {
            size: size_of_u32::<HwptVerify>(),
            restored_hwpt_id: restored,
            new_hwpt_id: new,
            ..Default::default()
        };
        self.call(
            HWPT_LIVEUPDATE_VERIFY,
            "IOMMU_HWPT_LIVEUPDATE_VERIFY",
            &mut verify,
        )?;
        let difference = match verify.out_reason {
            0 => Difference::Equal,
            1 => Difference::Unmapped,
            2 => Difference::Address,
            3 => Difference::Rights,
            4 => Difference::Extra,
            other => bail!("IOMMU_HWPT_LIVEUPDATE_VERIFY: reason {other}"),
        };
        Ok((difference, verify.out_iova))
    }

    /// Destroys an object.
    pub fn destroy(&self, id: u32) -> Result<()> {
        self.call(
            DESTROY,
            "IOMMU_DESTROY",
            &mut Destroy {
                size: size_of_u32::<Destroy>(),
                id,
            },
        )
    }
}

impl AsFd for Iommufd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
