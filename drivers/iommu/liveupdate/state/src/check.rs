// SPDX-License-Identifier: GPL-2.0

//! What must hold among the nodes of a state.
//!
//! All of it is about equal numbers: those that must be different, and those that lead from one
//! node to another. So each rule collects the numbers in question, sorts them and compares
//! neighbours, which takes time O(n log n) for n nodes however hostile they are.

use core::cell::Cell;

use crate::{
    decode::State,
    error::{
        Error,
        Result, //
    },
    records::{
        Device,
        Tree,
        TABLE_SIZE, //
    },
    runs::RunList,
    schema::{
        self,
        property, //
    }, //
};

/// What nodes are sorted and found by: a number, and another one to tell equal ones apart.
pub type Key = [u64; 2];

impl State<'_> {
    /// How many keys [`check`](Self::check) needs room for.
    pub fn key_count(&self, runs: &RunList<'_>) -> usize {
        // Each unit has a table, each domain a run, each device a requester id.
        self.tables()
            .count()
            .saturating_add(runs.runs().count())
            .max(self.requester_ids().count())
            .max(self.hwpts().count())
    }

    /// Checks the nodes against each other and against the run list `runs`, with `keys` as its
    /// memory.
    ///
    /// - No two units have the same registers, no two domains the same number, no two devices the
    ///   same address, no two HWPTs the same token or the same domain, and no two devices of a unit
    ///   a common requester id.
    /// - No page is two tables. Each domain has at least as many pages as it has tables, the top table
    ///   is one of them, and no entry of the run list is left over.
    /// - The unit and the domain of each device exist, the unit is in its segment and has a context
    ///   table for each of its requester ids.
    /// - All devices of a domain are behind one unit. Within a unit, a domain id stands for one
    ///   domain.
    /// - The domain of each HWPT exists.
    ///
    /// # Errors
    ///
    /// What is wrong first, or [`Error::NoSpace`] if there are fewer than
    /// [`key_count`](Self::key_count) keys.
    pub fn check(&self, runs: &RunList<'_>, keys: &mut [Key]) -> Result<()> {
        self.check_unique(keys)?;
        self.check_references(keys)?;
        self.check_domains(keys)?;
        self.check_runs(runs, keys)
    }

    fn check_unique(&self, keys: &mut [Key]) -> Result<()> {
        let units = self.units().map(|u| [u.register_base, 0]);
        unique(sorted(keys, units)?, schema::IOMMU)?;

        let numbers = self.domains().map(|d| [d.number.into(), 0]);
        unique(sorted(keys, numbers)?, schema::DOMAIN)?;

        let addresses = self
            .devices()
            .map(|d| [d.address.segment.into(), d.address.requester_id.into()]);
        unique(sorted(keys, addresses)?, schema::DEVICE)?;

        unique(sorted(keys, self.requester_ids())?, property::REQUESTER_IDS)?;

        let tokens = self.hwpts().map(|h| [h.token, 0]);
        unique(sorted(keys, tokens)?, schema::HWPT)?;

        let domains = self.hwpts().map(|h| [h.domain.into(), 0]);
        unique(sorted(keys, domains)?, schema::HWPT)
    }

    fn check_references(&self, keys: &mut [Key]) -> Result<()> {
        let dangling = Error::Dangling(schema::DEVICE);

        let units = self.units().map(|u| [u.register_base, u.segment.into()]);
        let units = sorted(keys, units)?;
        for device in self.devices() {
            if second_of(units, device.unit).ok_or(dangling)? != device.address.segment.into() {
                return Err(Error::Range {
                    node: schema::DEVICE,
                    property: property::SEGMENT,
                });
            }
        }

        let buses = self.units().flat_map(|u| {
            u.context_tables
                .iter()
                .map(move |(bus, _)| [u.register_base, bus.into()])
        });
        let buses = sorted(keys, buses)?;
        for [unit, id] in self.requester_ids() {
            buses
                .binary_search(&[unit, id >> 8])
                .map_err(|_| dangling)?;
        }

        let numbers = sorted(keys, self.domains().map(|d| [d.number.into(), 0]))?;
        for device in self.devices() {
            second_of(numbers, device.domain.into()).ok_or(dangling)?;
        }
        for hwpt in self.hwpts() {
            second_of(numbers, hwpt.domain.into()).ok_or(Error::Dangling(schema::HWPT))?;
        }
        Ok(())
    }

    fn check_domains(&self, keys: &mut [Key]) -> Result<()> {
        let mut one_per_domain = |property, value: fn(&Device<'_>) -> u64| {
            let pairs = self.devices().map(|d| [d.domain.into(), value(&d)]);

            function(sorted(keys, pairs)?, property)
        };
        one_per_domain(property::IOMMU, |d| d.unit)?;
        one_per_domain(property::DOMAIN_ID, |d| d.domain_id.into())?;

        let ids = self.devices().map(|d| {
            let id = u64::from(d.domain_id) << 32;

            [d.unit, id | u64::from(d.domain)]
        });
        let ambiguous = |([unit, a], [other_unit, b]): (&Key, &Key)| {
            unit == other_unit && a >> 32 == b >> 32 && a != b
        };
        if neighbours(sorted(keys, ids)?).any(ambiguous) {
            return Err(Error::Conflict(property::DOMAIN_ID));
        }
        Ok(())
    }

    fn check_runs(&self, list: &RunList<'_>, keys: &mut [Key]) -> Result<()> {
        let wrong = |property| Error::Range {
            node: schema::DOMAIN,
            property,
        };

        // What belongs to a domain is not empty, so these are all entries if each occurs once, and
        // none is looked at twice below.
        let ranges = self.domains().map(|d| {
            let first = u64::from(d.runs.first);

            [first, first.saturating_add(d.runs.count.into())]
        });
        let ranges = sorted(keys, ranges)?;
        let covered = ranges
            .iter()
            .try_fold(0, |end, [first, next]| (*first == end).then_some(*next));
        if covered != u64::try_from(list.len()).ok() {
            return Err(wrong(property::RUNS));
        }

        for domain in self.domains() {
            let runs = list.group(domain.runs).ok_or(wrong(property::RUNS))?;

            runs.check()?;
            if runs.pages() < domain.table_pages {
                return Err(wrong(property::TABLE_PAGES));
            }
            if !runs.contains(domain.top_table) {
                return Err(wrong(property::TOP_TABLE));
            }
        }

        let runs = list.runs().map(|run| [run.base, run.end()]);
        let pages = sorted(keys, self.tables().chain(runs))?;
        if neighbours(pages).any(|([_, end], [start, _])| end > start) {
            return Err(Error::Duplicate(property::RUNS));
        }
        Ok(())
    }

    /// The register base of the unit and the requester id, for each requester id.
    fn requester_ids(&self) -> impl Iterator<Item = Key> + '_ {
        self.devices()
            .flat_map(|d| d.requester_ids.iter().map(move |id| [d.unit, id.into()]))
    }

    /// Begin and end of the pages that are root tables or context tables.
    fn tables(&self) -> impl Iterator<Item = Key> + '_ {
        self.units()
            .flat_map(|u| {
                let contexts = u.context_tables.iter().map(|(_, table)| table);

                contexts.chain([u.root_table])
            })
            .map(|table| [table, table.saturating_add(TABLE_SIZE)])
    }
}

/// Fills the beginning of `keys` with `values` and sorts it.
pub(crate) fn sorted(keys: &mut [Key], values: impl Iterator<Item = Key>) -> Result<&[Key]> {
    let mut count: usize = 0;

    for value in values {
        *keys.get_mut(count).ok_or(Error::NoSpace)? = value;
        count = count.checked_add(1).ok_or(Error::NoSpace)?;
    }
    let keys = keys.get_mut(..count).ok_or(Error::NoSpace)?;
    sort(Cell::from_mut(keys).as_slice_of_cells());
    Ok(keys)
}

/// Sorts `heap`, which is a heap first: no value is below a smaller one. Takes linear time if it is
/// sorted already.
///
/// The sort functions of the core library do without an allocation as well, but not without a call
/// to panic.
pub(crate) fn sort<T: Copy + PartialOrd>(mut heap: &[Cell<T>]) {
    if heap.is_sorted_by(|a, b| a.get() <= b.get()) {
        return;
    }
    for index in (0..heap.len() / 2).rev() {
        sift_down(heap, index);
    }
    while let Some((last, rest)) = heap.split_last() {
        if let Some(first) = rest.first() {
            last.set(first.replace(last.get()));
        }
        sift_down(rest, 0);
        heap = rest;
    }
}

/// Moves the value at `index` down to its place, with everything below it in place.
fn sift_down<T: Copy + PartialOrd>(heap: &[Cell<T>], mut index: usize) {
    let get = |index| heap.get(index).map(Cell::get);

    while let Some(left) = index.checked_mul(2).and_then(|i| i.checked_add(1)) {
        let right = left.saturating_add(1);
        let child = if get(right) > get(left) { right } else { left };

        match (heap.get(index), heap.get(child)) {
            (Some(upper), Some(lower)) if upper.get() < lower.get() => {
                upper.set(lower.replace(upper.get()));
            }
            _ => return,
        }
        index = child;
    }
}

fn neighbours(keys: &[Key]) -> impl Iterator<Item = (&Key, &Key)> {
    keys.iter().zip(keys.iter().skip(1))
}

/// Checks that no two of the sorted `keys` are equal.
pub(crate) fn unique(keys: &[Key], what: &'static str) -> Result<()> {
    if neighbours(keys).any(|(a, b)| a == b) {
        return Err(Error::Duplicate(what));
    }
    Ok(())
}

/// Checks that among the sorted `keys`, equal first numbers go with equal second numbers.
fn function(keys: &[Key], what: &'static str) -> Result<()> {
    if neighbours(keys).any(|([a, x], [b, y])| a == b && x != y) {
        return Err(Error::Conflict(what));
    }
    Ok(())
}

/// Finds a key with the first number `first` among the sorted `keys`, and returns the second.
fn second_of(keys: &[Key], first: u64) -> Option<u64> {
    let index = keys.binary_search_by_key(&first, |[f, _]| *f).ok()?;

    keys.get(index).map(|[_, second]| *second)
}
