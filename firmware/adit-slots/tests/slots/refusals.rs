// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Every reason to refuse an update, caused once; and noise, cuts and flips, none of which may pass or panic.

use crate::signing::{IMAGE, Key, key_set, machine, manifest, sha256, signed_key_set, update_file, verify};
use adit_slots::keys::{KeySet, KeysError, SIGNATURES_MAX, SignedKeySet};
use adit_slots::manifest::{Digest, Manifest, ManifestError};
use adit_slots::update::{Checked, HEADER_BYTES, Machine, Refusal, Update, encode_header};
use adit_slots::version::Version;
use proptest::prelude::*;

fn check(file: &[u8], machine: &Machine<'_>) -> Result<(Manifest, KeySet), Refusal> {
    Update::parse(file)?.check(machine, &verify).map(|checked| (checked.manifest, checked.keys))
}

fn refused(change: impl Fn(&mut Manifest), why: Refusal) {
    let mut changed = manifest();
    change(&mut changed);
    assert_eq!(check(&update_file(&changed, &[11], &[]), &machine(&[])), Err(why));
}

#[test]
fn what_is_for_another_machine_is_refused() {
    refused(|m| m.product = *b"adit-phone\0\0\0\0\0\0", Refusal::Product);
    refused(|m| m.arch = 2, Refusal::Arch(2));
    refused(|m| m.arch = 9, Refusal::Arch(9));
    refused(|m| m.flavour = 2, Refusal::Flavour(2));
    refused(|m| m.uki_size = (40 << 20) + 1, Refusal::TooLarge((40 << 20) + 1));
    refused(|m| m.uki_size = 0, Refusal::NotAnUpdate);
    refused(|m| m.version = Version::new(1, 2, 1000), Refusal::NotAnUpdate);
}

#[test]
fn versions_are_ordered() {
    let running = Version::new(1, 2, 2);
    refused(|m| m.version = running, Refusal::NotNewer(running));
    refused(|m| m.version = Version::new(1, 1, 9), Refusal::NotNewer(running));
    refused(|m| m.min_from = Version::new(1, 2, 3), Refusal::MinFrom(Version::new(1, 2, 3)));
    let floor = Version::new(2, 0, 0);
    let file = update_file(&manifest(), &[11], &[]);
    assert_eq!(check(&file, &Machine { floor, ..machine(&[]) }), Err(Refusal::TooOld(floor)));
    assert_eq!(check(&file, &machine(&[])), Ok((manifest(), key_set(1))));
}

#[test]
fn a_failed_image_is_not_taken_again() {
    let denied = [Digest::ZERO, sha256(IMAGE)];
    let file = update_file(&manifest(), &[11], &[]);
    assert_eq!(check(&file, &machine(&denied)), Err(Refusal::Denied(sha256(IMAGE))));
}

#[test]
fn signatures_decide() {
    let other = update_file(&manifest(), &[13], &[]);
    assert_eq!(check(&other, &machine(&[])), Err(Refusal::UnknownKey));
    assert_eq!(check(&update_file(&manifest(), &[], &[]), &machine(&[])), Err(Refusal::UnknownKey));
    // A root key signs key sets, never updates.
    assert_eq!(check(&update_file(&manifest(), &[1], &[]), &machine(&[])), Err(Refusal::UnknownKey));
    // One good signature beside an unknown one is enough.
    assert_eq!(check(&update_file(&manifest(), &[13, 12], &[]), &machine(&[])), Ok((manifest(), key_set(1))));
    let mut flipped = update_file(&manifest(), &[11], &[]);
    flipped[12 + 40] ^= 1;
    assert_eq!(check(&flipped, &machine(&[])), Err(Refusal::Signature));
    // The same bytes signed under another prefix do not count.
    let body = manifest().encode();
    let wrong = Key::of(11).sign(adit_slots::keys::PREFIX, &body);
    let file = encode_header(&body, &[wrong], &[]).expect("fits");
    assert_eq!(check(&file, &machine(&[])), Err(Refusal::Signature));
    let unknown_alg = adit_slots::keys::SignatureItem { alg: 2, ..Key::of(11).sign(b"adit update v1\0", &body) };
    let file = encode_header(&body, &[unknown_alg], &[]).expect("fits");
    assert_eq!(check(&file, &machine(&[])), Err(Refusal::UnknownKey));
}

#[test]
fn keys_rotate_by_a_root_key_and_a_revoked_key_is_refused() {
    let second = KeySet::new(2, [Key::of(2).public(), Key::of(3).public()], &[Key::of(13).public()]).expect("one key");
    let third = KeySet::new(3, [Key::of(3).public(), Key::of(4).public()], &[Key::of(14).public()]).expect("one key");
    let file = update_file(&manifest(), &[13], &signed_key_set(&second, &[2]));
    assert_eq!(check(&file, &machine(&[])), Ok((manifest(), second)));
    let file = update_file(&manifest(), &[14], &signed_key_set(&third, &[2, 3]));
    assert_eq!(check(&file, &Machine { keys: second, ..machine(&[]) }), Ok((manifest(), third)));
    // From the first set the third is reached in one step only when a root of the first signed it.
    assert_eq!(check(&file, &machine(&[])), Ok((manifest(), third)));
    let file = update_file(&manifest(), &[14], &signed_key_set(&third, &[3]));
    let unsigned = KeysError::Unsigned { present: 1, offered: 3 };
    assert_eq!(check(&file, &machine(&[])), Err(Refusal::KeySet(unsigned)));
    // Key 11 is in the first set only.
    let file = update_file(&manifest(), &[11], &[]);
    assert_eq!(check(&file, &Machine { keys: second, ..machine(&[]) }), Err(Refusal::UnknownKey));
    // An older key set in the file changes nothing.
    let file = update_file(&manifest(), &[13], &signed_key_set(&key_set(1), &[1]));
    assert_eq!(check(&file, &Machine { keys: second, ..machine(&[]) }), Ok((manifest(), second)));
    // A signing key cannot make a key set.
    let file = update_file(&manifest(), &[13], &signed_key_set(&second, &[11]));
    let unsigned = KeysError::Unsigned { present: 1, offered: 2 };
    assert_eq!(check(&file, &machine(&[])), Err(Refusal::KeySet(unsigned)));
}

#[test]
fn later_formats_say_so() {
    let mut file = update_file(&manifest(), &[11], &[]);
    file[7] = b'2';
    assert_eq!(check(&file, &machine(&[])), Err(Refusal::TooNew(2)));
    assert_eq!(check(b"ADITUPD", &machine(&[])), Err(Refusal::NotAnUpdate));
    let mut body = manifest().encode();
    body[7] = b'3';
    assert_eq!(Manifest::parse(&body), Err(ManifestError::TooNew(3)));
    let signed = Key::of(11).sign(b"adit update v1\0", &body);
    let file = encode_header(&body, &[signed], &[]).expect("fits");
    assert_eq!(check(&file, &machine(&[])), Err(Refusal::TooNew(3)));
    let mut keys = signed_key_set(&key_set(2), &[1]);
    keys[7] = b'2';
    let file = update_file(&manifest(), &[11], &keys);
    assert_eq!(check(&file, &machine(&[])), Err(Refusal::KeySet(KeysError::TooNew(2))));
    // Fields that a later program adds behind ours are skipped, and signed with the rest.
    let longer = [manifest().encode().as_slice(), b"later"].concat();
    let file = encode_header(&longer, &[Key::of(11).sign(b"adit update v1\0", &longer)], &[]).expect("fits");
    assert_eq!(check(&file, &machine(&[])), Ok((manifest(), key_set(1))));
}

#[test]
fn limits_of_a_header_hold() {
    let item = Key::of(11).sign(b"adit update v1\0", &manifest().encode());
    assert_eq!(encode_header(&[0; 4097], &[], &[]), None);
    assert_eq!(encode_header(&[], &[item; SIGNATURES_MAX + 1], &[]), None);
    assert_eq!(encode_header(&[], &[], &[0; adit_slots::keys::KEY_SET_BYTES_MAX + 1]), None);
    assert!(encode_header(&[0; 4096], &[item; SIGNATURES_MAX], &[0; adit_slots::keys::KEY_SET_BYTES_MAX]).is_some());
    assert!(KeySet::new(1, [Key::of(1).public(); 2], &[Key::of(1).public(); 5]).is_none());
    // Anything but zeros behind the parts is not ours.
    let mut file = update_file(&manifest(), &[11], &[]);
    file[HEADER_BYTES - 1] = 1;
    assert_eq!(check(&file, &machine(&[])), Err(Refusal::NotAnUpdate));
}

#[test]
fn a_header_cut_anywhere_is_truncated_or_no_update() {
    let file = update_file(&manifest(), &[11], &signed_key_set(&key_set(2), &[1]));
    for length in 0..HEADER_BYTES {
        let expected = if length < 8 { Refusal::NotAnUpdate } else { Refusal::Truncated };
        assert_eq!(check(&file[..length], &machine(&[])), Err(expected), "{length} bytes");
    }
    let keys = signed_key_set(&key_set(2), &[1]);
    assert!((0..keys.len()).all(|length| SignedKeySet::parse(&keys[..length]).is_err()));
}

#[test]
fn the_image_is_the_one_that_was_signed() {
    let checked = Checked { manifest: manifest(), keys: key_set(1), new_keys: None };
    let size = IMAGE.len() as u64;
    assert_eq!(checked.image(size, sha256(IMAGE)), Ok(()));
    assert_eq!(checked.image(size - 1, sha256(IMAGE)), Err(Refusal::Truncated));
    assert_eq!(checked.image(size + 1, sha256(IMAGE)), Err(Refusal::TooLarge(size + 1)));
    let mut damaged = IMAGE.to_vec();
    damaged[5] ^= 0x10;
    assert_eq!(checked.image(size, sha256(&damaged)), Err(Refusal::Digest));
}

#[test]
fn every_refusal_has_a_number_of_its_own() {
    let all = [
        Refusal::NotAnUpdate,
        Refusal::TooNew(2),
        Refusal::Signature,
        Refusal::UnknownKey,
        Refusal::Product,
        Refusal::Arch(2),
        Refusal::Flavour(2),
        Refusal::TooOld(Version::default()),
        Refusal::MinFrom(Version::default()),
        Refusal::Denied(Digest::ZERO),
        Refusal::NotNewer(Version::default()),
        Refusal::Truncated,
        Refusal::Digest,
        Refusal::TooLarge(1),
        Refusal::KeySet(KeysError::Magic),
    ];
    let numbers: Vec<u8> = all.iter().map(|refusal| refusal.number()).collect();
    assert_eq!(numbers, (1..=15).collect::<Vec<u8>>());
}

/// Where the frozen update's parts end: flips behind that hit zeros that must stay zeros.
#[test]
fn no_flipped_bit_of_a_header_passes() {
    let file = update_file(&manifest(), &[11], &[]);
    let (mut flips, mut passed) = (0, Vec::new());
    let meaningful = 12 + manifest().encode().len() + 1 + 73 + 4;
    for byte in (0..meaningful + 64).chain([HEADER_BYTES - 1]) {
        for bit in 0..8 {
            let mut flipped = file.clone();
            flipped[byte] ^= 1 << bit;
            flips += 1;
            if check(&flipped, &machine(&[])).is_ok() {
                passed.push((byte, bit));
            }
        }
    }
    assert_eq!(passed, vec![]);
    assert!(flips > 1500);
}

proptest! {
    #[test]
    fn noise_is_refused(noise in proptest::collection::vec(any::<u8>(), 0..600), at in 0..HEADER_BYTES) {
        let mut file = update_file(&manifest(), &[11], &signed_key_set(&key_set(2), &[1]));
        let end = (at + noise.len()).min(HEADER_BYTES);
        file[at..end].copy_from_slice(&noise[..end - at]);
        if let Ok(update) = Update::parse(&file) {
            let _ = update.check(&machine(&[]), &verify);
            let _ = update.claim();
        }
        let _ = Manifest::parse(&noise);
        let _ = SignedKeySet::parse(&noise);
        let _ = Update::parse(&noise);
    }
}
