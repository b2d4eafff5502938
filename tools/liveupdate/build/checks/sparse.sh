# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash

# C=2 runs sparse on objects that are up to date without compiling them.
sparse_object() {
	env -u MAKEFLAGS -u MAKELEVEL make -C "$PATCHED" O="$VERSION_DIR/vm" \
		LOCALVERSION= "${RUST_MAKE[@]}" C=2 CHECK="sparse" "$1"
}

check_sparse() {
	local object

	while read -r object; do
		check "sparse: ${object%.o}.c" only_ours sparse_object "$object"
	done < <(overlay_files | cut -f 2 | sed -n 's,^\(drivers/.*\)c$,\1o,p' | sort)
}
