// SPDX-License-Identifier: GPL-2.0

//! Whatever the blob: an answer, and no panic. What is accepted can be used without one.

mod sample;

use liveupdate_state::{
    decode,
    Features,
    Index,
    State,
    Tree, //
};
use proptest::{
    collection::vec,
    prelude::*,
    sample::Index as Pick, //
};
use sample::Sample;

/// Reads everything from a blob with the run list `list`; returns whether it was accepted.
fn read_all(blob: &[u8], list: &[u8]) -> bool {
    if let Ok(index) = Index::parse(blob, Features::TEST) {
        for iommufd in index.iommufds() {
            if let Err(error) = iommufd {
                assert!(!error.to_string().is_empty());
            }
        }
    }
    // What the nodes say together was not checked here.
    if let Ok(state) = State::parse(blob, Features::TEST) {
        assert_eq!(decode::run_list(blob), Some(state.run_list()));
        for device in state.devices() {
            state.unit(device.unit);
            state.domain(device.domain);
            assert!(state.devices_of(device.unit).count() > 0);
        }
    }
    match Sample::read(blob, list) {
        Ok(sample) => {
            // What was accepted is accepted again when it is written anew.
            assert_eq!(Sample::read(&sample.blob(), list), Ok(sample));
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
    let (blob, list) = (Sample::example().blob(), Sample::example().list());
    assert!(read_all(&blob, &list));

    let mut rejected = 0;
    for at in 0..blob.len() {
        let flips = (0..8).map(|bit| blob[at] ^ 1 << bit);
        for byte in flips.chain([0, 1, 2, 3, 4, 9, b'@', 0x7f, 0xff]) {
            let mut blob = blob.clone();
            blob[at] = byte;
            rejected += usize::from(!read_all(&blob, &list));
        }
    }
    assert!(rejected > 0);
}

#[test]
fn every_truncation() {
    let (blob, list) = (Sample::example().blob(), Sample::example().list());

    for len in 0..blob.len() {
        assert!(!read_all(&blob[..len], &list), "{len} bytes");
    }
    for entries in 0..list.len() / 8 {
        assert!(!read_all(&blob, &list[..8 * entries]), "{entries} entries");
    }
    assert!(read_all(&blob, &list));
}

/// What is wrong with one iommufd leaves the others in the index alone.
#[test]
fn one_node_of_the_index() {
    let iommufd = Sample::example().iommufd(0x2_0000_0000);
    let mut other = iommufd;
    other.owner = 6;
    let mut blob = sample::index_of(Features::NONE, &[iommufd, other]);

    let address = blob
        .windows(8)
        .position(|w| w == iommufd.state.to_be_bytes());
    blob[address.unwrap() + 7] = 1;
    let index = Index::parse(&blob, Features::NONE).unwrap();
    let found: Vec<_> = index.iommufds().collect();
    assert_eq!(found.len(), 2);
    assert!(found[0].is_err());
    assert_eq!(found[1], Ok(other));
}

proptest! {
    #[test]
    fn several_damages(
        sample in sample::sample(),
        damages in vec((any::<Pick>(), any::<u8>()), 0..8),
        damages_of_list in vec((any::<Pick>(), any::<u8>()), 0..4),
    ) {
        let mut blob = sample.blob();
        let mut list = sample.list();
        for (at, byte) in damages {
            *at.get_mut(&mut blob) = byte;
        }
        if !list.is_empty() {
            for (at, byte) in damages_of_list {
                *at.get_mut(&mut list) = byte;
            }
        }
        read_all(&blob, &list);
    }

    #[test]
    fn index(damages in vec((any::<Pick>(), any::<u8>()), 0..4)) {
        let mut blob = Sample::example().index();
        for (at, byte) in damages {
            *at.get_mut(&mut blob) = byte;
        }
        read_all(&blob, &[]);
    }

    #[test]
    fn noise(blob in vec(any::<u8>(), 0..256)) {
        prop_assert!(!read_all(&blob, &[]));
    }
}
