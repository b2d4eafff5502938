// SPDX-License-Identifier: GPL-2.0
//! QEMU's command line, and a process that never outlives the harness.

use crate::cli::Options;
use crate::drive::Drive;
use crate::ram::GuestRam;
use crate::run_dir::RunDir;
use anyhow::{Context, Result};
use devices::memory::DmaMemory;
use nix::sys::signal::Signal;
use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

const PROGRAM: &str = "qemu-system-x86_64";

/// Microseconds between two transfers of audio, unless a machine wants another period: QEMU's default.
pub const AUDIO_PERIOD: u32 = 10_000;

/// What the guest kernel needs to know to live through an update, and not to distrust its timers
/// when the host is busy: emulated ones are late then, which the kernel takes for a defect.
pub const CMDLINE: &str = "console=ttyS0 kho=on liveupdate=on kho_scratch=64M,128M,64M \
                           intel_iommu=on retain_initrd no_timer_check tsc=reliable";

/// Which functions there are and where they sit. There are always an ES1370 on the root bus and an
/// NVMe controller with the drive.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Topology {
    /// Both on the root bus.
    RootBus,
    /// The NVMe controller behind a PCI Express root port.
    RootPort,
    /// Besides, on the root bus, functions that cannot be preserved: two that share an IOMMU
    /// group, one with virtual functions, one with ATS.
    Refused,
}

/// The NVMe controller with the drive.
const NVME_ON_ROOT_BUS: (&str, &str) = ("-device", "nvme,id=nvme,serial=liveupdate,addr=8");

impl Topology {
    fn iommu(self) -> &'static str {
        match self {
            Self::RootBus | Self::RootPort => "intel-iommu,intremap=on,caching-mode=on,aw-bits=48",
            // Without it, no function uses ATS.
            Self::Refused => "intel-iommu,intremap=on,caching-mode=on,aw-bits=48,device-iotlb=on",
        }
    }

    fn arguments(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::RootBus => &[NVME_ON_ROOT_BUS],
            Self::RootPort => &[
                // The port's own hot-plug instead of ACPI's.
                (
                    "-global",
                    "ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off",
                ),
                ("-device", "pcie-root-port,id=root-port,chassis=1,addr=8"),
                ("-device", "nvme,id=nvme,serial=liveupdate,bus=root-port"),
            ],
            Self::Refused => &[
                NVME_ON_ROOT_BUS,
                ("-device", "ES1370,audiodev=audio,addr=9.0,multifunction=on"),
                ("-device", "ES1370,audiodev=audio,addr=9.1"),
                ("-device", "pcie-root-port,id=sriov-port,chassis=1,addr=0xa"),
                ("-device", "nvme-subsys,id=sriov-subsys"),
                (
                    "-device",
                    "nvme,id=sriov,serial=sriov,subsys=sriov-subsys,bus=sriov-port,\
                     sriov_max_vfs=2,sriov_vq_flexible=4,sriov_vi_flexible=2,\
                     max_ioqpairs=6,msix_qsize=5",
                ),
                ("-device", "pcie-root-port,id=ats-port,chassis=2,addr=0xb"),
                (
                    "-device",
                    "virtio-rng-pci,disable-legacy=on,iommu_platform=on,ats=on,bus=ats-port",
                ),
            ],
        }
    }
}

/// Where things are that QEMU should use.
pub struct Resources<'a> {
    /// Initial ram disk.
    pub initramfs: &'a Path,
    /// Kernel command line.
    pub cmdline: &'a str,
    /// The guest's RAM.
    pub ram: &'a GuestRam,
    /// The NVMe drive.
    pub drive: &'a Drive,
    /// Which functions there are.
    pub topology: Topology,
    /// Microseconds between two transfers of audio.
    pub audio_period: u32,
    /// What is different in this machine.
    pub more: &'a [OsString],
}

/// Builds the arguments.
struct Arguments(Vec<OsString>);

impl Arguments {
    fn option(&mut self, name: &str, value: impl Into<OsString>) -> &mut Self {
        self.0.push(name.into());
        self.0.push(value.into());
        self
    }

    /// `key=value` with a path, in which QEMU wants commas doubled.
    fn path(prefix: &str, path: &Path) -> String {
        format!("{prefix}{}", path.display().to_string().replace(',', ",,"))
    }
}

fn arguments(options: &Options, resources: &Resources<'_>) -> Arguments {
    let mut arguments = Arguments(vec![
        "-nodefaults".into(),
        "-no-user-config".into(),
        "-no-reboot".into(),
    ]);
    let megabytes = resources.ram.len() >> 20;
    let ram = resources.ram.path();
    let drive = resources.drive.path();
    arguments
        .option(
            "-machine",
            "q35,kernel-irqchip=split,memory-backend=guest-ram",
        )
        .option("-accel", &options.accel)
        .option("-cpu", "max,la57=off")
        .option("-smp", "2")
        .option("-m", format!("{megabytes}M"))
        .option(
            "-object",
            Arguments::path(
                &format!("memory-backend-file,id=guest-ram,size={megabytes}M,share=on,mem-path="),
                &ram,
            ),
        )
        .option("-device", resources.topology.iommu())
        .option(
            "-audiodev",
            format!("none,id=audio,timer-period={}", resources.audio_period),
        )
        .option("-device", "ES1370,audiodev=audio,addr=7")
        .option(
            "-drive",
            Arguments::path(
                &format!(
                    "if=none,id=drive,format=raw,throttling.iops-total={},file=",
                    resources.drive.iops()
                ),
                drive,
            ),
        );
    for &(option, value) in resources.topology.arguments() {
        arguments.option(option, value);
    }
    arguments
        .option(
            "-device",
            "nvme-ns,bus=nvme,drive=drive,logical_block_size=4096,physical_block_size=4096",
        )
        .option("-kernel", &options.kernel)
        .option("-initrd", resources.initramfs)
        .option("-append", resources.cmdline);
    arguments.0.extend_from_slice(resources.more);
    arguments
        .0
        .extend(options.qemu_extra.split_whitespace().map(OsString::from));
    arguments
}

/// A QEMU that ends when this value or the harness does.
pub struct Qemu(Child);

impl Qemu {
    /// Starts it with its console on a pipe, the control channel and the monitor on sockets in
    /// `sockets`, and its trace of the IOMMU in `dir`.
    pub fn start(
        options: &Options,
        resources: &Resources<'_>,
        sockets: &Path,
        dir: &RunDir,
    ) -> Result<Self> {
        let mut arguments = arguments(options, resources);
        arguments
            .option("-display", "none")
            .option("-chardev", "stdio,id=console,signal=off")
            .option("-serial", "chardev:console")
            .option(
                "-chardev",
                Arguments::path("socket,id=control,path=", &sockets.join("control")),
            )
            .option("-serial", "chardev:control")
            .option(
                "-chardev",
                Arguments::path("socket,id=qmp,path=", &sockets.join("qmp")),
            )
            .option("-mon", "chardev=qmp,mode=control")
            .option("-msg", "timestamp=on")
            .option("-D", dir.file("iommu.trace"));
        for event in crate::iommu_trace::EVENTS {
            arguments.option("-trace", event);
        }
        let mut command = Command::new(PROGRAM);
        command
            .args(arguments.0)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(dir.create_file("qemu.log")?);
        Self::spawn(command)
    }

    /// Runs it with the machine's console on the terminal.
    pub fn run_interactive(options: &Options, resources: &Resources<'_>) -> Result<ExitStatus> {
        let mut arguments = arguments(options, resources);
        arguments
            .option("-display", "none")
            .option("-chardev", "stdio,id=console,mux=on,signal=off")
            .option("-serial", "chardev:console")
            .option("-mon", "chardev=console,mode=readline");
        let mut command = Command::new(PROGRAM);
        command.args(arguments.0);
        Ok(Self::spawn(command)?.0.wait()?)
    }

    fn spawn(mut command: Command) -> Result<Self> {
        // SAFETY: prctl(2) is async-signal-safe and touches no memory of ours.
        unsafe {
            command.pre_exec(|| {
                nix::sys::prctl::set_pdeathsig(Signal::SIGKILL).map_err(std::io::Error::from)
            });
        }
        let child = command
            .spawn()
            .with_context(|| format!("starting {PROGRAM}"))?;
        Ok(Self(child))
    }

    /// The console.
    pub fn stdout(&mut self) -> Result<ChildStdout> {
        self.0.stdout.take().context("the console is taken")
    }

    /// Whether it has ended.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.0.try_wait()?)
    }

    /// Waits until it has ended by itself; `false` when it has not within `timeout`.
    pub fn wait(&mut self, timeout: Duration) -> Result<bool> {
        let deadline = Instant::now() + timeout;
        while self.ended()?.is_none() {
            if Instant::now() >= deadline {
                return Ok(false);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(true)
    }
}

impl Drop for Qemu {
    fn drop(&mut self) {
        // Both fail only when it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
