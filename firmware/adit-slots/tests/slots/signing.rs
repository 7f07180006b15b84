// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Real Ed25519 keys from fixed seeds, and a small update that they sign. Signatures are the same every time.

use adit_slots::keys::{self, KeySet, SignatureItem};
use adit_slots::manifest::{self, Arch, Digest, Flavour, Manifest, PRODUCT};
use adit_slots::update::{HEADER_BYTES, Machine, encode_header};
use adit_slots::version::Version;
use adit_wire::ids::{PublicKey, Signature};
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};

/// The image inside the frozen update.
pub(crate) const IMAGE: &[u8] = b"an image of thirty-two bytes, ok";

/// A key made of a seed.
pub(crate) struct Key(Ed25519KeyPair);

impl Key {
    pub(crate) fn of(seed: u8) -> Self {
        Self(Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).expect("any seed is a key"))
    }

    pub(crate) fn public(&self) -> PublicKey {
        PublicKey::from_slice(self.0.public_key().as_ref()).expect("32 bytes")
    }

    pub(crate) fn sign(&self, prefix: &[u8], body: &[u8]) -> SignatureItem {
        let signature = self.0.sign(&[prefix, body].concat());
        SignatureItem::ed25519(&self.public(), Signature::from_slice(signature.as_ref()).expect("64 bytes"))
    }
}

/// Ed25519 by the library that the agent uses.
pub(crate) fn verify(key: &PublicKey, prefix: &'static [u8], body: &[u8], signature: &Signature) -> bool {
    UnparsedPublicKey::new(&ED25519, &key.0).verify(&[prefix, body].concat(), &signature.0).is_ok()
}

pub(crate) fn sha256(bytes: &[u8]) -> Digest {
    Digest(digest(&SHA256, bytes).as_ref().try_into().expect("32 bytes"))
}

/// Key set `version`: roots of seeds 1 and 2, signing keys of seeds 11 and 12.
pub(crate) fn key_set(version: u32) -> KeySet {
    KeySet::new(version, [1, 2].map(|seed| Key::of(seed).public()), &[11, 12].map(|seed| Key::of(seed).public()))
        .expect("two keys")
}

/// A key set with signatures by keys of these seeds.
pub(crate) fn signed_key_set(set: &KeySet, seeds: &[u8]) -> Vec<u8> {
    let mut body = [0; keys::BODY_BYTES_MAX];
    let body_bytes = set.encode(&mut body).expect("room");
    let items: Vec<_> = seeds.iter().map(|seed| Key::of(*seed).sign(keys::PREFIX, &body[..body_bytes])).collect();
    let mut out = [0; keys::KEY_SET_BYTES_MAX];
    let written = set.encode_signed(&items, &mut out).expect("room");
    out[..written].to_vec()
}

pub(crate) fn manifest() -> Manifest {
    Manifest {
        product: PRODUCT,
        arch: Arch::X86_64 as u8,
        flavour: Flavour::Vm as u8,
        version: Version::new(1, 2, 3),
        min_from: Version::new(1, 0, 0),
        floor: Version::new(1, 1, 0),
        uki_size: IMAGE.len() as u64,
        uki_sha256: sha256(IMAGE),
        time_s: 1_800_000_000,
    }
}

/// An update file of a manifest, signed by keys of these seeds, with this key set inside.
pub(crate) fn update_file(manifest: &Manifest, seeds: &[u8], keys: &[u8]) -> Vec<u8> {
    let body = manifest.encode();
    let items: Vec<_> = seeds.iter().map(|seed| Key::of(*seed).sign(manifest::PREFIX, &body)).collect();
    let mut file = encode_header(&body, &items, keys).expect("everything fits").to_vec();
    assert_eq!(file.len(), HEADER_BYTES);
    file.extend_from_slice(IMAGE);
    file
}

/// The machine that takes [`manifest`].
pub(crate) fn machine(denied: &[Digest]) -> Machine<'_> {
    Machine {
        product: PRODUCT,
        arch: Arch::X86_64,
        flavour: Flavour::Vm,
        running: Version::new(1, 2, 2),
        floor: Version::new(1, 0, 0),
        denied,
        keys: key_set(1),
        room_bytes: 40 << 20,
    }
}
