// SPDX-License-Identifier: GPL-2.0
//! Kernel selftests in the machine.

use super::results::Results;
use super::tap::{Outcome, Report, TestResult};
use crate::cli::{Options, TestOptions};
use crate::qemu::Topology;
use crate::vm::{Machine, Vm};
use anyhow::{Context, Result};
use protocol::NEXT_KERNEL;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The project's own.
pub const OURS: &str = "iommu_liveupdate";
/// The tree's own, of what the project changes.
const TREE: [&str; 2] = ["iommu", "liveupdate"];
/// Programs that need a kexec between their two stages begin with this.
const STAGED: &str = "luo_";
/// The one of them that runs its second stage in a third kernel, too.
const THREE_KERNELS: &str = "luo_preserve_again";
/// The one of them whose next kernel says that it cannot take over.
const CANNOT_TAKE_OVER: &str = "luo_stopped";
/// Not a test of its own, see `stub_image`.
const NOT_ALONE: &str = "kexec_load_jump";
/// How long a program may take.
const TIMEOUT: Duration = Duration::from_secs(300);

/// Names of the programs of a target: what can be executed.
fn programs(selftests: &Path, target: &str) -> Result<Vec<String>> {
    let path = selftests.join(target);
    let mut names = Vec::new();
    for entry in fs::read_dir(&path).with_context(|| path.display().to_string())? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let executable = metadata.is_file() && metadata.permissions().mode() & 0o111 != 0;
        if executable && !name.contains('.') && name != NOT_ALONE {
            names.push(name);
        }
    }
    names.sort();
    anyhow::ensure!(!names.is_empty(), "no programs in {}", path.display());
    Ok(names)
}

/// What a program, or a stage of it, gave.
struct Run {
    report: Report,
    code: Option<i32>,
}

impl Run {
    /// The results; of a program that prints none, whether it has succeeded.
    fn results(self) -> Vec<TestResult> {
        if !self.report.results.is_empty() {
            return self.report.results;
        }
        let outcome = if self.code == Some(0) {
            Outcome::Pass
        } else {
            Outcome::Fail
        };
        vec![TestResult {
            name: format!("exit status {:?}", self.code),
            outcome,
        }]
    }
}

/// Runs one stage of a program.
fn stage(vm: &mut Vm, target: &str, program: &str, stage: Option<&str>) -> Result<Run> {
    let path = format!("/{target}/{program}");
    let kernel = format!("IOMMU_LIVEUPDATE_KERNEL={NEXT_KERNEL}");
    let mut argv = vec![
        "/bin/busybox",
        "env",
        "IOMMU_LIVEUPDATE_STRICT=1",
        &kernel,
        &path,
    ];
    argv.extend(stage.map(|stage| ["-s", stage]).into_iter().flatten());
    let (output, code) = vm.run_program(&argv, TIMEOUT)?;
    let report = Report::parse(output.iter().map(|line| &**line));
    Ok(Run { report, code })
}

/// Makes a copy of a kernel that says that it knows another format of preserved memory than it does,
/// and returns its path.
fn lying_kernel(kernel: &Path, out: &Path) -> Result<PathBuf> {
    const TRUTH: &[u8] = b"memfd-v2\0";
    const LIE: &[u8] = b"memfd-v1\0";
    let mut image = fs::read(kernel).with_context(|| kernel.display().to_string())?;
    let place = image
        .windows(TRUTH.len())
        .rposition(|window| window == TRUTH);
    let place = place.context("the kernel does not say what it can take over")?;
    image[place..][..LIE.len()].copy_from_slice(LIE);
    fs::create_dir_all(out).with_context(|| out.display().to_string())?;
    let copy = out.join("lying-kernel");
    fs::write(&copy, image).with_context(|| copy.display().to_string())?;
    Ok(copy)
}

/// Runs a program in a machine of its own; returns what each of its stages gave.
fn run_program(options: &Options, name: &str, target: &str, program: &str) -> Result<Vec<Run>> {
    let machine = Machine {
        topology: Topology::Refused,
        ..Machine::PLAIN
    };
    let mut options = options.clone();
    if program == CANNOT_TAKE_OVER {
        options.next_kernel = Some(lying_kernel(options.next_kernel(), &options.out)?);
    }
    let (mut vm, _) = Vm::boot(&options, name, &machine)?;
    let mut runs = Vec::new();
    if program.starts_with(STAGED) {
        let updates = if program == THREE_KERNELS { 2 } else { 1 };
        runs.push(stage(&mut vm, target, program, Some("1"))?);
        for _ in 0..updates {
            vm.load_kernel("")?;
            vm.kexec()?;
            runs.push(stage(&mut vm, target, program, Some("2"))?);
        }
    } else {
        runs.push(stage(&mut vm, target, program, None)?);
    }
    vm.power_off()?;
    Ok(runs)
}

/// The project's own selftests, on the test kernel.
pub fn run_ours(options: &TestOptions, results: &mut Results) -> Result<()> {
    let common = options.on_test_kernel()?;
    for program in programs(options.selftests()?, OURS)? {
        let name = format!("{OURS}/{program}");
        let log = format!("selftest-{program}");
        match run_program(&common, &log, OURS, &program) {
            Ok(runs) => {
                for run in runs {
                    let path = common.out.join("logs").join(&log);
                    results.report(&name, &run.report, run.code, &path);
                }
            }
            Err(error) => results.fail(&name, &format!("{error:#}")),
        }
    }
    Ok(())
}

/// The first difference between what two kernels gave.
fn difference(patched: &[TestResult], unpatched: &[TestResult]) -> Option<String> {
    let missing = unpatched.iter().find(|result| !patched.contains(result));
    let new = patched.iter().find(|result| !unpatched.contains(result));
    match (new, missing) {
        (None, None) => None,
        (new, missing) => Some(format!("patched: {new:?}, unpatched: {missing:?}")),
    }
}

/// The tree's own selftests give the same results with the project, with it switched off, and
/// without it.
pub fn compare_tree(options: &TestOptions, results: &mut Results) -> Result<()> {
    let unpatched = options.on_unpatched_kernel()?;
    let others = [
        ("patched", options.on_test_kernel()?),
        ("patched but off", options.on_disabled_kernel()?),
    ];
    for target in TREE {
        for program in programs(options.selftests()?, target)? {
            let all = |options, kernel: &str| -> Result<Vec<TestResult>> {
                let log = format!("{}-{target}-{program}", kernel.replace(' ', "-"));
                let runs = run_program(options, &log, target, &program)?;
                Ok(runs.into_iter().flat_map(Run::results).collect())
            };
            let expected = all(&unpatched, "unpatched");
            for (kernel, options) in &others {
                let name = format!("{target}/{program}: {kernel} as unpatched");
                match (&expected, all(options, kernel)) {
                    (Ok(expected), Ok(found)) => {
                        let observed = difference(&found, expected);
                        let some = found.iter().any(|result| result.outcome == Outcome::Pass);
                        let holds = observed.is_none() && some;
                        let observed = observed.unwrap_or_else(|| "nothing passed".into());
                        results.check(&name, holds, &observed);
                    }
                    (Err(error), _) => results.fail(&name, &format!("{error:#}")),
                    (_, Err(error)) => results.fail(&name, &format!("{error:#}")),
                }
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_found_either_way() {
        let result = |name: &str, outcome| TestResult {
            name: name.into(),
            outcome,
        };
        let a = [result("a", Outcome::Pass), result("b", Outcome::Fail)];
        let b = [result("a", Outcome::Pass), result("b", Outcome::Pass)];
        assert_eq!(difference(&a, &a), None);
        assert!(difference(&a, &b).is_some());
        assert!(difference(&a[..1], &a).is_some());
        assert!(difference(&a, &a[..1]).is_some());
    }
}
