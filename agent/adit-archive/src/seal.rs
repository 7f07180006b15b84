// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Plaintext to sealed record and back; content ids; the records that are signed instead of sealed.
//!
//! Compress, pad, then seal; open checks everything in the reverse order and the id at the end. Nothing here knows what
//! a plaintext means, and nothing repairs: bytes that fail are damaged, never zeros.

mod body;
mod opener;
mod sealer;

pub use body::{Padding, padme};
pub use opener::{OpenError, Opener, SnapshotError, check_snapshot};
pub(crate) use sealer::Pressed;
pub use sealer::{LEVEL_DEFAULT, SealError, Sealer};

use crate::keys::{IdKey, SourceKeys};
use adit_wire::ids::{Id, KeyId};
use adit_wire::record::{Class, HASH_BYTES, HEADER_BYTES, Header, RECORD_BYTES_MAX};
use adit_wire::signed::{PREFIX_SNAPSHOT, Snapshot};

/// Longest plaintext of one record, bytes.
pub const PLAIN_BYTES_MAX: usize = RECORD_BYTES_MAX;

/// What a sealed record holds. The box sees its [`Class`] only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Kind {
    /// A piece of one file.
    Chunk = 1,
    /// Several small files.
    Bundle = 2,
    /// Reserved: a change to a chunk.
    Patch = 3,
    /// Tree entries.
    Leaf = 4,
    /// Nodes of the tree above leaves.
    Inner = 5,
    /// The chunks of a large file.
    List = 6,
    /// What a snapshot was taken of.
    Info = 7,
}

impl Kind {
    /// The kind of a sealed byte.
    #[must_use]
    pub const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Self::Chunk),
            2 => Some(Self::Bundle),
            3 => Some(Self::Patch),
            4 => Some(Self::Leaf),
            5 => Some(Self::Inner),
            6 => Some(Self::List),
            7 => Some(Self::Info),
            _ => None,
        }
    }

    /// What the box sees of it.
    #[must_use]
    pub const fn class(self) -> Class {
        match self {
            Self::Chunk | Self::Bundle | Self::Patch | Self::Info => Class::Data,
            Self::Leaf | Self::Inner | Self::List => Class::Node,
        }
    }
}

/// What is to be sealed.
#[derive(Clone, Copy, Debug)]
pub struct Content<'a> {
    /// What it is.
    pub kind: Kind,
    /// 0 for data, else above the height of every referenced node.
    pub height: u8,
    /// Referenced nodes, strictly ascending.
    pub node_refs: &'a [Id],
    /// Referenced data, strictly ascending.
    pub data_refs: &'a [Id],
    /// The bytes.
    pub plain: &'a [u8],
}

impl<'a> Content<'a> {
    /// Data, which references nothing.
    #[must_use]
    pub const fn data(kind: Kind, plain: &'a [u8]) -> Self {
        Self { kind, height: 0, node_refs: &[], data_refs: &[], plain }
    }

    /// The content's id.
    #[must_use]
    pub fn id(&self, key: &IdKey) -> Id {
        content_id(key, self.kind, self.node_refs, self.data_refs, self.plain)
    }
}

/// The id of content: keyed BLAKE3 of its kind, references and bytes. Equal content of one source has equal ids; nobody
/// without the key can tell which content an id names.
#[must_use]
pub fn content_id(key: &IdKey, kind: Kind, node_refs: &[Id], data_refs: &[Id], plain: &[u8]) -> Id {
    let refs = node_refs.iter().chain(data_refs).map(|id| id.0.as_slice());
    keyed_id(key, kind, [node_refs.len(), data_refs.len()], refs, plain)
}

fn keyed_id<'a>(key: &IdKey, kind: Kind, counts: [usize; 2], refs: impl Iterator<Item = &'a [u8]>, plain: &[u8]) -> Id {
    let mut hasher = blake3::Hasher::new_keyed(key.0.expose());
    let [nodes, data] = counts.map(|count| u16::try_from(count).expect("references are counted in 16 bits"));
    hasher.update(&[kind as u8]).update(&nodes.to_le_bytes()).update(&data.to_le_bytes());
    for part in refs {
        hasher.update(part);
    }
    Id(*hasher.update(plain).finalize().as_bytes())
}

/// The snapshot record: signed by the source, its id is the new head. `root_height` is the root node's height.
///
/// # Panics
/// When the snapshot names another source or epoch than the keys: the caller made both.
#[must_use]
pub fn snapshot_record(keys: &SourceKeys, snapshot: &Snapshot, root_height: u8) -> Vec<u8> {
    assert!(snapshot.source == keys.source() && snapshot.epoch == keys.epoch(), "a snapshot is signed by its source");
    let mut body = snapshot.to_bytes().to_vec();
    let signature = keys.signing().sign(PREFIX_SNAPSHOT, &[&body]);
    body.extend_from_slice(&signature.0);
    signed_record(Class::Snapshot, root_height.saturating_add(1), &[snapshot.root, snapshot.info], &body)
}

/// A record around a signed body; its id is BLAKE3 of the body. References, if any, are one node and one datum.
pub(crate) fn signed_record(class: Class, height: u8, refs: &[Id], body: &[u8]) -> Vec<u8> {
    let refs_each = u16::from(!refs.is_empty());
    let header = Header {
        class,
        suite: 0,
        height,
        node_refs: refs_each,
        data_refs: refs_each,
        body_bytes: u32::try_from(body.len()).expect("signed bodies are short"),
        counter: 0,
        id: Id(*blake3::hash(body).as_bytes()),
        key_id: KeyId::ZERO,
    };
    let mut record = Vec::with_capacity(HEADER_BYTES + refs.len() * Id::BYTES + body.len() + HASH_BYTES);
    record.extend_from_slice(&header.to_bytes());
    for id in refs {
        record.extend_from_slice(&id.0);
    }
    record.extend_from_slice(body);
    let hash = blake3::hash(&record);
    record.extend_from_slice(hash.as_bytes());
    record
}

#[cfg(test)]
mod tests;
