// SPDX-License-Identifier: GPL-2.0
//! The functions of a kernel, by its System.map.

use anyhow::{Context, Result, bail};
use std::fs;
use std::path::Path;

/// Where the kernel's code is mapped.
const KERNEL: u64 = 0xffff_ffff_8000_0000;

/// Reads addresses and names; those of Rust are shown as Rust writes them.
pub fn read(path: &Path) -> Result<Vec<(u64, String)>> {
    let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
    parse(&text).with_context(|| path.display().to_string())
}

fn parse(text: &str) -> Result<Vec<(u64, String)>> {
    let mut functions = Vec::new();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let (Some(address), Some(kind), Some(name)) = (words.next(), words.next(), words.next())
        else {
            bail!("unexpected line {line:?}");
        };
        let address = u64::from_str_radix(address, 16).context("no address")?;
        if address >= KERNEL && matches!(kind, "t" | "T" | "w" | "W") {
            functions.push((address, format!("{:#}", rustc_demangle::demangle(name))));
        }
    }
    Ok(functions)
}

/// Makes sure that there is exactly one function of each name.
pub fn check(functions: &[(u64, String)], names: &[&str]) -> Result<()> {
    for name in names {
        match functions.iter().filter(|(_, other)| other == name).count() {
            1 => {}
            0 => bail!("the kernel has no function {name}: was it inlined?"),
            count => bail!("the kernel has {count} functions {name}"),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAP: &str = "0000000000001000 A percpu\n\
                       ffffffff81000000 T a\n\
                       ffffffff81000010 t _RNvNtCsl7L7n58I0Vr_6kernel3kho11ptr_to_phys\n\
                       ffffffff81000020 t b\n\
                       ffffffff81000030 t b\n\
                       ffffffff82000000 D data\n";

    #[test]
    fn functions_are_found_and_demangled() {
        let functions = parse(MAP).unwrap();
        let names: Vec<_> = functions.iter().map(|(_, name)| &**name).collect();
        assert_eq!(names, ["a", "kernel::kho::ptr_to_phys", "b", "b"]);
        assert_eq!(functions[1].0, 0xffff_ffff_8100_0010);
    }

    #[test]
    fn a_name_must_mean_one_function() {
        let functions = parse(MAP).unwrap();
        assert!(check(&functions, &["a", "kernel::kho::ptr_to_phys"]).is_ok());
        assert!(check(&functions, &["b"]).is_err());
        assert!(check(&functions, &["c"]).is_err());
    }

    #[test]
    fn something_else_is_refused() {
        assert!(parse("what is this\n").is_err());
        assert!(parse("ffffffff81000000\n").is_err());
    }
}
