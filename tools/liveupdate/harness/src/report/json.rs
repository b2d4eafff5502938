// SPDX-License-Identifier: GPL-2.0
//! For programs.

use super::{ms, phases};
use crate::scenario::Record;
use crate::timeline::Phase;
use crate::verdict::{
    Property, data_errors, faults_during_swaps, iommu_pages_leaked, restored_domains,
};
use anyhow::Result;
use protocol::{Device, NOT_TRIED, OUTCOME_OK, Stage, Step, Tree};
use serde::Serialize;
use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

#[derive(Serialize)]
struct Demo<'a> {
    #[serde(flatten)]
    preserved: Run<'a>,
    controls: BTreeMap<&'static str, Run<'a>>,
    properties: &'a [Property],
    passed: bool,
}

/// What is not said to be of all updates is of the first.
#[derive(Serialize)]
struct Run<'a> {
    kernel_version: &'a str,
    next_kernel_version: &'a str,
    /// Live updates in a row.
    hops: usize,
    kexec_window_ms: f64,
    devices: BTreeMap<&'static str, Dma>,
    data_errors: usize,
    iommu_faults: usize,
    restored_domains: usize,
    host_driver_bind: &'a str,
    other_vmm_open: &'a str,
    foreign_iommufd_bind: &'a str,
    memfd_retrieve: &'a str,
    iommufd_retrieve: &'a str,
    cdev_retrieve: &'a str,
    /// What comparing old and new page tables gave.
    verify: &'a str,
    /// How often each function was attached to another page table, over all updates.
    swaps: u32,
    faults_during_swaps: usize,
    /// Pages of page tables in the last kernel, when everything is finished, minus those in the
    /// first one, with the same devices attached to page tables of the same memory; nothing if
    /// they are not.
    iommu_pages_leaked: Option<i64>,
    finish: &'a str,
    preserve_steps: &'a [Step],
    way_back_steps: &'a [Step],
    phases: Vec<Phase>,
    debugfs_before: &'a Tree,
    debugfs_after: &'a Tree,
}

#[derive(Serialize)]
struct Dma {
    /// Bytes written by the device from reboot(2) to the new kernel's userspace, in the first
    /// update.
    bytes_during_kexec: u64,
    /// Longest time without progress in any of the updates.
    max_gap_ms: f64,
    /// Longest time in them in which nobody looked.
    max_sample_interval_ms: f64,
    /// Bytes written from the last kernel's userspace to the end.
    bytes_after_kexec: u64,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    ios: Option<Ios>,
}

#[derive(Serialize)]
struct Ios {
    ios_queued: u16,
    ios_completed_in_window: u64,
    data_errors: usize,
}

/// What all gave, or the first that is different.
fn common<'a>(outcomes: impl Iterator<Item = &'a String>, expected: &str) -> &'a str {
    let mut common = NOT_TRIED;
    for outcome in outcomes {
        common = outcome;
        if outcome != expected {
            break;
        }
    }
    common
}

fn run(record: &Record) -> Result<Run<'_>> {
    let hop = record.first()?;
    let window = &hop.marks.kexec;
    let back = &hop.back;
    let errors = data_errors(record).len();
    let devices = record
        .series
        .iter()
        .map(|series| {
            let seen = series.within(window);
            let ios = (series.device == Device::Nvme).then_some(Ios {
                ios_queued: record.reads.as_ref().map_or(0, |reads| reads.queued),
                ios_completed_in_window: seen.ios,
                data_errors: errors,
            });
            let longest = |length: &dyn Fn(&Range<Duration>) -> Duration| {
                let windows = record.hops.iter().map(|hop| &hop.marks.kexec);
                ms(windows.map(length).max().unwrap_or_default())
            };
            let dma = Dma {
                bytes_during_kexec: seen.bytes,
                max_gap_ms: longest(&|window| series.max_gap(window)),
                max_sample_interval_ms: longest(&|window| series.max_interval(window)),
                bytes_after_kexec: series.within(&record.afterwards).bytes,
                ios,
            };
            (series.device.name(), dma)
        })
        .collect();
    let finish = record.last()?.outcome(Stage::Finish);
    let leaked = match finish {
        OUTCOME_OK => Some(iommu_pages_leaked(record)?),
        _ => None,
    };
    let hops = record.hops.iter();
    let comparisons = hops.clone().flat_map(|hop| &hop.back.comparisons);
    let functions = back.functions.iter().map(|outcome| &outcome.errno);
    let foreign = back.foreign_bind.iter().map(|outcome| &outcome.errno);
    Ok(Run {
        kernel_version: &record.old.release,
        next_kernel_version: &hop.new.release,
        hops: record.hops.len(),
        kexec_window_ms: ms(window.end - window.start),
        devices,
        data_errors: errors,
        iommu_faults: record.remains.iommu.faults.len(),
        restored_domains: restored_domains(record, hop)?,
        host_driver_bind: &hop.host_driver_bind,
        other_vmm_open: &hop.opened.open,
        foreign_iommufd_bind: common(foreign, "EPERM"),
        memfd_retrieve: hop.outcome(Stage::Memory),
        iommufd_retrieve: hop.outcome(Stage::Iommufd),
        cdev_retrieve: common(functions, OUTCOME_OK),
        verify: common(comparisons.map(|comparison| &comparison.result), "EQUAL"),
        swaps: hops.clone().map(|hop| hop.swaps).sum(),
        faults_during_swaps: faults_during_swaps(record),
        iommu_pages_leaked: leaked,
        finish,
        preserve_steps: &hop.preserved.steps,
        way_back_steps: &back.done,
        phases: phases(record)?,
        debugfs_before: &hop.handed_over,
        debugfs_after: &hop.taken_over,
    })
}

/// Renders it.
pub fn render(preserved: &Record, control: &Record, properties: &[Property]) -> Result<String> {
    let demo = Demo {
        preserved: run(preserved)?,
        controls: BTreeMap::from([("without_preservation", run(control)?)]),
        properties,
        passed: properties.iter().all(|property| property.holds),
    };
    Ok(serde_json::to_string_pretty(&demo)? + "\n")
}
