// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Names of slot files on the ESP: what the boot loader and this crate tell each other.
//!
//! `adit_001.002.003.efi` is good. `adit_001.002.003+2-1.efi` is on trial with two tries left and one done; the boot loader
//! counts down before each start, and puts an entry without tries behind all others. `….new` is being written, and the
//! boot loader does not see it. Every name takes the same three directory entries, so a new name can replace an old one.

use crate::layout::TRIES;
use crate::version::Version;

/// Longest name, bytes.
pub const NAME_BYTES_MAX: usize = 24;
/// Digits of a count: one, so that names keep their length.
const COUNT_MAX: u8 = 9;

/// What a slot file's name says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Mark {
    /// It starts without being counted.
    Good,
    /// It has this many tries left, and had this many.
    Counted {
        /// Tries left, ≤ 9.
        left: u8,
        /// Tries done, ≤ 9.
        done: u8,
    },
    /// Not to be started yet.
    New,
}

impl Mark {
    /// What an activated candidate gets.
    pub const TRIAL: Self = Self::Counted { left: TRIES, done: 0 };
    /// What a slot gets that must not start while another can.
    pub const DEAD: Self = Self::Counted { left: 0, done: TRIES };

    /// Whether the boot loader starts it before entries without tries.
    #[must_use]
    pub const fn is_live(self) -> bool {
        match self {
            Self::Good => true,
            Self::Counted { left, .. } => left > 0,
            Self::New => false,
        }
    }

    /// Whether it was counted down to nothing.
    #[must_use]
    pub const fn is_dead(self) -> bool {
        matches!(self, Self::Counted { left: 0, .. })
    }
}

/// A slot file: version and mark make its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct SlotFile {
    /// The image's version.
    pub version: Version,
    /// What the name says beside it.
    pub mark: Mark,
}

/// A name's bytes, ASCII.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Name {
    bytes: [u8; NAME_BYTES_MAX],
    length: usize,
}

impl Name {
    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        core::str::from_utf8(self.as_bytes()).unwrap_or_default()
    }
}

impl SlotFile {
    /// The file's name. `None` when the version has no text of fixed width, or a count has two digits.
    #[must_use]
    pub fn name(self) -> Option<Name> {
        let version = self.version.file_text().ok()?;
        let digit = |count: u8| (count <= COUNT_MAX).then(|| count.wrapping_add(b'0'));
        let (count, ending) = match self.mark {
            Mark::Good => (None, *b".efi"),
            Mark::Counted { left, done } => (Some([b'+', digit(left)?, b'-', digit(done)?]), *b".efi"),
            Mark::New => (Some([b'+', digit(TRIES)?, b'-', b'0']), *b".new"),
        };
        let mut name = Name { bytes: [0; NAME_BYTES_MAX], length: 0 };
        for part in [b"adit_".as_slice(), &version, count.as_ref().map_or(&[], |count| count.as_slice()), &ending] {
            let end = name.length.checked_add(part.len())?;
            name.bytes.get_mut(name.length..end)?.copy_from_slice(part);
            name.length = end;
        }
        Some(name)
    }

    /// Reads a name, in any case of letters as FAT may keep it. `None` when the file is no slot's.
    #[must_use]
    pub fn parse(name: &[u8]) -> Option<Self> {
        let (prefix, rest) = name.split_first_chunk::<5>()?;
        let (version, rest) = rest.split_first_chunk::<{ Version::FILE_TEXT_BYTES }>()?;
        let (counts, ending) = rest.split_last_chunk::<4>()?;
        let version = Version::from_file_text(version)?;
        if !prefix.eq_ignore_ascii_case(b"adit_") {
            return None;
        }
        let digit = |byte: u8| byte.is_ascii_digit().then(|| byte.wrapping_sub(b'0'));
        let counts = match *counts {
            [] => None,
            // The boot loader's own writing allows a count without tries done.
            [b'+', left] => Some((digit(left)?, 0)),
            [b'+', left, b'-', done] => Some((digit(left)?, digit(done)?)),
            _ => return None,
        };
        let mark = match counts {
            Some(_) if ending.eq_ignore_ascii_case(b".new") => Mark::New,
            _ if !ending.eq_ignore_ascii_case(b".efi") => return None,
            Some((left, done)) => Mark::Counted { left, done },
            None => Mark::Good,
        };
        Some(Self { version, mark })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn name(version: (u16, u16, u32), mark: Mark) -> String {
        let version = Version::new(version.0, version.1, version.2);
        SlotFile { version, mark }.name().expect("a name").as_str().to_owned()
    }

    #[test]
    fn names_are_what_the_boot_loader_reads() {
        assert_eq!(name((1, 2, 3), Mark::Good), "adit_001.002.003.efi");
        assert_eq!(name((1, 2, 3), Mark::TRIAL), "adit_001.002.003+3-0.efi");
        assert_eq!(name((1, 2, 3), Mark::DEAD), "adit_001.002.003+0-3.efi");
        assert_eq!(name((1, 2, 3), Mark::New), "adit_001.002.003+3-0.new");
        assert_eq!(SlotFile::parse(b"ADIT_001.002.003+3.EFI").map(|file| file.mark), Some(Mark::TRIAL));
    }

    #[test]
    fn other_files_are_left_alone() {
        for other in [
            "",
            "adit.toml",
            "adit_1.2.3.efi",
            "adit_001.002.003.new",
            "adit_001.002.003+30.efi",
            "adit_001.002.003+3-0.bak",
            "adit_001.002.003+a-0.efi",
            "linux_001.002.003.efi",
        ] {
            assert_eq!(SlotFile::parse(other.as_bytes()), None, "{other}");
        }
        let two_digits = SlotFile { version: Version::default(), mark: Mark::Counted { left: 10, done: 0 } };
        assert_eq!(two_digits.name(), None);
    }

    proptest! {
        #[test]
        fn every_name_reads_back_and_takes_two_long_entries(
            a in 0..1000_u16, b in 0..1000_u16, c in 0..1000_u32, left in 0..10_u8, done in 0..10_u8, kind in 0..3_u8,
        ) {
            let mark = [Mark::Good, Mark::New, Mark::Counted { left, done }][usize::from(kind)];
            let file = SlotFile { version: Version::new(a, b, c), mark };
            let name = file.name().unwrap();
            prop_assert_eq!(SlotFile::parse(name.as_bytes()), Some(file));
            // A long-name entry holds 13 characters.
            prop_assert_eq!(name.as_bytes().len().div_ceil(13), 2);
        }

        #[test]
        fn noise_never_panics(noise in proptest::collection::vec(any::<u8>(), 0..40)) {
            let _ = SlotFile::parse(&noise);
        }
    }
}
