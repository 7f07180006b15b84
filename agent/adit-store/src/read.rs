// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Reading: records as they were received, in the order in which they lie, every hash checked. What does not verify is
//! reported and set aside at the next change; it is never handed out.

use crate::error::ReadError;
use crate::index::{Loc, NOWHERE, copy_tag, key_tag, tag};
use crate::ledger::SnapshotState;
use crate::segment::{Check, ENVELOPE_BYTES, Envelope, Kind};
use crate::store::Store;
use crate::types::{Arrived, Moment, SnapshotEntry};
use adit_wire::ids::{Id, KeyId, SourceId};
use adit_wire::read::{FETCH_RECORDS_MAX, Scope};
use adit_wire::record::Record;
use std::collections::BTreeSet;

/// The answer to one FETCH, record by record.
#[derive(Debug)]
pub struct FetchPlan {
    /// Asked ids that are not here.
    pub absent: Vec<Id>,
    /// Ids whose stored bytes are damaged. Grows while records are read.
    pub damaged: Vec<Id>,
    source: SourceId,
    keys: bool,
    /// In the order of their places.
    items: std::vec::IntoIter<(Loc, Id)>,
    sent: BTreeSet<KeyId>,
    /// A record whose key record goes first.
    held: Option<Vec<u8>>,
}

impl Store {
    /// A source's newest snapshot.
    #[must_use]
    pub fn newest(&self, source: &SourceId) -> Option<SnapshotEntry> {
        let state = self.state.source(self.state.number_of(source)?)?;
        state.snapshots.last().map(|snapshot| self.snapshot_entry(source, snapshot))
    }

    /// What the ledger says of a source's newest snapshot, without reading the record itself.
    #[must_use]
    pub fn newest_arrival(&self, source: &SourceId) -> Option<Arrived> {
        let state = self.state.source(self.state.number_of(source)?)?;
        let newest = state.snapshots.last()?;
        Some(Arrived {
            seq: newest.seq,
            head: newest.head,
            received_s: newest.received_s,
            new_bytes: newest.bytes,
            bytes_before: state.snapshots.iter().rev().skip(1).map(|snapshot| snapshot.bytes).sum(),
        })
    }

    /// A source's snapshots, oldest first. Expired ones are hidden.
    #[must_use]
    pub fn snapshots(&self, source: &SourceId) -> Vec<SnapshotEntry> {
        let state = self.state.number_of(source).and_then(|number| self.state.source(number));
        let snapshots = state.map_or(&[][..], |state| &state.snapshots);
        let live = snapshots.iter().filter(|snapshot| snapshot.expired.is_none());
        live.map(|snapshot| self.snapshot_entry(source, snapshot)).collect()
    }

    fn snapshot_entry(&self, source: &SourceId, snapshot: &SnapshotState) -> SnapshotEntry {
        let body = self.read_record(source, &snapshot.head).ok().flatten().and_then(|bytes| {
            let record = Record::assume_checked(&bytes).ok()?;
            Some(record.body.to_vec())
        });
        SnapshotEntry {
            seq: snapshot.seq,
            head: snapshot.head,
            body: body.unwrap_or_default(),
            received_s: snapshot.received_s,
            new_records: snapshot.records,
            new_bytes: snapshot.bytes,
            complete: self.is_snapshot_complete(source, snapshot),
        }
    }

    pub(crate) fn is_snapshot_complete(&self, source: &SourceId, snapshot: &SnapshotState) -> bool {
        let tag = tag(&self.superblock.store_key, source, &snapshot.head);
        let number = self.index.find(&*self.disk, &tag).ok().flatten();
        number.is_some_and(|number| self.index.is_complete(number))
    }

    /// One record, whole; `None` if it is not here.
    ///
    /// # Errors
    /// When its stored bytes are damaged.
    pub fn read_record(&self, source: &SourceId, id: &Id) -> Result<Option<Vec<u8>>, ReadError> {
        match self.place(source, id)? {
            Place::Absent => Ok(None),
            Place::Damaged => Err(ReadError::Damaged(*id)),
            Place::At(loc) => self.read_loc(&loc, *id).map(Some),
        }
    }

    fn place(&self, source: &SourceId, id: &Id) -> Result<Place, ReadError> {
        self.place_of(&tag(&self.superblock.store_key, source, id))
    }

    fn place_of(&self, tag: &crate::index::Tag) -> Result<Place, ReadError> {
        let Some(number) = self.index.find(&*self.disk, tag).map_err(|_| ReadError::Index)? else {
            return Ok(Place::Absent);
        };
        let loc = self.index.loc(&*self.disk, number).map_err(|_| ReadError::Index)?;
        Ok(match self.index.is_ok(number) {
            true => Place::At(loc),
            // Collection forgot it, or it was never seen.
            false if loc.segment == NOWHERE || !self.index.is_present(number) => Place::Absent,
            false => Place::Damaged,
        })
    }

    /// Reads and checks the record at a place. Damage is noted for the next change.
    pub(crate) fn read_loc(&self, loc: &Loc, id: Id) -> Result<Vec<u8>, ReadError> {
        let mut bytes = vec![0; ENVELOPE_BYTES + crate::bytes::memory(loc.length.into())];
        let open = self.open.iter().flatten().find(|segment| segment.number() == loc.segment);
        let read = match open {
            Some(segment) => segment.read(&*self.disk, loc.offset, &mut bytes),
            None => self
                .handle(loc.segment)
                .and_then(|file| crate::disk::read_exact(&*self.disk, file, loc.offset, &mut bytes)),
        };
        let check = Check { store_key: &self.superblock.store_key, segment: loc.segment, offset: loc.offset };
        let right = read.is_ok()
            && Envelope::from_bytes(&bytes, check)
                .is_some_and(|envelope| envelope.kind == Kind::Record && envelope.length == loc.length)
            && Record::parse(&bytes[ENVELOPE_BYTES..]).is_ok();
        if right {
            bytes.drain(..ENVELOPE_BYTES);
            Ok(bytes)
        } else {
            self.suspects.borrow_mut().push((loc.segment, loc.offset));
            Err(ReadError::Damaged(id))
        }
    }

    /// The record at a place, healed if it is damaged and that can be.
    fn read_healing(&mut self, loc: &Loc, id: Id, now: Moment) -> Result<Vec<u8>, ReadError> {
        match self.read_loc(loc, id) {
            Err(ReadError::Damaged(_)) if self.read_only.is_none() => {
                // If this fails the store says so by itself; to the reader the record is damaged.
                let settled = self.settle_suspects(now);
                settled.map_err(|_| ReadError::Damaged(id)).and_then(|()| self.read_loc(loc, id))
            }
            other => other,
        }
    }

    /// The key record of a key id: the first copy, or the second if the first is damaged.
    fn key_record(&self, source: &SourceId, key_id: &KeyId) -> Result<Vec<u8>, ReadError> {
        let store_key = &self.superblock.store_key;
        let mut last = ReadError::Damaged(Id::ZERO);
        for tag in [key_tag(store_key, source, key_id), copy_tag(store_key, source, key_id)] {
            match self.place_of(&tag)? {
                Place::At(loc) => match self.read_loc(&loc, Id::ZERO) {
                    Ok(bytes) => return Ok(bytes),
                    Err(error) => last = error,
                },
                Place::Absent | Place::Damaged => {}
            }
        }
        Err(last)
    }

    /// Plans the answer to a FETCH. Records come in the order in which they lie on disk; with `keys`, each key record
    /// comes before the first record under it.
    ///
    /// # Errors
    /// When the source is unknown, or more records are named than one answer may have.
    pub fn plan_fetch(&self, source: &SourceId, scope: Scope, ids: &[Id], keys: bool) -> Result<FetchPlan, ReadError> {
        self.state.number_of(source).ok_or(ReadError::UnknownSource(*source))?;
        let mut plan = FetchPlan {
            absent: Vec::new(),
            damaged: Vec::new(),
            source: *source,
            keys,
            items: Vec::new().into_iter(),
            sent: BTreeSet::new(),
            held: None,
        };
        let wanted: BTreeSet<Id> = match scope {
            Scope::Records => ids.iter().copied().collect(),
            Scope::DataOfNodes => self.data_of(source, ids, &mut plan)?,
        };
        if wanted.len() > FETCH_RECORDS_MAX {
            return Err(ReadError::TooMany(FETCH_RECORDS_MAX));
        }
        let mut items = Vec::with_capacity(wanted.len());
        for id in wanted {
            match self.place(source, &id)? {
                Place::At(loc) => items.push((loc, id)),
                Place::Absent => plan.absent.push(id),
                Place::Damaged => plan.damaged.push(id),
            }
        }
        items.sort_unstable_by_key(|(loc, _)| (loc.segment, loc.offset));
        plan.items = items.into_iter();
        Ok(plan)
    }

    /// All data that nodes reference.
    fn data_of(&self, source: &SourceId, nodes: &[Id], plan: &mut FetchPlan) -> Result<BTreeSet<Id>, ReadError> {
        let mut wanted = BTreeSet::new();
        for id in nodes {
            match self.read_record(source, id) {
                Ok(None) => plan.absent.push(*id),
                Ok(Some(bytes)) => {
                    if let Ok(node) = Record::assume_checked(&bytes) {
                        wanted.extend(node.data_refs.iter());
                    }
                }
                Err(ReadError::Damaged(_)) => plan.damaged.push(*id),
                Err(error) => return Err(error),
            }
            if wanted.len() > FETCH_RECORDS_MAX {
                return Err(ReadError::TooMany(FETCH_RECORDS_MAX));
            }
        }
        Ok(wanted)
    }
}

enum Place {
    Absent,
    Damaged,
    At(Loc),
}

impl FetchPlan {
    /// The next record, whole; `None` at the end. A damaged record is healed first; if that can't be it is an error, is
    /// noted in [`FetchPlan::damaged`], and the plan goes on behind it.
    pub fn next(&mut self, store: &mut Store, now: Moment) -> Option<Result<Vec<u8>, ReadError>> {
        if let Some(held) = self.held.take() {
            return Some(Ok(held));
        }
        let (mut loc, id) = self.items.next()?;
        if !store.state.segments.contains_key(&loc.segment) {
            // Collection moved it since the plan was made.
            loc = match store.place(&self.source, &id) {
                Ok(Place::At(loc)) => loc,
                Ok(Place::Absent | Place::Damaged) => {
                    self.damaged.push(id);
                    return Some(Err(ReadError::Damaged(id)));
                }
                Err(error) => return Some(Err(error)),
            };
        }
        let bytes = match store.read_healing(&loc, id, now) {
            Ok(bytes) => bytes,
            Err(error) => {
                self.damaged.push(id);
                return Some(Err(error));
            }
        };
        let key_id = Record::assume_checked(&bytes).map_or(KeyId::ZERO, |record| record.header.key_id);
        if self.keys && !key_id.is_zero() && self.sent.insert(key_id) {
            self.held = Some(bytes);
            return Some(store.key_record(&self.source, &key_id));
        }
        Some(Ok(bytes))
    }

    /// Records still to come, key records not counted.
    #[must_use]
    pub fn remaining(&self) -> usize {
        self.items.len() + usize::from(self.held.is_some())
    }
}
