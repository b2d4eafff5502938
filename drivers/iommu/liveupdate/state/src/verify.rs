// SPDX-License-Identifier: GPL-2.0

//! Whether one page table may take the place of another while a device uses it.

use crate::{
    extents::{
        Cursor,
        Extent, //
    },
    page_table::{
        Error,
        Format,
        PageTable,
        Tables, //
    }, //
};

/// How a new page table differs from the restored one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The restored one alone maps the address.
    Unmapped,
    /// They lead to different physical addresses, with whatever rights.
    Address,
    /// They lead to the same physical address with different rights.
    Rights,
    /// The new one alone maps the address.
    Extra,
}

/// A difference of two page tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The first input address that is translated differently, a multiple of 4 KiB.
    pub iova: u64,
    /// How.
    pub reason: Reason,
}

/// How far a comparison has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The tables are equal as far as they were compared.
    Continue,
    /// They are equal.
    Equal,
    /// They are not.
    Different(Difference),
}

/// The comparison of a restored page table with a new one.
///
/// What counts is where each input address leads and with which rights. The levels of the tables,
/// the number of input bits and the page sizes may differ.
pub struct Comparison<'a, M: Tables, F> {
    restored: Cursor<'a, M, F>,
    new: Cursor<'a, M, F>,
    allow_extra: bool,
    /// Up to here, nothing differs.
    iova: u64,
    /// From here on, neither maps anything.
    end: u64,
}

impl<'a, M: Tables, F: Format> Comparison<'a, M, F> {
    /// Prepares to compare `restored` with `new`, which are both in `memory`.
    ///
    /// With `allow_extra`, the new one may map more than the restored one does.
    pub fn new(
        memory: &'a M,
        restored: PageTable<F>,
        new: PageTable<F>,
        allow_extra: bool,
    ) -> Self {
        Self {
            restored: Cursor::new(memory, restored),
            new: Cursor::new(memory, new),
            allow_extra,
            iova: 0,
            end: restored.end().max(new.end()),
        }
    }

    /// Goes on comparing, with at most `budget` pairs of extents.
    ///
    /// To look at a pair means to read at most one entry of each level of both, and what follows the
    /// last one in its table. After [`Progress::Continue`], call it again; after anything else, it
    /// would return the same.
    ///
    /// # Errors
    ///
    /// A table that cannot be walked, before any difference was found.
    pub fn step(&mut self, budget: usize) -> Result<Progress, Error> {
        for _ in 0..budget {
            if self.iova >= self.end {
                return Ok(Progress::Equal);
            }
            let restored = self.restored.extent(self.iova)?;
            let new = self.new.extent(self.iova)?;

            if let Some(reason) = self.difference(&restored, &new) {
                return Ok(Progress::Different(Difference {
                    iova: self.iova,
                    reason,
                }));
            }
            self.iova = restored.end.min(new.end);
        }
        Ok(Progress::Continue)
    }

    /// How the beginnings of two extents differ, and so all of what they have in common.
    fn difference(&self, restored: &Extent, new: &Extent) -> Option<Reason> {
        match (restored.mapping, new.mapping) {
            (None, None) => None,
            (Some(_), None) => Some(Reason::Unmapped),
            (None, Some(_)) => (!self.allow_extra).then_some(Reason::Extra),
            (Some(old), Some(new)) if old.address != new.address => Some(Reason::Address),
            (Some(old), Some(new)) if old.rights != new.rights => Some(Reason::Rights),
            (Some(_), Some(_)) => None,
        }
    }
}
