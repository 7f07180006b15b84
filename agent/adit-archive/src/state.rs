// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Local state: the newest committed tree with what only this machine needs (change times, inodes, content hashes), so
//! that an unchanged file is neither read nor sent.
//!
//! A cache with a checksum, not a truth: lost or damaged, it costs a read, never a wrong backup. Mode 0600, not sealed:
//! it lies beside the files that it describes. `state` holds the tree, `head` says to which snapshot it belongs; both
//! are written under `.next` names before the commit and renamed after it.

use adit_wire::ids::Id;
use std::path::{Path, PathBuf};

/// An open local state.
#[derive(Debug)]
pub struct State {}

/// What [`State::settle`] found.
#[derive(Debug)]
pub enum Settled {
    /// The state of the snapshot that the box holds as the newest.
    Current(State),
    /// None, or a damaged one, or one of another snapshot: everything is read again. Says why.
    Absent(&'static str),
}

impl State {
    /// Opens the state that belongs to the box's newest snapshot, finishing a commit whose answer was lost.
    /// `newest` = sequence number and head from WELCOME; `None` when the box has no snapshot of this source.
    ///
    /// # Errors
    /// When the directory can't be read or written; damage is not an error.
    pub fn settle(dir: &Path, newest: Option<(u64, Id)>) -> Result<Settled, StateError> {
        let _unbuilt = (dir, newest);
        unimplemented!("lands next")
    }

    /// The newest snapshot that this machine knows to be committed: sequence number and head.
    ///
    /// # Errors
    /// When the directory can't be read.
    pub fn newest(dir: &Path) -> Result<Option<(u64, Id)>, StateError> {
        let _unbuilt = dir;
        unimplemented!("lands next")
    }
}

/// A state that becomes true with a commit.
#[derive(Debug)]
pub struct StateNext {}

impl StateNext {
    /// Makes it durable under its `.next` names. Must return before COMMIT is sent.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn prepare(&self, seq: u64, head: Id) -> Result<(), StateError> {
        let _unbuilt = (seq, head);
        unimplemented!("lands next")
    }

    /// The box promised: this is the state now.
    ///
    /// # Errors
    /// When it can't be renamed.
    pub fn adopt(self) -> Result<(), StateError> {
        unimplemented!("lands next")
    }

    /// As the base of a second run in the same session, after MISSING.
    ///
    /// # Errors
    /// When it can't be read back.
    pub fn reopen(&self) -> Result<State, StateError> {
        unimplemented!("lands next")
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
