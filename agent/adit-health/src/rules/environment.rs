// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What a mainboard measures: temperatures, fans, voltages, power.

use crate::judge::Judge;
use crate::limits::{Limit, Rule};
use crate::model::{Component, Finding};
use crate::readings::environment::{Measured, SensorReading};
use adit_wire::health::codes::{Check, ComponentKind, Quantity, Reason, Verdict};

/// Below a sensor's own critical limit by this much a warning begins when it states none, tenths of a degree.
const WARNING_BEFORE: i64 = 50;
/// A fan that starts stands still for a moment; after this long it does not turn, seconds.
const FAN_STOPPED_S: u64 = 60;

/// A sensor; `None` for a connector without a fan: one that nobody ever saw turn.
#[must_use]
pub fn sensor(judge: &mut Judge<'_>, sensor: &SensorReading) -> Option<Component> {
    let id = sensor.id.as_str();
    let (finding, reading) = match sensor.value {
        Measured::Temperature { tenths, warning, critical, alarm, critical_alarm } => {
            let verdict = level(judge, id, tenths, warning, critical);
            let verdict = if alarm { verdict.worse(Verdict::Warning) } else { verdict };
            let verdict = if critical_alarm { Verdict::Critical } else { verdict };
            (Some(hot(verdict, tenths)), (Quantity::TemperatureTenths, tenths))
        }
        Measured::Fan { rpm, min, may_stop, fault } => {
            (Some(fan(judge, id, rpm, min, may_stop, fault)?), (Quantity::FanRpm, rpm))
        }
        Measured::Voltage { millivolts, min, max } => {
            (Some(voltage(millivolts, min, max)), (Quantity::VoltageMillivolts, millivolts))
        }
        Measured::Power { tenth_watts } => (None, (Quantity::PowerTenthWatts, tenth_watts)),
    };
    Some(Component {
        kind: ComponentKind::Sensor,
        id: id.to_owned(),
        label: sensor.label.clone(),
        findings: finding.into_iter().collect(),
        readings: vec![(reading.0, Some(reading.1))],
    })
}

fn level(judge: &mut Judge<'_>, id: &str, tenths: i64, warning: Option<i64>, critical: Option<i64>) -> Verdict {
    let usual = judge.limit(Rule::SensorTemperature);
    let limit = match (warning, critical) {
        (None, None) => usual,
        (Some(warning), None) => Limit { warning: Some(warning), critical: None, ..usual },
        (warning, Some(critical)) => {
            let before = critical.saturating_sub(WARNING_BEFORE);
            // Some chips state the same number twice, or the lower one as critical.
            let warning = warning.filter(|warning| *warning < critical).unwrap_or(before);
            Limit { warning: Some(warning), critical: Some(critical), ..usual }
        }
    };
    judge.level_within(id, Rule::SensorTemperature, limit, tenths)
}

/// What to say of a temperature that was judged.
pub(super) fn hot(verdict: Verdict, tenths: i64) -> Finding {
    let reason = if verdict == Verdict::Critical { Reason::TooHot } else { Reason::Hot };
    Finding::judged(Check::Temperature, verdict, reason).because(|| format!("{} °C", tenths / 10))
}

fn fan(judge: &mut Judge<'_>, id: &str, rpm: i64, min: Option<i64>, may_stop: bool, fault: bool) -> Option<Finding> {
    let turned = judge.best(id, Check::Fan, i64::from(rpm > 0)) == 1;
    let stands = judge.lasting(id, Reason::FanStopped, rpm == 0 && !may_stop);
    let stopped = turned && stands.is_some_and(|for_s| for_s >= FAN_STOPPED_S);
    if !turned && !fault {
        return None;
    }
    let found =
        |verdict, reason| Finding::new(Check::Fan, verdict, reason).with_detail(format!("{rpm} turns a minute"));
    Some(match min {
        _ if fault || stopped => found(Verdict::Critical, Reason::FanStopped),
        Some(min) if rpm > 0 && rpm < min => found(Verdict::Warning, Reason::FanSlow),
        _ => Finding::ok(Check::Fan),
    })
}

/// A named rail beyond its chip's limits. Never critical: a machine that reports has power.
fn voltage(millivolts: i64, min: i64, max: i64) -> Finding {
    let verdict = if (min..=max).contains(&millivolts) { Verdict::Ok } else { Verdict::Warning };
    Finding::judged(Check::Voltage, verdict, Reason::VoltageOff)
        .because(|| format!("{millivolts} mV, should be {min} to {max}"))
}
