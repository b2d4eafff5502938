// SPDX-License-Identifier: GPL-2.0
//! Userspace driver of the ES1370: an endless ADC ring.

use crate::memory::GuestMemory;
use crate::vfio::VfioDevice;
use anyhow::Result;
use devices::es1370::{
    MEMPAGE_ADC, REG_ADC_FRAME_ADDRESS, REG_ADC_FRAME_COUNT, REG_ADC_SAMPLE_COUNT, REG_CONTROL,
    REG_MEMPAGE, REG_SERIAL_CONTROL, SAMPLE_COUNT_MAX, SERIAL_ADC_S16_STEREO, control_adc, fill,
};
use devices::layout::{ES1370_RING, iova};

/// Fills the ring with markers, by which the harness sees what the ADC has written.
pub fn prepare(memory: &GuestMemory) {
    fill(&memory.part(ES1370_RING));
}

/// Lets the ADC write the ring round and round, `rate` samples in a second.
pub fn start(device: &VfioDevice, rate: u32) -> Result<()> {
    device.enable_bus_master()?;
    let bar = device.bar0()?;
    let frames = u32::try_from(ES1370_RING.len() / 4 - 1)?;
    for (register, value) in [
        (REG_MEMPAGE, MEMPAGE_ADC),
        (
            REG_ADC_FRAME_ADDRESS,
            u32::try_from(iova(ES1370_RING.start))?,
        ),
        (REG_ADC_FRAME_COUNT, frames),
        (REG_ADC_SAMPLE_COUNT, SAMPLE_COUNT_MAX),
        (REG_SERIAL_CONTROL, SERIAL_ADC_S16_STEREO),
        (REG_CONTROL, control_adc(rate)),
    ] {
        device.write_u32(bar, register, value)?;
    }
    Ok(())
}
