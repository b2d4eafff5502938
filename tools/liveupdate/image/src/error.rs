// SPDX-License-Identifier: GPL-2.0
//! What goes wrong.

use liveupdate_state::image;
use std::io;
use std::path::{Path, PathBuf};

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file cannot be read.
    #[error("{}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file is no image of a kernel for x86, or a damaged one.
    #[error("{}", path.display())]
    Image {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: image::Error,
    },
}

impl Error {
    pub(crate) fn io(path: &Path, source: io::Error) -> Self {
        let path = path.into();
        Self::Io { path, source }
    }

    pub(crate) fn of(path: &Path, reason: Reason) -> Self {
        match reason {
            Reason::Io(source) => Self::io(path, source),
            Reason::Image(source) => Self::Image {
                path: path.into(),
                source,
            },
        }
    }
}

/// The same of a file that has no name.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Reason {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Image(#[from] image::Error),
}
