// SPDX-License-Identifier: GPL-2.0
//! Interrupts of a function, each as an eventfd.

use crate::ioctl;
use crate::vfio::{TYPE, VfioDevice};
use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::sys::eventfd::{EfdFlags, EventFd};
use protocol::Device;
use std::os::fd::{AsFd, AsRawFd};
use vfio_bindings::bindings::vfio::{
    VFIO_IRQ_SET_ACTION_TRIGGER, VFIO_IRQ_SET_DATA_EVENTFD, VFIO_PCI_INTX_IRQ_INDEX,
    VFIO_PCI_MSIX_IRQ_INDEX,
};

const DEVICE_SET_IRQS: u8 = 110;
/// What the functions use at most: an administrative and an I/O queue.
const VECTORS: usize = 2;

/// `struct vfio_irq_set` with its data.
#[repr(C)]
struct IrqSet {
    argsz: u32,
    flags: u32,
    index: u32,
    start: u32,
    count: u32,
    eventfds: [i32; VECTORS],
}

/// The kind of interrupt that `device` uses, and the number of vectors.
const fn vectors(device: Device) -> (u32, usize) {
    match device {
        Device::Es1370 => (VFIO_PCI_INTX_IRQ_INDEX, 1),
        Device::Nvme => (VFIO_PCI_MSIX_IRQ_INDEX, VECTORS),
    }
}

/// Interrupts that are set up for as long as the function is open.
pub struct Interrupts(Vec<EventFd>);

impl Interrupts {
    /// Sets up every vector that `device` uses.
    pub fn set_up(device: Device, vfio: &VfioDevice) -> Result<Self> {
        let (index, count) = vectors(device);
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let eventfds = (0..count)
            .map(|_| EventFd::from_value_and_flags(0, flags).context("eventfd"))
            .collect::<Result<Vec<_>>>()?;
        let mut set = IrqSet {
            argsz: size_of::<IrqSet>() as u32,
            flags: VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER,
            index,
            start: 0,
            count: u32::try_from(count)?,
            eventfds: [-1; VECTORS],
        };
        for (slot, eventfd) in set.eventfds.iter_mut().zip(&eventfds) {
            *slot = eventfd.as_fd().as_raw_fd();
        }
        let request = ioctl::io(TYPE, DEVICE_SET_IRQS);
        // SAFETY: the request takes this structure; its data are `count` file descriptors.
        unsafe { ioctl::call(vfio.as_fd(), request, &mut set) }.context("VFIO_DEVICE_SET_IRQS")?;
        Ok(Self(eventfds))
    }

    /// How often each vector was signalled since the last time.
    pub fn signals(&self) -> Result<Vec<u64>> {
        let counts = self.0.iter().map(|eventfd| match eventfd.read() {
            Ok(count) => Ok(count),
            Err(Errno::EAGAIN) => Ok(0),
            Err(error) => Err(error).context("eventfd"),
        });
        counts.collect()
    }
}
