// SPDX-License-Identifier: GPL-2.0

//! Whatever is in page tables: each step of a walk ends and gets ahead, also if tables lead to each
//! other in circles.

#![no_main]

use libfuzzer_sys::fuzz_target;
use liveupdate_state::{
    extents::Extents,
    page_table::{
        PageTable,
        Table,
        Tables, //
    },
    second_stage::SecondStage,
    verify::{
        Comparison,
        Difference,
        Progress, //
    }, //
};
use std::collections::BTreeMap;

/// How far a walk is followed. In circles, there is no end.
const BUDGET: usize = 5000;

/// Memory whose first pages can be tables.
struct Memory(BTreeMap<(u64, u16), u64>);

impl Tables for Memory {
    type Table<'a> = Page<'a>;

    fn table(&self, address: u64) -> Option<Page<'_>> {
        (address < 0x8000).then_some(Page(self, address))
    }
}

/// The page at an address.
#[derive(Clone, Copy)]
struct Page<'a>(&'a Memory, u64);

impl Table for Page<'_> {
    fn entry(&self, index: u16) -> Option<u64> {
        let Self(Memory(entries), page) = self;

        (index < 512).then(|| entries.get(&(*page, index)).copied().unwrap_or(0))
    }
}

fn table(byte: u8) -> Option<PageTable<SecondStage>> {
    let level = 2 + u32::from(byte) % 3;
    let top = 0x1000 * u64::from(1 + byte / 128);

    PageTable::new(
        top,
        level,
        12 + 9 * (level + 1) - u32::from(byte / 16 % 8),
        SecondStage::new(46),
    )
}

fuzz_target!(|data: &[u8]| {
    // The two tables, whether the second one may have more, and entries: page, index, content.
    let Some(([first, second, extra], entries)) = data.split_first_chunk::<3>() else {
        return;
    };
    let (Some(first), Some(second)) = (table(*first), table(*second)) else {
        return;
    };
    let entries = entries.chunks_exact(11).map(|e| {
        let index = u16::from_le_bytes([e[1], e[2]]) % 512;
        let content = e[3..].iter().rev().fold(0, |n, b| n << 8 | u64::from(*b));

        ((0x1000 * u64::from(e[0] % 8), index), content)
    });
    let memory = Memory(entries.collect());

    // Without gaps, ascending, and with nothing mapped that has no rights.
    let mut iova = 0;
    for extent in Extents::new(&memory, first).take(BUDGET) {
        let Ok(extent) = extent else {
            break;
        };
        assert_eq!(extent.iova, iova);
        assert!(extent.end > iova && extent.end <= first.end());
        assert!(extent
            .mapping
            .is_none_or(|m| m.rights.any() && m.address < 1 << 46));
        iova = extent.end;
    }

    // Nothing differs from itself; what is said to differ is translated.
    let same = Comparison::new(&memory, first, first, false).step(BUDGET);
    assert!(!matches!(same, Ok(Progress::Different(_))));
    let compared = Comparison::new(&memory, first, second, extra & 1 != 0).step(BUDGET);
    if let Ok(Progress::Different(Difference { iova, .. })) = compared {
        assert!(iova < first.end().max(second.end()) && iova % 4096 == 0);
    }
});
