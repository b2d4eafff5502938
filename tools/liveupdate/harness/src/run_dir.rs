// SPDX-License-Identifier: GPL-2.0
//! One folder with everything that a run leaves behind.

use anyhow::{Context, Result};
use std::fs::{self, File};
use std::path::{Path, PathBuf};

/// Logs of one run.
#[derive(Clone, Debug)]
pub struct RunDir(PathBuf);

impl RunDir {
    /// Creates `out/logs/name`, empty.
    pub fn create(out: &Path, name: &str) -> Result<Self> {
        let path = out.join("logs").join(name);
        if path.exists() {
            fs::remove_dir_all(&path).with_context(|| path.display().to_string())?;
        }
        fs::create_dir_all(&path).with_context(|| path.display().to_string())?;
        let path = path.canonicalize()?;
        Ok(Self(path))
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Path of a file in it.
    pub fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Creates a file in it.
    pub fn create_file(&self, name: &str) -> Result<File> {
        let path = self.file(name);
        File::create(&path).with_context(|| path.display().to_string())
    }
}
