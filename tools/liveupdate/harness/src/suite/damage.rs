// SPDX-License-Identifier: GPL-2.0
//! Damage to what is handed over.

use super::results::Results;
use crate::cli::{Options, SoakOptions, TestOptions};
use crate::soak::{self, Report, Soak};
use anyhow::Result;

/// Always the same ones.
const SEED: u64 = 1;

/// Takes over what the control has shown, and writes everything down.
fn finish(report: &mut Report, options: &Options) -> Result<()> {
    report.add_control(soak::control(options)?);
    report.write(&options.out, "soak")
}

/// Damages each kind of thing at least once.
pub fn run(options: &TestOptions, results: &mut Results) -> Result<()> {
    let machine = options.on_soak_kernel()?;
    let soak = Soak {
        seed: SEED,
        numbers: 0..soak::kinds(),
        only: String::new(),
    };
    let mut report = soak::run(&machine, &soak);
    let finished = finish(&mut report, &machine);
    results.properties("damage", report.properties());
    finished
}

/// Does so as often as is asked for, and sums it up.
pub fn soak(options: &SoakOptions) -> Result<bool> {
    let soak = Soak {
        seed: options.seed.unwrap_or_else(|| fastrand::u64(..)),
        numbers: options.first..options.first + options.count,
        only: options.kind.clone(),
    };
    println!("seed {}: SEED={} repeats this", soak.seed, soak.seed);
    let mut report = soak::run(&options.common, &soak);
    let finished = finish(&mut report, &options.common);
    let mut results = Results::default();
    print!("{}", report.text()?);
    for property in report.properties() {
        match property.holds {
            true => results.count(),
            false => results.fail(&property.claim, &property.observed),
        }
    }
    if let Err(error) = finished {
        results.fail("control", &format!("{error:#}"));
    }
    println!("{results}");
    Ok(results.all_passed())
}
