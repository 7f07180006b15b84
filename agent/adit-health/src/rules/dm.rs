// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Device-mapper volumes by their status lines: RAID, thin pools, caches and snapshots of LVM. That a LUKS volume is open is
//! judged in [`super::volume`], which needs no device access.

use crate::judge::Judge;
use crate::limits::Rule;
use crate::model::{Component, Finding};
use adit_device::dm::{
    CacheStatus, DmReading, Fill, Member, PoolMode, RaidStatus, SnapshotStatus, SyncAction, TargetStatus,
    ThinPoolStatus,
};
use adit_wire::health::codes::{Check, ComponentKind, Quantity, Reason, Verdict};

/// A set that is not in sync while nothing repairs it: a repair begins within seconds, so after this it does not come.
const UNREPAIRED_S: u64 = 300;
/// I/O that is held back for so long is no reconfiguration any more, seconds.
const SUSPENDED_S: u64 = 300;

/// A volume, or nothing when it has no health of its own.
#[must_use]
pub fn volume(judge: &mut Judge<'_>, reading: &DmReading) -> Option<Component> {
    let id = if reading.uuid.is_empty() { &reading.name } else { &reading.uuid };
    let (mut findings, mut readings) = (Vec::new(), Vec::new());
    for target in &reading.targets {
        match target {
            TargetStatus::Raid(set) => raid(judge, id, set, &mut findings, &mut readings),
            TargetStatus::ThinPool(pool) => thin_pool(judge, id, *pool, &mut findings, &mut readings),
            TargetStatus::Cache(cache) => findings.push(self::cache(*cache)),
            TargetStatus::Snapshot(snapshot) => self::snapshot(judge, id, *snapshot, &mut findings, &mut readings),
            TargetStatus::Malformed(kind) => {
                let unknown = Finding::new(Check::VolumeState, Verdict::Unknown, Reason::NotReadable);
                findings.push(unknown.with_detail(format!("status of its {kind} target")));
            }
            TargetStatus::Crypt | TargetStatus::Other(_) => {}
        }
    }
    if findings.is_empty() {
        return None;
    }
    if judge.lasting(id, Reason::Stalled, reading.suspended).is_some_and(|for_s| for_s >= SUSPENDED_S) {
        findings.push(Finding::new(Check::VolumeState, Verdict::Critical, Reason::Stalled).with_detail("suspended"));
    }
    let findings = Finding::worst_each(findings);
    // A volume of several pieces tells the numbers of its first.
    let mut told = Vec::new();
    readings.retain(|(quantity, _)| {
        !told.contains(quantity) && {
            told.push(*quantity);
            true
        }
    });
    Some(Component { kind: ComponentKind::Volume, id: id.clone(), label: reading.name.clone(), findings, readings })
}

type Readings = Vec<(Quantity, Option<i64>)>;

fn raid(judge: &mut Judge<'_>, id: &str, set: &RaidStatus, findings: &mut Vec<Finding>, readings: &mut Readings) {
    findings.push(members(judge, id, set));
    if let Some(count) = set.mismatches.filter(|_| set.level != "raid0") {
        // The kernel writes mirrors without waiting for both: a difference there may be of no account (md(4)).
        let mirrored = set.level.starts_with("raid1");
        let verdict = match count {
            0 => Verdict::Ok,
            _ if mirrored => Verdict::Warning,
            _ => Verdict::Critical,
        };
        let finding = Finding::judged(Check::ArrayMismatch, verdict, Reason::Mismatches);
        findings.push(finding.because(|| format!("{count} at the last check")));
        readings.push((Quantity::Mismatches, i64::try_from(count).ok()));
    }
    let number = |count: usize| i64::try_from(count).ok();
    readings.push((Quantity::Members, number(set.members.len())));
    readings.push((Quantity::MembersMissing, number(set.missing())));
    let syncing = set.action.is_some_and(|action| !matches!(action, SyncAction::Idle | SyncAction::Frozen));
    let share = Fill { used: set.done, total: set.total }.permille();
    readings.push((Quantity::SyncPermille, syncing.then(|| i64::from(share))));
}

fn members(judge: &mut Judge<'_>, id: &str, set: &RaidStatus) -> Finding {
    let (missing, all) = (set.missing(), set.members.len());
    let behind = set.members.iter().filter(|member| **member == Member::NotInSync).count();
    let repairing = matches!(set.action, Some(SyncAction::Resync | SyncAction::Recover | SyncAction::Reshape));
    let unrepaired = judge.lasting(id, Reason::Degraded, behind > 0 && !repairing);
    let finding = |verdict, reason| Finding::new(Check::VolumeState, verdict, reason);
    if missing > set.redundancy() {
        return finding(Verdict::Critical, Reason::Broken).with_detail(format!("{missing} of {all} members missing"));
    }
    if missing > 0 {
        let left = set.redundancy() - missing;
        let detail = format!("{missing} of {all} members missing, {left} more may fail");
        return finding(Verdict::Critical, Reason::Degraded).with_detail(detail);
    }
    if set.journal == Some(Member::Dead) {
        return finding(Verdict::Critical, Reason::MemberFaulty).with_detail("its journal: no more writes");
    }
    match unrepaired {
        Some(for_s) if for_s >= UNREPAIRED_S => {
            finding(Verdict::Critical, Reason::Degraded).with_detail(format!("{behind} of {all} members out of sync"))
        }
        Some(_) => {
            finding(Verdict::Warning, Reason::Degraded).with_detail(format!("{behind} of {all} members out of sync"))
        }
        None if behind > 0 => finding(Verdict::Warning, Reason::Rebuilding),
        None => Finding::ok(Check::VolumeState),
    }
}

fn thin_pool(
    judge: &mut Judge<'_>,
    id: &str,
    pool: ThinPoolStatus,
    findings: &mut Vec<Finding>,
    readings: &mut Readings,
) {
    let ThinPoolStatus::Working { metadata, data, mode, needs_check } = pool else {
        return findings.push(Finding::new(Check::VolumeState, Verdict::Critical, Reason::Failed));
    };
    findings.push(written(Some(mode), needs_check));
    let mut space = |check, rule, quantity, fill: Fill| {
        let share = i64::from(fill.permille());
        let verdict = judge.level(id, rule, share);
        let reason = if verdict == Verdict::Critical { Reason::SpaceOut } else { Reason::SpaceLow };
        readings.push((quantity, Some(share)));
        Finding::judged(check, verdict, reason).because(|| format!("{} % used", share / 10))
    };
    let data = space(Check::ThinData, Rule::ThinData, Quantity::DataPermille, data);
    let metadata = space(Check::ThinMetadata, Rule::ThinMetadata, Quantity::MetadataPermille, metadata);
    findings.push(match mode {
        PoolMode::OutOfDataSpace => Finding::new(Check::ThinData, Verdict::Critical, Reason::SpaceOut),
        PoolMode::Writable | PoolMode::ReadOnly => data,
    });
    findings.push(metadata);
}

/// Whether metadata takes changes. `None` is a kernel that does not say.
fn written(mode: Option<PoolMode>, needs_check: bool) -> Finding {
    let critical = |reason| Finding::new(Check::VolumeState, Verdict::Critical, reason);
    match mode {
        _ if needs_check => critical(Reason::Failed).with_detail("its metadata must be checked"),
        Some(PoolMode::ReadOnly) => critical(Reason::MediaReadOnly),
        Some(PoolMode::Writable | PoolMode::OutOfDataSpace) | None => Finding::ok(Check::VolumeState),
    }
}

fn cache(cache: CacheStatus) -> Finding {
    match cache {
        CacheStatus::Failed => {
            Finding::new(Check::VolumeState, Verdict::Critical, Reason::Failed).with_detail("its cache")
        }
        CacheStatus::Working { mode, needs_check, .. } => written(mode, needs_check),
    }
}

fn snapshot(
    judge: &mut Judge<'_>,
    id: &str,
    snapshot: SnapshotStatus,
    findings: &mut Vec<Finding>,
    readings: &mut Readings,
) {
    let finding = match snapshot {
        SnapshotStatus::Lost => {
            Finding::new(Check::VolumeState, Verdict::Critical, Reason::Failed).with_detail("the snapshot is lost")
        }
        SnapshotStatus::Valid(fill) => {
            let share = i64::from(fill.permille());
            readings.push((Quantity::DataPermille, Some(share)));
            let verdict = judge.level(id, Rule::ThinData, share);
            let finding = Finding::judged(Check::VolumeState, verdict, Reason::SpaceLow);
            finding.because(|| format!("its snapshot store: {} % used", share / 10))
        }
    };
    findings.push(finding);
}
