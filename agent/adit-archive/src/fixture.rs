// SPDX-License-Identifier: Apache-2.0 OR MIT
//! For tests: a box in memory that checks what a real one checks, a machine that backs up to it, trees to save, and a
//! comparison of trees by content and all attributes.

use crate::engine::{Known, Outcome, Plan, Run, RunError, Silent, Sink, SinkClosed};
use crate::keys::{Certified, Recipient, RecoveryKey, SourceKeys};
use crate::restore::{FetchError, Fetched, Fetcher, Keyring, Report, Target, restore};
use crate::run_key::{RunKey, Suite};
use crate::seal::snapshot_record;
use crate::state::{Settled, State};
use adit_wire::ids::{Id, KeyId};
use adit_wire::read::Scope;
use adit_wire::record::{Class, Record};
use adit_wire::signed::Snapshot;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt::Write as _;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Deterministic bytes that look random.
pub(crate) fn filler(seed: u64) -> impl FnMut(&mut [u8]) {
    let mut reader = blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof();
    move |bytes| reader.fill(bytes)
}

/// Bytes that don't compress.
pub(crate) fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    filler(seed)(&mut bytes);
    bytes
}

#[derive(Debug, Default)]
struct Shelves {
    records: HashMap<Id, Vec<u8>>,
    /// In the order of arrival.
    order: Vec<Id>,
    key_records: HashMap<KeyId, Vec<u8>>,
    counters: HashMap<KeyId, u32>,
    repeats: u64,
    asked: u64,
    accept: u64,
}

/// A box that holds everything in memory.
#[derive(Debug)]
pub(crate) struct MemoryBox {
    shelves: Mutex<Shelves>,
    pub(crate) answers_have: bool,
}

impl MemoryBox {
    pub(crate) fn new() -> Self {
        let shelves = Shelves { accept: u64::MAX, ..Shelves::default() };
        Self { shelves: Mutex::new(shelves), answers_have: false }
    }

    fn shelves(&self) -> std::sync::MutexGuard<'_, Shelves> {
        self.shelves.lock().unwrap()
    }

    /// The line breaks after this many more records.
    pub(crate) fn accept_only(&self, records: u64) {
        self.shelves().accept = records;
    }

    pub(crate) fn len(&self) -> usize {
        self.shelves().records.len()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.shelves().records.values().map(Vec::len).sum()
    }

    pub(crate) fn repeats(&self) -> u64 {
        self.shelves().repeats
    }

    pub(crate) fn order(&self) -> Vec<Id> {
        self.shelves().order.clone()
    }

    pub(crate) fn classes_since(&self, from: usize) -> Vec<Class> {
        let shelves = self.shelves();
        shelves.order[from..].iter().map(|id| Record::parse(&shelves.records[id]).unwrap().header.class).collect()
    }

    pub(crate) fn take_key(&self, key_record: Vec<u8>) {
        let record = Record::parse(&key_record).unwrap();
        let (fields, ..) = adit_wire::signed::KeyRecord::read(record.body).unwrap();
        let key_id = fields.key_id;
        assert!(self.shelves().key_records.insert(key_id, key_record).is_none(), "a key id was used twice");
    }

    /// Forgets a record, as a rotten disk does.
    pub(crate) fn lose(&self, id: &Id) {
        assert!(self.shelves().records.remove(id).is_some(), "there is no {id} to lose");
    }

    /// Flips a bit of a record.
    pub(crate) fn spoil(&self, id: &Id) {
        let mut shelves = self.shelves();
        let record = shelves.records.get_mut(id).unwrap();
        let middle = record.len() / 2;
        record[middle] ^= 0x10;
    }

    /// Everything that these records need, themselves included, that is not there.
    pub(crate) fn missing(&self, from: &[Id]) -> Vec<Id> {
        let shelves = self.shelves();
        let (mut missing, mut seen, mut ahead) = (Vec::new(), HashSet::new(), from.to_vec());
        while let Some(id) = ahead.pop() {
            if !seen.insert(id) {
                continue;
            }
            match shelves.records.get(&id) {
                None => missing.push(id),
                Some(bytes) => {
                    let record = Record::parse(bytes).unwrap();
                    ahead.extend(record.node_refs.iter().chain(record.data_refs.iter()));
                }
            }
        }
        missing.sort();
        missing
    }

    /// Ids of one class below a root.
    pub(crate) fn closure(&self, root: Id) -> BTreeSet<Id> {
        let shelves = self.shelves();
        let (mut seen, mut ahead) = (BTreeSet::new(), vec![root]);
        while let Some(id) = ahead.pop() {
            if seen.insert(id)
                && let Some(bytes) = shelves.records.get(&id)
            {
                let record = Record::parse(bytes).unwrap();
                ahead.extend(record.node_refs.iter().chain(record.data_refs.iter()));
            }
        }
        seen
    }

    pub(crate) fn class(&self, id: &Id) -> Class {
        Record::parse(&self.shelves().records[id]).unwrap().header.class
    }
}

impl Sink for MemoryBox {
    fn record(&self, bytes: Vec<u8>) -> Result<(), SinkClosed> {
        let mut shelves = self.shelves();
        if shelves.accept == 0 {
            return Err(SinkClosed);
        }
        shelves.accept -= 1;
        let record = Record::parse(&bytes).expect("the engine sends whole records");
        let header = record.header;
        for child in record.node_refs.iter() {
            if let Some(child) = shelves.records.get(&child) {
                assert!(Record::parse(child).unwrap().header.height < header.height, "a child is as high");
            }
        }
        let before = shelves.counters.insert(header.key_id, header.counter);
        assert!(before.is_none_or(|before| before < header.counter), "counter went back");
        if shelves.records.contains_key(&header.id) {
            shelves.repeats += 1;
        } else {
            shelves.order.push(header.id);
            shelves.records.insert(header.id, bytes);
        }
        Ok(())
    }

    fn have(&self, ids: &[Id]) -> Result<Option<Vec<bool>>, SinkClosed> {
        if !self.answers_have {
            return Ok(None);
        }
        let mut shelves = self.shelves();
        shelves.asked += 1;
        Ok(Some(ids.iter().map(|id| shelves.records.contains_key(id)).collect()))
    }
}

/// Reads from a [`MemoryBox`]; counts round trips.
#[derive(Debug)]
pub(crate) struct MemoryFetcher<'a> {
    from: &'a MemoryBox,
    pub(crate) fetches: AtomicUsize,
    pub(crate) served: AtomicUsize,
}

impl<'a> MemoryFetcher<'a> {
    pub(crate) fn new(from: &'a MemoryBox) -> Self {
        Self { from, fetches: AtomicUsize::new(0), served: AtomicUsize::new(0) }
    }
}

impl Fetcher for MemoryFetcher<'_> {
    fn fetch(&self, scope: Scope, keys: bool, ids: &[Id], sink: &mut dyn FnMut(&[u8])) -> Result<Fetched, FetchError> {
        self.fetches.fetch_add(1, Ordering::Relaxed);
        let shelves = self.from.shelves();
        let mut wanted: BTreeSet<Id> = BTreeSet::new();
        let mut fetched = Fetched::default();
        for id in ids {
            match (scope, shelves.records.get(id)) {
                (Scope::Records, _) => drop(wanted.insert(*id)),
                (Scope::DataOfNodes, Some(node)) => {
                    // Damaged nodes are not parsed by a real box either.
                    if let Ok(node) = Record::parse(node) {
                        wanted.extend(node.data_refs.iter());
                    }
                }
                (Scope::DataOfNodes, None) => fetched.absent.push(*id),
            }
        }
        let mut told: HashSet<KeyId> = HashSet::new();
        for id in shelves.order.iter().filter(|id| wanted.contains(id)) {
            let Some(bytes) = shelves.records.get(id) else {
                fetched.absent.push(*id);
                continue;
            };
            let Ok(record) = Record::parse(bytes) else {
                fetched.damaged.push(*id);
                continue;
            };
            let key_id = record.header.key_id;
            if keys && told.insert(key_id) {
                sink(&shelves.key_records[&key_id]);
            }
            self.served.fetch_add(1, Ordering::Relaxed);
            sink(bytes);
        }
        Ok(fetched)
    }
}

/// One machine with a source, and its box.
pub(crate) struct Machine {
    pub(crate) home: tempfile::TempDir,
    pub(crate) state_dir: PathBuf,
    pub(crate) keys: SourceKeys,
    pub(crate) certified: Certified,
    pub(crate) peer: MemoryBox,
    pub(crate) newest: Option<(u64, Id)>,
    runs: u64,
    certificate_recipient: Recipient,
}

pub(crate) fn recovery_key() -> RecoveryKey {
    RecoveryKey::generate(&mut filler(77))
}

/// A directory for very many files: in memory where there is such a file system, for disks are slow at that.
pub(crate) fn roomy() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").unwrap_or_else(|_| tempfile::tempdir().unwrap())
}

impl Machine {
    pub(crate) fn new() -> Self {
        Self::at(tempfile::tempdir().unwrap())
    }

    pub(crate) fn at(home: tempfile::TempDir) -> Self {
        let state_dir = home.path().join("state");
        fs::create_dir(&state_dir).unwrap();
        fs::create_dir(home.path().join("data")).unwrap();
        let keys = SourceKeys::generate(&mut filler(1));
        let recovery = recovery_key();
        let certificate = recovery.certify(&keys.request("test").unwrap()).unwrap();
        let certified = Certified::verify(&certificate, &recovery.signing().public()).unwrap();
        let certificate_recipient = recovery.public().recipient("admin");
        let peer = MemoryBox::new();
        Self { home, state_dir, keys, certified, peer, newest: None, runs: 0, certificate_recipient }
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.home.path().join("data").canonicalize().unwrap()
    }

    pub(crate) fn plan(&self) -> Plan {
        let mut plan = Plan::new(vec![self.data()], self.state_dir.clone());
        plan.level = crate::engine::Level::Fixed(1);
        // Two runs within a second would else have the same info record.
        plan.about.run = self.runs.to_string();
        plan
    }

    pub(crate) fn settled(&self) -> Settled {
        State::settle(&self.state_dir, self.newest).unwrap()
    }

    /// What the state gives a run to know.
    pub(crate) fn known(&self) -> Known {
        match self.settled() {
            Settled::Current(state) => Known { state: Some(state), ..Known::default() },
            Settled::Absent(_) => Known { ask: true, ..Known::default() },
        }
    }

    pub(crate) fn open(&mut self) -> RunKey {
        self.runs += 1;
        let mut fill = filler(1_000 + self.runs);
        let run_key = RunKey::generate(Suite::Aes256Gcm, &mut fill);
        let record =
            run_key.key_record(&self.keys, std::slice::from_ref(&self.certificate_recipient), &mut fill).unwrap();
        self.peer.take_key(record);
        run_key
    }

    pub(crate) fn run(&mut self, plan: &Plan, known: Known) -> Result<Outcome, RunError> {
        let run_key = self.open();
        Run::start(plan, &self.keys, &run_key, known, &self.peer, &Silent)
    }

    /// A whole backup with the default plan; the box must be able to promise.
    pub(crate) fn backup(&mut self) -> Outcome2 {
        let plan = self.plan();
        let known = self.known();
        let outcome = self.run(&plan, known).unwrap();
        self.commit(outcome)
    }

    pub(crate) fn commit(&mut self, mut outcome: Outcome) -> Outcome2 {
        assert_eq!(self.peer.missing(&[outcome.root, outcome.info]), Vec::new(), "the box can't promise");
        let (seq, head) = self.sign(&outcome);
        outcome.state_next.prepare(seq, head).unwrap();
        let is_state_changed = outcome.state_next.is_changed();
        outcome.state_next.adopt().unwrap();
        self.newest = Some((seq, head));
        Outcome2 {
            root: outcome.root,
            info: outcome.info,
            counts: outcome.counts,
            skipped: outcome.skipped,
            is_state_changed,
        }
    }

    /// Sequence number and head of the snapshot of this outcome.
    pub(crate) fn sign(&self, outcome: &Outcome) -> (u64, Id) {
        let (seq, prev_head) = self.newest.map_or((1, Id::ZERO), |(seq, head)| (seq + 1, head));
        let snapshot = Snapshot {
            source: self.keys.source(),
            epoch: self.keys.epoch(),
            seq,
            prev_head,
            root: outcome.root,
            info: outcome.info,
            nodes: outcome.counts.nodes,
            records: outcome.counts.records,
            state: outcome.completeness,
        };
        let record = snapshot_record(&self.keys, &snapshot, outcome.root_height);
        (seq, Record::parse(&record).unwrap().header.id)
    }

    pub(crate) fn keyring(&self) -> Keyring {
        Keyring::certified(self.certified.clone(), recovery_key())
    }

    /// Restores everything; answers where the data directory is now.
    pub(crate) fn restore(&self, root: Id, name: &str) -> (Report, PathBuf) {
        let to = self.home.path().join(name);
        let report = self.restore_to(root, &Target::all(to.clone()));
        (report, to.join(self.data().strip_prefix("/").unwrap()))
    }

    pub(crate) fn restore_to(&self, root: Id, target: &Target) -> Report {
        let fetcher = MemoryFetcher::new(&self.peer);
        restore(&fetcher, &self.keyring(), root, target, &|_, _| ()).unwrap()
    }
}

/// What is left of an outcome after its commit.
#[derive(Debug)]
pub(crate) struct Outcome2 {
    pub(crate) root: Id,
    pub(crate) info: Id,
    pub(crate) counts: crate::info::Counts,
    pub(crate) skipped: Vec<crate::info::Skipped>,
    pub(crate) is_state_changed: bool,
}

/// Waits until a change of any of the files below would show in its times: the clock of the file system must have moved
/// on far enough from the last change.
pub(crate) fn settle(dir: &Path) {
    let probe = dir.join(".settle");
    let start = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
    loop {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
        let ns = (now.tv_sec - start.tv_sec) * 1_000_000_000 + (now.tv_nsec - start.tv_nsec);
        if ns > 30_000_000 {
            break;
        }
        std::thread::yield_now();
    }
    assert!(!probe.exists());
}

/// Everything that stat and the attribute calls tell of a tree, and all content.
pub(crate) fn describe(root: &Path) -> BTreeMap<Vec<u8>, String> {
    let mut found = BTreeMap::new();
    let mut inodes: HashMap<u64, Vec<u8>> = HashMap::new();
    describe_into(root, root, &mut found, &mut inodes);
    found
}

fn describe_into(root: &Path, path: &Path, found: &mut BTreeMap<Vec<u8>, String>, inodes: &mut HashMap<u64, Vec<u8>>) {
    let meta = fs::symlink_metadata(path).unwrap();
    let name = path.strip_prefix(root).unwrap().as_os_str().as_bytes().to_vec();
    let kind = meta.file_type();
    let mut line = format!(
        "mode {:o} uid {} gid {} mtime {}.{:09}",
        meta.permissions().mode(),
        meta.uid(),
        meta.gid(),
        meta.mtime(),
        meta.mtime_nsec()
    );
    if kind.is_file() {
        let content = fs::read(path).unwrap();
        write!(line, " file {} {}", content.len(), blake3::hash(&content)).unwrap();
        if meta.nlink() > 1 {
            let first = inodes.entry(meta.ino()).or_insert_with(|| name.clone());
            write!(line, " link of {first:?}").unwrap();
        }
        if meta.blocks() * 512 + (256 << 10) < meta.size() {
            line += " sparse";
        }
    } else if kind.is_symlink() {
        write!(line, " link to {:?}", fs::read_link(path).unwrap()).unwrap();
    } else if kind.is_char_device() || kind.is_block_device() {
        write!(line, " device {:x}", meta.rdev()).unwrap();
    } else if kind.is_fifo() {
        line += " fifo";
    }
    for (name, value) in xattrs(path) {
        write!(line, " {}={value:?}", String::from_utf8_lossy(&name)).unwrap();
    }
    found.insert(name, line);
    if kind.is_dir() {
        let mut children: Vec<PathBuf> = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()).collect();
        children.sort();
        for child in children {
            describe_into(root, &child, found, inodes);
        }
    }
}

pub(crate) fn xattrs(path: &Path) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut names = vec![0u8; 64 << 10];
    let Ok(length) = rustix::fs::llistxattr(path, &mut names[..]) else { return BTreeMap::new() };
    names[..length]
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty())
        .map(|name| {
            let mut value = vec![0u8; 64 << 10];
            let length = rustix::fs::lgetxattr(path, name, &mut value[..]).unwrap();
            (name.to_vec(), value[..length].to_vec())
        })
        .collect()
}

/// Compares two trees and says what differs.
pub(crate) fn assert_same(left: &Path, right: &Path) {
    let (left, right) = (describe(left), describe(right));
    for (path, line) in &left {
        assert_eq!(Some(line), right.get(path), "at {:?}", String::from_utf8_lossy(path));
    }
    assert_eq!(left.len(), right.len(), "there is more than there was");
}
