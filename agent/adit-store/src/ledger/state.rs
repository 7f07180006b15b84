// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What the ledger says so far: sources, snapshots, pending sessions, segments, ranges set aside. Entries change it, and
//! nothing else does; a CHECKPOINT is this, encoded.

use super::entry::{CommitEntry, Entry, OpenEntry};
use crate::segment::Class;
use crate::types::{Peer, Source};
use adit_wire::ids::{Id, KeyId, LedgerHash, SourceId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Keys whose records a resumed run may still send.
const LINEAGE_MAX: usize = 64;

/// The ledger's sum.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct State {
    /// By their number on this box.
    pub(crate) sources: Vec<SourceState>,
    /// The newest note of every key.
    pub(crate) peers: Vec<Peer>,
    pub(crate) segments: BTreeMap<u32, SegmentState>,
    pub(crate) next_segment: u32,
    pub(crate) quarantine: Vec<Quarantine>,
    /// Set only while CLEAN is the newest entry.
    pub(crate) clean: Option<Vec<(u32, u64)>>,
}

/// One source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SourceState {
    pub(crate) source: Source,
    pub(crate) pending: Option<PendingState>,
    /// The key id of the newest OPEN.
    pub(crate) last_key: Option<KeyId>,
    /// Oldest first.
    pub(crate) snapshots: Vec<SnapshotState>,
}

/// A session without a commit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PendingState {
    pub(crate) key_id: KeyId,
    /// Its own key id, then those it adopted, newest first.
    pub(crate) lineage: Vec<KeyId>,
    /// Every record up to this one is durable. Never goes down within a lineage.
    pub(crate) durable_seq: u64,
    pub(crate) opened_s: u64,
}

/// One committed snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SnapshotState {
    pub(crate) seq: u64,
    pub(crate) head: Id,
    pub(crate) root: Id,
    pub(crate) received_s: u64,
    pub(crate) records: u64,
    pub(crate) bytes: u64,
    /// The ledger block of its COMMIT.
    pub(crate) block: u64,
    pub(crate) hash: LedgerHash,
}

/// One segment file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SegmentState {
    pub(crate) class: Class,
    pub(crate) created_s: u64,
    pub(crate) alloc_block: u64,
    /// Promises rest on everything before this offset. 0 for none.
    pub(crate) promised_end: u64,
    pub(crate) sealed: Option<SealedState>,
}

/// A sealed segment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SealedState {
    pub(crate) length: u64,
    pub(crate) footer_hash: [u8; 32],
    pub(crate) records: u32,
    pub(crate) first_arrival: u64,
    pub(crate) last_arrival: u64,
}

/// A range set aside, and the block that says so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Quarantine {
    pub(crate) segment: u32,
    pub(crate) from: u64,
    pub(crate) to: u64,
    pub(crate) promised: bool,
    pub(crate) block: u64,
}

impl State {
    /// Takes one entry of a block.
    pub(crate) fn apply(&mut self, block: u64, hash: LedgerHash, entry: &Entry) {
        self.clean = None;
        match entry {
            Entry::Genesis(_) | Entry::Checkpoint(_) => {}
            Entry::Peer(peer) => {
                self.peers.retain(|known| known.key != peer.key);
                self.peers.push(peer.clone());
            }
            Entry::Source(entry) => match self.source_mut(entry.number) {
                Some(known) => known.source = entry.source.clone(),
                None => self.sources.push(SourceState {
                    source: entry.source.clone(),
                    pending: None,
                    last_key: None,
                    snapshots: Vec::new(),
                }),
            },
            Entry::Open(entry) => self.apply_open(entry),
            Entry::Alloc(entry) => {
                let state = SegmentState {
                    class: entry.class,
                    created_s: entry.created_s,
                    alloc_block: block,
                    promised_end: 0,
                    sealed: None,
                };
                self.segments.insert(entry.segment, state);
                self.next_segment = self.next_segment.max(entry.segment.saturating_add(1));
            }
            Entry::Seal(entry) => {
                if let Some(segment) = self.segments.get_mut(&entry.segment) {
                    segment.sealed = Some(SealedState {
                        length: entry.length,
                        footer_hash: entry.footer_hash,
                        records: entry.records,
                        first_arrival: entry.first_arrival,
                        last_arrival: entry.last_arrival,
                    });
                }
            }
            Entry::Commit(entry) => self.apply_commit(block, hash, entry),
            Entry::Drop(entry) => {
                self.segments.remove(&entry.segment);
                self.quarantine.retain(|range| range.segment != entry.segment);
            }
            Entry::Quarantine(entry) => self.quarantine.push(Quarantine {
                segment: entry.segment,
                from: entry.from,
                to: entry.to,
                promised: entry.promised,
                block,
            }),
            Entry::Clean(entry) => self.clean = Some(entry.ends.clone()),
            Entry::Progress(entry) => {
                for (source, key_id, seq) in &entry.sessions {
                    self.note_progress(*source, *key_id, *seq);
                }
            }
        }
    }

    fn apply_open(&mut self, entry: &OpenEntry) {
        let Some(source) = self.source_mut(entry.source) else { return };
        let mut lineage = vec![entry.key_id];
        if let (Some(of), Some(pending)) = (entry.resume_of, &source.pending)
            && pending.key_id == of
        {
            lineage.extend(pending.lineage.iter().take(LINEAGE_MAX - 1));
        }
        source.last_key = Some(entry.key_id);
        source.pending =
            Some(PendingState { key_id: entry.key_id, lineage, durable_seq: entry.base_seq, opened_s: entry.opened_s });
    }

    fn apply_commit(&mut self, block: u64, hash: LedgerHash, entry: &CommitEntry) {
        for (segment, end) in [entry.data, entry.meta].into_iter().flatten() {
            if let Some(state) = self.segments.get_mut(&segment) {
                state.promised_end = state.promised_end.max(end);
            }
        }
        let Some(source) = self.source_mut(entry.source) else { return };
        source.pending = None;
        source.snapshots.push(SnapshotState {
            seq: entry.seq,
            head: entry.snapshot,
            root: entry.root,
            received_s: entry.received_s,
            records: entry.records,
            bytes: entry.bytes,
            block,
            hash,
        });
    }

    /// A mark or PROGRESS: a session's durable number rises.
    pub(crate) fn note_progress(&mut self, source: u32, key_id: KeyId, seq: u64) {
        if let Some(pending) = self.source_mut(source).and_then(|source| source.pending.as_mut())
            && pending.key_id == key_id
        {
            pending.durable_seq = pending.durable_seq.max(seq);
        }
    }

    pub(crate) fn source(&self, number: u32) -> Option<&SourceState> {
        self.sources.get(crate::bytes::memory(number.into()))
    }

    pub(crate) fn source_mut(&mut self, number: u32) -> Option<&mut SourceState> {
        self.sources.get_mut(crate::bytes::memory(number.into()))
    }

    /// A source's number here.
    pub(crate) fn number_of(&self, id: &SourceId) -> Option<u32> {
        let place = self.sources.iter().position(|state| state.source.id == *id)?;
        u32::try_from(place).ok()
    }

    /// Whether bytes of a segment are set aside.
    pub(crate) fn is_quarantined(&self, segment: u32, offset: u64) -> bool {
        self.quarantine.iter().any(|range| range.segment == segment && (range.from..range.to).contains(&offset))
    }
}
