// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Opens sealed records and checks snapshot records. Every byte is a stranger's until its id is checked.

use super::body::{Codec, Context, Head, TAG_BYTES, nonce};
use super::sealer::grow;
use super::{Kind, PLAIN_BYTES_MAX, keyed_id};
use crate::keys::{IdKey, Seed, verify};
use crate::run_key::{Opened, RunKey};
use adit_wire::ids::{Id, KeyId, PublicKey, SourceId};
use adit_wire::record::{Class, Record};
use adit_wire::signed::{PREFIX_SNAPSHOT, SignedError, Snapshot};
use std::collections::HashMap;
use std::fmt;
use std::io;
use zstd::bulk::Decompressor;

/// Opens the records of one source. One per thread; it holds as many run keys as it was given.
pub struct Opener {
    source: SourceId,
    keys: HashMap<KeyId, (RunKey, IdKey)>,
    decompressor: Decompressor<'static>,
    opened: Vec<u8>,
}

impl Opener {
    /// An opener without keys.
    ///
    /// # Errors
    /// When there is no memory for a decompression context.
    pub fn new(source: SourceId) -> io::Result<Self> {
        Ok(Self { source, keys: HashMap::new(), decompressor: Decompressor::new()?, opened: Vec::new() })
    }

    /// Adds what a key record held.
    pub fn add(&mut self, opened: &Opened) {
        self.add_key(opened.run_key.clone(), &opened.seed);
    }

    /// Adds a run's key and the seed of its time.
    pub fn add_key(&mut self, run_key: RunKey, seed: &Seed) {
        self.keys.insert(run_key.id(), (run_key, seed.id_key()));
    }

    /// Whether records of this key id can be opened.
    #[must_use]
    pub fn knows(&self, key_id: &KeyId) -> bool {
        self.keys.contains_key(key_id)
    }

    /// Opens a sealed record: tag, head, padding, decompression, id. ([`Record::parse`] checked lengths and hash.)
    ///
    /// # Errors
    /// The first check that fails.
    pub fn open(&mut self, record: &Record<'_>) -> Result<(Kind, Vec<u8>), OpenError> {
        let mut plain = Vec::new();
        let kind = self.open_into(record, &mut plain)?;
        Ok((kind, plain))
    }

    /// The same into a buffer that is used again; it is left empty when a check fails.
    ///
    /// # Errors
    /// The first check that fails.
    pub fn open_into(&mut self, record: &Record<'_>, plain: &mut Vec<u8>) -> Result<Kind, OpenError> {
        plain.clear();
        let result = self.open_unchecked(record, plain);
        if result.is_err() {
            plain.clear();
        }
        result
    }

    fn open_unchecked(&mut self, record: &Record<'_>, plain: &mut Vec<u8>) -> Result<Kind, OpenError> {
        let header = &record.header;
        let damaged = |why| OpenError::Damaged(header.id, why);
        if !matches!(header.class, Class::Data | Class::Node) {
            return Err(OpenError::NotSealed(header.class));
        }
        let (run_key, id_key) = self.keys.get(&header.key_id).ok_or(OpenError::UnknownKey(header.key_id))?;
        if run_key.suite() as u8 != header.suite {
            return Err(damaged("its suite is not its key's"));
        }
        let refs_bytes = record.node_refs.as_bytes().len() + record.data_refs.as_bytes().len();
        let (head, rest) = record.as_bytes().split_first_chunk().ok_or_else(|| damaged("it ends early"))?;
        let refs = &rest[..refs_bytes];
        let context = Context::new(&self.source, head, refs);
        let (sealed, tag) = record
            .body
            .split_at_checked(record.body.len().saturating_sub(TAG_BYTES))
            .filter(|(_, tag)| tag.len() == TAG_BYTES)
            .ok_or_else(|| damaged("it ends early"))?;
        grow(&mut self.opened, sealed.len());
        let opened = &mut self.opened[..sealed.len()];
        context
            .key(run_key)
            .open_separate_gather(nonce(header.counter), context.aad(), sealed, tag, opened)
            .map_err(|_| damaged("it is not what the source sealed"))?;
        let (head, stored) = Head::split(opened).ok_or_else(|| damaged("its inner lengths or padding are wrong"))?;
        if head.kind.class() != header.class {
            return Err(damaged("its kind is not its class's"));
        }
        let raw_bytes = usize::try_from(head.raw_bytes).unwrap_or(usize::MAX);
        if raw_bytes > PLAIN_BYTES_MAX {
            return Err(damaged("it states more bytes than a record may hold"));
        }
        match head.codec {
            Codec::Raw => plain.extend_from_slice(stored),
            Codec::Zstd => {
                plain.resize(raw_bytes, 0);
                let length = self
                    .decompressor
                    .decompress_to_buffer(stored, &mut plain[..])
                    .map_err(|_| damaged("it does not decompress"))?;
                plain.truncate(length);
            }
        }
        if plain.len() != raw_bytes {
            return Err(damaged("it states another length than it has"));
        }
        let counts = [record.node_refs.count(), record.data_refs.count()];
        if keyed_id(id_key, head.kind, counts, std::iter::once(refs), plain) != header.id {
            return Err(damaged("its content does not match its id"));
        }
        Ok(head.kind)
    }
}

impl fmt::Debug for Opener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opener").field("source", &self.source).field("keys", &self.keys.len()).finish_non_exhaustive()
    }
}

/// Why a sealed record does not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// No key record of this run was opened.
    #[error("the key of run {0} is missing")]
    UnknownKey(KeyId),
    /// Signed records have nothing to open.
    #[error("a {0:?} record is not sealed")]
    NotSealed(Class),
    /// Altered, rotten or not made by this source.
    #[error("record {0} is damaged: {1}")]
    Damaged(Id, &'static str),
}

/// Checks a snapshot's body and signature: what a record holds, or what a box keeps of an expired one.
///
/// # Errors
/// Why the bytes are no snapshot of this source.
pub fn check_snapshot(body: &[u8], source: &SourceId, signing_key: &PublicKey) -> Result<Snapshot, SnapshotError> {
    let (_, signed, signature) = Snapshot::read(body)?;
    if !verify(signing_key, PREFIX_SNAPSHOT, &[signed], &signature) {
        return Err(SnapshotError::Signature);
    }
    let (snapshot, ..) = Snapshot::read(body)?;
    if snapshot.source == *source { Ok(snapshot) } else { Err(SnapshotError::OtherSource(snapshot.source)) }
}

/// Why a snapshot is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    /// Not a snapshot's body.
    #[error(transparent)]
    Layout(#[from] SignedError),
    /// Not signed by the source.
    #[error("the snapshot is not signed by the source's key")]
    Signature,
    /// Signed for another source.
    #[error("the snapshot belongs to source {0}")]
    OtherSource(SourceId),
}
