// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A source sends a backup: the conversation's rules are adit-proto's, the bytes are the store's; this joins the two.
//!
//! A record is moved from its frame to the store's thread without a copy. What the store answers comes back through a
//! queue, so that receiving, appending and syncing overlap. Nothing is acknowledged that the store did not confirm.

use super::{Caller, ServeError};
use crate::clock;
use crate::event::Event;
use crate::peers::SourceKeys;
use crate::shared::Served;
use crate::store_thread::BoxStore;
use adit_link::{Conversation, Frame, LinkError};
use adit_proto::backup::{BoxAction, BoxSession, Greeted};
use adit_store::{Commit, SessionId};
use adit_wire::backup::{Certified, Certify, Hello, IDS_MAX, Newest, Pending, REC_PREFIX_BYTES};
use adit_wire::frame::FLAG_END;
use adit_wire::ids::{KeyId, SourceId};
use adit_wire::refusal::Code;
use adit_wire::signed::{Certificate, PREFIX_CERTIFICATE, PREFIX_RECEIPT, Receipt};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// How long a source may say nothing in an open conversation: a first run reads a whole disk between two records.
const SILENCE_MAX: Duration = Duration::from_secs(3_600);

/// What the store's thread says of earlier work.
enum Answer {
    Appended { seq: u64, repeat: bool },
    Failed { code: Code, why: String },
    Synced { seq: u64 },
}

struct Run<'a> {
    caller: &'a Caller,
    conversation: &'a Conversation,
    served: &'a Served,
    source: SourceId,
    session: BoxSession,
    /// The session's number among the live ones; 0 before HELLO.
    number: u64,
    /// What WELCOME said of an unfinished run.
    pending: Option<Pending>,
    /// The store's session, from OPEN on.
    stored: Option<SessionId>,
    syncing: bool,
    committed: bool,
    answers: mpsc::UnboundedReceiver<Answer>,
    answer: mpsc::UnboundedSender<Answer>,
}

pub(super) async fn serve(caller: &Arc<Caller>, first: Frame, conversation: &Conversation) -> Result<(), ServeError> {
    let served = caller.store()?;
    if served.read_only {
        return Err(ServeError::detailed(Code::ReadOnly, "a carried store is only read"));
    }
    let keys = caller.own_source().ok_or_else(|| ServeError::refused(Code::NotAllowed))?;
    let session = BoxSession::new(keys.source, &served.credit).map_err(|refusal| ServeError::Refused {
        code: refusal.code,
        retry_after_s: refusal.retry_after_s,
        detail: refusal.detail.to_owned(),
    })?;
    // Bounded by the credit that the source was given.
    let (answer, answers) = mpsc::unbounded_channel();
    let mut run = Run {
        caller,
        conversation,
        served,
        source: keys.source,
        session,
        number: 0,
        pending: None,
        stored: None,
        syncing: false,
        committed: false,
        answers,
        answer,
    };
    let outcome = run.run(first).await;
    run.end(&outcome).await;
    outcome
}

impl Run<'_> {
    async fn run(&mut self, first: Frame) -> Result<(), ServeError> {
        self.on_frame(first).await?;
        loop {
            self.sync_if_due().await?;
            self.send_due().await?;
            if self.session.is_over() {
                return Ok(());
            }
            if self.number != 0 && !self.caller.shared.links().session_is(&self.source, self.number) {
                self.session.refuse(Code::Stale, 0, "a newer connection of this source took over");
                continue;
            }
            let deadline_ms = self.session.next_deadline_ms();
            let wait_ms = deadline_ms.map_or(60_000, |at_ms| at_ms.saturating_sub(clock::monotonic_ms()).max(1));
            tokio::select! {
                // Answers first: they free the window.
                biased;
                answer = self.answers.recv() => if let Some(answer) = answer { self.on_answer(answer) },
                frame = self.conversation.recv_within(SILENCE_MAX) => match frame? {
                    Some(frame) => self.on_frame(frame).await?,
                    None => return Ok(()),
                },
                () = tokio::time::sleep(Duration::from_millis(wait_ms)) => {}
                () = self.caller.shared.stop.cancelled() => self.session.refuse(Code::Stopping, 30, ""),
            }
        }
    }

    async fn send_due(&mut self) -> Result<(), ServeError> {
        for out in self.session.poll(clock::monotonic_ms()) {
            let flags = if out.end { FLAG_END } else { 0 };
            self.conversation.send_parts(out.kind, flags, &[&out.body]).await?;
        }
        Ok(())
    }

    async fn sync_if_due(&mut self) -> Result<(), ServeError> {
        let Some(stored) = self.stored else { return Ok(()) };
        if self.syncing || !self.session.sync_due(clock::monotonic_ms()) {
            return Ok(());
        }
        self.syncing = true;
        let answer = self.answer.clone();
        self.served
            .handle
            .sync(move |store, failed| {
                let said = match failed {
                    None => Answer::Synced { seq: store.durable_seq(stored) },
                    Some(failed) => Answer::Failed { code: failed.code, why: failed.why.clone() },
                };
                // The conversation may be over.
                let _unheard = answer.send(said);
            })
            .await?;
        Ok(())
    }

    fn on_answer(&mut self, answer: Answer) {
        match answer {
            Answer::Appended { seq, repeat } => self.session.appended(seq, repeat),
            Answer::Synced { seq } => {
                self.syncing = false;
                self.session.synced(clock::monotonic_ms(), seq);
            }
            Answer::Failed { code, why } => self.refuse(code, &why),
        }
    }

    fn refuse(&mut self, code: Code, why: &str) {
        if !self.session.is_over() {
            let name = self.caller.name.clone();
            self.caller.tell(&Event::Refused { name, code, detail: why.to_owned() });
            let retry_after_s = if matches!(code, Code::Busy | Code::Stopping) { 60 } else { 0 };
            // That the disk is full is all there is to say to a source.
            self.session.refuse(code, retry_after_s, if code == Code::DiskFull { "" } else { why });
        }
    }

    async fn on_frame(&mut self, frame: Frame) -> Result<(), ServeError> {
        let action = match self.session.on_frame(clock::monotonic_ms(), frame.kind, &frame.body) {
            Ok(action) => action,
            Err(refusal) => {
                let name = self.caller.name.clone();
                let why = format!("{} {}", refusal.code.text(), refusal.detail);
                self.caller.tell(&Event::ProtocolBroken { name, why });
                return Ok(());
            }
        };
        match action {
            None => Ok(()),
            Some(BoxAction::Append { seq, .. }) => self.append(seq, frame.body).await,
            Some(BoxAction::Hello(hello)) => self.hello(hello).await,
            Some(BoxAction::Open { key_record, resume_of }) => {
                let key_record = key_record.to_vec();
                self.open(key_record, resume_of).await
            }
            Some(BoxAction::Have(ids)) => self.have(ids).await,
            Some(BoxAction::Commit { record }) => {
                let record = record.to_vec();
                self.commit(record).await
            }
        }
    }

    /// The frame's body moves to the store; the record stands behind the sequence number.
    async fn append(&self, seq: u64, body: Vec<u8>) -> Result<(), ServeError> {
        let Some(stored) = self.stored else { return Ok(()) };
        let answer = self.answer.clone();
        self.served
            .handle
            .post(move |store| {
                let record = body.get(REC_PREFIX_BYTES..).unwrap_or_default();
                let said = match store.append(stored, seq, record, clock::moment()) {
                    Ok(appended) => Answer::Appended { seq, repeat: appended == adit_store::Appended::Repeat },
                    Err(error) => Answer::Failed { code: error.code(), why: error.to_string() },
                };
                let _unheard = answer.send(said);
            })
            .await?;
        Ok(())
    }

    async fn have(&mut self, ids: Vec<adit_wire::ids::Id>) -> Result<(), ServeError> {
        let Some(stored) = self.stored else {
            self.refuse(Code::Protocol, "HAVE is answered after OPEN");
            return Ok(());
        };
        match self.served.handle.call(move |store| store.have(stored, &ids)).await? {
            Ok(present) => self.session.having(&present),
            Err(error) => self.refuse(error.code(), &error.to_string()),
        }
        Ok(())
    }

    async fn hello(&mut self, hello: Hello) -> Result<(), ServeError> {
        let Some(link) = self.caller.link else { return Err(ServeError::refused(Code::NotAllowed)) };
        let (number, takeover) = self.caller.shared.links().begin_session(self.source, link, clock::monotonic_ms());
        self.number = number;
        self.caller.shared.tell_takeover(&self.caller.name, self.caller.remote, takeover);
        let source = self.source;
        let facts = self.served.handle.call(move |store| facts(store, &source)).await?;
        let Some(facts) = facts else {
            self.refuse(Code::NotFound, "this source is not registered in the store");
            return Ok(());
        };
        if hello.epoch < facts.epoch {
            self.refuse(Code::Adopted, "");
            return Ok(());
        }
        self.pending = facts.pending;
        let newest = facts.newest.as_ref().map(|newest| Newest {
            seq: newest.seq,
            head: newest.head,
            body: &newest.body,
            received_s: newest.received_s,
        });
        let greeted = Greeted {
            store: self.served.id,
            newest,
            pending: facts.pending,
            server_time_s: clock::wall_s(),
            used_bytes: facts.used_bytes,
            quota_bytes: 0,
            wanted: &facts.wanted,
        };
        if let Err(refusal) = self.session.welcome(&greeted) {
            self.refuse(refusal.code, refusal.detail);
        }
        Ok(())
    }

    async fn open(&mut self, key_record: Vec<u8>, resume_of: Option<KeyId>) -> Result<(), ServeError> {
        let source = self.source;
        let told = self.pending.filter(|_| resume_of.is_some());
        let opened = self
            .served
            .handle
            .call(move |store| match told {
                // Records of the connection before came in since: the source counts from what WELCOME said.
                Some(told) if !still_stands(store, &source, told) => None,
                _ => Some(store.open_session(&source, &key_record, resume_of, clock::moment())),
            })
            .await?;
        let Some(opened) = opened else {
            self.session.refuse(Code::Busy, 1, "the connection before was still sending; try again");
            return Ok(());
        };
        match opened {
            Ok(stored) => {
                self.stored = Some(stored);
                self.caller.tell(&Event::SessionOpened { name: self.caller.name.clone() });
            }
            Err(error) => self.refuse(error.code(), &error.to_string()),
        }
        Ok(())
    }

    async fn commit(&mut self, record: Vec<u8>) -> Result<(), ServeError> {
        let Some(stored) = self.stored else { return Ok(()) };
        let outcome = self.served.handle.call(move |store| store.commit(stored, &record, clock::moment())).await?;
        // A record that was refused before tells more than what is missing because of it.
        while let Ok(answer) = self.answers.try_recv() {
            self.on_answer(answer);
        }
        match outcome {
            Ok(Commit::Committed { block, hash, seq, head, received_s }) => {
                let receipt = Receipt {
                    store: self.served.id,
                    source: self.source,
                    seq,
                    head,
                    ledger_block: block,
                    ledger_hash: hash,
                    time_s: received_s,
                }
                .to_bytes();
                let signature = self.caller.shared.identity.sign(PREFIX_RECEIPT, &receipt);
                self.session.committed(&[&receipt[..], &signature.0].concat());
                self.committed = true;
                if let Some(period_s) = self.session.period_s() {
                    self.caller.shared.note_period(self.source, period_s);
                }
                self.caller.tell(&Event::Committed { name: self.caller.name.clone(), seq });
                self.caller.shared.health_changed();
            }
            Ok(Commit::Missing { ids, more }) => self.session.missing(&ids, more),
            Err(error) => self.refuse(error.code(), &crate::report::chain(&error)),
        }
        Ok(())
    }

    /// Whatever ended the conversation: the store's session ends too, and what it received stays for a resumed run.
    async fn end(&self, outcome: &Result<(), ServeError>) {
        self.caller.shared.links().end_session(&self.source, self.number);
        let Some(stored) = self.stored.filter(|_| !self.committed) else { return };
        let why = match outcome {
            Ok(()) => "the conversation ended".to_owned(),
            Err(ServeError::Link(LinkError::Broken(error))) => error.to_string(),
            Err(ServeError::Link(error)) => error.to_string(),
            Err(ServeError::Refused { code, .. }) => code.text().to_owned(),
        };
        self.caller.tell(&Event::SessionCut { name: self.caller.name.clone(), why });
        // When the store is closed its sessions have ended.
        let _closed = self.served.handle.post(move |store| store.end_session(stored)).await;
    }
}

/// What WELCOME tells of a source.
struct Facts {
    epoch: u32,
    newest: Option<adit_store::SnapshotEntry>,
    pending: Option<Pending>,
    used_bytes: u64,
    /// Records that are damaged here beyond healing.
    wanted: Vec<adit_wire::ids::Id>,
}

/// Whether an unfinished run's durable number is what it was.
fn still_stands(store: &mut BoxStore, source: &SourceId, told: Pending) -> bool {
    // If it fails the store is read-only, and opening says so.
    let _read_only = store.sync(clock::moment());
    store.pending(source).is_some_and(|now| now.key_id == told.key_id && now.durable_seq == told.durable_seq)
}

fn facts(store: &mut BoxStore, source: &SourceId) -> Option<Facts> {
    let epoch = store.source(source)?.epoch;
    let mut pending = store.pending(source);
    if pending.is_some_and(|pending| pending.received_seq > pending.durable_seq) {
        // If it fails the store is read-only, and OPEN will say so.
        let _read_only = store.sync(clock::moment());
        pending = store.pending(source);
    }
    Some(Facts {
        epoch,
        newest: store.newest(source),
        pending: pending.map(|pending| Pending {
            key_id: pending.key_id,
            durable_seq: pending.durable_seq,
            received_seq: pending.received_seq,
        }),
        used_bytes: store.used_bytes(source),
        wanted: store.wanted(source, IDS_MAX),
    })
}

/// `adit certify`: the certificate of a source that was set up without its recovery key at hand.
pub(super) async fn certify(caller: &Caller, frame: &Frame, conversation: &Conversation) -> Result<(), ServeError> {
    let asked: Certify<'_> = frame.message()?;
    let served = caller.store()?;
    let keys = caller.own_source().filter(|keys| keys.source == asked.source);
    let keys = keys.ok_or_else(|| ServeError::detailed(Code::NotAllowed, "this key sends another source"))?;
    let (certificate, body, signature) = Certificate::read(asked.certificate)
        .map_err(|error| ServeError::detailed(Code::Protocol, error.to_string()))?;
    if certificate.source != asked.source
        || !adit_link::verify(&asked.recovery_key, PREFIX_CERTIFICATE, body, &signature)
    {
        return Err(ServeError::refused(Code::Signature));
    }
    let (id, recovery_key, bytes) = (asked.source, asked.recovery_key, asked.certificate.to_vec());
    let (signing_key, epoch) = (certificate.signing_key, certificate.epoch);
    let put = served
        .handle
        .call(move |store| {
            let known = store.source(&id).cloned().ok_or(Code::NotFound)?;
            let same_owner = known.recovery_key.is_zero() || known.recovery_key == recovery_key;
            if !same_owner || known.signing_key != signing_key {
                return Err(Code::Signature);
            }
            if epoch < known.epoch {
                return Err(Code::EpochOld);
            }
            let source = adit_store::Source { recovery_key, certificate: bytes, epoch, ..known };
            store.put_source(source, clock::moment()).map_err(|error| error.code())
        })
        .await?;
    put.map_err(ServeError::refused)?;
    note_certificate(caller, SourceKeys { recovery_key, certificate: asked.certificate.to_vec(), ..keys })?;
    Ok(conversation.send(&Certified {}, true).await?)
}

/// The peer's file says the same as the store.
fn note_certificate(caller: &Caller, keys: SourceKeys) -> Result<(), ServeError> {
    let peers = caller.shared.peers();
    let Some(peer) = peers.by_key(&caller.key) else { return Ok(()) };
    let peer = crate::peers::Peer { source: Some(keys), ..peer.clone() };
    caller.shared.put_peer(&peer).map_err(|error| {
        caller.tell(&Event::Trouble { what: crate::report::chain(&error) });
        ServeError::refused(Code::Internal)
    })
}
