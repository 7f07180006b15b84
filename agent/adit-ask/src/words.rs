// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Foreign text made safe to keep and to show: bounded, without control characters. Numbers out of text, with their scale.
//! It never guesses: what is not a number is none.

use adit_health::show::rounded;

/// At most `max` bytes of a text, cut between characters, with control characters replaced by spaces.
#[must_use]
pub(crate) fn shortened(text: &str, max: usize) -> String {
    let mut kept = String::with_capacity(text.len().min(max));
    for character in text.trim().chars() {
        let character = if character.is_control() { ' ' } else { character };
        if kept.len() + character.len_utf8() > max {
            break;
        }
        kept.push(character);
    }
    kept
}

/// A decimal number times `scale`, rounded: `tenths("12.34", 10)` is 123. Trailing words, such as units, are left out.
#[must_use]
pub(crate) fn scaled(text: &str, scale: i32) -> Option<i64> {
    let number = text.split_whitespace().next()?.trim_end_matches('%');
    let value: f64 = number.parse().ok()?;
    rounded(value * f64::from(scale))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_bounded_and_printable() {
        assert_eq!(shortened("  a\x1b[31mb\n", 64), "a [31mb");
        assert_eq!(shortened("ää", 3), "ä");
        assert_eq!(shortened("", 3), "");
    }

    #[test]
    fn numbers_are_scaled_or_none() {
        assert_eq!(scaled("12.34", 10), Some(123));
        assert_eq!(scaled("98.0 Percent", 10), Some(980));
        assert_eq!(scaled("7%", 10), Some(70));
        assert_eq!(scaled("-0.4", 10), Some(-4));
        assert_eq!(
            [scaled("", 1), scaled("abc", 1), scaled("NaN", 1), scaled("inf", 1), scaled("1e300", 1)],
            [None; 5]
        );
    }
}
