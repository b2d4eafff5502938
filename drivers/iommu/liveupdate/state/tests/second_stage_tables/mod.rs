// SPDX-License-Identifier: GPL-2.0

//! Second-stage tables in memory, written by hand from the specification, and what they mean as a
//! map of single pages.

#![allow(dead_code, reason = "not every test uses everything")]

use std::{
    cell::RefCell,
    collections::BTreeMap, //
};

use liveupdate_state::{
    page_table::{
        PageTable,
        Table,
        Tables, //
    },
    second_stage::SecondStage, //
};
use proptest::{
    collection::vec,
    prelude::*, //
};

pub const READ: u64 = 1 << 0;
pub const WRITE: u64 = 1 << 1;
pub const PAGE: u64 = 1 << 7;
pub const SNOOP: u64 = 1 << 11;
pub const ADDRESS: u64 = 0x000f_ffff_ffff_f000;

pub const KIB_4: u64 = 1 << 12;
pub const MIB_2: u64 = 1 << 21;
pub const GIB_1: u64 = 1 << 30;

/// How many bytes an entry covers.
pub fn size(level: u32) -> u64 {
    KIB_4 << (9 * level)
}

fn index(iova: u64, level: u32) -> usize {
    (iova / size(level) % 512) as usize
}

/// Memory with tables in it.
#[derive(Clone, Default)]
pub struct Memory {
    pub pages: BTreeMap<u64, Vec<u64>>,
    /// What was read of it.
    pub reads: RefCell<Vec<(u64, u16)>>,
}

impl Tables for Memory {
    type Table<'a> = Page<'a>;

    fn table(&self, address: u64) -> Option<Page<'_>> {
        Some(Page {
            address,
            entries: self.pages.get(&address)?,
            reads: &self.reads,
        })
    }
}

/// A page of [`Memory`].
#[derive(Clone, Copy)]
pub struct Page<'a> {
    address: u64,
    entries: &'a [u64],
    reads: &'a RefCell<Vec<(u64, u16)>>,
}

impl Table for Page<'_> {
    fn entry(&self, index: u16) -> Option<u64> {
        let entry = *self.entries.get(usize::from(index))?;

        self.reads.borrow_mut().push((self.address, index));
        Some(entry)
    }
}

/// Where the tables of a domain begin.
#[derive(Clone, Copy, Debug)]
pub struct Top {
    pub table: u64,
    pub level: u32,
    pub input_bits: u32,
}

impl Top {
    pub fn page_table(self) -> PageTable<SecondStage> {
        let format = SecondStage::new(46);

        PageTable::new(self.table, self.level, self.input_bits, format).unwrap()
    }
}

impl Memory {
    /// Adds a table that is empty. No two are neighbours.
    pub fn add_table(&mut self) -> u64 {
        let table = 0x10_0000_0000 + 0x3000 * self.pages.len() as u64;

        self.pages.insert(table, vec![0; 512]);
        table
    }

    pub fn add_top(&mut self, level: u32, input_bits: u32) -> Top {
        Top {
            table: self.add_table(),
            level,
            input_bits,
        }
    }

    /// The entry of level `level` for `iova`. Tables on the way to it are added, pages are split.
    pub fn entry_mut(&mut self, top: Top, iova: u64, level: u32) -> &mut u64 {
        let mut table = top.table;

        for above in (level + 1..=top.level).rev() {
            let entry = self.pages[&table][index(iova, above)];

            if entry & (READ | WRITE) == 0 || (above <= 2 && entry & PAGE != 0) {
                let lower = self.add_table();
                if entry & PAGE != 0 {
                    let keep = if above == 1 { !PAGE } else { !0 };
                    for (i, part) in (0u64..).zip(self.pages.get_mut(&lower).unwrap()) {
                        *part = (entry & keep) + i * size(above - 1);
                    }
                }
                self.pages.get_mut(&table).unwrap()[index(iova, above)] = lower | READ | WRITE;
            }
            table = self.pages[&table][index(iova, above)] & ADDRESS;
        }
        &mut self.pages.get_mut(&table).unwrap()[index(iova, level)]
    }

    /// Maps the page of level `level` at `iova` to `address`.
    pub fn map(&mut self, top: Top, iova: u64, level: u32, address: u64, rights: u64) {
        let page = if level > 0 { PAGE } else { 0 };

        *self.entry_mut(top, iova, level) = address | rights | page;
    }

    /// Applies `change`, to addresses that `top` translates. Pages of 2 MiB are used if
    /// `large_pages` says so.
    pub fn apply(&mut self, top: Top, change: &Change, large_pages: bool) {
        match *change {
            Change::Map {
                iova,
                pages,
                address,
                rights,
            } => {
                let end = (iova + pages * KIB_4).min(1 << top.input_bits);
                let mut at = iova;

                while at < end {
                    let target = address + (at - iova);
                    let large = at % MIB_2 == 0 && end - at >= MIB_2;

                    if rights == 0 {
                        let level = u32::from(large);
                        *self.entry_mut(top, at, level) = 0;
                        at += size(level);
                    } else if large && large_pages && target % MIB_2 == 0 {
                        self.map(top, at, 1, target, rights);
                        at += MIB_2;
                    } else {
                        self.map(top, at, 0, target, rights);
                        at += KIB_4;
                    }
                }
            }
            Change::Restrict {
                iova,
                level,
                rights,
            } => {
                if iova < 1 << top.input_bits {
                    *self.entry_mut(top, iova, level) &= !(READ | WRITE) | rights;
                }
            }
        }
    }
}

/// A change of what is translated.
#[derive(Clone, Debug)]
pub enum Change {
    /// Maps pages in a row, or removes them if there are no rights.
    Map {
        iova: u64,
        pages: u64,
        address: u64,
        rights: u64,
    },
    /// Takes rights away from everything below an entry. Nothing can be mapped there afterwards.
    Restrict { iova: u64, level: u32, rights: u64 },
}

/// Where changes happen: on both sides of limits of an entry of some level.
const WINDOWS: [u64; 4] = [
    0,
    GIB_1 - MIB_2,
    (1 << 39) - 2 * MIB_2,
    (1 << 48) - 2 * MIB_2,
];

pub fn map() -> impl Strategy<Value = Change> {
    let pages_in = prop_oneof![Just(0u64), Just(512), 0..1024u64];
    let pages = prop_oneof![Just(1u64), Just(512), Just(1024), 1..600u64];
    let address = prop_oneof![
        Just(0x1_0000_0000u64),
        Just(0x1_0020_0000),
        (0..1u64 << 20).prop_map(|page| page * KIB_4),
    ];
    let rights = prop_oneof![
        1 => Just(0),
        4 => Just(READ | WRITE),
        1 => Just(READ),
        1 => Just(WRITE),
        1 => Just(READ | WRITE | SNOOP),
    ];

    (0..WINDOWS.len(), pages_in, pages, address, rights).prop_map(
        |(window, offset, pages, address, rights)| Change::Map {
            iova: WINDOWS[window] + offset * KIB_4,
            pages,
            address,
            rights,
        },
    )
}

pub fn restrict() -> impl Strategy<Value = Change> {
    let rights = prop_oneof![Just(READ), Just(WRITE), Just(0)];

    (0..WINDOWS.len(), 0..2u64, 1..3u32, rights).prop_map(|(window, offset, level, rights)| {
        Change::Restrict {
            iova: WINDOWS[window] + offset * MIB_2,
            level,
            rights,
        }
    })
}

/// Changes that work in this order.
pub fn changes() -> impl Strategy<Value = Vec<Change>> {
    (vec(map(), 0..8), vec(restrict(), 0..3))
        .prop_map(|(maps, restricts)| maps.into_iter().chain(restricts).collect())
}

/// Levels and input bits that hardware has, and some that leave the top table partly used.
pub fn shape() -> impl Strategy<Value = (u32, u32)> {
    prop_oneof![
        Just((2, 39)),
        Just((3, 48)),
        Just((4, 57)),
        Just((2, 35)),
        Just((3, 42)),
        Just((4, 49)),
        Just((3, 31)),
    ]
}

/// What tables mean, as a map from each page to its physical address and the rights.
pub type Model = BTreeMap<u64, (u64, u64)>;

/// Applies `change` to the addresses of `model` that have `input_bits` bits.
pub fn apply(model: &mut Model, change: &Change, input_bits: u32) {
    match *change {
        Change::Map {
            iova,
            pages,
            address,
            rights,
        } => {
            for offset in (0..pages).map(|page| page * KIB_4) {
                if iova + offset >= 1 << input_bits {
                    break;
                }
                model.remove(&(iova + offset));
                if rights != 0 {
                    model.insert(iova + offset, (address + offset, rights));
                }
            }
        }
        Change::Restrict {
            iova,
            level,
            rights: left,
        } => {
            let start = iova / size(level) * size(level);

            for (_, (_, rights)) in model.range_mut(start..start + size(level)) {
                *rights &= left | SNOOP;
            }
            model.retain(|_, (_, rights)| *rights & (READ | WRITE) != 0);
        }
    }
}
