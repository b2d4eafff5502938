// SPDX-License-Identifier: GPL-2.0

//! Flattened devicetrees (FDT, also called DTB) without allocation and without panics.
//!
//! [`Writer`] streams a tree into a byte buffer. [`Fdt`] checks a blob once; after that every
//! walk over it is total, whatever the bytes were. Nothing here sleeps, locks or keeps state, so
//! all of it can be called in any context.
//!
//! The format is that of the [Devicetree Specification], chapter 5: version 17, compatible with
//! version 16.
//!
//! # Examples
//!
//! ```
//! use serde_fdt::{Fdt, Writer};
//!
//! # fn main() -> serde_fdt::Result<()> {
//! let mut buf = [0; 512];
//! let mut writer = Writer::new(&mut buf)?;
//! writer.begin_node("")?;
//! writer.property_str("compatible", "example,state-v1")?;
//! for id in [3u32, 0x1f] {
//!     writer.begin_node(format_args!("domain@{id:x}"))?;
//!     writer.property_u32("domain-id", id)?;
//!     writer.property_u64_array("memory", &[0x1_0000_0000, 0x20_0000])?;
//!     writer.end_node()?;
//! }
//! writer.end_node()?;
//! let len = writer.finish()?;
//!
//! let fdt = Fdt::new(&buf[..len])?;
//! let domain = fdt.root().child("domain@1f").unwrap();
//! assert_eq!(domain.unit_address(), Some("1f"));
//! assert_eq!(domain.property("domain-id").unwrap().u32(), Ok(0x1f));
//! let memory: Vec<u64> = domain.property("memory").unwrap().u64_cells()?.collect();
//! assert_eq!(memory, [0x1_0000_0000, 0x20_0000]);
//! assert_eq!(fdt.root().children_with_base("domain").count(), 2);
//! # Ok(())
//! # }
//! ```
//!
//! # What a blob must comply with
//!
//! The reader rejects, and the writer never writes, a blob that breaks one of these rules:
//!
//! - The blocks are aligned, lie inside the blob, do not overlap, and come in the order of the
//!   specification. The memory reservation block has its terminator, and no entry wraps around.
//! - The structure block holds one tree, whose root has no name, and ends with its end token. In
//!   each node the properties precede the subnodes. Padding is zero.
//! - The name of a node other than the root is a letter and up to 30 more of letters, digits and
//!   `,._+-`, optionally followed by `@` and a unit address of the same characters. So there is
//!   no `:` in a unit address.
//! - The name of a property is 1 to 31 letters, digits and `,._+?#-`.
//! - No node has two properties of the same name.
//! - Nodes are nested at most [`MAX_DEPTH`] deep, and have at most [`MAX_PROPERTIES`] properties.
//!
//! Strings are printable ASCII with a terminator. The writer checks that when it writes one, the
//! reader when one is asked for: the type of a property is known only to who asks.
//!
//! Two subnodes of the same name are *not* rejected. Without memory of its own, a reader can only
//! compare each subnode with all others, and the time which that takes grows with the square of
//! their number: a hostile blob of a few MiB would stall its reader for minutes. Equal names are
//! also not what matters, since `domain@1f` and `domain@01f` differ but mean the same. Whoever
//! gives a meaning to a unit address has to check that this meaning is unique.
//! [`Node::child`] returns the first subnode of a name.
//!
//! # Time
//!
//! To check a blob takes time linear in its size. To walk all of a tree takes time linear in its
//! size, times its depth, because the way from one subnode to the next leads through the first.
//! The writer compares the name of each new property with all different names used before it, and
//! so is meant for trees that use a limited set of names.
//!
//! [Devicetree Specification]: https://www.devicetree.org/specifications/

// Kbuild passes this attribute on the command line.
#![cfg_attr(not(CONFIG_RUST), no_std)]
#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod bytes;
mod error;
mod header;
mod name;
mod node;
mod property;
mod reader;
mod reservation;
mod token;
mod writer;

pub use error::{
    Error,
    Result, //
};
pub use header::{
    LAST_COMPATIBLE_VERSION,
    VERSION, //
};
pub use name::MAX_NAME_LEN;
pub use node::{
    Children,
    ChildrenWithBase,
    Node,
    Properties, //
};
pub use property::{
    Property,
    StrList,
    U32Cells,
    U64Cells, //
};
pub use reader::Fdt;
pub use reservation::{
    Reservation,
    Reservations, //
};
pub use token::{
    MAX_DEPTH,
    MAX_PROPERTIES, //
};
pub use writer::Writer;
