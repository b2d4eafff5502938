// SPDX-License-Identifier: GPL-2.0

//! Any input is rejected, or can be walked, written again, and then reads the same.
//!
//! Run by `make fuzz`. The corpus begins with states of IOMMUs.

#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_fdt::{
    Fdt,
    Node,
    Reservation,
    Result,
    Writer, //
};

/// Asks for the value of every property as every type.
fn read_values(node: Node<'_>) {
    for property in node.properties() {
        let len = property.bytes().len();
        let _ = (property.u32(), property.u64());
        if let Ok(string) = property.str() {
            assert_eq!(property.str_list().collect::<Vec<_>>(), [Ok(string)]);
        }
        assert!(property.str_list().count() <= len);
        if let Ok(cells) = property.u32_cells() {
            assert_eq!(cells.count() * 4, len);
        }
        if let Ok(cells) = property.u64_cells() {
            assert_eq!(cells.count() * 8, len);
        }
        assert_eq!(node.property(property.name()), Some(property));
    }
    for child in node.children() {
        read_values(child);
    }
}

fn write(writer: &mut Writer<'_>, node: Node<'_>) -> Result<()> {
    writer.begin_node(node.name())?;
    for property in node.properties() {
        writer.property_bytes(property.name(), property.bytes())?;
    }
    for child in node.children() {
        write(writer, child)?;
    }
    writer.end_node()
}

fn assert_same(one: Node<'_>, other: Node<'_>) {
    assert_eq!(one.name(), other.name());
    assert!(one.properties().eq(other.properties()));
    assert_eq!(one.children().count(), other.children().count());
    for (one, other) in one.children().zip(other.children()) {
        assert_same(one, other);
    }
}

fuzz_target!(|bytes: &[u8]| {
    let Ok(fdt) = Fdt::new(bytes) else {
        return;
    };
    read_values(fdt.root());

    // The rules for reading are those for writing, so what was accepted can be written. Names
    // that shared bytes in the input take up to 32 bytes more for each property of 12 bytes.
    let mut copy = vec![0xa5; 64 + 4 * bytes.len()];
    let reservations: Vec<Reservation> = fdt.reservations().collect();
    let mut writer = Writer::with_reservations(&mut copy, &reservations).unwrap();
    write(&mut writer, fdt.root()).unwrap();
    let len = writer.finish().unwrap();

    let again = Fdt::new(&copy[..len]).unwrap();
    assert!(again.reservations().eq(reservations));
    assert_same(fdt.root(), again.root());
});
