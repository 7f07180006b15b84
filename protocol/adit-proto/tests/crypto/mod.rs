// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The real Ed25519, as the daemons pass it in.

use adit_wire::ids::{PublicKey, Signature};
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};

pub(crate) fn verify(key: &PublicKey, prefix: &'static [u8], body: &[u8], signature: &Signature) -> bool {
    UnparsedPublicKey::new(&ED25519, &key.0).verify(&[prefix, body].concat(), &signature.0).is_ok()
}

pub(crate) struct Signer(Ed25519KeyPair);

impl Signer {
    pub(crate) fn new(seed: u8) -> Self {
        Self(Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).expect("a seed"))
    }

    pub(crate) fn key(&self) -> PublicKey {
        PublicKey::from_slice(self.0.public_key().as_ref()).expect("32 bytes")
    }

    pub(crate) fn sign(&self, prefix: &[u8], body: &[u8]) -> Signature {
        Signature::from_slice(self.0.sign(&[prefix, body].concat()).as_ref()).expect("64 bytes")
    }
}
