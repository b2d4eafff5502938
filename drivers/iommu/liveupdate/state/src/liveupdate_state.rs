// SPDX-License-Identifier: GPL-2.0

//! What one kernel tells the next about its IOMMUs.
//!
//! The logic of a live update that needs no kernel around it: the flattened device trees that are
//! handed over ([`index`], [`encode`], [`decode`], [`check`], [`features`]), the list of the pages
//! that belong to them ([`runs`]), the root and context tables of VT-d legacy mode ([`vtd`]) and
//! whether they are what a state says ([`hardware`]), and page tables ([`page_table`],
//! [`second_stage`]): what they translate ([`extents`]) and whether two of them are equal
//! ([`verify`]), and the blocks that their pages come from ([`block`]). It is compiled into the kernel and into host tests from the same source.
//!
//! Whatever comes from the previous kernel is untrusted: [`State::parse`] rejects what is
//! incomplete, [`State::check`] what contradicts itself, [`hardware::check`] what is not so, and
//! nothing here indexes, unwraps or allocates.
//!
//! The schema is written down in `Documentation/driver-api/iommu-liveupdate-state.rst`.

#![cfg_attr(not(CONFIG_RUST), no_std)]
#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub mod block;
pub mod check;
pub mod command_line;
pub mod decode;
pub mod encode;
pub mod error;
pub mod extents;
pub mod features;
pub mod hardware;
pub mod image;
pub mod index;
pub mod offer;
pub mod page_table;
pub mod records;
pub mod runs;
pub mod schema;
pub mod second_stage;
pub mod verify;
pub mod vtd;

pub use self::{
    block::Block,
    check::Key,
    decode::State,
    encode::{
        encode,
        Root, //
    },
    error::{
        Error,
        Result, //
    },
    features::Features,
    index::Index,
    records::{
        ContextTables,
        Device,
        Domain,
        Hwpt,
        Iommufd,
        PciAddress,
        RequesterIds,
        RunListRecord,
        RunRange,
        Tree,
        Unit, //
    },
    runs::{
        Run,
        RunGroup,
        RunList, //
    }, //
};
