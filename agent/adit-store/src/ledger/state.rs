// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What the ledger says so far: sources, snapshots, pending sessions, segments, ranges set aside. Entries change it, and
//! nothing else does; a CHECKPOINT is this, encoded.

use super::entry::{
    AllocEntry, CommitEntry, Entry, GuardEntry, HealEntry, OpenEntry, RewriteEntry, SealEntry, SourceEntry, SweepEntry,
};
use super::state_v1;
use crate::retention::{Guard, PolicyState};
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
    /// The box's default.
    pub(crate) policy: Option<PolicyState>,
    /// What guards say of sources, and of the whole box under `None`.
    pub(crate) guards: BTreeMap<Option<u32>, Guard>,
    /// How far the retention clock is known to be.
    pub(crate) retention_s: u64,
    /// The newest collection.
    pub(crate) swept: Option<SweepEntry>,
    /// When references were read anew last, by the retention clock.
    pub(crate) audited_s: u64,
    /// The newest block that removed a segment.
    pub(crate) removed_block: u64,
}

/// One source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SourceState {
    pub(crate) source: Source,
    pub(crate) pending: Option<PendingState>,
    /// The key id of the newest OPEN.
    pub(crate) last_key: Option<KeyId>,
    /// Oldest first. Released ones are gone from here.
    pub(crate) snapshots: Vec<SnapshotState>,
    /// Snapshots released so far.
    pub(crate) released: u64,
    /// Its own policy, before the box's default.
    pub(crate) policy: Option<PolicyState>,
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
    /// When it expired and when it may be released; an expired one is hidden.
    pub(crate) expired: Option<(u64, u64)>,
    /// It stays at least so long; 0 for no protection.
    pub(crate) protected_until_s: u64,
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
    /// It takes copies for a REWRITE that has not come yet: worth nothing until then.
    pub(crate) copy: bool,
    /// The block of the REWRITE that named it; 0 for none.
    pub(crate) rewrite_block: u64,
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Quarantine {
    pub(crate) segment: u32,
    pub(crate) from: u64,
    pub(crate) to: u64,
    pub(crate) promised: bool,
    pub(crate) block: u64,
}

impl State {
    /// What a CHECKPOINT of some version holds.
    pub(crate) fn read(version: u8, bytes: &[u8]) -> Option<Self> {
        match version {
            1 => state_v1::read(bytes),
            _ => postcard::from_bytes(bytes).ok(),
        }
    }

    /// Takes one entry of a block.
    pub(crate) fn apply(&mut self, block: u64, hash: LedgerHash, entry: &Entry) {
        self.clean = None;
        match entry {
            Entry::Genesis(_) | Entry::Checkpoint(_) => {}
            Entry::Peer(peer) => {
                self.peers.retain(|known| known.key != peer.key);
                self.peers.push(peer.clone());
            }
            Entry::Source(entry) => self.apply_source(entry),
            Entry::Policy(entry) => match entry.source {
                None => self.policy = Some(entry.policy),
                Some(source) => self.each_source(source, |source| source.policy = Some(entry.policy)),
            },
            Entry::Open(entry) => self.apply_open(entry),
            Entry::Abandon(entry) => self.each_source(entry.source, |source| {
                source.pending.take_if(|pending| pending.key_id == entry.key_id);
            }),
            Entry::Alloc(entry) => self.add_segment(block, entry, false),
            Entry::Copy(entry) => self.add_segment(block, entry, true),
            Entry::Seal(entry) => self.apply_seal(entry),
            Entry::Commit(entry) => self.apply_commit(block, hash, entry),
            Entry::Expire(entry) => self.each_snapshot(entry.source, &entry.seqs, |snapshot| {
                snapshot.expired = Some((entry.expired_s, entry.release_s));
            }),
            Entry::Undo(entry) => self.each_snapshot(entry.source, &entry.seqs, |snapshot| {
                snapshot.expired = None;
                snapshot.protected_until_s = entry.until_s;
            }),
            Entry::Protect(entry) => self.each_snapshot(entry.source, &entry.seqs, |snapshot| {
                snapshot.protected_until_s = entry.until_s;
            }),
            Entry::Release(entry) => self.each_source(entry.source, |source| {
                let before = source.snapshots.len();
                source.snapshots.retain(|snapshot| !entry.seqs.contains(&snapshot.seq));
                source.released += (before - source.snapshots.len()) as u64;
            }),
            Entry::Drop(entry) => self.remove_segment(block, entry.segment),
            Entry::Rewrite(entry) => self.apply_rewrite(block, entry),
            Entry::Quarantine(entry) => self.quarantine.push(Quarantine {
                segment: entry.segment,
                from: entry.from,
                to: entry.to,
                promised: entry.promised,
                block,
            }),
            Entry::Heal(entry) => self.apply_heal(entry),
            Entry::Guard(entry) => self.apply_guard(entry),
            Entry::Clock(entry) => self.retention_s = self.retention_s.max(entry.retention_s),
            Entry::Clean(entry) => self.clean = Some(entry.ends.clone()),
            Entry::Progress(entry) => {
                for (source, key_id, seq) in &entry.sessions {
                    self.note_progress(*source, *key_id, *seq);
                }
            }
            Entry::Sweep(entry) => {
                self.audited_s = if entry.audited { entry.at_s } else { self.audited_s };
                self.swept = Some(entry.clone());
            }
        }
    }

    fn apply_source(&mut self, entry: &SourceEntry) {
        match self.source_mut(entry.number) {
            Some(known) => known.source = entry.source.clone(),
            None => self.sources.push(SourceState {
                source: entry.source.clone(),
                pending: None,
                last_key: None,
                snapshots: Vec::new(),
                released: 0,
                policy: None,
            }),
        }
    }

    fn add_segment(&mut self, block: u64, entry: &AllocEntry, copy: bool) {
        let state = SegmentState {
            class: entry.class,
            created_s: entry.created_s,
            alloc_block: block,
            promised_end: 0,
            sealed: None,
            copy,
            rewrite_block: 0,
        };
        self.segments.insert(entry.segment, state);
        self.next_segment = self.next_segment.max(entry.segment.saturating_add(1));
    }

    fn apply_seal(&mut self, entry: &SealEntry) {
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

    fn apply_guard(&mut self, entry: &GuardEntry) {
        match entry.guard {
            Some(guard) => {
                self.guards.insert(entry.source, guard);
            }
            None => {
                self.guards.remove(&entry.source);
            }
        }
    }

    fn each_source(&mut self, number: u32, change: impl FnOnce(&mut SourceState)) {
        if let Some(source) = self.source_mut(number) {
            change(source);
        }
    }

    fn each_snapshot(&mut self, source: u32, seqs: &[u64], change: impl Fn(&mut SnapshotState)) {
        let snapshots = self.source_mut(source).map(|source| &mut source.snapshots);
        snapshots.into_iter().flatten().filter(|snapshot| seqs.contains(&snapshot.seq)).for_each(change);
    }

    fn remove_segment(&mut self, block: u64, segment: u32) {
        self.removed_block = block;
        self.segments.remove(&segment);
        self.quarantine.retain(|range| range.segment != segment);
    }

    fn apply_rewrite(&mut self, block: u64, entry: &RewriteEntry) {
        entry.from.iter().for_each(|segment| self.remove_segment(block, *segment));
        for segment in &entry.to {
            if let Some(segment) = self.segments.get_mut(segment) {
                segment.copy = false;
                segment.rewrite_block = block;
                // All of it was promised where it came from.
                segment.promised_end = segment.sealed.as_ref().map_or(0, |sealed| sealed.length);
            }
        }
    }

    /// What was healed of a range leaves it; the rest stays set aside.
    fn apply_heal(&mut self, entry: &HealEntry) {
        let ranges = std::mem::take(&mut self.quarantine);
        for range in ranges {
            if range.segment != entry.segment || range.to <= entry.from || entry.to <= range.from {
                self.quarantine.push(range);
                continue;
            }
            for (from, to) in [(range.from, entry.from), (entry.to, range.to)] {
                if from < to {
                    self.quarantine.push(Quarantine { from, to, ..range });
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
            expired: None,
            protected_until_s: 0,
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

#[cfg(test)]
mod tests {
    use super::{Quarantine, State};
    use crate::ledger::entry::{Entry, HealEntry, HealedBy};
    use adit_wire::ids::LedgerHash;

    fn ranges_after_healing(from: u64, to: u64) -> Vec<(u64, u64)> {
        let range = Quarantine { segment: 1, from: 100, to: 200, promised: true, block: 1 };
        let mut state = State { quarantine: vec![range, Quarantine { segment: 2, ..range }], ..State::default() };
        let heal = HealEntry { segment: 1, from, to, id: None, by: HealedBy::Parity };
        state.apply(2, LedgerHash::ZERO, &Entry::Heal(heal));
        assert!(state.quarantine.iter().any(|range| range.segment == 2), "another segment's range stays");
        state.quarantine.iter().filter(|range| range.segment == 1).map(|range| (range.from, range.to)).collect()
    }

    #[test]
    fn healing_narrows_a_range() {
        assert_eq!(ranges_after_healing(100, 200), []);
        assert_eq!(ranges_after_healing(0, 300), []);
        assert_eq!(ranges_after_healing(100, 150), [(150, 200)]);
        assert_eq!(ranges_after_healing(150, 250), [(100, 150)]);
        assert_eq!(ranges_after_healing(120, 130), [(100, 120), (130, 200)]);
        assert_eq!(ranges_after_healing(0, 100), [(100, 200)]);
        assert_eq!(ranges_after_healing(200, 300), [(100, 200)]);
    }
}
