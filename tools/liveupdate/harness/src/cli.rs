// SPDX-License-Identifier: GPL-2.0
//! Command line.

use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;

#[derive(Parser)]
#[command(about = "Live update of the kernel under running DMA, in a virtual machine")]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand)]
pub enum Command {
    /// Replace the kernel while two devices DMA, and show that they never stopped
    Demo(Options),
    /// Interactive shell in the machine
    Shell(Options),
    /// Boot the machine, say which kernel answers, and switch it off
    Boot(Options),
}

/// What every command that boots needs.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// Kernel image to boot
    #[arg(long, value_name = "BZIMAGE")]
    pub kernel: PathBuf,

    /// Kernel image to start by kexec [default: the same]
    #[arg(long, value_name = "BZIMAGE")]
    pub next_kernel: Option<PathBuf>,

    /// The statically linked liveupdate-guest
    #[arg(long, value_name = "PROGRAM")]
    pub guest: PathBuf,

    /// A statically linked busybox, for the interactive shell and for scripts
    #[arg(long, value_name = "PROGRAM", default_value = "/bin/busybox")]
    pub busybox: PathBuf,

    /// Put a file or directory into the initramfs
    #[arg(long = "add", value_name = "HOST:GUEST")]
    pub additions: Vec<Addition>,

    /// Folder for results and logs
    #[arg(long, value_name = "DIR", default_value = "out")]
    pub out: PathBuf,

    /// QEMU's accelerator
    #[arg(long, env = "ACCEL", default_value = "tcg")]
    pub accel: String,

    /// More arguments for QEMU, separated by spaces
    #[arg(
        long,
        env = "QEMU_EXTRA",
        default_value = "",
        allow_hyphen_values = true
    )]
    pub qemu_extra: String,

    /// More words for the kernel command line
    #[arg(long, env = "KCMDLINE_EXTRA", default_value = "")]
    pub cmdline_extra: String,

    /// Seconds that a kernel may take to answer
    #[arg(long, default_value_t = 120)]
    pub timeout: u64,
}

impl Options {
    /// The image to start by kexec.
    pub fn next_kernel(&self) -> &PathBuf {
        self.next_kernel.as_ref().unwrap_or(&self.kernel)
    }
}

/// `HOST:GUEST`
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Addition {
    /// Path on the host.
    pub host: PathBuf,
    /// Path in the guest, without the leading slash.
    pub guest: String,
}

impl std::str::FromStr for Addition {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (host, guest) = text.split_once(':').ok_or("expected HOST:GUEST")?;
        let guest = guest.trim_matches('/');
        if host.is_empty() || guest.is_empty() {
            return Err("expected HOST:GUEST".into());
        }
        Ok(Self {
            host: host.into(),
            guest: guest.into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn additions() {
        let addition: Addition = "a/b:/usr/b".parse().unwrap();
        assert_eq!(addition.guest, "usr/b");
        for wrong in ["", "a", "a:", ":b", "a:/"] {
            assert!(wrong.parse::<Addition>().is_err(), "{wrong}");
        }
    }
}
