// SPDX-License-Identifier: GPL-2.0

//! What an input consists of, and how to change it so that most of it stays what it is.
//!
//! An input is a sequence of sections, each a length of two bytes and as many bytes. What is missing
//! is empty, what is left over is ignored. So every input means something.

use crate::machine::{
    block,
    BLOCK_SIZE,
    PAGES,
    PAGE_COUNT,
    TABLES, //
};
use xxhash_rust::xxh64::xxh64;

/// The sections, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    /// The index.
    Index,
    /// The tree of the first iommufd.
    TreeA,
    /// The run list of the first iommufd.
    ListA,
    /// The other copy of it.
    CopyA,
    /// The tree of the second iommufd.
    TreeB,
    /// The run list of the second iommufd.
    ListB,
    /// The other copy of it.
    CopyB,
    /// Entries of root and context tables, 18 bytes each: table, index, low and high half in
    /// little-endian order.
    Entries,
    /// Bytes of pages, 4 bytes each: page, place, byte.
    Bytes,
    /// What was lost, 8 bytes, and whether `check_tables` is set.
    Options,
}

/// How many sections there are.
const SECTIONS: usize = 10;
/// Size of an entry in [`Section::Entries`].
const ENTRY_SIZE: usize = 18;

/// An input, taken apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Input([Vec<u8>; SECTIONS]);

impl Input {
    /// Takes `data` apart.
    pub fn read(mut data: &[u8]) -> Self {
        let mut input = Self::default();

        for section in &mut input.0 {
            let Some((len, rest)) = data.split_first_chunk::<2>() else {
                break;
            };
            let len = usize::from(u16::from_be_bytes(*len)).min(rest.len());
            let (content, rest) = rest.split_at(len);

            *section = content[..len.min(BLOCK_SIZE)].to_vec();
            data = rest;
        }
        input
    }

    /// Puts it together.
    pub fn write(&self) -> Vec<u8> {
        let mut data = Vec::new();

        for section in &self.0 {
            data.extend((section.len() as u16).to_be_bytes());
            data.extend(section);
        }
        data
    }

    /// The content of a section.
    pub fn section(&self, section: Section) -> &[u8] {
        &self.0[section as usize]
    }

    /// The content of a section.
    pub fn section_mut(&mut self, section: Section) -> &mut Vec<u8> {
        &mut self.0[section as usize]
    }

    /// The entries of tables: which table, which entry, and its content.
    pub fn entries(&self) -> impl Iterator<Item = (u8, u8, [u64; 2])> + '_ {
        let word = |bytes: &[u8]| bytes.iter().rev().fold(0, |n, b| n << 8 | u64::from(*b));

        self.section(Section::Entries)
            .chunks_exact(ENTRY_SIZE)
            .map(move |e| (e[0], e[1], [word(&e[2..10]), word(&e[10..])]))
    }

    /// Adds an entry of a table.
    pub fn add_entry(&mut self, table: u8, index: u8, entry: [u64; 2]) {
        let words = entry.iter().flat_map(|word| word.to_le_bytes());

        self.section_mut(Section::Entries)
            .extend([table, index].into_iter().chain(words));
    }

    /// The bytes of pages: which page, where in it, and what.
    pub fn bytes(&self) -> impl Iterator<Item = (u8, u16, u8)> + '_ {
        self.section(Section::Bytes)
            .chunks_exact(4)
            .map(|b| (b[0], u16::from_be_bytes([b[1], b[2]]), b[3]))
    }

    /// The bits of tables and pages that were not preserved.
    pub fn lost(&self) -> u64 {
        let options = self.section(Section::Options);

        options
            .first_chunk::<8>()
            .map_or(0, |lost| u64::from_le_bytes(*lost))
    }

    /// Whether `check_tables` is set.
    pub fn check_tables(&self) -> bool {
        self.section(Section::Options)
            .get(8)
            .is_some_and(|b| b & 1 != 0)
    }
}

/// A source of decisions.
struct Random(u64);

impl Random {
    /// A number below `limit`, which is not 0.
    fn below(&mut self, limit: usize) -> usize {
        // splitmix64
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % limit as u64) as usize
    }
}

/// Changes an input. `change` changes the bytes of one section without knowing what they are.
pub fn mutate(input: &mut Input, seed: u32, change: impl FnOnce(&mut Vec<u8>)) {
    let mut random = Random(seed.into());
    let at = random.below(SECTIONS);

    match random.below(8) {
        0..=2 => change(&mut input.0[at]),
        3 | 4 => put_number(input, &mut random),
        5 => copy_cells(input, &mut random),
        6 => swap_entries(input, &mut random),
        _ => {
            // A tree in place of the other one.
            let from = [Section::TreeA, Section::TreeB][random.below(2)];
            let to = [Section::TreeA, Section::TreeB][random.below(2)];
            *input.section_mut(to) = input.section(from).to_vec();
        }
    }
    // A list with the wrong checksum is not looked at.
    if random.below(8) > 0 {
        fix_checksums(input);
    }
}

/// Replaces one number of a section by another one that may mean something.
fn put_number(input: &mut Input, random: &mut Random) {
    let section = &mut input.0[random.below(SECTIONS)];
    let size = [1, 4, 4, 8, 8][random.below(5)];
    let cells = section.len() / size;
    if cells == 0 {
        return;
    }
    // Numbers in lists are at multiples of their size, in trees at multiples of four.
    let at = (random.below(cells) * size).min(section.len() - size);
    let bytes = &mut section[at..at + size];
    let old = bytes.iter().fold(0, |n, b| n << 8 | u64::from(*b));
    let new = match random.below(8) {
        0 => 0,
        1 => old.wrapping_add(1),
        2 => old.wrapping_sub(1),
        3 => old ^ 1 << random.below(8 * size),
        4 => old.wrapping_add(0x1000),
        5 => TABLES[random.below(TABLES.len())],
        6 => PAGES + 0x1000 * random.below(PAGE_COUNT as usize) as u64,
        _ => u64::MAX >> random.below(64),
    };

    bytes.copy_from_slice(&new.to_be_bytes()[8 - size..]);
}

/// Copies some cells from anywhere to anywhere.
fn copy_cells(input: &mut Input, random: &mut Random) {
    let from = input.0[random.below(SECTIONS)].clone();
    let to = &mut input.0[random.below(SECTIONS)];
    let size = [4, 8, 16, 18, 64][random.below(5)];
    if from.len() < size || to.len() < size {
        return;
    }
    let source = random.below((from.len() - size) / 4 + 1) * 4;
    let target = random.below((to.len() - size) / 4 + 1) * 4;

    to[target..target + size].copy_from_slice(&from[source..source + size]);
}

/// Exchanges, repeats or removes entries of tables.
fn swap_entries(input: &mut Input, random: &mut Random) {
    let section = input.section_mut(Section::Entries);
    let count = section.len() / ENTRY_SIZE;
    if count == 0 {
        return;
    }
    let mut entries: Vec<_> = section
        .chunks_exact(ENTRY_SIZE)
        .map(<[u8]>::to_vec)
        .collect();
    let (a, b) = (random.below(count), random.below(count));

    match random.below(4) {
        0 => entries.swap(a, b),
        1 => entries.push(entries[a].clone()),
        2 => drop(entries.remove(a)),
        _ => {
            let entry = entries[b].clone();
            entries[a][2..].copy_from_slice(&entry[2..]);
        }
    }
    *section = entries.concat();
}

/// Writes the checksum of each list wherever the address of the list is.
fn fix_checksums(input: &mut Input) {
    for list in [Section::ListA, Section::ListB] {
        let content = input.section(list).to_vec();
        let address = block(list).to_be_bytes();

        for tree in [Section::Index, Section::TreeA, Section::TreeB] {
            let tree = input.section_mut(tree);
            let places: Vec<_> = (0..tree.len().saturating_sub(31))
                .step_by(4)
                .filter(|at| tree[*at..].starts_with(&address))
                .collect();

            for at in places {
                let entries = (content.len() / 8) as u64;
                let checksum = xxh64(&content[..content.len() / 8 * 8], 0);
                tree[at + 16..at + 24].copy_from_slice(&entries.to_be_bytes());
                tree[at + 24..at + 32].copy_from_slice(&checksum.to_be_bytes());
            }
        }
    }
}
