// SPDX-License-Identifier: GPL-2.0
//! KUnit suites, started one by one over debugfs.

use super::results::Results;
use super::tap::Report;
use crate::cli::TestOptions;
use crate::vm::{Machine, Vm};
use anyhow::{Result, ensure};
use std::time::Duration;

const SUITES: &str = "/sys/kernel/debug/kunit";
/// Stops the folding of per-processor statistics, which would go on once more.
const STOP_FOLDING: &str = "echo 86400 > /proc/sys/vm/stat_interval && sleep 2";
/// Folds them now.
const FOLD: &str = "echo 1 > /proc/sys/vm/stat_refresh";
/// How long a suite may take.
const TIMEOUT: Duration = Duration::from_secs(300);

/// Runs every suite of the test kernel. The suites of generic_pt compare a statistic before and
/// after each test. It is kept per processor and folded into the global one now and then, so there
/// is one processor, and nothing is folded while they run.
pub fn run(options: &TestOptions, results: &mut Results) -> Result<()> {
    let mut options = options.on_test_kernel()?;
    options.cmdline_extra += " kunit.enable=1 kunit.autorun=0 maxcpus=1";
    let (mut vm, _) = Vm::boot(&options, "kunit", &Machine::PLAIN)?;
    let (_, stopped) = vm.run_program(&["/bin/busybox", "sh", "-c", STOP_FOLDING], TIMEOUT)?;
    ensure!(
        stopped == Some(0),
        "cannot change the folding of statistics"
    );
    let (suites, _) = vm.run_program(&["/bin/busybox", "ls", SUITES], TIMEOUT)?;
    ensure!(!suites.is_empty(), "the kernel has no KUnit suites");
    for suite in suites {
        let path = format!("{SUITES}/{suite}");
        let script = format!("{FOLD} && echo 1 > {path}/run && cat {path}/results");
        let (output, code) = vm.run_program(&["/bin/busybox", "sh", "-c", &script], TIMEOUT)?;
        let name = format!("kunit {suite}");
        let report = Report::parse(output.iter().map(|line| &**line));
        results.report(&name, &report, code, &options.out.join("logs/kunit"));
    }
    vm.power_off()?;
    Ok(())
}
