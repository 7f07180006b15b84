// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Directories listed ahead of the walk by helper threads.
//!
//! Only a cache of what the walk would do itself: a slot that nobody took in time is listed by the walk. Bounded by
//! directories at each depth and in all, so that descriptors and memory are.

use super::listing::{Dir, Listing, open_and_scan};
use rustix::io::Result;
use std::collections::HashMap;
use std::ffi::{CStr, CString};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};

/// Listed directories that wait for the walk, at one depth: a wide level must not starve the deeper ones.
const AHEAD_AT_DEPTH: usize = 24;
/// The same over all depths.
const AHEAD_MAX: usize = 96;

type Listed = Result<(Arc<Dir>, Listing)>;

#[derive(Debug)]
enum SlotState {
    Waiting,
    Running,
    Done(Box<Listed>),
    Taken,
}

/// A directory that may be listed ahead.
#[derive(Debug)]
pub(crate) struct Slot {
    parent: Weak<Dir>,
    name: CString,
    depth: usize,
    state: Mutex<SlotState>,
    done: Condvar,
}

impl Slot {
    pub(super) fn new(parent: &Arc<Dir>, name: &CStr, depth: usize) -> Self {
        Self {
            parent: Arc::downgrade(parent),
            name: name.to_owned(),
            depth,
            state: Mutex::new(SlotState::Waiting),
            done: Condvar::new(),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A helper that panicked ends the process by its scope anyway; the data behind the lock stays whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Debug, Default)]
struct Queue {
    /// The last one is the next that the walk will want.
    slots: Vec<Weak<Slot>>,
    ahead: HashMap<usize, usize>,
    ahead_all: usize,
    stopped: bool,
}

/// What walk and helpers share.
#[derive(Debug)]
pub(crate) struct Prefetch {
    skip_caches: bool,
    queue: Mutex<Queue>,
    changed: Condvar,
}

impl Prefetch {
    pub(crate) fn new(skip_caches: bool) -> Self {
        Self { skip_caches, queue: Mutex::new(Queue::default()), changed: Condvar::new() }
    }

    /// Adds directories; the last one is wanted first.
    pub(super) fn offer(&self, slots: impl Iterator<Item = Arc<Slot>>) {
        let mut queue = lock(&self.queue);
        let before = queue.slots.len();
        queue.slots.extend(slots.map(|slot| Arc::downgrade(&slot)));
        if queue.slots.len() > before {
            self.changed.notify_all();
        }
    }

    /// What a helper listed, or `None` when none began. Waits for one that is at it.
    pub(super) fn take(&self, slot: &Slot) -> Option<Listed> {
        let mut state = lock(&slot.state);
        loop {
            match std::mem::replace(&mut *state, SlotState::Taken) {
                SlotState::Waiting | SlotState::Taken => return None,
                SlotState::Running => {
                    *state = SlotState::Running;
                    state = slot.done.wait(state).unwrap_or_else(PoisonError::into_inner);
                }
                SlotState::Done(listed) => {
                    drop(state);
                    self.consumed(slot.depth);
                    return Some(*listed);
                }
            }
        }
    }

    fn consumed(&self, depth: usize) {
        let mut queue = lock(&self.queue);
        queue.ahead_all = queue.ahead_all.saturating_sub(1);
        if let Some(count) = queue.ahead.get_mut(&depth) {
            *count = count.saturating_sub(1);
        }
        self.changed.notify_one();
    }

    /// Lists directories until [`Prefetch::stop`]. Run by each helper thread.
    pub(crate) fn help(&self) {
        let mut buffer = Vec::new();
        while let Some(slot) = self.next_slot() {
            let Some(parent) = slot.parent.upgrade() else {
                *lock(&slot.state) = SlotState::Taken;
                slot.done.notify_all();
                self.consumed(slot.depth);
                continue;
            };
            let listed = open_and_scan(&*parent, &slot.name, self.skip_caches, &mut buffer);
            drop(parent);
            *lock(&slot.state) = SlotState::Done(Box::new(listed));
            slot.done.notify_all();
        }
    }

    fn next_slot(&self) -> Option<Arc<Slot>> {
        let mut queue = lock(&self.queue);
        loop {
            if queue.stopped {
                return None;
            }
            if let Some(slot) = queue.pick() {
                return Some(slot);
            }
            queue = self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Sends the helpers home.
    pub(crate) fn stop(&self) {
        lock(&self.queue).stopped = true;
        self.changed.notify_all();
    }
}

impl Queue {
    /// The next directory worth listing, marked as running and counted.
    fn pick(&mut self) -> Option<Arc<Slot>> {
        while self.ahead_all < AHEAD_MAX {
            let slot = self.slots.last()?.upgrade();
            let Some(slot) = slot else {
                self.slots.pop();
                continue;
            };
            let ahead = self.ahead.entry(slot.depth).or_insert(0);
            if *ahead >= AHEAD_AT_DEPTH {
                return None;
            }
            self.slots.pop();
            let mut state = lock(&slot.state);
            if matches!(*state, SlotState::Waiting) {
                *state = SlotState::Running;
                drop(state);
                *ahead += 1;
                self.ahead_all += 1;
                return Some(slot);
            }
        }
        None
    }
}
