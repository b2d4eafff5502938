// SPDX-License-Identifier: GPL-2.0
//! What both sides know of the devices: registers, queue entries, where everything lies in the
//! VMM's memory, and what every block contains.
//!
//! The guest programs the devices with it; the harness reads the same memory from outside.

pub mod block;
pub mod es1370;
pub mod layout;
pub mod memory;
pub mod nvme;
pub mod plan;
pub mod queue_state;
