// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The answer of a plugin for Icinga and Nagios, from the monitor's knowledge: one line with the verdict, perfdata, one line
//! for each open incident. A silent host is unknown to a check of its parts and critical as a host.

use crate::alerts::engine::SEEN;
use crate::alerts::{cause_rank, rank};
use crate::core::View;
use adit_health::show;
use adit_wire::health::codes::Verdict;
use std::fmt::Write as _;

/// Numbers in one line; Icinga keeps each of them.
const PERFDATA_MAX: usize = 100;

/// What the plugin prints, and how it exits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// Lines.
    pub text: String,
    /// 0 to 3.
    pub exit: u8,
}

/// Judges a host, or those of its checks whose name begins with `check`. An acknowledged incident counts as ok when
/// `acked_ok`.
#[must_use]
pub fn judge(view: &View, name: &str, check: Option<&str>, acked_ok: bool) -> Output {
    let Some(host) = view.fleet.hosts.get(name) else {
        return Output { text: format!("UNKNOWN - the monitor has no agent {}\n", one_line(name)), exit: 3 };
    };
    let wanted = |topic: &str| check.is_none_or(|check| topic == check || topic.split('.').next() == Some(check));
    let mut open: Vec<(Verdict, &str, &str)> = view
        .incidents_of(name)
        .iter()
        .filter(|(subject, incident)| {
            let muted = acked_ok && incident.ack.is_some();
            wanted(&subject.topic) && !incident.is_quiet() && !muted
        })
        .filter_map(|(subject, incident)| {
            Some((incident.open.as_ref()?.verdict(), subject.topic.as_str(), incident.text.as_str()))
        })
        .collect();
    open.sort_by_key(|(verdict, topic, _)| (std::cmp::Reverse(rank(*verdict)), cause_rank(topic)));
    let silent = host.silent_s(view.fleet.now.t) >= host.silent_after_s;
    let (verdict, first) = match (&open[..], silent, check) {
        (_, true, Some(check)) if check != SEEN && check != "host" => {
            (Verdict::Unknown, "the agent is silent".to_owned())
        }
        ([], true, _) => (Verdict::Critical, "the agent is silent".to_owned()),
        ([], false, _) if host.report.is_none() => (Verdict::Unknown, "the agent was not heard yet".to_owned()),
        ([], false, _) => (Verdict::Ok, "all is well".to_owned()),
        ([(verdict, _, text)], ..) => (*verdict, (*text).to_owned()),
        ([(verdict, _, text), more @ ..], ..) => (*verdict, format!("{text}, and {} more", more.len())),
    };
    let mut text = format!("{} - {name}: {}", verdict.word().to_uppercase(), one_line(&first));
    let numbers = perfdata(host, check);
    if !numbers.is_empty() {
        text.push_str(" | ");
        text.push_str(&numbers.join(" "));
    }
    text.push('\n');
    for (verdict, topic, words) in open {
        // Writing to a string cannot fail.
        let _infallible = writeln!(text, "{}: {} [{topic}]", verdict.word().to_uppercase(), one_line(words));
    }
    Output { text, exit: verdict as u8 }
}

/// Numbers only of the host as a whole: a check of a part has none of its own.
fn perfdata(host: &crate::fleet::Host, check: Option<&str>) -> Vec<String> {
    if check.is_some() {
        return Vec::new();
    }
    let components = host.report.iter().flat_map(|report| &report.components);
    let numbers = components.flat_map(|component| {
        component.readings.iter().filter_map(move |(quantity, value)| {
            let (what, unit, steps) = show::parts(*quantity);
            let (unit, steps) = match (unit, steps) {
                ("MiB", 1) => ("MB", 1),
                ("KiB", 1) => ("KB", 1),
                ("GiB", 1) => ("GB", 1),
                ("s", 1) => ("s", 1),
                ("", 1000) => ("%", 10),
                ("%", steps) => ("%", steps),
                (_, steps) => ("", steps),
            };
            let label = format!("{} {what}", component.label).replace(['\'', '='], "");
            Some(format!("'{}'={}{unit}", one_line(&label), show::decimal((*value)?, steps)))
        })
    });
    numbers.take(PERFDATA_MAX).collect()
}

/// The bar ends the text of a plugin, so it cannot stand in it.
fn one_line(text: &str) -> String {
    text.replace(['|', '\n'], "/")
}
