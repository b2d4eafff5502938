// SPDX-License-Identifier: GPL-2.0
//! How many instructions each step of a live update takes, and how that grows.

mod case;
mod figures;
mod kernel;
mod machine;
mod plot;
mod step;
mod swap;
mod table;
mod verdict;

use crate::cli::BenchOptions;
use crate::status::Status;
use crate::verdict::Property;
use anyhow::{Context, Result};
use case::{Case, Measured};
use kernel::Kernel;
use protocol::Shape;
use serde::Serialize;
use std::fs;
use step::Step;
use swap::Swaps;

/// Table pages that a pool keeps out of the way.
const PAGES: [u64; 4] = [10, 1000, 10_000, 100_000];
/// The most table pages of which every entry is used: each takes 512 mappings of a page, in two
/// kernels.
const MOST_DENSE: u64 = 10_000;
/// The most without a pool.
const MOST_SINGLE: u64 = 10_000;
/// The most in a quick run.
const MOST_QUICK: u64 = 1000;
/// Devices, with the fewest table pages.
const DEVICES: [usize; 2] = [8, 64];

/// What a table shows.
type Section = (&'static str, fn(&Case) -> bool);

const SECTIONS: [Section; 3] = [
    ("One mapping of 4 KiB in each 2 MiB", |case| {
        case.devices == 1 && case.shape == Shape::Scattered
    }),
    ("Every entry used", |case| case.shape == Shape::Dense),
    ("By the number of devices", |case| {
        case.pages == PAGES[0] && case.shape == Shape::Scattered
    }),
];

/// A case that is missing.
#[derive(Clone, Debug, Serialize)]
struct NotMeasured {
    case: String,
    reason: String,
}

/// Everything.
#[derive(Debug, Serialize)]
struct Report {
    measured: Vec<Measured>,
    not_measured: Vec<NotMeasured>,
    /// Whether the same gives the same.
    repetition: String,
    swaps: Option<Swaps>,
    properties: Vec<Property>,
}

/// All cases, each with why it is left out if it is.
fn cases(quick: bool) -> Vec<(Case, Option<&'static str>)> {
    let sizes = [Shape::Scattered, Shape::Dense]
        .into_iter()
        .flat_map(|shape| PAGES.map(|pages| (shape, pages, 1)));
    let devices = DEVICES.map(|devices| (Shape::Scattered, PAGES[0], devices));
    let all = sizes.chain(devices);
    let pairs = all.flat_map(|(shape, pages, devices)| {
        [true, false].map(|pool| Case {
            shape,
            pages,
            devices,
            pool,
        })
    });
    let reason = |case: &Case| match case.shape {
        _ if quick && case.pages > MOST_QUICK => Some("a quick run"),
        _ if !case.pool && case.pages > MOST_SINGLE => Some(
            "reserving single pages at boot takes time that grows with the square of their number, \
             here 200 billion instructions; what fewer pages take is a lower bound",
        ),
        Shape::Dense if case.pages > MOST_DENSE => {
            Some("50 million pages, mapped in two kernels and compared, take too long in QEMU")
        }
        _ => None,
    };
    pairs.map(|case| (case, reason(&case))).collect()
}

fn measure(options: &BenchOptions, status: &Status) -> Result<Report> {
    let kernel = Kernel::read(&options.vmlinux)?;
    let mut names: Vec<_> = Step::ALL.iter().flat_map(|step| step.functions()).collect();
    names.extend([&step::KERNEL_START, &step::USERSPACE]);
    let names: Vec<_> = names.into_iter().copied().collect();
    kernel.check(&names)?;

    let mut report = Report {
        measured: Vec::new(),
        not_measured: Vec::new(),
        repetition: "not measured".into(),
        swaps: None,
        properties: Vec::new(),
    };
    for (case, left_out) in cases(options.quick) {
        let name = case.name();
        let left_out = match name.contains(&options.only) {
            true => left_out,
            false => Some("only some cases were asked for"),
        };
        let reason = match left_out {
            Some(reason) => reason.into(),
            None => {
                status.phase(&name);
                match case::measure(options, &kernel, &case) {
                    Ok(measured) => {
                        report.measured.push(measured);
                        continue;
                    }
                    Err(error) => {
                        let property = Property::new(&name, false, format!("{error:#}"));
                        report.properties.push(property);
                        "it failed".into()
                    }
                }
            }
        };
        report.not_measured.push(NotMeasured { case: name, reason });
    }
    if let Some(first) = report.measured.first() {
        status.phase("the first once more");
        report.repetition = match case::measure(options, &kernel, &first.case) {
            Ok(second) => verdict::repetition(&first.figures, &second.figures),
            Err(error) => format!("failed: {error:#}"),
        };
    }
    if "swaps".contains(&options.only) {
        status.phase("swaps");
        match swap::measure(options, &kernel) {
            Ok(swaps) => {
                report.properties.extend(swaps.properties());
                report.swaps = Some(swaps);
            }
            Err(error) => {
                let property = Property::new("swaps", false, format!("{error:#}"));
                report.properties.push(property);
            }
        }
    }
    let properties = verdict::properties(&report.measured);
    report.properties.extend(properties);
    Ok(report)
}

/// Measures everything and writes the report; returns whether every property holds.
pub fn run(options: &BenchOptions) -> Result<bool> {
    let report = measure(options, &Status::new("bench"))?;
    let text = table::render(&report)?;
    print!("{text}");
    for (name, content) in [
        ("bench.json", serde_json::to_string_pretty(&report)? + "\n"),
        ("bench.svg", plot::render(&report.measured)?),
        ("bench.txt", text),
    ] {
        let path = options.common.out.join(name);
        fs::write(&path, content).with_context(|| path.display().to_string())?;
    }
    Ok(report.properties.iter().all(|property| property.holds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_case_is_measured_or_said_to_be_left_out() {
        let all = cases(false);
        assert_eq!(all.len(), 2 * (PAGES.len() * 2 + DEVICES.len()));
        assert_eq!(all.iter().filter(|(_, reason)| reason.is_some()).count(), 3);
        assert_eq!(cases(true).len(), all.len());
        for (case, _) in &all {
            let same = |other: &&(Case, Option<_>)| other.0 == *case;
            assert_eq!(all.iter().filter(same).count(), 1);
        }
    }
}
