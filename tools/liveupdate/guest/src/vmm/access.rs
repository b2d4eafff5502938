// SPDX-License-Identifier: GPL-2.0
//! Getting at what a VMM has.

use super::Vmm;
use crate::iommufd::Iommufd;
use crate::luo::Session;
use crate::memory::GuestMemory;
use crate::sysfs::Function;
use anyhow::{Context, Result};
use protocol::Device;
use std::os::fd::OwnedFd;

impl Vmm {
    /// The memory.
    pub fn memory(&self) -> Result<&GuestMemory> {
        self.memory.as_ref().context("the VMM has no memory")
    }

    pub(super) fn iommufd(&self) -> Result<&Iommufd> {
        self.iommufd.as_ref().context("the VMM has no iommufd")
    }

    pub(super) fn incoming(&self) -> Result<&Session> {
        self.incoming.as_ref().context("no session was retrieved")
    }

    pub(super) fn retrieve(&self, token: u64) -> Result<OwnedFd> {
        self.incoming()?.retrieve_fd(token)
    }

    /// Binds the function to vfio-pci, which a preserved one needs to be retrieved. One that is
    /// not there any more is left to the kernel to report.
    pub(super) fn bind_to_vfio_pci(device: Device) -> Result<()> {
        match Function::lookup(device)? {
            Some(function) => function.bind("vfio-pci"),
            None => Ok(()),
        }
    }

    /// Closes all files but the memory.
    pub fn close(self) -> Option<GuestMemory> {
        self.memory
    }
}
