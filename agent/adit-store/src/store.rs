// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The store's face: what the daemon calls. One thread owns a store.

use crate::disk::Disk;
use crate::error::{AppendError, CommitError, CreateError, OpenError, ReadError, SessionError, SourceError, WriteError};
use crate::types::{
    Access, Appended, Commit, Event, Moment, NewStore, Opening, Peer, Pending, SessionId, SnapshotEntry, Source,
    Status, Step,
};
use adit_wire::ids::{Id, KeyId, LedgerHash, SourceId, StoreId};
use adit_wire::read::Scope;

/// An open store.
#[derive(Debug)]
pub struct Store {
    disk: Box<dyn Disk>,
}

/// A verification of everything, done in steps.
#[derive(Debug)]
pub struct Verification {}

/// The answer to one FETCH, record by record.
#[derive(Debug)]
pub struct FetchPlan {
    /// Asked ids that are not here.
    pub absent: Vec<Id>,
    /// Ids whose stored bytes are damaged. Grows while records are read.
    pub damaged: Vec<Id>,
}

#[expect(unused_variables, reason = "the first landing fixes the signatures; the bodies follow")]
#[expect(clippy::unimplemented, reason = "the first landing fixes the signatures; the bodies follow")]
impl Store {
    /// Makes an empty store.
    ///
    /// # Errors
    /// When a store is there, or the disk refuses.
    pub fn create(disk: &dyn Disk, new: &NewStore) -> Result<(), CreateError> {
        unimplemented!()
    }

    /// Opens a store and repairs what a power cut left.
    ///
    /// # Errors
    /// When it is no store, is too new, is open elsewhere or cannot be read.
    pub fn open(disk: impl Disk + 'static, access: Access, now: Moment) -> Result<(Self, Opening), OpenError> {
        unimplemented!()
    }

    /// Makes everything durable and notes a clean end.
    ///
    /// # Errors
    /// When the disk refuses; the next open then recovers as after a power cut.
    pub fn close(self, now: Moment) -> Result<(), WriteError> {
        unimplemented!()
    }

    /// The store's name.
    #[must_use]
    pub fn id(&self) -> StoreId {
        unimplemented!()
    }

    /// Registers a source or changes it. Durable on return.
    ///
    /// # Errors
    /// When the epoch goes back, the certificate does not fit, or nothing can be written.
    pub fn put_source(&mut self, source: Source, now: Moment) -> Result<(), SourceError> {
        unimplemented!()
    }

    /// One source.
    #[must_use]
    pub fn source(&self, source: &SourceId) -> Option<&Source> {
        unimplemented!()
    }

    /// All sources, in the order of their registration.
    #[must_use]
    pub fn sources(&self) -> Vec<&Source> {
        unimplemented!()
    }

    /// Notes a pairing in the ledger. Durable on return.
    ///
    /// # Errors
    /// When nothing can be written.
    pub fn note_peer(&mut self, peer: Peer, now: Moment) -> Result<(), WriteError> {
        unimplemented!()
    }

    /// What an unfinished run of a source left here. Call [`Store::sync`] first to hear the best numbers.
    #[must_use]
    pub fn pending(&self, source: &SourceId) -> Option<Pending> {
        unimplemented!()
    }

    /// Opens a session: the key record becomes durable in two segments, an older session of the source ends.
    /// With `resume_of`, records sealed under the pending run's key may be sent again, verbatim.
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
        unimplemented!()
    }

    /// Takes one record. `seq` counts a session's records from 1 without gaps; a resumed session counts anew.
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
        unimplemented!()
    }

    /// Makes everything received durable.
    ///
    /// # Errors
    /// When the disk is full or fails.
    pub fn sync(&mut self, now: Moment) -> Result<(), WriteError> {
        unimplemented!()
    }

    /// The newest record received in a session; 0 for none.
    #[must_use]
    pub fn received_seq(&self, session: SessionId) -> u64 {
        unimplemented!()
    }

    /// Up to here a session's records are on stable storage.
    #[must_use]
    pub fn durable_seq(&self, session: SessionId) -> u64 {
        unimplemented!()
    }

    /// Records of a session that were here before.
    #[must_use]
    pub fn repeats(&self, session: SessionId) -> u64 {
        unimplemented!()
    }

    /// Which records are here and healthy. Answers only from the newest snapshot and the open session.
    ///
    /// # Errors
    /// When the session ended or the disk fails.
    pub fn have(&mut self, session: SessionId, ids: &[Id]) -> Result<Vec<bool>, ReadError> {
        unimplemented!()
    }

    /// Promises a snapshot, or says what is missing. A promise ends the session.
    ///
    /// # Errors
    /// When the snapshot breaks a rule or nothing can be written.
    pub fn commit(&mut self, session: SessionId, record: &[u8], now: Moment) -> Result<Commit, CommitError> {
        unimplemented!()
    }

    /// Ends a session whose link is gone. What it received stays pending.
    pub fn end_session(&mut self, session: SessionId) {
        unimplemented!()
    }

    /// A source's newest snapshot.
    #[must_use]
    pub fn newest(&self, source: &SourceId) -> Option<SnapshotEntry> {
        unimplemented!()
    }

    /// A source's snapshots, oldest first.
    #[must_use]
    pub fn snapshots(&self, source: &SourceId) -> Vec<SnapshotEntry> {
        unimplemented!()
    }

    /// Plans the answer to a FETCH. Records come in the order in which they lie on disk; with `keys`, each key record
    /// comes before the first record under it.
    ///
    /// # Errors
    /// When the source is unknown, or more records are named than one answer may have.
    pub fn plan_fetch(
        &self,
        source: &SourceId,
        scope: Scope,
        ids: &[Id],
        keys: bool,
    ) -> Result<FetchPlan, ReadError> {
        unimplemented!()
    }

    /// Starts a verification of everything.
    #[must_use]
    pub fn verification(&self) -> Verification {
        unimplemented!()
    }

    /// The store at a glance.
    #[must_use]
    pub fn status(&self) -> Status {
        unimplemented!()
    }

    /// The newest durable ledger block and its hash.
    #[must_use]
    pub fn ledger_head(&self) -> (u64, LedgerHash) {
        unimplemented!()
    }

    /// Why nothing can be written, if so.
    #[must_use]
    pub fn read_only(&self) -> Option<&str> {
        unimplemented!()
    }

    /// Bytes charged to a source: its records and 1 KiB for each.
    #[must_use]
    pub fn used_bytes(&self, source: &SourceId) -> u64 {
        unimplemented!()
    }

    /// What happened since the last call.
    pub fn take_events(&mut self) -> Vec<Event> {
        unimplemented!()
    }
}

#[expect(unused_variables, reason = "the first landing fixes the signatures; the bodies follow")]
#[expect(clippy::unimplemented, reason = "the first landing fixes the signatures; the bodies follow")]
impl FetchPlan {
    /// The next record, whole; `None` at the end. A damaged record is an error and the plan goes on behind it.
    pub fn next(&mut self, store: &Store) -> Option<Result<Vec<u8>, ReadError>> {
        unimplemented!()
    }

    /// Records still to come, key records not counted.
    #[must_use]
    pub fn remaining(&self) -> usize {
        unimplemented!()
    }
}

#[expect(unused_variables, reason = "the first landing fixes the signatures; the bodies follow")]
#[expect(clippy::unimplemented, reason = "the first landing fixes the signatures; the bodies follow")]
impl Verification {
    /// Reads about `max_bytes` more. Damage found is set aside at once if the store may write.
    ///
    /// # Errors
    /// When the disk fails in a way that is not damage.
    pub fn step(&mut self, store: &mut Store, max_bytes: u64, now: Moment) -> Result<Step, ReadError> {
        unimplemented!()
    }
}
