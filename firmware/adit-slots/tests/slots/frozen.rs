// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The bytes of `tests/golden/update.hex` are what a released builder wrote. They are made anew here and compared, and
//! read as a machine reads them. `ADIT_BLESS=new` adds missing lines; a line that stands there is never changed.

use crate::signing::{IMAGE, key_set, machine, manifest, signed_key_set, update_file, verify};
use adit_slots::copies::Copy;
use adit_slots::keys::SignedKeySet;
use adit_slots::manifest::{Digest, Manifest};
use adit_slots::record::{COPIES, FactoryReset, Record, Reset, Slot, SlotState};
use adit_slots::update::{HEADER_BYTES, Update};
use adit_slots::version::Version;
use data_encoding::HEXLOWER;
use std::path::Path;

const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/update.hex");

/// Name and bytes of everything that is frozen; zeros at a header's end are left out.
fn vectors() -> Vec<(&'static str, Vec<u8>)> {
    let trimmed = |mut file: Vec<u8>| {
        file.truncate(HEADER_BYTES);
        file.truncate(file.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1));
        file
    };
    let copy = Copy { sequence: 7, payload: &record().encode() };
    let new_keys = signed_key_set(&key_set(2), &[1, 2]);
    vec![
        ("manifest", manifest().encode().to_vec()),
        ("key_set", signed_key_set(&key_set(2), &[1])),
        ("key_set_two_signatures", new_keys.clone()),
        ("record", record().encode().to_vec()),
        ("record_copy", COPIES.encode(&copy).expect("a record fits").to_vec()),
        ("update", trimmed(update_file(&manifest(), &[11], &[]))),
        ("update_two_signatures_and_keys", trimmed(update_file(&manifest(), &[12, 11], &new_keys))),
    ]
}

/// A record in which no two fields have the same bytes.
fn record() -> Record {
    let slot = |n: u8, state| Slot {
        version: Version::new(u16::from(n), u16::from(n) + 1, u32::from(n) + 2),
        floor: Version::new(u16::from(n) + 3, u16::from(n) + 4, u32::from(n) + 5),
        digest: Digest([n; 32]),
        state,
    };
    Record {
        slots: [slot(10, SlotState::Good), slot(20, SlotState::Bad(Reset::Watchdog))],
        running: 1,
        denied: [31, 32, 33, 34, 35, 36, 37, 38].map(|n| Digest([n; 32])),
        denied_next: 5,
        floor: Version::new(41, 42, 43),
        good_running_s: 51,
        time_s: 1_800_000_001,
        contact_s: 1_800_000_002,
        boot_id: [61; 16],
        reset: Reset::Panic,
        stop: Reset::Ups,
        boots_unconfirmed: 2,
        factory_reset: FactoryReset::VarErased,
        data_expected: true,
    }
}

fn frozen() -> Vec<(String, Vec<u8>)> {
    let text = std::fs::read_to_string(PATH).unwrap_or_default();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let (name, hex) = line.split_once(" = ").expect("name = hex");
            (name.to_owned(), HEXLOWER.decode(hex.as_bytes()).expect("lower-case hex"))
        })
        .collect()
}

#[test]
fn the_bytes_are_what_was_frozen() {
    let mut present = frozen();
    let missing: Vec<_> =
        vectors().into_iter().filter(|(name, _)| present.iter().all(|(known, _)| known != name)).collect();
    if !missing.is_empty() && std::env::var("ADIT_BLESS").is_ok_and(|value| value == "new") {
        present.extend(missing.iter().map(|(name, bytes)| ((*name).to_owned(), bytes.clone())));
        let head = "# Update files, manifests, key sets and records, frozen. tests/slots/frozen.rs explains; lines are only added.\n";
        let lines = present.iter().map(|(name, bytes)| format!("{name} = {}\n", HEXLOWER.encode(bytes)));
        std::fs::create_dir_all(Path::new(PATH).parent().expect("a folder")).expect("make the folder");
        std::fs::write(PATH, std::iter::once(head.to_owned()).chain(lines).collect::<String>()).expect("write");
    } else {
        assert_eq!(missing, vec![], "not frozen yet: ADIT_BLESS=new");
    }
    for (name, bytes) in vectors() {
        let (_, frozen) = present.iter().find(|(known, _)| known == name).expect("no line is missing");
        assert_eq!(HEXLOWER.encode(&bytes), HEXLOWER.encode(frozen), "{name} has other bytes now");
    }
}

#[test]
fn the_frozen_bytes_are_read() {
    let mut read = 0;
    for (name, bytes) in frozen() {
        match name.as_str() {
            "manifest" => assert_eq!(Manifest::parse(&bytes), Ok(manifest())),
            "key_set" | "key_set_two_signatures" => {
                let signed = SignedKeySet::parse(&bytes).expect("a key set");
                assert_eq!(signed.follow(&key_set(1), &verify), Ok(key_set(2)));
            }
            "update" | "update_two_signatures_and_keys" => {
                let header = [bytes.as_slice(), &vec![0; HEADER_BYTES - bytes.len()]].concat();
                let checked = Update::parse(&header).and_then(|update| update.check(&machine(&[]), &verify));
                let checked = checked.expect("taken");
                assert_eq!(checked.manifest, manifest());
                assert_eq!(checked.file_bytes(), (HEADER_BYTES + IMAGE.len()) as u64);
                assert_eq!(checked.new_keys.is_some(), name != "update");
            }
            "record" => assert_eq!(Record::parse(&bytes), Some(record())),
            "record_copy" => {
                let copy = COPIES.parse(bytes.as_slice().try_into().expect("4096 bytes")).expect("a copy");
                assert_eq!((copy.sequence, Record::parse(copy.payload)), (7, Some(record())));
            }
            other => panic!("nobody reads {other}"),
        }
        read += 1;
    }
    assert_eq!(read, vectors().len());
}
