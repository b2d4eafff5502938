// SPDX-License-Identifier: GPL-2.0
//! The image behind the NVMe drive: filled with known content, compared after the run.

use anyhow::{Context, Result};
use devices::{block, plan};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// An image.
pub struct Drive {
    path: PathBuf,
    ios: u16,
    ios_per_second: u32,
}

impl Drive {
    /// Creates an image at `path` for a plan of at most `ios` commands, of which QEMU completes
    /// `ios_per_second`.
    pub fn create(path: PathBuf, ios: u16, ios_per_second: u32) -> Result<Self> {
        let what = || path.display().to_string();
        let file = File::create(&path).with_context(what)?;
        let mut out = BufWriter::new(&file);
        let blocks = plan::drive_blocks(ios);
        for lba in 0..blocks {
            out.write_all(&block::content(lba, 0)).with_context(what)?;
        }
        out.flush().with_context(what)?;
        drop(out);
        Ok(Self {
            path,
            ios,
            ios_per_second,
        })
    }

    /// The image.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// For QEMU's throttle.
    pub fn iops(&self) -> u32 {
        self.ios_per_second
    }

    /// Compares every block with what it must contain when the first `ios` commands have
    /// succeeded; returns the differences.
    pub fn verify(&self, ios: u16) -> Result<Vec<String>> {
        let what = || self.path.display().to_string();
        let file = File::open(&self.path).with_context(what)?;
        let mut wrong = Vec::new();
        for lba in 0..plan::drive_blocks(self.ios) {
            let mut found = [0; block::SIZE];
            file.read_exact_at(&mut found, lba * block::SIZE as u64)
                .with_context(what)?;
            let generation = plan::generation_after(lba, ios);
            wrong.extend(block::difference(&found, lba, generation));
        }
        Ok(wrong)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lost_stray_and_torn_writes_are_found() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("drive");
        let drive = Drive::create(path.clone(), 5, 100).unwrap();
        // Nothing written yet: the two planned writes are missing.
        assert_eq!(drive.verify(5).unwrap().len(), 2);

        let file = File::options().write(true).open(path).unwrap();
        let put = |lba: u64, content: &[u8]| {
            file.write_all_at(content, lba * block::SIZE as u64)
                .unwrap();
        };
        put(1, &block::content(1, 1));
        put(4, &block::content(4, 1));
        assert!(drive.verify(5).unwrap().is_empty());

        put(6, &block::content(6, 1));
        put(4, &block::content(4, 0)[..512]);
        assert_eq!(drive.verify(5).unwrap().len(), 2);
    }
}
