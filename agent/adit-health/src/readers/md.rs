// SPDX-License-Identifier: Apache-2.0 OR MIT
//! md arrays from /sys/block/mdN/md (Documentation/admin-guide/md.rst). Needs no mdadm.
//!
//! Can block: while an array is stopped or its members change, these files wait for it.

use crate::readers::block::disk_of;
use crate::readings::array::{ArrayMember, ArrayReading};
use crate::readings::block::KernelView;
use crate::text;
use std::path::Path;

/// Arrays of one machine.
const ARRAYS_MAX: usize = 64;

/// All arrays that hold data. `disks` names the disks that members are on.
pub(crate) fn arrays(root: &Path, disks: &[KernelView]) -> Vec<ArrayReading> {
    let blocks = root.join("sys/block");
    let names = text::names(&blocks).into_iter().filter(|name| name.starts_with("md"));
    names.filter_map(|name| array(root, &blocks.join(&name).join("md"), &name, disks)).take(ARRAYS_MAX).collect()
}

fn array(root: &Path, dir: &Path, name: &str, disks: &[KernelView]) -> Option<ArrayReading> {
    let raid_disks = text::number(&dir.join("raid_disks"))?;
    let word = |file: &str| text::word(&dir.join(file)).unwrap_or_default();
    let (state, metadata) = (word("array_state"), word("metadata_version"));
    // A container of a BIOS RAID ("external:imsm") holds arrays ("external:/md127/0") and no data; "clear" is a name
    // that an array left behind when it was stopped.
    let is_container = metadata.strip_prefix("external:").is_some_and(|of| !of.starts_with(['/', '-']));
    if is_container || state == "clear" {
        return None;
    }
    let member = |entry: String| {
        let device = entry.strip_prefix("dev-")?.to_owned();
        Some(member(root, &dir.join(&entry), device, disks))
    };
    let layout = text::number(&dir.join("layout")).unwrap_or(0);
    let sync = text::read(&dir.join("sync_completed")).and_then(|text| {
        let (done, total) = text.split_once(" / ")?;
        let (done, total): (i64, i64) = (done.trim().parse().ok()?, total.trim().parse().ok()?);
        Some(done.saturating_mul(1000) / total.max(1))
    });
    Some(ArrayReading {
        name: name.to_owned(),
        id: text::word(&dir.join("uuid")).unwrap_or_else(|| name.to_owned()),
        level: word("level"),
        state,
        raid_disks,
        degraded: text::number(&dir.join("degraded")),
        // md(4), raid10: the low byte counts near copies, the next one far copies.
        copies: (layout & 0xff).max(1).saturating_mul(((layout >> 8) & 0xff).max(1)),
        sync_action: word("sync_action"),
        last_sync_action: word("last_sync_action"),
        sync_permille: sync,
        sync_kib_per_second: text::number(&dir.join("sync_speed")),
        mismatches: text::number(&dir.join("mismatch_cnt")),
        members: text::names(dir).into_iter().filter_map(member).collect(),
    })
}

fn member(root: &Path, dir: &Path, device: String, disks: &[KernelView]) -> ArrayMember {
    let state = text::word(&dir.join("state")).unwrap_or_default();
    let lines = |file: &str| text::read(&dir.join(file)).map_or(0, |text| text.lines().count());
    let disk = disk_of(root, &device).and_then(|name| disks.iter().find(|disk| disk.names.contains(&name)));
    ArrayMember {
        disk_id: disk.map(|disk| disk.id.clone()),
        disk: disk.map(KernelView::label),
        slot: text::word(&dir.join("slot")).and_then(|slot| slot.parse().ok()),
        state: state.split(',').filter(|flag| !flag.is_empty()).map(str::to_owned).collect(),
        bad_blocks: i64::try_from(lines("bad_blocks") + lines("unacknowledged_bad_blocks")).unwrap_or(i64::MAX),
        device,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::tree;

    #[test]
    fn an_array_is_read_with_its_members() {
        let tree = tree(&[
            ("sys/block/md0/md/raid_disks", "2\n"),
            ("sys/block/md0/md/level", "raid1\n"),
            ("sys/block/md0/md/array_state", "clean\n"),
            ("sys/block/md0/md/degraded", "1\n"),
            ("sys/block/md0/md/sync_action", "recover\n"),
            ("sys/block/md0/md/sync_completed", "1024 / 4096\n"),
            ("sys/block/md0/md/sync_speed", "98304\n"),
            ("sys/block/md0/md/mismatch_cnt", "0\n"),
            ("sys/block/md0/md/uuid", "9a3f0e6c-1111-2222-3333-444455556666\n"),
            ("sys/block/md0/md/dev-sda1/state", "in_sync\n"),
            ("sys/block/md0/md/dev-sda1/slot", "0\n"),
            ("sys/block/md0/md/dev-sda1/bad_blocks", "1234 8\n9999 1\n"),
            ("sys/block/md0/md/dev-sdb1/state", "faulty,write_error\n"),
            ("sys/block/md0/md/dev-sdb1/slot", "none\n"),
            ("sys/block/md0/md/rd0/state", "in_sync\n"),
            ("sys/block/sdb/sdb1/size", "1\n"),
        ]);
        let disk = KernelView {
            names: vec!["sdb".into()],
            model: Some("WD40EFRX".into()),
            serial: Some("WCC4E".into()),
            ..KernelView::default()
        };
        let arrays = arrays(tree.path(), &[disk]);
        let array = &arrays[0];
        assert_eq!(
            (array.degraded, array.sync_permille, array.sync_kib_per_second),
            (Some(1), Some(250), Some(98_304))
        );
        assert_eq!(array.members.len(), 2);
        assert_eq!((array.members[0].slot, array.members[0].bad_blocks), (Some(0), 2));
        assert!(array.members[1].is("faulty") && array.members[1].is("write_error"));
        assert_eq!(array.members[1].label(), "sdb (WD40EFRX WCC4E)");
        assert_eq!(array.redundancy_left(), Some(0));
    }

    #[test]
    fn containers_and_stopped_arrays_are_none() {
        let tree = tree(&[
            ("sys/block/md127/md/raid_disks", "0"),
            ("sys/block/md127/md/metadata_version", "external:imsm"),
            ("sys/block/md127/md/array_state", "inactive"),
            ("sys/block/md126/md/raid_disks", "2"),
            ("sys/block/md126/md/metadata_version", "external:/md127/0"),
            ("sys/block/md126/md/array_state", "active"),
            ("sys/block/md5/md/raid_disks", "0"),
            ("sys/block/md5/md/array_state", "clear"),
        ]);
        assert_eq!(arrays(tree.path(), &[]).iter().map(|array| array.name.as_str()).collect::<Vec<_>>(), ["md126"]);
    }

    #[test]
    fn redundancy_is_told_by_level() {
        let left = |level: &str, raid_disks, degraded, copies| {
            let degraded = Some(degraded);
            ArrayReading { level: level.into(), raid_disks, degraded, copies, ..ArrayReading::default() }
                .redundancy_left()
        };
        assert_eq!(left("raid1", 3, 1, 1), Some(1));
        assert_eq!(left("raid5", 4, 1, 1), Some(0));
        assert_eq!(left("raid6", 6, 1, 1), Some(1));
        assert_eq!(left("raid6", 6, 3, 1), Some(-1));
        assert_eq!(left("raid10", 4, 2, 2), Some(0), "two of different pairs: the kernel goes on");
        assert_eq!(left("raid0", 4, 0, 1), None);
    }
}
