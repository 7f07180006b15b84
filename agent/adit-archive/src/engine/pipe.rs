// SPDX-License-Identifier: Apache-2.0 OR MIT
//! From content to records in sending order: drop what is known, gather batches, sort them, number them, seal them on
//! several threads, hand them on in the order of their numbers.
//!
//! Bounded by bytes: one batch being gathered, and a budget for what is being sealed or waits for the sink.

use super::{Level, RunError, Sink, SinkClosed};
use crate::keys::IdKey;
use crate::node::Encoded;
use crate::seal::{Content, Kind, LEVEL_DEFAULT, SealError, Sealer, content_id};
use crate::state::short;
use crate::tree::Place;
use adit_wire::ids::Id;
use adit_wire::record::Class;
use crossbeam_channel::{Receiver, Sender, unbounded};
use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Records of one batch, sorted by height and id before they leave: the box learns no order inside it.
const BATCH_RECORDS: usize = 64;
/// Plaintext of one batch, bytes.
const BATCH_BYTES: usize = 16 << 20;
/// Plaintext between the batch and the sink, bytes.
const FLIGHT_BYTES: usize = 12 << 20;
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
    plain: Vec<u8>,
}

struct Job {
    item: Item,
    counter: u32,
}

struct Sealed {
    counter: u32,
    plain_bytes: usize,
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

    /// Waits until there is room. Something larger than the whole budget goes alone.
    fn acquire(&self, bytes: usize) -> Result<(), RunError> {
        let mut state = lock(self);
        while !state.closed && state.bytes > 0 && state.bytes + bytes > FLIGHT_BYTES {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.closed {
            return Err(state.failed.take().unwrap_or(RunError::Sink(SinkClosed)));
        }
        state.bytes += bytes;
        Ok(())
    }

    fn release(&self, bytes: usize) {
        lock(self).bytes -= bytes;
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
    for Job { item, counter } in &ends.work {
        let content = Content {
            kind: item.kind,
            height: item.height,
            node_refs: &item.node_refs,
            data_refs: &item.data_refs,
            plain: &item.plain,
        };
        let record = sealer.seal(&content, item.id, counter, flight.level.load(Ordering::Relaxed));
        let sealed = Sealed { counter, plain_bytes: item.plain.len(), record };
        if ends.sealed.send(sealed).is_err() {
            return;
        }
    }
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
            flight.release(sealed.plain_bytes);
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
    batch: Vec<Item>,
    batch_bytes: usize,
    counter: u32,
    flight: &'r Flight,
    work: PipeEnd,
    sink: &'r dyn Sink,
    pub(super) records: u64,
    pub(super) nodes: u64,
    pub(super) bytes_new: u64,
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
            self.push(Item {
                kind,
                id,
                height: 0,
                node_refs: Vec::new(),
                data_refs: Vec::new(),
                plain: plain.to_vec(),
            })?;
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

    fn push(&mut self, item: Item) -> Result<(), RunError> {
        if !self.batch.is_empty() && self.batch_bytes + item.plain.len() > BATCH_BYTES {
            self.flush()?;
        }
        self.batch_bytes += item.plain.len();
        self.batch.push(item);
        if self.batch.len() >= BATCH_RECORDS { self.flush() } else { Ok(()) }
    }

    /// The id that this node has.
    pub(super) fn node_id(&self, kind: Kind, node: &Encoded) -> Id {
        content_id(&self.id_key, kind, &node.node_refs, &node.data_refs, &node.plain)
    }

    /// Sends a node whose id is worked out already, unless it's known.
    pub(super) fn node(&mut self, kind: Kind, id: Id, node: Encoded) -> Result<(), RunError> {
        if self.wants(&id) {
            let Encoded { plain, node_refs, data_refs, height } = node;
            self.push(Item { kind, id, height, node_refs, data_refs, plain })?;
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
            self.flight.acquire(item.plain.len())?;
            self.records += 1;
            self.nodes += u64::from(item.kind.class() == Class::Node);
            let counter = self.counter;
            self.counter += 1;
            if self.work.0.send(Job { item, counter }).is_err() {
                return Err(self.flight.failure());
            }
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
