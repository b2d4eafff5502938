# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# The kernel sources in the cache: a pristine tree, and next to it a working
# copy with the patches and the overlay. Sourced.

. "$BUILD_DIR/kernel-version.sh"

# Debian suites that carry the current kernel's source package.
SUITES=(sid trixie-backports)
PACKAGE=linux-source-$SERIES

# apt with lists and settings of its own, so that the system's stay as they are
# and no privileges are needed.
private_apt() {
	local command=$1
	shift
	"$command" -qq \
		-o Dir::Etc::SourceList="$APT/sources.list" \
		-o Dir::Etc::SourceParts=/dev/null \
		-o Dir::Etc::Preferences=/dev/null \
		-o Dir::Etc::PreferencesParts=/dev/null \
		-o Dir::State="$APT/state" \
		-o Dir::State::Lists="$APT/lists" \
		-o Dir::Cache="$APT/cache" \
		-o Acquire::Languages=none \
		-o APT::Sandbox::User=root \
		"$@"
}

# The mirrors that this machine's apt takes Debian itself from.
mirrors() {
	apt-get indextargets --format '$(REPO_URI) $(RELEASE)' 'Identifier: Packages' |
		awk '$2 !~ /security/ { print $1 }' | sort -u
}

write_sources_list() {
	local mirror suite

	mkdir -p "$APT/lists/partial" "$APT/cache/archives/partial" "$APT/state"
	for mirror in $(mirrors); do
		for suite in "${SUITES[@]}"; do
			printf 'deb [signed-by=%s] %s %s main\n' \
				/usr/share/keyrings/debian-archive-keyring.gpg \
				"$mirror" "$suite"
		done
	done >"$APT/sources.list"
	[ -s "$APT/sources.list" ] ||
		die "apt on this machine names no Debian mirror, give a tree with KSRC="
}

# The newest version of the package in any of the suites.
newest_version() {
	private_apt apt-cache madison "$PACKAGE" | awk -F ' *[|] *' '{ print $2 }' |
		sort -V | tail -n 1
}

unpack() {
	dpkg-deb --fsys-tarfile "$1" |
		tar -xO "./usr/src/$PACKAGE.tar.xz" |
		tar -xJ -C "$2" --strip-components=1
}

# Fetches the distribution's source package into the cache. Sets PRISTINE.
fetch_source() {
	local version deb tree

	PRISTINE=$(compgen -G "$CACHE/linux-$SERIES.*/pristine" |
		grep -E '/linux-[0-9.]+/pristine$' | sort -V | tail -n 1) && return

	APT=$CACHE/apt
	write_sources_list
	step "Reading Debian's package lists" "$LOGS/source-lists.log" \
		private_apt apt-get update
	version=$(newest_version)
	[ -n "$version" ] || die "no package $PACKAGE in ${SUITES[*]}" \
		"unpack Linux $SERIES.y somewhere and give it with KSRC="
	step "Fetching $PACKAGE $version" "$LOGS/source-fetch.log" \
		env -C "$APT" bash -c "$(declare -f private_apt); APT=$(printf %q "$APT") \
			private_apt apt-get download $PACKAGE=$version"
	deb=$(compgen -G "$APT/${PACKAGE}_*.deb") ||
		die "apt-get downloaded no $PACKAGE" "log: $LOGS/source-fetch.log"

	tree=$CACHE/unpack
	rm -rf "$tree"
	mkdir -p "$tree"
	step "Unpacking $PACKAGE $version" "$LOGS/source-unpack.log" unpack "$deb" "$tree"
	PRISTINE=$CACHE/linux-$(kernel_version "$tree")/pristine
	mkdir -p "$(dirname "$PRISTINE")"
	mv "$tree" "$PRISTINE"
	rm -rf "$APT"
}

# A copy of the user's tree without history and build products, made anew when
# anything in the tree has changed.
copy_user_source() {
	local dir key fingerprint tree=$CACHE/unpack

	[ ! -d "$1/.iommu-liveupdate" ] ||
		die "KSRC=$1 already carries the overlay, build it there or give an unpatched tree"
	key=$(realpath "$1" | sha256sum | cut -c 1-8)
	dir=$CACHE/linux-$(kernel_version "$1")-$key
	PRISTINE=$dir/pristine
	fingerprint=$(find "$1" -name .git -prune -o -type f ! -name '*.o' ! -name '.*' \
		-printf '%P %s %T@\n' | sort | sha256sum)
	[ "$(cat "$dir/fingerprint" 2>/dev/null)" != "$fingerprint" ] || return 0

	rm -rf "$tree" "$dir"
	mkdir -p "$tree" "$dir"
	step "Copying $1" "$LOGS/source-copy.log" bash -c \
		'set -o pipefail
		 tar -C "$1" --exclude-vcs --exclude="*.o" --exclude="*.a" -c . |
			tar -C "$2" -x && make -C "$2" -s mrproper' - "$1" "$tree"
	mv "$tree" "$PRISTINE"
	printf '%s\n' "$fingerprint" >"$dir/fingerprint"
}

# source_tree: sets PRISTINE, from KSRC if that is given.
source_tree() {
	if [ -n "${KSRC:-}" ]; then
		require_series "$KSRC"
		copy_user_source "$KSRC"
	else
		fetch_source
	fi
	VERSION_DIR=$(dirname "$PRISTINE")
}

# patched_tree: sets PATCHED, up to date with the checkout.
patched_tree() {
	source_tree
	PATCHED=$VERSION_DIR/patched
	if [ ! -d "$PATCHED" ]; then
		rm -rf "$PATCHED.new"
		step "Copying the kernel source" "$LOGS/source-copy.log" \
			cp -a "$PRISTINE" "$PATCHED.new"
		mv "$PATCHED.new" "$PATCHED"
	fi
	"$BUILD_DIR/overlay.sh" "$PATCHED"
}
