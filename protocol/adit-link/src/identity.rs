// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A machine's identity: an Ed25519 key made from a seed of 32 bytes. It signs handshakes (through `tls`) and the few
//! statements of adit-wire's `signed` module. Where the seed is kept is the owner's business; it is wiped here on drop.

use adit_wire::ids::{PublicKey, Signature};
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use std::fmt;
use std::sync::Arc;
use zeroize::Zeroizing;

/// A machine's key pair.
#[derive(Clone)]
pub struct Identity {
    seed: Arc<Zeroizing<[u8; 32]>>,
    pair: Arc<Ed25519KeyPair>,
    public: PublicKey,
}

impl Identity {
    /// A new identity from the kernel's randomness.
    ///
    /// # Panics
    /// When the kernel gives no randomness; nothing may go on then.
    #[must_use]
    pub fn generate() -> Self {
        let mut seed = Zeroizing::new([0u8; 32]);
        aws_lc_rs::rand::fill(seed.as_mut_slice()).expect("the kernel gives randomness");
        Self::from_seed(*seed)
    }

    /// The identity of a kept seed.
    ///
    /// # Panics
    /// Never: every seed of 32 bytes is a key.
    #[must_use]
    pub fn from_seed(seed: [u8; 32]) -> Self {
        let seed = Zeroizing::new(seed);
        let pair = Ed25519KeyPair::from_seed_unchecked(seed.as_slice()).expect("every 32 bytes are an Ed25519 seed");
        let public = PublicKey::from_slice(pair.public_key().as_ref()).expect("an Ed25519 key has 32 bytes");
        Self { seed: Arc::new(seed), pair: Arc::new(pair), public }
    }

    /// The seed, to be kept where only this machine reads it.
    #[must_use]
    pub fn seed(&self) -> &[u8; 32] {
        &self.seed
    }

    /// The public half: what peers pin.
    #[must_use]
    pub const fn public_key(&self) -> PublicKey {
        self.public
    }

    /// Signs `prefix ‖ body`. The prefixes are adit-wire's `signed::PREFIX_…`; each keeps one meaning apart from another.
    #[must_use]
    pub fn sign(&self, prefix: &[u8], body: &[u8]) -> Signature {
        let signature = self.pair.sign(&[prefix, body].concat());
        Signature::from_slice(signature.as_ref()).expect("an Ed25519 signature has 64 bytes")
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("public", &self.public).finish_non_exhaustive()
    }
}

/// Whether `signature` is `key`'s over `prefix ‖ body`.
#[must_use]
pub fn verify(key: &PublicKey, prefix: &[u8], body: &[u8], signature: &Signature) -> bool {
    UnparsedPublicKey::new(&ED25519, key.as_bytes()).verify(&[prefix, body].concat(), signature.as_bytes()).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 8032, section 7.1, test 1.
    #[test]
    fn seed_gives_the_key_of_rfc_8032() {
        let seed = [
            0x9d, 0x61, 0xb1, 0x9d, 0xef, 0xfd, 0x5a, 0x60, 0xba, 0x84, 0x4a, 0xf4, 0x92, 0xec, 0x2c, 0xc4, 0x44, 0x49,
            0xc5, 0x69, 0x7b, 0x32, 0x69, 0x19, 0x70, 0x3b, 0xac, 0x03, 0x1c, 0xae, 0x7f, 0x60,
        ];
        let identity = Identity::from_seed(seed);
        assert_eq!(
            identity.public_key().to_string(),
            "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
        );
        assert_eq!(identity.seed(), &seed);
        assert!(identity.sign(b"", b"").to_string().starts_with("e5564300c360ac729086e2cc806e828a"));
    }

    #[test]
    fn a_signature_binds_key_prefix_and_body() {
        let (identity, other) = (Identity::from_seed([1; 32]), Identity::from_seed([2; 32]));
        let signature = identity.sign(b"adit test\0", b"body");
        assert!(verify(&identity.public_key(), b"adit test\0", b"body", &signature));
        assert!(!verify(&other.public_key(), b"adit test\0", b"body", &signature));
        assert!(!verify(&identity.public_key(), b"adit tests\0", b"body", &signature));
        assert!(!verify(&identity.public_key(), b"adit test\0", b"bodies", &signature));
    }

    #[test]
    fn debug_does_not_tell_the_seed() {
        let text = format!("{:?}", Identity::from_seed([0xAB; 32]));
        assert!(!text.contains("abab") && !text.contains("171, 171"), "{text}");
    }
}
