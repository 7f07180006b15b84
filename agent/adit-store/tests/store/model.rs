// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Random histories against a model that is nothing but maps: what was taken first stays, what was committed is listed,
//! what was durable survives.

use crate::support::{Made, SMALL, TestSource, at, created, open, record, verify};
use adit_store::{AppendError, Appended, Commit, SessionId, SimDisk, Store};
use adit_wire::ids::Id;
use adit_wire::record::Record;
use proptest::prelude::{Strategy, prop_oneof};
use proptest::{prop_assert, prop_assert_eq, proptest};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Clone, Copy, Debug)]
enum Op {
    Data { bytes: usize },
    Repeat { pick: usize },
    Node { picks: [usize; 3] },
    Orphan,
    Sync,
    Commit,
    Reopen { clean: bool },
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => (1usize..3_000).prop_map(|bytes| Op::Data { bytes }),
        2 => (0usize..1_000).prop_map(|pick| Op::Repeat { pick }),
        4 => (0usize..1_000, 0usize..1_000, 0usize..1_000).prop_map(|(a, b, c)| Op::Node { picks: [a, b, c] }),
        1 => proptest::prelude::Just(Op::Orphan),
        2 => proptest::prelude::Just(Op::Sync),
        2 => proptest::prelude::Just(Op::Commit),
        1 => (0u8..2).prop_map(|clean| Op::Reopen { clean: clean == 0 }),
    ]
}

struct Run {
    disk: SimDisk,
    store: Option<Store>,
    source: TestSource,
    session: SessionId,
    seq: u64,
    made: Vec<Made>,
    stored: BTreeMap<Id, Vec<u8>>,
    heads: Vec<Id>,
    seconds: u64,
}

impl Run {
    fn new(seed: u64) -> Self {
        let disk = created(SMALL);
        let mut store = open(&disk);
        let source = TestSource::new(seed);
        store.put_source(source.source(), at(0)).expect("a source");
        let mut run = Self {
            disk,
            store: Some(store),
            source,
            session: SessionId(0),
            seq: 0,
            made: Vec::new(),
            stored: BTreeMap::new(),
            heads: Vec::new(),
            seconds: 0,
        };
        run.open_session();
        run
    }

    fn store(&mut self) -> &mut Store {
        self.store.as_mut().expect("the store is open")
    }

    fn open_session(&mut self) {
        let key = self.source.new_key();
        let (id, seconds) = (self.source.id, self.seconds);
        self.session = self.store().open_session(&id, &key, None, at(seconds)).expect("a session");
        self.seq = 0;
    }

    fn append(&mut self, made: &Made) -> Result<Appended, AppendError> {
        let (session, seq, seconds) = (self.session, self.seq + 1, self.seconds);
        let appended = self.store().append(session, seq, &made.bytes, at(seconds));
        if appended.is_ok() {
            self.seq += 1;
        }
        appended
    }

    fn step(&mut self, op: Op) -> Result<(), proptest::test_runner::TestCaseError> {
        self.seconds += 1_000;
        match op {
            Op::Data { bytes } => {
                let made = self.source.data(bytes);
                prop_assert_eq!(self.append(&made).expect("new data"), Appended::Stored);
                self.keep(made);
            }
            Op::Repeat { pick } => self.repeat(pick)?,
            Op::Node { picks } => {
                let made = self.node(&picks);
                prop_assert_eq!(self.append(&made).expect("a node"), Appended::Stored);
                self.keep(made);
            }
            Op::Orphan => {
                let made = self.source.node(&[], &[Id([0xEE; 32])]);
                prop_assert!(matches!(self.append(&made), Err(AppendError::ChildMissing(_))));
            }
            Op::Sync => {
                let (session, seconds) = (self.session, self.seconds);
                self.store().sync(at(seconds)).expect("a sync");
                prop_assert_eq!(self.store().durable_seq(session), self.seq);
            }
            Op::Commit => self.commit()?,
            Op::Reopen { clean } => self.reopen(clean)?,
        }
        Ok(())
    }

    fn keep(&mut self, made: Made) {
        self.stored.insert(made.id, made.bytes.clone());
        self.made.push(made);
    }

    /// Other bytes under an id that is here.
    fn repeat(&mut self, pick: usize) -> Result<(), proptest::test_runner::TestCaseError> {
        let data: Vec<Id> = self.made.iter().filter(|made| made.height == 0).map(|made| made.id).collect();
        if data.is_empty() {
            return Ok(());
        }
        let other = self.source.data(70);
        let parsed = Record::parse(&other.bytes).expect("a record");
        let id = data[pick % data.len()];
        let header = adit_wire::record::Header { id, ..parsed.header };
        let bytes = record(&header, &[], parsed.body);
        let repeated = self.append(&Made { id, height: 0, bytes });
        prop_assert_eq!(repeated.expect("a repeat"), Appended::Repeat);
        Ok(())
    }

    fn node(&mut self, picks: &[usize]) -> Made {
        let mut nodes: Vec<Made> = Vec::new();
        let mut data: BTreeSet<Id> = BTreeSet::new();
        for pick in picks {
            match self.made.get(pick % self.made.len().max(1)) {
                Some(made) if made.height == 0 => {
                    data.insert(made.id);
                }
                Some(made) if made.height < 12 => nodes.push(made.clone()),
                Some(_) | None => {}
            }
        }
        let data: Vec<Id> = data.into_iter().collect();
        self.source.node(&nodes.iter().collect::<Vec<_>>(), &data)
    }

    fn commit(&mut self) -> Result<(), proptest::test_runner::TestCaseError> {
        let info = self.source.data(20);
        self.append(&info).expect("new data");
        self.keep(info.clone());
        let root = match self.made.iter().rev().find(|made| made.height > 0).cloned() {
            Some(root) => root,
            None => {
                let root = self.source.node(&[], &[]);
                self.append(&root).expect("a node");
                self.keep(root.clone());
                root
            }
        };
        let prev = self.heads.last().copied().unwrap_or(Id::ZERO);
        let snapshot = self.source.snapshot(self.heads.len() as u64 + 1, prev, &root, &info.id);
        let (session, seconds) = (self.session, self.seconds);
        let commit = self.store().commit(session, &snapshot.bytes, at(seconds)).expect("a commit");
        let committed = matches!(commit, Commit::Committed { head, .. } if head == snapshot.id);
        prop_assert!(committed, "{:?}", commit);
        self.heads.push(snapshot.id);
        self.open_session();
        Ok(())
    }

    fn reopen(&mut self, clean: bool) -> Result<(), proptest::test_runner::TestCaseError> {
        let mut store = self.store.take().expect("the store is open");
        if clean {
            store.close(at(self.seconds)).expect("a clean end");
        } else {
            store.sync(at(self.seconds)).expect("a sync");
            drop(store);
        }
        self.disk.unlock();
        self.store = Some(open(&self.disk));
        let id = self.source.id;
        let pending = self.store().pending(&id).expect("the open session is pending");
        prop_assert_eq!((pending.key_id, pending.durable_seq), (self.source.key_id, self.seq));
        self.open_session();
        Ok(())
    }

    fn check(&mut self) -> Result<(), proptest::test_runner::TestCaseError> {
        let (id, stored, heads) = (self.source.id, self.stored.clone(), self.heads.clone());
        let store = self.store();
        for (record, bytes) in &stored {
            prop_assert_eq!(store.read_record(&id, record).expect("healthy"), Some(bytes.clone()));
        }
        let listed: Vec<Id> = store.snapshots(&id).iter().map(|snapshot| snapshot.head).collect();
        prop_assert_eq!(listed, heads);
        prop_assert!(store.snapshots(&id).iter().all(|snapshot| snapshot.complete));
        let report = verify(store);
        prop_assert!(report.is_clean(), "{:?}", report);
        Ok(())
    }
}

proptest! {
    #![proptest_config(proptest::test_runner::Config { cases: 40, failure_persistence: None, ..Default::default() })]
    #[test]
    fn random_histories_match_the_model(seed in 0u64..1_000, ops in proptest::collection::vec(op(), 1..120)) {
        let mut run = Run::new(seed);
        for op in ops {
            run.step(op)?;
        }
        run.check()?;
        run.reopen(false)?;
        run.check()?;
    }
}
