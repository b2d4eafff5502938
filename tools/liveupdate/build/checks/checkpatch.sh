# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash

checkpatch() {
	env -C "$PATCHED" ./scripts/checkpatch.pl --strict --no-summary \
		--show-types --terse "$@"
}

# What a patch adds to MAINTAINERS comes from MAINTAINERS.fragment.
check_checkpatch() {
	local patch files

	for patch in "$PATCHES"/*.patch; do
		check "checkpatch: $(basename "$patch")" \
			checkpatch --ignore FILE_PATH_CHANGES "$patch"
	done
	mapfile -t files < <(overlay_files | cut -f 2 | grep -E '\.[chS]$')
	check "checkpatch: C files" checkpatch --file "${files[@]}"
}
