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

fn find(measured: &[Measured], pages: u64, pool: bool) -> Option<&Measured> {
    let case = Case {
        shape: Shape::Scattered,
        pages,
        devices: 1,
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
    let pair = find(measured, SMALLEST, true).zip(find(measured, LARGEST, true));
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

fn reservation(measured: &[Measured]) -> Property {
    let pair = find(measured, LARGEST, true).zip(find(measured, LARGEST, false));
    about(
        format!(
            "with {LARGEST} table pages, reserving them at boot is {CHEAPER} times cheaper with a pool"
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

/// Each case has one domain.
fn bytes(measured: &[Measured]) -> Property {
    let one_device = measured
        .iter()
        .filter(|measured| measured.case.devices == 1);
    let mut seen = Vec::new();
    for measured in one_device {
        let counter = |name| measured.handed_over.get(name).copied();
        let (Some(bytes), Some(runs)) = (counter("outgoing_bytes"), counter("outgoing_runs"))
        else {
            continue;
        };
        let limit = BYTES + BYTES_PER_RUN.saturating_mul(runs);
        seen.push((bytes < limit, bytes, runs, measured.case.name()));
    }
    // The one that is closest to its limit or beyond it.
    let worst = seen.iter().max_by_key(|(_, bytes, runs, _)| {
        bytes.saturating_sub(BYTES_PER_RUN.saturating_mul(*runs))
    });
    let observed = worst.map_or("not measured".into(), |(_, bytes, runs, name)| {
        format!("at worst {bytes} bytes for {runs} runs ({name})")
    });
    let holds = !seen.is_empty() && seen.iter().all(|(holds, ..)| *holds);
    Property::new(
        format!(
            "less than {BYTES} bytes and {BYTES_PER_RUN} for each run are handed over for a domain"
        ),
        holds,
        observed,
    )
}

/// Everything that the figures have to show.
pub fn properties(measured: &[Measured]) -> Vec<Property> {
    vec![blackout(measured), reservation(measured), bytes(measured)]
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
                counter("outgoing_bytes", 1000 + 16 * 5),
                counter("outgoing_runs", 5),
            ]),
            taken_over: BTreeMap::new(),
            reboot_seconds: 0.0,
            profiles: BTreeMap::new(),
        }
    }

    fn all() -> Vec<Measured> {
        vec![
            measured(SMALLEST, true, 1000, 100),
            measured(LARGEST, true, 1200, 100),
            measured(LARGEST, false, 99_999, 10_000),
        ]
    }

    fn holds(measured: &[Measured]) -> Vec<bool> {
        let properties = properties(measured).into_iter();
        properties.map(|property| property.holds).collect()
    }

    #[test]
    fn good_figures_pass() {
        assert_eq!(holds(&all()), [true, true, true]);
    }

    #[test]
    fn a_growing_blackout_fails() {
        let mut measured = all();
        measured[1].blackout = 1201;
        assert_eq!(holds(&measured), [false, true, true]);
    }

    #[test]
    fn a_reservation_that_is_not_cheaper_fails() {
        let mut measured = all();
        measured[2].figures.insert(Step::Reservation, 9_999);
        assert_eq!(holds(&measured), [true, false, true]);
    }

    #[test]
    fn too_many_bytes_in_any_case_fail() {
        let mut measured = all();
        let bytes = 1024 + 16 * 5;
        measured[0]
            .handed_over
            .insert("outgoing_bytes".into(), bytes);
        assert_eq!(holds(&measured), [true, true, false]);
    }

    #[test]
    fn what_was_not_measured_does_not_hold() {
        assert_eq!(holds(&[]), [false, false, false]);
        assert_eq!(holds(&all()[..2]), [true, false, true]);
    }

    #[test]
    fn a_difference_is_named() {
        let figures = |freeze| Figures::from([(Step::Freeze, freeze)]);
        assert!(repetition(&figures(1), &figures(1)).starts_with("all figures"));
        assert!(repetition(&figures(1), &figures(2)).contains("freeze 1 and 2"));
    }
}
