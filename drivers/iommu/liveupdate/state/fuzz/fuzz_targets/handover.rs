// SPDX-License-Identifier: GPL-2.0

//! Whatever the previous kernel left in memory: what hardware can reach afterwards belongs to the
//! iommufd that it says.

#![no_main]

use libfuzzer_sys::{
    fuzz_mutator,
    fuzz_target,
    fuzzer_mutate, //
};
use liveupdate_state_fuzz::{
    input::{
        self,
        Input, //
    },
    machine::Machine,
    takeover::{
        take_over,
        Checks, //
    }, //
};

fuzz_target!(|data: &[u8]| {
    take_over(&Machine::new(&Input::read(data)), Checks::All);
});

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    let mut input = Input::read(&data[..size]);

    input::mutate(&mut input, seed, |section| {
        let len = section.len();
        section.resize(len + 64, 0);
        let len = fuzzer_mutate(section, len, len + 64);
        section.truncate(len);
    });
    let changed = input.write();
    let size = changed.len().min(max_size);
    data[..size].copy_from_slice(&changed[..size]);
    size
});
