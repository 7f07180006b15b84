// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What is sealed opens to itself and to nothing else; the bytes are those of the written layout, and frozen.

use super::body::{Codec, Context, HEAD_BYTES, Head, nonce};
use super::*;
use crate::keys::{SourceKeys, verify};
use crate::run_key::{RunKey, Suite};
use adit_wire::record::{Record, RecordError};
use adit_wire::signed::Completeness;
use proptest::prelude::*;

fn filler(seed: u8) -> impl FnMut(&mut [u8]) {
    let mut stream = blake3::Hasher::new().update(&[seed]).finalize_xof();
    move |bytes| stream.fill(bytes)
}

fn noise(seed: u8, bytes: usize) -> Vec<u8> {
    let mut data = vec![0; bytes];
    filler(seed)(&mut data);
    data
}

struct Room {
    keys: SourceKeys,
    run_key: RunKey,
    sealer: Sealer,
    opener: Opener,
}

fn room(suite: Suite, padding: Padding) -> Room {
    let mut fill = filler(1);
    let keys = SourceKeys::generate(&mut fill);
    let run_key = RunKey::generate(suite, &mut fill);
    let sealer = Sealer::new(&keys, run_key.clone(), padding).expect("contexts fit into memory");
    let mut opener = Opener::new(keys.source()).expect("contexts fit into memory");
    opener.add_key(run_key.clone(), keys.seed());
    Room { keys, run_key, sealer, opener }
}

impl Room {
    fn seal(&mut self, content: &Content<'_>, counter: u32) -> Vec<u8> {
        let id = content.id(self.sealer.id_key());
        self.sealer.seal(content, id, counter, 3).expect("content is within limits")
    }
}

fn rehash(record: &mut [u8]) {
    let at = record.len() - 32;
    let hash = blake3::hash(&record[..at]);
    record[at..].copy_from_slice(hash.as_bytes());
}

const TEXT: &[u8] = b"All human beings are born free and equal in dignity and rights. All human beings are born free.";

#[test]
fn ids_and_records_are_frozen() {
    let mut room = room(Suite::Aes256Gcm, Padding::Padme);
    let content = Content::data(Kind::Chunk, TEXT);
    assert_eq!(
        content.id(room.sealer.id_key()).to_string(),
        "da447f2cd8340d229115f8e6fb9e5cee17302497939234c0c4e9d59887fbfae9"
    );
    let (low, high) = (Id([1; 32]), Id([2; 32]));
    let node = Content { kind: Kind::Leaf, height: 1, node_refs: &[low], data_refs: &[low, high], plain: TEXT };
    assert_eq!(
        node.id(room.sealer.id_key()).to_string(),
        "fe065b397403cf6a1b10a270c8136d5d2e38ded85028c83dfa04b0222abe71f7"
    );
    // Stored raw, so that the compressor's version does not matter.
    let short = room.seal(&Content::data(Kind::Bundle, &TEXT[..40]), 7);
    assert_eq!(
        data_encoding::HEXLOWER.encode(&short),
        "010101000000000044000000070000007ea3f666be9243d1d8e0fcf204df348ffdc950f8fe8d46c68a5832b7e3c798da15e4de89c82586f1b4e4ed42be613748f64afc3f360cf8be0ce4177d911e776f193d73e972c29a3e6cff47f923d0f574c2152297de17448510a97239095a21c20addc3c53c6e3a00673df8c95cd624c7c1e527fa13197880b0517f35229d1217bdac92f48c5f8d61a5ec75a7b3f224c431746d48"
    );
    let mut room = self::room(Suite::ChaCha20Poly1305, Padding::Padme);
    let short = room.seal(&Content::data(Kind::Bundle, &TEXT[..40]), 7);
    assert_eq!(
        blake3::hash(&short).to_hex().as_str(),
        "0d20cfb7151578e1eccf82b8410be6faa020a48622e1d7c59a184afa75e89433"
    );
}

/// Opens a record with primitives alone, as FORMAT.md says.
#[test]
fn a_record_has_the_written_layout() {
    let mut room = room(Suite::Aes256Gcm, Padding::Padme);
    let refs = [Id([1; 32]), Id([9; 32])];
    let content = Content { kind: Kind::Leaf, height: 1, node_refs: &[], data_refs: &refs, plain: &TEXT[..40] };
    let record = room.seal(&content, 0x0102_0304);
    let (header, rest) = record.split_at(64);
    let (packed, rest) = rest.split_at(64);
    let (body, hash) = rest.split_at(rest.len() - 32);
    assert_eq!(hash, blake3::hash(&record[..record.len() - 32]).as_bytes());
    assert_eq!(header[..4], [1, 2, 1, 1]);
    assert_eq!(header[12..16], [4, 3, 2, 1]);
    let mut ctx = b"adit record v1\0\0".to_vec();
    ctx.extend_from_slice(&room.keys.source().0);
    ctx.extend_from_slice(header);
    ctx.extend_from_slice(blake3::hash(packed).as_bytes());
    assert_eq!(ctx.len(), 128);
    let key = blake3::keyed_hash(room.run_key.key().expose(), &ctx);
    let key = aws_lc_rs::aead::UnboundKey::new(&aws_lc_rs::aead::AES_256_GCM, key.as_bytes()).expect("32 bytes");
    let nonce = [0, 0, 0, 0, 0, 0, 0, 0, 4, 3, 2, 1];
    let mut plain = body.to_vec();
    let plain = aws_lc_rs::aead::LessSafeKey::new(key)
        .open_in_place(
            aws_lc_rs::aead::Nonce::assume_unique_for_key(nonce),
            aws_lc_rs::aead::Aad::from(&ctx),
            &mut plain,
        )
        .expect("the tag fits");
    assert_eq!(plain[..12], [4, 0, 0, 0, 40, 0, 0, 0, 40, 0, 0, 0]);
    assert_eq!(plain[12..52], TEXT[..40]);
    assert_eq!(plain.len(), 52);
    let k_id = blake3::derive_key("adit 2026 content id key v1", room.keys.seed().0.expose());
    let mut hashed = vec![4, 0, 0, 2, 0];
    hashed.extend_from_slice(packed);
    hashed.extend_from_slice(&TEXT[..40]);
    assert_eq!(header[16..48], *blake3::keyed_hash(&k_id, &hashed).as_bytes());
}

#[test]
fn padme_keeps_the_leading_bits() {
    let padded = [0, 1, 2, 3, 8, 9, 100, 1_000, 1_025, 65_537, 262_144, 262_145, 1_000_000].map(padme);
    assert_eq!(padded, [0, 1, 2, 3, 8, 10, 104, 1_024, 1_088, 67_584, 262_144, 270_336, 1_015_808]);
    for bytes in 1..70_000usize {
        let padded = padme(bytes);
        assert!(padded >= bytes && padded - bytes <= bytes / 8 + 1 && padme(padded) == padded, "{bytes} to {padded}");
        assert_eq!(Padding::Strong.pad(bytes) % 8_192, 0);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn what_is_sealed_opens_to_itself(
        seed in any::<u8>(),
        length in prop_oneof![0usize..300, 0usize..70_000],
        repeat in any::<bool>(),
        level in prop_oneof![Just(1), Just(3), Just(9)],
        suite in prop_oneof![Just(Suite::Aes256Gcm), Just(Suite::ChaCha20Poly1305)],
        padding in prop_oneof![Just(Padding::Padme), Just(Padding::Strong)],
        counter in any::<u32>(),
        data_refs in 0u8..5,
    ) {
        let mut room = room(suite, padding);
        let plain = if repeat { TEXT.iter().copied().cycle().take(length).collect() } else { noise(seed, length) };
        let refs: Vec<Id> = (0..data_refs).map(|byte| Id([byte; 32])).collect();
        let content = match data_refs {
            0 => Content::data(Kind::Chunk, &plain),
            _ => Content { kind: Kind::List, height: 1, node_refs: &[], data_refs: &refs, plain: &plain },
        };
        let id = content.id(room.sealer.id_key());
        let bytes = room.sealer.seal(&content, id, counter, level).expect("content is within limits");
        let record = Record::parse(&bytes).expect("a sealed record parses");
        prop_assert_eq!(record.header.id, id);
        prop_assert_eq!(record.header.counter, counter);
        prop_assert_eq!(bytes.len(), bytes.capacity(), "a record carries no spare memory");
        let (kind, opened) = room.opener.open(&record).expect("a sealed record opens");
        prop_assert_eq!(kind, content.kind);
        prop_assert_eq!(opened, plain);
    }
}

/// With the record hash made to fit again, so that the seal itself is what refuses.
#[test]
fn every_flipped_bit_is_refused() {
    for suite in [Suite::Aes256Gcm, Suite::ChaCha20Poly1305] {
        let mut room = room(suite, Padding::Padme);
        let refs = [Id([1; 32]), Id([9; 32])];
        let content = Content { kind: Kind::Inner, height: 2, node_refs: &refs, data_refs: &[], plain: TEXT };
        let record = room.seal(&content, 5);
        for bit in 0..(record.len() - 32) * 8 {
            let mut changed = record.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(Record::parse(&changed).is_err(), "bit {bit} passes the record hash");
            rehash(&mut changed);
            let opened = Record::parse(&changed).map(|record| room.opener.open(&record).is_ok());
            assert!(!matches!(opened, Ok(true)), "bit {bit} passes");
        }
    }
}

#[test]
fn a_record_opens_for_its_own_source_only() {
    let mut room = room(Suite::Aes256Gcm, Padding::Padme);
    let bytes = room.seal(&Content::data(Kind::Chunk, TEXT), 1);
    let record = Record::parse(&bytes).expect("a sealed record parses");
    let other = SourceKeys::generate(&mut filler(9));
    let mut opener = Opener::new(other.source()).expect("contexts fit into memory");
    assert_eq!(opener.open(&record).err(), Some(OpenError::UnknownKey(room.run_key.id())));
    opener.add_key(room.run_key.clone(), room.keys.seed());
    assert!(matches!(opener.open(&record), Err(OpenError::Damaged(..))));
    let mut opener = Opener::new(room.keys.source()).expect("contexts fit into memory");
    opener.add_key(room.run_key.clone(), other.seed());
    let wrong_seed = opener.open(&record).expect_err("ids are keyed by the seed");
    assert_eq!(wrong_seed, OpenError::Damaged(record.header.id, "its content does not match its id"));
}

/// Seals any inner plaintext, as a hostile source with the right keys can.
fn forge(room: &Room, kind: Class, id: Id, plain: &[u8]) -> Vec<u8> {
    let header = Header {
        class: kind,
        suite: 1,
        height: u8::from(kind == Class::Node),
        node_refs: 0,
        data_refs: 0,
        body_bytes: u32::try_from(plain.len() + 16).expect("short"),
        counter: 1,
        id,
        key_id: room.run_key.id(),
    };
    let mut record = header.to_bytes().to_vec();
    let context = Context::new(&room.keys.source(), &header.to_bytes(), &[]);
    let mut body = plain.to_vec();
    context.key(&room.run_key).seal_in_place_append_tag(nonce(1), context.aad(), &mut body).expect("short enough");
    record.extend_from_slice(&body);
    record.extend_from_slice(&[0; 32]);
    rehash(&mut record);
    record
}

#[test]
fn inner_lies_are_refused() {
    let mut room = room(Suite::Aes256Gcm, Padding::Padme);
    let id_key = room.keys.seed().id_key();
    let inner = |kind, codec, raw_bytes: u32, stored: &[u8]| {
        let stored_bytes = u32::try_from(stored.len()).expect("short");
        let mut plain = Head { kind, codec, raw_bytes, stored_bytes }.to_bytes().to_vec();
        plain.extend_from_slice(stored);
        plain.resize(padme(plain.len()), 0);
        plain
    };
    let check = |room: &mut Room, class, plain: &[u8], expected: Option<&'static str>| {
        let id = Content::data(Kind::Chunk, TEXT).id(&id_key);
        let bytes = forge(room, class, id, plain);
        let record = Record::parse(&bytes).expect("a forged record parses");
        let got = room.opener.open(&record).err();
        assert_eq!(got, expected.map(|why| OpenError::Damaged(id, why)));
    };
    let packed = zstd::bulk::compress(TEXT, 3).expect("text compresses");
    let length = u32::try_from(TEXT.len()).expect("short");
    check(&mut room, Class::Data, &inner(Kind::Chunk, Codec::Raw, length, TEXT), None);
    check(&mut room, Class::Data, &inner(Kind::Chunk, Codec::Zstd, length, &packed), None);
    let lengths = "it states another length than it has";
    check(&mut room, Class::Data, &inner(Kind::Chunk, Codec::Raw, length + 1, TEXT), Some(lengths));
    check(&mut room, Class::Data, &inner(Kind::Chunk, Codec::Zstd, length + 1, &packed), Some(lengths));
    let does_not = "it does not decompress";
    check(&mut room, Class::Data, &inner(Kind::Chunk, Codec::Zstd, length - 1, &packed), Some(does_not));
    check(&mut room, Class::Data, &inner(Kind::Chunk, Codec::Zstd, length, TEXT), Some(does_not));
    // A gigabyte of zeros packs into some 30 KiB; the buffer stays as long as the head says.
    let bomb = zstd::bulk::compress(&vec![0; 64 << 20], 3).expect("zeros compress");
    check(&mut room, Class::Data, &inner(Kind::Chunk, Codec::Zstd, 1_000, &bomb), Some(does_not));
    let more = "it states more bytes than a record may hold";
    check(&mut room, Class::Data, &inner(Kind::Chunk, Codec::Zstd, u32::MAX, &bomb), Some(more));
    let kind = "its kind is not its class's";
    check(&mut room, Class::Node, &inner(Kind::Chunk, Codec::Raw, length, TEXT), Some(kind));
    let other = "its content does not match its id";
    check(&mut room, Class::Data, &inner(Kind::Bundle, Codec::Raw, length, TEXT), Some(other));
    let layout = Some("its inner lengths or padding are wrong");
    let good = inner(Kind::Chunk, Codec::Raw, length, TEXT);
    for at in [0, 1, 2, 3, 8, 10] {
        let mut bad = good.clone();
        bad[at] = 0xee;
        check(&mut room, Class::Data, &bad, layout);
    }
    for length in 0..HEAD_BYTES {
        check(&mut room, Class::Data, &good[..length], layout);
    }
    let mut unpadded = good.clone();
    unpadded.push(0);
    check(&mut room, Class::Data, &unpadded, layout);
    let mut dirty = good;
    *dirty.last_mut().expect("it is padded") = 1;
    check(&mut room, Class::Data, &dirty, layout);
}

#[test]
fn content_beyond_limits_is_refused() {
    let mut room = room(Suite::Aes256Gcm, Padding::Padme);
    let long = noise(1, PLAIN_BYTES_MAX + 1);
    let content = Content::data(Kind::Chunk, &long);
    let seal = |room: &mut Room, content: &Content<'_>| room.sealer.seal(content, Id::ZERO, 0, 3).map(|_| ());
    assert!(matches!(seal(&mut room, &content), Err(SealError::TooLong(_))));
    // Within the plaintext's limit, but not within the record's once it is found incompressible.
    let content = Content::data(Kind::Chunk, &long[1..]);
    assert!(matches!(seal(&mut room, &content), Err(SealError::Rule(RecordError::TooLong(_)))));
    let refs = [Id([2; 32]), Id([1; 32])];
    let content = Content { kind: Kind::Leaf, height: 1, node_refs: &[], data_refs: &refs, plain: TEXT };
    assert!(matches!(seal(&mut room, &content), Err(SealError::Rule(RecordError::RefsOrder))));
    let refs = vec![Id::ZERO; 4_097];
    let content = Content { kind: Kind::Leaf, height: 1, node_refs: &[], data_refs: &refs, plain: TEXT };
    assert!(matches!(seal(&mut room, &content), Err(SealError::Rule(RecordError::TooManyRefs(4_097)))));
    let content = Content { kind: Kind::Leaf, height: 0, node_refs: &[], data_refs: &[], plain: TEXT };
    assert!(matches!(seal(&mut room, &content), Err(SealError::Rule(RecordError::Rule(Class::Node)))));
    // An id that is not the content's: the proof finds it.
    let content = Content::data(Kind::Chunk, TEXT);
    assert!(matches!(seal(&mut room, &content), Err(SealError::Unproven(Id::ZERO))));
}

#[test]
fn bytes_are_stored_as_they_are_unless_packing_gains() {
    let mut room = room(Suite::Aes256Gcm, Padding::Padme);
    let length = |room: &mut Room, plain: &[u8], level| {
        let content = Content::data(Kind::Chunk, plain);
        let id = content.id(room.sealer.id_key());
        room.sealer.seal(&content, id, 0, level).expect("content is within limits").len() - 64 - 16 - 32
    };
    let random = noise(3, 100_000);
    let repeated: Vec<u8> = TEXT.iter().copied().cycle().take(100_000).collect();
    for level in [1, 3, 9] {
        assert_eq!(length(&mut room, &random, level), padme(100_012));
        assert!(length(&mut room, &repeated, level) < 1_000);
    }
    // Even frequencies, but the second half repeats the first: the probe must not give up on it.
    let twice = [&random[..], &random[..]].concat();
    assert!(length(&mut room, &twice, 9) < 110_000);
}

#[test]
fn sealers_of_several_threads_make_the_same_records() {
    let room = room(Suite::Aes256Gcm, Padding::Padme);
    let plain = noise(5, 50_000);
    let records: Vec<Vec<u8>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let mut sealer = room.sealer.try_clone().expect("contexts fit into memory");
                let plain = &plain;
                scope.spawn(move || {
                    let content = Content::data(Kind::Chunk, plain);
                    sealer.seal(&content, content.id(sealer.id_key()), 3, 3).expect("content is within limits")
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
    });
    assert!(records.windows(2).all(|pair| pair[0] == pair[1]));
}

#[test]
fn a_snapshot_record_is_signed_and_named_by_its_body() {
    let room = room(Suite::Aes256Gcm, Padding::Padme);
    let snapshot = Snapshot {
        source: room.keys.source(),
        epoch: 1,
        seq: 3,
        prev_head: Id([1; 32]),
        root: Id([8; 32]),
        info: Id([2; 32]),
        nodes: 5,
        records: 9,
        state: Completeness::Complete,
    };
    let bytes = snapshot_record(&room.keys, &snapshot, 1);
    let record = Record::parse(&bytes).expect("a snapshot record parses");
    assert_eq!((record.header.class, record.header.height), (Class::Snapshot, 2));
    assert_eq!(record.node_refs.iter().collect::<Vec<_>>(), [snapshot.root]);
    assert_eq!(record.data_refs.iter().collect::<Vec<_>>(), [snapshot.info]);
    assert_eq!(
        blake3::hash(&bytes).to_hex().as_str(),
        "0f4aa974329d10b28c246bdd6b8245f48b8ac10188e0b29196754b48f00bd0a7"
    );
    let (source, key) = (room.keys.source(), room.keys.signing().public());
    assert_eq!(check_snapshot(record.body, &source, &key), Ok(snapshot));
    let other = SourceKeys::generate(&mut filler(9));
    assert_eq!(check_snapshot(record.body, &source, &other.signing().public()), Err(SnapshotError::Signature));
    let for_other = check_snapshot(record.body, &other.source(), &key);
    assert_eq!(for_other, Err(SnapshotError::OtherSource(source)));
    for bit in 0..record.body.len() * 8 {
        let mut changed = record.body.to_vec();
        changed[bit / 8] ^= 1 << (bit % 8);
        assert!(check_snapshot(&changed, &source, &key).is_err(), "bit {bit} passes");
    }
    let (body, signature) = record.body.split_at(record.body.len() - 64);
    let signature = adit_wire::ids::Signature::from_slice(signature).expect("64 bytes");
    assert!(verify(&key, b"adit snapshot v1\0", &[body], &signature));
}
