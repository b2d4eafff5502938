// SPDX-License-Identifier: GPL-2.0

//! The records that a state consists of.

use crate::vtd::ContextEntry;
use core::fmt;

/// Width of a page-table page, a root table and a context table in bytes.
pub const TABLE_SIZE: u64 = 4096;
/// The most bits that a physical address can have.
pub const MAX_ADDRESS_BITS: u32 = 52;

/// The address of a PCI function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PciAddress {
    /// PCI segment (domain).
    pub segment: u16,
    /// Bus in bits 15:8, device in bits 7:3, function in bits 2:0.
    pub requester_id: u16,
}

impl fmt::Display for PciAddress {
    /// Writes the address as the rest of the kernel does, `0000:00:07.0`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [bus, devfn] = self.requester_id.to_be_bytes();
        let (device, function) = (devfn >> 3, devfn & 7);

        write!(
            f,
            "{:04x}:{bus:02x}:{device:02x}.{function:x}",
            self.segment
        )
    }
}

/// One IOMMU unit that translates for preserved devices.
#[derive(Clone, Copy, Debug)]
pub struct Unit<'a> {
    /// Physical address of the registers, which identifies the unit.
    pub register_base: u64,
    /// PCI segment.
    pub segment: u16,
    /// The capability register.
    pub capability: u64,
    /// The extended capability register.
    pub extended_capability: u64,
    /// Physical address of the root table.
    pub root_table: u64,
    /// The context tables that preserved devices use.
    pub context_tables: ContextTables<'a>,
}

impl Unit<'_> {
    /// The same unit with another list of context tables.
    pub fn with_context_tables<'b>(&self, context_tables: ContextTables<'b>) -> Unit<'b> {
        Unit {
            context_tables,
            ..*self
        }
    }
}

/// One set of page tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Domain {
    /// The number that devices and HWPTs refer to.
    pub number: u32,
    /// Physical address of the top table.
    pub top_table: u64,
    /// Level of the top table, counted from 0 at the leaves.
    pub top_level: u32,
    /// Width of the input address in bits.
    pub input_bits: u32,
    /// Width of the output address in bits.
    pub output_bits: u32,
    /// How the page tables were built, see [`pt_flag`](crate::schema::pt_flag).
    pub pt_flags: u32,
    /// Bitmap of the page sizes.
    pub page_sizes: u64,
    /// How many table pages there are.
    pub table_pages: u64,
    /// Where in the run list of its iommufd its group is.
    pub runs: RunRange,
}

/// A part of a run list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RunRange {
    /// The first entry.
    pub first: u32,
    /// How many entries there are.
    pub count: u32,
}

/// Where a run list is, see [`runs`](crate::runs).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunListRecord {
    /// Physical addresses of its two copies.
    pub copies: [u64; 2],
    /// How many entries there are.
    pub entries: u64,
    /// The checksum of the entries.
    pub checksum: u64,
}

/// One iommufd in the index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Iommufd {
    /// The number that tells it apart.
    pub owner: u64,
    /// Physical address of its state.
    pub state: u64,
    /// Size of its state in bytes.
    pub size: u64,
    /// The pages of its page tables.
    pub run_list: RunListRecord,
}

/// One HWPT that userspace marked for preservation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hwpt {
    /// The token that userspace gave to it.
    pub token: u64,
    /// The number of its domain.
    pub domain: u32,
}

/// One device whose DMA goes on.
#[derive(Clone, Copy, Debug)]
pub struct Device<'a> {
    /// Where the function is.
    pub address: PciAddress,
    /// PCI vendor id in the upper, device id in the lower 16 bits.
    pub vendor_device: u32,
    /// PCI class code, 24 bits.
    pub class: u32,
    /// Register base of the unit that translates for the device.
    pub unit: u64,
    /// All requester ids under which the device appears to the unit, aliases included.
    pub requester_ids: RequesterIds<'a>,
    /// The number of the domain.
    pub domain: u32,
    /// The domain id (DID) in the hardware entries.
    pub domain_id: u16,
}

impl Device<'_> {
    /// The same device with another list of requester ids.
    pub fn with_requester_ids<'b>(&self, requester_ids: RequesterIds<'b>) -> Device<'b> {
        Device {
            requester_ids,
            ..*self
        }
    }
}

/// What was preserved for one iommufd.
///
/// The order of what the iterators return has no meaning, and is always the same.
pub trait Tree {
    /// The number of the iommufd.
    fn owner(&self) -> u64;

    /// Iterates over the units that translate for its devices.
    fn units(&self) -> impl Iterator<Item = Unit<'_>>;

    /// Iterates over the page tables.
    fn domains(&self) -> impl Iterator<Item = Domain>;

    /// Iterates over the devices.
    fn devices(&self) -> impl Iterator<Item = Device<'_>>;

    /// Finds the unit whose registers are at `register_base`.
    fn unit(&self, register_base: u64) -> Option<Unit<'_>> {
        self.units().find(|u| u.register_base == register_base)
    }

    /// Finds the domain with the number `number`.
    fn domain(&self, number: u32) -> Option<Domain> {
        self.domains().find(|d| d.number == number)
    }

    /// Iterates over the devices of the unit whose registers are at `register_base`.
    fn devices_of(&self, register_base: u64) -> impl Iterator<Item = Device<'_>> {
        self.devices().filter(move |d| d.unit == register_base)
    }

    /// Whether a device of the unit has the requester id `id` and uses its domain with `entry`.
    fn claims(&self, register_base: u64, id: u16, entry: ContextEntry) -> bool {
        self.devices_of(register_base)
            .filter(|d| d.requester_ids.contains(id))
            .any(|d| {
                self.domain(d.domain)
                    .is_some_and(|domain| entry.matches(&domain, d.domain_id))
            })
    }
}

/// Where a list of numbers lies: in memory of the writer, or as cells in a blob.
#[derive(Clone, Copy, Debug)]
enum Cells<'a, T> {
    Slice(&'a [T]),
    BigEndian(&'a [u8]),
}

/// The context tables of a unit, as pairs of a bus number and a physical address.
#[derive(Clone, Copy, Debug)]
pub struct ContextTables<'a>(Cells<'a, (u8, u64)>);

impl<'a> ContextTables<'a> {
    /// Wraps a list of the writer.
    pub fn new(tables: &'a [(u8, u64)]) -> Self {
        Self(Cells::Slice(tables))
    }

    /// Wraps the value of the property, if it is a list of pairs with valid bus numbers.
    pub(crate) fn from_cells(bytes: &'a [u8]) -> Option<Self> {
        let tables = Self(Cells::BigEndian(bytes));
        let whole = bytes.len() % 16 == 0;

        (whole && tables.iter().count().checked_mul(16) == Some(bytes.len())).then_some(tables)
    }

    /// Iterates over the bus numbers and the addresses.
    pub fn iter(&self) -> ContextTablesIter<'a> {
        ContextTablesIter(self.0)
    }

    /// Returns the physical address of the context table of `bus`.
    pub fn get(&self, bus: u8) -> Option<u64> {
        self.iter().find(|(b, _)| *b == bus).map(|(_, table)| table)
    }
}

/// Iterator over [`ContextTables`].
#[derive(Clone, Debug)]
pub struct ContextTablesIter<'a>(Cells<'a, (u8, u64)>);

impl Iterator for ContextTablesIter<'_> {
    type Item = (u8, u64);

    fn next(&mut self) -> Option<(u8, u64)> {
        match &mut self.0 {
            Cells::Slice(slice) => {
                let (first, rest) = slice.split_first()?;

                *slice = rest;
                Some(*first)
            }
            Cells::BigEndian(bytes) => {
                let (bus, rest) = bytes.split_first_chunk::<8>()?;
                let (table, rest) = rest.split_first_chunk::<8>()?;

                *bytes = rest;
                let bus = u8::try_from(u64::from_be_bytes(*bus)).ok()?;
                Some((bus, u64::from_be_bytes(*table)))
            }
        }
    }
}

/// The requester ids of a device.
#[derive(Clone, Copy, Debug)]
pub struct RequesterIds<'a>(Cells<'a, u16>);

impl<'a> RequesterIds<'a> {
    /// Wraps a list of the writer.
    pub fn new(ids: &'a [u16]) -> Self {
        Self(Cells::Slice(ids))
    }

    /// Wraps the value of the property, if it is a list of 16-bit numbers.
    pub(crate) fn from_cells(bytes: &'a [u8]) -> Option<Self> {
        let ids = Self(Cells::BigEndian(bytes));
        let whole = bytes.len() % 4 == 0;

        (whole && ids.iter().count().checked_mul(4) == Some(bytes.len())).then_some(ids)
    }

    /// Iterates over the requester ids.
    pub fn iter(&self) -> RequesterIdsIter<'a> {
        RequesterIdsIter(self.0)
    }

    /// Whether `id` is one of them.
    pub fn contains(&self, id: u16) -> bool {
        self.iter().any(|i| i == id)
    }
}

/// Iterator over [`RequesterIds`].
#[derive(Clone, Debug)]
pub struct RequesterIdsIter<'a>(Cells<'a, u16>);

impl Iterator for RequesterIdsIter<'_> {
    type Item = u16;

    fn next(&mut self) -> Option<u16> {
        match &mut self.0 {
            Cells::Slice(slice) => {
                let (first, rest) = slice.split_first()?;

                *slice = rest;
                Some(*first)
            }
            Cells::BigEndian(bytes) => {
                let (cell, rest) = bytes.split_first_chunk::<4>()?;

                *bytes = rest;
                u16::try_from(u32::from_be_bytes(*cell)).ok()
            }
        }
    }
}
