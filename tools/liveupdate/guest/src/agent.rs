// SPDX-License-Identifier: GPL-2.0
//! Carrying out the harness's requests.

use crate::checks::{self, TakenOver};
use crate::sysfs::Function;
use crate::vmm::Vmm;
use crate::{errno, kexec, program, tree};
use anyhow::{Context, Result};
use nix::sys::termios::{SetArg, cfmakeraw, tcgetattr, tcsetattr};
use nix::sys::utsname::uname;
use protocol::{Event, Hello, LineReader, NEXT_KERNEL, Reply, Request, write_line};
use std::fs::{File, OpenOptions};
use std::io::BufReader;
use std::time::Duration;

/// The harness is at the other end.
const CONTROL: &str = "/dev/ttyS1";

#[derive(Default)]
struct Agent {
    vmm: Option<Vmm>,
    taken_over: Option<TakenOver>,
}

/// Answers requests until the harness says to power off or goes away.
pub fn serve() -> Result<()> {
    let mut control = open_control()?;
    let mut requests = LineReader::new(BufReader::new(control.try_clone()?));
    write_line(&mut control, &Event::Hello(hello()?))?;
    let mut agent = Agent::default();
    while let Some(request) = requests.read::<Request>()? {
        if request == Request::PowerOff {
            break;
        }
        let event = match agent.carry_out(request, &mut control) {
            Ok(reply) => Event::Reply(reply),
            Err(error) => Event::Failed(errno::failure(&error)),
        };
        write_line(&mut control, &event)?;
    }
    Ok(())
}

fn open_control() -> Result<File> {
    let control = OpenOptions::new()
        .read(true)
        .write(true)
        .open(CONTROL)
        .context(CONTROL)?;
    let mut settings = tcgetattr(&control).context("tcgetattr")?;
    cfmakeraw(&mut settings);
    tcsetattr(&control, SetArg::TCSANOW, &settings).context("tcsetattr")?;
    Ok(control)
}

fn hello() -> Result<Hello> {
    let name = uname()?;
    Ok(Hello {
        release: name.release().to_string_lossy().into_owned(),
        version: name.version().to_string_lossy().into_owned(),
        cmdline: std::fs::read_to_string("/proc/cmdline")?.trim().into(),
    })
}

impl Agent {
    fn vmm(&mut self) -> Result<&mut Vmm> {
        self.vmm.as_mut().context("there is no VMM")
    }

    fn carry_out(&mut self, request: Request, control: &mut File) -> Result<Reply> {
        Ok(match request {
            Request::OpenVmm(config) => {
                let vmm = self.vmm.insert(Vmm::open(&config)?);
                Reply::Vmm(vmm.describe()?)
            }
            Request::StartDma => self.vmm()?.start_dma().map(|()| Reply::Done)?,
            Request::LoadKernel { cmdline } => Reply::Loaded(kexec::load(NEXT_KERNEL, &cmdline)?),
            Request::QueueIos => self.vmm()?.queue_ios().map(|()| Reply::Done)?,
            Request::Preserve { marked } => Reply::Preserved(self.vmm()?.preserve(&marked)?),
            Request::Cancel => self.vmm()?.cancel().map(|()| Reply::Done)?,
            Request::Kexec => kexec::start().map(|()| Reply::Done)?,
            Request::ReadTree { path } => Reply::Tree(tree::read(&path)?),
            Request::BindDriver { device, driver } => Reply::Outcome {
                errno: checks::bind_driver(device, &driver)?,
            },
            Request::Remove { device } => {
                Function::find(device)?.remove()?;
                Reply::Done
            }
            Request::ForeignBind { device } => Reply::Bound(checks::foreign_bind(device)?),
            Request::Retrieve => {
                let (taken_over, retrieved) = TakenOver::retrieve()?;
                self.taken_over = Some(taken_over);
                Reply::Retrieved(retrieved)
            }
            Request::VerifyReads { ios } => {
                let taken_over = self.taken_over.as_ref().context("nothing was retrieved")?;
                Reply::Reads(taken_over.verify_reads(ios)?)
            }
            Request::Run { argv, timeout_s } => {
                let timeout = Duration::from_secs(timeout_s);
                let code = program::run(&argv, timeout, |line| {
                    Ok(write_line(control, &Event::Output { line })?)
                })?;
                Reply::Exited { code }
            }
            Request::PowerOff => Reply::Done,
        })
    }
}
