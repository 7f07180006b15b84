// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Each rule of a backup conversation, broken on purpose: by the source against the box, by the box against the source.

use adit_proto::backup::{
    BoxAction, BoxSession, CreditPool, Greeted, History, Outgoing, REC, Refusal, Resume, ResumeError, SourceError,
    SourceEvent, SourceSession, SourceStart,
};
use adit_proto::encode;
use adit_wire::backup::{Ack, CREDIT_FLOOR_BYTES, Committed, Have, Having, Hello, Missing, Newest, Pending, Welcome};
use adit_wire::frame::{Kind, Message};
use adit_wire::ids::{Id, KeyId, SourceId, StoreId};
use adit_wire::list::Ids;
use adit_wire::refusal::{Code, Refused};

const SOURCE: SourceId = SourceId([5; 16]);
const KEY: KeyId = KeyId([1; 16]);

fn new_source() -> SourceSession {
    SourceSession::new(SourceStart { source: SOURCE, epoch: 1, newest_seq: 0, newest_head: Id::ZERO })
}

fn greeted<'a>() -> Greeted<'a> {
    Greeted {
        store: StoreId([2; 16]),
        newest: None,
        pending: None,
        server_time_s: 0,
        used_bytes: 0,
        quota_bytes: 0,
        wanted: &[],
    }
}

fn give<'a>(receiver: &mut BoxSession, frame: &'a Outgoing) -> Option<BoxAction<'a>> {
    receiver.on_frame(0, frame.kind, &frame.body).expect("not refused")
}

/// Both sides up to OPEN, on a pool of `pool_bytes`.
fn opened(pool_bytes: u32) -> (SourceSession, BoxSession) {
    let mut source = new_source();
    let mut receiver = BoxSession::new(SOURCE, &CreditPool::new(pool_bytes)).expect("an empty pool");
    let hello = source.hello().expect("first");
    assert!(matches!(give(&mut receiver, &hello), Some(BoxAction::Hello(_))));
    receiver.welcome(&greeted()).expect("asked");
    pass(&mut receiver, &mut source, 0);
    let open = source.open(KEY, vec![9; 10], None).expect("welcomed");
    assert_eq!(give(&mut receiver, &open), Some(BoxAction::Open { key_record: &[9; 10], resume_of: None }));
    (source, receiver)
}

fn pass(receiver: &mut BoxSession, source: &mut SourceSession, now_ms: u64) -> Vec<SourceEvent> {
    let frames = receiver.poll(now_ms);
    frames.iter().filter_map(|frame| source.on_frame(frame.kind, &frame.body).expect("an honest box")).collect()
}

fn rec(seq: u64, bytes: usize) -> Vec<u8> {
    [&seq.to_le_bytes()[..], &vec![0; bytes]].concat()
}

fn refused_with(receiver: &mut BoxSession, kind: Kind, body: &[u8]) -> Code {
    let Refusal { code, .. } = receiver.on_frame(0, kind, body).expect_err("it breaks a rule");
    let frames = receiver.poll(0);
    let last = frames.last().expect("REFUSED is queued");
    assert!(last.end && last.kind.method == 255);
    assert_eq!(Refused::decode(&last.body).expect("REFUSED").code, code as u16);
    assert!(receiver.is_over());
    assert_eq!(receiver.on_frame(0, REC, &rec(1, 9)), Ok(None), "what was under way is dropped");
    code
}

#[test]
fn the_box_refuses_frames_out_of_turn() {
    let hello = encode::body(&Hello { source: SOURCE, epoch: 1, newest_seq: 0, newest_head: Id::ZERO }).expect("fits");
    let pool = CreditPool::new(1 << 20);
    let fresh = || BoxSession::new(SOURCE, &pool).expect("room");
    assert_eq!(refused_with(&mut fresh(), REC, &rec(1, 9)), Code::Protocol);
    assert_eq!(refused_with(&mut fresh(), Welcome::KIND, &[]), Code::UnknownMethod);
    assert_eq!(refused_with(&mut fresh(), Hello::KIND, &hello[1..]), Code::Protocol);
    let other = encode::body(&Hello { source: SourceId([6; 16]), epoch: 1, newest_seq: 0, newest_head: Id::ZERO });
    assert_eq!(refused_with(&mut fresh(), Hello::KIND, &other.expect("fits")), Code::NotAllowed);
    let (_, mut receiver) = opened(1 << 20);
    assert_eq!(refused_with(&mut receiver, Hello::KIND, &hello), Code::Protocol);
}

#[test]
fn records_come_in_order_and_within_credit() {
    for (seq, bytes) in [(0, 9), (2, 9), (u64::MAX, 9)] {
        let (_, mut receiver) = opened(1 << 20);
        assert_eq!(refused_with(&mut receiver, REC, &rec(seq, bytes)), Code::Protocol, "number {seq}");
    }
    let (_, mut receiver) = opened(1 << 20);
    assert_eq!(refused_with(&mut receiver, REC, &rec(1, (2 << 20) + 1)), Code::Protocol, "longer than a record");
    let (_, mut receiver) = opened(1 << 20);
    assert_eq!(refused_with(&mut receiver, REC, &[1; 7]), Code::Protocol, "shorter than a number");
    // The pool gives 256 KiB and three quarters of the other half: a longer record may come alone, nothing beside it.
    let (_, mut receiver) = opened(1 << 20);
    let first = rec(1, 2 << 20);
    let action = receiver.on_frame(0, REC, &first).expect("alone, any record fits");
    assert_eq!(action, Some(BoxAction::Append { seq: 1, record: &first[8..] }));
    assert_eq!(refused_with(&mut receiver, REC, &rec(2, 1)), Code::Protocol, "beyond its credit");
}

#[test]
fn small_credit_is_renewed_at_once() {
    let (mut source, mut receiver) = opened(1 << 20);
    for _ in 0..100 {
        assert!(source.may_send(200 << 10));
        let rec = source.take_record(vec![0; 200 << 10]).expect("it may");
        receiver.on_frame(5, REC, &[&rec.prefix()[..], &rec.record].concat()).expect("within credit");
        assert!(pass(&mut receiver, &mut source, 5).is_empty(), "not appended yet");
        receiver.appended(rec.seq, false);
        let events = pass(&mut receiver, &mut source, 5);
        assert!(matches!(events[..], [SourceEvent::Acked { .. }]), "{events:?}");
        if receiver.sync_due(5) {
            receiver.synced(5, rec.seq);
            pass(&mut receiver, &mut source, 5);
        }
    }
    assert_eq!(source.waits().window, 0);
}

#[test]
fn acknowledgement_and_sync_have_deadlines() {
    let (mut source, mut receiver) = opened(32 << 20);
    assert_eq!(receiver.next_deadline_ms(), None);
    let mut send = |receiver: &mut BoxSession, now_ms: u64, bytes: usize| {
        let rec = source.take_record(vec![0; bytes]).expect("it may");
        receiver.on_frame(now_ms, REC, &[&rec.prefix()[..], &rec.record].concat()).expect("within credit");
        receiver.appended(rec.seq, false);
    };
    for now_ms in (1_000..1_900).step_by(100) {
        send(&mut receiver, now_ms, 1_000);
        assert!(receiver.poll(now_ms).is_empty() && !receiver.sync_due(now_ms));
    }
    assert_eq!(receiver.next_deadline_ms(), Some(2_000), "a second after the first record, or 200 ms after the last");
    assert!(receiver.sync_due(2_000), "the source pauses");
    assert_eq!(receiver.poll(2_000).len(), 1);
    receiver.synced(2_000, 9);
    let frames = receiver.poll(2_000);
    let ack = Ack::decode(&frames[0].body).expect("ACK");
    assert_eq!((ack.received_seq, ack.durable_seq), (9, 9));
    assert_eq!(receiver.next_deadline_ms(), None);
    for now_ms in (3_000..8_000).step_by(100) {
        send(&mut receiver, now_ms, 1_000);
        assert!(!receiver.sync_due(now_ms), "at {now_ms}");
        receiver.poll(now_ms);
    }
    send(&mut receiver, 8_000, 1_000);
    assert!(receiver.sync_due(8_000), "five seconds after the first");
    receiver.synced(8_000, 60);
    for _ in 0..4 {
        send(&mut receiver, 8_001, 1 << 20);
    }
    assert_eq!(receiver.poll(8_001).len(), 1, "4 MiB");
    assert!(!receiver.sync_due(8_001));
    for _ in 0..4 {
        send(&mut receiver, 8_002, 1 << 20);
    }
    assert!(receiver.sync_due(8_002), "8 MiB");
}

#[test]
fn a_period_is_said_between_open_and_commit() {
    let (mut source, mut receiver) = opened(16 << 20);
    assert_eq!(source.period(0), Ok(None), "a run by hand says nothing");
    let said = source.period(3_600).expect("its turn").expect("a schedule");
    assert_eq!(receiver.period_s(), None);
    assert_eq!(give(&mut receiver, &said), None);
    assert_eq!(receiver.period_s(), Some(3_600));
    let longest = source.period(u64::MAX).expect("its turn").expect("a schedule");
    assert_eq!(give(&mut receiver, &longest), None);
    assert_eq!(receiver.period_s(), Some(adit_wire::backup::PERIOD_S_MAX));
    let commit = source.commit(&[3; 9]).expect("its turn");
    give(&mut receiver, &commit);
    assert!(source.period(3_600).is_err());
    assert_eq!(refused_with(&mut receiver, said.kind, &said.body), Code::Protocol, "after COMMIT");
    let mut early = BoxSession::new(SOURCE, &CreditPool::new(16 << 20)).expect("an empty pool");
    assert_eq!(refused_with(&mut early, said.kind, &said.body), Code::Protocol, "before OPEN");
    let (_, mut other) = opened(16 << 20);
    assert_eq!(refused_with(&mut other, said.kind, &[0]), Code::Protocol, "no period at all");
}

#[test]
fn a_commit_counts_its_records_and_has_three_rounds() {
    let (mut source, mut receiver) = opened(16 << 20);
    let rec = source.take_record(vec![0; 100]).expect("it may");
    let commit = source.commit(&[3; 9]).expect("its turn");
    let (_, mut other) = opened(16 << 20);
    assert_eq!(refused_with(&mut other, commit.kind, &commit.body), Code::Protocol, "a record is not there");
    receiver.on_frame(0, REC, &[&rec.prefix()[..], &rec.record].concat()).expect("in order");
    receiver.appended(1, true);
    assert_eq!(give(&mut receiver, &commit), Some(BoxAction::Commit { record: &[3; 9] }));
    for _ in 0..3 {
        receiver.missing(&[Id([4; 32])], false);
        let events = pass(&mut receiver, &mut source, 0);
        assert_eq!(events.last(), Some(&SourceEvent::Missing { ids: vec![Id([4; 32])], more: false }));
        let commit = source.commit(&[3; 9]).expect("its turn");
        give(&mut receiver, &commit);
    }
    receiver.missing(&[Id([4; 32])], false);
    let events = pass(&mut receiver, &mut source, 0);
    assert!(matches!(events[..], [SourceEvent::Refused { code: 51, .. }]), "{events:?}");
    assert_eq!(source.waits().commit, 4);
    assert_eq!(Code::TooManyRounds as u16, 51);
}

#[test]
fn missing_is_cut_to_what_one_frame_names() {
    let (mut source, mut receiver) = opened(16 << 20);
    give(&mut receiver, &source.commit(&[3; 9]).expect("its turn"));
    let ids: Vec<Id> = (0..5_000u32).map(|n| Id(*blake3::hash(&n.to_le_bytes()).as_bytes())).collect();
    receiver.missing(&ids, false);
    let events = pass(&mut receiver, &mut source, 0);
    let [SourceEvent::Missing { ids: sent, more: true }] = &events[..] else { panic!("{events:?}") };
    assert_eq!(sent[..], ids[..4_096]);
}

#[test]
fn have_is_answered_in_order() {
    let (mut source, mut receiver) = opened(16 << 20);
    let batches: [usize; 3] = [1, 13, 4_096];
    for count in batches {
        let have = source.have(&vec![Id([7; 32]); count]).expect("its turn");
        let Some(BoxAction::Have(ids)) = give(&mut receiver, &have) else { panic!("HAVE") };
        assert_eq!(ids.len(), count);
        let flags: Vec<bool> = (0..count).map(|index| index % 3 == 0).collect();
        receiver.having(&flags);
    }
    let events = pass(&mut receiver, &mut source, 0);
    for (event, count) in events.iter().zip(batches) {
        let SourceEvent::Having(flags) = event else { panic!("{event:?}") };
        assert_eq!(*flags, (0..count).map(|index| index % 3 == 0).collect::<Vec<_>>());
    }
    assert_eq!((events.len(), source.waits().having), (3, 1), "a burst waits once");
    assert!(source.have(&vec![Id([7; 32]); 4_097]).is_err());
    let none = encode::body(&Have { ids: Ids::default() }).expect("fits");
    assert_eq!(refused_with(&mut receiver, Have::KIND, &none), Code::Protocol);
}

#[test]
fn a_box_that_lies_is_found_out() {
    fn ack(received_seq: u64, durable_seq: u64, repeats: u32) -> Vec<u8> {
        encode::body(&Ack { received_seq, durable_seq, credit: 1 << 20, repeats }).expect("fits")
    }
    let sending = || {
        let (mut source, _) = opened(16 << 20);
        for _ in 0..3 {
            source.take_record(vec![0; 100]).expect("it may");
        }
        source.on_frame(Ack::KIND, &ack(2, 1, 1)).expect("possible");
        source
    };
    for (received, durable, repeats) in [(4, 1, 1), (2, 3, 1), (1, 1, 1), (2, 0, 1), (2, 1, 0), (u64::MAX, 1, 1)] {
        let error = sending().on_frame(Ack::KIND, &ack(received, durable, repeats));
        assert_eq!(error, Err(SourceError::Impossible), "{received} {durable} {repeats}");
    }
    let committed = encode::body(&Committed { receipt: &[1] }).expect("fits");
    assert_eq!(sending().on_frame(Committed::KIND, &committed), Err(SourceError::Turn));
    let missing = encode::body(&Missing { ids: Ids::default(), more: false }).expect("fits");
    assert_eq!(sending().on_frame(Missing::KIND, &missing), Err(SourceError::Turn));
    let mut source = sending();
    source.commit(&[1]).expect("its turn");
    assert_eq!(source.on_frame(Missing::KIND, &missing), Err(SourceError::Impossible), "nothing is missing");
    assert_eq!(sending().on_frame(Having::KIND, &[1, 0]), Err(SourceError::Turn));
    assert_eq!(sending().on_frame(Hello::KIND, &[]), Err(SourceError::Unknown(Hello::KIND)));
}

#[test]
fn the_window_is_sixteen_mebibytes_and_one_record_always_fits() {
    let mut source = new_source();
    source.hello().expect("first");
    let welcome = Welcome {
        store: StoreId::ZERO,
        newest: None,
        pending: None,
        credit: u32::MAX,
        server_time_s: 0,
        used_bytes: 0,
        quota_bytes: 0,
        wanted: Ids::default(),
    };
    source.on_frame(Welcome::KIND, &encode::body(&welcome).expect("fits")).expect("asked");
    source.open(KEY, vec![1], None).expect("welcomed");
    let mut taken = 0;
    while source.may_send(1 << 20) {
        source.take_record(vec![0; 1 << 20]).expect("it may");
        taken += 1;
    }
    assert_eq!(taken, 15, "15 MiB and 15 prefixes; a sixteenth would pass 16 MiB");
    assert!(!source.may_send(1 << 20));
    assert_eq!(source.waits().window, 1, "shut once, asked twice");
    assert_eq!(source.take_record(vec![0; 1 << 20]), Err(SourceError::WindowShut));
    let ack = Ack { received_seq: 15, durable_seq: 15, credit: 0, repeats: 0 };
    source.on_frame(Ack::KIND, &encode::body(&ack).expect("fits")).expect("possible");
    assert!(source.may_send(2 << 20), "nothing is under way: one record fits without credit");
    source.take_record(vec![0; 2 << 20]).expect("it may");
    assert!(!source.may_send(1));
}

#[test]
fn credit_is_shared_and_comes_back() {
    let pool = CreditPool::new(2 << 20);
    assert_eq!(CreditPool::for_memory(1 << 30).free_bytes(), 16 << 20);
    assert_eq!(CreditPool::for_memory(64 << 30).free_bytes(), 32 << 20);
    assert_eq!(CreditPool::new(u32::MAX).free_bytes(), 32 << 20, "never above");
    let mut sessions: Vec<BoxSession> = Vec::new();
    loop {
        match BoxSession::new(SOURCE, &pool) {
            Ok(mut receiver) => {
                let hello = new_source().hello().expect("first");
                give(&mut receiver, &hello);
                receiver.welcome(&greeted()).expect("asked");
                let frames = receiver.poll(0);
                let credit = Welcome::decode(&frames[0].body).expect("WELCOME").credit;
                assert!(credit >= CREDIT_FLOOR_BYTES, "session {} got {credit}", sessions.len());
                sessions.push(receiver);
            }
            Err(refusal) => {
                assert_eq!((refusal.code, sessions.len()), (Code::Busy, 4), "half of 2 MiB is four floors");
                break;
            }
        }
    }
    sessions.clear();
    assert_eq!(pool.free_bytes(), 2 << 20);
}

#[test]
fn a_run_goes_on_only_where_the_box_agrees() {
    let reconnected = |pending: Option<Pending>| {
        let (mut source, _) = opened(16 << 20);
        for _ in 0..5 {
            source.take_record(vec![0; 100]).expect("it may");
        }
        let ack = Ack { received_seq: 4, durable_seq: 2, credit: 1 << 20, repeats: 0 };
        source.on_frame(Ack::KIND, &encode::body(&ack).expect("fits")).expect("possible");
        source.reconnect();
        source.hello().expect("a new connection");
        let mut receiver = BoxSession::new(SOURCE, &CreditPool::new(16 << 20)).expect("an empty pool");
        receiver.on_frame(0, Hello::KIND, &source_hello()).expect("not refused");
        receiver.welcome(&Greeted { pending, ..greeted() }).expect("asked");
        pass(&mut receiver, &mut source, 0);
        let how = source.resume();
        (source, receiver, how)
    };
    let pending = |key_id, durable_seq| Some(Pending { key_id, durable_seq, received_seq: durable_seq + 1 });
    assert_eq!(reconnected(None).2, Err(ResumeError::Lost));
    assert_eq!(reconnected(pending(KeyId([8; 16]), 2)).2, Err(ResumeError::Lost));
    assert_eq!(reconnected(pending(KEY, 1)).2, Err(ResumeError::WentBack { said: 2, got: 1 }));
    assert_eq!(reconnected(pending(KEY, 6)).2, Err(ResumeError::WentBack { said: 2, got: 6 }));
    let (mut source, mut receiver, how) = reconnected(pending(KEY, 3));
    assert_eq!(how, Ok(Resume::Adopt(KEY)));
    assert_eq!(source.open(KeyId([2; 16]), vec![1], None), Err(SourceError::NotPending));
    let open = source.open(KeyId([2; 16]), vec![1], Some(KEY)).expect("agreed");
    assert_eq!(give(&mut receiver, &open), Some(BoxAction::Open { key_record: &[1], resume_of: Some(KEY) }));
    assert!(!source.may_send(1), "kept records go first");
    let again: Vec<(u64, [u8; 8])> =
        core::iter::from_fn(|| source.next_resend()).map(|rec| (rec.seq, rec.prefix())).collect();
    assert_eq!(again, [(4, 4u64.to_le_bytes()), (5, 5u64.to_le_bytes())]);
    assert_eq!((source.durable_seq(), source.resent_bytes()), (3, 216));
    let wrong = source_open(KeyId([9; 16]));
    let (_, mut receiver, _) = reconnected(pending(KEY, 3));
    assert_eq!(refused_with(&mut receiver, adit_wire::backup::Open::KIND, &wrong), Code::Protocol);
}

fn source_hello() -> Vec<u8> {
    encode::body(&Hello { source: SOURCE, epoch: 1, newest_seq: 0, newest_head: Id::ZERO }).expect("fits")
}

fn source_open(resume_of: KeyId) -> Vec<u8> {
    encode::body(&adit_wire::backup::Open { key_record: &[1], resume_of }).expect("fits")
}

#[test]
fn histories_are_compared() {
    let mut receiver = BoxSession::new(SOURCE, &CreditPool::new(16 << 20)).expect("an empty pool");
    let mut source = new_source();
    let hello = source.hello().expect("first");
    give(&mut receiver, &hello);
    let newest = Some(Newest { seq: 7, head: Id([7; 32]), body: &[1, 2], received_s: 5 });
    receiver.welcome(&Greeted { newest, ..greeted() }).expect("asked");
    let events = pass(&mut receiver, &mut source, 0);
    let [SourceEvent::Welcomed(info)] = &events[..] else { panic!("{events:?}") };
    assert_eq!(info.history(7, &Id([7; 32])), History::Same);
    assert_eq!(info.history(7, &Id([6; 32])), History::Forked);
    assert_eq!(info.history(6, &Id([6; 32])), History::BoxAhead);
    assert_eq!(info.history(8, &Id([8; 32])), History::BoxBehind);
}

/// A new process goes on with the run of one that died. Its OPEN is lost, and meanwhile the box made more of the dead
/// one's records durable: these numbers say nothing about records of this process.
#[test]
fn a_lost_open_is_sent_again_behind_what_the_box_has_now() {
    let old = KeyId([8; 16]);
    let greet = |source: &mut SourceSession, durable_seq| {
        source.hello().expect("a new connection");
        let mut receiver = BoxSession::new(SOURCE, &CreditPool::new(16 << 20)).expect("an empty pool");
        receiver.on_frame(0, Hello::KIND, &source_hello()).expect("not refused");
        let pending = Some(Pending { key_id: old, durable_seq, received_seq: durable_seq });
        receiver.welcome(&Greeted { pending, ..greeted() }).expect("asked");
        pass(&mut receiver, source, 0);
        receiver
    };
    let mut source = new_source();
    greet(&mut source, 5);
    source.open(KEY, vec![1], Some(old)).expect("welcomed");
    let seqs: Vec<u64> = (0..2).map(|_| source.take_record(vec![0; 100]).expect("it may").seq).collect();
    assert_eq!(seqs, [6, 7]);
    source.reconnect();
    let mut receiver = greet(&mut source, 8);
    assert_eq!(source.resume(), Ok(Resume::Again));
    let open = source.reopen().expect("its turn");
    assert_eq!(give(&mut receiver, &open), Some(BoxAction::Open { key_record: &[1], resume_of: Some(old) }));
    for seq in [9, 10] {
        let rec = source.next_resend().expect("kept");
        assert_eq!(rec.seq, seq);
        receiver.on_frame(0, REC, &[&rec.prefix()[..], &rec.record].concat()).expect("in order");
    }
    assert!(source.next_resend().is_none());
    assert_eq!((source.durable_seq(), source.last_seq(), source.resent_bytes()), (8, 10, 216));
    let ack = Ack { received_seq: 10, durable_seq: 9, credit: 1 << 20, repeats: 0 };
    source.on_frame(Ack::KIND, &encode::body(&ack).expect("fits")).expect("possible");
    source.reconnect();
    greet(&mut source, 9);
    assert_eq!(source.resume(), Err(ResumeError::Lost), "it had this session, and has it no more");
}
