#!/usr/bin/awk -f
# SPDX-License-Identifier: GPL-2.0
#
# Usage: maintainers.awk FRAGMENT MAINTAINERS
#
# Prints MAINTAINERS with the entry of FRAGMENT at its place in the alphabet.
# The first line of an entry is its title, an empty line ends it. The list as a
# whole is not in order, the titles that share their first word are.

function first_word(text) {
	sub(/ .*/, "", text)
	return text
}

FNR == NR {
	if ($0 ~ /^#/ || $0 == "")
		next
	if (entry == "")
		title = $0
	entry = entry $0 "\n"
	next
}

{
	if (!done && previous == "" && $0 > title && first_word($0) == first_word(title)) {
		printf "%s\n", entry
		done = 1
	}
	previous = $0
	print
}

END { exit !done }
