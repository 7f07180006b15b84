// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Address records: where a machine says it can be reached. A record is a hint, never a trust decision: whoever answers
//! there must still hold the pinned key. Only a higher sequence number replaces a record.

use crate::Verify;
use adit_wire::ids::{PublicKey, Signature};
use adit_wire::signed::{ADDRESS_RECORD_BYTES_MAX, AddressRecord, PREFIX_ADDRESS, SignedError};
use alloc::vec;
use alloc::vec::Vec;
use core::net::Ipv6Addr;

/// The body to sign under [`PREFIX_ADDRESS`].
///
/// # Errors
/// When there are more addresses than a record holds.
pub fn body(key: &PublicKey, seq: u64, addresses: &[(Ipv6Addr, u16)]) -> Result<Vec<u8>, SignedError> {
    let mut packed = Vec::with_capacity(addresses.len().saturating_mul(AddressRecord::PACKED_BYTES));
    for (ip, port) in addresses {
        packed.extend_from_slice(&ip.octets());
        packed.extend_from_slice(&port.to_le_bytes());
    }
    let record = AddressRecord::new(*key, seq, &packed)?;
    let mut buffer = vec![0u8; ADDRESS_RECORD_BYTES_MAX];
    let length = record.write(&mut buffer)?.len();
    buffer.truncate(length);
    Ok(buffer)
}

/// The whole record: body, then signature.
#[must_use]
pub fn record(mut body: Vec<u8>, signature: &Signature) -> Vec<u8> {
    body.extend_from_slice(&signature.0);
    body
}

/// A record that replaces the one known before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Newer {
    /// The record's sequence number: what to compare the next one with.
    pub seq: u64,
    /// Addresses and ports.
    pub addresses: Vec<(Ipv6Addr, u16)>,
}

/// Judges a record that came from anywhere: `Ok(None)` when it is not newer than `known_seq`.
///
/// # Errors
/// When the bytes are no record, name another key than `peer`, or the signature does not verify.
pub fn accept(
    bytes: &[u8],
    peer: &PublicKey,
    known_seq: u64,
    verify: &Verify<'_>,
) -> Result<Option<Newer>, AddressError> {
    let (record, body, signature) = AddressRecord::read(bytes)?;
    if record.key != *peer {
        return Err(AddressError::OtherKey);
    }
    if !verify(peer, PREFIX_ADDRESS, body, &signature) {
        return Err(AddressError::Signature);
    }
    let addresses = record.addresses().map(|(octets, port)| (Ipv6Addr::from(octets), port)).collect();
    Ok((record.seq > known_seq).then_some(Newer { seq: record.seq, addresses }))
}

/// Why a record counts for nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// The bytes are no record.
    #[error(transparent)]
    Body(#[from] SignedError),
    /// It speaks of another machine.
    #[error("address record names another key")]
    OtherKey,
    /// The signature does not verify.
    #[error("signature of the address record does not verify")]
    Signature,
}
