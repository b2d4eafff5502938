// SPDX-License-Identifier: GPL-2.0
//! QEMU's own trace of the IOMMU: a witness that no kernel can silence.

use crate::clock::Clock;
use anyhow::{Context, Result};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::ops::Range;
use std::path::Path;
use std::time::Duration;

/// A fault, and switching translation on or off.
pub const EVENTS: [&str; 2] = ["vtd_dmar_fault", "vtd_dmar_enable"];

/// Flushes of the context cache for some functions, and of the IOTLB for a domain. They are not in
/// the trace unless somebody asks for them.
pub const FLUSHES: [&str; 2] = ["vtd_inv_desc_cc_devices", "vtd_inv_desc_iotlb_domain"];

/// Translations of addresses, one for each access of a device unless it is long. They are not in the
/// trace unless somebody asks for them.
pub const ACCESSES: &str = "vtd_dmar_translate";

/// An access of a device.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Access {
    /// When it was.
    pub time: Duration,
    /// Bus, device and function.
    pub function: String,
}

/// Splits a line, `1234@1700000000.123456:event details`, into time, event and details.
fn split(line: &str) -> Option<(&str, &str, &str)> {
    let (time, rest) = line.split_once('@')?.1.split_once(':')?;
    let (event, details) = rest.split_once(' ').unwrap_or((rest, ""));
    Some((time, event, details))
}

/// The time in a line.
fn parse_time(time: &str, clock: impl Fn(Duration) -> Duration) -> Option<Duration> {
    let time = Duration::try_from_secs_f64(time.parse().ok()?);
    time.ok().map(clock)
}

/// All accesses that QEMU has written to `path`.
pub fn accesses(path: &Path, clock: Clock) -> Result<Vec<Access>> {
    let what = || path.display().to_string();
    let mut accesses = Vec::new();
    for line in BufReader::new(File::open(path).with_context(what)?).lines() {
        let line = line.with_context(what)?;
        accesses.extend(access(&line, |unix| clock.since_start(unix)));
    }
    Ok(accesses)
}

fn access(line: &str, clock: impl Fn(Duration) -> Duration) -> Option<Access> {
    let (time, ACCESSES, details) = split(line)? else {
        return None;
    };
    let function = details.strip_prefix("dev ")?.split_whitespace().next()?;
    Some(Access {
        time: parse_time(time, clock)?,
        function: function.into(),
    })
}

/// How often QEMU has written each of `events` to `path`.
pub fn count<const N: usize>(path: &Path, events: [&str; N]) -> Result<[u64; N]> {
    let what = || path.display().to_string();
    let mut counts = [0; N];
    for line in BufReader::new(File::open(path).with_context(what)?).lines() {
        let line = line.with_context(what)?;
        let name = split(&line).map(|(_, event, _)| event);
        if let Some(index) = events.iter().position(|event| Some(*event) == name) {
            counts[index] += 1;
        }
    }
    Ok(counts)
}

/// A fault.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Fault {
    /// When it was, if that can be read.
    time: Option<Duration>,
    /// As QEMU describes it.
    pub text: String,
}

/// What QEMU saw, up to a moment.
#[derive(Debug, Default, Eq, PartialEq)]
pub struct IommuTrace {
    /// Every fault.
    pub faults: Vec<Fault>,
    /// How often translation was switched off.
    pub translation_off: usize,
}

impl IommuTrace {
    /// Reads what QEMU has written to `path` until `end`; nothing when there is no file.
    pub fn read(path: &Path, clock: Clock, end: Duration) -> Result<Self> {
        let mut trace = Self::default();
        if path.exists() {
            let what = || path.display().to_string();
            for line in BufReader::new(File::open(path).with_context(what)?).lines() {
                trace.add(
                    &line.with_context(what)?,
                    |unix| clock.since_start(unix),
                    end,
                );
            }
        }
        Ok(trace)
    }

    /// Faults in `window`. One whose time cannot be read counts: no fault is lost for the form of
    /// a line.
    pub fn faults_within(&self, window: &Range<Duration>) -> usize {
        let inside = |fault: &&Fault| fault.time.is_none_or(|time| window.contains(&time));
        self.faults.iter().filter(inside).count()
    }

    /// Adds a line, `1234@1700000000.123456:event details`, unless it is from `end` or later.
    fn add(&mut self, line: &str, clock: impl Fn(Duration) -> Duration, end: Duration) {
        let Some((time, event, details)) = split(line) else {
            return;
        };
        let time = parse_time(time, clock);
        if time.is_some_and(|time| time >= end) {
            return;
        }
        match event {
            "vtd_dmar_fault" => self.faults.push(Fault {
                time,
                text: details.trim().into(),
            }),
            "vtd_dmar_enable" if details.trim() == "enable 0" => self.translation_off += 1,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINES: [&str; 4] = [
        "1234@1600000000.123456:vtd_dmar_enable enable 1",
        "1234@1600000000.223456:vtd_dmar_fault sid 0x38 fault 5 addr 0x40000000 write 1",
        "1234@1600000000.323456:vtd_dmar_enable enable 0",
        "1234@1600000009.000000:vtd_dmar_enable enable 0",
    ];

    fn parse(end: u64) -> IommuTrace {
        let mut trace = IommuTrace::default();
        for line in LINES {
            let start = Duration::from_secs(1_600_000_000);
            trace.add(line, |unix| unix - start, Duration::from_secs(end));
        }
        trace
    }

    #[test]
    fn faults_and_switching_off_are_told_apart() {
        let trace = parse(100);
        assert_eq!(trace.faults.len(), 1);
        assert_eq!(
            trace.faults[0].text,
            "sid 0x38 fault 5 addr 0x40000000 write 1"
        );
        assert_eq!(trace.translation_off, 2);
    }

    #[test]
    fn accesses_are_told_from_other_events() {
        let line =
            "1234@1600000000.5:vtd_dmar_translate dev 00:07.00 iova 0x0 -> gpa 0x0 mask 0xfff";
        let access = access(line, |unix| unix - Duration::from_secs(1_600_000_000));
        let expected = Access {
            time: Duration::from_millis(500),
            function: "00:07.00".into(),
        };
        assert_eq!(access, Some(expected));
        for line in LINES {
            assert_eq!(super::access(line, |unix| unix), None);
        }
    }

    #[test]
    fn what_comes_later_does_not_count() {
        assert_eq!(parse(5).translation_off, 1);
        assert_eq!(parse(0), IommuTrace::default());
    }

    #[test]
    fn faults_are_found_in_their_window() {
        let ms = Duration::from_millis;
        let mut trace = parse(100);
        assert_eq!(trace.faults_within(&(ms(200)..ms(300))), 1);
        assert_eq!(trace.faults_within(&(ms(300)..ms(400))), 0);
        trace.faults[0].time = None;
        assert_eq!(trace.faults_within(&(ms(300)..ms(400))), 1);
    }
}
