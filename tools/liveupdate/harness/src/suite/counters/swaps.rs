// SPDX-License-Identifier: GPL-2.0
//! Flushes of the IOMMU's caches for each entry that is replaced, as the kernel counts them and as QEMU
//! sees them.

use crate::cli::Options;
use crate::counters::Counters;
use crate::iommu_trace::{FLUSHES, count};
use crate::run::Run;
use crate::verdict::Property;
use crate::vm::Machine;
use anyhow::{Context, Result};
use protocol::Device;

const NAME: &str = "counters-swaps";
/// Times that both functions are attached to another page table, and ten times as many. The page
/// tables are back at the first ones then, as the numbers are even.
const FEW: u32 = 100;
const MANY: u32 = 10 * FEW;
const DEVICES: [Device; 2] = [Device::Es1370, Device::Nvme];

/// What swapping took.
struct Taken {
    /// Entries that were replaced, and flushes, by the kernel's counters.
    replaced: u64,
    flushes: u64,
    /// Flushes that QEMU has carried out: of the context cache and of the IOTLB.
    by_qemu: [u64; 2],
}

fn swap(run: &mut Run, times: u32) -> Result<Taken> {
    let trace = run.vm.dir.file("iommu.trace");
    let before = (Counters::read(&mut run.vm)?, count(&trace, FLUSHES)?);
    run.swap(times)?;
    let after = (Counters::read(&mut run.vm)?, count(&trace, FLUSHES)?);
    let [contexts, iotlb] = [0, 1].map(|index| after.1[index] - before.1[index]);
    Ok(Taken {
        replaced: after.0.since(&before.0, "entries_replaced")?,
        flushes: after.0.since(&before.0, "replace_flushes")?,
        by_qemu: [contexts, iotlb],
    })
}

/// Swaps in one kernel, and tells what that has shown.
pub fn observe(options: &Options) -> Result<Vec<Property>> {
    let mut options = options.clone();
    for event in FLUSHES {
        options.qemu_extra += &format!(" -trace {event}");
    }
    let (mut run, _) = Run::start(&options, NAME, &Machine::LOADED, &DEVICES)?;
    let (few, many) = (swap(&mut run, FEW)?, swap(&mut run, MANY)?);
    run.end()?;

    let entries = |times: u32| u64::from(times) * DEVICES.len() as u64;
    let per_entry = (few.flushes.checked_div(few.replaced)).context("nothing was replaced")?;
    // What is done once each time is the same both times.
    let [contexts, iotlb] = [0, 1].map(|index| many.by_qemu[index] - few.by_qemu[index]);
    let more = entries(MANY) - entries(FEW);
    Ok(vec![
        Property::new(
            "each swap replaces one entry",
            (few.replaced, many.replaced) == (entries(FEW), entries(MANY)),
            format!("{} and {}", few.replaced, many.replaced),
        ),
        Property::new(
            "each takes the same number of flushes",
            few.flushes == per_entry * few.replaced && many.flushes == per_entry * many.replaced,
            format!("{} and {}", few.flushes, many.flushes),
        ),
        Property::new(
            "QEMU sees as many flushes as the kernel counts",
            contexts == more && contexts + iotlb == per_entry * more,
            format!("{contexts} of the context cache, {iotlb} of the IOTLB, {more} swaps"),
        ),
    ])
}
