// SPDX-License-Identifier: GPL-2.0

//! Whether a run list names all tables of a domain, and nothing else.

mod second_stage_tables;

use liveupdate_state::{
    runs::are_all_tables,
    RunList, //
};
use second_stage_tables::{
    Memory,
    ADDRESS,
    PAGE,
    READ, //
};

/// The run list of runs of `pages` pages each, in a group of its own.
fn run_list(runs: &[u64], pages: u64) -> Vec<u8> {
    let header = [runs.len() as u64, 0];
    let runs = runs.iter().map(|run| run | (pages - 1));

    header
        .into_iter()
        .chain(runs)
        .flat_map(u64::to_be_bytes)
        .collect()
}

#[test]
fn a_run_list_is_complete() {
    let mut memory = Memory::default();
    let top = memory.add_top(3, 48);
    for iova in [0, 0x20_0000, 0x4000_0000, 0x80_0000_0000] {
        *memory.entry_mut(top, iova, 0) = 0x1000 | READ;
    }
    *memory.entry_mut(top, 0x20_0000_0000, 1) = 0x20_0000 | READ | PAGE;
    let pages: Vec<u64> = memory.pages.keys().copied().collect();
    let check_runs = |memory: &Memory, runs: &[u64], pages: u64, count: usize| {
        let list = run_list(runs, pages);
        let list = RunList::new(&list, list.len() as u64 / 8).unwrap();
        let group = list.groups().next().unwrap();
        let mut pauses = 0;
        let mut check = |words| {
            let mut memory_of_check = vec![u64::MAX; words];
            let table = top.page_table();
            are_all_tables(
                memory,
                &table,
                &group,
                count as u64,
                &mut memory_of_check,
                || {
                    pauses += 1;
                },
            )
        };
        let words = group.words().unwrap();
        let complete = check(words);
        assert!(!check(words - 1));
        assert!(pauses <= memory.pages.len());
        complete
    };
    let check = |memory: &Memory, pages: &[u64]| check_runs(memory, pages, 1, pages.len());

    assert!(check(&memory, &pages));
    // Pages between them that are no tables.
    assert!(check_runs(&memory, &pages, 3, pages.len()));
    // One that is missing, and one too many.
    for without in 0..pages.len() {
        let mut pages = pages.clone();
        pages.remove(without);
        assert!(!check(&memory, &pages));
    }
    let mut more = pages.clone();
    more.push(0x20_0000_0000);
    assert!(!check(&memory, &more));
    assert!(check_runs(&memory, &more, 1, pages.len()));
    assert!(!check_runs(&memory, &pages, 3, pages.len() + 1));
    assert!(!check_runs(&memory, &pages, 3, pages.len() - 1));

    // Whatever leads to a table for the second time, to none, or nowhere.
    for &table in &pages {
        for entry in [
            top.table | READ,
            table | READ,
            0x7000 | READ,
            ADDRESS | READ,
        ] {
            let mut damaged = memory.clone();
            damaged.pages.get_mut(&table).unwrap()[511] = entry;
            let level_0 = memory.pages[&table].contains(&(0x1000 | READ));
            assert_eq!(check(&damaged, &pages), level_0, "{table:#x} {entry:#x}");
        }
    }
}

/// As many tables as there should be, but one of them twice and another one not at all.
#[test]
fn each_table_is_found_once() {
    let mut memory = Memory::default();
    let top = memory.add_top(3, 48);
    for iova in [0, 0x20_0000] {
        *memory.entry_mut(top, iova, 0) = 0x1000 | READ;
    }
    let pages: Vec<u64> = memory.pages.keys().copied().collect();
    let list = run_list(&pages, 1);
    let list = RunList::new(&list, list.len() as u64 / 8).unwrap();
    let group = list.groups().next().unwrap();
    let check = |memory: &Memory| {
        let mut words = vec![0; group.words().unwrap()];
        let count = pages.len() as u64;
        are_all_tables(memory, &top.page_table(), &group, count, &mut words, || {})
    };

    assert!(check(&memory));
    let first = *memory.entry_mut(top, 0, 1);
    *memory.entry_mut(top, 0x20_0000, 1) = first;
    assert!(!check(&memory));
}
