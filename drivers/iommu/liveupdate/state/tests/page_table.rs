// SPDX-License-Identifier: GPL-2.0

//! Which page tables there can be.

use liveupdate_state::{
    page_table::PageTable,
    second_stage::SecondStage, //
};

fn end(top: u64, top_level: u32, input_bits: u32) -> Option<u64> {
    PageTable::new(top, top_level, input_bits, SecondStage::new(52)).map(|table| table.end())
}

#[test]
fn widths() {
    for (level, reach) in [(0, 21), (1, 30), (2, 39), (3, 48), (4, 57)] {
        for bits in 0..100 {
            let end = end(0x1000, level, bits);
            assert_eq!(
                end.is_some(),
                (12..=reach).contains(&bits),
                "{level} {bits}"
            );
            assert!(end.is_none_or(|end| end == 1 << bits));
        }
    }
    for level in [5, 6, 7, 255, u32::MAX - 1, u32::MAX] {
        for bits in [12, 57, 66, u32::MAX] {
            assert_eq!(end(0x1000, level, bits), None);
        }
    }
}

#[test]
fn addresses() {
    for (top, valid) in [
        (0, false),
        (0x800, false),
        (0x1001, false),
        (0x1000, true),
        (0xf_ffff_ffff_f000, true),
        (0x10_0000_0000_0000, false),
        (!0xfff, false),
    ] {
        assert_eq!(end(top, 2, 39).is_some(), valid, "{top:x}");
    }
}
