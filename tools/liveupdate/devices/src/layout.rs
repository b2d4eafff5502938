// SPDX-License-Identifier: GPL-2.0
//! Where everything lies in the VMM's memfd.
//!
//! The memfd is mapped in one piece at [`IOVA_BASE`], so an offset into it and an IOVA differ by
//! that constant only.

use crate::nvme::{CQE, SQE};
use std::ops::Range;

/// Page size.
pub const PAGE: usize = 4096;

/// First IOVA. Above the guest's RAM and below its PCI window: an access that escapes translation
/// hits nothing, instead of the kernel that is being booted.
pub const IOVA_BASE: u64 = 0x4000_0000;

/// ES1370: ADC ring, 1.5 s of sound.
pub const ES1370_RING: Range<usize> = 0..0x4_0000;
/// NVMe: admin submission queue.
pub const ADMIN_SQ: Range<usize> = after(&ES1370_RING, PAGE);
/// NVMe: admin completion queue.
pub const ADMIN_CQ: Range<usize> = after(&ADMIN_SQ, PAGE);
/// NVMe: data of IDENTIFY.
pub const IDENTIFY: Range<usize> = after(&ADMIN_CQ, PAGE);
/// NVMe: I/O submission queue.
pub const IO_SQ: Range<usize> = after(&IDENTIFY, crate::nvme::QUEUE_SIZE as usize * SQE);
/// NVMe: I/O completion queue.
pub const IO_CQ: Range<usize> = after(&IO_SQ, crate::nvme::QUEUE_SIZE as usize * CQE);
/// What the VMM knows of the queues.
pub const STATE: Range<usize> = after(&IO_CQ, PAGE);
/// NVMe: one page per command.
pub const DATA: Range<usize> = after(&STATE, crate::plan::COMMANDS as usize * PAGE);
/// Size of the memfd.
pub const SIZE: usize = DATA.end;

const fn after(previous: &Range<usize>, size: usize) -> Range<usize> {
    previous.end..previous.end + size
}

/// IOVA of an offset into the memfd.
pub const fn iova(offset: usize) -> u64 {
    IOVA_BASE + offset as u64
}

/// Offset of the data page of command `cid`.
pub const fn data_page(cid: u16) -> usize {
    DATA.start + cid as usize * PAGE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_starts_on_a_page() {
        for range in [
            ES1370_RING,
            ADMIN_SQ,
            ADMIN_CQ,
            IDENTIFY,
            IO_SQ,
            IO_CQ,
            STATE,
            DATA,
        ] {
            assert_eq!(range.start % PAGE, 0);
            assert_eq!(range.end % PAGE, 0);
        }
    }
}
