// SPDX-License-Identifier: GPL-2.0
//! Claims.

use serde::Serialize;

/// A claim with its evidence.
#[derive(Clone, Debug, Serialize)]
pub struct Property {
    /// The claim.
    pub claim: String,
    /// Whether it holds.
    pub holds: bool,
    /// What was observed.
    pub observed: String,
}

impl Property {
    /// A claim with what was observed.
    pub fn new(claim: impl Into<String>, holds: bool, observed: impl Into<String>) -> Self {
        Self {
            claim: claim.into(),
            holds,
            observed: observed.into(),
        }
    }

    /// The same claim about something that has a name.
    pub fn of(mut self, subject: &str) -> Self {
        self.claim = format!("{subject}: {}", self.claim);
        self
    }

    /// What was found is what was expected.
    pub fn equal(claim: impl Into<String>, found: &str, expected: &str) -> Self {
        Self::new(claim, found == expected, found)
    }

    /// Nothing was found.
    pub fn none(claim: impl Into<String>, found: &[String]) -> Self {
        let observed = match found.first() {
            Some(first) => format!("{}, the first: {first}", found.len()),
            None => "none".into(),
        };
        Self::new(claim, found.is_empty(), observed)
    }
}
