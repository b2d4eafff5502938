// SPDX-License-Identifier: GPL-2.0

//! The page in `Documentation/` says what the schema says, and its examples are what is written.

mod binding;
mod sample;

use std::{
    collections::{
        BTreeMap,
        BTreeSet, //
    },
    panic::{
        catch_unwind,
        AssertUnwindSafe, //
    }, //
};

use binding::Binding;
use sample::Sample;
use serde_json::Value;

fn page() -> String {
    let path = binding::documentation().join("iommu-liveupdate-state.rst");

    std::fs::read_to_string(path).unwrap()
}

/// The sections of the page by their titles.
fn sections(page: &str) -> BTreeMap<&str, Vec<&str>> {
    let lines: Vec<_> = page.lines().collect();
    let mut sections = BTreeMap::new();
    let mut title = "";

    for (at, line) in lines.iter().enumerate() {
        let underline = |l: &&str| !l.is_empty() && l.chars().all(|c| c == '=' || c == '-');
        let is_title = lines
            .get(at + 1)
            .is_some_and(|next| underline(next) && next.len() >= line.len());

        if is_title && !line.is_empty() && !underline(line) {
            title = line;
        }
        sections.entry(title).or_insert_with(Vec::new).push(*line);
    }
    sections
}

/// The value of the field `:NAME:` in a section, in one line.
fn field(section: &[&str], name: &str) -> String {
    let begin = format!(":{name}: ");
    let at = section.iter().position(|l| l.starts_with(&begin)).unwrap();
    let rest = section[at + 1..].iter().take_while(|l| l.starts_with(' '));
    let lines: Vec<_> = rest.map(|l| l.trim()).collect();

    [&[&section[at][begin.len()..]], &lines[..]]
        .concat()
        .join(" ")
}

/// The rows of the first list-table in a section, its header included.
fn list_table(section: &[&str]) -> Vec<Vec<String>> {
    let mut rows: Vec<Vec<String>> = Vec::new();

    for line in section.iter().skip_while(|l| !l.starts_with("   * - ")) {
        if let Some(text) = line.strip_prefix("   * - ") {
            rows.push(vec![text.into()]);
        } else if let Some(text) = line.strip_prefix("     - ") {
            rows.last_mut().unwrap().push(text.into());
        } else if let Some(text) = line.strip_prefix("       ") {
            let cell = rows.last_mut().unwrap().last_mut().unwrap();
            *cell += " ";
            *cell += text;
        } else {
            break;
        }
    }
    rows
}

/// The first column of the simple table that has `header` in its first line.
fn simple_table(section: &[&str], header: &str) -> BTreeSet<String> {
    let at = section.iter().position(|l| l.starts_with(header)).unwrap();
    // A border after the header, and one at the end.
    let names = section[at + 2..]
        .iter()
        .take_while(|l| !l.starts_with("==="))
        .filter(|l| !l.is_empty() && !l.starts_with(' '))
        .map(|l| l.split_whitespace().next().unwrap().to_string());

    names.collect()
}

/// What the table of a node has to say, by the schema; its last column is left to people.
fn expected(binding: &Binding, node: &Value) -> BTreeMap<String, [String; 4]> {
    let properties = node["properties"].as_object().unwrap().iter();
    let text = |value: &Value| value.as_str().unwrap().to_string();

    properties
        .map(|(name, property)| {
            let reader = property.get("reader").unwrap_or(&node["reader"]);
            let cells = [
                binding.type_name(property).to_string(),
                format!("v{}", property["since"]),
                text(&property["if-absent"]),
                text(reader),
            ];
            (format!("``{name}``"), cells)
        })
        .collect()
}

/// Checks what is said about `node` in a section.
fn check_node(binding: &Binding, node: &Value, section: &[&str]) {
    assert_eq!(field(section, "Since"), format!("v{}", node["since"]));
    assert_eq!(field(section, "Written"), node["writer"]);
    assert_eq!(field(section, "Read"), node["reader"]);

    let rows = list_table(section);
    assert_eq!(
        rows[0],
        ["Property", "Type", "Since", "Absent", "Read", "Meaning"]
    );
    let mut found = BTreeMap::new();
    for row in &rows[1..] {
        let [name, cells @ .., meaning] = &row[..] else {
            panic!("{row:?}");
        };
        assert!(!meaning.is_empty(), "{name}");
        found.insert(name.clone(), cells.to_vec().try_into().unwrap());
    }
    assert_eq!(found, expected(binding, node));

    // Absent means rejected if and only if the schema requires it.
    for (name, property) in node["properties"].as_object().unwrap() {
        let required = node["required"].as_array().unwrap();
        let is_required = required.contains(&Value::from(&name[..]));
        assert_eq!(property["if-absent"] == "rejected", is_required, "{name}");
    }
}

#[test]
fn tables() {
    let page = page();
    let sections = sections(&page);
    let mut times = BTreeSet::new();

    for (binding, root) in [
        (Binding::index(), "Root of the index"),
        (Binding::iommufd(), "Root of an iommufd"),
    ] {
        let children = binding.schema["patternProperties"].as_object().unwrap();
        let children = children
            .values()
            .map(|node| (node["title"].as_str().unwrap(), node));

        for (title, node) in children.chain([(root, &binding.schema)]) {
            check_node(&binding, node, &sections[title]);

            let readers = node["properties"].as_object().unwrap().values();
            let readers = readers.filter_map(|p| p.get("reader"));
            for list in readers.chain([&node["writer"], &node["reader"]]) {
                times.extend(list.as_str().unwrap().split(", ").map(str::to_string));
            }
        }
    }

    let [types, ..] = binding::documents();
    let types = types["definitions"].as_object().unwrap().keys().cloned();
    let conventions = &sections["Conventions"];
    assert_eq!(simple_table(conventions, "Type "), types.collect());
    assert_eq!(simple_table(conventions, "Time "), times);
}

/// The control: another type, another reader, a row less.
#[test]
fn differences_are_seen() {
    let page = page();
    let binding = Binding::index();
    let node = binding::child_schema(&binding.schema, "iommufd").unwrap();
    let section = sections(&page)["iommufd@OWNER"].join("\n");

    let check = |text: &str| check_node(&binding, node, &text.lines().collect::<Vec<_>>());
    check(&section);
    for (from, to) in [
        ("     - u64\n", "     - u32\n"),
        (":Read: shutdown, ", ":Read: "),
        (":Written: preserve", ":Written: restore"),
        (":Since: v1", ":Since: v2"),
        ("     - v1\n", "     - v2\n"),
        ("     - rejected\n", "     - none\n"),
        ("     - shutdown", "     - restore"),
        ("``state``", "``states``"),
        ("   * - ``state``\n", "       "),
    ] {
        assert!(section.contains(from), "{from}");
        let text = section.replacen(from, to, 1);
        let result = catch_unwind(AssertUnwindSafe(|| check(&text)));
        assert!(result.is_err(), "{to}");
    }
}

/// The literal blocks of a section, without their indentation.
fn blocks(section: &[&str]) -> Vec<String> {
    let mut blocks: Vec<String> = Vec::new();
    let mut after_text = true;

    for line in section {
        if let Some(text) = line.strip_prefix("  ") {
            if after_text {
                blocks.push(String::new());
            }
            *blocks.last_mut().unwrap() += &format!("{text}\n");
            after_text = false;
        } else if line.is_empty() && !after_text {
            blocks.last_mut().unwrap().push('\n');
        } else {
            after_text = true;
        }
    }
    blocks
        .iter()
        .map(|b| format!("{}\n", b.trim_end()))
        .collect()
}

/// What `dtc` prints, indented by spaces.
fn print(blob: &[u8]) -> String {
    let (text, warnings) = sample::dtc("dtb", "dts", blob);

    assert_eq!(warnings, "");
    let text = String::from_utf8(text).unwrap().replace('\t', "        ");
    format!("{}\n", text.trim_end())
}

/// The examples are the state of [`Sample::example`].
#[test]
fn examples() {
    let page = page();
    let sections = sections(&page);
    let list = Sample::example().list();
    let cell = |cell: &[u8]| {
        cell.iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>()
    };
    let entry = |entry: &[u8]| entry.chunks(4).map(cell).collect::<Vec<_>>().join(" ") + "\n";

    let expected = [
        print(&Sample::example().index()),
        print(&Sample::example().blob()),
        list.chunks(8).map(entry).collect(),
    ];
    let found = blocks(&sections["Example"]);
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(&expected) {
        assert!(
            found == expected,
            "{found}\nis in the page, but this is written:\n{expected}"
        );
    }
    assert!(Sample::example().reread().is_ok());
}
