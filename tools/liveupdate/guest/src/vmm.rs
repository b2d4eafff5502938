// SPDX-License-Identifier: GPL-2.0
//! The VMM: memory, page tables, functions, and the session that hands them over.

use crate::es1370;
use crate::iommufd::Iommufd;
use crate::luo::Session;
use crate::memory::GuestMemory;
use crate::nvme::Nvme;
use crate::sysfs::Function;
use crate::vfio::{Cdev, VfioDevice};
use anyhow::{Context, Result};
use devices::layout;
use protocol::{
    Device, HWPT_TOKEN_BASE, Preserved, SESSION_NAME, Step, TOKEN_IOMMUFD, TOKEN_MEMFD, VmmConfig,
    VmmMemory,
};
use std::os::fd::AsFd;
use std::time::Instant;

struct PassedThrough {
    device: Device,
    address: String,
    vfio: VfioDevice,
    hwpt: u32,
    marked: bool,
}

/// Everything is held until the kexec: the process must not let go of a function that DMAs.
pub struct Vmm {
    memory: GuestMemory,
    iommufd: Iommufd,
    functions: Vec<PassedThrough>,
    nvme: Option<Nvme>,
    nvme_ios: u16,
    session: Option<Session>,
}

impl Vmm {
    /// Sets everything up; nothing DMAs yet.
    pub fn open(config: &VmmConfig) -> Result<Self> {
        let memory = GuestMemory::create(layout::SIZE)?;
        es1370::prepare(&memory);
        let iommufd = Iommufd::open()?;
        let ioas = iommufd.alloc_ioas()?;
        let length = u64::try_from(layout::SIZE)?;
        if !config.unmapped {
            iommufd.map_file(ioas, memory.as_fd(), layout::IOVA_BASE, length)?;
        }
        let functions = config
            .devices
            .iter()
            .map(|&device| {
                let function = Function::find(device)?;
                function.bind("vfio-pci")?;
                let vfio = Cdev::open(&function)?.bind(&iommufd)?;
                let hwpt = iommufd.alloc_hwpt(vfio.id(), ioas)?;
                vfio.attach(hwpt)?;
                Ok(PassedThrough {
                    device,
                    address: function.address,
                    vfio,
                    hwpt,
                    marked: false,
                })
            })
            .collect::<Result<_>>()?;
        Ok(Self {
            memory,
            iommufd,
            functions,
            nvme: None,
            nvme_ios: config.nvme_ios,
            session: None,
        })
    }

    /// For the harness, which looks at the memory from outside.
    pub fn describe(&self) -> Result<VmmMemory> {
        Ok(VmmMemory {
            pages: self.memory.physical_pages()?,
            functions: self.functions.iter().map(|f| f.address.clone()).collect(),
        })
    }

    /// Brings the devices up.
    pub fn start_dma(&mut self) -> Result<()> {
        for function in &self.functions {
            match function.device {
                Device::Es1370 => es1370::start(&function.vfio),
                Device::Nvme => Nvme::start(&function.vfio, &self.memory, self.nvme_ios)
                    .map(|nvme| self.nvme = Some(nvme)),
            }
            .context(function.device.name())?;
        }
        Ok(())
    }

    /// Queues every planned NVMe command.
    pub fn queue_ios(&self) -> Result<()> {
        let nvme = self.nvme.as_ref().context("there is no NVMe controller")?;
        let function = self
            .functions
            .iter()
            .find(|function| function.device == Device::Nvme)
            .context("there is no NVMe function")?;
        nvme.queue(&function.vfio, &self.memory, self.nvme_ios)
    }

    /// Preserves in the order that the kernel demands: marks, memfd, iommufd. With no device to
    /// mark it is the memfd alone.
    pub fn preserve(&mut self, marked: &[Device]) -> Result<Preserved> {
        let mut steps = Vec::new();
        let mut timed = |name: &str, action: &mut dyn FnMut() -> Result<()>| {
            let start = Instant::now();
            action().with_context(|| name.to_owned())?;
            steps.push(Step {
                name: name.into(),
                ns: u64::try_from(start.elapsed().as_nanos())?,
            });
            anyhow::Ok(())
        };
        let functions = self.functions.iter_mut().zip(HWPT_TOKEN_BASE..);
        for (function, token) in functions.filter(|(f, _)| marked.contains(&f.device)) {
            // A mark stays when a session is cancelled.
            if !function.marked {
                timed(&format!("mark {}", function.device.name()), &mut || {
                    self.iommufd.mark_preserve(function.hwpt, token)
                })?;
                function.marked = true;
            }
        }
        let session = Session::create(SESSION_NAME)?;
        timed("preserve memfd", &mut || {
            session.preserve(self.memory.as_fd(), TOKEN_MEMFD)
        })?;
        if !marked.is_empty() {
            timed("preserve iommufd", &mut || {
                session.preserve(self.iommufd.as_fd(), TOKEN_IOMMUFD)
            })?;
        }
        self.session = Some(session);
        Ok(Preserved { steps })
    }

    /// Closes the session.
    pub fn cancel(&mut self) -> Result<()> {
        let session = self.session.take().context("there is no session")?;
        drop(session);
        Ok(())
    }
}
