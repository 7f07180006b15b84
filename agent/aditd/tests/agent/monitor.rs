// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Health over the link: polls, and an agent that joins a monitor, dials it and is polled over that connection.

use crate::lab::{As, Lab, Machine, ask};
use adit_link::{About, Door, Gate, Identity, Incoming, Limits, Link, Listener};
use adit_proto::pairing::{Answer, Channel, Maker, PairInput, Registry, TokenState};
use adit_proto::token::{Address, Kind, Secret, Token};
use adit_wire::frame::{FLAG_END, Message};
use adit_wire::health::codes::{ComponentKind, Quantity, Reason};
use adit_wire::health::{Full, Poll, Same};
use adit_wire::ids::{Id, PublicKey, SourceId, StoreId};
use adit_wire::pair::{Paired, Role};
use std::sync::{Arc, Mutex};

async fn poll_full(link: &Link) -> (u64, u64) {
    let frame = ask(link, &Poll { inventory: 0, report: 0 }).await.expect("answered");
    let full: Full<'_> = frame.message().expect("a report");
    let report = adit_health::decode(full.inventory_bytes, full.snapshot).expect("readable");
    assert!(!report.components.is_empty());
    (full.report, full.inventory)
}

#[tokio::test]
async fn the_same_report_costs_a_few_bytes() {
    let lab = Lab::start(As::PlainAgent).await;
    let monitor = lab.paired(Role::Monitor, "mon").await;
    let link = monitor.connect(&lab).await;
    let (report, inventory) = poll_full(&link).await;
    let frame = ask(&link, &Poll { inventory, report }).await.expect("answered");
    assert_eq!(frame.message::<Same>().expect("the same").report, report);
}

/// The period in minutes that the box's report shows for its one source.
async fn shown_period(lab: &Lab, monitor: &Machine) -> Option<i64> {
    let frame = ask(&monitor.connect(lab).await, &Poll { inventory: 0, report: 0 }).await.expect("answered");
    let full: Full<'_> = frame.message().expect("a report");
    let report = adit_health::decode(full.inventory_bytes, full.snapshot).expect("readable");
    let source = report.components.iter().find(|component| component.kind == ComponentKind::Source);
    let readings = &source.expect("the source").readings;
    readings.iter().find(|(quantity, _)| *quantity == Quantity::PeriodMinutes).expect("its period").1
}

#[tokio::test]
async fn a_source_says_how_often_it_means_to_send() {
    let mut lab = Lab::start(As::Box).await;
    let monitor = lab.paired(Role::Monitor, "mon").await;
    let web = lab.paired(Role::Source, "web1").await;
    crate::backup::back_up(&lab, &web, 1).await;
    assert_eq!(shown_period(&lab, &monitor).await, Some(0));
    for (key, said_s, shown_min) in [(2, 3_600, 60), (3, u64::MAX, 31 * 24 * 60), (4, 7_200, 120), (5, 0, 120)] {
        crate::backup::back_up_every(&lab, &web, key, said_s).await;
        assert_eq!(shown_period(&lab, &monitor).await, Some(shown_min), "said {said_s} s");
    }
    lab.restart().await;
    assert_eq!(shown_period(&lab, &monitor).await, Some(120), "it is kept");
}

/// A poll's report and how long it took to come.
async fn timed_poll(link: &Link) -> (adit_health::Report, std::time::Duration) {
    let began = std::time::Instant::now();
    let frame = ask(link, &Poll { inventory: 0, report: 0 }).await.expect("answered");
    let took = began.elapsed();
    let full: Full<'_> = frame.message().expect("a report");
    (adit_health::decode(full.inventory_bytes, full.snapshot).expect("readable"), took)
}

/// A file that never answers stands for a stuck disk: opening a pipe that nobody writes waits for ever.
#[tokio::test]
async fn a_poll_is_answered_whatever_hangs() {
    /// How long a poll may take, milliseconds.
    const POLL_MS_MAX: u128 = 5;
    let mut lab = Lab::start(As::PlainAgent).await;
    let monitor = lab.paired(Role::Monitor, "mon").await;
    nix::unistd::mkfifo(&lab.dir.path().join("runs.jsonl"), nix::sys::stat::Mode::S_IRWXU).expect("a pipe");
    let config = std::fs::read_to_string(lab.config_path()).expect("read");
    std::fs::write(lab.config_path(), format!("backups = [{:?}]\n{config}", lab.dir.path())).expect("written");
    lab.restart().await;

    let link = monitor.connect(&lab).await;
    // The first poll waits until the look is known to be stuck.
    let (report, _) = timed_poll(&link).await;
    let agent = report.components.iter().find(|component| component.kind == ComponentKind::Agent).expect("the agent");
    assert_eq!(agent.findings[0].reason, Reason::HelperStuck, "{agent:?}");
    let mut waits: Vec<u128> = Vec::new();
    for _ in 0..50 {
        waits.push(timed_poll(&link).await.1.as_millis());
    }
    waits.sort_unstable();
    assert!(waits[waits.len() / 2] <= POLL_MS_MAX, "half of the polls take more than {POLL_MS_MAX} ms: {waits:?}");
}

/// A monitor, as far as an agent can tell.
struct Monitor {
    pinned: Mutex<Vec<PublicKey>>,
}

impl Gate for Monitor {
    fn pinned(&self, key: &PublicKey) -> bool {
        self.pinned.lock().expect("whole").contains(key)
    }
    fn pairing_open(&self) -> bool {
        true
    }
    fn recovery_open(&self) -> bool {
        false
    }
}

impl Registry for Monitor {
    fn has_name(&self, _: &str) -> bool {
        false
    }
    fn source_name(&self, _: &SourceId) -> Option<String> {
        None
    }
    fn key_name(&self, _: &PublicKey) -> Option<String> {
        None
    }
}

/// Redeems one token; answers the agent's key.
async fn redeem_one(monitor: &Monitor, incoming: Incoming, token: &Token) -> PublicKey {
    let Incoming { link, door, peer, .. } = incoming;
    assert_eq!(door, Door::Pair);
    let (frame, conversation) = link.incoming().await.expect("a request");
    let reply = {
        let channel = Channel { binding: link.channel_binding(), maker: token.maker, redeemer: peer };
        let maker = Maker { channel, hmac: &aditd::pairing::hmac, verify: &adit_link::verify };
        let state = TokenState {
            kind: Kind::Monitor,
            mac_key: token.mac_key(),
            role: Role::Agent,
            tries: 0,
            burnt: false,
            live: true,
            rejoin: None,
        };
        let accept = maker.judge(&PairInput::read(&frame.body).expect("a request"), &state, monitor).expect("accepted");
        assert_eq!((accept.role, accept.granted), (Role::Agent, Some(Role::Monitor)));
        monitor.pinned.lock().expect("whole").push(peer);
        let answer =
            Answer { name: "icinga", addresses: &[], store: StoreId::ZERO, newest_seq: 0, newest_head: Id::ZERO };
        maker.reply(&accept, &token.mac_key(), &answer).expect("a reply")
    };
    conversation.send_parts(<Paired<'_> as Message<'_>>::KIND, FLAG_END, &[&reply]).await.expect("sent");
    link.close(None).await;
    peer
}

#[tokio::test]
async fn an_agent_joins_a_monitor_and_is_polled_over_its_own_connection() {
    let lab = Lab::start(As::PlainAgent).await;
    let identity = Identity::generate();
    let monitor = Arc::new(Monitor { pinned: Mutex::default() });
    let gate: Arc<dyn Gate> = Arc::clone(&monitor) as _;
    let listen = "[::1]:0".parse().expect("address");
    let mut listener =
        Listener::bind(listen, identity.clone(), gate, About::default(), Limits::default()).await.expect("listens");
    let address = listener.local_address();
    let token = Token {
        kind: Kind::Monitor,
        maker: identity.public_key(),
        secret: Secret::new([5; 16]),
        addresses: vec![Address::Ip(*address.ip(), address.port())],
    };
    let (text, config) = (token.to_text().expect("a token"), lab.config_path());
    let join = tokio::task::spawn_blocking(move || {
        crate::lab::aditd(&["pair", &text, "--config", config.to_str().expect("UTF-8")])
    });
    let agent = redeem_one(&monitor, listener.accept().await.expect("redeems"), &token).await;
    assert_eq!(agent, lab.key);
    let run = join.await.expect("ran");
    assert_eq!((run.code, run.stdout.as_str()), (0, "paired with icinga\n"), "{}", run.stderr);
    // The running agent sees the new peer and dials it.
    let incoming = listener.accept().await.expect("dials");
    assert_eq!((incoming.door, incoming.peer), (Door::Main, agent));
    poll_full(&incoming.link).await;
    // A cut line is dialled again.
    incoming.link.close(None).await;
    let again = listener.accept().await.expect("dials again");
    poll_full(&again.link).await;
}
