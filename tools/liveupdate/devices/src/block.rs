// SPDX-License-Identifier: GPL-2.0
//! What a block of the NVMe drive contains.

/// Size of a logical block.
pub const SIZE: usize = 4096;

/// Content of block `lba` after its `generation`th rewrite. Every word depends on the address,
/// the generation and its place, so that a misplaced, stale or torn block differs.
pub fn content(lba: u64, generation: u32) -> [u8; SIZE] {
    let mut block = [0; SIZE];
    let seed = mix(lba ^ (u64::from(generation) << 48));
    for (word, index) in block.as_chunks_mut::<8>().0.iter_mut().zip(1u64..) {
        *word = mix(seed ^ index).to_le_bytes();
    }
    block
}

/// The finalizer of the SplitMix64 generator, a bijection with good diffusion.
fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// Says where `found` differs from the content of block `lba`, `None` when it is the same.
pub fn difference(found: &[u8], lba: u64, generation: u32) -> Option<String> {
    let expected = content(lba, generation);
    if found == expected {
        return None;
    }
    let at = found.iter().zip(&expected).position(|(a, b)| a != b);
    Some(match at {
        Some(at) => format!(
            "block {lba}: byte {at} is {:#04x}, not {:#04x}",
            found[at], expected[at]
        ),
        None => format!("block {lba}: {} bytes instead of {SIZE}", found.len()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_differ_in_every_word() {
        let words = |lba, generation| {
            let block = content(lba, generation);
            block.as_chunks::<8>().0.to_vec()
        };
        for (a, b) in [((0, 0), (1, 0)), ((0, 0), (0, 1)), ((7, 1), (8, 0))] {
            let (a, b) = (words(a.0, a.1), words(b.0, b.1));
            assert!(a.iter().zip(&b).all(|(a, b)| a != b));
        }
    }

    #[test]
    fn one_wrong_bit_is_found() {
        let mut block = content(5, 1);
        assert_eq!(difference(&block, 5, 1), None);
        block[4095] ^= 1;
        assert!(difference(&block, 5, 1).unwrap().contains("byte 4095"));
    }

    #[test]
    fn a_short_block_is_found() {
        let block = content(5, 1);
        assert!(difference(&block[..SIZE - 1], 5, 1).is_some());
    }
}
