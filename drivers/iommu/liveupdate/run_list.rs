// SPDX-License-Identifier: GPL-2.0

//! The lists of the pages that page tables consist of, on both sides of the kexec.

use crate::{
    counters::{
        Held,
        KHO_ENTRIES, //
    },
    hooks,
    tables_hooks::PreservedTables,
    trust::is_trusting, //
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

/// A run list for the next kernel, in two copies: if one is damaged, the pages are not lost.
pub(crate) struct Outgoing {
    bytes: PreservedBytes,
    _copy: PreservedBytes,
    _kho_entries: Held,
    record: RunListRecord,
}

impl Outgoing {
    /// Lists the pages of `domains`.
    ///
    /// Returns the list and where in it the domains are.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, or `E2BIG` if there are too many runs.
    ///
    /// # Context
    ///
    /// Process context, takes time linear in the number of runs.
    pub(crate) fn new<'a>(
        domains: impl Iterator<Item = &'a PreservedTables> + Clone,
    ) -> Result<(Self, KVec<RunRange>)> {
        let mut ranges = KVec::new();
        let mut entries: u32 = 0;

        for tables in domains.clone() {
            let count = runs::entries_for(tables.runs().len()).ok_or(E2BIG)?;

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
        for tables in domains {
            rest = runs::write(tables.runs(), tables.checksum(), rest).map_err(|_| EINVAL)?;
        }

        let mut copy = PreservedBytes::new(size)?;
        copy.copy_from_slice(&bytes);

        let record = RunListRecord {
            copies: [bytes.phys(), copy.phys()],
            entries: entries.into(),
            checksum: hooks::checksum(&bytes),
        };
        let list = Self {
            bytes,
            _copy: copy,
            _kho_entries: KHO_ENTRIES.hold(2),
            record,
        };
        Ok((list, ranges))
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
    /// The other copy, only to be freed as well.
    _copy: Option<RestoredBytes>,
    record: RunListRecord,
}

impl Incoming {
    /// Takes over the list that `record` describes.
    ///
    /// If `is_certain`, two places say the same about it, so that a damaged copy is taken over too.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, `EBADMSG` if there is no copy that is sound.
    pub(crate) fn new(record: &RunListRecord, is_certain: bool) -> Result<Self> {
        let size = usize::try_from(record.entries)
            .ok()
            .and_then(|entries| entries.checked_mul(ENTRY_SIZE))
            .ok_or(EBADMSG)?;
        let [first, second] = record
            .copies
            .map(|phys| Copy::claim(phys, size, record.checksum, is_certain));

        let (bytes, copy) = match (first?, second?) {
            (Some(Copy::Sound(bytes)), other) => (bytes, other.map(Copy::into_bytes)),
            (other, Some(Copy::Sound(bytes))) => (bytes, other.map(Copy::into_bytes)),
            _ => return Err(EBADMSG),
        };
        Ok(Self {
            bytes,
            _copy: copy,
            record: *record,
        })
    }

    /// How the previous kernel found it.
    pub(crate) fn record(&self) -> RunListRecord {
        self.record
    }

    /// The list.
    pub(crate) fn get(&self) -> RunList<'_> {
        // There are as many.
        RunList::new(&self.bytes, self.record.entries).unwrap_or_default()
    }
}

/// One copy of a run list of the previous kernel.
enum Copy {
    Sound(RestoredBytes),
    Damaged(RestoredBytes),
}

impl Copy {
    /// Takes over the copy at the physical address `phys`, if it is one.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    fn claim(phys: u64, size: usize, checksum: u64, is_certain: bool) -> Result<Option<Self>> {
        // SAFETY: Whatever it is that was preserved there, nobody restores it meanwhile: files are
        // retrieved by userspace, which does not run yet, or by the session that the list belongs
        // to. Hardware writes to no memory that KHO keeps as a folio for this code.
        let Ok(found) = (unsafe { PreservedRef::from_phys(phys, size) }) else {
            pr_warn!("no run list is at {:#x}\n", phys);
            return Ok(None);
        };
        let is_sound = hooks::checksum(&found) == checksum || is_trusting();

        if !is_sound {
            pr_warn!("the run list at {:#x} is damaged\n", phys);
            if !is_certain {
                return Ok(None);
            }
        }
        // SAFETY: The checksum, or two places that say the same, tell that this is the list, which
        // is nobody else's.
        let bytes = unsafe { RestoredBytes::from_phys(phys, size) }?;
        Ok(Some(if is_sound {
            Self::Sound(bytes)
        } else {
            Self::Damaged(bytes)
        }))
    }

    fn into_bytes(self) -> RestoredBytes {
        match self {
            Self::Sound(bytes) | Self::Damaged(bytes) => bytes,
        }
    }
}
