// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Service 2: a source sends records and commits a snapshot. One conversation per run; records follow each other without
//! waiting; ACK carries two numbers: *received* frees the window, *durable* frees the journal.

use crate::frame::message;
use crate::ids::{Id, KeyId, SourceId, StoreId};
use crate::list::Ids;
use serde::{Deserialize, Serialize};

/// Method number of REC; its body may be as long as a record.
pub const METHOD_REC: u8 = 5;
/// Bytes before the record in a REC body: the sequence number, u64 little-endian.
pub const REC_PREFIX_BYTES: usize = 8;
/// Ids in one HAVE, MISSING or wanted list.
pub const IDS_MAX: usize = 4_096;
/// The box acknowledges at the latest after this many received bytes.
pub const ACK_EVERY_BYTES: u32 = 4 << 20;
/// The box makes received records durable at the latest after this many bytes.
pub const SYNC_EVERY_BYTES: u32 = 16 << 20;
/// The box makes received records durable at the latest after this many seconds.
pub const SYNC_EVERY_S: u32 = 5;
/// Sealed bytes that a source holds at most until they are durable: what a lost connection makes it send twice.
pub const UNDURABLE_BYTES_MAX: u32 = 16 << 20;
/// Credit that every session gets, bytes.
pub const CREDIT_FLOOR_BYTES: u32 = 256 << 10;
/// Rounds of MISSING before a commit is refused.
pub const MISSING_ROUNDS_MAX: u8 = 3;

/// Longest period of a schedule, seconds: 31 days. A source that was broken into can't silence the alarm for longer.
pub const PERIOD_S_MAX: u32 = 31 * 86_400;

/// Opens the conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// Which source.
    pub source: SourceId,
    /// The source's epoch.
    pub epoch: u32,
    /// Sequence number of the newest snapshot that the source knows; 0 for none.
    pub newest_seq: u64,
    /// Its head; zero for none.
    pub newest_head: Id,
}
message!(Hello, Backup, 1, 1, Refused);

/// The box's answer to HELLO.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome<'a> {
    /// The store.
    pub store: StoreId,
    /// The source's newest durable snapshot on this box.
    #[serde(borrow)]
    pub newest: Option<Newest<'a>>,
    /// What an unfinished run left here.
    pub pending: Option<Pending>,
    /// Bytes of REC frames that the source may send before the first ACK.
    pub credit: u32,
    /// The box's clock, seconds since 1970; for display only.
    pub server_time_s: u64,
    /// Bytes charged to this source.
    pub used_bytes: u64,
    /// Bytes it may use; 0 = no limit but the disk.
    pub quota_bytes: u64,
    /// Records that the box lost and asks for again.
    pub wanted: Ids<'a>,
}
message!(Welcome<'a>, Backup, 2, 1, Skipped, |m| m.wanted.is_whole() && m.wanted.count() <= IDS_MAX);

/// The newest snapshot of a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Newest<'a> {
    /// Its sequence number.
    pub seq: u64,
    /// Its head: the id of the snapshot record.
    pub head: Id,
    /// Its signed body with signature, so that a source that lost its state can chain onto it.
    #[serde(borrow)]
    pub body: &'a [u8],
    /// When the box received it, seconds since 1970.
    pub received_s: u64,
}

/// Records of a run that did not end in a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pending {
    /// The key of that run's last session.
    pub key_id: KeyId,
    /// Every record of that run up to this sequence number is on the box's disk. A resumed run goes on behind it.
    pub durable_seq: u64,
    /// Every record up to this one was received; equal to or above `durable_seq`.
    pub received_seq: u64,
}

/// Starts sending under a new session key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Open<'a> {
    /// The whole key record; its payload names the key id.
    #[serde(borrow)]
    pub key_record: &'a [u8],
    /// The run whose records this one adopts, from [`Pending::key_id`]; zero for none.
    pub resume_of: KeyId,
}
message!(Open<'a>, Backup, 3, 1, Refused, |m| m.key_record.len() <= 64 << 10);

/// How far the box is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ack {
    /// Every record up to this sequence number was received.
    pub received_seq: u64,
    /// Every record up to this sequence number is on stable storage.
    pub durable_seq: u64,
    /// Bytes of REC frames that may be under way beyond `received_seq`.
    pub credit: u32,
    /// Records of this session that the box had already, and discarded.
    pub repeats: u32,
}
message!(Ack, Backup, 6, 1, Skipped);

/// Asks which records the box has, after the source lost its state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Have<'a> {
    /// The ids.
    #[serde(borrow)]
    pub ids: Ids<'a>,
}
message!(Have<'a>, Backup, 7, 1, Refused, |m| m.ids.is_whole() && m.ids.count() <= IDS_MAX);

/// The answer to HAVE.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Having<'a> {
    /// One bit per asked id in the order of asking, lowest bit first: 1 = present and healthy.
    #[serde(borrow)]
    pub bits: &'a [u8],
}
message!(Having<'a>, Backup, 8, 1, Skipped, |m| m.bits.len() <= IDS_MAX / 8);

/// Asks for the promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Commit<'a> {
    /// The whole snapshot record.
    #[serde(borrow)]
    pub record: &'a [u8],
    /// Sequence number of the last REC of this run; 0 for none.
    pub last_seq: u64,
}
message!(Commit<'a>, Backup, 9, 1, Refused, |m| m.record.len() <= 4 << 10);

/// The promise: everything that the snapshot needs is present, healthy and on stable storage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Committed<'a> {
    /// The box's signed receipt ([`crate::signed::Receipt`]).
    #[serde(borrow)]
    pub receipt: &'a [u8],
}
message!(Committed<'a>, Backup, 10, 1, Skipped, |m| m.receipt.len() <= 512);

/// What the snapshot needs and the box does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Missing<'a> {
    /// The ids.
    #[serde(borrow)]
    pub ids: Ids<'a>,
    /// Whether there are more than fit.
    pub more: bool,
}
message!(Missing<'a>, Backup, 11, 1, Skipped, |m| m.ids.is_whole() && m.ids.count() <= IDS_MAX);

/// Tells the box the source's certificate after `adit certify`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certify<'a> {
    /// The source.
    pub source: SourceId,
    /// The recovery signing key that signed it.
    pub recovery_key: crate::ids::PublicKey,
    /// The certificate's bytes.
    #[serde(borrow)]
    pub certificate: &'a [u8],
}
message!(Certify<'a>, Backup, 12, 1, Refused, |m| m.certificate.len() <= 256);

/// The certificate is registered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certified {}
message!(Certified, Backup, 13, 1, Skipped);

/// How often this source means to send, said before COMMIT; nothing is answered. A run by hand says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Period {
    /// Seconds between two scheduled runs.
    pub period_s: u32,
}
message!(Period, Backup, 14, 1, Refused, |m| (1..=PERIOD_S_MAX).contains(&m.period_s));
