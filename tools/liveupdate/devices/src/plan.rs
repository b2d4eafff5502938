// SPDX-License-Identifier: GPL-2.0
//! Which commands are queued, and what the drive must contain afterwards.
//!
//! Command `cid` uses block `cid` and the data page `cid`.

use crate::layout::{data_page, iova};
use crate::nvme::Command;
use crate::{block, nvme};

/// Most commands of a plan: each has a page and a block of its own.
pub const COMMANDS: u16 = 6144;
/// What a data page holds before a read has filled it.
pub const UNREAD: u8 = 0xa5;

/// What a command does.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Operation {
    /// Drive to memory.
    Read,
    /// Memory to drive.
    Write,
    /// The controller compares both; a difference is an error status. QEMU fetches the data when
    /// the command completes, while that of a write is fetched when it is queued.
    Compare,
}

/// What command `cid` does.
pub const fn operation(cid: u16) -> Operation {
    match cid % 3 {
        0 => Operation::Read,
        1 => Operation::Write,
        _ => Operation::Compare,
    }
}

/// The command.
pub fn command(cid: u16) -> Command {
    let iova = iova(data_page(cid));
    match operation(cid) {
        Operation::Read => Command::read(cid.into(), iova),
        Operation::Write => Command::write(cid.into(), iova),
        Operation::Compare => Command::compare(cid.into(), iova),
    }
}

/// What the data page of `cid` holds before the command is queued.
pub fn prepared_page(cid: u16) -> [u8; block::SIZE] {
    match operation(cid) {
        Operation::Read => [UNREAD; block::SIZE],
        Operation::Write => block::content(cid.into(), 1),
        Operation::Compare => block::content(cid.into(), 0),
    }
}

/// Blocks of the drive: those that are used and as many that must stay untouched.
pub const fn drive_blocks(ios: u16) -> u64 {
    2 * ios as u64
}

/// Generation of block `lba` when the first `ios` commands have succeeded.
pub fn generation_after(lba: u64, ios: u16) -> u32 {
    match u16::try_from(lba) {
        Ok(cid) if cid < ios && operation(cid) == Operation::Write => 1,
        _ => 0,
    }
}

/// Bytes that the controller wrote to memory for a completed command: the completion entry and,
/// for a read, the block.
pub const fn bytes_written(cid: u16) -> u64 {
    match operation(cid) {
        Operation::Read => (block::SIZE + nvme::CQE) as u64,
        Operation::Write | Operation::Compare => nvme::CQE as u64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_written_blocks_change() {
        assert_eq!(generation_after(0, 5), 0);
        assert_eq!(generation_after(1, 5), 1);
        assert_eq!(generation_after(2, 5), 0);
        assert_eq!(generation_after(4, 5), 1);
        assert_eq!(generation_after(7, 5), 0);
        assert_eq!(generation_after(1 << 16 | 1, u16::MAX), 0);
    }

    #[test]
    fn a_read_starts_from_something_else() {
        assert!(block::difference(&prepared_page(0), 0, 0).is_some());
        assert!(block::difference(&prepared_page(1), 1, 1).is_none());
        assert!(block::difference(&prepared_page(2), 2, 0).is_none());
    }
}
