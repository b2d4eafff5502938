// SPDX-License-Identifier: GPL-2.0
//! The one clock that everything observed from outside is stamped with.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Time since the machine was started.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
    unix_start: Duration,
}

impl Clock {
    /// Starts at zero.
    pub fn start() -> Self {
        Self {
            start: Instant::now(),
            unix_start: SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap_or_default(),
        }
    }

    /// Time now.
    pub fn now(self) -> Duration {
        self.start.elapsed()
    }

    /// Converts a time of the host's real-time clock, with which QEMU stamps its trace.
    pub fn since_start(self, time: Duration) -> Duration {
        time.saturating_sub(self.unix_start)
    }

    /// Sleeps until `time`, if that lies ahead.
    pub fn sleep_until(self, time: Duration) {
        std::thread::sleep(time.saturating_sub(self.now()));
    }
}
