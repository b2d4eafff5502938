// SPDX-License-Identifier: GPL-2.0
//! What only a test asks of a VMM.

use super::Vmm;
use crate::errno::outcome;
use crate::iommufd::Iommufd;
use crate::nvme::Nvme;
use anyhow::{Context, Result};
use devices::layout;
use protocol::{Comparison, Device, DeviceOutcome};

impl Vmm {
    /// Queues NVMe commands until `outstanding` are; returns the number of all so far.
    pub fn queue_ios(&self, outstanding: u16) -> Result<u16> {
        let mut functions = self.functions.iter();
        let function = functions
            .find(|function| function.device == Device::Nvme)
            .context("there is no NVMe function")?;
        Nvme::running(&function.vfio)?.queue(&function.vfio, self.memory()?, outstanding)
    }

    /// Binds each function to an iommufd of another VMM.
    pub fn bind_to_another(&self) -> Result<Vec<DeviceOutcome>> {
        let iommufd = Iommufd::open()?;
        let bind = self.functions.iter().map(|function| {
            Ok(DeviceOutcome {
                device: function.device,
                errno: outcome(function.vfio.bind(&iommufd))?,
            })
        });
        bind.collect()
    }

    /// Compares the restored page tables with some in which the last page is not mapped.
    pub fn verify_incomplete(&self) -> Result<Vec<Comparison>> {
        let iommufd = self.iommufd()?;
        let ioas = iommufd.alloc_ioas()?;
        let reach = self.reach()?;
        let incomplete = reach.start..reach.end - layout::PAGE;
        super::map(iommufd, ioas, self.memory()?, incomplete)?;
        let compare = self.functions.iter().map(|function| {
            let hwpt = iommufd.alloc_hwpt(function.id()?, ioas)?;
            let (difference, iova) = iommufd.verify_hwpt(function.restored()?, hwpt)?;
            iommufd.destroy(hwpt)?;
            Ok(Comparison {
                device: function.device,
                result: difference.name().into(),
                iova,
            })
        });
        let comparisons = compare.collect::<Result<_>>()?;
        iommufd.destroy(ioas)?;
        Ok(comparisons)
    }

    /// Attaches every function `count` times to another page table of the same memory, there and
    /// back.
    pub fn swap_often(&self, count: u32) -> Result<()> {
        let iommufd = self.iommufd()?;
        let ioas = iommufd.alloc_ioas()?;
        super::map(iommufd, ioas, self.memory()?, self.reach()?)?;
        let pairs = self.functions.iter().map(|function| {
            let other = iommufd.alloc_hwpt(function.id()?, ioas)?;
            Ok((&function.vfio, [other, function.hwpt()?]))
        });
        let pairs = pairs.collect::<Result<Vec<_>>>()?;
        for swap in 0..count as usize {
            for (vfio, hwpts) in &pairs {
                vfio.attach(hwpts[swap % 2])?;
            }
        }
        for (vfio, [other, own]) in pairs {
            vfio.attach(own)?;
            iommufd.destroy(other)?;
        }
        iommufd.destroy(ioas)
    }

    /// `FINISH` at a time of the test's choice.
    pub fn try_finish(&mut self) -> Result<String> {
        self.incoming()?;
        outcome(self.finish())
    }
}
