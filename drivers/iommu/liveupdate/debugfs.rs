// SPDX-License-Identifier: GPL-2.0

//! What will be handed over and what was taken over, for people to look at.

use crate::{
    flb::FLB,
    sealed, //
};
use kernel::{
    seq_file::SeqFile,
    seq_print, //
};
use liveupdate_state::{
    Features,
    RunList,
    State,
    Tree, //
};

/// Calls `f` with the index that came from the previous kernel, or with the one that goes to the
/// next kernel, if there is any, and then with each state to which it leads.
pub(crate) fn for_each_blob(incoming: bool, mut f: impl FnMut(&[u8])) {
    if !incoming {
        return for_each_outgoing(|_, blob, _| f(blob));
    }
    let Ok(guard) = FLB.incoming() else {
        return;
    };
    let incoming = guard.get();
    // What was finished is not there any more, and nothing is finished meanwhile.
    let _progress = incoming.progress.lock();

    f(incoming.index());
    for iommufd in incoming.iommufds() {
        if let Ok(state) = iommufd.state() {
            f(&state);
        }
    }
}

fn for_each_outgoing(f: impl FnMut(u64, &[u8], Option<&RunList<'_>>)) {
    sealed::unless_published(|| {
        if let Ok(guard) = FLB.outgoing() {
            guard.get().for_each_blob(f);
        }
    });
}

/// What is handed over, except for pages.
#[derive(Default)]
pub(crate) struct Size {
    /// Entries in all run lists.
    pub(crate) runs: usize,
    /// Bytes of the index, the states, and both copies of the run lists.
    pub(crate) bytes: usize,
}

/// Adds up what will be handed over.
pub(crate) fn outgoing_size() -> Size {
    let mut size = Size::default();

    for_each_outgoing(|_, blob, runs| {
        let runs = runs.copied().unwrap_or_default();
        let lists = runs.as_bytes().len().saturating_mul(2);

        size.runs = size.runs.saturating_add(runs.runs().count());
        size.bytes = size.bytes.saturating_add(blob.len()).saturating_add(lists);
    });
    size
}

/// Prints what will be handed over as a table.
pub(crate) fn show_outgoing(m: &SeqFile) {
    for_each_outgoing(|phys, blob, runs| {
        let Some(runs) = runs else {
            seq_print!(m, "index at {:#x} size {}\n", phys, blob.len());
            return;
        };

        seq_print!(m, "state at {:#x} size {}\n", phys, blob.len());
        match State::parse(blob, Features::SUPPORTED) {
            Ok(state) => {
                let list = state.run_list();

                for phys in list.copies {
                    seq_print!(m, "run list at {:#x} entries {}\n", phys, list.entries);
                }
                show(m, &state, runs);
            }
            Err(e) => seq_print!(m, "rejected: {}\n", format_args!("{e}")),
        }
    });
}

/// Prints what was taken over as a table.
pub(crate) fn show_incoming(m: &SeqFile) {
    let Ok(guard) = FLB.incoming() else {
        return;
    };
    let incoming = guard.get();

    if let Some(e) = incoming.error() {
        seq_print!(m, "rejected: {}\n", format_args!("{e}"));
    }
    for iommufd in incoming.iommufds() {
        match (iommufd.records(), iommufd.runs()) {
            (Ok(records), Some(runs)) => show(m, records, &runs),
            (Err(e), _) => seq_print!(m, "rejected: {}\n", format_args!("{e}")),
            (Ok(_), None) => {}
        }
    }
}

fn show(m: &SeqFile, tree: &impl Tree, runs: &RunList<'_>) {
    let owner = tree.owner();

    seq_print!(m, "iommufd {} runs {}\n", owner, runs.runs().count());
    for unit in tree.units() {
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
    for domain in tree.domains() {
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
    for device in tree.devices() {
        seq_print!(
            m,
            "device {} {:04x}:{:04x} iommu {:#x} domain {} domain id {} owner {}\n",
            format_args!("{}", device.address),
            device.vendor_device >> 16,
            device.vendor_device & 0xffff,
            device.unit,
            device.domain,
            device.domain_id,
            owner
        );
    }
}
