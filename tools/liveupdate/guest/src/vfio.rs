// SPDX-License-Identifier: GPL-2.0
//! A function under vfio-pci, through its character device.

use crate::ioctl;
use crate::iommufd::Iommufd;
use crate::sysfs::Function;
use anyhow::{Context, Result, ensure};
use std::fs::{File, OpenOptions};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use vfio_bindings::bindings::vfio::{
    VFIO_PCI_BAR0_REGION_INDEX, VFIO_PCI_CONFIG_REGION_INDEX, vfio_device_attach_iommufd_pt,
    vfio_device_bind_iommufd, vfio_device_detach_iommufd_pt, vfio_region_info,
};

pub const TYPE: u8 = b';';
const DEVICE_GET_REGION_INFO: u8 = 108;
const DEVICE_BIND_IOMMUFD: u8 = 118;
const DEVICE_ATTACH_IOMMUFD_PT: u8 = 119;
const DEVICE_DETACH_IOMMUFD_PT: u8 = 120;

/// PCI Local Bus Specification 3.0, section 6.2.2: the command register.
const PCI_COMMAND: u64 = 0x04;
const PCI_COMMAND_IO: u16 = 1 << 0;
const PCI_COMMAND_MEMORY: u16 = 1 << 1;
const PCI_COMMAND_MASTER: u16 = 1 << 2;

/// An open function.
pub struct VfioDevice(File);

/// A region of a function.
#[derive(Clone, Copy)]
pub struct Region {
    offset: u64,
    size: u64,
}

impl VfioDevice {
    /// Opens the character device of a function, which must be bound to vfio-pci.
    pub fn open(function: &Function) -> Result<Self> {
        let path = function.vfio_cdev()?;
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(&path)
            .with_context(|| path.display().to_string())?;
        Ok(Self(file))
    }

    /// A function that was retrieved from a session.
    pub fn from_retrieved(fd: OwnedFd) -> Self {
        Self(fd.into())
    }

    /// Binds the function to `iommufd` and returns the id of its object there.
    pub fn bind(&self, iommufd: &Iommufd) -> Result<u32> {
        let mut bind = vfio_device_bind_iommufd {
            argsz: size_of::<vfio_device_bind_iommufd>() as u32,
            flags: 0,
            iommufd: iommufd.as_fd().as_raw_fd(),
            out_devid: 0,
            token_uuid_ptr: 0,
        };
        let request = ioctl::io(TYPE, DEVICE_BIND_IOMMUFD);
        // SAFETY: the request takes this structure; without the token flag no pointer is used.
        unsafe { ioctl::call(self.as_fd(), request, &mut bind) }
            .context("VFIO_DEVICE_BIND_IOMMUFD")?;
        Ok(bind.out_devid)
    }

    /// Attaches the function to an IOAS or HWPT.
    pub fn attach(&self, page_table: u32) -> Result<()> {
        let mut attach = vfio_device_attach_iommufd_pt {
            argsz: size_of::<vfio_device_attach_iommufd_pt>() as u32,
            flags: 0,
            pt_id: page_table,
            pasid: 0,
        };
        let request = ioctl::io(TYPE, DEVICE_ATTACH_IOMMUFD_PT);
        // SAFETY: the request takes this structure, which holds no pointers.
        unsafe { ioctl::call(self.as_fd(), request, &mut attach) }
            .context("VFIO_DEVICE_ATTACH_IOMMUFD_PT")?;
        Ok(())
    }

    /// Detaches the function from its page table; from then on its DMA is blocked.
    pub fn detach(&self) -> Result<()> {
        let mut detach = vfio_device_detach_iommufd_pt {
            argsz: size_of::<vfio_device_detach_iommufd_pt>() as u32,
            flags: 0,
            pasid: 0,
        };
        let request = ioctl::io(TYPE, DEVICE_DETACH_IOMMUFD_PT);
        // SAFETY: the request takes this structure, which holds no pointers.
        unsafe { ioctl::call(self.as_fd(), request, &mut detach) }
            .context("VFIO_DEVICE_DETACH_IOMMUFD_PT")?;
        Ok(())
    }

    fn region(&self, index: u32) -> Result<Region> {
        let mut info = vfio_region_info {
            argsz: size_of::<vfio_region_info>() as u32,
            flags: 0,
            index,
            cap_offset: 0,
            size: 0,
            offset: 0,
        };
        let request = ioctl::io(TYPE, DEVICE_GET_REGION_INFO);
        // SAFETY: the request takes this structure and writes at most `argsz` bytes.
        unsafe { ioctl::call(self.as_fd(), request, &mut info) }
            .context("VFIO_DEVICE_GET_REGION_INFO")?;
        ensure!(info.size > 0, "region {index} does not exist");
        Ok(Region {
            offset: info.offset,
            size: info.size,
        })
    }

    /// BAR 0.
    pub fn bar0(&self) -> Result<Region> {
        self.region(VFIO_PCI_BAR0_REGION_INDEX)
    }

    /// Lets the function decode its BARs and master the bus.
    pub fn enable_bus_master(&self) -> Result<()> {
        let at = self.region(VFIO_PCI_CONFIG_REGION_INDEX)?.offset + PCI_COMMAND;
        let mut command = [0; 2];
        self.0.read_exact_at(&mut command, at)?;
        let command =
            u16::from_le_bytes(command) | PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER;
        self.0
            .write_all_at(&command.to_le_bytes(), at)
            .context("writing the command register")
    }

    /// Reads a 32-bit register.
    pub fn read_u32(&self, region: Region, register: u64) -> Result<u32> {
        ensure!(
            register + 4 <= region.size,
            "no register {register:#x} in the region"
        );
        let mut value = [0; 4];
        self.0
            .read_exact_at(&mut value, region.offset + register)
            .with_context(|| format!("reading register {register:#x}"))?;
        Ok(u32::from_le_bytes(value))
    }

    /// Writes a 32-bit register.
    pub fn write_u32(&self, region: Region, register: u64, value: u32) -> Result<()> {
        ensure!(
            register + 4 <= region.size,
            "no register {register:#x} in the region"
        );
        self.0
            .write_all_at(&value.to_le_bytes(), region.offset + register)
            .with_context(|| format!("writing register {register:#x}"))
    }
}

impl AsFd for VfioDevice {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
