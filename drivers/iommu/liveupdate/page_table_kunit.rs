// SPDX-License-Identifier: GPL-2.0

//! KUnit tests of the page-table walks in `liveupdate_state`, as they are built into the kernel.

use kernel::prelude::*;

#[kunit_tests(liveupdate_page_table)]
mod tests {
    use super::*;

    use core::cell::Cell;
    use liveupdate_state::{
        extents::Extents,
        page_table::{
            self,
            PageTable,
            Table,
            Tables, //
        },
        runs::{
            are_all_tables,
            write, //
        },
        second_stage::SecondStage,
        verify::{
            Comparison,
            Difference,
            Progress,
            Reason, //
        },
        Run,
        RunList, //
    };

    const READ: u64 = 1 << 0;
    const WRITE: u64 = 1 << 1;
    const PAGE: u64 = 1 << 7;

    const TOP: u64 = 0x1000;
    const DIRECTORY: u64 = 0x2000;
    const OTHER_TOP: u64 = 0x3000;
    const OTHER_DIRECTORY: u64 = 0x4000;
    const LOWEST: u64 = 0x5000;

    const IOVA: u64 = 3 << 21;
    const ADDRESS: u64 = 7 << 21;

    /// Tables from [`TOP`] on.
    struct Memory(KVec<KVec<Cell<u64>>>);

    impl Memory {
        /// Two sets of tables that translate the same 2 MiB, as one page and as 512.
        fn new() -> Result<Self> {
            let mut tables = KVec::new();
            for _ in (TOP..=LOWEST).step_by(0x1000) {
                let table = KVec::from_elem(Cell::new(0), 512, GFP_KERNEL)?;
                tables.push(table, GFP_KERNEL)?;
            }
            let memory = Self(tables);

            memory.set(TOP, 0, DIRECTORY | READ | WRITE)?;
            memory.set(DIRECTORY, 3, ADDRESS | READ | WRITE | PAGE)?;
            memory.set(OTHER_TOP, 0, OTHER_DIRECTORY | READ | WRITE)?;
            memory.set(OTHER_DIRECTORY, 3, LOWEST | READ | WRITE)?;
            for (index, offset) in (0..).zip((0..1u64 << 21).step_by(0x1000)) {
                memory.set(LOWEST, index, (ADDRESS + offset) | READ | WRITE)?;
            }
            Ok(memory)
        }

        fn find(&self, table: u64, index: u16) -> Option<&Cell<u64>> {
            let number = usize::try_from(table.checked_sub(TOP)? / 0x1000).ok()?;

            self.0.get(number)?.get(usize::from(index))
        }

        fn set(&self, table: u64, index: u16, entry: u64) -> Result {
            self.find(table, index).ok_or(EINVAL)?.set(entry);
            Ok(())
        }

        fn page_table(top: u64) -> Result<PageTable<SecondStage>> {
            PageTable::new(top, 2, 39, SecondStage::new(46)).ok_or(EINVAL)
        }

        fn compare(&self) -> Result<core::result::Result<Progress, page_table::Error>> {
            let tables = (Self::page_table(TOP)?, Self::page_table(OTHER_TOP)?);
            let mut comparison = Comparison::new(self, tables.0, tables.1, false);

            loop {
                let progress = comparison.step(100);
                if progress != Ok(Progress::Continue) {
                    return Ok(progress);
                }
            }
        }
    }

    impl Tables for Memory {
        type Table<'a> = Page<'a>;

        fn table(&self, address: u64) -> Option<Page<'_>> {
            self.find(address, 0)?;
            Some(Page(self, address))
        }
    }

    /// The page of a memory at an address.
    #[derive(Clone, Copy)]
    struct Page<'a>(&'a Memory, u64);

    impl Table for Page<'_> {
        fn entry(&self, index: u16) -> Option<u64> {
            let Self(memory, address) = self;

            memory.find(*address, index).map(Cell::get)
        }
    }

    #[test]
    fn compare() -> Result {
        let memory = Memory::new()?;
        assert_eq!(memory.compare()?, Ok(Progress::Equal));

        for (index, entry, reason) in [
            (511, 0, Reason::Unmapped),
            (500, READ | WRITE, Reason::Address),
            (400, (ADDRESS + 400 * 0x1000) | READ, Reason::Rights),
        ] {
            memory.set(LOWEST, index, entry)?;
            let difference = Difference {
                iova: IOVA + u64::from(index) * 0x1000,
                reason,
            };
            assert_eq!(memory.compare()?, Ok(Progress::Different(difference)));
        }

        memory.set(OTHER_DIRECTORY, 2, 0x1_0000_0000 | READ)?;
        let error = page_table::Error::Unreadable {
            table: 0x1_0000_0000,
        };
        assert_eq!(memory.compare()?, Err(error));
        Ok(())
    }

    #[test]
    fn extents() -> Result {
        let memory = Memory::new()?;

        for (top, count) in [(TOP, 1), (OTHER_TOP, 512)] {
            let mut found = 0;
            let mut size = 0;
            for extent in Extents::new(&memory, Memory::page_table(top)?) {
                let extent = extent.map_err(|_| EINVAL)?;
                if let Some(mapping) = extent.mapping {
                    assert_eq!(mapping.address - ADDRESS, extent.iova - IOVA);
                    found += 1;
                    size += extent.end - extent.iova;
                }
            }
            assert_eq!((found, size), (count, 1 << 21));
        }
        Ok(())
    }

    /// Whether the tables at `top` are `pages` of the four pages from `top` on.
    fn are_all(memory: &Memory, top: u64, pages: u64) -> Result<bool> {
        let run = Run {
            base: top,
            pages: 4,
        };
        let mut entries = [0; 24];
        write(&[run], 0, &mut entries).map_err(|_| EINVAL)?;
        let list = RunList::new(&entries, 3).ok_or(EINVAL)?;
        let group = list.groups().next().ok_or(EINVAL)?;
        let table = Memory::page_table(top)?;

        Ok(are_all_tables(
            memory,
            &table,
            &group,
            pages,
            &mut [0; 2],
            || {},
        ))
    }

    #[test]
    fn all_tables() -> Result {
        let memory = Memory::new()?;

        assert!(are_all(&memory, OTHER_TOP, 3)?);
        // One too few, and one too many.
        assert!(!are_all(&memory, OTHER_TOP, 2)?);
        assert!(!are_all(&memory, OTHER_TOP, 4)?);

        // Back to the top, and to a table that has its place already.
        memory.set(OTHER_DIRECTORY, 4, OTHER_TOP | READ)?;
        assert!(!are_all(&memory, OTHER_TOP, 3)?);
        memory.set(OTHER_DIRECTORY, 4, LOWEST | READ)?;
        assert!(!are_all(&memory, OTHER_TOP, 3)?);
        Ok(())
    }
}
