// SPDX-License-Identifier: GPL-2.0

//! The state of all IOMMUs as the Live Update Orchestrator sees it.
//!
//! It is preserved with the first iommufd and finished with the last one.

use crate::{
    incoming::Incoming,
    outgoing::Outgoing,
    takeover, //
};
use kernel::{
    liveupdate::{
        Flb,
        FlbDef,
        PreservedState, //
    },
    prelude::*,
    sync::Arc, //
};

/// The state that goes to the next kernel, and the one that came from the previous kernel.
pub(crate) static FLB: FlbDef<IommuState> = FlbDef::new();

/// Implements [`Flb`].
pub(crate) struct IommuState;

#[vtable]
impl Flb for IommuState {
    const COMPATIBLE: &'static CStr = c"iommu-liveupdate-v1";

    type Outgoing = Arc<Outgoing>;
    type Incoming = Arc<Incoming>;

    fn preserve() -> Result<PreservedState<Self::Outgoing>> {
        let private = Outgoing::new()?;

        Ok(PreservedState {
            data: private.phys(),
            private,
        })
    }

    fn unpreserve(_data: u64, _state: Self::Outgoing) {}

    fn retrieve(data: u64) -> Result<Self::Incoming> {
        Incoming::new(data)
    }

    fn finish(state: Self::Incoming) {
        // SAFETY: There has been a userspace that finished the last file.
        unsafe { takeover::give_back(&state) };
    }
}
