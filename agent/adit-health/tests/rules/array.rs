// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Cases: md arrays.

use super::{Bench, Case};
use adit_health::Finding;
use adit_health::readings::array::{ArrayMember, ArrayReading};
use adit_health::rules::array;
use adit_wire::health::codes::{Check, Reason, Verdict};

const MD: &str = "Linux, Documentation/admin-guide/md.rst";
const MD4: &str = "md(4), SCRUBBING AND MISMATCHES";
const STATES: &str = "Linux, Documentation/admin-guide/md.rst, array_state";
const MEMBER: &str = "Linux, Documentation/admin-guide/md.rst, dev-XXX/state";
const DIED: &str = "Linux 6.1, RAID1 of two disks, one of which was made to fail: array_state clean, degraded 1";
const DAY_S: u64 = 86_400;

fn whole(level: &str, raid_disks: u32) -> ArrayReading {
    let member = |slot: u32| ArrayMember {
        device: format!("sd{slot}1"),
        disk_id: None,
        disk: Some(format!("sd{slot} (WD40EFRX S{slot})")),
        slot: Some(slot),
        state: vec!["in_sync".into()],
        bad_blocks: 0,
    };
    ArrayReading {
        name: "md0".into(),
        id: "uuid".into(),
        level: level.into(),
        state: "clean".into(),
        raid_disks: raid_disks.into(),
        degraded: Some(0),
        copies: 2,
        sync_action: "idle".into(),
        mismatches: Some(0),
        members: (0..raid_disks).map(member).collect(),
        ..ArrayReading::default()
    }
}

/// An array of which so many members failed.
fn failed(level: &str, raid_disks: u32, degraded: usize) -> ArrayReading {
    let mut array = whole(level, raid_disks);
    for member in array.members.iter_mut().take(degraded) {
        (member.slot, member.state) = (None, vec!["faulty".into()]);
    }
    ArrayReading { degraded: i64::try_from(degraded).ok(), ..array }
}

fn flagged(flag: &str) -> ArrayReading {
    let mut array = whole("raid5", 3);
    array.members[1].state.push(flag.into());
    array
}

fn with_spare(mut array: ArrayReading) -> ArrayReading {
    array.members.push(ArrayMember { device: "sdx1".into(), state: vec!["spare".into()], ..ArrayMember::default() });
    array
}

fn mismatches(level: &str, count: i64) -> ArrayReading {
    ArrayReading { mismatches: Some(count), last_sync_action: "check".into(), ..whole(level, 4) }
}

fn judged(bench: &mut Bench, reading: &ArrayReading) -> Vec<Finding> {
    array::array(&mut bench.judge(), reading).findings
}

fn later(bench: &mut Bench, first: &ArrayReading, seconds: u64, then: &ArrayReading) -> Vec<Finding> {
    drop(judged(bench, first));
    bench.pass(seconds);
    judged(bench, then)
}

const BROKEN: &[(Check, Verdict, Reason)] = &[(Check::ArrayState, Verdict::Critical, Reason::Broken)];
const DEGRADED: &[(Check, Verdict, Reason)] = &[(Check::ArrayState, Verdict::Critical, Reason::Degraded)];
const FAULTY: &[(Check, Verdict, Reason)] = &[(Check::ArrayState, Verdict::Warning, Reason::MemberFaulty)];
const MISMATCHES: (Check, Reason) = (Check::ArrayMismatch, Reason::Mismatches);

pub(crate) const CASES: &[Case] = &[
    Case { name: "a whole mirror", source: MD, judge: |bench| judged(bench, &whole("raid1", 2)), expect: &[] },
    Case { name: "a whole RAID6", source: MD, judge: |bench| judged(bench, &whole("raid6", 6)), expect: &[] },
    Case {
        name: "a mirror that lost a member stays clean",
        source: DIED,
        judge: |bench| judged(bench, &failed("raid1", 2, 1)),
        expect: DEGRADED,
    },
    Case {
        name: "a member that is gone altogether",
        source: DIED,
        judge: |bench| {
            let mut array = failed("raid1", 2, 1);
            array.members.remove(0);
            judged(bench, &array)
        },
        expect: DEGRADED,
    },
    Case {
        name: "RAID6 without one: one more may fail",
        source: MD,
        judge: |bench| judged(bench, &failed("raid6", 6, 1)),
        expect: DEGRADED,
    },
    Case {
        name: "RAID6 without one while a spare is rebuilt",
        source: "Linux, Documentation/admin-guide/md.rst, sync_action recover",
        judge: |bench| judged(bench, &ArrayReading { sync_action: "recover".into(), ..failed("raid6", 6, 1) }),
        expect: &[(Check::ArrayState, Verdict::Warning, Reason::Rebuilding)],
    },
    Case {
        name: "a mirror while its new member is rebuilt has one copy",
        source: "Linux, Documentation/admin-guide/md.rst, sync_action recover",
        judge: |bench| judged(bench, &ArrayReading { sync_action: "recover".into(), ..failed("raid1", 2, 1) }),
        expect: &[(Check::ArrayState, Verdict::Critical, Reason::Rebuilding)],
    },
    Case {
        name: "a mirror of three without one",
        source: MD,
        judge: |bench| judged(bench, &failed("raid1", 3, 1)),
        expect: DEGRADED,
    },
    Case {
        name: "RAID5 without two",
        source: MD,
        judge: |bench| judged(bench, &failed("raid5", 4, 2)),
        expect: BROKEN,
    },
    Case {
        name: "RAID6 without three",
        source: MD,
        judge: |bench| judged(bench, &failed("raid6", 6, 3)),
        expect: BROKEN,
    },
    Case {
        name: "RAID10 without two of different pairs goes on",
        source: "md(4), RAID10",
        judge: |bench| judged(bench, &failed("raid10", 4, 2)),
        expect: DEGRADED,
    },
    Case {
        name: "an array that could not start",
        source: STATES,
        judge: |bench| judged(bench, &ArrayReading { state: "inactive".into(), ..whole("raid5", 3) }),
        expect: BROKEN,
    },
    Case {
        name: "RAID0 that lost a disk",
        source: "Linux, Documentation/admin-guide/md.rst, array_state broken",
        judge: |bench| judged(bench, &ArrayReading { state: "broken".into(), degraded: None, ..whole("raid0", 2) }),
        expect: BROKEN,
    },
    Case {
        name: "a whole RAID0 has no redundancy to lose",
        source: "md(4), RAID0",
        judge: |bench| judged(bench, &ArrayReading { degraded: None, mismatches: None, ..whole("raid0", 2) }),
        expect: &[],
    },
    Case {
        name: "an array at work and one that starts read-only",
        source: STATES,
        judge: |bench| {
            let at = |state: &str| ArrayReading { state: state.into(), ..whole("raid1", 2) };
            let states = ["clean", "active", "write-pending", "active-idle", "read-auto", "readonly"];
            states.iter().flat_map(|state| judged(bench, &at(state))).collect()
        },
        expect: &[],
    },
    Case {
        name: "a resync after a power cut",
        source: "Linux, Documentation/admin-guide/md.rst, sync_action resync",
        judge: |bench| judged(bench, &ArrayReading { sync_action: "resync".into(), ..whole("raid1", 2) }),
        expect: &[],
    },
    Case {
        name: "a member that should be replaced",
        source: MEMBER,
        judge: |bench| judged(bench, &flagged("want_replacement")),
        expect: FAULTY,
    },
    Case {
        name: "a member that had a write error",
        source: MEMBER,
        judge: |bench| judged(bench, &flagged("write_error")),
        expect: FAULTY,
    },
    Case {
        name: "a spare that failed",
        source: MEMBER,
        judge: |bench| {
            let mut array = with_spare(whole("raid5", 3));
            array.members[3].state = vec!["faulty".into()];
            judged(bench, &array)
        },
        expect: FAULTY,
    },
    Case {
        name: "a member that is read last",
        source: MEMBER,
        judge: |bench| judged(bench, &flagged("writemostly")),
        expect: &[],
    },
    Case {
        name: "a list of bad blocks",
        source: "Linux, Documentation/admin-guide/md.rst, dev-XXX/bad_blocks",
        judge: |bench| {
            let mut array = whole("raid5", 3);
            array.members[2].bad_blocks = 2;
            judged(bench, &array)
        },
        expect: &[(Check::ArrayBadBlocks, Verdict::Warning, Reason::BadBlocks)],
    },
    Case {
        name: "parity that does not fit",
        source: MD4,
        judge: |bench| judged(bench, &mismatches("raid5", 8)),
        expect: &[(MISMATCHES.0, Verdict::Critical, MISMATCHES.1)],
    },
    Case {
        name: "parity that a repair found and wrote anew",
        source: "Linux, Documentation/admin-guide/md.rst, mismatch_cnt after repair",
        judge: |bench| judged(bench, &ArrayReading { last_sync_action: "repair".into(), ..mismatches("raid6", 8) }),
        expect: &[],
    },
    Case {
        name: "swap on a mirror leaves mismatches: old ones are no news",
        source: MD4,
        judge: |bench| judged(bench, &mismatches("raid1", 256)),
        expect: &[],
    },
    Case {
        name: "a check of a mirror finds new ones",
        source: MD4,
        judge: |bench| later(bench, &mismatches("raid1", 0), 3_600, &mismatches("raid1", 128)),
        expect: &[(MISMATCHES.0, Verdict::Warning, MISMATCHES.1)],
    },
    Case {
        name: "and three days later they are known",
        source: MD4,
        judge: |bench| {
            drop(later(bench, &mismatches("raid10", 0), 3_600, &mismatches("raid10", 128)));
            bench.pass(3 * DAY_S);
            judged(bench, &mismatches("raid10", 128))
        },
        expect: &[],
    },
    Case {
        name: "the spare took the place of a failed member",
        source: "mdadm(8), SparesMissing",
        judge: |bench| later(bench, &with_spare(whole("raid5", 3)), 3_600, &whole("raid5", 3)),
        expect: &[(Check::ArraySpare, Verdict::Warning, Reason::SpareMissing)],
    },
    Case {
        name: "a spare stands by",
        source: "mdadm(8), SparesMissing",
        judge: |bench| later(bench, &with_spare(whole("raid5", 3)), 3_600, &with_spare(whole("raid5", 3))),
        expect: &[],
    },
    Case {
        name: "the array was grown by its spare",
        source: "mdadm(8), GROW MODE",
        judge: |bench| later(bench, &with_spare(whole("raid5", 3)), 3_600, &whole("raid5", 4)),
        expect: &[],
    },
    Case {
        name: "a new member on its way into its place was no spare",
        source: "mdadm(8), --add to a degraded array",
        judge: |bench| {
            drop(judged(bench, &with_spare(failed("raid1", 2, 1))));
            judged(bench, &whole("raid1", 2))
        },
        expect: &[],
    },
    Case {
        name: "nobody compared the members for fifty days",
        source: "Debian, mdadm: checkarray on the first Sunday of each month",
        judge: |bench| later(bench, &whole("raid1", 2), 50 * DAY_S, &whole("raid1", 2)),
        expect: &[(Check::ArrayScrub, Verdict::Warning, Reason::CheckOld)],
    },
    Case {
        name: "compared last month",
        source: "Debian, mdadm: checkarray on the first Sunday of each month",
        judge: |bench| {
            drop(judged(bench, &whole("raid1", 2)));
            bench.pass(40 * DAY_S);
            drop(judged(bench, &ArrayReading { sync_action: "check".into(), ..whole("raid1", 2) }));
            bench.pass(35 * DAY_S);
            judged(bench, &whole("raid1", 2))
        },
        expect: &[],
    },
    Case {
        name: "a QNAP's system array is made for 32 bays",
        source: "henrygd/beszel: QNAP's md9 and md13 show raid_disks 32 with two members",
        judge: |bench| {
            let mut array = whole("raid1", 32);
            array.members.truncate(4);
            judged(bench, &ArrayReading { degraded: Some(28), ..array })
        },
        expect: &[(Check::ArrayState, Verdict::Warning, Reason::Degraded)],
    },
];
