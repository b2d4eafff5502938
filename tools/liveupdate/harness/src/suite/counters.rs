// SPDX-License-Identifier: GPL-2.0
//! How often something is done in a live update, and whether that grows with the page tables. Unlike
//! times, these numbers are the same on every machine.

mod swaps;
mod update;

use super::results::Results;
use crate::cli::TestOptions;
use crate::verdict::Property;
use anyhow::{Context, Result};
use update::{Update, observe};

/// Page tables of the lowest level, and ten times as many.
const FEW: u64 = 100;
const MANY: u64 = 10 * FEW;
/// Pages of the blocks that a pool takes from the page allocator.
const BLOCK: u64 = 512;

/// What differs between the updates.
#[derive(Clone, Copy)]
struct Case {
    name: &'static str,
    /// Page tables of the lowest level.
    lowest: u64,
    /// Whether they come from a pool.
    pool: bool,
    /// Whether the next kernel is to look into them before it adopts them.
    check_tables: bool,
}

const POOL_FEW: Case = Case {
    name: "counters-few",
    lowest: FEW,
    pool: true,
    check_tables: false,
};
const POOL_MANY: Case = Case {
    name: "counters-many",
    lowest: MANY,
    ..POOL_FEW
};
/// The controls: what does not grow with a pool grows without, and a kernel that looks into page
/// tables shows.
const PAGES_FEW: Case = Case {
    name: "counters-few-pages",
    pool: false,
    check_tables: true,
    ..POOL_FEW
};
const PAGES_MANY: Case = Case {
    name: "counters-many-pages",
    lowest: MANY,
    ..PAGES_FEW
};

/// What each of them must show by itself.
fn alone(case: &Case, update: &Update) -> Result<Vec<Property>> {
    let pages = update.table_pages;
    let (before, preserved) = (&update.before, &update.preserved);
    let (booted, finished) = (&update.booted, &update.finished);
    let checksummed = preserved.since(before, "pages_checksummed")?;
    let in_boot = booted.get("pages_walked")? + booted.get("pages_checksummed")?;
    let buses = booted.get("buses_scrubbed")?;
    let claimed = finished.get("pages_claimed")?;
    let freed = finished.get("pages_freed")?;
    let in_boot_claim = match case.check_tables {
        true => "a kernel that is to check page tables reads all of them before it adopts them",
        false => "takeover and restore read no page table",
    };
    Ok(vec![
        Property::new(
            "there are as many page tables as the mappings need",
            pages == expected_pages(case.lowest),
            format!("{pages}"),
        ),
        Property::new(
            "all of them are read to preserve them",
            checksummed >= pages,
            format!("{checksummed} of {pages}"),
        ),
        Property::new(
            "freeze and shutdown read none",
            update.read_by_old == 0,
            format!("{}", update.read_by_old),
        ),
        Property::new(
            in_boot_claim,
            match case.check_tables {
                true => in_boot >= pages,
                false => in_boot == 0,
            },
            format!("{in_boot}"),
        ),
        Property::new(
            "none is claimed before it is given back",
            booted.get("pages_claimed")? == 0,
            format!("{}", booted.get("pages_claimed")?),
        ),
        Property::new(
            "shutdown and takeover scrub the bus with devices only",
            (update.scrubbed_by_old, buses) == (1, 1),
            format!("{} and {buses}", update.scrubbed_by_old),
        ),
        Property::new(
            "all that is claimed is freed",
            claimed == freed && claimed >= pages,
            format!("{claimed} claimed, {freed} freed, {pages} preserved"),
        ),
    ])
}

/// Pages of page tables with `lowest` tables of the lowest of four levels, next to each other.
fn expected_pages(lowest: u64) -> u64 {
    const ENTRIES: u64 = 512;
    lowest + lowest.div_ceil(ENTRIES) + 2
}

/// How many more entries KHO has when `case` is preserved.
fn entries(update: &Update) -> Result<u64> {
    update.preserved.since(&update.before, "kho_entries")
}

/// What `many` must show beside `few`.
fn growth(case: &Case, few: &Update, many: &Update) -> Result<Property> {
    let more_pages = many.table_pages.saturating_sub(few.table_pages);
    let (few, many) = (entries(few)?, entries(many)?);
    let more = many.saturating_sub(few);
    let observed = format!("{few} and {many} entries, {more_pages} pages more");
    Ok(match case.pool {
        true => Property::new(
            "KHO has at most one entry more for each block more",
            more <= more_pages.div_ceil(BLOCK),
            observed,
        ),
        false => Property::new(
            "without a pool, KHO has an entry more for each page more",
            more == more_pages,
            observed,
        ),
    })
}

fn pair(options: &TestOptions, results: &mut Results, cases: [Case; 2]) -> Result<()> {
    let mut updates = Vec::new();
    for case in &cases {
        let update = observe(&options.common, case).context(case.name)?;
        results.properties(case.name, alone(case, &update)?);
        updates.push(update);
    }
    if let ([_, case], [few, many]) = (&cases, &*updates) {
        results.properties(case.name, vec![growth(case, few, many)?]);
    }
    Ok(())
}

/// Runs all of them.
pub fn run(options: &TestOptions, results: &mut Results) -> Result<()> {
    for cases in [[POOL_FEW, POOL_MANY], [PAGES_FEW, PAGES_MANY]] {
        if let Err(error) = pair(options, results, cases) {
            results.fail("counters", &format!("{error:#}"));
        }
    }
    results.properties("counters-swaps", swaps::observe(&options.common)?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_tables_are_counted() {
        assert_eq!(expected_pages(1), 4);
        assert_eq!(expected_pages(512), 515);
        assert_eq!(expected_pages(513), 517);
    }
}
