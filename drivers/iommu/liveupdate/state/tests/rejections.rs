// SPDX-License-Identifier: GPL-2.0

//! Which states are rejected, and why. Each is a text by the description of the format, which `dtc`
//! compiles, so that the writer has no part in it.

mod sample;

use std::collections::BTreeSet;

use liveupdate_state::{
    decode,
    runs::Run,
    schema::{
        self,
        property, //
    },
    Error,
    Features,
    Index,
    Iommufd,
    RunListRecord,
    State, //
};
use proptest::{
    collection::vec,
    prelude::*,
    sample::Index as Pick, //
};
use sample::{
    OwnedGroup,
    Sample, //
};

/// The state of [`Sample::example`].
const STATE: &str = r#"/dts-v1/;
/ {
	compatible = "linux,iommufd-liveupdate-v1";
	owner = <0 5>;
	run-list = <0x1 0x4000 0x1 0x6000 0 7 0x11111111 0x22222222>;
	iommu@fed90000 {
		compatible = "intel,vt-d-legacy";
		register-base = <0x0 0xfed90000>;
		segment = <0x0>;
		capability = <0xd2008c 0x222f0686>;
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
		runs = <0 4>;
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
		runs = <4 3>;
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
	};
	hwpt@100 {
		token = <0 0x100>;
		domain = <0x3>;
	};
	hwpt@101 {
		token = <0 0x101>;
		domain = <7>;
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
		runs = <7 3>;
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
	};
};
"#;

const INDEX: &str = r#"/dts-v1/;
/ {
	compatible = "linux,iommu-liveupdate-v1";
	iommufd@5 {
		owner = <0 5>;
		state = <0x2 0 0 1000>;
		run-list = <0x1 0x4000 0x1 0x6000 0 7 0 0>;
	};
	iommufd@6 {
		owner = <0 0x6>;
		state = <0x2 0x4000 0 1000>;
		run-list = <0x1 0x5000 0x1 0x7000 0 7 0 0>;
	};
};
"#;

fn with_second_unit() -> String {
    format!(
        "{}{}",
        STATE.strip_suffix("};\n").unwrap(),
        SECOND_UNIT.trim_start_matches('\n')
    )
}

fn compile(text: &str) -> Vec<u8> {
    sample::dtc("dts", "dtb", text.as_bytes()).0
}

/// Replaces the first occurrence of `from`, which there must be.
fn damage(text: &str, from: &str, to: &str) -> String {
    assert!(text.contains(from), "{from}");
    text.replacen(from, to, 1)
}

/// The groups of the example, and one for the domain of the second unit.
fn groups() -> Vec<OwnedGroup> {
    let more = OwnedGroup {
        checksum: 0,
        runs: vec![Run {
            base: 0x1_0003_0000,
            pages: 9,
        }],
    };

    [&Sample::example().groups[..], &[more]].concat()
}

/// Reads a tree that has the first `count` groups of the list.
fn check_with(text: &str, count: usize) -> Result<(), Error> {
    let mut sample = Sample::example();

    sample.groups = groups()[..count].to_vec();
    sample::read(&compile(text), &sample.list()).map(|_| ())
}

fn check(text: &str) -> Result<(), Error> {
    check_with(text, 2)
}

fn check_second_unit(text: &str) -> Result<(), Error> {
    check_with(text, 3)
}

fn range(node: &'static str, property: &'static str) -> Result<(), Error> {
    Err(Error::Range { node, property })
}

#[test]
fn controls() {
    let mut example = Sample::example();
    let checksum = example.run_list().checksum;
    let checksum = format!("{:#x} {:#x}", checksum >> 32, checksum as u32);
    let text = damage(STATE, "0x11111111 0x22222222", &checksum);
    assert_eq!(
        Sample::read(&compile(&text), &example.list()),
        Ok(example.clone())
    );

    assert_eq!(check_second_unit(&with_second_unit()), Ok(()));

    example.owner = 6;
    let index = compile(INDEX);
    let index = Index::parse(&index, Features::NONE).unwrap();
    let found: Vec<_> = index.iommufds().map(|i| i.unwrap()).collect();
    let expected = |owner, state, copies| Iommufd {
        owner,
        state,
        size: 1000,
        run_list: RunListRecord {
            copies,
            entries: 7,
            checksum: 0,
        },
    };
    assert_eq!(
        found,
        [
            expected(5, 0x2_0000_0000, [0x1_0000_4000, 0x1_0000_6000]),
            expected(6, 0x2_0000_4000, [0x1_0000_5000, 0x1_0000_7000]),
        ]
    );
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
    for (from, to) in [
        ("iommufd@5", "new@1 { x = <1>; };\n\tiommufd@5"),
        ("\towner", "\tnew-property;\n\towner"),
    ] {
        let text = damage(INDEX, from, to);
        assert_eq!(sample::read_index_nodes(&compile(&text)), Ok(()), "{to}");
    }
}

#[test]
fn versions() {
    let wrong = Err(Error::Incompatible);
    for (from, to, expected) in [
        ("iommufd-liveupdate-v1", "iommufd-liveupdate-v2", wrong),
        ("iommufd-liveupdate-v1", "iommu-liveupdate-v1", wrong),
        (
            "iommufd-liveupdate-v1\"",
            "iommufd-liveupdate-v1\", \"x\"",
            wrong,
        ),
        ("compatible = \"linux,iommufd-liveupdate-v1\";", "", wrong),
        ("intel,vt-d-legacy", "intel,vt-d-scalable", wrong),
        ("vtd-second-stage", "vtd-first-stage", wrong),
        (
            "\tiommu@",
            "\trequired-features = \"pasid\";\n\tiommu@",
            Err(Error::UnknownFeature),
        ),
        (
            "\tiommu@",
            "\trequired-features = \"test\", \"pasid\";\n\tiommu@",
            Err(Error::UnknownFeature),
        ),
    ] {
        let result = check(&damage(STATE, from, to));
        assert_eq!(result, expected, "{to}");
        assert!(result.is_err_and(Error::is_version), "{to}");
    }
    for (from, to, expected) in [
        ("iommu-liveupdate-v1", "iommu-liveupdate-v2", wrong),
        ("iommu-liveupdate-v1", "iommufd-liveupdate-v1", wrong),
        ("compatible = \"linux,iommu-liveupdate-v1\";", "", wrong),
        (
            "\tiommufd@",
            "\trequired-features = \"pasid\";\n\tiommufd@",
            Err(Error::UnknownFeature),
        ),
    ] {
        let result = sample::read_index_nodes(&compile(&damage(INDEX, from, to)));
        assert_eq!(result, expected, "{to}");
    }
    assert!(!Error::Duplicate("x").is_version());
}

/// A feature is required of those alone who do not have it.
#[test]
fn features() {
    let required = "\trequired-features = \"test\";\n\tiommu";
    let tree = compile(&damage(STATE, "\tiommu", required));
    let index = compile(&damage(INDEX, "\tiommu", required));

    for (supported, expected) in [
        (Features::TEST, Ok(())),
        (Features::NONE, Err(Error::UnknownFeature)),
    ] {
        assert_eq!(State::parse(&tree, supported).map(|_| ()), expected);
        assert_eq!(Index::parse(&index, supported).map(|_| ()), expected);
    }
}

/// Where the run list is can be told even if nothing else can.
#[test]
fn run_lists_of_rejected_states() {
    let list = Some(RunListRecord {
        copies: [0x1_0000_4000, 0x1_0000_6000],
        entries: 7,
        checksum: 0x1111_1111_2222_2222,
    });

    for (from, to, expected) in [
        ("linux,iommufd", "linux,iommufe", list),
        ("owner = <0 5>;", "", list),
        ("register-base", "register-bass", list),
        ("run-list", "run-lisp", None),
        ("<0x1 0x4000 0x1", "<0x1 0x4001 0x1", None),
        ("0x1 0x6000 0 7", "0x1 0x6001 0 7", None),
        ("0x1 0x6000 0 7", "0x1 0x6000 7", None),
    ] {
        let blob = compile(&damage(STATE, from, to));
        assert!(sample::read_tree_nodes(&blob).is_err(), "{to}");
        assert_eq!(decode::run_list(&blob), expected, "{to}");
    }
    assert_eq!(decode::run_list(&[]), None);
}

/// Every property of every kind of node, left out and with sizes that it cannot have.
#[test]
fn properties() {
    let kinds: [(&'static str, &str, &str, &str); 6] = [
        (schema::IOMMUFD, INDEX, "\tiommufd@5 {", "};"),
        (schema::IOMMUFD, STATE, "v1\";", "\tiommu@"),
        (schema::IOMMU, STATE, "\tiommu@fed90000 {", "};"),
        (schema::DOMAIN, STATE, "\tdomain@3 {", "};"),
        (schema::DEVICE, STATE, "\tdevice@0,00,03.0 {", "};"),
        (schema::HWPT, STATE, "\thwpt@100 {", "};"),
    ];
    let mut properties = 0;

    for (node, text, begin, end) in kinds {
        let at = text.find(begin).unwrap() + begin.len();
        let (before, rest) = text.split_at(at);
        let (body, after) = rest.split_at(rest.find(end).unwrap());
        let check = |tree: &str| match text {
            INDEX => sample::read_index_nodes(&compile(tree)),
            _ => check(tree),
        };

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
    assert_eq!(properties, 3 + 2 + 7 + 10 + 8 + 2);
}

#[test]
fn ranges() {
    let iommufd = |property| range(schema::IOMMUFD, property);
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
            "<0x1 0x4000 0x1 0x6000 0 7",
            "<0x1 0x4000 0 0 0 7",
            iommufd(property::RUN_LIST),
        ),
        ("<0x1 0x4000 0x1", "<0 0 0x1", iommufd(property::RUN_LIST)),
        (
            "<0x1 0x4000 0x1",
            "<1 0x4800 0x1",
            iommufd(property::RUN_LIST),
        ),
        (
            "<0x1 0x4000 0x1",
            "<0x100000 0x4000 0x1",
            iommufd(property::RUN_LIST),
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

    let (from, to) = ("domain = <7>;\n\t};\n};", "domain = <8>;\n\t};\n};");
    let dangling = Err(Error::Dangling(schema::HWPT));
    assert_eq!(check(&damage(STATE, from, to)), dangling);
}

#[test]
fn duplicates() {
    let duplicate = |what| Err(Error::Duplicate(what));
    let tables = || duplicate(property::RUNS);
    let ids = || duplicate(property::REQUESTER_IDS);

    for (from, to, expected) in [
        (
            "register-base = <0x0 0xfed91000>",
            "register-base = <0 0xfed90000>",
            duplicate(schema::IOMMU),
        ),
        ("number = <0x7>", "number = <3>", duplicate(schema::DOMAIN)),
        // One page for two tables.
        (
            "root-table = <0x1 0x1000>",
            "root-table = <1 0x10000>",
            tables(),
        ),
        ("0 2 0x1 0x3000", "0 2 1 0x28000", tables()),
        ("0 2 0x1 0x3000", "0 2 1 0x2a000", Ok(())),
        ("0 2 0x1 0x3000", "0 2 1 0x2000", tables()),
        ("0 2 0x1 0x3000", "0 2 1 0x1000", tables()),
        (
            "root-table = <0x1 0x4000>",
            "root-table = <1 0x1000>",
            tables(),
        ),
        ("0 0 0x1 0x5000", "0 0 1 0x2000", tables()),
        // One bus with two tables.
        (
            "0 2 0x1 0x3000",
            "0 0 1 0x3000",
            duplicate(property::CONTEXT_TABLES),
        ),
        // HWPTs.
        (
            "token = <0 0x101>",
            "token = <0 0x100>",
            duplicate(schema::HWPT),
        ),
        ("token = <0 0x101>", "token = <1 0x100>", Ok(())),
        (
            "domain = <7>;\n\t};\n\tiommu",
            "domain = <3>;\n\t};\n\tiommu",
            duplicate(schema::HWPT),
        ),
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
        assert_eq!(check_second_unit(&text), expected, "{to}");
    }

    let text = damage(&with_second_unit(), "address = <0x28>", "address = <0x18>");
    let text = damage(&text, "requester-ids = <0x28>", "requester-ids = <0x18>");
    assert_eq!(check_second_unit(&text), duplicate(schema::DEVICE));
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
    ] {
        let text = damage(&with_second_unit(), from, to);
        assert_eq!(check_second_unit(&text), expected, "{to}");
    }
}

proptest! {
    /// Two equal numbers are found among many, wherever they are.
    #[test]
    fn duplicates_among_many(
        ids in vec(any::<u16>(), 2..200).prop_map(|ids| ids.into_iter().collect::<BTreeSet<_>>()),
        order in any::<u64>(),
        twins in any::<(Pick, Pick)>(),
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
        prop_assert_eq!(sample.reread(), Ok(sample.clone()));

        let (a, b) = (twins.0.index(sample.devices.len()), twins.1.index(sample.devices.len()));
        if a != b {
            let mut aliased = sample.clone();
            let id = aliased.devices[a].requester_ids[0];
            aliased.devices[b].requester_ids.push(id);
            let result = aliased.reread().err();
            prop_assert_eq!(result, Some(Error::Duplicate(property::REQUESTER_IDS)));
        }
    }
}

/// No format is taken for the other one.
#[test]
fn formats_are_not_mixed_up() {
    assert_eq!(
        sample::read_index_nodes(&compile(STATE)).err(),
        Some(Error::Incompatible)
    );
    assert_eq!(
        sample::read_tree_nodes(&compile(INDEX)).err(),
        Some(Error::Incompatible)
    );
}
