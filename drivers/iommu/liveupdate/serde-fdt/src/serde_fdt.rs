// SPDX-License-Identifier: GPL-2.0

//! Flattened devicetrees (FDT, also called DTB) without allocation and without panics.
//!
//! [`Writer`] streams a tree into a byte buffer. [`Fdt`] checks a blob once; after that every
//! walk over it is total, whatever the bytes were.
//!
//! The format is that of the [Devicetree Specification], chapter 5: version 17, compatible with
//! version 16.
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
//! [Devicetree Specification]: https://www.devicetree.org/specifications/

#![no_std]
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
