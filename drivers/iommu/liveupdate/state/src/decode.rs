// SPDX-License-Identifier: GPL-2.0

//! Reads the state of one iommufd, which the previous kernel wrote and nobody vouches for.

use crate::{
    error::{
        Error,
        Result, //
    },
    features::{
        Features,
        FEATURES, //
    },
    records::{
        ContextTables,
        Device,
        Domain,
        Hwpt,
        PciAddress,
        RequesterIds,
        RunListRecord,
        RunRange,
        Tree,
        Unit,
        MAX_ADDRESS_BITS,
        TABLE_SIZE, //
    },
    schema::{
        self,
        property, //
    }, //
};
use serde_fdt::{
    Children,
    Fdt,
    Node,
    Properties,
    Property,
    Writer, //
};

/// The state of one iommufd, whose nodes were checked one by one.
///
/// That is enough for a kernel that reads what it wrote itself. In one that reads what another
/// kernel wrote, the nodes may still contradict each other until [`check`](Self::check) says
/// otherwise.
///
/// # Invariants
///
/// Every node of the tree decodes into its record.
#[derive(Clone, Copy)]
pub struct State<'a> {
    fdt: Fdt<'a>,
    owner: u64,
    run_list: RunListRecord,
}

impl<'a> State<'a> {
    /// Checks the nodes of `blob`, which may be longer than the state in it.
    ///
    /// Takes time linear in the size of the state.
    ///
    /// # Errors
    ///
    /// What is wrong first.
    pub fn parse(blob: &'a [u8], supported: Features) -> Result<Self> {
        let fdt = Fdt::new(blob)?;
        let root = fdt.root();

        check_version(root, schema::IOMMUFD_COMPATIBLE, supported)?;

        let mut f = Fields::new(root, schema::IOMMUFD);
        // INVARIANT: The loops go through all nodes.
        let state = Self {
            fdt,
            owner: f.u64(property::OWNER)?,
            run_list: f.run_list()?,
        };
        for node in state.nodes(schema::IOMMU) {
            unit(node)?;
        }
        for node in state.nodes(schema::DOMAIN) {
            domain(node)?;
        }
        for node in state.nodes(schema::DEVICE) {
            device(node)?;
        }
        for node in state.nodes(schema::HWPT) {
            hwpt(node)?;
        }
        Ok(state)
    }

    /// Returns the blob without what may follow it.
    pub fn as_bytes(&self) -> &'a [u8] {
        self.fdt.as_bytes()
    }

    /// Where the run list of the iommufd is.
    pub fn run_list(&self) -> RunListRecord {
        self.run_list
    }

    /// Iterates over the HWPTs.
    pub fn hwpts(&self) -> impl Iterator<Item = Hwpt> + 'a {
        self.nodes(schema::HWPT).filter_map(|n| hwpt(n).ok())
    }

    /// Whether every domain can be asked for, if the nodes do not contradict each other: it has a
    /// HWPT, and the name of its node says the same token.
    ///
    /// Without the token, nobody could release the devices of the domain.
    pub fn are_hwpts_known(&self) -> bool {
        let says_token = |node: Node<'_>| {
            let address = node.unit_address()?;

            Some(u64::from_str_radix(address, 16).ok()? == hwpt(node).ok()?.token)
        };

        self.hwpts().count() == self.domains().count()
            && self
                .nodes(schema::HWPT)
                .all(|n| says_token(n).unwrap_or(false))
    }

    fn nodes(&self, base: &'static str) -> Nodes<'a> {
        Nodes {
            children: self.fdt.root().children(),
            base,
        }
    }
}

/// The nodes of a tree that have one base name.
struct Nodes<'a> {
    children: Children<'a>,
    base: &'static str,
}

impl<'a> Iterator for Nodes<'a> {
    type Item = Node<'a>;

    fn next(&mut self) -> Option<Node<'a>> {
        self.children.find(|n| n.base_name() == self.base)
    }
}

/// Finds the run list in `blob`, a state that may be damaged otherwise or be meant for another
/// reader.
pub fn run_list(blob: &[u8]) -> Option<RunListRecord> {
    let fdt = Fdt::new(blob).ok()?;

    Fields::new(fdt.root(), schema::IOMMUFD).run_list().ok()
}

impl Tree for State<'_> {
    fn owner(&self) -> u64 {
        self.owner
    }

    fn units(&self) -> impl Iterator<Item = Unit<'_>> {
        self.nodes(schema::IOMMU).filter_map(|n| unit(n).ok())
    }

    fn domains(&self) -> impl Iterator<Item = Domain> {
        self.nodes(schema::DOMAIN).filter_map(|n| domain(n).ok())
    }

    fn devices(&self) -> impl Iterator<Item = Device<'_>> {
        self.nodes(schema::DEVICE).filter_map(|n| device(n).ok())
    }
}

/// Writes what [`check_version`] reads.
pub(crate) fn write_version(
    w: &mut Writer<'_>,
    compatible: &str,
    required: Features,
) -> Result<()> {
    w.property_str(property::COMPATIBLE, compatible)?;
    if !required.is_empty() {
        let mut names = [""; FEATURES.len()];
        let mut count = 0;

        for (slot, name) in names.iter_mut().zip(required.names()) {
            *slot = name;
            count += 1;
        }
        w.property_str_list(
            property::REQUIRED_FEATURES,
            names.get(..count).unwrap_or(&[]),
        )?;
    }
    Ok(())
}

/// Checks that a tree is of the format `compatible` and needs nothing that this reader lacks.
pub(crate) fn check_version(root: Node<'_>, compatible: &str, supported: Features) -> Result<()> {
    let found = root
        .property(property::COMPATIBLE)
        .ok_or(Error::Incompatible)?;

    if found.str() != Ok(compatible) {
        return Err(Error::Incompatible);
    }
    let Some(required) = root.property(property::REQUIRED_FEATURES) else {
        return Ok(());
    };
    for name in required.str_list() {
        let name = name.map_err(|_| Error::UnknownFeature)?;

        if !Features::named(name).is_some_and(|feature| supported.contains(feature)) {
            return Err(Error::UnknownFeature);
        }
    }
    Ok(())
}

/// A node whose properties are all required.
pub(crate) struct Fields<'a> {
    node: Node<'a>,
    base: &'static str,
    rest: Properties<'a>,
}

impl<'a> Fields<'a> {
    /// Wraps `node`, which errors call `base`.
    pub(crate) fn new(node: Node<'a>, base: &'static str) -> Self {
        Self {
            node,
            base,
            rest: node.properties(),
        }
    }

    /// Returns the property called `name`, which costs the least if it follows the one asked for
    /// before.
    fn property(&mut self, name: &str) -> Option<Property<'a>> {
        self.rest
            .next()
            .filter(|p| p.name() == name)
            .or_else(|| self.node.property(name))
    }

    fn get<T>(
        &mut self,
        name: &'static str,
        value: impl FnOnce(Property<'a>) -> serde_fdt::Result<T>,
    ) -> Result<T> {
        self.property(name)
            .and_then(|p| value(p).ok())
            .ok_or(Error::Property {
                node: self.base,
                property: name,
            })
    }

    pub(crate) fn u32(&mut self, name: &'static str) -> Result<u32> {
        self.get(name, Property::u32)
    }

    pub(crate) fn u64(&mut self, name: &'static str) -> Result<u64> {
        self.get(name, Property::u64)
    }

    fn bytes(&mut self, name: &'static str) -> Result<&'a [u8]> {
        self.get(name, |p| Ok(p.bytes()))
    }

    pub(crate) fn out_of_range(&self, name: &'static str) -> Error {
        Error::Range {
            node: self.base,
            property: name,
        }
    }

    fn u16(&mut self, name: &'static str) -> Result<u16> {
        u16::try_from(self.u32(name)?).map_err(|_| self.out_of_range(name))
    }

    /// A physical address of a page, which is never zero.
    pub(crate) fn table(&mut self, name: &'static str) -> Result<u64> {
        let table = self.u64(name)?;

        if !is_table(table) {
            return Err(self.out_of_range(name));
        }
        Ok(table)
    }

    /// An array of `N` numbers of 64 bits.
    pub(crate) fn cells<const N: usize>(&mut self, name: &'static str) -> Result<[u64; N]> {
        let mut values = [0; N];
        let cells = self.get(name, Property::u64_cells)?;

        if cells.len() != N {
            return Err(Error::Property {
                node: self.base,
                property: name,
            });
        }
        for (value, cell) in values.iter_mut().zip(cells) {
            *value = cell;
        }
        Ok(values)
    }

    pub(crate) fn run_list(&mut self) -> Result<RunListRecord> {
        let name = property::RUN_LIST;
        let [first, second, entries, checksum] = self.cells(name)?;
        let copies = [first, second];

        if !copies.into_iter().all(is_table) {
            return Err(self.out_of_range(name));
        }
        Ok(RunListRecord {
            copies,
            entries,
            checksum,
        })
    }

    fn runs(&mut self) -> Result<RunRange> {
        // Two cells of 32 bits.
        let runs = self.u64(property::RUNS)?;

        Ok(RunRange {
            first: (runs >> 32) as u32,
            count: (runs & u64::from(u32::MAX)) as u32,
        })
    }

    fn expect(&mut self, name: &'static str, value: &str) -> Result<()> {
        if self.get(name, Property::str)? != value {
            return Err(Error::Incompatible);
        }
        Ok(())
    }
}

/// Whether a table can be at the physical address `address`.
pub(crate) fn is_table(address: u64) -> bool {
    address != 0 && address % TABLE_SIZE == 0 && address < 1 << MAX_ADDRESS_BITS
}

fn unit(node: Node<'_>) -> Result<Unit<'_>> {
    let mut f = Fields::new(node, schema::IOMMU);

    f.expect(property::COMPATIBLE, schema::VTD_LEGACY)?;
    Ok(Unit {
        register_base: f.u64(property::REGISTER_BASE)?,
        segment: f.u16(property::SEGMENT)?,
        capability: f.u64(property::CAPABILITY)?,
        extended_capability: f.u64(property::EXTENDED_CAPABILITY)?,
        root_table: f.table(property::ROOT_TABLE)?,
        context_tables: context_tables(&mut f)?,
    })
}

fn context_tables<'a>(f: &mut Fields<'a>) -> Result<ContextTables<'a>> {
    let name = property::CONTEXT_TABLES;
    let tables = ContextTables::from_cells(f.bytes(name)?)
        .filter(|tables| tables.iter().all(|(_, table)| is_table(table)))
        .ok_or(f.out_of_range(name))?;

    let mut seen = [false; 256];
    for (bus, _) in tables.iter() {
        match seen.get_mut(usize::from(bus)) {
            Some(seen) if !*seen => *seen = true,
            _ => return Err(Error::Duplicate(name)),
        }
    }
    Ok(tables)
}

fn domain(node: Node<'_>) -> Result<Domain> {
    let mut f = Fields::new(node, schema::DOMAIN);
    let number = f.u32(property::NUMBER)?;

    f.expect(property::FORMAT, schema::VTD_SECOND_STAGE)?;
    let domain = Domain {
        number,
        top_table: f.table(property::TOP_TABLE)?,
        top_level: f.u32(property::TOP_LEVEL)?,
        input_bits: f.u32(property::INPUT_BITS)?,
        output_bits: f.u32(property::OUTPUT_BITS)?,
        pt_flags: f.u32(property::PT_FLAGS)?,
        page_sizes: f.u64(property::PAGE_SIZES)?,
        table_pages: f.u64(property::TABLE_PAGES)?,
        runs: f.runs()?,
    };

    // Second-stage tables have three to five levels of nine bits above a page of twelve.
    let reach = match domain.top_level {
        2 => 39,
        3 => 48,
        4 => 57,
        _ => return Err(f.out_of_range(property::TOP_LEVEL)),
    };
    if !(31..=reach).contains(&domain.input_bits) {
        return Err(f.out_of_range(property::INPUT_BITS));
    }
    if !(32..=MAX_ADDRESS_BITS).contains(&domain.output_bits) {
        return Err(f.out_of_range(property::OUTPUT_BITS));
    }
    if domain.pt_flags & !schema::pt_flag::ALL != 0 {
        return Err(f.out_of_range(property::PT_FLAGS));
    }
    // The smallest page has the size of a table; others are not needed, none would be senseless.
    if domain.page_sizes & TABLE_SIZE == 0 || domain.page_sizes % TABLE_SIZE != 0 {
        return Err(f.out_of_range(property::PAGE_SIZES));
    }
    if domain.table_pages == 0 {
        return Err(f.out_of_range(property::TABLE_PAGES));
    }
    Ok(domain)
}

fn device(node: Node<'_>) -> Result<Device<'_>> {
    let mut f = Fields::new(node, schema::DEVICE);
    let address = PciAddress {
        segment: f.u16(property::SEGMENT)?,
        requester_id: f.u16(property::ADDRESS)?,
    };

    Ok(Device {
        address,
        vendor_device: f.u32(property::VENDOR_DEVICE)?,
        class: f.u32(property::CLASS)?,
        unit: f.u64(property::IOMMU)?,
        // A function is always one of its own aliases.
        requester_ids: RequesterIds::from_cells(f.bytes(property::REQUESTER_IDS)?)
            .filter(|ids| ids.contains(address.requester_id))
            .ok_or(f.out_of_range(property::REQUESTER_IDS))?,
        domain: f.u32(property::DOMAIN)?,
        domain_id: f.u16(property::DOMAIN_ID)?,
    })
}

fn hwpt(node: Node<'_>) -> Result<Hwpt> {
    let mut f = Fields::new(node, schema::HWPT);

    Ok(Hwpt {
        token: f.u64(property::TOKEN)?,
        domain: f.u32(property::DOMAIN)?,
    })
}
