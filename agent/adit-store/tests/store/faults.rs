// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Disks that rot, run full and fail to flush. What is damaged is found; what was acknowledged is never lost to a full
//! disk; after a failed flush nothing is acknowledged.

use crate::support::{Made, SMALL, TestSource, Tree, at, backup, created, open, reboot, send, verify};
use adit_store::disk::{Disk, Faults, Mode};
use adit_store::{Access, Commit, CommitError, Event, SessionError, SimDisk, Store, WriteError};
use adit_wire::ids::Id;
use adit_wire::refusal::Code;

/// A small closed store of two backups.
fn small_store(seed: u64) -> (SimDisk, TestSource, Vec<Tree>) {
    let disk = created(SMALL);
    let mut store = open(&disk);
    let mut source = TestSource::new(seed);
    store.put_source(source.source(), at(0)).expect("a source");
    let trees = vec![backup(&mut store, &mut source, 6, 1).0, backup(&mut store, &mut source, 3, 2).0];
    store.close(at(3)).expect("a clean end");
    (reboot(&disk), source, trees)
}

/// The same without parity on the disk: what is damaged stays so.
fn fragile_store(seed: u64) -> (SimDisk, TestSource, Vec<Tree>) {
    let (disk, source, trees) = small_store(seed);
    for path in disk.paths().into_iter().filter(|path| path.starts_with("par/")) {
        disk.remove(&path).expect("a parity file goes");
    }
    (disk, source, trees)
}

fn bytes_of(disk: &SimDisk, path: &str) -> Vec<u8> {
    let file = disk.open(path, Mode::Read).expect("a file");
    let mut bytes = vec![0; usize::try_from(disk.len(file).expect("its length")).expect("short")];
    disk.read_at(file, 0, &mut bytes).expect("its bytes");
    disk.close(file);
    bytes
}

/// Whether a flipped byte is noticed: by opening, by an event, or by verification.
fn noticed(disk: SimDisk) -> bool {
    let Ok((mut store, opening)) = Store::open(disk, Access::ReadWrite, at(10)) else { return true };
    let report = verify(&mut store);
    let told = !store.take_events().is_empty() || opening.index_rebuilt || opening.read_only.is_some();
    told || !opening.clean || !report.is_clean()
}

/// Every byte of the segments and of what the other files hold, one by one; zeros behind a ledger's last block are room.
#[test]
fn every_flipped_byte_is_noticed() {
    let (disk, _, _) = small_store(1);
    let image = disk.image();
    let mut flips = 0;
    for path in disk.paths() {
        let bytes = bytes_of(&disk, &path);
        let used = match path.starts_with("ledger/") {
            true => bytes.len() - bytes.iter().rev().take_while(|byte| **byte == 0).count(),
            false => bytes.len(),
        };
        // Index files are covered by checks of their own; a sample shows that they are used.
        let step = if path.starts_with("idx/") { 97 } else { 13 };
        for offset in (0..used).step_by(step) {
            let rotten = SimDisk::from_image(image.clone());
            rotten.flip(&path, offset as u64, 1 << (offset % 8));
            assert!(noticed(rotten), "byte {offset} of {path}");
            flips += 1;
        }
    }
    assert!(flips > 5_000, "only {flips} flips");
}

#[test]
fn damage_is_set_aside_and_healed_by_its_source() {
    let (disk, mut source, trees) = fragile_store(2);
    let victim = trees[0].records.iter().find(|made| made.height == 0).expect("a chunk");
    let mut store = open(&disk);
    flip_record(&disk, victim);
    let report = verify(&mut store);
    assert_eq!((report.damaged_ranges.len(), report.damaged_records), (1, 1));
    assert_eq!(report.incomplete_snapshots, [(source.id, 1)]);
    assert_eq!(report.damaged_ids, [(source.id, victim.id)]);
    assert_eq!(verify(&mut store).damaged_ids, [(source.id, victim.id)], "named again while no healthy copy is here");
    assert!(matches!(store.take_events()[..], [Event::Quarantined { records: 1, promised: true, .. }]));
    assert_eq!(store.read_record(&source.id, &victim.id).expect_err("set aside").code(), Code::Damaged);

    // The next run names the old leaf: the box asks for what it lost.
    let key = source.new_key();
    let session = store.open_session(&source.id, &key, None, at(20)).expect("a session");
    let info = source.data(10);
    store.append(session, 1, &info.bytes, at(20)).expect("a record");
    let newest = store.newest(&source.id).expect("a snapshot");
    let snapshot = source.snapshot(3, newest.head, &trees[0].root, &info.id);
    let missing = store.commit(session, &snapshot.bytes, at(20)).expect("an answer");
    assert_eq!(missing, Commit::Missing { ids: vec![victim.id], more: false });
    let again = source.data(50);
    let healed = with_id(&source, &again, victim.id);
    store.append(session, 2, &healed, at(20)).expect("the lost record");
    let commit = store.commit(session, &snapshot.bytes, at(20)).expect("an answer");
    assert!(matches!(commit, Commit::Committed { seq: 3, .. }), "{commit:?}");
    assert!(store.take_events().contains(&Event::Healed(victim.id)));
    let report = verify(&mut store);
    assert!(report.is_clean(), "{report:?}");
    store.close(at(21)).expect("a clean end");

    // A rebuilt index comes to the same: the quarantined copy is passed over.
    let disk = reboot(&disk);
    for path in disk.paths().into_iter().filter(|path| path.starts_with("idx/")) {
        disk.remove(&path).expect("an index file goes");
    }
    let (mut store, opening) = Store::open(disk, Access::ReadWrite, at(30)).expect("it opens");
    assert!(opening.index_rebuilt);
    assert_eq!(store.read_record(&source.id, &victim.id).expect("healthy"), Some(healed));
    let report = verify(&mut store);
    assert!(report.is_clean(), "{report:?}");
}

/// A record that could not be read while its segment was sealed is in no footer. When the disk gives it again, nothing is
/// wrong with the place; its source is asked for it all the same.
#[test]
fn a_place_that_can_be_read_again_is_no_damage() {
    let (disk, source, trees) = fragile_store(8);
    let victim = trees[0].records.iter().find(|made| made.height == 0).expect("a chunk");
    let (path, at_byte) = place_of(&disk, victim);
    disk.flip(&path, at_byte, 4);
    let store = open(&disk);
    assert_eq!(store.status().damaged_records, 1);
    store.close(at(20)).expect("a clean end");
    let disk = reboot(&disk);
    disk.flip(&path, at_byte, 4);
    let mut store = open(&disk);
    let report = verify(&mut store);
    assert_eq!((report.damaged_places, report.damaged_ranges), (vec![], vec![]));
    assert_eq!(report.incomplete_snapshots.first(), Some(&(source.id, 1)));
}

/// Every record of a store with one bit flipped in turn is named, by its id and its source, also where the footer of its
/// segment is gone; a flip in the header itself leaves it without a name then.
#[test]
fn flipped_bits_are_named() {
    let (disk, source, trees) = fragile_store(7);
    let image = disk.image();
    let records: Vec<&Made> = trees.iter().flat_map(|tree| &tree.records).collect();
    for victim in &records {
        for with_footer in [true, false] {
            let rotten = SimDisk::from_image(image.clone());
            let mut store = open(&rotten);
            flip_record(&rotten, victim);
            if !with_footer {
                spoil_footer(&rotten, victim);
            }
            let report = verify(&mut store);
            assert!(report.damaged_ids.contains(&(source.id, victim.id)), "{with_footer} {report:?}");
        }
    }
    assert!(records.len() > 10);
}

/// Flips a bit of the last page of the segment that holds a record.
fn spoil_footer(disk: &SimDisk, made: &Made) {
    for path in disk.paths() {
        let bytes = bytes_of(disk, &path);
        if bytes.windows(64).any(|window| window == &made.bytes[..64]) {
            disk.flip(&path, bytes.len() as u64 - 5, 1);
            return;
        }
    }
    panic!("the record is nowhere");
}

/// The same content id under the source's present key.
fn with_id(source: &TestSource, made: &Made, id: Id) -> Vec<u8> {
    let record = adit_wire::record::Record::parse(&made.bytes).expect("a record");
    let header = adit_wire::record::Header { id, key_id: source.key_id, ..record.header };
    crate::support::record(&header, &[], record.body)
}

fn flip_record(disk: &SimDisk, made: &Made) {
    let (path, at) = place_of(disk, made);
    disk.flip(&path, at, 4);
}

/// A byte of a record: the file that holds it, and where.
fn place_of(disk: &SimDisk, made: &Made) -> (String, u64) {
    for path in disk.paths() {
        let bytes = bytes_of(disk, &path);
        if let Some(at) = bytes.windows(made.bytes.len()).position(|window| window == made.bytes) {
            return (path, at as u64 + 120);
        }
    }
    panic!("the record is nowhere");
}

#[test]
fn reading_finds_damage_too() {
    let (disk, source, trees) = fragile_store(3);
    let victim = &trees[1].records[0];
    let mut store = open(&disk);
    flip_record(&disk, victim);
    assert_eq!(store.status().damaged_records, 0);
    assert_eq!(store.read_record(&source.id, &victim.id).expect_err("damaged").code(), Code::Damaged);
    let mut source = source;
    let key = source.new_key();
    store.open_session(&source.id, &key, None, at(20)).expect("the next change notes it");
    assert_eq!(store.status().damaged_records, 1);
    assert!(!store.snapshots(&source.id)[1].complete);
}

#[test]
fn a_lost_key_record_copy_does_not_lose_the_key() {
    let (disk, source, trees) = small_store(4);
    let first = disk.paths().into_iter().find(|path| path.starts_with("seg/")).expect("a data segment");
    let mut store = open(&disk);
    // The first copy is the first record of the first data segment.
    disk.flip(&first, 4096 + 32 + 70, 1);
    let ids: Vec<Id> = trees[0].records.iter().map(|made| made.id).collect();
    let mut plan = store.plan_fetch(&source.id, adit_wire::read::Scope::Records, &ids, true).expect("a plan");
    let mut keys = 0;
    while let Some(record) = plan.next(&mut store, at(0)) {
        let record = record.expect("a healthy record");
        let class = adit_wire::record::Record::parse(&record).expect("a record").header.class;
        keys += usize::from(class == adit_wire::record::Class::Key);
    }
    assert_eq!(keys, 1);
}

/// One run against a disk that is full from operation `from` on; answers whether it got through.
fn run_on_full_disk(disk: &SimDisk, source: &mut TestSource, from: u64) -> bool {
    let mut store = open(disk);
    let before = store.snapshots(&source.id);
    let (tree, first) = backup_until_full(&mut store, disk, source, from);
    if first.is_ok() {
        return true;
    }
    assert!(matches!(first, Err(Code::DiskFull | Code::ReadOnly)), "{first:?}");
    // Room again: the same store, or the one that opens next, takes the run.
    disk.set_faults(Faults::default());
    if store.read_only().is_some() {
        drop(store);
        disk.unlock();
        store = open(disk);
    }
    assert_eq!(store.snapshots(&source.id).len(), before.len());
    assert!(verify(&mut store).is_clean());
    backup(&mut store, source, 4, 100);
    assert!(verify(&mut store).is_clean());
    drop(tree);
    store.close(at(200)).expect("a clean end");
    disk.unlock();
    let mut store = open(disk);
    assert_eq!(store.snapshots(&source.id).len(), before.len() + 1);
    assert!(verify(&mut store).is_clean());
    false
}

fn backup_until_full(
    store: &mut Store,
    disk: &SimDisk,
    source: &mut TestSource,
    from: u64,
) -> (Tree, Result<(), Code>) {
    let key = source.new_key();
    let tree = source.tree(60, 6_000, &[]);
    disk.set_faults(Faults { full_from: Some(disk.operations() + from), ..Faults::default() });
    let mut run = || -> Result<(), Code> {
        let session = store.open_session(&source.id, &key, None, at(50)).map_err(|error| error.code())?;
        for (seq, made) in (1..).zip(&tree.records) {
            store.append(session, seq, &made.bytes, at(50)).map_err(|error| error.code())?;
        }
        let newest = store.newest(&source.id).expect("a snapshot");
        let snapshot = source.snapshot(newest.seq + 1, newest.head, &tree.root, &tree.info);
        store.commit(session, &snapshot.bytes, at(50)).map(|_| ()).map_err(|error| error.code())
    };
    let result = run();
    (tree, result)
}

#[test]
fn a_full_disk_at_every_write_loses_nothing() {
    let mut refused = 0;
    for from in 1..500 {
        let (disk, mut source, _) = small_store(5);
        if run_on_full_disk(&disk, &mut source, from) {
            break;
        }
        refused += 1;
    }
    assert!((20..499).contains(&refused), "{refused} operations needed space");
}

#[test]
fn a_full_disk_is_told_once_and_passes() {
    let (disk, mut source, _) = small_store(6);
    let mut store = open(&disk);
    let key = source.new_key();
    let session = store.open_session(&source.id, &key, None, at(5)).expect("a session");
    let tree = source.tree(4, 500, &[]);
    send(&mut store, session, &tree.records, 1);
    let durable = store.durable_seq(session);
    disk.set_faults(Faults { full_from: Some(0), ..Faults::default() });
    for _ in 0..3 {
        assert!(matches!(store.sync(at(6)), Err(WriteError::DiskFull)));
    }
    assert_eq!(store.take_events(), [Event::DiskFull]);
    assert_eq!(store.durable_seq(session), durable);
    disk.set_faults(Faults::default());
    store.sync(at(7)).expect("room again");
    assert_eq!(store.durable_seq(session), tree.records.len() as u64);
}

#[test]
fn a_failed_flush_ends_writing_and_acknowledges_nothing() {
    let mut failed = 0;
    for operation in 1..60 {
        let (disk, mut source, _) = small_store(7);
        let mut store = open(&disk);
        let key = source.new_key();
        let tree = source.tree(4, 500, &[]);
        disk.set_faults(Faults { failed_sync: Some(disk.operations() + operation), ..Faults::default() });
        let newest = store.newest(&source.id).expect("a snapshot");
        let mut run = || -> Result<Commit, Code> {
            let session =
                store.open_session(&source.id, &key, None, at(5)).map_err(|error: SessionError| error.code())?;
            for (seq, made) in (1..).zip(&tree.records) {
                store.append(session, seq, &made.bytes, at(5)).map_err(|error| error.code())?;
            }
            let snapshot = source.snapshot(newest.seq + 1, newest.head, &tree.root, &tree.info);
            store.commit(session, &snapshot.bytes, at(5)).map_err(|error: CommitError| error.code())
        };
        let Err(code) = run() else { continue };
        failed += 1;
        assert_eq!(code, Code::ReadOnly);
        assert!(matches!(store.take_events()[..], [Event::SyncFailed(_)]));
        assert!(store.read_only().is_some());
        assert!(matches!(store.sync(at(6)), Err(WriteError::ReadOnly(_))));
        drop(store);
        let mut store = open(&reboot(&disk));
        assert!(verify(&mut store).is_clean());
        assert!(store.snapshots(&source.id).len() >= 2);
        backup(&mut store, &mut source, 3, 60);
        assert!(verify(&mut store).is_clean());
    }
    assert!(failed >= 6, "only {failed} flushes failed");
}

#[test]
fn rot_in_one_ledger_copy_is_repaired_and_in_both_is_read_only() {
    let (disk, source, _) = small_store(8);
    disk.flip("ledger/b/00000000", 3 * 4096 + 100, 1);
    let mut store = open(&disk);
    assert!(matches!(store.take_events()[..], [Event::LedgerRepaired { copy: "b", blocks: 1 }]));
    assert!(verify(&mut store).is_clean());
    drop(store);
    for copy in ["a", "b"] {
        disk.flip(&format!("ledger/{copy}/00000000"), 3 * 4096 + 100, 1);
    }
    let (mut store, opening) = Store::open(reboot(&disk), Access::ReadWrite, at(20)).expect("it opens");
    assert!(opening.read_only.is_some());
    let events = store.take_events();
    assert!(matches!(events[..], [Event::LedgerGap { block: 3 }, ..]), "{events:?} {:?}", store.status());
    assert!(store.source(&source.id).is_some(), "{:?} {:?}", store.status(), source.id);
    assert!(store.put_source(TestSource::new(99).source(), at(20)).is_err());
}

#[test]
fn unknown_files_are_kept_and_a_lost_segment_is_told() {
    let (disk, source, _) = small_store(9);
    let file = disk.open("seg/0000ffff.adt", Mode::CreateNew).expect("a stray file");
    disk.write_at(file, 0, b"not ours").expect("its bytes");
    // Seal what is open: a second store run after an unclean end.
    let mut store = open(&disk);
    assert_eq!(store.take_events(), [Event::LostFile("seg/0000ffff.adt".to_owned())]);
    let mut source = source;
    backup(&mut store, &mut source, 2, 9);
    drop(store);
    let disk = reboot(&disk);
    drop(open(&disk));
    let disk = reboot(&disk);
    assert!(disk.paths().contains(&"lost/0000ffff.adt".to_owned()));
    let segment = disk.paths().into_iter().find(|path| path.starts_with("seg/")).expect("a data segment");
    disk.remove(&segment).expect("it goes");
    disk.paths().iter().filter(|path| path.starts_with("par/")).for_each(|path| disk.remove(path).expect("it goes"));
    let mut store = open(&disk);
    let report = verify(&mut store);
    assert!(!report.is_clean());
    assert_eq!(report.incomplete_snapshots.len(), 3, "{report:?}");
    // The same without an index: what was lost with the segment is known by its parents only.
    drop(store);
    let disk = reboot(&disk);
    for path in disk.paths().into_iter().filter(|path| path.starts_with("idx/")) {
        disk.remove(&path).expect("an index file goes");
    }
    let mut store = open(&disk);
    assert_eq!(verify(&mut store).incomplete_snapshots.len(), 3);
}
