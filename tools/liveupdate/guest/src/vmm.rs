// SPDX-License-Identifier: GPL-2.0
//! What a VMM does for a live update of its host, in the order in which it does it: the way there
//! in the old kernel, the way back in the new one. Guest memory is a memfd; each function has a
//! page table (HWPT) of its own.
//!
//! Devices go on with their DMA from [`Vmm::start_dma`] on, all the way there and back. Vcpus, of
//! which this VMM has none, would stop before the kexec and go on after
//! [`Vmm::set_up_interrupts`].

mod access;
mod give_up;
mod trials;

use crate::errno::outcome;
use crate::interrupts::Interrupts;
use crate::iommufd::Iommufd;
use crate::luo::Session;
use crate::memory::GuestMemory;
use crate::nvme::Nvme;
use crate::sysfs::Function;
use crate::vfio::VfioDevice;
use crate::{es1370, timed};
use anyhow::{Context, Result};
use devices::layout;
use devices::memory::DmaMemory;
use protocol::{
    Comparison, Device, DeviceOutcome, Signals, Step, TOKEN_IOMMUFD, TOKEN_MEMFD, VmmConfig,
};
use std::ops::Range;
use std::os::fd::AsFd;

/// A function with its page tables. The ids are those of objects of the iommufd.
struct PassedThrough {
    device: Device,
    vfio: VfioDevice,
    /// The function, once it is bound.
    id: Option<u32>,
    interrupts: Option<Interrupts>,
    /// The page table of the old kernel.
    restored: Option<u32>,
    /// The page table of this kernel.
    hwpt: Option<u32>,
    marked: bool,
}

impl PassedThrough {
    fn new(device: Device, vfio: VfioDevice) -> Self {
        Self {
            device,
            vfio,
            id: None,
            interrupts: None,
            restored: None,
            hwpt: None,
            marked: false,
        }
    }

    fn id(&self) -> Result<u32> {
        self.id.context("not bound")
    }

    fn restored(&self) -> Result<u32> {
        self.restored.context("no restored HWPT")
    }

    fn hwpt(&self) -> Result<u32> {
        self.hwpt.context("no HWPT of this kernel")
    }
}

/// All files stay open until the kexec: closing a function stops its DMA.
pub struct Vmm {
    /// What its guest was made with, whatever became of it.
    devices: Vec<Device>,
    functions: Vec<PassedThrough>,
    iommufd: Option<Iommufd>,
    memory: Option<GuestMemory>,
    /// What goes to the next kernel.
    outgoing: Option<Session>,
    /// What came from the previous one.
    incoming: Option<Session>,
    /// The name of either.
    session: String,
}

/// The part of `memory` that `devices` may reach: a drive alone has no use for the ring.
fn reach(memory: &GuestMemory, devices: &[Device]) -> Range<usize> {
    match devices {
        [Device::Nvme] => layout::ES1370_RING.end..memory.len(),
        _ => 0..memory.len(),
    }
}

/// Maps a part of the memory, readable and writable.
fn map(iommufd: &Iommufd, ioas: u32, memory: &GuestMemory, part: Range<usize>) -> Result<()> {
    let (start, length) = (u64::try_from(part.start)?, u64::try_from(part.len())?);
    iommufd.map_file(
        ioas,
        memory.as_fd(),
        start,
        layout::iova(part.start),
        length,
    )
}

/// The way there.
impl Vmm {
    /// A VMM that has nothing yet but a name for its session.
    pub fn new(session: &str) -> Self {
        Self {
            devices: Vec::new(),
            functions: Vec::new(),
            iommufd: None,
            memory: None,
            outgoing: None,
            incoming: None,
            session: session.into(),
        }
    }

    /// Sets everything up, as without live update; nothing DMAs yet. The memory has to be sealed,
    /// mapped by `IOMMU_IOAS_MAP_FILE`, and the page tables allocated by `IOMMU_HWPT_ALLOC`.
    pub fn open(session: &str, memory: GuestMemory, config: &VmmConfig) -> Result<Self> {
        if config.devices.contains(&Device::Es1370) {
            es1370::prepare(&memory);
        }
        let iommufd = Iommufd::open()?;
        let ioas = iommufd.alloc_ioas()?;
        if !config.unmapped {
            map(&iommufd, ioas, &memory, reach(&memory, &config.devices))?;
        }
        let functions = config.devices.iter().map(|&device| {
            let function = Function::find(device)?;
            function.bind("vfio-pci")?;
            let mut function = PassedThrough::new(device, VfioDevice::open(&function)?);
            let id = function.vfio.bind(&iommufd)?;
            let hwpt = iommufd.alloc_hwpt(id, ioas)?;
            function.vfio.attach(hwpt)?;
            function.interrupts = Some(Interrupts::set_up(device, &function.vfio)?);
            (function.id, function.hwpt) = (Some(id), Some(hwpt));
            Ok(function)
        });
        Ok(Self {
            devices: config.devices.clone(),
            functions: functions.collect::<Result<_>>()?,
            iommufd: Some(iommufd),
            memory: Some(memory),
            ..Self::new(session)
        })
    }

    /// The part of the memory that its functions may reach. It does not shrink when one is
    /// unplugged.
    fn reach(&self) -> Result<Range<usize>> {
        Ok(reach(self.memory()?, &self.devices))
    }

    /// Brings the devices up.
    pub fn start_dma(&self, config: &VmmConfig) -> Result<()> {
        let memory = self.memory()?;
        for function in &self.functions {
            match function.device {
                Device::Es1370 => es1370::start(&function.vfio, config.samples_per_second),
                Device::Nvme => Nvme::start(&function.vfio, memory, config.nvme_ios),
            }
            .context(function.device.name())?;
        }
        Ok(())
    }

    /// Puts everything into a session, in the order that the kernel demands: the memory, the
    /// iommufd with the page tables of the `marked` functions, the vfio files of these. From here
    /// on their mappings and attachments are frozen. With no function, it is the memory alone.
    /// Returns how long each call took.
    pub fn preserve(&mut self, marked: &[Device]) -> Result<Vec<Step>> {
        let mut steps = Vec::new();
        let is_marked = |function: &&mut PassedThrough| marked.contains(&function.device);
        let iommufd = || self.iommufd.as_ref().context("no iommufd");
        for function in self.functions.iter_mut().filter(is_marked) {
            // A mark stays when a session is cancelled. A function that is still attached to the
            // page table of the previous kernel needs none: that one keeps its token.
            if function.marked || function.restored.is_some() {
                continue;
            }
            let hwpt = function.hwpt()?;
            let token = function.device.hwpt_token();
            timed::step(&mut steps, "mark", || iommufd()?.mark_preserve(hwpt, token))?;
            function.marked = true;
        }
        let session = Session::create(&self.session)?;
        let memory = self.memory()?.as_fd();
        timed::step(&mut steps, "preserve memfd", || {
            session.preserve(memory, TOKEN_MEMFD)
        })?;
        if !marked.is_empty() {
            timed::step(&mut steps, "preserve iommufd", || {
                session.preserve(iommufd()?.as_fd(), TOKEN_IOMMUFD)
            })?;
        }
        for function in &self.functions {
            if marked.contains(&function.device) {
                timed::step(&mut steps, "preserve cdev", || {
                    session.preserve(function.vfio.as_fd(), function.device.cdev_token())
                })?;
            }
        }
        self.outgoing = Some(session);
        Ok(steps)
    }

    /// Closes the session instead of replacing the kernel; everything is as before.
    pub fn cancel(&mut self) -> Result<()> {
        drop(self.outgoing.take().context("there is no session")?);
        Ok(())
    }
}

/// The way back, in the new kernel.
impl Vmm {
    /// Retrieves the session by its name.
    pub fn retrieve_session(&mut self) -> Result<()> {
        self.incoming = Some(Session::retrieve(&self.session)?);
        Ok(())
    }

    /// Retrieves the memory, which is where it was, with what was in it and what devices have
    /// written since. No page of it can be freed before [`Vmm::finish`].
    pub fn retrieve_memory(&mut self) -> Result<()> {
        let fd = self.retrieve(TOKEN_MEMFD)?;
        self.memory = Some(GuestMemory::from_retrieved(fd)?);
        Ok(())
    }

    /// Retrieves the iommufd. It is empty but for what [`Vmm::restore`] finds in it.
    pub fn retrieve_iommufd(&mut self) -> Result<()> {
        let fd = self.retrieve(TOKEN_IOMMUFD)?;
        self.iommufd = Some(Iommufd::from_retrieved(fd));
        Ok(())
    }

    /// Retrieves the vfio file of each of `devices`; it is the only way to open them. One that was
    /// unplugged meanwhile does not come back; returns what each gave.
    pub fn retrieve_functions(&mut self, devices: &[Device]) -> Result<Vec<DeviceOutcome>> {
        self.devices = devices.to_vec();
        let mut outcomes = Vec::new();
        for &device in devices {
            Self::bind_to_vfio_pci(device)?;
            let retrieved = self.retrieve(device.cdev_token()).map(|fd| {
                let vfio = VfioDevice::from_retrieved(fd);
                self.functions.push(PassedThrough::new(device, vfio));
            });
            let errno = outcome(retrieved)?;
            outcomes.push(DeviceOutcome { device, errno });
        }
        Ok(outcomes)
    }

    /// Binds each function to the iommufd that came with it; no other is let in. Neither resets
    /// the function.
    pub fn bind(&mut self) -> Result<()> {
        let iommufd = self.iommufd.as_ref().context("no iommufd")?;
        for function in &mut self.functions {
            function.id = Some(function.vfio.bind(iommufd)?);
        }
        Ok(())
    }

    /// Sets the interrupts up. Every vector is signalled at once, since the function may have
    /// raised it while nobody listened; a VMM injects it into its guest. Returns the signals.
    pub fn set_up_interrupts(&mut self) -> Result<Vec<Signals>> {
        let set_up = self.functions.iter_mut().map(|function| {
            let interrupts = Interrupts::set_up(function.device, &function.vfio)?;
            let vectors = interrupts.signals()?;
            function.interrupts = Some(interrupts);
            Ok(Signals {
                device: function.device,
                vectors,
            })
        });
        set_up.collect()
    }

    /// Gets a HWPT for the page table that each function goes on with. It can be attached where
    /// it is, compared, replaced and destroyed, and nothing else.
    pub fn restore(&mut self) -> Result<()> {
        let iommufd = self.iommufd.as_ref().context("no iommufd")?;
        for function in &mut self.functions {
            let token = function.device.hwpt_token();
            function.restored = Some(iommufd.restore_hwpt(token)?);
        }
        Ok(())
    }

    /// Attaches each function to it, by which nothing changes for the hardware.
    pub fn attach_restored(&self) -> Result<()> {
        for function in &self.functions {
            function.vfio.attach(function.restored()?)?;
        }
        Ok(())
    }

    /// Builds page tables of this kernel, from the same memory.
    pub fn rebuild(&mut self) -> Result<()> {
        let iommufd = self.iommufd.as_ref().context("no iommufd")?;
        let ioas = iommufd.alloc_ioas()?;
        map(iommufd, ioas, self.memory()?, self.reach()?)?;
        for function in &mut self.functions {
            function.hwpt = Some(iommufd.alloc_hwpt(function.id()?, ioas)?);
        }
        Ok(())
    }

    /// Compares them with the old ones. A VMM goes on only if all are equal: a mistake is found
    /// here, and not by the guest.
    pub fn verify(&self) -> Result<Vec<Comparison>> {
        let compare = self.functions.iter().map(|function| {
            let iommufd = self.iommufd()?;
            let (difference, iova) = iommufd.verify_hwpt(function.restored()?, function.hwpt()?)?;
            Ok(Comparison {
                device: function.device,
                result: difference.name().into(),
                iova,
            })
        });
        compare.collect()
    }

    /// Attaches each function to its new page table while it DMAs. At every instant it is one or
    /// the other that translates.
    pub fn swap(&self) -> Result<()> {
        for function in &self.functions {
            function.vfio.attach(function.hwpt()?)?;
        }
        Ok(())
    }

    /// Destroys the old page tables, which frees their memory.
    pub fn destroy_restored(&mut self) -> Result<()> {
        let iommufd = self.iommufd.as_ref().context("no iommufd")?;
        for function in &mut self.functions {
            iommufd.destroy(function.restored()?)?;
            function.restored = None;
        }
        Ok(())
    }

    /// Marks the new page tables for the next update, under the tokens of the old ones.
    pub fn mark(&mut self) -> Result<()> {
        let iommufd = self.iommufd.as_ref().context("no iommufd")?;
        for function in &mut self.functions {
            iommufd.mark_preserve(function.hwpt()?, function.device.hwpt_token())?;
            function.marked = true;
        }
        Ok(())
    }

    /// Finishes the session: what the old kernel kept for it is gone, the memory is an ordinary
    /// memfd again.
    pub fn finish(&mut self) -> Result<()> {
        self.incoming()?.finish()?;
        self.incoming = None;
        Ok(())
    }
}
