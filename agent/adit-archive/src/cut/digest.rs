// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The content cutter: a 128-bit polynomial digest of the last 64 bytes, a secret table, then AES-128.
//!
//! The digest is universal over a secret table, so that distinct windows meet the block cipher as distinct inputs; what
//! the cipher answers looks random to whoever sees the chunk lengths. A plain rolling hash would tell its key.

use super::{CHUNK_BYTES_AVG, CHUNK_BYTES_MAX, CHUNK_BYTES_MIN};
use crate::keys::CutKey;
use aes::Aes128;
use aes::cipher::{Array, BlockCipherEncrypt, KeyInit};
use std::fmt;

const CONTEXT_PRF: &str = "adit 2026 chunk cut prf v1";
const CONTEXT_TABLE: &str = "adit 2026 chunk cut table v1";
/// Bytes that a digest covers.
const WINDOW: usize = 64;
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
        let mut digest = 0u128;
        if data.len() <= CHUNK_BYTES_MIN {
            return None;
        }
        for byte in &data[CHUNK_BYTES_MIN - WINDOW..CHUNK_BYTES_MIN] {
            digest = times_x(digest) ^ self.enter[usize::from(*byte)];
        }
        let mut at = CHUNK_BYTES_MIN;
        loop {
            let mut block = Array::from(digest.to_le_bytes());
            self.prf.encrypt_block(&mut block);
            let mut low = [0u8; 8];
            low.copy_from_slice(&block[..8]);
            let mask = if at < CHUNK_BYTES_AVG { MASK_EARLY } else { MASK_LATE };
            if u64::from_le_bytes(low) & mask == 0 {
                return Some(at);
            }
            if at == data.len() {
                return None;
            }
            digest = times_x(digest) ^ self.enter[usize::from(data[at])] ^ self.leave[usize::from(data[at - WINDOW])];
            at += 1;
        }
    }
}

impl fmt::Debug for Cutter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cutter").finish_non_exhaustive()
    }
}

/// Multiplies by x modulo x^128 + x^7 + x^2 + x + 1.
const fn times_x(value: u128) -> u128 {
    (value << 1) ^ ((value >> 127) * 0x87)
}
