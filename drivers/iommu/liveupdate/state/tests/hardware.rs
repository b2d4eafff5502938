// SPDX-License-Identifier: GPL-2.0

//! Whether a unit does what a state says, and who claims what of it: single changes, and a model
//! that compares every two.

mod hardware_tables;
mod sample;

use std::collections::{
    BTreeMap,
    BTreeSet, //
};

use hardware_tables::*;
use liveupdate_state::{
    hardware::{
        self,
        Mismatch, //
    },
    runs::Run,
    ContextTables,
    Error,
    Key,
    PciAddress,
    RunList,
    Tree,
    Unit, //
};
use proptest::{
    collection::{
        btree_map,
        btree_set,
        vec, //
    },
    prelude::*, //
};
use sample::{
    OwnedGroup,
    OwnedUnit,
    Sample, //
};

const UNIT: u64 = 0xfed9_0000;
const ROOT: u64 = 0x1_0000_1000;
const FIRST: u64 = 0x1_0000_2000;
const SECOND: u64 = 0x1_0000_3000;
const TOPS: [u64; 2] = [0x1_0001_0000, 0x1_0002_0000];

/// A state, and the unit and the memory that it finds.
struct World {
    sample: Sample,
    found: OwnedUnit,
    contents: BTreeMap<u64, Entries>,
    preserved: BTreeMap<u64, u64>,
}

impl World {
    fn new() -> Self {
        let sample = Sample::example();
        let mut found = sample.units[0].clone();

        found.context_tables.clear();
        Self {
            sample,
            found,
            contents: example_contents(),
            preserved: [ROOT, FIRST, SECOND, TOPS[0], TOPS[1]]
                .map(|page| (page, 1))
                .into(),
        }
    }

    fn check(&self) -> Result<(), Mismatch> {
        let mut pages = Pages::new(&self.contents);
        pages.preserved = self.preserved.clone();

        let result = hardware::check(&pages, &self.sample, &self.found.record());
        // It only reads.
        assert_eq!(pages.contents(), Pages::new(&self.contents).contents());
        result
    }

    /// The same memory after an entry of a table was replaced.
    fn put(&mut self, table: u64, index: u8, entry: Entry) {
        self.contents.get_mut(&table).unwrap().insert(index, entry);
    }
}

fn address(requester_id: u16) -> PciAddress {
    PciAddress {
        segment: 0,
        requester_id,
    }
}

/// The first pages of each run have to be there; the others are looked at when they are freed.
#[test]
fn runs_are_preserved() {
    let sample = Sample::example();
    let list = sample.list();
    let runs = RunList::new(&list, list.len() as u64 / 8).unwrap();
    let all: Vec<_> = sample.groups.into_iter().flat_map(|g| g.runs).collect();
    let check = |preserved: &BTreeMap<u64, u64>| {
        let mut pages = Pages::new(&BTreeMap::new());
        pages.preserved = preserved.clone();
        hardware::check_runs(&pages, &runs)
    };

    // Each with as many pages as can be.
    let chunks = all.iter().map(|run| (run.base, 1 << run.pages.ilog2()));
    let single = all.iter().map(|run| (run.base, 1));
    for preserved in [chunks.collect::<BTreeMap<_, _>>(), single.collect()] {
        assert_eq!(check(&preserved), Ok(()));
        for run in &all {
            let missing = Err(Mismatch::NotPreserved(run.base));
            let mut other = preserved.clone();
            other.remove(&run.base);
            assert_eq!(check(&other), missing);
            // Together with pages that are somebody else's.
            other.insert(run.base, u64::from(run.pages).next_power_of_two() * 2);
            assert_eq!(check(&other), missing);
        }
    }
}

/// A top table may be anywhere in what was preserved together; the tables of the hardware stand alone.
#[test]
fn top_tables_among_others() {
    for (chunk, pages, found) in [
        (TOPS[0], 1, true),
        (TOPS[0], 16, true),
        (TOPS[0] - 0x1000, 1, false),
        (TOPS[0] - 0x1_0000, 16, false),
        (TOPS[0] - 0x1_0000, 32, true),
        (TOPS[0] & !0xff_ffff, 4096, true),
        (TOPS[0] & !0xff_ffff, 16, false),
    ] {
        let mut world = World::new();
        world.preserved.remove(&TOPS[0]);
        world.preserved.insert(chunk, pages);
        let expected = if found {
            Ok(())
        } else {
            Err(Mismatch::NotPreserved(TOPS[0]))
        };
        assert_eq!(world.check(), expected, "{chunk:#x} {pages}");
    }
    for table in [ROOT, FIRST, SECOND] {
        let mut world = World::new();
        world.preserved.insert(table, 2);
        assert_eq!(world.check(), Err(Mismatch::NotPreserved(table)));
    }
}

#[test]
fn single_changes() {
    type Change = fn(&mut World);
    let entry = |id| Err(Mismatch::Entry(address(id)));
    let limits = |id| Err(Mismatch::Limits(address(id)));
    let missing = |page| Err(Mismatch::NotPreserved(page));

    let changes: Vec<(Change, Result<(), Mismatch>)> = vec![
        (|_| {}, Ok(())),
        // The unit.
        (|w| w.found.register_base += 1, Err(Mismatch::NotMentioned)),
        (|w| w.found.segment += 1, Err(Mismatch::Segment)),
        (
            |w| w.found.capability ^= 1 << 63,
            Err(Mismatch::Capabilities),
        ),
        (
            |w| w.found.extended_capability ^= 1,
            Err(Mismatch::Capabilities),
        ),
        (|w| w.found.root_table += 0x1000, Err(Mismatch::RootTable)),
        // Its tables. What is on no record is no concern of this state.
        (
            |w| w.put(ROOT, 0, [SECOND | 1, 0]),
            Err(Mismatch::ContextTable(0)),
        ),
        (
            |w| w.put(ROOT, 2, [SECOND, 0]),
            Err(Mismatch::ContextTable(2)),
        ),
        (|w| w.put(ROOT, 2, [0, 0]), Err(Mismatch::ContextTable(2))),
        (|w| w.put(ROOT, 1, [FIRST | 1, 0]), Ok(())),
        (
            |w| _ = w.contents.remove(&ROOT),
            Err(Mismatch::ContextTable(0)),
        ),
        (|w| _ = w.preserved.remove(&ROOT), missing(ROOT)),
        (|w| _ = w.preserved.remove(&FIRST), missing(FIRST)),
        (|w| _ = w.preserved.remove(&SECOND), missing(SECOND)),
        (|w| _ = w.preserved.remove(&TOPS[0]), missing(TOPS[0])),
        (|w| _ = w.preserved.remove(&TOPS[1]), missing(TOPS[1])),
        // The entries, those of aliases included.
        (|w| w.put(FIRST, 0x18, [TOPS[1] | 1, 0x202]), entry(0x18)),
        (|w| w.put(FIRST, 0x18, [TOPS[0] | 1, 0x302]), entry(0x18)),
        (|w| w.put(FIRST, 0x18, [TOPS[0] | 1, 0x203]), entry(0x18)),
        (|w| w.put(FIRST, 0x18, [TOPS[0] | 3, 0x202]), entry(0x18)),
        (|w| w.put(FIRST, 0x18, [TOPS[0], 0x202]), entry(0x18)),
        (|w| w.put(SECOND, 0x00, [0, 0]), entry(0x208)),
        (|w| w.put(SECOND, 0x08, [0, 0]), entry(0x208)),
        (|w| w.put(SECOND, 0x10, [0, 0]), entry(0x210)),
        (|w| w.put(FIRST, 0x20, [TOPS[0] | 1, 0x202]), Ok(())),
        // What the hardware cannot do: the tables agree, the unit does not have it.
        (
            |w| {
                w.put(FIRST, 0x18, [TOPS[0] | 1, 0x002]);
                w.sample.devices[0].domain_id = 0;
            },
            limits(0x18),
        ),
        (
            |w| {
                w.put(FIRST, 0x18, [TOPS[0] | 1, 0x102]);
                w.sample.devices[0].domain_id = 1;
            },
            limits(0x18),
        ),
        (
            // 16 domain ids.
            |w| {
                set_capability(w, |c| c & !7);
                w.put(SECOND, 0x10, [TOPS[1] | 1, 0x1002]);
                w.sample.devices[2].domain_id = 0x10;
            },
            limits(0x210),
        ),
        (
            |w| {
                set_capability(w, |c| c & !7);
                w.put(SECOND, 0x10, [TOPS[1] | 1, 0x0f02]);
                w.sample.devices[2].domain_id = 0x0f;
            },
            Ok(()),
        ),
        // Four levels, 48 bits, large pages.
        (|w| set_capability(w, |c| c & !(1 << 10)), limits(0x18)),
        (|w| set_capability(w, |c| c & !(1 << 9)), Ok(())),
        (|w| set_capability(w, |c| c - (1 << 16)), limits(0x18)),
        (|w| set_capability(w, |c| c + (1 << 16)), Ok(())),
        (|w| set_capability(w, |c| c & !(1 << 34)), limits(0x18)),
        (|w| set_capability(w, |c| c & !(1 << 35)), limits(0x18)),
        (
            |w| {
                set_capability(w, |c| c & !(3 << 34));
                w.sample
                    .domains
                    .iter_mut()
                    .for_each(|d| d.page_sizes = 0x1000);
            },
            Ok(()),
        ),
        // A domain that is not there, which the check of the tree would have found.
        (|w| w.sample.devices[2].domain = 8, entry(0x210)),
    ];
    for (index, (change, expected)) in changes.into_iter().enumerate() {
        let mut world = World::new();
        change(&mut world);

        let result = world.check();
        assert_eq!(result, expected, "change {index}");
        assert!(!result.is_err_and(|e| e.to_string().is_empty()));
    }
}

/// Both the unit and the state have it.
fn set_capability(world: &mut World, change: fn(u64) -> u64) {
    world.found.capability = change(world.found.capability);
    world.sample.units[0].capability = world.found.capability;
}

/// A device behind another unit is none of this one's business.
#[test]
fn other_units() {
    let mut world = World::new();
    let mut other = world.sample.units[0].clone();
    other.register_base += 0x1000;
    other.root_table += 0x10_0000;
    for (_, table) in &mut other.context_tables {
        *table += 0x10_0000;
    }
    world.sample.devices[2].unit = other.register_base;
    world.sample.units.push(other);

    assert_eq!(world.check(), Ok(()));
    world.put(SECOND, 0x10, [0, 0]);
    assert_eq!(world.check(), Ok(()));
    world.found = world.sample.units[1].clone();
    let missing = Err(Mismatch::NotPreserved(ROOT + 0x10_0000));
    assert_eq!(world.check(), missing);
}

/// What one iommufd has behind the unit, as plain numbers.
#[derive(Clone, Debug)]
struct Claims {
    /// Requester id and domain id of each device, and whether it is behind this unit.
    devices: Vec<(u16, u16, bool)>,
    /// First page and number of pages.
    runs: Vec<(u64, u32)>,
}

impl Claims {
    fn sample(&self) -> Sample {
        let mut sample = Sample::example();
        let device = sample.devices.remove(0);

        sample.devices.clear();
        for (id, domain_id, here) in &self.devices {
            let mut device = device.clone();
            device.requester_ids = vec![*id, *id + 0x100];
            device.domain_id = *domain_id;
            device.unit += u64::from(!here);
            sample.devices.push(device);
        }
        sample.groups = self
            .runs
            .iter()
            .map(|(page, pages)| OwnedGroup {
                checksum: 0,
                runs: vec![Run {
                    base: page << 12,
                    pages: *pages,
                }],
            })
            .collect();
        sample
    }

    fn here(&self) -> impl Iterator<Item = (u16, u16)> + '_ {
        let devices = self.devices.iter().filter(|(_, _, here)| *here);
        devices.map(|(id, domain_id, _)| (*id, *domain_id))
    }

    fn pages(&self) -> BTreeSet<u64> {
        let runs = self.runs.iter();
        runs.flat_map(|(page, n)| *page..page + u64::from(*n))
            .collect()
    }

    /// Whether both want the same thing.
    fn conflicts(&self, other: &Self) -> bool {
        let same = |(a, b): ((u16, u16), (u16, u16))| a.0 == b.0 || a.1 == b.1;
        let pairs = self.here().flat_map(|a| other.here().map(move |b| (a, b)));

        pairs.into_iter().any(same) || !self.pages().is_disjoint(&other.pages())
    }
}

fn claims() -> impl Strategy<Value = Claims> {
    let device = (0u16..0x80, 1u16..40, prop::bool::weighted(0.7));
    let run = (2u64..60, prop_oneof![8 => 1u32..4, 1 => 1u32..30]);

    (vec(device, 0..4), vec(run, 0..4)).prop_map(|(devices, runs)| Claims { devices, runs })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// In conflict are those, and all those, who have something that another one has.
    #[test]
    fn conflicts_agree_with_a_model(
        all in vec(claims(), 0..5),
        contexts in btree_map(any::<u8>(), 2u64..60, 0..3),
    ) {
        let root = 1;
        let tables: Vec<_> = contexts.iter().map(|(bus, page)| (*bus, page << 12)).collect();
        let unit = Unit {
            register_base: UNIT,
            segment: 0,
            capability: 0,
            extended_capability: 0,
            root_table: root << 12,
            context_tables: ContextTables::new(&tables),
        };
        let own: BTreeSet<_> = contexts.values().copied().chain([root]).collect();

        let mut expected = BTreeSet::new();
        for (a, one) in all.iter().enumerate() {
            let others = all.iter().enumerate().filter(|(b, _)| *b != a);
            if others.into_iter().any(|(_, other)| one.conflicts(other))
                || !one.pages().is_disjoint(&own)
            {
                expected.insert(a as u32);
            }
        }

        let samples: Vec<_> = all.iter().map(Claims::sample).collect();
        let lists: Vec<_> = samples.iter().map(Sample::list).collect();
        let claims = || {
            let of_samples = (0u32..).zip(samples.iter().zip(&lists)).flat_map(|(who, (s, list))| {
                let runs = RunList::new(list, list.len() as u64 / 8).unwrap();
                hardware::claims(s, runs, UNIT).map(move |claim| (who, claim))
            });
            let of_unit = hardware::own_claims(&unit).map(|claim| (u32::MAX, claim));

            of_samples.chain(of_unit)
        };
        let mut keys = vec![Key::default(); claims().count()];
        let mut found = BTreeSet::new();
        hardware::conflicts(&mut keys, claims(), |a, b| {
            assert_ne!(a, b);
            found.extend([a, b]);
        }).unwrap();

        found.remove(&u32::MAX);
        prop_assert_eq!(found, expected);

        keys.pop();
        prop_assert_eq!(hardware::conflicts(&mut keys, claims(), |_, _| {}), Err(Error::NoSpace));
    }

    /// What is claimed of an entry: the requester id of a device, with exactly its entry.
    #[test]
    fn claims_of_entries(ids in btree_set(0u16..0x300, 0..8)) {
        let sample = Sample::example();
        let entries = [
            (0x0018, [TOPS[0] | 1, 0x202]),
            (0x0208, [TOPS[0] | 1, 0x202]),
            (0x0200, [TOPS[0] | 1, 0x202]),
            (0x0210, [TOPS[1] | 1, 0x902]),
        ];

        for id in ids.into_iter().chain(entries.map(|(id, _)| id)) {
            for (_, entry) in entries {
                let entry_of_id = liveupdate_state::vtd::ContextEntry::new(entry);
                prop_assert_eq!(sample.claims(UNIT, id, entry_of_id), entries.contains(&(id, entry)));
                prop_assert!(!sample.claims(UNIT + 1, id, entry_of_id));
            }
        }
    }
}
