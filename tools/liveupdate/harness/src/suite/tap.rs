// SPDX-License-Identifier: GPL-2.0
//! Results in TAP, as kselftests print them, and in KTAP, as KUnit does.
//!
//! Documentation/dev-tools/ktap.rst. Nested results are indented and precede the line of what they
//! belong to; only the innermost ones are counted.

/// What became of a test.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Outcome {
    /// It passed, or failed as expected (XFAIL).
    Pass,
    /// It failed.
    Fail,
    /// It was not run.
    Skip,
}

/// A test.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct TestResult {
    /// Its name, after the names of what it belongs to.
    pub name: String,
    /// What became of it.
    pub outcome: Outcome,
}

/// Everything that a program said.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Report {
    /// The innermost results.
    pub results: Vec<TestResult>,
    planned: Option<usize>,
    done: usize,
    skipped_all: bool,
}

struct Open {
    indent: usize,
    failed: bool,
    first: usize,
}

impl Report {
    /// Parses what was printed.
    pub fn parse<'a>(lines: impl IntoIterator<Item = &'a str>) -> Self {
        let mut report = Self::default();
        let mut open: Vec<Open> = Vec::new();
        for line in lines {
            let text = line.trim_start();
            let indent = line.len() - text.len();
            if let Some(plan) = text.strip_prefix("1..") {
                if indent == 0 {
                    report.planned = plan.split_whitespace().next().and_then(|n| n.parse().ok());
                    report.skipped_all |= plan.contains("# SKIP");
                }
                continue;
            }
            let Some((outcome, name)) = result(text) else {
                continue;
            };
            if indent == 0 {
                report.done += 1;
            }
            report.add(&mut open, indent, outcome, name);
        }
        report
    }

    fn add(&mut self, open: &mut Vec<Open>, indent: usize, outcome: Outcome, name: &str) {
        let inner = open.partition_point(|o| o.indent <= indent);
        let children: Vec<Open> = open.drain(inner..).collect();
        let failed = outcome == Outcome::Fail;
        let first = match children.first() {
            Some(child) => {
                for result in &mut self.results[child.first..] {
                    result.name = format!("{name}.{}", result.name);
                }
                child.first
            }
            None => self.results.len(),
        };
        // A failure that none of its parts accounts for is one of its own.
        let unexplained = failed && !children.iter().any(|child| child.failed);
        if children.is_empty() || unexplained {
            self.results.push(TestResult {
                name: name.into(),
                outcome,
            });
        }
        open.push(Open {
            indent,
            failed,
            first,
        });
    }

    /// What is wrong apart from the results.
    pub fn problem(&self) -> Option<String> {
        if self.skipped_all {
            return Some("skipped altogether".into());
        }
        match self.planned {
            _ if self.results.is_empty() => Some("no results".into()),
            Some(planned) if planned != self.done => {
                Some(format!("{planned} tests planned, {} results", self.done))
            }
            _ => None,
        }
    }
}

/// Splits a result line.
fn result(text: &str) -> Option<(Outcome, &str)> {
    let (outcome, rest) = match text.strip_prefix("not ok ") {
        Some(rest) => (Outcome::Fail, rest),
        None => (Outcome::Pass, text.strip_prefix("ok ")?),
    };
    let rest = rest.trim_start_matches(|c: char| c.is_ascii_digit());
    let (name, directive) = rest.split_once('#').unwrap_or((rest, ""));
    let outcome = match directive.trim_start().get(..4) {
        Some("SKIP") => Outcome::Skip,
        Some("XFAI") => Outcome::Pass,
        _ => outcome,
    };
    Some((outcome, name.trim().trim_start_matches("- ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Report {
        Report::parse(text.lines())
    }

    fn counts(report: &Report) -> [usize; 3] {
        [Outcome::Pass, Outcome::Fail, Outcome::Skip]
            .map(|o| report.results.iter().filter(|r| r.outcome == o).count())
    }

    #[test]
    fn kselftest() {
        let report = parse(
            "TAP version 13\n1..4\n# Starting 4 tests\n#  RUN a.b ...\nok 1 a.b\n\
             not ok 2 a.c\nok 3 a.d # SKIP no device\nok 4 a.e # XFAIL known\n\
             # FAILED: 3 / 4 tests passed.\n",
        );
        assert_eq!(counts(&report), [2, 1, 1]);
        assert_eq!(report.results[1].name, "a.c");
        assert_eq!(report.problem(), None);
    }

    #[test]
    fn a_program_that_dies_is_noticed() {
        let report = parse("TAP version 13\n1..3\nok 1 a\n");
        assert!(report.problem().unwrap().contains("3 tests planned"));
        assert!(parse("Segmentation fault\n").problem().is_some());
        assert!(parse("1..0 # SKIP no device\n").problem().is_some());
    }

    #[test]
    fn kunit_counts_the_innermost() {
        let report = parse(
            "KTAP version 1\n1..1\n    KTAP version 1\n    # Subtest: suite\n    1..3\n\
             \x20   ok 1 plain\n        KTAP version 1\n        # Subtest: params\n\
             \x20       ok 1 small\n        not ok 2 large\n    not ok 2 params\n\
             \x20   ok 3 other # SKIP\nnot ok 1 suite\n",
        );
        assert_eq!(counts(&report), [2, 1, 1]);
        let names: Vec<_> = report.results.iter().map(|r| &*r.name).collect();
        assert_eq!(
            names,
            [
                "suite.plain",
                "suite.params.small",
                "suite.params.large",
                "suite.other"
            ]
        );
        assert_eq!(report.problem(), None);
    }

    #[test]
    fn a_failure_without_failed_parts_counts() {
        let report = parse("    ok 1 a\nnot ok 1 suite\n");
        assert_eq!(counts(&report), [1, 1, 0]);
    }
}
