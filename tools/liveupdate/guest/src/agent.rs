// SPDX-License-Identifier: GPL-2.0
//! Carrying out the harness's requests.

use crate::hog::Hog;
use crate::memory::GuestMemory;
use crate::sysfs::Function;
use crate::vmm::Vmm;
use crate::way_back::WayBack;
use crate::{checks, child, errno, kexec, nvme, page_tables, program, reaper, tree};
use anyhow::{Context, Result};
use nix::sys::termios::{SetArg, cfmakeraw, tcgetattr, tcsetattr};
use nix::sys::utsname::uname;
use protocol::{
    Event, Hello, LineReader, NEXT_KERNEL, Preserved, Reply, Request, VmmConfig, VmmMemory,
    write_line,
};
use std::fs::{File, OpenOptions};
use std::io::BufReader;
use std::time::Duration;

/// The harness is at the other end.
const CONTROL: &str = "/dev/ttyS1";
/// The number of processors in the kernel's configuration, minus one.
const KERNEL_MAX: &str = "/sys/devices/system/cpu/kernel_max";

#[derive(Default)]
struct Agent {
    config: Option<VmmConfig>,
    vmm: Option<Vmm>,
    way_back: Option<WayBack>,
    /// Memory of VMMs that are gone. The harness still watches it, so it must not be used for
    /// anything else.
    watched: Vec<GuestMemory>,
    /// The same of VMMs that were other processes.
    orphaned: Vec<File>,
    hog: Option<Hog>,
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
        text: kernel_text()?,
        kernel_max: std::fs::read_to_string(KERNEL_MAX)
            .context(KERNEL_MAX)?
            .trim()
            .parse()?,
    })
}

/// Address of the kernel's code, which is another one in each kernel.
fn kernel_text() -> Result<u64> {
    const SYMBOLS: &str = "/proc/kallsyms";
    let symbols = std::fs::read_to_string(SYMBOLS).context(SYMBOLS)?;
    let mut lines = symbols.lines();
    let line = lines.find(|line| line.ends_with(" _text"));
    let (address, _) = line
        .and_then(|line| line.split_once(' '))
        .context("no _text")?;
    Ok(u64::from_str_radix(address, 16)?)
}

impl Agent {
    fn vmm(&mut self) -> Result<&mut Vmm> {
        self.vmm.as_mut().context("there is no VMM")
    }

    fn carry_out(&mut self, request: Request, control: &mut File) -> Result<Reply> {
        Ok(match request {
            Request::OpenVmm(config) => {
                let vmm = Vmm::open(&config)?;
                let pages = vmm.memory()?.physical_pages()?;
                (self.vmm, self.config) = (Some(vmm), Some(config));
                Reply::Vmm(VmmMemory { pages })
            }
            Request::StartDma => {
                let config = self.config.as_ref().context("there is no VMM")?;
                let vmm = self.vmm.as_ref().context("there is no VMM")?;
                vmm.start_dma(config).map(|()| Reply::Done)?
            }
            Request::LoadKernel { cmdline } => Reply::Loaded(kexec::load(NEXT_KERNEL, &cmdline)?),
            Request::QueueIos { outstanding } => Reply::Queued {
                total: self.vmm()?.queue_ios(outstanding)?,
            },
            Request::Preserve { marked } => Reply::Preserved(Preserved {
                steps: self.vmm()?.preserve(&marked)?,
            }),
            Request::Cancel => self.vmm()?.cancel().map(|()| Reply::Done)?,
            Request::Kexec => Reply::Outcome {
                errno: errno::outcome(kexec::start())?,
            },
            Request::CheckImage { cmdline } => {
                Reply::Preflight(kexec::preflight(NEXT_KERNEL, &cmdline)?)
            }
            Request::WriteFile { path, content } => Reply::Outcome {
                errno: errno::outcome(tree::write(&path, &content))?,
            },
            Request::ReadTree { path } => Reply::Tree(tree::read(&path)?),
            Request::BindDriver { device, driver } => Reply::Outcome {
                errno: checks::bind_driver(device, &driver)?,
            },
            Request::Remove { device } => {
                Function::find(device)?.remove()?;
                Reply::Done
            }
            Request::IsPresent { device } => Reply::Present {
                present: Function::lookup(device)?.is_some(),
            },
            Request::OpenFunction { device } => Reply::Opened(checks::open_function(device)?),
            Request::ComeBack { devices, to } => {
                let vmm = self.vmm.get_or_insert_default();
                let way_back = self.way_back.get_or_insert_with(|| WayBack::new(devices));
                Reply::Back(way_back.go_on(vmm, to)?)
            }
            Request::ComeBackAndDie { devices, to } => {
                let (back, memory) = child::come_back_and_die(&devices, to)?;
                self.orphaned.extend(memory);
                Reply::Back(back)
            }
            Request::TryFinish => Reply::Outcome {
                errno: self.vmm()?.try_finish()?,
            },
            Request::CloseVmm => {
                self.way_back = None;
                let vmm = self.vmm.take().context("there is no VMM")?;
                self.watched.extend(vmm.close());
                Reply::Done
            }
            Request::Reap { devices } => {
                let mut vmm = Vmm::default();
                let reaped = reaper::reap(&mut vmm, &devices);
                self.watched.extend(vmm.close());
                Reply::Outcome { errno: reaped? }
            }
            Request::GiveUp { device } => Reply::Outcome {
                errno: errno::outcome(self.vmm()?.give_up(device))?,
            },
            Request::Swap { count } => self.vmm()?.swap_often(count).map(|()| Reply::Done)?,
            Request::PunchHole => Reply::Outcome {
                errno: checks::punch_hole(self.vmm()?.memory()?)?,
            },
            Request::VerifyReads => Reply::Reads(nvme::consume(self.vmm()?.memory()?)),
            Request::ReadStatistics => Reply::Statistics(page_tables::statistics()?),
            Request::FillMemory => Reply::Filled {
                bytes: self.hog.insert(Hog::fill()?).bytes(),
            },
            Request::CheckMemory => Reply::Filled {
                bytes: self.hog.as_ref().context("nothing is filled")?.unchanged(),
            },
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
