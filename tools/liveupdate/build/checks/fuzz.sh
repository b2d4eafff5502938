# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# The fuzz targets of the crates of the kernel. What they find is in out/fuzz.

FUZZ_HOST=x86_64-unknown-linux-gnu
FUZZ_TARGET_DIR=$CARGO_TARGET_DIR/fuzz

# The crates are without unsafe code, so a sanitizer would find nothing, and
# without one any compiler will do.
build_fuzz_targets() {
	local cargo

	cargo=$(find_cargo)
	cd "$1"
	"$cargo" fetch --locked
	PATH=$(dirname "$cargo"):$PATH "$CARGO_FUZZ" build --fuzz-dir . \
		--sanitizer none --target "$FUZZ_HOST" --target-dir "$FUZZ_TARGET_DIR"
}

# run_fuzz_target DIR CRATE TARGET SECONDS: starts from the corpus in the
# repository, and from what earlier runs have found worth keeping.
run_fuzz_target() {
	local kept=$CACHE/fuzz/$2-$3 found=$TOP/out/fuzz/$2-$3

	mkdir -p "$kept" "$found"
	"$FUZZ_TARGET_DIR/$FUZZ_HOST/release/$3" -max_total_time="$4" \
		-timeout=10 -rss_limit_mb=1024 -print_final_stats=1 \
		-artifact_prefix="$found/" "$kept" "$1/corpus/$3"
}

fuzz_targets() {
	sed -n '/^\[\[bin\]\]/,$ s/^name = "\(.*\)"$/\1/p' "$1/Cargo.toml"
}

# fuzz_result WHAT EXPECTED: the line of the target that was run. EXPECTED is its
# exit status, 0, or 77 for one that has to find something.
fuzz_result() {
	local n

	n=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
	if [ "$status" -ne "$2" ] || [ "${n:-0}" -eq 0 ]; then
		report_failure "fuzz: $1: exit status $status after ${n:-no} executions" 1
		return
	fi
	passed=$((passed + 1))
	printf 'ok   fuzz: %s: %d executions, %s\n' "$1" "$n" \
		"$([ "$2" -eq 0 ] && echo "no finding" || echo "the fault was found")"
}

# check_fuzz SECONDS: each target for that long. The one that is called "control"
# leaves a check out, and has to find what comes of it.
check_fuzz() {
	local dir crate target

	rm -rf "$TOP/out/fuzz"
	while read -r dir; do
		crate=$(basename "$(dirname "$dir")")
		run "fuzz: building the targets of $crate" build_fuzz_targets "$dir"
		if [ "$status" -ne 0 ]; then
			report_failure "fuzz: the targets of $crate" 1
			continue
		fi
		while read -r target; do
			run "fuzz: $crate: $target" run_fuzz_target "$dir" "$crate" "$target" "$1"
			fuzz_result "$crate: $target" "$([ "$target" = control ] && echo 77 || echo 0)"
		done < <(fuzz_targets "$dir")
	done < <(find "$TOP/drivers" -path '*/fuzz/Cargo.toml' -printf '%h\n' | sort)
}
