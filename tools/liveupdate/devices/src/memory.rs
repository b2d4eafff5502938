// SPDX-License-Identifier: GPL-2.0
//! Memory that a device writes at the same time.

/// Memory shared with a device, addressed by byte offset.
///
/// Every access is a single aligned 32-bit one, so that a value is never torn.
pub trait DmaMemory {
    /// Size in bytes.
    fn len(&self) -> usize;

    /// Whether there is nothing.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Reads the word at `offset`, a multiple of 4 below [`DmaMemory::len`].
    fn read_u32(&self, offset: usize) -> u32;

    /// Writes the word at `offset`, a multiple of 4 below [`DmaMemory::len`].
    fn write_u32(&self, offset: usize, value: u32);

    /// Copies `out.len()` bytes (a multiple of 4) out of the memory.
    fn read(&self, offset: usize, out: &mut [u8]) {
        for (index, word) in out.chunks_exact_mut(4).enumerate() {
            word.copy_from_slice(&self.read_u32(offset + index * 4).to_le_bytes());
        }
    }

    /// Copies `data` (a multiple of 4 bytes) into the memory.
    fn write(&self, offset: usize, data: &[u8]) {
        for (index, word) in data.as_chunks::<4>().0.iter().enumerate() {
            self.write_u32(offset + index * 4, u32::from_le_bytes(*word));
        }
    }
}

/// Memory without a device, for tests.
pub struct PlainMemory(Vec<std::cell::Cell<u32>>);

impl PlainMemory {
    /// Zeroed memory of `len` bytes.
    pub fn new(len: usize) -> Self {
        Self(vec![std::cell::Cell::new(0); len / 4])
    }
}

impl DmaMemory for PlainMemory {
    fn len(&self) -> usize {
        self.0.len() * 4
    }

    fn read_u32(&self, offset: usize) -> u32 {
        self.0[offset / 4].get()
    }

    fn write_u32(&self, offset: usize, value: u32) {
        self.0[offset / 4].set(value);
    }
}
