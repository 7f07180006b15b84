// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Collection: finds out what no snapshot needs, forgets it, removes segments that hold nothing else and copies the rest of
//! those that hold little. Runs in slices between other work; nothing waits for it longer than a slice.
//!
//! Live is what unreleased snapshots reach, what unfinished sessions sent, everything that arrived after the start, and
//! what arrived since then references. Key and snapshot records are kept as long as their source. Sets are bitmaps over
//! record numbers; the marking reads the edges once forwards, to find places to begin at, and once backwards.

mod audit;
mod rewrite;
#[cfg(test)]
mod tests;

use crate::error::WriteError;
use crate::index::{Bitmap, Damaged, Loc, NOWHERE, Tag, WriteFault, key_tag, tag};
use crate::ledger::{DropEntry, Entry, SweepEntry};
use crate::retention::DAY_S;
use crate::segment::Class;
use crate::store::Store;
use crate::types::{Event, Moment};
use adit_wire::record;
use audit::Audit;
use rewrite::Copying;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

/// Words of edges that are read at once: 8 MiB, so that a terabyte's marking seeks a few dozen times.
const BLOCK_WORDS: u64 = 2 << 20;
/// Places that are read at once: 8 MiB.
const LOCS_AT_ONCE: u32 = 400_000;
/// Pages of tags that are read at once: 8 MiB.
const TAG_PAGES: u32 = 2_048;
/// After so many rounds the next one is not sliced, so that nobody can keep a collection from its end.
const ROUNDS_MAX: u32 = 4;
/// References are read anew from the nodes so often before anything is removed.
const AUDIT_EVERY_S: u64 = 7 * DAY_S;
/// A sealed segment with fewer live bytes than this is copied, percent.
const REWRITE_BELOW: u64 = 60;
/// The same when the disk is nearly full.
const REWRITE_BELOW_FULL: u64 = 85;
/// Nearly full, percent.
const NEARLY_FULL: u64 = 85;

/// A collection under way.
#[derive(Debug)]
pub struct Collection {
    phase: Phase,
    /// Numbers below this are judged.
    end: u32,
    /// Segments whose records all arrived before this are judged.
    arrival: u64,
    /// Edges before this word are marked through.
    words: u64,
    live: Bitmap,
    kept: Bitmap,
    /// Records of a source from this number on may be of its unfinished session.
    floors: BTreeMap<u32, u32>,
    /// Words where blocks of whole entries begin.
    bounds: Vec<u64>,
    /// Whether every node comes after what it references, so that one backward pass finds all.
    ordered: bool,
    /// The last node that was looked at for that.
    newest: Option<u32>,
    changed: bool,
    rounds: u32,
    dead: BTreeMap<u32, (u64, u64)>,
    held: BTreeMap<u32, u64>,
    audit: Option<Audit>,
    groups: VecDeque<(Class, Vec<u32>)>,
    copying: Option<Copying>,
    /// What is still looked for in the runs, and the tables that this began with.
    wanted: HashMap<Tag, Wanted>,
    shape: Vec<(u32, u32)>,
    /// Snapshots and roots that the index does not know.
    unseen: u64,
    report: Collected,
}

/// What a tag stands for.
#[derive(Clone, Copy, Debug)]
enum Wanted {
    /// A snapshot or its root.
    Live,
    /// A key record of an unfinished session of this source.
    Floor(u32),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Find(usize, u32),
    Roots(u32),
    Audit,
    Bounds,
    Mark(usize),
    Weigh(u32),
    Settle,
    Drop,
    Rewrite,
    Done,
}

/// How far a collection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CollectStep {
    /// Call again.
    Working,
    /// It ended.
    Finished,
}

/// What a collection found and did so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    /// Records that nobody needs any more.
    pub dead_records: u64,
    /// Their bytes.
    pub dead_bytes: u64,
    /// Segments removed because nothing in them was needed.
    pub dropped_segments: u64,
    /// Segments removed after the rest of them was copied.
    pub rewritten_segments: u64,
    /// Records copied.
    pub copied_records: u64,
    /// Bytes of files removed, less those of files written.
    pub freed_bytes: u64,
    /// Bytes read and written.
    pub io_bytes: u64,
    /// Whether the references were read anew from the nodes.
    pub audited: bool,
    /// Nodes that snapshots need and that are damaged or gone: what they need is not known, so nothing is removed until
    /// they are healed or their snapshots are released.
    pub unknown_nodes: u64,
    /// They were not what the index says: nothing is removed until the index was made anew.
    pub audit_failed: bool,
}

impl Store {
    /// Starts a collection. Only one at a time.
    #[must_use]
    pub fn collection(&mut self, now: Moment) -> Collection {
        self.index.watch_fresh();
        let due = self.state.audited_s.saturating_add(AUDIT_EVERY_S) <= self.retention_s(now);
        Collection {
            phase: Phase::Find(0, 0),
            end: self.index.numbers(),
            arrival: self.next_arrival,
            words: self.index.edge_words(),
            live: Bitmap::default(),
            kept: Bitmap::default(),
            floors: BTreeMap::new(),
            bounds: vec![0],
            ordered: true,
            newest: None,
            changed: false,
            rounds: 0,
            dead: BTreeMap::new(),
            held: BTreeMap::new(),
            audit: due.then(Audit::default),
            groups: VecDeque::new(),
            copying: None,
            wanted: HashMap::new(),
            shape: Vec::new(),
            unseen: 0,
            report: Collected::default(),
        }
    }

    /// Removes a segment's file, whose DROP or REWRITE is durable. What a cut leaves of it goes at the next start.
    pub(crate) fn remove_segment(&self, class: Class, segment: u32) {
        let mut handles = self.handles.borrow_mut();
        if let Some(place) = handles.files.iter().position(|(number, _)| *number == segment) {
            self.disk.close(handles.files.remove(place).1);
        }
        let path = crate::segment::path(class, segment);
        if let Err(error) = self.disk.remove(&path) {
            log::warn!("cannot remove {path}: {error}; it goes at the next start");
        }
        crate::cover::remove(&*self.disk, &crate::cover::name(segment));
    }

    pub(crate) fn moved(&mut self, fault: WriteFault) -> WriteError {
        match fault {
            WriteFault::Damaged => self.index_damaged(),
            WriteFault::Disk(fault) => self.fail(fault),
        }
    }
}

impl Collection {
    /// What it found and did so far.
    #[must_use]
    pub const fn report(&self) -> Collected {
        self.report
    }

    /// Reads and writes about `max_bytes` more. After an error the collection is over; nothing that is needed is lost.
    ///
    /// # Errors
    /// When nothing can be written.
    pub fn step(&mut self, store: &mut Store, max_bytes: u64, now: Moment) -> Result<CollectStep, WriteError> {
        store.writable()?;
        let until = self.report.io_bytes.saturating_add(max_bytes.max(1));
        while self.report.io_bytes < until && self.phase != Phase::Done {
            match self.turn(store, now) {
                Ok(()) => {}
                Err(Stop::Damaged) => return Err(store.index_damaged()),
                Err(Stop::Write(error)) => {
                    self.give_up_copying(store, now);
                    return Err(error);
                }
            }
        }
        Ok(if self.phase == Phase::Done { CollectStep::Finished } else { CollectStep::Working })
    }

    fn turn(&mut self, store: &mut Store, now: Moment) -> Result<(), Stop> {
        match self.phase {
            Phase::Find(table, page) => self.find(store, (table, page))?,
            Phase::Roots(from) => self.roots(store, from)?,
            Phase::Audit => self.audit(store)?,
            Phase::Bounds => self.bounds(store)?,
            Phase::Mark(block) => self.mark(store, block)?,
            Phase::Weigh(from) => self.weigh(store, from)?,
            Phase::Settle => self.settle(store, now)?,
            Phase::Drop => self.drop_empty(store, now)?,
            Phase::Rewrite => self.rewrite(store, now)?,
            Phase::Done => {}
        }
        Ok(())
    }

    /// What to look for in the runs: snapshots and their roots, and the key records of unfinished sessions.
    fn wanted(store: &Store) -> HashMap<Tag, Wanted> {
        let key = &store.superblock.store_key;
        let mut wanted = HashMap::new();
        for (number, source) in (0u32..).zip(&store.state.sources) {
            for id in source.snapshots.iter().flat_map(|snapshot| [&snapshot.head, &snapshot.root]) {
                wanted.insert(tag(key, &source.source.id, id), Wanted::Live);
            }
            for key_id in source.pending.iter().flat_map(|pending| &pending.lineage) {
                wanted.insert(key_tag(key, &source.source.id, key_id), Wanted::Floor(number));
            }
        }
        wanted
    }

    /// Finds them in one pass, which is cheaper than seeking each.
    fn find(&mut self, store: &Store, place: (usize, u32)) -> Result<(), Stop> {
        let shape = store.index.shape();
        let mut place = place;
        if place == (0, 0) || shape != self.shape {
            place = (0, 0);
            self.shape = shape;
            self.wanted = Self::wanted(store);
            // Without its key records nothing is known of a session: then all of its source stays.
            let pending = (0u32..).zip(&store.state.sources).filter(|(_, source)| source.pending.is_some());
            self.floors = pending.map(|(number, _)| (number, u32::MAX)).collect();
        }
        let (wanted, live, floors) = (&mut self.wanted, &mut self.live, &mut self.floors);
        let next =
            store.index.tags_from(&*store.disk, place, TAG_PAGES, &mut |tag, number| match wanted.remove(&tag) {
                Some(Wanted::Live) => live.set(number),
                Some(Wanted::Floor(source)) => {
                    floors.entry(source).and_modify(|floor| *floor = (*floor).min(number));
                }
                None => {}
            })?;
        self.report.io_bytes += u64::from(TAG_PAGES) * 4_096;
        self.phase = match next {
            Some((place, page)) => Phase::Find(place, page),
            None => Phase::Roots(0),
        };
        if next.is_none() {
            // A snapshot that the index does not know is not known to need nothing.
            self.unseen = self.wanted.values().filter(|wanted| matches!(wanted, Wanted::Live)).count() as u64;
            self.floors.values_mut().filter(|floor| **floor == u32::MAX).for_each(|floor| *floor = 0);
        }
        Ok(())
    }

    /// What is live or kept by its class or its session.
    fn roots(&mut self, store: &Store, from: u32) -> Result<(), Stop> {
        let to = self.end.min(from.saturating_add(LOCS_AT_ONCE));
        let (live, kept, floors) = (&mut self.live, &mut self.kept, &self.floors);
        store.index.locs_from(&*store.disk, from..to, &mut |number, loc| {
            if loc.segment != NOWHERE
                && loc.class != record::Class::Data as u8
                && loc.class != record::Class::Node as u8
            {
                kept.set(number);
            }
            if floors.get(&loc.source).is_some_and(|floor| number >= *floor) && is_content(&loc) {
                live.set(number);
            }
        })?;
        self.report.io_bytes += u64::from(to - from) * 20;
        self.phase = if to < self.end { Phase::Roots(to) } else { Phase::Audit };
        Ok(())
    }

    fn audit(&mut self, store: &Store) -> Result<(), Stop> {
        let Some(audit) = &mut self.audit else {
            self.phase = Phase::Bounds;
            return Ok(());
        };
        if audit.read_segment(store, (self.end, self.arrival), &mut self.report.io_bytes)? {
            self.phase = Phase::Bounds;
        }
        Ok(())
    }

    /// Finds places in the edges where an entry begins, and compares them with what the nodes say.
    fn bounds(&mut self, store: &mut Store) -> Result<(), Stop> {
        let from = self.bounds.last().copied().unwrap_or(0);
        if from < self.words {
            let (ordered, newest, audit) = (&mut self.ordered, &mut self.newest, &mut self.audit);
            let max = BLOCK_WORDS.min(self.words - from);
            let used = store.index.edges_from(&*store.disk, from, max, &mut |number, _, refs| {
                *ordered &= newest.is_none_or(|newest| newest < number) && refs.iter().all(|child| *child < number);
                *newest = Some(number);
                if let Some(audit) = audit {
                    audit.compare(number, refs);
                }
            })?;
            self.report.io_bytes += used * 4;
            self.bounds.push(from + used.max(1));
            return Ok(());
        }
        self.words = from;
        if let Some(audit) = &self.audit {
            self.report.audited = true;
            if !audit.is_right() {
                self.report.audit_failed = true;
                store.index.invalidate(&*store.disk);
                store.events.push(Event::AuditFailed);
                self.phase = Phase::Done;
                return Ok(());
            }
        }
        self.phase = Phase::Mark(self.bounds.len() - 1);
        Ok(())
    }

    /// Marks through one block, from its end to its beginning.
    fn mark(&mut self, store: &Store, block: usize) -> Result<(), Stop> {
        let Some(place) = block.checked_sub(1) else {
            let again = self.changed && !self.ordered;
            self.changed = false;
            self.phase = if again { Phase::Mark(self.bounds.len() - 1) } else { Phase::Weigh(0) };
            if !again {
                (self.dead, self.held) = (BTreeMap::new(), BTreeMap::new());
            }
            return Ok(());
        };
        let (from, to) = (self.bounds[place], self.bounds[block]);
        let mut words: Vec<u32> = Vec::new();
        let mut places: Vec<usize> = Vec::new();
        let mut at = from;
        while at < to {
            let used = store.index.edges_from(&*store.disk, at, to - at, &mut |number, _, refs| {
                places.push(words.len());
                words.push(number);
                words.extend_from_slice(refs);
            })?;
            at += used.max(1);
        }
        let mut end = words.len();
        for place in places.into_iter().rev() {
            let refs = &words[place + 1..end];
            end = place;
            if self.live.get(words[place]) {
                for child in refs {
                    self.changed |= !self.live.get(*child);
                    self.live.set(*child);
                }
            }
        }
        self.report.io_bytes += (to - from) * 4;
        self.phase = Phase::Mark(place);
        Ok(())
    }

    /// Sums of what is dead, by source, and of what is live, by segment.
    fn weigh(&mut self, store: &Store, from: u32) -> Result<(), Stop> {
        let to = self.end.min(from.saturating_add(LOCS_AT_ONCE));
        let (live, kept, dead, held) = (&self.live, &self.kept, &mut self.dead, &mut self.held);
        let mut unknown = if from == 0 { 0 } else { self.report.unknown_nodes };
        store.index.locs_from(&*store.disk, from..to, &mut |number, loc| {
            let node = loc.class != record::Class::Data as u8 && loc.class != record::Class::Key as u8;
            unknown += u64::from(live.get(number) && node && !store.index.is_ok(number));
            if loc.segment == NOWHERE || !store.index.is_present(number) {
                return;
            }
            if live.get(number) || kept.get(number) || store.index.is_fresh(number) {
                *held.entry(loc.segment).or_default() += crate::verify::record_span(loc.length);
            } else {
                let sum = dead.entry(loc.source).or_default();
                *sum = (sum.0 + 1, sum.1 + u64::from(loc.length));
            }
        })?;
        self.report.unknown_nodes = unknown;
        self.report.io_bytes += u64::from(to - from) * 20;
        self.phase = if to < self.end { Phase::Weigh(to) } else { Phase::Settle };
        Ok(())
    }

    /// What arrived since the start may reference old records: marks on from there, or forgets the dead if nothing did.
    fn settle(&mut self, store: &mut Store, now: Moment) -> Result<(), Stop> {
        let sliced = self.rounds < ROUNDS_MAX;
        while self.catch_up(store)? {
            self.rounds += 1;
            self.phase = Phase::Mark(self.bounds.len() - 1);
            if sliced {
                return Ok(());
            }
            while self.phase != Phase::Settle {
                if let Phase::Mark(block) = self.phase {
                    self.mark(store, block)?;
                } else if let Phase::Weigh(from) = self.phase {
                    self.weigh(store, from)?;
                }
            }
        }
        self.report.unknown_nodes += self.unseen;
        if self.report.unknown_nodes > 0 {
            self.phase = Phase::Done;
            return Ok(());
        }
        (0..self.end).filter(|number| store.index.is_fresh(*number)).for_each(|number| self.live.set(number));
        store.index.sweep(&self.live, &self.kept, self.end, &self.dead);
        for (records, bytes) in self.dead.values() {
            self.report.dead_records += records;
            self.report.dead_bytes += bytes;
        }
        let sweep = SweepEntry {
            at_s: store.retention_s(now),
            records: self.report.dead_records,
            bytes: self.report.dead_bytes,
            audited: self.report.audited,
        };
        store.note(now, &[Entry::Sweep(sweep)]).map_err(Stop::Write)?;
        self.phase = Phase::Drop;
        Ok(())
    }

    /// Marks what edges that came since reference; answers whether an old record became live by that.
    fn catch_up(&mut self, store: &Store) -> Result<bool, Stop> {
        let mut revived = false;
        let to = store.index.edge_words();
        let mut at = self.words;
        while at < to {
            let (live, end) = (&mut self.live, self.end);
            let used = store.index.edges_from(&*store.disk, at, BLOCK_WORDS, &mut |number, _, refs| {
                // An old number here got a healthy copy; everything newer is live.
                for each in refs.iter().copied().chain([number]) {
                    if each < end && !live.get(each) {
                        live.set(each);
                        revived = true;
                    }
                }
            })?;
            self.report.io_bytes += used * 4;
            at += used.max(1);
        }
        if revived {
            // Old entries are looked through again; so are the new ones, which may name each other in any order.
            self.bounds.push(to);
            self.ordered = false;
        }
        self.words = to;
        Ok(revived)
    }

    fn drop_empty(&mut self, store: &mut Store, now: Moment) -> Result<(), Stop> {
        let judged = store.state.segments.iter().filter_map(|(number, state)| {
            let sealed = state.sealed.as_ref().filter(|sealed| sealed.last_arrival < self.arrival)?;
            Some((*number, state.class, sealed.length, sealed.first_arrival))
        });
        let judged: Vec<_> = judged.collect();
        let empty: Vec<_> = judged.iter().filter(|(number, ..)| !self.held.contains_key(number)).collect();
        for some in empty.chunks(64) {
            let entries: Vec<Entry> =
                some.iter().map(|(segment, ..)| Entry::Drop(DropEntry { segment: *segment })).collect();
            store.note(now, &entries).map_err(Stop::Write)?;
            for (segment, class, length, _) in some {
                store.remove_segment(*class, *segment);
                self.report.dropped_segments += 1;
                self.report.freed_bytes += length;
            }
        }
        let used: u64 = judged.iter().map(|(_, _, length, _)| length).sum();
        let free = store.disk.free_bytes().ok().flatten().unwrap_or(u64::MAX);
        let full = free.saturating_mul(100) < used.saturating_add(free).saturating_mul(100 - NEARLY_FULL);
        let below = if full { REWRITE_BELOW_FULL } else { REWRITE_BELOW };
        for class in [Class::Data, Class::Meta] {
            let limit = store.superblock.segment_bytes(class);
            let mut sparse: Vec<_> = judged
                .iter()
                .filter(|(number, of, length, _)| {
                    let held = self.held.get(number).copied().unwrap_or(0);
                    let damaged = store.state.quarantine.iter().any(|range| range.segment == *number);
                    *of == class && held > 0 && held * 100 < length * below && !damaged
                })
                .map(|(number, _, _, first)| (*first, *number))
                .collect();
            sparse.sort_unstable();
            let mut group = Vec::new();
            let mut bytes = 0;
            for (_, segment) in sparse {
                let held = self.held.get(&segment).copied().unwrap_or(0);
                // Footer and header want room too.
                if !group.is_empty() && (bytes + held) * 16 > limit * 14 {
                    self.groups.push_back((class, std::mem::take(&mut group)));
                    bytes = 0;
                }
                group.push(segment);
                bytes += held;
            }
            if !group.is_empty() {
                self.groups.push_back((class, group));
            }
        }
        self.phase = Phase::Rewrite;
        Ok(())
    }

    fn rewrite(&mut self, store: &mut Store, now: Moment) -> Result<(), Stop> {
        if self.copying.is_none() {
            let Some((class, from)) = self.groups.pop_front() else {
                let disk = Arc::clone(&store.disk);
                for class in [Class::Data, Class::Meta] {
                    // A name that comes back after a cut goes at the next start.
                    let synced = disk.sync_dir(crate::segment::dir(class));
                    synced
                        .map_err(crate::error::Fault::sync(crate::segment::dir(class)))
                        .map_err(|fault| Stop::Write(store.fail(fault)))?;
                }
                self.phase = Phase::Done;
                return Ok(());
            };
            self.copying = Some(Copying::new(class, from));
        }
        let Some(mut copying) = self.copying.take() else { return Ok(()) };
        let before = copying.io_bytes;
        let turned = copying.turn(store, now);
        self.report.io_bytes += (copying.io_bytes - before).max(1);
        match turned {
            Ok(rewrite::Turn::More) => self.copying = Some(copying),
            Ok(rewrite::Turn::Ended { segments, records, freed_bytes }) => {
                self.report.rewritten_segments += segments;
                self.report.copied_records += records;
                self.report.freed_bytes += freed_bytes;
            }
            Err(stop) => {
                self.copying = Some(copying);
                return Err(stop);
            }
        }
        Ok(())
    }

    fn give_up_copying(&mut self, store: &mut Store, now: Moment) {
        if let Some(copying) = self.copying.take() {
            copying.give_up(store, now);
        }
    }
}

/// Whether a record is neither a key nor a snapshot.
const fn is_content(loc: &Loc) -> bool {
    loc.class == record::Class::Data as u8 || loc.class == record::Class::Node as u8
}

/// Why a collection ends early.
#[derive(Debug)]
enum Stop {
    /// The index does not verify.
    Damaged,
    Write(WriteError),
}

impl From<Damaged> for Stop {
    fn from(_: Damaged) -> Self {
        Self::Damaged
    }
}
