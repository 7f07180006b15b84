// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Service 4, spoken on `adit-recover/1`: a machine that holds nothing but the recovery key finds its sources, reads them
//! by service 3 and may take one over.

use crate::frame::message;
use crate::ids::{Id, PublicKey, Signature, SourceId, StoreId};
use crate::list::Parts;
use serde::{Deserialize, Serialize};

/// The first message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recover {
    /// The recovery signing key.
    pub recovery_key: PublicKey,
    /// Its signature over "adit recover v1\0" ‖ channel binding ‖ box key ‖ own TLS key.
    pub signature: Signature,
}
message!(Recover, Recover, 1, 1, Refused);

/// The sources that belong to the key. All of them are open for reading on this connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recovered<'a> {
    /// The store.
    pub store: StoreId,
    /// The sources.
    #[serde(borrow)]
    pub sources: Parts<'a, Recoverable<'a>>,
}
message!(Recovered<'a>, Recover, 2, 1, Skipped);

/// One source that the recovery key opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recoverable<'a> {
    /// Its id.
    pub source: SourceId,
    /// The name it is registered under.
    #[serde(borrow)]
    pub name: &'a str,
    /// Its certificate.
    pub certificate: &'a [u8],
    /// Its registered signing key.
    pub signing_key: PublicKey,
    /// Sequence number of its newest snapshot; 0 for none.
    pub newest_seq: u64,
    /// Head of its newest snapshot.
    pub newest_head: Id,
    /// When that one was received, seconds since 1970.
    pub received_s: u64,
}

/// Takes a source over: the box keeps the highest epoch and refuses older device and signing keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Adopt<'a> {
    /// The new certificate; its epoch is above the known one.
    #[serde(borrow)]
    pub certificate: &'a [u8],
    /// The key of the machine that goes on; it replaces the old device key.
    pub device_key: PublicKey,
}
message!(Adopt<'a>, Recover, 3, 1, Refused, |m| m.certificate.len() <= 256);

/// The source is taken over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Adopted<'a> {
    /// The name it is registered under.
    #[serde(borrow)]
    pub name: &'a str,
}
message!(Adopted<'a>, Recover, 4, 1, Skipped);
