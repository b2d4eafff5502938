// SPDX-License-Identifier: GPL-2.0

//! No path of the crate leads to a panic: optimized as in the kernel and with overflow checks on,
//! its object code refers to no function that panics.

use std::{
    env,
    path::{
        Path,
        PathBuf, //
    },
    process::Command, //
};

fn run(command: &mut Command) -> String {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {stderr}");
    String::from_utf8(output.stdout).unwrap()
}

/// Compiles `source` to an object; returns the symbols that it needs from elsewhere.
fn undefined_symbols(source: &Path, crate_name: &str, dir: &Path) -> Vec<String> {
    let object = dir.join(crate_name).with_extension("o");
    let metadata = dir.join(format!("lib{crate_name}.rmeta"));
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    run(Command::new(rustc)
        .args(["--edition=2021", "--crate-type=rlib", "-Copt-level=2"])
        .args(["-Coverflow-checks=on", "-Cpanic=abort", "-Ccodegen-units=1"])
        // Without this, functions small enough to be inlined by others get no object code here.
        .arg("-Zcross-crate-inline-threshold=never")
        .env("RUSTC_BOOTSTRAP", "1")
        .args(["--crate-name", crate_name, "-L"])
        .arg(dir)
        .args(["--extern", "serde_fdt"])
        .arg(format!(
            "--emit=obj={},metadata={}",
            object.display(),
            metadata.display()
        ))
        .arg(source));
    let symbols = run(Command::new("nm")
        .arg("--undefined-only")
        .arg("--format=just-symbols")
        .arg(object));
    symbols.lines().map(str::to_string).collect()
}

/// Picks what panics: `core::panicking`, and functions such as `slice_index_fail`,
/// `unwrap_failed` and `len_mismatch_fail`. Names are mangled, but readable in parts.
fn panicking(symbols: &[String]) -> Vec<&String> {
    symbols
        .iter()
        .filter(|symbol| symbol.contains("panic") || symbol.contains("fail"))
        .collect()
}

#[test]
fn object_code_refers_to_no_panic() {
    let dir = tempfile::tempdir().unwrap();
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));

    let symbols = undefined_symbols(&root.join("src/serde_fdt.rs"), "serde_fdt", dir.path());
    assert!(!symbols.is_empty(), "the crate needs core::fmt at least");
    assert_eq!(panicking(&symbols), [&""; 0], "in serde_fdt itself");

    // Generic functions exist only where they are used.
    let user = root.join("tests/no_panic/user.rs");
    let symbols = undefined_symbols(&user, "user", dir.path());
    assert!(symbols.iter().any(|symbol| symbol.contains("serde_fdt")));
    assert_eq!(panicking(&symbols), [&""; 0], "in a user of serde_fdt");
}

/// The control: each way to panic that the rules of the crate exclude is found.
#[test]
fn panics_are_found() {
    let dir = tempfile::tempdir().unwrap();
    for (name, body) in [
        ("index", "b[i]"),
        ("slice", "b[i..][..1].len() as u8"),
        ("unwrap", "b.get(i).copied().unwrap()"),
        ("expect", "b.get(i).copied().expect(\"\")"),
        ("add", "(i + 1) as u8"),
        ("divide", "(1 / i) as u8"),
        ("copy", "let mut a = [0; 4]; a.copy_from_slice(b); a[0]"),
        ("panic", "if i == 0 { panic!() } else { 0 }"),
    ] {
        let source = dir.path().join(name).with_extension("rs");
        let text =
            format!("#![no_std]\npub fn f(b: &[u8], i: usize) -> u8 {{ let _ = b; {body} }}\n");
        std::fs::write(&source, text).unwrap();
        let symbols = undefined_symbols(&source, name, dir.path());
        assert!(!panicking(&symbols).is_empty(), "{name}: {symbols:?}");
    }
}
