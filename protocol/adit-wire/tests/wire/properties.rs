// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What must hold for any bytes: nothing panics, nothing longer than its limit is asked for, one meaning has one encoding.

use crate::vectors::{cases, part_cases};
use adit_wire::frame::{
    BODY_BYTES_MAX, FLAG_END, FrameError, HEADER_BYTES, Header, Kind, MessageError, PREFIX_BYTES,
    RECORD_BODY_BYTES_MAX, STRANGER_BODY_BYTES_MAX, Trailing, body_bytes_max,
};
use adit_wire::ids::{Id, Signature};
use adit_wire::list::{Ids, Parts};
use adit_wire::pair::Address;
use adit_wire::read::Listing;
use adit_wire::record::{self, Record, RecordError};
use adit_wire::signed::{AddressRecord, Certificate, KeyRecord, Receipt, Snapshot};
use proptest::prelude::*;

#[test]
fn vectors_survive_a_round_trip() {
    for case in cases() {
        for (label, body) in &case.vectors {
            assert_eq!((case.recode)(body).as_ref(), Ok(body), "{} {label}", case.name);
            assert!(body.len() <= body_bytes_max(case.kind), "{} {label} does not fit its frame", case.name);
        }
    }
}

#[test]
fn a_body_cut_anywhere_is_malformed() {
    for case in cases() {
        for (label, body) in &case.vectors {
            // Long bodies are byte strings at the end: every cut of the first and last bytes, and some between.
            let cuts = (0..body.len()).filter(|cut| *cut < 600 || cut % 997 == 0 || cut + 100 > body.len());
            for cut in cuts {
                let result = (case.recode)(&body[..cut]);
                assert_eq!(result, Err(MessageError::Malformed(case.kind)), "{} {label} cut at {cut}", case.name);
            }
        }
    }
}

#[test]
fn requests_refuse_trailing_bytes_and_reports_skip_them() {
    for case in cases() {
        for (label, body) in &case.vectors {
            let longer = [body, &[0u8, 1][..]].concat();
            let expected = match case.trailing {
                Trailing::Refused => Err(MessageError::Trailing(case.kind, 2)),
                Trailing::Skipped => Ok(body.clone()),
            };
            assert_eq!((case.recode)(&longer), expected, "{} {label}", case.name);
        }
    }
}

/// Answers are the even ones out: a request's field that nobody knows could change what is asked.
#[test]
fn every_request_refuses_trailing_bytes() {
    let requests = [
        "Ping",
        "Pair",
        "Paired",
        "Hello",
        "Open",
        "Have",
        "Commit",
        "Certify",
        "Period",
        "Prove",
        "List",
        "Fetch",
        "Recover",
        "Adopt",
        "Poll",
        "Peers",
        "Rename",
        "Revoke",
        "Verify",
        "Unpair",
        "Invite",
        "Keep",
        "Stored",
        "Collect",
        "Look",
        "Update",
        "UpdatePart",
        "Activate",
        "Restart",
        "Disks",
        "UseDisk",
        "ReplaceDisk",
        "LocateDisk",
        "RetireDisk",
        "EncryptDisk",
        "LookAtLock",
        "Unlock",
        "AddShare",
    ];
    for case in cases() {
        assert_eq!(requests.contains(&case.name), case.trailing == Trailing::Refused, "{}", case.name);
    }
}

/// postcard itself reads 0x80 0x00 as zero.
#[test]
fn padded_numbers_are_malformed() {
    let ping = cases().iter().find(|case| case.name == "Ping").expect("it exists");
    assert_eq!((ping.recode)(&[0]), Ok(vec![0]));
    assert_eq!((ping.recode)(&[0x80, 0]), Err(MessageError::Malformed(ping.kind)));
    let have = cases().iter().find(|case| case.name == "Have").expect("it exists");
    assert_eq!((have.recode)(&[0x80, 0]), Err(MessageError::Malformed(have.kind)));
}

#[test]
fn limits_of_messages_are_enforced() {
    let case = |name: &str| cases().iter().find(|case| case.name == name).expect("it exists");
    let bytes = |count: usize| {
        let mut body = Vec::new();
        let mut rest = count;
        while rest >= 128 {
            body.push(u8::try_from(rest % 128).expect("small") | 128);
            rest /= 128;
        }
        body.push(u8::try_from(rest).expect("small"));
        body.resize(body.len() + count, 0);
        body
    };
    let rule = |name: &str| Err(MessageError::Rule(case(name).kind));
    assert_eq!((case("Have").recode)(&bytes(31)), rule("Have"), "a torn id");
    assert_eq!((case("Have").recode)(&bytes(4_097 * 32)), rule("Have"));
    assert_eq!((case("Having").recode)(&bytes(513)), rule("Having"));
    assert_eq!((case("Committed").recode)(&bytes(513)), rule("Committed"));
    assert_eq!((case("Revoke").recode)(&bytes(64)), rule("Revoke"));
    assert_eq!((case("Open").recode)(&[bytes((64 << 10) + 1), vec![0; 16]].concat()), rule("Open"));
    assert_eq!((case("Commit").recode)(&[bytes((4 << 10) + 1), vec![0]].concat()), rule("Commit"));
    assert_eq!((case("Refused").recode)(&[vec![1, 0], bytes(201)].concat()), rule("Refused"));
}

#[test]
fn a_frame_too_long_is_refused_from_its_first_bytes() {
    let prefix = |length: u32, service: u8, method: u8, flags: u8| {
        let mut prefix = [0; PREFIX_BYTES];
        prefix[..4].copy_from_slice(&length.to_le_bytes());
        prefix[4..8].copy_from_slice(&[service, method, 1, flags]);
        prefix
    };
    let header = u32::try_from(HEADER_BYTES).expect("small");
    for short in 0..header {
        assert!(matches!(Header::from_prefix(&prefix(short, 2, 1, 0), usize::MAX), Err(FrameError::TooShort(_))));
    }
    let cases = [
        (2, 1, BODY_BYTES_MAX),
        (2, 5, RECORD_BODY_BYTES_MAX),
        (3, 6, RECORD_BODY_BYTES_MAX),
        (3, 5, BODY_BYTES_MAX),
        (99, 99, BODY_BYTES_MAX),
    ];
    for (service, method, max) in cases {
        let length = u32::try_from(max).expect("small") + header;
        let (read, body_bytes) = Header::from_prefix(&prefix(length, service, method, 0), usize::MAX).expect("fits");
        assert_eq!((read.kind.method, body_bytes), (method, max));
        let refused = Header::from_prefix(&prefix(length + 1, service, method, 0), usize::MAX);
        assert_eq!(refused, Err(FrameError::TooLong { body_bytes: max + 1, max }));
        let stranger = Header::from_prefix(&prefix(length, service, method, 0), STRANGER_BODY_BYTES_MAX);
        assert!(matches!(stranger, Err(FrameError::TooLong { .. })));
        let kind = Kind { service, method, major: 1 };
        assert!(Header { kind, flags: 0, conversation: 1 }.prefix(max + 1).is_err());
    }
    assert!(Header::from_prefix(&prefix(u32::MAX, 2, 5, 0), usize::MAX).is_err());
    assert_eq!(Header::from_prefix(&prefix(8, 2, 1, 2), 0), Err(FrameError::Flags(2)));
    assert!(Header::from_prefix(&prefix(8, 2, 1, FLAG_END), 0).expect("flagged").0.ends());
}

#[test]
fn packed_parts_are_read_back_and_end() {
    for part in part_cases() {
        assert!(part.vectors.iter().all(|(_, bytes)| !bytes.is_empty()), "{}", part.name);
    }
    let address = part_cases().into_iter().find(|part| part.name == "Address").expect("it exists");
    let packed: Vec<u8> = address.vectors.iter().flat_map(|(_, bytes)| bytes.clone()).collect();
    let read: Vec<Address<'_>> = Parts::new(&packed).iter().map(|part| part.expect("whole")).collect();
    assert_eq!(read, [Address::Ip([0x20; 16], 11_713), Address::Name("box.example", 443)]);
    let torn: Parts<'_, Address<'_>> = Parts::new(&packed[..packed.len() - 1]);
    assert_eq!(torn.iter().map(|part| part.is_ok()).collect::<Vec<_>>(), [true, false]);
}

/// A record whose fields are drawn, then sealed with the right hash.
fn record_bytes(header: &record::Header, refs: &[Id], body: &[u8]) -> Vec<u8> {
    let mut bytes = header.to_bytes().to_vec();
    refs.iter().for_each(|id| bytes.extend_from_slice(&id.0));
    bytes.extend_from_slice(body);
    bytes.extend_from_slice(blake3::hash(&bytes).as_bytes());
    bytes
}

#[test]
fn each_rule_of_a_record_is_enforced() {
    let header = record::Header {
        class: record::Class::Node,
        suite: record::SUITE_AES_256_GCM,
        height: 3,
        node_refs: 2,
        data_refs: 2,
        body_bytes: 5,
        counter: 1,
        id: Id([1; 32]),
        key_id: adit_wire::ids::KeyId([2; 16]),
    };
    let refs = [Id([1; 32]), Id([2; 32]), Id([1; 32]), Id([2; 32])];
    let good = record_bytes(&header, &refs, &[7; 5]);
    let parsed = Record::parse(&good).expect("sound");
    assert_eq!((parsed.header, parsed.body, parsed.as_bytes()), (header, &[7u8; 5][..], &good[..]));
    for at in 0..good.len() {
        let mut flipped = good.clone();
        flipped[at] ^= 0x10;
        assert!(Record::parse(&flipped).is_err(), "byte {at} is not covered");
        assert!(Record::parse(&good[..at]).is_err(), "cut at {at}");
    }
    let parse = |header: &record::Header, refs: &[Id]| Record::parse(&record_bytes(header, refs, &[7; 5])).map(|_| ());
    let [one, two, ..] = refs;
    assert_eq!(parse(&header, &[two, one, one, two]), Err(RecordError::RefsOrder));
    assert_eq!(parse(&header, &[one, two, two, two]), Err(RecordError::RefsOrder), "twice the same");
    let rule = Err(RecordError::Rule(record::Class::Node));
    assert_eq!(parse(&record::Header { height: 0, ..header }, &refs), rule);
    assert_eq!(parse(&record::Header { height: 17, ..header }, &refs), rule);
    assert_eq!(parse(&record::Header { suite: 3, ..header }, &refs), rule);
    let data = record::Header { class: record::Class::Data, ..header };
    assert_eq!(parse(&data, &refs), Err(RecordError::Rule(record::Class::Data)), "data references nothing");
    let many = record::Header { node_refs: 4_000, data_refs: 97, ..header };
    assert_eq!(parse(&many, &refs), Err(RecordError::TooManyRefs(4_097)));
    let long = record::Header { body_bytes: u32::MAX, ..header };
    assert!(matches!(parse(&long, &refs), Err(RecordError::TooLong(_))));
    let key = record::Header {
        class: record::Class::Key,
        suite: 0,
        height: 0,
        node_refs: 0,
        data_refs: 0,
        counter: 0,
        key_id: adit_wire::ids::KeyId::ZERO,
        ..header
    };
    assert_eq!(parse(&key, &[]), Err(RecordError::SignedId));
    let named = record::Header { id: Id(*blake3::hash(&[7; 5]).as_bytes()), ..key };
    assert_eq!(parse(&named, &[]), Ok(()));
    assert_eq!(parse(&record::Header { counter: 1, ..named }, &[]), Err(RecordError::Rule(record::Class::Key)));
}

#[test]
fn the_longest_record_is_two_mebibytes() {
    let header = record::Header {
        class: record::Class::Data,
        suite: record::SUITE_CHACHA20_POLY1305,
        height: 0,
        node_refs: 0,
        data_refs: 0,
        body_bytes: (2 << 20) - 96,
        counter: 0,
        id: Id::ZERO,
        key_id: adit_wire::ids::KeyId::ZERO,
    };
    let bytes = record_bytes(&header, &[], &vec![0; (2 << 20) - 96]);
    assert_eq!(bytes.len(), record::RECORD_BYTES_MAX);
    assert!(Record::parse(&bytes).is_ok());
    let longer = record::Header { body_bytes: header.body_bytes + 1, ..header };
    assert_eq!(record::Header::from_bytes(&longer.to_bytes()), Err(RecordError::TooLong((2 << 20) + 1)));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    /// Decoders meet any bytes without a panic, and what they accept is the one encoding of its meaning.
    #[test]
    fn random_bytes_are_refused_or_have_one_meaning(body in prop::collection::vec(any::<u8>(), 0..300)) {
        for case in cases() {
            if let Ok(again) = (case.recode)(&body) {
                prop_assert!(body.starts_with(&again), "{} has two encodings", case.name);
                prop_assert!(again.len() == body.len() || case.trailing == Trailing::Skipped);
            }
        }
        let _ = Record::parse(&body);
        let _ = (Certificate::read(&body), KeyRecord::read(&body), Snapshot::read(&body), Receipt::read(&body));
        if let Ok((record, ..)) = AddressRecord::read(&body) {
            prop_assert!(record.addresses().count() <= 8);
        }
        prop_assert!(Parts::<'_, Listing<'_>>::new(&body).iter().count() <= body.len().max(1));
        prop_assert_eq!(Ids::new(&body).is_some(), body.len().is_multiple_of(32));
    }

    /// A flipped bit of a sound body is refused or means something else; it never means the same.
    #[test]
    fn a_changed_body_never_means_the_same(choice in any::<prop::sample::Index>(), at in any::<prop::sample::Index>(), bit in 0..8u8) {
        let case = choice.get(cases());
        for (_, body) in case.vectors.iter().filter(|(_, body)| !body.is_empty() && body.len() < 1_000) {
            let mut changed = body.clone();
            changed[at.index(body.len())] ^= 1u8 << bit;
            if let Ok(again) = (case.recode)(&changed) {
                prop_assert!(&again != body);
            }
        }
    }

    /// Every prefix that is accepted is written back to the same bytes.
    #[test]
    fn frame_prefixes_survive(prefix in any::<[u8; PREFIX_BYTES]>(), short in any::<bool>()) {
        let mut prefix = prefix;
        if short {
            (prefix[2], prefix[3]) = (prefix[2] % 32, 0);
            prefix[7] &= 1;
        }
        if let Ok((header, body_bytes)) = Header::from_prefix(&prefix, usize::MAX) {
            prop_assert!(body_bytes <= RECORD_BODY_BYTES_MAX);
            prop_assert_eq!(header.prefix(body_bytes), Ok(prefix));
        }
    }

    /// Signed bodies are read back to what was written.
    #[test]
    fn snapshots_survive(seq in any::<u64>(), epoch in any::<u32>(), signature in any::<[u8; 32]>()) {
        let snapshot = Snapshot {
            source: adit_wire::ids::SourceId([1; 16]),
            epoch,
            seq,
            prev_head: Id(signature),
            root: Id([2; 32]),
            info: Id([3; 32]),
            nodes: seq / 3,
            records: seq / 2,
            state: adit_wire::signed::Completeness::Complete,
        };
        let mut bytes = snapshot.to_bytes().to_vec();
        bytes.extend_from_slice(&signature);
        bytes.extend_from_slice(&signature);
        let (read, body, read_signature) = Snapshot::read(&bytes).expect("its own bytes");
        prop_assert_eq!((read, body.len()), (snapshot, bytes.len() - Signature::BYTES));
        prop_assert_eq!(&read_signature.0[..32], &signature[..]);
    }
}
