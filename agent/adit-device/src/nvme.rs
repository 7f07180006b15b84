// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The structures of an NVMe controller (NVMe base specification 2.0), and the reader that asks for them. A controller
//! answers these from its own memory; there is nothing to wake.

use crate::ask::ReadError;
use crate::command::NvmeCommand;
use crate::fields::{le16, le32, le64, le128, text, u8_at};
use crate::reading::{DiskKind, DiskReading, Identity, Part, PowerState, SelfTestOutcome, SelfTests, plausible_serial};
use crate::transport::{Nvme, TransportError};

/// A data unit is a thousand blocks of 512 bytes (5.16.1.3).
const DATA_UNIT_BYTES: u64 = 512_000;
/// 0 °C in the whole kelvins that the health log counts.
const ZERO_CELSIUS_K: i32 = 273;

/// What Identify Controller says (5.17.2.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Controller {
    /// Who it is.
    pub identity: Identity,
    /// Size of the NVM, bytes, bytes 280 to 295.
    pub size_bytes: Option<u64>,
    /// Warning composite temperature threshold, °C, bytes 266 to 267.
    pub temperature_warning_c: Option<i16>,
    /// Critical composite temperature threshold, °C, bytes 268 to 269.
    pub temperature_limit_c: Option<i16>,
    /// It has self-tests: optional admin command support, bit 4.
    pub self_tests: bool,
}

impl Controller {
    /// Reads the 4096 bytes.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        if bytes.len() != 4096 || bytes.iter().all(|byte| *byte == bytes[0]) {
            return None;
        }
        let globally_unique = &bytes[112..128];
        Some(Self {
            identity: Identity {
                model: text(bytes, 24, 40)?,
                serial: text(bytes, 4, 20).and_then(plausible_serial),
                firmware: text(bytes, 64, 8)?,
                // The FRU's identifier, bytes 112 to 127, little-endian as a whole.
                wwn: crate::reading::plausible_wwn(&globally_unique.iter().rev().copied().collect::<Vec<_>>()),
            },
            size_bytes: le128(bytes, 280).filter(|size| *size > 0),
            temperature_warning_c: celsius(le16(bytes, 266)?),
            temperature_limit_c: celsius(le16(bytes, 268)?),
            self_tests: le16(bytes, 256)? & (1 << 4) != 0,
        })
    }
}

/// The SMART / health information log, 02h (5.16.1.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Health {
    /// Byte 0.
    pub critical_warning: u8,
    /// Bytes 1 to 2, °C.
    pub temperature_c: Option<i16>,
    /// Byte 3, per cent.
    pub spare_percent: u8,
    /// Byte 4, per cent.
    pub spare_threshold_percent: u8,
    /// Byte 5, per cent, up to 255.
    pub wear_used_percent: u8,
    /// Bytes 32 to 47, bytes.
    pub read_bytes: u64,
    /// Bytes 48 to 63, bytes.
    pub written_bytes: u64,
    /// Bytes 112 to 127.
    pub power_cycles: u64,
    /// Bytes 128 to 143.
    pub power_on_hours: u64,
    /// Bytes 144 to 159.
    pub unsafe_shutdowns: u64,
    /// Bytes 160 to 175.
    pub media_errors: u64,
    /// Bytes 176 to 191.
    pub error_log_entries: u64,
    /// Bytes 192 to 195, minutes above the warning threshold.
    pub warning_minutes: u32,
    /// Bytes 196 to 199, minutes above the critical threshold.
    pub critical_minutes: u32,
}

impl Health {
    /// Reads the 512 bytes. The log has no checksum; one that is the same byte all over is none.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        if bytes.len() != 512 || bytes.iter().all(|byte| *byte == bytes[0]) {
            return None;
        }
        Some(Self {
            critical_warning: u8_at(bytes, 0)?,
            temperature_c: celsius(le16(bytes, 1)?),
            spare_percent: u8_at(bytes, 3)?,
            spare_threshold_percent: u8_at(bytes, 4)?,
            wear_used_percent: u8_at(bytes, 5)?,
            read_bytes: le128(bytes, 32)?.saturating_mul(DATA_UNIT_BYTES),
            written_bytes: le128(bytes, 48)?.saturating_mul(DATA_UNIT_BYTES),
            power_cycles: le128(bytes, 112)?,
            power_on_hours: le128(bytes, 128)?,
            unsafe_shutdowns: le128(bytes, 144)?,
            media_errors: le128(bytes, 160)?,
            error_log_entries: le128(bytes, 176)?,
            warning_minutes: le32(bytes, 192)?,
            critical_minutes: le32(bytes, 196)?,
        })
    }
}

/// Whole kelvins as °C; 0 K is "not told".
fn celsius(kelvins: u16) -> Option<i16> {
    (kelvins != 0).then(|| i16::try_from(i32::from(kelvins) - ZERO_CELSIUS_K).ok())?
}

/// Reads the device self-test log, 06h (5.16.1.7): 20 entries of 28 bytes, the newest first.
#[must_use]
pub fn self_test_log(bytes: &[u8], power_on_hours: u64) -> Option<SelfTests> {
    if bytes.len() != 564 {
        return None;
    }
    let mut tests = SelfTests::default();
    if bytes[0] & 0x0f != 0 {
        tests.running_percent_left = Some(100 - (bytes[1] & 0x7f).min(100));
    }
    let mut extended_passed = false;
    for entry in bytes[4..].chunks_exact(28) {
        let outcome = match entry[0] & 0x0f {
            0x0 => SelfTestOutcome::Passed,
            0x1..=0x4 | 0x8 | 0x9 => SelfTestOutcome::Aborted,
            0x5..=0x7 => SelfTestOutcome::Failed,
            0xf => continue,
            _ => SelfTestOutcome::Unclear,
        };
        // An all-zero entry would be a passed test of no kind: controllers that never tested leave such entries.
        let kind = entry[0] >> 4;
        if kind == 0 {
            continue;
        }
        let hours = le64(entry, 4)?;
        if tests.newest.is_none() {
            tests.newest = Some(outcome);
            tests.newest_age_hours = Some(power_on_hours.saturating_sub(hours));
        }
        extended_passed |= outcome == SelfTestOutcome::Passed && kind == 2;
        if outcome == SelfTestOutcome::Failed && !extended_passed && tests.failed_at_hours.is_none() {
            tests.failed_at_hours = Some(hours);
            // Valid diagnostic information, bit 1: the failing LBA is meant.
            tests.failed_lba = (entry[2] & 0b10 != 0).then(|| le64(entry, 16)).flatten();
        }
    }
    Some(tests)
}

/// Reads everything that the rules ask of an NVMe controller.
///
/// # Errors
/// When the controller does not answer, or not who it is.
pub fn read_nvme<N: Nvme + ?Sized>(device: &mut N) -> Result<DiskReading, ReadError> {
    let controller = ask(device, &NvmeCommand::identify_controller())?;
    let controller = controller.as_deref().and_then(Controller::decode).ok_or(ReadError::NoIdentity)?;
    let mut reading = DiskReading {
        identity: controller.identity,
        kind: DiskKind::Nvme,
        power: PowerState::Active,
        size_bytes: controller.size_bytes,
        temperature_warning_c: controller.temperature_warning_c,
        temperature_limit_c: controller.temperature_limit_c,
        ..DiskReading::default()
    };
    let Some(bytes) = ask(device, &NvmeCommand::health_log())? else { return Ok(reading) };
    let Some(health) = Health::decode(&bytes) else {
        reading.unusable.push(Part::Health);
        return Ok(reading);
    };
    reading.critical_warning = Some(health.critical_warning);
    reading.temperature_c = health.temperature_c;
    reading.spare_percent = Some(health.spare_percent);
    reading.spare_threshold_percent = Some(health.spare_threshold_percent);
    reading.wear_used_percent = Some(health.wear_used_percent);
    reading.read_bytes = Some(health.read_bytes);
    reading.written_bytes = Some(health.written_bytes);
    reading.power_cycles = Some(health.power_cycles);
    reading.power_on_hours = Some(health.power_on_hours);
    reading.unsafe_shutdowns = Some(health.unsafe_shutdowns);
    reading.media_errors = Some(health.media_errors);
    reading.error_log_entries = Some(health.error_log_entries);
    if controller.self_tests
        && let Some(bytes) = ask(device, &NvmeCommand::self_test_log())?
    {
        match self_test_log(&bytes, health.power_on_hours) {
            Some(tests) => reading.self_tests = tests,
            None => reading.unusable.push(Part::SelfTestLog),
        }
    }
    Ok(reading)
}

/// The data of an answer; `None` when the controller refused.
fn ask<N: Nvme + ?Sized>(device: &mut N, command: &NvmeCommand) -> Result<Option<Vec<u8>>, TransportError> {
    let mut data = vec![0; command.data_bytes()];
    match device.admin(command, &mut data) {
        Ok(reply) => Ok((reply.status == 0).then_some(data)),
        Err(TransportError::NotSupported | TransportError::Io(_)) => Ok(None),
        Err(error @ (TransportError::NeedsCapability(_) | TransportError::TimedOut | TransportError::Gone)) => {
            Err(error)
        }
    }
}
