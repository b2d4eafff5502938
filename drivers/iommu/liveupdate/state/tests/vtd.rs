// SPDX-License-Identifier: GPL-2.0

//! The tables of VT-d legacy mode: entries against constants from the specification, decisions
//! against a model that compares whole tables in memory.

mod hardware_tables;
mod sample;

use std::collections::{
    BTreeMap,
    BTreeSet, //
};

use hardware_tables::*;
use liveupdate_state::{
    vtd::{
        self,
        Capability,
        ContextEntry,
        RootEntry,
        Scrubbed, //
    },
    Domain,
    Tree, //
};
use proptest::{
    collection::{
        btree_map,
        btree_set, //
    },
    prelude::*, //
};
use sample::Sample;

fn domain(top_table: u64, top_level: u32) -> Domain {
    Domain {
        top_table,
        top_level,
        ..Sample::example().domains[0]
    }
}

/// Section 11.4.2, Capability Register: ND is bits 2:0, SAGAW bits 12:8, MGAW bits 21:16, SSLPS bits
/// 37:34.
#[test]
fn capabilities() {
    for (nd, domain_ids) in [
        (0, 16),
        (1, 64),
        (2, 256),
        (3, 1024),
        (4, 4096),
        (5, 16384),
        (6, 65536),
    ] {
        assert_eq!(Capability::new(!7 | nd).domain_ids(), domain_ids);
        assert_eq!(Capability::new(nd).domain_ids(), domain_ids);
    }
    // 39, 48 and 57 bits with three, four and five levels.
    for (level, bit) in [(2, 9), (3, 10), (4, 11)] {
        assert!(Capability::new(1 << bit).has_level(level));
        assert!(!Capability::new(!(1 << bit)).has_level(level));
    }
    for level in [0, 1, 6, 31, 32, u32::MAX] {
        assert!(!Capability::new(!(1 << 8)).has_level(level), "{level}");
    }
    for (mgaw, bits) in [(0, 1), (38, 39), (47, 48), (56, 57), (63, 64)] {
        assert_eq!(Capability::new(mgaw << 16).input_bits(), bits);
        assert_eq!(Capability::new(!(63 << 16) | mgaw << 16).input_bits(), bits);
    }
    for (sslps, sizes) in [
        (0b0000, 0x1000),
        (0b0001, 0x20_1000),
        (0b0010, 0x4000_1000),
        (0b0011, 0x4020_1000),
        // Reserved.
        (0b1100, 0x1000),
    ] {
        assert_eq!(Capability::new(sslps << 34).page_sizes(), sizes);
        assert_eq!(
            Capability::new(!(15 << 34) | sslps << 34).page_sizes(),
            sizes
        );
    }
}

/// Section 9.1, Root Entry: P is bit 0, CTP bits 63:12, all others are reserved.
#[test]
fn root_entries() {
    for (raw, context_table) in [
        ([0, 0], None),
        ([0x1_2345_6000, 0], None),
        ([!1, !0], None),
        ([0x1_2345_6001, 0], Some(0x1_2345_6000)),
        ([0x1_2345_6fff, !0], Some(0x1_2345_6000)),
        ([1, 0], Some(0)),
    ] {
        assert_eq!(
            RootEntry::new(raw).context_table(),
            context_table,
            "{raw:x?}"
        );
    }
}

/// Section 9.3, Context Entry: P is bit 0, FPD bit 1, TT bits 3:2, SLPTPTR bits 63:12, AW bits
/// 66:64, DID bits 87:72.
#[test]
fn context_entries() {
    for (top, level, id, raw) in [
        // AW 1 is 39 bits with three levels, 2 is 48 with four, 3 is 57 with five.
        (0x1_2345_6000, 2, 0x0002, [0x1_2345_6001, 0x00_0201]),
        (0x1_2345_6000, 3, 0x1234, [0x1_2345_6001, 0x12_3402]),
        (
            0xf_ffff_ffff_f000,
            4,
            0xffff,
            [0xf_ffff_ffff_f001, 0xff_ff03],
        ),
    ] {
        let domain = domain(top, level);

        assert_eq!(ContextEntry::translating(&domain, id), raw);
        assert!(ContextEntry::new(raw).is_present());
        assert!(ContextEntry::new(raw).matches(&domain, id));
        assert!(!ContextEntry::new(raw).matches(&domain, id ^ 1));

        // With any other bit set or clear, it is another entry: no fault reports (FPD), pass
        // through (TT), other tables, another width, another domain, or a reserved bit.
        for bit in 0..64 {
            for half in 0..2 {
                let mut other = raw;
                other[half] ^= 1 << bit;
                assert!(!ContextEntry::new(other).matches(&domain, id), "{other:x?}");
                assert_eq!(ContextEntry::new(other).is_present(), (half, bit) != (0, 0));
            }
        }
    }
}

/// Keeps what `sample` claims, like the kernel.
fn scrub(pages: &Pages, sample: &Sample) -> Option<Scrubbed> {
    let unit = sample.units[0].record();

    vtd::scrub(
        pages,
        unit.root_table,
        |bus, table| unit.context_tables.get(bus) == Some(table),
        |id, entry| sample.claims(unit.register_base, id, entry),
    )
}

/// Which devices of `sample` are attached.
fn attached(pages: &Pages, sample: &Sample) -> Vec<bool> {
    let unit = sample.units[0].record();
    let domain = |number| sample.domains.iter().find(|d| d.number == number).unwrap();

    sample
        .devices
        .iter()
        .map(|d| vtd::is_attached(pages, &unit, &d.record(), domain(d.domain)))
        .collect()
}

#[test]
fn context_tables() {
    let found: Vec<_> =
        vtd::context_tables(&Pages::new(&example_contents()), 0x1_0000_1000).collect();
    assert_eq!(found, [(0, 0x1_0000_2000), (2, 0x1_0000_3000)]);

    let pages = Pages::new(&example_contents());
    assert_eq!(vtd::context_tables(&pages, 0x1_0000_4000).count(), 0);
}

#[test]
fn nothing_is_cleared_without_need() {
    let pages = Pages::new(&example_contents());
    let kept = Some(Scrubbed {
        kept: 4,
        cleared: 0,
        context_tables: 2,
    });

    assert_eq!(scrub(&pages, &Sample::example()), kept);
    assert_eq!(pages.contents(), example_contents());
    assert_eq!(attached(&pages, &Sample::example()), [true; 3]);
}

/// A single change of the tables; what is left of it, and which devices are still attached.
#[test]
fn single_changes() {
    const ROOT: u64 = 0x1_0000_1000;
    const FIRST: u64 = 0x1_0000_2000;
    const SECOND: u64 = 0x1_0000_3000;
    const ELSEWHERE: u64 = 0x7_0000_0000;
    let gone = [0, 0];
    let all = [true; 3];

    for (table, index, entry, left, is_attached) in [
        // An entry that nobody claims, in every translation type.
        (FIRST, 0x20, [0x5001, 0x702], gone, all),
        (FIRST, 0x20, [0x5009, 0x702], gone, all),
        (SECOND, 0xff, [0x1_0001_0001, 0x202], gone, all),
        // One that is not present is not touched.
        (FIRST, 0x20, [0x5000, 0x702], [0x5000, 0x702], all),
        // An entry of a device with other content.
        (
            FIRST,
            0x18,
            [0x1_0001_0003, 0x202],
            gone,
            [false, true, true],
        ),
        (
            FIRST,
            0x18,
            [0x1_0002_0001, 0x202],
            gone,
            [false, true, true],
        ),
        (
            FIRST,
            0x18,
            [0x1_0001_0001, 0x302],
            gone,
            [false, true, true],
        ),
        (
            FIRST,
            0x18,
            [0x1_0001_0009, 0x202],
            gone,
            [false, true, true],
        ),
        // An alias that is gone.
        (SECOND, 0x00, gone, gone, [true, false, true]),
        // A bus that is not on record, and one that leads to another table.
        (ROOT, 1, [ELSEWHERE | 1, 0], gone, all),
        (ROOT, 1, [FIRST | 1, 0], gone, all),
        (ROOT, 0, [ELSEWHERE | 1, 0], gone, [false, true, true]),
        (ROOT, 2, [FIRST | 1, 0], gone, [true, false, false]),
        (ROOT, 2, gone, gone, [true, false, false]),
    ] {
        let mut contents = example_contents();
        // Looks as if it were the table of any bus.
        contents.insert(ELSEWHERE, contents[&FIRST].clone());
        contents.get_mut(&table).unwrap().insert(index, entry);
        let pages = Pages::new(&contents);

        let what = format!("{table:x} {index:x} {entry:x?}");
        assert_eq!(attached(&pages, &Sample::example()), is_attached, "{what}");
        assert!(scrub(&pages, &Sample::example()).is_some(), "{what}");
        assert_eq!(attached(&pages, &Sample::example()), is_attached, "{what}");

        let entries = contents.get_mut(&table).unwrap();
        entries.remove(&index);
        if left != gone {
            entries.insert(index, left);
        }
        assert_eq!(pages.contents(), contents, "{what}");
    }
}

#[test]
fn tables_that_are_nowhere() {
    for (missing, attached_devices) in [
        (0x1_0000_1000, [false; 3]),
        (0x1_0000_2000, [false, true, true]),
        (0x1_0000_3000, [true, false, false]),
    ] {
        let mut contents = example_contents();
        contents.remove(&missing);
        let pages = Pages::new(&contents);

        assert_eq!(attached(&pages, &Sample::example()), attached_devices);
        assert_eq!(scrub(&pages, &Sample::example()), None, "{missing:x}");
    }
}

#[test]
fn clear_all_clears_the_root_table_alone() {
    let mut contents = example_contents();
    for index in 0..=u8::MAX {
        let root = contents.get_mut(&0x1_0000_1000).unwrap();
        root.insert(index, [!0, !0]);
    }
    let pages = Pages::new(&contents);

    assert!(!vtd::clear_all(&pages, 0x1_0000_4000));
    assert_eq!(pages.contents(), contents);

    assert!(vtd::clear_all(&pages, 0x1_0000_1000));
    contents.get_mut(&0x1_0000_1000).unwrap().clear();
    assert_eq!(pages.contents(), contents);
}

/// Entries of context tables: those that some device of the example has, in any place, and others.
fn context_entry() -> impl Strategy<Value = Entry> {
    prop_oneof![
        Just([0x1_0001_0001, 0x202]),
        Just([0x1_0002_0001, 0x902]),
        Just([0x1_0001_0001, 0x902]),
        (any::<u64>(), any::<u64>()).prop_map(|(lo, hi)| [lo, hi]),
    ]
}

/// Requester ids and other indexes, so that some meet.
fn index() -> impl Strategy<Value = u8> {
    prop_oneof![Just(0x18), Just(0x08), Just(0x00), Just(0x10), any::<u8>()]
}

fn context_table() -> impl Strategy<Value = Entries> {
    btree_map(index(), context_entry(), 0..32)
}

fn root_table() -> impl Strategy<Value = Entries> {
    let address = prop_oneof![
        Just(0x1_0000_2000u64),
        Just(0x1_0000_3000),
        Just(0x7_0000_0000),
        Just(0x8_0000_0000),
    ];
    let entry = (address, 0..4u64, any::<u64>()).prop_map(|(at, low, hi)| [at | low, hi]);

    btree_map(prop_oneof![0..4u8, any::<u8>()], entry, 0..8)
}

proptest! {
    /// Whatever the tables hold: what is claimed stays, all else that is present goes, and nothing
    /// outside of the tables on record is written.
    #[test]
    fn scrub_agrees_with_a_model(
        root in root_table(),
        first in context_table(),
        second in context_table(),
        elsewhere in context_table(),
        devices in btree_set(0..3usize, 0..4),
    ) {
        let mut sample = Sample::example();
        let devices: BTreeSet<_> = devices.into_iter().collect();
        let mut number = 0;
        sample.devices.retain(|_| {
            number += 1;
            devices.contains(&(number - 1))
        });

        let before = BTreeMap::from([
            (0x1_0000_1000, root.clone()),
            (0x1_0000_2000, first),
            (0x1_0000_3000, second),
            (0x7_0000_0000, elsewhere),
        ]);
        // Requester id, low and high half, by hand.
        let claims: [&[(u64, u8, Entry)]; 3] = [
            &[(0x1_0000_2000, 0x18, [0x1_0001_0001, 0x202])],
            &[
                (0x1_0000_3000, 0x08, [0x1_0001_0001, 0x202]),
                (0x1_0000_3000, 0x00, [0x1_0001_0001, 0x202]),
            ],
            &[(0x1_0000_3000, 0x10, [0x1_0002_0001, 0x902])],
        ];
        let claimed: Vec<_> = devices.iter().flat_map(|d| claims[*d]).copied().collect();

        let mut after = before.clone();
        let mut expected = Scrubbed::default();
        for (bus, [lo, hi]) in &root {
            let on_record = [(0, 0x1_0000_2000), (2, 0x1_0000_3000)];
            let table = lo & !0xfff;
            if lo & 1 == 0 {
                continue;
            }
            // Reserved bits make an entry fault.
            let is_exact = [*lo, *hi] == [table | 1, 0];
            if !is_exact || !on_record.contains(&(*bus, table)) {
                after.get_mut(&0x1_0000_1000).unwrap().remove(bus);
                expected.cleared += 1;
                continue;
            }
            expected.context_tables += 1;
            for (devfn, entry) in &before[&table] {
                if entry[0] & 1 == 0 {
                    continue;
                }
                if claimed.contains(&(table, *devfn, *entry)) {
                    expected.kept += 1;
                } else {
                    after.get_mut(&table).unwrap().remove(devfn);
                    expected.cleared += 1;
                }
            }
        }
        // Entries that are zero are as good as absent.
        let after = Pages::new(&after).contents();

        let pages = Pages::new(&before);
        prop_assert_eq!(scrub(&pages, &sample), Some(expected));
        prop_assert_eq!(pages.contents(), after.clone());

        // Once more changes nothing.
        let again = Scrubbed { cleared: 0, ..expected };
        prop_assert_eq!(scrub(&pages, &sample), Some(again));
        prop_assert_eq!(pages.contents(), after);
    }
}
