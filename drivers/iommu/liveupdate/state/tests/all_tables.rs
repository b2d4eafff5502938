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

/// The run list of single pages.
fn run_list(pages: impl Iterator<Item = u64>) -> Vec<u8> {
    pages
        .flat_map(|page| [page.to_be_bytes(), [0; 8]].concat())
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
    let check = |memory: &Memory, pages: &[u64]| {
        let list = run_list(pages.iter().copied());
        let runs = RunList::new(&list, pages.len() as u64).unwrap();
        let mut pauses = 0;
        let complete = are_all_tables(memory, &top.page_table(), &runs, || pauses += 1);
        assert!(pauses <= pages.len());
        complete
    };

    assert!(check(&memory, &pages));
    // One that is missing, and one too many.
    for without in 0..pages.len() {
        let mut pages = pages.clone();
        pages.remove(without);
        assert!(!check(&memory, &pages));
    }
    let mut more = pages.clone();
    more.push(0x20_0000_0000);
    assert!(!check(&memory, &more));

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
