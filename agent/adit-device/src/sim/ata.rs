// SPDX-License-Identifier: Apache-2.0 OR MIT
//! An ATA disk behind a SAT layer, with power states. Anything but CHECK POWER MODE and INQUIRY wakes it, which is stricter
//! than real disks are.

use super::{Fault, put, put_text};
use crate::ata::{STRUCTURE_BYTES, Statistics};
use crate::command::{GpLog, ScsiCommand};
use crate::transport::{STATUS_CHECK_CONDITION, STATUS_GOOD, Scsi, ScsiReply, TransportError};

/// What the disk says to CHECK POWER MODE (ACS-4, 7.3.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum AtaPower {
    /// `standby_z`: the platters stand.
    Standby = 0x00,
    /// `standby_y`.
    StandbyY = 0x01,
    /// Active with the platters standing, data in flash.
    SpunDown = 0x40,
    /// Idle.
    Idle = 0x80,
    /// `idle_b`.
    IdleB = 0x82,
    /// Active, or idle on disks that do not tell.
    Active = 0xff,
}

/// A SMART attribute with its threshold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SimAttribute {
    /// Number.
    pub id: u8,
    /// Flags; bit 0 foretells failure.
    pub flags: u16,
    /// Value, 1 to 253.
    pub current: u8,
    /// The lowest ever.
    pub worst: u8,
    /// 48 bits.
    pub raw: u64,
    /// The value at which it counts as failed.
    pub threshold: u8,
}

/// An entry of the self-test log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SimSelfTest {
    /// 1 short, 2 extended, 3 conveyance.
    pub kind: u8,
    /// Outcome in the upper half (0 passed, 7 read failure), tenths left in the lower.
    pub status: u8,
    /// Power-on hours.
    pub hours: u16,
    /// First bad block.
    pub lba: u64,
}

/// The disk. Every field may be set before or between commands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AtaDisk {
    /// Model, at most 40 characters.
    pub model: String,
    /// Serial number, at most 20 characters.
    pub serial: String,
    /// Firmware, at most 8 characters.
    pub firmware: String,
    /// World wide name; 0 for none.
    pub wwn: u64,
    /// Turns a minute; 1 for a disk without platters.
    pub rotation: u16,
    /// Sectors of 512 bytes.
    pub sectors: u64,
    /// SMART is switched on.
    pub smart: bool,
    /// What SMART RETURN STATUS says.
    pub failing: bool,
    /// Attributes, at most 30.
    pub attributes: Vec<SimAttribute>,
    /// Device statistics; `None` for a disk without general purpose logs.
    pub statistics: Option<Statistics>,
    /// Entries in the pending defects log; `None` without that log.
    pub pending_defects: Option<u32>,
    /// Errors ever logged.
    pub errors: u16,
    /// Self-tests, the newest first, at most 19.
    pub self_tests: Vec<SimSelfTest>,
    /// Tenths left of a running self-test.
    pub running_tenths_left: Option<u8>,
    /// What it is doing.
    pub power: AtaPower,
    /// Answers in fixed format sense, as some kernels and bridges do.
    pub fixed_sense: bool,
    /// Returns no registers, as some bridges and controllers: neither power state nor SMART status can be told.
    pub mute: bool,
    /// What INQUIRY says: `ATA` from the kernel's SAT layer, a maker's name from a USB bridge.
    pub vendor: String,
    /// Knows ATA PASS-THROUGH(12) alone, as some old bridges.
    pub short_form_only: bool,
    /// How it misbehaves.
    pub fault: Fault,
    /// How often a command woke it.
    pub wakeups: u32,
    /// Commands so far.
    pub commands: u32,
}

impl Default for AtaDisk {
    fn default() -> Self {
        let attribute = |id, raw| SimAttribute { id, flags: 0x32, current: 100, worst: 100, raw, threshold: 10 };
        Self {
            model: "ADIT SIM ATA".to_owned(),
            serial: "SIM-ATA-0001".to_owned(),
            firmware: "1.0".to_owned(),
            wwn: 0x5000_c500_1234_5678,
            rotation: 7200,
            sectors: 7_814_037_168,
            smart: true,
            failing: false,
            attributes: vec![
                attribute(5, 0),
                attribute(9, 1000),
                attribute(10, 0),
                attribute(12, 20),
                attribute(187, 0),
                attribute(188, 0),
                attribute(194, 31),
                attribute(197, 0),
                attribute(198, 0),
                attribute(199, 0),
            ],
            statistics: None,
            pending_defects: None,
            errors: 0,
            self_tests: Vec::new(),
            running_tenths_left: None,
            power: AtaPower::Active,
            fixed_sense: false,
            mute: false,
            vendor: "ATA".to_owned(),
            short_form_only: false,
            fault: Fault::None,
            wakeups: 0,
            commands: 0,
        }
    }
}

impl AtaDisk {
    /// Sets the raw value of an attribute, which is added when it is not there.
    pub fn set_raw(&mut self, id: u8, raw: u64) {
        match self.attributes.iter_mut().find(|attribute| attribute.id == id) {
            Some(attribute) => attribute.raw = raw,
            None => {
                self.attributes.push(SimAttribute { id, flags: 0x32, current: 100, worst: 100, raw, threshold: 0 });
            }
        }
    }

    fn asleep(&self) -> bool {
        matches!(self.power, AtaPower::Standby | AtaPower::StandbyY | AtaPower::SpunDown)
    }

    /// IDENTIFY DEVICE data.
    #[must_use]
    pub fn identify(&self) -> [u8; STRUCTURE_BYTES] {
        let mut page = [0; STRUCTURE_BYTES];
        let mut word = |number: usize, value: u16| put(&mut page, number * 2, &value.to_le_bytes());
        word(0, 0x0040);
        word(49, 0x0200);
        // The 28-bit size stops at 0FFFFFFFh.
        let small = u32::try_from(self.sectors).unwrap_or(u32::MAX).min(0x0fff_ffff);
        word(60, small.to_le_bytes()[..2].try_into().map_or(0, u16::from_le_bytes));
        word(61, small.to_le_bytes()[2..].try_into().map_or(0, u16::from_le_bytes));
        word(80, 0x07f0);
        word(82, 0x0001);
        let logs = if self.statistics.is_some() { 1 << 5 } else { 0 };
        word(83, 0x4400);
        word(84, 0x4103 | logs);
        word(85, u16::from(self.smart));
        word(86, 0x0400);
        word(87, 0x4003 | logs | u16::from(self.wwn != 0) << 8);
        for index in 0..4 {
            let shift = 16 * index;
            word(100 + index, u16::try_from((self.sectors >> shift) & 0xffff).unwrap_or(0));
            word(111 - index, u16::try_from((self.wwn >> shift) & 0xffff).unwrap_or(0));
        }
        word(217, self.rotation);
        word(222, 0x107f);
        for (at, len, text) in [(20, 20, &self.serial), (46, 8, &self.firmware), (54, 40, &self.model)] {
            put_text(&mut page, at, len, text);
            page[at..at + len].chunks_mut(2).for_each(|pair| pair.swap(0, 1));
        }
        page[510] = 0xa5;
        sealed(page)
    }

    fn smart_data(&self) -> [u8; STRUCTURE_BYTES] {
        let mut page = [0; STRUCTURE_BYTES];
        put(&mut page, 0, &16_u16.to_le_bytes());
        for (entry, attribute) in page[2..].chunks_exact_mut(12).zip(&self.attributes) {
            entry[0] = attribute.id;
            put(entry, 1, &attribute.flags.to_le_bytes());
            entry[3] = attribute.current;
            entry[4] = attribute.worst;
            put(entry, 5, &attribute.raw.to_le_bytes()[..6]);
        }
        page[362] = 0x82;
        page[363] = self.running_tenths_left.map_or(0, |tenths| 0xf0 | tenths);
        // Self-tests, conveyance and selective ones are there; so is the error log.
        page[367] = 0x7b;
        page[368] = 0x03;
        page[370] = 0x01;
        (page[372], page[373], page[374]) = (1, 2, 3);
        sealed(page)
    }

    fn thresholds(&self) -> [u8; STRUCTURE_BYTES] {
        let mut page = [0; STRUCTURE_BYTES];
        put(&mut page, 0, &16_u16.to_le_bytes());
        for (entry, attribute) in page[2..].chunks_exact_mut(12).zip(&self.attributes) {
            (entry[0], entry[1]) = (attribute.id, attribute.threshold);
        }
        sealed(page)
    }

    fn smart_log(&self, address: u8) -> Option<[u8; STRUCTURE_BYTES]> {
        let mut page = [0; STRUCTURE_BYTES];
        match address {
            0x00 => {
                page[0] = 1;
                (page[2], page[12]) = (1, 1);
                return Some(page);
            }
            0x01 => {
                (page[0], page[1]) = (1, u8::from(self.errors > 0));
                put(&mut page, 452, &self.errors.to_le_bytes());
            }
            0x06 => {
                page[0] = 1;
                // The newest stands at the index, older ones before it.
                let count = self.self_tests.len().min(21);
                for (index, test) in self.self_tests.iter().take(count).enumerate() {
                    let at = 2 + (count - 1 - index) * 24;
                    (page[at], page[at + 1]) = (test.kind, test.status);
                    put(&mut page, at + 2, &test.hours.to_le_bytes());
                    put(&mut page, at + 5, &test.lba.to_le_bytes()[..4]);
                }
                page[508] = u8::try_from(count).unwrap_or(0);
            }
            _ => return None,
        }
        Some(sealed(page))
    }

    fn general_log(&self, address: u8, number: u8) -> Option<[u8; STRUCTURE_BYTES]> {
        let statistics = self.statistics.as_ref()?;
        let mut page = [0; STRUCTURE_BYTES];
        match address {
            0x00 => {
                page[0] = 1;
                for log in [GpLog::ExtendedErrors, GpLog::ExtendedSelfTest] {
                    page[usize::from(log as u8) * 2] = 1;
                }
                page[usize::from(GpLog::DeviceStatistics as u8) * 2] = 8;
                page[usize::from(GpLog::PendingDefects as u8) * 2] = u8::from(self.pending_defects.is_some());
            }
            0x03 => {
                (page[0], page[2]) = (1, u8::from(self.errors > 0));
                put(&mut page, 500, &self.errors.to_le_bytes());
                page = sealed(page);
            }
            0x04 => return statistics_page(statistics, number),
            0x07 => {
                page[0] = 1;
                let count = self.self_tests.len().min(19);
                put(&mut page, 2, &u16::try_from(count).unwrap_or(0).to_le_bytes());
                for (index, test) in self.self_tests.iter().take(count).enumerate() {
                    let at = 4 + (count - 1 - index) * 26;
                    (page[at], page[at + 1]) = (test.kind, test.status);
                    put(&mut page, at + 2, &test.hours.to_le_bytes());
                    put(&mut page, at + 5, &test.lba.to_le_bytes()[..6]);
                }
                page = sealed(page);
            }
            0x0c => put(&mut page, 0, &self.pending_defects?.to_le_bytes()),
            _ => return None,
        }
        Some(page)
    }

    /// Sense with the registers of the disk: error, count, LBA mid and high.
    fn registers(&self, error: u8, count: u8, mid: u8, high: u8) -> ScsiReply {
        if self.mute {
            return ScsiReply::good();
        }
        // Ready and seek complete; ERR with an error, for which the sense key is aborted command.
        let status = 0x50 | u8::from(error != 0);
        let key = if error == 0 { 0x01 } else { 0x0b };
        let sense: Vec<u8> = if self.fixed_sense {
            vec![0x70, 0, key, error, status, 0xa0, count, 10, 0, 0, mid, high, 0x00, 0x1d, 0, 0, 0, 0]
        } else {
            vec![0x72, key, 0x00, 0x1d, 0, 0, 0, 14, 9, 12, 0, error, 0, count, 0, 0, 0, mid, 0, high, 0xa0, status]
        };
        ScsiReply::new(STATUS_CHECK_CONDITION, &sense, 0)
    }

    fn pass_through(&mut self, cdb: &[u8], data: &mut [u8]) -> ScsiReply {
        let (features, low, mid, high, command) = (cdb[4], cdb[8], cdb[10], cdb[12], cdb[14]);
        if command == 0xe5 {
            return self.registers(0, self.power as u8, 0, 0);
        }
        if self.asleep() {
            self.wakeups += 1;
            self.power = AtaPower::Active;
        }
        let smart = command == 0xb0 && self.smart && (mid, high) == (0x4f, 0xc2);
        let page = match (command, features) {
            (0xec, _) => Some(self.identify()),
            (0xb0, 0xda) if smart && self.failing => return self.registers(0, 0, 0xf4, 0x2c),
            (0xb0, 0xda) if smart => return self.registers(0, 0, 0x4f, 0xc2),
            (0xb0, 0xd0) if smart => Some(self.smart_data()),
            (0xb0, 0xd1) if smart => Some(self.thresholds()),
            (0xb0, 0xd5) if smart => self.smart_log(low),
            (0x2f, _) => self.general_log(low, mid),
            _ => None,
        };
        // ABRT, bit 2 of the error register.
        let Some(page) = page else { return self.registers(0x04, 0, 0, 0) };
        let filled = data.len().min(STRUCTURE_BYTES);
        data[..filled].copy_from_slice(&page[..filled]);
        ScsiReply::new(STATUS_GOOD, &[], data.len() - filled)
    }
}

impl Scsi for AtaDisk {
    fn execute(&mut self, command: &ScsiCommand, data: &mut [u8]) -> Result<ScsiReply, TransportError> {
        self.fault.reach("CAP_SYS_RAWIO")?;
        self.commands += 1;
        let cdb = command.cdb();
        let mut reply = match cdb[0] {
            0x85 if !self.short_form_only => self.pass_through(cdb, data),
            0xa1 => {
                let [_, protocol, flags, features, count, low, mid, high, device, command, ..] = *cdb else {
                    return Err(TransportError::NotSupported);
                };
                let long = [0x85, protocol, flags, 0, features, 0, count, 0, low, 0, mid, 0, high, device, command, 0];
                self.pass_through(&long, data)
            }
            0x12 if cdb[1] == 0 => {
                put(data, 0, &[0, 0, 6, 2, 31, 0, 0, 0]);
                put_text(data, 8, 8, &self.vendor);
                put_text(data, 16, 16, &self.model);
                put_text(data, 32, 4, &self.firmware);
                ScsiReply::good()
            }
            // Illegal request, invalid field in CDB.
            _ => ScsiReply::new(STATUS_CHECK_CONDITION, &[0x72, 5, 0x24, 0, 0, 0, 0, 0], data.len()),
        };
        reply.residual = reply.residual.max(self.fault.spoil(self.commands, data));
        Ok(reply)
    }
}

fn statistics_page(statistics: &Statistics, number: u8) -> Option<[u8; STRUCTURE_BYTES]> {
    let mut page = [0; STRUCTURE_BYTES];
    (page[0], page[2]) = (1, number);
    // Flags C0h: supported and valid.
    let mut value = |at: usize, value: Option<u64>| {
        if let Some(value) = value {
            put(&mut page, at, &(value | 0xc0 << 56).to_le_bytes());
        }
    };
    let degrees = |degrees: Option<i16>| degrees.map(|d| u64::from(d.to_le_bytes()[0]));
    match number {
        0 => put(&mut page, 8, &[7, 0, 1, 3, 4, 5, 6, 7]),
        1 => {
            value(8, statistics.power_cycles);
            value(16, statistics.power_on_hours);
            value(24, statistics.sectors_written);
            value(40, statistics.sectors_read);
        }
        3 => {
            value(24, statistics.head_loads);
            value(32, statistics.reallocated);
            value(48, statistics.start_failures);
        }
        4 => value(8, statistics.reported_uncorrectable),
        5 => {
            value(8, degrees(statistics.temperature_c));
            value(88, degrees(statistics.temperature_limit_c));
        }
        6 => value(24, statistics.crc_errors),
        7 => value(8, statistics.wear_used_percent.map(u64::from)),
        _ => return None,
    }
    Some(page)
}

/// Sets the last byte so that all sum up to zero.
fn sealed(mut page: [u8; STRUCTURE_BYTES]) -> [u8; STRUCTURE_BYTES] {
    page[511] = 0;
    page[511] = page.iter().fold(0_u8, |sum, byte| sum.wrapping_sub(*byte));
    page
}
