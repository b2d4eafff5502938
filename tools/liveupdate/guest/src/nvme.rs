// SPDX-License-Identifier: GPL-2.0
//! Userspace driver of an NVMe controller: an admin queue and one pair of I/O queues. Completions are
//! polled; interrupts are counted elsewhere.

use crate::memory::GuestMemory;
use crate::vfio::{Region, VfioDevice};
use anyhow::{Context, Result, bail, ensure};
use devices::layout::{ADMIN_CQ, ADMIN_SQ, IDENTIFY, IO_CQ, IO_SQ, PAGE, data_page, iova};
use devices::memory::DmaMemory;
use devices::nvme::{
    CC_ENABLE, CQE, CSTS_FATAL, CSTS_READY, Command, MAX_OUTSTANDING, QUEUE_SIZE, REG_ACQ, REG_AQA,
    REG_ASQ, REG_CAP, REG_CC, REG_CSTS, SQE, completion, doorbell,
};
use devices::plan::{COMMANDS, Operation, operation};
use devices::queue_state::QueueState;
use devices::{block, plan};
use protocol::VerifiedReads;
use std::thread::sleep;
use std::time::{Duration, Instant};

const ADMIN: u16 = 0;
const IO: u16 = 1;
const TIMEOUT: Duration = Duration::from_secs(20);

/// A controller whose queues are up.
pub struct Nvme {
    bar: Region,
    cap: u64,
    admin_commands: u16,
}

impl Nvme {
    /// A controller whose queues are up already, of a function that was retrieved.
    pub fn running(device: &VfioDevice) -> Result<Self> {
        let bar = device.bar0()?;
        let low = device.read_u32(bar, REG_CAP)?;
        let high = device.read_u32(bar, REG_CAP + 4)?;
        Ok(Self {
            bar,
            cap: u64::from(high) << 32 | u64::from(low),
            admin_commands: 0,
        })
    }

    /// Enables the controller and creates the I/O queues.
    pub fn start(device: &VfioDevice, memory: &GuestMemory, ios: u16) -> Result<()> {
        device.enable_bus_master()?;
        let mut nvme = Self::running(device)?;
        let last = nvme.cap as u16;
        ensure!(
            QUEUE_SIZE - 1 <= last,
            "the controller has only {last} entries and one more in a queue"
        );
        nvme.enable(device, memory)?;

        memory.write(IO_CQ.start, &[0; QUEUE_SIZE as usize * CQE]);
        QueueState::default().store(memory);
        let cq = Command::create_cq(IO, QUEUE_SIZE, iova(IO_CQ.start));
        let sq = Command::create_sq(IO, QUEUE_SIZE, iova(IO_SQ.start));
        nvme.admin(device, memory, cq).context("creating the CQ")?;
        nvme.admin(device, memory, sq).context("creating the SQ")?;
        let identify = Command::identify_namespace(iova(IDENTIFY.start));
        nvme.admin(device, memory, identify).context("IDENTIFY")?;
        check_namespace(memory, ios)
    }

    fn enable(&self, device: &VfioDevice, memory: &GuestMemory) -> Result<()> {
        device.write_u32(self.bar, REG_CC, 0)?;
        self.wait_ready(device, 0)?;
        memory.write(ADMIN_CQ.start, &[0; PAGE]);
        let last = (PAGE / SQE - 1) as u32;
        device.write_u32(self.bar, REG_AQA, last << 16 | last)?;
        for (register, range) in [(REG_ASQ, ADMIN_SQ), (REG_ACQ, ADMIN_CQ)] {
            let base = iova(range.start);
            device.write_u32(self.bar, register, base as u32)?;
            device.write_u32(self.bar, register + 4, (base >> 32) as u32)?;
        }
        device.write_u32(self.bar, REG_CC, CC_ENABLE)?;
        self.wait_ready(device, CSTS_READY)
    }

    fn wait_ready(&self, device: &VfioDevice, wanted: u32) -> Result<()> {
        let start = Instant::now();
        while start.elapsed() < TIMEOUT {
            let status = device.read_u32(self.bar, REG_CSTS)?;
            ensure!(status & CSTS_FATAL == 0, "the controller is dead");
            if status & CSTS_READY == wanted {
                return Ok(());
            }
            sleep(Duration::from_millis(1));
        }
        bail!("the controller does not become ready ({wanted})")
    }

    fn admin(&mut self, device: &VfioDevice, memory: &GuestMemory, command: Command) -> Result<()> {
        let slot = self.admin_commands;
        self.admin_commands += 1;
        let at = ADMIN_SQ.start + usize::from(slot) * SQE;
        memory.write(at, &command.encode(slot));
        let tail = u32::from(self.admin_commands);
        device.write_u32(self.bar, doorbell(self.cap, ADMIN, false), tail)?;
        let start = Instant::now();
        while start.elapsed() < TIMEOUT {
            if let Some(done) = completion(&memory.part(ADMIN_CQ), slot.into()) {
                ensure!(done.cid == slot, "completion of another command");
                ensure!(done.status == 0, "status {:#x}", done.status);
                return device.write_u32(self.bar, doorbell(self.cap, ADMIN, true), tail);
            }
            sleep(Duration::from_millis(1));
        }
        bail!("no completion")
    }

    /// Takes completions out of the queue, queues commands of the plan until `outstanding` are,
    /// and rings the doorbells. Returns the number of all commands queued so far.
    pub fn queue(
        &self,
        device: &VfioDevice,
        memory: &GuestMemory,
        outstanding: u16,
    ) -> Result<u16> {
        ensure!(outstanding <= MAX_OUTSTANDING, "the queue is too small");
        consume(memory);
        let mut state = QueueState::load(memory);
        let head = state.completed % QUEUE_SIZE;
        device.write_u32(self.bar, doorbell(self.cap, IO, true), head.into())?;

        let end = state.completed.saturating_add(outstanding).min(COMMANDS);
        for cid in state.queued..end {
            memory.write(data_page(cid), &plan::prepared_page(cid));
            let at = IO_SQ.start + usize::from(cid % QUEUE_SIZE) * SQE;
            memory.write(at, &plan::command(cid).encode(cid));
        }
        state.queued = state.queued.max(end);
        state.store(memory);
        let tail = state.queued % QUEUE_SIZE;
        device.write_u32(self.bar, doorbell(self.cap, IO, false), tail.into())?;
        Ok(state.queued)
    }
}

/// Takes all completions out of the queue and compares every block that was read with its known
/// content. The counts are those since the queue was created.
pub fn consume(memory: &GuestMemory) -> VerifiedReads {
    const DETAILS: usize = 5;
    let mut details = Vec::new();
    let mut complain = |text: String| {
        if details.len() < DETAILS {
            details.push(text);
        }
    };
    let mut state = QueueState::load(memory);
    while let Some(done) = completion(&memory.part(IO_CQ), state.completed.into()) {
        state.completed += 1;
        if done.status != 0 || done.cid >= state.queued {
            state.failed += 1;
            complain(format!("command {}: status {:#x}", done.cid, done.status));
        } else if operation(done.cid) == Operation::Read {
            let mut page = [0; PAGE];
            memory.read(data_page(done.cid), &mut page);
            state.compared += 1;
            if let Some(text) = block::difference(&page, done.cid.into(), 0) {
                state.wrong += 1;
                complain(text);
            }
        }
    }
    state.store(memory);
    VerifiedReads {
        queued: state.queued,
        completed: state.completed,
        failed: state.failed,
        compared: state.compared,
        wrong: state.wrong,
        details,
    }
}

/// The namespace must be what the plan was made for.
fn check_namespace(memory: &GuestMemory, ios: u16) -> Result<()> {
    let mut data = [0; PAGE];
    memory.read(IDENTIFY.start, &mut data);
    let blocks = u64::from_le_bytes(*data.first_chunk().context("IDENTIFY data")?);
    let needed = plan::drive_blocks(ios);
    ensure!(blocks >= needed, "{blocks} blocks, {needed} are needed");
    let format = 128 + 4 * usize::from(data[26] & 0xf);
    let block_size = 1usize << data[format + 2];
    ensure!(
        block_size == block::SIZE,
        "blocks of {block_size} bytes instead of {}",
        block::SIZE
    );
    Ok(())
}
