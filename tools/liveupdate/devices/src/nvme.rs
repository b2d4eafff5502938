// SPDX-License-Identifier: GPL-2.0
//! NVMe: registers and queue entries.
//!
//! Numbers: NVM Express Base Specification 2.0, sections 3.1.3 (registers), 4.2 (queue entries)
//! and 5 (admin commands); NVM Command Set Specification 1.0, section 3.2 (compare, read, write).

use crate::memory::DmaMemory;

/// Entries of the I/O queues.
pub const QUEUE_SIZE: u16 = 1024;
/// Most commands that can be queued at once; one entry stays free.
pub const MAX_OUTSTANDING: u16 = QUEUE_SIZE - 1;
/// Size of a submission queue entry.
pub const SQE: usize = 64;
/// Size of a completion queue entry.
pub const CQE: usize = 16;

/// Controller capabilities (64 bits).
pub const REG_CAP: u64 = 0x00;
/// Controller configuration.
pub const REG_CC: u64 = 0x14;
/// Controller status.
pub const REG_CSTS: u64 = 0x1c;
/// Admin queue attributes.
pub const REG_AQA: u64 = 0x24;
/// Admin submission queue base (64 bits).
pub const REG_ASQ: u64 = 0x28;
/// Admin completion queue base (64 bits).
pub const REG_ACQ: u64 = 0x30;

/// CC: enabled, 64-byte submission and 16-byte completion queue entries, 4 KiB pages.
pub const CC_ENABLE: u32 = 1 | (6 << 16) | (4 << 20);
/// CSTS: ready.
pub const CSTS_READY: u32 = 1;
/// CSTS: fatal error.
pub const CSTS_FATAL: u32 = 2;

/// Doorbell of a queue.
pub const fn doorbell(cap: u64, queue: u16, completion: bool) -> u64 {
    let stride = 4 << ((cap >> 32) & 0xf);
    0x1000 + (2 * queue as u64 + completion as u64) * stride
}

/// A submission queue entry without its command id.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Command {
    opcode: u8,
    nsid: u32,
    prp1: u64,
    cdw10: u32,
    cdw11: u32,
}

impl Command {
    /// CREATE I/O COMPLETION QUEUE that interrupts by the vector of the same number.
    pub fn create_cq(queue: u16, entries: u16, iova: u64) -> Self {
        const CONTIGUOUS: u32 = 1 << 0;
        const INTERRUPT: u32 = 1 << 1;
        Self {
            opcode: 0x05,
            prp1: iova,
            cdw10: (u32::from(entries - 1) << 16) | u32::from(queue),
            cdw11: (u32::from(queue) << 16) | INTERRUPT | CONTIGUOUS,
            ..Self::default()
        }
    }

    /// CREATE I/O SUBMISSION QUEUE that completes to the queue of the same number.
    pub fn create_sq(queue: u16, entries: u16, iova: u64) -> Self {
        Self {
            opcode: 0x01,
            prp1: iova,
            cdw10: (u32::from(entries - 1) << 16) | u32::from(queue),
            cdw11: (u32::from(queue) << 16) | 1,
            ..Self::default()
        }
    }

    /// IDENTIFY namespace 1.
    pub fn identify_namespace(iova: u64) -> Self {
        Self {
            opcode: 0x06,
            nsid: 1,
            prp1: iova,
            ..Self::default()
        }
    }

    /// READ of one block.
    pub fn read(lba: u64, iova: u64) -> Self {
        Self {
            opcode: 0x02,
            ..Self::transfer(lba, iova)
        }
    }

    /// WRITE of one block.
    pub fn write(lba: u64, iova: u64) -> Self {
        Self {
            opcode: 0x01,
            ..Self::transfer(lba, iova)
        }
    }

    /// COMPARE of one block.
    pub fn compare(lba: u64, iova: u64) -> Self {
        Self {
            opcode: 0x05,
            ..Self::transfer(lba, iova)
        }
    }

    /// One block is what CDW12 says when it is zero.
    fn transfer(lba: u64, iova: u64) -> Self {
        Self {
            nsid: 1,
            prp1: iova,
            cdw10: lba as u32,
            cdw11: (lba >> 32) as u32,
            ..Self::default()
        }
    }

    /// The entry as the controller fetches it.
    pub fn encode(&self, cid: u16) -> [u8; SQE] {
        let mut entry = [0; SQE];
        let mut put = |at: usize, value: u32| {
            entry[at..at + 4].copy_from_slice(&value.to_le_bytes());
        };
        put(0, u32::from(self.opcode) | (u32::from(cid) << 16));
        put(4, self.nsid);
        put(24, self.prp1 as u32);
        put(28, (self.prp1 >> 32) as u32);
        put(40, self.cdw10);
        put(44, self.cdw11);
        entry
    }
}

/// A completion queue entry.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Completion {
    /// Command id.
    pub cid: u16,
    /// Status code and type, 0 for success.
    pub status: u16,
}

/// Reads completion `number`, counted from when the queue was created, `None` when it has not been
/// written yet. The phase bit, which the controller inverts on each turn, tells it from the
/// completion in the same place one turn before.
pub fn completion(queue: &impl DmaMemory, number: usize) -> Option<Completion> {
    let entries = queue.len() / CQE;
    let word = queue.read_u32(number % entries * CQE + 12);
    let phase = word & (1 << 16) != 0;
    let expected = (number / entries).is_multiple_of(2);
    (phase == expected).then_some(Completion {
        cid: word as u16,
        status: (word >> 17) as u16,
    })
}

/// Follows a completion queue from outside, without consuming anything.
#[derive(Debug, Default)]
pub struct QueueProgress {
    completions: Vec<Completion>,
}

impl QueueProgress {
    /// Follows a queue that was zeroed before it was created.
    pub fn new() -> Self {
        Self::default()
    }

    /// Looks at the queue; returns all completions so far. Counts right as long as less than a
    /// whole turn is completed between two calls.
    pub fn observe(&mut self, queue: &impl DmaMemory) -> &[Completion] {
        while let Some(entry) = completion(queue, self.completions.len()) {
            self.completions.push(entry);
        }
        &self.completions
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::PlainMemory;

    #[test]
    fn read_command_to_the_letter() {
        let entry = Command::read(0x1_0000_0002, 0x4004_1000).encode(0x1234);
        assert_eq!(entry[0], 0x02);
        assert_eq!(entry[2..4], [0x34, 0x12]);
        assert_eq!(entry[4..8], [1, 0, 0, 0]);
        assert_eq!(entry[24..32], 0x4004_1000u64.to_le_bytes());
        assert_eq!(entry[40..48], 0x1_0000_0002u64.to_le_bytes());
        // Zero's based: one block.
        assert_eq!(entry[48..52], [0; 4]);
    }

    #[test]
    fn doorbells_follow_the_stride() {
        assert_eq!(doorbell(0, 1, false), 0x1008);
        assert_eq!(doorbell(0, 1, true), 0x100c);
        assert_eq!(doorbell(1 << 32, 1, true), 0x1018);
    }

    #[test]
    fn completions_are_counted_in_order_and_once() {
        let queue = PlainMemory::new(4 * CQE);
        let mut progress = QueueProgress::new();
        assert!(progress.observe(&queue).is_empty());

        queue.write_u32(12, (1 << 16) | 7);
        queue.write_u32(CQE + 12, (0x81 << 17) | (1 << 16) | 3);
        // Written, but behind an entry that is not: not yet visible to a host either.
        queue.write_u32(3 * CQE + 12, 1 << 16);
        let seen = progress.observe(&queue).to_vec();
        assert_eq!(
            seen,
            [
                Completion { cid: 7, status: 0 },
                Completion {
                    cid: 3,
                    status: 0x81
                }
            ]
        );
        assert_eq!(progress.observe(&queue), seen);
    }

    #[test]
    fn a_queue_is_followed_over_many_turns() {
        let queue = PlainMemory::new(4 * CQE);
        let mut progress = QueueProgress::new();
        for number in 0..23u16 {
            let turn = number / 4;
            let phase = u32::from(turn.is_multiple_of(2));
            let at = usize::from(number % 4) * CQE;
            queue.write_u32(at + 12, (phase << 16) | u32::from(number));
            assert_eq!(progress.observe(&queue).len(), usize::from(number) + 1);
        }
        assert_eq!(progress.observe(&queue)[22].cid, 22);
    }
}
