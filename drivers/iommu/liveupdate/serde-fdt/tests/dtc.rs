// SPDX-License-Identifier: GPL-2.0

//! Agreement with `dtc` and with `libfdt` (through `fdtget`), which know nothing of this crate.

mod tree;

use std::{
    io::Write,
    process::{
        Command,
        Output,
        Stdio, //
    }, //
};

use proptest::prelude::*;
use serde_fdt::Fdt;
use tree::{
    Tree,
    TreeNode,
    Value, //
};

/// Runs a program of the Debian package `device-tree-compiler` with `input` as standard input.
fn run(program: &str, args: &[&str], input: &[u8]) -> Output {
    let mut child = Command::new(program)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{program} is needed for this test: {error}"));
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    // A program that rejects its input early closes the pipe, which is not an error here.
    let feeder = std::thread::spawn(move || drop(stdin.write_all(&input)));
    let output = child.wait_with_output().unwrap();
    feeder.join().unwrap();
    output
}

/// Runs `dtc` from one format to another. Checks of what a devicetree *means* are off: names and
/// values are random here. Those of its form stay on.
fn dtc(from: &str, to: &str, input: &[u8]) -> Output {
    const MEANING: [&str; 13] = [
        "-Wno-unit_address_vs_reg",
        "-Wno-reg_format",
        "-Wno-ranges_format",
        "-Wno-dma_ranges_format",
        "-Wno-address_cells_is_cell",
        "-Wno-size_cells_is_cell",
        "-Wno-status_is_string",
        "-Wno-compatible_is_string_list",
        "-Wno-avoid_default_addr_size",
        "-Wno-unit_address_format",
        "-Wno-node_name_vs_property_name",
        "-Wno-addr_size_cells",
        "-Wno-device_type_is_string",
    ];
    let args = [&["-I", from, "-O", to][..], &MEANING].concat();
    run("dtc", &args, input)
}

/// Runs `dtc`, which must neither fail nor have anything to say.
fn dtc_ok(from: &str, to: &str, input: &[u8]) -> Vec<u8> {
    let output = dtc(from, to, input);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && stderr.is_empty(), "{stderr}");
    output.stdout
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// `dtc` makes the same blob of ours and of a source text with the same content.
    #[test]
    fn dtc_reads_what_was_written(tree in tree::tree()) {
        let from_blob = dtc_ok("dtb", "dtb", &tree.blob());
        let from_text = dtc_ok("dts", "dtb", tree.dts().as_bytes());
        prop_assert_eq!(&from_blob, &from_text);

        // The control: one more property, and they differ.
        let mut other = tree.clone();
        other.root.properties.retain(|(name, _)| name != "extra");
        other.root.properties.push(("extra".to_string(), Value::U32(tree.blob().len() as u32)));
        prop_assert_ne!(dtc_ok("dtb", "dtb", &other.blob()), from_text);
    }

    /// The reader sees in a blob of `dtc` what the source text says.
    #[test]
    fn reader_reads_what_dtc_wrote(tree in tree::tree()) {
        let blob = dtc_ok("dts", "dtb", tree.dts().as_bytes());
        prop_assert_eq!(Tree::read(Fdt::new(&blob).unwrap()), tree.expected());
    }

    /// `dtc` with free space and aligned blocks lays a blob out in another way than the writer.
    #[test]
    fn reader_reads_padded_blobs_of_dtc(tree in tree::tree(), space in 0..100u32) {
        let space = space.to_string();
        let args = ["-q", "-q", "-I", "dts", "-O", "dtb", "-R", "3", "-p", &space, "-a", "16"];
        let blob = run("dtc", &args, tree.dts().as_bytes()).stdout;
        prop_assert_eq!(Tree::read(Fdt::new(&blob).unwrap()), tree.expected());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Whatever makes `dtc` give up on a blob, apart from what names and values mean (`-f`), the
    /// reader rejects as well.
    #[test]
    fn what_dtc_cannot_read_is_rejected(
        tree in tree::tree(),
        at in any::<proptest::sample::Index>(),
        byte in prop_oneof![0..16u8, any::<u8>()],
    ) {
        let mut blob = tree.blob();
        *at.get_mut(&mut blob) = byte;
        let read = run("dtc", &["-q", "-q", "-f", "-I", "dtb", "-O", "dtb"], &blob);
        if !read.status.success() {
            prop_assert!(Fdt::new(&blob).is_err());
        }
    }
}

/// A tree of the kind that this crate is for.
fn example() -> Tree<Value> {
    let node = |name: &str, properties: Vec<(&str, Value)>, children| TreeNode {
        name: name.to_string(),
        properties: properties
            .into_iter()
            .map(|(name, value)| (name.to_string(), value))
            .collect(),
        children,
    };
    let domain = node(
        "domain@1f",
        vec![
            ("domain-id", Value::U32(0x1f)),
            ("top", Value::U64(0x1_2345_6000)),
            ("memory", Value::U64Iter(vec![0x1_0000_0000, 0x20_0000])),
            ("name-of-it", Value::Str("a guest".to_string())),
            ("raw", Value::Bytes(vec![1, 2, 0xfe])),
        ],
        vec![],
    );
    let strings = ["example,v1", "example"].map(String::from).to_vec();
    Tree {
        reservations: vec![(0x1000, 0x2000)],
        root: node(
            "",
            vec![("compatible", Value::StrList(strings))],
            vec![domain],
        ),
    }
}

#[test]
fn dtc_prints_what_was_written() {
    let expected = r#"/dts-v1/;

/memreserve/	0x0000000000001000 0x0000000000002000;
/ {
	compatible = "example,v1\0example";

	domain@1f {
		domain-id = <0x1f>;
		top = <0x01 0x23456000>;
		memory = <0x01 0x00 0x00 0x200000>;
		name-of-it = "a guest";
		raw = [01 02 fe];
	};
};
"#;
    let printed = dtc_ok("dtb", "dts", &example().blob());
    assert_eq!(String::from_utf8(printed).unwrap(), expected);
}

#[test]
fn fdtget_returns_the_values() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), example().blob()).unwrap();
    let path = file.path().to_str().unwrap();
    let get = |args: &[&str]| {
        let output = run("fdtget", args, b"");
        let text = String::from_utf8(output.stdout).unwrap();
        output.status.success().then_some(text)
    };
    for (args, expected) in [
        (&["-t", "x", path, "/domain@1f", "domain-id"][..], "1f\n"),
        (&["-t", "x", path, "/domain@1f", "top"], "1 23456000\n"),
        (&["-t", "x", path, "/domain@1f", "memory"], "1 0 0 200000\n"),
        (&["-t", "s", path, "/domain@1f", "name-of-it"], "a guest\n"),
        (&["-t", "bx", path, "/domain@1f", "raw"], "1 2 fe\n"),
        (
            &["-t", "s", path, "/", "compatible"],
            "example,v1 example\n",
        ),
        (&["-l", path, "/"], "domain@1f\n"),
        (&["-p", path, "/"], "compatible\n"),
    ] {
        assert_eq!(get(args).as_deref(), Some(expected), "{args:?}");
    }
    // The control: what was not written is not found.
    assert_eq!(get(&["-t", "x", path, "/domain@1f", "absent"]), None);
    assert_eq!(get(&["-t", "x", path, "/domain@1e", "domain-id"]), None);
}

/// Damage that `dtc` refuses to read is refused by the reader as well.
#[test]
fn what_dtc_rejects_is_rejected() {
    let blob = example().blob();
    dtc_ok("dtb", "dtb", &blob);
    assert!(Fdt::new(&blob).is_ok());

    let word = |at: usize| u32::from_be_bytes(blob[at..at + 4].try_into().unwrap()) as usize;
    let (structure, total) = (word(8), word(4));
    let damages: &[(&str, usize, u32)] = &[
        ("magic", 0, 0xd00d_feef),
        ("total size", 4, total as u32 + 1),
        ("structure offset", 8, total as u32),
        ("token of the root", structure, 5),
        ("no root", structure, 9),
        ("end token", total - word(32) - 4, 7),
        ("end of the root", total - word(32) - 8, 9),
        ("length of a value", structure + 12, 0x7fff_fff0),
    ];
    for (what, at, word) in damages {
        let mut damaged = blob.clone();
        damaged[*at..at + 4].copy_from_slice(&word.to_be_bytes());
        assert!(!dtc("dtb", "dtb", &damaged).status.success(), "{what}: dtc");
        assert!(Fdt::new(&damaged).is_err(), "{what}: reader");
    }
}

/// The one known exception: `dtc` compares siblings with each other, the reader does not.
#[test]
fn equal_names_of_siblings_are_left_to_the_caller() {
    let mut tree = example();
    let twin = tree.root.children[0].clone();
    tree.root.children.push(twin);
    let blob = tree.blob();
    assert!(!dtc("dtb", "dtb", &blob).status.success());
    let root = Fdt::new(&blob).unwrap().root();
    assert_eq!(root.children_with_base("domain").count(), 2);
}
