// SPDX-License-Identifier: GPL-2.0

//! A property and the types of its value, Devicetree Specification section 2.2.4.

use crate::error::{
    Error,
    Result, //
};

/// A property of a node.
///
/// The format does not say which type a value has. Each of the methods that return it as one type
/// checks that it can be of that type.
///
/// # Examples
///
/// ```
/// use serde_fdt::{Error, Fdt, Writer};
///
/// # fn main() -> serde_fdt::Result<()> {
/// # let mut buf = [0; 256];
/// # let mut writer = Writer::new(&mut buf)?;
/// # writer.begin_node("")?;
/// writer.property_u32_array("ids", &[1, 2])?;
/// # writer.end_node()?;
/// # writer.finish()?;
/// # let fdt = Fdt::new(&buf)?;
/// let ids = fdt.root().property("ids").unwrap();
/// assert!(ids.u32_cells()?.eq([1, 2]));
/// assert_eq!(ids.u64(), Ok(1 << 32 | 2));
/// assert_eq!(ids.u32(), Err(Error::BadLength));
/// assert_eq!(ids.str(), Err(Error::BadString));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Property<'a> {
    name: &'a str,
    value: &'a [u8],
}

impl<'a> Property<'a> {
    pub(crate) fn new(name: &'a str, value: &'a [u8]) -> Self {
        Self { name, value }
    }

    /// Returns the name.
    pub fn name(self) -> &'a str {
        self.name
    }

    /// Returns the value as it stands in the blob.
    pub fn bytes(self) -> &'a [u8] {
        self.value
    }

    /// Returns the value of type `<u32>`.
    ///
    /// # Errors
    ///
    /// [`Error::BadLength`] if the value does not have 4 bytes.
    pub fn u32(self) -> Result<u32> {
        let cell = self.value.try_into().map_err(|_| Error::BadLength)?;
        Ok(u32::from_be_bytes(cell))
    }

    /// Returns the value of type `<u64>`.
    ///
    /// # Errors
    ///
    /// [`Error::BadLength`] if the value does not have 8 bytes.
    pub fn u64(self) -> Result<u64> {
        let cells = self.value.try_into().map_err(|_| Error::BadLength)?;
        Ok(u64::from_be_bytes(cells))
    }

    /// Returns the value of type `<string>`, without its terminator.
    ///
    /// # Errors
    ///
    /// [`Error::BadString`] if the value is not printable ASCII with one terminator at its end.
    pub fn str(self) -> Result<&'a str> {
        let (terminator, string) = self.value.split_last().ok_or(Error::BadString)?;
        if *terminator != 0 {
            return Err(Error::BadString);
        }
        printable(string)
    }

    /// Iterates over the strings of a value of type `<stringlist>`.
    ///
    /// A string that is not printable ASCII or has no terminator comes out as
    /// [`Error::BadString`] and ends the iteration.
    pub fn str_list(self) -> StrList<'a> {
        StrList { rest: self.value }
    }

    /// Iterates over the value as an array of `<u32>`, which may be empty.
    ///
    /// # Errors
    ///
    /// [`Error::BadLength`] if the length of the value is not a multiple of 4 bytes.
    pub fn u32_cells(self) -> Result<U32Cells<'a>> {
        if self.value.len() % 4 != 0 {
            return Err(Error::BadLength);
        }
        Ok(U32Cells { rest: self.value })
    }

    /// Iterates over the value as an array of `<u64>`, which may be empty.
    ///
    /// # Errors
    ///
    /// [`Error::BadLength`] if the length of the value is not a multiple of 8 bytes.
    pub fn u64_cells(self) -> Result<U64Cells<'a>> {
        if self.value.len() % 8 != 0 {
            return Err(Error::BadLength);
        }
        Ok(U64Cells { rest: self.value })
    }
}

/// Checks that `string` is printable ASCII, as the Devicetree Specification wants it.
pub(crate) fn printable(string: &[u8]) -> Result<&str> {
    if !string.iter().all(|c| matches!(c, b' '..=b'~')) {
        return Err(Error::BadString);
    }
    core::str::from_utf8(string).map_err(|_| Error::BadString)
}

/// Iterator over the strings of a property, made by [`Property::str_list`].
#[derive(Clone, Debug)]
pub struct StrList<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for StrList<'a> {
    type Item = Result<&'a str>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let mut parts = self.rest.splitn(2, |c| *c == 0);
        let string = parts.next().zip(parts.next()).and_then(|(string, rest)| {
            self.rest = rest;
            printable(string).ok()
        });
        if string.is_none() {
            self.rest = &[];
        }
        Some(string.ok_or(Error::BadString))
    }
}

/// Iterator over 32-bit numbers, made by [`Property::u32_cells`].
///
/// # Invariants
///
/// The length of `rest` is a multiple of 4.
#[derive(Clone, Debug)]
pub struct U32Cells<'a> {
    rest: &'a [u8],
}

impl Iterator for U32Cells<'_> {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        let (cell, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        Some(u32::from_be_bytes(*cell))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.len(), Some(self.len()))
    }
}

impl ExactSizeIterator for U32Cells<'_> {
    fn len(&self) -> usize {
        self.rest.len() / 4
    }
}

/// Iterator over 64-bit numbers, made by [`Property::u64_cells`].
///
/// # Invariants
///
/// The length of `rest` is a multiple of 8.
#[derive(Clone, Debug)]
pub struct U64Cells<'a> {
    rest: &'a [u8],
}

impl Iterator for U64Cells<'_> {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        let (cells, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        Some(u64::from_be_bytes(*cells))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.len(), Some(self.len()))
    }
}

impl ExactSizeIterator for U64Cells<'_> {
    fn len(&self) -> usize {
        self.rest.len() / 8
    }
}
