// SPDX-License-Identifier: GPL-2.0

//! The tokens of the structure block, Devicetree Specification section 5.4.

use crate::{
    bytes::{
        align_token,
        slice_at,
        u32_at, //
    },
    error::{
        Error,
        Result, //
    }, //
};

/// How deep nodes can be nested; the root has depth 1.
pub const MAX_DEPTH: usize = 32;

/// How many properties one node can have.
///
/// The search for duplicates compares each property of a node with the ones before it. This limit
/// keeps that linear in the size of a blob.
pub const MAX_PROPERTIES: usize = 128;

pub(crate) const BEGIN_NODE: u32 = 1;
pub(crate) const END_NODE: u32 = 2;
pub(crate) const PROPERTY: u32 = 3;
pub(crate) const NOP: u32 = 4;
pub(crate) const END: u32 = 9;

/// A token with what belongs to it.
#[derive(Clone, Copy)]
pub(crate) enum Token<'a> {
    BeginNode { name: &'a [u8] },
    EndNode,
    Property { name_offset: u32, value: &'a [u8] },
    Nop,
    End,
}

/// Returns the token at `at` in the structure block `block`, and the offset of the one after it.
///
/// Padding is checked; the name of a node is delimited, but not checked.
pub(crate) fn token_at(block: &[u8], at: usize) -> Result<(Token<'_>, usize)> {
    let tag = u32_at(block, at).ok_or(Error::BadToken)?;
    let body = at.checked_add(4).ok_or(Error::BadToken)?;

    match tag {
        BEGIN_NODE => {
            let rest = block.get(body..).ok_or(Error::BadToken)?;
            let len = rest.iter().position(|c| *c == 0).ok_or(Error::BadToken)?;
            let name = slice_at(block, body, len).ok_or(Error::BadToken)?;
            let end = body.checked_add(len).ok_or(Error::BadToken)?;
            // The terminator is zero as well.
            Ok((Token::BeginNode { name }, skip_padding(block, end, 1)?))
        }
        END_NODE => Ok((Token::EndNode, body)),
        PROPERTY => {
            let (len, name_offset) = u32_at(block, body)
                .zip(body.checked_add(4).and_then(|at| u32_at(block, at)))
                .ok_or(Error::BadToken)?;
            let len = usize::try_from(len).map_err(|_| Error::BadToken)?;
            let start = body.checked_add(8).ok_or(Error::BadToken)?;
            let value = slice_at(block, start, len).ok_or(Error::BadToken)?;
            let end = start.checked_add(len).ok_or(Error::BadToken)?;
            Ok((
                Token::Property { name_offset, value },
                skip_padding(block, end, 0)?,
            ))
        }
        NOP => Ok((Token::Nop, body)),
        END => Ok((Token::End, body)),
        _ => Err(Error::BadToken),
    }
}

/// Returns the offset of the first token at least `min` bytes after `from`; all between is zero.
fn skip_padding(block: &[u8], from: usize, min: usize) -> Result<usize> {
    let to = from
        .checked_add(min)
        .and_then(align_token)
        .ok_or(Error::BadToken)?;
    let padding = block.get(from..to).ok_or(Error::BadToken)?;
    if padding.iter().all(|c| *c == 0) {
        Ok(to)
    } else {
        Err(Error::BadPadding)
    }
}
