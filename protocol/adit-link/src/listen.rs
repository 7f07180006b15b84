// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A listener: takes connections, lets strangers cost only what the limits say, and hands over finished links.
//!
//! Handshakes run side by side in tasks of their own; taking the next connection never waits for one. What was turned
//! away is counted and told as events. It decides nothing about peers: the gate does.

use crate::door::{Door, Gate};
use crate::identity::Identity;
use crate::limits::{Deadlines, HANDSHAKE_BYTES_MAX, Limits};
use crate::link::{About, Link, Side};
use crate::lock;
use crate::meter::{Meter, Metered};
use crate::run::Start;
use crate::slots::{NoPlace, Place, Slots};
use crate::socket;
use crate::target::is_ipv4_inside;
use crate::tls::{Credentials, Doors, TlsError};
use adit_wire::ids::PublicKey;
use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::net::{SocketAddr, SocketAddrV6};
use std::sync::{Arc, Mutex};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::{Duration, Instant, sleep, sleep_until, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};

/// Events kept for the owner; older ones are only counted.
const EVENTS_MAX: usize = 256;
/// Log lines a minute; a flood at the door is no flood in the log.
const LOG_LINES_MAX: u64 = 30;
/// Pause after the kernel had no descriptor or memory for a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A finished handshake.
#[derive(Debug)]
pub struct Incoming {
    /// The link.
    pub link: Link,
    /// The door it came through.
    pub door: Door,
    /// The dialler's key; pinned when the door is [`Door::Main`].
    pub peer: PublicKey,
    /// Where it came from.
    pub remote: SocketAddrV6,
}

/// What happened at the door.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event {
    /// A key that is no peer's asked for the main door and was refused.
    UnknownKey {
        /// From where.
        remote: SocketAddrV6,
        /// Which.
        key: PublicKey,
    },
    /// Somebody asked for a door that is not open, or for none that exists.
    DoorShut {
        /// From where.
        remote: SocketAddrV6,
        /// Which; `None` for one that does not exist.
        door: Option<Door>,
    },
    /// A connection was dropped unread: too many handshakes are under way.
    Dropped {
        /// From where.
        remote: SocketAddrV6,
        /// Which limit.
        limit: NoPlace,
    },
    /// A handshake did not finish: not TLS 1.3, other algorithms, no raw key, too many bytes, too slow, cut.
    Failed {
        /// From where.
        remote: SocketAddrV6,
        /// How.
        why: String,
    },
    /// The kernel could not give a connection.
    Accept {
        /// Why.
        why: String,
    },
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownKey { remote, key } => write!(f, "{remote} has the unknown key {key}; refused"),
            Self::DoorShut { remote, door: Some(door) } => write!(f, "{remote} came to door {door:?}, which is shut"),
            Self::DoorShut { remote, door: None } => write!(f, "{remote} does not speak adit"),
            Self::Dropped { remote, limit } => write!(f, "{remote} was dropped: too many handshakes ({limit:?})"),
            Self::Failed { remote, why } => write!(f, "the handshake with {remote} failed: {why}"),
            Self::Accept { why } => write!(f, "a connection could not be taken: {why}"),
        }
    }
}

/// How often things happened since the listener began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DoorCounts {
    /// Handshakes that finished.
    pub accepted: u64,
    /// Unknown keys.
    pub unknown_keys: u64,
    /// Shut doors.
    pub doors_shut: u64,
    /// Connections dropped unread.
    pub dropped: u64,
    /// Other handshakes that did not finish.
    pub failed: u64,
    /// Connections that the kernel could not give.
    pub accept_errors: u64,
    /// Events that nobody fetched in time.
    pub events_lost: u64,
}

#[derive(Debug)]
struct Log {
    counts: DoorCounts,
    events: VecDeque<Event>,
    /// Events of this minute, logged or not.
    minute_began: Instant,
    minute_events: u64,
}

impl Log {
    fn new(now: Instant) -> Self {
        Self { counts: DoorCounts::default(), events: VecDeque::new(), minute_began: now, minute_events: 0 }
    }

    /// Whether an event of now gets its own line.
    fn gets_a_line(&mut self, now: Instant) -> bool {
        if now.duration_since(self.minute_began) >= Duration::from_secs(60) {
            let unsaid = self.minute_events.saturating_sub(LOG_LINES_MAX);
            if unsaid > 0 {
                log::info!("{unsaid} more events at the door");
            }
            (self.minute_began, self.minute_events) = (now, 0);
        }
        self.minute_events += 1;
        self.minute_events <= LOG_LINES_MAX
    }

    fn note(&mut self, event: Event) {
        if self.gets_a_line(Instant::now()) {
            log::info!("{event}");
        }
        *match &event {
            Event::UnknownKey { .. } => &mut self.counts.unknown_keys,
            Event::DoorShut { .. } => &mut self.counts.doors_shut,
            Event::Dropped { .. } => &mut self.counts.dropped,
            Event::Failed { .. } => &mut self.counts.failed,
            Event::Accept { .. } => &mut self.counts.accept_errors,
        } += 1;
        if self.events.len() >= EVENTS_MAX {
            self.events.pop_front();
            self.counts.events_lost += 1;
        }
        self.events.push_back(event);
    }
}

/// Why there is no listener.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The address can't be listened on.
    #[error("listen on {address}")]
    Bind {
        /// Which.
        address: SocketAddrV6,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// IPv4 in IPv6's clothes.
    #[error("{0} is an IPv4 address; adit speaks IPv6 only")]
    Ipv4(SocketAddrV6),
    /// The listener has stopped.
    #[error("the listener has stopped")]
    Stopped,
}

/// When the next stranger may finish a handshake: so many a second, so many at once.
#[derive(Debug)]
struct Pace {
    /// The stranger after the last admitted one is admitted then, less what may come at once.
    next: Instant,
}

impl Pace {
    /// When the stranger who comes now is admitted.
    fn admit(&mut self, now: Instant, limits: &Limits) -> Instant {
        let every = Duration::from_secs(1) / limits.strangers_per_s.max(1);
        let at_once = every * limits.strangers_at_once.saturating_sub(1);
        let turn = self.next.max(now.checked_sub(at_once).unwrap_or(now));
        self.next = turn + every;
        turn.max(now)
    }
}

/// What the accepting task and its handshakes share.
struct Porch {
    doors: Doors,
    limits: Limits,
    slots: Slots,
    gate: Arc<dyn Gate>,
    about: Mutex<About>,
    log: Mutex<Log>,
    pace: Mutex<Pace>,
}

/// Accepts links. Dropping it stops listening; links that were handed over live on.
pub struct Listener {
    porch: Arc<Porch>,
    address: SocketAddrV6,
    finished: mpsc::Receiver<Incoming>,
    _stop: DropGuard,
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Listener({})", self.address)
    }
}

impl Listener {
    /// Listens.
    ///
    /// # Errors
    /// When the address is taken, not this machine's, or an IPv4 address.
    #[expect(clippy::unused_async, reason = "needs a runtime, which an async function makes certain")]
    pub async fn bind(
        address: SocketAddrV6,
        identity: Identity,
        gate: Arc<dyn Gate>,
        about: About,
        limits: Limits,
    ) -> Result<Self, ListenError> {
        if is_ipv4_inside(address.ip()) {
            return Err(ListenError::Ipv4(address));
        }
        let bind = |source| ListenError::Bind { address, source };
        let socket = socket::listening(address).map_err(bind)?;
        let SocketAddr::V6(address) = socket.local_addr().map_err(bind)? else {
            return Err(ListenError::Ipv4(address));
        };
        let porch = Arc::new(Porch {
            doors: Doors::new(&Credentials::new(&identity), Arc::clone(&gate)),
            limits,
            slots: Slots::default(),
            gate,
            about: Mutex::new(about),
            log: Mutex::new(Log::new(Instant::now())),
            pace: Mutex::new(Pace { next: Instant::now() }),
        });
        let (hand_over, finished) = mpsc::channel(limits.handshakes.max(1));
        let stop = CancellationToken::new();
        let accepting = accept_all(socket, Arc::clone(&porch), hand_over);
        tokio::spawn(stop.clone().run_until_cancelled_owned(accepting));
        Ok(Self { porch, address, finished, _stop: stop.drop_guard() })
    }

    /// The address that is listened on.
    #[must_use]
    pub fn local_address(&self) -> SocketAddrV6 {
        self.address
    }

    /// What links say of this machine from now on.
    pub fn announce(&self, about: About) {
        *lock(&self.porch.about) = about;
    }

    /// The next finished handshake.
    ///
    /// # Errors
    /// When the listener has stopped.
    pub async fn accept(&mut self) -> Result<Incoming, ListenError> {
        loop {
            let incoming = self.finished.recv().await.ok_or(ListenError::Stopped)?;
            // The pin may have gone while the link waited here.
            if incoming.door != Door::Main || self.porch.gate.pinned(&incoming.peer) {
                return Ok(incoming);
            }
            let event = Event::UnknownKey { remote: incoming.remote, key: incoming.peer };
            lock(&self.porch.log).note(event);
        }
    }

    /// What happened since the last call, oldest first; at most 256 events, the rest is only counted.
    #[must_use]
    pub fn take_events(&self) -> Vec<Event> {
        lock(&self.porch.log).events.drain(..).collect()
    }

    /// How often things happened since the listener began.
    #[must_use]
    pub fn counts(&self) -> DoorCounts {
        lock(&self.porch.log).counts
    }

    /// Handshakes under way.
    #[must_use]
    pub fn handshakes(&self) -> usize {
        self.porch.slots.count()
    }
}

async fn accept_all(socket: TcpListener, porch: Arc<Porch>, hand_over: mpsc::Sender<Incoming>) {
    loop {
        let (stream, remote) = match socket.accept().await {
            Ok((stream, SocketAddr::V6(remote))) => (stream, remote),
            // V6ONLY leaves no other; were there one, it is closed here.
            Ok((_, SocketAddr::V4(_))) => continue,
            Err(error) => {
                lock(&porch.log).note(Event::Accept { why: error.to_string() });
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        match porch.slots.take(remote.ip(), &porch.limits) {
            Ok(place) => drop(tokio::spawn(Arc::clone(&porch).receive(stream, remote, place, hand_over.clone()))),
            Err(limit) => lock(&porch.log).note(Event::Dropped { remote, limit }),
        }
    }
}

impl Porch {
    /// One handshake, from its first byte to its link.
    async fn receive(
        self: Arc<Self>,
        stream: TcpStream,
        remote: SocketAddrV6,
        place: Place,
        hand_over: mpsc::Sender<Incoming>,
    ) {
        let event = match timeout(self.limits.handshake, self.shake_hands(stream, remote)).await {
            Ok(Ok(incoming)) => {
                lock(&self.log).counts.accepted += 1;
                // The place is kept until the owner takes the link, so a slow owner slows the door, not the memory.
                drop(hand_over.send(incoming).await);
                drop(place);
                return;
            }
            Ok(Err(event)) => event,
            Err(_) => Event::Failed { remote, why: format!("not done after {} s", self.limits.handshake.as_secs()) },
        };
        lock(&self.log).note(event);
    }

    async fn shake_hands(&self, stream: TcpStream, remote: SocketAddrV6) -> Result<Incoming, Event> {
        let meter = Arc::new(Meter::new());
        let io = Metered::new(stream, Arc::clone(&meter), HANDSHAKE_BYTES_MAX);
        let admit = |door| async move {
            if door != Door::Main {
                let turn = lock(&self.pace).admit(Instant::now(), &self.limits);
                sleep_until(turn).await;
            }
        };
        let (secured, door) = self.doors.accept(io, admit).await.map_err(|(error, door)| event(error, door, remote))?;
        let start = Start {
            side: Side::Listener,
            door,
            peer: secured.peer,
            binding: secured.binding,
            remote,
            meter,
            about: lock(&self.about).clone(),
            greeting_within: Deadlines::default().greeting,
        };
        let peer = secured.peer;
        Ok(Incoming { link: Link::start(secured.stream, start), door, peer, remote })
    }
}

fn event(error: TlsError, door: Option<Door>, remote: SocketAddrV6) -> Event {
    let failed = |why: String| Event::Failed { remote, why };
    match error {
        TlsError::UnexpectedKey(key) => Event::UnknownKey { remote, key },
        TlsError::NoSuchDoor => Event::DoorShut { remote, door },
        TlsError::NotPaired => failed("the other side does not accept our key".to_owned()),
        TlsError::Closed => failed("the other side closed".to_owned()),
        TlsError::TooManyBytes => failed(crate::meter::TooManyBytes.to_string()),
        TlsError::NotAdit(why) => failed(why),
        TlsError::Broken(error) => failed(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn strangers_come_some_at_once_then_one_a_second() {
        let (start, limits) = (Instant::now(), Limits::default());
        let mut pace = Pace { next: start };
        tokio::time::advance(Duration::from_secs(60)).await;
        let now = Instant::now();
        let waits: Vec<u64> = (0..7).map(|_| (pace.admit(now, &limits) - now).as_secs()).collect();
        assert_eq!(waits, [0, 0, 0, 0, 1, 2, 3]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_at_the_door_is_no_flood_in_the_log() {
        let mut log = Log::new(Instant::now());
        let lines = (0..10_000).filter(|_| log.gets_a_line(Instant::now())).count();
        assert_eq!(lines as u64, LOG_LINES_MAX);
        tokio::time::advance(Duration::from_secs(60)).await;
        assert!(log.gets_a_line(Instant::now()));
    }

    #[tokio::test]
    async fn events_are_bounded_and_the_rest_is_counted() {
        let mut log = Log::new(Instant::now());
        for _ in 0..EVENTS_MAX + 5 {
            log.note(Event::Accept { why: "no descriptor".to_owned() });
        }
        assert_eq!(log.events.len(), EVENTS_MAX);
        assert_eq!((log.counts.accept_errors, log.counts.events_lost), ((EVENTS_MAX + 5) as u64, 5));
    }
}
