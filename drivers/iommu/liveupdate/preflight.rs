// SPDX-License-Identifier: GPL-2.0

//! Whether the next kernel can take over what is preserved, asked while there is time.
//!
//! A kernel that cannot would switch translation off under devices that go on with their DMA, or
//! stop the devices at best. What it can take over is read when its image is loaded, what it would
//! have to is known when it is started.

use crate::{
    flb::FLB,
    outgoing::Outgoing,
    sealed, //
};
use core::fmt::Write;
use kernel::{
    prelude::*,
    str::Formatter,
    sync::atomic::{
        Atomic,
        Relaxed, //
    }, //
};
use liveupdate_state::{
    offer::{
        self,
        Offer, //
    },
    Features, //
};

/// What becomes of a reboot into an image that cannot take over what is preserved.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Policy {
    /// It fails.
    Refuse,
    /// It goes on, and the preserved devices are stopped instead.
    Stop,
}

static STOP: Atomic<bool> = Atomic::new(false);

/// Returns what userspace has chosen.
pub(crate) fn policy() -> Policy {
    if STOP.load(Relaxed) {
        Policy::Stop
    } else {
        Policy::Refuse
    }
}

/// Sets what the next reboot does.
pub(crate) fn set_policy(policy: Policy) {
    STOP.store(policy == Policy::Stop, Relaxed);
}

/// Returns what `image` can take over if it is started with `command_line`. What is no image, or a
/// damaged one, offers nothing.
pub(crate) fn offer(image: &[u8], command_line: &[u8]) -> Offer {
    Offer::read(image, command_line).unwrap_or(Offer::NONE)
}

/// Decides about a reboot into an image that makes this `offer`.
///
/// # Errors
///
/// `EPROTONOSUPPORT` if the image cannot take over what `outgoing` would hand to it, and devices are
/// not to be stopped for that.
pub(crate) fn check(outgoing: &Outgoing, offer: Offer) -> Result {
    // Somebody is looking at what was preserved, and nothing is any more.
    if outgoing.is_empty() {
        return Ok(());
    }
    let missing = offer.missing(outgoing.required());

    let stops = !missing.is_empty() && policy() == Policy::Stop;

    outgoing.set_stops(stops);
    if missing.is_empty() {
        return Ok(());
    }
    pr_warn!(
        "the image cannot take over, {}: it lacks {}\n",
        if stops { "stopping devices" } else { "refused" },
        format_args!("{missing}")
    );
    if stops {
        Ok(())
    } else {
        Err(EPROTONOSUPPORT)
    }
}

/// The strings that the image of this kernel carries, as `kernel_info.S` has them.
fn supported() -> impl Iterator<Item = &'static str> {
    let missing = if cfg!(CONFIG_LIVEUPDATE_MEMFD) {
        None
    } else {
        Some(offer::format::MEMFD)
    };
    let on_by_default = cfg!(CONFIG_KEXEC_HANDOVER_ENABLE_DEFAULT) && !cfg!(CONFIG_CMDLINE_BOOL);
    let on = on_by_default.then_some(offer::KHO_ON);
    let formats = offer::required(Features::SUPPORTED).filter(move |name| Some(*name) != missing);

    Iterator::chain(formats, on).filter(|_| !cfg!(CONFIG_CMDLINE_OVERRIDE))
}

/// Writes `names` to `buf`, one on a line, as far as there is room. Returns the size in bytes.
fn write_lines<'a>(buf: &mut [u8], names: impl Iterator<Item = &'a str>) -> usize {
    let size = buf.len();
    let mut lines = Formatter::new(buf);

    for name in names {
        if writeln!(lines, "{name}").is_err() {
            return size;
        }
    }
    lines.bytes_written()
}

/// Writes what this kernel can take over to `buf`, and returns the size in bytes.
pub(crate) fn write_supported(buf: &mut [u8]) -> usize {
    write_lines(buf, supported())
}

/// Writes what the next kernel needs to take over what is preserved now, nothing if nothing is, to
/// `buf`. Returns the size in bytes.
pub(crate) fn write_required(buf: &mut [u8]) -> usize {
    let mut size = 0;

    sealed::unless_published(|| {
        if let Ok(guard) = FLB.outgoing() {
            size = write_lines(buf, offer::required(guard.get().required()));
        }
    });
    size
}
