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
/// Size of the magic, of `size` and of `size_total`.
const KERNEL_INFO_HEADER: usize = 12;
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

/// Finds the `kernel_info` in an image that has one.
fn kernel_info(image: &[u8], setup_sects: u8) -> Option<&[u8]> {
    let sectors = match usize::from(setup_sects) {
        0 => DEFAULT_SETUP_SECTS,
        sectors => sectors,
    };
    // The boot sector comes before the setup, the protected-mode code after it.
    let protected_mode = sectors.checked_add(1)?.checked_mul(SECTOR)?;
    let offset = size_at(image, KERNEL_INFO_OFFSET)?;
    let info = image.get(protected_mode.checked_add(offset)?..)?;

    if array_at(info, 0)? != KERNEL_INFO_MAGIC {
        return None;
    }
    info.get(..size_at(info, 8)?)
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

/// Returns the strings that say what `image` can take over. There are none if it knows nothing of a
/// live update of IOMMUs.
///
/// `image` is the complete file, and may contain anything.
///
/// # Errors
///
/// [`Error`] if the file does not follow the boot protocol.
pub fn strings(image: &[u8]) -> Result<impl Iterator<Item = &str> + Clone, Error> {
    let header = || {
        let [setup_sects] = array_at(image, SETUP_SECTS)?;

        (array_at(image, HEADER)? == HEADER_MAGIC)
            .then_some((setup_sects, u16::from_le_bytes(array_at(image, VERSION)?)))
    };
    let (setup_sects, version) = header().ok_or(Error::Format)?;
    let content = if version < FIRST_VERSION {
        Some(&[][..])
    } else {
        kernel_info(image, setup_sects).and_then(content)
    };
    let text = content
        .filter(|bytes| bytes.last().is_none_or(|last| *last == 0))
        .and_then(|bytes| str::from_utf8(bytes).ok())
        .ok_or(Error::KernelInfo)?;

    Ok(text.split('\0').filter(|string| !string.is_empty()))
}
