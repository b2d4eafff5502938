// SPDX-License-Identifier: GPL-2.0
//! QEMU's own trace of the IOMMU: a witness that no kernel can silence.

use anyhow::{Context, Result};
use std::fs;
use std::path::Path;

/// A fault, and switching translation on or off.
pub const EVENTS: [&str; 2] = ["vtd_dmar_fault", "vtd_dmar_enable"];

/// What QEMU saw.
#[derive(Debug, Default, Eq, PartialEq)]
pub struct IommuTrace {
    /// Every fault, as QEMU describes it.
    pub faults: Vec<String>,
    /// How often translation was switched off.
    pub translation_off: usize,
}

impl IommuTrace {
    /// Reads what QEMU has written to `path`, nothing when it wrote nothing.
    pub fn read(path: &Path) -> Result<Self> {
        if !path.exists() {
            return Ok(Self::default());
        }
        let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
        Ok(Self::parse(&text))
    }

    fn parse(text: &str) -> Self {
        let mut trace = Self::default();
        for line in text.lines() {
            if let Some((_, fault)) = line.split_once("vtd_dmar_fault ") {
                trace.faults.push(fault.trim().into());
            } else if let Some((_, enable)) = line.split_once("vtd_dmar_enable ")
                && enable.trim() == "enable 0"
            {
                trace.translation_off += 1;
            }
        }
        trace
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_and_switching_off_are_told_apart() {
        let trace = IommuTrace::parse(
            "1234@1600000000.123456:vtd_dmar_enable enable 1\n\
             1234@1600000000.223456:vtd_dmar_fault sid 0x38 fault 5 addr 0x40000000 write 1\n\
             1234@1600000000.323456:vtd_dmar_enable enable 0\n",
        );
        assert_eq!(
            trace.faults,
            ["sid 0x38 fault 5 addr 0x40000000 write 1".to_owned()]
        );
        assert_eq!(trace.translation_off, 1);
        assert_eq!(IommuTrace::parse(""), IommuTrace::default());
    }
}
