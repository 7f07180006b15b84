// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The one thread that owns the store. Everybody else sends it work over a bounded queue, so a slow disk slows the peers
//! down instead of filling memory.
//!
//! Syncs that were asked for while others were queued share one. A verification runs in slices between other work, and so
//! do retention and collection. This thread never waits for a peer.

use crate::clock;
use crate::event::{Event, Events};
use crate::housekeeping::Housekeeping;
use adit_store::{Store, Verification, VerifyReport};
use adit_wire::refusal::Code;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot, watch};

/// The store of this program.
pub(crate) type BoxStore = Store;

/// Requests that may wait for the thread.
const QUEUE_MAX: usize = 64;
/// Bytes that a verification reads before other work gets its turn.
const VERIFY_SLICE_BYTES: u64 = 4 << 20;
/// Requests after which a running verification gets a turn although more wait.
const VERIFY_TURN_EVERY: u32 = 32;

type Job = Box<dyn FnOnce(&mut BoxStore) + Send>;
type AfterSync = Box<dyn FnOnce(&BoxStore, Option<&Unsynced>) + Send>;

enum Command {
    Job(Job),
    Sync(AfterSync),
    Verify(VerifyWaiter),
    /// Time to look at the clock.
    Tick,
    Collect,
    /// Whether a collection is under way.
    Collecting(oneshot::Sender<bool>),
    Close(oneshot::Sender<()>),
}

struct VerifyWaiter {
    progress: watch::Sender<(u64, u64)>,
    report: oneshot::Sender<Arc<VerifyReport>>,
}

/// A verification under way.
#[derive(Debug)]
pub(crate) struct Verifying {
    /// Bytes read and bytes to read.
    pub(crate) progress: watch::Receiver<(u64, u64)>,
    /// The report, when it is there.
    pub(crate) report: oneshot::Receiver<Arc<VerifyReport>>,
}

/// The store's thread has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the store is closed")]
pub(crate) struct StoreGone;

impl StoreGone {
    /// The code that tells a peer.
    #[must_use]
    pub(crate) const fn code(self) -> Code {
        Code::Stopping
    }
}

/// Why a sync made nothing durable.
#[derive(Debug)]
pub(crate) struct Unsynced {
    /// What tells a peer.
    pub(crate) code: Code,
    /// What tells a person.
    pub(crate) why: String,
}

/// Sends work to the store's thread. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct StoreHandle {
    queue: mpsc::Sender<Command>,
}

impl std::fmt::Debug for Command {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Job(_) => "Job",
            Self::Sync(_) => "Sync",
            Self::Verify(_) => "Verify",
            Self::Tick => "Tick",
            Self::Collect => "Collect",
            Self::Collecting(_) => "Collecting",
            Self::Close(_) => "Close",
        })
    }
}

impl StoreHandle {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the system has no thread to give.
    pub(crate) fn start(store: BoxStore, events: Arc<Events>) -> std::io::Result<Self> {
        let (queue, commands) = mpsc::channel(QUEUE_MAX);
        let worker = Worker {
            store,
            commands,
            events,
            syncs: Vec::new(),
            syncs_after: 0,
            verify: None,
            waiting: Vec::new(),
            housekeeping: Housekeeping::new(clock::monotonic_ms()),
        };
        std::thread::Builder::new().name("store".to_owned()).spawn(move || worker.run())?;
        Ok(Self { queue })
    }

    /// Does `work` on the store's thread and answers what it gives.
    ///
    /// # Errors
    /// When the store is closed.
    pub(crate) async fn call<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut BoxStore) -> T + Send + 'static,
    ) -> Result<T, StoreGone> {
        let (reply, answer) = oneshot::channel();
        self.post(move |store| {
            // Nobody may wait any more: a cut connection.
            let _unwanted = reply.send(work(store));
        })
        .await?;
        answer.await.map_err(|_| StoreGone)
    }

    /// Does `work` on the store's thread, later; answers as soon as it is queued.
    ///
    /// # Errors
    /// When the store is closed.
    pub(crate) async fn post(&self, work: impl FnOnce(&mut BoxStore) + Send + 'static) -> Result<(), StoreGone> {
        self.queue.send(Command::Job(Box::new(work))).await.map_err(|_| StoreGone)
    }

    /// Makes everything received so far durable, together with all others who ask at this time; `then` runs on the
    /// store's thread right after, and hears why nothing became durable.
    ///
    /// # Errors
    /// When the store is closed.
    pub(crate) async fn sync(
        &self,
        then: impl FnOnce(&BoxStore, Option<&Unsynced>) + Send + 'static,
    ) -> Result<(), StoreGone> {
        self.queue.send(Command::Sync(Box::new(then))).await.map_err(|_| StoreGone)
    }

    /// Reads everything and checks every hash; those who ask while one verification runs share the next.
    ///
    /// # Errors
    /// When the store is closed.
    pub(crate) async fn verify(&self) -> Result<Verifying, StoreGone> {
        let (progress, progress_rx) = watch::channel((0, 0));
        let (report, report_rx) = oneshot::channel();
        self.queue.send(Command::Verify(VerifyWaiter { progress, report })).await.map_err(|_| StoreGone)?;
        Ok(Verifying { progress: progress_rx, report: report_rx })
    }

    /// Whether nobody waits for the thread.
    #[must_use]
    pub(crate) fn is_idle(&self) -> bool {
        self.queue.capacity() == QUEUE_MAX
    }

    /// Lets the store look whether its daily work is due.
    ///
    /// # Errors
    /// When the store is closed.
    pub(crate) async fn tick(&self) -> Result<(), StoreGone> {
        self.queue.send(Command::Tick).await.map_err(|_| StoreGone)
    }

    /// Begins a collection.
    ///
    /// # Errors
    /// When the store is closed.
    pub(crate) async fn collect(&self) -> Result<(), StoreGone> {
        self.queue.send(Command::Collect).await.map_err(|_| StoreGone)
    }

    /// Whether a collection is under way.
    ///
    /// # Errors
    /// When the store is closed.
    pub(crate) async fn is_collecting(&self) -> Result<bool, StoreGone> {
        let (reply, answer) = oneshot::channel();
        self.queue.send(Command::Collecting(reply)).await.map_err(|_| StoreGone)?;
        answer.await.map_err(|_| StoreGone)
    }

    /// Finishes what is queued and closes the store cleanly.
    pub(crate) async fn close(&self) {
        let (reply, closed) = oneshot::channel();
        if self.queue.send(Command::Close(reply)).await.is_ok() {
            // An error means that the thread is gone, which is what was asked for.
            let _gone = closed.await;
        }
    }
}

struct Worker {
    store: BoxStore,
    commands: mpsc::Receiver<Command>,
    events: Arc<Events>,
    /// What runs after the next sync.
    syncs: Vec<AfterSync>,
    /// Requests to take before that sync: those that were queued when it was asked for.
    syncs_after: usize,
    verify: Option<(Verification, Vec<VerifyWaiter>)>,
    waiting: Vec<VerifyWaiter>,
    housekeeping: Housekeeping,
}

impl Worker {
    fn run(mut self) {
        let mut since_turn = 0;
        loop {
            let Some(command) = self.next() else {
                if self.commands.is_closed() && self.commands.is_empty() {
                    break self.close();
                }
                self.idle();
                since_turn = 0;
                continue;
            };
            match command {
                Command::Job(job) => job(&mut self.store),
                Command::Sync(then) => {
                    if self.syncs.is_empty() {
                        self.syncs_after = self.commands.len();
                    }
                    self.syncs.push(then);
                }
                Command::Verify(waiter) => self.waiting.push(waiter),
                Command::Tick => self.housekeeping.tick(&self.store, clock::monotonic_ms()),
                Command::Collect => self.housekeeping.collect(),
                Command::Collecting(reply) => {
                    let _unwanted = reply.send(self.housekeeping.is_collecting());
                }
                Command::Close(reply) => {
                    self.close();
                    let _unwanted = reply.send(());
                    break;
                }
            }
            if !self.syncs.is_empty() {
                match self.syncs_after.checked_sub(1) {
                    Some(left) => self.syncs_after = left,
                    None => self.sync(),
                }
            }
            since_turn += 1;
            if since_turn >= VERIFY_TURN_EVERY {
                since_turn = 0;
                self.own_slice();
            }
            self.tell_events();
        }
    }

    /// The next request; waits for one only when there is nothing else to do.
    fn next(&mut self) -> Option<Command> {
        let verifying = self.verify.is_some() || !self.waiting.is_empty();
        let nothing_else = self.syncs.is_empty() && !verifying && !self.housekeeping.wants();
        if nothing_else { self.commands.blocking_recv() } else { self.commands.try_recv().ok() }
    }

    fn idle(&mut self) {
        if self.syncs.is_empty() {
            self.own_slice();
        } else {
            self.sync();
        }
        self.tell_events();
    }

    /// A slice of what runs between requests; a verification, which somebody waits for, before housekeeping.
    fn own_slice(&mut self) {
        if self.verify.is_some() || !self.waiting.is_empty() {
            self.verify_slice();
        } else {
            self.housekeeping.slice(&mut self.store, &self.events);
        }
    }

    fn sync(&mut self) {
        let synced = self.store.sync(clock::moment());
        let failed = synced.err().map(|error| Unsynced { code: error.code(), why: crate::report::chain(&error) });
        if let Some(Unsynced { why, .. }) = &failed {
            self.events.record(&Event::StoreFailed { why: why.clone() });
        }
        for then in std::mem::take(&mut self.syncs) {
            then(&self.store, failed.as_ref());
        }
    }

    fn verify_slice(&mut self) {
        if self.verify.is_none() && !self.waiting.is_empty() {
            self.verify = Some((self.store.verification(), std::mem::take(&mut self.waiting)));
        }
        let Some((verification, waiters)) = self.verify.as_mut() else { return };
        let step = verification.step(&mut self.store, VERIFY_SLICE_BYTES, clock::moment());
        match step {
            Err(error) => {
                self.events.record(&Event::StoreFailed { why: crate::report::chain(&error) });
                // Who waits sees its sender vanish.
                self.verify = None;
            }
            Ok(adit_store::Step::Working { done, total }) => {
                for waiter in waiters.iter() {
                    waiter.progress.send_replace((done, total));
                }
                // A verification that nobody waits for any more stops.
                waiters.retain(|waiter| !waiter.report.is_closed());
                if waiters.is_empty() {
                    self.verify = None;
                }
            }
            Ok(adit_store::Step::Finished(report)) => {
                let report = Arc::new(report);
                for waiter in self.verify.take().map(|(_, waiters)| waiters).unwrap_or_default() {
                    let _unwanted = waiter.report.send(Arc::clone(&report));
                }
            }
        }
    }

    fn tell_events(&mut self) {
        for event in self.store.take_events() {
            self.events.record(&in_words(event));
        }
    }

    fn close(mut self) {
        if !self.syncs.is_empty() {
            self.sync();
        }
        if let Err(error) = self.store.close(clock::moment()) {
            self.events.record(&Event::StoreFailed { why: crate::report::chain(&error) });
        }
    }
}

/// What the store noticed, for a person.
fn in_words(event: adit_store::Event) -> Event {
    use adit_store::Event as Noticed;
    let what = match event {
        Noticed::SyncFailed(why) => return Event::StoreFailed { why: format!("a flush failed: {why}") },
        Noticed::WriteFailed(why) => return Event::StoreFailed { why: format!("a write failed: {why}") },
        Noticed::DiskFull => return Event::StoreFailed { why: "the disk is full; nothing stored is lost".to_owned() },
        Noticed::LedgerGap { block } => {
            return Event::StoreFailed { why: format!("both copies of the ledger miss block {block}: read-only") };
        }
        Noticed::Quarantined { segment, from, to, records, promised: true } => {
            let why = format!("segment {segment:08x}, bytes {from} to {to}: {records} promised records are damaged");
            return Event::StoreFailed { why };
        }
        Noticed::Quarantined { segment, from, to, .. } => {
            format!("segment {segment:08x}, bytes {from} to {to} are damaged; nothing in them was promised")
        }
        Noticed::LostFile(name) => format!("moved the unknown file {name} to lost/"),
        Noticed::LedgerRepaired { copy, blocks } => format!("repaired {blocks} blocks of ledger copy {copy}"),
        Noticed::SuperblockRepaired(name) => format!("repaired {name}"),
        Noticed::IndexRebuilt(why) => format!("rebuilt the index: {why}"),
        Noticed::Expired { source, snapshots } => {
            format!("{snapshots} snapshots of {source} expired; they can be brought back for two days")
        }
        Noticed::Released { source, snapshots } => format!("{snapshots} expired snapshots of {source} are given up"),
        Noticed::AuditFailed => {
            let why =
                "the index is not what the nodes say; nothing is collected; restart to rebuild the index".to_owned();
            return Event::StoreFailed { why };
        }
        Noticed::Abandoned(source) => format!("an unfinished backup of {source} was given up after 14 days"),
        Noticed::Guarded(source, guard) => {
            let whose = source.map_or_else(|| "the box".to_owned(), |source| source.to_string());
            format!("retention of {whose}: {guard}")
        }
        Noticed::HealedRange { segment, from, to } => {
            format!("segment {segment:08x}, bytes {from} to {to} were damaged and are healed from parity")
        }
        Noticed::ParityRewritten { segment } => format!("the parity of segment {segment:08x} was made anew"),
        Noticed::Healed(id) => format!("record {id} is healthy again: its source sent it anew"),
    };
    Event::StoreNoted { what }
}
