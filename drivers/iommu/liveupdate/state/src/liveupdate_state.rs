// SPDX-License-Identifier: GPL-2.0

//! What one kernel tells the next about its IOMMUs.
//!
//! The logic of a live update that needs no kernel around it: the flattened device trees that are
//! handed over ([`encode`], [`decode`], [`check`], [`iommufd`]), the root and context tables of VT-d
//! legacy mode ([`vtd`]), and page tables ([`page_table`], [`second_stage`]): what they translate
//! ([`extents`]), whether two of them are equal ([`verify`]) and who owns their pages ([`reclaim`]).
//! It is compiled into the kernel and into host tests from the same source.
//!
//! Whatever comes from the previous kernel is untrusted: [`State::parse`] rejects what is
//! incomplete, [`State::check`] what contradicts itself, and nothing here indexes, unwraps or
//! allocates.
//!
//! The schema is written down in `Documentation/driver-api/iommu-liveupdate-state.rst`.

#![cfg_attr(not(CONFIG_RUST), no_std)]
#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub mod check;
pub mod command_line;
pub mod decode;
pub mod encode;
pub mod error;
pub mod extents;
pub mod features;
pub mod image;
pub mod iommufd;
pub mod offer;
pub mod page_table;
pub mod reclaim;
pub mod records;
pub mod schema;
pub mod second_stage;
pub mod verify;
pub mod vtd;

pub use self::{
    check::Key,
    decode::State,
    encode::encode,
    error::{
        Error,
        Result, //
    },
    records::{
        ContextTables,
        Device,
        Domain,
        PciAddress,
        RequesterIds,
        Unit, //
    }, //
};
