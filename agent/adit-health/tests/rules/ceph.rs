// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Cases: Ceph, by the codes of its documentation. What the command of each release prints is tried where it is parsed.

use super::{Bench, Case};
use adit_health::Finding;
use adit_health::readings::ceph::{CephCheck, CephReading, CephStatus};
use adit_health::readings::silence::{Silence, Why};
use adit_health::rules::ceph;
use adit_wire::health::codes::{Check, Reason, Verdict};

const CODES: &str = "docs.ceph.com, health checks";
const MUTES: &str = "docs.ceph.com, monitoring a cluster, muting health checks";
const MONITORS: &str = "docs.ceph.com, monitor configuration reference, quorum";
const HOUR_S: u64 = 3_600;

fn reading(codes: &[&str], severity: CephStatus, muted: bool) -> CephReading {
    let check = |code: &&str| CephCheck { code: (*code).to_owned(), severity, muted, ..CephCheck::default() };
    let checks = codes.iter().map(check).collect();
    let (monitors, in_quorum) = (Some(3), Some(3));
    CephReading { status: severity, checks, monitors, in_quorum, osds: Some(6), ..CephReading::default() }
}

fn warns(bench: &mut Bench, codes: &[&str]) -> Vec<Finding> {
    ceph::ceph(&mut bench.judge(), "ceph", &reading(codes, CephStatus::Warn, false)).findings
}

fn fails(bench: &mut Bench, codes: &[&str]) -> Vec<Finding> {
    ceph::ceph(&mut bench.judge(), "ceph", &reading(codes, CephStatus::Error, false)).findings
}

fn muted(bench: &mut Bench, code: &str) -> Vec<Finding> {
    ceph::ceph(&mut bench.judge(), "ceph", &reading(&[code], CephStatus::Warn, true)).findings
}

fn monitors(bench: &mut Bench, in_quorum: u32, monitors: u32) -> Vec<Finding> {
    let reading = reading(&["MON_DOWN"], CephStatus::Warn, false);
    let reading = CephReading { monitors: Some(monitors), in_quorum: Some(in_quorum), ..reading };
    ceph::ceph(&mut bench.judge(), "ceph", &reading).findings
}

fn lasting(bench: &mut Bench, code: &str, hours: u64) -> Vec<Finding> {
    drop(warns(bench, &[code]));
    bench.pass(hours * HOUR_S);
    warns(bench, &[code])
}

fn silent(why: Why) -> Vec<Finding> {
    ceph::ceph_silent("ceph", &Silence { why, words: "ask the ceph command".into() }).findings
}

type Expected = &'static [(Check, Verdict, Reason)];
const OSDS: Expected = &[(Check::CephOsds, Verdict::Critical, Reason::OsdsDown)];
const FULL: Expected = &[(Check::CephSpace, Verdict::Critical, Reason::Full)];
const NEAR_FULL: Expected = &[(Check::CephSpace, Verdict::Warning, Reason::NearFull)];
const UNAVAILABLE: Expected = &[(Check::CephData, Verdict::Critical, Reason::DataUnavailable)];
const DEGRADED: Expected = &[(Check::CephData, Verdict::Warning, Reason::DataDegraded)];
const OTHER: Expected = &[(Check::CephHealth, Verdict::Warning, Reason::CephWarning)];
const SLOW: Expected = &[(Check::CephHealth, Verdict::Warning, Reason::SlowOperations)];

const fn case(
    name: &'static str,
    source: &'static str,
    judge: fn(&mut Bench) -> Vec<Finding>,
    expect: Expected,
) -> Case {
    Case { name, source, judge, expect }
}

pub(crate) const CASES: &[Case] = &[
    case("HEALTH_OK", CODES, |bench| warns(bench, &[]), &[]),
    case("OSD_DOWN", CODES, |bench| warns(bench, &["OSD_DOWN"]), OSDS),
    case("OSD_HOST_DOWN", CODES, |bench| warns(bench, &["OSD_DOWN", "OSD_HOST_DOWN"]), OSDS),
    case("OSD_FULL", CODES, |bench| fails(bench, &["OSD_FULL"]), FULL),
    case("POOL_FULL", CODES, |bench| warns(bench, &["POOL_FULL"]), FULL),
    case("OSD_NEARFULL", CODES, |bench| warns(bench, &["OSD_NEARFULL"]), NEAR_FULL),
    case("OSD_BACKFILLFULL", CODES, |bench| warns(bench, &["OSD_BACKFILLFULL"]), NEAR_FULL),
    case("full counts more than nearly full", CODES, |bench| fails(bench, &["OSD_NEARFULL", "OSD_FULL"]), FULL),
    case("PG_AVAILABILITY", CODES, |bench| warns(bench, &["PG_AVAILABILITY"]), UNAVAILABLE),
    case("OBJECT_UNFOUND", CODES, |bench| fails(bench, &["OBJECT_UNFOUND"]), UNAVAILABLE),
    case("PG_DEGRADED", CODES, |bench| warns(bench, &["PG_DEGRADED"]), DEGRADED),
    case("a file system without a standby that takes over", CODES, |bench| warns(bench, &["FS_DEGRADED"]), DEGRADED),
    case(
        "PG_DAMAGED",
        CODES,
        |bench| fails(bench, &["PG_DAMAGED", "OSD_SCRUB_ERRORS"]),
        &[(Check::CephData, Verdict::Critical, Reason::DataDamaged)],
    ),
    case(
        "OSD_SCRUB_ERRORS",
        CODES,
        |bench| fails(bench, &["OSD_SCRUB_ERRORS"]),
        &[(Check::CephData, Verdict::Warning, Reason::DataDamaged)],
    ),
    case(
        "PG_NOT_DEEP_SCRUBBED",
        CODES,
        |bench| warns(bench, &["PG_NOT_DEEP_SCRUBBED"]),
        &[(Check::CephData, Verdict::Warning, Reason::CheckOld)],
    ),
    case("SLOW_OPS", CODES, |bench| warns(bench, &["SLOW_OPS"]), SLOW),
    case("OSD_SLOW_PING_TIME_BACK", CODES, |bench| warns(bench, &["OSD_SLOW_PING_TIME_BACK"]), SLOW),
    case("one slow operation warns for a day", CODES, |bench| warns(bench, &["BLUESTORE_SLOW_OP_ALERT"]), &[]),
    case(
        "AUTH_INSECURE_GLOBAL_ID_RECLAIM_ALLOWED",
        CODES,
        |bench| warns(bench, &["AUTH_INSECURE_GLOBAL_ID_RECLAIM_ALLOWED"]),
        &[],
    ),
    case("MON_DISK_LOW", CODES, |bench| warns(bench, &["MON_DISK_LOW"]), &[]),
    case(
        "MON_DISK_CRIT",
        CODES,
        |bench| fails(bench, &["MON_DISK_CRIT"]),
        &[(Check::CephMonitors, Verdict::Critical, Reason::CephError)],
    ),
    case(
        "MON_CLOCK_SKEW",
        CODES,
        |bench| warns(bench, &["MON_CLOCK_SKEW"]),
        &[(Check::CephMonitors, Verdict::Warning, Reason::CephWarning)],
    ),
    case(
        "DEVICE_HEALTH",
        CODES,
        |bench| warns(bench, &["DEVICE_HEALTH"]),
        &[(Check::CephOsds, Verdict::Warning, Reason::FailurePredicted)],
    ),
    case(
        "OSD_TOO_MANY_REPAIRS",
        CODES,
        |bench| warns(bench, &["OSD_TOO_MANY_REPAIRS"]),
        &[(Check::CephOsds, Verdict::Warning, Reason::DeviceErrors)],
    ),
    case(
        "a monitor of three is down",
        MONITORS,
        |bench| monitors(bench, 2, 3),
        &[(Check::CephMonitors, Verdict::Warning, Reason::MonitorsDown)],
    ),
    case(
        "a minority of monitors is left",
        MONITORS,
        |bench| monitors(bench, 1, 3),
        &[(Check::CephMonitors, Verdict::Critical, Reason::MonitorsDown)],
    ),
    case(
        "half of the monitors is a minority",
        MONITORS,
        |bench| monitors(bench, 2, 4),
        &[(Check::CephMonitors, Verdict::Critical, Reason::MonitorsDown)],
    ),
    case("noout for an hour", CODES, |bench| lasting(bench, "OSDMAP_FLAGS", 1), &[]),
    case("noout for seven hours", CODES, |bench| lasting(bench, "OSDMAP_FLAGS", 7), OTHER),
    case(
        "noout again after it was taken back",
        CODES,
        |bench| {
            drop(lasting(bench, "OSDMAP_FLAGS", 7));
            drop(warns(bench, &[]));
            warns(bench, &["OSDMAP_FLAGS"])
        },
        &[],
    ),
    case("a pool of one copy, an hour", CODES, |bench| lasting(bench, "POOL_NO_REDUNDANCY", 1), &[]),
    case("a pool of one copy, a day", CODES, |bench| lasting(bench, "POOL_NO_REDUNDANCY", 24), OTHER),
    case("RECENT_CRASH", CODES, |bench| warns(bench, &["RECENT_CRASH"]), OTHER),
    case("a warning that is not known here", CODES, |bench| warns(bench, &["NEW_IN_TENTACLE"]), OTHER),
    case(
        "an error that is not known here",
        CODES,
        |bench| fails(bench, &["NEW_IN_TENTACLE"]),
        &[(Check::CephHealth, Verdict::Critical, Reason::CephError)],
    ),
    case("an OSD_DOWN that an admin muted", MUTES, |bench| muted(bench, "OSD_DOWN"), &[]),
    case(
        "no monitor answers",
        MONITORS,
        |_| silent(Why::NotAnswering),
        &[(Check::CephAnswers, Verdict::Critical, Reason::NotAnswering)],
    ),
    case(
        "a key that may not read",
        "docs.ceph.com, user management",
        |_| silent(Why::Denied),
        &[(Check::CephAnswers, Verdict::Unknown, Reason::AccessDenied)],
    ),
    case(
        "the command hangs in the kernel",
        CODES,
        |_| silent(Why::Stuck),
        &[(Check::CephAnswers, Verdict::Critical, Reason::HelperStuck)],
    ),
];
