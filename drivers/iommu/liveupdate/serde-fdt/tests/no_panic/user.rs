// SPDX-License-Identifier: GPL-2.0

//! Uses all of the crate that is generic, and so gets compiled here. Not a test of its own:
//! `no_panic.rs` looks at the object code.

#![no_std]

use core::fmt::Display;

use serde_fdt::{
    Error,
    Fdt,
    Node,
    Property,
    Result,
    Writer, //
};

/// Writes properties from iterators and a node name that is formatted.
pub fn write(buf: &mut [u8], name: &dyn Display, values: &[u64], number: u32) -> Result<usize> {
    let mut writer = Writer::new(buf)?;
    writer.begin_node("")?;
    writer.property_u64_iter("values", values.iter().copied())?;
    writer.property_u32_iter("numbers", [1, number].into_iter())?;
    writer.property_u64_iter("range", 0..u64::from(number))?;
    writer.begin_node(name)?;
    writer.end_node()?;
    writer.begin_node(number)?;
    writer.end_node()?;
    writer.begin_node(format_args!("domain@{number:x}"))?;
    writer.end_node()?;
    writer.end_node()?;
    writer.finish()
}

/// Calls the provided methods of all iterators that loop over them or ask for their length.
pub fn read(blob: &[u8]) -> Result<u64> {
    let fdt = Fdt::new(blob)?;
    let mut sum = fdt
        .reservations()
        .fold(0, |sum: u64, r| sum.wrapping_add(r.size));
    for node in fdt.root().children() {
        sum = sum.wrapping_add(node_sum(node)?);
    }
    for node in fdt.root().children_with_base("domain") {
        sum = sum.wrapping_add(node_sum(node)?);
    }
    Ok(sum)
}

fn node_sum(node: Node<'_>) -> Result<u64> {
    let mut sum: u64 = 0;
    for property in node.properties() {
        sum = sum.wrapping_add(property_sum(property)?);
    }
    let named = node.property("number").ok_or(Error::BadName)?;
    Ok(sum.wrapping_add(u64::from(named.u32()?)))
}

fn property_sum(property: Property<'_>) -> Result<u64> {
    let mut sum: u64 = 0;
    for cell in property.u32_cells()? {
        sum = sum.wrapping_add(u64::from(cell));
    }
    let cells = property.u64_cells()?;
    if cells.len() == 3 {
        sum = cells.fold(sum, u64::wrapping_add);
    }
    for string in property.str_list() {
        sum = sum.wrapping_add(u64::from(string?.is_empty()));
    }
    Ok(sum)
}
