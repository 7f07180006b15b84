// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A store as its daemon uses it: backups, resumed runs, reading, and everything a hostile source may try.

use crate::support::{SMALL, TestSource, at, backup, created, new_store, open, reboot, record, send, verify};
use adit_store::{
    Access, AppendError, Appended, Commit, CommitError, DirDisk, Geometry, OpenError, SessionError, SourceError, Store,
};
use adit_wire::ids::{Id, KeyId, PublicKey};
use adit_wire::read::Scope;
use adit_wire::record::{Class, Header, Record, SUITE_AES_256_GCM};
use adit_wire::refusal::Code;

fn with_source(seed: u64) -> (adit_store::SimDisk, Store, TestSource) {
    let disk = created(SMALL);
    let mut store = open(&disk);
    let source = TestSource::new(seed);
    store.put_source(source.source(), at(0)).expect("a source");
    (disk, store, source)
}

fn fetch(store: &mut Store, source: &TestSource, scope: Scope, ids: &[Id], keys: bool) -> Vec<Vec<u8>> {
    let mut plan = store.plan_fetch(&source.id, scope, ids, keys).expect("a plan");
    let mut records = Vec::new();
    while let Some(record) = plan.next(store, at(0)) {
        records.push(record.expect("a healthy record"));
    }
    assert!(plan.absent.is_empty() && plan.damaged.is_empty());
    records
}

#[test]
fn a_backup_comes_back() {
    let (disk, mut store, mut source) = with_source(1);
    let (tree, snapshot) = backup(&mut store, &mut source, 40, 10);
    let (second, _) = backup(&mut store, &mut source, 5, 20);
    let report = verify(&mut store);
    assert!(report.is_clean(), "{report:?}");
    store.close(at(30)).expect("a clean end");

    let (mut store, opening) = Store::open(reboot(&disk), Access::ReadWrite, at(40)).expect("it opens again");
    assert!(opening.clean && !opening.index_rebuilt, "{opening:?}");
    let snapshots = store.snapshots(&source.id);
    assert_eq!(snapshots.iter().map(|entry| entry.seq).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(snapshots[0].head, snapshot.id);
    assert_eq!(snapshots[0].body, Record::parse(&snapshot.bytes).expect("a record").body);
    assert!(snapshots.iter().all(|entry| entry.complete));
    assert!(snapshots[1].received_s > snapshots[0].received_s);
    for made in tree.records.iter().chain(&second.records) {
        assert_eq!(store.read_record(&source.id, &made.id).expect("healthy"), Some(made.bytes.clone()));
    }
    let ids: Vec<Id> = tree.records.iter().map(|made| made.id).collect();
    let with_keys = fetch(&mut store, &source, Scope::Records, &ids, true);
    assert_eq!(with_keys.len(), ids.len() + 1);
    assert_eq!(Record::parse(&with_keys[0]).expect("a record").header.class, Class::Key);
    let leaves: Vec<Id> = tree.records.iter().filter(|made| made.height == 1).map(|made| made.id).collect();
    assert_eq!(fetch(&mut store, &source, Scope::DataOfNodes, &leaves, false).len(), 40);
    let absent = store.plan_fetch(&source.id, Scope::Records, &[Id([1; 32])], true).expect("a plan");
    assert_eq!(absent.absent, [Id([1; 32])]);
}

#[test]
fn another_machine_reads_the_disk_and_changes_nothing() {
    let (disk, mut store, mut source) = with_source(2);
    let (tree, _) = backup(&mut store, &mut source, 30, 10);
    // No clean end: the tails stay as a power cut leaves them.
    let carried = reboot(&disk);
    let (mut store, opening) = Store::open(carried.clone(), Access::ReadOnly, at(20)).expect("it opens");
    assert!(!opening.clean && opening.read_only.is_some());
    assert_eq!(store.source(&source.id), Some(&source.source()));
    let ids: Vec<Id> = tree.records.iter().map(|made| made.id).collect();
    assert_eq!(fetch(&mut store, &source, Scope::Records, &ids, true).len(), ids.len() + 1);
    let report = verify(&mut store);
    assert!(report.is_clean(), "{report:?}");
    assert!(report.records >= ids.len() as u64);
    let key = source.new_key();
    let refused = store.open_session(&source.id, &key, None, at(20)).expect_err("read-only");
    assert_eq!(refused.code(), Code::ReadOnly);
    assert_eq!(carried.operations(), 0);
}

#[test]
fn a_resumed_run_sends_the_old_records_verbatim() {
    let (disk, mut store, mut source) = with_source(3);
    let key = source.new_key();
    let first_key = source.key_id;
    let session = store.open_session(&source.id, &key, None, at(0)).expect("a session");
    let tree = source.tree(20, 2_000, &[]);
    send(&mut store, session, &tree.records[..10], 1);
    store.sync(at(1)).expect("a sync");
    assert_eq!((store.received_seq(session), store.durable_seq(session)), (10, 10));
    for (seq, made) in (11..).zip(&tree.records[10..14]) {
        store.append(session, seq, &made.bytes, at(1)).expect("a record");
    }
    assert_eq!((store.received_seq(session), store.durable_seq(session)), (14, 10));
    store.end_session(session);
    assert_eq!(store.pending(&source.id).expect("pending").received_seq, 14);
    drop(store);

    let mut store = open(&adit_store::SimDisk::power_cut(&disk.image(), 1, Some(adit_store::disk::PowerCut::Lost)));
    let pending = store.pending(&source.id).expect("pending");
    assert_eq!((pending.key_id, pending.durable_seq, pending.received_seq), (first_key, 10, 10));
    let key = source.new_key();
    let other = KeyId([9; 16]);
    assert_eq!(
        store.open_session(&source.id, &key, Some(other), at(2)).expect_err("not pending").code(),
        Code::NotFound
    );
    let session = store.open_session(&source.id, &key, Some(first_key), at(2)).expect("a resumed session");
    assert_eq!(store.durable_seq(session), 10);
    let too_far = store.append(session, 12, &tree.records[11].bytes, at(2)).expect_err("a gap");
    assert_eq!(too_far.code(), Code::Protocol);
    send(&mut store, session, &tree.records[10..], 11);
    let snapshot = source.snapshot(1, Id::ZERO, &tree.root, &tree.info);
    assert!(matches!(store.commit(session, &snapshot.bytes, at(3)), Ok(Commit::Committed { seq: 1, .. })));
    assert_eq!(store.pending(&source.id), None);
    assert!(verify(&mut store).is_clean());
}

#[test]
fn hostile_appends_are_refused_and_change_nothing() {
    let (_disk, mut store, mut source) = with_source(4);
    let key = source.new_key();
    let session = store.open_session(&source.id, &key, None, at(0)).expect("a session");
    let first = source.data(100);
    let second = source.data(100);
    let check = |store: &mut Store, seq: u64, bytes: &[u8], code: Code| {
        let before = (store.status().records, store.received_seq(session));
        let error = store.append(session, seq, bytes, at(0)).expect_err("a refusal");
        assert_eq!(error.code(), code, "{error}");
        assert_eq!((store.status().records, store.received_seq(session)), before);
    };
    check(&mut store, 2, &first.bytes, Code::Protocol);
    check(&mut store, 1, &first.bytes[..50], Code::Protocol);
    let mut torn = first.bytes.clone();
    torn[80] ^= 1;
    check(&mut store, 1, &torn, Code::Protocol);
    store.append(session, 1, &second.bytes, at(0)).expect("a record");
    check(&mut store, 2, &first.bytes, Code::CounterWentBack);
    check(&mut store, 2, &second.bytes, Code::CounterWentBack);
    check(&mut store, 2, &key, Code::Protocol);
    let node = source.node(&[], &[Id([3; 32])]);
    check(&mut store, 2, &node.bytes, Code::ChildMissing);
    let wrong_class = crate::support::Made { id: second.id, height: 1, bytes: Vec::new() };
    let node = source.node(&[&wrong_class], &[]);
    check(&mut store, 2, &node.bytes, Code::Protocol);
    let header = Header {
        class: Class::Data,
        suite: SUITE_AES_256_GCM,
        height: 0,
        node_refs: 0,
        data_refs: 0,
        body_bytes: 10,
        counter: 99,
        id: Id([4; 32]),
        key_id: KeyId([5; 16]),
    };
    check(&mut store, 2, &record(&header, &[], &[0; 10]), Code::Protocol);
    let oversized = Header { body_bytes: 2 << 20, key_id: source.key_id, ..header };
    check(&mut store, 2, &record(&oversized, &[], &vec![0; 2 << 20]), Code::Protocol);
    let snapshot = source.snapshot(1, Id::ZERO, &node, &second.id);
    check(&mut store, 2, &snapshot.bytes, Code::Protocol);
    let again = Header { id: second.id, key_id: source.key_id, ..header };
    let repeat = record(&again, &[], &[1; 10]);
    assert_eq!(store.append(session, 2, &repeat, at(0)).expect("a repeat"), Appended::Repeat);
    assert_eq!(store.repeats(session), 1);
    assert_eq!(store.read_record(&source.id, &second.id).expect("healthy"), Some(second.bytes), "the first copy stays");
    assert!(verify(&mut store).is_clean());
}

#[test]
fn hostile_sessions_are_refused() {
    let (_disk, mut store, mut source) = with_source(5);
    let key = source.new_key();
    let stranger = TestSource::new(77);
    let error = |store: &mut Store, source: &TestSource, key: &[u8]| {
        store.open_session(&source.id, key, None, at(0)).expect_err("a refusal").code()
    };
    assert_eq!(error(&mut store, &stranger, &key), Code::NotFound);
    let mut other = TestSource::new(78);
    store.put_source(other.source(), at(0)).expect("another source");
    assert_eq!(error(&mut store, &other, &key), Code::Protocol);
    let mut forged = TestSource::new(79);
    forged.id = source.id;
    let forged_key = forged.new_key();
    assert_eq!(error(&mut store, &source, &forged_key), Code::Signature);
    source.epoch = 0;
    let old = source.key_record();
    assert_eq!(error(&mut store, &source, &old), Code::Adopted);
    source.epoch = 1;
    let data = source.data(10);
    assert_eq!(error(&mut store, &source, &data.bytes), Code::Protocol);
    store.open_session(&source.id, &key, None, at(0)).expect("a session");
    let again = store.open_session(&source.id, &key, None, at(0)).expect_err("used");
    assert!(matches!(again, SessionError::KeyIdUsed(_)));
    let other_wrap = source.key_record();
    assert_eq!(error(&mut store, &source, &other_wrap), Code::KeyIdUsed);
    let key = other.new_key();
    store.open_session(&other.id, &key, None, at(0)).expect("the other source has its own key ids");
}

#[test]
fn a_second_session_replaces_the_first() {
    let (_disk, mut store, mut source) = with_source(6);
    let key = source.new_key();
    let first = store.open_session(&source.id, &key, None, at(0)).expect("a session");
    let data = source.data(10);
    let key = source.new_key();
    store.open_session(&source.id, &key, None, at(0)).expect("a second session");
    assert!(matches!(store.append(first, 1, &data.bytes, at(0)), Err(AppendError::Ended)));
}

#[test]
fn commits_check_order_signature_and_closure() {
    let (_disk, mut store, mut source) = with_source(7);
    let key = source.new_key();
    let session = store.open_session(&source.id, &key, None, at(0)).expect("a session");
    let tree = source.tree(8, 500, &[]);
    let snapshot = source.snapshot(1, Id::ZERO, &tree.root, &tree.info);
    let Ok(Commit::Missing { ids, more }) = store.commit(session, &snapshot.bytes, at(0)) else {
        panic!("nothing was sent");
    };
    assert_eq!((ids, more), (vec![tree.root.id, tree.info], false));
    send(&mut store, session, &tree.records, 1);
    let code = |store: &mut Store, bytes: &[u8]| store.commit(session, bytes, at(0)).expect_err("a refusal").code();
    let stale = source.snapshot(2, Id::ZERO, &tree.root, &tree.info);
    assert_eq!(code(&mut store, &stale.bytes), Code::Stale);
    let fork = source.snapshot(1, Id([1; 32]), &tree.root, &tree.info);
    assert_eq!(code(&mut store, &fork.bytes), Code::Stale);
    let mut forger = TestSource::new(80);
    forger.id = source.id;
    let forged = forger.snapshot(1, Id::ZERO, &tree.root, &tree.info);
    assert_eq!(code(&mut store, &forged.bytes), Code::Signature);
    assert_eq!(code(&mut store, &tree.root.bytes), Code::Protocol);
    let low = crate::support::Made { height: 1, ..tree.root.clone() };
    let low = source.snapshot(1, Id::ZERO, &low, &tree.info);
    assert_eq!(code(&mut store, &low.bytes), Code::Protocol);
    let first = store.commit(session, &snapshot.bytes, at(0)).expect("a commit");
    assert!(matches!(first, Commit::Committed { seq: 1, .. }));
    assert!(matches!(store.commit(session, &snapshot.bytes, at(0)), Err(CommitError::Ended)));
    // The answer was lost: the same commit in a new session gets the same promise.
    let key = source.new_key();
    let session = store.open_session(&source.id, &key, None, at(1)).expect("a session");
    assert_eq!(store.commit(session, &snapshot.bytes, at(1)).expect("a commit"), first);
}

#[test]
fn have_answers_from_the_newest_snapshot_and_the_open_run_only() {
    let (_disk, mut store, mut source) = with_source(8);
    let (old, _) = backup(&mut store, &mut source, 6, 1);
    let (new, _) = backup(&mut store, &mut source, 6, 2);
    let key = source.new_key();
    let session = store.open_session(&source.id, &key, None, at(3)).expect("a session");
    let fresh = source.data(10);
    store.append(session, 1, &fresh.bytes, at(3)).expect("a record");
    let ids = [old.records[0].id, new.records[0].id, new.root.id, fresh.id, Id([1; 32])];
    assert_eq!(store.have(session, &ids).expect("answers"), [false, true, true, true, false]);
}

#[test]
fn sources_keep_apart() {
    let (_disk, mut store, mut source) = with_source(9);
    let mut other = TestSource::new(10);
    store.put_source(other.source(), at(0)).expect("another source");
    let (tree, _) = backup(&mut store, &mut source, 4, 1);
    assert_eq!(store.read_record(&other.id, &tree.records[0].id).expect("no damage"), None);
    let key = other.new_key();
    let session = store.open_session(&other.id, &key, None, at(2)).expect("a session");
    let node = other.node(&[], &[tree.records[0].id]);
    assert_eq!(store.append(session, 1, &node.bytes, at(2)).expect_err("foreign child").code(), Code::ChildMissing);
    assert!(store.used_bytes(&source.id) > store.used_bytes(&other.id));
}

#[test]
fn source_registration_has_rules() {
    let (_disk, mut store, mut source) = with_source(11);
    source.epoch = 2;
    store.put_source(source.source(), at(0)).expect("a higher epoch");
    source.epoch = 1;
    assert!(matches!(store.put_source(source.source(), at(0)), Err(SourceError::EpochOld { .. })));
    let mut forged = TestSource::new(12);
    forged.id = source.id;
    forged.epoch = 2;
    assert!(matches!(store.put_source(forged.source(), at(0)), Err(SourceError::KeyDiffers)));
    let mut uncertified = forged.source();
    uncertified.epoch = 3;
    uncertified.recovery_key = source.source().recovery_key;
    assert!(matches!(store.put_source(uncertified, at(0)), Err(SourceError::Certificate)));
    let mut stolen = source.source();
    stolen.epoch = 3;
    stolen.recovery_key = forged.source().recovery_key;
    assert!(matches!(store.put_source(stolen, at(0)), Err(SourceError::RecoveryDiffers)));
    let known = store.source(&source.id).expect("the source").clone();
    let bare = adit_store::Source { certificate: Vec::new(), recovery_key: PublicKey::ZERO, ..known.clone() };
    store.put_source(bare, at(0)).expect("nothing new");
    assert_eq!(store.source(&source.id), Some(&known));
}

#[test]
fn newer_stores_are_refused_with_the_next_step() {
    let disk = created(Geometry::default());
    for (offset, what) in
        [(8, "store format 3, this program reads 1"), (28, "feature bits 0x2, this program knows none")]
    {
        let newer = reboot(&disk);
        // A valid page of a later program: other bytes, right hash.
        newer.flip("store.adt", offset, 2);
        rehash(&newer, "store.adt");
        let error = Store::open(newer, Access::ReadWrite, at(0)).expect_err("too new");
        let expected =
            format!("this store was written by a newer adit ({what}); install that version or a newer one to open it");
        assert_eq!(error.to_string(), expected);
    }
    let empty = adit_store::SimDisk::new();
    assert!(matches!(Store::open(empty, Access::ReadWrite, at(0)), Err(OpenError::NotAStore)));
    assert!(Store::create(&disk, &new_store(SMALL)).is_err());
    let first = Store::open(disk.clone(), Access::ReadWrite, at(0)).expect("it opens");
    assert!(matches!(Store::open(disk, Access::ReadWrite, at(0)), Err(OpenError::Locked)));
    drop(first);
}

fn rehash(disk: &adit_store::SimDisk, path: &str) {
    use adit_store::Disk;
    use adit_store::disk::Mode;
    let file = disk.open(path, Mode::Write).expect("the file");
    let mut page = [0; 4096];
    disk.read_at(file, 0, &mut page).expect("its page");
    let hash = *blake3::hash(&page[..4064]).as_bytes();
    disk.write_at(file, 4064, &hash).expect("the new hash");
}

#[test]
fn a_directory_is_a_disk() {
    const fn moves_between_threads<T: Send>() {}
    moves_between_threads::<Store>();
    let dir = tempfile::tempdir().expect("a directory");
    let disk = || DirDisk::open(dir.path()).expect("the directory");
    Store::create(&disk(), &new_store(Geometry::default())).expect("an empty directory takes a store");
    let (mut store, _) = Store::open(disk(), Access::ReadWrite, at(0)).expect("it opens");
    assert!(matches!(Store::open(disk(), Access::ReadOnly, at(0)), Err(OpenError::Locked)));
    let mut source = TestSource::new(20);
    store.put_source(source.source(), at(0)).expect("a source");
    let (tree, _) = backup(&mut store, &mut source, 50, 1);
    drop(store);
    let (mut store, opening) = Store::open(disk(), Access::ReadWrite, at(2)).expect("it opens again");
    assert!(!opening.clean && opening.scanned_bytes > 0);
    backup(&mut store, &mut source, 5, 3);
    assert!(verify(&mut store).is_clean());
    assert!(store.status().free_bytes.is_some());
    store.close(at(4)).expect("a clean end");
    let (mut reader, opening) = Store::open(disk(), Access::ReadOnly, at(5)).expect("readers may");
    let (other, _) = Store::open(disk(), Access::ReadOnly, at(5)).expect("another reader may");
    assert!(opening.clean && !opening.index_rebuilt);
    for made in &tree.records {
        assert_eq!(other.read_record(&source.id, &made.id).expect("healthy"), Some(made.bytes.clone()));
    }
    assert!(verify(&mut reader).is_clean());
}

#[test]
fn a_flood_of_repeats_ends_the_session() {
    let (_disk, mut store, mut source) = with_source(21);
    let key = source.new_key();
    let session = store.open_session(&source.id, &key, None, at(0)).expect("a session");
    let data = source.data(1);
    store.append(session, 1, &data.bytes, at(0)).expect("a record");
    let parsed = Record::parse(&data.bytes).expect("a record");
    let again = |counter: u32| record(&Header { counter, ..parsed.header }, &[], parsed.body);
    for count in 0..10_000 {
        let repeat = store.append(session, count + 2, &again(u32::try_from(count).expect("few") + 2), at(0));
        assert_eq!(repeat.expect("a repeat"), Appended::Repeat);
    }
    assert_eq!(store.append(session, 10_002, &again(10_002), at(0)).expect_err("too many").code(), Code::Repeats);
}

#[test]
fn commits_of_a_day_are_limited() {
    let (_disk, mut store, mut source) = with_source(22);
    for count in 0..200 {
        backup(&mut store, &mut source, 1, count);
    }
    let key = source.new_key();
    let session = store.open_session(&source.id, &key, None, at(300)).expect("a session");
    let tree = source.tree(1, 50, &[]);
    send(&mut store, session, &tree.records, 1);
    let newest = store.newest(&source.id).expect("a snapshot");
    let snapshot = source.snapshot(201, newest.head, &tree.root, &tree.info);
    assert_eq!(store.commit(session, &snapshot.bytes, at(300)).expect_err("too many").code(), Code::Busy);
    let tomorrow = store.commit(session, &snapshot.bytes, at(90_000)).expect("a commit");
    assert!(matches!(tomorrow, Commit::Committed { seq: 201, .. }));
}
