#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Usage: selftests.sh TARGET...
#
# Builds kernel selftests (directories of tools/testing/selftests) of the patched
# tree, statically linked for the VM's initramfs, and installs each TARGET below
# the directory that --print names.

set -euo pipefail
. "$(dirname "$0")/paths.sh"
. "$BUILD_DIR/report.sh"
. "$BUILD_DIR/source.sh"

source_tree >&2
tree=$VERSION_DIR/patched
out=$VERSION_DIR/selftests
if [ "$1" = --print ]; then
	printf '%s\n' "$out"
	exit
fi

build() {
	local target

	env -u MAKEFLAGS -u MAKELEVEL -u KSRC make -C "$tree" O="$out/headers" headers
	for target; do
		# Not every Makefile there knows which headers it includes.
		[ -z "$(find "$out/headers/usr/include" "$tree/tools/testing/selftests" \
			-name '*.h' -newer "$out/$target" -print -quit)" ] ||
			rm -rf "${out:?}/$target"
		mkdir -p "$out/$target"
		env -u MAKEFLAGS -u MAKELEVEL -u KSRC \
			make -C "$tree/tools/testing/selftests/$target" \
			OUTPUT="$out/$target" LDFLAGS=-static \
			KHDR_INCLUDES="-isystem $out/headers/usr/include"
	done
}

mkdir -p "$out/headers"
step "Building the kernel's selftests" "$LOGS/selftests.log" build "$@"
