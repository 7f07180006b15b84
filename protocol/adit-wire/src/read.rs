// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Service 3: snapshots are listed, records fetched. Reading content needs the recovery key's proof on this connection.

use crate::frame::message;
use crate::ids::{Id, PublicKey, Signature, SourceId};
use crate::list::{Ids, Parts};
use serde::{Deserialize, Serialize};

/// Method number of RECORD; its body is one whole record.
pub const METHOD_RECORD: u8 = 6;
/// Ids in one FETCH: what fits an ordinary frame with room to spare.
pub const FETCH_IDS_MAX: usize = 16_384;
/// Records that answer one FETCH at most.
pub const FETCH_RECORDS_MAX: usize = 65_536;

/// Opens one source's history for reading on this connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prove {
    /// Which source.
    pub source: SourceId,
    /// The recovery signing key.
    pub recovery_key: PublicKey,
    /// Its signature over "adit read v1\0" ‖ channel binding ‖ source id.
    pub signature: Signature,
}
message!(Prove, Read, 1, 1, Refused);

/// The proof holds; the source is open on this connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proved {}
message!(Proved, Read, 2, 1, Skipped);

/// Asks for a source's snapshots, oldest first. A source may list its own without a proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct List {
    /// Which source.
    pub source: SourceId,
    /// Only snapshots above this sequence number.
    pub after_seq: u64,
}
message!(List, Read, 3, 1, Refused);

/// The answer to LIST.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed<'a> {
    /// The source's certificate, or nothing.
    #[serde(borrow)]
    pub certificate: &'a [u8],
    /// The source's registered signing key.
    pub signing_key: PublicKey,
    /// Snapshots, ascending.
    pub snapshots: Parts<'a, Listing<'a>>,
    /// Whether there are more than fit: ask again after the last one.
    pub more: bool,
}
message!(Listed<'a>, Read, 4, 1, Skipped);

/// One snapshot of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listing<'a> {
    /// Its head: the id of the snapshot record.
    pub head: Id,
    /// Its signed body with signature.
    #[serde(borrow)]
    pub body: &'a [u8],
    /// When the box received it, seconds since 1970.
    pub received_s: u64,
    /// Records that its run stored.
    pub new_records: u64,
    /// Bytes that its run stored.
    pub new_bytes: u64,
}

/// What a FETCH names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Scope {
    /// The named records themselves.
    Records,
    /// All data that the named nodes reference.
    DataOfNodes,
}

/// Asks for records. They come in the order in which they lie on disk, each key record before the first record under
/// that key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fetch<'a> {
    /// Which source.
    pub source: SourceId,
    /// What the ids name.
    pub scope: Scope,
    /// Whether key records come first: false when the reader holds them already.
    pub keys: bool,
    /// The ids.
    #[serde(borrow)]
    pub ids: Ids<'a>,
}
message!(Fetch<'a>, Read, 5, 1, Refused, |m| m.ids.is_whole() && m.ids.count() <= FETCH_IDS_MAX);

/// Ends the answer to FETCH. Both lists together name at most [`FETCH_IDS_MAX`] ids: the first ones, when data of nodes
/// was asked for and more is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fetched<'a> {
    /// Records sent, key records included.
    pub records: u32,
    /// Ids that are not here.
    #[serde(borrow)]
    pub absent: Ids<'a>,
    /// Ids whose stored bytes are damaged.
    pub damaged: Ids<'a>,
}
message!(Fetched<'a>, Read, 7, 1, Skipped, |m| m.absent.is_whole()
    && m.damaged.is_whole()
    && m.absent.count().saturating_add(m.damaged.count()) <= FETCH_IDS_MAX);
