// SPDX-License-Identifier: GPL-2.0
//! Requests to the agent in the guest, over its second serial port.

use crate::clock::Clock;
use anyhow::{Context, Result, bail};
use protocol::{Event, Hello, LineReader, Reply, Request, write_line};
use std::fs::File;
use std::io::{BufReader, Write};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

/// The agent's end of the line was closed: QEMU has ended.
#[derive(Debug)]
pub struct Gone;

impl std::fmt::Display for Gone {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the machine has stopped")
    }
}

impl std::error::Error for Gone {}

/// The channel.
pub struct Control {
    stream: UnixStream,
    events: Receiver<std::io::Result<(Duration, Event)>>,
    log: File,
    clock: Clock,
}

impl Control {
    /// Talks over `stream` and records everything in `log`.
    pub fn new(stream: UnixStream, log: File, clock: Clock) -> Result<Self> {
        let (sender, events) = channel();
        let mut reader = LineReader::new(BufReader::new(stream.try_clone()?));
        thread::spawn(move || {
            while let Some(event) = reader.read::<Event>().transpose() {
                let event = event.map(|event| (clock.now(), event));
                let last = event.is_err();
                if sender.send(event).is_err() || last {
                    break;
                }
            }
        });
        Ok(Self {
            stream,
            events,
            log,
            clock,
        })
    }

    fn record(&mut self, direction: char, what: &impl serde::Serialize) -> Result<()> {
        write!(
            self.log,
            "{:11.6} {direction} ",
            self.clock.now().as_secs_f64()
        )?;
        write_line(&mut self.log, what)?;
        Ok(())
    }

    fn next(&mut self, deadline: Instant) -> Result<(Duration, Event)> {
        let left = deadline.saturating_duration_since(Instant::now());
        match self.events.recv_timeout(left) {
            Ok(event) => {
                let (time, event) = event.context("the agent's answer")?;
                self.record('<', &event)?;
                Ok((time, event))
            }
            Err(RecvTimeoutError::Disconnected) => Err(Gone.into()),
            Err(RecvTimeoutError::Timeout) => bail!("no answer in time"),
        }
    }

    /// Waits for the agent of a new kernel.
    pub fn hello(&mut self, timeout: Duration) -> Result<(Duration, Hello)> {
        match self.next(Instant::now() + timeout)? {
            (time, Event::Hello(hello)) => Ok((time, hello)),
            (_, Event::Failed(failure)) => bail!("{}", failure.message),
            (_, event) => bail!("unexpected {event:?}"),
        }
    }

    /// Sends a request that is not answered.
    pub fn send(&mut self, request: &Request) -> Result<()> {
        self.record('>', request)?;
        write_line(&mut self.stream, request).context("sending to the agent")
    }

    /// Sends a request and waits for the answer; `output` gets the lines that a program prints.
    pub fn request(
        &mut self,
        request: &Request,
        timeout: Duration,
        mut output: impl FnMut(String),
    ) -> Result<Reply> {
        self.send(request)?;
        let deadline = Instant::now() + timeout;
        loop {
            match self.next(deadline)?.1 {
                Event::Reply(reply) => return Ok(reply),
                Event::Failed(failure) => bail!("{}", failure.message),
                Event::Output { line } => output(line),
                Event::Hello(_) => bail!("the machine has started again by itself"),
            }
        }
    }
}
