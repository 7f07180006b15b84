// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What all parts of a running agent share: identity, peers, live connections, store and events.
//!
//! Owns the changes of the peer table: they are made here, durably, and at once cut the connections that they forbid.

use crate::clock::{self, Now};
use crate::config::Config;
use crate::event::{Event, Events};
use crate::files::{self, FileError};
use crate::links::{LinkId, Links, Takeover};
use crate::peers::{Fingerprint, Peer, PeerName, PeerTable};
use crate::state::State;
use crate::store_thread::StoreHandle;
use crate::verify_budget::Verified;
use adit_health::Reporter;
use adit_link::{Gate, Identity};
use adit_proto::backup::CreditPool;
use adit_wire::ids::{PublicKey, SourceId, StoreId};
use adit_wire::refusal::Code;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The store as the running agent sees it.
#[derive(Clone, Debug)]
pub(crate) struct Served {
    /// The store's name.
    pub(crate) id: StoreId,
    /// Its thread.
    pub(crate) handle: StoreHandle,
    /// Whether it is a carried store that is only read.
    pub(crate) read_only: bool,
    /// Where it lies.
    pub(crate) path: std::path::PathBuf,
    /// Credit of all sessions.
    pub(crate) credit: CreditPool,
}

/// What all parts of a running agent share.
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) name: String,
    /// None where a carried store is served: nothing is remembered then.
    pub(crate) state: Option<State>,
    pub(crate) identity: Identity,
    pub(crate) store: Option<Served>,
    pub(crate) events: Arc<Events>,
    pub(crate) stop: CancellationToken,
    pub(crate) tasks: TaskTracker,
    /// The agent stops because the power ends.
    power_ends: AtomicBool,
    pub(crate) reporter: Mutex<Reporter>,
    /// Health is collected anew when something happened that it should show.
    pub(crate) health_due: Notify,
    /// How often something happened that health should show; begins at 1, the start.
    health_wanted: AtomicU64,
    /// Up to which of them the newest report shows it.
    pub(crate) health_shown: watch::Sender<u64>,
    pub(crate) verified: Mutex<Verified>,
    /// Places at the recovery door.
    pub(crate) recoveries: tokio::sync::Semaphore,
    /// One redemption at a time.
    pub(crate) pairing: tokio::sync::Mutex<()>,
    peers: RwLock<Arc<PeerTable>>,
    peers_seen: Mutex<Fingerprint>,
    links: Mutex<Links>,
    heard: Mutex<BTreeMap<PublicKey, u64>>,
    periods: Mutex<BTreeMap<SourceId, u32>>,
    listening: Mutex<Option<std::net::SocketAddrV6>>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("name", &self.name).finish_non_exhaustive()
    }
}

/// A lock whose holder panicked holds whole values all the same: every change under it is one assignment.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    pub(crate) fn new(
        config: Config,
        state: Option<State>,
        identity: Identity,
        store: Option<Served>,
        events: Arc<Events>,
        stop: CancellationToken,
    ) -> Self {
        let heard = state.as_ref().map(State::heard).unwrap_or_default();
        let periods = state.as_ref().map(State::periods).unwrap_or_default();
        let verified = Verified::since(state.as_ref().and_then(State::verified_s));
        let mut number = [0u8; 8];
        // Without randomness the first report has number 0 again: a monitor asks once more than needed.
        let _no_randomness = aws_lc_rs::rand::fill(&mut number);
        Self {
            name: config.machine_name(),
            config,
            state,
            identity,
            store,
            events,
            stop,
            tasks: TaskTracker::new(),
            power_ends: AtomicBool::new(false),
            reporter: Mutex::new(Reporter::new(u64::from_le_bytes(number))),
            health_due: Notify::new(),
            health_wanted: AtomicU64::new(1),
            health_shown: watch::channel(0).0,
            verified: Mutex::new(verified),
            recoveries: tokio::sync::Semaphore::new(crate::agent::recoveries_max()),
            pairing: tokio::sync::Mutex::new(()),
            peers: RwLock::default(),
            peers_seen: Mutex::default(),
            links: Mutex::default(),
            heard: Mutex::new(heard),
            periods: Mutex::new(periods),
            listening: Mutex::default(),
        }
    }

    /// The peers as they are now.
    pub(crate) fn peers(&self) -> Arc<PeerTable> {
        Arc::clone(&self.peers.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn links(&self) -> MutexGuard<'_, Links> {
        lock(&self.links)
    }

    pub(crate) fn reporter(&self) -> MutexGuard<'_, Reporter> {
        lock(&self.reporter)
    }

    pub(crate) fn verified(&self) -> MutexGuard<'_, Verified> {
        lock(&self.verified)
    }

    /// Reads the peer files again and cuts the connections of keys that are peers no more or have another role.
    pub(crate) fn reload_peers(&self) -> Result<(), FileError> {
        let Some(state) = &self.state else { return Ok(()) };
        // Taken before the files are read: a change in between is seen by the next look.
        *lock(&self.peers_seen) = state.peers().fingerprint()?;
        let (table, errors) = state.peers().load()?;
        for error in errors {
            self.events.record(&Event::PeerFile { why: crate::report::chain(&error) });
        }
        let before = self.peers();
        if *before == table {
            return Ok(());
        }
        let table = Arc::new(table);
        *self.peers.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&table);
        self.events.record(&Event::PeersChanged { count: table.count() });
        let same_role = |key: &PublicKey| {
            let role = |table: &PeerTable| table.by_key(key).map(|peer| peer.role);
            role(&table).is_some() && role(&table) == role(&before)
        };
        self.links().cut_unless(same_role, Code::NotAllowed);
        Ok(())
    }

    /// Whether the peer files differ from what was read last.
    pub(crate) fn peers_differ(&self) -> Result<bool, FileError> {
        let Some(state) = &self.state else { return Ok(false) };
        Ok(*lock(&self.peers_seen) != state.peers().fingerprint()?)
    }

    /// Registers a peer or changes it, durably.
    pub(crate) fn put_peer(&self, peer: &Peer) -> Result<(), FileError> {
        let Some(state) = &self.state else { return Ok(()) };
        files::apply(&state.peers().putting(peer))?;
        self.reload_peers()
    }

    /// Removes a peer, durably, and cuts its connections; its history stays.
    pub(crate) fn revoke(&self, name: &PeerName, by: &str) -> Result<(), FileError> {
        let Some(state) = &self.state else { return Ok(()) };
        files::apply(&state.peers().removing(name))?;
        self.events.record(&Event::PeerRevoked { name: name.to_string(), by: by.to_owned() });
        self.reload_peers()
    }

    /// Renames a peer, durably.
    pub(crate) fn rename(&self, from: &PeerName, to: &PeerName, by: &str) -> Result<(), FileError> {
        let Some(state) = &self.state else { return Ok(()) };
        files::apply(&state.peers().renaming(from, to))?;
        self.events.record(&Event::PeerRenamed { from: from.to_string(), to: to.to_string(), by: by.to_owned() });
        self.reload_peers()
    }

    /// Makes the store know every source of the peer files, under its present name.
    pub(crate) async fn register_sources(&self) {
        let Some(served) = self.store.as_ref().filter(|served| !served.read_only) else { return };
        let peers = self.peers();
        for peer in peers.iter() {
            let Some(keys) = peer.source.clone() else { continue };
            let name = peer.name.to_string();
            let outcome = served.handle.call(move |store| register_source(store, &name, keys)).await;
            if let Ok(Err(error)) = outcome {
                let why = format!("register the source of {}: {}", peer.name, crate::report::chain(&error));
                self.events.record(&Event::PeerFile { why });
            }
        }
    }

    /// Notes that a key was heard now.
    pub(crate) fn heard_now(&self, key: PublicKey) {
        lock(&self.heard).insert(key, clock::wall_s());
    }

    /// Where others reach this machine; nothing when that isn't known.
    pub(crate) fn own_addresses(&self) -> Vec<adit_proto::token::Address> {
        let listening = *lock(&self.listening);
        crate::addresses::own(&self.config, listening, &crate::addresses::interfaces()).unwrap_or_default()
    }

    /// What links say of this machine, with a new address record when the addresses changed.
    pub(crate) fn about(&self) -> adit_link::About {
        let address_record = match &self.state {
            None => Vec::new(),
            Some(state) => {
                crate::addresses::record(state, &self.identity, &self.own_addresses()).unwrap_or_else(|error| {
                    self.events.record(&Event::Trouble { what: crate::report::chain(&error) });
                    Vec::new()
                })
            }
        };
        adit_link::About { software: concat!("aditd ", env!("CARGO_PKG_VERSION")).to_owned(), address_record }
    }

    /// The listener has its address.
    pub(crate) fn listens_at(&self, address: std::net::SocketAddrV6) {
        *lock(&self.listening) = Some(address);
    }

    /// Something happened that health should show.
    pub(crate) fn health_changed(&self) {
        self.health_wanted.fetch_add(1, Ordering::Relaxed);
        self.health_due.notify_one();
    }

    /// The power ends: stops the agent.
    pub(crate) fn power_ends(&self) {
        self.power_ends.store(true, Ordering::Relaxed);
        self.stop.cancel();
    }

    /// Whether the agent stops because the power ends.
    pub(crate) fn does_power_end(&self) -> bool {
        self.power_ends.load(Ordering::Relaxed)
    }

    /// What the newest report should show.
    pub(crate) fn health_wanted(&self) -> u64 {
        self.health_wanted.load(Ordering::Relaxed)
    }

    /// When a key was last heard.
    pub(crate) fn heard_s(&self, key: &PublicKey) -> u64 {
        lock(&self.heard).get(key).copied().unwrap_or(0)
    }

    /// A source said how often it means to send, and committed.
    pub(crate) fn note_period(&self, source: SourceId, period_s: u32) {
        let periods = {
            let mut periods = lock(&self.periods);
            if periods.insert(source, period_s) == Some(period_s) {
                return;
            }
            periods.clone()
        };
        if let Some(Err(error)) = self.state.as_ref().map(|state| state.put_periods(&periods)) {
            self.events.record(&Event::Trouble { what: crate::report::chain(&error) });
        }
    }

    /// How often each source means to send, seconds.
    pub(crate) fn periods(&self) -> BTreeMap<SourceId, u32> {
        lock(&self.periods).clone()
    }

    /// Stores when the peers were last heard.
    pub(crate) fn save_heard(&self) {
        let Some(state) = &self.state else { return };
        let peers = self.peers();
        let heard = {
            let mut heard = lock(&self.heard);
            heard.retain(|key, _| peers.by_key(key).is_some());
            heard.clone()
        };
        if let Err(error) = state.put_heard(&heard) {
            self.events.record(&Event::Trouble { what: crate::report::chain(&error) });
        }
    }

    /// Tells of a takeover, and of a clone when there are too many.
    pub(crate) fn tell_takeover(&self, name: &str, to: std::net::SocketAddrV6, takeover: Option<Takeover>) {
        let Some(takeover) = takeover else { return };
        self.events.record(&Event::TakenOver { name: name.to_owned(), from: takeover.from, to });
        if takeover.within_hour > crate::links::TAKEOVERS_MAX {
            self.events.record(&Event::CloneSuspected { name: name.to_owned(), takeovers: takeover.within_hour });
        }
    }

    /// A connection has ended.
    pub(crate) fn link_ended(&self, id: LinkId, key: PublicKey) {
        self.links().remove(id);
        self.heard_now(key);
    }
}

/// Registers a source with the store unless it is known as it is. What the store knows of keys wins over a peer file,
/// except where the file's certificate has a higher epoch.
fn register_source(
    store: &mut crate::store_thread::BoxStore,
    name: &str,
    keys: crate::peers::SourceKeys,
) -> Result<(), adit_store::SourceError> {
    let certified = adit_wire::signed::Certificate::read(&keys.certificate).ok();
    // Every source begins at 1; only a certificate says otherwise.
    let epoch = certified.as_ref().map_or(1, |(certificate, ..)| certificate.epoch);
    let source = match store.source(&keys.source) {
        Some(known) if epoch <= known.epoch && known.name == name => return Ok(()),
        Some(known) if epoch <= known.epoch => adit_store::Source { name: name.to_owned(), ..known.clone() },
        Some(_) | None => adit_store::Source {
            id: keys.source,
            name: name.to_owned(),
            signing_key: keys.signing_key,
            recovery_key: keys.recovery_key,
            certificate: keys.certificate,
            epoch,
        },
    };
    store.put_source(source, clock::moment())
}

impl Gate for Shared {
    fn pinned(&self, key: &PublicKey) -> bool {
        let peers = self.peers();
        peers.by_key(key).is_some() || peers.by_former_key(key).is_some()
    }

    fn pairing_open(&self) -> bool {
        self.state.as_ref().is_some_and(|state| state.tokens().any_live(&Now::read()))
    }

    fn recovery_open(&self) -> bool {
        self.store.is_some()
    }
}
