// SPDX-License-Identifier: GPL-2.0
//! Following calls from one translation block to the next.
//!
//! A block is entered at its beginning only, and a call or a return ends it. So a measured function
//! is entered when a block is executed that begins where it begins, and has returned when one is
//! that begins behind the call. Only these blocks are looked at when they are executed, and those
//! that end in such a call; the instructions of all others are counted by the code that QEMU
//! generates for them.

use crate::symbols::{Function, Symbols};
use protocol::{Call, CountConfig, Counts, Entry, ProfileEntry};
use std::collections::{HashMap, HashSet};

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

/// A block that is looked at, by its place among all of them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct BlockId(pub usize);

/// Instructions so far, without those of the block that is about to be executed.
#[derive(Clone, Debug, Default)]
pub struct Executed {
    /// All.
    pub all: u64,
    /// By the place of the function.
    pub by_function: Vec<u64>,
}

/// What the beginning of a block is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Begins {
    /// Nothing, or what is behind a call.
    Other,
    /// A measured function, by its number.
    Measured(usize),
    /// A kernel.
    Kernel,
}

#[derive(Clone, Copy, Debug)]
struct Known {
    block: Block,
    begins: Begins,
}

/// A call that has not returned.
#[derive(Debug)]
struct Open {
    call: usize,
    measured: usize,
    returns_to: Option<u64>,
    entered: Executed,
}

/// A call that was executed.
#[derive(Clone, Copy, Debug)]
struct LastCall {
    /// The address behind it.
    behind: u64,
    /// Instructions so far, the call included.
    at: u64,
}

/// Counts calls.
#[derive(Debug, Default)]
pub struct Calls {
    symbols: Symbols,
    measured: Vec<(u64, String)>,
    returns: HashSet<u64>,
    start: u64,
    known: Vec<Known>,
    ids: HashMap<Block, usize>,
    kernel: u32,
    last_call: Option<LastCall>,
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
            returns: config.returns.into_iter().collect(),
            symbols,
            measured,
            start,
            ..Self::default()
        })
    }

    /// How many functions there are.
    pub fn functions(&self) -> usize {
        self.symbols.count()
    }

    /// Takes note of a block that was translated; returns the place of its function, and its id if it
    /// is to be looked at. One that was translated before keeps its id.
    pub fn translated(&mut self, block: Block) -> (usize, Option<BlockId>) {
        let function = self.symbols.find(block.start).index();
        if let Some(&id) = self.ids.get(&block) {
            return (function, Some(BlockId(id)));
        }
        let is = |(address, _): &(u64, String)| *address == block.start;
        let begins = match self.measured.iter().position(is) {
            _ if block.start == self.start => Begins::Kernel,
            Some(measured) => Begins::Measured(measured),
            None => Begins::Other,
        };
        if begins == Begins::Other && !self.returns.contains(&block.start) && !self.calls(&block) {
            return (function, None);
        }
        let id = self.known.len();
        self.known.push(Known { block, begins });
        self.ids.insert(block, id);
        (function, Some(BlockId(id)))
    }

    /// Whether the block ends in a call that may be one of a measured function.
    fn calls(&self, block: &Block) -> bool {
        block.ends_in_call && self.returns.contains(&block.end)
    }

    /// A block that is looked at is about to be executed; `executed` is only asked when something
    /// begins or ends.
    pub fn executed(&mut self, id: BlockId, all: u64, executed: impl Fn() -> Executed) {
        let Some(&Known { block, begins }) = self.known.get(id.0) else {
            return;
        };
        self.leave(block.start, &executed);
        match begins {
            Begins::Other => {}
            Begins::Measured(measured) => self.enter(measured, executed()),
            Begins::Kernel => {
                self.close(0, false, &executed());
                self.end_profile();
                self.kernel += 1;
            }
        }
        if self.calls(&block) {
            self.last_call = Some(LastCall {
                behind: block.end,
                at: all + block.instructions,
            });
        }
    }

    fn enter(&mut self, measured: usize, executed: Executed) {
        let called = self.last_call.filter(|call| call.at == executed.all);
        self.calls.push(Call {
            function: self.measured_name(measured),
            kernel: self.kernel,
            start: executed.all,
            instructions: 0,
            depth: u32::try_from(self.open.len()).unwrap_or(u32::MAX),
            entry: called.map_or(Entry::Jump, |_| Entry::Call),
            returned: false,
        });
        self.open.push(Open {
            call: self.calls.len() - 1,
            measured,
            returns_to: called.map(|call| call.behind),
            entered: executed,
        });
    }

    fn measured_name(&self, measured: usize) -> String {
        let found = self.measured.get(measured);
        found.map_or(String::new(), |(_, name)| name.clone())
    }

    /// Ends the innermost call that returns to `address`, and those in it, which have not returned.
    fn leave(&mut self, address: u64, executed: &impl Fn() -> Executed) {
        let mut open = self.open.iter();
        let Some(depth) = open.rposition(|open| open.returns_to == Some(address)) else {
            return;
        };
        let executed = executed();
        self.close(depth + 1, false, &executed);
        self.close(depth, true, &executed);
    }

    /// Ends all calls from this depth on.
    fn close(&mut self, depth: usize, returned: bool, executed: &Executed) {
        for open in self.open.drain(depth.min(self.open.len())..) {
            if let Some(call) = self.calls.get_mut(open.call) {
                call.instructions = executed.all - call.start;
                call.returned = returned;
            }
            let now = executed.by_function.iter();
            let times = now.zip(&open.entered.by_function);
            let taken = self.taken.get_mut(open.measured).into_iter().flatten();
            for (taken, (now, entered)) in taken.zip(times) {
                *taken += now - entered;
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
    pub fn counts(&mut self, executed: &Executed) -> Counts {
        self.close(0, false, executed);
        self.end_profile();
        Counts {
            instructions: executed.all,
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
    const OTHER: u64 = 0x3000;
    const START: u64 = 0x9000;

    /// Calls, and what QEMU counts.
    struct Machine {
        calls: Calls,
        executed: Executed,
    }

    impl Machine {
        fn new() -> Self {
            let function = |address, name: &str| (address, name.to_owned());
            let calls = Calls::new(CountConfig {
                functions: vec![
                    function(OUTER, "outer"),
                    function(INNER, "inner"),
                    function(OTHER, "other"),
                    function(START, "start"),
                ],
                measured: vec!["outer".into(), "inner".into()],
                returns: vec![OTHER + 0x10, OUTER + 0x10],
                start: "start".into(),
                ..CountConfig::default()
            })
            .unwrap();
            let by_function = vec![0; calls.functions()];
            let executed = Executed {
                all: 0,
                by_function,
            };
            Self { calls, executed }
        }

        /// Executes a block of ten instructions.
        fn run(&mut self, start: u64, ends_in_call: bool) {
            let (function, id) = self.calls.translated(Block {
                start,
                end: start + 0x10,
                instructions: 10,
                ends_in_call,
            });
            if let Some(id) = id {
                let executed = &self.executed;
                self.calls.executed(id, executed.all, || executed.clone());
            }
            self.executed.all += 10;
            self.executed.by_function[function] += 10;
        }

        fn counts(&mut self) -> Counts {
            self.calls.counts(&self.executed)
        }
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
        let mut machine = Machine::new();
        machine.run(OTHER, true);
        machine.run(OUTER, true);
        machine.run(INNER, false);
        machine.run(0x7000, false);
        machine.run(OUTER + 0x10, false);
        machine.run(OTHER + 0x10, false);
        machine.run(OTHER + 0x20, false);
        let counts = machine.counts();
        assert_eq!(seen(&counts), [("outer", 40, true), ("inner", 20, true)]);
        assert_eq!(counts.instructions, 70);
        assert_eq!(counts.calls[0].start, 10);
        assert_eq!(counts.calls[1].depth, 1);
        let of = |within: &str, function: &str| -> u64 {
            let entries = counts.profile.iter();
            entries
                .filter(|entry| entry.within == within && entry.function == function)
                .map(|entry| entry.instructions)
                .sum()
        };
        assert_eq!(of("outer", "outer"), 20);
        assert_eq!(of("outer", "inner"), 10);
        assert_eq!(of("inner", "outer"), 0);
    }

    #[test]
    fn what_does_not_return_ends_with_its_caller_or_its_kernel() {
        let mut machine = Machine::new();
        machine.run(OTHER, true);
        machine.run(OUTER, true);
        machine.run(INNER, false);
        machine.run(OTHER + 0x10, false);
        machine.run(OTHER, true);
        machine.run(OUTER, false);
        machine.run(START, false);
        // In the next kernel the same address is another matter.
        machine.run(OTHER + 0x10, false);
        let counts = machine.counts();
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
        let mut machine = Machine::new();
        machine.run(OTHER, true);
        machine.run(OTHER + 0x100, false);
        machine.run(OUTER, false);
        // The address behind the last call is not where it returns to.
        machine.run(OTHER + 0x10, false);
        let counts = machine.counts();
        assert_eq!(counts.calls[0].entry, Entry::Jump);
        assert!(!counts.calls[0].returned);
    }

    #[test]
    fn a_call_from_an_unknown_place_is_not_followed() {
        let mut machine = Machine::new();
        machine.run(0x8000, true);
        machine.run(OUTER, false);
        assert_eq!(machine.counts().calls[0].entry, Entry::Jump);
    }

    #[test]
    fn a_recursive_call_returns_once() {
        let mut machine = Machine::new();
        machine.run(OTHER, true);
        machine.run(OUTER, true);
        machine.run(OUTER, true);
        machine.run(OUTER + 0x10, false);
        assert_eq!(machine.calls.open.len(), 1);
        machine.run(OTHER + 0x10, false);
        let expected = [("outer", 30, true), ("outer", 10, true)];
        assert_eq!(seen(&machine.counts()), expected);
    }

    #[test]
    fn other_blocks_are_not_looked_at() {
        let mut calls = Machine::new().calls;
        let mut is_looked_at = |start, ends_in_call| {
            let block = Block {
                start,
                end: start + 0x10,
                instructions: 10,
                ends_in_call,
            };
            calls.translated(block).1.is_some()
        };
        assert!(is_looked_at(OUTER, false));
        assert!(is_looked_at(START, false));
        assert!(is_looked_at(OTHER, true));
        assert!(is_looked_at(OTHER + 0x10, false));
        assert!(!is_looked_at(OTHER, false));
        assert!(!is_looked_at(0x8000, true));
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
