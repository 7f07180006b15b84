// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A restore from the root to the last directory's time stamp: leaves in groups, their data in one fetch each.

use super::files::{Job, Use, Wants, want, work};
use super::keyring::Keyring;
use super::place::Ground;
use super::reader::{Cursor, Leaf, Met, Node, ReadError, TreeReader, Wanted};
use super::{Fault, FetchError, Fetcher, Report, Target};
use crate::entry::{Content, Entry, Extents, Kind, Mark, Xattrs, parse_path};
use crate::node::decode_extents;
use adit_wire::ids::Id;
use adit_wire::read::Scope;
use crossbeam_channel::bounded;
use rustix::io::Errno;
use std::collections::{HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::atomic::Ordering;

/// Records of one data fetch: below what the box answers at once.
const RECORDS_AT_ONCE: usize = 32_768;
/// List nodes looked into at once.
const LISTS_AT_ONCE: usize = 64;
/// Records between the line and the workers.
const QUEUE_RECORDS: usize = 16;
/// Ids of one fetch by id.
const IDS_AT_ONCE: usize = 4_096;

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
type ListTask = (usize, Id, u64, u8);

struct Restorer<'a> {
    reader: TreeReader<'a>,
    keyring: &'a Keyring,
    ground: Ground,
    wanted: Wanted,
    writers: usize,
    /// Directories that were made, for the end.
    dirs: Vec<Entry>,
    dir_count: u64,
    others: u64,
    entries_lost: u64,
    /// Group of hard links to the path that got the content.
    firsts: HashMap<u64, (Vec<u8>, Content)>,
    /// Names to be linked at the end.
    links: Vec<Entry>,
    progress: &'a dyn Fn(u64, u64),
}

/// Brings a tree back. `progress` is told files and bytes written so far.
///
/// # Errors
/// When nothing can go on: no target, no line.
pub fn restore(
    fetcher: &mut dyn Fetcher,
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
    let wanted = Wanted::new(paths);
    let mut restorer = Restorer {
        reader: TreeReader::new(fetcher, keyring)?,
        keyring,
        ground,
        wanted: wanted.clone(),
        writers: if target.writers == 0 { cores } else { target.writers },
        dirs: Vec::new(),
        dir_count: 0,
        others: 0,
        entries_lost: 0,
        firsts: HashMap::new(),
        links: Vec::new(),
        progress,
    };
    let mut cursor = Cursor::new(root, wanted);
    loop {
        let met = restorer.reader.next_leaves(&mut cursor)?;
        if met.is_empty() {
            break;
        }
        restorer.take(met)?;
    }
    Ok(restorer.finish())
}

impl Restorer<'_> {
    fn take(&mut self, met: Vec<Met>) -> Result<(), RestoreError> {
        let (mut leaves, mut records) = (Vec::new(), 0);
        for met in met {
            match met {
                Met::Lost(first, entries) => {
                    self.entries_lost += entries;
                    self.ground.fault(&first, Fault::Damaged);
                }
                Met::Leaf(leaf) => {
                    if records + leaf.data_refs.len() > RECORDS_AT_ONCE {
                        self.group(std::mem::take(&mut leaves))?;
                        records = 0;
                    }
                    records += leaf.data_refs.len();
                    leaves.push(leaf);
                }
            }
        }
        self.group(leaves)
    }

    /// Restores the entries of some leaves.
    fn group(&mut self, leaves: Vec<Leaf>) -> Result<(), RestoreError> {
        let mut whole_leaves = Vec::new();
        let mut entries = Vec::new();
        for leaf in leaves {
            let before = entries.len();
            let count = leaf.entries.len();
            entries.extend(leaf.entries.into_iter().filter(|entry| self.wanted.has(&entry.path)));
            if entries.len() - before == count {
                whole_leaves.push(leaf.id);
            }
        }
        self.complete(&mut entries)?;
        let mut jobs = Vec::new();
        let mut wants = Wants::new();
        let mut lists: VecDeque<ListTask> = VecDeque::new();
        for entry in entries {
            self.stage(entry, &mut jobs, &mut wants, &mut lists);
        }
        self.data(&jobs, &wants, &whole_leaves)?;
        self.lists(&jobs, lists)?;
        for job in &jobs {
            job.close(&self.ground);
        }
        for job in jobs.iter().filter(|job| !job.is_whole()) {
            if let Some(group) = job.entry.link_group {
                self.firsts.remove(&group);
            }
        }
        (self.progress)(self.ground.files.load(Ordering::Relaxed), self.ground.bytes.load(Ordering::Relaxed));
        Ok(())
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
        let ground = &self.ground;
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
    fn stage(&mut self, entry: Entry, jobs: &mut Vec<Job>, wants: &mut Wants, lists: &mut VecDeque<ListTask>) {
        if entry.mark != Mark::Whole {
            self.ground.fault(&entry.path, Fault::SavedInPart);
        }
        match entry.kind {
            Kind::Dir | Kind::Parent => self.stage_dir(entry),
            Kind::File if entry.mark == Mark::Unreadable => {}
            Kind::File => self.stage_file(entry, jobs, wants, lists),
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

    fn stage_file(&mut self, entry: Entry, jobs: &mut Vec<Job>, wants: &mut Wants, lists: &mut VecDeque<ListTask>) {
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
        let job = jobs.len();
        match entry.content.clone() {
            Content::Empty if matches!(entry.extents, Extents::Here(_)) && entry.size > 0 => self.stage_hole(&entry),
            Content::Empty if entry.size == 0 => self.ground.write_whole(&entry, &[]),
            Content::Inline(bytes) if bytes.len() as u64 == entry.size => self.ground.write_whole(&entry, &bytes),
            Content::Empty | Content::Inline(_) => self.ground.fault(&entry.path, Fault::Damaged),
            Content::Bundle { bundle, offset } => {
                want(wants, bundle, Use::Whole { job, offset });
                jobs.push(Job::new(entry, None));
            }
            Content::Chunks(chunks) => match chunks.as_slice() {
                [only] if entry.extents == Extents::Whole => {
                    want(wants, only.id, Use::Whole { job, offset: 0 });
                    jobs.push(Job::new(entry, None));
                }
                chunks => {
                    let mut position = 0;
                    for chunk in chunks {
                        let bytes = u64::from(chunk.bytes);
                        want(wants, chunk.id, Use::Piece { job, position, bytes });
                        position += bytes;
                    }
                    self.begin(entry, jobs);
                }
            },
            Content::List { list, .. } => {
                lists.push_back((job, list, 0, 0));
                self.begin(entry, jobs);
            }
        }
    }

    /// A file that is nothing but a hole.
    fn stage_hole(&self, entry: &Entry) {
        let made = self.ground.begin(entry).and_then(|fresh| self.ground.finish(&fresh, entry));
        if let Err(errno) = made {
            self.ground.system_fault(&entry.path, errno);
        }
    }

    fn begin(&self, entry: Entry, jobs: &mut Vec<Job>) {
        match self.ground.begin(&entry) {
            Ok(fresh) => jobs.push(Job::new(entry, Some(fresh))),
            Err(errno) => {
                self.ground.system_fault(&entry.path, errno);
                // The job keeps its number, and nothing is written for it.
                let job = Job::new(entry, None);
                job.skip();
                jobs.push(job);
            }
        }
    }

    /// Looks into list nodes and fetches what hangs on them, some at a time.
    fn lists(&mut self, jobs: &[Job], mut lists: VecDeque<ListTask>) -> Result<(), RestoreError> {
        let mut wants = Wants::new();
        let mut nodes = Vec::new();
        let mut pieces = 0;
        while !lists.is_empty() {
            let batch: Vec<ListTask> = lists.drain(..lists.len().min(LISTS_AT_ONCE)).collect();
            let mut ids: Vec<Id> = batch.iter().map(|(_, id, ..)| *id).collect();
            ids.sort_unstable();
            ids.dedup();
            let found = self.reader.nodes(&ids)?;
            let mut below = Vec::new();
            for (job, id, mut position, depth) in batch {
                // A node that is not there leaves its file short, and that is reported.
                let Some(Node::List(list, _)) = found.get(&id) else { continue };
                if list.level == 0 {
                    nodes.push(id);
                }
                for item in &list.items {
                    if list.level == 0 {
                        want(&mut wants, item.id, Use::Piece { job, position, bytes: item.bytes });
                        pieces += 1;
                    } else if depth < adit_wire::record::HEIGHT_MAX {
                        below.push((job, item.id, position, depth + 1));
                    }
                    position = position.saturating_add(item.bytes);
                }
            }
            for task in below.into_iter().rev() {
                lists.push_front(task);
            }
            if pieces >= RECORDS_AT_ONCE / 2 {
                self.data(jobs, &wants, &nodes)?;
                wants.clear();
                nodes.clear();
                pieces = 0;
            }
        }
        self.data(jobs, &wants, &nodes)
    }

    /// Fetches records and writes what they are for. `nodes` = nodes all of whose data is wanted; what they don't name
    /// (of leaves that are wanted in part) is asked for by id.
    fn data(&mut self, jobs: &[Job], wants: &Wants, nodes: &[Id]) -> Result<(), RestoreError> {
        if !nodes.is_empty() && !wants.is_empty() {
            self.fetch(Scope::DataOfNodes, nodes, jobs, wants)?;
        }
        let rest: Vec<Id> = wants.iter().filter(|(_, uses)| !uses.is_taken()).map(|(id, _)| *id).collect();
        self.fetch(Scope::Records, &rest, jobs, wants)
    }

    fn fetch(&mut self, scope: Scope, ids: &[Id], jobs: &[Job], wants: &Wants) -> Result<(), RestoreError> {
        if ids.is_empty() {
            return Ok(());
        }
        let (ground, keyring, writers) = (&self.ground, self.keyring, self.writers);
        let line = &mut self.reader.line;
        std::thread::scope(|threads| {
            let (send, records) = bounded::<Vec<u8>>(QUEUE_RECORDS);
            for _ in 0..writers {
                let records = records.clone();
                threads.spawn(move || work(&records, wants, jobs, ground, keyring));
            }
            drop(records);
            // Workers leave only when this end closes, so that sending can't fail.
            let mut sink = |bytes: &[u8]| drop(send.send(bytes.to_vec()));
            ids.chunks(IDS_AT_ONCE).try_for_each(|ids| line.fetch(scope, ids, &mut sink).map(drop))
        })?;
        Ok(())
    }

    /// Hard links, then directories from the deepest up, then the report.
    fn finish(mut self) -> Report {
        for entry in std::mem::take(&mut self.links) {
            let first = entry.link_group.and_then(|group| self.firsts.get(&group));
            match first.map(|(first, _)| self.ground.link(first, &entry)) {
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
            records: self.reader.line.records,
            entries_lost: self.entries_lost,
            faults: self.ground.take_faults(),
            owners_not_set: self.ground.owners_not_set.load(Ordering::Relaxed),
        }
    }
}
