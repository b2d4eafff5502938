// SPDX-License-Identifier: GPL-2.0

//! What a reader of a state may have to understand beyond its version.

use core::fmt;

/// The names of all features that this source knows, whether or not a kernel built from it supports
/// them. The position of a name is its bit in [`Features`].
///
/// They are an ABI between kernels, see `include/linux/kho/abi/iommu.h`.
pub const FEATURES: &[&str] = &["test"];

// The upper half of the bits of an offer is for what is not a feature.
const _: () = assert!(FEATURES.len() <= 32);

/// A set of features.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Features(u64);

impl Features {
    /// No feature.
    pub const NONE: Self = Self(0);
    /// Changes nothing in the state, and exists to test what happens with one that does.
    pub const TEST: Self = Self(1 << 0);

    /// Those that a kernel built from this source can read.
    pub const SUPPORTED: Self = if cfg!(CONFIG_IOMMU_LIVEUPDATE_TEST_FEATURE) {
        Self::TEST
    } else {
        Self::NONE
    };

    /// Returns the feature that is called `name`.
    pub fn named(name: &str) -> Option<Self> {
        let bit = FEATURES.iter().position(|&feature| feature == name)?;

        1u64.checked_shl(u32::try_from(bit).ok()?).map(Self)
    }

    /// The features as bits, in the order of [`FEATURES`].
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// Whether this is the empty set.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether all features of `other` are in this set.
    pub const fn contains(self, other: Self) -> bool {
        other.0 & !self.0 == 0
    }

    /// The features that are in one of the sets.
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The features of this set that are not in `other`.
    pub const fn difference(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// The names of the features.
    pub fn names(self) -> impl Iterator<Item = &'static str> + Clone {
        (0..)
            .zip(FEATURES)
            .filter(move |(bit, _)| 1u64.checked_shl(*bit).is_some_and(|b| self.0 & b != 0))
            .map(|(_, name)| *name)
    }
}

/// Writes `names` with commas between them.
pub(crate) fn write_list<'a>(
    f: &mut fmt::Formatter<'_>,
    names: impl Iterator<Item = &'a str>,
) -> fmt::Result {
    for (index, name) in names.enumerate() {
        let separator = if index == 0 { "" } else { ", " };

        write!(f, "{separator}{name}")?;
    }
    Ok(())
}

/// The names with commas between them.
impl fmt::Display for Features {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_list(f, self.names())
    }
}
