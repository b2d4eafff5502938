// SPDX-License-Identifier: GPL-2.0
//! The figures for people, on a terminal.

use super::Report;
use super::case::Measured;
use super::step::Step;
use anyhow::Result;
use std::fmt::Write;

/// A number with three digits or so.
pub fn short(number: u64) -> String {
    const UNITS: [&str; 4] = ["", "k", "M", "G"];
    let mut value = number as f64;
    let mut unit = 0;
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    let digits = match (unit, value) {
        (0, _) => 0,
        (_, value) if value < 9.995 => 2,
        (_, value) if value < 99.95 => 1,
        _ => 0,
    };
    format!("{value:.digits$}{}", UNITS[unit])
}

fn row(out: &mut String, name: &str, cells: impl Iterator<Item = String>) -> Result<()> {
    write!(out, "  {name:<13}")?;
    for cell in cells {
        write!(out, " {cell:>14}")?;
    }
    writeln!(out)?;
    Ok(())
}

/// A row with a figure of each pair of cases, with a pool and without.
fn pairs(
    out: &mut String,
    name: &str,
    columns: &[(&Measured, Option<&Measured>)],
    figure: impl Fn(&Measured) -> Option<u64>,
) -> Result<()> {
    let show = |measured: &Measured| figure(measured).map_or("-".into(), short);
    let cells = columns.iter().map(|(with, without)| {
        let without = without.map_or("-".into(), show);
        format!("{} / {without}", show(with))
    });
    row(out, name, cells)
}

fn section(out: &mut String, columns: &[(&Measured, Option<&Measured>)]) -> Result<()> {
    row(
        out,
        "table pages",
        columns.iter().map(|(with, _)| with.table_pages.to_string()),
    )?;
    row(
        out,
        "devices",
        columns
            .iter()
            .map(|(with, _)| with.case.devices.to_string()),
    )?;
    for step in Step::ALL {
        pairs(out, step.name(), columns, |measured| {
            measured.figures.get(&step).copied()
        })?;
    }
    pairs(out, "blackout", columns, |measured| Some(measured.blackout))?;
    pairs(out, "+ reservation", columns, |measured| {
        let reservation = measured.figures.get(&Step::Reservation)?;
        Some(measured.blackout.saturating_add(*reservation))
    })?;
    pairs(out, "whole reboot", columns, |measured| {
        Some(measured.reboot)
    })?;
    for (name, counter) in [
        ("bytes", "outgoing_bytes"),
        ("runs", "outgoing_runs"),
        ("KHO entries", "kho_entries"),
    ] {
        pairs(out, name, columns, |measured| {
            measured.handed_over.get(counter).copied()
        })?;
    }
    let seconds = |measured: &Measured| format!("{:.1} s", measured.reboot_seconds);
    let cells = columns.iter().map(|(with, without)| {
        let without = without.map_or("-".into(), seconds);
        format!("{} / {without}", seconds(with))
    });
    row(out, "in QEMU", cells)?;
    writeln!(out)?;
    Ok(())
}

/// Renders it.
pub fn render(report: &Report) -> Result<String> {
    let mut out = String::new();
    writeln!(
        out,
        "\nGuest instructions of each step, with a pool / without one. The blackout is the sum of\n\
         freeze, shutdown, takeover and restore; the line below it adds what KHO takes to reserve\n\
         the memory; the whole reboot is everything from reboot(2) to the new kernel's userspace.\n\
         \"In QEMU\" is the time that it took here.\n"
    )?;
    for (title, select) in super::SECTIONS {
        let of = |pool| {
            let cases = report.measured.iter();
            cases.filter(move |measured| measured.case.pool == pool && select(&measured.case))
        };
        let columns: Vec<_> = of(true)
            .map(|with| {
                let same = |without: &&Measured| {
                    without.case.pages == with.case.pages
                        && without.case.devices == with.case.devices
                };
                (with, of(false).find(same))
            })
            .collect();
        if !columns.is_empty() {
            writeln!(out, "{title}\n")?;
            section(&mut out, &columns)?;
        }
    }
    if let Some(swaps) = &report.swaps {
        writeln!(out, "{}", swaps.render()?)?;
    }
    for missing in &report.not_measured {
        writeln!(out, "not measured: {}: {}", missing.case, missing.reason)?;
    }
    writeln!(out, "repetition: {}\n", report.repetition)?;
    for property in &report.properties {
        let mark = if property.holds { "ok  " } else { "FAIL" };
        writeln!(out, "  {mark} {}: {}", property.claim, property.observed)?;
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        for (number, expected) in [
            (0, "0"),
            (999, "999"),
            (1000, "1.00k"),
            (12_345, "12.3k"),
            (999_499, "999k"),
            (999_500, "1.00M"),
            (123_456_789_000, "123G"),
        ] {
            assert_eq!(short(number), expected);
        }
    }
}
