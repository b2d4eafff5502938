// SPDX-License-Identifier: GPL-2.0
//! A running machine.

use crate::cli::Options;
use crate::clock::Clock;
use crate::console::{Console, Line};
use crate::control::{Control, Gone};
use crate::drive::Drive;
use crate::initramfs;
use crate::iommu_trace::IommuTrace;
use crate::qemu::{CMDLINE, Qemu, Resources};
use crate::ram::GuestRam;
use crate::run_dir::RunDir;
use anyhow::{Context, Result, bail};
use protocol::{Hello, Reply, Request};
use qapi::{Qmp, Stream, qmp};
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
    _files: TempDir,
}

/// The kernel command line that the options ask for.
pub fn cmdline(options: &Options) -> String {
    format!("{CMDLINE} {}", options.cmdline_extra)
        .trim_end()
        .into()
}

impl Vm {
    /// Starts the machine and waits for its agent. `ios` is the size of the NVMe plan.
    pub fn boot(
        options: &Options,
        name: &str,
        ios: u16,
        ios_per_second: u32,
    ) -> Result<(Self, Hello)> {
        let dir = RunDir::create(&options.out, name)?;
        Self::start(options, &dir, ios, ios_per_second)
            .with_context(|| format!("the logs are in {}", dir.path().display()))
    }

    fn start(
        options: &Options,
        dir: &RunDir,
        ios: u16,
        ios_per_second: u32,
    ) -> Result<(Self, Hello)> {
        let files = tempfile::Builder::new()
            .prefix("liveupdate-vm-")
            .tempdir()?;
        let initramfs = files.path().join("initramfs");
        initramfs::build(options, &initramfs)?;
        let drive = Drive::create(files.path().join("drive"), ios, ios_per_second)?;
        let ram = Arc::new(GuestRam::create()?);
        let cmdline = cmdline(options);
        let control = UnixListener::bind(files.path().join("control"))?;
        let monitor = UnixListener::bind(files.path().join("qmp"))?;
        let resources = Resources {
            initramfs: &initramfs,
            cmdline: &cmdline,
            ram: &ram,
            drive: &drive,
        };
        let clock = Clock::start();
        let mut qemu = Qemu::start(options, &resources, files.path(), dir)?;
        let console = Console::collect(qemu.stdout()?, dir.create_file("console.log")?, clock);
        let control = accept(&control, &mut qemu, dir)?;
        let monitor = accept(&monitor, &mut qemu, dir)?;
        let control = Control::new(control, dir.create_file("control.log")?, clock)?;
        let mut monitor = Qmp::new(Stream::new(BufReader::new(monitor.try_clone()?), monitor));
        monitor.handshake().context("QEMU's monitor")?;
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
            _files: files,
        };
        let (_, hello) = vm.hello()?;
        Ok((vm, hello))
    }

    /// Waits for the agent of a new kernel.
    pub fn hello(&mut self) -> Result<(Duration, Hello)> {
        let hello = self.control.hello(self.timeout);
        self.explain(hello, "waiting for the kernel's agent")
    }

    /// Sends a request and waits for the answer.
    pub fn request(&mut self, request: &Request) -> Result<Reply> {
        let reply = self.control.request(request, REQUEST);
        self.explain(reply, &format!("{request:?}"))
    }

    /// Loads the next kernel with the command line of the first.
    pub fn load_kernel(&mut self) -> Result<()> {
        let cmdline = self.cmdline.clone();
        match self.request(&Request::LoadKernel { cmdline })? {
            Reply::Loaded(_) => Ok(()),
            reply => bail!("unexpected {reply:?}"),
        }
    }

    /// Starts the loaded kernel and waits for its agent.
    pub fn kexec(&mut self) -> Result<(Duration, Hello)> {
        self.control.send(&Request::Kexec)?;
        self.hello()
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
            drive_errors: self.drive.verify()?,
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
            let log = std::fs::read_to_string(dir.file("qemu.log")).unwrap_or_default();
            bail!("QEMU has failed ({status}): {}", log.trim());
        }
        if Instant::now() >= deadline {
            bail!("QEMU does not connect");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}
