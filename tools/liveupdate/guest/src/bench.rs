// SPDX-License-Identifier: GPL-2.0
//! A VMM for measurements: as many functions as there are, which do nothing, each with a page table of
//! any size.

use crate::fragments::Fragments;
use crate::iommufd::{Difference, Iommufd};
use crate::luo::Session;
use crate::memory::GuestMemory;
use crate::page_tables;
use crate::sysfs::Function;
use crate::vfio::VfioDevice;
use anyhow::{Context, Result, ensure};
use devices::layout::PAGE;
use protocol::{BenchStep, EDU, SESSION_NAME, Shape, TOKEN_IOMMUFD, TOKEN_MEMFD, Tables};
use std::os::fd::AsFd;
use std::thread::sleep;
use std::time::Duration;

/// What a table of the lowest level maps.
const REACH: u64 = 2 << 20;
/// The first IOVA: what is mapped from here on shares one table of each higher level but one.
const FIRST: u64 = 1 << 39;
/// Half of what a table maps. In a memfd of this size no piece of memory is so large that one entry of
/// a higher level could map it.
const HALF: u64 = REACH / 2;
/// Token of the first function's page table.
const TOKEN_HWPT: u64 = 0x100;
/// Token of its vfio file.
const TOKEN_CDEV: u64 = 0x1000;
/// What is freed in the background is freed when this often nothing has changed.
const QUIET: u32 = 5;
const INTERVAL: Duration = Duration::from_millis(50);

/// All that the VMM has.
#[derive(Default)]
pub struct Bench {
    memory: Option<GuestMemory>,
    iommufd: Option<Iommufd>,
    functions: Vec<VfioDevice>,
    session: Option<Session>,
    /// They stay until the kernel goes, or what follows would find the gaps that they leave.
    fragments: Option<Fragments>,
}

/// Maps into the IOAS what makes these tables, and takes a page of `fragments` after each.
fn map(
    iommufd: &Iommufd,
    ioas: u32,
    memory: &GuestMemory,
    tables: Tables,
    mut fragments: Option<&mut Fragments>,
) -> Result<()> {
    let file = memory.as_fd();
    for index in 0..tables.lowest {
        let iova = FIRST + index * REACH;
        match tables.shape {
            Shape::Scattered => iommufd.map_file(ioas, file, 0, iova, u64::try_from(PAGE)?)?,
            Shape::Dense => {
                iommufd.map_file(ioas, file, 0, iova, HALF)?;
                iommufd.map_file(ioas, file, 0, iova + HALF, HALF)?;
            }
        }
        if let Some(fragments) = &mut fragments {
            fragments.take()?;
        }
    }
    Ok(())
}

/// Waits until what goes on in the background has freed what there is to free.
fn wait_for_background() -> Result<()> {
    let mut pages = page_tables::statistics()?;
    let mut unchanged = 0;
    while unchanged < QUIET {
        sleep(INTERVAL);
        let now = page_tables::statistics()?;
        unchanged = if now == pages { unchanged + 1 } else { 0 };
        pages = now;
    }
    Ok(())
}

/// The token that a function's file or page table has.
fn token(first: u64, index: usize) -> Result<u64> {
    Ok(first + u64::try_from(index)?)
}

impl Bench {
    /// Does a step.
    pub fn step(&mut self, step: BenchStep) -> Result<()> {
        match step {
            BenchStep::Build(tables) => self.build(tables),
            BenchStep::Preserve => self.preserve(),
            BenchStep::Cancel => {
                drop(self.session.take().context("there is no session")?);
                Ok(())
            }
            BenchStep::ComeBack(tables) => self.come_back(tables),
        }
    }

    fn memory(&self) -> Result<&GuestMemory> {
        self.memory.as_ref().context("no memory")
    }

    fn iommufd(&self) -> Result<&Iommufd> {
        self.iommufd.as_ref().context("no iommufd")
    }

    fn build(&mut self, tables: Tables) -> Result<()> {
        let size = match tables.shape {
            Shape::Scattered => PAGE,
            Shape::Dense => usize::try_from(HALF)?,
        };
        let memory = (GuestMemory::create(&[size])?.pop()).context("no memory")?;
        let iommufd = Iommufd::open()?;
        let ioas = iommufd.alloc_ioas()?;
        for (index, function) in Function::with_id(EDU)?.iter().enumerate() {
            function.bind("vfio-pci")?;
            let vfio = VfioDevice::open(function)?;
            let id = vfio.bind(&iommufd)?;
            let hwpt = iommufd.alloc_hwpt(id, ioas)?;
            vfio.attach(hwpt)?;
            iommufd.mark_preserve(hwpt, token(TOKEN_HWPT, index)?)?;
            self.functions.push(vfio);
        }
        if tables.shape == Shape::Scattered {
            self.fragments = Some(Fragments::new(usize::try_from(tables.lowest)?)?);
        }
        map(&iommufd, ioas, &memory, tables, self.fragments.as_mut())?;
        (self.memory, self.iommufd) = (Some(memory), Some(iommufd));
        Ok(())
    }

    fn preserve(&mut self) -> Result<()> {
        let session = Session::create(SESSION_NAME)?;
        session.preserve(self.memory()?.as_fd(), TOKEN_MEMFD)?;
        session.preserve(self.iommufd()?.as_fd(), TOKEN_IOMMUFD)?;
        for (index, function) in self.functions.iter().enumerate() {
            session.preserve(function.as_fd(), token(TOKEN_CDEV, index)?)?;
        }
        self.session = Some(session);
        Ok(())
    }

    fn come_back(&mut self, tables: Tables) -> Result<()> {
        let session = Session::retrieve(SESSION_NAME)?;
        let memory = GuestMemory::from_retrieved(session.retrieve_fd(TOKEN_MEMFD)?)?;
        let iommufd = Iommufd::from_retrieved(session.retrieve_fd(TOKEN_IOMMUFD)?);
        let mut ids = Vec::new();
        for (index, function) in Function::with_id(EDU)?.iter().enumerate() {
            function.bind("vfio-pci")?;
            let vfio = VfioDevice::from_retrieved(session.retrieve_fd(token(TOKEN_CDEV, index)?)?);
            ids.push(vfio.bind(&iommufd)?);
            self.functions.push(vfio);
        }
        let mut hwpts = Vec::new();
        for (index, function) in self.functions.iter().enumerate() {
            let restored = iommufd.restore_hwpt(token(TOKEN_HWPT, index)?)?;
            function.attach(restored)?;
            hwpts.push(restored);
        }
        let ioas = iommufd.alloc_ioas()?;
        let new = ids.iter().map(|&id| iommufd.alloc_hwpt(id, ioas));
        let new = new.collect::<Result<Vec<_>>>()?;
        map(&iommufd, ioas, &memory, tables, None)?;
        for (&restored, &new) in hwpts.iter().zip(&new) {
            let (difference, iova) = iommufd.verify_hwpt(restored, new)?;
            let name = difference.name();
            ensure!(difference == Difference::Equal, "{name} at {iova:#x}");
        }
        for (function, &new) in self.functions.iter().zip(&new) {
            function.attach(new)?;
        }
        for restored in hwpts {
            iommufd.destroy(restored)?;
        }
        wait_for_background()?;
        session.finish()?;
        (self.memory, self.iommufd) = (Some(memory), Some(iommufd));
        Ok(())
    }
}
