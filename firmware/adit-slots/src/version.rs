// SPDX-License-Identifier: Apache-2.0 OR MIT
//! An image's version: three ordered numbers, as text for people and as text of fixed width for file names.
//!
//! Fixed width keeps the order of names equal to the order of versions, and every slot file's name at one length.

use crate::bytes::{Reader, Short};
use core::fmt;

/// Which image, ordered: major first, then minor, then patch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Version {
    /// Raised when an update needs a person's attention.
    pub major: u16,
    /// Raised when something is new.
    pub minor: u16,
    /// Raised with every build that is handed out.
    pub patch: u32,
}

/// Why text is no version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum VersionError {
    /// Not three numbers with dots between.
    #[error("a version is three numbers with dots, as in 1.2.3")]
    Form,
    /// A number above [`Version::FILE_PART_MAX`] cannot stand in a file name.
    #[error("no part of a version may be above {}", Version::FILE_PART_MAX)]
    Part,
}

impl Version {
    /// Bytes on disk: major u16, minor u16, patch u32, little-endian.
    pub const BYTES: usize = 8;
    /// Length of the text in a file name.
    pub const FILE_TEXT_BYTES: usize = 11;
    /// Largest part that a file name can carry.
    pub const FILE_PART_MAX: u32 = 999;

    /// The version of three numbers.
    #[must_use]
    pub const fn new(major: u16, minor: u16, patch: u32) -> Self {
        Self { major, minor, patch }
    }

    /// Reads `1.2.3`.
    ///
    /// # Errors
    /// When it is not three plain decimal numbers that fit; leading zeros and signs are refused.
    pub fn parse(text: &str) -> Result<Self, VersionError> {
        let mut parts = text.split('.');
        let mut next = || parts.next().and_then(number).ok_or(VersionError::Form);
        let (major, minor, patch) = (next()?, next()?, next()?);
        if parts.next().is_some() {
            return Err(VersionError::Form);
        }
        let narrow = |part: u32| u16::try_from(part).map_err(|_| VersionError::Form);
        Ok(Self::new(narrow(major)?, narrow(minor)?, patch))
    }

    /// The text in a file name: `001.002.003`.
    ///
    /// # Errors
    /// [`VersionError::Part`] when a number has more than three digits; whoever builds an image refuses it then.
    pub fn file_text(self) -> Result<[u8; Self::FILE_TEXT_BYTES], VersionError> {
        let [a, b, c] = digits(u32::from(self.major))?;
        let [d, e, f] = digits(u32::from(self.minor))?;
        let [g, h, i] = digits(self.patch)?;
        Ok([a, b, c, b'.', d, e, f, b'.', g, h, i])
    }

    /// Reads the text in a file name. `None` when it is anything else.
    #[must_use]
    pub fn from_file_text(text: &[u8]) -> Option<Self> {
        let [a, b, c, b'.', d, e, f, b'.', g, h, i] = text else { return None };
        let part = |digits: [u8; 3]| {
            digits.iter().try_fold(0_u16, |sum, digit| {
                let value = digit.is_ascii_digit().then(|| digit.wrapping_sub(b'0'))?;
                sum.checked_mul(10)?.checked_add(u16::from(value))
            })
        };
        Some(Self::new(part([*a, *b, *c])?, part([*d, *e, *f])?, u32::from(part([*g, *h, *i])?)))
    }

    /// The bytes on disk.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; Self::BYTES] {
        let ([a, b], [c, d]) = (self.major.to_le_bytes(), self.minor.to_le_bytes());
        let [e, f, g, h] = self.patch.to_le_bytes();
        [a, b, c, d, e, f, g, h]
    }

    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, Short> {
        Ok(Self::new(reader.u16()?, reader.u16()?, reader.u32()?))
    }
}

fn number(text: &str) -> Option<u32> {
    let plain = text.bytes().all(|b| b.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    plain.then(|| text.parse().ok())?
}

fn digits(part: u32) -> Result<[u8; 3], VersionError> {
    let part = u16::try_from(part).ok().filter(|part| u32::from(*part) <= Version::FILE_PART_MAX);
    let part = part.ok_or(VersionError::Part)?;
    let digit = |value: u16| b"0123456789".get(usize::from(value % 10)).copied().unwrap_or(b'0');
    Ok([digit(part / 100), digit(part / 10), digit(part)])
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::string::ToString as _;

    #[test]
    fn text_is_strict() {
        assert_eq!(Version::parse("1.2.3"), Ok(Version::new(1, 2, 3)));
        assert_eq!(Version::parse("65535.0.4294967295"), Ok(Version::new(65535, 0, u32::MAX)));
        for bad in ["", "1", "1.2", "1.2.3.4", "01.2.3", "1.2.+3", "1.2. 3", "65536.0.0", "1..3", "1.2.4294967296"] {
            assert_eq!(Version::parse(bad), Err(VersionError::Form), "{bad}");
        }
    }

    #[test]
    fn a_file_name_takes_three_digits() {
        assert_eq!(Version::new(1, 20, 300).file_text(), Ok(*b"001.020.300"));
        assert_eq!(Version::new(0, 0, 1000).file_text(), Err(VersionError::Part));
        assert_eq!(Version::new(1000, 0, 0).file_text(), Err(VersionError::Part));
        assert_eq!(Version::from_file_text(b"001.0x0.300"), None);
        assert_eq!(Version::from_file_text(b"001.000.3000"), None);
    }

    proptest! {
        #[test]
        fn every_text_reads_back(major: u16, minor: u16, patch: u32) {
            let version = Version::new(major, minor, patch);
            prop_assert_eq!(Version::parse(&version.to_string()), Ok(version));
            prop_assert_eq!(Version::read(&mut Reader::new(&version.to_bytes())), Ok(version));
        }

        #[test]
        fn names_sort_as_versions_do(a in 0..1000_u16, b in 0..1000_u16, c in 0..1000_u32, d in 0..1000_u16) {
            let (one, two) = (Version::new(a, b, c), Version::new(a, d, c));
            let names = (one.file_text().unwrap(), two.file_text().unwrap());
            prop_assert_eq!(one.cmp(&two), names.0.cmp(&names.1));
            prop_assert_eq!(Version::from_file_text(&names.0), Some(one));
        }
    }
}
