// SPDX-License-Identifier: GPL-2.0
//! An update of which nothing but the counters is observed.

use super::Case;
use crate::cli::Options;
use crate::console::Line;
use crate::counters::Counters;
use crate::run::{DEBUGFS, WITHOUT_NVME_DRIVER};
use crate::timeline::SCRUBBED;
use crate::vm::{Machine, Vm};
use anyhow::{Context, Result, ensure};
use protocol::{BenchStep, Reply, Request, Shape, Tables};

/// A function that does nothing.
const DEVICE: &str = " -device edu,addr=9";

/// What was observed.
pub struct Update {
    /// Pages of the page tables, as debugfs shows them.
    pub table_pages: u64,
    /// The old kernel's counters before the page tables were preserved.
    pub before: Counters,
    /// The same after that.
    pub preserved: Counters,
    /// Table pages that the old kernel read from the freeze to its end.
    pub read_by_old: u64,
    /// Buses that it scrubbed.
    pub scrubbed_by_old: u64,
    /// The new kernel's counters before its userspace has done anything.
    pub booted: Counters,
    /// The same after all was given back.
    pub finished: Counters,
}

/// The number in the part of a message that ends with `unit`, `name 1 unit` or `1 unit`.
fn number(message: &str, unit: &str) -> Option<u64> {
    let part = message
        .split(", ")
        .find_map(|part| part.strip_suffix(unit))?;
    part.split_whitespace().next_back()?.parse().ok()
}

/// What the old kernel said at its end: buses that it scrubbed, table pages that it read.
fn scrubbed(lines: &[Line]) -> Result<(u64, u64)> {
    let mut messages = lines.iter().map(|line| line.text.trim());
    let message = messages.find(|text| text.contains(SCRUBBED));
    let message = message.context("the old kernel says nothing")?;
    number(message, " buses")
        .zip(number(message, " table pages read"))
        .with_context(|| format!("{message:?} cannot be read"))
}

/// The pages of all domains in the table that debugfs shows.
fn table_pages(vm: &mut Vm) -> Result<u64> {
    let path = format!("{DEBUGFS}/outgoing");
    let Reply::Tree(tree) = vm.request(&Request::ReadTree { path })? else {
        anyhow::bail!("unexpected reply");
    };
    let texts = tree
        .files
        .iter()
        .filter_map(|file| file.content.as_deref().ok());
    let pages = texts
        .flat_map(str::lines)
        .filter(|line| line.starts_with("domain "))
        .map(|line| number(line, " table pages").with_context(|| format!("{line:?}")));
    pages.sum()
}

/// Does it.
pub fn observe(options: &Options, case: &Case) -> Result<Update> {
    let mut options = options.clone();
    options.cmdline_extra += WITHOUT_NVME_DRIVER;
    if !case.pool {
        options.cmdline_extra += " iommu_liveupdate.pool=0";
    }
    options.qemu_extra += DEVICE;
    let tables = Tables {
        lowest: case.lowest,
        shape: Shape::Scattered,
    };
    let step = |vm: &mut Vm, step| vm.request_done(&Request::Bench { step });

    let (mut vm, _) = Vm::boot(&options, case.name, &Machine::PLAIN)?;
    vm.load_kernel(match case.check_tables {
        true => "iommu_liveupdate.check_tables=1",
        false => "",
    })?;
    step(&mut vm, BenchStep::Build(tables))?;
    let before = Counters::read(&mut vm)?;
    step(&mut vm, BenchStep::Preserve)?;
    let preserved = Counters::read(&mut vm)?;
    let table_pages = table_pages(&mut vm)?;
    vm.kexec()?;
    let booted = Counters::read(&mut vm)?;
    step(&mut vm, BenchStep::ComeBack(tables))?;
    let finished = Counters::read(&mut vm)?;
    let remains = vm.power_off()?;
    let faults = remains.iommu.faults.len();
    ensure!(faults == 0, "QEMU saw {faults} faults");
    let (scrubbed_by_old, read_by_old) = scrubbed(&remains.console)?;
    Ok(Update {
        table_pages,
        before,
        preserved,
        read_by_old,
        scrubbed_by_old,
        booted,
        finished,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found_by_their_units() {
        let message = "unit at 0xfed90000 goes on: 2 entries kept, 4 cleared, on 1 buses, \
                       17 table pages read";
        assert_eq!(number(message, " buses"), Some(1));
        assert_eq!(number(message, " table pages read"), Some(17));
        assert_eq!(number(message, " context tables"), None);
        let domain = "domain 0 top table 0x1000 level 3 input 48 bits, 103 table pages";
        assert_eq!(number(domain, " table pages"), Some(103));
    }
}
