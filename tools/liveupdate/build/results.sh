# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# Running tests and counting them. Sourced.

passed=0
failed=0
skipped=0
CHECK_LOGS=$LOGS/check

# run NAME COMMAND...: run COMMAND with progress. Sets log and status.
run() {
	local name=$1 pid
	shift

	log=$CHECK_LOGS/$(tr -cs 'a-zA-Z0-9\n' - <<<"$name").log
	status=0
	launch "$log" "$@"
	watch_step "$name" "$log" "$pid"
	wait "$pid" || status=$?
	trap - INT TERM
}

report_failure() {
	failed=$((failed + $2))
	printf 'FAIL %s\n' "$1"
	{ grep '^FAIL' "$log" || explain_log "$log"; } | sed 's/^/     | /'
	printf '     log: %s\n' "$log"
}

# check NAME COMMAND...: one test, COMMAND's exit status is its result.
check() {
	run "$@"
	if [ "$status" -eq 0 ]; then
		passed=$((passed + 1))
		printf 'ok   %s\n' "$1"
	else
		report_failure "$1" 1
	fi
}

# The sums of a log: of every "test result:" line of cargo test, and of every
# line "N passed, N failed[, N skipped]".
sums() {
	sed -n -E \
		-e 's/^test result: .* ([0-9]+) passed; ([0-9]+) failed; ([0-9]+) ignored.*/\1 \2 \3/p' \
		-e 's/^([0-9]+) passed, ([0-9]+) failed$/\1 \2 0/p' \
		-e 's/^([0-9]+) passed, ([0-9]+) failed, ([0-9]+) skipped$/\1 \2 \3/p' "$1" |
		awk '{ p += $1; f += $2; s += $3 } END { print p + 0, f + 0, s + 0 }'
}

# suite NAME COMMAND...: a program that runs tests of its own and says how many.
# One that ends badly without a failed test, or runs none, is a failure itself.
suite() {
	local p f s

	run "$@"
	read -r p f s < <(sums "$log")
	passed=$((passed + p))
	skipped=$((skipped + s))
	if [ "$status" -eq 0 ] && [ "$f" -eq 0 ] && [ "$p" -gt 0 ]; then
		printf 'ok   %s: %d passed%s\n' "$1" "$p" \
			"$([ "$s" -eq 0 ] || printf ', %d skipped' "$s")"
	else
		report_failure "$1: $p passed, $f failed, exit status $status" \
			$((f > 0 ? f : 1))
	fi
}

# The closing line. Fails unless tests ran and all of them passed.
totals() {
	printf '%d passed, %d failed' "$passed" "$failed"
	[ "$skipped" -eq 0 ] || printf ', %d skipped' "$skipped"
	printf '\n'
	[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
}
