// SPDX-License-Identifier: GPL-2.0
//! Damaging what one kernel leaves for the next.

use crate::ram::GuestRam;
use anyhow::{Result, ensure};
use devices::memory::DmaMemory;

/// What the state says that it is.
const COMPATIBLE: &[u8] = b"linux,iommu-liveupdate-v";
/// First word of a flattened device tree (Devicetree Specification 0.4, section 5.2).
const FDT_MAGIC: [u8; 4] = 0xd00d_feed_u32.to_be_bytes();
/// The string is near the beginning of the tree.
const REACH: usize = 512;
/// What is preserved begins on a page.
const PAGE: usize = 4096;

/// Makes every state in `ram` one of a version that nobody knows.
pub fn damage_state(ram: &GuestRam) -> Result<()> {
    let mut found = 0;
    let mut head = [0; REACH];
    for page in (0..crate::ram::SIZE).step_by(PAGE) {
        ram.read(page, &mut head[..FDT_MAGIC.len()]);
        if head[..FDT_MAGIC.len()] != FDT_MAGIC {
            continue;
        }
        ram.read(page, &mut head);
        let at = head
            .windows(COMPATIBLE.len())
            .position(|window| window == COMPATIBLE);
        if let Some(at) = at
            && let Some(version) = head.get_mut(at + COMPATIBLE.len())
        {
            *version = b'Z';
            ram.write(page, &head);
            found += 1;
        }
    }
    ensure!(found > 0, "no state found in the guest's RAM");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_state_is_damaged() {
        let ram = GuestRam::create().unwrap();
        assert!(damage_state(&ram).is_err());

        let mut state = vec![0; 64];
        state[..4].copy_from_slice(&FDT_MAGIC);
        state.extend_from_slice(COMPATIBLE);
        state.extend_from_slice(b"1\0\0\0");
        ram.write(3 * PAGE, &state);
        // Not a tree.
        ram.write(5 * PAGE, &state[4..]);
        damage_state(&ram).unwrap();

        let mut found = vec![0; state.len()];
        ram.read(3 * PAGE, &mut found);
        assert_eq!(found[64 + COMPATIBLE.len()], b'Z');
        found.truncate(state.len() - 4);
        ram.read(5 * PAGE, &mut found);
        assert_eq!(found, state[4..]);
    }
}
