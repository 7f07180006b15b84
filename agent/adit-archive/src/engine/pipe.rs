// SPDX-License-Identifier: Apache-2.0 OR MIT
//! From content to records in sending order: drop what is known, gather batches, sort them, number them, seal them on
//! several threads, hand them on in the order of their numbers.
//!
//! Content is compressed while its batch is still being gathered: a batch takes memory for its compressed bytes only, and
//! the threads have work all the time. Bounded by bytes: what is not compressed yet, one batch, and a budget for what is
//! being sealed or waits for the sink.

use super::{Level, RunError, Sink, SinkClosed};
use crate::keys::IdKey;
use crate::node::Encoded;
use crate::seal::{Content, Kind, LEVEL_DEFAULT, Pressed, SealError, Sealer, content_id};
use crate::state::short;
use crate::tree::Place;
use adit_wire::ids::Id;
use adit_wire::record::Class;
use crossbeam_channel::{Receiver, Sender, unbounded};
use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Records of one batch, sorted by height and id before they leave: the box learns no order inside it.
const BATCH_RECORDS: usize = 64;
/// Plaintext of one batch, bytes.
const BATCH_BYTES: usize = 16 << 20;
/// Plaintext that is not compressed yet, bytes.
const PLAIN_BYTES: usize = 2 << 20;
/// What is between the batch and the sink, bytes as stored.
const FLIGHT_BYTES: usize = 4 << 20;
/// Records under one key: far below what a counter of 32 bits can tell apart.
const COUNTER_MAX: u32 = 1 << 31;
/// Levels that [`Level::Auto`] walks through.
const LEVELS: [i32; 4] = [LEVEL_DEFAULT, 6, 9, 12];
/// How long the sink is watched before the level moves one step.
const LEVEL_PERIOD: Duration = Duration::from_millis(500);

/// Content that the box may lack.
#[derive(Debug)]
struct Item {
    kind: Kind,
    id: Id,
    height: u8,
    node_refs: Vec<Id>,
    data_refs: Vec<Id>,
    body: Mutex<Body>,
}

/// The content of an item. Whoever seals it takes it; whoever was to compress it before finds nothing then.
#[derive(Debug)]
enum Body {
    Plain(Vec<u8>),
    Pressed(Result<Pressed, SealError>),
    Taken,
}

enum Job {
    Press(Arc<Item>),
    Seal { item: Arc<Item>, counter: u32, held_bytes: usize },
}

struct Sealed {
    counter: u32,
    held_bytes: usize,
    record: Result<Vec<u8>, SealError>,
}

/// What the threads of a run share.
#[derive(Debug)]
pub(super) struct Flight {
    state: Mutex<FlightState>,
    changed: Condvar,
    level: AtomicI32,
    pub(super) record_bytes: AtomicU64,
}

#[derive(Debug, Default)]
struct FlightState {
    bytes: usize,
    plain_bytes: usize,
    failed: Option<RunError>,
    closed: bool,
}

fn lock(flight: &Flight) -> MutexGuard<'_, FlightState> {
    flight.state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Flight {
    pub(super) fn new(level: Level) -> Self {
        let level = match level {
            Level::Auto => LEVELS[0],
            Level::Fixed(level) => level.clamp(1, 19),
        };
        Self {
            state: Mutex::default(),
            changed: Condvar::new(),
            level: AtomicI32::new(level),
            record_bytes: AtomicU64::new(0),
        }
    }

    /// Waits until there is room for what `held` counts. Something larger than the whole budget goes alone.
    fn acquire(&self, bytes: usize, budget: usize, held: fn(&mut FlightState) -> &mut usize) -> Result<(), RunError> {
        let mut state = lock(self);
        while !state.closed && *held(&mut state) > 0 && *held(&mut state) + bytes > budget {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.closed {
            return Err(state.failed.take().unwrap_or(RunError::Sink(SinkClosed)));
        }
        *held(&mut state) += bytes;
        Ok(())
    }

    fn release(&self, bytes: usize, held: fn(&mut FlightState) -> &mut usize) {
        *held(&mut lock(self)) -= bytes;
        self.changed.notify_all();
    }

    fn fail(&self, error: RunError) {
        let mut state = lock(self);
        state.closed = true;
        if state.failed.is_none() {
            state.failed = Some(error);
        }
        drop(state);
        self.changed.notify_all();
    }

    /// Why nobody takes work any more.
    fn failure(&self) -> RunError {
        lock(self).failed.take().unwrap_or(RunError::Sink(SinkClosed))
    }

    fn drained(&self) -> Result<(), RunError> {
        let mut state = lock(self);
        while !state.closed && state.bytes > 0 {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.closed { Err(state.failed.take().unwrap_or(RunError::Sink(SinkClosed))) } else { Ok(()) }
    }
}

/// The queues between the threads.
pub(super) struct Queues {
    work: Sender<Job>,
    work_end: Receiver<Job>,
    sealed: Sender<Sealed>,
    sealed_end: Receiver<Sealed>,
}

impl Queues {
    /// Their lengths are bounded by [`Flight`].
    pub(super) fn new() -> Self {
        let (work, work_end) = unbounded();
        let (sealed, sealed_end) = unbounded();
        Self { work, work_end, sealed, sealed_end }
    }

    /// The ends of one sealing thread.
    pub(super) fn sealer_ends(&self) -> SealerEnds {
        SealerEnds { work: self.work_end.clone(), sealed: self.sealed.clone() }
    }

    /// Splits into the ends of the gathering and of the sending thread; the queues close when the threads end.
    pub(super) fn into_ends(self) -> (PipeEnd, SenderEnd) {
        (PipeEnd(self.work), SenderEnd(self.sealed_end))
    }
}

pub(super) struct PipeEnd(Sender<Job>);
pub(super) struct SenderEnd(Receiver<Sealed>);
pub(super) struct SealerEnds {
    work: Receiver<Job>,
    sealed: Sender<Sealed>,
}

/// A sealing thread's life.
pub(super) fn seal_all(ends: &SealerEnds, flight: &Flight, mut sealer: Sealer) {
    for job in &ends.work {
        match job {
            Job::Press(item) => {
                let mut body = item.body();
                if let Body::Plain(plain) = &mut *body {
                    let plain = std::mem::take(plain);
                    *body = Body::Pressed(press(&mut sealer, plain, flight));
                }
            }
            Job::Seal { item, counter, held_bytes } => {
                let record = seal(&mut sealer, &item, counter, flight);
                if ends.sealed.send(Sealed { counter, held_bytes, record }).is_err() {
                    return;
                }
            }
        }
    }
}

fn press(sealer: &mut Sealer, plain: Vec<u8>, flight: &Flight) -> Result<Pressed, SealError> {
    let plain_bytes = plain.len();
    let pressed = sealer.press(plain, flight.level.load(Ordering::Relaxed));
    flight.release(plain_bytes, |state| &mut state.plain_bytes);
    pressed
}

fn seal(sealer: &mut Sealer, item: &Item, counter: u32, flight: &Flight) -> Result<Vec<u8>, SealError> {
    let pressed = match std::mem::replace(&mut *item.body(), Body::Taken) {
        Body::Plain(plain) => press(sealer, plain, flight)?,
        Body::Pressed(pressed) => pressed?,
        Body::Taken => return Err(SealError::Unproven(item.id)),
    };
    let Item { kind, id, height, node_refs, data_refs, .. } = item;
    let outline = Content { kind: *kind, height: *height, node_refs, data_refs, plain: &[] };
    sealer.seal_pressed(&outline, &pressed, *id, counter)
}

/// The sending thread's life: records in the order of their counters.
pub(super) fn send_all(end: &SenderEnd, flight: &Flight, first: u32, level: Level, sink: &dyn Sink) {
    let mut next = first;
    let mut early: BTreeMap<u32, Sealed> = BTreeMap::new();
    let mut pressure = Pressure::new(level);
    for sealed in &end.0 {
        early.insert(sealed.counter, sealed);
        while let Some(sealed) = early.remove(&next) {
            next += 1;
            let record = match sealed.record {
                Ok(record) => record,
                Err(error) => return flight.fail(RunError::Seal(Box::new(error))),
            };
            flight.record_bytes.fetch_add(record.len() as u64, Ordering::Relaxed);
            let began = Instant::now();
            if let Err(closed) = sink.record(record) {
                return flight.fail(RunError::Sink(closed));
            }
            pressure.sent(began, flight);
            flight.release(sealed.held_bytes, |state| &mut state.bytes);
        }
    }
}

/// Compresses harder while the line is what holds the run up.
struct Pressure {
    auto: bool,
    since: Instant,
    in_sink: Duration,
    at: usize,
}

impl Pressure {
    fn new(level: Level) -> Self {
        Self { auto: level == Level::Auto, since: Instant::now(), in_sink: Duration::ZERO, at: 0 }
    }

    fn sent(&mut self, began: Instant, flight: &Flight) {
        let now = Instant::now();
        self.in_sink += now - began;
        let period = now - self.since;
        if !self.auto || period < LEVEL_PERIOD {
            return;
        }
        // Above 70 % of the time in the sink the line is the limit; below 30 % the processor is.
        if self.in_sink * 10 > period * 7 {
            self.at = (self.at + 1).min(LEVELS.len() - 1);
        } else if self.in_sink * 10 < period * 3 {
            self.at = self.at.saturating_sub(1);
        }
        flight.level.store(LEVELS[self.at], Ordering::Relaxed);
        self.since = now;
        self.in_sink = Duration::ZERO;
    }
}

/// The gathering end: gives content its id and sends what is unknown.
pub(super) struct Pipe<'r> {
    id_key: IdKey,
    /// Ascending short ids of what the box has.
    known: Vec<u64>,
    pending: HashSet<u64>,
    /// Ids that the box said it lacks: sent once, whatever the short ids say.
    missing: HashSet<Id>,
    fresh: HashSet<u64>,
    ask: bool,
    batch: Vec<Arc<Item>>,
    batch_bytes: usize,
    counter: u32,
    flight: &'r Flight,
    work: PipeEnd,
    sink: &'r dyn Sink,
    pub(super) records: u64,
    pub(super) nodes: u64,
    pub(super) bytes_new: u64,
}

impl Item {
    /// Bytes of its content as it is now.
    fn held_bytes(&self) -> usize {
        match &*self.body() {
            Body::Plain(plain) => plain.len(),
            Body::Pressed(Ok(pressed)) => pressed.bytes(),
            Body::Pressed(Err(_)) | Body::Taken => 0,
        }
    }

    fn body(&self) -> MutexGuard<'_, Body> {
        self.body.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Pipe<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pipe").field("records", &self.records).finish_non_exhaustive()
    }
}

/// What a run may leave unsent.
pub(super) struct Have {
    pub(super) known: Vec<u64>,
    pub(super) pending: HashSet<u64>,
    pub(super) missing: HashSet<Id>,
    pub(super) ask: bool,
}

impl<'r> Pipe<'r> {
    pub(super) fn new(
        id_key: IdKey,
        have: Have,
        first_counter: u32,
        flight: &'r Flight,
        work: PipeEnd,
        sink: &'r dyn Sink,
    ) -> Self {
        Self {
            id_key,
            known: have.known,
            pending: have.pending,
            missing: have.missing,
            fresh: HashSet::new(),
            ask: have.ask,
            batch: Vec::with_capacity(BATCH_RECORDS),
            batch_bytes: 0,
            counter: first_counter,
            flight,
            work,
            sink,
            records: 0,
            nodes: 0,
            bytes_new: 0,
        }
    }

    /// The id that this data has.
    pub(super) fn id_of(&self, kind: Kind, plain: &[u8]) -> Id {
        content_id(&self.id_key, kind, &[], &[], plain)
    }

    /// Sends data unless it's known; takes the bytes over only then. Answers the id.
    pub(super) fn data(&mut self, kind: Kind, plain: &[u8]) -> Result<Id, RunError> {
        let id = self.id_of(kind, plain);
        if self.wants(&id) {
            self.bytes_new += plain.len() as u64;
            let (node_refs, data_refs) = (Vec::new(), Vec::new());
            self.push(kind, id, Encoded { plain: plain.to_vec(), node_refs, data_refs, height: 0 })?;
        }
        Ok(id)
    }

    fn wants(&mut self, id: &Id) -> bool {
        let short_id = short(id);
        if self.missing.remove(id) {
            self.fresh.insert(short_id);
            return true;
        }
        self.known.binary_search(&short_id).is_err() && !self.pending.contains(&short_id) && self.fresh.insert(short_id)
    }

    fn push(&mut self, kind: Kind, id: Id, content: Encoded) -> Result<(), RunError> {
        let Encoded { plain, node_refs, data_refs, height } = content;
        let plain_bytes = plain.len();
        if !self.batch.is_empty() && self.batch_bytes + plain_bytes > BATCH_BYTES {
            self.flush()?;
        }
        let item = Arc::new(Item { kind, id, height, node_refs, data_refs, body: Mutex::new(Body::Plain(plain)) });
        // When the box is asked first, much of it may not be needed.
        if !self.ask {
            self.acquire_plain(plain_bytes)?;
            self.order(Job::Press(Arc::clone(&item)))?;
        }
        self.batch_bytes += plain_bytes;
        self.batch.push(item);
        if self.batch.len() >= BATCH_RECORDS { self.flush() } else { Ok(()) }
    }

    fn acquire_plain(&self, bytes: usize) -> Result<(), RunError> {
        self.flight.acquire(bytes, PLAIN_BYTES, |state| &mut state.plain_bytes)
    }

    fn order(&self, job: Job) -> Result<(), RunError> {
        self.work.0.send(job).map_err(|_| self.flight.failure())
    }

    /// The id that this node has.
    pub(super) fn node_id(&self, kind: Kind, node: &Encoded) -> Id {
        content_id(&self.id_key, kind, &node.node_refs, &node.data_refs, &node.plain)
    }

    /// Sends a node whose id is worked out already, unless it's known.
    pub(super) fn node(&mut self, kind: Kind, id: Id, node: Encoded) -> Result<(), RunError> {
        if self.wants(&id) {
            self.push(kind, id, node)?;
        }
        Ok(())
    }

    /// Sends the batch on its way.
    pub(super) fn flush(&mut self) -> Result<(), RunError> {
        let mut batch = std::mem::take(&mut self.batch);
        self.batch_bytes = 0;
        if batch.is_empty() {
            return Ok(());
        }
        let asked = self.ask;
        if self.ask {
            let ids: Vec<Id> = batch.iter().map(|item| item.id).collect();
            match self.sink.have(&ids)? {
                Some(bits) => {
                    let mut bits = bits.into_iter();
                    batch.retain(|_| !bits.next().unwrap_or(false));
                }
                None => self.ask = false,
            }
        }
        batch.sort_unstable_by_key(|item| (item.height, item.id));
        for item in batch {
            if self.counter >= COUNTER_MAX {
                return Err(RunError::Counter);
            }
            let held_bytes = item.held_bytes();
            if asked {
                self.acquire_plain(held_bytes)?;
            }
            self.flight.acquire(held_bytes, FLIGHT_BYTES, |state| &mut state.bytes)?;
            self.records += 1;
            self.nodes += u64::from(item.kind.class() == Class::Node);
            let counter = self.counter;
            self.counter += 1;
            self.order(Job::Seal { item, counter, held_bytes })?;
        }
        Ok(())
    }

    /// Sends everything and waits until the sink has it.
    pub(super) fn drain(&mut self) -> Result<(), RunError> {
        self.flush()?;
        self.flight.drained()
    }

    /// The counter of the next record.
    pub(super) const fn next_counter(&self) -> u32 {
        self.counter
    }
}

impl Place for Pipe<'_> {
    type Error = RunError;

    fn place(&mut self, kind: Kind, node: Encoded) -> Result<Id, RunError> {
        let id = self.node_id(kind, &node);
        self.node(kind, id, node)?;
        Ok(id)
    }
}
