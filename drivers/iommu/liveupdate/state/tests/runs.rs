// SPDX-License-Identifier: GPL-2.0

//! Run lists against a model that knows single pages, and against another XXH64.

mod sample;

use std::collections::{
    BTreeMap,
    BTreeSet, //
};

use liveupdate_state::{
    runs::{
        self,
        Checksum,
        Run, //
    },
    schema::{
        self,
        property, //
    },
    Error,
    RunGroup,
    RunList,
    RunRange, //
};
use proptest::{
    collection::{
        btree_set,
        vec, //
    },
    prelude::*,
    sample::Index as Pick, //
};
use sample::{
    OwnedGroup,
    Sample, //
};
use xxhash_rust::xxh64::xxh64;

const END: u64 = 1 << 52;

/// Pages in memory, by their addresses.
struct Memory(BTreeMap<u64, Vec<u8>>);

impl Checksum for Memory {
    fn pages(&self, run: &Run, checksum: u64) -> Option<u64> {
        run.addresses()
            .try_fold(checksum, |sum, page| Some(xxh64(self.0.get(&page)?, sum)))
    }
}

impl Memory {
    /// Each page has another content.
    fn new(pages: &BTreeSet<u64>) -> Self {
        let content = |page: u64| {
            let bytes = (0..512u64).flat_map(|i| (page ^ i.wrapping_mul(page | 1)).to_be_bytes());
            (page, bytes.collect())
        };
        Self(pages.iter().copied().map(content).collect())
    }

    /// The checksum of all pages, by the description of the format: the first one is hashed with the
    /// seed 0, each other one with the checksum of those before it.
    fn checksum(&self) -> u64 {
        self.0.values().fold(0, |seed, page| xxh64(page, seed))
    }
}

/// Single pages as runs, merged.
fn merged(pages: impl IntoIterator<Item = u64>) -> Vec<Run> {
    let mut runs: Vec<_> = pages.into_iter().map(|page| run(page, 1)).collect();
    let count = runs::merge(&mut runs);

    runs.truncate(count);
    runs
}

/// Writes the group of one domain.
fn write(pages: &BTreeSet<u64>, memory: &Memory) -> Vec<u8> {
    let runs = merged(pages.iter().copied());
    let checksum = runs::content(runs.iter().copied(), memory).unwrap();
    let mut buffer = vec![0xa5; 8 * runs::entries_for(runs.len()).unwrap() as usize];
    let rest = runs::write(&runs, checksum, &mut buffer).unwrap().len();

    assert_eq!(rest, 0);
    buffer
}

/// The only group of a list.
fn group(bytes: &[u8]) -> RunGroup<'_> {
    let list = RunList::new(bytes, bytes.len() as u64 / 8).unwrap();
    let mut groups = list.groups();
    let group = groups.next().unwrap();

    assert!(groups.next().is_none());
    group
}

fn list(groups: &[OwnedGroup]) -> Vec<u8> {
    let mut sample = Sample::example();

    sample.groups = groups.to_vec();
    sample.list()
}

fn run(base: u64, pages: u32) -> Run {
    Run { base, pages }
}

/// Sets of pages, with neighbours among them.
fn pages() -> impl Strategy<Value = BTreeSet<u64>> {
    let near = btree_set(1u64..64, 0..48);
    let far = btree_set(1u64..1 << 40, 0..4);

    (near, far).prop_map(|(near, far)| near.union(&far).map(|page| page << 12).collect())
}

/// Runs that may be in any order and overlap, near each other and near the end of all addresses.
fn any_runs() -> impl Strategy<Value = Vec<Run>> {
    let base = prop_oneof![
        0u64..40,
        (1u64 << 40) - 8..1 << 40,
        (1u64 << 52) - 4..1 << 52
    ];

    vec((base, 1u32..6), 0..8).prop_map(|runs| {
        runs.into_iter()
            .map(|(base, n)| run(base << 12, n))
            .collect()
    })
}

/// The pages of a run, one by one.
fn pages_of(run: &Run) -> impl Iterator<Item = u128> {
    let base = u128::from(run.base);

    (0..u128::from(run.pages)).map(move |n| base + 4096 * n)
}

/// Groups of such runs.
fn any_groups() -> impl Strategy<Value = Vec<OwnedGroup>> {
    vec((any::<u64>(), any_runs()), 0..4).prop_map(|groups| {
        groups
            .into_iter()
            .map(|(checksum, runs)| OwnedGroup { checksum, runs })
            .collect()
    })
}

proptest! {
    /// What is read are the pages that were written, once each, with their checksum.
    #[test]
    fn what_is_written(pages in pages()) {
        let memory = Memory::new(&pages);
        let bytes = write(&pages, &memory);
        let group = group(&bytes);

        prop_assert_eq!(group.check(), Ok(()));
        prop_assert_eq!(group.len(), bytes.len() / 8 - 2);
        prop_assert_eq!(group.is_empty(), pages.is_empty());
        prop_assert_eq!(group.pages(), pages.len() as u64);
        let found: Vec<_> = group.iter().flat_map(|run| run.addresses()).collect();
        prop_assert_eq!(found, pages.iter().copied().collect::<Vec<_>>());

        // As few runs as there can be, with the checksum that another program computes.
        let expected = sample::runs_of(&pages);
        for run in &expected {
            prop_assert_eq!(run.end(), run.base + 4096 * u64::from(run.pages));
        }
        prop_assert_eq!(group.iter().collect::<Vec<_>>(), expected);
        prop_assert_eq!(group.checksum(), memory.checksum());
    }

    /// Runs of any length, in any order, are merged into what single pages are merged into.
    #[test]
    fn merging(pages in pages(), cuts in vec(any::<bool>(), 64), order in any::<u64>()) {
        let mut parts: Vec<Run> = Vec::new();
        for (page, cut) in pages.iter().zip(cuts.iter().cycle()) {
            match parts.last_mut() {
                Some(last) if last.end() == *page && !cut => last.pages += 1,
                _ => parts.push(run(*page, 1)),
            }
        }
        parts.sort_by_key(|part| part.base.wrapping_mul(order | 1));
        let count = runs::merge(&mut parts);
        prop_assert_eq!(&parts[..count], sample::runs_of(&pages));
    }

    #[test]
    fn lookups(pages in pages(), address in 0u64..80 << 12) {
        let bytes = write(&pages, &Memory::new(&pages));
        let group = group(&bytes);

        for page in pages.iter().flat_map(|p| [p - 1, *p, p + 1, p + 4095, p + 4096]) {
            prop_assert_eq!(group.contains(page), pages.contains(&(page & !4095)));
        }
        prop_assert_eq!(group.contains(address), pages.contains(&(address & !4095)));
    }

    /// Accepted are pages in order, each once, none of them 0 or beyond the last address.
    #[test]
    fn order(runs in any_runs()) {
        let bytes = list(&[OwnedGroup { checksum: 0, runs: runs.clone() }]);
        let group = group(&bytes);
        let pages: Vec<_> = runs.iter().flat_map(pages_of).collect();
        let valid = pages.is_sorted_by(|a, b| a < b)
            && pages.iter().all(|p| (4096..u128::from(END)).contains(p));
        let expected = if valid {
            Ok(())
        } else {
            Err(Error::Range { node: schema::DOMAIN, property: property::RUNS })
        };

        prop_assert_eq!(group.check(), expected);
        prop_assert_eq!(group.pages(), pages.len() as u64);
        prop_assert_eq!(group.iter().collect::<Vec<_>>(), runs);
    }

    /// Every changed bit, and every page that changed places with another one, is seen.
    #[test]
    fn damage(pages in pages(), place in any::<[Pick; 3]>(), bit in 0u8..8) {
        prop_assume!(!pages.is_empty());
        let mut memory = Memory::new(&pages);
        let bytes = write(&pages, &memory);
        let group = group(&bytes);
        prop_assert!(group.is_intact(&memory));

        let all: Vec<_> = pages.iter().copied().collect();
        let (a, b) = (*place[0].get(&all), *place[1].get(&all));

        *place[2].get_mut(memory.0.get_mut(&a).unwrap()) ^= 1 << bit;
        prop_assert!(!group.is_intact(&memory));

        let mut memory = Memory::new(&pages);
        let content = memory.0[&a].clone();
        let other = memory.0.insert(b, content).unwrap();
        memory.0.insert(a, other);
        prop_assert_eq!(group.is_intact(&memory), a == b);

        // A page that is nowhere.
        memory = Memory::new(&pages);
        memory.0.remove(&a);
        prop_assert!(!group.is_intact(&memory));
        prop_assert_eq!(runs::content(group.iter(), &memory), None);
    }

    /// A range is a group if it is exactly the entries of one.
    #[test]
    fn ranges(groups in any_groups(), first in 0u32..20, count in 0u32..20) {
        let bytes = list(&groups);
        let list = RunList::new(&bytes, bytes.len() as u64 / 8).unwrap();
        let found: Vec<_> = list.groups().map(OwnedGroup::from).collect();
        prop_assert_eq!(&found, &groups);
        let runs: Vec<_> = groups.iter().flat_map(|g| g.runs.iter().copied()).collect();
        prop_assert_eq!(list.runs().collect::<Vec<_>>(), runs);
        prop_assert_eq!(list.is_empty(), groups.is_empty());

        let mut next = 0;
        for group in groups {
            let range = RunRange { first: next, count: group.entries() };
            next += group.entries();
            prop_assert_eq!(list.group(range).map(OwnedGroup::from), Some(group));
            for count in [range.count - 1, range.count + 1] {
                let range = RunRange { count, ..range };
                prop_assert!(list.group(range).is_none());
            }
        }
        // Whatever it is, it is as long as it says.
        if let Some(group) = list.group(RunRange { first, count }) {
            prop_assert_eq!(group.len() as u32 + 2, count);
        }
    }
}

/// An entry in bytes.
#[test]
fn entries() {
    let pages: BTreeSet<_> = [0x1_2345_6000, 0x1_2345_7000, 0x7000].into();
    let memory = Memory::new(&pages);
    let bytes = write(&pages, &memory);

    assert_eq!(bytes[..8], 2u64.to_be_bytes());
    assert_eq!(bytes[8..16], memory.checksum().to_be_bytes());
    assert_eq!(bytes[16..24], [0, 0, 0, 0, 0, 0, 0x70, 0]);
    assert_eq!(bytes[24..], [0, 0, 0, 1, 0x23, 0x45, 0x60, 1]);

    // One page more than a run can have, and three times as many.
    for n in [4095u64, 4096, 4097, 3 * 4096] {
        let runs = merged((1..=n).map(|page| page << 12));
        let mut buffer = vec![0; 8 * (runs.len() + 2)];
        runs::write(&runs, 0, &mut buffer).unwrap();
        let group = group(&buffer);

        assert_eq!(group.len() as u64, n.div_ceil(4096));
        assert_eq!(group.pages(), n);
        assert_eq!(group.check(), Ok(()));
        assert!(group.contains(n << 12) && !group.contains((n + 1) << 12));
    }
    // Long runs that are neighbours.
    let mut runs = [
        run(1 << 12, 3000),
        run(3001 << 12, 3000),
        run(6001 << 12, 3000),
    ];
    assert_eq!(runs::merge(&mut runs), 3);
    let expected = [
        run(1 << 12, 4096),
        run(4097 << 12, 4096),
        run(8193 << 12, 808),
    ];
    assert_eq!(runs, expected);
}

#[test]
fn sizes() {
    let bytes = [0; 20];

    for (entries, is_list) in [
        (0, true),
        (2, true),
        (3, false),
        (1 << 61, false),
        (u64::MAX, false),
    ] {
        assert_eq!(RunList::new(&bytes, entries).is_some(), is_list);
    }
    let list = RunList::new(&bytes, 2).unwrap();
    assert_eq!((list.as_bytes().len(), list.len()), (16, 2));
    for (first, count) in [(u32::MAX, 1), (1, u32::MAX), (u32::MAX, u32::MAX), (3, 0)] {
        assert!(list.group(RunRange { first, count }).is_none());
    }
    assert!(RunList::default().is_empty() && RunList::default().groups().next().is_none());

    // Groups that end beyond the list.
    for count in [2u64, 1 << 61, u64::MAX] {
        let bytes: Vec<_> = [count, 0, 0x1000]
            .iter()
            .flat_map(|e| e.to_be_bytes())
            .collect();
        let list = RunList::new(&bytes, 3).unwrap();
        assert!(list.groups().next().is_none() && list.runs().next().is_none());
    }

    // Too little memory for the list, and runs that no entry can stand for.
    let runs = [run(0x1000, 1), run(0x3000, 1)];
    for size in 0..32 {
        let mut buffer = vec![0; size];
        let written = runs::write(&runs, 0, &mut buffer).map(|rest| rest.len());
        assert_eq!(written, Err(Error::NoSpace));
    }
    for wrong in [run(0x1000, 0), run(0x1000, 4097), run(0x1001, 1)] {
        assert!(matches!(
            runs::write(&[wrong], 0, &mut [0; 32]),
            Err(Error::Range { .. })
        ));
    }
    assert_eq!(runs::entries_for(u32::MAX as usize), None);
}

/// What a tree says about the list, single changes of either.
#[test]
fn trees_and_lists() {
    let runs = || {
        Err(Error::Range {
            node: schema::DOMAIN,
            property: property::RUNS,
        })
    };
    let domain = |property| {
        Err(Error::Range {
            node: schema::DOMAIN,
            property,
        })
    };
    let overlap = || Err(Error::Duplicate(property::RUNS));
    type Change = fn(&mut Sample);

    let changes: [(Change, Result<(), Error>); 20] = [
        (|_| {}, Ok(())),
        // Groups that belong to nobody, to nobody any more, to two domains, or are not there.
        (
            |s| {
                s.groups.push(OwnedGroup {
                    checksum: 0,
                    runs: vec![run(0x5000, 1)],
                });
            },
            runs(),
        ),
        (|s| _ = s.groups.pop(), runs()),
        (|s| s.groups[0].runs.push(run(0x1_0005_0000, 1)), runs()),
        (|s| _ = s.groups[0].runs.pop(), runs()),
        (
            |s| s.domains[0].runs = RunRange { first: 0, count: 3 },
            runs(),
        ),
        (
            |s| s.domains[1].runs = RunRange { first: 3, count: 4 },
            runs(),
        ),
        (
            |s| s.domains[1].runs = RunRange { first: 0, count: 4 },
            runs(),
        ),
        (
            |s| {
                s.domains[1].runs = s.domains[0].runs;
                s.domains[1].top_table = 0x1_0001_0000;
            },
            runs(),
        ),
        (
            |s| s.domains[1].runs = RunRange { first: 7, count: 3 },
            runs(),
        ),
        // All entries, but divided elsewhere.
        (
            |s| {
                s.domains[0].runs = RunRange { first: 0, count: 3 };
                s.domains[1].runs = RunRange { first: 3, count: 4 };
            },
            runs(),
        ),
        // Not all pages need to be tables, but there are no more tables than pages.
        (|s| s.domains[0].table_pages -= 1, Ok(())),
        (
            |s| s.domains[0].table_pages += 1,
            domain(property::TABLE_PAGES),
        ),
        (
            |s| s.groups[0].runs[0].pages -= 1,
            domain(property::TABLE_PAGES),
        ),
        // Any page of the domain can be its top table, and no other one.
        (|s| s.domains[0].top_table = 0x1_0000_a000, Ok(())),
        (
            |s| s.domains[0].top_table = 0x1_0000_b000,
            domain(property::TOP_TABLE),
        ),
        // Runs out of order, and pages that have two purposes.
        (|s| s.groups[0].runs.swap(0, 1), runs()),
        (
            |s| {
                s.groups[1].runs[0].base = 0x1_0001_5000;
                s.domains[1].top_table = 0x1_0001_6000;
            },
            overlap(),
        ),
        (|s| s.units[0].root_table = 0x1_0000_9000, overlap()),
        (
            |s| s.units[0].context_tables[1].1 = 0x1_0002_8000,
            overlap(),
        ),
    ];
    for (index, (change, expected)) in changes.into_iter().enumerate() {
        let mut sample = Sample::example();
        change(&mut sample);
        assert_eq!(sample.reread().map(|_| ()), expected, "change {index}");
    }
}
