// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What a report says is not well, as observations. The verdicts are the agent's; nothing is judged again here.

use super::{Class, Observation, Pins, Subject};
use adit_health::{Component, Report, show};
use adit_wire::health::codes::{Quantity, Verdict};

/// Observations come from this class.
pub const CLASS: Class = Class::Reported;

/// Counters that mean damage: an acknowledgement ends when one of them changes.
const COUNTERS: [Quantity; 15] = [
    Quantity::ReallocatedSectors,
    Quantity::PendingSectors,
    Quantity::UncorrectableErrors,
    Quantity::MediaErrors,
    Quantity::GrownDefects,
    Quantity::MembersMissing,
    Quantity::Mismatches,
    Quantity::BadBlocks,
    Quantity::ReadErrors,
    Quantity::WriteErrors,
    Quantity::ChecksumErrors,
    Quantity::Damaged,
    Quantity::SplitBrain,
    Quantity::UnitsFailed,
    Quantity::Exit,
];

/// Everything in the report that is not well.
#[must_use]
pub fn observations(host: &str, report: &Report) -> Vec<Observation> {
    report.components.iter().flat_map(|component| of_component(host, component)).collect()
}

fn of_component<'a>(host: &'a str, component: &'a Component) -> impl Iterator<Item = Observation> + 'a {
    let unwell = component.findings.iter().filter(|finding| finding.verdict != Verdict::Ok);
    unwell.map(move |finding| Observation {
        subject: Subject {
            host: host.to_owned(),
            component: component.id.clone(),
            topic: finding.check.text().to_owned(),
        },
        verdict: finding.verdict,
        text: format!("{} {}", show::name(component), show::reason(finding)),
        pins: Pins { reason: finding.reason.text().to_owned(), counters: counters(component) },
        quiet: false,
    })
}

fn counters(component: &Component) -> Vec<i64> {
    let counting = component.readings.iter().filter(|(quantity, _)| COUNTERS.contains(quantity));
    counting.map(|(_, value)| value.unwrap_or(-1)).collect()
}
