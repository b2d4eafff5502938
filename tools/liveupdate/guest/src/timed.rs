// SPDX-License-Identifier: GPL-2.0
//! How long something took.

use anyhow::{Context, Result};
use protocol::Step;
use std::time::Instant;

/// Does `action` and appends its duration to `steps`.
pub fn step<T>(steps: &mut Vec<Step>, name: &str, action: impl FnOnce() -> Result<T>) -> Result<T> {
    let start = Instant::now();
    let result = action().with_context(|| name.to_owned())?;
    steps.push(Step {
        name: name.into(),
        ns: u64::try_from(start.elapsed().as_nanos())?,
    });
    Ok(result)
}
