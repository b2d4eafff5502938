// SPDX-License-Identifier: GPL-2.0
//! Kernels of different versions one after the other: what works, and what becomes of what does not.

mod attempt;
mod claim;
mod row;
mod table;
mod verdict;

use super::results::Results;
use crate::cli::TestOptions;
use crate::run::{Run, Usage};
use crate::verdict::Property;
use crate::vm::Machine;
use anyhow::{Context, Result, ensure};
use attempt::{Attempt, DEVICES};
use protocol::{Request, Stage};
use row::{ROWS, Row};
use std::fs;
use table::Table;

/// What is left when all went well.
struct Reference {
    /// What page tables take when there was no update and the VMM is gone.
    usage: Usage,
    /// Memory of a kernel after an update, in KiB.
    memory: i64,
}

fn reference(options: &TestOptions) -> Result<Reference> {
    let name = "versions-reference";
    let (mut run, _) = Run::start(&options.common, name, &Machine::PLAIN, &DEVICES)?;
    run.vm.request_done(&Request::CloseVmm)?;
    let usage = run.usage()?;
    run.open_again(&DEVICES)?;
    run.vm.load_kernel("")?;
    run.preserve(&DEVICES)?;
    run.replace_kernel()?;
    let back = run.come_back(&DEVICES, Stage::Finish)?;
    ensure!(back.stopped.is_none(), "{:?}", back.stopped);
    let memory = run.kernel_memory()?;
    run.end()?;
    Ok(Reference { usage, memory })
}

/// Tries `row`; what was found is added to `table`.
fn run_row(
    options: &TestOptions,
    row: &Row,
    reference: &Reference,
    table: &mut Table,
) -> Result<Vec<Property>> {
    let attempt = Attempt::run(options, row)?;
    table.add(row, &attempt)?;
    verdict::properties(row, &attempt, reference)
}

/// Tries all pairs, and compares what was found with what is documented.
pub fn run(options: &TestOptions, results: &mut Results) -> Result<()> {
    let reference = reference(options)?;
    let mut table = Table::default();
    for row in &ROWS {
        match run_row(options, row, &reference, &mut table) {
            Ok(properties) => results.properties(row.name, properties),
            Err(error) => results.fail(row.name, &format!("{error:#}")),
        }
    }
    let path = options.common.out.join("compatibility.md");
    fs::write(&path, table.to_string()).with_context(|| path.display().to_string())?;

    let readme = options.readme()?;
    let text = fs::read_to_string(readme).with_context(|| readme.display().to_string())?;
    results.check(
        "versions: what was found is the documented table",
        Table::documented(&text) == table,
        &format!("{} is not {}", readme.display(), path.display()),
    );
    Ok(())
}
