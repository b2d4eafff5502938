// SPDX-License-Identifier: GPL-2.0

//! Root and context tables in memory.

#![allow(dead_code, reason = "not every test uses everything")]

use std::{
    cell::Cell,
    collections::BTreeMap, //
};

use liveupdate_state::{
    hardware,
    vtd::{
        Memory,
        Table, //
    }, //
};

pub type Entry = [u64; 2];
pub type Entries = BTreeMap<u8, Entry>;

/// A page of entries.
pub struct Page(Vec<Cell<Entry>>);

impl Table for &Page {
    fn read(&self, index: u8) -> Entry {
        self.0[usize::from(index)].get()
    }

    fn clear(&self, index: u8) {
        self.0[usize::from(index)].set([0, 0]);
    }
}

/// Memory with some pages in it.
pub struct Pages {
    pages: BTreeMap<u64, Page>,
    /// Where pages were preserved, and how many together.
    pub preserved: BTreeMap<u64, u64>,
}

impl Memory for Pages {
    type Table<'a> = &'a Page;

    fn table(&self, address: u64) -> Option<&Page> {
        self.pages.get(&address)
    }
}

impl hardware::Memory for Pages {
    fn preserved_pages(&self, address: u64) -> Option<u64> {
        self.preserved.get(&address).copied()
    }
}

impl Pages {
    pub fn new(contents: &BTreeMap<u64, Entries>) -> Self {
        let page = |entries: &Entries| {
            let entry = |index| entries.get(&index).copied().unwrap_or([0, 0]);

            Page((0..=u8::MAX).map(|index| Cell::new(entry(index))).collect())
        };
        Self {
            pages: contents.iter().map(|(at, e)| (*at, page(e))).collect(),
            preserved: BTreeMap::new(),
        }
    }

    /// What is in the pages; entries that are zero are left out.
    pub fn contents(&self) -> BTreeMap<u64, Entries> {
        let entries = |page: &Page| {
            (0..=u8::MAX)
                .map(|index| (index, page.0[usize::from(index)].get()))
                .filter(|(_, entry)| *entry != [0, 0])
                .collect()
        };
        self.pages
            .iter()
            .map(|(at, page)| (*at, entries(page)))
            .collect()
    }
}

/// The tables that the unit of `Sample::example` must have, by hand.
pub fn example_contents() -> BTreeMap<u64, Entries> {
    BTreeMap::from([
        (
            0x1_0000_1000,
            Entries::from([(0, [0x1_0000_2001, 0]), (2, [0x1_0000_3001, 0])]),
        ),
        (
            0x1_0000_2000,
            Entries::from([(0x18, [0x1_0001_0001, 0x202])]),
        ),
        (
            0x1_0000_3000,
            Entries::from([
                (0x00, [0x1_0001_0001, 0x202]),
                (0x08, [0x1_0001_0001, 0x202]),
                (0x10, [0x1_0002_0001, 0x902]),
            ]),
        ),
    ])
}
