// SPDX-License-Identifier: GPL-2.0

//! What the writer writes, the reader reads.

mod tree;

use proptest::prelude::*;
use serde_fdt::{
    Error,
    Fdt, //
};
use tree::{
    Tree,
    Value, //
};

proptest! {
    #[test]
    fn reader_sees_what_was_written(tree in tree::tree()) {
        let blob = tree.blob();
        let fdt = Fdt::new(&blob).unwrap();
        prop_assert_eq!(Tree::read(fdt), tree.expected());
        prop_assert_eq!(fdt.as_bytes(), &blob[..]);
        prop_assert_eq!(fdt.boot_cpuid(), 0);
    }

    #[test]
    fn a_changed_bit_is_seen(tree in tree::tree(), number in any::<u32>(), bit in 0..32) {
        let name = "changing";
        let with = |number| {
            let mut tree = tree.clone();
            tree.root.properties.retain(|(other, _)| other != name);
            tree.root.properties.push((name.to_string(), Value::U32(number)));
            tree
        };
        let (one, other) = (with(number), with(number ^ (1u32 << bit)));
        let (one_blob, other_blob) = (one.blob(), other.blob());
        // The control of the test above: equality of trees is not vacuous.
        prop_assert_ne!(Tree::read(Fdt::new(&one_blob).unwrap()), other.expected());
        prop_assert_eq!(Tree::read(Fdt::new(&other_blob).unwrap()), other.expected());
    }

    #[test]
    fn typed_values_come_back(tree in tree::tree()) {
        let blob = tree.blob();
        let root = Fdt::new(&blob).unwrap().root();
        for (name, value) in &tree.root.properties {
            let property = root.property(name).unwrap();
            prop_assert_eq!(property.name(), name);
            match value {
                Value::Empty => prop_assert!(property.bytes().is_empty()),
                Value::U32(value) => prop_assert_eq!(property.u32(), Ok(*value)),
                Value::U64(value) => prop_assert_eq!(property.u64(), Ok(*value)),
                Value::Str(value) => prop_assert_eq!(property.str(), Ok(&value[..])),
                Value::StrList(values) => {
                    let read: Result<Vec<_>, _> = property.str_list().collect();
                    prop_assert_eq!(&read.unwrap(), values);
                }
                Value::Bytes(value) => prop_assert_eq!(property.bytes(), &value[..]),
                Value::U32Array(values) | Value::U32Iter(values) => {
                    let cells = property.u32_cells().unwrap();
                    prop_assert_eq!(cells.len(), values.len());
                    prop_assert_eq!(&cells.collect::<Vec<_>>(), values);
                }
                Value::U64Array(values) | Value::U64Iter(values) => {
                    let cells = property.u64_cells().unwrap();
                    prop_assert_eq!(cells.len(), values.len());
                    prop_assert_eq!(&cells.collect::<Vec<_>>(), values);
                }
            }
        }
    }

    #[test]
    fn lookups_find_the_first_match(tree in tree::tree()) {
        let blob = tree.blob();
        let root = Fdt::new(&blob).unwrap().root();
        for child in &tree.root.children {
            let found = root.child(&child.name).unwrap();
            prop_assert_eq!(found.name(), &child.name);
            prop_assert_eq!(found.properties().count(), child.properties.len());

            let (base, unit_address) = match child.name.split_once('@') {
                Some((base, unit_address)) => (base, Some(unit_address)),
                None => (&child.name[..], None),
            };
            prop_assert_eq!(found.base_name(), base);
            prop_assert_eq!(found.unit_address(), unit_address);
            let same_base: Vec<_> = tree
                .root
                .children
                .iter()
                .map(|child| &child.name[..])
                .filter(|name| name.split('@').next() == Some(base))
                .collect();
            let found: Vec<_> = root.children_with_base(base).map(|n| n.name()).collect();
            prop_assert_eq!(found, same_base);
        }
        prop_assert!(root.child("no-such-node").is_none());
        prop_assert!(root.property("no-such-property").is_none());
    }

    #[test]
    fn buffer_of_the_exact_size_is_enough_and_no_byte_less(tree in tree::tree()) {
        let blob = tree.blob();
        let mut exact = vec![0x5a; blob.len()];
        prop_assert_eq!(tree.write(&mut exact), Ok(blob.len()));
        prop_assert_eq!(&exact, &blob);
        for len in (0..blob.len()).rev().step_by(1 + blob.len() / 64) {
            prop_assert_eq!(tree.write(&mut exact[..len]), Err(Error::NoSpace));
        }
    }

    #[test]
    fn bytes_after_the_blob_do_not_matter(tree in tree::tree(), tail in any::<[u8; 16]>()) {
        let blob = tree.blob();
        let longer = [&blob[..], &tail].concat();
        let fdt = Fdt::new(&longer).unwrap();
        prop_assert_eq!(fdt.as_bytes(), &blob[..]);
        prop_assert_eq!(Tree::read(fdt), tree.expected());
    }
}
