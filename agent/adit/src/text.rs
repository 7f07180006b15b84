// SPDX-License-Identifier: Apache-2.0 OR MIT
//! How numbers, times and ids look to a person, and how they are read back.

use adit_wire::ids::{PublicKey, SourceId};
use data_encoding::HEXLOWER_PERMISSIVE;
use std::fmt::Display;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Lines of text that grow.
pub trait Lines {
    /// Adds one line.
    fn line(&mut self, line: impl Display);
    /// Adds to the last line.
    fn add(&mut self, part: impl Display);
}

impl Lines for String {
    fn line(&mut self, line: impl Display) {
        self.add(line);
        self.push('\n');
    }

    fn add(&mut self, part: impl Display) {
        use std::fmt::Write as _;
        write!(self, "{part}").expect("a string takes everything");
    }
}

/// Seconds since 1970 by this machine's clock.
#[must_use]
pub fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Fills a buffer from the system's random source.
///
/// # Panics
/// When the system has no randomness to give: nothing that adit does is safe then.
pub fn fill_random(buffer: &mut [u8]) {
    aws_lc_rs::rand::fill(buffer).expect("the system gives random bytes");
}

/// Bytes as a person reads them: "1.4 MB".
#[must_use]
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["kB", "MB", "GB", "TB", "PB"];
    if count < 1000 {
        return format!("{count} B");
    }
    let mut scaled = u128::from(count) * 10 / 1000;
    let mut unit = 0;
    while scaled >= 10_000 && unit + 1 < UNITS.len() {
        scaled /= 1000;
        unit += 1;
    }
    format!("{}.{} {}", scaled / 10, scaled % 10, UNITS[unit])
}

/// A count with thin groups: "12 345".
#[must_use]
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

/// A duration as a person reads it: "4.2 s", "3 min 5 s", "2 h 10 min".
#[must_use]
pub fn duration(span: Duration) -> String {
    let seconds = span.as_secs();
    match seconds {
        0..60 => format!("{}.{} s", seconds, span.subsec_millis() / 100),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3600..172_800 => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}

/// Reads "90s", "15m", "3h", "14d" or bare seconds.
///
/// # Errors
/// When the text is no duration.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is no duration; write 90s, 15m, 3h or 14d");
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let factor = match unit {
        "" | "s" => 1,
        "m" | "min" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return Err(wrong()),
    };
    number.checked_mul(factor).map(Duration::from_secs).ok_or_else(wrong)
}

/// A time in the machine's zone: "2026-11-22 07:55:01".
#[must_use]
pub fn time(seconds: u64) -> String {
    i64::try_from(seconds).ok().and_then(|s| jiff::Timestamp::from_second(s).ok()).map_or_else(
        || format!("@{seconds}"),
        |stamp| stamp.to_zoned(jiff::tz::TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S").to_string(),
    )
}

/// A public key from its 64 hex digits; spaces and dashes between groups, as on the sheet, are skipped.
#[must_use]
pub fn public_key(text: &str) -> Option<PublicKey> {
    hex(text).and_then(|bytes| PublicKey::from_slice(&bytes))
}

/// A source id from its 32 hex digits.
#[must_use]
pub fn source_id(text: &str) -> Option<SourceId> {
    hex(text).and_then(|bytes| SourceId::from_slice(&bytes))
}

/// Bytes from hex digits; spaces and dashes are skipped.
#[must_use]
pub fn hex(text: &str) -> Option<Vec<u8>> {
    let digits: String = text.chars().filter(|c| !c.is_whitespace() && *c != '-').collect();
    HEXLOWER_PERMISSIVE.decode(digits.as_bytes()).ok()
}

/// Bytes as hex digits.
#[must_use]
pub fn to_hex(bytes: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(bytes)
}

/// The short name of a snapshot: the first 12 hex digits of its head.
#[must_use]
pub fn short(head: &adit_wire::ids::Id) -> String {
    to_hex(&head.0[..6])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        let texts = [0, 999, 1000, 1449, 999_999, 1_000_000, 22_400_000_000].map(bytes);
        assert_eq!(texts, ["0 B", "999 B", "1.0 kB", "1.4 kB", "999.9 kB", "1.0 MB", "22.4 GB"]);
        assert_eq!([0, 999, 1000, 1_234_567].map(count), ["0", "999", "1 000", "1 234 567"]);
    }

    #[test]
    fn durations() {
        let texts = [4_250, 185_000, 7_800_000, 200_000_000].map(|ms| duration(Duration::from_millis(ms)));
        assert_eq!(texts, ["4.2 s", "3 min 5 s", "2 h 10 min", "2 d 7 h"]);
        let read = ["90s", "15m", "3h", "14d", "7"].map(|text| parse_duration(text).unwrap().as_secs());
        assert_eq!(read, [90, 900, 10_800, 1_209_600, 7]);
        for wrong in ["", "h", "3 h", "3x", "99999999999999999999d"] {
            assert!(parse_duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn keys() {
        let key = PublicKey([0xab; 32]);
        assert_eq!(public_key(&key.to_string()), Some(key));
        assert_eq!(public_key(&"ABAB abab-".repeat(8)), Some(key));
        assert_eq!(public_key("ab"), None);
        assert_eq!(public_key("zz"), None);
    }
}
