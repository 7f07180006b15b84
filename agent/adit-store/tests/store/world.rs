// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A box, a few sources, and a model that knows nothing but which record references which: what unreleased snapshots
//! reach must be there, byte for byte; the rest must go in the end.

use crate::support::{Made, Rng, TINY, TestSource, at, created, open, verify};
use adit_store::retention::{DAY_S, Policy};
use adit_store::{Access, AppendError, CollectStep, Collection, Commit, Moment, SessionId, SimDisk, Store};
use adit_wire::ids::Id;
use adit_wire::record::Record;
use std::collections::{BTreeMap, BTreeSet};

const SOURCES: usize = 2;

/// Keeps a day, then one a month, two at least.
const POLICY: Policy =
    Policy { keep_all_d: 1, hourly_d: 0, daily_d: 0, weekly_d: 0, monthly_d: 60, yearly_d: 0, minimum: 2, zone_min: 0 };

/// A snapshot that was promised.
#[derive(Clone, Debug)]
pub(crate) struct Promised {
    pub(crate) seq: u64,
    pub(crate) head: Id,
    pub(crate) root: Id,
    pub(crate) info: Id,
}

/// One source and everything it ever sent.
#[derive(Clone, Debug)]
pub(crate) struct Sender {
    pub(crate) source: TestSource,
    pub(crate) sent: BTreeMap<Id, Made>,
    pub(crate) promised: Vec<Promised>,
}

impl Sender {
    /// What a snapshot needs, by the records' own words.
    pub(crate) fn reach(&self, promised: &Promised) -> BTreeSet<Id> {
        let mut reached = BTreeSet::new();
        let mut waiting = vec![promised.root, promised.info];
        while let Some(id) = waiting.pop() {
            if reached.insert(id) {
                let record = Record::parse(&self.sent[&id].bytes).expect("a record that was sent");
                waiting.extend(record.node_refs.iter().chain(record.data_refs.iter()));
            }
        }
        reached
    }
}

/// A run that has not ended.
#[derive(Debug)]
struct Run {
    session: SessionId,
    records: Vec<Made>,
    sent: u64,
    root: Made,
    info: Id,
}

pub(crate) struct World {
    pub(crate) rng: Rng,
    pub(crate) disk: SimDisk,
    pub(crate) store: Option<Store>,
    pub(crate) senders: Vec<Sender>,
    runs: BTreeMap<usize, Run>,
    collection: Option<Collection>,
    pub(crate) now_s: u64,
    pub(crate) dropped: u64,
    pub(crate) rewritten: u64,
    pub(crate) swept: u64,
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        let disk = created(TINY);
        let mut store = open(&disk);
        let senders: Vec<Sender> = (0..SOURCES as u64)
            .map(|place| Sender {
                source: TestSource::new(seed * 10 + place),
                sent: BTreeMap::new(),
                promised: Vec::new(),
            })
            .collect();
        for sender in &senders {
            store.put_source(sender.source.source(), at(0)).expect("a source");
            store.set_policy(Some(&sender.source.id), POLICY, at(0)).expect("a policy");
            store.retain(&sender.source.id, false, at(8 * DAY_S)).expect("the policy's time has come");
        }
        let (store, runs) = (Some(store), BTreeMap::new());
        let now_s = 8 * DAY_S;
        let (dropped, rewritten, swept) = (0, 0, 0);
        Self { rng: Rng(seed), disk, store, senders, runs, collection: None, now_s, dropped, rewritten, swept }
    }

    pub(crate) fn now(&self) -> Moment {
        at(self.now_s)
    }

    pub(crate) fn store(&mut self) -> &mut Store {
        self.store.as_mut().expect("the store is open")
    }

    fn pick(&mut self, bound: usize) -> usize {
        usize::try_from(self.rng.below(bound as u64)).expect("few")
    }

    /// One random step; cuts and restarts too.
    pub(crate) fn step(&mut self) {
        self.now_s += self.rng.below(DAY_S / 2) + 1;
        match self.rng.below(20) {
            0 => self.restart(true),
            1 => self.restart(false),
            2 => self.cut(),
            3..=5 => self.retain(),
            6..=11 => self.collect_some(),
            _ => self.backup_some(),
        }
    }

    /// Goes on with a run, or begins one.
    pub(crate) fn backup_some(&mut self) {
        let source = self.pick(SOURCES);
        if !self.runs.contains_key(&source) {
            self.begin(source);
        }
        if self.rng.below(4) > 0 {
            self.finish(source);
        }
    }

    /// Old data: of the newest snapshot mostly, sometimes of any that was ever there, be it gone or not.
    fn old_ids(&mut self, source: usize) -> Vec<Id> {
        let any = self.rng.below(4) == 0;
        let sender = &self.senders[source];
        let data = |id: &&Id| sender.sent[*id].height == 0;
        match sender.promised.last() {
            Some(newest) if !any => sender.reach(newest).iter().filter(data).copied().collect(),
            Some(_) => sender.sent.keys().filter(data).copied().collect(),
            None => Vec::new(),
        }
    }

    fn begin(&mut self, source: usize) {
        let old = self.old_ids(source);
        let chunks = self.pick(6) + 1;
        let now = self.now();
        let sender = &mut self.senders[source];
        let key = sender.source.new_key();
        let tree = sender.source.tree(chunks, 4_000, &old);
        let id = sender.source.id;
        let session = self.store().open_session(&id, &key, None, now).expect("a session");
        let (records, root, info) = (tree.records, tree.root, tree.info);
        let mut run = Run { session, records, sent: 0, root, info };
        let some = self.pick(run.records.len());
        for made in run.records.drain(..some).collect::<Vec<_>>() {
            self.send(source, &mut run, &made);
        }
        if self.rng.below(2) == 0 {
            self.store().sync(now).expect("a flush");
        }
        self.runs.insert(source, run);
    }

    /// Sends a record as a real source does: what it references and is gone comes first.
    fn send(&mut self, source: usize, run: &mut Run, made: &Made) {
        let now = self.now();
        self.senders[source].sent.entry(made.id).or_insert_with(|| made.clone());
        loop {
            let sealed = self.sealed(source, made);
            match self.store().append(run.session, run.sent + 1, &sealed, now) {
                Ok(_) => break run.sent += 1,
                Err(AppendError::ChildMissing(id)) => self.send_again(source, run, &id),
                Err(error) => panic!("{error:?}"),
            }
        }
    }

    fn send_again(&mut self, source: usize, run: &mut Run, id: &Id) {
        let made = self.senders[source].sent[id].clone();
        self.send(source, run, &made);
    }

    /// A record under this run's key; counters rise in the order of sending.
    fn sealed(&mut self, source: usize, made: &Made) -> Vec<u8> {
        let sender = &mut self.senders[source];
        let parsed = Record::parse(&made.bytes).expect("a record that was made");
        sender.source.counter += 1;
        let (counter, key_id) = (sender.source.counter, sender.source.key_id);
        let header = adit_wire::record::Header { counter, key_id, ..parsed.header };
        let refs: Vec<Id> = parsed.node_refs.iter().chain(parsed.data_refs.iter()).collect();
        crate::support::record(&header, &refs, parsed.body)
    }

    fn finish(&mut self, source: usize) {
        let Some(mut run) = self.runs.remove(&source) else { return };
        for made in std::mem::take(&mut run.records) {
            self.send(source, &mut run, &made);
        }
        let now = self.now();
        for _round in 0..20 {
            let sender = &self.senders[source];
            let newest = sender.promised.last();
            let (seq, prev) = newest.map_or((1, Id::ZERO), |newest| (newest.seq + 1, newest.head));
            let snapshot = sender.source.snapshot(seq, prev, &run.root, &run.info);
            match self.store().commit(run.session, &snapshot.bytes, now).expect("an answer") {
                Commit::Committed { .. } => {
                    let promised = Promised { seq, head: snapshot.id, root: run.root.id, info: run.info };
                    self.senders[source].promised.push(promised);
                    return;
                }
                Commit::Missing { ids, .. } => {
                    for id in ids {
                        self.send_again(source, &mut run, &id);
                    }
                }
            }
        }
        panic!("a commit that never ends");
    }

    pub(crate) fn retain(&mut self) {
        let now = self.now();
        for source in 0..SOURCES {
            let id = self.senders[source].source.id;
            self.store().retain(&id, true, now).expect("a run of retention");
            if self.rng.below(8) == 0 {
                self.store().undo_expiry(&id, &[], now).expect("an undo");
            }
        }
    }

    /// A few slices of a collection.
    pub(crate) fn collect_some(&mut self) {
        let slices = self.rng.below(12) + 1;
        for _ in 0..slices {
            if self.collect_slice(1) {
                break;
            }
        }
    }

    /// Answers whether the collection ended.
    fn collect_slice(&mut self, bytes: u64) -> bool {
        let now = self.now();
        let store = self.store.as_mut().expect("the store is open");
        let collection = self.collection.get_or_insert_with(|| store.collection(now));
        let step = collection.step(store, bytes, now).expect("a slice");
        if step == CollectStep::Working {
            return false;
        }
        let report = collection.report();
        assert!(!report.audit_failed, "{report:?}");
        assert_eq!(report.unknown_nodes, 0);
        self.dropped += report.dropped_segments;
        self.rewritten += report.rewritten_segments;
        self.swept += report.dead_records;
        self.collection = None;
        true
    }

    pub(crate) fn collect_all(&mut self) {
        while !self.collect_slice(64 << 10) {}
    }

    pub(crate) fn restart(&mut self, clean: bool) {
        let store = self.store.take().expect("the store is open");
        if clean {
            store.close(self.now()).expect("a clean end");
        } else {
            drop(store);
        }
        self.disk.unlock();
        self.reopen();
    }

    pub(crate) fn cut(&mut self) {
        drop(self.store.take());
        self.disk = SimDisk::power_cut(&self.disk.image(), self.rng.next(), None);
        self.reopen();
    }

    fn reopen(&mut self) {
        self.runs.clear();
        self.collection = None;
        let (store, opening) = Store::open(self.disk.clone(), Access::ReadWrite, self.now()).expect("it opens again");
        assert_eq!(opening.read_only, None);
        self.store = Some(store);
    }

    /// All unreleased snapshots of all sources are there and whole.
    pub(crate) fn check(&mut self) {
        let now = self.now();
        let senders = std::mem::take(&mut self.senders);
        for sender in &senders {
            check_sender(self.store(), sender, now);
        }
        self.senders = senders;
        let report = verify(self.store());
        assert!(report.is_clean(), "{report:?}");
    }

    /// With nothing in the way, everything that no snapshot needs goes, and nothing else.
    pub(crate) fn check_garbage(&mut self) {
        self.runs.clear();
        self.restart(true);
        // Sessions are given up, what expired is released, what that leaves expires, and is released.
        for _ in 0..2 {
            self.now_s += 15 * DAY_S;
            // The machine was off: a monitor tells how late it is.
            let now = self.now();
            self.store().credit_clock(now.wall_s, now);
            for source in 0..SOURCES {
                let id = self.senders[source].source.id;
                self.store().retain(&id, true, now).expect("a run of retention");
            }
        }
        self.collect_all();
        let now = self.now();
        let senders = std::mem::take(&mut self.senders);
        for sender in &senders {
            let id = sender.source.id;
            let rows = self.store().retention_plan(&id, now).expect("a plan");
            let kept: BTreeSet<u64> = rows.iter().map(|row| row.judged.seq).collect();
            let kept = sender.promised.iter().filter(|promised| kept.contains(&promised.seq));
            let needed: BTreeSet<Id> = kept.flat_map(|promised| sender.reach(promised)).collect();
            for record in sender.sent.keys() {
                let there = self.store().read_record(&id, record).expect("healthy").is_some();
                assert_eq!(there, needed.contains(record), "{record}");
            }
        }
        self.senders = senders;
    }
}

/// What one source was promised, by what the store says is not released.
pub(crate) fn check_sender(store: &Store, sender: &Sender, now: Moment) {
    let id = sender.source.id;
    let rows = store.retention_plan(&id, now).expect("a plan");
    let mut seqs = rows.iter().map(|row| row.judged.seq).collect::<BTreeSet<_>>();
    if let Some(newest) = sender.promised.last() {
        assert!(seqs.contains(&newest.seq), "the newest never goes");
    }
    for promised in &sender.promised {
        if !seqs.remove(&promised.seq) {
            continue;
        }
        for record in sender.reach(promised) {
            let bytes = store.read_record(&id, &record).expect("healthy").expect("what a snapshot needs is there");
            let (got, sent) = (Record::parse(&bytes), Record::parse(&sender.sent[&record].bytes));
            // It may have been sent under two keys; what it holds and references is the same.
            let body = |record: &Record<'_>| record.body.to_vec();
            assert_eq!(got.as_ref().map(body), sent.as_ref().map(body));
        }
    }
    assert!(rows.iter().filter(|row| row.expired.is_none()).all(|row| row.complete));
}
