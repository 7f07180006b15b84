// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A disk in memory that can lose power, run full, fail a flush and rot, all of it from a seed.
//!
//! Between flushes any subset of the writes and of the directory operations survives a [`SimDisk::power_cut`], in sectors
//! of 512 bytes and blocks of 4 KiB; a block that was being written may come back as garbage or unreadable; a file's
//! length may lag or lead its bytes. Images share their pages, so that keeping one for every operation is cheap.

use super::{Disk, FileId, Mode, Sharing};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

const PAGE: usize = 4096;
const SECTOR: usize = 512;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum Page {
    #[default]
    Zero,
    Bytes(Arc<[u8; PAGE]>),
    Unreadable,
}

#[derive(Clone, Debug, Default)]
struct Content {
    len: u64,
    pages: Vec<Page>,
}

/// Splits a byte range into (page, offset in the page, bytes).
fn spans(offset: u64, len: usize) -> impl Iterator<Item = (usize, usize, usize)> {
    let mut at = usize::try_from(offset).expect("a simulated file fits memory");
    let end = at + len;
    std::iter::from_fn(move || {
        if at >= end {
            return None;
        }
        let within = at % PAGE;
        let count = (PAGE - within).min(end - at);
        let span = (at / PAGE, within, count);
        at += count;
        Some(span)
    })
}

impl Content {
    fn read(&self, offset: u64, bytes: &mut [u8]) -> io::Result<usize> {
        let count = usize::try_from(self.len.saturating_sub(offset)).unwrap_or(usize::MAX).min(bytes.len());
        let mut done = 0;
        for (page, within, span) in spans(offset, count) {
            let to = &mut bytes[done..done + span];
            match self.pages.get(page) {
                Some(Page::Bytes(data)) => to.copy_from_slice(&data[within..within + span]),
                Some(Page::Unreadable) => return Err(io::Error::other("simulated unreadable block")),
                Some(Page::Zero) | None => to.fill(0),
            }
            done += span;
        }
        Ok(count)
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let end = offset + bytes.len() as u64;
        self.cover(end);
        let mut done = 0;
        for (page, within, span) in spans(offset, bytes.len()) {
            let page = &mut self.pages[page];
            if *page == Page::Unreadable && span < PAGE {
                return Err(io::Error::other("simulated unreadable block"));
            }
            if !matches!(page, Page::Bytes(_)) {
                *page = Page::Bytes(Arc::new([0; PAGE]));
            }
            if let Page::Bytes(data) = page {
                Arc::make_mut(data)[within..within + span].copy_from_slice(&bytes[done..done + span]);
            }
            done += span;
        }
        self.len = self.len.max(end);
        Ok(())
    }

    /// Whether every block of a range was written before.
    fn holds(&self, offset: u64, len: usize) -> bool {
        spans(offset, len).all(|(page, ..)| matches!(self.pages.get(page), Some(Page::Bytes(_))))
    }

    fn cover(&mut self, end: u64) {
        let pages = usize::try_from(end.div_ceil(PAGE as u64)).expect("a simulated file fits memory");
        if self.pages.len() < pages {
            self.pages.resize(pages, Page::Zero);
        }
    }

    fn set_len(&mut self, len: u64) {
        if len < self.len {
            let pages = usize::try_from(len.div_ceil(PAGE as u64)).expect("a simulated file fits memory");
            self.pages.truncate(pages);
            let within = usize::try_from(len % PAGE as u64).expect("below a page");
            if within > 0
                && let Some(Page::Bytes(data)) = self.pages.last_mut()
            {
                Arc::make_mut(data)[within..].fill(0);
            }
        } else {
            self.cover(len);
        }
        self.len = len;
    }
}

#[derive(Clone, Debug)]
enum Change {
    Write { offset: u64, bytes: Arc<[u8]> },
    Len(u64),
}

#[derive(Clone, Debug, Default)]
struct Inode {
    current: Content,
    durable: Content,
    changes: Vec<Change>,
}

#[derive(Clone, Debug)]
enum NameChange {
    Link { path: String, inode: u64 },
    Unlink { path: String, inode: u64 },
    Rename { from: String, to: String, inode: u64 },
    Dir { path: String },
    NoDir { path: String },
}

impl NameChange {
    fn touches(&self, dir: &str) -> bool {
        match self {
            Self::Link { path, .. } | Self::Unlink { path, .. } | Self::Dir { path } | Self::NoDir { path } => {
                parent(path) == dir
            }
            Self::Rename { from, to, .. } => parent(from) == dir || parent(to) == dir,
        }
    }

    fn apply(&self, names: &mut BTreeMap<String, u64>, dirs: &mut BTreeSet<String>) {
        match self {
            Self::Link { path, inode } => {
                names.insert(path.clone(), *inode);
            }
            Self::Unlink { path, inode } => {
                if names.get(path) == Some(inode) {
                    names.remove(path);
                }
            }
            Self::Rename { from, to, inode } => {
                if names.get(from) == Some(inode) {
                    names.remove(from);
                }
                names.insert(to.clone(), *inode);
            }
            Self::Dir { path } => {
                dirs.insert(path.clone());
            }
            // What lost its directory is lost too, as on a real disk after its repair.
            Self::NoDir { path } => {
                dirs.remove(path);
            }
        }
    }
}

fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(dir, _)| dir)
}

/// A whole simulated disk at one moment: what is cached, what is durable, and what is in between.
#[derive(Clone, Debug, Default)]
pub struct Image {
    inodes: BTreeMap<u64, Arc<Inode>>,
    next_inode: u64,
    names: BTreeMap<String, u64>,
    dirs: BTreeSet<String>,
    durable_names: BTreeMap<String, u64>,
    durable_dirs: BTreeSet<String>,
    name_changes: Vec<NameChange>,
}

/// What a power cut does to unflushed bytes, drawn from the seed when `None`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PowerCut {
    /// Nothing unflushed survives.
    Lost,
    /// Everything survives.
    Kept,
    /// Each 4 KiB block of each write survives or not.
    Blocks,
    /// Each 512-byte sector of each write survives or not.
    Sectors,
}

/// Faults that a test asks for, by the number of the mutating operation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// From this operation on, nothing that needs space succeeds.
    pub full_from: Option<u64>,
    /// This flush fails and what it should have flushed is gone.
    pub failed_sync: Option<u64>,
    /// This write fails.
    pub failed_write: Option<u64>,
}

type Watcher = Box<dyn FnMut(u64, &Image) + Send>;

#[derive(Default)]
struct State {
    image: Image,
    open: BTreeMap<FileId, u64>,
    next_file: u64,
    operations: u64,
    faults: Faults,
    locked: bool,
    watcher: Option<Watcher>,
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State").field("files", &self.image.names).field("operations", &self.operations).finish()
    }
}

/// A simulated [`Disk`]. Clones are the same disk.
#[derive(Clone, Debug, Default)]
pub struct SimDisk {
    state: Arc<Mutex<State>>,
}

impl SimDisk {
    /// An empty disk.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A running disk with this image, caches included.
    #[must_use]
    pub fn from_image(image: Image) -> Self {
        let state = State { image, ..State::default() };
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// The disk as it is now.
    #[must_use]
    pub fn image(&self) -> Image {
        self.state().image.clone()
    }

    /// Mutating operations so far: writes, length changes, flushes, directory operations.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.state().operations
    }

    /// Asks for faults.
    pub fn set_faults(&self, faults: Faults) {
        self.state().faults = faults;
    }

    /// Calls `watcher` after every mutating operation, with its number and the disk as it is then.
    pub fn watch(&self, watcher: impl FnMut(u64, &Image) + Send + 'static) {
        self.state().watcher = Some(Box::new(watcher));
    }

    /// The process that held the lock is gone; what it had written is still cached.
    pub fn unlock(&self) {
        let mut state = self.state();
        state.locked = false;
        state.open.clear();
    }

    /// What the plug leaves: the disk after a power cut, nothing cached, unlocked.
    #[must_use]
    pub fn power_cut(image: &Image, seed: u64, how: Option<PowerCut>) -> Self {
        Self::from_image(image.power_cut(&mut Rng(seed), how))
    }

    /// Paths of all files.
    #[must_use]
    pub fn paths(&self) -> Vec<String> {
        self.state().image.names.keys().cloned().collect()
    }

    /// Flips bits of one byte behind the store's back, as rot does.
    ///
    /// # Panics
    /// When the byte is not there.
    pub fn flip(&self, path: &str, offset: u64, mask: u8) {
        let mut state = self.state();
        let number = *state.image.names.get(path).expect("a file to flip a byte in");
        let inode = Arc::make_mut(state.image.inodes.get_mut(&number).expect("a named file has an inode"));
        for content in [&mut inode.current, &mut inode.durable] {
            let mut byte = [0];
            if content.read(offset, &mut byte).expect("a readable byte") == 1 {
                content.write(offset, &[byte[0] ^ mask]).expect("a readable block");
            }
        }
    }

    /// The drive can't read these bytes any more, nor the rest of their blocks, until they are written anew.
    ///
    /// # Panics
    /// When the file is not there.
    pub fn lose(&self, path: &str, from: u64, to: u64) {
        let mut state = self.state();
        let number = *state.image.names.get(path).expect("a file to lose bytes of");
        let inode = Arc::make_mut(state.image.inodes.get_mut(&number).expect("a named file has an inode"));
        for content in [&mut inode.current, &mut inode.durable] {
            let length =
                usize::try_from(to.min(content.len).saturating_sub(from)).expect("a simulated file fits memory");
            for (page, ..) in spans(from, length) {
                if let Some(page) = content.pages.get_mut(page) {
                    *page = Page::Unreadable;
                }
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Image {
    fn power_cut(&self, rng: &mut Rng, how: Option<PowerCut>) -> Self {
        let mut after = Self { next_inode: self.next_inode, ..Self::default() };
        let drawn = match rng.below(8) {
            0 => PowerCut::Lost,
            1 => PowerCut::Kept,
            2..=4 => PowerCut::Blocks,
            _ => PowerCut::Sectors,
        };
        let how = how.unwrap_or(drawn);
        after.durable_names = self.durable_names.clone();
        after.durable_dirs = self.durable_dirs.clone();
        for change in &self.name_changes {
            let kept = match how {
                PowerCut::Lost => false,
                PowerCut::Kept => true,
                PowerCut::Blocks | PowerCut::Sectors => rng.below(2) == 0,
            };
            if kept {
                change.apply(&mut after.durable_names, &mut after.durable_dirs);
            }
        }
        let dirs = &after.durable_dirs;
        after.durable_names.retain(|path, _| parent(path).is_empty() || dirs.contains(parent(path)));
        for number in after.durable_names.values() {
            if let Some(inode) = self.inodes.get(number) {
                let content = inode.power_cut(rng, how);
                let inode = Inode { current: content.clone(), durable: content, changes: Vec::new() };
                after.inodes.insert(*number, Arc::new(inode));
            }
        }
        after.names = after.durable_names.clone();
        after.dirs = after.durable_dirs.clone();
        after
    }
}

impl Inode {
    fn power_cut(&self, rng: &mut Rng, how: PowerCut) -> Content {
        let mut content = self.durable.clone();
        let unit = match how {
            PowerCut::Lost => return content,
            PowerCut::Kept => return self.current.clone(),
            PowerCut::Blocks => PAGE,
            PowerCut::Sectors => SECTOR,
        };
        let mut touched = BTreeSet::new();
        for change in &self.changes {
            match change {
                Change::Len(len) => {
                    if rng.below(2) == 0 {
                        content.set_len(*len);
                    }
                }
                Change::Write { offset, bytes } => {
                    let mut done = 0;
                    while done < bytes.len() {
                        let at = offset + done as u64;
                        let within = usize::try_from(at).expect("a simulated file fits memory") % unit;
                        let count = (unit - within).min(bytes.len() - done);
                        if rng.below(2) == 0 {
                            // An unreadable block can only have come from an earlier cut; it stays so.
                            let survived = content.write(at, &bytes[done..done + count]);
                            drop(survived);
                        }
                        touched.insert(usize::try_from(at).expect("a simulated file fits memory") / PAGE);
                        done += count;
                    }
                }
            }
        }
        // The block under the head when the power went: garbage, or the drive can't read it at all.
        for page in touched {
            if rng.below(16) == 0
                && let Some(page) = content.pages.get_mut(page)
            {
                *page = if rng.below(2) == 0 { Page::Unreadable } else { Page::Bytes(Arc::new(rng.page())) };
            }
        }
        match rng.below(4) {
            0 => content.set_len(self.current.len),
            1 if self.durable.len < content.len => content.set_len(self.durable.len),
            _ => {}
        }
        content
    }
}

impl State {
    /// Counts an operation. Faults compare with its number.
    fn count(&mut self) -> u64 {
        self.operations += 1;
        self.operations
    }

    fn inode(&mut self, file: FileId) -> io::Result<&mut Inode> {
        let number = *self.open.get(&file).ok_or(io::ErrorKind::NotFound)?;
        self.image.inodes.get_mut(&number).map(Arc::make_mut).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn tell(&mut self) {
        if let Some(watcher) = &mut self.watcher {
            watcher(self.operations, &self.image);
        }
    }

    fn check_space(&self, operation: u64) -> io::Result<()> {
        match self.faults.full_from {
            Some(from) if operation >= from => Err(io::ErrorKind::StorageFull.into()),
            _ => Ok(()),
        }
    }

    fn name_change(&mut self, change: NameChange) {
        change.apply(&mut self.image.names, &mut self.image.dirs);
        self.image.name_changes.push(change);
    }
}

impl Disk for SimDisk {
    fn open(&self, path: &str, mode: Mode) -> io::Result<FileId> {
        let mut state = self.state();
        let number = match (state.image.names.get(path).copied(), mode) {
            (Some(_), Mode::CreateNew) => return Err(io::ErrorKind::AlreadyExists.into()),
            (Some(number), _) => number,
            (None, Mode::Read | Mode::Write) => return Err(io::ErrorKind::NotFound.into()),
            (None, Mode::CreateNew | Mode::CreateOrEmpty) => {
                let dir = parent(path);
                if !dir.is_empty() && !state.image.dirs.contains(dir) {
                    return Err(io::ErrorKind::NotFound.into());
                }
                let operation = state.count();
                state.check_space(operation)?;
                state.image.next_inode += 1;
                let number = state.image.next_inode;
                state.image.inodes.insert(number, Arc::default());
                state.name_change(NameChange::Link { path: path.to_owned(), inode: number });
                state.tell();
                number
            }
        };
        state.next_file += 1;
        let file = FileId(state.next_file);
        state.open.insert(file, number);
        if mode == Mode::CreateOrEmpty && state.inode(file)?.current.len > 0 {
            drop(state);
            self.set_len(file, 0)?;
        }
        Ok(file)
    }

    fn close(&self, file: FileId) {
        self.state().open.remove(&file);
    }

    fn read_at(&self, file: FileId, offset: u64, bytes: &mut [u8]) -> io::Result<usize> {
        let state = self.state();
        let number = state.open.get(&file).ok_or(io::ErrorKind::NotFound)?;
        state.image.inodes.get(number).ok_or(io::ErrorKind::NotFound)?.current.read(offset, bytes)
    }

    fn write_at(&self, file: FileId, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.state();
        let operation = state.count();
        // Blocks that were written before have their place.
        if !state.inode(file)?.current.holds(offset, bytes.len()) {
            state.check_space(operation)?;
        }
        if state.faults.failed_write == Some(operation) {
            return Err(io::Error::other("simulated write error"));
        }
        let inode = state.inode(file)?;
        inode.current.write(offset, bytes)?;
        inode.changes.push(Change::Write { offset, bytes: bytes.into() });
        state.tell();
        Ok(())
    }

    fn set_len(&self, file: FileId, bytes: u64) -> io::Result<()> {
        let mut state = self.state();
        let operation = state.count();
        let inode = state.inode(file)?;
        let grows = bytes > inode.current.len;
        if grows {
            state.check_space(operation)?;
        }
        let inode = state.inode(file)?;
        inode.current.set_len(bytes);
        inode.changes.push(Change::Len(bytes));
        state.tell();
        Ok(())
    }

    fn reserve(&self, _file: FileId, _end: u64) -> io::Result<()> {
        Ok(())
    }

    fn uncache(&self, _file: FileId) {}

    fn len(&self, file: FileId) -> io::Result<u64> {
        Ok(self.state().inode(file)?.current.len)
    }

    fn sync(&self, file: FileId) -> io::Result<()> {
        let mut state = self.state();
        let operation = state.count();
        let failed = state.faults.failed_sync == Some(operation);
        let inode = state.inode(file)?;
        inode.changes.clear();
        if failed {
            inode.current = inode.durable.clone();
            return Err(io::Error::other("simulated flush error"));
        }
        inode.durable = inode.current.clone();
        state.tell();
        Ok(())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.state();
        state.count();
        let inode = *state.image.names.get(from).ok_or(io::ErrorKind::NotFound)?;
        state.name_change(NameChange::Rename { from: from.to_owned(), to: to.to_owned(), inode });
        state.tell();
        Ok(())
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        let mut state = self.state();
        state.count();
        let inode = *state.image.names.get(path).ok_or(io::ErrorKind::NotFound)?;
        state.name_change(NameChange::Unlink { path: path.to_owned(), inode });
        state.tell();
        Ok(())
    }

    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        let state = self.state();
        let names = state.image.names.keys().chain(&state.image.dirs);
        let mut names: Vec<String> = names
            .filter(|path| parent(path) == dir)
            .map(|path| path.rsplit_once('/').map_or(path.as_str(), |(_, name)| name).to_owned())
            .collect();
        names.sort_unstable();
        Ok(names)
    }

    fn create_dir(&self, dir: &str) -> io::Result<()> {
        let mut state = self.state();
        if !state.image.dirs.contains(dir) {
            let operation = state.count();
            state.check_space(operation)?;
            state.name_change(NameChange::Dir { path: dir.to_owned() });
            state.tell();
        }
        Ok(())
    }

    fn remove_dir(&self, dir: &str) -> io::Result<()> {
        let mut state = self.state();
        state.count();
        let image = &state.image;
        if image.names.keys().chain(&image.dirs).any(|path| parent(path) == dir) {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        if !image.dirs.contains(dir) {
            return Err(io::ErrorKind::NotFound.into());
        }
        state.name_change(NameChange::NoDir { path: dir.to_owned() });
        state.tell();
        Ok(())
    }

    fn sync_dir(&self, dir: &str) -> io::Result<()> {
        let mut state = self.state();
        state.count();
        let image = &mut state.image;
        let mut rest = Vec::new();
        for change in image.name_changes.drain(..) {
            if change.touches(dir) {
                change.apply(&mut image.durable_names, &mut image.durable_dirs);
            } else {
                rest.push(change);
            }
        }
        image.name_changes = rest;
        state.tell();
        Ok(())
    }

    fn free_bytes(&self) -> io::Result<Option<u64>> {
        Ok(None)
    }

    fn lock(&self, path: &str, _sharing: Sharing) -> io::Result<()> {
        let mut state = self.state();
        if !state.image.names.contains_key(path) && !state.image.dirs.contains(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        if std::mem::replace(&mut state.locked, true) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(())
    }
}

/// SplitMix64: enough randomness for choosing what a power cut takes.
#[derive(Debug)]
struct Rng(u64);

impl Rng {
    const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    const fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn page(&mut self) -> [u8; PAGE] {
        let mut page = [0; PAGE];
        for chunk in page.chunks_exact_mut(8) {
            chunk.copy_from_slice(&self.next().to_le_bytes());
        }
        page
    }
}
