// SPDX-License-Identifier: GPL-2.0
//! One live update: the way there, the kexec, the way back.

use crate::damage;
use crate::run::{OUTSTANDING, QUIET, Run, Usage};
use crate::scenario::Scenario;
use crate::status::Status;
use crate::timeline::SCRUBBED;
use anyhow::Result;
use protocol::{
    Back, Device, Hello, NOT_TRIED, OUTCOME_OK, Opened, Preserved, Request, Stage, Tree,
};
use std::ops::Range;
use std::thread::sleep;
use std::time::Duration;

/// A driver that binds to any function and, unlike vfio-pci, leaves the IOMMU to the kernel.
const HOST_DRIVER: &str = "uio_pci_generic";
/// Commands that are queued after the last update, and waited for.
const QUEUED_LAST: u16 = 30;

/// When what was asked for.
#[derive(Clone, Debug)]
pub struct Marks {
    /// The session is created and filled.
    pub preserve: Range<Duration>,
    /// From reboot(2) to the answer of the new kernel's agent.
    pub kexec: Range<Duration>,
    /// Everything in the session is retrieved and set up.
    pub retrieve: Range<Duration>,
    /// A device is removed, or the time at which it would have been.
    pub remove: Range<Duration>,
    /// New page tables are attached.
    pub swap: Range<Duration>,
    /// The old ones are destroyed and the session is finished.
    pub finish: Range<Duration>,
}

/// Everything that was observed.
pub struct Hop {
    /// Which kernel it is that was replaced: 0 is the one that was booted.
    pub number: usize,
    /// The new kernel.
    pub new: Hello,
    /// Durations of the ioctls.
    pub preserved: Preserved,
    /// Debugfs of the old kernel just before the kexec.
    pub handed_over: Tree,
    /// Debugfs of the new kernel.
    pub taken_over: Tree,
    /// What a host driver got.
    pub host_driver_bind: String,
    /// What another VMM got.
    pub opened: Opened,
    /// What the VMM got.
    pub back: Back,
    /// What `FINISH` gave before the swap.
    pub early_finish: String,
    /// What freeing the memory gave before the swap.
    pub punch_hole: String,
    /// Times that the functions were attached to a new page table.
    pub swaps: u32,
    /// What page tables took when everything was over.
    pub usage: Usage,
    /// Times.
    pub marks: Marks,
}

impl Hop {
    /// What the session gave at `stage`: `OK`, or the name of the errno.
    pub fn outcome(&self, stage: Stage) -> &str {
        match &self.back.stopped {
            Some(stopped) if stopped.stage == stage => &stopped.errno,
            Some(stopped) if stopped.stage < stage => NOT_TRIED,
            _ if self.back.done.iter().any(|step| step.name == stage.name()) => OUTCOME_OK,
            _ => NOT_TRIED,
        }
    }
}

/// The way back with its pauses, in which others try what they must not.
struct WayBack<'a> {
    run: &'a mut Run,
    devices: &'a [Device],
    found: Found,
}

/// What it gave.
#[derive(Default)]
struct Found {
    back: Back,
    early_finish: String,
    punch_hole: String,
    swaps: u32,
    retrieve: Range<Duration>,
    remove: Range<Duration>,
    swap: Range<Duration>,
    finish: Range<Duration>,
}

impl WayBack<'_> {
    fn stopped(&self) -> bool {
        self.found.back.stopped.is_some()
    }

    /// Goes on to the end of `to`, unless it has stopped; returns when that was.
    fn go_on(&mut self, to: Stage) -> Result<Range<Duration>> {
        let start = self.run.vm.clock.now();
        if !self.stopped() {
            let more = self.run.come_back(self.devices, to)?;
            self.found.back.append(more);
        }
        Ok(start..self.run.vm.clock.now())
    }

    /// Does `check` unless the way back has stopped.
    fn check(&mut self, request: &Request) -> Result<String> {
        if self.stopped() {
            return Ok(NOT_TRIED.into());
        }
        self.run.vm.outcome(request)
    }

    /// Gets everything back, up to the restored page tables.
    fn retrieve(&mut self, remove: Option<Device>, status: &Status) -> Result<()> {
        self.found.retrieve = self.go_on(Stage::Iommufd)?;
        let start = self.run.vm.clock.now();
        if let Some(device) = remove {
            sleep(QUIET);
            status.phase("removing a device");
            self.run.vm.request_done(&Request::Remove { device })?;
        }
        self.found.remove = start..self.run.vm.clock.now();
        self.found.retrieve.end = self.go_on(Stage::Attach)?.end;
        self.found.early_finish = self.check(&Request::TryFinish)?;
        self.found.punch_hole = self.check(&Request::PunchHole)?;
        let end = self.found.retrieve.end;
        (self.found.swap, self.found.finish) = (end..end, end..end);
        Ok(())
    }

    /// Replaces the page tables, `more` times after the first, and finishes.
    fn finish(&mut self, more: u32) -> Result<()> {
        self.go_on(Stage::Verify)?;
        self.found.swap = self.go_on(Stage::Swap)?;
        if !self.stopped() {
            self.run.swap(more)?;
            self.found.swaps = 1 + more;
            self.found.swap.end = self.run.vm.clock.now();
        }
        self.found.finish = self.go_on(Stage::Finish)?;
        Ok(())
    }
}

/// Fills the sessions one after the other; all but the last are cancelled.
fn preserve(run: &mut Run, scenario: &Scenario) -> Result<(Range<Duration>, Preserved)> {
    let mut time = run.vm.clock.now()..run.vm.clock.now();
    let mut preserved = Preserved { steps: Vec::new() };
    for (index, marked) in scenario.sessions.iter().enumerate() {
        if index > 0 {
            run.vm.request_done(&Request::Cancel)?;
        }
        let start = run.vm.clock.now();
        preserved = run.preserve(marked)?;
        time = start..run.vm.clock.now();
    }
    Ok((time, preserved))
}

/// Replaces the kernel for the `number`th time.
pub fn run(run: &mut Run, scenario: &Scenario, number: usize, status: &Status) -> Result<Hop> {
    let last = number + 1 == scenario.hops;
    let devices = scenario.sessions.last().copied().unwrap_or_default();
    status.phase("loading the next kernel");
    run.vm.load_kernel(scenario.next_cmdline)?;
    sleep(QUIET);
    if scenario.preserves(Device::Nvme) || number == 0 {
        run.vm.queue_ios(OUTSTANDING)?;
    }
    sleep(QUIET);

    status.phase("preserving");
    let (preserve, preserved) = preserve(run, scenario)?;
    let handed_over = run.debugfs()?;

    status.phase("replacing the kernel");
    let kexec_start = run.vm.clock.now();
    run.vm.start_kexec()?;
    if scenario.damage_state {
        run.vm.wait_for_line(SCRUBBED)?;
        run.vm.while_stopped(damage::damage_state)?;
    }
    let (kexec_end, new) = run.vm.hello()?;

    status.phase("trying in the new kernel what must not work");
    sleep(QUIET);
    if scenario.fill_memory {
        run.fill_memory()?;
    }
    let taken_over = run.debugfs()?;
    let host_driver_bind = run.vm.outcome(&Request::BindDriver {
        device: Device::Nvme,
        driver: HOST_DRIVER.into(),
    })?;
    let opened = run.open_function(Device::Es1370)?;

    status.phase("coming back");
    let mut way_back = WayBack {
        run,
        devices,
        found: Found::default(),
    };
    way_back.retrieve(scenario.remove, status)?;
    if last || !scenario.unfinished {
        way_back.finish(scenario.swaps)?;
    }
    let found = way_back.found;
    if found.back.stopped.is_none() && devices.contains(&Device::Nvme) {
        match last {
            true => run.queue_more(QUEUED_LAST)?,
            false => run.vm.queue_ios(OUTSTANDING)?,
        }
    }
    Ok(Hop {
        number,
        new,
        preserved,
        handed_over,
        taken_over,
        host_driver_bind,
        opened,
        back: found.back,
        early_finish: found.early_finish,
        punch_hole: found.punch_hole,
        swaps: found.swaps,
        usage: run.usage()?,
        marks: Marks {
            preserve,
            kexec: kexec_start..kexec_end,
            retrieve: found.retrieve,
            remove: found.remove,
            swap: found.swap,
            finish: found.finish,
        },
    })
}
