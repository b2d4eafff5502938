// SPDX-License-Identifier: GPL-2.0
//! Ensoniq ES1370: registers of the ADC, and how much of its ring it has written.
//!
//! Registers: Ensoniq AudioPCI ES1370 data sheet, as emulated by QEMU's hw/audio/es1370.c.

use crate::memory::DmaMemory;

/// Interrupt/chip select control.
pub const REG_CONTROL: u64 = 0x00;
/// Page of the registers at 0x30..0x40.
pub const REG_MEMPAGE: u64 = 0x0c;
/// Serial interface control: sample formats.
pub const REG_SERIAL_CONTROL: u64 = 0x20;
/// Samples until an interrupt; QEMU transfers at most that many at once.
pub const REG_ADC_SAMPLE_COUNT: u64 = 0x2c;
/// In page [`MEMPAGE_ADC`]: bus address of the ring.
pub const REG_ADC_FRAME_ADDRESS: u64 = 0x30;
/// In page [`MEMPAGE_ADC`]: ring size in 32-bit words, minus one.
pub const REG_ADC_FRAME_COUNT: u64 = 0x34;

/// Page with the ADC's frame registers.
pub const MEMPAGE_ADC: u32 = 0xd;
/// As many samples as the register can hold.
pub const SAMPLE_COUNT_MAX: u32 = 0xffff;
/// ADC: 16 bit, stereo, no interrupt.
pub const SERIAL_ADC_S16_STEREO: u32 = 0x30;
/// ADC enabled; 1411200 / (divisor + 2) samples in a second, of which there are `rate`.
pub const fn control_adc(rate: u32) -> u32 {
    ((1_411_200 / rate - 2) << 16) | 0x10
}

/// What a word of the ring holds until the device has written it. The ADC has no input connected
/// and delivers silence (zero), so no sample looks like it.
pub const MARKER: u32 = 0xaaaa_aaaa;

/// Fills the ring with [`MARKER`].
pub fn fill(ring: &impl DmaMemory) {
    for offset in (0..ring.len()).step_by(4) {
        ring.write_u32(offset, MARKER);
    }
}

/// Follows the position at which the ADC writes.
///
/// Each observation counts the words behind the last known position that no longer hold
/// [`MARKER`], and puts the marker back. Constant data cannot hide progress, and a device that has
/// stopped cannot fake it.
#[derive(Debug, Default)]
pub struct RingProgress {
    position: usize,
    total: u64,
}

impl RingProgress {
    /// Follows a ring that was filled with markers before the ADC started at its beginning.
    pub fn new() -> Self {
        Self::default()
    }

    /// Looks at the ring; returns the bytes written since the beginning.
    ///
    /// Counts right as long as the device writes less than the whole ring between two calls.
    pub fn observe(&mut self, ring: &impl DmaMemory) -> u64 {
        let words = ring.len() / 4;
        for _ in 0..words {
            let offset = self.position * 4;
            if ring.read_u32(offset) == MARKER {
                break;
            }
            ring.write_u32(offset, MARKER);
            self.position = (self.position + 1) % words;
            self.total += 4;
        }
        self.total
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::PlainMemory;

    #[test]
    fn the_rate_is_divided() {
        assert_eq!(control_adc(44100), (30 << 16) | 0x10);
        assert_eq!(control_adc(5512), (254 << 16) | 0x10);
    }

    /// Writes silence as the device does.
    struct Adc {
        position: usize,
    }

    impl Adc {
        fn write(&mut self, ring: &PlainMemory, words: usize) {
            for _ in 0..words {
                ring.write_u32(self.position * 4, 0);
                self.position = (self.position + 1) % (ring.len() / 4);
            }
        }
    }

    #[test]
    fn counts_every_byte_over_many_turns() {
        let ring = PlainMemory::new(4096);
        fill(&ring);
        let mut adc = Adc { position: 0 };
        let mut progress = RingProgress::new();
        let mut written = 0;
        for words in [0, 1, 441, 1000, 7, 1023, 0, 512, 1023, 1] {
            adc.write(&ring, words);
            written += words as u64 * 4;
            assert_eq!(progress.observe(&ring), written);
        }
    }

    #[test]
    fn a_stopped_device_makes_no_progress() {
        let ring = PlainMemory::new(4096);
        fill(&ring);
        let mut adc = Adc { position: 0 };
        let mut progress = RingProgress::new();
        adc.write(&ring, 100);
        assert_eq!(progress.observe(&ring), 400);
        for _ in 0..100 {
            assert_eq!(progress.observe(&ring), 400);
        }
    }

    #[test]
    fn a_write_elsewhere_is_no_progress() {
        let ring = PlainMemory::new(4096);
        fill(&ring);
        ring.write_u32(2048, 0);
        assert_eq!(RingProgress::new().observe(&ring), 0);
    }
}
