// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The source's side of a backup run.
//!
//! Order of use: `hello` → Welcomed → `open` → any number of `take_record` (each after `may_send` said yes) and `have` →
//! `commit` → Committed, or Missing and more records. After a lost connection: `reconnect`, `hello`, Welcomed, `resume`,
//! then `reopen` or `open` with a new key, then `next_resend` until it is empty, and on as before.
//!
//! It keeps every record until the box says *durable*, at most 16 MiB: that bounds its memory and what is sent twice.

use super::{Outgoing, rec_bytes};
use crate::encode;
use adit_wire::backup::{
    Ack, Commit, Committed, Have, Having, Hello, IDS_MAX, MISSING_ROUNDS_MAX, Missing, Newest, Open, PERIOD_S_MAX,
    Pending, Period, REC_PREFIX_BYTES, UNDURABLE_BYTES_MAX, Welcome,
};
use adit_wire::frame::{Kind, METHOD_REFUSED, Message, MessageError};
use adit_wire::ids::{Id, KeyId, SourceId, StoreId};
use adit_wire::list::Ids;
use adit_wire::refusal::Refused;
use alloc::borrow::ToOwned;
use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

/// Who sends, and what it knows of its history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SourceStart {
    /// The source.
    pub source: SourceId,
    /// Its epoch.
    pub epoch: u32,
    /// Sequence number of the newest snapshot it knows; 0 for none.
    pub newest_seq: u64,
    /// Its head; zero for none.
    pub newest_head: Id,
}

/// WELCOME, owned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WelcomeInfo {
    /// The store.
    pub store: StoreId,
    /// The source's newest durable snapshot on this box.
    pub newest: Option<NewestInfo>,
    /// What an unfinished run left there.
    pub pending: Option<Pending>,
    /// The box's clock, seconds since 1970; for display only.
    pub server_time_s: u64,
    /// Bytes charged to this source.
    pub used_bytes: u64,
    /// Bytes it may use; 0 = no limit but the disk.
    pub quota_bytes: u64,
    /// Records that the box lost and asks for again.
    pub wanted: Vec<Id>,
}

/// The newest snapshot of a source on a box.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewestInfo {
    /// Its sequence number.
    pub seq: u64,
    /// Its head.
    pub head: Id,
    /// Its signed body with signature.
    pub body: Vec<u8>,
    /// When the box received it, seconds since 1970.
    pub received_s: u64,
}

/// How the box's newest snapshot stands to the one that the source knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum History {
    /// The same, or both have none.
    Same,
    /// The box has a newer one: its answer was lost, or this machine was set back. The source verifies its own signature
    /// on it before it goes on from there.
    BoxAhead,
    /// The box has an older one or none: it was set back, or is new.
    BoxBehind,
    /// Same number, other head.
    Forked,
}

impl WelcomeInfo {
    /// Compares with what the source knows.
    #[must_use]
    pub fn history(&self, newest_seq: u64, newest_head: &Id) -> History {
        let (seq, head) = self.newest.as_ref().map_or((0, Id::ZERO), |newest| (newest.seq, newest.head));
        match seq.cmp(&newest_seq) {
            core::cmp::Ordering::Equal if head == *newest_head => History::Same,
            core::cmp::Ordering::Equal => History::Forked,
            core::cmp::Ordering::Greater => History::BoxAhead,
            core::cmp::Ordering::Less => History::BoxBehind,
        }
    }
}

/// What a frame from the box means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceEvent {
    /// The box answered HELLO.
    Welcomed(WelcomeInfo),
    /// The box is further.
    Acked {
        /// Every record of the run up to this one was received.
        received_seq: u64,
        /// Every record of the run up to this one is on stable storage; what was kept of them is dropped.
        durable_seq: u64,
        /// Records of this session that the box had already. A source that lost no state raises an alarm on one.
        repeats: u32,
    },
    /// The answer to the oldest unanswered HAVE, one flag per asked id in the order of asking.
    Having(Vec<bool>),
    /// What the snapshot needs and the box has not: send it and commit again.
    Missing {
        /// The ids.
        ids: Vec<Id>,
        /// Whether there are more than fitted.
        more: bool,
    },
    /// The promise; the box's signed receipt, not yet verified.
    Committed(Vec<u8>),
    /// The box said no; the conversation is over.
    Refused {
        /// A [`adit_wire::refusal::Code`], or the number of a newer one.
        code: u16,
        /// Seconds after which trying again makes sense; 0 when it does not.
        retry_after_s: u32,
        /// What a person should read beside the code's text.
        detail: String,
    },
}

/// One record on its way, kept until it is durable. Clones share the bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rec {
    /// Its number in the run, as on the wire.
    pub seq: u64,
    /// The whole sealed record.
    pub record: Arc<Vec<u8>>,
}

impl Rec {
    /// What stands before the record in a REC body.
    #[must_use]
    pub const fn prefix(&self) -> [u8; REC_PREFIX_BYTES] {
        self.seq.to_le_bytes()
    }
}

/// How often the source had to wait for the box.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Waits {
    /// For WELCOME.
    pub welcome: u32,
    /// For HAVING; a burst of HAVE frames waits once.
    pub having: u32,
    /// For COMMITTED or MISSING.
    pub commit: u32,
    /// Times the window was shut when a record was ready. Bandwidth, not round trips, decides these.
    pub window: u32,
}

impl Waits {
    /// Round trips that a run costs whatever it sends: all but the window's.
    #[must_use]
    pub const fn round_trips(&self) -> u32 {
        self.welcome.saturating_add(self.having).saturating_add(self.commit)
    }
}

/// How a run goes on after a reconnect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resume {
    /// The box has this session: make a new key record and call [`SourceSession::open`] with `resume_of` set to it.
    Adopt(KeyId),
    /// The box never got the last OPEN: call [`SourceSession::reopen`].
    Again,
}

/// Why a run can't go on after a reconnect. Start a new one; what the box holds is found again by id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResumeError {
    /// The box holds another session of this source, or none: somebody else sent, or the box went back.
    #[error("the box no longer holds this run's session")]
    Lost,
    /// The box acknowledged more as durable than it has now.
    #[error("the box has {got} durable records of this run, it had said {said}")]
    WentBack {
        /// What it said before.
        said: u64,
        /// What it says now.
        got: u64,
    },
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

/// The OPEN of the running key, kept for [`Resume::Again`].
#[derive(Clone, Debug)]
struct Opened {
    key_id: KeyId,
    key_record: Vec<u8>,
    resume_of: Option<KeyId>,
    /// Whether the session that `resume_of` names was sent from here, not by a process before.
    ours_before: bool,
}

/// The source's side of a run. Invariant: `start_seq <= durable_seq <= received_seq <= sent_seq <= last_seq`, and `kept`
/// holds exactly the records `durable_seq + 1 ..= last_seq`.
#[derive(Debug)]
pub struct SourceSession {
    start: SourceStart,
    phase: Phase,
    opened: Option<Opened>,
    pending: Option<Pending>,
    kept: VecDeque<Arc<Vec<u8>>>,
    kept_bytes: u64,
    /// The number before the first record taken here: where an unfinished run of a process before stood.
    start_seq: u64,
    last_seq: u64,
    sent_seq: u64,
    received_seq: u64,
    durable_seq: u64,
    under_way_bytes: u64,
    credit: u64,
    window_shut: bool,
    haves: VecDeque<usize>,
    rounds: u8,
    repeats: u32,
    waits: Waits,
    resent_bytes: u64,
    resend_below: u64,
}

impl SourceSession {
    /// A run that is about to begin.
    #[must_use]
    pub const fn new(start: SourceStart) -> Self {
        Self {
            start,
            phase: Phase::Start,
            opened: None,
            pending: None,
            kept: VecDeque::new(),
            kept_bytes: 0,
            start_seq: 0,
            last_seq: 0,
            sent_seq: 0,
            received_seq: 0,
            durable_seq: 0,
            under_way_bytes: 0,
            credit: 0,
            window_shut: false,
            haves: VecDeque::new(),
            rounds: 0,
            repeats: 0,
            waits: Waits { welcome: 0, having: 0, commit: 0, window: 0 },
            resent_bytes: 0,
            resend_below: 0,
        }
    }

    /// The first frame of the conversation.
    ///
    /// # Errors
    /// When it was sent before on this connection.
    pub fn hello(&mut self) -> Result<Outgoing, SourceError> {
        self.expect(Phase::Start)?;
        self.phase = Phase::Greeting;
        self.waits.welcome = self.waits.welcome.saturating_add(1);
        let SourceStart { source, epoch, newest_seq, newest_head } = self.start;
        outgoing(&Hello { source, epoch, newest_seq, newest_head })
    }

    /// OPEN with a new session key. Records may follow at once. `resume_of` adopts the session that WELCOME named as
    /// pending; after [`Self::resume`] it is the one that it answered.
    ///
    /// # Errors
    /// When it is not the turn for it, or `resume_of` is not what WELCOME named.
    pub fn open(
        &mut self,
        key_id: KeyId,
        key_record: Vec<u8>,
        resume_of: Option<KeyId>,
    ) -> Result<Outgoing, SourceError> {
        self.expect(Phase::Welcomed)?;
        if resume_of.is_some() && resume_of != self.pending.map(|pending| pending.key_id) {
            return Err(SourceError::NotPending);
        }
        let ours_before = match &self.opened {
            None => {
                self.begin_at(self.pending.filter(|_| resume_of.is_some()).map_or(0, |pending| pending.durable_seq));
                false
            }
            Some(before) if resume_of == Some(before.key_id) => true,
            Some(_) => return Err(SourceError::NotPending),
        };
        self.opened = Some(Opened { key_id, key_record, resume_of, ours_before });
        self.send_open()
    }

    /// Nothing taken here is durable yet: its first record gets the number behind `seq`.
    fn begin_at(&mut self, seq: u64) {
        self.last_seq = seq.saturating_add(self.last_seq.saturating_sub(self.start_seq));
        self.resend_below = seq.saturating_add(self.resend_below.saturating_sub(self.start_seq));
        self.start_seq = seq;
        self.durable_seq = seq;
    }

    /// The last OPEN again, after [`Resume::Again`].
    ///
    /// # Errors
    /// When it is not the turn for it.
    pub fn reopen(&mut self) -> Result<Outgoing, SourceError> {
        self.expect(Phase::Welcomed)?;
        self.send_open()
    }

    fn send_open(&mut self) -> Result<Outgoing, SourceError> {
        let opened = self.opened.as_ref().ok_or(SourceError::Turn)?;
        let open = Open { key_record: &opened.key_record, resume_of: opened.resume_of.unwrap_or(KeyId::ZERO) };
        let frame = outgoing(&open)?;
        self.phase = Phase::Sending;
        self.received_seq = self.durable_seq;
        self.sent_seq = self.durable_seq;
        self.under_way_bytes = 0;
        Ok(frame)
    }

    /// Whether a record of so many bytes may be sent now. When not, wait for the next [`SourceEvent::Acked`].
    pub fn may_send(&mut self, record_bytes: usize) -> bool {
        let open = self.phase == Phase::Sending && !self.is_resending() && self.fits(rec_bytes(record_bytes));
        if self.phase == Phase::Sending && !open && !self.is_resending() {
            self.count_shut_window();
        }
        open
    }

    /// Once for each time that it is shut: until the next ACK.
    const fn count_shut_window(&mut self) {
        if !self.window_shut {
            self.window_shut = true;
            self.waits.window = self.waits.window.saturating_add(1);
        }
    }

    /// One record always fits when nothing is under way: a record may be longer than the smallest credit.
    const fn fits_credit(&self, bytes: u64) -> bool {
        self.under_way_bytes == 0 || self.under_way_bytes.saturating_add(bytes) <= self.credit
    }

    fn fits(&self, bytes: u64) -> bool {
        let keeps = self.kept.is_empty() || self.kept_bytes.saturating_add(bytes) <= u64::from(UNDURABLE_BYTES_MAX);
        keeps && self.fits_credit(bytes)
    }

    /// Takes the next record to send, after [`Self::may_send`] said yes. Its bytes stay here until they are durable.
    ///
    /// # Errors
    /// When the window is shut or it is not the turn for it.
    pub fn take_record(&mut self, record: Vec<u8>) -> Result<Rec, SourceError> {
        self.expect(Phase::Sending)?;
        let bytes = rec_bytes(record.len());
        if self.is_resending() || !self.fits(bytes) {
            return Err(SourceError::WindowShut);
        }
        self.last_seq = self.last_seq.saturating_add(1);
        let record = Arc::new(record);
        self.kept_bytes = self.kept_bytes.saturating_add(bytes);
        self.kept.push_back(Arc::clone(&record));
        Ok(self.sending(record))
    }

    /// The record behind the last one sent is on its way now.
    fn sending(&mut self, record: Arc<Vec<u8>>) -> Rec {
        self.sent_seq = self.sent_seq.saturating_add(1);
        self.under_way_bytes = self.under_way_bytes.saturating_add(rec_bytes(record.len()));
        Rec { seq: self.sent_seq, record }
    }

    /// Whether kept records still wait to be sent again.
    #[must_use]
    pub const fn is_resending(&self) -> bool {
        self.sent_seq < self.last_seq
    }

    /// The next kept record to send again, if credit allows.
    pub fn next_resend(&mut self) -> Option<Rec> {
        if self.phase != Phase::Sending || !self.is_resending() {
            return None;
        }
        let index = usize::try_from(self.sent_seq.saturating_sub(self.durable_seq)).ok()?;
        let record = Arc::clone(self.kept.get(index)?);
        let bytes = rec_bytes(record.len());
        if !self.fits_credit(bytes) {
            self.count_shut_window();
            return None;
        }
        let rec = self.sending(record);
        if rec.seq <= self.resend_below {
            self.resent_bytes = self.resent_bytes.saturating_add(bytes);
        }
        Some(rec)
    }

    /// Asks which of at most 4,096 records the box has, after OPEN; without waiting for earlier answers.
    ///
    /// # Errors
    /// When it is not the turn for it or there are too many ids.
    pub fn have(&mut self, ids: &[Id]) -> Result<Outgoing, SourceError> {
        if self.phase != Phase::Sending || ids.is_empty() || ids.len() > IDS_MAX {
            return Err(SourceError::Turn);
        }
        if self.haves.is_empty() {
            self.waits.having = self.waits.having.saturating_add(1);
        }
        self.haves.push_back(ids.len());
        let packed: Vec<u8> = ids.iter().flat_map(|id| id.0).collect();
        outgoing(&Have { ids: Ids::new(&packed).unwrap_or_default() })
    }

    /// Says how often this source means to send, before [`Self::commit`]. More than
    /// [`PERIOD_S_MAX`](adit_wire::backup::PERIOD_S_MAX) is told as that; nothing is told of 0, which is a run by hand.
    ///
    /// # Errors
    /// When it is not the turn for it.
    pub fn period(&self, period_s: u64) -> Result<Option<Outgoing>, SourceError> {
        self.expect(Phase::Sending)?;
        let period_s = u32::try_from(period_s).unwrap_or(PERIOD_S_MAX).min(PERIOD_S_MAX);
        if period_s == 0 { Ok(None) } else { outgoing(&Period { period_s }).map(Some) }
    }

    /// Asks for the promise, after every record was taken and sent.
    ///
    /// # Errors
    /// When records wait to be sent again, or it is not the turn for it.
    pub fn commit(&mut self, snapshot_record: &[u8]) -> Result<Outgoing, SourceError> {
        self.expect(Phase::Sending)?;
        if self.is_resending() || !self.haves.is_empty() {
            return Err(SourceError::Turn);
        }
        let frame = outgoing(&Commit { record: snapshot_record, last_seq: self.last_seq })?;
        self.phase = Phase::Committing;
        self.waits.commit = self.waits.commit.saturating_add(1);
        Ok(frame)
    }

    /// The connection is gone: whatever was not durable will be sent again, on a new one.
    pub fn reconnect(&mut self) {
        self.phase = Phase::Start;
        self.haves.clear();
        self.rounds = 0;
        self.repeats = 0;
        self.window_shut = false;
        self.pending = None;
        self.resend_below = self.resend_below.max(self.sent_seq);
    }

    /// Compares what the box has of this run with what is kept here, and drops what turned out to be durable. A box whose
    /// newest snapshot is the one just committed needs no resuming: look at [`WelcomeInfo::history`] first.
    ///
    /// # Errors
    /// When the run can't go on.
    pub fn resume(&mut self) -> Result<Resume, ResumeError> {
        let opened = self.opened.as_ref().ok_or(ResumeError::Lost)?;
        let (how, got) = match (self.pending, opened.resume_of) {
            (Some(pending), _) if pending.key_id == opened.key_id => {
                (Resume::Adopt(opened.key_id), pending.durable_seq)
            }
            (Some(pending), Some(before)) if pending.key_id == before && opened.ours_before => {
                (Resume::Again, pending.durable_seq)
            }
            // The box never saw this run; what lies there is the one before.
            (Some(pending), Some(before)) if pending.key_id == before && self.durable_seq == self.start_seq => {
                self.begin_at(pending.durable_seq);
                return Ok(Resume::Again);
            }
            (_, None) if self.durable_seq == self.start_seq => return Ok(Resume::Again),
            (_, _) => return Err(ResumeError::Lost),
        };
        if got < self.durable_seq || got > self.last_seq {
            return Err(ResumeError::WentBack { said: self.durable_seq, got });
        }
        self.drop_durable(got);
        Ok(how)
    }

    /// Reads a frame from the box.
    ///
    /// # Errors
    /// When the box breaks the protocol: close the link.
    pub fn on_frame(&mut self, kind: Kind, body: &[u8]) -> Result<Option<SourceEvent>, SourceError> {
        if kind.method == METHOD_REFUSED {
            let Refused { code, retry_after_s, detail } = Refused::decode(body)?;
            self.phase = Phase::Over;
            return Ok(Some(SourceEvent::Refused { code, retry_after_s, detail: detail.to_owned() }));
        }
        match kind {
            Welcome::KIND => self.on_welcome(&Welcome::decode(body)?).map(Some),
            Ack::KIND => self.on_ack(&Ack::decode(body)?).map(Some),
            Having::KIND => self.on_having(&Having::decode(body)?).map(Some),
            Missing::KIND => self.on_missing(&Missing::decode(body)?).map(Some),
            Committed::KIND => self.on_committed(&Committed::decode(body)?).map(Some),
            _ => Err(SourceError::Unknown(kind)),
        }
    }

    fn on_welcome(&mut self, welcome: &Welcome<'_>) -> Result<SourceEvent, SourceError> {
        self.expect(Phase::Greeting)?;
        if welcome.pending.is_some_and(|pending| pending.durable_seq > pending.received_seq) {
            return Err(SourceError::Impossible);
        }
        self.phase = Phase::Welcomed;
        self.credit = u64::from(welcome.credit);
        self.pending = welcome.pending;
        let newest = welcome.newest.map(|Newest { seq, head, body, received_s }| NewestInfo {
            seq,
            head,
            body: body.to_owned(),
            received_s,
        });
        Ok(SourceEvent::Welcomed(WelcomeInfo {
            store: welcome.store,
            newest,
            pending: welcome.pending,
            server_time_s: welcome.server_time_s,
            used_bytes: welcome.used_bytes,
            quota_bytes: welcome.quota_bytes,
            wanted: welcome.wanted.iter().collect(),
        }))
    }

    fn on_ack(&mut self, ack: &Ack) -> Result<SourceEvent, SourceError> {
        if !matches!(self.phase, Phase::Sending | Phase::Committing) {
            return Err(SourceError::Turn);
        }
        let Ack { received_seq, durable_seq, credit, repeats } = *ack;
        let possible = received_seq <= self.sent_seq && durable_seq <= received_seq && repeats >= self.repeats;
        if !possible || received_seq < self.received_seq || durable_seq < self.durable_seq {
            return Err(SourceError::Impossible);
        }
        let newly = self.kept_between(self.received_seq, received_seq);
        self.under_way_bytes = self.under_way_bytes.saturating_sub(newly);
        self.received_seq = received_seq;
        self.credit = u64::from(credit);
        self.repeats = repeats;
        self.window_shut = false;
        self.drop_durable(durable_seq);
        Ok(SourceEvent::Acked { received_seq, durable_seq, repeats })
    }

    fn on_having(&mut self, having: &Having<'_>) -> Result<SourceEvent, SourceError> {
        let count = self.haves.pop_front().ok_or(SourceError::Turn)?;
        if having.bits.len() != count.div_ceil(8) {
            return Err(SourceError::Impossible);
        }
        let bits = having.bits.iter().flat_map(|byte| (0..8).map(move |bit| byte >> bit & 1 == 1));
        Ok(SourceEvent::Having(bits.take(count).collect()))
    }

    fn on_missing(&mut self, missing: &Missing<'_>) -> Result<SourceEvent, SourceError> {
        self.expect(Phase::Committing)?;
        self.rounds = self.rounds.saturating_add(1);
        if self.rounds > MISSING_ROUNDS_MAX || missing.ids.is_empty() {
            return Err(SourceError::Impossible);
        }
        self.phase = Phase::Sending;
        Ok(SourceEvent::Missing { ids: missing.ids.iter().collect(), more: missing.more })
    }

    fn on_committed(&mut self, committed: &Committed<'_>) -> Result<SourceEvent, SourceError> {
        self.expect(Phase::Committing)?;
        self.phase = Phase::Over;
        self.received_seq = self.last_seq;
        self.under_way_bytes = 0;
        self.drop_durable(self.last_seq);
        Ok(SourceEvent::Committed(committed.receipt.to_owned()))
    }

    /// How often the source had to wait so far.
    #[must_use]
    pub const fn waits(&self) -> Waits {
        self.waits
    }

    /// Number of the last record taken; 0 for none.
    #[must_use]
    pub const fn last_seq(&self) -> u64 {
        self.last_seq
    }

    /// Every record up to this one is on stable storage.
    #[must_use]
    pub const fn durable_seq(&self) -> u64 {
        self.durable_seq
    }

    /// Sealed bytes kept until they are durable; never above 16 MiB.
    #[must_use]
    pub const fn kept_bytes(&self) -> u64 {
        self.kept_bytes
    }

    /// Bytes of REC bodies sent more than once, over all reconnects of this run.
    #[must_use]
    pub const fn resent_bytes(&self) -> u64 {
        self.resent_bytes
    }

    fn expect(&self, phase: Phase) -> Result<(), SourceError> {
        if self.phase == phase { Ok(()) } else { Err(SourceError::Turn) }
    }

    /// Bytes of the kept records above `after` up to `upto`.
    fn kept_between(&self, after: u64, upto: u64) -> u64 {
        let from = usize::try_from(after.saturating_sub(self.durable_seq)).unwrap_or(usize::MAX);
        let count = usize::try_from(upto.saturating_sub(after)).unwrap_or(usize::MAX);
        self.kept.iter().skip(from).take(count).map(|record| rec_bytes(record.len())).sum()
    }

    fn drop_durable(&mut self, durable_seq: u64) {
        while self.durable_seq < durable_seq {
            let Some(record) = self.kept.pop_front() else {
                return;
            };
            self.kept_bytes = self.kept_bytes.saturating_sub(rec_bytes(record.len()));
            self.durable_seq = self.durable_seq.saturating_add(1);
        }
    }
}

fn outgoing<'a, M: Message<'a>>(message: &M) -> Result<Outgoing, SourceError> {
    Ok(Outgoing { kind: M::KIND, body: encode::body(message)?, end: false })
}

/// Why a call or a frame does not fit. Frames: the box broke the protocol. Calls: the caller did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// Not now.
    #[error("backup message out of turn")]
    Turn,
    /// A frame that no box sends here.
    #[error("unknown message {0:?} in a backup conversation")]
    Unknown(Kind),
    /// The body is no such message.
    #[error(transparent)]
    Message(#[from] MessageError),
    /// Numbers that can't be: acknowledged beyond what was sent, or back.
    #[error("box acknowledged what was never sent, or went back")]
    Impossible,
    /// No credit, or too much is not durable yet.
    #[error("window is shut; wait for the next acknowledgement")]
    WindowShut,
    /// `resume_of` is not what WELCOME named as pending, or not the session that this run sent.
    #[error("the box has no such pending session")]
    NotPending,
}
