// SPDX-License-Identifier: GPL-2.0

//! What page tables translate, against a map of single pages.

mod second_stage_tables;

use std::collections::BTreeMap;

use liveupdate_state::{
    extents::{
        Extent,
        Extents,
        Mapping, //
    },
    page_table::{
        Error,
        Rights, //
    }, //
};
use proptest::prelude::*;
use second_stage_tables::*;

fn extents(memory: &Memory, top: Top) -> Vec<Extent> {
    Extents::new(memory, top.page_table())
        .collect::<Result<_, _>>()
        .unwrap()
}

fn mapped(memory: &Memory, top: Top) -> Vec<Extent> {
    let mut extents = extents(memory, top);

    extents.retain(|extent| extent.mapping.is_some());
    extents
}

fn rights(bits: u64) -> Rights {
    Rights {
        read: bits & READ != 0,
        write: bits & WRITE != 0,
        snoop: bits & SNOOP != 0,
    }
}

fn extent(iova: u64, end: u64, address: u64, bits: u64) -> Extent {
    Extent {
        iova,
        end,
        mapping: Some(Mapping {
            address,
            rights: rights(bits),
        }),
    }
}

#[test]
fn empty() {
    let mut memory = Memory::default();
    let top = memory.add_top(3, 48);
    let hole = |end| Extent {
        iova: 0,
        end,
        mapping: None,
    };

    // One for all entries of the top table.
    assert_eq!(extents(&memory, top), [hole(1 << 48)]);

    // Entries beyond the input address are not looked at.
    let top = Top {
        input_bits: 40,
        ..top
    };
    *memory.entry_mut(top, 1 << 40, 3) = 1;
    memory.reads.take();
    assert_eq!(extents(&memory, top), [hole(1 << 40)]);
    assert!(!memory.reads.take().contains(&(top.table, 2)));
}

/// A hole ends where the next entry, or the next table, has something to say.
#[test]
fn holes() {
    let mut memory = Memory::default();
    let top = memory.add_top(3, 48);
    memory.map(top, 0x7000, 0, 0x1234_5000, READ);
    let ends: Vec<_> = extents(&memory, top).iter().map(|e| e.end).collect();

    assert_eq!(ends, [0x7000, 0x8000, MIB_2, GIB_1, 1 << 39, 1 << 48]);
}

#[test]
fn sizes() {
    let mut memory = Memory::default();
    let top = memory.add_top(3, 48);

    memory.map(top, GIB_1, 2, 5 * GIB_1, READ | WRITE);
    memory.map(top, 3 * MIB_2, 1, 0, READ);
    memory.map(top, 0x7000, 0, 0x1234_5000, WRITE | SNOOP);
    assert_eq!(
        mapped(&memory, top),
        [
            extent(0x7000, 0x8000, 0x1234_5000, WRITE | SNOOP),
            extent(3 * MIB_2, 4 * MIB_2, 0, READ),
            extent(GIB_1, 2 * GIB_1, 5 * GIB_1, READ | WRITE),
        ]
    );
}

/// No extent goes beyond the input address, whatever its entry covers.
#[test]
fn entries_that_cover_more() {
    let mut memory = Memory::default();
    let top = memory.add_top(2, 29);
    let extent = extent(0, 1 << 29, 5 * GIB_1, READ);

    assert_eq!(extents(&memory, top).len(), 1);
    memory.map(top, 0, 2, 5 * GIB_1, READ);
    assert_eq!(extents(&memory, top), [extent]);
}

/// The whole way has to allow an access, but snooping is up to the last entry.
#[test]
fn rights_of_tables() {
    let all = READ | WRITE;

    for level in 1..=3 {
        for (table, page, left) in [
            (READ, all, READ),
            (WRITE, all | SNOOP, WRITE | SNOOP),
            (all | SNOOP, all, all),
            (READ, WRITE, 0),
            (READ | SNOOP, WRITE | SNOOP, 0),
        ] {
            let mut memory = Memory::default();
            let top = memory.add_top(3, 48);
            memory.map(top, 0x7000, 0, 0x1234_5000, page);
            let entry = memory.entry_mut(top, 0x7000, level);
            *entry = *entry & ADDRESS | table;

            let expected = extent(0x7000, 0x8000, 0x1234_5000, left);
            let expected = if left != 0 { vec![expected] } else { vec![] };
            assert_eq!(mapped(&memory, top), expected, "{level} {table} {page}");
        }
    }
}

#[test]
fn errors_are_the_end() {
    let mut memory = Memory::default();
    let top = memory.add_top(3, 48);
    memory.map(top, 0x7000, 0, 0x1234_5000, READ);
    let page = extent(0x7000, 0x8000, 0x1234_5000, READ);
    let directory = *memory.entry_mut(top, 0, 2) & ADDRESS;

    for (content, error) in [
        (0x7_7000 | READ, Error::Unreadable { table: 0x7_7000 }),
        // 2 MiB at an odd address.
        (
            0x7_7000 | READ | PAGE,
            Error::Malformed {
                table: directory,
                index: 1,
            },
        ),
    ] {
        *memory.entry_mut(top, MIB_2, 1) = content;
        let mut extents = Extents::new(&memory, top.page_table());
        let before: Vec<_> = extents.by_ref().take(3).map(Result::unwrap).collect();

        assert_eq!(before[1], page);
        assert_eq!(extents.next(), Some(Err(error)));
        assert_eq!(extents.next(), None);
        assert!(!error.to_string().is_empty());
    }
}

/// A table that leads to itself is a table of every level.
#[test]
fn circle() {
    let mut memory = Memory::default();
    let top = memory.add_top(3, 48);
    memory.pages.get_mut(&top.table).unwrap()[2] = top.table | READ;

    // All four indexes are 2.
    let iova = 0x100_8040_2000;
    assert_eq!(
        mapped(&memory, top),
        [extent(iova, iova + KIB_4, top.table, READ)]
    );
}

proptest! {
    #[test]
    fn extents_agree_with_a_model(
        (level, input_bits) in shape(),
        changes in changes(),
        large_pages in any::<u64>(),
    ) {
        let mut memory = Memory::default();
        let mut model = Model::new();
        let top = memory.add_top(level, input_bits);
        for (bit, change) in changes.iter().enumerate() {
            memory.apply(top, change, large_pages >> bit & 1 != 0);
            apply(&mut model, change, input_bits);
        }

        let mut found = Model::new();
        let mut next = 0;
        for extent in extents(&memory, top) {
            prop_assert_eq!(extent.iova, next);
            next = extent.end;
            let Some(Mapping { address, rights }) = extent.mapping else {
                continue;
            };
            let bits = u64::from(rights.read) * READ
                + u64::from(rights.write) * WRITE
                + u64::from(rights.snoop) * SNOOP;
            for offset in (0..extent.end - extent.iova).step_by(KIB_4 as usize) {
                found.insert(extent.iova + offset, (address + offset, bits));
            }
        }
        prop_assert_eq!(next, 1 << input_bits);
        prop_assert!(found == model);

        // No entry is read more than twice: where a hole ends, and where the next extent begins.
        let mut reads = BTreeMap::new();
        for read in memory.reads.take() {
            *reads.entry(read).or_insert(0) += 1;
        }
        prop_assert!(reads.values().all(|count| *count <= 2));
    }
}
