// SPDX-License-Identifier: GPL-2.0

//! Which pages of a block are in use, against a set of them.

use std::collections::BTreeSet;

use liveupdate_state::block::{
    Block,
    FreeError,
    MAX_ORDER, //
};
use proptest::prelude::*;

const PAGE: u64 = 4096;
const BASE: u64 = 0x1_4000_0000;

/// All that a block is meant to be.
struct Model {
    pages: u64,
    unused: BTreeSet<u64>,
}

impl Model {
    fn new(order: u8) -> Self {
        let pages = 1 << order;

        Self {
            pages,
            unused: (0..pages).map(|i| BASE + i * PAGE).collect(),
        }
    }

    fn free(&mut self, page: u64) -> Result<(), FreeError> {
        if page < BASE || page >= BASE + self.pages * PAGE || page % PAGE != 0 {
            Err(FreeError::Foreign)
        } else if self.unused.insert(page) {
            Ok(())
        } else {
            Err(FreeError::Unused)
        }
    }

    fn check(&self, block: &Block) {
        let used = self.pages - self.unused.len() as u64;

        assert_eq!(u64::from(block.used()), used);
        assert_eq!(block.is_empty(), used == 0);
        assert_eq!(block.is_full(), used == self.pages);
    }
}

#[derive(Clone, Debug)]
enum Step {
    Take(u16),
    Free(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    // One page before the block to one behind the largest.
    let pages = (0u64..514).prop_map(|i| BASE - PAGE + i * PAGE);
    let page = prop_oneof![
        8 => pages.clone(),
        1 => pages.prop_map(|page| page + 8),
        1 => any::<u64>(),
    ];

    prop::collection::vec(
        prop_oneof![(1u16..80).prop_map(Step::Take), page.prop_map(Step::Free)],
        0..300,
    )
}

proptest! {
    #[test]
    fn is_like_a_set(order in 0..=MAX_ORDER, steps in steps()) {
        let mut model = Model::new(order);
        let mut block = Block::new(BASE, order).unwrap();

        for step in steps {
            match step {
                Step::Take(count) => for _ in 0..count {
                    prop_assert_eq!(block.take(), model.unused.pop_first());
                },
                Step::Free(page) => prop_assert_eq!(block.free(page), model.free(page)),
            }
            model.check(&block);
        }
    }
}

#[test]
fn every_page_once() {
    for order in 0..=MAX_ORDER {
        let mut block = Block::new(BASE, order).unwrap();
        let taken: Vec<_> = std::iter::from_fn(|| block.take()).collect();
        let all: Vec<_> = (0..1 << order).map(|i| BASE + i * PAGE).collect();

        assert_eq!(taken, all);
        assert_eq!(block.base(), BASE);
        assert_eq!(Some(&block.last()), all.last());
        assert_eq!(usize::from(block.pages()), all.len());
        assert!(all.iter().all(|page| block.contains(*page)));
        assert!(!block.contains(BASE - 1) && !block.contains(block.last() + PAGE));
        assert!(block.is_full());
    }
}

#[test]
fn holes_first() {
    let mut block = Block::new(BASE, 3).unwrap();

    for _ in 0..6 {
        block.take();
    }
    block.free(BASE + 4 * PAGE).unwrap();
    block.free(BASE + PAGE).unwrap();
    let next: Vec<_> = std::iter::from_fn(|| block.take()).collect();
    assert_eq!(next, [1, 4, 6, 7].map(|i| BASE + i * PAGE));
}

#[test]
fn no_such_block() {
    assert!(Block::new(BASE, MAX_ORDER + 1).is_none());
    assert!(Block::new(BASE + 1, 0).is_none());
    assert!(Block::new(BASE + PAGE, 1).is_none());
    assert!(Block::new(u64::MAX & !(PAGE - 1), 0).is_none());
    assert!(Block::new(0, MAX_ORDER).is_some());
}
