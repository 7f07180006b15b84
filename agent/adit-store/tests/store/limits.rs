// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What one source may cost the others: questions of a session, and the walk of a commit.

use crate::support::{Made, TestSource, at, backup, created, open, verify};
use adit_store::disk::{Disk, Mode};
use adit_store::{COMMIT_WALK_NODES_MAX, Commit, CommitError, Geometry, HAVE_IDS_FLOOR, SimDisk, Store};
use adit_wire::ids::Id;
use adit_wire::refusal::Code;

fn one_source(seed: u64) -> (SimDisk, Store, TestSource) {
    let disk = created(Geometry::default());
    let mut store = open(&disk);
    let source = TestSource::new(seed);
    store.put_source(source.source(), at(0)).expect("a source");
    (disk, store, source)
}

/// A source that lost its state asks for what the newest snapshot has, twice over, and a floor beside that; a thief who
/// guesses gets no further.
#[test]
fn questions_of_a_session_are_counted() {
    let (_, mut store, mut source) = one_source(1);
    let (tree, _) = backup(&mut store, &mut source, 8, 1);
    let key = source.new_key();
    let session = store.open_session(&source.id, &key, None, at(2)).expect("a session");
    let ids = [tree.root.id; 4_096];
    let rounds = HAVE_IDS_FLOOR / 4_096;
    for round in 0..rounds {
        let answer = store.have(session, &ids).expect("within the floor");
        assert!(answer.iter().all(|present| *present), "round {round}");
    }
    // Every record of the newest snapshot may be asked for twice more: fewer than these.
    let refused = store.have(session, &ids).expect_err("beyond");
    assert_eq!(refused.code(), Code::Busy, "{refused}");
    store.end_session(session);
    let key = source.new_key();
    let session = store.open_session(&source.id, &key, None, at(3)).expect("a session");
    store.have(session, &ids).expect("the next session counts anew");
}

/// One damaged chunk below more nodes than one commit may read: healed, the first commit stops, the second goes on from
/// there.
#[test]
fn a_commit_reads_a_bounded_number_of_nodes() {
    let (disk, mut store, mut source) = one_source(2);
    let key = source.new_key();
    let session = store.open_session(&source.id, &key, None, at(1)).expect("a session");
    let (chunk, info) = (source.data(500), source.data(60));
    let leaves: Vec<Made> = (0..COMMIT_WALK_NODES_MAX).map(|_| source.node(&[], &[chunk.id])).collect();
    let inner: Vec<Made> =
        leaves.chunks(4_096).map(|group| source.node(&group.iter().collect::<Vec<_>>(), &[])).collect();
    let root = source.node(&inner.iter().collect::<Vec<_>>(), &[]);
    let records = [&chunk, &info].into_iter().chain(&leaves).chain(&inner).chain([&root]);
    for (seq, made) in (1..).zip(records) {
        store.append(session, seq, &made.bytes, at(1)).expect("a record");
    }
    let first = source.snapshot(1, Id::ZERO, &root, &info.id);
    assert!(matches!(store.commit(session, &first.bytes, at(1)), Ok(Commit::Committed { .. })));

    flip(&disk, &chunk);
    assert_eq!(verify(&mut store).damaged_ids, [(source.id, chunk.id)]);
    let key = source.new_key();
    let session = store.open_session(&source.id, &key, None, at(2)).expect("a session");
    let healed = {
        let again = source.data(500);
        let record = adit_wire::record::Record::parse(&again.bytes).expect("a record");
        let header = adit_wire::record::Header { id: chunk.id, ..record.header };
        crate::support::record(&header, &[], record.body)
    };
    store.append(session, 1, &healed, at(2)).expect("the lost record");
    let second = source.snapshot(2, first.id, &root, &info.id);
    let stopped = store.commit(session, &second.bytes, at(2)).expect_err("too long");
    assert!(matches!(stopped, CommitError::WalkTooLong) && stopped.code() == Code::Busy, "{stopped}");
    assert!(matches!(store.commit(session, &second.bytes, at(3)), Ok(Commit::Committed { seq: 2, .. })));
}

fn flip(disk: &SimDisk, made: &Made) {
    for path in disk.paths() {
        let file = disk.open(&path, Mode::Read).expect("a file");
        let mut bytes = vec![0; usize::try_from(disk.len(file).expect("its length")).expect("short")];
        disk.read_at(file, 0, &mut bytes).expect("its bytes");
        disk.close(file);
        if let Some(at) = bytes.windows(made.bytes.len()).position(|window| window == made.bytes) {
            disk.flip(&path, at as u64 + 120, 4);
            return;
        }
    }
    panic!("the record is nowhere");
}
