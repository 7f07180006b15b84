// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Reading an open segment to its end: what is whole, what is torn, where it ends.

use super::promised_end;
use crate::bytes::{PAGE, PAGE_U64, align, memory};
use crate::disk::{FileId, Mode, read_exact};
use crate::error::OpenError;
use crate::heal::Range;
use crate::ledger::QuarantineEntry;
use crate::segment::{Footer, Found, MarkEntry, NO_KEY, SegmentHeader, Walk, footer_entry, path};
use crate::store::Store;
use adit_wire::ids::KeyId;
use adit_wire::record::{Class, Record};
use adit_wire::signed::KeyRecord;
use std::collections::HashMap;

/// An open segment as it was found.
#[derive(Debug)]
pub(super) struct Scan {
    pub(super) segment: u32,
    pub(super) header: SegmentHeader,
    pub(super) header_damaged: bool,
    /// `None` when the file is not there.
    pub(super) file: Option<FileId>,
    pub(super) file_bytes: u64,
    pub(super) footer: Footer,
    /// Marks with nothing torn before them.
    pub(super) marks: Vec<MarkEntry>,
    /// Torn ranges before the end.
    holes: Vec<(u64, u64)>,
    /// Behind the last thing that verifies; at least the promised end.
    pub(super) end: u64,
    pub(super) promised_end: u64,
    /// Whether it is exactly what CLEAN says.
    pub(super) clean: bool,
}

impl Scan {
    /// Nothing in it is worth keeping.
    pub(super) fn is_empty(&self) -> bool {
        self.footer.entries.is_empty() && self.promised_end == 0
    }

    /// Its torn ranges.
    pub(super) fn quarantine(&self) -> Vec<QuarantineEntry> {
        if self.is_empty() {
            return Vec::new();
        }
        let holes = self.holes.iter();
        holes
            .map(|(from, to)| QuarantineEntry {
                segment: self.segment,
                from: *from,
                to: *to,
                promised: *from < self.promised_end,
            })
            .collect()
    }
}

/// The key id by which a record is listed: its own, or the one a key record wraps.
pub(super) fn listed_key(record: &Record<'_>) -> KeyId {
    match record.header.class {
        Class::Key => KeyRecord::read(record.body).map_or(KeyId::ZERO, |(payload, _, _)| payload.key_id),
        Class::Data | Class::Node | Class::Snapshot => record.header.key_id,
    }
}

/// Collects footer entries in the order of offsets.
#[derive(Debug, Default)]
pub(super) struct Lister {
    pub(super) footer: Footer,
    keys: HashMap<KeyId, u16>,
}

impl Lister {
    pub(super) fn add(&mut self, envelope: &crate::segment::Envelope, offset: u64, record: &Record<'_>) {
        let key_id = listed_key(record);
        let key = if key_id.is_zero() {
            NO_KEY
        } else {
            let next = u16::try_from(self.footer.key_ids.len()).unwrap_or(NO_KEY);
            *self.keys.entry(key_id).or_insert_with(|| {
                self.footer.key_ids.push(key_id);
                next
            })
        };
        self.footer.entries.push(footer_entry(envelope, offset, record, key));
    }
}

impl Store {
    /// Reads every segment that has no SEAL.
    pub(super) fn scan_open_segments(&mut self, mended: &mut Vec<Range>) -> Result<Vec<Scan>, OpenError> {
        let open: Vec<u32> = self
            .state
            .segments
            .iter()
            .filter(|(_, state)| state.sealed.is_none())
            .map(|(segment, _)| *segment)
            .collect();
        let mut scans = Vec::with_capacity(open.len());
        for segment in open {
            let mut scan = self.scan(segment);
            // Parity covers what was flushed a while ago, whatever the power cut did to the rest.
            let damaged = scan.header_damaged || !scan.holes.is_empty() || scan.file_bytes < scan.promised_end;
            if damaged && self.read_only.is_none() && self.mend_found(segment)? {
                scan.file.into_iter().for_each(|file| self.disk.close(file));
                scan = self.scan(segment);
                mended.push((segment, 0, scan.end));
            }
            scans.push(scan);
        }
        Ok(scans)
    }

    fn scan(&self, segment: u32) -> Scan {
        let state = &self.state.segments[&segment];
        let header = SegmentHeader {
            class: state.class,
            number: segment,
            store: self.superblock.id,
            geometry: self.superblock.geometry,
            created_s: state.created_s,
            alloc_block: state.alloc_block,
        };
        let mode = if self.read_only.is_none() { Mode::Write } else { Mode::Read };
        let file = self.disk.open(&path(state.class, segment), mode).ok();
        let file_bytes = file.and_then(|file| self.disk.len(file).ok()).unwrap_or(0);
        let mut scan = Scan {
            segment,
            header,
            header_damaged: true,
            file,
            file_bytes,
            footer: Footer::default(),
            marks: Vec::new(),
            holes: Vec::new(),
            end: PAGE_U64,
            promised_end: promised_end(&self.state, segment),
            clean: false,
        };
        if let Some(file) = file {
            let mut page = [0; PAGE];
            let read = read_exact(&*self.disk, file, 0, &mut page);
            scan.header_damaged = read.is_err() || SegmentHeader::from_page(&page) != Some(header);
            self.walk_open(&mut scan, file);
        }
        // A promise that is longer than the file still holds its place; what is gone of it is a hole.
        if scan.promised_end > scan.end {
            scan.holes.push((scan.end, scan.promised_end));
            scan.end = scan.promised_end;
        }
        scan.clean = match &self.state.clean {
            Some(ends) if file.is_none() => !ends.iter().any(|(number, _)| *number == segment),
            Some(ends) => {
                let stated = ends.contains(&(segment, scan.end));
                stated && scan.end == file_bytes && scan.holes.is_empty() && !scan.header_damaged
            }
            None => false,
        };
        scan
    }

    fn walk_open(&self, scan: &mut Scan, file: FileId) {
        let mut lister = Lister::default();
        let end = align(scan.file_bytes, crate::segment::UNIT);
        let mut walk =
            Walk::new(&*self.disk, file, &self.superblock.store_key, scan.segment, PAGE_U64, end.max(PAGE_U64));
        let mut torn: Option<(u64, u64)> = None;
        while let Some(item) = walk.next() {
            let (offset, next) = (item.offset, item.end);
            match item.found {
                Found::Bad { .. } => {
                    torn = Some((offset, next));
                    continue;
                }
                Found::Record { envelope, record, .. } => lister.add(&envelope, offset, &record),
                Found::Mark { entries, .. } => {
                    // A mark speaks for everything before it; behind a torn range it was never durable.
                    if scan.holes.is_empty() && torn.is_none() {
                        scan.marks.extend(entries);
                    }
                }
                Found::Pad { .. } => {}
            }
            scan.holes.extend(torn.take());
            scan.end = next;
        }
        scan.footer = lister.footer;
        debug_assert!(memory(scan.end).is_multiple_of(64), "everything lies on units");
    }
}
