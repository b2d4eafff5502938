// SPDX-License-Identifier: GPL-2.0
//! What a VMM has to know of its NVMe queues when it goes on in another kernel.
//!
//! It lies in the VMM's memory, which is preserved anyhow.

use crate::layout::STATE;
use crate::memory::DmaMemory;

/// The driver's side of the I/O queues, and what it has found in them so far.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct QueueState {
    /// Commands queued.
    pub queued: u16,
    /// Completions taken out of the queue.
    pub completed: u16,
    /// Completions with a status other than success, or of no such command.
    pub failed: u16,
    /// Blocks compared.
    pub compared: u16,
    /// Blocks that differ.
    pub wrong: u16,
}

impl QueueState {
    /// Reads it from the VMM's memory.
    pub fn load(memory: &impl DmaMemory) -> Self {
        let field = |index: usize| memory.read_u32(STATE.start + index * 4) as u16;
        Self {
            queued: field(0),
            completed: field(1),
            failed: field(2),
            compared: field(3),
            wrong: field(4),
        }
    }

    /// Writes it to the VMM's memory.
    pub fn store(&self, memory: &impl DmaMemory) {
        let fields = [
            self.queued,
            self.completed,
            self.failed,
            self.compared,
            self.wrong,
        ];
        for (index, field) in fields.into_iter().enumerate() {
            memory.write_u32(STATE.start + index * 4, field.into());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::PlainMemory;

    #[test]
    fn what_is_stored_is_loaded() {
        let memory = PlainMemory::new(STATE.end);
        assert_eq!(QueueState::load(&memory), QueueState::default());
        let state = QueueState {
            queued: 5,
            completed: 4,
            failed: 3,
            compared: 2,
            wrong: 1,
        };
        state.store(&memory);
        assert_eq!(QueueState::load(&memory), state);
    }
}
