// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The marks file: up to where an index generation is right, and what of it does not fit tables. Replaced whole.

use super::bits::Bitmap;
use crate::bytes::memory;
use serde::{Deserialize, Serialize};

/// The head of the file; three bitmaps and a hash follow it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Marks {
    pub(crate) version: u16,
    pub(crate) generation: u32,
    /// Ranges set aside up to this ledger block are in the bits.
    pub(crate) ledger_block: u64,
    pub(crate) ledger_hash: [u8; 32],
    /// Every record that arrived before this is in a table.
    pub(crate) next_arrival: u64,
    /// Numbers given so far.
    pub(crate) numbers: u32,
    /// First number and count of each table, ascending.
    pub(crate) tables: Vec<(u32, u32)>,
    /// Places of records that were healed after their table was written.
    pub(crate) healed: Vec<(u32, [u8; 20])>,
    /// Records and bytes of each source.
    pub(crate) totals: Vec<(u32, u64, u64)>,
    /// Words of each bitmap; filled in when written.
    pub(crate) words: u32,
}

pub(crate) const VERSION: u16 = 1;

impl Marks {
    /// head length u32 | head | present | bad | complete | BLAKE3.
    pub(crate) fn to_bytes(&self, bitmaps: [&Bitmap; 3]) -> Vec<u8> {
        let words = self.numbers.div_ceil(64);
        let head = Self { version: VERSION, words, ..self.clone() };
        let head = postcard::to_stdvec(&head).expect("marks encode into memory");
        let mut bytes = crate::bytes::narrow(head.len()).to_le_bytes().to_vec();
        bytes.extend_from_slice(&head);
        for bitmap in bitmaps {
            bitmap.write(memory(words.into()), &mut bytes);
        }
        let hash = blake3::hash(&bytes);
        bytes.extend_from_slice(hash.as_bytes());
        bytes
    }

    /// Reads a whole marks file.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<(Self, [Bitmap; 3])> {
        let (body, hash) = bytes.split_last_chunk::<32>()?;
        if blake3::hash(body).as_bytes() != hash {
            return None;
        }
        let (length, rest) = body.split_first_chunk::<4>()?;
        let (head, bits) = rest.split_at_checked(memory(u32::from_le_bytes(*length).into()))?;
        let head: Self = postcard::from_bytes(head).ok()?;
        let each = memory(head.words.into()) * 8;
        if head.version != VERSION || bits.len() != each * 3 {
            return None;
        }
        let bitmap = |place: usize| Bitmap::read(&bits[place * each..(place + 1) * each]);
        Some((head, [bitmap(0), bitmap(1), bitmap(2)]))
    }
}

#[cfg(test)]
mod tests {
    use super::Marks;
    use crate::index::bits::Bitmap;

    #[test]
    fn round_trip_and_damage() {
        let mut present = Bitmap::default();
        present.set(70);
        let marks = Marks { generation: 3, numbers: 71, tables: vec![(0, 71)], ..Marks::default() };
        let bytes = marks.to_bytes([&present, &Bitmap::default(), &present]);
        let (read, [got, bad, _]) = Marks::from_bytes(&bytes).expect("marks that were just written");
        assert_eq!((read.generation, read.numbers, read.tables), (3, 71, vec![(0, 71)]));
        assert_eq!((got, bad.count()), (present, 0));
        for at in 0..bytes.len() {
            let mut torn = bytes.clone();
            torn[at] ^= 1;
            assert!(Marks::from_bytes(&torn).is_none(), "byte {at}");
        }
    }
}
