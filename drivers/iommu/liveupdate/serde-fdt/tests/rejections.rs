// SPDX-License-Identifier: GPL-2.0

//! Which blobs the reader rejects, and why. Each blob is assembled by hand from the tables of the
//! Devicetree Specification, without the writer.

use serde_fdt::{
    Error,
    Fdt,
    MAX_DEPTH,
    MAX_PROPERTIES, //
};

/// The words of a structure block, and the strings block.
#[derive(Clone)]
struct Blob {
    header: [u32; 10],
    reservations: Vec<u64>,
    structure: Vec<u32>,
    strings: Vec<u8>,
}

const BEGIN: u32 = 1;
const END_NODE: u32 = 2;
const PROP: u32 = 3;
const NOP: u32 = 4;
const END: u32 = 9;

const ROOT: u32 = 0;
/// The name `n`, padded.
const N: u32 = u32::from_be_bytes(*b"n\0\0\0");

impl Blob {
    fn new(structure: &[u32], strings: &[u8]) -> Self {
        Self {
            header: [0; 10],
            reservations: vec![0, 0],
            structure: structure.to_vec(),
            strings: strings.to_vec(),
        }
        .with_header()
    }

    /// A root with one property `p`, one reservation, and one subnode `n`.
    fn small() -> Self {
        let structure = [
            BEGIN, ROOT, PROP, 4, 0, 0x1234, BEGIN, N, END_NODE, END_NODE, END,
        ];
        let mut blob = Self::new(&structure, b"p\0");
        blob.reservations = vec![0x1000, 0x2000, 0, 0];
        blob.with_header()
    }

    fn with_header(mut self) -> Self {
        let structure_at = 40 + 8 * self.reservations.len();
        let strings_at = structure_at + 4 * self.structure.len();
        let total = strings_at + self.strings.len();
        self.header = [
            0xd00dfeed,
            total as u32,
            structure_at as u32,
            strings_at as u32,
            40,
            17,
            16,
            7,
            self.strings.len() as u32,
            4 * self.structure.len() as u32,
        ];
        self
    }

    fn bytes(&self) -> Vec<u8> {
        let header = self.header.iter().flat_map(|word| word.to_be_bytes());
        let reservations = self.reservations.iter().flat_map(|r| r.to_be_bytes());
        let structure = self.structure.iter().flat_map(|word| word.to_be_bytes());
        header
            .chain(reservations)
            .chain(structure)
            .chain(self.strings.iter().copied())
            .collect()
    }

    fn check(&self) -> Result<(), Error> {
        Fdt::new(&self.bytes()).map(|_| ())
    }
}

#[test]
fn blob_made_by_hand_is_read() {
    let bytes = Blob::small().bytes();
    let fdt = Fdt::new(&bytes).unwrap();
    assert_eq!(fdt.boot_cpuid(), 7);
    let reservation = fdt.reservations().next().unwrap();
    assert_eq!((reservation.address, reservation.size), (0x1000, 0x2000));
    assert_eq!(fdt.reservations().count(), 1);
    assert_eq!(fdt.root().property("p").unwrap().u32(), Ok(0x1234));
    assert_eq!(fdt.root().child("n").unwrap().name(), "n");
    assert_eq!(fdt.root().children().count(), 1);
}

#[test]
fn headers() {
    // (field, value, expected)
    let table = [
        (0, 0xd00dfeee, Err(Error::BadMagic)),
        (0, 0xedfe0dd0, Err(Error::BadMagic)),
        (1, 39, Err(Error::BadLayout)),
        (1, 0, Err(Error::BadLayout)),
        (1, 0xffff_ffff, Err(Error::Truncated)),
        (2, 74, Err(Error::BadLayout)),
        (2, 0xffff_fffc, Err(Error::BadLayout)),
        (2, 36, Err(Error::BadLayout)),
        (2, 56, Err(Error::BadReservation)),
        (3, 112, Err(Error::BadLayout)),
        (3, 0xffff_fff0, Err(Error::BadLayout)),
        (4, 32, Err(Error::BadLayout)),
        (4, 44, Err(Error::BadLayout)),
        (4, 0xffff_fff8, Err(Error::BadLayout)),
        (5, 16, Err(Error::BadVersion)),
        (5, 18, Ok(())),
        (6, 17, Ok(())),
        (6, 18, Err(Error::BadVersion)),
        (7, 0xffff_ffff, Ok(())),
        (8, 0, Err(Error::BadNameOffset)),
        (8, 1, Err(Error::BadNameOffset)),
        (8, 3, Err(Error::BadLayout)),
        (8, 0xffff_ffff, Err(Error::BadLayout)),
        (9, 0, Err(Error::BadToken)),
        (9, 40, Err(Error::BadToken)),
        (9, 43, Err(Error::BadToken)),
        (9, 48, Err(Error::BadLayout)),
        (9, 0xffff_ffff, Err(Error::BadLayout)),
    ];
    assert_eq!(Blob::small().check(), Ok(()));
    for (field, value, expected) in table {
        let mut blob = Blob::small();
        blob.header[field] = value;
        assert_eq!(blob.check(), expected, "field {field} = {value:#x}");
    }
}

#[test]
fn every_truncation_is_seen() {
    let bytes = Blob::small().bytes();
    for len in 0..bytes.len() {
        let result = Fdt::new(&bytes[..len]).map(|_| ());
        assert_eq!(result, Err(Error::Truncated), "{len} bytes");
    }
    assert!(Fdt::new(&bytes).is_ok());
}

#[test]
fn reservations() {
    let table: &[(&[u64], Result<(), Error>)] = &[
        (&[0, 0], Ok(())),
        (&[1, 0, 0, 1, 0, 0], Ok(())),
        (&[u64::MAX, 1, 0, 0], Ok(())),
        (&[], Err(Error::BadReservation)),
        (&[0], Err(Error::BadReservation)),
        (&[0, 1], Err(Error::BadReservation)),
        (&[u64::MAX, 2, 0, 0], Err(Error::BadReservation)),
        (&[2, u64::MAX, 0, 0], Err(Error::BadReservation)),
    ];
    for (entries, expected) in table {
        let mut blob = Blob::small();
        blob.reservations = entries.to_vec();
        assert_eq!(blob.with_header().check(), *expected, "{entries:x?}");
    }
}

#[test]
fn structures() {
    let word = |bytes: &[u8; 4]| u32::from_be_bytes(*bytes);
    let empty_root = [BEGIN, ROOT, END_NODE, END];
    let prop = [PROP, 0, 0];
    let in_root = |inner: &[u32]| [&[BEGIN, ROOT][..], inner, &[END_NODE, END]].concat();
    let node = |name: u32| in_root(&[BEGIN, name, END_NODE]);

    let table: Vec<(&str, Vec<u32>, Result<(), Error>)> = vec![
        ("empty root", empty_root.to_vec(), Ok(())),
        ("only NOPs", vec![NOP; 3], Err(Error::BadToken)),
        (
            "NOPs everywhere",
            vec![
                NOP, BEGIN, ROOT, NOP, PROP, 0, 0, NOP, NOP, END_NODE, NOP, END,
            ],
            Ok(()),
        ),
        ("nothing", vec![], Err(Error::BadToken)),
        ("no root", vec![END], Err(Error::BadNesting)),
        ("open root", vec![BEGIN, ROOT, END], Err(Error::BadNesting)),
        ("no end", vec![BEGIN, ROOT, END_NODE], Err(Error::BadToken)),
        (
            "end of no node",
            vec![END_NODE, END],
            Err(Error::BadNesting),
        ),
        (
            "two roots",
            vec![BEGIN, ROOT, END_NODE, BEGIN, ROOT, END_NODE, END],
            Err(Error::BadNesting),
        ),
        (
            "root with a name",
            vec![BEGIN, N, END_NODE, END],
            Err(Error::BadName),
        ),
        (
            "two ends",
            [&empty_root[..], &[END]].concat(),
            Err(Error::TrailingData),
        ),
        (
            "NOP after the end",
            [&empty_root[..], &[NOP]].concat(),
            Err(Error::TrailingData),
        ),
        ("token 0", in_root(&[0]), Err(Error::BadToken)),
        ("token 5", in_root(&[5]), Err(Error::BadToken)),
        (
            "token of other endianness",
            in_root(&[0x0400_0000]),
            Err(Error::BadToken),
        ),
        (
            "property before the root",
            [&prop[..], &empty_root].concat(),
            Err(Error::BadNesting),
        ),
        (
            "property after the root",
            [&[BEGIN, ROOT, END_NODE], &prop[..], &[END]].concat(),
            Err(Error::BadNesting),
        ),
        (
            "property after a subnode",
            in_root(&[BEGIN, N, END_NODE, PROP, 0, 0]),
            Err(Error::PropertyAfterNode),
        ),
        (
            "property twice",
            in_root(&[prop, prop].concat()),
            Err(Error::DuplicateProperty),
        ),
        (
            "property twice by two offsets",
            in_root(&[PROP, 0, 0, PROP, 0, 2, PROP, 0, 4]),
            Err(Error::DuplicateProperty),
        ),
        (
            "property in node and subnode",
            in_root(&[PROP, 0, 0, BEGIN, N, PROP, 0, 0, END_NODE]),
            Ok(()),
        ),
        (
            "name is the tail of another",
            in_root(&[PROP, 0, 5, PROP, 0, 6]),
            Ok(()),
        ),
        ("no name", in_root(&[PROP, 0, 1]), Err(Error::BadName)),
        ("bad name", in_root(&[PROP, 0, 8]), Err(Error::BadName)),
        (
            "name outside",
            in_root(&[PROP, 0, 99]),
            Err(Error::BadNameOffset),
        ),
        (
            "name far outside",
            in_root(&[PROP, 0, u32::MAX]),
            Err(Error::BadNameOffset),
        ),
        (
            "value outside",
            in_root(&[PROP, 12, 0]),
            Err(Error::BadToken),
        ),
        (
            "value far outside",
            in_root(&[PROP, u32::MAX, 0]),
            Err(Error::BadToken),
        ),
        (
            "padding of a value",
            in_root(&[PROP, 3, 0, 0x0102_0304]),
            Err(Error::BadPadding),
        ),
        ("padded value", in_root(&[PROP, 3, 0, 0x0102_0300]), Ok(())),
        (
            "padding of a name",
            node(word(b"n\0\0n")),
            Err(Error::BadPadding),
        ),
        ("subnode", node(N), Ok(())),
        ("subnode without a name", node(0), Err(Error::BadName)),
        ("colon", node(word(b"a@:\0")), Err(Error::BadName)),
        ("digit first", node(word(b"1a\0\0")), Err(Error::BadName)),
        ("no unit address", node(word(b"aa@\0")), Err(Error::BadName)),
        ("no base name", node(word(b"@1\0\0")), Err(Error::BadName)),
        ("not UTF-8", node(word(b"a\xff\0\0")), Err(Error::BadName)),
        (
            "name without an end",
            vec![BEGIN, ROOT, BEGIN, u32::MAX],
            Err(Error::BadToken),
        ),
    ];
    for (what, structure, expected) in table {
        let blob = Blob::new(&structure, b"p\0p\0\0qr\0/\0");
        assert_eq!(blob.check(), expected, "{what}");
    }
}

#[test]
fn names_of_properties_have_at_most_31_characters() {
    let structure = [BEGIN, ROOT, PROP, 0, 0, END_NODE, END];
    for (len, terminated, expected) in [
        (31, true, Ok(())),
        (32, true, Err(Error::BadName)),
        (1000, true, Err(Error::BadName)),
        (31, false, Err(Error::BadNameOffset)),
    ] {
        let mut strings = vec![b'p'; len];
        if terminated {
            strings.push(0);
        }
        assert_eq!(Blob::new(&structure, &strings).check(), expected, "{len}");
    }
}

#[test]
fn names_of_nodes_have_at_most_31_characters() {
    for (name, expected) in [
        ("a".repeat(31), Ok(())),
        ("a".repeat(32), Err(Error::BadName)),
        (format!("{}@{}", "a".repeat(31), "0".repeat(80)), Ok(())),
    ] {
        let mut bytes = name.clone().into_bytes();
        bytes.resize((name.len() + 4) & !3, 0);
        let name_words = bytes
            .chunks(4)
            .map(|c| u32::from_be_bytes(c.try_into().unwrap()));
        let mut structure = vec![BEGIN, ROOT, BEGIN];
        structure.extend(name_words);
        structure.extend([END_NODE, END_NODE, END]);
        assert_eq!(Blob::new(&structure, b"").check(), expected, "{name}");
    }
}

#[test]
fn depth_is_limited() {
    for (depth, expected) in [
        (MAX_DEPTH, Ok(())),
        (MAX_DEPTH + 1, Err(Error::TooDeep)),
        (100_000, Err(Error::TooDeep)),
    ] {
        let mut structure = vec![BEGIN, ROOT];
        for _ in 1..depth {
            structure.extend([BEGIN, N]);
        }
        structure.extend(vec![END_NODE; depth]);
        structure.push(END);
        assert_eq!(Blob::new(&structure, b"").check(), expected, "{depth}");
    }
}

#[test]
fn number_of_properties_is_limited() {
    for (count, expected) in [
        (MAX_PROPERTIES, Ok(())),
        (MAX_PROPERTIES + 1, Err(Error::TooManyProperties)),
    ] {
        let mut structure = vec![BEGIN, ROOT];
        let mut strings = Vec::new();
        for i in 0..count {
            structure.extend([PROP, 0, strings.len() as u32]);
            strings.extend(format!("p{i}\0").into_bytes());
        }
        structure.extend([END_NODE, END]);
        assert_eq!(Blob::new(&structure, &strings).check(), expected, "{count}");
    }
}

#[test]
fn types_of_values() {
    let value = |len: u32, words: &[u32]| {
        let structure = [&[BEGIN, ROOT, PROP, len, 0], words, &[END_NODE, END]].concat();
        Blob::new(&structure, b"p\0").bytes()
    };
    let text = u32::from_be_bytes(*b"ab\0c");

    // (length, words, u32, u64, str, strings)
    type Strings<'a> = Result<Vec<&'a str>, Error>;
    type Row<'a> = (
        u32,
        &'a [u32],
        Result<u32, Error>,
        Result<u64, Error>,
        Result<&'a str, Error>,
        Strings<'a>,
    );
    let length = Error::BadLength;
    let string = Error::BadString;
    let table: &[Row<'_>] = &[
        (0, &[], Err(length), Err(length), Err(string), Ok(vec![])),
        (4, &[5], Ok(5), Err(length), Err(string), Err(string)),
        (
            8,
            &[1, 2],
            Err(length),
            Ok(1 << 32 | 2),
            Err(string),
            Err(string),
        ),
        (
            3,
            &[text & !0xff],
            Err(length),
            Err(length),
            Ok("ab"),
            Ok(vec!["ab"]),
        ),
        (4, &[text], Ok(text), Err(length), Err(string), Err(string)),
        (
            6,
            &[text, 0x6400_0000],
            Err(length),
            Err(length),
            Err(string),
            Ok(vec!["ab", "cd"]),
        ),
        (1, &[0], Err(length), Err(length), Ok(""), Ok(vec![""])),
        (
            2,
            &[0],
            Err(length),
            Err(length),
            Err(string),
            Ok(vec!["", ""]),
        ),
        (
            3,
            &[0x610a_0000],
            Err(length),
            Err(length),
            Err(string),
            Err(string),
        ),
        (
            2,
            &[0xff00_0000],
            Err(length),
            Err(length),
            Err(string),
            Err(string),
        ),
    ];
    for (len, words, as_u32, as_u64, as_str, as_list) in table {
        let bytes = value(*len, words);
        let property = Fdt::new(&bytes).unwrap().root().property("p").unwrap();
        assert_eq!(property.u32(), *as_u32, "{len} {words:x?}");
        assert_eq!(property.u64(), *as_u64, "{len} {words:x?}");
        assert_eq!(property.str(), *as_str, "{len} {words:x?}");
        let strings: Strings<'_> = property.str_list().collect();
        assert_eq!(strings, *as_list, "{len} {words:x?}");
        assert_eq!(property.u32_cells().is_ok(), len % 4 == 0, "{len}");
        assert_eq!(property.u64_cells().is_ok(), len % 8 == 0, "{len}");
    }
}

#[test]
fn a_bad_string_ends_its_list() {
    let words = b"ab\0\xff\0cd\0".chunks(4);
    let words: Vec<u32> = words
        .map(|c| u32::from_be_bytes(c.try_into().unwrap()))
        .collect();
    let structure = [&[BEGIN, ROOT, PROP, 8, 0], &words[..], &[END_NODE, END]].concat();
    let bytes = Blob::new(&structure, b"p\0").bytes();
    let property = Fdt::new(&bytes).unwrap().root().property("p").unwrap();
    let list: Vec<_> = property.str_list().collect();
    assert_eq!(list, [Ok("ab"), Err(Error::BadString)]);
}
