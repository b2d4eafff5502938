// SPDX-License-Identifier: GPL-2.0
//! Process 1.

use crate::agent;
use anyhow::{Context, Result};
use nix::mount::{MsFlags, mount};
use nix::sys::reboot::{RebootMode, reboot};
use std::fs;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// On the kernel command line: an interactive shell instead of the agent.
const SHELL_OPTION: &str = "liveupdate_vm=shell";

const MOUNTS: [(&str, &str, &str); 5] = [
    ("proc", "/proc", "proc"),
    ("sysfs", "/sys", "sysfs"),
    ("devtmpfs", "/dev", "devtmpfs"),
    ("debugfs", "/sys/kernel/debug", "debugfs"),
    ("tmpfs", "/tmp", "tmpfs"),
];

/// Prepares the machine and becomes the agent or a shell. Switches the machine off at the end.
pub fn run() -> ! {
    if let Err(error) = start() {
        eprintln!("liveupdate-guest: {error:#}");
    }
    nix::unistd::sync();
    let error = reboot(RebootMode::RB_POWER_OFF).err();
    panic!("cannot power off: {error:?}")
}

fn start() -> Result<()> {
    for (source, target, kind) in MOUNTS {
        fs::create_dir_all(target).with_context(|| target.to_owned())?;
        let options: Option<&str> = None;
        mount(Some(source), target, Some(kind), MsFlags::empty(), options)
            .with_context(|| format!("mounting {target}"))?;
    }
    let cmdline = fs::read_to_string("/proc/cmdline")?;
    if cmdline.split_whitespace().any(|word| word == SHELL_OPTION) {
        return shell();
    }
    agent::serve()
}

fn shell() -> Result<()> {
    let status = Command::new("/bin/busybox")
        .args(["--install", "-s", "/bin"])
        .status()
        .context("busybox")?;
    anyhow::ensure!(status.success(), "busybox --install: {status}");
    // A session with a controlling terminal, so that Ctrl-C works.
    let error = Command::new("/bin/busybox")
        .args(["setsid", "-c", "/bin/busybox", "sh", "-c"])
        .arg("exec </dev/ttyS0 >/dev/ttyS0 2>&1; /bin/busybox sh -l; /bin/busybox poweroff -f")
        .env("PATH", "/bin")
        .env("HOME", "/")
        .env("PS1", "liveupdate-vm# ")
        .exec();
    Err(error).context("busybox")
}
