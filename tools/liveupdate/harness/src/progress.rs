// SPDX-License-Identifier: GPL-2.0
//! A device's progress over time, and its gaps.

use protocol::Device;
use std::ops::Range;
use std::time::Duration;

/// What one look at the memory gave, counted from the beginning.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Sample {
    /// Bytes that the device has written.
    pub bytes: u64,
    /// Commands that it has completed.
    pub ios: u64,
}

/// Everything that was seen of a device.
#[derive(Clone, Debug)]
pub struct Series {
    /// The device.
    pub device: Device,
    samples: Vec<(Duration, Sample)>,
}

impl Series {
    /// Nothing seen yet.
    pub fn new(device: Device) -> Self {
        Self {
            device,
            samples: Vec::new(),
        }
    }

    /// Adds a look; times must not go back.
    pub fn push(&mut self, time: Duration, sample: Sample) {
        self.samples.push((time, sample));
    }

    /// What was known at `time`.
    fn at(&self, time: Duration) -> Sample {
        let after = self.samples.partition_point(|(t, _)| *t <= time);
        match after.checked_sub(1) {
            Some(last) => self.samples[last].1,
            None => Sample::default(),
        }
    }

    /// The first look after `time`; what happens until then is only known from then on.
    pub fn next_look(&self, time: Duration) -> Duration {
        let after = self.samples.partition_point(|(t, _)| *t <= time);
        self.samples.get(after).map_or(time, |(time, _)| *time)
    }

    /// What happened in `window`.
    pub fn within(&self, window: &Range<Duration>) -> Sample {
        let (before, after) = (self.at(window.start), self.at(window.end));
        Sample {
            bytes: after.bytes - before.bytes,
            ios: after.ios - before.ios,
        }
    }

    /// Longest time in `window` without progress. A look that shows progress ends a gap, and so
    /// do the edges of the window.
    pub fn max_gap(&self, window: &Range<Duration>) -> Duration {
        let mut longest = Duration::ZERO;
        let mut gap_start = window.start;
        for pair in self.samples.windows(2) {
            let [(_, before), (time, after)] = pair else {
                continue;
            };
            if *time >= window.end {
                break;
            }
            if *time > window.start && after.bytes > before.bytes {
                longest = longest.max(*time - gap_start);
                gap_start = *time;
            }
        }
        longest.max(window.end.saturating_sub(gap_start))
    }

    /// Longest time in `window` in which nobody looked: how far a gap can be the observer's fault.
    pub fn max_interval(&self, window: &Range<Duration>) -> Duration {
        self.samples
            .windows(2)
            .filter(|pair| pair[1].0 > window.start && pair[0].0 < window.end)
            .map(|pair| pair[1].0 - pair[0].0)
            .max()
            .unwrap_or(window.end - window.start)
    }

    /// Bytes written in each interval of `step` within `window`.
    pub fn buckets(&self, window: &Range<Duration>, step: Duration) -> Vec<u64> {
        let mut buckets = Vec::new();
        let mut start = window.start;
        while start < window.end {
            buckets.push(self.within(&(start..start + step)).bytes);
            start += step;
        }
        buckets
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// A look every 10 ms; the device writes 100 bytes before each, except in `pause`.
    fn series(length: u64, pause: Range<u64>) -> Series {
        let mut series = Series::new(Device::Es1370);
        let mut sample = Sample::default();
        for time in (0..length).step_by(10) {
            if !pause.contains(&time) {
                sample.bytes += 100;
                sample.ios += 1;
            }
            series.push(ms(time), sample);
        }
        series
    }

    #[test]
    fn steady_progress_has_no_gap_beyond_the_interval() {
        let series = series(1000, 0..0);
        assert_eq!(series.max_gap(&(ms(100)..ms(900))), ms(10));
        assert_eq!(series.within(&(ms(100)..ms(900))).bytes, 8000);
        assert_eq!(series.within(&(ms(100)..ms(900))).ios, 80);
    }

    #[test]
    fn a_pause_is_found_and_measured() {
        let series = series(1000, 300..470);
        assert_eq!(series.max_gap(&(ms(100)..ms(900))), ms(180));
        // Not in the window, not counted; cut by its edge, counted as far as it is inside.
        assert_eq!(series.max_gap(&(ms(500)..ms(900))), ms(10));
        assert_eq!(series.max_gap(&(ms(100)..ms(400))), ms(110));
        assert_eq!(series.max_gap(&(ms(400)..ms(900))), ms(70));
    }

    #[test]
    fn a_dead_device_has_one_gap_as_long_as_the_window() {
        let series = series(1000, 200..1000);
        assert_eq!(series.max_gap(&(ms(300)..ms(900))), ms(600));
        assert_eq!(series.within(&(ms(300)..ms(900))), Sample::default());
    }

    #[test]
    fn nobody_looking_is_not_progress() {
        let mut series = series(500, 0..0);
        let last = series.samples[49].1;
        series.push(
            ms(900),
            Sample {
                bytes: last.bytes + 1,
                ios: last.ios,
            },
        );
        assert_eq!(series.max_gap(&(ms(100)..ms(950))), ms(410));
        assert_eq!(series.max_interval(&(ms(100)..ms(950))), ms(410));
    }

    #[test]
    fn buckets_add_up() {
        let series = series(1000, 300..470);
        let window = ms(100)..ms(900);
        let buckets = series.buckets(&window, ms(10));
        assert_eq!(buckets.len(), 80);
        assert_eq!(buckets.iter().sum::<u64>(), series.within(&window).bytes);
        assert_eq!(buckets.iter().filter(|bytes| **bytes == 0).count(), 17);
    }
}
