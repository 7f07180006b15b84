// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Cases: btrfs, and ZFS by its module's word.

use super::{Bench, Case};
use adit_health::Finding;
use adit_health::readings::pool::{BtrfsDevice, BtrfsReading, BtrfsScrub, ZfsState};
use adit_health::rules::pool;
use adit_wire::health::codes::{Check, Reason, Verdict};

const STATS: &str =
    "btrfs-device(8), DEVICE STATS: write_io_errs, read_io_errs, flush_io_errs, corruption_errs, generation_errs";
const SYSFS: &str = "Linux, Documentation/ABI/testing/sysfs-fs-btrfs: devinfo/<devid>/missing";
const DEGRADED: &str = "btrfs(5), mount option degraded";
const ENOSPC: &str = "btrfs(5), filesystem full; Netdata's btrfs alarms: unallocated and metadata beyond 90 %";
const SCRUB: &str = "btrfs-scrub(8): uncorrectable_errors, corrected_errors";
const KSTAT: &str = "OpenZFS, zpoolconcepts(7), and spa_state_to_name() in module/zfs/spa_misc.c";

fn pool() -> BtrfsReading {
    let device = |id| BtrfsDevice { id, ..BtrfsDevice::default() };
    BtrfsReading {
        id: "5f0e2f4a".into(),
        devices: vec![device(1), device(2)],
        present: vec!["sda".into(), "sdb".into()],
        size_mib: 8_000_000,
        unallocated_mib: 2_000_000,
        metadata_permille: 700,
        operation: "none".into(),
        ..BtrfsReading::default()
    }
}

fn errors(write_errors: i64, read_errors: i64, corruptions: i64) -> BtrfsReading {
    let mut pool = pool();
    pool.devices[1] = BtrfsDevice { id: 2, is_missing: false, write_errors, read_errors, corruptions };
    pool
}

fn judged(bench: &mut Bench, reading: &BtrfsReading) -> Vec<Finding> {
    pool::btrfs(&mut bench.judge(), reading).findings
}

fn grown(bench: &mut Bench, first: &BtrfsReading, then: &BtrfsReading) -> Vec<Finding> {
    drop(judged(bench, first));
    bench.pass(60);
    judged(bench, then)
}

fn scrubbed(bench: &mut Bench, days: u64, uncorrectable: i64) -> Vec<Finding> {
    let started_s = bench.now_s() - days * 86_400;
    let scrub = BtrfsScrub { started_s, finished: true, corrected: 16, uncorrectable };
    judged(bench, &BtrfsReading { scrub: Some(scrub), ..pool() })
}

fn zfs(state: &str) -> Vec<Finding> {
    pool::zfs(&ZfsState { pool: "tank".into(), state: state.into() }).findings
}

const BROKEN: &[(Check, Verdict, Reason)] = &[(Check::PoolState, Verdict::Critical, Reason::Broken)];

pub(crate) const CASES: &[Case] = &[
    Case { name: "a whole pool", source: SYSFS, judge: |bench| judged(bench, &pool()), expect: &[] },
    Case {
        name: "a device is missing",
        source: SYSFS,
        judge: |bench| {
            let mut pool = pool();
            pool.devices[1].is_missing = true;
            judged(bench, &pool)
        },
        expect: &[(Check::PoolState, Verdict::Critical, Reason::DeviceMissing)],
    },
    Case {
        name: "mounted degraded",
        source: DEGRADED,
        judge: |bench| judged(bench, &BtrfsReading { mounted_degraded: true, ..pool() }),
        expect: &[(Check::PoolState, Verdict::Critical, Reason::Degraded)],
    },
    Case {
        name: "counters of last year that nobody reset",
        source: STATS,
        judge: |bench| grown(bench, &errors(9, 5, 16), &errors(9, 5, 16)),
        expect: &[],
    },
    Case {
        name: "a write failed: a copy is stale",
        source: STATS,
        judge: |bench| grown(bench, &errors(0, 0, 0), &errors(1, 0, 0)),
        expect: &[(Check::PoolErrors, Verdict::Critical, Reason::DeviceErrors)],
    },
    Case {
        name: "ten reads failed and were repaired from the mirror",
        source: STATS,
        judge: |bench| grown(bench, &errors(0, 0, 0), &errors(0, 10, 0)),
        expect: &[(Check::PoolErrors, Verdict::Warning, Reason::DeviceErrors)],
    },
    Case {
        name: "a scrub found 16 silent corruptions of one copy",
        source: "Linux 6.1, RAID1 of which one image was overwritten: corruption_errs 16, all corrected",
        judge: |bench| grown(bench, &errors(0, 0, 0), &errors(0, 0, 16)),
        expect: &[(Check::PoolErrors, Verdict::Warning, Reason::DeviceErrors)],
    },
    Case {
        name: "counters that were reset",
        source: STATS,
        judge: |bench| grown(bench, &errors(9, 5, 16), &errors(0, 0, 0)),
        expect: &[],
    },
    Case {
        name: "all is allocated, metadata has room",
        source: ENOSPC,
        judge: |bench| judged(bench, &BtrfsReading { unallocated_mib: 10, ..pool() }),
        expect: &[],
    },
    Case {
        name: "all is allocated and metadata is full",
        source: ENOSPC,
        judge: |bench| judged(bench, &BtrfsReading { unallocated_mib: 10, metadata_permille: 960, ..pool() }),
        expect: &[(Check::PoolAllocation, Verdict::Warning, Reason::AllocationTight)],
    },
    Case {
        name: "metadata is full, but there is room for more of it",
        source: ENOSPC,
        judge: |bench| judged(bench, &BtrfsReading { metadata_permille: 960, ..pool() }),
        expect: &[],
    },
    Case { name: "scrubbed last week", source: SCRUB, judge: |bench| scrubbed(bench, 7, 0), expect: &[] },
    Case {
        name: "not scrubbed for two months",
        source: SCRUB,
        judge: |bench| scrubbed(bench, 60, 0),
        expect: &[(Check::PoolScrub, Verdict::Warning, Reason::CheckOld)],
    },
    Case {
        name: "the scrub found errors without a good copy",
        source: SCRUB,
        judge: |bench| scrubbed(bench, 1, 1),
        expect: &[(Check::PoolData, Verdict::Critical, Reason::Uncorrectable)],
    },
    Case { name: "ZFS: ONLINE", source: KSTAT, judge: |_| zfs("ONLINE"), expect: &[] },
    Case {
        name: "ZFS: DEGRADED",
        source: KSTAT,
        judge: |_| zfs("DEGRADED"),
        expect: &[(Check::PoolState, Verdict::Critical, Reason::Degraded)],
    },
    Case {
        name: "ZFS: SUSPENDED, input and output wait for ever",
        source: "OpenZFS, zpoolprops(7), failmode=wait",
        judge: |_| zfs("SUSPENDED"),
        expect: &[(Check::PoolState, Verdict::Critical, Reason::Stalled)],
    },
    Case { name: "ZFS: FAULTED", source: KSTAT, judge: |_| zfs("FAULTED"), expect: BROKEN },
    Case { name: "ZFS: UNAVAIL", source: KSTAT, judge: |_| zfs("UNAVAIL"), expect: BROKEN },
    Case { name: "ZFS: REMOVED", source: KSTAT, judge: |_| zfs("REMOVED"), expect: BROKEN },
];
