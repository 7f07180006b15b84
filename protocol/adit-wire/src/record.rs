// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A record: the unit that is sealed by a source, sent, stored, replicated and checked. Client header, references, body
//! and record hash are the same bytes on the wire, on disk and on a replica; the box can check all of it without a key.

use crate::ids::{Id, KeyId, RecordHash};
use crate::list::Ids;

/// Version byte of the client header.
pub const RECORD_VERSION: u8 = 1;
/// Bytes of the client header.
pub const HEADER_BYTES: usize = 64;
/// Bytes of the record hash at the end.
pub const HASH_BYTES: usize = 32;
/// Largest whole record, header to hash, in bytes.
pub const RECORD_BYTES_MAX: usize = 2 << 20;
/// Node and data references of one record together.
pub const REFS_MAX: usize = 4_096;
/// Levels of nodes above the data: a deeper tree is refused, so that walks are bounded.
pub const HEIGHT_MAX: u8 = 16;
/// AES-256-GCM.
pub const SUITE_AES_256_GCM: u8 = 1;
/// ChaCha20-Poly1305, for processors without AES instructions.
pub const SUITE_CHACHA20_POLY1305: u8 = 2;

/// What the box may know of a record's purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[repr(u8)]
pub enum Class {
    /// Sealed content: chunk, bundle or info. References nothing.
    Data = 1,
    /// Sealed structure: leaf, inner or list node. References nodes and data.
    Node = 2,
    /// A signed snapshot record. References its root node and its info record.
    Snapshot = 3,
    /// A signed key record. References nothing.
    Key = 4,
}

impl Class {
    const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Self::Data),
            2 => Some(Self::Node),
            3 => Some(Self::Snapshot),
            4 => Some(Self::Key),
            _ => None,
        }
    }
}

/// The client header: 64 bytes, all of them authenticated with the sealed body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// What the record is for.
    pub class: Class,
    /// The AEAD; 0 for signed records.
    pub suite: u8,
    /// 0 for data and key records, else above the height of everything referenced.
    pub height: u8,
    /// How many of the references are nodes.
    pub node_refs: u16,
    /// How many of the references are data.
    pub data_refs: u16,
    /// Bytes of the body, AEAD tag included.
    pub body_bytes: u32,
    /// Rises with every sealed record of one key id; 0 for signed records.
    pub counter: u32,
    /// The record's id.
    pub id: Id,
    /// The session key's name; zero for signed records.
    pub key_id: KeyId,
}

impl Header {
    /// The 64 bytes.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0u8; HEADER_BYTES];
        let parts: [&[u8]; 8] = [
            &[RECORD_VERSION, self.class as u8, self.suite, self.height],
            &self.node_refs.to_le_bytes(),
            &self.data_refs.to_le_bytes(),
            &self.body_bytes.to_le_bytes(),
            &self.counter.to_le_bytes(),
            &self.id.0,
            &self.key_id.0,
            &[],
        ];
        for (to, from) in bytes.iter_mut().zip(parts.into_iter().flatten()) {
            *to = *from;
        }
        bytes
    }

    /// Reads and checks the 64 bytes: version, class and the rules between fields, not the body.
    ///
    /// # Errors
    /// The first rule that the bytes break.
    pub fn from_bytes(bytes: &[u8; HEADER_BYTES]) -> Result<Self, RecordError> {
        let [version, class, suite, height, n0, n1, d0, d1, b0, b1, b2, b3, c0, c1, c2, c3, rest @ ..] = *bytes;
        if version != RECORD_VERSION {
            return Err(RecordError::Version(version));
        }
        let class = Class::from_byte(class).ok_or(RecordError::Class(class))?;
        let mut id = Id::ZERO;
        let mut key_id = KeyId::ZERO;
        for (to, from) in id.0.iter_mut().chain(key_id.0.iter_mut()).zip(rest) {
            *to = from;
        }
        let header = Self {
            class,
            suite,
            height,
            node_refs: u16::from_le_bytes([n0, n1]),
            data_refs: u16::from_le_bytes([d0, d1]),
            body_bytes: u32::from_le_bytes([b0, b1, b2, b3]),
            counter: u32::from_le_bytes([c0, c1, c2, c3]),
            id,
            key_id,
        };
        header.check()?;
        Ok(header)
    }

    fn check(&self) -> Result<(), RecordError> {
        let refs = self.refs_count();
        if refs > REFS_MAX {
            return Err(RecordError::TooManyRefs(refs));
        }
        if self.bytes() > RECORD_BYTES_MAX {
            return Err(RecordError::TooLong(self.bytes()));
        }
        let fits = match self.class {
            Class::Data | Class::Key => refs == 0 && self.height == 0,
            Class::Node => self.height >= 1 && self.height <= HEIGHT_MAX,
            Class::Snapshot => self.node_refs == 1 && self.data_refs == 1 && self.height >= 2,
        };
        let sealed = matches!(self.class, Class::Data | Class::Node);
        let suite_fits = if sealed {
            matches!(self.suite, SUITE_AES_256_GCM | SUITE_CHACHA20_POLY1305)
        } else {
            self.suite == 0 && self.counter == 0 && self.key_id.is_zero()
        };
        if fits && suite_fits { Ok(()) } else { Err(RecordError::Rule(self.class)) }
    }

    /// Node and data references together.
    #[must_use]
    pub fn refs_count(&self) -> usize {
        usize::from(self.node_refs).saturating_add(usize::from(self.data_refs))
    }

    /// Bytes of the whole record, header to hash.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.refs_count()
            .saturating_mul(Id::BYTES)
            .saturating_add(HEADER_BYTES)
            .saturating_add(HASH_BYTES)
            .saturating_add(usize::try_from(self.body_bytes).unwrap_or(usize::MAX))
    }
}

/// A whole record, parsed and checked where it lies.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// The client header.
    pub header: Header,
    /// Referenced nodes, strictly ascending.
    pub node_refs: Ids<'a>,
    /// Referenced data, strictly ascending.
    pub data_refs: Ids<'a>,
    /// Sealed or signed bytes.
    pub body: &'a [u8],
    /// BLAKE3 of all before it.
    pub hash: RecordHash,
    bytes: &'a [u8],
}

impl<'a> Record<'a> {
    /// Parses a whole record and checks lengths, caps, field rules, the order of references, the record hash, and the
    /// unkeyed id of signed records. What is left to check needs a key or the rest of the store.
    ///
    /// # Errors
    /// The first rule that the bytes break.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, RecordError> {
        let record = Self::split(bytes)?;
        record.check()?;
        Ok(record)
    }

    fn split(bytes: &'a [u8]) -> Result<Self, RecordError> {
        let (head, rest) = bytes.split_first_chunk::<HEADER_BYTES>().ok_or(RecordError::Truncated)?;
        let header = Header::from_bytes(head)?;
        if header.bytes() != bytes.len() {
            return Err(RecordError::Length { stated: header.bytes(), got: bytes.len() });
        }
        let split = |part: &'a [u8], count: usize| {
            part.split_at_checked(count.saturating_mul(Id::BYTES)).ok_or(RecordError::Truncated)
        };
        let (node_refs, rest) = split(rest, usize::from(header.node_refs))?;
        let (data_refs, rest) = split(rest, usize::from(header.data_refs))?;
        let (body, hash) = rest.split_last_chunk::<HASH_BYTES>().ok_or(RecordError::Truncated)?;
        Ok(Self {
            header,
            node_refs: Ids::new(node_refs).ok_or(RecordError::Truncated)?,
            data_refs: Ids::new(data_refs).ok_or(RecordError::Truncated)?,
            body,
            hash: RecordHash(*hash),
            bytes,
        })
    }

    /// Splits bytes that [`Record::parse`] took before, without hashing them again.
    ///
    /// # Errors
    /// When the bytes do not even split.
    pub fn assume_checked(bytes: &'a [u8]) -> Result<Self, RecordError> {
        Self::split(bytes)
    }

    fn check(&self) -> Result<(), RecordError> {
        if !ascends(self.node_refs) || !ascends(self.data_refs) {
            return Err(RecordError::RefsOrder);
        }
        let (_, hashed) = self.bytes.split_last_chunk::<HASH_BYTES>().map_or((&[][..], &[][..]), |(a, _)| (a, a));
        if blake3::hash(hashed).as_bytes() != &self.hash.0 {
            return Err(RecordError::Hash);
        }
        let signed = matches!(self.header.class, Class::Snapshot | Class::Key);
        if signed && blake3::hash(self.body).as_bytes() != &self.header.id.0 {
            return Err(RecordError::SignedId);
        }
        Ok(())
    }

    /// All bytes, header to hash.
    #[must_use]
    pub const fn as_bytes(&self) -> &'a [u8] {
        self.bytes
    }
}

fn ascends(ids: Ids<'_>) -> bool {
    ids.iter().zip(ids.iter().skip(1)).all(|(low, high)| low < high)
}

/// Why bytes are no record. All of it is the sender's or the disk's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// Fewer bytes than the fixed parts need.
    #[error("record ends early")]
    Truncated,
    /// A version this program does not know.
    #[error("record has version {0}, this program reads {RECORD_VERSION}")]
    Version(u8),
    /// A class this program does not know.
    #[error("record has unknown class {0}")]
    Class(u8),
    /// More references than [`REFS_MAX`].
    #[error("record has {0} references, the limit is {REFS_MAX}")]
    TooManyRefs(usize),
    /// Longer than [`RECORD_BYTES_MAX`].
    #[error("record states {0} bytes, the limit is {RECORD_BYTES_MAX}")]
    TooLong(usize),
    /// The header's lengths do not add up to the bytes at hand.
    #[error("record states {stated} bytes, got {got}")]
    Length {
        /// What the header adds up to.
        stated: usize,
        /// What was there.
        got: usize,
    },
    /// Height, references, suite, counter or key id do not fit the class.
    #[error("fields of a {0:?} record contradict each other")]
    Rule(Class),
    /// References are not strictly ascending.
    #[error("references are not strictly ascending")]
    RefsOrder,
    /// The record hash does not match.
    #[error("record hash does not match")]
    Hash,
    /// A signed record's id is not the hash of its body.
    #[error("id of a signed record is not the hash of its body")]
    SignedId,
}
