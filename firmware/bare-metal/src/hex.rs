// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Bytes from lower-case hexadecimal text, without a heap.

/// Fills the begin of `out`; answers that part.
pub(crate) fn decode<'o>(text: &str, out: &'o mut [u8]) -> &'o [u8] {
    let digits = text.as_bytes();
    let count = digits.len() / 2;
    for (out, pair) in out[..count].iter_mut().zip(digits.chunks_exact(2)) {
        *out = digit(pair[0]) << 4 | digit(pair[1]);
    }
    &out[..count]
}

fn digit(text: u8) -> u8 {
    match text {
        b'0'..=b'9' => text - b'0',
        b'a'..=b'f' => text - b'a' + 10,
        _ => panic!("no hexadecimal digit"),
    }
}
