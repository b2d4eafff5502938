// SPDX-License-Identifier: GPL-2.0

//! A tree as plain data: what the tests write, and what they expect to read.

#![allow(
    dead_code,
    reason = "each test program uses another part of this module"
)]

use std::{
    collections::BTreeSet,
    fmt::Write as _, //
};

use proptest::{
    collection::vec,
    prelude::*, //
};
use serde_fdt::{
    Fdt,
    Node,
    Reservation,
    Result,
    Writer, //
};

/// The value of a property, by the method that writes it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Empty,
    U32(u32),
    U64(u64),
    Str(String),
    StrList(Vec<String>),
    Bytes(Vec<u8>),
    U32Array(Vec<u32>),
    U64Array(Vec<u64>),
    U32Iter(Vec<u32>),
    U64Iter(Vec<u64>),
}

impl Value {
    /// The bytes that the Devicetree Specification has for the value.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Empty => vec![],
            Self::U32(value) => value.to_be_bytes().to_vec(),
            Self::U64(value) => value.to_be_bytes().to_vec(),
            Self::Str(value) => [value.as_bytes(), &[0]].concat(),
            Self::StrList(values) => values.iter().flat_map(|s| s.bytes().chain([0])).collect(),
            Self::Bytes(value) => value.clone(),
            Self::U32Array(values) | Self::U32Iter(values) => {
                values.iter().flat_map(|v| v.to_be_bytes()).collect()
            }
            Self::U64Array(values) | Self::U64Iter(values) => {
                values.iter().flat_map(|v| v.to_be_bytes()).collect()
            }
        }
    }
}

/// A node. `P` is the type of its property values.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct TreeNode<P> {
    pub(crate) name: String,
    pub(crate) properties: Vec<(String, P)>,
    pub(crate) children: Vec<TreeNode<P>>,
}

/// A whole tree.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Tree<P> {
    pub(crate) reservations: Vec<(u64, u64)>,
    pub(crate) root: TreeNode<P>,
}

impl Tree<Value> {
    /// The tree that a reader should see.
    pub(crate) fn expected(&self) -> Tree<Vec<u8>> {
        fn node(from: &TreeNode<Value>) -> TreeNode<Vec<u8>> {
            TreeNode {
                name: from.name.clone(),
                properties: from
                    .properties
                    .iter()
                    .map(|(name, value)| (name.clone(), value.bytes()))
                    .collect(),
                children: from.children.iter().map(node).collect(),
            }
        }
        Tree {
            reservations: self.reservations.clone(),
            root: node(&self.root),
        }
    }

    /// Writes the tree at the start of `buf`.
    pub(crate) fn write(&self, buf: &mut [u8]) -> Result<usize> {
        fn node(writer: &mut Writer<'_>, from: &TreeNode<Value>) -> Result<()> {
            writer.begin_node(&from.name)?;
            for (name, value) in &from.properties {
                match value {
                    Value::Empty => writer.property_empty(name),
                    Value::U32(value) => writer.property_u32(name, *value),
                    Value::U64(value) => writer.property_u64(name, *value),
                    Value::Str(value) => writer.property_str(name, value),
                    Value::StrList(values) => {
                        let values: Vec<&str> = values.iter().map(String::as_str).collect();
                        writer.property_str_list(name, &values)
                    }
                    Value::Bytes(value) => writer.property_bytes(name, value),
                    Value::U32Array(values) => writer.property_u32_array(name, values),
                    Value::U64Array(values) => writer.property_u64_array(name, values),
                    Value::U32Iter(values) => {
                        writer.property_u32_iter(name, values.iter().copied())
                    }
                    Value::U64Iter(values) => {
                        writer.property_u64_iter(name, values.iter().copied())
                    }
                }?;
            }
            for child in &from.children {
                node(writer, child)?;
            }
            writer.end_node()
        }
        let reservations: Vec<Reservation> = self
            .reservations
            .iter()
            .map(|&(address, size)| Reservation { address, size })
            .collect();
        let mut writer = Writer::with_reservations(buf, &reservations)?;
        node(&mut writer, &self.root)?;
        writer.finish()
    }

    /// Writes the tree into a buffer that was full of other data; returns the blob.
    pub(crate) fn blob(&self) -> Vec<u8> {
        let mut buf = vec![0xa5; 1 << 18];
        let len = self.write(&mut buf).expect("the tree is valid and fits");
        buf.truncate(len);
        buf
    }

    /// The source text of the tree for `dtc`, with every value as a byte string.
    pub(crate) fn dts(&self) -> String {
        fn node(text: &mut String, from: &TreeNode<Value>) {
            let name = if from.name.is_empty() {
                "/"
            } else {
                &from.name
            };
            writeln!(text, "{name} {{").unwrap();
            for (name, value) in &from.properties {
                let bytes: String = value.bytes().iter().map(|b| format!("{b:02x}")).collect();
                if bytes.is_empty() {
                    writeln!(text, "{name};").unwrap();
                } else {
                    writeln!(text, "{name} = [{bytes}];").unwrap();
                }
            }
            for child in &from.children {
                node(text, child);
            }
            writeln!(text, "}};").unwrap();
        }
        let mut text = String::from("/dts-v1/;\n");
        for (address, size) in &self.reservations {
            writeln!(text, "/memreserve/ {address:#x} {size:#x};").unwrap();
        }
        node(&mut text, &self.root);
        text
    }
}

impl Tree<Vec<u8>> {
    /// Writes what was read from another blob; returns the new blob.
    pub(crate) fn rewrite(&self) -> Vec<u8> {
        fn node(from: &TreeNode<Vec<u8>>) -> TreeNode<Value> {
            TreeNode {
                name: from.name.clone(),
                properties: from
                    .properties
                    .iter()
                    .map(|(name, value)| (name.clone(), Value::Bytes(value.clone())))
                    .collect(),
                children: from.children.iter().map(node).collect(),
            }
        }
        let tree = Tree {
            reservations: self.reservations.clone(),
            root: node(&self.root),
        };
        tree.blob()
    }

    /// Reads all of a blob that has been checked.
    pub(crate) fn read(fdt: Fdt<'_>) -> Self {
        fn node(from: Node<'_>) -> TreeNode<Vec<u8>> {
            TreeNode {
                name: from.name().to_string(),
                properties: from
                    .properties()
                    .map(|property| (property.name().to_string(), property.bytes().to_vec()))
                    .collect(),
                children: from.children().map(node).collect(),
            }
        }
        Self {
            reservations: fdt.reservations().map(|r| (r.address, r.size)).collect(),
            root: node(fdt.root()),
        }
    }
}

/// Strings that match `regex`, which is compiled once and not for each of them.
fn text(regex: &str) -> impl Strategy<Value = String> {
    proptest::string::string_regex(regex).unwrap()
}

fn base_name() -> impl Strategy<Value = String> {
    prop_oneof![
        text("(iommu|domain|device|hwpt)"),
        text("[a-zA-Z][a-zA-Z0-9,._+-]{0,30}"),
    ]
}

fn node_name() -> impl Strategy<Value = String> {
    let unit_address = proptest::option::of(text("[a-zA-Z0-9,._+-]{1,40}"));
    (base_name(), unit_address).prop_map(|(base, unit_address)| match unit_address {
        Some(unit_address) => format!("{base}@{unit_address}"),
        None => base,
    })
}

fn property_name() -> impl Strategy<Value = String> {
    prop_oneof![
        text("(reg|compatible|status|#address-cells|domain-id)"),
        text("[a-zA-Z0-9,._+?#-]{1,31}"),
    ]
}

fn value() -> impl Strategy<Value = Value> {
    let string = || text("[ -~]{0,12}");
    prop_oneof![
        Just(Value::Empty),
        any::<u32>().prop_map(Value::U32),
        any::<u64>().prop_map(Value::U64),
        string().prop_map(Value::Str),
        vec(string(), 0..4).prop_map(Value::StrList),
        vec(any::<u8>(), 0..40).prop_map(Value::Bytes),
        vec(any::<u32>(), 0..10).prop_map(Value::U32Array),
        vec(any::<u32>(), 0..10).prop_map(Value::U32Iter),
        vec(any::<u64>(), 0..10).prop_map(Value::U64Array),
        vec(any::<u64>(), 0..10).prop_map(Value::U64Iter),
    ]
}

fn properties() -> impl Strategy<Value = Vec<(String, Value)>> {
    vec((property_name(), value()), 0..8).prop_map(|mut properties| {
        let mut names = BTreeSet::new();
        properties.retain(|(name, _)| names.insert(name.clone()));
        properties
    })
}

fn unique_names(mut children: Vec<TreeNode<Value>>) -> Vec<TreeNode<Value>> {
    let mut names = BTreeSet::new();
    children.retain(|child| names.insert(child.name.clone()));
    children
}

/// Any tree that the crate should be able to write. Names of siblings differ, because `dtc`
/// insists on that.
pub(crate) fn tree() -> impl Strategy<Value = Tree<Value>> {
    let node = |name: String, properties, children| TreeNode {
        name,
        properties,
        children: unique_names(children),
    };
    let leaf =
        (node_name(), properties()).prop_map(move |(name, props)| node(name, props, Vec::new()));
    let subtree = leaf.prop_recursive(5, 48, 6, move |inner| {
        (node_name(), properties(), vec(inner, 0..6))
            .prop_map(move |(name, props, children)| node(name, props, children))
    });
    let reservation = (any::<u64>(), any::<u64>()).prop_map(|(address, size)| {
        let size = size.min(u64::MAX - address);
        (address, size.max(1))
    });
    (vec(reservation, 0..4), properties(), vec(subtree, 0..6)).prop_map(
        move |(reservations, props, children)| Tree {
            reservations,
            root: node(String::new(), props, children),
        },
    )
}
