// SPDX-License-Identifier: GPL-2.0
//! A machine with three sessions: one whose state is damaged, one that has nothing to do with it,
//! and one that has only memory.

use super::attack::Surroundings;
use super::canary;
use super::handover::Handover;
use crate::cli::Options;
use crate::qemu::Topology;
use crate::ram::{GuestRam, page_addresses};
use crate::run::{DEBUGFS, WITHOUT_NVME_DRIVER};
use crate::vm::{Machine, Vm};
use anyhow::{Context, Result, bail, ensure};
use devices::es1370;
use devices::layout::{DATA, ES1370_RING, PAGE};
use protocol::{
    Back, Device, Memory, MemoryWrite, OUTCOME_OK, PageRun, Preserved, Reply, Request, Stage,
    Statistics, VerifiedReads, VmmConfig,
};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Where the kernel shows where the scratch memory of KHO is.
const SCRATCH: &str = "/sys/kernel/debug/kho/out/scratch_phys";
/// Kernels of these machines clear memory by words, which is much faster to emulate than by bytes.
/// One processor each is as fast as two when there are several machines.
const FAST: &str = " -cpu max,la57=off,erms=off,fsrm=off -smp 1";
/// They print what is to be looked at, and nothing else, for the same reason.
const WARNINGS_ONLY: &str = " loglevel=5";
const MEMINFO: &str = "/proc/meminfo";
/// Free memory that a kernel needs to load the next one.
const LEFT: usize = 256 << 20;
/// Free memory that is taken at most.
const MOST: usize = 256 << 20;
/// Commands that the drive completes in a second.
const IOS_PER_SECOND: u32 = 12;
/// Commands of one healthy VMM.
const IOS: u16 = 64;
/// The victim's device takes 12 s for its ring, so that it has not come round when the next kernel
/// has taken over.
const SAMPLES_PER_SECOND: u32 = 5512;
/// The device writes much more often.
const LOOK: Duration = Duration::from_millis(80);
/// It is given so long to show that it works.
const PROGRESS: Duration = Duration::from_secs(5);
/// The drive is given so long to complete what is queued.
const COMPLETE: Duration = Duration::from_secs(20);

/// A session.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Session {
    /// With the ES1370. Its state is damaged.
    Victim,
    /// With the drive.
    Healthy,
    /// With memory that no device can reach.
    Memory,
}

impl Session {
    /// All of them, in the order in which they come back: the damaged one first, for it to do what
    /// harm it can.
    pub const ALL: [Self; 3] = [Self::Victim, Self::Healthy, Self::Memory];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Victim => "victim",
            Self::Healthy => "healthy",
            Self::Memory => "memory",
        }
    }

    /// Its devices.
    pub const fn devices(self) -> &'static [Device] {
        match self {
            Self::Victim => &[Device::Es1370],
            Self::Healthy => &[Device::Nvme],
            Self::Memory => &[],
        }
    }

    fn config(self) -> VmmConfig {
        VmmConfig {
            devices: self.devices().to_vec(),
            nvme_ios: IOS,
            unmapped: false,
            samples_per_second: SAMPLES_PER_SECOND,
        }
    }

    /// The size of its memory.
    fn size(self) -> usize {
        match self {
            Self::Victim | Self::Memory => ES1370_RING.end,
            Self::Healthy => DATA.start + usize::from(IOS) * PAGE,
        }
    }
}

/// What a kernel uses, apart from what its allocator has.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Usage {
    /// Memory of page tables.
    pub statistics: Statistics,
    /// Memory that the kernel manages, in KiB. What the previous kernel has preserved is not in it
    /// until it is given back.
    pub managed: u64,
}

impl Usage {
    /// Whether this is the same but for some KiB less.
    pub fn is_short_of(&self, other: &Self, kib: u64) -> bool {
        let short = other.managed.checked_sub(self.managed);
        self.statistics == other.statistics && short.is_some_and(|short| short <= kib)
    }
}

/// What a session is said to do that comes to its end.
pub const WORKS: &str = "works";

/// How far a session came.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// To its end.
    Works,
    /// To this stage, with this errno, and it was given back then.
    FailedClosed(Stage, String),
}

/// The machine.
pub struct Sessions {
    /// The machine.
    pub vm: Vm,
    /// The ring of the victim.
    ring: Vec<usize>,
    /// Pages of the healthy session that its device cannot reach.
    unreachable: Vec<usize>,
    /// Pages of the session that has only memory.
    memory: Vec<usize>,
    /// Free memory.
    free: Vec<usize>,
    scratch: u64,
    /// Commands that the healthy VMM has queued.
    queued: u16,
}

impl Sessions {
    /// Boots, allocates the memory and opens the devices.
    pub fn start(options: &Options, name: &str) -> Result<Self> {
        let mut options = options.clone();
        options.cmdline_extra += WITHOUT_NVME_DRIVER;
        options.cmdline_extra += WARNINGS_ONLY;
        options.qemu_extra += FAST;
        let machine = Machine {
            topology: Topology::RootBus,
            ios: IOS,
            ios_per_second: IOS_PER_SECOND,
            ..Machine::PLAIN
        };
        let (vm, _) = Vm::boot(&options, name, &machine)?;
        let mut sessions = Self {
            vm,
            ring: Vec::new(),
            unreachable: Vec::new(),
            memory: Vec::new(),
            free: Vec::new(),
            scratch: 0,
            queued: 0,
        };
        let scratch = sessions.read_file(SCRATCH)?;
        let first = scratch.split([',', '\n']).next().unwrap_or("").trim();
        let first = first.trim_start_matches("0x");
        sessions.scratch = u64::from_str_radix(first, 16).with_context(|| scratch.clone())?;

        let memories = Session::ALL.map(|session| Memory {
            session: session.name().into(),
            bytes: session.size(),
        });
        let memories = memories.into();
        sessions
            .vm
            .request_done(&Request::AllocateMemory { memories })?;
        for session in Session::ALL {
            let pages = sessions.open(session)?;
            match session {
                Session::Victim => sessions.ring = pages,
                Session::Healthy => {
                    sessions.unreachable = pages[..ES1370_RING.end / PAGE].to_vec();
                    canary::fill(&sessions.vm.ram, &sessions.unreachable);
                }
                Session::Memory => {
                    sessions.memory = pages;
                    canary::fill(&sessions.vm.ram, &sessions.memory);
                }
            }
        }
        sessions.take_memory()?;
        Ok(sessions)
    }

    fn turn_to(&mut self, session: Session) -> Result<()> {
        let session = session.name().into();
        self.vm.request_done(&Request::TurnTo { session })
    }

    /// Opens the devices of a session with the memory that it has, from the beginning, and starts
    /// them. Returns the pages of the memory.
    pub fn open(&mut self, session: Session) -> Result<Vec<usize>> {
        self.turn_to(session)?;
        let memory = match self.vm.request(&Request::OpenVmm(session.config()))? {
            Reply::Vmm(memory) => memory,
            reply => bail!("unexpected {reply:?}"),
        };
        if session != Session::Memory {
            self.vm.request_done(&Request::StartDma)?;
        }
        if session == Session::Healthy {
            self.queued = 0;
        }
        page_addresses(&memory.pages)
    }

    fn read_file(&mut self, path: &str) -> Result<String> {
        let tree = match self.vm.request(&Request::ReadTree { path: path.into() })? {
            Reply::Tree(tree) => tree,
            reply => bail!("unexpected {reply:?}"),
        };
        let file = tree.files.into_iter().next().context(path.to_owned())?;
        file.content.map_err(anyhow::Error::msg)
    }

    /// What the kernel uses now.
    pub fn usage(&mut self) -> Result<Usage> {
        let statistics = match self.vm.request(&Request::ReadStatistics)? {
            Reply::Statistics(statistics) => statistics,
            reply => bail!("unexpected {reply:?}"),
        };
        let meminfo = self.read_file(MEMINFO)?;
        let mut lines = meminfo.lines();
        let total = lines.find_map(|line| line.strip_prefix("MemTotal:"));
        let total = total.and_then(|value| value.trim().strip_suffix(" kB"));
        Ok(Usage {
            statistics,
            managed: total.context("no MemTotal")?.parse()?,
        })
    }

    fn pages(&mut self, request: &Request) -> Result<Vec<usize>> {
        match self.vm.request(request)? {
            Reply::Vmm(memory) => page_addresses(&memory.pages),
            reply => bail!("unexpected {reply:?}"),
        }
    }

    /// Takes the free memory of a new kernel, and fills it.
    pub fn take_memory(&mut self) -> Result<()> {
        self.free = self.pages(&Request::TakeMemory {
            left: LEFT,
            most: MOST,
        })?;
        canary::fill(&self.vm.ram, &self.free);
        Ok(())
    }

    /// Which canaries somebody has written to, `and_free` those in free memory of this kernel too.
    pub fn touched(&mut self, and_free: bool) -> Result<Vec<String>> {
        let of = |what: &str, pages: &[usize], ram: &GuestRam| {
            let touched = canary::touched(ram, pages).into_iter();
            touched
                .map(|page| format!("{what}: {page}"))
                .collect::<Vec<_>>()
        };
        let ram = self.vm.ram.clone();
        let mut touched = of("memory without a device", &self.memory, &ram);
        touched.extend(of("memory of the healthy session", &self.unreachable, &ram));
        if and_free {
            // The kernel may have moved it.
            self.free = self.pages(&Request::FindMemory)?;
            touched.extend(of("free memory", &self.free, &ram));
        }
        if !touched.is_empty() {
            // What comes later is something else.
            canary::fill(&ram, &self.memory);
            canary::fill(&ram, &self.unreachable);
            canary::fill(&ram, if and_free { &self.free } else { &[] });
        }
        Ok(touched)
    }

    /// Watches the victim's device; returns the page of the ring that it has written to last, if it
    /// has written at all.
    fn look(&self) -> Option<usize> {
        const MARKER: u64 = (es1370::MARKER as u64) << 32 | es1370::MARKER as u64;
        for &page in &self.ring {
            self.vm.ram.fill_page(page, MARKER);
        }
        sleep(LOOK);
        let ram = &self.vm.ram;
        let written = |page: &&usize| ram.find_other(**page, MARKER).is_some();
        // More than one only if the device has just come to the next.
        self.ring.iter().rposition(|page| written(&page))
    }

    /// The page to which the victim's device has come, if it works.
    pub fn progress(&self) -> Option<usize> {
        let start = Instant::now();
        loop {
            let page = self.look();
            if page.is_some() || start.elapsed() > PROGRESS {
                return page;
            }
        }
    }

    /// Whether the victim's device does nothing.
    pub fn is_silent(&self) -> bool {
        self.look().is_none()
    }

    /// What is around the handover, when the victim's device has come to `page`.
    pub fn surroundings(&self, page: usize) -> Surroundings {
        let addresses = |pages: &[usize]| pages.iter().map(|&page| page as u64).collect();
        Surroundings {
            scratch: self.scratch,
            canaries: addresses(&self.memory),
            healthy: addresses(&self.unreachable),
            free: addresses(&self.free),
            far: (page + self.ring.len() / 2) % self.ring.len(),
        }
    }

    /// Loads the next kernel.
    pub fn load_kernel(&mut self, cmdline: &str) -> Result<()> {
        self.vm.load_kernel(cmdline)
    }

    /// Queues commands of the healthy VMM, which begins anew when there is no room for more.
    pub fn queue(&mut self, count: u16) -> Result<()> {
        if self.queued + count > IOS {
            self.complete()?;
            self.open(Session::Healthy)?;
        }
        self.turn_to(Session::Healthy)?;
        let reads = self.reads()?;
        let outstanding = reads.queued.saturating_sub(reads.completed);
        self.vm.queue_ios(outstanding + count)?;
        self.queued += count;
        Ok(())
    }

    fn reads(&mut self) -> Result<VerifiedReads> {
        match self.vm.request(&Request::VerifyReads)? {
            Reply::Reads(reads) => Ok(reads),
            reply => bail!("unexpected {reply:?}"),
        }
    }

    /// Waits until all commands of the healthy VMM are completed; fails if one of them has failed,
    /// or a block is not what it must be.
    pub fn complete(&mut self) -> Result<()> {
        self.turn_to(Session::Healthy)?;
        let start = Instant::now();
        loop {
            let reads = self.reads()?;
            ensure!(reads.failed == 0 && reads.wrong == 0, "{reads:?}");
            if reads.completed >= reads.queued {
                return Ok(());
            }
            ensure!(start.elapsed() < COMPLETE, "commands are lost: {reads:?}");
            sleep(LOOK);
        }
    }

    /// Preserves all sessions, and reads what is handed over.
    pub fn preserve(&mut self) -> Result<Handover> {
        for session in Session::ALL {
            self.turn_to(session)?;
            let marked = session.devices().to_vec();
            match self.vm.request(&Request::Preserve { marked })? {
                Reply::Preserved(Preserved { .. }) => {}
                reply => bail!("unexpected {reply:?}"),
            }
        }
        let shown = self.read_file(&format!("{DEBUGFS}/outgoing"))?;
        let mut lines = shown.lines();
        let index = lines.find_map(|line| line.strip_prefix("index at 0x"));
        let index = index.and_then(|rest| rest.split(' ').next());
        let index = u64::from_str_radix(index.with_context(|| shown.clone())?, 16)?;
        Handover::read(&*self.vm.ram, index)
    }

    /// Lets the kernel carry these writes out at its end.
    pub fn damage(&mut self, writes: Vec<MemoryWrite>) -> Result<()> {
        self.vm.request_done(&Request::Damage { writes })
    }

    /// Starts the next kernel.
    pub fn replace_kernel(&mut self) -> Result<()> {
        self.vm.kexec()?;
        Ok(())
    }

    /// Switches the machine off.
    pub fn end(self) -> Result<()> {
        let differences = self.vm.power_off()?.drive_errors;
        ensure!(differences.is_empty(), "the drive: {differences:?}");
        Ok(())
    }

    fn back(&mut self, request: &Request) -> Result<Back> {
        match self.vm.request(request)? {
            Reply::Back(back) => Ok(back),
            reply => bail!("unexpected {reply:?}"),
        }
    }

    fn go_on(&mut self, session: Session, to: Stage) -> Result<Back> {
        let devices = session.devices().to_vec();
        self.back(&Request::ComeBack { devices, to })
    }

    /// Goes the way back with a session to its end, or gives back what is left of it.
    pub fn come_back(&mut self, session: Session) -> Result<Outcome> {
        self.turn_to(session)?;
        if session == Session::Memory {
            let back = self.go_on(session, Stage::Memory)?;
            self.check_pages(session, &back.pages)?;
            self.finish()?;
            return Ok(match back.stopped {
                Some(stopped) => Outcome::FailedClosed(stopped.stage, stopped.errno),
                None => Outcome::Works,
            });
        }
        let back = self.go_on(session, Stage::Functions)?;
        self.check_pages(session, &back.pages)?;
        if let Some(stopped) = back.stopped {
            // A function does not come back without its iommufd; to finish, it must have been tried.
            let devices = session.devices().to_vec();
            let tried = self.back(&Request::RetrieveFunctions { devices })?;
            let wrong = tried.functions.iter().find(|f| f.errno != "EBADMSG");
            self.finish().with_context(|| stopped.message)?;
            return match wrong {
                Some(wrong) => bail!("without its iommufd, {wrong:?}"),
                None => Ok(Outcome::FailedClosed(stopped.stage, stopped.errno)),
            };
        }
        if let Some(lost) = back.functions.iter().find(|f| f.errno != OUTCOME_OK) {
            self.finish()?;
            return Ok(Outcome::FailedClosed(Stage::Functions, lost.errno.clone()));
        }
        let Some(stopped) = self.go_on(session, Stage::Finish)?.stopped else {
            return Ok(Outcome::Works);
        };
        for &device in session.devices() {
            let outcome = self.vm.outcome(&Request::GiveUp { device })?;
            ensure!(
                outcome == OUTCOME_OK,
                "{}, releasing {device:?}: {outcome}",
                stopped.message
            );
        }
        self.finish().with_context(|| stopped.message)?;
        Ok(Outcome::FailedClosed(stopped.stage, stopped.errno))
    }

    fn check_pages(&self, session: Session, runs: &[PageRun]) -> Result<()> {
        let known = match session {
            Session::Victim => &self.ring,
            Session::Memory => &self.memory,
            Session::Healthy => return Ok(()),
        };
        ensure!(page_addresses(runs)? == *known, "the memory has moved");
        Ok(())
    }

    fn finish(&mut self) -> Result<()> {
        let finish = self.vm.outcome(&Request::TryFinish)?;
        ensure!(finish == OUTCOME_OK, "FINISH: {finish}");
        Ok(())
    }
}

impl Outcome {
    /// In a few words.
    pub fn describe(&self) -> String {
        match self {
            Self::Works => WORKS.into(),
            Self::FailedClosed(stage, errno) => format!("{} {errno}", stage.name()),
        }
    }
}
