// SPDX-License-Identifier: GPL-2.0

//! What a kernel image says that it can take over.
//!
//! An x86 image (bzImage) has it in an entry of its `kernel_info`, uncompressed: the magic
//! [`MAGIC`], the size of the whole entry, and strings that each end with a zero byte. The boot
//! protocol, `Documentation/arch/x86/boot.rst`, describes the rest.

use core::{
    fmt,
    str, //
};

/// Begins the entry with the strings.
pub const MAGIC: [u8; 4] = *b"LUpd";

/// Offsets in the setup header, from the start of the image.
const SETUP_SECTS: usize = 0x1f1;
const HEADER: usize = 0x202;
const VERSION: usize = 0x206;
const KERNEL_INFO_OFFSET: usize = 0x268;

const HEADER_MAGIC: [u8; 4] = *b"HdrS";
const KERNEL_INFO_MAGIC: [u8; 4] = *b"LToP";
/// The first version of the boot protocol with a `kernel_info`.
const FIRST_VERSION: u16 = 0x020f;
const SECTOR: usize = 512;
/// What a setup size of 0 sectors means.
const DEFAULT_SETUP_SECTS: usize = 4;
/// Size of what [`kernel_info_offset`] looks at, in bytes.
pub const HEADER_SIZE: usize = KERNEL_INFO_OFFSET + 4;
/// Size of the magic, of `size` and of `size_total`, in bytes.
pub const KERNEL_INFO_HEADER: usize = 12;
/// Size of the magic of an entry and of its size.
const ENTRY_HEADER: usize = 8;

/// Why an image cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// It is no bzImage.
    Format,
    /// Its `kernel_info` is damaged.
    KernelInfo,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Format => "not a bzImage",
            Self::KernelInfo => "damaged kernel_info",
        })
    }
}

impl core::error::Error for Error {}

fn array_at<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk::<N>().copied()
}

fn size_at(bytes: &[u8], at: usize) -> Option<usize> {
    usize::try_from(u32::from_le_bytes(array_at(bytes, at)?)).ok()
}

/// Returns the protected-mode code's offset in an image, and whether the boot protocol's version has
/// a `kernel_info`.
fn setup(header: &[u8]) -> Option<(usize, bool)> {
    if array_at(header, HEADER)? != HEADER_MAGIC {
        return None;
    }
    let sectors = match array_at(header, SETUP_SECTS)? {
        [0] => DEFAULT_SETUP_SECTS,
        [sectors] => usize::from(sectors),
    };
    let version = u16::from_le_bytes(array_at(header, VERSION)?);

    // The boot sector comes before the setup, the protected-mode code after it.
    Some((
        sectors.checked_add(1)?.checked_mul(SECTOR)?,
        version >= FIRST_VERSION,
    ))
}

/// Returns where in an image its `kernel_info` begins, or [`None`] if it has none.
///
/// `header` is the beginning of the image, at least [`HEADER_SIZE`] bytes of a valid one.
///
/// # Errors
///
/// [`Error::Format`] if it is no bzImage, [`Error::KernelInfo`] if the `kernel_info` has no place.
pub fn kernel_info_offset(header: &[u8]) -> Result<Option<usize>, Error> {
    match setup(header) {
        None => Err(Error::Format),
        Some((_, false)) => Ok(None),
        Some((code, true)) => size_at(header, KERNEL_INFO_OFFSET)
            .and_then(|offset| code.checked_add(offset))
            .map(Some)
            .ok_or(Error::KernelInfo),
    }
}

/// Returns the size of the `kernel_info` that begins with `bytes`, at least [`KERNEL_INFO_HEADER`]
/// of them.
///
/// # Errors
///
/// [`Error::KernelInfo`] if this is none.
pub fn kernel_info_size(bytes: &[u8]) -> Result<usize, Error> {
    array_at(bytes, 0)
        .filter(|magic| *magic == KERNEL_INFO_MAGIC)
        .and_then(|_| size_at(bytes, 8))
        .ok_or(Error::KernelInfo)
}

/// Finds the content of the entry with [`MAGIC`], which is empty if there is no such entry.
fn content(info: &[u8]) -> Option<&[u8]> {
    let size = size_at(info, 4).filter(|size| *size >= KERNEL_INFO_HEADER)?;
    let mut rest = info.get(size..)?;

    while !rest.is_empty() {
        let size = size_at(rest, 4).filter(|size| *size >= ENTRY_HEADER)?;
        let (entry, next) = rest.split_at_checked(size)?;

        if array_at(entry, 0)? == MAGIC {
            return entry.get(ENTRY_HEADER..);
        }
        rest = next;
    }
    Some(&[])
}

/// Returns the strings in a `kernel_info`. There are none if the kernel knows nothing of a live
/// update of IOMMUs.
///
/// `info` is at least as long as [`kernel_info_size`] says, and may contain anything.
///
/// # Errors
///
/// [`Error::KernelInfo`] if it is damaged.
pub fn kernel_info_strings(info: &[u8]) -> Result<impl Iterator<Item = &str> + Clone, Error> {
    let text = info
        .get(..kernel_info_size(info)?)
        .and_then(content)
        .filter(|bytes| bytes.last().is_none_or(|last| *last == 0))
        .and_then(|bytes| str::from_utf8(bytes).ok())
        .ok_or(Error::KernelInfo)?;

    Ok(text.split('\0').filter(|string| !string.is_empty()))
}

/// Returns the strings that say what `image` can take over. There are none if it knows nothing of a
/// live update of IOMMUs.
///
/// `image` is the complete file, and may contain anything.
///
/// # Errors
///
/// [`Error`] if the file does not follow the boot protocol.
pub fn strings(image: &[u8]) -> Result<impl Iterator<Item = &str> + Clone, Error> {
    let info = match kernel_info_offset(image)? {
        Some(offset) => {
            let info = image.get(offset..).ok_or(Error::KernelInfo)?;

            Some(kernel_info_strings(info)?)
        }
        None => None,
    };

    Ok(info.into_iter().flatten())
}
