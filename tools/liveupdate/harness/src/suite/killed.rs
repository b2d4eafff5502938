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
const STAGES: [Stage; 10] = [
    Stage::Session,
    Stage::Memory,
    Stage::Iommufd,
    Stage::Functions,
    Stage::Bind,
    Stage::Restore,
    Stage::Attach,
    Stage::Verify,
    Stage::Swap,
    Stage::Destroy,
];

/// What was observed.
struct Record {
    /// The VMM is dead, nobody has done anything.
    orphaned: Range<Duration>,
    /// The device was released.
    released: Range<Duration>,
    /// What the reaper's `FINISH` gave.
    finish: String,
    /// With the device attached, in the old kernel and, anew, in the new one.
    usage: [Usage; 2],
}

fn kill_at(options: &TestOptions, stage: Stage, name: &str) -> Result<Vec<Property>> {
    let (mut run, _) = Run::start(&options.common, name, &Machine::PLAIN, &DEVICES)?;
    let before = run.usage()?;
    run.vm.load_kernel("")?;
    run.preserve(&DEVICES)?;
    run.replace_kernel()?;
    let back = run.come_back_and_die(&DEVICES, stage)?;
    if let Some(stopped) = back.stopped {
        bail!("the VMM did not come so far: {}", stopped.message);
    }
    let killed = run.vm.clock.now();
    sleep(QUIET);
    let reaped = run.vm.clock.now();
    let devices = DEVICES.to_vec();
    let finish = run.vm.outcome(&Request::Reap { devices })?;
    let released = run.vm.clock.now();
    sleep(QUIET);
    let end = run.vm.clock.now();

    // Whoever comes next gets the device, and there is as much of everything as before.
    run.open_again(&DEVICES)?;
    let usage = [before, run.usage()?];
    let record = Record {
        orphaned: killed..reaped,
        released: released..end,
        finish,
        usage,
    };
    verdict(run, &record)
}

fn verdict(run: Run, record: &Record) -> Result<Vec<Property>> {
    let seen = run.end()?;
    let kernels = split_kernels(&seen.remains.console);
    let complaints = kernels.iter().flat_map(KernelLog::complaints);
    let complaints: Vec<_> = complaints.map(str::to_owned).collect();
    let [before, after] = &record.usage;
    let mut properties = vec![
        Property::equal("another process finishes", &record.finish, OUTCOME_OK),
        Property::new(
            "page tables take as much as before",
            before == after,
            format!("{after:?}, {before:?} before"),
        ),
        Property::none("no kernel complains", &complaints),
    ];
    for series in &seen.series {
        let orphaned = series.within(&record.orphaned).bytes;
        let start = series.next_look(record.released.start);
        let released = series.within(&(start..record.released.end)).bytes;
        properties.push(Property::new(
            "the device goes on when the VMM is dead",
            orphaned > 0,
            format!("{orphaned} bytes"),
        ));
        properties.push(Property::new(
            "it is stopped when it is released",
            released == 0,
            format!("{released} bytes"),
        ));
    }
    Ok(properties)
}

/// Kills a VMM at each stage.
pub fn run(options: &TestOptions, results: &mut Results) -> Result<()> {
    for stage in STAGES {
        let name = format!("killed-{}", stage.name());
        match kill_at(options, stage, &name) {
            Ok(properties) => results.properties(&name, properties),
            Err(error) => results.fail(&name, &format!("{error:#}")),
        }
    }
    Ok(())
}
