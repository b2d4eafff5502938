// SPDX-License-Identifier: GPL-2.0
//! What the harness on the host and the agent in the guest say to each other.
//!
//! The two talk over the guest's second serial port, one JSON value per line. The harness sends a
//! [`Request`] and waits; the agent answers with any number of [`Event::Output`] lines and then one
//! [`Event::Reply`] or [`Event::Failed`]. An agent that has just started sends [`Event::Hello`].

mod line;
mod message;

pub use line::{LineReader, write_line};
pub use message::{
    Bound, Device, Event, Failure, FileContent, HWPT_TOKEN_BASE, Hello, Loaded, NEXT_KERNEL,
    OUTCOME_OK, Preserved, Reply, Request, Retrieved, SESSION_NAME, Step, TOKEN_IOMMUFD,
    TOKEN_MEMFD, Tree, VerifiedReads, VmmConfig, VmmMemory,
};
