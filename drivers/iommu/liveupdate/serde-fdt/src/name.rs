// SPDX-License-Identifier: GPL-2.0

//! The rules for names, Devicetree Specification sections 2.2.1 and 2.2.4.

use crate::error::{
    Error,
    Result, //
};

/// The length in bytes of the longest property name, and of the longest node name up to its `@`.
pub const MAX_NAME_LEN: usize = 31;

fn is_node_char(c: u8) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, b',' | b'.' | b'_' | b'+' | b'-')
}

fn is_property_char(c: u8) -> bool {
    is_node_char(c) || matches!(c, b'?' | b'#')
}

/// Splits the name of a node at its `@` into the base and the unit address.
pub(crate) fn split_unit_address(name: &str) -> (&str, Option<&str>) {
    match name.split_once('@') {
        Some((base, unit_address)) => (base, Some(unit_address)),
        None => (name, None),
    }
}

/// Checks the name of a node that is not the root.
///
/// It is a letter and up to 30 more letters, digits or characters of `,._+-`, and may be followed
/// by `@` and a unit address of at least one of the same characters.
pub(crate) fn check_node_name(name: &[u8]) -> Result<&str> {
    let name = core::str::from_utf8(name).map_err(|_| Error::BadName)?;
    let (base, unit_address) = split_unit_address(name);

    let base_is_good = base.len() <= MAX_NAME_LEN
        && base.bytes().next().is_some_and(|c| c.is_ascii_alphabetic())
        && base.bytes().all(is_node_char);
    let unit_address_is_good =
        unit_address.is_none_or(|unit| !unit.is_empty() && unit.bytes().all(is_node_char));

    if base_is_good && unit_address_is_good {
        Ok(name)
    } else {
        Err(Error::BadName)
    }
}

/// Checks the name of a property: 1 to 31 letters, digits or characters of `,._+?#-`.
pub(crate) fn check_property_name(name: &[u8]) -> Result<&str> {
    if name.is_empty() || name.len() > MAX_NAME_LEN || !name.iter().copied().all(is_property_char) {
        return Err(Error::BadName);
    }
    core::str::from_utf8(name).map_err(|_| Error::BadName)
}
