// SPDX-License-Identifier: GPL-2.0
//! What is done when the VMM never comes back.

use crate::errno::outcome;
use crate::vmm::Vmm;
use anyhow::{Result, ensure};
use protocol::{Device, OUTCOME_OK};

/// Retrieves everything into an empty `vmm`, whatever another one had done with it before it died,
/// ends the DMA of the functions and releases what was kept for them. Returns what `FINISH` gave, or
/// retrieving the session if there is none.
pub fn reap(vmm: &mut Vmm, devices: &[Device]) -> Result<String> {
    let session = outcome(vmm.retrieve_session())?;
    if session != OUTCOME_OK {
        return Ok(session);
    }
    vmm.retrieve_memory()?;
    let iommufd = outcome(vmm.retrieve_iommufd())?;
    let sound = iommufd == OUTCOME_OK;
    for outcome in vmm.retrieve_functions(devices)? {
        let name = outcome.device.name();
        // What a rejected state is about has to be asked for nevertheless.
        ensure!(
            (outcome.errno == OUTCOME_OK) == sound,
            "{name}: {}, its iommufd: {iommufd}",
            outcome.errno
        );
        if sound {
            vmm.give_up(outcome.device)?;
        }
    }
    vmm.try_finish()
}
