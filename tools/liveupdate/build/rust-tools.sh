# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# The programs of tools/liveupdate. Sourced.

WORKSPACE=$TOP/tools/liveupdate
GUEST_TARGET=x86_64-unknown-linux-gnu

LIVEUPDATE_VM=$CARGO_TARGET_DIR/release/liveupdate-vm
LIVEUPDATE_PLUGIN=$CARGO_TARGET_DIR/release/libliveupdate_plugin.so
LIVEUPDATE_GUEST=$CARGO_TARGET_DIR/$GUEST_TARGET/release/liveupdate-guest

# The program for the VM is linked statically, its initramfs has no libraries.
build_rust_tools() {
	local cargo

	cargo=$(find_cargo)
	cd "$WORKSPACE"
	"$cargo" build --release --locked --package harness --package plugin
	CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUSTFLAGS="-C target-feature=+crt-static" \
		"$cargo" build --release --locked --package guest --target "$GUEST_TARGET"
}

# rust_tools: builds $LIVEUPDATE_VM, $LIVEUPDATE_PLUGIN and $LIVEUPDATE_GUEST.
rust_tools() {
	step "Building the VM harness" "$LOGS/tools.log" build_rust_tools
}
