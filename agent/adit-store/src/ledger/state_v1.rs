// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The state as CHECKPOINTs of version 1 hold it: before retention. Read, never written.

use super::state::{PendingState, Quarantine, SealedState, SegmentState, SnapshotState, SourceState, State};
use crate::segment::Class;
use crate::types::{Peer, Source};
use adit_wire::ids::{Id, KeyId, LedgerHash};
use serde::Deserialize;
use std::collections::BTreeMap;

#[derive(Deserialize)]
struct StateV1 {
    sources: Vec<SourceV1>,
    peers: Vec<Peer>,
    segments: BTreeMap<u32, SegmentV1>,
    next_segment: u32,
    quarantine: Vec<Quarantine>,
    clean: Option<Vec<(u32, u64)>>,
}

#[derive(Deserialize)]
struct SourceV1 {
    source: Source,
    pending: Option<PendingState>,
    last_key: Option<KeyId>,
    snapshots: Vec<SnapshotV1>,
}

#[derive(Deserialize)]
struct SnapshotV1 {
    seq: u64,
    head: Id,
    root: Id,
    received_s: u64,
    records: u64,
    bytes: u64,
    block: u64,
    hash: LedgerHash,
}

#[derive(Deserialize)]
struct SegmentV1 {
    class: Class,
    created_s: u64,
    alloc_block: u64,
    promised_end: u64,
    sealed: Option<SealedState>,
}

impl From<SourceV1> for SourceState {
    fn from(old: SourceV1) -> Self {
        let snapshots = old.snapshots.into_iter().map(|old| SnapshotState {
            seq: old.seq,
            head: old.head,
            root: old.root,
            received_s: old.received_s,
            records: old.records,
            bytes: old.bytes,
            block: old.block,
            hash: old.hash,
            expired: None,
            protected_until_s: 0,
        });
        let snapshots = snapshots.collect();
        let SourceV1 { source, pending, last_key, .. } = old;
        Self { source, pending, last_key, snapshots, released: 0, policy: None }
    }
}

impl From<SegmentV1> for SegmentState {
    fn from(old: SegmentV1) -> Self {
        let SegmentV1 { class, created_s, alloc_block, promised_end, sealed } = old;
        Self { class, created_s, alloc_block, promised_end, sealed, copy: false, rewrite_block: 0 }
    }
}

/// The state in a CHECKPOINT of version 1.
pub(super) fn read(bytes: &[u8]) -> Option<State> {
    let StateV1 { sources, peers, segments, next_segment, quarantine, clean } = postcard::from_bytes(bytes).ok()?;
    Some(State {
        sources: sources.into_iter().map(SourceState::from).collect(),
        peers,
        segments: segments.into_iter().map(|(number, old)| (number, SegmentState::from(old))).collect(),
        next_segment,
        quarantine,
        clean,
        ..State::default()
    })
}

#[cfg(test)]
mod tests {
    use super::super::state::State;

    /// A source with one snapshot and an unfinished session, a sealed segment, a range set aside, as the first version
    /// wrote them.
    const V1: &str = "0101010101010101010101010101010101047765623102020202020202020202020202020202020202020202020202020202\
        0202020203030303030303030303030303030303030303030303030303030303030303030104010105050505050505050505\
        0505050505050105050505050505050505050505050505000701050505050505050505050505050505050101070707070707\
        0707070707070707070707070707070707070707070707070707080808080808080808080808080808080808080808080808\
        080808080808080806090a040909090909090909090909090909090909090909090909090909090909090909000100000502\
        400180010606060606060606060606060606060606060606060606060606060606060606010102010100408001010600";

    #[test]
    fn version_1_is_read() {
        let hex = V1.as_bytes().as_chunks::<2>().0.iter();
        let bytes: Vec<u8> =
            hex.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).expect("ASCII"), 16).expect("hex")).collect();
        let state = State::read(1, &bytes).expect("a state of version 1");
        let source = &state.sources[0];
        assert_eq!((source.source.name.as_str(), source.snapshots.len()), ("web1", 1));
        assert_eq!((source.snapshots[0].received_s, source.snapshots[0].expired), (6, None));
        assert_eq!(source.pending.as_ref().map(|pending| pending.opened_s), Some(7));
        let sealed = state.segments[&0].sealed.as_ref().map(|sealed| sealed.length);
        assert_eq!((sealed, state.segments[&0].copy, state.next_segment), (Some(128), false, 1));
        assert_eq!(state.quarantine.len(), 1);
        let again = postcard::to_stdvec(&state).expect("it encodes");
        assert_eq!(State::read(2, &again), Some(state));
        assert_eq!(State::read(1, &bytes[..bytes.len() - 1]), None);
    }
}
