// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Records as a source makes them, as far as a box can tell: headers, references, hashes and signatures are right, what is
//! "sealed" is noise.

use crate::lab::Machine;
use adit_wire::ids::{Check, Id, KeyId};
use adit_wire::record::{Class, Header, SUITE_AES_256_GCM};
use adit_wire::signed::{
    Certificate, Completeness, KeyRecord, PREFIX_CERTIFICATE, PREFIX_KEY, PREFIX_SNAPSHOT, Snapshot, WRAP_BYTES,
};

fn record(header: &Header, refs: &[Id], body: &[u8]) -> Vec<u8> {
    let mut bytes = header.to_bytes().to_vec();
    refs.iter().for_each(|id| bytes.extend_from_slice(&id.0));
    bytes.extend_from_slice(body);
    let hash = blake3::hash(&bytes);
    bytes.extend_from_slice(hash.as_bytes());
    bytes
}

/// The id of a record.
pub(crate) fn id_of(record: &[u8]) -> Id {
    adit_wire::record::Record::parse(record).expect("a record").header.id
}

fn signed_record(class: Class, height: u8, refs: &[Id], body: &[u8]) -> Vec<u8> {
    let count = u16::from(class == Class::Snapshot);
    let header = Header {
        class,
        suite: 0,
        height,
        node_refs: count,
        data_refs: count,
        body_bytes: u32::try_from(body.len()).expect("short"),
        counter: 0,
        id: Id(*blake3::hash(body).as_bytes()),
        key_id: KeyId::ZERO,
    };
    record(&header, refs, body)
}

/// One run's records, made one after the other.
pub(crate) struct Sealer<'a> {
    machine: &'a Machine,
    pub(crate) key_id: KeyId,
    epoch: u32,
    counter: u32,
}

impl<'a> Sealer<'a> {
    pub(crate) fn new(machine: &'a Machine, key: u8, epoch: u32) -> Self {
        Self { machine, key_id: KeyId([key; 16]), epoch, counter: 0 }
    }

    pub(crate) fn key_record(&self) -> Vec<u8> {
        let wraps = [7u8; WRAP_BYTES];
        let check = Check([9; 32]);
        let payload = KeyRecord::new(self.machine.source, self.epoch, self.key_id, SUITE_AES_256_GCM, check, &wraps);
        let mut buffer = vec![0u8; 4_096];
        let body = payload.expect("fits").write(&mut buffer).expect("fits").to_vec();
        let signature = self.machine.signing.sign(PREFIX_KEY, &body);
        signed_record(Class::Key, 0, &[], &[&body[..], &signature.0].concat())
    }

    fn sealed(&mut self, class: Class, height: u8, node_refs: &[Id], data_refs: &[Id], body: &[u8]) -> Vec<u8> {
        let (mut nodes, mut data) = (node_refs.to_vec(), data_refs.to_vec());
        nodes.sort_unstable();
        data.sort_unstable();
        let refs = [nodes, data].concat();
        let mut hasher = blake3::Hasher::new();
        for id in &refs {
            hasher.update(&id.0);
        }
        let id = Id(*hasher.update(body).finalize().as_bytes());
        let count = |refs: &[Id]| u16::try_from(refs.len()).expect("few");
        let header = Header {
            class,
            suite: SUITE_AES_256_GCM,
            height,
            node_refs: count(node_refs),
            data_refs: count(data_refs),
            body_bytes: u32::try_from(body.len()).expect("short"),
            counter: self.counter,
            id,
            key_id: self.key_id,
        };
        self.counter += 1;
        record(&header, &refs, body)
    }

    pub(crate) fn data(&mut self, body: &[u8]) -> Vec<u8> {
        self.sealed(Class::Data, 0, &[], &[], body)
    }

    pub(crate) fn node(&mut self, data: &[Id]) -> Vec<u8> {
        self.sealed(Class::Node, 1, &[], data, b"names")
    }

    pub(crate) fn snapshot(&self, seq: u64, prev_head: Id, root: Id, info: Id, records: u64) -> Vec<u8> {
        let state = Completeness::Complete;
        let (source, epoch) = (self.machine.source, self.epoch);
        let body = Snapshot { source, epoch, seq, prev_head, root, info, nodes: 1, records, state }.to_bytes();
        let signature = self.machine.signing.sign(PREFIX_SNAPSHOT, &body);
        signed_record(Class::Snapshot, 2, &[root, info], &[&body[..], &signature.0].concat())
    }
}

/// A certificate of the machine's source, signed by its recovery key.
pub(crate) fn certificate(machine: &Machine, epoch: u32) -> Vec<u8> {
    let certificate = Certificate {
        source: machine.source,
        signing_key: machine.signing.public_key(),
        seed_check: Check([1; 32]),
        epoch,
        name: "web1",
    };
    let mut buffer = [0u8; 256];
    let body = certificate.write(&mut buffer).expect("fits").to_vec();
    let signature = machine.recovery.sign(PREFIX_CERTIFICATE, &body);
    [&body[..], &signature.0].concat()
}

/// Noise that doesn't repeat.
pub(crate) fn noise(bytes: usize, seed: u64) -> Vec<u8> {
    let mut out = vec![0u8; bytes];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut out);
    out
}
