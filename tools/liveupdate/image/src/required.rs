// SPDX-License-Identifier: GPL-2.0
//! What the state of the running kernel requires.

use crate::Error;
use std::fs;
use std::path::Path;

/// Where the running kernel lists what the next one has to understand of the state that it would
/// hand over now. It is empty while nothing is preserved, and does not exist in a kernel without
/// `CONFIG_IOMMU_LIVEUPDATE`.
pub const REQUIRED: &str = "/sys/kernel/iommu_liveupdate/required";

/// Reads a list like [`REQUIRED`], one string a line.
///
/// # Errors
///
/// [`Error::Io`] if the file cannot be read.
pub fn required(path: impl AsRef<Path>) -> Result<Vec<String>, Error> {
    let path = path.as_ref();
    let text = fs::read_to_string(path).map_err(|source| Error::io(path, source))?;
    Ok(text.lines().map(str::to_owned).collect())
}

/// What is required and not offered, in the order of `required`; nothing if an image with this
/// `offer` can take over a state with these requirements.
pub fn missing(required: &[String], offer: &[String]) -> Vec<String> {
    let lacks = |feature: &&String| !offer.contains(feature);
    required.iter().filter(lacks).cloned().collect()
}

/// The parameters that have to be on in a kernel that takes a state over, and are not with this
/// command line, as in `kho=on`. A kernel may have one on by default; then its `offer` says so.
pub fn missing_parameters(command_line: &str, offer: &[String]) -> Vec<String> {
    let says = |name: &str| offer.iter().any(|string| string == name);
    liveupdate_state::offer::missing_parameters(command_line.as_bytes(), says)
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn a_list_is_read_line_by_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("required");
        fs::write(&path, "linux,a-v1\nlinux,b-v1\ntest\n").unwrap();
        assert_eq!(
            required(&path).unwrap(),
            strings("linux,a-v1 linux,b-v1 test")
        );
        fs::write(&path, "").unwrap();
        assert!(required(&path).unwrap().is_empty());
    }

    #[test]
    fn no_list_is_not_an_empty_list() {
        let dir = tempfile::tempdir().unwrap();
        let error = required(dir.path().join("required")).unwrap_err();
        assert!(matches!(error, Error::Io { .. }), "{error}");
    }

    #[test]
    fn what_is_missing() {
        let required = strings("a b c");
        assert_eq!(missing(&required, &strings("c b a d")), strings(""));
        assert_eq!(missing(&required, &strings("b ab")), strings("a c"));
        assert_eq!(missing(&required, &[]), required);
        assert_eq!(missing(&[], &[]), strings(""));
    }

    #[test]
    fn which_parameters_are_missing() {
        let both = strings("kho=on liveupdate=on");
        assert_eq!(missing_parameters("quiet", &[]), both);
        assert_eq!(missing_parameters("quiet", &both), strings(""));
        assert_eq!(
            missing_parameters("kho=on liveupdate=on kho=0", &[]),
            strings("kho=on")
        );
    }
}
