// SPDX-License-Identifier: GPL-2.0

//! Entries of second-stage tables against constants from the specification.

mod sample;

use liveupdate_state::{
    page_table::{
        Entry,
        Format,
        Rights, //
    },
    second_stage::{
        self,
        SecondStage, //
    },
    Domain, //
};
use sample::Sample;

const READ_ONLY: Rights = Rights {
    read: true,
    write: false,
    snoop: false,
};
const WRITE_ONLY: Rights = Rights {
    read: false,
    write: true,
    snoop: false,
};
const READ_WRITE: Rights = Rights {
    read: true,
    ..WRITE_ONLY
};

fn snooping(rights: Rights) -> Rights {
    Rights {
        snoop: true,
        ..rights
    }
}

fn leaf(address: u64, rights: Rights) -> Entry {
    Entry::Leaf { address, rights }
}

fn table(address: u64, rights: Rights) -> Entry {
    Entry::Table { address, rights }
}

/// Section 9.8: R is bit 0, W bit 1, PS bit 7, SNP bit 11, ADDR bits (HAW-1):12.
#[test]
fn entries() {
    let format = SecondStage::new(46);
    let malformed = Entry::Malformed;

    for (raw, levels) in [
        (0, [Entry::NotPresent; 5]),
        (0x1_2345_6ffc, [Entry::NotPresent; 5]),
        (
            0x1_2345_6003,
            [
                leaf(0x1_2345_6000, READ_WRITE),
                table(0x1_2345_6000, READ_WRITE),
                table(0x1_2345_6000, READ_WRITE),
                table(0x1_2345_6000, READ_WRITE),
                table(0x1_2345_6000, READ_WRITE),
            ],
        ),
        // Pages of 4 KiB, 2 MiB and 1 GiB, and nothing larger. Where PS means nothing, it is
        // ignored.
        (
            0x1_4000_0881,
            [
                leaf(0x1_4000_0000, snooping(READ_ONLY)),
                leaf(0x1_4000_0000, snooping(READ_ONLY)),
                leaf(0x1_4000_0000, snooping(READ_ONLY)),
                malformed,
                malformed,
            ],
        ),
        (
            0x80_0000_0083,
            [
                leaf(0x80_0000_0000, READ_WRITE),
                leaf(0x80_0000_0000, READ_WRITE),
                leaf(0x80_0000_0000, READ_WRITE),
                malformed,
                malformed,
            ],
        ),
        (
            0x1_4020_0082,
            [
                leaf(0x1_4020_0000, WRITE_ONLY),
                leaf(0x1_4020_0000, WRITE_ONLY),
                malformed,
                malformed,
                malformed,
            ],
        ),
        (
            0x1_4000_1083,
            [
                leaf(0x1_4000_1000, READ_WRITE),
                malformed,
                malformed,
                malformed,
                malformed,
            ],
        ),
        // The highest page, and the first one above it.
        (
            0x3fff_ffff_f001,
            [
                leaf(0x3fff_ffff_f000, READ_ONLY),
                table(0x3fff_ffff_f000, READ_ONLY),
                table(0x3fff_ffff_f000, READ_ONLY),
                table(0x3fff_ffff_f000, READ_ONLY),
                table(0x3fff_ffff_f000, READ_ONLY),
            ],
        ),
        (0x4000_0000_0001, [malformed; 5]),
        (0x4000_0000_0081, [malformed; 5]),
        // That is no matter if nothing is there.
        (0x4000_0000_0000, [Entry::NotPresent; 5]),
    ] {
        for (level, expected) in (0..).zip(levels) {
            assert_eq!(format.decode(level, raw), expected, "{level} {raw:x}");
        }
    }
}

/// A single bit changes what the specification says, and nothing else does.
#[test]
fn single_bits() {
    let format = SecondStage::new(46);
    // Where a bit decides about the memory type, who accessed the page or whatever software likes.
    let ignored = |bit| !matches!(bit, 0 | 1 | 7 | 11 | 12..=51);

    for level in 0..5 {
        let raw = 0x1_4000_0003;
        let base = format.decode(level, raw);

        for bit in 0..64 {
            let changed = format.decode(level, raw ^ 1 << bit);
            // Bit 7 of the last level is one of the others.
            let ignored = ignored(bit) || (level == 0 && bit == 7);
            assert_eq!(changed == base, ignored, "{level} {bit}");
            assert_eq!(
                changed == Entry::Malformed,
                match bit {
                    46..=51 => true,
                    7 => level > 2,
                    _ => false,
                },
                "{level} {bit}"
            );
        }
    }
}

#[test]
fn output_bits() {
    for (bits, malformed) in [
        (31, true),
        (32, true),
        (33, false),
        (52, false),
        (64, false),
    ] {
        let entry = SecondStage::new(bits).decode(0, 0x1_0000_0001);
        assert_eq!(entry == Entry::Malformed, malformed, "{bits}");
    }
    // Bits that no address has are those of software.
    let entry = SecondStage::new(52).decode(0, 0xffff_ffff_ffff_f001);
    assert_eq!(entry, leaf(0x000f_ffff_ffff_f000, READ_ONLY));
}

#[test]
fn page_tables_of_records() {
    let domain = Domain {
        top_table: 0x1_2345_6000,
        top_level: 3,
        input_bits: 42,
        output_bits: 40,
        ..Sample::example().domains[0]
    };
    let found = second_stage::page_table(&domain).unwrap();

    assert_eq!(found.top(), 0x1_2345_6000);
    assert_eq!(found.top_level(), 3);
    assert_eq!(found.end(), 1 << 42);
    assert_eq!(*found.format(), SecondStage::new(40));

    let damaged = Domain {
        input_bits: 49,
        ..domain
    };
    assert_eq!(second_stage::page_table(&damaged), None);
}
