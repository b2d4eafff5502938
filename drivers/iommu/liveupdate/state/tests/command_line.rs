// SPDX-License-Identifier: GPL-2.0

//! Switches on a command line, with what Linux makes of them.

use liveupdate_state::command_line::switch;
use proptest::prelude::*;

#[track_caller]
fn check(line: &str, expected: Option<bool>) {
    assert_eq!(switch(line.as_bytes(), "kho"), expected, "{line:?}");
}

#[test]
fn the_last_value_counts() {
    check("", None);
    check("quiet", None);
    check("kho=on", Some(true));
    check("kho=off", Some(false));
    check("kho=on kho=off", Some(false));
    check("kho=off kho=on", Some(true));
    check("a kho=on b=c", Some(true));
}

#[test]
fn values_that_are_not_understood_change_nothing() {
    check("kho", None);
    check("kho=", None);
    check("kho=maybe", None);
    check("kho=o", None);
    check("kho=on kho=maybe", Some(true));
    check("kho=on kho", Some(true));
}

/// `kstrtobool()` looks at the first letter or two.
#[test]
fn every_spelling() {
    for on in [
        "1", "y", "Y", "yes", "t", "T", "true", "e", "Enable", "on", "ON", "oN", "onward",
    ] {
        check(&format!("kho={on}"), Some(true));
    }
    for off in [
        "0", "n", "N", "no", "f", "F", "false", "d", "Disable", "of", "off", "OFF",
    ] {
        check(&format!("kho={off}"), Some(false));
    }
}

#[test]
fn names_are_compared_as_a_whole() {
    check("xkho=on", None);
    check("khox=on", None);
    check("kho_scratch=64M", None);
    check("KHO=on", None);
    check("iommu.kho=on", None);
    check("=kho=on", None);
}

/// White space is what `isspace()` says, and quotes protect it.
#[test]
fn words_end_where_linux_ends_them() {
    check("\tkho=on\n", Some(true));
    assert_eq!(switch(b"a\xa0kho=on", "kho"), Some(true));
    check("a=\"b kho=on\"", None);
    check("\"a b\" kho=on", Some(true));
    check("kho=\"on\"", Some(true));
    check("\"kho=on\"", Some(true));
    check("\"kho=on", Some(true));
    check("a=\"b kho=on", None);
    check("a=b\" kho=on \"c kho=off", Some(false));
}

#[test]
fn what_is_not_for_the_kernel_is_left_out() {
    check("-- kho=on", None);
    check("kho=off -- kho=on", Some(false));
    check("\"--\" kho=on", None);
    check("--=1 kho=on", Some(true));
    assert_eq!(switch(b"quiet\0kho=on", "kho"), None);
    assert_eq!(switch(b"kho=on\0 kho=off", "kho"), Some(true));
}

proptest! {
    #[test]
    fn anything_is_read(line: Vec<u8>) {
        switch(&line, "kho");
    }

    /// Words without quotes are found like this.
    #[test]
    fn plain_words(words in prop::collection::vec(
        prop::sample::select(vec!["kho=on", "kho=off", "kho=1x", "kho", "a", "a=kho=on", "b=kho"]),
        0..8,
    )) {
        let expected = words.iter().rev().find_map(|word| match *word {
            "kho=on" | "kho=1x" => Some(true),
            "kho=off" => Some(false),
            _ => None,
        });
        prop_assert_eq!(switch(words.join(" ").as_bytes(), "kho"), expected);
    }
}
