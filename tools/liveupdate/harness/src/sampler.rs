// SPDX-License-Identifier: GPL-2.0
//! Looking at the DMA buffers from outside, every 10 ms.

use crate::clock::Clock;
use crate::progress::{Sample, Series};
use crate::ram::{GuestRam, Pages};
use anyhow::{Result, anyhow};
use devices::es1370::RingProgress;
use devices::layout::{ES1370_RING, IO_CQ};
use devices::nvme::QueueProgress;
use devices::plan;
use protocol::{Device, VmmMemory};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// Time between two looks.
pub const INTERVAL: Duration = Duration::from_millis(10);

/// How the progress of a device shows in memory.
enum Watch {
    Es1370 {
        ring: Pages,
        progress: RingProgress,
    },
    Nvme {
        queue: Pages,
        progress: QueueProgress,
    },
}

impl Watch {
    fn new(device: Device, memory: &Pages) -> Result<Self> {
        Ok(match device {
            Device::Es1370 => Self::Es1370 {
                ring: memory.part(ES1370_RING)?,
                progress: RingProgress::new(),
            },
            Device::Nvme => Self::Nvme {
                queue: memory.part(IO_CQ)?,
                progress: QueueProgress::new(),
            },
        })
    }

    /// Bytes written and commands completed so far.
    fn observe(&mut self) -> Sample {
        match self {
            Self::Es1370 { ring, progress } => Sample {
                bytes: progress.observe(ring),
                ios: 0,
            },
            Self::Nvme { queue, progress } => {
                let done = progress.observe(queue);
                Sample {
                    bytes: done
                        .iter()
                        .map(|entry| plan::bytes_written(entry.cid))
                        .sum(),
                    ios: done.len() as u64,
                }
            }
        }
    }
}

/// A thread that looks.
pub struct Sampler {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Vec<Series>>,
}

impl Sampler {
    /// Starts looking; the devices must not have started yet.
    pub fn start(
        ram: &Arc<GuestRam>,
        devices: &[Device],
        memory: &VmmMemory,
        clock: Clock,
    ) -> Result<Self> {
        let pages = Pages::new(ram.clone(), &memory.pages)?;
        let mut watches = devices
            .iter()
            .map(|&device| Ok((Series::new(device), Watch::new(device, &pages)?)))
            .collect::<Result<Vec<_>>>()?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = thread::spawn(move || {
            let mut next = clock.now();
            while !stopped.load(Ordering::Relaxed) {
                for (series, watch) in &mut watches {
                    let sample = watch.observe();
                    series.push(clock.now(), sample);
                }
                next = (next + INTERVAL).max(clock.now());
                clock.sleep_until(next);
            }
            watches.into_iter().map(|(series, _)| series).collect()
        });
        Ok(Self { stop, thread })
    }

    /// Stops looking and returns what was seen.
    pub fn finish(self) -> Result<Vec<Series>> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| anyhow!("the sampler died"))
    }
}
