// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What is frozen beside messages: numbers of enums and codes, the frame, the record, the signed bodies, limits.

use crate::vectors::CHECK;
use adit_wire::frame::{FLAG_END, Header, Kind, Service};
use adit_wire::health::codes::{Check as HealthCheck, ComponentKind, Quantity, Reason, Verdict};
use adit_wire::ids::{Id, KeyId, LedgerHash, PublicKey, RecipientId, SourceId, StoreId};
use adit_wire::pair::Role;
use adit_wire::record;
use adit_wire::refusal::Code;
use adit_wire::signed::{
    ADDRESS_RECORD_BYTES_MAX, AddressRecord, CERTIFICATE_BYTES_MAX, Certificate, Completeness, KeyRecord, Receipt,
    Snapshot, WRAP_BYTES,
};
use std::fmt::Debug;

fn numbered<T: Debug + Copy>(name: &str, all: &[T], number: impl Fn(T) -> u64) -> String {
    let lines: String = all.iter().map(|value| format!("  {} {value:?}\n", number(*value))).collect();
    format!("enum {name}\n{lines}")
}

pub(crate) fn enum_blocks() -> Vec<String> {
    let codes: String = Code::ALL
        .iter()
        .map(|code| format!("code {} {code:?}, blame {:?}: {}\n", *code as u16, code.blame(), code.text()))
        .collect();
    let verdicts = [Verdict::Ok, Verdict::Warning, Verdict::Critical, Verdict::Unknown];
    vec![
        numbered("Service", &Service::ALL, |service| service as u64),
        numbered("Role", &Role::ALL, |role| role as u64),
        numbered("Verdict", &verdicts, |verdict| verdict as u64),
        numbered("ComponentKind", ComponentKind::ALL, |kind| kind as u64),
        numbered("Check", HealthCheck::ALL, |check| check as u64),
        numbered("Reason", Reason::ALL, |reason| reason as u64),
        numbered("Quantity", Quantity::ALL, |quantity| quantity as u64),
        codes,
    ]
}

type Layout = (&'static str, Vec<(&'static str, Vec<u8>)>);

/// Fixed layouts, each with one example whose fields all differ.
pub(crate) fn layouts() -> Vec<Layout> {
    let mut layouts = vec![("frame", frames()), ("record", records())];
    let node = records().remove(0).1;
    let rec = [&300u64.to_le_bytes()[..], &node].concat();
    layouts.push(("REC body (backup 5 1): sequence number u64 little-endian, record", vec![("example", rec)]));
    layouts.push(("RECORD body (read 6 1): record", vec![("example", node)]));
    layouts.extend(signed());
    layouts
}

fn frames() -> Vec<(&'static str, Vec<u8>)> {
    let prefix = |service: Service, method, flags, conversation, body_bytes| {
        let kind = Kind { service: service as u8, method, major: 1 };
        Header { kind, flags, conversation }.prefix(body_bytes).expect("within limits").to_vec()
    };
    vec![
        ("empty", prefix(Service::Admin, 9, FLAG_END, 1, 0)),
        ("ordinary max", prefix(Service::Health, 3, 0, 0x0403_0201, 1 << 20)),
        ("record max", prefix(Service::Backup, 5, 0, u32::MAX, (2 << 20) + (64 << 10))),
    ]
}

fn records() -> Vec<(&'static str, Vec<u8>)> {
    let sealed = record::Header {
        class: record::Class::Node,
        suite: record::SUITE_AES_256_GCM,
        height: 2,
        node_refs: 1,
        data_refs: 2,
        body_bytes: 40,
        counter: 0x0a0b_0c0d,
        id: Id([0x1d; 32]),
        key_id: KeyId([0x4d; 16]),
    };
    let mut node = sealed.to_bytes().to_vec();
    for reference in [[0x01; 32], [0x02; 32], [0x03; 32]] {
        node.extend_from_slice(&reference);
    }
    node.extend_from_slice(&[0xbb; 40]);
    node.extend_from_slice(blake3::hash(&node).as_bytes());
    record::Record::parse(&node).expect("a sound record");
    let body = [0xcc; 8];
    let key = record::Header {
        class: record::Class::Key,
        suite: 0,
        height: 0,
        node_refs: 0,
        data_refs: 0,
        body_bytes: 8,
        counter: 0,
        id: Id(*blake3::hash(&body).as_bytes()),
        key_id: KeyId::ZERO,
    };
    let mut signed = key.to_bytes().to_vec();
    signed.extend_from_slice(&body);
    signed.extend_from_slice(blake3::hash(&signed).as_bytes());
    record::Record::parse(&signed).expect("a sound record");
    vec![("node", node), ("key", signed)]
}

fn signed() -> Vec<Layout> {
    let mut buffer = vec![0; 4_096];
    let certificate = Certificate {
        source: SourceId([0x50; 16]),
        signing_key: PublicKey([0x4b; 32]),
        seed_check: CHECK,
        epoch: 0x0403_0201,
        name: "vm1",
    };
    let certificate = certificate.write(&mut buffer[..CERTIFICATE_BYTES_MAX]).expect("fits").to_vec();
    let wraps: Vec<u8> = (0..WRAP_BYTES * 2).map(|index| u8::try_from(index % 251).expect("small")).collect();
    let key = KeyRecord::new(SourceId([0x50; 16]), 1, KeyId([0x4d; 16]), 1, CHECK, &wraps).expect("two wraps");
    assert_eq!(key.wraps().map(|wrap| wrap.recipient).next(), RecipientId::from_slice(&wraps[..8]));
    let key = key.write(&mut buffer).expect("fits").to_vec();
    let snapshot = Snapshot {
        source: SourceId([0x50; 16]),
        epoch: 0x0403_0201,
        seq: 0x0807_0605_0403_0201,
        prev_head: Id([0x11; 32]),
        root: Id([0x22; 32]),
        info: Id([0x33; 32]),
        nodes: 300,
        records: 400,
        state: Completeness::Partial,
    };
    let receipt = Receipt {
        store: StoreId([0x57; 16]),
        source: SourceId([0x50; 16]),
        seq: 0x0807_0605_0403_0201,
        head: Id([0x1d; 32]),
        ledger_block: 500,
        ledger_hash: LedgerHash([0x44; 32]),
        time_s: 1_795_000_000,
    };
    let packed: Vec<u8> = (0..36).collect();
    let address = AddressRecord::new(PublicKey([0x4b; 32]), 7, &packed).expect("two addresses");
    let address = address.write(&mut buffer[..ADDRESS_RECORD_BYTES_MAX]).expect("fits").to_vec();
    vec![
        ("certificate body", vec![("example", certificate)]),
        ("key record body", vec![("example", key)]),
        ("snapshot body", vec![("example", snapshot.to_bytes().to_vec())]),
        ("receipt body", vec![("example", receipt.to_bytes().to_vec())]),
        ("address record body", vec![("example", address)]),
    ]
}
