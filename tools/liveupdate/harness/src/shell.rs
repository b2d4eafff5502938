// SPDX-License-Identifier: GPL-2.0
//! The machine with a human at its console.

use crate::cli::Options;
use crate::drive::Drive;
use crate::initramfs;
use crate::qemu::{self, Qemu, Resources, Topology};
use crate::ram::GuestRam;
use crate::vm::cmdline;
use anyhow::{Result, ensure};

/// Makes the guest's init start a shell.
const OPTION: &str = "liveupdate_vm=shell";

/// Boots and hands the terminal over.
pub fn run(options: &Options) -> Result<()> {
    let files = tempfile::Builder::new()
        .prefix("liveupdate-vm-")
        .tempdir()?;
    let path = files.path().join("initramfs");
    initramfs::build(options, &path)?;
    let ram = GuestRam::create()?;
    let drive = Drive::create(files.path().join("drive"), 1000, 100)?;
    let resources = Resources {
        initramfs: &path,
        cmdline: &format!("{} {OPTION}", cmdline(options)),
        ram: &ram,
        drive: &drive,
        topology: Topology::RootBus,
        audio_period: qemu::AUDIO_PERIOD,
        more: &[],
    };
    eprintln!("Ctrl-A X ends QEMU, poweroff -f the machine.");
    let status = Qemu::run_interactive(options, &resources)?;
    ensure!(status.success(), "QEMU: {status}");
    Ok(())
}
