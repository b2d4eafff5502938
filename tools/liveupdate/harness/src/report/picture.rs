// SPDX-License-Identifier: GPL-2.0
//! For people, as a picture: one lane per device and run, one bar per 10 ms.

use super::{during, phases, shown};
use crate::progress::Series;
use crate::sampler::INTERVAL;
use crate::scenario::Record;
use anyhow::Result;
use std::ops::Range;
use std::time::Duration;
use svg::Document;
use svg::node::element::{Group, Line, Path, Rectangle, Text, path::Data};

const LEFT: f64 = 90.0;
const WIDTH: f64 = 1000.0;
const LANE: f64 = 90.0;
const SPACE: f64 = 24.0;
const HEADER: f64 = 60.0;
const PHASE_ROW: f64 = 12.0;
const PHASE_ROWS: u8 = 4;
const PHASE_BAR: f64 = PHASE_ROW * PHASE_ROWS as f64;

const BACKGROUND: &str = "#ffffff";
const INK: &str = "#222222";
const WINDOW: &str = "#f2e6c9";
const ALIVE: &str = "#1b7f4b";
const DEAD: &str = "#b3261e";
const PHASES: [&str; 2] = ["#dbe4f0", "#c3d2e6"];

/// Maps time to the horizontal axis.
struct Scale {
    window: Range<Duration>,
}

impl Scale {
    fn x(&self, time: Duration) -> f64 {
        let length = (self.window.end - self.window.start).as_secs_f64();
        let at = time.as_secs_f64() - self.window.start.as_secs_f64();
        LEFT + (at / length).clamp(0.0, 1.0) * WIDTH
    }
}

fn text(x: f64, y: f64, size: u32, content: impl Into<String>) -> Text {
    Text::new(content)
        .set("x", x)
        .set("y", y)
        .set("font-family", "sans-serif")
        .set("font-size", size)
        .set("fill", INK)
}

fn rectangle(x: Range<f64>, y: f64, height: f64, fill: &str) -> Rectangle {
    Rectangle::new()
        .set("x", x.start)
        .set("y", y)
        .set("width", (x.end - x.start).max(0.0))
        .set("height", height)
        .set("fill", fill)
}

/// One device of one run, with its top at `y`.
fn lane(record: &Record, series: &Series, scale: &Scale, y: f64, title: &str, fill: &str) -> Group {
    let kexecs = record.hops.iter().map(|hop| &hop.marks.kexec);
    let buckets = series.buckets(&scale.window, INTERVAL);
    let most = buckets.iter().copied().max().unwrap_or(0).max(1);
    let bottom = y + LANE;
    let mut bars = Data::new();
    let mut start = scale.window.start;
    for bytes in buckets {
        if bytes > 0 {
            // The square root keeps little beside much visible.
            let height = (bytes as f64 / most as f64).sqrt() * LANE;
            let (left, right) = (scale.x(start), scale.x(start + INTERVAL));
            bars = bars
                .move_to((left, bottom))
                .vertical_line_by(-height)
                .horizontal_line_by(right - left)
                .vertical_line_by(height)
                .close();
        }
        start += INTERVAL;
    }
    let axis = Line::new()
        .set("x1", LEFT)
        .set("x2", LEFT + WIDTH)
        .set("y1", bottom)
        .set("y2", bottom)
        .set("stroke", INK);
    let mut group = Group::new();
    for kexec in kexecs {
        let x = scale.x(kexec.start)..scale.x(kexec.end);
        group = group.add(rectangle(x, y, LANE, WINDOW));
    }
    group
        .add(Path::new().set("d", bars).set("fill", fill))
        .add(axis)
        .add(text(8.0, y + LANE / 2.0, 14, series.device.name()))
        .add(text(LEFT, y - 5.0, 12, title))
}

/// Names of the phases.
fn phase_bar(record: &Record, scale: &Scale, y: f64) -> Result<Group> {
    let zero = record.first()?.marks.kexec.start.as_secs_f64();
    // Names over all bars: those of short phases reach into the next.
    let (mut bars, mut names) = (Group::new(), Group::new());
    let inside = phases(record)?
        .into_iter()
        .filter(|phase| phase.name != "boot");
    let rows = (0..PHASE_ROWS)
        .cycle()
        .map(|row| PHASE_ROW * f64::from(row));
    for ((phase, fill), row) in inside.zip(PHASES.into_iter().cycle()).zip(rows) {
        let time = |ms: f64| Duration::try_from_secs_f64(zero + ms / 1e3).unwrap_or_default();
        let x = scale.x(time(phase.start_ms))..scale.x(time(phase.start_ms + phase.duration_ms));
        // Short phases lie close together; their names need not.
        let label = text(x.start + 2.0, y + row + 10.0, 10, phase.name);
        bars = bars.add(rectangle(x, y, PHASE_BAR, fill));
        names = names.add(label);
    }
    Ok(Group::new().add(bars).add(names))
}

fn time_axis(record: &Record, scale: &Scale, y: f64) -> Result<Group> {
    let zero = record.first()?.marks.kexec.start;
    let mut group = Group::new();
    let mut offset = -1.0;
    while let Ok(time) = Duration::try_from_secs_f64(zero.as_secs_f64() + offset) {
        if time > scale.window.end {
            break;
        }
        group = group.add(text(scale.x(time), y + 14.0, 11, format!("{offset:+.1} s")));
        offset += 0.5;
    }
    Ok(group)
}

/// Renders it.
pub fn render(preserved: &Record, control: &Record) -> Result<String> {
    let mut group = Group::new();
    let mut y = HEADER;
    // The same scale for both.
    let (first, second) = (shown(preserved)?, shown(control)?);
    let length =
        (first.end.saturating_sub(first.start)).max(second.end.saturating_sub(second.start));
    for (record, title, fill) in [
        (preserved, "preserved", ALIVE),
        (control, "control: page tables not preserved", DEAD),
    ] {
        let start = shown(record)?.start;
        let scale = Scale {
            window: start..start + length,
        };
        group = group.add(phase_bar(record, &scale, y)?);
        y += PHASE_BAR + SPACE;
        for series in &record.series {
            let title = format!("{title}: {}", during(record, series));
            group = group.add(lane(record, series, &scale, y, &title, fill));
            y += LANE + SPACE;
        }
        group = group.add(time_axis(record, &scale, y - SPACE)?);
        y += SPACE;
    }
    let (width, height) = (LEFT + WIDTH + 20.0, y);
    let document = Document::new()
        .set("viewBox", (0.0, 0.0, width, height))
        .set("width", width)
        .set("height", height)
        .add(rectangle(0.0..width, 0.0, height, BACKGROUND))
        .add(text(
            8.0,
            24.0,
            18,
            "DMA while the kernel is replaced by kexec, as seen from outside the machine",
        ))
        .add(text(
            8.0,
            44.0,
            12,
            "one bar per 10 ms, height: square root of the bytes that the device wrote; \
             shaded: from reboot(KEXEC) to the new kernel's userspace",
        ))
        .add(group);
    Ok(format!("{document}\n"))
}
