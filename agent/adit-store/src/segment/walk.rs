// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The walk through a segment's bytes: envelope after envelope, every hash computed, on past whatever is damaged.
//! Recovery and verification share it. A block that can't be read counts as damage, not as the end.

use super::format::{Check, ENVELOPE_BYTES, Envelope, Kind, MarkEntry, UNIT, read_mark};
use crate::bytes::{PAGE_U64, is_zero, memory};
use crate::disk::{Disk, FileId, read_pages};
use adit_wire::record::{HEADER_BYTES, RECORD_BYTES_MAX, Record};

const CHUNK: u64 = 1 << 20;

/// A walk over one range of one file.
#[derive(Debug)]
pub(crate) struct Walk<'a> {
    disk: &'a dyn Disk,
    file: FileId,
    store_key: &'a [u8; 32],
    segment: u32,
    at: u64,
    end: u64,
    window: Vec<u8>,
    window_at: u64,
}

/// One step of a walk.
#[derive(Debug)]
pub(crate) struct Item<'w> {
    pub(crate) offset: u64,
    pub(crate) end: u64,
    pub(crate) found: Found<'w>,
}

/// What lies there.
#[derive(Debug)]
pub(crate) enum Found<'w> {
    /// A whole record, its hash checked. `clean` if the bytes up to the next unit are zero.
    Record { envelope: Envelope, record: Box<Record<'w>>, clean: bool },
    /// A pad; `clean` if what it skips is zero.
    Pad { clean: bool },
    /// A mark; `clean` as above.
    Mark { entries: Vec<MarkEntry>, clean: bool },
    /// Nothing that verifies, up to the next thing that does; `zero` if it is all zeros.
    Bad { zero: bool },
}

impl<'a> Walk<'a> {
    /// Walks from `from`, a multiple of 64, to `end`.
    pub(crate) fn new(
        disk: &'a dyn Disk,
        file: FileId,
        store_key: &'a [u8; 32],
        segment: u32,
        from: u64,
        end: u64,
    ) -> Self {
        Self { disk, file, store_key, segment, at: from, end, window: Vec::new(), window_at: from }
    }

    /// The next item; `None` at the end.
    pub(crate) fn next(&mut self) -> Option<Item<'_>> {
        let offset = self.at;
        if offset >= self.end {
            return None;
        }
        if let Some((envelope, next)) = self.valid_at(offset) {
            self.at = next;
            return Some(Item { offset, end: next, found: self.found(offset, envelope) });
        }
        let mut at = offset;
        let mut zero = true;
        loop {
            let unit = UNIT.min(self.end - at);
            zero &= is_zero(self.bytes(at, unit));
            at += unit;
            if at >= self.end || self.valid_at(at).is_some() {
                break;
            }
        }
        self.at = at;
        Some(Item { offset, end: at, found: Found::Bad { zero } })
    }

    /// The envelope at `offset` and the end of its stride, if everything there verifies.
    fn valid_at(&mut self, offset: u64) -> Option<(Envelope, u64)> {
        let head = (ENVELOPE_BYTES + HEADER_BYTES) as u64;
        let check = Check { store_key: self.store_key, segment: self.segment, offset };
        let available = head.min(self.end - offset);
        let envelope = Envelope::from_bytes(self.bytes(offset, available), check)?;
        let next = offset.checked_add(envelope.stride()).filter(|next| *next <= self.end)?;
        let fits = match envelope.kind {
            Kind::Pad => u64::from(envelope.length) < PAGE_U64,
            Kind::Record | Kind::Mark => memory(envelope.length.into()) <= RECORD_BYTES_MAX,
        };
        if !fits {
            return None;
        }
        let bytes = self.bytes(offset, next - offset);
        let content = bytes.get(ENVELOPE_BYTES..ENVELOPE_BYTES + memory(envelope.length.into()))?;
        let whole = match envelope.kind {
            Kind::Pad => true,
            Kind::Mark => read_mark(content).is_some(),
            Kind::Record => Record::parse(content).is_ok(),
        };
        whole.then_some((envelope, next))
    }

    /// What [`Self::valid_at`] found; its bytes are in the window.
    fn found(&self, offset: u64, envelope: Envelope) -> Found<'_> {
        let from = memory(offset - self.window_at) + ENVELOPE_BYTES;
        let (content, rest) = self.window[from..].split_at(memory(envelope.length.into()));
        let clean = is_zero(&rest[..memory(envelope.stride()) - ENVELOPE_BYTES - content.len()]);
        match envelope.kind {
            Kind::Pad => Found::Pad { clean: clean && is_zero(content) },
            Kind::Mark => Found::Mark { entries: read_mark(content).unwrap_or_default(), clean },
            Kind::Record => match Record::assume_checked(content) {
                Ok(record) => Found::Record { envelope, record: Box::new(record), clean },
                Err(_) => Found::Bad { zero: false },
            },
        }
    }

    /// Bytes of the range, from the window; unreadable blocks and what lies behind the file's end are zeros.
    fn bytes(&mut self, offset: u64, count: u64) -> &[u8] {
        let window_end = self.window_at + self.window.len() as u64;
        if offset < self.window_at || offset + count > window_end {
            let keep_from = memory(offset.clamp(self.window_at, window_end) - self.window_at);
            self.window.drain(..keep_from);
            if self.window.is_empty() {
                self.window_at = offset;
            } else {
                self.window_at += keep_from as u64;
            }
            let have = self.window.len();
            let want = memory(count.max(CHUNK).min(self.end - self.window_at));
            self.window.resize(want, 0);
            let (disk, file, at) = (self.disk, self.file, self.window_at + have as u64);
            let _unreadable = read_pages(disk, file, at, &mut self.window[have..]);
        }
        let from = memory(offset - self.window_at);
        &self.window[from..from + memory(count)]
    }
}
