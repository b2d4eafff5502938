#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Usage: prerequisites.sh GROUP...
#
# Makes sure that what the named groups need is there. What is missing is
# installed when run as root, otherwise the one command that installs it is
# printed. Only what is looked for counts, not the package it comes from, so
# that this also works where it was installed in another way.

set -euo pipefail
. "$(dirname "$0")/paths.sh"
. "$BUILD_DIR/report.sh"

# GROUP  WHAT  DEBIAN-PACKAGE, where WHAT is a command, or a file (or extended
# pattern) with a slash.
requirements() {
	cat <<-'EOF'
	source	xz				xz-utils
	source	git				git
	kernel	gcc				gcc
	kernel	make				make
	kernel	/usr/include/stdio.h		libc6-dev
	kernel	flex				flex
	kernel	bison				bison
	kernel	bc				bc
	kernel	perl				perl
	kernel	/usr/include/gelf.h		libelf-dev
	rust	/usr/bin/rustc			rustc-web
	rust	/usr/lib/rustlib/src/rust/library/core/src/lib.rs	rust-web-src
	rust	/usr/lib/llvm-*/lib/libclang-[0-9]*.so*	libclang1-19
	rust	cargo				cargo-web
	vm	qemu-system-x86_64		qemu-system-x86
	vm	/bin/busybox			busybox-static
	vm	cpio				cpio
	debug	/usr/bin/clang-@(1[7-9]|[2-9][0-9])	clang-19
	check	/usr/bin/rustfmt		rustfmt-web
	check	/usr/bin/clippy-driver		rust-web-clippy
	check	sparse				sparse
	check	/usr/include/sys/capability.h	libcap-dev
	check	dtc				device-tree-compiler
	fuzz	g++				g++
	fuzz	rustc				rustc-web
	fuzz	cargo				cargo-web
	EOF
}

# User installations of cargo are often not in the PATH of make.
PATH=$PATH:$HOME/.cargo/bin

shopt -s extglob
present() {
	case $1 in
	*/*) compgen -G "$1" >/dev/null ;;
	*) command -v "$1" >/dev/null ;;
	esac
}

missing_packages() {
	local group what package

	while read -r group what package; do
		[[ " $groups " == *" $group "* ]] || continue
		present "$what" || echo "$package"
	done < <(requirements) | sort -u
}

install() {
	export DEBIAN_FRONTEND=noninteractive
	step "Reading the package lists" "$LOGS/apt-update.log" apt-get update
	step "Installing ${#missing[@]} packages" "$LOGS/apt-install.log" \
		apt-get install -y --no-install-recommends "${missing[@]}"
}

groups=$*
mapfile -t missing < <(missing_packages)
[ ${#missing[@]} -gt 0 ] || exit 0

if ! command -v apt-get >/dev/null; then
	die "missing: ${missing[*]} (names of Debian packages)" \
		"install what they contain with this system's own means"
elif [ "$(id -u)" -ne 0 ]; then
	die "packages are missing, this command installs them:" \
		"sudo apt-get install --no-install-recommends ${missing[*]}"
fi

install
mapfile -t missing < <(missing_packages)
[ ${#missing[@]} -eq 0 ] ||
	die "still missing after the installation: ${missing[*]}"
