// SPDX-License-Identifier: GPL-2.0

//! The examples in the description of the format are valid.

mod sample;

use std::path::Path;

/// The trees in the text, each in a block that is indented.
fn examples(text: &str) -> Vec<String> {
    let mut examples: Vec<String> = Vec::new();
    let mut inside = false;

    for line in text.lines() {
        if line.trim() == "/dts-v1/;" {
            examples.push(String::new());
            inside = true;
        }
        inside &= line.is_empty() || line.starts_with("  ");
        if let (true, Some(example)) = (inside, examples.last_mut()) {
            example.push_str(line);
            example.push('\n');
        }
    }
    examples
}

#[test]
fn examples_are_accepted() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../..");
    let page = root.join("Documentation/driver-api/iommu-liveupdate-state.rst");
    let text = std::fs::read_to_string(page).unwrap();
    let [state, iommufd] = &examples(&text)[..] else {
        panic!("there is one example of each tree");
    };
    let compile = |text: &str| {
        let (blob, warnings) = sample::dtc("dts", "dtb", text.as_bytes());
        assert_eq!(warnings, "");
        blob
    };

    // Writing it anew gives the same tree, names included.
    let blob = compile(state);
    let again = sample::Sample::read(sample::read(&blob).unwrap()).blob();
    let text = |blob: &[u8]| sample::dtc("dtb", "dts", blob).0;
    assert_eq!(text(&blob), text(&again));

    let blob = compile(iommufd);
    assert!(sample::read_iommufd(&blob).unwrap().hwpts().count() > 0);

    // The control: one property less is not accepted.
    let less = state.replacen("owner = <0x0 0x0>;", "", 1);
    assert_ne!(&less, state);
    assert!(sample::read(&compile(&less)).is_err());
}
