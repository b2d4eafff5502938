// SPDX-License-Identifier: GPL-2.0
//! Damage to the list of pages that the victim's page tables consist of.

use super::{Attack, Expected, Kind, Target, absurd, flip, foreign, overwrite};
use crate::soak::handover::{Iommufd, RUN, Ram};
use anyhow::{Context, Result};
use devices::layout::PAGE;
use fastrand::Rng;
use protocol::MemoryWrite;
use xxhash_rust::xxh64::xxh64;

/// In the address of a run: how many pages follow the first.
const MORE: u64 = PAGE as u64 - 1;

/// How many entries are in front of the runs of a domain: their number, and the checksum.
const HEADER: usize = 2;

/// Where in the property of a run list the number of its entries and its checksum are.
const COUNT: usize = 16;
const CHECKSUM: usize = 24;

pub(super) fn kinds<R: Ram>() -> Vec<Kind<R>> {
    vec![
        Kind::new("run list: one copy damaged", one_copy),
        Kind::new("run list: bit flipped", bit),
        Kind::new("run list: entries lost", lost),
        Kind::new("run list: absurd count", count),
        Kind::new("run list: foreign page, forged checksum", forged),
        Kind::new("run list: absurd run, forged checksum", absurd_run),
        Kind::new("run list: absurd number of runs, forged checksum", header),
        Kind::new("run list: run twice, forged checksum", twice),
    ]
}

/// Writes both copies.
fn write_lists(victim: &Iommufd, runs: &[u8]) -> Vec<MemoryWrite> {
    let writes = victim.run_lists.map(|address| MemoryWrite {
        address,
        bytes: runs.into(),
    });
    writes.into()
}

/// The other copy will do.
fn one_copy<R: Ram>(target: &Target<'_, R>, rng: &mut Rng) -> Result<Attack> {
    let victim = &target.handover.victim;
    let mut runs = victim.runs.clone();
    for _ in 0..rng.usize(1..20) {
        flip(rng, &mut runs);
    }
    // Bits that were flipped back.
    if runs == victim.runs {
        flip(rng, &mut runs);
    }
    let mut writes = write_lists(victim, &runs);
    let other = rng.usize(..writes.len());
    writes.remove(other);
    Ok(Attack::new(format!("not copy {other}"), writes).victim(Expected::Works))
}

fn bit<R: Ram>(target: &Target<'_, R>, rng: &mut Rng) -> Result<Attack> {
    let victim = &target.handover.victim;
    let mut runs = victim.runs.clone();
    let what = flip(rng, &mut runs);
    Ok(Attack::new(what, write_lists(victim, &runs)).loses_memory())
}

fn lost<R: Ram>(target: &Target<'_, R>, rng: &mut Rng) -> Result<Attack> {
    let victim = &target.handover.victim;
    let mut runs = victim.runs.clone();
    let first = rng.usize(..runs.len() / RUN);
    runs[first * RUN..].fill(0);
    let writes = write_lists(victim, &runs);
    Ok(Attack::new(format!("from {first} on"), writes).loses_memory())
}

/// In the state and in the index alike.
fn record(target: &Target<'_, impl Ram>, at: usize, value: u64) -> Result<Vec<MemoryWrite>> {
    let (index, victim) = (&target.handover.index, &target.handover.victim);
    let mut writes = Vec::new();
    for (blob, node) in [(&victim.tree, 0), (index, victim.node)] {
        let property = blob.layout.property(node, "run-list")?;
        let at = property.value.start + at;
        writes.extend(overwrite(blob, at, &value.to_be_bytes()));
    }
    Ok(writes)
}

fn count<R: Ram>(target: &Target<'_, R>, rng: &mut Rng) -> Result<Attack> {
    let old = u64::try_from(target.handover.victim.runs.len() / RUN)?;
    let new = absurd(rng, old, 64);
    let what = format!("{new:#x} entries instead of {old}");
    Ok(Attack::new(what, record(target, COUNT, new)?).loses_memory())
}

/// The pages in the list.
fn pages(runs: &[u8]) -> Vec<u64> {
    let (entries, _) = runs.as_chunks::<RUN>();
    let runs = entries.iter().skip(HEADER).map(|entry| {
        let run = u64::from_be_bytes(*entry);
        (run & !MORE, run & MORE)
    });
    runs.flat_map(|(base, more)| (0..=more).map(move |page| base + page * PAGE as u64))
        .collect()
}

/// The runs of pages.
fn runs(mut pages: Vec<u64>) -> Vec<u64> {
    pages.sort_unstable();
    let runs = pages.chunk_by(|a, b| a + PAGE as u64 == *b);
    runs.map(|run| run[0] | (run.len() as u64 - 1)).collect()
}

/// The group of a domain with these runs, and the checksum of what is in them.
fn group(ram: &impl Ram, runs: &[u64]) -> Vec<u64> {
    let pages = runs
        .iter()
        .flat_map(|run| (0..=run & MORE).map(move |page| (run & !MORE) + page * PAGE as u64));
    let checksum = pages.fold(0, |sum, page| {
        ram.get(page, PAGE)
            .map_or(0, |content| xxh64(&content, sum))
    });
    [&[runs.len() as u64, checksum], runs].concat()
}

/// Replaces the list, with all that depends on it: its checksum, its size, and what the domain has
/// of it.
fn forge(target: &Target<'_, impl Ram>, what: String, entries: &[u64]) -> Result<Attack> {
    let victim = &target.handover.victim;
    let list: Vec<_> = entries.iter().flat_map(|e| e.to_be_bytes()).collect();
    let count = u32::try_from(entries.len())?;
    let mut writes = record(target, COUNT, count.into())?;
    writes.extend(record(target, CHECKSUM, xxh64(&list, 0))?);
    let domain = victim.tree.layout.children("domain").next();
    let range = victim
        .tree
        .layout
        .property(domain.context("no domain")?, "runs")?;
    let at = range.value.end - 4;
    writes.extend(overwrite(&victim.tree, at, &count.to_be_bytes()));
    writes.extend(write_lists(victim, &list));
    Ok(Attack::new(what, writes).loses_memory())
}

/// Lets one of the pages be another one.
fn forged<R: Ram>(target: &Target<'_, R>, rng: &mut Rng) -> Result<Attack> {
    let mut pages = pages(&target.handover.victim.runs);
    let (page, whose) = foreign(target, rng)?;
    // A page of a block that is no table is missed by nobody.
    let tables = &target.handover.victim.tables;
    let table = super::pick(rng, tables)?.address;
    let at = pages.iter().position(|page| *page == table);
    pages[at.context("a table is not in the list")?] = page;
    let group = group(target.ram, &runs(pages));
    forge(target, format!("{whose} ({page:#x}) is a table"), &group)
}

/// Lets a run be much longer, or elsewhere.
fn absurd_run<R: Ram>(target: &Target<'_, R>, rng: &mut Rng) -> Result<Attack> {
    let mut group = group(target.ram, &runs(pages(&target.handover.victim.runs)));
    let run = rng.choice(&mut group[HEADER..]).context("no runs")?;
    let old = *run;
    let new = match rng.bool() {
        // More pages than there are.
        true if old & MORE != MORE => old | MORE,
        _ => absurd(rng, old, 64),
    };
    *run = new;
    forge(target, format!("{new:#x} instead of {old:#x}"), &group)
}

/// Lets the list say another number of runs than there are.
fn header<R: Ram>(target: &Target<'_, R>, rng: &mut Rng) -> Result<Attack> {
    let mut group = group(target.ram, &runs(pages(&target.handover.victim.runs)));
    let old = group[0];
    let new = absurd(rng, old, 64);
    group[0] = new;
    forge(target, format!("{new:#x} runs instead of {old:#x}"), &group)
}

/// Lets one page be there twice, instead of another one.
fn twice<R: Ram>(target: &Target<'_, R>, rng: &mut Rng) -> Result<Attack> {
    let mut pages = pages(&target.handover.victim.runs);
    let at = rng.usize(1..pages.len());
    pages[at] = pages[0];
    let group = group(target.ram, &runs(pages));
    forge(target, format!("page {at}"), &group)
}
