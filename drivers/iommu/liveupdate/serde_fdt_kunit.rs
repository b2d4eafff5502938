// SPDX-License-Identifier: GPL-2.0

//! KUnit tests of `serde_fdt` as it is built into the kernel.
//!
//! The host tests of the crate go further; these show that the object code in this image, built
//! for this architecture, with the compiler flags of the kernel, does the same.

use kernel::prelude::*;

#[kunit_tests(serde_fdt)]
mod tests {
    use super::*;

    use serde_fdt::{
        Error,
        Fdt,
        Node,
        Reservation,
        Writer, //
    };

    /// Bytes for a blob, full of data that is not zero.
    fn buffer(len: usize) -> Result<KVVec<u8>> {
        Ok(KVVec::from_elem(0xa5, len, GFP_KERNEL)?)
    }

    /// Writes a small tree of the kind that a live update hands over.
    fn write_example(buf: &mut [u8]) -> serde_fdt::Result<usize> {
        let reservations = [Reservation {
            address: 0x1000,
            size: 0x2000,
        }];
        let mut writer = Writer::with_reservations(buf, &reservations)?;
        writer.begin_node("")?;
        writer.property_str("compatible", "example,v1")?;
        writer.property_str_list("required-features", &["one", "two"])?;
        for id in 1..=2u32 {
            writer.begin_node(fmt!("domain@{id:x}"))?;
            writer.property_u32("domain-id", id)?;
            writer.property_u64("top", 0x1_0000_0000)?;
            writer.property_u64_iter("runs", (0..4u64).map(|n| n << 40))?;
            writer.property_empty("immutable")?;
            writer.end_node()?;
        }
        writer.end_node()?;
        writer.finish()
    }

    /// A blob made by hand: a root with the property `p` and a subnode `n`.
    #[rustfmt::skip]
    const BLOB: [u8; 102] = [
        // Header: magic, sizes, offsets, versions.
        0xd0, 0x0d, 0xfe, 0xed, 0, 0, 0, 102, 0, 0, 0, 56, 0, 0, 0, 100, 0, 0, 0, 40,
        0, 0, 0, 17, 0, 0, 0, 16, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 44,
        // Memory reservation block: the terminator.
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        // Structure block.
        0, 0, 0, 1, 0, 0, 0, 0,
        0, 0, 0, 3, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0x12, 0x34,
        0, 0, 0, 1, b'n', 0, 0, 0, 0, 0, 0, 2,
        0, 0, 0, 2, 0, 0, 0, 9,
        // Strings block.
        b'p', 0,
    ];

    /// Reads the 32-bit field at `at` of a blob.
    fn field(blob: &[u8], at: usize) -> Option<u32> {
        let bytes = blob.get(at..)?.first_chunk()?;
        Some(u32::from_be_bytes(*bytes))
    }

    #[test]
    fn read_back() -> Result {
        let mut buf = buffer(4096)?;
        let len = write_example(&mut buf).map_err(|_| EINVAL)?;
        let fdt = Fdt::new(&buf).map_err(|_| EINVAL)?;
        assert_eq!(fdt.as_bytes().len(), len);

        let mut reservations = fdt.reservations();
        let first = reservations.next().ok_or(ENOENT)?;
        assert_eq!((first.address, first.size), (0x1000, 0x2000));
        assert!(reservations.next().is_none());

        let root = fdt.root();
        let compatible = root.property("compatible").ok_or(ENOENT)?;
        assert_eq!(compatible.str(), Ok("example,v1"));
        assert_eq!(compatible.u64(), Err(Error::BadLength));
        let features = root.property("required-features").ok_or(ENOENT)?;
        assert!(features.str_list().eq([Ok("one"), Ok("two")]));

        assert_eq!(root.children().count(), 2);
        assert_eq!(root.children_with_base("domain").count(), 2);
        assert_eq!(root.children_with_base("dom").count(), 0);
        let domain = root.child("domain@2").ok_or(ENOENT)?;
        assert_eq!(domain.unit_address(), Some("2"));
        let number = |name| domain.property(name).ok_or(Error::BadName);
        assert_eq!(number("domain-id").and_then(|p| p.u32()), Ok(2));
        assert_eq!(number("top").and_then(|p| p.u64()), Ok(0x1_0000_0000));
        assert_eq!(number("absent").and_then(|p| p.u64()), Err(Error::BadName));
        let runs = number("runs")
            .and_then(|p| p.u64_cells())
            .map_err(|_| EINVAL)?;
        assert_eq!(runs.len(), 4);
        assert!(runs.eq([0, 1 << 40, 2 << 40, 3 << 40]));
        assert!(domain
            .property("immutable")
            .is_some_and(|p| p.bytes().is_empty()));
        Ok(())
    }

    #[test]
    fn blob_made_by_hand() -> Result {
        let fdt = Fdt::new(&BLOB).map_err(|_| EINVAL)?;
        assert_eq!(fdt.root().property("p").map(|p| p.u32()), Some(Ok(0x1234)));
        assert_eq!(fdt.root().child("n").map(Node::name), Some("n"));

        // The writer makes the same bytes of it.
        let mut buf = buffer(BLOB.len())?;
        let write = |buf: &mut [u8]| -> serde_fdt::Result<usize> {
            let mut writer = Writer::new(buf)?;
            writer.begin_node("")?;
            writer.property_u32("p", 0x1234)?;
            writer.begin_node("n")?;
            writer.end_node()?;
            writer.end_node()?;
            writer.finish()
        };
        assert_eq!(write(&mut buf), Ok(BLOB.len()));
        assert!(buf[..] == BLOB);
        Ok(())
    }

    #[test]
    fn rejections() -> Result {
        // (offset, byte, expected)
        let table = [
            (0, 0xd1, Some(Error::BadMagic)),
            (7, 39, Some(Error::BadLayout)),
            (7, 103, Some(Error::Truncated)),
            (11, 58, Some(Error::BadLayout)),
            (11, 52, Some(Error::BadReservation)),
            (15, 96, Some(Error::BadLayout)),
            (19, 44, Some(Error::BadLayout)),
            (23, 16, Some(Error::BadVersion)),
            (27, 18, Some(Error::BadVersion)),
            (35, 1, Some(Error::BadNameOffset)),
            (35, 3, Some(Error::BadLayout)),
            (39, 40, Some(Error::BadToken)),
            (55, 1, Some(Error::BadReservation)),
            (59, 5, Some(Error::BadToken)),
            (59, 2, Some(Error::BadNesting)),
            (60, b'x', Some(Error::BadName)),
            (63, 1, Some(Error::BadPadding)),
            (71, 3, Some(Error::BadPadding)),
            (68, 0x80, Some(Error::BadToken)),
            (75, 2, Some(Error::BadNameOffset)),
            (83, 4, Some(Error::BadToken)),
            (84, b'/', Some(Error::BadName)),
            (85, b'@', Some(Error::BadName)),
            (87, b'x', Some(Error::BadPadding)),
            (91, 9, Some(Error::BadNesting)),
            (99, 4, Some(Error::BadToken)),
            (100, b'@', Some(Error::BadName)),
            (101, b'q', Some(Error::BadNameOffset)),
            // Controls: other bytes of the value and of the names are as good.
            (79, 0x35, None),
            (84, b'm', None),
            (100, b'q', None),
        ];
        for (at, byte, expected) in table {
            let mut blob = BLOB;
            *blob.get_mut(at).ok_or(EINVAL)? = byte;
            let result = Fdt::new(&blob).err();
            if result != expected {
                pr_err!("byte {at} = {byte:#x}: {result:?}, not {expected:?}\n");
            }
            assert_eq!(result, expected);
        }
        Ok(())
    }

    #[test]
    fn truncations() -> Result {
        for len in 0..BLOB.len() {
            let blob = BLOB.get(..len).ok_or(EINVAL)?;
            assert_eq!(Fdt::new(blob).err(), Some(Error::Truncated));
        }
        assert_eq!(Fdt::new(&BLOB).err(), None);
        Ok(())
    }

    #[test]
    fn exact_size() -> Result {
        let mut buf = buffer(4096)?;
        let len = write_example(&mut buf).map_err(|_| EINVAL)?;
        assert_eq!(field(&buf, 4).map(u64::from), Some(len as u64));
        for short in 0..len {
            let buf = buf.get_mut(..short).ok_or(EINVAL)?;
            assert_eq!(write_example(buf), Err(Error::NoSpace));
        }
        let buf = buf.get_mut(..len).ok_or(EINVAL)?;
        assert_eq!(write_example(buf), Ok(len));
        Ok(())
    }

    #[test]
    fn refused_calls() -> Result {
        let mut buf = buffer(1024)?;
        let write = |buf: &mut [u8]| -> serde_fdt::Result<usize> {
            let mut writer = Writer::new(buf)?;
            assert_eq!(writer.property_u32("p", 1), Err(Error::NestingState));
            assert_eq!(writer.begin_node("root"), Err(Error::BadName));
            writer.begin_node("")?;
            assert_eq!(writer.property_u32("p@1", 1), Err(Error::BadName));
            assert_eq!(writer.property_str("p", "a\n"), Err(Error::BadString));
            assert_eq!(writer.property_bytes("p", &[0; 2048]), Err(Error::NoSpace));
            writer.property_u32("p", 0x1234)?;
            assert_eq!(writer.property_u32("p", 1), Err(Error::DuplicateProperty));
            writer.begin_node("n")?;
            assert_eq!(writer.begin_node("device@0:3"), Err(Error::BadName));
            writer.end_node()?;
            assert_eq!(writer.property_u32("q", 1), Err(Error::NestingState));
            writer.end_node()?;
            assert_eq!(writer.end_node(), Err(Error::NestingState));
            writer.finish()
        };
        // What was refused has left no trace.
        assert_eq!(write(&mut buf), Ok(BLOB.len()));
        assert!(buf.get(..BLOB.len()) == Some(&BLOB));
        Ok(())
    }
}
