// SPDX-License-Identifier: GPL-2.0
//! For programs.

use super::{ms, phases};
use crate::scenario::Record;
use crate::timeline::Phase;
use crate::verdict::{Property, data_errors, restored_domains};
use anyhow::Result;
use protocol::{Device, Step, Tree};
use serde::Serialize;
use std::collections::BTreeMap;

#[derive(Serialize)]
struct Demo<'a> {
    #[serde(flatten)]
    preserved: Run<'a>,
    controls: BTreeMap<&'static str, Run<'a>>,
    properties: &'a [Property],
    passed: bool,
}

#[derive(Serialize)]
struct Run<'a> {
    kernel_version: &'a str,
    next_kernel_version: &'a str,
    kexec_window_ms: f64,
    devices: BTreeMap<&'static str, Dma>,
    data_errors: usize,
    iommu_faults: usize,
    restored_domains: usize,
    host_driver_bind: &'a str,
    foreign_iommufd_bind: &'a str,
    memfd_retrieve: &'a str,
    iommufd_retrieve: &'a str,
    preserve_steps: &'a [Step],
    phases: Vec<Phase>,
    debugfs_before: &'a Tree,
    debugfs_after: &'a Tree,
}

#[derive(Serialize)]
struct Dma {
    /// Bytes written by the device from reboot(2) to the new kernel's userspace.
    bytes_during_kexec: u64,
    /// Longest time without progress in it.
    max_gap_ms: f64,
    /// Longest time in it in which nobody looked.
    max_sample_interval_ms: f64,
    /// Bytes written from the new kernel's userspace to the end.
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

fn run(record: &Record) -> Result<Run<'_>> {
    let window = &record.marks.kexec;
    let errors = data_errors(record).len();
    let devices = record
        .series
        .iter()
        .map(|series| {
            let seen = series.within(window);
            let ios = (series.device == Device::Nvme).then_some(Ios {
                ios_queued: record.config.nvme_ios,
                ios_completed_in_window: seen.ios,
                data_errors: errors,
            });
            let dma = Dma {
                bytes_during_kexec: seen.bytes,
                max_gap_ms: ms(series.max_gap(window)),
                max_sample_interval_ms: ms(series.max_interval(window)),
                bytes_after_kexec: series.within(&record.marks.afterwards).bytes,
                ios,
            };
            (series.device.name(), dma)
        })
        .collect();
    Ok(Run {
        kernel_version: &record.old.release,
        next_kernel_version: &record.new.release,
        kexec_window_ms: ms(window.end - window.start),
        devices,
        data_errors: errors,
        iommu_faults: record.remains.iommu.faults.len(),
        restored_domains: restored_domains(record)?,
        host_driver_bind: &record.host_driver_bind,
        foreign_iommufd_bind: &record.foreign_bind.iommufd,
        memfd_retrieve: &record.retrieved.memfd,
        iommufd_retrieve: &record.retrieved.iommufd,
        preserve_steps: &record.preserved.steps,
        phases: phases(record)?,
        debugfs_before: &record.handed_over,
        debugfs_after: &record.taken_over,
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
