// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Ledger blocks: whole multiples of 4,096 bytes, chained by hash so that the chain can be checked from digests alone.

use super::entry::Entry;
use crate::bytes::{Fields, PAGE, PAGE_U64, align, memory, narrow};
use adit_wire::ids::LedgerHash;

const MAGIC: &[u8; 8] = b"ADITLDG1";
const HEAD_BYTES: usize = 64;
const HASH_BYTES: usize = 32;
/// Longest block. A checkpoint is split into parts far below it.
pub(crate) const BLOCK_BYTES_MAX: u64 = 1 << 20;

/// A block whose hash was checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Block {
    pub(crate) number: u64,
    pub(crate) wall_s: u64,
    pub(crate) prev: LedgerHash,
    pub(crate) hash: LedgerHash,
    pub(crate) bytes: Vec<u8>,
}

impl Block {
    /// magic | number u64 | bytes u32 | entries u32 | wall time u64 | prev 32 | entries | zeros | hash 32.
    pub(crate) fn build(number: u64, wall_s: u64, prev: LedgerHash, entries: &[Entry]) -> Self {
        let mut bytes = Vec::with_capacity(PAGE);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&number.to_le_bytes());
        bytes.extend_from_slice(&0u32.to_le_bytes());
        bytes.extend_from_slice(&narrow(entries.len()).to_le_bytes());
        bytes.extend_from_slice(&wall_s.to_le_bytes());
        bytes.extend_from_slice(&prev.0);
        for entry in entries {
            entry.write(&mut bytes);
        }
        let whole = align((bytes.len() + HASH_BYTES) as u64, PAGE_U64);
        assert!(whole <= BLOCK_BYTES_MAX, "entries of one block stay far below the limit");
        bytes.resize(memory(whole) - HASH_BYTES, 0);
        bytes[16..20].copy_from_slice(&narrow(memory(whole)).to_le_bytes());
        let hash = chain(&prev, &bytes);
        bytes.extend_from_slice(&hash.0);
        Self { number, wall_s, prev, hash, bytes }
    }

    /// The length that a block's first bytes state, if they look like one.
    pub(crate) fn stated_bytes(head: &[u8]) -> Option<u64> {
        let mut fields = Fields::new(head);
        if fields.bytes(8)? != MAGIC {
            return None;
        }
        fields.u64()?;
        let bytes = u64::from(fields.u32()?);
        (bytes > 0 && bytes.is_multiple_of(PAGE_U64) && bytes <= BLOCK_BYTES_MAX).then_some(bytes)
    }

    /// Reads a whole block and checks its hash.
    pub(crate) fn parse(bytes: Vec<u8>) -> Option<Self> {
        if Self::stated_bytes(&bytes)? != bytes.len() as u64 {
            return None;
        }
        let (body, hash) = bytes.split_last_chunk::<HASH_BYTES>()?;
        let mut fields = Fields::new(body);
        fields.bytes(8)?;
        let number = fields.u64()?;
        fields.bytes(8)?;
        let wall_s = fields.u64()?;
        let prev = LedgerHash(fields.array()?);
        let hash = LedgerHash(*hash);
        (chain(&prev, body) == hash).then_some(Self { number, wall_s, prev, hash, bytes })
    }

    /// How many entries it has, and their bytes.
    pub(crate) fn entries(&self) -> (u32, &[u8]) {
        let mut count = [0; 4];
        count.copy_from_slice(&self.bytes[20..24]);
        (u32::from_le_bytes(count), &self.bytes[HEAD_BYTES..self.bytes.len() - HASH_BYTES])
    }
}

fn chain(prev: &LedgerHash, rest: &[u8]) -> LedgerHash {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&prev.0).update(blake3::hash(rest).as_bytes());
    LedgerHash(*hasher.finalize().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::Block;
    use crate::ledger::entry::{DropEntry, Entry};
    use adit_wire::ids::LedgerHash;

    #[test]
    fn golden_bytes() {
        let block = Block::build(3, 5, LedgerHash([7; 32]), &[Entry::Drop(DropEntry { segment: 1 })]);
        let hex: String = block.bytes[..73].iter().map(|byte| format!("{byte:02x}")).collect();
        let expected = format!(
            "4144495 44c444731 0300000000000000 00100000 01000000 0500000000000000 {} 0f00010101000000 01",
            "07".repeat(32)
        );
        assert_eq!(hex, expected.replace(' ', ""));
        assert_eq!(block.bytes.len(), 4096);
        let mut message = vec![7; 32];
        message.extend_from_slice(blake3::hash(&block.bytes[..4064]).as_bytes());
        assert_eq!(&block.hash.0, blake3::hash(&message).as_bytes());
        assert_eq!(Block::parse(block.bytes.clone()), Some(block.clone()));
        for at in 0..block.bytes.len() {
            let mut torn = block.bytes.clone();
            torn[at] ^= 2;
            assert_eq!(Block::parse(torn), None, "byte {at}");
        }
    }
}
