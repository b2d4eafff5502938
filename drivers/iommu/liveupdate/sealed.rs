// SPDX-License-Identifier: GPL-2.0

//! The state that this kernel obeys when it ends.
//!
//! At shutdown no lock can be taken: its holder may have been stopped. So the state is published
//! when it is frozen, and from then on it is only read, in the very form in which the next kernel
//! reads it.

use crate::{
    counters,
    outgoing::STATE_SIZE, //
};
use core::slice;
use kernel::{
    bindings,
    prelude::*,
    sync::atomic::{
        Acquire,
        Atomic,
        Relaxed,
        Release, //
    }, //
};
use liveupdate_state::{
    Features,
    Index,
    Iommufd,
    State, //
};

/// Stands for a state that the next kernel cannot take over. No index has this address.
const STOPPED: u64 = 1;

/// Physical address of the index, [`STOPPED`], or 0 for none.
static SEALED: Atomic<u64> = Atomic::new(0);

/// The value of [`counters::pages_read`] when something was published.
static PAGES_READ: Atomic<u64> = Atomic::new(0);

kernel::sync::global_lock! {
    // SAFETY: The only user of this module calls `init()` before anything else in it.
    unsafe(uninit) static PUBLISHING: Mutex<()> = ();
}

/// Prepares this module.
///
/// # Safety
///
/// Must be called once, before any other function of this module but [`get`].
pub(crate) unsafe fn init() {
    // SAFETY: By the safety requirement.
    unsafe { PUBLISHING.init() };
}

/// Publishes the state whose index is at the physical address `phys`.
pub(crate) fn publish(phys: u64) {
    let _guard = PUBLISHING.lock();

    if SEALED.xchg(phys, Release) == 0 {
        PAGES_READ.store(counters::pages_read(), Relaxed);
    }
}

/// How many page-table pages this kernel has looked into since something was published.
///
/// The devices are without their VMM from then on, so that it should be none.
pub(crate) fn pages_read() -> u64 {
    counters::pages_read().saturating_sub(PAGES_READ.load(Relaxed))
}

/// Publishes that all devices are to be stopped, although there is a state.
pub(crate) fn publish_stop() {
    publish(STOPPED);
}

/// Whether [`publish_stop`] was the last to publish.
pub(crate) fn is_stopping() -> bool {
    SEALED.load(Acquire) == STOPPED
}

/// Calls `f` unless a state is published, and lets none be published meanwhile.
///
/// Whoever looks at the outgoing state holds a reference to it, which must be gone when LUO hands
/// the number of references over: the next kernel would wait for the last one in vain.
pub(crate) fn unless_published(f: impl FnOnce()) {
    let _guard = PUBLISHING.lock();

    if SEALED.load(Acquire) == 0 {
        f();
    }
}

/// Takes back what was published.
pub(crate) fn withdraw() {
    SEALED.store(0, Release);
}

/// The published state.
///
/// # Invariants
///
/// This kernel is shutting down, and wrote what it reads here.
pub(crate) struct Sealed(&'static [u8]);

/// Returns the published state, [`None`] if nothing was, or nothing but [`publish_stop`].
///
/// # Safety
///
/// The caller must be the shutdown of this kernel: LUO lets nothing be unpreserved from then on.
pub(crate) unsafe fn get() -> Option<Sealed> {
    let phys = SEALED.load(Acquire);

    if phys == 0 || phys == STOPPED {
        return None;
    }
    // INVARIANT: By the safety requirement.
    // SAFETY: The index is in memory that this kernel allocated and keeps by the safety
    // requirement; nobody writes to it once it is frozen.
    Some(Sealed(unsafe { own_memory(phys, STATE_SIZE) }))
}

/// # Safety
///
/// There must be `size` bytes of this kernel at `phys` that nobody writes to or frees any more.
unsafe fn own_memory(phys: u64, size: usize) -> &'static [u8] {
    // SAFETY: By the safety requirement.
    unsafe { slice::from_raw_parts(bindings::phys_to_virt(phys).cast(), size) }
}

impl Sealed {
    /// Iterates over the states of the iommufds, in the form in which the next kernel reads them.
    pub(crate) fn states(&self) -> impl Iterator<Item = liveupdate_state::Result<State<'static>>> {
        let index = Index::parse(self.0, Features::SUPPORTED);
        let (iommufds, error) = match index {
            Ok(index) => (Some(index.iommufds()), None),
            Err(e) => (None, Some(Err(e))),
        };
        let read = |iommufd: liveupdate_state::Result<Iommufd>| {
            let iommufd = iommufd?;
            let size = usize::try_from(iommufd.size).unwrap_or(0);
            // SAFETY: By the invariants, this is the state of an iommufd that is preserved.
            let blob = unsafe { own_memory(iommufd.state, size) };

            State::parse(blob, Features::SUPPORTED)
        };

        Iterator::chain(iommufds.into_iter().flatten().map(read), error)
    }
}
