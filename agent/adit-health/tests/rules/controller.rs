// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Cases: HP Smart Array controllers.

use super::{Bench, Case};
use adit_device::hpsa::cache::{CacheReading, OffBecause, Writes};
use adit_device::hpsa::{ControllerReading, LogicalDrive, LogicalState, PhysicalDrive};
use adit_health::Finding;
use adit_health::rules::controller::controller;
use adit_wire::health::codes::{Check, Reason, Verdict};

const STATES: &str = "Linux, drivers/scsi/hpsa_cmd.h, HPSA_LV_*; hpsa.c, hpsa_show_volume_msg";
const MORE_STATES: &str = "cciss_vol_status(8), states of logical drives";
const FAILURES: &str = "Linux, drivers/scsi/hpsa_cmd.h, BMIC_LAST_FAILURE_*";
const GAUGE: &str = "Linux, drivers/scsi/hpsa_cmd.h, percent_endurance_used and temperature fields";
const CACHE: &str = "cciss_vol_status 1.12a, struct bmic_cache_configuration and cache_disable_info";
const PULLED: &str = "HPE Smart Array user guide: a removed drive is not listed any more";

fn drive(bay: u8) -> PhysicalDrive {
    PhysicalDrive {
        lun: [0, 0, 0, 0, 0, 0, bay, 1],
        model: "HP EG0600FBDSR".into(),
        serial: format!("EA01PC{bay}"),
        firmware: "HPD3".into(),
        port: "1I".into(),
        enclosure: 1,
        bay,
        last_failure: 0,
        temperature_c: Some(34),
        temperature_limit_c: Some(60),
        wear_percent: None,
        failed_paths: 0,
    }
}

fn array(state: LogicalState) -> ControllerReading {
    let logical = LogicalDrive { lun: [0; 8], id: "6060".into(), raid_level: "1(+0)".into(), state: Some(state) };
    ControllerReading {
        model: "P420i".into(),
        firmware: "8.32".into(),
        serial: "5001438024A1B2C0".into(),
        configured: Some(1),
        logical: vec![logical],
        physical: vec![drive(1), drive(2)],
        silent: 0,
        cache: Some(fbwc()),
    }
}

/// A well cache of 1 GiB with a capacitor.
fn fbwc() -> CacheReading {
    CacheReading { memory_mib: 1024, writes: Writes::On, has_capacitor: true, ..CacheReading::default() }
}

/// With a cache that is changed so.
fn cached(bench: &mut Bench, change: fn(&mut CacheReading)) -> Vec<Finding> {
    let mut cache = fbwc();
    change(&mut cache);
    judged(bench, &ControllerReading { cache: Some(cache), ..array(LogicalState::Ok) })
}

/// The same after more than a day.
fn cached_for_a_day(bench: &mut Bench, change: fn(&mut CacheReading)) -> Vec<Finding> {
    drop(cached(bench, change));
    bench.pass(86_400);
    cached(bench, change)
}

fn judged(bench: &mut Bench, reading: &ControllerReading) -> Vec<Finding> {
    controller(&mut bench.judge(), reading).findings
}

fn volume(bench: &mut Bench, state: LogicalState) -> Vec<Finding> {
    judged(bench, &array(state))
}

/// With a second drive that is changed so.
fn with(bench: &mut Bench, change: fn(&mut PhysicalDrive)) -> Vec<Finding> {
    let mut reading = array(LogicalState::Ok);
    change(&mut reading.physical[1]);
    judged(bench, &reading)
}

/// The same for ten minutes.
fn lasting(bench: &mut Bench, change: fn(&mut PhysicalDrive)) -> Vec<Finding> {
    drop(with(bench, change));
    bench.pass(600);
    with(bench, change)
}

macro_rules! case {
    ($name:literal, $source:expr, $judge:expr $(, $check:ident $verdict:ident $reason:ident)*) => {
        Case { name: $name, source: $source, judge: $judge, expect: &[$((Check::$check, Verdict::$verdict, Reason::$reason)),*] }
    };
}

pub(super) const CASES: &[Case] = &[
    case!("all well", STATES, |b| volume(b, LogicalState::Ok)),
    case!("firmware without the page", STATES, |b| volume(b, LogicalState::Unsupported)),
    case!("failed", STATES, |b| volume(b, LogicalState::Failed), LogicalDrive Critical Failed),
    case!("not available", STATES, |b| volume(b, LogicalState::NotAvailable), LogicalDrive Critical Failed),
    case!("erased", STATES, |b| volume(b, LogicalState::Erasing), LogicalDrive Warning Transforming),
    case!("parity is initialised", STATES, |b| volume(b, LogicalState::Initialising), LogicalDrive Warning Transforming),
    case!("no key", STATES, |b| volume(b, LogicalState::Locked), LogicalDrive Critical Locked),
    case!("encrypted just now", STATES, |b| volume(b, LogicalState::Encrypting), LogicalDrive Warning Transforming),
    case!("interim recovery", MORE_STATES, |b| volume(b, LogicalState::InterimRecovery), LogicalDrive Critical Degraded),
    case!("rebuilding", MORE_STATES, |b| volume(b, LogicalState::Recovering), LogicalDrive Warning Rebuilding),
    case!("wrong drive replaced", MORE_STATES, |b| volume(b, LogicalState::WrongDrive), LogicalDrive Critical MemberFaulty),
    case!("overheating", MORE_STATES, |b| volume(b, LogicalState::Overheating), LogicalDrive Warning Hot),
    case!("overheated", MORE_STATES, |b| volume(b, LogicalState::Overheated), LogicalDrive Critical TooHot),
    case!("expanded", MORE_STATES, |b| volume(b, LogicalState::Expanding), LogicalDrive Warning Transforming),
    case!("a state that nobody lists", STATES, |b| volume(b, LogicalState::Unlisted(0x77)), LogicalDrive Unknown NotReadable),
    case!("a drive that the controller gave up", FAILURES, |b| with(b, |d| d.last_failure = 0x07), PhysicalDrive Warning MemberFaulty),
    case!("a drive that predicts its failure", FAILURES, |b| with(b, |d| d.last_failure = 0x37), PhysicalDrive Warning FailurePredicted),
    case!("one of two paths", GAUGE, |b| with(b, |d| d.failed_paths = 2), PhysicalDrive Warning RedundancyLost),
    case!("worn", GAUGE, |b| with(b, |d| d.wear_percent = Some(93)), DiskWear Warning Wearing),
    case!("worn out", GAUGE, |b| with(b, |d| d.wear_percent = Some(100)), DiskWear Critical WornOut),
    case!("half worn", GAUGE, |b| with(b, |d| d.wear_percent = Some(50))),
    case!("warm for a moment", GAUGE, |b| with(b, |d| d.temperature_c = Some(56))),
    case!("warm", GAUGE, |b| lasting(b, |d| d.temperature_c = Some(56)), Temperature Warning Hot),
    case!("too warm", GAUGE, |b| lasting(b, |d| d.temperature_c = Some(61)), Temperature Critical TooHot),
    case!("a drive was pulled", PULLED, |b| {
        drop(volume(b, LogicalState::Ok));
        let mut reading = array(LogicalState::Ok);
        reading.physical.pop();
        judged(b, &reading)
    }, ControllerState Critical DeviceMissing),
    case!("a drive does not answer", PULLED, |b| {
        drop(volume(b, LogicalState::Ok));
        let mut reading = array(LogicalState::Ok);
        reading.physical.pop();
        reading.silent = 1;
        judged(b, &reading)
    }, PhysicalDrive Warning Stalled),
    case!("a cache that was switched off", CACHE, |b| cached(b, |c| c.writes = Writes::OffForNow(OffBecause::Wanted))),
    case!("a cache that is not configured", CACHE, |b| cached(b, |c| c.writes = Writes::Unconfigured)),
    case!("no cache module, and never one", CACHE, |b| {
        cached(b, |c| {
            *c = CacheReading { writes: Writes::OffForNow(OffBecause::NotAttached), ..CacheReading::default() }
        })
    }),
    case!("the cache module is gone", CACHE, |b| {
        drop(cached(b, |_| ()));
        cached(b, |c| *c = CacheReading { writes: Writes::OffForNow(OffBecause::NotAttached), ..CacheReading::default() })
    }, ControllerCache Warning CacheOff),
    case!("the capacitor charges after a start", CACHE, |b| cached(b, |c| c.writes =
        Writes::OffForNow(OffBecause::NotCharged))),
    case!("the capacitor does not charge", CACHE, |b| {
        cached_for_a_day(b, |c| c.writes = Writes::OffForNow(OffBecause::NotCharged))
    }, ControllerCache Warning BatteryReplace),
    case!("a rebuild needs the cache", CACHE, |b| cached(b, |c| c.writes = Writes::OffForNow(OffBecause::Busy))),
    case!("something needs the cache for a day", CACHE, |b| {
        cached_for_a_day(b, |c| c.writes = Writes::OffForNow(OffBecause::Busy))
    }, ControllerCache Warning CacheOff),
    case!("foreign data in the cache", CACHE, |b| {
        cached(b, |c| c.writes = Writes::OffForNow(OffBecause::Other(0)))
    }, ControllerCache Warning CacheOff),
    case!("the cache cannot be written", CACHE, |b| {
        cached(b, |c| c.writes = Writes::OffForGood(OffBecause::NotWritable))
    }, ControllerCache Critical CacheOff),
    case!("the cache cannot be read back", CACHE, |b| {
        cached(b, |c| c.writes = Writes::OffForGood(OffBecause::DataLost))
    }, ControllerCache Critical CacheLostData),
    case!("data may be lost since a reset", CACHE, |b| cached(b, |c| c.lost_data = true), ControllerCache Critical CacheLostData),
    case!("data for drives that are away", CACHE, |b| cached(b, |c| c.unflushed = true), ControllerCache Warning CacheUnflushed),
    case!("one of two batteries failed", CACHE, |b| {
        cached(b, |c| (c.has_capacitor, c.batteries, c.batteries_failed) = (false, 2, 1))
    }, ControllerCache Warning BatteryReplace),
    case!("the battery cannot be switched on", CACHE, |b| cached(b, |c| c.power_fault = true), ControllerCache Warning BatteryReplace),
    case!("errors in the cache's memory", CACHE, |b| cached(b, |c| c.memory_errors = true), ControllerCache Warning DeviceErrors),
    case!("a logical drive is not listed", STATES, |b| {
        judged(b, &ControllerReading { configured: Some(2), ..array(LogicalState::Ok) })
    }, ControllerState Critical DeviceMissing),
];
