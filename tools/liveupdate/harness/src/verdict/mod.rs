// SPDX-License-Identifier: GPL-2.0
//! Whether what was observed shows what it should.

mod dma;
mod evidence;
mod handover;
mod property;

pub use evidence::{
    data_errors, faults_during_swaps, iommu_pages_leaked, read_errors, restored_domains,
};
pub use property::Property;

use crate::hop::Hop;
use crate::progress::Series;
use crate::scenario::Record;
use crate::timeline::REJECTED;
use anyhow::{Context, Result};
use dma::{dies, goes_on};
use evidence::crashes;
use handover::{comes_back, leaves_nothing, ownership, stays_in_order, takes_over, translates};
use protocol::{Device, Stage};
use std::collections::BTreeSet;
use std::ops::Range;
use std::time::Duration;

/// A device may be silent for at most this long while the kernel is replaced.
const MAX_GAP: Duration = Duration::from_millis(100);

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
