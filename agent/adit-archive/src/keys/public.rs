// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Public halves: what a server needs to wrap its run keys for someone who can recover.

use super::recovery::RecoveryKey;
use super::signing::verify;
use adit_wire::ids::{PublicKey, RecipientId, Signature};
use data_encoding::BASE64;
use hpke::Deserializable;
use hpke::Kem as KemTrait;
use hpke::kem::XWing;
use std::fmt;
use std::fmt::Write as _;

const PREFIX_PUBLIC: &[u8] = b"adit recovery public v1\0";
const BEGIN: &str = "-----BEGIN ADIT PUBLIC RECOVERY KEY-----";
const END: &str = "-----END ADIT PUBLIC RECOVERY KEY-----";
const VERSION: u8 = 1;
/// version · O's key · KEM key · signature · checksum.
const BYTES: usize = 1 + PublicKey::BYTES + KemPublicKey::BYTES + Signature::BYTES + CHECK_BYTES;
const CHECK_BYTES: usize = 8;
const LINE_CHARS: usize = 64;

/// An X-Wing public key.
#[derive(Clone, PartialEq, Eq)]
pub struct KemPublicKey(Box<[u8; Self::BYTES]>);

impl KemPublicKey {
    /// Length in bytes.
    pub const BYTES: usize = 1_216;

    /// The key, if the bytes are one.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let array: Box<[u8; Self::BYTES]> = Box::new(bytes.try_into().ok()?);
        let key = Self(array);
        key.parse().map(|_| key)
    }

    pub(crate) fn parse(&self) -> Option<<XWing as KemTrait>::PublicKey> {
        <XWing as KemTrait>::PublicKey::from_bytes(&self.0[..]).ok()
    }

    /// The bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; Self::BYTES] {
        &self.0
    }

    /// Names the key in key records.
    #[must_use]
    pub fn recipient_id(&self) -> RecipientId {
        let mut id = RecipientId::ZERO;
        id.0.copy_from_slice(&blake3::hash(&self.0[..]).as_bytes()[..RecipientId::BYTES]);
        id
    }
}

impl fmt::Debug for KemPublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KemPublicKey({:?})", self.recipient_id())
    }
}

/// Someone for whom run keys are wrapped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipient {
    /// What people call it.
    pub name: String,
    /// The key to wrap for.
    pub kem: KemPublicKey,
}

/// The public recovery file: KEM key and recovery signing key, tied together by a signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecoveryPublic {
    signing_key: PublicKey,
    kem: KemPublicKey,
    signature: Signature,
}

impl RecoveryPublic {
    pub(super) fn sign(key: &RecoveryKey) -> Self {
        let kem = key.kem_public().clone();
        let signature = key.signing().sign(PREFIX_PUBLIC, &[kem.as_bytes()]);
        Self { signing_key: key.signing().public(), kem, signature }
    }

    /// The recovery signing key's public half, which names the whole recovery key.
    #[must_use]
    pub const fn signing_key(&self) -> PublicKey {
        self.signing_key
    }

    /// The KEM key.
    #[must_use]
    pub const fn kem(&self) -> &KemPublicKey {
        &self.kem
    }

    /// As a recipient of run keys.
    #[must_use]
    pub fn recipient(&self, name: &str) -> Recipient {
        Recipient { name: name.to_owned(), kem: self.kem.clone() }
    }

    /// The file's text. Not secret.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut bytes = Vec::with_capacity(BYTES);
        bytes.push(VERSION);
        bytes.extend_from_slice(&self.signing_key.0);
        bytes.extend_from_slice(self.kem.as_bytes());
        bytes.extend_from_slice(&self.signature.0);
        let check = blake3::hash(&bytes);
        bytes.extend_from_slice(&check.as_bytes()[..CHECK_BYTES]);
        let encoded = BASE64.encode(&bytes);
        let mut text = String::with_capacity(encoded.len() + 512);
        text.push_str("# Public recovery key of adit. Not secret: give it to each machine that is to be backed up.\n");
        let _ = writeln!(text, "# Recovery signing key: {}", self.signing_key);
        let _ = writeln!(text, "{BEGIN}");
        let mut rest = encoded.as_str();
        while !rest.is_empty() {
            let (line, more) = rest.split_at(rest.len().min(LINE_CHARS));
            let _ = writeln!(text, "{line}");
            rest = more;
        }
        let _ = writeln!(text, "{END}");
        text
    }

    /// Reads the file's text. Line breaks, indentation and quoting marks (">") that copying adds do not matter.
    ///
    /// # Errors
    /// What is missing or damaged.
    pub fn from_text(text: &str) -> Result<Self, PublicFileError> {
        let (_, after) = text.split_once(BEGIN).ok_or(PublicFileError::NoBegin)?;
        let (inside, _) = after.split_once(END).ok_or(PublicFileError::NoEnd)?;
        let encoded: String = inside.chars().filter(|c| !c.is_whitespace() && *c != '>').collect();
        if let Some(odd) = encoded.chars().find(|c| !c.is_ascii_alphanumeric() && !matches!(c, '+' | '/' | '=')) {
            return Err(PublicFileError::Character(odd));
        }
        let expected = BASE64.encode_len(BYTES);
        if encoded.len() != expected {
            return Err(PublicFileError::Length { got: encoded.len(), expected });
        }
        let bytes = BASE64.decode(encoded.as_bytes()).map_err(|_| PublicFileError::Check)?;
        let (body, check) = bytes.split_at(bytes.len().saturating_sub(CHECK_BYTES));
        if blake3::hash(body).as_bytes()[..CHECK_BYTES] != *check {
            return Err(PublicFileError::Check);
        }
        Self::from_body(body)
    }

    fn from_body(body: &[u8]) -> Result<Self, PublicFileError> {
        let (version, rest) = body.split_first().ok_or(PublicFileError::Check)?;
        if *version != VERSION {
            return Err(PublicFileError::Version(*version));
        }
        let (signing_key, rest) = rest.split_first_chunk::<32>().ok_or(PublicFileError::Check)?;
        let (kem, signature) = rest.split_first_chunk::<{ KemPublicKey::BYTES }>().ok_or(PublicFileError::Check)?;
        let signature = Signature::from_slice(signature).ok_or(PublicFileError::Check)?;
        let signing_key = PublicKey(*signing_key);
        if !verify(&signing_key, PREFIX_PUBLIC, &[kem], &signature) {
            return Err(PublicFileError::Signature);
        }
        let kem = KemPublicKey::from_bytes(kem).ok_or(PublicFileError::Kem)?;
        Ok(Self { signing_key, kem, signature })
    }
}

/// Why a text is no public recovery key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PublicFileError {
    /// The first line is missing.
    #[error("there is no public recovery key here: the line \"{BEGIN}\" is missing")]
    NoBegin,
    /// The last line is missing.
    #[error("the public recovery key ends early: the line \"{END}\" is missing; copy the whole text")]
    NoEnd,
    /// Something that base64 does not have.
    #[error("the public recovery key is damaged: {0:?} does not belong in it")]
    Character(char),
    /// Lines are missing or doubled.
    #[error(
        "the public recovery key is damaged: {got} characters between its first and last line, expected {expected}"
    )]
    Length {
        /// What was there.
        got: usize,
        /// What belongs there.
        expected: usize,
    },
    /// Characters were changed.
    #[error("the public recovery key is damaged: its checksum does not match; copy it again")]
    Check,
    /// Written by a newer program.
    #[error("the public recovery key has version {0}, this program reads {VERSION}")]
    Version(u8),
    /// The two keys do not belong together.
    #[error("the public recovery key was altered: its signature does not match; get it again from whoever made it")]
    Signature,
    /// The KEM refuses the key.
    #[error("the public recovery key holds no valid KEM key")]
    Kem,
}
