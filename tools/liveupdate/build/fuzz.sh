#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Fuzzes each target for $FUZZ_SECONDS.

set -euo pipefail
. "$(dirname "$0")/paths.sh"
. "$BUILD_DIR/report.sh"
. "$BUILD_DIR/toolchain.sh"
. "$BUILD_DIR/results.sh"
. "$BUILD_DIR/checks/fuzz.sh"

"$BUILD_DIR/prerequisites.sh" fuzz
cargo_fuzz
check_fuzz "$FUZZ_SECONDS"
totals
