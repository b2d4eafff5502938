// SPDX-License-Identifier: GPL-2.0
//! The VMM's memory: a sealed memfd.

use crate::pagemap;
use anyhow::{Context, Result};
use devices::layout::PAGE;
use devices::memory::DmaMemory;
use nix::fcntl::{FallocateFlags, FcntlArg, SealFlag, fallocate, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};
use nix::unistd::ftruncate;
use protocol::PageRun;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;

/// A mapped memfd.
///
/// # Invariants
///
/// `base` points to `len` mapped bytes, which stay mapped until the value is dropped.
pub struct GuestMemory {
    fd: OwnedFd,
    base: NonNull<u8>,
    len: usize,
}

impl GuestMemory {
    /// Creates memories of these sizes, every page allocated, a page of each in turn, with the seals
    /// that preservation demands.
    pub fn create(sizes: &[usize]) -> Result<Vec<Self>> {
        let memories: Vec<_> = sizes
            .iter()
            .map(|&size| Self::create_empty(size))
            .collect::<Result<_>>()?;
        for page in (0..sizes.iter().copied().max().unwrap_or(0)).step_by(PAGE) {
            for memory in memories.iter().filter(|memory| page < memory.len) {
                memory.write_u32(page, 0);
            }
        }
        Ok(memories)
    }

    fn create_empty(len: usize) -> Result<Self> {
        let fd = memfd_create(
            "guest-memory",
            MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING,
        )
        .context("memfd_create")?;
        ftruncate(&fd, i64::try_from(len)?).context("ftruncate")?;
        let seals = SealFlag::F_SEAL_SEAL | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SHRINK;
        fcntl(&fd, FcntlArg::F_ADD_SEALS(seals)).context("F_ADD_SEALS")?;
        Self::map(fd, len)
    }

    /// Maps a memfd that was retrieved from a session.
    pub fn from_retrieved(fd: OwnedFd) -> Result<Self> {
        let len = nix::sys::stat::fstat(&fd).context("fstat")?.st_size;
        Self::map(fd, usize::try_from(len)?)
    }

    fn map(fd: OwnedFd, len: usize) -> Result<Self> {
        let length = NonZeroUsize::new(len).context("the memfd is empty")?;
        let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice.
        let base = unsafe { mmap(None, length, protection, MapFlags::MAP_SHARED, &fd, 0) }
            .context("mmap")?
            .cast();
        // INVARIANT: just mapped, and unmapped in `drop` only.
        Ok(Self { fd, base, len })
    }

    /// Tries to free the page at `offset`, which is mapped.
    ///
    /// # Errors
    ///
    /// Carries the errno of fallocate(2).
    pub fn punch_hole(&self, offset: usize) -> Result<()> {
        let flags = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
        let (offset, length) = (i64::try_from(offset)?, i64::try_from(PAGE)?);
        fallocate(&self.fd, flags, offset, length).context("fallocate")
    }

    /// Where in guest-physical memory it is.
    pub fn physical_pages(&self) -> Result<Vec<PageRun>> {
        for page in (0..self.len).step_by(PAGE) {
            // A page must be in the page table to be seen in the pagemap.
            self.read_u32(page);
        }
        pagemap::runs(self.base.addr().get(), self.len)
    }

    /// A part of the memory.
    pub fn part(&self, range: Range<usize>) -> Part<'_> {
        assert!(range.start <= range.end && range.end <= self.len);
        Part {
            memory: self,
            range,
        }
    }

    fn word(&self, offset: usize) -> *mut u32 {
        assert!(offset.is_multiple_of(4) && offset < self.len);
        // SAFETY: within the mapping by the check above and the type invariant.
        unsafe { self.base.as_ptr().add(offset) }.cast()
    }
}

impl Drop for GuestMemory {
    fn drop(&mut self) {
        // SAFETY: mapped by `map` with this length, and nothing uses it after the drop.
        if let Err(error) = unsafe { munmap(self.base.cast(), self.len) } {
            eprintln!("liveupdate-guest: munmap: {error}");
        }
    }
}

impl AsFd for GuestMemory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl DmaMemory for GuestMemory {
    fn len(&self) -> usize {
        self.len
    }

    fn read_u32(&self, offset: usize) -> u32 {
        // SAFETY: `word` returns a valid, aligned pointer; the device may write concurrently,
        // hence volatile.
        unsafe { self.word(offset).read_volatile() }
    }

    fn write_u32(&self, offset: usize, value: u32) {
        // SAFETY: as in `read_u32`.
        unsafe { self.word(offset).write_volatile(value) }
    }
}

/// A part of [`GuestMemory`].
pub struct Part<'a> {
    memory: &'a GuestMemory,
    range: Range<usize>,
}

impl DmaMemory for Part<'_> {
    fn len(&self) -> usize {
        self.range.len()
    }

    fn read_u32(&self, offset: usize) -> u32 {
        assert!(offset < self.range.len());
        self.memory.read_u32(self.range.start + offset)
    }

    fn write_u32(&self, offset: usize, value: u32) {
        assert!(offset < self.range.len());
        self.memory.write_u32(self.range.start + offset, value);
    }
}
