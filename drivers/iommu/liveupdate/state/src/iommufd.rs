// SPDX-License-Identifier: GPL-2.0

//! The state of one iommufd: which token stands for which domain.

use crate::{
    check::{
        sorted,
        unique,
        Key, //
    },
    decode::{
        check_version,
        Fields, //
    },
    error::Result,
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

/// One HWPT that userspace marked for preservation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hwpt {
    /// The token that userspace gave to it.
    pub token: u64,
    /// The number of its domain in the state of all IOMMUs.
    pub domain: u32,
}

/// Writes the state of the iommufd `owner` into `buffer` and returns its size in bytes.
///
/// # Errors
///
/// [`Error::Fdt`](crate::Error::Fdt) if `buffer` is too small.
pub fn encode(
    buffer: &mut [u8],
    owner: u64,
    hwpts: impl IntoIterator<Item = Hwpt>,
) -> Result<usize> {
    let mut w = Writer::new(buffer)?;

    w.begin_node("")?;
    w.property_str(property::COMPATIBLE, schema::IOMMUFD_COMPATIBLE)?;
    w.property_u64(property::OWNER, owner)?;
    for hwpt in hwpts {
        w.begin_node(format_args!("{}@{:x}", schema::HWPT, hwpt.token))?;
        w.property_u64(property::TOKEN, hwpt.token)?;
        w.property_u32(property::DOMAIN, hwpt.domain)?;
        w.end_node()?;
    }
    w.end_node()?;
    Ok(w.finish()?)
}

/// The state of one iommufd, whose nodes were checked one by one.
///
/// # Invariants
///
/// The root has an owner, and every HWPT decodes.
#[derive(Clone, Copy)]
pub struct IommufdState<'a> {
    fdt: Fdt<'a>,
    owner: u64,
}

impl<'a> IommufdState<'a> {
    /// Checks the nodes of `blob`, which may be longer than the state in it.
    ///
    /// # Errors
    ///
    /// What is wrong first.
    pub fn parse(blob: &'a [u8]) -> Result<Self> {
        let fdt = Fdt::new(blob)?;
        let node = fdt.root();

        check_version(node, schema::IOMMUFD_COMPATIBLE)?;

        let owner = Fields::new(node, "iommufd").u64(property::OWNER)?;
        // INVARIANT: The owner was found, and the loop goes through all HWPTs.
        let state = Self { fdt, owner };
        for node in state.nodes() {
            hwpt(node)?;
        }
        Ok(state)
    }

    /// How many keys [`check`](Self::check) needs room for.
    pub fn key_count(&self) -> usize {
        self.hwpts().count()
    }

    /// Checks that every HWPT has a token of its own, with `keys` as its memory.
    ///
    /// # Errors
    ///
    /// [`Error::Duplicate`](crate::Error::Duplicate), or [`Error::NoSpace`](crate::Error::NoSpace) if
    /// there are fewer than [`key_count`](Self::key_count) keys.
    pub fn check(&self, keys: &mut [Key]) -> Result<()> {
        let tokens = self.hwpts().map(|h| [h.token, 0]);

        unique(sorted(keys, tokens)?, schema::HWPT)
    }

    /// The number of the iommufd, which its devices have as their owner.
    pub fn owner(&self) -> u64 {
        self.owner
    }

    /// Iterates over the HWPTs.
    pub fn hwpts(&self) -> impl Iterator<Item = Hwpt> + 'a {
        self.nodes().filter_map(|n| hwpt(n).ok())
    }

    fn nodes(&self) -> impl Iterator<Item = Node<'a>> {
        self.fdt
            .root()
            .children()
            .filter(|n| n.base_name() == schema::HWPT)
    }
}

fn hwpt(node: Node<'_>) -> Result<Hwpt> {
    let mut f = Fields::new(node, schema::HWPT);

    Ok(Hwpt {
        token: f.u64(property::TOKEN)?,
        domain: f.u32(property::DOMAIN)?,
    })
}
