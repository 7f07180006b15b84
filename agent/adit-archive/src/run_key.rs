// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A run's key: drawn for one OPEN, wrapped for every recipient, signed by the source, forgotten at the end.
//!
//! The wrap is HPKE in base mode, which anyone can make: a key record counts only after the signature by a certified
//! signing key, and the seed in it only when it matches the certificate.

use crate::keys::{Certified, Recipient, RecoveryKey, Seed, SourceKeys, verify};
use crate::seal::signed_record;
use crate::secret::Secret;
use adit_wire::ids::{Check, KeyId, PublicKey, RecipientId, SourceId};
use adit_wire::record::{Class, Record, RecordError, SUITE_AES_256_GCM, SUITE_CHACHA20_POLY1305};
use adit_wire::signed::{KeyRecord, PREFIX_KEY, SignedError, WRAP_BYTES, WRAPPED_BYTES};
use hpke::aead::{AeadCtxS, AesGcm256};
use hpke::kdf::HkdfSha256;
use hpke::kem::XWing;
use hpke::rand_core::{TryCryptoRng, TryRng};
use hpke::{Deserializable, OpModeR, OpModeS, Serializable, setup_receiver, setup_sender_with_rng};
use std::convert::Infallible;
use zeroize::Zeroizing;

const CONTEXT_KEY_CHECK: &str = "adit 2026 key check v1";
const PREFIX_WRAP: &[u8] = b"adit wrap v1\0";
const PLAIN_BYTES: usize = 64;

/// The AEAD of a run's records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Suite {
    /// AES-256-GCM: the default.
    #[default]
    Aes256Gcm = SUITE_AES_256_GCM,
    /// ChaCha20-Poly1305: for processors without AES instructions.
    ChaCha20Poly1305 = SUITE_CHACHA20_POLY1305,
}

impl Suite {
    /// The suite of a header's byte.
    #[must_use]
    pub const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            SUITE_AES_256_GCM => Some(Self::Aes256Gcm),
            SUITE_CHACHA20_POLY1305 => Some(Self::ChaCha20Poly1305),
            _ => None,
        }
    }
}

/// The key of one run's records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunKey {
    id: KeyId,
    suite: Suite,
    key: Secret<32>,
}

impl RunKey {
    /// A new key with a new name. `fill` must be the operating system's randomness itself, not a generator that a
    /// rolled-back machine would repeat.
    pub fn generate(suite: Suite, fill: &mut dyn FnMut(&mut [u8])) -> Self {
        let mut id = KeyId::ZERO;
        fill(&mut id.0);
        Self { id, suite, key: Secret::random(fill) }
    }

    /// Its name.
    #[must_use]
    pub const fn id(&self) -> KeyId {
        self.id
    }

    /// The AEAD it is for.
    #[must_use]
    pub const fn suite(&self) -> Suite {
        self.suite
    }

    pub(crate) const fn key(&self) -> &Secret<32> {
        &self.key
    }

    /// Commits to the key without telling it.
    #[must_use]
    pub fn check(&self) -> Check {
        Check(*self.key.derive(CONTEXT_KEY_CHECK).expose())
    }

    /// The whole key record: this key and the source's seed, wrapped for each recipient, signed by the source.
    ///
    /// # Errors
    /// When there are no recipients, too many or the same twice.
    pub fn key_record(
        &self,
        keys: &SourceKeys,
        recipients: &[Recipient],
        fill: &mut dyn FnMut(&mut [u8]),
    ) -> Result<Vec<u8>, KeyRecordError> {
        let mut wraps = Vec::with_capacity(recipients.len() * WRAP_BYTES);
        let mut seen: Vec<RecipientId> = Vec::with_capacity(recipients.len());
        for recipient in recipients {
            let id = recipient.kem.recipient_id();
            if seen.contains(&id) {
                return Err(KeyRecordError::RecipientTwice(recipient.name.clone()));
            }
            seen.push(id);
            self.wrap(keys, recipient, id, fill, &mut wraps)?;
        }
        let record = KeyRecord::new(keys.source(), keys.epoch(), self.id, self.suite as u8, self.check(), &wraps)?;
        let mut body = vec![0; record.body_bytes()];
        record.write(&mut body)?;
        let signature = keys.signing().sign(PREFIX_KEY, &[&body]);
        body.extend_from_slice(&signature.0);
        Ok(signed_record(Class::Key, 0, &[], &body))
    }

    fn wrap(
        &self,
        keys: &SourceKeys,
        recipient: &Recipient,
        id: RecipientId,
        fill: &mut dyn FnMut(&mut [u8]),
        wraps: &mut Vec<u8>,
    ) -> Result<(), KeyRecordError> {
        let failed = || KeyRecordError::Wrap(recipient.name.clone());
        let public = recipient.kem.parse().ok_or_else(failed)?;
        let info = wrap_info(&keys.source(), &self.id, &id);
        let mut plain = Zeroizing::new([0u8; PLAIN_BYTES]);
        plain[..32].copy_from_slice(self.key.expose());
        plain[32..].copy_from_slice(keys.seed().0.expose());
        let (enc, mut context): (_, AeadCtxS<AesGcm256, HkdfSha256, XWing>) =
            setup_sender_with_rng(&OpModeS::Base, &public, &info, &mut Fill(fill)).map_err(|_| failed())?;
        let wrapped = context.seal(&plain[..], &[]).map_err(|_| failed())?;
        wraps.extend_from_slice(&id.0);
        wraps.extend_from_slice(&enc.to_bytes());
        wraps.extend_from_slice(&wrapped);
        Ok(())
    }
}

fn wrap_info(source: &SourceId, key: &KeyId, recipient: &RecipientId) -> Vec<u8> {
    [PREFIX_WRAP, &source.0, &key.0, &recipient.0].concat()
}

/// What a key record held.
#[derive(Clone, Debug)]
pub struct Opened {
    /// The run's key.
    pub run_key: RunKey,
    /// The source's seed at that time.
    pub seed: Seed,
    /// The source's epoch at that time.
    pub epoch: u32,
}

/// Reads a key record and checks that `signing_key` signed it for `source`. Needs no secret.
///
/// # Errors
/// Why the bytes are no key record of this source.
pub fn check_key_record<'a>(
    record: &'a [u8],
    source: &SourceId,
    signing_key: &PublicKey,
) -> Result<KeyRecord<'a>, OpenKeyError> {
    let record = Record::parse(record)?;
    if record.header.class == Class::Key {
        let (_, body, signature) = KeyRecord::read(record.body)?;
        if !verify(signing_key, PREFIX_KEY, &[body], &signature) {
            return Err(OpenKeyError::Signature);
        }
    }
    fields_of(&record, source)
}

fn fields_of<'a>(record: &Record<'a>, source: &SourceId) -> Result<KeyRecord<'a>, OpenKeyError> {
    if record.header.class != Class::Key {
        return Err(OpenKeyError::Class(record.header.class));
    }
    let (fields, ..) = KeyRecord::read(record.body)?;
    if fields.source == *source { Ok(fields) } else { Err(OpenKeyError::OtherSource(fields.source)) }
}

/// Opens a key record with a recipient's recovery key: signature by the certified key, unwrap, key check, and the seed
/// against the certificate. A source's certificate changes with its epoch: give the one of the record's epoch.
///
/// # Errors
/// Why nothing in the record may be trusted.
pub fn open_key_record(record: &[u8], certified: &Certified, recipient: &RecoveryKey) -> Result<Opened, OpenKeyError> {
    let opened = open_uncertified(record, &certified.source(), &certified.signing_key(), recipient)?;
    if opened.epoch != certified.epoch() {
        return Err(OpenKeyError::Epoch { got: opened.epoch, expected: certified.epoch() });
    }
    if certified.vouches_for(&opened.seed) { Ok(opened) } else { Err(OpenKeyError::Seed) }
}

/// The same for a source that nobody certified: the signing key is the box's word only, and whoever restores must say so.
///
/// # Errors
/// Why nothing in the record may be trusted.
pub fn open_uncertified(
    record: &[u8],
    source: &SourceId,
    signing_key: &PublicKey,
    recipient: &RecoveryKey,
) -> Result<Opened, OpenKeyError> {
    unwrap(&check_key_record(record, source, signing_key)?, recipient)
}

/// The same for a record of an older epoch, whose signing key went with the machine that was replaced: not the signature
/// but the certified seed vouches. That is enough: ids are keyed by the seed, so that nothing made without it fits an id
/// of the history, whoever wrapped the run's key.
///
/// # Errors
/// Why nothing in the record may be trusted; [`OpenKeyError::Epoch`] for a record that is not older.
pub fn open_by_seed(record: &[u8], certified: &Certified, recipient: &RecoveryKey) -> Result<Opened, OpenKeyError> {
    let fields = fields_of(&Record::parse(record)?, &certified.source())?;
    if fields.epoch >= certified.epoch() {
        return Err(OpenKeyError::Epoch { got: fields.epoch, expected: certified.epoch() });
    }
    let opened = unwrap(&fields, recipient)?;
    if certified.vouches_for(&opened.seed) { Ok(opened) } else { Err(OpenKeyError::Seed) }
}

fn unwrap(fields: &KeyRecord<'_>, recipient: &RecoveryKey) -> Result<Opened, OpenKeyError> {
    let suite = Suite::from_byte(fields.suite).ok_or(OpenKeyError::Suite(fields.suite))?;
    let id = recipient.kem_public().recipient_id();
    let wrap = fields.wraps().find(|wrap| wrap.recipient == id).ok_or(OpenKeyError::NotForUs(id))?;
    let info = wrap_info(&fields.source, &fields.key_id, &id);
    let enc = Deserializable::from_bytes(wrap.enc).map_err(|_| OpenKeyError::Unwrap)?;
    let mut context =
        setup_receiver::<AesGcm256, HkdfSha256, XWing>(&OpModeR::Base, &recipient.kem_private(), &enc, &info)
            .map_err(|_| OpenKeyError::Unwrap)?;
    let plain = Zeroizing::new(context.open(wrap.wrapped, &[]).map_err(|_| OpenKeyError::Unwrap)?);
    let (key, seed) = plain.split_first_chunk::<32>().ok_or(OpenKeyError::Unwrap)?;
    let run_key = RunKey { id: fields.key_id, suite, key: Secret::new(*key) };
    if run_key.check() != fields.key_check {
        return Err(OpenKeyError::KeyCheck);
    }
    let seed = Seed::new(seed.try_into().map_err(|_| OpenKeyError::Unwrap)?);
    Ok(Opened { run_key, seed, epoch: fields.epoch })
}

/// The caller's randomness as the KEM wants it.
struct Fill<'a>(&'a mut dyn FnMut(&mut [u8]));

impl TryRng for Fill<'_> {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        (self.0)(&mut bytes);
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        (self.0)(&mut bytes);
        Ok(u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, to: &mut [u8]) -> Result<(), Infallible> {
        (self.0)(to);
        Ok(())
    }
}

impl TryCryptoRng for Fill<'_> {}

/// Why a key record can't be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyRecordError {
    /// No recipients, or too many.
    #[error(transparent)]
    Layout(#[from] SignedError),
    /// One key under two names.
    #[error("recipient {0} is named twice")]
    RecipientTwice(String),
    /// The KEM refused.
    #[error("wrap the run's key for recipient {0}")]
    Wrap(String),
}

/// Why a key record can't be opened, or must not be trusted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenKeyError {
    /// Not a record.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// Another class of record.
    #[error("a {0:?} record lies where a key record was expected")]
    Class(Class),
    /// Not a key record's body.
    #[error(transparent)]
    Layout(#[from] SignedError),
    /// Not signed by the source.
    #[error("the key record is not signed by the source's key")]
    Signature,
    /// Signed for another source.
    #[error("the key record belongs to source {0}")]
    OtherSource(SourceId),
    /// A suite this program does not know.
    #[error("the key record names suite {0}, which this program does not know")]
    Suite(u8),
    /// No wrap for this recovery key.
    #[error("the run's key was not wrapped for this recovery key ({0})")]
    NotForUs(RecipientId),
    /// The wrap does not open.
    #[error("the wrapped run key does not open with this recovery key")]
    Unwrap,
    /// The wrapped key is not the one that the record commits to.
    #[error("the wrapped run key is not the one that the key record names")]
    KeyCheck,
    /// A signing key belongs to one epoch.
    #[error("the key record is of epoch {got}, the certificate of {expected}")]
    Epoch {
        /// The record's.
        got: u32,
        /// The certificate's.
        expected: u32,
    },
    /// The wrapped seed is not the certified one.
    #[error("the wrapped seed is not the one that the certificate names")]
    Seed,
}

const _: () = assert!(WRAPPED_BYTES == PLAIN_BYTES + 16);

#[cfg(test)]
mod tests;
