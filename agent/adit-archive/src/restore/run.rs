// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A restore from the root to the last directory's time stamp.
//!
//! One thread walks the tree, a batch of leaves ahead. One plans: makes directories, links and short files, and turns
//! the rest into steps of wanted records. What fetches and writes them is next door. So every wait for the line but the
//! first few passes while other records come.

use super::files::{Job, Step, Use};
use super::flow::{Flow, LANES, QUEUE_RECORDS};
use super::keyring::Keyring;
use super::place::Ground;
use super::reader::{Cursor, Met, Node, ReadError, TreeReader, Wanted};
use super::{Fault, FetchError, Fetcher, Report, Target};
use crate::entry::{Content, Entry, Extents, Kind, Mark, Xattrs, parse_path};
use crate::node::decode_extents;
use crate::state::short;
use adit_wire::ids::Id;
use crossbeam_channel::{Sender, bounded};
use rustix::io::Errno;
use std::collections::{HashMap, HashSet, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// How a restore cuts its requests.
#[derive(Clone, Copy, Debug)]
pub(super) struct Batches {
    /// Nodes that the walk asks for at once. Entries of up to six such batches are in memory.
    pub(super) nodes: usize,
    /// Records of one step.
    pub(super) records: usize,
    /// A step is asked for when so many records of the one before are still to come: some MiB, what a line of 1 Gbit/s
    /// and 100 ms holds.
    pub(super) ahead: usize,
}

const BATCHES: Batches = Batches { nodes: 32, records: 4_096, ahead: 128 };
/// List nodes looked into at once.
const LISTS_AT_ONCE: usize = 64;
/// Ids of one fetch by id.
const IDS_AT_ONCE: usize = 4_096;
/// Bundles that are remembered as fetched, so that those wanted again are kept; then the memory begins anew.
const SEEN_MAX: usize = 1 << 16;

/// Why a restore could not go on. What spoils one path is in the report.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The target can't be made or opened.
    #[error("open the target {path}")]
    Target {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A path that leads upward.
    #[error("{} leads out of the snapshot", .0.display())]
    Path(PathBuf),
    /// The way to the records is gone.
    #[error(transparent)]
    Read(#[from] ReadError),
}

impl From<FetchError> for RestoreError {
    fn from(error: FetchError) -> Self {
        Self::Read(ReadError::Fetch(error))
    }
}

/// A list node to look into: whose it is, its id, where its data begins, and how deep it lies.
type ListTask<'g> = (Arc<Job<'g>>, Id, u64, u8);

/// Brings a tree back. `progress` is told files and bytes written so far.
///
/// # Errors
/// When nothing can go on: no target, no line.
pub fn restore(
    fetcher: &dyn Fetcher,
    keyring: &Keyring,
    root: Id,
    target: &Target,
    progress: &dyn Fn(u64, u64),
) -> Result<Report, RestoreError> {
    restore_in(BATCHES, fetcher, keyring, root, target, progress)
}

/// The same with requests of another size.
pub(super) fn restore_in(
    batches: Batches,
    fetcher: &dyn Fetcher,
    keyring: &Keyring,
    root: Id,
    target: &Target,
    progress: &dyn Fn(u64, u64),
) -> Result<Report, RestoreError> {
    let mut paths = Vec::with_capacity(target.paths.len());
    for path in &target.paths {
        let refused = || RestoreError::Path(PathBuf::from(String::from_utf8_lossy(path).into_owned()));
        paths.push(parse_path(path).ok_or_else(refused)?);
    }
    let ground = Ground::open(&target.to, target.numeric_owners)
        .map_err(|source| RestoreError::Target { path: target.to.clone(), source })?;
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let writers = if target.writers == 0 { cores } else { target.writers };
    let mut walker = TreeReader::new(fetcher, keyring)?;
    let reader = walker.twin()?;
    let line = Arc::clone(&walker.line);
    let flow = Flow::new(&line, batches.ahead);
    let wanted = Wanted::new(paths);
    let cursor = Cursor::new(root, wanted.clone(), batches.nodes);
    let mut plan = Plan::new(reader, &ground, wanted, batches.records);
    let tell = || progress(ground.files.load(Ordering::Relaxed), ground.bytes.load(Ordering::Relaxed));
    with_flow(&flow, keyring, writers, |steps| {
        std::thread::scope(|threads| {
            let (met_end, met) = bounded(1);
            let walk = threads.spawn(move || walker.walk(cursor, &met_end));
            for batch in &met {
                plan.take(batch, steps)?;
                tell();
            }
            Ok(walk.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?)
        })
    })?;
    let orphans = plan.orphans();
    if !orphans.is_empty() {
        with_flow(&flow, keyring, writers, |steps| plan.stage_all(orphans, steps))?;
    }
    let report = plan.finish(line.records.load(Ordering::Relaxed));
    tell();
    Ok(report)
}

/// Runs a planner with lanes and workers behind it, and waits for all of them.
fn with_flow<'g>(
    flow: &Flow<'_>,
    keyring: &Keyring,
    writers: usize,
    plan: impl FnOnce(&Sender<Step<'g>>) -> Result<(), RestoreError>,
) -> Result<(), RestoreError> {
    std::thread::scope(|threads| {
        let (steps, steps_end) = bounded(1);
        let (works, works_end) = bounded(QUEUE_RECORDS);
        let lanes = [(); LANES].map(|()| {
            let (steps, works) = (steps_end.clone(), works.clone());
            threads.spawn(move || flow.fetch_all(&steps, &works))
        });
        let workers: Vec<_> = (0..writers)
            .map(|_| {
                let works = works_end.clone();
                threads.spawn(move || flow.write_all(&works, keyring))
            })
            .collect();
        drop((steps_end, works, works_end));
        let planned = plan(&steps);
        drop(steps);
        for lane in lanes {
            lane.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        }
        for worker in workers {
            let ended = worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            ended.map_err(ReadError::Opener)?;
        }
        planned
    })
}

/// Turns entries into steps. Owns what has to wait for the end: links, and the attributes of directories.
struct Plan<'a, 'g> {
    reader: TreeReader<'a>,
    ground: &'g Ground,
    wanted: Wanted,
    records_at_once: usize,
    step: Step<'g>,
    /// Bundles that were wanted before, by their short ids.
    seen: HashSet<u64>,
    /// Directories that were made, for the end.
    dirs: Vec<Entry>,
    dir_count: u64,
    others: u64,
    entries_lost: u64,
    /// Group of hard links to the path that got the content.
    firsts: HashMap<u64, (Vec<u8>, Content)>,
    /// Names to be linked at the end.
    links: Vec<Entry>,
}

/// Where steps go. A closed one means that a lane failed, and the lane says why.
type Steps<'g> = Sender<Step<'g>>;

impl<'a, 'g> Plan<'a, 'g> {
    fn new(reader: TreeReader<'a>, ground: &'g Ground, wanted: Wanted, records_at_once: usize) -> Self {
        Self {
            reader,
            ground,
            wanted,
            records_at_once,
            step: Step::default(),
            seen: HashSet::new(),
            dirs: Vec::new(),
            dir_count: 0,
            others: 0,
            entries_lost: 0,
            firsts: HashMap::new(),
            links: Vec::new(),
        }
    }

    fn take(&mut self, batch: Vec<Met>, steps: &Steps<'g>) -> Result<(), RestoreError> {
        let mut entries = Vec::new();
        for met in batch {
            match met {
                Met::Lost(first, count) => {
                    self.entries_lost += count;
                    self.ground.fault(&first, Fault::Damaged);
                }
                Met::Leaf(leaf) => {
                    entries.extend(leaf.entries.into_iter().filter(|entry| self.wanted.has(&entry.path)));
                }
            }
        }
        self.complete(&mut entries)?;
        self.stage_all(entries, steps)
    }

    /// Restores entries: at once, or in steps.
    fn stage_all(&mut self, entries: Vec<Entry>, steps: &Steps<'g>) -> Result<(), RestoreError> {
        let mut lists = VecDeque::new();
        for entry in entries {
            self.stage(entry, &mut lists);
            if self.step.wants.len() >= self.records_at_once {
                self.flush(steps);
            }
        }
        // Records come while lists are looked into.
        self.flush(steps);
        self.lists(lists, steps)?;
        self.flush(steps);
        Ok(())
    }

    fn flush(&mut self, steps: &Steps<'g>) {
        if !self.step.wants.is_empty() {
            drop(steps.send(std::mem::take(&mut self.step)));
        }
    }

    fn want(&mut self, id: Id, used: Use<'g>) {
        let seen = &mut self.seen;
        self.step.want(id, used, || {
            if seen.len() >= SEEN_MAX {
                seen.clear();
            }
            !seen.insert(short(&id))
        });
    }

    /// Fetches attribute sets and extent maps that lie in chunks of their own.
    fn complete(&mut self, entries: &mut Vec<Entry>) -> Result<(), RestoreError> {
        let mut ids = Vec::new();
        for entry in entries.iter() {
            if let Xattrs::Chunk(id) = entry.xattrs {
                ids.push(id);
            }
            if let Extents::Chunk(id) = entry.extents {
                ids.push(id);
            }
        }
        if ids.is_empty() {
            return Ok(());
        }
        ids.sort_unstable();
        ids.dedup();
        let mut found = HashMap::new();
        for ids in ids.chunks(IDS_AT_ONCE) {
            found.extend(self.reader.data(ids)?);
        }
        let ground = self.ground;
        entries.retain_mut(|entry| {
            if let Xattrs::Chunk(id) = entry.xattrs {
                entry.xattrs = match found.get(&id) {
                    Some(packed) => Xattrs::Here(packed.clone()),
                    None => {
                        ground.fault(&entry.path, Fault::Damaged);
                        Xattrs::None
                    }
                };
            }
            let Extents::Chunk(id) = entry.extents else { return true };
            match found.get(&id).map(|plain| decode_extents(plain, entry.size)) {
                Some(Ok(extents)) => {
                    entry.extents = Extents::Here(extents);
                    true
                }
                Some(Err(_)) | None => {
                    ground.fault(&entry.path, Fault::Damaged);
                    false
                }
            }
        });
        Ok(())
    }

    /// Makes what can be made at once; notes what needs data.
    fn stage(&mut self, entry: Entry, lists: &mut VecDeque<ListTask<'g>>) {
        if entry.mark != Mark::Whole {
            self.ground.fault(&entry.path, Fault::SavedInPart);
        }
        match entry.kind {
            Kind::Dir | Kind::Parent => self.stage_dir(entry),
            Kind::File if entry.mark == Mark::Unreadable => {}
            Kind::File => self.stage_file(entry, lists),
            Kind::Symlink(_) | Kind::Fifo | Kind::CharDevice(..) | Kind::BlockDevice(..) => {
                match self.ground.make_other(&entry) {
                    Ok(()) => self.others += 1,
                    Err(Errno::PERM) => self.ground.fault(&entry.path, Fault::NeedsRoot),
                    Err(errno) => self.ground.system_fault(&entry.path, errno),
                }
            }
        }
    }

    fn stage_dir(&mut self, entry: Entry) {
        match self.ground.make_dir(&entry.path) {
            Ok(true) => {
                self.dir_count += 1;
                self.dirs.push(entry);
            }
            // It was there before: what it is stays as it is.
            Ok(false) => self.dir_count += 1,
            Err(errno) => self.ground.system_fault(&entry.path, errno),
        }
    }

    fn stage_file(&mut self, entry: Entry, lists: &mut VecDeque<ListTask<'g>>) {
        if let Some(group) = entry.link_group {
            match self.firsts.get(&group) {
                Some((_, content)) if *content == entry.content => {
                    self.links.push(entry);
                    return;
                }
                Some(_) => {}
                None => {
                    self.firsts.insert(group, (entry.path.clone(), entry.content.clone()));
                }
            }
        }
        match entry.content.clone() {
            Content::Empty if matches!(entry.extents, Extents::Here(_)) && entry.size > 0 => self.stage_hole(&entry),
            Content::Empty if entry.size == 0 => self.ground.write_whole(&entry, &[]),
            Content::Inline(bytes) if bytes.len() as u64 == entry.size => self.ground.write_whole(&entry, &bytes),
            Content::Empty | Content::Inline(_) => self.ground.fault(&entry.path, Fault::Damaged),
            Content::Bundle { bundle, offset } => {
                let job = Arc::new(Job::new(entry, None, self.ground));
                self.want(bundle, Use::Whole { job, offset });
            }
            Content::Chunks(chunks) => match chunks.as_slice() {
                [only] if entry.extents == Extents::Whole => {
                    let job = Arc::new(Job::new(entry, None, self.ground));
                    self.want(only.id, Use::Whole { job, offset: 0 });
                }
                chunks => {
                    let Some(job) = self.begin(entry) else { return };
                    let mut position = 0;
                    for chunk in chunks {
                        let bytes = u64::from(chunk.bytes);
                        self.want(chunk.id, Use::Piece { job: Arc::clone(&job), position, bytes });
                        position += bytes;
                    }
                }
            },
            Content::List { list, .. } => lists.extend(self.begin(entry).map(|job| (job, list, 0, 0))),
        }
    }

    /// A file that is nothing but a hole.
    fn stage_hole(&self, entry: &Entry) {
        let made = self.ground.begin(entry).and_then(|fresh| self.ground.finish(&fresh, entry));
        if let Err(errno) = made {
            self.ground.system_fault(&entry.path, errno);
        }
    }

    fn begin(&self, entry: Entry) -> Option<Arc<Job<'g>>> {
        match self.ground.begin(&entry) {
            Ok(fresh) => Some(Arc::new(Job::new(entry, Some(fresh), self.ground))),
            Err(errno) => {
                self.ground.system_fault(&entry.path, errno);
                entry.link_group.into_iter().for_each(|group| self.ground.lose_group(group));
                None
            }
        }
    }

    /// Looks into list nodes, some at a time, and wants what hangs on them.
    fn lists(&mut self, mut lists: VecDeque<ListTask<'g>>, steps: &Steps<'g>) -> Result<(), RestoreError> {
        while !lists.is_empty() {
            let batch: Vec<ListTask<'g>> = lists.drain(..lists.len().min(LISTS_AT_ONCE)).collect();
            let mut ids: Vec<Id> = batch.iter().map(|(_, id, ..)| *id).collect();
            ids.sort_unstable();
            ids.dedup();
            let found = self.reader.nodes(&ids)?;
            let mut below = Vec::new();
            for (job, id, mut position, depth) in batch {
                // A node that is not there leaves its file short, and that is reported.
                let Some(Node::List(list, _)) = found.get(&id) else { continue };
                for item in &list.items {
                    let job = Arc::clone(&job);
                    if list.level == 0 {
                        self.want(item.id, Use::Piece { job, position, bytes: item.bytes });
                    } else if depth < adit_wire::record::HEIGHT_MAX {
                        below.push((job, item.id, position, depth + 1));
                    }
                    position = position.saturating_add(item.bytes);
                }
                if self.step.wants.len() >= self.records_at_once {
                    self.flush(steps);
                }
            }
            for task in below.into_iter().rev() {
                lists.push_front(task);
            }
        }
        Ok(())
    }

    /// Names of files whose first name did not get its content: they get it on their own, once.
    fn orphans(&mut self) -> Vec<Entry> {
        let lost = self.ground.take_lost_groups();
        self.firsts.retain(|group, _| !lost.contains(group));
        let links = std::mem::take(&mut self.links);
        let is_lost = |entry: &Entry| entry.link_group.is_some_and(|group| lost.contains(&group));
        let (orphans, links) = links.into_iter().partition(is_lost);
        self.links = links;
        orphans
    }

    /// Hard links, then directories from the deepest up, then the report.
    fn finish(mut self, records: u64) -> Report {
        let lost = self.ground.take_lost_groups();
        for entry in std::mem::take(&mut self.links) {
            let group = entry.link_group.filter(|group| !lost.contains(group));
            match group.and_then(|group| self.firsts.get(&group)).map(|(first, _)| self.ground.link(first, &entry)) {
                Some(Ok(())) => {}
                Some(Err(errno)) => self.ground.system_fault(&entry.path, errno),
                None => self.ground.fault(&entry.path, Fault::Damaged),
            }
        }
        for entry in self.dirs.iter().rev() {
            if let Err(errno) = self.ground.finish_dir(entry) {
                self.ground.system_fault(&entry.path, errno);
            }
        }
        Report {
            files: self.ground.files.load(Ordering::Relaxed),
            dirs: self.dir_count,
            others: self.others,
            bytes: self.ground.bytes.load(Ordering::Relaxed),
            records,
            entries_lost: self.entries_lost,
            faults: self.ground.take_faults(),
            owners_not_set: self.ground.owners_not_set.load(Ordering::Relaxed),
        }
    }
}
