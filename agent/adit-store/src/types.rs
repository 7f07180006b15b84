// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What callers hand to the store and get back. Nothing here touches a disk.

use crate::retention::Guard;
use adit_wire::ids::{Id, KeyId, LedgerHash, PublicKey, SourceId, StoreId};
use serde::{Deserialize, Serialize};

/// A reading of both clocks. The store never reads a clock itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moment {
    /// Seconds since 1970 by the wall clock.
    pub wall_s: u64,
    /// Milliseconds of a clock that never goes back while the machine runs.
    pub monotonic_ms: u64,
}

/// Whether an opened store may change anything on its disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Take backups, repair, quarantine.
    ReadWrite,
    /// Change nothing, not even after an unclean stop: for a disk carried to another machine.
    ReadOnly,
}

/// Sizes that are fixed when a store is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Data segments have at most 2^this bytes.
    pub data_log2: u8,
    /// Segments of nodes, snapshots and key records have at most 2^this bytes.
    pub meta_log2: u8,
    /// Parity columns have 2^this bytes: any two columns of a segment, or a region of two less one cell, can be healed.
    pub col_log2: u8,
    /// Parity cells have 2^this bytes: damage is located and healed by cells.
    pub cell_log2: u8,
}

impl Default for Geometry {
    fn default() -> Self {
        Self { data_log2: 28, meta_log2: 26, col_log2: 22, cell_log2: 12 }
    }
}

/// What a new store is made of.
#[derive(Clone, Debug)]
pub struct NewStore {
    /// The store's name: 16 random bytes.
    pub id: StoreId,
    /// 32 random bytes that keep sources from forging envelopes and index tags.
    pub store_key: [u8; 32],
    /// Segment sizes.
    pub geometry: Geometry,
    /// Now, seconds since 1970.
    pub created_s: u64,
}

/// A backup history as registered here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// The source.
    pub id: SourceId,
    /// Its name, for people.
    pub name: String,
    /// The key that signs its key records and snapshots.
    pub signing_key: PublicKey,
    /// The recovery signing key; zero while unknown.
    pub recovery_key: PublicKey,
    /// The certificate signed by the recovery key; empty while uncertified.
    pub certificate: Vec<u8>,
    /// Rises with every adoption or new seed.
    pub epoch: u32,
}

/// A pairing, noted so that the ledger tells who had which role when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    /// The peer's TLS key.
    pub key: PublicKey,
    /// Its name.
    pub name: String,
    /// The number of its role on the wire.
    pub role: u8,
    /// The source it sends for, if it is one.
    pub source: Option<SourceId>,
    /// False when the pairing ended.
    pub paired: bool,
}

/// Names one running session of this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(pub u64);

/// What an unfinished run left here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pending {
    /// The session key of that run.
    pub key_id: KeyId,
    /// Every record of that run up to this sequence number is on stable storage.
    pub durable_seq: u64,
    /// Every record up to this one was received. At least `durable_seq`.
    pub received_seq: u64,
}

/// What became of an appended record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Appended {
    /// It is new here.
    Stored,
    /// A healthy copy was here before and stays; this one was dropped.
    Repeat,
}

/// The answer to a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Commit {
    /// The promise: everything the snapshot needs is here, healthy and durable.
    Committed {
        /// The ledger block that holds it.
        block: u64,
        /// That block's hash.
        hash: LedgerHash,
        /// The snapshot's number.
        seq: u64,
        /// The snapshot's head.
        head: Id,
        /// When it was received, seconds since 1970.
        received_s: u64,
    },
    /// No promise yet: these records are absent or damaged.
    Missing {
        /// At most 4,096 of them.
        ids: Vec<Id>,
        /// Whether there are more.
        more: bool,
    },
}

/// One snapshot of a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotEntry {
    /// 1 for the first, then one more each.
    pub seq: u64,
    /// Its head: the id of its record.
    pub head: Id,
    /// The signed body with its signature; empty when the stored record is damaged.
    pub body: Vec<u8>,
    /// When it was received, seconds since 1970. Rises strictly within a source.
    pub received_s: u64,
    /// Records that its run stored.
    pub new_records: u64,
    /// Bytes that its run stored.
    pub new_bytes: u64,
    /// Whether everything it needs is here and healthy, as far as is known.
    pub complete: bool,
}

/// What the ledger says of a source's newest snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrived {
    /// 1 for the first, then one more each.
    pub seq: u64,
    /// Its head.
    pub head: Id,
    /// When it was received, seconds since 1970.
    pub received_s: u64,
    /// Bytes that its run stored.
    pub new_bytes: u64,
    /// Bytes that the runs before it stored.
    pub bytes_before: u64,
}

/// How opening went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Opening {
    /// Whether the store had been closed properly.
    pub clean: bool,
    /// Whether the index was read from the segments anew.
    pub index_rebuilt: bool,
    /// Bytes of open segments that were read and checked.
    pub scanned_bytes: u64,
    /// Records above the last promise that survived.
    pub kept_records: u64,
    /// Bytes cut off behind the last good record; none of them were promised.
    pub cut_bytes: u64,
    /// Why the store is read-only although it was opened for writing.
    pub read_only: Option<String>,
}

/// Something that happened to the store and that a person or a counter should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Bytes on disk are damaged; the range is set aside and records in it count as missing.
    Quarantined {
        /// The segment's number.
        segment: u32,
        /// First byte.
        from: u64,
        /// Byte after the last.
        to: u64,
        /// Records in it.
        records: u64,
        /// Whether any of it was promised to a source.
        promised: bool,
    },
    /// A flush failed: the store takes nothing more until it is opened again.
    SyncFailed(String),
    /// A write failed for another reason than a full disk: as above.
    WriteFailed(String),
    /// The disk is full; nothing acknowledged is lost.
    DiskFull,
    /// A file that the ledger does not know was moved to `lost/`.
    LostFile(String),
    /// One copy of the ledger was damaged and was rewritten from the other.
    LedgerRepaired {
        /// "a" or "b".
        copy: &'static str,
        /// Blocks rewritten.
        blocks: u64,
    },
    /// Both copies of the ledger are damaged in the middle: read-only until a person decides.
    LedgerGap {
        /// The first block that neither copy holds.
        block: u64,
    },
    /// One of the two superblocks was damaged and was rewritten from the other.
    SuperblockRepaired(&'static str),
    /// The index was unusable and was rebuilt from the segments.
    IndexRebuilt(String),
    /// A damaged record was replaced by a healthy copy that its source sent again.
    Healed(Id),
    /// Snapshots that no rule keeps any more are hidden now, and can be brought back for two days.
    Expired {
        /// Whose.
        source: SourceId,
        /// How many.
        snapshots: u64,
    },
    /// The time to bring snapshots back is over.
    Released {
        /// Whose.
        source: SourceId,
        /// How many.
        snapshots: u64,
    },
    /// A guard holds expiry or speaks up; `None` for the whole box.
    Guarded(Option<SourceId>, Guard),
    /// The references in the index are not what the nodes say: nothing is collected until it was made anew.
    AuditFailed,
    /// An unfinished session was given up after 14 days.
    Abandoned(SourceId),
    /// Damaged bytes were computed from parity, put back and read again.
    HealedRange {
        /// The segment's number.
        segment: u32,
        /// First byte.
        from: u64,
        /// Byte after the last.
        to: u64,
    },
    /// A segment's parity was damaged or absent and was written anew.
    ParityRewritten {
        /// The segment's number.
        segment: u32,
    },
}

/// The store at a glance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The store.
    pub id: StoreId,
    /// When it was made, seconds since 1970.
    pub created_s: u64,
    /// Why nothing can be written; `None` while the store takes backups.
    pub read_only: Option<String>,
    /// Newest durable ledger block.
    pub ledger_block: u64,
    /// Its hash.
    pub ledger_hash: LedgerHash,
    /// Registered sources.
    pub sources: u64,
    /// Snapshots of all sources.
    pub snapshots: u64,
    /// Records known, duplicates not counted.
    pub records: u64,
    /// Bytes of these records.
    pub record_bytes: u64,
    /// Records known to be damaged or gone.
    pub damaged_records: u64,
    /// Ranges set aside that held promised bytes.
    pub quarantined_ranges: u64,
    /// Segment files.
    pub segments: u64,
    /// Their bytes.
    pub segment_bytes: u64,
    /// Bytes that the runs of the last 30 days stored, as far as their snapshots are still there.
    pub grown_bytes: u64,
    /// The newest collection.
    pub swept: Option<Swept>,
    /// Free bytes of the disk; `None` when it does not tell.
    pub free_bytes: Option<u64>,
    /// Newest receive time of all commits, seconds since 1970; 0 for none.
    pub newest_received_s: u64,
}

/// What a step of the scrub did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScrubStep {
    /// Nothing is due.
    Idle,
    /// Something was read; call again.
    Working,
}

/// How far the scrub is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScrubStatus {
    /// Sealed segments.
    pub segments: u64,
    /// Sealed segments that were never read since they were sealed.
    pub never_read: u64,
    /// When the segment was read whose reading is longest ago, seconds since 1970; 0 for none.
    pub oldest_s: u64,
    /// Sealed segments that have no parity yet.
    pub without_parity: u64,
    /// When ledger and superblocks were read, seconds since 1970; 0 for never.
    pub ledger_s: u64,
    /// Segments still to be read because a person asked.
    pub left_to_read: u64,
    /// Bytes of sealed segments.
    pub bytes: u64,
}

/// One heal that the ledger tells of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heal {
    /// When, seconds since 1970.
    pub at_s: u64,
    /// The segment's number.
    pub segment: u32,
    /// First byte.
    pub from: u64,
    /// Byte after the last.
    pub to: u64,
    /// The record, where one record was healed.
    pub id: Option<Id>,
    /// What the right bytes came from: "parity", "replica", "source" or "rewrite".
    pub by: &'static str,
}

/// What a collection found that nobody needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Swept {
    /// When, by the retention clock.
    pub at_s: u64,
    /// Records.
    pub records: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// What the store holds of one source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holding {
    /// The source.
    pub source: SourceId,
    /// Its name.
    pub name: String,
    /// Snapshots that can be restored.
    pub snapshots: u64,
    /// Expired ones that can be brought back.
    pub expired: u64,
    /// Those given up.
    pub released: u64,
    /// When the newest was received; 0 for none.
    pub newest_s: u64,
    /// Records.
    pub records: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Whether a guard holds or says something.
    pub guarded: bool,
}

/// How far a verification is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Call again.
    Working {
        /// Bytes read so far.
        done: u64,
        /// Bytes to read in all.
        total: u64,
    },
    /// Everything was read.
    Finished(VerifyReport),
}

/// What a verification found. Clean means: every promise can be kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VerifyReport {
    /// Bytes read.
    pub bytes: u64,
    /// Records whose hash was computed anew.
    pub records: u64,
    /// Segments read.
    pub segments: u64,
    /// Ledger blocks checked, both copies counted.
    pub ledger_blocks: u64,
    /// Damaged ranges found now that parity did not heal: (segment, first byte, byte after the last).
    pub damaged_ranges: Vec<(u32, u64, u64)>,
    /// Damaged ranges found now that were healed at once.
    pub healed_ranges: Vec<(u32, u64, u64)>,
    /// Records in them and in ranges set aside earlier that no healthy copy replaces.
    pub damaged_records: u64,
    /// The damaged records that can still be named: by their segment's footer, or by their own header where the index
    /// agrees. At most [`adit_wire::admin::DAMAGED_IDS_MAX`].
    pub damaged_ids: Vec<(SourceId, Id)>,
    /// Other damage, one sentence each: ledger copies, superblocks, footers.
    pub damaged_places: Vec<String>,
    /// Snapshots that cannot be restored whole, oldest first.
    pub incomplete_snapshots: Vec<(SourceId, u64)>,
}

impl VerifyReport {
    /// Whether nothing at all is wrong.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.damaged_ranges.is_empty()
            && self.damaged_records == 0
            && self.damaged_places.is_empty()
            && self.incomplete_snapshots.is_empty()
    }
}
