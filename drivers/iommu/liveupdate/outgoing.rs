// SPDX-License-Identifier: GPL-2.0

//! What this kernel will hand over, in the kernel that ends.
//!
//! The state is complete whenever nobody is preserving or unpreserving an iommufd: the attachments
//! and the page tables in it are frozen, so that nothing is left to do when the kernel ends but to
//! [`seal`] it.

use crate::{
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
    sealed, //
};
use kernel::{
    bindings,
    kho::PreservedBytes,
    new_mutex,
    prelude::*,
    sync::{
        Arc,
        Mutex, //
    }, //
};
use liveupdate_state::{
    encode,
    ContextTables,
    Device as DeviceRecord,
    Domain as DomainRecord,
    RequesterIds,
    Unit as UnitRecord, //
};

/// Size of the state in bytes.
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

struct PreservedDomain {
    owner: u64,
    domain: Domain,
    record: DomainRecord,
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
            owner: self.owner,
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

struct Records {
    state: PreservedBytes,
    len: usize,
    domains: KVec<PreservedDomain>,
    devices: KVec<PreservedDevice>,
    next_domain: u32,
    next_owner: u64,
}

/// The state that is being preserved.
#[pin_data]
pub(crate) struct Outgoing {
    phys: u64,
    #[pin]
    records: Mutex<Records>,
}

impl Outgoing {
    /// Allocates an empty state.
    pub(crate) fn new() -> Result<Arc<Self>> {
        let mut records = Records {
            state: PreservedBytes::new(STATE_SIZE)?,
            len: 0,
            domains: KVec::new(),
            devices: KVec::new(),
            next_domain: 0,
            next_owner: 0,
        };
        records.encode()?;

        Arc::pin_init(
            pin_init!(Self {
                phys: records.state.phys(),
                records <- new_mutex!(records),
            }),
            GFP_KERNEL,
        )
    }

    /// The physical address of the state.
    pub(crate) fn phys(&self) -> u64 {
        self.phys
    }

    /// Calls `f` with the state as the next kernel would find it now.
    pub(crate) fn with_state<R>(&self, f: impl FnOnce(&[u8]) -> R) -> R {
        let records = self.records.lock();

        f(records.state.get(..records.len).unwrap_or(&[]))
    }
}

impl Records {
    /// Writes the state anew.
    fn encode(&mut self) -> Result {
        let Self {
            state,
            domains,
            devices,
            ..
        } = self;
        let units = units(devices)?;

        self.len = encode(
            state,
            units.iter().map(UnitInUse::record),
            domains.iter().map(|d| d.record),
            devices.iter().map(PreservedDevice::record),
        )
        .map_err(|e| {
            pr_warn!("cannot write the state: {}\n", format_args!("{e}"));
            ENOSPC
        })?;

        // What the next kernel would reject must not get there.
        match check_state(state.get(..self.len).unwrap_or(&[]))? {
            Ok(_) => Ok(()),
            Err(e) => {
                pr_warn!(
                    "the next kernel would reject the state: {}\n",
                    format_args!("{e}")
                );
                Err(EOPNOTSUPP)
            }
        }
    }

    fn uses_page(&self, page: u64) -> bool {
        self.devices.iter().any(|d| d.uses_page(page))
    }

    fn device(&mut self, device: &Device) -> Option<&mut PreservedDevice> {
        self.devices
            .iter_mut()
            .find(|d| hooks::is_same(&d.device, device))
    }

    fn add_domain(&mut self, owner: u64, hwpt: &HwptRequest) -> Result<u32> {
        let number = self.next_domain;
        let first = hwpt.devices.first().ok_or(ENODATA)?;
        let attachment = Attachment::new(first, hwpt.domain)
            .inspect_err(|e| refuse(first, "its attachment cannot be described", e))?;

        self.domains.reserve(1, GFP_KERNEL)?;
        retrieved::own(hwpt.domain)
            .inspect_err(|e| refuse(first, "its restored page tables are damaged", e))?;
        let table_pages = hwpt.domain.preserve_tables()?;
        self.domains.push(
            PreservedDomain {
                owner,
                domain: hwpt.domain,
                record: attachment.domain(number, table_pages),
            },
            GFP_KERNEL,
        )?;
        self.next_domain = number.checked_add(1).ok_or(ENOSPC)?;
        for device in &hwpt.devices {
            self.add_device(owner, number, hwpt.domain, device)?;
        }
        Ok(number)
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
            .any(|d| d.domain == number && d.unit() != new.unit())
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

    /// Undoes what was preserved for `owner`.
    fn remove(&mut self, owner: u64) {
        while let Some(index) = self.devices.iter().position(|d| d.owner == owner) {
            let Ok(gone) = self.devices.remove(index) else {
                break;
            };
            hooks::set_dma_preserved(&gone.device, false);
            self.unpreserve_pages(&gone.attachment, usize::MAX);
        }
        while let Some(index) = self.domains.iter().position(|d| d.owner == owner) {
            let Ok(gone) = self.domains.remove(index) else {
                break;
            };
            gone.domain.unpreserve_tables();
        }
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
}

/// The units that the devices use.
fn units(devices: &[PreservedDevice]) -> Result<KVec<UnitInUse>> {
    let mut units = KVec::new();

    for (index, device) in devices.iter().enumerate() {
        let earlier = devices.get(..index).unwrap_or(&[]);
        let reg = device.unit();

        if earlier.iter().any(|d| d.unit() == reg) {
            continue;
        }
        let mut context_tables = KVec::new();
        for device in devices.iter().filter(|d| d.unit() == reg) {
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

fn refuse(device: &Device, why: &str, error: &Error) {
    dev_warn!(device, "cannot be preserved: {} ({:?})\n", why, error);
}

/// What was preserved for one iommufd. Dropping it undoes that.
pub(crate) struct PreservedIommufd {
    outgoing: Arc<Outgoing>,
    owner: u64,
    domains: KVec<(u64, u32)>,
}

/// Preserves the page tables of `hwpts` and the attachments of their devices, all or nothing.
///
/// # Errors
///
/// `EOPNOTSUPP` if this version cannot preserve one of the attachments, `ENOSPC` if there are too
/// many, `ENODATA` if nothing is attached to one of the HWPTs, `ENOMEM`.
///
/// # Context
///
/// Process context, in a callback of a file handler that depends on [`FLB`]. Takes the lock of the
/// outgoing state.
pub(crate) fn preserve(hwpts: &[HwptRequest]) -> Result<PreservedIommufd> {
    let guard = FLB.outgoing()?;
    let outgoing: Arc<Outgoing> = guard.get().into();
    let mut domains = KVec::with_capacity(hwpts.len(), GFP_KERNEL)?;

    let mut records = outgoing.records.lock();
    let owner = records.next_owner;
    records.next_owner = owner.checked_add(1).ok_or(ENOSPC)?;

    let mut add_all = |records: &mut Records| -> Result {
        for hwpt in hwpts {
            let number = records.add_domain(owner, hwpt)?;

            domains.push((hwpt.token, number), GFP_KERNEL)?;
        }
        records.encode()
    };
    if let Err(e) = add_all(&mut records) {
        records.remove(owner);
        records.encode()?;
        return Err(e);
    }
    drop(records);

    Ok(PreservedIommufd {
        outgoing,
        owner,
        domains,
    })
}

impl PreservedIommufd {
    /// The number that identifies the iommufd in the state.
    pub(crate) fn owner(&self) -> u64 {
        self.owner
    }

    /// The tokens of the HWPTs, with the numbers of their domains in the state.
    pub(crate) fn domains(&self) -> impl Iterator<Item = (u64, u32)> + '_ {
        self.domains.iter().copied()
    }
}

impl Drop for PreservedIommufd {
    fn drop(&mut self) {
        let mut records = self.outgoing.records.lock();

        records.remove(self.owner);
        // What remains needs less room than before.
        if records.encode().is_err() {
            records.len = 0;
        }
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
    /// Makes the state what this kernel obeys at its end, see [`sealed`].
    ///
    /// Called when an iommufd is frozen. From then on nothing is preserved or unpreserved until
    /// [`unseal`].
    ///
    /// # Errors
    ///
    /// `EINVAL` if one of its devices is not preserved as a file: nobody could get it back.
    pub(crate) fn seal(&self) -> Result {
        self.check_cdevs()?;
        sealed::publish(self.outgoing.phys());
        Ok(())
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

/// Undoes [`PreservedIommufd::seal`], because the kernel goes on after all.
pub(crate) fn unseal() {
    sealed::withdraw();
}
