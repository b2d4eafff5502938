// SPDX-License-Identifier: GPL-2.0

//! Why a state was rejected.

use crate::schema::property;
use core::fmt;

/// Why the state of the previous kernel was rejected, or could not be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// The blob is not a valid flattened device tree, or there is no room to write one.
    Fdt(serde_fdt::Error),
    /// The state is of another format or of another major version.
    Incompatible,
    /// The state needs a feature that this reader does not have.
    UnknownFeature,
    /// A node lacks a required property, or the property has the wrong type.
    Property {
        /// The base name of the node.
        node: &'static str,
        /// The name of the property.
        property: &'static str,
    },
    /// Two nodes, or two devices of one unit, claim the same identity.
    Duplicate(&'static str),
    /// A node refers to another one that is not there.
    Dangling(&'static str),
    /// A domain is used in two ways that the named property tells apart.
    Conflict(&'static str),
    /// The memory lent to [`State::check`](crate::State::check) does not suffice.
    NoSpace,
    /// A value is outside of what the hardware or the format allows.
    Range {
        /// The base name of the node.
        node: &'static str,
        /// The name of the property.
        property: &'static str,
    },
}

/// [`Result`](core::result::Result) with the [`Error`] of this crate.
pub type Result<T> = core::result::Result<T, Error>;

impl Error {
    /// Whether the state may be sound, but is not for this reader.
    pub fn is_version(self) -> bool {
        matches!(self, Self::Incompatible | Self::UnknownFeature)
    }

    /// Whether the state and its run list do not agree about the page tables.
    pub fn is_about_tables(self) -> bool {
        let properties = [property::TOP_TABLE, property::RUNS, property::TABLE_PAGES];

        matches!(self, Self::Range { property, .. } if properties.contains(&property))
    }
}

impl From<serde_fdt::Error> for Error {
    fn from(error: serde_fdt::Error) -> Self {
        Self::Fdt(error)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fdt(error) => write!(f, "malformed device tree: {error}"),
            Self::Incompatible => f.write_str("unknown format or major version"),
            Self::UnknownFeature => f.write_str("requires a feature that is not supported"),
            Self::Property { node, property } => {
                write!(f, "{node}: {property} is missing or malformed")
            }
            Self::Duplicate(node) => write!(f, "{node}: not unique"),
            Self::Dangling(node) => write!(f, "{node}: refers to a node that does not exist"),
            Self::Conflict(property) => write!(f, "a domain is used with different {property}"),
            Self::NoSpace => f.write_str("not enough memory to check it"),
            Self::Range { node, property } => write!(f, "{node}: {property} is out of range"),
        }
    }
}

impl core::error::Error for Error {}
