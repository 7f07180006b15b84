// SPDX-License-Identifier: Apache-2.0 OR MIT
//! File systems that span devices: btrfs by its sysfs, ZFS by the state that its module shows. What `zpool` tells is richer
//! and read elsewhere.

/// A btrfs file system (Documentation/ABI/testing/sysfs-fs-btrfs and btrfs(5)).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BtrfsReading {
    /// Its UUID.
    pub id: String,
    /// Its label, where it has one.
    pub label: Option<String>,
    /// Its devices.
    pub devices: Vec<BtrfsDevice>,
    /// The kernel's names of the devices that are there.
    pub present: Vec<String>,
    /// Whether it was mounted with the option "degraded".
    pub mounted_degraded: bool,
    /// Size of all devices that are there, MiB.
    pub size_mib: i64,
    /// Not given to any block group yet, MiB.
    pub unallocated_mib: i64,
    /// Metadata in use, per mille of what is allocated for it.
    pub metadata_permille: i64,
    /// A balance, a replacement… that runs; "none" else.
    pub operation: String,
    /// What the last scrub left in /var/lib/btrfs, where that may be read.
    pub scrub: Option<BtrfsScrub>,
}

/// A device of a btrfs file system. Its counters last until they are reset by hand.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BtrfsDevice {
    /// Its number.
    pub id: u64,
    /// Whether it is missing.
    pub is_missing: bool,
    /// Writes and flushes that failed.
    pub write_errors: i64,
    /// Reads that failed.
    pub read_errors: i64,
    /// Blocks whose checksum or generation was wrong.
    pub corruptions: i64,
}

/// The last scrub.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BtrfsScrub {
    /// When it was started last, seconds since 1970.
    pub started_s: u64,
    /// Whether every device was read to its end.
    pub finished: bool,
    /// Errors that a good copy repaired.
    pub corrected: i64,
    /// Errors that nothing could repair.
    pub uncorrectable: i64,
}

/// The state of a ZFS pool as its kernel module shows it without any lock.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ZfsState {
    /// The pool's name.
    pub pool: String,
    /// "ONLINE", "DEGRADED", "SUSPENDED"…
    pub state: String,
}
