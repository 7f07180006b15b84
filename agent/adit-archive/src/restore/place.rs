// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The target directory: makes things below it and gives them their attributes.
//!
//! Every name is resolved below the target one component at a time from descriptors, never through a symbolic link, so
//! that neither the snapshot nor somebody at work in the target can lead a write elsewhere.

use super::Fault;
use crate::entry::{Entry, Kind, Owner, SEPARATOR, Xattrs, split_name, unpack_xattrs};
use nix::unistd::{Group, User};
use rustix::fs::{AtFlags, Gid, Mode, OFlags, RenameFlags, ResolveFlags, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;
use std::collections::{HashMap, HashSet};
use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Directories held open at once.
const OPEN_DIRS_MAX: usize = 256;
const SET_ID_BITS: u32 = 0o6000;

type Result<T> = std::result::Result<T, Errno>;

/// Where a restore writes.
#[derive(Debug)]
pub(super) struct Ground {
    root: Arc<OwnedFd>,
    dirs: Mutex<HashMap<Vec<u8>, Arc<OwnedFd>>>,
    names: Mutex<HashMap<Owner, (u32, u32)>>,
    numeric_owners: bool,
    uid: u32,
    gid: u32,
    temporary: AtomicU64,
    faults: Mutex<Vec<(Vec<u8>, Fault)>>,
    /// Groups of hard links whose content did not come.
    lost_groups: Mutex<HashSet<u64>>,
    pub(super) owners_not_set: AtomicU64,
    pub(super) files: AtomicU64,
    pub(super) bytes: AtomicU64,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A file that is being written under a name of its own.
#[derive(Debug)]
pub(super) struct Fresh {
    pub(super) dir: Arc<OwnedFd>,
    pub(super) name: CString,
}

impl Ground {
    /// Opens the target, making it if it's not there.
    pub(super) fn open(to: &Path, numeric_owners: bool) -> std::io::Result<Self> {
        std::fs::create_dir_all(to)?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(to, flags, Mode::empty())?;
        Ok(Self {
            root: Arc::new(root),
            dirs: Mutex::default(),
            names: Mutex::default(),
            numeric_owners,
            uid: rustix::process::geteuid().as_raw(),
            gid: rustix::process::getegid().as_raw(),
            temporary: AtomicU64::new(0),
            faults: Mutex::default(),
            lost_groups: Mutex::default(),
            owners_not_set: AtomicU64::new(0),
            files: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
        })
    }

    pub(super) fn fault(&self, path: &[u8], fault: Fault) {
        lock(&self.faults).push((crate::entry::display_path(path), fault));
    }

    pub(super) fn system_fault(&self, path: &[u8], errno: Errno) {
        let fault = match errno {
            Errno::EXIST => Fault::Exists,
            other => Fault::System(other.raw_os_error()),
        };
        self.fault(path, fault);
    }

    pub(super) fn lose_group(&self, group: u64) {
        lock(&self.lost_groups).insert(group);
    }

    /// The groups of hard links that lack their content.
    pub(super) fn take_lost_groups(&self) -> HashSet<u64> {
        std::mem::take(&mut lock(&self.lost_groups))
    }

    pub(super) fn take_faults(&self) -> Vec<(Vec<u8>, Fault)> {
        std::mem::take(&mut lock(&self.faults))
    }

    /// The directory with this path, opened from the nearest one at hand.
    fn dir(&self, path: &[u8]) -> Result<Arc<OwnedFd>> {
        if path.is_empty() {
            return Ok(Arc::clone(&self.root));
        }
        let mut dirs = lock(&self.dirs);
        let ends = path.iter().enumerate().filter(|(_, byte)| **byte == SEPARATOR).map(|(at, _)| at);
        let ends: Vec<usize> = ends.chain([path.len()]).collect();
        let known = ends.iter().rposition(|end| dirs.contains_key(&path[..*end]));
        let mut at = match known.and_then(|known| dirs.get(&path[..ends[known]])) {
            Some(dir) => Arc::clone(dir),
            None => Arc::clone(&self.root),
        };
        for end in &ends[known.map_or(0, |known| known + 1)..] {
            let (_, name) = split_name(&path[..*end]);
            at = Arc::new(match open_beneath(&at, name, OFlags::PATH | OFlags::DIRECTORY) {
                // Its entry is lost or could not be made; what lies below it need not be.
                Err(Errno::NOENT) => {
                    rustix::fs::mkdirat(&*at, name, Mode::RWXU)?;
                    open_beneath(&at, name, OFlags::PATH | OFlags::DIRECTORY)?
                }
                other => other?,
            });
            if dirs.len() >= OPEN_DIRS_MAX {
                dirs.clear();
            }
            dirs.insert(path[..*end].to_vec(), Arc::clone(&at));
        }
        Ok(at)
    }

    fn parent(&self, path: &[u8]) -> Result<(Arc<OwnedFd>, CString)> {
        let (parent, name) = split_name(path);
        Ok((self.dir(parent)?, CString::new(name).map_err(|_| Errno::INVAL)?))
    }

    /// Makes a directory that only this user can enter until it gets its own mode. Answers whether it is new.
    pub(super) fn make_dir(&self, path: &[u8]) -> Result<bool> {
        let (parent, name) = self.parent(path)?;
        match rustix::fs::mkdirat(&*parent, &name, Mode::RWXU) {
            Ok(()) => Ok(true),
            Err(Errno::EXIST) => match self.dir(path) {
                Ok(_) => Ok(false),
                Err(_) => Err(Errno::EXIST),
            },
            Err(errno) => Err(errno),
        }
    }

    /// Gives a directory its attributes, after everything below it is there.
    pub(super) fn finish_dir(&self, entry: &Entry) -> Result<()> {
        let (parent, name) = self.parent(&entry.path)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let dir = open_beneath(&parent, name.as_bytes(), flags)?;
        self.attributes(&dir, entry);
        Ok(())
    }

    /// Makes a symbolic link, pipe or device.
    pub(super) fn make_other(&self, entry: &Entry) -> Result<()> {
        let (parent, name) = self.parent(&entry.path)?;
        let node = |file_type, device| rustix::fs::mknodat(&*parent, &name, file_type, Mode::RUSR | Mode::WUSR, device);
        match &entry.kind {
            Kind::Symlink(target) => rustix::fs::symlinkat(target.as_slice(), &*parent, &name)?,
            Kind::Fifo => node(rustix::fs::FileType::Fifo, 0)?,
            Kind::CharDevice(major, minor) => {
                node(rustix::fs::FileType::CharacterDevice, rustix::fs::makedev(*major, *minor))?;
            }
            Kind::BlockDevice(major, minor) => {
                node(rustix::fs::FileType::BlockDevice, rustix::fs::makedev(*major, *minor))?;
            }
            Kind::File | Kind::Dir | Kind::Parent => return Ok(()),
        }
        let made = open_beneath(&parent, name.as_bytes(), OFlags::PATH | OFlags::NOFOLLOW)?;
        self.attributes_of_unopenable(&made, entry);
        Ok(())
    }

    /// Writes a file whose whole content is at hand and checked.
    pub(super) fn write_whole(&self, entry: &Entry, content: &[u8]) {
        let made = self.parent(&entry.path).and_then(|(parent, name)| {
            let fd = create(&parent, &name)?;
            match write_at(&fd, content, 0) {
                Ok(()) => Ok(fd),
                Err(errno) => {
                    rustix::fs::unlinkat(&*parent, &name, AtFlags::empty())?;
                    Err(errno)
                }
            }
        });
        match made {
            Ok(fd) => {
                self.attributes(&fd, entry);
                self.count(entry);
            }
            Err(errno) => self.system_fault(&entry.path, errno),
        }
    }

    /// Begins a file whose content comes in pieces, under a temporary name beside its own.
    pub(super) fn begin(&self, entry: &Entry) -> Result<Fresh> {
        let (dir, name) = self.parent(&entry.path)?;
        if rustix::fs::statat(&*dir, &name, AtFlags::SYMLINK_NOFOLLOW).is_ok() {
            return Err(Errno::EXIST);
        }
        loop {
            let number = self.temporary.fetch_add(1, Ordering::Relaxed);
            let name = CString::new(format!(".adit-restore-{number}")).map_err(|_| Errno::INVAL)?;
            match create(&dir, &name) {
                Ok(fd) => {
                    rustix::fs::ftruncate(&fd, entry.size)?;
                    return Ok(Fresh { dir, name });
                }
                Err(Errno::EXIST) => {}
                Err(errno) => return Err(errno),
            }
        }
    }

    /// Writes a piece of a begun file.
    pub(super) fn write_piece(&self, fresh: &Fresh, content: &[u8], offset: u64) -> Result<()> {
        let fd = open_beneath(&fresh.dir, fresh.name.as_bytes(), OFlags::WRONLY | OFlags::NOFOLLOW)?;
        write_at(&fd, content, offset)
    }

    /// All pieces are there: attributes, then the final name.
    pub(super) fn finish(&self, fresh: &Fresh, entry: &Entry) -> Result<()> {
        let fd = open_beneath(&fresh.dir, fresh.name.as_bytes(), OFlags::WRONLY | OFlags::NOFOLLOW)?;
        self.attributes(&fd, entry);
        let (_, name) = split_name(&entry.path);
        let name = CString::new(name).map_err(|_| Errno::INVAL)?;
        let renamed = rustix::fs::renameat_with(&*fresh.dir, &fresh.name, &*fresh.dir, &name, RenameFlags::NOREPLACE);
        match renamed {
            // File systems without this flag: a link refuses to replace too.
            Err(Errno::INVAL | Errno::NOSYS) => {
                rustix::fs::linkat(&*fresh.dir, &fresh.name, &*fresh.dir, &name, AtFlags::empty())?;
                rustix::fs::unlinkat(&*fresh.dir, &fresh.name, AtFlags::empty())?;
            }
            other => other?,
        }
        self.count(entry);
        Ok(())
    }

    /// Removes a begun file that won't be whole.
    pub(super) fn abandon(&self, fresh: &Fresh) {
        // Nothing depends on it: its name says that it's a leftover.
        let _left_over = rustix::fs::unlinkat(&*fresh.dir, &fresh.name, AtFlags::empty());
    }

    /// Another name for a file that was restored.
    pub(super) fn link(&self, first: &[u8], entry: &Entry) -> Result<()> {
        let (from_dir, from) = self.parent(first)?;
        let (to_dir, to) = self.parent(&entry.path)?;
        rustix::fs::linkat(&*from_dir, &from, &*to_dir, &to, AtFlags::empty())?;
        self.files.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn count(&self, entry: &Entry) {
        self.files.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(entry.data_bytes().unwrap_or(entry.size), Ordering::Relaxed);
    }

    /// Owner, attributes, mode, times, in this order: each may undo the ones before it.
    fn attributes(&self, fd: &OwnedFd, entry: &Entry) {
        let mode = self.owner(entry, |uid, gid| rustix::fs::fchown(fd, uid, gid));
        self.xattrs(entry, |name, value| rustix::fs::fsetxattr(fd, name, value, XattrFlags::empty()));
        self.note(entry, rustix::fs::fchmod(fd, Mode::from_raw_mode(mode)));
        if entry.kind != Kind::Parent {
            self.note(entry, rustix::fs::futimens(fd, &times(entry)));
        }
    }

    /// The same for what can't be opened, through its entry under /proc.
    fn attributes_of_unopenable(&self, fd: &OwnedFd, entry: &Entry) {
        let is_link = matches!(entry.kind, Kind::Symlink(_));
        let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
        let mode = self.owner(entry, |uid, gid| rustix::fs::chownat(fd, c"", uid, gid, AtFlags::EMPTY_PATH));
        self.xattrs(entry, |name, value| rustix::fs::setxattr(path.as_str(), name, value, XattrFlags::empty()));
        if !is_link {
            self.note(entry, rustix::fs::chmod(path.as_str(), Mode::from_raw_mode(mode)));
        }
        let set = self.parent(&entry.path).and_then(|(parent, name)| {
            rustix::fs::utimensat(&*parent, &name, &times(entry), AtFlags::SYMLINK_NOFOLLOW)
        });
        self.note(entry, set);
    }

    fn note(&self, entry: &Entry, result: Result<()>) {
        if let Err(errno) = result {
            self.system_fault(&entry.path, errno);
        }
    }

    /// Sets the owner as far as this user may; answers the mode that then is safe to set.
    fn owner(&self, entry: &Entry, set: impl Fn(Option<Uid>, Option<Gid>) -> Result<()>) -> u32 {
        let (uid, gid) = self.ids(&entry.owner);
        if (uid, gid) == (self.uid, self.gid) {
            return entry.mode;
        }
        let (wanted_uid, wanted_gid) = (Uid::from_raw_unchecked(uid), Gid::from_raw_unchecked(gid));
        if set(Some(wanted_uid), Some(wanted_gid)).is_ok() {
            return entry.mode;
        }
        self.owners_not_set.fetch_add(1, Ordering::Relaxed);
        // One of the user's own groups may still be set.
        let _not_ours = set(None, Some(wanted_gid));
        // Under another owner these bits would grant what the file never granted.
        entry.mode & !SET_ID_BITS
    }

    /// The numbers of an owner here: by name where this system knows it.
    fn ids(&self, owner: &Owner) -> (u32, u32) {
        if self.numeric_owners {
            return (owner.uid, owner.gid);
        }
        if let Some(ids) = lock(&self.names).get(owner) {
            return *ids;
        }
        let text = |bytes: &[u8]| std::str::from_utf8(bytes).ok().filter(|text| !text.is_empty()).map(str::to_owned);
        let user = text(&owner.user).and_then(|name| User::from_name(&name).ok().flatten());
        let group = text(&owner.group).and_then(|name| Group::from_name(&name).ok().flatten());
        let ids =
            (user.map_or(owner.uid, |user| user.uid.as_raw()), group.map_or(owner.gid, |group| group.gid.as_raw()));
        lock(&self.names).insert(owner.clone(), ids);
        ids
    }

    fn xattrs(&self, entry: &Entry, set: impl Fn(&[u8], &[u8]) -> Result<()>) {
        let Xattrs::Here(packed) = &entry.xattrs else { return };
        let Some(attributes) = unpack_xattrs(packed) else {
            self.fault(&entry.path, Fault::Damaged);
            return;
        };
        for (name, value) in attributes {
            match set(name, value) {
                Ok(()) => {}
                Err(Errno::PERM) => self.fault(&entry.path, Fault::NeedsRoot),
                Err(errno) => self.system_fault(&entry.path, errno),
            }
        }
    }
}

fn times(entry: &Entry) -> Timestamps {
    let modified = Timespec { tv_sec: entry.mtime.s, tv_nsec: i64::from(entry.mtime.ns) };
    Timestamps { last_access: modified, last_modification: modified }
}

fn open_beneath(dir: impl AsFd, name: &[u8], flags: OFlags) -> Result<OwnedFd> {
    let flags = flags | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    // A symbolic link may be opened as itself.
    let resolve =
        if flags.contains(OFlags::PATH | OFlags::NOFOLLOW) { resolve - ResolveFlags::NO_SYMLINKS } else { resolve };
    match rustix::fs::openat2(&dir, name, flags, Mode::empty(), resolve) {
        // Old kernels and some sandboxes lack the call; one component without a link is as safe.
        Err(Errno::NOSYS | Errno::PERM) if !name.contains(&b'/') => {
            rustix::fs::openat(&dir, name, flags | OFlags::NOFOLLOW, Mode::empty())
        }
        other => other,
    }
}

fn create(dir: impl AsFd, name: &CString) -> Result<OwnedFd> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(dir, name, flags, Mode::RUSR | Mode::WUSR)
}

fn write_at(fd: &OwnedFd, mut content: &[u8], mut offset: u64) -> Result<()> {
    while !content.is_empty() {
        match rustix::io::pwrite(fd, content, offset) {
            Ok(0) => return Err(Errno::IO),
            Ok(count) => {
                content = &content[count..];
                offset += count as u64;
            }
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}
