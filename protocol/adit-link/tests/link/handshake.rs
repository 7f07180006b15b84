// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Who gets in over real TLS on `[::1]`, and who does not: keys, doors, versions, algorithms, resumption.

use crate::common::{TestGate, client, dial_as, events, listen, one_network, server, soon, stranger};
use crate::raw::{Key, Offer, connect};
use adit_link::{DialError, Door, Event, Identity, Limits, Link, LinkError};
use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{cipher_suite, kx_group};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// A door that knows the client and is to refuse `offer`; answers what the client saw.
async fn refused(offer: Offer) -> (String, Vec<Event>) {
    let gate = TestGate::with(&[client().public_key()]);
    let mut listener = listen(gate, Limits::default()).await;
    let seen = soon(offer.gets_in(listener.local_address())).await.expect_err("refused");
    // The door is none the worse for it.
    let link = dial_as(&client(), &listener, Door::Main).await.unwrap();
    soon(listener.accept()).await.unwrap();
    drop(link);
    let counts = listener.counts();
    assert_eq!((counts.accepted, counts.events_lost), (1, 0));
    (seen, events(&listener, 1).await)
}

async fn why_not(link: Result<Link, DialError>) -> LinkError {
    soon(link.unwrap().greeted()).await.expect_err("not let in")
}

#[tokio::test]
async fn the_raw_client_gets_in_when_it_offers_what_adit_offers() {
    let listener = listen(TestGate::with(&[client().public_key()]), Limits::default()).await;
    soon(Offer::like_adit(&client()).gets_in(listener.local_address())).await.unwrap();
}

#[tokio::test]
async fn an_unknown_key_does_not_finish_the_main_doors_handshake() {
    let gate = TestGate::with(&[client().public_key()]);
    let mut listener = listen(Arc::clone(&gate), Limits::default()).await;
    let error = why_not(dial_as(&stranger(), &listener, Door::Main).await).await;
    assert!(matches!(error, LinkError::NotPaired), "{error:?}");
    gate.pinned.lock().unwrap().insert(stranger().public_key());
    let link = dial_as(&stranger(), &listener, Door::Main).await.unwrap();
    assert_eq!(soon(listener.accept()).await.unwrap().peer, stranger().public_key());
    soon(link.greeted()).await.unwrap();
    gate.pinned.lock().unwrap().remove(&stranger().public_key());
    let error = why_not(dial_as(&stranger(), &listener, Door::Main).await).await;
    assert!(matches!(error, LinkError::NotPaired), "a removed pin counts at once: {error:?}");
    let events = events(&listener, 2).await;
    let unknown = |event: &Event| matches!(event, Event::UnknownKey { key, .. } if *key == stranger().public_key());
    assert_eq!((events.len(), events.iter().filter(|event| unknown(event)).count()), (2, 2), "{events:?}");
    assert!(events[0].to_string().contains(&stranger().public_key().to_string()), "the log names the key");
}

/// The refusal arrives although the dialler streams: what it has sent unread must not reset the refusal away.
#[tokio::test]
async fn a_stream_does_not_drown_the_refusal() {
    let listener = listen(TestGate::with(&[client().public_key()]), one_network()).await;
    for _ in 0..8 {
        let link = dial_as(&stranger(), &listener, Door::Main).await.unwrap();
        let sending = link.open().unwrap();
        let error = loop {
            if let Err(error) = soon(sending.send_parts(crate::common::TEST, 0, &[&[7; 1 << 20]])).await {
                break error;
            }
        };
        assert!(matches!(error, LinkError::NotPaired), "{error:?}");
    }
}

#[tokio::test]
async fn another_machine_at_the_address_is_named() {
    let listener = listen(TestGate::with(&[client().public_key()]), Limits::default()).await;
    let expected = stranger().public_key();
    let targets = [crate::common::at(&listener)];
    let about = crate::common::about("source");
    let dialled =
        adit_link::dial(&targets, Door::Main, &client(), expected, &about, adit_link::Deadlines::default()).await;
    assert_eq!(dialled.unwrap_err(), DialError::WrongKey { found: server().public_key() });
}

#[tokio::test]
async fn no_key_no_entry() {
    for alpn in ["adit/1", "adit-pair/1", "adit-recover/1"] {
        let gate = TestGate::with(&[client().public_key()]);
        gate.open();
        let listener = listen(gate, Limits::default()).await;
        let mut offer = Offer::like_adit(&client());
        (offer.key, offer.alpn) = (Key::None, vec![alpn.into()]);
        let seen = soon(offer.gets_in(listener.local_address())).await.expect_err(alpn);
        assert_eq!(listener.counts().accepted, 0, "{alpn}: {seen}");
    }
}

#[tokio::test]
async fn x509_is_not_spoken() {
    let mut offer = Offer::like_adit(&client());
    offer.key = Key::X509(client());
    let (seen, events) = refused(offer).await;
    assert!(matches!(&events[..], [Event::Failed { .. }]), "{seen}: {events:?}");
}

#[tokio::test]
async fn other_key_exchanges_are_refused() {
    for group in [kx_group::X25519, kx_group::SECP256R1, kx_group::SECP256R1MLKEM768, kx_group::MLKEM768] {
        let mut offer = Offer::like_adit(&client());
        offer.provider = CryptoProvider { kx_groups: vec![group], ..offer.provider };
        let (seen, events) = refused(offer).await;
        assert!(matches!(&events[..], [Event::Failed { .. }]), "{group:?}: {seen}: {events:?}");
    }
}

#[tokio::test]
async fn other_suites_are_refused() {
    let mut offer = Offer::like_adit(&client());
    offer.provider = CryptoProvider { cipher_suites: vec![cipher_suite::TLS13_AES_128_GCM_SHA256], ..offer.provider };
    let (seen, events) = refused(offer).await;
    assert!(matches!(&events[..], [Event::Failed { .. }]), "{seen}: {events:?}");
}

#[tokio::test]
async fn chacha20_is_spoken() {
    let listener = listen(TestGate::with(&[client().public_key()]), Limits::default()).await;
    let mut offer = Offer::like_adit(&client());
    offer.provider =
        CryptoProvider { cipher_suites: vec![cipher_suite::TLS13_CHACHA20_POLY1305_SHA256], ..offer.provider };
    soon(offer.gets_in(listener.local_address())).await.unwrap();
}

#[tokio::test]
async fn unknown_protocols_and_none_are_refused() {
    let lists: [&[&str]; 5] = [&[], &["h2"], &["adit/2"], &["adit/1", "adit-pair/1"], &["h2", "adit/1"]];
    for names in lists {
        let mut offer = Offer::like_adit(&client());
        offer.alpn = names.iter().map(|name| name.as_bytes().to_vec()).collect();
        let (seen, events) = refused(offer).await;
        assert!(matches!(&events[..], [Event::DoorShut { door: None, .. }]), "{names:?}: {seen}: {events:?}");
    }
}

/// A ClientHello of TLS 1.2, by hand: rustls is built without that version.
#[tokio::test]
async fn tls_1_2_is_refused() {
    let extensions = [
        &[0x00, 0x0d, 0x00, 0x08, 0x00, 0x06, 0x08, 0x07, 0x04, 0x03, 0x08, 0x04][..], // Ed25519, ECDSA, RSA-PSS
        &[0x00, 0x0a, 0x00, 0x06, 0x00, 0x04, 0x00, 0x1d, 0x00, 0x17],                 // X25519, P-256
        &[0x00, 0x0b, 0x00, 0x02, 0x01, 0x00],                                         // uncompressed points
        b"\x00\x10\x00\x09\x00\x07\x06adit/1",
    ]
    .concat();
    let length = |bytes: usize| u16::try_from(bytes).unwrap().to_be_bytes();
    let body = [
        &[0x03, 0x03][..],
        &[7; 32],
        &[0],
        &[0x00, 0x04, 0xc0, 0x2c, 0xc0, 0x30], // ECDHE with AES-256-GCM
        &[1, 0],
        &length(extensions.len()),
        &extensions,
    ]
    .concat();
    let message = [&[1, 0][..], &length(body.len()), &body].concat();
    let hello = [&[0x16, 0x03, 0x01][..], &length(message.len()), &message].concat();

    let listener = listen(TestGate::with(&[client().public_key()]), Limits::default()).await;
    let mut socket = TcpStream::connect(listener.local_address()).await.unwrap();
    socket.write_all(&hello).await.unwrap();
    let mut answer = Vec::new();
    soon(socket.read_to_end(&mut answer)).await.unwrap();
    assert_eq!(answer, [0x15, 0x03, 0x03, 0, 2, 2, 70], "a fatal alert: protocol_version");
    assert!(matches!(&events(&listener, 1).await[..], [Event::Failed { .. }]));
}

#[tokio::test]
async fn there_is_nothing_to_resume() {
    let listener = listen(TestGate::with(&[client().public_key()]), Limits::default()).await;
    let mut offer = Offer::like_adit(&client());
    offer.resumption = Some(Resumption::in_memory_sessions(8));
    let config = offer.config();
    for _ in 0..2 {
        let mut stream = connect(Arc::clone(&config), listener.local_address()).await.unwrap();
        let mut byte = [0];
        soon(stream.read_exact(&mut byte)).await.unwrap();
        let (_, session) = stream.get_ref();
        assert_eq!(session.tls13_tickets_received(), 0);
        assert_eq!(session.handshake_kind(), Some(rustls::HandshakeKind::Full));
    }
}

#[tokio::test]
async fn the_strangers_doors_open_only_when_their_owner_says_so() {
    let gate = TestGate::with(&[client().public_key()]);
    let mut listener = listen(Arc::clone(&gate), Limits::default()).await;
    let shut = dial_as(&stranger(), &listener, Door::Pair).await.unwrap_err();
    assert_eq!(shut, DialError::PairingClosed);
    let shut = dial_as(&stranger(), &listener, Door::Recover).await.unwrap_err();
    assert_eq!(shut, DialError::RecoveryClosed);
    gate.pairing.store(true, Relaxed);
    let dialled = dial_as(&stranger(), &listener, Door::Pair).await.unwrap();
    let accepted = soon(listener.accept()).await.unwrap();
    assert_eq!((accepted.door, accepted.peer), (Door::Pair, stranger().public_key()));
    assert_eq!(dialled.channel_binding(), accepted.link.channel_binding());
    let shut = dial_as(&stranger(), &listener, Door::Recover).await.unwrap_err();
    assert_eq!(shut, DialError::RecoveryClosed);
    let error = why_not(dial_as(&stranger(), &listener, Door::Main).await).await;
    assert!(matches!(error, LinkError::NotPaired), "an open door for pairing is not the main door: {error:?}");
}

#[tokio::test]
async fn a_pin_removed_while_the_link_waits_is_noticed() {
    let gate = TestGate::with(&[client().public_key(), stranger().public_key()]);
    let mut listener = listen(Arc::clone(&gate), one_network()).await;
    let first = dial_as(&stranger(), &listener, Door::Main).await.unwrap();
    soon(first.greeted()).await.unwrap();
    gate.pinned.lock().unwrap().remove(&stranger().public_key());
    let _second = dial_as(&client(), &listener, Door::Main).await.unwrap();
    assert_eq!(soon(listener.accept()).await.unwrap().peer, client().public_key());
    assert!(matches!(soon(first.closed()).await, LinkError::Goodbye(_) | LinkError::Cut));
}

#[tokio::test]
async fn a_signature_by_another_key_does_not_pass() {
    // The client shows the pinned key and signs with its own.
    let mut offer = Offer::like_adit(&client());
    offer.key = Key::Borrowed { shown: client(), signing: Identity::from_seed([9; 32]) };
    let (seen, events) = refused(offer).await;
    assert!(matches!(&events[..], [Event::Failed { .. }]), "{seen}: {events:?}");
}
