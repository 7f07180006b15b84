// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Reads an ATA disk behind a SAT layer: the kernel's own, a USB bridge's or a controller's.
//!
//! CHECK POWER MODE comes first, and nothing else is sent to a disk that may not be read. Device statistics are preferred
//! to attributes, whose units differ from maker to maker.

use crate::ask::{Permit, ReadError, Visit, ask, send};
use crate::ata::{self, Attributes, Identify, LogDirectory, Statistics, Thresholds};
use crate::command::{AtaCommand, GpLog, ScsiCommand, SmartLog};
use crate::reading::{DiskKind, DiskReading, Part, PowerState};
use crate::sense::{AtaRegisters, Sense};
use crate::transport::{STATUS_CHECK_CONDITION, Scsi, ScsiReply, TransportError};

/// Most pages of the self-test log that are read, 19 tests each.
const SELF_TEST_PAGES_MAX: u16 = 4;

/// A bridge that knows ATA PASS-THROUGH(12) alone: what the short form has no room for is refused on its behalf.
pub(crate) struct ShortForm<'a, S: Scsi + ?Sized>(pub(crate) &'a mut S);

impl<S: Scsi + ?Sized> Scsi for ShortForm<'_, S> {
    fn execute(&mut self, command: &ScsiCommand, data: &mut [u8]) -> Result<ScsiReply, TransportError> {
        /// Illegal request, invalid field in CDB (SPC-5, 4.4.3).
        const REFUSED: [u8; 8] = [0x72, 0x05, 0x24, 0, 0, 0, 0, 0];
        match command.in_short_form() {
            Some(command) => self.0.execute(&command, data),
            None => Ok(ScsiReply::new(STATUS_CHECK_CONDITION, &REFUSED, data.len())),
        }
    }
}

/// What an ATA disk is doing. Never wakes it.
pub fn ata_power_state<S: Scsi + ?Sized>(device: &mut S) -> Result<PowerState, TransportError> {
    let registers = registers(device, AtaCommand::check_power_mode())?;
    Ok(registers.filter(|r| !r.refused()).map_or(PowerState::Unknown, |r| ata::power_state(r.count)))
}

/// Reads everything that the rules ask of an ATA disk, if its state is within `permit`.
///
/// # Errors
/// When the device does not answer at all, or not who it is. A log that is missing leaves its fields empty.
pub fn read_ata<S: Scsi + ?Sized>(device: &mut S, permit: Permit) -> Result<Visit, ReadError> {
    let power = ata_power_state(device)?;
    if !permit.allows(power) {
        return Ok(Visit::LeftAlone(power));
    }
    let identify = ask(device, &ScsiCommand::ata(AtaCommand::identify()))?;
    let identify = identify.as_deref().and_then(Identify::decode).ok_or(ReadError::NoIdentity)?;
    let mut reading = DiskReading {
        power,
        kind: if identify.rotation_rpm == Some(0) { DiskKind::AtaSsd } else { DiskKind::AtaHdd },
        size_bytes: identify.size_bytes,
        rotation_rpm: identify.rotation_rpm.filter(|rpm| *rpm > 0),
        identity: identify.identity.clone(),
        ..DiskReading::default()
    };
    if identify.smart {
        let registers = registers(device, AtaCommand::smart_return_status())?;
        reading.failing = registers.filter(|r| !r.refused()).and_then(|r| ata::failing(r.lba_mid, r.lba_high));
        if reading.failing.is_none() && registers.is_some() {
            reading.unusable.push(Part::Status);
        }
        attributes(device, &mut reading)?;
    }
    let directory = if identify.general_logs {
        page(device, GpLog::Directory, 0, 1)?.as_deref().and_then(LogDirectory::decode)
    } else {
        None
    };
    if let Some(directory) = &directory {
        statistics(device, directory, identify.sector_bytes, &mut reading)?;
    }
    errors(device, directory.as_ref(), &identify, &mut reading)?;
    self_tests(device, directory.as_ref(), &identify, &mut reading)?;
    Ok(Visit::Read(Box::new(reading)))
}

fn registers<S: Scsi + ?Sized>(device: &mut S, command: AtaCommand) -> Result<Option<AtaRegisters>, TransportError> {
    let (reply, _) = send(device, &ScsiCommand::ata(command))?;
    Ok(Sense::of(&reply).and_then(|sense| sense.registers))
}

fn page<S: Scsi + ?Sized>(
    device: &mut S,
    log: GpLog,
    first: u16,
    count: u16,
) -> Result<Option<Vec<u8>>, TransportError> {
    ask(device, &ScsiCommand::ata(AtaCommand::read_log_ext(log, first, count)))
}

fn attributes<S: Scsi + ?Sized>(device: &mut S, reading: &mut DiskReading) -> Result<(), TransportError> {
    let Some(bytes) = ask(device, &ScsiCommand::ata(AtaCommand::smart_read_data()))? else { return Ok(()) };
    let Some(attributes) = Attributes::decode(&bytes) else {
        reading.unusable.push(Part::Attributes);
        return Ok(());
    };
    let thresholds = ask(device, &ScsiCommand::ata(AtaCommand::smart_read_thresholds()))?;
    match thresholds.as_deref().map(Thresholds::decode) {
        Some(Some(thresholds)) => reading.failed_attributes = attributes.failed(&thresholds),
        Some(None) => reading.unusable.push(Part::Thresholds),
        None => {}
    }
    let counter = |id: u8| attributes.get(id).and_then(ata::Attribute::counter);
    // The number of places replaced stands above the number of sectors (a Hitachi with 168 sectors at 18 places shows
    // 1179816), and smartctl takes the lowest 16 bits too.
    reading.reallocated = attributes.get(5).map(|attribute| attribute.raw & 0xffff);
    reading.pending = counter(197);
    reading.uncorrectable = counter(198);
    reading.reported_uncorrectable = counter(187);
    reading.spin_retries = counter(10);
    // Three 16-bit counters are packed into 188: all timeouts, those over 5 s, those over 7.5 s.
    reading.command_timeouts = attributes.get(188).map(|attribute| attribute.raw & 0xffff);
    reading.link_errors = counter(199);
    reading.start_stops = counter(4);
    reading.load_cycles = counter(193);
    reading.power_cycles = counter(12);
    reading.power_on_hours = attributes.power_on_hours();
    reading.temperature_c = attributes.temperature_c();
    if reading.kind == DiskKind::AtaSsd {
        reading.wear_used_percent = attributes.wear_used_percent();
    }
    reading.self_tests.running_percent_left = attributes.running_percent_left;
    Ok(())
}

fn statistics<S: Scsi + ?Sized>(
    device: &mut S,
    directory: &LogDirectory,
    sector_bytes: u64,
    reading: &mut DiskReading,
) -> Result<(), TransportError> {
    if directory.pages(GpLog::DeviceStatistics as u8) == 0 {
        return Ok(());
    }
    let pages = page(device, GpLog::DeviceStatistics, 0, 1)?.map(|bytes| Statistics::pages(&bytes)).unwrap_or_default();
    let mut found = Statistics::default();
    for number in Statistics::PAGES.into_iter().filter(|number| pages.contains(number)) {
        let Some(bytes) = page(device, GpLog::DeviceStatistics, u16::from(number), 1)? else { continue };
        if found.take(number, &bytes).is_none() && !reading.unusable.contains(&Part::Statistics) {
            reading.unusable.push(Part::Statistics);
        }
    }
    let prefer = |better: Option<u64>, field: &mut Option<u64>| *field = better.or(*field);
    prefer(found.power_cycles, &mut reading.power_cycles);
    prefer(found.power_on_hours, &mut reading.power_on_hours);
    prefer(found.reallocated, &mut reading.reallocated);
    prefer(found.start_failures, &mut reading.spin_retries);
    prefer(found.reported_uncorrectable, &mut reading.reported_uncorrectable);
    prefer(found.crc_errors, &mut reading.link_errors);
    prefer(found.head_loads, &mut reading.load_cycles);
    let bytes = |sectors: Option<u64>| sectors.and_then(|sectors| sectors.checked_mul(sector_bytes));
    reading.written_bytes = bytes(found.sectors_written);
    reading.read_bytes = bytes(found.sectors_read);
    reading.temperature_c = found.temperature_c.or(reading.temperature_c);
    reading.temperature_limit_c = found.temperature_limit_c;
    reading.wear_used_percent = found.wear_used_percent.or(reading.wear_used_percent);
    Ok(())
}

fn errors<S: Scsi + ?Sized>(
    device: &mut S,
    directory: Option<&LogDirectory>,
    identify: &Identify,
    reading: &mut DiskReading,
) -> Result<(), TransportError> {
    let pages = |log: GpLog| directory.map_or(0, |directory| directory.pages(log as u8));
    let count = if pages(GpLog::ExtendedErrors) > 0 {
        page(device, GpLog::ExtendedErrors, 0, 1)?.map(|bytes| ata::extended_error_count(&bytes))
    } else if identify.smart && identify.error_log {
        let command = AtaCommand::smart_read_log(SmartLog::Errors, 1);
        ask(device, &ScsiCommand::ata(command))?.map(|bytes| ata::summary_error_count(&bytes))
    } else {
        None
    };
    reading.error_log_entries = count.flatten();
    if count == Some(None) {
        reading.unusable.push(Part::ErrorLog);
    }
    if pages(GpLog::PendingDefects) > 0 {
        let defects = page(device, GpLog::PendingDefects, 0, 1)?.and_then(|bytes| ata::pending_defects(&bytes));
        reading.pending = defects.or(reading.pending);
    }
    Ok(())
}

fn self_tests<S: Scsi + ?Sized>(
    device: &mut S,
    directory: Option<&LogDirectory>,
    identify: &Identify,
    reading: &mut DiskReading,
) -> Result<(), TransportError> {
    let hours = reading.power_on_hours;
    let pages = directory.map_or(0, |directory| directory.pages(GpLog::ExtendedSelfTest as u8));
    let tests = if (1..=SELF_TEST_PAGES_MAX).contains(&pages) {
        page(device, GpLog::ExtendedSelfTest, 0, pages)?.map(|bytes| ata::extended_self_test_log(&bytes, hours))
    } else if identify.smart && identify.self_tests {
        let command = AtaCommand::smart_read_log(SmartLog::SelfTest, 1);
        ask(device, &ScsiCommand::ata(command))?.map(|bytes| ata::self_test_log(&bytes, hours))
    } else {
        None
    };
    match tests {
        Some(Some(tests)) => {
            let running_percent_left = reading.self_tests.running_percent_left;
            reading.self_tests = crate::reading::SelfTests { running_percent_left, ..tests };
        }
        Some(None) => reading.unusable.push(Part::SelfTestLog),
        None => {}
    }
    Ok(())
}
