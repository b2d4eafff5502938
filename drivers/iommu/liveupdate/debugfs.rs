// SPDX-License-Identifier: GPL-2.0

//! What will be handed over and what was taken over, for people to look at.

use crate::{
    flb::FLB,
    incoming::check_state,
    sealed, //
};
use kernel::{
    seq_file::SeqFile,
    seq_print, //
};

/// Calls `f` with the state that came from the previous kernel, or with the one that goes to the
/// next kernel, if there is any.
pub(crate) fn with_state(incoming: bool, f: impl FnOnce(&[u8])) {
    if incoming {
        if let Ok(guard) = FLB.incoming() {
            f(guard.get().as_bytes());
        }
    } else {
        sealed::unless_published(|| {
            if let Ok(guard) = FLB.outgoing() {
                guard.get().with_state(f);
            }
        });
    }
}

/// Prints `state` as a table.
pub(crate) fn show(m: &SeqFile, state: &[u8]) {
    let state = match check_state(state) {
        Ok(Ok(state)) => state,
        Ok(Err(e)) => {
            seq_print!(m, "rejected: {}\n", format_args!("{e}"));
            return;
        }
        Err(e) => {
            seq_print!(m, "not checked: {:?}\n", e);
            return;
        }
    };

    for unit in state.units() {
        seq_print!(
            m,
            "iommu {:#x} segment {:04x} root table {:#x}\n",
            unit.register_base,
            unit.segment,
            unit.root_table
        );
        for (bus, table) in unit.context_tables.iter() {
            seq_print!(m, "  bus {:02x} context table {:#x}\n", bus, table);
        }
    }
    for domain in state.domains() {
        seq_print!(
            m,
            "domain {} top table {:#x} level {} input {} bits, {} table pages\n",
            domain.number,
            domain.top_table,
            domain.top_level,
            domain.input_bits,
            domain.table_pages
        );
    }
    for device in state.devices() {
        seq_print!(
            m,
            "device {} {:04x}:{:04x} iommu {:#x} domain {} domain id {} owner {}\n",
            format_args!("{}", device.address),
            device.vendor_device >> 16,
            device.vendor_device & 0xffff,
            device.unit,
            device.domain,
            device.domain_id,
            device.owner
        );
    }
}
