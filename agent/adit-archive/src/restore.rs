// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The way back: reads a tree through a fetcher, writes it below a directory.
//!
//! Bytes get their final name only after tag and id were checked; what can't be opened is reported, never replaced by
//! zeros; nothing is ever written outside the target. Works against a connection, a local store or a test's memory:
//! whatever answers [`Fetcher`].

mod adopt;
mod diff;
mod drill;
mod files;
mod flow;
mod keyring;
mod line;
mod place;
mod reader;
mod run;

pub use adopt::{AdoptError, adopt_state};
pub use diff::Difference;
pub use drill::{DrillReport, drill};
pub use keyring::Keyring;
pub use reader::{ReadError, TreeReader};
pub use run::{RestoreError, restore};

use adit_wire::ids::Id;
use adit_wire::read::Scope;
use std::path::PathBuf;

/// Brings records. Several threads ask at once; an answer must not wait for another one to be taken.
pub trait Fetcher: Sync {
    /// Hands every record that the ids name to `sink`, in any order, whole and unchecked. With `keys`, each key record
    /// comes before the first record under that key.
    ///
    /// # Errors
    /// When the line or the store is gone.
    fn fetch(&self, scope: Scope, keys: bool, ids: &[Id], sink: &mut dyn FnMut(&[u8])) -> Result<Fetched, FetchError>;
}

/// How a fetch ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fetched {
    /// Not there.
    pub absent: Vec<Id>,
    /// There, but the stored bytes are damaged.
    pub damaged: Vec<Id>,
}

/// The line or the store is gone.
#[derive(Debug, thiserror::Error)]
#[error("fetch records")]
pub struct FetchError(#[source] pub Box<dyn std::error::Error + Send + Sync>);

/// What to bring back and where to.
#[derive(Clone, Debug)]
pub struct Target {
    /// The directory below which every path gets its full place. Made when it's not there.
    pub to: PathBuf,
    /// Paths as a person writes them; empty = all. A directory brings what lies below it.
    pub paths: Vec<Vec<u8>>,
    /// Use stored numbers for owners even where this system knows the name.
    pub numeric_owners: bool,
    /// Threads that open and write; 0 = one a core.
    pub writers: usize,
}

impl Target {
    /// All of a snapshot below this directory.
    #[must_use]
    pub const fn all(to: PathBuf) -> Self {
        Self { to, paths: Vec::new(), numeric_owners: false, writers: 0 }
    }
}

/// Why a path did not come back whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Its data or the node that describes it is absent or fails its checks.
    Damaged,
    /// Something is there already; it was left alone.
    Exists,
    /// The target system refused; the number is its error.
    System(i32),
    /// The snapshot itself says that the file could not be saved whole.
    SavedInPart,
    /// Only root could make it here: a device, a protected attribute.
    NeedsRoot,
}

impl Fault {
    /// Whether content that the snapshot has is not there now.
    #[must_use]
    pub const fn is_loss(&self) -> bool {
        matches!(self, Self::Damaged | Self::Exists | Self::System(_))
    }
}

/// What came back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Regular files written, hard links included.
    pub files: u64,
    /// Directories.
    pub dirs: u64,
    /// Symbolic links, pipes, devices.
    pub others: u64,
    /// Bytes written.
    pub bytes: u64,
    /// Records fetched.
    pub records: u64,
    /// Entries below nodes that are absent or damaged; of each such node only the first path is in `faults`.
    pub entries_lost: u64,
    /// Paths that are not there or not right, with the reason.
    pub faults: Vec<(Vec<u8>, Fault)>,
    /// Paths whose owner only root could have set.
    pub owners_not_set: u64,
}

#[cfg(test)]
mod tests;
