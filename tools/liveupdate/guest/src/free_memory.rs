// SPDX-License-Identifier: GPL-2.0
//! Taking nearly all free memory, for the harness to fill and to look at.

use crate::{hog, pagemap, reclaim};
use anyhow::{Context, Result};
use devices::layout::PAGE;
use nix::sys::mman::{MapFlags, MmapAdvise, ProtFlags, madvise, mmap_anonymous, munmap};
use protocol::PageRun;
use std::num::NonZeroUsize;
use std::ptr::NonNull;

/// Memory that nobody in the guest looks at.
///
/// # Invariants
///
/// `base` points to `len` mapped bytes, which stay mapped until the value is dropped.
pub struct FreeMemory {
    base: NonNull<u8>,
    len: usize,
}

impl FreeMemory {
    /// Takes what is free but for `left` bytes, `most` bytes at most.
    pub fn take(left: usize, most: usize) -> Result<Self> {
        reclaim::settle()?;
        let len = hog::spare_bytes(left)?.min(most);
        let length = NonZeroUsize::new(len).context("no memory is free")?;
        let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice.
        let base = unsafe { mmap_anonymous(None, length, protection, MapFlags::MAP_PRIVATE) }
            .context("mmap")?;
        // INVARIANT: just mapped, and unmapped in `drop` only.
        let memory = Self {
            base: base.cast(),
            len,
        };
        // SAFETY: the memory is mapped, and huge pages change nothing but the time that it takes.
        unsafe { madvise(base, len, MmapAdvise::MADV_HUGEPAGE) }.context("madvise")?;
        for page in (0..len).step_by(PAGE) {
            // SAFETY: inside the mapping by the type invariant.
            unsafe { memory.base.as_ptr().add(page).write_volatile(0) };
        }
        Ok(memory)
    }

    /// Where in guest-physical memory it is now: the kernel may move it.
    pub fn physical_pages(&self) -> Result<Vec<PageRun>> {
        pagemap::runs(self.base.addr().get(), self.len)
    }
}

impl Drop for FreeMemory {
    fn drop(&mut self) {
        // SAFETY: mapped by `take` with this length, and nothing uses it after the drop.
        if let Err(error) = unsafe { munmap(self.base.cast(), self.len) } {
            eprintln!("liveupdate-guest: munmap: {error}");
        }
    }
}
