// SPDX-License-Identifier: GPL-2.0
//! Replacing page tables under DMA again and again, and the control: a kernel without the patches,
//! in which a device now and then meets neither the old nor the new one.

use super::results::Results;
use crate::cli::{Options, TestOptions};
use crate::run::Run;
use crate::scenario::{self, Record, Scenario};
use crate::verdict::{self, Property};
use crate::vm::Machine;
use anyhow::Result;
use protocol::Device;

/// Swaps that must go unnoticed.
const SWAPS: u32 = 10_000;
/// In the control a fault is expected in about two thousand.
const CONTROL_STEP: u32 = 1_000;
const CONTROL_MOST: u32 = 200_000;

const HITLESS: Scenario = Scenario {
    name: "swaps",
    swaps: SWAPS,
    ..Scenario::PRESERVED
};

fn hitless(record: &Record) -> Result<Vec<Property>> {
    let mut properties = verdict::update(record)?;
    let swap = &record.first()?.marks.swap;
    for series in &record.series {
        let seen = series.within(swap);
        let claim = format!("{}: DMA during {SWAPS} swaps", series.device.name());
        let observed = format!("{} bytes, {} commands", seen.bytes, seen.ios);
        properties.push(Property::new(claim, seen.bytes > 0, observed));
    }
    Ok(properties)
}

/// Swaps until there is a fault; returns the number of swaps and of faults.
fn control(options: &Options) -> Result<(u32, usize)> {
    let devices = [Device::Es1370, Device::Nvme];
    let (mut run, _) = Run::start(options, "swaps-unpatched", &Machine::LOADED, &devices)?;
    let mut swaps = 0;
    let mut faults = 0;
    while faults == 0 && swaps < CONTROL_MOST {
        run.swap(CONTROL_STEP)?;
        swaps += CONTROL_STEP;
        faults = run.vm.iommu_trace()?.faults.len();
    }
    run.end()?;
    Ok((swaps, faults))
}

/// Runs both.
pub fn run(options: &TestOptions, results: &mut Results) -> Result<()> {
    let record = scenario::run(&options.common, &HITLESS);
    match record.and_then(|record| hitless(&record)) {
        Ok(properties) => results.properties(HITLESS.name, properties),
        Err(error) => results.fail(HITLESS.name, &format!("{error:#}")),
    }
    let (swaps, faults) = control(&options.on_unpatched_kernel()?)?;
    results.check(
        "swaps-unpatched: a swap shows as a fault without the patches",
        faults > 0,
        &format!("{faults} faults in {swaps} swaps"),
    );
    Ok(())
}
