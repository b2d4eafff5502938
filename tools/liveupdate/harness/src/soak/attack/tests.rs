// SPDX-License-Identifier: GPL-2.0
//! Attacks on a hand-over that is made up.

use super::*;
use crate::soak::fdt::tests::tree;
use std::collections::BTreeMap;

/// Pages of memory.
#[derive(Clone, Default)]
struct Pages(BTreeMap<u64, Vec<u8>>);

impl Pages {
    fn put(&mut self, address: u64, bytes: &[u8]) {
        for (at, byte) in (address..).zip(bytes) {
            let page = self.0.entry(at & !0xfff).or_insert_with(|| vec![0; PAGE]);
            page[(at & 0xfff) as usize] = *byte;
        }
    }
}

impl Ram for Pages {
    fn get(&self, address: u64, len: usize) -> Option<Vec<u8>> {
        let bytes = (address..).take(len);
        bytes
            .map(|at| Some(self.0.get(&(at & !0xfff))?[(at & 0xfff) as usize]))
            .collect()
    }
}

const INDEX: u64 = 0x10_0000;
const ROOT: u64 = 0x11_0000;
const CONTEXT: u64 = 0x11_1000;

fn u64s(values: &[u64]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_be_bytes()).collect()
}

fn u32s(values: &[u32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_be_bytes()).collect()
}

/// The hand-over of one iommufd whose pages begin at `base`, with a device.
fn iommufd(
    ram: &mut Pages,
    base: u64,
    owner: u64,
    id: u32,
    device: u32,
) -> Vec<(&'static str, Vec<u8>)> {
    let (state, lists, top) = (base, [base + 0x4000, base + 0x5000], base + 0x8000);
    for level in 0..3 {
        let entry: u64 = (top + (level + 1) * 0x1000) | 3;
        ram.put(top + level * 0x1000, &entry.to_le_bytes());
    }
    for page in 0..64 {
        let entry: u64 = (base + 0x10_0000 + page * 0x1000) | 3;
        ram.put(top + 0x3000 + page * 8, &entry.to_le_bytes());
    }
    let runs = u64s(&[1, 7, top | 3]);
    for list in lists {
        ram.put(list, &runs);
    }
    let record = u64s(&[lists[0], lists[1], 3, 8]);
    let entry = [top | 1, 2 | (owner + 2) << 8];
    ram.put(
        CONTEXT + u64::from(id) * 16,
        &entry.map(u64::to_le_bytes).concat(),
    );
    let blob = tree(
        &[
            ("compatible", b"linux,iommufd-liveupdate-v1\0".to_vec()),
            ("owner", u64s(&[owner])),
            ("run-list", record.clone()),
        ],
        &[
            (
                "iommu@fed90000",
                vec![
                    ("compatible", b"intel,vt-d-legacy\0".to_vec()),
                    ("register-base", u64s(&[0xfed9_0000])),
                    ("root-table", u64s(&[ROOT])),
                    ("context-tables", u64s(&[0, CONTEXT])),
                ],
            ),
            (
                "domain@0",
                vec![
                    ("number", u32s(&[0])),
                    ("top-table", u64s(&[top])),
                    ("top-level", u32s(&[3])),
                    ("runs", u32s(&[0, 3])),
                ],
            ),
            (
                "device@0,00,07.0",
                vec![
                    ("address", u32s(&[id])),
                    ("vendor-device", u32s(&[device])),
                    ("iommu", u64s(&[0xfed9_0000])),
                    ("domain", u32s(&[0])),
                ],
            ),
            (
                "hwpt@100",
                vec![("token", u64s(&[0x100])), ("domain", u32s(&[0]))],
            ),
        ],
    );
    ram.put(state, &blob);
    vec![
        ("owner", u64s(&[owner])),
        ("state", u64s(&[state, blob.len() as u64])),
        ("run-list", record),
    ]
}

fn handover() -> (Pages, Handover) {
    let mut ram = Pages::default();
    ram.put(ROOT, &(CONTEXT | 1).to_le_bytes());
    let victim = iommufd(&mut ram, 0x100_0000, 0, 0x38, 0x1274_5000);
    let healthy = iommufd(&mut ram, 0x200_0000, 1, 0x40, 0x1b36_0010);
    let index = tree(
        &[("compatible", b"linux,iommu-liveupdate-v1\0".to_vec())],
        &[("iommufd@0", victim), ("iommufd@1", healthy)],
    );
    ram.put(INDEX, &index);
    let handover = Handover::read(&ram, INDEX).unwrap();
    (ram, handover)
}

fn surroundings() -> Surroundings {
    Surroundings {
        scratch: 0x300_0000,
        canaries: vec![0x400_0000],
        healthy: vec![0x500_0000],
        free: vec![0x600_0000],
        far: 40,
    }
}

#[test]
fn everything_is_found() {
    let (_, handover) = handover();
    let victim = &handover.victim;
    let tables: Vec<_> = victim.tables.iter().map(|t| (t.address, t.level)).collect();
    let top = 0x100_8000;
    assert_eq!(
        tables,
        [
            (top, 3),
            (top + 0x1000, 2),
            (top + 0x2000, 1),
            (top + 0x3000, 0)
        ]
    );
    assert_eq!(victim.context_entry, CONTEXT + 0x380);
    assert_eq!(victim.run_lists, [0x100_4000, 0x100_5000]);
    assert_eq!(handover.healthy.leaf().unwrap(), 0x200_b000);
}

/// Every attack changes something, is the same again from the same seed, and leaves alone what
/// belongs to the other iommufd only.
#[test]
fn attacks_are_what_they_say() {
    let (ram, handover) = handover();
    let around = surroundings();
    let target = Target {
        ram: &ram,
        handover: &handover,
        around: &around,
    };
    for kind in kinds::<Pages>() {
        for seed in 0..50 {
            let make = || (kind.make)(&target, &mut Rng::with_seed(seed)).unwrap();
            let (attack, again) = (make(), make());
            assert_eq!(attack.what, again.what, "{}", kind.name);
            assert_eq!(attack.writes, again.writes, "{}", kind.name);

            let mut changed = ram.clone();
            for write in &attack.writes {
                changed.put(write.address, &write.bytes);
            }
            assert!(changed.0 != ram.0, "{} {seed}: {}", kind.name, attack.what);
            let others = |pages: &Pages| -> Vec<_> {
                let pages = pages.0.iter();
                pages
                    .filter(|(page, _)| (0x200_0000..0x300_0000).contains(*page))
                    .map(|(_, bytes)| bytes.clone())
                    .collect()
            };
            assert_eq!(others(&changed), others(&ram), "{} {seed}", kind.name);
        }
    }
}

/// A run list that is forged is sound in itself.
#[test]
fn a_forged_run_list_adds_up() {
    let (ram, handover) = handover();
    let around = surroundings();
    let target = Target {
        ram: &ram,
        handover: &handover,
        around: &around,
    };
    let kinds = kinds::<Pages>();
    let kind = kinds
        .iter()
        .find(|k| k.name.contains("foreign page, forged"));
    for seed in 0..100 {
        let attack = (kind.unwrap().make)(&target, &mut Rng::with_seed(seed)).unwrap();
        let mut changed = ram.clone();
        for write in &attack.writes {
            changed.put(write.address, &write.bytes);
        }
        let victim = Handover::read(&changed, INDEX).unwrap().victim;
        let sum = xxhash_rust::xxh64::xxh64(&victim.runs, 0);
        assert_eq!(victim.tree.u64s(0, "run-list").unwrap()[3], sum);
        let pages: u64 = victim
            .runs
            .as_chunks::<8>()
            .0
            .iter()
            .skip(2)
            .map(|run| u64::from_be_bytes(*run) % 4096 + 1)
            .sum();
        assert!(pages >= 4, "{}", attack.what);
    }
}
