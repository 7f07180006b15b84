// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Disks by what they say of themselves, beside what the kernel says of them. The maker's own verdict is never trusted alone:
//! most disks that die say "passed" to the end.
//!
//! What to do, by reason (NAME is the kernel's name in the label; have a disk of at least the same size at hand):
//!
//! | reason | what it means | do |
//! |---|---|---|
//! | `FailurePredicted`, `AttributeFailing`, `MediaReadOnly` | the disk gives itself up | replace it now; `mdadm /dev/mdN --replace /dev/NAME1` copies what it still reads |
//! | `PendingSectors`, `Uncorrectable` | data there is lost unless an array or a backup has it | `smartctl -t long /dev/NAME`; replace when it fails or the count grows |
//! | `SectorsReallocated`, `GrownDefects`, `MediaErrors` | the surface or the flash goes bad | buy the replacement; replace when it grows again |
//! | `SpinRetries` | motor or supply is weak | do not switch the disk off; check its supply; replace |
//! | `SelfTestFailed` | the disk's own test read a bad place | replace it |
//! | `Wearing`, `WornOut`, `SpareLow` | flash is used up by writing | plan, then do a replacement with a higher rated endurance (TBW) |
//! | `CableErrors` | transfers fail, the medium is well | reseat or replace the cable or the slot, not the disk |
//! | `CommandTimeouts` | the disk hangs or its supply sags | check cable and supply, then as `PendingSectors` |
//! | `BackupPowerFailed` | the disk's capacitor failed: a power cut may lose its cache | `nvme set-feature /dev/NAME -f 6 -v 0` until replaced |
//! | `Hot`, `TooHot` | cooling fails | clean filters, check fans |
//! | `AttributeFailed` | a value was beyond its maker's limit once | watch it |
//!
//! Attributes 1, 7 and 195 are never judged: their raw values are rates that each maker packs in a way of its own.

use super::block;
use crate::judge::Judge;
use crate::limits::Rule;
use crate::memory::Growth;
use crate::model::{Component, Finding};
use crate::readings::block::{DiskTemperature, KernelView};
use adit_device::reading::{DiskKind, DiskReading, FailedAttribute, Part, PowerState, SelfTestOutcome};
use adit_wire::health::codes::{Check, ComponentKind, Quantity, Reason, Verdict};

/// Reallocated sectors from which any further one is critical (Scrutiny's buckets: 16 to 70 sectors, 24 % fail in the year).
const REALLOCATED_MANY: i64 = 16;
/// How old values of a disk that is awake may be, seconds: an idle disk is read once a week.
const AWAKE_VALUES_OLD_S: u64 = 8 * 86_400;
/// How long a disk may sleep before nothing is known of it any more, seconds.
const ASLEEP_VALUES_OLD_S: u64 = 60 * 86_400;
/// How old a temperature may be, seconds.
const TEMPERATURE_OLD_S: u64 = 3_600;

/// NVMe critical warning bits (NVMe base specification 2.0, figure 207).
mod warning {
    pub(super) const SPARE: u8 = 1 << 0;
    pub(super) const TEMPERATURE: u8 = 1 << 1;
    pub(super) const RELIABILITY: u8 = 1 << 2;
    pub(super) const READ_ONLY: u8 = 1 << 3;
    pub(super) const BACKUP: u8 = 1 << 4;
    pub(super) const PERSISTENT_MEMORY: u8 = 1 << 5;
}

/// A disk by both sides: what it says of itself and what the kernel counts.
#[must_use]
pub fn disk(judge: &mut Judge<'_>, view: &KernelView, reading: &DiskReading) -> Component {
    let (mut findings, mut readings) = block::kernel(judge, view);
    findings.push(status(view, reading));
    findings.extend(exceptions(reading));
    let mut own = Own { judge, id: format!("{}/own", view.id), findings: &mut findings };
    own.media(reading);
    own.sectors(reading);
    own.wear(reading);
    own.findings.extend(self_tests(reading));
    own.transfers(reading);
    findings.extend(temperature(judge, view, reading));
    let view = named(view, reading);
    numbers(&view, reading, &mut readings);
    Component {
        kind: ComponentKind::Disk,
        id: view.id.clone(),
        label: view.label(),
        findings: Finding::worst_each(findings),
        readings,
    }
}

/// The kernel's view with the names that only the disk itself tells, as behind a USB bridge.
fn named(view: &KernelView, reading: &DiskReading) -> KernelView {
    let mut view = view.clone();
    if view.serial.is_none() && !reading.identity.model.is_empty() {
        view.model = Some(reading.identity.model.clone());
        view.serial.clone_from(&reading.identity.serial);
    }
    view
}

fn finding(check: Check, verdict: Verdict, reason: Reason, detail: impl Into<String>) -> Finding {
    Finding::new(check, verdict, reason).with_detail(detail)
}

/// The disk's own verdict, and whether it says anything at all.
fn status(view: &KernelView, reading: &DiskReading) -> Finding {
    let check = Check::DiskStatus;
    if reading.failing == Some(true) {
        let detail =
            reading.exception.map_or_else(|| "SMART status".to_owned(), |(asc, q)| format!("{asc:02X}h/{q:02X}h"));
        return finding(check, Verdict::Critical, Reason::FailurePredicted, detail);
    }
    let asleep = reading.power == PowerState::Asleep;
    let old = if asleep { ASLEEP_VALUES_OLD_S } else { AWAKE_VALUES_OLD_S };
    if reading.age_s > old {
        let state = if asleep { "asleep" } else { "not read" };
        let detail = format!("{state} for {} days", reading.age_s / 86_400);
        return finding(check, Verdict::Unknown, Reason::NotReadable, detail);
    }
    if asleep {
        return Finding::ok(check).with_detail("asleep");
    }
    if let Some(part) = reading.unusable.iter().find(|part| !matches!(part, Part::ErrorLog | Part::SelfTestLog)) {
        return finding(check, Verdict::Unknown, Reason::NotReadable, format!("{part:?} makes no sense"));
    }
    let silent = reading.failing.is_none()
        && reading.critical_warning.is_none()
        && reading.reallocated.is_none()
        && reading.power_on_hours.is_none();
    if silent && !view.is_virtual {
        return finding(check, Verdict::Unknown, Reason::NotReadable, "it tells nothing of its health");
    }
    Finding::ok(check)
}

/// What the disk marks by bits and codes of its own.
fn exceptions(reading: &DiskReading) -> Vec<Finding> {
    use Reason::{AttributeFailing, BackupPowerFailed, FailurePredicted, MediaReadOnly, SpareLow};
    use Verdict::{Critical, Warning};
    let mut bits = reading.critical_warning.unwrap_or(0);
    // Samsung sets "reliability degraded" when the rated life is used up (what Hetzner was told, 2026): that is wear, and
    // the rule for wear says it better.
    if only_worn(reading) {
        bits &= !warning::RELIABILITY;
    }
    let marks = [
        (warning::RELIABILITY, Check::DiskStatus, Critical, FailurePredicted, "reliability degraded"),
        (warning::READ_ONLY, Check::DiskStatus, Critical, MediaReadOnly, ""),
        (warning::BACKUP, Check::DiskStatus, Critical, BackupPowerFailed, ""),
        (warning::PERSISTENT_MEMORY, Check::DiskStatus, Warning, MediaReadOnly, "its persistent memory region"),
        (warning::SPARE, Check::DiskWear, Critical, SpareLow, "its own warning"),
    ];
    let marks = marks.into_iter().filter(|(bit, ..)| bits & bit != 0);
    let mut findings: Vec<Finding> =
        marks.map(|(_, check, v, reason, detail)| finding(check, v, reason, detail)).collect();
    findings.extend(reading.failed_attributes.iter().filter_map(attribute));
    // Additional sense code 0Bh: warnings (SPC-5, annex F). 0Bh/01h is temperature.
    match reading.exception {
        Some((0x0b, 0x03)) => {
            findings.push(finding(Check::DiskSelfTest, Critical, Reason::SelfTestFailed, "background self-test"));
        }
        Some((0x0b, 0x04 | 0x05)) => {
            findings.push(finding(Check::DiskMedia, Warning, Reason::MediaErrors, "found by its background scan"));
        }
        Some((0x0b, qualifier)) if qualifier != 0x01 => {
            findings.push(finding(
                Check::DiskStatus,
                Warning,
                AttributeFailing,
                format!("warning 0Bh/{qualifier:02X}h"),
            ));
        }
        Some(_) | None => {}
    }
    findings
}

/// Whether the rated life is used up while blocks and data are well.
fn only_worn(reading: &DiskReading) -> bool {
    let spare = reading.spare_percent.zip(reading.spare_threshold_percent).is_some_and(|(left, limit)| left >= limit);
    spare && reading.wear_used_percent >= Some(100) && reading.media_errors == Some(0)
}

fn attribute(failed: &FailedAttribute) -> Option<Finding> {
    let (verdict, reason) = match (failed.now, failed.prefailure) {
        (true, true) => (Verdict::Critical, Reason::AttributeFailing),
        (true, false) => (Verdict::Warning, Reason::AttributeFailing),
        (false, true) => (Verdict::Warning, Reason::AttributeFailed),
        // A hot summer's day of long ago stays in the worst value of 190 for ever.
        (false, false) => return None,
    };
    let value = if failed.now { failed.current } else { failed.worst };
    let detail = format!("attribute {}: {value}, limit {}", failed.id, failed.threshold);
    Some(finding(Check::DiskStatus, verdict, reason, detail))
}

/// The rules with memory of one disk. Its counters have a name of their own: the kernel counts some of the same things.
struct Own<'j, 'm, 'f> {
    judge: &'j mut Judge<'m>,
    id: String,
    findings: &'f mut Vec<Finding>,
}

fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

impl Own<'_, '_, '_> {
    fn growth(&mut self, what: Quantity, count: u64) -> Growth {
        self.judge.counter(&self.id, what, signed(count))
    }

    fn level(&mut self, rule: Rule, value: i64) -> Verdict {
        self.judge.level(&self.id, rule, value)
    }

    /// Sectors that are, or were, unreadable: the numbers that foretell best (Backblaze 2016; Google 2007: within 60 days of
    /// the first scan error a disk fails 39 times as often).
    fn sectors(&mut self, reading: &DiskReading) {
        let check = Check::DiskMedia;
        if let Some(worst) = reading.pending.max(reading.uncorrectable) {
            let growth = self.growth(Quantity::PendingSectors, worst);
            let grows = if growth.daily { Verdict::Critical } else { Verdict::Ok };
            let passing = self.passing(reading);
            let verdict =
                if passing { Verdict::Ok } else { self.level(Rule::PendingSectors, signed(worst)).worse(grows) };
            let (pending, scan) = (reading.pending.unwrap_or(0), reading.uncorrectable.unwrap_or(0));
            let found = Finding::judged(check, verdict, Reason::PendingSectors);
            self.findings.push(found.because(|| format!("{pending} pending, {scan} found by scan")));
        }
        if let Some(count) = reading.reallocated {
            let growth = self.growth(Quantity::ReallocatedSectors, count);
            let verdict = match (growth.two_days > 0, growth.week > 0) {
                (true, _) if signed(count) >= REALLOCATED_MANY => Verdict::Critical,
                (_, true) => Verdict::Warning,
                (_, false) => self.level(Rule::ReallocatedSectors, signed(count)),
            };
            let found = Finding::judged(check, verdict, Reason::SectorsReallocated);
            self.findings.push(found.because(|| format!("{count}, {} of them this week", growth.week)));
        }
        if let Some(count) = reading.spin_retries {
            let verdict = if count > 0 { Verdict::Warning } else { Verdict::Ok };
            let found = Finding::judged(check, verdict, Reason::SpinRetries);
            self.findings.push(found.because(|| format!("{count} times")));
        }
    }

    /// A solid-state disk may show a pending sector or two while it moves data about, for an hour or two (Crucial MX500,
    /// firmware M3CR023): only what stays a day counts there.
    fn passing(&mut self, reading: &DiskReading) -> bool {
        const FEW: u64 = 8;
        const STAYS_S: u64 = 86_400;
        let few =
            reading.pending.is_some_and(|count| (1..FEW).contains(&count)) && reading.uncorrectable.unwrap_or(0) == 0;
        let stays = self.judge.lasting(&self.id, Reason::PendingSectors, few).is_some_and(|for_s| for_s >= STAYS_S);
        reading.kind == DiskKind::AtaSsd && few && !stays
    }

    /// Errors that reached the host or could not be corrected, and lists of defects that grow.
    fn media(&mut self, reading: &DiskReading) {
        let check = Check::DiskMedia;
        if let Some(count) = reading.reported_uncorrectable.or(reading.uncorrected_errors) {
            let growth = self.growth(Quantity::UncorrectableErrors, count);
            // SCSI disks count a pulled cable too: for them growth alone is no proof.
            let verdict = match (growth.two_days > 0, reading.reported_uncorrectable.is_some()) {
                (true, true) => Verdict::Critical,
                _ if count > 0 => Verdict::Warning,
                _ => Verdict::Ok,
            };
            let found = Finding::judged(check, verdict, Reason::Uncorrectable);
            self.findings.push(found.because(|| format!("{count}, {} of them lately", growth.two_days)));
        }
        if let Some(count) = reading.media_errors {
            let growth = self.growth(Quantity::MediaErrors, count);
            let before = signed(count).saturating_sub(growth.week);
            let doubled = before > 0 && signed(count) >= before.saturating_mul(2);
            self.grown(check, Reason::MediaErrors, growth, doubled, count);
        }
        if let Some(count) = reading.grown_defects {
            let growth = self.growth(Quantity::GrownDefects, count);
            self.grown(check, Reason::GrownDefects, growth, false, count);
        }
        if let Some(count) = reading.scan_defects {
            let growth = self.growth(Quantity::BadBlocks, count);
            self.grown(check, Reason::MediaErrors, growth, false, count);
        }
    }

    fn grown(&mut self, check: Check, reason: Reason, growth: Growth, badly: bool, count: u64) {
        let verdict = match (growth.week > 0, badly) {
            (true, true) => Verdict::Critical,
            (true, false) => Verdict::Warning,
            (false, _) => Verdict::Ok,
        };
        let found = Finding::judged(check, verdict, reason);
        self.findings.push(found.because(|| format!("{count}, {} of them this week", growth.week)));
    }

    fn wear(&mut self, reading: &DiskReading) {
        // A threshold above 100 % is reserved: such a log (a counterfeit 980 PRO sent 255) says nothing of wear.
        if reading.spare_threshold_percent > Some(100) {
            return;
        }
        if let Some(used) = reading.wear_used_percent {
            let verdict = self.level(Rule::DiskWear, i64::from(used));
            let reason = if verdict == Verdict::Critical { Reason::WornOut } else { Reason::Wearing };
            self.findings.push(Finding::judged(Check::DiskWear, verdict, reason).because(|| format!("{used} % used")));
        }
        if let (Some(spare), Some(threshold)) = (reading.spare_percent, reading.spare_threshold_percent) {
            let verdict = if spare < threshold { Verdict::Critical } else { Verdict::Ok };
            let found = Finding::judged(Check::DiskWear, verdict, Reason::SpareLow);
            self.findings.push(found.because(|| format!("{spare} % left, limit {threshold} %")));
        }
    }

    /// Cable and time-outs: only what grows counts, the numbers never fall.
    fn transfers(&mut self, reading: &DiskReading) {
        if let Some(count) = reading.link_errors {
            let lately = self.growth(Quantity::TransferErrors, count).two_days;
            let verdict = self.level(Rule::TransferErrors, lately);
            let found = Finding::judged(Check::DiskLink, verdict, Reason::CableErrors);
            self.findings.push(found.because(|| format!("{lately} in the last two days")));
        }
        if let Some(count) = reading.command_timeouts {
            let lately = self.growth(Quantity::CommandTimeouts, count).two_days;
            let verdict = if lately > 0 { Verdict::Warning } else { Verdict::Ok };
            let found = Finding::judged(Check::DiskAnswers, verdict, Reason::CommandTimeouts);
            self.findings.push(found.because(|| format!("{lately} in the last two days")));
        }
    }
}

fn self_tests(reading: &DiskReading) -> Option<Finding> {
    let tests = &reading.self_tests;
    if let Some(hours) = tests.failed_at_hours {
        let at = tests.failed_lba.map_or_else(String::new, |lba| format!(", block {lba}"));
        let detail = format!("at {hours} h{at}");
        return Some(finding(Check::DiskSelfTest, Verdict::Critical, Reason::SelfTestFailed, detail));
    }
    tests.newest.filter(|outcome| *outcome != SelfTestOutcome::Unclear).map(|_| Finding::ok(Check::DiskSelfTest))
}

fn tenths(degrees: Option<i16>) -> Option<i64> {
    degrees.map(|degrees| i64::from(degrees) * 10)
}

/// The driver's temperature is newer than the disk's own, if there is one.
fn temperature(judge: &mut Judge<'_>, view: &KernelView, reading: &DiskReading) -> Option<Finding> {
    let hot = reading.critical_warning.is_some_and(|bits| bits & warning::TEMPERATURE != 0);
    let alarm = hot || reading.exception == Some((0x0b, 0x01));
    let fresh = reading.power != PowerState::Asleep && reading.age_s <= TEMPERATURE_OLD_S;
    let driver = view.temperature.filter(|found| found.tenths.is_some());
    let found = driver.map(|found| DiskTemperature { alarm: found.alarm || alarm, ..found }).or_else(|| {
        let found = DiskTemperature {
            tenths: tenths(reading.temperature_c.filter(|_| fresh)),
            warning: tenths(reading.temperature_warning_c),
            critical: tenths(reading.temperature_limit_c),
            alarm,
        };
        found.tenths.is_some().then_some(found)
    });
    found.map(|found| block::temperature(judge, view, &found))
}

/// Numbers that the disk tells; what it does not tell is left out.
fn numbers(view: &KernelView, reading: &DiskReading, readings: &mut Vec<(Quantity, Option<i64>)>) {
    let driver = view.temperature.and_then(|found| found.tenths);
    let told = [
        (Quantity::TemperatureTenths, driver.or_else(|| tenths(reading.temperature_c))),
        (Quantity::PowerOnHours, reading.power_on_hours.map(signed)),
        (Quantity::WrittenGib, reading.written_bytes.map(|bytes| signed(bytes >> 30))),
        (Quantity::ReallocatedSectors, reading.reallocated.map(signed)),
        (Quantity::PendingSectors, reading.pending.max(reading.uncorrectable).map(signed)),
        (Quantity::UncorrectableErrors, reading.reported_uncorrectable.or(reading.uncorrected_errors).map(signed)),
        (Quantity::MediaErrors, reading.media_errors.map(signed)),
        (Quantity::TransferErrors, reading.link_errors.map(signed)),
        (Quantity::GrownDefects, reading.grown_defects.map(signed)),
        (Quantity::WearPercent, reading.wear_used_percent.map(i64::from)),
        (Quantity::SparePercent, reading.spare_percent.map(i64::from)),
        (Quantity::UnsafeShutdowns, reading.unsafe_shutdowns.map(signed)),
        (Quantity::StartStops, reading.start_stops.map(signed)),
        (Quantity::AgeMinutes, Some(signed(reading.age_s / 60))),
    ];
    for (quantity, value) in told {
        if value.is_some() && !readings.iter().any(|(known, _)| *known == quantity) {
            readings.push((quantity, value));
        }
    }
}
