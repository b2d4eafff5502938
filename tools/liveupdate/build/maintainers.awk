#!/usr/bin/awk -f
# SPDX-License-Identifier: GPL-2.0
#
# Usage: maintainers.awk FRAGMENT MAINTAINERS
#
# Prints MAINTAINERS with the entry of FRAGMENT at its place in the alphabet.
# Entries are separated by empty lines, the title is the first line of each;
# comments at the top of FRAGMENT are dropped. The list is not in order
# everywhere, but it is from one title with our first letter to the next.

BEGIN { in_list = 0; done = 0 }

FNR == NR {
	if ($0 ~ /^#/ || ($0 == "" && entry == ""))
		next
	if (entry == "")
		title = $0
	entry = entry $0 "\n"
	next
}

/^3C59X/ { in_list = 1 }

{
	if (in_list && !done && previous == "" && $0 > title &&
	    substr($0, 1, 1) == substr(title, 1, 1)) {
		sub(/\n+$/, "\n", entry)
		printf "%s\n", entry
		done = 1
	}
	previous = $0
	print
}

END { exit !done }
