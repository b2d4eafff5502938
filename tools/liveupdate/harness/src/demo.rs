// SPDX-License-Identifier: GPL-2.0
//! The demonstration: updates with preservation, and one without.

use crate::cli::Options;
use crate::report;
use crate::scenario::{self, Scenario};
use crate::verdict;
use crate::vm::{Machine, Vm};
use anyhow::Result;

/// Runs both and writes the report; returns whether every property holds.
pub fn run(options: &Options) -> Result<bool> {
    let preserved = scenario::run(options, &Scenario::DEMO)?;
    let control = scenario::run(options, &Scenario::CONTROL)?;
    let mut properties = verdict::demo(&preserved)?;
    let controls = verdict::update(&control)?.into_iter();
    properties.extend(controls.map(|property| property.of("control")));
    report::write(options, &preserved, &control, &properties)?;
    Ok(properties.iter().all(|property| property.holds))
}

/// Boots and says who answers.
pub fn boot(options: &Options) -> Result<()> {
    let (vm, hello) = Vm::boot(options, "boot", &Machine::PLAIN)?;
    println!("{} {}", hello.release, hello.version);
    vm.power_off()?;
    Ok(())
}
