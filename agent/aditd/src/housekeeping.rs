// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What the store does for itself: retention once a day, and a collection behind it, in slices between everything else.
//!
//! Nothing that a peer waits for waits longer than a slice. What collections read and write in a day has a bound.

use crate::clock;
use crate::event::{Event, Events};
use adit_store::{CollectStep, Collected, Collection, Store};
use adit_wire::ids::SourceId;
use std::collections::VecDeque;

/// How often retention runs.
const EVERY_MS: u64 = 86_400_000;
/// The first time, so long after the start: a box that was off has links to take up and late backups to receive.
const FIRST_AFTER_MS: u64 = 10 * 60_000;
/// Bytes that a collection reads and writes before other work gets its turn.
const SLICE_BYTES: u64 = 1 << 20;
/// Bytes that collections read and write in a day.
const DAY_BYTES: u64 = 64 << 30;

/// The store's own work.
#[derive(Debug)]
pub(crate) struct Housekeeping {
    /// When retention is due, milliseconds of the monotonic clock.
    due_ms: u64,
    sources: VecDeque<SourceId>,
    /// A collection is wanted, and none has begun since.
    wanted: bool,
    collection: Option<Collection>,
    day_ends_ms: u64,
    day_bytes: u64,
}

impl Housekeeping {
    pub(crate) fn new(now_ms: u64) -> Self {
        Self {
            due_ms: now_ms.saturating_add(FIRST_AFTER_MS),
            sources: VecDeque::new(),
            wanted: false,
            collection: None,
            day_ends_ms: now_ms.saturating_add(EVERY_MS),
            day_bytes: 0,
        }
    }

    /// Looks at the clock.
    pub(crate) fn tick(&mut self, store: &Store, now_ms: u64) {
        if now_ms >= self.day_ends_ms {
            self.day_ends_ms = now_ms.saturating_add(EVERY_MS);
            self.day_bytes = 0;
        }
        if now_ms >= self.due_ms && store.read_only().is_none() {
            self.due_ms = now_ms.saturating_add(EVERY_MS);
            self.sources = store.source_ids().into();
            self.wanted = true;
        }
    }

    /// A collection begins as soon as there is time for one.
    pub(crate) const fn collect(&mut self) {
        self.wanted = true;
        self.day_bytes = 0;
    }

    /// Whether there is something to do now.
    pub(crate) fn wants(&self) -> bool {
        let collecting = self.wanted || self.collection.is_some();
        !self.sources.is_empty() || (collecting && self.day_bytes < DAY_BYTES)
    }

    pub(crate) const fn is_collecting(&self) -> bool {
        self.wanted || self.collection.is_some()
    }

    /// One slice.
    pub(crate) fn slice(&mut self, store: &mut Store, events: &Events) {
        if store.read_only().is_some() {
            self.sources.clear();
            self.wanted = false;
            self.collection = None;
            return;
        }
        if let Some(source) = self.sources.pop_front() {
            if let Err(error) = store.retain(&source, false, clock::moment()) {
                events.record(&Event::StoreFailed { why: crate::report::chain(&error) });
            }
            return;
        }
        if !self.wants() {
            return;
        }
        let now = clock::moment();
        let collection = self.collection.get_or_insert_with(|| store.collection(now));
        self.wanted = false;
        let before = collection.report().io_bytes;
        let step = collection.step(store, SLICE_BYTES, now);
        self.day_bytes = self.day_bytes.saturating_add(collection.report().io_bytes - before);
        match step {
            Ok(CollectStep::Working) => {}
            Ok(CollectStep::Finished) => {
                let report = collection.report();
                self.collection = None;
                if report.dead_records > 0 || report.unknown_nodes > 0 {
                    events.record(&Event::StoreNoted { what: in_words(&report) });
                }
            }
            Err(error) => {
                self.collection = None;
                events.record(&Event::StoreFailed { why: crate::report::chain(&error) });
            }
        }
    }
}

fn in_words(report: &Collected) -> String {
    if report.unknown_nodes > 0 {
        let nodes = report.unknown_nodes;
        return format!("nothing is collected: {nodes} nodes that snapshots need are damaged or gone");
    }
    format!(
        "collected {} records ({} bytes) that nothing needs; {} segments removed, {} copied together, {} bytes freed",
        report.dead_records, report.dead_bytes, report.dropped_segments, report.rewritten_segments, report.freed_bytes
    )
}
