// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Phrase to public key to wrap to unwrap; and what a box can't make a restorer believe.

use super::*;
use crate::keys::{CertificateError, SigningKey};

fn filler(seed: u8) -> impl FnMut(&mut [u8]) {
    let mut stream = blake3::Hasher::new().update(&[seed]).finalize_xof();
    move |bytes| stream.fill(bytes)
}

fn recovery(byte: u8) -> RecoveryKey {
    RecoveryKey::from_entropy(Secret::new([byte; 32]))
}

struct Room {
    recovery: RecoveryKey,
    keys: SourceKeys,
    certified: Certified,
    run_key: RunKey,
}

fn certify(recovery: &RecoveryKey, keys: &SourceKeys) -> Result<Certified, CertificateError> {
    let certificate = recovery.certify(&keys.request("web1")?)?;
    Certified::verify(&certificate, &recovery.signing().public())
}

fn room() -> Room {
    let recovery = recovery(7);
    let keys = SourceKeys::generate(&mut filler(1));
    let certified = certify(&recovery, &keys).expect("a good name");
    let run_key = RunKey::generate(Suite::Aes256Gcm, &mut filler(2));
    Room { recovery, keys, certified, run_key }
}

fn wrap(room: &Room, recipients: &[&RecoveryKey]) -> Vec<u8> {
    let recipients: Vec<Recipient> = recipients.iter().map(|key| key.public().recipient("r")).collect();
    room.run_key.key_record(&room.keys, &recipients, &mut filler(3)).expect("within limits")
}

/// Words → keys → wrap → unwrap, each value frozen.
#[test]
fn the_whole_way_from_the_words_is_frozen() {
    let words = "abandon ".repeat(23) + "art";
    let recovery = RecoveryKey::from_words(&words).expect("the words are a key");
    assert_eq!(
        recovery.signing().public().to_string(),
        "8ff2ba1d3da4f33e052ccba10ebcb331b20ebcb61c0f7965b795368a15fbb7e5"
    );
    assert_eq!(recovery.kem_public().recipient_id().to_string(), "38ec88decd661ab8");
    let keys = SourceKeys::generate(&mut filler(1));
    let run_key = RunKey::generate(Suite::Aes256Gcm, &mut filler(2));
    let recipients = [recovery.public().recipient("paper")];
    let record = run_key.key_record(&keys, &recipients, &mut filler(3)).expect("within limits");
    assert_eq!(record.len(), 64 + 71 + 8 + 1_120 + 80 + 64 + 32);
    assert_eq!(
        blake3::hash(&record).to_hex().as_str(),
        "a9dc68ec595b46dbd3ac5523f60b3719402bb885b5fdf25aa2d84dd219c76171"
    );
    let certified = certify(&recovery, &keys).expect("a good name");
    let opened = open_key_record(&record, &certified, &recovery).expect("wrapped for this key");
    assert_eq!((&opened.run_key, &opened.seed, opened.epoch), (&run_key, keys.seed(), 1));
}

/// The frozen record's bytes, opened with the KEM alone, as FORMAT.md says.
#[test]
fn a_wrap_has_the_written_layout() {
    let room = room();
    let record = wrap(&room, &[&room.recovery]);
    let body = &record[64..record.len() - 32];
    assert_eq!(body[0], 1);
    assert_eq!(body[1..17], room.keys.source().0);
    assert_eq!(body[17..21], 1u32.to_le_bytes());
    assert_eq!(body[21..37], room.run_key.id().0);
    assert_eq!(body[37], 1);
    assert_eq!(body[38..70], blake3::derive_key("adit 2026 key check v1", room.run_key.key().expose()));
    assert_eq!(body[70], 1);
    assert_eq!(body[71..79], blake3::hash(room.recovery.kem_public().as_bytes()).as_bytes()[..8]);
    let private = blake3::derive_key("adit 2026 recovery kem v1", &[7; 32]);
    let private = <XWing as hpke::Kem>::PrivateKey::from_bytes(&private).expect("32 bytes");
    let enc = <XWing as hpke::Kem>::EncappedKey::from_bytes(&body[79..79 + 1_120]).expect("1,120 bytes");
    let info = [b"adit wrap v1\0".as_slice(), &body[1..17], &body[21..37], &body[71..79]].concat();
    let plain = hpke::single_shot_open::<AesGcm256, HkdfSha256, XWing>(
        &OpModeR::Base,
        &private,
        &enc,
        &info,
        &body[79 + 1_120..79 + 1_200],
        &[],
    )
    .expect("it opens");
    assert_eq!(plain[..32], *room.run_key.key().expose());
    assert_eq!(plain[32..], *room.keys.seed().0.expose());
}

#[test]
fn every_recipient_opens_the_record_and_nobody_else() {
    let room = room();
    let (second, stranger) = (recovery(8), recovery(9));
    let record = wrap(&room, &[&room.recovery, &second]);
    for key in [&room.recovery, &second] {
        let opened = open_key_record(&record, &room.certified, key).expect("wrapped for this key");
        assert_eq!(opened.run_key, room.run_key);
    }
    let refused = open_key_record(&record, &room.certified, &stranger).expect_err("not wrapped for this key");
    assert_eq!(refused, OpenKeyError::NotForUs(stranger.kem_public().recipient_id()));
}

#[test]
fn every_flipped_bit_is_refused() {
    let room = room();
    let record = wrap(&room, &[&room.recovery]);
    // Every bit of the fixed fields and the ends of the long ones; the bits between are alike.
    let bits = (0..(64 + 100) * 8).chain((record.len() - 32 - 64 - 90) * 8..record.len() * 8);
    for bit in bits {
        let mut changed = record.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        assert!(open_key_record(&changed, &room.certified, &room.recovery).is_err(), "bit {bit} passes");
    }
    for length in [0, 63, 64, 200, record.len() - 1] {
        assert!(open_key_record(&record[..length], &room.certified, &room.recovery).is_err());
    }
}

/// Wrapping needs public keys only: a box can make a key record of its own for its own false tree.
#[test]
fn a_box_can_not_plant_a_key_record() {
    let room = room();
    let hostile = SourceKeys::adopt(room.keys.source(), Seed::new([6; 32]), 1, &mut filler(9));
    let recipients = [room.recovery.public().recipient("r")];
    let planted = room.run_key.key_record(&hostile, &recipients, &mut filler(3)).expect("within limits");
    let refused = open_key_record(&planted, &room.certified, &room.recovery).expect_err("signed by a stranger");
    assert_eq!(refused, OpenKeyError::Signature);
    // Nor one of another source that has the same recovery key.
    let other = SourceKeys::generate(&mut filler(10));
    let moved = room.run_key.key_record(&other, &recipients, &mut filler(3)).expect("within limits");
    assert_eq!(
        open_uncertified(&moved, &room.keys.source(), &other.signing().public(), &room.recovery).err(),
        Some(OpenKeyError::OtherSource(other.source()))
    );
}

/// A stolen signing key with another seed: the certificate commits to the seed.
#[test]
fn a_seed_that_was_not_certified_is_refused() {
    let room = room();
    let mut bytes = room.keys.to_bytes();
    bytes[21..53].fill(5);
    let check = blake3::hash(&bytes[..85]);
    bytes[85..].copy_from_slice(&check.as_bytes()[..8]);
    let reseeded = SourceKeys::from_bytes(&bytes).expect("they are whole");
    let recipients = [room.recovery.public().recipient("r")];
    let record = room.run_key.key_record(&reseeded, &recipients, &mut filler(3)).expect("within limits");
    assert_eq!(open_key_record(&record, &room.certified, &room.recovery).err(), Some(OpenKeyError::Seed));
    // The same key in another epoch.
    bytes[17] = 2;
    let check = blake3::hash(&bytes[..85]);
    bytes[85..].copy_from_slice(&check.as_bytes()[..8]);
    let later = SourceKeys::from_bytes(&bytes).expect("they are whole");
    let record = room.run_key.key_record(&later, &recipients, &mut filler(3)).expect("within limits");
    let refused = open_key_record(&record, &room.certified, &room.recovery).err();
    assert_eq!(refused, Some(OpenKeyError::Epoch { got: 2, expected: 1 }));
}

/// A source that wraps different keys for different recipients: the key check names one of them only.
#[test]
fn one_record_commits_to_one_key() {
    let room = room();
    let other = RunKey { key: Secret::new([9; 32]), ..room.run_key };
    let recipients = [room.recovery.public().recipient("r")];
    let record = other.key_record(&room.keys, &recipients, &mut filler(3)).expect("within limits");
    // Put the first key's check where the second's stands, and sign again.
    let mut body = record[64..record.len() - 32 - 64].to_vec();
    body[38..70].copy_from_slice(&room.run_key.check().0);
    let signature = room.keys.signing().sign(PREFIX_KEY, &[&body]);
    body.extend_from_slice(&signature.0);
    let record = signed_record(Class::Key, 0, &[], &body);
    assert_eq!(open_key_record(&record, &room.certified, &room.recovery).err(), Some(OpenKeyError::KeyCheck));
}

#[test]
fn recipients_are_named_once_and_at_least_one() {
    let room = room();
    let recipient = room.recovery.public().recipient("paper");
    let twice = room.run_key.key_record(&room.keys, &[recipient.clone(), recipient], &mut filler(3));
    assert_eq!(twice.err().map(|error| error.to_string()).as_deref(), Some("recipient paper is named twice"));
    assert!(room.run_key.key_record(&room.keys, &[], &mut filler(3)).is_err());
    let many: Vec<Recipient> = (0..17).map(|byte| recovery(byte).public().recipient("r")).collect();
    assert!(room.run_key.key_record(&room.keys, &many, &mut filler(3)).is_err());
    assert!(room.run_key.key_record(&room.keys, &many[..16], &mut filler(3)).is_ok());
}

#[test]
fn checking_needs_no_secret() {
    let room = room();
    let record = wrap(&room, &[&room.recovery]);
    let key: &SigningKey = room.keys.signing();
    let fields = check_key_record(&record, &room.keys.source(), &key.public()).expect("signed by the source");
    assert_eq!((fields.key_id, fields.wraps().count()), (room.run_key.id(), 1));
    let snapshot_in_place = signed_record(Class::Snapshot, 2, &[Default::default(); 2], &[0; 300]);
    let refused = check_key_record(&snapshot_in_place, &room.keys.source(), &key.public()).err();
    assert_eq!(refused, Some(OpenKeyError::Class(Class::Snapshot)));
}

/// After an adoption only the newest certificate is at hand; the seed that it names vouches for older runs.
#[test]
fn an_older_epoch_opens_by_its_seed_only() {
    let room = room();
    let adopted = SourceKeys::adopt(room.keys.source(), room.keys.seed().clone(), 2, &mut filler(4));
    let certified = certify(&room.recovery, &adopted).expect("a good name");
    let old = wrap(&room, &[&room.recovery]);
    assert_eq!(open_key_record(&old, &certified, &room.recovery).err(), Some(OpenKeyError::Signature));
    let opened = open_by_seed(&old, &certified, &room.recovery).expect("the certified seed");
    assert_eq!((opened.epoch, opened.run_key), (1, room.run_key.clone()));
    let reseeded = room.keys.rekey(1, &mut filler(5));
    let recipients = [room.recovery.public().recipient("r")];
    let foreign = room.run_key.key_record(&reseeded, &recipients, &mut filler(3)).expect("within limits");
    assert_eq!(open_by_seed(&foreign, &certified, &room.recovery).err(), Some(OpenKeyError::Seed));
    let refused = open_by_seed(&old, &room.certified, &room.recovery).err();
    assert_eq!(refused, Some(OpenKeyError::Epoch { got: 1, expected: 1 }), "the own epoch needs its signature");
}
