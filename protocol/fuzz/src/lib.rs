// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What the fuzz targets call: one function per decoder, each of which takes any bytes and must neither panic nor hang.
//! Where a decoder accepts, its encoder must give back something that decodes to the same. The functions stand apart
//! from the fuzzer, so that `make test` runs them too, on seeded inputs and with a stable compiler.

use adit_proto::backup::{BoxAction, BoxSession, CreditPool, Greeted};
use adit_proto::pairing::PairInput;
use adit_proto::token::Token;
use adit_wire::frame::{BODY_BYTES_MAX, Header, Kind, Message, PREFIX_BYTES, Service};
use adit_wire::ids::{Id, KeyId, SourceId, StoreId};
use adit_wire::record::Record;
use adit_wire::signed::{AddressRecord, Certificate, KeyRecord, Receipt, Snapshot};
use adit_wire::{admin, backup, health, link, pair, read, recover, refusal};

/// Takes any bytes; must neither panic nor hang.
pub type Decoder = fn(&[u8]);

/// Every decoder by name.
pub const DECODERS: [(&str, Decoder); 7] = [
    ("frame_prefix", frame_prefix),
    ("message", message),
    ("record", record),
    ("signed", signed),
    ("token", token),
    ("pairing", pairing),
    ("box_session", box_session),
];

/// The first bytes of a frame, which decide how much is read.
pub fn frame_prefix(data: &[u8]) {
    let Some(prefix) = data.first_chunk::<PREFIX_BYTES>() else { return };
    if let Ok((header, body_bytes)) = Header::from_prefix(prefix, BODY_BYTES_MAX) {
        assert!(body_bytes <= BODY_BYTES_MAX);
        assert_eq!(header.prefix(body_bytes).ok().as_ref(), Some(prefix));
    }
}

macro_rules! decoded {
    ($data:ident, $($message:ty),* $(,)?) => { $(
        if let Ok(message) = <$message as Message<'_>>::decode($data) {
            let mut buffer = vec![0u8; $data.len() + 64];
            let encoded = message.encode(&mut buffer).map(|bytes| bytes.to_vec()).unwrap_or_default();
            let again = <$message as Message<'_>>::decode(&encoded);
            assert_eq!(again.ok().as_ref(), Some(&message));
        }
    )* };
}

/// A body as each message in turn.
pub fn message(data: &[u8]) {
    decoded!(data, link::Greeting<'_>, link::Ping, link::Pong, link::Goodbye, refusal::Refused<'_>);
    decoded!(data, pair::Pair<'_>, pair::Paired<'_>);
    decoded!(data, backup::Hello, backup::Welcome<'_>, backup::Open<'_>, backup::Ack, backup::Have<'_>);
    decoded!(
        data,
        backup::Having<'_>,
        backup::Commit<'_>,
        backup::Committed<'_>,
        backup::Missing<'_>,
        backup::Certify<'_>
    );
    decoded!(data, read::Prove, read::Proved, read::List, read::Listed<'_>, read::Fetch<'_>, read::Fetched<'_>);
    decoded!(data, recover::Recover, recover::Recovered<'_>, recover::Adopt<'_>, recover::Adopted<'_>);
    decoded!(data, health::Poll, health::Same, health::Full<'_>);
    decoded!(data, admin::Peers, admin::PeersListed<'_>, admin::Rename<'_>, admin::Revoke<'_>, admin::Done);
    decoded!(data, admin::Verify, admin::Verifying, admin::Verified<'_>, admin::Unpair);
}

/// A record: header, references, body, hash.
pub fn record(data: &[u8]) {
    let _refused = Record::parse(data).is_err();
    // The hash stands in the way of a fuzzer, so the header is decoded by itself too.
    if let Some(bytes) = data.first_chunk()
        && let Ok(header) = adit_wire::record::Header::from_bytes(bytes)
    {
        assert_eq!(header.to_bytes(), *bytes);
    }
}

/// Everything that is signed.
pub fn signed(data: &[u8]) {
    let mut buffer = vec![0u8; data.len() + 64];
    if let Ok((certificate, body, _)) = Certificate::read(data) {
        assert_eq!(certificate.write(&mut buffer).map(|bytes| bytes.to_vec()).ok().as_deref(), Some(body));
    }
    if let Ok((key_record, body, _)) = KeyRecord::read(data) {
        assert!(key_record.wraps().count() > 0);
        assert_eq!(key_record.write(&mut buffer).map(|bytes| bytes.to_vec()).ok().as_deref(), Some(body));
    }
    if let Ok((snapshot, body, _)) = Snapshot::read(data) {
        assert_eq!(snapshot.to_bytes(), body);
    }
    if let Ok((receipt, body, _)) = Receipt::read(data) {
        assert_eq!(receipt.to_bytes(), body);
    }
    if let Ok((record, body, _)) = AddressRecord::read(data) {
        assert!(record.addresses().count() <= adit_wire::signed::ADDRESSES_MAX);
        assert_eq!(record.write(&mut buffer).map(|bytes| bytes.to_vec()).ok().as_deref(), Some(body));
    }
}

/// A pairing token, as typed by a person.
pub fn token(data: &[u8]) {
    let Ok(text) = core::str::from_utf8(data) else { return };
    if let Ok(token) = Token::parse(text) {
        let again = token.to_text().ok().and_then(|text| Token::parse(&text).ok());
        assert_eq!(again.map(|again| again.id()), Some(token.id()));
    }
}

/// The first message of an unknown peer.
pub fn pairing(data: &[u8]) {
    let _refused = PairInput::read(data).is_err();
}

/// A whole session on the box's side: frames back to back, each with method, length and body; the box does at once what
/// the session asks for.
pub fn box_session(data: &[u8]) {
    let Ok(mut session) = BoxSession::new(SOURCE, &CreditPool::new(1 << 20)) else { return };
    let mut rest = data;
    let mut now_ms = 0;
    while let [method, low, high, tail @ ..] = rest {
        let length = usize::from(u16::from_le_bytes([*low, *high])).min(tail.len());
        let (body, tail) = tail.split_at(length);
        let kind = Kind { service: Service::Backup as u8, method: *method, major: 1 };
        let Ok(action) = session.on_frame(now_ms, kind, body) else { return };
        match action {
            Some(BoxAction::Hello(_)) if session.welcome(&GREETED).is_err() => return,
            Some(BoxAction::Append { seq, .. }) => {
                session.appended(seq, false);
                session.synced(now_ms, seq);
            }
            Some(BoxAction::Have(ids)) => session.having(&vec![false; ids.len()]),
            Some(BoxAction::Commit { .. }) => session.missing(&[Id([1; 32])], false),
            Some(BoxAction::Hello(_) | BoxAction::Open { .. }) | None => {}
        }
        let sent: usize = session.poll(now_ms).iter().map(|frame| frame.body.len()).sum();
        assert!(sent <= BODY_BYTES_MAX);
        now_ms += 100;
        rest = tail;
    }
}

const SOURCE: SourceId = SourceId([7; 16]);
const GREETED: Greeted<'static> = Greeted {
    store: StoreId([1; 16]),
    newest: None,
    pending: None,
    server_time_s: 0,
    used_bytes: 0,
    quota_bytes: 0,
    wanted: &[],
};

/// Inputs that get far: what mutations start from.
pub fn seeds() -> Vec<Vec<u8>> {
    let hello = backup::Hello { source: SOURCE, epoch: 1, newest_seq: 0, newest_head: Id([0; 32]) };
    let open = backup::Open { key_record: &[5; 100], resume_of: KeyId([0; 16]) };
    let mut session = Vec::new();
    let mut buffer = [0u8; 512];
    for (method, body) in [
        (backup::Hello::KIND.method, hello.encode(&mut buffer).map(|bytes| bytes.to_vec())),
        (backup::Open::KIND.method, open.encode(&mut buffer).map(|bytes| bytes.to_vec())),
        (backup::METHOD_REC, Ok([vec![1, 0, 0, 0, 0, 0, 0, 0], vec![9; 200]].concat())),
        (backup::Have::KIND.method, Ok(vec![32; 33])),
        (backup::Commit::KIND.method, Ok([vec![40], vec![3; 40]].concat())),
    ] {
        let body = body.unwrap_or_default();
        session.push(method);
        session.extend(u16::try_from(body.len()).unwrap_or_default().to_le_bytes());
        session.extend(body);
    }
    let header = Header { kind: backup::Hello::KIND, flags: 0, conversation: 1 };
    let prefix = header.prefix(100).map(|prefix| prefix.to_vec()).unwrap_or_default();
    let hello = hello.encode(&mut buffer).map(|bytes| bytes.to_vec()).unwrap_or_default();
    vec![session, prefix, hello, b"adit1qyqsyqcyq5rqwzqf".to_vec(), vec![1; 64 + 32], vec![0; 300]]
}
