// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What a baseboard management controller measures: power supplies and fans as things of their own, temperatures, voltages,
//! memory and the chassis together, and what it logged. Sensors are judged by their own thresholds and states.
//!
//! A controller that wavers for a moment is common, so what is not dangerous at once is told when it lasts.

use crate::judge::Judge;
use crate::model::{Component, Finding};
use adit_device::ipmi::{
    BmcReading, Chassis, Condition, Crossed, EventLog, LogEvent, Sensor, SensorKind, SensorState, Unit,
};
use adit_wire::health::codes::{Check, ComponentKind, Quantity, Reason, Verdict};

/// How long something must last before it is told, seconds.
const LASTS_S: u64 = 300;
/// How long a logged fault is told, seconds.
const EVENT_S: u64 = 86_400;
/// Room for fewer entries of 16 bytes than this is a full log.
const LOG_FREE_BYTES: u16 = 8 * 16;
/// Event types (IPMI 2.0, 42.1): generic ones, and the sensor's own.
const THRESHOLDS: u8 = 0x01;
const PREDICTIVE: u8 = 0x04;
const SEVERITY: u8 = 0x07;
const AVAILABILITY: u8 = 0x0a;
const REDUNDANCY: u8 = 0x0b;
const OWN: u8 = 0x6f;

/// The controller, each power supply and each fan. `id` is the kernel's name of the controller, e.g. `ipmi0`: a machine has
/// one.
#[must_use]
pub fn bmc(judge: &mut Judge<'_>, id: &str, reading: &BmcReading) -> Vec<Component> {
    let on = reading.chassis.is_none_or(|chassis| chassis.power_on);
    let mut components = supplies(judge, id, reading);
    let mut findings = Vec::new();
    for sensor in &reading.sensors {
        if sensor.kind == SensorKind::Fan && has_redundancy(sensor).is_none() {
            components.extend(fan(judge, id, sensor, on));
        } else {
            findings.extend(self::sensor(judge, id, sensor));
        }
    }
    findings.extend(reading.chassis.map(|chassis| self::chassis(judge, id, chassis)));
    findings.extend(reading.log.iter().flat_map(|log| event_log(judge, id, log)));
    let hottest = values(reading, SensorKind::Temperature, Unit::Celsius).max();
    let readings = vec![
        (Quantity::TemperatureTenths, hottest.map(|milli| milli / 100)),
        (Quantity::PowerTenthWatts, reading.power_w.map(|watts| i64::from(watts) * 10)),
        (Quantity::Events, reading.log.as_ref().map(|log| i64::from(log.entries))),
    ];
    let (kind, label) = (ComponentKind::Bmc, "BMC".to_owned());
    components
        .insert(0, Component { kind, id: id.to_owned(), label, findings: Finding::worst_each(findings), readings });
    components
}

fn values(reading: &BmcReading, kind: SensorKind, unit: Unit) -> impl Iterator<Item = i64> + '_ {
    let of_kind = reading.sensors.iter().filter(move |sensor| sensor.kind == kind && sensor.unit == unit);
    of_kind.filter_map(|sensor| match sensor.state {
        SensorState::Read { milli, .. } => milli,
        SensorState::Unavailable => None,
    })
}

fn states(sensor: &Sensor, of: u8) -> Option<u16> {
    match sensor.state {
        SensorState::Read { condition: Condition::States { event_type, states }, .. } if event_type == of => {
            Some(states)
        }
        SensorState::Read { .. } | SensorState::Unavailable => None,
    }
}

fn crossed(sensor: &Sensor) -> Crossed {
    match sensor.state {
        SensorState::Read { condition: Condition::Thresholds(crossed), .. } => crossed,
        SensorState::Read { condition: Condition::States { .. }, .. } | SensorState::Unavailable => Crossed::default(),
    }
}

fn own_id(id: &str, sensor: &Sensor) -> String {
    format!("{id}-{}.{}", sensor.number.0, sensor.number.1)
}

/// A warning once the condition lasted, and nothing before.
fn lasting(judge: &mut Judge<'_>, id: &str, reason: Reason, holds: bool) -> Verdict {
    match judge.lasting(id, reason, holds) {
        Some(for_s) if for_s >= LASTS_S => Verdict::Warning,
        Some(_) | None => Verdict::Ok,
    }
}

/// What is wrong with a supply (42.2, type 08h). Bit 0, presence, is no fault; without it the bay is empty.
fn supply_fault(states: u16) -> Option<&'static str> {
    let faults = [(1, "failed"), (3, "no input"), (4, "input lost or out of range"), (5, "input out of range")];
    let fault = faults.iter().find(|(bit, _)| states >> bit & 1 == 1).map(|(_, words)| *words);
    fault.or_else(|| (states >> 6 & 1 == 1).then_some("wrong configuration"))
}

fn supplies(judge: &mut Judge<'_>, id: &str, reading: &BmcReading) -> Vec<Component> {
    let all = reading.sensors.iter().filter(|sensor| sensor.kind == SensorKind::PowerSupply);
    let all: Vec<(&Sensor, u16)> = all.filter_map(|sensor| Some((sensor, states(sensor, OWN)?))).collect();
    let faulty = all.iter().filter(|(_, states)| supply_fault(*states).is_some()).count();
    // A machine whose every supply has a fault still answers only because one of them carries it.
    let all_faulty = faulty == all.len();
    let component = |(sensor, states): &(&Sensor, u16)| {
        let own = own_id(id, sensor);
        let fault = supply_fault(*states);
        let verdict = lasting(judge, &own, Reason::SupplyFailed, fault.is_some());
        let verdict = if fault.is_some() && all_faulty { Verdict::Critical } else { verdict };
        let mut finding = Finding::judged(Check::PowerSupply, verdict, Reason::SupplyFailed);
        finding = finding.because(|| fault.unwrap_or_default().to_owned());
        if verdict == Verdict::Ok && states >> 2 & 1 == 1 {
            finding = Finding::new(Check::PowerSupply, Verdict::Warning, Reason::FailurePredicted);
        }
        let (kind, label) = (ComponentKind::Power, sensor.name.clone());
        Component { kind, id: own, label, findings: vec![finding], readings: Vec::new() }
    };
    all.iter().map(component).collect()
}

fn fan(judge: &mut Judge<'_>, id: &str, sensor: &Sensor, on: bool) -> Option<Component> {
    let own = own_id(id, sensor);
    let (milli, read) = match sensor.state {
        SensorState::Read { milli, .. } => (milli, true),
        SensorState::Unavailable => (None, false),
    };
    let turns = judge.best(&own, Check::Fan, i64::from(milli.is_some_and(|milli| milli > 0)) + i64::from(read));
    // A bay that never had a fan in it is no fault.
    if turns == 0 {
        return None;
    }
    let finding = |verdict, reason| Finding::judged(Check::Fan, verdict, reason);
    let lost = lasting(judge, &own, Reason::NotReadable, !read && on);
    let crossed = crossed(sensor);
    let slow = crossed.is_warning() && crossed.is_low();
    let degraded = states(sensor, AVAILABILITY).is_some_and(|states| states >> 6 & 1 == 1) || asserted(sensor);
    let slow = lasting(judge, &own, Reason::FanSlow, slow || degraded);
    let judged = match milli {
        Some(0) if on && turns > 1 => finding(Verdict::Critical, Reason::FanStopped),
        _ if crossed.is_critical() && crossed.is_low() && on => finding(Verdict::Critical, Reason::FanSlow),
        _ if severe(sensor) == Verdict::Critical => finding(Verdict::Critical, Reason::FanSlow),
        _ if lost != Verdict::Ok => finding(Verdict::Unknown, Reason::NotReadable),
        _ => finding(slow.worse(severe(sensor)), Reason::FanSlow),
    };
    let rpm = milli.filter(|_| sensor.unit == Unit::Rpm).map(|milli| milli / 1000);
    let readings = if sensor.unit == Unit::Rpm { vec![(Quantity::FanRpm, rpm)] } else { Vec::new() };
    let (kind, label) = (ComponentKind::Sensor, sensor.name.clone());
    Some(Component { kind, id: own, label, findings: vec![judged], readings })
}

/// A predicted failure is asserted (42.1, type 04h, offset 1).
fn asserted(sensor: &Sensor) -> bool {
    states(sensor, PREDICTIVE).is_some_and(|states| states >> 1 & 1 == 1)
}

/// Severity states (42.1, type 07h): 1 and 4 non-critical, 2, 3, 5 and 6 worse.
fn severe(sensor: &Sensor) -> Verdict {
    match states(sensor, SEVERITY) {
        Some(states) if states & 0b110_1100 != 0 => Verdict::Critical,
        Some(states) if states & 0b001_0010 != 0 => Verdict::Warning,
        Some(_) | None => Verdict::Ok,
    }
}

/// Redundancy states (42.1, type 0Bh): 0 full; 5 not enough left to run on; others lost or less.
fn has_redundancy(sensor: &Sensor) -> Option<u16> {
    states(sensor, REDUNDANCY)
}

/// The checks of the controller itself.
fn sensor(judge: &mut Judge<'_>, id: &str, sensor: &Sensor) -> Option<Finding> {
    let own = own_id(id, sensor);
    let named = |finding: Finding| finding.because(|| value_text(sensor));
    if let Some(states) = has_redundancy(sensor) {
        let lost = lasting(judge, &own, Reason::RedundancyLost, states & 0b1101_1110 != 0);
        let verdict = if states >> 5 & 1 == 1 { Verdict::Critical } else { lost };
        return Some(named(Finding::judged(Check::Chassis, verdict, Reason::RedundancyLost)));
    }
    let own_states = states(sensor, OWN).unwrap_or(0);
    let bit = |at: u16| own_states >> at & 1 == 1;
    match sensor.kind {
        SensorKind::Temperature => {
            let crossed = crossed(sensor);
            let high = (crossed.is_warning() && !crossed.is_low()) || severe(sensor) == Verdict::Warning;
            let warm = lasting(judge, &own, Reason::Hot, high);
            let too_hot = (crossed.is_critical() && !crossed.is_low()) || severe(sensor) == Verdict::Critical;
            let (verdict, reason) = if too_hot { (Verdict::Critical, Reason::TooHot) } else { (warm, Reason::Hot) };
            Some(named(Finding::judged(Check::Temperature, verdict, reason)))
        }
        SensorKind::Voltage | SensorKind::Current => {
            let crossed = crossed(sensor);
            let off = lasting(judge, &own, Reason::VoltageOff, crossed.is_warning());
            let verdict = if crossed.is_critical() { Verdict::Critical } else { off.worse(severe(sensor)) };
            Some(named(Finding::judged(Check::Voltage, verdict, Reason::VoltageOff)))
        }
        SensorKind::Memory => {
            // 1: uncorrectable; 5: the limit of corrected ones is reached.
            let (verdict, reason) = match (bit(1), bit(5)) {
                (true, _) => (Verdict::Critical, Reason::EccUncorrected),
                (false, true) => (Verdict::Warning, Reason::EccCorrected),
                (false, false) => (Verdict::Ok, Reason::None),
            };
            Some(named(Finding::judged(Check::Ecc, verdict, reason)))
        }
        SensorKind::DriveSlot => {
            // 1: fault; 2: predicted; 5 and 6: in a critical or failed array.
            let (verdict, reason) = match (bit(1) || bit(6), bit(2), bit(5)) {
                (true, ..) => (Verdict::Critical, Reason::Failed),
                (false, true, _) => (Verdict::Warning, Reason::FailurePredicted),
                (false, false, true) => (Verdict::Warning, Reason::Degraded),
                (false, false, false) => (Verdict::Ok, Reason::None),
            };
            Some(named(Finding::judged(Check::PhysicalDrive, verdict, reason)))
        }
        SensorKind::Fan
        | SensorKind::Processor
        | SensorKind::PowerSupply
        | SensorKind::PowerUnit
        | SensorKind::Cooling
        | SensorKind::OtherUnits
        | SensorKind::Other(_) => None,
    }
}

fn value_text(sensor: &Sensor) -> String {
    let milli = match sensor.state {
        SensorState::Read { milli, .. } => milli,
        SensorState::Unavailable => None,
    };
    let unit = match sensor.unit {
        Unit::Celsius => "°C",
        Unit::Volts => "V",
        Unit::Amps => "A",
        Unit::Watts => "W",
        Unit::Rpm => "rpm",
        Unit::Percent => "%",
        Unit::Other(_) => "",
    };
    match milli {
        Some(milli) if milli % 1000 == 0 => format!("{} {} {unit}", sensor.name, milli / 1000),
        Some(milli) => format!("{} {}.{:02} {unit}", sensor.name, milli / 1000, milli.unsigned_abs() % 1000 / 10),
        None => sensor.name.clone(),
    }
}

fn chassis(judge: &mut Judge<'_>, id: &str, chassis: Chassis) -> Finding {
    let faults = [
        (chassis.power_fault, "power fault"),
        (chassis.overload, "power overload"),
        (chassis.control_fault, "power control fault"),
        (chassis.cooling_fault, "cooling fault"),
        (chassis.drive_fault, "drive fault"),
    ];
    let fault = faults.iter().find(|(holds, _)| *holds).map(|(_, words)| *words);
    let verdict = lasting(judge, id, Reason::EventLogged, fault.is_some());
    Finding::judged(Check::Chassis, verdict, Reason::EventLogged).because(|| fault.unwrap_or_default().to_owned())
}

/// Events that tell a fault even when the sensor is well again.
fn is_grave(event: &LogEvent) -> bool {
    let own = |offsets: &[u8]| event.event_type == OWN && offsets.contains(&event.offset);
    let grave = match event.kind {
        SensorKind::PowerSupply => own(&[1, 2, 3]),
        // Lost AC, out of range, failure.
        SensorKind::PowerUnit => own(&[4, 5, 6]),
        // Internal error, thermal trip, hang at boot, machine check.
        SensorKind::Processor => own(&[0, 1, 2, 11]),
        SensorKind::Memory => own(&[1, 5]),
        SensorKind::DriveSlot => own(&[1, 2]),
        // Critical interrupts: bus errors; the watchdog's deeds.
        SensorKind::Other(0x13) => own(&[4, 5, 7, 8, 10]),
        SensorKind::Other(0x23) => own(&[1, 2, 3]),
        // Critical and non-recoverable thresholds, going the bad way.
        SensorKind::Temperature | SensorKind::Voltage | SensorKind::Fan => {
            event.event_type == THRESHOLDS && [2, 4, 9, 11].contains(&event.offset)
        }
        SensorKind::Current | SensorKind::Cooling | SensorKind::OtherUnits | SensorKind::Other(_) => false,
    };
    grave && !event.gone
}

fn event_log(judge: &mut Judge<'_>, id: &str, log: &EventLog) -> Vec<Finding> {
    let newest = log.recent.iter().rev().find(|event| is_grave(event));
    let name = newest.map_or(0, |event| i64::from(event.record));
    let lately = judge.changes(id, Check::EventLog, name, EVENT_S) > 0;
    let full = log.overflowed || log.free_bytes < LOG_FREE_BYTES;
    vec![match newest {
        Some(event) if lately => Finding::new(Check::EventLog, Verdict::Warning, Reason::EventLogged)
            .with_detail(format!("entry {}, sensor {}", event.record, event.sensor)),
        Some(_) | None if full => Finding::new(Check::EventLog, Verdict::Warning, Reason::LogFull),
        Some(_) | None => Finding::ok(Check::EventLog),
    }]
}
