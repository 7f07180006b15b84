// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The field of 256 elements over x^8 + x^4 + x^3 + x^2 + 1, in loops that a compiler turns into vector code by itself.

/// The polynomial without its highest term.
const POLYNOMIAL: u8 = 0x1d;

/// `to += from`.
pub(super) fn add(to: &mut [u8], from: &[u8]) {
    let (words, rest) = to.as_chunks_mut::<8>();
    let (from_words, from_rest) = from.as_chunks::<8>();
    for (to, from) in words.iter_mut().zip(from_words) {
        *to = (u64::from_le_bytes(*to) ^ u64::from_le_bytes(*from)).to_le_bytes();
    }
    for (to, from) in rest.iter_mut().zip(from_rest) {
        *to ^= from;
    }
}

/// `bytes *= 2`.
pub(super) fn double(bytes: &mut [u8]) {
    const HIGH: u64 = 0x8080_8080_8080_8080;
    let (words, rest) = bytes.as_chunks_mut::<8>();
    for bytes in words {
        let word = u64::from_le_bytes(*bytes);
        let carry = (word & HIGH) >> 7;
        // The polynomial's bits 4, 3, 2 and 0, in each byte that carries.
        let carry = carry << 4 ^ carry << 3 ^ carry << 2 ^ carry;
        *bytes = (((word & !HIGH) << 1) ^ carry).to_le_bytes();
    }
    for byte in rest {
        *byte = twice(*byte);
    }
}

const fn twice(byte: u8) -> u8 {
    let carry = if byte & 0x80 == 0 { 0 } else { POLYNOMIAL };
    (byte << 1) ^ carry
}

/// 2 to the power of `exponent`.
pub(super) fn power(exponent: u64) -> u8 {
    (0..exponent % 255).fold(1, |value, _| twice(value))
}

fn product(a: u8, b: u8) -> u8 {
    let mut sum = 0;
    let mut term = a;
    for bit in 0..8 {
        if b >> bit & 1 == 1 {
            sum ^= term;
        }
        term = twice(term);
    }
    sum
}

/// Products of every byte with one factor.
fn table(factor: u8) -> [u8; 256] {
    let mut table = [0; 256];
    for (value, byte) in table.iter_mut().zip(0..=u8::MAX) {
        *value = product(byte, factor);
    }
    table
}

/// `to += factor * from`.
pub(super) fn add_times(to: &mut [u8], from: &[u8], factor: u8) {
    let table = table(factor);
    for (to, from) in to.iter_mut().zip(from) {
        *to ^= table[usize::from(*from)];
    }
}

/// `bytes /= divisor`, which is not zero.
pub(super) fn divide(bytes: &mut [u8], divisor: u8) {
    // Every element but zero is 1 to the power of 255.
    let inverse = (0..254).fold(1, |value, _| product(value, divisor));
    let table = table(inverse);
    for byte in bytes {
        *byte = table[usize::from(*byte)];
    }
}

#[cfg(test)]
mod tests {
    use super::{add_times, divide, double, power, product};

    #[test]
    fn a_field() {
        assert_eq!((product(0x80, 2), product(2, 0x8e), power(8), power(255)), (0x1d, 1, 0x1d, 1));
        for value in 1..=u8::MAX {
            let mut bytes = [value, product(value, 77)];
            divide(&mut bytes, value);
            assert_eq!(bytes, [1, 77]);
            let bytes: [u8; 11] = std::array::from_fn(|place| value.wrapping_add(place.to_le_bytes()[0]));
            let (mut twice, mut sum) = (bytes, [0; 11]);
            double(&mut twice);
            add_times(&mut sum, &bytes, 2);
            assert_eq!(twice, sum);
        }
        let powers: std::collections::BTreeSet<u8> = (0..255).map(power).collect();
        assert_eq!(powers.len(), 255);
    }
}
