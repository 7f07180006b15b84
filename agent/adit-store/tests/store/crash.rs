// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The power goes at every write, flush and directory operation of a recorded workload, each time with eight random
//! subsets of what was not flushed. After each cut the store opens, every acknowledged commit is there and identical,
//! verification is clean, and nothing that was called durable is asked for again.
//!
//! Four workloads, each from an empty store, keep the stores that are checked 16,000 times small.
//!
//! A failure prints its seed. `ADIT_CRASH_SEED=n` runs that workload alone, `ADIT_CRASH_AT=boundary,subset` one cut of it.

use crate::support::{Made, Rng, TINY, TestSource, Tree, at, created, verify};
use adit_store::disk::Image;
use adit_store::{Access, Commit, SessionId, SimDisk, Store};
use adit_wire::ids::{Id, KeyId};
use adit_wire::read::Scope;
use adit_wire::record::{Class, Record};
use adit_wire::signed::KeyRecord;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

const SOURCES: usize = 3;
const SUBSETS: u64 = 8;
const BOUNDARIES_MIN: usize = 2_000;

/// What one source was told, and what it asked for last.
#[derive(Clone, Debug, Default)]
struct Promise {
    /// Heads and new records of committed snapshots.
    commits: Vec<(Id, Arc<Tree>)>,
    /// Key id and number up to which the run's records were called durable.
    durable: Option<(KeyId, u64, Arc<Tree>)>,
    /// A commit that was asked for and not answered.
    committing: Option<Id>,
    /// An OPEN that was asked for and not answered, and whether it resumes.
    opening: Option<(KeyId, bool)>,
}

type Promises = Vec<Promise>;

/// The disk after one operation, and what had been promised by then.
#[derive(Clone)]
struct Boundary {
    image: Image,
    promises: Arc<Promises>,
}

#[derive(Default)]
struct Recorder {
    boundaries: Vec<Boundary>,
    promises: Arc<Promises>,
}

/// One source's unfinished run.
struct Run {
    tree: Arc<Tree>,
    key_id: KeyId,
    sent: usize,
    session: Option<SessionId>,
}

struct Workload {
    rng: Rng,
    disk: SimDisk,
    store: Option<Store>,
    sources: Vec<TestSource>,
    runs: BTreeMap<usize, Run>,
    promises: Promises,
    recorder: Arc<Mutex<Recorder>>,
    seconds: u64,
}

impl Workload {
    fn new(seed: u64) -> Self {
        let disk = created(TINY);
        let mut workload = Self {
            rng: Rng(seed),
            disk,
            store: None,
            sources: (0..SOURCES as u64).map(|place| TestSource::new(seed * 100 + place)).collect(),
            runs: BTreeMap::new(),
            promises: vec![Promise::default(); SOURCES],
            recorder: Arc::default(),
            seconds: 0,
        };
        let mut store = crate::support::open(&workload.disk);
        for source in &workload.sources {
            store.put_source(source.source(), at(0)).expect("a source");
        }
        workload.store = Some(store);
        workload.tell();
        workload.watch();
        workload
    }

    fn watch(&self) {
        let recorder = Arc::clone(&self.recorder);
        self.disk.watch(move |_, image| {
            let mut recorder = recorder.lock().expect("no panic while recording");
            let promises = Arc::clone(&recorder.promises);
            recorder.boundaries.push(Boundary { image: image.clone(), promises });
        });
    }

    /// From now on, every cut must honour this.
    fn tell(&self) {
        self.recorder.lock().expect("no panic while recording").promises = Arc::new(self.promises.clone());
    }

    fn boundaries(&self) -> usize {
        self.recorder.lock().expect("no panic while recording").boundaries.len()
    }

    fn step(&mut self) {
        self.seconds += 60;
        match self.rng.below(60) {
            0 => self.restart(true),
            1 => self.restart(false),
            2 => self.power_cut(),
            _ => {
                let source = usize::try_from(self.rng.below(SOURCES as u64)).expect("few");
                match self.runs.get(&source).map(|run| run.session.is_some()) {
                    Some(true) => self.send(source),
                    Some(false) | None => self.open(source),
                }
            }
        }
    }

    fn store(&mut self) -> &mut Store {
        self.store.as_mut().expect("the store is open between steps")
    }

    fn open(&mut self, source: usize) {
        let seconds = self.seconds;
        let key = self.sources[source].new_key();
        let key_id = self.sources[source].key_id;
        let resumed = self.runs.remove(&source).filter(|_| self.rng.below(8) > 0);
        let resume_of = resumed.as_ref().map(|run| run.key_id);
        self.promises[source].opening = Some((key_id, resume_of.is_some()));
        self.tell();
        let id = self.sources[source].id;
        let session = self.store().open_session(&id, &key, resume_of, at(seconds)).expect("a session");
        let run = match resumed {
            Some(run) => {
                let durable = usize::try_from(self.store().durable_seq(session)).expect("few");
                Run { key_id, session: Some(session), sent: durable, tree: run.tree }
            }
            None => {
                let old: Vec<Id> = self.promises[source].commits.last().map_or_else(Vec::new, |(_, tree)| {
                    tree.records.iter().filter(|made| made.height == 0).map(|made| made.id).collect()
                });
                let chunks = usize::try_from(self.rng.below(8)).expect("few") + 1;
                let tree = Arc::new(self.sources[source].tree(chunks, 1_500, &old));
                Run { key_id, session: Some(session), sent: 0, tree }
            }
        };
        let promise = &mut self.promises[source];
        promise.opening = None;
        promise.durable = Some((key_id, run.sent as u64, Arc::clone(&run.tree)));
        self.runs.insert(source, run);
        self.tell();
    }

    fn send(&mut self, source: usize) {
        let seconds = self.seconds;
        let count = usize::try_from(self.rng.below(10)).expect("few") + 2;
        let run = self.runs.get_mut(&source).expect("a run to go on with");
        let session = run.session.expect("a session to send in");
        let store = self.store.as_mut().expect("the store is open between steps");
        for made in run.tree.records.iter().skip(run.sent).take(count) {
            run.sent += 1;
            store.append(session, run.sent as u64, &made.bytes, at(seconds)).expect("a valid record");
        }
        let all = run.sent == run.tree.records.len();
        match self.rng.below(8) {
            0 => {
                store.end_session(session);
                run.session = None;
            }
            1..=2 => store.sync(at(seconds)).expect("a sync"),
            _ => {}
        }
        self.hear_durable();
        if all && self.runs.get(&source).is_some_and(|run| run.session.is_some()) {
            self.commit(source, session);
        }
    }

    fn commit(&mut self, source: usize, session: SessionId) {
        let seconds = self.seconds;
        let run = &self.runs[&source];
        let promise = &mut self.promises[source];
        let prev = promise.commits.last().map_or(Id::ZERO, |(head, _)| *head);
        let seq = promise.commits.len() as u64 + 1;
        let snapshot = self.sources[source].snapshot(seq, prev, &run.tree.root, &run.tree.info);
        promise.committing = Some(snapshot.id);
        self.tell();
        let commit = self.store().commit(session, &snapshot.bytes, at(seconds)).expect("a commit");
        assert!(matches!(commit, Commit::Committed { .. }), "{commit:?}");
        let run = self.runs.remove(&source).expect("the run just committed");
        let promise = &mut self.promises[source];
        promise.commits.push((snapshot.id, run.tree));
        promise.committing = None;
        promise.durable = None;
        self.tell();
        self.hear_durable();
    }

    /// A flush for one source makes all others durable too.
    fn hear_durable(&mut self) {
        let Some(store) = &self.store else { return };
        for (source, run) in &self.runs {
            let Some(session) = run.session else { continue };
            let seq = store.durable_seq(session);
            assert!(seq <= run.sent as u64, "durable beyond what was sent");
            let durable = &mut self.promises[*source].durable;
            if let Some((_, known, _)) = durable {
                assert!(*known <= seq, "a durable number went back from {known} to {seq}");
                *known = seq;
            }
        }
        self.tell();
    }

    fn restart(&mut self, clean: bool) {
        let store = self.store.take().expect("the store is open between steps");
        if clean {
            store.close(at(self.seconds)).expect("a clean end");
        } else {
            drop(store);
        }
        self.disk.unlock();
        self.reopen();
    }

    fn power_cut(&mut self) {
        drop(self.store.take());
        self.disk = SimDisk::power_cut(&self.disk.image(), self.rng.next(), None);
        self.watch();
        self.reopen();
    }

    fn reopen(&mut self) {
        let (store, _) = Store::open(self.disk.clone(), Access::ReadWrite, at(self.seconds)).expect("it opens again");
        for (source, run) in &mut self.runs {
            let pending = store.pending(&self.sources[*source].id).expect("an unfinished run stays pending");
            assert_eq!(pending.key_id, run.key_id);
            run.session = None;
            run.sent = usize::try_from(pending.durable_seq).expect("few");
            let durable = self.promises[*source].durable.as_mut().expect("a run has a durable number");
            assert!(durable.1 <= pending.durable_seq);
            durable.1 = pending.durable_seq;
        }
        self.store = Some(store);
        self.tell();
    }
}

/// One cut and all that must hold after it.
fn check(sources: &[TestSource], boundary: &Boundary, seed: u64) {
    let mut rng = Rng(seed);
    let cut = SimDisk::power_cut(&boundary.image, rng.next(), None);
    let cut = if rng.below(8) == 0 { cut_again(&cut, &mut rng) } else { cut };
    let (mut store, opening) = Store::open(cut, Access::ReadWrite, at(1_000_000)).expect("a store opens after a cut");
    assert_eq!(opening.read_only, None);
    let report = verify(&mut store);
    assert!(report.is_clean(), "{report:?}");
    for (source, promise) in sources.iter().zip(boundary.promises.iter()) {
        check_commits(&mut store, source, promise);
        check_pending(&mut store, source, promise);
    }
    if rng.below(4) == 0 {
        let place = usize::try_from(rng.below(SOURCES as u64)).expect("few");
        go_on(&mut store, &sources[place], &boundary.promises[place], rng.next());
    }
}

/// The power goes a second time, while the store recovers from the first.
fn cut_again(disk: &SimDisk, rng: &mut Rng) -> SimDisk {
    let images: Arc<Mutex<Vec<Image>>> = Arc::default();
    let seen = Arc::clone(&images);
    let probe = SimDisk::from_image(disk.image());
    probe.watch(move |_, image| seen.lock().expect("no panic while recording").push(image.clone()));
    let opened = Store::open(probe, Access::ReadWrite, at(1_000_000));
    drop(opened.expect("a store opens after a cut"));
    let images = images.lock().expect("no panic while recording");
    match images.len() as u64 {
        0 => SimDisk::from_image(disk.image()),
        count => {
            let place = usize::try_from(rng.below(count)).expect("few");
            SimDisk::power_cut(&images[place], rng.next(), None)
        }
    }
}

fn check_commits(store: &mut Store, source: &TestSource, promise: &Promise) {
    let heads: Vec<Id> = store.snapshots(&source.id).iter().map(|entry| entry.head).collect();
    let mut expected: Vec<Id> = promise.commits.iter().map(|(head, _)| *head).collect();
    if heads.len() > expected.len() {
        expected.extend(promise.committing);
    }
    assert_eq!(heads, expected, "acknowledged snapshots");
    for (_, tree) in &promise.commits {
        check_records(store, source, &tree.records);
    }
}

/// Records come back identical, each behind the key record of its key.
fn check_records(store: &mut Store, source: &TestSource, records: &[Made]) {
    let ids: Vec<Id> = records.iter().map(|made| made.id).collect();
    let mut expected: BTreeMap<Id, &[u8]> = records.iter().map(|made| (made.id, made.bytes.as_slice())).collect();
    let mut keys = BTreeSet::new();
    let mut plan = store.plan_fetch(&source.id, Scope::Records, &ids, true).expect("a plan");
    while let Some(bytes) = plan.next(store, at(0)) {
        let bytes = bytes.expect("an acknowledged record is healthy");
        let record = Record::parse(&bytes).expect("a whole record");
        if record.header.class == Class::Key {
            let (payload, ..) = KeyRecord::read(record.body).expect("a key record");
            keys.insert(payload.key_id);
        } else {
            assert!(keys.contains(&record.header.key_id), "the key record comes first");
            let known = expected.remove(&record.header.id);
            assert!(known == Some(&bytes), "record {} is not what was acknowledged", record.header.id);
        }
    }
    assert!(expected.is_empty(), "{} acknowledged records are absent", expected.len());
}

/// Whether the run that is pending after the cut is the one that the promise speaks of.
fn is_same_run(promise: &Promise, pending: KeyId) -> bool {
    let promised = promise.durable.as_ref().is_some_and(|(key_id, ..)| *key_id == pending);
    promised || promise.opening == Some((pending, true))
}

fn check_pending(store: &mut Store, source: &TestSource, promise: &Promise) {
    let Some((_, durable, tree)) = &promise.durable else { return };
    check_records(store, source, &tree.records[..usize::try_from(*durable).expect("few")]);
    let Some(pending) = store.pending(&source.id) else {
        assert_eq!(
            store.newest(&source.id).map(|newest| newest.head),
            promise.committing,
            "a run ends by a commit only"
        );
        return;
    };
    if is_same_run(promise, pending.key_id) {
        assert!(pending.durable_seq >= *durable, "{} was called durable, {} is known", durable, pending.durable_seq);
        // Neither may the box claim more than it has: the source would never send it again.
        check_records(store, source, &tree.records[..usize::try_from(pending.durable_seq).expect("few")]);
    } else {
        assert_eq!(promise.opening, Some((pending.key_id, false)));
    }
}

/// The store goes on after the cut: the unfinished run is finished under the old keys, or a whole backup is taken.
fn go_on(store: &mut Store, source: &TestSource, promise: &Promise, seed: u64) {
    let mut source = source.clone();
    source.rng = Rng(seed);
    let pending = store.pending(&source.id).filter(|pending| is_same_run(promise, pending.key_id));
    if let (Some(pending), Some((_, _, tree))) = (pending, &promise.durable) {
        let key = source.new_key();
        let of = Some(pending.key_id);
        let session = store.open_session(&source.id, &key, of, at(1_000_050)).expect("a resumed session");
        let durable = usize::try_from(store.durable_seq(session)).expect("few");
        for (seq, made) in (durable as u64 + 1..).zip(&tree.records[durable..]) {
            store.append(session, seq, &made.bytes, at(1_000_050)).expect("a record of the cut run");
        }
        let newest = store.newest(&source.id);
        let (seq, head) = newest.map_or((0, Id::ZERO), |newest| (newest.seq, newest.head));
        let snapshot = source.snapshot(seq + 1, head, &tree.root, &tree.info);
        let commit = store.commit(session, &snapshot.bytes, at(1_000_050)).expect("a commit");
        assert!(matches!(commit, Commit::Committed { .. }), "{commit:?}");
        check_records(store, &source, &tree.records);
    }
    let (tree, _) = crate::support::backup(store, &mut source, 3, 1_000_100);
    check_records(store, &source, &tree.records);
    let report = verify(store);
    assert!(report.is_clean(), "{report:?}");
}

fn number(name: &str) -> Option<Vec<u64>> {
    let text = std::env::var(name).ok()?;
    Some(text.split(',').map(|part| part.trim().parse().expect("a number")).collect())
}

/// A recorded workload of at least so many boundaries.
fn recorded(seed: u64, boundaries: usize) -> (Vec<TestSource>, Vec<Boundary>) {
    let mut workload = Workload::new(seed);
    while workload.boundaries() < boundaries {
        workload.step();
    }
    let recorded = std::mem::take(&mut workload.recorder.lock().expect("no panic while recording").boundaries);
    let promises = &recorded.last().expect("some boundaries").promises;
    let commits: usize = promises.iter().map(|promise| promise.commits.len()).sum();
    assert!(commits >= 5, "only {commits} commits were recorded");
    (workload.sources, recorded)
}

#[test]
fn every_boundary_survives_a_power_cut() {
    let seeds = number("ADIT_CRASH_SEED").unwrap_or_else(|| vec![1, 2, 3, 4]);
    let only = number("ADIT_CRASH_AT");
    let workloads: Vec<_> = seeds.iter().map(|seed| (*seed, recorded(*seed, BOUNDARIES_MIN / 4 + 1))).collect();
    let boundaries: usize = workloads.iter().map(|(_, (_, boundaries))| boundaries.len()).sum();
    assert!(boundaries >= BOUNDARIES_MIN / 4 * seeds.len(), "only {boundaries} boundaries were recorded");
    let cuts = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for thread in 0..2 {
            let (workloads, only, cuts) = (&workloads, &only, &cuts);
            scope.spawn(move || {
                for (seed, (sources, boundaries)) in workloads {
                    for (place, boundary) in boundaries.iter().enumerate().skip(thread).step_by(2) {
                        for subset in 0..SUBSETS {
                            if only.as_ref().is_none_or(|only| *only == [place as u64, subset]) {
                                let case = seed << 40 | (place as u64) << 8 | subset;
                                let checked = std::panic::catch_unwind(|| check(sources, boundary, case));
                                let again = format!("ADIT_CRASH_SEED={seed} ADIT_CRASH_AT={place},{subset}");
                                assert!(checked.is_ok(), "fails with {again}");
                                cuts.fetch_add(1, Ordering::Relaxed);
                            }
                        }
                    }
                }
            });
        }
    });
    let cuts = cuts.into_inner();
    assert!(cuts == boundaries as u64 * SUBSETS || only.is_some(), "{cuts} cuts were checked");
}
