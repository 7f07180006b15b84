// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Cases: device-mapper volumes by their status lines.

use super::{Bench, Case};
use adit_device::dm::{self, Target};
use adit_health::Finding;
use adit_health::rules::dm::volume;
use adit_wire::health::codes::{Check, Reason, Verdict};

const RAID: &str = "Linux, Documentation/admin-guide/device-mapper/dm-raid.rst, status output";
const THIN: &str = "Linux, Documentation/admin-guide/device-mapper/thin-provisioning.rst, status";
const CACHE: &str = "Linux, Documentation/admin-guide/device-mapper/cache.rst, status";
const SNAPSHOT: &str =
    "Linux, Documentation/admin-guide/device-mapper/snapshot.rst; drivers/md/dm-snap.c, snapshot_status";
const MD: &str = "md(4), scrubbing and mismatches";
const FULL: &str = "lvmthin(7), automatic extension of a thin pool: a full data or metadata space";

fn look(bench: &mut Bench, suspended: bool, kind: &str, status: &str) -> Vec<Finding> {
    let piece = Target { start: 0, length: 8, kind: kind.into(), status: status.into() };
    let reading = dm::read("vg-lv", "LVM-abc", suspended, &[piece]);
    volume(&mut bench.judge(), &reading).map(|component| component.findings).unwrap_or_default()
}

fn now(bench: &mut Bench, kind: &str, status: &str) -> Vec<Finding> {
    look(bench, false, kind, status)
}

/// The same line for ten minutes.
fn for_long(bench: &mut Bench, suspended: bool, kind: &str, status: &str) -> Vec<Finding> {
    drop(look(bench, suspended, kind, status));
    bench.pass(600);
    look(bench, suspended, kind, status)
}

fn pool(bench: &mut Bench, data: u32, metadata: u32) -> Vec<Finding> {
    let line = format!("1 {metadata}/1000 {data}/1000 - rw discard_passdown queue_if_no_space - 1024");
    now(bench, "thin-pool", &line)
}

macro_rules! case {
    ($name:literal, $source:expr, $judge:expr $(, $check:ident $verdict:ident $reason:ident)*) => {
        Case { name: $name, source: $source, judge: $judge, expect: &[$((Check::$check, Verdict::$verdict, Reason::$reason)),*] }
    };
}

pub(super) const CASES: &[Case] = &[
    case!("raid1 in sync", RAID, |b| now(b, "raid", "raid1 2 AA 8/8 idle 0 0 -")),
    case!("an old kernel's line", RAID, |b| now(b, "raid", "raid1 2 AA 8/8")),
    case!("raid1 lost one", RAID, |b| now(b, "raid", "raid1 2 AD 8/8 idle 0 0 -"), VolumeState Critical Degraded),
    case!("raid1 lost one that was never given", RAID, |b| now(b, "raid", "raid1 2 A- 8/8 idle 0 0 -"), VolumeState Critical Degraded),
    case!("raid1 lost both", RAID, |b| now(b, "raid", "raid1 2 DD 8/8 idle 0 0 -"), VolumeState Critical Broken),
    case!("raid5 lost one", RAID, |b| now(b, "raid", "raid5_ls 3 ADA 8/8 idle 0 0 -"), VolumeState Critical Degraded),
    case!("raid5 lost two", RAID, |b| now(b, "raid", "raid5_ls 3 DDA 8/8 idle 0 0 -"), VolumeState Critical Broken),
    case!("raid6 lost two", RAID, |b| now(b, "raid", "raid6_zr 5 DDAAA 8/8 idle 0 0 -"), VolumeState Critical Degraded),
    case!("raid6 lost three", RAID, |b| now(b, "raid", "raid6_zr 5 DDDAA 8/8 idle 0 0 -"), VolumeState Critical Broken),
    case!("raid0 lost one", RAID, |b| now(b, "raid", "raid0 2 AD 8/8 idle 0 0 -"), VolumeState Critical Broken),
    case!("raid10 lost one", RAID, |b| now(b, "raid", "raid10 4 AADA 8/8 idle 0 0 -"), VolumeState Critical Degraded),
    case!("a replaced member is rebuilt", RAID, |b| now(b, "raid", "raid1 2 aA 2/8 recover 0 0 -"), VolumeState Warning Rebuilding),
    case!("first synchronisation", RAID, |b| now(b, "raid", "raid1 2 aa 2/8 resync 0 0 -"), VolumeState Warning Rebuilding),
    case!("out of sync, repair not begun", RAID, |b| now(b, "raid", "raid1 2 aA 2/8 idle 0 0 -"), VolumeState Warning Degraded),
    case!("out of sync, never repaired", RAID, |b| for_long(b, false, "raid", "raid1 2 aA 2/8 frozen 0 0 -"), VolumeState Critical Degraded),
    case!("a check runs", RAID, |b| now(b, "raid", "raid1 2 AA 2/8 check 0 0 -")),
    case!("dead journal", RAID, |b| now(b, "raid", "raid5_ls 3 AAA 8/8 idle 0 0 D"), VolumeState Critical MemberFaulty),
    case!("mismatch on a mirror", MD, |b| now(b, "raid", "raid1 2 AA 8/8 idle 128 0 -"), ArrayMismatch Warning Mismatches),
    case!("mismatch on parity", MD, |b| now(b, "raid", "raid5_ls 3 AAA 8/8 idle 128 0 -"), ArrayMismatch Critical Mismatches),
    case!("a line of another world", RAID, |b| now(b, "raid", "raid1 AA"), VolumeState Unknown NotReadable),
    case!("suspended for a moment", RAID, |b| look(b, true, "raid", "raid1 2 AA 8/8 idle 0 0 -")),
    case!("suspended for long", RAID, |b| for_long(b, true, "raid", "raid1 2 AA 8/8 idle 0 0 -"), VolumeState Critical Stalled),
    case!("a pool with room", THIN, |b| pool(b, 799, 799)),
    case!("a pool's data run out soon", FULL, |b| pool(b, 800, 10), ThinData Warning SpaceLow),
    case!("a pool's data have run out", FULL, |b| pool(b, 900, 10), ThinData Critical SpaceOut),
    case!("a pool's metadata run out soon", FULL, |b| pool(b, 10, 850), ThinMetadata Warning SpaceLow),
    case!("a pool's metadata have run out", FULL, |b| pool(b, 10, 950), ThinMetadata Critical SpaceOut),
    case!("a pool that trembles at its limit", FULL, |b| { drop(pool(b, 800, 10)); pool(b, 780, 10) }, ThinData Warning SpaceLow),
    case!("a pool that was extended", FULL, |b| {
        drop(pool(b, 950, 10));
        pool(b, 500, 10)
    }),
    case!("out of data space by its own word", THIN, |b| now(b, "thin-pool", "1 1/9 1/9 - out_of_data_space discard_passdown queue_if_no_space - 1"), ThinData Critical SpaceOut),
    case!("a pool turned read-only", THIN, |b| now(b, "thin-pool", "1 1/9 1/9 - ro discard_passdown queue_if_no_space - 1"), VolumeState Critical MediaReadOnly),
    case!("a pool needs a check", THIN, |b| now(b, "thin-pool", "1 1/9 1/9 - ro discard_passdown queue_if_no_space needs_check 1"), VolumeState Critical Failed),
    case!("a pool failed", THIN, |b| now(b, "thin-pool", "Fail"), VolumeState Critical Failed),
    case!("a cache at work", CACHE, |b| now(b, "cache", "8 7/99 512 3/9 1 1 1 1 0 1 2 1 writeback 0 smq 0 rw -")),
    case!("a cache turned read-only", CACHE, |b| now(b, "cache", "8 7/99 512 3/9 1 1 1 1 0 1 2 1 writeback 0 smq 0 ro -"), VolumeState Critical MediaReadOnly),
    case!("a cache failed", CACHE, |b| now(b, "cache", "Fail"), VolumeState Critical Failed),
    case!("a snapshot with room", SNAPSHOT, |b| now(b, "snapshot", "10/100 8")),
    case!("a snapshot fills", SNAPSHOT, |b| now(b, "snapshot", "85/100 8"), VolumeState Warning SpaceLow),
    case!("a snapshot was lost", SNAPSHOT, |b| now(b, "snapshot", "Invalid"), VolumeState Critical Failed),
    case!("linear and crypt have nothing to say", "Linux, dm-linear.c and dm-crypt.c, status lines", |b| {
        [now(b, "linear", ""), now(b, "crypt", "")].concat()
    }),
];
