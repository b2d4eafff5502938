// SPDX-License-Identifier: GPL-2.0

//! Safe wrappers of what the live update code asks of C.
//!
//! Together with `exports.rs` and the other `*_hooks.rs`, the only place that knows of raw pointers.
//!
//! C header: `drivers/iommu/liveupdate/hooks.h`

use crate::{
    counters,
    tables_hooks::{
        account,
        claim_pages,
        preserved_pages, //
    }, //
};
use core::{
    iter,
    ptr::{
        self,
        NonNull, //
    },
    sync::atomic::Ordering, //
};
use kernel::{
    bindings,
    device,
    error::{
        from_err_ptr,
        to_result, //
    },
    page::PAGE_SIZE,
    prelude::*,
    sync::aref::ARef, //
};
use liveupdate_state::{
    hardware,
    page_table,
    runs,
    vtd,
    Domain as DomainRecord,
    PciAddress,
    Run,
    RunRange, //
};

/// A device, with a reference to it.
pub(crate) type Device = ARef<device::Device>;

/// Returns the pointer for C.
pub(crate) fn as_raw(device: &device::Device) -> *mut bindings::device {
    // CAST: `device::Device` is a transparent wrapper of the C structure.
    ptr::from_ref(device).cast_mut().cast()
}

/// Whether both are the same device.
pub(crate) fn is_same(a: &device::Device, b: &device::Device) -> bool {
    ptr::eq(as_raw(a), as_raw(b))
}

/// A paging domain of the IOMMU core.
///
/// # Invariants
///
/// The pointer is valid as long as whoever handed this out keeps the domain alive: iommufd for one
/// that it froze, `restore.rs` for one that it allocated.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Domain(NonNull<bindings::iommu_domain>);

// SAFETY: Domains are not tied to a thread.
unsafe impl Send for Domain {}

// SAFETY: Only the functions below look behind the pointer; they take locks of their own or are
// covered by the invariants.
unsafe impl Sync for Domain {}

impl Domain {
    /// Wraps a pointer from C.
    ///
    /// # Safety
    ///
    /// The domain must be alive as long as the value and its copies are used.
    pub(crate) unsafe fn from_raw(domain: NonNull<bindings::iommu_domain>) -> Self {
        // INVARIANT: By the safety requirement.
        Self(domain)
    }

    /// Returns the pointer for C.
    pub(crate) fn as_ptr(self) -> *mut bindings::iommu_domain {
        self.0.as_ptr()
    }

    /// Whether the domain stands for page tables of the previous kernel.
    pub(crate) fn is_restored(self) -> bool {
        // SAFETY: The domain is alive, and the field does not change after it was allocated.
        unsafe { (*self.as_ptr()).restored }
    }

    /// Describes the page tables.
    ///
    /// # Errors
    ///
    /// `EOPNOTSUPP` if their format is none that is known here.
    pub(crate) fn describe(self) -> Result<DomainRecord> {
        let mut record = pin_init::zeroed();

        // SAFETY: The domain is alive, and `record` is a valid out pointer.
        to_result(unsafe {
            bindings::iommu_liveupdate_describe_domain(self.as_ptr(), &mut record)
        })?;
        Ok(domain_record(&record, 0, 0))
    }

    /// Allocates an immutable domain for the page tables to which the previous kernel attached
    /// `device`.
    ///
    /// # Errors
    ///
    /// `EINVAL` if the driver would not build such tables for the device, `ENOMEM`.
    pub(crate) fn restore(
        device: &device::Device,
        tables: &DomainRecord,
        domain_id: u16,
    ) -> Result<Self> {
        let record = bindings::iommu_liveupdate_device {
            domain: bindings::iommu_liveupdate_domain {
                top_table: tables.top_table,
                page_sizes: tables.page_sizes,
                top_level: tables.top_level,
                input_bits: tables.input_bits,
                output_bits: tables.output_bits,
                pt_flags: tables.pt_flags,
            },
            domain_id,
            ..pin_init::zeroed()
        };
        // SAFETY: The device has been probed by the IOMMU core, and the record is valid.
        let domain = from_err_ptr(unsafe {
            bindings::iommu_liveupdate_alloc_domain(as_raw(device), &record)
        })?;

        // INVARIANT: The domain lives until `free()`.
        Ok(Self(NonNull::new(domain).ok_or(ENOMEM)?))
    }

    /// Frees a domain that [`restore`](Self::restore) returned, but not its page tables.
    ///
    /// # Safety
    ///
    /// The domain must not be attached, and not be used afterwards.
    pub(crate) unsafe fn free(self) {
        // SAFETY: By the safety requirement.
        unsafe { bindings::iommu_domain_free(self.as_ptr()) };
    }
}

/// How the driver says that a device is attached to its domain.
#[derive(Clone, Copy)]
pub(crate) struct Attachment(bindings::iommu_liveupdate_device);

impl Attachment {
    /// Asks the IOMMU driver of `device`, which must be attached to `domain`.
    ///
    /// # Errors
    ///
    /// `EOPNOTSUPP` if the driver could not go on with it in the next kernel, `EINVAL` if the
    /// device is attached elsewhere, `E2BIG` if it has too many aliases.
    pub(crate) fn new(device: &device::Device, domain: Domain) -> Result<Self> {
        let mut record = pin_init::zeroed();

        // SAFETY: The device is attached by iommufd, so it has been probed by the IOMMU core; the
        // domain is alive, and `record` is a valid out pointer.
        to_result(unsafe {
            bindings::iommu_liveupdate_preserve_device(as_raw(device), domain.as_ptr(), &mut record)
        })?;
        Ok(Self(record))
    }

    /// The unit that translates for the device.
    pub(crate) fn unit(&self) -> Unit {
        Unit(self.0.unit)
    }

    /// The domain id (DID) in the hardware entries.
    pub(crate) fn domain_id(&self) -> u16 {
        self.0.domain_id
    }

    /// All requester ids of the device.
    pub(crate) fn requester_ids(&self) -> &[u16] {
        let nr = usize::from(self.0.nr_requester_ids);

        self.0.requester_ids.get(..nr).unwrap_or(&[])
    }

    /// The context tables of the device, as pairs of a bus number and a physical address, one for
    /// each bus.
    pub(crate) fn context_tables(&self) -> impl Iterator<Item = (u8, u64)> + '_ {
        let buses = || self.requester_ids().iter().map(|id| id.to_be_bytes()[0]);

        buses()
            .zip(self.0.context_tables.iter().copied())
            .enumerate()
            .filter(move |(i, (bus, _))| !buses().take(*i).any(|b| b == *bus))
            .map(|(_, table)| table)
    }

    /// Every page of the hardware's tables that the device depends on.
    pub(crate) fn table_pages(&self) -> impl Iterator<Item = u64> + '_ {
        let root = self.0.unit.root_table;

        Iterator::chain(
            iter::once(root),
            self.context_tables().map(|(_, table)| table),
        )
    }

    /// The page tables of the domain, under the number `number`. Where its pages are is not known
    /// yet.
    pub(crate) fn domain(&self, number: u32, table_pages: u64) -> DomainRecord {
        domain_record(&self.0.domain, number, table_pages)
    }
}

fn domain_record(
    domain: &bindings::iommu_liveupdate_domain,
    number: u32,
    table_pages: u64,
) -> DomainRecord {
    DomainRecord {
        number,
        top_table: domain.top_table,
        top_level: domain.top_level,
        input_bits: domain.input_bits,
        output_bits: domain.output_bits,
        pt_flags: domain.pt_flags,
        page_sizes: domain.page_sizes,
        table_pages,
        runs: RunRange::default(),
    }
}

/// An IOMMU unit as its driver describes it.
#[derive(Clone, Copy)]
pub(crate) struct Unit(bindings::iommu_liveupdate_unit);

impl Unit {
    /// Wraps the description.
    pub(crate) fn new(unit: bindings::iommu_liveupdate_unit) -> Self {
        Self(unit)
    }

    /// Whether the unit is in scalable mode.
    pub(crate) fn is_scalable(&self) -> bool {
        self.0.scalable_mode
    }

    /// The description in the terms of the state, with `context_tables`.
    pub(crate) fn record<'a>(
        &self,
        context_tables: liveupdate_state::ContextTables<'a>,
    ) -> liveupdate_state::Unit<'a> {
        liveupdate_state::Unit {
            register_base: self.0.register_base,
            segment: self.0.segment,
            capability: self.0.capability,
            extended_capability: self.0.extended_capability,
            root_table: self.0.root_table,
            context_tables,
        }
    }
}

/// The driver's side of a unit that is being taken over.
///
/// # Invariants
///
/// The pointer is valid as long as the value exists.
pub(crate) struct IntelIommu(NonNull<bindings::intel_iommu>);

impl IntelIommu {
    /// Wraps a pointer from C.
    ///
    /// # Safety
    ///
    /// The unit must be alive as long as the value exists.
    pub(crate) unsafe fn from_raw(iommu: NonNull<bindings::intel_iommu>) -> Self {
        // INVARIANT: By the safety requirement.
        Self(iommu)
    }

    /// Keeps a domain id from being given to another domain.
    ///
    /// # Errors
    ///
    /// `ERANGE` if the unit has no such domain id, `ENOSPC` if it is in use.
    pub(crate) fn reserve_domain_id(&self, domain_id: u16) -> Result {
        // SAFETY: The unit is alive by the invariants.
        to_result(unsafe {
            bindings::intel_iommu_liveupdate_reserve_domain_id(self.0.as_ptr(), domain_id)
        })
    }
}

/// What identifies a PCI function.
pub(crate) struct Function {
    pub(crate) address: PciAddress,
    pub(crate) vendor_device: u32,
    pub(crate) class: u32,
}

impl Function {
    /// Identifies `device`.
    ///
    /// # Errors
    ///
    /// `ENODEV` if it is no PCI function.
    pub(crate) fn of(device: &device::Device) -> Result<Self> {
        let mut function: bindings::iommu_liveupdate_function = pin_init::zeroed();

        // SAFETY: The device is alive and `function` is a valid out pointer.
        to_result(unsafe { bindings::iommu_liveupdate_identify(as_raw(device), &mut function) })?;
        Ok(Self {
            address: PciAddress {
                segment: function.segment,
                requester_id: function.requester_id,
            },
            vendor_device: function.vendor_device,
            class: function.class,
        })
    }
}

/// Lets `device` and the bridges above it keep bus mastering at the kexec, or no longer does.
///
/// Does nothing for a device that is no PCI function.
pub(crate) fn set_dma_preserved(device: &device::Device, preserved: bool) {
    if Function::of(device).is_ok() {
        // SAFETY: The device is a PCI function.
        unsafe { bindings::iommu_liveupdate_set_dma_preserved(as_raw(device), preserved) };
    }
}

/// Keeps vfio-pci from resetting, powering down or muting `device`.
///
/// Does nothing for a device that is no PCI function.
pub(crate) fn set_dma_inherited(device: &device::Device) {
    if Function::of(device).is_ok() {
        // SAFETY: The device is a PCI function.
        unsafe { bindings::iommu_liveupdate_set_dma_inherited(as_raw(device)) };
    }
}

/// Clears bus mastering of `device`, which may be on its way out.
///
/// Does nothing for a device that is no PCI function.
pub(crate) fn stop(device: &device::Device) {
    if Function::of(device).is_ok() {
        // SAFETY: The device is a PCI function.
        unsafe { bindings::iommu_liveupdate_stop_device(as_raw(device)) };
    }
}

/// Removes what the previous kernel left in the tables of the hardware for `device`.
pub(crate) fn discard(device: &device::Device) {
    // SAFETY: The device has been probed by the IOMMU core, which calls this code for it.
    unsafe { bindings::iommu_liveupdate_discard(as_raw(device)) };
}

/// Clears bus mastering of the function at `address`, if there is one.
pub(crate) fn stop_function(address: PciAddress) {
    // SAFETY: The function accepts any address.
    unsafe { bindings::iommu_liveupdate_stop_function(address.segment, address.requester_id) };
}

/// Clears bus mastering of every function on a bus that is not a bridge.
pub(crate) fn stop_bus(segment: u16, bus: u8) {
    // SAFETY: The function accepts any number.
    unsafe { bindings::iommu_liveupdate_stop_bus(segment, bus) };
}

/// Clears bus mastering of every function that is not a bridge.
pub(crate) fn stop_all_functions() {
    // SAFETY: The function has no preconditions.
    unsafe { bindings::iommu_liveupdate_stop_all() };
}

/// Whether what is preserved from now on is to require the feature that exists for tests. False
/// unless this kernel supports it.
pub(crate) fn uses_test_feature() -> bool {
    // SAFETY: The function has no preconditions.
    unsafe { bindings::iommu_liveupdate_uses_test_feature() }
}

/// Preserves a page of a hardware table.
///
/// # Errors
///
/// From KHO.
///
/// # Safety
///
/// There must be a page from iommu-pages at `phys`.
pub(crate) unsafe fn preserve_page(phys: u64) -> Result {
    // SAFETY: By the safety requirement.
    to_result(unsafe { bindings::iommu_liveupdate_preserve_pages(phys, 1) })?;
    counters::KHO_ENTRIES.add(1);
    Ok(())
}

/// Undoes [`preserve_page`].
///
/// # Safety
///
/// The page must be one that was preserved.
pub(crate) unsafe fn unpreserve_page(phys: u64) {
    // SAFETY: By the safety requirement.
    unsafe { bindings::iommu_liveupdate_unpreserve_pages(phys, 1) };
    counters::KHO_ENTRIES.sub(1);
}

/// Whether the previous kernel preserved a single page at `phys` that nobody has restored yet.
pub(crate) fn is_preserved_page(phys: u64) -> bool {
    preserved_pages(phys) == Some(1)
}

/// The checksum of `bytes` (XXH64).
pub(crate) fn checksum(bytes: &[u8]) -> u64 {
    // SAFETY: The bytes are initialised.
    unsafe { bindings::xxh64(bytes.as_ptr().cast(), bytes.len(), 0) }
}

/// Makes a page that was preserved on its own one of iommu-pages of this kernel.
///
/// # Errors
///
/// `ENOENT` if there is no such page at `phys`.
pub(crate) fn restore_page(phys: u64) -> Result {
    claim_pages(phys, 1)?;
    account(phys, 1, true);
    Ok(())
}

/// Frees a page of iommu-pages, and removes it from the statistics.
///
/// # Safety
///
/// Nothing may use the page any more.
pub(crate) unsafe fn free_page(phys: u64) {
    // SAFETY: By the safety requirement.
    unsafe { bindings::iommu_liveupdate_free_page(phys) };
}

/// Clears the entry that the previous kernel left for a device that did not come back.
///
/// An entry with another domain id belongs to somebody else, and stays.
pub(crate) fn clear_entry(register_base: u64, requester_id: u16, domain_id: u16) {
    // SAFETY: The function accepts any numbers.
    unsafe {
        bindings::intel_iommu_liveupdate_clear_entry(register_base, requester_id, domain_id);
    }
}

/// Undoes [`IntelIommu::reserve_domain_id`], for the unit whose registers are at `register_base`.
pub(crate) fn release_domain_id(register_base: u64, domain_id: u16) {
    // SAFETY: The function accepts any unit, and a domain id that was reserved.
    unsafe { bindings::intel_iommu_liveupdate_release_domain_id(register_base, domain_id) };
}

/// Lets other tasks run if it is time for that.
pub(crate) fn cond_resched() {
    // SAFETY: Everything in this crate that takes long is in process context.
    unsafe { bindings::iommu_liveupdate_cond_resched() };
}

/// The memory in which the tables of the hardware are.
pub(crate) struct DirectMap;

/// A root or context table in the direct map.
///
/// # Invariants
///
/// The pointer is to a page in the direct map.
pub(crate) struct LiveTable(NonNull<[u64; 2]>);

/// Entries of a table that fills a page.
const ENTRIES: usize = PAGE_SIZE / size_of::<[u64; 2]>();

impl LiveTable {
    fn entry(&self, index: u8) -> *mut [u64; 2] {
        const_assert!(ENTRIES > u8::MAX as usize);

        // SAFETY: By the invariants there are 256 entries.
        unsafe { self.0.as_ptr().add(usize::from(index)) }
    }
}

impl vtd::Memory for DirectMap {
    type Table<'a> = LiveTable;

    fn table(&self, address: u64) -> Option<LiveTable> {
        // SAFETY: The function accepts any address.
        let page = unsafe { bindings::iommu_liveupdate_map_pages(address, 1) };

        // INVARIANT: C returns a page in the direct map or NULL.
        NonNull::new(page.cast()).map(LiveTable)
    }
}

/// A table of a page table in the direct map.
///
/// # Invariants
///
/// The pointer is to a page in the direct map.
#[derive(Clone, Copy)]
pub(crate) struct PageTablePage(NonNull<u64>);

impl page_table::Tables for DirectMap {
    type Table<'a> = PageTablePage;

    fn table(&self, address: u64) -> Option<PageTablePage> {
        // SAFETY: The function accepts any address.
        let page = unsafe { bindings::iommu_liveupdate_map_pages(address, 1) };

        counters::PAGES_WALKED.add(1);
        // INVARIANT: C returns a page in the direct map or NULL.
        NonNull::new(page.cast()).map(PageTablePage)
    }
}

impl page_table::Table for PageTablePage {
    fn entry(&self, index: u16) -> Option<u64> {
        if index >= page_table::ENTRIES {
            return None;
        }
        // SAFETY: By the invariants, the entry is inside the page. Hardware may set bits in it: a
        // volatile read.
        Some(unsafe { self.0.as_ptr().add(usize::from(index)).read_volatile() })
    }
}

/// How many pages are read before other tasks may run.
const BATCH: u64 = 512;

impl runs::Checksum for DirectMap {
    fn pages(&self, run: &Run, checksum: u64) -> Option<u64> {
        // SAFETY: The function accepts any range.
        let first = unsafe { bindings::iommu_liveupdate_map_pages(run.base, run.pages.into()) }
            .cast::<u8>();
        let mut sum = checksum;

        if first.is_null() {
            return None;
        }
        counters::PAGES_CHECKSUMMED.add(run.pages.into());
        for page in 0..u64::from(run.pages) {
            if page % BATCH == 0 {
                cond_resched();
            }
            // SAFETY: C returns as many pages in the direct map, or NULL. Whoever writes to them
            // meanwhile changes nothing but the checksum.
            sum = unsafe {
                let page = first.add(page as usize * PAGE_SIZE);

                bindings::xxh64(page.cast(), PAGE_SIZE, sum)
            };
        }
        Some(sum)
    }
}

impl hardware::Memory for DirectMap {
    fn preserved_pages(&self, address: u64) -> Option<u64> {
        preserved_pages(address)
    }
}

impl vtd::Table for LiveTable {
    fn read(&self, index: u8) -> [u64; 2] {
        // SAFETY: The entry is inside the page. Hardware only sets bits that the caller ignores,
        // and this is a volatile read.
        unsafe { self.entry(index).read_volatile() }
    }

    fn clear(&self, index: u8) {
        let entry = self.entry(index);
        let lo = entry.cast::<u64>();

        // SAFETY: The entry is inside the page. Hardware sees the present bit go before the rest,
        // since the halves are written in order and x86 does not reorder stores.
        unsafe {
            lo.write_volatile(0);
            core::sync::atomic::fence(Ordering::Release);
            lo.add(1).write_volatile(0);
            bindings::iommu_liveupdate_flush_cache(entry.cast(), size_of::<[u64; 2]>());
        }
    }
}
