// SPDX-License-Identifier: GPL-2.0
//! Which commands are queued before the kexec, and what the drive must contain afterwards.
//!
//! Command `cid` uses block `cid` and the data page `cid`. Even ones read, odd ones write.

use crate::layout::{data_page, iova};
use crate::nvme::Command;
use crate::{block, nvme};

/// What a data page holds before a read has filled it.
pub const UNREAD: u8 = 0xa5;

/// Direction of a command.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Direction {
    /// Drive to memory.
    Read,
    /// Memory to drive.
    Write,
}

/// Direction of command `cid`.
pub const fn direction(cid: u16) -> Direction {
    if cid.is_multiple_of(2) {
        Direction::Read
    } else {
        Direction::Write
    }
}

/// The command.
pub fn command(cid: u16) -> Command {
    let iova = iova(data_page(cid));
    match direction(cid) {
        Direction::Read => Command::read(cid.into(), iova),
        Direction::Write => Command::write(cid.into(), iova),
    }
}

/// What the data page of `cid` holds before the command is queued.
pub fn prepared_page(cid: u16) -> [u8; block::SIZE] {
    match direction(cid) {
        Direction::Read => [UNREAD; block::SIZE],
        Direction::Write => block::content(cid.into(), 1),
    }
}

/// Blocks of the drive: those that are used and as many that must stay untouched.
pub const fn drive_blocks(ios: u16) -> u64 {
    2 * ios as u64
}

/// Generation of block `lba` when the first `ios` commands have succeeded.
pub fn generation_after(lba: u64, ios: u16) -> u32 {
    match u16::try_from(lba) {
        Ok(cid) if cid < ios => match direction(cid) {
            Direction::Read => 0,
            Direction::Write => 1,
        },
        _ => 0,
    }
}

/// Bytes that the controller wrote to memory for a completed command: the completion entry and,
/// for a read, the block. The data of a write is not counted, as nobody outside can tell when the
/// controller fetched it.
pub const fn bytes_written(cid: u16) -> u64 {
    match direction(cid) {
        Direction::Read => (block::SIZE + nvme::CQE) as u64,
        Direction::Write => nvme::CQE as u64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_written_blocks_change() {
        assert_eq!(generation_after(0, 4), 0);
        assert_eq!(generation_after(3, 4), 1);
        assert_eq!(generation_after(5, 4), 0);
        assert_eq!(generation_after(1 << 16 | 1, u16::MAX), 0);
    }

    #[test]
    fn a_read_starts_from_something_else() {
        assert!(block::difference(&prepared_page(0), 0, 0).is_some());
        assert!(block::difference(&prepared_page(1), 1, 1).is_none());
    }
}
