// SPDX-License-Identifier: GPL-2.0

//! Where the page tables of a domain come from that may be preserved.
//!
//! KHO keeps contiguous memory as a whole, however much it is, and page by page what is scattered.
//! So a pool takes memory in blocks of up to 2 MiB and hands it out page by page. Pages that are
//! given back are the first to be handed out again, the lowest address first, so that the blocks at
//! the end become empty and can go.
//!
//! A pool lives as long as its domain and any of its pages are in use: each page that was handed
//! out has a reference to the pool.

use crate::{
    counters,
    pool_hooks::{
        Memory,
        Request, //
    }, //
};
use kernel::{
    new_spinlock,
    prelude::*,
    rbtree::{
        RBTree,
        RBTreeNode,
        RBTreeNodeReservation, //
    },
    sync::{
        Arc,
        SpinLock, //
    }, //
};
use liveupdate_state::{
    block::{
        FreeError,
        MAX_ORDER, //
    },
    Block,
    Run, //
};

/// A block and the memory that it stands for.
struct OwnedBlock {
    block: Block,
    /// Freed along with it.
    _memory: Memory,
}

/// Blocks by the address of their last page, so that the first one that does not end before an
/// address is the only one that can contain it.
type Blocks = RBTree<u64, OwnedBlock>;
type Node = RBTreeNode<u64, OwnedBlock>;

struct State {
    /// Blocks with an unused page.
    available: Blocks,
    /// Blocks without.
    full: Blocks,
    /// The order of the next block.
    order: u8,
    /// The pages are preserved, see [`FrozenPool`].
    is_preserved: bool,
}

impl State {
    /// Takes the unused page with the lowest address, and returns that.
    fn take(&mut self) -> Option<u64> {
        let mut lowest = self.available.cursor_front_mut()?;
        let (_, owned) = lowest.current_mut();
        let page = owned.block.take()?;

        if owned.block.is_full() {
            let (_, node) = lowest.remove_current();
            self.full.insert(node);
        }
        Some(page)
    }

    /// Gives back a page, and returns a block that is no longer needed because of that.
    fn give(&mut self, page: u64) -> Result<Option<Node>, FreeError> {
        let key = match give(&mut self.available, page) {
            Ok(key) => key,
            Err(FreeError::Foreign) => {
                let key = give(&mut self.full, page)?;

                if let Some(node) = self.full.remove_node(&key) {
                    self.available.insert(node);
                }
                key
            }
            Err(e) => return Err(e),
        };
        Ok(self.remove_spare(key))
    }

    /// Removes the available block `key` if it is empty and not the only one.
    fn remove_spare(&mut self, key: u64) -> Option<Node> {
        let is_empty = self.available.get(&key)?.block.is_empty();
        let is_only = self.available.keys().all(|other| *other == key);

        if !is_empty || is_only || self.is_preserved {
            return None;
        }
        self.available.remove_node(&key)
    }

    fn insert(&mut self, node: Node, is_full: bool) {
        if is_full {
            self.full.insert(node);
        } else {
            self.available.insert(node);
        }
    }

    fn blocks(&self) -> impl Iterator<Item = &Block> {
        Iterator::chain(self.available.values(), self.full.values()).map(|owned| &owned.block)
    }
}

/// Gives back a page of one of `blocks`, and returns the key of its block.
fn give(blocks: &mut Blocks, page: u64) -> Result<u64, FreeError> {
    let mut cursor = blocks
        .cursor_lower_bound_mut(&page)
        .ok_or(FreeError::Foreign)?;
    let (key, owned) = cursor.current_mut();

    owned.block.free(page)?;
    Ok(*key)
}

/// The pool of a domain.
#[pin_data]
pub(crate) struct Pool {
    /// The domain had no table but its top when it got the pool.
    has_all_but_top: bool,
    #[pin]
    state: SpinLock<State>,
}

impl Pool {
    /// Creates a pool without memory.
    ///
    /// `has_all_but_top` says that the only page table that does not come from it is the one at the
    /// top.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new(has_all_but_top: bool) -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                has_all_but_top,
                state <- new_spinlock!(State {
                    available: RBTree::new(),
                    full: RBTree::new(),
                    order: MAX_ORDER,
                    is_preserved: false,
                }),
            }),
            GFP_KERNEL_ACCOUNT,
        )
    }

    /// Takes a page with any content, and returns its physical address.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, `EBUSY` if the pool is preserved.
    ///
    /// # Context
    ///
    /// Sleeps if `request` permits that, not in an interrupt.
    pub(crate) fn take(&self, request: &Request) -> Result<u64> {
        let mut state = self.state.lock();
        if kernel::warn_on!(state.is_preserved) {
            return Err(EBUSY);
        }
        let taken = state.take();
        let order = state.order;
        drop(state);

        let page = match taken {
            Some(page) => page,
            None => self.grow(request, order)?,
        };
        counters::POOL_PAGES_IN_USE.add(1);
        Ok(page)
    }

    /// Adds a block, of order `most` if there is so much memory, and takes a page from it.
    fn grow(&self, request: &Request, most: u8) -> Result<u64> {
        let reservation = RBTreeNodeReservation::new(request.flags())?;
        let (memory, order) = allocate(request, most).ok_or(ENOMEM)?;
        let mut block = Block::new(memory.phys(), order).ok_or(EINVAL)?;
        let page = block.take().ok_or(EINVAL)?;
        let is_full = block.is_full();
        let node = reservation.into_node(
            block.last(),
            OwnedBlock {
                block,
                _memory: memory,
            },
        );

        let mut state = self.state.lock();
        // Where there was memory for this one there may be for a larger one the next time.
        state.order = order.saturating_add(1).min(MAX_ORDER);
        state.insert(node, is_full);
        Ok(page)
    }

    /// Gives back the page at the physical address `page`.
    ///
    /// # Context
    ///
    /// Does not sleep, not in an interrupt.
    pub(crate) fn give(&self, page: u64) {
        let mut state = self.state.lock();
        kernel::warn_on!(state.is_preserved);
        let given = state.give(page);
        drop(state);

        match given {
            // It is freed without the lock.
            Ok(_spare) => counters::POOL_PAGES_IN_USE.sub(1),
            Err(e) => pr_err!("no page in use of this pool: {:#x} ({:?})\n", page, e),
        }
    }

    /// How many blocks there are.
    pub(crate) fn blocks(&self) -> usize {
        self.state.lock().blocks().count()
    }

    /// Goes on as if the last block had been one of a smaller order, because memory was short.
    #[cfg(CONFIG_IOMMU_LIVEUPDATE_KUNIT_TEST)]
    pub(crate) fn pretend_order(&self, order: u8) {
        self.state.lock().order = order;
    }
}

/// A pool whose pages nobody takes or gives back as long as this exists.
pub(crate) struct FrozenPool(Arc<Pool>);

impl FrozenPool {
    /// Freezes `pool`, whose domain the caller keeps from changing.
    ///
    /// Returns the blocks as well, in any order, and how many of their pages are in use.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new(pool: Arc<Pool>) -> Result<(Self, KVVec<Run>, u64)> {
        let mut runs = KVVec::with_capacity(pool.blocks(), GFP_KERNEL)?;
        let mut used: u64 = 0;
        let mut state = pool.state.lock();

        for block in state.blocks() {
            let run = Run {
                base: block.base(),
                pages: block.pages().into(),
            };

            // There is room, as nothing has changed.
            runs.push_within_capacity(run).map_err(|_| EINVAL)?;
            used = used.saturating_add(block.used().into());
        }
        state.is_preserved = true;
        drop(state);
        Ok((Self(pool), runs, used))
    }

    /// Whether there is a page of the pool at the physical address `page`.
    pub(crate) fn contains(&self, page: u64) -> bool {
        let state = self.0.state.lock();

        [&state.available, &state.full].iter().any(|blocks| {
            blocks
                .cursor_lower_bound(&page)
                .is_some_and(|cursor| cursor.current().1.block.contains(page))
        })
    }

    /// Whether all page tables of the domain come from the pool, but one that was the one at the
    /// top when the domain was allocated.
    pub(crate) fn has_all_but_top(&self) -> bool {
        self.0.has_all_but_top
    }
}

impl Drop for FrozenPool {
    fn drop(&mut self) {
        self.0.state.lock().is_preserved = false;
    }
}

/// Allocates memory of order `most`, or as much as there is.
///
/// A large block of another node is better than single pages of the right one, as scattered pages
/// make the next kernel boot longer.
fn allocate(request: &Request, most: u8) -> Option<(Memory, u8)> {
    let orders = || (0..=most).rev();
    let local = orders().filter(|order| *order > 0);

    Iterator::chain(
        local.map(|order| (order, true)),
        orders().map(|order| (order, false)),
    )
    .find_map(|(order, is_local)| Some((Memory::new(request, order, is_local)?, order)))
}
