// SPDX-License-Identifier: GPL-2.0

//! Writes the state of one iommufd.

use crate::{
    decode::write_version,
    error::Result,
    features::Features,
    records::{
        Device,
        Domain,
        Hwpt,
        RunListRecord,
        Unit, //
    },
    schema::{
        self,
        property, //
    }, //
};
use serde_fdt::Writer;

/// What is said about the iommufd as a whole.
#[derive(Clone, Copy, Debug)]
pub struct Root {
    /// The number of the iommufd.
    pub owner: u64,
    /// The pages of its page tables.
    pub run_list: RunListRecord,
    /// What a reader must understand.
    pub required: Features,
}

/// Writes the records into `buffer` and returns the size of the blob in bytes.
///
/// # Errors
///
/// [`Error::Fdt`](crate::Error::Fdt) if `buffer` is too small.
pub fn encode<'a>(
    buffer: &mut [u8],
    root: Root,
    units: impl IntoIterator<Item = Unit<'a>>,
    domains: impl IntoIterator<Item = Domain>,
    devices: impl IntoIterator<Item = Device<'a>>,
    hwpts: impl IntoIterator<Item = Hwpt>,
) -> Result<usize> {
    let mut w = Writer::new(buffer)?;

    w.begin_node("")?;
    write_version(&mut w, schema::IOMMUFD_COMPATIBLE, root.required)?;
    w.property_u64(property::OWNER, root.owner)?;
    root.run_list.write(&mut w)?;
    for unit in units {
        self::unit(&mut w, &unit)?;
    }
    for domain in domains {
        self::domain(&mut w, &domain)?;
    }
    for device in devices {
        self::device(&mut w, &device)?;
    }
    for hwpt in hwpts {
        self::hwpt(&mut w, &hwpt)?;
    }
    w.end_node()?;
    Ok(w.finish()?)
}

impl RunListRecord {
    pub(crate) fn write(&self, w: &mut Writer<'_>) -> Result<()> {
        let [first, second] = self.copies;
        let cells = [first, second, self.entries, self.checksum];

        Ok(w.property_u64_array(property::RUN_LIST, &cells)?)
    }
}

fn unit(w: &mut Writer<'_>, unit: &Unit<'_>) -> Result<()> {
    let tables = unit
        .context_tables
        .iter()
        .flat_map(|(bus, table)| [u64::from(bus), table]);

    w.begin_node(format_args!("{}@{:x}", schema::IOMMU, unit.register_base))?;
    w.property_str(property::COMPATIBLE, schema::VTD_LEGACY)?;
    w.property_u64(property::REGISTER_BASE, unit.register_base)?;
    w.property_u32(property::SEGMENT, unit.segment.into())?;
    w.property_u64(property::CAPABILITY, unit.capability)?;
    w.property_u64(property::EXTENDED_CAPABILITY, unit.extended_capability)?;
    w.property_u64(property::ROOT_TABLE, unit.root_table)?;
    w.property_u64_iter(property::CONTEXT_TABLES, tables)?;
    Ok(w.end_node()?)
}

fn domain(w: &mut Writer<'_>, domain: &Domain) -> Result<()> {
    w.begin_node(format_args!("{}@{:x}", schema::DOMAIN, domain.number))?;
    w.property_u32(property::NUMBER, domain.number)?;
    w.property_str(property::FORMAT, schema::VTD_SECOND_STAGE)?;
    w.property_u64(property::TOP_TABLE, domain.top_table)?;
    w.property_u32(property::TOP_LEVEL, domain.top_level)?;
    w.property_u32(property::INPUT_BITS, domain.input_bits)?;
    w.property_u32(property::OUTPUT_BITS, domain.output_bits)?;
    w.property_u32(property::PT_FLAGS, domain.pt_flags)?;
    w.property_u64(property::PAGE_SIZES, domain.page_sizes)?;
    w.property_u64(property::TABLE_PAGES, domain.table_pages)?;
    w.property_u32_array(property::RUNS, &[domain.runs.first, domain.runs.count])?;
    Ok(w.end_node()?)
}

fn device(w: &mut Writer<'_>, device: &Device<'_>) -> Result<()> {
    let address = device.address;
    let [bus, devfn] = address.requester_id.to_be_bytes();

    // A node name has no colons, so the parts of the address are separated by commas. It begins
    // with no zero that could be left out.
    w.begin_node(format_args!(
        "{}@{:x},{bus:02x},{:02x}.{:x}",
        schema::DEVICE,
        address.segment,
        devfn >> 3,
        devfn & 7
    ))?;
    w.property_u32(property::SEGMENT, address.segment.into())?;
    w.property_u32(property::ADDRESS, address.requester_id.into())?;
    w.property_u32(property::VENDOR_DEVICE, device.vendor_device)?;
    w.property_u32(property::CLASS, device.class)?;
    w.property_u64(property::IOMMU, device.unit)?;
    w.property_u32_iter(
        property::REQUESTER_IDS,
        device.requester_ids.iter().map(u32::from),
    )?;
    w.property_u32(property::DOMAIN, device.domain)?;
    w.property_u32(property::DOMAIN_ID, device.domain_id.into())?;
    Ok(w.end_node()?)
}

fn hwpt(w: &mut Writer<'_>, hwpt: &Hwpt) -> Result<()> {
    w.begin_node(format_args!("{}@{:x}", schema::HWPT, hwpt.token))?;
    w.property_u64(property::TOKEN, hwpt.token)?;
    w.property_u32(property::DOMAIN, hwpt.domain)?;
    Ok(w.end_node()?)
}
