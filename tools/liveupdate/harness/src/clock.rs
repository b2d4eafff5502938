// SPDX-License-Identifier: GPL-2.0
//! The one clock that everything observed from outside is stamped with.

use std::time::{Duration, Instant};

/// Time since the machine was started.
#[derive(Clone, Copy, Debug)]
pub struct Clock(Instant);

impl Clock {
    /// Starts at zero.
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// Time now.
    pub fn now(self) -> Duration {
        self.0.elapsed()
    }

    /// Sleeps until `time`, if that lies ahead.
    pub fn sleep_until(self, time: Duration) {
        std::thread::sleep(time.saturating_sub(self.now()));
    }
}
