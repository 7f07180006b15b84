// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The answers of a SCSI disk: INQUIRY, vital product data, log pages (SPC-5, SBC-4, SPL-4). Sections are those of SPC-5
//! where none other is named. Decoders take any bytes; a page that is not the one asked for is `None`.

use crate::fields::{be_any, be16, be32, text, u8_at};
use crate::reading::{SelfTestOutcome, SelfTests, plausible_serial, plausible_wwn};

/// Most parameters that are read from one log page. A background scan page holds up to 2048 results of 24 bytes.
const PARAMETERS_MAX: usize = 4096;

/// Standard INQUIRY data (6.6.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inquiry {
    /// Peripheral device type: 0 a disk, 14h a host-managed zoned one. 1Fh for nothing there.
    pub device_type: u8,
    /// Vendor, 8 characters.
    pub vendor: String,
    /// Product, 16 characters.
    pub product: String,
    /// Revision, 4 characters.
    pub revision: String,
}

impl Inquiry {
    /// Reads the first 36 bytes.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let first = u8_at(bytes, 0)?;
        Some(Self {
            // A qualifier other than 0 says that nothing is connected there.
            device_type: if first >> 5 == 0 { first & 0x1f } else { 0x1f },
            vendor: text(bytes, 8, 8)?,
            product: text(bytes, 16, 16)?,
            revision: text(bytes, 32, 4)?,
        })
    }

    /// Whether it is a disk.
    #[must_use]
    pub const fn is_disk(&self) -> bool {
        matches!(self.device_type, 0x00 | 0x14)
    }

    /// Whether an ATA disk stands behind it: SAT layers say so in the vendor field (SAT-4, 8.1.2).
    #[must_use]
    pub fn is_ata(&self) -> bool {
        self.vendor == "ATA"
    }
}

/// Payload of a vital product data page; `None` when it is another page.
fn vpd(bytes: &[u8], page: u8) -> Option<&[u8]> {
    let len = usize::from(be16(bytes, 2)?);
    (u8_at(bytes, 1)? == page).then(|| &bytes[4..bytes.len().min(4 + len)])
}

/// Page 00h: which pages there are (7.7.16).
#[must_use]
pub fn vpd_pages(bytes: &[u8]) -> Vec<u8> {
    vpd(bytes, 0x00).map(<[u8]>::to_vec).unwrap_or_default()
}

/// Page 80h: the serial number (7.7.14).
#[must_use]
pub fn serial(bytes: &[u8]) -> Option<String> {
    let payload = vpd(bytes, 0x80)?;
    text(payload, 0, payload.len()).and_then(plausible_serial)
}

/// Page 83h: the name of the logical unit (7.7.6): NAA, else EUI-64.
#[must_use]
pub fn wwn(bytes: &[u8]) -> Option<String> {
    let mut rest = vpd(bytes, 0x83)?;
    let mut eui = None;
    while let [code_set, kind, _, len, ..] = *rest {
        let end = (4 + usize::from(len)).min(rest.len());
        let name = &rest[4..end];
        // Association 0 is the logical unit itself; code set 1 binary; types 3 NAA, 2 EUI-64.
        if code_set & 0x0f == 1 && kind & 0x30 == 0 {
            match kind & 0x0f {
                3 if matches!(name.len(), 8 | 16) => return plausible_wwn(name),
                2 if matches!(name.len(), 8 | 16) => eui = eui.or_else(|| plausible_wwn(name)),
                _ => {}
            }
        }
        rest = &rest[end..];
    }
    eui
}

/// Page B1h: turns a minute, 0 without platters (SBC-4, 6.6.2).
#[must_use]
pub fn rotation_rpm(bytes: &[u8]) -> Option<u16> {
    match be16(vpd(bytes, 0xb1)?, 0)? {
        1 => Some(0),
        rpm @ 0x0401..=0xfffe => Some(rpm),
        _ => None,
    }
}

/// Page 89h: the IDENTIFY data of the ATA disk behind a SAT layer (SAT-4, 12.4.2).
#[must_use]
pub fn has_ata_information(bytes: &[u8]) -> bool {
    // Byte 56 of the page is the command that brought the data: ECh for a disk.
    u8_at(bytes, 1) == Some(0x89) && u8_at(bytes, 56) == Some(0xec)
}

/// The parameters of a log page: code and value of each (7.3.2).
pub struct LogParameters<'b> {
    rest: &'b [u8],
    left: usize,
}

impl<'b> LogParameters<'b> {
    /// The parameters of page `page`; `None` when the bytes are another page.
    #[must_use]
    pub fn of(bytes: &'b [u8], page: u8) -> Option<Self> {
        let len = usize::from(be16(bytes, 2)?);
        // SPF, bit 6 of byte 0: a subpage, which is never asked for.
        (u8_at(bytes, 0)? & 0x7f == page)
            .then(|| Self { rest: &bytes[4..bytes.len().min(4 + len)], left: PARAMETERS_MAX })
    }
}

impl std::fmt::Debug for LogParameters<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "LogParameters({} bytes)", self.rest.len())
    }
}

impl<'b> Iterator for LogParameters<'b> {
    type Item = (u16, &'b [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let code = be16(self.rest, 0)?;
        let end = 4 + usize::from(u8_at(self.rest, 3)?);
        // A parameter that the page cuts off is not read.
        let value = self.rest.get(4..end)?;
        self.rest = &self.rest[end..];
        Some((code, value))
    }
}

/// One counter of a page.
fn counter(bytes: &[u8], page: u8, code: u16) -> Option<u64> {
    let (_, value) = LogParameters::of(bytes, page)?.find(|(found, _)| *found == code)?;
    be_any(value)
}

/// Page 00h: which pages there are (7.3.21).
#[must_use]
pub fn supported_pages(bytes: &[u8]) -> Vec<u8> {
    let list = || {
        let len = usize::from(be16(bytes, 2)?);
        (u8_at(bytes, 0)? & 0x7f == 0).then(|| bytes[4..bytes.len().min(4 + len)].to_vec())
    };
    list().unwrap_or_default()
}

/// Pages 02h, 03h and 05h: errors that were not corrected, parameter 6 (7.3.7).
#[must_use]
pub fn uncorrected(bytes: &[u8], page: u8) -> Option<u64> {
    counter(bytes, page, 6)
}

/// Pages 02h and 03h: bytes processed, parameter 5 (7.3.7).
#[must_use]
pub fn processed_bytes(bytes: &[u8], page: u8) -> Option<u64> {
    counter(bytes, page, 5)
}

/// Page 0Dh: temperature now and its limit, °C (7.3.23).
#[must_use]
pub fn temperature(bytes: &[u8]) -> (Option<i16>, Option<i16>) {
    let degrees = |wanted: u16| {
        let (_, value) = LogParameters::of(bytes, 0x0d)?.find(|(code, _)| *code == wanted)?;
        // FFh: cannot tell, or no limit. 0 is what simple devices say that have no sensor.
        u8_at(value, 1).filter(|byte| !matches!(byte, 0 | 0xff)).map(i16::from)
    };
    (degrees(0), degrees(1))
}

/// Page 0Eh: starts (parameter 4) and loads (parameter 6) so far (7.3.22).
#[must_use]
pub fn start_stop(bytes: &[u8]) -> (Option<u64>, Option<u64>) {
    (counter(bytes, 0x0e, 4), counter(bytes, 0x0e, 6))
}

/// Page 10h: the twenty newest self-tests, the newest first (7.3.19).
#[must_use]
pub fn self_tests(bytes: &[u8], power_on_hours: Option<u64>) -> Option<SelfTests> {
    let mut tests = SelfTests::default();
    let mut extended_passed = false;
    for (_, value) in
        LogParameters::of(bytes, 0x10)?.filter(|(code, value)| (1..=20).contains(code) && value.len() >= 16)
    {
        let (kind, result) = (value[0] >> 5, value[0] & 0x0f);
        let hours = be16(value, 2)?;
        if (kind, result, hours) == (0, 0, 0) {
            continue;
        }
        let outcome = match result {
            0 => SelfTestOutcome::Passed,
            1 | 2 => SelfTestOutcome::Aborted,
            3..=7 => SelfTestOutcome::Failed,
            15 => {
                // It does not say how far it is; REQUEST SENSE would.
                tests.running_percent_left = tests.running_percent_left.or(Some(100));
                continue;
            }
            _ => SelfTestOutcome::Unclear,
        };
        if tests.newest.is_none() {
            tests.newest = Some(outcome);
            tests.newest_age_hours = power_on_hours.map(|now| now.wrapping_sub(u64::from(hours)) & 0xffff);
        }
        // Self-test codes 2 background extended, 6 foreground extended.
        extended_passed |= outcome == SelfTestOutcome::Passed && matches!(kind, 2 | 6);
        if outcome == SelfTestOutcome::Failed && !extended_passed && tests.failed_at_hours.is_none() {
            tests.failed_at_hours = Some(u64::from(hours));
            tests.failed_lba = be_any(&value[4..12]).filter(|lba| *lba != u64::MAX);
        }
    }
    Some(tests)
}

/// Page 11h: share of life used, per cent (SBC-4, 6.4.8).
#[must_use]
pub fn wear_used_percent(bytes: &[u8]) -> Option<u8> {
    let (_, value) = LogParameters::of(bytes, 0x11)?.find(|(code, _)| *code == 1)?;
    u8_at(value, 3)
}

/// Page 15h: minutes powered on, and bad places that the background scan found (SBC-4, 6.4.2).
#[must_use]
pub fn background_scan(bytes: &[u8]) -> Option<(Option<u64>, u64)> {
    let mut minutes = None;
    let mut defects = 0;
    for (code, value) in LogParameters::of(bytes, 0x15)? {
        match code {
            0 => minutes = be32(value, 0).map(u64::from),
            0x0001..=0x0800 => defects += 1,
            _ => {}
        }
    }
    Some((minutes, defects))
}

/// Page 18h: errors of all phys together: invalid dwords, running disparity, loss of dword synchronization, phy resets that
/// failed (SPL-4, 9.2.8).
#[must_use]
pub fn phy_errors(bytes: &[u8]) -> Option<u64> {
    let mut sum = None;
    for (_, value) in LogParameters::of(bytes, 0x18)?.filter(|(_, value)| u8_at(value, 0).map(|b| b & 0x0f) == Some(6))
    {
        let mut at = 4;
        while let Some(len) = u8_at(value, at + 3) {
            for counter in [32, 36, 40, 44] {
                let Some(count) = be32(value, at + counter) else { break };
                sum = Some(sum.unwrap_or(0_u64).saturating_add(u64::from(count)));
            }
            at += 4 + usize::from(len);
        }
    }
    sum
}

/// Page 2Fh: additional sense code and qualifier of the informational exception, and the newest temperature, °C (7.3.11).
/// (0, 0) is "none".
#[must_use]
pub fn exception(bytes: &[u8]) -> Option<((u8, u8), Option<i16>)> {
    let (_, value) = LogParameters::of(bytes, 0x2f)?.find(|(code, _)| *code == 0)?;
    let degrees = u8_at(value, 2).filter(|byte| !matches!(byte, 0 | 0xff)).map(i16::from);
    Some(((u8_at(value, 0)?, u8_at(value, 1)?), degrees))
}

/// Length of the grown defect list, from the header of READ DEFECT DATA with `header` bytes, 4 or 8 (SBC-4, 5.18).
#[must_use]
pub fn grown_defects(bytes: &[u8], header: usize) -> Option<u64> {
    let flags = u8_at(bytes, 1)?;
    // GLISTV, bit 3: the grown list is meant.
    if flags & 0x08 == 0 {
        return None;
    }
    let list_bytes = match header {
        4 => u64::from(be16(bytes, 2)?),
        8 => u64::from(be32(bytes, 4)?),
        _ => return None,
    };
    // Formats: 0 short block; 1, 2 extended; 3 long block; 4 bytes from index; 5 physical sector.
    match flags & 0x07 {
        0 => Some(list_bytes / 4),
        1..=5 => Some(list_bytes / 8),
        _ => None,
    }
}
