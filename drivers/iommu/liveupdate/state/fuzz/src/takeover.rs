// SPDX-License-Identifier: GPL-2.0

//! The takeover as the kernel does it, from the index to what is cleared, and what has to hold of
//! its result.

use crate::input::Section;
use crate::machine::{
    block,
    Machine,
    BLOCK_SIZE,
    PAGES,
    PAIR,
    TABLES,
    UNIT, //
};
use liveupdate_state::{
    decode,
    encode,
    hardware,
    index,
    runs::are_all_tables,
    second_stage,
    vtd,
    vtd::Table as _,
    Features,
    Hwpt,
    Index,
    Iommufd,
    Key,
    Root,
    RunList,
    RunListRecord,
    RunRange,
    State,
    Tree, //
};
use std::collections::BTreeSet;
use xxhash_rust::xxh64::xxh64;

/// Which checks are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checks {
    /// All of them.
    All,
    /// All but those among the nodes of a tree.
    WithoutNodes,
}

/// An iommufd that goes on.
struct Adopted<'a> {
    state: State<'a>,
    runs: RunList<'a>,
}

/// Takes the unit of `machine` over, and panics if that has led to something wrong.
///
/// Returns how many iommufds go on.
pub fn take_over(machine: &Machine, checks: Checks) -> usize {
    let adopted = adopt(machine, checks);

    check_scrubbed(machine, &adopted);
    for iommufd in &adopted {
        check_iommufd(machine, iommufd);
    }
    check_owners(machine, &adopted);
    adopted.len()
}

/// Reads everything, checks it and clears what nobody needs.
fn adopt(machine: &Machine, checks: Checks) -> Vec<Adopted<'_>> {
    let found = machine.unit();
    let mut candidates = Vec::new();

    for iommufd in iommufds(machine) {
        let Some(candidate) = read(machine, &iommufd, checks) else {
            // Where the list is may be known all the same.
            let blob = machine.block(iommufd.state, iommufd.size);
            let record = blob.and_then(decode::run_list);
            let _ = record.and_then(|record| run_list(machine, &record));
            continue;
        };
        let intact = !machine.check_tables || are_tables_intact(machine, &candidate);

        let checked = hardware::check(machine, &candidate.state, &found)
            .and_then(|()| hardware::check_runs(machine, &candidate.runs));
        if checked.is_ok() && intact {
            candidates.push(candidate);
        }
    }
    drop_conflicts(&mut candidates);

    if candidates.is_empty() {
        vtd::clear_all(machine, found.root_table);
        return candidates;
    }
    let is_context = |bus, table| {
        let units = candidates.iter().filter_map(|c| c.state.unit(UNIT));
        let mut tables = units.map(|u| u.context_tables.get(bus));

        tables.any(|t| t == Some(table))
    };
    let keep = |id, entry| candidates.iter().any(|c| c.state.claims(UNIT, id, entry));

    if vtd::scrub(machine, found.root_table, is_context, keep).is_none() {
        vtd::clear_all(machine, found.root_table);
        candidates.clear();
    }
    candidates
}

fn iommufds(machine: &Machine) -> Vec<Iommufd> {
    let blob = machine.block(block(Section::Index), BLOCK_SIZE as u64);
    let Some(Ok(index)) = blob.map(|blob| Index::parse(blob, Features::NONE)) else {
        return Vec::new();
    };
    let iommufds: Vec<_> = index.iommufds().filter_map(Result::ok).collect();

    // What was read is what is written.
    let mut copy = vec![0xa5; 4 * BLOCK_SIZE];
    let len = index::encode(&mut copy, Features::NONE, iommufds.iter().copied()).unwrap();
    let again = Index::parse(&copy[..len], Features::NONE).unwrap();
    assert!(again
        .iommufds()
        .map(Result::unwrap)
        .eq(iommufds.iter().copied()));
    iommufds
}

/// Finds a run list, if it is one.
fn run_list<'a>(machine: &'a Machine, record: &RunListRecord) -> Option<RunList<'a>> {
    let size = record.entries.checked_mul(8)?;

    record.copies.iter().find_map(|address| {
        let bytes = machine.block(*address, size)?;
        let is_sound = xxh64(bytes, 0) == record.checksum;

        RunList::new(bytes, record.entries).filter(|_| is_sound)
    })
}

/// Whether the page tables are what they were, and are those in the list.
fn are_tables_intact(machine: &Machine, candidate: &Adopted<'_>) -> bool {
    candidate.state.domains().all(|domain| {
        let runs = candidate.runs.group(domain.runs);
        let table = second_stage::page_table(&domain);

        runs.zip(table).is_some_and(|(runs, table)| {
            runs.is_intact(machine) && {
                let mut memory = vec![u64::MAX; runs.words().expect("too many pages")];
                let count = domain.table_pages;

                are_all_tables(machine, &table, &runs, count, &mut memory, || {})
            }
        })
    })
}

/// Reads the tree of an iommufd and checks what can be checked without the unit.
fn read<'a>(machine: &'a Machine, record: &Iommufd, checks: Checks) -> Option<Adopted<'a>> {
    let blob = machine.block(record.state, record.size)?;
    let state = State::parse(blob, Features::NONE).ok()?;

    if state.owner() != record.owner || state.run_list() != record.run_list {
        return None;
    }
    let runs = run_list(machine, &record.run_list)?;
    let mut keys = vec![Key::default(); state.key_count(&runs)];

    if checks == Checks::All {
        state.check(&runs, &mut keys).ok()?;
        if !state.are_hwpts_known() {
            return None;
        }
        check_copy(&state, &runs);
    }
    Some(Adopted { state, runs })
}

/// What was accepted is accepted again when it is written anew, and is the same.
fn check_copy(state: &State<'_>, runs: &RunList<'_>) {
    let mut copy = vec![0xa5; 8 * BLOCK_SIZE];
    let root = Root {
        owner: state.owner(),
        run_list: state.run_list(),
        required: Features::NONE,
    };
    let hwpts: Vec<Hwpt> = state.hwpts().collect();
    let len = encode(
        &mut copy,
        root,
        state.units(),
        state.domains(),
        state.devices(),
        hwpts.iter().copied(),
    )
    .unwrap();
    let again = State::parse(&copy[..len], Features::NONE).unwrap();
    let mut keys = vec![Key::default(); again.key_count(runs)];

    assert_eq!(again.check(runs, &mut keys), Ok(()));
    assert!(again.are_hwpts_known());
    assert_eq!(
        format!("{:?}", records(&again)),
        format!("{:?}", records(state))
    );
}

/// Everything in a tree, in a form that can be printed.
fn records(state: &State<'_>) -> impl std::fmt::Debug {
    let units = state.units().map(|u| {
        let tables: Vec<_> = u.context_tables.iter().collect();
        let registers = (u.register_base, u.capability, u.extended_capability);
        (registers, u.segment, u.root_table, tables)
    });
    let devices = state.devices().map(|d| {
        let ids: Vec<_> = d.requester_ids.iter().collect();
        let function = (d.address, d.vendor_device, d.class);
        (function, d.unit, d.domain, d.domain_id, ids)
    });

    (
        (state.owner(), state.run_list()),
        units.collect::<Vec<_>>(),
        state.domains().collect::<Vec<_>>(),
        devices.collect::<Vec<_>>(),
        state.hwpts().collect::<Vec<_>>(),
    )
}

/// Drops those that claim what another one claims.
fn drop_conflicts(candidates: &mut Vec<Adopted<'_>>) {
    let mut claims = Vec::new();

    for (who, candidate) in (0u32..).zip(candidates.iter()) {
        let of_candidate = hardware::claims(&candidate.state, candidate.runs, UNIT);
        claims.extend(of_candidate.map(|claim| (who, claim)));
    }
    for unit in candidates.iter().filter_map(|c| c.state.unit(UNIT)) {
        claims.extend(hardware::own_claims(&unit).map(|claim| (u32::MAX, claim)));
    }

    let mut dropped = BTreeSet::new();
    let mut keys = vec![Key::default(); claims.len()];
    hardware::conflicts(&mut keys, claims.into_iter(), |a, b| dropped.extend([a, b])).unwrap();

    let mut who = 0..;
    candidates.retain(|_| who.next().is_some_and(|who| !dropped.contains(&who)));
}

/// The present entries of the table at `address`, by the number of their place.
fn present(machine: &Machine, address: u64) -> Vec<(u8, [u64; 2])> {
    let table = vtd::Memory::table(machine, address).expect("hardware reads a table");
    let entries = (0..=u8::MAX).map(|index| (index, table.read(index)));

    entries.filter(|(_, [lo, _])| lo & 1 != 0).collect()
}

/// Whatever hardware can still reach is a page of a domain of an iommufd that goes on.
///
/// The bits are those of sections 9.1 and 9.3 of the specification, and the list is read byte by
/// byte.
fn check_scrubbed(machine: &Machine, adopted: &[Adopted<'_>]) {
    for (bus, [lo, hi]) in present(machine, TABLES[0]) {
        let table = lo & !0xfff;
        assert_eq!((lo & 0xffe, hi), (0, 0), "a reserved bit of a root entry");
        assert!(TABLES[1..].contains(&table), "a context table elsewhere");

        for (devfn, [lo, hi]) in present(machine, table) {
            let id = u16::from_be_bytes([bus, devfn]);
            let top = lo & !0xfff;
            let mut owners = adopted.iter().filter(|a| {
                let mut devices = a.state.devices().filter(|d| d.unit == UNIT);
                devices.any(|d| d.requester_ids.iter().any(|i| i == id))
            });
            let owner = owners.next().expect("an entry without an owner");
            assert!(owners.next().is_none(), "an entry with two owners");

            let mut devices = owner.state.devices();
            let device = devices.find(|d| d.unit == UNIT && d.requester_ids.contains(id));
            let device = device.unwrap();
            let mut domains = owner.state.domains();
            let domain = domains.find(|d| d.number == device.domain);
            let domain = domain.expect("a device without a domain");

            assert_eq!(lo & 0xffe, 0, "not plain translation");
            assert_eq!(hi >> 8, device.domain_id.into(), "another domain id");
            assert_eq!(hi & 0xff, u64::from(domain.top_level) - 1, "another width");
            let (_, pages) = group(&owner.runs, domain.runs);
            assert!(
                pages.contains(&top),
                "a top table that is not of its domain"
            );
        }
    }
}

/// The checksum and the pages in the group at `range`, each as often as it is there.
fn group(runs: &RunList<'_>, range: RunRange) -> (u64, Vec<u64>) {
    let entry = |bytes: &[u8]| bytes.iter().fold(0, |n, b| n << 8 | u64::from(*b));
    let entries = runs.as_bytes().chunks(8).map(entry);
    let mut entries = entries
        .skip(range.first as usize)
        .take(range.count as usize);
    let (count, checksum) = (entries.next(), entries.next());
    let runs: Vec<u64> = entries.collect();

    assert_eq!(count, Some(runs.len() as u64), "part of a group");
    let pages = runs
        .iter()
        .flat_map(|run| (0..=run % 4096).map(move |n| (run & !0xfff) + 4096 * n));
    (checksum.expect("no checksum"), pages.collect())
}

/// What goes on goes on as a whole.
fn check_iommufd(machine: &Machine, iommufd: &Adopted<'_>) {
    let Adopted { state, runs } = iommufd;

    for device in state.devices().filter(|d| d.unit == UNIT) {
        for id in device.requester_ids.iter() {
            let [bus, devfn] = id.to_be_bytes();
            let root = present(machine, TABLES[0]);
            let table = root.iter().find(|(b, _)| *b == bus).expect("a lost bus").1[0] & !0xfff;
            let mut entries = present(machine, table).into_iter();
            assert!(entries.any(|(d, _)| d == devfn), "a lost entry");
        }
    }
    for domain in state.domains() {
        let (checksum, pages) = group(runs, domain.runs);
        assert!(pages.len() as u64 >= domain.table_pages);
        let partner = PAGES + 0x1000 * (PAIR + 1);
        assert_eq!(
            pages.contains(&(PAGES + 0x1000 * PAIR)),
            pages.contains(&partner),
            "half of what was preserved together"
        );

        if machine.check_tables {
            let mut found = Vec::new();
            tables_below(machine, domain.top_table, domain.top_level, &mut found);
            assert_eq!(
                found.len() as u64,
                domain.table_pages,
                "other page tables than in the list"
            );
            assert_eq!(
                found.iter().collect::<BTreeSet<_>>().len(),
                found.len(),
                "a page table twice"
            );
            assert!(
                found.iter().all(|page| pages.contains(page)),
                "page tables that are not in the list"
            );
            let content = pages
                .iter()
                .map(|page| machine.page(*page).expect("no page"));
            let sum = content.fold(0, |seed, page| xxh64(page, seed));
            assert_eq!(sum, checksum, "damaged pages");
        }
    }
}

/// Adds the table at `address` and those to which it leads.
///
/// The bits are those of section 9.8 of the specification.
fn tables_below(machine: &Machine, address: u64, level: u32, found: &mut Vec<u64>) {
    found.push(address);
    assert!(found.len() < 100, "no end of tables");
    for entry in machine.page(address).expect("no page").chunks(8) {
        let entry = entry.iter().rev().fold(0, |n, b| n << 8 | u64::from(*b));
        let is_table = level > 0 && entry & 3 != 0 && entry & 1 << 7 == 0;

        if is_table {
            tables_below(machine, entry & 0x000f_ffff_ffff_f000, level - 1, found);
        }
    }
}

/// Nothing belongs to two, be it a page, a requester id or a domain id.
fn check_owners(machine: &Machine, adopted: &[Adopted<'_>]) {
    let contexts = present(machine, TABLES[0])
        .into_iter()
        .map(|(_, [lo, _])| lo & !0xfff);
    let mut all_pages: BTreeSet<_> = contexts.chain([TABLES[0]]).collect();
    let (mut all_ids, mut all_domain_ids) = (BTreeSet::new(), BTreeSet::new());

    for iommufd in adopted {
        let mut domain_ids = BTreeSet::new();
        let groups = iommufd
            .state
            .domains()
            .map(|d| group(&iommufd.runs, d.runs).1);
        for page in groups.flatten() {
            assert!(all_pages.insert(page), "a page with two owners");
        }
        for device in iommufd.state.devices().filter(|d| d.unit == UNIT) {
            domain_ids.insert(device.domain_id);
            for id in device.requester_ids.iter() {
                assert!(all_ids.insert(id), "a requester id with two owners");
            }
        }
        for id in domain_ids {
            assert!(all_domain_ids.insert(id), "a domain id with two owners");
        }
    }
}
