// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The journal of an unfinished run: sequence number to record id, so that a resumed run sends nothing twice.
//!
//! Unsynced on purpose: after a power cut of this machine the tail is lost and those records are asked for by HAVE or
//! sent again; after a kill the page cache still has it. It never says that the box has a record: that is what the
//! box's acknowledged number, which cuts the journal, says.

use crate::state::StateError;
use adit_wire::ids::{Id, KeyId};
use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

const MAGIC: &[u8; 8] = b"ADITJNL1";
const NAME: &str = "journal";
const HEADER_BYTES: usize = 8 + KeyId::BYTES;
/// Sequence number, id, and four bytes of a checksum over both.
const ENTRY_BYTES: usize = 8 + Id::BYTES + 4;

/// A journal that is being written.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: File,
    waiting: Vec<u8>,
}

/// What a journal held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Journaled {
    /// The session key of the run.
    pub key_id: KeyId,
    /// Sequence number and id; 0 for records adopted from the run before.
    pub records: Vec<(u64, Id)>,
    /// Whether the end was torn or damaged.
    pub torn: bool,
}

impl Journaled {
    /// Ids of records up to this sequence number: what the box kept.
    #[must_use]
    pub fn up_to(&self, seq: u64) -> Vec<Id> {
        self.records.iter().filter(|(number, _)| *number <= seq).map(|(_, id)| *id).collect()
    }
}

impl Journal {
    /// Starts a journal in the state directory. `adopted` = what a resumed run takes over.
    ///
    /// # Errors
    /// When the file can't be written.
    pub fn create(dir: &Path, key_id: KeyId, adopted: &[Id]) -> Result<Self, StateError> {
        let path = dir.join(NAME);
        let fresh = dir.join("journal.new");
        let failed = |source| StateError { doing: "write", path: fresh.clone(), source };
        let file =
            OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&fresh).map_err(failed)?;
        let mut journal = Self { path: path.clone(), file, waiting: Vec::new() };
        journal.waiting.extend_from_slice(MAGIC);
        journal.waiting.extend_from_slice(&key_id.0);
        for id in adopted {
            journal.push(0, id);
        }
        journal.write_waiting()?;
        std::fs::rename(&fresh, &path).map_err(failed)?;
        Ok(journal)
    }

    /// Notes a record that is about to be sent. Each note goes to the system at once: a hundred notes that a killed
    /// process takes with it would be 25 MB sent twice.
    ///
    /// # Errors
    /// When the file can't be written.
    pub fn append(&mut self, seq: u64, id: &Id) -> Result<(), StateError> {
        self.push(seq, id);
        self.write_waiting()
    }

    fn write_waiting(&mut self) -> Result<(), StateError> {
        let done = self.file.write_all(&self.waiting);
        self.waiting.clear();
        done.map_err(|source| StateError { doing: "write", path: self.path.clone(), source })
    }

    fn push(&mut self, seq: u64, id: &Id) {
        let at = self.waiting.len();
        self.waiting.extend_from_slice(&seq.to_le_bytes());
        self.waiting.extend_from_slice(&id.0);
        let sum = blake3::hash(&self.waiting[at..]);
        self.waiting.extend_from_slice(&sum.as_bytes()[..4]);
    }

    /// Reads the journal of an unfinished run, as far as it is whole.
    ///
    /// # Errors
    /// When the file is there and can't be read.
    pub fn read(dir: &Path) -> Result<Option<Journaled>, StateError> {
        let path = dir.join(NAME);
        let mut bytes = Vec::new();
        match File::open(&path).and_then(|mut file| file.read_to_end(&mut bytes)) {
            Ok(_) => Ok(parse(&bytes)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(StateError { doing: "read", path, source }),
        }
    }

    /// Removes the journal: the run is committed or given up.
    ///
    /// # Errors
    /// When the file can't be removed.
    pub fn remove(dir: &Path) -> Result<(), StateError> {
        let path = dir.join(NAME);
        match std::fs::remove_file(&path) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                Err(StateError { doing: "remove", path, source })
            }
            _ => Ok(()),
        }
    }
}

fn parse(bytes: &[u8]) -> Option<Journaled> {
    let (header, mut rest) = bytes.split_first_chunk::<HEADER_BYTES>()?;
    let key_id = KeyId::from_slice(header.strip_prefix(MAGIC)?)?;
    let mut records = Vec::with_capacity(rest.len() / ENTRY_BYTES);
    while let Some((entry, after)) = rest.split_first_chunk::<ENTRY_BYTES>() {
        let (body, sum) = entry.split_at(8 + Id::BYTES);
        if &blake3::hash(body).as_bytes()[..4] != sum {
            break;
        }
        let (seq, id) = body.split_first_chunk::<8>()?;
        records.push((u64::from_le_bytes(*seq), Id::from_slice(id)?));
        rest = after;
    }
    Some(Journaled { key_id, records, torn: !rest.is_empty() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comes_back_cut_anywhere() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Journal::read(dir.path()).unwrap(), None);
        let mut journal = Journal::create(dir.path(), KeyId([7; 16]), &[Id([1; 32])]).unwrap();
        for seq in 1..=200u8 {
            journal.append(u64::from(seq), &Id([seq; 32])).unwrap();
        }
        let whole = Journal::read(dir.path()).unwrap().unwrap();
        assert_eq!((whole.key_id, whole.records.len(), whole.torn), (KeyId([7; 16]), 201, false));
        assert_eq!(whole.up_to(2), vec![Id([1; 32]), Id([1; 32]), Id([2; 32])]);
        let bytes = std::fs::read(dir.path().join(NAME)).unwrap();
        for cut in 0..bytes.len() {
            let got = parse(&bytes[..cut]);
            assert_eq!(got.is_some(), cut >= HEADER_BYTES);
            if let Some(got) = got {
                assert_eq!(got.records[..], whole.records[..got.records.len()]);
                assert_eq!(got.torn, !(cut - HEADER_BYTES).is_multiple_of(ENTRY_BYTES));
            }
        }
        Journal::remove(dir.path()).unwrap();
        Journal::remove(dir.path()).unwrap();
        assert_eq!(Journal::read(dir.path()).unwrap(), None);
    }

    #[test]
    fn a_flipped_bit_ends_it() {
        let dir = tempfile::tempdir().unwrap();
        let mut journal = Journal::create(dir.path(), KeyId([7; 16]), &[]).unwrap();
        (1..=3).for_each(|seq| journal.append(seq, &Id([9; 32])).unwrap());
        let mut bytes = std::fs::read(dir.path().join(NAME)).unwrap();
        bytes[HEADER_BYTES + ENTRY_BYTES + 3] ^= 1;
        let got = parse(&bytes).unwrap();
        assert_eq!((got.records.len(), got.torn), (1, true));
    }
}
