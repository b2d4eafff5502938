// SPDX-License-Identifier: GPL-2.0

//! Checked access to big-endian numbers in a byte slice.

use crate::error::{
    Error,
    Result, //
};

/// Returns `N` bytes at `at`, or [`None`] if they are not all inside `bytes`.
pub(crate) fn array_at<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk::<N>().copied()
}

/// Returns the big-endian 32-bit number at `at`.
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    array_at(bytes, at).map(u32::from_be_bytes)
}

/// Returns the big-endian 64-bit number at `at`.
pub(crate) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    array_at(bytes, at).map(u64::from_be_bytes)
}

/// Returns the `len` bytes at `at`, or [`None`] if they are not all inside `bytes`.
pub(crate) fn slice_at(bytes: &[u8], at: usize, len: usize) -> Option<&[u8]> {
    bytes.get(at..at.checked_add(len)?)
}

/// Rounds `offset` up to the alignment of tokens.
pub(crate) fn align_token(offset: usize) -> Option<usize> {
    offset.checked_next_multiple_of(4)
}

/// Converts a size or an offset to the 32 bits that the format has for it.
pub(crate) fn to_u32(value: usize) -> Result<u32> {
    u32::try_from(value).map_err(|_| Error::TooLarge)
}
