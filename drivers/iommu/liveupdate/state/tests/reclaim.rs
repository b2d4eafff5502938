// SPDX-License-Identifier: GPL-2.0

//! Who owns the pages of tables: each is claimed once, read only while it is owned, and released
//! after those below it.

mod second_stage_tables;

use std::{
    cell::RefCell,
    collections::BTreeSet, //
};

use liveupdate_state::{
    page_table::Tables,
    reclaim::{
        Owner,
        Reclaim,
        Reclaimed, //
    }, //
};
use proptest::{
    collection::vec,
    prelude::*,
    sample::Index, //
};
use second_stage_tables::*;

/// What happened to the pages of tables so far.
#[derive(Debug, Default)]
struct Ledger {
    /// Those that can be claimed.
    preserved: BTreeSet<u64>,
    /// Those that were claimed, in order.
    claimed: Vec<u64>,
    /// Those of them that were not released, in order.
    held: Vec<u64>,
    refused: u64,
}

/// Claims and releases according to the ledger.
struct Clerk<'a>(&'a RefCell<Ledger>);

impl Owner for Clerk<'_> {
    fn claim(&mut self, table: u64) -> bool {
        let mut ledger = self.0.borrow_mut();
        let free = ledger.preserved.remove(&table);

        if free {
            ledger.claimed.push(table);
            ledger.held.push(table);
        } else {
            ledger.refused += 1;
        }
        free
    }

    fn release(&mut self, table: u64) {
        // The last one is below all others.
        assert_eq!(self.0.borrow_mut().held.pop(), Some(table));
    }
}

/// Memory of which nothing is read without being owned.
struct Owned<'a> {
    memory: &'a Memory,
    ledger: &'a RefCell<Ledger>,
}

impl Tables for Owned<'_> {
    fn entry(&self, table: u64, index: u16) -> Option<u64> {
        assert!(self.ledger.borrow().held.contains(&table), "{table:x}");
        self.memory.entry(table, index)
    }
}

/// Reclaims what can be claimed; returns what was.
fn reclaim_some(
    memory: &Memory,
    top: Top,
    preserved: BTreeSet<u64>,
    budget: usize,
) -> (Vec<u64>, u64) {
    let ledger = RefCell::new(Ledger {
        preserved,
        ..Ledger::default()
    });
    let owned = Owned {
        memory,
        ledger: &ledger,
    };
    let mut owner = Clerk(&ledger);
    let mut walk = Reclaim::new(&owned, top.page_table(), &mut owner);
    let mut steps = 0;
    memory.reads.take();

    let result = loop {
        let result = walk.step(budget);

        steps += 1;
        assert!(memory.reads.borrow().len() <= steps * budget);
        if let Some(result) = result {
            break result;
        }
    };
    assert_eq!(walk.step(budget), Some(result), "it is finished");

    let ledger = ledger.into_inner();
    assert_eq!(ledger.held, []);
    assert_eq!(
        result,
        Reclaimed {
            claimed: ledger.claimed.len() as u64,
            refused: ledger.refused
        }
    );
    (ledger.claimed, ledger.refused)
}

fn all(memory: &Memory) -> BTreeSet<u64> {
    memory.pages.keys().copied().collect()
}

fn reclaim(memory: &Memory, top: Top) -> (Vec<u64>, u64) {
    reclaim_some(memory, top, all(memory), 1000)
}

/// A table of each level, 4 to 0, and each a second time.
fn example() -> (Memory, Top, Vec<u64>) {
    let mut memory = Memory::default();
    let top = memory.add_top(4, 57);
    let mut tables = vec![top.table];

    for iova in [0x1000, 7 << 48] {
        memory.map(top, iova, 0, 0x1234_5000, READ);
        for level in (1..=4).rev() {
            tables.push(*memory.entry_mut(top, iova, level) & ADDRESS);
        }
    }
    // Pages are none of the tables, whatever their address.
    memory.map(top, GIB_1, 2, 0, READ);
    memory.map(top, 5 * MIB_2, 1, 0, READ | WRITE);
    memory.map(top, 0x3000, 0, top.table, READ | WRITE);
    (memory, top, tables)
}

#[test]
fn every_table() {
    let (memory, top, tables) = example();

    assert_eq!(tables.len(), 9);
    assert_eq!(reclaim(&memory, top), (tables.clone(), 0));
    for budget in [1, 2, 511, 512, 513, 100_000] {
        let result = reclaim_some(&memory, top, all(&memory), budget);
        assert_eq!(result, (tables.clone(), 0), "{budget}");
    }
    // Tables of level 0 lead to no others, so they are not read.
    assert_eq!(memory.reads.take().len(), 7 * 512);
}

/// A budget of nothing does nothing.
#[test]
fn nothing_to_spend() {
    let (memory, top, _) = example();
    let ledger = RefCell::new(Ledger {
        preserved: all(&memory),
        ..Ledger::default()
    });
    let mut owner = Clerk(&ledger);
    let mut walk = Reclaim::new(&memory, top.page_table(), &mut owner);

    assert_eq!(walk.step(0), None);
    assert_eq!(memory.reads.take(), []);
    assert_eq!(ledger.borrow().held, [top.table]);
}

/// What is refused is left alone, with all below it.
#[test]
fn refused() {
    let (memory, top, tables) = example();

    for (missing, claimed) in [
        // The top table.
        (0, &[][..]),
        (1, &[0, 5, 6, 7, 8]),
        (3, &[0, 1, 2, 5, 6, 7, 8]),
        (8, &[0, 1, 2, 3, 4, 5, 6, 7]),
    ] {
        let mut preserved = all(&memory);
        preserved.remove(&tables[missing]);

        let claimed = claimed.iter().map(|i| tables[*i]).collect();
        let result = reclaim_some(&memory, top, preserved, 10);
        assert_eq!(result, (claimed, 1));
    }
}

#[test]
fn circles() {
    // The second half leads back to the top table, from every level.
    for level in 1..=4 {
        let (mut memory, top, tables) = example();
        *memory.entry_mut(top, 7 << 48, level) = top.table | READ;

        let left = tables.len() - level as usize;
        assert_eq!(reclaim(&memory, top), (tables[..left].to_vec(), 1));
    }

    // Every entry of every table leads to every table.
    let mut memory = Memory::default();
    let top = memory.add_top(4, 57);
    for _ in 1..4 {
        memory.add_table();
    }
    let tables: Vec<_> = memory.pages.keys().copied().collect();
    for page in memory.pages.values_mut() {
        for (entry, table) in page.iter_mut().zip(tables.iter().cycle()) {
            *entry = table | READ | WRITE;
        }
    }
    // On the way down, each is claimed by the one above it.
    assert_eq!(reclaim(&memory, top), (tables, 4 * 512 - 3));
}

/// A table with two parents is claimed by the first one, and is complete for it.
#[test]
fn shared() {
    let (mut memory, top, tables) = example();
    *memory.entry_mut(top, 3 << 48, 4) = tables[1] | READ | WRITE;

    assert_eq!(reclaim(&memory, top), (tables, 1));
}

#[test]
fn damage_is_passed_over() {
    type Edit = fn(u64) -> u64;

    for (level, edit, left) in [
        // No rights.
        (4, (|raw| raw & ADDRESS) as Edit, 5),
        (3, |raw| raw & ADDRESS | SNOOP, 6),
        // A page of a size that does not exist, and one that is not aligned.
        (4, |raw| raw | PAGE, 5),
        (1, |raw| raw | PAGE, 8),
        // More address bits than there are.
        (2, |raw| raw | 1 << 50, 7),
    ] {
        let (mut memory, top, tables) = example();
        let entry = memory.entry_mut(top, 7 << 48, level);
        *entry = edit(*entry);
        assert_eq!(reclaim(&memory, top), (tables[..left].to_vec(), 0));
    }

    // Rights do not matter, as long as there are some.
    let (mut memory, top, tables) = example();
    for level in 1..=4 {
        let entry = memory.entry_mut(top, 0x1000, level);
        *entry = *entry & ADDRESS | [READ, WRITE][level as usize % 2];
    }
    assert_eq!(reclaim(&memory, top), (tables, 0));

    // A page that can be claimed, but not read.
    let (mut memory, top, tables) = example();
    let preserved = all(&memory);
    memory.pages.remove(&tables[2]);
    let result = reclaim_some(&memory, top, preserved, 1000);
    let claimed = [&tables[..3], &tables[5..]].concat();
    assert_eq!(result, (claimed, 0));
}

/// Claims what hardware can reach from `table`, by recursion.
fn naive(
    memory: &Memory,
    preserved: &mut BTreeSet<u64>,
    table: u64,
    level: u32,
    claimed: &mut Vec<u64>,
) -> u64 {
    if !preserved.remove(&table) {
        return 1;
    }
    claimed.push(table);
    if level == 0 {
        return 0;
    }
    let entries = memory.pages.get(&table);

    entries
        .into_iter()
        .flatten()
        .filter(|raw| *raw & (READ | WRITE) != 0 && *raw & PAGE == 0)
        .filter(|raw| *raw & ADDRESS < 1 << 46)
        .map(|raw| naive(memory, preserved, raw & ADDRESS, level - 1, claimed))
        .sum()
}

proptest! {
    /// Also if entries are damaged, or lead to tables that are elsewhere in use.
    #[test]
    fn reclaim_agrees_with_a_model(
        (level, input_bits) in shape(),
        changes in changes(),
        flips in vec((any::<Index>(), any::<Index>(), 0..64u32), 0..6),
        links in vec(any::<[Index; 3]>(), 0..6),
        lost in vec(any::<Index>(), 0..3),
        budget in 1..3000usize,
    ) {
        let mut memory = Memory::default();
        let top = memory.add_top(level, input_bits);
        for change in &changes {
            memory.apply(top, change, true);
        }
        let tables: Vec<_> = all(&memory).into_iter().collect();
        for (table, entry, bit) in flips {
            let page = memory.pages.get_mut(table.get(&tables)).unwrap();
            let used: Vec<_> = (0..512).filter(|i| page[*i] != 0 || i % 64 == 0).collect();
            page[*entry.get(&used)] ^= 1 << bit;
        }
        for [from, entry, to] in links {
            let page = memory.pages.get_mut(from.get(&tables)).unwrap();
            page[entry.index(512)] = to.get(&tables) | READ | WRITE;
        }
        let mut preserved = all(&memory);
        for index in lost {
            preserved.remove(index.get(&tables));
        }

        let mut claimed = Vec::new();
        let refused = naive(&memory, &mut preserved.clone(), top.table, level, &mut claimed);
        prop_assert_eq!(reclaim_some(&memory, top, preserved, budget), (claimed, refused));
    }
}
