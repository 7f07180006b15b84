// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The content cutter: a 128-bit polynomial digest of the last 64 bytes, a secret table, then AES-128.
//!
//! The digest is universal over a secret table, so that distinct windows meet the block cipher as distinct inputs; what
//! the cipher answers looks random to whoever sees the chunk lengths. A plain rolling hash would tell its key.

use super::{CHUNK_BYTES_AVG, CHUNK_BYTES_MAX, CHUNK_BYTES_MIN};
use crate::keys::CutKey;
use aes::Aes128;
use aes::cipher::consts::U16;
use aes::cipher::typenum::Unsigned;
use aes::cipher::{Array, BlockCipherEncBackend, BlockCipherEncClosure, BlockCipherEncrypt, BlockSizeUser, KeyInit};
use std::array::from_fn;
use std::fmt;
use zeroize::Zeroize as _;

const CONTEXT_PRF: &str = "adit 2026 chunk cut prf v1";
const CONTEXT_TABLE: &str = "adit 2026 chunk cut table v1";
/// Bytes that a digest covers.
const WINDOW: usize = 64;
/// Strips that are scanned side by side.
const LANES: usize = 2;
/// Positions of one strip. What is scanned behind a cut is wasted, and so is each strip's first digest.
const STRIP: usize = 2 << 10;
/// Positions that are encrypted together where the cipher is bit-sliced.
const BATCH: usize = 64;
/// Ciphers that take fewer blocks at once are bit-sliced; those with AES instructions take eight or more.
const SLICED_BLOCKS_BELOW: usize = 8;
/// Low bits that must be zero before the average length is reached: four times rarer than the average.
const MASK_EARLY: u64 = (1 << 20) - 1;
/// Low bits that must be zero behind it: four times more often.
const MASK_LATE: u64 = (1 << 16) - 1;

/// Finds chunk boundaries. It holds no state between calls and may be shared by threads.
pub struct Cutter {
    /// T: what a byte adds.
    enter: Box<[u128; 256]>,
    /// x^64·T: what a byte takes away when it leaves the window.
    leave: Box<[u128; 256]>,
    prf: Aes128,
}

impl Cutter {
    /// The boundaries of one source.
    #[must_use]
    pub fn new(key: &CutKey) -> Self {
        let prf_key = key.0.derive(CONTEXT_PRF);
        let mut half = [0u8; 16];
        half.copy_from_slice(&prf_key.expose()[..16]);
        let mut table = blake3::Hasher::new_derive_key(CONTEXT_TABLE).update(key.0.expose()).finalize_xof();
        let mut enter = Box::new([0u128; 256]);
        let mut leave = Box::new([0u128; 256]);
        for (enter, leave) in enter.iter_mut().zip(leave.iter_mut()) {
            let mut bytes = [0u8; 16];
            table.fill(&mut bytes);
            *enter = u128::from_le_bytes(bytes);
            *leave = (0..WINDOW).fold(*enter, |value, _| times_x(value));
        }
        Self { enter, leave, prf: Aes128::new(&Array::from(half)) }
    }

    /// The length of the chunk that begins at `data`: `None` when more bytes are needed to tell, which never happens with
    /// [`CHUNK_BYTES_MAX`] bytes, or when there is nothing left. `last` says that the content ends with `data`.
    #[must_use]
    pub fn next_cut(&self, data: &[u8], last: bool) -> Option<usize> {
        let data = &data[..data.len().min(CHUNK_BYTES_MAX)];
        if let Some(cut) = self.search(data) {
            return Some(cut);
        }
        let ends = data.len() == CHUNK_BYTES_MAX || (last && !data.is_empty());
        ends.then_some(data.len())
    }

    fn search(&self, data: &[u8]) -> Option<usize> {
        if data.len() < CHUNK_BYTES_MIN {
            return None;
        }
        let mut cut = None;
        self.prf.encrypt_with_backend(Search { cutter: self, data, cut: &mut cut });
        cut
    }

    /// Σ x^(63−j)·T[b_j] over the 64 bytes before a position.
    #[inline(always)]
    fn digest(&self, window: &[u8; WINDOW]) -> u128 {
        window.iter().fold(0, |digest, byte| times_x(digest) ^ self.enter[usize::from(*byte)])
    }

    /// The digest one position on.
    #[inline(always)]
    fn roll(&self, digest: u128, enter: u8, leave: u8) -> u128 {
        times_x(digest) ^ self.enter[usize::from(enter)] ^ self.leave[usize::from(leave)]
    }
}

/// A search for the first cut. It runs inside the block cipher's dispatch, so that all of it is compiled for the
/// processor's AES instructions and nothing is called per block.
struct Search<'a> {
    cutter: &'a Cutter,
    data: &'a [u8],
    cut: &'a mut Option<usize>,
}

impl BlockSizeUser for Search<'_> {
    type BlockSize = U16;
}

impl BlockCipherEncClosure for Search<'_> {
    #[inline(always)]
    fn call<B: BlockCipherEncBackend<BlockSize = U16>>(self, backend: &B) {
        *self.cut = self.search(backend);
    }
}

impl Search<'_> {
    #[inline(always)]
    fn search<B: BlockCipherEncBackend<BlockSize = U16>>(&self, backend: &B) -> Option<usize> {
        // A bit-sliced cipher costs the same for one block as for its four: it gets them together.
        let sliced = B::ParBlocksSize::USIZE < SLICED_BLOCKS_BELOW;
        let mut at = CHUNK_BYTES_MIN;
        while at + LANES * STRIP <= self.data.len() {
            let cut = if sliced { self.batched(backend, at) } else { self.fused(backend, at) };
            if cut.is_some() {
                return cut;
            }
            at += LANES * STRIP;
        }
        self.one_by_one(backend, at)
    }

    /// The first cut among the positions of [`LANES`] strips from `start`. The strips do not wait for each other: the
    /// digest of one position needs that of the position before, so one strip alone leaves the processor idle.
    #[inline(always)]
    fn fused<B: BlockCipherEncBackend<BlockSize = U16>>(&self, backend: &B, start: usize) -> Option<usize> {
        let mut found = [None; LANES];
        let at: [usize; LANES] = from_fn(|lane| start + lane * STRIP);
        let mut digests: [u128; LANES] = from_fn(|lane| self.cutter.digest(window(self.data, at[lane])));
        let enter: [&[u8; STRIP]; LANES] = from_fn(|lane| strip(self.data, at[lane]));
        let leave: [&[u8; STRIP]; LANES] = from_fn(|lane| strip(self.data, at[lane] - WINDOW));
        for i in 0..STRIP {
            for lane in 0..LANES {
                let mut block = block(digests[lane]);
                backend.encrypt_block((&mut block).into());
                if low_bits(&block) & MASK_LATE == 0 && found[lane].is_none() && is_cut(&block, at[lane] + i) {
                    found[lane] = Some(at[lane] + i);
                }
                digests[lane] = self.cutter.roll(digests[lane], enter[lane][i], leave[lane][i]);
            }
        }
        found.into_iter().flatten().next()
    }

    /// The same with as many blocks in one call as the cipher likes.
    #[inline(always)]
    fn batched<B: BlockCipherEncBackend<BlockSize = U16>>(&self, backend: &B, start: usize) -> Option<usize> {
        let mut digest = self.cutter.digest(window(self.data, start));
        let (enter, leave) = (&self.data[start..], &self.data[start - WINDOW..]);
        for step in (0..LANES * STRIP).step_by(BATCH) {
            let mut blocks = [Block::default(); BATCH];
            for (i, to) in blocks.iter_mut().enumerate() {
                *to = block(digest);
                digest = self.cutter.roll(digest, enter[step + i], leave[step + i]);
            }
            let (groups, _) = Array::<Block, B::ParBlocksSize>::slice_as_chunks_mut(&mut blocks);
            for group in groups {
                backend.encrypt_par_blocks(group.into());
            }
            let at = start + step;
            if let Some((i, _)) = blocks.iter().enumerate().find(|(i, block)| is_cut(block, at + i)) {
                return Some(at + i);
            }
        }
        None
    }

    /// What is left behind the last whole strips.
    #[inline(always)]
    fn one_by_one<B: BlockCipherEncBackend<BlockSize = U16>>(&self, backend: &B, start: usize) -> Option<usize> {
        let mut digest = self.cutter.digest(window(self.data, start));
        for at in start..=self.data.len() {
            let mut block = block(digest);
            backend.encrypt_block((&mut block).into());
            if is_cut(&block, at) {
                return Some(at);
            }
            if let Some(enter) = self.data.get(at) {
                digest = self.cutter.roll(digest, *enter, self.data[at - WINDOW]);
            }
        }
        None
    }
}

type Block = aes::Block;

#[inline(always)]
fn block(digest: u128) -> Block {
    Array::from(digest.to_le_bytes())
}

/// The bytes that the digest at `at` covers.
#[inline(always)]
fn window(data: &[u8], at: usize) -> &[u8; WINDOW] {
    data[at - WINDOW..].first_chunk().expect("the digest's bytes lie before its position")
}

#[inline(always)]
fn strip(data: &[u8], at: usize) -> &[u8; STRIP] {
    data[at..].first_chunk().expect("strips end before the data does")
}

#[inline(always)]
fn low_bits(block: &Block) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = block.0;
    u64::from_le_bytes([a, b, c, d, e, f, g, h])
}

#[inline(always)]
fn is_cut(block: &Block, at: usize) -> bool {
    let mask = if at < CHUNK_BYTES_AVG { MASK_EARLY } else { MASK_LATE };
    low_bits(block) & mask == 0
}

impl Drop for Cutter {
    fn drop(&mut self) {
        // Whoever knows the table and sees chunk lengths can confirm guesses of content.
        self.enter.zeroize();
        self.leave.zeroize();
    }
}

impl fmt::Debug for Cutter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cutter").finish_non_exhaustive()
    }
}

/// Multiplies by x modulo x^128 + x^7 + x^2 + x + 1.
#[inline(always)]
const fn times_x(value: u128) -> u128 {
    (value << 1) ^ ((value.cast_signed() >> 127).cast_unsigned() & 0x87)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::Seed;

    /// Runs one of the two searches over whole strips, whatever cipher this processor has.
    struct Run<'a, 'b> {
        search: &'a Search<'b>,
        starts: &'a [usize],
        found: &'a mut Vec<[Option<usize>; 3]>,
    }

    impl BlockSizeUser for Run<'_, '_> {
        type BlockSize = U16;
    }

    impl BlockCipherEncClosure for Run<'_, '_> {
        fn call<B: BlockCipherEncBackend<BlockSize = U16>>(self, backend: &B) {
            for start in self.starts {
                let within = |cut: &usize| *cut < start + LANES * STRIP;
                self.found.push([
                    self.search.fused(backend, *start),
                    self.search.batched(backend, *start),
                    self.search.one_by_one(backend, *start).filter(within),
                ]);
            }
        }
    }

    /// A processor has AES instructions or not: what it never runs is compared here with what it does.
    #[test]
    fn every_way_to_search_finds_the_same() {
        let cutter = Cutter::new(&Seed::new([3; 32]).cut_key());
        let mut data = vec![0; 1 << 20];
        blake3::Hasher::new().update(b"ways").finalize_xof().fill(&mut data);
        let starts: Vec<usize> = (CHUNK_BYTES_AVG..data.len() - LANES * STRIP).step_by(LANES * STRIP - 100).collect();
        let mut found = Vec::new();
        let search = Search { cutter: &cutter, data: &data, cut: &mut None };
        cutter.prf.encrypt_with_backend(Run { search: &search, starts: &starts, found: &mut found });
        assert!(found.iter().all(|[fused, batched, single]| fused == batched && batched == single), "{found:?}");
        assert!(found.iter().filter(|ways| ways[0].is_some()).count() > 3, "there are cuts to compare");
    }
}
