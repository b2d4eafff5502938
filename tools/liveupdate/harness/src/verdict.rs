// SPDX-License-Identifier: GPL-2.0
//! Whether what was observed shows what it should.

use crate::progress::Series;
use crate::scenario::Record;
use crate::timeline::{JUMP, KernelLog, REJECTED, RESTORE, TAKEOVER};
use anyhow::Result;
use protocol::{Device, OUTCOME_OK};
use serde::Serialize;
use std::collections::BTreeSet;
use std::ops::Range;
use std::time::Duration;

/// A device may be silent for at most this long while the kernel is replaced.
const MAX_GAP: Duration = Duration::from_millis(100);
/// A device must have been alive this shortly before the kexec for its death to prove anything.
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

    /// The same claim about something that has a name.
    pub fn of(mut self, subject: &str) -> Self {
        self.claim = format!("{subject}: {}", self.claim);
        self
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

fn crashes(record: &Record) -> Vec<String> {
    let logs = record.kernels.iter();
    logs.flat_map(KernelLog::crashes)
        .map(str::to_owned)
        .collect()
}

fn complaints(record: &Record) -> Vec<String> {
    let logs = record.kernels.iter();
    logs.flat_map(KernelLog::complaints)
        .map(str::to_owned)
        .collect()
}

/// What must hold for a device whose page tables are handed over.
fn goes_on(record: &Record, series: &Series) -> Property {
    let window = &record.marks.kexec;
    let gap = series.max_gap(window);
    Property::new(
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
    )
}

/// What must hold for a device whose page tables are not handed over.
fn dies(record: &Record, series: &Series) -> Result<Vec<Property>> {
    let name = series.device.name();
    let kexec = record.marks.kexec.start;
    // Shutting the old kernel down takes a while; what counts is the time after it.
    let jump = record.old_log()?.first(JUMP);
    let after = series.next_look(jump.unwrap_or(record.marks.kexec.end));
    let alive = series.within(&(kexec.saturating_sub(ALIVE_BEFORE)..kexec));
    let dead = series.within(&(after..record.marks.afterwards.end));
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

/// What must hold when page tables are handed over.
fn takes_over(record: &Record) -> Result<Vec<Property>> {
    let expected = record.scenario.preserved_devices();
    let restored = restored_domains(record)?;
    let log = record.new_log()?;
    let said = |what: &str, pattern: &str| {
        let found = log.first(pattern).is_some();
        let observed = if found { "found" } else { "not in its log" };
        Property::new(format!("the new kernel says when: {what}"), found, observed)
    };
    Ok(vec![
        said("takeover", TAKEOVER),
        said("restore", RESTORE),
        Property::new(
            "one restored domain per preserved device",
            restored == expected,
            format!("{restored} of {expected}"),
        ),
    ])
}

/// What must hold for the memory and both kernels in any case.
fn stays_in_order(record: &Record) -> Vec<Property> {
    let memory = if record.memory_moved {
        "moved"
    } else {
        "not moved"
    };
    vec![
        Property::none(
            "no IOMMU fault (QEMU's trace)",
            &record.remains.iommu.faults,
        ),
        Property::equal(
            "the memory is retrieved",
            &record.retrieved.memfd,
            OUTCOME_OK,
        ),
        Property::new("the memory is where it was", !record.memory_moved, memory),
        Property::none("no kernel complains", &complaints(record)),
    ]
}

/// Whether hardware translated all the time; with nothing preserved it need not.
fn translates(record: &Record) -> Property {
    let off = record.remains.iommu.translation_off;
    Property::new(
        "translation was never off (QEMU's trace)",
        off == 0,
        format!("off {off} times"),
    )
}

/// What a host driver and a foreign iommufd must get.
fn ownership(record: &Record, nvme: bool, es1370: bool) -> [Property; 2] {
    let (driver, iommufd) = (&record.host_driver_bind, &record.foreign_bind.iommufd);
    [
        if nvme {
            Property::equal("a host driver is refused", driver, "EBUSY")
        } else {
            Property::equal("a host driver is let in", driver, OUTCOME_OK)
        },
        if es1370 {
            Property::equal("a foreign iommufd is refused", iommufd, "EPERM")
        } else {
            Property::equal("another iommufd is let in", iommufd, OUTCOME_OK)
        },
    ]
}

/// What an update must show, device by device as the scenario preserves them.
pub fn update(record: &Record) -> Result<Vec<Property>> {
    let preserves = |device| record.scenario.preserves(device);
    let mut properties = stays_in_order(record);
    if record.scenario.preserved_devices() > 0 {
        properties.push(translates(record));
        properties.extend(takes_over(record)?);
    }
    for series in &record.series {
        if preserves(series.device) {
            properties.push(goes_on(record, series));
        } else {
            properties.extend(dies(record, series)?);
        }
    }
    if preserves(Device::Nvme) {
        properties.push(Property::none("no data error", &data_errors(record)));
    }
    properties.extend(ownership(
        record,
        preserves(Device::Nvme),
        preserves(Device::Es1370),
    ));
    Ok(properties)
}

/// What must hold when a device is removed in the new kernel: it was alive, and it is stopped before
/// its page tables go, so that nothing but itself takes notice.
pub fn removed(record: &Record) -> Result<Vec<Property>> {
    let Range { start, end } = record.marks.remove;
    let mut properties = update(record)?;

    let gone = |series: &&Series| Some(series.device) == record.scenario.remove;
    for series in record.series.iter().filter(gone) {
        let name = series.device.name();
        let alive = series.within(&(start..end));
        let dead = series.within(&(series.next_look(end)..record.marks.afterwards.end));
        properties.push(Property::new(
            format!("{name}: DMA until it is removed"),
            alive.bytes > 0,
            format!("{} bytes", alive.bytes),
        ));
        properties.push(Property::new(
            format!("{name}: no DMA after that"),
            dead.bytes == 0,
            format!("{} bytes", dead.bytes),
        ));
    }
    Ok(properties)
}

/// What an update with a damaged state must show: nothing of it is used, no DMA roams, and the
/// kernel boots on.
pub fn damaged(record: &Record) -> Result<Vec<Property>> {
    let log = record.new_log()?;
    let said = log.first(REJECTED).is_some();
    let restored = restored_domains(record)?;
    let mut properties = vec![
        Property::new(
            "the new kernel rejects the state",
            said,
            if said { "found" } else { "not in its log" },
        ),
        translates(record),
        Property::new(
            "no domain is restored",
            restored == 0,
            format!("{restored} restored"),
        ),
        Property::none("no kernel crashes", &crashes(record)),
    ];
    for series in &record.series {
        let after = series.next_look(record.marks.kexec.end);
        let dead = series.within(&(after..record.marks.afterwards.end));
        properties.push(Property::new(
            format!("{}: no DMA in the new kernel", series.device.name()),
            dead.bytes == 0,
            format!("{} bytes", dead.bytes),
        ));
    }
    Ok(properties)
}
