// SPDX-License-Identifier: GPL-2.0
//! Whether what was observed shows what it should.

use crate::hop::Hop;
use crate::progress::Series;
use crate::scenario::Record;
use crate::timeline::{JUMP, KernelLog, REJECTED, RESTORE, TAKEOVER};
use anyhow::{Context, Result};
use devices::layout::{PAGE, SIZE, iova};
use protocol::{Comparison, Device, OUTCOME_OK, Signals, Stage, VerifiedReads};
use serde::Serialize;
use std::collections::BTreeSet;
use std::ops::Range;
use std::time::Duration;

/// A device may be silent for at most this long while the kernel is replaced.
const MAX_GAP: Duration = Duration::from_millis(100);
/// Of the time that a kexec takes.
const PARTS: u32 = 4;
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
    /// A claim with what was observed.
    pub fn new(claim: impl Into<String>, holds: bool, observed: impl Into<String>) -> Self {
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

    /// What was found is what was expected.
    pub fn equal(claim: impl Into<String>, found: &str, expected: &str) -> Self {
        Self::new(claim, found == expected, found)
    }

    /// Nothing was found.
    pub fn none(claim: impl Into<String>, found: &[String]) -> Self {
        let observed = match found.first() {
            Some(first) => format!("{}, the first: {first}", found.len()),
            None => "none".into(),
        };
        Self::new(claim, found.is_empty(), observed)
    }
}

/// Number of different domains that the new kernel says it has restored.
pub fn restored_domains(record: &Record, hop: &Hop) -> Result<usize> {
    let log = record.new_log(hop)?;
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
        Some(reads) => errors.extend(read_errors(reads)),
        None => errors.push("the memory was not retrieved".into()),
    }
    errors.extend(record.reads_outside.iter().cloned());
    errors.extend(record.remains.drive_errors.iter().cloned());
    errors
}

/// What the guest found wrong.
pub fn read_errors(reads: &VerifiedReads) -> Vec<String> {
    let mut errors = reads.details.clone();
    let all = usize::from(reads.wrong) + usize::from(reads.failed);
    errors.extend((errors.len()..all).map(|_| "further wrong block".to_owned()));
    if reads.completed < reads.queued {
        errors.push(format!(
            "{} of {} commands completed",
            reads.completed, reads.queued
        ));
    }
    errors
}

/// Faults while page tables were replaced.
pub fn faults_during_swaps(record: &Record) -> usize {
    let windows = record.hops.iter().map(|hop| &hop.marks.swap);
    windows
        .map(|window| record.remains.iommu.faults_within(window))
        .sum()
}

/// Pages of page tables that the last kernel has more than the first had when the same functions
/// were attached to page tables of the same memory.
pub fn iommu_pages_leaked(record: &Record) -> Result<i64> {
    let (before, after) = (&record.usage.statistics, &record.last()?.usage.statistics);
    let iommu = after.iommu_pages - before.iommu_pages;
    let secondary = after.secondary_page_tables - before.secondary_page_tables;
    Ok(iommu.max(secondary))
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
fn goes_on(record: &Record, hop: &Hop, series: &Series) -> [Property; 2] {
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
fn dies(record: &Record, hop: &Hop, series: &Series) -> Result<Vec<Property>> {
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

/// What must hold when page tables are handed over.
fn takes_over(record: &Record, hop: &Hop) -> Result<Vec<Property>> {
    let expected = record.scenario.preserved_devices();
    let restored = restored_domains(record, hop)?;
    let log = record.new_log(hop)?;
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

/// What the way back must give to the devices in `came_back`, up to where it leads.
fn comes_back(hop: &Hop, came_back: &[Device], to: Stage) -> Vec<Property> {
    let back = &hop.back;
    let stopped = back.stopped.iter().map(|stopped| stopped.message.clone());
    let all = |found: &[String], expected: &str| {
        found.len() == came_back.len() && found.iter().all(|one| one == expected)
    };
    let foreign: Vec<_> = (back.foreign_bind.iter())
        .map(|outcome| outcome.errno.clone())
        .collect();
    let silent = |signals: &Signals| signals.vectors.is_empty() || signals.vectors.contains(&0);
    let mut properties = vec![
        Property::none(
            "no step of the way back fails",
            &stopped.collect::<Vec<_>>(),
        ),
        Property::equal(
            format!("the VMM comes back to the end of: {}", to.name()),
            hop.outcome(to),
            OUTCOME_OK,
        ),
        Property::new(
            "its functions are refused to a foreign iommufd",
            all(&foreign, "EPERM"),
            foreign.join(", "),
        ),
        Property::new(
            "every interrupt is signalled when it is set up",
            back.signals.len() == came_back.len() && !back.signals.iter().any(silent),
            format!("{:?}", back.signals),
        ),
        Property::equal("FINISH before the swap", &hop.early_finish, "EBUSY"),
        Property::equal(
            "memory that devices use is not freed",
            &hop.punch_hole,
            "EPERM",
        ),
    ];
    if to >= Stage::Verify {
        let results = |comparisons: &[Comparison]| -> Vec<String> {
            comparisons.iter().map(|one| one.result.clone()).collect()
        };
        let (compared, incomplete) = (results(&back.comparisons), results(&back.incomplete));
        let last_page = iova(SIZE - PAGE);
        properties.push(Property::new(
            "the new page tables are verified",
            all(&compared, "EQUAL"),
            compared.join(", "),
        ));
        properties.push(Property::new(
            "a page that is missing in them is found",
            all(&incomplete, "UNMAPPED") && back.incomplete.iter().all(|c| c.iova == last_page),
            format!("{:?}", back.incomplete),
        ));
    }
    properties
}

/// What must be left in the end: nothing.
fn leaves_nothing(record: &Record) -> Result<Vec<Property>> {
    let leaked = iommu_pages_leaked(record)?;
    let (before, after) = (&record.usage, &record.last()?.usage);
    Ok(vec![
        Property::new(
            "page tables take as much memory as before",
            leaked == 0,
            format!("{:?}, {:?} before", after.statistics, before.statistics),
        ),
        Property::new(
            "as many domain ids are in use as before",
            after.domain_ids == before.domain_ids && !before.domain_ids.is_empty(),
            format!("{:?}, {:?} before", after.domain_ids, before.domain_ids),
        ),
    ])
}

/// What must hold for the memory and all kernels in any case.
fn stays_in_order(record: &Record) -> Result<Vec<Property>> {
    let memory = if record.memory_moved {
        "moved"
    } else {
        "not moved"
    };
    let faults = record.remains.iommu.faults.iter();
    let faults: Vec<_> = faults.map(|fault| fault.text.clone()).collect();
    Ok(vec![
        Property::none("no IOMMU fault (QEMU's trace)", &faults),
        Property::equal(
            "the memory is retrieved",
            record.last()?.outcome(Stage::Memory),
            OUTCOME_OK,
        ),
        Property::new("the memory is where it was", !record.memory_moved, memory),
        Property::none("no kernel complains", &complaints(record)),
    ])
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

/// What a host driver and another VMM must get.
fn ownership(hop: &Hop, nvme: bool, es1370: bool) -> [Property; 2] {
    let driver = &hop.host_driver_bind;
    [
        if nvme {
            Property::equal("a host driver is refused", driver, "EBUSY")
        } else {
            Property::equal("a host driver is let in", driver, OUTCOME_OK)
        },
        if es1370 {
            Property::equal("another VMM is refused", &hop.opened.open, "EBUSY")
        } else {
            Property::equal("another VMM is let in", &hop.opened.iommufd, OUTCOME_OK)
        },
    ]
}

/// What each update must show, device by device as the scenario preserves them.
fn hop(record: &Record, hop: &Hop) -> Result<Vec<Property>> {
    let preserves = |device| record.scenario.preserves(device);
    let mut properties = Vec::new();
    let came_back: Vec<_> = [Device::Es1370, Device::Nvme]
        .into_iter()
        .filter(|&device| preserves(device) && record.scenario.remove != Some(device))
        .collect();
    if record.scenario.preserved_devices() > 0 {
        properties.extend(takes_over(record, hop)?);
        let last = hop.number + 1 == record.hops.len();
        let to = match record.scenario.unfinished && !last {
            true => Stage::Attach,
            false => Stage::Finish,
        };
        properties.extend(comes_back(hop, &came_back, to));
    }
    for series in &record.series {
        if !preserves(series.device) {
            properties.extend(dies(record, hop, series)?);
        } else if record.scenario.remove != Some(series.device) {
            properties.extend(goes_on(record, hop, series));
        }
    }
    properties.extend(ownership(
        hop,
        preserves(Device::Nvme),
        preserves(Device::Es1370),
    ));
    Ok(properties)
}

/// What updates in a row must show.
pub fn update(record: &Record) -> Result<Vec<Property>> {
    let mut properties = stays_in_order(record)?;
    for one in &record.hops {
        let of_one = hop(record, one)?.into_iter();
        if record.hops.len() == 1 {
            properties.extend(of_one);
        } else {
            let name = format!("update {}", one.number + 1);
            properties.extend(of_one.map(|property| property.of(&name)));
        }
    }
    if record.scenario.preserved_devices() > 0 {
        properties.push(translates(record));
    }
    // A function that is not preserved has no page table in the end.
    if record.scenario.preserved_devices() == record.series.len()
        && record.scenario.remove.is_none()
    {
        properties.extend(leaves_nothing(record)?);
    }
    if record.scenario.preserves(Device::Nvme) {
        properties.push(Property::none("no data error", &data_errors(record)));
    }
    Ok(properties)
}

/// What must hold besides on a host with little else to do: nobody would notice.
pub fn demo(record: &Record) -> Result<Vec<Property>> {
    let mut properties = update(record)?;
    for hop in &record.hops {
        for series in &record.series {
            let gap = series.max_gap(&hop.marks.kexec);
            properties.push(Property::new(
                format!(
                    "update {}: {}: DMA in every {} ms of the kexec",
                    hop.number + 1,
                    series.device.name(),
                    MAX_GAP.as_millis()
                ),
                gap <= MAX_GAP,
                format!("longest gap {} ms", gap.as_millis()),
            ));
        }
    }
    Ok(properties)
}

/// What must hold besides when one kernel follows the other: each is at another place.
pub fn in_a_row(record: &Record) -> Result<Vec<Property>> {
    let hops = record.hops.iter().map(|hop| hop.new.text);
    let texts: BTreeSet<_> = hops.chain([record.old.text]).collect();
    let mut properties = update(record)?;
    properties.push(Property::new(
        "the kernels' code is not always at the same address",
        texts.len() > 1,
        format!("{texts:#x?}"),
    ));
    Ok(properties)
}

/// What must hold besides when the next kernel is another one: it is.
pub fn other_kernel(record: &Record) -> Result<Vec<Property>> {
    let (old, new) = (record.old.kernel_max, record.first()?.new.kernel_max);
    let mut properties = update(record)?;
    properties.push(Property::new(
        "the next kernel is of another configuration",
        old != new,
        format!("highest processors: {old} and {new}"),
    ));
    Ok(properties)
}

/// What must hold besides when the guest takes all memory: nobody else wrote to it.
pub fn filled(record: &Record) -> Result<Vec<Property>> {
    const MUCH: u64 = 300 << 20;
    let (bytes, unchanged) = record.filled.context("no memory was filled")?;
    let mut properties = update(record)?;
    properties.push(Property::new(
        "free memory belongs to the kernel alone",
        bytes == unchanged && bytes > MUCH,
        format!("{unchanged} of {bytes} bytes are unchanged"),
    ));
    Ok(properties)
}

/// What must hold when a device is removed in the new kernel: it was alive, and it is stopped before
/// its page tables go, so that nothing but itself takes notice.
pub fn removed(record: &Record) -> Result<Vec<Property>> {
    let hop = record.first()?;
    let Range { start, end } = hop.marks.remove;
    let mut properties = update(record)?;

    let gone = |series: &&Series| Some(series.device) == record.scenario.remove;
    for series in record.series.iter().filter(gone) {
        let name = series.device.name();
        let alive = series.within(&(start..end));
        let dead = series.within(&(series.next_look(end)..record.afterwards.end));
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
        let outcomes = hop.back.functions.iter();
        let outcome = outcomes.filter(|outcome| outcome.device == series.device);
        let errno: String = outcome.map(|outcome| &*outcome.errno).collect();
        properties.push(Property::equal(
            format!("{name}: cannot be retrieved"),
            &errno,
            "ENODEV",
        ));
    }
    Ok(properties)
}

/// What an update with a damaged state must show: nothing of it is used, no DMA roams, and the
/// kernel boots on.
pub fn damaged(record: &Record) -> Result<Vec<Property>> {
    let hop = record.first()?;
    let said = record.new_log(hop)?.first(REJECTED).is_some();
    let restored = restored_domains(record, hop)?;
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
        Property::equal(
            "the iommufd is rejected",
            hop.outcome(Stage::Iommufd),
            "EPROTONOSUPPORT",
        ),
        Property::none("no kernel crashes", &crashes(record)),
    ];
    for series in &record.series {
        let after = series.next_look(hop.marks.kexec.end);
        let dead = series.within(&(after..record.afterwards.end));
        properties.push(Property::new(
            format!("{}: no DMA in the new kernel", series.device.name()),
            dead.bytes == 0,
            format!("{} bytes", dead.bytes),
        ));
    }
    Ok(properties)
}
