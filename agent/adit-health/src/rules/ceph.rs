// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Ceph clusters. The umbrella verdict is useless (one slow operation warns for a day), so each of Ceph's checks is judged
//! by its own line of a table (codes: docs.ceph.com, "Health checks"); one that is not in it, by Ceph's own severity.
//! What an admin muted in Ceph is quiet here too.
//!
//! What to do: `ceph health detail`; a dead OSD's disk: `ceph device ls-by-daemon osd.N`, replace it.

use crate::judge::Judge;
use crate::limits::Rule;
use crate::model::{Component, Finding};
use crate::readings::ceph::{CephCheck, CephReading, CephStatus};
use crate::readings::silence::{Silence, Why};
use adit_wire::health::codes::{Check, ComponentKind, Quantity, Reason, Verdict};

type Line = (Check, Verdict, Reason);

/// All checks that a cluster has, in the order they are told.
const CHECKS: [Check; 5] = [Check::CephOsds, Check::CephMonitors, Check::CephSpace, Check::CephData, Check::CephHealth];

/// Codes that only count when they last ([`Rule::ClusterFlags`]): somebody set them for a repair and should take them back.
const LASTING: [&str; 3] = ["OSDMAP_FLAGS", "OSD_FLAGS", "POOL_NO_REDUNDANCY"];

/// Codes that tell nothing that needs a person: settings, and alerts that stay for a day after one event.
const QUIET: [&str; 12] = [
    "AUTH_INSECURE_GLOBAL_ID_RECLAIM",
    "AUTH_INSECURE_GLOBAL_ID_RECLAIM_ALLOWED",
    "AUTH_INSECURE_KEYS_ALLOWED",
    "BLUESTORE_SLOW_OP_ALERT",
    "BLOCK_DEVICE_STALLED_READ_ALERT",
    "DB_DEVICE_STALLED_READ_ALERT",
    "WAL_DEVICE_STALLED_READ_ALERT",
    "MON_DISK_LOW",
    "OBJECT_MISPLACED",
    "OSD_NO_DOWN_OUT_INTERVAL",
    "POOL_APP_NOT_ENABLED",
    "TELEMETRY_CHANGED",
];

/// Everything about a cluster, called `name` in the configuration.
#[must_use]
pub fn ceph(judge: &mut Judge<'_>, name: &str, ceph: &CephReading) -> Component {
    let mut findings = vec![Finding::ok(Check::CephAnswers)];
    findings.extend(CHECKS.map(Finding::ok));
    let is_raised = |code: &str| ceph.checks.iter().any(|check| check.code == code && !check.muted);
    let lasting = LASTING.map(|code| {
        let id = format!("{name}/{code}");
        let seconds = judge.lasting(&id, Reason::CephWarning, is_raised(code)).unwrap_or(0);
        judge.level(&id, Rule::ClusterFlags, i64::try_from(seconds).unwrap_or(i64::MAX))
    });
    for check in ceph.checks.iter().filter(|check| !check.muted) {
        let (kind, verdict, reason) = match LASTING.iter().position(|code| *code == check.code) {
            Some(index) => (Check::CephHealth, *lasting.get(index).unwrap_or(&Verdict::Ok), Reason::CephWarning),
            None => line(ceph, check),
        };
        let worst = findings.iter_mut().find(|finding| finding.check == kind);
        if let Some(worst) = worst.filter(|worst| worst.verdict.worse(verdict) != worst.verdict) {
            *worst = Finding::new(kind, verdict, reason).with_detail(detail(ceph, check));
        }
    }
    let count = |count: Option<u32>| count.map(i64::from);
    let used = ceph.used_mib.zip(ceph.total_mib).filter(|(_, total)| *total > 0);
    Component {
        kind: ComponentKind::Ceph,
        id: name.to_owned(),
        label: name.to_owned(),
        findings,
        readings: vec![
            (Quantity::OsdsUp, count(ceph.osds_up)),
            (Quantity::OsdsTotal, count(ceph.osds)),
            (Quantity::MonitorsInQuorum, count(ceph.in_quorum)),
            (Quantity::MonitorsTotal, count(ceph.monitors)),
            (Quantity::UsedPermille, used.map(|(used, total)| used.saturating_mul(1000) / total)),
        ],
    }
}

/// A cluster that did not answer, or not us.
#[must_use]
pub fn ceph_silent(name: &str, silence: &Silence) -> Component {
    let (verdict, reason) = match silence.why {
        Why::Denied => (Verdict::Unknown, Reason::AccessDenied),
        Why::Stuck => (Verdict::Critical, Reason::HelperStuck),
        // Monitors without a quorum do not answer at all.
        Why::NotAnswering | Why::Busy => (Verdict::Critical, Reason::NotAnswering),
    };
    let finding = Finding::new(Check::CephAnswers, verdict, reason).with_detail(silence.words.clone());
    let (id, label) = (name.to_owned(), name.to_owned());
    Component { kind: ComponentKind::Ceph, id, label, findings: vec![finding], readings: Vec::new() }
}

fn line(ceph: &CephReading, check: &CephCheck) -> Line {
    use Check::{CephData, CephHealth, CephMonitors, CephOsds, CephSpace};
    use Verdict::{Critical, Ok, Warning};
    match check.code.as_str() {
        code if QUIET.contains(&code) => (CephHealth, Ok, Reason::None),
        "OSD_DOWN" | "OSD_UNREACHABLE" => (CephOsds, Critical, Reason::OsdsDown),
        // A whole host, rack or root of them: OSD_HOST_DOWN and its kin.
        code if code.starts_with("OSD_") && code.ends_with("_DOWN") => (CephOsds, Critical, Reason::OsdsDown),
        "DEVICE_HEALTH" | "DEVICE_HEALTH_IN_USE" | "DEVICE_HEALTH_TOOMANY" => {
            (CephOsds, Warning, Reason::FailurePredicted)
        }
        "OSD_TOO_MANY_REPAIRS" | "BLUESTORE_SPURIOUS_READ_ERRORS" => (CephOsds, Warning, Reason::DeviceErrors),
        "SLOW_OPS"
        | "OSD_SLOW_PING_TIME_BACK"
        | "OSD_SLOW_PING_TIME_FRONT"
        | "MDS_SLOW_REQUEST"
        | "MDS_SLOW_METADATA_IO" => (CephHealth, Warning, Reason::SlowOperations),
        "MON_DOWN" => {
            let has_quorum = ceph.in_quorum.zip(ceph.monitors).is_none_or(|(here, all)| here * 2 > all);
            (CephMonitors, if has_quorum { Warning } else { Critical }, Reason::MonitorsDown)
        }
        "MON_CLOCK_SKEW" | "MON_DISK_BIG" => (CephMonitors, Warning, Reason::CephWarning),
        "MON_DISK_CRIT" => (CephMonitors, Critical, Reason::CephError),
        "OSD_FULL" | "POOL_FULL" | "PG_RECOVERY_FULL" => (CephSpace, Critical, Reason::Full),
        "OSD_NEARFULL" | "OSD_BACKFILLFULL" | "POOL_NEAR_FULL" | "POOL_BACKFILLFULL" | "PG_BACKFILL_FULL" => {
            (CephSpace, Warning, Reason::NearFull)
        }
        "PG_AVAILABILITY" | "OBJECT_UNFOUND" | "MDS_ALL_DOWN" | "FS_WITH_FAILED_MDS" => {
            (CephData, Critical, Reason::DataUnavailable)
        }
        "PG_DAMAGED" | "MDS_DAMAGE" => (CephData, Critical, Reason::DataDamaged),
        "OSD_SCRUB_ERRORS" => (CephData, Warning, Reason::DataDamaged),
        "PG_DEGRADED" | "FS_DEGRADED" => (CephData, Warning, Reason::DataDegraded),
        "PG_NOT_SCRUBBED" | "PG_NOT_DEEP_SCRUBBED" => (CephData, Warning, Reason::CheckOld),
        _ if check.severity == CephStatus::Error => (CephHealth, Critical, Reason::CephError),
        _ => (CephHealth, Warning, Reason::CephWarning),
    }
}

/// What a person is told: which one it is about, or Ceph's sentence, or at least its code.
fn detail(ceph: &CephReading, check: &CephCheck) -> String {
    if let ("MON_DOWN", Some((here, all))) = (check.code.as_str(), ceph.in_quorum.zip(ceph.monitors)) {
        let more = here.saturating_sub(all / 2 + 1);
        return format!("{here} of {all} in quorum, {more} more may fail");
    }
    let words = if check.detail.is_empty() { &check.summary } else { &check.detail };
    if words.is_empty() { check.code.clone() } else { words.clone() }
}
