# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash

# C=2 runs sparse on objects that are up to date without compiling them. Debian
# 12's sparse does not know __typeof_unqual__, and kbuild then skips it.
sparse_object() {
	env -u MAKEFLAGS -u MAKELEVEL make -C "$PATCHED" O="$VERSION_DIR/vm" \
		LOCALVERSION= "${RUST_MAKE[@]}" \
		C=2 CHECK="sparse -D__typeof_unqual__=__typeof__" "$1"
}

# kbuild only warns when it finds sparse unusable, so what counts is its word
# that the file was checked.
sparse_ran() {
	local output

	output=$(sparse_object "$1" 2>&1) || { printf '%s\n' "$output"; return 1; }
	printf '%s\n' "$output"
	grep -q "CHECK *${1%.o}\.c" <<<"$output"
}

check_sparse() {
	local object

	while read -r object; do
		check "sparse: ${object%.o}.c" only_ours sparse_ran "$object"
	done < <(overlay_files | cut -f 2 | sed -n 's,^\(drivers/.*\)c$,\1o,p' | sort)
}
