// SPDX-License-Identifier: GPL-2.0
//! Following calls from one translation block to the next.
//!
//! A block is entered at its beginning only, and a call or a return ends it. So a measured function
//! is entered when a block is executed that begins where it begins, and has returned when one is
//! that begins behind the call.

use crate::symbols::{Function, Symbols};
use protocol::{Call, CountConfig, Counts, Entry, ProfileEntry};
use std::collections::HashMap;

/// A translation block.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Block {
    /// Virtual address of its first instruction.
    pub start: u64,
    /// Virtual address behind its last instruction.
    pub end: u64,
    /// How many it has.
    pub instructions: u64,
    /// Whether the last one is a call.
    pub ends_in_call: bool,
}

/// A block, by its place among all.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct BlockId(pub usize);

/// What the beginning of a block is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Begins {
    /// Nothing of interest.
    Nothing,
    /// A measured function, by its number.
    Measured(usize),
    /// A kernel.
    Kernel,
}

#[derive(Clone, Copy, Debug)]
struct Known {
    block: Block,
    begins: Begins,
    function: Function,
}

/// A call that has not returned.
#[derive(Clone, Copy, Debug)]
struct Open {
    call: usize,
    measured: usize,
    returns_to: u64,
}

/// Counts calls.
#[derive(Debug, Default)]
pub struct Calls {
    symbols: Symbols,
    measured: Vec<(u64, String)>,
    start: u64,
    known: Vec<Known>,
    ids: HashMap<Block, usize>,
    instructions: u64,
    kernel: u32,
    /// The block before this one ended in a call.
    called: bool,
    /// The address behind the last call.
    behind_call: u64,
    open: Vec<Open>,
    calls: Vec<Call>,
    /// Instructions in this kernel by measured function and by function.
    taken: Vec<Vec<u64>>,
    profile: Vec<ProfileEntry>,
}

impl Calls {
    /// Nothing counted yet.
    ///
    /// # Errors
    ///
    /// The name of a function that there is not.
    pub fn new(config: CountConfig) -> Result<Self, String> {
        let symbols = Symbols::new(config.functions);
        let address = |name: &str| symbols.address(name).ok_or(name.to_owned());
        let start = address(&config.start)?;
        let measured = config.measured.into_iter();
        let measured = measured
            .map(|name| Ok((address(&name)?, name)))
            .collect::<Result<Vec<_>, String>>()?;
        Ok(Self {
            taken: vec![vec![0; symbols.count()]; measured.len()],
            symbols,
            measured,
            start,
            ..Self::default()
        })
    }

    /// Takes note of a block that was translated. One that was translated before keeps its id.
    pub fn translated(&mut self, block: Block) -> BlockId {
        if let Some(&id) = self.ids.get(&block) {
            return BlockId(id);
        }
        let is = |(address, _): &(u64, String)| *address == block.start;
        let begins = match self.measured.iter().position(is) {
            _ if block.start == self.start => Begins::Kernel,
            Some(measured) => Begins::Measured(measured),
            None => Begins::Nothing,
        };
        let id = self.known.len();
        self.known.push(Known {
            block,
            begins,
            function: self.symbols.find(block.start),
        });
        self.ids.insert(block, id);
        BlockId(id)
    }

    /// A block is about to be executed.
    pub fn executed(&mut self, id: BlockId) {
        let Some(&Known {
            block,
            begins,
            function,
        }) = self.known.get(id.0)
        else {
            return;
        };
        if !self.open.is_empty() {
            self.leave(block.start);
        }
        match begins {
            Begins::Nothing => {}
            Begins::Measured(measured) => self.enter(measured),
            Begins::Kernel => {
                self.close(0, false);
                self.end_profile();
                self.kernel += 1;
            }
        }
        for open in &self.open {
            let taken = self.taken.get_mut(open.measured);
            if let Some(taken) = taken.and_then(|taken| taken.get_mut(function.index())) {
                *taken += block.instructions;
            }
        }
        self.instructions += block.instructions;
        self.called = block.ends_in_call;
        if block.ends_in_call {
            self.behind_call = block.end;
        }
    }

    fn enter(&mut self, measured: usize) {
        let entry = if self.called {
            Entry::Call
        } else {
            Entry::Jump
        };
        self.open.push(Open {
            call: self.calls.len(),
            measured,
            returns_to: self.behind_call,
        });
        self.calls.push(Call {
            function: self
                .measured
                .get(measured)
                .map_or(String::new(), |(_, name)| name.clone()),
            kernel: self.kernel,
            start: self.instructions,
            instructions: 0,
            depth: u32::try_from(self.open.len() - 1).unwrap_or(u32::MAX),
            entry,
            returned: false,
        });
    }

    /// Ends the innermost call that returns to `address`, and those in it, which have not returned.
    fn leave(&mut self, address: u64) {
        let Some(depth) = self
            .open
            .iter()
            .rposition(|open| open.returns_to == address)
        else {
            return;
        };
        self.close(depth + 1, false);
        self.close(depth, true);
    }

    /// Ends all calls from this depth on.
    fn close(&mut self, depth: usize, returned: bool) {
        for open in self.open.drain(depth.min(self.open.len())..) {
            if let Some(call) = self.calls.get_mut(open.call) {
                call.instructions = self.instructions - call.start;
                call.returned = returned;
            }
        }
    }

    /// Turns to the profile of the next kernel.
    fn end_profile(&mut self) {
        for ((_, within), taken) in self.measured.iter().zip(&mut self.taken) {
            let taken = taken.iter_mut().map(std::mem::take);
            let entries = taken
                .enumerate()
                .filter(|(_, instructions)| *instructions > 0);
            self.profile
                .extend(entries.map(|(index, instructions)| ProfileEntry {
                    within: within.clone(),
                    kernel: self.kernel,
                    function: self.symbols.name(Function::from_index(index)).into(),
                    instructions,
                }));
        }
    }

    /// Everything that was counted.
    pub fn counts(&mut self) -> Counts {
        self.close(0, false);
        self.end_profile();
        Counts {
            instructions: self.instructions,
            calls: self.calls.clone(),
            profile: self.profile.clone(),
        }
    }
}

/// Whether an x86-64 instruction is a near call.
pub fn is_call(instruction: &[u8]) -> bool {
    /// Prefixes of operand and address size, segments, repetition (`bnd`, `notrack`) and REX.
    const PREFIXES: [u8; 7] = [0x66, 0x67, 0x2e, 0x3e, 0xf2, 0xf3, 0x36];
    let is_prefix = |byte: &u8| PREFIXES.contains(byte) || (0x40..0x50).contains(byte);
    let first = instruction.iter().position(|byte| !is_prefix(byte));
    match first.map_or(&[][..], |first| &instruction[first..]) {
        [0xe8, ..] => true,
        // Group 5: /2 is an indirect near call.
        [0xff, mod_rm, ..] => (mod_rm >> 3) & 7 == 2,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTER: u64 = 0x1000;
    const INNER: u64 = 0x2000;
    const START: u64 = 0x9000;

    fn calls() -> Calls {
        let function = |address, name: &str| (address, name.to_owned());
        Calls::new(CountConfig {
            output: String::new(),
            functions: vec![
                function(OUTER, "outer"),
                function(INNER, "inner"),
                function(0x3000, "other"),
                function(START, "start"),
            ],
            measured: vec!["outer".into(), "inner".into()],
            start: "start".into(),
        })
        .unwrap()
    }

    /// Executes a block of ten instructions.
    fn run(calls: &mut Calls, start: u64, ends_in_call: bool) {
        let id = calls.translated(Block {
            start,
            end: start + 0x10,
            instructions: 10,
            ends_in_call,
        });
        calls.executed(id);
    }

    /// Function, instructions, whether it has returned.
    fn seen(counts: &Counts) -> Vec<(&str, u64, bool)> {
        let calls = counts.calls.iter();
        calls
            .map(|call| (&*call.function, call.instructions, call.returned))
            .collect()
    }

    #[test]
    fn a_call_ends_where_it_returns_to() {
        let mut calls = calls();
        run(&mut calls, 0x3000, true);
        run(&mut calls, OUTER, true);
        run(&mut calls, INNER, false);
        run(&mut calls, OUTER + 0x10, false);
        run(&mut calls, 0x3010, false);
        run(&mut calls, 0x3020, false);
        let counts = calls.counts();
        assert_eq!(seen(&counts), [("outer", 30, true), ("inner", 10, true)]);
        assert_eq!(counts.instructions, 60);
        assert_eq!(counts.calls[0].start, 10);
        assert_eq!(counts.calls[1].depth, 1);
        let own: u64 = (counts.profile.iter())
            .filter(|entry| entry.within == "outer" && entry.function == "outer")
            .map(|entry| entry.instructions)
            .sum();
        assert_eq!(own, 20);
    }

    #[test]
    fn what_does_not_return_ends_with_its_caller_or_its_kernel() {
        let mut calls = calls();
        run(&mut calls, 0x3000, true);
        run(&mut calls, OUTER, true);
        run(&mut calls, INNER, false);
        run(&mut calls, 0x3010, true);
        run(&mut calls, OUTER, false);
        run(&mut calls, START, false);
        // In the next kernel the same address is another matter.
        run(&mut calls, 0x3020, false);
        let counts = calls.counts();
        let expected = [
            ("outer", 20, true),
            ("inner", 10, false),
            ("outer", 10, false),
        ];
        assert_eq!(seen(&counts), expected);
        assert_eq!(counts.calls[2].kernel, 0);
    }

    #[test]
    fn a_jump_into_a_function_is_told_from_a_call() {
        let mut calls = calls();
        run(&mut calls, 0x3000, true);
        run(&mut calls, 0x3100, false);
        run(&mut calls, OUTER, false);
        assert_eq!(calls.counts().calls[0].entry, Entry::Jump);
    }

    #[test]
    fn a_recursive_call_returns_once() {
        let mut calls = calls();
        run(&mut calls, 0x3000, true);
        run(&mut calls, OUTER, true);
        run(&mut calls, OUTER, true);
        run(&mut calls, OUTER + 0x10, false);
        assert_eq!(calls.open.len(), 1);
        run(&mut calls, 0x3010, false);
        assert_eq!(
            seen(&calls.counts()),
            [("outer", 30, true), ("outer", 10, true)]
        );
    }

    #[test]
    fn a_function_that_does_not_exist_is_refused() {
        let config = CountConfig {
            measured: vec!["missing".into()],
            functions: vec![(START, "start".into())],
            start: "start".into(),
            ..CountConfig::default()
        };
        assert_eq!(Calls::new(config).unwrap_err(), "missing");
    }

    #[test]
    fn calls_are_told_from_other_instructions() {
        assert!(is_call(&[0xe8, 0, 0, 0, 0]));
        // call *%rax, call *8(%r11), notrack call *%rax
        assert!(is_call(&[0xff, 0xd0]));
        assert!(is_call(&[0x41, 0xff, 0x53, 0x08]));
        assert!(is_call(&[0x3e, 0xff, 0xd0]));
        // jmp, jmp *%rax, push, ret, iretq
        for other in [
            &[0xe9, 0, 0, 0, 0][..],
            &[0xff, 0xe0],
            &[0xff, 0x30],
            &[0xc3],
            &[0x48, 0xcf],
        ] {
            assert!(!is_call(other), "{other:x?}");
        }
        assert!(!is_call(&[]));
    }
}
