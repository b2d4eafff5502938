// SPDX-License-Identifier: GPL-2.0

//! Which states are rejected, and why. Each is a text by the description of the format, which `dtc`
//! compiles, so that the writer has no part in it.

mod sample;

use std::collections::BTreeSet;

use liveupdate_state::{
    schema::{
        self,
        property, //
    },
    Error,
    State, //
};
use proptest::{
    collection::vec,
    prelude::*,
    sample::Index, //
};
use sample::Sample;

/// The state of [`Sample::example`].
const STATE: &str = r#"/dts-v1/;
/ {
	compatible = "linux,iommu-liveupdate-v1";
	iommu@fed90000 {
		compatible = "intel,vt-d-legacy";
		register-base = <0x0 0xfed90000>;
		segment = <0x0>;
		capability = <0xd2008c 0x222660c2>;
		extended-capability = <0x0 0xf00f4a>;
		root-table = <0x1 0x1000>;
		context-tables = <0 0 0x1 0x2000 0 2 0x1 0x3000>;
	};
	domain@3 {
		number = <0x3>;
		format = "vtd-second-stage";
		top-table = <0x1 0x10000>;
		top-level = <0x3>;
		input-address-bits = <48>;
		output-address-bits = <46>;
		page-table-flags = <0x3>;
		page-sizes = <0x0 0x40201000>;
		table-pages = <0 9>;
	};
	domain@7 {
		number = <0x7>;
		format = "vtd-second-stage";
		top-table = <0x1 0x20000>;
		top-level = <3>;
		input-address-bits = <48>;
		output-address-bits = <46>;
		page-table-flags = <0x3>;
		page-sizes = <0 0x40201000>;
		table-pages = <0 9>;
	};
	device@0,00,03.0 {
		segment = <0x0>;
		address = <0x18>;
		vendor-device = <0x1af41041>;
		class = <0x20000>;
		iommu = <0x0 0xfed90000>;
		requester-ids = <0x18>;
		domain = <0x3>;
		domain-id = <0x2>;
		owner = <0x0 5>;
	};
	device@0,02,01.0 {
		segment = <0>;
		address = <0x208>;
		vendor-device = <0x1af41041>;
		class = <0x20000>;
		iommu = <0 0xfed90000>;
		requester-ids = <0x208 0x200>;
		domain = <3>;
		domain-id = <2>;
		owner = <0 5>;
	};
	device@0,02,02.0 {
		segment = <0>;
		address = <0x210>;
		vendor-device = <0x1af41041>;
		class = <0x20000>;
		iommu = <0 0xfed90000>;
		requester-ids = <0x210>;
		domain = <7>;
		domain-id = <9>;
		owner = <0 5>;
	};
};
"#;

/// A second unit with a device of its own.
const SECOND_UNIT: &str = r#"
	iommu@fed91000 {
		compatible = "intel,vt-d-legacy";
		register-base = <0x0 0xfed91000>;
		segment = <0>;
		capability = <0 0>;
		extended-capability = <0 0>;
		root-table = <0x1 0x4000>;
		context-tables = <0 0 0x1 0x5000>;
	};
	domain@8 {
		number = <0x8>;
		format = "vtd-second-stage";
		top-table = <0x1 0x30000>;
		top-level = <3>;
		input-address-bits = <48>;
		output-address-bits = <46>;
		page-table-flags = <0x3>;
		page-sizes = <0 0x40201000>;
		table-pages = <0 9>;
	};
	device@0,00,05.0 {
		segment = <0>;
		address = <0x28>;
		vendor-device = <0x1af41041>;
		class = <0x20000>;
		iommu = <0 0xfed91000>;
		requester-ids = <0x28>;
		domain = <0x8>;
		domain-id = <0x2>;
		owner = <0 6>;
	};
};
"#;

const IOMMUFD: &str = r#"/dts-v1/;
/ {
	compatible = "linux,iommufd-liveupdate-v1";
	owner = <0 5>;
	hwpt@11 { token = <0 0x11>; domain = <0x3>; };
	hwpt@12 { token = <0 0x12>; domain = <7>; };
};
"#;

fn with_second_unit() -> String {
    format!("{}{SECOND_UNIT}", STATE.strip_suffix("};\n").unwrap())
}

fn compile(text: &str) -> Vec<u8> {
    sample::dtc("dts", "dtb", text.as_bytes()).0
}

/// Replaces the first occurrence of `from`, which there must be.
fn damage(text: &str, from: &str, to: &str) -> String {
    assert!(text.contains(from), "{from}");
    text.replacen(from, to, 1)
}

fn check(text: &str) -> Result<(), Error> {
    sample::read(&compile(text)).map(|_| ())
}

fn range(node: &'static str, property: &'static str) -> Result<(), Error> {
    Err(Error::Range { node, property })
}

#[test]
fn controls() {
    let blob = compile(STATE);
    let state = sample::read(&blob).unwrap();
    assert_eq!(Sample::read(state), Sample::example());

    assert_eq!(check(&with_second_unit()), Ok(()));

    let blob = compile(IOMMUFD);
    let state = sample::read_iommufd(&blob).unwrap();
    let hwpts: Vec<_> = state.hwpts().map(|h| (h.token, h.domain)).collect();
    assert_eq!((state.owner(), hwpts), (5, vec![(0x11, 3), (0x12, 7)]));
}

/// What a later version may add, a reader skips.
#[test]
fn additions_are_skipped() {
    for (from, to) in [
        ("\tiommu@", "\tnew@1 { x = <1>; };\n\tiommu@"),
        ("\tiommu@", "\tnew-property;\n\tiommu@"),
        ("\t\tnumber", "\t\tnew-property = <1>;\n\t\tnumber"),
        ("\tiommu@", "\trequired-features;\n\tiommu@"),
        (
            "\t\tsegment = <0>;\n\t\taddress = <0x208>;",
            "\t\taddress = <0x208>;\n\t\tsegment = <0>;",
        ),
    ] {
        assert_eq!(check(&damage(STATE, from, to)), Ok(()), "{to}");
    }
    let more = damage(IOMMUFD, "owner", "new-property;\n\towner");
    assert!(sample::read_iommufd(&compile(&more)).is_ok());
}

#[test]
fn versions() {
    let wrong = Err(Error::Incompatible);
    for (from, to, expected) in [
        ("iommu-liveupdate-v1", "iommu-liveupdate-v2", wrong),
        ("iommu-liveupdate-v1", "iommufd-liveupdate-v1", wrong),
        (
            "iommu-liveupdate-v1\"",
            "iommu-liveupdate-v1\", \"x\"",
            wrong,
        ),
        ("compatible = \"linux,iommu-liveupdate-v1\";", "", wrong),
        ("intel,vt-d-legacy", "intel,vt-d-scalable", wrong),
        ("vtd-second-stage", "vtd-first-stage", wrong),
        (
            "\tiommu@",
            "\trequired-features = \"pasid\";\n\tiommu@",
            Err(Error::UnknownFeature),
        ),
    ] {
        let result = check(&damage(STATE, from, to));
        assert_eq!(result, expected, "{to}");
        assert!(result.is_err_and(Error::is_version), "{to}");
    }
    assert!(!Error::Duplicate("x").is_version());
}

/// Every property of every kind of node, left out and with sizes that it cannot have.
#[test]
fn properties() {
    let kinds: [(&'static str, &str); 3] = [
        (schema::IOMMU, "\tiommu@fed90000 {"),
        (schema::DOMAIN, "\tdomain@3 {"),
        (schema::DEVICE, "\tdevice@0,00,03.0 {"),
    ];
    let mut properties = 0;

    for (node, begin) in kinds {
        let at = STATE.find(begin).unwrap() + begin.len();
        let (before, rest) = STATE.split_at(at);
        let (body, after) = rest.split_at(rest.find("};").unwrap());

        for line in body.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let name = line.split_once(" =").unwrap().0;
            // In all, such a value has 0, 2, 4, 8, 12 or 16 bytes; no property may have all.
            for value in [None, Some(""), Some("[00 01]"), Some("<0 0 0>")] {
                let changed = match value {
                    None => String::new(),
                    Some("") => format!("{name};"),
                    Some(value) => format!("{name} = {value};"),
                };
                let text = format!("{before}{}{after}", body.replace(line, &changed));
                let is_list = name == property::REQUESTER_IDS || name == property::CONTEXT_TABLES;

                match (check(&text), is_list && value.is_some()) {
                    (Err(Error::Property { node: n, property }), false) => {
                        assert_eq!((n, property), (node, name), "{changed}");
                    }
                    // An empty list of context tables has none for the devices, other lists are
                    // out of range.
                    (Err(Error::Range { node: n, property }), true) => {
                        assert_eq!((n, property), (node, name), "{changed}");
                    }
                    (Err(Error::Dangling(_)), true) => {
                        assert_eq!((name, value), (property::CONTEXT_TABLES, Some("")));
                    }
                    (result, _) => panic!("{changed}: {result:?}"),
                }
            }
            properties += 1;
        }
    }
    assert_eq!(properties, 7 + 9 + 9);
}

#[test]
fn ranges() {
    let iommu = |property| range(schema::IOMMU, property);
    let domain = |property| range(schema::DOMAIN, property);
    let device = |property| range(schema::DEVICE, property);

    for (from, to, expected) in [
        (
            "segment = <0x0>",
            "segment = <0x10000>",
            iommu(property::SEGMENT),
        ),
        (
            "root-table = <0x1 0x1000>",
            "root-table = <0 0>",
            iommu(property::ROOT_TABLE),
        ),
        (
            "root-table = <0x1 0x1000>",
            "root-table = <1 0x1008>",
            iommu(property::ROOT_TABLE),
        ),
        (
            "root-table = <0x1 0x1000>",
            "root-table = <0x100000 0>",
            iommu(property::ROOT_TABLE),
        ),
        (
            "0 0 0x1 0x2000",
            "0 0x100 0x1 0x2000",
            iommu(property::CONTEXT_TABLES),
        ),
        (
            "0 0 0x1 0x2000",
            "0 0 0x1 0x2001",
            iommu(property::CONTEXT_TABLES),
        ),
        ("0 0 0x1 0x2000", "0 0 0 0", iommu(property::CONTEXT_TABLES)),
        (
            "0 0 0x1 0x2000",
            "0 0 0x1 0x2000 0 1",
            iommu(property::CONTEXT_TABLES),
        ),
        (
            "top-table = <0x1 0x10000>",
            "top-table = <0 0>",
            domain(property::TOP_TABLE),
        ),
        (
            "top-table = <0x1 0x10000>",
            "top-table = <1 0x10800>",
            domain(property::TOP_TABLE),
        ),
        (
            "top-table = <0x1 0x10000>",
            "top-table = <0xfff00000 0>",
            domain(property::TOP_TABLE),
        ),
        (
            "top-level = <0x3>",
            "top-level = <1>",
            domain(property::TOP_LEVEL),
        ),
        (
            "top-level = <0x3>",
            "top-level = <5>",
            domain(property::TOP_LEVEL),
        ),
        (
            "top-level = <0x3>",
            "top-level = <2>",
            domain(property::INPUT_BITS),
        ),
        ("top-level = <0x3>", "top-level = <4>", Ok(())),
        (
            "input-address-bits = <48>",
            "input-address-bits = <49>",
            domain(property::INPUT_BITS),
        ),
        (
            "input-address-bits = <48>",
            "input-address-bits = <30>",
            domain(property::INPUT_BITS),
        ),
        (
            "input-address-bits = <48>",
            "input-address-bits = <39>",
            Ok(()),
        ),
        (
            "output-address-bits = <46>",
            "output-address-bits = <31>",
            domain(property::OUTPUT_BITS),
        ),
        (
            "output-address-bits = <46>",
            "output-address-bits = <53>",
            domain(property::OUTPUT_BITS),
        ),
        (
            "output-address-bits = <46>",
            "output-address-bits = <52>",
            Ok(()),
        ),
        (
            "page-table-flags = <0x3>",
            "page-table-flags = <0x7>",
            domain(property::PT_FLAGS),
        ),
        ("<0x0 0x40201000>", "<0 0>", domain(property::PAGE_SIZES)),
        (
            "<0x0 0x40201000>",
            "<0 0x40200000>",
            domain(property::PAGE_SIZES),
        ),
        (
            "<0x0 0x40201000>",
            "<0 0x40201800>",
            domain(property::PAGE_SIZES),
        ),
        ("<0x0 0x40201000>", "<0 0x1000>", Ok(())),
        (
            "table-pages = <0 9>",
            "table-pages = <0 0>",
            domain(property::TABLE_PAGES),
        ),
        (
            "segment = <0>",
            "segment = <0x10000>",
            device(property::SEGMENT),
        ),
        ("segment = <0>", "segment = <1>", device(property::SEGMENT)),
        (
            "address = <0x18>",
            "address = <0x10018>",
            device(property::ADDRESS),
        ),
        (
            "address = <0x18>",
            "address = <0x20>",
            device(property::REQUESTER_IDS),
        ),
        (
            "<0x208 0x200>",
            "<0x208 0x10200>",
            device(property::REQUESTER_IDS),
        ),
        ("<0x208 0x200>", "<0x200>", device(property::REQUESTER_IDS)),
        ("<0x208 0x200>", "<0x208>", Ok(())),
        (
            "domain-id = <0x2>",
            "domain-id = <0x10002>",
            device(property::DOMAIN_ID),
        ),
    ] {
        assert_eq!(check(&damage(STATE, from, to)), expected, "{to}");
    }
}

#[test]
fn references() {
    let dangling = Err(Error::Dangling(schema::DEVICE));
    for (from, to) in [
        ("iommu = <0x0 0xfed90000>", "iommu = <0 0xfed91000>"),
        ("iommu = <0x0 0xfed90000>", "iommu = <1 0xfed90000>"),
        ("domain = <0x3>", "domain = <4>"),
        // No context table for the bus of an address, or of an alias.
        ("0 0 0x1 0x2000", "0 1 0x1 0x2000"),
        ("<0x208 0x200>", "<0x208 0x100>"),
    ] {
        assert_eq!(check(&damage(STATE, from, to)), dangling, "{to}");
    }
}

#[test]
fn duplicates() {
    let duplicate = |what| Err(Error::Duplicate(what));
    let tables = || duplicate(property::CONTEXT_TABLES);
    let ids = || duplicate(property::REQUESTER_IDS);

    for (from, to, expected) in [
        (
            "register-base = <0x0 0xfed91000>",
            "register-base = <0 0xfed90000>",
            duplicate(schema::IOMMU),
        ),
        ("number = <0x7>", "number = <3>", duplicate(schema::DOMAIN)),
        // One page for two tables.
        ("0x1 0x20000", "1 0x10000", tables()),
        ("0x1 0x20000", "1 0x1000", tables()),
        ("0x1 0x20000", "1 0x2000", tables()),
        ("0 2 0x1 0x3000", "0 2 1 0x2000", tables()),
        ("0 2 0x1 0x3000", "0 2 1 0x1000", tables()),
        (
            "root-table = <0x1 0x4000>",
            "root-table = <1 0x1000>",
            tables(),
        ),
        ("0 0 0x1 0x5000", "0 0 1 0x2000", tables()),
        // One bus with two tables.
        ("0 2 0x1 0x3000", "0 0 1 0x3000", tables()),
        // Devices.
        (
            "address = <0x28>;",
            "address = <0x18>;",
            range(schema::DEVICE, property::REQUESTER_IDS),
        ),
        (
            "requester-ids = <0x210>",
            "requester-ids = <0x210 0x200>",
            ids(),
        ),
        ("<0x208 0x200>", "<0x208 0x208>", ids()),
        (
            "requester-ids = <0x28>",
            "requester-ids = <0x28 0x18>",
            Ok(()),
        ),
    ] {
        let text = damage(&with_second_unit(), from, to);
        assert_eq!(check(&text), expected, "{to}");
    }

    let text = damage(&with_second_unit(), "address = <0x28>", "address = <0x18>");
    let text = damage(&text, "requester-ids = <0x28>", "requester-ids = <0x18>");
    assert_eq!(check(&text), duplicate(schema::DEVICE));
}

#[test]
fn conflicts() {
    let conflict = |property| Err(Error::Conflict(property));

    for (from, to, expected) in [
        // A domain with two domain ids, and a domain id with two domains.
        (
            "domain-id = <0x2>",
            "domain-id = <3>",
            conflict(property::DOMAIN_ID),
        ),
        (
            "domain-id = <9>",
            "domain-id = <2>",
            conflict(property::DOMAIN_ID),
        ),
        ("domain-id = <9>", "domain-id = <3>", Ok(())),
        // The same domain id in another unit is another one.
        (
            "domain = <0x8>;\n\t\tdomain-id = <0x2>",
            "domain = <8>;\n\t\tdomain-id = <9>",
            Ok(()),
        ),
        // A domain behind two units, and a domain with two owners.
        ("domain = <0x8>", "domain = <3>", conflict(property::IOMMU)),
        (
            "owner = <0x0 5>",
            "owner = <0 6>",
            conflict(property::OWNER),
        ),
    ] {
        let text = damage(&with_second_unit(), from, to);
        assert_eq!(check(&text), expected, "{to}");
    }
}

#[test]
fn iommufd_states() {
    let missing = |node, property| Some(Error::Property { node, property });
    let incompatible = Some(Error::Incompatible);

    for (from, to, expected) in [
        (
            "iommufd-liveupdate-v1",
            "iommufd-liveupdate-v2",
            incompatible,
        ),
        (
            "compatible = \"linux,iommufd-liveupdate-v1\";",
            "",
            incompatible,
        ),
        (
            "owner",
            "required-features = \"x\";\n\towner",
            Some(Error::UnknownFeature),
        ),
        ("owner = <0 5>;", "", missing("iommufd", property::OWNER)),
        (
            "owner = <0 5>",
            "owner = <5>",
            missing("iommufd", property::OWNER),
        ),
        (
            "token = <0 0x11>;",
            "",
            missing(schema::HWPT, property::TOKEN),
        ),
        (
            "token = <0 0x11>",
            "token = <0x11>",
            missing(schema::HWPT, property::TOKEN),
        ),
        (
            "domain = <0x3>;",
            "",
            missing(schema::HWPT, property::DOMAIN),
        ),
        (
            "domain = <0x3>",
            "domain = <0 3>",
            missing(schema::HWPT, property::DOMAIN),
        ),
        (
            "token = <0 0x12>",
            "token = <0 0x11>",
            Some(Error::Duplicate(schema::HWPT)),
        ),
        // Two HWPTs may not be told apart by their domains, but by their tokens.
        ("token = <0 0x12>", "token = <1 0x11>", None),
    ] {
        let blob = compile(&damage(IOMMUFD, from, to));
        assert_eq!(sample::read_iommufd(&blob).err(), expected, "{to}");
    }
}

proptest! {
    /// Two equal numbers are found among many, wherever they are.
    #[test]
    fn duplicates_among_many(
        ids in vec(any::<u16>(), 2..200).prop_map(|ids| ids.into_iter().collect::<BTreeSet<_>>()),
        order in any::<u64>(),
        twins in any::<(Index, Index)>(),
    ) {
        let mut sample = Sample::example();
        let device = sample.devices[0].clone();
        sample.units[0].context_tables = (0..=255)
            .map(|bus| (bus, 0x2_0000_0000 + u64::from(bus) * 0x1000))
            .collect();
        sample.devices.clear();
        for id in ids {
            let mut device = device.clone();
            device.address.requester_id = id;
            device.requester_ids = vec![id];
            sample.devices.push(device);
        }
        // Any order that is not sorted.
        sample.devices.sort_by_key(|d| u64::from(d.requester_ids[0]).wrapping_mul(order | 1));
        prop_assert!(sample::read(&sample.blob()).is_ok());

        let (a, b) = (twins.0.index(sample.devices.len()), twins.1.index(sample.devices.len()));
        if a != b {
            let mut aliased = sample.clone();
            let id = aliased.devices[a].requester_ids[0];
            aliased.devices[b].requester_ids.push(id);
            let result = sample::read(&aliased.blob()).err();
            prop_assert_eq!(result, Some(Error::Duplicate(property::REQUESTER_IDS)));
        }
    }
}

/// No format is taken for the other one.
#[test]
fn formats_are_not_mixed_up() {
    assert_eq!(
        sample::read_iommufd(&compile(STATE)).err(),
        Some(Error::Incompatible)
    );
    assert_eq!(
        State::parse(&compile(IOMMUFD)).err(),
        Some(Error::Incompatible)
    );
}
