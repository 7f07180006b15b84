// SPDX-License-Identifier: Apache-2.0 OR MIT
//! From wanted records to written files: the planner hands over steps, two lanes fetch them, workers open and write.
//!
//! A lane asks for its step while the last records of the step before still come, so that a long line never falls
//! silent between two; early on only one lane asks, so that the box reads its disk in one direction. What more steps
//! want again is kept, within a bound. Never waits for anything but the line and the workers.

use super::FetchError;
use super::files::{Step, serve};
use super::keyring::Keyring;
use super::line::Line;
use crate::seal::Kind;
use adit_wire::ids::Id;
use adit_wire::read::Scope;
use adit_wire::record::Record;
use crossbeam_channel::{Receiver, Sender};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// Fetches of data under way at once.
pub(super) const LANES: usize = 2;
/// Records between the lanes and the workers.
pub(super) const QUEUE_RECORDS: usize = 8;
/// Bytes of opened bundles that are kept because a second step wanted them.
const CACHE_BYTES: usize = 4 << 20;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What lanes and workers share.
pub(super) struct Flow<'a> {
    line: &'a Line<'a>,
    gate: Gate,
    cache: Mutex<Cache>,
    failed: AtomicBool,
}

/// Something to write: a record as it came, or a bundle that was opened before.
pub(super) enum Work<'g> {
    Sealed(Vec<u8>, Arc<Step<'g>>),
    Opened(Id, Arc<Vec<u8>>, Arc<Step<'g>>),
}

impl<'a> Flow<'a> {
    /// A step is asked for when at most `ahead` records of the ones before are still to come.
    pub(super) fn new(line: &'a Line<'a>, ahead: usize) -> Self {
        Self { line, gate: Gate::new(ahead), cache: Mutex::default(), failed: AtomicBool::new(false) }
    }

    /// A lane's life: fetches steps until there are no more.
    pub(super) fn fetch_all<'g>(&self, steps: &Receiver<Step<'g>>, works: &Sender<Work<'g>>) -> Result<(), FetchError> {
        for step in steps {
            if self.failed.load(Ordering::Relaxed) {
                break;
            }
            if let Err(error) = self.fetch(&Arc::new(step), works) {
                self.failed.store(true, Ordering::Relaxed);
                return Err(error);
            }
        }
        Ok(())
    }

    /// Workers leave only when every lane has, so that handing over can't fail.
    fn fetch<'g>(&self, step: &Arc<Step<'g>>, works: &Sender<Work<'g>>) -> Result<(), FetchError> {
        let mut ids = Vec::with_capacity(step.wants.len());
        for (id, uses) in &step.wants {
            match uses.again.then(|| lock(&self.cache).get(id)).flatten() {
                Some(plain) => drop(works.send(Work::Opened(*id, plain, Arc::clone(step)))),
                None => ids.push(*id),
            }
        }
        if ids.is_empty() {
            return Ok(());
        }
        ids.sort_unstable();
        let turn = self.gate.enter(ids.len());
        self.line.fetch(Scope::Records, &ids, &mut |bytes| {
            turn.came();
            drop(works.send(Work::Sealed(bytes.to_vec(), Arc::clone(step))));
        })?;
        Ok(())
    }

    /// A worker's life: opens, checks and writes until there is no more.
    pub(super) fn write_all(&self, works: &Receiver<Work<'_>>, keyring: &Keyring) -> std::io::Result<()> {
        let mut opener = keyring.opener()?;
        let mut plain = Vec::new();
        for work in works {
            match work {
                Work::Opened(id, plain, step) => step.wants.get(&id).into_iter().for_each(|uses| serve(uses, &plain)),
                Work::Sealed(bytes, step) => {
                    let Ok(record) = Record::parse(&bytes) else { continue };
                    let Some(uses) = step.wants.get(&record.header.id) else { continue };
                    let Ok(Kind::Chunk | Kind::Bundle) = opener.open(&record, &mut plain) else { continue };
                    serve(uses, &plain);
                    if uses.again {
                        lock(&self.cache).add(record.header.id, &plain);
                    }
                }
            }
        }
        Ok(())
    }
}

/// Lets a lane ask when little of what was asked for before is still to come.
struct Gate {
    ahead: usize,
    outstanding: Mutex<usize>,
    changed: Condvar,
}

/// A fetch under way.
struct Turn<'a> {
    gate: &'a Gate,
    left: std::cell::Cell<usize>,
}

impl Gate {
    fn new(ahead: usize) -> Self {
        Self { ahead, outstanding: Mutex::default(), changed: Condvar::new() }
    }

    fn enter(&self, records: usize) -> Turn<'_> {
        let mut outstanding = lock(&self.outstanding);
        while *outstanding > self.ahead {
            outstanding = self.changed.wait(outstanding).unwrap_or_else(PoisonError::into_inner);
        }
        *outstanding += records;
        Turn { gate: self, left: std::cell::Cell::new(records) }
    }

    fn leave(&self, records: usize) {
        *lock(&self.outstanding) -= records;
        self.changed.notify_all();
    }
}

impl Turn<'_> {
    /// A record came. A box that sends more than it was asked for changes nothing.
    fn came(&self) {
        if let Some(left) = self.left.get().checked_sub(1) {
            self.left.set(left);
            self.gate.leave(1);
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.gate.leave(self.left.get());
    }
}

/// Opened bundles, the ones used longest ago leave first.
#[derive(Default)]
struct Cache {
    plains: HashMap<Id, (u64, Arc<Vec<u8>>)>,
    bytes: usize,
    clock: u64,
}

impl Cache {
    fn get(&mut self, id: &Id) -> Option<Arc<Vec<u8>>> {
        self.clock += 1;
        let (used, plain) = self.plains.get_mut(id)?;
        *used = self.clock;
        Some(Arc::clone(plain))
    }

    fn add(&mut self, id: Id, plain: &[u8]) {
        if plain.len() > CACHE_BYTES || self.plains.contains_key(&id) {
            return;
        }
        while self.bytes + plain.len() > CACHE_BYTES {
            let Some(oldest) = self.plains.iter().min_by_key(|(_, (used, _))| *used).map(|(id, _)| *id) else { break };
            self.bytes -= self.plains.remove(&oldest).map_or(0, |(_, plain)| plain.len());
        }
        self.clock += 1;
        self.bytes += plain.len();
        self.plains.insert(id, (self.clock, Arc::new(plain.to_vec())));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cache_keeps_its_bound_and_what_was_used_last() {
        let mut cache = Cache::default();
        let id = |byte| Id([byte; 32]);
        let piece = vec![7; CACHE_BYTES / 4];
        for byte in 0..4 {
            cache.add(id(byte), &piece);
        }
        assert!(cache.get(&id(0)).is_some());
        cache.add(id(4), &piece);
        assert!(cache.get(&id(1)).is_none());
        assert!([0, 2, 3, 4].iter().all(|byte| cache.get(&id(*byte)).is_some()));
        cache.add(id(5), &vec![7; CACHE_BYTES + 1]);
        cache.add(id(6), &vec![7; CACHE_BYTES]);
        assert_eq!((cache.plains.len(), cache.bytes), (1, CACHE_BYTES));
    }

    #[test]
    fn a_lane_enters_when_few_records_are_to_come() {
        let gate = Gate::new(2);
        let first = gate.enter(4);
        std::thread::scope(|threads| {
            let (entered, enters) = crossbeam_channel::bounded(1);
            let gate = &gate;
            threads.spawn(move || {
                let _second = gate.enter(3);
                entered.send(*lock(&gate.outstanding)).unwrap();
            });
            first.came();
            assert!(enters.try_recv().is_err());
            first.came();
            assert_eq!(enters.recv().unwrap(), 5);
        });
        drop(first);
        assert_eq!(*lock(&gate.outstanding), 0);
    }
}
