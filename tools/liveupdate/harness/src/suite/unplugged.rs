// SPDX-License-Identifier: GPL-2.0
//! A preserved function that is unplugged on the way back, beside one that stays.

use super::results::Results;
use crate::cli::TestOptions;
use crate::qemu::Topology;
use crate::run::{QUIET, Run, Usage};
use crate::timeline::{KernelLog, split_kernels};
use crate::verdict::{Property, read_errors};
use crate::vm::Machine;
use anyhow::{Result, ensure};
use protocol::{Back, Device, NOT_TRIED, OUTCOME_OK, Request, Stage};
use std::thread::sleep;
use std::time::{Duration, Instant};

const DEVICES: [Device; 2] = [Device::Es1370, Device::Nvme];
/// The one that is unplugged, as QEMU calls it.
const UNPLUGGED: &str = "nvme";
/// Behind a port that can do it. Its commands are completed before: QEMU 7.2 crashes when a
/// controller with queued commands goes.
const MACHINE: Machine = Machine {
    topology: Topology::RootPort,
    ios: 30,
    ios_per_second: 100,
    ..Machine::PLAIN
};
/// The port blinks for five seconds before it switches the slot off.
const UNPLUG: Duration = Duration::from_secs(30);
/// vfio-pci waits for the VMM to close the function.
const REQUESTED: &str = "device request";

/// When it is unplugged.
enum When {
    /// Before the VMM has done anything: there is nothing to retrieve.
    First,
    /// When the VMM has its file: there is nothing to bind.
    Retrieved,
    /// When the VMM uses it: the VMM is asked to close it.
    Swapped,
}

struct Case {
    name: &'static str,
    when: When,
}

const CASES: [Case; 3] = [
    Case {
        name: "unplugged-before-retrieve",
        when: When::First,
    },
    Case {
        name: "unplugged-before-bind",
        when: When::Retrieved,
    },
    Case {
        name: "unplugged-after-swap",
        when: When::Swapped,
    },
];

fn wait_until_gone(run: &mut Run) -> Result<bool> {
    let deadline = Instant::now() + UNPLUG;
    while run.is_present(Device::Nvme)? {
        if Instant::now() > deadline {
            return Ok(false);
        }
        sleep(QUIET);
    }
    Ok(true)
}

/// What page tables take in a machine in which the controller was unplugged without any update,
/// when no VMM is left. How much the tables of a VMM take depends on where its memory happens to be.
fn reference(options: &TestOptions) -> Result<Usage> {
    let name = "unplugged-without-update";
    let (mut run, _) = Run::start(&options.common, name, &MACHINE, &[Device::Es1370])?;
    run.vm.unplug(UNPLUGGED)?;
    ensure!(wait_until_gone(&mut run)?, "cannot be unplugged");
    run.vm.request_done(&Request::CloseVmm)?;
    let usage = run.usage()?;
    run.end()?;
    Ok(usage)
}

fn unplug(options: &TestOptions, case: &Case, reference: &Usage) -> Result<Vec<Property>> {
    let (mut run, _) = Run::start(&options.common, case.name, &MACHINE, &DEVICES)?;
    run.vm.queue_ios(MACHINE.ios)?;
    let reads = run.wait_for_reads()?;
    run.vm.load_kernel("")?;
    run.preserve(&DEVICES)?;
    run.replace_kernel()?;
    let mut back = Back::default();
    let device = Device::Nvme;
    let mut gone = Ok(false);
    let mut given_up = NOT_TRIED.to_owned();
    match case.when {
        When::First => {
            run.vm.unplug(UNPLUGGED)?;
            gone = wait_until_gone(&mut run);
        }
        When::Retrieved => {
            back = run.come_back(&DEVICES, Stage::Functions)?;
            run.vm.unplug(UNPLUGGED)?;
            gone = wait_until_gone(&mut run);
            given_up = run.vm.outcome(&Request::GiveUp { device })?;
        }
        When::Swapped => {
            back = run.come_back(&DEVICES, Stage::Swap)?;
            run.vm.unplug(UNPLUGGED)?;
            run.vm.wait_for_line(REQUESTED)?;
            given_up = run.vm.outcome(&Request::GiveUp { device })?;
        }
    }
    if back.stopped.is_none() {
        back.append(run.come_back(&DEVICES, Stage::Finish)?);
    }
    if let When::Swapped = case.when {
        gone = wait_until_gone(&mut run);
    }
    let gone = gone?;
    let finished = run.vm.clock.now();
    sleep(QUIET);
    let end = run.vm.clock.now();
    run.vm.request_done(&Request::CloseVmm)?;
    let usage = run.usage()?;
    let seen = run.end()?;

    let kernels = split_kernels(&seen.remains.console);
    let complaints = kernels.iter().flat_map(KernelLog::complaints);
    let complaints: Vec<_> = complaints.map(str::to_owned).collect();
    let stopped = back.stopped.iter().map(|stopped| stopped.message.clone());
    let retrieved = back.functions.iter();
    let nvme: String = retrieved
        .filter(|outcome| outcome.device == Device::Nvme)
        .map(|outcome| &*outcome.errno)
        .collect();
    let (expected, expected_then) = match case.when {
        When::First => ("ENODEV", NOT_TRIED),
        When::Retrieved => (OUTCOME_OK, "ENODEV"),
        When::Swapped => (OUTCOME_OK, OUTCOME_OK),
    };
    let goes_on = seen
        .series
        .iter()
        .filter(|series| series.device == Device::Es1370)
        .map(|series| series.within(&(finished..end)).bytes)
        .sum::<u64>();
    Ok(vec![
        Property::none("no data error", &read_errors(&reads)),
        Property::equal("what retrieving the function gives", &nvme, expected),
        Property::equal("what stopping it gives", &given_up, expected_then),
        Property::new("the function is gone", gone, format!("gone: {gone}")),
        Property::none(
            "the VMM comes back, up to FINISH",
            &stopped.collect::<Vec<_>>(),
        ),
        Property::new(
            "the other function goes on",
            goes_on > 0,
            format!("{goes_on} bytes"),
        ),
        Property::new(
            "page tables take as much as without an update",
            usage == *reference,
            format!("{usage:?}, {reference:?} without"),
        ),
        Property::none("no kernel complains", &complaints),
    ])
}

/// Unplugs it at different times.
pub fn run(options: &TestOptions, results: &mut Results) -> Result<()> {
    let reference = reference(options)?;
    for case in &CASES {
        match unplug(options, case, &reference) {
            Ok(properties) => results.properties(case.name, properties),
            Err(error) => results.fail(case.name, &format!("{error:#}")),
        }
    }
    Ok(())
}
