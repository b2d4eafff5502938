// SPDX-License-Identifier: GPL-2.0
//! Damage to the root table and the context table. Both devices depend on both.

use super::{Attack, Expected, Kind, Target, bit_at_once, foreign, foreign_at_once, pick};
use crate::soak::handover::{ADDRESS, Ram};
use anyhow::Result;
use devices::layout::PAGE;
use fastrand::Rng;
use protocol::MemoryWrite;

/// Where in the upper half of an entry the domain id is.
const DOMAIN_ID: u32 = 8;

pub(super) fn kinds<R: Ram>() -> Vec<Kind<R>> {
    vec![
        Kind::new("context entry: bit flipped", bit),
        Kind::new("context entry: foreign top table", top_table),
        Kind::new("context entry: the other page tables", other),
        Kind::new("context entry: another domain id", domain_id),
        Kind::new("context entry: reserved bits", reserved),
        Kind::new("context entry: erased", erased),
        Kind::new("context entry: of nobody", of_nobody),
        Kind::new("root entry: of nobody", root_of_nobody),
        Kind::new("root entry: bit flipped", root_bit).shared(),
        Kind::new("root entry: foreign context table", root_foreign).shared(),
    ]
}

fn write_entry(address: u64, [low, high]: [u64; 2]) -> Vec<MemoryWrite> {
    vec![MemoryWrite {
        address,
        bytes: [low.to_le_bytes(), high.to_le_bytes()].concat(),
    }]
}

fn read_entry(ram: &impl Ram, address: u64) -> Result<[u64; 2]> {
    Ok([ram.word(address)?, ram.word(address + 8)?])
}

/// The victim's entry, where it is and what is in it.
fn own<R: Ram>(target: &Target<'_, R>) -> Result<(u64, [u64; 2])> {
    let address = target.handover.victim.context_entry;
    Ok((address, read_entry(target.ram, address)?))
}

fn bit<R: Ram>(target: &Target<'_, R>, rng: &mut Rng) -> Result<Attack> {
    let (address, mut entry) = own(target)?;
    let bit = bit_at_once(rng, 128);
    entry[bit as usize / 64] ^= 1 << (bit % 64);
    let what = format!("bit {bit}");
    Ok(Attack::new(what, write_entry(address, entry)))
}

fn top_table<R: Ram>(target: &Target<'_, R>, rng: &mut Rng) -> Result<Attack> {
    let (address, [low, high]) = own(target)?;
    let (page, whose) = foreign_at_once(target, rng)?;
    let what = format!("{whose} ({page:#x})");
    let entry = [low & !ADDRESS | page, high];
    Ok(Attack::new(what, write_entry(address, entry)))
}

fn other<R: Ram>(target: &Target<'_, R>, rng: &mut Rng) -> Result<Attack> {
    let (address, [low, high]) = own(target)?;
    let healthy = &target.handover.healthy;
    let table = healthy.tables[rng.usize(..healthy.tables.len())];
    let all = rng.bool();
    let (entry, what) = if all {
        let entry = read_entry(target.ram, healthy.context_entry)?;
        (entry, "the whole entry".into())
    } else {
        let entry = [low & !ADDRESS | table.address, high];
        (entry, format!("the table of level {}", table.level))
    };
    Ok(Attack::new(what, write_entry(address, entry)))
}

fn domain_id<R: Ram>(target: &Target<'_, R>, rng: &mut Rng) -> Result<Attack> {
    let (address, [low, high]) = own(target)?;
    let other = target.ram.word(target.handover.healthy.context_entry + 8)?;
    let mask = 0xffff << DOMAIN_ID;
    let new = match rng.u8(..4) {
        0 => 0,
        1 => mask,
        2 => other & mask,
        _ => (high & mask) ^ 1 << (DOMAIN_ID + rng.u32(..16)),
    };
    let what = format!("domain id {:#x}", new >> DOMAIN_ID);
    Ok(Attack::new(
        what,
        write_entry(address, [low, high & !mask | new]),
    ))
}

fn reserved<R: Ram>(target: &Target<'_, R>, rng: &mut Rng) -> Result<Attack> {
    let (address, [low, high]) = own(target)?;
    let bit = rng.u32(24..64);
    let what = format!("bit {} of the upper half", bit);
    Ok(Attack::new(
        what,
        write_entry(address, [low | 1 << 4, high | 1 << bit]),
    ))
}

fn erased<R: Ram>(target: &Target<'_, R>, _: &mut Rng) -> Result<Attack> {
    let (address, _) = own(target)?;
    Ok(Attack::new("zero", write_entry(address, [0, 0])))
}

/// A new entry that makes a function of somebody else use the victim's page tables, or worse. The
/// next kernel removes it.
fn of_nobody<R: Ram>(target: &Target<'_, R>, rng: &mut Rng) -> Result<Attack> {
    let (address, mut entry) = own(target)?;
    let table = address & !(PAGE as u64 - 1);
    let free: Vec<_> = (0..PAGE as u64 / 16)
        .map(|index| table + index * 16)
        .filter(|at| target.ram.word(*at).is_ok_and(|low| low == 0))
        .collect();
    let at = *pick(rng, &free)?;
    if rng.bool() {
        let (page, _) = foreign(target, rng)?;
        entry[0] = entry[0] & !ADDRESS | page | 1;
    }
    let what = format!("entry {:#x}", (at - table) / 16);
    let attack = Attack::new(what, write_entry(at, entry));
    Ok(attack.victim(Expected::Works))
}

/// The root entry of a bus that does not exist.
fn root_of_nobody<R: Ram>(target: &Target<'_, R>, rng: &mut Rng) -> Result<Attack> {
    let victim = &target.handover.victim;
    let bus = rng.u64(64..255);
    let (page, whose) = foreign(target, rng)?;
    let what = format!("bus {bus:#x}: {whose} ({page:#x})");
    let writes = write_entry(victim.root_table + bus * 16, [page | 1, 0]);
    Ok(Attack::new(what, writes).victim(Expected::Works))
}

fn root_bit<R: Ram>(target: &Target<'_, R>, rng: &mut Rng) -> Result<Attack> {
    let address = target.handover.victim.root_table;
    let [low, high] = read_entry(target.ram, address)?;
    let bit = *pick(rng, &[0, 30, 31, 32, 36])?;
    let writes = write_entry(address, [low ^ 1 << bit, high]);
    Ok(Attack::new(format!("bit {bit}"), writes)
        .both(Expected::FailsClosed)
        .loses_memory())
}

fn root_foreign<R: Ram>(target: &Target<'_, R>, rng: &mut Rng) -> Result<Attack> {
    let address = target.handover.victim.root_table;
    let (page, whose) = foreign_at_once(target, rng)?;
    let writes = write_entry(address, [page | 1, 0]);
    let what = format!("{whose} ({page:#x})");
    Ok(Attack::new(what, writes)
        .both(Expected::FailsClosed)
        .loses_memory())
}
