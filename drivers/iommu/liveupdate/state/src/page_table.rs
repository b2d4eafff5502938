// SPDX-License-Identifier: GPL-2.0

//! Page tables that this kernel did not build, or does not trust.
//!
//! What is common to the formats: a table fills a page with 512 entries of 8 bytes, the tables of
//! level 0 map pages of 4 KiB, and each level above resolves 9 more bits of the input address.

use core::fmt;

use crate::records::{
    MAX_ADDRESS_BITS,
    TABLE_SIZE, //
};

/// Entries of a table.
pub const ENTRIES: u16 = 512;
/// How many levels there can be.
pub const MAX_LEVELS: usize = 5;

/// Input bits that a table resolves.
const INDEX_BITS: u32 = 9;
/// Input bits that a page of level 0 leaves.
const PAGE_BITS: u32 = 12;

/// The memory that tables are in.
pub trait Tables {
    /// What stands for a table.
    type Table<'a>: Table
    where
        Self: 'a;

    /// Returns the table at the physical address `address`, or [`None`] if there can be none.
    fn table(&self, address: u64) -> Option<Self::Table<'_>>;
}

/// A table that hardware may read at any time.
pub trait Table: Copy {
    /// Reads the entry at `index`, or returns [`None`] unless that is less than [`ENTRIES`].
    ///
    /// Hardware may set bits of the entry meanwhile.
    fn entry(&self, index: u16) -> Option<u64>;
}

/// What the entries of a page table mean.
pub trait Format: Copy {
    /// Decodes the content `raw` of an entry in a table of level `level`.
    fn decode(&self, level: u32, raw: u64) -> Entry;
}

/// What DMA through a mapping, or through everything below a table, may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rights {
    /// Read.
    pub read: bool,
    /// Write.
    pub write: bool,
    /// Snoop the caches of the CPU even if the device does not ask for it.
    pub snoop: bool,
}

impl Rights {
    /// What a table allows at most.
    pub const ALL: Self = Self {
        read: true,
        write: true,
        snoop: true,
    };

    /// Whether any DMA is possible.
    pub fn any(self) -> bool {
        self.read || self.write
    }

    /// What is left of `self` below a table with the rights `table`.
    pub(crate) fn below(self, table: Self) -> Self {
        Self {
            read: self.read && table.read,
            write: self.write && table.write,
            ..self
        }
    }
}

/// The content of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// Nothing is mapped here.
    NotPresent,
    /// Another table, one level below.
    Table {
        /// Its physical address.
        address: u64,
        /// What the entries below may allow at most. Snooping is up to them.
        rights: Rights,
    },
    /// A page as large as what the entry covers.
    Leaf {
        /// Its physical address.
        address: u64,
        /// What is allowed.
        rights: Rights,
    },
    /// The format does not allow this.
    Malformed,
}

/// Why a page table cannot be walked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// There can be no table at the physical address to which an entry leads.
    Unreadable {
        /// The physical address.
        table: u64,
    },
    /// An entry has a content that the format does not allow.
    Malformed {
        /// The physical address of the table.
        table: u64,
        /// Which entry of it.
        index: u16,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable { table } => write!(f, "no table can be at {table:#x}"),
            Self::Malformed { table, index } => {
                write!(f, "entry {index} of the table at {table:#x} is malformed")
            }
        }
    }
}

impl core::error::Error for Error {}

/// A set of tables that translate for a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageTable<F> {
    top: u64,
    top_level: u32,
    input_bits: u32,
    format: F,
}

impl<F: Format> PageTable<F> {
    /// Describes the tables below the one at the physical address `top`.
    ///
    /// `top_level` is counted from 0 at the leaves, `input_bits` is the width of the input address.
    ///
    /// Returns [`None`] if no page can be at `top`, if there are more than [`MAX_LEVELS`] levels,
    /// or if they cannot translate `input_bits` bits.
    pub fn new(top: u64, top_level: u32, input_bits: u32, format: F) -> Option<Self> {
        let levels = usize::try_from(top_level).ok()?.checked_add(1)?;
        let aligned = top != 0 && top % TABLE_SIZE == 0;
        let reach = covered_bits(top_level.checked_add(1)?);

        (aligned
            && top < 1 << MAX_ADDRESS_BITS
            && levels <= MAX_LEVELS
            && (PAGE_BITS..=reach).contains(&input_bits))
        .then_some(Self {
            top,
            top_level,
            input_bits,
            format,
        })
    }

    /// The physical address of the top table.
    pub fn top(&self) -> u64 {
        self.top
    }

    /// The level of the top table, counted from 0 at the leaves.
    pub fn top_level(&self) -> u32 {
        self.top_level
    }

    /// The first address above those that are translated.
    pub fn end(&self) -> u64 {
        size(self.input_bits)
    }

    /// The format of the entries.
    pub fn format(&self) -> &F {
        &self.format
    }
}

/// How many bits of the input address vary below an entry of level `level`.
fn covered_bits(level: u32) -> u32 {
    level.saturating_mul(INDEX_BITS).saturating_add(PAGE_BITS)
}

/// How many addresses have `bits` bits.
fn size(bits: u32) -> u64 {
    1u64.checked_shl(bits).unwrap_or(u64::MAX)
}

/// How many bytes an entry of level `level` covers.
pub(crate) fn covered_size(level: u32) -> u64 {
    size(covered_bits(level))
}

/// The index of the entry that covers `iova` in a table of level `level`.
pub(crate) fn index(iova: u64, level: u32) -> u16 {
    let index = iova.checked_shr(covered_bits(level)).unwrap_or(0) % u64::from(ENTRIES);

    // It is less than 512.
    index as u16
}
