// SPDX-License-Identifier: GPL-2.0
//! What one kernel is about to hand over to the next, where it is and what is in it.

use super::fdt::{Layout, header, total_size};
use crate::ram::{self, GuestRam};
use anyhow::{Context, Result, ensure};
use devices::layout::PAGE;
use devices::memory::DmaMemory;
use protocol::Device;

/// Bits of an entry of a table that are an address.
pub const ADDRESS: u64 = 0x000f_ffff_ffff_f000;
/// Rights to read and to write, one of which an entry of a page table has that is present.
const RIGHTS: u64 = 3;
/// An entry of a page table above the lowest level that maps a page.
const LARGE: u64 = 1 << 7;
/// Entries of a page table.
pub const ENTRIES: usize = PAGE / 8;
/// Size of an entry of a run list.
pub const RUN: usize = 8;

/// Guest-physical memory.
pub trait Ram {
    /// What is in it, nothing where there is none. Both numbers are multiples of 4.
    fn get(&self, address: u64, len: usize) -> Option<Vec<u8>>;

    /// A 64-bit number as hardware reads it.
    fn word(&self, address: u64) -> Result<u64> {
        let bytes = self.get(address, 8).context("no RAM")?;
        Ok(u64::from_le_bytes((*bytes).try_into()?))
    }
}

impl Ram for GuestRam {
    fn get(&self, address: u64, len: usize) -> Option<Vec<u8>> {
        let address = usize::try_from(address).ok()?;
        let end = address.checked_add(len)?;
        (end <= ram::SIZE).then(|| {
            let mut bytes = vec![0; len];
            self.read(address, &mut bytes);
            bytes
        })
    }
}

/// A flattened device tree.
#[derive(Clone, Debug)]
pub struct Blob {
    /// Where it is.
    pub address: u64,
    /// All of it.
    pub bytes: Vec<u8>,
    /// What is where in it.
    pub layout: Layout,
}

impl Blob {
    /// Reads what is at `address`.
    pub fn read(ram: &impl Ram, address: u64) -> Result<Self> {
        let header = ram.get(address, header::SIZE).context("no RAM")?;
        let size = total_size(&header)?;
        let mut bytes = ram
            .get(address, size.next_multiple_of(4))
            .context("no RAM")?;
        bytes.truncate(size);
        Ok(Self {
            address,
            layout: Layout::of(&bytes)?,
            bytes,
        })
    }

    /// The value of a property as numbers of 64 bits.
    pub fn u64s(&self, node: usize, name: &str) -> Result<Vec<u64>> {
        let property = self.layout.property(node, name)?;
        let (numbers, rest) = self.bytes[property.value.clone()].as_chunks::<8>();
        ensure!(rest.is_empty(), "{name} has no numbers");
        Ok(numbers.iter().map(|n| u64::from_be_bytes(*n)).collect())
    }

    /// The value of a property as one number of 64 bits.
    pub fn u64(&self, node: usize, name: &str) -> Result<u64> {
        self.u64s(node, name)?
            .first()
            .copied()
            .context(name.to_owned())
    }

    /// The value of a property as one number of 32 bits.
    pub fn u32(&self, node: usize, name: &str) -> Result<u32> {
        let property = self.layout.property(node, name)?;
        Ok(u32::from_be_bytes(
            self.bytes[property.value.clone()].try_into()?,
        ))
    }

    fn child(&self, base: &str) -> Result<usize> {
        let node = self.layout.children(base).next();
        node.with_context(|| format!("no node {base}"))
    }
}

/// A page of a page table.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Table {
    /// Where it is.
    pub address: u64,
    /// 0 for a table whose entries map pages of 4 KiB.
    pub level: u32,
}

/// What is handed over for one iommufd with one device.
#[derive(Clone, Debug)]
pub struct Iommufd {
    /// Its node in the index.
    pub node: usize,
    /// Its state.
    pub tree: Blob,
    /// Where the copies of its run list are.
    pub run_lists: [u64; 2],
    /// What is in both: the group of its domain.
    pub runs: Vec<u8>,
    /// The pages of its page tables, the top first.
    pub tables: Vec<Table>,
    /// Root table.
    pub root_table: u64,
    /// Where the entry of the device in its context table is.
    pub context_entry: u64,
}

impl Iommufd {
    fn read(ram: &impl Ram, index: &Blob, node: usize) -> Result<Self> {
        let tree = Blob::read(ram, index.u64(node, "state")?)?;
        let run_list = index.u64s(node, "run-list")?;
        let &[first, second, entries, _] = &*run_list else {
            anyhow::bail!("run-list has {} numbers", run_list.len());
        };
        let size = usize::try_from(entries)?
            .checked_mul(RUN)
            .context("too many runs")?;
        let runs = ram.get(first, size).context("no RAM")?;

        let (domain, unit) = (tree.child("domain")?, tree.child("iommu")?);
        let mut tables = Vec::new();
        let top = Table {
            address: tree.u64(domain, "top-table")?,
            level: tree.u32(domain, "top-level")?,
        };
        walk(ram, top, &mut tables)?;

        let device = tree.child("device")?;
        let id = tree.u32(device, "address")?;
        let context_tables = tree.u64s(unit, "context-tables")?;
        let mut pairs = context_tables.as_chunks::<2>().0.iter();
        let context_table = pairs.find(|[bus, _]| *bus == u64::from(id >> 8));
        let [_, context_table] = context_table.context("no context table")?;
        Ok(Self {
            node,
            run_lists: [first, second],
            runs,
            tables,
            root_table: tree.u64(unit, "root-table")?,
            context_entry: context_table + u64::from(id & 0xff) * 16,
            tree,
        })
    }

    fn has(&self, device: Device) -> Result<bool> {
        let (vendor, id) = device.pci_id();
        let wanted = u32::from(vendor) << 16 | u32::from(id);
        Ok(self.tree.u32(self.tree.child("device")?, "vendor-device")? == wanted)
    }

    /// The top table.
    pub fn top(&self) -> u64 {
        self.tables.first().map_or(0, |table| table.address)
    }

    /// The first table of the lowest level.
    pub fn leaf(&self) -> Result<u64> {
        let leaf = self.tables.iter().find(|table| table.level == 0);
        Ok(leaf.context("no leaf table")?.address)
    }
}

fn walk(ram: &impl Ram, table: Table, tables: &mut Vec<Table>) -> Result<()> {
    tables.push(table);
    if table.level == 0 {
        return Ok(());
    }
    let bytes = ram.get(table.address, PAGE).context("no RAM")?;
    for entry in bytes.as_chunks::<8>().0 {
        let entry = u64::from_le_bytes(*entry);
        if entry & RIGHTS != 0 && entry & LARGE == 0 {
            let next = Table {
                address: entry & ADDRESS,
                level: table.level - 1,
            };
            walk(ram, next, tables)?;
        }
    }
    Ok(())
}

/// Everything that the two iommufds hand over.
#[derive(Clone, Debug)]
pub struct Handover {
    /// The index.
    pub index: Blob,
    /// The iommufd that is damaged.
    pub victim: Iommufd,
    /// The iommufd that has nothing to do with it.
    pub healthy: Iommufd,
}

impl Handover {
    /// Reads it, with the index at `index`.
    pub fn read(ram: &impl Ram, index: u64) -> Result<Self> {
        let index = Blob::read(ram, index).context("the index")?;
        let iommufds = index.layout.children("iommufd");
        let mut iommufds: Vec<_> = iommufds
            .map(|node| Iommufd::read(ram, &index, node))
            .collect::<Result<_>>()?;
        let mut take = |device| -> Result<Iommufd> {
            for (at, iommufd) in iommufds.iter().enumerate() {
                if iommufd.has(device)? {
                    return Ok(iommufds.swap_remove(at));
                }
            }
            anyhow::bail!("no iommufd with {device:?}")
        };
        Ok(Self {
            victim: take(Device::Es1370)?,
            healthy: take(Device::Nvme)?,
            index,
        })
    }
}
