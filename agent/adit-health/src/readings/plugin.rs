// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What a monitoring plugin said: its exit code, its first line, its performance data (Monitoring Plugins Development
//! Guidelines).

use crate::show::rounded;
use serde::{Deserialize, Serialize};

/// One run of a plugin.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PluginReading {
    /// The name from the configuration.
    pub name: String,
    /// The exit code; `None` when a signal ended it.
    pub exit: Option<i32>,
    /// The first line before any performance data, ≤ 256 bytes.
    pub text: String,
    /// Its values.
    pub values: Vec<PluginValue>,
}

/// One value.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PluginValue {
    /// Its label.
    pub label: String,
    /// The value in thousandths of its unit; `None` for "U", which says that there is none.
    pub thousandths: Option<i64>,
    /// The unit as the plugin writes it: s, %, B, c, or nothing.
    pub unit: String,
    /// Where the plugin warns.
    pub warning: Option<PluginRange>,
    /// Where the plugin finds it critical.
    pub critical: Option<PluginRange>,
}

/// A range of good values, in thousandths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PluginRange {
    /// The lowest; `None` for minus infinity.
    pub from: Option<i64>,
    /// The highest; `None` for infinity.
    pub to: Option<i64>,
    /// Whether values inside are the bad ones (a range that begins with @).
    pub is_inverted: bool,
}

impl PluginRange {
    /// A range: `10` is 0 to 10, `10:` from 10 on, `~:10` up to 10, `10:20` between, and @ turns it around.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (is_inverted, text) = match text.strip_prefix('@') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let bound = |text: &str, open: &str| if text == open { Some(None) } else { thousandths(text).map(Some) };
        let (from, to) = match text.split_once(':') {
            None => (Some(0), Some(thousandths(text)?)),
            Some(("", to)) => (Some(0), bound(to, "")?),
            Some((from, to)) => (bound(from, "~")?, bound(to, "")?),
        };
        (from.is_none() || to.is_none() || from <= to).then_some(Self { from, to, is_inverted })
    }

    /// Whether a value raises an alarm.
    #[must_use]
    pub fn alarms(&self, thousandths: i64) -> bool {
        let inside = self.from.is_none_or(|from| thousandths >= from) && self.to.is_none_or(|to| thousandths <= to);
        inside == self.is_inverted
    }
}

/// A decimal number in thousandths.
#[must_use]
pub fn thousandths(number: &str) -> Option<i64> {
    rounded(number.parse::<f64>().ok()? * 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table of ranges in the guidelines, and what alarms.
    #[test]
    fn ranges_alarm_as_the_guidelines_say() {
        for (text, quiet, alarms) in [
            ("10", &[0, 10, 5][..], &[-1, 11][..]),
            ("10:", &[10, 1_000_000], &[9, -5]),
            (":10", &[0, 10], &[-1, 11]),
            ("~:10", &[-1_000_000, 10], &[11]),
            ("10:20", &[10, 20], &[9, 21]),
            ("@10:20", &[9, 21], &[10, 20]),
            ("~:", &[i64::MIN / 1000, 0], &[]),
            ("@~:10", &[11], &[10]),
        ] {
            let range = PluginRange::parse(text).unwrap();
            assert!(quiet.iter().all(|value| !range.alarms(value * 1000)), "{text}");
            assert!(alarms.iter().all(|value| range.alarms(value * 1000)), "{text}");
        }
        for text in ["", "x", "20:10", "1:2:3", "@", "nan", "1e300"] {
            assert_eq!(PluginRange::parse(text), None, "{text}");
        }
    }
}
