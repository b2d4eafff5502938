// SPDX-License-Identifier: GPL-2.0
//! The only program of the test machine: its init, the VMM that drives the devices, and the
//! checks after the kexec. The harness decides over the second serial port what it does.

mod agent;
mod bench;
mod checks;
mod child;
mod damage;
mod errno;
mod es1370;
mod fragments;
mod free_memory;
mod hog;
mod init;
mod interrupts;
mod ioctl;
mod iommufd;
mod kexec;
mod luo;
mod memory;
mod nvme;
mod page_tables;
mod pagemap;
mod program;
mod reaper;
mod reclaim;
mod sysfs;
mod timed;
mod tree;
mod vfio;
mod vmm;
mod way_back;

use anyhow::Result;

fn main() -> Result<()> {
    match child::run(std::env::args().skip(1)) {
        Some(result) => result,
        None => init::run(),
    }
}
