// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Service 6: peers and the store are administered. No verb shortens the life of data.

use crate::appliance::WORDS_BYTES_MAX;
use crate::frame::message;
use crate::ids::{PublicKey, SourceId};
use crate::list::{Ids, Parts};
use crate::pair::{NAME_BYTES_MAX, Role};
use serde::{Deserialize, Serialize};

/// Damaged records that one answer names.
pub const DAMAGED_IDS_MAX: usize = 4_096;

/// Asks for the list of peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peers {
    /// Skip this many, for lists longer than a frame.
    pub skip: u32,
}
message!(Peers, Admin, 1, 1, Refused);

/// The list of peers, by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeersListed<'a> {
    /// The peers.
    #[serde(borrow)]
    pub peers: Parts<'a, Peer<'a>>,
    /// Whether there are more.
    pub more: bool,
}
message!(PeersListed<'a>, Admin, 2, 1, Skipped);

/// One peer of the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer<'a> {
    /// Its name here.
    #[serde(borrow)]
    pub name: &'a str,
    /// What it may do.
    pub role: Role,
    /// Its key.
    pub key: PublicKey,
    /// Its source; zero for other roles.
    pub source: SourceId,
    /// When it was last heard, seconds since 1970; 0 for never.
    pub heard_s: u64,
    /// Whether it is connected now.
    pub connected: bool,
}

/// Gives a peer another name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rename<'a> {
    /// The present name.
    #[serde(borrow)]
    pub from: &'a str,
    /// The new name.
    pub to: &'a str,
}
message!(Rename<'a>, Admin, 3, 1, Refused, |m| m.from.len() <= NAME_BYTES_MAX && m.to.len() <= NAME_BYTES_MAX);

/// Removes a peer: its live connections are cut, its history stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revoke<'a> {
    /// Its name.
    #[serde(borrow)]
    pub name: &'a str,
}
message!(Revoke<'a>, Admin, 4, 1, Refused, |m| m.name.len() <= NAME_BYTES_MAX);

/// A change was made and is on stable storage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {}
message!(Done, Admin, 5, 1, Skipped);

/// Asks the box to read everything and check every hash, without a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verify {}
message!(Verify, Admin, 6, 1, Refused);

/// How far the verification is; any number of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verifying {
    /// Bytes read.
    pub done_bytes: u64,
    /// Bytes to read.
    pub total_bytes: u64,
}
message!(Verifying, Admin, 7, 1, Skipped);

/// What the verification found. A source sees the ids of its own damaged records only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verified<'a> {
    /// Bytes read.
    pub bytes: u64,
    /// Records that are well.
    pub records_well: u64,
    /// Records that are damaged.
    pub records_damaged: u64,
    /// Damaged places outside records (headers, footers, ledger blocks).
    pub places_damaged: u64,
    /// Snapshots checked for completeness.
    pub snapshots: u64,
    /// Snapshots that miss something.
    pub snapshots_incomplete: u64,
    /// Damaged records of the asking source, or of all for an admin; the first ones.
    #[serde(borrow)]
    pub damaged: Ids<'a>,
    /// Where the first damage lies, for a person.
    pub first_place: &'a str,
}
message!(Verified<'a>, Admin, 8, 1, Skipped, |m| m.damaged.is_whole()
    && m.damaged.count() <= DAMAGED_IDS_MAX
    && m.first_place.len() <= 200);

/// Gives up one's own pairing: the same as being revoked, asked for by the peer itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unpair {}
message!(Unpair, Admin, 9, 1, Refused);

/// Asks for a one-time token with which another machine pairs. Not for the role admin: that one is made at the box.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invite<'a> {
    /// What the machine becomes.
    pub role: Role,
    /// The name under which it is registered.
    #[serde(borrow)]
    pub name: &'a str,
    /// Whether it is the known source of this name that comes back with another key.
    pub rejoin: bool,
    /// How long the token can be used, seconds of the box's running time.
    pub lifetime_s: u32,
}
message!(Invite<'a>, Admin, 10, 1, Refused, |m| m.name.len() <= NAME_BYTES_MAX
    && m.role != Role::Admin
    && m.lifetime_s <= TOKEN_LIFETIME_S_MAX);

/// Longest life of a token: 14 days.
pub const TOKEN_LIFETIME_S_MAX: u32 = 14 * 86_400;

/// Longest text of a token, bytes: three addresses with the longest names take half of it.
pub const TOKEN_TEXT_BYTES_MAX: usize = 1_024;

/// The token, which is a secret until it is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invited<'a> {
    /// Its text.
    #[serde(borrow)]
    pub token: &'a str,
}
message!(Invited<'a>, Admin, 11, 1, Skipped, |m| m.token.len() <= TOKEN_TEXT_BYTES_MAX);

/// Snapshots that one wish names.
pub const KEEP_SEQS_MAX: usize = 4_096;

/// Asks what is kept of a source and why, or wishes for a change. No wish shortens the life of data within seven days.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keep<'a> {
    /// What is wished for.
    pub wish: Wish,
    /// The source's name; empty for the box's default policy.
    #[serde(borrow)]
    pub source: &'a str,
    /// The policy, for [`Wish::Set`].
    pub policy: KeepPolicy,
    /// Numbers of snapshots, each a u64, ascending; none means all that can be meant.
    pub seqs: Parts<'a, u64>,
    /// Skip this many rows of the answer.
    pub skip: u32,
    /// The asker's clock, seconds since 1970: the box's retention clock may follow it, never beyond the box's own.
    pub now_s: u64,
}
message!(Keep<'a>, Admin, 12, 1, Refused, |m| m.source.len() <= NAME_BYTES_MAX
    && m.seqs.iter().count() <= KEEP_SEQS_MAX);

/// What is wished for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Wish {
    /// To see only.
    Plan,
    /// Another policy.
    Set,
    /// Expired snapshots back.
    Undo,
    /// Snapshots kept for ever.
    Protect,
    /// No longer so.
    Unprotect,
    /// That a guard lets go what it holds, this once.
    Allow,
}

/// What keeps a snapshot: ages in days, each with one snapshot an hour, a day and so on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeepPolicy {
    /// Everything younger stays.
    pub keep_all_d: u32,
    /// One an hour.
    pub hourly_d: u32,
    /// One a day.
    pub daily_d: u32,
    /// One a week.
    pub weekly_d: u32,
    /// One a month.
    pub monthly_d: u32,
    /// One a year.
    pub yearly_d: u32,
    /// So many of the newest stay.
    pub minimum: u32,
    /// Minutes east of UTC.
    pub zone_min: i16,
}

/// What is kept, after the wish.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept<'a> {
    /// The policy in force.
    pub policy: KeepPolicy,
    /// What will take its place; the same when nothing waits.
    pub pending: KeepPolicy,
    /// When; 0 for never.
    pub pending_s: u64,
    /// The retention clock.
    pub now_s: u64,
    /// Snapshots that the wish changed.
    pub changed: u32,
    /// What a guard says in a sentence, empty if nothing.
    #[serde(borrow)]
    pub guard: &'a str,
    /// Snapshots, oldest first.
    pub rows: Parts<'a, KeptRow>,
    /// Whether there are more.
    pub more: bool,
}
message!(Kept<'a>, Admin, 13, 1, Skipped, |m| m.guard.len() <= WORDS_BYTES_MAX);

/// One snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptRow {
    /// Its number.
    pub seq: u64,
    /// When it was received.
    pub received_s: u64,
    /// What keeps it, a bit each: young, hour, day, week, month, year, newest, protected; 0: nothing does.
    pub reasons: u8,
    /// Until when windows and protection keep it.
    pub until_s: u64,
    /// Whether all that it needs is here and healthy.
    pub complete: bool,
    /// When it expired; 0 if it did not.
    pub expired_s: u64,
    /// When it will be given up; until then it can be brought back.
    pub release_s: u64,
    /// Bytes that its run stored.
    pub new_bytes: u64,
}

/// Asks for the store at a glance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stored {
    /// Skip this many sources.
    pub skip: u32,
}
message!(Stored, Admin, 14, 1, Refused);

/// The store at a glance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredListed<'a> {
    /// Why nothing can be written; empty while backups are taken.
    #[serde(borrow)]
    pub read_only: &'a str,
    /// Bytes of segment files.
    pub stored_bytes: u64,
    /// Bytes of records that something needs.
    pub record_bytes: u64,
    /// These records.
    pub records: u64,
    /// Damaged records.
    pub damaged_records: u64,
    /// Free bytes of the disk; 2^64 - 1 when it does not tell.
    pub free_bytes: u64,
    /// Bytes that runs stored in the last 30 days.
    pub grown_bytes: u64,
    /// Whether a collection is under way.
    pub collecting: bool,
    /// When the newest collection knew what nobody needs; 0 for never.
    pub swept_s: u64,
    /// How many records that were.
    pub swept_records: u64,
    /// Their bytes.
    pub swept_bytes: u64,
    /// Sources, in the order of their registration.
    pub sources: Parts<'a, StoredSource<'a>>,
    /// Whether there are more.
    pub more: bool,
}
message!(StoredListed<'a>, Admin, 15, 1, Skipped, |m| m.read_only.len() <= WORDS_BYTES_MAX);

/// One source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredSource<'a> {
    /// Its name.
    #[serde(borrow)]
    pub name: &'a str,
    /// The source.
    pub source: SourceId,
    /// Snapshots that can be restored.
    pub snapshots: u32,
    /// Expired ones that can be brought back.
    pub expired: u32,
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

/// Starts a collection now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Collect {}
message!(Collect, Admin, 16, 1, Refused);
