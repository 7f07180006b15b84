// SPDX-License-Identifier: Apache-2.0 OR MIT
//! One backup, from HELLO to the kept receipt. It owns the order of things: the local state is durable under its `.next`
//! name before COMMIT, becomes the state after the promise, and whatever the box shows is held against the receipts
//! before anything is sent. Sealing belongs to the engine, talking to [`crate::upload`].

use crate::exit::Exit;
use crate::failure::Failure;
use crate::net::{Net, Way};
use crate::pin::Pin;
use crate::progress::{BackupProgress, Meter};
use crate::state::{StateDir, names};
use crate::text::{Lines as _, fill_random, now_s};
use crate::upload::{Answer, Opening, Sender, Traffic, Upload, state_failure};
use crate::{receipts, source, text};
use adit_archive::engine::{Known, Outcome, Plan, Run, RunError};
use adit_archive::info::{Counts, Skipped};
use adit_archive::journal::Journal;
use adit_archive::keys::{RecoveryPublic, SourceKeys, verify};
use adit_archive::run_key::{RunKey, Suite};
use adit_archive::seal::snapshot_record;
use adit_archive::state::{Settled, State, StateNext};
use adit_link::Door;
use adit_proto::backup::WelcomeInfo;
use adit_wire::backup::{Certified, Certify};
use adit_wire::ids::{Id, StoreId};
use adit_wire::record::Record;
use adit_wire::signed::{Completeness, PREFIX_RECEIPT, PREFIX_SNAPSHOT, Receipt, Snapshot};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Rounds in which the box may name what it lacks.
const MISSING_ROUNDS: u8 = adit_wire::backup::MISSING_ROUNDS_MAX;

/// What a person asked for.
#[derive(Clone, Debug)]
pub struct Job {
    /// What to save, and how.
    pub plan: Plan,
    /// How long a lost box is dialled again.
    pub patience: Duration,
    /// Go on although the box went back in time.
    pub accept_gap: bool,
}

/// What a backup made.
#[derive(Clone, Debug)]
pub struct Summary {
    /// Its head.
    pub head: Id,
    /// Its number.
    pub seq: u64,
    /// What the engine counted.
    pub counts: Counts,
    /// The first skipped paths.
    pub skipped: Vec<Skipped>,
    /// Whether everything was saved.
    pub completeness: Completeness,
    /// What the network counted.
    pub traffic: Traffic,
    /// Whether an unfinished run went on.
    pub resumed: bool,
    /// How long it took.
    pub took: Duration,
}

/// `last.toml`: for `status`, and for the time that a run may still take.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Last {
    /// The snapshot.
    pub snapshot: String,
    /// Its number.
    pub seq: u64,
    /// When it was committed, seconds since 1970.
    pub committed_s: u64,
    /// Files in it.
    pub files: u64,
    /// Bytes in it.
    pub bytes: u64,
}

/// `base.toml`: the newest snapshot of an adopted source, believed when it was adopted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Base {
    /// Its head in hex.
    pub head: String,
    /// Its number.
    pub seq: u64,
}

/// Everything that the steps share.
struct Work<'a> {
    state: &'a StateDir,
    pin: Pin,
    keys: SourceKeys,
    upload: Upload,
    welcome: WelcomeInfo,
    job: &'a Job,
}

/// Sessions of one run: the first, and those after a box that was set back no longer knew the one before. A box that
/// forgets again and again is for a person to look at.
const SESSIONS_MAX: u32 = 3;

/// Runs a backup to its end. The caller holds the lock.
///
/// # Errors
/// Why there is no new snapshot, and what to do.
pub fn run(state: &StateDir, net: &Net, job: &Job, meter: &Arc<Meter>) -> Result<Summary, Failure> {
    let started = Instant::now();
    let mut before = Before::default();
    loop {
        match session(state, net, job, meter, &mut before) {
            Err(failure) if before.is_lost && before.sessions < SESSIONS_MAX => {
                meter.note(&format!("{}; opening a new session", failure.what));
            }
            Err(failure) => return Err(failure),
            Ok(mut summary) => {
                summary.traffic.bytes_sent += before.bytes_sent;
                summary.traffic.reconnects += before.sessions - 1;
                summary.took = started.elapsed();
                return Ok(summary);
            }
        }
    }
}

/// What the sessions of this run did so far.
#[derive(Default)]
struct Before {
    /// How many were begun.
    sessions: u32,
    /// What those that were lost sent.
    bytes_sent: u64,
    /// Whether the box no longer has the last one. Only a failure after OPEN can say so: what comes before it in a new
    /// session ends the run.
    is_lost: bool,
}

/// One session, from HELLO to the promise. After a lost one, all that the box has not promised is read and sent again:
/// it is the same as a new run, but nobody has to start it.
fn session(
    state: &StateDir,
    net: &Net,
    job: &Job,
    meter: &Arc<Meter>,
    before: &mut Before,
) -> Result<Summary, Failure> {
    before.sessions += 1;
    before.is_lost = false;
    let keys = source::keys(state)?;
    let recipients: Vec<_> =
        source::recipients(state)?.iter().enumerate().map(|(n, public)| named(public, n)).collect();
    let (way, mut pin) = Way::paired(state)?;
    tell_certificate(state, net, &way, &mut pin, &keys)?;
    let sent = Arc::new(AtomicU64::new(0));
    let sender = Sender {
        state: state.clone(),
        pin: pin.clone(),
        way,
        keys: keys.clone(),
        recipients: recipients.clone(),
        archive_dir: state.path().to_owned(),
        patience: job.patience,
        newest: State::newest(state.path()).map_err(|error| state_failure(&error))?.unwrap_or((0, Id::ZERO)),
        period_s: job.plan.about.period_s,
        sent: Arc::clone(&sent),
    };
    let notes = Arc::clone(meter);
    let (upload, welcome) = Upload::start(net, sender, Arc::new(move |line: &str| notes.note(line)))?;
    let work = Work { state, pin, keys, upload, welcome, job };
    let base = work.base(meter)?;
    let (known, opening_of) = work.known(base)?;
    let was_current = known.state.is_some() && known.pending.is_empty();
    let key = RunKey::generate(Suite::default(), &mut fill_random);
    let key_record = key.key_record(&work.keys, &recipients, &mut fill_random).map_err(|error| {
        Failure::new(Exit::Usage, format!("the run's key can't be wrapped: {error}"), "look at the recipients file")
    })?;
    work.upload.open(Opening {
        key_id: key.id(),
        key_record,
        resume_of: opening_of,
        adopted: known.pending.clone(),
    })?;
    let expected: Last = state.read_toml(names::LAST).ok().flatten().unwrap_or_default();
    let progress = BackupProgress::new(meter, &sent, expected.files);
    let made = work.make(&key, known, base, &progress).inspect_err(|_| {
        before.bytes_sent += sent.load(Ordering::Relaxed);
        before.is_lost = work.upload.is_session_lost();
    })?;
    meter.finish();
    let resumed = opening_of.is_some();
    let traffic = work.upload.close()?;
    // After a reconnect some records go out twice on purpose.
    if was_current && traffic.repeats > 0 && traffic.reconnects == 0 && before.sessions == 1 {
        meter.note(&format!(
            "note: the box had {} records that this machine thought new; if nobody restored this machine from a copy, \
             somebody else sends under its name",
            traffic.repeats
        ));
    }
    let Made { head, seq, counts, skipped, completeness } = made;
    Ok(Summary { head, seq, counts, skipped, completeness, traffic, resumed, took: Duration::ZERO })
}

fn named(public: &RecoveryPublic, number: usize) -> adit_archive::keys::Recipient {
    public.recipient(&format!("{} of the recipients file", number + 1))
}

/// A certificate that the box has not heard of is told on a connection of its own, once.
fn tell_certificate(state: &StateDir, net: &Net, way: &Way, pin: &mut Pin, keys: &SourceKeys) -> Result<(), Failure> {
    let Some(certificate) = source::certificate(state)? else { return Ok(()) };
    if pin.certified_epoch >= keys.epoch() {
        return Ok(());
    }
    let recovery_key = source::recovery_signing_key(state)?;
    net.run(async {
        let link = way.connect(Door::Main).await?;
        let request = Certify { source: keys.source(), recovery_key, certificate: &certificate };
        crate::net::read::<Certified>(&crate::net::ask(&link, &request).await?)?;
        link.close(None).await;
        Ok::<(), Failure>(())
    })?;
    pin.certified_epoch = keys.epoch();
    pin.write(state)
}

/// The snapshot that the next one follows.
#[derive(Clone, Copy)]
struct Follows {
    seq: u64,
    head: Id,
}

struct Made {
    head: Id,
    seq: u64,
    counts: Counts,
    skipped: Vec<Skipped>,
    completeness: Completeness,
}

impl Work<'_> {
    /// Holds what the box shows against receipts and signatures; answers what the next snapshot follows.
    fn base(&self, meter: &Meter) -> Result<Follows, Failure> {
        let Some(newest) = &self.welcome.newest else {
            self.check_receipts(0, Id::ZERO, meter)?;
            return Ok(Follows { seq: 0, head: Id::ZERO });
        };
        self.check_receipts(newest.seq, newest.head, meter)?;
        if !self.is_ours(newest.seq, newest.head, &newest.body)? {
            return Err(Failure::new(
                Exit::Damaged,
                format!("snapshot {} on the box is not signed by this machine", newest.seq),
                "another machine sends under this source's name, or took it over: `adit recover … --adopt` takes it back",
            ));
        }
        self.check_known(newest.seq, newest.head, meter)?;
        Ok(Follows { seq: newest.seq, head: newest.head })
    }

    fn check_receipts(&self, seq: u64, head: Id, meter: &Meter) -> Result<(), Failure> {
        let result = receipts::check(&receipts::read(self.state)?, self.welcome.store, seq, head);
        match result {
            Err(failure) if self.job.accept_gap => {
                meter.note(&format!("accepted: {}", failure.what));
                Ok(())
            }
            other => other,
        }
    }

    /// A snapshot that carries this machine's signature and that this machine does not know: a copy of this machine sent
    /// it, or this machine was set back. Whoever knows which says so once; a stolen state must not go unnoticed.
    fn check_known(&self, seq: u64, head: Id, meter: &Meter) -> Result<(), Failure> {
        // A commit whose answer was lost becomes known here.
        State::settle(self.state.path(), Some((seq, head))).map(drop).map_err(|error| state_failure(&error))?;
        let known = State::newest(self.state.path()).map_err(|error| state_failure(&error))?;
        if known.is_none_or(|known| known == (seq, head)) {
            return Ok(());
        }
        let what = format!(
            "the box holds snapshot {seq} ({}), which this machine did not send: another machine uses this identity, or \
             this machine was set back",
            text::short(&head)
        );
        if self.job.accept_gap {
            meter.note(&format!("accepted: {what}"));
            return Ok(());
        }
        Err(Failure::new(
            Exit::Refused,
            what,
            "set back: `adit backup --accept-gap` goes on from there; cloned: give the clone a source of its own with \
             `adit init` in another --state directory",
        ))
    }

    /// Whether a snapshot carries this machine's signature, or is the one from which an adopted source goes on.
    fn is_ours(&self, seq: u64, head: Id, body: &[u8]) -> Result<bool, Failure> {
        if let Some(base) = self.state.read_toml::<Base>(names::BASE)?
            && (base.seq, base.head) == (seq, head.to_string())
        {
            return Ok(true);
        }
        let Ok((snapshot, signed, signature)) = Snapshot::read(body) else { return Ok(false) };
        let whole = Id(*blake3::hash(body).as_bytes()) == head && snapshot.seq == seq;
        let key = self.keys.signing().public();
        Ok(whole && snapshot.source == self.keys.source() && verify(&key, PREFIX_SNAPSHOT, &[signed], &signature))
    }

    /// What the box has for sure, and which unfinished run goes on.
    fn known(&self, base: Follows) -> Result<(Known, Option<adit_wire::ids::KeyId>), Failure> {
        let newest = (base.seq > 0).then_some((base.seq, base.head));
        let settled = State::settle(self.state.path(), newest).map_err(|error| state_failure(&error))?;
        let (state, lost) = match settled {
            Settled::Current(state) => (Some(state), false),
            Settled::Absent(why) => {
                log::info!("no local state: {why}");
                (None, newest.is_some())
            }
        };
        let mut known = Known { state, missing: self.welcome.wanted.clone(), ask: lost, ..Known::default() };
        let Some(pending) = self.welcome.pending else { return Ok((known, None)) };
        match Journal::read(self.state.path()).map_err(|error| state_failure(&error))? {
            Some(journal) if journal.key_id == pending.key_id => {
                known.pending = journal.up_to(pending.durable_seq);
                known.ask |= journal.torn;
            }
            Some(_) | None => known.ask = true,
        }
        Ok((known, Some(pending.key_id)))
    }

    /// Runs the engine and commits, again for what the box lacks.
    fn make(
        &self,
        key: &RunKey,
        mut known: Known,
        base: Follows,
        progress: &BackupProgress<'_>,
    ) -> Result<Made, Failure> {
        let mut plan = self.job.plan.clone();
        let mut records = (0, 0);
        for _round in 0..=MISSING_ROUNDS {
            let mut outcome = Run::start(&plan, &self.keys, key, known, &self.upload, progress)
                .map_err(|error| self.run_failure(&error))?;
            records = (records.0 + outcome.counts.nodes, records.1 + outcome.counts.records);
            let (record, head, snapshot) = self.snapshot(&outcome, base, records);
            outcome.state_next.prepare(snapshot.seq, head).map_err(|error| state_failure(&error))?;
            match self.upload.commit(record, head)? {
                Answer::Committed(receipt) => {
                    self.keep(&receipt, head, snapshot.seq, &outcome.counts)?;
                    let Outcome { counts, skipped, completeness, state_next, .. } = outcome;
                    self.settle(state_next)?;
                    return Ok(Made { head, seq: snapshot.seq, counts, skipped, completeness });
                }
                Answer::Missing(missing) => {
                    log::warn!("the box lacks {} records that it had; sending them again", missing.len());
                    plan.first_counter = outcome.next_counter;
                    let state = Some(outcome.state_next.reopen().map_err(|error| state_failure(&error))?);
                    known = Known { state, missing, ..Known::default() };
                }
            }
        }
        Err(Failure::refused(adit_wire::refusal::Code::TooManyRounds as u16, ""))
    }

    fn snapshot(&self, outcome: &Outcome, base: Follows, (nodes, records): (u64, u64)) -> (Vec<u8>, Id, Snapshot) {
        let snapshot = Snapshot {
            source: self.keys.source(),
            epoch: self.keys.epoch(),
            seq: base.seq + 1,
            prev_head: base.head,
            root: outcome.root,
            info: outcome.info,
            nodes,
            records,
            state: outcome.completeness,
        };
        let record = snapshot_record(&self.keys, &snapshot, outcome.root_height);
        let head = Record::parse(&record).map_or(Id::ZERO, |record| record.header.id);
        (record, head, snapshot)
    }

    /// Checks and keeps the promise. An empty one was lost on its way: WELCOME named the snapshot instead.
    fn keep(&self, receipt: &[u8], head: Id, seq: u64, counts: &Counts) -> Result<(), Failure> {
        if !receipt.is_empty() {
            self.check_receipt(receipt, head, seq)?;
            receipts::add(self.state, receipt)?;
        }
        let last =
            Last { snapshot: head.to_string(), seq, committed_s: now_s(), files: counts.files, bytes: counts.bytes };
        self.state.write_toml(names::LAST, &last)
    }

    fn check_receipt(&self, bytes: &[u8], head: Id, seq: u64) -> Result<(), Failure> {
        let wrong = || {
            Failure::new(
                Exit::Refused,
                "the box's receipt is not what was promised",
                "update both programs; if it stays, do not trust this box",
            )
        };
        let key = self.pin.public_key(self.state)?;
        let (receipt, body, signature) = Receipt::read(bytes).map_err(|_| wrong())?;
        let signed = adit_link::verify(&key, PREFIX_RECEIPT, body, &signature);
        let expected: (StoreId, _, _, _) = (self.welcome.store, self.keys.source(), seq, head);
        let same = (receipt.store, receipt.source, receipt.seq, receipt.head) == expected;
        if signed && same { Ok(()) } else { Err(wrong()) }
    }

    fn settle(&self, state_next: StateNext) -> Result<(), Failure> {
        state_next.adopt().map_err(|error| state_failure(&error))?;
        Journal::remove(self.state.path()).map_err(|error| state_failure(&error))?;
        self.state.remove(names::BASE)
    }

    fn run_failure(&self, error: &RunError) -> Failure {
        match error {
            RunError::Sink(_) => self.upload.failure(),
            RunError::Root { path, source } => Failure::io("read", path, source),
            RunError::State(error) => state_failure(error),
            RunError::NoRoots | RunError::Pattern { .. } => Failure::new(
                Exit::Usage,
                error.to_string(),
                "`adit backup --help` shows how to name files and patterns",
            ),
            RunError::Counter => {
                Failure::new(Exit::Internal, error.to_string(), "run the command again: what was sent is kept")
            }
            RunError::Seal(source) => Failure::new(
                Exit::Internal,
                format!("{error}: {source}"),
                "a record failed its own check: test this machine's memory",
            ),
        }
    }
}

/// The lines of a summary for a person.
#[must_use]
pub fn summary_lines(summary: &Summary) -> String {
    let counts = &summary.counts;
    let mut lines = format!(
        "snapshot {} ({}): {} files, {}; {} read, {} sent in {} round trips, {}\n",
        text::short(&summary.head),
        summary.seq,
        text::count(counts.files),
        text::bytes(counts.bytes),
        text::bytes(counts.bytes_read),
        text::bytes(summary.traffic.bytes_sent),
        summary.traffic.round_trips,
        text::duration(summary.took),
    );
    if summary.traffic.reconnects > 0 {
        lines.line(format_args!(
            "the line was lost {} times; {} went out twice",
            summary.traffic.reconnects,
            text::bytes(summary.traffic.bytes_resent)
        ));
    }
    if summary.completeness == Completeness::Partial {
        lines.line(format_args!("{} paths were skipped: everything else is safe", text::count(counts.skipped)));
    }
    lines
}
