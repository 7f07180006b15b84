// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Results as JUnit XML, which build servers read.

use std::fmt::Write as _;
use std::time::Duration;

/// How one run of one scenario ended.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The scenario.
    pub name: &'static str,
    /// Its seed.
    pub seed: u64,
    /// How long it took.
    pub took: Duration,
    /// What went wrong, if anything.
    pub failure: Option<String>,
}

/// The whole file.
#[must_use]
pub fn xml(outcomes: &[Outcome]) -> String {
    let failures = outcomes.iter().filter(|outcome| outcome.failure.is_some()).count();
    let mut text = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let mut line = |line: std::fmt::Arguments<'_>| {
        // Writing to a string cannot fail.
        let _written = writeln!(text, "{line}").is_ok();
    };
    line(format_args!("<testsuite name=\"hil\" tests=\"{}\" failures=\"{failures}\">", outcomes.len()));
    for outcome in outcomes {
        let Outcome { name, seed, took, failure } = outcome;
        let took = took.as_secs_f64();
        line(format_args!("  <testcase classname=\"hil\" name=\"{name} seed {seed}\" time=\"{took:.3}\">"));
        if let Some(failure) = failure {
            line(format_args!("    <failure>{}</failure>", escaped(failure)));
        }
        line(format_args!("  </testcase>"));
    }
    line(format_args!("</testsuite>"));
    text
}

/// Text that XML 1.0 can hold: control characters have no form there.
fn escaped(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '\n' | '\t' => out.push(c),
            c if c.is_control() => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_told_and_escaped() {
        let good = Outcome { name: "pair", seed: 1, took: Duration::from_millis(1500), failure: None };
        let failure = Some("a < b & \u{1b}[31mred".to_owned());
        let bad = Outcome { name: "pair", seed: 2, took: Duration::from_secs(1), failure };
        let text = xml(&[good, bad]);
        assert!(text.contains("tests=\"2\" failures=\"1\""), "{text}");
        assert!(text.contains("name=\"pair seed 1\" time=\"1.500\""), "{text}");
        assert!(text.contains("<failure>a &lt; b &amp; \u{fffd}[31mred</failure>"), "{text}");
    }
}
