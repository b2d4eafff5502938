// SPDX-License-Identifier: GPL-2.0

//! The index: where the state of each iommufd is.
//!
//! It is what all iommufds share, and has nothing in it that would not be needed to find them.

use crate::{
    decode::{
        check_version,
        is_table,
        write_version,
        Fields, //
    },
    error::Result,
    features::Features,
    records::Iommufd,
    schema::{
        self,
        property, //
    }, //
};
use serde_fdt::{
    Fdt,
    Node,
    Writer, //
};

/// Writes the index of `iommufds` into `buffer` and returns its size in bytes.
///
/// # Errors
///
/// [`Error::Fdt`](crate::Error::Fdt) if `buffer` is too small.
pub fn encode(
    buffer: &mut [u8],
    required: Features,
    iommufds: impl IntoIterator<Item = Iommufd>,
) -> Result<usize> {
    let mut w = Writer::new(buffer)?;

    w.begin_node("")?;
    write_version(&mut w, schema::INDEX_COMPATIBLE, required)?;
    for iommufd in iommufds {
        w.begin_node(format_args!("{}@{:x}", schema::IOMMUFD, iommufd.owner))?;
        w.property_u64(property::OWNER, iommufd.owner)?;
        w.property_u64_array(property::STATE, &[iommufd.state, iommufd.size])?;
        iommufd.run_list.write(&mut w)?;
        w.end_node()?;
    }
    w.end_node()?;
    Ok(w.finish()?)
}

/// An index that can be read.
///
/// A node that cannot is left out: the others do not depend on it.
#[derive(Clone, Copy)]
pub struct Index<'a> {
    fdt: Fdt<'a>,
}

impl<'a> Index<'a> {
    /// Reads `blob`, which may be longer than the index in it.
    ///
    /// # Errors
    ///
    /// What is wrong with it, apart from single nodes.
    pub fn parse(blob: &'a [u8], supported: Features) -> Result<Self> {
        let fdt = Fdt::new(blob)?;

        check_version(fdt.root(), schema::INDEX_COMPATIBLE, supported)?;
        Ok(Self { fdt })
    }

    /// Returns the blob without what may follow it.
    pub fn as_bytes(&self) -> &'a [u8] {
        self.fdt.as_bytes()
    }

    /// Iterates over the iommufds, or what is wrong with their nodes.
    pub fn iommufds(&self) -> impl Iterator<Item = Result<Iommufd>> + 'a {
        self.fdt
            .root()
            .children()
            .filter(|n| n.base_name() == schema::IOMMUFD)
            .map(iommufd)
    }
}

fn iommufd(node: Node<'_>) -> Result<Iommufd> {
    let mut f = Fields::new(node, schema::IOMMUFD);

    let owner = f.u64(property::OWNER)?;
    let [state, size] = f.cells(property::STATE)?;

    if !is_table(state) {
        return Err(f.out_of_range(property::STATE));
    }
    Ok(Iommufd {
        owner,
        state,
        size,
        run_list: f.run_list()?,
    })
}
