// SPDX-License-Identifier: GPL-2.0
//! QEMU's own trace of the IOMMU: a witness that no kernel can silence.

use crate::clock::Clock;
use anyhow::{Context, Result};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::time::Duration;

/// A fault, and switching translation on or off.
pub const EVENTS: [&str; 2] = ["vtd_dmar_fault", "vtd_dmar_enable"];

/// What QEMU saw, up to a moment.
#[derive(Debug, Default, Eq, PartialEq)]
pub struct IommuTrace {
    /// Every fault, as QEMU describes it.
    pub faults: Vec<String>,
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
                trace.add(&line.with_context(what)?, |unix| {
                    clock.since_start(unix) < end
                });
            }
        }
        Ok(trace)
    }

    /// Adds a line, `1234@1700000000.123456:event details`, if its time counts.
    fn add(&mut self, line: &str, counts: impl Fn(Duration) -> bool) {
        let Some((time, event)) = line
            .split_once('@')
            .and_then(|(_, rest)| rest.split_once(':'))
        else {
            return;
        };
        let time = time.parse().ok().map(Duration::try_from_secs_f64);
        // A time that cannot be read counts: no fault is lost for the form of a line.
        if let Some(Ok(time)) = time
            && !counts(time)
        {
            return;
        }
        if let Some(fault) = event.strip_prefix("vtd_dmar_fault ") {
            self.faults.push(fault.trim().into());
        } else if let Some(enable) = event.strip_prefix("vtd_dmar_enable ")
            && enable.trim() == "enable 0"
        {
            self.translation_off += 1;
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

    fn parse(counts: impl Fn(Duration) -> bool) -> IommuTrace {
        let mut trace = IommuTrace::default();
        for line in LINES {
            trace.add(line, &counts);
        }
        trace
    }

    #[test]
    fn faults_and_switching_off_are_told_apart() {
        let trace = parse(|_| true);
        assert_eq!(trace.faults, ["sid 0x38 fault 5 addr 0x40000000 write 1"]);
        assert_eq!(trace.translation_off, 2);
    }

    #[test]
    fn what_comes_later_does_not_count() {
        let trace = parse(|time| time < Duration::from_secs(1_600_000_005));
        assert_eq!(trace.translation_off, 1);
        assert_eq!(parse(|_| false), IommuTrace::default());
    }
}
