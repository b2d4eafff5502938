// SPDX-License-Identifier: GPL-2.0
//! What others try in the kernel after the kexec.

use crate::errno::outcome;
use crate::iommufd::Iommufd;
use crate::memory::GuestMemory;
use crate::sysfs::Function;
use crate::vfio::VfioDevice;
use anyhow::Result;
use devices::layout::PAGE;
use devices::memory::DmaMemory;
use protocol::{Device, NOT_TRIED, OUTCOME_OK, Opened};

/// Binds `device` to a host driver.
pub fn bind_driver(device: Device, driver: &str) -> Result<String> {
    let function = Function::find(device)?;
    outcome(function.bind(driver))
}

/// Frees a page that functions may use: the last one, so that nothing else breaks when it works.
pub fn punch_hole(memory: &GuestMemory) -> Result<String> {
    outcome(memory.punch_hole(memory.len() - PAGE))
}

/// Opens the character device of `device` and binds it to an iommufd of our own.
pub fn open_function(device: Device) -> Result<Opened> {
    let mut opened = Opened {
        vfio_pci: NOT_TRIED.into(),
        open: NOT_TRIED.into(),
        iommufd: NOT_TRIED.into(),
    };
    let function = Function::find(device)?;
    opened.vfio_pci = outcome(function.bind("vfio-pci"))?;
    if opened.vfio_pci != OUTCOME_OK {
        return Ok(opened);
    }
    let vfio = VfioDevice::open(&function);
    if let Ok(vfio) = &vfio {
        let iommufd = Iommufd::open()?;
        opened.iommufd = outcome(vfio.bind(&iommufd))?;
    }
    opened.open = outcome(vfio)?;
    Ok(opened)
}
