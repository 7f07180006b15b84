// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The box's side of a backup run: order, numbers, credit, rounds; when to acknowledge and when to sync.
//!
//! Order of use: give each frame to `on_frame`, do the action it answers, and say what came of it (`welcome`, `appended`,
//! `having`, `committed`, `missing`, `refuse`). After each, and when `next_deadline_ms` has come: when `sync_due`, sync the
//! store and call `synced`; then send what `poll` gives. It never looks into a record: the store does.

use super::credit::{CreditPool, Share};
use super::{ACK_EVERY_MS, IDLE_MS, Outgoing, SYNC_AT_BYTES, rec_bytes};
use crate::encode;
use adit_wire::backup::{
    ACK_EVERY_BYTES, Ack, Commit, Committed, Have, Having, Hello, METHOD_REC, MISSING_ROUNDS_MAX, Missing, Newest,
    Open, Pending, Period, REC_PREFIX_BYTES, SYNC_EVERY_S, Welcome,
};
use adit_wire::frame::{Kind, Message, MessageError};
use adit_wire::ids::{Id, KeyId, SourceId, StoreId};
use adit_wire::list::Ids;
use adit_wire::record::RECORD_BYTES_MAX;
use adit_wire::refusal::{Code, DETAIL_BYTES_MAX, Refused};
use alloc::collections::VecDeque;
use alloc::vec::Vec;

const SYNC_EVERY_MS: u64 = SYNC_EVERY_S as u64 * 1_000;

/// What the box does about a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BoxAction<'a> {
    /// Look the source up and answer by [`BoxSession::welcome`]; an open session of this source ends now.
    Hello(Hello),
    /// Store the key record and begin, or end by [`BoxSession::refuse`]. Nothing is answered when it worked.
    Open {
        /// The whole key record.
        key_record: &'a [u8],
        /// The session whose records this one adopts.
        resume_of: Option<KeyId>,
    },
    /// Append the record, then call [`BoxSession::appended`].
    Append {
        /// Its number in the run.
        seq: u64,
        /// The whole record, not yet checked.
        record: &'a [u8],
    },
    /// Look the ids up, then call [`BoxSession::having`].
    Have(Vec<Id>),
    /// Commit, then call [`BoxSession::committed`] or [`BoxSession::missing`].
    Commit {
        /// The whole snapshot record, not yet checked.
        record: &'a [u8],
    },
}

/// "No", with its code. The conversation ends with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("refused: {}", code.text())]
pub struct Refusal {
    /// Why.
    pub code: Code,
    /// Seconds after which trying again makes sense; 0 when it does not.
    pub retry_after_s: u32,
    /// What a person should read beside the code's text.
    pub detail: &'static str,
}

impl Refusal {
    const fn protocol(detail: &'static str) -> Self {
        Self { code: Code::Protocol, retry_after_s: 0, detail }
    }

    /// The REFUSED frame in the service of `kind`.
    #[must_use]
    pub fn frame(&self, kind: Kind) -> Outgoing {
        refused(kind.service, self.code, self.retry_after_s, self.detail)
    }
}

impl From<MessageError> for Refusal {
    fn from(_: MessageError) -> Self {
        Self::protocol("malformed message")
    }
}

/// What the box answers to HELLO.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Greeted<'a> {
    /// The store.
    pub store: StoreId,
    /// The source's newest durable snapshot.
    pub newest: Option<Newest<'a>>,
    /// What an unfinished run left here.
    pub pending: Option<Pending>,
    /// The box's clock, seconds since 1970.
    pub server_time_s: u64,
    /// Bytes charged to the source.
    pub used_bytes: u64,
    /// Bytes it may use; 0 = no limit but the disk.
    pub quota_bytes: u64,
    /// Records that are lost here; the first 4,096 are sent.
    pub wanted: &'a [Id],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Start,
    Greeting,
    Welcomed,
    Sending,
    Committing,
    Over,
}

/// A record between its arrival and its sync.
#[derive(Clone, Copy, Debug)]
struct Held {
    seq: u64,
    /// Bytes of the conversation's RECs up to and with this one.
    end: u64,
}

/// The box's side of a run. Invariants: `durable_seq <= appended_seq <= arrived_seq`; bytes behind `appended_end` that the
/// source may have under way never exceed `share`, but for one record when nothing else is under way.
#[derive(Debug)]
pub struct BoxSession {
    source: SourceId,
    phase: Phase,
    share: Share,
    pending: Option<Pending>,
    arrived_seq: u64,
    arrived_end: u64,
    appended_seq: u64,
    appended_end: u64,
    durable_seq: u64,
    synced_end: u64,
    /// Records that are not durable, oldest first.
    held: VecDeque<Held>,
    /// Bytes that the source may have sent in all, by the most generous ACK so far.
    limit_end: u64,
    acked_seq: u64,
    acked_end: u64,
    acked_durable_seq: u64,
    repeats: u32,
    haves: VecDeque<usize>,
    rounds: u8,
    period_s: Option<u32>,
    last_arrival_ms: u64,
    unacked_since_ms: Option<u64>,
    unsynced_since_ms: Option<u64>,
    out: Vec<Outgoing>,
}

impl BoxSession {
    /// A conversation that a peer with this source opened.
    ///
    /// # Errors
    /// [`Code::Busy`] when the pool serves as many sessions as it can.
    pub fn new(source: SourceId, pool: &CreditPool) -> Result<Self, Refusal> {
        let share = pool.join().ok_or(Refusal {
            code: Code::Busy,
            retry_after_s: 60,
            detail: "as many sources are sending as this box has memory for",
        })?;
        Ok(Self {
            source,
            phase: Phase::Start,
            share,
            pending: None,
            arrived_seq: 0,
            arrived_end: 0,
            appended_seq: 0,
            appended_end: 0,
            durable_seq: 0,
            synced_end: 0,
            held: VecDeque::new(),
            limit_end: 0,
            acked_seq: 0,
            acked_end: 0,
            acked_durable_seq: 0,
            repeats: 0,
            haves: VecDeque::new(),
            rounds: 0,
            period_s: None,
            last_arrival_ms: 0,
            unacked_since_ms: None,
            unsynced_since_ms: None,
            out: Vec::new(),
        })
    }

    /// Reads a frame of the source. `Ok(None)`: nothing to do, such as frames that were under way when the box refused.
    ///
    /// # Errors
    /// What to refuse with; the refusal's frame is queued already, so that [`Self::poll`] sends it.
    pub fn on_frame<'a>(&mut self, now_ms: u64, kind: Kind, body: &'a [u8]) -> Result<Option<BoxAction<'a>>, Refusal> {
        if self.phase == Phase::Over {
            return Ok(None);
        }
        let action = match kind {
            Hello::KIND => self.on_hello(body),
            Open::KIND => self.on_open(body),
            super::REC => self.on_rec(now_ms, body),
            Have::KIND => self.on_have(body),
            Commit::KIND => self.on_commit(body),
            Period::KIND => match self.on_period(body) {
                Ok(()) => return Ok(None),
                Err(refusal) => Err(refusal),
            },
            _ => Err(Refusal { code: Code::UnknownMethod, retry_after_s: 0, detail: "" }),
        };
        match action {
            Ok(action) => Ok(Some(action)),
            Err(refusal) => {
                self.refuse(refusal.code, refusal.retry_after_s, refusal.detail);
                Err(refusal)
            }
        }
    }

    fn on_hello(&mut self, body: &[u8]) -> Result<BoxAction<'static>, Refusal> {
        self.expect(Phase::Start, "HELLO opens a conversation, once")?;
        let hello = Hello::decode(body)?;
        if hello.source != self.source {
            return Err(Refusal { code: Code::NotAllowed, retry_after_s: 0, detail: "this key sends another source" });
        }
        self.phase = Phase::Greeting;
        Ok(BoxAction::Hello(hello))
    }

    fn on_open<'a>(&mut self, body: &'a [u8]) -> Result<BoxAction<'a>, Refusal> {
        self.expect(Phase::Welcomed, "OPEN follows WELCOME, once")?;
        let open = Open::decode(body)?;
        let resume_of = (!open.resume_of.is_zero()).then_some(open.resume_of);
        let pending = self.pending.filter(|_| resume_of.is_some());
        if resume_of != pending.map(|pending| pending.key_id) {
            return Err(Refusal::protocol("OPEN resumes a session that WELCOME did not name"));
        }
        let base = pending.map_or(0, |pending| pending.durable_seq);
        self.arrived_seq = base;
        self.appended_seq = base;
        self.durable_seq = base;
        self.acked_seq = base;
        self.acked_durable_seq = base;
        self.phase = Phase::Sending;
        Ok(BoxAction::Open { key_record: open.key_record, resume_of })
    }

    fn on_rec<'a>(&mut self, now_ms: u64, body: &'a [u8]) -> Result<BoxAction<'a>, Refusal> {
        self.expect(Phase::Sending, "REC follows OPEN and stops at COMMIT")?;
        let (seq, record) = body
            .split_first_chunk::<REC_PREFIX_BYTES>()
            .ok_or(Refusal::protocol("REC is shorter than its sequence number"))?;
        let seq = u64::from_le_bytes(*seq);
        if Some(seq) != self.arrived_seq.checked_add(1) {
            return Err(Refusal::protocol("REC is not the next in order"));
        }
        if record.len() > RECORD_BYTES_MAX {
            return Err(Refusal::protocol("record is too long"));
        }
        let end = self.arrived_end.saturating_add(rec_bytes(record.len()));
        let alone = self.arrived_end == self.acked_end;
        if end > self.limit_end && !alone {
            return Err(Refusal::protocol("source sent beyond its credit"));
        }
        self.arrived_seq = seq;
        self.arrived_end = end;
        self.held.push_back(Held { seq, end });
        self.last_arrival_ms = now_ms;
        self.unacked_since_ms.get_or_insert(now_ms);
        self.unsynced_since_ms.get_or_insert(now_ms);
        Ok(BoxAction::Append { seq, record })
    }

    fn on_have(&mut self, body: &[u8]) -> Result<BoxAction<'static>, Refusal> {
        self.expect(Phase::Sending, "HAVE follows OPEN and stops at COMMIT")?;
        let have = Have::decode(body)?;
        if have.ids.is_empty() {
            return Err(Refusal::protocol("HAVE names nothing"));
        }
        self.haves.push_back(have.ids.count());
        Ok(BoxAction::Have(have.ids.iter().collect()))
    }

    fn on_period(&mut self, body: &[u8]) -> Result<(), Refusal> {
        self.expect(Phase::Sending, "PERIOD follows OPEN and stops at COMMIT")?;
        self.period_s = Some(Period::decode(body)?.period_s);
        Ok(())
    }

    fn on_commit<'a>(&mut self, body: &'a [u8]) -> Result<BoxAction<'a>, Refusal> {
        self.expect(Phase::Sending, "COMMIT follows OPEN")?;
        let commit = Commit::decode(body)?;
        if commit.last_seq != self.arrived_seq {
            return Err(Refusal::protocol("COMMIT counts other records than arrived"));
        }
        self.phase = Phase::Committing;
        Ok(BoxAction::Commit { record: commit.record })
    }

    /// Answers HELLO.
    ///
    /// # Errors
    /// When the answer breaks a rule of the message, or nobody asked.
    pub fn welcome(&mut self, greeted: &Greeted<'_>) -> Result<(), Refusal> {
        self.expect(Phase::Greeting, "WELCOME answers HELLO")?;
        let credit = self.share.renew(0);
        self.limit_end = u64::from(credit);
        let wanted: Vec<u8> = greeted.wanted.iter().take(adit_wire::backup::IDS_MAX).flat_map(|id| id.0).collect();
        let welcome = Welcome {
            store: greeted.store,
            newest: greeted.newest,
            pending: greeted.pending,
            credit,
            server_time_s: greeted.server_time_s,
            used_bytes: greeted.used_bytes,
            quota_bytes: greeted.quota_bytes,
            wanted: Ids::new(&wanted).unwrap_or_default(),
        };
        let body = encode::body(&welcome)?;
        self.pending = greeted.pending;
        self.phase = Phase::Welcomed;
        self.push(Welcome::KIND, body, false);
        Ok(())
    }

    /// The oldest record that was not yet appended, is now, up to and with `seq`; `repeat` when the store had it already.
    pub fn appended(&mut self, seq: u64, repeat: bool) {
        let Some(first) = self.held.front() else {
            return;
        };
        let index = seq.checked_sub(first.seq).and_then(|index| usize::try_from(index).ok());
        let Some(held) = index.and_then(|index| self.held.get(index)) else {
            return;
        };
        self.appended_end = held.end.max(self.appended_end);
        self.appended_seq = seq.max(self.appended_seq);
        self.repeats = self.repeats.saturating_add(u32::from(repeat));
    }

    /// Every record up to `seq` is on stable storage.
    pub fn synced(&mut self, now_ms: u64, seq: u64) {
        let seq = seq.min(self.appended_seq);
        while let Some(held) = self.held.front().filter(|held| held.seq <= seq) {
            self.synced_end = held.end;
            self.held.pop_front();
        }
        self.durable_seq = self.durable_seq.max(seq);
        self.unsynced_since_ms = (self.synced_end < self.arrived_end).then_some(now_ms);
    }

    /// Answers the oldest HAVE: one flag per id in the order of asking.
    pub fn having(&mut self, present: &[bool]) {
        let asked = self.haves.pop_front();
        debug_assert_eq!(asked, Some(present.len()), "HAVING answers what was asked");
        let bits: Vec<u8> = present
            .chunks(8)
            .map(|eight| eight.iter().rev().fold(0u8, |byte, present| byte << 1 | u8::from(*present)))
            .collect();
        if let Ok(body) = encode::body(&Having { bits: &bits }) {
            self.push(Having::KIND, body, false);
        }
    }

    /// Answers COMMIT with the promise; the signed receipt.
    pub fn committed(&mut self, receipt: &[u8]) {
        if self.phase != Phase::Committing {
            return;
        }
        if let Ok(body) = encode::body(&Committed { receipt }) {
            self.push(Committed::KIND, body, true);
        }
        self.over();
    }

    /// Answers COMMIT with what is missing, or refuses after the last round. At most 4,096 ids are sent.
    pub fn missing(&mut self, ids: &[Id], more: bool) {
        if self.phase != Phase::Committing {
            return;
        }
        self.rounds = self.rounds.saturating_add(1);
        if self.rounds > MISSING_ROUNDS_MAX {
            self.refuse(Code::TooManyRounds, 0, "");
            return;
        }
        let sent = ids.get(..adit_wire::backup::IDS_MAX).unwrap_or(ids);
        let packed: Vec<u8> = sent.iter().flat_map(|id| id.0).collect();
        let missing = Missing { ids: Ids::new(&packed).unwrap_or_default(), more: more || sent.len() < ids.len() };
        if let Ok(body) = encode::body(&missing) {
            self.push(Missing::KIND, body, false);
        }
        self.phase = Phase::Sending;
    }

    /// Ends the conversation with a refusal.
    pub fn refuse(&mut self, code: Code, retry_after_s: u32, detail: &str) {
        if self.phase == Phase::Over {
            return;
        }
        self.out.push(refused(Hello::KIND.service, code, retry_after_s, detail));
        self.over();
    }

    /// Whether the store is to be synced now: enough was appended, long enough ago, or the source pauses.
    #[must_use]
    pub fn sync_due(&self, now_ms: u64) -> bool {
        let unsynced = self.appended_end.saturating_sub(self.synced_end);
        let timer = self.sync_deadline_ms().is_some_and(|deadline_ms| deadline_ms <= now_ms);
        self.phase != Phase::Over && unsynced > 0 && (timer || unsynced >= u64::from(SYNC_AT_BYTES))
    }

    fn sync_deadline_ms(&self) -> Option<u64> {
        let since_ms = self.unsynced_since_ms.filter(|_| self.synced_end < self.appended_end)?;
        Some(since_ms.saturating_add(SYNC_EVERY_MS).min(self.last_arrival_ms.saturating_add(IDLE_MS)))
    }

    /// What to send now.
    pub fn poll(&mut self, now_ms: u64) -> Vec<Outgoing> {
        if matches!(self.phase, Phase::Sending) && self.ack_due(now_ms) {
            self.push_ack(now_ms);
        }
        core::mem::take(&mut self.out)
    }

    /// An ACK is due when something became durable, after 4 MiB, after a second, or when the source may not have enough
    /// credit left for the longest record.
    fn ack_due(&self, now_ms: u64) -> bool {
        if self.durable_seq > self.acked_durable_seq {
            return true;
        }
        if self.appended_seq <= self.acked_seq {
            return false;
        }
        let unacked = self.appended_end.saturating_sub(self.acked_end);
        let left = self.limit_end.saturating_sub(self.appended_end);
        let timer = self.unacked_since_ms.is_some_and(|since_ms| since_ms.saturating_add(ACK_EVERY_MS) <= now_ms);
        timer || unacked >= u64::from(ACK_EVERY_BYTES) || left < rec_bytes(RECORD_BYTES_MAX)
    }

    fn push_ack(&mut self, now_ms: u64) {
        let granted = self.limit_end.saturating_sub(self.appended_end);
        let held = u64::from(self.share.renew(u32::try_from(granted).unwrap_or(u32::MAX)));
        self.limit_end = self.limit_end.max(self.appended_end.saturating_add(held));
        let credit = self.limit_end.saturating_sub(self.appended_end);
        self.acked_seq = self.appended_seq;
        self.acked_end = self.appended_end;
        self.acked_durable_seq = self.durable_seq;
        self.unacked_since_ms = (self.acked_end < self.arrived_end).then_some(now_ms);
        let ack = Ack {
            received_seq: self.appended_seq,
            durable_seq: self.durable_seq,
            credit: u32::try_from(credit).unwrap_or(u32::MAX),
            repeats: self.repeats,
        };
        if let Ok(body) = encode::body(&ack) {
            self.push(Ack::KIND, body, false);
        }
    }

    /// When to call [`Self::sync_due`] and [`Self::poll`] next at the latest; `None` while nothing is open.
    #[must_use]
    pub fn next_deadline_ms(&self) -> Option<u64> {
        if self.phase != Phase::Sending {
            return None;
        }
        let ack = self.unacked_since_ms.filter(|_| self.acked_seq < self.appended_seq);
        let ack = ack.map(|since_ms| since_ms.saturating_add(ACK_EVERY_MS));
        [ack, self.sync_deadline_ms()].into_iter().flatten().min()
    }

    /// Whether the conversation has ended on this side.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.phase == Phase::Over
    }

    /// How often the source means to send, seconds; `None` when it didn't say. To be kept when its commit is promised.
    #[must_use]
    pub const fn period_s(&self) -> Option<u32> {
        self.period_s
    }

    /// Bytes of the box's credit pool that this session holds.
    #[must_use]
    pub const fn credit_bytes(&self) -> u32 {
        self.share.bytes()
    }

    /// Bytes that arrived and are not yet appended.
    #[must_use]
    pub const fn unappended_bytes(&self) -> u64 {
        self.arrived_end.saturating_sub(self.appended_end)
    }

    fn over(&mut self) {
        self.phase = Phase::Over;
        self.held.clear();
        self.unacked_since_ms = None;
        self.unsynced_since_ms = None;
    }

    fn expect(&self, phase: Phase, detail: &'static str) -> Result<(), Refusal> {
        if self.phase == phase { Ok(()) } else { Err(Refusal::protocol(detail)) }
    }

    fn push(&mut self, kind: Kind, body: Vec<u8>, end: bool) {
        debug_assert_ne!(kind.method, METHOD_REC, "a box sends no records in a backup conversation");
        self.out.push(Outgoing { kind, body, end });
    }
}

fn refused(service: u8, code: Code, retry_after_s: u32, detail: &str) -> Outgoing {
    let mut end = detail.len().min(DETAIL_BYTES_MAX);
    while !detail.is_char_boundary(end) {
        end = end.saturating_sub(1);
    }
    let detail = detail.get(..end).unwrap_or_default();
    let kind = Kind { service, ..Refused::KIND };
    let body = encode::body(&Refused { code: code as u16, retry_after_s, detail }).unwrap_or_default();
    Outgoing { kind, body, end: true }
}
