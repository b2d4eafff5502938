// SPDX-License-Identifier: GPL-2.0
//! What the demonstration leaves for its reader.

mod json;
mod picture;
mod text;

use crate::cli::Options;
use crate::hop::Hop;
use crate::progress::Series;
use crate::scenario::Record;
use crate::timeline::{JUMP, Phase, RESTORE, TAKEOVER};
use crate::verdict::Property;
use anyhow::{Context, Result};
use std::fs;
use std::ops::Range;
use std::time::Duration;

/// What is shown before the kexec and after it.
const MARGIN: Duration = Duration::from_millis(1000);

/// Writes `demo.json`, `demo.svg` and `demo.txt`, and prints the text.
pub fn write(
    options: &Options,
    preserved: &Record,
    control: &Record,
    properties: &[Property],
) -> Result<()> {
    let text = text::render(preserved, control, properties)?;
    print!("{text}");
    for (name, content) in [
        ("demo.json", json::render(preserved, control, properties)?),
        ("demo.svg", picture::render(preserved, control)?),
        ("demo.txt", text),
    ] {
        let path = options.out.join(name);
        fs::write(&path, content).with_context(|| path.display().to_string())?;
    }
    Ok(())
}

/// The time that is shown.
fn shown(record: &Record) -> Result<Range<Duration>> {
    let start = record.first()?.marks.kexec.start.saturating_sub(MARGIN);
    let last = &record.last()?.marks;
    let end = last.finish.end.max(last.kexec.end) + MARGIN;
    Ok(start..end.min(record.afterwards.end))
}

fn ms(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

/// What a device did while the kernel was replaced.
fn during(record: &Record, series: &Series) -> String {
    let kexecs = record.hops.iter().map(|hop| &hop.marks.kexec);
    let bytes: Vec<_> = kexecs
        .clone()
        .map(|kexec| series.within(kexec).bytes.to_string())
        .collect();
    let gap = kexecs.map(|kexec| series.max_gap(kexec)).max();
    format!(
        "{} bytes during the kexec, longest gap {} ms",
        bytes.join(" and "),
        gap.unwrap_or_default().as_millis()
    )
}

/// The phases of all updates, as far as the kernels said when they were.
fn phases(record: &Record) -> Result<Vec<Phase>> {
    let zero = record.first()?.marks.kexec.start;
    let mut phases = Vec::new();
    for hop in &record.hops {
        phases_of(record, hop, zero, &mut phases)?;
    }
    Ok(phases)
}

fn phases_of(record: &Record, hop: &Hop, zero: Duration, phases: &mut Vec<Phase>) -> Result<()> {
    let marks = &hop.marks;
    let old = record.old_log(hop)?;
    let new = record.new_log(hop)?;
    let mut add = |name, meaning, range: Range<Duration>| {
        let offset = ms(range.start.saturating_sub(zero)) - ms(zero.saturating_sub(range.start));
        phases.push(Phase {
            name,
            meaning,
            start_ms: offset,
            duration_ms: ms(range.end.saturating_sub(range.start)),
        });
    };
    add(
        "preserve",
        "the VMM hands memory, page tables and devices to a session; devices run",
        marks.preserve.clone(),
    );
    if let Some(jump) = old.first(JUMP) {
        add(
            "freeze",
            "reboot(KEXEC): state sealed, old kernel shuts down",
            marks.kexec.start..jump,
        );
        add(
            "jump",
            "no kernel runs; ends when the new one's clock starts",
            jump..new.start.max(jump),
        );
    }
    if let Some(takeover) = new.first(TAKEOVER) {
        add(
            "takeover",
            "the new kernel boots and adopts the IOMMU's tables",
            new.start..takeover,
        );
        if let Some(restore) = new.last(RESTORE) {
            add(
                "restore",
                "the devices get their old page tables, locked",
                takeover..restore.max(takeover),
            );
        }
    }
    add(
        "boot",
        "the new kernel until its userspace answers",
        new.start..marks.kexec.end,
    );
    add(
        "retrieve",
        "the VMM gets its memory and its devices back",
        marks.retrieve.clone(),
    );
    if hop.swaps > 0 {
        add(
            "swap",
            "new page tables are attached while the devices run",
            marks.swap.clone(),
        );
        add(
            "finish",
            "the old page tables are freed, the session ends",
            marks.finish.clone(),
        );
    }
    Ok(())
}
