// SPDX-License-Identifier: Apache-2.0 OR MIT
//! From a report to the wire and back. The inventory changes when a component comes or goes; the snapshot is sent again
//! when a verdict changes or a reading moves beyond its deadband, so that a poll of a calm machine costs a few bytes.

use crate::collect::minutes;
use crate::model::{Component, Finding, Report};
use adit_wire::health::codes::{Check, ComponentKind, EPOCH_MINUTES, Quantity, Reason, Verdict};
use adit_wire::health::snapshot::{self, SnapshotError, Visitor, Writer};
use adit_wire::health::{Entry, INVENTORY_BYTES_MAX, Inventory, LABEL_BYTES_MAX, Poll, SNAPSHOT_BYTES_MAX};
use adit_wire::list::Parts;
use std::collections::HashMap;

/// Keeps the newest report in its sent form and answers polls.
#[derive(Debug, Default)]
pub struct Reporter {
    inventory: Vec<u8>,
    inventory_hash: u64,
    snapshot: Vec<u8>,
    number: u64,
    sent: Report,
    since: HashMap<(String, u8), (Verdict, u64)>,
}

/// What to answer to a poll.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer<'a> {
    /// The asker has the newest report.
    Same {
        /// Its number.
        report: u64,
    },
    /// The newest report.
    Full {
        /// Its number.
        report: u64,
        /// Hash of the inventory.
        inventory: u64,
        /// The snapshot.
        snapshot: &'a [u8],
        /// The inventory, when the asker does not hold it; else empty.
        inventory_bytes: &'a [u8],
    },
}

impl Reporter {
    /// A reporter without a report. `first_number` is random, so that an asker who knows numbers of an earlier run of the
    /// agent is not told that nothing changed.
    #[must_use]
    pub fn new(first_number: u64) -> Self {
        Self { number: first_number >> 1, ..Self::default() }
    }

    /// Takes a new report in; answers whether it differs from the one before by more than noise.
    ///
    /// # Errors
    /// When the report is beyond the wire's limits.
    pub fn update(&mut self, report: &Report) -> Result<bool, SnapshotError> {
        let inventory = encode_inventory(report)?;
        let calm = Self::is_calm(&self.sent, report) && inventory == self.inventory;
        if calm {
            return Ok(false);
        }
        self.note_since(report);
        let mut buffer = vec![0u8; SNAPSHOT_BYTES_MAX];
        let written = encode_snapshot(report, &self.since, &mut buffer)?;
        buffer.truncate(written);
        self.inventory_hash = Inventory::hash(&inventory);
        (self.inventory, self.snapshot) = (inventory, buffer);
        self.number = self.number.wrapping_add(1).max(1);
        self.sent = report.clone();
        Ok(true)
    }

    /// The report that was sent last.
    #[must_use]
    pub const fn report(&self) -> &Report {
        &self.sent
    }

    /// Answers a poll.
    #[must_use]
    pub fn answer(&self, poll: Poll) -> Answer<'_> {
        let holds_inventory = poll.inventory == self.inventory_hash;
        if holds_inventory && poll.report == self.number {
            return Answer::Same { report: self.number };
        }
        Answer::Full {
            report: self.number,
            inventory: self.inventory_hash,
            snapshot: &self.snapshot,
            inventory_bytes: if holds_inventory { &[] } else { &self.inventory },
        }
    }

    fn is_calm(old: &Report, new: &Report) -> bool {
        old.components.len() == new.components.len()
            && old.components.iter().zip(&new.components).all(|(old, new)| {
                old.findings == new.findings
                    && old.readings.len() == new.readings.len()
                    && old.readings.iter().zip(&new.readings).all(|(old, new)| within_deadband(*old, *new))
            })
    }

    fn note_since(&mut self, report: &Report) {
        let now = u64::try_from(minutes(report.time_s)).unwrap_or(0);
        let mut since = HashMap::new();
        for component in &report.components {
            for finding in &component.findings {
                let key = (component.id.clone(), finding.check as u8);
                let start = match self.since.get(&key) {
                    Some((verdict, start)) if *verdict == finding.verdict => *start,
                    Some(_) | None => now,
                };
                since.insert(key, (finding.verdict, start));
            }
        }
        self.since = since;
    }
}

fn within_deadband(old: (Quantity, Option<i64>), new: (Quantity, Option<i64>)) -> bool {
    match (old.1, new.1) {
        (Some(before), Some(after)) => {
            let (absolute, permille) = new.0.deadband();
            let relative = before.saturating_abs().saturating_mul(permille) / 1000;
            after.saturating_sub(before).saturating_abs() <= absolute.max(relative)
        }
        (before, after) => before == after,
    }
}

fn clip(text: &str) -> &str {
    let end = (0..=LABEL_BYTES_MAX.min(text.len())).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    text.get(..end).unwrap_or_default()
}

fn encode_inventory(report: &Report) -> Result<Vec<u8>, SnapshotError> {
    let mut entries = Vec::new();
    for component in &report.components {
        let checks: Vec<u8> = component.findings.iter().map(|finding| finding.check as u8).collect();
        let readings: Vec<u8> = component.readings.iter().map(|(quantity, _)| *quantity as u8).collect();
        let entry = Entry {
            kind: component.kind as u8,
            id: clip(&component.id),
            label: clip(&component.label),
            checks: &checks,
            readings: &readings,
        };
        entries.extend(postcard::to_stdvec(&entry).map_err(|_| SnapshotError::NoRoom)?);
    }
    let inventory =
        Inventory { version: Inventory::VERSION, host: clip(&report.host), components: Parts::new(&entries) };
    let bytes = postcard::to_stdvec(&inventory).map_err(|_| SnapshotError::NoRoom)?;
    if bytes.len() > INVENTORY_BYTES_MAX { Err(SnapshotError::NoRoom) } else { Ok(bytes) }
}

fn encode_snapshot(
    report: &Report,
    since: &HashMap<(String, u8), (Verdict, u64)>,
    buffer: &mut [u8],
) -> Result<usize, SnapshotError> {
    let mut writer = Writer::new(buffer, u64::try_from(minutes(report.time_s)).unwrap_or(0))?;
    let findings = || report.components.iter().flat_map(|c| c.findings.iter().map(move |finding| (c, finding)));
    writer.verdicts(findings().map(|(_, finding)| finding.verdict))?;
    for (component, finding) in findings().filter(|(_, finding)| finding.verdict != Verdict::Ok) {
        let start = since.get(&(component.id.clone(), finding.check as u8)).map_or(0, |(_, start)| *start);
        writer.reason(finding.reason as u8, start, &finding.detail)?;
    }
    for component in &report.components {
        let readings: Vec<Option<i64>> = component.readings.iter().map(|(_, value)| *value).collect();
        writer.readings(&readings)?;
    }
    Ok(writer.finish())
}

/// Reads a report back. Codes newer than this program are left out; a check whose reason is newer keeps its verdict.
///
/// # Errors
/// When the bytes break the layout.
pub fn decode(inventory: &[u8], bytes: &[u8]) -> Result<Report, SnapshotError> {
    let inventory = Inventory::read(inventory)?;
    let mut builder =
        Builder { report: Report { host: inventory.host.to_owned(), ..Report::default() }, places: vec![] };
    let time = snapshot::read(&inventory, bytes, &mut builder)?;
    builder.report.time_s = seconds(time);
    Ok(builder.report)
}

/// Seconds since 1970 of minutes since 2026.
const fn seconds(minutes: u64) -> u64 {
    minutes.saturating_add(EPOCH_MINUTES).saturating_mul(60)
}

struct Builder {
    report: Report,
    /// Place of each of the inventory's components in the report; `None` for kinds newer than this program.
    places: Vec<Option<usize>>,
}

impl Builder {
    fn at(&mut self, index: usize) -> Option<&mut Component> {
        let place = self.places.get(index).copied().flatten()?;
        self.report.components.get_mut(place)
    }
}

impl Visitor for Builder {
    fn component(&mut self, _index: usize, entry: &Entry<'_>) {
        let place = ComponentKind::from_number(entry.kind).map(|kind| {
            self.report.components.push(Component {
                kind,
                id: entry.id.to_owned(),
                label: entry.label.to_owned(),
                findings: Vec::new(),
                readings: Vec::new(),
            });
            self.report.components.len() - 1
        });
        self.places.push(place);
    }

    fn check(&mut self, component: usize, check: u8, finding: snapshot::Finding<'_>) {
        if let (Some(component), Some(check)) = (self.at(component), Check::from_number(check)) {
            component.findings.push(Finding {
                check,
                verdict: finding.verdict,
                reason: Reason::from_number(finding.reason).unwrap_or(Reason::None),
                detail: finding.detail.to_owned(),
                since_s: (finding.verdict != Verdict::Ok).then(|| seconds(finding.since_minutes)),
            });
        }
    }

    fn reading(&mut self, component: usize, quantity: u8, value: Option<i64>) {
        if let (Some(component), Some(quantity)) = (self.at(component), Quantity::from_number(quantity)) {
            component.readings.push((quantity, value));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn component(kind: ComponentKind, id: &str, checks: usize, readings: usize) -> Component {
        Component {
            kind,
            id: id.to_owned(),
            label: format!("{id} (a label of usual length)"),
            findings: (0..checks).map(|_| Finding::ok(Check::DiskStatus)).collect(),
            readings: (0..readings)
                .map(|index| (Quantity::TemperatureTenths, Some(i64::try_from(index).unwrap() * 100 + 345)))
                .collect(),
        }
    }

    /// A box with 6 disks, an array, a UPS, 8 temperatures and about 30 verdicts.
    fn box_report(disks: usize) -> Report {
        let mut components = vec![component(ComponentKind::Host, "host", 5, 8)];
        components.extend((0..disks).map(|i| component(ComponentKind::Disk, &format!("naa.{i:016}"), 3, 5)));
        components.push(component(ComponentKind::Array, "md0", 2, 4));
        components.push(component(ComponentKind::Power, "ups", 1, 3));
        components.extend((0..8).map(|i| component(ComponentKind::Sensor, &format!("temp{i}"), 1, 1)));
        Report { host: "box".to_owned(), time_s: 1_795_000_000, components }
    }

    #[test]
    fn a_snapshot_is_small() {
        let sizes = [6, 24].map(|disks| {
            let mut reporter = Reporter::new(2);
            reporter.update(&box_report(disks)).unwrap();
            reporter.snapshot.len()
        });
        assert!(sizes[0] <= 300 && sizes[1] <= 600, "{sizes:?} bytes");
    }

    #[test]
    fn what_was_sent_is_what_was_meant() {
        let mut report = box_report(2);
        report.time_s = report.time_s / 60 * 60;
        report.components[1].findings[1] =
            Finding::new(Check::DiskErrors, Verdict::Warning, Reason::IoErrors).with_detail("3 errors");
        report.components[2].readings[0].1 = None;
        report.components[2].readings[1].1 = Some(-40);
        let mut reporter = Reporter::new(2);
        reporter.update(&report).unwrap();
        report.components[1].findings[1].since_s = Some(report.time_s);
        assert_eq!(decode(&reporter.inventory, &reporter.snapshot).unwrap(), report);
    }

    #[test]
    fn a_calm_machine_says_same() {
        let mut report = box_report(2);
        let mut reporter = Reporter::new(2);
        assert!(reporter.update(&report).unwrap());
        let Answer::Full { report: number, inventory, inventory_bytes, .. } =
            reporter.answer(Poll { inventory: 0, report: 0 })
        else {
            panic!("an asker without anything gets everything")
        };
        assert!(!inventory_bytes.is_empty());
        report.time_s += 60;
        report.components[0].readings[0].1 = report.components[0].readings[0].1.map(|value| value + 5);
        assert!(!reporter.update(&report).unwrap(), "half a degree is noise");
        assert_eq!(reporter.answer(Poll { inventory, report: number }), Answer::Same { report: number });
        report.components[0].readings[0].1 = Some(900);
        assert!(reporter.update(&report).unwrap());
        let answer = reporter.answer(Poll { inventory, report: number });
        assert!(matches!(answer, Answer::Full { inventory_bytes: [], .. }), "{answer:?}");
    }

    #[test]
    fn since_is_kept_while_the_verdict_stays() {
        let mut report = box_report(1);
        let mut reporter = Reporter::new(2);
        report.components[1].findings[0] = Finding::new(Check::DiskStatus, Verdict::Warning, Reason::IoErrors);
        reporter.update(&report).unwrap();
        let key = ("naa.0000000000000000".to_owned(), Check::DiskStatus as u8);
        let start = reporter.since[&key].1;
        report.time_s += 3_600;
        report.components[0].readings[0].1 = Some(0);
        reporter.update(&report).unwrap();
        assert_eq!(reporter.since[&key].1, start);
    }

    proptest! {
        #[test]
        fn random_bytes_are_an_error_or_a_report(inventory in proptest::collection::vec(any::<u8>(), 0..200),
                                                 bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(&inventory, &bytes).is_ok();
        }

        #[test]
        fn a_flipped_byte_never_panics(at in 0usize..400, to in any::<u8>(), disks in 0usize..4) {
            let mut reporter = Reporter::new(2);
            reporter.update(&box_report(disks)).unwrap();
            let mut snapshot = reporter.snapshot.clone();
            let index = at % snapshot.len();
            snapshot[index] = to;
            let _ = decode(&reporter.inventory, &snapshot).is_ok();
            let _ = decode(&reporter.inventory, &snapshot[..index]).is_ok();
        }
    }
}
