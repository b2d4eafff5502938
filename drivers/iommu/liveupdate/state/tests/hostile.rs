// SPDX-License-Identifier: GPL-2.0

//! Whatever the blob: an answer, and no panic. What is accepted can be used without one.

mod sample;

use liveupdate_state::{
    iommufd::{
        self,
        Hwpt, //
    },
    State, //
};
use proptest::{
    collection::vec,
    prelude::*,
    sample::Index, //
};
use sample::Sample;

/// Reads everything from a blob; returns whether it was accepted.
fn read_all(blob: &[u8]) -> bool {
    if let Err(error) = sample::read_iommufd(blob).map(|state| state.hwpts().count()) {
        assert!(!error.to_string().is_empty());
    }
    // What the nodes say together was not checked here.
    if let Ok(state) = State::parse(blob) {
        for device in state.devices() {
            state.unit(device.unit);
            state.domain(device.domain);
            for id in device.requester_ids.iter() {
                assert!(state.device_by_requester_id(device.unit, id).is_some());
            }
        }
    }
    match sample::read(blob) {
        Ok(state) => {
            // What was accepted is accepted again when it is written anew.
            let sample = Sample::read(state);
            assert_eq!(Sample::read(sample::read(&sample.blob()).unwrap()), sample);
            true
        }
        Err(error) => {
            assert!(!error.to_string().is_empty());
            false
        }
    }
}

#[test]
fn every_bit_and_every_byte() {
    let blob = Sample::example().blob();
    assert!(read_all(&blob));

    let mut rejected = 0;
    for at in 0..blob.len() {
        let flips = (0..8).map(|bit| blob[at] ^ 1 << bit);
        for byte in flips.chain([0, 1, 2, 3, 4, 9, b'@', 0x7f, 0xff]) {
            let mut blob = blob.clone();
            blob[at] = byte;
            rejected += usize::from(!read_all(&blob));
        }
    }
    assert!(rejected > 0);
}

#[test]
fn every_truncation() {
    let blob = Sample::example().blob();

    for len in 0..blob.len() {
        assert!(!read_all(&blob[..len]), "{len} bytes");
    }
    assert!(read_all(&blob));
}

proptest! {
    #[test]
    fn several_damages(
        sample in sample::sample(),
        damages in vec((any::<Index>(), any::<u8>()), 1..8),
    ) {
        let mut blob = sample.blob();
        for (at, byte) in damages {
            *at.get_mut(&mut blob) = byte;
        }
        read_all(&blob);
    }

    #[test]
    fn iommufd_state(damages in vec((any::<Index>(), any::<u8>()), 0..4)) {
        let mut blob = vec![0; 1024];
        let hwpts = (1..4).map(|n| Hwpt { token: n << 40, domain: n as u32 });
        let len = iommufd::encode(&mut blob, 1, hwpts).unwrap();
        blob.truncate(len);
        for (at, byte) in damages {
            *at.get_mut(&mut blob) = byte;
        }
        read_all(&blob);
    }

    #[test]
    fn noise(blob in vec(any::<u8>(), 0..256)) {
        prop_assert!(!read_all(&blob));
    }
}
