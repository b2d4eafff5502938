// SPDX-License-Identifier: GPL-2.0

//! The state of all IOMMUs as the Live Update Orchestrator sees it.
//!
//! It is preserved with the first iommufd and finished with the last one.

use crate::{
    incoming::Incoming,
    outgoing::Outgoing,
    preflight,
    takeover, //
};
use kernel::{
    liveupdate::{
        self,
        FileHandler,
        Flb,
        FlbDef,
        Handler,
        PreservedState,
        Registration, //
    },
    prelude::*,
    sync::{
        Arc,
        ArcBorrow, //
    }, //
};
use liveupdate_state::offer::Offer;

/// The state that goes to the next kernel, and the one that came from the previous kernel.
pub(crate) static FLB: FlbDef<IommuState> = FlbDef::new();

/// Registers the handler of a type of file, and makes its files depend on the state, unless live
/// update is disabled.
///
/// # Errors
///
/// `EEXIST` if there is another handler or FLB with the same name, `ENOMEM`.
pub(crate) fn register<T: FileHandler>(
    handler: &'static Handler<T>,
) -> Result<Option<Registration<T>>> {
    if !liveupdate::is_enabled() {
        return Ok(None);
    }

    let handler = handler.register()?;
    handler.register_flb(&FLB)?;
    Ok(Some(handler))
}

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

    fn preflight(state: ArcBorrow<'_, Outgoing>, offer: u64) -> Result {
        preflight::check(&state, Offer::from_bits(offer))
    }
}
