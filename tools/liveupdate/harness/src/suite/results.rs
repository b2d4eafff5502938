// SPDX-License-Identifier: GPL-2.0
//! Counting and printing.

use super::tap::{Outcome, Report};
use crate::verdict::Property;
use std::fmt;
use std::path::Path;

/// What has been run so far.
#[derive(Debug, Default)]
pub struct Results {
    passed: usize,
    failed: usize,
    skipped: usize,
}

impl Results {
    /// A test has passed.
    pub fn pass(&mut self, name: &str) {
        self.passed += 1;
        println!("ok   {name}");
    }

    /// A test has passed, of which there are too many to name each.
    pub fn count(&mut self) {
        self.passed += 1;
    }

    /// A test has failed.
    pub fn fail(&mut self, name: &str, reason: &str) {
        self.failed += 1;
        println!("FAIL {name}: {reason}");
    }

    /// A test could not be run.
    fn skip(&mut self, name: &str) {
        self.skipped += 1;
        println!("skip {name}");
    }

    /// A test with its reason to fail.
    pub fn check(&mut self, name: &str, holds: bool, observed: &str) {
        if holds {
            self.pass(name);
        } else {
            self.fail(name, observed);
        }
    }

    /// Every property is a test.
    pub fn properties(&mut self, subject: &str, properties: Vec<Property>) {
        for property in properties {
            let property = property.of(subject);
            self.check(&property.claim, property.holds, &property.observed);
        }
    }

    /// Every result of a program is a test. That it did not do all that it had planned, or failed
    /// for another reason than a test, is a failure too.
    pub fn report(&mut self, program: &str, report: &Report, code: Option<i32>, log: &Path) {
        let log = format!("see {}", log.display());
        for result in &report.results {
            let name = format!("{program}: {}", result.name);
            match result.outcome {
                Outcome::Pass => self.pass(&name),
                Outcome::Fail => self.fail(&name, &log),
                Outcome::Skip => self.skip(&name),
            }
        }
        let any_failed = report.results.iter().any(|r| r.outcome == Outcome::Fail);
        if let Some(problem) = report.problem() {
            self.fail(program, &format!("{problem}, {log}"));
        } else if code != Some(0) && !any_failed {
            self.fail(program, &format!("exit status {code:?}, {log}"));
        }
    }

    /// Whether something passed and nothing failed.
    pub fn all_passed(&self) -> bool {
        self.passed > 0 && self.failed == 0
    }
}

impl fmt::Display for Results {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)?;
        if self.skipped > 0 {
            write!(f, ", {} skipped", self.skipped)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_not_success() {
        let mut results = Results::default();
        assert!(!results.all_passed());
        results.pass("a");
        assert!(results.all_passed());
        results.skip("b");
        assert_eq!(results.to_string(), "1 passed, 0 failed, 1 skipped");
        results.fail("c", "because");
        assert!(!results.all_passed());
    }
}
