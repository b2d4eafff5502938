// SPDX-License-Identifier: GPL-2.0

//! States as plain data that owns its lists: what the tests write, and what they expect to read.

#![allow(
    dead_code,
    reason = "each test program uses another part of this module"
)]

use std::{
    collections::BTreeSet,
    io::Write,
    process::{
        Command,
        Output,
        Stdio, //
    }, //
};

use liveupdate_state::{
    encode,
    iommufd::IommufdState,
    schema::pt_flag,
    ContextTables,
    Device,
    Domain,
    Error,
    Key,
    PciAddress,
    RequesterIds,
    State,
    Unit, //
};
use proptest::{
    collection::{
        btree_set,
        vec, //
    },
    prelude::*,
    sample::Index, //
};

#[derive(Clone, Debug, PartialEq)]
pub struct OwnedUnit {
    pub register_base: u64,
    pub segment: u16,
    pub capability: u64,
    pub extended_capability: u64,
    pub root_table: u64,
    pub context_tables: Vec<(u8, u64)>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct OwnedDevice {
    pub address: PciAddress,
    pub vendor_device: u32,
    pub class: u32,
    pub unit: u64,
    pub requester_ids: Vec<u16>,
    pub domain: u32,
    pub domain_id: u16,
    pub owner: u64,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    pub units: Vec<OwnedUnit>,
    pub domains: Vec<Domain>,
    pub devices: Vec<OwnedDevice>,
}

impl OwnedUnit {
    pub fn record(&self) -> Unit<'_> {
        Unit {
            register_base: self.register_base,
            segment: self.segment,
            capability: self.capability,
            extended_capability: self.extended_capability,
            root_table: self.root_table,
            context_tables: ContextTables::new(&self.context_tables),
        }
    }
}

impl From<Unit<'_>> for OwnedUnit {
    fn from(unit: Unit<'_>) -> Self {
        Self {
            register_base: unit.register_base,
            segment: unit.segment,
            capability: unit.capability,
            extended_capability: unit.extended_capability,
            root_table: unit.root_table,
            context_tables: unit.context_tables.iter().collect(),
        }
    }
}

impl OwnedDevice {
    pub fn record(&self) -> Device<'_> {
        Device {
            address: self.address,
            vendor_device: self.vendor_device,
            class: self.class,
            unit: self.unit,
            requester_ids: RequesterIds::new(&self.requester_ids),
            domain: self.domain,
            domain_id: self.domain_id,
            owner: self.owner,
        }
    }
}

impl From<Device<'_>> for OwnedDevice {
    fn from(device: Device<'_>) -> Self {
        Self {
            address: device.address,
            vendor_device: device.vendor_device,
            class: device.class,
            unit: device.unit,
            requester_ids: device.requester_ids.iter().collect(),
            domain: device.domain,
            domain_id: device.domain_id,
            owner: device.owner,
        }
    }
}

impl Sample {
    pub fn blob(&self) -> Vec<u8> {
        let mut blob = vec![0xa5; 1 << 16];
        let len = encode(
            &mut blob,
            self.units.iter().map(OwnedUnit::record),
            self.domains.iter().copied(),
            self.devices.iter().map(OwnedDevice::record),
        )
        .unwrap();
        blob.truncate(len);
        blob
    }

    pub fn read(state: State<'_>) -> Self {
        Self {
            units: state.units().map(OwnedUnit::from).collect(),
            domains: state.domains().collect(),
            devices: state.devices().map(OwnedDevice::from).collect(),
        }
    }

    /// One unit, two domains, three devices, of which one has an alias.
    pub fn example() -> Self {
        let domain = |number, top_table| Domain {
            number,
            top_table,
            top_level: 3,
            input_bits: 48,
            output_bits: 46,
            pt_flags: 0x3,
            page_sizes: 0x4020_1000,
            table_pages: 9,
        };
        let device = |id, ids: &[u16], domain, domain_id| OwnedDevice {
            address: PciAddress {
                segment: 0,
                requester_id: id,
            },
            vendor_device: 0x1af4_1041,
            class: 0x02_0000,
            unit: 0xfed9_0000,
            requester_ids: ids.to_vec(),
            domain,
            domain_id,
            owner: 5,
        };
        Self {
            units: vec![OwnedUnit {
                register_base: 0xfed9_0000,
                segment: 0,
                capability: 0x00d2_008c_2226_60c2,
                extended_capability: 0xf00f4a,
                root_table: 0x1_0000_1000,
                context_tables: vec![(0, 0x1_0000_2000), (2, 0x1_0000_3000)],
            }],
            domains: vec![domain(3, 0x1_0001_0000), domain(7, 0x1_0002_0000)],
            devices: vec![
                device(0x0018, &[0x0018], 3, 2),
                device(0x0208, &[0x0208, 0x0200], 3, 2),
                device(0x0210, &[0x0210], 7, 9),
            ],
        }
    }
}

/// Reads a blob as the kernel does that takes over.
pub fn read(blob: &[u8]) -> Result<State<'_>, Error> {
    let state = State::parse(blob)?;
    let mut keys = vec![Key::default(); state.key_count()];

    state.check(&mut keys).map(|()| state)
}

/// The parts of a domain that have nothing to do with other nodes.
fn domain() -> impl Strategy<Value = Domain> {
    (
        (2u32..=4, 0u32..9, 32u32..=52),
        0u32..=pt_flag::ALL,
        0u64..1 << 52,
        1u64..,
    )
        .prop_map(|((level, less, output), flags, sizes, pages)| Domain {
            number: 0,
            top_table: 0,
            top_level: level,
            input_bits: 12 + 9 * (level + 1) - less.min(8),
            output_bits: output,
            pt_flags: flags,
            page_sizes: (sizes & !0xfff) | 0x1000,
            table_pages: pages,
        })
}

/// Numbers that are all different, in random order.
fn different(max: u64, count: usize) -> impl Strategy<Value = Vec<u64>> {
    btree_set(1..max, count)
        .prop_map(|set| set.into_iter().collect::<Vec<_>>())
        .prop_shuffle()
}

/// States that a reader has to accept.
pub fn sample() -> impl Strategy<Value = Sample> {
    let units = vec(any::<(u16, u64, u64)>(), 1..4);
    let domains = vec((domain(), any::<(Index, u64)>()), 0..6);
    let devices = vec((any::<(Index, u32, u32)>(), vec(0u16..0x400, 1..4)), 0..12);
    let numbers = (
        different(u64::MAX, 4),
        different(1 << 40, 4 * 5 + 6),
        different(1 << 32, 6),
        different(1 << 16, 6),
    );

    (units, domains, devices, numbers).prop_map(|(units, domains, devices, numbers)| {
        let (bases, pages, domain_numbers, domain_ids) = numbers;
        let mut pages = pages.into_iter().map(|page| page << 12);

        let mut sample = Sample {
            units: units
                .into_iter()
                .zip(bases)
                .map(
                    |((segment, capability, extended_capability), base)| OwnedUnit {
                        register_base: base,
                        segment,
                        capability,
                        extended_capability,
                        root_table: pages.next().unwrap(),
                        // The buses of the requester ids above.
                        context_tables: (0..4).map(|bus| (bus, pages.next().unwrap())).collect(),
                    },
                )
                .collect(),
            domains: Vec::new(),
            devices: Vec::new(),
        };
        let owners: Vec<_> = domains
            .iter()
            .map(|(_, (unit, owner))| (*unit, *owner))
            .collect();
        for ((domain, _), number) in domains.into_iter().zip(domain_numbers) {
            sample.domains.push(Domain {
                number: number as u32,
                top_table: pages.next().unwrap(),
                ..domain
            });
        }
        let mut used = BTreeSet::new();
        for ((domain, vendor_device, class), mut ids) in devices {
            if sample.domains.is_empty() {
                break;
            }
            let index = domain.index(sample.domains.len());
            let (unit, owner) = owners[index];
            let unit = unit.get(&sample.units);
            ids.retain(|id| used.insert((unit.segment, *id)));
            if let Some(id) = ids.first() {
                sample.devices.push(OwnedDevice {
                    address: PciAddress {
                        segment: unit.segment,
                        requester_id: *id,
                    },
                    vendor_device,
                    class,
                    unit: unit.register_base,
                    domain: sample.domains[index].number,
                    domain_id: domain_ids[index] as u16,
                    owner,
                    requester_ids: ids,
                });
            }
        }
        sample
    })
}

/// Reads the state of an iommufd as the kernel does that takes over.
pub fn read_iommufd(blob: &[u8]) -> Result<IommufdState<'_>, Error> {
    let state = IommufdState::parse(blob)?;
    let mut keys = vec![Key::default(); state.key_count()];

    state.check(&mut keys).map(|()| state)
}

/// Runs `dtc` from one format to another. It must succeed; returns what it prints and its warnings.
///
/// The only checks of `dtc` that are off ask for `reg` and `ranges`, which are for buses that an
/// operating system probes.
pub fn dtc(from: &str, to: &str, input: &[u8]) -> (Vec<u8>, String) {
    let mut child = Command::new("dtc")
        .args(["-I", from, "-O", to, "-Wno-unit_address_vs_reg"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("dtc is needed for this test: {error}"));
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let feeder = std::thread::spawn(move || stdin.write_all(&input));
    let Output {
        status,
        stdout,
        stderr,
    } = child.wait_with_output().unwrap();
    feeder.join().unwrap().unwrap();
    let stderr = String::from_utf8(stderr).unwrap();

    assert!(status.success(), "{stderr}");
    (stdout, stderr)
}
