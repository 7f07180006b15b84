// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What marking costs the disk, counted and not timed: an index without segments behind it, filled as years of backups fill
//! it. `ADIT_MARK_RECORDS=4000000 ADIT_MARK_SNAPSHOTS=300` gives the figure of a terabyte, on a real directory.

use super::{Collection, Phase, Stop};
use crate::disk::{DirDisk, Disk, FileId, Mode, Sharing, SimDisk};
use crate::index::{Arrival, Inserted, Loc, tag};
use crate::ledger::{CommitEntry, Entry};
use crate::store::Store;
use crate::types::{Access, Geometry, Moment, NewStore, Source};
use adit_wire::ids::{Id, KeyId, LedgerHash, PublicKey, SourceId, StoreId};
use adit_wire::record::Class;
use std::io;
use std::sync::{Arc, Mutex};

const SOURCE: SourceId = SourceId([7; 16]);
const REFS: u32 = 90;
const NOW: Moment = Moment { wall_s: 1_900_000_000, monotonic_ms: 1 };

/// What was read, and how often the next byte was not the one behind the last.
#[derive(Debug, Default)]
struct Counts {
    last: Option<(FileId, u64)>,
    bytes: u64,
    seeks: u64,
}

/// A disk that counts reads.
#[derive(Debug)]
struct Counted {
    disk: Box<dyn Disk>,
    counts: Arc<Mutex<Counts>>,
}

impl Disk for Counted {
    fn open(&self, path: &str, mode: Mode) -> io::Result<FileId> {
        self.disk.open(path, mode)
    }
    fn close(&self, file: FileId) {
        self.disk.close(file);
    }
    fn read_at(&self, file: FileId, offset: u64, bytes: &mut [u8]) -> io::Result<usize> {
        let mut counts = self.counts.lock().expect("no panic while counting");
        counts.seeks += u64::from(counts.last != Some((file, offset)));
        counts.bytes += bytes.len() as u64;
        counts.last = Some((file, offset + bytes.len() as u64));
        drop(counts);
        self.disk.read_at(file, offset, bytes)
    }
    fn write_at(&self, file: FileId, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.disk.write_at(file, offset, bytes)
    }
    fn set_len(&self, file: FileId, bytes: u64) -> io::Result<()> {
        self.disk.set_len(file, bytes)
    }
    fn reserve(&self, file: FileId, end: u64) -> io::Result<()> {
        self.disk.reserve(file, end)
    }
    fn uncache(&self, file: FileId) {
        self.disk.uncache(file);
    }
    fn len(&self, file: FileId) -> io::Result<u64> {
        self.disk.len(file)
    }
    fn sync(&self, file: FileId) -> io::Result<()> {
        self.disk.sync(file)
    }
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk.rename(from, to)
    }
    fn remove(&self, path: &str) -> io::Result<()> {
        self.disk.remove(path)
    }
    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        self.disk.list(dir)
    }
    fn create_dir(&self, dir: &str) -> io::Result<()> {
        self.disk.create_dir(dir)
    }
    fn remove_dir(&self, dir: &str) -> io::Result<()> {
        self.disk.remove_dir(dir)
    }
    fn sync_dir(&self, dir: &str) -> io::Result<()> {
        self.disk.sync_dir(dir)
    }
    fn free_bytes(&self) -> io::Result<Option<u64>> {
        self.disk.free_bytes()
    }
    fn lock(&self, path: &str, sharing: Sharing) -> io::Result<()> {
        self.disk.lock(path, sharing)
    }
}

fn id(number: u64) -> Id {
    Id(*blake3::hash(&number.to_le_bytes()).as_bytes())
}

/// Fills the index as backups do: data, leaves over 90 each, inner nodes over 90 leaves, a root; then snapshots that change
/// some leaves and everything above.
struct Filler<'a> {
    store: &'a mut Store,
    made: u64,
}

impl Filler<'_> {
    fn add(&mut self, class: Class, height: u8, refs: &[u32]) -> u32 {
        self.made += 1;
        let loc = Loc {
            segment: u32::try_from(self.made / 4_096).expect("few"),
            offset: 4_096 + self.made % 4_096 * 64,
            length: 300,
            source: 0,
            class: class as u8,
            height,
        };
        let tag = tag(&self.store.superblock.store_key, &SOURCE, &id(self.made));
        let disk = Arc::clone(&self.store.disk);
        let inserted = self.store.index.insert(&*disk, Arrival { tag, loc, healthy: true });
        let Ok(Inserted::New(number)) = inserted else { panic!("a new record") };
        if refs.is_empty() {
            self.store.index.set_complete(number);
        } else {
            self.store.index.add_edges(number, height, refs);
        }
        if self.store.index.wants_table() {
            let head = self.store.ledger.head();
            self.store.index.write_tables(&*disk, self.made + 1, head).expect("a table");
        }
        number
    }

    fn above(&mut self, height: u8, below: &[u32]) -> Vec<u32> {
        below.chunks(REFS as usize).map(|refs| self.add(Class::Node, height, refs)).collect()
    }

    fn commit(&mut self, seq: u64, leaves: &[u32]) {
        let inner = self.above(2, leaves);
        let top = self.above(3, &inner);
        let root = self.add(Class::Node, 4, &top);
        let root_id = id(self.made);
        self.add(Class::Snapshot, 5, &[root]);
        let commit = CommitEntry {
            snapshot: id(self.made),
            source: 0,
            seq,
            root: root_id,
            session: KeyId::ZERO,
            class: 0,
            received_s: NOW.wall_s + seq,
            clock: 0,
            origin: None,
            data: None,
            meta: None,
            records: 1,
            bytes: 1,
        };
        self.store.state.apply(seq, LedgerHash::ZERO, &Entry::Commit(commit));
    }
}

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |text| text.parse().expect("a number"))
}

/// The reads of one marking: bytes, seeks, and the sums of what was found.
fn mark(records: u64, snapshots: u64, real: bool) -> (u64, u64, u64, u64) {
    let dir = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR").to_owned() + "/../../target").expect("a directory");
    let counts: Arc<Mutex<Counts>> = Arc::default();
    let disk: Box<dyn Disk> =
        if real { Box::new(DirDisk::open(dir.path()).expect("a directory")) } else { Box::new(SimDisk::new()) };
    let new =
        NewStore { id: StoreId([1; 16]), store_key: [2; 32], geometry: Geometry::default(), created_s: NOW.wall_s };
    Store::create(&*disk, &new).expect("an empty directory");
    let disk = Counted { disk, counts: Arc::clone(&counts) };
    let (mut store, _) = Store::open(disk, Access::ReadWrite, NOW).expect("it opens");
    let key = PublicKey([3; 32]);
    let source = Source {
        id: SOURCE,
        name: "web1".to_owned(),
        signing_key: key,
        recovery_key: PublicKey::ZERO,
        certificate: Vec::new(),
        epoch: 1,
    };
    store.put_source(source, NOW).expect("a source");
    let mut filler = Filler { store: &mut store, made: 0 };
    let data: Vec<u32> = (0..records).map(|_| filler.add(Class::Data, 0, &[])).collect();
    let mut leaves = filler.above(1, &data);
    filler.commit(1, &leaves);
    let changed = (records / 4_000).clamp(1, 1_000);
    for seq in 2..=snapshots {
        for place in 0..changed {
            let leaf = usize::try_from((seq * 7_919 + place * 104_729) % leaves.len() as u64).expect("few");
            let fresh = filler.add(Class::Data, 0, &[]);
            let from = leaf * REFS as usize;
            let mut refs = data[from..data.len().min(from + REFS as usize)].to_vec();
            refs[0] = fresh;
            leaves[leaf] = filler.add(Class::Node, 1, &refs);
        }
        filler.commit(seq, &leaves);
    }
    let head = store.ledger.head();
    let disk = Arc::clone(&store.disk);
    store.index.write_tables(&*disk, store.next_arrival, head).expect("tables");
    // Every second snapshot is given up.
    let source = store.state.source_mut(0).expect("the source");
    source.snapshots.retain(|snapshot| snapshot.seq % 2 == 0);
    *counts.lock().expect("no panic while counting") = Counts::default();
    let mut collection: Collection = store.collection(NOW);
    collection.audit = None;
    while collection.phase != Phase::Drop {
        let turned: Result<(), Stop> = collection.turn(&mut store, NOW);
        turned.expect("the index reads");
    }
    let counts = counts.lock().expect("no panic while counting");
    (counts.bytes, counts.seeks, collection.report.dead_records, store.index.edge_words() * 4)
}

#[test]
fn marking_reads_edges_and_places_twice_and_seeks_little() {
    let records = number("ADIT_MARK_RECORDS", 40_000);
    let snapshots = number("ADIT_MARK_SNAPSHOTS", 40);
    let (bytes, seeks, dead, edges) = mark(records, snapshots, records > 1_000_000);
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find(|line| line.starts_with("VmHWM")).unwrap_or_default().to_owned();
    println!(
        "{records} records, {snapshots} snapshots: {bytes} bytes in {seeks} seeks, edges {edges}, {dead} dead, {peak}"
    );
    assert!(dead > 0);
    // Both once forwards and once more; pages are a little larger than what they hold, and snapshots are looked up.
    let places = (records + records / 10 + snapshots * 2_000) * 20;
    assert!(bytes < 2 * (edges + places) * 11 / 10 + 2 * (records + snapshots * 2_000) * 16 + (4 << 20), "{bytes}");
    assert!(bytes <= 1_000_000_000 && (seeks <= 100 || records > 4_000_000), "{bytes} {seeks}");
}
