// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Ledger entries: their numbers, their bodies. Numbers are never used for anything else; a body only grows with a new
//! version byte.

use crate::bytes::Fields;
use crate::retention::{Guard, PolicyState};
use crate::segment::{Class, MarkEntry};
use crate::types::{Peer, Source};
use adit_wire::ids::{Id, KeyId, StoreId};
use serde::{Deserialize, Serialize};

/// A program that does not know the kind must not go on.
const MUST_UNDERSTAND: u8 = 1;
const VERSION: u8 = 1;
/// CHECKPOINT alone has grown: version 2 holds what retention knows. Version 1 is still read.
pub(crate) const CHECKPOINT_VERSION: u8 = 2;
const ENTRY_HEAD_BYTES: usize = 8;

/// One fact in the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    Genesis(Genesis),
    Checkpoint(CheckpointPart),
    Peer(Peer),
    Source(SourceEntry),
    Policy(PolicyEntry),
    Open(OpenEntry),
    Abandon(AbandonEntry),
    Alloc(AllocEntry),
    Seal(SealEntry),
    Commit(CommitEntry),
    Expire(ExpireEntry),
    Undo(ProtectEntry),
    Release(ReleaseEntry),
    Protect(ProtectEntry),
    Drop(DropEntry),
    Rewrite(RewriteEntry),
    Quarantine(QuarantineEntry),
    Heal(HealEntry),
    Guard(GuardEntry),
    Clock(ClockEntry),
    Clean(CleanEntry),
    Progress(ProgressEntry),
    Copy(AllocEntry),
    Sweep(SweepEntry),
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
    /// The version of the state in it: the entry's version byte.
    #[serde(skip)]
    pub(crate) version: u8,
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

/// What a source's snapshots are kept by, or those of all sources that have no policy of their own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PolicyEntry {
    /// `None` for the box's default.
    pub(crate) source: Option<u32>,
    pub(crate) policy: PolicyState,
}

/// An unfinished session was given up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AbandonEntry {
    pub(crate) source: u32,
    pub(crate) key_id: KeyId,
}

/// Snapshots that nothing keeps any more: hidden now, released later unless an UNDO comes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ExpireEntry {
    pub(crate) source: u32,
    pub(crate) seqs: Vec<u64>,
    /// By the retention clock, as all times of retention.
    pub(crate) expired_s: u64,
    /// Not before this may they be released.
    pub(crate) release_s: u64,
}

/// Snapshots stay at least so long, whatever the policy says. As UNDO it also brings expired ones back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ProtectEntry {
    pub(crate) source: u32,
    pub(crate) seqs: Vec<u64>,
    /// The greatest number is for ever.
    pub(crate) until_s: u64,
}

/// Expired snapshots whose time to undo is over: what only they need may be collected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ReleaseEntry {
    pub(crate) source: u32,
    pub(crate) seqs: Vec<u64>,
}

/// The records of some segments that are still needed lie in others now. The SEALs of these stand before it in the block.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RewriteEntry {
    pub(crate) from: Vec<u32>,
    pub(crate) to: Vec<u32>,
    /// Records copied.
    pub(crate) records: u64,
}

/// Bytes that were set aside are right again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HealEntry {
    pub(crate) segment: u32,
    pub(crate) from: u64,
    pub(crate) to: u64,
    /// The record, where one record was healed.
    pub(crate) id: Option<Id>,
    pub(crate) by: HealedBy,
}

/// Where the right bytes came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum HealedBy {
    Parity,
    Replica,
    Source,
    Rewrite,
}

/// A guard holds expiry, speaks up, or was answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct GuardEntry {
    /// `None` for the whole box.
    pub(crate) source: Option<u32>,
    /// `None` when the reason is gone.
    pub(crate) guard: Option<Guard>,
}

/// How far the retention clock is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ClockEntry {
    pub(crate) retention_s: u64,
}

/// A collection found out what nobody needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SweepEntry {
    pub(crate) at_s: u64,
    pub(crate) records: u64,
    pub(crate) bytes: u64,
    /// Whether the references were read anew from the nodes first.
    pub(crate) audited: bool,
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

// Reserved: 20 GAP, 22 LEASE.
kinds! {
    Genesis = 1,
    Checkpoint = 2,
    Peer = 3,
    Source = 4,
    Policy = 5,
    Open = 6,
    Abandon = 7,
    Alloc = 8,
    Seal = 9,
    Commit = 10,
    Expire = 11,
    Undo = 12,
    Release = 13,
    Protect = 14,
    Drop = 15,
    Rewrite = 16,
    Quarantine = 17,
    Heal = 18,
    Guard = 19,
    Clock = 21,
    Clean = 23,
    Progress = 24,
    Copy = 25,
    Sweep = 26,
}

impl Entry {
    /// The newest version of a kind's body.
    const fn version(kind: u16) -> u8 {
        if kind == 2 { CHECKPOINT_VERSION } else { VERSION }
    }

    /// kind u16, flags u8, version u8, length u32, body.
    pub(crate) fn write(&self, to: &mut Vec<u8>) {
        let body = self.body();
        to.extend_from_slice(&self.kind().to_le_bytes());
        to.extend_from_slice(&[MUST_UNDERSTAND, Self::version(self.kind())]);
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
            let known = (VERSION..=Self::version(kind)).contains(&version);
            match Self::decode(kind, body) {
                Some(Ok(Self::Checkpoint(part))) if known => {
                    entries.push(Self::Checkpoint(CheckpointPart { version, ..part }));
                }
                Some(Ok(entry)) if known => entries.push(entry),
                Some(Err(_)) if known => return Err(EntryError::Damaged),
                Some(_) | None if flags & MUST_UNDERSTAND != 0 => return Err(EntryError::Newer(kind)),
                Some(_) | None => {}
            }
        }
        Ok(entries)
    }
}

#[cfg(test)]
mod tests {
    use super::{
        AbandonEntry, AllocEntry, CheckpointPart, CleanEntry, ClockEntry, CommitEntry, DropEntry, Entry, EntryError,
        ExpireEntry, GuardEntry, HealEntry, HealedBy, PolicyEntry, ProgressEntry, ProtectEntry, ReleaseEntry,
        RewriteEntry, SealEntry, SweepEntry,
    };
    use crate::retention::{Guard, GuardKind, GuardStep, PendingPolicy, Policy, PolicyState};
    use crate::segment::Class;
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
    fn golden_bytes_of_retention() {
        let policy = Policy {
            keep_all_d: 1,
            hourly_d: 2,
            daily_d: 3,
            weekly_d: 4,
            monthly_d: 5,
            yearly_d: 6,
            minimum: 7,
            zone_min: -60,
        };
        let pending = Some(PendingPolicy { policy, from_s: 300 });
        let entry = PolicyEntry { source: Some(1), policy: PolicyState { policy, pending } };
        check(
            Entry::Policy(entry),
            "0500010115000000010101020304050607770101020304050607 77ac02".replace(' ', "").as_str(),
        );
        let abandon = AbandonEntry { source: 1, key_id: KeyId([7; 16]) };
        check(Entry::Abandon(abandon), &format!("070001011100000001{}", "07".repeat(16)));
        let expire = ExpireEntry { source: 1, seqs: vec![2, 3], expired_s: 4, release_s: 5 };
        check(Entry::Expire(expire), "0b00010106000000010202030405");
        let protect = ProtectEntry { source: 1, seqs: vec![2], until_s: 3 };
        check(Entry::Undo(protect.clone()), "0c0001010400000001010203");
        check(Entry::Protect(protect), "0e0001010400000001010203");
        check(Entry::Release(ReleaseEntry { source: 1, seqs: vec![2] }), "0d00010103000000010102");
        check(Entry::Rewrite(RewriteEntry { from: vec![1], to: vec![2], records: 3 }), "10000101050000000101010203");
        let heal = HealEntry { segment: 1, from: 2, to: 3, id: Some(Id([4; 32])), by: HealedBy::Rewrite };
        check(Entry::Heal(heal), &format!("120001012500000001020301{}03", "04".repeat(32)));
        let guard = Guard { kind: GuardKind::Shrunk, step: GuardStep::Alarm, at_s: 1, going: 2, of: 3 };
        check(Entry::Guard(GuardEntry { source: Some(4), guard: Some(guard) }), "13000101080000000104010301010203");
        check(Entry::Clock(ClockEntry { retention_s: 5 }), "150001010100000005");
        let copy = AllocEntry { segment: 1, class: Class::Meta, created_s: 2 };
        check(Entry::Copy(copy), "1900010103000000010102");
        check(Entry::Sweep(SweepEntry { at_s: 1, records: 2, bytes: 3, audited: true }), "1a0001010400000001020301");
    }

    #[test]
    fn a_checkpoint_names_its_version() {
        let part = CheckpointPart { index: 0, count: 1, bytes: vec![9], version: 2 };
        check(Entry::Checkpoint(part.clone()), "020001020400000000010109");
        let old = [2, 0, 1, 1, 4, 0, 0, 0, 0, 1, 1, 9];
        assert_eq!(Entry::read_all(&old, 1), Ok(vec![Entry::Checkpoint(CheckpointPart { version: 1, ..part })]));
        let newer = [2, 0, 1, 3, 4, 0, 0, 0, 0, 1, 1, 9];
        assert_eq!(Entry::read_all(&newer, 1), Err(EntryError::Newer(2)));
    }

    #[test]
    fn unknown_kinds() {
        assert_eq!(Entry::read_all(&[0, 2, 1, 1, 0, 0, 0, 0], 1), Err(EntryError::Newer(512)));
        assert_eq!(Entry::read_all(&[0, 2, 0, 1, 0, 0, 0, 0], 1), Ok(vec![]));
    }
}
