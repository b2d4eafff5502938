// SPDX-License-Identifier: GPL-2.0
//! What scripts see of `liveupdate-image`.

#[path = "../../../../drivers/iommu/liveupdate/state/tests/bz_image/mod.rs"]
mod bz_image;

use bz_image::BzImage;
use std::fs;
use std::process::Command;
use tempfile::TempDir;

const BOTH: &str = "kho=on liveupdate=on";

struct Files {
    dir: TempDir,
}

impl Files {
    /// An image that offers two strings, and a kernel that requires `required`.
    fn new(required: &[&str]) -> Self {
        let files = Self {
            dir: tempfile::tempdir().unwrap(),
        };
        let image = BzImage::new(&["a", "b"]).build();
        let lines = required.iter().map(|name| format!("{name}\n"));
        fs::write(files.path("image"), image).unwrap();
        fs::write(files.path("required"), lines.collect::<String>()).unwrap();
        files
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    /// Exit status and output.
    fn run(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_liveupdate-image"));
        let output = command.args(arguments).output().unwrap();
        let stdout = String::from_utf8(output.stdout).unwrap();
        (output.status.code(), stdout)
    }

    fn check(&self, more: &[&str]) -> (Option<i32>, String) {
        let (image, required) = (self.path("image"), self.path("required"));
        let arguments = ["check", &image, "--required", &required];
        self.run(&[&arguments, more].concat())
    }
}

#[test]
fn the_offer_is_listed() {
    let files = Files::new(&[]);
    let image = files.path("image");
    assert_eq!(files.run(&["offers", &image]), (Some(0), "a\nb\n".into()));
}

#[test]
fn nothing_is_missing() {
    assert_eq!(Files::new(&["b", "a"]).check(&[]), (Some(0), "".into()));
    let with_both = ["--command-line", BOTH];
    assert_eq!(Files::new(&["a"]).check(&with_both), (Some(0), "".into()));
    // Nothing is preserved.
    assert_eq!(Files::new(&[]).check(&[]), (Some(0), "".into()));
}

#[test]
fn what_is_missing_is_listed() {
    let files = Files::new(&["c", "b", "d"]);
    assert_eq!(files.check(&[]), (Some(1), "c\nd\n".into()));
    let without_kho = ["--command-line", "kho=off liveupdate=on"];
    let missing = "c\nd\nkho=on\n".into();
    assert_eq!(files.check(&without_kho), (Some(1), missing));
}

#[test]
fn no_answer_is_not_an_answer() {
    let files = Files::new(&["a"]);
    let (image, required) = (files.path("image"), files.path("required"));
    let no_image = ["check", &*required, "--required", &required];
    assert_eq!(files.run(&no_image), (Some(2), "".into()));
    let nowhere = files.path("nowhere");
    let no_list = ["check", &*image, "--required", &nowhere];
    assert_eq!(files.run(&no_list), (Some(2), "".into()));
    assert_eq!(files.run(&["offers", &nowhere]), (Some(2), "".into()));
    assert_eq!(files.run(&["check"]), (Some(2), "".into()));
}
