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
}

impl Kernel {
    /// For people.
    pub fn name(self) -> &'static str {
        match self {
            Self::This => "this version",
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
    /// Nobody stops the device, and translation is switched off.
    Astray,
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
    /// What else the image of the next one claims to understand than it does.
    pub lie: Option<&'static str>,
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
            lie: None,
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

    /// Its image offers what that of [`Kernel::Newer`] does.
    const fn with_lie(self, lie: &'static str) -> Self {
        Self {
            lie: Some(lie),
            ..self
        }
    }

    const fn with_words(self, words: &'static str) -> Self {
        Self { words, ..self }
    }

    /// The machine; what is made for it is in `files`.
    pub fn machine(&self, options: &TestOptions, files: &TempDir) -> Result<Options> {
        let mut common = options.common.clone();
        common.kernel = image(options, self.old)?;
        let next = image(options, self.next)?;
        common.next_kernel = Some(match self.lie {
            Some(_) => liar(options, &next, files)?,
            None => next,
        });
        Ok(common)
    }

    /// What is special about it.
    pub fn besides(&self) -> String {
        let mut besides = Vec::new();
        if !self.words.is_empty() {
            besides.push(format!("next command line has `{}`", self.words));
        }
        if let Expected::Stopped = self.expected {
            besides.push("`on_incompatible` is `stop`".into());
        }
        if let Some(lie) = self.lie {
            besides.push(format!("next image falsely offers {lie}"));
        }
        besides.join(", ")
    }
}

fn image(options: &TestOptions, kernel: Kernel) -> Result<PathBuf> {
    Ok(match kernel {
        Kernel::This => options.common.kernel.clone(),
        Kernel::Newer => options.newer_kernel()?.into(),
        Kernel::Unpatched => options.unpatched_kernel()?.into(),
    })
}

/// A copy of `image` that offers what the one of [`Kernel::Newer`] does.
fn liar(options: &TestOptions, image: &Path, files: &TempDir) -> Result<PathBuf> {
    let path = files.path().join("liar");
    let what = |path: &Path| path.display().to_string();
    let mut content = fs::read(image).with_context(|| what(image))?;
    let strings = liveupdate_image::offer(options.newer_kernel()?)?;
    claim(&mut content, &strings)?;
    fs::write(&path, content).with_context(|| what(&path))?;
    Ok(path)
}

use Expected::{Astray, Blocked, GoesOn, Refused, Stopped};
use Kernel::{Newer, This, Unpatched};

/// All of them. Those that go on are the controls of those that are refused or blocked, and what goes
/// astray that of what is stopped.
pub const ROWS: [Row; 12] = [
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
    Row::new("versions-older-feature-blocked", Newer, This, Blocked)
        .with_feature()
        .with_lie("`test`"),
    Row::new(
        "versions-unpatched",
        This,
        Unpatched,
        Refused(Remedy::Cancel),
    ),
    Row::new("versions-unpatched-stopped", This, Unpatched, Stopped),
    Row::new("versions-unpatched-astray", This, Unpatched, Astray).with_lie("all of it"),
    Row::new("versions-kho-off", This, This, Refused(Remedy::CommandLine)).with_words("kho=off"),
    Row::new(
        "versions-liveupdate-off",
        This,
        This,
        Refused(Remedy::CommandLine),
    )
    .with_words("liveupdate=off"),
];
