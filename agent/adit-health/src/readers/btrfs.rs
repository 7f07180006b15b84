// SPDX-License-Identifier: Apache-2.0 OR MIT
//! btrfs from /sys/fs/btrfs (Documentation/ABI/testing/sysfs-fs-btrfs) and the status that `btrfs scrub` leaves.
//!
//! Can block: no; these files show what the kernel holds in memory.

use crate::readers::mounts::Mounts;
use crate::readings::pool::{BtrfsDevice, BtrfsReading, BtrfsScrub};
use crate::text;
use std::path::Path;

/// File systems of one machine, and devices of one.
const POOLS_MAX: usize = 32;
const DEVICES_MAX: usize = 128;

/// All mounted btrfs file systems.
pub(crate) fn pools(root: &Path, mounts: &Mounts) -> Vec<BtrfsReading> {
    let dir = root.join("sys/fs/btrfs");
    text::names(&dir).into_iter().filter_map(|id| pool(root, &dir.join(&id), id, mounts)).take(POOLS_MAX).collect()
}

fn pool(root: &Path, dir: &Path, id: String, mounts: &Mounts) -> Option<BtrfsReading> {
    let ids = text::names(&dir.join("devinfo")); // "features" has none
    if ids.is_empty() {
        return None;
    }
    let present = text::names(&dir.join("devices"));
    let sectors = |name: &String| text::number(&dir.join("devices").join(name).join("size")).unwrap_or(0);
    let size_mib = present.iter().map(sectors).sum::<i64>() >> 11;
    let bytes = |kind: &str, file: &str| text::number(&dir.join("allocation").join(kind).join(file)).unwrap_or(0);
    let allocated: i64 = ["data", "metadata", "system"].iter().map(|kind| bytes(kind, "disk_total")).sum();
    let mut devices: Vec<BtrfsDevice> =
        ids.iter().filter_map(|id| device(&dir.join("devinfo").join(id), id)).take(DEVICES_MAX).collect();
    devices.sort_by_key(|device| device.id);
    Some(BtrfsReading {
        label: text::word(&dir.join("label")),
        devices,
        mounted_degraded: mounts.has_option(&present, "degraded"),
        present,
        size_mib,
        unallocated_mib: size_mib.saturating_sub(allocated >> 20),
        metadata_permille: bytes("metadata", "bytes_used").saturating_mul(1000)
            / bytes("metadata", "total_bytes").max(1),
        operation: text::word(&dir.join("exclusive_operation")).unwrap_or_else(|| "none".to_owned()),
        scrub: text::read(&root.join("var/lib/btrfs").join(format!("scrub.status.{id}"))).as_deref().and_then(scrub),
        id,
    })
}

fn device(dir: &Path, id: &str) -> Option<BtrfsDevice> {
    let stats = text::read(&dir.join("error_stats")).unwrap_or_default();
    let count = |key: &str| text::keyed(&stats, key).unwrap_or(0);
    Some(BtrfsDevice {
        id: id.parse().ok()?,
        is_missing: text::number(&dir.join("missing")) == Some(1),
        write_errors: count("write_errs").saturating_add(count("flush_errs")),
        read_errors: count("read_errs"),
        corruptions: count("corruption_errs").saturating_add(count("generation_errs")),
    })
}

/// "scrub status:1", then a line for each device: "FSID:1|read_errors:0|…|t_start:1795000000|…|finished:1"
/// (btrfs-progs, cmds/scrub.c).
fn scrub(text: &str) -> Option<BtrfsScrub> {
    let lines = text.lines().skip(1).filter(|line| line.contains('|'));
    lines
        .map(|line| {
            let field = |key: &str| {
                let value = line.split('|').find_map(|field| field.strip_prefix(key)?.strip_prefix(':'))?;
                value.parse::<i64>().ok()
            };
            BtrfsScrub {
                started_s: field("t_start").and_then(|at| u64::try_from(at).ok()).unwrap_or(0),
                finished: field("finished") == Some(1),
                corrected: field("corrected_errors").unwrap_or(0),
                uncorrectable: field("uncorrectable_errors").unwrap_or(0),
            }
        })
        .reduce(|all, device| BtrfsScrub {
            started_s: all.started_s.min(device.started_s),
            finished: all.finished && device.finished,
            corrected: all.corrected.saturating_add(device.corrected),
            uncorrectable: all.uncorrectable.saturating_add(device.uncorrectable),
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::tree;
    use proptest::prelude::*;

    const STATUS: &str = "scrub status:1\n\
        5f0e2f4a-1111:1|data_extents_scrubbed:9|read_errors:0|csum_errors:16|uncorrectable_errors:1|corrected_errors:15|\
        last_physical:1|t_start:1795000000|t_resumed:0|duration:12|canceled:0|finished:1\n\
        5f0e2f4a-1111:2|uncorrectable_errors:0|corrected_errors:0|t_start:1795000003|finished:0\n";

    #[test]
    fn a_pool_is_read_with_its_devices() {
        let dir = "sys/fs/btrfs/5f0e2f4a-1111";
        let path = |file: &str| format!("{dir}/{file}");
        let stats = "write_errs 1\nread_errs 2\nflush_errs 3\ncorruption_errs 16\ngeneration_errs 4\n";
        let files = [
            (path("label"), "tank\n"),
            (path("devinfo/10/missing"), "1\n"),
            (path("devinfo/2/missing"), "0\n"),
            (path("devinfo/2/error_stats"), stats),
            (path("devices/sdb/size"), "4194304\n"),
            (path("allocation/data/disk_total"), "1073741824\n"),
            (path("allocation/metadata/disk_total"), "536870912\n"),
            (path("allocation/metadata/bytes_used"), "95\n"),
            (path("allocation/metadata/total_bytes"), "100\n"),
            (path("exclusive_operation"), "none\n"),
            ("var/lib/btrfs/scrub.status.5f0e2f4a-1111".to_owned(), STATUS),
            ("sys/fs/btrfs/features/raid56".to_owned(), "0\n"),
            ("proc/self/mountinfo".to_owned(), "29 1 0:40 / /srv rw - btrfs /dev/sdb rw,degraded,subvol=/\n"),
        ];
        let tree = tree(&files.iter().map(|(path, text)| (path.as_str(), *text)).collect::<Vec<_>>());
        let pools = pools(tree.path(), &Mounts::read(tree.path()));
        assert_eq!(pools.len(), 1);
        let pool = &pools[0];
        assert_eq!(pool.devices.iter().map(|d| (d.id, d.is_missing)).collect::<Vec<_>>(), [(2, false), (10, true)]);
        let device = &pool.devices[0];
        assert_eq!((device.write_errors, device.read_errors, device.corruptions), (4, 2, 20));
        assert_eq!((pool.size_mib, pool.unallocated_mib, pool.metadata_permille), (2_048, 512, 950));
        assert!(pool.mounted_degraded);
        let scrub = BtrfsScrub { started_s: 1_795_000_000, finished: false, corrected: 15, uncorrectable: 1 };
        assert_eq!(pool.scrub, Some(scrub));
    }

    proptest! {
        #[test]
        fn any_status_is_read(text in "[ -~\\n]{0,200}") {
            let _ = scrub(&text);
        }
    }
}
