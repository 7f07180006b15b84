// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Signed bodies: certificate, key record, snapshot, receipt, address record. All are fixed little-endian layouts, not
//! postcard: a signature covers the exact bytes, and postcard accepts more than one encoding of a number.
//!
//! Nothing here verifies a signature: whoever holds a cryptographic library does, over [`message_parts`], *before* it
//! trusts a field. Distinct prefixes keep one Ed25519 key from signing two meanings.

use crate::ids::{Check, Id, KeyId, LedgerHash, PublicKey, RecipientId, Signature, SourceId, StoreId};
use crate::pair::NAME_BYTES_MAX;

/// Version byte that opens every signed body.
pub const VERSION: u8 = 1;
/// Prefix of a certificate's signature (by the recovery signing key).
pub const PREFIX_CERTIFICATE: &[u8] = b"adit source v1\0";
/// Prefix of a key record's signature (by the source's signing key).
pub const PREFIX_KEY: &[u8] = b"adit key v1\0";
/// Prefix of a snapshot's signature (by the source's signing key).
pub const PREFIX_SNAPSHOT: &[u8] = b"adit snapshot v1\0";
/// Prefix of a receipt's signature (by the box's key).
pub const PREFIX_RECEIPT: &[u8] = b"adit receipt v1\0";
/// Prefix of an address record's signature (by the key it names).
pub const PREFIX_ADDRESS: &[u8] = b"adit address v1\0";
/// Prefix of the recovery proof for reading (by the recovery signing key): then channel binding and source id.
pub const PREFIX_READ: &[u8] = b"adit read v1\0";
/// Prefix of the recovery proof at the recovery door: then channel binding, box key and own TLS key.
pub const PREFIX_RECOVER: &[u8] = b"adit recover v1\0";

/// Longest certificate, bytes: fixed parts and a name of 63.
pub const CERTIFICATE_BYTES_MAX: usize = 1 + 16 + 32 + 32 + 4 + 1 + NAME_BYTES_MAX + 64;
/// Bytes of a snapshot's body without its signature.
pub const SNAPSHOT_BODY_BYTES: usize = 1 + 16 + 4 + 8 + 32 + 32 + 32 + 8 + 8 + 1;
/// Bytes of a receipt without its signature.
pub const RECEIPT_BODY_BYTES: usize = 1 + 16 + 16 + 8 + 32 + 8 + 32 + 8;
/// Recipients of one key record.
pub const RECIPIENTS_MAX: usize = 16;
/// Bytes of the KEM's encapsulated key (X-Wing: ML-KEM-768 ciphertext and an X25519 key).
pub const ENC_BYTES: usize = 1_120;
/// Bytes of the wrapped session key and seed: 64 and a tag.
pub const WRAPPED_BYTES: usize = 80;
/// Bytes of one recipient's wrap.
pub const WRAP_BYTES: usize = RecipientId::BYTES + ENC_BYTES + WRAPPED_BYTES;
/// Addresses of one address record.
pub const ADDRESSES_MAX: usize = 8;
/// Longest address record, bytes.
pub const ADDRESS_RECORD_BYTES_MAX: usize = 1 + 32 + 8 + 1 + ADDRESSES_MAX * 18 + 64;

/// Why bytes are no such body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignedError {
    /// Too few or too many bytes.
    #[error("{0} has the wrong length")]
    Length(&'static str),
    /// A version this program does not know.
    #[error("{what} has version {version}, this program reads {VERSION}")]
    Version {
        /// Which body.
        what: &'static str,
        /// The version found.
        version: u8,
    },
    /// A field breaks a rule.
    #[error("a field of the {0} breaks its rule")]
    Field(&'static str),
    /// The buffer is too small.
    #[error("{0} does not fit its buffer")]
    NoRoom(&'static str),
}

/// A body split from the signature behind it.
///
/// # Errors
/// When there are fewer bytes than a signature has.
pub fn split_signature<'a>(what: &'static str, bytes: &'a [u8]) -> Result<(&'a [u8], Signature), SignedError> {
    let (body, signature) = bytes.split_last_chunk::<{ Signature::BYTES }>().ok_or(SignedError::Length(what))?;
    Ok((body, Signature(*signature)))
}

/// What a signature covers: the prefix, then the body.
#[must_use]
pub const fn message_parts<'a>(prefix: &'static [u8], body: &'a [u8]) -> [&'a [u8]; 2] {
    [prefix, body]
}

/// Reads fixed-width fields in order.
struct Reader<'a> {
    what: &'static str,
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn open(what: &'static str, bytes: &'a [u8]) -> Result<Self, SignedError> {
        let mut reader = Self { what, rest: bytes };
        match reader.u8()? {
            VERSION => Ok(reader),
            version => Err(SignedError::Version { what, version }),
        }
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], SignedError> {
        let (head, rest) = self.rest.split_first_chunk::<N>().ok_or(SignedError::Length(self.what))?;
        self.rest = rest;
        Ok(*head)
    }

    fn bytes(&mut self, count: usize) -> Result<&'a [u8], SignedError> {
        let (head, rest) = self.rest.split_at_checked(count).ok_or(SignedError::Length(self.what))?;
        self.rest = rest;
        Ok(head)
    }

    fn u8(&mut self) -> Result<u8, SignedError> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn u32(&mut self) -> Result<u32, SignedError> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, SignedError> {
        self.array().map(u64::from_le_bytes)
    }

    fn end(&self) -> Result<(), SignedError> {
        if self.rest.is_empty() { Ok(()) } else { Err(SignedError::Length(self.what)) }
    }
}

/// Copies `parts` into `buffer` back to back; answers the filled part.
fn fill<'b>(what: &'static str, buffer: &'b mut [u8], parts: &[&[u8]]) -> Result<&'b mut [u8], SignedError> {
    let mut at = 0usize;
    for part in parts {
        let end = at.saturating_add(part.len());
        buffer.get_mut(at..end).ok_or(SignedError::NoRoom(what))?.copy_from_slice(part);
        at = end;
    }
    buffer.get_mut(..at).ok_or(SignedError::NoRoom(what))
}

/// A source certificate: the recovery signing key says which signing key and seed belong to a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Certificate<'a> {
    /// The source.
    pub source: SourceId,
    /// Its signing key.
    pub signing_key: PublicKey,
    /// derive_key("adit 2026 seed check v1", seed).
    pub seed_check: Check,
    /// Rises with every adoption or new seed.
    pub epoch: u32,
    /// The source's name.
    pub name: &'a str,
}

impl<'a> Certificate<'a> {
    const WHAT: &'static str = "certificate";

    /// Writes the body without its signature.
    ///
    /// # Errors
    /// When the name is too long or the buffer too small.
    pub fn write<'b>(&self, buffer: &'b mut [u8]) -> Result<&'b mut [u8], SignedError> {
        let name_bytes = u8::try_from(self.name.len())
            .ok()
            .filter(|len| usize::from(*len) <= NAME_BYTES_MAX)
            .ok_or(SignedError::Field(Self::WHAT))?;
        fill(
            Self::WHAT,
            buffer,
            &[
                &[VERSION],
                &self.source.0,
                &self.signing_key.0,
                &self.seed_check.0,
                &self.epoch.to_le_bytes(),
                &[name_bytes],
                self.name.as_bytes(),
            ],
        )
    }

    /// Reads a certificate with its signature; answers the fields, the signed body and the signature to verify.
    ///
    /// # Errors
    /// When the bytes are no certificate.
    pub fn read(bytes: &'a [u8]) -> Result<(Self, &'a [u8], Signature), SignedError> {
        let (body, signature) = split_signature(Self::WHAT, bytes)?;
        let mut reader = Reader::open(Self::WHAT, body)?;
        let source = SourceId(reader.array()?);
        let signing_key = PublicKey(reader.array()?);
        let seed_check = Check(reader.array()?);
        let epoch = reader.u32()?;
        let name_bytes = usize::from(reader.u8()?);
        if name_bytes > NAME_BYTES_MAX {
            return Err(SignedError::Field(Self::WHAT));
        }
        let name = core::str::from_utf8(reader.bytes(name_bytes)?).map_err(|_| SignedError::Field(Self::WHAT))?;
        reader.end()?;
        Ok((Self { source, signing_key, seed_check, epoch, name }, body, signature))
    }
}

/// One recipient's wrap of a session key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wrap<'a> {
    /// BLAKE3 of the recipient's KEM public key, first 8 bytes.
    pub recipient: RecipientId,
    /// The KEM's encapsulated key.
    pub enc: &'a [u8; ENC_BYTES],
    /// Session key and source seed, sealed.
    pub wrapped: &'a [u8; WRAPPED_BYTES],
}

/// The payload of a key record: one session key, wrapped for every recipient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyRecord<'a> {
    /// The source.
    pub source: SourceId,
    /// The source's epoch.
    pub epoch: u32,
    /// The session key's name.
    pub key_id: KeyId,
    /// The AEAD of the records under this key.
    pub suite: u8,
    /// derive_key("adit 2026 key check v1", session key): commits to one key for all recipients.
    pub key_check: Check,
    /// The wraps, [`WRAP_BYTES`] each.
    wraps: &'a [u8],
}

impl<'a> KeyRecord<'a> {
    const WHAT: &'static str = "key record";

    /// A payload over packed wraps.
    ///
    /// # Errors
    /// When the wraps are torn, none or too many.
    pub fn new(
        source: SourceId,
        epoch: u32,
        key_id: KeyId,
        suite: u8,
        key_check: Check,
        wraps: &'a [u8],
    ) -> Result<Self, SignedError> {
        let count = wraps.len().div_euclid(WRAP_BYTES);
        if !wraps.len().is_multiple_of(WRAP_BYTES) || count == 0 || count > RECIPIENTS_MAX {
            return Err(SignedError::Field(Self::WHAT));
        }
        Ok(Self { source, epoch, key_id, suite, key_check, wraps })
    }

    /// Bytes of the body without its signature.
    #[must_use]
    pub const fn body_bytes(&self) -> usize {
        self.wraps.len().saturating_add(1 + 16 + 4 + 16 + 1 + 32 + 1)
    }

    /// Writes the body without its signature.
    ///
    /// # Errors
    /// When the buffer is too small.
    pub fn write<'b>(&self, buffer: &'b mut [u8]) -> Result<&'b mut [u8], SignedError> {
        let count =
            u8::try_from(self.wraps.len().div_euclid(WRAP_BYTES)).map_err(|_| SignedError::Field(Self::WHAT))?;
        fill(
            Self::WHAT,
            buffer,
            &[
                &[VERSION],
                &self.source.0,
                &self.epoch.to_le_bytes(),
                &self.key_id.0,
                &[self.suite],
                &self.key_check.0,
                &[count],
                self.wraps,
            ],
        )
    }

    /// Reads a payload with its signature; answers the fields, the signed body and the signature to verify.
    ///
    /// # Errors
    /// When the bytes are no key record payload.
    pub fn read(bytes: &'a [u8]) -> Result<(Self, &'a [u8], Signature), SignedError> {
        let (body, signature) = split_signature(Self::WHAT, bytes)?;
        let mut reader = Reader::open(Self::WHAT, body)?;
        let source = SourceId(reader.array()?);
        let epoch = reader.u32()?;
        let key_id = KeyId(reader.array()?);
        let suite = reader.u8()?;
        let key_check = Check(reader.array()?);
        let count = usize::from(reader.u8()?);
        let wraps = reader.bytes(count.saturating_mul(WRAP_BYTES))?;
        reader.end()?;
        Ok((Self::new(source, epoch, key_id, suite, key_check, wraps)?, body, signature))
    }

    /// The wraps in their order.
    pub fn wraps(&self) -> impl Iterator<Item = Wrap<'a>> + 'a {
        self.wraps.chunks_exact(WRAP_BYTES).filter_map(|wrap| {
            let (recipient, rest) = wrap.split_first_chunk()?;
            let (enc, wrapped) = rest.split_first_chunk()?;
            Some(Wrap { recipient: RecipientId(*recipient), enc, wrapped: wrapped.try_into().ok()? })
        })
    }
}

/// Whether a run could read everything that it was asked to save.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[repr(u8)]
pub enum Completeness {
    /// Everything was saved.
    Complete = 1,
    /// Some files were skipped; the info record says which.
    Partial = 2,
}

/// What a source signs of a snapshot. The head, which is also the record's id, is BLAKE3(body ‖ signature).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// The source.
    pub source: SourceId,
    /// The source's epoch.
    pub epoch: u32,
    /// 1 for the first, then one more each.
    pub seq: u64,
    /// Head of the snapshot before; zero for the first.
    pub prev_head: Id,
    /// The root node.
    pub root: Id,
    /// The sealed record with host, paths, times and counts.
    pub info: Id,
    /// Nodes that the run sent.
    pub nodes: u64,
    /// Records that the run sent, nodes included.
    pub records: u64,
    /// Whether something was skipped.
    pub state: Completeness,
}

impl Snapshot {
    const WHAT: &'static str = "snapshot";

    /// The body without its signature.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; SNAPSHOT_BODY_BYTES] {
        let mut bytes = [0u8; SNAPSHOT_BODY_BYTES];
        // The buffer is exactly as long as the parts: filling can't fail.
        let filled = fill(
            Self::WHAT,
            &mut bytes,
            &[
                &[VERSION],
                &self.source.0,
                &self.epoch.to_le_bytes(),
                &self.seq.to_le_bytes(),
                &self.prev_head.0,
                &self.root.0,
                &self.info.0,
                &self.nodes.to_le_bytes(),
                &self.records.to_le_bytes(),
                &[self.state as u8],
            ],
        );
        debug_assert!(filled.is_ok_and(|filled| filled.len() == SNAPSHOT_BODY_BYTES));
        bytes
    }

    /// Reads a body with its signature; answers the fields, the signed body and the signature to verify.
    ///
    /// # Errors
    /// When the bytes are no snapshot.
    pub fn read(bytes: &[u8]) -> Result<(Self, &[u8], Signature), SignedError> {
        let (body, signature) = split_signature(Self::WHAT, bytes)?;
        let mut reader = Reader::open(Self::WHAT, body)?;
        let snapshot = Self {
            source: SourceId(reader.array()?),
            epoch: reader.u32()?,
            seq: reader.u64()?,
            prev_head: Id(reader.array()?),
            root: Id(reader.array()?),
            info: Id(reader.array()?),
            nodes: reader.u64()?,
            records: reader.u64()?,
            state: match reader.u8()? {
                1 => Completeness::Complete,
                2 => Completeness::Partial,
                _ => return Err(SignedError::Field(Self::WHAT)),
            },
        };
        reader.end()?;
        Ok((snapshot, body, signature))
    }
}

/// What a box signs after a commit: its promise, and the place in its ledger that a monitor can compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The store.
    pub store: StoreId,
    /// The source.
    pub source: SourceId,
    /// The snapshot's sequence number.
    pub seq: u64,
    /// The snapshot's head.
    pub head: Id,
    /// Number of the ledger block that holds the commit.
    pub ledger_block: u64,
    /// Hash of that block.
    pub ledger_hash: LedgerHash,
    /// The box's clock, seconds since 1970.
    pub time_s: u64,
}

impl Receipt {
    const WHAT: &'static str = "receipt";

    /// The body without its signature.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; RECEIPT_BODY_BYTES] {
        let mut bytes = [0u8; RECEIPT_BODY_BYTES];
        let filled = fill(
            Self::WHAT,
            &mut bytes,
            &[
                &[VERSION],
                &self.store.0,
                &self.source.0,
                &self.seq.to_le_bytes(),
                &self.head.0,
                &self.ledger_block.to_le_bytes(),
                &self.ledger_hash.0,
                &self.time_s.to_le_bytes(),
            ],
        );
        debug_assert!(filled.is_ok_and(|filled| filled.len() == RECEIPT_BODY_BYTES));
        bytes
    }

    /// Reads a receipt with its signature; answers the fields, the signed body and the signature to verify.
    ///
    /// # Errors
    /// When the bytes are no receipt.
    pub fn read(bytes: &[u8]) -> Result<(Self, &[u8], Signature), SignedError> {
        let (body, signature) = split_signature(Self::WHAT, bytes)?;
        let mut reader = Reader::open(Self::WHAT, body)?;
        let receipt = Self {
            store: StoreId(reader.array()?),
            source: SourceId(reader.array()?),
            seq: reader.u64()?,
            head: Id(reader.array()?),
            ledger_block: reader.u64()?,
            ledger_hash: LedgerHash(reader.array()?),
            time_s: reader.u64()?,
        };
        reader.end()?;
        Ok((receipt, body, signature))
    }
}

/// Where a machine says it can be reached. A hint, never a trust decision: only a higher sequence number from the pinned
/// key replaces an older record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressRecord<'a> {
    /// The machine's TLS key, which signs the record.
    pub key: PublicKey,
    /// Rises with every change.
    pub seq: u64,
    /// IPv6 address (16 bytes) and port (u16 little-endian) each.
    addresses: &'a [u8],
}

impl<'a> AddressRecord<'a> {
    const WHAT: &'static str = "address record";
    /// Bytes of one packed address.
    pub const PACKED_BYTES: usize = 18;

    /// A record over packed addresses.
    ///
    /// # Errors
    /// When the addresses are torn or too many.
    pub fn new(key: PublicKey, seq: u64, addresses: &'a [u8]) -> Result<Self, SignedError> {
        let whole = addresses.len().is_multiple_of(Self::PACKED_BYTES);
        if !whole || addresses.len() > ADDRESSES_MAX.saturating_mul(Self::PACKED_BYTES) {
            return Err(SignedError::Field(Self::WHAT));
        }
        Ok(Self { key, seq, addresses })
    }

    /// Writes the body without its signature.
    ///
    /// # Errors
    /// When the buffer is too small.
    pub fn write<'b>(&self, buffer: &'b mut [u8]) -> Result<&'b mut [u8], SignedError> {
        let count = u8::try_from(self.addresses.len().div_euclid(Self::PACKED_BYTES))
            .map_err(|_| SignedError::Field(Self::WHAT))?;
        fill(Self::WHAT, buffer, &[&[VERSION], &self.key.0, &self.seq.to_le_bytes(), &[count], self.addresses])
    }

    /// Reads a record with its signature; answers the fields, the signed body and the signature to verify.
    ///
    /// # Errors
    /// When the bytes are no address record.
    pub fn read(bytes: &'a [u8]) -> Result<(Self, &'a [u8], Signature), SignedError> {
        let (body, signature) = split_signature(Self::WHAT, bytes)?;
        let mut reader = Reader::open(Self::WHAT, body)?;
        let key = PublicKey(reader.array()?);
        let seq = reader.u64()?;
        let count = usize::from(reader.u8()?);
        let addresses = reader.bytes(count.saturating_mul(Self::PACKED_BYTES))?;
        reader.end()?;
        Ok((Self::new(key, seq, addresses)?, body, signature))
    }

    /// The addresses and ports.
    pub fn addresses(&self) -> impl Iterator<Item = ([u8; 16], u16)> + 'a {
        self.addresses.chunks_exact(Self::PACKED_BYTES).filter_map(|packed| {
            let (ip, port) = packed.split_first_chunk::<16>()?;
            Some((*ip, u16::from_le_bytes(port.try_into().ok()?)))
        })
    }
}
