// SPDX-License-Identifier: GPL-2.0
//! Where what is in a flattened device tree, byte by byte (Devicetree Specification 0.4, chapter 5).

use anyhow::{Context, Result, bail, ensure};
use std::ops::Range;

const MAGIC: u32 = 0xd00d_feed;
const BEGIN_NODE: u32 = 1;
const END_NODE: u32 = 2;
const PROPERTY: u32 = 3;
/// Stands for nothing.
pub const NOP: u32 = 4;
const END: u32 = 9;

/// Offsets of fields of the header.
pub mod header {
    pub const SIZE: usize = 40;
    pub const TOTAL_SIZE: usize = 4;
    pub const STRUCTURE_OFFSET: usize = 8;
    pub const STRINGS_OFFSET: usize = 12;
    pub const STRINGS_SIZE: usize = 32;
    pub const STRUCTURE_SIZE: usize = 36;
}

/// A property.
#[derive(Clone, Debug)]
pub struct Property {
    /// The node, by its place in [`Layout::nodes`].
    pub node: usize,
    /// The name.
    pub name: String,
    /// Offset of its token, and of what follows.
    pub whole: Range<usize>,
    /// Offsets of its value.
    pub value: Range<usize>,
}

/// A node.
#[derive(Clone, Debug)]
pub struct Node {
    /// The name, with the unit address.
    pub name: String,
    /// Offset of its token, and of what follows.
    pub whole: Range<usize>,
    /// Offset of what follows its name.
    pub body: usize,
    /// How many nodes it is in.
    pub depth: usize,
}

impl Node {
    /// The name before the unit address.
    pub fn base(&self) -> &str {
        self.name.split('@').next().unwrap_or("")
    }
}

/// Where everything is.
#[derive(Clone, Debug, Default)]
pub struct Layout {
    /// The nodes in their order, the root first.
    pub nodes: Vec<Node>,
    /// The properties in their order.
    pub properties: Vec<Property>,
}

/// The 32-bit number at `offset`.
pub fn u32_at(blob: &[u8], offset: usize) -> Result<u32> {
    let bytes = blob.get(offset..offset + 4).context("a short tree")?;
    Ok(u32::from_be_bytes(bytes.try_into()?))
}

/// The size that the header states.
pub fn total_size(blob: &[u8]) -> Result<usize> {
    ensure!(u32_at(blob, 0)? == MAGIC, "no tree");
    Ok(u32_at(blob, header::TOTAL_SIZE)? as usize)
}

fn string_at(blob: &[u8], offset: usize) -> Result<String> {
    let rest = blob.get(offset..).context("a short tree")?;
    let end = rest.iter().position(|&byte| byte == 0);
    Ok(String::from_utf8_lossy(&rest[..end.context("a string has no end")?]).into())
}

impl Layout {
    /// Finds everything in a sound tree.
    pub fn of(blob: &[u8]) -> Result<Self> {
        total_size(blob)?;
        let field = |offset| -> Result<usize> { Ok(u32_at(blob, offset)? as usize) };
        let strings = field(header::STRINGS_OFFSET)?;
        let mut at = field(header::STRUCTURE_OFFSET)?;
        let mut layout = Self::default();
        let mut open = Vec::new();
        loop {
            let token = at;
            at += 4;
            match u32_at(blob, token)? {
                BEGIN_NODE => {
                    let name = string_at(blob, at)?;
                    at = (at + name.len() + 1).next_multiple_of(4);
                    layout.nodes.push(Node {
                        name,
                        whole: token..token,
                        body: at,
                        depth: open.len(),
                    });
                    open.push(layout.nodes.len() - 1);
                }
                END_NODE => {
                    let node = open.pop().context("a node ends that has not begun")?;
                    layout.nodes[node].whole.end = at;
                }
                PROPERTY => {
                    let (length, name) = (field(at)?, field(at + 4)?);
                    let value = at + 8..at + 8 + length;
                    at = value.end.next_multiple_of(4);
                    layout.properties.push(Property {
                        node: *open.last().context("a property outside")?,
                        name: string_at(blob, strings + name)?,
                        whole: token..at,
                        value,
                    });
                }
                NOP => {}
                END => return Ok(layout),
                other => bail!("token {other}"),
            }
        }
    }

    /// The properties of a node.
    pub fn properties_of(&self, node: usize) -> impl Iterator<Item = &Property> {
        self.properties.iter().filter(move |p| p.node == node)
    }

    /// A property of a node.
    pub fn property(&self, node: usize, name: &str) -> Result<&Property> {
        let found = self.properties_of(node).find(|p| p.name == name);
        found.with_context(|| format!("no {name} in {}", self.nodes[node].name))
    }

    /// The nodes in the root with this name before the unit address.
    pub fn children(&self, base: &str) -> impl Iterator<Item = usize> {
        let nodes = self.nodes.iter().enumerate();
        nodes
            .filter(move |(_, node)| node.depth == 1 && node.base() == base)
            .map(|(index, _)| index)
    }
}

/// The tree with one more property in its root, at the beginning of it.
pub fn with_property(blob: &[u8], name: &str, value: &[u8]) -> Result<Vec<u8>> {
    let layout = Layout::of(blob)?;
    let at = layout.nodes.first().context("no root")?.body;
    let (strings, length) = (
        u32_at(blob, header::STRINGS_OFFSET)? as usize,
        u32_at(blob, header::STRINGS_SIZE)? as usize,
    );
    let mut property = Vec::new();
    for word in [
        PROPERTY,
        u32::try_from(value.len())?,
        u32::try_from(length)?,
    ] {
        property.extend_from_slice(&word.to_be_bytes());
    }
    property.extend_from_slice(value);
    property.resize(property.len().next_multiple_of(4), 0);

    let mut new = blob[..at].to_vec();
    new.extend_from_slice(&property);
    new.extend_from_slice(&blob[at..strings + length]);
    new.extend_from_slice(name.as_bytes());
    new.push(0);
    let mut add = |offset: usize, more: usize| -> Result<()> {
        let value = u32_at(&new, offset)? + u32::try_from(more)?;
        new[offset..offset + 4].copy_from_slice(&value.to_be_bytes());
        Ok(())
    };
    add(header::STRINGS_OFFSET, property.len())?;
    add(header::STRINGS_SIZE, name.len() + 1)?;
    add(header::STRUCTURE_SIZE, property.len())?;
    let size = u32::try_from(new.len())?;
    new[header::TOTAL_SIZE..header::TOTAL_SIZE + 4].copy_from_slice(&size.to_be_bytes());
    Ok(new)
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A property, with its name and its value.
    pub type Property<'a> = (&'a str, Vec<u8>);

    /// Writes a tree: properties of the root, and nodes with properties.
    pub fn tree(root: &[Property<'_>], nodes: &[(&str, Vec<Property<'_>>)]) -> Vec<u8> {
        let (mut structure, mut strings) = (Vec::new(), Vec::new());
        let mut property = |structure: &mut Vec<u8>, name: &str, value: &[u8]| {
            for word in [PROPERTY, value.len() as u32, strings.len() as u32] {
                structure.extend_from_slice(&word.to_be_bytes());
            }
            structure.extend_from_slice(value);
            structure.resize(structure.len().next_multiple_of(4), 0);
            strings.extend_from_slice(name.as_bytes());
            strings.push(0);
        };
        structure.extend_from_slice(&BEGIN_NODE.to_be_bytes());
        structure.extend_from_slice(&[0; 4]);
        for (name, value) in root {
            property(&mut structure, name, value);
        }
        for (name, properties) in nodes {
            structure.extend_from_slice(&BEGIN_NODE.to_be_bytes());
            structure.extend_from_slice(name.as_bytes());
            structure.push(0);
            structure.resize(structure.len().next_multiple_of(4), 0);
            for (name, value) in properties {
                property(&mut structure, name, value);
            }
            structure.extend_from_slice(&END_NODE.to_be_bytes());
        }
        structure.extend_from_slice(&END_NODE.to_be_bytes());
        structure.extend_from_slice(&END.to_be_bytes());

        let (reservations, begin) = (header::SIZE, header::SIZE + 16);
        let strings_at = begin + structure.len();
        let total = strings_at + strings.len();
        let mut blob = Vec::new();
        for word in [
            MAGIC as usize,
            total,
            begin,
            strings_at,
            reservations,
            17,
            16,
            0,
            strings.len(),
            structure.len(),
        ] {
            blob.extend_from_slice(&(word as u32).to_be_bytes());
        }
        blob.extend_from_slice(&[0; 16]);
        blob.append(&mut structure);
        blob.append(&mut strings);
        blob
    }

    #[test]
    fn everything_is_found() {
        let blob = tree(
            &[("compatible", b"x\0".to_vec())],
            &[
                ("a@1", vec![("n", vec![0, 0, 0, 1])]),
                ("b@2", vec![("m", vec![]), ("n", vec![1, 2, 3, 4, 5])]),
            ],
        );
        let layout = Layout::of(&blob).unwrap();
        let names: Vec<_> = layout.nodes.iter().map(|node| &*node.name).collect();
        assert_eq!(names, ["", "a@1", "b@2"]);
        assert_eq!(layout.children("b").collect::<Vec<_>>(), [2]);
        let n = layout.property(2, "n").unwrap();
        assert_eq!(&blob[n.value.clone()], [1, 2, 3, 4, 5]);
        assert!(layout.property(1, "m").is_err());
        assert_eq!(layout.nodes[1].whole.end, layout.nodes[2].whole.start);
    }

    #[test]
    fn a_property_is_added() {
        let blob = tree(
            &[("compatible", b"x\0".to_vec())],
            &[("a@1", vec![("n", vec![0, 0, 0, 1])])],
        );
        let blob = with_property(&blob, "required-features", b"what\0").unwrap();
        let layout = Layout::of(&blob).unwrap();
        let added = layout.property(0, "required-features").unwrap();
        assert_eq!(&blob[added.value.clone()], b"what\0");
        let n = layout.property(1, "n").unwrap();
        assert_eq!(&blob[n.value.clone()], [0, 0, 0, 1]);
        assert_eq!(total_size(&blob).unwrap(), blob.len());
    }
}
