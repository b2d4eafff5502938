// SPDX-License-Identifier: GPL-2.0
//! Running test programs.

use anyhow::{Context, Result};
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

/// Runs `argv`, hands every line it prints to `output`, and returns its exit status: `None` when
/// it was killed, by a signal or because `timeout` had passed.
pub fn run(
    argv: &[String],
    timeout: Duration,
    mut output: impl FnMut(String) -> Result<()>,
) -> Result<Option<i32>> {
    let (program, arguments) = argv.split_first().context("no program")?;
    let (reader, writer) = std::io::pipe().context("pipe")?;
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(writer.try_clone()?)
        .stderr(writer)
        .spawn()
        .with_context(|| program.clone())?;

    let (sender, lines) = channel();
    thread::spawn(move || {
        for line in BufReader::new(reader).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line).into_owned();
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    let deadline = Instant::now() + timeout;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        match lines.recv_timeout(left) {
            Ok(line) => output(line)?,
            Err(RecvTimeoutError::Disconnected) => return Ok(child.wait()?.code()),
            Err(RecvTimeoutError::Timeout) => {
                child.kill()?;
                child.wait()?;
                return Ok(None);
            }
        }
    }
}
