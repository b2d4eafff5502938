// SPDX-License-Identifier: GPL-2.0

//! What one kernel tells the next about its IOMMUs.
//!
//! The logic of a live update that needs no kernel around it: the flattened device trees that are
//! handed over ([`encode`], [`decode`], [`check`], [`iommufd`]) and the root and context tables of VT-d
//! legacy mode ([`vtd`]). It is compiled into the kernel and into host tests from the same source.
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
pub mod decode;
pub mod encode;
pub mod error;
pub mod iommufd;
pub mod records;
pub mod schema;
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
