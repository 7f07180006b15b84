// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The link's clocks, over a pipe instead of TLS and with tokio's time standing still between two events.

use super::*;
use crate::limits::{ANSWER_WITHIN, OUT_BYTES_MAX};
use crate::link::Link;
use adit_wire::frame::Kind;
use adit_wire::link::{DEAD_AFTER_S, PING_AFTER_S};
use std::net::Ipv6Addr;
use tokio::io::{DuplexStream, duplex};
use tokio::time::{Instant, interval, sleep};

const TEST: Kind = Kind { service: 2, method: 200, major: 1 };
const PIPE_BYTES: usize = 64 << 10;

fn link(io: DuplexStream, side: Side) -> Link {
    let meter = Arc::new(Meter::new());
    let mut io = crate::meter::Metered::new(io, Arc::clone(&meter), 0);
    io.established();
    let start = Start {
        side,
        door: Door::Main,
        peer: PublicKey::ZERO,
        binding: ChannelBinding::ZERO,
        remote: SocketAddrV6::new(Ipv6Addr::LOCALHOST, 1, 0, 0),
        meter,
        about: About::default(),
        greeting_within: Duration::from_secs(10),
    };
    Link::start(io, start)
}

fn links() -> (Link, Link) {
    let (here, there) = duplex(PIPE_BYTES);
    (link(here, Side::Dialler), link(there, Side::Listener))
}

/// A link and the bare other end of its pipe, which has greeted.
async fn link_and_end() -> (Link, DuplexStream) {
    let (here, mut there) = duplex(PIPE_BYTES);
    let link = link(here, Side::Listener);
    let greeting = Greeting {
        protocol_min: 1,
        protocol_max: 1,
        features: 0,
        conversations_max: 8,
        address_record: &[],
        software: "",
    };
    there.write_all(&frame(0, &greeting)).await.unwrap();
    link.greeted().await.unwrap();
    (link, there)
}

fn frame<'a, M: adit_wire::frame::Message<'a>>(conversation: u32, message: &M) -> Vec<u8> {
    let mut buffer = [0; 256];
    let body = message.encode(&mut buffer).unwrap();
    let prefix = Header { kind: M::KIND, flags: 0, conversation }.prefix(body.len()).unwrap();
    [&prefix[..], body].concat()
}

fn data(body_bytes: usize) -> Vec<u8> {
    let prefix = Header { kind: TEST, flags: 0, conversation: 1 }.prefix(body_bytes).unwrap();
    [&prefix[..], &vec![0; body_bytes]].concat()
}

/// Reads and forgets.
fn drain(mut end: ReadHalf<DuplexStream>) {
    tokio::spawn(async move {
        let mut bytes = vec![0; 4096];
        while end.read(&mut bytes).await.is_ok_and(|read| read > 0) {}
    });
}

#[tokio::test(start_paused = true)]
async fn an_idle_link_lives_on_pings() {
    let (here, there) = links();
    here.greeted().await.unwrap();
    there.greeted().await.unwrap();
    sleep(Duration::from_secs(3_600)).await;
    assert!(!here.closer().is_closed() && !there.closer().is_closed());
    let pings = 3_600 / u64::from(PING_AFTER_S);
    let frames = here.counters().frames_sent;
    assert!((pings..=2 * pings + 2).contains(&frames), "{frames} frames in an hour");
    // A PING has 13 bytes here; on a socket TLS adds 22.
    assert!(here.counters().bytes_sent < 10_000);
}

#[tokio::test(start_paused = true)]
async fn a_silent_peer_is_dead_after_45_seconds() {
    let (link, end) = link_and_end().await;
    let begun = Instant::now();
    assert!(matches!(link.closed().await, LinkError::Dead));
    let waited = begun.elapsed();
    assert!((DEAD_AFTER_S.into()..=u64::from(DEAD_AFTER_S) + 1).contains(&waited.as_secs()), "{waited:?}");
    drop(end);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_only_pings_is_answered_and_alive() {
    let (link, end) = link_and_end().await;
    let (mut read, mut write) = tokio::io::split(end);
    let mut every = interval(Duration::from_secs(30));
    for nonce in 0..20 {
        every.tick().await;
        write.write_all(&frame(0, &Ping { nonce })).await.unwrap();
        let pong = frame(0, &Pong { nonce });
        let mut heard = Vec::new();
        while !heard.ends_with(&pong) {
            heard.push(read.read_u8().await.unwrap());
        }
    }
    assert!(!link.closer().is_closed());
}

#[tokio::test(start_paused = true)]
async fn no_greeting_no_link() {
    let (here, _there) = duplex(PIPE_BYTES);
    let link = link(here, Side::Listener);
    let begun = Instant::now();
    assert!(matches!(link.greeted().await, Err(LinkError::Deadline("the other side's greeting"))));
    assert_eq!(begun.elapsed().as_secs(), 10);
}

#[tokio::test(start_paused = true)]
async fn a_frame_that_trickles_comes_to_an_end() {
    let (link, end) = link_and_end().await;
    let (read, mut write) = tokio::io::split(end);
    drain(read);
    let begun = Instant::now();
    let trickle = async {
        for byte in data(1_000) {
            sleep(Duration::from_secs(20)).await;
            if write.write_all(&[byte]).await.is_err() {
                break;
            }
        }
    };
    let (why, ()) = tokio::join!(link.closed(), trickle);
    assert!(matches!(why, LinkError::Deadline("the rest of a frame")), "{why:?}");
    assert!(begun.elapsed() <= 2 * FRAME_WITHIN + Duration::from_secs(60), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_takes_nothing_ends_the_link() {
    let (link, end) = link_and_end().await;
    let (_read, mut write) = tokio::io::split(end);
    tokio::spawn(async move {
        let mut every = interval(Duration::from_secs(10));
        while write.write_all(&frame(0, &Ping { nonce: 1 })).await.is_ok() {
            every.tick().await;
        }
    });
    let sending = link.open().unwrap();
    let begun = Instant::now();
    let body = vec![0; 1 << 20];
    let error = loop {
        if let Err(error) = sending.send_parts(TEST, 0, &[&body]).await {
            break error;
        }
    };
    assert!(matches!(error, LinkError::Deadline("writing" | "sending")), "{error:?}");
    assert!((120..=121).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
    assert!(link.counters().bytes_sent < (PIPE_BYTES + 100) as u64);
    assert!(link.counters().frames_sent < (OUT_BYTES_MAX >> 20) as u64 + 4);
}

#[tokio::test(start_paused = true)]
async fn closing_waits_for_a_slow_peer_and_not_for_a_stuck_one() {
    let (link, mut end) = link_and_end().await;
    let sending = link.open().unwrap();
    sending.send_parts(TEST, 1, &[&[7; 500 << 10]]).await.unwrap();
    let begun = Instant::now();
    let reading = async {
        let (mut total, mut bytes) = (0, [0; 10 << 10]);
        loop {
            match end.read(&mut bytes).await.unwrap() {
                0 => return total,
                read => total += read,
            }
            sleep(Duration::from_secs(1)).await;
        }
    };
    let ((), total) = tokio::join!(link.close(None), reading);
    assert!(total > 500 << 10, "{total} bytes at 10 KiB a second");
    assert!(begun.elapsed() > Duration::from_secs(40));

    let (link, _end) = link_and_end().await;
    let sending = link.open().unwrap();
    sending.send_parts(TEST, 1, &[&[7; 500 << 10]]).await.unwrap();
    let begun = Instant::now();
    link.close(None).await;
    assert!(begun.elapsed() <= 2 * CLOSE_WITHIN, "{:?}", begun.elapsed());
}

/// Our own pause is no silence of the peer's; but an owner who never comes back ends the link.
#[tokio::test(start_paused = true)]
async fn a_busy_owner_is_waited_for_and_a_gone_one_is_not() {
    for (away_s, lives) in [(UNREAD_FOR.as_secs() - 10, true), (UNREAD_FOR.as_secs() + 10, false)] {
        let (link, end) = link_and_end().await;
        let (read, mut write) = tokio::io::split(end);
        drain(read);
        let feeder = tokio::spawn(async move {
            for _ in 0..8 {
                write.write_all(&data(1 << 20)).await?;
            }
            Ok::<_, io::Error>(write)
        });
        let (_, conversation) = link.incoming().await.unwrap();
        sleep(Duration::from_secs(away_s)).await;
        assert_eq!(!link.closer().is_closed(), lives, "after {away_s} s");
        if lives {
            for _ in 1..8 {
                assert_eq!(conversation.recv().await.unwrap().unwrap().body.len(), 1 << 20);
            }
            drop(feeder.await.unwrap().unwrap());
        } else {
            assert!(matches!(link.closed().await, LinkError::Deadline("taking a received frame")));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_missing_answer_ends_the_wait_and_not_the_conversation() {
    let (here, there) = links();
    let asked = here.open().unwrap();
    asked.send_parts(TEST, 0, &[]).await.unwrap();
    let (_, answer) = there.incoming().await.unwrap();
    let begun = Instant::now();
    let wait = Duration::from_secs(7);
    assert!(matches!(asked.recv_within(wait).await, Err(LinkError::Deadline("the answer"))));
    assert_eq!(begun.elapsed(), wait);
    assert!(matches!(asked.recv().await, Err(LinkError::Deadline("the answer"))));
    assert_eq!(begun.elapsed(), wait + ANSWER_WITHIN);
    answer.send_parts(TEST, 0, &[b"late"]).await.unwrap();
    assert_eq!(asked.recv().await.unwrap().unwrap().body, b"late");
}

/// A send that is dropped while it waits has sent nothing, and the link is whole.
#[tokio::test(start_paused = true)]
async fn a_dropped_send_leaves_no_half_frame() {
    let (here, there) = links();
    let sending = here.open().unwrap();
    let body = vec![9; 1 << 20];
    let mut whole = 0;
    while timeout(Duration::from_secs(1), sending.send_parts(TEST, 0, &[&body])).await.is_ok() {
        whole += 1;
    }
    let (first, receiving) = there.incoming().await.unwrap();
    assert_eq!(first.body.len(), body.len());
    let reading = async {
        for _ in 1..whole {
            assert_eq!(receiving.recv().await.unwrap().unwrap().body.len(), body.len());
        }
        assert_eq!(receiving.recv().await.unwrap().unwrap().body, b"last");
    };
    let (sent, ()) = tokio::join!(sending.send_parts(TEST, 1, &[b"last"]), reading);
    sent.unwrap();
}
