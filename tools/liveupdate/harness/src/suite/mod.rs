// SPDX-License-Identifier: GPL-2.0
//! All tests that need a machine.

mod counters;
mod damage;
mod killed;
mod kunit;
mod results;
mod selftests;
mod stub_image;
mod swaps;
mod tap;
mod unplugged;
mod updates;
mod versions;
mod witness;

use crate::cli::TestOptions;
use anyhow::Result;
pub use damage::soak;
use results::Results;

/// One group of tests.
struct Group {
    name: &'static str,
    run: fn(&TestOptions, &mut Results) -> Result<()>,
}

const GROUPS: [Group; 12] = [
    Group {
        name: "updates",
        run: updates::run,
    },
    Group {
        name: "swaps",
        run: swaps::run,
    },
    Group {
        name: "counters",
        run: counters::run,
    },
    Group {
        name: "killed",
        run: killed::run,
    },
    Group {
        name: "unplugged",
        run: unplugged::run,
    },
    Group {
        name: "versions",
        run: versions::run,
    },
    Group {
        name: "damage",
        run: damage::run,
    },
    Group {
        name: "witness",
        run: witness::run,
    },
    Group {
        name: "kunit",
        run: kunit::run,
    },
    Group {
        name: "selftests",
        run: selftests::run_ours,
    },
    Group {
        name: "stub-image",
        run: stub_image::run,
    },
    Group {
        name: "tree",
        run: selftests::compare_tree,
    },
];

/// Runs the groups that are asked for and prints `N passed, N failed, N skipped` as the last line;
/// returns whether something passed and nothing failed.
pub fn run(options: &TestOptions) -> Result<bool> {
    let mut results = Results::default();
    for group in &GROUPS {
        if !options.only.is_empty() && !options.only.iter().any(|only| only == group.name) {
            continue;
        }
        // A group that cannot run is a failure, and no reason not to run the others.
        if let Err(error) = (group.run)(options, &mut results) {
            results.fail(group.name, &format!("{error:#}"));
        }
    }
    println!("{results}");
    Ok(results.all_passed())
}
