// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The sealed body: head, stored bytes, padding; and the per-record key, nonce and associated data around it.

use super::Kind;
use crate::run_key::{RunKey, Suite};
use crate::secret::Secret;
use adit_wire::ids::SourceId;
use adit_wire::record::HEADER_BYTES;
use aws_lc_rs::aead::{AES_256_GCM, Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};

/// Bytes before the stored bytes: kind, codec, zero, raw length, stored length.
pub(super) const HEAD_BYTES: usize = 12;
/// Bytes of the AEAD's tag.
pub(super) const TAG_BYTES: usize = 16;
const CONTEXT_BYTES: usize = 16 + SourceId::BYTES + HEADER_BYTES + 32;
const CONTEXT_PREFIX: &[u8; 16] = b"adit record v1\0\0";
const STRONG_STEP: usize = 8 << 10;

/// How stored bytes are encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Codec {
    Raw = 0,
    Zstd = 1,
}

/// How far a record is padded, so that its length tells less of its content.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Padding {
    /// Padmé: lengths keep only their leading bits, at most 12 % longer.
    #[default]
    Padme,
    /// Padmé, then a multiple of 8 KiB: for images and page stores, whose row of lengths is recognised otherwise.
    Strong,
}

impl Padding {
    /// The padded length of `bytes`.
    #[must_use]
    pub const fn pad(self, bytes: usize) -> usize {
        match self {
            Self::Padme => padme(bytes),
            Self::Strong => padme(bytes).next_multiple_of(STRONG_STEP),
        }
    }
}

/// Padmé: the next length whose lowest bits are zero, as many as leave log2(log2(length)) + 1 leading ones.
#[must_use]
pub const fn padme(bytes: usize) -> usize {
    if bytes < 2 {
        return bytes;
    }
    let exponent = bytes.ilog2();
    // floor(log2(exponent)) + 1, which is the count of the exponent's bits; 0 for exponent 0 does not occur here.
    let kept = u32::BITS - exponent.leading_zeros();
    let mask = (1usize << exponent.saturating_sub(kept)) - 1;
    (bytes + mask) & !mask
}

/// The head in front of the stored bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) kind: Kind,
    pub(super) codec: Codec,
    pub(super) raw_bytes: u32,
    pub(super) stored_bytes: u32,
}

impl Head {
    pub(super) fn to_bytes(self) -> [u8; HEAD_BYTES] {
        let mut bytes = [0; HEAD_BYTES];
        bytes[0] = self.kind as u8;
        bytes[1] = self.codec as u8;
        bytes[4..8].copy_from_slice(&self.raw_bytes.to_le_bytes());
        bytes[8..].copy_from_slice(&self.stored_bytes.to_le_bytes());
        bytes
    }

    /// Splits a decrypted body into head and stored bytes; answers nothing if a length, a reserved byte, the padding's
    /// length or one of its zeros is wrong.
    pub(super) fn split(plain: &[u8]) -> Option<(Self, &[u8])> {
        let (head, rest) = plain.split_first_chunk::<HEAD_BYTES>()?;
        let [kind, codec, 0, 0, r0, r1, r2, r3, s0, s1, s2, s3] = *head else { return None };
        let codec = match codec {
            0 => Codec::Raw,
            1 => Codec::Zstd,
            _ => return None,
        };
        let head = Self {
            kind: Kind::from_byte(kind)?,
            codec,
            raw_bytes: u32::from_le_bytes([r0, r1, r2, r3]),
            stored_bytes: u32::from_le_bytes([s0, s1, s2, s3]),
        };
        let (stored, padding) = rest.split_at_checked(usize::try_from(head.stored_bytes).ok()?)?;
        let unpadded = HEAD_BYTES + stored.len();
        let padded = [Padding::Padme, Padding::Strong].iter().any(|rule| rule.pad(unpadded) == plain.len());
        (padded && padding.iter().all(|byte| *byte == 0)).then_some((head, stored))
    }
}

/// What a record's key and tag depend on, besides the run's key: source, whole header, references.
pub(super) struct Context([u8; CONTEXT_BYTES]);

impl Context {
    pub(super) fn new(source: &SourceId, header: &[u8; HEADER_BYTES], refs: &[u8]) -> Self {
        let mut bytes = [0; CONTEXT_BYTES];
        bytes[..16].copy_from_slice(CONTEXT_PREFIX);
        bytes[16..32].copy_from_slice(&source.0);
        bytes[32..96].copy_from_slice(header);
        bytes[96..].copy_from_slice(blake3::hash(refs).as_bytes());
        Self(bytes)
    }

    /// The record's own key.
    pub(super) fn key(&self, run: &RunKey) -> LessSafeKey {
        let key = Secret::new(*blake3::keyed_hash(run.key().expose(), &self.0).as_bytes());
        let algorithm = match run.suite() {
            Suite::Aes256Gcm => &AES_256_GCM,
            Suite::ChaCha20Poly1305 => &CHACHA20_POLY1305,
        };
        LessSafeKey::new(UnboundKey::new(algorithm, key.expose()).expect("both ciphers take 32 bytes"))
    }

    pub(super) fn aad(&self) -> Aad<&[u8; CONTEXT_BYTES]> {
        Aad::from(&self.0)
    }
}

/// Eight zero bytes and the counter.
pub(super) fn nonce(counter: u32) -> Nonce {
    let mut bytes = [0; 12];
    bytes[8..].copy_from_slice(&counter.to_le_bytes());
    Nonce::assume_unique_for_key(bytes)
}
