// SPDX-License-Identifier: Apache-2.0 OR MIT
//! protocol/SPEC.md and the code say the same: roles, methods and limits are read from the document's own tables.

use adit_proto::roles::{self, TABLE, Who};
use adit_wire::frame::{Kind, Service};
use std::collections::BTreeMap;

const SPEC: &str = include_str!("../../SPEC.md");
const LOCK: &str = include_str!("../../wire.lock");

/// The cells of the table whose head row begins with `head`, without head and rule.
fn table(head: &str) -> Vec<Vec<&'static str>> {
    let from_head = SPEC.lines().skip_while(move |line| !line.starts_with(head));
    let rows = from_head.skip(2).take_while(|line| line.starts_with('|'));
    rows.map(|row| row.trim_matches('|').split('|').map(str::trim).collect()).collect()
}

fn service(word: &str) -> Service {
    let found = Service::ALL.into_iter().find(|service| format!("{service:?}").to_lowercase() == word);
    found.unwrap_or_else(|| panic!("SPEC.md has an unknown service {word}"))
}

/// Every cell, and no other row.
#[test]
fn the_table_of_roles_is_the_documents() {
    let head = "| service | method | name | opens |";
    let columns: Vec<&str> = Who::ALL.iter().map(|who| who.word()).collect();
    let head_row = SPEC.lines().find(|line| line.starts_with(head)).expect("the table of roles");
    let heads: Vec<&str> = head_row.trim_matches('|').split('|').map(str::trim).skip(4).collect();
    assert_eq!(heads, columns);
    let rows = table(head);
    assert_eq!(rows.len(), TABLE.len(), "rows of SPEC.md and of the code");
    let yes = |cell: &str| match cell {
        "yes" => true,
        "–" => false,
        other => panic!("a cell says {other:?}"),
    };
    for row in rows {
        let kind = Kind { service: service(row[0]) as u8, method: row[1].parse().expect("a method"), major: 1 };
        let name = row[2];
        let known = roles::row(kind).unwrap_or_else(|| panic!("SPEC.md has {name}, the code has not"));
        assert_eq!(known.name, name);
        assert_eq!(known.opens, yes(row[3]), "{name} opens");
        for (who, cell) in Who::ALL.into_iter().zip(&row[4..]) {
            assert_eq!(roles::allowed(who, kind), yes(cell), "{name} by {}", who.word());
            assert_eq!(roles::may_open(who, kind), yes(cell) && yes(row[3]), "{name} opened by {}", who.word());
        }
    }
}

/// Whatever the table does not name is shut: every other number, major and answer.
#[test]
fn what_is_not_in_the_table_is_shut() {
    let mut open = 0;
    for service in 0..=255 {
        for method in 0..=255 {
            for major in [0, 1, 2, 255] {
                let kind = Kind { service, method, major };
                let listed = TABLE.iter().any(|row| row.service as u8 == service && row.method == method) && major == 1;
                for who in Who::ALL {
                    open += usize::from(roles::allowed(who, kind));
                    assert!(listed || !roles::allowed(who, kind), "{kind:?} by {who:?}");
                }
            }
        }
    }
    let cells: usize = TABLE.iter().map(|row| Who::ALL.into_iter().filter(|who| row.allows(*who)).count()).sum();
    assert_eq!(open, cells);
}

/// Strangers reach their own door's services and nothing else.
#[test]
fn strangers_stay_at_their_door() {
    for row in TABLE {
        let pairing = row.service == Service::Pair;
        let recovering = matches!(row.service, Service::Link | Service::Read | Service::Recover);
        assert_eq!(row.allows(Who::Pairing), pairing, "{}", row.name);
        assert_eq!(row.allows(Who::Recovering), recovering, "{}", row.name);
    }
}

/// A request that is on the wire but in no row could never be sent, and one in no vector would be unfrozen.
#[test]
fn the_rows_are_the_requests_of_the_lock() {
    let locked: BTreeMap<(String, u8), String> = LOCK
        .lines()
        .filter_map(|line| line.strip_prefix("message "))
        .map(|line| {
            let words: Vec<&str> = line.split(' ').collect();
            ((words[0].to_owned(), words[1].parse().expect("a method")), words[3].to_uppercase())
        })
        .collect();
    for row in TABLE.iter().filter(|row| row.name != "REC") {
        let place = (format!("{:?}", row.service).to_lowercase(), row.method);
        assert_eq!(locked.get(&place).map(String::as_str), Some(row.name), "{place:?}");
    }
    let mut requests = LOCK.split("\n\n").filter(|block| block.contains("\n  trailing refused"));
    assert!(requests.all(|block| {
        let words: Vec<&str> = block.lines().next().expect("a head").split(' ').collect();
        words[4] == "Paired" || TABLE.iter().any(|row| row.name == words[4].to_uppercase())
    }));
}

#[test]
fn limits_are_the_documents() {
    use adit_proto::{backup as session, pairing, token};
    use adit_wire::{appliance, backup, frame, link, pair, read, record, refusal, signed};
    let code: BTreeMap<&str, u64> = [
        ("DEFAULT_PORT", u64::from(adit_wire::DEFAULT_PORT)),
        ("PREFIX_BYTES", frame::PREFIX_BYTES as u64),
        ("BODY_BYTES_MAX", frame::BODY_BYTES_MAX as u64),
        ("RECORD_BODY_BYTES_MAX", frame::RECORD_BODY_BYTES_MAX as u64),
        ("STRANGER_BODY_BYTES_MAX", frame::STRANGER_BODY_BYTES_MAX as u64),
        ("PAIR_BODY_BYTES_MAX", pair::PAIR_BODY_BYTES_MAX as u64),
        ("RECORD_BYTES_MAX", record::RECORD_BYTES_MAX as u64),
        ("REFS_MAX", record::REFS_MAX as u64),
        ("HEIGHT_MAX", u64::from(record::HEIGHT_MAX)),
        ("RECIPIENTS_MAX", signed::RECIPIENTS_MAX as u64),
        ("ADDRESSES_MAX", signed::ADDRESSES_MAX as u64),
        ("TOKEN_ADDRESSES_MAX", token::ADDRESSES_MAX as u64),
        ("PAIRED_ADDRESSES_MAX", pair::PAIRED_ADDRESSES_MAX as u64),
        ("NAME_BYTES_MAX", pair::NAME_BYTES_MAX as u64),
        ("TRIES_MAX", u64::from(pairing::TRIES_MAX)),
        ("DETAIL_BYTES_MAX", refusal::DETAIL_BYTES_MAX as u64),
        ("CONVERSATIONS_MAX", u64::from(link::CONVERSATIONS_MAX)),
        ("PING_AFTER_S", u64::from(link::PING_AFTER_S)),
        ("DEAD_AFTER_S", u64::from(link::DEAD_AFTER_S)),
        ("IDS_MAX", backup::IDS_MAX as u64),
        ("FETCH_IDS_MAX", read::FETCH_IDS_MAX as u64),
        ("FETCH_RECORDS_MAX", read::FETCH_RECORDS_MAX as u64),
        ("MISSING_ROUNDS_MAX", u64::from(backup::MISSING_ROUNDS_MAX)),
        ("UNDURABLE_BYTES_MAX", u64::from(backup::UNDURABLE_BYTES_MAX)),
        ("ACK_EVERY_BYTES", u64::from(backup::ACK_EVERY_BYTES)),
        ("ACK_EVERY_MS", session::ACK_EVERY_MS),
        ("SYNC_AT_BYTES", u64::from(session::SYNC_AT_BYTES)),
        ("SYNC_EVERY_BYTES", u64::from(backup::SYNC_EVERY_BYTES)),
        ("SYNC_EVERY_S", u64::from(backup::SYNC_EVERY_S)),
        ("IDLE_MS", session::IDLE_MS),
        ("DAMAGED_IDS_MAX", adit_wire::admin::DAMAGED_IDS_MAX as u64),
        ("KEEP_SEQS_MAX", adit_wire::admin::KEEP_SEQS_MAX as u64),
        ("TOKEN_LIFETIME_S_MAX", u64::from(adit_wire::admin::TOKEN_LIFETIME_S_MAX)),
        ("TOKEN_TEXT_BYTES_MAX", adit_wire::admin::TOKEN_TEXT_BYTES_MAX as u64),
        ("SERIAL_BYTES_MAX", appliance::SERIAL_BYTES_MAX as u64),
        ("UPDATE_PART_BYTES_MAX", appliance::UPDATE_PART_BYTES_MAX as u64),
        ("UPDATE_PARTS_AHEAD", appliance::UPDATE_PARTS_AHEAD),
        ("LOCATE_S_MAX", u64::from(appliance::LOCATE_S_MAX)),
        ("WORDS_BYTES_MAX", appliance::WORDS_BYTES_MAX as u64),
        ("SHARE_BYTES", appliance::SHARE_BYTES as u64),
        ("WRONG_SHARES_MAX", u64::from(appliance::WRONG_SHARES_MAX)),
        ("WRONG_SHARES_S", u64::from(appliance::WRONG_SHARES_S)),
        ("PERIOD_S_MAX", u64::from(backup::PERIOD_S_MAX)),
        ("CREDIT_FLOOR_BYTES", u64::from(backup::CREDIT_FLOOR_BYTES)),
    ]
    .into();
    let document: BTreeMap<&str, u64> =
        table("| name | value | unit |").iter().map(|row| (row[0], row[1].parse().expect("a number"))).collect();
    assert_eq!(document, code);
}

/// Prefixes and labels are typed by hand in two places.
#[test]
fn prefixes_and_labels_are_the_documents() {
    use adit_wire::signed;
    let prefixes = [
        signed::PREFIX_CERTIFICATE,
        signed::PREFIX_KEY,
        signed::PREFIX_SNAPSHOT,
        signed::PREFIX_RECEIPT,
        signed::PREFIX_ADDRESS,
        signed::PREFIX_READ,
        signed::PREFIX_RECOVER,
    ];
    for prefix in prefixes {
        let text = std::str::from_utf8(prefix).expect("text").replace('\0', "\\0");
        assert!(SPEC.contains(&text), "SPEC.md does not name {text}");
        assert!(prefix.ends_with(b"\0"));
    }
    assert!(SPEC.contains(&format!("port **{}**", adit_wire::DEFAULT_PORT)));
}
