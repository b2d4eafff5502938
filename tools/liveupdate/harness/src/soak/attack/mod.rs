// SPDX-License-Identifier: GPL-2.0
//! Ways to damage what is handed over. All of them are pure: they look at memory and say what to
//! write to it.

mod context;
mod index;
mod runs;
mod tables;
mod tree;

use super::fdt;
use super::handover::{Blob, Handover, Ram};
use anyhow::{Context, Result};
use devices::layout::PAGE;
use fastrand::Rng;
use protocol::MemoryWrite;

/// What must become of a session.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Expected {
    /// It comes back, as if nothing had happened.
    Works,
    /// It is rejected, its device is stopped, and everything is given back.
    FailsClosed,
    /// One or the other: the damage may be none.
    Either,
}

/// What is around that which is handed over.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// Memory from which the next kernel allocates when it boots.
    pub scratch: u64,
    /// Pages of a session that has only memory.
    pub canaries: Vec<u64>,
    /// Pages of the healthy session that its device does not use.
    pub healthy: Vec<u64>,
    /// Free memory.
    pub free: Vec<u64>,
    /// The page of the ring that the victim will write to last.
    pub far: usize,
}

/// What an attack can look at.
pub struct Target<'a, R> {
    /// The memory.
    pub ram: &'a R,
    /// What is handed over.
    pub handover: &'a Handover,
    /// What is not.
    pub around: &'a Surroundings,
}

/// An attack.
#[derive(Clone, Debug)]
pub struct Attack {
    /// What it does.
    pub what: String,
    /// How.
    pub writes: Vec<MemoryWrite>,
    /// What must become of the victim.
    pub victim: Expected,
    /// What must become of the healthy session.
    pub healthy: Expected,
    /// What retrieving a rejected iommufd must give, if that is known.
    pub errno: Option<&'static str>,
    /// Whether memory may stay reserved, because nobody can tell any more whose it was.
    pub loses_memory: bool,
}

impl Attack {
    /// One that the victim must not survive, and the healthy session must.
    fn new(what: impl Into<String>, writes: Vec<MemoryWrite>) -> Self {
        Self {
            what: what.into(),
            writes,
            victim: Expected::FailsClosed,
            healthy: Expected::Works,
            errno: None,
            loses_memory: false,
        }
    }

    fn loses_memory(mut self) -> Self {
        self.loses_memory = true;
        self
    }

    fn victim(mut self, victim: Expected) -> Self {
        self.victim = victim;
        self
    }

    fn both(mut self, expected: Expected) -> Self {
        (self.victim, self.healthy) = (expected, expected);
        self
    }

    fn errno(mut self, errno: &'static str) -> Self {
        self.errno = Some(errno);
        self
    }
}

/// A kind of attack on memory of type `R`.
pub struct Kind<R> {
    /// Its name.
    pub name: &'static str,
    /// Whether it hits what all sessions depend on: then no I/O must be in flight, as QEMU 7.2 does
    /// not survive the reset of a drive that has some.
    pub shared: bool,
    /// Makes one.
    pub make: fn(&Target<'_, R>, &mut Rng) -> Result<Attack>,
}

impl<R> Kind<R> {
    const fn new(name: &'static str, make: fn(&Target<'_, R>, &mut Rng) -> Result<Attack>) -> Self {
        Self {
            name,
            shared: false,
            make,
        }
    }

    const fn shared(self) -> Self {
        Self {
            shared: true,
            ..self
        }
    }
}

/// All kinds.
pub fn kinds<R: Ram>() -> Vec<Kind<R>> {
    let mut kinds = Vec::new();
    kinds.extend(tree::kinds());
    kinds.extend(runs::kinds());
    kinds.extend(tables::kinds());
    kinds.extend(context::kinds());
    kinds.extend(index::kinds());
    kinds
}

/// One of several.
fn pick<'a, T>(rng: &mut Rng, from: &'a [T]) -> Result<&'a T> {
    rng.choice(from).context("nothing to choose from")
}

/// Flips a bit, and says which.
fn flip(rng: &mut Rng, bytes: &mut [u8]) -> String {
    let (at, bit) = (rng.usize(..bytes.len()), rng.u8(..8));
    bytes[at] ^= 1 << bit;
    format!("bit {bit} of byte {at:#x}")
}

/// Writes all of a tree anew.
fn replace(blob: &Blob, bytes: Vec<u8>) -> Vec<MemoryWrite> {
    vec![MemoryWrite {
        address: blob.address,
        bytes,
    }]
}

/// Writes all of the victim's state anew, which has got larger, with its size in the index.
fn grow<R>(target: &Target<'_, R>, bytes: Vec<u8>) -> Result<Vec<MemoryWrite>> {
    let Handover { index, victim, .. } = target.handover;
    let size = index.layout.property(victim.node, "state")?.value.end - 8;
    let mut writes = overwrite(index, size, &u64::try_from(bytes.len())?.to_be_bytes());
    writes.extend(replace(&victim.tree, bytes));
    Ok(writes)
}

/// Writes a part of a tree.
fn overwrite(blob: &Blob, offset: usize, bytes: &[u8]) -> Vec<MemoryWrite> {
    vec![MemoryWrite {
        address: blob.address + offset as u64,
        bytes: bytes.into(),
    }]
}

/// Replaces tokens by nothing.
fn remove(blob: &Blob, tokens: std::ops::Range<usize>) -> Vec<MemoryWrite> {
    overwrite(
        blob,
        tokens.start,
        &fdt::NOP.to_be_bytes().repeat(tokens.len() / 4),
    )
}

/// A number that is not `old`, and more absurd than another.
fn absurd(rng: &mut Rng, old: u64, bits: u32) -> u64 {
    let max = u64::MAX >> (64 - bits);
    loop {
        let new = match rng.u8(..8) {
            0 => 0,
            1 => 1,
            2 => max,
            3 => max >> 1,
            4 => old.wrapping_add(1) & max,
            5 => old.wrapping_sub(1) & max,
            6 => old ^ (1 << rng.u32(..bits)),
            _ => rng.u64(..) & max,
        };
        if new != old {
            return new;
        }
    }
}

/// The part of scratch memory that addresses are taken from.
const SCRATCH: u64 = 1 << 20;

/// An address that is none of the victim's tables, and whose it is.
fn foreign<R: Ram>(target: &Target<'_, R>, rng: &mut Rng) -> Result<(u64, &'static str)> {
    let Handover {
        index,
        victim,
        healthy,
    } = target.handover;
    let page = |rng: &mut Rng, base: u64| base + rng.u64(..SCRATCH / PAGE as u64) * PAGE as u64;
    Ok(match rng.u8(..14) {
        0 => (0, "zero"),
        1 => (victim.top() + 8, "an address inside a page"),
        2 => (page(rng, target.around.scratch), "scratch memory"),
        3 => (page(rng, crate::ram::SIZE as u64), "an address beyond RAM"),
        4 => (0xfee0_0000, "the local APIC"),
        5 => (0xfed9_0000, "registers of the IOMMU"),
        6 => (1 << 52 | victim.top(), "an address that is too wide"),
        7 => (healthy.top(), "the other top table"),
        8 => (healthy.leaf()?, "the other leaf table"),
        9 => (healthy.tree.address, "the other state"),
        10 => (*pick(rng, &target.around.healthy)?, "the other memory"),
        11 => (*pick(rng, &target.around.canaries)?, "a canary"),
        12 => (*pick(rng, &target.around.free)?, "free memory"),
        _ => (index.address, "the index"),
    })
}

/// The same for what hardware reads at once: nothing that the next kernel may use while it boots,
/// before it can do anything about the hardware.
fn foreign_at_once<R: Ram>(target: &Target<'_, R>, rng: &mut Rng) -> Result<(u64, &'static str)> {
    loop {
        let (page, whose) = foreign(target, rng)?;
        let scratch = target.around.scratch..target.around.scratch + SCRATCH;
        if !target.around.free.contains(&page) && !scratch.contains(&page) {
            return Ok((page, whose));
        }
    }
}

/// A bit of an entry that hardware reads at once, for the same reason: none of an address in RAM.
fn bit_at_once(rng: &mut Rng, bits: u32) -> u32 {
    loop {
        let bit = rng.u32(..bits);
        if !(PAGE.ilog2()..crate::ram::SIZE.ilog2()).contains(&bit) {
            return bit;
        }
    }
}

#[cfg(test)]
mod tests;
