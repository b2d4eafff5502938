#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Puts the patches and the overlay into the user's own tree, KSRC, and says how
# to go on.

set -euo pipefail
. "$(dirname "$0")/paths.sh"
. "$BUILD_DIR/report.sh"

[ -n "${KSRC:-}" ] || die "which tree? make overlay KSRC=TREE, TREE being Linux $SERIES.y"
"$BUILD_DIR/prerequisites.sh" source
"$BUILD_DIR/overlay.sh" "$KSRC"
cat <<EOF

Enable in its configuration:
  $(grep -h '^CONFIG_' "$BUILD_DIR/liveupdate.config" | paste -sd ' ')
and what they depend on:
  CONFIG_KEXEC_HANDOVER CONFIG_LIVEUPDATE CONFIG_LIVEUPDATE_MEMFD
  CONFIG_INTEL_IOMMU CONFIG_IOMMUFD=y CONFIG_VFIO_PCI CONFIG_VFIO_DEVICE_CDEV
Boot both kernels with:
  kho=on liveupdate=on intel_iommu=on
Running the same command again brings the tree up to date. What it changed is
listed in .iommu-liveupdate/ there, with the originals.
EOF
