// SPDX-License-Identifier: GPL-2.0

//! The lists of the pages that page tables consist of, on both sides of the kexec.

use crate::hooks::{
    self,
    DirectMap, //
};
use kernel::{
    kho::{
        PreservedBytes,
        PreservedRef,
        RestoredBytes, //
    },
    prelude::*, //
};
use liveupdate_state::{
    runs::{
        self,
        ENTRY_SIZE, //
    },
    RunList,
    RunListRecord,
    RunRange, //
};

/// A run list for the next kernel.
pub(crate) struct Outgoing {
    bytes: PreservedBytes,
    record: RunListRecord,
}

impl Outgoing {
    /// Lists the pages of `domains`, each a sorted list of addresses, and adds up what is in them.
    ///
    /// Returns the list and where in it the domains are.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, or `E2BIG` if there are too many runs.
    ///
    /// # Context
    ///
    /// Process context, takes time linear in the size of the page tables.
    pub(crate) fn new<'a>(
        domains: impl Iterator<Item = &'a [u64]> + Clone,
    ) -> Result<(Self, KVec<RunRange>)> {
        let mut ranges = KVec::new();
        let mut entries: u32 = 0;

        for pages in domains.clone() {
            let count = u32::try_from(runs::count(pages)).map_err(|_| E2BIG)?;

            ranges.push(
                RunRange {
                    first: entries,
                    count,
                },
                GFP_KERNEL,
            )?;
            entries = entries.checked_add(count).ok_or(E2BIG)?;
        }

        let size = (entries as usize).checked_mul(ENTRY_SIZE).ok_or(E2BIG)?;
        let mut bytes = PreservedBytes::new(size)?;
        let mut rest: &mut [u8] = &mut bytes;
        for pages in domains {
            rest = runs::write(pages, &DirectMap, rest).map_err(|_| EINVAL)?;
        }

        let list = RunList::new(&bytes, entries.into()).ok_or(EINVAL)?;
        let record = RunListRecord {
            address: bytes.phys(),
            entries: entries.into(),
            checksum: hooks::checksum(list.as_bytes()),
        };
        Ok((Self { bytes, record }, ranges))
    }

    /// How the next kernel finds it.
    pub(crate) fn record(&self) -> RunListRecord {
        self.record
    }

    /// The list.
    pub(crate) fn get(&self) -> RunList<'_> {
        // There are as many.
        RunList::new(&self.bytes, self.record.entries).unwrap_or_default()
    }
}

/// A run list of the previous kernel. Dropping it frees the list, not the pages in it.
pub(crate) struct Incoming {
    bytes: RestoredBytes,
    entries: u64,
}

impl Incoming {
    /// Takes over the list that `record` describes.
    ///
    /// # Errors
    ///
    /// `ENOENT` or `EINVAL` if nothing was preserved there, or not enough; `EBADMSG` if it is
    /// something else.
    pub(crate) fn new(record: &RunListRecord) -> Result<Self> {
        let size = usize::try_from(record.entries)
            .ok()
            .and_then(|entries| entries.checked_mul(ENTRY_SIZE))
            .ok_or(EINVAL)?;

        // SAFETY: Whatever it is that was preserved there, nobody restores it meanwhile: files are
        // retrieved by userspace, which does not run yet, or by the session that the list belongs
        // to. Hardware writes to no memory that KHO keeps as a folio for this code.
        let found = unsafe { PreservedRef::from_phys(record.address, size) }?;
        if hooks::checksum(&found) != record.checksum {
            return Err(EBADMSG);
        }
        drop(found);

        // SAFETY: The checksum tells that this is the list, which is nobody else's.
        let bytes = unsafe { RestoredBytes::from_phys(record.address, size) }?;
        Ok(Self {
            bytes,
            entries: record.entries,
        })
    }

    /// The list.
    pub(crate) fn get(&self) -> RunList<'_> {
        // There are as many.
        RunList::new(&self.bytes, self.entries).unwrap_or_default()
    }
}
