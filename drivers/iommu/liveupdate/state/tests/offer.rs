// SPDX-License-Identifier: GPL-2.0

//! Whether an image with a command line can take a state over.

mod bz_image;

use bz_image::BzImage;
use liveupdate_state::{
    features::Features,
    offer::{
        missing_parameters,
        required,
        Offer, //
    },
    schema, //
};

/// What an image without special features says.
const PLAIN: [&str; 6] = [
    "linux,iommu-liveupdate-v1",
    "linux,iommufd-liveupdate-v1",
    "kho-v4",
    "luo-v5",
    "memfd-v2",
    "vfio-pci-v1",
];
const COMMAND_LINE: &str = "console=ttyS0 kho=on liveupdate=on";

fn missing(strings: &[&str], command_line: &str, features: Features) -> Vec<&'static str> {
    let image = BzImage::new(strings).build();
    let offer = Offer::read(&image, command_line.as_bytes()).unwrap();
    assert_eq!(Offer::from_bits(offer.bits()), offer);

    let missing = offer.missing(features);
    assert_eq!(missing.is_empty(), missing.names().next().is_none());
    missing.names().collect()
}

#[test]
fn what_is_required() {
    assert_eq!(required(Features::NONE).collect::<Vec<_>>(), PLAIN);
    assert_eq!(required(Features::TEST).last(), Some("test"));
    assert!(PLAIN.contains(&schema::INDEX_COMPATIBLE));
    assert!(PLAIN.contains(&schema::IOMMUFD_COMPATIBLE));
}

#[test]
fn an_image_that_says_it_all_will_do() {
    assert_eq!(missing(&PLAIN, COMMAND_LINE, Features::NONE), [""; 0]);

    let all: Vec<_> = required(Features::TEST).chain(["more"]).collect();
    assert_eq!(missing(&all, COMMAND_LINE, Features::TEST), [""; 0]);
    assert_eq!(missing(&all, COMMAND_LINE, Features::NONE), [""; 0]);
}

#[test]
fn each_string_counts() {
    let all: Vec<_> = required(Features::TEST).collect();
    for lacking in &all {
        let rest: Vec<_> = all.iter().copied().filter(|name| name != lacking).collect();
        assert_eq!(missing(&rest, COMMAND_LINE, Features::TEST), [*lacking]);
    }
    assert_eq!(missing(&[], COMMAND_LINE, Features::TEST), all);
    assert_eq!(missing(&PLAIN, COMMAND_LINE, Features::TEST), ["test"]);
}

#[test]
fn the_command_line_counts() {
    for (line, lacks) in [
        ("", &["kho=on", "liveupdate=on"][..]),
        ("kho=on", &["liveupdate=on"]),
        ("liveupdate=on", &["kho=on"]),
        ("kho=1 liveupdate=y", &[]),
        ("kho=on liveupdate=on kho=off", &["kho=on"]),
        ("liveupdate=on -- kho=on", &["kho=on"]),
    ] {
        assert_eq!(missing(&PLAIN, line, Features::NONE), lacks, "{line:?}");
        let alone = missing_parameters(line.as_bytes(), |name| PLAIN.contains(&name));
        assert_eq!(alone.collect::<Vec<_>>(), lacks, "{line:?}");
    }

    // An image can have one of them on by default.
    let on: Vec<_> = PLAIN.into_iter().chain(["kho=on"]).collect();
    assert_eq!(missing(&on, "liveupdate=on", Features::NONE), [""; 0]);
    assert_eq!(
        missing(&on, "liveupdate=on kho=off", Features::NONE),
        ["kho=on"]
    );
}

#[test]
fn nothing_offers_nothing() {
    let all: Vec<_> = required(Features::TEST)
        .chain(["kho=on", "liveupdate=on"])
        .collect();
    let lacks = Offer::NONE.missing(Features::TEST);
    assert_eq!(lacks.names().collect::<Vec<_>>(), all);
    assert_eq!(lacks.to_string(), all.join(", "));
    assert_eq!(Offer::NONE.bits(), 0);
    assert!(Offer::read(b"#!/bin/sh\n", COMMAND_LINE.as_bytes()).is_err());
}
