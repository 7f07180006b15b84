// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Every message of the wire as values: the smallest, a typical one, the largest, and one of every variant.

mod schema;

use adit_wire::admin::{
    Collect, Done, Invite, Invited, Keep, KeepPolicy, Kept, KeptRow, Peer, Peers, PeersListed, Rename, Revoke, Stored,
    StoredListed, StoredSource, TOKEN_LIFETIME_S_MAX, TOKEN_TEXT_BYTES_MAX, Unpair, Verified, Verify, Verifying, Wish,
};
use adit_wire::appliance::{
    Activate, AddShare, Disk, Disks, DisksListed, Doing, EncryptDisk, LOCATE_S_MAX, LocateDisk, LockSeen, Look,
    LookAtLock, Looked, Progress, ReplaceDisk, Restart, RetireDisk, SERIAL_BYTES_MAX, Share, Slot, Staged,
    UPDATE_PART_BYTES_MAX, Unlock, Update, UpdateAt, UpdatePart, UseDisk, Version, WORDS_BYTES_MAX,
};
use adit_wire::backup::{
    Ack, Certified, Certify, Commit, Committed, Have, Having, Hello, IDS_MAX, Missing, Newest, Open, PERIOD_S_MAX,
    Pending, Period, Welcome,
};
use adit_wire::frame::{Kind, Message, MessageError, Trailing};
use adit_wire::health::{Full, Poll, Same};
use adit_wire::ids::{Check, Id, KeyId, Mac, PublicKey, Signature, SourceId, StoreId, TokenId};
use adit_wire::link::{Goodbye, Greeting, Ping, Pong};
use adit_wire::list::{Ids, Parts, encode_part};
use adit_wire::pair::{Address, Pair, Paired, Role};
use adit_wire::read::{FETCH_IDS_MAX, Fetch, Fetched, List, Listed, Listing, Prove, Proved, Scope};
use adit_wire::recover::{Adopt, Adopted, Recover, Recoverable, Recovered};
use adit_wire::refusal::{Code, DETAIL_BYTES_MAX, Refused};
use serde::Serialize;
use std::sync::OnceLock;

/// Decodes a body and encodes what came out.
type Recode = fn(&[u8]) -> Result<Vec<u8>, MessageError>;

/// One message type.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) trailing: Trailing,
    pub(crate) schema: String,
    pub(crate) vectors: Vec<(&'static str, Vec<u8>)>,
    pub(crate) recode: Recode,
}

/// One type that lies packed in a message's list.
pub(crate) struct PartCase {
    pub(crate) name: &'static str,
    pub(crate) schema: String,
    pub(crate) vectors: Vec<(&'static str, Vec<u8>)>,
}

pub(crate) fn encode<'a, M: Message<'a>>(message: &M) -> Vec<u8> {
    message.check().expect("vectors keep the rules");
    // Most bodies are short; the longest is below 2 MiB.
    [1 << 10, 2 << 20]
        .into_iter()
        .find_map(|room| Some(message.encode(&mut vec![0; room]).ok()?.to_vec()))
        .expect("fits")
}

fn part<T: Serialize>(value: &T) -> Vec<u8> {
    encode_part(value, &mut [0; 4_096]).expect("fits").to_vec()
}

fn numbers<'a, M: Message<'a>>(_: &M) -> (Kind, Trailing) {
    (M::KIND, M::TRAILING)
}

macro_rules! case {
    ($name:ident: $($label:literal $value:expr),+ $(,)?) => {{
        let mut schema = String::new();
        let mut found = Vec::new();
        let vectors = vec![$(($label, {
            let value = $value;
            found.push(numbers(&value));
            if $label == "max" || $label == "only" {
                schema = schema::schema(&value);
            }
            encode(&value)
        })),+];
        let (kind, trailing) = found[0];
        let recode: Recode = |body| $name::decode(body).map(|message| encode(&message));
        Case { name: stringify!($name), kind, trailing, schema, vectors, recode }
    }};
}

macro_rules! part_case {
    ($name:ident: $($label:literal $value:expr),+ $(,)?) => {
        PartCase {
            name: stringify!($name),
            schema: [$(($label, schema::schema(&$value))),+]
                .into_iter()
                .filter(|(label, _)| *label != "min" && *label != "typical")
                .map(|(_, schema)| schema)
                .collect::<Vec<_>>()
                .join(" or "),
            vectors: vec![$(($label, part(&$value))),+],
        }
    };
}

/// Bytes that differ, so that a swapped field shows.
fn filled(count: usize) -> &'static [u8] {
    let bytes: Vec<u8> = (0..count).map(|index| u8::try_from(index % 251).expect("small")).collect();
    Vec::leak(bytes)
}

fn text(count: usize) -> &'static str {
    String::leak("x".repeat(count))
}

fn joined(parts: &[Vec<u8>]) -> &'static [u8] {
    Vec::leak(parts.concat())
}

fn ids(count: usize) -> Ids<'static> {
    Ids::new(filled(count * 32)).expect("whole ids")
}

const ID: Id = Id([0x1d; 32]);
const SOURCE: SourceId = SourceId([0x50; 16]);
const STORE: StoreId = StoreId([0x57; 16]);
const KEY: PublicKey = PublicKey([0x4b; 32]);
const KEY_ID: KeyId = KeyId([0x4d; 16]);
const SIGNATURE: Signature = Signature([0x53; 64]);
const LAST_ID: Id = Id([0xff; 32]);
const LAST_KEY: PublicKey = PublicKey([0xff; 32]);

/// Every message of every service, and the refusal.
pub(crate) fn cases() -> &'static [Case] {
    static CASES: OnceLock<Vec<Case>> = OnceLock::new();
    CASES.get_or_init(|| {
        [link(), pair(), backup(), read(), recover(), health(), admin(), keeping(), storing(), appliance()]
            .into_iter()
            .flatten()
            .collect()
    })
}

fn link() -> Vec<Case> {
    let greeting = Greeting {
        protocol_min: 1,
        protocol_max: 1,
        features: 0,
        conversations_max: 8,
        address_record: &[],
        software: "aditd 0.1.0",
    };
    vec![
        case!(Greeting:
        "min" Greeting { protocol_min: 0, protocol_max: 0, conversations_max: 0, software: "", ..greeting },
        "typical" greeting,
        "max" Greeting {
            protocol_min: 255, protocol_max: 255, features: u32::MAX, conversations_max: u16::MAX,
            address_record: filled(adit_wire::signed::ADDRESS_RECORD_BYTES_MAX), software: text(48),
        }),
        case!(Ping: "min" Ping { nonce: 0 }, "typical" Ping { nonce: 300 }, "max" Ping { nonce: u64::MAX }),
        case!(Pong: "min" Pong { nonce: 0 }, "typical" Pong { nonce: 300 }, "max" Pong { nonce: u64::MAX }),
        case!(Goodbye: "min" Goodbye { code: 0 }, "typical" Goodbye { code: 7 }, "max" Goodbye { code: u16::MAX }),
        case!(Refused:
            "min" Refused { code: 0, retry_after_s: 0, detail: "" },
            "typical" Refused { code: Code::Busy as u16, retry_after_s: 60, detail: "too many sources" },
            "max" Refused { code: u16::MAX, retry_after_s: u32::MAX, detail: text(DETAIL_BYTES_MAX) }),
    ]
}

fn pair() -> Vec<Case> {
    let none = Pair {
        token: TokenId::ZERO,
        role: Role::Source,
        name: "",
        source: SourceId::ZERO,
        signing_key: PublicKey::ZERO,
        recovery_key: PublicKey::ZERO,
        certificate: &[],
        mac: Mac::ZERO,
    };
    let typical =
        Pair { token: TokenId([0x70; 8]), name: "vm1", source: SOURCE, signing_key: KEY, mac: Mac([0x6d; 32]), ..none };
    let addresses = [Address::Ip([0x20; 16], 11_713), Address::Name("box.example", 443)];
    let addresses = joined(&addresses.map(|address| part(&address)));
    let paired = Paired {
        role: Role::Source,
        name: "",
        addresses: Parts::default(),
        store: StoreId::ZERO,
        newest_seq: 0,
        newest_head: Id::ZERO,
        mac: Mac::ZERO,
    };
    vec![
        case!(Pair: "min" none, "typical" typical,
            "max" Pair {
                token: TokenId([0xff; 8]), role: Role::Agent, name: text(63), source: SourceId([0xff; 16]),
                signing_key: LAST_KEY, recovery_key: LAST_KEY, certificate: filled(256), mac: Mac([0xff; 32]),
            },
            "role monitor" Pair { role: Role::Monitor, ..none },
            "role admin" Pair { role: Role::Admin, ..none },
            "role replica" Pair { role: Role::Replica, ..none },
            "role agent" Pair { role: Role::Agent, ..none }),
        case!(Paired: "min" paired,
        "typical" Paired {
            name: "box", addresses: Parts::new(addresses), store: STORE, newest_seq: 12, newest_head: ID, ..paired
        },
        "max" Paired {
            role: Role::Agent, name: text(63), addresses: Parts::new(filled(512)), store: StoreId([0xff; 16]),
            newest_seq: u64::MAX, newest_head: LAST_ID, mac: Mac([0xff; 32]),
        }),
    ]
}

fn backup() -> Vec<Case> {
    let hello = Hello { source: SourceId::ZERO, epoch: 0, newest_seq: 0, newest_head: Id::ZERO };
    let open = Open { key_record: &[], resume_of: KeyId::ZERO };
    let ack = Ack { received_seq: 0, durable_seq: 0, credit: 0, repeats: 0 };
    let certify = Certify { source: SourceId::ZERO, recovery_key: PublicKey::ZERO, certificate: &[] };
    vec![
        case!(Hello: "min" hello, "typical" Hello { source: SOURCE, epoch: 1, newest_seq: 300, newest_head: ID },
        "max" Hello {
            source: SourceId([0xff; 16]), epoch: u32::MAX, newest_seq: u64::MAX, newest_head: LAST_ID
        }),
        welcome(),
        case!(Open: "min" open, "typical" Open { key_record: filled(100), resume_of: KEY_ID },
            "max" Open { key_record: filled(64 << 10), resume_of: KeyId([0xff; 16]) }),
        case!(Ack: "min" ack, "typical" Ack { received_seq: 300, durable_seq: 200, credit: 6 << 20, repeats: 0 },
            "max" Ack { received_seq: u64::MAX, durable_seq: u64::MAX, credit: u32::MAX, repeats: u32::MAX }),
        case!(Have: "min" Have { ids: ids(0) }, "typical" Have { ids: ids(2) }, "max" Have { ids: ids(IDS_MAX) }),
        case!(Having: "min" Having { bits: &[] }, "typical" Having { bits: &[0b101, 1] },
            "max" Having { bits: filled(IDS_MAX / 8) }),
        case!(Commit: "min" Commit { record: &[], last_seq: 0 },
            "typical" Commit { record: filled(384), last_seq: 300 },
            "max" Commit { record: filled(4 << 10), last_seq: u64::MAX }),
        case!(Committed: "min" Committed { receipt: &[] }, "typical" Committed { receipt: filled(185) },
            "max" Committed { receipt: filled(512) }),
        case!(Missing: "min" Missing { ids: ids(0), more: false }, "typical" Missing { ids: ids(2), more: false },
            "max" Missing { ids: ids(IDS_MAX), more: true }),
        case!(Certify: "min" certify,
            "typical" Certify { source: SOURCE, recovery_key: KEY, certificate: filled(153) },
            "max" Certify { source: SourceId([0xff; 16]), recovery_key: LAST_KEY, certificate: filled(256) }),
        case!(Certified: "only" Certified {}),
        case!(Period: "min" Period { period_s: 1 }, "typical" Period { period_s: 86_400 },
            "max" Period { period_s: PERIOD_S_MAX }),
    ]
}

fn welcome() -> Case {
    let none = Welcome {
        store: StoreId::ZERO,
        newest: None,
        pending: None,
        credit: 0,
        server_time_s: 0,
        used_bytes: 0,
        quota_bytes: 0,
        wanted: Ids::default(),
    };
    let newest = Newest { seq: 300, head: ID, body: filled(214), received_s: 1_795_000_000 };
    let pending = Pending { key_id: KEY_ID, durable_seq: 200, received_seq: 300 };
    let typical = Welcome {
        store: STORE,
        newest: Some(newest),
        credit: 6 << 20,
        server_time_s: 1_795_000_100,
        used_bytes: 20 << 30,
        ..none
    };
    case!(Welcome: "min" none, "typical" typical,
        "max" Welcome {
            store: StoreId([0xff; 16]),
            newest: Some(Newest { seq: u64::MAX, head: LAST_ID, body: filled(214), received_s: u64::MAX }),
            pending: Some(Pending { key_id: KeyId([0xff; 16]), durable_seq: u64::MAX, received_seq: u64::MAX }),
            credit: u32::MAX,
            server_time_s: u64::MAX,
            used_bytes: u64::MAX,
            quota_bytes: u64::MAX,
            wanted: ids(IDS_MAX),
        },
        "pending" Welcome { pending: Some(pending), ..none },
        "wanted" Welcome { wanted: ids(1), ..none })
}

fn read() -> Vec<Case> {
    let listing =
        Listing { head: ID, body: filled(214), received_s: 1_795_000_000, new_records: 300, new_bytes: 9 << 20 };
    let listed = Listed { certificate: &[], signing_key: PublicKey::ZERO, snapshots: Parts::default(), more: false };
    let fetch = Fetch { source: SourceId::ZERO, scope: Scope::Records, keys: false, ids: ids(0) };
    vec![
        case!(Prove:
        "min" Prove { source: SourceId::ZERO, recovery_key: PublicKey::ZERO, signature: Signature::ZERO },
        "typical" Prove { source: SOURCE, recovery_key: KEY, signature: SIGNATURE },
        "max" Prove {
            source: SourceId([0xff; 16]), recovery_key: LAST_KEY, signature: Signature([0xff; 64])
        }),
        case!(Proved: "only" Proved {}),
        case!(List: "min" List { source: SourceId::ZERO, after_seq: 0 },
            "typical" List { source: SOURCE, after_seq: 300 },
            "max" List { source: SourceId([0xff; 16]), after_seq: u64::MAX }),
        case!(Listed: "min" listed,
        "typical" Listed {
            signing_key: KEY, snapshots: Parts::new(joined(&[part(&listing), part(&listing)])), ..listed
        },
        "max" Listed {
            certificate: filled(256), signing_key: LAST_KEY, snapshots: Parts::new(filled(1_000_000)), more: true
        }),
        case!(Fetch: "min" fetch,
            "typical" Fetch { source: SOURCE, keys: true, ids: ids(2), ..fetch },
            "max" Fetch {
                source: SourceId([0xff; 16]), scope: Scope::DataOfNodes, keys: true, ids: ids(FETCH_IDS_MAX)
            },
            "scope data of nodes" Fetch { scope: Scope::DataOfNodes, ..fetch }),
        case!(Fetched: "min" Fetched { records: 0, absent: ids(0), damaged: ids(0) },
            "typical" Fetched { records: 300, absent: ids(1), damaged: ids(1) },
            "max" Fetched { records: u32::MAX, absent: ids(FETCH_IDS_MAX - 1), damaged: ids(1) }),
    ]
}

fn recover() -> Vec<Case> {
    let recoverable = Recoverable {
        source: SOURCE,
        name: "vm1",
        certificate: filled(153),
        signing_key: KEY,
        newest_seq: 300,
        newest_head: ID,
        received_s: 1_795_000_000,
    };
    vec![
        case!(Recover: "min" Recover { recovery_key: PublicKey::ZERO, signature: Signature::ZERO },
            "typical" Recover { recovery_key: KEY, signature: SIGNATURE },
            "max" Recover { recovery_key: LAST_KEY, signature: Signature([0xff; 64]) }),
        case!(Recovered: "min" Recovered { store: StoreId::ZERO, sources: Parts::default() },
            "typical" Recovered { store: STORE, sources: Parts::new(joined(&[part(&recoverable)])) },
            "max" Recovered { store: StoreId([0xff; 16]), sources: Parts::new(filled(1_000_000)) }),
        case!(Adopt: "min" Adopt { certificate: &[], device_key: PublicKey::ZERO },
            "typical" Adopt { certificate: filled(153), device_key: KEY },
            "max" Adopt { certificate: filled(256), device_key: LAST_KEY }),
        case!(Adopted: "min" Adopted { name: "" }, "typical" Adopted { name: "vm1" }, "max" Adopted { name: text(63) }),
    ]
}

fn health() -> Vec<Case> {
    let full = Full { report: 0, inventory: 0, snapshot: &[], inventory_bytes: &[] };
    vec![
        case!(Poll: "min" Poll { inventory: 0, report: 0 }, "typical" Poll { inventory: 1 << 60, report: 300 },
            "max" Poll { inventory: u64::MAX, report: u64::MAX }),
        case!(Same: "min" Same { report: 0 }, "typical" Same { report: 300 }, "max" Same { report: u64::MAX }),
        case!(Full: "min" full,
        "typical" Full { report: 300, inventory: 1 << 60, snapshot: filled(40), ..full },
        "max" Full {
            report: u64::MAX, inventory: u64::MAX,
            snapshot: filled(adit_wire::health::SNAPSHOT_BYTES_MAX),
            inventory_bytes: filled(adit_wire::health::INVENTORY_BYTES_MAX),
        }),
    ]
}

fn admin() -> Vec<Case> {
    let verified = Verified {
        bytes: 0,
        records_well: 0,
        records_damaged: 0,
        places_damaged: 0,
        snapshots: 0,
        snapshots_incomplete: 0,
        damaged: ids(0),
        first_place: "",
    };
    vec![
        case!(Peers: "min" Peers { skip: 0 }, "typical" Peers { skip: 300 }, "max" Peers { skip: u32::MAX }),
        case!(PeersListed: "min" PeersListed { peers: Parts::default(), more: false },
            "typical" PeersListed { peers: Parts::new(joined(&[part(&peer(Role::Source))])), more: false },
            "max" PeersListed { peers: Parts::new(filled(1_000_000)), more: true }),
        case!(Rename: "min" Rename { from: "", to: "" }, "typical" Rename { from: "vm1", to: "mail" },
            "max" Rename { from: text(63), to: text(63) }),
        case!(Revoke: "min" Revoke { name: "" }, "typical" Revoke { name: "vm1" }, "max" Revoke { name: text(63) }),
        case!(Done: "only" Done {}),
        case!(Verify: "only" Verify {}),
        case!(Verifying: "min" Verifying { done_bytes: 0, total_bytes: 0 },
            "typical" Verifying { done_bytes: 1 << 30, total_bytes: 20 << 30 },
            "max" Verifying { done_bytes: u64::MAX, total_bytes: u64::MAX }),
        case!(Verified: "min" verified,
        "typical" Verified { bytes: 20 << 30, records_well: 120_000, snapshots: 24, ..verified },
        "max" Verified {
            bytes: u64::MAX, records_well: u64::MAX, records_damaged: u64::MAX, places_damaged: u64::MAX,
            snapshots: u64::MAX, snapshots_incomplete: u64::MAX, damaged: ids(IDS_MAX), first_place: text(200),
        }),
        case!(Unpair: "only" Unpair {}),
        case!(Invite: "min" Invite { role: Role::Source, name: "", rejoin: false, lifetime_s: 0 },
            "typical" Invite { role: Role::Source, name: "web1", rejoin: false, lifetime_s: 900 },
            "max" Invite { role: Role::Agent, name: text(63), rejoin: true, lifetime_s: TOKEN_LIFETIME_S_MAX }),
        case!(Invited: "min" Invited { token: "" }, "typical" Invited { token: "adit1x" },
            "max" Invited { token: text(TOKEN_TEXT_BYTES_MAX) }),
    ]
}

/// Retention.
fn keeping() -> Vec<Case> {
    let keep =
        Keep { wish: Wish::Plan, source: "", policy: KeepPolicy::default(), seqs: Parts::default(), skip: 0, now_s: 0 };
    let policy = KeepPolicy {
        keep_all_d: 14,
        hourly_d: 0,
        daily_d: 30,
        weekly_d: 90,
        monthly_d: 730,
        yearly_d: 3_650,
        minimum: 10,
        zone_min: -60,
    };
    let kept = Kept {
        policy: KeepPolicy::default(),
        pending: KeepPolicy::default(),
        pending_s: 0,
        now_s: 0,
        changed: 0,
        guard: "",
        rows: Parts::default(),
        more: false,
    };
    let row = KeptRow {
        seq: 3,
        received_s: 1_800_000_000,
        reasons: 0x41,
        until_s: 1_801_209_600,
        complete: true,
        expired_s: 0,
        release_s: 0,
        new_bytes: 1 << 20,
    };
    vec![
        case!(Keep: "min" keep,
        "typical" Keep { wish: Wish::Set, source: "web1", policy, seqs: Parts::new(&[1, 2]), now_s: 1_800_000_000, ..keep },
        "max" Keep {
            wish: Wish::Allow, source: text(63), policy, seqs: Parts::new(filled(40_960)), skip: u32::MAX, now_s: u64::MAX,
        }),
        case!(Kept: "min" kept,
        "typical" Kept { policy, pending: policy, now_s: 1_800_000_000, rows: Parts::new(joined(&[part(&row)])), ..kept },
        "max" Kept {
            policy, pending: policy, pending_s: u64::MAX, now_s: u64::MAX, changed: u32::MAX, guard: text(200),
            rows: Parts::new(filled(500_000)), more: true,
        }),
    ]
}

/// The store at a glance.
fn storing() -> Vec<Case> {
    let stored = StoredListed {
        read_only: "",
        stored_bytes: 0,
        record_bytes: 0,
        records: 0,
        damaged_records: 0,
        free_bytes: 0,
        grown_bytes: 0,
        collecting: false,
        swept_s: 0,
        swept_records: 0,
        swept_bytes: 0,
        sources: Parts::default(),
        more: false,
    };
    let source = StoredSource {
        name: "web1",
        source: SOURCE,
        snapshots: 30,
        expired: 1,
        released: 300,
        newest_s: 1_800_000_000,
        records: 40_000,
        bytes: 7 << 30,
        guarded: false,
    };
    vec![
        case!(Stored: "min" Stored { skip: 0 }, "typical" Stored { skip: 300 }, "max" Stored { skip: u32::MAX }),
        case!(StoredListed: "min" stored,
        "typical" StoredListed {
            stored_bytes: 9 << 30, record_bytes: 8 << 30, records: 40_000, free_bytes: 1 << 40,
            sources: Parts::new(joined(&[part(&source)])), ..stored
        },
        "max" StoredListed {
            read_only: text(200), stored_bytes: u64::MAX, record_bytes: u64::MAX, records: u64::MAX,
            damaged_records: u64::MAX, free_bytes: u64::MAX, grown_bytes: u64::MAX, collecting: true, swept_s: u64::MAX,
            swept_records: u64::MAX, swept_bytes: u64::MAX, sources: Parts::new(filled(500_000)), more: true,
        }),
        case!(Collect: "only" Collect {}),
    ]
}

const LAST_VERSION: Version = (u16::MAX, u16::MAX, u32::MAX);

fn appliance() -> Vec<Case> {
    let looked = Looked {
        version: (0, 0, 0),
        floor: (0, 0, 0),
        start: "",
        reset: "",
        data: "",
        watchdog: "",
        uptime_s: 0,
        slots: Parts::default(),
    };
    vec![
        case!(Look: "only" Look {}),
        case!(Looked: "min" looked,
        "typical" Looked {
            version: (1, 2, 3), floor: (1, 0, 0), start: "normal", reset: "power on", data: "mounted",
            watchdog: "i6300ESB timer", uptime_s: 300, slots: Parts::new(joined(&[part(&slot())])),
        },
        "max" Looked {
            version: LAST_VERSION, floor: LAST_VERSION, uptime_s: u64::MAX, slots: Parts::new(filled(600)), ..looked
        }),
        case!(Update: "min" Update { bytes: 0, hash: [0; 32] }, "typical" Update { bytes: 15 << 20, hash: [7; 32] },
            "max" Update { bytes: u64::MAX, hash: [0xff; 32] }),
        case!(UpdateAt: "min" UpdateAt { offset: 0 }, "typical" UpdateAt { offset: 1 << 20 },
            "max" UpdateAt { offset: u64::MAX }),
        case!(UpdatePart: "min" UpdatePart { offset: 0, bytes: &[] },
            "typical" UpdatePart { offset: 1 << 20, bytes: filled(40) },
            "max" UpdatePart { offset: u64::MAX, bytes: filled(UPDATE_PART_BYTES_MAX) }),
        case!(Staged: "min" Staged { version: (0, 0, 0) }, "typical" Staged { version: (1, 2, 3) },
            "max" Staged { version: LAST_VERSION }),
        case!(Activate: "min" Activate { version: (0, 0, 0) }, "typical" Activate { version: (1, 2, 3) },
            "max" Activate { version: LAST_VERSION }),
        case!(Restart: "min" Restart { back: false }, "back" Restart { back: true }),
        case!(Doing: "only" Doing {}),
        case!(Progress: "min" Progress { doing: "" }, "typical" Progress { doing: "makes a file system" },
            "max" Progress { doing: text(WORDS_BYTES_MAX) }),
        case!(Disks: "only" Disks {}),
        case!(DisksListed: "min" DisksListed { disks: Parts::default() },
            "typical" DisksListed { disks: Parts::new(joined(&[part(&disk())])) },
            "max" DisksListed { disks: Parts::new(filled(1_000_000)) }),
        case!(UseDisk: "min" UseDisk { serial: "", mirror: "" }, "typical" UseDisk { serial: "WD-1", mirror: "WD-2" },
            "max" UseDisk { serial: text(SERIAL_BYTES_MAX), mirror: text(SERIAL_BYTES_MAX) }),
        case!(ReplaceDisk: "min" ReplaceDisk { old: "", new: "" },
            "typical" ReplaceDisk { old: "WD-1", new: "WD-3" },
            "max" ReplaceDisk { old: text(SERIAL_BYTES_MAX), new: text(SERIAL_BYTES_MAX) }),
        case!(LocateDisk: "min" LocateDisk { serial: "", seconds: 0 },
            "typical" LocateDisk { serial: "WD-1", seconds: 30 },
            "max" LocateDisk { serial: text(SERIAL_BYTES_MAX), seconds: LOCATE_S_MAX }),
        case!(EncryptDisk: "min" EncryptDisk { serial: "", mirror: "", holder: PublicKey([0; 32]), share: Share([0; 32]) },
        "typical" EncryptDisk { serial: "WD-1", mirror: "WD-2", holder: KEY, share: Share([7; 32]) },
        "max" EncryptDisk {
            serial: text(SERIAL_BYTES_MAX), mirror: text(SERIAL_BYTES_MAX), holder: KEY, share: Share([0xff; 32]),
        }),
        case!(LookAtLock: "only" LookAtLock {}),
        case!(LockSeen: "min" LockSeen { encrypted: false, open: false, uptime_s: 0, off_s: 0, holders: 0 },
            "typical" LockSeen { encrypted: true, open: false, uptime_s: 90, off_s: 600, holders: 2 },
            "max" LockSeen { encrypted: true, open: true, uptime_s: u64::MAX, off_s: u64::MAX, holders: u8::MAX }),
        case!(Unlock: "min" Unlock { share: Share([0; 32]) }, "typical" Unlock { share: Share([7; 32]) }),
        case!(AddShare: "min" AddShare { share: Share([0; 32]), new_share: Share([0; 32]), holder: PublicKey([0; 32]) },
            "typical" AddShare { share: Share([7; 32]), new_share: Share([8; 32]), holder: KEY }),
        case!(RetireDisk: "min" RetireDisk { serial: "" }, "typical" RetireDisk { serial: "WD-1" },
            "max" RetireDisk { serial: text(SERIAL_BYTES_MAX) }),
    ]
}

fn slot() -> Slot<'static> {
    Slot { version: (1, 2, 3), state: "good", tries_left: 0, runs: true, reason: "" }
}

fn disk() -> Disk<'static> {
    Disk { serial: "WD-1", model: "WDC WD40EFRX", node: "sda", bytes: 4 << 40, part: "data", holds: "ext4 adit-data" }
}

fn peer(role: Role) -> Peer<'static> {
    Peer { name: "vm1", role, key: KEY, source: SOURCE, heard_s: 1_795_000_000, connected: true }
}

/// Every type that lies packed in a list.
pub(crate) fn part_cases() -> Vec<PartCase> {
    let listing =
        Listing { head: LAST_ID, body: filled(214), received_s: u64::MAX, new_records: u64::MAX, new_bytes: u64::MAX };
    let recoverable = Recoverable {
        source: SOURCE,
        name: text(63),
        certificate: filled(256),
        signing_key: KEY,
        newest_seq: u64::MAX,
        newest_head: ID,
        received_s: u64::MAX,
    };
    let entry =
        adit_wire::health::Entry { kind: 1, id: text(96), label: text(96), checks: filled(32), readings: filled(32) };
    vec![
        part_case!(Address: "ip" Address::Ip([0x20; 16], 11_713), "name" Address::Name("box.example", 443)),
        part_case!(Listing: "max" listing),
        part_case!(Recoverable: "max" recoverable),
        part_case!(Peer: "max" peer(Role::Source), "typical" peer(Role::Replica)),
        part_case!(Entry: "max" entry),
        part_case!(KeptRow: "max" KeptRow {
            seq: u64::MAX, received_s: u64::MAX, reasons: u8::MAX, until_s: u64::MAX, complete: true,
            expired_s: u64::MAX, release_s: u64::MAX, new_bytes: u64::MAX,
        }),
        part_case!(StoredSource: "max" StoredSource {
            name: text(63), source: SOURCE, snapshots: u32::MAX, expired: u32::MAX, released: u64::MAX,
            newest_s: u64::MAX, records: u64::MAX, bytes: u64::MAX, guarded: true,
        }),
        part_case!(Slot: "typical" slot(), "max" Slot {
            version: LAST_VERSION, state: text(16), tries_left: u8::MAX, runs: true, reason: text(WORDS_BYTES_MAX),
        }),
        part_case!(Disk: "typical" disk(), "max" Disk {
            serial: text(SERIAL_BYTES_MAX), model: text(64), node: text(16), bytes: u64::MAX, part: text(16),
            holds: text(WORDS_BYTES_MAX),
        }),
    ]
}

/// A certificate's seed check and such, for the signed bodies.
pub(crate) const CHECK: Check = Check([0x43; 32]);
