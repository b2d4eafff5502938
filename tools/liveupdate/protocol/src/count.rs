// SPDX-License-Identifier: GPL-2.0
//! What the harness and its plugin in QEMU tell each other: one file each way, as JSON.

use serde::{Deserialize, Serialize};

/// What the plugin is to count.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct CountConfig {
    /// Where the plugin writes its [`Counts`] when QEMU ends.
    pub output: String,
    /// Address and name of every function, for profiles.
    pub functions: Vec<(u64, String)>,
    /// Names of the functions whose calls are counted.
    pub measured: Vec<String>,
    /// Addresses behind all calls that may be calls of these.
    pub returns: Vec<u64>,
    /// The function in which a kernel starts. No call goes on beyond it.
    pub start: String,
}

/// What it has counted.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Counts {
    /// Instructions in all.
    pub instructions: u64,
    /// Calls of measured functions in the order in which they began.
    pub calls: Vec<Call>,
    /// Instructions that were executed during calls of measured functions.
    pub profile: Vec<ProfileEntry>,
}

/// A call of a measured function.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Call {
    /// The function.
    pub function: String,
    /// How many kernels have started before.
    pub kernel: u32,
    /// Instructions since QEMU started.
    pub start: u64,
    /// Instructions until it returned, or until it could not any more.
    pub instructions: u64,
    /// How many calls of measured functions it is in.
    pub depth: u32,
    /// How it was entered and left.
    pub entry: Entry,
    /// Whether it has returned.
    pub returned: bool,
}

/// How a function was entered.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Entry {
    /// By a call instruction: it is known where it returns to.
    Call,
    /// Not by a call that [`CountConfig::returns`] knows: where it returns to is not known.
    Jump,
}

/// What a function took in calls of a measured one.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct ProfileEntry {
    /// The measured function.
    pub within: String,
    /// How many kernels have started before.
    pub kernel: u32,
    /// The function that was executed, itself without what it calls.
    pub function: String,
    /// Instructions.
    pub instructions: u64,
}
