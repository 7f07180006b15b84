// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Ed25519 over a prefix and parts. The prefix keeps a key from signing two meanings.

use crate::secret::Secret;
use adit_wire::ids::{PublicKey, Signature};
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use std::fmt;

/// An Ed25519 key pair.
pub struct SigningKey {
    seed: Secret<32>,
    pair: Ed25519KeyPair,
    public: PublicKey,
}

impl SigningKey {
    /// The pair of a seed.
    ///
    /// # Panics
    /// When the cryptographic library refuses 32 bytes, which it does not.
    #[must_use]
    pub fn from_seed(seed: Secret<32>) -> Self {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed.expose()).expect("any 32 bytes are an Ed25519 seed");
        let public = PublicKey::from_slice(pair.public_key().as_ref()).expect("an Ed25519 public key has 32 bytes");
        Self { seed, pair, public }
    }

    /// The public half.
    #[must_use]
    pub const fn public(&self) -> PublicKey {
        self.public
    }

    /// The seed, to be stored.
    #[must_use]
    pub const fn seed(&self) -> &Secret<32> {
        &self.seed
    }

    /// Signs `prefix` and `parts`, back to back.
    #[must_use]
    pub fn sign(&self, prefix: &'static [u8], parts: &[&[u8]]) -> Signature {
        let signature = self.pair.sign(&message(prefix, parts));
        Signature::from_slice(signature.as_ref()).expect("an Ed25519 signature has 64 bytes")
    }
}

impl Clone for SigningKey {
    fn clone(&self) -> Self {
        Self::from_seed(self.seed.clone())
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey").field("public", &self.public).finish_non_exhaustive()
    }
}

/// Whether `signature` by `key` covers `prefix` and `parts`, back to back.
#[must_use]
pub fn verify(key: &PublicKey, prefix: &'static [u8], parts: &[&[u8]], signature: &Signature) -> bool {
    UnparsedPublicKey::new(&ED25519, key.as_bytes()).verify(&message(prefix, parts), signature.as_bytes()).is_ok()
}

fn message(prefix: &'static [u8], parts: &[&[u8]]) -> Vec<u8> {
    let mut message = prefix.to_vec();
    for part in parts {
        message.extend_from_slice(part);
    }
    message
}
