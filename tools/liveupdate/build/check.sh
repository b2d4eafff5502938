#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Usage: check.sh [debug]
#
# All tests: formatting and lints, the host's tests, the tests in the VM. Or the
# tests in the VM that need a kexec, on a kernel with KASAN, lockdep and the like.

set -euo pipefail
. "$(dirname "$0")/paths.sh"
. "$BUILD_DIR/report.sh"
. "$BUILD_DIR/source.sh"
. "$BUILD_DIR/toolchain.sh"
. "$BUILD_DIR/overlay-files.sh"
. "$BUILD_DIR/rust-tools.sh"
. "$BUILD_DIR/results.sh"
. "$BUILD_DIR/checks/rustfmt.sh"
. "$BUILD_DIR/checks/checkpatch.sh"
. "$BUILD_DIR/checks/host-tests.sh"
. "$BUILD_DIR/checks/clippy.sh"
. "$BUILD_DIR/checks/sparse.sh"
. "$BUILD_DIR/checks/fuzz.sh"
. "$BUILD_DIR/checks/vm-tests.sh"
. "$BUILD_DIR/checks/debug.sh"

if [ "${1:-}" = debug ]; then
	"$BUILD_DIR/prerequisites.sh" source kernel rust vm check debug
	"$BUILD_DIR/kernel.sh" debug
	"$BUILD_DIR/kernel.sh" other
	"$BUILD_DIR/kernel.sh" unpatched
	"$BUILD_DIR/selftests.sh" "${SELFTESTS[@]}"
	rust_tools
	rm -rf "$CHECK_LOGS"
	check_debug
	totals
	exit
fi

"$BUILD_DIR/prerequisites.sh" source kernel rust vm check fuzz
"$BUILD_DIR/kernel.sh" vm
patched_tree >/dev/null
toolchain
cargo_fuzz
rust_tools
rm -rf "$CHECK_LOGS"

check_rustfmt
check_checkpatch
check_clippy
check_sparse
check_host_tests
check_fuzz 20
check_vm_tests
totals
