// SPDX-License-Identifier: GPL-2.0
//! `liveupdate-image`: asks before the kexec whether the next kernel can take the state over.

use anyhow::Result;
use clap::{Parser, Subcommand};
use liveupdate_image::{REQUIRED, missing, missing_parameters, offer, required};
use std::path::PathBuf;
use std::process::ExitCode;

/// Exit status of `check` when something is missing.
const MISSING: u8 = 1;
/// Exit status when there is no answer; clap's for a wrong command line too.
const NO_ANSWER: u8 = 2;

#[derive(Parser)]
#[command(about = "What a kernel image can take over by a live update of the IOMMU")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// List what an image can take over
    Offers {
        /// A kernel for x86 (bzImage)
        image: PathBuf,
    },
    /// Tell whether an image can take over what the running kernel would hand over now
    ///
    /// Lists what is missing. The exit status is 0 if nothing is, 1 if something is, and 2 if there
    /// is no answer. While nothing is preserved, nothing is required.
    Check {
        /// A kernel for x86 (bzImage)
        image: PathBuf,
        /// Where the requirements are, one a line
        #[arg(long, value_name = "FILE", default_value = REQUIRED)]
        required: PathBuf,
        /// Whether it can if it is started with this command line
        #[arg(long, value_name = "PARAMETERS")]
        command_line: Option<String>,
    },
}

fn print(lines: &[String]) {
    for line in lines {
        println!("{line}");
    }
}

fn run(command: Command) -> Result<ExitCode> {
    let missing = match command {
        Command::Offers { image } => {
            print(&offer(image)?);
            return Ok(ExitCode::SUCCESS);
        }
        Command::Check {
            image,
            required: path,
            command_line,
        } => {
            let offer = offer(image)?;
            let mut missing = missing(&required(path)?, &offer);
            if let Some(parameters) = command_line {
                missing.extend(missing_parameters(&parameters, &offer));
            }
            missing
        }
    };
    print(&missing);
    Ok(match missing.is_empty() {
        true => ExitCode::SUCCESS,
        false => ExitCode::from(MISSING),
    })
}

fn main() -> ExitCode {
    run(Cli::parse().command).unwrap_or_else(|error| {
        eprintln!("liveupdate-image: {error:#}");
        ExitCode::from(NO_ANSWER)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }
}
