// SPDX-License-Identifier: GPL-2.0

//! Checking a blob.

use crate::{
    bytes::slice_at,
    error::{
        Error,
        Result, //
    },
    header::{
        Header,
        HEADER_SIZE, //
    },
    name::{
        check_node_name,
        check_property_name,
        MAX_NAME_LEN, //
    },
    node::Node,
    reservation::Reservations,
    token::{
        token_at,
        Token,
        MAX_DEPTH,
        MAX_PROPERTIES, //
    }, //
};

/// The structure block and the strings block of a blob.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Blocks<'a> {
    pub(crate) structure: &'a [u8],
    pub(crate) strings: &'a [u8],
}

impl<'a> Blocks<'a> {
    /// Returns the name at `offset` in the strings block.
    pub(crate) fn property_name(&self, offset: u32) -> Result<&'a str> {
        let rest = usize::try_from(offset)
            .ok()
            .and_then(|offset| self.strings.get(offset..))
            .ok_or(Error::BadNameOffset)?;
        // The bound makes the time for a name constant, whatever the strings block holds.
        let (name, error) = match rest.first_chunk::<{ MAX_NAME_LEN + 1 }>() {
            Some(chunk) => (chunk.as_slice(), Error::BadName),
            None => (rest, Error::BadNameOffset),
        };
        let len = name.iter().position(|c| *c == 0).ok_or(error)?;
        check_property_name(name.get(..len).ok_or(Error::BadNameOffset)?)
    }

    /// Whether a property between the tokens at `from` and at `to`, among nothing but properties
    /// that have been checked, is called `name`.
    fn has_property(&self, from: usize, to: usize, name: &str) -> bool {
        let is_called = |offset: u32| {
            usize::try_from(offset)
                .ok()
                .and_then(|offset| self.strings.get(offset..)?.strip_prefix(name.as_bytes()))
                .is_some_and(|rest| rest.first() == Some(&0))
        };
        let mut at = from;
        while at < to {
            match token_at(self.structure, at) {
                Ok((Token::Property { name_offset, .. }, _)) if is_called(name_offset) => {
                    return true
                }
                Ok((_, next)) => at = next,
                Err(_) => return false,
            }
        }
        false
    }

    /// Checks the whole structure block; returns the offset of what follows the name of the root.
    fn check(&self) -> Result<usize> {
        let mut at = 0;
        let mut depth: usize = 0;
        let mut root = None;
        // The offset of the first property, and the count, if properties may follow here.
        let mut properties: Option<(usize, usize)> = None;

        loop {
            let (token, next) = token_at(self.structure, at)?;
            match token {
                Token::Nop => {}
                Token::BeginNode { name } => {
                    if depth != 0 {
                        check_node_name(name)?;
                    } else if root.is_some() {
                        return Err(Error::BadNesting);
                    } else if !name.is_empty() {
                        return Err(Error::BadName);
                    } else {
                        root = Some(next);
                    }
                    if depth >= MAX_DEPTH {
                        return Err(Error::TooDeep);
                    }
                    depth = depth.checked_add(1).ok_or(Error::TooDeep)?;
                    properties = Some((next, 0));
                }
                Token::EndNode => {
                    depth = depth.checked_sub(1).ok_or(Error::BadNesting)?;
                    properties = None;
                }
                Token::Property { name_offset, .. } => {
                    let (first, count) = properties.ok_or(if depth == 0 {
                        Error::BadNesting
                    } else {
                        Error::PropertyAfterNode
                    })?;
                    if count >= MAX_PROPERTIES {
                        return Err(Error::TooManyProperties);
                    }
                    let name = self.property_name(name_offset)?;
                    if self.has_property(first, at, name) {
                        return Err(Error::DuplicateProperty);
                    }
                    let count = count.checked_add(1).ok_or(Error::TooManyProperties)?;
                    properties = Some((first, count));
                }
                Token::End => {
                    if depth != 0 {
                        return Err(Error::BadNesting);
                    }
                    if next != self.structure.len() {
                        return Err(Error::TrailingData);
                    }
                    return root.ok_or(Error::BadNesting);
                }
            }
            at = next;
        }
    }
}

/// A blob that has been checked.
///
/// # Examples
///
/// ```
/// use serde_fdt::{Error, Fdt, Writer};
///
/// # fn main() -> serde_fdt::Result<()> {
/// let mut buf = [0; 256];
/// let mut writer = Writer::new(&mut buf)?;
/// writer.begin_node("")?;
/// writer.end_node()?;
/// let len = writer.finish()?;
///
/// assert_eq!(Fdt::new(&buf)?.as_bytes().len(), len);
/// assert_eq!(Fdt::new(&buf[..len - 1]).err(), Some(Error::Truncated));
/// buf[0] = 0;
/// assert_eq!(Fdt::new(&buf).err(), Some(Error::BadMagic));
/// # Ok(())
/// # }
/// ```
///
/// # Invariants
///
/// `blocks` has been accepted by `Blocks::check()`, and `root` is what that returned.
#[derive(Clone, Copy, Debug)]
pub struct Fdt<'a> {
    blob: &'a [u8],
    reservations: &'a [u8],
    blocks: Blocks<'a>,
    root: usize,
    boot_cpuid: u32,
}

impl<'a> Fdt<'a> {
    /// Checks the blob at the start of `blob`, which may be longer than the blob.
    ///
    /// # Errors
    ///
    /// The first reason found for which it is not a well-formed tree.
    pub fn new(blob: &'a [u8]) -> Result<Self> {
        let header = Header::parse(blob)?;
        let to_usize = |value: u32| usize::try_from(value).map_err(|_| Error::TooLarge);

        let total = to_usize(header.total_size)?;
        if total < HEADER_SIZE {
            return Err(Error::BadLayout);
        }
        let blob = blob.get(..total).ok_or(Error::Truncated)?;

        let reservations_at = to_usize(header.reservations_offset)?;
        let structure_at = to_usize(header.structure_offset)?;
        let structure_len = to_usize(header.structure_size)?;
        let strings_at = to_usize(header.strings_offset)?;
        let strings_len = to_usize(header.strings_size)?;

        if reservations_at < HEADER_SIZE
            || reservations_at % 8 != 0
            || structure_at % 4 != 0
            || structure_at
                .checked_add(structure_len)
                .is_none_or(|end| end > strings_at)
        {
            return Err(Error::BadLayout);
        }
        let reservations = blob
            .get(reservations_at..structure_at)
            .ok_or(Error::BadLayout)?;
        let structure = slice_at(blob, structure_at, structure_len).ok_or(Error::BadLayout)?;
        let strings = slice_at(blob, strings_at, strings_len).ok_or(Error::BadLayout)?;

        Reservations::new(reservations).check()?;
        let blocks = Blocks { structure, strings };
        let root = blocks.check()?;

        // INVARIANT: `root` has just been returned by the check of `blocks`.
        Ok(Self {
            blob,
            reservations,
            blocks,
            root,
            boot_cpuid: header.boot_cpuid,
        })
    }

    /// Returns the root of the tree.
    pub fn root(self) -> Node<'a> {
        Node::new(self.blocks, "", self.root)
    }

    /// Iterates over the memory reservations.
    pub fn reservations(self) -> Reservations<'a> {
        Reservations::new(self.reservations)
    }

    /// Returns the blob, exactly as long as its header states.
    pub fn as_bytes(self) -> &'a [u8] {
        self.blob
    }

    /// Returns the physical id of the boot CPU.
    pub fn boot_cpuid(self) -> u32 {
        self.boot_cpuid
    }
}
