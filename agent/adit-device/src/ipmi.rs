// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What a baseboard management controller says, after IPMI 2.0 (section numbers in brackets): identity, chassis, sensors
//! by their records, the event log since last time, and power by DCMI.
//!
//! Records are walked once and kept in [`Records`] until the BMC says that they changed; a poll then costs one request a
//! sensor. Sensors of other controllers behind the BMC are counted and not asked.

use crate::command::IpmiCommand;
use crate::transport::{IPMI_REPLY_BYTES_MAX, Ipmi, TransportError};
use serde::{Deserialize, Serialize};

/// Most sensor records that are walked. Servers have 40 to 200.
pub const RECORDS_MAX: usize = 512;
/// Most sensors that a reading holds.
pub const SENSORS_MAX: usize = 256;
/// Most events that a reading tells.
pub const EVENTS_MAX: usize = 32;
/// Most entries of the log that are walked in one reading; after more than that in between, the oldest are passed over.
pub const ENTRIES_WALKED_MAX: usize = 128;
/// Longest name of a sensor, bytes (43.1: 16, and 30 in what some makers write).
pub const NAME_BYTES_MAX: usize = 32;
/// Bytes of a record that are asked for at once; many BMCs refuse more than about 24 (33.12).
const PART_BYTES: u8 = 16;
/// A record is as long as its header's one byte can say.
const RECORD_HEADER_BYTES: usize = 5;
/// How often a walk that lost its reservation begins anew.
const WALKS_MAX: usize = 3;
/// Last record, in both repositories.
const LAST: u16 = 0xffff;
/// The BMC's own address as the owner of a sensor (8-bit form).
const BMC_ADDRESS: u8 = 0x20;

/// Event type of a sensor with thresholds (42.1).
const THRESHOLDS: u8 = 0x01;
/// How often a busy BMC is asked.
const TRIES_MAX: usize = 3;

/// Completion codes (5.2).
const DONE: u8 = 0x00;
const BUSY: u8 = 0xc0;
const RESERVATION_LOST: u8 = 0xc5;

/// A BMC as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BmcReading {
    /// Who it is.
    pub identity: Identity,
    /// The chassis; `None` when it does not tell.
    pub chassis: Option<Chassis>,
    /// Its sensors, at most [`SENSORS_MAX`], in the order of the records.
    pub sensors: Vec<Sensor>,
    /// Sensors that are not in `sensors`: behind other controllers, or beyond the limit.
    pub sensors_left_out: u16,
    /// The event log; `None` when it does not tell.
    pub log: Option<EventLog>,
    /// Power drawn now, watts (DCMI); `None` when it does not tell.
    pub power_w: Option<u16>,
}

/// Get Device ID (20.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// IANA enterprise number of the maker: 11 is HP, 674 Dell, 10876 Supermicro.
    pub manufacturer: u32,
    /// The maker's number of the product.
    pub product: u16,
    /// Firmware: major, and minor as two decimal digits.
    pub firmware: (u8, u8),
    /// IPMI version: major, minor.
    pub version: (u8, u8),
}

/// Get Chassis Status (28.2), the bits that tell faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "bits of the answer")]
pub struct Chassis {
    /// The power is on.
    pub power_on: bool,
    /// More power was drawn than allowed.
    pub overload: bool,
    /// A fault of the main power.
    pub power_fault: bool,
    /// The controller could not switch the power.
    pub control_fault: bool,
    /// A drive failed.
    pub drive_fault: bool,
    /// A fan failed or cooling is short.
    pub cooling_fault: bool,
    /// The chassis is open.
    pub intrusion: bool,
}

/// What a sensor measures (42.2); the numbers are the specification's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SensorKind {
    /// 01h.
    Temperature,
    /// 02h.
    Voltage,
    /// 03h.
    Current,
    /// 04h.
    Fan,
    /// 07h.
    Processor,
    /// 08h.
    PowerSupply,
    /// 09h.
    PowerUnit,
    /// 0Ah.
    Cooling,
    /// 0Bh, with a unit of watts: power; otherwise another unit.
    OtherUnits,
    /// 0Ch.
    Memory,
    /// 0Dh.
    DriveSlot,
    /// Any other, by number.
    Other(u8),
}

impl SensorKind {
    const fn of(number: u8) -> Self {
        match number {
            0x01 => Self::Temperature,
            0x02 => Self::Voltage,
            0x03 => Self::Current,
            0x04 => Self::Fan,
            0x07 => Self::Processor,
            0x08 => Self::PowerSupply,
            0x09 => Self::PowerUnit,
            0x0a => Self::Cooling,
            0x0b => Self::OtherUnits,
            0x0c => Self::Memory,
            0x0d => Self::DriveSlot,
            other => Self::Other(other),
        }
    }
}

/// Units of a value (43.17) that are told; others stay numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Unit {
    /// 1.
    Celsius,
    /// 4.
    Volts,
    /// 5.
    Amps,
    /// 6.
    Watts,
    /// 18.
    Rpm,
    /// Per cent, by the flag of units 1.
    Percent,
    /// Any other, by number.
    Other(u8),
}

/// A threshold that is crossed (35.14, byte 4 of the answer), worst last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Crossed(u8);

impl Crossed {
    /// Lower: non-critical, critical, non-recoverable; upper: the same.
    const BITS: u8 = 0x3f;

    /// By the bits of the answer.
    #[must_use]
    pub const fn new(bits: u8) -> Self {
        Self(bits & Self::BITS)
    }

    /// A non-critical threshold, and no worse one.
    #[must_use]
    pub const fn is_warning(self) -> bool {
        self.0 != 0 && !self.is_critical()
    }

    /// A critical or non-recoverable threshold.
    #[must_use]
    pub const fn is_critical(self) -> bool {
        self.0 & 0b11_0110 != 0
    }

    /// On the lower side.
    #[must_use]
    pub const fn is_low(self) -> bool {
        self.0 & 0b00_0111 != 0
    }
}

/// What a sensor says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SensorState {
    /// It gives no reading now: not present, or the machine is off.
    Unavailable,
    /// It is read.
    Read {
        /// Thousandths of the unit; `None` for one without a value, and when its formula is not one of the
        /// specification's or the result too large.
        milli: Option<i64>,
        /// How it judges itself.
        condition: Condition,
    },
}

/// How a sensor judges itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Condition {
    /// By thresholds (event type 01h).
    Thresholds(Crossed),
    /// By states, one bit each.
    States {
        /// 6Fh: bits by the sensor's kind (42.2); 02h to 0Ch: a generic meaning (42.1).
        event_type: u8,
        /// The states.
        states: u16,
    },
}

/// A sensor with its reading.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sensor {
    /// Logical unit of the BMC and number there; together stable.
    pub number: (u8, u8),
    /// Entity and its instance (43.14), e.g. 10 is a power supply.
    pub entity: (u8, u8),
    /// What it measures.
    pub kind: SensorKind,
    /// Name by its record.
    pub name: String,
    /// Unit of a value.
    pub unit: Unit,
    /// What it says.
    pub state: SensorState,
}

/// The system event log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventLog {
    /// Entries that it holds.
    pub entries: u16,
    /// Bytes left for more; FFFFh is that much or more.
    pub free_bytes: u16,
    /// Entries were lost as it is full.
    pub overflowed: bool,
    /// The newest entries that came since the first reading, oldest first, at most [`EVENTS_MAX`].
    pub recent: Vec<LogEvent>,
}

/// An entry of the log that a sensor caused (32.1, record type 02h).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogEvent {
    /// Its number in the log.
    pub record: u16,
    /// Seconds since 1970 by the BMC's clock, which may be off; below 20000000h since its start (37).
    pub time_s: u32,
    /// What the sensor measures.
    pub kind: SensorKind,
    /// The sensor's number.
    pub sensor: u8,
    /// Kind of event: 01h threshold, 6Fh by the sensor's kind.
    pub event_type: u8,
    /// It ended instead of beginning.
    pub gone: bool,
    /// Which state or threshold, 0 to 14.
    pub offset: u8,
}

/// What is kept between readings: the sensor records, and how far the log was read.
#[derive(Debug, Default)]
pub struct Records {
    /// What Get SDR Repository Info said when they were walked.
    stamp: Option<Vec<u8>>,
    sensors: Vec<Record>,
    left_out: u16,
    /// The newest entry that was seen, and when the log was last cleared; `None` before the first reading.
    log_end: Option<LogEnd>,
    recent: Vec<LogEvent>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct LogEnd {
    newest: u16,
    cleared: [u8; 4],
}

/// A sensor by its record (43.1 full, 43.2 compact).
#[derive(Clone, Debug, PartialEq)]
struct Record {
    lun: u8,
    number: u8,
    entity: (u8, u8),
    kind: u8,
    event_type: u8,
    unit: Unit,
    name: String,
    /// `None` for a sensor without a value.
    formula: Option<Formula>,
}

/// How a raw reading becomes a value (36.3): L[(M·x + B·10^K1)·10^K2].
#[derive(Clone, Copy, Debug, PartialEq)]
struct Formula {
    /// 0 unsigned, 1 one's complement, 2 two's complement.
    format: u8,
    linearization: u8,
    m: i16,
    b: i16,
    /// K1, exponent of B.
    b_exponent: i8,
    /// K2, exponent of the result.
    r_exponent: i8,
}

/// Asks a BMC for all of it.
///
/// # Errors
/// When it does not even tell who it is, or stops answering on the way.
pub fn read(bmc: &mut dyn Ipmi, records: &mut Records) -> Result<BmcReading, TransportError> {
    let identity = ask(bmc, &IpmiCommand::device_id())?.ok().and_then(|data| identity(&data));
    let identity = identity.ok_or(TransportError::NotSupported)?;
    let chassis = ask(bmc, &IpmiCommand::chassis_status())?.ok().and_then(|data| chassis(&data));
    records.refresh(bmc)?;
    let mut sensors = Vec::with_capacity(records.sensors.len());
    for record in &records.sensors {
        let answer = ask(bmc, &IpmiCommand::sensor_reading(record.lun, record.number))?;
        sensors.push(record.sensor(answer.ok().as_deref()));
    }
    let log = records.event_log(bmc)?;
    let power_w = ask(bmc, &IpmiCommand::dcmi_power())?.ok().and_then(|data| power(&data));
    Ok(BmcReading { identity, chassis, sensors, sensors_left_out: records.left_out, log, power_w })
}

/// Sends a request; the answer's data, or its completion code.
fn ask(bmc: &mut dyn Ipmi, command: &IpmiCommand) -> Result<Result<Vec<u8>, u8>, TransportError> {
    let mut reply = [0; IPMI_REPLY_BYTES_MAX];
    for _ in 0..TRIES_MAX {
        let length = bmc.request(command, &mut reply)?;
        match reply.get(..length.min(reply.len())) {
            Some([DONE, data @ ..]) => return Ok(Ok(data.to_vec())),
            Some([BUSY, ..]) => {}
            Some([code, ..]) => return Ok(Err(*code)),
            // An answer without a completion code is none.
            _ => return Err(TransportError::NotSupported),
        }
    }
    Ok(Err(BUSY))
}

fn identity(data: &[u8]) -> Option<Identity> {
    let [_, _, major, minor, version, _, m0, m1, m2, p0, p1, ..] = *data else { return None };
    Some(Identity {
        // 20 bits; the upper four are reserved.
        manufacturer: u32::from_le_bytes([m0, m1, m2 & 0x0f, 0]),
        product: u16::from_le_bytes([p0, p1]),
        firmware: (major & 0x7f, (minor >> 4).saturating_mul(10).saturating_add(minor & 0x0f)),
        // The digits stand the wrong way round: 02h is 2.0, 51h is 1.5.
        version: (version & 0x0f, version >> 4),
    })
}

fn chassis(data: &[u8]) -> Option<Chassis> {
    let [power, _, misc, ..] = *data else { return None };
    let bit = |byte: u8, at: u8| byte >> at & 1 == 1;
    Some(Chassis {
        power_on: bit(power, 0),
        overload: bit(power, 1),
        power_fault: bit(power, 3),
        control_fault: bit(power, 4),
        intrusion: bit(misc, 0),
        drive_fault: bit(misc, 2),
        cooling_fault: bit(misc, 3),
    })
}

/// Get Power Reading (DCMI 1.5, 6.6.1): group, power now, least, most, mean, two times of four bytes, state.
fn power(data: &[u8]) -> Option<u16> {
    let [0xdc, low, high, rest @ ..] = data else { return None };
    // Bit 6 of the last byte: power is measured.
    rest.get(14).is_some_and(|state| state & 0x40 != 0).then(|| u16::from_le_bytes([*low, *high]))
}

impl Records {
    /// Walks the records again when the BMC says that they changed.
    fn refresh(&mut self, bmc: &mut dyn Ipmi) -> Result<(), TransportError> {
        let Ok(info) = ask(bmc, &IpmiCommand::sdr_info())? else {
            (self.stamp, self.sensors, self.left_out) = (None, Vec::new(), 0);
            return Ok(());
        };
        // Version, count, free space, and when records were last added and erased; not the flags behind them.
        let stamp = info.get(..13).unwrap_or(&info).to_vec();
        if self.stamp.as_ref() == Some(&stamp) {
            return Ok(());
        }
        for _ in 0..WALKS_MAX {
            let Ok(reserved) = ask(bmc, &IpmiCommand::reserve_sdr())? else { break };
            let &[low, high, ..] = &reserved[..] else { break };
            if let Some((sensors, left_out)) = walk(bmc, u16::from_le_bytes([low, high]))? {
                (self.stamp, self.sensors, self.left_out) = (Some(stamp), sensors, left_out);
                return Ok(());
            }
        }
        // Without a whole walk the old records stand, and the next reading tries again.
        Ok(())
    }
}

impl Records {
    /// Get SEL Info (31.2), then entries by number from the newest that was seen on (31.5).
    fn event_log(&mut self, bmc: &mut dyn Ipmi) -> Result<Option<EventLog>, TransportError> {
        let Ok(info) = ask(bmc, &IpmiCommand::sel_info())? else { return Ok(None) };
        let [_, e0, e1, f0, f1, _, _, _, _, c0, c1, c2, c3, flags, ..] = info[..] else { return Ok(None) };
        let entries = u16::from_le_bytes([e0, e1]);
        let newest = if entries == 0 {
            Some(0)
        } else {
            let answer = ask(bmc, &IpmiCommand::sel_entry(LAST))?.ok();
            answer.and_then(|data| entry(&data)).map(|(_, number, _)| number)
        };
        if let Some(newest) = newest {
            let end = LogEnd { newest, cleared: [c0, c1, c2, c3] };
            if let Some(seen) = self.log_end.replace(end).filter(|seen| *seen != end && entries > 0) {
                self.follow(bmc, seen, end)?;
            }
        }
        let free_bytes = u16::from_le_bytes([f0, f1]);
        Ok(Some(EventLog { entries, free_bytes, overflowed: flags & 0x80 != 0, recent: self.recent.clone() }))
    }

    /// Takes what came after the entry that was seen; when the log was cleared since, all of it.
    fn follow(&mut self, bmc: &mut dyn Ipmi, seen: LogEnd, end: LogEnd) -> Result<(), TransportError> {
        let mut next = 0;
        if seen.newest != 0 && seen.cleared == end.cleared {
            let after = ask(bmc, &IpmiCommand::sel_entry(seen.newest))?.ok().and_then(|data| entry(&data));
            next = after.filter(|(_, number, _)| *number == seen.newest).map_or(0, |(next, ..)| next);
        }
        for _ in 0..ENTRIES_WALKED_MAX {
            if next == LAST {
                break;
            }
            let answer = ask(bmc, &IpmiCommand::sel_entry(next))?.ok();
            let Some((after, _, event)) = answer.and_then(|data| entry(&data)) else { break };
            self.recent.extend(event);
            next = after;
        }
        let beyond = self.recent.len().saturating_sub(EVENTS_MAX);
        self.recent.drain(..beyond);
        Ok(())
    }
}

/// Walks all records; `None` when the reservation was lost.
fn walk(bmc: &mut dyn Ipmi, reservation: u16) -> Result<Option<(Vec<Record>, u16)>, TransportError> {
    let (mut sensors, mut left_out) = (Vec::new(), 0_u16);
    let mut next = 0;
    for _ in 0..RECORDS_MAX {
        let (after, bytes) = match record(bmc, reservation, next)? {
            Ok(Some(found)) => found,
            Ok(None) => break,
            Err(RESERVATION_LOST) => return Ok(None),
            Err(_) => break,
        };
        match Record::read(&bytes) {
            Some(record) if sensors.len() < SENSORS_MAX => sensors.push(record),
            Some(_) => left_out = left_out.saturating_add(1),
            None if matches!(bytes.get(3), Some(1 | 2)) => left_out = left_out.saturating_add(1),
            None => {}
        }
        if after == LAST || after == next {
            break;
        }
        next = after;
    }
    Ok(Some((sensors, left_out)))
}

type Part = Result<Option<(u16, Vec<u8>)>, u8>;

/// One record in parts, and the number of the next. `None` for an answer too short to be one.
fn record(bmc: &mut dyn Ipmi, reservation: u16, number: u16) -> Result<Part, TransportError> {
    let mut bytes = Vec::new();
    let mut next = LAST;
    let mut wanted = RECORD_HEADER_BYTES;
    while bytes.len() < wanted {
        let offset = u8::try_from(bytes.len()).unwrap_or(u8::MAX);
        let count = u8::try_from(wanted - bytes.len()).unwrap_or(u8::MAX).min(PART_BYTES);
        let part = match ask(bmc, &IpmiCommand::sdr(reservation, number, offset, count))? {
            Ok(part) => part,
            Err(code) => return Ok(Err(code)),
        };
        let [low, high, data @ ..] = &part[..] else { return Ok(Ok(None)) };
        if data.is_empty() {
            return Ok(Ok(None));
        }
        next = u16::from_le_bytes([*low, *high]);
        bytes.extend(data.iter().take(usize::from(count)));
        if let Some(length) = bytes.get(4).filter(|_| wanted == RECORD_HEADER_BYTES) {
            // Offsets of one byte reach this far.
            wanted = (RECORD_HEADER_BYTES + usize::from(*length)).min(usize::from(u8::MAX));
        }
    }
    Ok(Ok(Some((next, bytes))))
}

impl Record {
    /// A record of a sensor that the BMC itself owns; `None` for any other.
    fn read(bytes: &[u8]) -> Option<Self> {
        let byte = |at: usize| bytes.get(at).copied();
        let full = match byte(3)? {
            0x01 => true,
            0x02 => false,
            _ => return None,
        };
        // Bits 7:4 of the unit are the channel: 0 is the BMC's own bus. Bit 7 of the capabilities: ignore this sensor.
        if byte(5)? != BMC_ADDRESS || byte(6)? & 0xf0 != 0 {
            return None;
        }
        let name_at = if full { 47 } else { 31 };
        let length = usize::from(byte(name_at)? & 0x1f).min(NAME_BYTES_MAX);
        let coding = byte(name_at)? >> 6;
        let rest = bytes.get(name_at + 1..).unwrap_or_default();
        let name = name(coding, rest.get(..length).unwrap_or(rest));
        let units = byte(20)?;
        let unit = match byte(21)? {
            _ if units & 1 == 1 => Unit::Percent,
            1 => Unit::Celsius,
            4 => Unit::Volts,
            5 => Unit::Amps,
            6 => Unit::Watts,
            18 => Unit::Rpm,
            other => Unit::Other(other),
        };
        let formula = if full && units >> 6 != 3 { Formula::read(units >> 6, bytes.get(23..30)?) } else { None };
        let number = byte(7)?;
        let name = if name.is_empty() { format!("sensor {number}") } else { name };
        Some(Self {
            lun: byte(6)? & 3,
            number,
            entity: (byte(8)?, byte(9)?),
            kind: byte(12)?,
            event_type: byte(13)?,
            unit,
            name,
            formula,
        })
    }

    /// Get Sensor Reading (35.14): the raw value, flags, then thresholds or states.
    fn sensor(&self, answer: Option<&[u8]>) -> Sensor {
        // Bit 6 of the flags: the sensor is scanned; bit 5: it has no reading.
        let state = match answer {
            Some([raw, flags, rest @ ..]) if flags & 0x60 == 0x40 => {
                let (first, second) = (rest.first().copied().unwrap_or(0), rest.get(1).copied().unwrap_or(0));
                let milli = self.formula.and_then(|formula| formula.milli(*raw));
                let condition = if self.event_type == THRESHOLDS {
                    Condition::Thresholds(Crossed::new(first))
                } else {
                    // The uppermost bit is always set and means nothing.
                    Condition::States {
                        event_type: self.event_type,
                        states: u16::from_le_bytes([first, second & 0x7f]),
                    }
                };
                SensorState::Read { milli, condition }
            }
            _ => SensorState::Unavailable,
        };
        Sensor {
            number: (self.lun, self.number),
            entity: self.entity,
            kind: SensorKind::of(self.kind),
            name: self.name.clone(),
            unit: self.unit,
            state,
        }
    }
}

/// A name by its coding (43.15): 3 is Latin-1, 2 six-bit ASCII, others are not told.
fn name(coding: u8, bytes: &[u8]) -> String {
    let printable = |letter: char| if letter.is_control() { ' ' } else { letter };
    let text: String = match coding {
        3 => bytes.iter().map(|byte| printable(char::from(*byte))).collect(),
        2 => {
            let bits = bytes.iter().flat_map(|byte| (0..8).map(move |bit| byte >> bit & 1)).collect::<Vec<u8>>();
            let letters = bits.chunks_exact(6).map(|six| six.iter().rev().fold(0_u8, |sum, bit| sum << 1 | bit));
            letters.map(|letter| char::from(letter + 0x20)).collect()
        }
        _ => String::new(),
    };
    text.trim().to_owned()
}

impl Formula {
    /// From linearization to the exponents: bytes 24 to 30 of a full record.
    fn read(format: u8, bytes: &[u8]) -> Option<Self> {
        let &[linearization, m_low, m_high, b_low, b_high, _, exponents] = bytes else { return None };
        // Ten bits, the upper two in bits 7:6 of the next byte.
        let ten = |low: u8, high: u8| i16::from_be_bytes([high & 0xc0, 0]) >> 6 | i16::from(low);
        let four = |nibble: u8| (nibble << 4).cast_signed() >> 4;
        Some(Self {
            format,
            linearization: linearization & 0x7f,
            m: ten(m_low, m_high),
            b: ten(b_low, b_high),
            b_exponent: four(exponents & 0x0f),
            r_exponent: four(exponents >> 4),
        })
    }

    /// The value in thousandths.
    fn milli(self, raw: u8) -> Option<i64> {
        let x = match self.format {
            0 => f64::from(raw),
            // One's complement has two zeros.
            1 => f64::from(i16::from(raw.cast_signed()) + i16::from(raw >> 7)),
            _ => f64::from(raw.cast_signed()),
        };
        let ten = |exponent: i8| 10_f64.powi(i32::from(exponent));
        let linear = (f64::from(self.m) * x + f64::from(self.b) * ten(self.b_exponent)) * ten(self.r_exponent);
        let value = match self.linearization {
            0 => linear,
            1 => linear.ln(),
            2 => linear.log10(),
            3 => linear.log2(),
            4 => linear.exp(),
            5 => 10_f64.powf(linear),
            6 => linear.exp2(),
            7 => linear.recip(),
            8 => linear.powi(2),
            9 => linear.powi(3),
            10 => linear.sqrt(),
            11 => linear.cbrt().recip(),
            _ => return None,
        };
        let milli = (value * 1000.0).round();
        #[expect(clippy::cast_possible_truncation, reason = "checked to be far inside")]
        (milli.is_finite() && milli.abs() < 1e15).then_some(milli as i64)
    }
}

/// Number of the next entry, number of this one, and the event when a sensor caused it.
fn entry(data: &[u8]) -> Option<(u16, u16, Option<LogEvent>)> {
    let [n0, n1, r0, r1, kind, t0, t1, t2, t3, _, _, _, sensor_kind, sensor, event_type, first, _, _] = *data else {
        return None;
    };
    let record = u16::from_le_bytes([r0, r1]);
    let event = LogEvent {
        record,
        time_s: u32::from_le_bytes([t0, t1, t2, t3]),
        kind: SensorKind::of(sensor_kind),
        sensor,
        event_type: event_type & 0x7f,
        gone: event_type & 0x80 != 0,
        offset: first & 0x0f,
    };
    Some((u16::from_le_bytes([n0, n1]), record, (kind == 0x02).then_some(event)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    /// A BMC that answers by a table, with its records read by the part as real ones do.
    #[derive(Default)]
    struct Table {
        answers: HashMap<(u8, u8, Vec<u8>), Vec<u8>>,
        records: Vec<Vec<u8>>,
        log: Vec<[u8; 16]>,
        cleared: u8,
        changed: u8,
        lose_reservation_after: Option<u32>,
        asked: u32,
        busy: u32,
    }

    impl Table {
        fn answer(&self, command: &IpmiCommand) -> Vec<u8> {
            match (command.netfn(), command.command(), command.data()) {
                (0x06, 0x01, _) => vec![0, 0x20, 0x81, 0x02, 0x81, 0x02, 0x8f, 0x0b, 0, 0, 0x21, 0x43],
                (0x0a, 0x20, _) => {
                    vec![
                        0,
                        0x51,
                        u8::try_from(self.records.len()).unwrap(),
                        0,
                        0,
                        0,
                        self.changed,
                        0,
                        0,
                        0,
                        0,
                        0,
                        0,
                        0,
                        2,
                    ]
                }
                (0x0a, 0x22, _) => vec![0, 0x34, 0x12],
                (0x0a, 0x23, &[0x34, 0x12, n0, n1, offset, count]) => {
                    let index = usize::from(u16::from_le_bytes([n0, n1]));
                    let Some(record) = self.records.get(index) else { return vec![0xcb] };
                    let next = if index + 1 < self.records.len() { u16::try_from(index + 1).unwrap() } else { LAST };
                    let part = record.iter().skip(offset.into()).take(count.into());
                    [0].into_iter().chain(next.to_le_bytes()).chain(part.copied()).collect()
                }
                (0x0a, 0x40, _) => {
                    let length = u8::try_from(self.log.len()).unwrap();
                    vec![0, 0x51, length, 0, 0x10, 0, 0, 0, 0, 0, self.cleared, 0, 0, 0, 2]
                }
                (0x0a, 0x43, &[_, _, n0, n1, ..]) => {
                    let index = match u16::from_le_bytes([n0, n1]) {
                        0 => 0,
                        LAST => self.log.len().wrapping_sub(1),
                        number => usize::from(number) - 1,
                    };
                    let Some(record) = self.log.get(index) else { return vec![0xcb] };
                    let next = if index + 1 < self.log.len() { u16::try_from(index + 2).unwrap() } else { LAST };
                    [0].into_iter().chain(next.to_le_bytes()).chain(*record).collect()
                }
                (netfn, number, data) => {
                    self.answers.get(&(netfn, number, data.to_vec())).cloned().unwrap_or_else(|| vec![0xc1])
                }
            }
        }

        fn sensor(&mut self, number: u8, answer: &[u8]) {
            self.answers.insert((0x04, 0x2d, vec![number]), [&[0], answer].concat());
        }

        fn event(&mut self, sensor: u8, kind: u8, event_type: u8, offset: u8) {
            let number = u16::try_from(self.log.len() + 1).unwrap().to_le_bytes();
            let record =
                [number[0], number[1], 2, 1, 2, 3, 4, 0x20, 0, 4, kind, sensor, event_type, offset, 0xff, 0xff];
            self.log.push(record);
        }
    }

    impl Ipmi for Table {
        fn request(&mut self, command: &IpmiCommand, reply: &mut [u8]) -> Result<usize, TransportError> {
            self.asked += 1;
            let mut answer = self.answer(command);
            if self.busy > 0 {
                self.busy -= 1;
                answer = vec![BUSY];
            }
            if command.command() == 0x23 && self.lose_reservation_after.take_if(|left| *left < self.asked).is_some() {
                answer = vec![RESERVATION_LOST];
            }
            reply[..answer.len()].copy_from_slice(&answer);
            Ok(answer.len())
        }
    }

    /// A full record; `factors` are linearization, M, B and the exponents as they stand in bytes 23 to 29.
    fn full(number: u8, kind: u8, event_type: u8, units: (u8, u8), factors: [u8; 7], name: &str) -> Vec<u8> {
        let mut body =
            vec![0x20, 0, number, 7, 1, 0x7f, 0x68, kind, event_type, 0, 0, 0, 0, 0x3f, 0x3f, units.0, units.1, 0];
        body.extend(factors);
        body.resize(42, 0);
        body.push(0xc0 | u8::try_from(name.len()).unwrap());
        body.extend(name.bytes());
        [vec![number, 0, 0x51, 1, u8::try_from(body.len()).unwrap()], body].concat()
    }

    fn compact(number: u8, kind: u8, event_type: u8, name: &[u8], coding: u8) -> Vec<u8> {
        let mut body = vec![0x20, 0, number, 10, 1, 0x7f, 0x40, kind, event_type];
        body.resize(26, 0);
        body.push(coding << 6 | u8::try_from(name.len()).unwrap());
        body.extend(name);
        [vec![number, 0, 0x51, 2, u8::try_from(body.len()).unwrap()], body].concat()
    }

    const ONE_TO_ONE: [u8; 7] = [0, 1, 0, 0, 0, 0, 0];

    fn server() -> Table {
        let records = vec![
            full(1, 0x01, 0x01, (0, 1), ONE_TO_ONE, "Inlet Temp"),
            full(2, 0x04, 0x01, (0, 18), [0, 100, 0, 0, 0, 0, 0], "FAN1"),
            full(3, 0x02, 0x01, (0, 4), [0, 6, 0, 0, 0, 0, 0xe0], "P12V"),
            compact(4, 0x08, 0x6f, b"PS1 Status", 3),
            // An entity association record, which is no sensor.
            vec![9, 0, 0x51, 8, 2, 1, 1],
            // A sensor behind another controller.
            {
                let mut other = compact(5, 0x01, 0x01, b"far", 3);
                other[5] = 0x2c;
                other
            },
        ];
        let mut bmc = Table { records, ..Table::default() };
        bmc.sensor(1, &[23, 0xc0, 0xc0]);
        bmc.sensor(2, &[30, 0xc0, 0xc2]);
        bmc.sensor(3, &[203, 0xc0, 0xc0]);
        bmc.sensor(4, &[0, 0xc0, 0x09, 0x80]);
        bmc.answers.insert((0, 1, vec![]), vec![0, 0x01, 0, 0x08]);
        let power = [0, 0xdc, 0x9d, 0, 1, 0, 2, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x40];
        bmc.answers.insert((0x2c, 2, vec![0xdc, 1, 0, 0]), power.to_vec());
        bmc
    }

    #[test]
    fn a_server_is_read() {
        let reading = read(&mut server(), &mut Records::default()).unwrap();
        let identity = Identity { manufacturer: 11, product: 0x4321, firmware: (2, 81), version: (2, 0) };
        assert_eq!(reading.identity, identity);
        assert!(
            reading.chassis.is_some_and(|chassis| chassis.power_on && chassis.cooling_fault && !chassis.drive_fault)
        );
        assert_eq!((reading.sensors.len(), reading.sensors_left_out, reading.power_w), (4, 1, Some(157)));
        let thresholds = |milli, bits| SensorState::Read {
            milli: Some(milli),
            condition: Condition::Thresholds(Crossed::new(bits)),
        };
        let states: Vec<SensorState> = reading.sensors.iter().map(|sensor| sensor.state).collect();
        let supply = Condition::States { event_type: 0x6f, states: 0x0009 };
        let supply = SensorState::Read { milli: None, condition: supply };
        assert_eq!(states, [thresholds(23_000, 0), thresholds(3_000_000, 2), thresholds(12_180, 0), supply]);
        assert_eq!(reading.sensors[0].name, "Inlet Temp");
        assert_eq!((reading.sensors[1].unit, reading.sensors[3].kind), (Unit::Rpm, SensorKind::PowerSupply));
        assert!(Crossed::new(2).is_critical() && Crossed::new(2).is_low() && Crossed::new(8).is_warning());
        assert!(!Crossed::new(0xc0).is_warning() && !Crossed::new(0x10).is_low() && Crossed::new(0x09).is_warning());
    }

    #[test]
    fn records_are_walked_once_and_again_when_they_change() {
        let (mut bmc, mut records) = (server(), Records::default());
        read(&mut bmc, &mut records).unwrap();
        let first = std::mem::take(&mut bmc.asked);
        read(&mut bmc, &mut records).unwrap();
        // Identity, chassis, records' info, four sensors, log's info, power.
        assert_eq!((bmc.asked, first > 20), (9, true));
        bmc.changed = 1;
        bmc.records.truncate(2);
        assert_eq!(read(&mut bmc, &mut records).unwrap().sensors.len(), 2);
    }

    #[test]
    fn a_lost_reservation_begins_anew_and_a_busy_controller_is_asked_again() {
        let (mut bmc, mut records) = (server(), Records::default());
        (bmc.lose_reservation_after, bmc.busy) = (Some(9), 2);
        assert_eq!(read(&mut bmc, &mut records).unwrap().sensors.len(), 4);
        assert_eq!(bmc.lose_reservation_after, None);
    }

    #[test]
    fn a_sensor_without_a_reading_is_told_as_such() {
        let mut bmc = server();
        bmc.sensor(1, &[0, 0xe0, 0]);
        bmc.sensor(2, &[0, 0x80, 0]);
        bmc.answers.remove(&(0x04, 0x2d, vec![3]));
        bmc.sensor(4, &[]);
        let reading = read(&mut bmc, &mut Records::default()).unwrap();
        assert!(reading.sensors.iter().all(|sensor| sensor.state == SensorState::Unavailable));
    }

    #[test]
    fn events_since_the_first_reading_are_told() {
        let (mut bmc, mut records) = (server(), Records::default());
        bmc.event(4, 8, 0x6f, 1);
        let mut recent = |bmc: &mut Table| read(bmc, &mut records).unwrap().log.unwrap().recent;
        assert_eq!(recent(&mut bmc), [], "what was there before the first reading is old");
        bmc.event(1, 1, 0x01, 9);
        bmc.event(4, 8, 0xef, 1);
        let news = recent(&mut bmc);
        let numbers: Vec<(u16, u8, bool)> = news.iter().map(|event| (event.record, event.offset, event.gone)).collect();
        assert_eq!(numbers, [(2, 9, false), (3, 1, true)]);
        assert_eq!((news[1].event_type, news[1].time_s, news[1].sensor), (0x6f, 0x0403_0201, 4));
        assert_eq!(recent(&mut bmc), news, "told again, not twice");
        // Cleared, and as many new ones: the same number is another entry.
        bmc.cleared = 7;
        assert_eq!(recent(&mut bmc).len(), 5);
        bmc.log.clear();
        bmc.cleared = 8;
        assert_eq!(recent(&mut bmc).len(), 5);
        for _ in 0..ENTRIES_WALKED_MAX + 9 {
            bmc.event(1, 1, 1, 9);
        }
        let last = recent(&mut bmc);
        let walked = u16::try_from(ENTRIES_WALKED_MAX).unwrap();
        assert_eq!((last.len(), last.last().unwrap().record), (EVENTS_MAX, walked));
    }

    #[test]
    fn formulas_of_the_specification() {
        let milli = |format, factors: [u8; 7], raw| Formula::read(format, &factors).unwrap().milli(raw);
        assert_eq!(milli(0, ONE_TO_ONE, 255), Some(255_000));
        // Two's and one's complement.
        assert_eq!(milli(2, ONE_TO_ONE, 0xfe), Some(-2_000));
        assert_eq!(milli(1, ONE_TO_ONE, 0xfe), Some(-1_000));
        assert_eq!(milli(1, ONE_TO_ONE, 0xff), Some(0));
        // M = -2 in ten bits; B = 5 with exponent 1: (-2·3 + 50)·10^-1.
        assert_eq!(milli(0, [0, 0xfe, 0xc0, 5, 0, 0, 0xf1], 3), Some(4_400));
        // B = -512.
        assert_eq!(milli(0, [0, 0, 0, 0, 0x80, 0, 0], 3), Some(-512_000));
        let by = |linearization| milli(0, [linearization, 1, 0, 0, 0, 0, 0], 8);
        assert_eq!([by(1), by(2), by(3)], [Some(2_079), Some(903), Some(3_000)]);
        assert_eq!([by(4), by(5), by(6)], [Some(2_980_958), Some(100_000_000_000), Some(256_000)]);
        assert_eq!([by(7), by(8), by(9)], [Some(125), Some(64_000), Some(512_000)]);
        assert_eq!([by(10), by(11), by(0x70)], [Some(2_828), Some(500), None]);
        assert_eq!(milli(0, [7, 0, 0, 0, 0, 0, 0], 1), None, "one through nothing");
    }

    #[test]
    fn names_by_their_coding() {
        assert_eq!(name(3, b"Fan 1\0\x07"), "Fan 1");
        // 43.15's own example: "IPMI" is 29h DCh A6h in six bits.
        assert_eq!(name(2, &[0x29, 0xdc, 0xa6]), "IPMI");
        assert_eq!(name(0, b"x"), "");
        let record = Record::read(&compact(200, 1, 1, &[], 3)).unwrap();
        assert_eq!(record.name, "sensor 200");
        let long = Record::read(&compact(1, 1, 1, &[b'n'; 31], 3)).unwrap();
        assert!(long.name.len() <= NAME_BYTES_MAX);
    }

    #[test]
    fn sensors_beyond_the_limit_are_counted() {
        let records = (0..255).map(|number| compact(number, 1, 1, b"t", 3)).collect();
        let mut bmc = Table { records, ..Table::default() };
        let table = |bmc: &mut Table| walk(bmc, 0x1234).unwrap().unwrap();
        assert_eq!(table(&mut bmc).0.len(), 255);
        bmc.records = vec![compact(1, 1, 1, b"t", 3); 300];
        let (sensors, left_out) = table(&mut bmc);
        assert_eq!((sensors.len(), left_out), (SENSORS_MAX, 44));
        bmc.records = vec![compact(1, 1, 1, b"t", 3); RECORDS_MAX + 9];
        assert_eq!(table(&mut bmc).1, u16::try_from(RECORDS_MAX - SENSORS_MAX).unwrap());
    }

    /// Answers with noise.
    struct Noise(Vec<u8>, usize);

    impl Ipmi for Noise {
        fn request(&mut self, _: &IpmiCommand, reply: &mut [u8]) -> Result<usize, TransportError> {
            let length = (usize::from(self.0[self.1 % self.0.len()]) % 40).min(reply.len());
            reply[0] = 0;
            for byte in &mut reply[1..length.max(1)] {
                self.1 += 1;
                *byte = self.0[self.1 % self.0.len()];
            }
            self.1 += 1;
            Ok(length)
        }
    }

    proptest! {
        #[test]
        fn any_answers_are_taken(noise in prop::collection::vec(any::<u8>(), 1..400)) {
            let mut records = Records::default();
            for at in 0..3 {
                drop(read(&mut Noise(noise.clone(), at), &mut records));
            }
        }

        #[test]
        fn any_record_is_read(bytes in prop::collection::vec(any::<u8>(), 0..80), raw in any::<u8>()) {
            if let Some(record) = Record::read(&bytes) {
                drop(record.sensor(Some(&[raw, 0x40, raw])));
            }
        }

        #[test]
        fn a_cut_or_flipped_record_is_taken(cut in 0_usize..60, flip in 0_usize..480) {
            let mut bytes = full(3, 0x02, 0x01, (0, 4), [0, 6, 0, 0, 0, 0, 0xe0], "P12V");
            bytes.truncate(cut);
            if let Some(byte) = bytes.get_mut(flip / 8) {
                *byte ^= 1 << (flip % 8);
            }
            drop(Record::read(&bytes));
        }
    }
}
