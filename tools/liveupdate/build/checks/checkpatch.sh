# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash

checkpatch() {
	env -C "$PATCHED" ./scripts/checkpatch.pl --strict --no-summary \
		--show-types --terse "$@"
}

# What would have to be added to MAINTAINERS is in MAINTAINERS.fragment.
check_checkpatch() {
	local patch files

	for patch in "$PATCHES"/*.patch; do
		check "checkpatch: $(basename "$patch")" \
			checkpatch --ignore FILE_PATH_CHANGES "$patch"
	done
	mapfile -t files < <(overlay_files | cut -f 2 | grep -E '(\.[ch]|/Kconfig|/Makefile)$')
	check "checkpatch: C files, Kconfig, Makefiles" checkpatch --file "${files[@]}"
}
