// SPDX-License-Identifier: GPL-2.0
//! The only program of the test machine: its init, the VMM that drives the devices, and the
//! checks after the kexec. The harness decides over the second serial port what it does.

mod agent;
mod checks;
mod errno;
mod es1370;
mod init;
mod ioctl;
mod iommufd;
mod kexec;
mod luo;
mod memory;
mod nvme;
mod program;
mod sysfs;
mod tree;
mod vfio;
mod vmm;

fn main() -> ! {
    init::run()
}
