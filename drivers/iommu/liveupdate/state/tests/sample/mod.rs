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
    index,
    runs::Run,
    schema::pt_flag,
    ContextTables,
    Device,
    Domain,
    Error,
    Features,
    Hwpt,
    Index,
    Iommufd,
    Key,
    PciAddress,
    RequesterIds,
    Root,
    RunGroup,
    RunList,
    RunListRecord,
    RunRange,
    State,
    Tree,
    Unit, //
};
use proptest::{
    collection::{
        btree_map,
        btree_set,
        vec, //
    },
    prelude::*,
    sample::Index as Pick, //
};
use xxhash_rust::xxh64::xxh64;

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
}

/// The pages of a domain, as they are listed.
#[derive(Clone, Debug, PartialEq)]
pub struct OwnedGroup {
    pub checksum: u64,
    pub runs: Vec<Run>,
}

/// What is handed over for one iommufd.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    pub owner: u64,
    pub required: Features,
    pub units: Vec<OwnedUnit>,
    pub domains: Vec<Domain>,
    pub devices: Vec<OwnedDevice>,
    pub hwpts: Vec<Hwpt>,
    /// Where the copies of the run list are.
    pub run_list: [u64; 2],
    pub groups: Vec<OwnedGroup>,
}

impl OwnedGroup {
    /// How many entries it takes.
    pub fn entries(&self) -> u32 {
        2 + self.runs.len() as u32
    }
}

impl From<RunGroup<'_>> for OwnedGroup {
    fn from(group: RunGroup<'_>) -> Self {
        Self {
            checksum: group.checksum(),
            runs: group.iter().collect(),
        }
    }
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
        }
    }
}

impl Sample {
    /// The tree.
    pub fn blob(&self) -> Vec<u8> {
        let mut blob = vec![0xa5; 1 << 16];
        let len = self.encode(&mut blob).unwrap();

        blob.truncate(len);
        blob
    }

    pub fn encode(&self, buffer: &mut [u8]) -> Result<usize, Error> {
        encode(
            buffer,
            Root {
                owner: self.owner,
                run_list: self.run_list(),
                required: self.required,
            },
            self.units.iter().map(OwnedUnit::record),
            self.domains.iter().copied(),
            self.devices.iter().map(OwnedDevice::record),
            self.hwpts.iter().copied(),
        )
    }

    /// The run list, byte by byte as the documentation has it.
    pub fn list(&self) -> Vec<u8> {
        let words = self.groups.iter().flat_map(|group| {
            let runs = group.runs.iter();
            let runs = runs.map(|run| run.base + u64::from(run.pages) - 1);

            [group.runs.len() as u64, group.checksum]
                .into_iter()
                .chain(runs)
        });

        words.flat_map(u64::to_be_bytes).collect()
    }

    pub fn run_list(&self) -> RunListRecord {
        RunListRecord {
            copies: self.run_list,
            entries: self.list().len() as u64 / 8,
            checksum: xxh64(&self.list(), 0),
        }
    }

    /// What the index says about it, with its tree at `state`.
    pub fn iommufd(&self, state: u64) -> Iommufd {
        Iommufd {
            owner: self.owner,
            state,
            size: self.blob().len() as u64,
            run_list: self.run_list(),
        }
    }

    /// An index of this alone.
    pub fn index(&self) -> Vec<u8> {
        index_of(self.required, &[self.iommufd(0x2_0000_0000)])
    }

    /// Reads a tree and its run list as the kernel does that takes over.
    pub fn read(blob: &[u8], list: &[u8]) -> Result<Self, Error> {
        let (state, runs) = read(blob, list)?;

        Ok(Self {
            owner: state.owner(),
            required: Features::NONE,
            units: state.units().map(OwnedUnit::from).collect(),
            domains: state.domains().collect(),
            devices: state.devices().map(OwnedDevice::from).collect(),
            hwpts: state.hwpts().collect(),
            run_list: state.run_list().copies,
            groups: runs.groups().map(OwnedGroup::from).collect(),
        })
    }

    /// Reads what this writes.
    pub fn reread(&self) -> Result<Self, Error> {
        Self::read(&self.blob(), &self.list())
    }

    /// One unit, two domains, three devices, of which one has an alias.
    pub fn example() -> Self {
        let domain = |number, top_table, first, count| Domain {
            number,
            top_table,
            top_level: 3,
            input_bits: 48,
            output_bits: 46,
            pt_flags: 0x3,
            page_sizes: 0x4020_1000,
            table_pages: 9,
            runs: RunRange { first, count },
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
        };
        let run = |base, pages| Run { base, pages };
        let hwpt = |token, domain| Hwpt { token, domain };

        Self {
            owner: 5,
            required: Features::NONE,
            units: vec![OwnedUnit {
                register_base: 0xfed9_0000,
                segment: 0,
                capability: 0x00d2_008c_222f_0686,
                extended_capability: 0xf00f4a,
                root_table: 0x1_0000_1000,
                context_tables: vec![(0, 0x1_0000_2000), (2, 0x1_0000_3000)],
            }],
            domains: vec![
                domain(3, 0x1_0001_0000, 0, 4),
                domain(7, 0x1_0002_0000, 4, 3),
            ],
            devices: vec![
                device(0x0018, &[0x0018], 3, 2),
                device(0x0208, &[0x0208, 0x0200], 3, 2),
                device(0x0210, &[0x0210], 7, 9),
            ],
            hwpts: vec![hwpt(0x100, 3), hwpt(0x101, 7)],
            run_list: [0x1_0000_4000, 0x1_0000_6000],
            groups: vec![
                OwnedGroup {
                    checksum: 0x1234_5678_9abc_def0,
                    runs: vec![run(0x1_0000_8000, 3), run(0x1_0001_0000, 6)],
                },
                OwnedGroup {
                    checksum: 0xffff_ffff_ffff_ffff,
                    runs: vec![run(0x1_0002_0000, 10)],
                },
            ],
        }
    }
}

impl Tree for Sample {
    fn owner(&self) -> u64 {
        self.owner
    }

    fn units(&self) -> impl Iterator<Item = Unit<'_>> {
        self.units.iter().map(OwnedUnit::record)
    }

    fn domains(&self) -> impl Iterator<Item = Domain> {
        self.domains.iter().copied()
    }

    fn devices(&self) -> impl Iterator<Item = Device<'_>> {
        self.devices.iter().map(OwnedDevice::record)
    }
}

/// An index of `iommufds`.
pub fn index_of(required: Features, iommufds: &[Iommufd]) -> Vec<u8> {
    let mut blob = vec![0xa5; 1 << 16];
    let len = index::encode(&mut blob, required, iommufds.iter().copied()).unwrap();

    blob.truncate(len);
    blob
}

/// Reads a tree and its run list as the kernel does that takes over.
pub fn read<'a>(blob: &'a [u8], list: &'a [u8]) -> Result<(State<'a>, RunList<'a>), Error> {
    let state = State::parse(blob, Features::TEST)?;
    let runs = RunList::new(list, list.len() as u64 / 8).unwrap();
    let mut keys = vec![Key::default(); state.key_count(&runs)];

    state.check(&runs, &mut keys).map(|()| (state, runs))
}

/// Reads the nodes of a tree one by one.
pub fn read_tree_nodes(blob: &[u8]) -> Result<(), Error> {
    State::parse(blob, Features::TEST).map(|_| ())
}

/// Reads the nodes of an index one by one.
pub fn read_index_nodes(blob: &[u8]) -> Result<(), Error> {
    let index = Index::parse(blob, Features::TEST)?;

    index.iommufds().try_for_each(|iommufd| iommufd.map(|_| ()))
}

/// Divides the pages of one domain into runs, page by page.
pub fn runs_of(pages: &BTreeSet<u64>) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();

    for page in pages {
        match runs.last_mut() {
            Some(run) if run.pages < 4096 && run.base + u64::from(run.pages) * 4096 == *page => {
                run.pages += 1;
            }
            _ => runs.push(Run {
                base: *page,
                pages: 1,
            }),
        }
    }
    runs
}

/// The parts of a domain that have nothing to do with other nodes.
fn domain() -> impl Strategy<Value = Domain> {
    (
        (2u32..=4, 0u32..9, 32u32..=52),
        0u32..=pt_flag::ALL,
        0u64..1 << 52,
    )
        .prop_map(|((level, less, output), flags, sizes)| Domain {
            number: 0,
            top_table: 0,
            top_level: level,
            input_bits: 12 + 9 * (level + 1) - less.min(8),
            output_bits: output,
            pt_flags: flags,
            page_sizes: (sizes & !0xfff) | 0x1000,
            table_pages: 0,
            runs: RunRange::default(),
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
    // Pages of a domain, of which one is the top table, and how many are tables.
    let pages = (btree_set(0u64..24, 1..16), any::<[Pick; 2]>(), any::<u64>());
    let domains = vec((domain(), any::<Pick>(), pages), 0..6).prop_shuffle();
    let devices = vec((any::<(Pick, u32, u32)>(), vec(0u16..0x400, 1..4)), 0..12);
    let hwpts = btree_map(any::<Pick>().prop_map(|p| p.index(6)), any::<u32>(), 0..6);
    let numbers = (
        different(u64::MAX, 4),
        // Each with room for 32 pages behind it.
        different(1 << 35, 4 * 5 + 6),
        different(1 << 32, 6),
        different(1 << 16, 6),
        (any::<u64>(), 1u64..1 << 40),
    );

    (units, domains, devices, hwpts, numbers).prop_map(
        |(units, domains, devices, hwpts, numbers)| {
            let (bases, places, domain_numbers, domain_ids, (owner, list)) = numbers;
            let mut places = places.into_iter().map(|place| place << 17);

            let mut sample = Sample {
                owner,
                required: Features::NONE,
                units: units
                    .into_iter()
                    .zip(bases)
                    .map(
                        |((segment, capability, extended_capability), base)| OwnedUnit {
                            register_base: base,
                            segment,
                            capability,
                            extended_capability,
                            root_table: places.next().unwrap(),
                            // The buses of the requester ids above.
                            context_tables: (0..4)
                                .map(|bus| (bus, places.next().unwrap()))
                                .collect(),
                        },
                    )
                    .collect(),
                domains: Vec::new(),
                devices: Vec::new(),
                hwpts: Vec::new(),
                run_list: [list << 12, (list ^ 2) << 12],
                groups: Vec::new(),
            };
            let mut entries = 0;
            let units: Vec<_> = domains.iter().map(|(_, unit, _)| *unit).collect();
            for ((domain, _, (pages, [top, tables], checksum)), number) in
                domains.into_iter().zip(domain_numbers)
            {
                let place = places.next().unwrap();
                let pages: BTreeSet<_> = pages.into_iter().map(|n| place + (n << 12)).collect();
                let group = OwnedGroup {
                    checksum,
                    runs: runs_of(&pages),
                };

                sample.domains.push(Domain {
                    number: number as u32,
                    top_table: *pages.iter().nth(top.index(pages.len())).unwrap(),
                    table_pages: 1 + tables.index(pages.len()) as u64,
                    runs: RunRange {
                        first: entries,
                        count: group.entries(),
                    },
                    ..domain
                });
                entries += group.entries();
                sample.groups.push(group);
            }
            // The order of the domains is none of the list.
            sample.domains.sort_by_key(|d| d.top_table);
            for (domain, token) in hwpts {
                if let Some(domain) = sample.domains.get(domain) {
                    sample.hwpts.push(Hwpt {
                        token: u64::from(token) << 8 | domain.runs.first as u64,
                        domain: domain.number,
                    });
                }
            }
            let mut used = BTreeSet::new();
            for ((domain, vendor_device, class), mut ids) in devices {
                if sample.domains.is_empty() {
                    break;
                }
                let index = domain.index(sample.domains.len());
                let unit = units[index].get(&sample.units);
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
                        requester_ids: ids,
                    });
                }
            }
            sample
        },
    )
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
