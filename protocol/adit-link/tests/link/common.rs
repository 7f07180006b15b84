// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What the link's tests share: a gate, a listener on `[::1]`, two linked sides, and clients that break the rules.

use adit_link::{
    About, Deadlines, DialError, Door, Event, Gate, Identity, Incoming, Limits, Link, Listener, Target, dial,
};
use adit_wire::frame::{HEADER_BYTES, Kind};
use adit_wire::ids::PublicKey;
use std::collections::HashSet;
use std::future::Future;
use std::net::{Ipv6Addr, SocketAddrV6};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A gate whose answers a test changes.
#[derive(Debug, Default)]
pub(crate) struct TestGate {
    pub(crate) pinned: Mutex<HashSet<PublicKey>>,
    pub(crate) pairing: AtomicBool,
    pub(crate) recovery: AtomicBool,
}

impl TestGate {
    pub(crate) fn with(keys: &[PublicKey]) -> Arc<Self> {
        Arc::new(Self { pinned: Mutex::new(keys.iter().copied().collect()), ..Self::default() })
    }

    pub(crate) fn open(&self) {
        self.pairing.store(true, Ordering::Relaxed);
        self.recovery.store(true, Ordering::Relaxed);
    }
}

impl Gate for TestGate {
    fn pinned(&self, key: &PublicKey) -> bool {
        self.pinned.lock().unwrap().contains(key)
    }

    fn pairing_open(&self) -> bool {
        self.pairing.load(Ordering::Relaxed)
    }

    fn recovery_open(&self) -> bool {
        self.recovery.load(Ordering::Relaxed)
    }
}

pub(crate) fn server() -> Identity {
    Identity::from_seed([1; 32])
}

pub(crate) fn client() -> Identity {
    Identity::from_seed([2; 32])
}

pub(crate) fn stranger() -> Identity {
    Identity::from_seed([3; 32])
}

pub(crate) fn about(software: &str) -> About {
    About { software: software.to_owned(), address_record: Vec::new() }
}

pub(crate) const LOOPBACK: SocketAddrV6 = SocketAddrV6::new(Ipv6Addr::LOCALHOST, 0, 0, 0);

/// One machine is all networks of these tests: the limits per network would hide the limit in all.
pub(crate) fn one_network() -> Limits {
    Limits { handshakes_per_64: 64, handshakes_per_48: 64, ..Limits::default() }
}

pub(crate) async fn listen(gate: Arc<TestGate>, limits: Limits) -> Listener {
    Listener::bind(LOOPBACK, server(), gate, about("box 1"), limits).await.unwrap()
}

pub(crate) fn at(listener: &Listener) -> Target {
    Target::Address(listener.local_address())
}

pub(crate) async fn dial_as(identity: &Identity, listener: &Listener, door: Door) -> Result<Link, DialError> {
    let expected = server().public_key();
    dial(&[at(listener)], door, identity, expected, &about("source 1"), Deadlines::default()).await
}

/// A link between the client and the server, both keys pinned: (dialler, listener, the door's owner).
pub(crate) async fn pair_of_links() -> (Link, Incoming, Listener) {
    let mut listener = listen(TestGate::with(&[client().public_key()]), Limits::default()).await;
    let dialled = dial_as(&client(), &listener, Door::Main).await.unwrap();
    let accepted = soon(listener.accept()).await.unwrap();
    (dialled, accepted, listener)
}

/// What a test waits for comes within a minute of its own clock, or the test fails instead of hanging.
pub(crate) async fn soon<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(60), future).await.expect("within a minute")
}

/// The door's events once there are so many: a refused client may see its refusal before the door has noted it.
pub(crate) async fn events(listener: &Listener, count: usize) -> Vec<Event> {
    let mut events = Vec::new();
    soon(async {
        while events.len() < count {
            events.extend(listener.take_events());
            tokio::task::yield_now().await;
        }
    })
    .await;
    events
}

/// A message number that no service uses: the link carries it all the same.
pub(crate) const TEST: Kind = Kind { service: 2, method: 200, major: 1 };

/// A frame to the byte, for clients that break the rules.
pub(crate) fn frame(kind: Kind, flags: u8, conversation: u32, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(HEADER_BYTES + body.len()).unwrap();
    [&length.to_le_bytes()[..], &[kind.service, kind.method, kind.major, flags], &conversation.to_le_bytes(), body]
        .concat()
}
