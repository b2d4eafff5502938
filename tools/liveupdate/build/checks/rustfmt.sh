# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash

# The kernel's files in the kernel's style, the host's programs in cargo's.
# rustfmt follows "mod", so what is checked twice is checked twice.
check_rustfmt() {
	local kernel host

	mapfile -t kernel < <(cd "$TOP" && find drivers rust -name '*.rs' -not -path '*/target/*')
	mapfile -t host < <(cd "$WORKSPACE" && find . -name '*.rs' -not -path '*/target/*')
	check "rustfmt: kernel" env -C "$TOP" /usr/bin/rustfmt --check --color never \
		--config-path "$PRISTINE/.rustfmt.toml" "${kernel[@]}"
	check "rustfmt: tools" env -C "$WORKSPACE" /usr/bin/rustfmt --check --color never \
		--edition 2024 "${host[@]}"
}
