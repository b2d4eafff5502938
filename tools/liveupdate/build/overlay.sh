#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Usage: overlay.sh TREE
#
# Brings a kernel tree up to date with the patches and the overlay. Files are
# written only when their content changes, so that the next build compiles what
# changed and nothing else. TREE/.iommu-liveupdate remembers the original of
# every patched file, and what was written, so that this can run again after a
# patch has changed.

set -euo pipefail
. "$(dirname "$0")/paths.sh"
. "$BUILD_DIR/report.sh"
. "$BUILD_DIR/kernel-version.sh"
. "$BUILD_DIR/overlay-files.sh"

[ $# -eq 1 ] || die "usage: overlay.sh TREE"
require_series "$1"
tree=$(cd "$1" && pwd)
state=$tree/.iommu-liveupdate
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
stage=$work/stage
mkdir -p "$stage" "$state/orig"
touch "$state/written"

copy() {
	mkdir -p "$(dirname "$2")"
	cp -- "$1" "$2"
}

# The originals of what the patches touch: what was put aside the first time,
# or the file itself.
stage_originals() {
	local file

	while read -r file; do
		if [ -f "$state/orig/$file" ]; then
			copy "$state/orig/$file" "$stage/$file"
		elif [ -f "$tree/$file" ]; then
			copy "$tree/$file" "$stage/$file"
		fi
	done <"$work/patched"
}

apply_patches() {
	local patch

	for patch in "${patches[@]}"; do
		if ! GIT_CEILING_DIRECTORIES=$work git -C "$stage" apply \
			--whitespace=nowarn "$patch" 2>"$work/rejects"; then
			sed 's/^error: /  | /' "$work/rejects" >&2
			die "patch does not apply to Linux $(kernel_version "$tree"): ${patch#"$TOP"/}" \
				"in the tree $tree"
		fi
	done
}

stage_overlay() {
	local from to

	while IFS=$'\t' read -r from to; do
		if [ -e "$tree/$to" ] && ! grep -qxF "$to" "$work/before"; then
			die "$from would replace a file of the kernel: $tree/$to" \
				"existing files are changed by patches/$SERIES only"
		fi
		copy "$TOP/$from" "$stage/$to"
	done < <(overlay_files)
}

# A file that is neither what was last written here nor what is to be written
# now holds somebody's work.
refuse_to_lose_work() {
	local sum file lost=()

	while read -r sum file; do
		cmp -s "$tree/$file" "$stage/$file" || lost+=("$file")
	done < <(cd "$tree" && xargs -r -d '\n' sha256sum <"$work/before" \
			2>"$work/missing" | grep -vxF -f "$state/written")
	[ ${#lost[@]} -eq 0 ] || die \
		"these files in $tree were edited after the overlay was put there:" \
		"${lost[@]}" \
		"move the changes into the checkout, delete the files and try again"
}

# The originals are put aside before the first write, so that an interrupted
# run can be repeated.
keep_originals() {
	local file

	while read -r file; do
		[ -f "$tree/$file" ] && [ ! -f "$state/orig/$file" ] || continue
		mkdir -p "$(dirname "$state/orig/$file")"
		cp -p -- "$tree/$file" "$state/orig/$file"
	done <"$work/patched"
}

write_tree() {
	local file

	while read -r file; do
		if [ ! -f "$stage/$file" ]; then
			rm -f -- "$tree/$file"
		elif ! cmp -s "$stage/$file" "$tree/$file"; then
			copy "$stage/$file" "$tree/$file"
			changed=$((changed + 1))
		fi
	done < <(sort -u "$work/patched" "$work/staged")

	# What an earlier run wrote and this one does not goes back.
	while read -r file; do
		[ ! -f "$stage/$file" ] || continue
		changed=$((changed + 1))
		if [ -f "$state/orig/$file" ]; then
			copy "$state/orig/$file" "$tree/$file"
			rm -- "$state/orig/$file"
		else
			rm -f -- "$tree/$file"
		fi
	done <"$work/before"
}

shopt -s nullglob
patches=("$PATCHES"/*.patch)
changed=0

cut -d ' ' -f 3- "$state/written" | sort -u >"$work/before"
patched_files "${patches[@]}" >"$work/patched"
stage_originals
apply_patches
stage_overlay
(cd "$stage" && find . -type f -printf '%P\n' | sort) >"$work/staged"
refuse_to_lose_work
keep_originals
(cd "$stage" && xargs -r -d '\n' sha256sum) <"$work/staged" >"$work/written"
# Until the new list is in place the tree may hold files of either.
sort -u "$state/written" "$work/written" >"$work/both"
cp "$work/both" "$state/written"
write_tree
mv "$work/written" "$state/written"

say "overlay: $(wc -l <"$work/staged") files, $changed changed in $tree"
