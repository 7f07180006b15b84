// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A source that makes valid records without any sealing: the store never looks inside, so random bytes are as good.

use adit_store::{
    Access, Appended, Commit, Geometry, Moment, NewStore, SessionId, SimDisk, Source, Step, Store, VerifyReport,
};
use adit_wire::ids::{Check, Id, KeyId, PublicKey, SourceId, StoreId};
use adit_wire::record::{Class, Header, SUITE_AES_256_GCM};
use adit_wire::signed::{
    Certificate, Completeness, KeyRecord, PREFIX_CERTIFICATE, PREFIX_KEY, PREFIX_SNAPSHOT, Snapshot, WRAP_BYTES,
};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use std::sync::Arc;

/// Segments of 256 KiB, so that a small workload crosses every limit.
pub(crate) const SMALL: Geometry = Geometry { data_log2: 18, meta_log2: 17, col_log2: 16, cell_log2: 12 };

/// Segments of 64 KiB and tables of 16 records: a few runs roll segments and ledger files and merge tables.
pub(crate) const TINY: Geometry = Geometry { data_log2: 16, meta_log2: 16, col_log2: 14, cell_log2: 12 };

/// SplitMix64.
#[derive(Clone, Debug)]
pub(crate) struct Rng(pub(crate) u64);

impl Rng {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub(crate) fn bytes(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(count + 8);
        while bytes.len() < count {
            bytes.extend_from_slice(&self.next().to_le_bytes());
        }
        bytes.truncate(count);
        bytes
    }

    pub(crate) fn array<const N: usize>(&mut self) -> [u8; N] {
        self.bytes(N).try_into().expect("as many bytes as asked for")
    }
}

pub(crate) const fn at(seconds: u64) -> Moment {
    Moment { wall_s: 1_800_000_000 + seconds, monotonic_ms: seconds * 1000 }
}

pub(crate) fn new_store(geometry: Geometry) -> NewStore {
    NewStore { id: StoreId([0xAB; 16]), store_key: [0xCD; 32], geometry, created_s: 1_800_000_000 }
}

pub(crate) fn created(geometry: Geometry) -> SimDisk {
    let disk = SimDisk::new();
    Store::create(&disk, &new_store(geometry)).expect("an empty disk takes a store");
    disk
}

pub(crate) fn open(disk: &SimDisk) -> Store {
    Store::open(disk.clone(), Access::ReadWrite, at(0)).expect("a store opens").0
}

/// Cuts the power cleanly: everything cached survives, the lock does not.
pub(crate) fn reboot(disk: &SimDisk) -> SimDisk {
    SimDisk::from_image(disk.image())
}

pub(crate) fn verify(store: &mut Store) -> VerifyReport {
    let mut verification = store.verification();
    loop {
        if let Step::Finished(report) = verification.step(store, 64 << 10, at(0)).expect("verification reads") {
            return report;
        }
    }
}

/// A record's bytes.
pub(crate) fn record(header: &Header, refs: &[Id], body: &[u8]) -> Vec<u8> {
    let mut bytes = header.to_bytes().to_vec();
    refs.iter().for_each(|id| bytes.extend_from_slice(&id.0));
    bytes.extend_from_slice(body);
    let hash = blake3::hash(&bytes);
    bytes.extend_from_slice(hash.as_bytes());
    bytes
}

/// A record with what a parent needs to know of it.
#[derive(Clone, Debug)]
pub(crate) struct Made {
    pub(crate) id: Id,
    pub(crate) height: u8,
    pub(crate) bytes: Vec<u8>,
}

/// A source and the keys it uses.
#[derive(Clone, Debug)]
pub(crate) struct TestSource {
    pub(crate) id: SourceId,
    pub(crate) rng: Rng,
    pub(crate) epoch: u32,
    pub(crate) key_id: KeyId,
    pub(crate) counter: u32,
    signing: Arc<Ed25519KeyPair>,
    recovery: Arc<Ed25519KeyPair>,
}

impl TestSource {
    pub(crate) fn new(seed: u64) -> Self {
        let mut rng = Rng(seed);
        let id = SourceId(rng.array());
        let key = |rng: &mut Rng| {
            Arc::new(Ed25519KeyPair::from_seed_unchecked(&rng.array::<32>()).expect("any seed is a key"))
        };
        let (signing, recovery) = (key(&mut rng), key(&mut rng));
        let key_id = KeyId(rng.array());
        Self { id, rng, epoch: 1, key_id, counter: 0, signing, recovery }
    }

    pub(crate) fn source(&self) -> Source {
        let public = |key: &Ed25519KeyPair| PublicKey::from_slice(key.public_key().as_ref()).expect("32 bytes");
        let certificate = Certificate {
            source: self.id,
            signing_key: public(&self.signing),
            seed_check: Check([7; 32]),
            epoch: self.epoch,
            name: "web1",
        };
        let mut buffer = [0; 256];
        let body = certificate.write(&mut buffer).expect("a short name").to_vec();
        Source {
            id: self.id,
            name: "web1".to_owned(),
            signing_key: public(&self.signing),
            recovery_key: public(&self.recovery),
            certificate: sign(&self.recovery, PREFIX_CERTIFICATE, &body),
            epoch: self.epoch,
        }
    }

    /// A new key id and its key record.
    pub(crate) fn new_key(&mut self) -> Vec<u8> {
        self.key_id = KeyId(self.rng.array());
        self.counter = 0;
        self.key_record()
    }

    pub(crate) fn key_record(&mut self) -> Vec<u8> {
        let wrap = self.rng.bytes(WRAP_BYTES);
        let payload = KeyRecord::new(self.id, self.epoch, self.key_id, SUITE_AES_256_GCM, Check([1; 32]), &wrap);
        let payload = payload.expect("one wrap");
        let mut buffer = vec![0; payload.body_bytes()];
        let body = payload.write(&mut buffer).expect("it fits").to_vec();
        signed_record(Class::Key, 0, &[], &[], &sign(&self.signing, PREFIX_KEY, &body))
    }

    fn sealed(&mut self, class: Class, height: u8, nodes: &[Id], data: &[Id], body: &[u8]) -> Made {
        self.counter += 1;
        let id = Id(self.rng.array());
        let (mut nodes, mut data) = (nodes.to_vec(), data.to_vec());
        nodes.sort_unstable();
        nodes.dedup();
        data.sort_unstable();
        data.dedup();
        let header = Header {
            class,
            suite: SUITE_AES_256_GCM,
            height,
            node_refs: u16::try_from(nodes.len()).expect("few"),
            data_refs: u16::try_from(data.len()).expect("few"),
            body_bytes: u32::try_from(body.len()).expect("short"),
            counter: self.counter,
            id,
            key_id: self.key_id,
        };
        let refs = [nodes, data].concat();
        Made { id, height, bytes: record(&header, &refs, body) }
    }

    pub(crate) fn data(&mut self, bytes: usize) -> Made {
        let body = self.rng.bytes(bytes);
        self.sealed(Class::Data, 0, &[], &[], &body)
    }

    pub(crate) fn node(&mut self, nodes: &[&Made], data: &[Id]) -> Made {
        let height = 1 + nodes.iter().map(|node| node.height).max().unwrap_or(0);
        let ids: Vec<Id> = nodes.iter().map(|node| node.id).collect();
        let body = self.rng.bytes(100);
        self.sealed(Class::Node, height, &ids, data, &body)
    }

    /// The snapshot record over a root and an info record.
    pub(crate) fn snapshot(&self, seq: u64, prev_head: Id, root: &Made, info: &Id) -> Made {
        let snapshot = Snapshot {
            source: self.id,
            epoch: self.epoch,
            seq,
            prev_head,
            root: root.id,
            info: *info,
            nodes: 1,
            records: 2,
            state: Completeness::Complete,
        };
        let body = sign(&self.signing, PREFIX_SNAPSHOT, &snapshot.to_bytes());
        let bytes = signed_record(Class::Snapshot, root.height + 1, &[root.id], &[*info], &body);
        Made { id: Id(*blake3::hash(&body).as_bytes()), height: root.height + 1, bytes }
    }

    /// A small tree: chunks, a leaf over each four, a root, an info record. Children first.
    pub(crate) fn tree(&mut self, chunks: usize, chunk_bytes: u64, old: &[Id]) -> Tree {
        let mut records = Vec::new();
        let mut leaves = Vec::new();
        for group in 0..chunks.div_ceil(4) {
            let mut refs = Vec::new();
            for _ in 0..4.min(chunks - group * 4) {
                let bytes = usize::try_from(self.rng.below(chunk_bytes)).expect("short") + 40;
                let chunk = self.data(bytes);
                refs.push(chunk.id);
                records.push(chunk);
            }
            if !old.is_empty() {
                let place = usize::try_from(self.rng.below(old.len() as u64)).expect("short");
                refs.push(old[place]);
            }
            let leaf = self.node(&[], &refs);
            records.push(leaf.clone());
            leaves.push(leaf);
        }
        let info = self.data(60);
        let root = self.node(&leaves.iter().collect::<Vec<_>>(), &[]);
        records.push(info.clone());
        records.push(root.clone());
        Tree { records, root, info: info.id }
    }
}

/// Records of one run, children before parents.
#[derive(Clone, Debug)]
pub(crate) struct Tree {
    pub(crate) records: Vec<Made>,
    pub(crate) root: Made,
    pub(crate) info: Id,
}

fn signed_record(class: Class, height: u8, nodes: &[Id], data: &[Id], body: &[u8]) -> Vec<u8> {
    let header = Header {
        class,
        suite: 0,
        height,
        node_refs: u16::try_from(nodes.len()).expect("few"),
        data_refs: u16::try_from(data.len()).expect("few"),
        body_bytes: u32::try_from(body.len()).expect("short"),
        counter: 0,
        id: Id(*blake3::hash(body).as_bytes()),
        key_id: KeyId::ZERO,
    };
    record(&header, &[nodes, data].concat(), body)
}

fn sign(key: &Ed25519KeyPair, prefix: &[u8], body: &[u8]) -> Vec<u8> {
    let signature = key.sign(&[prefix, body].concat());
    [body, signature.as_ref()].concat()
}

/// Sends records as one run; answers the newest sequence number.
pub(crate) fn send(store: &mut Store, session: SessionId, records: &[Made], first_seq: u64) -> u64 {
    let mut seq = first_seq;
    for made in records {
        assert_eq!(store.append(session, seq, &made.bytes, at(0)).expect("a valid record"), Appended::Stored);
        seq += 1;
    }
    seq - 1
}

/// One whole run: key, tree, commit.
pub(crate) fn backup(store: &mut Store, source: &mut TestSource, chunks: usize, seconds: u64) -> (Tree, Made) {
    let key = source.new_key();
    let session = store.open_session(&source.id, &key, None, at(seconds)).expect("a new session");
    let tree = source.tree(chunks, 3_000, &[]);
    send(store, session, &tree.records, 1);
    let newest = store.newest(&source.id);
    let (seq, head) = newest.map_or((0, Id::ZERO), |newest| (newest.seq, newest.head));
    let snapshot = source.snapshot(seq + 1, head, &tree.root, &tree.info);
    let commit = store.commit(session, &snapshot.bytes, at(seconds)).expect("a commit");
    assert!(matches!(commit, Commit::Committed { .. }), "{commit:?}");
    (tree, snapshot)
}
