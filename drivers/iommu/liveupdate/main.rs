// SPDX-License-Identifier: GPL-2.0

//! Keeps the DMA of passed-through devices running while the kernel is replaced by kexec.
//!
//! | step | in | what happens |
//! |---|---|---|
//! | preserve | `iommufd.rs`, `vfio.rs`, `outgoing.rs` | page tables and attachments are frozen and recorded |
//! | preflight | `preflight.rs` | an image that cannot take over is refused |
//! | freeze | `sealed.rs` | the record becomes what the kernel obeys when it ends |
//! | shutdown | `scrub.rs` | entries that were not preserved are cleared |
//! | takeover | `takeover.rs` | the new kernel adopts the tables of a unit, or blocks it |
//! | restore | `restore.rs` | a device gets back the domain that it is using |
//! | retrieve | `iommufd.rs`, `vfio.rs`, `retrieved.rs` | userspace gets its files and HWPTs back |
//! | verify | `verify.rs` | restored page tables are compared with new ones |
//! | reap | `retrieved.rs`, `reclaim.rs` | what was restored is given back |
//!
//! `counters.rs` counts what that takes. The record, and what is decided from it without a kernel, is in the crate `liveupdate_state`.

mod counters;
#[cfg(CONFIG_IOMMU_LIVEUPDATE_DAMAGE)]
mod damage;
#[cfg(CONFIG_IOMMU_LIVEUPDATE_DAMAGE)]
mod damage_hooks;
mod debugfs;
mod exports;
mod flb;
mod hooks;
mod incoming;
mod iommufd;
mod iommufd_hooks;
mod outgoing;
#[cfg(CONFIG_IOMMU_LIVEUPDATE_KUNIT_TEST)]
mod page_table_kunit;
mod pool;
mod pool_hooks;
#[cfg(CONFIG_IOMMU_LIVEUPDATE_KUNIT_TEST)]
mod pool_kunit;
mod preflight;
mod preflight_hooks;
mod reclaim;
mod restore;
mod retrieved;
mod run_list;
mod scrub;
mod sealed;
#[cfg(CONFIG_IOMMU_LIVEUPDATE_KUNIT_TEST)]
mod serde_fdt_kunit;
#[cfg(CONFIG_IOMMU_LIVEUPDATE_KUNIT_TEST)]
mod state_kunit;
mod tables_hooks;
mod takeover;
mod trust;
mod verify;
mod vfio;
mod vfio_hooks;

use kernel::prelude::*;

module! {
    type: IommuLiveupdate,
    name: "iommu_liveupdate",
    authors: ["The iommu-liveupdate authors"],
    description: "Live update of IOMMUs",
    license: "GPL",
    params: {
        check_tables: bool {
            default: false,
            description: "Compare page tables with their checksums before they are taken over",
        },
        pool: bool {
            default: true,
            description: "Allocate page tables that may be preserved in contiguous blocks",
        },
    },
}

struct IommuLiveupdate {
    _iommufd: Option<iommufd::Handler>,
    _vfio: Option<vfio::Handler>,
}

impl kernel::Module for IommuLiveupdate {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        // SAFETY: This is called once, and only handlers and files in debugfs, which are registered
        // later, use the module.
        unsafe { sealed::init() };

        Ok(Self {
            _iommufd: iommufd::register()?,
            _vfio: vfio::register()?,
        })
    }
}
