// SPDX-License-Identifier: GPL-2.0

//! Any byte string is either rejected, or can be walked and keeps what the crate promises.

mod tree;

use std::collections::BTreeSet;

use proptest::{
    collection::vec,
    prelude::*,
    sample::Index,
    strategy::ValueTree,
    test_runner::TestRunner, //
};
use serde_fdt::{
    Error,
    Fdt,
    Node,
    MAX_DEPTH,
    MAX_NAME_LEN,
    MAX_PROPERTIES, //
};
use tree::Tree;

/// Walks all that `bytes` has if it is accepted; returns how many nodes and properties that were.
fn walk(bytes: &[u8]) -> Result<usize, Error> {
    fn node(from: Node<'_>, depth: usize) -> usize {
        assert!(depth <= MAX_DEPTH);
        assert!(from.base_name().len() <= MAX_NAME_LEN);
        assert_eq!(from.name().is_empty(), depth == 1);

        let mut names = BTreeSet::new();
        for property in from.properties() {
            assert!((1..=MAX_NAME_LEN).contains(&property.name().len()));
            assert!(names.insert(property.name()));
            assert_eq!(from.property(property.name()), Some(property));
            let len = property.bytes().len();
            assert_eq!(property.u32().is_ok(), len == 4);
            assert_eq!(property.u64().is_ok(), len == 8);
            let cells = property.u32_cells().map(|cells| cells.count());
            assert_eq!(cells.ok(), (len % 4 == 0).then_some(len / 4));
            let cells = property.u64_cells().map(|cells| cells.count());
            assert_eq!(cells.ok(), (len % 8 == 0).then_some(len / 8));
            assert!(property.str_list().count() <= len);
            if let Ok(string) = property.str() {
                assert_eq!(string.len() + 1, len);
            }
        }
        assert!(names.len() <= MAX_PROPERTIES);
        for child in from.children() {
            let first = from.child(child.name()).unwrap();
            assert_eq!(first.name(), child.name());
        }
        let below: usize = from.children().map(|child| node(child, depth + 1)).sum();
        1 + names.len() + below
    }
    let fdt = Fdt::new(bytes)?;
    assert!(fdt.as_bytes().len() <= bytes.len());
    assert!(fdt.reservations().count() <= bytes.len() / 16);
    let items = node(fdt.root(), 1);
    // Every node and property takes at least 12 bytes.
    assert!(items * 12 <= bytes.len());
    Ok(items)
}

/// A change of a blob.
#[derive(Clone, Debug)]
enum Mutation {
    SetByte(Index, u8),
    SetWord(Index, u32),
    FlipBit(Index, u8),
    Truncate(Index),
    Duplicate(Index, Index),
    Remove(Index, Index),
}

impl Mutation {
    fn apply(&self, blob: &mut Vec<u8>) {
        if blob.len() < 4 {
            return;
        }
        match self {
            Self::SetByte(at, byte) => *at.get_mut(blob) = *byte,
            Self::FlipBit(at, bit) => *at.get_mut(blob) ^= 1 << bit,
            Self::SetWord(at, word) => {
                let at = at.index(blob.len() / 4) * 4;
                blob[at..at + 4].copy_from_slice(&word.to_be_bytes());
            }
            Self::Truncate(at) => blob.truncate(at.index(blob.len())),
            Self::Duplicate(at, len) => {
                let (at, len) = (at.index(blob.len() / 4) * 4, 4 * len.index(8));
                let part = blob[at..blob.len().min(at + len)].to_vec();
                blob.splice(at..at, part);
            }
            Self::Remove(at, len) => {
                let (at, len) = (at.index(blob.len() / 4) * 4, 4 * len.index(8));
                blob.drain(at..blob.len().min(at + len));
            }
        }
    }
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let index = any::<Index>;
    let word = prop_oneof![0..16u32, any::<u32>(), u32::MAX - 16..=u32::MAX];
    prop_oneof![
        (index(), any::<u8>()).prop_map(|(at, byte)| Mutation::SetByte(at, byte)),
        (index(), word).prop_map(|(at, word)| Mutation::SetWord(at, word)),
        (index(), 0..8u8).prop_map(|(at, bit)| Mutation::FlipBit(at, bit)),
        index().prop_map(Mutation::Truncate),
        (index(), index()).prop_map(|(at, len)| Mutation::Duplicate(at, len)),
        (index(), index()).prop_map(|(at, len)| Mutation::Remove(at, len)),
    ]
}

/// A valid blob with up to four changes.
fn mutated() -> impl Strategy<Value = Vec<u8>> {
    (tree::tree(), vec(mutation(), 0..4)).prop_map(|(tree, mutations)| {
        let mut blob = tree.blob();
        for mutation in mutations {
            mutation.apply(&mut blob);
        }
        blob
    })
}

/// Random words that are tokens more often than not, behind a header that fits them.
fn token_soup() -> impl Strategy<Value = Vec<u8>> {
    let word = prop_oneof![
        8 => 1..4u32,
        4 => Just(0),
        2 => Just(u32::from_be_bytes(*b"n\0\0\0")),
        1 => Just(4),
        1 => Just(9),
        1 => any::<u32>(),
    ];
    vec(word, 0..40).prop_map(|words| {
        let structure_len = 4 * (words.len() + 4);
        let header = [
            0xd00d_feed,
            (56 + structure_len + 4) as u32,
            56,
            (56 + structure_len) as u32,
            40,
            17,
            16,
            0,
            4,
            structure_len as u32,
        ];
        let mut bytes: Vec<u8> = header.iter().flat_map(|w| w.to_be_bytes()).collect();
        bytes.extend([0; 16]);
        let structure = [&[1, 0], &words[..], &[2, 9]].concat();
        bytes.extend(structure.iter().flat_map(|w| w.to_be_bytes()));
        bytes.extend(b"p\0q\0");
        bytes
    })
}

proptest! {
    #[test]
    fn random_bytes(bytes in vec(any::<u8>(), 0..512)) {
        let _ = walk(&bytes);
    }

    #[test]
    fn random_tokens(bytes in token_soup()) {
        let _ = walk(&bytes);
    }

    #[test]
    fn mutated_blobs(bytes in mutated()) {
        let _ = walk(&bytes);
    }

    #[test]
    fn accepted_blobs_can_be_written_again(bytes in mutated()) {
        let Ok(fdt) = Fdt::new(&bytes) else {
            return Ok(());
        };
        let read = Tree::read(fdt);
        prop_assert_eq!(&Tree::read(Fdt::new(&read.rewrite()).unwrap()), &read);
    }
}

/// The control of the tests above: what they feed to the reader gets to all parts of it.
#[test]
fn inputs_are_accepted_and_rejected_for_every_reason() {
    let mut runner = TestRunner::deterministic();
    let (soup, mutated) = (token_soup(), mutated());
    let mut accepted = 0;
    let mut reasons = BTreeSet::new();
    for _ in 0..2000 {
        for bytes in [
            soup.new_tree(&mut runner).unwrap().current(),
            mutated.new_tree(&mut runner).unwrap().current(),
        ] {
            match walk(&bytes) {
                Ok(_) => accepted += 1,
                Err(error) => {
                    reasons.insert(error.as_str());
                }
            }
        }
    }
    assert!(accepted > 100, "only {accepted} accepted");
    for error in [
        Error::Truncated,
        Error::BadMagic,
        Error::BadVersion,
        Error::BadLayout,
        Error::BadReservation,
        Error::BadToken,
        Error::BadNesting,
        Error::TrailingData,
        Error::BadPadding,
        Error::BadName,
        Error::BadNameOffset,
        Error::PropertyAfterNode,
        Error::DuplicateProperty,
    ] {
        assert!(reasons.contains(error.as_str()), "{error} never happened");
    }
}
