// SPDX-License-Identifier: GPL-2.0

//! Agreement with `dtc`, which knows nothing of this crate.

mod sample;

use std::collections::BTreeMap;

use liveupdate_state::{
    Iommufd,
    RunListRecord, //
};
use proptest::prelude::*;
use sample::Sample;

/// The properties of all nodes by their paths, in bytes.
type Tree = BTreeMap<(String, String), Vec<u8>>;

/// Reads the value of a property as `dtc` prints it: strings, cells or bytes, as it sees fit.
fn value(text: &str) -> Vec<u8> {
    let inner = |close| text[1..].strip_suffix(close).unwrap();
    let hex = |number: &str| u32::from_str_radix(number.trim_start_matches("0x"), 16).unwrap();

    match text.chars().next() {
        Some('<') => inner('>')
            .split_whitespace()
            .flat_map(|cell| hex(cell).to_be_bytes())
            .collect(),
        Some('[') => inner(']')
            .split_whitespace()
            .map(|byte| hex(byte) as u8)
            .collect(),
        _ => strings(text),
    }
}

fn strings(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut inside = false;
    let mut chars = text.chars();

    while let Some(c) = chars.next() {
        match c {
            '"' => {
                if inside {
                    bytes.push(0);
                }
                inside = !inside;
            }
            '\\' => bytes.push(match chars.next().unwrap() {
                'a' => 7,
                'b' => 8,
                't' => 9,
                'n' => 10,
                'v' => 11,
                'f' => 12,
                'r' => 13,
                '0' => 0,
                c @ ('"' | '\\') => c as u8,
                c => panic!("escape {c} in {text}"),
            }),
            c if inside => bytes.push(c as u8),
            ',' | ' ' => {}
            c => panic!("{c} in {text}"),
        }
    }
    bytes
}

/// Reads what `dtc -O dts` prints.
fn tree(text: &str) -> Tree {
    let mut path = Vec::new();
    let mut tree = Tree::new();

    for line in text
        .lines()
        .skip(1)
        .map(str::trim)
        .filter(|l| !l.is_empty())
    {
        if let Some(name) = line.strip_suffix(" {") {
            path.push(name.to_string());
            tree.insert((path.concat(), String::new()), vec![]);
        } else if line == "};" {
            path.pop().unwrap();
        } else {
            let line = line.strip_suffix(';').unwrap();
            let (name, text) = line.split_once(" = ").unwrap_or((line, "[]"));
            tree.insert((path.concat(), name.to_string()), value(text));
        }
    }
    assert!(path.is_empty(), "{text}");
    tree
}

/// What a state looks like by the description of the format.
fn expected(sample: &Sample) -> Tree {
    let mut tree = Tree::new();
    let mut node = |path: String, properties: &[(&str, Vec<u8>)]| {
        tree.insert((path.clone(), String::new()), vec![]);
        for (name, value) in properties {
            tree.insert((path.clone(), name.to_string()), value.clone());
        }
    };

    node(
        "/".into(),
        &[
            ("compatible", b"linux,iommufd-liveupdate-v1\0".to_vec()),
            ("owner", cells(sample.owner)),
            ("run-list", run_list(&sample.run_list())),
        ],
    );
    for unit in &sample.units {
        let tables = unit.context_tables.iter();
        node(
            format!("/iommu@{:x}", unit.register_base),
            &[
                ("compatible", b"intel,vt-d-legacy\0".to_vec()),
                ("register-base", cells(unit.register_base)),
                ("segment", cell(unit.segment.into())),
                ("capability", cells(unit.capability)),
                ("extended-capability", cells(unit.extended_capability)),
                ("root-table", cells(unit.root_table)),
                (
                    "context-tables",
                    tables
                        .flat_map(|(bus, table)| [cells((*bus).into()), cells(*table)].concat())
                        .collect(),
                ),
            ],
        );
    }
    for domain in &sample.domains {
        node(
            format!("/domain@{:x}", domain.number),
            &[
                ("number", cell(domain.number)),
                ("format", b"vtd-second-stage\0".to_vec()),
                ("top-table", cells(domain.top_table)),
                ("top-level", cell(domain.top_level)),
                ("input-address-bits", cell(domain.input_bits)),
                ("output-address-bits", cell(domain.output_bits)),
                ("page-table-flags", cell(domain.pt_flags)),
                ("page-sizes", cells(domain.page_sizes)),
                ("table-pages", cells(domain.table_pages)),
                (
                    "runs",
                    [cell(domain.runs.first), cell(domain.runs.count)].concat(),
                ),
            ],
        );
    }
    for device in &sample.devices {
        let id = device.address.requester_id;
        let ids = device.requester_ids.iter();
        node(
            format!(
                "/device@{:x},{:02x},{:02x}.{}",
                device.address.segment,
                id / 256,
                id / 8 % 32,
                id % 8
            ),
            &[
                ("segment", cell(device.address.segment.into())),
                ("address", cell(id.into())),
                ("vendor-device", cell(device.vendor_device)),
                ("class", cell(device.class)),
                ("iommu", cells(device.unit)),
                (
                    "requester-ids",
                    ids.flat_map(|id| cell((*id).into())).collect(),
                ),
                ("domain", cell(device.domain)),
                ("domain-id", cell(device.domain_id.into())),
            ],
        );
    }
    for hwpt in &sample.hwpts {
        node(
            format!("/hwpt@{:x}", hwpt.token),
            &[("token", cells(hwpt.token)), ("domain", cell(hwpt.domain))],
        );
    }
    tree
}

fn cell(value: u32) -> Vec<u8> {
    value.to_be_bytes().to_vec()
}

fn cells(value: u64) -> Vec<u8> {
    value.to_be_bytes().to_vec()
}

fn run_list(record: &RunListRecord) -> Vec<u8> {
    let [first, second] = record.copies;

    [first, second, record.entries, record.checksum]
        .map(cells)
        .concat()
}

/// What an index looks like by the description of the format.
fn expected_index(iommufd: &Iommufd) -> Tree {
    let path = format!("/iommufd@{:x}", iommufd.owner);
    let root = ("/".to_string(), "compatible".to_string());
    let node = |(name, value): (&str, _)| ((path.clone(), name.to_string()), value);

    [
        (root, b"linux,iommu-liveupdate-v1\0".to_vec()),
        (("/".into(), String::new()), vec![]),
        node(("", vec![])),
        node(("owner", cells(iommufd.owner))),
        node((
            "state",
            [cells(iommufd.state), cells(iommufd.size)].concat(),
        )),
        node(("run-list", run_list(&iommufd.run_list))),
    ]
    .into()
}

fn printed(sample: &Sample) -> Tree {
    print(&sample.blob())
}

fn print(blob: &[u8]) -> Tree {
    let (text, warnings) = sample::dtc("dtb", "dts", blob);

    assert_eq!(warnings, "");
    tree(&String::from_utf8(text).unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn dtc_prints_what_was_written(sample in sample::sample()) {
        prop_assert_eq!(printed(&sample), expected(&sample));
        prop_assert_eq!(
            print(&sample.index()),
            expected_index(&sample.iommufd(0x2_0000_0000))
        );
    }
}

/// The control: a difference in any field is seen.
#[test]
fn differences_are_seen() {
    let sample = Sample::example();
    assert_eq!(printed(&sample), expected(&sample));

    let changes: &[fn(&mut Sample)] = &[
        |s| s.units[0].register_base += 1,
        |s| s.units[0].segment += 1,
        |s| s.units[0].capability += 1,
        |s| s.units[0].extended_capability += 1,
        |s| s.units[0].root_table += 1,
        |s| s.units[0].context_tables[0].0 += 1,
        |s| s.units[0].context_tables[1].1 += 1,
        |s| s.domains[0].number += 1,
        |s| s.domains[0].top_table += 1,
        |s| s.domains[0].top_level += 1,
        |s| s.domains[0].input_bits += 1,
        |s| s.domains[0].output_bits += 1,
        |s| s.domains[0].pt_flags ^= 1,
        |s| s.domains[0].page_sizes += 1,
        |s| s.domains[0].table_pages += 1,
        |s| s.devices[0].address.segment += 1,
        |s| s.devices[0].address.requester_id += 1,
        |s| s.devices[0].vendor_device += 1,
        |s| s.devices[0].class += 1,
        |s| s.devices[0].unit += 1,
        |s| s.devices[1].requester_ids[1] += 1,
        |s| s.devices[0].domain += 1,
        |s| s.devices[0].domain_id += 1,
        |s| s.owner += 1,
        |s| s.run_list[0] += 1,
        |s| s.run_list[1] += 1,
        |s| s.groups[0].checksum += 1,
        |s| s.groups[0].runs[0].pages += 1,
        |s| _ = s.groups.pop(),
        |s| s.domains[0].runs.first += 1,
        |s| s.domains[0].runs.count += 1,
        |s| s.hwpts[0].token += 0x100,
        |s| s.hwpts[0].domain += 1,
        |s| drop(s.devices.pop()),
    ];
    for (index, change) in changes.iter().enumerate() {
        let mut other = sample.clone();
        change(&mut other);
        assert_ne!(printed(&other), expected(&sample), "change {index}");
    }
}
