// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What only this module can see: that keys change while a link streams, and which algorithms are offered at all.

use super::*;
use crate::limits::HANDSHAKE_BYTES_MAX;
use crate::meter::Meter;
use rustls::crypto::cipher::{
    AeadKey, Iv, MessageDecrypter, MessageEncrypter, Tls13AeadAlgorithm, UnsupportedOperationError,
};
use rustls::{CipherSuiteCommon, ConnectionTrafficSecrets, NamedGroup, SupportedCipherSuite, Tls13CipherSuite};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use tokio::io::{DuplexStream, duplex};

struct Open;

impl Gate for Open {
    fn pinned(&self, _: &PublicKey) -> bool {
        true
    }

    fn pairing_open(&self) -> bool {
        true
    }

    fn recovery_open(&self) -> bool {
        true
    }
}

/// AES-256-GCM that counts how many sealing keys were set up.
struct Counting {
    inner: &'static dyn Tls13AeadAlgorithm,
    sealing_keys: AtomicUsize,
}

impl Tls13AeadAlgorithm for Counting {
    fn encrypter(&self, key: AeadKey, iv: Iv) -> Box<dyn MessageEncrypter> {
        self.sealing_keys.fetch_add(1, Relaxed);
        self.inner.encrypter(key, iv)
    }

    fn decrypter(&self, key: AeadKey, iv: Iv) -> Box<dyn MessageDecrypter> {
        self.inner.decrypter(key, iv)
    }

    fn key_len(&self) -> usize {
        self.inner.key_len()
    }

    fn extract_keys(&self, key: AeadKey, iv: Iv) -> Result<ConnectionTrafficSecrets, UnsupportedOperationError> {
        self.inner.extract_keys(key, iv)
    }
}

/// Our provider with AES-256-GCM alone, whose keys are worn out after so many records.
fn worn_out_after(records: u64) -> (CryptoProvider, &'static Counting) {
    let gcm = cipher_suite::TLS13_AES_256_GCM_SHA384.tls13().unwrap();
    let counting: &'static Counting =
        Box::leak(Box::new(Counting { inner: gcm.aead_alg, sealing_keys: AtomicUsize::new(0) }));
    let suite = Box::leak(Box::new(Tls13CipherSuite {
        common: CipherSuiteCommon {
            suite: gcm.common.suite,
            hash_provider: gcm.common.hash_provider,
            confidentiality_limit: records,
        },
        hkdf_provider: gcm.hkdf_provider,
        aead_alg: counting,
        quic: None,
    }));
    (CryptoProvider { cipher_suites: vec![SupportedCipherSuite::Tls13(suite)], ..provider() }, counting)
}

async fn handshake(client: CryptoProvider) -> (Secured<DuplexStream>, Secured<DuplexStream>) {
    let (here, there) = duplex(1 << 20);
    let metered = |io| Metered::new(io, Arc::new(Meter::new()), HANDSHAKE_BYTES_MAX);
    let (dialler, listener) = (Identity::from_seed([1; 32]), Identity::from_seed([2; 32]));
    let credentials = Credentials::with_provider(&dialler, client);
    let doors = Doors::new(&Credentials::new(&listener), Arc::new(Open));
    let (connected, accepted) = tokio::join!(
        connect(&credentials, Door::Main, listener.public_key(), metered(here)),
        doors.accept(metered(there), |_| std::future::ready(())),
    );
    (connected.unwrap(), accepted.unwrap().0)
}

/// rustls changes keys by itself when one has sealed as many records as it may (2^24 for AES-GCM): a first upload of
/// 256 GiB gets there. With 32 records instead, 8 MiB of records of 16 KiB get there 16 times, less what one write may
/// overshoot (rustls looks after each write of at most [`TLS_BUFFER_BYTES`], 16 records).
#[tokio::test]
async fn worn_out_keys_are_changed_while_streaming() {
    const BYTES: usize = 8 << 20;
    let (worn_out, counting) = worn_out_after(32);
    let (mut sending, mut receiving) = handshake(worn_out).await;
    let before = counting.sealing_keys.load(Relaxed);
    let sender = tokio::spawn(async move {
        let bytes: Vec<u8> = (0..=250).cycle().take(BYTES).collect();
        sending.stream.write_all(&bytes).await.unwrap();
        sending.stream.shutdown().await.unwrap();
        sending
    });
    let mut bytes = Vec::new();
    receiving.stream.read_to_end(&mut bytes).await.unwrap();
    assert!(bytes.iter().copied().eq((0..=250).cycle().take(BYTES)), "nothing changed on the way");
    let changed = counting.sealing_keys.load(Relaxed) - before;
    assert!((10..=16).contains(&changed), "{changed} keys");
    drop(sender.await.unwrap());
    let (worn_out, counting) = worn_out_after(u64::MAX);
    let (mut sending, _receiving) = handshake(worn_out).await;
    let before = counting.sealing_keys.load(Relaxed);
    sending.stream.write_all(&vec![0; 512 << 10]).await.unwrap();
    assert_eq!(counting.sealing_keys.load(Relaxed), before, "a fresh key is not changed");
}

#[test]
fn the_offer_is_short() {
    let offer = provider();
    let suites: Vec<_> = offer.cipher_suites.iter().map(|suite| suite.suite()).collect();
    use rustls::CipherSuite::{TLS13_AES_256_GCM_SHA384, TLS13_CHACHA20_POLY1305_SHA256};
    assert_eq!(suites, [TLS13_AES_256_GCM_SHA384, TLS13_CHACHA20_POLY1305_SHA256]);
    let groups: Vec<_> = offer.kx_groups.iter().map(|group| group.name()).collect();
    assert_eq!(groups, [NamedGroup::X25519MLKEM768]);
    let limit = |suite: &SupportedCipherSuite| suite.tls13().unwrap().common.confidentiality_limit;
    assert_eq!(limit(&offer.cipher_suites[0]), 1 << 24);
}

#[tokio::test]
async fn both_sides_see_each_others_key_and_one_binding() {
    let (dialler, listener) = handshake(provider()).await;
    assert_eq!(dialler.peer, Identity::from_seed([2; 32]).public_key());
    assert_eq!(listener.peer, Identity::from_seed([1; 32]).public_key());
    assert_eq!(dialler.binding, listener.binding);
    let (again, _) = handshake(provider()).await;
    assert_ne!(dialler.binding, again.binding, "each connection has its own");
}

#[test]
fn only_exact_ed25519_keys_are_keys() {
    let key = Identity::from_seed([1; 32]).public_key();
    let good = spki(&key);
    assert_eq!(key_of(&good), Some(key));
    assert_eq!(key_of(&good[..43]), None);
    assert_eq!(key_of(&[&good[..], &[0]].concat()), None);
    let mut other = good;
    other[8] ^= 1;
    assert_eq!(key_of(&other), None, "another algorithm");
}
