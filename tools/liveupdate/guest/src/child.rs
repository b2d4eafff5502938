// SPDX-License-Identifier: GPL-2.0
//! A VMM in a process of its own, which dies on its way back.

use crate::vmm::Vmm;
use crate::way_back::WayBack;
use anyhow::{Context, Result, ensure};
use protocol::{Back, Device, LineReader, SESSION_NAME, Stage, write_line};
use std::fs::{self, File};
use std::io::{BufReader, stdout};
use std::process::{Command, Stdio};
use std::thread::park;

/// First argument of the process.
const MODE: &str = "come-back";
/// How procfs shows a memfd.
const MEMFD: &str = "/memfd:";

/// Starts the process, waits until it has come to the end of `to` or was stopped, and kills it.
/// Returns its memory too, if it had some.
pub fn come_back_and_die(devices: &[Device], to: Stage) -> Result<(Back, Option<File>)> {
    let mut child = Command::new("/proc/self/exe")
        .arg(MODE)
        .arg(serde_json::to_string(devices)?)
        .arg(serde_json::to_string(&to)?)
        .stdout(Stdio::piped())
        .spawn()
        .context("starting the VMM")?;
    let output = child.stdout.take().context("no output")?;
    let back = LineReader::new(BufReader::new(output)).read::<Back>();
    let memory = memfd_of(child.id());
    child.kill()?;
    child.wait()?;
    Ok((back?.context("the VMM died too early")?, memory?))
}

/// Opens the memfd that a process has.
fn memfd_of(process: u32) -> Result<Option<File>> {
    let directory = format!("/proc/{process}/fd");
    for entry in fs::read_dir(&directory).context(directory)? {
        let path = entry?.path();
        if fs::read_link(&path)?.to_string_lossy().starts_with(MEMFD) {
            return Ok(Some(File::open(path)?));
        }
    }
    Ok(None)
}

/// What the process does, `None` if these are not its arguments.
pub fn run(mut arguments: impl Iterator<Item = String>) -> Option<Result<()>> {
    (arguments.next()? == MODE).then(|| come_back(arguments))
}

fn come_back(mut arguments: impl Iterator<Item = String>) -> Result<()> {
    let mut argument = || arguments.next().context("an argument is missing");
    let devices: Vec<Device> = serde_json::from_str(&argument()?)?;
    let to = serde_json::from_str(&argument()?)?;
    ensure!(arguments.next().is_none(), "too many arguments");
    let mut vmm = Vmm::new(SESSION_NAME);
    let back = WayBack::new(devices).go_on(&mut vmm, to)?;
    write_line(&mut stdout().lock(), &back)?;
    loop {
        park();
    }
}
