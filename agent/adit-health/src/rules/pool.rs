// SPDX-License-Identifier: Apache-2.0 OR MIT
//! File systems over several devices: btrfs, and ZFS by the one word that its module shows.
//!
//! btrfs keeps a device's error counters until somebody resets them (`btrfs device stats --reset`): they are judged by growth.

use crate::judge::Judge;
use crate::limits::Rule;
use crate::model::{Component, Finding};
use crate::readings::pool::{BtrfsReading, BtrfsScrub, ZfsState};
use adit_wire::health::codes::{Check, ComponentKind, Quantity, Reason, Verdict};

const DAY_S: u64 = 86_400;
/// Below so much space that no block group has yet, metadata may find no room: 1 GiB, or 2 % of a large pool (btrfs(5): a
/// metadata block group takes up to 1 GiB).
const UNALLOCATED_MIB_MIN: i64 = 1_024;
const UNALLOCATED_SHARE: i64 = 50;
/// And metadata's own block groups are this full, per mille.
const METADATA_TIGHT: i64 = 900;

/// Everything about a btrfs file system.
#[must_use]
pub fn btrfs(judge: &mut Judge<'_>, pool: &BtrfsReading) -> Component {
    let mut findings = vec![state(pool), device_errors(judge, pool), allocation(pool)];
    let sum = |count: fn(&crate::readings::pool::BtrfsDevice) -> i64| {
        Some(pool.devices.iter().map(count).fold(0, i64::saturating_add))
    };
    let mut readings = vec![
        (Quantity::Members, i64::try_from(pool.devices.len()).ok()),
        (Quantity::WriteErrors, sum(|device| device.write_errors)),
        (Quantity::ReadErrors, sum(|device| device.read_errors)),
        (Quantity::ChecksumErrors, sum(|device| device.corruptions)),
        (Quantity::MetadataPermille, Some(pool.metadata_permille)),
    ];
    if let Some(scrub) = &pool.scrub {
        let days = i64::try_from(judge.now_s().saturating_sub(scrub.started_s) / DAY_S).unwrap_or(i64::MAX);
        findings.extend([data(scrub), scrubbed(judge, &pool.id, days)]);
        readings.push((Quantity::ScrubAgeDays, Some(days)));
    }
    let name = pool.label.clone().unwrap_or_else(|| pool.present.join(" "));
    Component { kind: ComponentKind::Pool, id: pool.id.clone(), label: format!("btrfs {name}"), findings, readings }
}

fn state(pool: &BtrfsReading) -> Finding {
    let missing: Vec<String> =
        pool.devices.iter().filter(|device| device.is_missing).map(|device| device.id.to_string()).collect();
    if !missing.is_empty() {
        let detail = format!("device {}; there: {}", missing.join(", "), pool.present.join(" "));
        return Finding::new(Check::PoolState, Verdict::Critical, Reason::DeviceMissing).with_detail(detail);
    }
    let verdict = if pool.mounted_degraded { Verdict::Critical } else { Verdict::Ok };
    let finding = Finding::judged(Check::PoolState, verdict, Reason::Degraded);
    finding.because(|| "mounted with the option degraded".to_owned())
}

/// A write that failed left a copy stale. A read or a checksum that failed was repaired from another copy where there is one.
fn device_errors(judge: &mut Judge<'_>, pool: &BtrfsReading) -> Finding {
    let mut worst = Finding::ok(Check::PoolErrors);
    for device in &pool.devices {
        let id = format!("{}/{}", pool.id, device.id);
        let mut grown = |quantity, count| judge.counter(&id, quantity, count).two_days;
        let writes = grown(Quantity::WriteErrors, device.write_errors);
        let reads = grown(Quantity::ReadErrors, device.read_errors);
        let corruptions = grown(Quantity::ChecksumErrors, device.corruptions);
        let verdict = match (writes, reads.saturating_add(corruptions)) {
            (1.., _) => Verdict::Critical,
            (_, 1..) => Verdict::Warning,
            _ => Verdict::Ok,
        };
        if verdict != Verdict::Ok && worst.verdict != Verdict::Critical {
            let detail = format!("device {}: {writes} write, {reads} read, {corruptions} checksum", device.id);
            worst = Finding::new(Check::PoolErrors, verdict, Reason::DeviceErrors).with_detail(detail);
        }
    }
    worst
}

fn allocation(pool: &BtrfsReading) -> Finding {
    let least = UNALLOCATED_MIB_MIN.max(pool.size_mib / UNALLOCATED_SHARE);
    let tight = pool.unallocated_mib < least && pool.metadata_permille > METADATA_TIGHT;
    let verdict = if tight { Verdict::Warning } else { Verdict::Ok };
    Finding::judged(Check::PoolAllocation, verdict, Reason::AllocationTight)
        .because(|| format!("{} MiB unallocated: run a balance", pool.unallocated_mib))
}

fn data(scrub: &BtrfsScrub) -> Finding {
    let verdict = if scrub.uncorrectable > 0 { Verdict::Critical } else { Verdict::Ok };
    Finding::judged(Check::PoolData, verdict, Reason::Uncorrectable)
        .because(|| format!("{} errors without a good copy", scrub.uncorrectable))
}

fn scrubbed(judge: &mut Judge<'_>, id: &str, days: i64) -> Finding {
    let verdict = judge.level(id, Rule::ScrubAge, days);
    Finding::judged(Check::PoolScrub, verdict, Reason::CheckOld).because(|| format!("last scrub {days} days ago"))
}

/// A ZFS pool by its state alone. DEGRADED is critical: most pools survive one device, and this word does not tell which.
#[must_use]
pub fn zfs(pool: &ZfsState) -> Component {
    let (verdict, reason) = match pool.state.as_str() {
        "ONLINE" => (Verdict::Ok, Reason::None),
        "DEGRADED" => (Verdict::Critical, Reason::Degraded),
        "SUSPENDED" => (Verdict::Critical, Reason::Stalled),
        _ => (Verdict::Critical, Reason::Broken),
    };
    Component {
        kind: ComponentKind::Pool,
        id: pool.pool.clone(),
        label: format!("zfs {}", pool.pool),
        findings: vec![Finding::judged(Check::PoolState, verdict, reason).because(|| pool.state.clone())],
        readings: Vec::new(),
    }
}
