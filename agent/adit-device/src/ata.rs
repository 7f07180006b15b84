// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The structures of an ATA disk: IDENTIFY DEVICE, SMART attributes and thresholds, device statistics, error and
//! self-test logs. Sections are those of ACS-4 where none other is named.
//!
//! Decoders take any bytes. A structure with a wrong length or checksum is `None` as a whole.

use crate::fields::{ata_text, le16, le32, le64, sums_to_zero};
use crate::reading::{
    FailedAttribute, Identity, PowerState, SelfTestOutcome, SelfTests, plausible_serial, plausible_wwn,
};

/// Length of every structure here, bytes.
pub const STRUCTURE_BYTES: usize = 512;
/// Most attributes in one table (SFF-8035i).
const ATTRIBUTES_MAX: usize = 30;

/// IDENTIFY DEVICE data (7.12.7).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identify {
    /// Who it is.
    pub identity: Identity,
    /// Size, bytes.
    pub size_bytes: Option<u64>,
    /// Bytes of a logical sector.
    pub sector_bytes: u64,
    /// Turns a minute; `None` when it does not tell, 0 for a disk without platters.
    pub rotation_rpm: Option<u16>,
    /// SMART is there and switched on.
    pub smart: bool,
    /// The logs of the general purpose space can be read.
    pub general_logs: bool,
    /// The SMART error log is there.
    pub error_log: bool,
    /// The SMART self-test log is there.
    pub self_tests: bool,
}

impl Identify {
    /// Reads the 512 bytes; `None` when they are no IDENTIFY data of an ATA disk.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        if bytes.len() != STRUCTURE_BYTES || bytes.iter().all(|byte| *byte == 0) {
            return None;
        }
        let word = |number: usize| le16(bytes, number * 2).unwrap_or(0);
        // Word 0 bit 15 is set on packet devices (CD drives); CompactFlash cards say 848Ah.
        if word(0) & 0x8000 != 0 && word(0) != 0x848a {
            return None;
        }
        // Word 255: signature A5h makes the checksum valid.
        if bytes[510] == 0xa5 && !sums_to_zero(bytes) {
            return None;
        }
        // Words 83, 84 and 87 are valid when bits 15:14 are 01.
        let valid = |number: usize| if word(number) & 0xc000 == 0x4000 { word(number) } else { 0 };
        let sector_bytes = match word(106) & 0xd000 {
            0x5000 => le32(bytes, 117 * 2).map_or(512, |words| u64::from(words) * 2),
            _ => 512,
        };
        let sectors = if valid(83) & (1 << 10) == 0 {
            le32(bytes, 60 * 2).map(u64::from)
        } else {
            le64(bytes, 100 * 2).map(|sectors| sectors & 0xffff_ffff_ffff)
        };
        let wwn = (valid(87) & (1 << 8) != 0).then(|| wwn(bytes)).flatten();
        Some(Self {
            identity: Identity {
                model: ata_text(bytes, 27 * 2, 40)?,
                serial: ata_text(bytes, 10 * 2, 20).and_then(plausible_serial),
                firmware: ata_text(bytes, 23 * 2, 8)?,
                wwn,
            },
            size_bytes: sectors.filter(|n| *n > 0).and_then(|n| n.checked_mul(sector_bytes)),
            sector_bytes,
            rotation_rpm: match word(217) {
                1 => Some(0),
                rpm @ 0x0401..=0xfffe => Some(rpm),
                _ => None,
            },
            smart: word(82) & word(85) & 1 != 0,
            general_logs: valid(84) & (1 << 5) != 0 || valid(87) & (1 << 5) != 0,
            error_log: (valid(84) | valid(87)) & 1 != 0,
            self_tests: (valid(84) | valid(87)) & 2 != 0,
        })
    }
}

/// Words 108 to 111, the highest first.
fn wwn(bytes: &[u8]) -> Option<String> {
    let words: Vec<u8> = bytes.get(216..224)?.chunks(2).flat_map(|pair| [pair[1], pair[0]]).collect();
    plausible_wwn(&words)
}

/// One SMART attribute (SFF-8035i; vendor specific since ATA-4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attribute {
    /// Number.
    pub id: u8,
    /// Foretells failure when it reaches the threshold.
    pub prefailure: bool,
    /// The disk's own value, 1 to 253.
    pub current: u8,
    /// The lowest ever.
    pub worst: u8,
    /// 48 bits that mean what the maker wants.
    pub raw: u64,
}

impl Attribute {
    /// The raw value as one counter; `None` when its upper 16 bits show that several are packed into it.
    #[must_use]
    pub const fn counter(&self) -> Option<u64> {
        if self.raw >> 32 == 0 { Some(self.raw) } else { None }
    }
}

/// SMART READ DATA.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attributes {
    /// The attributes, as the disk orders them.
    pub list: Vec<Attribute>,
    /// Per cent left of a self-test that is running.
    pub running_percent_left: Option<u8>,
}

impl Attributes {
    /// Reads the 512 bytes; `None` for a wrong length or checksum.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        checked(bytes)?;
        let entries = bytes[2..].chunks_exact(12).take(ATTRIBUTES_MAX).filter(|entry| entry[0] != 0);
        let list = entries.filter_map(|entry| {
            Some(Attribute {
                id: entry[0],
                prefailure: le16(entry, 1)? & 1 != 0,
                current: entry[3],
                worst: entry[4],
                raw: u64::from(le32(entry, 5)?) | u64::from(le16(entry, 9)?) << 32,
            })
        });
        // Byte 363: 15 in the upper half is "in progress", tenths left in the lower half.
        let running = (bytes[363] >> 4 == 15).then(|| (bytes[363] & 0x0f).min(10) * 10);
        Some(Self { list: list.collect(), running_percent_left: running })
    }

    /// The attribute of a number.
    #[must_use]
    pub fn get(&self, id: u8) -> Option<&Attribute> {
        self.list.iter().find(|attribute| attribute.id == id)
    }

    /// Attributes that reached their threshold. Thresholds 0 (always passing) and values outside 1 to 253 do not count.
    #[must_use]
    pub fn failed(&self, thresholds: &Thresholds) -> Vec<FailedAttribute> {
        let judged = self.list.iter().filter_map(|attribute| {
            let threshold = thresholds.get(attribute.id).filter(|threshold| *threshold > 0)?;
            let reached = |value: u8| (1..=253).contains(&value) && value <= threshold;
            let (now, ever) = (reached(attribute.current), reached(attribute.worst));
            (now || ever).then_some(FailedAttribute {
                id: attribute.id,
                current: attribute.current,
                worst: attribute.worst,
                threshold,
                prefailure: attribute.prefailure,
                now,
            })
        });
        judged.collect()
    }

    /// Temperature, °C: attribute 194, else 190; the lowest byte, as the bytes above hold extremes.
    #[must_use]
    pub fn temperature_c(&self) -> Option<i16> {
        [194, 190].iter().find_map(|id| {
            let degrees = i16::from(self.get(*id)?.raw.to_le_bytes()[0].cast_signed());
            (-40..=125).contains(&degrees).then_some(degrees).filter(|degrees| *degrees != 0)
        })
    }

    /// Power-on hours, attribute 9. Some makers keep minutes or milliseconds above the lowest 24 bits; more than a million
    /// hours (114 years) is such a case.
    #[must_use]
    pub fn power_on_hours(&self) -> Option<u64> {
        const PLAUSIBLE_HOURS: u64 = 1_000_000;
        let raw = self.get(9)?.raw;
        [raw, raw & 0xffff_ffff, raw & 0x00ff_ffff].into_iter().find(|hours| *hours < PLAUSIBLE_HOURS)
    }

    /// Share of life used, per cent, of a disk without platters that has no device statistics: the attributes whose value
    /// falls from 100 as the flash wears (202 Micron, 231 SandForce and after, 177 Samsung, 233 Intel).
    #[must_use]
    pub fn wear_used_percent(&self) -> Option<u8> {
        let value = [202, 231, 177, 233].iter().find_map(|id| self.get(*id))?.current;
        (1..=100).contains(&value).then(|| 100 - value)
    }
}

/// SMART READ THRESHOLDS: number and threshold of each attribute.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Thresholds(Vec<(u8, u8)>);

impl Thresholds {
    /// Reads the 512 bytes; `None` for a wrong length or checksum.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        checked(bytes)?;
        let entries = bytes[2..].chunks_exact(12).take(ATTRIBUTES_MAX).filter(|entry| entry[0] != 0);
        Some(Self(entries.map(|entry| (entry[0], entry[1])).collect()))
    }

    /// The threshold of an attribute.
    #[must_use]
    pub fn get(&self, id: u8) -> Option<u8> {
        self.0.iter().find(|(number, _)| *number == id).map(|(_, threshold)| *threshold)
    }
}

/// Which logs there are (9.2): number of pages by log address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogDirectory(Vec<u8>);

impl LogDirectory {
    /// Reads the 512 bytes.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        (bytes.len() == STRUCTURE_BYTES).then(|| Self(bytes.to_vec()))
    }

    /// Pages of a log, 0 when it is not there.
    #[must_use]
    pub fn pages(&self, address: u8) -> u16 {
        if address == 0 { 0 } else { le16(&self.0, usize::from(address) * 2).unwrap_or(0) }
    }
}

/// Device statistics (9.5): what a disk counts in units that all makers share.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Page 1, offset 8: lifetime power-on resets.
    pub power_cycles: Option<u64>,
    /// Page 1, offset 16.
    pub power_on_hours: Option<u64>,
    /// Page 1, offset 24: logical sectors written.
    pub sectors_written: Option<u64>,
    /// Page 1, offset 40: logical sectors read.
    pub sectors_read: Option<u64>,
    /// Page 3, offset 24: head load events.
    pub head_loads: Option<u64>,
    /// Page 3, offset 32: reallocated logical sectors.
    pub reallocated: Option<u64>,
    /// Page 3, offset 48: mechanical start failures.
    pub start_failures: Option<u64>,
    /// Page 4, offset 8: reported uncorrectable errors.
    pub reported_uncorrectable: Option<u64>,
    /// Page 5, offset 8, °C.
    pub temperature_c: Option<i16>,
    /// Page 5, offset 88: specified maximum operating temperature, °C.
    pub temperature_limit_c: Option<i16>,
    /// Page 6, offset 24: interface CRC errors.
    pub crc_errors: Option<u64>,
    /// Page 7, offset 8: percentage used endurance indicator.
    pub wear_used_percent: Option<u8>,
}

impl Statistics {
    /// The pages that [`Self::take`] understands.
    pub const PAGES: [u8; 6] = [1, 3, 4, 5, 6, 7];

    /// Reads page 0: which pages there are (9.5.2).
    #[must_use]
    pub fn pages(bytes: &[u8]) -> Vec<u8> {
        let list = || {
            // Byte 2 of the header is the page number, bytes 1:0 the revision, never 0.
            let header = bytes.len() == STRUCTURE_BYTES && bytes[2] == 0 && le16(bytes, 0)? != 0;
            header.then(|| bytes.get(9..9 + usize::from(bytes[8])))?
        };
        list().unwrap_or_default().to_vec()
    }

    /// Takes the values of one page; `None` when it is not the page that was asked for.
    #[must_use]
    pub fn take(&mut self, page: u8, bytes: &[u8]) -> Option<()> {
        if bytes.len() != STRUCTURE_BYTES || bytes[2] != page || le16(bytes, 0)? == 0 {
            return None;
        }
        let number = |at, width| value(bytes, at, width);
        match page {
            1 => {
                self.power_cycles = number(8, 32);
                self.power_on_hours = number(16, 32);
                self.sectors_written = number(24, 48);
                self.sectors_read = number(40, 48);
            }
            3 => {
                self.head_loads = number(24, 32);
                self.reallocated = number(32, 32);
                self.start_failures = number(48, 32);
            }
            4 => self.reported_uncorrectable = number(8, 32),
            5 => {
                self.temperature_c = degrees(bytes, 8);
                self.temperature_limit_c = degrees(bytes, 88);
            }
            6 => self.crc_errors = number(24, 32),
            7 => self.wear_used_percent = number(8, 8).and_then(|percent| u8::try_from(percent).ok()),
            _ => return None,
        }
        Some(())
    }
}

/// A statistic of `width` bits at `at`; `None` unless its flags say supported (bit 7) and valid (bit 6) (9.5.3).
fn value(bytes: &[u8], at: usize, width: u32) -> Option<u64> {
    let word = le64(bytes, at)?;
    (word >> 62 == 0b11).then_some(word & ((1 << width) - 1))
}

fn degrees(bytes: &[u8], at: usize) -> Option<i16> {
    let byte = value(bytes, at, 8)?.to_le_bytes()[0];
    // 80h: no valid temperature.
    (byte != 0x80).then(|| i16::from(byte.cast_signed()))
}

/// Errors ever logged, from the extended comprehensive error log (9.4): the number that only wraps at 65 536. An index of 0
/// says that the log is empty, whatever stands in the count.
#[must_use]
pub fn extended_error_count(bytes: &[u8]) -> Option<u64> {
    checked(bytes)?;
    if le16(bytes, 2)? == 0 { Some(0) } else { le16(bytes, 500).map(u64::from) }
}

/// Errors ever logged, from the SMART summary error log (ACS-3, A.16); an index of 0 as above.
#[must_use]
pub fn summary_error_count(bytes: &[u8]) -> Option<u64> {
    checked(bytes)?;
    if bytes[1] == 0 { Some(0) } else { le16(bytes, 452).map(u64::from) }
}

/// Pending defects log (9.27): number of entries, from the first page.
#[must_use]
pub fn pending_defects(bytes: &[u8]) -> Option<u64> {
    if bytes.len() != STRUCTURE_BYTES {
        return None;
    }
    le32(bytes, 0).map(u64::from)
}

#[derive(Clone, Copy)]
struct SelfTestEntry {
    /// Short 1, extended 2, conveyance 3, selective 4; the same with bit 7 in captive mode.
    kind: u8,
    /// Outcome in the upper half, tenths left in the lower.
    status: u8,
    hours: u16,
    lba: u64,
}

/// Reads the SMART self-test log (ACS-3, A.17): 21 entries, the newest at the index.
#[must_use]
pub fn self_test_log(bytes: &[u8], power_on_hours: Option<u64>) -> Option<SelfTests> {
    checked(bytes)?;
    let entry = |index: usize| {
        let entry = bytes.get(2 + index * 24..2 + (index + 1) * 24)?;
        let lba = u64::from(le32(entry, 5)?);
        Some(SelfTestEntry { kind: entry[0], status: entry[1], hours: le16(entry, 2)?, lba })
    };
    newest_first(usize::from(bytes[508]), 21, entry, 0xffff_ffff, power_on_hours)
}

/// Reads the extended SMART self-test log (9.6), all its pages: 19 entries each, the newest at the index of the first page.
#[must_use]
pub fn extended_self_test_log(bytes: &[u8], power_on_hours: Option<u64>) -> Option<SelfTests> {
    const ENTRIES: usize = 19;
    let (pages, rest) = bytes.as_chunks::<STRUCTURE_BYTES>();
    if !rest.is_empty() || pages.is_empty() {
        return None;
    }
    pages.iter().try_for_each(|page| checked(page))?;
    let entry = |index: usize| {
        let at = 4 + index % ENTRIES * 26;
        let entry = pages.get(index / ENTRIES)?.get(at..at + 26)?;
        let lba = u64::from(le32(entry, 5)?) | u64::from(le16(entry, 9)?) << 32;
        Some(SelfTestEntry { kind: entry[0], status: entry[1], hours: le16(entry, 2)?, lba })
    };
    newest_first(usize::from(le16(bytes, 2)?), ENTRIES * pages.len(), entry, 0xffff_ffff_ffff, power_on_hours)
}

/// Walks a ring of `slots` entries back from `index` (1 is the first; 0 is an empty log).
fn newest_first(
    index: usize,
    slots: usize,
    entry: impl Fn(usize) -> Option<SelfTestEntry>,
    no_lba: u64,
    power_on_hours: Option<u64>,
) -> Option<SelfTests> {
    let mut tests = SelfTests::default();
    if index == 0 {
        return Some(tests);
    }
    if index > slots {
        return None;
    }
    let mut extended_passed = false;
    for back in 0..slots {
        let Some(found) =
            entry((index + slots - 1 - back) % slots).filter(|e| (e.kind, e.status, e.hours) != (0, 0, 0))
        else {
            continue;
        };
        let Some(outcome) = outcome(found.status) else { continue };
        if tests.newest.is_none() {
            tests.newest = Some(outcome);
            tests.newest_age_hours = power_on_hours.map(|now| hours_since(now, found.hours));
        }
        extended_passed |= outcome == SelfTestOutcome::Passed && found.kind & 0x7f == 2;
        if outcome == SelfTestOutcome::Failed && !extended_passed && tests.failed_at_hours.is_none() {
            tests.failed_at_hours = Some(u64::from(found.hours));
            tests.failed_lba = Some(found.lba).filter(|lba| *lba != no_lba && *lba != 0);
        }
    }
    Some(tests)
}

/// The clock of the log wraps after 65 536 hours.
fn hours_since(now: u64, then: u16) -> u64 {
    now.wrapping_sub(u64::from(then)) & 0xffff
}

/// Outcome of a self-test execution status (9.6.3, table A.20 of ACS-3); `None` while it runs.
const fn outcome(status: u8) -> Option<SelfTestOutcome> {
    match status >> 4 {
        0 => Some(SelfTestOutcome::Passed),
        1 | 2 => Some(SelfTestOutcome::Aborted),
        // 3 could not finish for a fatal error, 4 unknown element, 5 electrical, 6 servo, 7 read element, 8 handling damage.
        3..=8 => Some(SelfTestOutcome::Failed),
        15 => None,
        _ => Some(SelfTestOutcome::Unclear),
    }
}

fn checked(bytes: &[u8]) -> Option<()> {
    let all_zero = || bytes.iter().all(|byte| *byte == 0);
    (bytes.len() == STRUCTURE_BYTES && sums_to_zero(bytes) && !all_zero()).then_some(())
}

/// Power state of a count register (7.3.3). 40h is "active" by name, with the platters standing: reading may start them.
#[must_use]
pub const fn power_state(count: u8) -> PowerState {
    match count {
        0x00 | 0x01 | 0x40 => PowerState::Asleep,
        0x80..=0x83 => PowerState::Idle,
        0x41 | 0xff => PowerState::Active,
        _ => PowerState::Unknown,
    }
}

/// What SMART RETURN STATUS says in the LBA registers: failing or not; `None` for anything else (ACS-3, 7.50.8).
#[must_use]
pub const fn failing(lba_mid: u8, lba_high: u8) -> Option<bool> {
    match (lba_mid, lba_high) {
        (0x4f, 0xc2) => Some(false),
        (0xf4, 0x2c) => Some(true),
        _ => None,
    }
}
