// SPDX-License-Identifier: GPL-2.0
//! Carrying out the harness's requests.

use crate::bench::Bench;
use crate::free_memory::FreeMemory;
use crate::hog::Hog;
use crate::memory::GuestMemory;
use crate::sysfs::Function;
use crate::vmm::Vmm;
use crate::way_back::WayBack;
use crate::{checks, child, damage, errno, kexec, nvme, page_tables, program, reaper, tree};
use anyhow::{Context, Result};
use devices::layout;
use nix::sys::termios::{SetArg, cfmakeraw, tcgetattr, tcsetattr};
use nix::sys::utsname::uname;
use protocol::{
    Back, Event, Hello, LineReader, Memory, NEXT_KERNEL, Preserved, Reply, Request, SESSION_NAME,
    VmmConfig, VmmMemory, write_line,
};
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::BufReader;
use std::time::Duration;

/// The harness is at the other end.
const CONTROL: &str = "/dev/ttyS1";
/// The number of processors in the kernel's configuration, minus one.
const KERNEL_MAX: &str = "/sys/devices/system/cpu/kernel_max";

/// A VMM.
#[derive(Default)]
struct Slot {
    config: Option<VmmConfig>,
    /// Its memory, until it is opened.
    memory: Option<GuestMemory>,
    vmm: Option<Vmm>,
    way_back: Option<WayBack>,
}

struct Agent {
    /// VMMs by the names of their sessions.
    slots: BTreeMap<String, Slot>,
    /// The session of the VMM that requests are about.
    session: String,
    /// Memory of VMMs that are gone. The harness still watches it, so it must not be used for
    /// anything else.
    watched: Vec<GuestMemory>,
    /// The same of VMMs that were other processes.
    orphaned: Vec<File>,
    hog: Option<Hog>,
    /// Memory that nothing else is to use.
    taken: Option<FreeMemory>,
    bench: Option<Bench>,
}

/// Answers requests until the harness says to power off or goes away.
pub fn serve() -> Result<()> {
    let mut control = open_control()?;
    let mut requests = LineReader::new(BufReader::new(control.try_clone()?));
    write_line(&mut control, &Event::Hello(hello()?))?;
    let mut agent = Agent::new();
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
    fn new() -> Self {
        Self {
            slots: BTreeMap::new(),
            session: SESSION_NAME.into(),
            watched: Vec::new(),
            orphaned: Vec::new(),
            hog: None,
            taken: None,
            bench: None,
        }
    }

    fn slot(&mut self) -> &mut Slot {
        self.slots.entry(self.session.clone()).or_default()
    }

    fn vmm(&mut self) -> Result<&mut Vmm> {
        self.slot().vmm.as_mut().context("there is no VMM")
    }

    fn allocate(&mut self, memories: &[Memory]) -> Result<()> {
        let sizes: Vec<_> = memories.iter().map(|memory| memory.bytes).collect();
        for (memory, created) in memories.iter().zip(GuestMemory::create(&sizes)?) {
            let slot = self.slots.entry(memory.session.clone()).or_default();
            slot.memory = Some(created);
        }
        Ok(())
    }

    fn open(&mut self, config: VmmConfig) -> Result<VmmMemory> {
        let session = self.session.clone();
        let slot = self.slot();
        slot.way_back = None;
        let memory = slot.vmm.take().and_then(Vmm::close).or(slot.memory.take());
        let memory = match memory {
            Some(memory) => memory,
            None => (GuestMemory::create(&[layout::SIZE])?.pop()).context("no memory")?,
        };
        let vmm = Vmm::open(&session, memory, &config)?;
        let pages = vmm.memory()?.physical_pages()?;
        (slot.vmm, slot.config) = (Some(vmm), Some(config));
        Ok(VmmMemory { pages })
    }

    fn carry_out(&mut self, request: Request, control: &mut File) -> Result<Reply> {
        Ok(match request {
            Request::TurnTo { session } => {
                self.session = session;
                Reply::Done
            }
            Request::AllocateMemory { memories } => {
                self.allocate(&memories).map(|()| Reply::Done)?
            }
            Request::OpenVmm(config) => Reply::Vmm(self.open(config)?),
            Request::StartDma => {
                let slot = self.slot();
                let config = slot.config.as_ref().context("there is no VMM")?;
                let vmm = slot.vmm.as_ref().context("there is no VMM")?;
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
                let session = self.session.clone();
                let slot = self.slot();
                let vmm = slot.vmm.get_or_insert_with(|| Vmm::new(&session));
                let way_back = slot.way_back.get_or_insert_with(|| WayBack::new(devices));
                Reply::Back(way_back.go_on(vmm, to)?)
            }
            Request::ComeBackAndDie { devices, to } => {
                let (back, memory) = child::come_back_and_die(&devices, to)?;
                self.orphaned.extend(memory);
                Reply::Back(back)
            }
            Request::RetrieveFunctions { devices } => Reply::Back(Back {
                functions: self.vmm()?.retrieve_functions(&devices)?,
                ..Back::default()
            }),
            Request::TryFinish => Reply::Outcome {
                errno: self.vmm()?.try_finish()?,
            },
            Request::CloseVmm => {
                let slot = self.slot();
                slot.way_back = None;
                let vmm = slot.vmm.take().context("there is no VMM")?;
                self.watched.extend(vmm.close());
                Reply::Done
            }
            Request::Reap { devices } => {
                let mut vmm = Vmm::new(&self.session);
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
            Request::TakeMemory { left, most } => {
                let taken = self.taken.insert(FreeMemory::take(left, most)?);
                let pages = taken.physical_pages()?;
                Reply::Vmm(VmmMemory { pages })
            }
            Request::FindMemory => {
                let taken = self.taken.as_ref().context("no memory was taken")?;
                let pages = taken.physical_pages()?;
                Reply::Vmm(VmmMemory { pages })
            }
            Request::Damage { writes } => damage::set(&writes).map(|()| Reply::Done)?,
            Request::Run { argv, timeout_s } => {
                let timeout = Duration::from_secs(timeout_s);
                let code = program::run(&argv, timeout, |line| {
                    Ok(write_line(control, &Event::Output { line })?)
                })?;
                Reply::Exited { code }
            }
            Request::Bench { step } => {
                let bench = self.bench.get_or_insert_default();
                bench.step(step).map(|()| Reply::Done)?
            }
            Request::PowerOff => Reply::Done,
        })
    }
}
