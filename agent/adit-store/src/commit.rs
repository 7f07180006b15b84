// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The commit: a promise that everything a snapshot needs is here, healthy and durable, or the list of what is missing.

use crate::error::{CommitError, ReadError};
use crate::index::{Arrival, Bitmap, Inserted, NOWHERE, tag};
use crate::ledger::{CommitEntry, Entry, SnapshotState};
use crate::segment::{Class, OpenSegment};
use crate::store::{Store, slot, verify};
use crate::types::{Commit, Moment, SessionId};
use adit_wire::backup::IDS_MAX;
use adit_wire::ids::{Id, KeyId, SourceId};
use adit_wire::record::{self, Record};
use adit_wire::signed::{PREFIX_SNAPSHOT, Snapshot, message_parts};
use std::sync::Arc;

/// Commits of one source in a day.
const COMMITS_PER_DAY_MAX: usize = 200;
/// Snapshots of one source.
const SNAPSHOTS_MAX: usize = 4_096;
/// Nodes that one commit reads to see whether all below them is here: only those that damage made incomplete. Others wait
/// meanwhile; what was found whole is remembered, so the next commit goes on from there.
pub const COMMIT_WALK_NODES_MAX: u32 = 65_536;
const DAY_S: u64 = 86_400;

/// What a walk over incomplete nodes found.
#[derive(Debug)]
struct Missing {
    ids: Vec<Id>,
    more: bool,
    visited: Bitmap,
    /// Nodes that may still be read.
    left: u32,
}

impl Missing {
    fn add(&mut self, id: Id) {
        if self.ids.len() < IDS_MAX {
            if !self.ids.contains(&id) {
                self.ids.push(id);
            }
        } else {
            self.more = true;
        }
    }
}

impl Store {
    /// Promises a snapshot, or says what is missing. A promise ends the session. The newest snapshot may be committed
    /// again, and gets the same answer: its first may have been lost on the way.
    ///
    /// # Errors
    /// When the snapshot breaks a rule or nothing can be written.
    pub fn commit(&mut self, session: SessionId, record: &[u8], now: Moment) -> Result<Commit, CommitError> {
        self.writable()?;
        self.settle_suspects(now)?;
        let running = self.sessions.running.get(&session).ok_or(CommitError::Ended)?;
        let (source, source_id) = (running.source, running.source_id);
        let (records, bytes) = (running.records, running.bytes);
        let record = Record::parse(record).map_err(CommitError::Record)?;
        let snapshot = self.check_snapshot(source, &record)?;
        if let Some(newest) = self.state.source(source).and_then(|state| state.snapshots.last())
            && newest.head == record.header.id
        {
            let answer = committed(newest);
            self.end_run(session, source);
            return Ok(answer);
        }
        self.check_order(source, &snapshot, now)?;
        let missing = self.missing(&source_id, &record, &snapshot, now)?;
        if !missing.ids.is_empty() {
            return Ok(Commit::Missing { ids: missing.ids, more: missing.more });
        }
        if missing.more {
            return Err(CommitError::WalkTooLong);
        }
        self.keep_snapshot(source, &source_id, &record, now)?;
        self.sync(now)?;
        if std::mem::take(&mut self.healed) {
            // What was sent again makes older snapshots whole too.
            let disk = Arc::clone(&self.disk);
            self.index.refresh_complete(&*disk).map_err(|_| self.index_damaged())?;
        }
        let key_id = self.sessions.running.get(&session).map_or(KeyId::ZERO, |session| session.key_id);
        let newest_s = self.state.source(source).and_then(|state| state.snapshots.last());
        // A clock that went back makes nothing old.
        let received_s = now.wall_s.max(self.retention_s(now)).max(newest_s.map_or(0, |newest| newest.received_s + 1));
        let end = |segment: &Option<OpenSegment>| segment.as_ref().map(|it| (it.number(), it.durable()));
        let entry = CommitEntry {
            snapshot: record.header.id,
            source,
            seq: snapshot.seq,
            root: snapshot.root,
            session: key_id,
            class: 0,
            received_s,
            clock: 0,
            origin: None,
            data: end(&self.open[slot(Class::Data)]),
            meta: end(&self.open[slot(Class::Meta)]),
            records,
            bytes,
        };
        self.note(now, &[Entry::Commit(entry)])?;
        self.end_run(session, source);
        let newest = self.state.source(source).and_then(|state| state.snapshots.last());
        newest.map(committed).ok_or(CommitError::Ended)
    }

    fn end_run(&mut self, session: SessionId, source: u32) {
        self.sessions.running.remove(&session);
        self.sessions.received.remove(&source);
    }

    /// Class, source, epoch, signature, and that body and references say the same.
    fn check_snapshot(&self, source: u32, record: &Record<'_>) -> Result<Snapshot, CommitError> {
        let state = self.state.source(source).ok_or(CommitError::Foreign)?;
        if record.header.class != record::Class::Snapshot {
            return Err(CommitError::Foreign);
        }
        let (snapshot, body, signature) = Snapshot::read(record.body).map_err(CommitError::Body)?;
        let same_refs = record.node_refs.iter().eq([snapshot.root]) && record.data_refs.iter().eq([snapshot.info]);
        if snapshot.source != state.source.id || !same_refs {
            return Err(CommitError::Foreign);
        }
        if snapshot.epoch != state.source.epoch {
            return Err(CommitError::Epoch { given: snapshot.epoch, known: state.source.epoch });
        }
        if verify(&state.source.signing_key.0, &message_parts(PREFIX_SNAPSHOT, body), &signature.0) {
            Ok(snapshot)
        } else {
            Err(CommitError::Signature)
        }
    }

    /// Compare and swap: a snapshot follows the newest one, or another machine uses this identity.
    fn check_order(&self, source: u32, snapshot: &Snapshot, now: Moment) -> Result<(), CommitError> {
        let snapshots = self.state.source(source).map_or(&[][..], |state| &state.snapshots);
        let (newest, head) = snapshots.last().map_or((0, Id::ZERO), |newest| (newest.seq, newest.head));
        if snapshot.seq != newest + 1 || snapshot.prev_head != head {
            return Err(CommitError::Stale { got: snapshot.seq, newest });
        }
        let today = snapshots.iter().rev().take_while(|snapshot| snapshot.received_s + DAY_S > now.wall_s);
        let many = today.take(COMMITS_PER_DAY_MAX).count() >= COMMITS_PER_DAY_MAX;
        if many || snapshots.len() >= SNAPSHOTS_MAX { Err(CommitError::TooMany) } else { Ok(()) }
    }

    fn missing(
        &mut self,
        source_id: &SourceId,
        record: &Record<'_>,
        snapshot: &Snapshot,
        now: Moment,
    ) -> Result<Missing, CommitError> {
        let mut missing =
            Missing { ids: Vec::new(), more: false, visited: Bitmap::default(), left: COMMIT_WALK_NODES_MAX };
        for (id, class) in [(snapshot.root, record::Class::Node), (snapshot.info, record::Class::Data)] {
            let number = self.number_of(source_id, &id)?;
            let Some(number) = number else {
                missing.add(id);
                continue;
            };
            let loc = self.index.loc(&*self.disk, number).map_err(|_| self.index_damaged())?;
            let fits = loc.class == class as u8 && loc.height < record.header.height;
            if !fits && loc.segment != NOWHERE {
                return Err(CommitError::ChildClass(id));
            }
            self.walk(source_id, id, Some(number), &mut missing)?;
        }
        self.settle_suspects(now)?;
        Ok(missing)
    }

    /// Whether a record and all below it are here and healthy. Complete nodes end the walk, incomplete ones are entered
    /// once; heights fall with every step, so it ends.
    fn walk(
        &mut self,
        source_id: &SourceId,
        id: Id,
        number: Option<u32>,
        missing: &mut Missing,
    ) -> Result<bool, CommitError> {
        let Some(number) = number.filter(|number| self.index.is_ok(*number)) else {
            missing.add(id);
            return Ok(false);
        };
        if self.index.is_complete(number) {
            return Ok(true);
        }
        if missing.visited.get(number) || missing.more {
            return Ok(false);
        }
        let Some(left) = missing.left.checked_sub(1) else {
            missing.more = true;
            return Ok(false);
        };
        missing.left = left;
        missing.visited.set(number);
        let loc = self.index.loc(&*self.disk, number).map_err(|_| self.index_damaged())?;
        let bytes = match self.read_loc(&loc, id) {
            Ok(bytes) => bytes,
            Err(ReadError::Damaged(_)) => {
                missing.add(id);
                return Ok(false);
            }
            Err(error) => return Err(CommitError::Read(error)),
        };
        let node = Record::assume_checked(&bytes).map_err(CommitError::Record)?;
        let mut complete = true;
        for child in node.data_refs.iter().chain(node.node_refs.iter()) {
            let child_number = self.number_of(source_id, &child)?;
            complete &= self.walk(source_id, child, child_number, missing)?;
        }
        if complete {
            self.index.set_complete(number);
        }
        Ok(complete)
    }

    fn number_of(&mut self, source_id: &SourceId, id: &Id) -> Result<Option<u32>, CommitError> {
        let tag = tag(&self.superblock.store_key, source_id, id);
        self.index.find(&*self.disk, &tag).map_err(|_| self.index_damaged().into())
    }

    /// Stores the snapshot record, unless an earlier try did.
    fn keep_snapshot(
        &mut self,
        source: u32,
        source_id: &SourceId,
        record: &Record<'_>,
        now: Moment,
    ) -> Result<(), CommitError> {
        let known = self.number_of(source_id, &record.header.id)?;
        if let Some(number) = known.filter(|number| self.index.is_ok(*number)) {
            // It may have come before what it needs: the walk has just shown that all of that is here now.
            self.index.set_complete(number);
            return Ok(());
        }
        if self.index.is_full() {
            return Err(CommitError::Full);
        }
        let mut refs = Vec::new();
        for id in record.node_refs.iter().chain(record.data_refs.iter()) {
            refs.extend(self.number_of(source_id, &id)?);
        }
        let loc = self.add(Class::Meta, source, record, KeyId::ZERO, now)?;
        let disk = Arc::clone(&self.disk);
        let tag = tag(&self.superblock.store_key, source_id, &record.header.id);
        let inserted = self.index.insert(&*disk, Arrival { tag, loc, healthy: true });
        let inserted: Inserted = inserted.map_err(|_| self.index_damaged())?;
        self.index_refs(inserted, record, &refs);
        Ok(())
    }
}

const fn committed(newest: &SnapshotState) -> Commit {
    Commit::Committed {
        block: newest.block,
        hash: newest.hash,
        seq: newest.seq,
        head: newest.head,
        received_s: newest.received_s,
    }
}
