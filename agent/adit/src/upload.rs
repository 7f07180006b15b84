// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The network's half of a backup: one task that speaks with the box while the engine reads, cuts and seals.
//!
//! It owns the conversation, the journal and every reconnect: a lost line is dialled again (names resolved anew, the
//! box's newest address record first) until patience ends, and records that were not durable go out again, byte for byte.
//! The engine feels none of it but back-pressure. It never looks into a record beyond its id.

use crate::failure::Failure;
use crate::net::{self, Way};
use crate::pin::Pin;
use crate::state::StateDir;
use crate::text::fill_random;
use adit_archive::engine::{Sink, SinkClosed};
use adit_archive::journal::Journal;
use adit_archive::keys::{Recipient, SourceKeys};
use adit_archive::run_key::{RunKey, Suite};
use adit_archive::state::StateError;
use adit_link::{Conversation, Door, Link, LinkError};
use adit_proto::backup::{Outgoing, REC, Rec, Resume, SourceEvent, SourceSession, SourceStart, Waits, WelcomeInfo};
use adit_wire::ids::{Id, KeyId};
use adit_wire::record::{HEADER_BYTES, Header};
use adit_wire::refusal::Code;
use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc as blocking;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

/// Records that wait between engine and network: at 2 MiB each, the bound of what they hold.
const QUEUE_RECORDS: usize = 6;
/// First pause before a lost box is dialled again; doubles up to [`PAUSE_MAX`].
const PAUSE_FIRST: Duration = Duration::from_secs(1);
/// Longest pause between two dials.
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// Everything the task needs to know of the source.
#[derive(Debug)]
pub struct Sender {
    /// The state directory, for address records.
    pub state: StateDir,
    /// The pin, which learns newer addresses.
    pub pin: Pin,
    /// The way to the box.
    pub way: Way,
    /// The source's keys.
    pub keys: SourceKeys,
    /// For whom a run key is wrapped.
    pub recipients: Vec<Recipient>,
    /// Where the journal lies.
    pub archive_dir: PathBuf,
    /// How long a lost box is dialled again.
    pub patience: Duration,
    /// The newest snapshot that this machine knows.
    pub newest: (u64, Id),
    /// Seconds between scheduled runs, told to the box; 0 for a run by hand.
    pub period_s: u64,
    /// Bytes on the sockets, shown as progress.
    pub sent: Arc<AtomicU64>,
}

/// What the run counted on the network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Bytes written to sockets, TLS included.
    pub bytes_sent: u64,
    /// Bytes read from sockets.
    pub bytes_received: u64,
    /// Round trips that were waited for: TCP, TLS and every wait of the session.
    pub round_trips: u32,
    /// Connections after the first.
    pub reconnects: u32,
    /// Bytes of records that went out twice.
    pub bytes_resent: u64,
    /// Records that the box had already.
    pub repeats: u32,
}

/// How a commit was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The promise. Empty when the answer was lost and a later WELCOME named the snapshot.
    Committed(Vec<u8>),
    /// What the box lacks.
    Missing(Vec<Id>),
}

/// Starts a run's session.
#[derive(Debug)]
pub struct Opening {
    /// The run key's name.
    pub key_id: KeyId,
    /// Its record.
    pub key_record: Vec<u8>,
    /// The unfinished run that goes on.
    pub resume_of: Option<KeyId>,
    /// Ids that the unfinished run left at the box.
    pub adopted: Vec<Id>,
}

#[derive(Debug)]
enum Order {
    Open(Opening),
    Record(Vec<u8>),
    Have(Vec<Id>, blocking::SyncSender<Vec<bool>>),
    Commit(CommitOrder),
    Close(oneshot::Sender<Traffic>),
}

#[derive(Debug)]
struct CommitOrder {
    record: Vec<u8>,
    head: Id,
    reply: oneshot::Sender<Answer>,
}

/// The engine's end: a [`Sink`], and the few things that the run itself says.
#[derive(Debug)]
pub struct Upload {
    orders: mpsc::Sender<Order>,
    handle: tokio::runtime::Handle,
    failure: Arc<std::sync::Mutex<Option<Failure>>>,
    session_lost: Arc<AtomicBool>,
}

impl Upload {
    /// Dials, says HELLO and waits for WELCOME. Notes for a person (lost line, found again) go to `note`.
    ///
    /// # Errors
    /// When the box can't be reached or refuses.
    pub fn start(
        net: &net::Net,
        sender: Sender,
        note: Arc<dyn Fn(&str) + Send + Sync>,
    ) -> Result<(Self, WelcomeInfo), Failure> {
        let (orders, queue) = mpsc::channel(QUEUE_RECORDS);
        let (welcomed, welcome) = oneshot::channel();
        let failure = Arc::new(std::sync::Mutex::new(None));
        let session = SourceSession::new(SourceStart {
            source: sender.keys.source(),
            epoch: sender.keys.epoch(),
            newest_seq: sender.newest.0,
            newest_head: sender.newest.1,
        });
        let session_lost = Arc::new(AtomicBool::new(false));
        let mut task = Task {
            session_lost: Arc::clone(&session_lost),
            sender,
            session,
            queue,
            note,
            journal: None,
            key_id: None,
            slot: None,
            haves: VecDeque::new(),
            commit: None,
            commit_sent: false,
            committed: false,
            traffic: Traffic::default(),
            welcomed: Some(welcomed),
        };
        let slot = Arc::clone(&failure);
        net.handle().spawn(async move {
            if let Err(failure) = task.run().await
                && let Ok(mut slot) = slot.lock()
            {
                *slot = Some(failure);
            }
        });
        let upload = Self { orders, handle: net.handle().clone(), failure, session_lost };
        match net.run(welcome) {
            Ok(welcome) => Ok((upload, welcome)),
            Err(_) => Err(upload.failure()),
        }
    }

    /// Why the task ended. To be asked when a call said that nobody listens.
    #[must_use]
    pub fn failure(&self) -> Failure {
        // The task stores its failure just before its end of the queue closes.
        self.handle.block_on(self.orders.closed());
        let failure = self.failure.lock().ok().and_then(|mut slot| slot.take());
        failure.unwrap_or_else(|| Failure::internal("the network task ended without a word"))
    }

    /// Whether the task ended because the box no longer has this run's session: a new one may go on. To be asked after
    /// [`Self::failure`].
    #[must_use]
    pub fn is_session_lost(&self) -> bool {
        self.session_lost.load(Ordering::Relaxed)
    }

    /// Opens the session.
    ///
    /// # Errors
    /// When the task has ended.
    pub fn open(&self, opening: Opening) -> Result<(), Failure> {
        self.order(Order::Open(opening)).map_err(|SinkClosed| self.failure())
    }

    /// Asks for the promise and waits for it.
    ///
    /// # Errors
    /// When the box refuses or is gone for longer than patience.
    pub fn commit(&self, record: Vec<u8>, head: Id) -> Result<Answer, Failure> {
        let (reply, answer) = oneshot::channel();
        self.order(Order::Commit(CommitOrder { record, head, reply })).map_err(|SinkClosed| self.failure())?;
        self.handle.block_on(answer).map_err(|_| self.failure())
    }

    /// Takes leave; answers what was counted.
    ///
    /// # Errors
    /// When the task has ended before.
    pub fn close(self) -> Result<Traffic, Failure> {
        let (reply, traffic) = oneshot::channel();
        self.order(Order::Close(reply)).map_err(|SinkClosed| self.failure())?;
        self.handle.block_on(traffic).map_err(|_| self.failure())
    }

    fn order(&self, order: Order) -> Result<(), SinkClosed> {
        self.handle.block_on(self.orders.send(order)).map_err(|_| SinkClosed)
    }
}

impl Sink for Upload {
    fn record(&self, record: Vec<u8>) -> Result<(), SinkClosed> {
        self.order(Order::Record(record))
    }

    fn have(&self, ids: &[Id]) -> Result<Option<Vec<bool>>, SinkClosed> {
        let (reply, having) = blocking::sync_channel(1);
        self.order(Order::Have(ids.to_vec(), reply))?;
        having.recv().map(Some).map_err(|_| SinkClosed)
    }
}

/// Why a connection's loop ended.
enum End {
    Lost(LinkError),
    Failed(Failure),
    Closed(oneshot::Sender<Traffic>),
    /// Nobody gives orders any more.
    Dropped,
}

impl From<LinkError> for End {
    fn from(error: LinkError) -> Self {
        if net::is_lost(&error) { Self::Lost(error) } else { Self::Failed(net::link_failure(&error)) }
    }
}

impl From<Failure> for End {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl From<StateError> for End {
    fn from(error: StateError) -> Self {
        Self::Failed(state_failure(&error))
    }
}

/// The sentence of a local state that can't be read or written.
#[must_use]
pub fn state_failure(error: &StateError) -> Failure {
    Failure::io(error.doing, &error.path, &error.source)
}

impl From<adit_proto::backup::SourceError> for End {
    fn from(error: adit_proto::backup::SourceError) -> Self {
        Self::Failed(Failure::new(
            crate::exit::Exit::Refused,
            format!("the box did not answer as expected: {error}"),
            "update both programs; if it stays, please report it with the log of both sides",
        ))
    }
}

struct Task {
    session_lost: Arc<AtomicBool>,
    sender: Sender,
    session: SourceSession,
    queue: mpsc::Receiver<Order>,
    note: Arc<dyn Fn(&str) + Send + Sync>,
    journal: Option<Journal>,
    key_id: Option<KeyId>,
    slot: Option<Vec<u8>>,
    haves: VecDeque<(Vec<Id>, blocking::SyncSender<Vec<bool>>)>,
    commit: Option<CommitOrder>,
    commit_sent: bool,
    /// The promise was given; only the leave-taking is left.
    committed: bool,
    traffic: Traffic,
    welcomed: Option<oneshot::Sender<WelcomeInfo>>,
}

impl Task {
    async fn run(&mut self) -> Result<(), Failure> {
        let mut link = self.sender.way.connect(Door::Main).await?;
        let mut lost_at: Option<Instant> = None;
        loop {
            let (mut heard, end) = (false, self.connection(&link).await);
            let end = match end {
                Ok(never) => match never {},
                Err((end, was_heard)) => {
                    heard |= was_heard;
                    end
                }
            };
            if heard {
                lost_at = None;
            }
            self.count(&link);
            match end {
                End::Failed(failure) => return Err(failure),
                End::Dropped => {
                    link.close(None).await;
                    return Ok(());
                }
                End::Closed(reply) => {
                    link.close(None).await;
                    // Whoever asked may be gone by now.
                    let _ignored = reply.send(self.summary());
                    return Ok(());
                }
                End::Lost(error) => {
                    let since = *lost_at.get_or_insert_with(Instant::now);
                    drop(link);
                    if self.welcomed.is_some() && !net::is_lost(&error) {
                        return Err(net::link_failure(&error));
                    }
                    (self.note)(&format!("the line to the box is lost ({error}); dialling again"));
                    self.session.reconnect();
                    self.commit_sent = false;
                    link = self.redial(since).await?;
                    self.traffic.reconnects += 1;
                    (self.note)(&format!("the box is back, at {}", link.remote()));
                }
            }
        }
    }

    fn count(&mut self, link: &Link) {
        let counters = link.counters();
        self.traffic.bytes_sent += counters.bytes_sent;
        self.traffic.bytes_received += counters.bytes_received;
        // TCP's handshake and TLS's.
        self.traffic.round_trips += 2;
        self.sender.sent.store(self.traffic.bytes_sent, Ordering::Relaxed);
    }

    fn summary(&self) -> Traffic {
        let waits: Waits = self.session.waits();
        Traffic {
            round_trips: self.traffic.round_trips + waits.round_trips(),
            bytes_resent: self.session.resent_bytes(),
            ..self.traffic
        }
    }

    async fn redial(&self, since: Instant) -> Result<Link, Failure> {
        let mut pause = PAUSE_FIRST;
        loop {
            match self.sender.way.dial(Door::Main).await {
                Ok(link) => return Ok(link),
                Err(error) if net::may_heal(&error) && since.elapsed() < self.sender.patience => {
                    log::info!("dial: {error}; again in {} s", pause.as_secs());
                }
                Err(error) => return Err(self.sender.way.dial_failure(&error)),
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    /// Speaks on one connection until it ends; tells whether the box was heard on it.
    async fn connection(&mut self, link: &Link) -> Result<std::convert::Infallible, (End, bool)> {
        let conversation = link.open().map_err(|error| (End::from(error), false))?;
        self.greet(link, &conversation).await.map_err(|end| (end, false))?;
        loop {
            self.send_waiting(&conversation).await.map_err(|end| (end, true))?;
            self.sender.sent.store(self.traffic.bytes_sent + link.counters().bytes_sent, Ordering::Relaxed);
            self.step(&conversation).await.map_err(|end| (end, true))?;
        }
    }

    async fn step(&mut self, conversation: &Conversation) -> Result<(), End> {
        let may_take = self.slot.is_none() && self.commit.is_none();
        tokio::select! {
            frame = conversation.recv(), if !self.committed => {
                let frame = frame?.ok_or(LinkError::Cut)?;
                match self.session.on_frame(frame.kind, &frame.body)? {
                    Some(event) => self.on_event(event),
                    None => Ok(()),
                }
            }
            order = self.queue.recv(), if may_take => self.on_order(order, conversation).await,
        }
    }

    async fn greet(&mut self, link: &Link, conversation: &Conversation) -> Result<(), End> {
        let hello = self.session.hello()?;
        send(conversation, &hello).await?;
        let frame = conversation.recv().await?.ok_or(LinkError::Cut)?;
        let event = self.session.on_frame(frame.kind, &frame.body)?;
        let welcome = match event {
            Some(SourceEvent::Welcomed(welcome)) => welcome,
            Some(event) => return self.on_event(event),
            None => return Err(End::Lost(LinkError::Cut)),
        };
        net::keep_addresses(&self.sender.state, &self.sender.way, &mut self.sender.pin, link).await?;
        if let Some(first) = self.welcomed.take() {
            // Whoever waits for it may have given up; then the queue is closed and the loop ends.
            let _ignored = first.send(welcome);
            return Ok(());
        }
        self.go_on(&welcome, conversation).await
    }

    /// After a reconnect: the commit may have worked, else the session goes on where the box stands.
    async fn go_on(&mut self, welcome: &WelcomeInfo, conversation: &Conversation) -> Result<(), End> {
        let newest = welcome.newest.as_ref().map(|newest| newest.head);
        if let Some(commit) = self.commit.take_if(|commit| newest == Some(commit.head)) {
            self.committed = true;
            let _ignored = commit.reply.send(Answer::Committed(Vec::new()));
            return Ok(());
        }
        if self.key_id.is_none() {
            return Ok(());
        }
        let resume = self.session.resume().map_err(|error| {
            self.session_lost.store(true, Ordering::Relaxed);
            End::Failed(Failure::new(
                crate::exit::Exit::Unreachable,
                format!("the run can't go on after the line was lost: {error}"),
                "run the command again; what the box holds is not sent twice",
            ))
        })?;
        match resume {
            Resume::Again => {
                // The box never saw that OPEN: of its journal only what was adopted counts.
                self.restart_journal(0)?;
                let open = self.session.reopen()?;
                send(conversation, &open).await?;
            }
            Resume::Adopt(of) => {
                let durable = self.session.durable_seq();
                let adopted =
                    Journal::read(&self.sender.archive_dir)?.map(|journal| journal.up_to(durable)).unwrap_or_default();
                let key = RunKey::generate(Suite::default(), &mut fill_random);
                let key_record = key
                    .key_record(&self.sender.keys, &self.sender.recipients, &mut fill_random)
                    .map_err(|error| End::Failed(Failure::internal(error.to_string())))?;
                self.open(Opening { key_id: key.id(), key_record, resume_of: Some(of), adopted }, conversation).await?;
            }
        }
        for (ids, _) in &self.haves {
            let have = self.session.have(ids)?;
            send(conversation, &have).await?;
        }
        Ok(())
    }

    fn restart_journal(&mut self, up_to: u64) -> Result<(), End> {
        let Some(key_id) = self.key_id else { return Ok(()) };
        let kept = Journal::read(&self.sender.archive_dir)?.map(|journal| journal.up_to(up_to)).unwrap_or_default();
        self.journal = Some(Journal::create(&self.sender.archive_dir, key_id, &kept)?);
        Ok(())
    }

    async fn open(&mut self, opening: Opening, conversation: &Conversation) -> Result<(), End> {
        self.journal = Some(Journal::create(&self.sender.archive_dir, opening.key_id, &opening.adopted)?);
        self.key_id = Some(opening.key_id);
        let open = self.session.open(opening.key_id, opening.key_record, opening.resume_of)?;
        Ok(send(conversation, &open).await?)
    }

    async fn on_order(&mut self, order: Option<Order>, conversation: &Conversation) -> Result<(), End> {
        match order {
            None => Err(End::Dropped),
            Some(Order::Open(opening)) => self.open(opening, conversation).await,
            Some(Order::Record(record)) => {
                self.slot = Some(record);
                Ok(())
            }
            Some(Order::Have(ids, reply)) => {
                let have = self.session.have(&ids)?;
                self.haves.push_back((ids, reply));
                Ok(send(conversation, &have).await?)
            }
            Some(Order::Commit(commit)) => {
                self.commit = Some(commit);
                Ok(())
            }
            Some(Order::Close(reply)) => Err(End::Closed(reply)),
        }
    }

    fn on_event(&mut self, event: SourceEvent) -> Result<(), End> {
        match event {
            SourceEvent::Welcomed(_) => Ok(()),
            SourceEvent::Acked { repeats, .. } => {
                self.traffic.repeats = self.traffic.repeats.max(repeats);
                Ok(())
            }
            SourceEvent::Having(bits) => {
                if let Some((_, reply)) = self.haves.pop_front() {
                    // The engine may have failed meanwhile; the queue tells.
                    let _ignored = reply.send(bits);
                }
                Ok(())
            }
            SourceEvent::Missing { ids, .. } => self.answer(Answer::Missing(ids)),
            SourceEvent::Committed(receipt) => {
                // The box ended the conversation with it: there is nothing more to hear.
                self.committed = true;
                self.answer(Answer::Committed(receipt))
            }
            SourceEvent::Refused { code, detail, .. } => match Code::from_number(code) {
                Some(code) if net::passes(code) => Err(End::Lost(LinkError::Goodbye(Some(code)))),
                _ => Err(End::Failed(Failure::refused(code, &detail))),
            },
        }
    }

    fn answer(&mut self, answer: Answer) -> Result<(), End> {
        self.commit_sent = false;
        match self.commit.take() {
            Some(commit) => {
                let _ignored = commit.reply.send(answer);
                Ok(())
            }
            None => Err(End::from(LinkError::Protocol("an answer to no question"))),
        }
    }

    /// Sends whatever the window allows: kept records first, then the one that waits, then the commit.
    async fn send_waiting(&mut self, conversation: &Conversation) -> Result<(), End> {
        while let Some(rec) = self.session.next_resend() {
            self.send_record(&rec, conversation).await?;
        }
        if let Some(record) = self.slot.take_if(|record| self.session.may_send(record.len())) {
            let rec = self.session.take_record(record)?;
            self.send_record(&rec, conversation).await?;
        }
        let ready = !self.commit_sent && !self.session.is_resending() && self.haves.is_empty();
        if let Some(commit) = self.commit.as_ref().filter(|_| ready) {
            if let Some(frame) = self.session.period(self.sender.period_s)? {
                send(conversation, &frame).await?;
            }
            let frame = self.session.commit(&commit.record)?;
            send(conversation, &frame).await?;
            self.commit_sent = true;
        }
        Ok(())
    }

    async fn send_record(&mut self, rec: &Rec, conversation: &Conversation) -> Result<(), End> {
        if let Some(journal) = &mut self.journal {
            journal.append(rec.seq, &record_id(&rec.record))?;
        }
        Ok(conversation.send_parts(REC, 0, &[&rec.prefix(), &rec.record]).await?)
    }
}

async fn send(conversation: &Conversation, frame: &Outgoing) -> Result<(), LinkError> {
    conversation.send_parts(frame.kind, u8::from(frame.end), &[&frame.body]).await
}

/// The id in a record's client header.
fn record_id(record: &[u8]) -> Id {
    record
        .first_chunk::<HEADER_BYTES>()
        .and_then(|head| Header::from_bytes(head).ok())
        .map_or(Id::ZERO, |header| header.id)
}
