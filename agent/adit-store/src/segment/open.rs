// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A segment that takes records: a sequential writer with one buffer. Bytes are gathered and handed to the disk in large
//! writes; after every flush the next write begins at a page boundary, so that durable bytes are never rewritten.

use super::format::{
    Check, Class, ENVELOPE_BYTES, Envelope, Footer, FooterEntry, Kind, MarkEntry, NO_KEY, RECORDS_MAX,
};
use super::format::{SegmentHeader, UNIT, footer_entry};
use crate::bytes::{PAGE, PAGE_U64, align, memory, narrow};
use crate::disk::{Disk, FileId, Mode, read_exact};
use crate::error::Fault;
use crate::parity::{Encoder, Shape};
use adit_wire::ids::KeyId;
use adit_wire::record::Record;
use std::collections::HashMap;
use std::io;

/// Room is asked for in steps of this.
const RESERVE_BYTES: u64 = 32 << 20;

/// The segment of one class that is being written.
#[derive(Debug)]
pub(crate) struct OpenSegment {
    header: SegmentHeader,
    header_page: [u8; PAGE],
    file: FileId,
    limit: u64,
    buffer_bytes: usize,
    /// Bytes handed to the disk. A multiple of 64.
    written: u64,
    /// Bytes flushed. `durable <= written`.
    durable: u64,
    /// Bytes not handed over yet.
    buffer: Vec<u8>,
    footer: Footer,
    keys: HashMap<KeyId, u16>,
    reserved: u64,
    /// Parity of the bytes handed to the disk; `None` where none is kept.
    parity: Option<Encoder>,
    /// Bytes that the parity file covers. At most `durable`.
    parity_written: u64,
}

/// Where a record came to lie.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Added {
    pub(crate) segment: u32,
    pub(crate) offset: u64,
    pub(crate) length: u32,
}

/// What a sealed segment is known by.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sealed {
    pub(crate) length: u64,
    pub(crate) footer_hash: [u8; 32],
}

impl OpenSegment {
    /// Makes the file; file and name are durable on return.
    pub(crate) fn create(
        disk: &dyn Disk,
        header: SegmentHeader,
        limit: u64,
        buffer_bytes: usize,
    ) -> Result<Self, Fault> {
        let path = super::path(header.class, header.number);
        let file = disk.open(&path, Mode::CreateOrEmpty).map_err(Fault::write(&path))?;
        let header_page = header.to_page();
        let made = (|| {
            disk.write_at(file, 0, &header_page).map_err(Fault::write(&path))?;
            disk.sync(file).map_err(Fault::sync(&path))?;
            disk.sync_dir(super::dir(header.class)).map_err(Fault::sync(super::dir(header.class)))
        })();
        if let Err(fault) = made {
            disk.close(file);
            return Err(fault);
        }
        let mut parity = Encoder::new(Shape::new(header.geometry));
        parity.push(&header_page);
        let mut made = Self::resume(header, file, Footer::default(), PAGE_U64, limit, buffer_bytes);
        made.parity = Some(parity);
        Ok(made)
    }

    /// Goes on with a file whose records are listed in `footer` and end at `end`, all of it flushed.
    pub(crate) fn resume(
        header: SegmentHeader,
        file: FileId,
        footer: Footer,
        end: u64,
        limit: u64,
        buffer_bytes: usize,
    ) -> Self {
        let keys = footer.key_ids.iter().zip(0u16..).map(|(key_id, index)| (*key_id, index)).collect();
        Self {
            header,
            header_page: header.to_page(),
            file,
            limit,
            buffer_bytes,
            written: end,
            durable: end,
            buffer: Vec::new(),
            footer,
            keys,
            reserved: 0,
            parity: None,
            parity_written: 0,
        }
    }

    /// Goes on with parity of everything handed to the disk; of that, the parity file covers `written` bytes.
    pub(crate) fn keep_parity(&mut self, parity: Encoder, written: u64) {
        assert_eq!(parity.covered(), self.written, "parity covers what was handed over");
        self.parity = Some(parity);
        self.parity_written = written;
    }

    /// Whether flushed bytes lie behind what the parity file covers.
    pub(crate) const fn wants_parity(&self) -> bool {
        self.parity.is_some() && self.parity_written < self.durable
    }

    /// The parity file, if what is kept covers exactly `covered` bytes.
    pub(crate) fn parity_file(&self, covered: u64, footer_hash: [u8; 32]) -> Option<Vec<u8>> {
        let parity = self.parity.as_ref().filter(|parity| parity.covered() == covered)?;
        Some(parity.to_file(self.number(), footer_hash))
    }

    /// The parity file now covers all that is flushed.
    pub(crate) const fn parity_is_written(&mut self) {
        self.parity_written = self.durable;
    }

    pub(crate) const fn class(&self) -> Class {
        self.header.class
    }

    pub(crate) const fn number(&self) -> u32 {
        self.header.number
    }

    pub(crate) const fn file(&self) -> FileId {
        self.file
    }

    /// Takes another descriptor of the same bytes; answers the old one.
    pub(crate) const fn replace_file(&mut self, file: FileId) -> FileId {
        std::mem::replace(&mut self.file, file)
    }

    /// Offset behind everything added.
    pub(crate) const fn end(&self) -> u64 {
        self.written + self.buffer.len() as u64
    }

    /// Offset up to which everything is flushed.
    pub(crate) const fn durable(&self) -> u64 {
        self.durable
    }

    pub(crate) const fn is_dirty(&self) -> bool {
        self.durable < self.end()
    }

    pub(crate) const fn footer(&self) -> &Footer {
        &self.footer
    }

    /// Whether a record of so many bytes still fits. An empty segment takes any record.
    pub(crate) fn has_room(&self, record_bytes: usize) -> bool {
        let records = self.footer.entries.len();
        let body = align((ENVELOPE_BYTES + record_bytes) as u64, UNIT) + 2 * PAGE_U64;
        let footer = Footer::bytes(records + 1, self.footer.key_ids.len() + 1);
        records == 0 || (records < RECORDS_MAX && self.end() + body + footer <= self.limit)
    }

    /// Adds a record. `key_id` is its key id, or the one a key record wraps; zero for none.
    pub(crate) fn add(
        &mut self,
        disk: &dyn Disk,
        store_key: &[u8; 32],
        (source, arrival): (u32, u64),
        record: &Record<'_>,
        key_id: KeyId,
    ) -> Result<Added, Fault> {
        let bytes = record.as_bytes();
        let envelope = Envelope { kind: Kind::Record, length: narrow(bytes.len()), source, arrival };
        let offset = self.push(disk, store_key, envelope, bytes)?;
        let key = self.key_index(key_id);
        self.footer.entries.push(footer_entry(&envelope, offset, record, key));
        Ok(Added { segment: self.number(), offset, length: envelope.length })
    }

    /// Adds a mark: how far sessions are once everything before it is durable.
    pub(crate) fn add_mark(
        &mut self,
        disk: &dyn Disk,
        store_key: &[u8; 32],
        arrival: u64,
        entries: &[MarkEntry],
    ) -> Result<(), Fault> {
        let content = MarkEntry::content(entries);
        let envelope = Envelope { kind: Kind::Mark, length: narrow(content.len()), source: 0, arrival };
        self.push(disk, store_key, envelope, &content).map(|_| ())
    }

    fn push(
        &mut self,
        disk: &dyn Disk,
        store_key: &[u8; 32],
        envelope: Envelope,
        content: &[u8],
    ) -> Result<u64, Fault> {
        if self.buffer.len() + ENVELOPE_BYTES + content.len() > self.buffer_bytes {
            self.hand_over(disk, false)?;
        }
        let offset = self.end();
        let check = Check { store_key, segment: self.number(), offset };
        self.buffer.extend_from_slice(&envelope.to_bytes(check, content));
        self.buffer.extend_from_slice(content);
        let stride = memory(envelope.stride());
        self.buffer.resize(self.buffer.len() + stride - ENVELOPE_BYTES - content.len(), 0);
        Ok(offset)
    }

    fn key_index(&mut self, key_id: KeyId) -> u16 {
        if key_id.is_zero() {
            return NO_KEY;
        }
        let next = u16::try_from(self.footer.key_ids.len()).unwrap_or(NO_KEY);
        *self.keys.entry(key_id).or_insert_with(|| {
            self.footer.key_ids.push(key_id);
            next
        })
    }

    /// Fills up to a page boundary.
    fn pad(&mut self, store_key: &[u8; 32]) {
        let offset = self.end();
        let gap = align(offset, PAGE_U64) - offset;
        if gap > 0 {
            let length = narrow(memory(gap) - ENVELOPE_BYTES);
            let envelope = Envelope { kind: Kind::Pad, length, source: 0, arrival: 0 };
            let check = Check { store_key, segment: self.number(), offset };
            self.buffer.extend_from_slice(&envelope.to_bytes(check, &[]));
            self.buffer.resize(self.buffer.len() + memory(length.into()), 0);
        }
    }

    /// Hands the buffer to the disk; whole pages only unless `all`.
    fn hand_over(&mut self, disk: &dyn Disk, all: bool) -> Result<(), Fault> {
        let end = if all { self.end() } else { self.end() & !(PAGE_U64 - 1) };
        let count = memory(end.saturating_sub(self.written));
        if count == 0 {
            return Ok(());
        }
        let (class, number) = (self.class(), self.number());
        let path = || super::path(class, number);
        if end > self.reserved {
            let to = align(end, RESERVE_BYTES).min(self.limit.max(end));
            disk.reserve(self.file, to).map_err(Fault::write(path()))?;
            self.reserved = to;
        }
        disk.write_at(self.file, self.written, &self.buffer[..count]).map_err(Fault::write(path()))?;
        self.cover(end, count);
        self.written = end;
        if count == self.buffer.len() {
            self.buffer.clear();
        } else {
            self.buffer.drain(..count);
        }
        Ok(())
    }

    /// Takes the first `count` bytes of the buffer into the parity. A file that is too long for it goes without.
    fn cover(&mut self, end: u64, count: usize) {
        let fits = Shape::new(self.header.geometry).fits(end);
        // A footer that was written and not noted is written over.
        self.parity = self.parity.take().filter(|parity| fits && parity.covered() == self.written);
        if let Some(parity) = &mut self.parity {
            parity.push(&self.buffer[..count]);
        }
    }

    /// Makes everything added durable and ends on a page boundary.
    pub(crate) fn settle(&mut self, disk: &dyn Disk, store_key: &[u8; 32]) -> Result<(), Fault> {
        if self.is_dirty() {
            self.pad(store_key);
            self.hand_over(disk, true)?;
            disk.sync(self.file).map_err(Fault::sync(super::path(self.class(), self.number())))?;
            self.durable = self.written;
        }
        Ok(())
    }

    /// Writes the footer and flushes. The segment takes nothing more.
    pub(crate) fn seal(&mut self, disk: &dyn Disk, store_key: &[u8; 32]) -> Result<Sealed, Fault> {
        self.pad(store_key);
        self.hand_over(disk, true)?;
        self.write_footer(disk)
    }

    /// Seals a segment whose tail was found unclean: cuts behind the last good record and writes the footer on the next
    /// page, without touching a page that holds records.
    pub(crate) fn seal_cut(&mut self, disk: &dyn Disk) -> Result<Sealed, Fault> {
        assert!(self.buffer.is_empty(), "nothing is added to an unclean tail");
        let path = super::path(self.class(), self.number());
        disk.set_len(self.file, self.written).map_err(Fault::write(path))?;
        self.written = align(self.written, PAGE_U64);
        self.write_footer(disk)
    }

    /// Writes a damaged first page anew.
    pub(crate) fn write_header(&self, disk: &dyn Disk) -> Result<(), Fault> {
        let path = super::path(self.class(), self.number());
        disk.write_at(self.file, 0, &self.header_page).map_err(Fault::write(path))
    }

    fn write_footer(&mut self, disk: &dyn Disk) -> Result<Sealed, Fault> {
        let path = || super::path(self.class(), self.number());
        let (bytes, footer_hash) = self.footer.to_bytes(&self.header_page, self.written);
        let length = self.written + bytes.len() as u64;
        disk.write_at(self.file, self.written, &bytes).map_err(Fault::write(path()))?;
        disk.set_len(self.file, length).map_err(Fault::write(path()))?;
        disk.sync(self.file).map_err(Fault::sync(path()))?;
        self.durable = self.written;
        self.parity = self.parity.take().filter(|_| Shape::new(self.header.geometry).fits(length));
        if let Some(parity) = self.parity.as_mut().filter(|parity| parity.covered() == self.written) {
            parity.push(&bytes);
        }
        Ok(Sealed { length, footer_hash })
    }

    /// Reads bytes that were added, flushed or not.
    pub(crate) fn read(&self, disk: &dyn Disk, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        let on_disk = memory(self.written.saturating_sub(offset)).min(bytes.len());
        let (head, tail) = bytes.split_at_mut(on_disk);
        read_exact(disk, self.file, offset, head)?;
        let from = memory((offset + on_disk as u64).saturating_sub(self.written));
        let cached = self.buffer.get(from..from + tail.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        tail.copy_from_slice(cached);
        Ok(())
    }

    /// Arrivals of the first and the last record; zero for none.
    pub(crate) fn arrivals(&self) -> (u64, u64) {
        let entries: &[FooterEntry] = &self.footer.entries;
        (entries.first().map_or(0, |entry| entry.arrival), entries.last().map_or(0, |entry| entry.arrival))
    }
}
