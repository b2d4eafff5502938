// SPDX-License-Identifier: GPL-2.0
//! The machine's only file system.

use crate::cli::Options;
use anyhow::{Context, Result, ensure};
use cpio::newc;
use protocol::NEXT_KERNEL;
use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

const DIRECTORY: u32 = 0o040_755;
const REGULAR: u32 = 0o100_000;
const CHARACTER_DEVICE: u32 = 0o020_600;

/// Writes an archive (cpio, "newc") with everything that the machine needs.
struct Archive<W> {
    out: Option<W>,
    inode: u32,
    directories: BTreeSet<String>,
}

impl<W: Write> Archive<W> {
    fn new(out: W) -> Self {
        Self {
            out: Some(out),
            inode: 0,
            directories: BTreeSet::new(),
        }
    }

    fn entry(&mut self, path: &str, mode: u32, device: (u32, u32), content: &[u8]) -> Result<()> {
        self.inode += 1;
        let out = self.out.take().context("the archive is closed")?;
        let builder = newc::Builder::new(path)
            .ino(self.inode)
            .nlink(1)
            .mode(mode)
            .rdev_major(device.0)
            .rdev_minor(device.1);
        let mut entry = builder.write(out, u32::try_from(content.len())?);
        entry.write_all(content)?;
        self.out = Some(entry.finish()?);
        Ok(())
    }

    fn parents(&mut self, path: &str) -> Result<()> {
        for (at, _) in path.match_indices('/') {
            self.directory(&path[..at])?;
        }
        Ok(())
    }

    fn directory(&mut self, path: &str) -> Result<()> {
        self.parents(path)?;
        if self.directories.insert(path.into()) {
            self.entry(path, DIRECTORY, (0, 0), &[])?;
        }
        Ok(())
    }

    fn file(&mut self, host: &Path, path: &str) -> Result<()> {
        let what = || host.display().to_string();
        let mode = fs::metadata(host).with_context(what)?.permissions().mode();
        let content = fs::read(host).with_context(what)?;
        self.parents(path)?;
        self.entry(path, REGULAR | (mode & 0o777), (0, 0), &content)
    }

    fn tree(&mut self, host: &Path, path: &str) -> Result<()> {
        let what = || host.display().to_string();
        if !fs::metadata(host).with_context(what)?.is_dir() {
            return self.file(host, path);
        }
        self.directory(path)?;
        let mut names: Vec<_> = fs::read_dir(host)
            .with_context(what)?
            .map(|entry| Ok(entry?.file_name()))
            .collect::<Result<_>>()?;
        names.sort();
        for name in names {
            let name = name.to_str().context("file name is not UTF-8")?;
            self.tree(&host.join(name), &format!("{path}/{name}"))?;
        }
        Ok(())
    }

    fn finish(mut self) -> Result<W> {
        let out = self.out.take().context("the archive is closed")?;
        Ok(newc::trailer(out)?)
    }
}

/// Builds the initramfs at `path`.
pub fn build(options: &Options, path: &Path) -> Result<()> {
    check_static(&options.guest)?;
    let out = fs::File::create(path).with_context(|| path.display().to_string())?;
    let mut archive = Archive::new(std::io::BufWriter::new(out));
    for directory in ["bin", "dev", "proc", "sys", "tmp"] {
        archive.directory(directory)?;
    }
    // Standard input and output of init, which are opened before devtmpfs is there.
    archive.entry("dev/console", CHARACTER_DEVICE, (5, 1), &[])?;
    archive.file(&options.guest, "init")?;
    archive.file(&options.busybox, "bin/busybox")?;
    archive.file(options.next_kernel(), NEXT_KERNEL.trim_start_matches('/'))?;
    for addition in &options.additions {
        archive.tree(&addition.host, &addition.guest)?;
    }
    archive.finish()?.flush()?;
    Ok(())
}

/// There is no dynamic linker in the machine; without this check the kernel would say "No working
/// init found".
fn check_static(program: &Path) -> Result<()> {
    const INTERPRETER: &[u8] = b"/ld-linux";
    let content = fs::read(program).with_context(|| program.display().to_string())?;
    ensure!(
        !content
            .windows(INTERPRETER.len())
            .any(|window| window == INTERPRETER),
        "{} is not statically linked",
        program.display()
    );
    Ok(())
}
