// SPDX-License-Identifier: GPL-2.0
//! The guest's kernel log, every line stamped when it arrives.

use crate::clock::Clock;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// A line with the time of its arrival.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Line {
    /// When it arrived.
    pub time: Duration,
    /// Without the end of line.
    pub text: String,
}

/// Everything that was printed so far.
#[derive(Clone, Default)]
pub struct Console(Arc<Mutex<Vec<Line>>>);

impl Console {
    /// Collects what comes from `input` and writes it to `log` too.
    pub fn collect(input: impl Read + Send + 'static, mut log: File, clock: Clock) -> Self {
        let console = Self::default();
        let lines = console.0.clone();
        thread::spawn(move || {
            let mut input = BufReader::new(input);
            let mut bytes = Vec::new();
            while input.read_until(b'\n', &mut bytes).is_ok_and(|n| n > 0) {
                let text = String::from_utf8_lossy(&bytes).trim_end().to_owned();
                let time = clock.now();
                bytes.clear();
                if let Err(error) = writeln!(log, "{:11.6} {text}", time.as_secs_f64()) {
                    eprintln!("liveupdate-vm: console log: {error}");
                    break;
                }
                let line = Line { time, text };
                lines
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(line);
            }
        });
        console
    }

    /// A copy of all lines.
    pub fn lines(&self) -> Vec<Line> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The lines from number `first` on.
    pub fn since(&self, first: usize) -> Vec<Line> {
        let lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lines.get(first..).unwrap_or(&[]).to_vec()
    }

    /// How many lines there are.
    pub fn count(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Whether a line with `pattern` was printed.
    pub fn contains(&self, pattern: &str) -> bool {
        let lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().any(|line| line.text.contains(pattern))
    }

    /// The last lines, for error messages.
    pub fn tail(&self, count: usize) -> String {
        let lines = self.lines();
        let from = lines.len().saturating_sub(count);
        let texts: Vec<_> = lines[from..].iter().map(|line| &*line.text).collect();
        texts.join("\n")
    }
}
