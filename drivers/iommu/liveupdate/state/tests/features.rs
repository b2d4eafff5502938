// SPDX-License-Identifier: GPL-2.0

//! Sets of features, against sets of names.

use liveupdate_state::features::{
    Features,
    FEATURES, //
};
use std::collections::BTreeSet;

#[test]
fn names_are_found_and_given_back() {
    for name in FEATURES {
        let feature = Features::named(name).unwrap();
        assert_eq!(feature.names().collect::<Vec<_>>(), [*name]);
        assert_eq!(feature.to_string(), *name);
        assert!(!feature.is_empty());
    }
    for unknown in ["", "Test", "test ", "tes", "kho=on"] {
        assert_eq!(Features::named(unknown), None, "{unknown:?}");
    }
    assert_eq!(
        Features::TEST.names().collect::<Vec<_>>(),
        ["test"],
        "the constant is the name"
    );
}

#[test]
fn names_are_unique() {
    let unique: BTreeSet<_> = FEATURES.iter().collect();
    assert_eq!(unique.len(), FEATURES.len());
}

#[test]
fn sets_behave() {
    let (none, test) = (Features::NONE, Features::TEST);
    assert!(none.is_empty() && none.names().next().is_none());
    assert_eq!(none.to_string(), "");
    assert!(test.contains(none) && test.contains(test) && !none.contains(test));
    assert_eq!(none.union(test), test);
    assert_eq!(test.difference(test), none);
    assert_eq!(test.difference(none), test);
    assert_eq!(none.difference(test), none);
}
