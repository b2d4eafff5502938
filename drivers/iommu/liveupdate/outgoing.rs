// SPDX-License-Identifier: GPL-2.0

//! What this kernel will hand over, in the kernel that ends.
//!
//! Each iommufd has a state of its own, which is written when it is preserved. It is complete: the
//! attachments and the page tables in it are frozen, so that nothing is left to do when the kernel
//! ends but to publish the index, which leads to all of them, see [`sealed`].

use crate::{
    counters::{
        Held,
        KHO_ENTRIES, //
    },
    flb::FLB,
    hooks::{
        self,
        Attachment,
        Device,
        Domain,
        Function, //
    },
    incoming::check_state,
    retrieved,
    run_list,
    sealed,
    tables_hooks::PreservedTables, //
};
use kernel::{
    bindings,
    kho::PreservedBytes,
    new_mutex,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc,
        Mutex, //
    }, //
};
use liveupdate_state::{
    encode,
    index,
    ContextTables,
    Device as DeviceRecord,
    Domain as DomainRecord,
    Features,
    Hwpt,
    Iommufd,
    RequesterIds,
    Root,
    RunList,
    State,
    Unit as UnitRecord, //
};

/// Size of the index in bytes.
pub(crate) const STATE_SIZE: usize = bindings::IOMMU_LIVEUPDATE_STATE_SIZE as usize;

/// One HWPT to preserve, with everything that is attached to it.
pub(crate) struct HwptRequest {
    /// The token that userspace gave to it.
    pub(crate) token: u64,
    /// Its domain, frozen.
    pub(crate) domain: Domain,
    /// The attached devices, frozen.
    pub(crate) devices: KVec<Device>,
}

/// The page tables of a HWPT, preserved before anything is on record. That takes long, and needs no
/// lock: they are frozen.
struct PreservedHwpt<'a> {
    hwpt: &'a HwptRequest,
    /// How the first of its devices is attached.
    attachment: Attachment,
    tables: PreservedTables,
}

impl<'a> PreservedHwpt<'a> {
    fn new(hwpt: &'a HwptRequest) -> Result<Self> {
        let first = hwpt.devices.first().ok_or(ENODATA)?;
        let attachment = Attachment::new(first, hwpt.domain)
            .inspect_err(|e| refuse(first, "its attachment cannot be described", e))?;
        let tables = if hwpt.domain.is_restored() {
            retrieved::preserve_again(hwpt.domain)
                .inspect_err(|e| refuse(first, "its restored page tables are damaged", e))?
        } else {
            hwpt.domain.preserve_tables()?
        };

        Ok(Self {
            hwpt,
            attachment,
            tables,
        })
    }
}

struct PreservedDomain {
    owner: u64,
    token: u64,
    record: DomainRecord,
    tables: PreservedTables,
}

struct PreservedDevice {
    owner: u64,
    device: Device,
    function: Function,
    attachment: Attachment,
    domain: u32,
    /// Its file is preserved as well.
    has_cdev: bool,
}

impl PreservedDevice {
    fn record(&self) -> DeviceRecord<'_> {
        DeviceRecord {
            address: self.function.address,
            vendor_device: self.function.vendor_device,
            class: self.function.class,
            unit: self.unit(),
            requester_ids: RequesterIds::new(self.attachment.requester_ids()),
            domain: self.domain,
            domain_id: self.attachment.domain_id(),
        }
    }

    /// The register base of the unit.
    fn unit(&self) -> u64 {
        let unit = self.attachment.unit();

        unit.record(ContextTables::new(&[])).register_base
    }

    fn uses_page(&self, page: u64) -> bool {
        self.attachment.table_pages().any(|p| p == page)
    }
}

/// The state of one iommufd, and the list of the pages of its page tables.
struct PreservedState {
    owner: u64,
    bytes: PreservedBytes,
    len: usize,
    run_list: run_list::Outgoing,
    required: Features,
    _kho_entry: Held,
}

impl PreservedState {
    fn record(&self) -> Iommufd {
        Iommufd {
            owner: self.owner,
            state: self.bytes.phys(),
            size: self.len as u64,
            run_list: self.run_list.record(),
        }
    }

    fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or(&[])
    }
}

struct Records {
    index: PreservedBytes,
    _kho_entry: Held,
    len: usize,
    states: KVec<PreservedState>,
    domains: KVec<PreservedDomain>,
    devices: KVec<PreservedDevice>,
    next_owner: u64,
}

/// The state that is being preserved.
#[pin_data]
pub(crate) struct Outgoing {
    phys: u64,
    /// The next kernel cannot take the state over, so the devices are stopped.
    stops: Atomic<bool>,
    #[pin]
    records: Mutex<Records>,
}

impl Outgoing {
    /// Allocates an empty index.
    pub(crate) fn new() -> Result<Arc<Self>> {
        let mut records = Records {
            index: PreservedBytes::new(STATE_SIZE)?,
            _kho_entry: KHO_ENTRIES.hold(1),
            len: 0,
            states: KVec::new(),
            domains: KVec::new(),
            devices: KVec::new(),
            next_owner: 0,
        };
        records.write_index()?;

        Arc::pin_init(
            pin_init!(Self {
                phys: records.index.phys(),
                stops: Atomic::new(false),
                records <- new_mutex!(records),
            }),
            GFP_KERNEL,
        )
    }

    /// The physical address of the index.
    pub(crate) fn phys(&self) -> u64 {
        self.phys
    }

    /// Decides whether [`PreservedIommufd::seal`] stops the devices, instead of leaving them to the
    /// next kernel.
    pub(crate) fn set_stops(&self, stops: bool) {
        self.stops.store(stops, Relaxed);
    }

    /// Undoes what was preserved for `owner`.
    fn remove(&self, owner: u64) {
        self.records.lock().remove(owner);
        loop {
            // The lock is not held while the page tables are unpreserved.
            let domain = self.records.lock().take_domain(owner);

            if domain.is_none() {
                break;
            }
        }
    }

    /// Whether nothing is preserved.
    pub(crate) fn is_empty(&self) -> bool {
        self.records.lock().states.is_empty()
    }

    /// What the next kernel has to understand.
    pub(crate) fn required(&self) -> Features {
        self.records.lock().required()
    }

    /// Calls `f` with the index and where it is, and then with the state of each iommufd, where it
    /// is, and its run list.
    pub(crate) fn for_each_blob(&self, mut f: impl FnMut(u64, &[u8], Option<&RunList<'_>>)) {
        let records = self.records.lock();

        f(
            self.phys,
            records.index.get(..records.len).unwrap_or(&[]),
            None,
        );
        for state in &records.states {
            let runs = state.run_list.get();

            f(state.bytes.phys(), state.as_bytes(), Some(&runs));
        }
    }
}

/// More than what a node takes in a state, with all its properties but its lists, in bytes.
const NODE_SIZE: usize = 320;

impl Records {
    fn required(&self) -> Features {
        self.states
            .iter()
            .fold(Features::NONE, |all, state| all.union(state.required))
    }

    /// Writes the index anew.
    fn write_index(&mut self) -> Result {
        let required = self.required();
        let Self { index, states, .. } = self;

        self.len = index::encode(index, required, states.iter().map(PreservedState::record))
            .map_err(|e| {
                pr_warn!("cannot write the index: {}\n", format_args!("{e}"));
                ENOSPC
            })?;
        Ok(())
    }

    /// Writes the state of `owner` and adds it to the index.
    fn write_state(&mut self, owner: u64) -> Result {
        let (run_list, ranges) = run_list::Outgoing::new(self.tables_of(owner))?;
        let domains = self.domains.iter_mut().filter(|d| d.owner == owner);
        for (domain, range) in domains.zip(ranges) {
            domain.record.runs = range;
        }

        let required = features_in_use();
        let mut bytes = PreservedBytes::new(self.state_size(owner)?)?;
        let len = self.encode(&mut bytes, owner, &run_list, required)?;

        // What the next kernel would reject must not get there.
        let state = bytes.get(..len).unwrap_or(&[]);
        let state = State::parse(state, Features::SUPPORTED);
        let check = |state| check_state(state, &run_list.get());
        match state.map_or_else(|e| Ok(Err(e)), check)? {
            Ok(_) => {}
            Err(e) => {
                pr_warn!(
                    "the next kernel would reject the state: {}\n",
                    format_args!("{e}")
                );
                return Err(EOPNOTSUPP);
            }
        }

        self.states.push(
            PreservedState {
                owner,
                bytes,
                len,
                run_list,
                required,
                _kho_entry: KHO_ENTRIES.hold(1),
            },
            GFP_KERNEL,
        )?;
        self.write_index()
    }

    /// The physical address of the state of `owner`.
    fn state_of(&self, owner: u64) -> Option<u64> {
        let state = self.states.iter().find(|s| s.owner == owner)?;

        Some(state.bytes.phys())
    }

    fn tables_of(&self, owner: u64) -> impl Iterator<Item = &PreservedTables> + Clone {
        let domains = self.domains.iter().filter(move |d| d.owner == owner);

        domains.map(|d| &d.tables)
    }

    /// More than the size of the state of `owner` in bytes.
    fn state_size(&self, owner: u64) -> Result<usize> {
        let domains = self.domains.iter().filter(|d| d.owner == owner);
        // A domain, and its HWPT.
        let mut size = domains.count().checked_mul(2 * NODE_SIZE);

        for device in self.devices.iter().filter(|d| d.owner == owner) {
            // A device, perhaps its unit, and for each requester id itself and its context table.
            let ids = device.attachment.requester_ids().len().checked_mul(4 + 16);

            size = size
                .zip(ids)
                .and_then(|(size, ids)| size.checked_add(ids)?.checked_add(2 * NODE_SIZE));
        }
        // The root, and the names of all properties.
        size.and_then(|size| size.checked_add(4 * NODE_SIZE))
            .ok_or(E2BIG)
    }

    fn encode(
        &self,
        buffer: &mut [u8],
        owner: u64,
        run_list: &run_list::Outgoing,
        required: Features,
    ) -> Result<usize> {
        let devices = || self.devices.iter().filter(|d| d.owner == owner);
        let domains = || self.domains.iter().filter(|d| d.owner == owner);
        let units = units(devices)?;
        let root = Root {
            owner,
            run_list: run_list.record(),
            required,
        };

        encode(
            buffer,
            root,
            units.iter().map(UnitInUse::record),
            domains().map(|d| d.record),
            devices().map(PreservedDevice::record),
            domains().map(|d| Hwpt {
                token: d.token,
                domain: d.record.number,
            }),
        )
        .map_err(|e| {
            pr_warn!("cannot write the state: {}\n", format_args!("{e}"));
            ENOSPC
        })
    }

    fn uses_page(&self, page: u64) -> bool {
        self.devices.iter().any(|d| d.uses_page(page))
    }

    fn device(&mut self, device: &Device) -> Option<&mut PreservedDevice> {
        self.devices
            .iter_mut()
            .find(|d| hooks::is_same(&d.device, device))
    }

    fn add_domain(&mut self, owner: u64, number: u32, preserved: PreservedHwpt<'_>) -> Result {
        let PreservedHwpt {
            hwpt,
            attachment,
            tables,
        } = preserved;

        self.domains.push(
            PreservedDomain {
                owner,
                token: hwpt.token,
                record: attachment.domain(number, tables.table_pages()),
                tables,
            },
            GFP_KERNEL,
        )?;
        for device in &hwpt.devices {
            self.add_device(owner, number, hwpt.domain, device)?;
        }
        Ok(())
    }

    fn add_device(&mut self, owner: u64, number: u32, domain: Domain, device: &Device) -> Result {
        let attachment = Attachment::new(device, domain)
            .inspect_err(|e| refuse(device, "its attachment cannot be described", e))?;
        let new = PreservedDevice {
            owner,
            device: device.clone(),
            function: Function::of(device)?,
            attachment,
            domain: number,
            has_cdev: false,
        };

        // The state has one domain id for the domain of a device, and a domain is restored once.
        if self
            .devices
            .iter()
            .any(|d| (d.owner, d.domain) == (owner, number) && d.unit() != new.unit())
        {
            refuse(device, "its domain spans several IOMMU units", &EOPNOTSUPP);
            return Err(EOPNOTSUPP);
        }

        self.devices.reserve(1, GFP_KERNEL)?;
        self.preserve_pages(&attachment)?;
        hooks::set_dma_preserved(device, true);
        self.devices.push(new, GFP_KERNEL)?;
        Ok(())
    }

    /// Preserves those pages of the hardware's tables that no other device has preserved.
    fn preserve_pages(&self, attachment: &Attachment) -> Result {
        for (done, page) in attachment.table_pages().enumerate() {
            if self.uses_page(page) {
                continue;
            }
            // SAFETY: The driver says that this is one of its table pages.
            if let Err(e) = unsafe { hooks::preserve_page(page) } {
                self.unpreserve_pages(attachment, done);
                return Err(e);
            }
        }
        Ok(())
    }

    /// Unpreserves those of the first `count` pages that no device uses any more.
    fn unpreserve_pages(&self, attachment: &Attachment, count: usize) {
        for page in attachment.table_pages().take(count) {
            if !self.uses_page(page) {
                // SAFETY: The page was preserved for a device that is no longer on record.
                unsafe { hooks::unpreserve_page(page) };
            }
        }
    }

    /// Undoes what was preserved for `owner` but for its page tables, see
    /// [`take_domain`](Self::take_domain).
    fn remove(&mut self, owner: u64) {
        self.states.retain(|s| s.owner != owner);
        // What remains needs less room than before.
        if self.write_index().is_err() {
            self.len = 0;
        }
        while let Some(index) = self.devices.iter().position(|d| d.owner == owner) {
            let Ok(gone) = self.devices.remove(index) else {
                break;
            };
            hooks::set_dma_preserved(&gone.device, false);
            self.unpreserve_pages(&gone.attachment, usize::MAX);
        }
    }

    /// Removes a domain of `owner`. Its page tables stay preserved as long as the returned value
    /// exists.
    fn take_domain(&mut self, owner: u64) -> Option<PreservedDomain> {
        let index = self.domains.iter().position(|d| d.owner == owner)?;

        self.domains.remove(index).ok()
    }
}

/// A unit with the context tables that preserved devices use.
struct UnitInUse {
    unit: hooks::Unit,
    context_tables: KVec<(u8, u64)>,
}

impl UnitInUse {
    fn record(&self) -> UnitRecord<'_> {
        self.unit.record(ContextTables::new(&self.context_tables))
    }

    fn register_base(&self) -> u64 {
        self.record().register_base
    }
}

/// The units that the devices use.
fn units<'a, I>(devices: impl Fn() -> I) -> Result<KVec<UnitInUse>>
where
    I: Iterator<Item = &'a PreservedDevice>,
{
    let mut units: KVec<UnitInUse> = KVec::new();

    for device in devices() {
        let reg = device.unit();

        if units.iter().any(|u| u.register_base() == reg) {
            continue;
        }
        let mut context_tables = KVec::new();
        for device in devices().filter(|d| d.unit() == reg) {
            for table in device.attachment.context_tables() {
                if !context_tables.contains(&table) {
                    context_tables.push(table, GFP_KERNEL)?;
                }
            }
        }
        let unit = device.attachment.unit();
        units.push(
            UnitInUse {
                unit,
                context_tables,
            },
            GFP_KERNEL,
        )?;
    }
    Ok(units)
}

/// What this kernel makes use of in what it writes.
fn features_in_use() -> Features {
    if hooks::uses_test_feature() {
        Features::TEST
    } else {
        Features::NONE
    }
}

fn refuse(device: &Device, why: &str, error: &Error) {
    dev_warn!(device, "cannot be preserved: {} ({:?})\n", why, error);
}

/// What was preserved for one iommufd. Dropping it undoes that.
pub(crate) struct PreservedIommufd {
    outgoing: Arc<Outgoing>,
    owner: u64,
    state: u64,
}

/// Preserves the page tables of `hwpts` and the attachments of their devices, all or nothing.
///
/// # Errors
///
/// `EOPNOTSUPP` if this version cannot preserve one of the attachments, `ENOSPC` if there are too
/// many iommufds, `E2BIG` if there is too much for one, `ENODATA` if nothing is attached to one of
/// the HWPTs, `ENOMEM`.
///
/// # Context
///
/// Process context, in a callback of a file handler that depends on [`FLB`]. Takes the lock of the
/// outgoing state.
pub(crate) fn preserve(hwpts: &[HwptRequest]) -> Result<PreservedIommufd> {
    let guard = FLB.outgoing()?;
    let outgoing: Arc<Outgoing> = guard.get().into();

    let mut preserved = KVec::with_capacity(hwpts.len(), GFP_KERNEL)?;
    for hwpt in hwpts {
        preserved.push(PreservedHwpt::new(hwpt)?, GFP_KERNEL)?;
    }

    let mut records = outgoing.records.lock();
    let owner = records.next_owner;
    records.next_owner = owner.checked_add(1).ok_or(ENOSPC)?;

    let add_all = |records: &mut Records| -> Result<u64> {
        for (number, preserved) in (0u32..).zip(preserved) {
            records.add_domain(owner, number, preserved)?;
        }
        records.write_state(owner)?;
        records.state_of(owner).ok_or(EINVAL)
    };
    let state = add_all(&mut records);
    drop(records);
    let state = state.inspect_err(|_| outgoing.remove(owner))?;

    Ok(PreservedIommufd {
        outgoing,
        owner,
        state,
    })
}

impl PreservedIommufd {
    /// The physical address of the state, by which the next kernel knows the iommufd.
    pub(crate) fn state(&self) -> u64 {
        self.state
    }
}

impl Drop for PreservedIommufd {
    fn drop(&mut self) {
        self.outgoing.remove(self.owner);
    }
}

/// The file of a device that was preserved. Dropping it undoes that.
pub(crate) struct PreservedCdev {
    outgoing: Arc<Outgoing>,
    device: Device,
}

/// Notes that the file of `device` is preserved.
///
/// # Errors
///
/// `EINVAL` unless the device is attached to a HWPT that is preserved, `EBUSY` if there is another
/// such file.
pub(crate) fn preserve_cdev(device: &Device) -> Result<PreservedCdev> {
    let guard = FLB.outgoing()?;
    let outgoing: Arc<Outgoing> = guard.get().into();
    let mut records = outgoing.records.lock();

    let preserved = records.device(device).ok_or(EINVAL)?;
    if preserved.has_cdev {
        return Err(EBUSY);
    }
    preserved.has_cdev = true;
    drop(records);

    Ok(PreservedCdev {
        outgoing,
        device: device.clone(),
    })
}

impl Drop for PreservedCdev {
    fn drop(&mut self) {
        if let Some(preserved) = self.outgoing.records.lock().device(&self.device) {
            preserved.has_cdev = false;
        }
    }
}

impl PreservedIommufd {
    /// Makes the state what this kernel obeys at its end, see [`sealed`], or sees to it that its
    /// devices are stopped then.
    ///
    /// Called when an iommufd is frozen. From then on nothing is preserved or unpreserved until
    /// [`unseal`](Self::unseal).
    ///
    /// # Errors
    ///
    /// `EINVAL` if one of its devices is not preserved as a file: nobody could get it back.
    pub(crate) fn seal(&self) -> Result {
        self.check_cdevs()?;
        if self.outgoing.stops.load(Relaxed) {
            self.set_dma_preserved(false);
            sealed::publish_stop();
        } else {
            sealed::publish(self.outgoing.phys());
        }
        Ok(())
    }

    /// Undoes [`seal`](Self::seal), because the kernel goes on after all.
    pub(crate) fn unseal(&self) {
        sealed::withdraw();
        self.set_dma_preserved(true);
    }

    /// Decides whether the devices may do DMA beyond the end of this kernel.
    fn set_dma_preserved(&self, preserved: bool) {
        let records = self.outgoing.records.lock();

        for device in records.devices.iter().filter(|d| d.owner == self.owner) {
            hooks::set_dma_preserved(&device.device, preserved);
        }
    }

    fn check_cdevs(&self) -> Result {
        let records = self.outgoing.records.lock();
        let mut devices = records.devices.iter().filter(|d| d.owner == self.owner);

        match devices.find(|d| !d.has_cdev) {
            Some(orphan) => {
                refuse(
                    &orphan.device,
                    "its VFIO device file is not in the session",
                    &EINVAL,
                );
                Err(EINVAL)
            }
            None => Ok(()),
        }
    }
}
