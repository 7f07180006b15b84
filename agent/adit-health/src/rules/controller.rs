// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A hardware RAID controller: its logical drives, its physical ones as it sees them, their temperature and wear. What a
//! disk behind it says of itself is judged as any disk.

use super::environment::hot;
use crate::judge::Judge;
use crate::limits::{Limit, Rule};
use crate::model::{Component, Finding};
use adit_device::hpsa::cache::{CacheReading, OffBecause, Writes};
use adit_device::hpsa::{ControllerReading, LogicalDrive, LogicalState, PhysicalDrive};
use adit_wire::health::codes::{Check, ComponentKind, Quantity, Reason, Verdict};

/// BMIC_LAST_FAILURE_SMART_ERROR_REPORTED (Linux hpsa_cmd.h).
const SMART_ERROR_REPORTED: u8 = 0x37;
/// Below a drive's own limit by this much a warning begins, tenths of a degree.
const WARNING_BEFORE: i64 = 50;
/// Life used, per cent, as for any solid-state disk.
const WEAR_WARNING: u8 = 90;
const WEAR_CRITICAL: u8 = 100;

/// A cache whose battery charges, or whose memory something else needs, takes no writes for hours at most.
const CACHE_BACK_WITHIN_S: u64 = 24 * 3_600;

/// A controller and what stands behind it.
#[must_use]
pub fn controller(judge: &mut Judge<'_>, reading: &ControllerReading) -> Component {
    let id = if reading.serial.is_empty() { format!("hpsa-{}", reading.model) } else { reading.serial.clone() };
    let mut findings = vec![state(judge, &id, reading)];
    findings.extend(reading.logical.iter().enumerate().map(|(number, drive)| logical(number, drive)));
    for drive in &reading.physical {
        findings.push(physical(drive));
        findings.extend(drive.wear_percent.map(|percent| wear(drive, percent)));
        findings.extend(temperature(judge, &id, drive));
    }
    if reading.silent > 0 {
        let silent = Finding::new(Check::PhysicalDrive, Verdict::Warning, Reason::Stalled);
        findings.push(silent.with_detail(format!("{} of its drives", reading.silent)));
    }
    findings.extend(reading.cache.as_ref().map(|found| cache(judge, &id, found)));
    let hottest = reading.physical.iter().filter_map(|drive| drive.temperature_c).max();
    let readings = vec![
        (Quantity::Members, i64::try_from(reading.physical.len()).ok()),
        (Quantity::TemperatureTenths, hottest.map(|degrees| i64::from(degrees) * 10)),
    ];
    let label = format!("Smart Array {}", reading.model);
    Component { kind: ComponentKind::Controller, id, label, findings: Finding::worst_each(findings), readings }
}

fn state(judge: &mut Judge<'_>, id: &str, reading: &ControllerReading) -> Finding {
    let missing =
        |what: String| Finding::new(Check::ControllerState, Verdict::Critical, Reason::DeviceMissing).with_detail(what);
    // A drive that was pulled is simply not listed any more.
    let count = i64::try_from(reading.physical.len() + usize::from(reading.silent)).unwrap_or(i64::MAX);
    let most = judge.best(id, Check::PhysicalDrive, count);
    let configured = reading.configured.map_or(0, usize::from);
    if configured > reading.logical.len() {
        return missing(format!("{} of {configured} logical drives", configured - reading.logical.len()));
    }
    if count < most {
        return missing(format!("{} of {most} physical drives", most - count));
    }
    Finding::ok(Check::ControllerState)
}

fn logical(number: usize, drive: &LogicalDrive) -> Finding {
    let (verdict, reason) = match drive.state {
        Some(LogicalState::Ok | LogicalState::Unsupported) => return Finding::ok(Check::LogicalDrive),
        Some(LogicalState::Failed | LogicalState::NotAvailable) => (Verdict::Critical, Reason::Failed),
        Some(LogicalState::WrongDrive) => (Verdict::Critical, Reason::MemberFaulty),
        Some(LogicalState::Overheated) => (Verdict::Critical, Reason::TooHot),
        Some(LogicalState::Locked) => (Verdict::Critical, Reason::Locked),
        Some(LogicalState::InterimRecovery) => (Verdict::Critical, Reason::Degraded),
        Some(LogicalState::Recovering) => (Verdict::Warning, Reason::Rebuilding),
        Some(LogicalState::Overheating) => (Verdict::Warning, Reason::Hot),
        Some(
            LogicalState::Erasing | LogicalState::Initialising | LogicalState::Encrypting | LogicalState::Expanding,
        ) => (Verdict::Warning, Reason::Transforming),
        Some(LogicalState::Unlisted(_)) | None => (Verdict::Unknown, Reason::NotReadable),
    };
    let raid = if drive.raid_level.is_empty() { String::new() } else { format!(", RAID {}", drive.raid_level) };
    Finding::new(Check::LogicalDrive, verdict, reason).with_detail(format!("logical drive {}{raid}", number + 1))
}

/// Without its cache a controller is slow and its data safe; a cache without power through a cut would be neither, so the
/// firmware switches it off.
fn cache(judge: &mut Judge<'_>, id: &str, cache: &CacheReading) -> Finding {
    use Verdict::{Critical, Warning};
    let found = |verdict, reason, detail: &str| {
        Finding::new(Check::ControllerCache, verdict, reason).with_detail(detail.to_owned())
    };
    let most = judge.best(id, Check::ControllerCache, i64::from(cache.memory_mib));
    let passing = matches!(cache.writes, Writes::OffForNow(OffBecause::NotCharged | OffBecause::Busy));
    let for_s = judge.lasting(id, Reason::CacheOff, passing).unwrap_or(0);
    let power = if cache.has_capacitor { "capacitor" } else { "battery" };
    match cache.writes {
        _ if cache.lost_data => found(Critical, Reason::CacheLostData, "check the file systems on it"),
        Writes::OffForGood(OffBecause::DataLost) => {
            found(Critical, Reason::CacheLostData, "check the file systems on it")
        }
        Writes::OffForGood(_) => found(Critical, Reason::CacheOff, "until its module is repaired"),
        _ if cache.unflushed => found(Warning, Reason::CacheUnflushed, "bring the drives back before anything else"),
        _ if cache.batteries_failed > 0 || cache.power_fault => found(Warning, Reason::BatteryReplace, power),
        _ if cache.memory_errors => found(Warning, Reason::DeviceErrors, "the memory of its cache"),
        _ if i64::from(cache.memory_mib) < most => found(Warning, Reason::CacheOff, "a module was there"),
        Writes::OffForNow(OffBecause::NotCharged) if for_s >= CACHE_BACK_WITHIN_S => {
            found(Warning, Reason::BatteryReplace, &format!("its {power} does not charge"))
        }
        Writes::OffForNow(OffBecause::Busy) if for_s >= CACHE_BACK_WITHIN_S => {
            found(Warning, Reason::CacheOff, "for more than a day")
        }
        Writes::OffForNow(OffBecause::Other(code)) => found(Warning, Reason::CacheOff, &format!("code {code}")),
        Writes::OffForNow(OffBecause::NotWritable | OffBecause::DataLost) => found(Warning, Reason::CacheOff, ""),
        // A controller that was sold without a module, or whose admin wants none.
        Writes::On | Writes::Unconfigured | Writes::OffForNow(_) => Finding::ok(Check::ControllerCache),
    }
}

fn physical(drive: &PhysicalDrive) -> Finding {
    let warning = |reason| {
        let which = format!("bay {}: {} {}", drive.location(), drive.model, drive.serial);
        Finding::new(Check::PhysicalDrive, Verdict::Warning, reason).with_detail(which)
    };
    match drive.last_failure {
        SMART_ERROR_REPORTED => warning(Reason::FailurePredicted),
        0 if drive.failed_paths != 0 => warning(Reason::RedundancyLost),
        0 => Finding::ok(Check::PhysicalDrive),
        _ => warning(Reason::MemberFaulty),
    }
}

fn wear(drive: &PhysicalDrive, percent: u8) -> Finding {
    let (verdict, reason) = match percent {
        WEAR_CRITICAL.. => (Verdict::Critical, Reason::WornOut),
        WEAR_WARNING.. => (Verdict::Warning, Reason::Wearing),
        _ => return Finding::ok(Check::DiskWear),
    };
    Finding::new(Check::DiskWear, verdict, reason).with_detail(format!("bay {}: {percent} %", drive.location()))
}

fn temperature(judge: &mut Judge<'_>, id: &str, drive: &PhysicalDrive) -> Option<Finding> {
    let tenths = i64::from(drive.temperature_c?) * 10;
    let usual = judge.limit(Rule::DiskTemperature);
    let limit = drive.temperature_limit_c.map_or(usual, |degrees| {
        let critical = i64::from(degrees) * 10;
        Limit { warning: Some(critical - WARNING_BEFORE), critical: Some(critical), ..usual }
    });
    let id = format!("{id}:{}", drive.location());
    let finding = hot(judge.level_within(&id, Rule::DiskTemperature, limit, tenths), tenths);
    Some(finding.because(|| format!("bay {}: {} °C", drive.location(), tenths / 10)))
}
