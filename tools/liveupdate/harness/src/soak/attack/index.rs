// SPDX-License-Identifier: GPL-2.0
//! Damage to the index, through which both states are found.

use super::{
    Attack, Expected, Kind, Target, absurd, flip, foreign, overwrite, pick, remove, replace,
};
use crate::soak::fdt::{self, header};
use crate::soak::handover::Ram;
use anyhow::Result;
use fastrand::Rng;

pub(super) fn kinds<R: Ram>() -> Vec<Kind<R>> {
    vec![
        Kind::new("index: state elsewhere", state),
        Kind::new("index: the other state", other_state),
        Kind::new("index: run list elsewhere", run_list),
        Kind::new("index: bit of a value flipped", value_bit),
        Kind::new("index: owner", owner),
        Kind::new("index: node removed", node_removed),
        Kind::new("index: property removed", property_removed),
        Kind::new("index: the owner of the other", other_owner).shared(),
        Kind::new("index: bit flipped", bit).shared(),
        Kind::new("index: header", header).shared(),
        Kind::new("index: cut off", truncated).shared(),
        Kind::new("index: unknown version", version).shared(),
        Kind::new("index: unknown feature", feature).shared(),
        Kind::new("index: erased", erased).shared(),
    ]
}

fn value<R: Ram>(target: &Target<'_, R>, name: &str, at: usize, new: u64) -> Result<Attack> {
    let (index, victim) = (&target.handover.index, &target.handover.victim);
    let property = index.layout.property(victim.node, name)?;
    let writes = overwrite(index, property.value.start + at, &new.to_be_bytes());
    Ok(Attack::new(format!("{new:#x}"), writes))
}

fn state<R: Ram>(target: &Target<'_, R>, rng: &mut Rng) -> Result<Attack> {
    let (page, whose) = foreign(target, rng)?;
    let mut attack = value(target, "state", 0, page)?;
    attack.what = format!("{whose} ({page:#x})");
    Ok(attack)
}

fn other_state<R: Ram>(target: &Target<'_, R>, _: &mut Rng) -> Result<Attack> {
    value(target, "state", 0, target.handover.healthy.tree.address)
}

fn run_list<R: Ram>(target: &Target<'_, R>, rng: &mut Rng) -> Result<Attack> {
    let (page, whose) = foreign(target, rng)?;
    // One of the two copies.
    let mut attack = value(target, "run-list", rng.usize(..2) * 8, page)?;
    attack.what = format!("{whose} ({page:#x})");
    Ok(attack)
}

fn value_bit<R: Ram>(target: &Target<'_, R>, rng: &mut Rng) -> Result<Attack> {
    let (index, victim) = (&target.handover.index, &target.handover.victim);
    let properties: Vec<_> = index.layout.properties_of(victim.node).collect();
    let property = *pick(rng, &properties)?;
    let mut bytes = index.bytes[property.value.clone()].to_vec();
    let what = format!("{} {}", property.name, flip(rng, &mut bytes));
    Ok(Attack::new(
        what,
        overwrite(index, property.value.start, &bytes),
    ))
}

fn owner<R: Ram>(target: &Target<'_, R>, rng: &mut Rng) -> Result<Attack> {
    let index = &target.handover.index;
    let old = index.u64(target.handover.victim.node, "owner")?;
    let other = index.u64(target.handover.healthy.node, "owner")?;
    let new = loop {
        let new = absurd(rng, old, 64);
        if new != other {
            break new;
        }
    };
    value(target, "owner", 0, new)
}

fn node_removed<R: Ram>(target: &Target<'_, R>, _: &mut Rng) -> Result<Attack> {
    let (index, victim) = (&target.handover.index, &target.handover.victim);
    let node = &index.layout.nodes[victim.node];
    Ok(Attack::new(&*node.name, remove(index, node.whole.clone())))
}

fn property_removed<R: Ram>(target: &Target<'_, R>, rng: &mut Rng) -> Result<Attack> {
    let (index, victim) = (&target.handover.index, &target.handover.victim);
    let properties: Vec<_> = index.layout.properties_of(victim.node).collect();
    let property = *pick(rng, &properties)?;
    let writes = remove(index, property.whole.clone());
    Ok(Attack::new(&*property.name, writes))
}

fn other_owner<R: Ram>(target: &Target<'_, R>, _: &mut Rng) -> Result<Attack> {
    let index = &target.handover.index;
    let other = index.u64(target.handover.healthy.node, "owner")?;
    let mut attack = value(target, "owner", 0, other)?;
    attack.healthy = Expected::Either;
    Ok(attack)
}

fn bit<R: Ram>(target: &Target<'_, R>, rng: &mut Rng) -> Result<Attack> {
    let index = &target.handover.index;
    let mut bytes = index.bytes.clone();
    let what = flip(rng, &mut bytes);
    Ok(Attack::new(what, replace(index, bytes)).both(Expected::Either))
}

fn header<R: Ram>(target: &Target<'_, R>, rng: &mut Rng) -> Result<Attack> {
    let index = &target.handover.index;
    let field = rng.usize(..header::SIZE / 4) * 4;
    let old = fdt::u32_at(&index.bytes, field)?;
    let new = absurd(rng, old.into(), 32) as u32;
    let what = format!("word {field:#x} is {new:#x} instead of {old:#x}");
    let writes = overwrite(index, field, &new.to_be_bytes());
    Ok(Attack::new(what, writes).both(Expected::Either))
}

fn truncated<R: Ram>(target: &Target<'_, R>, rng: &mut Rng) -> Result<Attack> {
    let index = &target.handover.index;
    let size = fdt::u32_at(&index.bytes, header::TOTAL_SIZE)?;
    let new = rng.u32(..size);
    let what = format!("{new} instead of {size} bytes");
    let writes = overwrite(index, header::TOTAL_SIZE, &new.to_be_bytes());
    Ok(Attack::new(what, writes).both(Expected::FailsClosed))
}

fn version<R: Ram>(target: &Target<'_, R>, rng: &mut Rng) -> Result<Attack> {
    let index = &target.handover.index;
    let compatible = index.layout.property(0, "compatible")?;
    let new = rng.u8(b'2'..=b'9');
    let what = format!("version {}", char::from(new));
    // Before the terminator.
    let attack = Attack::new(what, overwrite(index, compatible.value.end - 2, &[new]));
    Ok(attack.both(Expected::FailsClosed).errno("EPROTONOSUPPORT"))
}

fn feature<R: Ram>(target: &Target<'_, R>, rng: &mut Rng) -> Result<Attack> {
    let index = &target.handover.index;
    let name = format!("feature-{}", rng.u8(..));
    let value = format!("{name}\0");
    let bytes = fdt::with_property(&index.bytes, "required-features", value.as_bytes())?;
    let attack = Attack::new(name, replace(index, bytes));
    Ok(attack.both(Expected::FailsClosed).errno("EPROTONOSUPPORT"))
}

fn erased<R: Ram>(target: &Target<'_, R>, rng: &mut Rng) -> Result<Attack> {
    let index = &target.handover.index;
    let byte = *pick(rng, &[0, 0xff, 0xaa])?;
    let bytes = vec![byte; index.bytes.len()];
    let attack = Attack::new(format!("{byte:#x}"), replace(index, bytes));
    Ok(attack.both(Expected::FailsClosed))
}
