// SPDX-License-Identifier: GPL-2.0

//! What images say, written from the boot protocol and read by the crate.

mod bz_image;

use bz_image::BzImage;
use liveupdate_state::image::{
    kernel_info_offset,
    kernel_info_size,
    kernel_info_strings,
    strings,
    Error,
    HEADER_SIZE,
    KERNEL_INFO_HEADER, //
};
use proptest::prelude::*;

fn own<'a>(strings: impl Iterator<Item = &'a str>) -> Vec<String> {
    strings.map(str::to_owned).collect()
}

/// At most `len` bytes of the image, as if they were read from a file.
fn part(image: &[u8], at: usize, len: usize) -> &[u8] {
    let rest = image.get(at..).unwrap_or(&[]);
    rest.get(..len).unwrap_or(rest)
}

fn read_parts(image: &[u8]) -> Result<Vec<String>, Error> {
    let Some(at) = kernel_info_offset(part(image, 0, HEADER_SIZE))? else {
        return Ok(Vec::new());
    };
    let size = kernel_info_size(part(image, at, KERNEL_INFO_HEADER))?;
    Ok(own(kernel_info_strings(part(image, at, size))?))
}

/// The whole says what its parts say.
fn read(image: &[u8]) -> Result<Vec<String>, Error> {
    let whole = strings(image).map(own);
    assert_eq!(whole, read_parts(image));
    whole
}

#[test]
fn strings_are_found() {
    for expected in [
        &[][..],
        &["a"],
        &["linux,iommu-liveupdate-v1", "test", "kho=on"],
    ] {
        assert_eq!(read(&BzImage::new(expected).build()).unwrap(), expected);
    }
}

#[test]
fn the_place_is_the_one_of_the_protocol() {
    for setup_sects in [0, 1, 4, 39, 255] {
        for kernel_info_offset in [0, 1, 0x1234] {
            let image = BzImage {
                setup_sects,
                kernel_info_offset,
                ..BzImage::new(&["a", "b"])
            };
            assert_eq!(read(&image.build()).unwrap(), ["a", "b"]);
        }
    }
}

/// Later protocols may add to the fixed part, and others to the variable part.
#[test]
fn what_others_say_is_skipped() {
    let mut image = BzImage::new(&["a"]);
    image.version = 0x0300;
    image.fixed.extend([0xee; 13]);
    image
        .chunks
        .insert(0, (*b"ABCD", b"LUpd\x0c\0\0\0xyz\0".to_vec()));
    image.chunks.insert(1, (*b"0123", vec![]));
    image.chunks.push((*b"EFGH", b"b\0".to_vec()));
    assert_eq!(read(&image.build()).unwrap(), ["a"]);

    // Padding at the end of the entry.
    let mut image = BzImage::new(&["a"]);
    image.chunks[0].1.extend([0; 3]);
    assert_eq!(read(&image.build()).unwrap(), ["a"]);
}

#[test]
fn an_image_that_knows_nothing_of_it_says_nothing() {
    let mut image = BzImage::new(&["a"]);
    image.chunks.clear();
    assert_eq!(read(&image.build()).unwrap(), [""; 0]);

    // Before there was a kernel_info, whatever is in its place.
    for version in [0x0200, 0x020e] {
        let image = BzImage {
            version,
            ..BzImage::new(&["a"])
        };
        assert_eq!(read(&image.build()).unwrap(), [""; 0]);
    }
}

#[test]
fn other_files_are_told_apart() {
    assert_eq!(read(&[]), Err(Error::Format));
    assert_eq!(read(&[0; 4096]), Err(Error::Format));
    assert_eq!(read(b"\x7fELF"), Err(Error::Format));
}

#[test]
fn damage_is_an_error() {
    let sound = BzImage::new(&["abc"]);
    let at = sound.kernel_info_at();
    let damaged = |offset: usize, bytes: &[u8]| {
        let mut image = sound.build();
        image[at + offset..][..bytes.len()].copy_from_slice(bytes);
        read(&image)
    };
    let le = u32::to_le_bytes;
    // kernel_info is 16 bytes, the entry 8 and the string with its zero 4.
    assert_eq!(damaged(0, b"LToP").unwrap(), ["abc"]);
    for (offset, bytes) in [
        (0, *b"LToQ"),
        // size: below the header, beyond the total
        (4, le(11)),
        (4, le(29)),
        (4, le(u32::MAX)),
        // size_total: cuts the entry, beyond the file
        (8, le(27)),
        (8, le(4096)),
        (8, le(u32::MAX)),
        // the size of the entry: below its header, beyond kernel_info
        (20, le(0)),
        (20, le(7)),
        (20, le(13)),
        (20, le(u32::MAX)),
        // no zero at the end, not a string
        (24, *b"abcd"),
        (24, *b"a\xff\xfe\0"),
    ] {
        assert_eq!(
            damaged(offset, &bytes),
            Err(Error::KernelInfo),
            "{offset} {bytes:?}"
        );
    }

    // The offset points out of the file.
    let mut image = sound.build();
    image[0x268..0x26c].copy_from_slice(&le(u32::MAX));
    assert_eq!(read(&image), Err(Error::KernelInfo));
}

#[test]
fn every_truncation_is_noticed() {
    let image = BzImage::new(&["a", "b"]);
    let sound = image.build();
    let end = image.kernel_info_at() + image.kernel_info().len();
    for len in 0..end {
        assert!(read(&sound[..len]).is_err(), "{len}");
    }
    assert_eq!(read(&sound[..end]).unwrap(), ["a", "b"]);
}

/// Changing one byte, to every value, gives an error, or other strings, but no panic.
#[test]
fn every_byte_may_be_anything() {
    let image = BzImage::new(&["ab", "c"]);
    let at = image.kernel_info_at();
    let mut bytes = image.build();
    for place in (0x1f0..0x270).chain(at..bytes.len()) {
        let sound = bytes[place];
        for value in 0..=255 {
            bytes[place] = value;
            let _ = read(&bytes);
        }
        bytes[place] = sound;
    }
    assert_eq!(read(&bytes).unwrap(), ["ab", "c"]);
}

proptest! {
    #[test]
    fn anything_is_read(bytes in prop::collection::vec(any::<u8>(), 0..4096)) {
        let _ = read(&bytes);
    }

    /// A sound header, followed by anything.
    #[test]
    fn any_kernel_info_is_read(info in prop::collection::vec(any::<u8>(), 0..64)) {
        let image = BzImage::new(&[]);
        let mut bytes = image.build();
        bytes.truncate(image.kernel_info_at());
        bytes.extend(b"LToP\x0c\0\0\0");
        bytes.extend((info.len() as u32 + 12).to_le_bytes());
        bytes.extend(&info);
        let _ = read(&bytes);
    }

    #[test]
    fn what_was_written_is_read(
        strings in prop::collection::vec("[a-z0-9,=-]{1,40}", 0..20),
        setup_sects: u8,
        kernel_info_offset in 0u32..0x2000,
        fixed in prop::collection::vec(any::<u8>(), 0..32),
        others in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..32), 0..4),
    ) {
        let strings: Vec<&str> = strings.iter().map(String::as_str).collect();
        let mut image = BzImage {
            setup_sects,
            kernel_info_offset,
            fixed,
            ..BzImage::new(&strings)
        };
        for (index, other) in others.into_iter().enumerate() {
            image.chunks.insert(index / 2, (*b"othr", other));
        }
        prop_assert_eq!(read(&image.build()).unwrap(), strings);
    }
}
