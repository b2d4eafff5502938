// SPDX-License-Identifier: GPL-2.0

//! KUnit tests of `liveupdate_state` as it is built into the kernel.
//!
//! The host tests of the crate go further; these show that the object code in this image does the
//! same, and that it agrees with the headers of this kernel.

use kernel::prelude::*;

#[kunit_tests(liveupdate_state)]
mod tests {
    use super::*;

    use crate::flb::IommuState;
    use core::cell::Cell;
    use kernel::{
        bindings,
        liveupdate::Flb,
        page::PAGE_SIZE, //
    };
    use liveupdate_state::{
        encode,
        records,
        schema::{
            self,
            property, //
        },
        vtd,
        ContextTables,
        Device,
        Domain,
        Error,
        Features,
        Hwpt,
        Key,
        PciAddress,
        RequesterIds,
        Root,
        RunList,
        RunListRecord,
        RunRange,
        State,
        Tree,
        Unit, //
    };

    const ROOT_TABLE: u64 = 0x1_0000_1000;
    const CONTEXT_TABLE: u64 = 0x1_0000_2000;
    const TABLES: [(u8, u64); 1] = [(2, CONTEXT_TABLE)];

    /// Nine pages from the top table on, whose content is not looked at.
    const RUNS: [u8; 24] = [
        0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1, 0, 8,
    ];
    const ROOT: Root = Root {
        owner: 5,
        run_list: RunListRecord {
            copies: [0x1_0002_0000, 0x1_0003_0000],
            entries: 3,
            checksum: 0,
        },
        required: Features::NONE,
    };

    fn unit(context_tables: &[(u8, u64)]) -> Unit<'_> {
        Unit {
            register_base: 0xfed9_0000,
            segment: 0,
            capability: 0x00d2_008c_2226_60c2,
            extended_capability: 0xf00f4a,
            root_table: ROOT_TABLE,
            context_tables: ContextTables::new(context_tables),
        }
    }

    fn domain() -> Domain {
        Domain {
            number: 3,
            top_table: 0x1_0001_0000,
            top_level: 3,
            input_bits: 48,
            output_bits: 46,
            pt_flags: 0x3,
            page_sizes: 0x4020_1000,
            table_pages: 9,
            runs: RunRange { first: 0, count: 3 },
        }
    }

    fn device(requester_ids: &[u16]) -> Device<'_> {
        Device {
            address: PciAddress {
                segment: 0,
                requester_id: 0x0208,
            },
            vendor_device: 0x1af4_1041,
            class: 0x02_0000,
            unit: 0xfed9_0000,
            requester_ids: RequesterIds::new(requester_ids),
            domain: 3,
            domain_id: 0x12,
        }
    }

    /// Writes a state; the inner result is what a reader says about it.
    fn check(
        buf: &mut [u8],
        unit: Unit<'_>,
        domain: Domain,
        devices: &[Device<'_>],
    ) -> Result<liveupdate_state::Result<()>> {
        let hwpt = Hwpt {
            token: 7,
            domain: domain.number,
        };
        let devices = devices.iter().copied();
        encode(buf, ROOT, [unit], [domain], devices, [hwpt]).map_err(|_| ENOSPC)?;
        let state = match State::parse(buf, Features::NONE) {
            Ok(state) => state,
            Err(e) => return Ok(Err(e)),
        };
        let runs = RunList::new(&RUNS, 3).ok_or(EINVAL)?;
        let mut keys = KVVec::from_elem(Key::default(), state.key_count(&runs), GFP_KERNEL)?;

        Ok(state.check(&runs, &mut keys))
    }

    #[test]
    fn round_trip() -> Result {
        let mut buf = KVVec::from_elem(0xa5, 4096, GFP_KERNEL)?;
        let ids = [0x0208, 0x0200];
        assert_eq!(
            check(&mut buf, unit(&TABLES), domain(), &[device(&ids)])?,
            Ok(())
        );

        let state = State::parse(&buf, Features::NONE).map_err(|_| EINVAL)?;
        let found = state.unit(0xfed9_0000).ok_or(ENOENT)?;
        assert_eq!(found.capability, 0x00d2_008c_2226_60c2);
        assert_eq!(found.root_table, ROOT_TABLE);
        assert!(found.context_tables.iter().eq(TABLES));
        assert!(state.domains().eq([domain()]));
        assert_eq!(state.owner(), 5);
        assert_eq!(state.run_list(), ROOT.run_list);
        let found = state.devices_of(0xfed9_0000).next().ok_or(ENOENT)?;
        assert_eq!(found.address.requester_id, 0x0208);
        assert_eq!(found.domain_id, 0x12);
        assert!(found.requester_ids.iter().eq(ids));
        let entry = vtd::ContextEntry::new(vtd::ContextEntry::translating(&domain(), 0x12));
        assert!(state.claims(0xfed9_0000, 0x0200, entry));
        assert!(!state.claims(0xfed9_0000, 0x0201, entry));
        Ok(())
    }

    #[test]
    fn rejections() -> Result {
        let mut buf = KVVec::from_elem(0, 4096, GFP_KERNEL)?;
        let ids = [0x0208];
        let range = |node, property| Err(Error::Range { node, property });

        let good = check(&mut buf, unit(&TABLES), domain(), &[device(&ids)])?;
        assert_eq!(good, Ok(()));

        let twice = [(2, CONTEXT_TABLE), (2, 0x1_0000_3000)];
        let result = check(&mut buf, unit(&twice), domain(), &[device(&ids)])?;
        assert_eq!(result, Err(Error::Duplicate(property::CONTEXT_TABLES)));

        let shallow = Domain {
            top_level: 1,
            ..domain()
        };
        let result = check(&mut buf, unit(&TABLES), shallow, &[device(&ids)])?;
        assert_eq!(result, range(schema::DOMAIN, property::TOP_LEVEL));

        let lost = Device {
            domain: 4,
            ..device(&ids)
        };
        let result = check(&mut buf, unit(&TABLES), domain(), &[lost])?;
        assert_eq!(result, Err(Error::Dangling(schema::DEVICE)));

        let twins = [device(&ids), device(&ids)];
        let result = check(&mut buf, unit(&TABLES), domain(), &twins)?;
        assert_eq!(result, Err(Error::Duplicate(schema::DEVICE)));
        Ok(())
    }

    /// A table that fills a page.
    struct Table(KVec<Cell<[u64; 2]>>);

    impl Table {
        fn new(entries: &[(u8, [u64; 2])]) -> Result<Self> {
            let table = Self(KVec::from_elem(Cell::new([0, 0]), 256, GFP_KERNEL)?);

            for (index, entry) in entries {
                table.0.get(usize::from(*index)).ok_or(EINVAL)?.set(*entry);
            }
            Ok(table)
        }
    }

    impl vtd::Table for &Table {
        fn read(&self, index: u8) -> [u64; 2] {
            self.0.get(usize::from(index)).map_or([0, 0], Cell::get)
        }

        fn clear(&self, index: u8) {
            if let Some(entry) = self.0.get(usize::from(index)) {
                entry.set([0, 0]);
            }
        }
    }

    struct Tables {
        root: Table,
        context: Table,
    }

    impl vtd::Memory for Tables {
        type Table<'a> = &'a Table;

        fn table(&self, address: u64) -> Option<&Table> {
            match address {
                ROOT_TABLE => Some(&self.root),
                CONTEXT_TABLE => Some(&self.context),
                _ => None,
            }
        }
    }

    #[test]
    fn scrub() -> Result {
        const CLAIMED: [u64; 2] = [0x1_0001_0001, 0x1202];
        let tables = Tables {
            root: Table::new(&[(2, [CONTEXT_TABLE | 1, 0]), (3, [0x5001, 0])])?,
            context: Table::new(&[(0x08, CLAIMED), (0x10, CLAIMED), (0x18, [0x5000, 0])])?,
        };
        let unit = unit(&TABLES);
        let keep = |id, entry: vtd::ContextEntry| id == 0x0208 && entry.matches(&domain(), 0x12);
        let attached = |ids| vtd::is_attached(&tables, &unit, &device(ids), &domain());

        assert!(attached(&[0x0208, 0x0210]));
        let is_context = |bus, table| unit.context_tables.get(bus) == Some(table);
        let scrubbed = vtd::scrub(&tables, ROOT_TABLE, is_context, keep).ok_or(ENOENT)?;
        assert_eq!((scrubbed.kept, scrubbed.cleared), (1, 2));
        assert_eq!(scrubbed.context_tables, 1);
        assert!(attached(&[0x0208]));
        assert!(!attached(&[0x0208, 0x0210]));

        // Present entries that nobody claims are gone, and nothing else is.
        for (table, index, left) in [
            (&tables.root, 2, [CONTEXT_TABLE | 1, 0]),
            (&tables.root, 3, [0, 0]),
            (&tables.context, 0x08, CLAIMED),
            (&tables.context, 0x10, [0, 0]),
            (&tables.context, 0x18, [0x5000, 0]),
        ] {
            assert_eq!(vtd::Table::read(&table, index), left);
        }

        assert!(!vtd::clear_all(&tables, 0x5000));
        assert!(attached(&[0x0208]));
        assert!(vtd::clear_all(&tables, ROOT_TABLE));
        assert!(!attached(&[0x0208]));
        Ok(())
    }

    /// What is said twice is said alike.
    #[test]
    fn headers() -> Result {
        let name = CStr::from_bytes_with_nul(bindings::IOMMU_LIVEUPDATE_FLB_COMPATIBLE)
            .map_err(|_| EINVAL)?;
        assert!(IommuState::COMPATIBLE == name);
        assert_eq!(records::TABLE_SIZE, PAGE_SIZE as u64);
        Ok(())
    }
}
