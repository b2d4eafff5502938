// SPDX-License-Identifier: GPL-2.0

//! Reads the state of all IOMMUs, which the previous kernel wrote and nobody vouches for.

use crate::{
    error::{
        Error,
        Result, //
    },
    records::{
        ContextTables,
        Device,
        Domain,
        PciAddress,
        RequesterIds,
        Unit,
        TABLE_SIZE, //
    },
    schema::{
        self,
        property, //
    }, //
};
use serde_fdt::{
    Fdt,
    Node,
    Property, //
};

/// A state that was checked as a whole.
///
/// # Invariants
///
/// Every node of the tree decodes into its record, every reference between nodes leads somewhere,
/// and no two nodes claim the same identity.
#[derive(Clone, Copy)]
pub struct State<'a> {
    fdt: Fdt<'a>,
}

impl<'a> State<'a> {
    /// Checks `blob`, which may be longer than the state in it.
    ///
    /// # Errors
    ///
    /// What is wrong first, in the order of the variants of [`Error`].
    pub fn parse(blob: &'a [u8]) -> Result<Self> {
        let fdt = Fdt::new(blob)?;

        check_version(fdt.root(), schema::STATE_COMPATIBLE)?;

        // INVARIANT: `check()` goes through all nodes.
        let state = Self { fdt };
        state.check()?;
        Ok(state)
    }

    /// Returns the blob without what may follow it.
    pub fn as_bytes(&self) -> &'a [u8] {
        self.fdt.as_bytes()
    }

    /// Iterates over the units.
    pub fn units(&self) -> impl Iterator<Item = Unit<'a>> {
        self.nodes(schema::IOMMU).filter_map(|n| unit(n).ok())
    }

    /// Iterates over the domains.
    pub fn domains(&self) -> impl Iterator<Item = Domain> + 'a {
        self.nodes(schema::DOMAIN).filter_map(|n| domain(n).ok())
    }

    /// Iterates over the devices.
    pub fn devices(&self) -> impl Iterator<Item = Device<'a>> {
        self.nodes(schema::DEVICE).filter_map(|n| device(n).ok())
    }

    /// Finds the unit whose registers are at `register_base`.
    pub fn unit(&self, register_base: u64) -> Option<Unit<'a>> {
        self.units().find(|u| u.register_base == register_base)
    }

    /// Finds the domain with the number `number`.
    pub fn domain(&self, number: u32) -> Option<Domain> {
        self.domains().find(|d| d.number == number)
    }

    /// Finds the device at `address`.
    pub fn device(&self, address: PciAddress) -> Option<Device<'a>> {
        self.devices().find(|d| d.address == address)
    }

    /// Finds the device of the unit at `register_base` that has the requester id `id`.
    pub fn device_by_requester_id(&self, register_base: u64, id: u16) -> Option<Device<'a>> {
        self.devices()
            .find(|d| d.unit == register_base && d.requester_ids.contains(id))
    }

    fn nodes(&self, base: &'static str) -> impl Iterator<Item = Node<'a>> {
        self.fdt
            .root()
            .children()
            .filter(move |n| n.base_name() == base)
    }

    fn check(&self) -> Result<()> {
        for node in self.nodes(schema::IOMMU) {
            let unit = unit(node)?;

            if self.units().filter(|u| u.register_base == unit.register_base).count() != 1 {
                return Err(Error::Duplicate(schema::IOMMU));
            }
        }
        for node in self.nodes(schema::DOMAIN) {
            let domain = domain(node)?;

            let same = |d: &Domain| d.number == domain.number || d.top_table == domain.top_table;
            if self.domains().filter(same).count() != 1 {
                return Err(Error::Duplicate(schema::DOMAIN));
            }
        }
        for node in self.nodes(schema::DEVICE) {
            self.check_device(&device(node)?)?;
        }
        Ok(())
    }

    fn check_device(&self, device: &Device<'_>) -> Result<()> {
        let unit = self
            .unit(device.unit)
            .ok_or(Error::Dangling(schema::DEVICE))?;

        if self.domain(device.domain).is_none() {
            return Err(Error::Dangling(schema::DEVICE));
        }
        if unit.segment != device.address.segment {
            return Err(Error::Range {
                node: schema::DEVICE,
                property: property::SEGMENT,
            });
        }
        if self.devices().filter(|d| d.address == device.address).count() != 1 {
            return Err(Error::Duplicate(schema::DEVICE));
        }
        for id in device.requester_ids.iter() {
            let [bus, _] = id.to_be_bytes();

            if unit.context_tables.get(bus).is_none() {
                return Err(Error::Dangling(schema::DEVICE));
            }
            let claims = self
                .devices()
                .filter(|d| d.unit == device.unit)
                .flat_map(|d| d.requester_ids.iter())
                .filter(|i| *i == id)
                .count();
            if claims != 1 {
                return Err(Error::Duplicate(schema::DEVICE));
            }
        }
        // Within a unit, a domain id stands for one domain.
        let other = |d: &Device<'_>| {
            d.unit == device.unit
                && (d.domain == device.domain) != (d.domain_id == device.domain_id)
        };
        if self.devices().any(|d| other(&d)) {
            return Err(Error::Duplicate(property::DOMAIN_ID));
        }
        Ok(())
    }
}

/// Checks that a tree is of the format `compatible` and needs nothing that this reader lacks.
pub(crate) fn check_version(root: Node<'_>, compatible: &str) -> Result<()> {
    let found = root.property(property::COMPATIBLE).ok_or(Error::Incompatible)?;

    if found.str() != Ok(compatible) {
        return Err(Error::Incompatible);
    }
    // Version 1 has no features that a reader could be asked for.
    match root.property(property::REQUIRED_FEATURES) {
        Some(features) if !features.bytes().is_empty() => Err(Error::UnknownFeature),
        _ => Ok(()),
    }
}

/// A node whose properties are all required.
pub(crate) struct Fields<'a> {
    pub(crate) node: Node<'a>,
    pub(crate) base: &'static str,
}

impl<'a> Fields<'a> {
    fn get<T>(
        &self,
        name: &'static str,
        value: impl FnOnce(Property<'a>) -> serde_fdt::Result<T>,
    ) -> Result<T> {
        self.node
            .property(name)
            .and_then(|p| value(p).ok())
            .ok_or(Error::Property {
                node: self.base,
                property: name,
            })
    }

    pub(crate) fn u32(&self, name: &'static str) -> Result<u32> {
        self.get(name, Property::u32)
    }

    pub(crate) fn u64(&self, name: &'static str) -> Result<u64> {
        self.get(name, Property::u64)
    }

    fn bytes(&self, name: &'static str) -> Result<&'a [u8]> {
        self.get(name, |p| Ok(p.bytes()))
    }

    fn out_of_range(&self, name: &'static str) -> Error {
        Error::Range {
            node: self.base,
            property: name,
        }
    }

    fn u16(&self, name: &'static str) -> Result<u16> {
        u16::try_from(self.u32(name)?).map_err(|_| self.out_of_range(name))
    }

    /// A physical address of a table, which is never zero.
    fn table(&self, name: &'static str) -> Result<u64> {
        let table = self.u64(name)?;

        if !is_table(table) {
            return Err(self.out_of_range(name));
        }
        Ok(table)
    }

    fn expect(&self, name: &'static str, value: &str) -> Result<()> {
        if self.get(name, Property::str)? != value {
            return Err(Error::Incompatible);
        }
        Ok(())
    }
}

fn is_table(address: u64) -> bool {
    address != 0 && address % TABLE_SIZE == 0
}

fn unit(node: Node<'_>) -> Result<Unit<'_>> {
    let base = schema::IOMMU;
    let f = Fields { node, base };

    f.expect(property::COMPATIBLE, schema::VTD_LEGACY)?;

    let context_tables = ContextTables::from_cells(f.bytes(property::CONTEXT_TABLES)?)
        .filter(|tables| tables.iter().all(|(_, table)| is_table(table)))
        .ok_or(f.out_of_range(property::CONTEXT_TABLES))?;
    let unique = |tables: &ContextTables<'_>| {
        tables.iter().all(|(bus, table)| {
            let same = |(b, t): &(u8, u64)| *b == bus || *t == table;

            tables.iter().filter(same).count() == 1
        })
    };
    // There are 256 buses, so a longer list is refused before it is compared with itself.
    if context_tables.iter().count() > 256 || !unique(&context_tables) {
        return Err(Error::Duplicate(property::CONTEXT_TABLES));
    }

    Ok(Unit {
        register_base: f.u64(property::REGISTER_BASE)?,
        segment: f.u16(property::SEGMENT)?,
        capability: f.u64(property::CAPABILITY)?,
        extended_capability: f.u64(property::EXTENDED_CAPABILITY)?,
        root_table: f.table(property::ROOT_TABLE)?,
        context_tables,
    })
}

fn domain(node: Node<'_>) -> Result<Domain> {
    let base = schema::DOMAIN;
    let f = Fields { node, base };

    f.expect(property::FORMAT, schema::VTD_SECOND_STAGE)?;

    let domain = Domain {
        number: f.u32(property::NUMBER)?,
        top_table: f.table(property::TOP_TABLE)?,
        top_level: f.u32(property::TOP_LEVEL)?,
        input_bits: f.u32(property::INPUT_BITS)?,
        output_bits: f.u32(property::OUTPUT_BITS)?,
        pt_features: f.u32(property::PT_FEATURES)?,
        page_sizes: f.u64(property::PAGE_SIZES)?,
        table_pages: f.u64(property::TABLE_PAGES)?,
    };
    // Second-stage tables have three to five levels of nine bits above a page of twelve.
    if !(2..=4).contains(&domain.top_level) {
        return Err(f.out_of_range(property::TOP_LEVEL));
    }
    if !(31..=57).contains(&domain.input_bits) {
        return Err(f.out_of_range(property::INPUT_BITS));
    }
    if !(32..=52).contains(&domain.output_bits) {
        return Err(f.out_of_range(property::OUTPUT_BITS));
    }
    if domain.table_pages == 0 {
        return Err(f.out_of_range(property::TABLE_PAGES));
    }
    Ok(domain)
}

fn device(node: Node<'_>) -> Result<Device<'_>> {
    let base = schema::DEVICE;
    let f = Fields { node, base };

    let device = Device {
        address: PciAddress {
            segment: f.u16(property::SEGMENT)?,
            requester_id: f.u16(property::ADDRESS)?,
        },
        vendor_device: f.u32(property::VENDOR_DEVICE)?,
        class: f.u32(property::CLASS)?,
        unit: f.u64(property::IOMMU)?,
        requester_ids: RequesterIds::from_cells(f.bytes(property::REQUESTER_IDS)?)
            .ok_or(f.out_of_range(property::REQUESTER_IDS))?,
        domain: f.u32(property::DOMAIN)?,
        domain_id: f.u16(property::DOMAIN_ID)?,
        owner: f.u64(property::OWNER)?,
    };
    if device.requester_ids.iter().next().is_none() {
        return Err(f.out_of_range(property::REQUESTER_IDS));
    }
    Ok(device)
}
