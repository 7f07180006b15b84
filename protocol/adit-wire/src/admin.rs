// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Service 6: peers and the store are administered. No verb shortens the life of data.

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
