// SPDX-License-Identifier: GPL-2.0
//! Which kernel follows which, and what must happen.

use super::claim::claim;
use crate::cli::{Options, TestOptions};
use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// The feature that [`Kernel::Newer`] understands.
pub const FEATURE: &str = "test";

/// A kernel that takes part.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kernel {
    /// The one that is tested everywhere else.
    This,
    /// A later one, with [`FEATURE`].
    Newer,
    /// One without the patches.
    Unpatched,
    /// [`Kernel::This`], in an image that offers what the one of [`Kernel::Newer`] does.
    Liar,
}

impl Kernel {
    /// For people.
    pub fn name(self) -> &'static str {
        match self {
            Self::This | Self::Liar => "this version",
            Self::Newer => "a newer version",
            Self::Unpatched => "Linux 7.3 without this",
        }
    }
}

/// What makes a refused update work.
#[derive(Clone, Copy, Debug)]
pub enum Remedy {
    /// The same session goes over with another command line.
    CommandLine,
    /// A session without the feature does.
    WithoutFeature,
    /// None, but what was preserved can be had back.
    Cancel,
}

/// What must happen.
#[derive(Clone, Copy, Debug)]
pub enum Expected {
    /// The device goes on, and the VMM comes back.
    GoesOn,
    /// The old kernel refuses, and the device goes on there.
    Refused(Remedy),
    /// The old kernel stops the device.
    Stopped,
    /// The new kernel blocks the device.
    Blocked,
}

/// An update from one kernel to another.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Names the folder of the logs.
    pub name: &'static str,
    /// The kernel that is replaced.
    pub old: Kernel,
    /// The kernel that follows.
    pub next: Kernel,
    /// Whether the old one uses [`FEATURE`].
    pub feature: bool,
    /// More words for the next one's command line.
    pub words: &'static str,
    /// What must happen.
    pub expected: Expected,
}

impl Row {
    const fn new(name: &'static str, old: Kernel, next: Kernel, expected: Expected) -> Self {
        Self {
            name,
            old,
            next,
            feature: false,
            words: "",
            expected,
        }
    }

    const fn with_feature(self) -> Self {
        Self {
            feature: true,
            ..self
        }
    }

    const fn with_words(self, words: &'static str) -> Self {
        Self { words, ..self }
    }

    /// The machine; what is made for it is in `files`.
    pub fn machine(&self, options: &TestOptions, files: &TempDir) -> Result<Options> {
        let mut common = options.common.clone();
        common.kernel = image(options, self.old, files)?;
        common.next_kernel = Some(image(options, self.next, files)?);
        Ok(common)
    }

    /// What is special about it.
    pub fn besides(&self) -> String {
        let mut besides = Vec::new();
        if !self.words.is_empty() {
            besides.push(format!("next command line has `{}`", self.words));
        }
        match self.expected {
            Expected::Stopped => besides.push("`on_incompatible` is `stop`".into()),
            Expected::Blocked => besides.push(format!("image falsely offers `{FEATURE}`")),
            Expected::GoesOn | Expected::Refused(_) => {}
        }
        besides.join(", ")
    }
}

fn image(options: &TestOptions, kernel: Kernel, files: &TempDir) -> Result<PathBuf> {
    let this = &options.common.kernel;
    Ok(match kernel {
        Kernel::This => this.clone(),
        Kernel::Newer => options.newer_kernel()?.into(),
        Kernel::Unpatched => options.unpatched_kernel()?.into(),
        Kernel::Liar => {
            let path = files.path().join("liar");
            let what = |path: &Path| path.display().to_string();
            let mut image = fs::read(this).with_context(|| what(this))?;
            let strings = liveupdate_image::offer(options.newer_kernel()?)?;
            claim(&mut image, &strings)?;
            fs::write(&path, image).with_context(|| what(&path))?;
            path
        }
    })
}

use Expected::{Blocked, GoesOn, Refused, Stopped};
use Kernel::{Liar, Newer, This, Unpatched};

/// All of them. Those that go on are the controls of those that are refused or blocked.
pub const ROWS: [Row; 11] = [
    Row::new("versions-same", This, This, GoesOn),
    Row::new("versions-newer", This, Newer, GoesOn),
    Row::new("versions-older", Newer, This, GoesOn),
    Row::new("versions-newer-feature", Newer, Newer, GoesOn).with_feature(),
    Row::new(
        "versions-older-feature",
        Newer,
        This,
        Refused(Remedy::WithoutFeature),
    )
    .with_feature(),
    Row::new("versions-older-feature-stopped", Newer, This, Stopped).with_feature(),
    Row::new("versions-older-feature-blocked", Newer, Liar, Blocked).with_feature(),
    Row::new(
        "versions-unpatched",
        This,
        Unpatched,
        Refused(Remedy::Cancel),
    ),
    Row::new("versions-unpatched-stopped", This, Unpatched, Stopped),
    Row::new("versions-kho-off", This, This, Refused(Remedy::CommandLine)).with_words("kho=off"),
    Row::new(
        "versions-liveupdate-off",
        This,
        This,
        Refused(Remedy::CommandLine),
    )
    .with_words("liveupdate=off"),
];
