// SPDX-License-Identifier: GPL-2.0

//! What the previous kernel handed over, in the kernel that starts.

use crate::{
    hooks::Domain,
    outgoing::STATE_SIZE,
    retrieved::Retrieved, //
};
use kernel::{
    kho::RestoredBytes,
    new_mutex,
    prelude::*,
    sync::{
        Arc,
        Mutex, //
    }, //
};
use liveupdate_state::{
    ContextTables,
    Device,
    Domain as DomainRecord,
    Key,
    PciAddress,
    RequesterIds,
    State,
    Unit, //
};

/// Who owns the pages of a restored domain's tables.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum TablePages {
    /// Nobody in this kernel: they are still as the previous kernel preserved them.
    Preserved,
    /// This kernel, as if it had allocated them.
    Owned,
    /// Nobody any more, because the tables turned out to be damaged.
    Damaged,
}

/// A domain that was restored.
///
/// It is freed when neither a group nor a HWPT uses it and its session wants nothing of it any
/// more, see `retrieved.rs`.
#[derive(Clone, Copy)]
pub(crate) struct RestoredDomain {
    /// Its number in the state.
    pub(crate) number: u32,
    /// The iommufd that owned it.
    pub(crate) owner: u64,
    /// The domain.
    pub(crate) domain: Domain,
    /// The pages of its tables.
    pub(crate) pages: TablePages,
    /// How many groups it is attached to.
    pub(crate) users: u32,
    /// Whether an object in an iommufd stands for it.
    pub(crate) has_hwpt: bool,
}

/// What this kernel has made of the state so far.
#[derive(Default)]
pub(crate) struct Progress {
    /// The register bases of the units that were adopted.
    pub(crate) adopted: KVec<u64>,
    /// Devices whose translation could not go on.
    pub(crate) rejected: KVec<PciAddress>,
    /// Devices that have got another translation, or are gone.
    pub(crate) left: KVec<PciAddress>,
    /// The domains that were restored.
    pub(crate) domains: KVec<RestoredDomain>,
    /// The numbers of the domains that were given back, restored or not.
    pub(crate) gone: KVec<u32>,
    /// The iommufds that were retrieved.
    pub(crate) retrieved: KVec<Retrieved>,
}

impl Progress {
    /// Finds a restored domain by its number.
    pub(crate) fn domain(&mut self, number: u32) -> Option<&mut RestoredDomain> {
        self.domains.iter_mut().find(|d| d.number == number)
    }

    /// Notes that the domain with the number `number` is being given back, which happens once.
    ///
    /// Returns what was restored, if anything.
    ///
    /// # Errors
    ///
    /// `EALREADY` if that happened before, `ENOMEM`.
    pub(crate) fn give_back(&mut self, number: u32) -> Result<Option<RestoredDomain>> {
        if self.gone.contains(&number) {
            return Err(EALREADY);
        }
        self.gone.push(number, GFP_KERNEL)?;

        let index = self.domains.iter().position(|d| d.number == number);
        Ok(index.and_then(|index| self.domains.remove(index).ok()))
    }
}

/// The state of the previous kernel.
#[pin_data]
pub(crate) struct Incoming {
    /// The block with the blob, which may be anything at all.
    state: RestoredBytes,
    /// How much of it is the blob, all of it if that is not known.
    len: usize,
    /// The records in it, or why there are none.
    records: core::result::Result<Records, liveupdate_state::Error>,
    /// What this kernel has made of it.
    #[pin]
    pub(crate) progress: Mutex<Progress>,
}

/// The records of a state that was found to be sound.
struct Records {
    units: KVec<OwnedUnit>,
    domains: KVec<DomainRecord>,
    devices: KVec<OwnedDevice>,
}

/// A [`Unit`] that owns its list. The list of `unit` is empty.
struct OwnedUnit {
    unit: Unit<'static>,
    context_tables: KVec<(u8, u64)>,
}

/// A [`Device`] that owns its list. The list of `device` is empty.
struct OwnedDevice {
    device: Device<'static>,
    requester_ids: KVec<u16>,
}

impl Incoming {
    /// Reads the state at the physical address `phys`.
    ///
    /// A state that is damaged, or meant for another kernel, is kept as such: whoever depends on
    /// it fails closed.
    ///
    /// # Errors
    ///
    /// `ENOENT` or `EINVAL` if no block of the right size was preserved there, `ENOMEM`.
    pub(crate) fn new(phys: u64) -> Result<Arc<Self>> {
        // SAFETY: The FLB is retrieved once, and nothing else knows of its block.
        let state = unsafe { RestoredBytes::from_phys(phys, STATE_SIZE) }.inspect_err(|e| {
            pr_err!("no state was preserved at {:#x} ({:?})\n", phys, e);
        })?;
        let (records, len) = match check_state(&state)? {
            Ok(state) => (Ok(Records::new(&state)?), state.as_bytes().len()),
            Err(e) => {
                pr_err!(
                    "the state of the previous kernel is rejected: {}\n",
                    format_args!("{e}")
                );
                (Err(e), STATE_SIZE)
            }
        };

        Arc::pin_init(
            pin_init!(Self {
                state,
                len,
                records,
                progress <- new_mutex!(Progress::default()),
            }),
            GFP_KERNEL,
        )
    }

    /// The blob.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.state.get(..self.len).unwrap_or(&self.state)
    }

    /// Why there are no records, if so.
    pub(crate) fn error(&self) -> Option<liveupdate_state::Error> {
        self.records.as_ref().err().copied()
    }

    /// Iterates over the units.
    pub(crate) fn units(&self) -> impl Iterator<Item = Unit<'_>> {
        self.records
            .iter()
            .flat_map(|r| &r.units)
            .map(OwnedUnit::get)
    }

    /// Iterates over the domains.
    pub(crate) fn domains(&self) -> impl Iterator<Item = DomainRecord> + '_ {
        self.records.iter().flat_map(|r| &r.domains).copied()
    }

    /// Iterates over the devices.
    pub(crate) fn devices(&self) -> impl Iterator<Item = Device<'_>> {
        self.records
            .iter()
            .flat_map(|r| &r.devices)
            .map(OwnedDevice::get)
    }

    /// Finds the unit whose registers are at `register_base`.
    pub(crate) fn unit(&self, register_base: u64) -> Option<Unit<'_>> {
        self.units().find(|u| u.register_base == register_base)
    }

    /// Finds the domain with the number `number`.
    pub(crate) fn domain(&self, number: u32) -> Option<DomainRecord> {
        self.domains().find(|d| d.number == number)
    }

    /// Finds the device at `address`.
    pub(crate) fn device(&self, address: PciAddress) -> Option<Device<'_>> {
        self.devices().find(|d| d.address == address)
    }
}

/// Checks a state that another kernel may have written: its nodes, and what they say together.
///
/// # Errors
///
/// `ENOMEM`. What is wrong with the state is in the inner result.
pub(crate) fn check_state(
    blob: &[u8],
) -> Result<core::result::Result<State<'_>, liveupdate_state::Error>> {
    let state = match State::parse(blob) {
        Ok(state) => state,
        Err(e) => return Ok(Err(e)),
    };
    let mut keys = KVVec::from_elem(Key::default(), state.key_count(), GFP_KERNEL)?;

    Ok(state.check(&mut keys).map(|()| state))
}

impl Records {
    fn new(state: &State<'_>) -> Result<Self> {
        let mut records = Self {
            units: KVec::new(),
            domains: KVec::new(),
            devices: KVec::new(),
        };

        for unit in state.units() {
            records.units.push(OwnedUnit::new(&unit)?, GFP_KERNEL)?;
        }
        for domain in state.domains() {
            records.domains.push(domain, GFP_KERNEL)?;
        }
        for device in state.devices() {
            records
                .devices
                .push(OwnedDevice::new(&device)?, GFP_KERNEL)?;
        }
        Ok(records)
    }
}

impl OwnedUnit {
    fn new(unit: &Unit<'_>) -> Result<Self> {
        let mut context_tables = KVec::new();

        for table in unit.context_tables.iter() {
            context_tables.push(table, GFP_KERNEL)?;
        }
        Ok(Self {
            unit: unit.with_context_tables(ContextTables::new(&[])),
            context_tables,
        })
    }

    fn get(&self) -> Unit<'_> {
        self.unit
            .with_context_tables(ContextTables::new(&self.context_tables))
    }
}

impl OwnedDevice {
    fn new(device: &Device<'_>) -> Result<Self> {
        let mut requester_ids = KVec::new();

        for id in device.requester_ids.iter() {
            requester_ids.push(id, GFP_KERNEL)?;
        }
        Ok(Self {
            device: device.with_requester_ids(RequesterIds::new(&[])),
            requester_ids,
        })
    }

    fn get(&self) -> Device<'_> {
        self.device
            .with_requester_ids(RequesterIds::new(&self.requester_ids))
    }
}
