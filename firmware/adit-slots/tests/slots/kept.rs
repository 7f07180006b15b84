// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What the state partition keeps: written over the older copy, flushed, read back; and what its fields refuse.

use crate::disk::{Disk, Done};
use adit_slots::copies::{CopiesError, PAYLOAD_BYTES_MAX};
use adit_slots::decide::{self, Found, Start, StepError};
use adit_slots::layout::{COPY_BYTES, STATE_BYTES, STATE_RECORD_OFFSETS};
use adit_slots::record::{COPIES, RECORD_BYTES, Record, Reset, SlotState};
use adit_slots::version::Version;
use embedded_io::ErrorKind;
use proptest::prelude::*;

fn blank() -> Disk {
    Disk::of(vec![0; usize::try_from(STATE_BYTES).expect("1 MiB")])
}

fn with_time(time_s: u64) -> Record {
    Record { time_s, ..Record::default() }
}

#[test]
fn each_write_goes_over_the_older_copy() {
    let mut disk = blank();
    assert_eq!(Record::load(&mut disk), Ok(None));
    for time_s in 1..=5 {
        with_time(time_s).store(&mut disk).expect("stored");
        assert_eq!(Record::load(&mut disk), Ok(Some(with_time(time_s))));
    }
    let writes: Vec<u64> =
        disk.log.iter().filter_map(|d| if let Done::Write(at, _) = d { Some(*at) } else { None }).collect();
    let [a, b] = STATE_RECORD_OFFSETS;
    assert_eq!(writes, [a, b, a, b, a]);
    assert_eq!(disk.log.iter().filter(|done| **done == Done::Flush).count(), 5);
}

#[test]
fn one_lost_copy_costs_one_write_at_most() {
    let mut disk = blank();
    with_time(1).store(&mut disk).expect("stored");
    with_time(2).store(&mut disk).expect("stored");
    for (index, left) in [(0, 2), (1, 1)] {
        let at = STATE_RECORD_OFFSETS[index];
        let mut damaged = disk.clone();
        damaged.bytes[usize::try_from(at).expect("small") + 100] ^= 4;
        assert_eq!(Record::load(&mut damaged), Ok(Some(with_time(left))));
        let mut unreadable = disk.clone();
        unreadable.unreadable = at..at + 1;
        assert_eq!(Record::load(&mut unreadable), Ok(Some(with_time(left))));
    }
    disk.unreadable = 0..STATE_BYTES;
    assert_eq!(Record::load(&mut disk), Err(ErrorKind::Other));
    assert_eq!(Record::load(&mut Disk::of(Vec::new())), Ok(None));
}

#[test]
fn a_write_that_did_not_hold_is_told() {
    let mut disk = Disk { forgets: true, ..blank() };
    assert_eq!(with_time(1).store(&mut disk), Err(CopiesError::ReadBack));
    let mut disk = Disk { read_only: true, ..blank() };
    assert_eq!(with_time(1).store(&mut disk), Err(CopiesError::Disk(ErrorKind::WriteZero)));
    let long = vec![1; PAYLOAD_BYTES_MAX + 1];
    assert_eq!(COPIES.store(&mut blank(), &long), Err(CopiesError::TooLong(long.len())));
    assert_eq!(COPIES.store(&mut blank(), &long[1..]), Ok(1));
}

#[test]
fn a_record_of_a_later_program_is_read() {
    let longer = [with_time(9).encode().as_slice(), &[7; 100]].concat();
    assert_eq!(Record::parse(&longer), Some(with_time(9)));
    assert!((0..RECORD_BYTES).all(|length| Record::parse(&longer[..length]).is_none()));
}

fn started() -> Record {
    let version = Version::new(1, 0, 0);
    let found = Found { version, floor: version, files: &[], boot_id: [1; 16], time_s: 0, reset: Reset::Unknown };
    let decision = decide::start(None, &found);
    assert_eq!(decision.start, Start::Normal);
    decision.record
}

#[test]
fn only_the_same_start_confirms() {
    let record = started();
    assert_eq!(decide::confirm(&record, &[2; 16], true), Err(StepError::OtherBoot));
    let confirmed = decide::confirm(&record, &[1; 16], true).expect("the same start");
    assert_eq!((confirmed.boots_unconfirmed, confirmed.data_expected), (0, true));
    assert_eq!(confirmed.running_slot().state, SlotState::Good);
}

#[test]
fn a_stop_that_was_asked_for_is_no_failed_start() {
    let record = Record { boots_unconfirmed: 2, ..started() };
    for (why, left) in [(Reset::Asked, 1), (Reset::PowerButton, 1), (Reset::Ups, 1), (Reset::Health, 2)] {
        let stopped = decide::stop(&record, why, 0);
        assert_eq!((stopped.boots_unconfirmed, stopped.stop), (left, why));
        assert_eq!(decide::stop(&stopped, why, 0), stopped);
    }
}

#[test]
fn the_floor_rises_after_seven_days_of_running_as_good() {
    let record = decide::confirm(&started(), &[1; 16], true).expect("the same start");
    let early = decide::tick(&record, decide::FLOOR_AFTER_S - 1, 5, 6);
    assert_eq!((early.floor, early.time_s, early.contact_s), (Version::default(), 5, 6));
    assert_eq!(decide::tick(&early, 1, 0, 0).floor, Version::new(1, 0, 0));
    // A start that is not confirmed yet does not count.
    assert_eq!(decide::tick(&started(), decide::FLOOR_AFTER_S, 0, 0).floor, Version::default());
}

#[test]
fn a_failed_image_is_remembered_until_eight_others_failed() {
    let mut record = decide::confirm(&started(), &[1; 16], true).expect("the same start");
    let digest = |n: u8| adit_slots::manifest::Digest([n; 32]);
    for n in 1..=9 {
        record.slots[usize::from(1 - record.running)] = adit_slots::record::Slot {
            version: Version::new(2, 0, u32::from(n)),
            digest: digest(n),
            state: SlotState::Trying,
            ..Default::default()
        };
        let files = [adit_slots::name::SlotFile {
            version: Version::new(2, 0, u32::from(n)),
            mark: adit_slots::name::Mark::DEAD,
        }];
        let version = Version::new(1, 0, 0);
        let found = Found { version, floor: version, files: &files, boot_id: [1; 16], time_s: 0, reset: Reset::Panic };
        record = decide::start(Some(record), &found).record;
        assert_eq!(record.other_slot().state, SlotState::Bad(Reset::Panic));
        assert!(record.is_denied(digest(n)));
    }
    assert!(!record.is_denied(digest(1)) && record.is_denied(digest(2)));
    assert!(!decide::forgive(&record, digest(2)).is_denied(digest(2)));
}

proptest! {
    #[test]
    fn any_bytes_are_no_record_or_one_that_can_be_written(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        if let Some(record) = Record::parse(&bytes) {
            prop_assert_eq!(Record::parse(&record.encode()), Some(record));
        }
    }

    #[test]
    fn any_bytes_are_no_copy(bytes in proptest::collection::vec(any::<u8>(), COPY_BYTES), flips in 1..50_usize) {
        let mut copy: [u8; COPY_BYTES] = bytes.try_into().unwrap();
        prop_assert_eq!(COPIES.parse(&copy), None);
        let whole = COPIES.encode(&adit_slots::copies::Copy { sequence: 3, payload: b"four" }).unwrap();
        copy = whole;
        copy[flips * 80] ^= 1;
        prop_assert_eq!(COPIES.parse(&copy), None);
    }
}
