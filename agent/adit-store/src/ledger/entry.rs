// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Ledger entries: their numbers, their bodies. Numbers are never used for anything else; a body only grows with a new
//! version byte.

use crate::bytes::Fields;
use crate::segment::{Class, MarkEntry};
use crate::types::{Peer, Source};
use adit_wire::ids::{Id, KeyId, StoreId};
use serde::{Deserialize, Serialize};

/// A program that does not know the kind must not go on.
const MUST_UNDERSTAND: u8 = 1;
const VERSION: u8 = 1;
const ENTRY_HEAD_BYTES: usize = 8;

/// One fact in the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    Genesis(Genesis),
    Checkpoint(CheckpointPart),
    Peer(Peer),
    Source(SourceEntry),
    Open(OpenEntry),
    Alloc(AllocEntry),
    Seal(SealEntry),
    Commit(CommitEntry),
    Drop(DropEntry),
    Quarantine(QuarantineEntry),
    Clean(CleanEntry),
    Progress(ProgressEntry),
}

/// The first entry of a store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Genesis {
    pub(crate) store: StoreId,
    pub(crate) created_s: u64,
}

/// Part `index` of `count` of the state at the start of a ledger file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CheckpointPart {
    pub(crate) index: u32,
    pub(crate) count: u32,
    pub(crate) bytes: Vec<u8>,
}

/// A source was registered or changed. `number` is its number on this box.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SourceEntry {
    pub(crate) number: u32,
    pub(crate) source: Source,
}

/// A session was opened. Both copies of its key record are durable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct OpenEntry {
    pub(crate) source: u32,
    pub(crate) key_id: KeyId,
    pub(crate) key_record: Id,
    pub(crate) resume_of: Option<KeyId>,
    /// Every record up to this one is durable already, from the resumed run.
    pub(crate) base_seq: u64,
    pub(crate) opened_s: u64,
}

/// A segment number was taken. Durable before the file exists; a number is never taken twice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AllocEntry {
    pub(crate) segment: u32,
    pub(crate) class: Class,
    pub(crate) created_s: u64,
}

/// A segment is complete: its footer is durable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SealEntry {
    pub(crate) segment: u32,
    pub(crate) length: u64,
    pub(crate) footer_hash: [u8; 32],
    pub(crate) records: u32,
    pub(crate) first_arrival: u64,
    pub(crate) last_arrival: u64,
}

/// The promise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CommitEntry {
    pub(crate) snapshot: Id,
    pub(crate) source: u32,
    pub(crate) seq: u64,
    pub(crate) root: Id,
    pub(crate) session: KeyId,
    /// Retention class asked for; 0 is the box's own policy.
    pub(crate) class: u8,
    pub(crate) received_s: u64,
    /// Clock quality; 0 is unknown.
    pub(crate) clock: u8,
    /// On a replica: where and when it was committed first.
    pub(crate) origin: Option<Origin>,
    /// Open data segment and the end of what this promise rests on.
    pub(crate) data: Option<(u32, u64)>,
    /// The same of the open meta segment.
    pub(crate) meta: Option<(u32, u64)>,
    pub(crate) records: u64,
    pub(crate) bytes: u64,
}

/// Where a replicated snapshot was committed first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Origin {
    pub(crate) store: StoreId,
    pub(crate) received_s: u64,
}

/// A segment without a live record is about to be removed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DropEntry {
    pub(crate) segment: u32,
}

/// Bytes that do not verify.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct QuarantineEntry {
    pub(crate) segment: u32,
    pub(crate) from: u64,
    pub(crate) to: u64,
    /// Whether a promise rested on them. False for what a power cut tore.
    pub(crate) promised: bool,
}

/// A proper end: open segments and where they end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CleanEntry {
    pub(crate) ends: Vec<(u32, u64)>,
}

/// How far unfinished sessions are. Written with every SEAL, because marks in sealed segments are not read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ProgressEntry {
    pub(crate) sessions: Vec<(u32, KeyId, u64)>,
}

impl ProgressEntry {
    pub(crate) fn new(marks: &[MarkEntry]) -> Self {
        Self { sessions: marks.iter().map(|mark| (mark.source, mark.key_id, mark.seq)).collect() }
    }
}

/// Why an entry can't be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EntryError {
    /// The bytes are torn.
    Damaged,
    /// A later program wrote a kind that must be understood.
    Newer(u16),
}

macro_rules! kinds {
    ($($name:ident = $number:literal),* $(,)?) => {
        impl Entry {
            const fn kind(&self) -> u16 {
                match self { $(Self::$name(_) => $number,)* }
            }

            fn body(&self) -> Vec<u8> {
                let body = match self { $(Self::$name(entry) => postcard::to_stdvec(entry),)* };
                body.expect("an entry encodes into memory")
            }

            fn decode(kind: u16, body: &[u8]) -> Option<Result<Self, postcard::Error>> {
                match kind {
                    $($number => Some(postcard::from_bytes(body).map(Self::$name)),)*
                    _ => None,
                }
            }
        }
    };
}

// Reserved: 5 POLICY, 7 ABANDON, 11 EXPIRE, 12 UNDO, 13 RELEASE, 14 PROTECT, 16 REWRITE, 18 HEAL, 19 GUARD, 20 GAP,
// 21 CLOCK, 22 LEASE.
kinds! {
    Genesis = 1,
    Checkpoint = 2,
    Peer = 3,
    Source = 4,
    Open = 6,
    Alloc = 8,
    Seal = 9,
    Commit = 10,
    Drop = 15,
    Quarantine = 17,
    Clean = 23,
    Progress = 24,
}

impl Entry {
    /// kind u16, flags u8, version u8, length u32, body.
    pub(crate) fn write(&self, to: &mut Vec<u8>) {
        let body = self.body();
        to.extend_from_slice(&self.kind().to_le_bytes());
        to.extend_from_slice(&[MUST_UNDERSTAND, VERSION]);
        to.extend_from_slice(&crate::bytes::narrow(body.len()).to_le_bytes());
        to.extend_from_slice(&body);
    }

    /// Reads `count` entries. What a later program added and this one may skip is left out.
    pub(crate) fn read_all(bytes: &[u8], count: u32) -> Result<Vec<Self>, EntryError> {
        let mut fields = Fields::new(bytes);
        let mut entries = Vec::new();
        for _ in 0..count {
            let head = fields.bytes(ENTRY_HEAD_BYTES).ok_or(EntryError::Damaged)?;
            let mut head = Fields::new(head);
            let kind = head.u16().ok_or(EntryError::Damaged)?;
            let flags = head.u8().ok_or(EntryError::Damaged)?;
            let version = head.u8().ok_or(EntryError::Damaged)?;
            let length = head.u32().ok_or(EntryError::Damaged)?;
            let body = fields.bytes(crate::bytes::memory(length.into())).ok_or(EntryError::Damaged)?;
            match Self::decode(kind, body) {
                Some(Ok(entry)) if version == VERSION => entries.push(entry),
                Some(Err(_)) if version == VERSION => return Err(EntryError::Damaged),
                Some(_) | None if flags & MUST_UNDERSTAND != 0 => return Err(EntryError::Newer(kind)),
                Some(_) | None => {}
            }
        }
        Ok(entries)
    }
}

#[cfg(test)]
mod tests {
    use super::{CleanEntry, CommitEntry, DropEntry, Entry, EntryError, ProgressEntry, SealEntry};
    use adit_wire::ids::{Id, KeyId};

    fn check(entry: Entry, hex: &str) {
        let mut bytes = Vec::new();
        entry.write(&mut bytes);
        let got: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(got, hex);
        assert_eq!(Entry::read_all(&bytes, 1), Ok(vec![entry]));
        for end in 0..bytes.len() {
            assert_eq!(Entry::read_all(&bytes[..end], 1), Err(EntryError::Damaged), "cut at {end}");
        }
    }

    #[test]
    fn golden_bytes() {
        check(Entry::Drop(DropEntry { segment: 300 }), "0f00010102000000ac02");
        check(
            Entry::Clean(CleanEntry { ends: vec![(1, 4096)] }),
            "1700010104000000010180 20".replace(' ', "").as_str(),
        );
        let progress = ProgressEntry { sessions: vec![(2, KeyId([7; 16]), 5)] };
        check(Entry::Progress(progress), &format!("1800010113000000{}{}{}", "0102", "07".repeat(16), "05"));
        let seal =
            SealEntry { segment: 1, length: 128, footer_hash: [3; 32], records: 4, first_arrival: 5, last_arrival: 6 };
        check(Entry::Seal(seal), &format!("0900010126000000018001{}040506", "03".repeat(32)));
        let commit = CommitEntry {
            snapshot: Id([1; 32]),
            source: 2,
            seq: 3,
            root: Id([4; 32]),
            session: KeyId([5; 16]),
            class: 0,
            received_s: 6,
            clock: 0,
            origin: None,
            data: Some((7, 8)),
            meta: None,
            records: 9,
            bytes: 10,
        };
        let body = format!("{}0203{}{}0006000001070800090a", "01".repeat(32), "04".repeat(32), "05".repeat(16));
        check(Entry::Commit(commit), &format!("0a0001015c000000{body}"));
    }

    #[test]
    fn unknown_kinds() {
        assert_eq!(Entry::read_all(&[0, 2, 1, 1, 0, 0, 0, 0], 1), Err(EntryError::Newer(512)));
        assert_eq!(Entry::read_all(&[0, 2, 0, 1, 0, 0, 0, 0], 1), Ok(vec![]));
    }
}
