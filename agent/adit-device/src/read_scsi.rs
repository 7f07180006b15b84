// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Reads a SCSI or SAS disk, and tells ATA disks behind a SAT layer from SCSI ones.
//!
//! TEST UNIT READY and REQUEST SENSE come first; neither wakes a disk. INQUIRY does not either: it is answered whatever
//! state the disk is in (SPC-5, 6.6.1).

use crate::ask::{Permit, ReadError, Visit, ask, send};
use crate::command::{DefectList, LogPage, ScsiCommand, VpdPage};
use crate::read_ata::{ShortForm, ata_power_state, read_ata};
use crate::reading::{DiskKind, DiskReading, Identity, Part, PowerState};
use crate::scsi::{self, Inquiry};
use crate::sense::{ILLEGAL_REQUEST, NOT_READY, STOPPED, Sense};
use crate::transport::{STATUS_GOOD, Scsi, TransportError};

/// Room for a vital product data page, bytes. Names and serial numbers take less than 252, which old devices want.
const VPD_BYTES: u16 = 252;
/// Room for ATA information: 572 bytes (SAT-4, 12.4.2).
const ATA_INFORMATION_BYTES: u16 = 572;
/// Room for a small log page, bytes.
const LOG_BYTES: u16 = 1024;
/// Room for the pages that list phys or scan results, bytes.
const LONG_LOG_BYTES: u16 = 16_384;

/// How a disk is attached, as far as it matters for how to ask it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attachment {
    /// A SATA or SAS port, or a controller.
    Direct,
    /// A USB bridge: it seldom says that an ATA disk is behind it, so it is asked.
    Usb,
}

/// Reads a disk that speaks SCSI or hides an ATA disk, if its state is within `permit`.
///
/// # Errors
/// When the device does not answer, is no disk, has no medium, or does not say who it is.
pub fn read_disk<S: Scsi + ?Sized>(device: &mut S, at: Attachment, permit: Permit) -> Result<Visit, ReadError> {
    let inquiry = inquire(device)?;
    match passes_ata(device, &inquiry, at)? {
        Some(Form::Long) => match read_ata(device, permit) {
            // Some claim ATA information and pass no ATA command on, as Linux' scsi_debug does.
            Err(ReadError::NoIdentity) if !inquiry.is_ata() => {}
            other => return other,
        },
        Some(Form::Short) => return read_ata(&mut ShortForm(device), permit),
        None => {}
    }
    read_scsi(device, permit)
}

fn inquire<S: Scsi + ?Sized>(device: &mut S) -> Result<Inquiry, ReadError> {
    let bytes = ask(device, &ScsiCommand::inquiry())?.ok_or(ReadError::NoIdentity)?;
    let inquiry = Inquiry::decode(&bytes).ok_or(ReadError::NoIdentity)?;
    if inquiry.is_disk() { Ok(inquiry) } else { Err(ReadError::NotADisk(inquiry.device_type)) }
}

/// By which command ATA commands are passed on.
enum Form {
    /// ATA PASS-THROUGH(16).
    Long,
    /// ATA PASS-THROUGH(12).
    Short,
}

fn passes_ata<S: Scsi + ?Sized>(
    device: &mut S,
    inquiry: &Inquiry,
    at: Attachment,
) -> Result<Option<Form>, TransportError> {
    if inquiry.is_ata() {
        return Ok(Some(Form::Long));
    }
    let listed = vpd(device, VpdPage::Supported)?.map(|bytes| scsi::vpd_pages(&bytes)).unwrap_or_default();
    if listed.contains(&(VpdPage::AtaInformation as u8)) {
        let page = ask(device, &ScsiCommand::vpd(VpdPage::AtaInformation, ATA_INFORMATION_BYTES))?;
        if page.is_some_and(|page| scsi::has_ata_information(&page)) {
            return Ok(Some(Form::Long));
        }
    }
    match at {
        Attachment::Direct => Ok(None),
        // CHECK POWER MODE wakes nothing, and only a bridge that passes ATA commands answers in registers.
        Attachment::Usb if ata_power_state(device)? != PowerState::Unknown => Ok(Some(Form::Long)),
        // To an optical drive the short form's code means BLANK (MMC-6, 6.2): INQUIRY said that this is a disk.
        Attachment::Usb if ata_power_state(&mut ShortForm(device))? != PowerState::Unknown => Ok(Some(Form::Short)),
        Attachment::Usb => Ok(None),
    }
}

/// What a SCSI disk is doing. Never wakes it.
///
/// # Errors
/// When the device does not answer, or has no medium.
pub fn scsi_power_state<S: Scsi + ?Sized>(device: &mut S) -> Result<PowerState, ReadError> {
    let (reply, _) = send(device, &ScsiCommand::test_unit_ready())?;
    match Sense::of(&reply) {
        Some(Sense { key: NOT_READY, additional: STOPPED, .. }) => return Ok(PowerState::Asleep),
        Some(Sense { key: NOT_READY, additional: (0x3a, _), .. }) => return Err(ReadError::NoMedium),
        Some(_) => return Ok(PowerState::Unknown),
        None if reply.status != STATUS_GOOD => return Ok(PowerState::Unknown),
        None => {}
    }
    let sense = ask(device, &ScsiCommand::request_sense())?.as_deref().and_then(Sense::decode);
    Ok(match sense.map(|sense| sense.additional) {
        // LOW POWER CONDITION ON: idle, idle_b, idle_c by timer or command; standby_z and standby_y (SPC-5, annex F).
        Some((0x5e, 0x01 | 0x03 | 0x05..=0x08 | 0x42)) => PowerState::Idle,
        Some((0x5e, 0x02 | 0x04 | 0x09 | 0x0a | 0x43)) => PowerState::Asleep,
        // It is ready and has no power conditions to tell of.
        _ => PowerState::Active,
    })
}

/// Reads everything that the rules ask of a SCSI disk, if its state is within `permit`.
///
/// # Errors
/// As [`read_disk`].
pub fn read_scsi<S: Scsi + ?Sized>(device: &mut S, permit: Permit) -> Result<Visit, ReadError> {
    let inquiry = inquire(device)?;
    let power = scsi_power_state(device)?;
    if !permit.allows(power) {
        return Ok(Visit::LeftAlone(power));
    }
    let supported = vpd(device, VpdPage::Supported)?.map(|bytes| scsi::vpd_pages(&bytes)).unwrap_or_default();
    // Only pages that are listed: some bridges hang when asked for another.
    let mut page = |page: VpdPage| {
        if supported.contains(&(page as u8)) { vpd(device, page) } else { Ok(None) }
    };
    let serial = page(VpdPage::Serial)?.and_then(|bytes| scsi::serial(&bytes));
    let wwn = page(VpdPage::Identification)?.and_then(|bytes| scsi::wwn(&bytes));
    let rotation_rpm = page(VpdPage::BlockCharacteristics)?.and_then(|bytes| scsi::rotation_rpm(&bytes));
    let model = format!("{} {}", inquiry.vendor, inquiry.product).trim().to_owned();
    let mut reading = DiskReading {
        identity: Identity { model, serial, firmware: inquiry.revision, wwn },
        kind: if rotation_rpm == Some(0) { DiskKind::ScsiSsd } else { DiskKind::ScsiHdd },
        power,
        rotation_rpm: rotation_rpm.filter(|rpm| *rpm > 0),
        ..DiskReading::default()
    };
    let supported = log(device, LogPage::Supported)?.map(|bytes| scsi::supported_pages(&bytes)).unwrap_or_default();
    let mut pages = Pages { device, supported };
    error_pages(&mut pages, &mut reading)?;
    life_pages(&mut pages, &mut reading)?;
    reading.grown_defects = grown_defects(pages.device)?;
    Ok(Visit::Read(Box::new(reading)))
}

fn vpd<S: Scsi + ?Sized>(device: &mut S, page: VpdPage) -> Result<Option<Vec<u8>>, TransportError> {
    ask(device, &ScsiCommand::vpd(page, VPD_BYTES))
}

struct Pages<'d, S: ?Sized> {
    device: &'d mut S,
    supported: Vec<u8>,
}

impl<S: Scsi + ?Sized> Pages<'_, S> {
    /// A page that the device lists.
    fn get(&mut self, page: LogPage) -> Result<Option<Vec<u8>>, TransportError> {
        if self.supported.contains(&(page as u8)) { log(self.device, page) } else { Ok(None) }
    }
}

fn log<S: Scsi + ?Sized>(device: &mut S, page: LogPage) -> Result<Option<Vec<u8>>, TransportError> {
    let bytes = match page {
        LogPage::BackgroundScan | LogPage::ProtocolSpecific => LONG_LOG_BYTES,
        LogPage::Supported
        | LogPage::WriteErrors
        | LogPage::ReadErrors
        | LogPage::VerifyErrors
        | LogPage::Temperature
        | LogPage::StartStop
        | LogPage::SelfTest
        | LogPage::SolidState
        | LogPage::InformationalExceptions => LOG_BYTES,
    };
    ask(device, &ScsiCommand::log_sense(page, bytes))
}

fn error_pages<S: Scsi + ?Sized>(pages: &mut Pages<'_, S>, reading: &mut DiskReading) -> Result<(), TransportError> {
    for page in [LogPage::WriteErrors, LogPage::ReadErrors, LogPage::VerifyErrors] {
        let Some(bytes) = pages.get(page)? else { continue };
        if let Some(count) = scsi::uncorrected(&bytes, page as u8) {
            let sum = reading.uncorrected_errors.unwrap_or(0).saturating_add(count);
            reading.uncorrected_errors = Some(sum);
        }
        if page == LogPage::WriteErrors {
            reading.written_bytes = scsi::processed_bytes(&bytes, page as u8);
        } else if page == LogPage::ReadErrors {
            reading.read_bytes = scsi::processed_bytes(&bytes, page as u8);
        }
    }
    if let Some(bytes) = pages.get(LogPage::ProtocolSpecific)? {
        reading.link_errors = scsi::phy_errors(&bytes);
    }
    if let Some(bytes) = pages.get(LogPage::InformationalExceptions)? {
        match scsi::exception(&bytes) {
            Some((exception, degrees)) => {
                reading.failing = Some(exception.0 == 0x5d);
                reading.exception = Some(exception).filter(|exception| *exception != (0, 0));
                reading.temperature_c = degrees;
            }
            None => reading.unusable.push(Part::LogPage),
        }
    }
    Ok(())
}

fn life_pages<S: Scsi + ?Sized>(pages: &mut Pages<'_, S>, reading: &mut DiskReading) -> Result<(), TransportError> {
    if let Some(bytes) = pages.get(LogPage::Temperature)? {
        let (now, limit) = scsi::temperature(&bytes);
        reading.temperature_c = now.or(reading.temperature_c);
        reading.temperature_limit_c = limit;
    }
    if let Some(bytes) = pages.get(LogPage::StartStop)? {
        (reading.start_stops, reading.load_cycles) = scsi::start_stop(&bytes);
    }
    if let Some(bytes) = pages.get(LogPage::SolidState)? {
        reading.wear_used_percent = scsi::wear_used_percent(&bytes);
    }
    if let Some(bytes) = pages.get(LogPage::BackgroundScan)? {
        match scsi::background_scan(&bytes) {
            Some((minutes, defects)) => {
                reading.power_on_hours = minutes.map(|minutes| minutes / 60);
                reading.scan_defects = Some(defects);
            }
            None => reading.unusable.push(Part::LogPage),
        }
    }
    if let Some(bytes) = pages.get(LogPage::SelfTest)? {
        match scsi::self_tests(&bytes, reading.power_on_hours) {
            Some(tests) => reading.self_tests = tests,
            None => reading.unusable.push(Part::SelfTestLog),
        }
    }
    Ok(())
}

fn grown_defects<S: Scsi + ?Sized>(device: &mut S) -> Result<Option<u64>, TransportError> {
    let (reply, bytes) = send(device, &ScsiCommand::grown_defects(DefectList::Twelve))?;
    // A drive that knows only the ten-byte form says illegal request.
    if Sense::of(&reply).is_some_and(|sense| sense.key == ILLEGAL_REQUEST) {
        let bytes = ask(device, &ScsiCommand::grown_defects(DefectList::Ten))?;
        return Ok(bytes.and_then(|bytes| scsi::grown_defects(&bytes, 4)));
    }
    Ok(scsi::grown_defects(&bytes, 8))
}
