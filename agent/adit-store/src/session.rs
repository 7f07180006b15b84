// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Sessions: a source opens one with a new key, sends records, and may go on after a cut where it was. Every rule about
//! what a source may send is checked here, before a byte is kept.

use crate::error::{AppendError, ReadError, SessionError, WriteError};
use crate::index::{Arrival, Bitmap, Inserted, Loc, NOWHERE, copy_tag, key_tag, tag};
use crate::ledger::{Entry, OpenEntry};
use crate::segment::{Class, MarkEntry};
use crate::store::{Store, slot, verify};
use crate::types::{Appended, Event, Moment, Pending, SessionId};
use adit_wire::ids::{Id, KeyId, SourceId};
use adit_wire::record::{self, Record};
use adit_wire::signed::{KeyRecord, PREFIX_KEY, message_parts};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// A session with more repeats than this, and more than one in a hundred, is ended.
const REPEATS_MAX: u64 = 10_000;
/// Ids that a session may ask for beyond twice the records it may know of.
pub const HAVE_IDS_FLOOR: u64 = 65_536;

/// All sessions of this process.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    pub(crate) running: BTreeMap<SessionId, Session>,
    next: u64,
    /// How far each source's pending run was received; outlives the link.
    pub(crate) received: BTreeMap<u32, (KeyId, u64)>,
}

/// One running session.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) source: u32,
    pub(crate) source_id: SourceId,
    pub(crate) key_id: KeyId,
    /// Key ids whose records it may send: its own, then the adopted ones.
    lineage: Vec<KeyId>,
    counters: HashMap<KeyId, u32>,
    /// Every record up to this one is durable from the resumed run.
    base: u64,
    /// `None` until the first record.
    received: Option<u64>,
    taken: u64,
    repeats: u64,
    /// Repeats under its own key: re-sent records of a cut run do not count.
    own_repeats: u64,
    pub(crate) records: u64,
    pub(crate) bytes: u64,
    /// Record numbers above this arrived in this run.
    oldest_key: u32,
    closure: Option<Bitmap>,
    asked: u64,
}

impl Store {
    /// What an unfinished run of a source left here. Call [`Store::sync`] first to hear the best numbers.
    #[must_use]
    pub fn pending(&self, source: &SourceId) -> Option<Pending> {
        let number = self.state.number_of(source)?;
        let pending = self.state.source(number)?.pending.as_ref()?;
        let received = self.sessions.received.get(&number).filter(|(key_id, _)| *key_id == pending.key_id);
        let received_seq = received.map_or(0, |(_, seq)| *seq).max(pending.durable_seq);
        Some(Pending { key_id: pending.key_id, durable_seq: pending.durable_seq, received_seq })
    }

    /// Opens a session: the key record becomes durable in two segments, an older session of the source ends.
    /// With `resume_of`, records sealed under the pending run's key may be sent again, verbatim, and sequence numbers go
    /// on behind any record that [`Store::pending`] called durable.
    ///
    /// # Errors
    /// When the key record does not fit the source, its key id was used, or nothing can be written.
    pub fn open_session(
        &mut self,
        source: &SourceId,
        key_record: &[u8],
        resume_of: Option<KeyId>,
        now: Moment,
    ) -> Result<SessionId, SessionError> {
        self.writable()?;
        self.settle_suspects(now)?;
        let number = self.state.number_of(source).ok_or(SessionError::UnknownSource(*source))?;
        let record = Record::parse(key_record).map_err(SessionError::Record)?;
        let key_id = self.check_key_record(number, &record)?;
        let pending = self.state.source(number).and_then(|state| state.pending.as_ref());
        if let Some(of) = resume_of
            && pending.is_none_or(|pending| pending.key_id != of)
        {
            return Err(SessionError::NotPending(of));
        }
        self.sessions.running.retain(|_, session| session.source != number);
        self.store_key_record(number, source, &record, key_id, now)?;
        self.sync(now)?;
        let durable = self.state.source(number).and_then(|state| state.pending.as_ref()).map(|state| state.durable_seq);
        let base_seq = resume_of.and(durable).unwrap_or(0);
        let entry = OpenEntry {
            source: number,
            key_id,
            key_record: record.header.id,
            resume_of,
            base_seq,
            opened_s: now.wall_s,
        };
        self.note(now, &[Entry::Open(entry)])?;
        Ok(self.start_session(number, *source, base_seq))
    }

    fn start_session(&mut self, number: u32, source_id: SourceId, base: u64) -> SessionId {
        let pending = self.state.source(number).and_then(|state| state.pending.as_ref());
        let (key_id, lineage) = pending.map(|pending| (pending.key_id, pending.lineage.clone())).unwrap_or_default();
        let numbers = lineage.iter().filter_map(|key_id| {
            let tag = key_tag(&self.superblock.store_key, &source_id, key_id);
            self.index.find(&*self.disk, &tag).ok().flatten()
        });
        let oldest_key = numbers.min().unwrap_or(u32::MAX);
        let session = Session {
            source: number,
            source_id,
            key_id,
            lineage,
            counters: HashMap::new(),
            base,
            received: None,
            taken: 0,
            repeats: 0,
            own_repeats: 0,
            records: 0,
            bytes: 0,
            oldest_key,
            closure: None,
            asked: 0,
        };
        self.sessions.received.insert(number, (key_id, base));
        self.sessions.next += 1;
        let id = SessionId(self.sessions.next);
        self.sessions.running.insert(id, session);
        id
    }

    /// The key id that a key record wraps, if the record is one of this source and of its epoch.
    fn check_key_record(&self, number: u32, record: &Record<'_>) -> Result<KeyId, SessionError> {
        let state = self.state.source(number).ok_or(SessionError::Foreign)?;
        if record.header.class != record::Class::Key {
            return Err(SessionError::Foreign);
        }
        let (payload, body, signature) = KeyRecord::read(record.body).map_err(SessionError::Payload)?;
        if payload.source != state.source.id || payload.key_id.is_zero() {
            return Err(SessionError::Foreign);
        }
        if payload.epoch != state.source.epoch {
            return Err(SessionError::Epoch { given: payload.epoch, known: state.source.epoch });
        }
        if !verify(&state.source.signing_key.0, &message_parts(PREFIX_KEY, body), &signature.0) {
            return Err(SessionError::Signature);
        }
        let tag = key_tag(&self.superblock.store_key, &state.source.id, &payload.key_id);
        let used = self.index.find(&*self.disk, &tag).map_err(|_| WriteError::Index)?;
        match used {
            Some(used) if !self.is_unopened(number, record, used)? => Err(SessionError::KeyIdUsed(payload.key_id)),
            Some(_) | None => Ok(payload.key_id),
        }
    }

    /// Whether a stored key record is this one, stored just before a cut that came before its OPEN: then it is newer than
    /// the key record of the last OPEN, and the source may send the same OPEN again.
    fn is_unopened(&self, source: u32, record: &Record<'_>, number: u32) -> Result<bool, WriteError> {
        let Some(state) = self.state.source(source) else { return Ok(false) };
        let find = |tag| self.index.find(&*self.disk, &tag).map_err(|_| WriteError::Index);
        let same = find(tag(&self.superblock.store_key, &state.source.id, &record.header.id))? == Some(number);
        let Some(last) = state.last_key else { return Ok(same) };
        let last = find(key_tag(&self.superblock.store_key, &state.source.id, &last))?;
        Ok(same && last.is_some_and(|last| last < number))
    }

    /// Stores both copies of a key record.
    fn store_key_record(
        &mut self,
        number: u32,
        source: &SourceId,
        record: &Record<'_>,
        key_id: KeyId,
        now: Moment,
    ) -> Result<(), WriteError> {
        let store_key = self.superblock.store_key;
        let disk = Arc::clone(&self.disk);
        let tags = [tag(&store_key, source, &record.header.id), copy_tag(&store_key, source, &key_id)];
        for (class, tag) in [Class::Data, Class::Meta].into_iter().zip(tags) {
            let loc = self.add(class, number, record, key_id, now)?;
            let inserted = self.index.insert(&*disk, Arrival { tag, loc, healthy: true });
            match inserted.map_err(|_| self.index_damaged())? {
                Inserted::New(number) | Inserted::Healed(number) | Inserted::Repeat(number) => {
                    self.index.set_complete(number);
                    if class == Class::Data {
                        self.index.alias(key_tag(&store_key, source, &key_id), number);
                    }
                }
            }
        }
        Ok(())
    }

    /// Adds a record to the open segment of a class.
    pub(crate) fn add(
        &mut self,
        class: Class,
        source: u32,
        record: &Record<'_>,
        key_id: KeyId,
        now: Moment,
    ) -> Result<Loc, WriteError> {
        self.segment_for(class, record.as_bytes().len(), now)?;
        let arrival = self.next_arrival;
        let segment = self.open[slot(class)].as_mut().expect("segment_for leaves an open segment");
        let added = segment.add(&*self.disk, &self.superblock.store_key, (source, arrival), record, key_id);
        match added {
            Ok(added) => {
                self.next_arrival += 1;
                self.told_full = false;
                Ok(Loc {
                    segment: added.segment,
                    offset: added.offset,
                    length: added.length,
                    source,
                    class: record.header.class as u8,
                    height: record.header.height,
                })
            }
            Err(fault) => Err(self.fail(fault)),
        }
    }

    /// Takes one record. `seq` counts a run's records without gaps: from 1, or behind the last durable one of a resumed
    /// run.
    ///
    /// # Errors
    /// When the record breaks a rule; the session's numbers do not move then.
    pub fn append(
        &mut self,
        session: SessionId,
        seq: u64,
        record: &[u8],
        now: Moment,
    ) -> Result<Appended, AppendError> {
        self.writable()?;
        self.settle_suspects(now)?;
        let running = self.sessions.running.get(&session).ok_or(AppendError::Ended)?;
        running.check_seq(seq)?;
        let record = Record::parse(record).map_err(AppendError::Record)?;
        running.check_record(&record)?;
        let (source, source_id) = (running.source, running.source_id);
        let tag = tag(&self.superblock.store_key, &source_id, &record.header.id);
        let known = self.index.find(&*self.disk, &tag).map_err(|_| self.index_damaged())?;
        let appended = match known {
            Some(number) if self.index.is_ok(number) => Appended::Repeat,
            Some(_) | None => {
                self.keep(source, &source_id, &record, tag, known, now)?;
                Appended::Stored
            }
        };
        let running = self.sessions.running.get_mut(&session).ok_or(AppendError::Ended)?;
        running.took(seq, &record, appended)?;
        let key_id = running.key_id;
        let received = self.sessions.received.entry(source).or_insert((key_id, 0));
        *received = (key_id, received.1.max(seq));
        if self.index.wants_table() {
            // The record is taken whatever comes of this; a full disk shows at the next sync.
            match self.sync(now).and_then(|()| self.write_tables()) {
                Ok(()) | Err(WriteError::DiskFull) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(appended)
    }

    /// Stores a record that is new or whose known copy is damaged.
    fn keep(
        &mut self,
        source: u32,
        source_id: &SourceId,
        record: &Record<'_>,
        tag: crate::index::Tag,
        known: Option<u32>,
        now: Moment,
    ) -> Result<(), AppendError> {
        if self.index.is_full() {
            return Err(AppendError::Full);
        }
        let refs = self.resolve(source_id, record)?;
        let mut seen = false;
        if let Some(number) = known {
            let loc = self.index.loc(&*self.disk, number).map_err(|_| self.index_damaged())?;
            // What collection forgot may come back as it likes.
            seen = loc.segment != NOWHERE && self.index.is_present(number);
            if seen {
                self.check_same(number, &loc, record, &refs)?;
            }
        }
        let class = match record.header.class {
            record::Class::Data => Class::Data,
            record::Class::Node | record::Class::Snapshot | record::Class::Key => Class::Meta,
        };
        let loc = self.add(class, source, record, record.header.key_id, now)?;
        let disk = Arc::clone(&self.disk);
        let inserted = self.index.insert(&*disk, Arrival { tag, loc, healthy: true });
        let inserted = inserted.map_err(|_| self.index_damaged())?;
        self.index_refs(inserted, record, &refs);
        if seen {
            self.events.push(Event::Healed(record.header.id));
            self.healed = true;
        }
        Ok(())
    }

    /// Notes a stored record's references, and whether it is complete.
    pub(crate) fn index_refs(&mut self, inserted: Inserted, record: &Record<'_>, refs: &[u32]) {
        let (Inserted::New(number) | Inserted::Healed(number)) = inserted else { return };
        if record.header.refs_count() == 0 {
            self.index.set_complete(number);
        } else {
            self.index.add_edges(number, record.header.height, refs);
        }
    }

    /// The numbers of a record's references, node references first. Each must have been sent before and be what it is
    /// referenced as; whether it is still healthy shows at the commit.
    fn resolve(&mut self, source: &SourceId, record: &Record<'_>) -> Result<Vec<u32>, AppendError> {
        let nodes = usize::from(record.header.node_refs);
        let mut wanted: Vec<_> = record
            .node_refs
            .iter()
            .chain(record.data_refs.iter())
            .enumerate()
            .map(|(place, id)| (tag(&self.superblock.store_key, source, &id), place, id))
            .collect();
        // In the order of tags, one page of a run serves many.
        wanted.sort_unstable();
        let mut refs = vec![0; wanted.len()];
        for (tag, place, id) in wanted {
            let found = self.index.find(&*self.disk, &tag).map_err(|_| self.index_damaged())?;
            let number = found.ok_or(AppendError::ChildMissing(id))?;
            let loc = self.index.loc(&*self.disk, number).map_err(|_| self.index_damaged())?;
            let fits = if place < nodes {
                loc.class == record::Class::Node as u8 && loc.height < record.header.height
            } else {
                loc.class == record::Class::Data as u8
            };
            if !fits && loc.segment != NOWHERE {
                return Err(AppendError::ChildClass(id));
            }
            refs[place] = number;
        }
        Ok(refs)
    }

    /// A healed record must be what the lost one was.
    fn check_same(&mut self, number: u32, loc: &Loc, record: &Record<'_>, refs: &[u32]) -> Result<(), AppendError> {
        let mut same = loc.class == record.header.class as u8 && loc.height == record.header.height;
        if record.header.refs_count() > 0 {
            let scanned = self.index.for_edges(&*self.disk, &mut |node, _, known| {
                if node == number {
                    let mut known = known.to_vec();
                    let mut given = refs.to_vec();
                    known.sort_unstable();
                    given.sort_unstable();
                    same &= known == given;
                }
            });
            scanned.map_err(|_| self.index_damaged())?;
        }
        if same { Ok(()) } else { Err(AppendError::RefsDiffer(record.header.id)) }
    }

    /// Makes everything received durable.
    ///
    /// # Errors
    /// When the disk is full or fails.
    pub fn sync(&mut self, now: Moment) -> Result<(), WriteError> {
        self.writable()?;
        let marks = self.undurable_progress();
        let dirty = |segment: &Option<crate::segment::OpenSegment>| segment.as_ref().is_some_and(|it| it.is_dirty());
        // The mark goes into a segment that is flushed anyway, after the other one is durable.
        let carrier = if dirty(&self.open[slot(Class::Data)]) { Class::Data } else { Class::Meta };
        if !marks.is_empty() && self.open[slot(carrier)].is_none() {
            self.segment_for(carrier, 0, now)?;
        }
        let disk = Arc::clone(&self.disk);
        let store_key = self.superblock.store_key;
        for place in [1 - slot(carrier), slot(carrier)] {
            let Some(segment) = &mut self.open[place] else { continue };
            let mut settled = Ok(());
            if place == slot(carrier) && !marks.is_empty() {
                settled = segment.add_mark(&*disk, &store_key, self.next_arrival, &marks);
            }
            if let Err(fault) = settled.and_then(|()| segment.settle(&*disk, &store_key)) {
                return Err(self.fail(fault));
            }
        }
        for mark in marks {
            self.state.note_progress(mark.source, mark.key_id, mark.seq);
        }
        self.told_full = false;
        self.watch_parity(now);
        Ok(())
    }

    /// How far unfinished sessions are beyond what is durable.
    fn undurable_progress(&self) -> Vec<MarkEntry> {
        let received = self.sessions.received.iter();
        received
            .filter_map(|(source, (key_id, seq))| {
                let pending = self.state.source(*source)?.pending.as_ref()?;
                let behind = pending.key_id == *key_id && pending.durable_seq < *seq;
                behind.then_some(MarkEntry { source: *source, key_id: *key_id, seq: *seq })
            })
            .collect()
    }

    /// The newest record received in a session; where a resumed run stands before its first record; 0 for none.
    #[must_use]
    pub fn received_seq(&self, session: SessionId) -> u64 {
        self.sessions.running.get(&session).map_or(0, |session| session.received.unwrap_or(session.base))
    }

    /// Up to here a session's records are on stable storage. At most [`Store::received_seq`].
    #[must_use]
    pub fn durable_seq(&self, session: SessionId) -> u64 {
        let Some(running) = self.sessions.running.get(&session) else { return 0 };
        let pending = self.state.source(running.source).and_then(|state| state.pending.as_ref());
        pending.map_or(0, |pending| pending.durable_seq).min(self.received_seq(session))
    }

    /// Records of a session that were here before.
    #[must_use]
    pub fn repeats(&self, session: SessionId) -> u64 {
        self.sessions.running.get(&session).map_or(0, |session| session.repeats)
    }

    /// Which records are here and healthy. Answers only from the newest snapshot and the open session, so that a thief
    /// of a source's key learns nothing of older history.
    ///
    /// # Errors
    /// When the session ended, asked too often, or the disk fails.
    pub fn have(&mut self, session: SessionId, ids: &[Id]) -> Result<Vec<bool>, ReadError> {
        let running = self.sessions.running.get(&session).ok_or(ReadError::Ended)?;
        let (source, source_id, oldest_key) = (running.source, running.source_id, running.oldest_key);
        if running.closure.is_none() {
            let closure = self.newest_closure(source, &source_id)?;
            if let Some(running) = self.sessions.running.get_mut(&session) {
                running.closure = Some(closure);
            }
        }
        let disk = Arc::clone(&self.disk);
        let running = self.sessions.running.get_mut(&session).ok_or(ReadError::Ended)?;
        let closure = running.closure.as_ref().ok_or(ReadError::Ended)?;
        running.asked += ids.len() as u64;
        if running.asked > HAVE_IDS_FLOOR + 2 * (closure.count() + running.taken) {
            return Err(ReadError::AskedTooOften);
        }
        ids.iter()
            .map(|id| {
                let found = self.index.find(&*disk, &tag(&self.superblock.store_key, &source_id, id));
                let found = found.map_err(|_| ReadError::Index)?;
                Ok(found.is_some_and(|number| {
                    self.index.is_complete(number) && (number > oldest_key || closure.get(number))
                }))
            })
            .collect()
    }

    /// Everything that the newest snapshot reaches.
    fn newest_closure(&self, source: u32, source_id: &SourceId) -> Result<Bitmap, ReadError> {
        let newest = self.state.source(source).and_then(|state| state.snapshots.last());
        let Some(newest) = newest else { return Ok(Bitmap::default()) };
        let tag = tag(&self.superblock.store_key, source_id, &newest.head);
        let number = self.index.find(&*self.disk, &tag).map_err(|_| ReadError::Index)?;
        let Some(number) = number else { return Ok(Bitmap::default()) };
        let loc = self.index.loc(&*self.disk, number).map_err(|_| ReadError::Index)?;
        self.index.closure(&*self.disk, number, loc.height).map_err(|_| ReadError::Index)
    }

    /// Ends a session whose link is gone. What it received stays pending.
    pub fn end_session(&mut self, session: SessionId) {
        self.sessions.running.remove(&session);
    }
}

impl Session {
    fn check_seq(&self, seq: u64) -> Result<(), AppendError> {
        let (expected, fits) = match self.received {
            Some(received) => (received + 1, seq == received + 1),
            // A resumed run may begin behind any record that it was told is durable.
            None => (self.base + 1, seq >= 1 && seq <= self.base + 1),
        };
        if fits { Ok(()) } else { Err(AppendError::Order { expected, got: seq }) }
    }

    fn check_record(&self, record: &Record<'_>) -> Result<(), AppendError> {
        let header = &record.header;
        if matches!(header.class, record::Class::Key | record::Class::Snapshot) {
            return Err(AppendError::Class(header.class));
        }
        if !self.lineage.contains(&header.key_id) {
            return Err(AppendError::KeyId(header.key_id));
        }
        match self.counters.get(&header.key_id) {
            Some(last) if header.counter <= *last => Err(AppendError::Counter { last: *last, counter: header.counter }),
            Some(_) | None => Ok(()),
        }
    }

    fn took(&mut self, seq: u64, record: &Record<'_>, appended: Appended) -> Result<(), AppendError> {
        self.counters.insert(record.header.key_id, record.header.counter);
        self.received = Some(seq);
        self.taken += 1;
        match appended {
            Appended::Stored => {
                self.records += 1;
                self.bytes += record.as_bytes().len() as u64;
            }
            Appended::Repeat => {
                self.repeats += 1;
                self.own_repeats += u64::from(record.header.key_id == self.key_id);
            }
        }
        let many = self.own_repeats > REPEATS_MAX && self.own_repeats * 100 > self.taken;
        if many { Err(AppendError::Repeats(self.repeats)) } else { Ok(()) }
    }
}
