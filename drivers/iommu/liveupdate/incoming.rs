// SPDX-License-Identifier: GPL-2.0

//! What the previous kernel handed over, in the kernel that starts.

use crate::{
    hooks::Domain,
    outgoing::STATE_SIZE,
    retrieved::Retrieved,
    run_list,
    trust::is_trusting, //
};
use kernel::{
    kho::{
        PreservedRef,
        RestoredBytes, //
    },
    new_mutex,
    prelude::*,
    sync::{
        Arc,
        Mutex, //
    }, //
};
use liveupdate_state::{
    decode,
    hardware,
    schema::{
        self,
        property, //
    },
    ContextTables,
    Device,
    Domain as DomainRecord,
    Error as StateError,
    Features,
    Hwpt,
    Index,
    Iommufd as IndexRecord,
    Key,
    PciAddress,
    RequesterIds,
    RunGroup,
    RunList,
    RunListRecord,
    State,
    Tree,
    Unit, //
};

/// What identifies a domain: the number of its iommufd, and its own number there.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct DomainKey {
    /// The iommufd that owned it.
    pub(crate) owner: u64,
    /// Its number in the state of the iommufd.
    pub(crate) number: u32,
}

/// A domain that was restored.
///
/// It is freed when neither a group nor a HWPT uses it and its session wants nothing of it any
/// more, see `retrieved.rs`.
#[derive(Clone, Copy)]
pub(crate) struct RestoredDomain {
    /// What the state calls it.
    pub(crate) key: DomainKey,
    /// The domain.
    pub(crate) domain: Domain,
    /// How many groups it is attached to.
    pub(crate) users: u32,
    /// Whether an object in an iommufd stands for it.
    pub(crate) has_hwpt: bool,
}

/// What this kernel has made of the state so far.
#[derive(Default)]
pub(crate) struct Progress {
    /// The iommufds whose devices go on, with the register bases of the units.
    pub(crate) adopted: KVec<(u64, u64)>,
    /// Pages of the hardware's tables that the hardware does not read any more.
    pub(crate) retired: KVVec<u64>,
    /// Devices whose translation could not go on.
    pub(crate) rejected: KVec<PciAddress>,
    /// Devices that have got another translation, or are gone.
    pub(crate) left: KVec<PciAddress>,
    /// The domains that were restored.
    pub(crate) domains: KVec<RestoredDomain>,
    /// The domains that were given back, restored or not.
    pub(crate) gone: KVec<DomainKey>,
    /// The iommufds that were retrieved.
    pub(crate) retrieved: KVec<Retrieved>,
}

impl Progress {
    /// Whether the devices of the iommufd `owner` go on that are behind the unit at
    /// `register_base`.
    pub(crate) fn has_adopted(&self, owner: u64, register_base: u64) -> bool {
        self.adopted.contains(&(owner, register_base))
    }

    /// Whether devices of the iommufd `owner` go on.
    pub(crate) fn has_adopted_any(&self, owner: u64) -> bool {
        self.adopted.iter().any(|(adopted, _)| *adopted == owner)
    }

    /// Finds a restored domain.
    pub(crate) fn domain(&mut self, key: DomainKey) -> Option<&mut RestoredDomain> {
        self.domains.iter_mut().find(|d| d.key == key)
    }

    /// Notes that a domain is being given back, which happens once.
    ///
    /// Returns what was restored, if anything.
    ///
    /// # Errors
    ///
    /// `EALREADY` if that happened before, `ENOMEM`.
    pub(crate) fn give_back(&mut self, key: DomainKey) -> Result<Option<RestoredDomain>> {
        if self.gone.contains(&key) {
            return Err(EALREADY);
        }
        self.gone.push(key, GFP_KERNEL)?;

        let index = self.domains.iter().position(|d| d.key == key);
        Ok(index.and_then(|index| self.domains.remove(index).ok()))
    }
}

/// The state of the previous kernel.
#[pin_data]
pub(crate) struct Incoming {
    /// The block with the index, which may be anything at all.
    index: RestoredBytes,
    /// How much of it is the index, all of it if that is not known.
    len: usize,
    /// Why the index leads to nothing, if so.
    error: Option<StateError>,
    /// What it leads to.
    iommufds: KVec<Iommufd>,
    /// What this kernel has made of it.
    #[pin]
    pub(crate) progress: Mutex<Progress>,
}

/// An iommufd of the previous kernel.
pub(crate) struct Iommufd {
    /// What the index says about it.
    record: IndexRecord,
    /// The pages of its page tables, unless the list is damaged or lost.
    run_list: Option<run_list::Incoming>,
    /// The records in its state, or why there are none.
    records: core::result::Result<Records, StateError>,
}

/// The records of a state that was found to be sound.
pub(crate) struct Records {
    owner: u64,
    units: KVec<OwnedUnit>,
    domains: KVec<DomainRecord>,
    devices: KVec<OwnedDevice>,
    hwpts: KVec<Hwpt>,
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

/// Gives access to the state at the physical address `phys`, where it lies.
///
/// # Errors
///
/// `ENOENT` or `EINVAL` if no block of the size was preserved there.
pub(crate) fn state_at(phys: u64, size: usize) -> Result<PreservedRef> {
    // SAFETY: What is preserved there is restored by this subsystem only when its session is
    // finished, which waits for the lock of the progress or calls this itself, or is not for this
    // subsystem. Then it is a page of a file, which nobody can have retrieved before the state was
    // read, at boot.
    unsafe { PreservedRef::from_phys(phys, size) }
}

impl Incoming {
    /// Reads the index at the physical address `phys`, and everything that it leads to.
    ///
    /// What is damaged, or meant for another kernel, is kept as such: whoever depends on it fails
    /// closed.
    ///
    /// # Errors
    ///
    /// `ENOENT` or `EINVAL` if no block of the right size was preserved there, `ENOMEM`.
    pub(crate) fn new(phys: u64) -> Result<Arc<Self>> {
        // SAFETY: The FLB is retrieved once, and nothing else knows of its block.
        let block = unsafe { RestoredBytes::from_phys(phys, STATE_SIZE) }.inspect_err(|e| {
            pr_err!("no state was preserved at {:#x} ({:?})\n", phys, e);
        })?;
        let mut iommufds = KVec::new();
        let (error, len) = match Index::parse(&block, Features::SUPPORTED) {
            Ok(index) => {
                for record in index.iommufds().filter_map(Result::ok) {
                    iommufds.push(Iommufd::new(record)?, GFP_KERNEL)?;
                }
                if let Some(e) = index.iommufds().find_map(Result::err) {
                    pr_err!("a node of the index is rejected: {}\n", format_args!("{e}"));
                }
                // What is damaged must not take away what belongs to another one.
                for iommufd in &mut iommufds {
                    iommufd.recover_run_list()?;
                }
                reject_conflicts(&mut iommufds)?;
                (None, index.as_bytes().len())
            }
            Err(e) => {
                pr_err!(
                    "the state of the previous kernel is rejected: {}\n",
                    format_args!("{e}")
                );
                (Some(e), STATE_SIZE)
            }
        };

        Arc::pin_init(
            pin_init!(Self {
                index: block,
                len,
                error,
                iommufds,
                progress <- new_mutex!(Progress::default()),
            }),
            GFP_KERNEL,
        )
    }

    /// The index.
    pub(crate) fn index(&self) -> &[u8] {
        self.index.get(..self.len).unwrap_or(&self.index)
    }

    /// Why the index leads to nothing, if so.
    pub(crate) fn error(&self) -> Option<StateError> {
        self.error
    }

    /// Iterates over all iommufds.
    pub(crate) fn iommufds(&self) -> impl Iterator<Item = &Iommufd> {
        self.iommufds.iter()
    }

    /// Finds the iommufd whose state is at the physical address `state`. If several nodes of the
    /// index lead there, it is the one that the state knows of.
    pub(crate) fn iommufd_at(&self, state: u64) -> Option<&Iommufd> {
        let found = || self.iommufds.iter().filter(|i| i.record.state == state);

        found()
            .find(|i| i.records.is_ok())
            .or_else(|| found().next())
    }

    /// Finds the iommufd with this run list among those whose state was rejected.
    pub(crate) fn rejected_with(&self, run_list: &RunListRecord) -> Option<&Iommufd> {
        self.iommufds
            .iter()
            .find(|i| i.records.is_err() && i.run_list() == Some(*run_list))
    }

    /// Finds the records of the iommufd `owner`.
    pub(crate) fn records(&self, owner: u64) -> Option<&Records> {
        self.iommufds()
            .filter_map(|i| i.records().ok())
            .find(|r| r.owner == owner)
    }

    /// Finds a domain.
    pub(crate) fn domain(&self, key: DomainKey) -> Option<DomainRecord> {
        self.records(key.owner)?.domain(key.number)
    }

    /// Finds the pages of a domain's tables.
    pub(crate) fn runs(&self, key: DomainKey) -> Option<RunGroup<'_>> {
        let domain = self.domain(key)?;
        let is_it = |i: &&Iommufd| i.records().is_ok_and(|r| r.owner == key.owner);

        self.iommufds().find(is_it)?.runs()?.group(domain.runs)
    }

    /// Finds the device at `address`, if it goes on, and the records with it.
    pub(crate) fn device(&self, address: PciAddress) -> Option<(&Records, Device<'_>)> {
        let progress = self.progress.lock();

        self.iommufds()
            .filter_map(|i| i.records().ok())
            .flat_map(|r| r.devices().map(move |d| (r, d)))
            .filter(|(_, d)| d.address == address)
            .find(|(r, d)| progress.has_adopted(r.owner, d.unit))
    }
}

impl Iommufd {
    /// Reads the state that `record` leads to.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    fn new(record: IndexRecord) -> Result<Self> {
        let mut run_list = None;
        let records = read(&record, &mut run_list)?;

        if let Err(e) = &records {
            pr_err!(
                "the state of iommufd {} is rejected: {}\n",
                record.owner,
                format_args!("{e}")
            );
        }
        Ok(Self {
            record,
            run_list,
            records,
        })
    }

    /// Looks for the run list of a state that was rejected, unless for what is in that list.
    fn recover_run_list(&mut self) -> Result {
        if self.records.as_ref().is_err_and(|e| e.is_about_tables()) {
            return Ok(());
        }
        if self.run_list.is_none() {
            self.run_list = find_run_list(&self.record.run_list, false)?;
        }
        let blob = self.state().ok();
        let record = blob.and_then(|blob| decode::run_list(&blob));
        // The index and the state may know of one copy each.
        let is_other = |record: &RunListRecord| *record != self.record.run_list;

        if let Some(record) = record.filter(|r| self.records.is_err() && is_other(r)) {
            let found = find_run_list(&record, false)?;

            if self.run_list.is_none() {
                self.run_list = found;
            }
        }
        Ok(())
    }

    /// The records in its state, or why there are none.
    pub(crate) fn records(&self) -> core::result::Result<&Records, StateError> {
        self.records.as_ref().map_err(|e| *e)
    }

    /// The pages of its page tables, [`None`] if that is not known.
    pub(crate) fn runs(&self) -> Option<RunList<'_>> {
        self.run_list.as_ref().map(run_list::Incoming::get)
    }

    /// Where its run list is, [`None`] if that is not known.
    pub(crate) fn run_list(&self) -> Option<RunListRecord> {
        self.run_list.as_ref().map(run_list::Incoming::record)
    }

    /// Gives access to its state.
    ///
    /// # Errors
    ///
    /// `ENOENT` or `EINVAL` if no block of the size is preserved there, or not any more.
    pub(crate) fn state(&self) -> Result<PreservedRef> {
        let size = usize::try_from(self.record.size).map_err(|_| EINVAL)?;

        state_at(self.record.state, size)
    }
}

/// Rejects the states that claim what another one claims: the number of the iommufd, or a page of the
/// page tables. Nobody knows to whom it belongs.
fn reject_conflicts(iommufds: &mut KVec<Iommufd>) -> Result {
    if is_trusting() {
        return Ok(());
    }
    let mut claims = KVVec::new();
    for (who, iommufd) in (0u32..).zip(iommufds.iter()) {
        for claim in iommufd.runs().into_iter().flat_map(hardware::page_claims) {
            claims.push((who, claim), GFP_KERNEL)?;
        }
    }
    let mut keys = KVVec::from_elem(Key::default(), claims.len(), GFP_KERNEL)?;
    let mut reasons = KVec::from_elem(None, iommufds.len(), GFP_KERNEL)?;

    let same_page = StateError::Duplicate(property::RUNS);
    hardware::conflicts(&mut keys, claims.iter().copied(), |a, b| {
        for who in [a, b] {
            if let Some(reason) = reasons.get_mut(who as usize) {
                *reason = Some(same_page);
            }
        }
    })
    .map_err(|_| EINVAL)?;

    let owner = |i: &Iommufd| i.records().ok().map(|r| r.owner);
    for (index, reason) in reasons.iter_mut().enumerate() {
        let own = iommufds.get(index).and_then(owner);
        let same = iommufds.iter().filter(|i| own.is_some() && owner(i) == own);

        if same.count() > 1 {
            *reason = Some(StateError::Duplicate(property::OWNER));
        }
    }

    for (iommufd, reason) in iommufds.iter_mut().zip(reasons) {
        let Some(reason) = reason else {
            continue;
        };
        pr_err!(
            "the state of iommufd {} is rejected: {}\n",
            iommufd.record.owner,
            format_args!("{reason}")
        );
        iommufd.records = Err(reason);
        if reason == same_page {
            iommufd.run_list = None;
        }
    }
    Ok(())
}

/// Reads the state that `record` leads to, and takes over its run list if both say the same of it.
///
/// # Errors
///
/// `ENOMEM`. What is wrong is in the inner result.
fn read(
    record: &IndexRecord,
    run_list: &mut Option<run_list::Incoming>,
) -> Result<core::result::Result<Records, StateError>> {
    let size = usize::try_from(record.size).unwrap_or(usize::MAX);
    let Ok(blob) = state_at(record.state, size) else {
        return Ok(Err(StateError::Dangling(property::STATE)));
    };
    let state = match State::parse(&blob, Features::SUPPORTED) {
        Ok(state) => state,
        Err(e) => return Ok(Err(e)),
    };

    if state.owner() != record.owner && !is_trusting() {
        return Ok(Err(StateError::Conflict(property::OWNER)));
    }
    if state.run_list() != record.run_list {
        return Ok(Err(StateError::Conflict(property::RUN_LIST)));
    }
    *run_list = find_run_list(&record.run_list, true)?;
    let Some(list) = run_list else {
        return Ok(Err(StateError::Dangling(property::RUN_LIST)));
    };
    match check_state(state, &list.get())? {
        Err(_) if is_trusting() => Ok(Ok(Records::new(&state)?)),
        Ok(state) if !state.are_hwpts_known() => Ok(Err(StateError::Dangling(schema::HWPT))),
        Ok(state) => Ok(Ok(Records::new(&state)?)),
        Err(e) if e.is_about_tables() => {
            // Nobody knows which of the two is right.
            *run_list = None;
            Ok(Err(e))
        }
        Err(e) => Ok(Err(e)),
    }
}

/// Takes over a run list, if it is one, see [`run_list::Incoming::new`].
///
/// # Errors
///
/// `ENOMEM`.
pub(crate) fn find_run_list(
    record: &RunListRecord,
    is_certain: bool,
) -> Result<Option<run_list::Incoming>> {
    match run_list::Incoming::new(record, is_certain) {
        Ok(list) => Ok(Some(list)),
        Err(e) if e == ENOMEM => Err(e),
        Err(_) => Ok(None),
    }
}

/// Checks what the nodes of a state that another kernel may have written say together.
///
/// # Errors
///
/// `ENOMEM`. What is wrong with the state is in the inner result.
pub(crate) fn check_state<'a>(
    state: State<'a>,
    runs: &RunList<'_>,
) -> Result<core::result::Result<State<'a>, StateError>> {
    let mut keys = KVVec::from_elem(Key::default(), state.key_count(runs), GFP_KERNEL)?;

    Ok(state.check(runs, &mut keys).map(|()| state))
}

impl Records {
    fn new(state: &State<'_>) -> Result<Self> {
        let mut records = Self {
            owner: state.owner(),
            units: KVec::new(),
            domains: KVec::new(),
            devices: KVec::new(),
            hwpts: KVec::new(),
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
        for hwpt in state.hwpts() {
            records.hwpts.push(hwpt, GFP_KERNEL)?;
        }
        Ok(records)
    }

    /// Finds the domain of the HWPT with the token `token`.
    pub(crate) fn hwpt(&self, token: u64) -> Option<DomainKey> {
        let hwpt = self.hwpts.iter().find(|h| h.token == token)?;

        Some(self.key(hwpt.domain))
    }

    /// What identifies the domain with the number `number`.
    pub(crate) fn key(&self, number: u32) -> DomainKey {
        DomainKey {
            owner: self.owner,
            number,
        }
    }
}

impl Tree for Records {
    fn owner(&self) -> u64 {
        self.owner
    }

    fn units(&self) -> impl Iterator<Item = Unit<'_>> {
        self.units.iter().map(OwnedUnit::get)
    }

    fn domains(&self) -> impl Iterator<Item = DomainRecord> {
        self.domains.iter().copied()
    }

    fn devices(&self) -> impl Iterator<Item = Device<'_>> {
        self.devices.iter().map(OwnedDevice::get)
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
