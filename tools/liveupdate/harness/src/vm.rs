// SPDX-License-Identifier: GPL-2.0
//! A running machine.

use crate::cli::Options;
use crate::clock::Clock;
use crate::console::{Console, Line};
use crate::control::{Control, Gone};
use crate::drive::Drive;
use crate::initramfs;
use crate::iommu_trace::IommuTrace;
use crate::qemu::{self, CMDLINE, Qemu, Resources, Topology};
use crate::ram::GuestRam;
use crate::run_dir::RunDir;
use anyhow::{Context, Result, anyhow, bail};
use devices::plan::COMMANDS;
use protocol::{Hello, Preflight, Reply, Request};
use qapi::{Qmp, Stream, qmp};
use std::ffi::OsString;
use std::io::BufReader;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long QEMU may take to open its sockets.
const CONNECT: Duration = Duration::from_secs(20);
/// How long an ordinary request may take.
const REQUEST: Duration = Duration::from_secs(60);
/// How long a machine may take to switch itself off.
const POWER_OFF: Duration = Duration::from_secs(20);

type Monitor = Qmp<Stream<BufReader<UnixStream>, UnixStream>>;

/// A machine with a kernel that answers.
pub struct Vm {
    // First, so that QEMU has ended before its files go.
    qemu: Qemu,
    /// Requests to the guest.
    control: Control,
    monitor: Monitor,
    console: Console,
    /// The guest's RAM.
    pub ram: Arc<GuestRam>,
    drive: Drive,
    /// Time since the start.
    pub clock: Clock,
    /// Logs.
    pub dir: RunDir,
    timeout: Duration,
    cmdline: String,
    /// The most NVMe commands that a VMM has queued.
    queued: u16,
    _files: TempDir,
}

/// The parts that differ from run to run.
#[derive(Clone, Copy, Debug)]
pub struct Machine {
    /// Which functions there are.
    pub topology: Topology,
    /// Most NVMe commands that are queued.
    pub ios: u16,
    /// Commands that the drive completes in a second.
    pub ios_per_second: u32,
    /// Microseconds between two transfers of the ES1370.
    pub audio_period: u32,
}

impl Machine {
    /// For runs in which the drive is busy all the time.
    pub const LOADED: Self = Self {
        topology: Topology::RootBus,
        ios: COMMANDS,
        ios_per_second: 50,
        audio_period: qemu::AUDIO_PERIOD,
    };

    /// For runs in which nobody uses the drive.
    pub const PLAIN: Self = Self {
        topology: Topology::RootBus,
        ios: 1,
        ios_per_second: 100,
        audio_period: qemu::AUDIO_PERIOD,
    };
}

/// The kernel command line that the options ask for.
pub fn cmdline(options: &Options) -> String {
    format!("{CMDLINE} {}", options.cmdline_extra)
        .trim_end()
        .into()
}

impl Vm {
    /// Starts the machine and waits for its agent.
    pub fn boot(options: &Options, name: &str, machine: &Machine) -> Result<(Self, Hello)> {
        let dir = RunDir::create(&options.out, name)?;
        Self::boot_with(options, &dir, machine, GuestRam::create()?, &[])
    }

    /// The same with other RAM and `more` arguments for QEMU.
    pub fn boot_with(
        options: &Options,
        dir: &RunDir,
        machine: &Machine,
        ram: GuestRam,
        more: &[OsString],
    ) -> Result<(Self, Hello)> {
        Self::start(options, dir, machine, ram, more)
            .with_context(|| format!("the logs are in {}", dir.path().display()))
    }

    fn start(
        options: &Options,
        dir: &RunDir,
        machine: &Machine,
        ram: GuestRam,
        more: &[OsString],
    ) -> Result<(Self, Hello)> {
        let files = tempfile::Builder::new()
            .prefix("liveupdate-vm-")
            .tempdir()?;
        let initramfs = files.path().join("initramfs");
        initramfs::build(options, &initramfs)?;
        let drive = Drive::create(
            files.path().join("drive"),
            machine.ios,
            machine.ios_per_second.div_ceil(options.slow_drive.get()),
        )?;
        let ram = Arc::new(ram);
        let cmdline = cmdline(options);
        let control = UnixListener::bind(files.path().join("control"))?;
        let monitor = UnixListener::bind(files.path().join("qmp"))?;
        let resources = Resources {
            initramfs: &initramfs,
            cmdline: &cmdline,
            ram: &ram,
            drive: &drive,
            topology: machine.topology,
            audio_period: machine.audio_period,
            more,
        };
        let clock = Clock::start();
        let mut qemu = Qemu::start(options, &resources, files.path(), dir)?;
        let console = Console::collect(qemu.stdout()?, dir.create_file("console.log")?, clock);
        let control = accept(&control, &mut qemu, dir)?;
        let monitor = accept(&monitor, &mut qemu, dir)?;
        let control = Control::new(control, dir.create_file("control.log")?, clock)?;
        let mut monitor = Qmp::new(Stream::new(BufReader::new(monitor.try_clone()?), monitor));
        monitor
            .handshake()
            .with_context(|| format!("QEMU's monitor: {}", qemu_log(dir)))?;
        let mut vm = Self {
            qemu,
            control,
            monitor,
            console,
            ram,
            drive,
            clock,
            dir: dir.clone(),
            timeout: Duration::from_secs(options.timeout),
            cmdline,
            queued: 0,
            _files: files,
        };
        let (_, hello) = vm.hello()?;
        Ok((vm, hello))
    }

    /// Waits for the agent of a new kernel.
    pub fn hello(&mut self) -> Result<(Duration, Hello)> {
        let hello = self.control.hello(self.timeout);
        if hello.is_err() {
            self.record_registers();
        }
        self.explain(hello, "waiting for the kernel's agent")
    }

    /// Writes down where the processors are, which says why a kernel does not come up. It is not
    /// known when QEMU has ended.
    fn record_registers(&mut self) {
        let registers = self.monitor.execute(&qmp::human_monitor_command {
            command_line: "info registers -a".into(),
            cpu_index: None,
        });
        if let Ok(text) = registers
            && let Err(error) = std::fs::write(self.dir.file("registers.log"), text)
        {
            eprintln!("liveupdate-vm: registers: {error}");
        }
    }

    /// Sends a request and waits for the answer.
    pub fn request(&mut self, request: &Request) -> Result<Reply> {
        self.request_within(request, REQUEST)
    }

    /// The same with a request that may take longer than others.
    pub fn request_within(&mut self, request: &Request, timeout: Duration) -> Result<Reply> {
        let reply = self.control.request(request, timeout, drop);
        self.explain(reply, &format!("{request:?}"))
    }

    /// The command line of the first kernel and `extra` words.
    fn next_cmdline(&self, extra: &str) -> String {
        format!("{} {extra}", self.cmdline).trim_end().into()
    }

    /// What `liveupdate-image` says about the next kernel with that command line.
    pub fn check_image(&mut self, extra: &str) -> Result<Preflight> {
        let cmdline = self.next_cmdline(extra);
        match self.request(&Request::CheckImage { cmdline })? {
            Reply::Preflight(preflight) => Ok(preflight),
            reply => bail!("unexpected {reply:?}"),
        }
    }

    /// Loads the next kernel with the command line of the first and `extra` words.
    pub fn load_kernel(&mut self, extra: &str) -> Result<()> {
        let cmdline = self.next_cmdline(extra);
        match self.request(&Request::LoadKernel { cmdline })? {
            Reply::Loaded(_) => Ok(()),
            reply => bail!("unexpected {reply:?}"),
        }
    }

    /// Sends a request that has nothing to answer.
    pub fn request_done(&mut self, request: &Request) -> Result<()> {
        match self.request(request)? {
            Reply::Done => Ok(()),
            reply => bail!("unexpected {reply:?}"),
        }
    }

    /// Queues NVMe commands until `outstanding` are.
    pub fn queue_ios(&mut self, outstanding: u16) -> Result<()> {
        match self.request(&Request::QueueIos { outstanding })? {
            Reply::Queued { total } => self.queued = self.queued.max(total),
            reply => bail!("unexpected {reply:?}"),
        }
        Ok(())
    }

    /// The most NVMe commands that a VMM has queued.
    pub fn queued(&self) -> u16 {
        self.queued
    }

    /// Sends a request that is answered by the name of an errno.
    pub fn outcome(&mut self, request: &Request) -> Result<String> {
        match self.request(request)? {
            Reply::Outcome { errno } => Ok(errno),
            reply => bail!("unexpected {reply:?}"),
        }
    }

    /// Takes a device of QEMU's off its bus, with the consent of the guest.
    pub fn unplug(&mut self, id: &str) -> Result<()> {
        let id = id.into();
        self.monitor
            .execute(&qmp::device_del { id })
            .context("QMP device_del")?;
        Ok(())
    }

    /// What QEMU saw of its IOMMU so far.
    pub fn iommu_trace(&self) -> Result<IommuTrace> {
        IommuTrace::read(&self.dir.file("iommu.trace"), self.clock, self.clock.now())
    }

    /// Runs a program and returns its output and its exit status.
    pub fn run_program(
        &mut self,
        argv: &[&str],
        timeout: Duration,
    ) -> Result<(Vec<String>, Option<i32>)> {
        let request = Request::Run {
            argv: argv.iter().map(|&word| word.into()).collect(),
            timeout_s: timeout.as_secs(),
        };
        let mut output = Vec::new();
        let reply = self
            .control
            .request(&request, timeout + REQUEST, |line| output.push(line));
        match self.explain(reply, argv.first().unwrap_or(&""))? {
            Reply::Exited { code } => Ok((output, code)),
            reply => bail!("unexpected {reply:?}"),
        }
    }

    /// Starts the loaded kernel.
    pub fn start_kexec(&mut self) -> Result<()> {
        self.control.send(&Request::Kexec)
    }

    /// Starts the loaded kernel and waits for its agent.
    pub fn kexec(&mut self) -> Result<Hello> {
        self.start_kexec()?;
        Ok(self.hello()?.1)
    }

    /// Waits until the kernel has printed a line with `pattern`.
    pub fn wait_for_line(&mut self, pattern: &str) -> Result<()> {
        let deadline = Instant::now() + self.timeout;
        while !self.console.contains(pattern) {
            if Instant::now() >= deadline {
                let error = Err(anyhow!("no line with {pattern:?} in the kernel log"));
                return self.explain(error, "waiting for the kernel log");
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// Stops the processors, does something to the RAM, and lets them go on.
    pub fn while_stopped(&mut self, action: impl FnOnce(&GuestRam) -> Result<()>) -> Result<()> {
        self.monitor.execute(&qmp::stop {}).context("QMP stop")?;
        let result = action(&self.ram);
        self.monitor.execute(&qmp::cont {}).context("QMP cont")?;
        result
    }

    /// The kernel log so far.
    pub fn console(&self) -> &Console {
        &self.console
    }

    /// Adds to an error how QEMU has ended, what the machine last said and where the logs are.
    fn explain<T>(&mut self, result: Result<T>, what: &str) -> Result<T> {
        let Err(error) = result else {
            return result;
        };
        let mut ended = String::new();
        if error.is::<Gone>() && self.qemu.wait(CONNECT)? {
            ended = format!("QEMU: {:?}\n", self.qemu.ended()?);
        }
        Err(error.context(format!(
            "{what} (logs: {})\n{}\n{ended}",
            self.dir.path().display(),
            self.console.tail(12)
        )))
    }

    /// Switches the machine off and looks at what it leaves behind.
    pub fn power_off(mut self) -> Result<Remains> {
        // Switching off also switches translation off, which proves nothing.
        let end = self.clock.now();
        self.control.send(&Request::PowerOff)?;
        if !self.qemu.wait(POWER_OFF)? {
            // Not the machine's fault alone: a kernel under test may hang. QEMU itself must obey.
            self.monitor
                .execute(&qmp::quit {})
                .context("QEMU's monitor")?;
            if !self.qemu.wait(POWER_OFF)? {
                bail!("QEMU does not end");
            }
        }
        Ok(Remains {
            iommu: IommuTrace::read(&self.dir.file("iommu.trace"), self.clock, end)?,
            drive_errors: self.drive.verify(self.queued)?,
            console: self.console.lines(),
        })
    }
}

/// What a machine leaves behind.
pub struct Remains {
    /// What QEMU saw of its IOMMU.
    pub iommu: IommuTrace,
    /// Differences between the drive and a drive on which the whole plan was carried out.
    pub drive_errors: Vec<String>,
    /// The whole kernel log.
    pub console: Vec<Line>,
}

/// What QEMU has to say.
fn qemu_log(dir: &RunDir) -> String {
    let log = std::fs::read_to_string(dir.file("qemu.log")).unwrap_or_default();
    log.trim().into()
}

/// Waits until QEMU connects, or has failed.
fn accept(listener: &UnixListener, qemu: &mut Qemu, dir: &RunDir) -> Result<UnixStream> {
    listener.set_nonblocking(true)?;
    let deadline = Instant::now() + CONNECT;
    loop {
        match listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(false)?;
                return Ok(stream);
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error.into()),
        }
        if let Some(status) = qemu.ended()? {
            bail!("QEMU has failed ({status}): {}", qemu_log(dir));
        }
        if Instant::now() >= deadline {
            bail!("QEMU does not connect");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}
