// SPDX-License-Identifier: Apache-2.0 OR MIT
//! From words to verdicts: what programs of several releases print, as their sources and manuals show it, through parser and
//! rule. Messages are transcribed facts; numbers and names are ours.

use adit_ask::{apcupsd, ceph, gluster, nut, updates, zpool};
use adit_health::readings::gluster::GlusterReading;
use adit_health::readings::ups::UpsReading;
use adit_health::{Component, Judge, Limits, Memory, rules};
use adit_wire::health::codes::{Check, Reason, Verdict};

type Bad = (Check, Verdict, Reason);

/// What the rules make of it after a minute, without what is ok.
fn judged(rule: impl Fn(&mut Judge<'_>) -> Vec<Component>) -> Vec<Bad> {
    let (limits, mut memory) = (Limits::default(), Memory::default());
    // 2026-11-22, and a minute later.
    drop(rule(&mut Judge::new(1_795_305_600, &limits, &mut memory)));
    let components = rule(&mut Judge::new(1_795_305_660, &limits, &mut memory));
    let findings = components.into_iter().flat_map(|component| component.findings);
    let bad = findings.filter(|finding| finding.verdict != Verdict::Ok);
    bad.map(|finding| (finding.check, finding.verdict, finding.reason)).collect()
}

#[track_caller]
fn check(name: &str, found: &[Bad], expected: &[Bad]) {
    assert_eq!(found, expected, "{name}");
}

/// The status that a release prints, with one check (ceph/ceph, src/mon/Monitor.cc and src/mon/health_check.h of each).
fn ceph_status(release: &str, code: &str, severity: &str, message: &str) -> String {
    let muted = if release == "nautilus" { "" } else { ",\"muted\":false" };
    let summary = format!("{{\"message\":\"{message}\",\"count\":1}}");
    let checks = match code {
        "" => String::new(),
        _ => format!("\"{code}\":{{\"severity\":\"{severity}\",\"summary\":{summary}{muted}}}"),
    };
    let status = if code.is_empty() { "HEALTH_OK" } else { severity };
    let health = format!("{{\"status\":\"{status}\",\"checks\":{{{checks}}},\"mutes\":[]}}");
    let osds = "\"epoch\":9,\"num_osds\":6,\"num_up_osds\":6,\"num_in_osds\":6";
    let (monitors, osdmap) = match release {
        "nautilus" => ("\"mons\":[{},{},{}]".to_owned(), format!("{{\"osdmap\":{{{osds},\"full\":false}}}}")),
        "squid" => {
            let name = "\"min_mon_release_name\":\"squid\",\"num_mons\":3,\"stretch_mode\":false";
            (name.to_owned(), format!("{{{osds},\"stretch_mode\":{{\"stretch_mode_enabled\":false}}}}"))
        }
        other => (format!("\"min_mon_release_name\":\"{other}\",\"num_mons\":3"), format!("{{{osds}}}")),
    };
    format!(
        "\n{{\"fsid\":\"f\",\"health\":{health},\"quorum\":[0,1,2],\"monmap\":{{\"epoch\":1,{monitors}}},\"osdmap\":{osdmap},\"pgmap\":{{}}}}"
    )
}

const WARN: &str = "HEALTH_WARN";
const ERROR: &str = "HEALTH_ERR";
/// Release, code, severity, message, verdicts.
const CEPH: &[(&str, &str, &str, &str, &[Bad])] = &[
    ("nautilus", "", "", "", &[]),
    ("nautilus", "OSD_DOWN", WARN, "1 osds down", &[(Check::CephOsds, Verdict::Critical, Reason::OsdsDown)]),
    (
        "nautilus",
        "PG_DEGRADED",
        WARN,
        "Degraded data redundancy: 22/66 objects degraded (33.333%), 13 pgs degraded",
        &[(Check::CephData, Verdict::Warning, Reason::DataDegraded)],
    ),
    ("octopus", "", "", "", &[]),
    ("octopus", "POOL_NO_REDUNDANCY", WARN, "1 pool(s) have no replicas configured", &[]),
    (
        "octopus",
        "SLOW_OPS",
        WARN,
        "5 slow ops, oldest one blocked for 36 sec, osd.1 has slow ops",
        &[(Check::CephHealth, Verdict::Warning, Reason::SlowOperations)],
    ),
    ("pacific", "", "", "", &[]),
    ("pacific", "AUTH_INSECURE_GLOBAL_ID_RECLAIM_ALLOWED", WARN, "mon is allowing insecure global_id reclaim", &[]),
    ("pacific", "OSD_NEARFULL", WARN, "1 nearfull osd(s)", &[(Check::CephSpace, Verdict::Warning, Reason::NearFull)]),
    (
        "pacific",
        "PG_AVAILABILITY",
        WARN,
        "Reduced data availability: 8 pgs inactive, 8 pgs stale",
        &[(Check::CephData, Verdict::Critical, Reason::DataUnavailable)],
    ),
    ("quincy", "", "", "", &[]),
    (
        "quincy",
        "MON_CLOCK_SKEW",
        WARN,
        "clock skew detected on mon.b",
        &[(Check::CephMonitors, Verdict::Warning, Reason::CephWarning)],
    ),
    (
        "quincy",
        "OSD_SCRUB_ERRORS",
        ERROR,
        "1 scrub errors",
        &[(Check::CephData, Verdict::Warning, Reason::DataDamaged)],
    ),
    (
        "quincy",
        "PG_DAMAGED",
        ERROR,
        "Possible data damage: 1 pg inconsistent",
        &[(Check::CephData, Verdict::Critical, Reason::DataDamaged)],
    ),
    ("quincy", "MON_DISK_LOW", WARN, "mon a is low on available space", &[]),
    ("reef", "", "", "", &[]),
    ("reef", "OSD_FULL", ERROR, "1 full osd(s)", &[(Check::CephSpace, Verdict::Critical, Reason::Full)]),
    (
        "reef",
        "OBJECT_UNFOUND",
        ERROR,
        "1/220 objects unfound (0.455%)",
        &[(Check::CephData, Verdict::Critical, Reason::DataUnavailable)],
    ),
    (
        "reef",
        "PG_NOT_DEEP_SCRUBBED",
        WARN,
        "3 pgs not deep-scrubbed in time",
        &[(Check::CephData, Verdict::Warning, Reason::CheckOld)],
    ),
    (
        "reef",
        "RECENT_CRASH",
        WARN,
        "1 daemons have recently crashed",
        &[(Check::CephHealth, Verdict::Warning, Reason::CephWarning)],
    ),
    ("squid", "", "", "", &[]),
    ("squid", "BLUESTORE_SLOW_OP_ALERT", WARN, "1 OSD(s) experiencing slow operations in BlueStore", &[]),
    ("squid", "OSD_HOST_DOWN", WARN, "1 host (1 osds) down", &[(Check::CephOsds, Verdict::Critical, Reason::OsdsDown)]),
    (
        "squid",
        "MDS_ALL_DOWN",
        ERROR,
        "1 filesystem is offline",
        &[(Check::CephData, Verdict::Critical, Reason::DataUnavailable)],
    ),
    (
        "squid",
        "MON_DOWN",
        WARN,
        "1/3 mons down, quorum a,b",
        &[(Check::CephMonitors, Verdict::Warning, Reason::MonitorsDown)],
    ),
];

#[test]
fn ceph_of_six_releases() {
    for (release, code, severity, message, expected) in CEPH {
        let json = serde_json::from_str(&ceph_status(release, code, severity, message)).unwrap();
        let reading = ceph::status(&json).unwrap();
        assert_eq!(
            [reading.monitors, reading.in_quorum, reading.osds, reading.osds_up],
            [Some(3), Some(3), Some(6), Some(6)]
        );
        check(
            &format!("{release} {code}"),
            &judged(|judge| vec![rules::ceph::ceph(judge, "ceph", &reading)]),
            expected,
        );
    }
}

#[test]
fn ups_words_of_drivers() {
    use Verdict::{Critical, Warning};
    let on_battery = (Check::PowerLine, Warning, Reason::OnBattery);
    let facts: &[(&str, &[Bad])] = &[
        // usbhid-ups, a Back-UPS
        (
            "VAR u battery.charge \"100\"\nVAR u battery.runtime \"2520\"\nVAR u ups.load \"14\"\nVAR u ups.status \"OL\"\nVAR u ups.test.result \"No test initiated\"",
            &[],
        ),
        ("VAR u battery.charge \"64\"\nVAR u battery.runtime \"900\"\nVAR u ups.status \"OB DISCHRG\"", &[on_battery]),
        (
            "VAR u battery.charge \"8\"\nVAR u battery.runtime \"95\"\nVAR u battery.runtime.low \"120\"\nVAR u ups.status \"OB DISCHRG LB\"",
            &[
                on_battery,
                (Check::Battery, Critical, Reason::BatteryLow),
                (Check::Runtime, Critical, Reason::BatteryLow),
            ],
        ),
        (
            "VAR u ups.status \"ALARM OL RB\"\nVAR u ups.alarm \"Replace battery!\"",
            &[(Check::Battery, Warning, Reason::BatteryReplace)],
        ),
        // snmp-ups and apcsmart
        ("VAR u ups.status \"OL BOOST\"\nVAR u input.voltage \"198.0\"", &[]),
        ("VAR u ups.status \"OL OVER\"\nVAR u ups.load \"104\"", &[(Check::UpsLoad, Critical, Reason::Overloaded)]),
        (
            "VAR u ups.status \"FSD OB LB\"",
            &[(Check::PowerLine, Critical, Reason::ShutdownForced), (Check::Battery, Critical, Reason::BatteryLow)],
        ),
        (
            "VAR u ups.status \"OL\"\nVAR u battery.date \"2019/06/30\"",
            &[(Check::Battery, Warning, Reason::BatteryOld)],
        ),
        (
            "VAR u ups.status \"OL\"\nVAR u ups.test.result \"Done and warning\"\nVAR u ups.test.date \"2026/11/01\"",
            &[(Check::BatteryTest, Warning, Reason::TestFailed)],
        ),
        (
            "VAR u ups.status \"OL\"\nVAR u ups.test.result \"Done and passed\"\nVAR u ups.test.date \"01/31/2026\"",
            &[(Check::BatteryTest, Warning, Reason::TestOld)],
        ),
    ];
    for (text, expected) in facts {
        let reading = UpsReading { name: "u".into(), ..nut::reading(text.lines()) };
        check(text, &judged(|judge| vec![rules::ups::ups(judge, &reading)]), expected);
    }
}

/// Words of the apcupsd manual, "Status report fields".
#[test]
fn ups_words_of_apcupsd() {
    use Verdict::{Critical, Warning};
    let facts: &[(&str, &[Bad])] = &[
        ("STATUS   : ONLINE\nBCHARGE  : 100.0 Percent\nTIMELEFT : 42.0 Minutes\nSELFTEST : OK", &[]),
        ("STATUS   : TRIM ONLINE\nLINEV    : 251.0 Volts", &[]),
        (
            "STATUS   : ONBATT\nTIMELEFT : 20.0 Minutes\nTONBATT  : 45 Seconds",
            &[(Check::PowerLine, Warning, Reason::OnBattery)],
        ),
        ("STATUS   : ONLINE REPLACEBATT", &[(Check::Battery, Warning, Reason::BatteryReplace)]),
        ("STATUS   : ONLINE\nSELFTEST : NG", &[(Check::BatteryTest, Warning, Reason::TestFailed)]),
        ("STATUS   : COMMLOST", &[(Check::UpsAnswers, Warning, Reason::UpsSilent)]),
        ("STATUS   : SHUTTING DOWN", &[(Check::PowerLine, Critical, Reason::ShutdownForced)]),
    ];
    for (text, expected) in facts {
        let reading = apcupsd::reading(text.lines()).unwrap();
        check(text, &judged(|judge| vec![rules::ups::ups(judge, &reading)]), expected);
    }
}

/// Layouts as `gluster volume info --xml` writes them (glusterfs, cli/src/cli-xml-output.c).
#[test]
fn gluster_layouts() {
    let facts: &[(&str, &str)] = &[
        ("<replicaCount>3</replicaCount><arbiterCount>0</arbiterCount><disperseCount>0</disperseCount>", "3 1"),
        ("<replicaCount>3</replicaCount><arbiterCount>1</arbiterCount><disperseCount>0</disperseCount>", "3 1"),
        ("<replicaCount>2</replicaCount><disperseCount>0</disperseCount>", "2 1"),
        ("<replicaCount>1</replicaCount><disperseCount>0</disperseCount>", "1 0"),
        ("<replicaCount>1</replicaCount><disperseCount>6</disperseCount><redundancyCount>2</redundancyCount>", "6 2"),
    ];
    for (layout, expected) in facts {
        let text = format!(
            "<cliOutput><opRet>0</opRet><volInfo><volumes><volume><name>v</name><status>1</status>{layout}<bricks><brick>n1:/b<name>n1:/b</name></brick></bricks></volume></volumes></volInfo></cliOutput>"
        );
        let volumes = gluster::volumes(&gluster::parse(&text).unwrap());
        assert_eq!(format!("{} {}", volumes[0].set_size, volumes[0].may_lose), *expected);
        let reading = GlusterReading { peers: Vec::new(), volumes };
        // Nobody told about the brick, so it counts as down.
        let found = judged(|judge| rules::gluster::gluster(judge, &reading));
        assert_eq!(found.len(), 1, "{layout}");
    }
}

const SCRUBBED: &str = "scrub repaired 0B in 00:10:01 with 0 errors on Sun Nov 15 00:34:02 2026";
const WELL: &str = "No known data errors";

/// A table as `zpool status` prints it (zpool-status(8), OpenZFS 2.1 and 2.2), and what is made of it.
#[track_caller]
fn zpool_fact(state: &str, scan: &str, devices: &str, errors: &str, expected: &[Bad]) {
    let head = "\tNAME        STATE     READ WRITE CKSUM\n\ttank        ";
    let text = format!(
        "  pool: tank\n state: {state}\n  scan: {scan}\nconfig:\n\n{head}{state}     0     0     0\n{devices}\nerrors: {errors}\n"
    );
    let pools = zpool::plain(&text, "tank\t1\t1000000000\t400000000\n");
    assert_eq!(pools.len(), 1, "{text}");
    check(&text, &judged(|judge| pools.iter().map(|pool| rules::zpool::zpool(judge, pool)).collect()), expected);
}

/// A mirror whose second half is so.
fn mirror(second: &str) -> String {
    let first = "\t  mirror-0  ONLINE       0     0     0\n\t    sda     ONLINE       0     0     0\n";
    format!("{first}\t    sdb     {second}\n")
}

#[test]
fn zpool_states() {
    use Verdict::{Critical, Warning};
    let last: &[Bad] = &[(Check::PoolState, Critical, Reason::Degraded)];
    let more: &[Bad] = &[(Check::PoolState, Warning, Reason::Degraded)];
    zpool_fact("ONLINE", SCRUBBED, &mirror("ONLINE       0     0     0"), WELL, &[]);
    zpool_fact("ONLINE", "none requested", "\t  sda       ONLINE       0     0     0\n", WELL, &[]);
    for second in [
        "FAULTED      3   120     0  too many errors",
        "UNAVAIL      0     0     0  was /dev/sdb1",
        "REMOVED      0     0     0",
        "OFFLINE      0     0     0",
    ] {
        zpool_fact("DEGRADED", SCRUBBED, &mirror(second), WELL, last);
    }
    let resilver = "resilver in progress since Sun Nov 22 00:24:02 2026";
    let rebuilding = [(Check::PoolState, Critical, Reason::Rebuilding)];
    zpool_fact("DEGRADED", resilver, &mirror("OFFLINE      0     0     0"), WELL, &rebuilding);
    let stalled = [(Check::PoolState, Critical, Reason::Stalled)];
    zpool_fact("SUSPENDED", SCRUBBED, &mirror("UNAVAIL      0     0     0"), WELL, &stalled);
    for (kind, expected) in [("raidz1-0", last), ("raidz2-0", more), ("raidz3-0", more), ("draid2:1d:4c:0s-0", more)] {
        let devices = format!("\t  {kind}  DEGRADED     0     0     0\n\t    sda     ONLINE       0     0     0\n");
        let devices =
            format!("{devices}\t    sdb     FAULTED      0     0     0\n\t    sdc     ONLINE       0     0     0\n");
        zpool_fact("DEGRADED", SCRUBBED, &devices, WELL, expected);
    }
}

#[test]
fn zpool_errors_scrubs_and_what_stands_aside() {
    use Verdict::{Critical, Warning};
    let well = mirror("ONLINE       0     0     0");
    let damaged = [(Check::PoolData, Critical, Reason::DataDamaged)];
    zpool_fact("ONLINE", SCRUBBED, &well, "2 data errors, use '-v' for a list", &damaged);
    let found = SCRUBBED.replace("0 errors", "3 errors");
    zpool_fact("ONLINE", &found, &well, WELL, &[(Check::PoolScrub, Warning, Reason::Uncorrectable)]);
    let old = SCRUBBED.replace("Nov 15", "Jun 14");
    zpool_fact("ONLINE", &old, &well, WELL, &[(Check::PoolScrub, Warning, Reason::CheckOld)]);
    zpool_fact("ONLINE", "scrub in progress since Sun Nov 22 00:24:02 2026", &well, WELL, &[]);
    zpool_fact("ONLINE", SCRUBBED, &format!("{well}\tspares\n\t  sdd       AVAIL\n"), WELL, &[]);
    let log = format!("{well}\tlogs\n\t  sdd       UNAVAIL      0     0     0\n");
    zpool_fact("ONLINE", SCRUBBED, &log, WELL, &[(Check::PoolState, Warning, Reason::DeviceMissing)]);
}

/// What dnf prints with nothing to do, and with one advisory of each kind (dnf-updateinfo(8)).
#[test]
fn dnf_lists() {
    for (text, pending, security) in [
        ("", 0, 0),
        ("RLSA-2026:0001 Critical/Sec. kernel-core-5.14.0-1.el9.x86_64\n", 1, 1),
        ("RLBA-2026:0002 bugfix kernel-core-5.14.0-2.el9.x86_64\n", 1, 0),
        ("RLEA-2026:0003 enhancement tzdata-2026a-1.el9.noarch\n", 1, 0),
    ] {
        let reading = updates::advisories(text);
        assert_eq!((reading.pending, reading.security), (pending, security), "{text}");
    }
}
