// SPDX-License-Identifier: GPL-2.0
//! The kernel's own counters of what a live update takes.

use crate::run::DEBUGFS;
use crate::vm::Vm;
use anyhow::{Context, Result, anyhow, bail};
use protocol::{Reply, Request};
use std::collections::BTreeMap;

/// All of them, by name.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Counters(BTreeMap<String, u64>);

impl Counters {
    /// Reads them.
    pub fn read(vm: &mut Vm) -> Result<Self> {
        let path = format!("{DEBUGFS}/counters");
        let Reply::Tree(tree) = vm.request(&Request::ReadTree { path: path.clone() })? else {
            bail!("unexpected reply");
        };
        let file = tree
            .files
            .into_iter()
            .next()
            .with_context(|| path.clone())?;
        let text = file.content.map_err(|error| anyhow!("{path}: {error}"))?;
        Self::parse(&text).context(path)
    }

    fn parse(text: &str) -> Result<Self> {
        let lines = text.lines().map(|line| {
            let (name, value) = line.split_once(' ').context("no value")?;
            Ok((name.to_owned(), value.trim().parse()?))
        });
        Ok(Self(lines.collect::<Result<_>>()?))
    }

    /// All of them, for a report.
    pub fn into_map(self) -> BTreeMap<String, u64> {
        self.0
    }

    /// The counter `name`.
    pub fn get(&self, name: &str) -> Result<u64> {
        let value = self.0.get(name);
        value.copied().with_context(|| format!("no counter {name}"))
    }

    /// How far it has come since it was `earlier`.
    pub fn since(&self, earlier: &Self, name: &str) -> Result<u64> {
        let (now, then) = (self.get(name)?, earlier.get(name)?);
        now.checked_sub(then)
            .with_context(|| format!("{name} went back from {then} to {now}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_read_or_refused() {
        let then = Counters::parse("kho_entries 12\noutgoing_bytes 34\n").unwrap();
        let now = Counters::parse("kho_entries 15\noutgoing_bytes 33\n").unwrap();
        assert_eq!(then.get("outgoing_bytes").unwrap(), 34);
        assert_eq!(now.since(&then, "kho_entries").unwrap(), 3);
        assert!(now.since(&then, "outgoing_bytes").is_err());
        assert!(now.get("pages").is_err());
        assert!(Counters::parse("kho_entries\n").is_err());
        assert!(Counters::parse("kho_entries many\n").is_err());
    }
}
