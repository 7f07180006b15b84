// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The part of statx that a backup needs, in as few bytes as a window of thousands allows.

use crate::entry::Time;
use rustix::fs::{AtFlags, Statx, StatxFlags, StatxTimestamp};
use std::ffi::CStr;
use std::os::fd::AsFd;
use std::path::Path;

const FORMAT_MASK: u32 = 0o170_000;

/// What kind of thing stat found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FileKind {
    File,
    Dir,
    Symlink,
    Fifo,
    CharDevice,
    BlockDevice,
    Socket,
}

/// One stat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stat {
    pub(crate) kind: FileKind,
    /// Permission and set-id bits only.
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) nlink: u32,
    pub(crate) rdev: (u32, u32),
    pub(crate) ino: u64,
    pub(crate) device: u64,
    pub(crate) size: u64,
    /// Units of 512 bytes.
    pub(crate) blocks: u64,
    pub(crate) mtime: Time,
    pub(crate) ctime: Time,
}

const fn time(stamp: StatxTimestamp) -> Time {
    Time { s: stamp.tv_sec, ns: stamp.tv_nsec }
}

impl Stat {
    /// Of a name in a directory, itself and not what it points to.
    pub(crate) fn at(dir: impl AsFd, name: &CStr) -> rustix::io::Result<Self> {
        let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
        rustix::fs::statx(dir, name, flags, StatxFlags::BASIC_STATS).map(|found| Self::from_statx(&found))
    }

    pub(crate) fn of_path(path: &Path) -> rustix::io::Result<Self> {
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        rustix::fs::statx(rustix::fs::CWD, path, flags, StatxFlags::BASIC_STATS).map(|found| Self::from_statx(&found))
    }

    pub(crate) fn of_fd(fd: impl AsFd) -> rustix::io::Result<Self> {
        rustix::fs::statx(fd, c"", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS).map(|found| Self::from_statx(&found))
    }

    fn from_statx(found: &Statx) -> Self {
        let mode = u32::from(found.stx_mode);
        Self {
            kind: match mode & FORMAT_MASK {
                0o040_000 => FileKind::Dir,
                0o120_000 => FileKind::Symlink,
                0o010_000 => FileKind::Fifo,
                0o020_000 => FileKind::CharDevice,
                0o060_000 => FileKind::BlockDevice,
                0o140_000 => FileKind::Socket,
                _ => FileKind::File,
            },
            mode: mode & 0o7777,
            uid: found.stx_uid,
            gid: found.stx_gid,
            nlink: found.stx_nlink,
            rdev: (found.stx_rdev_major, found.stx_rdev_minor),
            ino: found.stx_ino,
            device: u64::from(found.stx_dev_major) << 32 | u64::from(found.stx_dev_minor),
            size: found.stx_size,
            blocks: found.stx_blocks,
            mtime: time(found.stx_mtime),
            ctime: time(found.stx_ctime),
        }
    }

    /// Whether the file is the same as `other` saw it: nobody wrote to it in between.
    pub(crate) fn same_content(&self, other: &Self) -> bool {
        self.ino == other.ino && self.size == other.size && self.mtime == other.mtime && self.ctime == other.ctime
    }
}
