// SPDX-License-Identifier: GPL-2.0
//! For people, on a terminal.

use super::{during, phases, shown};
use crate::sampler::INTERVAL;
use crate::scenario::Record;
use crate::verdict::Property;
use anyhow::Result;
use std::fmt::Write;
use std::time::Duration;

/// Intervals per line.
const COLUMNS: usize = 100;
const LEVELS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
const NOTHING: char = '·';

/// One character per interval: nothing, or how much of the most.
fn sparkline(buckets: &[u64], most: u64) -> String {
    buckets
        .iter()
        .map(|&bytes| match bytes.checked_sub(1) {
            None => NOTHING,
            Some(less) => {
                let level = u128::from(less) * LEVELS.len() as u128 / u128::from(most.max(1));
                LEVELS[usize::try_from(level).map_or(LEVELS.len() - 1, |l| l.min(LEVELS.len() - 1))]
            }
        })
        .collect()
}

fn seconds(time: Duration, zero: Duration) -> String {
    format!("{:+6.1} s", time.as_secs_f64() - zero.as_secs_f64())
}

fn timeline(out: &mut String, record: &Record) -> Result<()> {
    for phase in phases(record)? {
        writeln!(
            out,
            "  {:+9.1} ms  {:<9} {:8.1} ms  {}",
            phase.start_ms, phase.name, phase.duration_ms, phase.meaning
        )?;
    }
    let hop = record.first()?;
    let steps = hop.preserved.steps.iter().map(|step| ("preserve", step));
    for (phase, step) in steps.chain(hop.back.done.iter().map(|step| ("way back", step))) {
        let name = step.name.trim_start_matches("preserve ");
        writeln!(
            out,
            "    of the first {phase}: {name:<12} {:8.3} ms",
            step.ns as f64 / 1e6
        )?;
    }
    Ok(())
}

fn dma(out: &mut String, record: &Record) -> Result<()> {
    let window = shown(record)?;
    let zero = record.first()?.marks.kexec.start;
    for series in &record.series {
        writeln!(
            out,
            "  {}: {}",
            series.device.name(),
            during(record, series)
        )?;
        let buckets = series.buckets(&window, INTERVAL);
        let most = buckets.iter().copied().max().unwrap_or(0);
        for (index, line) in buckets.chunks(COLUMNS).enumerate() {
            let start = window.start + INTERVAL * u32::try_from(index * COLUMNS)?;
            let end = start + INTERVAL * u32::try_from(line.len())?;
            let mut kexecs = record.hops.iter().map(|hop| &hop.marks.kexec);
            let inside = kexecs.any(|kexec| start < kexec.end && end > kexec.start);
            writeln!(
                out,
                "  {} {} {}",
                seconds(start, zero),
                if inside { '|' } else { ' ' },
                sparkline(line, most)
            )?;
        }
    }
    Ok(())
}

/// Renders it.
pub fn render(preserved: &Record, control: &Record, properties: &[Property]) -> Result<String> {
    let mut out = String::new();
    writeln!(
        out,
        "\nLive update of Linux {} to {}, {} in a row, with two devices that DMA all the time\n",
        preserved.old.release,
        preserved.last()?.new.release,
        preserved.hops.len()
    )?;
    writeln!(out, "Timeline (0 is the first reboot(KEXEC))")?;
    timeline(&mut out, preserved)?;
    writeln!(
        out,
        "\nDMA as seen from outside the machine. One character is 10 ms, one line 1 s;\n\
         '{NOTHING}' is none, '{}' much; '|' marks the lines in which the kernel was replaced.\n",
        LEVELS[LEVELS.len() - 1]
    )?;
    dma(&mut out, preserved)?;
    writeln!(
        out,
        "\nControl: the same without preserving the page tables\n"
    )?;
    dma(&mut out, control)?;
    writeln!(out, "\nWhat this shows")?;
    for property in properties {
        let mark = if property.holds { "ok  " } else { "FAIL" };
        writeln!(out, "  {mark} {}: {}", property.claim, property.observed)?;
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_looks_different_from_little() {
        assert_eq!(sparkline(&[0, 1, 80, 160], 160), "·▁▄█");
        assert_eq!(sparkline(&[0, 0], 0), "··");
    }
}
