// SPDX-License-Identifier: GPL-2.0
//! When what happened, from the kernel logs of both kernels.

use crate::console::Line;
use serde::Serialize;
use std::time::Duration;

/// The old kernel hands over to the new one.
pub const JUMP: &str = "kexec_core: Starting new kernel";
/// The old kernel has cleared everything that is not preserved and lets go of the IOMMU.
pub const SCRUBBED: &str = " goes on: ";
/// The new kernel has adopted an IOMMU's tables.
pub const TAKEOVER: &str = " taken over: ";
/// The new kernel has put an immutable domain in front of a device.
pub const RESTORE: &str = ": restored domain ";
/// The new kernel uses nothing of the state.
pub const REJECTED: &str = "the state of the previous kernel is rejected";
/// First line of a kernel's log.
const BANNER: &str = "Linux version ";

/// What a kernel prints when it has gone wrong.
pub const CRASHES: [&str; 5] = [
    "Kernel panic",
    "BUG: ",
    "WARNING: ",
    "Oops: ",
    "Call Trace:",
];
/// What a kernel prints when a device had a fault.
const FAULTS: [&str; 2] = ["DMAR: DRHD: handling fault status", "DMAR: [DMA "];

/// A line of a kernel's log with the time at which the kernel printed it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LogLine {
    /// Time since the machine was started.
    pub time: Duration,
    /// Text without the kernel's own time.
    pub text: String,
}

/// The log of one kernel.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct KernelLog {
    /// When the kernel's clock was zero.
    pub start: Duration,
    /// Its lines.
    pub lines: Vec<LogLine>,
}

impl KernelLog {
    /// When the first line with `pattern` was printed.
    pub fn first(&self, pattern: &str) -> Option<Duration> {
        let line = self.lines.iter().find(|line| line.text.contains(pattern))?;
        Some(line.time)
    }

    /// When the last line with `pattern` was printed.
    pub fn last(&self, pattern: &str) -> Option<Duration> {
        let mut lines = self.lines.iter().rev();
        Some(lines.find(|line| line.text.contains(pattern))?.time)
    }

    fn with_any(&self, words: &'static [&'static str]) -> impl Iterator<Item = &str> {
        self.lines
            .iter()
            .map(|line| &*line.text)
            .filter(|text| words.iter().any(|word| text.contains(word)))
    }

    /// Lines of a kernel that has gone wrong.
    pub fn crashes(&self) -> impl Iterator<Item = &str> {
        self.with_any(&CRASHES)
    }

    /// Lines that no kernel should print.
    pub fn complaints(&self) -> impl Iterator<Item = &str> {
        self.crashes().chain(self.with_any(&FAULTS))
    }
}

/// Splits `[    1.234567] text` into the time and the text.
fn split_time(text: &str) -> Option<(Duration, &str)> {
    let (time, text) = text.strip_prefix('[')?.split_once("] ")?;
    let seconds: f64 = time.trim().parse().ok()?;
    Some((Duration::try_from_secs_f64(seconds).ok()?, text))
}

/// Tells the kernels apart and finds out when they printed their lines.
///
/// A line usually arrives when it is printed, but those from before the console was set up arrive
/// all at once. A line that arrives together with one that the kernel stamped later has waited; the
/// difference of the stamps then tells how long. Only short distances are bridged in this way,
/// because a kernel's clock may be far off.
pub fn split_kernels(lines: &[Line]) -> Vec<KernelLog> {
    let is_banner =
        |line: &Line| split_time(&line.text).is_some_and(|(_, text)| text.starts_with(BANNER));
    let starts: Vec<usize> = (0..lines.len())
        .filter(|&index| is_banner(&lines[index]))
        .chain([lines.len()])
        .collect();
    starts
        .windows(2)
        .filter_map(|range| kernel_log(&lines[range[0]..range[1]]))
        .collect()
}

fn kernel_log(lines: &[Line]) -> Option<KernelLog> {
    let mut log: Vec<LogLine> = Vec::new();
    let mut later: Option<(Duration, Duration, Duration)> = None;
    let mut start = None;
    for line in lines.iter().rev() {
        let Some((stamp, text)) = split_time(&line.text) else {
            continue;
        };
        let time = match later {
            Some((arrival, later_stamp, later_time)) => {
                let distance = later_stamp.saturating_sub(stamp);
                if arrival.saturating_sub(line.time) * 2 < distance {
                    later_time.saturating_sub(distance)
                } else {
                    line.time.min(later_time)
                }
            }
            None => line.time,
        };
        log.push(LogLine {
            time,
            text: text.into(),
        });
        later = Some((line.time, stamp, time));
        start = Some(time.saturating_sub(stamp));
    }
    log.reverse();
    Some(KernelLog {
        start: start?,
        lines: log,
    })
}

/// Something with a beginning and an end.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Phase {
    /// What happened.
    pub name: &'static str,
    /// For a reader who does not know the subject.
    pub meaning: &'static str,
    /// Milliseconds since the kexec was asked for.
    pub start_ms: f64,
    /// Duration in milliseconds.
    pub duration_ms: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(ms: u64, text: &str) -> Line {
        Line {
            time: Duration::from_millis(ms),
            text: text.into(),
        }
    }

    #[test]
    fn two_kernels_with_clocks_of_their_own() {
        let ms = Duration::from_millis;
        let kernels = split_kernels(&[
            line(900, "SeaBIOS"),
            line(1500, "[    0.000000] Linux version 7.3.4 (first)"),
            line(1500, "[    0.400000] console is set up"),
            line(1600, "[    0.500000] prompt line"),
            line(1650, "[    0.580000] a little late"),
            // This kernel's clock is slow.
            line(3010, "[    1.100000] kexec_core: Starting new kernel"),
            line(4000, "[    0.000000] Linux version 7.3.4 (second)"),
            line(
                4001,
                "[    0.300000] iommu_liveupdate: unit at 0xfed90000 taken over: 2 kept",
            ),
            line(4020, "[    0.900000] console is set up"),
            line(4520, "[    1.400000] prompt line"),
        ]);
        assert_eq!(kernels.len(), 2);
        assert_eq!(kernels[0].start, ms(1100));
        assert_eq!(kernels[0].first("prompt"), Some(ms(1600)));
        assert_eq!(kernels[0].first(JUMP), Some(ms(3010)));
        assert_eq!(kernels[1].start, ms(3120));
        assert_eq!(kernels[1].first(TAKEOVER), Some(ms(3420)));
        assert_eq!(kernels[1].first(JUMP), None);
    }

    #[test]
    fn complaints_are_found() {
        let log =
            |text| split_kernels(&[line(0, "[    0.000000] Linux version 7.3.4"), line(1, text)]);
        let bad = "[    1.000000] DMAR: [DMA Write NO_PASID] Request device [00:07.0]";
        assert_eq!(log(bad)[0].complaints().count(), 1);
        let good = "[    1.000000] DMAR: Intel(R) Virtualization Technology for Directed I/O";
        assert_eq!(log(good)[0].complaints().count(), 0);
    }

    #[test]
    fn lines_without_a_time_are_left_out() {
        assert!(split_kernels(&[line(0, "Linux version 7.3.4")]).is_empty());
    }
}
