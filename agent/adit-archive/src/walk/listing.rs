// SPDX-License-Identifier: Apache-2.0 OR MIT
//! One directory: its names in one arena, sorted by bytes; stats for a window of them at a time.
//!
//! A directory of a million names is one allocation of names, and never more stats than a window has. Inside a window
//! stats are asked in the order of inodes, which is the order of the disk.

use super::stat::{FileKind, Stat};
use rustix::fs::{Mode, OFlags, RawDir};
use rustix::io::{Errno, Result};
use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

/// Names whose stats are held at once.
const WINDOW: usize = 16_384;
/// Bytes asked of the system at once when a directory is read.
const READ_BYTES: usize = 32 << 10;
const CACHE_TAG: &[u8] = b"CACHEDIR.TAG";
const CACHE_SIGNATURE: &[u8] = b"Signature: 8a477f597d28d172789f06886806bc55";

/// An open directory.
#[derive(Debug)]
pub(crate) struct Dir(OwnedFd);

impl Dir {
    pub(crate) const fn new(fd: OwnedFd) -> Self {
        Self(fd)
    }
}

impl AsFd for Dir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Opens a name for reading without touching its access time where that is allowed, never through a symbolic link and
/// never waiting for the other end of a pipe.
pub(crate) fn open_quiet(dir: impl AsFd, name: &CStr, more: OFlags) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK | more;
    match rustix::fs::openat(&dir, name, flags | OFlags::NOATIME, Mode::empty()) {
        Err(Errno::PERM) => rustix::fs::openat(&dir, name, flags, Mode::empty()),
        other => other,
    }
}

#[derive(Clone, Copy, Debug)]
struct Name {
    at: usize,
    bytes: u16,
    ino: u64,
}

/// What a directory holds.
#[derive(Debug)]
pub(crate) struct Listing {
    /// Names, each with a zero behind it.
    arena: Vec<u8>,
    names: Vec<Name>,
    window_start: usize,
    stats: Vec<Result<Stat>>,
    /// The directory could not be read to its end.
    pub(crate) error: Option<Errno>,
}

/// Opens a directory below another and lists it.
pub(super) fn open_and_scan(
    parent: impl AsFd,
    name: &CStr,
    skip_caches: bool,
    buffer: &mut Vec<u8>,
) -> Result<(Arc<Dir>, Listing)> {
    let dir = Dir::new(open_quiet(parent, name, OFlags::DIRECTORY)?);
    let listing = Listing::scan(&dir, skip_caches, buffer);
    Ok((Arc::new(dir), listing))
}

impl Listing {
    /// Lists the directory and stats the first window.
    pub(super) fn scan(dir: &Dir, skip_caches: bool, buffer: &mut Vec<u8>) -> Self {
        let mut listing =
            Self { arena: Vec::new(), names: Vec::new(), window_start: 0, stats: Vec::new(), error: None };
        listing.read(dir, buffer);
        let arena = &listing.arena;
        listing.names.sort_unstable_by(|a, b| name_bytes(arena, a).cmp(name_bytes(arena, b)));
        if skip_caches {
            listing.keep_only_cache_tag(dir);
        }
        listing.fill_window(0, dir);
        listing
    }

    fn read(&mut self, dir: &Dir, buffer: &mut Vec<u8>) {
        buffer.clear();
        buffer.reserve(READ_BYTES);
        let mut raw = RawDir::new(dir, buffer.spare_capacity_mut());
        while let Some(entry) = raw.next() {
            let entry = match entry {
                Ok(entry) => entry,
                Err(errno) => {
                    self.error = Some(errno);
                    return;
                }
            };
            let name = entry.file_name().to_bytes();
            let Ok(bytes) = u16::try_from(name.len()) else { continue };
            if name == b"." || name == b".." {
                continue;
            }
            self.names.push(Name { at: self.arena.len(), bytes, ino: entry.ino() });
            self.arena.extend_from_slice(entry.file_name().to_bytes_with_nul());
        }
    }

    fn keep_only_cache_tag(&mut self, dir: &Dir) {
        let arena = &self.arena;
        let Ok(at) = self.names.binary_search_by(|name| name_bytes(arena, name).cmp(CACHE_TAG)) else { return };
        if has_cache_signature(dir) {
            self.names = vec![self.names[at]];
        }
    }

    pub(super) const fn len(&self) -> usize {
        self.names.len()
    }

    pub(super) fn name(&self, at: usize) -> &CStr {
        let name = self.names[at];
        let end = name.at + usize::from(name.bytes) + 1;
        CStr::from_bytes_with_nul(&self.arena[name.at..end]).unwrap_or_default()
    }

    /// Makes sure that the stat of this name is there; answers whether a new window was read for it.
    pub(super) fn stat_window(&mut self, at: usize, dir: &Dir) -> bool {
        let there = at >= self.window_start && at < self.window_start + self.stats.len();
        if !there {
            self.fill_window(at, dir);
        }
        !there
    }

    pub(super) fn stat(&self, at: usize) -> Result<Stat> {
        self.stats.get(at.wrapping_sub(self.window_start)).copied().unwrap_or(Err(Errno::NOENT))
    }

    /// Directories of the current window in the order of names.
    pub(super) fn directories(&self) -> impl Iterator<Item = (usize, Stat)> + '_ {
        self.stats.iter().enumerate().filter_map(|(at, stat)| match stat {
            Ok(stat) if stat.kind == FileKind::Dir => Some((self.window_start + at, *stat)),
            _ => None,
        })
    }

    fn fill_window(&mut self, start: usize, dir: &Dir) {
        let end = self.names.len().min(start + WINDOW);
        let mut order: Vec<usize> = (start..end).collect();
        order.sort_unstable_by_key(|at| self.names[*at].ino);
        self.window_start = start;
        self.stats = vec![Err(Errno::NOENT); end - start];
        for at in order {
            self.stats[at - start] = Stat::at(dir, self.name(at));
        }
    }
}

fn name_bytes<'a>(arena: &'a [u8], name: &Name) -> &'a [u8] {
    &arena[name.at..name.at + usize::from(name.bytes)]
}

fn has_cache_signature(dir: &Dir) -> bool {
    let Ok(fd) = open_quiet(dir, c"CACHEDIR.TAG", OFlags::empty()) else { return false };
    let mut start = [0u8; CACHE_SIGNATURE.len()];
    matches!(rustix::io::read(&fd, &mut start), Ok(count) if count == start.len()) && start == CACHE_SIGNATURE
}
