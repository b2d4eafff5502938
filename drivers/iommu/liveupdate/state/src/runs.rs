// SPDX-License-Identifier: GPL-2.0

//! Which pages the tables of an iommufd's domains consist of, and what is in them.
//!
//! A run list is an array of entries of 8 bytes, in big-endian order. It has a group for each domain:
//! the number of its runs, the checksum of the content of all their pages, and the runs in the order
//! of their addresses. A run is the physical address of its first page, with the number of pages less
//! one in the low 12 bits.
//!
//! It says who owns the pages even if the tables in them are damaged, and whether they are.

use crate::{
    check::sort,
    error::{
        Error,
        Result, //
    },
    page_table::{
        Entry,
        Format,
        PageTable,
        Table,
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
use core::cell::Cell;

/// The size of an entry in bytes.
pub const ENTRY_SIZE: usize = 8;
/// How many entries of a group are in front of its runs.
pub const HEADER_ENTRIES: u32 = 2;
/// The most pages that a run can have.
pub const MAX_PAGES: u32 = 4096;

/// The checksum of pages, for which the kernel has XXH64.
pub trait Checksum {
    /// Continues `checksum` with the content of each page of `run`, in order.
    ///
    /// Returns [`None`] if no tables can be there.
    fn pages(&self, run: &Run, checksum: u64) -> Option<u64>;
}

/// Pages that follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Run {
    /// Physical address of the first page.
    pub base: u64,
    /// How many there are, at least 1 and at most [`MAX_PAGES`].
    pub pages: u32,
}

impl Run {
    /// Iterates over the physical addresses of the pages.
    pub fn addresses(&self) -> impl Iterator<Item = u64> {
        let base = self.base;

        (0..u64::from(self.pages)).map(move |i| base.saturating_add(i.saturating_mul(TABLE_SIZE)))
    }

    /// The size of the pages in bytes.
    pub fn size(&self) -> u64 {
        u64::from(self.pages).saturating_mul(TABLE_SIZE)
    }

    /// The first address behind the pages.
    pub fn end(&self) -> u64 {
        self.base.saturating_add(self.size())
    }

    fn decode(entry: u64) -> Self {
        let offset = entry % TABLE_SIZE;

        Self {
            base: entry.saturating_sub(offset),
            // It is at most 4096.
            pages: (offset as u32).saturating_add(1),
        }
    }

    fn encode(&self) -> Result<u64> {
        let more = self.pages.checked_sub(1).filter(|more| *more < MAX_PAGES);

        match more {
            Some(more) if self.base % TABLE_SIZE == 0 => Ok(self.base | u64::from(more)),
            _ => Err(out_of_range()),
        }
    }
}

/// What is wrong with runs that no domain can have.
fn out_of_range() -> Error {
    Error::Range {
        node: schema::DOMAIN,
        property: property::RUNS,
    }
}

/// The entries in `bytes`.
fn entries(bytes: &[u8]) -> impl Iterator<Item = u64> + '_ {
    bytes
        .chunks_exact(ENTRY_SIZE)
        .filter_map(|entry| Some(u64::from_be_bytes(*entry.first_chunk()?)))
}

/// A run list.
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

    /// Iterates over the groups, up to the first one that is not all there.
    pub fn groups(&self) -> impl Iterator<Item = RunGroup<'a>> {
        let mut rest = self.0;

        core::iter::from_fn(move || {
            let (group, next) = RunGroup::split_from(rest)?;

            rest = next;
            Some(group)
        })
    }

    /// Iterates over the runs of all groups.
    pub fn runs(&self) -> impl Iterator<Item = Run> + 'a {
        self.groups().flat_map(|group| group.iter())
    }

    /// The group that is exactly the entries of `range`, or [`None`] if there is none.
    pub fn group(&self, range: RunRange) -> Option<RunGroup<'a>> {
        let first = (range.first as usize).checked_mul(ENTRY_SIZE)?;
        let size = (range.count as usize).checked_mul(ENTRY_SIZE)?;
        let entries = self.0.get(first..)?.get(..size)?;

        match RunGroup::split_from(entries)? {
            (group, []) => Some(group),
            _ => None,
        }
    }
}

/// The part of a run list that belongs to a domain.
///
/// # Invariants
///
/// The size of the runs is a multiple of [`ENTRY_SIZE`].
#[derive(Clone, Copy, Debug, Default)]
pub struct RunGroup<'a> {
    checksum: u64,
    runs: &'a [u8],
}

impl<'a> RunGroup<'a> {
    /// Takes a group from the beginning of `bytes`, and returns what is behind it.
    fn split_from(bytes: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let (count, rest) = bytes.split_first_chunk::<ENTRY_SIZE>()?;
        let (checksum, rest) = rest.split_first_chunk::<ENTRY_SIZE>()?;
        let count = usize::try_from(u64::from_be_bytes(*count)).ok()?;
        let (runs, rest) = rest.split_at_checked(count.checked_mul(ENTRY_SIZE)?)?;

        // INVARIANT: It is a multiple.
        let group = Self {
            checksum: u64::from_be_bytes(*checksum),
            runs,
        };
        Some((group, rest))
    }

    /// The checksum of the content of all pages.
    pub fn checksum(&self) -> u64 {
        self.checksum
    }

    /// How many runs there are.
    pub fn len(&self) -> usize {
        self.runs.len() / ENTRY_SIZE
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// Iterates over the runs.
    pub fn iter(&self) -> impl Iterator<Item = Run> + 'a {
        entries(self.runs).map(Run::decode)
    }

    /// How many pages there are.
    pub fn pages(&self) -> u64 {
        self.iter()
            .fold(0, |sum, run| sum.saturating_add(run.pages.into()))
    }

    /// Whether the content of the pages is what it was when the list was written.
    ///
    /// Takes time linear in the size of the pages.
    pub fn is_intact(&self, checksum: &impl Checksum) -> bool {
        content(self.iter(), checksum) == Some(self.checksum)
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
                return Err(out_of_range());
            }
            end = run.end();
        }
        Ok(())
    }

    /// Whether the page at `address` is one of them, if the runs are in order.
    ///
    /// Takes time logarithmic in the number of runs.
    pub fn contains(&self, address: u64) -> bool {
        self.find(address).is_some()
    }

    /// Finds the run with the page at `address` and its number, if the runs are in order.
    fn find(&self, address: u64) -> Option<(usize, Run)> {
        let (mut low, mut high) = (0, self.len());

        while low < high {
            let middle = low.midpoint(high);
            let run = self.get(middle)?;

            if run.end() <= address {
                low = middle.saturating_add(1);
            } else if run.base > address {
                high = middle;
            } else {
                return Some((middle, run));
            }
        }
        None
    }

    fn get(&self, index: usize) -> Option<Run> {
        let start = index.checked_mul(ENTRY_SIZE)?;
        let entry = self.runs.get(start..)?.first_chunk()?;

        Some(Run::decode(u64::from_be_bytes(*entry)))
    }
}

/// The checksum of the content of all pages of `runs`, which starts with 0, or [`None`] if no tables
/// can be in one of them.
///
/// Takes time linear in the size of the pages.
pub fn content(runs: impl IntoIterator<Item = Run>, checksum: &impl Checksum) -> Option<u64> {
    runs.into_iter()
        .try_fold(0, |sum, run| checksum.pages(&run, sum))
}

/// What [`are_all_tables`] has found of the pages of a domain.
struct Found<'m> {
    /// For each run, the number of its first page among all.
    starts: &'m mut [u64],
    /// A bit for each page.
    bits: &'m mut [u64],
}

impl<'m> Found<'m> {
    /// Divides `memory`, or returns [`None`] if it is too small.
    fn new(runs: &RunGroup<'_>, memory: &'m mut [u64]) -> Option<Self> {
        let needed = runs.words()?;
        let (starts, bits) = memory.get_mut(..needed)?.split_at_mut_checked(runs.len())?;
        let mut next: u64 = 0;

        for (start, run) in starts.iter_mut().zip(runs.iter()) {
            *start = next;
            next = next.saturating_add(run.pages.into());
        }
        bits.fill(0);
        Some(Self { starts, bits })
    }

    /// Notes the page at `address`. Returns false if it is none of `runs`, or was found before.
    fn add(&mut self, runs: &RunGroup<'_>, address: u64) -> bool {
        let Some((index, run)) = runs.find(address) else {
            return false;
        };
        let page = self.starts.get(index).copied().unwrap_or(0);
        let page = page.saturating_add(address.saturating_sub(run.base) / TABLE_SIZE);
        let word = usize::try_from(page / 64)
            .ok()
            .and_then(|word| self.bits.get_mut(word));
        let bit = 1 << (page % 64);

        match word {
            Some(word) if *word & bit == 0 => {
                *word |= bit;
                true
            }
            _ => false,
        }
    }
}

impl RunGroup<'_> {
    /// How many words [`are_all_tables`] needs, or [`None`] if that is too many.
    pub fn words(&self) -> Option<usize> {
        usize::try_from(self.pages().div_ceil(64))
            .ok()?
            .checked_add(self.len())
    }
}

/// Whether the tables of `table` are `count` different pages of `runs`, if the runs are in order, with
/// at least [`RunGroup::words`] words of `memory`. `pause` is called for each.
///
/// Takes time linear in the size of the pages, and logarithmic in the number of runs for each,
/// whatever is in them.
pub fn are_all_tables<F: Format>(
    tables: &impl Tables,
    table: &PageTable<F>,
    runs: &RunGroup<'_>,
    count: u64,
    memory: &mut [u64],
    mut pause: impl FnMut(),
) -> bool {
    let Some(mut all) = Found::new(runs, memory) else {
        return false;
    };
    // The way to where the walk is: tables with the index of the entry that is next.
    let mut way = [(None, 0); MAX_LEVELS];
    let mut level = table.top_level();
    let mut found: u64 = 0;
    let mut next = Some(table.top());

    loop {
        let Some(place) = way.get_mut(level as usize) else {
            return false;
        };
        if let Some(address) = next.take() {
            found = found.saturating_add(1);
            if !all.add(runs, address) {
                return false;
            }
            // Nothing below those of level 0 is a table.
            let current = (level > 0).then(|| tables.table(address)).flatten();
            *place = (current, 0);
            pause();
        }

        let (current, index) = *place;
        if index >= ENTRIES || level == 0 {
            level = level.saturating_add(1);
            if level > table.top_level() {
                return found == count;
            }
            continue;
        }
        place.1 = index.saturating_add(1);
        match current
            .and_then(|current| current.entry(index))
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

/// Puts `runs`, which do not overlap, in the order of their addresses, makes as few of them as
/// possible, and returns their number. They are at the beginning of `runs` then.
///
/// Takes linear time if they are in order already.
pub fn merge(runs: &mut [Run]) -> usize {
    let runs = Cell::from_mut(runs).as_slice_of_cells();
    let mut merged: usize = 0;

    sort(runs);
    for run in runs.iter().map(Cell::get) {
        let mut rest = run;
        let last = merged.checked_sub(1).and_then(|last| runs.get(last));

        if let Some((last, before)) = last.map(|last| (last, last.get())) {
            if before.end() == run.base {
                let room = MAX_PAGES.saturating_sub(before.pages);
                let moved = run.pages.min(room);

                last.set(Run {
                    pages: before.pages.saturating_add(moved),
                    ..before
                });
                rest.pages = run.pages.saturating_sub(moved);
                rest.base = last.get().end();
            }
        }
        if rest.pages > 0 {
            // It was read before: each run leads to one more at most.
            if let Some(next) = runs.get(merged) {
                next.set(rest);
                merged = merged.saturating_add(1);
            }
        }
    }
    merged
}

/// How many entries [`write`] needs for a domain with `runs` runs, or [`None`] if that is too many.
pub fn entries_for(runs: usize) -> Option<u32> {
    u32::try_from(runs).ok()?.checked_add(HEADER_ENTRIES)
}

/// Writes the group of a domain with the runs `runs`, whose content has the checksum `checksum`, into
/// `buffer`, and returns what is left of it.
///
/// # Errors
///
/// [`Error::NoSpace`] if `buffer` is too small, [`Error::Range`] if a run has too many pages or none.
pub fn write<'a>(runs: &[Run], checksum: u64, buffer: &'a mut [u8]) -> Result<&'a mut [u8]> {
    let mut buffer = write_entry(runs.len() as u64, buffer)?;

    buffer = write_entry(checksum, buffer)?;
    for run in runs {
        buffer = write_entry(run.encode()?, buffer)?;
    }
    Ok(buffer)
}

fn write_entry(entry: u64, buffer: &mut [u8]) -> Result<&mut [u8]> {
    let (bytes, rest) = buffer
        .split_first_chunk_mut::<ENTRY_SIZE>()
        .ok_or(Error::NoSpace)?;

    *bytes = entry.to_be_bytes();
    Ok(rest)
}
