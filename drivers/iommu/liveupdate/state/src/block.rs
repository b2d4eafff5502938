// SPDX-License-Identifier: GPL-2.0

//! Which pages of a block of contiguous memory are in use.
//!
//! The page tables of a domain that may be preserved come from a few such blocks, so that a list of
//! blocks says where all of them are.

use crate::records::TABLE_SIZE;

/// The greatest order of a block: 2 MiB.
pub const MAX_ORDER: u8 = 9;

/// Pages that a word of the bitmap stands for.
const WORD: u32 = u64::BITS;
const WORDS: usize = (1 << MAX_ORDER) / WORD as usize;

/// Naturally aligned pages, as many as a power of two, each of which is in use or not.
///
/// # Invariants
///
/// `base` is a multiple of the size in bytes, and the end is an address. The first `pages` bits of
/// `taken` say which pages are in use, `used` in number; the bits behind them are set.
#[derive(Clone, Debug)]
pub struct Block {
    base: u64,
    taken: [u64; WORDS],
    pages: u16,
    used: u16,
}

/// Why a page cannot be given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FreeError {
    /// There is no page of the block at the address.
    Foreign,
    /// The page is not in use.
    Unused,
}

impl Block {
    /// Returns the block of 2^`order` pages at the physical address `base`, with no page in use.
    ///
    /// Returns [`None`] unless `base` is aligned to the size of the block, and `order` is at most
    /// [`MAX_ORDER`].
    pub fn new(base: u64, order: u8) -> Option<Self> {
        if order > MAX_ORDER {
            return None;
        }
        let pages: u16 = 1 << order;
        let size = u64::from(pages).checked_mul(TABLE_SIZE)?;
        if base % size != 0 || base.checked_add(size).is_none() {
            return None;
        }

        let mut taken = [u64::MAX; WORDS];
        let mut rest = u32::from(pages);
        for word in &mut taken {
            let here = rest.min(WORD);

            *word = u64::MAX.checked_shl(here).unwrap_or(0);
            rest = rest.saturating_sub(here);
        }
        // INVARIANT: `base` was checked, and the bits of the pages, and no others, are clear.
        Some(Self {
            base,
            taken,
            pages,
            used: 0,
        })
    }

    /// The physical address of the first page.
    pub fn base(&self) -> u64 {
        self.base
    }

    /// How many pages there are.
    pub fn pages(&self) -> u16 {
        self.pages
    }

    /// How many of them are in use.
    pub fn used(&self) -> u16 {
        self.used
    }

    /// Whether all of them are in use.
    pub fn is_full(&self) -> bool {
        self.used == self.pages
    }

    /// Whether none of them is in use.
    pub fn is_empty(&self) -> bool {
        self.used == 0
    }

    /// The physical address of the last page.
    pub fn last(&self) -> u64 {
        let before = u64::from(self.pages.saturating_sub(1));

        self.base.saturating_add(before.saturating_mul(TABLE_SIZE))
    }

    /// Whether the address is one in the block.
    pub fn contains(&self, address: u64) -> bool {
        let size = u64::from(self.pages).saturating_mul(TABLE_SIZE);

        address
            .checked_sub(self.base)
            .is_some_and(|offset| offset < size)
    }

    /// Takes the unused page with the lowest address, and returns that.
    ///
    /// Returns [`None`] if all pages are in use.
    pub fn take(&mut self) -> Option<u64> {
        let words = self.taken.iter_mut().zip((0u64..).step_by(WORD as usize));
        let (word, first) = words.into_iter().find(|(word, _)| **word != u64::MAX)?;
        let bit = word.trailing_ones();

        // INVARIANT: The bit is clear, so it is one of a page, which comes into use.
        *word |= 1u64.checked_shl(bit)?;
        self.used = self.used.saturating_add(1);
        let index = first.saturating_add(bit.into());
        Some(self.base.saturating_add(index.saturating_mul(TABLE_SIZE)))
    }

    /// Gives back the page at the physical address `page`.
    ///
    /// # Errors
    ///
    /// See [`FreeError`]. Then nothing has changed.
    pub fn free(&mut self, page: u64) -> Result<(), FreeError> {
        let offset = page.checked_sub(self.base).ok_or(FreeError::Foreign)?;
        let index = offset / TABLE_SIZE;
        if offset % TABLE_SIZE != 0 || index >= self.pages.into() {
            return Err(FreeError::Foreign);
        }

        // The index is less than the number of pages.
        let word = (index / u64::from(WORD)) as usize;
        let word = self.taken.get_mut(word).ok_or(FreeError::Foreign)?;
        let bit = 1 << (index % u64::from(WORD));
        if *word & bit == 0 {
            return Err(FreeError::Unused);
        }
        // INVARIANT: The bit is set, so the page was in use.
        *word &= !bit;
        self.used = self.used.saturating_sub(1);
        Ok(())
    }
}
