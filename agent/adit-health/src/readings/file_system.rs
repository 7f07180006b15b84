// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A mounted file system of this machine, and one that should be mounted.

/// A mounted file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileSystemReading {
    /// Where it is mounted; its id too.
    pub point: String,
    /// "ext4", "xfs"…
    pub kind: String,
    /// What statvfs(2) told.
    pub space: Space,
    /// Whether the file system as a whole takes no writes. A mount point that is read-only alone does not count: a service
    /// may see the whole machine so.
    pub read_only: bool,
    /// What /etc/fstab says of it; `None` when it is not there.
    pub meant: Option<Meant>,
    /// Errors that the file system counted (ext4).
    pub errors: Option<FsErrors>,
}

/// What statvfs(2) told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Space {
    /// Numbers.
    Known {
        /// Size, MiB.
        size_mib: i64,
        /// Left for programs that are not root's, MiB.
        free_mib: i64,
        /// Inodes in use, per mille; `None` on file systems that make them as needed.
        inodes_permille: Option<i64>,
    },
    /// The file system stopped after an error: input or output fails (XFS that shut down, a disk that is gone).
    Broken,
    /// Something else is in the way, such as rights.
    Refused(String),
}

/// How a mount is meant by /etc/fstab.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meant {
    /// For reading and writing.
    Writable,
    /// For reading only.
    ReadOnly,
}

/// Errors of ext4 (Documentation/ABI/testing/sysfs-fs-ext4). The superblock keeps them until e2fsck.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FsErrors {
    /// How many.
    pub count: i64,
    /// When the newest was, seconds since 1970.
    pub last_s: Option<u64>,
    /// The kernel's function that found it.
    pub place: Option<String>,
}
