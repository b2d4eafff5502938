// SPDX-License-Identifier: GPL-2.0

//! Writes the first inputs into the directory `corpus` beside the manifest: `cargo run --example
//! seeds`.

#![allow(clippy::unwrap_used)]

use std::{
    fs,
    path::Path, //
};

use liveupdate_state::{
    encode,
    index,
    runs,
    vtd::ContextEntry,
    ContextTables,
    Device,
    Domain,
    Features,
    Hwpt,
    Iommufd,
    PciAddress,
    RequesterIds,
    Root,
    Run,
    RunListRecord,
    RunRange,
    Unit, //
};
use liveupdate_state_fuzz::{
    input::{
        Input,
        Section, //
    },
    machine::{
        block,
        Machine,
        BLOCK_SIZE,
        PAGES,
        TABLES, //
    },
    takeover::{
        take_over,
        Checks, //
    }, //
};
use xxhash_rust::xxh64::xxh64;

/// An iommufd: its blocks, its domains with their pages, and its devices with their domains.
struct Description {
    owner: u64,
    tree: Section,
    lists: [Section; 2],
    domains: &'static [&'static [u64]],
    devices: &'static [(u16, &'static [u16], usize)],
}

/// Two devices with a domain each, one with an alias.
const A: Description = Description {
    owner: 1,
    tree: Section::TreeA,
    lists: [Section::ListA, Section::CopyA],
    domains: &[&[0, 1, 2, 5], &[7, 9]],
    devices: &[(0x0018, &[0x0018], 0), (0x0208, &[0x0208, 0x0200], 1)],
};

/// Two devices with a common domain.
const B: Description = Description {
    owner: 2,
    tree: Section::TreeB,
    lists: [Section::ListB, Section::CopyB],
    domains: &[&[16, 17, 20]],
    devices: &[(0x0020, &[0x0020], 0), (0x0028, &[0x0028], 0)],
};

impl Description {
    /// Adds its tree, its list and its entries to `input`; returns its node in the index.
    fn add(&self, input: &mut Input) -> Iommufd {
        let machine = Machine::new(input);
        let mut list = vec![0; BLOCK_SIZE];
        let mut entries = 0;
        let mut domains = Vec::new();
        let mut rest = &mut list[..];

        for (number, pages) in (0..).zip(self.domains) {
            let pages: Vec<_> = pages.iter().map(|n| PAGES + 0x1000 * n).collect();
            let mut runs: Vec<_> = pages
                .iter()
                .map(|page| Run {
                    base: *page,
                    pages: 1,
                })
                .collect();
            let merged = runs::merge(&mut runs);
            runs.truncate(merged);
            let count = runs::entries_for(runs.len()).unwrap();
            let checksum = runs::content(runs.iter().copied(), &machine).unwrap();

            rest = runs::write(&runs, checksum, rest).unwrap();
            domains.push(Domain {
                number,
                top_table: pages[0],
                top_level: 3,
                input_bits: 48,
                output_bits: 46,
                pt_flags: 1,
                page_sizes: 0x4020_1000,
                table_pages: pages.len() as u64,
                runs: RunRange {
                    first: entries,
                    count,
                },
            });
            entries += count;
        }
        list.truncate(8 * entries as usize);

        let buses: Vec<_> = self
            .devices
            .iter()
            .map(|(id, ..)| (id >> 8) as u8)
            .collect();
        let mut tables = Vec::new();
        for (bus, table) in [(0, TABLES[1]), (2, TABLES[2])] {
            if buses.contains(&bus) {
                tables.push((bus, table));
                input.add_entry(0, bus, [table | 1, 0]);
            }
        }
        let devices = self.devices.iter().map(|(id, ids, domain)| Device {
            address: PciAddress {
                segment: 0,
                requester_id: *id,
            },
            vendor_device: 0x1af4_1041,
            class: 0x02_0000,
            unit: machine.unit().register_base,
            requester_ids: RequesterIds::new(ids),
            domain: *domain as u32,
            domain_id: self.owner as u16 * 16 + *domain as u16,
        });
        for device in devices.clone() {
            let entry =
                ContextEntry::translating(&domains[device.domain as usize], device.domain_id);

            for id in device.requester_ids.iter() {
                let [bus, devfn] = id.to_be_bytes();
                input.add_entry(1 + bus / 2, devfn, entry);
            }
        }

        let run_list = RunListRecord {
            copies: self.lists.map(block),
            entries: entries.into(),
            checksum: xxh64(&list, 0),
        };
        let root = Root {
            owner: self.owner,
            run_list,
            required: Features::NONE,
        };
        let unit = Unit {
            context_tables: ContextTables::new(&tables),
            ..machine.unit()
        };
        let hwpts = domains.iter().map(|d| Hwpt {
            token: 0x100 + u64::from(d.number),
            domain: d.number,
        });
        let mut tree = vec![0; BLOCK_SIZE];
        let size = encode(
            &mut tree,
            root,
            [unit],
            domains.iter().copied(),
            devices,
            hwpts,
        )
        .unwrap();

        tree.truncate(size);
        *input.section_mut(self.tree) = tree;
        for copy in self.lists {
            *input.section_mut(copy) = list.clone();
        }
        Iommufd {
            owner: self.owner,
            state: block(self.tree),
            size: size as u64,
            run_list,
        }
    }
}

/// What is handed over for some iommufds.
fn handover(descriptions: &[Description]) -> Input {
    let mut input = Input::default();
    // Each table of a domain leads to the next one.
    for pages in descriptions.iter().flat_map(|d| d.domains) {
        for pair in pages.windows(2) {
            let entry = PAGES + 0x1000 * pair[1] + 3;

            for (at, byte) in (0..).zip(entry.to_le_bytes()) {
                let bytes = [pair[0] as u8, 0, at, byte];
                input.section_mut(Section::Bytes).extend(bytes);
            }
        }
    }
    let iommufds: Vec<_> = descriptions.iter().map(|d| d.add(&mut input)).collect();
    let mut index = vec![0; BLOCK_SIZE];
    let size = index::encode(&mut index, Features::NONE, iommufds).unwrap();

    index.truncate(size);
    *input.section_mut(Section::Index) = index;
    input
}

fn write(target: &str, name: &str, data: &[u8]) {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("corpus")
        .join(target);

    fs::create_dir_all(&dir).unwrap();
    fs::write(dir.join(name), data).unwrap();
}

/// Two tables that map the same, one with smaller pages, and a third that leads to itself.
fn page_tables() -> Vec<u8> {
    let mut data = vec![1, 128 + 1, 0];
    for (page, index, content) in [
        (1u8, 0u16, 0x3003u64),
        (3, 0, 0x4003),
        (4, 0, 0x20_0083),
        (4, 1, 0x1234_5000),
        (2, 0, 0x5003),
        (5, 0, 0x6003),
        (6, 0, 0x7003),
        (7, 0, 0x20_0003),
        (7, 1, 0x20_1003),
        (2, 511, 0x2003),
    ] {
        data.push(page);
        data.extend(index.to_le_bytes());
        data.extend(content.to_le_bytes());
    }
    data
}

/// The setup header of an image with a `kernel_info` behind it, see `Documentation/arch/x86/boot.rst`.
fn image(strings: &[u8]) -> Vec<u8> {
    let line = b"kho=on liveupdate=on";
    let mut image = vec![0; 0x400 + 0x10];
    image[0x1f1] = 1;
    image[0x202..0x206].copy_from_slice(b"HdrS");
    image[0x206..0x208].copy_from_slice(&0x20fu16.to_le_bytes());
    image[0x268] = 0x10;

    let entry = [
        b"LUpd",
        &(8 + strings.len() as u32).to_le_bytes()[..],
        strings,
    ]
    .concat();
    image.extend(b"LToP");
    image.extend(16u32.to_le_bytes());
    image.extend((16 + entry.len() as u32).to_le_bytes());
    image.extend([9, 0, 0, 0x80]);
    image.extend(entry);
    [&[line.len() as u8], &line[..], &image].concat()
}

fn main() {
    for (name, descriptions) in [("one", &[A][..]), ("two", &[A, B])] {
        let input = handover(descriptions);

        let expected = descriptions.len();
        assert_eq!(take_over(&Machine::new(&input), Checks::All), expected);
        write("handover", name, &input.write());
        write("control", name, &input.write());

        let mut checked = input;
        *checked.section_mut(Section::Options) = [0, 0, 0, 0, 0, 0, 0, 0, 1].into();
        assert_eq!(take_over(&Machine::new(&checked), Checks::All), expected);
        write("handover", &format!("{name}-checked"), &checked.write());
    }
    write("page_tables", "same", &page_tables());
    let strings = b"kho-v4\0luo-v5\0memfd-v2\0vfio-pci-v1\0linux,iommu-liveupdate-v1\0\
        linux,iommufd-liveupdate-v1\0";
    write("image", "offers", &image(strings));
    write("image", "silent", &image(b""));
}
