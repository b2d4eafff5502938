#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Writes the whole project as a series for git am to out/patches: the new files
# first, in groups, then the patches to existing files. Nothing of the new files
# is built before a patch refers to it, so that every step of the series builds.

set -euo pipefail
. "$(dirname "$0")/paths.sh"
. "$BUILD_DIR/report.sh"
. "$BUILD_DIR/overlay-files.sh"
. "$BUILD_DIR/source.sh"

"$BUILD_DIR/prerequisites.sh" source
git -C "$TOP" var GIT_AUTHOR_IDENT >/dev/null 2>&1 ||
	die "git does not know who you are, set user.name and user.email"

# PREFIX of the destination, TITLE, and why; the first prefix that fits counts.
groups() {
	cat <<-'EOF'
	rust/	rust: add KHO and live update abstractions	Safe wrappers for preserved and restored memory and for the handlers of the live update orchestrator. They know nothing of IOMMUs, any subsystem that takes part in a live update can use them.
	drivers/iommu/liveupdate/serde-fdt/	iommu/liveupdate: add serde-fdt	A reader and a writer of flattened devicetrees without allocation and without a panic path. The state of the IOMMUs is handed over as such a tree, and what the previous kernel wrote is untrusted input.
	drivers/iommu/liveupdate/state/	iommu/liveupdate: add the format of the state	Describe what one kernel hands over to the next, and check it when it is read. The crate knows nothing of the kernel around it, so that it is tested and fuzzed on the host as well.
	include/	iommu/liveupdate: add the interfaces to userspace and to the next kernel	What userspace sees, and the constants of the handover that both kernels have to agree on.
	drivers/	iommu: add live update	Keep the DMA of passed-through devices going while kexec replaces the kernel. The page tables that a process marks stay in place, and the next kernel takes the hardware's tables over before anything else uses the IOMMU.
	tools/testing/selftests/	selftests: add iommu_liveupdate	Every refusal with its error code, cancelling, and what is frozen from the preservation on.
	Documentation/	Documentation: describe the IOMMU live update	For userspace, for authors of IOMMU drivers, and the format of the state.
	EOF
}

series() {
	local repo=$1 out=$2 prefix title why from to

	cd "$repo"
	git init -q .
	git config user.name "$(git -C "$TOP" var GIT_AUTHOR_IDENT | sed 's/ <.*//')"
	git config user.email "$(git -C "$TOP" var GIT_AUTHOR_IDENT | sed 's/.*<\(.*\)>.*/\1/')"
	git config core.autocrlf false
	git config core.hooksPath /dev/null
	git config commit.gpgSign false

	while read -r to; do
		[ -f "$PRISTINE/$to" ] || continue
		mkdir -p "$(dirname "$to")"
		cp -p "$PRISTINE/$to" "$to"
	done < <(patched_files "${patches[@]}"; echo MAINTAINERS)
	git add -f .
	git commit -q -m "Linux $(kernel_version "$PRISTINE")"
	git tag base

	while IFS=$'\t' read -r from to; do
		mkdir -p "$(dirname "$to")"
		cp "$TOP/$from" "$to"
	done < <(overlay_files)
	while IFS=$'\t' read -r prefix title why; do
		[ -d "$prefix" ] || continue
		git add -f "$prefix"
		git diff --cached --quiet || printf '%s\n\n%s\n' "$title" "$why" |
			fold -s -w 72 | sed 's/ *$//' | git commit -q -s -F -
	done < <(groups)
	[ -z "$(git status --porcelain)" ] ||
		{ echo "error: no group for:"; git status --porcelain; exit 1; }

	git am -q "${patches[@]}"

	"$BUILD_DIR/maintainers.awk" "$TOP/MAINTAINERS.fragment" MAINTAINERS >MAINTAINERS.new
	mv MAINTAINERS.new MAINTAINERS
	git commit -q -a -s -m "MAINTAINERS: add the IOMMU live update"

	rm -rf "$out"
	git format-patch -q --zero-commit --no-signature -o "$out" base
}

source_tree
shopt -s nullglob
patches=("$PATCHES"/*.patch)
repo=$(mktemp -d)
trap 'rm -rf "$repo"' EXIT
step "Writing the series" "$LOGS/series.log" series "$repo" "$TOP/out/patches"
say "$(find "$TOP/out/patches" -name '*.patch' | wc -l) patches in out/patches, for Linux $(kernel_version "$PRISTINE"): git am out/patches/*.patch"
