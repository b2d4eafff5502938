// SPDX-License-Identifier: GPL-2.0
//! The demonstration: one update with preservation, one without.

use crate::cli::Options;
use crate::report;
use crate::scenario;
use crate::verdict;
use crate::vm::Vm;
use anyhow::Result;
use protocol::Preserve;

/// Runs both and writes the report; returns whether every property holds.
pub fn run(options: &Options) -> Result<bool> {
    let preserved = scenario::run(options, "demo", Preserve::MemoryAndIommufd)?;
    let control = scenario::run(options, "demo-control", Preserve::MemoryOnly)?;
    let mut properties = verdict::preserved(&preserved)?;
    properties.extend(verdict::control(&control)?);
    report::write(options, &preserved, &control, &properties)?;
    Ok(properties.iter().all(|property| property.holds))
}

/// Boots and says who answers.
pub fn boot(options: &Options) -> Result<()> {
    let (vm, hello) = Vm::boot(options, "boot", 1, 100)?;
    println!("{} {}", hello.release, hello.version);
    vm.power_off()?;
    Ok(())
}
