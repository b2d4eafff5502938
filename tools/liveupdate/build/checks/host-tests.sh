# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash

# Crates of the kernel that are tested on the host too, and the tools.
check_host_tests() {
	local cargo manifest name

	cargo=$(find_cargo)
	while read -r manifest; do
		name=$(basename "$(dirname "$manifest")")
		suite "cargo test: $name" env -C "$TOP/$(dirname "$manifest")" \
			"$cargo" test --locked
	done < <(cd "$TOP" && find drivers -name Cargo.toml -not -path '*/fuzz/*' | sort)
	suite "cargo test: tools" env -C "$WORKSPACE" "$cargo" test --locked --workspace
}
