// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What strangers and broken peers may cost: handshakes, bytes, frames, conversations. Each ends in a typed error or an
//! event, and none of them holds the door or the memory.

use crate::common::{
    TEST, TestGate, client, dial_as, events, frame, listen, one_network, pair_of_links, soon, stranger,
};
use crate::raw::{Offer, client_hello, vandal};
use adit_link::limits::LATE_FRAMES_MAX;
use adit_link::{Door, Event, Incoming, Limits, LinkError, Listener, NoPlace};
use adit_wire::backup::METHOD_REC;
use adit_wire::frame::{BODY_BYTES_MAX, FLAG_END, FrameError, Kind, Message, STRANGER_BODY_BYTES_MAX};
use adit_wire::link::{CONVERSATIONS_MAX, Greeting, Ping};
use adit_wire::refusal::Code;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

const REC: Kind = Kind { service: 2, method: METHOD_REC, major: 1 };

fn greeting(protocol_min: u8) -> Vec<u8> {
    let greeting = Greeting {
        protocol_min,
        protocol_max: protocol_min,
        features: 0,
        conversations_max: 1_000,
        address_record: b"no such record",
        software: "vandal",
    };
    let mut buffer = [0; 128];
    frame(Greeting::KIND, 0, 0, greeting.encode(&mut buffer).unwrap())
}

/// A client with a pinned key that greets and then writes what it likes.
async fn inside(bytes: &[u8]) -> (TlsStream<TcpStream>, Incoming, Listener) {
    let mut listener = listen(TestGate::with(&[client().public_key()]), Limits::default()).await;
    let stream = vandal(&client(), listener.local_address(), &[&greeting(1), bytes].concat()).await;
    let incoming = soon(listener.accept()).await.unwrap();
    (stream, incoming, listener)
}

/// How the link ends after these bytes.
async fn ends(bytes: &[u8]) -> LinkError {
    let (_stream, incoming, _listener) = inside(bytes).await;
    soon(incoming.link.closed()).await
}

#[tokio::test]
async fn impossible_frames_end_the_link_before_anything_is_held() {
    let over = u32::try_from(BODY_BYTES_MAX + 8 + 1).unwrap().to_le_bytes();
    let long = [&over[..], &[2, 200, 1, 0, 1, 0, 0, 0]].concat();
    let error = ends(&long).await;
    assert!(matches!(error, LinkError::Frame(FrameError::TooLong { max: BODY_BYTES_MAX, .. })), "{error:?}");
    let endless = [&[255; 4][..], &[2, METHOD_REC, 1, 0, 1, 0, 0, 0]].concat();
    assert!(matches!(ends(&endless).await, LinkError::Frame(FrameError::TooLong { .. })));
    assert!(matches!(ends(&[0; 12]).await, LinkError::Frame(FrameError::TooShort(0))));
    assert!(matches!(ends(&frame(TEST, 6, 1, b"")).await, LinkError::Frame(FrameError::Flags(6))));
    let long_ping = frame(Ping::KIND, 0, 0, &[0; 5_000]);
    assert!(matches!(ends(&long_ping).await, LinkError::Frame(FrameError::TooLong { max: 4_096, .. })));
}

#[tokio::test]
async fn frames_out_of_place_end_the_link() {
    let again = [frame(TEST, FLAG_END, 1, b""), frame(TEST, 0, 1, b"")].concat();
    for bytes in [
        frame(TEST, 0, 2, b"a number of the other side"),
        frame(TEST, 0, 0, b"a conversation's frame in conversation 0"),
        frame(Ping::KIND, 0, 1, &[0]),
        greeting(1),
        again,
    ] {
        let error = ends(&bytes).await;
        assert!(matches!(error, LinkError::Protocol(_)), "{error:?} after {bytes:02x?}");
    }
    let error = ends(&frame(Ping::KIND, 0, 0, b"\x80")).await;
    assert!(matches!(error, LinkError::Message(_)), "{error:?}");
}

#[tokio::test]
async fn the_first_frame_is_a_greeting_of_a_known_protocol() {
    for (bytes, expected) in [(greeting(2), "speaks protocol 2 to 2"), (frame(TEST, 0, 1, b""), "was expected")] {
        let mut listener = listen(TestGate::with(&[client().public_key()]), Limits::default()).await;
        let mut stream = vandal(&client(), listener.local_address(), &bytes).await;
        let incoming = soon(listener.accept()).await.unwrap();
        let error = soon(incoming.link.closed()).await.to_string();
        assert!(error.contains(expected), "{error}");
        let mut rest = Vec::new();
        soon(stream.read_to_end(&mut rest)).await.unwrap();
        assert!(rest.len() > 12, "it is told in a Goodbye");
    }
}

#[tokio::test]
async fn garbage_after_the_handshake_is_a_typed_error() {
    let (mut stream, incoming, _listener) = inside(b"").await;
    let (socket, _) = stream.get_mut();
    socket.write_all(&[0x17, 3, 3, 0, 32]).await.unwrap();
    socket.write_all(&[0xAA; 32]).await.unwrap();
    let error = soon(incoming.link.closed()).await;
    assert!(matches!(error, LinkError::Protocol("its bytes do not decrypt")), "{error:?}");
}

#[tokio::test]
async fn a_peer_that_vanishes_cuts_the_link() {
    let (stream, incoming, _listener) = inside(&frame(REC, 0, 1, &[0; 1000])[..500]).await;
    soon(incoming.link.greeted()).await.unwrap();
    drop(stream);
    let error = soon(incoming.link.closed()).await;
    assert!(matches!(error, LinkError::Cut | LinkError::Broken(_)), "{error:?}");
}

#[tokio::test]
async fn one_conversation_too_many_is_refused_and_the_others_go_on() {
    let opening: Vec<u8> =
        (0..=u32::from(CONVERSATIONS_MAX)).flat_map(|at| frame(TEST, 0, 2 * at + 1, b"open")).collect();
    let (mut stream, incoming, _listener) = inside(&opening).await;
    let mut open = Vec::new();
    for _ in 0..CONVERSATIONS_MAX {
        open.push(soon(incoming.link.incoming()).await.unwrap());
    }
    open[0].1.send_parts(TEST, 0, &[b"still here"]).await.unwrap();
    let mut heard = Vec::new();
    while !heard.ends_with(b"still here") {
        let mut bytes = [0; 256];
        let length = soon(stream.read(&mut bytes)).await.unwrap();
        heard.extend_from_slice(&bytes[..length]);
    }
    let refusal = frame(Kind { service: 2, method: 255, major: 1 }, FLAG_END, 17, &[Code::Busy as u8, 0, 0]);
    assert!(heard.windows(refusal.len()).any(|window| window == refusal), "{heard:02x?}");
    assert_eq!(incoming.link.counters().conversations_refused, 1);
}

#[tokio::test]
async fn a_flood_of_small_frames_waits_in_the_kernel() {
    let (stream, incoming, _listener) = inside(&frame(TEST, 0, 1, b"first")).await;
    let (mut read, mut write) = tokio::io::split(stream);
    let flood = frame(TEST, 0, 1, b"x").repeat(4_096);
    let mut written = 0;
    // Nobody takes the frames: the writer is held at last.
    while tokio::time::timeout(Duration::from_secs(1), write.write_all(&flood)).await.is_ok() {
        written += flood.len();
        assert!(written < 64 << 20, "nothing holds the flood");
    }
    let held = incoming.link.counters();
    assert!(held.frames_received < 40_000, "{held:?}");
    assert!(soon(read.read_u8()).await.is_ok(), "the link lives");
    drop(incoming);
}

#[tokio::test]
async fn frames_for_ended_conversations_are_counted_and_come_to_an_end() {
    let (stream, incoming, _listener) = inside(&frame(TEST, 0, 1, b"first")).await;
    let (_, conversation) = soon(incoming.link.incoming()).await.unwrap();
    drop(conversation);
    let (_read, mut write) = tokio::io::split(stream);
    let flood = frame(TEST, 0, 1, b"x").repeat(1_024);
    for _ in 0..=LATE_FRAMES_MAX / 1_024 {
        if soon(write.write_all(&flood)).await.is_err() {
            break;
        }
    }
    let error = soon(incoming.link.closed()).await;
    assert!(matches!(error, LinkError::Protocol("frames for ended conversations do not stop")), "{error:?}");
    assert_eq!(incoming.link.counters().frames_late, LATE_FRAMES_MAX + 1);
}

#[tokio::test]
async fn a_stranger_has_8_kib() {
    for door in [Door::Pair, Door::Recover] {
        let gate = TestGate::with(&[]);
        gate.open();
        let mut listener = listen(gate, Limits::default()).await;
        let dialled = dial_as(&stranger(), &listener, door).await.unwrap();
        let accepted = soon(listener.accept()).await.unwrap().link;
        let half = [0; STRANGER_BODY_BYTES_MAX / 2 - 64];
        let asked = dialled.open().unwrap();
        asked.send_parts(TEST, 0, &[&half]).await.unwrap();
        let (_, answer) = soon(accepted.incoming()).await.unwrap();
        asked.send_parts(TEST, 0, &[&half]).await.unwrap();
        assert!(soon(answer.recv()).await.unwrap().is_some());
        asked.send_parts(TEST, 0, &[&half]).await.unwrap();
        let error = soon(accepted.closed()).await;
        assert!(matches!(error, LinkError::Frame(FrameError::TooLong { .. })), "{door:?}: {error:?}");

        let dialled = dial_as(&stranger(), &listener, door).await.unwrap();
        let accepted = soon(listener.accept()).await.unwrap().link;
        let asked = dialled.open().unwrap();
        asked.send_parts(TEST, 0, &[b"proof"]).await.unwrap();
        let (_, answer) = soon(accepted.incoming()).await.unwrap();
        accepted.trust();
        asked.send_parts(TEST, 0, &[&[0; BODY_BYTES_MAX]]).await.unwrap();
        assert_eq!(soon(answer.recv()).await.unwrap().unwrap().body.len(), BODY_BYTES_MAX, "{door:?}: trusted");
    }
}

/// Connections that send nothing fill the door; it stays shut to more of them and opens when they are over time.
#[tokio::test]
async fn silent_connections_hold_no_more_than_their_share() {
    let limits = Limits { handshake: Duration::from_secs(2), ..Limits::default() };
    let mut listener = listen(TestGate::with(&[client().public_key()]), limits).await;
    let mut silent = Vec::new();
    for _ in 0..10 {
        silent.push(TcpStream::connect(listener.local_address()).await.unwrap());
    }
    for socket in &mut silent[4..] {
        assert!(matches!(soon(socket.read(&mut [0])).await, Ok(0) | Err(_)), "dropped unread");
    }
    assert_eq!(listener.handshakes(), 4);
    for socket in &mut silent[..4] {
        assert!(matches!(soon(socket.read(&mut [0])).await, Ok(0) | Err(_)), "closed when its time was over");
    }
    let _link = dial_as(&client(), &listener, Door::Main).await.unwrap();
    soon(listener.accept()).await.unwrap();
    let events = events(&listener, 10).await;
    let dropped = |event: &&Event| matches!(event, Event::Dropped { limit: NoPlace::Network64, .. });
    let slow = |event: &&Event| matches!(event, Event::Failed { why, .. } if why.contains("after 2 s"));
    assert_eq!((events.iter().filter(dropped).count(), events.iter().filter(slow).count()), (6, 4), "{events:?}");
}

#[tokio::test]
async fn sixty_four_handshakes_at_once_and_no_more() {
    let limits = Limits {
        handshake: Duration::from_secs(5),
        handshakes_per_64: 1_000,
        handshakes_per_48: 1_000,
        ..Limits::default()
    };
    let listener = listen(TestGate::with(&[client().public_key()]), limits).await;
    let mut silent = Vec::new();
    for _ in 0..200 {
        silent.push(TcpStream::connect(listener.local_address()).await.unwrap());
    }
    for socket in &mut silent[64..] {
        assert!(matches!(soon(socket.read(&mut [0])).await, Ok(0) | Err(_)));
    }
    assert_eq!(listener.handshakes(), 64);
    assert_eq!(listener.counts().dropped, 136);
}

/// An owner that does not fetch its links slows the door; nothing grows.
#[tokio::test]
async fn finished_links_that_nobody_fetches_hold_their_places() {
    let limits = Limits { handshakes: 4, handshakes_per_64: 1_000, handshakes_per_48: 1_000, ..Limits::default() };
    let mut listener = listen(TestGate::with(&[client().public_key()]), limits).await;
    let mut links = Vec::new();
    for _ in 0..4 {
        let link = dial_as(&client(), &listener, Door::Main).await.unwrap();
        soon(link.greeted()).await.unwrap();
        links.push(link);
    }
    for _ in 0..4 {
        let link = dial_as(&client(), &listener, Door::Main).await.unwrap();
        soon(link.greeted()).await.unwrap();
        links.push(link);
    }
    assert!(dial_as(&client(), &listener, Door::Main).await.is_err(), "4 wait in the queue, 4 for the queue");
    soon(listener.accept()).await.unwrap();
    assert_eq!(listener.counts().dropped, 1);
}

#[tokio::test]
async fn a_handshake_has_8_kib() {
    let listener = listen(TestGate::with(&[client().public_key()]), Limits::default()).await;
    let mut socket = TcpStream::connect(listener.local_address()).await.unwrap();
    // One handshake message of 60,000 bytes in records of 4,000: legal TLS, and never ours.
    let hello = client_hello(&Offer::like_adit(&client()));
    let mut message = hello[5..].to_vec();
    message[1..4].copy_from_slice(&[0, 0xea, 0x60]);
    message.resize(60_000, 0);
    for part in message.chunks(4_000) {
        let record = [&[0x16, 3, 1][..], &u16::try_from(part.len()).unwrap().to_be_bytes(), part].concat();
        if socket.write_all(&record).await.is_err() {
            break;
        }
    }
    assert!(matches!(soon(socket.read(&mut [0; 64])).await, Ok(_) | Err(_)));
    let events = events(&listener, 1).await;
    assert!(matches!(&events[..], [Event::Failed { why, .. }] if why.contains("more than 8192 bytes")), "{events:?}");
}

/// A source does not wait: its first records may lie in the socket when the listener reads the handshake's last flight.
#[tokio::test]
async fn records_right_behind_the_handshake_are_let_in() {
    let mut listener = listen(TestGate::with(&[client().public_key()]), Limits::default()).await;
    for _ in 0..4 {
        let link = dial_as(&client(), &listener, Door::Main).await.unwrap();
        let sending = link.open().unwrap();
        sending.send_parts(REC, FLAG_END, &[&[7; 2 << 20]]).await.unwrap();
        let accepted = soon(listener.accept()).await.unwrap().link;
        assert_eq!(soon(accepted.incoming()).await.unwrap().0.body.len(), 2 << 20);
    }
}

#[tokio::test]
async fn garbage_instead_of_tls_is_an_event() {
    let listener = listen(TestGate::with(&[client().public_key()]), one_network()).await;
    for garbage in [&b"GET / HTTP/1.1\r\nHost: box\r\n\r\n"[..], b"SSH-2.0-OpenSSH_9.9\r\n", &[0; 64], &[255; 64]] {
        let mut socket = TcpStream::connect(listener.local_address()).await.unwrap();
        socket.write_all(garbage).await.unwrap();
        let mut answer = Vec::new();
        let _closed = soon(socket.read_to_end(&mut answer)).await;
    }
    let events = events(&listener, 4).await;
    assert!(events.len() == 4 && events.iter().all(|event| matches!(event, Event::Failed { .. })), "{events:?}");
}

#[tokio::test]
async fn an_address_record_of_another_key_is_left_aside() {
    let (_stream, incoming, _listener) = inside(b"").await;
    assert_eq!(soon(incoming.link.greeted()).await.unwrap().address_record, []);
    let (dialled, _accepted, _listener) = pair_of_links().await;
    assert_eq!(soon(dialled.greeted()).await.unwrap().address_record, []);
}
