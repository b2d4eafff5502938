// SPDX-License-Identifier: GPL-2.0

//! One IOMMU unit, and the memory that the previous kernel left.

use crate::input::{
    Input,
    Section, //
};
use liveupdate_state::{
    hardware,
    page_table::{
        self,
        Tables, //
    },
    runs::Checksum,
    vtd,
    ContextTables,
    Run,
    Unit, //
};
use std::{
    cell::RefCell,
    collections::BTreeMap,
    rc::Rc, //
};
use xxhash_rust::xxh64::xxh64;

/// Register base of the unit.
pub const UNIT: u64 = 0xfed9_0000;
/// 65536 domain ids, three or four levels, 48 bits, pages of 2 MiB and 1 GiB.
pub const CAPABILITY: u64 = 0x00d2_008c_222f_0686;
/// Nothing of it matters.
pub const EXTENDED_CAPABILITY: u64 = 0xf00f5a;

/// Where the blocks are that KHO keeps as folios; each has room for [`BLOCK_SIZE`] bytes.
pub const BLOCKS: [(Section, u64); 7] = [
    (Section::Index, 0x1_0000_0000),
    (Section::TreeA, 0x1_0001_0000),
    (Section::TreeB, 0x1_0001_4000),
    (Section::ListA, 0x1_0001_8000),
    (Section::CopyA, 0x1_0001_a000),
    (Section::ListB, 0x1_0001_c000),
    (Section::CopyB, 0x1_0001_e000),
];
/// Size of a block in bytes.
pub const BLOCK_SIZE: usize = 0x2000;
/// The root table, and behind it three context tables.
pub const TABLES: [u64; 4] = [0x1_0002_0000, 0x1_0002_1000, 0x1_0002_2000, 0x1_0002_3000];
/// The first of the pages that can be page tables.
pub const PAGES: u64 = 0x1_0003_0000;
/// How many there are.
pub const PAGE_COUNT: u64 = 32;
/// The page that was preserved together with the next one.
pub const PAIR: u64 = 16;

/// Where the block of a section is.
pub fn block(section: Section) -> u64 {
    let found = BLOCKS.iter().find(|(s, _)| *s == section);

    found.map_or(0, |(_, address)| *address)
}

/// The entries of a root or context table.
#[derive(Clone)]
pub struct Table(Rc<RefCell<Vec<[u64; 2]>>>);

impl vtd::Table for Table {
    fn read(&self, index: u8) -> [u64; 2] {
        self.0.borrow()[usize::from(index)]
    }

    fn clear(&self, index: u8) {
        self.0.borrow_mut()[usize::from(index)] = [0, 0];
    }
}

/// The machine.
pub struct Machine {
    blocks: BTreeMap<u64, Vec<u8>>,
    tables: BTreeMap<u64, Table>,
    pages: BTreeMap<u64, Vec<u8>>,
    /// A bit for each of the tables and pages that was not preserved.
    lost: u64,
    /// Whether `iommu_liveupdate.check_tables` is set.
    pub check_tables: bool,
}

impl Machine {
    /// Fills the memory.
    pub fn new(input: &Input) -> Self {
        let mut machine = Self {
            blocks: BTreeMap::new(),
            tables: BTreeMap::new(),
            pages: BTreeMap::new(),
            lost: input.lost(),
            check_tables: input.check_tables(),
        };

        for (section, address) in BLOCKS {
            let mut block = input.section(section).to_vec();
            block.resize(BLOCK_SIZE, 0);
            machine.blocks.insert(address, block);
        }
        for address in TABLES {
            let entries = Rc::new(RefCell::new(vec![[0, 0]; 256]));
            machine.tables.insert(address, Table(entries));
        }
        for (table, index, entry) in input.entries() {
            let address = TABLES[usize::from(table) % TABLES.len()];
            machine.tables[&address].0.borrow_mut()[usize::from(index)] = entry;
        }
        for n in 0..PAGE_COUNT {
            machine.pages.insert(PAGES + 0x1000 * n, vec![0; 4096]);
        }
        for (page, at, byte) in input.bytes() {
            let address = PAGES + 0x1000 * (u64::from(page) % PAGE_COUNT);
            if let Some(page) = machine.pages.get_mut(&address) {
                page[usize::from(at) % 4096] = byte;
            }
        }
        machine
    }

    /// What is preserved at `address`, if it has at least `size` bytes.
    pub fn block(&self, address: u64, size: u64) -> Option<&[u8]> {
        let size = usize::try_from(size).ok()?;

        self.blocks.get(&address)?.get(..size)
    }

    /// The content of a page that can be one of a page table.
    pub fn page(&self, address: u64) -> Option<&[u8]> {
        self.pages.get(&address).map(Vec::as_slice)
    }

    /// The unit as it is found.
    pub fn unit(&self) -> Unit<'static> {
        Unit {
            register_base: UNIT,
            segment: 0,
            capability: CAPABILITY,
            extended_capability: EXTENDED_CAPABILITY,
            root_table: TABLES[0],
            context_tables: ContextTables::new(&[]),
        }
    }
}

impl vtd::Memory for Machine {
    type Table<'a> = Table;

    fn table(&self, address: u64) -> Option<Table> {
        self.tables.get(&address).cloned()
    }
}

impl hardware::Memory for Machine {
    fn preserved_pages(&self, address: u64) -> Option<u64> {
        let known = self.tables.keys().chain(self.pages.keys());
        let bit = known.into_iter().position(|a| *a == address)?;
        let pair = PAGES + 0x1000 * PAIR;

        if self.lost & (1 << bit) != 0 || address == pair + 0x1000 {
            return None;
        }
        Some(if address == pair { 2 } else { 1 })
    }
}

impl Tables for Machine {
    type Table<'a> = PageTablePage<'a>;

    fn table(&self, address: u64) -> Option<PageTablePage<'_>> {
        Some(PageTablePage(self.pages.get(&address)?))
    }
}

#[derive(Clone, Copy)]
pub struct PageTablePage<'a>(&'a [u8]);

impl page_table::Table for PageTablePage<'_> {
    fn entry(&self, index: u16) -> Option<u64> {
        let entry = self.0.chunks(8).nth(index.into())?;

        Some(u64::from_le_bytes(*entry.first_chunk()?))
    }
}

impl Checksum for Machine {
    fn pages(&self, run: &Run, checksum: u64) -> Option<u64> {
        let mut addresses = run.addresses();

        addresses.try_fold(checksum, |sum, page| {
            Some(xxh64(self.pages.get(&page)?, sum))
        })
    }
}
