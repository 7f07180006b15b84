// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What an HP Smart Array controller says: its logical drives (VPD page C3h) and its physical ones (REPORT PHYSICAL LUNS,
//! BMIC identify), by the structures of Linux' drivers/scsi/hpsa_cmd.h.
//!
//! What a disk says of itself behind the controller is read by the same decoders as any other disk's, through
//! [`crate::transport::CcissDisk`]. No such controller was at hand: unproven on hardware.

pub mod cache;

use crate::command::{BmicRead, LunAddress, ScsiCommand, VpdPage};
use crate::transport::{Cciss, STATUS_CHECK_CONDITION, STATUS_GOOD, TransportError};
use serde::{Deserialize, Serialize};

/// Most drives of a controller that are read (hpsa_cmd.h: 1024 are addressed; a P420i has 64).
pub const DRIVES_MAX: usize = 128;
/// Bytes of a REPORT LUNS header; then 8 a LUN.
const REPORT_HEADER_BYTES: usize = 8;
const LUN_BYTES: usize = 8;
#[expect(clippy::cast_possible_truncation, reason = "below 2 KiB")]
const REPORT_BYTES: u16 = (REPORT_HEADER_BYTES + LUN_BYTES * DRIVES_MAX) as u16;
/// Bytes of struct bmic_identify_controller that are asked for.
const CONTROLLER_BYTES: u16 = 512;
/// Bytes of struct bmic_identify_physical_device, which is aligned to 512.
const PHYSICAL_BYTES: u16 = 2560;
/// Bytes of a VPD page that are asked for.
const PAGE_BYTES: u16 = 64;
/// Sense key of fixed format sense (SPC-5, 4.4.8).
const UNIT_ATTENTION: u8 = 6;

/// Bytes of struct bmic_sense_subsystem_info.
const SUBSYSTEM_BYTES: u16 = 512;
/// Bytes of struct bmic_cache_configuration.
const CACHE_BYTES: u16 = 512;
/// RAID levels by their number in VPD page C1h (Linux hpsa.c, raid_label).
const RAID_LEVELS: [&str; 7] = ["0", "4", "1(+0)", "5", "5+1", "6", "1(+0)ADM"];

/// A controller with its drives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ControllerReading {
    /// What its driver calls it, e.g. `P420i`; from /sys.
    pub model: String,
    /// Firmware, e.g. `8.32`; empty when it was not told.
    pub firmware: String,
    /// Serial number; empty when it was not told.
    pub serial: String,
    /// Logical drives that are configured; `None` when it was not told.
    pub configured: Option<u8>,
    /// Logical drives, at most [`DRIVES_MAX`].
    pub logical: Vec<LogicalDrive>,
    /// Physical drives, at most [`DRIVES_MAX`].
    pub physical: Vec<PhysicalDrive>,
    /// Drives that are listed and did not answer.
    pub silent: u16,
    /// The write cache; `None` when it was not told, as in HBA mode.
    pub cache: Option<cache::CacheReading>,
}

/// State of a logical drive: the byte of VPD page C3h (hpsa_cmd.h, HPSA_LV_…).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LogicalState {
    /// 00h.
    Ok,
    /// 01h: its data is out of reach.
    Failed,
    /// 03h: runs without a drive that failed. This one and those to 0Ah are not in hpsa_cmd.h; they are the states that
    /// cciss_vol_status(8) tells.
    InterimRecovery,
    /// 04h, 05h: is, or waits to be, rebuilt.
    Recovering,
    /// 06h, 07h: a wrong drive was replaced, or one is not properly connected.
    WrongDrive,
    /// 08h: too warm.
    Overheating,
    /// 09h: was switched off for heat.
    Overheated,
    /// 0Ah, 0Ch: is, or waits to be, expanded.
    Expanding,
    /// 0Bh: not available.
    NotAvailable,
    /// 0Fh: is being erased.
    Erasing,
    /// 12h, 13h: parity is, or waits to be, initialised.
    Initialising,
    /// 14h, 15h, 18h: a key or the encryption setting keeps it closed.
    Locked,
    /// 16h, 17h, 19h, 1Ah: is being encrypted or waits for it.
    Encrypting,
    /// FFh: the firmware has no such page.
    Unsupported,
    /// Any other byte.
    Unlisted(u8),
}

/// A logical drive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogicalDrive {
    /// Where it answers.
    pub lun: [u8; 8],
    /// Unique id in hexadecimal, as the kernel's `unique_id`; stable. Empty when it was not told.
    pub id: String,
    /// e.g. `1(+0)`; empty when it was not told.
    pub raid_level: String,
    /// Its state; `None` when it was not told.
    pub state: Option<LogicalState>,
}

/// A physical drive as the controller sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PhysicalDrive {
    /// Where it answers.
    pub lun: [u8; 8],
    /// Model.
    pub model: String,
    /// Serial number.
    pub serial: String,
    /// Firmware.
    pub firmware: String,
    /// Connector, e.g. `1I`.
    pub port: String,
    /// Enclosure.
    pub enclosure: u8,
    /// Bay in the enclosure.
    pub bay: u8,
    /// Why the controller gave it up last (BMIC_LAST_FAILURE_…); 0 is never.
    pub last_failure: u8,
    /// Degrees Celsius; `None` when it tells none.
    pub temperature_c: Option<u8>,
    /// Limit in degrees Celsius; `None` when it tells none.
    pub temperature_limit_c: Option<u8>,
    /// Life used of a solid-state drive, per cent; `None` for others.
    pub wear_percent: Option<u8>,
    /// Paths that failed, one bit each.
    pub failed_paths: u8,
}

impl PhysicalDrive {
    /// Where it is, as it stands on the box: port, box and bay.
    #[must_use]
    pub fn location(&self) -> String {
        format!("{}:{}:{}", self.port, self.enclosure, self.bay)
    }
}

/// Asks a controller for all of it. `model` stands in /sys.
///
/// # Errors
/// When it does not even list its physical drives; what else it leaves out is empty or `None` in the reading.
pub fn read(controller: &mut dyn Cciss, model: &str) -> Result<ControllerReading, TransportError> {
    let mut silent = 0_u16;
    let physical = physical_drives(controller, &mut silent)?;
    let logical = logical_drives(controller)?;
    let identity = ScsiCommand::bmic_read(BmicRead::IdentifyController, 0, CONTROLLER_BYTES);
    let identity = ask(controller, LunAddress::CONTROLLER, &identity).unwrap_or_default();
    let subsystem = ScsiCommand::bmic_read(BmicRead::SenseSubsystemInformation, 0, SUBSYSTEM_BYTES);
    let subsystem = ask(controller, LunAddress::CONTROLLER, &subsystem).unwrap_or_default();
    let cache = ScsiCommand::bmic_read(BmicRead::SenseCacheConfiguration, 0, CACHE_BYTES);
    let cache = ask(controller, LunAddress::CONTROLLER, &cache).ok();
    Ok(ControllerReading {
        model: model.to_owned(),
        // struct bmic_identify_controller of smartpqi.h: count, signature of 4 bytes, firmware of 4.
        firmware: text(identity.get(5..9).unwrap_or_default()),
        // primary_array_serial_number.
        serial: text(subsystem.get(44..76).unwrap_or_default()),
        configured: identity.first().copied(),
        logical,
        physical,
        silent,
        cache: cache.as_deref().and_then(cache::decode),
    })
}

fn logical_drives(controller: &mut dyn Cciss) -> Result<Vec<LogicalDrive>, TransportError> {
    let report = ask(controller, LunAddress::CONTROLLER, &ScsiCommand::report_logical_luns(REPORT_BYTES))?;
    let mut page = |lun, page: VpdPage| {
        let data = ask(controller, LunAddress(lun), &ScsiCommand::vpd(page, PAGE_BYTES)).ok()?;
        // Byte 1 names the page, bytes 2 and 3 its length.
        (data.get(1) == Some(&(page as u8)) && data.get(3).is_some_and(|length| *length > 0)).then_some(data)
    };
    let drives = luns(&report).map(|lun| {
        let state = page(lun, VpdPage::SmartArrayState).and_then(|data| data.get(4).copied());
        let level = page(lun, VpdPage::SmartArrayDevices).and_then(|data| data.get(8).copied());
        let id = page(lun, VpdPage::Identification);
        let id = id.as_deref().and_then(|data| data.get(8..24)).unwrap_or_default();
        LogicalDrive {
            lun,
            id: id.iter().map(|byte| format!("{byte:02X}")).collect(),
            raid_level: level.and_then(|level| RAID_LEVELS.get(usize::from(level))).map_or("", |name| name).to_owned(),
            state: state.map(decode_state),
        }
    });
    Ok(drives.collect())
}

fn decode_state(byte: u8) -> LogicalState {
    match byte {
        0x00 => LogicalState::Ok,
        0x01 => LogicalState::Failed,
        0x03 => LogicalState::InterimRecovery,
        0x04 | 0x05 => LogicalState::Recovering,
        0x06 | 0x07 => LogicalState::WrongDrive,
        0x08 => LogicalState::Overheating,
        0x09 => LogicalState::Overheated,
        0x0a | 0x0c => LogicalState::Expanding,
        0x0b => LogicalState::NotAvailable,
        0x0f => LogicalState::Erasing,
        0x12 | 0x13 => LogicalState::Initialising,
        0x14 | 0x15 | 0x18 => LogicalState::Locked,
        0x16 | 0x17 | 0x19 | 0x1a => LogicalState::Encrypting,
        0xff => LogicalState::Unsupported,
        other => LogicalState::Unlisted(other),
    }
}

fn physical_drives(controller: &mut dyn Cciss, silent: &mut u16) -> Result<Vec<PhysicalDrive>, TransportError> {
    let report = ask(controller, LunAddress::CONTROLLER, &ScsiCommand::report_physical_luns(REPORT_BYTES))?;
    let mut drives = Vec::new();
    for (lun, index) in luns(&report).filter_map(|lun| Some((lun, bmic_number(lun)?))) {
        let command = ScsiCommand::bmic_read(BmicRead::IdentifyPhysicalDevice, index, PHYSICAL_BYTES);
        let answer = ask(controller, LunAddress::CONTROLLER, &command);
        match answer.ok().and_then(|data| decode_physical(lun, &data)) {
            Some(drive) => drives.push(drive),
            None => *silent = silent.saturating_add(1),
        }
    }
    Ok(drives)
}

fn ask(controller: &mut dyn Cciss, lun: LunAddress, command: &ScsiCommand) -> Result<Vec<u8>, TransportError> {
    let mut data = vec![0; command.data_bytes()];
    let mut reply = controller.execute_at(lun, command, &mut data)?;
    if reply.status == STATUS_CHECK_CONDITION && reply.sense().get(2).is_some_and(|key| key & 0x0f == UNIT_ATTENTION) {
        // The first command after a change is refused with word of the change.
        reply = controller.execute_at(lun, command, &mut data)?;
    }
    if reply.status != STATUS_GOOD {
        return Err(TransportError::NotSupported);
    }
    data.truncate(data.len().saturating_sub(reply.residual));
    Ok(data)
}

/// The addresses of a REPORT LUNS answer: its length in bytes, big-endian, stands first.
fn luns(report: &[u8]) -> impl Iterator<Item = [u8; LUN_BYTES]> + '_ {
    let length = report.first_chunk::<4>().map_or(0, |bytes| u32::from_be_bytes(*bytes));
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    let list = report.get(REPORT_HEADER_BYTES..).unwrap_or_default();
    list.chunks_exact(LUN_BYTES).take((length / LUN_BYTES).min(DRIVES_MAX)).filter_map(|lun| lun.try_into().ok())
}

/// Number of a drive in BMIC commands (GET_BMIC_DRIVE_NUMBER); `None` for a masked address, which is an enclosure or the
/// controller itself.
fn bmic_number(lun: [u8; LUN_BYTES]) -> Option<u16> {
    let [_, _, _, mode, _, _, target, bus] = lun;
    // MASKED_DEVICE: bits 7 and 6 of byte 3.
    let bus = u16::from(bus & 0x3f).checked_sub(1).filter(|_| mode & 0xc0 == 0)?;
    Some(bus << 8 | u16::from(target))
}

/// Reads struct bmic_identify_physical_device; the numbers are offsets of its packed fields.
fn decode_physical(lun: [u8; LUN_BYTES], data: &[u8]) -> Option<PhysicalDrive> {
    let byte = |at: usize| data.get(at).copied();
    let string = |at: usize, length: usize| data.get(at..at + length).map(text);
    let known = |degrees: Option<u8>| degrees.filter(|degrees| *degrees != 0 && *degrees != 0xff);
    let wear = match (byte(1860), byte(1861)) {
        (Some(low), Some(high)) => u16::from_le_bytes([low, high]),
        _ => 0,
    };
    // Hundredths of a per cent, and only where the drive has a gas gauge (extra_physical_drive_flags, bit 10).
    let gauge = byte(1223).is_some_and(|flags| flags & 0x04 != 0);
    let wear_percent = gauge.then(|| u8::try_from(wear / 100).unwrap_or(u8::MAX));
    Some(PhysicalDrive {
        lun,
        model: string(12, 40)?,
        serial: string(52, 40)?,
        firmware: string(92, 8)?,
        last_failure: byte(102)?,
        port: string(112, 2)?,
        enclosure: byte(114)?,
        bay: byte(115)?,
        failed_paths: byte(1737).unwrap_or(0),
        temperature_c: known(byte(1792)),
        temperature_limit_c: known(byte(1793)),
        wear_percent,
    })
}

/// Printable ASCII of a padded field.
fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    let printable = bytes[..end].iter().map(|byte| if byte.is_ascii_graphic() { char::from(*byte) } else { ' ' });
    printable.collect::<String>().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::ScsiReply;
    use proptest::prelude::*;
    use std::collections::HashMap;

    /// Answers by address and first bytes of the command.
    #[derive(Default)]
    struct Box420 {
        answers: HashMap<([u8; 8], Vec<u8>), Vec<u8>>,
        attention: bool,
    }

    impl Box420 {
        fn answer(&mut self, lun: [u8; 8], command: &ScsiCommand, data: Vec<u8>) {
            self.answers.insert((lun, command.cdb().to_vec()), data);
        }
    }

    impl Cciss for Box420 {
        fn execute_at(
            &mut self,
            lun: LunAddress,
            command: &ScsiCommand,
            data: &mut [u8],
        ) -> Result<ScsiReply, TransportError> {
            if std::mem::take(&mut self.attention) {
                let sense = [0x70, 0, 6, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0x29, 0];
                return Ok(ScsiReply::new(STATUS_CHECK_CONDITION, &sense, data.len()));
            }
            let Some(answer) = self.answers.get(&(lun.0, command.cdb().to_vec())) else {
                let sense = [0x70, 0, 5, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0x24, 0];
                return Ok(ScsiReply::new(STATUS_CHECK_CONDITION, &sense, data.len()));
            };
            let length = answer.len().min(data.len());
            data[..length].copy_from_slice(&answer[..length]);
            Ok(ScsiReply::new(STATUS_GOOD, &[], data.len() - length))
        }
    }

    fn report(luns: &[[u8; 8]]) -> Vec<u8> {
        let length = u32::try_from(luns.len() * 8).unwrap().to_be_bytes();
        [&length[..], &[0; 4], &luns.concat()].concat()
    }

    fn drive(bay: u8, temperature: u8, failure: u8) -> Vec<u8> {
        let mut data = vec![0; usize::from(PHYSICAL_BYTES)];
        let mut put = |at: usize, bytes: &[u8]| data[at..at + bytes.len()].copy_from_slice(bytes);
        put(12, b"HP      EG0600FBDSR   ");
        put(52, b"EA01PC91LTK51234    ");
        put(92, b"HPD3    ");
        put(102, &[failure]);
        put(112, b"1I");
        put(114, &[1, bay]);
        put(1223, &[0x04]);
        put(1737, &[0x02]);
        put(1792, &[temperature, 60]);
        put(1860, &1234_u16.to_le_bytes());
        data
    }

    const FIRST: [u8; 8] = [0, 0, 0, 0, 0, 0, 2, 1];
    const SECOND: [u8; 8] = [0, 0, 0, 0, 0, 0, 3, 2];
    const ENCLOSURE: [u8; 8] = [0, 0, 0, 0xc0, 0, 0, 9, 1];
    const VOLUME: [u8; 8] = [0, 0, 0, 0x40, 0, 0, 0, 0];

    fn controller(state: u8) -> Box420 {
        let mut controller = Box420::default();
        let own = LunAddress::CONTROLLER.0;
        controller.answer(own, &ScsiCommand::report_physical_luns(REPORT_BYTES), report(&[FIRST, SECOND, ENCLOSURE]));
        controller.answer(own, &ScsiCommand::report_logical_luns(REPORT_BYTES), report(&[VOLUME]));
        let identify = |index| ScsiCommand::bmic_read(BmicRead::IdentifyPhysicalDevice, index, PHYSICAL_BYTES);
        controller.answer(own, &identify(0x0002), drive(1, 34, 0));
        controller.answer(own, &identify(0x0103), drive(2, 0xff, 0x37));
        let mut identity = vec![0; 512];
        identity[..9].copy_from_slice(&[1, 9, 9, 9, 9, b'8', b'.', b'3', b'2']);
        controller.answer(own, &ScsiCommand::bmic_read(BmicRead::IdentifyController, 0, CONTROLLER_BYTES), identity);
        let mut subsystem = vec![0; 512];
        subsystem[44..60].copy_from_slice(b"5001438024A1B2C0");
        let ask = ScsiCommand::bmic_read(BmicRead::SenseSubsystemInformation, 0, SUBSYSTEM_BYTES);
        controller.answer(own, &ask, subsystem);
        let mut cache = vec![0; 512];
        cache[32..40].copy_from_slice(&[1, 0, 1, 0, 0, 0, 0, 4]);
        let ask = ScsiCommand::bmic_read(BmicRead::SenseCacheConfiguration, 0, CACHE_BYTES);
        assert_eq!(ask.cdb(), [0x26, 0, 0, 0, 0, 0, 0xc1, 2, 0, 0]);
        controller.answer(own, &ask, cache);
        let page = |page| ScsiCommand::vpd(page, PAGE_BYTES);
        controller.answer(VOLUME, &page(VpdPage::SmartArrayState), vec![0, 0xc3, 0, 2, state, 0]);
        controller.answer(VOLUME, &page(VpdPage::SmartArrayDevices), vec![0, 0xc1, 0, 60, 0, 0, 0, 0, 2]);
        let id: Vec<u8> = [0, 0x83, 0, 20, 1, 3, 0, 16].into_iter().chain(0x60..0x70).collect();
        controller.answer(VOLUME, &page(VpdPage::Identification), id);
        controller
    }

    #[test]
    fn a_controller_with_its_drives() {
        let reading = read(&mut Box420 { attention: true, ..controller(0x00) }, "P420i").unwrap();
        assert_eq!((reading.firmware.as_str(), reading.serial.as_str()), ("8.32", "5001438024A1B2C0"));
        assert_eq!((reading.configured, reading.silent, reading.physical.len()), (Some(1), 0, 2));
        let [first, second] = &reading.physical[..] else { panic!("two drives") };
        assert_eq!(first.location(), "1I:1:1");
        assert_eq!((first.model.as_str(), first.serial.as_str()), ("HP      EG0600FBDSR", "EA01PC91LTK51234"));
        assert_eq!(
            (first.temperature_c, first.temperature_limit_c, first.wear_percent),
            (Some(34), Some(60), Some(12))
        );
        assert_eq!((second.bay, second.last_failure, second.temperature_c), (2, 0x37, None));
        let cache = reading.cache.expect("told");
        assert_eq!((cache.memory_mib, cache.writes, cache.has_capacitor), (1024, cache::Writes::On, true));
        let volume = &reading.logical[0];
        assert_eq!((volume.raid_level.as_str(), volume.state), ("1(+0)", Some(LogicalState::Ok)));
        assert_eq!(volume.id, "606162636465666768696A6B6C6D6E6F");
    }

    #[test]
    fn states_are_those_of_the_drivers_header() {
        let states = [
            (0x01, LogicalState::Failed),
            (0x03, LogicalState::InterimRecovery),
            (0x05, LogicalState::Recovering),
            (0x07, LogicalState::WrongDrive),
            (0x08, LogicalState::Overheating),
            (0x09, LogicalState::Overheated),
            (0x0c, LogicalState::Expanding),
            (0x0b, LogicalState::NotAvailable),
            (0x0f, LogicalState::Erasing),
            (0x13, LogicalState::Initialising),
            (0x18, LogicalState::Locked),
            (0x1a, LogicalState::Encrypting),
            (0xff, LogicalState::Unsupported),
            (0x77, LogicalState::Unlisted(0x77)),
        ];
        for (byte, state) in states {
            assert_eq!(read(&mut controller(byte), "").unwrap().logical[0].state, Some(state));
        }
    }

    #[test]
    fn what_does_not_answer_is_counted_and_not_invented() {
        let mut half = controller(0);
        half.answers.retain(|(lun, cdb), _| *lun == [0; 8] && !matches!(cdb.get(6), Some(0x15 | 0xc1)));
        let reading = read(&mut half, "P420i").unwrap();
        assert_eq!((reading.silent, reading.physical.len(), reading.cache), (2, 0, None));
        assert_eq!((reading.logical[0].state, reading.logical[0].raid_level.as_str()), (None, ""));
        assert_eq!(read(&mut Box420::default(), "P420i"), Err(TransportError::NotSupported));
    }

    #[test]
    fn an_address_beyond_the_limit_is_not_asked() {
        let many: Vec<[u8; 8]> = (0..=255).map(|at| [0, 0, 0, 0, 0, 0, at, 1]).collect();
        assert_eq!(luns(&report(&many)).count(), DRIVES_MAX);
        let mut lying = report(&many[..2]);
        lying[..4].copy_from_slice(&u32::MAX.to_be_bytes());
        assert_eq!(luns(&lying).count(), 2);
        assert_eq!((bmic_number(FIRST), bmic_number(ENCLOSURE), bmic_number([0; 8])), (Some(2), None, None));
    }

    proptest! {
        #[test]
        fn any_bytes_are_decoded(data in prop::collection::vec(any::<u8>(), 0..2600), cut in 0_usize..2600) {
            drop(decode_physical(FIRST, &data));
            drop(decode_physical(FIRST, &drive(1, 2, 3)[..cut.min(2560)]));
            prop_assert!(luns(&data).count() <= DRIVES_MAX);
        }
    }
}
