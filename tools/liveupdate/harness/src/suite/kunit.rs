// SPDX-License-Identifier: GPL-2.0
//! KUnit suites, started one by one over debugfs.

use super::results::Results;
use super::tap::Report;
use crate::cli::TestOptions;
use crate::vm::{Machine, Vm};
use anyhow::{Result, ensure};
use std::time::Duration;

const SUITES: &str = "/sys/kernel/debug/kunit";
/// How long a suite may take.
const TIMEOUT: Duration = Duration::from_secs(300);

/// Runs every suite of the test kernel. On one processor, because the suites of generic_pt compare
/// statistics that are kept per processor, and not at boot, for the same reason.
pub fn run(options: &TestOptions, results: &mut Results) -> Result<()> {
    let mut options = options.on_test_kernel()?;
    options.cmdline_extra += " kunit.enable=1 kunit.autorun=0 maxcpus=1";
    let (mut vm, _) = Vm::boot(&options, "kunit", &Machine::PLAIN)?;
    let (suites, _) = vm.run_program(&["/bin/busybox", "ls", SUITES], TIMEOUT)?;
    ensure!(!suites.is_empty(), "the kernel has no KUnit suites");
    for suite in suites {
        let path = format!("{SUITES}/{suite}");
        let script = format!("echo 1 > {path}/run && cat {path}/results");
        let (output, code) = vm.run_program(&["/bin/busybox", "sh", "-c", &script], TIMEOUT)?;
        let name = format!("kunit {suite}");
        let report = Report::parse(output.iter().map(|line| &**line));
        results.report(&name, &report, code, &options.out.join("logs/kunit"));
    }
    vm.power_off()?;
    Ok(())
}
