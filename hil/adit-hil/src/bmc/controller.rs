// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What the controller knows and answers, after IPMI 2.0: sensors and their records, the event log, the chassis, the
//! watchdog. It does no I/O; the time since its start is an argument.

use anyhow::{Context, Result, ensure};
use std::collections::VecDeque;
use std::time::Duration;

/// Most records of the event log; a full log refuses more.
pub const SEL_ENTRIES_MAX: usize = 512;
/// Most sensors.
pub const SENSORS_MAX: usize = 64;
/// Longest name of a sensor, in bytes.
pub const SENSOR_NAME_BYTES_MAX: usize = 16;
/// Most events that wait to be taken; later ones are dropped.
pub const EVENTS_MAX: usize = 1024;

const OK: u8 = 0x00;
const INVALID_COMMAND: u8 = 0xc1;
const OUT_OF_SPACE: u8 = 0xc4;
const RESERVATION_LOST: u8 = 0xc5;
const WRONG_LENGTH: u8 = 0xc7;
const OUT_OF_RANGE: u8 = 0xc9;
const NOT_PRESENT: u8 = 0xcb;
const INVALID_FIELD: u8 = 0xcc;
/// Nothing waits, or the watchdog was never set: the code that both commands have for it.
const NOTHING: u8 = 0x80;
/// Number of the watchdog's sensor, in the log only.
const WATCHDOG_SENSOR: u8 = 0xfe;
/// The event that each threshold raises when it is crossed, from lower non-critical to upper non-recoverable.
const THRESHOLD_EVENTS: [u8; 6] = [0, 2, 4, 7, 9, 11];

/// What a sensor measures, and by that its unit and the step of its 8-bit reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SensorKind {
    /// Degrees Celsius, 0 to 255.
    Temperature,
    /// Revolutions a minute, 0 to 25500 in steps of 100.
    Fan,
    /// Volts, 0 to 15.30 in steps of 0.06.
    Voltage,
    /// Watts, 0 to 1275 in steps of 5.
    Power,
    /// A power supply: bits instead of a value.
    PowerSupply,
}

/// Limits of an analog sensor, in its unit, each may be absent.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Thresholds {
    /// Non-critical, critical, non-recoverable: at or below.
    pub lower: [Option<f64>; 3],
    /// Non-critical, critical, non-recoverable: at or above.
    pub upper: [Option<f64>; 3],
}

/// One sensor.
#[derive(Debug, Clone)]
pub struct Sensor {
    name: String,
    kind: SensorKind,
    /// In steps; lower then upper.
    thresholds: [Option<u8>; 6],
    /// Value in steps; `None` is no reading.
    raw: Option<u8>,
    states: u16,
    crossed: u8,
}

/// What the guest or the controller did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// The guest asked this of the chassis.
    Chassis(ChassisAction),
    /// The watchdog ran out; the action is IPMI's: 0 nothing, 1 reset, 2 power down, 3 power cycle.
    Watchdog {
        /// What followed.
        action: u8,
    },
    /// The guest cleared the event log.
    LogCleared,
    /// The guest restarted the controller itself.
    ControllerReset,
    /// QEMU says that the machine was reset.
    HostReset,
}

/// IPMI's chassis control.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChassisAction {
    /// Power off at once.
    Down,
    /// Power on.
    Up,
    /// Off and on; QEMU is told to reset.
    Cycle,
    /// Hard reset.
    Reset,
    /// A non-maskable interrupt.
    Interrupt,
    /// Ask the operating system to shut down.
    Soft,
}

/// What the virtual hardware is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hardware {
    PowerOff,
    Reset,
    Nmi,
    Shutdown,
}

#[derive(Debug, Clone, Copy)]
struct Watchdog {
    usage: u8,
    actions: u8,
    pretimeout_s: u8,
    /// Tenths of a second.
    initial: u16,
    expired: u8,
    runs_out: Option<Duration>,
}

/// The state of a controller.
#[derive(Debug)]
pub struct Controller {
    sensors: Vec<Sensor>,
    log: Vec<[u8; 16]>,
    log_overflowed: bool,
    reservation: u16,
    /// Seconds that the guest's clock is ahead of the time since the start.
    clock_s: u32,
    added_s: u32,
    cleared_s: u32,
    watchdog: Option<Watchdog>,
    events: VecDeque<Event>,
}

impl SensorKind {
    /// Sensor type, entity, base unit, multiplier and its power of ten.
    fn codes(self) -> (u8, u8, u8, u8, i8) {
        match self {
            Self::Temperature => (0x01, 3, 1, 1, 0),
            Self::Fan => (0x04, 29, 18, 100, 0),
            Self::Voltage => (0x02, 7, 4, 6, -2),
            Self::Power => (0x0b, 10, 6, 5, 0),
            Self::PowerSupply => (0x08, 10, 0, 1, 0),
        }
    }

    /// A value in steps, the nearest; `None` outside of what 8 bits hold.
    fn steps(self, value: f64) -> Option<u8> {
        let (.., multiplier, exponent) = self.codes();
        let steps = (value / (f64::from(multiplier) * 10_f64.powi(i32::from(exponent)))).round();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to be in range")]
        (0.0..=255.0).contains(&steps).then_some(steps as u8)
    }
}

impl Sensor {
    /// A sensor that reads `value`; a power supply has the states `value as bits`, 1 being present.
    pub fn new(name: &str, kind: SensorKind, value: f64, thresholds: Thresholds) -> Result<Self> {
        ensure!(
            (1..=SENSOR_NAME_BYTES_MAX).contains(&name.len()) && name.is_ascii(),
            "sensor name {name:?} is not 1 to {SENSOR_NAME_BYTES_MAX} ASCII letters"
        );
        let steps = |value| kind.steps(value).with_context(|| format!("{name} cannot read {value}"));
        let mut raw_thresholds = [None; 6];
        for (raw, value) in raw_thresholds.iter_mut().zip(thresholds.lower.into_iter().chain(thresholds.upper)) {
            *raw = value.map(steps).transpose()?;
        }
        let raw = steps(value)?;
        let mut sensor = Self {
            name: name.to_owned(),
            kind,
            thresholds: raw_thresholds,
            raw: Some(raw),
            states: u16::from(raw),
            crossed: 0,
        };
        sensor.crossed = sensor.crossed_now();
        Ok(sensor)
    }

    fn discrete(&self) -> bool {
        self.kind == SensorKind::PowerSupply
    }

    /// One bit per threshold that the reading is beyond.
    fn crossed_now(&self) -> u8 {
        let Some(raw) = self.raw.filter(|_| !self.discrete()) else { return 0 };
        let beyond = |(i, threshold): (usize, &Option<u8>)| {
            let crossed = threshold.is_some_and(|limit| if i < 3 { raw <= limit } else { raw >= limit });
            u8::from(crossed) << i
        };
        self.thresholds.iter().enumerate().map(beyond).sum()
    }

    fn threshold_mask(&self) -> u8 {
        self.thresholds.iter().enumerate().map(|(i, threshold)| u8::from(threshold.is_some()) << i).sum()
    }

    /// The record that describes it, number `number` (full for analog ones, compact for others).
    fn record(&self, number: u8) -> Vec<u8> {
        let (kind, entity, unit, multiplier, exponent) = self.kind.codes();
        let name_length = 0xc0 | u8::try_from(self.name.len()).unwrap_or_default();
        let mut body = vec![0x20, 0, number, entity, number];
        if self.discrete() {
            body.extend([0x7f, 0x40, kind, 0x6f, 0x0b, 0, 0x0b, 0, 0x0b, 0]);
            body.extend([0xc0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
        } else {
            let mask = self.threshold_mask();
            let events = (0..).zip(THRESHOLD_EVENTS).filter(|(i, _)| mask >> i & 1 == 1);
            let events = events.fold(0_u16, |events, (_, event)| events | 1 << event).to_le_bytes();
            body.extend([0x7f, 0x68, kind, 0x01, events[0], events[1], events[0], events[1], mask, mask]);
            // Unit, no linearisation, multiplier, no offset, powers of ten, no nominal values, range.
            body.extend([0, unit, 0, 0, multiplier, 0, 0, 0, 0, exponent.cast_unsigned() << 4, 0, 0, 0, 0, 255, 0]);
            let threshold = |i: usize| self.thresholds.get(i).copied().flatten().unwrap_or_default();
            body.extend([threshold(5), threshold(4), threshold(3), threshold(2), threshold(1), threshold(0)]);
            body.extend([0, 0, 0, 0, 0]);
        }
        body.push(name_length);
        body.extend(self.name.as_bytes());
        let record_type = if self.discrete() { 0x02 } else { 0x01 };
        let length = u8::try_from(body.len()).unwrap_or_default();
        [vec![number, 0, 0x51, record_type, length], body].concat()
    }
}

impl Default for Controller {
    /// A small server: CPU and board temperature, two fans, 12 V, 3.3 V, input power, two power supplies.
    fn default() -> Self {
        let limits = |lower, upper| Thresholds { lower, upper };
        let temperature = limits([None; 3], [Some(80.0), Some(90.0), Some(95.0)]);
        let fan = limits([Some(900.0), Some(600.0), Some(300.0)], [None; 3]);
        let volts = |v: f64| limits([None, Some(v * 0.9), None], [None, Some(v * 1.1), None]);
        let sensors = [
            ("CPU Temp", SensorKind::Temperature, 41.0, temperature),
            ("Board Temp", SensorKind::Temperature, 33.0, temperature),
            ("FAN1", SensorKind::Fan, 3000.0, fan),
            ("FAN2", SensorKind::Fan, 3100.0, fan),
            ("12V", SensorKind::Voltage, 12.0, volts(12.0)),
            ("3.3V", SensorKind::Voltage, 3.3, volts(3.3)),
            ("Input Power", SensorKind::Power, 60.0, Thresholds::default()),
            ("PSU1", SensorKind::PowerSupply, 1.0, Thresholds::default()),
            ("PSU2", SensorKind::PowerSupply, 1.0, Thresholds::default()),
        ];
        let sensors =
            sensors.into_iter().filter_map(|(name, kind, value, limits)| Sensor::new(name, kind, value, limits).ok());
        Self::assume_few(sensors.collect())
    }
}

impl Controller {
    /// A controller with these sensors, numbered from 1.
    pub fn new(sensors: Vec<Sensor>) -> Result<Self> {
        ensure!(sensors.len() <= SENSORS_MAX, "{} sensors, at most {SENSORS_MAX}", sensors.len());
        let mut names: Vec<&str> = sensors.iter().map(|sensor| sensor.name.as_str()).collect();
        names.sort_unstable();
        ensure!(names.windows(2).all(|pair| pair[0] != pair[1]), "two sensors have one name");
        Ok(Self::assume_few(sensors))
    }

    fn assume_few(sensors: Vec<Sensor>) -> Self {
        Self {
            sensors,
            log: Vec::new(),
            log_overflowed: false,
            reservation: 0,
            clock_s: 0,
            added_s: 0,
            cleared_s: 0,
            watchdog: None,
            events: VecDeque::new(),
        }
    }

    fn find(&mut self, name: &str) -> Result<(u8, &mut Sensor)> {
        let found = (1..).zip(&mut self.sensors).find(|(_, sensor)| sensor.name == name);
        found.with_context(|| format!("no sensor {name:?}"))
    }

    pub(super) fn set(&mut self, name: &str, value: f64, now: Duration) -> Result<()> {
        let (number, sensor) = self.find(name)?;
        ensure!(!sensor.discrete(), "{name} has states, not a value");
        let raw = sensor.kind.steps(value).with_context(|| format!("{name} cannot read {value}"))?;
        sensor.raw = Some(raw);
        let was = sensor.crossed;
        sensor.crossed = sensor.crossed_now();
        let (is, thresholds, kind) = (sensor.crossed, sensor.thresholds, sensor.kind.codes().0);
        for ((bit, event), threshold) in (0..).zip(THRESHOLD_EVENTS).zip(thresholds) {
            if (was ^ is) >> bit & 1 == 1 {
                let gone = if is >> bit & 1 == 1 { 0 } else { 0x80 };
                self.note(kind, number, 0x01 | gone, [0x50 | event, raw, threshold.unwrap_or_default()], now);
            }
        }
        Ok(())
    }

    pub(super) fn set_states(&mut self, name: &str, states: u16, now: Duration) -> Result<()> {
        let (number, sensor) = self.find(name)?;
        ensure!(sensor.discrete(), "{name} has a value, not states");
        ensure!(states < 1 << 15, "states {states:#x} have more than 15 bits");
        let changed = std::mem::replace(&mut sensor.states, states) ^ states;
        sensor.raw = Some(0);
        let kind = sensor.kind.codes().0;
        for bit in (0..15_u8).filter(|bit| changed >> bit & 1 == 1) {
            let gone = if states >> bit & 1 == 1 { 0 } else { 0x80 };
            self.note(kind, number, 0x6f | gone, [bit, 0xff, 0xff], now);
        }
        Ok(())
    }

    pub(super) fn lose(&mut self, name: &str) -> Result<()> {
        self.find(name)?.1.raw = None;
        Ok(())
    }

    pub(super) fn logged(&self) -> &[[u8; 16]] {
        &self.log
    }

    pub(super) fn take_events(&mut self) -> Vec<Event> {
        self.events.drain(..).collect()
    }

    pub(super) fn next_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    fn tell(&mut self, event: Event) {
        if self.events.len() < EVENTS_MAX {
            self.events.push_back(event);
        }
    }

    /// Logs what a sensor saw; a full log only remembers that it is full.
    fn note(&mut self, kind: u8, sensor: u8, event_type: u8, data: [u8; 3], now: Duration) {
        let [first, second, third] = data;
        let record = [0, 0, 2, 0, 0, 0, 0, 0x20, 0, 4, kind, sensor, event_type, first, second, third];
        drop(self.append(record, now));
    }

    fn clock(&self, now: Duration) -> u32 {
        self.clock_s.wrapping_add(u32::try_from(now.as_secs()).unwrap_or(u32::MAX))
    }

    /// Appends a record and returns its number.
    pub(super) fn append(&mut self, mut record: [u8; 16], now: Duration) -> Result<u16> {
        self.log_overflowed |= self.log.len() >= SEL_ENTRIES_MAX;
        ensure!(self.log.len() < SEL_ENTRIES_MAX, "the event log holds {SEL_ENTRIES_MAX} records");
        let number = u16::try_from(self.log.len() + 1)?;
        record[..2].copy_from_slice(&number.to_le_bytes());
        // Records of types from 0xe0 have no time.
        if record[2] < 0xe0 {
            record[3..7].copy_from_slice(&self.clock(now).to_le_bytes());
        }
        self.log.push(record);
        self.added_s = self.clock(now);
        Ok(number)
    }

    /// QEMU's virtual hardware said something; only a reset matters, and ends the watchdog.
    pub(super) fn hardware_said(&mut self, reset: bool) {
        if reset {
            if let Some(watchdog) = &mut self.watchdog {
                watchdog.runs_out = None;
            }
            self.tell(Event::HostReset);
        }
    }

    /// How long until something happens by itself.
    pub(super) fn next_tick(&self, now: Duration) -> Option<Duration> {
        let runs_out = self.watchdog.and_then(|watchdog| watchdog.runs_out)?;
        Some(runs_out.saturating_sub(now).max(Duration::from_millis(1)))
    }

    /// What happens by itself.
    pub(super) fn tick(&mut self, now: Duration) -> Option<Hardware> {
        let watchdog = self.watchdog.as_mut()?;
        if watchdog.runs_out.is_none_or(|runs_out| now < runs_out) {
            return None;
        }
        watchdog.runs_out = None;
        let (usage, action) = (watchdog.usage & 7, watchdog.actions & 7);
        watchdog.expired |= 1 << usage;
        if watchdog.usage & 0x80 == 0 {
            self.note(0x23, WATCHDOG_SENSOR, 0x6f, [0xc0 | action, usage, 0xff], now);
        }
        self.tell(Event::Watchdog { action });
        match action {
            1 | 3 => Some(Hardware::Reset),
            2 => Some(Hardware::PowerOff),
            _ => None,
        }
    }

    /// Answers one message (sequence, function and unit, command, data), and says what the hardware is to do.
    pub(super) fn answer(&mut self, message: &[u8], now: Duration) -> (Option<Vec<u8>>, Option<Hardware>) {
        let [sequence, function, command, data @ ..] = message else { return (None, None) };
        let (result, hardware) = match (function >> 2, *command) {
            (0, 0x02) => self.control_chassis(data),
            (0, command) => (Self::chassis(command), None),
            (4, command) => (self.sensor(command, data), None),
            (6, command @ (0x22 | 0x24 | 0x25)) => (self.watch(command, data, now), None),
            (6, command) => (self.application(command), None),
            (10, command @ 0x20..=0x23) => (self.records(command, data), None),
            (10, command) => (self.event_log(command, data, now), None),
            _ => (Err(INVALID_COMMAND), None),
        };
        let mut answer = vec![*sequence, function | 4, *command];
        match result {
            Ok(content) => {
                answer.push(OK);
                answer.extend(content);
            }
            Err(code) => answer.push(code),
        }
        (Some(answer), hardware)
    }

    fn chassis(command: u8) -> Result<Vec<u8>, u8> {
        match command {
            // On; no fault; no front panel.
            0x01 => Ok(vec![0x01, 0, 0]),
            // The cause of the last start is not known.
            0x07 => Ok(vec![0, 0]),
            _ => Err(INVALID_COMMAND),
        }
    }

    fn control_chassis(&mut self, data: &[u8]) -> (Result<Vec<u8>, u8>, Option<Hardware>) {
        let &[wanted] = data else { return (Err(WRONG_LENGTH), None) };
        let (action, hardware) = match wanted & 0x0f {
            0 => (ChassisAction::Down, Some(Hardware::PowerOff)),
            1 => (ChassisAction::Up, None),
            2 => (ChassisAction::Cycle, Some(Hardware::Reset)),
            3 => (ChassisAction::Reset, Some(Hardware::Reset)),
            4 => (ChassisAction::Interrupt, Some(Hardware::Nmi)),
            5 => (ChassisAction::Soft, Some(Hardware::Shutdown)),
            _ => return (Err(INVALID_FIELD), None),
        };
        self.tell(Event::Chassis(action));
        (Ok(Vec::new()), hardware)
    }

    fn application(&mut self, command: u8) -> Result<Vec<u8>, u8> {
        match command {
            // Device 0x20, records; firmware 1.0; IPMI 2.0; sensors, records, log, chassis; maker and product unset.
            0x01 => Ok(vec![0x20, 0x81, 0x01, 0x00, 0x02, 0x87, 0, 0, 0, 0, 0]),
            0x02 | 0x03 => {
                self.tell(Event::ControllerReset);
                Ok(Vec::new())
            }
            // The self-test passed.
            0x04 => Ok(vec![0x55, 0]),
            // The machine's and the controller's identity: fixed, so that runs are alike.
            0x08 | 0x37 => Ok((0..16).collect()),
            // Power states, interrupts and message flags are taken and mean nothing here.
            0x06 | 0x2e | 0x30 => Ok(Vec::new()),
            0x07 => Ok(vec![0, 0]),
            // Only the log takes events.
            0x2f => Ok(vec![0x08]),
            0x31 => Ok(vec![0]),
            0x33 | 0x35 => Err(NOTHING),
            _ => Err(INVALID_COMMAND),
        }
    }

    fn watch(&mut self, command: u8, data: &[u8], now: Duration) -> Result<Vec<u8>, u8> {
        let span = |tenths: u16| Duration::from_millis(u64::from(tenths) * 100);
        match (command, data) {
            (0x22, _) => {
                let watchdog = self.watchdog.as_mut().ok_or(NOTHING)?;
                watchdog.runs_out = Some(now + span(watchdog.initial));
                Ok(Vec::new())
            }
            (0x24, &[usage, actions, pretimeout_s, clear, low, high]) => {
                let old = self.watchdog;
                // Bit 6: a running timer goes on, with the new time.
                let runs = usage & 0x40 != 0 && old.is_some_and(|old| old.runs_out.is_some());
                let initial = u16::from_le_bytes([low, high]);
                let expired = old.map_or(0, |old| old.expired) & !clear;
                let runs_out = runs.then(|| now + span(initial));
                self.watchdog =
                    Some(Watchdog { usage: usage & 0x87, actions, pretimeout_s, initial, expired, runs_out });
                Ok(Vec::new())
            }
            (0x24, _) => Err(WRONG_LENGTH),
            _ => {
                let idle = Watchdog { usage: 0, actions: 0, pretimeout_s: 0, initial: 0, expired: 0, runs_out: None };
                let w = self.watchdog.unwrap_or(idle);
                let left = w.runs_out.map_or(Duration::ZERO, |runs_out| runs_out.saturating_sub(now));
                let left = u16::try_from(left.as_millis() / 100).unwrap_or(u16::MAX).to_le_bytes();
                let [low, high] = w.initial.to_le_bytes();
                let usage = w.usage | if w.runs_out.is_some() { 0x40 } else { 0 };
                Ok(vec![usage, w.actions, w.pretimeout_s, w.expired, low, high, left[0], left[1]])
            }
        }
    }

    fn sensor(&mut self, command: u8, data: &[u8]) -> Result<Vec<u8>, u8> {
        let (&number, rest) = data.split_first().ok_or(WRONG_LENGTH)?;
        let index = usize::from(number).checked_sub(1).ok_or(NOT_PRESENT)?;
        let sensor = self.sensors.get_mut(index).ok_or(NOT_PRESENT)?;
        let discrete = sensor.discrete();
        match command {
            0x25 if !discrete => Ok(vec![0, 0]),
            0x26 if !discrete => {
                let (&mask, values) = rest.split_first().ok_or(WRONG_LENGTH)?;
                if values.len() != 6 {
                    return Err(WRONG_LENGTH);
                }
                for (i, (threshold, value)) in sensor.thresholds.iter_mut().zip(values).enumerate() {
                    if mask >> i & 1 == 1 {
                        *threshold = Some(*value);
                    }
                }
                sensor.crossed = sensor.crossed_now();
                Ok(Vec::new())
            }
            0x27 if !discrete => {
                let values = sensor.thresholds.iter().map(|threshold| threshold.unwrap_or_default());
                Ok([sensor.threshold_mask()].into_iter().chain(values).collect())
            }
            // All events and the scan are on.
            0x29 => Ok(vec![0xc0]),
            0x2d => {
                let Some(raw) = sensor.raw else { return Ok(vec![0, 0xe0, 0]) };
                let [low, high] = sensor.states.to_le_bytes();
                Ok(if discrete {
                    vec![0, 0xc0, low, 0x80 | high]
                } else {
                    vec![raw, 0xc0, 0xc0 | sensor.crossed_now()]
                })
            }
            0x2f => Ok(vec![sensor.kind.codes().0, if discrete { 0x6f } else { 0x01 }]),
            _ => Err(INVALID_COMMAND),
        }
    }

    fn reserve(&mut self) -> Vec<u8> {
        self.reservation = self.reservation.wrapping_add(1).max(1);
        self.reservation.to_le_bytes().to_vec()
    }

    /// A part of record `wanted` of `count`, after the number of the next: how both repositories are read.
    fn part(&self, data: &[u8], count: usize, record: impl Fn(usize) -> Option<Vec<u8>>) -> Result<Vec<u8>, u8> {
        let &[reserved_low, reserved_high, low, high, offset, length] = data else { return Err(WRONG_LENGTH) };
        let reserved = u16::from_le_bytes([reserved_low, reserved_high]);
        if reserved != self.reservation && (offset != 0 || reserved != 0) {
            return Err(RESERVATION_LOST);
        }
        let index = match u16::from_le_bytes([low, high]) {
            0 => 0,
            0xffff => count.checked_sub(1).ok_or(NOT_PRESENT)?,
            number => usize::from(number) - 1,
        };
        let record = record(index).ok_or(NOT_PRESENT)?;
        let rest = record.get(usize::from(offset)..).ok_or(OUT_OF_RANGE)?;
        let next = if index + 1 < count { u16::try_from(index + 2).unwrap_or(0xffff) } else { 0xffff };
        let mut answer = next.to_le_bytes().to_vec();
        answer.extend(rest.iter().take(usize::from(length)));
        Ok(answer)
    }

    fn records(&mut self, command: u8, data: &[u8]) -> Result<Vec<u8>, u8> {
        let count = self.sensors.len();
        match command {
            0x20 => {
                let [low, high] = u16::try_from(count).unwrap_or(u16::MAX).to_le_bytes();
                // Reservations are needed; nothing can be added.
                Ok([vec![0x51, low, high, 0, 0], vec![0; 8], vec![0x02]].concat())
            }
            0x22 => Ok(self.reserve()),
            0x23 => {
                self.part(data, count, |index| Some(self.sensors.get(index)?.record(u8::try_from(index + 1).ok()?)))
            }
            _ => Err(INVALID_COMMAND),
        }
    }

    fn event_log(&mut self, command: u8, data: &[u8], now: Duration) -> Result<Vec<u8>, u8> {
        match command {
            0x40 => {
                let two = |value: usize| u16::try_from(value).unwrap_or(u16::MAX).to_le_bytes();
                let mut info = vec![0x51];
                info.extend(two(self.log.len()));
                info.extend(two((SEL_ENTRIES_MAX - self.log.len()) * 16));
                info.extend(self.added_s.to_le_bytes());
                info.extend(self.cleared_s.to_le_bytes());
                info.push(0x02 | if self.log_overflowed { 0x80 } else { 0 });
                Ok(info)
            }
            0x42 => Ok(self.reserve()),
            0x43 => self.part(data, self.log.len(), |index| self.log.get(index).map(|record| record.to_vec())),
            0x44 => {
                let record = data.try_into().map_err(|_| WRONG_LENGTH)?;
                let number = self.append(record, now).map_err(|_| OUT_OF_SPACE)?;
                Ok(number.to_le_bytes().to_vec())
            }
            0x47 => self.clear(data, now),
            0x48 => Ok(self.clock(now).to_le_bytes().to_vec()),
            0x49 => {
                let wanted = u32::from_le_bytes(data.try_into().map_err(|_| WRONG_LENGTH)?);
                self.clock_s = wanted.wrapping_sub(u32::try_from(now.as_secs()).unwrap_or(u32::MAX));
                Ok(Vec::new())
            }
            _ => Err(INVALID_COMMAND),
        }
    }

    fn clear(&mut self, data: &[u8], now: Duration) -> Result<Vec<u8>, u8> {
        let &[low, high, b'C', b'L', b'R', what] = data else { return Err(INVALID_FIELD) };
        if u16::from_le_bytes([low, high]) != self.reservation {
            return Err(RESERVATION_LOST);
        }
        match what {
            0xaa => {
                self.log.clear();
                self.log_overflowed = false;
                self.cleared_s = self.clock(now);
                self.tell(Event::LogCleared);
            }
            0x00 => {}
            _ => return Err(INVALID_FIELD),
        }
        // Done.
        Ok(vec![0x01])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(5);

    fn ask(controller: &mut Controller, function: u8, command: u8, data: &[u8]) -> Vec<u8> {
        let message = [&[7, function << 2, command][..], data].concat();
        let answer = controller.answer(&message, NOW).0.unwrap();
        assert_eq!(answer[..3], [7, function << 2 | 4, command]);
        answer[3..].to_vec()
    }

    #[test]
    fn the_record_of_a_sensor_is_ipmi_s() {
        let thresholds = Thresholds { lower: [None, Some(5.0), None], upper: [Some(80.0), Some(90.0), Some(95.0)] };
        let record = Sensor::new("CPU Temp", SensorKind::Temperature, 41.0, thresholds).unwrap().record(1);
        #[rustfmt::skip]
        let expected = [
            1, 0, 0x51, 0x01, 51,                               // record 1, version, full, length
            0x20, 0, 1, 3, 1, 0x7f, 0x68, 0x01, 0x01,           // owner, number, processor 1, thresholds
            0x84, 0x0a, 0x84, 0x0a, 0x3a, 0x3a,                 // events low critical, high three; readable, settable
            0, 1, 0, 0, 1, 0, 0, 0, 0, 0,                       // degrees C, 1:1
            0, 0, 0, 0, 255, 0, 95, 90, 80, 0, 5, 0, 0, 0, 0, 0, 0, // range, upper NR C NC, lower NR C NC
            0xc8, b'C', b'P', b'U', b' ', b'T', b'e', b'm', b'p',
        ];
        assert_eq!(record, expected);
        let supply = Sensor::new("PSU1", SensorKind::PowerSupply, 1.0, Thresholds::default()).unwrap().record(3);
        assert_eq!((supply[3], usize::from(supply[4]), supply.len()), (0x02, supply.len() - 5, 36));
        let volts = Sensor::new("3.3V", SensorKind::Voltage, 3.3, Thresholds::default()).unwrap();
        assert_eq!((volts.raw, volts.record(1)[5 + 24]), (Some(55), 0xe0), "55 times 6 times 10^-2");
    }

    #[test]
    fn the_repository_is_read_in_parts() {
        let mut controller = Controller::default();
        let count = controller.sensors.len();
        assert_eq!(usize::from(ask(&mut controller, 10, 0x20, &[])[2]), count);
        let reserved = ask(&mut controller, 10, 0x22, &[]);
        let (mut number, mut seen) = (0_u16, Vec::new());
        while number != 0xffff {
            let mut record: Vec<u8> = Vec::new();
            let [low, high] = number.to_le_bytes();
            loop {
                let offset = u8::try_from(record.len()).unwrap();
                let part = ask(&mut controller, 10, 0x23, &[reserved[1], reserved[2], low, high, offset, 20]);
                assert_eq!(part[0], 0);
                record.extend(&part[3..]);
                if part.len() < 23 {
                    number = u16::from_le_bytes([part[1], part[2]]);
                    break;
                }
            }
            seen.push(record);
        }
        let all: Vec<_> = (1..).zip(&controller.sensors).map(|(number, sensor)| sensor.record(number)).collect();
        assert_eq!(seen, all);
        assert_eq!(ask(&mut controller, 10, 0x23, &[0, 0, 1, 0, 5, 4]), [RESERVATION_LOST]);
        assert_eq!(ask(&mut controller, 10, 0x23, &[1, 0, 99, 0, 0, 255]), [NOT_PRESENT]);
        assert_eq!(ask(&mut controller, 10, 0x23, &[1, 0, 1, 0, 200, 4]), [OUT_OF_RANGE]);
        assert_eq!(ask(&mut controller, 10, 0x23, &[1, 0]), [WRONG_LENGTH]);
    }

    #[test]
    fn thresholds_are_crossed_and_logged_both_ways() {
        let mut controller = Controller::default();
        controller.set("CPU Temp", 93.0, NOW).unwrap();
        assert_eq!(ask(&mut controller, 4, 0x2d, &[1]), [0, 93, 0xc0, 0xc0 | 0x18]);
        controller.set("CPU Temp", 40.0, NOW).unwrap();
        controller.set("FAN1", 0.0, NOW).unwrap();
        assert_eq!(ask(&mut controller, 4, 0x2d, &[3]), [0, 0, 0xc0, 0xc7]);
        controller.set_states("PSU1", 0b1001, NOW).unwrap();
        assert_eq!(ask(&mut controller, 4, 0x2d, &[8]), [0, 0, 0xc0, 0b1001, 0x80]);
        let seen: Vec<_> = controller.logged().iter().map(|r| (r[10], r[11], r[12], r[13], r[14], r[15])).collect();
        let high =
            [(1, 1, 1, 0x57, 93, 80), (1, 1, 1, 0x59, 93, 90), (1, 1, 0x81, 0x57, 40, 80), (1, 1, 0x81, 0x59, 40, 90)];
        let low = [(4, 3, 1, 0x50, 0, 9), (4, 3, 1, 0x52, 0, 6), (4, 3, 1, 0x54, 0, 3), (8, 8, 0x6f, 3, 0xff, 0xff)];
        assert_eq!(seen, [high, low].concat());
        assert_eq!(controller.logged()[0][..10], [1, 0, 2, 5, 0, 0, 0, 0x20, 0, 4]);
        assert!(controller.set("CPU Temp", 256.0, NOW).is_err() && controller.set("CPU Temp", -1.0, NOW).is_err());
        assert!(controller.set("PSU1", 1.0, NOW).is_err() && controller.set_states("FAN1", 1, NOW).is_err());
        assert!(controller.set_states("PSU1", 1 << 15, NOW).is_err());
        // A guest may move thresholds.
        assert_eq!(ask(&mut controller, 4, 0x26, &[1, 0x08, 0, 0, 0, 35, 0, 0]), [0]);
        assert_eq!(ask(&mut controller, 4, 0x27, &[1]), [0, 0x38, 0, 0, 0, 35, 90, 95]);
        assert_eq!(ask(&mut controller, 4, 0x2d, &[1])[3], 0xc8);
        assert_eq!(ask(&mut controller, 4, 0x2d, &[0]), [NOT_PRESENT]);
        assert_eq!(ask(&mut controller, 4, 0x2d, &[]), [WRONG_LENGTH]);
    }

    #[test]
    fn the_log_is_added_to_read_and_cleared() {
        let mut controller = Controller::default();
        assert_eq!(ask(&mut controller, 10, 0x43, &[0, 0, 0, 0, 0, 255]), [NOT_PRESENT]);
        assert_eq!(ask(&mut controller, 10, 0x49, &100_u32.to_le_bytes()), [0]);
        assert_eq!(ask(&mut controller, 10, 0x48, &[]), [0, 100, 0, 0, 0]);
        let record = [9, 9, 2, 0, 0, 0, 0, 0x21, 0, 4, 5, 6, 7, 8, 9, 10];
        assert_eq!(ask(&mut controller, 10, 0x44, &record), [0, 1, 0]);
        let mut stored = record;
        stored[..7].copy_from_slice(&[1, 0, 2, 100, 0, 0, 0]);
        assert_eq!(ask(&mut controller, 10, 0x43, &[0, 0, 0, 0, 0, 255])[..], [&[0, 0xff, 0xff][..], &stored].concat());
        for _ in 1..SEL_ENTRIES_MAX {
            assert_eq!(ask(&mut controller, 10, 0x44, &record)[0], 0);
        }
        assert_eq!(ask(&mut controller, 10, 0x44, &record), [OUT_OF_SPACE]);
        let info = ask(&mut controller, 10, 0x40, &[]);
        assert_eq!((info[2..6].to_vec(), info[14]), (vec![0, 2, 0, 0], 0x82));
        assert_eq!(ask(&mut controller, 10, 0x47, b"\x07\0CLR\xaa"), [RESERVATION_LOST]);
        let reserved = ask(&mut controller, 10, 0x42, &[]);
        assert_eq!(ask(&mut controller, 10, 0x47, &[reserved[1], reserved[2], b'C', b'L', b'R', 0xaa]), [0, 1]);
        assert_eq!((controller.logged().len(), controller.take_events()), (0, vec![Event::LogCleared]));
    }

    #[test]
    fn the_watchdog_counts_down() {
        let mut controller = Controller::default();
        assert_eq!(ask(&mut controller, 6, 0x25, &[]), [0, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(ask(&mut controller, 6, 0x24, &[4, 2, 0, 0, 100, 0]), [0]);
        assert_eq!(controller.next_tick(NOW), None, "set, but not started");
        assert_eq!(ask(&mut controller, 6, 0x22, &[]), [0]);
        let later = |seconds| NOW + Duration::from_secs(seconds);
        assert_eq!(controller.next_tick(later(4)), Some(Duration::from_secs(6)));
        assert_eq!(ask(&mut controller, 6, 0x25, &[]), [0, 0x44, 2, 0, 0, 100, 0, 100, 0]);
        assert_eq!(controller.tick(later(9)), None);
        assert_eq!(controller.tick(later(10)), Some(Hardware::PowerOff));
        assert_eq!(controller.tick(later(11)), None, "once");
        assert_eq!(ask(&mut controller, 6, 0x25, &[])[1..5], [4, 2, 0, 0x10]);
        assert_eq!(controller.take_events(), [Event::Watchdog { action: 2 }]);
        assert_eq!(controller.logged()[0][10..14], [0x23, WATCHDOG_SENSOR, 0x6f, 0xc2]);
        // Set again while it runs, to go on; a reset of the machine ends it.
        ask(&mut controller, 6, 0x22, &[]);
        assert_eq!(ask(&mut controller, 6, 0x24, &[0x44, 1, 0, 0x10, 50, 0]), [0]);
        assert_eq!(controller.next_tick(NOW), Some(Duration::from_secs(5)));
        controller.hardware_said(true);
        assert_eq!(controller.next_tick(NOW), None);
    }

    #[test]
    fn what_is_not_known_is_refused() {
        let mut controller = Controller::default();
        for (function, command) in [(6, 0xff), (0, 0xff), (4, 0xff), (10, 0xff), (0x2c, 0)] {
            assert_eq!(ask(&mut controller, function, command, &[1]), [INVALID_COMMAND]);
        }
        assert_eq!(ask(&mut controller, 0, 2, &[9]), [INVALID_FIELD]);
        assert!(controller.answer(&[1, 2], NOW).0.is_none());
        assert!(Sensor::new("", SensorKind::Fan, 1.0, Thresholds::default()).is_err());
        assert!(
            Sensor::new(&"x".repeat(SENSOR_NAME_BYTES_MAX + 1), SensorKind::Fan, 1.0, Thresholds::default()).is_err()
        );
        let sensor = |i: usize| Sensor::new(&i.to_string(), SensorKind::Fan, 1000.0, Thresholds::default()).unwrap();
        assert!(Controller::new((0..SENSORS_MAX).map(sensor).collect()).is_ok());
        assert!(Controller::new((0..=SENSORS_MAX).map(sensor).collect()).is_err());
        assert!(Controller::new(vec![sensor(1), sensor(1)]).is_err());
        (0..2 * EVENTS_MAX).for_each(|_| controller.hardware_said(true));
        assert_eq!(controller.take_events().len(), EVENTS_MAX);
    }
}
