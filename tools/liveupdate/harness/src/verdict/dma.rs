// SPDX-License-Identifier: GPL-2.0
//! Whether a device goes on or is stopped.

use super::Property;
use crate::hop::Hop;
use crate::progress::Series;
use crate::scenario::Record;
use crate::timeline::JUMP;
use anyhow::Result;
use std::time::Duration;

/// Of the time that a kexec takes.
const PARTS: u32 = 4;
/// A device must have been alive this shortly before the kexec for its death to prove anything.
const ALIVE_BEFORE: Duration = Duration::from_millis(300);

/// What must hold for a device whose page tables are handed over.
pub fn goes_on(record: &Record, hop: &Hop, series: &Series) -> [Property; 2] {
    let name = series.device.name();
    let kexec = &hop.marks.kexec;
    let next = record.hops.get(hop.number + 1);
    let end = next.map_or(record.afterwards.end, |next| next.marks.kexec.start);
    let back = series.within(&(kexec.end..hop.marks.finish.end)).bytes;
    let after = series.within(&(hop.marks.finish.end..end)).bytes;
    // Parts instead of milliseconds: a busy host delays the devices as it does the kernel.
    let part = (kexec.end - kexec.start) / PARTS;
    let mut parts = series.buckets(kexec, part);
    parts.truncate(PARTS as usize);
    [
        Property::new(
            format!("{name}: DMA in every quarter of the kexec"),
            !parts.contains(&0),
            format!("{parts:?} bytes"),
        ),
        Property::new(
            format!("{name}: DMA in the new kernel, up to FINISH and after it"),
            back > 0 && after > 0,
            format!("{back} bytes, then {after}"),
        ),
    ]
}

/// What must hold for a device whose page tables are not handed over.
pub fn dies(record: &Record, hop: &Hop, series: &Series) -> Result<Vec<Property>> {
    let name = series.device.name();
    let kexec = &hop.marks.kexec;
    // Shutting the old kernel down takes a while; what counts is the time after it.
    let jump = record.old_log(hop)?.first(JUMP);
    let after = series.next_look(jump.unwrap_or(kexec.end));
    let alive = series.within(&(kexec.start.saturating_sub(ALIVE_BEFORE)..kexec.start));
    let dead = series.within(&(after..record.afterwards.end));
    Ok(vec![
        Property::new(
            format!("{name}: DMA before the kexec"),
            alive.bytes > 0,
            format!("{} bytes in {} ms", alive.bytes, ALIVE_BEFORE.as_millis()),
        ),
        Property::new(
            format!("{name}: no DMA after it"),
            dead.bytes == 0,
            format!("{} bytes", dead.bytes),
        ),
    ])
}
