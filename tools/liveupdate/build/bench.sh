#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Usage: bench.sh [quick]
#
# Builds what is needed and counts the instructions of each step.

set -euo pipefail
. "$(dirname "$0")/paths.sh"
. "$BUILD_DIR/report.sh"
. "$BUILD_DIR/toolchain.sh"
. "$BUILD_DIR/rust-tools.sh"

"$BUILD_DIR/prerequisites.sh" source kernel rust vm
"$BUILD_DIR/kernel.sh" vm
rust_tools
image=$("$BUILD_DIR/kernel.sh" vm --print)
exec "$LIVEUPDATE_VM" bench ${1:+--quick} --kernel "$image" \
	--vmlinux "${image%/arch/x86/boot/bzImage}/vmlinux" \
	--plugin "$LIVEUPDATE_PLUGIN" --guest "$LIVEUPDATE_GUEST" --out "$TOP/out"
