// SPDX-License-Identifier: GPL-2.0
//! Updates of the kernel under running DMA, each with what must not work beside what must.

use super::results::Results;
use crate::cli::TestOptions;
use crate::qemu::Topology;
use crate::scenario::{self, Record, Scenario};
use crate::verdict::{self, Property};
use anyhow::Result;
use protocol::Device;

const BOTH: &[Device] = &[Device::Es1370, Device::Nvme];

/// An update and what it must show.
struct Update {
    scenario: Scenario,
    verdict: fn(&Record) -> Result<Vec<Property>>,
}

/// `CONTROL` is the control of all that preserve; what is dead there is alive here.
const UPDATES: [Update; 12] = [
    Update {
        scenario: Scenario::PRESERVED,
        verdict: verdict::update,
    },
    Update {
        scenario: Scenario::CONTROL,
        verdict: verdict::update,
    },
    // A cancelled session preserves nothing.
    Update {
        scenario: Scenario {
            name: "cancelled",
            sessions: &[BOTH, &[]],
            ..Scenario::PRESERVED
        },
        verdict: verdict::update,
    },
    // After a cancelled session the next one works.
    Update {
        scenario: Scenario {
            name: "preserved-again",
            sessions: &[BOTH, BOTH],
            ..Scenario::PRESERVED
        },
        verdict: verdict::update,
    },
    // The device that is not preserved is stopped, beside the one that goes on.
    Update {
        scenario: Scenario {
            name: "one-of-two",
            sessions: &[&[Device::Es1370]],
            ..Scenario::PRESERVED
        },
        verdict: verdict::update,
    },
    // The bridges on the way have to forward.
    Update {
        scenario: Scenario {
            name: "root-port",
            topology: Topology::RootPort,
            ..Scenario::PRESERVED
        },
        verdict: verdict::update,
    },
    Update {
        scenario: Scenario {
            name: "removed",
            remove: Some(Device::Es1370),
            ..Scenario::PRESERVED
        },
        verdict: verdict::removed,
    },
    Update {
        scenario: Scenario {
            name: "damaged-state",
            damage_state: true,
            ..Scenario::PRESERVED
        },
        verdict: verdict::damaged,
    },
    Update {
        scenario: Scenario {
            name: "ten-in-a-row",
            hops: 10,
            ..Scenario::PRESERVED
        },
        verdict: verdict::in_a_row,
    },
    // What was restored is preserved again before it could be replaced.
    Update {
        scenario: Scenario {
            name: "unfinished-three-times",
            hops: 4,
            unfinished: true,
            ..Scenario::PRESERVED
        },
        verdict: verdict::update,
    },
    Update {
        scenario: Scenario {
            name: "other-kernel",
            other_kernel: true,
            ..Scenario::PRESERVED
        },
        verdict: verdict::other_kernel,
    },
    // A kernel that overwrites all memory that is not reserved, first when it boots, then from
    // userspace.
    Update {
        scenario: Scenario {
            name: "memory-hungry",
            next_cmdline: "init_on_free=1 init_on_alloc=1",
            fill_memory: true,
            ..Scenario::PRESERVED
        },
        verdict: verdict::filled,
    },
];

/// Runs them.
pub fn run(options: &TestOptions, results: &mut Results) -> Result<()> {
    for update in &UPDATES {
        let name = update.scenario.name;
        let machine = match update.scenario.other_kernel {
            true => options.to_other_kernel(),
            false => Ok(options.common.clone()),
        };
        let record = machine.and_then(|options| scenario::run(&options, &update.scenario));
        match record.and_then(|record| (update.verdict)(&record)) {
            Ok(properties) => results.properties(name, properties),
            Err(error) => results.fail(name, &format!("{error:#}")),
        }
    }
    Ok(())
}
