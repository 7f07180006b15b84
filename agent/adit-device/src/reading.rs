// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What a disk says about itself, in one shape for ATA, NVMe and SCSI. Every number has a unit; what the disk does not
//! tell is `None`, never 0. Judging is for others.

use serde::{Deserialize, Serialize};

/// Who a disk is. Texts are without padding.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Model; for SCSI vendor and product with a blank between.
    pub model: String,
    /// Serial number; `None` when it is blank, all zero or all the same character.
    pub serial: Option<String>,
    /// Firmware revision.
    pub firmware: String,
    /// World wide name, 16 or 32 lower-case hex digits: NAA or EUI-64 of the disk; `None` when there is none or it is all
    /// zero.
    pub wwn: Option<String>,
}

impl Identity {
    /// A name that stays over reboots and slots: the WWN, else model and serial number, else nothing.
    #[must_use]
    pub fn stable_id(&self) -> Option<String> {
        let serial = self.serial.as_deref();
        self.wwn.clone().or_else(|| serial.map(|serial| format!("{}-{serial}", self.model).replace(' ', "_")))
    }
}

/// The serial number, unless it tells nothing: blank, or one character over and over (makers of USB bridges leave zeros).
pub(crate) fn plausible_serial(text: String) -> Option<String> {
    let mut characters = text.chars().filter(|c| !c.is_whitespace());
    let first = characters.next()?;
    (text.len() == 1 || characters.any(|c| c != first)).then_some(text)
}

/// A WWN of 8 or 16 bytes as hex; `None` when all bytes are equal, as 0 and FFh are.
pub(crate) fn plausible_wwn(bytes: &[u8]) -> Option<String> {
    let first = *bytes.first()?;
    let tells = bytes.iter().any(|byte| *byte != first);
    tells.then(|| bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// What a disk is made of and how it speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum DiskKind {
    /// Not known, e.g. because it slept whenever it was looked at.
    #[default]
    Unknown,
    /// ATA with platters.
    AtaHdd,
    /// ATA without.
    AtaSsd,
    /// NVMe.
    Nvme,
    /// SCSI or SAS with platters.
    ScsiHdd,
    /// SCSI or SAS without.
    ScsiSsd,
}

impl DiskKind {
    /// Whether it has platters: only such disks sleep, and only they are cooked by 60 °C.
    #[must_use]
    pub const fn rotates(self) -> bool {
        matches!(self, Self::AtaHdd | Self::ScsiHdd | Self::Unknown)
    }
}

/// What a disk was doing when it was looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum PowerState {
    /// It does not tell.
    #[default]
    Unknown,
    /// Working, or ready to.
    Active,
    /// Its platters turn; heads may be parked.
    Idle,
    /// Its platters stand.
    Asleep,
}

/// An attribute whose value has reached the maker's threshold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedAttribute {
    /// Number of the attribute, e.g. 5.
    pub id: u8,
    /// The disk's own value, 1 to 253, higher is better.
    pub current: u8,
    /// The lowest it ever was.
    pub worst: u8,
    /// The value at which the maker says failed.
    pub threshold: u8,
    /// Foretells failure within 24 hours; otherwise it only tells age.
    pub prefailure: bool,
    /// At or below the threshold now; otherwise only once in the past.
    pub now: bool,
}

/// How a self-test came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SelfTestOutcome {
    /// No error found.
    Passed,
    /// Ended by the host, a reset, a format.
    Aborted,
    /// The disk found itself faulty, or could not finish for a fault.
    Failed,
    /// A number that the standards do not explain.
    Unclear,
}

/// What the log of self-tests says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SelfTests {
    /// How the newest finished test came out.
    pub newest: Option<SelfTestOutcome>,
    /// Power-on hours that have passed since it.
    pub newest_age_hours: Option<u64>,
    /// Hours powered on at the newest *failed* test that no later extended test has disproved.
    pub failed_at_hours: Option<u64>,
    /// First bad block that a failed test named.
    pub failed_lba: Option<u64>,
    /// A test is running: per cent left.
    pub running_percent_left: Option<u8>,
}

/// Parts of a disk's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Part {
    /// Who it is.
    Identity,
    /// SMART RETURN STATUS.
    Status,
    /// SMART attributes.
    Attributes,
    /// Their thresholds.
    Thresholds,
    /// Device statistics.
    Statistics,
    /// Error log.
    ErrorLog,
    /// Self-test log.
    SelfTestLog,
    /// NVMe health log.
    Health,
    /// A SCSI log page.
    LogPage,
}

/// What a disk said about itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskReading {
    /// Who it is.
    pub identity: Identity,
    /// What it is.
    pub kind: DiskKind,
    /// What it was doing. `Asleep`: the rest is from the last time that it was awake.
    pub power: PowerState,
    /// How old the rest is, seconds. The holder of the reading counts it up.
    pub age_s: u64,
    /// Size, bytes.
    pub size_bytes: Option<u64>,
    /// Turns a minute.
    pub rotation_rpm: Option<u16>,
    /// Answers that came and made no sense (wrong checksum or length); their fields are `None`.
    pub unusable: Vec<Part>,

    /// The disk's own verdict on itself: failing. ATA SMART RETURN STATUS, or SCSI informational exceptions.
    pub failing: Option<bool>,
    /// SCSI informational exception, additional sense code and qualifier; 5Dh is a predicted failure, 0Bh a warning.
    pub exception: Option<(u8, u8)>,
    /// NVMe critical warning bits: 0 spare, 1 temperature, 2 reliability, 3 read-only, 4 backup power, 5 persistent memory.
    pub critical_warning: Option<u8>,
    /// Attributes at or below their threshold, now or once.
    pub failed_attributes: Vec<FailedAttribute>,

    /// Sectors replaced by spare ones.
    pub reallocated: Option<u64>,
    /// Sectors that could not be read and wait for a decision (attribute 197).
    pub pending: Option<u64>,
    /// Sectors that offline scans could not read (attribute 198).
    pub uncorrectable: Option<u64>,
    /// Errors reported to the host as uncorrectable (attribute 187, device statistics page 4).
    pub reported_uncorrectable: Option<u64>,
    /// Attempts to spin up again (attribute 10), or mechanical start failures (device statistics page 3).
    pub spin_retries: Option<u64>,
    /// Commands that ran into their time limit: the lowest 16 bits of attribute 188.
    pub command_timeouts: Option<u64>,
    /// Errors on the cable (attribute 199, device statistics page 6, SAS phys together).
    pub link_errors: Option<u64>,
    /// SCSI: length of the grown defect list.
    pub grown_defects: Option<u64>,
    /// SCSI: uncorrected errors of reads, writes and verifies together.
    pub uncorrected_errors: Option<u64>,
    /// SCSI: bad places that the background scan found.
    pub scan_defects: Option<u64>,
    /// NVMe: unrecovered data integrity errors.
    pub media_errors: Option<u64>,
    /// Entries ever written to the error log.
    pub error_log_entries: Option<u64>,

    /// Share of the rated life used, per cent; may exceed 100. Always *used*, never left.
    pub wear_used_percent: Option<u8>,
    /// NVMe: spare blocks left, per cent.
    pub spare_percent: Option<u8>,
    /// NVMe: the spare share below which the disk warns, per cent.
    pub spare_threshold_percent: Option<u8>,
    /// Bytes written by the host over the disk's life.
    pub written_bytes: Option<u64>,
    /// Bytes read by the host over the disk's life.
    pub read_bytes: Option<u64>,

    /// Hours powered on.
    pub power_on_hours: Option<u64>,
    /// Times powered on.
    pub power_cycles: Option<u64>,
    /// Times started or its heads loaded, whichever the disk counts.
    pub start_stops: Option<u64>,
    /// Times that the heads were loaded.
    pub load_cycles: Option<u64>,
    /// Times that power went away without a word.
    pub unsafe_shutdowns: Option<u64>,

    /// Temperature now, °C.
    pub temperature_c: Option<i16>,
    /// Temperature at which the disk itself warns, °C.
    pub temperature_warning_c: Option<i16>,
    /// Highest temperature that the disk is made for, °C.
    pub temperature_limit_c: Option<i16>,
    /// Self-tests.
    pub self_tests: SelfTests,
}

impl DiskReading {
    /// What is known of a disk that sleeps and was never seen awake: nothing.
    #[must_use]
    pub fn asleep() -> Self {
        Self { power: PowerState::Asleep, ..Self::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_serial_that_tells_nothing_is_none() {
        for bad in ["", "   ", "0000000000", "0 00 0", "FFFFFFFF", "xx", "????"] {
            assert_eq!(plausible_serial(bad.to_owned()), None, "{bad:?}");
        }
        for good in ["WD-1", "00000001", "Z"] {
            assert_eq!(plausible_serial(good.to_owned()).as_deref(), Some(good));
        }
        assert_eq!(plausible_wwn(&[0; 8]), None);
        assert_eq!(plausible_wwn(&[0xff; 8]), None);
        assert_eq!(plausible_wwn(&[0x50, 1, 2, 3, 4, 5, 6, 7]).as_deref(), Some("5001020304050607"));
    }

    #[test]
    fn the_stable_id_prefers_the_wwn() {
        let mut identity = Identity { model: "ST 4000".into(), serial: Some("Z1".into()), ..Identity::default() };
        assert_eq!(identity.stable_id().as_deref(), Some("ST_4000-Z1"));
        identity.wwn = Some("5000c500".into());
        assert_eq!(identity.stable_id().as_deref(), Some("5000c500"));
        assert_eq!(Identity::default().stable_id(), None);
    }
}
