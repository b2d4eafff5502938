# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# The tests in the VM that need a kexec, on the kernel that finds defects.

DEBUG_GROUPS=(updates swaps killed)

# What a kernel prints about a defect, and when it stops looking for some.
REPORTS='(BUG|WARNING|Oops|UBSAN|ODEBUG): |BUG [a-z]|kernel BUG at|Kernel panic'
REPORTS+='|INFO: (possible|rcu|task|trying|lockdep|Slab|Object|Freed|Allocated)'
REPORTS+='|pagealloc: |rust_kernel: panicked|turning off the locking correctness'

# What LKDTM provokes, and the report of it.
PROVOKED=(
	"READ_AFTER_FREE	BUG: KASAN: slab-use-after-free"
	"ARRAY_BOUNDS	UBSAN: array-index-out-of-bounds"
	"CORRUPT_LIST_ADD	list_add corruption"
)

# every_kernel LOG PATTERN: every kernel of ours in LOG has printed PATTERN. Ours
# is built by clang, those that only follow it or are compared with it by GCC.
every_kernel() {
	local kernels found

	kernels=$(grep -c '\] Linux version .*clang' "$1")
	found=$(grep -c "$2" "$1")
	[ "$kernels" -eq "$found" ] ||
		{ echo "FAIL $1: \"$2\" from $found of $kernels kernels"; return 1; }
}

# no_reports DIR: no kernel log below DIR has a report, and the kernels were able
# to report.
no_reports() {
	local log logs status=0

	mapfile -t logs < <(find "$1" -name console.log | sort)
	grep -q 'KernelAddressSanitizer initialized' "${logs[@]}" /dev/null ||
		{ echo "FAIL no log of a kernel with KASAN in $1"; return 1; }
	for log in "${logs[@]}"; do
		every_kernel "$log" 'KernelAddressSanitizer initialized' || status=1
		every_kernel "$log" 'Lock dependency validator' || status=1
		! grep -EH -m 3 "$REPORTS" "$log" | sed 's/^/FAIL /' | grep . || status=1
	done
	return "$status"
}

# provoked TYPE REPORT: the kernel reports it, and no_reports() sees that.
provoked() {
	local out=$TOP/out/debug-provoked/$1

	rm -rf "$out"
	"$LIVEUPDATE_VM" boot --kernel "$("$BUILD_DIR/kernel.sh" debug --print)" \
		--guest "$LIVEUPDATE_GUEST" --timeout 600 --out "$out" \
		--cmdline-extra "lkdtm.cpoint_name=DIRECT lkdtm.cpoint_type=$1" &&
		grep -r "$2" "$out" && ! no_reports "$out"
}

# debug_suite NAME OPTION...
debug_suite() {
	local name=$1 kernel=$BUILD_DIR/kernel.sh
	shift

	suite "tests in the VM (debug): $name" "$LIVEUPDATE_VM" test "$@" \
		--kernel "$("$kernel" debug --print)" \
		--test-kernel "$("$kernel" debug --print)" \
		--other-kernel "$("$kernel" other --print)" \
		--unpatched-kernel "$("$kernel" unpatched --print)" \
		--selftests "$("$BUILD_DIR/selftests.sh" --print)" \
		--guest "$LIVEUPDATE_GUEST" --timeout 600 --slow-drive 2 \
		--out "$TOP/out/debug/$name"
}

check_debug() {
	local type report group

	for report in "${PROVOKED[@]}"; do
		IFS=$'\t' read -r type report <<<"$report"
		check "a provoked defect is reported: $report" provoked "$type" "$report"
	done

	rm -rf "$TOP/out/debug"
	for group in "${DEBUG_GROUPS[@]}"; do
		debug_suite "$group" --only "$group"
	done
	# The shadow and the initramfs with the selftests have to fit into the
	# memory that the next kernel boots in.
	debug_suite selftests --only selftests --cmdline-extra kho_scratch=64M,256M,64M
	# pciehp_unconfigure_device() takes pci_rescan_remove_lock and reset_lock
	# in both orders, with and without the patches.
	debug_suite unplugged --only unplugged --cmdline-extra lockdep.prove_locking=0
	check "no report in the kernel logs" no_reports "$TOP/out/debug"
}
