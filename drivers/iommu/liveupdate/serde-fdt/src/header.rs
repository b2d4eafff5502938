// SPDX-License-Identifier: GPL-2.0

//! The header of a blob, Devicetree Specification section 5.2.

use crate::{
    bytes::{
        slice_at,
        u32_at, //
    },
    error::{
        Error,
        Result, //
    }, //
};

/// The version of the format that is written, and that is read.
pub const VERSION: u32 = 17;

/// The oldest version that what is written is compatible with.
pub const LAST_COMPATIBLE_VERSION: u32 = 16;

const MAGIC: u32 = 0xd00d_feed;

/// The size in bytes of the header of version 17.
pub(crate) const HEADER_SIZE: usize = 40;

/// The fields of the header that differ from blob to blob. Offsets and sizes are in bytes.
#[derive(Clone, Copy)]
pub(crate) struct Header {
    pub(crate) total_size: u32,
    pub(crate) structure_offset: u32,
    pub(crate) strings_offset: u32,
    pub(crate) reservations_offset: u32,
    pub(crate) boot_cpuid: u32,
    pub(crate) strings_size: u32,
    pub(crate) structure_size: u32,
}

impl Header {
    /// Reads the header at the start of `blob`; checks the magic number and the version only.
    pub(crate) fn parse(blob: &[u8]) -> Result<Self> {
        let header = slice_at(blob, 0, HEADER_SIZE).ok_or(Error::Truncated)?;
        let field = |at| u32_at(header, at).ok_or(Error::Truncated);

        if field(0)? != MAGIC {
            return Err(Error::BadMagic);
        }
        let (version, last_compatible) = (field(20)?, field(24)?);
        if version < VERSION || last_compatible > VERSION || last_compatible > version {
            return Err(Error::BadVersion);
        }

        Ok(Self {
            total_size: field(4)?,
            structure_offset: field(8)?,
            strings_offset: field(12)?,
            reservations_offset: field(16)?,
            boot_cpuid: field(28)?,
            strings_size: field(32)?,
            structure_size: field(36)?,
        })
    }

    /// Returns the ten fields in the order in which they stand in the blob.
    pub(crate) fn fields(&self) -> [u32; HEADER_SIZE / size_of::<u32>()] {
        [
            MAGIC,
            self.total_size,
            self.structure_offset,
            self.strings_offset,
            self.reservations_offset,
            VERSION,
            LAST_COMPATIBLE_VERSION,
            self.boot_cpuid,
            self.strings_size,
            self.structure_size,
        ]
    }
}
