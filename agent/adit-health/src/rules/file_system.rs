// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Mounted file systems: space now and in a week, inodes, writes refused, errors counted, mounts that are not there.

use crate::judge::Judge;
use crate::limits::Rule;
use crate::model::{Component, Finding};
use crate::readings::file_system::{FileSystemReading, FsErrors, Meant, Space};
use adit_wire::health::codes::{Check, ComponentKind, Quantity, Reason, Verdict};

/// An error this young is news even at the first look, seconds.
const ERROR_NEW_S: u64 = 2 * 86_400;
/// With more than this left no forecast is made, per mille: somebody copies a lot into a new disk.
const FORECAST_BELOW: i64 = 400;
/// A boot mounts one after the other; after this long one is missed, seconds.
const MOUNTS_WITHIN_S: u64 = 120;
/// A forecast beyond this is none, days.
const FORECAST_DAYS_MAX: i64 = 3_650;

/// Everything about a mounted file system.
#[must_use]
pub fn file_system(judge: &mut Judge<'_>, reading: &FileSystemReading) -> Component {
    let id = reading.point.as_str();
    let mut findings = Vec::new();
    let mut readings = Vec::new();
    match &reading.space {
        Space::Known { size_mib, free_mib, inodes_permille } => {
            findings.push(space(judge, id, *size_mib, *free_mib));
            let (finding, days) = forecast(judge, id, *size_mib, *free_mib);
            findings.push(finding);
            readings.extend([
                (Quantity::SizeMib, Some(*size_mib)),
                (Quantity::FreeMib, Some(*free_mib)),
                (Quantity::DaysUntilFull, days),
            ]);
            if inodes_permille.is_some() {
                findings.push(inodes(judge, id, *inodes_permille));
                readings.push((Quantity::InodesPermille, *inodes_permille));
            }
        }
        Space::Broken => {
            let finding = Finding::new(Check::Space, Verdict::Critical, Reason::FsErrors);
            findings.push(finding.with_detail("stopped after an error"));
        }
        Space::Refused(why) => {
            let finding = Finding::new(Check::Space, Verdict::Unknown, Reason::NotReadable);
            findings.push(finding.with_detail(why.clone()));
        }
    }
    findings.push(read_only(judge, reading));
    if let Some(found) = &reading.errors {
        findings.push(errors(judge, id, found));
        readings.push((Quantity::Errors, Some(found.count)));
    }
    if reading.meant.is_some() {
        findings.push(absent(judge, id, false));
    }
    Component { kind: ComponentKind::FileSystem, id: id.to_owned(), label: id.to_owned(), findings, readings }
}

/// A mount point that /etc/fstab wants and that is empty.
#[must_use]
pub fn not_mounted(judge: &mut Judge<'_>, point: &str) -> Component {
    Component {
        kind: ComponentKind::FileSystem,
        id: point.to_owned(),
        label: point.to_owned(),
        findings: vec![absent(judge, point, true)],
        readings: Vec::new(),
    }
}

fn absent(judge: &mut Judge<'_>, point: &str, is: bool) -> Finding {
    let missed = judge.lasting(point, Reason::NotMounted, is).is_some_and(|for_s| for_s >= MOUNTS_WITHIN_S);
    let verdict = if missed { Verdict::Critical } else { Verdict::Ok };
    Finding::judged(Check::Mounted, verdict, Reason::NotMounted).because(|| "it stands in /etc/fstab".to_owned())
}

/// Space left on a file system.
#[must_use]
pub fn space(judge: &mut Judge<'_>, id: &str, size_mib: i64, free_mib: i64) -> Finding {
    let verdict = judge.level(id, Rule::Space, free_mib.saturating_mul(1000) / size_mib.max(1));
    let reason = if verdict == Verdict::Critical { Reason::SpaceOut } else { Reason::SpaceLow };
    Finding::judged(Check::Space, verdict, reason).because(|| format!("{free_mib} MiB free"))
}

/// Days until it is full at the pace of the last days, and whether that is soon. Needs a day of looking.
#[must_use]
pub fn forecast(judge: &mut Judge<'_>, id: &str, size_mib: i64, free_mib: i64) -> (Finding, Option<i64>) {
    let pace = judge.per_day(id, Quantity::FreeMib, size_mib.saturating_sub(free_mib)).filter(|pace| *pace > 0);
    let days = pace.map(|pace| free_mib / pace).filter(|days| *days <= FORECAST_DAYS_MAX);
    let tight = free_mib.saturating_mul(1000) / size_mib.max(1) < FORECAST_BELOW;
    let verdict = judge.level(id, Rule::SpaceForecast, days.filter(|_| tight).unwrap_or(FORECAST_DAYS_MAX));
    let finding = Finding::judged(Check::SpaceForecast, verdict, Reason::FullSoon);
    (finding.because(|| format!("in {} days, {} MiB a day", days.unwrap_or(0), pace.unwrap_or(0))), days)
}

/// Inodes in use, per mille; `None` on file systems that make them as needed.
#[must_use]
pub fn inodes(judge: &mut Judge<'_>, id: &str, used_permille: Option<i64>) -> Finding {
    let verdict = used_permille.map_or(Verdict::Ok, |used| judge.level(id, Rule::Inodes, used));
    Finding::judged(Check::Inodes, verdict, Reason::InodesLow)
}

/// Read-only is wrong where it was writable before, or where fstab means it writable.
fn read_only(judge: &mut Judge<'_>, reading: &FileSystemReading) -> Finding {
    let was_writable = judge.best(&reading.point, Check::ReadOnly, i64::from(!reading.read_only)) == 1;
    let wrong = reading.read_only
        && match reading.meant {
            Some(Meant::ReadOnly) => false,
            Some(Meant::Writable) => true,
            None => was_writable,
        };
    let verdict = if wrong { Verdict::Critical } else { Verdict::Ok };
    Finding::judged(Check::ReadOnly, verdict, Reason::BecameReadOnly)
}

/// Errors that ext4 counted: new ones are urgent, old ones wait for e2fsck.
fn errors(judge: &mut Judge<'_>, id: &str, found: &FsErrors) -> Finding {
    let grown = judge.counter(id, Quantity::Errors, found.count).two_days > 0;
    let young = found.last_s.is_some_and(|last_s| judge.now_s().saturating_sub(last_s) <= ERROR_NEW_S);
    let verdict = match found.count {
        0 => Verdict::Ok,
        _ if grown || young => Verdict::Critical,
        _ => Verdict::Warning,
    };
    Finding::judged(Check::FsErrors, verdict, Reason::FsErrors).because(|| {
        let place = found.place.as_ref().map(|place| format!(", last in {place}")).unwrap_or_default();
        format!("{} errors{place}: run e2fsck", found.count)
    })
}
