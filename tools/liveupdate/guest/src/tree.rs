// SPDX-License-Identifier: GPL-2.0
//! Files of sysfs and debugfs.

use anyhow::{Context, Result};
use protocol::{FileContent, Tree};
use std::fs;
use std::io::Write;
use std::path::Path;

/// Reads every file below `path`; nothing when it does not exist. What is not text is shown in
/// hexadecimal.
pub fn read(path: &str) -> Result<Tree> {
    let mut tree = Tree::default();
    if Path::new(path).exists() {
        collect(Path::new(path), &mut tree)?;
    }
    tree.files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(tree)
}

/// Writes `content` to an existing file.
///
/// # Errors
///
/// Carries the errno of opening or writing it.
pub fn write(path: &str, content: &str) -> Result<()> {
    let file = fs::OpenOptions::new().write(true).open(path);
    let written = file.and_then(|mut file| file.write_all(content.as_bytes()));
    written.with_context(|| format!("writing {content} to {path}"))
}

fn collect(path: &Path, tree: &mut Tree) -> Result<()> {
    let metadata = fs::symlink_metadata(path).with_context(|| path.display().to_string())?;
    if metadata.is_dir() {
        for entry in fs::read_dir(path).with_context(|| path.display().to_string())? {
            collect(&entry?.path(), tree)?;
        }
    } else if metadata.is_file() {
        let content = match fs::read(path) {
            Ok(bytes) => Ok(String::from_utf8(bytes).unwrap_or_else(|error| {
                let bytes = error.as_bytes();
                bytes.iter().map(|byte| format!("{byte:02x}")).collect()
            })),
            Err(error) => Err(error.to_string()),
        };
        tree.files.push(FileContent {
            path: path.display().to_string(),
            content,
        });
    }
    Ok(())
}
