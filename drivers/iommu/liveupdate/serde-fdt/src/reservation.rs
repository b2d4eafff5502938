// SPDX-License-Identifier: GPL-2.0

//! The memory reservation block, Devicetree Specification section 5.3.

use crate::{
    bytes::u64_at,
    error::{
        Error,
        Result, //
    }, //
};

/// The size in bytes of an entry.
pub(crate) const ENTRY_SIZE: usize = 16;

/// A range of physical memory that the reader of the tree must not use for anything else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reservation {
    /// The physical address of the first byte.
    pub address: u64,
    /// The size in bytes.
    pub size: u64,
}

impl Reservation {
    /// The entry that ends the block.
    pub(crate) const TERMINATOR: Self = Self {
        address: 0,
        size: 0,
    };

    /// Checks that this is not the terminator, and that the range does not wrap around.
    pub(crate) fn check(self) -> Result<()> {
        let last = self.address.checked_add(self.size.saturating_sub(1));
        if self == Self::TERMINATOR || last.is_none() {
            return Err(Error::BadReservation);
        }
        Ok(())
    }
}

/// Iterator over the memory reservations of a blob.
#[derive(Clone, Debug)]
pub struct Reservations<'a> {
    block: &'a [u8],
}

impl<'a> Reservations<'a> {
    /// Iterates over the entries at the start of `block`, up to the terminator.
    pub(crate) fn new(block: &'a [u8]) -> Self {
        Self { block }
    }

    /// Checks all entries, and that they have a terminator.
    pub(crate) fn check(mut self) -> Result<()> {
        loop {
            match self.next_entry().ok_or(Error::BadReservation)? {
                Reservation::TERMINATOR => return Ok(()),
                entry => entry.check()?,
            }
        }
    }

    fn next_entry(&mut self) -> Option<Reservation> {
        let address = u64_at(self.block, 0)?;
        let size = u64_at(self.block, 8)?;
        self.block = self.block.get(ENTRY_SIZE..)?;
        Some(Reservation { address, size })
    }
}

impl Iterator for Reservations<'_> {
    type Item = Reservation;

    fn next(&mut self) -> Option<Reservation> {
        let entry = self
            .next_entry()
            .filter(|entry| *entry != Reservation::TERMINATOR);
        if entry.is_none() {
            self.block = &[];
        }
        entry
    }
}
