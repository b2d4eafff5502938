// SPDX-License-Identifier: GPL-2.0
//! What was counted, step by step.

use super::step::{FREEZE, NEW, OLD, Step, USERSPACE};
use anyhow::{Context, Result, ensure};
use protocol::{Call, Counts, Entry};
use serde::Serialize;
use std::cmp::Reverse;
use std::collections::BTreeMap;

/// Functions that are listed of a profile.
const LISTED: usize = 5;

/// Instructions by step.
pub type Figures = BTreeMap<Step, u64>;

/// The functions in which a step spends most.
#[derive(Clone, Debug, Serialize)]
pub struct Share {
    /// The function, without what it calls.
    pub function: String,
    /// Of the instructions of the step.
    pub percent: f64,
}

/// The calls that a step is, in the order of time.
fn calls(counts: &Counts, step: Step) -> Result<Vec<&Call>> {
    let calls = counts.calls.iter();
    let is =
        |call: &&Call| call.kernel == step.kernel() && step.functions().contains(&&*call.function);
    let calls: Vec<_> = calls.filter(is).collect();
    for call in &calls {
        ensure!(
            call.entry == Entry::Call,
            "{} was entered by a jump: where it ends is not known",
            call.function
        );
        ensure!(call.returned, "{} has not returned", call.function);
    }
    ensure!(!calls.is_empty(), "no call of {:?}", step.functions());
    // A session is filled twice, and the first time counts.
    let first = match step {
        Step::Preserve => calls.len() / 2,
        _ => calls.len(),
    };
    Ok(calls.into_iter().take(first).collect())
}

/// Instructions while any of these calls, which are in the order of time, was going on. What several
/// threads do at the same time counts once.
fn during(calls: &[&Call]) -> u64 {
    let (mut instructions, mut until): (u64, u64) = (0, 0);
    for call in calls {
        let end = call.start.saturating_add(call.instructions);
        instructions = instructions.saturating_add(end.saturating_sub(call.start.max(until)));
        until = until.max(end);
    }
    instructions
}

/// The figures of all steps.
///
/// # Errors
///
/// A step that did not take place, or whose calls cannot be followed.
pub fn figures(counts: &Counts) -> Result<Figures> {
    let figure = |step: Step| {
        let calls = calls(counts, step).with_context(|| step.name())?;
        Ok((step, during(&calls)))
    };
    Step::ALL.into_iter().map(figure).collect()
}

/// What the guest's standstill takes, as far as it is this subsystem's.
pub fn blackout(figures: &Figures) -> u64 {
    let steps = Step::BLACKOUT.iter();
    steps.filter_map(|step| figures.get(step)).sum()
}

/// Everything from `reboot(KEXEC)` to the new kernel's userspace.
pub fn reboot(counts: &Counts) -> Result<u64> {
    let start = |kernel, function: &str| {
        let mut calls = counts.calls.iter();
        let call = calls.find(|call| call.kernel == kernel && call.function == function);
        let call = call.with_context(|| format!("no call of {function}"))?;
        anyhow::Ok(call.start)
    };
    let (from, to) = (start(OLD, FREEZE)?, start(NEW, USERSPACE)?);
    to.checked_sub(from).context("the new kernel came first")
}

/// Where each step spends most.
pub fn profiles(counts: &Counts) -> BTreeMap<Step, Vec<Share>> {
    let profile = |step: Step| {
        let mut functions = BTreeMap::<&str, u64>::new();
        for entry in &counts.profile {
            if entry.kernel == step.kernel() && step.functions().contains(&&*entry.within) {
                *functions.entry(&entry.function).or_default() += entry.instructions;
            }
        }
        let all: u64 = functions.values().sum();
        let mut functions: Vec<_> = functions.into_iter().collect();
        functions.sort_by_key(|(_, instructions)| Reverse(*instructions));
        let functions = functions.into_iter().take(LISTED);
        let shares = functions.map(|(function, instructions)| Share {
            function: function.into(),
            percent: (instructions as f64 / all as f64 * 1000.0).round() / 10.0,
        });
        let shares = shares.collect();
        (step, shares)
    };
    Step::ALL.into_iter().map(profile).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::ProfileEntry;

    fn call(function: &str, kernel: u32, start: u64, instructions: u64) -> Call {
        Call {
            function: function.into(),
            kernel,
            start,
            instructions,
            depth: 0,
            entry: Entry::Call,
            returned: true,
        }
    }

    /// Each function is called twice in the kernel that it belongs to, and takes 10 and then 20.
    fn counts() -> Counts {
        let mut calls = Vec::new();
        for kernel in [OLD, NEW] {
            for instructions in [10, 20] {
                for step in Step::ALL.iter().filter(|step| step.kernel() == kernel) {
                    for function in step.functions() {
                        let start = 100 * calls.len() as u64;
                        calls.push(call(function, kernel, start, instructions));
                    }
                }
            }
        }
        calls.push(call(USERSPACE, NEW, 100_000, 1));
        Counts {
            calls,
            ..Counts::default()
        }
    }

    #[test]
    fn calls_add_up() {
        let figures = figures(&counts()).unwrap();
        assert_eq!(figures[&Step::Freeze], 30);
        assert_eq!(figures[&Step::Reservation], 60);
        // Only the first session, of two files.
        assert_eq!(figures[&Step::Preserve], 20);
        assert_eq!(blackout(&figures), 30 + 30 + 30 + 30);
    }

    #[test]
    fn the_reboot_ends_in_the_new_kernel() {
        let mut counts = counts();
        let freeze = counts.calls.iter().find(|call| call.function == FREEZE);
        let start = freeze.unwrap().start;
        assert_eq!(reboot(&counts).unwrap(), 100_000 - start);
        counts.calls.pop();
        assert!(reboot(&counts).is_err());
    }

    #[test]
    fn what_cannot_be_followed_is_no_figure() {
        let change = |change: fn(&mut Call)| {
            let mut counts = counts();
            let mut calls = counts.calls.iter_mut();
            change(calls.find(|call| call.function == FREEZE).unwrap());
            figures(&counts).map(|figures| figures[&Step::Freeze])
        };
        assert_eq!(change(|_| ()).unwrap(), 30);
        assert!(change(|call| call.entry = Entry::Jump).is_err());
        assert!(change(|call| call.returned = false).is_err());
        // A call in the other kernel is something else.
        assert_eq!(change(|call| call.kernel = NEW).unwrap(), 20);
    }

    #[test]
    fn a_profile_has_shares() {
        let entry = |function: &str, kernel, instructions| ProfileEntry {
            within: FREEZE.into(),
            kernel,
            function: function.into(),
            instructions,
        };
        let counts = Counts {
            profile: vec![entry("a", OLD, 1), entry("b", OLD, 3), entry("c", NEW, 9)],
            ..Counts::default()
        };
        let profile = &profiles(&counts)[&Step::Freeze];
        let shares: Vec<_> = profile
            .iter()
            .map(|share| (&*share.function, share.percent))
            .collect();
        assert_eq!(shares, [("b", 75.0), ("a", 25.0)]);
        assert!(profiles(&counts)[&Step::Verify].is_empty());
    }

    #[test]
    fn what_goes_on_at_the_same_time_counts_once() {
        let calls = [
            call("a", NEW, 100, 50),
            call("a", NEW, 110, 20),
            call("a", NEW, 140, 30),
            call("a", NEW, 500, 5),
        ];
        assert_eq!(during(&calls.each_ref()), 70 + 5);
        assert_eq!(during(&[]), 0);
    }

    #[test]
    fn a_step_without_calls_is_an_error() {
        let mut counts = counts();
        counts.calls.retain(|call| call.function != FREEZE);
        assert!(figures(&counts).is_err());
    }
}
