// SPDX-License-Identifier: GPL-2.0

//! Writes to physical memory that a test asks for.
//!
//! Test only, see `CONFIG_IOMMU_LIVEUPDATE_DAMAGE`.

/// Bytes that are to be written.
#[derive(Clone, Copy)]
pub(crate) struct Write<'a> {
    /// The physical address of the first.
    pub(crate) phys: u64,
    /// The bytes.
    pub(crate) bytes: &'a [u8],
}

/// Splits a list into its writes. [`None`] stands for the rest of a list that is cut off.
///
/// A write is its address and its size, as little-endian numbers of 64 and 32 bits, and its bytes.
pub(crate) fn writes(list: &[u8]) -> impl Iterator<Item = Option<Write<'_>>> {
    let mut rest = list;

    core::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let write = split(rest);

        rest = write.map_or(&[], |(_, rest)| rest);
        Some(write.map(|(write, _)| write))
    })
}

fn split(list: &[u8]) -> Option<(Write<'_>, &[u8])> {
    let (phys, rest) = list.split_first_chunk()?;
    let (size, rest) = rest.split_first_chunk()?;
    let size = usize::try_from(u32::from_le_bytes(*size)).ok()?;
    let (bytes, rest) = rest.split_at_checked(size)?;

    Some((
        Write {
            phys: u64::from_le_bytes(*phys),
            bytes,
        },
        rest,
    ))
}
