// SPDX-License-Identifier: GPL-2.0
//! Boots the test machine, replaces its kernel by kexec while devices DMA, and looks from outside.

mod bench;
mod cli;
mod clock;
mod console;
mod control;
mod counters;
mod damage;
mod demo;
mod drive;
mod hop;
mod initramfs;
mod iommu_trace;
mod priority;
mod progress;
mod qemu;
mod ram;
mod report;
mod run;
mod run_dir;
mod sampler;
mod scenario;
mod shell;
mod soak;
mod status;
mod suite;
mod timeline;
mod verdict;
mod vm;

use anyhow::Result;
use clap::Parser;
use cli::{Cli, Command};
use std::process::ExitCode;

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("liveupdate-vm: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Returns whether everything that was to be shown was shown.
fn run(cli: Cli) -> Result<bool> {
    priority::raise();
    match cli.command {
        Command::Demo(options) => demo::run(&options),
        Command::Test(options) => suite::run(&options),
        Command::Soak(options) => suite::soak(&options),
        Command::Bench(options) => bench::run(&options),
        Command::Shell(options) => shell::run(&options).map(|()| true),
        Command::Boot(options) => demo::boot(&options).map(|()| true),
    }
}
