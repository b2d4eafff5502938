// SPDX-License-Identifier: GPL-2.0

//! Preserving the file of a VFIO device.
//!
//! What is handed over is nothing but the address of the PCI function: its translation is in the
//! record of the IOMMUs, which also identifies it, and its own state stays where it is, in the
//! device. Interrupts are not handed over; userspace sets them up anew.

use crate::{
    flb::{
        self,
        FLB, //
    },
    hooks::Function,
    outgoing,
    restore,
    vfio_hooks::{
        self,
        BoundCdev, //
    }, //
};
use kernel::{
    fs::File,
    liveupdate::{
        self,
        FileHandler,
        PreservedState,
        Retrieved,
        Session, //
    },
    prelude::*,
    sync::aref::ARef, //
};
use liveupdate_state::PciAddress;

/// The handler as LUO knows it.
static HANDLER: liveupdate::Handler<VfioPci> = liveupdate::Handler::new();

/// The registered handler. Dropping it unregisters the handler.
pub(crate) type Handler = liveupdate::Registration<VfioPci>;

/// Registers the handler of devices of vfio-pci, see [`flb::register`].
pub(crate) fn register() -> Result<Option<Handler>> {
    flb::register(&HANDLER)
}

/// Implements [`FileHandler`].
pub(crate) struct VfioPci;

#[vtable]
impl FileHandler for VfioPci {
    const COMPATIBLE: &'static CStr = c"vfio-pci-v1";

    type Preserved = KBox<outgoing::PreservedCdev>;

    fn can_preserve(file: &File) -> bool {
        BoundCdev::of(file).is_some()
    }

    fn preserve(file: &File, session: Session<'_>) -> Result<PreservedState<Self::Preserved>> {
        let cdev = BoundCdev::of(file).ok_or(EINVAL)?;
        let device = cdev.device();

        if !session.preserves(cdev.iommufd()) {
            refuse(&cdev, "its iommufd is not in the session", EINVAL);
            return Err(EINVAL);
        }
        let preserved = outgoing::preserve_cdev(&device)
            .inspect_err(|e| refuse(&cdev, "it is not attached to a preserved HWPT", *e))?;
        cdev.check().inspect_err(|e| {
            refuse(
                &cdev,
                "detached, not in D0, or of a kind that is not supported",
                *e,
            )
        })?;

        Ok(PreservedState {
            data: encode(Function::of(&device)?.address),
            private: KBox::new(preserved, GFP_KERNEL)?,
        })
    }

    fn unpreserve(_file: &File, _data: u64, _preserved: Self::Preserved) {}

    fn freeze(file: &File, _data: &mut u64, _preserved: &outgoing::PreservedCdev) -> Result {
        let cdev = BoundCdev::of(file).ok_or(EINVAL)?;

        cdev.freeze()
            .inspect_err(|e| refuse(&cdev, "not in D0", *e))
    }

    fn unfreeze(file: &File, _data: u64, _preserved: &outgoing::PreservedCdev) {
        if let Some(cdev) = BoundCdev::of(file) {
            cdev.unfreeze();
        }
    }

    fn retrieve(data: u64) -> Result<ARef<File>> {
        let Some(address) = decode(data) else {
            pr_warn!("vfio: {:#x} is not the address of a function\n", data);
            return Err(EBADMSG);
        };

        retrieve(address).inspect_err(|e| {
            if *e != EAGAIN {
                pr_warn!(
                    "vfio: {} cannot be retrieved ({:?})\n",
                    format_args!("{address}"),
                    e
                );
            }
        })
    }

    fn can_finish(retrieved: Retrieved<'_>, _data: u64, _session: Session<'_>) -> bool {
        !matches!(retrieved, Retrieved::NotAttempted)
    }

    fn finish(_retrieved: Retrieved<'_>, _data: u64) {}
}

/// Opens the function at `address`, if it is the one that was preserved and its DMA goes on.
fn retrieve(address: PciAddress) -> Result<ARef<File>> {
    let guard = FLB.incoming().map_err(|_| EBADMSG)?;
    let incoming = guard.get();
    let (_, record) = incoming.device(address).ok_or(EBADMSG)?;
    let device = vfio_hooks::find(address).ok_or(ENODEV)?;
    let function = Function::of(&device)?;

    if function.vendor_device != record.vendor_device || function.class != record.class {
        return Err(ENODEV);
    }
    if !restore::is_restored(&incoming, address) {
        return Err(EBADMSG);
    }
    vfio_hooks::open(&device)
}

fn refuse(cdev: &BoundCdev<'_>, why: &str, error: Error) {
    dev_warn!(
        cdev.device(),
        "cannot be preserved: {} ({:?})\n",
        why,
        error
    );
}

/// What the next kernel gets: the segment in bits 31:16, the requester id in bits 15:0.
fn encode(address: PciAddress) -> u64 {
    u64::from(address.segment) << 16 | u64::from(address.requester_id)
}

fn decode(data: u64) -> Option<PciAddress> {
    let [0, 0, 0, 0, segment_hi, segment_lo, bus, devfn] = data.to_be_bytes() else {
        return None;
    };

    Some(PciAddress {
        segment: u16::from_be_bytes([segment_hi, segment_lo]),
        requester_id: u16::from_be_bytes([bus, devfn]),
    })
}
