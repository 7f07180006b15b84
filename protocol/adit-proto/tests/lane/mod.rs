// SPDX-License-Identifier: Apache-2.0 OR MIT
//! One source, its connection and its part of a box, as a simulation: processes that die, a store that forgets what was
//! not synced, a wire with latency and bandwidth.

use adit_proto::backup::{
    BoxAction, BoxSession, CreditPool, Greeted, History, Outgoing, REC, Rec, Resume, SourceEvent, SourceSession,
    SourceStart, Waits,
};
use adit_wire::backup::{Newest, Pending};
use adit_wire::frame::Kind;
use adit_wire::ids::{Id, KeyId, SourceId, StoreId};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// SplitMix64.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x2545_f491_4f6c_dd1d) ^ 0x9e37_79b9_7f4a_7c15)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).expect("below a usize")
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    Cut,
    SourceDies,
    BoxDies,
}

/// What the box's disk holds of one source.
#[derive(Default)]
struct Store {
    sessions: Vec<Session>,
    lost: BTreeSet<usize>,
    newest: Option<(u64, Id)>,
    committed: bool,
    losses_left: usize,
}

struct Session {
    key: KeyId,
    /// Number of the run's records that were durable at its OPEN.
    base: u64,
    records: Vec<usize>,
    durable: usize,
}

impl Store {
    fn present(&self) -> BTreeSet<usize> {
        let all = self.sessions.iter().flat_map(|session| session.records.iter().copied());
        all.filter(|item| !self.lost.contains(item)).collect()
    }

    fn pending(&self) -> Option<Pending> {
        let session = self.sessions.last().filter(|_| !self.committed)?;
        Some(Pending {
            key_id: session.key,
            durable_seq: session.base + session.durable as u64,
            received_seq: session.base + session.records.len() as u64,
        })
    }

    fn open(&mut self, key: KeyId, resume_of: Option<KeyId>) {
        assert!(self.sessions.iter().all(|session| session.key != key), "key id {key:?} was used before");
        let before = self.sessions.last().map(|session| session.key);
        assert!(resume_of.is_none() || resume_of == before, "resumes what is not pending");
        let base = resume_of.and_then(|_| self.pending()).map_or(0, |pending| pending.durable_seq);
        self.sessions.push(Session { key, base, records: Vec::new(), durable: 0 });
        self.committed = false;
    }

    /// Answers whether the record was here before.
    fn append(&mut self, seq: u64, record: &[u8]) -> bool {
        let key = KeyId::from_slice(&record[..16]).expect("a key id");
        let item = usize::try_from(u64::from_le_bytes(record[16..24].try_into().expect("eight bytes"))).expect("small");
        assert!(self.sessions.iter().any(|session| session.key == key), "record {item} came before its key record");
        let repeat = self.present().contains(&item);
        let session = self.sessions.last_mut().expect("an open session");
        assert_eq!(seq, session.base + session.records.len() as u64 + 1, "records of a run come in order");
        session.records.push(item);
        self.lost.remove(&item);
        repeat
    }

    fn sync(&mut self) -> u64 {
        for session in &mut self.sessions {
            session.durable = session.records.len();
        }
        self.sessions.last().map_or(0, |session| session.base + session.durable as u64)
    }

    /// Power is cut: of what was not synced, some beginning survives.
    fn crash(&mut self, random: &mut Random) {
        for session in &mut self.sessions {
            let keep = session.durable + random.below(session.records.len() - session.durable + 1);
            session.records.truncate(keep);
            session.durable = keep;
        }
    }

    fn commit(&mut self, record: &[u8], items: usize, random: &mut Random) -> Result<(), Vec<usize>> {
        if self.losses_left > 0 && items > 0 && random.below(3) == 0 {
            self.losses_left -= 1;
            self.lost.insert(random.below(items));
        }
        let present = self.present();
        let missing: Vec<usize> = (0..items).filter(|item| !present.contains(item)).collect();
        if !missing.is_empty() {
            return Err(missing);
        }
        self.sync();
        let seq = self.newest.map_or(0, |(seq, _)| seq) + 1;
        self.newest = Some((seq, head_of(record)));
        self.committed = true;
        Ok(())
    }
}

fn head_of(record: &[u8]) -> Id {
    Id(*blake3::hash(record).as_bytes())
}

fn id_of(item: usize) -> Id {
    let mut id = Id::ZERO;
    id.0[..8].copy_from_slice(&(item as u64).to_le_bytes());
    id
}

fn item_of(id: Id) -> usize {
    usize::try_from(u64::from_le_bytes(id.0[..8].try_into().expect("eight bytes"))).expect("small")
}

/// What a source's disk holds of a running backup.
#[derive(Default)]
struct Journal {
    /// Durable on the box, by what earlier processes learned.
    adopted: BTreeSet<usize>,
    /// Items by their numbers in the run.
    numbers: BTreeMap<u64, usize>,
    /// Keys of this run's sessions.
    sessions: BTreeSet<KeyId>,
    /// Head of the snapshot that COMMIT was sent for.
    commit_head: Option<Id>,
}

#[derive(Debug, PartialEq, Eq)]
enum Doing {
    Dialling(u64),
    Waiting,
    Sending,
    Done,
}

struct Packet {
    at_us: u64,
    kind: Kind,
    body: Vec<u8>,
}

pub(crate) struct Lane {
    source: SourceId,
    sizes: Vec<usize>,
    store: Store,
    journal: Journal,
    session: SourceSession,
    todo: VecDeque<usize>,
    doing: Doing,
    key: KeyId,
    keys_made: u64,
    receiver: Option<BoxSession>,
    unappended: VecDeque<(u64, u64, Vec<u8>)>,
    up: VecDeque<Packet>,
    down: VecDeque<Packet>,
    up_free_us: u64,
    latency_us: u64,
    bytes_per_ms: u64,
    box_lag_ms: u64,
    sync_ms: u64,
    /// The box's only writer waits for its disk until then.
    syncing_until_ms: Option<u64>,
    resent_before: u64,
    pub(crate) resent_total: u64,
}

impl Lane {
    pub(crate) fn new(index: usize, random: &mut Random) -> Self {
        let sizes = (0..random.below(260))
            .map(|_| match random.below(20) {
                0 => 24 + random.below((2 << 20) - 23),
                1..=5 => 24 + random.below(4_000),
                _ => 50_000 + random.below(250_000),
            })
            .collect();
        let mut lane = Self::quiet(0, 0);
        lane.sizes = sizes;
        lane.source.0[0] = u8::try_from(index).expect("few lanes");
        lane.latency_us = [200, 10_000, 100_000, 400_000][random.below(4)];
        lane.bytes_per_ms = [1_250, 6_250, 100_000][random.below(3)];
        lane.box_lag_ms = [0, 0, 3, 40][random.below(4)];
        lane.sync_ms = [0, 5, 60, 700][random.below(4)];
        lane.store.losses_left = random.below(3);
        lane.restart(false);
        lane
    }

    /// A lane on which nothing goes wrong, with `items` records of one size.
    pub(crate) fn quiet(items: usize, size: usize) -> Self {
        let mut lane = Self {
            source: SourceId([0x50; 16]),
            sizes: vec![size; items],
            store: Store::default(),
            journal: Journal::default(),
            session: SourceSession::new(SourceStart {
                source: SourceId([0x50; 16]),
                epoch: 1,
                newest_seq: 0,
                newest_head: Id::ZERO,
            }),
            todo: VecDeque::new(),
            doing: Doing::Dialling(0),
            key: KeyId::ZERO,
            keys_made: 0,
            receiver: None,
            unappended: VecDeque::new(),
            up: VecDeque::new(),
            down: VecDeque::new(),
            up_free_us: 0,
            latency_us: 50_000,
            bytes_per_ms: 6_250,
            box_lag_ms: 0,
            sync_ms: 0,
            syncing_until_ms: None,
            resent_before: 0,
            resent_total: 0,
        };
        lane.restart(false);
        lane
    }

    pub(crate) fn step(&mut self, now_ms: u64, pool: &CreditPool, random: &mut Random) {
        if self.doing == Doing::Done && self.receiver.is_none() {
            return;
        }
        if matches!(self.doing, Doing::Dialling(at_ms) if at_ms <= now_ms) {
            self.dial(now_ms, pool);
        }
        self.box_turn(now_ms, random);
        self.source_turn(now_ms);
        assert!(self.session.kept_bytes() <= 16 << 20);
        if self.doing == Doing::Done && self.up.is_empty() {
            self.receiver = None;
        }
    }

    pub(crate) fn fault(&mut self, fault: Fault, now_ms: u64, random: &mut Random) {
        if fault == Fault::BoxDies {
            self.store.crash(random);
        }
        // What was under way is gone; some of it had arrived.
        let arrive = random.below(self.up.len() + 1);
        if fault != Fault::BoxDies {
            self.up.truncate(arrive);
            self.up.iter_mut().for_each(|packet| packet.at_us = now_ms * 1_000);
            self.box_turn(now_ms, random);
        }
        self.up.clear();
        self.down.clear();
        self.unappended.clear();
        self.syncing_until_ms = None;
        self.receiver = None;
        if self.doing == Doing::Done {
            return;
        }
        self.doing = Doing::Dialling(now_ms + 1 + random.below(500) as u64);
        self.resent_total += self.resent_once();
        if fault == Fault::SourceDies {
            self.restart(true);
            if random.below(5) == 0 {
                self.journal = Journal::default();
            }
        } else {
            self.session.reconnect();
        }
        self.resent_before = self.session.resent_bytes();
    }

    /// A new process of the source: only the journal is left of the old one.
    fn restart(&mut self, keep_journal: bool) {
        if !keep_journal {
            self.journal = Journal::default();
        }
        let start = SourceStart { source: self.source, epoch: 1, newest_seq: 0, newest_head: Id::ZERO };
        self.session = SourceSession::new(start);
        self.todo = VecDeque::new();
        self.key = KeyId::ZERO;
        self.resent_before = 0;
    }

    fn dial(&mut self, now_ms: u64, pool: &CreditPool) {
        match BoxSession::new(self.source, pool) {
            Ok(receiver) => self.receiver = Some(receiver),
            Err(_) => {
                self.doing = Doing::Dialling(now_ms + 1_000);
                return;
            }
        }
        self.doing = Doing::Waiting;
        let hello = self.session.hello().expect("a new connection");
        self.send_up(now_ms, hello.kind, hello.body);
    }

    fn send_up(&mut self, now_ms: u64, kind: Kind, body: Vec<u8>) {
        let took_us = (body.len() as u64 + 12) * 1_000 / self.bytes_per_ms;
        self.up_free_us = self.up_free_us.max(now_ms * 1_000) + took_us;
        self.up.push_back(Packet { at_us: self.up_free_us + self.latency_us, kind, body });
    }

    fn send_rec(&mut self, now_ms: u64, rec: &Rec) {
        let item = rec.record[16..24].try_into().expect("eight bytes");
        self.journal.numbers.insert(rec.seq, usize::try_from(u64::from_le_bytes(item)).expect("small"));
        let body = [&rec.prefix()[..], &rec.record].concat();
        self.send_up(now_ms, REC, body);
    }

    fn box_turn(&mut self, now_ms: u64, random: &mut Random) {
        while self.up.front().is_some_and(|packet| packet.at_us <= now_ms * 1_000) {
            let packet = self.up.pop_front().expect("one is there");
            self.on_box_frame(now_ms, &packet, random);
        }
        let Some(receiver) = &mut self.receiver else {
            return;
        };
        match self.syncing_until_ms {
            Some(until_ms) if until_ms <= now_ms => {
                self.syncing_until_ms = None;
                receiver.synced(now_ms, self.store.sync());
            }
            Some(_) => return,
            None => {}
        }
        while self.unappended.front().is_some_and(|(at_ms, ..)| *at_ms <= now_ms) {
            let (_, seq, record) = self.unappended.pop_front().expect("one is there");
            let repeat = self.store.append(seq, &record);
            receiver.appended(seq, repeat);
        }
        if receiver.sync_due(now_ms) {
            self.syncing_until_ms = Some(now_ms + self.sync_ms);
        }
        for Outgoing { kind, body, .. } in receiver.poll(now_ms) {
            self.down.push_back(Packet { at_us: now_ms * 1_000 + self.latency_us, kind, body });
        }
    }

    fn on_box_frame(&mut self, now_ms: u64, packet: &Packet, random: &mut Random) {
        let Some(receiver) = &mut self.receiver else {
            return;
        };
        let action = receiver.on_frame(now_ms, packet.kind, &packet.body).expect("an honest source is not refused");
        match action.expect("an open conversation") {
            BoxAction::Hello(_) => {
                if random.below(2) == 0 {
                    self.store.sync();
                }
                let newest = self.store.newest.map(|(seq, head)| Newest { seq, head, body: &[], received_s: 0 });
                let greeted = Greeted {
                    store: StoreId([1; 16]),
                    newest,
                    pending: self.store.pending(),
                    server_time_s: 0,
                    used_bytes: 0,
                    quota_bytes: 0,
                    wanted: &[],
                };
                receiver.welcome(&greeted).expect("a sound answer");
            }
            BoxAction::Open { key_record, resume_of } => {
                self.store.open(KeyId::from_slice(key_record).expect("a key id"), resume_of);
            }
            BoxAction::Append { seq, record } => {
                self.unappended.push_back((now_ms + self.box_lag_ms, seq, record.to_vec()));
            }
            BoxAction::Have(ids) => {
                let present = self.store.present();
                let flags: Vec<bool> = ids.iter().map(|id| present.contains(&item_of(*id))).collect();
                receiver.having(&flags);
            }
            BoxAction::Commit { record } => {
                while let Some((_, seq, record)) = self.unappended.pop_front() {
                    let repeat = self.store.append(seq, &record);
                    receiver.appended(seq, repeat);
                }
                match self.store.commit(record, self.sizes.len(), random) {
                    Ok(()) => receiver.committed(&[7; 100]),
                    Err(missing) => {
                        let ids: Vec<Id> = missing.into_iter().map(id_of).collect();
                        receiver.missing(&ids, false);
                    }
                }
            }
        }
    }

    fn source_turn(&mut self, now_ms: u64) {
        while self.down.front().is_some_and(|packet| packet.at_us <= now_ms * 1_000) {
            let packet = self.down.pop_front().expect("one is there");
            let event = self.session.on_frame(packet.kind, &packet.body).expect("an honest box");
            self.on_event(now_ms, event.expect("every frame means something"));
        }
        // The socket takes 1 MiB, then it is full.
        let backlog_us = (1 << 20) * 1_000 / self.bytes_per_ms;
        while self.doing == Doing::Sending && self.up_free_us < now_ms * 1_000 + backlog_us {
            if let Some(rec) = self.session.next_resend() {
                self.send_rec(now_ms, &rec);
                continue;
            }
            if self.session.is_resending() {
                break;
            }
            let Some(item) = self.todo.front().copied() else {
                let snapshot = [&self.keys_made.to_le_bytes()[..], &self.source.0].concat();
                self.journal.commit_head = Some(head_of(&snapshot));
                let commit = self.session.commit(&snapshot).expect("everything was sent");
                self.send_up(now_ms, commit.kind, commit.body);
                self.doing = Doing::Waiting;
                break;
            };
            let size = self.sizes[item].max(24);
            if !self.session.may_send(size) {
                break;
            }
            self.todo.pop_front();
            let mut record = vec![0u8; size];
            record[..16].copy_from_slice(&self.key.0);
            record[16..24].copy_from_slice(&(item as u64).to_le_bytes());
            let rec = self.session.take_record(record).expect("it may");
            self.send_rec(now_ms, &rec);
        }
    }

    fn on_event(&mut self, now_ms: u64, event: SourceEvent) {
        match event {
            SourceEvent::Welcomed(info) => {
                let done =
                    self.journal.commit_head.is_some_and(|head| info.newest.as_ref().is_some_and(|n| n.head == head));
                if done {
                    assert_eq!(info.history(0, &Id::ZERO), History::BoxAhead);
                    self.doing = Doing::Done;
                    return;
                }
                self.open(now_ms, info.pending);
            }
            SourceEvent::Acked { received_seq, durable_seq, .. } => assert!(durable_seq <= received_seq),
            SourceEvent::Having(_) => {}
            SourceEvent::Missing { ids, more } => {
                assert!(!more);
                self.todo.extend(ids.into_iter().map(item_of));
                self.doing = Doing::Sending;
            }
            SourceEvent::Committed(receipt) => {
                assert_eq!(receipt, [7; 100]);
                self.doing = Doing::Done;
            }
            SourceEvent::Refused { code, .. } => panic!("refused with {code}"),
        }
    }

    fn open(&mut self, now_ms: u64, pending: Option<Pending>) {
        let running = !self.key.is_zero();
        let resume_of = if running {
            match self.session.resume().expect("the run can go on") {
                Resume::Adopt(key) => Some(key),
                Resume::Again => {
                    let open = self.session.reopen().expect("its turn");
                    self.journal.numbers.retain(|seq, _| *seq <= self.session.durable_seq());
                    self.send_up(now_ms, open.kind, open.body);
                    self.doing = Doing::Sending;
                    return;
                }
            }
        } else {
            self.adopt(pending)
        };
        self.keys_made += 1;
        self.key.0[..8].copy_from_slice(&self.keys_made.to_le_bytes());
        let open = self.session.open(self.key, self.key.0.to_vec(), resume_of).expect("its turn");
        self.journal.sessions.insert(self.key);
        self.journal.numbers.retain(|seq, _| *seq <= self.session.durable_seq());
        self.send_up(now_ms, open.kind, open.body);
        self.doing = Doing::Sending;
    }

    /// A new process looks up in the journal what of the old run is durable.
    fn adopt(&mut self, pending: Option<Pending>) -> Option<KeyId> {
        let known = pending.filter(|pending| self.journal.sessions.contains(&pending.key_id));
        let mut adopted = BTreeSet::new();
        if let Some(pending) = known {
            adopted = std::mem::take(&mut self.journal.adopted);
            adopted.extend(self.journal.numbers.range(..=pending.durable_seq).map(|(_, item)| *item));
        }
        self.todo = (0..self.sizes.len()).filter(|item| !adopted.contains(item)).collect();
        let commit_head = self.journal.commit_head;
        let sessions = known.map(|pending| pending.key_id).into_iter().collect();
        self.journal = Journal { adopted, commit_head, sessions, ..Journal::default() };
        known.map(|pending| pending.key_id)
    }

    pub(crate) fn is_done(&self) -> bool {
        self.doing == Doing::Done && self.receiver.is_none()
    }

    /// Bytes that were sent twice since the last time that the connection was lost.
    pub(crate) fn resent_once(&self) -> u64 {
        self.session.resent_bytes().saturating_sub(self.resent_before)
    }

    pub(crate) fn kept_bytes(&self) -> u64 {
        self.session.kept_bytes()
    }

    pub(crate) fn waits(&self) -> Waits {
        self.session.waits()
    }

    pub(crate) fn credit_bytes(&self) -> u32 {
        self.receiver.as_ref().map_or(0, BoxSession::credit_bytes)
    }

    pub(crate) fn unappended_bytes(&self) -> u64 {
        self.receiver.as_ref().map_or(0, BoxSession::unappended_bytes)
    }

    pub(crate) fn describe(&self) -> String {
        format!("{:?}, {} left, {:?}, {:?}", self.doing, self.todo.len(), self.session, self.receiver)
    }

    /// Everything is durable on the box.
    pub(crate) fn check_end(&self, seed: u64) {
        assert!(self.store.committed, "seed {seed}: no commit");
        let present = self.store.present();
        assert!((0..self.sizes.len()).all(|item| present.contains(&item)), "seed {seed}: a record is lost");
    }
}
