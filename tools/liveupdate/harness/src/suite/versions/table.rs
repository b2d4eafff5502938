// SPDX-License-Identifier: GPL-2.0
//! What was found, as a table in Markdown.

use super::attempt::Attempt;
use super::row::{FEATURE, Row};
use anyhow::Result;
use std::fmt;

/// The section that documents it.
const SECTION: &str = "## Compatibility";
const HEAD: [&str; 2] = [
    "| Running kernel | Next kernel | Feature in use | Condition | Preflight | Result |",
    "|---|---|---|---|---|---|",
];

/// The lines of the table.
#[derive(Debug, Eq, PartialEq)]
pub struct Table(Vec<String>);

impl Default for Table {
    fn default() -> Self {
        Self(HEAD.map(str::to_owned).to_vec())
    }
}

impl Table {
    /// Adds what was found.
    pub fn add(&mut self, row: &Row, attempt: &Attempt) -> Result<()> {
        let missing = &attempt.preflight.missing;
        let missing: Vec<_> = missing.iter().map(|name| format!("`{name}`")).collect();
        let preflight = match missing.is_empty() {
            true => "yes".to_owned(),
            false => format!("lacks {}", missing.join(", ")),
        };
        let feature = match row.feature {
            true => format!("`{FEATURE}`"),
            false => "none".to_owned(),
        };
        self.0.push(format!(
            "| {} | {} | {feature} | {} | {preflight} | {} |",
            row.old.name(),
            row.next.name(),
            row.besides(),
            attempt.result()?,
        ));
        Ok(())
    }

    /// The table in the section of `page` that documents it.
    pub fn documented(page: &str) -> Self {
        let section = page.lines().skip_while(|line| *line != SECTION).skip(1);
        let section = section.take_while(|line| !line.starts_with("## "));
        let lines = section.filter(|line| line.starts_with('|'));
        Self(lines.map(str::to_owned).collect())
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|line| writeln!(f, "{line}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_the_section_is_found() {
        let page = format!("| a |\n{SECTION}\ntext\n| b |\n|---|\n| c |\n\n## Next\n| d |\n");
        let table = Table(["| b |", "|---|", "| c |"].map(str::to_owned).to_vec());
        assert_eq!(Table::documented(&page), table);
        assert_eq!(Table::documented("| a |\n").0.len(), 0);
        assert_eq!(table.to_string(), "| b |\n|---|\n| c |\n");
    }
}
