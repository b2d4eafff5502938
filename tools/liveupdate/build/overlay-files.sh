# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# What the patches and the overlay consist of. Sourced.

# Files of the checkout that land in the kernel tree, as "SOURCE<tab>DESTINATION".
# The crates' own manifests, tests and fuzz targets are for the host only.
overlay_files() {
	local dir

	for dir in "${OVERLAY_DIRS[@]}"; do
		[ -d "$TOP/$dir" ] || continue
		(cd "$TOP" && find "$dir" \
			\( -path '*/liveupdate/*/tests' -o -path '*/liveupdate/*/fuzz' \
			   -o -path '*/liveupdate/*/target' \) -prune -o \
			-type f ! -name 'Cargo.*' ! -name '.gitignore' \
			! -name '*.proptest-regressions' -printf '%p\t%p\n')
	done
	printf 'Kconfig\t%s\n' "$OVERLAY_KCONFIG"
}

# patched_files PATCH...: the files of the kernel that the patches touch.
patched_files() {
	[ $# -eq 0 ] ||
		sed -n -E 's,^(---|\+\+\+) [ab]/([^\t]*).*,\2,p' "$@" | sort -u
}
