// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Conversations over real TLS on `[::1]`: both ways whoever dialled, whole frames, refusals, ends, back-pressure.

use crate::common::{TEST, client, pair_of_links, server, soon};
use adit_link::limits::IN_BYTES_MAX;
use adit_link::{Door, LinkError};
use adit_wire::backup::METHOD_REC;
use adit_wire::frame::{FLAG_END, Kind};
use adit_wire::health::{Poll, Same};
use adit_wire::link::CONVERSATIONS_MAX;
use adit_wire::refusal::Code;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use tokio::time::{Duration, timeout};

const REC: Kind = Kind { service: 2, method: METHOD_REC, major: 1 };

#[tokio::test]
async fn both_sides_open_conversations_whoever_dialled() {
    let (dialled, accepted, _listener) = pair_of_links().await;
    assert_eq!((accepted.door, accepted.peer), (Door::Main, client().public_key()));
    assert_eq!((dialled.peer(), accepted.link.peer()), (server().public_key(), client().public_key()));
    assert_eq!(dialled.channel_binding(), accepted.link.channel_binding());
    assert!(!dialled.channel_binding().is_zero());
    assert_eq!(soon(dialled.greeted()).await.unwrap().software, "box 1");
    assert_eq!(soon(accepted.link.greeted()).await.unwrap().software, "source 1");
    for (asking, answering) in [(&dialled, &accepted.link), (&accepted.link, &dialled)] {
        let asked = asking.open().unwrap();
        asked.send(&Poll { inventory: 1, report: 2 }, true).await.unwrap();
        let (frame, answer) = soon(answering.incoming()).await.unwrap();
        assert!(frame.ends());
        assert_eq!(frame.message::<Poll>().unwrap(), Poll { inventory: 1, report: 2 });
        assert!(matches!(frame.message::<Same>(), Err(LinkError::Unexpected { .. })));
        assert_eq!(answer.recv().await.unwrap(), None, "the question was the last frame");
        answer.send(&Same { report: 2 }, true).await.unwrap();
        let frame = soon(asked.recv()).await.unwrap().unwrap();
        assert_eq!(frame.message::<Same>().unwrap(), Same { report: 2 });
        assert_eq!(asked.recv().await.unwrap(), None);
        assert!(matches!(asked.send(&Poll { inventory: 0, report: 0 }, false).await, Err(LinkError::Over)));
    }
    let counters = dialled.counters();
    assert_eq!((counters.frames_sent, counters.frames_received), (3, 3), "a Greeting, a question, an answer");
    assert!(counters.bytes_sent > 1_500 && counters.bytes_sent < 3_000, "{counters:?}");
}

#[tokio::test]
async fn the_first_frame_leaves_without_waiting_for_the_greeting() {
    let (dialled, accepted, _listener) = pair_of_links().await;
    let asked = dialled.open().unwrap();
    asked.send(&Poll { inventory: 0, report: 0 }, true).await.unwrap();
    // Nothing was received yet: this task has not let the link's task read.
    assert_eq!(dialled.counters().frames_received, 0);
    assert!(soon(accepted.link.incoming()).await.is_some());
}

#[tokio::test]
async fn the_longest_record_arrives_whole_and_a_longer_one_stays_here() {
    let (dialled, accepted, _listener) = pair_of_links().await;
    let sending = dialled.open().unwrap();
    let record: Vec<u8> =
        (0..adit_wire::frame::RECORD_BODY_BYTES_MAX).map(|at| u8::try_from(at % 251).unwrap()).collect();
    let (head, tail) = record.split_at(8);
    sending.send_parts(REC, 0, &[head, tail]).await.unwrap();
    let (frame, receiving) = soon(accepted.link.incoming()).await.unwrap();
    assert!(frame.body == record && frame.kind == REC);
    assert!(matches!(sending.send_parts(REC, 0, &[&record, &[0]]).await, Err(LinkError::Frame(_))));
    assert!(matches!(sending.send_parts(TEST, 0, &[&record]).await, Err(LinkError::Frame(_))));
    sending.send_parts(REC, FLAG_END, &[]).await.unwrap();
    assert_eq!(soon(receiving.recv()).await.unwrap().unwrap().body, []);
}

#[tokio::test]
async fn a_refusal_says_why_and_ends_the_conversation() {
    let (dialled, accepted, _listener) = pair_of_links().await;
    let asked = dialled.open().unwrap();
    asked.send(&Poll { inventory: 0, report: 0 }, true).await.unwrap();
    let (_, answer) = soon(accepted.link.incoming()).await.unwrap();
    answer.refuse_for(Code::Busy, 30, &"é".repeat(150)).await.unwrap();
    let Err(LinkError::Refused(refusal)) = soon(asked.recv()).await else { panic!("refused") };
    assert_eq!((refusal.code, refusal.number, refusal.retry_after_s), (Some(Code::Busy), 4, 30));
    assert_eq!(refusal.detail, "é".repeat(100), "cut at a character");
    assert_eq!(asked.recv().await.unwrap(), None);
}

#[tokio::test]
async fn a_dropped_conversation_is_told_and_its_place_is_free() {
    let (dialled, accepted, _listener) = pair_of_links().await;
    for _ in 0..3 * CONVERSATIONS_MAX {
        let asked = dialled.open().unwrap();
        asked.send_parts(TEST, 0, &[b"unfinished"]).await.unwrap();
        let (_, answer) = soon(accepted.link.incoming()).await.unwrap();
        drop(answer);
        let Err(LinkError::Refused(refusal)) = soon(asked.recv()).await else { panic!("told") };
        assert_eq!(refusal.code, Some(Code::Internal));
        drop(asked);
    }
    assert_eq!(accepted.link.counters().conversations_refused, 0);
    assert_eq!(dialled.counters().frames_late, 0);
}

#[tokio::test]
async fn no_more_conversations_than_agreed() {
    let (dialled, accepted, _listener) = pair_of_links().await;
    let open: Vec<_> = (0..CONVERSATIONS_MAX).map(|_| dialled.open().unwrap()).collect();
    assert!(matches!(dialled.open(), Err(LinkError::Conversations(CONVERSATIONS_MAX))));
    drop(open);
    let again = dialled.open().unwrap();
    again.send_parts(TEST, 0, &[]).await.unwrap();
    assert!(soon(accepted.link.incoming()).await.is_some());
}

#[tokio::test]
async fn frames_of_conversations_interleave() {
    const LONG: usize = 32;
    let (dialled, accepted, _listener) = pair_of_links().await;
    let (long, short) = (dialled.open().unwrap(), dialled.open().unwrap());
    let record = vec![7; 1 << 20];
    let streaming = async {
        for at in 1..=LONG {
            long.send_parts(REC, if at == LONG { FLAG_END } else { 0 }, &[&record]).await.unwrap();
        }
    };
    let asking = async {
        for at in 1..=4 {
            short.send_parts(TEST, if at == 4 { FLAG_END } else { 0 }, &[b"in between"]).await.unwrap();
        }
    };
    let arrived = AtomicUsize::new(0);
    let reading = async {
        let (_, first) = soon(accepted.link.incoming()).await.unwrap();
        let (_, second) = soon(accepted.link.incoming()).await.unwrap();
        let (_, before_the_short_ended) = tokio::join!(
            async {
                while soon(first.recv()).await.unwrap().is_some() {
                    arrived.fetch_add(1, Relaxed);
                }
            },
            async {
                while soon(second.recv()).await.unwrap().is_some() {}
                arrived.load(Relaxed)
            }
        );
        before_the_short_ended
    };
    let ((), (), before) = tokio::join!(streaming, asking, reading);
    assert!(before < LONG / 2, "{before} long frames came before the short conversation's end");
    assert_eq!(arrived.load(Relaxed), LONG - 1);
}

#[tokio::test]
async fn a_slow_reader_slows_the_sender_and_not_the_memory() {
    let (dialled, accepted, _listener) = pair_of_links().await;
    let sending = dialled.open().unwrap();
    let record = vec![7; 1 << 20];
    let mut sent = 0;
    // The reader takes nothing. The sender is held when its own queue, the kernel's buffers and the reader's queue are full.
    while timeout(Duration::from_secs(1), sending.send_parts(REC, 0, &[&record])).await.is_ok() {
        sent += 1;
        assert!(sent < 64, "nothing holds the sender");
    }
    let received = accepted.link.counters().bytes_received;
    assert!(received < (IN_BYTES_MAX + (2 << 20)) as u64, "{received} bytes were read from the socket");
    let (_, receiving) = soon(accepted.link.incoming()).await.unwrap();
    let (ended, ()) = tokio::join!(sending.send_parts(REC, FLAG_END, &[]), async {
        for _ in 1..sent {
            assert_eq!(soon(receiving.recv()).await.unwrap().unwrap().body.len(), record.len());
        }
        assert!(soon(receiving.recv()).await.unwrap().unwrap().ends(), "nothing was lost and nothing came twice");
    });
    ended.unwrap();
}

#[tokio::test]
async fn closing_delivers_what_was_sent() {
    let (dialled, accepted, _listener) = pair_of_links().await;
    let sending = dialled.open().unwrap();
    for _ in 0..8 {
        sending.send_parts(REC, 0, &[&vec![1; 100_000]]).await.unwrap();
    }
    sending.send_parts(REC, FLAG_END, &[]).await.unwrap();
    soon(dialled.close(None)).await;
    let (first, receiving) = soon(accepted.link.incoming()).await.unwrap();
    assert_eq!(first.body.len(), 100_000);
    let mut bytes = 100_000;
    while let Some(frame) = soon(receiving.recv()).await.unwrap() {
        bytes += frame.body.len();
    }
    assert_eq!(bytes, 800_000);
    assert!(matches!(soon(accepted.link.closed()).await, LinkError::Goodbye(None)));
    assert!(accepted.link.incoming().await.is_none());
}

#[tokio::test]
async fn a_cut_link_ends_for_everybody() {
    let (dialled, accepted, _listener) = pair_of_links().await;
    let asked = dialled.open().unwrap();
    asked.send_parts(TEST, 0, &[]).await.unwrap();
    let (_, answer) = soon(accepted.link.incoming()).await.unwrap();
    let closer = accepted.link.closer();
    closer.close(Code::NotAllowed);
    assert!(closer.is_closed());
    assert!(matches!(soon(answer.recv()).await, Err(LinkError::Closed)));
    assert!(matches!(answer.send_parts(TEST, 0, &[]).await, Err(LinkError::Closed)));
    assert!(accepted.link.open().is_err());
    let Err(LinkError::Goodbye(Some(Code::NotAllowed))) = soon(asked.recv()).await else { panic!("told why") };
    assert!(matches!(soon(dialled.closed()).await, LinkError::Goodbye(Some(Code::NotAllowed))));
}

#[tokio::test]
async fn dropping_a_link_cuts_it() {
    let (dialled, accepted, _listener) = pair_of_links().await;
    soon(dialled.greeted()).await.unwrap();
    drop(dialled);
    assert!(matches!(soon(accepted.link.closed()).await, LinkError::Goodbye(None) | LinkError::Cut));
}
