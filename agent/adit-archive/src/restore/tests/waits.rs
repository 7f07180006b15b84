// SPDX-License-Identifier: Apache-2.0 OR MIT
//! How often a restore leaves the line silent, and what it asks for twice.

use super::super::run::{Batches, restore_in};
use super::{many, noise};
use crate::fixture::{Machine, MemoryFetcher, assert_same};
use crate::restore::{FetchError, Fetched, Fetcher, Target};
use adit_wire::ids::Id;
use adit_wire::read::Scope;
use adit_wire::record::{Class, Record};
use std::collections::HashMap;
use std::fs;
use std::sync::{Condvar, Mutex};
use std::time::Duration;

/// Requests so small that a little tree needs many.
const SMALL: Batches = Batches { nodes: 2, records: 1_000, ahead: 1 };
/// Another request must come so soon after all but one record of an answer was taken; else it counts as a wait. Far more
/// than a busy machine needs: only what is wrong waits for it.
const SILENT_AFTER: Duration = Duration::from_secs(15);

/// A line that keeps the last record of every answer back until another request has come: as on a long line, whoever
/// asks only after the whole answer leaves it silent. On the way down to the first data, and at the last data, there is
/// nothing else to ask: these are waits, and nothing is kept back.
struct LongLine<'a> {
    inner: MemoryFetcher<'a>,
    /// Data records of the snapshot.
    data: usize,
    state: Mutex<State>,
    asked: Condvar,
}

#[derive(Default)]
struct State {
    requests: usize,
    waits: usize,
    /// How often each data record went out.
    data: HashMap<Id, usize>,
}

impl Fetcher for LongLine<'_> {
    fn fetch(&self, scope: Scope, keys: bool, ids: &[Id], sink: &mut dyn FnMut(&[u8])) -> Result<Fetched, FetchError> {
        let mut state = self.state.lock().unwrap();
        state.requests += 1;
        let number = state.requests;
        self.asked.notify_all();
        drop(state);
        let mut records = Vec::new();
        let fetched = self.inner.fetch(scope, keys, ids, &mut |record| records.push(record.to_vec()))?;
        let mut state = self.state.lock().unwrap();
        for record in &records {
            let header = Record::parse(record).unwrap().header;
            if header.class == Class::Data {
                *state.data.entry(header.id).or_default() += 1;
            }
        }
        let is_end = state.data.is_empty() || state.data.len() == self.data;
        drop(state);
        let last = records.pop();
        records.iter().for_each(|record| sink(record));
        let mut state = self.state.lock().unwrap();
        if is_end {
            state.waits += usize::from(state.requests == number);
        } else {
            let (kept, silence) =
                self.asked.wait_timeout_while(state, SILENT_AFTER, |state| state.requests == number).unwrap();
            state = kept;
            state.waits += usize::from(silence.timed_out());
        }
        drop(state);
        last.iter().for_each(|record| sink(record));
        Ok(fetched)
    }
}

/// Backs up and restores; answers what the line counted.
fn count(machine: &mut Machine) -> State {
    let outcome = machine.backup();
    let to = machine.home.path().join("back");
    let data = machine.peer.closure(outcome.root).iter().filter(|id| machine.peer.class(id) == Class::Data).count();
    let inner = MemoryFetcher::new(&machine.peer);
    let line = LongLine { inner, data, state: Mutex::default(), asked: Condvar::new() };
    let report =
        restore_in(SMALL, &line, &machine.keyring(), outcome.root, &Target::all(to.clone()), &|_, _| ()).unwrap();
    assert_eq!((report.faults.len(), report.files), (0, outcome.counts.files));
    assert_same(&machine.data(), &to.join(machine.data().strip_prefix("/").unwrap()));
    line.state.into_inner().unwrap()
}

#[test]
fn waits_do_not_grow_with_the_groups() {
    let counts = [1, 4].map(|share| {
        let mut machine = Machine::new();
        many(&machine.data(), 15 * share, 60);
        for number in 0..3 * share as u64 {
            fs::write(machine.data().join(format!("d{:03}/list", 4 * number)), noise(number, 6_000_000)).unwrap();
        }
        count(&mut machine)
    });
    let [small, large] = &counts;
    let told =
        format!("{} requests with {} waits, {} with {}", small.requests, small.waits, large.requests, large.waits);
    println!("{told}");
    assert!(large.requests >= 30 && large.requests >= 2 * small.requests, "{told}");
    // The way down to the first leaves and what was asked ahead of the first data, and the end.
    assert!(small.waits <= 8 && large.waits <= 8, "{told}");
}

#[test]
fn what_distant_leaves_share_is_not_fetched_for_each() {
    let mut machine = Machine::new();
    many(&machine.data(), 60, 60);
    for dir in 0..60 {
        fs::write(machine.data().join(format!("d{dir:03}/common")), noise(1 << 40, 3_000)).unwrap();
    }
    let counted = count(&mut machine);
    let most = counted.data.values().max().copied().unwrap();
    assert!(counted.requests >= 30, "{} requests", counted.requests);
    // The first time, the second, and what was under way before the second had come.
    assert!(most <= 6, "a bundle was fetched {most} times in {} requests", counted.requests);
}
