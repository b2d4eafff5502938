// SPDX-License-Identifier: GPL-2.0
//! Which function an address belongs to.

/// What lies below the first function.
const USER_SPACE: &str = "user space";

/// All functions, in the order of their addresses.
#[derive(Debug, Default)]
pub struct Symbols(Vec<(u64, String)>);

/// A function, by its place among all; what lies below the first counts as one.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Function(usize);

impl Function {
    /// Its place.
    pub fn index(self) -> usize {
        self.0
    }

    /// The function at a place.
    pub fn from_index(index: usize) -> Self {
        Self(index)
    }
}

impl Symbols {
    /// Takes them in any order.
    pub fn new(mut functions: Vec<(u64, String)>) -> Self {
        functions.push((0, USER_SPACE.into()));
        functions.sort();
        Self(functions)
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// The function that `address` is in: the last one that does not begin behind it.
    pub fn find(&self, address: u64) -> Function {
        let after = self.0.partition_point(|(start, _)| *start <= address);
        Function(after.saturating_sub(1))
    }

    /// Where the function named `name` begins.
    pub fn address(&self, name: &str) -> Option<u64> {
        let found = self.0.iter().find(|(_, other)| other == name);
        found.map(|(address, _)| *address)
    }

    /// The name.
    pub fn name(&self, function: Function) -> &str {
        self.0.get(function.0).map_or("", |(_, name)| name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_belongs_to_the_function_before_it() {
        let symbols = Symbols::new(vec![(0x200, "b".into()), (0x100, "a".into())]);
        let name = |address| symbols.name(symbols.find(address));
        assert_eq!(name(0xff), USER_SPACE);
        assert_eq!(name(0x100), "a");
        assert_eq!(name(0x1ff), "a");
        assert_eq!(name(0x200), "b");
        assert_eq!(symbols.address("b"), Some(0x200));
        assert_eq!(symbols.address("c"), None);
    }
}
