// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Service 1: pairing by a one-time token. The redeemer sends one message, the maker answers one, the link closes.

use crate::frame::message;
use crate::ids::{Id, Mac, PublicKey, SourceId, StoreId, TokenId};
use crate::list::Parts;
use serde::{Deserialize, Serialize};

/// Longest name of a peer, bytes of UTF-8.
pub const NAME_BYTES_MAX: usize = 63;

/// Longest PAIR or PAIRED body, bytes.
pub const PAIR_BODY_BYTES_MAX: usize = 1 << 10;
/// Addresses in one PAIRED.
pub const PAIRED_ADDRESSES_MAX: usize = 4;

/// What a paired key may do. One key holds one role.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Role {
    /// Sends backups.
    Source,
    /// Reads health.
    Monitor,
    /// Administers peers and the store.
    Admin,
    /// Copies sources from or to another box.
    Replica,
    /// Is polled: what a monitor calls a machine that runs aditd.
    Agent,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 5] = [Self::Source, Self::Monitor, Self::Admin, Self::Replica, Self::Agent];

    /// The word used in files and on command lines.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Monitor => "monitor",
            Self::Admin => "admin",
            Self::Replica => "replica",
            Self::Agent => "agent",
        }
    }

    /// The role of a word.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.word() == word)
    }
}

/// The redeemer's only message. The MAC comes last and covers all bytes before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pair<'a> {
    /// Which token.
    pub token: TokenId,
    /// The role the redeemer expects to get (kind 1) or grants (kind 2).
    pub role: Role,
    /// The redeemer's own name.
    #[serde(borrow)]
    pub name: &'a str,
    /// A source's id; zero for others.
    pub source: SourceId,
    /// A source's signing key; zero for others.
    pub signing_key: PublicKey,
    /// The recovery signing key that certifies the source; zero when none is known.
    pub recovery_key: PublicKey,
    /// The certificate's bytes, or nothing.
    pub certificate: &'a [u8],
    /// HMAC over the transcript.
    pub mac: Mac,
}
message!(Pair<'a>, Pair, 1, 1, Refused, |m| m.name.len() <= NAME_BYTES_MAX && m.certificate.len() <= 256);

/// The maker's answer. The MAC comes last and covers all bytes before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Paired<'a> {
    /// The role that was granted.
    pub role: Role,
    /// The maker's own name.
    #[serde(borrow)]
    pub name: &'a str,
    /// Where the maker is reached, at most four.
    pub addresses: Parts<'a, Address<'a>>,
    /// The store; zero when there is none.
    pub store: StoreId,
    /// Sequence number of the source's newest snapshot; 0 when there is none.
    pub newest_seq: u64,
    /// Its head.
    pub newest_head: Id,
    /// HMAC over the transcript.
    pub mac: Mac,
}
message!(Paired<'a>, Pair, 2, 1, Refused, |m| m.name.len() <= NAME_BYTES_MAX && m.addresses.as_bytes().len() <= 512);

/// One way to reach a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Address<'a> {
    /// An IPv6 address and a TCP port.
    Ip([u8; 16], u16),
    /// A DNS name and a TCP port.
    Name(#[serde(borrow)] &'a str, u16),
}
