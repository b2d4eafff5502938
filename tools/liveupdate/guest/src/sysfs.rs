// SPDX-License-Identifier: GPL-2.0
//! PCI functions in sysfs.

use anyhow::{Context, Result};
use nix::errno::Errno;
use protocol::Device;
use std::fs;
use std::io::Error;
use std::path::{Path, PathBuf};

const DEVICES: &str = "/sys/bus/pci/devices";

/// The id in `path`, unless the function goes away meanwhile: its files go before its link.
fn read_id(path: &Path) -> Result<Option<u16>> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if is_gone(&error) => return Ok(None),
        Err(error) => return Err(error).context(path.display().to_string()),
    };
    let digits = text.trim().trim_start_matches("0x");
    Ok(Some(u16::from_str_radix(digits, 16)?))
}

fn is_gone(error: &Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw);
    matches!(errno, Some(Errno::ENOENT | Errno::ENODEV))
}

/// A PCI function.
pub struct Function {
    /// `0000:00:07.0`.
    pub address: String,
}

impl Function {
    /// Finds the function that `device` stands for.
    pub fn find(device: Device) -> Result<Self> {
        Self::lookup(device)?.with_context(|| format!("there is no {}", device.name()))
    }

    /// Looks for the function by vendor and device id.
    pub fn lookup(device: Device) -> Result<Option<Self>> {
        Ok(Self::with_id(device.pci_id())?.into_iter().next())
    }

    /// All functions with this vendor and device id, by their addresses.
    pub fn with_id((vendor, id): (u16, u16)) -> Result<Vec<Self>> {
        let mut functions = Vec::new();
        for entry in fs::read_dir(DEVICES).context(DEVICES)? {
            let entry = entry?;
            if read_id(&entry.path().join("vendor"))? == Some(vendor)
                && read_id(&entry.path().join("device"))? == Some(id)
            {
                functions.push(Self {
                    address: entry.file_name().to_string_lossy().into_owned(),
                });
            }
        }
        functions.sort_by(|a, b| a.address.cmp(&b.address));
        Ok(functions)
    }

    fn path(&self, file: &str) -> PathBuf {
        PathBuf::from(DEVICES).join(&self.address).join(file)
    }

    fn write(path: PathBuf, value: &str) -> Result<()> {
        fs::write(&path, value).with_context(|| format!("writing {value} to {}", path.display()))
    }

    /// Name of the bound driver.
    fn driver(&self) -> Option<String> {
        let link = fs::read_link(self.path("driver")).ok()?;
        Some(link.file_name()?.to_string_lossy().into_owned())
    }

    /// Binds the function to `driver`, after unbinding it from another one.
    ///
    /// # Errors
    ///
    /// Carries the errno of the write to the driver's `bind` file.
    pub fn bind(&self, driver: &str) -> Result<()> {
        match self.driver() {
            Some(current) if current == driver => return Ok(()),
            Some(_) => Self::write(self.path("driver/unbind"), &self.address)?,
            None => {}
        }
        Self::write(self.path("driver_override"), driver)?;
        let bind = PathBuf::from("/sys/bus/pci/drivers")
            .join(driver)
            .join("bind");
        Self::write(bind, &self.address)
    }

    /// Takes the function off its bus, as if it were unplugged.
    pub fn remove(&self) -> Result<()> {
        Self::write(self.path("remove"), "1")
    }

    /// The character device of a function that is bound to vfio-pci.
    pub fn vfio_cdev(&self) -> Result<PathBuf> {
        let path = self.path("vfio-dev");
        let entry = fs::read_dir(&path)
            .with_context(|| path.display().to_string())?
            .next()
            .with_context(|| format!("{} is empty", path.display()))??;
        Ok(PathBuf::from("/dev/vfio/devices").join(entry.file_name()))
    }
}
