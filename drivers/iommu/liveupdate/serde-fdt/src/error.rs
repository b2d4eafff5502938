// SPDX-License-Identifier: GPL-2.0

//! Why a tree could not be written or a blob was rejected.

use core::fmt;

/// Why a tree could not be written, or why a blob or a property value was rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// The buffer has no room for what was to be written.
    NoSpace,
    /// The blob would not fit the 32-bit sizes and offsets of the format.
    TooLarge,
    /// The calls of the writer do not form one tree: a node outside the root, a property outside
    /// a node or after a subnode, an end without a beginning, or a tree that is not closed.
    NestingState,
    /// The blob ends before its header or before the size that the header states.
    Truncated,
    /// The blob does not begin with the FDT magic number.
    BadMagic,
    /// The blob has no version that a reader of version 17 understands.
    BadVersion,
    /// A block is misaligned, out of order, overlaps another one or lies outside the blob.
    BadLayout,
    /// The memory reservation block has no terminator, or an entry is empty at address zero or
    /// wraps around the end of the address space.
    BadReservation,
    /// The structure block has an unknown token, or ends within a token.
    BadToken,
    /// The tokens of the structure block do not form one tree that is closed.
    BadNesting,
    /// The structure block goes on after its end token.
    TrailingData,
    /// Padding in the structure block is not zero.
    BadPadding,
    /// The name of a node or of a property breaks the rules of the Devicetree Specification.
    BadName,
    /// The name of a property lies outside the strings block or has no terminator.
    BadNameOffset,
    /// A property follows a subnode of its node.
    PropertyAfterNode,
    /// A node has two properties of the same name.
    DuplicateProperty,
    /// A node has more than [`MAX_PROPERTIES`](crate::MAX_PROPERTIES) properties.
    TooManyProperties,
    /// Nodes are nested deeper than [`MAX_DEPTH`](crate::MAX_DEPTH).
    TooDeep,
    /// The length of the property value is not one that the requested type can have.
    BadLength,
    /// A string has no terminator, or holds something other than printable ASCII.
    BadString,
}

/// [`Result`](core::result::Result) with the [`Error`] of this crate.
pub type Result<T> = core::result::Result<T, Error>;

impl Error {
    /// Returns the reason in words, in lower case and without a full stop.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoSpace => "no space left in the buffer",
            Self::TooLarge => "blob exceeds 32-bit sizes",
            Self::NestingState => "call does not fit the state of the tree",
            Self::Truncated => "blob is truncated",
            Self::BadMagic => "bad magic number",
            Self::BadVersion => "unsupported version",
            Self::BadLayout => "bad block offset or size",
            Self::BadReservation => "bad memory reservation",
            Self::BadToken => "bad token in the structure block",
            Self::BadNesting => "tokens do not form a tree",
            Self::TrailingData => "data after the end token",
            Self::BadPadding => "padding is not zero",
            Self::BadName => "invalid node or property name",
            Self::BadNameOffset => "property name outside the strings block",
            Self::PropertyAfterNode => "property after a subnode",
            Self::DuplicateProperty => "duplicate property",
            Self::TooManyProperties => "too many properties in a node",
            Self::TooDeep => "nodes nested too deeply",
            Self::BadLength => "value has the wrong length for its type",
            Self::BadString => "value is not a terminated printable string",
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl core::error::Error for Error {}
