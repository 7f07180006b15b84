// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Reads a state file: the trailer first, then tables, then entries as a stream.

use super::block::{BLOCK_BYTES_MAX, Block, LENGTH_BYTES, SUM_BYTES, Side, decode, sum};
use super::index::{Index, PAGE_BYTES, Place};
use super::{Bundle, StateError};
use crate::entry::Entry;
use adit_wire::ids::Id;
use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufReader, Read, Seek as _, SeekFrom};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub(super) const MAGIC: &[u8; 8] = b"ADITSTA1";
pub(super) const TRAILER_MAGIC: &[u8; 8] = b"ADITSTE1";
/// Bytes of one row of the bundle table: id, bytes, live bytes.
pub(super) const BUNDLE_BYTES: usize = 40;

/// What stands at the end of a state file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Trailer {
    pub(super) root: Id,
    pub(super) root_height: u8,
    pub(super) entries: u64,
    /// Blocks lie from behind the magic to here; then short ids, bundle table, index pages, trailer.
    pub(super) blocks_end: u64,
    pub(super) ids: u64,
    pub(super) bundles: u64,
    pub(super) pages: u64,
    /// BLAKE3 over the checksums of all blocks and tables in order: names this very state.
    pub(super) body: [u8; 32],
}

impl Trailer {
    pub(super) const BYTES: usize = 8 + 32 + 8 + 5 * 8 + 32 + SUM_BYTES;

    pub(super) fn to_bytes(self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(Self::BYTES);
        bytes.extend_from_slice(TRAILER_MAGIC);
        bytes.extend_from_slice(&self.root.0);
        bytes.extend_from_slice(&u64::from(self.root_height).to_le_bytes());
        for number in [self.entries, self.blocks_end, self.ids, self.bundles, self.pages] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        bytes.extend_from_slice(&self.body);
        let sum = sum(&bytes);
        bytes.extend_from_slice(&sum);
        bytes
    }

    fn from_bytes(bytes: &[u8; Self::BYTES]) -> Option<Self> {
        let (content, sum_found) = bytes.split_at(Self::BYTES - SUM_BYTES);
        let rest = content.strip_prefix(TRAILER_MAGIC)?;
        if sum(content) != sum_found {
            return None;
        }
        let (root, rest) = rest.split_at_checked(Id::BYTES)?;
        let (numbers, body) = rest.split_at_checked(48)?;
        let mut numbers = numbers.chunks_exact(8).map(|n| n.first_chunk().map_or(0, |n| u64::from_le_bytes(*n)));
        Some(Self {
            root: Id::from_slice(root)?,
            root_height: u8::try_from(numbers.next()?).ok()?,
            entries: numbers.next()?,
            blocks_end: numbers.next()?,
            ids: numbers.next()?,
            bundles: numbers.next()?,
            pages: numbers.next()?,
            body: body.try_into().ok()?,
        })
    }

    const fn ids_start(&self) -> u64 {
        self.blocks_end
    }

    const fn bundles_start(&self) -> u64 {
        self.ids_start() + self.ids * 8 + SUM_BYTES as u64
    }

    const fn index_start(&self) -> u64 {
        self.bundles_start() + self.bundles * BUNDLE_BYTES as u64 + SUM_BYTES as u64
    }

    const fn end(&self) -> u64 {
        self.index_start() + self.pages * PAGE_BYTES as u64
    }
}

/// An open local state. Cheap to clone.
#[derive(Clone, Debug)]
pub struct State(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    file: File,
    trailer: Trailer,
    ids: Vec<u64>,
    bundles: Vec<Bundle>,
    index: Index,
}

impl State {
    /// Opens a state file. `None` when it's not there, torn or damaged where it counts for all.
    pub(super) fn open(path: &Path) -> Result<Option<Self>, StateError> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(StateError { doing: "open", path: path.to_owned(), source }),
        };
        let Some(trailer) = read_trailer(&file) else { return Ok(None) };
        let ids = read_table(&file, trailer.ids_start(), trailer.ids, 8);
        let bundles = read_table(&file, trailer.bundles_start(), trailer.bundles, BUNDLE_BYTES);
        let (Some(ids), Some(bundles)) = (ids, bundles) else { return Ok(None) };
        let index = Index::open(&file, path, trailer.index_start(), trailer.pages)?;
        let number = |bytes: &[u8]| bytes.first_chunk().map_or(0, |n| u64::from_le_bytes(*n));
        let half = |bytes: &[u8]| bytes.first_chunk().map_or(0, |n| u32::from_le_bytes(*n));
        let inner = Inner {
            path: path.to_owned(),
            file,
            trailer,
            ids: ids.chunks_exact(8).map(number).collect(),
            bundles: bundles
                .chunks_exact(BUNDLE_BYTES)
                .map(|row| Bundle {
                    id: Id::from_slice(&row[..32]).unwrap_or_default(),
                    bytes: half(&row[32..]),
                    live: half(&row[36..]),
                })
                .collect(),
            index,
        };
        Ok(Some(Self(Arc::new(inner))))
    }

    /// The root node of the snapshot that it describes.
    #[must_use]
    pub fn root(&self) -> Id {
        self.0.trailer.root
    }

    /// Entries of the snapshot.
    #[must_use]
    pub fn entry_count(&self) -> u64 {
        self.0.trailer.entries
    }

    /// All entries in the order of paths, as far as the file is whole.
    ///
    /// # Errors
    /// When the file can't be read any more.
    pub fn entries(&self) -> Result<Entries, StateError> {
        let inner = &self.0;
        let failed = |source| StateError { doing: "read", path: inner.path.clone(), source };
        let mut file = File::open(&inner.path).map_err(failed)?;
        file.seek(SeekFrom::Start(MAGIC.len() as u64)).map_err(failed)?;
        Ok(Entries {
            file: BufReader::with_capacity(64 << 10, file),
            left: inner.trailer.blocks_end.saturating_sub(MAGIC.len() as u64),
            block: VecDeque::new(),
            content: Vec::new(),
            torn: false,
        })
    }

    /// Short ids of everything in the snapshot's closure, ascending.
    pub(crate) fn ids(&self) -> &[u64] {
        &self.0.ids
    }

    pub(crate) fn bundles(&self) -> &[Bundle] {
        &self.0.bundles
    }

    /// Where content with this hash lies.
    pub(crate) fn find_content(&self, hash: &[u8; 16]) -> Option<Place> {
        self.0.index.find(&self.0.file, hash)
    }

    pub(super) fn path(&self) -> &Path {
        &self.0.path
    }

    pub(super) fn file(&self) -> &File {
        &self.0.file
    }

    pub(super) fn trailer(&self) -> &Trailer {
        &self.0.trailer
    }
}

fn read_trailer(file: &File) -> Option<Trailer> {
    let length = file.metadata().ok()?.len();
    let mut magic = [0; MAGIC.len()];
    file.read_exact_at(&mut magic, 0).ok()?;
    let mut bytes = [0; Trailer::BYTES];
    let start = length.checked_sub(Trailer::BYTES as u64)?;
    file.read_exact_at(&mut bytes, start).ok()?;
    let trailer = Trailer::from_bytes(&bytes)?;
    // Sizes that a damaged trailer could not have kept by chance are also checked against the file.
    let plausible = trailer.ids <= length / 8 && trailer.bundles <= length && trailer.pages <= length;
    (magic == *MAGIC && plausible && trailer.end() == start).then_some(trailer)
}

fn read_table(file: &File, start: u64, rows: u64, row_bytes: usize) -> Option<Vec<u8>> {
    let length = usize::try_from(rows).ok()?.checked_mul(row_bytes)?;
    let mut bytes = vec![0; length + SUM_BYTES];
    file.read_exact_at(&mut bytes, start).ok()?;
    let found = bytes.split_off(length);
    (sum(&bytes)[..] == found[..]).then_some(bytes)
}

/// Streams the entries of a state.
#[derive(Debug)]
pub struct Entries {
    file: BufReader<File>,
    left: u64,
    block: VecDeque<(Entry, Side)>,
    content: Vec<u8>,
    torn: bool,
}

impl Entries {
    /// Whether a damaged block ended the stream early.
    #[must_use]
    pub const fn is_torn(&self) -> bool {
        self.torn
    }

    /// The next entry's path.
    pub(crate) fn peek(&mut self) -> Option<&Entry> {
        self.fill();
        self.block.front().map(|(entry, _)| entry)
    }

    /// The next entry and what stood beside it.
    pub(crate) fn pop(&mut self) -> Option<(Entry, Side)> {
        self.fill();
        self.block.pop_front()
    }

    fn fill(&mut self) {
        while self.block.is_empty() && self.left > 0 {
            match self.read_block() {
                Some(block) => self.block = block.entries.into(),
                None => {
                    self.torn = true;
                    self.left = 0;
                }
            }
        }
    }

    fn read_block(&mut self) -> Option<Block> {
        let mut length = [0; LENGTH_BYTES];
        self.file.read_exact(&mut length).ok()?;
        let length = usize::try_from(u32::from_le_bytes(length)).ok().filter(|length| *length <= BLOCK_BYTES_MAX)?;
        let whole = (LENGTH_BYTES + length + SUM_BYTES) as u64;
        self.left = self.left.checked_sub(whole)?;
        self.content.resize(length + SUM_BYTES, 0);
        self.file.read_exact(&mut self.content).ok()?;
        let (content, found) = self.content.split_at(length);
        if sum(content) != found {
            return None;
        }
        decode(content)
    }
}

impl Iterator for Entries {
    type Item = Entry;

    fn next(&mut self) -> Option<Entry> {
        self.pop().map(|(entry, _)| entry)
    }
}
