// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What device-mapper volumes say: the status lines of RAID, thin pools, caches, snapshots and LUKS, as the kernel's
//! Documentation/admin-guide/device-mapper describes them.
//!
//! A line that does not have the documented form is told as such; nothing is guessed.

use crate::transport::TransportError;
use serde::{Deserialize, Serialize};

/// Most targets of one volume that are kept; a volume with more is stitched from linear pieces.
pub const TARGETS_MAX: usize = 64;
/// Most members of a RAID set (dm-raid.rst: 253).
pub const MEMBERS_MAX: usize = 253;

/// Who answers for volumes: `/dev/mapper/control`, or a recording.
pub trait Mapper {
    /// The targets of a volume with their status lines, in order.
    fn status(&mut self, volume: &str) -> Result<Vec<Target>, TransportError>;
}

/// One piece of a volume and its status line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// First sector (512 bytes) in the volume.
    pub start: u64,
    /// Sectors.
    pub length: u64,
    /// Kind of target, e.g. `raid`.
    pub kind: String,
    /// The line behind it.
    pub status: String,
}

/// A volume as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DmReading {
    /// Name below /dev/mapper.
    pub name: String,
    /// UUID that its owner gave it, e.g. `LVM-…` or `CRYPT-LUKS2-…`; stable. Empty when there is none.
    pub uuid: String,
    /// I/O to it is held back.
    pub suspended: bool,
    /// What its pieces say, at most [`TARGETS_MAX`].
    pub targets: Vec<TargetStatus>,
}

/// What one piece says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TargetStatus {
    /// `raid`.
    Raid(RaidStatus),
    /// `thin-pool`.
    ThinPool(ThinPoolStatus),
    /// `cache`.
    Cache(CacheStatus),
    /// `snapshot` and `snapshot-merge`.
    Snapshot(SnapshotStatus),
    /// `crypt`: it is open, its line is empty.
    Crypt,
    /// A kind that has no health of its own, by name.
    Other(String),
    /// A line of a known kind that does not have the documented form.
    Malformed(String),
}

/// A member of a RAID set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Member {
    /// `A`: alive and in sync.
    InSync,
    /// `a`: alive, not in sync.
    NotInSync,
    /// `D`: dead.
    Dead,
    /// `-`: none was given.
    Absent,
}

/// What a RAID set is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SyncAction {
    /// Nothing.
    Idle,
    /// Halted.
    Frozen,
    /// First synchronisation, or after an unclean stop.
    Resync,
    /// A member is rebuilt.
    Recover,
    /// Read and compared.
    Check,
    /// Read, compared and corrected.
    Repair,
    /// Changes its layout.
    Reshape,
}

/// Line of a RAID set (dm-raid.rst, "Status Output").
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RaidStatus {
    /// e.g. `raid1`, `raid6_zr`.
    pub level: String,
    /// Each member.
    pub members: Vec<Member>,
    /// Sectors done of the action.
    pub done: u64,
    /// Sectors to do.
    pub total: u64,
    /// What it is doing; `None` before dm-raid 1.5.
    pub action: Option<SyncAction>,
    /// Discrepancies that the last check found; `None` before dm-raid 1.5.
    pub mismatches: Option<u64>,
    /// The journal device; `None` when there is none.
    pub journal: Option<Member>,
}

impl RaidStatus {
    /// Members that hold no data now: dead or absent.
    #[must_use]
    pub fn missing(&self) -> usize {
        self.members.iter().filter(|member| matches!(member, Member::Dead | Member::Absent)).count()
    }

    /// How many members may be missing without loss. RAID10 is counted by its worst case.
    #[must_use]
    pub fn redundancy(&self) -> usize {
        match self.level.get(..5).unwrap_or_default() {
            "raid1" if self.level == "raid1" => self.members.len().saturating_sub(1),
            "raid1" | "raid4" | "raid5" => 1,
            "raid6" => 2,
            _ => 0,
        }
    }
}

/// How full something is, in its own blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fill {
    /// Blocks in use.
    pub used: u64,
    /// Blocks.
    pub total: u64,
}

impl Fill {
    fn read(text: &str) -> Option<Self> {
        let (used, total) = text.split_once('/')?;
        Some(Self { used: used.parse().ok()?, total: total.parse().ok()? })
    }

    /// Share in use, per mille.
    #[must_use]
    pub fn permille(self) -> u16 {
        let share = u128::from(self.used) * 1000 / u128::from(self.total.max(1));
        u16::try_from(share.min(1000)).unwrap_or(1000)
    }
}

/// Whether metadata takes changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PoolMode {
    /// Reads and writes.
    Writable,
    /// Metadata takes no changes any more.
    ReadOnly,
    /// No data space: writes wait or fail.
    OutOfDataSpace,
}

/// Line of a thin pool (thin-provisioning.rst, "Status").
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ThinPoolStatus {
    /// `Fail` or `Error`: nothing works any more.
    Failed,
    /// It works.
    Working {
        /// Metadata blocks.
        metadata: Fill,
        /// Data blocks.
        data: Fill,
        /// Whether it takes writes.
        mode: PoolMode,
        /// Metadata must be checked before it can be used again.
        needs_check: bool,
    },
}

/// Line of a cache (cache.rst, "Status").
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CacheStatus {
    /// `Fail` or `Error`.
    Failed,
    /// It works.
    Working {
        /// Metadata blocks.
        metadata: Fill,
        /// Cache blocks.
        data: Fill,
        /// Blocks that only the cache holds.
        dirty: u64,
        /// Whether metadata takes changes; `None` on kernels that do not say.
        mode: Option<PoolMode>,
        /// Metadata must be checked before it can be used again.
        needs_check: bool,
    },
}

/// Line of an old-style snapshot (snapshot.rst).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SnapshotStatus {
    /// `Invalid`, `Overflow` or `Merge failed`: its content is lost.
    Lost,
    /// Sectors of its store in use.
    Valid(Fill),
}

/// Reads a volume's targets. `name`, `uuid` and `suspended` stand in /sys/block/dm-*/dm.
#[must_use]
pub fn read(name: &str, uuid: &str, suspended: bool, targets: &[Target]) -> DmReading {
    let targets = targets.iter().take(TARGETS_MAX).map(target).collect();
    DmReading { name: name.to_owned(), uuid: uuid.to_owned(), suspended, targets }
}

/// Reads one status line.
#[must_use]
pub fn target(target: &Target) -> TargetStatus {
    let words: Vec<&str> = target.status.split_ascii_whitespace().collect();
    let known = match target.kind.as_str() {
        "raid" => raid(&words).map(TargetStatus::Raid),
        "thin-pool" => thin_pool(&words).map(TargetStatus::ThinPool),
        "cache" => cache(&words).map(TargetStatus::Cache),
        "snapshot" | "snapshot-merge" => snapshot(&words).map(TargetStatus::Snapshot),
        "crypt" => Some(TargetStatus::Crypt),
        other => Some(TargetStatus::Other(other.to_owned())),
    };
    known.unwrap_or_else(|| TargetStatus::Malformed(target.kind.clone()))
}

fn member(letter: u8) -> Option<Member> {
    match letter {
        b'A' => Some(Member::InSync),
        b'a' => Some(Member::NotInSync),
        b'D' => Some(Member::Dead),
        b'-' => Some(Member::Absent),
        _ => None,
    }
}

fn raid(words: &[&str]) -> Option<RaidStatus> {
    let [level, count, health, ratio, rest @ ..] = words else { return None };
    let members: Vec<Member> = health.bytes().map(member).collect::<Option<_>>()?;
    let counted = count.parse() == Ok(members.len()) && members.len() <= MEMBERS_MAX && !members.is_empty();
    let Fill { used: done, total } = Fill::read(ratio).filter(|_| counted)?;
    let action = match rest.first().copied() {
        None => None,
        Some("idle") => Some(SyncAction::Idle),
        Some("frozen") => Some(SyncAction::Frozen),
        Some("resync") => Some(SyncAction::Resync),
        Some("recover") => Some(SyncAction::Recover),
        Some("check") => Some(SyncAction::Check),
        Some("repair") => Some(SyncAction::Repair),
        Some("reshape") => Some(SyncAction::Reshape),
        // "init" stands in the documentation's example and was never printed.
        Some(_) => return None,
    };
    let mismatches = rest.get(1).map(|word| word.parse()).transpose().ok()?;
    let journal = match rest.get(3).map(|word| word.as_bytes()) {
        None | Some([b'-']) => None,
        Some(&[letter]) => Some(member(letter)?),
        Some(_) => return None,
    };
    Some(RaidStatus { level: (*level).to_owned(), members, done, total, action, mismatches, journal })
}

fn mode(word: &str) -> Option<PoolMode> {
    match word {
        "rw" => Some(PoolMode::Writable),
        "ro" => Some(PoolMode::ReadOnly),
        "out_of_data_space" => Some(PoolMode::OutOfDataSpace),
        _ => None,
    }
}

fn thin_pool(words: &[&str]) -> Option<ThinPoolStatus> {
    match words {
        ["Fail" | "Error"] => Some(ThinPoolStatus::Failed),
        [_transaction, metadata, data, _root, written, rest @ ..] => Some(ThinPoolStatus::Working {
            metadata: Fill::read(metadata)?,
            data: Fill::read(data)?,
            mode: mode(written)?,
            needs_check: rest.contains(&"needs_check"),
        }),
        _ => None,
    }
}

fn cache(words: &[&str]) -> Option<CacheStatus> {
    if let ["Fail" | "Error"] = words {
        return Some(CacheStatus::Failed);
    }
    let [_, metadata, _, data, _, _, _, _, _, _, dirty, rest @ ..] = words else { return None };
    // Three lists follow, each behind its length: features, core arguments, and behind its name the policy's.
    let skip = |rest: &[&str]| -> Option<usize> { rest.first()?.parse::<usize>().ok()?.checked_add(1) };
    let rest = rest.get(skip(rest)?..)?;
    let rest = rest.get(skip(rest)?..)?;
    let rest = rest.get(1..)?;
    let rest = rest.get(skip(rest)?..)?;
    Some(CacheStatus::Working {
        metadata: Fill::read(metadata)?,
        data: Fill::read(data)?,
        dirty: dirty.parse().ok()?,
        mode: rest.first().map(|word| mode(word).ok_or(())).transpose().ok()?,
        needs_check: rest.contains(&"needs_check"),
    })
}

fn snapshot(words: &[&str]) -> Option<SnapshotStatus> {
    match words {
        ["Invalid" | "Overflow"] | ["Merge", "failed"] => Some(SnapshotStatus::Lost),
        [fill, ..] => Fill::read(fill).map(SnapshotStatus::Valid),
        [] => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn check(kind: &str, line: &str, expected: TargetStatus) {
        let piece = Target { start: 0, length: 8, kind: kind.to_owned(), status: line.to_owned() };
        assert_eq!(target(&piece), expected, "{kind} {line}");
    }

    fn set(level: &str, members: &[Member], done: u64, action: SyncAction, mismatches: u64) -> RaidStatus {
        let level = level.to_owned();
        let (action, mismatches) = (Some(action), Some(mismatches));
        RaidStatus { level, members: members.to_vec(), done, total: 490_221_568, action, mismatches, journal: None }
    }

    /// Lines by the kernel's documentation and by raid_status() of drivers/md/dm-raid.c.
    #[test]
    fn raid_lines_of_each_age() {
        use Member::{Absent, Dead, InSync, NotInSync};
        let line = "raid4 5 AAAAA 2/490221568 resync 0";
        check("raid", line, TargetStatus::Raid(set("raid4", &[InSync; 5], 2, SyncAction::Resync, 0)));
        let line = "raid1 2 aA 7/490221568 recover 0 0 -";
        check("raid", line, TargetStatus::Raid(set("raid1", &[NotInSync, InSync], 7, SyncAction::Recover, 0)));
        let line = "raid6_zr 4 AD-A 490221568/490221568 idle 12 0 -";
        let degraded = set("raid6_zr", &[InSync, Dead, Absent, InSync], 490_221_568, SyncAction::Idle, 12);
        assert_eq!((degraded.missing(), degraded.redundancy()), (2, 2));
        check("raid", line, TargetStatus::Raid(degraded));
        let journalled = RaidStatus { journal: Some(Dead), ..set("raid5_ls", &[InSync; 3], 1, SyncAction::Check, 0) };
        check("raid", "raid5_ls 3 AAA 1/490221568 check 0 0 D", TargetStatus::Raid(journalled));
        let old = RaidStatus { action: None, mismatches: None, ..set("raid1", &[InSync; 2], 1, SyncAction::Idle, 0) };
        check("raid", "raid1 2 AA 1/490221568", TargetStatus::Raid(old));
        for line in ["", "raid1 2 A 1/2", "raid1 2 AX 1/2", "raid1 2 AA 1", "raid1 2 AA 1/2 dance 0", "raid1 0  1/2"] {
            check("raid", line, TargetStatus::Malformed("raid".to_owned()));
        }
    }

    #[test]
    fn redundancy_is_that_of_the_level() {
        let of = |level: &str, count| set(level, &vec![Member::InSync; count], 0, SyncAction::Idle, 0).redundancy();
        assert_eq!([of("raid0", 2), of("raid1", 3), of("raid10", 4)], [0, 2, 1]);
        assert_eq!([of("raid4", 3), of("raid5_ra", 4), of("raid6_n_6", 5)], [1, 1, 2]);
    }

    #[test]
    fn thin_pool_lines() {
        let working = |used, mode, needs_check| {
            TargetStatus::ThinPool(ThinPoolStatus::Working {
                metadata: Fill { used: 141, total: 4096 },
                data: Fill { used, total: 163_840 },
                mode,
                needs_check,
            })
        };
        let line = "1 141/4096 100/163840 - rw discard_passdown queue_if_no_space - 1024";
        check("thin-pool", line, working(100, PoolMode::Writable, false));
        let line = "1 141/4096 163840/163840 - out_of_data_space discard_passdown queue_if_no_space - 1024";
        check("thin-pool", line, working(163_840, PoolMode::OutOfDataSpace, false));
        let line = "1 141/4096 5/163840 77 ro no_discard_passdown error_if_no_space needs_check 1024";
        check("thin-pool", line, working(5, PoolMode::ReadOnly, true));
        check("thin-pool", "Fail", TargetStatus::ThinPool(ThinPoolStatus::Failed));
        check("thin-pool", "1 141/4096", TargetStatus::Malformed("thin-pool".to_owned()));
        assert_eq!(Fill { used: u64::MAX, total: u64::MAX }.permille(), 1000);
        assert_eq!(Fill { used: 5, total: 0 }.permille(), 1000);
        assert_eq!(Fill { used: 899, total: 1000 }.permille(), 899);
    }

    #[test]
    fn cache_snapshot_and_crypt_lines() {
        let line = "8 72/1024 512 3571/8192 110 89 190 13 0 1000 12 1 writeback 2 migration_threshold 2048 smq 0 rw -";
        let working = CacheStatus::Working {
            metadata: Fill { used: 72, total: 1024 },
            data: Fill { used: 3571, total: 8192 },
            dirty: 12,
            mode: Some(PoolMode::Writable),
            needs_check: false,
        };
        check("cache", line, TargetStatus::Cache(working));
        check("cache", "Fail", TargetStatus::Cache(CacheStatus::Failed));
        check("cache", "8 72/1024 512 1/2 1 1 1 1 0 0 0 9 writeback", TargetStatus::Malformed("cache".to_owned()));
        let valid = SnapshotStatus::Valid(Fill { used: 397_896, total: 2_097_152 });
        check("snapshot", "397896/2097152 1560", TargetStatus::Snapshot(valid));
        check("snapshot", "Invalid", TargetStatus::Snapshot(SnapshotStatus::Lost));
        check("snapshot-merge", "Merge failed", TargetStatus::Snapshot(SnapshotStatus::Lost));
        check("crypt", "", TargetStatus::Crypt);
        check("linear", "", TargetStatus::Other("linear".to_owned()));
    }

    proptest! {
        #[test]
        fn any_line_is_read(kind in "raid|thin-pool|cache|snapshot|crypt|x", status in "[-A-Da-d0-9/ rwo]{0,200}") {
            drop(target(&Target { start: 0, length: 1, kind, status }));
        }

        #[test]
        fn any_text_is_read(status in ".*") {
            for kind in ["raid", "thin-pool", "cache", "snapshot"] {
                drop(target(&Target { start: 0, length: 1, kind: kind.to_owned(), status: status.clone() }));
            }
        }
    }
}
