# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash

# Rust objects of drivers, one command file of kbuild each.
rust_objects() {
	(cd "$VERSION_DIR/vm" && find drivers -name '.*.o.cmd' \
		-exec grep -l 'rustc' {} +)
}

# kbuild rebuilds every Rust object when CLIPPY=1 changes. Replaying the saved
# command of one object with clippy in rustc's place, and without code
# generation, gives the same lints and touches nothing. Prints what clippy says
# about files of ours.
kernel_clippy() {
	local saved=$1 dir command

	dir=$(mktemp -d)
	command=$(sed -n '1s/^savedcmd_[^ ]* := *//p' "$saved" | sed 's/ ; .*//' |
		sed -E 's, [^ ]*/?rustc , /usr/bin/clippy-driver ,; s, --emit=[^ ]+,,g; s, (-o|--out-dir) [^ ]+,,g')
	RUSTC_BOOTSTRAP=1 CLIPPY_CONF_DIR=$PATCHED bash -c \
		"$command --emit=metadata --out-dir $dir --error-format=short" || {
		rm -rf "$dir"
		return 1
	}
	rm -rf "$dir"
}

only_ours() {
	local ours status=0

	ours=$(mktemp)
	overlay_files | cut -f 2 | sed "s,^,$PATCHED/," >"$ours"
	"$@" >"$ours.out" 2>&1 || status=$?
	cat "$ours.out"
	! grep -F -f "$ours" "$ours.out" | grep -E ': (warning|error)' || status=1
	rm -f "$ours" "$ours.out"
	return "$status"
}

check_clippy() {
	local object

	for object in rust/.kernel.o.cmd $(rust_objects); do
		check "clippy: $(sed -E 's,/\.([^/]*)\.cmd$,/\1,' <<<"$object")" \
			only_ours env -C "$VERSION_DIR/vm" bash -c \
			"$(declare -f kernel_clippy); PATCHED=$(printf %q "$PATCHED") kernel_clippy $object"
	done
	check "clippy: tools" env -C "$WORKSPACE" RUSTC=/usr/bin/rustc \
		CARGO="$(find_cargo)" /usr/bin/cargo-clippy clippy --workspace \
		--all-targets --locked --target-dir "$CARGO_TARGET_DIR/clippy" -- -D warnings
}
