// SPDX-License-Identifier: GPL-2.0
//! Damage to the state of the victim's iommufd.

use super::{
    Attack, Expected, Kind, Target, absurd, flip, foreign, grow, overwrite, pick, remove, replace,
};
use crate::soak::fdt::{self, header};
use crate::soak::handover::Ram;
use anyhow::{Context, Result};
use fastrand::Rng;

/// Properties of which another valid value may be as good.
const HARMLESS: [&str; 5] = [
    "input-address-bits",
    "output-address-bits",
    "page-table-flags",
    "page-sizes",
    "table-pages",
];

pub(super) fn kinds<R: Ram>() -> Vec<Kind<R>> {
    vec![
        Kind::new("state: bit flipped", bit),
        Kind::new("state: bits flipped", bits),
        Kind::new("state: random bytes", random),
        Kind::new("state: cut off", truncated),
        Kind::new("state: header", header),
        Kind::new("state: nodes swapped", swapped),
        Kind::new("state: node removed", node_removed),
        Kind::new("state: node twice", node_twice),
        Kind::new("state: property removed", property_removed),
        Kind::new("state: property of another type", property_retyped),
        Kind::new("state: absurd number", number),
        Kind::new("state: foreign address", address),
        Kind::new("state: unknown version", version),
        Kind::new("state: unknown feature", feature),
        Kind::new("state: erased", erased),
    ]
}

fn bit<R: Ram>(target: &Target<'_, R>, rng: &mut Rng) -> Result<Attack> {
    let tree = &target.handover.victim.tree;
    let mut bytes = tree.bytes.clone();
    let what = flip(rng, &mut bytes);
    Ok(Attack::new(what, replace(tree, bytes))
        .victim(Expected::Either)
        .loses_memory())
}

fn bits<R: Ram>(target: &Target<'_, R>, rng: &mut Rng) -> Result<Attack> {
    let tree = &target.handover.victim.tree;
    let mut bytes = tree.bytes.clone();
    let count = rng.usize(2..64);
    for _ in 0..count {
        flip(rng, &mut bytes);
    }
    Ok(Attack::new(format!("{count} bits"), replace(tree, bytes))
        .victim(Expected::Either)
        .loses_memory())
}

fn random<R: Ram>(target: &Target<'_, R>, rng: &mut Rng) -> Result<Attack> {
    let tree = &target.handover.victim.tree;
    let start = rng.usize(..tree.bytes.len());
    let mut bytes = vec![0; rng.usize(1..256)];
    rng.fill(&mut bytes);
    let what = format!("{} bytes at {start:#x}", bytes.len());
    Ok(Attack::new(what, overwrite(tree, start, &bytes))
        .victim(Expected::Either)
        .loses_memory())
}

fn truncated<R: Ram>(target: &Target<'_, R>, rng: &mut Rng) -> Result<Attack> {
    let tree = &target.handover.victim.tree;
    let (name, field) = *pick(
        rng,
        &[
            ("total size", header::TOTAL_SIZE),
            ("structure size", header::STRUCTURE_SIZE),
            ("strings size", header::STRINGS_SIZE),
        ],
    )?;
    let size = fdt::u32_at(&tree.bytes, field)?;
    let new = rng.u32(..size);
    let what = format!("{name} {new} instead of {size}");
    Ok(Attack::new(
        what,
        overwrite(tree, field, &new.to_be_bytes()),
    ))
}

fn header<R: Ram>(target: &Target<'_, R>, rng: &mut Rng) -> Result<Attack> {
    let tree = &target.handover.victim.tree;
    let field = rng.usize(..header::SIZE / 4) * 4;
    let old = fdt::u32_at(&tree.bytes, field)?;
    let new = absurd(rng, old.into(), 32) as u32;
    let what = format!("word {field:#x} is {new:#x} instead of {old:#x}");
    let writes = overwrite(tree, field, &new.to_be_bytes());
    Ok(Attack::new(what, writes)
        .victim(Expected::Either)
        .loses_memory())
}

fn swapped<R: Ram>(target: &Target<'_, R>, rng: &mut Rng) -> Result<Attack> {
    let tree = &target.handover.victim.tree;
    let nodes: Vec<_> = tree.layout.nodes.iter().filter(|n| n.depth == 1).collect();
    let first = rng.usize(..nodes.len().saturating_sub(1));
    let second = rng.usize(first + 1..nodes.len());
    let (a, b) = (nodes[first], nodes[second]);
    let mut bytes = tree.bytes[..a.whole.start].to_vec();
    for part in [
        b.whole.clone(),
        a.whole.end..b.whole.start,
        a.whole.clone(),
        b.whole.end..tree.bytes.len(),
    ] {
        bytes.extend_from_slice(&tree.bytes[part]);
    }
    let what = format!("{} and {}", a.name, b.name);
    // Their order has no meaning.
    Ok(Attack::new(what, replace(tree, bytes)).victim(Expected::Works))
}

fn node_removed<R: Ram>(target: &Target<'_, R>, rng: &mut Rng) -> Result<Attack> {
    let tree = &target.handover.victim.tree;
    let node = pick(rng, &tree.layout.nodes[1..])?;
    Ok(Attack::new(&*node.name, remove(tree, node.whole.clone())))
}

fn node_twice<R: Ram>(target: &Target<'_, R>, rng: &mut Rng) -> Result<Attack> {
    let tree = &target.handover.victim.tree;
    let node = pick(rng, &tree.layout.nodes[1..])?;
    let mut bytes = tree.bytes[..node.whole.end].to_vec();
    bytes.extend_from_slice(&tree.bytes[node.whole.start..]);
    let more = u32::try_from(node.whole.len())?;
    for field in [
        header::TOTAL_SIZE,
        header::STRINGS_OFFSET,
        header::STRUCTURE_SIZE,
    ] {
        let value = fdt::u32_at(&bytes, field)? + more;
        bytes[field..field + 4].copy_from_slice(&value.to_be_bytes());
    }
    Ok(Attack::new(&*node.name, grow(target, bytes)?))
}

fn property_removed<R: Ram>(target: &Target<'_, R>, rng: &mut Rng) -> Result<Attack> {
    let tree = &target.handover.victim.tree;
    let property = pick(rng, &tree.layout.properties)?;
    let writes = remove(tree, property.whole.clone());
    Ok(Attack::new(&*property.name, writes))
}

/// Gives a property another length, in the room that it has.
fn property_retyped<R: Ram>(target: &Target<'_, R>, rng: &mut Rng) -> Result<Attack> {
    let tree = &target.handover.victim.tree;
    let properties: Vec<_> = (tree.layout.properties.iter())
        .filter(|p| p.value.len() >= 4)
        .collect();
    let property = *pick(rng, &properties)?;
    let new = rng.usize(..property.value.len());
    let mut bytes = tree.bytes[property.whole.clone()].to_vec();
    bytes[4..8].copy_from_slice(&u32::try_from(new)?.to_be_bytes());
    // What is left is nothing: padding, and then tokens.
    let end = 12 + new;
    let tokens = end.next_multiple_of(4);
    bytes[end..tokens].fill(0);
    for token in bytes[tokens..].chunks_exact_mut(4) {
        token.copy_from_slice(&fdt::NOP.to_be_bytes());
    }
    let what = format!("{} of {new} bytes", property.name);
    Ok(Attack::new(
        what,
        overwrite(tree, property.whole.start, &bytes),
    ))
}

fn number<R: Ram>(target: &Target<'_, R>, rng: &mut Rng) -> Result<Attack> {
    let tree = &target.handover.victim.tree;
    let strings = ["compatible", "format", "run-list"];
    let numbers: Vec<_> = (tree.layout.properties.iter())
        .filter(|p| !strings.contains(&&*p.name) && p.value.len() >= 4)
        .collect();
    let property = *pick(rng, &numbers)?;
    let value = &tree.bytes[property.value.clone()];
    let (old, new) = if value.len().is_multiple_of(8) && property.name != "runs" {
        // The last of several.
        let old = u64::from_be_bytes(*value.last_chunk().context("no number")?);
        (old, absurd(rng, old, 64).to_be_bytes().to_vec())
    } else {
        let old = u32::from_be_bytes(*value.last_chunk().context("no number")?);
        (
            old.into(),
            (absurd(rng, old.into(), 32) as u32).to_be_bytes().to_vec(),
        )
    };
    let writes = overwrite(tree, property.value.end - new.len(), &new);
    let what = format!("{} is {new:02x?} instead of {old:#x}", property.name);
    let harmless = HARMLESS.contains(&&*property.name);
    Ok(Attack::new(what, writes)
        .victim(match harmless {
            true => Expected::Either,
            false => Expected::FailsClosed,
        })
        .loses_memory())
}

fn address<R: Ram>(target: &Target<'_, R>, rng: &mut Rng) -> Result<Attack> {
    let tree = &target.handover.victim.tree;
    // The property, and where in its value the address is.
    let addresses = [
        ("root-table", 0),
        ("context-tables", 8),
        ("top-table", 0),
        ("run-list", 0),
        ("register-base", 0),
        ("iommu", 0),
    ];
    let (name, at) = *pick(rng, &addresses)?;
    let property = tree.layout.properties.iter().find(|p| p.name == name);
    let at = property.context(name)?.value.start + at;
    let old = tree.bytes.get(at..at + 8).context("no address")?;
    let (new, whose) = loop {
        let (new, whose) = foreign(target, rng)?;
        if new.to_be_bytes() != old {
            break (new, whose);
        }
    };
    let what = format!("{name} is {whose} ({new:#x})");
    let writes = overwrite(tree, at, &new.to_be_bytes());
    Ok(Attack::new(what, writes).loses_memory())
}

fn version<R: Ram>(target: &Target<'_, R>, rng: &mut Rng) -> Result<Attack> {
    let tree = &target.handover.victim.tree;
    let compatible = tree.layout.property(0, "compatible")?;
    // Before the terminator.
    let at = compatible.value.end - 2;
    let new = rng.u8(b'2'..=b'9');
    let what = format!("version {}", char::from(new));
    Ok(Attack::new(what, overwrite(tree, at, &[new])).errno("EPROTONOSUPPORT"))
}

fn feature<R: Ram>(target: &Target<'_, R>, rng: &mut Rng) -> Result<Attack> {
    let tree = &target.handover.victim.tree;
    let name = format!("feature-{}", rng.u8(..));
    let value = format!("{name}\0");
    let bytes = fdt::with_property(&tree.bytes, "required-features", value.as_bytes())?;
    Ok(Attack::new(name, grow(target, bytes)?).errno("EPROTONOSUPPORT"))
}

fn erased<R: Ram>(target: &Target<'_, R>, rng: &mut Rng) -> Result<Attack> {
    let tree = &target.handover.victim.tree;
    let byte = *pick(rng, &[0, 0xff, 0xaa])?;
    let bytes = vec![byte; tree.bytes.len()];
    Ok(Attack::new(format!("{byte:#x}"), replace(tree, bytes)))
}
