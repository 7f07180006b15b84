// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Numbers and strings at a place of an answer. A place beyond its end is `None`, never a panic.

fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at.checked_add(N)?)?.try_into().ok()
}

pub(crate) fn u8_at(bytes: &[u8], at: usize) -> Option<u8> {
    bytes.get(at).copied()
}

pub(crate) fn le16(bytes: &[u8], at: usize) -> Option<u16> {
    array(bytes, at).map(u16::from_le_bytes)
}

pub(crate) fn le32(bytes: &[u8], at: usize) -> Option<u32> {
    array(bytes, at).map(u32::from_le_bytes)
}

pub(crate) fn le64(bytes: &[u8], at: usize) -> Option<u64> {
    array(bytes, at).map(u64::from_le_bytes)
}

/// A 128-bit counter; what is beyond 64 bits is more than a device can have done, and stands as the largest number.
pub(crate) fn le128(bytes: &[u8], at: usize) -> Option<u64> {
    array(bytes, at).map(|bytes| u64::try_from(u128::from_le_bytes(bytes)).unwrap_or(u64::MAX))
}

pub(crate) fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    array(bytes, at).map(u16::from_be_bytes)
}

pub(crate) fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    array(bytes, at).map(u32::from_be_bytes)
}

/// A number of 1 to 8 bytes, the highest first.
pub(crate) fn be_any(bytes: &[u8]) -> Option<u64> {
    (1..=8).contains(&bytes.len()).then(|| bytes.iter().fold(0, |number, byte| (number << 8) | u64::from(*byte)))
}

/// Text of a fixed field: printable ASCII, without blanks and zeros at its ends. Anything else becomes `?`.
pub(crate) fn text(bytes: &[u8], at: usize, len: usize) -> Option<String> {
    let field = bytes.get(at..at.checked_add(len)?)?;
    let printable = |byte: &u8| if (0x20..0x7f).contains(byte) { char::from(*byte) } else { '?' };
    let trimmed: String =
        field.iter().map(|byte| if *byte == 0 { b' ' } else { *byte }).map(|b| printable(&b)).collect();
    Some(trimmed.trim().to_owned())
}

/// Text of an ATA field: two characters a word, the first in the high byte (ACS-4, 3.4.9).
pub(crate) fn ata_text(bytes: &[u8], at: usize, len: usize) -> Option<String> {
    let field = bytes.get(at..at.checked_add(len)?)?;
    let swapped: Vec<u8> = field.chunks(2).flat_map(|pair| pair.iter().rev().copied()).collect();
    text(&swapped, 0, len)
}

/// Whether the bytes sum up to zero: the checksum of every ATA structure of 512 bytes.
pub(crate) fn sums_to_zero(bytes: &[u8]) -> bool {
    bytes.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_beyond_the_end_are_nothing() {
        let bytes = [1, 2, 3, 4, 5, 6, 7, 8];
        assert_eq!((le16(&bytes, 0), be16(&bytes, 0)), (Some(0x0201), Some(0x0102)));
        assert_eq!((le32(&bytes, 4), be32(&bytes, 4)), (Some(0x0807_0605), Some(0x0506_0708)));
        assert_eq!((le64(&bytes, 0), le64(&bytes, 1)), (Some(0x0807_0605_0403_0201), None));
        assert_eq!((le32(&bytes, 5), le16(&bytes, usize::MAX), u8_at(&bytes, 8)), (None, None, None));
        assert_eq!(le128(&[0xff; 16], 0), Some(u64::MAX));
        assert_eq!((be_any(&bytes[..3]), be_any(&[]), be_any(&[0; 9])), (Some(0x01_0203), None, None));
    }

    #[test]
    fn texts_lose_their_padding_and_nothing_else() {
        assert_eq!(text(b"  a b\0\0", 0, 7).as_deref(), Some("a b"));
        assert_eq!(text(b"a\x07b\xffc", 0, 5).as_deref(), Some("a?b?c"));
        assert_eq!(ata_text(b"BADC E", 0, 6).as_deref(), Some("ABCDE"));
        assert_eq!(text(b"abc", 1, 3), None);
    }
}
