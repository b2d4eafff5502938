// SPDX-License-Identifier: GPL-2.0

//! Whether every domain can be asked for.

mod sample;

use liveupdate_state::{
    Features,
    State, //
};
use sample::Sample;

fn are_known(blob: &[u8]) -> bool {
    State::parse(blob, Features::SUPPORTED)
        .unwrap()
        .are_hwpts_known()
}

#[test]
fn every_domain_has_a_hwpt() {
    let mut sample = Sample::example();
    assert!(are_known(&sample.blob()));
    sample.hwpts.pop();
    assert!(!are_known(&sample.blob()));
}

#[test]
fn a_token_is_there_twice() {
    let blob = Sample::example().blob();
    for (from, to) in [
        (&b"hwpt@100\0"[..], &b"hwpt@110\0"[..]),
        (b"hwpt@100\0", b"hwpt@1x0\0"),
        (&[0, 0, 0, 0, 0, 0, 1, 1], &[0, 0, 0, 0, 0, 0, 1, 3]),
    ] {
        let mut damaged = blob.clone();
        let at = damaged.windows(from.len()).position(|w| w == from).unwrap();
        damaged[at..at + to.len()].copy_from_slice(to);
        assert!(!are_known(&damaged));
    }
}
