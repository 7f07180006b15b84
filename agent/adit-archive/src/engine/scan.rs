// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The heart of a run: each path that the walk finds is compared with the state before, read if it must be, and becomes
//! an entry of the new tree.
//!
//! One thread, in the order of paths, which fixes bundles, leaves and the state. Entries wait in a bounded queue only
//! while the bundle that holds their content is open.

use super::bundles::{Bundles, Placed, SMALL_BYTES};
use super::content::{LargeReader, ReadError, Small, small};
use super::owners::Owners;
use super::pipe::Pipe;
use super::{Progress, RunError, attributes};
use crate::cut::PathCutter;
use crate::entry::{
    Content, Entry, INLINE_BYTES_MAX, Kind as What, Mark, Time, XATTRS_BYTES_MAX, Xattrs, display_path,
};
use crate::info::{Counts, SKIPPED_MAX, SkipReason, Skipped};
use crate::node::{Child, Encoded, encode_leaf};
use crate::seal::Kind;
use crate::secret::Secret;
use crate::state::{Entries, Side, State, StateWriter, Tables, Trust, short};
use crate::tree::{LeafBuilder, Place, TreeBuilder};
use crate::walk::{FileKind, Filter, Stat, Step, Walk, open_quiet};
use adit_wire::ids::Id;
use rustix::fs::OFlags;
use rustix::io::Errno;
use std::collections::{HashMap, HashSet, VecDeque};
use std::os::fd::AsFd as _;

/// Entries that wait for an open bundle; then it's closed, full or not.
const WAITING_MAX: usize = 16_384;
/// The caller hears of progress after this many paths.
const PROGRESS_PATHS: u64 = 256;
/// A file changed less than this before it was read may be changed again without its times telling.
const RACY_NS: i128 = 20_000_000;

#[derive(Debug)]
struct Waiting {
    entry: Entry,
    side: Side,
    /// The bundle whose id the entry's content still lacks.
    pending: Option<u32>,
}

/// What all names of one inode share.
#[derive(Debug)]
struct Linked {
    group: u64,
    entry: Entry,
    side: Side,
    pending: Option<u32>,
    left: u32,
}

/// What a scan needs besides the walk.
pub(super) struct Setup<'r> {
    pub(super) state: Option<State>,
    /// Short ids of what the box lost.
    pub(super) missing: HashSet<u64>,
    pub(super) path_cutter: PathCutter,
    pub(super) large: LargeReader,
    pub(super) hash_key: Secret<32>,
    pub(super) link_key: Secret<32>,
    pub(super) page_stores: Filter,
    pub(super) pipe: Pipe<'r>,
    pub(super) writer: StateWriter,
    pub(super) progress: &'r dyn Progress,
}

/// A run's scan.
pub(super) struct Scan<'r> {
    setup: Setup<'r>,
    previous: Option<Entries>,
    torn_seen: bool,
    bundles: Bundles,
    bundle_bytes: HashMap<u64, u32>,
    links: HashMap<(u64, u64), Linked>,
    queue: VecDeque<Waiting>,
    leaves: LeafBuilder<Side>,
    tree: TreeBuilder,
    owners: Owners,
    buffer: Vec<u8>,
    paths: u64,
    pub(super) counts: Counts,
    pub(super) skipped: Vec<Skipped>,
}

/// What a finished scan leaves.
pub(super) struct Scanned<'r> {
    pub(super) root: Child,
    pub(super) tables: Tables,
    pub(super) pipe: Pipe<'r>,
    pub(super) writer: StateWriter,
    pub(super) counts: Counts,
    pub(super) skipped: Vec<Skipped>,
}

/// Nodes above leaves: sent, and noted in the state.
struct Above<'a, 'r> {
    pipe: &'a mut Pipe<'r>,
    writer: &'a mut StateWriter,
}

impl Place for Above<'_, '_> {
    type Error = RunError;

    fn place(&mut self, kind: Kind, node: Encoded) -> Result<Id, RunError> {
        let id = self.pipe.place(kind, node)?;
        self.writer.node(id);
        Ok(id)
    }
}

impl<'r> Scan<'r> {
    pub(super) fn new(setup: Setup<'r>) -> Result<Self, RunError> {
        let previous = setup.state.as_ref().map(State::entries).transpose()?;
        let bundles = Bundles::new(setup.state.as_ref(), &setup.missing);
        let sizes = setup.state.iter().flat_map(|state| state.bundles().iter());
        let bundle_bytes = sizes.map(|bundle| (short(&bundle.id), bundle.bytes)).collect();
        Ok(Self {
            setup,
            previous,
            torn_seen: false,
            bundles,
            bundle_bytes,
            links: HashMap::new(),
            queue: VecDeque::new(),
            leaves: LeafBuilder::default(),
            tree: TreeBuilder::default(),
            owners: Owners::default(),
            buffer: Vec::new(),
            paths: 0,
            counts: Counts::default(),
            skipped: Vec::new(),
        })
    }

    /// Takes everything that the walk finds.
    pub(super) fn run(mut self, walk: &mut Walk<'_>) -> Result<Scanned<'r>, RunError> {
        loop {
            let found = match walk.step() {
                Some(step) => {
                    self.visit(&step)?;
                    true
                }
                None => false,
            };
            for (path, reason) in walk.notes.drain(..) {
                self.skip(&path, reason);
            }
            if !found {
                break;
            }
            self.paths += 1;
            if self.paths.is_multiple_of(PROGRESS_PATHS) {
                self.tell_progress();
            }
        }
        self.close_bundle()?;
        self.settle_queue()?;
        if let Some(leaf) = self.leaves.take() {
            self.place_leaf(&leaf)?;
        }
        let Setup { path_cutter, mut pipe, mut writer, .. } = self.setup;
        let mut above = Above { pipe: &mut pipe, writer: &mut writer };
        let root = self.tree.finish(&path_cutter, &mut above)?;
        let (bundles, places) = self.bundles.into_tables();
        let tables = Tables { bundles, places };
        Ok(Scanned { root, tables, pipe, writer, counts: self.counts, skipped: self.skipped })
    }

    fn tell_progress(&mut self) {
        self.counts.records = self.setup.pipe.records;
        self.counts.nodes = self.setup.pipe.nodes;
        self.counts.bytes_new = self.setup.pipe.bytes_new;
        self.setup.progress.counted(&self.counts);
    }

    fn skip(&mut self, path: &[u8], reason: SkipReason) {
        let skipped = Skipped { path: display_path(path), reason };
        self.counts.skipped += u64::from(reason.is_failure());
        self.setup.progress.skipped(&skipped);
        if self.skipped.len() < SKIPPED_MAX {
            self.skipped.push(skipped);
        }
    }

    /// The state's entry of this path, if it has one. Entries before it are gone from the disk.
    fn previous(&mut self, path: &[u8]) -> Result<Option<(Entry, Side)>, RunError> {
        let Some(previous) = &mut self.previous else { return Ok(None) };
        let found = loop {
            match previous.peek().map(|entry| entry.path.as_slice().cmp(path)) {
                Some(std::cmp::Ordering::Less) => drop(previous.pop()),
                Some(std::cmp::Ordering::Equal) => break previous.pop(),
                Some(std::cmp::Ordering::Greater) | None => break None,
            }
        };
        if previous.is_torn() && !self.torn_seen {
            self.torn_seen = true;
            self.setup.writer.distrust()?;
        }
        Ok(found)
    }

    fn visit(&mut self, step: &Step<'_>) -> Result<(), RunError> {
        let previous = self.previous(step.path)?;
        match step.stat.kind {
            FileKind::File => {
                self.counts.files += 1;
                self.visit_file(step, previous)?;
            }
            FileKind::Dir => {
                self.counts.dirs += 1;
                if let Some(errno) = step.unlisted {
                    self.skip(step.path, SkipReason::Unreadable(errno));
                }
                self.visit_other(step, previous)?;
            }
            FileKind::Symlink | FileKind::Fifo | FileKind::CharDevice | FileKind::BlockDevice => {
                self.counts.others += 1;
                self.visit_other(step, previous)?;
            }
            FileKind::Socket => {}
        }
        Ok(())
    }

    fn visit_other(&mut self, step: &Step<'_>, previous: Option<(Entry, Side)>) -> Result<(), RunError> {
        let stat = &step.stat;
        let mark = if step.unlisted.is_some() { Mark::Unreadable } else { Mark::Whole };
        let reusable = previous.filter(|(entry, side)| {
            let same_kind = match (&entry.kind, stat.kind) {
                (What::Dir, FileKind::Dir) => !step.parent_only,
                (What::Symlink(_), FileKind::Symlink) | (What::Fifo, FileKind::Fifo) => true,
                (What::CharDevice(major, minor), FileKind::CharDevice)
                | (What::BlockDevice(major, minor), FileKind::BlockDevice) => (*major, *minor) == stat.rdev,
                _ => false,
            };
            same_kind && mark == Mark::Whole && self.is_unchanged(entry, side, stat, false)
        });
        if let Some((mut entry, mut side)) = reusable {
            entry.owner = self.owners.name(stat.uid, stat.gid);
            side.trust = Trust::Exact;
            (side.ctime, side.ino) = (stat.ctime, stat.ino);
            return self.enqueue(Waiting { entry, side, pending: None });
        }
        let kind = match stat.kind {
            FileKind::Dir if step.parent_only => What::Parent,
            FileKind::Dir => What::Dir,
            FileKind::Symlink => match rustix::fs::readlinkat(&**step.dir, step.name, Vec::new()) {
                Ok(target) => What::Symlink(target.into_bytes()),
                Err(errno) => {
                    self.skip(step.path, vanished_or(errno));
                    return Ok(());
                }
            },
            FileKind::CharDevice => What::CharDevice(stat.rdev.0, stat.rdev.1),
            FileKind::BlockDevice => What::BlockDevice(stat.rdev.0, stat.rdev.1),
            FileKind::Fifo | FileKind::File | FileKind::Socket => What::Fifo,
        };
        let mut entry = self.entry(step, kind);
        entry.mark = mark;
        let packed = attributes::of_name(step.dir, step.name);
        entry.xattrs = self.xattrs(step.path, packed)?;
        let mut side = self.side(stat);
        if step.parent_only {
            // Its times change with everything beside the source; nothing here depends on them.
            entry.mtime = Time::default();
            side = Side::default();
        }
        self.enqueue(Waiting { entry, side, pending: None })
    }

    fn entry(&mut self, step: &Step<'_>, kind: What) -> Entry {
        let mut entry = Entry::new(step.path.to_vec(), kind);
        entry.mode = step.stat.mode;
        entry.owner = self.owners.name(step.stat.uid, step.stat.gid);
        entry.mtime = step.stat.mtime;
        entry
    }

    fn side(&self, stat: &Stat) -> Side {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
        let ns = |s: i64, ns: i64| i128::from(s) * 1_000_000_000 + i128::from(ns);
        let age = ns(now.tv_sec, now.tv_nsec) - ns(stat.ctime.s, i64::from(stat.ctime.ns));
        let trust = if age > RACY_NS { Trust::Exact } else { Trust::Never };
        Side { trust, ctime: stat.ctime, ino: stat.ino, hash: [0; 16], list_ids: Vec::new() }
    }

    fn xattrs(&mut self, path: &[u8], packed: Result<Vec<u8>, Errno>) -> Result<Xattrs, RunError> {
        match packed {
            Ok(packed) if packed.is_empty() => Ok(Xattrs::None),
            Ok(packed) if packed.len() <= XATTRS_BYTES_MAX => Ok(Xattrs::Here(packed)),
            Ok(packed) => Ok(Xattrs::Chunk(self.setup.pipe.data(Kind::Chunk, &packed)?)),
            Err(errno) => {
                self.skip(path, vanished_or(errno));
                Ok(Xattrs::None)
            }
        }
    }

    /// Whether the file still is what the entry says, by its times alone, and everything it needs is at the box.
    fn is_unchanged(&self, entry: &Entry, side: &Side, stat: &Stat, with_size: bool) -> bool {
        let times = match side.trust {
            Trust::Exact => side.ctime == stat.ctime && side.ino == stat.ino && entry.mtime == stat.mtime,
            Trust::Adopted => entry.mtime == stat.mtime,
            Trust::Never => false,
        };
        times
            && (!with_size || entry.size == stat.size)
            && entry.mark == Mark::Whole
            && entry.mode == stat.mode
            && (entry.owner.uid, entry.owner.gid) == (stat.uid, stat.gid)
            && self.is_at_box(entry, side)
    }

    fn is_at_box(&self, entry: &Entry, side: &Side) -> bool {
        if let Content::Bundle { bundle, .. } = &entry.content
            && !self.bundles.may_stay(bundle)
        {
            return false;
        }
        let missing = &self.setup.missing;
        missing.is_empty()
            || !(entry.data_refs().any(|id| missing.contains(&short(&id)))
                || side.list_ids.iter().any(|id| missing.contains(id)))
    }

    fn visit_file(&mut self, step: &Step<'_>, previous: Option<(Entry, Side)>) -> Result<(), RunError> {
        let stat = &step.stat;
        let key = (stat.device, stat.ino);
        if stat.nlink > 1
            && let Some(linked) = self.links.get_mut(&key)
        {
            linked.left = linked.left.saturating_sub(1);
            let (mut entry, side, pending) = (linked.entry.clone(), linked.side.clone(), linked.pending);
            entry.path = step.path.to_vec();
            entry.link_group = Some(linked.group);
            if linked.left == 0 {
                self.links.remove(&key);
            }
            self.counts.bytes += entry.size;
            return self.enqueue(Waiting { entry, side, pending });
        }
        let reusable =
            previous.filter(|(entry, side)| entry.kind == What::File && self.is_unchanged(entry, side, stat, true));
        let waiting = match reusable {
            Some((entry, side)) => Some(self.reuse(entry, side, stat)),
            None => self.read_file(step)?,
        };
        let Some(mut waiting) = waiting else {
            self.counts.files -= 1;
            return Ok(());
        };
        waiting.entry.link_group = None;
        if stat.nlink > 1 {
            let group = self.link_group(step.path);
            waiting.entry.link_group = Some(group);
            let (entry, side) = (waiting.entry.clone(), waiting.side.clone());
            self.links.insert(key, Linked { group, entry, side, pending: waiting.pending, left: stat.nlink - 1 });
        }
        self.counts.bytes += waiting.entry.size;
        self.enqueue(waiting)
    }

    fn link_group(&self, path: &[u8]) -> u64 {
        let hash = blake3::keyed_hash(self.setup.link_key.expose(), path);
        hash.as_bytes().first_chunk::<8>().map_or(0, |bytes| u64::from_le_bytes(*bytes))
    }

    fn reuse(&mut self, mut entry: Entry, mut side: Side, stat: &Stat) -> Waiting {
        entry.owner = self.owners.name(stat.uid, stat.gid);
        side.trust = Trust::Exact;
        (side.ctime, side.ino) = (stat.ctime, stat.ino);
        if let Content::Bundle { bundle, offset } = entry.content {
            let bundle_bytes = self.bundle_bytes.get(&short(&bundle)).copied().unwrap_or(u32::MAX);
            let bytes = u32::try_from(entry.size).unwrap_or(u32::MAX);
            self.bundles.stay(bundle, bundle_bytes, offset, bytes, side.hash);
        }
        Waiting { entry, side, pending: None }
    }

    /// Opens and reads. `None`: the file vanished.
    fn read_file(&mut self, step: &Step<'_>) -> Result<Option<Waiting>, RunError> {
        let fd = match open_quiet(&**step.dir, step.name, OFlags::empty()) {
            Ok(fd) => fd,
            Err(Errno::NOENT | Errno::LOOP | Errno::NXIO) => {
                self.skip(step.path, SkipReason::Vanished);
                return Ok(None);
            }
            Err(errno) => return Ok(Some(self.unreadable(step, errno))),
        };
        self.counts.files_read += 1;
        let mut waiting = Waiting { entry: self.entry(step, What::File), side: Side::default(), pending: None };
        let is_small = step.stat.size < SMALL_BYTES as u64;
        let read = if is_small {
            self.read_small(step, &fd, &mut waiting)
        } else {
            self.read_large(step, &step.stat, &fd, &mut waiting)
        };
        match read {
            Ok(()) => {}
            Err(ReadError::File(Errno::NOENT)) => {
                self.skip(step.path, SkipReason::Vanished);
                return Ok(None);
            }
            Err(ReadError::File(errno)) => return Ok(Some(self.unreadable(step, errno))),
            Err(ReadError::Run(error)) => return Err(error),
        }
        let packed = attributes::of_file(&fd);
        waiting.entry.xattrs = self.xattrs(step.path, packed)?;
        if waiting.entry.mark == Mark::Changed {
            self.skip(step.path, SkipReason::Changed);
        }
        Ok(Some(waiting))
    }

    fn unreadable(&mut self, step: &Step<'_>, errno: Errno) -> Waiting {
        self.skip(step.path, SkipReason::Unreadable(errno.raw_os_error()));
        let mut entry = self.entry(step, What::File);
        entry.mark = Mark::Unreadable;
        Waiting { entry, side: Side::default(), pending: None }
    }

    fn read_small(
        &mut self,
        step: &Step<'_>,
        fd: &std::os::fd::OwnedFd,
        waiting: &mut Waiting,
    ) -> Result<(), ReadError> {
        let mut buffer = std::mem::take(&mut self.buffer);
        let read = small(fd.as_fd(), &step.stat, SMALL_BYTES, &mut buffer);
        let done = match read {
            Ok(Small::Read(after, held_still)) => {
                self.counts.bytes_read += buffer.len() as u64;
                self.take_stat(waiting, &after, held_still);
                waiting.entry.size = buffer.len() as u64;
                self.place_small(step.path, &buffer, waiting).map_err(ReadError::Run)
            }
            Ok(Small::Grew(now)) => self.read_large(step, &now, fd, waiting),
            Err(errno) => Err(ReadError::File(errno)),
        };
        self.buffer = buffer;
        done
    }

    /// The attributes that belong to the content that was read.
    fn take_stat(&mut self, waiting: &mut Waiting, after: &Stat, held_still: bool) {
        waiting.side = self.side(after);
        let entry = &mut waiting.entry;
        entry.mode = after.mode;
        entry.mtime = after.mtime;
        entry.owner = self.owners.name(after.uid, after.gid);
        if !held_still {
            entry.mark = Mark::Changed;
        }
    }

    fn place_small(&mut self, path: &[u8], content: &[u8], waiting: &mut Waiting) -> Result<(), RunError> {
        if content.is_empty() {
            return Ok(());
        }
        if content.len() <= INLINE_BYTES_MAX {
            waiting.entry.content = Content::Inline(content.to_vec());
            return Ok(());
        }
        let mut hash = [0; 16];
        hash.copy_from_slice(&blake3::keyed_hash(self.setup.hash_key.expose(), content).as_bytes()[..16]);
        let found = self.bundles.find(&hash, content.len(), self.setup.state.as_ref());
        let (placed, ends) = match found {
            Some(placed) => (placed, false),
            None => {
                if self.bundles.overflows(content.len()) {
                    self.close_bundle()?;
                }
                self.bundles.add(&self.setup.path_cutter, path, hash, content)
            }
        };
        let Placed { bundle, offset } = placed;
        waiting.side.hash = hash;
        waiting.entry.content = Content::Bundle { bundle: Id::ZERO, offset };
        waiting.pending = Some(bundle);
        if ends { self.close_bundle() } else { Ok(()) }
    }

    fn read_large(
        &mut self,
        step: &Step<'_>,
        before: &Stat,
        fd: &std::os::fd::OwnedFd,
        waiting: &mut Waiting,
    ) -> Result<(), ReadError> {
        let page_store = self.setup.page_stores.excludes(step.path);
        let large = self.setup.large.read(fd.as_fd(), before, page_store, &mut self.setup.pipe)?;
        self.counts.bytes_read += large.bytes;
        self.take_stat(waiting, &large.after, large.held_still);
        waiting.entry.size = large.after.size;
        waiting.entry.content = large.content;
        waiting.entry.extents = large.extents;
        waiting.side.list_ids = large.list_ids;
        self.tell_progress();
        Ok(())
    }

    fn close_bundle(&mut self) -> Result<(), RunError> {
        if let Some(plain) = self.bundles.open_plain() {
            let id = self.setup.pipe.data(Kind::Bundle, plain)?;
            self.bundles.close(id);
        }
        Ok(())
    }

    fn enqueue(&mut self, waiting: Waiting) -> Result<(), RunError> {
        self.queue.push_back(waiting);
        if self.queue.len() >= WAITING_MAX {
            self.close_bundle()?;
        }
        self.settle_queue()
    }

    /// Moves entries whose content has its place into leaves.
    fn settle_queue(&mut self) -> Result<(), RunError> {
        while let Some(front) = self.queue.front() {
            let bundle_id = match front.pending.map(|number| self.bundles.id(number)) {
                Some(None) => return Ok(()),
                Some(Some(id)) => Some(id),
                None => None,
            };
            let Some(mut waiting) = self.queue.pop_front() else { return Ok(()) };
            if let (Some(id), Content::Bundle { bundle, .. }) = (bundle_id, &mut waiting.entry.content) {
                *bundle = id;
            }
            if let Some(leaf) = self.leaves.push(&self.setup.path_cutter, waiting.entry, waiting.side) {
                self.place_leaf(&leaf)?;
            }
        }
        Ok(())
    }

    fn place_leaf(&mut self, leaf: &[(Entry, Side)]) -> Result<(), RunError> {
        let entries: Vec<&Entry> = leaf.iter().map(|(entry, _)| entry).collect();
        let node = encode_leaf(&entries);
        let pipe = &mut self.setup.pipe;
        let id = pipe.node_id(Kind::Leaf, &node);
        self.setup.writer.leaf(id, &node, leaf)?;
        let child = Child {
            first: entries.first().map(|entry| entry.path.clone()).unwrap_or_default(),
            id,
            height: node.height,
            entries: leaf.len() as u64,
            bytes: entries.iter().map(|entry| entry.size).sum(),
        };
        pipe.node(Kind::Leaf, id, node)?;
        let mut above = Above { pipe, writer: &mut self.setup.writer };
        self.tree.push(&self.setup.path_cutter, child, &mut above)
    }
}

fn vanished_or(errno: Errno) -> SkipReason {
    match errno {
        Errno::NOENT => SkipReason::Vanished,
        other => SkipReason::Unreadable(other.raw_os_error()),
    }
}
