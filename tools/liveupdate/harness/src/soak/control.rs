// SPDX-License-Identifier: GPL-2.0
//! What the checks are good for: the same attacks on a kernel that checks nothing.

use super::attack::{self, Kind, Target};
use super::hop::{CHECK_TABLES, TRUST};
use super::sessions::Sessions;
use super::undamaged;
use crate::cli::Options;
use crate::ram::GuestRam;
use crate::verdict::Property;
use anyhow::{Context, Result};
use fastrand::Rng;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// The victim's device has been everywhere in its ring by then.
const ROUND: Duration = Duration::from_secs(13);
/// For how long faults are counted.
const FAULTS: Duration = Duration::from_secs(2);

/// What an attack has led to, when the new kernel was left alone with it.
struct Seen {
    /// Canaries that somebody has written to.
    touched: Vec<String>,
    /// Faults after the new kernel had come up.
    faults: usize,
}

/// Attacks, and lets the victim's device do what it can.
fn attack(options: &Options, kind: &Kind<GuestRam>, cmdline: &str) -> Result<Seen> {
    let name = format!("control-{}", cmdline.rsplit('.').next().unwrap_or(""));
    let mut sessions = Sessions::start(options, &name)?;
    undamaged(&mut sessions)?;
    sessions.load_kernel(cmdline)?;
    let page = sessions.progress().context("the victim does nothing")?;
    let around = sessions.surroundings(page);
    let handover = sessions.preserve()?;
    let target = Target {
        ram: &*sessions.vm.ram,
        handover: &handover,
        around: &around,
    };
    let attack = (kind.make)(&target, &mut Rng::with_seed(0))?;
    sessions.damage(attack.writes)?;
    sessions.replace_kernel()?;

    let up = sessions.vm.clock.now();
    sleep(FAULTS);
    let window = up..sessions.vm.clock.now();
    let faults = sessions.vm.iommu_trace()?.faults_within(&window);
    let start = Instant::now();
    let mut touched = sessions.touched(false)?;
    while touched.is_empty() && faults == 0 && start.elapsed() < ROUND {
        sleep(FAULTS / 4);
        touched = sessions.touched(false)?;
    }
    sessions.end()?;
    Ok(Seen { touched, faults })
}

fn kind(name: &str) -> Result<Kind<GuestRam>> {
    let kinds = attack::kinds::<GuestRam>().into_iter();
    kinds
        .into_iter()
        .find(|k| k.name == name)
        .context(name.to_owned())
}

/// Shows that each of some attacks does harm unless the new kernel checks what it gets.
pub fn run(options: &Options) -> Result<Vec<Property>> {
    let mut properties = Vec::new();
    let canary = kind("page table: page moved to a canary")?;
    for (cmdline, harm) in [(CHECK_TABLES, false), (TRUST, true)] {
        let seen = attack(options, &canary, cmdline)?;
        properties.push(Property::new(
            match harm {
                true => "control: a device that is trusted writes to a canary",
                false => "control: a device that is checked does not",
            },
            seen.touched.is_empty() != harm,
            format!("touched: {:?}", seen.touched.first()),
        ));
    }
    let other = kind("context entry: the other page tables")?;
    for (cmdline, harm) in [(CHECK_TABLES, false), (TRUST, true)] {
        let seen = attack(options, &other, cmdline)?;
        properties.push(Property::new(
            match harm {
                true => "control: an entry that is trusted lets its device fault",
                false => "control: a device whose entry is checked is stopped",
            },
            (seen.faults > 0) == harm,
            format!("{} faults", seen.faults),
        ));
    }
    Ok(properties)
}
