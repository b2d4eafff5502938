#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Builds what is needed and hands over damaged states, many times.

set -euo pipefail
. "$(dirname "$0")/paths.sh"
. "$BUILD_DIR/report.sh"
. "$BUILD_DIR/toolchain.sh"
. "$BUILD_DIR/rust-tools.sh"

"$BUILD_DIR/prerequisites.sh" source kernel rust vm
# Its objects are the beginning of the other kernel.
"$BUILD_DIR/kernel.sh" vm
"$BUILD_DIR/kernel.sh" soak
rust_tools
exec "$LIVEUPDATE_VM" soak --kernel "$("$BUILD_DIR/kernel.sh" soak --print)" \
	--guest "$LIVEUPDATE_GUEST" --out "$TOP/out"
