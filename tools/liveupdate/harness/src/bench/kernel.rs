// SPDX-License-Identifier: GPL-2.0
//! The functions of a kernel, and the places from which they may be called.

use anyhow::{Context, Result, bail};
use object::read::elf::ElfFile64;
use object::{Object, ObjectSection, ObjectSymbol, SectionKind};
use std::collections::HashSet;
use std::fs;
use std::path::Path;

/// Size of a direct call: an opcode and a 32-bit distance.
const DIRECT: usize = 5;
/// Sizes of indirect calls, without and with a REX prefix, by how they address their target.
const INDIRECT: [usize; 6] = [2, 3, 4, 6, 7, 8];

/// A piece of code.
struct Code {
    address: u64,
    bytes: Vec<u8>,
}

/// A kernel at the addresses for which it was linked.
pub struct Kernel {
    /// Addresses and names of all functions; those of Rust as Rust writes them.
    pub functions: Vec<(u64, String)>,
    code: Vec<Code>,
}

impl Kernel {
    /// Reads a vmlinux.
    pub fn read(path: &Path) -> Result<Self> {
        let what = || path.display().to_string();
        let content = fs::read(path).with_context(what)?;
        Self::parse(&content).with_context(what)
    }

    fn parse(content: &[u8]) -> Result<Self> {
        let file = ElfFile64::<object::Endianness>::parse(content)?;
        let mut code = Vec::new();
        for section in file.sections() {
            if section.kind() == SectionKind::Text {
                code.push(Code {
                    address: section.address(),
                    bytes: section.data()?.to_vec(),
                });
            }
        }
        let is_code = |address: u64| {
            let mut code = code.iter();
            code.any(|code| {
                let offset = address.checked_sub(code.address);
                offset.is_some_and(|offset| offset < code.bytes.len() as u64)
            })
        };
        let symbols = file.symbols().filter(|symbol| is_code(symbol.address()));
        let functions = symbols.filter_map(|symbol| {
            let name = symbol.name().ok().filter(|name| !name.is_empty())?;
            Some((symbol.address(), demangle(name)))
        });
        Ok(Self {
            functions: functions.collect(),
            code,
        })
    }

    /// Makes sure that there is exactly one function of each name.
    pub fn check(&self, names: &[&str]) -> Result<()> {
        for name in names {
            match self
                .functions
                .iter()
                .filter(|(_, other)| other == name)
                .count()
            {
                1 => {}
                0 => bail!("the kernel has no function {name}: was it inlined?"),
                count => bail!("the kernel has {count} functions {name}"),
            }
        }
        Ok(())
    }

    /// The addresses behind all calls of these functions, and behind all indirect calls. What only
    /// looks like a call, being a part of another instruction, does no harm.
    pub fn returns(&self, names: &[String]) -> Vec<u64> {
        let functions = self.functions.iter();
        let targets: HashSet<_> = functions
            .filter(|(_, name)| names.contains(name))
            .map(|(address, _)| *address)
            .collect();
        let mut returns = HashSet::new();
        for code in &self.code {
            for offset in 0..code.bytes.len() {
                let (address, bytes) = (code.address + offset as u64, &code.bytes[offset..]);
                match *bytes {
                    [0xe8, a, b, c, d, ..] => {
                        let behind = address + DIRECT as u64;
                        let distance = i64::from(i32::from_le_bytes([a, b, c, d]));
                        if targets.contains(&behind.wrapping_add_signed(distance)) {
                            returns.insert(behind);
                        }
                    }
                    // Group 5, /2.
                    [0xff, mod_rm, ..] if (mod_rm >> 3) & 7 == 2 => {
                        returns.extend(INDIRECT.map(|size| address + size as u64));
                    }
                    _ => {}
                }
            }
        }
        returns.into_iter().collect()
    }
}

/// The name without what tells versions of a crate apart.
fn demangle(name: &str) -> String {
    format!("{:#}", rustc_demangle::demangle(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kernel(bytes: &[u8]) -> Kernel {
        let function = |address, name: &str| (address, name.to_owned());
        Kernel {
            functions: vec![
                function(0x1000, "a"),
                function(0x2000, "b"),
                function(0x2008, "b"),
            ],
            code: vec![Code {
                address: 0x1000,
                bytes: bytes.to_vec(),
            }],
        }
    }

    #[test]
    fn direct_calls_of_the_function_are_found() {
        // call 0x1000 at 0x1001, call 0x2000 at 0x1006
        let kernel = kernel(&[0x90, 0xe8, 0xfa, 0xff, 0xff, 0xff, 0xe8, 0xf5, 0x0f, 0, 0]);
        assert_eq!(kernel.returns(&["a".into()]), [0x1006]);
        assert_eq!(kernel.returns(&["b".into()]), [0x100b]);
        assert!(kernel.returns(&["c".into()]).is_empty());
    }

    #[test]
    fn all_indirect_calls_are_found() {
        // call *%rax; jmp *%rax; call *0x8(%rbx)
        let kernel = kernel(&[0xff, 0xd0, 0xff, 0xe0, 0xff, 0x53, 0x08, 0x90]);
        let returns = kernel.returns(&[]);
        assert!(returns.contains(&0x1002));
        assert!(returns.contains(&0x1007));
        // The jump is the only one that could end three bytes behind it.
        assert!(!returns.contains(&0x1005));
    }

    #[test]
    fn a_name_must_mean_one_function() {
        let kernel = kernel(&[]);
        assert!(kernel.check(&["a"]).is_ok());
        assert!(kernel.check(&["b"]).is_err());
        assert!(kernel.check(&["c"]).is_err());
    }

    #[test]
    fn names_of_rust_are_readable() {
        let name = "_RNvNtCsl7L7n58I0Vr_6kernel3kho11ptr_to_phys";
        assert_eq!(demangle(name), "kernel::kho::ptr_to_phys");
        assert_eq!(demangle("kho_memory_init"), "kho_memory_init");
    }

    #[test]
    fn something_else_is_refused() {
        assert!(Kernel::parse(b"what is this").is_err());
    }
}
