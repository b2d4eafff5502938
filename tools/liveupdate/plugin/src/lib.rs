// SPDX-License-Identifier: GPL-2.0
//! A plugin for QEMU's TCG that counts the guest instructions which calls of functions take.
//!
//! It is told by `config=FILE` what to count, see [`protocol::CountConfig`], and writes what it has
//! counted when QEMU ends. The machine must have one processor.

mod calls;
// Only QEMU has what it links to.
#[cfg(not(test))]
mod qemu;
mod symbols;
