#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Usage: kernel.sh FLAVOUR [--print]
#
# Configures and builds a kernel in the cache. --print builds nothing and
# prints the path of its image.
#
# vm         patched, with nothing in it that a production kernel would not
#            have but the KUnit core, which stays off: what the demo and the
#            kexec tests boot
# test       the same with every test that runs inside the kernel. A kernel of
#            its own because IOMMUFD_TEST replaces parts of iommufd by mocks,
#            and LIVEUPDATE_TEST adds records to every handover.
# debug      the same with KASAN, lockdep and whatever else finds defects at run
#            time, and with what the selftests need
# other      the same source in another configuration, which the kernel that the
#            kexec tests boot is replaced by in one of them
# newer      vm as a later release may be: with a feature of the state that vm
#            does not understand
# soak       vm with the option to damage what it hands over
# disabled   patched, with the tree's own tests and without the project's
#            option and Rust: has to be as the unpatched one
# unpatched  the distribution's source with the tree's own tests, without Rust:
#            what the results of the patched kernel are compared with

set -euo pipefail
. "$(dirname "$0")/paths.sh"
. "$BUILD_DIR/report.sh"
. "$BUILD_DIR/source.sh"
. "$BUILD_DIR/toolchain.sh"

PATH=$PATH:$HOME/.cargo/bin
flavour=${1:-}
case $flavour in
vm) fragments=(base liveupdate) ;;
test) fragments=(base liveupdate test liveupdate-test) ;;
debug) fragments=(base liveupdate test debug) ;;
other) fragments=(base liveupdate other) ;;
newer) fragments=(base liveupdate newer) ;;
soak) fragments=(base liveupdate soak) ;;
disabled | unpatched) fragments=(base test) ;;
*) die "usage: kernel.sh vm|test|debug|other|newer|soak|disabled|unpatched [--print]" ;;
esac

kmake() {
	env -u MAKEFLAGS -u MAKELEVEL -u KSRC make -C "$tree" O="$out" \
		LOCALVERSION= "${RUST_MAKE[@]}" "$@"
}

# The configuration is made anew each time, and replaced only when it differs,
# so that an option which a patch adds to Kconfig never asks a question.
configure() {
	local new=$out/.config.new

	[ ${#RUST_MAKE[@]} -eq 0 ] || kmake rustavailable
	kmake KCONFIG_ALLCONFIG="$out/fragment.config" KCONFIG_CONFIG="$new" allnoconfig
	if ! cmp -s "$new" "$out/.config"; then
		mv "$new" "$out/.config"
	else
		rm "$new"
	fi
	rm -f "$new.old"
}

# A fragment may set what one before it has set to something else.
last_of_each() {
	tac | awk -F = '!/^CONFIG_/ || !seen[$1]++' | tac
}

# A line of the fragments that the configuration did not take is an error: an
# option was renamed, or what it depends on is off.
verify_config() {
	local line option refused=()

	while read -r line; do
		option=${line%%=*}
		case $line in
		*=n) ! grep -q "^$option=" "$out/.config" || refused+=("$line") ;;
		*) grep -qxF "$line" "$out/.config" || refused+=("$line") ;;
		esac
	done < <(grep -h '^CONFIG_' "$out/fragment.config")
	[ ${#refused[@]} -eq 0 ] ||
		die "the kernel's configuration did not take these lines:" \
			"${refused[@]}" "log: $LOGS/kernel-$flavour-config.log"
}

# Most objects of these kernels are those of the one without their options. kbuild
# compiles again what was built by another command, and commands name the build
# directory.
copy_objects() {
	cp -a "$1" "$2.new"
	grep -rlZF --include='.*.cmd' --include='*.d' "$1/" "$2.new" |
		xargs -0 -r sed -i "s,$1/,$2/,g; s,$1 ,$2 ,g"
	mv "$2.new" "$2"
}

seed() {
	[[ $flavour = @(test|newer|soak) ]] && [ ! -d "$out" ] &&
		[ -f "$VERSION_DIR/vm/arch/x86/boot/bzImage" ] || return 0
	rm -rf "$out.new"
	step "Copying the objects of the kernel (vm)" "$LOGS/kernel-seed.log" \
		copy_objects "$VERSION_DIR/vm" "$out"
}

build() {
	kmake -j"$(nproc)" bzImage
}

RUST_MAKE=()
if [ "${2:-}" = --print ]; then
	source_tree >&2
	printf '%s\n' "$VERSION_DIR/$flavour/arch/x86/boot/bzImage"
	exit
fi

mkdir -p "$CACHE"
exec 9>"$CACHE/lock"
flock -n 9 || { say "Waiting for another build in $CACHE"; flock 9; }

if [ "$flavour" = unpatched ]; then
	source_tree
	tree=$PRISTINE
else
	patched_tree
	tree=$PATCHED
	toolchain
	[ "$flavour" != debug ] || RUST_MAKE+=(CC="$(find_clang)")
fi
out=$VERSION_DIR/$flavour
seed
mkdir -p "$out"
for fragment in "${fragments[@]}"; do
	cat "$BUILD_DIR/$fragment.config"
done | last_of_each >"$out/fragment.config"
step "Configuring the kernel ($flavour)" "$LOGS/kernel-$flavour-config.log" configure
verify_config
step "Building the kernel ($flavour)" "$LOGS/kernel-$flavour.log" build
