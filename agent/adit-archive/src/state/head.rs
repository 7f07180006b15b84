// SPDX-License-Identifier: Apache-2.0 OR MIT
//! To which snapshot the state belongs, and what to believe after a crash: the box's newest head decides.

use super::block::{SUM_BYTES, sum};
use super::open::State;
use super::{BODY, BODY_NEXT, HEAD, HEAD_NEXT, StateError, TEMPORARY};
use adit_wire::ids::Id;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

const MAGIC: &[u8; 8] = b"ADITHED1";
const BYTES: usize = 8 + 8 + 32 + 32 + SUM_BYTES;

/// A snapshot and the state that goes with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) seq: u64,
    pub(super) head: Id,
    /// The body hash of the state.
    pub(super) body: [u8; 32],
}

impl Head {
    /// Writes it whole and synced under this name.
    pub(super) fn write(self, dir: &Path, name: &str) -> Result<(), StateError> {
        let path = dir.join(format!("{name}.tmp"));
        let mut bytes = Vec::with_capacity(BYTES);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&self.seq.to_le_bytes());
        bytes.extend_from_slice(&self.head.0);
        bytes.extend_from_slice(&self.body);
        let sum = sum(&bytes);
        bytes.extend_from_slice(&sum);
        let written = OpenOptions::new()
            .create(true)
            .truncate(true)
            .write(true)
            .mode(0o600)
            .open(&path)
            .and_then(|mut file| file.write_all(&bytes).and_then(|()| file.sync_all()))
            .and_then(|()| std::fs::rename(&path, dir.join(name)));
        written.map_err(StateError::of("write", &path))
    }

    /// Reads it; `None` when it's not there or damaged.
    pub(super) fn read(dir: &Path, name: &str) -> Result<Option<Self>, StateError> {
        let path = dir.join(name);
        match std::fs::read(&path) {
            Ok(bytes) => Ok(Self::parse(&bytes)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(StateError { doing: "read", path, source }),
        }
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; BYTES] = bytes.try_into().ok()?;
        let (content, found) = bytes.split_at(BYTES - SUM_BYTES);
        let rest = content.strip_prefix(MAGIC).filter(|_| sum(content) == found)?;
        let (seq, rest) = rest.split_first_chunk::<8>()?;
        let (head, body) = rest.split_at_checked(Id::BYTES)?;
        Some(Self { seq: u64::from_le_bytes(*seq), head: Id::from_slice(head)?, body: body.try_into().ok()? })
    }

    fn is(&self, newest: (u64, Id)) -> bool {
        (self.seq, self.head) == newest
    }
}

/// Makes renames in this directory durable.
pub(super) fn sync_dir(dir: &Path) -> Result<(), StateError> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(StateError::of("sync", dir))
}

/// What [`State::settle`] found.
#[derive(Debug)]
pub enum Settled {
    /// The state of the snapshot that the box holds as the newest.
    Current(State),
    /// None that can be used: everything is read again. Says why.
    Absent(&'static str),
}

impl State {
    /// Opens the state that belongs to the box's newest snapshot, finishing a commit whose answer was lost.
    /// `newest` = sequence number and head from WELCOME; `None` when the box has no snapshot of this source.
    ///
    /// # Errors
    /// When the directory can't be read or written; damage is not an error.
    pub fn settle(dir: &Path, newest: Option<(u64, Id)>) -> Result<Settled, StateError> {
        remove_temporary(dir)?;
        let Some(newest) = newest else { return Ok(Settled::Absent("the box has no snapshot yet")) };
        if let Some(head) = Head::read(dir, HEAD_NEXT)?.filter(|head| head.is(newest)) {
            finish_commit(dir, &head)?;
        }
        let Some(head) = Head::read(dir, HEAD)? else { return Ok(Settled::Absent("there is no local state")) };
        if !head.is(newest) {
            return Ok(Settled::Absent("the local state belongs to another snapshot than the box's newest"));
        }
        remove(dir, HEAD_NEXT)?;
        remove(dir, BODY_NEXT)?;
        match Self::open(&dir.join(BODY))? {
            Some(state) if state.trailer().body == head.body => Ok(Settled::Current(state)),
            Some(_) => Ok(Settled::Absent("the local state belongs to another snapshot than it says")),
            None => Ok(Settled::Absent("the local state is missing or damaged")),
        }
    }

    /// The newest snapshot that this machine knows to be committed: sequence number and head.
    ///
    /// # Errors
    /// When the directory can't be read.
    pub fn newest(dir: &Path) -> Result<Option<(u64, Id)>, StateError> {
        Ok(Head::read(dir, HEAD)?.map(|head| (head.seq, head.head)))
    }
}

/// The box has the snapshot of `head.next`: its files take their places.
fn finish_commit(dir: &Path, head: &Head) -> Result<(), StateError> {
    let next = dir.join(BODY_NEXT);
    if State::open(&next)?.is_some_and(|state| state.trailer().body == head.body) {
        std::fs::rename(&next, dir.join(BODY)).map_err(StateError::of("rename", &next))?;
    }
    let from = dir.join(HEAD_NEXT);
    std::fs::rename(&from, dir.join(HEAD)).map_err(StateError::of("rename", &from))?;
    sync_dir(dir)
}

fn remove(dir: &Path, name: &str) -> Result<(), StateError> {
    let path = dir.join(name);
    match std::fs::remove_file(&path) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
            Err(StateError { doing: "remove", path, source })
        }
        _ => Ok(()),
    }
}

/// Files that a killed run left half written.
fn remove_temporary(dir: &Path) -> Result<(), StateError> {
    for entry in std::fs::read_dir(dir).map_err(StateError::of("read", dir))? {
        let entry = entry.map_err(StateError::of("read", dir))?;
        let name = entry.file_name();
        if name.to_str().is_some_and(|name| name.starts_with(TEMPORARY)) {
            std::fs::remove_file(entry.path()).map_err(StateError::of("remove", &entry.path()))?;
        }
    }
    Ok(())
}
