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
use sample::Sample;
use xxhash_rust::xxh64::xxh64;

const END: u64 = 1 << 52;

/// Pages in memory, by their addresses.
struct Memory(BTreeMap<u64, Vec<u8>>);

impl Checksum for Memory {
    fn page(&self, page: u64, checksum: u64) -> Option<u64> {
        Some(xxh64(self.0.get(&page)?, checksum))
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

    /// The checksum of a run, by the description of the format: the first page is hashed with its
    /// own address as the seed, each other one with the checksum of those before it.
    fn of_run(&self, base: u64, pages: u64) -> u64 {
        (0..pages).fold(base, |seed, n| xxh64(&self.0[&(base + n * 4096)], seed))
    }
}

/// Writes the list of the pages of one domain.
fn write(pages: &BTreeSet<u64>, memory: &Memory) -> Result<Vec<u8>, Error> {
    let pages: Vec<_> = pages.iter().copied().collect();
    let mut buffer = vec![0xa5; 16 * runs::count(&pages)];
    let rest = runs::write(&pages, memory, &mut buffer)?.len();

    assert_eq!(rest, 0);
    Ok(buffer)
}

fn list(runs: &[Run]) -> Vec<u8> {
    let mut sample = Sample::example();

    sample.runs = runs.to_vec();
    sample.list()
}

fn run(base: u64, pages: u32) -> Run {
    Run {
        base,
        pages,
        checksum: 0,
    }
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

proptest! {
    /// What is read are the pages that were written, once each, with the checksums.
    #[test]
    fn what_is_written(pages in pages()) {
        let memory = Memory::new(&pages);
        let bytes = write(&pages, &memory).unwrap();
        let list = RunList::new(&bytes, bytes.len() as u64 / 16).unwrap();

        prop_assert_eq!(list.check(), Ok(()));
        prop_assert_eq!(list.len(), bytes.len() / 16);
        prop_assert_eq!(list.is_empty(), pages.is_empty());
        prop_assert_eq!(list.pages(), pages.len() as u64);
        let found: Vec<_> = list.iter().flat_map(|run| run.addresses()).collect();
        prop_assert_eq!(found, pages.iter().copied().collect::<Vec<_>>());

        // As few entries as there can be, each with the checksum that another program computes.
        let expected = sample::runs_of(&pages, || 0);
        for (run, expected) in list.iter().zip(&expected) {
            prop_assert_eq!((run.base, run.pages), (expected.base, expected.pages));
            prop_assert_eq!(run.checksum, memory.of_run(run.base, run.pages.into()));
            prop_assert_eq!(run.end(), run.base + 4096 * u64::from(run.pages));
        }
        prop_assert_eq!(list.len(), expected.len());
    }

    #[test]
    fn lookups(pages in pages(), address in 0u64..80 << 12) {
        let bytes = write(&pages, &Memory::new(&pages)).unwrap();
        let list = RunList::new(&bytes, bytes.len() as u64 / 16).unwrap();

        for page in pages.iter().flat_map(|p| [p - 1, *p, p + 1, p + 4095, p + 4096]) {
            prop_assert_eq!(list.contains(page), pages.contains(&(page & !4095)));
        }
        prop_assert_eq!(list.contains(address), pages.contains(&(address & !4095)));
    }

    /// Accepted are pages in order, each once, none of them 0 or beyond the last address.
    #[test]
    fn order(runs in any_runs()) {
        let bytes = list(&runs);
        let list = RunList::new(&bytes, runs.len() as u64).unwrap();
        let pages: Vec<_> = runs.iter().flat_map(pages_of).collect();
        let valid = pages.is_sorted_by(|a, b| a < b)
            && pages.iter().all(|p| (4096..u128::from(END)).contains(p));
        let expected = if valid {
            Ok(())
        } else {
            Err(Error::Range { node: schema::DOMAIN, property: property::RUNS })
        };

        prop_assert_eq!(list.check(), expected);
        prop_assert_eq!(list.pages(), pages.len() as u64);
        prop_assert_eq!(list.iter().collect::<Vec<_>>(), runs);
    }

    /// Every changed bit, and every page that changed places with another one, is seen.
    #[test]
    fn damage(pages in pages(), place in any::<[Pick; 3]>(), bit in 0u8..8) {
        prop_assume!(!pages.is_empty());
        let mut memory = Memory::new(&pages);
        let bytes = write(&pages, &memory).unwrap();
        let list = RunList::new(&bytes, bytes.len() as u64 / 16).unwrap();
        prop_assert!(list.iter().all(|run| run.is_intact(&memory)));

        let all: Vec<_> = pages.iter().copied().collect();
        let (a, b) = (*place[0].get(&all), *place[1].get(&all));
        let damaged = |memory: &Memory| -> Vec<_> {
            list.iter().filter(|run| !run.is_intact(memory)).map(|run| run.base).collect()
        };
        let run_of = |page| list.iter().find(|run| run.addresses().any(|p| p == page)).unwrap().base;

        *place[2].get_mut(memory.0.get_mut(&a).unwrap()) ^= 1 << bit;
        prop_assert_eq!(damaged(&memory), [run_of(a)]);

        let mut memory = Memory::new(&pages);
        let content = memory.0[&a].clone();
        let other = memory.0.insert(b, content).unwrap();
        memory.0.insert(a, other);
        let expected: BTreeSet<_> = [run_of(a), run_of(b)].into();
        let expected: Vec<_> = expected.into_iter().filter(|_| a != b).collect();
        prop_assert_eq!(damaged(&memory), expected);

        // A page that is nowhere.
        memory = Memory::new(&pages);
        memory.0.remove(&a);
        prop_assert_eq!(damaged(&memory), [run_of(a)]);
        prop_assert_eq!(write(&pages, &memory), Err(Error::NoSpace));
    }

    #[test]
    fn ranges(runs in any_runs(), first in 0u32..10, count in 0u32..10) {
        let bytes = list(&runs);
        let list = RunList::new(&bytes, runs.len() as u64).unwrap();
        let found = list.range(RunRange { first, count });
        let expected = runs.get(first as usize..(first + count) as usize);

        let found = found.map(|list| list.iter().collect::<Vec<_>>());
        prop_assert_eq!(found.as_deref(), expected);
    }
}

/// An entry in bytes.
#[test]
fn entries() {
    let pages: BTreeSet<_> = [0x1_2345_6000, 0x1_2345_7000, 0x7000].into();
    let memory = Memory::new(&pages);
    let bytes = write(&pages, &memory).unwrap();

    assert_eq!(bytes[..8], [0, 0, 0, 0, 0, 0, 0x70, 0]);
    assert_eq!(bytes[8..16], memory.of_run(0x7000, 1).to_be_bytes());
    assert_eq!(bytes[16..24], [0, 0, 0, 1, 0x23, 0x45, 0x60, 1]);
    assert_eq!(bytes[24..], memory.of_run(0x1_2345_6000, 2).to_be_bytes());

    // One page more than an entry can stand for, and three times as many.
    for n in [4095u64, 4096, 4097, 3 * 4096] {
        let pages: BTreeSet<_> = (1..=n).map(|page| page << 12).collect();
        let list = write(&pages, &Memory::new(&pages)).unwrap();
        let list = RunList::new(&list, list.len() as u64 / 16).unwrap();

        assert_eq!(list.len() as u64, n.div_ceil(4096));
        assert_eq!(list.pages(), n);
        assert_eq!(list.check(), Ok(()));
        assert!(list.contains(n << 12) && !list.contains((n + 1) << 12));
    }
}

#[test]
fn sizes() {
    let bytes = [0; 40];

    for (entries, is_list) in [
        (0, true),
        (2, true),
        (3, false),
        (1 << 60, false),
        (u64::MAX, false),
    ] {
        assert_eq!(RunList::new(&bytes, entries).is_some(), is_list);
    }
    assert_eq!(RunList::new(&bytes, 2).unwrap().as_bytes().len(), 32);
    let list = RunList::new(&bytes, 2).unwrap();
    for (first, count) in [(u32::MAX, 1), (1, u32::MAX), (u32::MAX, u32::MAX), (3, 0)] {
        assert!(list.range(RunRange { first, count }).is_none());
    }
    assert!(RunList::default().is_empty() && !RunList::default().contains(0));

    // Too little memory for the list.
    let pages = [0x1000, 0x3000];
    let memory = Memory::new(&pages.into());
    for size in 0..32 {
        let mut buffer = vec![0; size];
        assert_eq!(
            runs::write(&pages, &memory, &mut buffer).map(|rest| rest.len()),
            Err(Error::NoSpace)
        );
    }
    assert_eq!(
        runs::write(&[], &memory, &mut []).map(|rest| rest.len()),
        Ok(0)
    );
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

    let changes: [(Change, Result<(), Error>); 17] = [
        (|_| {}, Ok(())),
        // Entries that belong to nobody, to nobody any more, to two domains, or are not there.
        (|s| s.runs.push(run(0x5000, 1)), runs()),
        (|s| _ = s.runs.pop(), runs()),
        (
            |s| s.domains[0].runs = RunRange { first: 0, count: 1 },
            runs(),
        ),
        (
            |s| s.domains[1].runs = RunRange { first: 1, count: 2 },
            runs(),
        ),
        (
            |s| s.domains[1].runs = RunRange { first: 0, count: 2 },
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
            |s| s.domains[1].runs = RunRange { first: 3, count: 1 },
            runs(),
        ),
        (
            |s| s.domains[0].table_pages += 1,
            domain(property::TABLE_PAGES),
        ),
        (
            |s| {
                s.runs[0].pages -= 1;
            },
            domain(property::TABLE_PAGES),
        ),
        // Any page of the domain can be its top table, and no other one.
        (|s| s.domains[0].top_table = 0x1_0000_a000, Ok(())),
        (
            |s| s.domains[0].top_table = 0x1_0000_b000,
            domain(property::TOP_TABLE),
        ),
        // Runs out of order, and pages that have two purposes.
        (|s| s.runs.swap(0, 1), runs()),
        (
            |s| s.runs[2].base = 0x1_0001_5000,
            domain(property::TOP_TABLE),
        ),
        (
            |s| {
                s.runs[2].base = 0x1_0001_5000;
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
