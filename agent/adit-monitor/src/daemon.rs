// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The running monitor: listens for agents that dial in, dials those that have an address, polls each of them over whichever
//! link is up, reads its files again when they change, and stops in order. It judges nothing; that is [`crate::core`]'s.

use crate::channels;
use crate::config::{AGENTS_MAX, Config};
use crate::core::{Core, Input, Started};
use crate::http;
use crate::poll::{self, Agent};
use crate::roster::{self, Roster};
use adit_link::{About, Door, Gate, Identity, Incoming, Limits, Link, ListenError, Listener};
use adit_peers::clock::Now;
use adit_peers::files::FileError;
use adit_peers::home::{Home, HomeError, HomeLock};
use adit_peers::pairing;
use adit_wire::ids::PublicKey;
use adit_wire::refusal::Code;
use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddrV6;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;
use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How often the peer and token files are looked at.
const FILES_EVERY: Duration = Duration::from_secs(2);
/// Dials under way at once: a fleet that comes back does not choke the monitor.
const DIALS_MAX: usize = 64;
/// How long tasks may take to end.
const STOP_WITHIN: Duration = Duration::from_secs(5);

/// Handshakes of a fleet that stands in one network and comes back at once; strangers still come one a second.
const LIMITS: Limits = Limits {
    handshakes: 256,
    handshakes_per_64: 128,
    handshakes_per_48: 192,
    handshake: Duration::from_secs(10),
    strangers_per_s: 4,
    strangers_at_once: 64,
};

/// Why the monitor doesn't start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The state directory can't be used.
    #[error(transparent)]
    State(#[from] HomeError),
    /// A file can't be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// The database can't be used.
    #[error(transparent)]
    Db(#[from] crate::db::DbError),
    /// The listening address can't be used.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// HTTP can't be served.
    #[error("serve HTTP at {0}")]
    Http(String, #[source] std::io::Error),
}

/// What the tasks share.
pub(crate) struct Shared {
    pub(crate) home: Home,
    pub(crate) identity: Identity,
    pub(crate) core: Core,
    pub(crate) stop: CancellationToken,
    pub(crate) tasks: TaskTracker,
    pub(crate) dials: Semaphore,
    pub(crate) pairing: tokio::sync::Mutex<()>,
    /// Addresses that agents signed, by key: their number and the addresses.
    pub(crate) records: Mutex<HashMap<PublicKey, (u64, Vec<String>)>>,
    config: RwLock<Arc<Config>>,
    roster: RwLock<Arc<Roster>>,
    links: Mutex<HashMap<PublicKey, Arc<Link>>>,
    /// Wakes the task of an agent that dialled in.
    wakes: Mutex<HashMap<PublicKey, Arc<Notify>>>,
    token_open: AtomicBool,
    listening: Mutex<Option<SocketAddrV6>>,
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    pub(crate) fn config(&self) -> Arc<Config> {
        Arc::clone(&self.config.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn roster(&self) -> Arc<Roster> {
        Arc::clone(&self.roster.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn about(&self) -> About {
        About { software: concat!("adit-monitor ", env!("CARGO_PKG_VERSION")).to_owned(), address_record: Vec::new() }
    }

    pub(crate) fn own_addresses(&self) -> Vec<adit_proto::token::Address> {
        let config = self.config();
        let listening = *lock(&self.listening);
        let interfaces = adit_peers::addresses::interfaces();
        adit_peers::addresses::own(&config.addresses, config.listen, listening, &interfaces).unwrap_or_default()
    }

    /// Reads again who the agents are; a new one is let in at once.
    pub(crate) fn reload_roster(&self) {
        match Roster::load(&self.home, &self.config()) {
            Ok(roster) => *self.roster.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(roster),
            Err(error) => log::error!("the agents stay as they were: {error}: {}", error.source),
        }
    }

    /// The live link of a key.
    pub(crate) fn link(&self, key: &PublicKey) -> Option<Arc<Link>> {
        let mut links = lock(&self.links);
        if links.get(key).is_some_and(|link| link.closer().is_closed()) {
            links.remove(key);
        }
        links.get(key).cloned()
    }

    /// A link is up, whoever dialled: the newer one wins. A task of its own takes what the agent opens, which is nothing
    /// that a monitor serves.
    pub(crate) fn adopt(self: &Arc<Self>, name: &str, link: Link) -> Arc<Link> {
        let (key, link) = (link.peer(), Arc::new(link));
        if let Some(old) = lock(&self.links).insert(key, Arc::clone(&link)) {
            old.closer().close(Code::Stopping);
        }
        let (shared, held, name) = (Arc::clone(self), Arc::clone(&link), name.to_owned());
        drop(self.tasks.spawn(async move {
            greet(&shared, &name, &held).await;
            loop {
                tokio::select! {
                    opened = held.incoming() => match opened {
                        // It may be gone already.
                        Some((_, conversation)) => drop(conversation.refuse(Code::NotServed, "a monitor serves nothing").await),
                        None => break,
                    },
                    () = shared.stop.cancelled() => break,
                }
            }
            let is_newest = shared.drop_link(&key, &held);
            if is_newest {
                shared.core.tell(Input::Disconnected(name)).await;
            }
        }));
        self.wake(&key).notify_one();
        link
    }

    /// Drops the link of a key, unless a newer one took its place; answers whether it was there.
    fn drop_link(&self, key: &PublicKey, held: &Arc<Link>) -> bool {
        let mut links = lock(&self.links);
        let is_newest = links.get(key).is_some_and(|link| Arc::ptr_eq(link, held));
        if is_newest {
            links.remove(key);
        }
        is_newest
    }

    pub(crate) fn wake(&self, key: &PublicKey) -> Arc<Notify> {
        Arc::clone(lock(&self.wakes).entry(*key).or_default())
    }

    fn cut(&self, key: &PublicKey) {
        lock(&self.wakes).remove(key);
        if let Some(link) = lock(&self.links).remove(key) {
            link.closer().close(Code::NotAllowed);
        }
    }
}

/// What the agent says of itself at the start of a link.
async fn greet(shared: &Shared, name: &str, link: &Link) {
    let Ok(greeting) = link.greeted().await else { return };
    let record = poll::newer_record(shared, &link.peer(), &greeting.address_record);
    let record = if record { greeting.address_record } else { Vec::new() };
    let remote = link.remote().to_string();
    shared.core.tell(Input::Connected(name.to_owned(), remote, greeting.software, record)).await;
}

/// The listener's questions.
struct Gatekeeper(Arc<Shared>);

impl Gate for Gatekeeper {
    fn pinned(&self, key: &PublicKey) -> bool {
        self.0.roster().name_of(key).is_some()
    }

    fn pairing_open(&self) -> bool {
        self.0.token_open.load(Relaxed)
    }

    fn recovery_open(&self) -> bool {
        false
    }
}

/// A monitor that is ready to run.
pub struct Monitor {
    shared: Arc<Shared>,
    listener: Option<Listener>,
    http: http::Served,
    thread: std::thread::JoinHandle<()>,
    config_path: Option<PathBuf>,
    _lock: HomeLock,
}

impl std::fmt::Debug for Monitor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Monitor").field("key", &self.key()).finish_non_exhaustive()
    }
}

impl Monitor {
    /// Starts the monitor of a configuration; `path` is where it is read again on SIGHUP.
    ///
    /// # Errors
    /// When state, database or an address can't be used.
    pub async fn start(config: Config, path: Option<PathBuf>, stop: CancellationToken) -> Result<Self, StartError> {
        adit_link::provide_cryptography();
        let home = Home::open(&config.state)?;
        let held = home.lock()?;
        let identity = home.identity()?;
        for mended in pairing::mend(&home.peers().holding(AGENTS_MAX), &home.tokens())? {
            log::info!("a pairing that a crash had cut: {mended:?}");
        }
        home.tokens().tidy(&Now::read())?;
        let config = Arc::new(config);
        let Started { core, hosts, thread } = Core::start(Arc::clone(&config))?;
        let roster = Arc::new(Roster::load(&home, &config)?);
        let listen = config.listen;
        let shared = Arc::new(Shared {
            home,
            identity,
            core,
            stop,
            tasks: TaskTracker::new(),
            dials: Semaphore::new(DIALS_MAX),
            pairing: tokio::sync::Mutex::default(),
            records: Mutex::default(),
            config: RwLock::new(config),
            roster: RwLock::new(roster),
            links: Mutex::default(),
            wakes: Mutex::default(),
            token_open: AtomicBool::new(false),
            listening: Mutex::new(None),
        });
        for (name, host) in hosts {
            if let Some(agent) = shared.roster().by_name(&name) {
                poll::newer_record(&shared, &agent.key, &host.address_record);
            }
        }
        let listener = match listen {
            None => None,
            Some(address) => {
                let gate = Arc::new(Gatekeeper(Arc::clone(&shared)));
                let listener = Listener::bind(address, shared.identity.clone(), gate, shared.about(), LIMITS).await?;
                *lock(&shared.listening) = Some(listener.local_address());
                shared.home.put_listening(listener.local_address())?;
                log::info!("listening on {}, key {}", listener.local_address(), shared.identity.public_key());
                Some(listener)
            }
        };
        let http = http::bind(&shared.config())?;
        Ok(Self { shared, listener, http, thread, config_path: path, _lock: held })
    }

    /// This monitor's key.
    #[must_use]
    pub fn key(&self) -> PublicKey {
        self.shared.identity.public_key()
    }

    /// Where agents dial in.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddrV6> {
        self.listener.as_ref().map(Listener::local_address)
    }

    /// Where HTTP is served.
    #[must_use]
    pub fn http_address(&self) -> Option<std::net::SocketAddr> {
        self.http.address()
    }

    /// The owner of the state: what a page asks.
    #[must_use]
    pub fn core(&self) -> Core {
        self.shared.core.clone()
    }

    /// Runs until the stop is asked for.
    pub async fn run(mut self) {
        let shared = Arc::clone(&self.shared);
        let state = http::State { core: shared.core.clone(), history: shared.config().state.join("history") };
        self.http.serve(&state, &shared.tasks, &shared.stop);
        let mut outlets = Outlets::default();
        let mut follows: BTreeMap<String, (Agent, CancellationToken)> = BTreeMap::new();
        outlets.replace(&shared);
        self.follow(&mut follows).await;
        let mut files = tokio::time::interval(FILES_EVERY);
        let mut print = None;
        let hangup = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup());
        let Ok(mut hangup) = hangup else { return };
        loop {
            tokio::select! {
                () = shared.stop.cancelled() => break,
                incoming = accept(&mut self.listener) => match incoming {
                    Ok(incoming) => take(&shared, incoming),
                    Err(error) => {
                        log::error!("{error}");
                        self.listener = None;
                    }
                },
                _ = files.tick() => {
                    shared.token_open.store(shared.home.tokens().any_live(&Now::read()), Relaxed);
                    let now = shared.home.peers().fingerprint().ok();
                    if now != print {
                        print = now;
                        self.reload(None);
                        self.follow(&mut follows).await;
                    }
                },
                _ = hangup.recv() => {
                    let config = self.config_path.as_deref().map(Config::load);
                    match config {
                        Some(Ok(config)) => {
                            log::info!("the configuration is read again");
                            self.reload(Some(Arc::new(config)));
                            outlets.replace(&shared);
                            self.follow(&mut follows).await;
                        }
                        Some(Err(error)) => log::error!("the configuration stays as it was: {:#}", anyhow::Error::from(error)),
                        None => {}
                    }
                },
            }
        }
        drop(self.listener);
        drop(outlets);
        shared.tasks.close();
        let _late = tokio::time::timeout(STOP_WITHIN, shared.tasks.wait()).await;
        shared.core.tell(Input::Stop).await;
        let ended = tokio::task::spawn_blocking(move || self.thread.join()).await;
        if !matches!(ended, Ok(Ok(()))) {
            log::error!("the core did not end well");
        }
    }

    fn reload(&self, config: Option<Arc<Config>>) {
        if let Some(config) = config {
            *self.shared.config.write().unwrap_or_else(PoisonError::into_inner) = config;
        }
        self.shared.reload_roster();
    }

    /// Starts a task for every new agent, and ends those of agents that are gone or changed.
    async fn follow(&self, follows: &mut BTreeMap<String, (Agent, CancellationToken)>) {
        let shared = &self.shared;
        let roster = shared.roster();
        let gone: Vec<String> = follows
            .iter()
            .filter(|(name, (agent, _))| roster.by_name(name) != Some(agent))
            .map(|(name, _)| name.clone())
            .collect();
        for name in gone {
            if let Some((agent, stop)) = follows.remove(&name) {
                stop.cancel();
                let key_stays = roster.name_of(&agent.key) == Some(&name);
                if !key_stays {
                    shared.cut(&agent.key);
                }
            }
        }
        let names: Vec<String> = roster.agents().map(|agent| agent.name.clone()).collect();
        shared.core.tell(Input::Roster(shared.config(), names)).await;
        for agent in roster.agents().filter(|agent| !follows.contains_key(&agent.name)).cloned().collect::<Vec<_>>() {
            let stop = shared.stop.child_token();
            follows.insert(agent.name.clone(), (agent.clone(), stop.clone()));
            let following = poll::follow(Arc::clone(shared), agent);
            drop(shared.tasks.spawn(stop.run_until_cancelled_owned(following)));
        }
    }
}

/// The tasks of channels and heartbeat, which a new configuration replaces.
#[derive(Default)]
struct Outlets(Option<tokio_util::sync::DropGuard>);

impl Outlets {
    fn replace(&mut self, shared: &Shared) {
        let (config, stop) = (shared.config(), shared.stop.child_token());
        for channel in &config.channels {
            drop(shared.tasks.spawn(channels::serve(shared.core.clone(), channel.clone(), stop.clone())));
        }
        if let Some(url) = &config.heartbeat {
            drop(shared.tasks.spawn(channels::heartbeat(url.clone(), stop.clone())));
        }
        self.0 = Some(stop.drop_guard());
    }
}

async fn accept(listener: &mut Option<Listener>) -> Result<Incoming, ListenError> {
    match listener {
        Some(listener) => listener.accept().await,
        None => std::future::pending().await,
    }
}

fn take(shared: &Arc<Shared>, incoming: Incoming) {
    let Incoming { link, door, peer, .. } = incoming;
    match door {
        Door::Main => match shared.roster().name_of(&peer) {
            Some(name) => drop(shared.adopt(name, link)),
            None => drop(link),
        },
        Door::Pair => drop(shared.tasks.spawn(roster::pair(Arc::clone(shared), link))),
        Door::Recover => drop(link),
    }
}
