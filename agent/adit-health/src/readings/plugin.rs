// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What a monitoring plugin said: its exit code, its first line, its performance data (Monitoring Plugins Development
//! Guidelines).

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
    /// Whether a value raises an alarm.
    #[must_use]
    pub fn alarms(&self, thousandths: i64) -> bool {
        let inside = self.from.is_none_or(|from| thousandths >= from) && self.to.is_none_or(|to| thousandths <= to);
        inside == self.is_inverted
    }
}
