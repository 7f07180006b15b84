// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A SCSI disk with log pages, unit attentions and a stopped state, and a controller with such disks behind it.

use super::{Fault, put, put_text};
use crate::command::{LunAddress, ScsiCommand};
use crate::transport::{Cciss, STATUS_CHECK_CONDITION, STATUS_GOOD, Scsi, ScsiReply, TransportError};

/// An entry of the self-test page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScsiSelfTest {
    /// 1 background short, 2 background extended.
    pub kind: u8,
    /// 0 passed, 1 and 2 aborted, 3 to 7 failed, 15 running.
    pub result: u8,
    /// Power-on hours.
    pub hours: u16,
    /// First bad block.
    pub lba: Option<u64>,
}

/// The disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScsiDisk {
    /// Peripheral device type; 0 is a disk.
    pub device_type: u8,
    /// Vendor, 8 characters.
    pub vendor: String,
    /// Product, 16 characters.
    pub product: String,
    /// Revision, 4 characters.
    pub revision: String,
    /// Serial number.
    pub serial: String,
    /// NAA name of the logical unit; 0 for none.
    pub wwn: u64,
    /// Turns a minute; 1 without platters.
    pub rotation: u16,
    /// Uncorrected errors of writes, reads, verifies.
    pub uncorrected: [u64; 3],
    /// Bytes written and read.
    pub processed: [u64; 2],
    /// Temperature and limit, °C.
    pub temperature: (u8, u8),
    /// Starts and loads.
    pub cycles: (u32, u32),
    /// Self-tests, the newest first, at most 20.
    pub self_tests: Vec<ScsiSelfTest>,
    /// Share of life used, per cent; `None` with platters.
    pub wear: Option<u8>,
    /// Minutes powered on, and bad places that the background scan found.
    pub background: (u32, u8),
    /// Errors of the one phy: invalid dwords, disparity, synchronization, resets.
    pub phy_errors: [u32; 4],
    /// Informational exception; (0, 0) for none.
    pub exception: (u8, u8),
    /// Length of the grown defect list; drives know one form of the command, this one the ten-byte form.
    pub grown_defects: u16,
    /// Sense that waits to be told, e.g. (29h, 00h) after a reset; the first is told first.
    pub attentions: Vec<(u8, u8)>,
    /// The platters stand, by command.
    pub stopped: bool,
    /// Low power condition, the qualifier of 5Eh; 0 for none.
    pub low_power: u8,
    /// Has no log pages at all, as most virtual disks.
    pub without_logs: bool,
    /// How it misbehaves.
    pub fault: Fault,
    /// How often a command other than INQUIRY, TEST UNIT READY and REQUEST SENSE came while it slept.
    pub wakeups: u32,
    /// Commands so far.
    pub commands: u32,
}

impl Default for ScsiDisk {
    fn default() -> Self {
        Self {
            device_type: 0,
            vendor: "ADIT".to_owned(),
            product: "SIM SCSI".to_owned(),
            revision: "1.0".to_owned(),
            serial: "SIM-SCSI-0001".to_owned(),
            wwn: 0x5000_c500_8765_4321,
            rotation: 10_500,
            uncorrected: [0; 3],
            processed: [0; 2],
            temperature: (33, 65),
            cycles: (10, 100),
            self_tests: Vec::new(),
            wear: None,
            background: (60_000, 0),
            phy_errors: [0; 4],
            exception: (0, 0),
            grown_defects: 0,
            attentions: Vec::new(),
            stopped: false,
            low_power: 0,
            without_logs: false,
            fault: Fault::None,
            wakeups: 0,
            commands: 0,
        }
    }
}

/// Illegal request: invalid command operation code, as drives say to a form of a command that they do not know.
const ILLEGAL: [u8; 8] = [0x72, 5, 0x20, 0, 0, 0, 0, 0];

impl ScsiDisk {
    fn asleep(&self) -> bool {
        self.stopped || matches!(self.low_power, 0x02 | 0x04 | 0x09 | 0x0a | 0x43)
    }

    fn inquiry(&self, cdb: &[u8]) -> Option<Vec<u8>> {
        let mut page = vec![0; 36];
        match (cdb[1] & 1, cdb[2]) {
            (0, 0) => {
                put(&mut page, 0, &[self.device_type, 0, 6, 2, 31, 0, 0, 2]);
                put_text(&mut page, 8, 8, &self.vendor);
                put_text(&mut page, 16, 16, &self.product);
                put_text(&mut page, 32, 4, &self.revision);
                return Some(page);
            }
            (1, 0x00) => page = vec![0x00, 0x80, 0x83, 0xb1],
            (1, 0x80) => page = self.serial.clone().into_bytes(),
            (1, 0x83) if self.wwn != 0 => {
                page = vec![0x01, 0x03, 0, 8];
                page.extend(self.wwn.to_be_bytes());
                // The port's own name, which must not be taken for the disk's.
                page.extend([0x61, 0x93, 0, 8]);
                page.extend((self.wwn + 1).to_be_bytes());
            }
            (1, 0xb1) => {
                page = vec![0; 60];
                put(&mut page, 0, &self.rotation.to_be_bytes());
            }
            _ => return None,
        }
        let mut headed = vec![self.device_type, cdb[2]];
        headed.extend(u16::try_from(page.len()).unwrap_or(0).to_be_bytes());
        headed.extend(page);
        Some(headed)
    }

    fn log_page(&self, page: u8) -> Option<Vec<u8>> {
        if self.without_logs {
            return None;
        }
        let parameters = match page {
            0x00 => {
                let mut list = vec![0x00, 0x02, 0x03, 0x05, 0x0d, 0x0e, 0x10, 0x15, 0x18, 0x2f];
                list.extend(self.wear.map(|_| 0x11));
                return Some(headed(page, list));
            }
            0x02 => {
                vec![(5, self.processed[0].to_be_bytes().to_vec()), (6, self.uncorrected[0].to_be_bytes().to_vec())]
            }
            0x03 => {
                vec![(5, self.processed[1].to_be_bytes().to_vec()), (6, self.uncorrected[1].to_be_bytes().to_vec())]
            }
            0x05 => vec![(6, self.uncorrected[2].to_be_bytes().to_vec())],
            0x0d => vec![(0, vec![0, self.temperature.0]), (1, vec![0, self.temperature.1])],
            0x0e => vec![
                (1, b"202613".to_vec()),
                (2, b"      ".to_vec()),
                (3, 50_000_u32.to_be_bytes().to_vec()),
                (4, self.cycles.0.to_be_bytes().to_vec()),
                (5, 600_000_u32.to_be_bytes().to_vec()),
                (6, self.cycles.1.to_be_bytes().to_vec()),
            ],
            0x10 => self.self_test_parameters(),
            0x11 => vec![(1, vec![0, 0, 0, self.wear?])],
            0x15 => self.background_parameters(),
            0x18 => vec![(1, self.phy())],
            0x2f => vec![(0, vec![self.exception.0, self.exception.1, self.temperature.0, 0])],
            _ => return None,
        };
        let mut bytes = Vec::new();
        for (code, value) in parameters {
            bytes.extend(u16::to_be_bytes(code));
            bytes.extend([0x03, u8::try_from(value.len()).unwrap_or(0)]);
            bytes.extend(value);
        }
        Some(headed(page, bytes))
    }

    fn self_test_parameters(&self) -> Vec<(u16, Vec<u8>)> {
        let entry = |index: usize| {
            let mut value = vec![0; 16];
            if let Some(test) = self.self_tests.get(index) {
                value[0] = test.kind << 5 | test.result;
                put(&mut value, 2, &test.hours.to_be_bytes());
                put(&mut value, 4, &test.lba.unwrap_or(u64::MAX).to_be_bytes());
                if test.lba.is_some() {
                    put(&mut value, 12, &[3, 0x11, 0x00]);
                }
            }
            (u16::try_from(index + 1).unwrap_or(0), value)
        };
        (0..20).map(entry).collect()
    }

    fn background_parameters(&self) -> Vec<(u16, Vec<u8>)> {
        let mut status = vec![0; 12];
        put(&mut status, 0, &self.background.0.to_be_bytes());
        // Scan active; seven scans so far.
        status[5] = 1;
        put(&mut status, 6, &7_u16.to_be_bytes());
        let found = (1..=u16::from(self.background.1)).map(|code| {
            let mut value = vec![0; 20];
            put(&mut value, 0, &self.background.0.to_be_bytes());
            put(&mut value, 4, &[0x53, 0x11, 0x00]);
            put(&mut value, 12, &u64::from(code).to_be_bytes());
            (code, value)
        });
        std::iter::once((0, status)).chain(found).collect()
    }

    fn phy(&self) -> Vec<u8> {
        let mut value = vec![0; 4 + 48];
        put(&mut value, 0, &[0x06, 0, 1, 1]);
        value[4 + 3] = 44;
        put(&mut value, 4 + 8, &(self.wwn + 1).to_be_bytes());
        for (counter, at) in self.phy_errors.iter().zip([32, 36, 40, 44]) {
            put(&mut value, 4 + at, &counter.to_be_bytes());
        }
        value
    }

    fn defects(&self, cdb: &[u8]) -> Option<Vec<u8>> {
        let mut header = vec![0, cdb[2] & 0x1f, 0, 0];
        put(&mut header, 2, &(self.grown_defects * 8).to_be_bytes());
        (cdb[0] == 0x37).then_some(header)
    }

    fn sense(&self) -> Vec<u8> {
        let (asc, ascq) = if self.low_power == 0 { (0, 0) } else { (0x5e, self.low_power) };
        vec![0x72, 0, asc, ascq, 0, 0, 0, 0]
    }
}

fn headed(page: u8, bytes: Vec<u8>) -> Vec<u8> {
    let mut headed = vec![page, 0];
    headed.extend(u16::try_from(bytes.len()).unwrap_or(0).to_be_bytes());
    headed.extend(bytes);
    headed
}

impl Scsi for ScsiDisk {
    fn execute(&mut self, command: &ScsiCommand, data: &mut [u8]) -> Result<ScsiReply, TransportError> {
        self.fault.reach("CAP_SYS_RAWIO")?;
        self.commands += 1;
        let cdb = command.cdb();
        // INQUIRY and REQUEST SENSE go before a unit attention (SAM-5, 5.14).
        if !matches!(cdb[0], 0x12 | 0x03) && !self.attentions.is_empty() {
            let (asc, ascq) = self.attentions.remove(0);
            return Ok(ScsiReply::new(STATUS_CHECK_CONDITION, &[0x72, 6, asc, ascq, 0, 0, 0, 0], data.len()));
        }
        if !matches!(cdb[0], 0x00 | 0x12 | 0x03) && self.asleep() {
            self.wakeups += 1;
        }
        let answer = match cdb[0] {
            0x00 if self.stopped => {
                return Ok(ScsiReply::new(STATUS_CHECK_CONDITION, &[0x72, 2, 0x04, 0x02, 0, 0, 0, 0], 0));
            }
            0x00 => Some(Vec::new()),
            0x03 => Some(self.sense()),
            0x12 => self.inquiry(cdb),
            0x4d => self.log_page(cdb[2] & 0x3f),
            0x37 | 0xb7 => self.defects(cdb),
            _ => None,
        };
        let Some(answer) = answer else {
            return Ok(ScsiReply::new(STATUS_CHECK_CONDITION, &ILLEGAL, data.len()));
        };
        let filled = answer.len().min(data.len());
        data[..filled].copy_from_slice(&answer[..filled]);
        let missing = self.fault.spoil(self.commands, data);
        Ok(ScsiReply::new(STATUS_GOOD, &[], missing.max(data.len() - filled)))
    }
}

/// A Smart Array controller with disks at addresses of its own making.
#[derive(Clone, Debug, Default)]
pub struct SmartArray<D> {
    /// The disks, in the order that REPORT PHYSICAL LUNS tells them.
    pub disks: Vec<D>,
}

impl<D> SmartArray<D> {
    /// The address of a disk.
    #[must_use]
    pub fn address(index: u8) -> LunAddress {
        LunAddress([index + 1, 0, 0, 0, 0, 0, 0, 0x40 | index])
    }
}

impl<D: Scsi> Cciss for SmartArray<D> {
    fn execute_at(
        &mut self,
        lun: LunAddress,
        command: &ScsiCommand,
        data: &mut [u8],
    ) -> Result<ScsiReply, TransportError> {
        if lun == LunAddress::CONTROLLER && command.cdb()[0] == 0xc3 {
            let addresses = (0..u8::try_from(self.disks.len()).unwrap_or(u8::MAX)).flat_map(|i| Self::address(i).0);
            let addresses: Vec<u8> = addresses.collect();
            let mut answer = u32::try_from(addresses.len()).unwrap_or(0).to_be_bytes().to_vec();
            answer.extend([0; 4]);
            answer.extend(addresses);
            let filled = answer.len().min(data.len());
            data[..filled].copy_from_slice(&answer[..filled]);
            return Ok(ScsiReply::new(STATUS_GOOD, &[], data.len() - filled));
        }
        let index = usize::from(lun.0[0]).checked_sub(1).ok_or(TransportError::Gone)?;
        self.disks.get_mut(index).ok_or(TransportError::Gone)?.execute(command, data)
    }
}
