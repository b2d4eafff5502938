// SPDX-License-Identifier: GPL-2.0

//! The schema in `Documentation/`, and trees as it sees them.
//!
//! Nothing of this crate is used here, nor of `serde_fdt`: trees are read by `fdt`, written by
//! `vm-fdt`, and judged by `jsonschema`.

#![allow(dead_code)]

use std::path::{
    Path,
    PathBuf, //
};

use jsonschema::{
    Keyword,
    Registry,
    ValidationError,
    Validator, //
};
use serde::Deserialize;
use serde_json::{
    json,
    Map,
    Value, //
};

/// The directory with the page of the state and with the schema.
pub fn documentation() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../../Documentation/driver-api")
}

/// The documents of the schema: types, index, tree of an iommufd.
pub fn documents() -> [Value; 3] {
    let path = documentation().join("iommu-liveupdate-state.yaml");
    let text = std::fs::read_to_string(path).unwrap();
    let documents: Vec<_> = serde_norway::Deserializer::from_str(&text)
        .map(|document| Value::deserialize(document).unwrap())
        .collect();

    documents.try_into().unwrap()
}

/// A node of a tree, with the values of its properties in bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Node {
    pub name: String,
    pub properties: Vec<(String, Vec<u8>)>,
    pub children: Vec<Node>,
}

impl Node {
    /// Reads a valid blob.
    pub fn read(blob: &[u8]) -> Self {
        let fdt = fdt::Fdt::new(blob).unwrap();
        let mut root = Self::copy(fdt.find_node("/").unwrap());

        root.name.clear();
        root
    }

    fn copy(node: fdt::node::FdtNode<'_, '_>) -> Self {
        let properties = node.properties();

        Self {
            name: node.name.to_string(),
            properties: properties
                .map(|p| (p.name.to_string(), p.value.to_vec()))
                .collect(),
            children: node.children().map(Self::copy).collect(),
        }
    }

    /// Writes the tree below the node.
    pub fn blob(&self) -> Vec<u8> {
        let mut writer = vm_fdt::FdtWriter::new().unwrap();

        self.write(&mut writer);
        writer.finish().unwrap()
    }

    fn write(&self, writer: &mut vm_fdt::FdtWriter) {
        let node = writer.begin_node(&self.name).unwrap();

        for (name, value) in &self.properties {
            writer.property(name, value).unwrap();
        }
        for child in &self.children {
            child.write(writer);
        }
        writer.end_node(node).unwrap();
    }

    /// Up to the `@`.
    pub fn base_name(&self) -> &str {
        self.name.split('@').next().unwrap()
    }

    pub fn property(&self, name: &str) -> Option<&[u8]> {
        let mut properties = self.properties.iter();

        properties.find(|(n, _)| n == name).map(|(_, v)| &v[..])
    }
}

/// The schema of one kind of trees.
pub struct Binding {
    types: Value,
    /// The document.
    pub schema: Value,
    validator: Validator,
}

impl Binding {
    pub fn new(types: Value, schema: Value) -> Self {
        let registry = Registry::new()
            .add("json-schema:///types.yaml", types.clone())
            .unwrap()
            .prepare()
            .unwrap();
        let validator = jsonschema::options()
            .with_registry(&registry)
            .with_keyword("distinct", |_, index, _| {
                Ok(Box::new(Distinct(index.as_u64().unwrap() as usize)))
            })
            .with_keyword("includes", |_, pairs, _| {
                Ok(Box::new(Includes(pairs.as_object().unwrap().clone())))
            })
            .build(&schema)
            .unwrap();

        Self {
            types,
            schema,
            validator,
        }
    }

    pub fn index() -> Self {
        let [types, index, _] = documents();

        Self::new(types, index)
    }

    pub fn iommufd() -> Self {
        let [types, _, iommufd] = documents();

        Self::new(types, iommufd)
    }

    /// Whether the schema accepts a tree that [`decode`](Self::decode) returned.
    pub fn accepts(&self, tree: &Value) -> bool {
        self.validator.is_valid(tree)
    }

    /// The tree below `root`, with its values in the types that the schema declares.
    pub fn decode(&self, root: &Node) -> Value {
        self.decode_node(root, Some(&self.schema))
    }

    fn decode_node(&self, node: &Node, schema: Option<&Value>) -> Value {
        let mut object = Map::new();

        for (name, value) in &node.properties {
            let declared = schema.and_then(|s| s["properties"].get(name));
            let value = declared.map_or(json!(value), |p| decode(self.value_type(p), value));

            object.insert(name.clone(), value);
        }
        for child in &node.children {
            let schema = schema.and_then(|s| child_schema(s, child.base_name()));
            let previous = object.insert(child.name.clone(), self.decode_node(child, schema));

            assert_eq!(previous, None, "the schema cannot tell them apart");
        }
        Value::Object(object)
    }

    /// The type of cells or strings that a property, or a type, is made of.
    pub fn value_type<'a>(&'a self, schema: &'a Value) -> &'a str {
        let name = self.type_name(schema);

        match self.types["definitions"][name].get("$ref") {
            Some(_) => self.value_type(&self.types["definitions"][name]),
            None => name,
        }
    }

    /// The type that a property is declared as.
    pub fn type_name<'a>(&self, schema: &'a Value) -> &'a str {
        let reference = schema["$ref"].as_str().unwrap();

        reference.split("#/definitions/").nth(1).unwrap()
    }
}

/// The schema of the children of `node` that are called `base`, if there is one.
pub fn child_schema<'a>(node: &'a Value, base: &str) -> Option<&'a Value> {
    node.get("patternProperties")?.get(format!("^{base}(@|$)"))
}

fn decode(value_type: &str, value: &[u8]) -> Value {
    let array = |numbers: Option<Vec<u64>>| numbers.map_or(Value::Null, |n| json!(n));

    match value_type {
        "u32" => value
            .try_into()
            .map_or(Value::Null, |cell| json!(u32::from_be_bytes(cell))),
        "u64" => value
            .try_into()
            .map_or(Value::Null, |cells| json!(u64::from_be_bytes(cells))),
        "u32-array" => array(numbers::<4>(value)),
        "u64-array" => array(numbers::<8>(value)),
        "u64-pairs" => match numbers::<8>(value) {
            Some(numbers) if numbers.len() % 2 == 0 => {
                json!(numbers.chunks(2).collect::<Vec<_>>())
            }
            _ => Value::Null,
        },
        "string" => match strings(value).as_deref() {
            Some([string]) => json!(string),
            _ => Value::Null,
        },
        "string-list" => strings(value).map_or(Value::Null, |strings| json!(strings)),
        _ => panic!("there is no type {value_type}"),
    }
}

fn numbers<const N: usize>(value: &[u8]) -> Option<Vec<u64>> {
    let number = |bytes: &[u8]| bytes.iter().fold(0, |n, byte| n << 8 | u64::from(*byte));

    (value.len() % N == 0).then(|| value.chunks(N).map(number).collect())
}

/// Each string has a terminator.
fn strings(value: &[u8]) -> Option<Vec<String>> {
    if value.is_empty() {
        return Some(vec![]);
    }
    let strings = value.strip_suffix(&[0])?.split(|byte| *byte == 0);

    strings
        .map(|s| String::from_utf8(s.to_vec()).ok())
        .collect()
}

/// The keyword `distinct`.
struct Distinct(usize);

impl<'i> Keyword<'i> for Distinct {
    fn validate(&self, instance: &'i Value) -> Result<(), ValidationError<'i>> {
        match self.is_valid(instance) {
            true => Ok(()),
            false => Err(ValidationError::custom("not distinct")),
        }
    }

    fn is_valid(&self, instance: &'i Value) -> bool {
        let items = instance.as_array().into_iter().flatten();
        let mut numbers: Vec<_> = items.map(|item| item[self.0].as_u64()).collect();
        let len = numbers.len();

        numbers.sort();
        numbers.dedup();
        numbers.len() == len
    }
}

/// The keyword `includes`.
struct Includes(Map<String, Value>);

impl<'i> Keyword<'i> for Includes {
    fn validate(&self, instance: &'i Value) -> Result<(), ValidationError<'i>> {
        match self.is_valid(instance) {
            true => Ok(()),
            false => Err(ValidationError::custom("not included")),
        }
    }

    fn is_valid(&self, instance: &'i Value) -> bool {
        self.0.iter().all(|(array, value)| {
            let (array, value) = (instance.get(array), instance.get(value.as_str().unwrap()));

            match (array.and_then(Value::as_array), value) {
                (Some(array), Some(value)) => array.contains(value),
                // Another keyword says that it has to be there.
                _ => true,
            }
        })
    }
}
