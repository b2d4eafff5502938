// SPDX-License-Identifier: GPL-2.0
//! What a record shows.

use crate::hop::Hop;
use crate::scenario::Record;
use crate::timeline::{KernelLog, RESTORE};
use anyhow::Result;
use protocol::VerifiedReads;
use std::collections::BTreeSet;

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

/// What kernels print when they have gone wrong.
pub fn crashes(record: &Record) -> Vec<String> {
    let logs = record.kernels.iter();
    logs.flat_map(KernelLog::crashes)
        .map(str::to_owned)
        .collect()
}

/// What no kernel should print.
pub fn complaints(record: &Record) -> Vec<String> {
    let logs = record.kernels.iter();
    logs.flat_map(KernelLog::complaints)
        .map(str::to_owned)
        .collect()
}
