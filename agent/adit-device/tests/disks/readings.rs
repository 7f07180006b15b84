// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What is read from simulated disks, field by field; what power states, unit attentions and bridges do to it.

use crate::distinct;
use adit_device::command::ScsiCommand;
use adit_device::reading::{FailedAttribute, SelfTestOutcome, SelfTests};
use adit_device::sim::{AtaDisk, AtaPower, NvmeDisk, ScsiDisk};
use adit_device::standby::{KernelSight, Plan, Standby, StandbyPolicy};
use adit_device::transport::{Scsi, ScsiReply, TransportError};
use adit_device::{
    Attachment, DiskKind, DiskReading, Permit, PowerState, ReadError, UNIT_ATTENTION_RETRIES, Visit, read_ata,
    read_disk, read_nvme, read_scsi,
};

#[track_caller]
pub(crate) fn read(visit: Result<Visit, ReadError>) -> DiskReading {
    match visit.expect("an answer") {
        Visit::Read(reading) => *reading,
        Visit::LeftAlone(state) => panic!("left alone: {state:?}"),
    }
}

#[test]
fn an_old_hard_disk_is_read_from_its_attributes() {
    let reading = read(read_ata(&mut distinct::old_hdd(), Permit::Wake));
    assert_eq!(reading.kind, DiskKind::AtaHdd);
    assert_eq!(reading.identity.model, "ADIT OLD HDD 2TB");
    assert_eq!(reading.identity.serial.as_deref(), Some("OLD-7F3A11"));
    assert_eq!(
        (reading.identity.firmware.as_str(), reading.identity.wwn.as_deref()),
        ("OF21", Some("50014ee20abcdef1"))
    );
    assert_eq!((reading.size_bytes, reading.rotation_rpm), (Some(2_000_398_934_016), Some(5405)));
    assert_eq!((reading.failing, reading.unusable.as_slice()), (Some(true), &[][..]));
    let failed =
        |id, current, worst, threshold, now| FailedAttribute { id, current, worst, threshold, prefailure: true, now };
    assert_eq!(reading.failed_attributes, [failed(5, 36, 35, 36, true), failed(10, 99, 51, 97, false)]);
    let counters = [
        reading.reallocated,
        reading.pending,
        reading.uncorrectable,
        reading.reported_uncorrectable,
        reading.spin_retries,
        reading.command_timeouts,
        reading.link_errors,
        reading.error_log_entries,
        reading.power_on_hours,
        reading.power_cycles,
        reading.start_stops,
        reading.load_cycles,
    ];
    assert_eq!(counters, [2011, 24, 17, 61, 3, 7, 6, 213, 31_207, 417, 1029, 90_411].map(Some));
    assert_eq!(reading.temperature_c, Some(43));
    let expected = SelfTests {
        newest: Some(SelfTestOutcome::Aborted),
        newest_age_hours: Some(7),
        failed_at_hours: Some(31_100),
        failed_lba: Some(0x00ab_cdef),
        running_percent_left: None,
    };
    assert_eq!(reading.self_tests, expected);
    assert_eq!((reading.wear_used_percent, reading.written_bytes), (None, None));
}

#[test]
fn statistics_go_before_attributes() {
    let reading = read(read_ata(&mut distinct::hdd(), Permit::Wake));
    let counters = [
        reading.power_cycles,
        reading.power_on_hours,
        reading.reallocated,
        reading.spin_retries,
        reading.reported_uncorrectable,
        reading.link_errors,
        reading.load_cycles,
        reading.pending,
        reading.uncorrectable,
        reading.error_log_entries,
        reading.written_bytes,
        reading.read_bytes,
    ];
    let expected = [33, 20_123, 112, 2, 19, 5, 742, 24, 17, 71, 34_567_890_123 * 512, 98_765_432_109 * 512];
    assert_eq!(counters, expected.map(Some));
    assert_eq!((reading.temperature_c, reading.temperature_limit_c), (Some(38), Some(61)));
    // The short test that failed was disproved by the extended one that passed after it.
    let tests = reading.self_tests;
    assert_eq!((tests.newest, tests.newest_age_hours), (Some(SelfTestOutcome::Passed), Some(112)));
    assert_eq!((tests.failed_at_hours, tests.running_percent_left), (None, Some(40)));
    let mut with_log = AtaDisk { pending_defects: Some(3), ..distinct::hdd() };
    assert_eq!(read(read_ata(&mut with_log, Permit::Wake)).pending, Some(3));
}

#[test]
fn a_solid_state_disk_tells_its_wear() {
    let mut disk = distinct::ssd();
    let reading = read(read_disk(&mut disk, Attachment::Usb, Permit::Wake));
    assert_eq!((reading.kind, reading.wear_used_percent, reading.rotation_rpm), (DiskKind::AtaSsd, Some(23), None));
    // Without statistics the attributes tell it.
    let mut disk = AtaDisk { statistics: None, ..distinct::ssd() };
    disk.set_raw(177, 900);
    disk.attributes.iter_mut().filter(|attribute| attribute.id == 177).for_each(|attribute| attribute.current = 81);
    assert_eq!(read(read_ata(&mut disk, Permit::Wake)).wear_used_percent, Some(19));
}

#[test]
fn an_nvme_controller_is_read() {
    let reading = read_nvme(&mut distinct::nvme()).expect("an answer");
    assert_eq!((reading.identity.model.as_str(), reading.identity.firmware.as_str()), ("ADIT NVME 2TB", "VF9"));
    assert_eq!(reading.identity.stable_id().as_deref(), Some("ADIT_NVME_2TB-NVM-5512QQ"));
    assert_eq!((reading.critical_warning, reading.temperature_c), (Some(0x0d), Some(47)));
    assert_eq!((reading.temperature_warning_c, reading.temperature_limit_c), (Some(76), Some(85)));
    let shares = [reading.spare_percent, reading.spare_threshold_percent, reading.wear_used_percent];
    assert_eq!(shares, [8, 12, 97].map(Some));
    let counters = [
        reading.size_bytes,
        reading.read_bytes,
        reading.written_bytes,
        reading.power_cycles,
        reading.power_on_hours,
        reading.unsafe_shutdowns,
        reading.media_errors,
        reading.error_log_entries,
    ];
    let expected =
        [2_000_398_934_016, 512_000 * 123_456_789, 512_000 * 987_654_321, 211, 15_999, 44, 14, 639].map(Some);
    assert_eq!(counters, expected);
    let expected = SelfTests {
        newest: Some(SelfTestOutcome::Failed),
        newest_age_hours: Some(99),
        failed_at_hours: Some(15_900),
        failed_lba: Some(0x0fed_cba9),
        running_percent_left: Some(65),
    };
    assert_eq!(reading.self_tests, expected);
    let mut without = NvmeDisk { self_tests: None, ..distinct::nvme() };
    assert_eq!(read_nvme(&mut without).expect("an answer").self_tests, SelfTests::default());
}

#[test]
fn a_scsi_disk_is_read_through_its_unit_attentions() {
    let mut disk = distinct::scsi();
    let reading = read(read_scsi(&mut disk, Permit::Wake));
    assert!(disk.attentions.is_empty());
    assert_eq!(reading.identity.model, "ADITSAS SAS HDD 600G");
    assert_eq!(reading.identity.serial.as_deref(), Some("SAS-90210B"));
    assert_eq!(
        (reading.identity.firmware.as_str(), reading.identity.wwn.as_deref()),
        ("SR12", Some("5000cca013579bde"))
    );
    assert_eq!((reading.kind, reading.rotation_rpm), (DiskKind::ScsiHdd, Some(15_030)));
    assert_eq!((reading.failing, reading.exception), (Some(true), Some((0x5d, 0x10))));
    let counters = [
        reading.uncorrected_errors,
        reading.written_bytes,
        reading.read_bytes,
        reading.start_stops,
        reading.load_cycles,
        reading.link_errors,
        reading.scan_defects,
        reading.grown_defects,
        reading.power_on_hours,
    ];
    assert_eq!(counters, [19, 123_456_789_000, 987_654_321_000, 87, 1_234, 90, 9, 37, 30_500].map(Some));
    assert_eq!((reading.temperature_c, reading.temperature_limit_c), (Some(41), Some(68)));
    let expected = SelfTests {
        newest: Some(SelfTestOutcome::Passed),
        newest_age_hours: Some(100),
        failed_at_hours: Some(30_300),
        failed_lba: Some(0x1122_3344),
        running_percent_left: None,
    };
    assert_eq!(reading.self_tests, expected);
    let mut solid = ScsiDisk { rotation: 1, wear: Some(61), ..distinct::scsi() };
    let reading = read(read_scsi(&mut solid, Permit::Wake));
    assert_eq!((reading.kind, reading.wear_used_percent), (DiskKind::ScsiSsd, Some(61)));
}

#[test]
fn retries_of_unit_attentions_end() {
    let attentions = vec![(0x29, 0); UNIT_ATTENTION_RETRIES];
    let mut disk = ScsiDisk { attentions, ..ScsiDisk::default() };
    assert_eq!(read(read_scsi(&mut disk, Permit::ActiveOnly)).power, PowerState::Active);
    let mut disk = ScsiDisk { attentions: vec![(0x29, 0); 1000], ..ScsiDisk::default() };
    let reading = read(read_scsi(&mut disk, Permit::ActiveOnly));
    assert_eq!((reading.power, reading.uncorrected_errors), (PowerState::Unknown, None));
}

#[test]
fn a_disk_without_log_pages_still_says_who_it_is() {
    let mut disk = ScsiDisk { without_logs: true, ..ScsiDisk::default() };
    let reading = read(read_scsi(&mut disk, Permit::ActiveOnly));
    assert_eq!((reading.identity.serial.as_deref(), reading.failing), (Some("SIM-SCSI-0001"), None));
    assert_eq!(reading.unusable, []);
    let mut tape = ScsiDisk { device_type: 1, ..ScsiDisk::default() };
    assert_eq!(read_disk(&mut tape, Attachment::Direct, Permit::Wake), Err(ReadError::NotADisk(1)));
}

/// Reads by every permit in every state; gives what was left alone and how often the disk was woken.
/// Tells ATA information and passes no ATA command on, as Linux' scsi_debug does.
struct Pretender(ScsiDisk);

impl Scsi for Pretender {
    fn execute(&mut self, command: &ScsiCommand, data: &mut [u8]) -> Result<ScsiReply, TransportError> {
        if command.cdb().starts_with(&[0x12, 0x01, 0x89]) {
            data[1..4].copy_from_slice(&[0x89, 0x02, 0x38]);
            data[56] = 0xec;
            return Ok(ScsiReply::good());
        }
        self.0.execute(command, data)
    }
}

#[test]
fn a_disk_that_claims_to_be_ata_and_is_not_is_read_as_what_it_is() {
    let mut pretender = Pretender(distinct::scsi());
    assert!(adit_device::scsi::has_ata_information(&{
        let mut page = vec![0; 572];
        let ask = ScsiCommand::vpd(adit_device::command::VpdPage::AtaInformation, 572);
        pretender.execute(&ask, &mut page).unwrap();
        page
    }));
    let honest = read(read_disk(&mut distinct::scsi(), Attachment::Direct, Permit::Wake));
    assert_eq!(read(read_disk(&mut pretender, Attachment::Direct, Permit::Wake)), honest);
}

fn all_states<D: Scsi>(make: impl Fn(usize) -> D, states: usize, woken: impl Fn(&D) -> u32) -> (usize, u32) {
    let (mut left_alone, mut wakeups) = (0, 0);
    for state in 0..states {
        for permit in [Permit::ActiveOnly, Permit::IdleToo] {
            let mut disk = make(state);
            let visit = read_disk(&mut disk, Attachment::Direct, permit).expect("an answer");
            left_alone += usize::from(matches!(visit, Visit::LeftAlone(_)));
            wakeups += woken(&disk);
        }
    }
    (left_alone, wakeups)
}

#[test]
fn no_sleeping_disk_is_ever_woken() {
    use AtaPower::{Active, Idle, IdleB, SpunDown, Standby as Asleep, StandbyY};
    for fixed_sense in [false, true] {
        let states = [Active, Idle, IdleB, Asleep, StandbyY, SpunDown];
        let make = |index: usize| AtaDisk { power: states[index], fixed_sense, ..distinct::hdd() };
        // Three sleeping states by two permits, two idle ones by the stricter.
        assert_eq!(all_states(make, 6, |disk| disk.wakeups), (8, 0));
    }
    let conditions = [(0, false), (0x01, false), (0x06, false), (0x02, false), (0x0a, false), (0, true)];
    let make = |index: usize| {
        let (low_power, stopped) = conditions[index];
        ScsiDisk { low_power, stopped, ..distinct::scsi() }
    };
    assert_eq!(all_states(make, 6, |disk| disk.wakeups), (8, 0));
    // The counters do count: with the permit to wake, each is woken.
    let mut asleep = AtaDisk { power: AtaPower::Standby, ..distinct::hdd() };
    read(read_disk(&mut asleep, Attachment::Direct, Permit::Wake));
    assert_eq!(asleep.wakeups, 1);
    let mut stopped = ScsiDisk { stopped: true, ..distinct::scsi() };
    read(read_disk(&mut stopped, Attachment::Direct, Permit::Wake));
    assert!(stopped.wakeups > 0);
}

#[test]
fn a_disk_that_does_not_tell_its_state_is_read_only_while_it_works() {
    let asleep = || AtaDisk { mute: true, power: AtaPower::Standby, ..distinct::hdd() };
    let mut disk = asleep();
    let visit = read_disk(&mut disk, Attachment::Direct, Permit::IdleToo);
    assert_eq!((visit, disk.wakeups), (Ok(Visit::LeftAlone(PowerState::Unknown)), 0));
    // The kernel saw it work: it is awake, and read. Its attributes tell, its status cannot.
    let mut disk = AtaDisk { power: AtaPower::Active, ..asleep() };
    let reading = read(read_disk(&mut disk, Attachment::Direct, Permit::ActiveOnly));
    assert_eq!((reading.power, reading.failing, reading.pending), (PowerState::Unknown, None, Some(24)));
    // Behind a bridge nothing shows that an ATA disk is there, and none is woken to find out.
    let mut disk = AtaDisk { vendor: "BRIDGE".to_owned(), ..asleep() };
    let visit = read_disk(&mut disk, Attachment::Usb, Permit::IdleToo);
    assert_eq!((visit, disk.wakeups), (Ok(Visit::LeftAlone(PowerState::Unknown)), 0));
}

#[test]
fn a_bridge_that_knows_the_short_form_alone_is_read_by_it() {
    let reading = read(read_disk(&mut distinct::short_form(), Attachment::Usb, Permit::Wake));
    assert_eq!(reading, read(read_ata(&mut distinct::old_hdd(), Permit::Wake)));
    // On a port or a controller of its own nothing of the kind is tried.
    let visit = read_disk(&mut distinct::short_form(), Attachment::Direct, Permit::Wake);
    assert!(!matches!(visit, Ok(Visit::Read(reading)) if reading.kind == DiskKind::AtaHdd));
    let mut disk = AtaDisk { power: AtaPower::Standby, ..distinct::short_form() };
    let visit = read_disk(&mut disk, Attachment::Usb, Permit::IdleToo);
    assert_eq!((visit, disk.wakeups), (Ok(Visit::LeftAlone(PowerState::Asleep)), 0));
}

#[test]
fn a_month_of_polls_wakes_nothing() {
    // The owner's disk falls asleep after half an hour without work and works for one hour a day.
    let (mut disk, mut standby, policy) = (distinct::hdd(), Standby::default(), StandbyPolicy::default());
    let (mut reads, mut completed, mut worked_at) = (0, 0, 0);
    for now_s in (0_u64..30 * 86_400).step_by(60) {
        if now_s % 86_400 < 3_600 {
            (completed, worked_at) = (completed + 100, now_s);
        }
        disk.power = if now_s - worked_at > 1_800 { AtaPower::Standby } else { AtaPower::Active };
        let sight = KernelSight { rotational: true, suspended: false, completed: Some(completed) };
        let Plan::Look(permit) = standby.plan(&policy, sight, now_s) else { continue };
        match read_disk(&mut disk, Attachment::Direct, permit).expect("an answer") {
            Visit::Read(_) => {
                standby.read(permit, now_s);
                reads += 1;
            }
            Visit::LeftAlone(state) => standby.left_alone(state),
        }
    }
    assert_eq!((disk.wakeups, reads), (0, 30));
    assert!(standby.age_s(30 * 86_400).is_some_and(|age| age <= 86_400));
}
