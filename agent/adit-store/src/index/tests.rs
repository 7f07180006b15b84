// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The index against a map, through many tables and merges.

use super::{Arrival, Index, Inserted, Loc, Tag};
use crate::disk::{Disk, SimDisk};
use adit_wire::ids::LedgerHash;

const KEY: [u8; 32] = [9; 32];

fn tag(number: u32) -> Tag {
    let mut tag = [0; 12];
    tag.copy_from_slice(&blake3::hash(&number.to_le_bytes()).as_bytes()[..12]);
    tag
}

fn loc(number: u32) -> Loc {
    Loc {
        segment: number / 10,
        offset: u64::from(number % 10) * 64,
        length: 100,
        source: number % 3,
        class: 1,
        height: 0,
    }
}

fn filled(count: u32) -> (SimDisk, Index) {
    let disk = SimDisk::new();
    Index::create_dir(&disk, 1).expect("a simulated disk takes directories");
    let mut index = Index::new(KEY, 1, 64, true);
    for number in 0..count {
        let arrival = Arrival { tag: tag(number), loc: loc(number), healthy: true };
        assert_eq!(index.insert(&disk, arrival), Ok(Inserted::New(number)));
        let refs: Vec<u32> = (number.saturating_sub(3)..number).collect();
        index.add_edges(number, 1, &refs);
        if index.wants_table() {
            index.write_tables(&disk, u64::from(number) + 1, (0, LedgerHash::ZERO)).expect("a table");
        }
    }
    (disk, index)
}

fn check(disk: &SimDisk, index: &Index, count: u32) {
    for number in 0..count {
        assert_eq!(index.find(disk, &tag(number)), Ok(Some(number)));
        assert_eq!(index.loc(disk, number), Ok(loc(number)));
        assert!(index.is_complete(number));
    }
    for number in count..count + 1000 {
        assert_eq!(index.find(disk, &tag(number)), Ok(None));
    }
    let mut nodes = 0;
    index.for_edges(disk, &mut |_, _, _| nodes += 1).expect("edges");
    assert_eq!(nodes, count);
}

#[test]
fn tables_answer_like_a_map() {
    let (disk, index) = filled(5_000);
    assert!(index.tables.len() < 20, "tables merge: {}", index.tables.len());
    check(&disk, &index, 5_000);
    assert_eq!(index.totals(0), (1_667, 166_700));
}

#[test]
fn a_loaded_index_is_the_same() {
    let (disk, mut index) = filled(3_000);
    index.write_tables(&disk, 3_000, (7, LedgerHash([1; 32]))).expect("the last table");
    let loaded = Index::load(&disk, KEY, 1, 64, true).expect("the index that was just written");
    assert_eq!((loaded.ledger_block, loaded.ledger_hash), (7, LedgerHash([1; 32])));
    assert_eq!(loaded.index.tables_until, 3_000);
    check(&disk, &loaded.index, 3_000);
    assert!(Index::load(&disk, [8; 32], 1, 64, true).is_none(), "another store's index");
}

#[test]
fn damage_in_a_table_is_noticed() {
    let (disk, mut index) = filled(1_000);
    index.write_tables(&disk, 1_000, (0, LedgerHash::ZERO)).expect("the last table");
    let paths = disk.paths();
    let path = paths.iter().find(|path| path.ends_with(".tab")).expect("a table");
    let bytes = disk.len(disk.open(path, crate::disk::Mode::Read).expect("a table")).expect("its length");
    for offset in (0..bytes).step_by(331) {
        disk.flip(path, offset, 1);
        let loaded = Index::load(&disk, KEY, 1, 64, true);
        let noticed = loaded.is_none_or(|loaded| {
            let index = loaded.index;
            let found =
                (0..1_000).any(|number| index.find(&disk, &tag(number)).is_err() || index.loc(&disk, number).is_err());
            found || index.for_edges(&disk, &mut |_, _, _| {}).is_err()
        });
        // Unused bytes of a page are covered by its check like all others.
        assert!(noticed, "byte {offset} of {path}");
        disk.flip(path, offset, 1);
    }
}

#[test]
fn damaged_records_make_their_parents_incomplete() {
    let (disk, mut index) = filled(500);
    index.set_bad(&disk, &[300]).expect("edges");
    assert!(index.is_complete(299));
    for number in 300..500 {
        assert!(!index.is_complete(number), "{number} rests on 300");
    }
    assert_eq!(index.damaged(), 1);
    let healed = index.insert(&disk, Arrival { tag: tag(300), loc: loc(1), healthy: true });
    assert_eq!(healed, Ok(Inserted::Healed(300)));
    assert_eq!((index.loc(&disk, 300), index.damaged()), (Ok(loc(1)), 0));
    let again = index.insert(&disk, Arrival { tag: tag(300), loc: loc(2), healthy: true });
    assert_eq!(again, Ok(Inserted::Repeat(300)));
    let closure = index.closure(&disk, 10, 1).expect("edges");
    assert_eq!(closure.iter().collect::<Vec<_>>(), [7, 8, 9, 10]);
}
