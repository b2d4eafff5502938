// SPDX-License-Identifier: GPL-2.0

//! The reader accepts a node if and only if the schema in `Documentation/` does.

mod binding;
mod sample;

use std::collections::BTreeSet;

use binding::{
    child_schema,
    Binding,
    Node, //
};
use liveupdate_state::{
    features::FEATURES,
    schema::{
        self,
        property, //
    },
    Error, //
};
use proptest::{
    collection::vec,
    prelude::*,
    sample::Index, //
};
use sample::Sample;
use serde_json::{
    json,
    Value, //
};

/// A kind of trees: how it is described and how it is read.
struct Kind {
    binding: Binding,
    read: fn(&[u8]) -> Result<(), Error>,
    /// Some that are valid.
    roots: Vec<Node>,
}

fn kinds(samples: &[Sample]) -> [Kind; 2] {
    let roots = |blob: fn(&Sample) -> Vec<u8>| samples.iter().map(move |s| Node::read(&blob(s)));

    [
        Kind {
            binding: Binding::index(),
            read: sample::read_index_nodes,
            roots: roots(Sample::index).collect(),
        },
        Kind {
            binding: Binding::iommufd(),
            read: sample::read_tree_nodes,
            roots: roots(Sample::blob).collect(),
        },
    ]
}

/// Trees with every kind of nodes, in which the domains have 3, 4 and 5 levels.
fn examples() -> [Kind; 2] {
    let mut levels = Sample::example();
    for (domain, level) in levels.domains.iter_mut().zip([2, 4]) {
        domain.top_level = level;
        domain.input_bits = 12 + 9 * (level + 1);
    }
    kinds(&[Sample::example(), levels])
}

impl Kind {
    /// What the schema and the reader say about a tree.
    fn verdicts(&self, root: &Node) -> (bool, Result<(), Error>) {
        let blob = root.blob();
        let tree = self.binding.decode(&Node::read(&blob));

        (self.binding.accepts(&tree), (self.read)(&blob))
    }

    /// Changes of the trees, each of which concerns one node.
    fn changes(&self) -> Vec<Node> {
        let numbers = interesting(&self.binding);
        let mut changes = Vec::new();

        for root in &self.roots {
            edit(root, &mut |node| change_node(node, &numbers), &mut changes);
        }
        changes
    }
}

/// Every number of the schema, what is beside it, and its half and its double.
fn interesting(binding: &Binding) -> BTreeSet<u64> {
    fn collect(value: &Value, numbers: &mut BTreeSet<u64>) {
        match value {
            Value::Number(number) => numbers.extend(number.as_u64()),
            Value::Array(array) => array.iter().for_each(|v| collect(v, numbers)),
            Value::Object(object) => object.values().for_each(|v| collect(v, numbers)),
            _ => {}
        }
    }
    let mut numbers = BTreeSet::new();

    binding::documents()
        .iter()
        .chain([&binding.schema])
        .for_each(|document| collect(document, &mut numbers));
    let around = |n: &u64| {
        [
            n / 2,
            n.saturating_sub(1),
            *n,
            n.saturating_add(1),
            n.saturating_mul(2),
        ]
    };
    numbers.iter().flat_map(around).collect()
}

/// The trees that come of `root` by a change of one of its nodes.
fn edit(root: &Node, change: &mut dyn FnMut(&Node) -> Vec<Node>, trees: &mut Vec<Node>) {
    trees.extend(change(root));
    for (at, child) in root.children.iter().enumerate() {
        let mut changed = Vec::new();

        edit(child, change, &mut changed);
        trees.extend(changed.into_iter().map(|child| {
            let mut root = root.clone();
            root.children[at] = child;
            root
        }));
    }
}

fn change_node(node: &Node, numbers: &BTreeSet<u64>) -> Vec<Node> {
    let mut nodes = Vec::new();
    let mut with = |change: &dyn Fn(&mut Node)| {
        let mut node = node.clone();
        change(&mut node);
        nodes.push(node);
    };

    for (at, (name, value)) in node.properties.iter().enumerate() {
        with(&|n| drop(n.properties.remove(at)));
        with(&|n| n.properties[at].0 = format!("{name}s"));
        with(&|n| n.properties[at].0 = name[1..].to_string());
        for value in change_value(value, numbers) {
            with(&|n| n.properties[at].1 = value.clone());
        }
    }
    // What no reader knows.
    with(&|n| n.properties.insert(0, ("new-property".into(), vec![])));
    with(&|n| {
        n.children.push(Node {
            name: "new-node@1".into(),
            ..Node::default()
        })
    });
    with(&|n| n.properties.reverse());
    with(&|n| n.children.reverse());
    with(&|n| n.children.clear());
    if node.name.is_empty() {
        // As if it were one of its children.
        for child in &node.children {
            with(&|n| {
                n.children.push(Node {
                    name: format!("{}s@1", child.base_name()),
                    ..Node::default()
                })
            });
            with(&|n| {
                n.children.push(Node {
                    name: format!("{}@ffff", child.base_name()),
                    ..Node::default()
                })
            });
            with(&|n| {
                n.children.push(Node {
                    name: child.base_name().into(),
                    ..Node::default()
                })
            });
        }
        for features in [
            &b""[..],
            b"test\0",
            b"test\0test\0",
            b"other\0",
            b"test\0other\0",
            b"\0",
            b"test",
            b"te\x80t\0",
            b"Test\0",
        ] {
            with(&|n| {
                n.properties
                    .push(("required-features".into(), features.into()))
            });
        }
    } else {
        with(&|n| n.name = n.base_name().into());
        with(&|n| n.name = format!("x{}", n.name));
    }
    nodes
}

fn change_value(value: &[u8], numbers: &BTreeSet<u64>) -> Vec<Vec<u8>> {
    let mut values = Vec::new();

    // Shorter and longer ones.
    values.extend((0..value.len()).map(|len| value[..len].to_vec()));
    values.extend((1..=16).map(|more| [value, &vec![0; more]].concat()));
    values.extend([4, 8, 16].map(|len| [value, &value[..len.min(value.len())]].concat()));
    // Every number in place of every other.
    for (number, size) in numbers.iter().flat_map(|n| [(n, 4), (n, 8)]) {
        for at in (0..value.len()).step_by(size) {
            let mut value = value.to_vec();
            let bytes = &number.to_be_bytes()[8 - size..];

            if let Some(cells) = value.get_mut(at..at + size) {
                cells.copy_from_slice(bytes);
                values.push(value);
            }
        }
    }
    // Other characters.
    for at in 0..value.len() {
        for byte in [
            0,
            0x1f,
            b' ',
            b'~',
            0x7f,
            0x80,
            value[at] ^ 1,
            value[at] ^ 0x20,
        ] {
            let mut value = value.to_vec();
            value[at] = byte;
            values.push(value);
        }
    }
    values
}

/// Every property absent, too short, too long, at its bounds and beyond.
#[test]
fn single_changes() {
    for kind in examples() {
        for root in &kind.roots {
            assert_eq!(kind.verdicts(root), (true, Ok(())));
        }

        let mut counts = [0, 0];
        for tree in kind.changes() {
            let (accepted, read) = kind.verdicts(&tree);
            assert_eq!(accepted, read.is_ok(), "{read:?}: {tree:#?}");
            counts[usize::from(accepted)] += 1;
        }
        assert!(counts[0] > 1000 && counts[1] > 1000, "{counts:?}");
    }
}

/// The control: of whatever the schema demands, nothing can be left out without being noticed.
#[test]
fn every_demand_counts() {
    const KEYWORDS: [&str; 12] = [
        "minimum",
        "maximum",
        "multipleOf",
        "not",
        "const",
        "enum",
        "minItems",
        "maxItems",
        "pattern",
        "distinct",
        "includes",
        "allOf",
    ];

    // A requester id that is too large cannot be among those that are not.
    const IMPLIED: &str = "patternProperties/^device(@|$)/properties/address/maximum";

    fn weaken(value: &Value, results: &mut Vec<(String, Value)>) {
        let mut results_of = |child: &Value, put: &dyn Fn(Value) -> Value, key: &str| {
            let mut weaker = Vec::new();
            weaken(child, &mut weaker);
            results.extend(
                weaker
                    .into_iter()
                    .map(|(what, v)| (format!("{key}/{what}"), put(v))),
            );
        };
        match value {
            Value::Object(object) => {
                for (key, child) in object {
                    results_of(
                        child,
                        &|v| {
                            let mut object = object.clone();
                            object.insert(key.clone(), v);
                            Value::Object(object)
                        },
                        key,
                    );
                }
                for key in KEYWORDS.iter().filter(|key| object.contains_key(**key)) {
                    let mut object = object.clone();
                    object.remove(*key);
                    results.push((key.to_string(), Value::Object(object)));
                }
                for (at, name) in object
                    .get("required")
                    .and_then(Value::as_array)
                    .into_iter()
                    .flatten()
                    .enumerate()
                {
                    let mut object = object.clone();
                    object["required"].as_array_mut().unwrap().remove(at);
                    results.push((format!("required {name}"), Value::Object(object)));
                }
            }
            Value::Array(array) => {
                for (at, child) in array.iter().enumerate() {
                    results_of(
                        child,
                        &|v| {
                            let mut array = array.clone();
                            array[at] = v;
                            Value::Array(array)
                        },
                        &at.to_string(),
                    );
                }
            }
            _ => {}
        }
    }

    let [types, ..] = binding::documents();
    let mut weaker_types = Vec::new();
    for name in ["page-address", "tree", "run-list", "u32-range"] {
        let mut weaker = Vec::new();
        weaken(&types["definitions"][name], &mut weaker);
        weaker_types.extend(weaker.into_iter().map(|(what, definition)| {
            let mut types = types.clone();
            types["definitions"][name] = definition;
            (name, format!("{name}/{what}"), types)
        }));
    }

    let mut seen = 0;
    for kind in examples() {
        let mut verdicts = Vec::new();
        for tree in kind.changes() {
            let blob = tree.blob();
            let read = (kind.read)(&blob).is_ok();
            verdicts.push((kind.binding.decode(&Node::read(&blob)), read));
        }
        let mut is_noticed = |what: &str, binding: Binding| {
            seen += 1;
            assert!(
                verdicts
                    .iter()
                    .any(|(tree, read)| binding.accepts(tree) != *read),
                "{what} can be left out"
            );
        };

        let mut weaker = Vec::new();
        weaken(&kind.binding.schema, &mut weaker);
        weaker.retain(|(what, _)| what != IMPLIED);
        for (what, schema) in weaker {
            is_noticed(&what, Binding::new(types.clone(), schema));
        }
        let schema = &kind.binding.schema;
        let is_used = |name: &str| schema.to_string().contains(&format!("/{name}\""));
        for (_, what, types) in weaker_types.iter().filter(|(name, ..)| is_used(name)) {
            is_noticed(what, Binding::new(types.clone(), schema.clone()));
        }
    }
    assert!(seen > 50, "{seen}");
}

/// Every name in a document: of properties, of nodes, of formats and features.
fn names_in(schema: &Value, names: &mut BTreeSet<String>) {
    let properties = schema["properties"].as_object().unwrap();
    let children = schema["patternProperties"].as_object();

    for (name, property) in properties {
        let features = property["items"]["enum"].as_array().into_iter().flatten();
        let strings = features
            .chain([&property["const"]])
            .filter_map(Value::as_str);

        names.extend(strings.map(str::to_string));
        names.insert(name.clone());
    }
    for (pattern, child) in children.into_iter().flatten() {
        let base = pattern
            .strip_prefix('^')
            .and_then(|p| p.strip_suffix("(@|$)"));

        names.insert(base.unwrap().to_string());
        names_in(child, names);
    }
}

#[test]
fn names() {
    let [_, index, iommufd] = binding::documents();
    let mut names = BTreeSet::new();
    names_in(&index, &mut names);
    names_in(&iommufd, &mut names);

    // The source has them as constants.
    let source = include_str!("../src/schema.rs");
    let strings = source
        .lines()
        .filter(|line| line.trim().starts_with("pub const"));
    let strings = strings.filter_map(|line| line.split('"').nth(1));
    let constants = strings.chain(FEATURES.iter().copied()).map(str::to_string);
    assert_eq!(constants.collect::<BTreeSet<_>>(), names);

    // And uses them for the same.
    let node = |base| child_schema(&iommufd, base).unwrap();
    for (node, property, constant) in [
        (&index, property::COMPATIBLE, schema::INDEX_COMPATIBLE),
        (&iommufd, property::COMPATIBLE, schema::IOMMUFD_COMPATIBLE),
        (
            node(schema::IOMMU),
            property::COMPATIBLE,
            schema::VTD_LEGACY,
        ),
        (
            node(schema::DOMAIN),
            property::FORMAT,
            schema::VTD_SECOND_STAGE,
        ),
    ] {
        assert_eq!(node["properties"][property]["const"], constant);
    }
    for root in [&index, &iommufd] {
        let features = &root["properties"][property::REQUIRED_FEATURES];
        assert_eq!(features["items"]["enum"], json!(FEATURES));
    }
    let flags = &node(schema::DOMAIN)["properties"][property::PT_FLAGS];
    assert_eq!(flags["maximum"], schema::pt_flag::ALL);
}

/// The strings that name a format or a feature.
fn versions(root: &Node) -> Vec<Option<&[u8]>> {
    ["compatible", "required-features", "format"]
        .iter()
        .flat_map(|name| {
            [root]
                .into_iter()
                .chain(&root.children)
                .map(|n| n.property(name))
        })
        .collect()
}

/// What is made for another reader is told from what is damaged.
#[test]
fn versions_and_damage() {
    for kind in examples() {
        let mut counts = [0, 0];
        for tree in kind.changes() {
            let (_, Err(error)) = kind.verdicts(&tree) else {
                continue;
            };
            if error.is_version() {
                let known: Vec<_> = kind.roots.iter().map(versions).collect();
                assert!(!known.contains(&versions(&tree)), "{error}: {tree:#?}");
            }
            counts[usize::from(error.is_version())] += 1;
        }
        assert!(counts[0] > 500 && counts[1] > 100, "{counts:?}");
    }
}

proptest! {
    /// Several changes, of any tree.
    #[test]
    fn several_changes(sample in sample::sample(), picks in vec(any::<[Index; 2]>(), 1..5)) {
        for kind in kinds(&[sample]) {
            let numbers = interesting(&kind.binding);
            let mut root = kind.roots[0].clone();

            prop_assert_eq!(kind.verdicts(&root), (true, Ok(())));
            for [node, change] in &picks {
                let at = node.index(root.children.len() + 1);
                let node = match root.children.get_mut(at) {
                    Some(child) => child,
                    None => &mut root,
                };
                let mut changes = change_node(node, &numbers);

                *node = changes.swap_remove(change.index(changes.len()));
                let (accepted, read) = kind.verdicts(&root);
                prop_assert_eq!(accepted, read.is_ok(), "{:?}", read);
            }
        }
    }
}
