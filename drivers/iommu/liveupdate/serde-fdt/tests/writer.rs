// SPDX-License-Identifier: GPL-2.0

//! What the writer refuses, and that a refused call changes nothing.

use serde_fdt::{
    Error,
    Fdt,
    Reservation,
    Result,
    Writer,
    MAX_DEPTH,
    MAX_PROPERTIES, //
};

/// Runs `calls` in an open root; returns what they returned, and the blob that came of it.
fn in_root<T>(calls: impl FnOnce(&mut Writer<'_>) -> T) -> (T, Vec<u8>) {
    let mut buf = vec![0; 1 << 16];
    let mut writer = Writer::new(&mut buf).unwrap();
    writer.begin_node("").unwrap();
    let result = calls(&mut writer);
    writer.end_node().unwrap();
    let len = writer.finish().unwrap();
    buf.truncate(len);
    (result, buf)
}

#[test]
fn refused_calls_leave_no_trace() {
    type Call = fn(&mut Writer<'_>) -> Result<()>;
    let table: &[(&str, Call, Error)] = &[
        ("empty node name", |w| w.begin_node(""), Error::BadName),
        ("digit first", |w| w.begin_node("1a"), Error::BadName),
        ("colon", |w| w.begin_node("device@0:3"), Error::BadName),
        ("slash", |w| w.begin_node("a/b"), Error::BadName),
        ("NUL", |w| w.begin_node("a\0b"), Error::BadName),
        ("not ASCII", |w| w.begin_node("ä"), Error::BadName),
        ("two @", |w| w.begin_node("a@1@2"), Error::BadName),
        ("no unit address", |w| w.begin_node("a@"), Error::BadName),
        (
            "32 characters",
            |w| w.begin_node("a".repeat(32)),
            Error::BadName,
        ),
        ("failing Display", |w| w.begin_node(Failing), Error::BadName),
        (
            "long node name",
            |w| w.begin_node(format_args!("a@{}", "1".repeat(1 << 16))),
            Error::NoSpace,
        ),
        (
            "empty property name",
            |w| w.property_u32("", 1),
            Error::BadName,
        ),
        (
            "@ in property name",
            |w| w.property_u32("a@1", 1),
            Error::BadName,
        ),
        (
            "long property name",
            |w| w.property_u32(&"a".repeat(32), 1),
            Error::BadName,
        ),
        (
            "NUL in string",
            |w| w.property_str("a", "b\0c"),
            Error::BadString,
        ),
        (
            "newline in string",
            |w| w.property_str("a", "b\n"),
            Error::BadString,
        ),
        (
            "not ASCII in list",
            |w| w.property_str_list("a", &["b", "ä"]),
            Error::BadString,
        ),
        (
            "long value",
            |w| w.property_bytes("a", &[1; 1 << 16]),
            Error::NoSpace,
        ),
        (
            "endless value",
            |w| w.property_u64_iter("a", std::iter::repeat(1)),
            Error::NoSpace,
        ),
    ];
    let ((), untouched) = in_root(|_| ());
    for (what, call, error) in table {
        let (result, blob) = in_root(call);
        assert_eq!(result, Err(*error), "{what}");
        assert_eq!(blob, untouched, "{what}");
    }
    // The control: a call that is not refused does change the blob.
    let (result, blob) = in_root(|w| w.property_u32("a", 1));
    assert_eq!(result, Ok(()));
    assert_ne!(blob, untouched);
}

struct Failing;

impl std::fmt::Display for Failing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a")?;
        Err(std::fmt::Error)
    }
}

#[test]
fn longest_names_are_accepted() {
    let longest = "a".repeat(31);
    let (result, blob) = in_root(|w| {
        w.property_empty(&longest)?;
        w.begin_node(format_args!("{longest}@{}", "0".repeat(100)))?;
        w.end_node()
    });
    assert_eq!(result, Ok(()));
    let root = Fdt::new(&blob).unwrap().root();
    assert!(root.property(&longest).is_some());
    assert_eq!(root.children().next().unwrap().base_name(), longest);
}

#[test]
fn calls_must_form_one_tree() {
    let mut buf = [0; 512];

    let mut writer = Writer::new(&mut buf).unwrap();
    assert_eq!(writer.property_u32("a", 1), Err(Error::NestingState));
    assert_eq!(writer.end_node(), Err(Error::NestingState));
    assert_eq!(writer.begin_node("root"), Err(Error::BadName));
    assert_eq!(writer.finish(), Err(Error::NestingState));

    let mut writer = Writer::new(&mut buf).unwrap();
    writer.begin_node("").unwrap();
    writer.begin_node("a").unwrap();
    writer.end_node().unwrap();
    assert_eq!(writer.property_u32("late", 1), Err(Error::NestingState));
    writer.end_node().unwrap();
    assert_eq!(writer.begin_node(""), Err(Error::NestingState));
    assert_eq!(writer.property_u32("late", 1), Err(Error::NestingState));
    assert_eq!(writer.end_node(), Err(Error::NestingState));
    let len = writer.finish().unwrap();
    assert!(Fdt::new(&buf[..len]).is_ok());

    let mut writer = Writer::new(&mut buf).unwrap();
    writer.begin_node("").unwrap();
    assert_eq!(writer.finish(), Err(Error::NestingState));
}

#[test]
fn property_names_are_unique_in_a_node_only() {
    let (result, blob) = in_root(|w| {
        w.property_u32("a", 1)?;
        w.property_u32("b", 2)?;
        assert_eq!(w.property_u32("a", 3), Err(Error::DuplicateProperty));
        w.begin_node("node")?;
        w.property_u32("a", 4)?;
        w.end_node()
    });
    assert_eq!(result, Ok(()));
    let root = Fdt::new(&blob).unwrap().root();
    assert_eq!(root.property("a").unwrap().u32(), Ok(1));
    let node = root.child("node").unwrap();
    assert_eq!(node.property("a").unwrap().u32(), Ok(4));
    // Both share one name in the strings block.
    assert!(blob.ends_with(b"a\0b\0"));
}

#[test]
fn limits_are_those_of_the_reader() {
    let (result, blob) = in_root(|w| {
        for i in 0..MAX_PROPERTIES {
            w.property_empty(&format!("p{i}"))?;
        }
        assert_eq!(w.property_empty("last"), Err(Error::TooManyProperties));
        for _ in 1..MAX_DEPTH {
            w.begin_node("node")?;
        }
        assert_eq!(w.begin_node("last"), Err(Error::TooDeep));
        for _ in 1..MAX_DEPTH {
            w.end_node()?;
        }
        Ok::<_, Error>(())
    });
    assert_eq!(result, Ok(()));
    let mut node = Fdt::new(&blob).unwrap().root();
    assert_eq!(node.properties().count(), MAX_PROPERTIES);
    let mut depth = 1;
    while let Some(child) = node.child("node") {
        node = child;
        depth += 1;
    }
    assert_eq!(depth, MAX_DEPTH);
}

#[test]
fn reservations_are_checked() {
    let table = [
        ((0, 0), Err(Error::BadReservation)),
        ((u64::MAX, 2), Err(Error::BadReservation)),
        ((u64::MAX, 1), Ok(())),
        ((0, u64::MAX), Ok(())),
        ((0x1000, 0), Ok(())),
    ];
    let mut buf = [0; 128];
    for ((address, size), expected) in table {
        let reservations = [Reservation { address, size }];
        let result = Writer::with_reservations(&mut buf, &reservations).map(|_| ());
        assert_eq!(result, expected, "{address:#x} {size:#x}");
    }
    let too_many = [Reservation {
        address: 1,
        size: 1,
    }; 8];
    let result = Writer::with_reservations(&mut buf, &too_many).map(|_| ());
    assert_eq!(result, Err(Error::NoSpace));
}

#[test]
fn errors_say_what_they_mean() {
    assert_eq!(Error::NoSpace.to_string(), "no space left in the buffer");
    assert_eq!(Error::TooDeep.to_string(), Error::TooDeep.as_str());
}
