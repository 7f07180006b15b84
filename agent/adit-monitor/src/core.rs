// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The monitor's one owner of state: takes what pollers heard, lets the rules look, stores what changed in one transaction
//! with the messages that come of it, and answers questions. What it heard is stored every few seconds, not at every poll. It runs on
//! a thread of its own and never waits for a network.

use crate::alerts::dead_man::{self, Pairs};
use crate::alerts::engine::{AckError, Engine, Incident, Window};
use crate::alerts::group::{Message, Outbox};
use crate::alerts::{Class, Occasion, Subject, reported};
use crate::config::Config;
use crate::db::{Db, DbError, QueueState, StoredHost, Waiting};
use crate::fleet::{Fleet, Host};
use crate::history::History;
use crate::history::format::SeriesKey;
use crate::timeline::{Moment, Timeline};
use adit_health::Report;
use adit_peers::clock;
use adit_wire::health::codes::Verdict;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// How often deadlines are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// How often it is stored when agents were heard.
const HEARD_EVERY_S: u64 = 60;
/// Inputs that wait; who has more waits.
const INPUTS_MAX: usize = 4_096;
/// Longest text of an agent's that is kept, characters; the wire's limits are below.
const TEXT_CHARS_MAX: usize = 128;

/// What a poll came to.
#[derive(Clone, Debug)]
pub enum Polled {
    /// Nothing changed.
    Same,
    /// A report.
    Full {
        /// The inventory; empty when it did not change.
        inventory: Vec<u8>,
        /// The snapshot.
        snapshot: Vec<u8>,
    },
    /// No answer, and why.
    Missed(String),
}

/// What comes from outside.
#[derive(Debug)]
pub enum Input {
    /// A poll ended.
    Polled(String, Polled),
    /// A connection is up: with its far end, the agent's program, and its address record or nothing.
    Connected(String, String, String, Vec<u8>),
    /// The connection is gone.
    Disconnected(String),
    /// These are the agents, and this is the configuration.
    Roster(Arc<Config>, Vec<String>),
    /// A question.
    Ask(Ask),
    /// Store everything and end.
    Stop,
}

/// A question, with the place for its answer.
#[derive(Debug)]
pub enum Ask {
    /// Everything at this moment.
    View(oneshot::Sender<View>),
    /// Somebody knows of the open incidents that begin with these words.
    Acknowledge(Acknowledgement, oneshot::Sender<Result<usize, AckError>>),
    /// Nobody is to be told for a while: scope, seconds from now, seconds, reason, who.
    Maintain(Maintenance, oneshot::Sender<Result<(), AckError>>),
    /// A message to every channel, or to one.
    Test(Option<String>, oneshot::Sender<usize>),
    /// The next message of a channel, when it is due.
    Due(String, oneshot::Sender<Option<Waiting>>),
    /// A message is delivered.
    Delivered(String, i64),
    /// A message is not delivered: try again at this time, or never.
    Failed(String, i64, Option<u64>, String),
    /// The newest lines of the log.
    Log(u32, oneshot::Sender<Vec<(u64, String, String)>>),
}

/// Who knows of what, and for how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acknowledgement {
    /// A host, or `host/component`, or `host/component/topic`.
    pub what: String,
    /// Who.
    pub by: String,
    /// Why.
    pub reason: String,
    /// For how long, seconds.
    pub for_s: u64,
}

/// A time in which nobody is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Maintenance {
    /// A host, `site:NAME` or `*`.
    pub scope: String,
    /// From now on in so many seconds.
    pub in_s: u64,
    /// For how long, seconds.
    pub for_s: u64,
    /// Why.
    pub reason: String,
    /// Who.
    pub by: String,
}

/// Everything that a page or an exporter shows.
#[derive(Clone, Debug)]
pub struct View {
    /// The agents.
    pub fleet: Fleet,
    /// The incidents, in the order of their subjects.
    pub incidents: Vec<(Subject, Incident)>,
    /// Maintenance windows.
    pub windows: Vec<Window>,
    /// Channels: the queue, and when a message was last delivered, seconds since 1970.
    pub channels: BTreeMap<String, (QueueState, Option<u64>)>,
}

impl View {
    /// The incidents of a host.
    #[must_use]
    pub fn incidents_of(&self, host: &str) -> &[(Subject, Incident)] {
        // They are in the order of their subjects, hosts first.
        let from = self.incidents.partition_point(|(subject, _)| subject.host.as_str() < host);
        let rest = &self.incidents[from..];
        &rest[..rest.partition_point(|(subject, _)| subject.host == host)]
    }

    /// The worst that is open at a host, and whether anything of it is not acknowledged.
    #[must_use]
    pub fn verdict_of(&self, host: &str) -> Verdict {
        let open = self.incidents_of(host).iter().filter(|(_, incident)| !incident.is_quiet());
        open.filter_map(|(_, incident)| incident.open.as_ref())
            .fold(Verdict::Ok, |worst, open| worst.worse(open.verdict()))
    }
}

/// A handle to the thread.
#[derive(Clone, Debug)]
pub struct Core {
    inputs: SyncSender<Input>,
}

/// A thread that was started.
#[derive(Debug)]
pub struct Started {
    /// Its handle.
    pub core: Core,
    /// The hosts as they were stored.
    pub hosts: Vec<(String, StoredHost)>,
    /// The thread itself; it ends after [`Input::Stop`].
    pub thread: std::thread::JoinHandle<()>,
}

impl Core {
    /// Starts the thread on a state directory.
    ///
    /// # Errors
    /// When what is stored can't be read.
    pub fn start(config: Arc<Config>) -> Result<Started, DbError> {
        let db = Db::open(&config.state.join("monitor.db"))?;
        let hosts = db.hosts()?;
        let keeper = Keeper::resume(config, db, &hosts)?;
        let (inputs, waiting) = sync_channel(INPUTS_MAX);
        let thread = std::thread::Builder::new().name("core".to_owned()).spawn(move || keeper.run(&waiting));
        let thread = thread.map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))?;
        Ok(Started { core: Self { inputs }, hosts, thread })
    }

    /// Hands something in; waits while the thread has too much to do. After its end nothing happens.
    pub async fn tell(&self, input: Input) {
        let mut input = input;
        loop {
            match self.inputs.try_send(input) {
                Ok(()) | Err(std::sync::mpsc::TrySendError::Disconnected(_)) => return,
                Err(std::sync::mpsc::TrySendError::Full(back)) => input = back,
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Asks; none after the thread's end.
    pub async fn ask<T>(&self, question: impl FnOnce(oneshot::Sender<T>) -> Ask) -> Option<T> {
        let (answer, answered) = oneshot::channel();
        self.tell(Input::Ask(question(answer))).await;
        answered.await.ok()
    }

    /// Everything at this moment.
    pub async fn view(&self) -> Option<View> {
        self.ask(Ask::View).await
    }
}

/// The state and its thread.
struct Keeper {
    config: Arc<Config>,
    timeline: Timeline,
    db: Db,
    history: History,
    fleet: Fleet,
    stored: BTreeMap<String, StoredHost>,
    heard: BTreeSet<String>,
    /// Hosts whose last words or address are newer than what is stored.
    newer: BTreeSet<String>,
    /// Messages that the disk did not take yet.
    unsent: Vec<Message>,
    heard_stored_t: u64,
    engine: Engine,
    pairs: Pairs,
    outbox: Outbox,
    delivered_s: BTreeMap<String, u64>,
    /// The roster is known: until then nobody is missed.
    ready: bool,
}

impl Keeper {
    fn resume(config: Arc<Config>, db: Db, hosts: &[(String, StoredHost)]) -> Result<Self, DbError> {
        let boot = clock::Now::read();
        let timeline = Timeline::resume(db.moment()?, boot.wall_s, boot.boot_ms);
        let now = timeline.moment(boot.wall_s, boot.boot_ms);
        let mut fleet = Fleet { now, hosts: BTreeMap::new() };
        for (name, stored) in hosts {
            let mut host = Host::awaited(config.site_of(name), config.silent_after_s(name), now.t);
            host.report =
                adit_health::decode(&stored.inventory, &stored.snapshot).ok().map(|report| Arc::new(clean(report)));
            (host.received_t, host.heard_t) = (stored.received_t, Some(stored.heard_t));
            host.facts = Arc::new(stored.facts.clone());
            fleet.hosts.insert(name.clone(), Arc::new(host));
        }
        let engine = Engine::resume(db.incidents()?, db.windows()?);
        let history: PathBuf = config.state.join("history");
        Ok(Self {
            timeline,
            history: History::new(history),
            pairs: db.pairs()?,
            db,
            fleet,
            stored: hosts.iter().cloned().collect(),
            heard: BTreeSet::new(),
            newer: BTreeSet::new(),
            unsent: Vec::new(),
            heard_stored_t: now.t,
            engine,
            outbox: Outbox::default(),
            delivered_s: BTreeMap::new(),
            ready: false,
            config,
        })
    }

    fn run(mut self, inputs: &Receiver<Input>) {
        let mut look_at = Instant::now();
        loop {
            let wait = look_at.saturating_duration_since(Instant::now());
            match inputs.recv_timeout(wait) {
                Ok(Input::Stop) | Err(RecvTimeoutError::Disconnected) => break,
                Ok(input) => self.take(input),
                Err(RecvTimeoutError::Timeout) => {}
            }
            if Instant::now() >= look_at {
                look_at = Instant::now() + LOOK_EVERY;
                self.read_clock();
                let looked = self.look();
                tell_trouble("look", looked);
            }
        }
        self.read_clock();
        let stored = self.look().and_then(|()| self.store_heard());
        tell_trouble("store the last state", stored);
    }

    fn read_clock(&mut self) {
        let boot_ms = clock::Now::read().boot_ms;
        self.fleet.now = self.timeline.moment(clock::wall_s(), boot_ms);
    }

    fn take(&mut self, input: Input) {
        self.read_clock();
        match input {
            Input::Polled(name, polled) => {
                self.polled(&name, polled);
            }
            Input::Connected(name, remote, software, record) => {
                let Some(host) = self.fleet.hosts.get_mut(&name).map(Arc::make_mut) else { return };
                (host.connected, host.remote) = (true, remote);
                host.software = clean_text(&software);
                if !record.is_empty() {
                    let stored = self.stored.entry(name.clone()).or_default();
                    stored.address_record = record;
                    self.newer.insert(name);
                }
            }
            Input::Disconnected(name) => {
                if let Some(host) = self.fleet.hosts.get_mut(&name) {
                    Arc::make_mut(host).connected = false;
                }
            }
            Input::Roster(config, names) => {
                let changed = self.roster(config, names);
                tell_trouble("take the agents", changed);
            }
            Input::Ask(ask) => {
                let answered = self.answer(ask);
                tell_trouble("answer", answered);
            }
            Input::Stop => {}
        }
    }

    fn polled(&mut self, name: &str, polled: Polled) {
        let Fleet { now, hosts } = &mut self.fleet;
        let Some(host) = hosts.get_mut(name).map(Arc::make_mut) else { return };
        match polled {
            Polled::Missed(why) => {
                host.missed(&clean_text(&why));
                return;
            }
            Polled::Same => host.same(now.t),
            Polled::Full { inventory, snapshot } => {
                let stored = self.stored.entry(name.to_owned()).or_default();
                let known = if inventory.is_empty() { &stored.inventory } else { &inventory };
                match adit_health::decode(known, &snapshot) {
                    Err(error) => {
                        host.missed(&format!("its report does not read: {error}"));
                        return;
                    }
                    Ok(report) => host.full(now.t, clean(report)),
                }
                if !inventory.is_empty() {
                    stored.inventory = inventory;
                }
                (stored.snapshot, stored.received_t, stored.heard_t) = (snapshot, now.t, now.t);
                stored.facts = (*host.facts).clone();
                self.newer.insert(name.to_owned());
            }
        }
        self.heard.insert(name.to_owned());
        let Some(report) = host.report.clone() else { return };
        let (t, wall_s) = (now.t, now.wall_s);
        let seen = reported::observations(name, &report);
        let notices = self.engine.observe(t, name, Class::Reported, &seen, &self.config.policy);
        self.outbox.add(notices);
        let written = self.history.append(name, wall_s, &samples(&report));
        if let Err(error) = written {
            log::error!("history of {name}: {}: {}", error, error.source);
        }
    }

    /// Deadlines, and whoever must be told.
    fn look(&mut self) -> Result<(), DbError> {
        if !self.ready {
            return Ok(());
        }
        let Moment { t, wall_s } = self.fleet.now;
        let learned = self.pairs.learn(&self.fleet);
        let policy = self.config.policy;
        for (name, look) in dead_man::look(&self.fleet, &self.pairs, &policy) {
            let notices = self.engine.observe_but(t, &name, Class::Deadline, &look.seen, &look.undecided, &policy);
            self.outbox.add(notices);
        }
        let config = Arc::clone(&self.config);
        let site = |host: &str| config.site_of(host);
        let windows = self.engine.windows().len();
        let notices = self.engine.tick(t, &site);
        self.outbox.add(notices);
        let mut messages = std::mem::take(&mut self.unsent);
        messages.extend(self.outbox.due(t, wall_s, policy.interval_s, &site));
        let changes = self.engine.take_changes();
        let fewer = self.engine.windows().len() != windows;
        let newer = std::mem::take(&mut self.newer);
        let Self { db, engine, pairs, fleet, stored, .. } = self;
        let done = db.whole(|db| {
            for (name, host) in newer.iter().filter_map(|name| Some((name, stored.get(name)?))) {
                db.put_host(name, host)?;
            }
            for (subject, incident) in &changes {
                db.put_incident(subject, incident.as_ref())?;
            }
            for message in &messages {
                config
                    .channels
                    .iter()
                    .filter(|channel| channel.wants(message))
                    .try_for_each(|channel| db.queue(&channel.name, message, t))?;
                db.log(wall_s, "message", &message.title)?;
            }
            if fewer {
                db.put_windows(engine.windows())?;
            }
            if learned { db.put_pairs(pairs) } else { Ok(()) }?;
            if changes.is_empty() && messages.is_empty() && newer.is_empty() {
                Ok(())
            } else {
                db.put_moment(fleet.now)
            }
        });
        if let Err(error) = done {
            // A disk that is full or slow now may take it later: nothing is forgotten meanwhile.
            engine.unstored(changes.into_iter().map(|(subject, _)| subject));
            self.newer.extend(newer);
            self.unsent = messages;
            return Err(error);
        }
        for message in &messages {
            log::info!("{}", message.title);
        }
        if t.saturating_sub(self.heard_stored_t) >= HEARD_EVERY_S { self.store_heard() } else { Ok(()) }
    }

    fn store_heard(&mut self) -> Result<(), DbError> {
        let heard = std::mem::take(&mut self.heard);
        self.heard_stored_t = self.fleet.now.t;
        self.db.whole(|db| {
            for name in &heard {
                let at = self.fleet.hosts.get(name).and_then(|host| host.heard_t);
                at.map_or(Ok(()), |at| db.put_heard(name, at))?;
            }
            db.put_moment(self.fleet.now)
        })
    }

    fn roster(&mut self, config: Arc<Config>, names: Vec<String>) -> Result<(), DbError> {
        let names: BTreeSet<String> = names.into_iter().collect();
        let gone: Vec<String> = self.fleet.hosts.keys().filter(|name| !names.contains(*name)).cloned().collect();
        for name in gone {
            self.fleet.hosts.remove(&name);
            self.stored.remove(&name);
            self.heard.remove(&name);
            self.newer.remove(&name);
            self.engine.forget(&name);
            self.db.remove_host(&name)?;
            self.db.log(self.fleet.now.wall_s, "agent", &format!("{name} is no agent any more"))?;
        }
        for name in names {
            let (site, silent_after_s) = (config.site_of(&name), config.silent_after_s(&name));
            let t = self.fleet.now.t;
            let host = self
                .fleet
                .hosts
                .entry(name)
                .or_insert_with(|| Arc::new(Host::awaited(site.clone(), silent_after_s, t)));
            let host = Arc::make_mut(host);
            (host.site, host.silent_after_s) = (site, silent_after_s);
        }
        self.config = config;
        self.ready = true;
        Ok(())
    }

    fn answer(&mut self, ask: Ask) -> Result<(), DbError> {
        let Moment { t, wall_s } = self.fleet.now;
        // Whoever asked may be gone; then nobody misses the answer.
        match ask {
            Ask::View(answer) => drop(answer.send(self.view()?)),
            Ask::Acknowledge(ack, answer) => {
                let outcome = self.acknowledge(&ack);
                for (subject, incident) in self.engine.take_changes() {
                    self.db.put_incident(&subject, incident.as_ref())?;
                }
                if outcome.is_ok() {
                    self.db.log(wall_s, "ack", &format!("{} by {}: {}", ack.what, ack.by, ack.reason))?;
                }
                let _gone = answer.send(outcome);
            }
            Ask::Maintain(asked, answer) => {
                let from_t = t.saturating_add(asked.in_s);
                let until_t = from_t.saturating_add(asked.for_s);
                let line = format!("{} by {}: {}", asked.scope, asked.by, asked.reason);
                let Maintenance { scope, reason, by, .. } = asked;
                let outcome = self.engine.maintain(Window { scope, from_t, until_t, reason, by });
                if outcome.is_ok() {
                    self.db.put_windows(self.engine.windows())?;
                    self.db.log(wall_s, "maintenance", &line)?;
                }
                let _gone = answer.send(outcome);
            }
            Ask::Test(only, answer) => {
                let message = test_message(&self.config.name, wall_s);
                let wanted = |name: &String| only.as_ref().is_none_or(|only| only == name);
                let names: Vec<String> =
                    self.config.channels.iter().map(|channel| channel.name.clone()).filter(wanted).collect();
                names.iter().try_for_each(|name| self.db.queue(name, &message, t))?;
                let _gone = answer.send(names.len());
            }
            Ask::Due(channel, answer) => drop(answer.send(self.db.due(&channel, t)?)),
            Ask::Delivered(channel, id) => {
                self.delivered_s.insert(channel, wall_s);
                self.db.delivered(id)?;
            }
            Ask::Failed(channel, id, Some(after_s), why) => {
                log::warn!("channel {channel}: {why}; next attempt in {after_s} s");
                self.db.again(id, t.saturating_add(after_s), &why)?;
            }
            Ask::Failed(channel, id, None, why) => {
                let line = format!("{channel} gave a message up: {why}");
                log::error!("{line}");
                self.db.log(wall_s, "channel", &line)?;
                self.db.delivered(id)?;
            }
            Ask::Log(count, answer) => drop(answer.send(self.db.recent(count)?)),
        }
        Ok(())
    }

    fn acknowledge(&mut self, ack: &Acknowledgement) -> Result<usize, AckError> {
        let below = format!("{}/", ack.what);
        let found: Vec<Subject> = self
            .engine
            .incidents()
            .filter(|(subject, incident)| {
                let path = subject.path();
                incident.open.is_some() && !incident.is_quiet() && (path == ack.what || path.starts_with(&below))
            })
            .map(|(subject, _)| subject.clone())
            .collect();
        if found.is_empty() {
            return Err(AckError::NoIncident);
        }
        let t = self.fleet.now.t;
        for subject in &found {
            self.engine.acknowledge(t, subject, &ack.by, &ack.reason, ack.for_s)?;
        }
        Ok(found.len())
    }

    fn view(&self) -> Result<View, DbError> {
        let mut channels = BTreeMap::new();
        for channel in &self.config.channels {
            let state = self.db.queue_state(&channel.name)?;
            channels.insert(channel.name.clone(), (state, self.delivered_s.get(&channel.name).copied()));
        }
        Ok(View {
            fleet: self.fleet.clone(),
            incidents: self.engine.incidents().map(|(subject, incident)| (subject.clone(), incident.clone())).collect(),
            windows: self.engine.windows().to_vec(),
            channels,
        })
    }
}

fn tell_trouble(doing: &str, outcome: Result<(), DbError>) {
    if let Err(error) = outcome {
        log::error!("cannot {doing}: {:#}", anyhow::Error::from(error));
    }
}

fn test_message(monitor: &str, wall_s: u64) -> Message {
    Message {
        occasion: Occasion::Problem,
        verdict: Verdict::Ok as u8,
        title: format!("TEST of {monitor}: this channel works"),
        lines: vec!["Nothing is wrong; somebody asked for this message.".to_owned()],
        hosts: Vec::new(),
        site: String::new(),
        subjects: vec!["test".to_owned()],
        wall_s,
    }
}

/// What is kept of a report's numbers.
fn samples(report: &Report) -> Vec<(SeriesKey, Option<i64>)> {
    let of = |component: &adit_health::Component| {
        let id = component.id.clone();
        component
            .readings
            .iter()
            .map(move |(quantity, value)| (SeriesKey { component: id.clone(), quantity: *quantity as u8 }, *value))
            .collect::<Vec<_>>()
    };
    report.components.iter().flat_map(of).take(crate::history::format::SERIES_MAX).collect()
}

/// An agent's words as they may be shown anywhere: no control characters, no direction marks, not too long.
fn clean_text(text: &str) -> String {
    let odd = |c: char| {
        c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.chars().take(TEXT_CHARS_MAX).map(|c| if odd(c) { '\u{fffd}' } else { c }).collect()
}

fn clean(mut report: Report) -> Report {
    report.host = clean_text(&report.host);
    for component in &mut report.components {
        component.id = clean_text(&component.id);
        component.label = clean_text(&component.label);
        for finding in &mut component.findings {
            finding.detail = clean_text(&finding.detail);
        }
    }
    report
}
