// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Peers that break the protocol: each gets a typed answer or is cut off, is counted, and the agent goes on for others.

use crate::backup::{Runner, start};
use crate::lab::{As, Lab, ask, ask_bytes, code_of, next, until};
use crate::sealed::{Sealer, noise};
use adit_proto::backup::REC;
use adit_proto::roles::TABLE;
use adit_wire::backup::Ack;
use adit_wire::frame::{Kind, Message, Service};
use adit_wire::health::Poll;
use adit_wire::pair::Role;
use adit_wire::refusal::Code;

#[tokio::test]
async fn random_bodies_for_every_method() {
    let lab = Lab::start(As::Box).await;
    let (web, admin) = (lab.paired(Role::Source, "web1").await, lab.paired(Role::Admin, "laptop").await);
    for machine in [&web, &admin] {
        let mut link = machine.connect(&lab).await;
        for row in TABLE.iter().filter(|row| row.service != Service::Link && row.name != "UNPAIR") {
            for seed in 0..12u64 {
                let kind = Kind { service: row.service as u8, method: row.method, major: 1 };
                let length = usize::try_from(seed * seed * 7).expect("small");
                let answer = ask_bytes(&link, kind, &noise(length, seed)).await;
                assert!(
                    answer.is_err() || length == 0 || row.method == 6 || row.name == "POLL" || row.name == "PEERS",
                    "{}",
                    row.name
                );
                if link.closer().is_closed() {
                    link = machine.connect(&lab).await;
                }
            }
        }
    }
    let link = web.connect(&lab).await;
    ask(&link, &Poll { inventory: 0, report: 0 }).await.expect("the agent goes on");
    assert!(lab.events.count("protocol_errors_total") > 50);
}

#[tokio::test]
async fn records_out_of_order_replayed_or_before_their_turn() {
    let lab = Lab::start(As::Box).await;
    let web = lab.paired(Role::Source, "web1").await;
    for (key, seqs) in [(1u8, &[2u64][..]), (2, &[1, 1]), (3, &[1, 3]), (4, &[0]), (5, &[u64::MAX])] {
        let link = web.connect(&lab).await;
        let (mut runner, _) = Runner::hello(&link, start(&web)).await.expect("welcome");
        let mut sealer = Sealer::new(&web, key, 1);
        runner.open(&sealer, None).await.expect("opened");
        for seq in seqs {
            let record = sealer.data(&noise(500, *seq));
            runner.conversation.send_parts(REC, 0, &[&seq.to_le_bytes(), &record]).await.expect("sent");
        }
        let error = loop {
            match next(&runner.conversation).await {
                Ok(frame) => assert_eq!(frame.kind, Ack::KIND),
                Err(error) => break error,
            }
        };
        assert_eq!(code_of(&error), Some(Code::Protocol), "{seqs:?}: {error}");
    }
    // A record before OPEN.
    let link = web.connect(&lab).await;
    let (runner, _) = Runner::hello(&link, start(&web)).await.expect("welcome");
    runner.conversation.send_parts(REC, 0, &[&1u64.to_le_bytes(), b"record"]).await.expect("sent");
    let error = next(&runner.conversation).await.expect_err("refused");
    assert_eq!(code_of(&error), Some(Code::Protocol));
}

#[tokio::test]
async fn a_source_that_ignores_its_credit_is_refused() {
    let lab = Lab::start(As::Box).await;
    let web = lab.paired(Role::Source, "web1").await;
    let link = web.connect(&lab).await;
    let (mut runner, _) = Runner::hello(&link, start(&web)).await.expect("welcome");
    let mut sealer = Sealer::new(&web, 1, 1);
    runner.open(&sealer, None).await.expect("opened");
    let mut outcome = Ok(());
    for seq in 1..=64u64 {
        let record = sealer.data(&noise(1 << 20, seq));
        outcome = runner.conversation.send_parts(REC, 0, &[&seq.to_le_bytes(), &record]).await;
        if outcome.is_err() {
            break;
        }
    }
    // Either the flood was refused, or the box was fast enough to grant what was sent.
    let refused = loop {
        match next(&runner.conversation).await {
            Ok(frame) if frame.kind == Ack::KIND => {
                let ack: Ack = frame.message().expect("an ack");
                if ack.received_seq == 64 {
                    break None;
                }
            }
            Ok(frame) => panic!("{:?}", frame.kind),
            Err(error) => break Some(error),
        }
    };
    if let Some(error) = refused {
        assert_eq!(code_of(&error), Some(Code::Protocol), "{error} {outcome:?}");
    }
    let link = web.connect(&lab).await;
    ask(&link, &Poll { inventory: 0, report: 0 }).await.expect("the agent goes on");
}

#[tokio::test]
async fn bytes_that_are_no_tls_cost_nobody_else() {
    let lab = Lab::start(As::PlainAgent).await;
    let monitor = lab.paired(Role::Monitor, "mon").await;
    for junk in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0x16, 3, 1, 0xff, 0xff], &[0u8; 64]] {
        use tokio::io::AsyncWriteExt as _;
        let mut stream =
            tokio::net::TcpStream::connect(std::net::SocketAddr::V6(lab.address)).await.expect("connected");
        stream.write_all(junk).await.expect("written");
    }
    let link = monitor.connect(&lab).await;
    ask(&link, &Poll { inventory: 0, report: 0 }).await.expect("answered");
}

#[tokio::test]
async fn an_unknown_key_is_counted() {
    let lab = Lab::start(As::PlainAgent).await;
    let _open = lab.token("monitor", "spare");
    assert!(!crate::lab::Machine::new("nobody").is_let_in(&lab).await);
    until("the knock is counted", || lab.events.count("unknown_keys_total") == 1).await;
}
