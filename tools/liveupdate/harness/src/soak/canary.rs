// SPDX-License-Identifier: GPL-2.0
//! Memory that nobody has a reason to write to.

use crate::ram::GuestRam;

/// What the words of the page with number `index` hold. As an entry of a table it would not be
/// present; as a sample it would not be silence.
fn word(index: usize) -> u64 {
    !(index as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) << 2
}

/// Fills `pages`.
pub fn fill(ram: &GuestRam, pages: &[usize]) {
    for (index, &page) in pages.iter().enumerate() {
        ram.fill_page(page, word(index));
    }
}

/// Says which of `pages` somebody has written to.
pub fn touched(ram: &GuestRam, pages: &[usize]) -> Vec<String> {
    let pages = pages.iter().enumerate();
    pages
        .filter_map(|(index, &page)| {
            let offset = ram.find_other(page, word(index))?;
            Some(format!("page {index} at {:#x}", page + offset))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use devices::memory::DmaMemory;

    #[test]
    fn one_word_is_enough() {
        let ram = GuestRam::create().unwrap();
        let pages = [0x3000, 0x4000, 0x5000];
        fill(&ram, &pages);
        assert_eq!(touched(&ram, &pages), [""; 0]);
        ram.write_u32(0x4ffc, 0);
        assert_eq!(touched(&ram, &pages), ["page 1 at 0x4ff8"]);
        // A page with the content of another one.
        fill(&ram, &pages[1..]);
        assert_eq!(touched(&ram, &pages).len(), 2);
    }
}
