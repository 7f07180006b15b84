// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Walks the sources in the byte order of their paths, depth first, and stats everything on the way.
//!
//! Reads directories and attributes only; file content belongs to the engine. Never follows a symbolic link, never
//! leaves a directory's descriptor for a path (but for attributes of things that can't be opened), holds a bounded number
//! of descriptors however deep or wide the tree is. Helper threads list directories ahead of the walk; the order of what
//! comes out doesn't depend on them.

mod filter;
mod listing;
mod prefetch;
mod stat;

pub(crate) use filter::Filter;
pub(crate) use listing::{Dir, open_quiet};
pub(crate) use prefetch::Prefetch;
pub(crate) use stat::{FileKind, Stat};

use crate::engine::RunError;
use crate::entry::{SEPARATOR, is_within, parse_path};
use crate::info::SkipReason;
use crate::node::PATH_BYTES_MAX;
use listing::Listing;
use prefetch::Slot;
use rustix::fs::{Mode, OFlags};
use std::collections::VecDeque;
use std::ffi::{CStr, CString, OsStr};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Frames above this depth give their descriptor back and open it again when the walk returns.
const OPEN_FRAMES_MAX: usize = 64;

/// What limits a walk.
#[derive(Debug)]
pub(crate) struct Limits {
    pub(crate) filter: Filter,
    pub(crate) one_file_system: bool,
    pub(crate) skip_caches: bool,
    /// Device and inode of the state directory.
    pub(crate) never: Option<(u64, u64)>,
}

/// One thing found. Borrowed from the walk until its next step.
#[derive(Debug)]
pub(crate) struct Step<'a> {
    /// Components with 0x00 between them.
    pub(crate) path: &'a [u8],
    /// The directory that holds it.
    pub(crate) dir: &'a Arc<Dir>,
    /// Its name there.
    pub(crate) name: &'a CStr,
    pub(crate) stat: Stat,
    /// A directory that is here only because a source lies below it.
    pub(crate) parent_only: bool,
    /// A directory that could not be listed: the system's error.
    pub(crate) unlisted: Option<i32>,
}

/// A source: its full path in components, and as the system takes it.
#[derive(Debug)]
struct Root {
    path: Vec<u8>,
    stat: Stat,
}

#[derive(Debug)]
struct Frame {
    /// Length of the walk's path buffer that names this directory.
    path_bytes: usize,
    name: CString,
    ino: u64,
    dir: Option<Arc<Dir>>,
    listing: Listing,
    next: usize,
    slots: VecDeque<(usize, Arc<Slot>)>,
    device: u64,
}

/// What to do before listings go on.
#[derive(Debug)]
enum Pending {
    Parent(Vec<u8>),
    Root(Root),
}

/// The walk itself.
#[derive(Debug)]
pub(crate) struct Walk<'p> {
    limits: Limits,
    prefetch: &'p Prefetch,
    pending: VecDeque<Pending>,
    frames: Vec<Frame>,
    /// Directory of the first frame, as the system takes it.
    root_path: PathBuf,
    path: Vec<u8>,
    name: CString,
    dir: Option<Arc<Dir>>,
    buffer: Vec<u8>,
    /// Paths that gave nothing, for the caller to take.
    pub(crate) notes: Vec<(Vec<u8>, SkipReason)>,
}

/// The sources, as the snapshot names them: absolute, real, sorted, none below another.
///
/// # Errors
/// When one can't be found.
pub(crate) fn resolve_roots(roots: &[PathBuf]) -> Result<Vec<PathBuf>, RunError> {
    let mut real = Vec::with_capacity(roots.len());
    for root in roots {
        let canonical = root.canonicalize().map_err(|source| RunError::Root { path: root.clone(), source })?;
        let path = parse_path(canonical.as_os_str().as_bytes()).unwrap_or_default();
        real.push((path, canonical));
    }
    real.sort();
    let mut kept: Vec<(Vec<u8>, PathBuf)> = Vec::with_capacity(real.len());
    for (path, canonical) in real {
        if !kept.iter().any(|(above, _)| is_within(&path, above)) {
            kept.push((path, canonical));
        }
    }
    if kept.is_empty() {
        return Err(RunError::NoRoots);
    }
    Ok(kept.into_iter().map(|(_, canonical)| canonical).collect())
}

/// The system's path for components.
pub(crate) fn system_path(path: &[u8]) -> PathBuf {
    PathBuf::from(OsStr::from_bytes(&crate::entry::display_path(path)))
}

impl<'p> Walk<'p> {
    /// Starts at resolved roots.
    ///
    /// # Errors
    /// When a source can't be read at all.
    pub(crate) fn new(roots: &[PathBuf], limits: Limits, prefetch: &'p Prefetch) -> Result<Self, RunError> {
        let mut pending = VecDeque::new();
        let mut parents: Vec<Vec<u8>> = Vec::new();
        for root in roots {
            let path = parse_path(root.as_os_str().as_bytes()).unwrap_or_default();
            let stat =
                Stat::of_path(root).map_err(|errno| RunError::Root { path: root.clone(), source: errno.into() })?;
            for (at, _) in path.iter().enumerate().filter(|(_, byte)| **byte == SEPARATOR) {
                let parent = path[..at].to_vec();
                if !parents.contains(&parent) {
                    parents.push(parent.clone());
                    pending.push_back(Pending::Parent(parent));
                }
            }
            if stat.kind == FileKind::Dir {
                open_path(root).map_err(|errno| RunError::Root { path: root.clone(), source: errno.into() })?;
            }
            pending.push_back(Pending::Root(Root { path, stat }));
        }
        Ok(Self {
            limits,
            prefetch,
            pending,
            frames: Vec::new(),
            root_path: PathBuf::new(),
            path: Vec::new(),
            name: CString::default(),
            dir: None,
            buffer: Vec::new(),
            notes: Vec::new(),
        })
    }

    /// The next path, or the end.
    pub(crate) fn step(&mut self) -> Option<Step<'_>> {
        let (stat, parent_only, unlisted) = self.advance()?;
        let dir = self.dir.as_ref()?;
        Some(Step { path: &self.path, dir, name: &self.name, stat, parent_only, unlisted })
    }

    fn advance(&mut self) -> Option<(Stat, bool, Option<i32>)> {
        loop {
            let Some(top) = self.frames.len().checked_sub(1) else {
                match self.pending.pop_front()? {
                    Pending::Parent(path) => {
                        if let Some(stat) = self.parent(path) {
                            return Some((stat, true, None));
                        }
                    }
                    Pending::Root(root) => {
                        if let Some((stat, unlisted)) = self.root(root) {
                            return Some((stat, false, unlisted));
                        }
                    }
                }
                continue;
            };
            if self.frames[top].next >= self.frames[top].listing.len() {
                self.frames.pop();
                continue;
            }
            if let Some((stat, unlisted)) = self.item(top) {
                return Some((stat, false, unlisted));
            }
        }
    }

    fn parent(&mut self, path: Vec<u8>) -> Option<Stat> {
        let system = system_path(&path);
        self.name = last_name(&system)?;
        match (Stat::of_path(&system), open_path(parent_of(&system))) {
            (Ok(stat), Ok(dir)) => {
                self.dir = Some(Arc::new(dir));
                self.path = path;
                Some(stat)
            }
            (Err(errno), _) | (_, Err(errno)) => {
                self.notes.push((path, SkipReason::Unreadable(errno.raw_os_error())));
                None
            }
        }
    }

    fn root(&mut self, root: Root) -> Option<(Stat, Option<i32>)> {
        let system = system_path(&root.path);
        self.path = root.path;
        let mut unlisted = None;
        if root.stat.kind == FileKind::Dir {
            self.root_path.clone_from(&system);
            match open_path(&system) {
                Ok(dir) => {
                    let listing = Listing::scan(&dir, self.limits.skip_caches, &mut self.buffer);
                    unlisted = self.enter(Arc::new(dir), listing, CString::default(), root.stat.ino, root.stat.device);
                }
                Err(errno) => unlisted = Some(errno.raw_os_error()),
            }
        }
        // The root of the file system has no name and no entry of its own.
        self.name = last_name(&system)?;
        match open_path(parent_of(&system)) {
            Ok(dir) => {
                self.dir = Some(Arc::new(dir));
                Some((root.stat, unlisted))
            }
            Err(errno) => {
                self.notes.push((self.path.clone(), SkipReason::Unreadable(errno.raw_os_error())));
                None
            }
        }
    }

    /// The next item of the topmost frame. `None`: nothing to tell of it.
    fn item(&mut self, top: usize) -> Option<(Stat, Option<i32>)> {
        let dir = match self.frame_dir(top) {
            Ok(dir) => dir,
            Err(errno) => {
                let frame = &mut self.frames[top];
                self.path.truncate(frame.path_bytes);
                self.notes.push((self.path.clone(), SkipReason::Unreadable(errno.raw_os_error())));
                frame.next = frame.listing.len();
                return None;
            }
        };
        let frame = &mut self.frames[top];
        let at = frame.next;
        frame.next += 1;
        if frame.listing.stat_window(at, &dir) {
            self.queue_subdirectories(top, &dir);
        }
        let frame = &mut self.frames[top];
        self.path.truncate(frame.path_bytes);
        if !self.path.is_empty() {
            self.path.push(SEPARATOR);
        }
        let name = frame.listing.name(at);
        self.path.extend_from_slice(name.to_bytes());
        name.clone_into(&mut self.name);
        let slot = match frame.slots.front() {
            Some((slot_at, _)) if *slot_at == at => frame.slots.pop_front().map(|(_, slot)| slot),
            _ => None,
        };
        let device = frame.device;
        let stat = frame.listing.stat(at);
        if self.limits.filter.excludes(&self.path) {
            self.forget(slot);
            return None;
        }
        let reason = match stat {
            Err(rustix::io::Errno::NOENT) => Some(SkipReason::Vanished),
            Err(errno) => Some(SkipReason::Unreadable(errno.raw_os_error())),
            Ok(_) if self.path.len() > PATH_BYTES_MAX => {
                Some(SkipReason::Unreadable(rustix::io::Errno::NAMETOOLONG.raw_os_error()))
            }
            Ok(stat) if stat.kind == FileKind::Socket => Some(SkipReason::Socket),
            Ok(_) => None,
        };
        let stat = match (reason, stat) {
            (None, Ok(stat)) => stat,
            (reason, _) => {
                self.forget(slot);
                self.notes.extend(reason.map(|reason| (self.path.clone(), reason)));
                return None;
            }
        };
        let mut unlisted = None;
        if stat.kind == FileKind::Dir {
            if Some((stat.device, stat.ino)) == self.limits.never {
                return None;
            }
            if !self.limits.one_file_system || stat.device == device {
                unlisted = self.descend(&dir, slot, stat);
            }
        }
        self.dir = Some(dir);
        Some((stat, unlisted))
    }

    /// What a helper listed and nobody wants.
    fn forget(&self, slot: Option<Arc<Slot>>) {
        drop(slot.and_then(|slot| self.prefetch.take(&slot)));
    }

    fn descend(&mut self, parent: &Arc<Dir>, slot: Option<Arc<Slot>>, stat: Stat) -> Option<i32> {
        let name = self.name.clone();
        let listed = slot
            .and_then(|slot| self.prefetch.take(&slot))
            .unwrap_or_else(|| listing::open_and_scan(parent, &name, self.limits.skip_caches, &mut self.buffer));
        match listed {
            Ok((dir, listing)) => self.enter(dir, listing, name, stat.ino, stat.device),
            Err(errno) => Some(errno.raw_os_error()),
        }
    }

    fn enter(&mut self, dir: Arc<Dir>, listing: Listing, name: CString, ino: u64, device: u64) -> Option<i32> {
        let unlisted = listing.error.map(rustix::io::Errno::raw_os_error);
        let path_bytes = self.path.len();
        self.frames.push(Frame {
            path_bytes,
            name,
            ino,
            dir: Some(Arc::clone(&dir)),
            listing,
            next: 0,
            slots: VecDeque::new(),
            device,
        });
        let top = self.frames.len() - 1;
        if let Some(far) = top.checked_sub(OPEN_FRAMES_MAX).filter(|far| *far > 0) {
            self.frames[far].dir = None;
        }
        self.queue_subdirectories(top, &dir);
        unlisted
    }

    /// Offers the directories of the frame's current window to the helpers.
    fn queue_subdirectories(&mut self, top: usize, dir: &Arc<Dir>) {
        let frame = &mut self.frames[top];
        let (never, one_file_system, device) = (self.limits.never, self.limits.one_file_system, frame.device);
        let (filter, above) = (&self.limits.filter, &self.path[..frame.path_bytes]);
        let fresh: Vec<(usize, Arc<Slot>)> = frame
            .listing
            .directories()
            .filter(|(_, stat)| Some((stat.device, stat.ino)) != never)
            .filter(|(_, stat)| !one_file_system || stat.device == device)
            // What is left out may be left out because it hangs.
            .filter(|(at, _)| !filter.excludes_below(above, frame.listing.name(*at).to_bytes()))
            .map(|(at, _)| (at, Arc::new(Slot::new(dir, frame.listing.name(at), top))))
            .collect();
        self.prefetch.offer(fresh.iter().rev().map(|(_, slot)| Arc::clone(slot)));
        frame.slots = fresh.into();
    }

    /// The frame's directory, opened again if its descriptor was given back.
    fn frame_dir(&mut self, at: usize) -> rustix::io::Result<Arc<Dir>> {
        if let Some(dir) = &self.frames[at].dir {
            return Ok(Arc::clone(dir));
        }
        let nearest = (0..at).rev().find(|frame| self.frames[*frame].dir.is_some());
        let (mut dir, from) = match nearest.and_then(|frame| self.frames[frame].dir.clone().map(|dir| (dir, frame))) {
            Some((dir, frame)) => (dir, frame + 1),
            None => (Arc::new(open_path(&self.root_path)?), 1),
        };
        for frame in &self.frames[from..=at] {
            let fd = open_quiet(&*dir, &frame.name, OFlags::DIRECTORY)?;
            if Stat::of_fd(&fd)?.ino != frame.ino {
                return Err(rustix::io::Errno::NOENT);
            }
            dir = Arc::new(Dir::new(fd));
        }
        self.frames[at].dir = Some(Arc::clone(&dir));
        Ok(dir)
    }
}

fn open_path(path: &Path) -> rustix::io::Result<Dir> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    rustix::fs::open(path, flags, Mode::empty()).map(Dir::new)
}

fn parent_of(path: &Path) -> &Path {
    path.parent().unwrap_or(path)
}

fn last_name(path: &Path) -> Option<CString> {
    CString::new(path.file_name()?.to_os_string().into_vec()).ok()
}

#[cfg(test)]
mod tests;
