// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What the fuzz targets call: one function per decoder, each of which takes any bytes and must neither panic nor hang.
//! Where a decoder accepts, its encoder must give back something that decodes to the same. The functions stand apart
//! from the fuzzer, so that `make test` runs them too, on seeded inputs and with a stable compiler.

pub mod machine;

use adit_proto::backup::{BoxAction, BoxSession, CreditPool, Greeted, Resume, SourceEvent, SourceSession, SourceStart};
use adit_proto::pairing::PairInput;
use adit_proto::token::Token;
use adit_wire::frame::{BODY_BYTES_MAX, Header, Kind, Message, MessageError, PREFIX_BYTES, Service, Trailing};
use adit_wire::ids::{Id, KeyId, SourceId, StoreId};
use adit_wire::list::Ids;
use adit_wire::record::Record;
use adit_wire::signed::{AddressRecord, Certificate, KeyRecord, Receipt, Snapshot};
use adit_wire::{admin, appliance, backup, health, link, pair, read, recover, refusal};

/// Takes any bytes; must neither panic nor hang.
pub type Decoder = fn(&[u8]);

/// Every decoder that a peer reaches, by name; those of health are in [`machine`].
pub const DECODERS: [(&str, Decoder); 9] = [
    ("frame_prefix", frame_prefix),
    ("message", message),
    ("record", record),
    ("signed", signed),
    ("token", token),
    ("pairing", pairing),
    ("box_session", box_session),
    ("source_session", source_session),
    ("health", health_report),
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
            // One meaning has one encoding; only a report may have bytes behind it.
            assert!($data.starts_with(&encoded));
            assert!(encoded.len() == $data.len() || <$message as Message<'_>>::TRAILING == Trailing::Skipped);
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
        backup::Certify<'_>,
        backup::Period
    );
    decoded!(data, read::Prove, read::Proved, read::List, read::Listed<'_>, read::Fetch<'_>, read::Fetched<'_>);
    decoded!(data, recover::Recover, recover::Recovered<'_>, recover::Adopt<'_>, recover::Adopted<'_>);
    decoded!(data, health::Poll, health::Same, health::Full<'_>);
    decoded!(data, admin::Peers, admin::PeersListed<'_>, admin::Rename<'_>, admin::Revoke<'_>, admin::Done);
    decoded!(data, admin::Verify, admin::Verifying, admin::Verified<'_>, admin::Unpair);
    decoded!(data, admin::Invite<'_>, admin::Invited<'_>);
    decoded!(data, admin::Keep<'_>, admin::Kept<'_>, admin::Stored, admin::StoredListed<'_>, admin::Collect);
    decoded!(data, appliance::Look, appliance::Looked<'_>, appliance::Update, appliance::UpdateAt);
    decoded!(data, appliance::UpdatePart<'_>, appliance::Staged, appliance::Activate, appliance::Restart);
    decoded!(data, appliance::Doing, appliance::Progress<'_>, appliance::Disks, appliance::DisksListed<'_>);
    decoded!(data, appliance::UseDisk<'_>, appliance::ReplaceDisk<'_>, appliance::LocateDisk<'_>);
    decoded!(data, appliance::RetireDisk<'_>, appliance::EncryptDisk<'_>, appliance::LookAtLock);
    decoded!(data, appliance::LockSeen, appliance::Unlock, appliance::AddShare);
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
    let pool = CreditPool::new(1 << 20);
    let Ok(mut session) = BoxSession::new(SOURCE, &pool) else { return };
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
        assert_eq!(session.credit_bytes() + pool.free_bytes(), 1 << 20);
        assert!(session.unappended_bytes() == 0, "the box appends at once");
        now_ms += 100;
        rest = tail;
    }
}

/// A whole run on the source's side: what a box sends, as above. The source does what it may after each frame; a length
/// of zero for HELLO's number cuts the connection.
pub fn source_session(data: &[u8]) {
    let start = SourceStart { source: SOURCE, epoch: 1, newest_seq: 0, newest_head: Id([0; 32]) };
    let mut session = SourceSession::new(start);
    let mut keys = 0u8;
    if session.hello().is_err() {
        return;
    }
    let mut rest = data;
    while let [method, low, high, tail @ ..] = rest {
        let length = usize::from(u16::from_le_bytes([*low, *high])).min(tail.len());
        let (body, tail) = tail.split_at(length);
        rest = tail;
        if *method == backup::Hello::KIND.method {
            session.reconnect();
            let _twice = session.hello().is_err();
            continue;
        }
        let kind = Kind { service: Service::Backup as u8, method: *method, major: 1 };
        match session.on_frame(kind, body) {
            Err(_) => return,
            Ok(Some(SourceEvent::Welcomed(welcome))) => {
                let resumed = (keys > 0).then(|| session.resume());
                keys = keys.wrapping_add(1).max(1);
                let pending = welcome.pending.map(|pending| pending.key_id);
                let opened = match resumed {
                    None => session.open(KeyId([keys; 16]), vec![keys; 40], pending),
                    Some(Ok(Resume::Adopt(key))) => session.open(KeyId([keys; 16]), vec![keys; 40], Some(key)),
                    Some(Ok(Resume::Again)) => session.reopen(),
                    Some(Err(_)) => return,
                };
                assert!(opened.is_ok(), "what the session answered is its turn");
            }
            Ok(_) => {}
        }
        while session.next_resend().is_some() {}
        for bytes in [100, 70_000] {
            if session.may_send(bytes) {
                assert!(session.take_record(vec![keys; bytes]).is_ok());
            }
        }
        if body.len() % 5 == 4 {
            let _not_now = session.commit(&[1]).is_err();
        }
        assert!(session.kept_bytes() <= 16 << 20);
        assert!(session.durable_seq() <= session.last_seq());
    }
}

/// An inventory and a snapshot, as a monitor gets them from a machine that it does not trust. The first two bytes say
/// where one ends.
pub fn health_report(data: &[u8]) {
    struct Count(usize);
    impl health::snapshot::Visitor for Count {
        fn component(&mut self, _: usize, _: &health::Entry<'_>) {
            self.0 += 1;
        }
        fn check(&mut self, _: usize, _: u8, finding: health::snapshot::Finding<'_>) {
            assert!(finding.detail.len() <= health::DETAIL_BYTES_MAX);
        }
        fn reading(&mut self, _: usize, _: u8, _: Option<i64>) {}
    }
    let [low, high, rest @ ..] = data else { return };
    let at = usize::from(u16::from_le_bytes([*low, *high])).min(rest.len());
    let (inventory, snapshot) = rest.split_at(at);
    let Ok(inventory) = health::Inventory::read(inventory) else { return };
    let mut count = Count(0);
    let _refused = health::snapshot::read(&inventory, snapshot, &mut count).is_err();
    assert!(count.0 <= health::COMPONENTS_MAX);
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
    let mut seeds = vec![session, prefix, hello, b"adit1qyqsyqcyq5rqwzqf".to_vec(), vec![1; 64 + 32], vec![0; 300]];
    seeds.push(answers());
    // Version, host, one component with a check and a reading; then a snapshot with one verdict and its reason.
    let inventory = [1, 1, b'h', 9, 1, 1, b'i', 1, b'l', 1, 1, 1, 1];
    assert!(
        health::Inventory::read(&inventory).is_ok_and(|inventory| inventory.components.iter().all(|part| part.is_ok()))
    );
    let snapshot = [1, 200, 1, 1, 1, 0, 1, b'd', 1, 84];
    seeds.push([&[13, 0], &inventory[..], &snapshot].concat());
    seeds
}

/// What a box sends in a run that is cut once, then goes on.
fn answers() -> Vec<u8> {
    let welcome = |pending| backup::Welcome {
        store: StoreId([1; 16]),
        newest: None,
        pending,
        credit: 1 << 20,
        server_time_s: 0,
        used_bytes: 0,
        quota_bytes: 0,
        wanted: Ids::default(),
    };
    let ack = backup::Ack { received_seq: 2, durable_seq: 1, credit: 1 << 20, repeats: 0 };
    let pending = backup::Pending { key_id: KeyId([1; 16]), durable_seq: 1, received_seq: 2 };
    let mut buffer = [0u8; 512];
    let mut frames = Vec::new();
    let mut push = |method: u8, body: Result<Vec<u8>, MessageError>| {
        let body = body.unwrap_or_default();
        frames.push(method);
        frames.extend(u16::try_from(body.len()).unwrap_or_default().to_le_bytes());
        frames.extend(body);
    };
    push(backup::Welcome::KIND.method, welcome(None).encode(&mut buffer).map(|bytes| bytes.to_vec()));
    push(backup::Ack::KIND.method, ack.encode(&mut buffer).map(|bytes| bytes.to_vec()));
    push(backup::Hello::KIND.method, Ok(Vec::new()));
    push(backup::Welcome::KIND.method, welcome(Some(pending)).encode(&mut buffer).map(|bytes| bytes.to_vec()));
    push(backup::Ack::KIND.method, ack.encode(&mut buffer).map(|bytes| bytes.to_vec()));
    frames
}
