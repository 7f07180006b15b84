// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Local state: the newest committed tree with what only this machine needs (change times, inodes, content hashes), so
//! that an unchanged file is neither read nor sent.
//!
//! A cache with a checksum, not a truth: lost or damaged, it costs a read, never a wrong backup. Mode 0600, not sealed:
//! it lies beside the files that it describes. `state` holds the tree, `head` says to which snapshot it belongs; both
//! are written under `.next` names before the commit and renamed after it.

mod block;
mod head;
mod index;
mod open;
mod write;

pub use head::Settled;
pub use open::{Entries, State};
pub use write::StateNext;

pub(crate) use block::{Side, Trust};
pub(crate) use index::Place;
pub(crate) use write::{StateWriter, Tables};

use adit_wire::ids::Id;
use std::path::{Path, PathBuf};

/// The committed tree.
const BODY: &str = "state";
/// The tree of a commit under way.
const BODY_NEXT: &str = "state.next";
/// The snapshot that `state` belongs to.
const HEAD: &str = "head";
/// The snapshot of a commit under way.
const HEAD_NEXT: &str = "head.next";
/// Begins the name of a file that a run is writing.
const TEMPORARY: &str = "state.tmp-";

/// A bundle that the snapshot uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bundle {
    pub(crate) id: Id,
    /// Bytes of its plaintext.
    pub(crate) bytes: u32,
    /// Bytes that files still use; at most `bytes`.
    pub(crate) live: u32,
}

impl Bundle {
    /// Whether so little of it is used that the next run packs the rest anew.
    pub(crate) const fn is_sparse(&self) -> bool {
        self.live < self.bytes / 2
    }
}

/// The state directory failed.
#[derive(Debug, thiserror::Error)]
#[error("{doing} {path}")]
pub struct StateError {
    /// What was tried.
    pub doing: &'static str,
    /// Which file.
    pub path: PathBuf,
    /// Why.
    #[source]
    pub source: std::io::Error,
}

impl StateError {
    /// For `map_err`.
    fn of(doing: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self { doing, path, source }
    }
}

/// The first 8 bytes of an id: enough to tell records of one source apart; the box's MISSING catches the rest.
pub(crate) fn short(id: &Id) -> u64 {
    id.0.first_chunk::<8>().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

#[cfg(test)]
mod tests;
