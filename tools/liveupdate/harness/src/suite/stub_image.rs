// SPDX-License-Identifier: GPL-2.0
//! The control of the refusal of images without KHO: with nothing preserved such an image starts.

use super::results::Results;
use super::selftests::OURS;
use crate::cli::TestOptions;
use crate::control::Gone;
use crate::vm::{Machine, Vm};
use anyhow::Result;
use std::time::Duration;

const PROGRAM: &str = "kexec_load_jump";
/// What the image writes to the console before it resets the machine.
const MESSAGE: &str = "kexec_load(2) image started";

/// Starts the image.
pub fn run(options: &TestOptions, results: &mut Results) -> Result<()> {
    let common = options.on_test_kernel()?;
    let (mut vm, _) = Vm::boot(&common, "stub-image", &Machine::PLAIN)?;
    let program = format!("/{OURS}/{PROGRAM}");
    let outcome = vm.run_program(&[&program], Duration::from_secs(30));
    let started = vm.console().contains(MESSAGE);
    let reset = outcome.is_err_and(|error| error.is::<Gone>());
    results.check(
        &format!("{OURS}/{PROGRAM}: an image without KHO starts when nothing is preserved"),
        started && reset,
        &format!("started: {started}, machine reset: {reset}"),
    );
    Ok(())
}
