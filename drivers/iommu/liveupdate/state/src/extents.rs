// SPDX-License-Identifier: GPL-2.0

//! What a page table translates, in the order of the input addresses.

use core::ops::Range;

use crate::page_table::{
    covered_size,
    index,
    Entry,
    Error,
    Format,
    PageTable,
    Rights,
    Table,
    Tables,
    MAX_LEVELS, //
};

/// Where an input address leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// The physical address.
    pub address: u64,
    /// What every entry on the way allows.
    pub rights: Rights,
}

/// Input addresses that one entry decides about, or several empty ones of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// The first one.
    pub iova: u64,
    /// The first one after them.
    pub end: u64,
    /// Where `iova` leads, and those above it in order; [`None`] if they are not mapped.
    pub mapping: Option<Mapping>,
}

/// The extents of a page table, in order and without gaps up to the end of its input addresses.
///
/// Each step reads at most one entry of each level and what follows the last one in its table, so the
/// caller may stop, sleep and go on between any two of them. The number of extents is bounded by the
/// format alone: damaged tables can lead to each other in circles.
///
/// An error is the last item.
pub struct Extents<'a, M: Tables, F> {
    cursor: Cursor<'a, M, F>,
    /// Where the next extent begins, unless there was an error.
    next: Option<u64>,
}

impl<'a, M: Tables, F: Format> Extents<'a, M, F> {
    /// Starts at the input address 0 of `table`, which is in `memory`.
    pub fn new(memory: &'a M, table: PageTable<F>) -> Self {
        Self {
            cursor: Cursor::new(memory, table),
            next: Some(0),
        }
    }
}

impl<M: Tables, F: Format> Iterator for Extents<'_, M, F> {
    type Item = Result<Extent, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let iova = self.next.filter(|iova| *iova < self.cursor.table.end())?;
        let extent = self.cursor.extent(iova);

        self.next = extent.ok().map(|extent| extent.end);
        Some(extent)
    }
}

/// Looks up one input address after the other.
///
/// It remembers the tables on the way to the last one, so that each of them is looked up once if the
/// addresses ascend from extent to extent.
pub(crate) struct Cursor<'a, M: Tables, F> {
    memory: &'a M,
    table: PageTable<F>,
    /// What was looked up last.
    iova: u64,
    /// The tables on the way to it, by level.
    path: [Step<M::Table<'a>>; MAX_LEVELS],
    /// The lowest level that was reached.
    level: u32,
    /// Empty entries that were skipped last.
    hole: Range<u64>,
}

/// A table on the way to an address.
#[derive(Clone, Copy)]
struct Step<T> {
    address: u64,
    /// [`None`] if there can be none at the address.
    table: Option<T>,
    /// What the entries that lead to it allow.
    rights: Rights,
}

impl<'a, M: Tables, F: Format> Cursor<'a, M, F> {
    /// Starts at the top of `table`.
    pub(crate) fn new(memory: &'a M, table: PageTable<F>) -> Self {
        let top = Step {
            address: table.top(),
            table: memory.table(table.top()),
            rights: Rights::ALL,
        };

        Self {
            memory,
            table,
            iova: 0,
            path: [top; MAX_LEVELS],
            level: table.top_level(),
            hole: 0..0,
        }
    }

    /// Returns the extent that begins at `iova`, inside of a page or not.
    ///
    /// Reads at most one entry of each level, and what follows the last one in its table.
    pub(crate) fn extent(&mut self, iova: u64) -> Result<Extent, Error> {
        if iova >= self.table.end() {
            return Ok(Extent {
                iova,
                end: u64::MAX,
                mapping: None,
            });
        }
        // Where the extents of another page table are smaller, it is not skipped again and again.
        if self.hole.contains(&iova) {
            return Ok(Extent {
                iova,
                end: self.hole.end,
                mapping: None,
            });
        }
        self.ascend(iova);

        loop {
            let level = self.level;
            let Some((step, table)) = self.step() else {
                return Err(Error::Unreadable {
                    table: self.address(),
                });
            };
            let index = index(iova, level);
            let malformed = Error::Malformed {
                table: step.address,
                index,
            };
            let raw = table.entry(index).ok_or(malformed)?;
            let last = iova | covered_size(level).saturating_sub(1);
            let mut end = last.saturating_add(1);

            let mapping = match self.table.format().decode(level, raw) {
                Entry::NotPresent => {
                    end = self.skip_empty(&table, index, end).min(self.table.end());
                    self.hole = iova..end;
                    None
                }
                Entry::Leaf { address, rights } => {
                    let rights = rights.below(step.rights);
                    let offset = iova & covered_size(level).saturating_sub(1);

                    rights.any().then_some(Mapping {
                        address: address.saturating_add(offset),
                        rights,
                    })
                }
                Entry::Table { address, rights } => {
                    let lower = level.checked_sub(1).ok_or(malformed)?;

                    self.descend(lower, address, rights.below(step.rights));
                    continue;
                }
                Entry::Malformed => return Err(malformed),
            };

            return Ok(Extent {
                iova,
                end: end.min(self.table.end()),
                mapping,
            });
        }
    }

    /// Returns the end of the empty entries of `table` that begin with the one at `index`, which
    /// ends at `end`.
    fn skip_empty(&self, table: &M::Table<'a>, index: u16, end: u64) -> u64 {
        let size = covered_size(self.level);
        let is_empty = |raw| self.table.format().decode(self.level, raw) == Entry::NotPresent;
        let mut index = index.saturating_add(1);
        let mut end = end;

        while end < self.table.end() && table.entry(index).is_some_and(is_empty) {
            index = index.saturating_add(1);
            end = end.saturating_add(size);
        }
        end
    }

    /// Goes up to the lowest table that is on the way to `iova` as well.
    fn ascend(&mut self, iova: u64) {
        let different = iova ^ self.iova;

        while self.level < self.table.top_level()
            && different >= covered_size(self.level.saturating_add(1))
        {
            self.level = self.level.saturating_add(1);
        }
        self.iova = iova;
    }

    fn descend(&mut self, level: u32, address: u64, rights: Rights) {
        if let Some(step) = self.path.get_mut(level as usize) {
            *step = Step {
                address,
                table: self.memory.table(address),
                rights,
            };
        }
        self.level = level;
    }

    /// The lowest table that was reached, if it is readable.
    fn step(&self) -> Option<(Step<M::Table<'a>>, M::Table<'a>)> {
        // The level is never above that of the top table, which is below MAX_LEVELS.
        let step = self.path.get(self.level as usize)?;

        Some((*step, step.table?))
    }

    /// The physical address of the lowest table that was reached.
    fn address(&self) -> u64 {
        self.path
            .get(self.level as usize)
            .map_or(self.table.top(), |step| step.address)
    }
}
