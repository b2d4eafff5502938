// SPDX-License-Identifier: GPL-2.0

//! Whatever is in an image, and on the command line of it: an answer that is the same for the whole
//! file and for its parts.

#![no_main]

use libfuzzer_sys::fuzz_target;
use liveupdate_state::{
    features::{
        Features,
        FEATURES, //
    },
    image,
    offer::{
        required,
        Offer, //
    }, //
};

fuzz_target!(|data: &[u8]| {
    // The command line, and the image behind it.
    let Some((len, rest)) = data.split_first() else {
        return;
    };
    let (line, image) = rest.split_at(rest.len().min((*len).into()));

    let whole = image::strings(image).map(|strings| strings.collect::<Vec<_>>());
    let parts = match image::kernel_info_offset(image) {
        Ok(None) => Ok(Vec::new()),
        Ok(Some(offset)) => image
            .get(offset..)
            .ok_or(image::Error::KernelInfo)
            .and_then(|info| Ok(image::kernel_info_strings(info)?.collect::<Vec<_>>())),
        Err(error) => Err(error),
    };
    assert_eq!(whole, parts);

    // Each is in the image, with its end.
    for string in whole.iter().flatten() {
        let found = image.windows(string.len() + 1);
        assert!(found
            .into_iter()
            .any(|w| w.strip_prefix(string.as_bytes()) == Some(&[0])));
    }

    let offer = Offer::read(image, line);
    assert_eq!(offer.is_ok(), whole.is_ok());
    let (Ok(offer), Ok(strings)) = (offer, whole) else {
        return;
    };
    for features in [Features::NONE, Features::TEST] {
        let missing: Vec<_> = offer.missing(features).names().collect();

        // What the image has to say is missing if and only if it does not say it.
        for name in required(features) {
            assert_eq!(missing.contains(&name), !strings.contains(&name), "{name}");
        }
        let unneeded = FEATURES
            .iter()
            .filter(|name| !features.names().any(|n| n == **name));
        for name in unneeded {
            assert!(!missing.contains(name), "{name}");
        }
    }
});
