// SPDX-License-Identifier: GPL-2.0
//! What is going on right now, for the one who waits.

use indicatif::{ProgressBar, ProgressStyle};
use std::io::IsTerminal;
use std::time::Duration;

/// One line: the phase and the time it has taken. On a terminal it is redrawn, elsewhere every
/// phase is a line.
pub struct Status {
    bar: Option<ProgressBar>,
    name: String,
}

impl Status {
    /// Starts with the first phase.
    pub fn new(name: &str) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new_spinner();
            if let Ok(style) = ProgressStyle::with_template("{spinner} {elapsed:>4} {msg}") {
                bar.set_style(style);
            }
            bar.enable_steady_tick(Duration::from_millis(200));
            bar
        });
        Self {
            bar,
            name: name.into(),
        }
    }

    /// The next phase.
    pub fn phase(&self, text: &str) {
        let text = format!("{}: {text}", self.name);
        match &self.bar {
            Some(bar) => bar.set_message(text),
            None => eprintln!("{text}"),
        }
    }
}

impl Drop for Status {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
