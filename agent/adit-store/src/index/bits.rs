// SPDX-License-Identifier: Apache-2.0 OR MIT
//! One bit per record number.

/// A growing bitmap; bits behind its end are clear.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Bitmap {
    words: Vec<u64>,
}

impl Bitmap {
    const fn place(number: u32) -> (usize, u64) {
        ((number / 64) as usize, 1 << (number % 64))
    }

    pub(crate) fn get(&self, number: u32) -> bool {
        let (word, bit) = Self::place(number);
        self.words.get(word).is_some_and(|word| word & bit != 0)
    }

    pub(crate) fn set(&mut self, number: u32) {
        let (word, bit) = Self::place(number);
        if self.words.len() <= word {
            self.words.resize(word + 1, 0);
        }
        self.words[word] |= bit;
    }

    pub(crate) fn clear(&mut self, number: u32) {
        let (word, bit) = Self::place(number);
        if let Some(word) = self.words.get_mut(word) {
            *word &= !bit;
        }
    }

    pub(crate) fn count(&self) -> u64 {
        self.words.iter().map(|word| u64::from(word.count_ones())).sum()
    }

    /// The set numbers, ascending.
    #[cfg(test)]
    pub(crate) fn iter(&self) -> impl Iterator<Item = u32> {
        self.words.iter().zip(0u32..).flat_map(|(word, place)| {
            let word = *word;
            (0..64).filter(move |bit| word >> bit & 1 == 1).map(move |bit| place * 64 + bit)
        })
    }

    /// All words, for the marks file.
    pub(crate) fn write(&self, words: usize, to: &mut Vec<u8>) {
        for place in 0..words {
            to.extend_from_slice(&self.words.get(place).copied().unwrap_or(0).to_le_bytes());
        }
    }

    /// Words as written.
    pub(crate) fn read(bytes: &[u8]) -> Self {
        let words = bytes.as_chunks::<8>().0.iter().map(|word| u64::from_le_bytes(*word)).collect();
        Self { words }
    }
}

#[cfg(test)]
mod tests {
    use super::Bitmap;

    #[test]
    fn bits_are_kept() {
        let mut bits = Bitmap::default();
        for number in [0, 63, 64, 200] {
            assert!(!bits.get(number));
            bits.set(number);
            assert!(bits.get(number));
        }
        bits.clear(63);
        bits.clear(9_999);
        assert_eq!(bits.iter().collect::<Vec<_>>(), [0, 64, 200]);
        assert_eq!(bits.count(), 3);
        let mut bytes = Vec::new();
        bits.write(4, &mut bytes);
        assert_eq!(Bitmap::read(&bytes).iter().collect::<Vec<_>>(), [0, 64, 200]);
    }
}
