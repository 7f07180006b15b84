// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Reads a file's content: small ones whole, large ones chunk by chunk, sparse ones without their holes.
//!
//! Says what it saw: a file that changed while it was read is read again, and marked if it would not hold still.

use super::RunError;
use super::pipe::Pipe;
use crate::cut::{CHUNK_BYTES_MAX, Cutter, DETECT_BYTES, FIXED_BYTES, Method, detect};
use crate::entry::{Chunk, Content, EXTENTS_MAX, Extent, Extents};
use crate::node::{Encoded, encode_extents};
use crate::seal::Kind;
use crate::state::short;
use crate::tree::{ListBuilder, Place};
use crate::walk::{FileKind, Stat};
use adit_wire::ids::Id;
use rustix::fs::SeekFrom;
use rustix::io::Errno;
use std::os::fd::BorrowedFd;

/// Bytes of the reading buffer: two of the longest chunks, so that no byte is moved to its front more than once or twice.
const BUFFER_BYTES: usize = 2 << 20;
/// How often a file that changes while it is read is read in all.
const ATTEMPTS: u32 = 3;
/// Larger files are read once only.
const AGAIN_BYTES_MAX: u64 = 64 << 20;
/// A file with more extents is stored with its holes as zeros: the map would outgrow a record.
const EXTENTS_MAPPED_MAX: usize = 60_000;

/// Why a file gave no content.
#[derive(Debug)]
pub(super) enum ReadError {
    /// This file's trouble.
    File(Errno),
    /// The end of the run.
    Run(RunError),
}

impl From<Errno> for ReadError {
    fn from(errno: Errno) -> Self {
        Self::File(errno)
    }
}

impl From<RunError> for ReadError {
    fn from(error: RunError) -> Self {
        Self::Run(error)
    }
}

/// A small file's content is in the buffer.
#[derive(Clone, Copy, Debug)]
pub(super) enum Small {
    /// As stat saw it after reading, and whether it held still.
    Read(Stat, bool),
    /// It grew beyond the limit: to be read as a large one.
    Grew(Stat),
}

/// Reads a file shorter than `limit` into `buffer`, which is cleared first.
pub(super) fn small(fd: BorrowedFd<'_>, before: &Stat, limit: usize, buffer: &mut Vec<u8>) -> Result<Small, Errno> {
    let mut before = *before;
    for attempt in 1.. {
        buffer.clear();
        buffer.reserve(limit);
        loop {
            let room = limit - buffer.len();
            if room == 0 {
                return Stat::of_fd(fd).map(Small::Grew);
            }
            let offset = buffer.len() as u64;
            let wanted = usize::try_from(before.size).map_or(room, |size| room.min((size + 1).max(512)));
            let start = buffer.len();
            buffer.resize(start + wanted, 0);
            let read = rustix::io::pread(fd, &mut buffer[start..], offset);
            buffer.truncate(start + *read.as_ref().unwrap_or(&0));
            match read {
                Ok(0) => break,
                // A short answer to a request beyond the known size is the end: one call less for most files.
                Ok(count) if count < wanted && buffer.len() as u64 == before.size => break,
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => return Err(errno),
            }
        }
        let after = Stat::of_fd(fd)?;
        if after.kind != FileKind::File {
            return Err(Errno::NOENT);
        }
        let held_still = after.same_content(&before);
        if held_still || attempt == ATTEMPTS {
            return Ok(Small::Read(after, held_still));
        }
        before = after;
    }
    Err(Errno::IO)
}

/// A large file's content was handed to the pipe.
#[derive(Debug)]
pub(super) struct Large {
    pub(super) content: Content,
    pub(super) extents: Extents,
    /// Short ids of everything below the list node, itself included.
    pub(super) list_ids: Vec<u64>,
    pub(super) after: Stat,
    pub(super) held_still: bool,
    /// Bytes read, holes not counted.
    pub(super) bytes: u64,
}

/// Reads large files.
#[derive(Debug)]
pub(super) struct LargeReader {
    cutter: Cutter,
    buffer: Vec<u8>,
}

/// Notes the ids of list nodes on their way.
struct Noting<'a, 'r> {
    pipe: &'a mut Pipe<'r>,
    ids: Vec<u64>,
}

impl Place for Noting<'_, '_> {
    type Error = RunError;

    fn place(&mut self, kind: Kind, node: Encoded) -> Result<Id, RunError> {
        let id = self.pipe.place(kind, node)?;
        self.ids.push(short(&id));
        Ok(id)
    }
}

impl LargeReader {
    pub(super) const fn new(cutter: Cutter) -> Self {
        Self { cutter, buffer: Vec::new() }
    }

    /// Reads, cuts and sends. `page_store` = a pattern says that the file changes by pages.
    pub(super) fn read(
        &mut self,
        fd: BorrowedFd<'_>,
        before: &Stat,
        page_store: bool,
        pipe: &mut Pipe<'_>,
    ) -> Result<Large, ReadError> {
        let mut before = *before;
        let mut bytes = 0;
        for attempt in 1.. {
            let mut large = self.read_once(fd, &before, page_store, pipe)?;
            bytes += large.bytes;
            large.bytes = bytes;
            if large.held_still || attempt == ATTEMPTS || large.after.size > AGAIN_BYTES_MAX {
                return Ok(large);
            }
            before = large.after;
        }
        Err(ReadError::File(Errno::IO))
    }

    fn read_once(
        &mut self,
        fd: BorrowedFd<'_>,
        before: &Stat,
        page_store: bool,
        pipe: &mut Pipe<'_>,
    ) -> Result<Large, ReadError> {
        let mut start = [0; DETECT_BYTES];
        let start_bytes = rustix::io::pread(fd, &mut start, 0)?;
        let method = if page_store { Method::Fixed } else { detect(&start[..start_bytes]) };
        let align = if method == Method::Fixed { FIXED_BYTES as u64 } else { 1 };
        let extents = data_extents(fd, before, align)?;
        let whole = [Extent { offset: 0, bytes: before.size }];
        let mut source =
            Source { fd, extents: extents.as_deref().unwrap_or(&whole), done: 0, bytes: 0, ended_early: false };
        let mut list = ListBuilder::new(method == Method::Fixed);
        let mut noting = Noting { pipe, ids: Vec::new() };
        let mut chunk_ids = Vec::new();
        self.buffer.clear();
        self.buffer.reserve(BUFFER_BYTES);
        let mut from = 0;
        loop {
            let last = source.is_done();
            while let Some(length) = self.next_cut(method, from, last) {
                let chunk = &self.buffer[from..from + length];
                let id = noting.pipe.data(Kind::Chunk, chunk)?;
                chunk_ids.push(short(&id));
                list.push(Chunk { id, bytes: u32::try_from(length).unwrap_or(u32::MAX) }, &mut noting)?;
                from += length;
            }
            if last {
                break;
            }
            self.buffer.drain(..from);
            from = 0;
            source.fill(&mut self.buffer)?;
        }
        let content = list.finish(&mut noting)?;
        let mut list_ids = noting.ids;
        if matches!(content, Content::List { .. }) {
            list_ids.extend(chunk_ids);
        } else {
            list_ids.clear();
        }
        let after = Stat::of_fd(fd)?;
        let ended_early = source.ended_early;
        if ended_early && extents.is_some() {
            // Pieces of a sparse file without knowing which: nothing that could be put back.
            return Err(ReadError::File(Errno::IO));
        }
        let mut held_still = !ended_early && after.same_content(before);
        held_still &= after.kind == FileKind::File;
        let bytes = source.bytes;
        let after = if ended_early { Stat { size: bytes, ..after } } else { Stat { size: before.size, ..after } };
        let extents = store_extents(extents, pipe)?;
        Ok(Large { content, extents, list_ids, after, held_still, bytes })
    }

    fn next_cut(&self, method: Method, from: usize, last: bool) -> Option<usize> {
        let data = &self.buffer[from..];
        match method {
            Method::Fixed => method.fixed_cut(data.len(), last),
            // With less at hand the search would be done again with the next bytes.
            Method::Content if data.len() >= CHUNK_BYTES_MAX || last => self.cutter.next_cut(data, last),
            Method::Content => None,
        }
    }
}

/// The data parts of a file, one after the other.
struct Source<'a> {
    fd: BorrowedFd<'a>,
    extents: &'a [Extent],
    /// Bytes of the first extent that were read.
    done: u64,
    bytes: u64,
    ended_early: bool,
}

impl Source<'_> {
    fn is_done(&self) -> bool {
        self.ended_early || self.extents.is_empty()
    }

    /// Reads until the buffer is full or there is no more.
    fn fill(&mut self, buffer: &mut Vec<u8>) -> Result<(), Errno> {
        while buffer.len() < BUFFER_BYTES && !self.is_done() {
            let Some(extent) = self.extents.first() else { return Ok(()) };
            let left = extent.bytes - self.done;
            if left == 0 {
                self.extents = &self.extents[1..];
                self.done = 0;
                continue;
            }
            let room = BUFFER_BYTES - buffer.len();
            let wanted = usize::try_from(left).map_or(room, |left| left.min(room));
            let start = buffer.len();
            buffer.resize(start + wanted, 0);
            let read = rustix::io::pread(self.fd, &mut buffer[start..], extent.offset + self.done);
            buffer.truncate(start + *read.as_ref().unwrap_or(&0));
            match read {
                Ok(0) => self.ended_early = true,
                Ok(count) => {
                    self.done += count as u64;
                    self.bytes += count as u64;
                }
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno),
            }
        }
        // An extent that is read to its end must not look like more to come.
        while self.extents.first().is_some_and(|extent| extent.bytes == self.done) {
            self.extents = &self.extents[1..];
            self.done = 0;
        }
        Ok(())
    }
}

/// Where the data of a sparse file is; `None` for a file without holes, or with too many.
fn data_extents(fd: BorrowedFd<'_>, stat: &Stat, align: u64) -> Result<Option<Vec<Extent>>, Errno> {
    if stat.blocks.saturating_mul(512) >= stat.size {
        return Ok(None);
    }
    let mut extents: Vec<Extent> = Vec::new();
    let mut at = 0;
    while at < stat.size {
        let data = match rustix::fs::seek(fd, SeekFrom::Data(at)) {
            Ok(data) => data / align * align,
            Err(Errno::NXIO) => break,
            // A file system that can't tell says so; its files have no holes.
            Err(Errno::INVAL | Errno::OPNOTSUPP) => return Ok(None),
            Err(errno) => return Err(errno),
        };
        let hole = rustix::fs::seek(fd, SeekFrom::Hole(data.max(at)))?.min(stat.size);
        let end = hole.next_multiple_of(align).min(stat.size);
        match extents.last_mut() {
            Some(last) if last.offset + last.bytes >= data => last.bytes = end - last.offset,
            _ => extents.push(Extent { offset: data, bytes: end - data }),
        }
        if extents.len() > EXTENTS_MAPPED_MAX {
            return Ok(None);
        }
        at = end.max(at + 1);
    }
    let whole = [Extent { offset: 0, bytes: stat.size }];
    Ok((extents != whole).then_some(extents))
}

fn store_extents(extents: Option<Vec<Extent>>, pipe: &mut Pipe<'_>) -> Result<Extents, RunError> {
    match extents {
        None => Ok(Extents::Whole),
        Some(extents) if extents.len() <= EXTENTS_MAX => Ok(Extents::Here(extents)),
        Some(extents) => Ok(Extents::Chunk(pipe.data(Kind::Chunk, &encode_extents(&extents))?)),
    }
}
