// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Cases: ZFS pools, by the states of zpoolconcepts(7) and what `zpool status` shows.

use super::{Bench, Case};
use adit_health::Finding;
use adit_health::readings::zpool::{ZpoolGroup, ZpoolMember, ZpoolReading, ZpoolScan};
use adit_health::rules::zpool;
use adit_wire::health::codes::{Check, Reason, Verdict};

const STATES: &str = "zpoolconcepts(7), device failure and recovery";
const STATUS: &str = "zpool-status(8)";
const SCRUB: &str = "zpool-scrub(8)";
const HANG: &str = "zpoolprops(7), failmode";
const DAY_S: u64 = 86_400;

/// A pool of one group whose members have these states.
fn pool(state: &str, may_lose: u32, members: &[&str]) -> ZpoolReading {
    let member =
        |state: &&str| ZpoolMember { name: "sda".into(), state: (*state).to_owned(), ..ZpoolMember::default() };
    let members: Vec<ZpoolMember> = members.iter().map(member).collect();
    let group = ZpoolGroup { name: "mirror-0".into(), state: state.to_owned(), may_lose, members };
    let (size_mib, used_mib) = (Some(1000), Some(400));
    ZpoolReading {
        name: "tank".into(),
        state: state.to_owned(),
        groups: vec![group],
        size_mib,
        used_mib,
        ..ZpoolReading::default()
    }
}

fn judged(bench: &mut Bench, pool: &ZpoolReading) -> Vec<Finding> {
    zpool::zpool(&mut bench.judge(), pool).findings
}

fn states(bench: &mut Bench, state: &str, may_lose: u32, members: &[&str]) -> Vec<Finding> {
    judged(bench, &pool(state, may_lose, members))
}

fn mirror() -> ZpoolReading {
    pool("ONLINE", 1, &["ONLINE", "ONLINE"])
}

fn scanned(bench: &mut Bench, days: u64, errors: u64, is_running: bool) -> Vec<Finding> {
    let end_s = (!is_running).then(|| bench.now_s() - days * DAY_S);
    judged(bench, &ZpoolReading { scan: Some(ZpoolScan { is_resilver: false, is_running, end_s, errors }), ..mirror() })
}

fn resilvering(bench: &mut Bench, may_lose: u32, members: &[&str]) -> Vec<Finding> {
    let scan = Some(ZpoolScan { is_resilver: true, is_running: true, ..ZpoolScan::default() });
    judged(bench, &ZpoolReading { scan, ..pool("DEGRADED", may_lose, members) })
}

fn growing(bench: &mut Bench, first: u64, then: u64) -> Vec<Finding> {
    let with = |checksum| {
        let mut pool = mirror();
        pool.groups[0].members[1].checksum = checksum;
        pool
    };
    drop(judged(bench, &with(first)));
    bench.pass(300);
    judged(bench, &with(then))
}

type Expected = &'static [(Check, Verdict, Reason)];
const BROKEN: Expected = &[(Check::PoolState, Verdict::Critical, Reason::Broken)];
const LAST: Expected = &[(Check::PoolState, Verdict::Critical, Reason::Degraded)];
const DEGRADED: Expected = &[(Check::PoolState, Verdict::Warning, Reason::Degraded)];

const fn case(
    name: &'static str,
    source: &'static str,
    judge: fn(&mut Bench) -> Vec<Finding>,
    expect: Expected,
) -> Case {
    Case { name, source, judge, expect }
}

pub(crate) const CASES: &[Case] = &[
    case("a mirror", STATES, |bench| judged(bench, &mirror()), &[]),
    case("a mirror whose half is FAULTED", STATES, |bench| states(bench, "DEGRADED", 1, &["ONLINE", "FAULTED"]), LAST),
    case("a mirror whose half is UNAVAIL", STATES, |bench| states(bench, "DEGRADED", 1, &["UNAVAIL", "ONLINE"]), LAST),
    case(
        "a mirror whose half was taken OFFLINE",
        STATES,
        |bench| states(bench, "DEGRADED", 1, &["OFFLINE", "ONLINE"]),
        LAST,
    ),
    case("a mirror whose half was REMOVED", STATES, |bench| states(bench, "DEGRADED", 1, &["REMOVED", "ONLINE"]), LAST),
    case(
        "a mirror of three lost one",
        STATES,
        |bench| states(bench, "DEGRADED", 2, &["ONLINE", "FAULTED", "ONLINE"]),
        DEGRADED,
    ),
    case("raidz1 lost one", STATES, |bench| states(bench, "DEGRADED", 1, &["ONLINE", "FAULTED", "ONLINE"]), LAST),
    case(
        "raidz2 lost one",
        STATES,
        |bench| states(bench, "DEGRADED", 2, &["ONLINE", "FAULTED", "ONLINE", "ONLINE"]),
        DEGRADED,
    ),
    case(
        "raidz2 lost two",
        STATES,
        |bench| states(bench, "DEGRADED", 2, &["ONLINE", "FAULTED", "UNAVAIL", "ONLINE"]),
        LAST,
    ),
    case(
        "a device DEGRADED by too many errors",
        STATES,
        |bench| states(bench, "DEGRADED", 2, &["ONLINE", "DEGRADED", "ONLINE"]),
        DEGRADED,
    ),
    case("UNAVAIL", STATES, |bench| states(bench, "UNAVAIL", 1, &["UNAVAIL", "UNAVAIL"]), BROKEN),
    case("FAULTED", STATES, |bench| states(bench, "FAULTED", 0, &["FAULTED"]), BROKEN),
    case(
        "SUSPENDED",
        HANG,
        |bench| states(bench, "SUSPENDED", 1, &["ONLINE", "ONLINE"]),
        &[(Check::PoolState, Verdict::Critical, Reason::Stalled)],
    ),
    case(
        "a log device is gone, the pool ONLINE",
        STATES,
        |bench| states(bench, "ONLINE", 0, &["UNAVAIL"]),
        &[(Check::PoolState, Verdict::Warning, Reason::DeviceMissing)],
    ),
    case("spares stand by", STATUS, |bench| states(bench, "ONLINE", 0, &["AVAIL", "AVAIL"]), &[]),
    case(
        "resilvering onto the last half",
        STATUS,
        |bench| resilvering(bench, 1, &["ONLINE", "UNAVAIL"]),
        &[(Check::PoolState, Verdict::Critical, Reason::Rebuilding)],
    ),
    case(
        "resilvering with one more to lose",
        STATUS,
        |bench| resilvering(bench, 2, &["ONLINE", "UNAVAIL", "ONLINE"]),
        &[(Check::PoolState, Verdict::Warning, Reason::Rebuilding)],
    ),
    case("errors from before the first look", STATUS, |bench| growing(bench, 7, 7), &[]),
    case(
        "checksum errors grow",
        STATUS,
        |bench| growing(bench, 0, 3),
        &[(Check::PoolErrors, Verdict::Warning, Reason::DeviceErrors)],
    ),
    case(
        "permanent errors in two files",
        STATUS,
        |bench| judged(bench, &ZpoolReading { data_errors: 2, ..mirror() }),
        &[(Check::PoolData, Verdict::Critical, Reason::DataDamaged)],
    ),
    case("scrubbed three weeks ago", SCRUB, |bench| scanned(bench, 21, 0, false), &[]),
    case(
        "scrubbed two months ago",
        SCRUB,
        |bench| scanned(bench, 60, 0, false),
        &[(Check::PoolScrub, Verdict::Warning, Reason::CheckOld)],
    ),
    case("never scrubbed, seen for the first time", SCRUB, |bench| judged(bench, &mirror()), &[]),
    case(
        "never scrubbed in two months",
        SCRUB,
        |bench| {
            drop(judged(bench, &mirror()));
            bench.pass(60 * DAY_S);
            judged(bench, &mirror())
        },
        &[(Check::PoolScrub, Verdict::Warning, Reason::CheckOld)],
    ),
    case("a scrub runs", SCRUB, |bench| scanned(bench, 0, 0, true), &[]),
    case(
        "a scrub with errors",
        SCRUB,
        |bench| scanned(bench, 1, 4, false),
        &[(Check::PoolScrub, Verdict::Warning, Reason::Uncorrectable)],
    ),
    case(
        "91 % full",
        "zpoolprops(7), capacity",
        |bench| judged(bench, &ZpoolReading { used_mib: Some(910), ..mirror() }),
        &[(Check::Space, Verdict::Warning, Reason::SpaceLow)],
    ),
    case(
        "98 % full",
        "zpoolprops(7), capacity",
        |bench| judged(bench, &ZpoolReading { used_mib: Some(980), ..mirror() }),
        &[(Check::Space, Verdict::Critical, Reason::SpaceOut)],
    ),
];
