// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Monitoring plugins in the manner of Nagios (Monitoring Plugins Development Guidelines): the exit code, the first line,
//! and the performance data with their ranges. docs/plugins.md shows how an admin adds one. It judges nothing: a plugin
//! that says OK beyond its own ranges is taken by its word.

use crate::child::{ChildError, Job, Program};
use crate::error::AskError;
use crate::words::shortened;
use adit_health::readings::plugin::{PluginRange, PluginReading, PluginValue, thousandths};
use std::time::Duration;

/// What a plugin may print, bytes; the rest is dropped, as only the first lines matter.
pub const OUTPUT_BYTES_MAX: usize = 64 << 10;
/// The line that is kept, bytes.
pub const TEXT_BYTES_MAX: usize = 256;
/// A label that is kept, bytes.
pub const LABEL_BYTES_MAX: usize = 64;
/// Values that are kept.
pub const VALUES_MAX: usize = 64;

/// One `[[plugin]]`.
#[derive(Debug)]
pub struct Plugin {
    name: String,
    job: Job,
}

impl Plugin {
    /// A plugin with its command, the time it has, and the user and group ids it runs as.
    #[must_use]
    pub fn new(name: &str, command: &[String], timeout: Duration, user: Option<(u32, u32)>) -> Self {
        let program = Program { user, ..Program::new(command).limits(timeout, OUTPUT_BYTES_MAX) };
        Self { name: name.to_owned(), job: Job::new(program) }
    }

    /// Runs it once.
    ///
    /// # Errors
    /// It cannot be started, is not done in time, or an earlier run is stuck in the kernel.
    pub fn ask(&mut self) -> Result<PluginReading, AskError> {
        let output = self.job.run(std::iter::empty::<&str>()).map_err(|error: ChildError| AskError::from(error))?;
        Ok(reading(&self.name, output.code, &output.text()))
    }
}

/// A reading from an exit code and what was printed.
#[must_use]
pub fn reading(name: &str, exit: Option<i32>, printed: &str) -> PluginReading {
    let mut lines = printed.lines();
    let first = lines.next().unwrap_or_default();
    let (text, data) = first.split_once('|').unwrap_or((first, ""));
    let mut values = Vec::new();
    take_values(&mut values, data);
    // Long text follows, and after a second bar more data, to the end.
    let mut is_data = false;
    for line in lines {
        if is_data {
            take_values(&mut values, line);
        } else if let Some((_, data)) = line.split_once('|') {
            is_data = true;
            take_values(&mut values, data);
        }
    }
    PluginReading { name: name.to_owned(), exit, text: shortened(text, TEXT_BYTES_MAX), values }
}

/// Values such as `'in eth0'=12.5MB;10;@20:30;0;`. One of no known form ends the line: what follows cannot be told apart.
fn take_values(values: &mut Vec<PluginValue>, data: &str) {
    let mut rest = data.trim_start();
    while !rest.is_empty() && values.len() < VALUES_MAX {
        let Some((label, after)) = label(rest) else { return };
        let (fields, next) = after.split_once(char::is_whitespace).unwrap_or((after, ""));
        let Some(value) = value(label, fields) else { return };
        values.push(value);
        rest = next.trim_start();
    }
}

/// A label and what follows its `=`. In single quotes it may hold anything; two of them mean one.
fn label(data: &str) -> Option<(String, &str)> {
    let Some(quoted) = data.strip_prefix('\'') else {
        let (label, after) = data.split_once('=')?;
        return (!label.contains(char::is_whitespace)).then(|| (label.to_owned(), after));
    };
    let mut label = String::new();
    let mut rest = quoted;
    loop {
        let (part, after) = rest.split_once('\'')?;
        label.push_str(part);
        match after.strip_prefix('\'') {
            Some(more) => {
                label.push('\'');
                rest = more;
            }
            None => return Some((label, after.strip_prefix('=')?)),
        }
    }
}

fn value(label: String, fields: &str) -> Option<PluginValue> {
    let mut fields = fields.split(';');
    let first = fields.next()?;
    let end = first.find(|c: char| !matches!(c, '0'..='9' | '.' | '-' | '+')).unwrap_or(first.len());
    let (number, unit) = first.split_at(end);
    // "U" says that the value could not be had.
    let thousandths = if number.is_empty() && unit == "U" { None } else { Some(thousandths(number)?) };
    let unit = if thousandths.is_none() { String::new() } else { shortened(unit, 8) };
    let range_of = |text: Option<&str>| text.filter(|text| !text.is_empty()).and_then(PluginRange::parse);
    let (warning, critical) = (range_of(fields.next()), range_of(fields.next()));
    Some(PluginValue { label: shortened(&label, LABEL_BYTES_MAX), thousandths, unit, warning, critical })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_plugin_is_run_and_read() {
        let command = ["printf", "PDU OK | load=3A\n"].map(str::to_owned);
        let reading = Plugin::new("pdu", &command, Duration::from_secs(30), None).ask().unwrap();
        assert_eq!((reading.exit, reading.text.as_str(), reading.values.len()), (Some(0), "PDU OK", 1));
        let missing = Plugin::new("x", &["/nowhere/check_x".to_owned()], Duration::from_secs(30), None).ask();
        assert!(matches!(missing, Err(AskError::Child(ChildError::Start { .. }))));
    }

    #[test]
    fn values_come_with_unit_and_ranges() {
        let reading = reading(
            "net",
            Some(1),
            "NET WARNING - busy|'in eth0'=12.5MB;10;@20:30;0; 'it''s'=5 c=7c;~:5;10: none=U;1;2\nlong text | late=1%\nmore=2ms\n",
        );
        assert_eq!(reading.text, "NET WARNING - busy");
        let told: Vec<_> = reading.values.iter().map(|v| (v.label.as_str(), v.thousandths, v.unit.as_str())).collect();
        let expected = [
            ("in eth0", Some(12_500), "MB"),
            ("it's", Some(5_000), ""),
            ("c", Some(7_000), "c"),
            ("none", None, ""),
            ("late", Some(1_000), "%"),
            ("more", Some(2_000), "ms"),
        ];
        assert_eq!(told, expected);
        let first = &reading.values[0];
        assert!(first.warning.unwrap().alarms(12_500) && !first.critical.unwrap().alarms(12_500));
    }

    #[test]
    fn what_is_no_value_ends_the_line() {
        for data in ["x", "=", "'open=1", "a b=1", "a=x", "a=1..2"] {
            assert_eq!(reading("p", Some(0), &format!("OK|{data}")).values, [], "{data}");
        }
        assert_eq!(reading("p", Some(0), "").text, "");
        let many = format!("OK|{}", "a=1 ".repeat(VALUES_MAX + 9));
        assert_eq!(reading("p", Some(0), &many).values.len(), VALUES_MAX);
    }

    proptest! {
        #[test]
        fn any_output_ends(text in "[a-c'=;:@~|\\n 0-9.%U-]{0,200}") {
            let reading = reading("p", None, &text);
            prop_assert!(reading.values.len() <= VALUES_MAX && reading.text.len() <= TEXT_BYTES_MAX);
        }
    }
}
