// SPDX-License-Identifier: GPL-2.0

//! Walking the nodes of a blob that has been checked.

use crate::{
    name::split_unit_address,
    property::Property,
    reader::Blocks,
    token::{
        token_at,
        Token, //
    }, //
};

/// A node of a tree.
///
/// # Invariants
///
/// `body` is the offset in the structure block right after the name of a node.
#[derive(Clone, Copy, Debug)]
pub struct Node<'a> {
    blocks: Blocks<'a>,
    name: &'a str,
    body: usize,
}

impl<'a> Node<'a> {
    pub(crate) fn new(blocks: Blocks<'a>, name: &'a str, body: usize) -> Self {
        Self { blocks, name, body }
    }

    /// Returns the name with its unit address; that of the root is empty.
    pub fn name(self) -> &'a str {
        self.name
    }

    /// Returns the name without its unit address.
    pub fn base_name(self) -> &'a str {
        split_unit_address(self.name).0
    }

    /// Returns what follows the `@` in the name.
    pub fn unit_address(self) -> Option<&'a str> {
        split_unit_address(self.name).1
    }

    /// Iterates over the properties in the order in which they were written.
    pub fn properties(self) -> Properties<'a> {
        Properties {
            blocks: self.blocks,
            at: self.body,
        }
    }

    /// Returns the property called `name`.
    pub fn property(self, name: &str) -> Option<Property<'a>> {
        self.properties().find(|property| property.name() == name)
    }

    /// Iterates over the subnodes in the order in which they were written.
    ///
    /// To get from one subnode to the next costs time linear in the size of the first.
    pub fn children(self) -> Children<'a> {
        Children {
            blocks: self.blocks,
            at: self.body,
            inside: false,
        }
    }

    /// Returns the first subnode called `name`, which includes the unit address if it has one.
    pub fn child(self, name: &str) -> Option<Node<'a>> {
        self.children().find(|child| child.name() == name)
    }

    /// Iterates over the subnodes whose name before the `@` is `base`.
    pub fn children_with_base<'b>(self, base: &'b str) -> ChildrenWithBase<'a, 'b> {
        ChildrenWithBase {
            children: self.children(),
            base,
        }
    }
}

/// Iterator over the properties of a node, made by [`Node::properties`].
///
/// # Invariants
///
/// `at` is the offset of a token of the node.
#[derive(Clone, Debug)]
pub struct Properties<'a> {
    blocks: Blocks<'a>,
    at: usize,
}

impl<'a> Iterator for Properties<'a> {
    type Item = Property<'a>;

    fn next(&mut self) -> Option<Property<'a>> {
        loop {
            let (token, next) = token_at(self.blocks.structure, self.at).ok()?;
            match token {
                Token::Nop => self.at = next,
                Token::Property { name_offset, value } => {
                    self.at = next;
                    let name = self.blocks.property_name(name_offset).ok()?;
                    return Some(Property::new(name, value));
                }
                Token::BeginNode { .. } | Token::EndNode | Token::End => return None,
            }
        }
    }
}

/// Iterator over the subnodes of a node, made by [`Node::children`].
///
/// # Invariants
///
/// `at` is the offset of a token of the node, or of the subnode returned last if `inside`.
#[derive(Clone, Debug)]
pub struct Children<'a> {
    blocks: Blocks<'a>,
    at: usize,
    inside: bool,
}

impl<'a> Iterator for Children<'a> {
    type Item = Node<'a>;

    fn next(&mut self) -> Option<Node<'a>> {
        let mut depth = usize::from(self.inside);
        loop {
            let (token, next) = token_at(self.blocks.structure, self.at).ok()?;
            match token {
                Token::Nop | Token::Property { .. } => {}
                Token::BeginNode { name } if depth == 0 => {
                    self.at = next;
                    self.inside = true;
                    let name = core::str::from_utf8(name).ok()?;
                    return Some(Node::new(self.blocks, name, next));
                }
                Token::BeginNode { .. } => depth = depth.checked_add(1)?,
                Token::EndNode if depth == 0 => {
                    self.inside = false;
                    return None;
                }
                Token::EndNode => depth = depth.checked_sub(1)?,
                Token::End => return None,
            }
            self.at = next;
            self.inside = depth != 0;
        }
    }
}

/// Iterator over the subnodes with one base name, made by [`Node::children_with_base`].
#[derive(Clone, Debug)]
pub struct ChildrenWithBase<'a, 'b> {
    children: Children<'a>,
    base: &'b str,
}

impl<'a> Iterator for ChildrenWithBase<'a, '_> {
    type Item = Node<'a>;

    fn next(&mut self) -> Option<Node<'a>> {
        let base = self.base;
        self.children.find(|child| child.base_name() == base)
    }
}
