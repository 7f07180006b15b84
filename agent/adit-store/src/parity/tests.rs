// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Every bit, every structural region and many random ones of small files come back, or are told to be beyond.

use super::{Encoder, Healing, ParityFile, Restored, Shape};
use crate::bytes::{PAGE, memory};

/// Columns of 4 cells of 512 bytes: what a test loses is soon two columns.
const SHAPE: Shape = Shape { col_log2: 11, cell_log2: 9 };
const RANDOM_REGIONS: u64 = 12_000;

struct Rng(u64);

impl Rng {
    const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    const fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.next().to_le_bytes()[0]).collect()
    }
}

/// A file and its parity, taken in pieces of random sizes.
fn made(rng: &mut Rng, bytes: usize, shape: Shape) -> (Vec<u8>, Encoder) {
    let content = rng.bytes(bytes);
    let mut encoder = Encoder::new(shape);
    let mut rest = &content[..];
    while !rest.is_empty() {
        let count = memory(rng.below(3_000) + 1).min(rest.len());
        encoder.push(&rest[..count]);
        rest = &rest[count..];
    }
    (content, encoder)
}

fn heal(content: &[u8], parity: &[u8], shape: Shape) -> Option<Restored> {
    let mut healing = Healing::new(ParityFile::from_bytes(parity, &[])?);
    for cell in content.chunks(memory(shape.cell())) {
        healing.push(Some(cell));
    }
    Some(healing.finish())
}

/// Heals in place; true if everything is as it was.
fn restores(before: &[u8], damaged: &mut [u8], parity: &[u8], shape: Shape) -> bool {
    let Some(restored) = heal(damaged, parity, shape) else { return false };
    for (offset, cell) in &restored.cells {
        damaged[memory(*offset)..][..cell.len()].copy_from_slice(cell);
    }
    let mut whole = Encoder::new(shape);
    whole.push(before);
    restored.beyond.is_empty() && damaged == before && restored.encoder.to_file(7, [9; 32]) == whole.to_file(7, [9; 32])
}

#[test]
fn golden_bytes() {
    let mut encoder = Encoder::new(Shape { col_log2: 9, cell_log2: 9 });
    encoder.push(&[1; 512]);
    encoder.push(&[0x81; 512]);
    encoder.push(&[3; 100]);
    let bytes = encoder.to_file(0x0a0b, [0x44; 32]);
    let hex: String = bytes[..64].iter().map(|byte| format!("{byte:02x}")).collect();
    let expected =
        format!("4144495450415231 0100 0909 0b0a0000 03000000 00000000 6404000000000000 {}", "44".repeat(32));
    assert_eq!(hex, expected.replace(' ', ""));
    // P = 1 + 0x81 + 3, behind the third column's end 1 + 0x81; Q = 4 * 1 + 2 * 0x81 + 3 and the same without the 3.
    assert_eq!((bytes[PAGE], bytes[PAGE + 99], bytes[PAGE + 100]), (0x83, 0x83, 0x80));
    let twice = 0x02 ^ 0x1d;
    assert_eq!((bytes[PAGE + 512], bytes[PAGE + 612]), (4 ^ twice ^ 3, 4 ^ twice));
    let table = &bytes[PAGE + 1024..];
    assert_eq!(table.len(), 5 * 4 + 32);
    assert_eq!(crc32c::crc32c(b"123456789"), 0xe306_9283);
    assert_eq!(&table[8..12], &crc32c::crc32c(&[&[3; 100][..], &[0; 412]].concat()).to_le_bytes());
    assert_eq!(&table[20..], blake3::hash(&table[..20]).as_bytes());
    for at in 0..bytes.len() {
        let mut torn = bytes.clone();
        torn[at] ^= 4;
        assert!(ParityFile::from_bytes(&torn, &[]).is_none_or(|file| !file.is_whole()), "byte {at}");
    }
    for end in 0..bytes.len() {
        assert!(ParityFile::from_bytes(&bytes[..end], &[]).is_none(), "cut at {end}");
    }
}

#[test]
fn every_bit_comes_back() {
    let mut rng = Rng(1);
    for length in [0, 1, 511, 512, 513, 2_048, 2_049, 4_096, 4_097, 9_999] {
        let (content, encoder) = made(&mut rng, length, SHAPE);
        let parity = encoder.to_file(7, [9; 32]);
        for bit in 0..length * 8 {
            // Whole cells are restored, so one bit of each byte and all bits of some show the same.
            if bit % 8 != bit / 8 % 8 && bit / 8 % 512 != 77 {
                continue;
            }
            let mut damaged = content.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(restores(&content, &mut damaged, &parity, SHAPE), "bit {bit} of {length} bytes");
        }
    }
}

/// Any region of two columns less a cell, in the file or in P and Q, alone or beside one lost cell of the other kind's row.
#[test]
fn every_region_of_two_columns_less_a_cell_comes_back() {
    let mut rng = Rng(2);
    let longest = memory(2 * SHAPE.column() - SHAPE.cell());
    let mut regions = 0;
    for length in [700usize, 2_048, 3_000, 4_096, 10_240, 20_000] {
        let (content, encoder) = made(&mut rng, length, SHAPE);
        let parity = encoder.to_file(7, [9; 32]);
        let structural = (0..=length).step_by(256).flat_map(|at| [at.saturating_sub(1), at, at + 1]);
        let starts: Vec<usize> =
            structural.chain((0..RANDOM_REGIONS / 6).map(|_| memory(rng.below(length as u64)))).collect();
        for from in starts {
            let to = (from + longest).min(length);
            let from = from.min(to);
            let mut damaged = content.clone();
            damaged[from..to].iter_mut().for_each(|byte| *byte = !*byte);
            assert!(restores(&content, &mut damaged, &parity, SHAPE), "{from} to {to} of {length}");
            regions += 1;
            // One whole column beside a region of P or Q of the same size.
            let to = (from + memory(SHAPE.column())).min(length);
            let mut damaged = content.clone();
            damaged[from..to].iter_mut().for_each(|byte| *byte = !*byte);
            let height = length.min(memory(SHAPE.column()));
            let at = PAGE + if regions % 2 == 0 { 0 } else { height };
            let mut torn = parity.clone();
            torn[at..at + height].iter_mut().for_each(|byte| *byte ^= 0x55);
            // An unaligned region of a whole column touches the cells of one row twice.
            if (to - from) as u64 <= SHAPE.column() - SHAPE.cell() || from.is_multiple_of(memory(SHAPE.cell())) {
                assert!(restores(&content, &mut damaged, &torn, SHAPE), "{from} to {to} of {length}, parity {at}");
            }
        }
    }
    assert!(regions >= RANDOM_REGIONS, "{regions}");
}

#[test]
fn what_is_beyond_is_told_and_the_rest_comes_back() {
    let mut rng = Rng(3);
    let (content, encoder) = made(&mut rng, 10_000, SHAPE);
    let parity = encoder.to_file(7, [9; 32]);
    let mut damaged = content.clone();
    // Three columns lose the cell of row 0; one loses row 1 too.
    for offset in [0, 2_048, 4_096, 512] {
        damaged[offset] ^= 1;
    }
    let restored = heal(&damaged, &parity, SHAPE).expect("a parity file");
    assert_eq!(restored.beyond, [0, 2_048, 4_096]);
    assert_eq!(restored.cells, [(512, content[512..1_024].to_vec())]);
}

#[test]
fn it_goes_on_from_its_file() {
    let mut rng = Rng(4);
    for length in [512usize, 2_048, 4_096, 6_144, 7_168] {
        let (content, encoder) = made(&mut rng, length, SHAPE);
        let file = ParityFile::from_bytes(&encoder.to_file(7, [0; 32]), &[]).expect("a parity file");
        let mut resumed = Encoder::resume(file).expect("a whole one");
        let more = rng.bytes(5_000);
        resumed.push(&more);
        let mut whole = Encoder::new(SHAPE);
        whole.push(&[content, more].concat());
        assert_eq!(resumed.to_file(7, [1; 32]), whole.to_file(7, [1; 32]), "{length}");
    }
}

#[test]
fn what_the_disk_does_not_give_is_lost_even_if_it_was_zero() {
    let content = vec![0; 9_000];
    let mut encoder = Encoder::new(Shape { col_log2: 12, cell_log2: 12 });
    encoder.push(&content);
    let parity = encoder.to_file(7, [9; 32]);
    let file = ParityFile::from_bytes(&parity, &[PAGE as u64]).expect("P alone is lost");
    assert!(!file.is_whole());
    assert!(ParityFile::from_bytes(&parity, &[0]).is_none());
    let mut healing = Healing::new(file);
    for cell in [None, Some(&content[..4_096]), Some(&content[..808])] {
        healing.push(cell);
    }
    let restored = healing.finish();
    assert_eq!((restored.cells, restored.parity_damaged), (vec![(0, vec![0; 4_096])], true));
}

/// Processor time of this thread, seconds.
fn processor_s() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("a kernel that counts");
    text.split(' ').next().and_then(|text| text.parse::<f64>().ok()).expect("nanoseconds") / 1e9
}

/// What a backup pays for parity, beside the hash that it pays anyway: best of three, in processor time. A test is built
/// with less optimization than a release, where it is two thirds of this.
#[test]
fn it_costs_a_few_times_what_hashing_costs() {
    const BYTES: usize = 128 << 20;
    let content = Rng(5).bytes(1 << 20);
    let best = |work: &mut dyn FnMut()| {
        let times = (0..3).map(|_| {
            let since = processor_s();
            work();
            processor_s() - since
        });
        times.fold(f64::MAX, f64::min)
    };
    let parity = best(&mut || {
        let mut encoder = Encoder::new(Shape { col_log2: 22, cell_log2: 12 });
        (0..BYTES >> 20).for_each(|_| encoder.push(&content));
        assert_eq!(encoder.covered(), BYTES as u64);
    });
    let hash = best(&mut || {
        let mut hasher = blake3::Hasher::new();
        (0..BYTES >> 20).for_each(|_| {
            hasher.update(&content);
        });
        assert_ne!(hasher.finalize().as_bytes(), &[0; 32]);
    });
    let mut copy = vec![0; 1 << 20];
    let copying = best(&mut || {
        (0..BYTES >> 20).for_each(|_| std::hint::black_box(&mut copy).copy_from_slice(std::hint::black_box(&content)));
    });
    let rate = |seconds: f64| f64::from(1 << 27) / 1e9 / seconds;
    println!("parity {:.1} GB/s, BLAKE3 {:.1}, memcpy {:.1}", rate(parity), rate(hash), rate(copying));
    assert!(parity <= 8.0 * hash, "parity {parity} s, hash {hash} s");
}
