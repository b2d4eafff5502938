// SPDX-License-Identifier: GPL-2.0
//! An image that claims what is not true.

use anyhow::{Context, Result};

/// Offsets in the setup header (Documentation/arch/x86/boot.rst).
const SETUP_SECTS: usize = 0x1f1;
const KERNEL_INFO_OFFSET: usize = 0x268;
/// Offsets in the `kernel_info` there.
const SIZE: usize = 0x4;
const SIZE_TOTAL: usize = 0x8;
const SECTOR: usize = 512;
/// Begins our entry in it.
const MAGIC: &[u8] = b"LUpd";

fn long(image: &[u8], at: usize) -> Result<usize> {
    let bytes = image.get(at..).and_then(|bytes| bytes.first_chunk());
    let bytes = bytes.context("the image is too short")?;
    Ok(usize::try_from(u32::from_le_bytes(*bytes))?)
}

fn set_long(image: &mut [u8], at: usize, value: usize) -> Result<()> {
    let bytes = u32::try_from(value)?.to_le_bytes();
    let place = image.get_mut(at..at + bytes.len());
    place
        .context("the image is too short")?
        .copy_from_slice(&bytes);
    Ok(())
}

/// Makes `image` offer `strings` and nothing else: with a new `kernel_info` at its end.
pub fn claim(image: &mut Vec<u8>, strings: &[String]) -> Result<()> {
    let sectors = *image.get(SETUP_SECTS).context("the image is too short")?;
    let code = (usize::from(sectors) + 1) * SECTOR;
    let old = code + long(image, KERNEL_INFO_OFFSET)?;
    let size = long(image, old + SIZE)?;
    let fixed = image.get(old..old + size).context("no kernel_info")?;

    let mut info = fixed.to_vec();
    let entry = info.len();
    info.extend_from_slice(MAGIC);
    info.extend_from_slice(&[0; 4]);
    for string in strings {
        info.extend_from_slice(string.as_bytes());
        info.push(0);
    }
    let total = info.len();
    set_long(&mut info, entry + MAGIC.len(), total - entry)?;
    set_long(&mut info, SIZE_TOTAL, total)?;

    let new = image.len().next_multiple_of(16);
    image.resize(new, 0);
    image.extend_from_slice(&info);
    set_long(image, KERNEL_INFO_OFFSET, new - code)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As much of an image as is looked at.
    fn image() -> Vec<u8> {
        let mut image = vec![0; 5 * SECTOR];
        image[SETUP_SECTS] = 3;
        image[0x202..0x208].copy_from_slice(b"HdrS\x0f\x02");
        set_long(&mut image, KERNEL_INFO_OFFSET, 32).unwrap();
        let info = 4 * SECTOR + 32;
        image[info..info + 4].copy_from_slice(b"LToP");
        set_long(&mut image, info + SIZE, 16).unwrap();
        set_long(&mut image, info + SIZE_TOTAL, 16).unwrap();
        image
    }

    #[test]
    fn the_claim_is_what_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("image");
        let mut image = image();
        std::fs::write(&path, &image).unwrap();
        assert!(liveupdate_image::offer(&path).unwrap().is_empty());

        for strings in [&["a", "bc"][..], &["d"]] {
            let strings: Vec<_> = strings.iter().map(|&string| string.to_owned()).collect();
            claim(&mut image, &strings).unwrap();
            std::fs::write(&path, &image).unwrap();
            assert_eq!(liveupdate_image::offer(&path).unwrap(), strings);
        }
    }

    #[test]
    fn what_is_no_image_is_an_error() {
        assert!(claim(&mut Vec::new(), &[]).is_err());
        assert!(claim(&mut vec![0xff; 2 * SECTOR], &[]).is_err());
    }
}
