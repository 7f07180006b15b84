// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Cases: what systemd, package managers and plugins say.

use super::{Bench, Case};
use adit_health::Finding;
use adit_health::readings::plugin::PluginReading;
use adit_health::readings::silence::{Silence, Why};
use adit_health::readings::units::UnitsReading;
use adit_health::readings::updates::UpdatesReading;
use adit_health::rules::{plugin, units, updates};
use adit_wire::health::codes::{Check, Reason, Verdict};

const UNITS: &str = "systemctl(1), list-units --failed";
const APT: &str = "apt-secure(8), apt_preferences(5)";
const PLUGINS: &str = "Monitoring Plugins Development Guidelines, return codes";
const DAY_S: u64 = 86_400;

fn failed(bench: &mut Bench, names: &[&str], seconds: u64, ignored: &[String]) -> Vec<Finding> {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let reading = UnitsReading { failed: u32::try_from(names.len()).unwrap_or(0), names };
    drop(units::units(&mut bench.judge(), "host", &reading, ignored));
    bench.pass(seconds);
    vec![units::units(&mut bench.judge(), "host", &reading, ignored)]
}

fn waiting(bench: &mut Bench, pending: u32, security: u32, days: u64) -> Vec<Finding> {
    let reading = UpdatesReading { pending, security, lists_age_s: Some(3_600) };
    drop(updates::updates(&mut bench.judge(), "host", &reading));
    bench.pass(days * DAY_S);
    vec![updates::updates(&mut bench.judge(), "host", &reading)]
}

fn lists(bench: &mut Bench, lists_age_s: Option<u64>) -> Vec<Finding> {
    vec![updates::updates(&mut bench.judge(), "host", &UpdatesReading { lists_age_s, ..UpdatesReading::default() })]
}

fn exit(exit: Option<i32>) -> Vec<Finding> {
    plugin::plugin(&PluginReading { name: "pdu".into(), exit, text: "said".into(), values: Vec::new() }).findings
}

type Expected = &'static [(Check, Verdict, Reason)];
const PENDING: Expected = &[(Check::Updates, Verdict::Warning, Reason::UpdatesPending)];
const PLUGIN_FAILED: Expected = &[(Check::Plugin, Verdict::Unknown, Reason::PluginFailed)];

const fn case(
    name: &'static str,
    source: &'static str,
    judge: fn(&mut Bench) -> Vec<Finding>,
    expect: Expected,
) -> Case {
    Case { name, source, judge, expect }
}

pub(crate) const CASES: &[Case] = &[
    case("no unit failed", UNITS, |bench| failed(bench, &[], 60, &[]), &[]),
    case("a unit failed a moment ago", UNITS, |bench| failed(bench, &["nginx.service"], 15, &[]), &[]),
    case(
        "a unit failed two polls ago",
        UNITS,
        |bench| failed(bench, &["nginx.service"], 60, &[]),
        &[(Check::Units, Verdict::Warning, Reason::UnitsFailed)],
    ),
    case(
        "a unit that may fail",
        UNITS,
        |bench| failed(bench, &["motd-news.service"], 60, &["motd-news.service".to_owned()]),
        &[],
    ),
    case("updates that concern no security", APT, |bench| waiting(bench, 40, 0, 30), &[]),
    case("a security update of today", APT, |bench| waiting(bench, 1, 1, 0), &[]),
    case("a security update waits for four days", APT, |bench| waiting(bench, 1, 1, 4), PENDING),
    case(
        "security updates wait for two weeks",
        APT,
        |bench| waiting(bench, 9, 3, 14),
        &[(Check::Updates, Verdict::Critical, Reason::UpdatesPending)],
    ),
    case(
        "lists of last week",
        APT,
        |bench| lists(bench, Some(7 * DAY_S)),
        &[(Check::Updates, Verdict::Unknown, Reason::UpdatesUnknown)],
    ),
    case("no lists at all", APT, |bench| lists(bench, None), &[]),
    case("0", PLUGINS, |_| exit(Some(0)), &[]),
    case("1", PLUGINS, |_| exit(Some(1)), &[(Check::Plugin, Verdict::Warning, Reason::PluginWarning)]),
    case("2", PLUGINS, |_| exit(Some(2)), &[(Check::Plugin, Verdict::Critical, Reason::PluginCritical)]),
    case("3", PLUGINS, |_| exit(Some(3)), &[(Check::Plugin, Verdict::Unknown, Reason::PluginUnknown)]),
    case("127", PLUGINS, |_| exit(Some(127)), PLUGIN_FAILED),
    case("ended by a signal", PLUGINS, |_| exit(None), PLUGIN_FAILED),
    case(
        "not done in time",
        PLUGINS,
        |_| plugin::plugin_silent("pdu", &Silence { why: Why::NotAnswering, words: "late".into() }).findings,
        PLUGIN_FAILED,
    ),
];
