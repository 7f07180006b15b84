// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Plugins that the admin added: the exit code is the verdict, the first line the reason.
//!
//! What to do: run the command of `[[plugin]]` by hand, as the same user.

use crate::model::{Component, Finding};
use crate::readings::plugin::PluginReading;
use crate::readings::silence::Silence;
use adit_wire::health::codes::{Check, ComponentKind, Quantity, Reason, Verdict};

/// Values of a plugin that are reported.
pub const VALUES_MAX: usize = 16;

/// What a plugin said.
#[must_use]
pub fn plugin(plugin: &PluginReading) -> Component {
    let (verdict, reason) = match plugin.exit {
        Some(0) => (Verdict::Ok, Reason::None),
        Some(1) => (Verdict::Warning, Reason::PluginWarning),
        Some(2) => (Verdict::Critical, Reason::PluginCritical),
        Some(3) => (Verdict::Unknown, Reason::PluginUnknown),
        // A shell says 126 and 127 for a program that cannot be run; other codes have no meaning for plugins.
        Some(_) | None => (Verdict::Unknown, Reason::PluginFailed),
    };
    let values = plugin.values.iter().take(VALUES_MAX);
    let finding = Finding::judged(Check::Plugin, verdict, reason).because(|| plugin.text.clone());
    let readings = values.map(|value| (Quantity::PluginThousandths, value.thousandths)).collect();
    component(&plugin.name, finding, readings)
}

/// A plugin that gave nothing: it is missing, or was not done in time.
#[must_use]
pub fn plugin_silent(name: &str, silence: &Silence) -> Component {
    let finding =
        Finding::new(Check::Plugin, Verdict::Unknown, Reason::PluginFailed).with_detail(silence.words.clone());
    component(name, finding, Vec::new())
}

fn component(name: &str, finding: Finding, readings: Vec<(Quantity, Option<i64>)>) -> Component {
    let (id, label) = (format!("plugin/{name}"), name.to_owned());
    Component { kind: ComponentKind::Plugin, id, label, findings: vec![finding], readings }
}
