#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Usage: clean.sh builds|everything

set -euo pipefail
. "$(dirname "$0")/paths.sh"

rm -rf -- "$TOP/out"
case $1 in
builds)
	# Sources as unpacked and the tools stay.
	rm -rf -- "$CACHE"/linux-*/{patched,vm,test,other,newer,soak,debug,disabled,unpatched,selftests,series} \
		"$CARGO_TARGET_DIR" "$LOGS"
	;;
everything)
	rm -rf -- "$CACHE"
	;;
esac
