// SPDX-License-Identifier: GPL-2.0
//! Hand-overs that are damaged in many ways, one after the other.
//!
//! Several machines share the work. What is done in the hand-over with a number follows from the
//! seed and that number alone, but for the addresses, so that any of them can be done again.

mod attack;
mod canary;
mod control;
mod fdt;
mod handover;
mod hop;
mod report;
mod sessions;

pub use control::run as control;
pub use report::Report;

use crate::cli::Options;
use crate::ram::GuestRam;
use crate::status::Status;
use anyhow::{Result, ensure};
use attack::Kind;
use fastrand::Rng;
use hop::{Plan, Record};
use sessions::{Sessions, Usage};
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// Machines that run at the same time.
const MACHINES: usize = 2;
/// A machine that fails is replaced, but not for ever.
const MAX_FAILED: usize = 20;

/// What to do.
#[derive(Clone, Debug)]
pub struct Soak {
    /// From what everything follows.
    pub seed: u64,
    /// The numbers of the hand-overs.
    pub numbers: std::ops::Range<usize>,
    /// Kinds of attack whose names contain this.
    pub only: String,
}

/// A machine with what its kernels use in the end.
struct Worker<'a> {
    options: &'a Options,
    name: String,
    machine: Option<(Sessions, Usage)>,
    machines: usize,
}

impl Worker<'_> {
    /// The machine, after a hand-over that was not damaged: everything has to work there, and what
    /// its kernel uses in the end is what all others have to.
    fn machine(&mut self) -> Result<&mut (Sessions, Usage)> {
        let machine = match self.machine.take() {
            Some(machine) => machine,
            None => {
                let name = format!("{}-{}", self.name, self.machines);
                self.machines += 1;
                let mut sessions = Sessions::start(self.options, &name)?;
                let usage = undamaged(&mut sessions)?;
                (sessions, usage)
            }
        };
        Ok(self.machine.insert(machine))
    }

    fn attack(&mut self, number: usize, kind: &Kind<GuestRam>, rng: Rng) -> Result<Record> {
        let (sessions, usage) = self.machine()?;
        let plan = Plan {
            number,
            kind: Some(kind),
            rng,
            usage: Some(*usage),
        };
        let mut record = Record::default();
        if let Err(error) = plan.carry_out(sessions, &mut record) {
            record.problems.push(format!("{error:#}"));
            // Nothing is known about its state.
            self.machine = None;
        }
        Ok(record)
    }
}

/// Hands over without damage; returns what the new kernel uses in the end.
fn undamaged(sessions: &mut Sessions) -> Result<Usage> {
    let plan = Plan {
        number: 0,
        kind: None,
        rng: Rng::with_seed(0),
        usage: None,
    };
    let mut record = Record::default();
    let usage = plan.carry_out(sessions, &mut record)?;
    ensure!(record.holds(), "without damage: {:?}", record.failures());
    Ok(usage)
}

/// The kind of attack with this number, and what it is made of.
fn choose<'a, R>(kinds: &'a [Kind<R>], soak: &Soak, number: usize) -> Result<(&'a Kind<R>, Rng)> {
    let kinds: Vec<_> = kinds
        .iter()
        .filter(|kind| kind.name.contains(&soak.only))
        .collect();
    ensure!(
        !kinds.is_empty(),
        "no kind of attack is called {:?}",
        soak.only
    );
    // Every kind as often as any other.
    let kind = kinds[number % kinds.len()];
    let mut rng = Rng::with_seed(soak.seed);
    let rng = Rng::with_seed(rng.u64(..) ^ (number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    Ok((kind, rng))
}

/// How many kinds of attack there are.
pub fn kinds() -> usize {
    attack::kinds::<GuestRam>().len()
}

/// Runs it; the records are in the order of their numbers.
pub fn run(options: &Options, soak: &Soak) -> Report {
    let kinds = attack::kinds::<GuestRam>();
    let next = AtomicUsize::new(soak.numbers.start);
    let records = Mutex::new(Vec::new());
    let errors = Mutex::new(Vec::new());
    let status = Mutex::new(Status::new("soak"));
    thread::scope(|scope| {
        for machine in 0..MACHINES {
            let (kinds, next, records, errors, status) =
                (&kinds, &next, &records, &errors, &status);
            scope.spawn(move || {
                let mut worker = Worker {
                    options,
                    name: format!("soak-{machine}"),
                    machine: None,
                    machines: 0,
                };
                while worker.machines < MAX_FAILED {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= soak.numbers.end {
                        break;
                    }
                    let result = choose(kinds, soak, number)
                        .and_then(|(kind, rng)| worker.attack(number, kind, rng));
                    match result {
                        Ok(record) => {
                            report::progress(&lock(status), &record, &soak.numbers);
                            lock(records).push(record);
                        }
                        Err(error) => {
                            lock(errors).push(format!("hand-over {number}: {error:#}"));
                            break;
                        }
                    }
                }
                if let Some((sessions, _)) = worker.machine
                    && let Err(error) = sessions.end()
                {
                    lock(errors).push(format!("{error:#}"));
                }
            });
        }
    });
    drop(status);
    let errors = errors.into_inner().unwrap_or_else(PoisonError::into_inner);
    let mut records = records.into_inner().unwrap_or_else(PoisonError::into_inner);
    records.sort_by_key(|record: &Record| record.number);
    Report::new(soak, records, errors)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
