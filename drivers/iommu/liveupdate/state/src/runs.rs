// SPDX-License-Identifier: GPL-2.0

//! Which pages the tables of an iommufd's domains consist of, and what is in them.
//!
//! A run list is an array of entries of 16 bytes, in big-endian order: the physical address of a
//! run of pages with the number of pages less one in the low 12 bits, and the checksum of their
//! content. The entries of a domain are next to each other, in the order of their addresses.
//!
//! It says who owns the pages even if the tables in them are damaged, and whether they are.

use crate::{
    error::{
        Error,
        Result, //
    },
    page_table::{
        Entry,
        Format,
        PageTable,
        Tables,
        ENTRIES,
        MAX_LEVELS, //
    },
    records::{
        RunRange,
        MAX_ADDRESS_BITS,
        TABLE_SIZE, //
    },
    schema::{
        self,
        property, //
    }, //
};

/// The size of an entry in bytes.
pub const ENTRY_SIZE: usize = 16;
/// The most pages that an entry can stand for.
pub const MAX_PAGES: u32 = 4096;

/// The checksum of pages, for which the kernel has XXH64.
pub trait Checksum {
    /// Continues `checksum` with the content of the page at the physical address `page`.
    ///
    /// Returns [`None`] if no table can be there.
    fn page(&self, page: u64, checksum: u64) -> Option<u64>;
}

/// Pages that follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// Physical address of the first page.
    pub base: u64,
    /// How many there are, at least 1 and at most [`MAX_PAGES`].
    pub pages: u32,
    /// The checksum of their content.
    pub checksum: u64,
}

impl Run {
    /// Iterates over the physical addresses of the pages.
    pub fn addresses(&self) -> impl Iterator<Item = u64> {
        let base = self.base;

        (0..u64::from(self.pages)).map(move |i| base.saturating_add(i.saturating_mul(TABLE_SIZE)))
    }

    /// The first address behind the pages.
    pub fn end(&self) -> u64 {
        self.base
            .saturating_add(u64::from(self.pages).saturating_mul(TABLE_SIZE))
    }

    /// Whether the content of the pages is what it was when the list was written.
    ///
    /// Takes time linear in the size of the pages.
    pub fn is_intact(&self, checksum: &impl Checksum) -> bool {
        content(self.addresses(), self.base, checksum) == Some(self.checksum)
    }

    fn decode(entry: &[u8]) -> Option<Self> {
        let (first, second) = entry.split_first_chunk::<8>()?;
        let first = u64::from_be_bytes(*first);
        let checksum = u64::from_be_bytes(*second.first_chunk::<8>()?);
        let offset = first % TABLE_SIZE;

        Some(Self {
            base: first.saturating_sub(offset),
            // It is at most 4096.
            pages: (offset as u32).saturating_add(1),
            checksum,
        })
    }

    fn encode(&self) -> [u64; 2] {
        let more = u64::from(self.pages.saturating_sub(1));

        [self.base | more, self.checksum]
    }
}

/// The checksum of the pages at `addresses`, the first of which is `base`.
fn content(
    addresses: impl Iterator<Item = u64>,
    base: u64,
    checksum: &impl Checksum,
) -> Option<u64> {
    let mut sum = base;

    for page in addresses {
        sum = checksum.page(page, sum)?;
    }
    Some(sum)
}

/// A run list, or the part of one that belongs to a domain.
///
/// # Invariants
///
/// The size is a multiple of [`ENTRY_SIZE`].
#[derive(Clone, Copy, Debug, Default)]
pub struct RunList<'a>(&'a [u8]);

impl<'a> RunList<'a> {
    /// Takes the first `entries` entries of `bytes`, or returns [`None`] if there are fewer.
    pub fn new(bytes: &'a [u8], entries: u64) -> Option<Self> {
        let size = usize::try_from(entries).ok()?.checked_mul(ENTRY_SIZE)?;

        // INVARIANT: It is a multiple.
        Some(Self(bytes.get(..size)?))
    }

    /// The bytes of the list.
    pub fn as_bytes(&self) -> &'a [u8] {
        self.0
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.0.len() / ENTRY_SIZE
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Iterates over the entries.
    pub fn iter(&self) -> impl Iterator<Item = Run> + 'a {
        self.0.chunks_exact(ENTRY_SIZE).filter_map(Run::decode)
    }

    /// The part that `range` describes, or [`None`] if it is not all there.
    pub fn range(&self, range: RunRange) -> Option<Self> {
        let first = (range.first as usize).checked_mul(ENTRY_SIZE)?;

        Self::new(self.0.get(first..)?, range.count.into())
    }

    /// How many pages there are.
    pub fn pages(&self) -> u64 {
        self.iter()
            .fold(0, |sum, run| sum.saturating_add(run.pages.into()))
    }

    /// Checks that this can be all that belongs to one domain.
    ///
    /// # Errors
    ///
    /// [`Error::Range`] if an address is none of a table, or the runs are not in the order of their
    /// addresses, or overlap.
    pub fn check(&self) -> Result<()> {
        let mut end = TABLE_SIZE;

        for run in self.iter() {
            if run.base < end || run.end() > 1 << MAX_ADDRESS_BITS {
                return Err(Error::Range {
                    node: schema::DOMAIN,
                    property: property::RUNS,
                });
            }
            end = run.end();
        }
        Ok(())
    }

    /// Whether the page at `address` is one of them, if the runs are in order.
    ///
    /// Takes time logarithmic in the number of entries.
    pub fn contains(&self, address: u64) -> bool {
        let (mut low, mut high) = (0, self.len());

        while low < high {
            let middle = low.midpoint(high);
            let Some(run) = self.get(middle) else {
                return false;
            };

            if run.end() <= address {
                low = middle.saturating_add(1);
            } else if run.base > address {
                high = middle;
            } else {
                return true;
            }
        }
        false
    }

    fn get(&self, index: usize) -> Option<Run> {
        let start = index.checked_mul(ENTRY_SIZE)?;

        Run::decode(self.0.get(start..)?.get(..ENTRY_SIZE)?)
    }
}

/// Whether the tables of `table` are pages of `runs`, and as many, if the runs are in order. `pause`
/// is called for each.
///
/// Takes time linear in the size of the pages, and logarithmic in the number of runs for each,
/// whatever is in them.
pub fn are_all_tables<F: Format>(
    tables: &impl Tables,
    table: &PageTable<F>,
    runs: &RunList<'_>,
    mut pause: impl FnMut(),
) -> bool {
    // The way to where the walk is: tables with the index of the entry that is next.
    let mut way = [(0, 0); MAX_LEVELS];
    let mut level = table.top_level();
    let pages = runs.pages();
    let mut found: u64 = 0;
    let mut next = Some(table.top());

    loop {
        let Some(place) = way.get_mut(level as usize) else {
            return false;
        };
        if let Some(address) = next.take() {
            found = found.saturating_add(1);
            // A table that is found twice counts twice.
            if found > pages || !runs.contains(address) {
                return false;
            }
            *place = (address, 0);
            pause();
        }

        let (address, index) = *place;
        if index >= ENTRIES || level == 0 {
            level = level.saturating_add(1);
            if level > table.top_level() {
                return found == pages;
            }
            continue;
        }
        place.1 = index.saturating_add(1);
        match tables
            .entry(address, index)
            .map(|raw| table.format().decode(level, raw))
        {
            Some(Entry::Table { address, .. }) => {
                level = level.saturating_sub(1);
                next = Some(address);
            }
            Some(Entry::NotPresent | Entry::Leaf { .. }) => {}
            Some(Entry::Malformed) | None => return false,
        }
    }
}

/// Whether the page at `b` is in the same run as the one at `a` before it, which is the `index`th.
fn follows(a: u64, b: u64, index: usize) -> bool {
    a.checked_add(TABLE_SIZE) == Some(b) && index % (MAX_PAGES as usize) != 0
}

/// Divides `pages`, the sorted addresses of different pages, into runs.
fn divide(pages: &[u64]) -> impl Iterator<Item = &[u64]> {
    let mut rest = pages;

    core::iter::from_fn(move || {
        let mut length: usize = 1;

        while let Some([a, b]) = rest.get(length.checked_sub(1)?..=length) {
            if !follows(*a, *b, length) {
                break;
            }
            length = length.checked_add(1)?;
        }
        let (run, next) = rest.split_at_checked(length)?;
        rest = next;
        Some(run)
    })
}

/// How many entries [`write`] needs for `pages`, the sorted addresses of different pages.
pub fn count(pages: &[u64]) -> usize {
    divide(pages).count()
}

/// Writes the entries of a domain whose table pages are at `pages`, sorted, into `buffer`, and
/// returns what is left of it.
///
/// Takes time linear in the size of the pages.
///
/// # Errors
///
/// [`Error::NoSpace`] if `buffer` is too small or if there is no page at one of the addresses.
pub fn write<'a>(
    pages: &[u64],
    checksum: &impl Checksum,
    buffer: &'a mut [u8],
) -> Result<&'a mut [u8]> {
    let mut buffer = buffer;

    for run in divide(pages) {
        let (Some(base), Ok(count)) = (run.first(), u32::try_from(run.len())) else {
            return Err(Error::NoSpace);
        };
        let entry = Run {
            base: *base,
            pages: count,
            checksum: content(run.iter().copied(), *base, checksum).ok_or(Error::NoSpace)?,
        };

        for word in entry.encode() {
            let (bytes, rest) = buffer.split_first_chunk_mut::<8>().ok_or(Error::NoSpace)?;
            *bytes = word.to_be_bytes();
            buffer = rest;
        }
    }
    Ok(buffer)
}
