// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The running agent: starts what the configuration asks for, takes connections, keeps those it dials itself, watches its
//! files and the clock, and stops in order.
//!
//! One thread does all I/O of the links; the store has its own ([`crate::store_thread`]), and health is collected on a
//! third. Nothing here knows what a request means.

use crate::clock::{self, Now};
use crate::config::Config;
use crate::event::{Event, Events};
use crate::open_store::{self, StoreError};
use crate::pairing::{self, Mended};
use crate::serve::{self, Caller};
use crate::shared::{Served, Shared};
use crate::state::{State, StateError, StateLock};
use adit_link::{Closer, Door, Identity, Incoming, Limits, Link, ListenError, Listener};
use adit_wire::ids::PublicKey;
use adit_wire::refusal::Code;
use std::net::SocketAddrV6;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How often the peer files are looked at.
const PEERS_EVERY: Duration = Duration::from_secs(2);
/// How often the own addresses are looked at.
const ADDRESSES_EVERY: Duration = Duration::from_secs(60);
/// How often it is stored when peers were heard.
const HEARD_EVERY: Duration = Duration::from_secs(600);
/// How often the store looks whether its daily work is due.
const STORE_EVERY: Duration = Duration::from_secs(5 * 60);
/// How long conversations may go on after the stop was asked for.
const STOP_WITHIN: Duration = Duration::from_secs(8);
/// The file beside the health socket by which a service with the right to do so powers the machine off.
const POWER_OFF: &str = "poweroff";
/// Links at the recovery door at once.
const RECOVERIES_MAX: usize = 4;

/// Why the agent doesn't start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The state directory can't be used.
    #[error(transparent)]
    State(#[from] StateError),
    /// The store can't be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The listening address can't be used.
    #[error(transparent)]
    Listen(#[from] ListenError),
}

/// An agent that is ready to run.
pub struct Agent {
    shared: Arc<Shared>,
    listener: Option<Listener>,
    /// Where programs of this machine ask for its health.
    local: Option<adit_link::serial::local::LocalListener>,
    /// Keeps other agents away from the state directory.
    _lock: Option<StateLock>,
}

impl std::fmt::Debug for Agent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Agent").field("shared", &self.shared).finish_non_exhaustive()
    }
}

impl Agent {
    /// Starts the agent of a configuration: opens state and store, finishes what a crash has cut, listens.
    ///
    /// # Errors
    /// When something of that can't be done.
    pub async fn start(config: Config, stop: CancellationToken) -> Result<Self, StartError> {
        let state = State::open(&config.state)?;
        let lock = state.lock()?;
        let identity = state.identity()?;
        let events = Arc::new(Events::default());
        for mended in pairing::mend(&state.peers(), &state.tokens()).map_err(StateError::from)? {
            events.record(&match mended {
                Mended::Finished(name) => Event::PairFinished { name: name.to_string() },
                Mended::Undone(name) => Event::PairUndone { name: name.to_string() },
            });
        }
        state.tokens().tidy(&Now::read()).map_err(StateError::from)?;
        let store = match &config.store {
            Some(path) => Some(open_store::serve(path, open_store::Mode::Box, &events)?),
            None => None,
        };
        Self::assemble(config, Some((state, lock)), identity, store, events, stop).await
    }

    /// Serves a carried store for reading, with an identity of its own and nothing remembered.
    ///
    /// # Errors
    /// When the store can't be read or the address not be listened on.
    pub async fn start_read_only(
        store: &Path,
        listen: SocketAddrV6,
        stop: CancellationToken,
    ) -> Result<Self, StartError> {
        let events = Arc::new(Events::default());
        let served = open_store::serve(store, open_store::Mode::Carried, &events)?;
        let config = Config::carried(listen, store);
        Self::assemble(config, None, Identity::generate(), Some(served), events, stop).await
    }

    async fn assemble(
        config: Config,
        state: Option<(State, StateLock)>,
        identity: Identity,
        store: Option<Served>,
        events: Arc<Events>,
        stop: CancellationToken,
    ) -> Result<Self, StartError> {
        let listen = config.listen;
        let (state, lock) = state.map_or((None, None), |(state, lock)| (Some(state), Some(lock)));
        let shared = Arc::new(Shared::new(config, state, identity, store, events, stop));
        shared.reload_peers().map_err(StateError::from)?;
        shared.register_sources().await;
        // An order that nobody followed must not be followed after the power is back.
        let _none = std::fs::remove_file(power_off_order(&shared.config));
        let local = crate::console::bind(&shared);
        let listener = match listen {
            None => None,
            Some(address) => {
                let gate: Arc<dyn adit_link::Gate> = Arc::clone(&shared) as _;
                let identity = shared.identity.clone();
                let listener = Listener::bind(address, identity, gate, shared.about(), Limits::default()).await?;
                let address = listener.local_address();
                shared.listens_at(address);
                if let Some(state) = &shared.state {
                    state.put_listening(address).map_err(StateError::from)?;
                }
                listener.announce(shared.about());
                shared.events.record(&Event::Listening { address, key: shared.identity.public_key() });
                Some(listener)
            }
        };
        Ok(Self { shared, listener, local, _lock: lock })
    }

    /// This machine's key.
    #[must_use]
    pub fn key(&self) -> PublicKey {
        self.shared.identity.public_key()
    }

    /// Where the agent listens.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddrV6> {
        self.listener.as_ref().map(Listener::local_address)
    }

    /// The agent's events and their counts.
    #[must_use]
    pub fn events(&self) -> Arc<Events> {
        Arc::clone(&self.shared.events)
    }

    /// Serves until the stop is asked for, or the power ends and the configuration says to go then; ends conversations,
    /// closes the store cleanly and returns.
    pub async fn run(mut self) {
        let shared = Arc::clone(&self.shared);
        let background = [
            tokio::spawn(crate::watch::peers(Arc::clone(&shared), PEERS_EVERY)),
            tokio::spawn(crate::health::keep(Arc::clone(&shared))),
            tokio::spawn(crate::watch::heard(Arc::clone(&shared), HEARD_EVERY)),
            tokio::spawn(crate::upkeep::keep(Arc::clone(&shared))),
            tokio::spawn(crate::watch::store(Arc::clone(&shared), STORE_EVERY)),
        ];
        if let Some(path) = shared.config.console.clone() {
            let console = crate::console::keep(Arc::clone(&shared), path);
            drop(shared.tasks.spawn(shared.stop.child_token().run_until_cancelled_owned(console)));
        }
        if let Some(local) = self.local.take() {
            let console = crate::console::listen(Arc::clone(&shared), local);
            drop(shared.tasks.spawn(shared.stop.child_token().run_until_cancelled_owned(console)));
        }
        let mut addresses = tokio::time::interval(ADDRESSES_EVERY);
        let mut door = tokio::time::interval(Duration::from_secs(5));
        loop {
            tokio::select! {
                () = shared.stop.cancelled() => break,
                incoming = accept(&mut self.listener) => match incoming {
                    Ok(incoming) => take(&shared, incoming),
                    Err(error) => {
                        shared.events.record(&Event::Trouble { what: crate::report::chain(&error) });
                        self.listener = None;
                    }
                },
                _ = addresses.tick() => if let Some(listener) = &self.listener { listener.announce(shared.about()) },
                _ = door.tick() => if let Some(listener) = &self.listener { tell_door(&shared, listener) },
            }
        }
        self.stop(background).await;
        if shared.does_power_end() {
            let order = power_off_order(&shared.config);
            if let Err(error) = std::fs::write(&order, b"") {
                let what = format!("order the power off by {}: {error}", order.display());
                shared.events.record(&Event::Trouble { what });
            }
        }
    }

    async fn stop(self, background: [tokio::task::JoinHandle<()>; 5]) {
        let shared = self.shared;
        drop(self.listener);
        for task in background {
            task.abort();
        }
        shared.tasks.close();
        // Conversations hear of the stop by themselves and say goodbye; who takes longer is cut.
        if tokio::time::timeout(STOP_WITHIN / 2, shared.tasks.wait()).await.is_err() {
            shared.links().cut_unless(|_| false, Code::Stopping);
            let _late = tokio::time::timeout(STOP_WITHIN / 2, shared.tasks.wait()).await;
        }
        if let Some(served) = &shared.store {
            served.handle.close().await;
        }
        shared.save_heard();
    }
}

fn power_off_order(config: &Config) -> std::path::PathBuf {
    config.health.socket.with_file_name(POWER_OFF)
}

async fn accept(listener: &mut Option<Listener>) -> Result<Incoming, ListenError> {
    match listener {
        Some(listener) => listener.accept().await,
        None => std::future::pending().await,
    }
}

fn tell_door(shared: &Shared, listener: &Listener) {
    for event in listener.take_events() {
        if let adit_link::Event::UnknownKey { remote, key } = event {
            shared.events.record(&Event::UnknownKey { key, remote });
        }
    }
}

fn take(shared: &Arc<Shared>, incoming: Incoming) {
    let shared_of_task = Arc::clone(shared);
    let Incoming { link, door, .. } = incoming;
    match door {
        Door::Main => drop(shared.tasks.spawn(peer_link(shared_of_task, link))),
        Door::Pair => drop(shared.tasks.spawn(serve::pair::serve(shared_of_task, link))),
        Door::Recover => drop(shared.tasks.spawn(recovery_link(shared_of_task, link))),
    }
}

/// A link with a peer, whoever dialled it: serves until it ends.
pub(crate) async fn peer_link(shared: Arc<Shared>, link: Link) {
    let (key, remote, peers) = (link.peer(), link.remote(), shared.peers());
    let Some(peer) = peers.by_key(&key) else {
        if let Some(peer) = peers.by_former_key(&key) {
            shared.events.record(&Event::FormerKey { name: peer.name.to_string(), remote });
            return turn_away(&shared, link).await;
        }
        // Revoked between the handshake and now.
        return link.close(Some(Code::NotAllowed)).await;
    };
    let (name, role) = (peer.name.to_string(), peer.role);
    drop(peers);
    shared.heard_now(key);
    shared.events.record(&Event::LinkUp { name: name.clone(), remote });
    let cut: Box<Closer> = Box::new(link.closer());
    let (id, takeover) = shared.links().add(key, role, remote, cut, clock::monotonic_ms());
    shared.tell_takeover(&name, remote, takeover);
    let link = Arc::new(link);
    let caller = Arc::new(Caller::peer(Arc::clone(&shared), Arc::clone(&link), name.clone(), id));
    serve_link(&shared, &link, caller).await;
    shared.link_ended(id, key);
    shared.events.record(&Event::LinkDown { name, why: link.closed().await.to_string() });
}

/// A machine whose source another one has taken over: whatever it asks, it is told so.
async fn turn_away(shared: &Shared, link: Link) {
    let asked = tokio::time::timeout(Duration::from_secs(10), link.incoming());
    tokio::select! {
        asked = asked => if let Ok(Some((_, conversation))) = asked {
            // It may have hung up already.
            let _unheard = conversation.refuse(Code::Adopted, "").await;
        },
        () = shared.stop.cancelled() => {}
    }
    link.close(Some(Code::Adopted)).await;
}

async fn recovery_link(shared: Arc<Shared>, link: Link) {
    let place = shared.recoveries.try_acquire();
    if place.is_err() {
        return link.close(Some(Code::Busy)).await;
    }
    let link = Arc::new(link);
    let caller = Arc::new(Caller::stranger(Arc::clone(&shared), Arc::clone(&link)));
    serve_link(&shared, &link, caller).await;
}

/// Takes conversations until the link ends or the agent stops.
async fn serve_link(shared: &Arc<Shared>, link: &Arc<Link>, caller: Arc<Caller>) {
    let conversations = tokio_util::task::TaskTracker::new();
    loop {
        tokio::select! {
            opened = link.incoming() => match opened {
                Some((frame, conversation)) => {
                    drop(conversations.spawn(serve::conversation(Arc::clone(&caller), frame, conversation)));
                }
                None => break,
            },
            () = shared.stop.cancelled() => break,
        }
    }
    conversations.close();
    if shared.stop.is_cancelled() {
        let _late = tokio::time::timeout(STOP_WITHIN / 4, conversations.wait()).await;
        link.closer().close(Code::Stopping);
    }
    conversations.wait().await;
}

/// Places at the recovery door.
pub(crate) const fn recoveries_max() -> usize {
    RECOVERIES_MAX
}
