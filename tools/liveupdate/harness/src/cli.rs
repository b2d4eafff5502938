// SPDX-License-Identifier: GPL-2.0
//! Command line.

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

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
    /// Run all tests that need a machine
    Test(TestOptions),
    /// Damage what one kernel hands over to the next, many times and in many ways
    Soak(SoakOptions),
    /// Count the instructions that each step of an update takes
    Bench(BenchOptions),
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

    /// Slow the drive down by this factor, so that a slow kernel finds it busy all the time
    #[arg(long, value_name = "FACTOR", default_value = "1")]
    pub slow_drive: NonZeroU32,
}

impl Options {
    /// The image to start by kexec.
    pub fn next_kernel(&self) -> &PathBuf {
        self.next_kernel.as_ref().unwrap_or(&self.kernel)
    }
}

/// What damaged hand-overs need beyond that.
#[derive(Args, Clone, Debug)]
pub struct SoakOptions {
    #[command(flatten)]
    pub common: Options,

    /// How many hand-overs
    #[arg(long, env = "SOAK", default_value_t = 500)]
    pub count: usize,

    /// Number of the first one
    #[arg(long, default_value_t = 0)]
    pub first: usize,

    /// From what everything follows [default: another one each time]
    #[arg(long, env = "SEED")]
    pub seed: Option<u64>,

    /// Damage of these kinds only
    #[arg(long, default_value = "")]
    pub kind: String,
}

/// What counting needs beyond that.
#[derive(Args, Clone, Debug)]
pub struct BenchOptions {
    #[command(flatten)]
    pub common: Options,

    /// The kernel as it was linked, with its symbols
    #[arg(long, value_name = "FILE")]
    pub vmlinux: PathBuf,

    /// The plugin for QEMU that counts
    #[arg(long, value_name = "LIBRARY")]
    pub plugin: PathBuf,

    /// Leave out what takes longest
    #[arg(long)]
    pub quick: bool,

    /// Measure only what has this in its name
    #[arg(long, default_value = "")]
    pub only: String,
}

/// What the tests need beyond that.
#[derive(Args, Clone, Debug)]
pub struct TestOptions {
    #[command(flatten)]
    pub common: Options,

    /// Patched kernel with the tests that run inside the kernel
    #[arg(long, value_name = "BZIMAGE")]
    test_kernel: Option<PathBuf>,

    /// Patched kernel of the same configuration without the project's option
    #[arg(long, value_name = "BZIMAGE")]
    disabled_kernel: Option<PathBuf>,

    /// Kernel of that configuration without the patches
    #[arg(long, value_name = "BZIMAGE")]
    unpatched_kernel: Option<PathBuf>,

    /// Patched kernel of another configuration, started by kexec
    #[arg(long, value_name = "BZIMAGE")]
    other_kernel: Option<PathBuf>,

    /// Patched kernel with a feature of the state that --kernel does not understand
    #[arg(long, value_name = "BZIMAGE")]
    newer_kernel: Option<PathBuf>,

    /// The page with the table of kernels that can follow each other
    #[arg(long, value_name = "FILE")]
    readme: Option<PathBuf>,

    /// Patched kernel that can damage what it hands over
    #[arg(long, value_name = "BZIMAGE")]
    soak_kernel: Option<PathBuf>,

    /// Folder with the kernel's selftests, one folder per target
    #[arg(long, value_name = "DIR")]
    selftests: Option<PathBuf>,

    /// Run this group only: updates, swaps, counters, killed, unplugged, versions, damage, witness,
    /// kunit, selftests, stub-image or tree
    #[arg(long, value_name = "GROUP")]
    pub only: Vec<String>,
}

impl TestOptions {
    /// Options of a machine with `kernel` and all selftests.
    fn with_selftests(&self, kernel: &Option<PathBuf>, option: &str) -> Result<Options> {
        let mut options = self.common.clone();
        options.kernel = kernel
            .clone()
            .with_context(|| format!("{option} is missing"))?;
        options.next_kernel = None;
        if let Some(selftests) = &self.selftests {
            for target in ["iommu", "iommu_liveupdate", "liveupdate"] {
                options.additions.push(Addition {
                    host: selftests.join(target),
                    guest: target.into(),
                });
            }
        }
        Ok(options)
    }

    /// A machine with the test kernel.
    pub fn on_test_kernel(&self) -> Result<Options> {
        self.with_selftests(&self.test_kernel, "--test-kernel")
    }

    /// A machine with the patched kernel in which the project is switched off.
    pub fn on_disabled_kernel(&self) -> Result<Options> {
        self.with_selftests(&self.disabled_kernel, "--disabled-kernel")
    }

    /// A machine in which the other kernel follows.
    pub fn to_other_kernel(&self) -> Result<Options> {
        let other = self.other_kernel.clone();
        Ok(Options {
            next_kernel: Some(other.context("--other-kernel is missing")?),
            ..self.common.clone()
        })
    }

    /// The image of the newer kernel.
    pub fn newer_kernel(&self) -> Result<&Path> {
        let newer = self.newer_kernel.as_deref();
        newer.context("--newer-kernel is missing")
    }

    /// The image of the unpatched kernel.
    pub fn unpatched_kernel(&self) -> Result<&Path> {
        let unpatched = self.unpatched_kernel.as_deref();
        unpatched.context("--unpatched-kernel is missing")
    }

    /// A machine whose kernels can damage what they hand over.
    pub fn on_soak_kernel(&self) -> Result<Options> {
        let soak = self.soak_kernel.clone();
        Ok(Options {
            kernel: soak.context("--soak-kernel is missing")?,
            next_kernel: None,
            ..self.common.clone()
        })
    }

    /// A machine with the unpatched kernel.
    pub fn on_unpatched_kernel(&self) -> Result<Options> {
        self.with_selftests(&self.unpatched_kernel, "--unpatched-kernel")
    }

    /// The page with the table.
    pub fn readme(&self) -> Result<&Path> {
        self.readme.as_deref().context("--readme is missing")
    }

    /// The selftests.
    pub fn selftests(&self) -> Result<&Path> {
        self.selftests.as_deref().context("--selftests is missing")
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

    fn from_str(text: &str) -> Result<Self, Self::Err> {
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
