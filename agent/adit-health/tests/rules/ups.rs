// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Cases: UPSs, by the words of NUT's drivers.

use super::{Bench, Case};
use adit_health::Finding;
use adit_health::readings::silence::{Silence, Why};
use adit_health::readings::ups::{UpsComm, UpsReading, UpsState, UpsTest};
use adit_health::rules::ups;
use adit_wire::health::codes::{Check, Reason, Verdict};

const STATUS: &str = "NUT developer guide, status data";
const UPSMON: &str = "upsmon(8)";
const NAMES: &str = "NUT, nut-names.txt";
const UPSD: &str = "upsd.conf(5), MAXAGE";
const DAY_S: u64 = 86_400;

fn reading(words: &str) -> UpsReading {
    let status = words.split_whitespace().map(UpsState::of_word).collect();
    let full = (Some(1000), Some(1800), Some(200));
    let (charge_permille, runtime_s, load_permille) = full;
    UpsReading { name: "u".into(), status, charge_permille, runtime_s, load_permille, ..UpsReading::default() }
}

fn judged(bench: &mut Bench, reading: &UpsReading) -> Vec<Finding> {
    ups::ups(&mut bench.judge(), reading).findings
}

/// These words for a minute.
fn a_minute(bench: &mut Bench, words: &str) -> Vec<Finding> {
    let reading = reading(words);
    drop(judged(bench, &reading));
    bench.pass(60);
    judged(bench, &reading)
}

/// First these words, then silence of this kind for so many seconds.
fn silent(bench: &mut Bench, words: &str, comm: UpsComm, seconds: u64) -> Vec<Finding> {
    drop(judged(bench, &reading(words)));
    bench.pass(15);
    let reading = UpsReading { comm, status: Vec::new(), ..reading("") };
    drop(judged(bench, &reading));
    bench.pass(seconds);
    judged(bench, &reading)
}

fn aged(bench: &mut Bench, battery_days: i64, test_days: i64, test: UpsTest) -> Vec<Finding> {
    let today = i64::try_from(bench.now_s() / DAY_S).unwrap_or(0);
    let (battery_day, test_day) = (Some(today - battery_days), Some(today - test_days));
    judged(bench, &UpsReading { battery_day, test_day, test: Some(test), ..reading("OL") })
}

type Expected = &'static [(Check, Verdict, Reason)];
const ON_BATTERY: Expected = &[(Check::PowerLine, Verdict::Warning, Reason::OnBattery)];
const SILENT: Expected = &[(Check::UpsAnswers, Verdict::Warning, Reason::UpsSilent)];
const SILENT_ON_BATTERY: Expected = &[(Check::UpsAnswers, Verdict::Critical, Reason::UpsSilent)];
const OVERLOADED: Expected = &[(Check::UpsLoad, Verdict::Warning, Reason::Overloaded)];

const fn case(
    name: &'static str,
    source: &'static str,
    judge: fn(&mut Bench) -> Vec<Finding>,
    expect: Expected,
) -> Case {
    Case { name, source, judge, expect }
}

pub(crate) const CASES: &[Case] = &[
    case("OL", STATUS, |bench| a_minute(bench, "OL"), &[]),
    case("OL CHRG", STATUS, |bench| a_minute(bench, "OL CHRG"), &[]),
    case("OL TRIM", STATUS, |bench| a_minute(bench, "OL TRIM"), &[]),
    case("OL BOOST", STATUS, |bench| a_minute(bench, "OL BOOST"), &[]),
    case("OL HB", STATUS, |bench| a_minute(bench, "OL HB"), &[]),
    case("OL ECO", STATUS, |bench| a_minute(bench, "OL ECO"), &[]),
    case("a word from a newer driver", STATUS, |bench| a_minute(bench, "OL NEWWORD"), &[]),
    case("OB for a moment", UPSMON, |bench| judged(bench, &reading("OB DISCHRG")), &[]),
    case("OB DISCHRG", UPSMON, |bench| a_minute(bench, "OB DISCHRG"), ON_BATTERY),
    case(
        "mains that flicker",
        UPSMON,
        |bench| {
            for words in ["OB DISCHRG", "OL CHRG", "OB DISCHRG"] {
                drop(judged(bench, &reading(words)));
                bench.pass(20);
            }
            judged(bench, &reading("OL CHRG"))
        },
        &[],
    ),
    case(
        "apcupsd counts the seconds itself",
        "apcupsd manual, status report fields, TONBATT",
        |bench| judged(bench, &UpsReading { on_battery_s: Some(31), ..reading("OB") }),
        ON_BATTERY,
    ),
    case("OB TEST: a test of its own", STATUS, |bench| a_minute(bench, "OB DISCHRG TEST"), &[]),
    case("OB CAL: a calibration", STATUS, |bench| a_minute(bench, "OB DISCHRG CAL"), &[]),
    case(
        "OB LB: upsmon shuts down",
        UPSMON,
        |bench| judged(bench, &reading("OB DISCHRG LB")),
        &[(Check::Battery, Verdict::Critical, Reason::BatteryLow)],
    ),
    case(
        "OL LB: mains came back in time",
        UPSMON,
        |bench| judged(bench, &reading("OL CHRG LB")),
        &[(Check::Battery, Verdict::Warning, Reason::BatteryLow)],
    ),
    case(
        "two minutes left, and no LB yet",
        NAMES,
        |bench| judged(bench, &UpsReading { runtime_s: Some(120), ..reading("OB DISCHRG") }),
        &[(Check::Runtime, Verdict::Critical, Reason::BatteryLow)],
    ),
    case(
        "battery.runtime.low set to ten minutes",
        NAMES,
        |bench| judged(bench, &UpsReading { runtime_s: Some(590), runtime_low_s: Some(600), ..reading("OB DISCHRG") }),
        &[(Check::Runtime, Verdict::Critical, Reason::BatteryLow)],
    ),
    case(
        "little runtime on mains is for the battery's age to tell",
        NAMES,
        |bench| judged(bench, &UpsReading { runtime_s: Some(60), ..reading("OL") }),
        &[],
    ),
    case(
        "FSD",
        UPSMON,
        |bench| judged(bench, &reading("FSD OB")),
        &[(Check::PowerLine, Verdict::Critical, Reason::ShutdownForced)],
    ),
    case(
        "OL RB",
        STATUS,
        |bench| judged(bench, &reading("OL RB")),
        &[(Check::Battery, Verdict::Warning, Reason::BatteryReplace)],
    ),
    case("OL OVER", STATUS, |bench| judged(bench, &reading("OL OVER")), OVERLOADED),
    case(
        "82 % load for a minute",
        NAMES,
        |bench| {
            drop(judged(bench, &UpsReading { load_permille: Some(820), ..reading("OL") }));
            bench.pass(60);
            judged(bench, &UpsReading { load_permille: Some(820), ..reading("OL") })
        },
        OVERLOADED,
    ),
    case(
        "96 % load for a minute",
        NAMES,
        |bench| {
            drop(judged(bench, &UpsReading { load_permille: Some(960), ..reading("OL") }));
            bench.pass(60);
            judged(bench, &UpsReading { load_permille: Some(960), ..reading("OL") })
        },
        &[(Check::UpsLoad, Verdict::Critical, Reason::Overloaded)],
    ),
    case(
        "OL BYPASS",
        STATUS,
        |bench| judged(bench, &reading("OL BYPASS")),
        &[(Check::PowerLine, Verdict::Warning, Reason::Bypassed)],
    ),
    case(
        "OFF",
        STATUS,
        |bench| judged(bench, &reading("OFF")),
        &[(Check::PowerLine, Verdict::Warning, Reason::Offline)],
    ),
    case(
        "40 % charged and not charging",
        NAMES,
        |bench| judged(bench, &UpsReading { charge_permille: Some(400), ..reading("OL") }),
        &[(Check::Battery, Verdict::Warning, Reason::NotCharging)],
    ),
    case(
        "40 % charged and charging",
        NAMES,
        |bench| judged(bench, &UpsReading { charge_permille: Some(400), ..reading("OL CHRG") }),
        &[],
    ),
    case("a battery of two years, tested a week ago", NAMES, |bench| aged(bench, 730, 7, UpsTest::Passed), &[]),
    case(
        "a battery of five years",
        NAMES,
        |bench| aged(bench, 1_826, 7, UpsTest::Passed),
        &[(Check::Battery, Verdict::Warning, Reason::BatteryOld)],
    ),
    case(
        "\"Done and error\"",
        NAMES,
        |bench| aged(bench, 730, 7, UpsTest::Failed),
        &[(Check::BatteryTest, Verdict::Warning, Reason::TestFailed)],
    ),
    case(
        "the last test was half a year ago",
        NAMES,
        |bench| aged(bench, 730, 180, UpsTest::Passed),
        &[(Check::BatteryTest, Verdict::Warning, Reason::TestOld)],
    ),
    case("DATA-STALE for 30 s", UPSD, |bench| silent(bench, "OL", UpsComm::Stale, 30), &[]),
    case("DATA-STALE for a minute", UPSD, |bench| silent(bench, "OL", UpsComm::Stale, 60), SILENT),
    case("DRIVER-NOT-CONNECTED", UPSD, |bench| silent(bench, "OL", UpsComm::DriverGone, 60), SILENT),
    case("UNKNOWN-UPS", UPSD, |bench| silent(bench, "OL", UpsComm::Unknown, 60), SILENT),
    case("the daemon is gone", UPSD, |bench| silent(bench, "OL", UpsComm::DaemonGone, 60), SILENT),
    case("stale while on battery", UPSMON, |bench| silent(bench, "OB", UpsComm::Stale, 60), SILENT_ON_BATTERY),
    case(
        "the driver gone while on battery",
        UPSMON,
        |bench| silent(bench, "OB DISCHRG", UpsComm::DriverGone, 60),
        SILENT_ON_BATTERY,
    ),
    case("stale while on battery for 30 s", UPSMON, |bench| silent(bench, "OB", UpsComm::Stale, 30), &[]),
    case(
        "stale after it had been on battery earlier",
        UPSMON,
        |bench| {
            drop(a_minute(bench, "OB DISCHRG"));
            silent(bench, "OL CHRG", UpsComm::Stale, 60)
        },
        SILENT,
    ),
    case("WAIT: the driver has just started", STATUS, |bench| judged(bench, &reading("WAIT")), &[]),
    case(
        "the daemon falls silent while on battery",
        UPSMON,
        |bench| {
            drop(judged(bench, &UpsReading { daemon: "d".into(), ..reading("OB DISCHRG") }));
            let silence = Silence { why: Why::NotAnswering, words: "connect".into() };
            bench.pass(15);
            drop(ups::daemon_silent(&mut bench.judge(), "u@d", &silence));
            bench.pass(60);
            ups::daemon_silent(&mut bench.judge(), "u@d", &silence).findings
        },
        SILENT_ON_BATTERY,
    ),
    case(
        "a daemon that never answered",
        UPSD,
        |bench| {
            let silence = Silence { why: Why::NotAnswering, words: "connect".into() };
            drop(ups::daemon_silent(&mut bench.judge(), "[::1]:3493", &silence));
            bench.pass(60);
            ups::daemon_silent(&mut bench.judge(), "[::1]:3493", &silence).findings
        },
        SILENT,
    ),
];
