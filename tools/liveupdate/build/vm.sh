#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# An interactive shell in the VM with the patched kernel.

set -euo pipefail
. "$(dirname "$0")/paths.sh"
. "$BUILD_DIR/report.sh"
. "$BUILD_DIR/toolchain.sh"
. "$BUILD_DIR/rust-tools.sh"

"$BUILD_DIR/prerequisites.sh" source kernel rust vm
"$BUILD_DIR/kernel.sh" vm
rust_tools
exec "$LIVEUPDATE_VM" shell --kernel "$("$BUILD_DIR/kernel.sh" vm --print)" \
	--guest "$LIVEUPDATE_GUEST" --out "$TOP/out"
