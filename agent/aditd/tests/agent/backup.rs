// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A source backs up over real links into a real store: promises, resumption after a kill, and who is refused.

use crate::lab::{As, Lab, Machine, ask, code_of, next};
use crate::sealed::{Sealer, certificate, id_of, noise};
use adit_link::{Conversation, Link, LinkError};
use adit_proto::backup::{REC, SourceEvent, SourceSession, SourceStart, WelcomeInfo};
use adit_proto::proof::read_body;
use adit_wire::admin::{Verified, Verify, Verifying};
use adit_wire::backup::{Certified, Certify};
use adit_wire::frame::{FLAG_END, Message};
use adit_wire::ids::Id;
use adit_wire::list::Ids;
use adit_wire::pair::Role;
use adit_wire::read::{Fetch, Fetched, List, Listed, METHOD_RECORD, Prove, Proved, Scope};
use adit_wire::refusal::Code;
use adit_wire::signed::{PREFIX_READ, PREFIX_RECEIPT, Receipt};

/// A source's side of a run over a link.
pub(crate) struct Runner {
    pub(crate) conversation: Conversation,
    pub(crate) session: SourceSession,
}

pub(crate) enum Outcome {
    Committed(Vec<u8>),
    Missing(Vec<Id>),
}

impl Runner {
    /// HELLO and WELCOME.
    pub(crate) async fn hello(link: &Link, start: SourceStart) -> Result<(Self, WelcomeInfo), LinkError> {
        let mut runner = Self { conversation: link.open()?, session: SourceSession::new(start) };
        let hello = runner.session.hello().expect("first");
        runner.send(&hello).await?;
        loop {
            if let SourceEvent::Welcomed(welcome) = runner.event().await? {
                return Ok((runner, welcome));
            }
        }
    }

    async fn send(&self, out: &adit_proto::backup::Outgoing) -> Result<(), LinkError> {
        let flags = if out.end { FLAG_END } else { 0 };
        self.conversation.send_parts(out.kind, flags, &[&out.body]).await
    }

    pub(crate) async fn event(&mut self) -> Result<SourceEvent, LinkError> {
        loop {
            let frame = next(&self.conversation).await?;
            if let Some(event) = self.session.on_frame(frame.kind, &frame.body).expect("the box keeps the protocol") {
                return Ok(event);
            }
        }
    }

    pub(crate) async fn open(
        &mut self,
        sealer: &Sealer<'_>,
        resume_of: Option<adit_wire::ids::KeyId>,
    ) -> Result<(), LinkError> {
        let open = self.session.open(sealer.key_id, sealer.key_record(), resume_of).expect("its turn");
        self.send(&open).await
    }

    /// Sends records as far as the window goes, waiting for it where it is shut.
    pub(crate) async fn records(&mut self, records: &[Vec<u8>]) -> Result<(), LinkError> {
        for record in records {
            while !self.session.may_send(record.len()) {
                self.event().await?;
            }
            let rec = self.session.take_record(record.clone()).expect("the window is open");
            self.conversation.send_parts(REC, 0, &[&rec.prefix(), &rec.record]).await?;
        }
        Ok(())
    }

    /// Waits until so many records are durable.
    pub(crate) async fn durable(&mut self, count: u64) -> Result<(), LinkError> {
        loop {
            if let SourceEvent::Acked { durable_seq, .. } = self.event().await?
                && durable_seq >= count
            {
                return Ok(());
            }
        }
    }

    pub(crate) async fn commit(&mut self, snapshot: &[u8]) -> Result<Outcome, LinkError> {
        let commit = self.session.commit(snapshot).expect("its turn");
        self.send(&commit).await?;
        loop {
            match self.event().await? {
                SourceEvent::Committed(receipt) => return Ok(Outcome::Committed(receipt)),
                SourceEvent::Missing { ids, .. } => return Ok(Outcome::Missing(ids)),
                SourceEvent::Welcomed(_)
                | SourceEvent::Acked { .. }
                | SourceEvent::Having(_)
                | SourceEvent::Refused { .. } => {}
            }
        }
    }
}

pub(crate) fn start(machine: &Machine) -> SourceStart {
    SourceStart { source: machine.source, epoch: 1, newest_seq: 0, newest_head: Id::ZERO }
}

/// What a small run sends.
pub(crate) struct SmallRun {
    pub(crate) records: Vec<Vec<u8>>,
    pub(crate) snapshot: Vec<u8>,
}

/// `count` data records of `bytes` each, an info record and the node above them.
pub(crate) fn small_run(sealer: &mut Sealer<'_>, seq: u64, prev: Id, count: u64, bytes: usize) -> SmallRun {
    let mut records: Vec<Vec<u8>> = (0..count).map(|seed| sealer.data(&noise(bytes, seed ^ seq << 32))).collect();
    let data: Vec<Id> = records.iter().map(|record| id_of(record)).collect();
    let info = sealer.data(&noise(100, u64::MAX - seq));
    let root = sealer.node(&data);
    let snapshot = sealer.snapshot(seq, prev, id_of(&root), id_of(&info), count + 2);
    records.extend([info, root]);
    SmallRun { records, snapshot }
}

/// Backs a small run up; answers what was sent and the receipt.
pub(crate) async fn back_up(lab: &Lab, machine: &Machine, key: u8) -> (SmallRun, Vec<u8>) {
    back_up_every(lab, machine, key, 0).await
}

/// The same by a schedule.
pub(crate) async fn back_up_every(lab: &Lab, machine: &Machine, key: u8, period_s: u64) -> (SmallRun, Vec<u8>) {
    let link = machine.connect(lab).await;
    let (mut runner, welcome) = Runner::hello(&link, start(machine)).await.expect("welcome");
    let (seq, prev) = welcome.newest.map_or((1, Id::ZERO), |newest| (newest.seq + 1, newest.head));
    let mut sealer = Sealer::new(machine, key, 1);
    runner.open(&sealer, None).await.expect("opened");
    let run = small_run(&mut sealer, seq, prev, 5, 200_000);
    runner.records(&run.records).await.expect("sent");
    if let Some(period) = runner.session.period(period_s).expect("its turn") {
        runner.send(&period).await.expect("sent");
    }
    let outcome = runner.commit(&run.snapshot).await.expect("answered");
    let Outcome::Committed(receipt) = outcome else { panic!("something is missing") };
    (run, receipt)
}

/// Proves to hold the recovery key and fetches these records.
pub(crate) async fn fetch(machine: &Machine, link: &Link, ids: &[Id]) -> Result<Vec<Vec<u8>>, LinkError> {
    let body = read_body(&link.channel_binding(), &machine.source);
    let signature = machine.recovery.sign(PREFIX_READ, &body);
    let prove = Prove { source: machine.source, recovery_key: machine.recovery.public_key(), signature };
    ask(link, &prove).await?.message::<Proved>()?;
    fetch_unproven(machine, link, ids).await
}

pub(crate) async fn fetch_unproven(machine: &Machine, link: &Link, ids: &[Id]) -> Result<Vec<Vec<u8>>, LinkError> {
    let packed: Vec<u8> = ids.iter().flat_map(|id| id.0).collect();
    let ids = Ids::new(&packed).expect("whole");
    let asked = Fetch { source: machine.source, scope: Scope::Records, keys: true, ids };
    let conversation = link.open()?;
    conversation.send(&asked, true).await?;
    let mut records = Vec::new();
    loop {
        let frame = next(&conversation).await?;
        if frame.kind.method == METHOD_RECORD {
            records.push(frame.body);
            continue;
        }
        let fetched: Fetched<'_> = frame.message()?;
        assert_eq!(usize::try_from(fetched.records).expect("few"), records.len());
        assert!(fetched.damaged.is_empty() && fetched.absent.is_empty());
        return Ok(records);
    }
}

#[tokio::test]
async fn what_is_committed_comes_back_after_a_restart() {
    let mut lab = Lab::start(As::Box).await;
    let web = lab.paired(Role::Source, "web1").await;
    let (run, receipt) = back_up(&lab, &web, 1).await;
    let (fields, body, signature) = Receipt::read(&receipt).expect("a receipt");
    assert!(adit_link::verify(&lab.key, PREFIX_RECEIPT, body, &signature));
    assert_eq!((fields.source, fields.seq, fields.head), (web.source, 1, id_of(&run.snapshot)));
    lab.restart().await;
    let link = web.connect(&lab).await;
    let frame = ask(&link, &List { source: web.source, after_seq: 0 }).await.expect("listed");
    let listed: Listed<'_> = frame.message().expect("a list");
    assert_eq!(listed.snapshots.iter().map(|one| one.expect("one").head).collect::<Vec<_>>(), [fields.head]);
    let ids: Vec<Id> = run.records.iter().map(|record| id_of(record)).collect();
    let mut got = fetch(&web, &link, &ids).await.expect("fetched");
    let mut expected = run.records.clone();
    expected.push(Sealer::new(&web, 1, 1).key_record());
    assert_eq!(id_of(&got[0]), id_of(expected.last().expect("key")), "the key record comes first");
    got.sort();
    expected.sort();
    assert!(got == expected, "every byte came back");
}

#[tokio::test]
async fn reading_needs_the_recovery_key() {
    let lab = Lab::start(As::Box).await;
    let (web, other) = (lab.paired(Role::Source, "web1").await, lab.paired(Role::Source, "web2").await);
    let (run, _) = back_up(&lab, &web, 1).await;
    let ids = [id_of(&run.records[0])];
    let link = web.connect(&lab).await;
    let code = |outcome: Result<Vec<Vec<u8>>, LinkError>| outcome.map_err(|error| code_of(&error)).map(|_| ());
    assert_eq!(code(fetch_unproven(&web, &link, &ids).await), Err(Some(Code::ProofNeeded)));
    let wrong = Machine { recovery: adit_link::Identity::generate(), ..web.clone() };
    assert_eq!(code(fetch(&wrong, &link, &ids).await), Err(Some(Code::Signature)));
    // Another source neither lists nor reads it.
    let link = other.connect(&lab).await;
    let listed = ask(&link, &List { source: web.source, after_seq: 0 }).await;
    assert_eq!(listed.map(|_| ()).map_err(|error| code_of(&error)), Err(Some(Code::ProofNeeded)));
    assert_eq!(code(fetch_unproven(&web, &link, &ids).await), Err(Some(Code::ProofNeeded)));
    // Whoever holds the recovery key does, from any paired source.
    fetch(&web, &link, &ids).await.expect("proven");
}

#[tokio::test]
async fn a_commit_names_what_is_missing_and_takes_it_later() {
    let lab = Lab::start(As::Box).await;
    let web = lab.paired(Role::Source, "web1").await;
    let link = web.connect(&lab).await;
    let (mut runner, _) = Runner::hello(&link, start(&web)).await.expect("welcome");
    let mut sealer = Sealer::new(&web, 1, 1);
    runner.open(&sealer, None).await.expect("opened");
    let run = small_run(&mut sealer, 1, Id::ZERO, 3, 1_000);
    let (root, rest) = run.records.split_last().expect("records");
    runner.records(rest).await.expect("sent");
    let Ok(Outcome::Missing(ids)) = runner.commit(&run.snapshot).await else { panic!("root is missing") };
    assert_eq!(ids, [id_of(root)]);
    runner.records(std::slice::from_ref(root)).await.expect("sent");
    assert!(matches!(runner.commit(&run.snapshot).await, Ok(Outcome::Committed(_))));
}

#[tokio::test]
async fn a_cut_run_goes_on_where_it_was() {
    let mut lab = Lab::start(As::Box).await;
    let web = lab.paired(Role::Source, "web1").await;
    let link = web.connect(&lab).await;
    let (mut runner, _) = Runner::hello(&link, start(&web)).await.expect("welcome");
    let mut sealer = Sealer::new(&web, 1, 1);
    runner.open(&sealer, None).await.expect("opened");
    let run = small_run(&mut sealer, 1, Id::ZERO, 6, 100_000);
    runner.records(&run.records[..4]).await.expect("sent");
    runner.durable(4).await.expect("durable");
    lab.restart().await;
    let link = web.connect(&lab).await;
    let (mut runner, welcome) = Runner::hello(&link, start(&web)).await.expect("welcome");
    let pending = welcome.pending.expect("the run is known");
    assert_eq!((pending.key_id, pending.durable_seq), (sealer.key_id, 4));
    let mut again = Sealer::new(&web, 2, 1);
    runner.open(&again, Some(pending.key_id)).await.expect("opened");
    // What is left goes out under the new key; the node names what came before.
    let data: Vec<Id> = run.records[..4].iter().map(|record| id_of(record)).collect();
    let info = again.data(b"info");
    let root = again.node(&data);
    let snapshot = again.snapshot(1, Id::ZERO, id_of(&root), id_of(&info), 6);
    runner.records(&[info, root]).await.expect("sent");
    assert!(matches!(runner.commit(&snapshot).await, Ok(Outcome::Committed(_))));
}

#[tokio::test]
async fn a_second_session_takes_the_source_over() {
    let lab = Lab::start(As::Box).await;
    let web = lab.paired(Role::Source, "web1").await;
    let old = web.connect(&lab).await;
    let (mut first, _) = Runner::hello(&old, start(&web)).await.expect("welcome");
    first.open(&Sealer::new(&web, 1, 1), None).await.expect("opened");
    let new = web.connect(&lab).await;
    let (mut second, _) = Runner::hello(&new, start(&web)).await.expect("welcome");
    old.closed().await;
    let mut sealer = Sealer::new(&web, 2, 1);
    second.open(&sealer, None).await.expect("opened");
    let run = small_run(&mut sealer, 1, Id::ZERO, 2, 1_000);
    second.records(&run.records).await.expect("sent");
    assert!(matches!(second.commit(&run.snapshot).await, Ok(Outcome::Committed(_))));
}

#[tokio::test]
async fn a_source_sends_for_itself_only() {
    let lab = Lab::start(As::Box).await;
    let (web, other) = (lab.paired(Role::Source, "web1").await, lab.paired(Role::Source, "web2").await);
    let link = web.connect(&lab).await;
    let mut runner = Runner { conversation: link.open().expect("open"), session: SourceSession::new(start(&other)) };
    let hello = runner.session.hello().expect("first");
    runner.send(&hello).await.expect("sent");
    let error = next(&runner.conversation).await.expect_err("refused");
    assert_eq!(code_of(&error), Some(Code::NotAllowed));
}

#[tokio::test]
async fn a_record_that_breaks_a_rule_ends_the_session() {
    let lab = Lab::start(As::Box).await;
    let web = lab.paired(Role::Source, "web1").await;
    for (key, spoil) in [(1u8, 70usize), (2, 0), (3, 3)] {
        let link = web.connect(&lab).await;
        let (mut runner, _) = Runner::hello(&link, start(&web)).await.expect("welcome");
        let mut sealer = Sealer::new(&web, key, 1);
        runner.open(&sealer, None).await.expect("opened");
        let mut record = sealer.data(&noise(1_000, 1));
        record[spoil] ^= 0x40;
        runner.records(&[record]).await.expect("sent");
        let error = runner.durable(1).await.expect_err("refused");
        assert_eq!(code_of(&error), Some(Code::Protocol), "byte {spoil}: {error}");
    }
}

#[tokio::test]
async fn the_box_verifies_what_it_holds() {
    let lab = Lab::start(As::Box).await;
    let web = lab.paired(Role::Source, "web1").await;
    back_up(&lab, &web, 1).await;
    let link = web.connect(&lab).await;
    let conversation = link.open().expect("open");
    conversation.send(&Verify {}, true).await.expect("sent");
    let frame = loop {
        let frame = next(&conversation).await.expect("answered");
        if frame.kind != Verifying::KIND {
            break frame;
        }
    };
    let verified: Verified<'_> = frame.message().expect("a report");
    assert_eq!((verified.records_damaged, verified.places_damaged, verified.snapshots), (0, 0, 1));
    assert!(verified.bytes > 1_000_000, "{verified:?}");
    assert!(verified.records_well >= 7, "{verified:?}");
}

#[tokio::test]
async fn a_certificate_is_registered_later() {
    let lab = Lab::start(As::Box).await;
    let web = lab.paired(Role::Source, "web1").await;
    let link = web.connect(&lab).await;
    let bytes = certificate(&web, 1);
    let certify = Certify { source: web.source, recovery_key: web.recovery.public_key(), certificate: &bytes };
    ask(&link, &certify).await.expect("registered").message::<Certified>().expect("registered");
    let frame = ask(&link, &List { source: web.source, after_seq: 0 }).await.expect("listed");
    let listed: Listed<'_> = frame.message().expect("a list");
    assert_eq!(listed.certificate, &bytes[..]);
    // Another recovery key can't take the source.
    let thief = Machine { recovery: adit_link::Identity::generate(), ..web.clone() };
    let bytes = certificate(&thief, 2);
    let certify = Certify { source: web.source, recovery_key: thief.recovery.public_key(), certificate: &bytes };
    let error = ask(&link, &certify).await.expect_err("refused");
    assert_eq!(code_of(&error), Some(Code::Signature));
}
