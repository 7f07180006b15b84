// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Writes the state of a run. As long as every block equals the state before, nothing is written at all.

use super::block::{LENGTH_BYTES, SUM_BYTES, Side, encode, sum};
use super::head::{Head, sync_dir};
use super::index::{self, Place};
use super::open::{MAGIC, State, Trailer};
use super::{BODY, BODY_NEXT, Bundle, HEAD, HEAD_NEXT, StateError, TEMPORARY, short};
use crate::entry::Entry;
use crate::node::Encoded;
use adit_wire::ids::Id;
use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// Where blocks go.
#[derive(Debug)]
enum Output {
    /// Every block so far equals the one at the same place of this state, up to the offset.
    Same(State, u64),
    /// A new file.
    New(BufWriter<File>, PathBuf),
}

/// Takes the leaves of a run in order.
#[derive(Debug)]
pub(crate) struct StateWriter {
    dir: PathBuf,
    output: Output,
    /// Over the checksums of everything written.
    body: blake3::Hasher,
    end: u64,
    entries: u64,
    /// Short ids of the closure, unsorted, with repeats.
    ids: Vec<u64>,
}

/// What stands in the state's tables besides the ids.
#[derive(Debug, Default)]
pub(crate) struct Tables {
    pub(crate) bundles: Vec<Bundle>,
    /// Sorted by hash.
    pub(crate) places: Vec<Place>,
}

impl StateWriter {
    /// Begins a state in this directory. `before` = the state that the run compares with.
    pub(crate) fn new(dir: &Path, before: Option<&State>) -> Result<Self, StateError> {
        let output = match before {
            Some(state) => Output::Same(state.clone(), MAGIC.len() as u64),
            None => new_file(dir)?,
        };
        let end = MAGIC.len() as u64;
        Ok(Self { dir: dir.to_owned(), output, body: blake3::Hasher::new(), end, entries: 0, ids: Vec::new() })
    }

    /// Takes the next leaf.
    pub(crate) fn leaf(&mut self, id: Id, leaf: &Encoded, entries: &[(Entry, Side)]) -> Result<(), StateError> {
        self.ids.push(short(&id));
        self.ids.extend(leaf.node_refs.iter().chain(&leaf.data_refs).map(short));
        for (_, side) in entries {
            self.ids.extend_from_slice(&side.list_ids);
        }
        self.entries += entries.len() as u64;
        let block = encode(id, leaf, entries);
        let block_sum = &block[block.len() - SUM_BYTES..];
        self.body.update(block_sum);
        self.end += block.len() as u64;
        if let Output::Same(before, offset) = &mut self.output {
            if same_block(before, *offset, &block) {
                *offset += block.len() as u64;
                return Ok(());
            }
            self.begin_file()?;
        }
        self.write(&block)
    }

    /// The state before turned out damaged: what it has from here on is not kept.
    pub(crate) fn distrust(&mut self) -> Result<(), StateError> {
        self.begin_file()
    }

    /// Notes the id of a node above the leaves.
    pub(crate) fn node(&mut self, id: Id) {
        self.ids.push(short(&id));
    }

    /// Ends the state.
    pub(crate) fn finish(mut self, root: Id, root_height: u8, tables: &Tables) -> Result<StateNext, StateError> {
        self.ids.sort_unstable();
        self.ids.dedup();
        let ids: Vec<u8> = self.ids.iter().flat_map(|id| id.to_le_bytes()).collect();
        let mut bundles = Vec::with_capacity(tables.bundles.len() * 40);
        for bundle in &tables.bundles {
            bundles.extend_from_slice(&bundle.id.0);
            bundles.extend_from_slice(&bundle.bytes.to_le_bytes());
            bundles.extend_from_slice(&bundle.live.to_le_bytes());
        }
        self.body.update(&sum(&ids)).update(&sum(&bundles));
        let trailer = Trailer {
            root,
            root_height,
            entries: self.entries,
            blocks_end: self.end,
            ids: self.ids.len() as u64,
            bundles: tables.bundles.len() as u64,
            pages: 0,
            body: *self.body.finalize().as_bytes(),
        };
        if let Output::Same(before, offset) = &self.output {
            if *offset == before.trailer().blocks_end && before.trailer().body == trailer.body {
                return Ok(StateNext {
                    dir: self.dir,
                    body: trailer.body,
                    written: None,
                    state: before.path().to_owned(),
                });
            }
            self.begin_file()?;
        }
        self.write(&ids)?;
        self.write(&sum(&ids))?;
        self.write(&bundles)?;
        self.write(&sum(&bundles))?;
        let Output::New(file, path) = &mut self.output else { unreachable!("a file was begun above") };
        let pages = index::write(&tables.places, file).map_err(StateError::of("write", path))?;
        let trailer = Trailer { pages, ..trailer };
        file.write_all(&trailer.to_bytes()).and_then(|()| file.flush()).map_err(StateError::of("write", path))?;
        Ok(StateNext { dir: self.dir, body: trailer.body, written: Some(path.clone()), state: path.clone() })
    }

    /// Stops being the same: a file with all blocks so far.
    fn begin_file(&mut self) -> Result<(), StateError> {
        let Output::Same(before, offset) = &self.output else { return Ok(()) };
        let (before, offset) = (before.clone(), *offset);
        self.output = new_file(&self.dir)?;
        let Output::New(file, path) = &mut self.output else { return Ok(()) };
        let mut old = File::open(before.path()).map_err(StateError::of("open", before.path()))?;
        let start = MAGIC.len() as u64;
        old.seek(SeekFrom::Start(start)).map_err(StateError::of("read", before.path()))?;
        let copied = std::io::copy(&mut old.take(offset - start), file).map_err(StateError::of("write", path))?;
        debug_assert_eq!(copied, offset - start);
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), StateError> {
        match &mut self.output {
            Output::New(file, path) => file.write_all(bytes).map_err(StateError::of("write", path)),
            Output::Same(..) => Ok(()),
        }
    }
}

fn new_file(dir: &Path) -> Result<Output, StateError> {
    for attempt in 0..1_000u32 {
        let path = dir.join(format!("{TEMPORARY}{attempt}"));
        match OpenOptions::new().create_new(true).write(true).mode(0o600).open(&path) {
            Ok(file) => {
                let mut file = BufWriter::with_capacity(128 << 10, file);
                file.write_all(MAGIC).map_err(StateError::of("write", &path))?;
                return Ok(Output::New(file, path));
            }
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(source) => return Err(StateError { doing: "create", path, source }),
        }
    }
    let source = std::io::Error::from(std::io::ErrorKind::AlreadyExists);
    Err(StateError { doing: "create", path: dir.join(TEMPORARY), source })
}

/// Whether the state before has this very block at this place: lengths and checksums tell.
fn same_block(before: &State, offset: u64, block: &[u8]) -> bool {
    if offset + block.len() as u64 > before.trailer().blocks_end {
        return false;
    }
    let mut length = [0; LENGTH_BYTES];
    let mut found = [0; SUM_BYTES];
    let sum_at = offset + (block.len() - SUM_BYTES) as u64;
    before.file().read_exact_at(&mut length, offset).is_ok()
        && length == block[..LENGTH_BYTES]
        && before.file().read_exact_at(&mut found, sum_at).is_ok()
        && found == block[block.len() - SUM_BYTES..]
}

/// A state that becomes true with a commit.
#[derive(Debug)]
pub struct StateNext {
    dir: PathBuf,
    body: [u8; 32],
    /// The new file; `None` when the state before still holds.
    written: Option<PathBuf>,
    /// Where the state can be read now.
    state: PathBuf,
}

impl StateNext {
    /// Whether anything differs from the state before.
    #[must_use]
    pub const fn is_changed(&self) -> bool {
        self.written.is_some()
    }

    /// Makes it durable under its `.next` names. Must return before COMMIT is sent. May be called again for another
    /// head, when the commit was refused.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn prepare(&mut self, seq: u64, head: Id) -> Result<(), StateError> {
        if let Some(written) = &self.written {
            let next = self.dir.join(BODY_NEXT);
            if *written != next {
                let synced = File::open(written).and_then(|file| file.sync_all());
                synced.map_err(StateError::of("sync", written))?;
                std::fs::rename(written, &next).map_err(StateError::of("rename", written))?;
                self.written = Some(next.clone());
                self.state = next;
            }
        }
        Head { seq, head, body: self.body }.write(&self.dir, HEAD_NEXT)?;
        sync_dir(&self.dir)
    }

    /// The box promised: this is the state now. [`StateNext::prepare`] went before.
    ///
    /// # Errors
    /// When it can't be renamed.
    pub fn adopt(self) -> Result<(), StateError> {
        if let Some(written) = &self.written {
            std::fs::rename(written, self.dir.join(BODY)).map_err(StateError::of("rename", written))?;
        }
        let head = self.dir.join(HEAD_NEXT);
        std::fs::rename(&head, self.dir.join(HEAD)).map_err(StateError::of("rename", &head))?;
        sync_dir(&self.dir)
    }

    /// As the base of a second run in the same session, after MISSING.
    ///
    /// # Errors
    /// When it can't be read back.
    pub fn reopen(&self) -> Result<State, StateError> {
        State::open(&self.state)?.ok_or_else(|| StateError {
            doing: "read back",
            path: self.state.clone(),
            source: std::io::Error::from(std::io::ErrorKind::InvalidData),
        })
    }
}
