// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Cases: what a BMC measures and logs.

use super::{Bench, Case, findings};
use adit_device::ipmi::{
    BmcReading, Chassis, Condition, Crossed, EventLog, Identity, LogEvent, Sensor, SensorKind, SensorState, Unit,
};
use adit_health::Finding;
use adit_health::rules::bmc::bmc;
use adit_wire::health::codes::{Check, Reason, Verdict};

const SUPPLY: &str = "IPMI 2.0, table 42-3, sensor type 08h";
const PRESENCE: &str = "canonical/hardware-observer issue 449: presence alone is no fault";
const THRESHOLDS: &str = "IPMI 2.0, 35.14 and table 42-2: threshold states";
const GENERIC: &str = "IPMI 2.0, table 42-2: generic states";
const OWN: &str = "IPMI 2.0, table 42-3: states by sensor type";
const CHASSIS: &str = "IPMI 2.0, 28.2";
const LOG: &str = "IPMI 2.0, 31.2 and 32.1";

fn sensor(kind: SensorKind, number: u8, unit: Unit, milli: Option<i64>, condition: Condition) -> Sensor {
    let state = SensorState::Read { milli, condition };
    Sensor { number: (0, number), entity: (7, 1), kind, name: format!("S{number}"), unit, state }
}

fn analog(kind: SensorKind, unit: Unit, milli: i64, crossed: u8) -> Sensor {
    sensor(kind, 9, unit, Some(milli), Condition::Thresholds(Crossed::new(crossed)))
}

fn discrete(kind: SensorKind, number: u8, event_type: u8, states: u16) -> Sensor {
    sensor(kind, number, Unit::Other(0), None, Condition::States { event_type, states })
}

const ON: Chassis = Chassis {
    power_on: true,
    overload: false,
    power_fault: false,
    control_fault: false,
    drive_fault: false,
    cooling_fault: false,
    intrusion: false,
};

fn server(sensors: Vec<Sensor>) -> BmcReading {
    let identity = Identity { manufacturer: 11, product: 1, firmware: (2, 78), version: (2, 0) };
    let log = EventLog { entries: 3, free_bytes: 4096, overflowed: false, recent: Vec::new() };
    BmcReading { identity, chassis: Some(ON), sensors, sensors_left_out: 0, log: Some(log), power_w: Some(157) }
}

fn judged(bench: &mut Bench, reading: &BmcReading) -> Vec<Finding> {
    findings(bmc(&mut bench.judge(), "ipmi0", reading))
}

fn now(bench: &mut Bench, sensors: Vec<Sensor>) -> Vec<Finding> {
    judged(bench, &server(sensors))
}

fn lasting_reading(bench: &mut Bench, reading: &BmcReading) -> Vec<Finding> {
    drop(judged(bench, reading));
    bench.pass(300);
    judged(bench, reading)
}

/// The same for five minutes.
fn lasting(bench: &mut Bench, sensors: Vec<Sensor>) -> Vec<Finding> {
    lasting_reading(bench, &server(sensors))
}

/// Two supplies.
fn supplies(first: u16, second: u16) -> Vec<Sensor> {
    [(1, first), (2, second)].map(|(number, states)| discrete(SensorKind::PowerSupply, number, 0x6f, states)).to_vec()
}

fn temperature(degrees: i64, crossed: u8) -> Vec<Sensor> {
    vec![analog(SensorKind::Temperature, Unit::Celsius, degrees * 1000, crossed)]
}

fn fan(rpm: i64, crossed: u8) -> Vec<Sensor> {
    vec![analog(SensorKind::Fan, Unit::Rpm, rpm * 1000, crossed)]
}

fn empty_bay() -> Vec<Sensor> {
    let bay = analog(SensorKind::Fan, Unit::Rpm, 0, 0);
    vec![Sensor { state: SensorState::Unavailable, ..bay }]
}

fn with_chassis(chassis: Chassis) -> BmcReading {
    BmcReading { chassis: Some(chassis), ..server(Vec::new()) }
}

fn logged(kind: SensorKind, event_type: u8, offset: u8, gone: bool) -> BmcReading {
    let event = LogEvent { record: 77, time_s: 1, kind, sensor: 4, event_type, gone, offset };
    let log = EventLog { entries: 9, free_bytes: 4096, overflowed: false, recent: vec![event] };
    BmcReading { log: Some(log), ..server(Vec::new()) }
}

/// First nothing, then this entry.
fn after_nothing(bench: &mut Bench, reading: &BmcReading) -> Vec<Finding> {
    drop(now(bench, Vec::new()));
    bench.pass(60);
    judged(bench, reading)
}

macro_rules! case {
    ($name:literal, $source:expr, $judge:expr $(, $check:ident $verdict:ident $reason:ident)*) => {
        Case { name: $name, source: $source, judge: $judge, expect: &[$((Check::$check, Verdict::$verdict, Reason::$reason)),*] }
    };
}

pub(super) const CASES: &[Case] = &[
    case!("both supplies present", PRESENCE, |b| lasting(b, supplies(1, 1))),
    case!("one bay is empty", PRESENCE, |b| lasting(b, supplies(1, 0))),
    case!("one failed for a moment", SUPPLY, |b| now(b, supplies(1, 0b11))),
    case!("one failed", SUPPLY, |b| lasting(b, supplies(1, 0b11)), PowerSupply Warning SupplyFailed),
    case!("one lost its input", SUPPLY, |b| lasting(b, supplies(1, 0b1001)), PowerSupply Warning SupplyFailed),
    case!("one has input out of range", SUPPLY, |b| lasting(b, supplies(1, 0b10_0001)), PowerSupply Warning SupplyFailed),
    case!("one is configured wrongly", SUPPLY, |b| lasting(b, supplies(1, 0b100_0001)), PowerSupply Warning SupplyFailed),
    case!("one predicts its failure", SUPPLY, |b| now(b, supplies(1, 0b101)), PowerSupply Warning FailurePredicted),
    case!("both have a fault, at once", SUPPLY, |b| now(b, supplies(0b11, 0b1001)), PowerSupply Critical SupplyFailed, PowerSupply Critical SupplyFailed),
    case!("a temperature as it should be", THRESHOLDS, |b| lasting(b, temperature(41, 0))),
    case!("a temperature beyond its first limit, for a moment", THRESHOLDS, |b| now(b, temperature(81, 0x08))),
    case!("a temperature beyond its first limit", THRESHOLDS, |b| lasting(b, temperature(81, 0x08)), Temperature Warning Hot),
    case!("a temperature beyond its critical limit", THRESHOLDS, |b| now(b, temperature(91, 0x18)), Temperature Critical TooHot),
    case!("a cold room", THRESHOLDS, |b| lasting(b, temperature(1, 0x03))),
    case!("a temperature that judges itself by severity", GENERIC, |b| now(b, vec![discrete(SensorKind::Temperature, 9, 0x07, 0b100)]), Temperature Critical TooHot),
    case!("a fan turns", THRESHOLDS, |b| lasting(b, fan(3000, 0))),
    case!("a fan is slow, for a moment", THRESHOLDS, |b| now(b, fan(800, 0x01))),
    case!("a fan is slow", THRESHOLDS, |b| lasting(b, fan(800, 0x01)), Fan Warning FanSlow),
    case!("a fan is critically slow", THRESHOLDS, |b| now(b, fan(500, 0x03)), Fan Critical FanSlow),
    case!("a fan stopped", THRESHOLDS, |b| { drop(now(b, fan(3000, 0))); now(b, fan(0, 0)) }, Fan Critical FanStopped),
    case!("a fan's bay is empty", THRESHOLDS, |b| lasting(b, empty_bay())),
    case!("a fan was taken out", THRESHOLDS, |b| { drop(now(b, fan(3000, 0))); lasting(b, empty_bay()) }, Fan Unknown NotReadable),
    case!("a fan stands as the machine is off", CHASSIS, |b| {
        drop(now(b, fan(3000, 0)));
        let off = Chassis { power_on: false, ..ON };
        judged(b, &BmcReading { chassis: Some(off), ..server(fan(0, 0x03)) })
    }),
    case!("a fan says degraded", GENERIC, |b| lasting(b, vec![discrete(SensorKind::Fan, 9, 0x0a, 0x40)]), Fan Warning FanSlow),
    case!("fans fully redundant", GENERIC, |b| lasting(b, vec![discrete(SensorKind::Fan, 9, 0x0b, 0x01)])),
    case!("fans lost their redundancy", GENERIC, |b| lasting(b, vec![discrete(SensorKind::Fan, 9, 0x0b, 0x02)]), Chassis Warning RedundancyLost),
    case!("supplies not enough", GENERIC, |b| now(b, vec![discrete(SensorKind::PowerUnit, 9, 0x0b, 0x20)]), Chassis Critical RedundancyLost),
    case!("a voltage as it should be", THRESHOLDS, |b| lasting(
        b,
        vec![analog(SensorKind::Voltage, Unit::Volts, 12_060, 0)]
    )),
    case!("a voltage is off", THRESHOLDS, |b| now(b, vec![analog(SensorKind::Voltage, Unit::Volts, 10_200, 0x02)]), Voltage Critical VoltageOff),
    case!("a voltage is a little off", THRESHOLDS, |b| lasting(b, vec![analog(SensorKind::Voltage, Unit::Volts, 11_100, 0x01)]), Voltage Warning VoltageOff),
    case!("memory is well", OWN, |b| now(b, vec![discrete(SensorKind::Memory, 9, 0x6f, 0x40)])),
    case!("memory had an error", OWN, |b| now(b, vec![discrete(SensorKind::Memory, 9, 0x6f, 0x02)]), Ecc Critical EccUncorrected),
    case!("memory corrects too much", OWN, |b| now(b, vec![discrete(SensorKind::Memory, 9, 0x6f, 0x20)]), Ecc Warning EccCorrected),
    case!("a drive in its slot", OWN, |b| now(b, vec![discrete(SensorKind::DriveSlot, 9, 0x6f, 0x01)])),
    case!("a drive failed", OWN, |b| now(b, vec![discrete(SensorKind::DriveSlot, 9, 0x6f, 0x03)]), PhysicalDrive Critical Failed),
    case!("a drive predicts its failure", OWN, |b| now(b, vec![discrete(SensorKind::DriveSlot, 9, 0x6f, 0x05)]), PhysicalDrive Warning FailurePredicted),
    case!("a drive in an array without redundancy", OWN, |b| now(b, vec![discrete(SensorKind::DriveSlot, 9, 0x6f, 0x21)]), PhysicalDrive Warning Degraded),
    case!("an open chassis", CHASSIS, |b| lasting_reading(b, &with_chassis(Chassis { intrusion: true, ..ON }))),
    case!("a cooling fault", CHASSIS, |b| lasting_reading(b, &with_chassis(Chassis { cooling_fault: true, ..ON })), Chassis Warning EventLogged),
    case!("a supply's failure was logged", LOG, |b| after_nothing(b, &logged(SensorKind::PowerSupply, 0x6f, 1, false)), EventLog Warning EventLogged),
    case!("a supply's recovery was logged", LOG, |b| after_nothing(b, &logged(SensorKind::PowerSupply, 0x6f, 1, true))),
    case!("a supply was put in", LOG, |b| after_nothing(b, &logged(SensorKind::PowerSupply, 0x6f, 0, false))),
    case!("a processor was too hot", LOG, |b| after_nothing(b, &logged(SensorKind::Processor, 0x6f, 1, false)), EventLog Warning EventLogged),
    case!("an entry of two days ago", LOG, |b| {
        let entry = logged(SensorKind::Memory, 0x6f, 1, false);
        drop(after_nothing(b, &entry));
        b.pass(2 * 86_400);
        judged(b, &entry)
    }),
    case!("a full log", LOG, |b| {
        let log = EventLog { entries: 512, free_bytes: 0, overflowed: true, recent: Vec::new() };
        judged(b, &BmcReading { log: Some(log), ..server(Vec::new()) })
    }, EventLog Warning LogFull),
];
