// SPDX-License-Identifier: GPL-2.0
//! What came of it, for people and for programs.

use super::Soak;
use super::hop::Record;
use super::sessions::WORKS;
use crate::status::Status;
use crate::verdict::Property;
use anyhow::{Context, Result};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::ops::Range;
use std::path::Path;

/// Says how a hand-over went, if it is worth it.
pub fn progress(status: &Status, record: &Record, numbers: &Range<usize>) {
    status.phase(&format!(
        "{} of {}: {}",
        record.number + 1 - numbers.start,
        numbers.len(),
        record.kind
    ));
    for failure in record.failures() {
        println!(
            "FAIL hand-over {} ({}, {}): {failure}",
            record.number, record.kind, record.what
        );
    }
}

/// How often what became of the hand-overs of one kind.
#[derive(Default, Serialize)]
struct Kind {
    handovers: usize,
    victim_works: usize,
    victim_fails_closed: usize,
    healthy_works: usize,
    healthy_fails_closed: usize,
    failed: usize,
}

/// Everything.
#[derive(Serialize)]
pub struct Report {
    seed: u64,
    /// How many hand-overs were asked for.
    asked: usize,
    boots: usize,
    crashes: usize,
    canaries_touched: usize,
    healthy_intact: usize,
    memory_intact: usize,
    kinds: BTreeMap<String, Kind>,
    /// Why something did not go on, in the words of the kernel, and how often.
    reasons: BTreeMap<String, usize>,
    handovers: Vec<Record>,
    /// Why a machine could not go on at all.
    errors: Vec<String>,
    control: Vec<Property>,
}

/// A reason without what is different each time.
fn general(reason: &str) -> String {
    let mut general = String::new();
    for word in reason.split(' ') {
        if !general.is_empty() {
            general.push(' ');
        }
        match word.contains(|c: char| c.is_ascii_digit()) {
            true => general.push('#'),
            false => general.push_str(word),
        }
    }
    general
}

impl Report {
    pub(super) fn new(soak: &Soak, handovers: Vec<Record>, errors: Vec<String>) -> Self {
        let count = |what: fn(&&Record) -> bool| handovers.iter().filter(what).count();
        let mut kinds: BTreeMap<String, Kind> = BTreeMap::new();
        let mut reasons = BTreeMap::new();
        for record in &handovers {
            let kind = kinds.entry(record.kind.clone()).or_default();
            kind.handovers += 1;
            kind.failed += usize::from(!record.holds());
            kind.victim_works += usize::from(record.victim == WORKS);
            kind.healthy_works += usize::from(record.healthy == WORKS);
            let fails = |outcome: &str| usize::from(!outcome.is_empty() && outcome != WORKS);
            kind.victim_fails_closed += fails(&record.victim);
            kind.healthy_fails_closed += fails(&record.healthy);
            for reason in &record.reasons {
                *reasons.entry(general(reason)).or_default() += 1;
            }
        }
        Self {
            seed: soak.seed,
            asked: soak.numbers.len(),
            boots: count(|record| record.booted),
            crashes: count(|record| !record.crashes.is_empty()),
            canaries_touched: handovers.iter().map(|record| record.touched.len()).sum(),
            healthy_intact: count(|record| record.healthy == WORKS),
            memory_intact: count(|record| record.memory == WORKS),
            kinds,
            reasons,
            handovers,
            errors,
            control: Vec::new(),
        }
    }

    /// Adds what the control has shown.
    pub fn add_control(&mut self, control: Vec<Property>) {
        self.control = control;
    }

    /// Every hand-over, and all of the control, as a claim.
    pub fn properties(&self) -> Vec<Property> {
        let handovers = self.handovers.iter().map(|record| {
            let claim = format!("hand-over {}: {}", record.number, record.kind);
            let failures = record.failures().join("; ");
            Property::new(
                claim,
                record.holds(),
                format!("{}: {failures}", record.what),
            )
        });
        let made = Property::new(
            "every hand-over that was asked for was made",
            self.handovers.len() == self.asked,
            format!("{} of {}", self.handovers.len(), self.asked),
        );
        let errors = self.errors.iter();
        let errors = errors.map(|error| Property::new("a machine goes on", false, error));
        let control = self.control.iter().cloned();
        handovers
            .chain([made])
            .chain(errors)
            .chain(control)
            .collect()
    }

    /// The summary.
    pub fn text(&self) -> Result<String> {
        let mut text = String::new();
        let handovers = self.handovers.len();
        writeln!(text, "{handovers} damaged hand-overs, seed {}", self.seed)?;
        writeln!(text, "  {:5} new kernels came up", self.boots)?;
        writeln!(text, "  {:5} oopses, panics and warnings", self.crashes)?;
        writeln!(text, "  {:5} canaries touched", self.canaries_touched)?;
        writeln!(
            text,
            "  {:5} times the healthy session came back",
            self.healthy_intact
        )?;
        writeln!(
            text,
            "  {:5} times the session with memory came back",
            self.memory_intact
        )?;
        writeln!(text)?;
        writeln!(
            text,
            "{:46} {:>5}  {:>6} {:>6}  {:>6} {:>6}  {:>4}",
            "", "hand-", "victim", "fails", "health", "fails", "not"
        )?;
        writeln!(
            text,
            "{:46} {:>5}  {:>6} {:>6}  {:>6} {:>6}  {:>4}",
            "damage", "overs", "works", "closed", "works", "closed", "so"
        )?;
        for (name, kind) in &self.kinds {
            writeln!(
                text,
                "{name:46} {:5}  {:6} {:6}  {:6} {:6}  {:4}",
                kind.handovers,
                kind.victim_works,
                kind.victim_fails_closed,
                kind.healthy_works,
                kind.healthy_fails_closed,
                kind.failed
            )?;
        }
        writeln!(text)?;
        writeln!(text, "what the kernels said")?;
        for (reason, count) in &self.reasons {
            writeln!(text, "{count:6} {reason}")?;
        }
        if !self.control.is_empty() {
            writeln!(text)?;
        }
        for property in &self.control {
            let mark = if property.holds { "ok  " } else { "FAIL" };
            writeln!(text, "{mark} {}: {}", property.claim, property.observed)?;
        }
        Ok(text)
    }

    /// Writes `name`.txt and `name`.json.
    pub fn write(&self, out: &Path, name: &str) -> Result<()> {
        fs::create_dir_all(out).with_context(|| out.display().to_string())?;
        fs::write(out.join(name).with_extension("txt"), self.text()?)?;
        let json = serde_json::to_string_pretty(self)?;
        fs::write(out.join(name).with_extension("json"), json)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_alike_without_numbers() {
        let reason = "iommufd 3 cannot go on behind the unit at 0xfed90000: it is damaged";
        let expected = "iommufd # cannot go on behind the unit at # it is damaged";
        assert_eq!(general(reason), expected);
    }

    #[test]
    fn what_does_not_hold_is_told() {
        let soak = Soak {
            seed: 1,
            numbers: 0..2,
            only: String::new(),
        };
        let good = Record {
            booted: true,
            victim: "iommufd EBADMSG".into(),
            healthy: "works".into(),
            ..Record::default()
        };
        let bad = Record {
            number: 1,
            touched: vec!["here".into()],
            ..good.clone()
        };
        let holds = |report: &Report| {
            let properties = report.properties();
            properties.iter().map(|p| p.holds).collect::<Vec<_>>()
        };
        let short = Report::new(&soak, vec![good.clone()], Vec::new());
        assert_eq!(holds(&short), [true, false]);

        let report = Report::new(&soak, vec![good, bad], Vec::new());
        assert_eq!(holds(&report), [true, false, true]);
        assert!(report.text().unwrap().contains("    1 canaries touched"));
    }
}
