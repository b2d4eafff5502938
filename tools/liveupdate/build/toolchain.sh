# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# The Rust toolchain for the kernel: a rustc that comes with the sources of the
# core library, libclang and bindgen; clang, for what GCC cannot do together with
# Rust; and cargo-fuzz, for the host. Sourced.

BINDGEN_MIN=0.71.1	# scripts/min-tool-version.sh of Linux 7.3
BINDGEN_VERSION=0.73.2
CARGO_FUZZ_VERSION=0.13.2
RUSTC_MIN=1.85.0
CLANG_MIN=17.0.1
LIBCLANG_PATTERN='/usr/lib/llvm-*/lib/libclang-[0-9]*.so*'

# version_at_least FOUND WANTED
version_at_least() {
	[ "$(printf '%s\n%s\n' "$1" "$2" | sort -V | head -n 1)" = "$2" ]
}

find_rustc() {
	local rustc version

	for rustc in /usr/bin/rustc "$(command -v rustc || true)"; do
		[ -x "$rustc" ] || continue
		version=$("$rustc" --version 2>/dev/null | awk '{ print $2 }')
		version_at_least "${version:-0}" "$RUSTC_MIN" || continue
		[ -f "$("$rustc" --print sysroot)/lib/rustlib/src/rust/library/core/src/lib.rs" ] ||
			continue
		printf '%s' "$rustc"
		return
	done
	die "no rustc $RUSTC_MIN or later with the sources of the core library" \
		"Debian has them in rustc-web and rust-web-src"
}

find_libclang() {
	local dir

	dir=$(compgen -G "$LIBCLANG_PATTERN" | xargs -r -n 1 dirname |
		sort -Vu | tail -n 1)
	[ -n "$dir" ] || die "no libclang, which bindgen needs (Debian: libclang1-19)"
	printf '%s' "$dir"
}

find_bindgen() {
	local bindgen version

	for bindgen in "$TOOLS/bin/bindgen" "$(command -v bindgen || true)" \
			"$HOME/.cargo/bin/bindgen"; do
		[ -x "$bindgen" ] || continue
		version=$("$bindgen" --version 2>/dev/null | awk '{ print $2 }')
		version_at_least "${version:-0}" "$BINDGEN_MIN" || continue
		printf '%s' "$bindgen"
		return
	done
	return 1
}

find_clang() {
	local clang version

	for clang in $(compgen -G '/usr/bin/clang-[0-9]*' | sort -Vr) \
			"$(command -v clang || true)"; do
		version=$("$clang" -dumpversion 2>/dev/null) || continue
		version_at_least "$version" "$CLANG_MIN" || continue
		printf '%s' "$clang"
		return
	done
	die "no clang $CLANG_MIN or later (Debian: clang-19)"
}

find_cargo() {
	command -v cargo || { [ -x "$HOME/.cargo/bin/cargo" ] &&
		printf '%s' "$HOME/.cargo/bin/cargo"; } ||
		die "no cargo (Debian: cargo-web)"
}

# cargo_fuzz: sets CARGO_FUZZ.
cargo_fuzz() {
	local cargo

	CARGO_FUZZ=$TOOLS/bin/cargo-fuzz
	[ -x "$CARGO_FUZZ" ] || CARGO_FUZZ=$(command -v cargo-fuzz || true)
	[ -z "$CARGO_FUZZ" ] || return 0
	cargo=$(find_cargo)
	step "Building cargo-fuzz $CARGO_FUZZ_VERSION" "$LOGS/cargo-fuzz.log" \
		"$cargo" install --locked --version "$CARGO_FUZZ_VERSION" \
		--root "$TOOLS" cargo-fuzz
	CARGO_FUZZ=$TOOLS/bin/cargo-fuzz
}

# toolchain: sets RUST_MAKE, the variables that the kernel's make needs.
toolchain() {
	local rustc bindgen cargo

	rustc=$(find_rustc)
	LIBCLANG_PATH=$(find_libclang)
	export LIBCLANG_PATH
	if ! bindgen=$(find_bindgen); then
		cargo=$(find_cargo)
		step "Building bindgen $BINDGEN_VERSION" "$LOGS/bindgen.log" \
			"$cargo" install --locked --version "$BINDGEN_VERSION" \
			--root "$TOOLS" bindgen-cli
		bindgen=$TOOLS/bin/bindgen
	fi
	RUST_MAKE=(
		RUSTC="$rustc"
		HOSTRUSTC="$rustc"
		RUSTDOC="$(dirname "$rustc")/rustdoc"
		RUSTFMT="$(dirname "$rustc")/rustfmt"
		CLIPPY_DRIVER="$(dirname "$rustc")/clippy-driver"
		BINDGEN="$bindgen"
	)
}
