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
/// Commands that are outstanding at the end, which are waited for.
const OUTSTANDING_LAST: u16 = 300;

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

/// The stages in the order of their pauses; each pause has its checks.
struct WayBack<'a> {
    run: &'a mut Run,
    devices: &'a [Device],
    back: Back,
}

impl WayBack<'_> {
    /// Goes on to the end of `to`, unless it has stopped; returns when that was.
    fn go_on(&mut self, to: Stage) -> Result<Range<Duration>> {
        let start = self.run.vm.clock.now();
        if self.back.stopped.is_none() {
            let more = self.run.come_back(self.devices, to)?;
            self.back.append(more);
        }
        Ok(start..self.run.vm.clock.now())
    }

    /// Does `check` unless the way back has stopped.
    fn check(&mut self, request: &Request) -> Result<String> {
        match self.back.stopped {
            Some(_) => Ok(NOT_TRIED.into()),
            None => self.run.vm.outcome(request),
        }
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
    let came_back = scenario.sessions.last().copied().unwrap_or_default();
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

    status.phase("coming back in the new kernel");
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

    let mut way = WayBack {
        run,
        devices: came_back,
        back: Back::default(),
    };
    let retrieve_start = way.go_on(Stage::Iommufd)?.start;
    let remove_start = way.run.vm.clock.now();
    if let Some(device) = scenario.remove {
        sleep(QUIET);
        status.phase("removing a device");
        way.run.vm.request_done(&Request::Remove { device })?;
    }
    let remove = remove_start..way.run.vm.clock.now();
    let retrieve = retrieve_start..way.go_on(Stage::Attach)?.end;
    let early_finish = way.check(&Request::TryFinish)?;
    let punch_hole = way.check(&Request::PunchHole)?;
    let mut swap = retrieve.end..retrieve.end;
    let mut finish = swap.clone();
    let mut swaps = 0;
    if last || !scenario.unfinished {
        way.go_on(Stage::Verify)?;
        status.phase("swapping the page tables");
        swap = way.go_on(Stage::Swap)?;
        if way.back.stopped.is_none() {
            way.run.swap(scenario.swaps)?;
            swaps = 1 + scenario.swaps;
            swap.end = way.run.vm.clock.now();
        }
        finish = way.go_on(Stage::Finish)?;
    }
    let back = way.back;
    if last && back.stopped.is_none() && came_back.contains(&Device::Nvme) {
        run.vm.queue_ios(OUTSTANDING_LAST)?;
    }
    let usage = run.usage()?;
    Ok(Hop {
        number,
        new,
        preserved,
        handed_over,
        taken_over,
        host_driver_bind,
        opened,
        back,
        early_finish,
        punch_hole,
        swaps,
        usage,
        marks: Marks {
            preserve,
            kexec: kexec_start..kexec_end,
            retrieve,
            remove,
            swap,
            finish,
        },
    })
}
