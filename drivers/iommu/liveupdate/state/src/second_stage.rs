// SPDX-License-Identifier: GPL-2.0

//! Second-stage page tables of VT-d.
//!
//! Intel Virtualization Technology for Directed I/O, section 9.8 (Second-Stage Paging Entries).
//! Bits that are not mentioned here are ignored by hardware, or are written by it.

use crate::{
    page_table::{
        covered_size,
        Entry,
        Format,
        PageTable,
        Rights, //
    },
    records::Domain, //
};

/// R, reads are allowed.
const READ: u64 = 1 << 0;
/// W, writes are allowed.
const WRITE: u64 = 1 << 1;
/// PS, the entry of a directory maps a page.
const PAGE: u64 = 1 << 7;
/// SNP, an access snoops the caches of the CPU.
const SNOOP: u64 = 1 << 11;
/// The bits of an address.
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;
/// The highest level that can map pages, of 1 GiB.
const MAX_PAGE_LEVEL: u32 = 2;

/// The format of VT-d second-stage tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SecondStage {
    output_bits: u32,
}

impl SecondStage {
    /// The format with physical addresses of `output_bits` bits.
    pub fn new(output_bits: u32) -> Self {
        Self { output_bits }
    }
}

impl Format for SecondStage {
    /// An entry is present if it allows anything. Bits of the address that the hardware does not
    /// have, or that lie inside of the page, are reserved; so is PS above level 2.
    fn decode(&self, level: u32, raw: u64) -> Entry {
        let address = raw & ADDRESS;
        let rights = Rights {
            read: raw & READ != 0,
            write: raw & WRITE != 0,
            snoop: raw & SNOOP != 0,
        };

        if !rights.any() {
            return Entry::NotPresent;
        }
        if address.checked_shr(self.output_bits).unwrap_or(0) != 0 {
            return Entry::Malformed;
        }
        match (level, raw & PAGE != 0) {
            (0, _) => Entry::Leaf { address, rights },
            (1..=MAX_PAGE_LEVEL, true) if is_page(address, level) => {
                Entry::Leaf { address, rights }
            }
            (_, true) => Entry::Malformed,
            (_, false) => Entry::Table { address, rights },
        }
    }
}

/// Whether a page that an entry of level `level` maps can be at `address`.
fn is_page(address: u64, level: u32) -> bool {
    address & covered_size(level).saturating_sub(1) == 0
}

/// The page table of `domain`.
///
/// Returns [`None`] for what [`PageTable::new`] rejects.
pub fn page_table(domain: &Domain) -> Option<PageTable<SecondStage>> {
    PageTable::new(
        domain.top_table,
        domain.top_level,
        domain.input_bits,
        SecondStage::new(domain.output_bits),
    )
}
