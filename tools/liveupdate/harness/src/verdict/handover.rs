// SPDX-License-Identifier: GPL-2.0
//! What the kernels and the VMM must find, and what must be left.

use super::Property;
use super::evidence::{complaints, iommu_pages_leaked, restored_domains};
use crate::hop::Hop;
use crate::scenario::Record;
use crate::timeline::{RESTORE, TAKEOVER};
use anyhow::Result;
use devices::layout::{PAGE, SIZE, iova};
use protocol::{Comparison, Device, OUTCOME_OK, Signals, Stage};

/// What must hold when page tables are handed over.
pub fn takes_over(record: &Record, hop: &Hop) -> Result<Vec<Property>> {
    let expected = record.scenario.preserved_devices();
    let restored = restored_domains(record, hop)?;
    let log = record.new_log(hop)?;
    let said = |what: &str, pattern: &str| {
        let found = log.first(pattern).is_some();
        let observed = if found { "found" } else { "not in its log" };
        Property::new(format!("the new kernel says when: {what}"), found, observed)
    };
    Ok(vec![
        said("takeover", TAKEOVER),
        said("restore", RESTORE),
        Property::new(
            "one restored domain per preserved device",
            restored == expected,
            format!("{restored} of {expected}"),
        ),
    ])
}

/// What the way back must give to the devices in `came_back`, up to where it leads.
pub fn comes_back(hop: &Hop, came_back: &[Device], to: Stage) -> Vec<Property> {
    let back = &hop.back;
    let stopped = back.stopped.iter().map(|stopped| stopped.message.clone());
    let all = |found: &[String], expected: &str| {
        found.len() == came_back.len() && found.iter().all(|one| one == expected)
    };
    let foreign: Vec<_> = (back.foreign_bind.iter())
        .map(|outcome| outcome.errno.clone())
        .collect();
    let silent = |signals: &Signals| signals.vectors.is_empty() || signals.vectors.contains(&0);
    let mut properties = vec![
        Property::none(
            "no step of the way back fails",
            &stopped.collect::<Vec<_>>(),
        ),
        Property::equal(
            format!("the VMM comes back to the end of: {}", to.name()),
            hop.outcome(to),
            OUTCOME_OK,
        ),
        Property::new(
            "its functions are refused to a foreign iommufd",
            all(&foreign, "EPERM"),
            foreign.join(", "),
        ),
        Property::new(
            "every interrupt is signalled when it is set up",
            back.signals.len() == came_back.len() && !back.signals.iter().any(silent),
            format!("{:?}", back.signals),
        ),
        Property::equal("FINISH before the swap", &hop.early_finish, "EBUSY"),
        Property::equal(
            "memory that devices use is not freed",
            &hop.punch_hole,
            "EPERM",
        ),
    ];
    if to >= Stage::Verify {
        let results = |comparisons: &[Comparison]| -> Vec<String> {
            comparisons.iter().map(|one| one.result.clone()).collect()
        };
        let (compared, incomplete) = (results(&back.comparisons), results(&back.incomplete));
        let last_page = iova(SIZE - PAGE);
        properties.push(Property::new(
            "the new page tables are verified",
            all(&compared, "EQUAL"),
            compared.join(", "),
        ));
        properties.push(Property::new(
            "a page that is missing in them is found",
            all(&incomplete, "UNMAPPED") && back.incomplete.iter().all(|c| c.iova == last_page),
            format!("{:?}", back.incomplete),
        ));
    }
    properties
}

/// What must be left in the end: nothing.
pub fn leaves_nothing(record: &Record) -> Result<Vec<Property>> {
    let leaked = iommu_pages_leaked(record)?;
    let (before, after) = (&record.usage, &record.last()?.usage);
    Ok(vec![
        Property::new(
            "page tables take as much memory as before",
            leaked == 0,
            format!("{:?}, {:?} before", after.statistics, before.statistics),
        ),
        Property::new(
            "as many domain ids are in use as before",
            after.domain_ids == before.domain_ids && !before.domain_ids.is_empty(),
            format!("{:?}, {:?} before", after.domain_ids, before.domain_ids),
        ),
    ])
}

/// What must hold for the memory and all kernels in any case.
pub fn stays_in_order(record: &Record) -> Result<Vec<Property>> {
    let memory = if record.memory_moved {
        "moved"
    } else {
        "not moved"
    };
    let faults = record.remains.iommu.faults.iter();
    let faults: Vec<_> = faults.map(|fault| fault.text.clone()).collect();
    Ok(vec![
        Property::none("no IOMMU fault (QEMU's trace)", &faults),
        Property::equal(
            "the memory is retrieved",
            record.last()?.outcome(Stage::Memory),
            OUTCOME_OK,
        ),
        Property::new("the memory is where it was", !record.memory_moved, memory),
        Property::none("no kernel complains", &complaints(record)),
    ])
}

/// Whether hardware translated all the time; with nothing preserved it need not.
pub fn translates(record: &Record) -> Property {
    let off = record.remains.iommu.translation_off;
    Property::new(
        "translation was never off (QEMU's trace)",
        off == 0,
        format!("off {off} times"),
    )
}

/// What a host driver and another VMM must get.
pub fn ownership(hop: &Hop, nvme: bool, es1370: bool) -> [Property; 2] {
    let driver = &hop.host_driver_bind;
    [
        if nvme {
            Property::equal("a host driver is refused", driver, "EBUSY")
        } else {
            Property::equal("a host driver is let in", driver, OUTCOME_OK)
        },
        if es1370 {
            Property::equal("another VMM is refused", &hop.opened.open, "EBUSY")
        } else {
            Property::equal("another VMM is let in", &hop.opened.iommufd, OUTCOME_OK)
        },
    ]
}
