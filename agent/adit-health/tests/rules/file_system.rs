// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Cases: mounted file systems.

use super::{Bench, Case};
use adit_health::Finding;
use adit_health::readings::file_system::{FileSystemReading, FsErrors, Meant, Space};
use adit_health::rules::file_system;
use adit_wire::health::codes::{Check, Reason, Verdict};

const STATVFS: &str = "statvfs(3): f_bavail is what programs may still use";
const EXT4: &str = "Linux, Documentation/ABI/testing/sysfs-fs-ext4, errors_count; trigger_fs_error on Linux 6.1";
const FORECAST: &str =
    "kubernetes-monitoring/node-mixin, NodeFilesystemSpaceFillingUp: predicted from the last hours below 40 %";
const MOUNT: &str = "ext4(5): errors=remount-ro; mountinfo shows ro among the super options";
const FSTAB: &str = "fstab(5), options ro, noauto and nofail";
const XFS: &str = "xfs(5): after a metadata error the file system shuts down and answers EIO";
const DAY_S: u64 = 86_400;

fn fs(free_mib: i64) -> FileSystemReading {
    FileSystemReading {
        point: "/srv".into(),
        kind: "ext4".into(),
        space: Space::Known { size_mib: 100_000, free_mib, inodes_permille: Some(100) },
        read_only: false,
        meant: None,
        errors: None,
    }
}

fn errors(count: i64, last_s: Option<u64>) -> FileSystemReading {
    FileSystemReading { errors: Some(FsErrors { count, last_s, place: Some("ext4_lookup".into()) }), ..fs(50_000) }
}

fn judged(bench: &mut Bench, reading: &FileSystemReading) -> Vec<Finding> {
    file_system::file_system(&mut bench.judge(), reading).findings
}

/// Looks once a day at what is free, and again two hours after the last look: a forecast must hold for an hour.
fn days(bench: &mut Bench, free: &[i64]) -> Vec<Finding> {
    let mut found = Vec::new();
    for free_mib in free {
        bench.pass(DAY_S);
        drop(judged(bench, &fs(*free_mib)));
        bench.pass(2 * 3_600);
        found = judged(bench, &fs(*free_mib));
    }
    found
}

const READ_ONLY: &[(Check, Verdict, Reason)] = &[(Check::ReadOnly, Verdict::Critical, Reason::BecameReadOnly)];

pub(crate) const CASES: &[Case] = &[
    Case { name: "half full", source: STATVFS, judge: |bench| judged(bench, &fs(50_000)), expect: &[] },
    Case {
        name: "8 % free",
        source: STATVFS,
        judge: |bench| judged(bench, &fs(8_000)),
        expect: &[(Check::Space, Verdict::Warning, Reason::SpaceLow)],
    },
    Case {
        name: "1 % free",
        source: STATVFS,
        judge: |bench| judged(bench, &fs(1_000)),
        expect: &[(Check::Space, Verdict::Critical, Reason::SpaceOut)],
    },
    Case {
        name: "95 % of the inodes are used",
        source: "statvfs(3): f_files and f_favail",
        judge: |bench| {
            let space = Space::Known { size_mib: 100_000, free_mib: 50_000, inodes_permille: Some(950) };
            judged(bench, &FileSystemReading { space, ..fs(0) })
        },
        expect: &[(Check::Inodes, Verdict::Warning, Reason::InodesLow)],
    },
    Case {
        name: "btrfs makes inodes as it needs them",
        source: "statvfs(3): f_files is 0 on btrfs",
        judge: |bench| {
            let space = Space::Known { size_mib: 100_000, free_mib: 50_000, inodes_permille: None };
            judged(bench, &FileSystemReading { space, kind: "btrfs".into(), ..fs(0) })
        },
        expect: &[],
    },
    Case {
        name: "5 GB more each day, 20 GB left",
        source: FORECAST,
        judge: |bench| days(bench, &[40_000, 35_000, 30_000, 25_000, 20_000]),
        expect: &[(Check::SpaceForecast, Verdict::Warning, Reason::FullSoon)],
    },
    Case {
        name: "0.3 GB more each day lasts for months",
        source: FORECAST,
        judge: |bench| days(bench, &[31_500, 31_200, 30_900, 30_600, 30_300]),
        expect: &[],
    },
    Case {
        name: "one day's copying is no trend",
        source: FORECAST,
        judge: |bench| days(bench, &[70_000, 30_000, 30_000, 29_990]),
        expect: &[],
    },
    Case {
        name: "a new disk is filled: more than 40 % are left",
        source: FORECAST,
        judge: |bench| days(bench, &[95_000, 80_000, 65_000, 50_000]),
        expect: &[],
    },
    Case {
        name: "a disk that is emptied",
        source: FORECAST,
        judge: |bench| days(bench, &[20_000, 25_000, 30_000]),
        expect: &[],
    },
    Case { name: "no errors", source: EXT4, judge: |bench| judged(bench, &errors(0, None)), expect: &[] },
    Case {
        name: "an error while the agent looks",
        source: EXT4,
        judge: |bench| {
            drop(judged(bench, &errors(0, None)));
            bench.pass(30);
            let now_s = bench.now_s();
            judged(bench, &errors(1, Some(now_s)))
        },
        expect: &[(Check::FsErrors, Verdict::Critical, Reason::FsErrors)],
    },
    Case {
        name: "an error of last night, at the first look",
        source: EXT4,
        judge: |bench| {
            let night_s = bench.now_s() - 36_000;
            judged(bench, &errors(2, Some(night_s)))
        },
        expect: &[(Check::FsErrors, Verdict::Critical, Reason::FsErrors)],
    },
    Case {
        name: "errors of last year that nobody repaired",
        source: EXT4,
        judge: |bench| judged(bench, &errors(7, Some(1_760_000_000))),
        expect: &[(Check::FsErrors, Verdict::Warning, Reason::FsErrors)],
    },
    Case {
        name: "e2fsck cleared them",
        source: EXT4,
        judge: |bench| {
            drop(judged(bench, &errors(7, Some(1_760_000_000))));
            judged(bench, &errors(0, None))
        },
        expect: &[],
    },
    Case {
        name: "the file system stopped",
        source: XFS,
        judge: |bench| judged(bench, &FileSystemReading { kind: "xfs".into(), space: Space::Broken, ..fs(0) }),
        expect: &[(Check::Space, Verdict::Critical, Reason::FsErrors)],
    },
    Case {
        name: "a place that the agent may not enter",
        source: "statvfs(3), EACCES",
        judge: |bench| judged(bench, &FileSystemReading { space: Space::Refused("Permission denied".into()), ..fs(0) }),
        expect: &[(Check::Space, Verdict::Unknown, Reason::NotReadable)],
    },
    Case {
        name: "an error made it read-only",
        source: MOUNT,
        judge: |bench| {
            drop(judged(bench, &fs(50_000)));
            judged(bench, &FileSystemReading { read_only: true, ..fs(50_000) })
        },
        expect: READ_ONLY,
    },
    Case {
        name: "it was read-only before the agent came, and fstab says writable",
        source: FSTAB,
        judge: |bench| {
            judged(bench, &FileSystemReading { read_only: true, meant: Some(Meant::Writable), ..fs(50_000) })
        },
        expect: READ_ONLY,
    },
    Case {
        name: "an appliance whose system is read-only from the start",
        source: MOUNT,
        judge: |bench| judged(bench, &FileSystemReading { read_only: true, ..fs(50_000) }),
        expect: &[],
    },
    Case {
        name: "meant to be read-only",
        source: FSTAB,
        judge: |bench| {
            drop(judged(bench, &fs(50_000)));
            judged(bench, &FileSystemReading { read_only: true, meant: Some(Meant::ReadOnly), ..fs(50_000) })
        },
        expect: &[],
    },
    Case {
        name: "repaired and writable again",
        source: MOUNT,
        judge: |bench| {
            drop(judged(bench, &fs(50_000)));
            drop(judged(bench, &FileSystemReading { read_only: true, ..fs(50_000) }));
            judged(bench, &fs(50_000))
        },
        expect: &[],
    },
    Case {
        name: "a boot mounts one after the other",
        source: FSTAB,
        judge: |bench| file_system::not_mounted(&mut bench.judge(), "/srv").findings,
        expect: &[],
    },
    Case {
        name: "still not mounted after five minutes",
        source: FSTAB,
        judge: |bench| {
            drop(file_system::not_mounted(&mut bench.judge(), "/srv"));
            bench.pass(300);
            file_system::not_mounted(&mut bench.judge(), "/srv").findings
        },
        expect: &[(Check::Mounted, Verdict::Critical, Reason::NotMounted)],
    },
    Case {
        name: "mounted again for a moment",
        source: FSTAB,
        judge: |bench| {
            drop(file_system::not_mounted(&mut bench.judge(), "/srv"));
            bench.pass(300);
            drop(judged(bench, &FileSystemReading { meant: Some(Meant::Writable), ..fs(50_000) }));
            bench.pass(30);
            file_system::not_mounted(&mut bench.judge(), "/srv").findings
        },
        expect: &[],
    },
];
