// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Cut points against a plain reference and frozen values; independence of buffers; resynchronisation; detection.

use super::*;
use crate::keys::Seed;
use adit_wire::ids::Id;
use aes::cipher::{Array, BlockCipherEncrypt as _, KeyInit as _};
use proptest::prelude::*;

fn seeded(seed: u8, bytes: usize) -> Vec<u8> {
    let mut data = vec![0; bytes];
    blake3::Hasher::new().update(&[seed]).finalize_xof().fill(&mut data);
    data
}

fn cutter() -> Cutter {
    Cutter::new(&Seed::new([3; 32]).cut_key())
}

fn lengths(cutter: &Cutter, mut data: &[u8]) -> Vec<usize> {
    let mut lengths = Vec::new();
    while let Some(length) = cutter.next_cut(data, true) {
        lengths.push(length);
        data = &data[length..];
    }
    assert!(data.is_empty(), "every byte belongs to a chunk");
    lengths
}

/// The rule as it is written: every window's digest summed up by itself, one block cipher call each.
struct Reference {
    /// x^(63−j)·T[b] for each j and b.
    terms: Vec<[u128; 256]>,
    prf: aes::Aes128,
}

impl Reference {
    fn new() -> Self {
        let cut_key = Seed::new([3; 32]).cut_key();
        let mut bytes = [0; 4096];
        blake3::Hasher::new_derive_key("adit 2026 chunk cut table v1")
            .update(cut_key.0.expose())
            .finalize_xof()
            .fill(&mut bytes);
        let table: Vec<u128> = bytes.as_chunks::<16>().0.iter().map(|entry| u128::from_le_bytes(*entry)).collect();
        let key = blake3::derive_key("adit 2026 chunk cut prf v1", cut_key.0.expose());
        let prf = aes::Aes128::new(&Array::from(*key.first_chunk::<16>().expect("32 bytes")));
        let terms = (0..64).map(|j| std::array::from_fn(|byte| Self::times_x(table[byte], 63 - j))).collect();
        Self { terms, prf }
    }

    fn times_x(mut value: u128, times: usize) -> u128 {
        for _ in 0..times {
            let reduce = value >> 127 == 1;
            value <<= 1;
            if reduce {
                value ^= 0b1000_0111;
            }
        }
        value
    }

    fn cut(&self, data: &[u8]) -> usize {
        let end = data.len().min(1 << 20);
        for at in 65_536..end {
            let window = &data[at - 64..at];
            let terms = window.iter().zip(&self.terms);
            let digest = terms.fold(0, |sum, (byte, terms)| sum ^ terms[usize::from(*byte)]);
            let mut block = Array::from(digest.to_le_bytes());
            self.prf.encrypt_block(&mut block);
            let low = u64::from_le_bytes(*block.0.first_chunk().expect("16 bytes"));
            let bits = if at < 262_144 { 20 } else { 16 };
            if low.trailing_zeros() >= bits {
                return at;
            }
        }
        end
    }
}

#[test]
fn cuts_are_those_of_the_written_rule() {
    let data = seeded(1, 3 << 20);
    let reference = Reference::new();
    let mut rest = data.as_slice();
    let mut expected = Vec::new();
    while !rest.is_empty() {
        let length = reference.cut(rest);
        expected.push(length);
        rest = &rest[length..];
    }
    assert_eq!(lengths(&cutter(), &data), expected);
    assert!(expected.len() > 5, "the stream has cuts to compare");
}

#[test]
fn cut_points_are_frozen() {
    let lengths = lengths(&cutter(), &seeded(2, 8 << 20));
    assert_eq!(lengths[..8], [92938, 294081, 276732, 309205, 268383, 320468, 314342, 282295]);
    let all: Vec<u8> = lengths.iter().flat_map(|length| u32::try_from(*length).unwrap_or(0).to_le_bytes()).collect();
    assert_eq!(
        blake3::hash(&all).to_hex().as_str(),
        "78ca90f59d284652e9656859f5e9d5abb58ebb0b0ccbfe6c41b9761f780b6759"
    );
}

#[test]
fn lengths_keep_their_bounds_and_mean() {
    let data = seeded(3, 64 << 20);
    let lengths = lengths(&cutter(), &data);
    let (_, whole) = lengths.split_last().expect("there are chunks");
    assert!(whole.iter().all(|length| (CHUNK_BYTES_MIN..=CHUNK_BYTES_MAX).contains(length)));
    let mean = data.len() / lengths.len();
    assert!((256 << 10..352 << 10).contains(&mean), "mean length {mean}");
}

#[test]
fn another_key_cuts_elsewhere() {
    let data = seeded(4, 4 << 20);
    let other = Cutter::new(&Seed::new([4; 32]).cut_key());
    assert_ne!(lengths(&cutter(), &data), lengths(&other, &data));
}

#[test]
fn an_insertion_changes_few_chunks() {
    let data = seeded(5, 24 << 20);
    let mut changed = data.clone();
    changed.splice(9_000_000..9_000_000, [1, 2, 3, 4, 5]);
    let cutter = cutter();
    let chunks = |mut data: &[u8]| {
        let mut set = std::collections::HashSet::new();
        while let Some(length) = cutter.next_cut(data, true) {
            set.insert(*blake3::hash(&data[..length]).as_bytes());
            data = &data[length..];
        }
        set
    };
    let (before, after) = (chunks(&data), chunks(&changed));
    let new = after.difference(&before).count();
    assert!((1..=8).contains(&new), "{new} of {} chunks are new", after.len());
}

#[test]
fn zeros_make_the_longest_chunks_and_short_tails_stay_whole() {
    let cutter = cutter();
    assert_eq!(lengths(&cutter, &vec![0; 2_500_000]), [1 << 20, 1 << 20, 402_848]);
    assert_eq!(cutter.next_cut(&[], true), None);
    assert_eq!(cutter.next_cut(&[1], true), Some(1));
    assert_eq!(cutter.next_cut(&[1], false), None);
    assert_eq!(cutter.next_cut(&seeded(1, 65_536), true), Some(65_536));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// However little of a chunk is at hand, the answer is either "more" or the same cut.
    #[test]
    fn cuts_do_not_depend_on_buffers(seed in any::<u8>(), part in 0usize..(1 << 20)) {
        let data = seeded(seed, 1 << 20);
        let cutter = cutter();
        let cut = cutter.next_cut(&data, false).expect("the longest chunk is at hand");
        let early = cutter.next_cut(&data[..part], false);
        prop_assert_eq!(early, (part >= cut).then_some(cut));
        // Bytes behind the cut do not move it.
        let mut other = data;
        other[cut..].fill(0);
        prop_assert_eq!(cutter.next_cut(&other, false), Some(cut));
    }
}

#[test]
fn page_stores_are_known_by_their_first_bytes() {
    let mut innodb = vec![0u8; 16_384];
    innodb[..4].copy_from_slice(&[0xde, 0xad, 0xbe, 0xef]);
    innodb[25] = 8;
    innodb[34..42].copy_from_slice(&[0, 0, 0, 23, 0, 0, 0, 23]);
    assert_eq!(detect(&innodb), Method::Fixed);
    innodb[25] = 9;
    assert_eq!(detect(&innodb), Method::Content);
    assert_eq!(detect(b"SQLite format 3\0\x10\0"), Method::Fixed);
    assert_eq!(detect(b"QFI\xfb\0\0\0\x03"), Method::Fixed);
    assert_eq!(detect(b""), Method::Content);
    assert_eq!(detect(&[0; 64]), Method::Content);
    assert_eq!(detect(b"SQLite format 2\0"), Method::Content);
}

#[test]
fn fixed_cuts_are_every_64_kib() {
    assert_eq!(Method::Fixed.fixed_cut(200_000, false), Some(65_536));
    assert_eq!(Method::Fixed.fixed_cut(1_000, false), None);
    assert_eq!(Method::Fixed.fixed_cut(1_000, true), Some(1_000));
    assert_eq!(Method::Fixed.fixed_cut(0, true), None);
    assert_eq!(Method::Content.fixed_cut(200_000, true), None);
}

#[test]
fn path_boundaries_are_frozen_keyed_and_as_frequent_as_asked() {
    let cutter = PathCutter::new(Seed::new([3; 32]).path_cut_key());
    let hashes =
        [PathLevel::Bundle, PathLevel::Node(1), PathLevel::Node(2)].map(|level| cutter.hash(level, b"etc\0fstab"));
    assert_eq!(hashes, [1311361220, 3280632852, 1980432685]);
    let other = PathCutter::new(Seed::new([4; 32]).path_cut_key());
    assert_ne!(other.hash(PathLevel::Bundle, b"etc\0fstab"), hashes[0]);
    let ends = (0..58_000u32).filter(|path| cutter.ends(PathLevel::Node(1), &path.to_le_bytes(), 58)).count();
    assert!((900..1_100).contains(&ends), "{ends} of 58,000 paths");
}

#[test]
fn list_nodes_end_at_a_zero_byte() {
    assert!(list_ends(&Id::ZERO));
    let mut id = Id::ZERO;
    id.0[0] = 1;
    assert!(!list_ends(&id));
}
