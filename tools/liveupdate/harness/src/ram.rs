// SPDX-License-Identifier: GPL-2.0
//! The guest's RAM: memory that QEMU and the harness share, so that the harness sees what devices
//! write while no kernel runs.

use anyhow::{Context, Result, ensure};
use devices::layout::PAGE;
use devices::memory::DmaMemory;
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};
use nix::unistd::ftruncate;
use protocol::PageRun;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::ptr::NonNull;
use std::sync::Arc;

/// Size of the guest's RAM, unless a machine wants another. On q35 up to 2 GiB lie in one piece from guest-physical address 0, so
/// an address is also the offset into this memory.
pub const SIZE: usize = 1 << 30;

/// The guest's RAM.
///
/// # Invariants
///
/// `base` points to `size` mapped bytes until the value is dropped.
pub struct GuestRam {
    fd: OwnedFd,
    base: NonNull<u8>,
    size: usize,
}

// SAFETY: the memory may be accessed from any thread; all accesses are volatile.
unsafe impl Send for GuestRam {}
// SAFETY: as above; concurrent access is what this memory is for.
unsafe impl Sync for GuestRam {}

impl GuestRam {
    /// Allocates it. A memfd leaves nothing behind, however the harness ends.
    pub fn create() -> Result<Self> {
        Self::with_size(SIZE)
    }

    /// The same with another size, a multiple of that of a page.
    pub fn with_size(size: usize) -> Result<Self> {
        let fd = memfd_create("guest-ram", MFdFlags::MFD_CLOEXEC).context("memfd_create")?;
        ftruncate(&fd, i64::try_from(size)?).context("ftruncate")?;
        let length = NonZeroUsize::new(size).context("no RAM")?;
        let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice.
        let base = unsafe { mmap(None, length, protection, MapFlags::MAP_SHARED, &fd, 0) }
            .context("mmap")?
            .cast();
        // INVARIANT: just mapped; unmapped in `drop` only.
        Ok(Self { fd, base, size })
    }

    /// A path under which QEMU can open it.
    pub fn path(&self) -> PathBuf {
        format!("/proc/{}/fd/{}", std::process::id(), self.fd.as_raw_fd()).into()
    }

    /// Fills the page at `address` with `word`.
    pub fn fill_page(&self, address: usize, word: u64) {
        for page in self.page(address) {
            // SAFETY: inside the mapping, as `page` says; QEMU may look at it, hence volatile.
            unsafe { page.write_volatile(word) };
        }
    }

    /// The offset of the first word in the page at `address` that is not `word`.
    pub fn find_other(&self, address: usize, word: u64) -> Option<usize> {
        // SAFETY: as in `fill_page`; QEMU may write to it.
        let found = (self.page(address)).position(|at| unsafe { at.read_volatile() } != word)?;
        Some(found * 8)
    }

    /// The words of a page.
    fn page(&self, address: usize) -> impl Iterator<Item = *mut u64> {
        assert!(address.is_multiple_of(PAGE) && address < self.size);
        // SAFETY: within the mapping by the check above and the type invariant; the size of the RAM
        // is a multiple of that of a page.
        let first: *mut u64 = unsafe { self.base.as_ptr().add(address) }.cast();
        // SAFETY: as above.
        (0..PAGE / 8).map(move |index| unsafe { first.add(index) })
    }

    fn word(&self, address: usize) -> *mut u32 {
        assert!(address.is_multiple_of(4) && address < self.size);
        // SAFETY: within the mapping by the check above and the type invariant.
        unsafe { self.base.as_ptr().add(address) }.cast()
    }
}

impl DmaMemory for GuestRam {
    fn len(&self) -> usize {
        self.size
    }

    fn read_u32(&self, offset: usize) -> u32 {
        // SAFETY: `word` returns a valid, aligned pointer; QEMU writes concurrently, hence
        // volatile.
        unsafe { self.word(offset).read_volatile() }
    }

    fn write_u32(&self, offset: usize, value: u32) {
        // SAFETY: as in `read_u32`.
        unsafe { self.word(offset).write_volatile(value) }
    }
}

impl Drop for GuestRam {
    fn drop(&mut self) {
        // SAFETY: mapped by `create` with this size, and nothing uses it after the drop.
        if let Err(error) = unsafe { munmap(self.base.cast(), self.size) } {
            eprintln!("liveupdate-vm: munmap: {error}");
        }
    }
}

/// The guest-physical addresses of pages, which come from the guest and are checked.
pub fn page_addresses(runs: &[PageRun]) -> Result<Vec<usize>> {
    let mut pages = Vec::new();
    for run in runs {
        let first = usize::try_from(run.first)?;
        let count = usize::try_from(run.count)?;
        ensure!(
            first.is_multiple_of(PAGE) && first < SIZE && count <= (SIZE - first) / PAGE,
            "{run:#x?} are no pages of the guest's RAM"
        );
        pages.extend((0..count).map(|page| first + page * PAGE));
    }
    Ok(pages)
}

/// Pages scattered over the RAM, seen as one piece.
#[derive(Clone)]
pub struct Pages {
    ram: Arc<GuestRam>,
    pages: Arc<[usize]>,
    range: Range<usize>,
}

impl Pages {
    /// The pages at these guest-physical addresses.
    pub fn new(ram: Arc<GuestRam>, runs: &[PageRun]) -> Result<Self> {
        let pages: Arc<[usize]> = page_addresses(runs)?.into();
        let range = 0..pages.len() * PAGE;
        Ok(Self { ram, pages, range })
    }

    /// A part of it.
    pub fn part(&self, range: Range<usize>) -> Result<Self> {
        ensure!(
            range.start <= range.end && range.end <= self.range.len(),
            "the guest's memory has only {} bytes",
            self.range.len()
        );
        Ok(Self {
            ram: self.ram.clone(),
            pages: self.pages.clone(),
            range: self.range.start + range.start..self.range.start + range.end,
        })
    }

    /// Where in the RAM the word at `offset` is.
    fn address(&self, offset: usize) -> usize {
        assert!(offset < self.range.len());
        let at = self.range.start + offset;
        self.pages[at / PAGE] + at % PAGE
    }
}

impl DmaMemory for Pages {
    fn len(&self) -> usize {
        self.range.len()
    }

    fn read_u32(&self, offset: usize) -> u32 {
        self.ram.read_u32(self.address(offset))
    }

    fn write_u32(&self, offset: usize, value: u32) {
        self.ram.write_u32(self.address(offset), value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scattered_pages_are_one_piece() {
        let ram = Arc::new(GuestRam::create().unwrap());
        let run = |first, count| PageRun { first, count };
        let pages = [run(0x5000, 1), run(0x1000, 2)];
        let pages = Pages::new(ram.clone(), &pages).unwrap();
        let part = pages.part(PAGE - 4..PAGE + 8).unwrap();
        part.write(0, &[1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0]);
        let at = |address| Pages::new(ram.clone(), &[run(address, 1)]).unwrap();
        assert_eq!(at(0x5000).read_u32(PAGE - 4), 1);
        assert_eq!(at(0x1000).read_u32(0), 2);
        assert_eq!(at(0x1000).read_u32(4), 3);
        assert_eq!(at(0x2000).read_u32(0), 0);
    }

    #[test]
    fn addresses_outside_are_refused() {
        let ram = Arc::new(GuestRam::create().unwrap());
        let last = (SIZE - PAGE) as u64;
        for (first, count) in [
            (1, 1),
            (SIZE as u64, 1),
            (u64::MAX, 1),
            (last, 2),
            (0, u64::MAX),
        ] {
            assert!(Pages::new(ram.clone(), &[PageRun { first, count }]).is_err());
        }
        let pages = Pages::new(ram, &[PageRun { first: 0, count: 1 }]).unwrap();
        assert!(pages.part(0..PAGE + 4).is_err());
    }
}
