// SPDX-License-Identifier: GPL-2.0
//! Whether what was observed shows what it should.

use crate::scenario::Record;
use crate::timeline::{JUMP, KernelLog, RESTORE, TAKEOVER};
use anyhow::Result;
use protocol::OUTCOME_OK;
use serde::Serialize;
use std::collections::BTreeSet;
use std::time::Duration;

/// A device may be silent for at most this long while the kernel is replaced.
const MAX_GAP: Duration = Duration::from_millis(100);
/// A control must have been alive for this long before the kexec to prove anything.
const ALIVE_BEFORE: Duration = Duration::from_millis(300);

/// A claim with its evidence.
#[derive(Clone, Debug, Serialize)]
pub struct Property {
    /// The claim.
    pub claim: String,
    /// Whether it holds.
    pub holds: bool,
    /// What was observed.
    pub observed: String,
}

impl Property {
    fn new(claim: impl Into<String>, holds: bool, observed: impl Into<String>) -> Self {
        Self {
            claim: claim.into(),
            holds,
            observed: observed.into(),
        }
    }

    fn equal(claim: impl Into<String>, found: &str, expected: &str) -> Self {
        Self::new(claim, found == expected, found)
    }

    fn none(claim: impl Into<String>, found: &[String]) -> Self {
        let observed = match found.first() {
            Some(first) => format!("{}, the first: {first}", found.len()),
            None => "none".into(),
        };
        Self::new(claim, found.is_empty(), observed)
    }
}

/// Number of different domains that the new kernel says it has restored.
pub fn restored_domains(record: &Record) -> Result<usize> {
    let log = record.new_log()?;
    let restored = log.lines.iter().filter_map(|line| {
        let (_, domain) = line.text.split_once(RESTORE)?;
        Some(domain.trim())
    });
    Ok(restored.collect::<BTreeSet<_>>().len())
}

/// Everything that is wrong with the data of the NVMe commands: blocks that the drive read into
/// memory, compared in the guest and from outside, and blocks that were written to the drive.
pub fn data_errors(record: &Record) -> Vec<String> {
    let mut errors = Vec::new();
    match &record.reads {
        Some(reads) => {
            errors.extend(reads.details.iter().cloned());
            let known = reads.details.len();
            let all = usize::from(reads.wrong) + usize::from(reads.failed);
            errors.extend((known..all).map(|_| "further wrong block".to_owned()));
            if reads.completed < record.config.nvme_ios {
                errors.push(format!(
                    "{} of {} commands completed",
                    reads.completed, record.config.nvme_ios
                ));
            }
        }
        None => errors.push("the memory was not retrieved".into()),
    }
    errors.extend(record.reads_outside.iter().cloned());
    errors.extend(record.remains.drive_errors.iter().cloned());
    errors
}

fn complaints(record: &Record) -> Vec<String> {
    let logs = record.kernels.iter();
    logs.flat_map(KernelLog::complaints)
        .map(str::to_owned)
        .collect()
}

/// What the update with preservation must show.
pub fn preserved(record: &Record) -> Result<Vec<Property>> {
    let window = &record.marks.kexec;
    let mut properties = vec![
        Property::none(
            "no IOMMU fault (QEMU's trace)",
            &record.remains.iommu.faults,
        ),
        Property::new(
            "translation was never off (QEMU's trace)",
            record.remains.iommu.translation_off == 0,
            format!("off {} times", record.remains.iommu.translation_off),
        ),
        Property::none("no data error", &data_errors(record)),
    ];
    for series in &record.series {
        let gap = series.max_gap(window);
        properties.push(Property::new(
            format!(
                "{}: DMA in every {} ms of the kexec",
                series.device.name(),
                MAX_GAP.as_millis()
            ),
            gap <= MAX_GAP,
            format!(
                "longest gap {} ms, {} bytes",
                gap.as_millis(),
                series.within(window).bytes
            ),
        ));
    }
    let expected = record.config.devices.len();
    let restored = restored_domains(record)?;
    properties.extend([
        Property::new(
            "one restored domain per device",
            restored == expected,
            format!("{restored} of {expected}"),
        ),
        Property::equal(
            "a host driver is refused",
            &record.host_driver_bind,
            "EBUSY",
        ),
        Property::equal(
            "a foreign iommufd is refused",
            &record.foreign_bind.iommufd,
            "EPERM",
        ),
        Property::equal(
            "the memory is retrieved",
            &record.retrieved.memfd,
            OUTCOME_OK,
        ),
        Property::new(
            "the memory is where it was",
            !record.memory_moved,
            if record.memory_moved {
                "moved"
            } else {
                "not moved"
            },
        ),
        Property::none("no kernel complains", &complaints(record)),
    ]);
    for (name, log, pattern) in [
        ("jump", record.old_log()?, JUMP),
        ("takeover", record.new_log()?, TAKEOVER),
        ("restore", record.new_log()?, RESTORE),
    ] {
        let time = log.first(pattern);
        properties.push(Property::new(
            format!("the kernel says when: {name}"),
            time.is_some(),
            if time.is_some() {
                "found"
            } else {
                "not in its log"
            },
        ));
    }
    Ok(properties)
}

/// What the update without preservation must show.
pub fn control(record: &Record) -> Result<Vec<Property>> {
    let kexec = record.marks.kexec.start;
    let before = kexec.saturating_sub(ALIVE_BEFORE)..kexec;
    // Shutting the old kernel down takes a while; what counts is the time after it.
    let jump = record
        .old_log()?
        .first(JUMP)
        .unwrap_or(record.marks.kexec.end);
    let mut properties = Vec::new();
    for series in &record.series {
        let name = series.device.name();
        let after = series.next_look(jump)..record.marks.afterwards.end;
        let (alive, dead) = (series.within(&before), series.within(&after));
        properties.push(Property::new(
            format!("control, {name}: DMA before the kexec"),
            alive.bytes > 0,
            format!("{} bytes in {} ms", alive.bytes, ALIVE_BEFORE.as_millis()),
        ));
        properties.push(Property::new(
            format!("control, {name}: no DMA after it"),
            dead.bytes == 0,
            format!("{} bytes", dead.bytes),
        ));
    }
    properties.extend([
        Property::equal(
            "control: a host driver is let in",
            &record.host_driver_bind,
            OUTCOME_OK,
        ),
        Property::equal(
            "control: another iommufd is let in",
            &record.foreign_bind.iommufd,
            OUTCOME_OK,
        ),
    ]);
    Ok(properties)
}
