# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# What the user sees: messages, and the progress of long steps. Sourced.

# say TEXT: one line of plain news.
say() {
	printf '%s\n' "$*"
}

# die TEXT...: one clear message, one line per argument, and the end.
die() {
	printf 'error: %s\n' "$1" >&2
	shift
	[ $# -eq 0 ] || printf '       %s\n' "$@" >&2
	exit 1
}

elapsed() {
	printf '%d:%02d' $((($1) / 60)) $((($1) % 60))
}

# The last line of a log, without what would move the cursor.
last_line() {
	tail -n 1 -- "$1" 2>/dev/null | tr -d '\r\033' | tr '\t' ' ' |
		tr -s ' ' | cut -c "1-$2"
}

# launch LOG COMMAND...: start COMMAND in the background, in a process group of
# its own so that an interrupted script takes all of it along. Sets pid.
launch() {
	local log=$1
	shift

	mkdir -p "$(dirname "$log")"
	set -m
	"$@" >"$log" 2>&1 </dev/null &
	pid=$!
	set +m
	trap 'kill -- "-$pid" 2>/dev/null; exit 130' INT TERM
}

# Shows how long step $1 has been running until the process $3 ends. $2 is the
# log it writes to.
watch_step() {
	local what=$1 log=$2 pid=$3 start=$SECONDS shown=0 now width

	while kill -0 "$pid" 2>/dev/null; do
		now=$((SECONDS - start))
		if [ -t 1 ]; then
			width=$(($(tput cols 2>/dev/null || echo 80) - ${#what} - 12))
			printf '\r\033[K[%5s] %s  %s' "$(elapsed $now)" "$what" \
				"$(last_line "$log" $((width > 10 ? width : 10)))"
			sleep 0.5
		else
			if ((now - shown >= 30)); then
				printf '[%5s] %s  %s\n' "$(elapsed $now)" "$what" \
					"$(last_line "$log" 50)"
				shown=$now
			fi
			sleep 1
		fi
	done
	[ ! -t 1 ] || printf '\r\033[K'
}

# explain_log LOG: the lines of a log that most likely name the cause, each with
# the one after it, where rustc says which file it means.
explain_log() {
	grep -vE '\*\*\* (\[.*Error|Waiting for)' -- "$1" |
		grep -A 1 --no-group-separator -E \
			'(^|[^a-z_])(error(\[|:)|fatal|E:|undefined reference|FAIL|\*\*\*)' |
		head -n 16 | grep . || tail -n 8 -- "$1"
}

# step TEXT LOG COMMAND...: run COMMAND with its output in LOG, show progress,
# and stop with the cause and the log's name when it fails.
step() {
	local what=$1 log=$2 start=$SECONDS pid status=0
	shift 2

	launch "$log" "$@"
	watch_step "$what" "$log" "$pid"
	wait "$pid" || status=$?
	trap - INT TERM
	if [ "$status" -ne 0 ]; then
		explain_log "$log" | sed 's/^/  | /' >&2
		die "$what: failed after $(elapsed $((SECONDS - start)))" "log: $log"
	fi
	printf '[%5s] %s: done\n' "$(elapsed $((SECONDS - start)))" "$what"
}
