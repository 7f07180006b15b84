// SPDX-License-Identifier: Apache-2.0 OR MIT
//! UPSs: the logic of NUT's upsmon (on battery, low battery, forced shutdown, and a UPS that falls silent while on battery
//! counts as empty), and what wears out.
//!
//! What to do: on battery, look at the fuse; low, let the machine shut down; an old or failed battery, buy one of the same
//! size and put it in; silent, look at its cable and at the driver (`upsdrvctl start`).

use crate::judge::Judge;
use crate::limits::Rule;
use crate::model::{Component, Finding};
use crate::readings::silence::Silence;
use crate::readings::ups::{UpsComm, UpsReading, UpsState, UpsTest};
use adit_wire::health::codes::{Check, ComponentKind, Quantity, Reason, Verdict};

const DAY_S: u64 = 86_400;
/// Below this charge a UPS on mains should be charging, tenths of a per cent.
const CHARGE_PERMILLE_LOW: i64 = 500;
/// Runtime at which the battery counts as low where the UPS states no limit, seconds: NUT's usual default.
const RUNTIME_LOW_S: i64 = 120;

/// Everything about a UPS.
#[must_use]
pub fn ups(judge: &mut Judge<'_>, ups: &UpsReading) -> Component {
    let id = if ups.name.is_empty() { ups.daemon.clone() } else { format!("{}@{}", ups.name, ups.daemon) };
    component(judge, id, ups)
}

/// A UPS whose daemon does not answer. `id` as it is asked for: `name@[address]:port`, or without a name where a daemon has
/// only one. It is the same component as while it answers, so that one that was on battery counts as empty.
#[must_use]
pub fn daemon_silent(judge: &mut Judge<'_>, id: &str, silence: &Silence) -> Component {
    let mut component =
        component(judge, id.to_owned(), &UpsReading { comm: UpsComm::DaemonGone, ..UpsReading::default() });
    for finding in component.findings.iter_mut().filter(|finding| finding.verdict == Verdict::Warning) {
        silence.words.clone_into(&mut finding.detail);
    }
    component
}

fn component(judge: &mut Judge<'_>, id: String, ups: &UpsReading) -> Component {
    let is_heard = ups.comm == UpsComm::Heard && !ups.is(UpsState::CommLost) && !ups.is(UpsState::Waiting);
    let on_battery = is_heard && ups.is(UpsState::OnBattery);
    let silent_s = judge.lasting(&id, Reason::UpsSilent, !is_heard);
    // Silence goes on counting as what was before it: whoever was on battery then still is.
    let battery_s = judge.lasting(&id, Reason::OnBattery, on_battery || !is_heard);
    let mut findings = vec![answers(judge, &id, ups, silent_s, battery_s)];
    if is_heard {
        let battery_s = battery_s.map(|seconds| seconds.max(unsigned(ups.on_battery_s)));
        findings.push(line(judge, &id, ups, battery_s.unwrap_or(0)));
        findings.push(battery(judge, &id, ups));
        findings.push(runtime(ups));
        findings.push(load(judge, &id, ups));
        findings.push(test(judge, &id, ups));
    }
    let age_days = ups.battery_day.map(|day| today(judge) - day);
    Component {
        kind: ComponentKind::Ups,
        label: id.clone(),
        id,
        findings,
        readings: vec![
            (Quantity::ChargePermille, ups.charge_permille),
            (Quantity::RuntimeSeconds, ups.runtime_s),
            (Quantity::LoadPermille, ups.load_permille),
            (Quantity::PowerTenthWatts, ups.power_w.map(|watts| watts.saturating_mul(10))),
            (Quantity::VoltageMillivolts, ups.input_decivolt.map(|volts| volts.saturating_mul(100))),
            (Quantity::TemperatureTenths, ups.temperature_decicelsius),
            (Quantity::BatteryAgeDays, age_days),
        ],
    }
}

fn answers(
    judge: &mut Judge<'_>,
    id: &str,
    ups: &UpsReading,
    silent_s: Option<u64>,
    battery_s: Option<u64>,
) -> Finding {
    let verdict = judge.level(id, Rule::UpsSilent, signed(silent_s.unwrap_or(0)));
    let was_on_battery = silent_s.is_some() && battery_s > silent_s;
    let verdict = if verdict != Verdict::Ok && was_on_battery { Verdict::Critical } else { verdict };
    let why = match ups.comm {
        UpsComm::Heard => "it lost its own connection",
        UpsComm::Stale => "its driver hears nothing: look at the cable",
        UpsComm::DriverGone => "its driver does not run",
        UpsComm::Unknown => "its daemon does not know it any more",
        UpsComm::DaemonGone => "its daemon does not answer",
    };
    Finding::judged(Check::UpsAnswers, verdict, Reason::UpsSilent)
        .because(|| if was_on_battery { format!("it was on battery; {why}") } else { why.to_owned() })
}

fn line(judge: &mut Judge<'_>, id: &str, ups: &UpsReading, battery_s: u64) -> Finding {
    let found = |verdict, reason| Finding::new(Check::PowerLine, verdict, reason);
    if ups.is(UpsState::ForcedShutdown) {
        return found(Verdict::Critical, Reason::ShutdownForced);
    }
    let seconds = if ups.is(UpsState::OnBattery) && !by_itself(ups) { battery_s } else { 0 };
    let verdict = judge.level(id, Rule::OnBattery, signed(seconds));
    if verdict != Verdict::Ok {
        return found(verdict, Reason::OnBattery).with_detail(left(ups, seconds));
    }
    if ups.is(UpsState::Off) {
        return found(Verdict::Warning, Reason::Offline);
    }
    if ups.is(UpsState::Bypass) {
        return found(Verdict::Warning, Reason::Bypassed);
    }
    Finding::ok(Check::PowerLine)
}

fn left(ups: &UpsReading, seconds: u64) -> String {
    match ups.runtime_s {
        Some(runtime) => format!("for {} min, {} min left", seconds / 60, runtime / 60),
        None => format!("for {} min", seconds / 60),
    }
}

fn battery(judge: &mut Judge<'_>, id: &str, ups: &UpsReading) -> Finding {
    let age_days = ups.battery_day.map_or(0, |day| today(judge) - day);
    let age = judge.level(id, Rule::BatteryAge, age_days);
    let found = |verdict, reason| Finding::new(Check::Battery, verdict, reason);
    let charge = || ups.charge_permille.map_or_else(String::new, |charge| format!("{} % charged", charge / 10));
    if ups.is(UpsState::LowBattery) {
        let verdict = if ups.is(UpsState::OnBattery) { Verdict::Critical } else { Verdict::Warning };
        return found(verdict, Reason::BatteryLow).with_detail(charge());
    }
    if ups.is(UpsState::ReplaceBattery) {
        return found(Verdict::Warning, Reason::BatteryReplace);
    }
    let is_low = ups.charge_permille.is_some_and(|charge| charge < CHARGE_PERMILLE_LOW);
    if is_low && ups.is(UpsState::Online) && !ups.is(UpsState::Charging) {
        return found(Verdict::Warning, Reason::NotCharging).with_detail(charge());
    }
    Finding::judged(Check::Battery, age, Reason::BatteryOld).because(|| format!("{} years", age_days / 365))
}

/// While on battery: whether there is time left. LB is the UPS's own word for it; some only tell seconds.
fn runtime(ups: &UpsReading) -> Finding {
    let verdict = if ups.is(UpsState::OnBattery) && time_ends(ups) { Verdict::Critical } else { Verdict::Ok };
    let left = || format!("{} s left", ups.runtime_s.unwrap_or(0));
    Finding::judged(Check::Runtime, verdict, Reason::BatteryLow).because(left)
}

fn time_ends(ups: &UpsReading) -> bool {
    let low_s = ups.runtime_low_s.filter(|low| *low > 0).unwrap_or(RUNTIME_LOW_S);
    ups.runtime_s.is_some_and(|seconds| seconds <= low_s)
}

/// A UPS that tests or measures its battery runs on it by its own will.
fn by_itself(ups: &UpsReading) -> bool {
    ups.is(UpsState::Testing) || ups.is(UpsState::Calibrating)
}

fn load(judge: &mut Judge<'_>, id: &str, ups: &UpsReading) -> Finding {
    let load = ups.load_permille.unwrap_or(0);
    let verdict = judge.level(id, Rule::UpsLoad, load);
    let verdict = if ups.is(UpsState::Overloaded) { verdict.worse(Verdict::Warning) } else { verdict };
    Finding::judged(Check::UpsLoad, verdict, Reason::Overloaded).because(|| format!("{} % load", load / 10))
}

fn test(judge: &mut Judge<'_>, id: &str, ups: &UpsReading) -> Finding {
    if ups.test == Some(UpsTest::Failed) {
        return Finding::new(Check::BatteryTest, Verdict::Warning, Reason::TestFailed);
    }
    let days = ups.test_day.map_or(0, |day| today(judge) - day);
    let verdict = judge.level(id, Rule::BatteryTestAge, days);
    Finding::judged(Check::BatteryTest, verdict, Reason::TestOld).because(|| format!("{days} days ago"))
}

fn today(judge: &Judge<'_>) -> i64 {
    signed(judge.now_s() / DAY_S)
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn unsigned(value: Option<i64>) -> u64 {
    value.and_then(|value| u64::try_from(value).ok()).unwrap_or(0)
}

/// Whether a machine that hangs on these UPSes must shut down now: every one of them says that its battery ends or orders a
/// shutdown. One that is not heard says nothing, so it keeps the machine up: a cable that was pulled is no power cut. One
/// that measures or tests its battery runs it down by its own will.
#[must_use]
pub fn must_shut_down<'u>(upses: impl IntoIterator<Item = &'u UpsReading>) -> bool {
    let ends = |ups: &UpsReading| {
        let empty = ups.is(UpsState::OnBattery) && !by_itself(ups) && (ups.is(UpsState::LowBattery) || time_ends(ups));
        ups.comm == UpsComm::Heard && (empty || ups.is(UpsState::ForcedShutdown))
    };
    let mut upses = upses.into_iter().peekable();
    upses.peek().is_some() && upses.all(ends)
}

#[cfg(test)]
mod tests {
    use super::*;
    use UpsState::{Calibrating, ForcedShutdown, LowBattery, OnBattery, Online, Testing};

    fn says(status: &[UpsState]) -> UpsReading {
        UpsReading { status: status.to_vec(), ..UpsReading::default() }
    }

    #[test]
    fn a_machine_goes_when_every_ups_says_so() {
        let low = || says(&[OnBattery, LowBattery]);
        let cases: [(&[UpsReading], bool); 9] = [
            (&[], false),
            (&[says(&[OnBattery])], false),
            (&[low()], true),
            (&[says(&[Online, ForcedShutdown])], true),
            (&[low(), says(&[Online])], false),
            (&[low(), UpsReading { comm: UpsComm::Stale, ..low() }], false),
            (&[says(&[OnBattery, LowBattery, Calibrating]), says(&[OnBattery, LowBattery, Testing])], false),
            (&[UpsReading { runtime_s: Some(RUNTIME_LOW_S), ..says(&[OnBattery]) }], true),
            (&[UpsReading { runtime_s: Some(600), ..says(&[OnBattery]) }], false),
        ];
        for (upses, goes) in cases {
            assert_eq!(must_shut_down(upses), goes, "{upses:?}");
        }
    }
}
