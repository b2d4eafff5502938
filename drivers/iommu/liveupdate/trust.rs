// SPDX-License-Identifier: GPL-2.0

//! Whether what the previous kernel has handed over is believed without a check.
//!
//! Never, but in kernels for tests that ask for it, see `CONFIG_IOMMU_LIVEUPDATE_DAMAGE`.

#[cfg(CONFIG_IOMMU_LIVEUPDATE_DAMAGE)]
pub(crate) use crate::damage_hooks::is_trusting;

/// Whether checks are skipped.
#[cfg(not(CONFIG_IOMMU_LIVEUPDATE_DAMAGE))]
pub(crate) const fn is_trusting() -> bool {
    false
}
