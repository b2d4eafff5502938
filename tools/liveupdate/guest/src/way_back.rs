// SPDX-License-Identifier: GPL-2.0
//! The way back stage by stage, as far as the harness wants.

use crate::errno;
use crate::iommufd::Difference;
use crate::timed;
use crate::vmm::Vmm;
use anyhow::{Result, ensure};
use protocol::{Back, Comparison, Device, Stage, Stopped};

/// A VMM on its way back.
pub struct WayBack {
    devices: Vec<Device>,
    next: usize,
}

impl WayBack {
    /// Nothing done yet.
    pub fn new(devices: Vec<Device>) -> Self {
        Self { devices, next: 0 }
    }

    /// Goes on to the end of stage `to`, or until a call fails.
    pub fn go_on(&mut self, vmm: &mut Vmm, to: Stage) -> Result<Back> {
        let mut back = Back::default();
        while let Some(&stage) = Stage::ALL.get(self.next).filter(|stage| **stage <= to) {
            let mut steps = std::mem::take(&mut back.done);
            let result = timed::step(&mut steps, stage.name(), || {
                self.stage(stage, vmm, &mut back)
            });
            back.done = steps;
            if let Err(error) = result {
                back.stopped = Some(Stopped {
                    stage,
                    errno: errno::name(&error).unwrap_or_default(),
                    message: format!("{error:#}"),
                });
                break;
            }
            self.next += 1;
        }
        Ok(back)
    }

    fn stage(&self, stage: Stage, vmm: &mut Vmm, back: &mut Back) -> Result<()> {
        match stage {
            Stage::Session => vmm.retrieve_session()?,
            Stage::Memory => {
                vmm.retrieve_memory()?;
                back.pages = vmm.memory()?.physical_pages()?;
            }
            Stage::Iommufd => vmm.retrieve_iommufd()?,
            Stage::Functions => back.functions = vmm.retrieve_functions(&self.devices)?,
            Stage::Bind => {
                back.foreign_bind = vmm.bind_to_another()?;
                vmm.bind()?;
            }
            Stage::Interrupts => back.signals = vmm.set_up_interrupts()?,
            Stage::Restore => vmm.restore()?,
            Stage::Attach => vmm.attach_restored()?,
            Stage::Rebuild => vmm.rebuild()?,
            Stage::Verify => {
                back.incomplete = vmm.verify_incomplete()?;
                back.comparisons = vmm.verify()?;
                let equal = |comparison: &Comparison| comparison.result == Difference::Equal.name();
                ensure!(
                    back.comparisons.iter().all(equal),
                    "the new page tables are not as the old ones"
                );
            }
            Stage::Swap => vmm.swap()?,
            Stage::Destroy => vmm.destroy_restored()?,
            Stage::Mark => vmm.mark()?,
            Stage::Finish => vmm.finish()?,
        }
        Ok(())
    }
}
