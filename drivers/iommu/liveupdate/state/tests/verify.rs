// SPDX-License-Identifier: GPL-2.0

//! Comparisons of page tables, against a comparison of maps of single pages.

mod second_stage_tables;

use liveupdate_state::{
    page_table::Error,
    verify::{
        Comparison,
        Difference,
        Progress,
        Reason, //
    }, //
};
use proptest::{
    collection::vec,
    prelude::*, //
};
use second_stage_tables::*;

/// Two sets of tables.
struct Pair {
    memory: Memory,
    restored: Top,
    new: Top,
}

impl Pair {
    fn new((level, bits): (u32, u32), (new_level, new_bits): (u32, u32)) -> Self {
        let mut memory = Memory::default();
        let restored = memory.add_top(level, bits);
        let new = memory.add_top(new_level, new_bits);

        Self {
            memory,
            restored,
            new,
        }
    }

    fn compare_in_steps(&self, budget: usize, allow_extra: bool) -> Result<Progress, Error> {
        let mut comparison = Comparison::new(
            &self.memory,
            self.restored.page_table(),
            self.new.page_table(),
            allow_extra,
        );
        loop {
            let progress = comparison.step(budget);

            if progress != Ok(Progress::Continue) {
                // It does not change its mind.
                assert_eq!(comparison.step(budget), progress);
                return progress;
            }
        }
    }

    fn compare(&self, allow_extra: bool) -> Result<Progress, Error> {
        self.compare_in_steps(1000, allow_extra)
    }

    fn entry_mut(&mut self, iova: u64, level: u32) -> &mut u64 {
        self.memory.entry_mut(self.new, iova, level)
    }
}

fn different(iova: u64, reason: Reason) -> Result<Progress, Error> {
    Ok(Progress::Different(Difference { iova, reason }))
}

const EQUAL: Result<Progress, Error> = Ok(Progress::Equal);

#[test]
fn empty() {
    for shape in [(2, 39), (3, 48), (4, 57)] {
        let pair = Pair::new((3, 48), shape);
        assert_eq!(pair.compare(false), EQUAL);

        // What maps nothing is skipped as a whole, so the top tables and at most as much of the one
        // on the way down in the deeper set are read.
        let reads = pair.memory.reads.take().len();
        assert!(reads <= 3 * 512, "{reads}");
    }
}

/// The budget is what is spent, and the next step goes on where the last one stopped.
#[test]
fn budgets() {
    let mut pair = Pair::new((3, 48), (3, 48));
    pair.memory.map(pair.restored, 0x7000, 0, GIB_1, READ);
    pair.memory.map(pair.new, 0x7000, 0, GIB_1, READ);
    let tables = (pair.restored.page_table(), pair.new.page_table());
    let mut comparison = Comparison::new(&pair.memory, tables.0, tables.1, false);
    let mut spend = |budget| {
        let progress = comparison.step(budget);

        (progress, pair.memory.reads.take().len())
    };

    // A page, a hole before it, and one after it in each table on the way.
    assert_eq!(spend(0), (Ok(Progress::Continue), 0));
    assert_eq!(spend(1), (Ok(Progress::Continue), 2 * (3 + 8)));
    assert_eq!(
        spend(4),
        (Ok(Progress::Continue), 2 * (1 + 504 + 511 + 511))
    );
    assert_eq!(spend(1), (Ok(Progress::Continue), 2 * 511));
    assert_eq!(spend(1), (EQUAL, 0));
}

/// A hole in one is looked at once, however much the other one maps there.
#[test]
fn holes_are_skipped_once() {
    let mut pair = Pair::new((3, 48), (3, 48));
    for iova in (0..MIB_2).step_by(KIB_4 as usize) {
        pair.memory.map(pair.new, iova, 0, GIB_1, READ);
    }
    assert_eq!(pair.compare(true), EQUAL);

    let reads = pair.memory.reads.take().len();
    assert!(reads <= 5 * 512, "{reads}");
}

/// 1 GiB as one page, as pages of 2 MiB, and with one of these as pages of 4 KiB.
fn one_gib() -> Pair {
    let mut pair = Pair::new((3, 48), (2, 39));
    let (restored, new) = (pair.restored, pair.new);

    pair.memory.map(restored, GIB_1, 2, 7 * GIB_1, READ | WRITE);
    for offset in (0..GIB_1).step_by(MIB_2 as usize) {
        let (iova, address) = (GIB_1 + offset, 7 * GIB_1 + offset);

        pair.memory.map(new, iova, 1, address, READ | WRITE);
    }
    pair.entry_mut(GIB_1 + 5 * MIB_2, 0);
    pair
}

#[test]
fn page_sizes() {
    let mut pair = one_gib();
    assert_eq!(pair.compare(false), EQUAL);

    // The other way round.
    (pair.restored, pair.new) = (pair.new, pair.restored);
    assert_eq!(pair.compare(false), EQUAL);

    // Page tables of the same page are walked once, and the page is read where the hole before it ends.
    let mut pair = one_gib();
    pair.memory.reads.take();
    pair.new = pair.restored;
    assert_eq!(pair.compare(false), EQUAL);
    assert_eq!(pair.memory.reads.take().len(), 2 * (512 + 512 + 1));
}

/// What hardware sets, ignores or never looks at is no difference.
#[test]
fn ignored_bits() {
    let mut pair = one_gib();

    for (iova, level) in [
        (GIB_1, 1),
        (GIB_1 + 5 * MIB_2, 1),
        (GIB_1 + 5 * MIB_2 + 7 * KIB_4, 0),
    ] {
        // Accessed, dirty and the bits for software.
        *pair.entry_mut(iova, level) |= 0x8000_0000_0000_0700;
    }
    *pair.entry_mut(0x1000, 0) = 0x1_2345_6000 | SNOOP | PAGE;
    assert_eq!(pair.compare(false), EQUAL);
}

/// One entry of the new tables is changed: the first page that it changes is found.
#[test]
fn single_changes() {
    let small = GIB_1 + 5 * MIB_2 + 7 * KIB_4;
    let last = 2 * GIB_1 - MIB_2;
    let read_only = |raw| raw & !WRITE;
    let elsewhere = |raw| raw ^ GIB_1;
    type Edit = fn(u64) -> u64;

    for (iova, level, edit, first, reason) in [
        (small, 0, (|_| 0) as Edit, small, Reason::Unmapped),
        (small, 0, |raw| raw & !3, small, Reason::Unmapped),
        (small, 0, read_only, small, Reason::Rights),
        (small, 0, |raw| raw & !READ, small, Reason::Rights),
        (small, 0, |raw| raw | SNOOP, small, Reason::Rights),
        (small, 0, |raw| raw ^ KIB_4, small, Reason::Address),
        (small, 0, elsewhere, small, Reason::Address),
        // The address comes before the rights.
        (small, 0, |_| READ, small, Reason::Address),
        (last, 1, |_| 0, last, Reason::Unmapped),
        (last, 1, read_only, last, Reason::Rights),
        (last, 1, elsewhere, last, Reason::Address),
        // Of tables, the first page below them.
        (small, 1, |_| 0, small - 7 * KIB_4, Reason::Unmapped),
        (small, 1, read_only, small - 7 * KIB_4, Reason::Rights),
        (GIB_1, 2, |_| 0, GIB_1, Reason::Unmapped),
        (GIB_1, 2, read_only, GIB_1, Reason::Rights),
        // The other tables map nothing there.
        (0, 2, |_| PAGE | READ, 0, Reason::Extra),
        (GIB_1 - KIB_4, 0, |_| READ, GIB_1 - KIB_4, Reason::Extra),
        (2 * GIB_1, 1, |_| PAGE | WRITE, 2 * GIB_1, Reason::Extra),
    ] {
        let mut pair = one_gib();
        let entry = pair.entry_mut(iova, level);
        *entry = edit(*entry);

        let what = format!("{iova:x} {level} {first:x} {reason:?}");
        assert_eq!(pair.compare(false), different(first, reason), "{what}");
        // What is mapped below the page makes no difference to the first one.
        let allowed = match reason {
            Reason::Extra => EQUAL,
            _ => different(first, reason),
        };
        assert_eq!(pair.compare(true), allowed, "{what}");

        // And with the roles exchanged.
        (pair.restored, pair.new) = (pair.new, pair.restored);
        let reason = match reason {
            Reason::Extra => Reason::Unmapped,
            Reason::Unmapped => Reason::Extra,
            reason => reason,
        };
        assert_eq!(pair.compare(false), different(first, reason), "{what}");
    }
}

/// What only one of the tables can translate.
#[test]
fn different_widths() {
    let iova = (1 << 39) + 3 * KIB_4;

    for (restored, new, reason) in [
        ((3, 48), (2, 39), Reason::Unmapped),
        ((2, 39), (3, 48), Reason::Extra),
        ((3, 48), (3, 39), Reason::Unmapped),
        ((4, 57), (3, 39), Reason::Unmapped),
    ] {
        let mut pair = Pair::new(restored, new);
        let wide = if reason == Reason::Extra {
            pair.new
        } else {
            pair.restored
        };
        pair.memory.map(wide, iova, 0, 0x1000, READ);
        // The other one has something there that is not translated.
        if new == (3, 39) {
            pair.memory.map(pair.new, iova, 0, 0x1000, READ);
        }
        assert_eq!(pair.compare(false), different(iova, reason));
    }

    // The last page that there can be.
    let mut pair = Pair::new((4, 57), (4, 57));
    let last = (1 << 57) - KIB_4;
    pair.memory.map(pair.new, last, 0, 0x1000, READ);
    assert_eq!(pair.compare(false), different(last, Reason::Extra));
}

#[test]
fn damage() {
    let damaged = |edit: fn(&mut Pair)| {
        let mut pair = one_gib();
        edit(&mut pair);
        let result = pair.compare(false);

        // It makes no difference which of them it is.
        (pair.restored, pair.new) = (pair.new, pair.restored);
        assert_eq!(pair.compare(false), result);
        result
    };

    let result = damaged(|pair| *pair.entry_mut(GIB_1 + MIB_2, 1) = 0x6000 | READ | WRITE);
    assert_eq!(result, Err(Error::Unreadable { table: 0x6000 }));

    let result = damaged(|pair| *pair.entry_mut(GIB_1, 2) |= PAGE);
    assert!(matches!(result, Err(Error::Malformed { index: 1, .. })));

    // A difference before it comes first.
    let result = damaged(|pair| {
        *pair.entry_mut(GIB_1, 1) &= !WRITE;
        *pair.entry_mut(GIB_1 + MIB_2, 1) = 0x6000 | READ | WRITE;
    });
    assert_eq!(result, different(GIB_1, Reason::Rights));
}

/// What the maps say.
fn naive(restored: &Model, new: &Model, allow_extra: bool) -> Progress {
    let first = restored
        .keys()
        .chain(new.keys())
        .filter_map(|iova| {
            let reason = match (restored.get(iova), new.get(iova)) {
                (Some(old), Some(new)) if old == new => return None,
                (Some(old), Some(new)) if old.0 == new.0 => Reason::Rights,
                (Some(_), Some(_)) => Reason::Address,
                (Some(_), None) => Reason::Unmapped,
                (None, _) if allow_extra => return None,
                (None, _) => Reason::Extra,
            };
            Some((*iova, reason))
        })
        .min_by_key(|(iova, _)| *iova);

    first.map_or(Progress::Equal, |(iova, reason)| {
        Progress::Different(Difference { iova, reason })
    })
}

/// A random set of tables, and the same once more with other page sizes and a few more changes.
#[derive(Clone, Debug)]
struct Recipe {
    shapes: [(u32, u32); 2],
    /// What is mapped by both, and by the new one alone.
    maps: [Vec<Change>; 2],
    /// What is taken away afterwards.
    restricts: [Vec<Change>; 2],
    /// Which changes use large pages, as bits.
    large_pages: [u64; 2],
}

impl Recipe {
    fn build(&self) -> (Pair, [Model; 2]) {
        let [restored, new] = self.shapes;
        let mut pair = Pair::new(restored, new);
        let mut models = [Model::new(), Model::new()];

        for (which, top) in [pair.restored, pair.new].into_iter().enumerate() {
            let maps = self.maps[..=which].concat();
            let restricts = self.restricts[..=which].concat();

            for (bit, change) in maps.iter().chain(&restricts).enumerate() {
                let large_pages = self.large_pages[which] >> bit & 1 != 0;

                pair.memory.apply(top, change, large_pages);
                apply(&mut models[which], change, top.input_bits);
            }
        }
        (pair, models)
    }
}

fn recipe() -> impl Strategy<Value = Recipe> {
    let both = (vec(map(), 0..8), vec(restrict(), 0..2));
    let more = prop_oneof![
        1 => (Just(vec![]), Just(vec![])),
        1 => (vec(map(), 0..3), vec(restrict(), 0..2)),
    ];

    (shape(), shape(), both, more, any::<[u64; 2]>()).prop_map(
        |(restored, new, both, more, large_pages)| Recipe {
            shapes: [restored, new],
            maps: [both.0, more.0],
            restricts: [both.1, more.1],
            large_pages,
        },
    )
}

/// The strategy makes all kinds of differences, and none.
#[test]
fn models_differ_in_every_way() {
    use proptest::{
        strategy::ValueTree,
        test_runner::TestRunner, //
    };
    let mut runner = TestRunner::deterministic();
    let mut seen = Vec::new();

    for _ in 0..200 {
        let (_, [restored, new]) = recipe().new_tree(&mut runner).unwrap().current().build();
        let found = match naive(&restored, &new, false) {
            Progress::Different(difference) => Some(difference.reason),
            _ if restored.is_empty() => continue,
            _ => None,
        };
        if !seen.contains(&found) {
            seen.push(found);
        }
    }
    assert_eq!(seen.len(), 5, "{seen:?}");
}

proptest! {
    #[test]
    fn comparisons_agree_with_a_model(
        recipe in recipe(),
        budget in prop_oneof![Just(1usize), 2..2000usize],
    ) {
        let (pair, [restored, new]) = recipe.build();

        for allow_extra in [false, true] {
            let expected = Ok(naive(&restored, &new, allow_extra));

            prop_assert_eq!(pair.compare(allow_extra), expected);
            prop_assert_eq!(pair.compare_in_steps(budget, allow_extra), expected);
        }
    }

    /// Whatever the entries: no panic, and each step gets on by as much as it may.
    #[test]
    fn damaged_tables(
        recipe in recipe(),
        flips in vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), 0..64u32), 1..20),
        links in vec(any::<[prop::sample::Index; 3]>(), 0..4),
    ) {
        let (mut pair, _) = recipe.build();
        let tables: Vec<_> = pair.memory.pages.keys().copied().collect();
        for (table, entry, bit) in flips {
            // Not every entry is used, so most are not.
            let page = pair.memory.pages.get_mut(table.get(&tables)).unwrap();
            let used: Vec<_> = (0..512).filter(|i| page[*i] != 0 || i % 64 == 0).collect();
            page[*entry.get(&used)] ^= 1 << bit;
        }
        for [from, entry, to] in links {
            let page = pair.memory.pages.get_mut(from.get(&tables)).unwrap();
            page[entry.index(512)] = to.get(&tables) | READ | WRITE;
        }
        let mut comparison = Comparison::new(
            &pair.memory,
            pair.restored.page_table(),
            pair.new.page_table(),
            true,
        );
        for _ in 0..20 {
            pair.memory.reads.take();
            let progress = comparison.step(1000);
            prop_assert!(pair.memory.reads.take().len() <= 1000 * 2 * (5 + 511));
            if progress != Ok(Progress::Continue) {
                break;
            }
        }
    }
}
