// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Who may sign updates: the key set, its signatures, and how one set follows another.
//!
//! ```text
//! body        "ADITKEY1" · version u32 · 2 root keys [32] · count u8 ≤ 4 · signing keys [32] each
//! signatures  count u8 ≤ 4 · { alg u8 = 1 (Ed25519) · key id [8] · signature [64] } each
//! ```
//! A signature of a key set covers "adit keys v1\0" and the body. A set replaces a lower version when a root key of the
//! lower version signed it; so one lost or stolen signing key, and one lost root key, can be replaced for ever.

use crate::bytes::{Reader, Short, Writer};
use crate::manifest::magic;
use crate::{Verify, layout::COPY_BYTES};
use adit_wire::ids::{PublicKey, Signature};

/// First bytes of a key set; the last one counts formats.
pub const MAGIC: [u8; 8] = *b"ADITKEY1";
/// Prefix of a key set's signature.
pub const PREFIX: &[u8] = b"adit keys v1\0";
/// Signing keys of a set.
pub const SIGNING_KEYS_MAX: usize = 4;
/// Signatures under one body.
pub const SIGNATURES_MAX: usize = 4;
/// The one signature algorithm of this format: Ed25519.
pub const ALG_ED25519: u8 = 1;
/// Bytes of one signature with its algorithm and key id.
pub const SIGNATURE_BYTES: usize = 1 + SigningKeyId::BYTES + Signature::BYTES;
/// Longest body of a key set, bytes.
pub const BODY_BYTES_MAX: usize = 8 + 4 + 2 * 32 + 1 + SIGNING_KEYS_MAX * 32;
/// Longest key set with its signatures, bytes.
pub const KEY_SET_BYTES_MAX: usize = BODY_BYTES_MAX + 1 + SIGNATURES_MAX * SIGNATURE_BYTES;
const _: () = assert!(KEY_SET_BYTES_MAX < COPY_BYTES, "a key set fits one copy in the state partition");

/// Which key signed: the first eight bytes of its BLAKE3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct SigningKeyId(pub [u8; 8]);

impl SigningKeyId {
    /// Length in bytes.
    pub const BYTES: usize = 8;

    /// The id of a key.
    #[must_use]
    pub fn of(key: &PublicKey) -> Self {
        let hash = blake3::hash(&key.0);
        Self(hash.as_bytes().first_chunk().copied().unwrap_or_default())
    }
}

/// Why bytes are no key set, or not one to follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum KeysError {
    /// The first bytes are others.
    #[error("not a key set")]
    Magic,
    /// A format of a later program.
    #[error("a key set of format {0}, this program reads format 1")]
    TooNew(u8),
    /// Too few or too many bytes, keys or signatures.
    #[error("a key set of the wrong length")]
    Length,
    /// No root key of the present set signed it.
    #[error("key set {offered} is not signed by a root key of key set {present}")]
    Unsigned {
        /// The version that counts now.
        present: u32,
        /// The version that was offered.
        offered: u32,
    },
}

impl From<Short> for KeysError {
    fn from(_: Short) -> Self {
        Self::Length
    }
}

/// One signature with what it says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignatureItem {
    /// The algorithm; a signature of an unknown one is skipped.
    pub alg: u8,
    /// Which key.
    pub key_id: SigningKeyId,
    /// The signature.
    pub signature: Signature,
}

impl SignatureItem {
    /// An Ed25519 signature by a key.
    #[must_use]
    pub fn ed25519(key: &PublicKey, signature: Signature) -> Self {
        Self { alg: ALG_ED25519, key_id: SigningKeyId::of(key), signature }
    }
}

/// Signatures as they lie behind a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signatures<'a>(&'a [u8]);

/// What signatures say of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signed {
    /// A known key signed it.
    Yes,
    /// A known key is named, and no signature of one holds.
    Broken,
    /// No known key is named.
    Unknown,
}

impl<'a> Signatures<'a> {
    pub(crate) fn read(reader: &mut Reader<'a>) -> Result<Self, Short> {
        let count = usize::from(reader.u8()?);
        if count > SIGNATURES_MAX {
            return Err(Short);
        }
        let signatures = Self(reader.bytes(count.saturating_mul(SIGNATURE_BYTES))?);
        // Algorithm 0 is no algorithm: a count that reaches into the padding is an error, not more signatures.
        if signatures.iter().all(|item| item.alg != 0) { Ok(signatures) } else { Err(Short) }
    }

    pub(crate) fn write(items: &[SignatureItem], writer: &mut Writer<'_>) -> Result<(), Short> {
        let count = u8::try_from(items.len()).ok().filter(|count| usize::from(*count) <= SIGNATURES_MAX);
        writer.put(&[count.ok_or(Short)?])?;
        items.iter().try_for_each(|item| {
            writer.put(&[item.alg])?;
            writer.put(&item.key_id.0)?;
            writer.put(&item.signature.0)
        })
    }

    /// The signatures in their order.
    pub fn iter(&self) -> impl Iterator<Item = SignatureItem> + 'a {
        self.0.chunks_exact(SIGNATURE_BYTES).filter_map(|chunk| {
            let mut reader = Reader::new(chunk);
            let (alg, key_id) = (reader.u8().ok()?, SigningKeyId(reader.array().ok()?));
            Some(SignatureItem { alg, key_id, signature: Signature(reader.array().ok()?) })
        })
    }

    /// Whether one of `keys` signed `body`.
    pub(crate) fn cover(&self, prefix: &'static [u8], body: &[u8], keys: &[PublicKey], verify: &Verify<'_>) -> Signed {
        let mut known = false;
        for item in self.iter().filter(|item| item.alg == ALG_ED25519) {
            for key in keys.iter().filter(|key| SigningKeyId::of(key) == item.key_id) {
                known = true;
                if verify(key, prefix, body, &item.signature) {
                    return Signed::Yes;
                }
            }
        }
        if known { Signed::Broken } else { Signed::Unknown }
    }
}

/// Who may sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeySet {
    /// The higher version counts.
    pub version: u32,
    /// Each may sign the next key set.
    pub roots: [PublicKey; 2],
    signing: [PublicKey; SIGNING_KEYS_MAX],
    count: u8,
}

impl KeySet {
    /// A set of these keys. `None` when there are more than [`SIGNING_KEYS_MAX`].
    #[must_use]
    pub fn new(version: u32, roots: [PublicKey; 2], signing: &[PublicKey]) -> Option<Self> {
        let mut set = Self { version, roots, signing: [PublicKey::ZERO; SIGNING_KEYS_MAX], count: 0 };
        set.signing.get_mut(..signing.len())?.copy_from_slice(signing);
        set.count = u8::try_from(signing.len()).ok()?;
        Some(set)
    }

    /// The keys that sign manifests.
    #[must_use]
    pub fn signing_keys(&self) -> &[PublicKey] {
        self.signing.get(..usize::from(self.count)).unwrap_or_default()
    }

    /// Writes the body that root keys sign; answers its length. [`BODY_BYTES_MAX`] bytes suffice, fewer give `None`.
    #[must_use]
    pub fn encode(&self, out: &mut [u8]) -> Option<usize> {
        let mut writer = Writer::new(out);
        self.write(&mut writer).ok()?;
        Some(writer.len())
    }

    /// Writes the body and its signatures; answers the length. [`KEY_SET_BYTES_MAX`] bytes suffice, fewer give `None`.
    #[must_use]
    pub fn encode_signed(&self, signatures: &[SignatureItem], out: &mut [u8]) -> Option<usize> {
        let mut writer = Writer::new(out);
        self.write(&mut writer).ok()?;
        Signatures::write(signatures, &mut writer).ok()?;
        Some(writer.len())
    }

    fn write(&self, writer: &mut Writer<'_>) -> Result<(), Short> {
        writer.put(&MAGIC)?;
        writer.put(&self.version.to_le_bytes())?;
        self.roots.iter().try_for_each(|key| writer.put(&key.0))?;
        writer.put(&[self.count])?;
        self.signing_keys().iter().try_for_each(|key| writer.put(&key.0))
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, KeysError> {
        magic(reader.rest(), MAGIC).map_err(|wrong| wrong.map_or(KeysError::Magic, KeysError::TooNew))?;
        let _: [u8; 8] = reader.array()?;
        let version = reader.u32()?;
        let roots = [PublicKey(reader.array()?), PublicKey(reader.array()?)];
        let count = reader.u8()?;
        let mut signing = [PublicKey::ZERO; SIGNING_KEYS_MAX];
        for key in signing.get_mut(..usize::from(count)).ok_or(KeysError::Length)? {
            *key = PublicKey(reader.array()?);
        }
        Ok(Self { version, roots, signing, count })
    }
}

/// A key set with its signatures, as it lies in an image, an update or the state partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignedKeySet<'a> {
    /// What it says. Nothing here is checked yet: see [`SignedKeySet::follow`].
    pub set: KeySet,
    bytes: &'a [u8],
    body: &'a [u8],
    signatures: Signatures<'a>,
}

impl<'a> SignedKeySet<'a> {
    /// Reads a key set that ends where the bytes end.
    ///
    /// # Errors
    /// See [`KeysError`]; never [`KeysError::Unsigned`].
    pub fn parse(bytes: &'a [u8]) -> Result<Self, KeysError> {
        let mut reader = Reader::new(bytes);
        let set = KeySet::read(&mut reader)?;
        let body = bytes.get(..bytes.len().saturating_sub(reader.rest().len())).ok_or(KeysError::Length)?;
        let signatures = Signatures::read(&mut reader)?;
        if !reader.rest().is_empty() {
            return Err(KeysError::Length);
        }
        Ok(Self { set, bytes, body, signatures })
    }

    /// All its bytes, for the state partition.
    #[must_use]
    pub const fn as_bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The set that counts after this one was offered to a machine that has `present`: this one when its version is
    /// higher and a root key of `present` signed it, `present` when its version is not higher.
    ///
    /// # Errors
    /// [`KeysError::Unsigned`] when it is higher and not signed so.
    pub fn follow(&self, present: &KeySet, verify: &Verify<'_>) -> Result<KeySet, KeysError> {
        if self.set.version <= present.version {
            return Ok(*present);
        }
        match self.signatures.cover(PREFIX, self.body, &present.roots, verify) {
            Signed::Yes => Ok(self.set),
            Signed::Broken | Signed::Unknown => {
                Err(KeysError::Unsigned { present: present.version, offered: self.set.version })
            }
        }
    }
}
