// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Words, files, certificates and proofs: frozen values, round trips, and what a person reads when one is damaged.

use super::*;
use crate::secret::Secret;
use adit_wire::ids::{ChannelBinding, PublicKey, SourceId};
use proptest::prelude::*;
use std::os::unix::fs::PermissionsExt as _;

/// Cheap, so that tests are quick: what it costs does not change what it does.
const CHEAP: Kdf = Kdf { memory_kib: 64, passes: 1, lanes: 1 };

fn filler(seed: u8) -> impl FnMut(&mut [u8]) {
    let mut stream = blake3::Hasher::new().update(&[seed]).finalize_xof();
    move |bytes| stream.fill(bytes)
}

fn key_of(byte: u8) -> RecoveryKey {
    RecoveryKey::from_entropy(Secret::new([byte; 32]))
}

/// The published test vectors of BIP39 for 256 bits.
#[test]
fn words_are_those_of_bip39() {
    let check = |byte: u8, first: &str, rest: &str, last: &str| {
        let expected = format!("{first} {rest}{last}");
        assert_eq!(*key_of(byte).words(), expected);
        let read = RecoveryKey::from_words(&expected).expect("the words are a key");
        assert_eq!(read.signing().public(), key_of(byte).signing().public());
    };
    check(0, "abandon", &"abandon ".repeat(22), "art");
    check(0xff, "zoo", &"zoo ".repeat(22), "vote");
    let letter = "advice cage absurd amount doctor acoustic avoid letter ";
    check(0x80, "letter", &format!("{}{}", letter.repeat(2), "advice cage absurd amount doctor acoustic "), "bless");
}

#[test]
fn derived_keys_are_frozen() {
    let key = key_of(0x42);
    assert_eq!(key.signing().public().to_string(), "f0fc4321e61e72d99f635b37eabfb7666d1864aeaa49474f1dfadf363ef32031");
    assert_eq!(
        blake3::hash(key.kem_public().as_bytes()).to_hex().as_str(),
        "83204eb5e96e76bfa5cd7ffde286d43a3862f271e5cc666d129bb9a1a50528aa"
    );
    let keys = SourceKeys::generate(&mut filler(1));
    let hash = |secret: &Secret<32>| blake3::hash(secret.expose()).to_hex()[..16].to_owned();
    assert_eq!(keys.source().to_string(), "48fc721fbbc172e0925fa27af1671de2");
    let seed = keys.seed();
    let derived = [hash(&seed.id_key().0), hash(&seed.cut_key().0), hash(&seed.path_cut_key().0)];
    assert_eq!(derived, ["93e5119c8ab5c7b9", "95004ef917f3d19e", "e6bab8ed3095a148"]);
    assert_eq!(seed.check().to_string(), "fbdbb193bce4cab2b662272eed24b498905d1eb5b1435f542cdc87749a2c961d");
    assert_eq!(keys.signing().public().to_string(), "449f5746efffe043e10288038b17e346abd0dec088c8e624d1087c89d5551e9f");
}

#[test]
fn words_are_read_as_people_type_them() {
    let words = RecoveryKey::generate(&mut filler(2)).words();
    let public = RecoveryKey::from_words(&words).expect("the words are a key").signing().public();
    let numbered: Vec<String> =
        words.split(' ').enumerate().map(|(at, word)| format!("{}. {}", at + 1, word.to_uppercase())).collect();
    let short: Vec<String> = words.split(' ').map(|word| word.chars().take(4).collect()).collect();
    for text in
        [numbered.join("\n"), numbered.concat().replace(". ", "."), short.join(", "), format!("\t{}\r\n", *words)]
    {
        let read = RecoveryKey::from_words(&text).map(|key| key.signing().public());
        // Concatenated words are no words.
        if text.contains(char::is_whitespace) {
            assert_eq!(read, Ok(public));
        } else {
            assert!(read.is_err());
        }
    }
}

#[test]
fn a_wrong_word_is_named() {
    let check = |text: &str, expected: &str| {
        let error = RecoveryKey::from_words(text).expect_err("the words are wrong");
        assert_eq!(error.to_string(), expected);
    };
    let good = key_of(0).words();
    check(
        &good.replacen("abandon abandon", "abandon abandom", 1),
        "word 2, \"abandom\", is not in the word list (did you mean \"abandon\"?)",
    );
    check(&good.replacen("art", "xyzzyxyzzy", 1), "word 24, \"xyzzyxyzzy\", is not in the word list");
    check(&good.replacen(" art", "", 1), "a recovery key has 24 words, got 23");
    check("", "a recovery key has 24 words, got 0");
    let checksum = "the words' checksum does not match: a word is wrong, or two are swapped";
    check(&good.replacen("art", "about", 1), checksum);
    check(&good.replacen("abandon", "zoo", 1), checksum);
}

#[test]
fn a_public_file_survives_copying() {
    let public = key_of(7).public();
    let text = public.to_text();
    assert_eq!(
        blake3::hash(text.as_bytes()).to_hex().as_str(),
        "744f475472c460734096f62d2594f43704bbbf39a0628129f8987a72e9ba0341"
    );
    let quoted: String = text.lines().map(|line| format!("> {line}\r\n")).collect();
    let one_line = text.replace('\n', " ");
    for copy in [text.clone(), quoted, one_line, format!("Hello,\nhere it is:\n{text}\nBye")] {
        assert_eq!(RecoveryPublic::from_text(&copy), Ok(public.clone()));
    }
    assert_eq!(public.recipient("paper").kem.recipient_id(), key_of(7).kem_public().recipient_id());
}

#[test]
fn a_damaged_public_file_says_how() {
    let text = key_of(7).public().to_text();
    let check = |text: &str, expected: &str| {
        let error = RecoveryPublic::from_text(text).expect_err("the text is damaged");
        assert_eq!(error.to_string(), expected);
    };
    let begin = text.find("-----BEGIN").expect("there is a first line");
    check(
        &text[..begin],
        "there is no public recovery key here: the line \"-----BEGIN ADIT PUBLIC RECOVERY KEY-----\" is missing",
    );
    check(
        &text[..text.len() - 60],
        "the public recovery key ends early: the line \"-----END ADIT PUBLIC RECOVERY KEY-----\" is missing; copy the whole text",
    );
    let lines: Vec<&str> = text.lines().collect();
    let without = [&lines[..5], &lines[6..]].concat().join("\n");
    check(
        &without,
        "the public recovery key is damaged: 1700 characters between its first and last line, expected 1764",
    );
    check(&text.replacen("AQ", "A…", 1), "the public recovery key is damaged: '…' does not belong in it");
    let line = lines[6];
    let changed = text.replacen(line, &line.chars().rev().collect::<String>(), 1);
    check(&changed, "the public recovery key is damaged: its checksum does not match; copy it again");
}

/// Someone who puts his own KEM key into the file can make the checksum fit, not the signature.
#[test]
fn an_altered_public_file_is_refused() {
    let decode = |text: &str| {
        let inside: String = text.lines().filter(|line| !line.starts_with(['#', '-'])).collect();
        data_encoding::BASE64.decode(inside.as_bytes()).expect("base64")
    };
    let (ours, theirs) = (decode(&key_of(7).public().to_text()), decode(&key_of(8).public().to_text()));
    let mut mixed = ours[..33].to_vec();
    mixed.extend_from_slice(&theirs[33..33 + 1_216]);
    mixed.extend_from_slice(&ours[33 + 1_216..ours.len() - 8]);
    mixed.extend_from_slice(&blake3::hash(&mixed.clone()).as_bytes()[..8]);
    let text = format!(
        "-----BEGIN ADIT PUBLIC RECOVERY KEY-----\n{}\n-----END ADIT PUBLIC RECOVERY KEY-----",
        data_encoding::BASE64.encode(&mixed)
    );
    assert_eq!(RecoveryPublic::from_text(&text), Err(PublicFileError::Signature));
    let mut newer = ours[..ours.len() - 8].to_vec();
    newer[0] = 2;
    newer.extend_from_slice(&blake3::hash(&newer.clone()).as_bytes()[..8]);
    let text = format!(
        "-----BEGIN ADIT PUBLIC RECOVERY KEY-----\n{}\n-----END ADIT PUBLIC RECOVERY KEY-----",
        data_encoding::BASE64.encode(&newer)
    );
    assert_eq!(RecoveryPublic::from_text(&text), Err(PublicFileError::Version(2)));
}

#[test]
fn recovery_files_are_frozen_and_read_back() {
    let key = key_of(0x42);
    let open = key.to_file_text(Protection::None, &mut filler(1)).expect("there is nothing to refuse");
    assert_eq!(
        blake3::hash(open.as_bytes()).to_hex().as_str(),
        "d1ab3d745a66c2deb5330711c4b249874b434949bdb54c7140cb8a430f15b319"
    );
    let sealed =
        key.to_file_text(Protection::Passphrase("correct horse", CHEAP), &mut filler(1)).expect("within limits");
    assert_eq!(
        blake3::hash(sealed.as_bytes()).to_hex().as_str(),
        "fa6bef14118428687954cd09b27b4f211fb63e722c5f4c9027d2ca352beada10"
    );
    assert!(!sealed.contains(&"42".repeat(32)) && open.contains(&"42".repeat(32)));
    for (text, passphrase) in [(&open, None), (&open, Some("unused")), (&sealed, Some("correct horse"))] {
        let read = RecoveryKey::from_file_text(text, passphrase).expect("the file is whole");
        assert_eq!(*read.words(), *key.words());
        let copied = text.replace('\n', "\r\n  ");
        let read = RecoveryKey::from_file_text(&copied, passphrase).expect("white space does not matter");
        assert_eq!(*read.words(), *key.words());
    }
}

#[test]
fn a_recovery_file_that_does_not_open_says_why() {
    let key = key_of(0x42);
    let sealed =
        key.to_file_text(Protection::Passphrase("correct horse", CHEAP), &mut filler(1)).expect("within limits");
    let check = |text: &str, passphrase: Option<&str>, expected: &str| {
        let error = RecoveryKey::from_file_text(text, passphrase).expect_err("the file does not open");
        assert_eq!(error.to_string(), expected);
    };
    check(&sealed, None, "the recovery file needs its passphrase");
    check(&sealed, Some("wrong horse"), "the passphrase is wrong");
    check("", None, "this is no recovery file: its first line is not \"adit recovery key, version 1\"");
    check(&sealed.replace("version 1", "version 9"), None, "the recovery file has version 9, this program reads 1");
    let damaged = "the recovery file is damaged: its checksum does not match";
    check(&sealed.replace("passes = 1", "passes = 2"), Some("correct horse"), damaged);
    check(&sealed.replace("sealed = \"", "sealed = \"0"), Some("correct horse"), damaged);
    let cut = &sealed[..sealed.find("check").expect("there is a check")];
    check(cut, Some("correct horse"), "the recovery file is damaged: its line \"check\" is missing");
    let empty =
        key.to_file_text(Protection::Passphrase("", CHEAP), &mut filler(1)).err().map(|error| error.to_string());
    assert_eq!(empty.as_deref(), Some("the passphrase is empty"));
}

/// A hostile file must not make its reader allocate or compute for long; its checksum fits.
#[test]
fn a_costly_recovery_file_is_refused_before_it_costs() {
    let key = key_of(0x42);
    let sealed = key.to_file_text(Protection::Passphrase("p", CHEAP), &mut filler(1)).expect("within limits");
    let refit = |text: String| {
        let (body, _) = text.split_once("check =").expect("there is a check");
        let mut hasher = blake3::Hasher::new();
        for line in body.lines().filter(|line| !line.starts_with('#')) {
            hasher.update(line.as_bytes()).update(b"\n");
        }
        format!("{body}check = \"{}\"\n", data_encoding::HEXLOWER.encode(&hasher.finalize().as_bytes()[..8]))
    };
    for (from, to) in
        [("memory_kib = 64", "memory_kib = 1048577"), ("passes = 1", "passes = 17"), ("lanes = 1", "lanes = 17")]
    {
        let text = refit(sealed.replace(from, to));
        let error = RecoveryKey::from_file_text(&text, Some("p")).expect_err("too dear");
        assert!(matches!(error, FileError::Cost(_)), "{error}");
        let written =
            key.to_file_text(Protection::Passphrase("p", Kdf { memory_kib: 1 << 21, ..CHEAP }), &mut filler(1));
        assert!(matches!(written, Err(FileError::Cost(_))));
    }
    // Parameters are part of what is sealed: cheaper ones with a fitting checksum do not open.
    let text = refit(sealed.replace("memory_kib = 64", "memory_kib = 32"));
    assert!(matches!(RecoveryKey::from_file_text(&text, Some("p")), Err(FileError::WrongPassphrase)));
    // A file that names another key than it holds.
    let open = key.to_file_text(Protection::None, &mut filler(1)).expect("nothing to refuse");
    let other = key_of(1).signing().public().to_string();
    let text = refit(open.replace(&key.signing().public().to_string(), &other));
    assert!(matches!(RecoveryKey::from_file_text(&text, None), Err(FileError::OtherKey)));
}

#[test]
fn files_are_private_and_never_overwritten() {
    let folder = tempfile::tempdir().expect("a directory");
    let path = folder.path().join("recovery");
    let key = key_of(0x42);
    write_file(&path, &key, Protection::Passphrase("p", CHEAP), &mut filler(1)).expect("the file is new");
    let mode = std::fs::metadata(&path).expect("it exists").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let peek = peek_file(&path).expect("it is whole");
    assert_eq!(peek, Peek { signing_key: key.signing().public(), sealed: true });
    assert_eq!(*read_file(&path, Some("p")).expect("it opens").words(), *key.words());
    let again = write_file(&path, &key_of(1), Protection::None, &mut filler(1));
    assert!(matches!(again, Err(FileError::Write { .. })));
    assert_eq!(*read_file(&path, Some("p")).expect("it is as it was").words(), *key.words());
    assert!(matches!(read_file(&folder.path().join("none"), None), Err(FileError::Read { .. })));
}

#[test]
fn stored_source_keys_come_back_whole_or_not_at_all() {
    let keys = SourceKeys::generate(&mut filler(1));
    let bytes = keys.to_bytes();
    let read = SourceKeys::from_bytes(&bytes).expect("they are whole");
    assert_eq!(read.to_bytes(), bytes);
    for length in 0..bytes.len() {
        assert!(SourceKeys::from_bytes(&bytes[..length]).is_err());
    }
    for bit in 0..bytes.len() * 8 {
        let mut changed = bytes.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        assert!(SourceKeys::from_bytes(&changed).is_err(), "bit {bit} passes");
    }
    assert!(!format!("{keys:?}").contains(&format!("{:02x}", bytes[21])[..1].repeat(8)), "no secret is printed");
}

#[test]
fn adopting_keeps_the_seed_and_rekeying_does_not() {
    let keys = SourceKeys::generate(&mut filler(1));
    let adopted = SourceKeys::adopt(keys.source(), keys.seed().clone(), 2, &mut filler(2));
    assert_eq!((adopted.source(), adopted.seed(), adopted.epoch()), (keys.source(), keys.seed(), 2));
    assert_ne!(adopted.signing().public(), keys.signing().public());
    let rekeyed = keys.rekey(2, &mut filler(3));
    assert_eq!(rekeyed.source(), keys.source());
    assert_ne!(rekeyed.seed(), keys.seed());
}

#[test]
fn certificates_vouch_for_one_source_only() {
    let recovery = key_of(7);
    let keys = SourceKeys::generate(&mut filler(1));
    let request = keys.request("web1").expect("a good name");
    let line = request.to_text(&keys).expect("its own keys");
    assert_eq!(
        blake3::hash(line.as_bytes()).to_hex().as_str(),
        "6ccafb20f24425eb7ef17b419727d5dedcb370feaa073df510a049d8ce376e6b"
    );
    let wrapped: String =
        line.as_bytes().chunks(60).map(|part| format!("  {}\n", String::from_utf8_lossy(part))).collect();
    assert_eq!(CertificateRequest::from_text(&wrapped), Ok(request.clone()));
    let certificate = recovery.certify(&request).expect("a good name");
    assert_eq!(
        blake3::hash(&certificate).to_hex().as_str(),
        "f632c905383f1b7aaf04ff9c2ab698df5b6f7849eb90a9f60173f47609e6a243"
    );
    let certified = Certified::verify(&certificate, &recovery.signing().public()).expect("signed by this key");
    assert_eq!((certified.source(), certified.name(), certified.epoch()), (keys.source(), "web1", 1));
    assert_eq!(certified.signing_key(), keys.signing().public());
    assert!(certified.vouches_for(keys.seed()) && !certified.vouches_for(keys.rekey(2, &mut filler(3)).seed()));
    let other = Certified::verify(&certificate, &key_of(8).signing().public());
    assert_eq!(other, Err(CertificateError::Signature));
    for bit in 0..certificate.len() * 8 {
        let mut changed = certificate.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        assert!(Certified::verify(&changed, &recovery.signing().public()).is_err(), "bit {bit} passes");
    }
}

#[test]
fn requests_are_refused_with_a_reason() {
    let keys = SourceKeys::generate(&mut filler(1));
    for name in ["", "a\nb", &"x".repeat(64)] {
        assert!(matches!(keys.request(name), Err(CertificateError::Name(_))));
    }
    let request = keys.request("web1").expect("a good name");
    let others = SourceKeys::generate(&mut filler(2));
    assert_eq!(request.to_text(&others), Err(CertificateError::OtherKeys));
    let line = request.to_text(&keys).expect("its own keys");
    assert_eq!(CertificateRequest::from_text("hello"), Err(CertificateError::NoRequest));
    let changed = line.replacen("AQ", "Aw", 1);
    assert_ne!(changed, line);
    assert!(CertificateRequest::from_text(&changed).is_err());
    assert!(CertificateRequest::from_text(&line[..line.len() - 4]).is_err());
}

#[test]
fn proofs_cover_connection_source_and_both_machines() {
    let recovery = key_of(7);
    let public = recovery.signing().public();
    let (binding, source) = (ChannelBinding([1; 32]), SourceId([2; 16]));
    let read = recovery.prove_read(&binding, &source);
    let message = [&binding.0[..], &source.0[..]].concat();
    assert!(verify(&public, b"adit read v1\0", &[&message], &read));
    assert!(!verify(&public, b"adit recover v1\0", &[&message], &read));
    assert!(!verify(&public, b"adit read v1\0", &[&[9; 32], &source.0], &read));
    let (box_key, own_key) = (PublicKey([3; 32]), PublicKey([4; 32]));
    let recover = recovery.prove_recover(&binding, &box_key, &own_key);
    assert!(verify(&public, b"adit recover v1\0", &[&binding.0, &box_key.0, &own_key.0], &recover));
    assert!(!verify(&public, b"adit recover v1\0", &[&binding.0, &own_key.0, &box_key.0], &recover));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Whatever a person pastes: an answer, never a panic, and a changed file is never taken for another key.
    #[test]
    fn texts_are_judged_without_panic(at in any::<prop::sample::Index>(), with in "\\PC{0,4}", take in 0usize..4) {
        let key = key_of(0x42);
        let request = SourceKeys::generate(&mut filler(1));
        let line = request.request("web1").and_then(|r| r.to_text(&request)).expect("a good name");
        let file = key.to_file_text(Protection::None, &mut filler(1)).expect("nothing to refuse");
        for text in [key.public().to_text(), line, file.to_string(), key.words().to_string()] {
            let chars: Vec<char> = text.chars().collect();
            let at = at.index(chars.len());
            let end = (at + take).min(chars.len());
            let changed: String = chars[..at].iter().copied().chain(with.chars()).chain(chars[end..].iter().copied()).collect();
            let public = key.signing().public();
            if let Ok(read) = RecoveryPublic::from_text(&changed) {
                prop_assert_eq!(read.signing_key(), public);
            }
            if let Ok(read) = RecoveryKey::from_file_text(&changed, None) {
                prop_assert_eq!(read.signing().public(), public);
            }
            if let Ok(read) = CertificateRequest::from_text(&changed) {
                prop_assert_eq!(read.signing_key, request.signing().public());
            }
            // One word in 256 passes the words' own checksum: all that is asked is an answer.
            let _answer = RecoveryKey::from_words(&changed);
        }
    }
}
