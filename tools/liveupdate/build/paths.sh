# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# Where things are. Sourced. Nothing is ever written below $TOP but out/.

TOP=$(cd "$(dirname "${BASH_SOURCE[0]}")/../../.." && pwd)
BUILD_DIR=$TOP/tools/liveupdate/build
CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/iommu-liveupdate
TOOLS=$CACHE/tools
LOGS=$CACHE/logs
CARGO_TARGET_DIR=$CACHE/cargo
export CARGO_TARGET_DIR
# Property tests would leave what made them fail beside their source.
export PROPTEST_DISABLE_FAILURE_PERSISTENCE=1

# Directories of the checkout whose files land at the same place in a kernel
# tree, and where the top-level Kconfig lands.
OVERLAY_DIRS=(Documentation drivers include rust tools/testing)
OVERLAY_KCONFIG=drivers/iommu/liveupdate/Kconfig

# The kernel series the patches are for.
SERIES=7.3
PATCHES=$TOP/patches/$SERIES
