# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# Which kernel a source tree is. Sourced.

# kernel_version TREE: prints VERSION.PATCHLEVEL.SUBLEVEL of a kernel tree.
kernel_version() {
	[ -f "$1/Makefile" ] || return 1
	awk '$1 == "VERSION" { v = $3 }
	     $1 == "PATCHLEVEL" { p = $3 }
	     $1 == "SUBLEVEL" { s = $3; exit }
	     END { if (v == "" || p == "" || s == "") exit 1
		   printf "%s.%s.%s\n", v, p, s }' "$1/Makefile"
}

# require_series TREE: ends the script unless TREE is a kernel of our series.
require_series() {
	local found

	[ -d "$1" ] || die "KSRC=$1: no such directory"
	found=$(kernel_version "$1") ||
		die "KSRC=$1 is not a Linux source tree: its Makefile names no version"
	case $found in
	"$SERIES".*) ;;
	*) die "KSRC=$1 is Linux $found, but this needs Linux $SERIES.y" ;;
	esac
}
