// SPDX-License-Identifier: GPL-2.0

//! What is read is what was written.

mod sample;

use liveupdate_state::{
    Error,
    Features,
    Index,
    Key,
    PciAddress,
    RunList,
    State,
    Tree, //
};
use proptest::{
    collection::vec,
    prelude::*, //
};
use sample::{
    OwnedDevice,
    OwnedUnit,
    Sample, //
};

proptest! {
    #[test]
    fn state(sample in sample::sample(), free in 0..64usize) {
        let mut blob = sample.blob();
        let len = blob.len();
        blob.resize(len + free, 0xa5);
        let list = sample.list();
        let (state, runs) = sample::read(&blob, &list).unwrap();

        prop_assert_eq!(state.as_bytes().len(), len);
        prop_assert_eq!(state.owner(), sample.owner);
        prop_assert_eq!(state.run_list(), sample.run_list());
        prop_assert_eq!(runs.as_bytes(), &list);
        prop_assert_eq!(Sample::read(&blob, &list), Ok(sample));
    }

    #[test]
    fn lookups(sample in sample::sample(), base: u64, number: u32) {
        let blob = sample.blob();
        let state = State::parse(&blob, Features::NONE).unwrap();

        for unit in &sample.units {
            let found = state.unit(unit.register_base).map(OwnedUnit::from);
            prop_assert_eq!(found.as_ref(), Some(unit));

            let devices: Vec<_> = state.devices_of(unit.register_base).map(OwnedDevice::from).collect();
            let expected: Vec<_> = sample.devices.iter().filter(|d| d.unit == unit.register_base).cloned().collect();
            prop_assert_eq!(devices, expected);
        }
        for domain in &sample.domains {
            prop_assert_eq!(state.domain(domain.number), Some(*domain));
        }
        prop_assert_eq!(
            state.unit(base).is_some(),
            sample.units.iter().any(|u| u.register_base == base)
        );
        prop_assert_eq!(
            state.domain(number).is_some(),
            sample.domains.iter().any(|d| d.number == number)
        );
    }

    /// One key less than announced is too few, and no reason to accept.
    #[test]
    fn keys(sample in sample::sample()) {
        let (blob, list) = (sample.blob(), sample.list());
        let state = State::parse(&blob, Features::NONE).unwrap();
        let runs = RunList::new(&list, list.len() as u64 / 8).unwrap();
        let mut keys = vec![Key::default(); state.key_count(&runs)];

        prop_assert_eq!(state.check(&runs, &mut keys), Ok(()));
        keys.pop();
        prop_assert_eq!(state.check(&runs, &mut keys), Err(Error::NoSpace));
    }

    #[test]
    fn index(samples in vec(sample::sample(), 0..4), free in 0..64usize) {
        let iommufds: Vec<_> = (1..).zip(&samples).map(|(n, s)| s.iommufd(n << 17)).collect();
        let mut blob = sample::index_of(Features::NONE, &iommufds);
        let len = blob.len();
        blob.resize(len + free, 0xa5);
        let index = Index::parse(&blob, Features::NONE).unwrap();

        prop_assert_eq!(index.as_bytes().len(), len);
        prop_assert_eq!(index.iommufds().collect::<Result<Vec<_>, _>>(), Ok(iommufds));
    }
}

/// A feature is written if it is required, and read by those alone who have it.
#[test]
fn features() {
    let mut sample = Sample::example();
    let blobs = |sample: &Sample| [sample.blob(), sample.index()];
    let has_it = |blob: &Vec<u8>| blob.windows(17).any(|w| w == b"required-features");

    assert!(!blobs(&sample).iter().any(has_it));
    sample.required = Features::TEST;
    assert!(blobs(&sample).iter().all(has_it));

    let [tree, index] = blobs(&sample);
    assert!(State::parse(&tree, Features::TEST).is_ok());
    assert!(Index::parse(&index, Features::TEST).is_ok());
    let refused = Some(Error::UnknownFeature);
    assert_eq!(State::parse(&tree, Features::NONE).err(), refused);
    assert_eq!(Index::parse(&index, Features::NONE).err(), refused);
}

#[test]
fn no_room_is_an_error_whatever_the_size() {
    let sample = Sample::example();
    let len = sample.blob().len();
    let mut buffer = vec![0; len];

    for short in 0..len {
        assert_eq!(
            sample.encode(&mut buffer[..short]),
            Err(Error::Fdt(serde_fdt::Error::NoSpace))
        );
    }
    assert_eq!(sample.encode(&mut buffer), Ok(len));
}

#[test]
fn an_address_is_printed_as_in_the_rest_of_the_kernel() {
    let address = |segment, requester_id| {
        PciAddress {
            segment,
            requester_id,
        }
        .to_string()
    };

    assert_eq!(address(0, 0x0038), "0000:00:07.0");
    assert_eq!(address(0x12, 0xabff), "0012:ab:1f.7");
}
