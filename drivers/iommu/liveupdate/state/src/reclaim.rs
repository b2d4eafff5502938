// SPDX-License-Identifier: GPL-2.0

//! Taking over, or giving back, the pages of a page table of the previous kernel.

use crate::page_table::{
    Entry,
    Format,
    PageTable,
    Tables,
    ENTRIES,
    MAX_LEVELS, //
};

/// Who answers for the pages of tables.
pub trait Owner {
    /// Takes the page at the physical address `table` over, before anything in it is read.
    ///
    /// Returns false if it is not a table to take over, or was taken over before. Then it is left
    /// alone, with all that it leads to. So it has to be false for the second claim of a page,
    /// which is what ends the walk of tables that lead to each other in circles.
    fn claim(&mut self, table: u64) -> bool;

    /// Gives a claimed page back, after those of all tables below it. It is not read any more.
    fn release(&mut self, table: u64);
}

/// What became of the tables.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reclaimed {
    /// Pages that were claimed, and released.
    pub claimed: u64,
    /// Claims that were refused.
    pub refused: u64,
}

/// A walk that claims and releases each page of a page table.
///
/// What is malformed or cannot be read is passed over, so pages may be left that nobody claimed.
#[must_use = "what was claimed is released only if the walk is finished"]
pub struct Reclaim<'a, M, F, O> {
    memory: &'a M,
    table: PageTable<F>,
    owner: &'a mut O,
    /// The claimed tables on the way to where the walk is, by level.
    path: [Visit; MAX_LEVELS],
    /// The level of the lowest one; [`None`] if all are released.
    level: Option<u32>,
    reclaimed: Reclaimed,
}

/// A table that was claimed.
#[derive(Clone, Copy, Default)]
struct Visit {
    table: u64,
    /// Which entry is next.
    index: u16,
}

impl<'a, M: Tables, F: Format, O: Owner> Reclaim<'a, M, F, O> {
    /// Starts with the top of `table`, which is in `memory`, and claims it.
    pub fn new(memory: &'a M, table: PageTable<F>, owner: &'a mut O) -> Self {
        let mut this = Self {
            memory,
            table,
            owner,
            path: [Visit::default(); MAX_LEVELS],
            level: None,
            reclaimed: Reclaimed::default(),
        };

        this.claim(table.top(), table.top_level());
        this
    }

    /// Goes on, by at most `budget` entries and releases.
    ///
    /// Returns what became of the tables when all is done, and [`None`] if it has to be called
    /// again.
    pub fn step(&mut self, budget: usize) -> Option<Reclaimed> {
        for _ in 0..budget {
            let Some(level) = self.level else {
                break;
            };

            match self.next_entry(level) {
                Some(Entry::Table { address, .. }) => self.claim(address, level.saturating_sub(1)),
                Some(_) => {}
                None => self.release(level),
            }
        }
        self.level.is_none().then_some(self.reclaimed)
    }

    /// Reads the next entry of the table at `level`, if there is one that can lead to a table.
    fn next_entry(&mut self, level: u32) -> Option<Entry> {
        let visit = self.path.get_mut(level as usize)?;

        if level == 0 || visit.index >= ENTRIES {
            return None;
        }
        let raw = self.memory.entry(visit.table, visit.index);
        visit.index = visit.index.saturating_add(1);

        Some(raw.map_or(Entry::NotPresent, |raw| {
            self.table.format().decode(level, raw)
        }))
    }

    /// Claims the table at the physical address `table`, to visit it next.
    fn claim(&mut self, table: u64, level: u32) {
        let Some(visit) = self.path.get_mut(level as usize) else {
            return;
        };
        let counter = if self.owner.claim(table) {
            *visit = Visit { table, index: 0 };
            self.level = Some(level);
            &mut self.reclaimed.claimed
        } else {
            &mut self.reclaimed.refused
        };

        *counter = counter.saturating_add(1);
    }

    /// Releases the table at `level`, to go on with the one that led to it.
    fn release(&mut self, level: u32) {
        if let Some(visit) = self.path.get(level as usize) {
            self.owner.release(visit.table);
        }
        self.level = (level < self.table.top_level()).then(|| level.saturating_add(1));
    }
}
