// SPDX-License-Identifier: GPL-2.0
//! What the harness on the host and the agent in the guest say to each other.
//!
//! The two talk over the guest's second serial port, one JSON value per line. The harness sends a
//! [`Request`] and waits; the agent answers with any number of [`Event::Output`] lines and then one
//! [`Event::Reply`] or [`Event::Failed`]. An agent that has just started sends [`Event::Hello`].

mod bench;
mod count;
mod line;
mod message;

pub use bench::{BenchStep, EDU, Shape, Tables};
pub use count::{Call, CountConfig, Counts, Entry, ProfileEntry};
pub use line::{LineReader, write_line};
pub use message::{
    Back, Comparison, Device, DeviceOutcome, Event, Failure, FileContent, Hello, Loaded, Memory,
    MemoryWrite, NEXT_KERNEL, NOT_TRIED, OUTCOME_OK, Opened, PageRun, Preflight, Preserved, Reply,
    Request, SESSION_NAME, Signals, Stage, Statistics, Step, Stopped, TOKEN_IOMMUFD, TOKEN_MEMFD,
    Tree, VerifiedReads, VmmConfig, VmmMemory,
};
