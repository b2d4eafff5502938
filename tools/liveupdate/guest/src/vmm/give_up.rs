// SPDX-License-Identifier: GPL-2.0
//! Releasing a function that goes on with the page table of the old kernel.

use super::Vmm;
use crate::errno;
use anyhow::{Context, Result};
use protocol::Device;

impl Vmm {
    /// Stops the DMA of a function and destroys the page table that it was restored with,
    /// wherever the way back of this or another VMM had stopped, and closes the function.
    ///
    /// # Errors
    ///
    /// `ENODEV` if it is not there any more; then there is nothing to stop.
    pub fn give_up(&mut self, device: Device) -> Result<()> {
        let at = self.functions.iter().position(|f| f.device == device);
        let function = self.functions.remove(at.context("no such function")?);
        let iommufd = self.iommufd()?;
        // Binding what is bound already, by a VMM that has died, works.
        function.vfio.bind(iommufd)?;
        let restored = match iommufd.restore_hwpt(device.hwpt_token()) {
            Ok(restored) => Some(restored),
            // Destroyed already.
            Err(error) if errno::name(&error).as_deref() == Some("ENOENT") => None,
            Err(error) => return Err(error),
        };
        if let Some(restored) = restored {
            // Only what is attached can be detached. EINVAL: it is attached already.
            unless(function.vfio.attach(restored), &["EINVAL", "EBUSY"])?;
        }
        function.vfio.detach()?;
        match restored {
            Some(restored) => iommufd.destroy(restored),
            None => Ok(()),
        }
    }
}

/// Takes errors of these names for success.
fn unless(result: Result<()>, names: &[&str]) -> Result<()> {
    match result {
        Err(error) if errno::name(&error).is_some_and(|name| names.contains(&&*name)) => Ok(()),
        result => result,
    }
}
