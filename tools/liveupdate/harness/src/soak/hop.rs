// SPDX-License-Identifier: GPL-2.0
//! One damaged hand-over.

use super::attack::{Attack, Expected, Kind, Target};
use super::sessions::{Outcome, Session, Sessions, Usage, WORKS};
use crate::ram::GuestRam;
use crate::timeline::CRASHES;
use anyhow::{Context, Result};
use fastrand::Rng;
use protocol::Stage;
use serde::Serialize;
use std::time::{Duration, Instant};

/// Lets the next kernel check page tables before it uses them.
pub const CHECK_TABLES: &str = "iommu_liveupdate.check_tables=1";
/// Lets it check nothing at all.
pub const TRUST: &str = "iommu_liveupdate.check_tables=1 iommu_liveupdate.trust=1";
/// Commands in flight while the kernel is replaced, and after that.
const IN_FLIGHT: u16 = 14;
const AFTERWARDS: u16 = 3;
/// What is left of the drive's queue is done after this.
const DRAINED: Duration = Duration::from_secs(3);
/// How the kernel says that a function does not come back.
const NO_FUNCTION: &str = "cannot be retrieved";
/// How the kernel says that memory is lost.
const RESERVED: [&str; 2] = [" reserved: ", "are not as they were preserved"];
/// How much memory may be lost, in KiB: the block that the page tables of a domain come from, and
/// what is not in it.
const MUCH: u64 = 2048 + 256;
/// How the kernel says that it lets something not go on.
const REASONS: [&str; 6] = [
    NO_FUNCTION,
    "rejected: ",
    "cannot go on",
    "blocks all DMA: ",
    "DMA is stopped: ",
    "a node of the index: ",
];

/// What was observed.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Record {
    /// Its number in the run, which together with the seed says what was done.
    pub number: usize,
    /// The kind of attack, empty for none.
    pub kind: String,
    /// What was done.
    pub what: String,
    /// What became of the victim.
    pub victim: String,
    /// What became of the healthy session.
    pub healthy: String,
    /// What became of the memory.
    pub memory: String,
    /// Why, in the words of the kernel.
    pub reasons: Vec<String>,
    /// Whether the new kernel came up.
    pub booted: bool,
    /// What it printed when something went wrong.
    pub crashes: Vec<String>,
    /// Canaries that somebody has written to.
    pub touched: Vec<String>,
    /// Whatever else is not as it must be.
    pub problems: Vec<String>,
    /// How long it took.
    pub seconds: f64,
}

impl Record {
    /// Whether everything is as it must be.
    pub fn holds(&self) -> bool {
        self.booted
            && self.crashes.is_empty()
            && self.touched.is_empty()
            && self.problems.is_empty()
    }

    /// Everything that is not as it must be.
    pub fn failures(&self) -> Vec<String> {
        let lists = [&self.crashes, &self.touched, &self.problems];
        lists.into_iter().flatten().cloned().collect()
    }

    /// Whether the kernel has said why something does not go on, if so. That a function cannot be
    /// retrieved says nothing about its iommufd.
    fn says_why(&self) -> bool {
        let iommufd = Stage::Iommufd.name();
        let outcomes = [&self.victim, &self.healthy];
        let mut reasons = self.reasons.iter();
        if outcomes.iter().any(|outcome| outcome.starts_with(iommufd)) {
            return reasons.any(|reason| !reason.contains(NO_FUNCTION));
        }
        outcomes.iter().all(|outcome| *outcome == WORKS) || !self.reasons.is_empty()
    }

    fn expect(&mut self, session: Session, outcome: &Outcome, attack: Option<&Attack>) {
        let expected = match (session, attack) {
            (Session::Victim, Some(attack)) => attack.victim,
            (Session::Healthy, Some(attack)) => attack.healthy,
            _ => Expected::Works,
        };
        let holds = match expected {
            Expected::Works => *outcome == Outcome::Works,
            Expected::FailsClosed => *outcome != Outcome::Works,
            Expected::Either => true,
        };
        if !holds {
            self.problems.push(format!(
                "the session \"{}\": {}, not {expected:?}",
                session.name(),
                outcome.describe()
            ));
        }
        // Damage has an errno of its own.
        let Outcome::FailedClosed(Stage::Iommufd, errno) = outcome else {
            return;
        };
        let known = attack.and_then(|attack| attack.errno);
        let holds = match known {
            Some(known) => errno == known,
            None => ["EBADMSG", "EPROTONOSUPPORT"].contains(&&**errno),
        };
        if !holds {
            self.problems.push(format!(
                "retrieving the iommufd of \"{}\" gives {errno}",
                session.name()
            ));
        }
    }
}

/// What to do to a hand-over.
pub struct Plan<'a> {
    /// Its number.
    pub number: usize,
    /// The kind of attack, if any.
    pub kind: Option<&'a Kind<GuestRam>>,
    /// What it is made of.
    pub rng: Rng,
    /// What kernels use in the end, when it is known.
    pub usage: Option<Usage>,
}

impl Plan<'_> {
    fn attack(&mut self, sessions: &mut Sessions) -> Result<Option<Attack>> {
        let page = sessions.progress().context("the victim does nothing")?;
        let around = sessions.surroundings(page);
        let handover = sessions.preserve()?;
        let Some(kind) = self.kind else {
            sessions.damage(Vec::new())?;
            return Ok(None);
        };
        let target = Target {
            ram: &*sessions.vm.ram,
            handover: &handover,
            around: &around,
        };
        let attack = (kind.make)(&target, &mut self.rng)?;
        sessions.damage(attack.writes.clone())?;
        Ok(Some(attack))
    }

    /// Carries it out. `record` has what was observed also when something fails.
    pub fn carry_out(mut self, sessions: &mut Sessions, record: &mut Record) -> Result<Usage> {
        let start = Instant::now();
        record.number = self.number;
        record.kind = self.kind.map_or("none", |kind| kind.name).into();
        sessions.load_kernel(CHECK_TABLES)?;
        if self.kind.is_some_and(|kind| kind.shared) {
            sessions.complete()?;
        } else {
            sessions.queue(IN_FLIGHT)?;
        }
        let attack = self.attack(sessions)?;
        record.what = attack.as_ref().map_or(String::new(), |a| a.what.clone());
        let old = sessions.touched(true)?;
        record.touched.extend(old);

        let first = sessions.vm.console().count();
        let result = self.try_new_kernel(sessions, attack.as_ref(), record);
        let lines = sessions.vm.console().since(first);
        let texts = || lines.iter().map(|line| &*line.text);
        let crashes = texts().filter(|text| CRASHES.iter().any(|word| text.contains(word)));
        record.crashes.extend(crashes.map(str::to_owned));
        let reasons = texts().filter(|text| REASONS.iter().any(|word| text.contains(word)));
        record.reasons.extend(reasons.map(without_time));
        record.seconds = start.elapsed().as_secs_f64();

        let usage = result?;
        if !record.says_why() {
            let problem = "nothing in the kernel log says why";
            record.problems.push(problem.into());
        }
        let lost = attack.is_some_and(|attack| attack.loses_memory)
            && texts().any(|text| RESERVED.iter().any(|words| text.contains(words)));
        if let Some(known) = self.usage
            && !(known == usage || lost && usage.is_short_of(&known, MUCH))
        {
            let problem = format!("in the end {usage:?}, not {known:?}");
            record.problems.push(problem);
        }
        Ok(usage)
    }

    fn try_new_kernel(
        &mut self,
        sessions: &mut Sessions,
        attack: Option<&Attack>,
        record: &mut Record,
    ) -> Result<Usage> {
        sessions.replace_kernel()?;
        record.booted = true;
        let touched = sessions.touched(false)?;
        record.touched.extend(touched);
        sessions.take_memory()?;

        let victim = sessions.come_back(Session::Victim);
        let victim = victim.context("the session \"victim\"")?;
        record.victim = victim.describe();
        record.expect(Session::Victim, &victim, attack);
        match victim {
            Outcome::Works if sessions.progress().is_none() => {
                let problem = "the victim's device does nothing";
                record.problems.push(problem.into());
            }
            Outcome::FailedClosed(..) if !sessions.is_silent() => {
                let problem = "the victim's device goes on";
                record.problems.push(problem.into());
            }
            _ => {}
        }
        let healthy = sessions.come_back(Session::Healthy);
        let healthy = healthy.context("the session \"healthy\"")?;
        record.healthy = healthy.describe();
        record.expect(Session::Healthy, &healthy, attack);
        if healthy == Outcome::Works {
            sessions.queue(AFTERWARDS)?;
        }
        let memory = sessions.come_back(Session::Memory);
        let memory = memory.context("the session \"memory\"")?;
        record.memory = memory.describe();
        record.expect(Session::Memory, &memory, attack);

        if victim != Outcome::Works {
            sessions.open(Session::Victim)?;
        }
        if healthy == Outcome::Works {
            sessions.complete().context("the healthy session")?;
        } else {
            if self.kind.is_none_or(|kind| !kind.shared) {
                std::thread::sleep(DRAINED);
            }
            sessions.open(Session::Healthy)?;
        }
        let touched = sessions.touched(true)?;
        record.touched.extend(touched);
        sessions.usage()
    }
}

/// A line of the kernel log without its time.
fn without_time(text: &str) -> String {
    let text = match text.split_once("] ") {
        Some((time, rest)) if time.starts_with('[') => rest,
        _ => text,
    };
    text.trim_start_matches("iommu_liveupdate: ").into()
}
