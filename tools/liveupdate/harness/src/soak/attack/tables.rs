// SPDX-License-Identifier: GPL-2.0
//! Damage to the victim's page tables.
//!
//! Hardware goes on with them before the next kernel runs, and nobody can do anything about that. So
//! what is damaged is either not in use, or leads the victim's device at once to nothing that it
//! could change, or is for the page that it will write to last: by then, it must have been stopped.

use super::{Attack, Kind, Target, bit_at_once, foreign, foreign_at_once, pick};
use crate::soak::handover::{ADDRESS, ENTRIES, Ram, Table};
use anyhow::Result;
use fastrand::Rng;
use protocol::MemoryWrite;

const RIGHTS: u64 = 3;

pub(super) fn kinds<R: Ram>() -> Vec<Kind<R>> {
    vec![
        Kind::new("page table: bit flipped", bit),
        Kind::new("page table: page moved to a canary", canary),
        Kind::new("page table: foreign page", foreign_page),
        Kind::new("page table: foreign table", foreign_table),
        Kind::new("page table: cycle", cycle),
        Kind::new("page table: entry in the wrong place", stray),
    ]
}

fn write_entry(table: Table, index: usize, entry: u64) -> Vec<MemoryWrite> {
    vec![MemoryWrite {
        address: table.address + index as u64 * 8,
        bytes: entry.to_le_bytes().into(),
    }]
}

fn tables<R: Ram>(target: &Target<'_, R>, above: bool) -> Vec<Table> {
    let tables = target.handover.victim.tables.iter();
    tables
        .filter(|table| (table.level > 0) == above)
        .copied()
        .collect()
}

/// An entry of a table, present or not.
fn find<R: Ram>(
    target: &Target<'_, R>,
    rng: &mut Rng,
    table: Table,
    present: bool,
) -> Result<(usize, u64)> {
    let mut found = Vec::new();
    for index in 0..ENTRIES {
        let entry = target.ram.word(table.address + index as u64 * 8)?;
        if (entry & RIGHTS != 0) == present {
            found.push((index, entry));
        }
    }
    pick(rng, &found).copied()
}

/// The entry of the page that the device will write to last, or one that is not in use.
fn late<R: Ram>(target: &Target<'_, R>, rng: &mut Rng) -> Result<(Table, usize, u64)> {
    let table = *pick(rng, &tables(target, false))?;
    let (index, entry) = match rng.bool() {
        true => find(target, rng, table, false)?,
        false => {
            let index = target.around.far;
            (index, target.ram.word(table.address + index as u64 * 8)?)
        }
    };
    Ok((table, index, entry))
}

fn bit<R: Ram>(target: &Target<'_, R>, rng: &mut Rng) -> Result<Attack> {
    let (table, index, entry, bit) = match rng.bool() {
        true => {
            let (table, index, entry) = late(target, rng)?;
            (table, index, entry, rng.u32(..64))
        }
        false => {
            let table = *pick(rng, &tables(target, true))?;
            let present = rng.bool();
            let (index, entry) = find(target, rng, table, present)?;
            (table, index, entry, bit_at_once(rng, 64))
        }
    };
    let what = format!("level {} entry {index} bit {bit}", table.level);
    Ok(Attack::new(
        what,
        write_entry(table, index, entry ^ 1 << bit),
    ))
}

/// Lets the device write to a canary, when it comes to that page.
fn canary<R: Ram>(target: &Target<'_, R>, rng: &mut Rng) -> Result<Attack> {
    let table = *pick(rng, &tables(target, false))?;
    let index = target.around.far;
    let page = *pick(rng, &target.around.canaries)?;
    let what = format!("page {index} of the ring is at {page:#x}");
    Ok(Attack::new(what, write_entry(table, index, page | RIGHTS)))
}

fn foreign_page<R: Ram>(target: &Target<'_, R>, rng: &mut Rng) -> Result<Attack> {
    let (table, index, _) = late(target, rng)?;
    let (page, whose) = foreign(target, rng)?;
    let what = format!("entry {index} leads to {whose} ({page:#x})");
    Ok(Attack::new(what, write_entry(table, index, page | RIGHTS)))
}

fn foreign_table<R: Ram>(target: &Target<'_, R>, rng: &mut Rng) -> Result<Attack> {
    let table = *pick(rng, &tables(target, true))?;
    let present = rng.bool();
    let (index, _) = find(target, rng, table, present)?;
    let (page, whose) = foreign_at_once(target, rng)?;
    let what = format!("level {} entry {index}: {whose} ({page:#x})", table.level);
    Ok(Attack::new(what, write_entry(table, index, page | RIGHTS)))
}

/// Lets a table lead to itself or to one above.
fn cycle<R: Ram>(target: &Target<'_, R>, rng: &mut Rng) -> Result<Attack> {
    let all = &target.handover.victim.tables;
    let table = *pick(rng, &tables(target, true))?;
    let above: Vec<_> = all.iter().filter(|t| t.level >= table.level).collect();
    let to = *pick(rng, &above)?;
    let present = rng.bool();
    let (index, _) = find(target, rng, table, present)?;
    let what = format!(
        "level {} entry {index} leads to level {}",
        table.level, to.level
    );
    let entry = to.address | RIGHTS;
    Ok(Attack::new(what, write_entry(table, index, entry)))
}

/// An entry of another level, or a right one where it does not belong.
fn stray<R: Ram>(target: &Target<'_, R>, rng: &mut Rng) -> Result<Attack> {
    let all = &target.handover.victim.tables;
    let (from, table) = (*pick(rng, all)?, *pick(rng, all)?);
    let (_, entry) = find(target, rng, from, true)?;
    let (index, _) = find(target, rng, table, false)?;
    let what = format!(
        "level {} entry {index}: {:#x}, of level {}",
        table.level,
        entry & ADDRESS,
        from.level
    );
    Ok(Attack::new(what, write_entry(table, index, entry)))
}
