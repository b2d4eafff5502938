// SPDX-License-Identifier: GPL-2.0
//! Whether what happened is what must happen.

use super::Reference;
use super::attempt::{Attempt, Next};
use super::row::{Expected, FEATURE, Kernel, Row};
use crate::run::QUIET;
use crate::timeline::KernelLog;
use crate::verdict::Property;
use anyhow::{Context, Result};
use protocol::{OUTCOME_OK, Stage};

/// What the kernel prints about an image, and before the list of what is missing.
const CANNOT: &str = "the image cannot take over, ";
const LACKS: &str = ": it lacks ";
/// What becomes of a state that needs a feature which the next kernel does not have.
const VERSION: &str = "EPROTONOSUPPORT";
/// KiB that may be missing: the tables of an IOMMU that was switched off by `stop` are given back by
/// the next kexec only.
const LEFT_OVER: i64 = 16;
/// Of the time that a kexec takes.
const PARTS: u32 = 4;

/// Whether `liveupdate-image` and the kernel say the same.
fn preflight(row: &Row, attempt: &Attempt) -> Result<Vec<Property>> {
    let missing = attempt.preflight.missing.join(", ");
    let lines = attempt.old_log()?.lines.iter();
    let said: Vec<_> = lines
        .filter_map(|line| Some(line.text.split_once(CANNOT)?.1.split_once(LACKS)?.1))
        .collect();
    let required = &attempt.preflight.required;
    let mut properties = vec![
        Property::new(
            "the kernel misses what liveupdate-image does, and says so once",
            said.concat() == missing && said.len() <= 1,
            format!("{said:?}, {missing:?}"),
        ),
        Property::new(
            "the feature is required when it is used",
            required.iter().any(|name| name == FEATURE) == row.feature && !required.is_empty(),
            required.join(", "),
        ),
    ];
    let (errno, lacks) = match row.expected {
        Expected::GoesOn | Expected::Blocked | Expected::Astray => (OUTCOME_OK, false),
        Expected::Refused(_) => (VERSION, true),
        Expected::Stopped => (OUTCOME_OK, true),
    };
    properties.push(Property::equal("what reboot gives", &attempt.reboot, errno));
    properties.push(Property::new(
        "whether something is missing",
        missing.is_empty() != lacks,
        missing,
    ));
    Ok(properties)
}

/// The kernel that was started is the one that was to be started.
fn is_next(row: &Row, next: &Next) -> Property {
    let files = next.supported.files.iter();
    let supported: Option<Vec<_>> = files
        .filter_map(|file| Some(file.content.as_ref().ok()?.lines().collect::<Vec<_>>()))
        .next();
    let has_feature = supported.as_ref().map(|names| names.contains(&FEATURE));
    let expected = match row.next {
        Kernel::This => Some(false),
        Kernel::Newer => Some(true),
        Kernel::Unpatched => None,
    };
    Property::new(
        "the next kernel is the one that was loaded",
        has_feature == expected,
        format!("it supports {supported:?}"),
    )
}

/// The update worked.
fn goes_on(attempt: &Attempt, next: &Next) -> Result<Vec<Property>> {
    let kexec = &next.kexec;
    let part = (kexec.end - kexec.start) / PARTS;
    let parts = attempt.seen.series.iter().flat_map(|series| {
        let mut parts = series.buckets(kexec, part);
        parts.truncate(PARTS as usize);
        parts
    });
    let parts: Vec<_> = parts.collect();
    let then = attempt.bytes(&attempt.after(next)?.1);
    let stopped = next
        .back
        .stopped
        .iter()
        .map(|stopped| stopped.message.clone());
    Ok(vec![
        Property::new(
            "DMA in every quarter of the kexec",
            !parts.contains(&0),
            format!("{parts:?} bytes"),
        ),
        Property::new("DMA in the next kernel", then > 0, format!("{then} bytes")),
        Property::none(
            "the VMM comes back, up to FINISH",
            &stopped.collect::<Vec<_>>(),
        ),
        Property::new(
            "page tables take as much as before",
            next.usage == attempt.before,
            format!("{:?}, {:?} before", next.usage, attempt.before),
        ),
    ])
}

/// The devices were stopped in time.
fn is_stopped(attempt: &Attempt, next: &Next) -> Result<Property> {
    let kexec = next.kexec.start;
    let alive = kexec.saturating_sub(QUIET)..kexec;
    let series = attempt.seen.series.iter();
    let alive: u64 = series.map(|series| series.within(&alive).bytes).sum();
    let jump = attempt.bytes(&attempt.after(next)?.0);
    Ok(Property::new(
        "DMA ends with the old kernel",
        alive > 0 && jump == 0,
        format!("{alive} bytes before, {jump} after"),
    ))
}

/// The update fails in the next kernel, which gives everything back.
fn gives_back(attempt: &Attempt, next: &Next, reference: &Reference) -> Result<Vec<Property>> {
    let then = attempt.bytes(&attempt.after(next)?.1);
    let stopped = next.back.stopped.as_ref().context("the VMM came back")?;
    let (kept, memory) = (next.kept, next.memory);
    Ok(vec![
        Property::new(
            "no DMA in the next kernel",
            then == 0,
            format!("{then} bytes"),
        ),
        Property::new(
            "the iommufd is rejected for its version",
            (stopped.stage, &*stopped.errno) == (Stage::Iommufd, VERSION),
            stopped.message.clone(),
        ),
        Property::equal("a reaper gives it back", &next.reaped, OUTCOME_OK),
        Property::new(
            "page tables take as much as without an update",
            next.usage == reference.usage,
            format!("{:?}, {:?} without", next.usage, reference.usage),
        ),
        Property::new(
            "the kernel has as much memory as after an update that worked",
            kept < memory - LEFT_OVER && (memory - reference.memory).abs() <= LEFT_OVER,
            format!(
                "{kept} KiB, then {memory}, {} after an update",
                reference.memory
            ),
        ),
    ])
}

/// The control: what becomes of DMA that nobody has stopped.
fn goes_astray(attempt: &Attempt, next: &Next) -> Result<Property> {
    let jump = attempt.bytes(&attempt.after(next)?.0);
    let off = attempt.seen.remains.iommu.translation_off;
    Ok(Property::new(
        "control: without the preflight, translation is switched off under DMA",
        jump > 0 && off > 0,
        format!("{jump} bytes after the jump, off {off} times"),
    ))
}

/// Nothing that nobody has asked for. A device that nobody stops in time faults.
fn in_order(row: &Row, attempt: &Attempt) -> Vec<Property> {
    let mut properties = Vec::new();
    let trace = &attempt.seen.remains.iommu;
    let may_fault = matches!(row.expected, Expected::Blocked | Expected::Astray);
    let complaints: fn(&KernelLog) -> Vec<&str> = match may_fault {
        true => |log| log.crashes().collect(),
        false => |log| log.complaints().collect(),
    };
    let complaints = attempt.kernels.iter().flat_map(complaints);
    let complaints: Vec<_> = complaints.map(str::to_owned).collect();
    properties.push(Property::none("no kernel complains", &complaints));
    if !may_fault {
        let faults = trace.faults.iter().map(|fault| fault.text.clone());
        let faults: Vec<_> = faults.collect();
        properties.push(Property::none("no IOMMU fault (QEMU's trace)", &faults));
    }
    if !matches!(row.expected, Expected::Stopped | Expected::Astray) {
        let off = trace.translation_off;
        properties.push(Property::new(
            "translation was never off (QEMU's trace)",
            off == 0,
            format!("off {off} times"),
        ));
    }
    properties
}

/// What must hold.
pub fn properties(row: &Row, attempt: &Attempt, reference: &Reference) -> Result<Vec<Property>> {
    let mut properties = preflight(row, attempt)?;
    if let Expected::Refused(_) = row.expected {
        let bytes = attempt.bytes(&attempt.refused);
        properties.push(Property::new(
            "DMA goes on when the reboot is refused",
            bytes > 0,
            format!("{bytes} bytes"),
        ));
    }
    if let Some(next) = &attempt.next {
        properties.push(is_next(row, next));
        match row.expected {
            Expected::GoesOn | Expected::Refused(_) => properties.extend(goes_on(attempt, next)?),
            Expected::Stopped => properties.push(is_stopped(attempt, next)?),
            Expected::Blocked => {}
            Expected::Astray => properties.push(goes_astray(attempt, next)?),
        }
        let fails = matches!(row.expected, Expected::Stopped | Expected::Blocked);
        if fails && row.next != Kernel::Unpatched {
            properties.extend(gives_back(attempt, next, reference)?);
        }
    }
    properties.extend(in_order(row, attempt));
    Ok(properties)
}
