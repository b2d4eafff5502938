// SPDX-License-Identifier: GPL-2.0
//! Taking single pages that the kernel cannot move.

use anyhow::{Context, Result, ensure};
use nix::sys::mman::{MapFlags, MmapAdvise, ProtFlags, madvise, mmap_anonymous, munmap};
use std::num::NonZeroUsize;
use std::ptr::NonNull;

/// What one page table of the processor maps.
const REACH: usize = 2 << 20;

/// An area of which only page tables are allocated: each first read of a part needs one, and shows
/// the page of zeros. Like those of an IOMMU they cannot be moved, so the two come from the same
/// parts of the memory.
///
/// # Invariants
///
/// `base` points to `len` mapped bytes, which stay mapped until the value is dropped.
pub struct Fragments {
    base: NonNull<u8>,
    len: usize,
    next: usize,
}

impl Fragments {
    /// An area from which `count` pages can be taken.
    pub fn new(count: usize) -> Result<Self> {
        let len = count.max(1).checked_mul(REACH).context("too many pages")?;
        let length = NonZeroUsize::new(len).context("no pages")?;
        let flags = MapFlags::MAP_PRIVATE | MapFlags::MAP_NORESERVE;
        // SAFETY: a new mapping at an address of the kernel's choice.
        let base =
            unsafe { mmap_anonymous(None, length, ProtFlags::PROT_READ, flags) }.context("mmap")?;
        // INVARIANT: just mapped, and unmapped in `drop` only.
        let fragments = Self {
            base: base.cast(),
            len,
            next: 0,
        };
        // SAFETY: the area is mapped; a huge page would need no table.
        unsafe { madvise(base, len, MmapAdvise::MADV_NOHUGEPAGE) }.context("madvise")?;
        Ok(fragments)
    }

    /// Takes a page.
    pub fn take(&mut self) -> Result<()> {
        ensure!(self.next < self.len, "all pages are taken");
        // SAFETY: inside the mapping by the type invariant and the check above.
        unsafe { self.base.as_ptr().add(self.next).read_volatile() };
        self.next += REACH;
        Ok(())
    }
}

impl Drop for Fragments {
    fn drop(&mut self) {
        // SAFETY: mapped by `new` with this length, and nothing uses it after the drop.
        if let Err(error) = unsafe { munmap(self.base.cast(), self.len) } {
            eprintln!("liveupdate-guest: munmap: {error}");
        }
    }
}
