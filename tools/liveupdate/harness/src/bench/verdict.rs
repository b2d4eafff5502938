// SPDX-License-Identifier: GPL-2.0
//! What the figures have to show.

use super::case::{Case, Measured};
use super::figures::Figures;
use super::step::Step;
use crate::verdict::Property;
use protocol::Shape;

/// The smallest and the largest page tables.
const SMALLEST: u64 = 10;
const LARGEST: u64 = 100_000;
/// How much more the standstill may take with the largest, in percent.
const GROWTH: u64 = 120;
/// How many times cheaper the reservation has to be with a pool.
const CHEAPER: u64 = 100;
/// Bytes of a domain, and of each run of its pages.
const BYTES: u64 = 1024;
const BYTES_PER_RUN: u64 = 16;
/// Domains with which that is seen.
const DOMAINS: usize = 64;
/// The largest page tables whose pages are reserved one by one here: that takes time that grows with
/// the square of their number.
const LARGEST_SINGLE: u64 = 10_000;

fn find(measured: &[Measured], pages: u64, devices: usize, pool: bool) -> Option<&Measured> {
    let case = Case {
        shape: Shape::Scattered,
        pages,
        devices,
        pool,
    };
    measured.iter().find(|measured| measured.case == case)
}

/// The claim, or that it was not measured.
fn about(
    claim: String,
    pair: Option<(&Measured, &Measured)>,
    judge: impl FnOnce(&Measured, &Measured) -> (bool, String),
) -> Property {
    let (holds, observed) = pair.map_or((false, "not measured".into()), |(one, other)| {
        judge(one, other)
    });
    Property::new(claim, holds, observed)
}

fn blackout(measured: &[Measured]) -> Property {
    let pair = find(measured, SMALLEST, 1, true).zip(find(measured, LARGEST, 1, true));
    about(
        format!(
            "the blackout with {LARGEST} table pages takes at most 1.2 times that with {SMALLEST}"
        ),
        pair,
        |small, large| {
            let (small, large) = (small.blackout, large.blackout);
            let holds = large.saturating_mul(100) <= small.saturating_mul(GROWTH);
            (holds, format!("{large} and {small} instructions"))
        },
    )
}

/// The cases differ in size, so that this is less than what is claimed.
fn reservation(measured: &[Measured]) -> Property {
    let pair = find(measured, LARGEST, 1, true).zip(find(measured, LARGEST_SINGLE, 1, false));
    about(
        format!(
            "reserving {LARGEST} table pages of a pool at boot is {CHEAPER} times cheaper than \
             {LARGEST_SINGLE} pages without one, and so than as many"
        ),
        pair,
        |with, without| {
            let of = |measured: &Measured| measured.figures.get(&Step::Reservation).copied();
            let (with, without) = (of(with).unwrap_or(u64::MAX), of(without).unwrap_or(0));
            let holds = with.saturating_mul(CHEAPER) <= without;
            (holds, format!("{with} instead of {without} instructions"))
        },
    )
}

/// What is handed over, and how many runs are in it.
fn handed_over(measured: &Measured) -> Option<(u64, u64)> {
    let counter = |name| measured.handed_over.get(name).copied();
    counter("outgoing_bytes").zip(counter("outgoing_runs"))
}

/// Each device has a domain. What there is once for a session does not count.
fn bytes(measured: &[Measured]) -> Property {
    let pair = find(measured, SMALLEST, 1, true).zip(find(measured, SMALLEST, DOMAINS, true));
    about(
        format!("a domain takes less than {BYTES} bytes and {BYTES_PER_RUN} for each run"),
        pair,
        |one, more| {
            let Some(((one, runs_of_one), (all, runs))) = handed_over(one).zip(handed_over(more))
            else {
                return (false, "not counted".into());
            };
            let domains = DOMAINS as u64 - 1;
            let (bytes, runs) = (all.saturating_sub(one), runs.saturating_sub(runs_of_one));
            let of_runs = BYTES_PER_RUN.saturating_mul(runs);
            let each = bytes.saturating_sub(of_runs).div_ceil(domains);
            let observed = format!(
                "{each} bytes and {BYTES_PER_RUN} for each run (a session with one domain of \
                 {runs_of_one} runs takes {one} in all, with {DOMAINS} domains {all})"
            );
            (bytes > of_runs && each < BYTES, observed)
        },
    )
}

/// Nothing but the list of runs grows.
fn bytes_by_runs(measured: &[Measured]) -> Property {
    let claim = format!("with more table pages, {BYTES_PER_RUN} bytes are added for each run");
    let base = find(measured, SMALLEST, 1, true).and_then(handed_over);
    let Some((base, base_runs)) = base else {
        return Property::new(claim, false, "not measured");
    };
    let mut beyond = Vec::new();
    for measured in measured
        .iter()
        .filter(|measured| measured.case.devices == 1)
    {
        let Some((bytes, runs)) = handed_over(measured) else {
            beyond.push(format!("{}: not counted", measured.case.name()));
            continue;
        };
        // Either may be the larger one.
        let (more, fewer) = (
            runs.saturating_sub(base_runs),
            base_runs.saturating_sub(runs),
        );
        let with = base.saturating_add(more.saturating_mul(BYTES_PER_RUN));
        if bytes.saturating_add(fewer.saturating_mul(BYTES_PER_RUN)) > with {
            beyond.push(format!(
                "{}: {bytes} bytes for {runs} runs",
                measured.case.name()
            ));
        }
    }
    let observed = match beyond.first() {
        Some(first) => format!("not for {}, the first: {first}", beyond.len()),
        None => format!("from {base} bytes for {base_runs} runs on"),
    };
    Property::new(claim, beyond.is_empty(), observed)
}

/// Everything that the figures have to show.
pub fn properties(measured: &[Measured]) -> Vec<Property> {
    vec![
        blackout(measured),
        reservation(measured),
        bytes(measured),
        bytes_by_runs(measured),
    ]
}

/// How far two runs of the same case differ.
pub fn repetition(first: &Figures, second: &Figures) -> String {
    let mut differences = Vec::new();
    for step in Step::ALL {
        let (a, b) = (first.get(&step), second.get(&step));
        if a != b {
            let number = |figure: Option<&u64>| figure.map_or("none".into(), u64::to_string);
            differences.push(format!("{} {} and {}", step.name(), number(a), number(b)));
        }
    }
    match differences.is_empty() {
        true => "all figures of two runs are equal".into(),
        false => format!("two runs differ: {}", differences.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn measured(pages: u64, pool: bool, blackout: u64, reservation: u64) -> Measured {
        let counter = |name: &str, value| (name.to_owned(), value);
        Measured {
            case: Case {
                shape: Shape::Scattered,
                pages,
                devices: 1,
                pool,
            },
            table_pages: pages,
            figures: BTreeMap::from([(Step::Reservation, reservation)]),
            blackout,
            reboot: 0,
            handed_over: BTreeMap::from([
                counter("outgoing_bytes", 1200 + 16 * 5),
                counter("outgoing_runs", 5),
            ]),
            taken_over: BTreeMap::new(),
            reboot_seconds: 0.0,
            profiles: BTreeMap::new(),
        }
    }

    fn hand_over(measured: &mut Measured, bytes: u64, runs: u64) {
        let handed_over = &mut measured.handed_over;
        handed_over.insert("outgoing_bytes".into(), bytes);
        handed_over.insert("outgoing_runs".into(), runs);
    }

    fn all() -> Vec<Measured> {
        let mut domains = measured(SMALLEST, true, 1000, 100);
        domains.case.devices = DOMAINS;
        // Five runs each.
        hand_over(&mut domains, 1200 + 16 * 320 + 63 * 1023, 320);
        vec![
            domains,
            measured(SMALLEST, true, 1000, 100),
            measured(LARGEST, true, 1200, 100),
            measured(LARGEST_SINGLE, false, 99_999, 10_000),
        ]
    }

    fn holds(measured: &[Measured]) -> Vec<bool> {
        let properties = properties(measured).into_iter();
        properties.map(|property| property.holds).collect()
    }

    #[test]
    fn good_figures_pass() {
        assert_eq!(holds(&all()), [true; 4]);
    }

    #[test]
    fn a_growing_blackout_fails() {
        let mut measured = all();
        measured[2].blackout = 1201;
        assert_eq!(holds(&measured), [false, true, true, true]);
    }

    #[test]
    fn a_reservation_that_is_not_cheaper_fails() {
        let mut measured = all();
        measured[3].figures.insert(Step::Reservation, 9_999);
        assert_eq!(holds(&measured), [true, false, true, true]);
    }

    #[test]
    fn too_many_bytes_of_a_domain_fail() {
        let mut measured = all();
        hand_over(&mut measured[0], 1200 + 16 * 320 + 63 * 1024, 320);
        assert_eq!(holds(&measured), [true, true, false, true]);
        // Nor can several domains take no more than one.
        hand_over(&mut measured[0], 1200, 320);
        assert_eq!(holds(&measured), [true, true, false, true]);
    }

    #[test]
    fn too_many_bytes_of_a_run_fail() {
        let mut measured = all();
        hand_over(&mut measured[3], 1200 + 16 * 50, 50);
        assert_eq!(holds(&measured), [true; 4]);
        hand_over(&mut measured[3], 1200 + 16 * 50 + 1, 50);
        assert_eq!(holds(&measured), [true, true, true, false]);
        hand_over(&mut measured[3], 1200 + 16, 1);
        assert_eq!(holds(&measured), [true; 4]);
    }

    #[test]
    fn what_was_not_measured_does_not_hold() {
        assert_eq!(holds(&[]), [false; 4]);
        assert_eq!(holds(&all()[..3]), [true, false, true, true]);
    }

    #[test]
    fn a_difference_is_named() {
        let figures = |freeze| Figures::from([(Step::Freeze, freeze)]);
        assert!(repetition(&figures(1), &figures(1)).starts_with("all figures"));
        assert!(repetition(&figures(1), &figures(2)).contains("freeze 1 and 2"));
    }
}
