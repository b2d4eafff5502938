// SPDX-License-Identifier: GPL-2.0

//! KUnit tests of the pool that page tables come from.

use kernel::prelude::*;

#[kunit_tests(liveupdate_pool)]
mod tests {
    use super::*;

    use crate::{
        pool::{
            FrozenPool,
            Pool, //
        },
        pool_hooks::Request, //
    };

    /// Pages in the largest block.
    const BLOCK: usize = 512;

    fn take(pool: &Pool, count: usize) -> Result<KVec<u64>> {
        let mut pages = KVec::new();

        for _ in 0..count {
            pages.push(pool.take(&Request::kernel())?, GFP_KERNEL)?;
        }
        Ok(pages)
    }

    fn give(pool: &Pool, pages: &[u64]) {
        for page in pages {
            pool.give(*page);
        }
    }

    fn are_different(pages: &[u64]) -> bool {
        let mut others = pages.iter().enumerate();

        others.all(|(i, page)| pages.iter().take(i).all(|other| other != page))
    }

    #[test]
    fn pages_are_different() -> Result {
        let pool = Pool::new(true)?;
        let pages = take(&pool, BLOCK + 1)?;

        assert!(are_different(&pages));
        assert!(pages.iter().all(|page| page % 4096 == 0));
        give(&pool, &pages);
        Ok(())
    }

    #[test]
    fn holes_are_filled() -> Result {
        let pool = Pool::new(true)?;
        let mut pages = take(&pool, BLOCK)?;
        let blocks = pool.blocks();

        pages.sort_unstable();
        give(&pool, pages.get(3..5).ok_or(EINVAL)?);
        let again = take(&pool, 2)?;

        assert!(pages.get(3..5) == Some(&*again));
        assert_eq!(pool.blocks(), blocks);
        give(&pool, &pages);
        Ok(())
    }

    #[test]
    fn empty_blocks_go() -> Result {
        let pool = Pool::new(true)?;
        let pages = take(&pool, 2 * BLOCK)?;

        assert!(pool.blocks() >= 2);
        give(&pool, &pages);
        assert_eq!(pool.blocks(), 1);
        Ok(())
    }

    #[test]
    fn blocks_grow_again() -> Result {
        let pool = Pool::new(true)?;

        pool.pretend_order(0);
        // 1, 2, 4 pages and so on, unless memory is short.
        let pages = take(&pool, 64)?;

        assert!(pool.blocks() >= 7);
        assert!(are_different(&pages));
        give(&pool, &pages);
        assert_eq!(pool.blocks(), 1);
        Ok(())
    }

    #[test]
    fn frozen_pool_says_where_pages_are() -> Result {
        let pool = Pool::new(true)?;

        pool.pretend_order(2);
        let pages = take(&pool, 40)?;
        let (frozen, runs, used) = FrozenPool::new(pool.clone())?;

        assert_eq!(used, 40);
        assert!(pages.iter().all(|page| frozen.contains(*page)));
        for page in &pages {
            let holds = |run: &&liveupdate_state::Run| (run.base..run.end()).contains(page);

            assert_eq!(runs.iter().filter(holds).count(), 1);
        }
        for run in &runs {
            assert!(frozen.contains(run.base));
            assert!(frozen.contains(run.end() - 4096));
            assert!(!frozen.contains(run.end()) || runs.iter().any(|next| next.base == run.end()));
        }
        drop(frozen);
        give(&pool, &pages);
        assert_eq!(
            pool.take(&Request::kernel()).map(|page| pool.give(page)),
            Ok(())
        );
        Ok(())
    }
}
