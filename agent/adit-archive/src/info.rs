// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The info record: what a person wants to know of a snapshot, sealed because a box must not.
//!
//! It stands apart from the tree so that listing snapshots fetches one small record each. Never holds a key.

use serde::{Deserialize, Serialize};

/// Schema number at the front of an info record.
pub const INFO_VERSION: u8 = 1;
/// Skipped paths that an info record lists; the rest are only counted.
pub const SKIPPED_MAX: usize = 1_000;

/// Who ran the backup and why: known before it starts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// Name of the machine.
    pub host: String,
    /// Name of the job, or empty.
    pub job: String,
    /// The run's id, as in the run record.
    pub run: String,
    /// Seconds between scheduled runs; 0 = by hand.
    pub period_s: u64,
    /// The program's version.
    pub program: String,
}

/// What a run counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Regular files in the snapshot.
    pub files: u64,
    /// Directories.
    pub dirs: u64,
    /// All other entries.
    pub others: u64,
    /// Sizes of the files together.
    pub bytes: u64,
    /// Files whose content was read.
    pub files_read: u64,
    /// Bytes read of them.
    pub bytes_read: u64,
    /// Bytes of content that the box did not have, before compression.
    pub bytes_new: u64,
    /// Records handed to the sink, info included.
    pub records: u64,
    /// Node records among them.
    pub nodes: u64,
    /// Bytes of these records.
    pub record_bytes: u64,
    /// Paths that could not be saved whole.
    pub skipped: u64,
}

/// Why a path was not saved whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SkipReason {
    /// It could not be opened or read; the number is the system's error.
    Unreadable(i32),
    /// It changed each time that it was read.
    Changed,
    /// A socket: there is nothing to save. Not counted as a failure.
    Socket,
    /// It vanished between listing and reading. Not counted as a failure.
    Vanished,
}

impl SkipReason {
    /// Whether the snapshot lacks something because of it.
    #[must_use]
    pub const fn is_failure(self) -> bool {
        matches!(self, Self::Unreadable(_) | Self::Changed)
    }
}

/// A path that was not saved whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skipped {
    /// The path as a person writes it; bytes, for it need not be UTF-8.
    pub path: Vec<u8>,
    /// Why.
    pub reason: SkipReason,
}

/// The content of an info record.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Info {
    /// Who and why.
    pub about: About,
    /// The sources, as paths of this machine.
    pub roots: Vec<Vec<u8>>,
    /// Patterns left out.
    pub excludes: Vec<String>,
    /// When the walk began, seconds since 1970 by the source's clock.
    pub start_s: u64,
    /// When it ended.
    pub end_s: u64,
    /// What was counted, without this record itself.
    pub counts: Counts,
    /// The first [`SKIPPED_MAX`] skipped paths.
    pub skipped: Vec<Skipped>,
    /// For later versions: tag and bytes.
    pub ext: Vec<(u16, Vec<u8>)>,
}

/// The bytes are no info record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InfoError {
    /// A schema this program does not know.
    #[error("info record has schema {0}, this program reads {INFO_VERSION}")]
    Version(u8),
    /// No such content.
    #[error("info record does not decode")]
    Malformed,
}

impl Info {
    /// The plaintext of the record.
    #[must_use]
    pub fn to_plain(&self) -> Vec<u8> {
        let mut plain = vec![INFO_VERSION];
        plain.extend(postcard::to_stdvec(self).unwrap_or_default());
        plain
    }

    /// Reads the plaintext of a record.
    ///
    /// # Errors
    /// When the bytes are no info record of a known schema.
    pub fn from_plain(plain: &[u8]) -> Result<Self, InfoError> {
        match plain.split_first() {
            Some((&INFO_VERSION, rest)) => postcard::from_bytes(rest).map_err(|_| InfoError::Malformed),
            Some((version, _)) => Err(InfoError::Version(*version)),
            None => Err(InfoError::Malformed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comes_back() {
        let info = Info {
            about: About { host: "web1".to_owned(), ..About::default() },
            skipped: vec![Skipped { path: b"/x\xff".to_vec(), reason: SkipReason::Unreadable(13) }],
            ..Info::default()
        };
        let plain = info.to_plain();
        assert_eq!(Info::from_plain(&plain), Ok(info));
        assert_eq!(Info::from_plain(&[9]), Err(InfoError::Version(9)));
        assert_eq!(Info::from_plain(&plain[..3]), Err(InfoError::Malformed));
    }
}
