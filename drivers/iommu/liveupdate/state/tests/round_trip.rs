// SPDX-License-Identifier: GPL-2.0

//! What is read is what was written.

mod sample;

use liveupdate_state::{
    encode,
    iommufd::{
        self,
        Hwpt, //
    },
    Error,
    Key,
    PciAddress,
    State, //
};
use proptest::{
    collection::btree_map,
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
        let state = sample::read(&blob).unwrap();

        prop_assert_eq!(state.as_bytes().len(), len);
        prop_assert_eq!(Sample::read(state), sample);
    }

    #[test]
    fn lookups(sample in sample::sample(), base: u64, number: u32, id: u16) {
        let blob = sample.blob();
        let state = State::parse(&blob).unwrap();

        for unit in &sample.units {
            let found = state.unit(unit.register_base).map(OwnedUnit::from);
            prop_assert_eq!(found.as_ref(), Some(unit));
        }
        for domain in &sample.domains {
            prop_assert_eq!(state.domain(domain.number), Some(*domain));
        }
        for device in &sample.devices {
            let found = state.device(device.address).map(OwnedDevice::from);
            prop_assert_eq!(found.as_ref(), Some(device));
            for id in &device.requester_ids {
                let found = state
                    .device_by_requester_id(device.unit, *id)
                    .map(OwnedDevice::from);
                prop_assert_eq!(found.as_ref(), Some(device));
                prop_assert!(state.device_by_requester_id(device.unit ^ 1, *id).is_none());
            }
        }
        prop_assert_eq!(
            state.unit(base).is_some(),
            sample.units.iter().any(|u| u.register_base == base)
        );
        prop_assert_eq!(
            state.domain(number).is_some(),
            sample.domains.iter().any(|d| d.number == number)
        );
        let address = PciAddress { segment: id, requester_id: id };
        prop_assert_eq!(
            state.device(address).is_some(),
            sample.devices.iter().any(|d| d.address == address)
        );
    }

    /// One key less than announced is too few, and no reason to accept.
    #[test]
    fn keys(sample in sample::sample()) {
        let blob = sample.blob();
        let state = State::parse(&blob).unwrap();
        let mut keys = vec![Key::default(); state.key_count()];

        prop_assert_eq!(state.check(&mut keys), Ok(()));
        keys.pop();
        prop_assert_eq!(state.check(&mut keys), Err(Error::NoSpace));
    }

    #[test]
    fn iommufd_state(owner: u64, hwpts in btree_map(any::<u64>(), any::<u32>(), 0..20)) {
        let mut blob = [0xa5; 4096];
        let list = || hwpts.iter().map(|(token, domain)| Hwpt { token: *token, domain: *domain });
        let len = iommufd::encode(&mut blob, owner, list()).unwrap();
        let state = sample::read_iommufd(&blob[..len]).unwrap();
        let mut keys = vec![Key::default(); hwpts.len()];

        prop_assert_eq!(state.check(&mut keys), Ok(()));
        if keys.pop().is_some() {
            prop_assert_eq!(state.check(&mut keys), Err(Error::NoSpace));
        }
        prop_assert_eq!(state.owner(), owner);
        prop_assert!(state.hwpts().eq(list()));
    }
}

#[test]
fn no_room_is_an_error_whatever_the_size() {
    let sample = Sample::example();
    let len = sample.blob().len();
    let mut buffer = vec![0; len];
    let mut write = |len| {
        encode(
            &mut buffer[..len],
            sample.units.iter().map(OwnedUnit::record),
            sample.domains.iter().copied(),
            sample.devices.iter().map(OwnedDevice::record),
        )
    };

    for short in 0..len {
        assert_eq!(write(short), Err(Error::Fdt(serde_fdt::Error::NoSpace)));
    }
    assert_eq!(write(len), Ok(len));
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
