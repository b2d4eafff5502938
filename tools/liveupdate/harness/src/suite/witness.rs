// SPDX-License-Identifier: GPL-2.0
//! The control of "no IOMMU fault": the witness sees one when there is one.

use super::results::Results;
use crate::cli::TestOptions;
use crate::vm::{Machine, Vm};
use anyhow::Result;
use protocol::{Device, Request, VmmConfig};
use std::thread::sleep;
use std::time::Duration;

/// Lets a device DMA to where nothing is mapped.
pub fn run(options: &TestOptions, results: &mut Results) -> Result<()> {
    for (name, unmapped) in [("witness-fault", true), ("witness-no-fault", false)] {
        let (mut vm, _) = Vm::boot(&options.common, name, &Machine::PLAIN)?;
        vm.request(&Request::OpenVmm(VmmConfig {
            devices: vec![Device::Es1370],
            nvme_ios: 0,
            unmapped,
            samples_per_second: VmmConfig::SAMPLES_PER_SECOND,
        }))?;
        vm.request_done(&Request::StartDma)?;
        sleep(Duration::from_millis(300));
        let faults = vm.power_off()?.iommu.faults;
        results.check(
            &format!("{name}: QEMU's trace tells"),
            faults.is_empty() != unmapped,
            &format!("{} faults", faults.len()),
        );
    }
    Ok(())
}
