// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Dialling: several addresses, the hop that failed, what the doctor sees, and address records that travel.

use crate::common::{TestGate, about, at, client, dial_as, events, listen, one_network, server, soon, stranger};
use adit_link::{About, Deadlines, DialError, Door, Identity, Link, Target, dial, probe};
use adit_wire::signed::{AddressRecord, PREFIX_ADDRESS};
use std::net::{Ipv6Addr, SocketAddrV6};
use std::time::Duration;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;

fn short() -> Deadlines {
    let second = Duration::from_secs(1);
    Deadlines { resolve: second, connect: second, handshake: second, greeting: second }
}

async fn dial_all(targets: &[Target]) -> Result<Link, DialError> {
    dial(targets, Door::Main, &client(), server().public_key(), &about("source 1"), short()).await
}

/// A port of `[::1]` on which nothing listens: it was free just now.
async fn nobody() -> Target {
    let socket = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).await.unwrap();
    Target::parse(&socket.local_addr().unwrap().to_string()).unwrap()
}

/// A listener of something else, which answers each connection with `bytes` and then stays silent.
async fn something_else(bytes: &'static [u8]) -> Target {
    let socket = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).await.unwrap();
    let target = Target::parse(&socket.local_addr().unwrap().to_string()).unwrap();
    tokio::spawn(async move {
        let mut taken = Vec::new();
        while let Ok((mut stream, _)) = socket.accept().await {
            stream.write_all(bytes).await.unwrap();
            taken.push(stream);
        }
    });
    target
}

#[tokio::test]
async fn each_hop_has_its_name() {
    assert_eq!(dial_all(&[]).await.unwrap_err(), DialError::NoTarget);
    assert_eq!(dial_all(&[nobody().await]).await.unwrap_err(), DialError::Refused);
    let unresolvable = Target::parse("adit-test.invalid").unwrap();
    assert!(matches!(dial_all(&[unresolvable]).await.unwrap_err(), DialError::Resolve(_)));
    assert_eq!(dial_all(&[something_else(b"").await]).await.unwrap_err(), DialError::Stalled);
    let ssh = something_else(b"SSH-2.0-OpenSSH_9.9\r\n").await;
    assert!(matches!(dial_all(&[ssh]).await.unwrap_err(), DialError::NotAdit(_)));
    let mapped = SocketAddrV6::new("::ffff:127.0.0.1".parse().unwrap(), 9, 0, 0);
    assert!(Target::from_address(mapped).is_err());
    assert_eq!(dial_all(&[Target::Address(mapped)]).await.unwrap_err(), DialError::OnlyIpv4);
}

#[tokio::test]
async fn a_name_is_resolved_at_each_dial() {
    let mut listener = listen(TestGate::with(&[client().public_key()]), one_network()).await;
    let name = format!("localhost:{}", listener.local_address().port());
    match dial_all(&[Target::parse(&name).unwrap()]).await {
        Ok(link) => {
            assert_eq!(link.remote(), listener.local_address());
            soon(listener.accept()).await.unwrap();
        }
        // A machine whose hosts file gives localhost an IPv4 address only.
        Err(error) => assert_eq!(error, DialError::OnlyIpv4),
    }
}

/// The addresses before the right one refuse, stall and belong to another machine; the dial goes on behind each.
#[tokio::test]
async fn the_first_address_with_the_right_key_wins() {
    let mut listener = listen(TestGate::with(&[client().public_key()]), one_network()).await;
    let other = adit_link::Listener::bind(
        crate::common::LOOPBACK,
        stranger(),
        TestGate::with(&[client().public_key()]),
        about("another box"),
        one_network(),
    );
    let other = other.await.unwrap();
    let targets = [nobody().await, something_else(b"").await, at(&other), at(&listener)];
    let link = soon(dial_all(&targets)).await.unwrap();
    assert_eq!(link.peer(), server().public_key());
    assert_eq!(soon(listener.accept()).await.unwrap().peer, client().public_key());
    let Err(DialError::All(tried)) = soon(dial_all(&targets[..3])).await else { panic!("three failures") };
    assert_eq!(tried[0].error, DialError::WrongKey { found: stranger().public_key() }, "the furthest first");
    assert_eq!(tried.len(), 3);
    assert!(tried.iter().all(|tried| tried.address.is_some()));
}

#[tokio::test]
async fn at_most_eight_addresses_are_tried_and_each_once() {
    let silent = something_else(b"nonsense").await;
    let mut targets = vec![silent.clone(), silent];
    for _ in 0..10 {
        targets.push(nobody().await);
    }
    let Err(DialError::All(tried)) = soon(dial_all(&targets)).await else { panic!("failures") };
    assert_eq!(tried.len(), 8);
}

#[tokio::test]
async fn the_doctor_sees_each_hop() {
    let listener = listen(TestGate::with(&[client().public_key()]), one_network()).await;
    let targets =
        [at(&listener), nobody().await, something_else(b"").await, Target::parse("adit-test.invalid").unwrap()];
    let reports = probe(&targets, Door::Main, &client(), server().public_key(), short()).await;
    let of = |target: &Target| reports.iter().find(|report| report.target == target.to_string()).unwrap();
    let well = of(&targets[0]);
    assert!(well.error.is_none() && well.greeted_after.is_some(), "{well:?}");
    assert_eq!(well.software.as_deref(), Some("box 1"));
    let refused = of(&targets[1]);
    assert_eq!((&refused.error, refused.connected_after), (&Some(DialError::Refused), None));
    let stalled = of(&targets[2]);
    assert_eq!((&stalled.error, stalled.secured_after), (&Some(DialError::Stalled), None));
    assert!(stalled.connected_after.is_some());
    assert!(matches!(of(&targets[3]).error, Some(DialError::Resolve(_))));

    let unpaired = probe(&targets[..1], Door::Main, &stranger(), server().public_key(), short()).await;
    assert_eq!(unpaired[0].error, Some(DialError::NotPaired));
    assert!(unpaired[0].secured_after.is_some());
    let closed = probe(&targets[..1], Door::Pair, &stranger(), server().public_key(), short()).await;
    assert_eq!(closed[0].error, Some(DialError::PairingClosed));
    assert_eq!(events(&listener, 2).await.len(), 2);
}

fn record_of(identity: &Identity, key: &Identity) -> Vec<u8> {
    let address = [&Ipv6Addr::LOCALHOST.octets()[..], &11_713u16.to_le_bytes()].concat();
    let mut buffer = [0; 128];
    let record = AddressRecord::new(key.public_key(), 7, &address).unwrap();
    let body = record.write(&mut buffer).unwrap();
    [&body[..], identity.sign(PREFIX_ADDRESS, body).as_bytes()].concat()
}

#[tokio::test]
async fn an_address_record_travels_when_its_owner_signed_it() {
    let cases = [
        (record_of(&server(), &server()), true),
        (record_of(&stranger(), &server()), false),
        (record_of(&stranger(), &stranger()), false),
        (b"something newer".to_vec(), false),
    ];
    let listener = listen(TestGate::with(&[client().public_key()]), one_network()).await;
    for (record, passes) in cases {
        listener.announce(About { software: "box 2".to_owned(), address_record: record.clone() });
        let link = dial_as(&client(), &listener, Door::Main).await.unwrap();
        let greeting = soon(link.greeted()).await.unwrap();
        assert_eq!(greeting.software, "box 2");
        assert_eq!(greeting.address_record, if passes { record } else { Vec::new() });
    }
}

#[tokio::test]
async fn a_listener_refuses_ipv4_and_a_taken_port() {
    let gate = TestGate::with(&[]);
    let listener = listen(gate.clone(), one_network()).await;
    let bind = |address| adit_link::Listener::bind(address, server(), gate.clone(), About::default(), one_network());
    let taken = bind(listener.local_address()).await.unwrap_err();
    assert!(taken.to_string().starts_with("listen on [::1]:"), "{taken}");
    let mapped = SocketAddrV6::new("::ffff:127.0.0.1".parse().unwrap(), 0, 0, 0);
    assert!(bind(mapped).await.unwrap_err().to_string().contains("IPv6 only"));
    drop(listener);
}
