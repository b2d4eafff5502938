// SPDX-License-Identifier: GPL-2.0
//! A VMM that is killed on its way back. The device goes on until someone else retrieves what is
//! left and releases it.

use super::results::Results;
use crate::cli::TestOptions;
use crate::run::{QUIET, Run, Usage};
use crate::timeline::{KernelLog, split_kernels};
use crate::verdict::Property;
use crate::vm::Machine;
use anyhow::{Result, bail};
use protocol::{Device, OUTCOME_OK, Request, Stage};
use std::ops::Range;
use std::thread::sleep;
use std::time::Duration;

const DEVICES: [Device; 1] = [Device::Es1370];

/// Where it is killed.
struct Case {
    stage: Stage,
    /// Whether the session stays. It does until everything in it has been retrieved and no function
    /// is attached to a page table of the old kernel any more; from then on, the death of the VMM
    /// is the end of it, as without live update.
    stays: bool,
}

const fn stays(stage: Stage) -> Case {
    Case { stage, stays: true }
}

const fn ends(stage: Stage) -> Case {
    Case {
        stage,
        stays: false,
    }
}

const CASES: [Case; 10] = [
    stays(Stage::Session),
    stays(Stage::Memory),
    stays(Stage::Iommufd),
    stays(Stage::Functions),
    stays(Stage::Bind),
    stays(Stage::Restore),
    stays(Stage::Attach),
    stays(Stage::Verify),
    ends(Stage::Swap),
    ends(Stage::Destroy),
];

/// What was observed.
struct Record {
    /// The VMM is dead, nobody has done anything.
    orphaned: Range<Duration>,
    /// The device was released.
    released: Range<Duration>,
    /// What the one who wants to release it gets.
    reaped: String,
    /// When that is done.
    usage: Usage,
}

/// What page tables take when a VMM is gone, without any update.
fn reference(options: &TestOptions) -> Result<Usage> {
    let name = "killed-without-update";
    let (mut run, _) = Run::start(&options.common, name, &Machine::PLAIN, &DEVICES)?;
    run.vm.request_done(&Request::CloseVmm)?;
    let usage = run.usage()?;
    run.end()?;
    Ok(usage)
}

fn kill_at(
    options: &TestOptions,
    case: &Case,
    name: &str,
    reference: &Usage,
) -> Result<Vec<Property>> {
    let (mut run, _) = Run::start(&options.common, name, &Machine::PLAIN, &DEVICES)?;
    run.vm.load_kernel("")?;
    run.preserve(&DEVICES)?;
    run.replace_kernel()?;
    let back = run.come_back_and_die(&DEVICES, case.stage)?;
    if let Some(stopped) = back.stopped {
        bail!("the VMM did not come so far: {}", stopped.message);
    }
    let killed = run.vm.clock.now();
    sleep(QUIET);
    let orphaned = killed..run.vm.clock.now();
    let devices = DEVICES.to_vec();
    let reaped = run.vm.outcome(&Request::Reap { devices })?;
    let released = run.vm.clock.now();
    sleep(QUIET);
    let end = run.vm.clock.now();

    let usage = run.usage()?;
    // Whoever comes next gets the device.
    run.open_again(&DEVICES)?;
    let record = Record {
        orphaned,
        released: released..end,
        reaped,
        usage,
    };
    verdict(run, case, &record, reference)
}

fn verdict(run: Run, case: &Case, record: &Record, reference: &Usage) -> Result<Vec<Property>> {
    let seen = run.end()?;
    let kernels = split_kernels(&seen.remains.console);
    // A device that is stopped in the middle of its DMA faults.
    let crashes = kernels.iter().flat_map(KernelLog::crashes);
    let crashes: Vec<_> = crashes.map(str::to_owned).collect();
    let mut properties = vec![
        if case.stays {
            Property::equal("another process finishes", &record.reaped, OUTCOME_OK)
        } else {
            Property::equal("nothing is left to finish", &record.reaped, "ENOENT")
        },
        Property::new(
            "page tables take as much as without an update",
            record.usage == *reference,
            format!("{:?}, {reference:?} without", record.usage),
        ),
        Property::none("no kernel crashes or warns", &crashes),
    ];
    for series in &seen.series {
        let start = series.next_look(record.orphaned.start);
        let orphaned = series.within(&(start..record.orphaned.end)).bytes;
        let start = series.next_look(record.released.start);
        let released = series.within(&(start..record.released.end)).bytes;
        properties.push(Property::new(
            match case.stays {
                true => "the device goes on when the VMM is dead",
                false => "the device is stopped when the VMM dies",
            },
            (orphaned > 0) == case.stays,
            format!("{orphaned} bytes"),
        ));
        properties.push(Property::new(
            "it does nothing when it is released",
            released == 0,
            format!("{released} bytes"),
        ));
    }
    Ok(properties)
}

/// Where it is killed before another VMM goes the whole way back in its place. What it builds later
/// stays in the iommufd until that is closed.
const INHERITED: [Stage; 3] = [Stage::Bind, Stage::Restore, Stage::Attach];

fn inherit_at(options: &TestOptions, stage: Stage, name: &str) -> Result<Vec<Property>> {
    let (mut run, _) = Run::start(&options.common, name, &Machine::PLAIN, &DEVICES)?;
    let before = run.usage()?;
    run.vm.load_kernel("")?;
    run.preserve(&DEVICES)?;
    run.replace_kernel()?;
    run.come_back_and_die(&DEVICES, stage)?;
    let back = run.come_back(&DEVICES, Stage::Finish)?;
    let after = run.usage()?;
    let finished = run.vm.clock.now();
    sleep(QUIET);
    let end = run.vm.clock.now();
    let seen = run.end()?;

    let stopped = back.stopped.iter().map(|stopped| stopped.message.clone());
    let kernels = split_kernels(&seen.remains.console);
    let complaints = kernels.iter().flat_map(KernelLog::complaints);
    let complaints: Vec<_> = complaints.map(str::to_owned).collect();
    let window = finished..end;
    let bytes = seen
        .series
        .iter()
        .map(|series| series.within(&window).bytes);
    let bytes: u64 = bytes.sum();
    Ok(vec![
        Property::none(
            "another VMM comes back, up to FINISH",
            &stopped.collect::<Vec<_>>(),
        ),
        Property::new("the device goes on", bytes > 0, format!("{bytes} bytes")),
        Property::new(
            "page tables take as much as before",
            before == after,
            format!("{after:?}, {before:?} before"),
        ),
        Property::none("no kernel complains", &complaints),
    ])
}

/// Kills a VMM at each stage.
pub fn run(options: &TestOptions, results: &mut Results) -> Result<()> {
    let reference = reference(options)?;
    for case in &CASES {
        let name = format!("killed-{}", case.stage.name());
        match kill_at(options, case, &name, &reference) {
            Ok(properties) => results.properties(&name, properties),
            Err(error) => results.fail(&name, &format!("{error:#}")),
        }
    }
    for stage in INHERITED {
        let name = format!("killed-{}-inherited", stage.name());
        match inherit_at(options, stage, &name) {
            Ok(properties) => results.properties(&name, properties),
            Err(error) => results.fail(&name, &format!("{error:#}")),
        }
    }
    Ok(())
}
