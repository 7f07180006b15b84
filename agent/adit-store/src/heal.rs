// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Healing on one disk alone: what a segment lost is computed from its parity and put back, first in its place, where a
//! rewritten sector is moved by the disk; else the whole file anew beside the bad one.
//!
//! A heal is proved before it is noted: the bytes are read again past the cache, and records are walked as a verification
//! does. A power cut in between leaves damage that the same parity heals again, so nothing has to be announced.

use crate::bytes::{PAGE, PAGE_U64, memory};
use crate::cover::{self, CHUNK_BYTES};
use crate::disk::{Disk, FileId, Mode, read_exact, read_pages};
use crate::error::{Fault, WriteError};
use crate::index::{Damaged, Tag, tag};
use crate::ledger::{Entry, HealEntry, HealedBy};
use crate::parity::{Healing, ParityFile, Restored};
use crate::segment::{Found, SegmentHeader, Walk, dir};
use crate::store::Store;
use crate::types::{Event, Moment};
use adit_wire::ids::{Id, SourceId};
use adit_wire::record::{Class, Record};
use std::io;
use std::sync::Arc;

/// A range of a segment: its number, first byte, byte after the last.
pub(crate) type Range = (u32, u64, u64);
/// HEAL entries of one ledger block.
const ENTRIES_PER_BLOCK: usize = 256;

impl Store {
    /// Heals ranges that do not verify; answers those that stay damaged.
    pub(crate) fn heal_ranges(&mut self, ranges: &[Range], now: Moment) -> Result<Vec<Range>, WriteError> {
        if self.read_only.is_some() {
            return Ok(ranges.to_vec());
        }
        let mut segments: Vec<u32> = ranges.iter().map(|(segment, ..)| *segment).collect();
        segments.dedup();
        for segment in segments {
            // What was beyond parity a moment ago is not read through again for each record.
            if !self.scrub.is_hopeless(segment) {
                self.mend(segment)?;
            }
        }
        self.admit(ranges, now)
    }

    /// Notes those ranges as healed that verify; answers the others.
    pub(crate) fn admit(&mut self, ranges: &[Range], now: Moment) -> Result<Vec<Range>, WriteError> {
        let (healed, left): (Vec<_>, Vec<_>) = ranges.iter().copied().partition(|range| self.is_sound(*range));
        self.note_healed(&healed, now)?;
        Ok(left)
    }

    /// Puts back everything that parity gives of a segment; false when nothing had to be or could be.
    pub(crate) fn mend(&mut self, segment: u32) -> Result<bool, WriteError> {
        let Some(parity) = self.parity_of(segment) else { return Ok(false) };
        let disk = Arc::clone(&self.disk);
        let Some(state) = self.state.segments.get(&segment) else { return Ok(false) };
        let place = Place { class: state.class, path: crate::segment::path(state.class, segment), segment };
        let (covered, hash) = (parity.covered, parity.footer_hash);
        let restored = read_beside(&*disk, &place.path, parity);
        if !restored.beyond.is_empty() {
            self.scrub.beyond_parity(segment);
        }
        if !restored.cells.is_empty() {
            let put = put_back(&*disk, &place, &restored.cells, covered).map_err(|fault| self.fail(fault))?;
            if put == Put::Rewritten {
                self.reopen(segment)?;
            }
        }
        if restored.parity_damaged && restored.beyond.is_empty() {
            self.rewrite_parity(segment, &restored.encoder.to_file(segment, hash))?;
        }
        Ok(!restored.cells.is_empty())
    }

    pub(crate) fn rewrite_parity(&mut self, segment: u32, bytes: &[u8]) -> Result<(), WriteError> {
        let disk = Arc::clone(&self.disk);
        if cover::write(&*disk, segment, bytes).map_err(|fault| self.fail(fault))? {
            self.events.push(Event::ParityRewritten { segment });
        }
        Ok(())
    }

    /// A segment's parity file, if it is of this segment as it is now, or of an earlier state of it.
    fn parity_of(&self, segment: u32) -> Option<ParityFile> {
        let state = self.state.segments.get(&segment)?;
        let parity = cover::read(&*self.disk, segment, self.shape())?;
        let fits = match &state.sealed {
            Some(sealed) if parity.footer_hash == sealed.footer_hash => parity.covered == sealed.length,
            Some(sealed) => parity.footer_hash == [0; 32] && parity.covered <= sealed.length,
            None => true,
        };
        fits.then_some(parity)
    }

    /// The file has another inode now: whoever holds the old one takes the new.
    fn reopen(&mut self, segment: u32) -> Result<(), WriteError> {
        let disk = Arc::clone(&self.disk);
        let stale = |(number, _): &(u32, FileId)| *number == segment;
        let mut handles = self.handles.borrow_mut();
        handles.files.extract_if(.., |held| stale(held)).for_each(|(_, file)| disk.close(file));
        drop(handles);
        if let Some(open) = self.open.iter_mut().flatten().find(|open| open.number() == segment) {
            let path = crate::segment::path(open.class(), segment);
            match disk.open(&path, Mode::Write) {
                Ok(file) => disk.close(open.replace_file(file)),
                Err(error) => return Err(self.fail(Fault::write(path)(error))),
            }
        }
        Ok(())
    }

    /// Whether a range verifies, read past the cache.
    fn is_sound(&self, (segment, from, to): Range) -> bool {
        let Some(state) = self.state.segments.get(&segment) else { return true };
        let Ok(file) = self.disk.open(&crate::segment::path(state.class, segment), Mode::Read) else { return false };
        self.disk.uncache(file);
        let end = match &state.sealed {
            Some(_) => self.read_footer(segment, file).map(|(_, offset)| offset),
            None => Some(to),
        };
        let sound = end.is_some_and(|end| {
            let (start, end) = (from.max(PAGE_U64), to.min(end));
            let mut walk = Walk::new(&*self.disk, file, &self.superblock.store_key, segment, start, end);
            (from >= PAGE_U64 || self.has_header(segment, file)) && all_found(&mut walk, end)
        });
        self.disk.close(file);
        sound
    }

    /// Whether a segment's first page is what it should be.
    pub(crate) fn has_header(&self, segment: u32, file: FileId) -> bool {
        let class = self.state.segments.get(&segment).map(|state| state.class);
        let mut page = [0; PAGE];
        read_exact(&*self.disk, file, 0, &mut page).is_ok()
            && SegmentHeader::from_page(&page).is_some_and(|header| {
                (header.number, Some(header.class), header.store) == (segment, class, self.superblock.id)
            })
    }

    /// Whether a sealed segment's file has its length, its header and its footer.
    pub(crate) fn is_framed(&self, segment: u32) -> bool {
        let Some(state) = self.state.segments.get(&segment) else { return true };
        let Some(sealed) = &state.sealed else { return true };
        let Ok(file) = self.disk.open(&crate::segment::path(state.class, segment), Mode::Read) else { return false };
        let framed = self.disk.len(file).ok() == Some(sealed.length)
            && self.has_header(segment, file)
            && self.read_footer(segment, file).is_some();
        self.disk.close(file);
        framed
    }

    /// Ranges verify again: what was set aside of them counts as healthy. The index comes first, so that a power cut
    /// leaves a range that is set aside and sound, which the next scrub finds.
    pub(crate) fn note_healed(&mut self, ranges: &[Range], now: Moment) -> Result<(), WriteError> {
        let known: Vec<_> = ranges.iter().filter(|range| self.touches_quarantine(range)).copied().collect();
        if !known.is_empty() {
            let (numbers, _) = self.records_in(&known)?;
            self.readmit(&numbers).map_err(|_| self.index_damaged())?;
            match self.sync(now).and_then(|()| self.write_tables()) {
                // Set aside a little longer: the next scrub tries again.
                Err(WriteError::DiskFull) => return Ok(()),
                other => other?,
            }
        }
        for ranges in ranges.chunks(ENTRIES_PER_BLOCK) {
            let heal = |(segment, from, to): &Range| {
                Entry::Heal(HealEntry { segment: *segment, from: *from, to: *to, id: None, by: HealedBy::Parity })
            };
            self.note(now, &ranges.iter().map(heal).collect::<Vec<_>>())?;
        }
        for (segment, from, to) in ranges {
            self.events.push(Event::HealedRange { segment: *segment, from: *from, to: *to });
        }
        Ok(())
    }

    /// Records are healthy again in the index.
    fn readmit(&mut self, numbers: &[u32]) -> Result<(), Damaged> {
        let disk = Arc::clone(&self.disk);
        for (number, loc) in self.index.clear_bad(&*disk, numbers)? {
            let source = self.state.source(loc.source).map(|state| state.source.id);
            let (Some(source), Ok(bytes)) = (source, self.read_loc(&loc, Id::ZERO)) else { continue };
            let Ok(node) = Record::assume_checked(&bytes) else { continue };
            let refs = self.replay_refs(&source, loc.source, &node)?;
            self.index.add_edges(number, loc.height, &refs);
        }
        self.index.refresh_complete(&*disk)
    }

    fn touches_quarantine(&self, (segment, from, to): &Range) -> bool {
        self.state.quarantine.iter().any(|range| range.segment == *segment && range.from < *to && *from < range.to)
    }

    /// Records of a source that are damaged here and that it should send again, at most `count_max`.
    #[must_use]
    pub fn wanted(&self, source: &SourceId, count_max: usize) -> Vec<Id> {
        let Some(number) = self.state.number_of(source) else { return Vec::new() };
        let mut segments: Vec<u32> = self.state.quarantine.iter().map(|range| range.segment).collect();
        segments.dedup();
        let mut wanted = Vec::new();
        for segment in segments {
            let footer = self.footer_of(segment);
            let lost = footer.entries.iter().filter(|entry| {
                matches!(entry.class, Class::Data | Class::Node)
                    && entry.source == number
                    && self.state.is_quarantined(segment, entry.offset)
                    && self.is_damaged(&tag(&self.superblock.store_key, source, &entry.id))
            });
            wanted.extend(lost.map(|entry| entry.id));
        }
        wanted.sort_unstable();
        wanted.dedup();
        wanted.truncate(count_max);
        wanted
    }

    fn is_damaged(&self, tag: &Tag) -> bool {
        matches!(self.index.find(&*self.disk, tag), Ok(Some(number)) if self.index.is_bad(number))
    }

    /// Ranges of a segment that were set aside earlier.
    pub(crate) fn quarantined_in(&self, segment: u32) -> Vec<Range> {
        let ranges = self.state.quarantine.iter().filter(|range| range.segment == segment);
        ranges.map(|range| (segment, range.from, range.to)).collect()
    }
}

/// Whether everything up to `end` is what a store writes; a cut segment ends with zeros up to its footer.
fn all_found(walk: &mut Walk<'_>, end: u64) -> bool {
    while let Some(item) = walk.next() {
        let sound = match item.found {
            Found::Record { clean, .. } | Found::Pad { clean } | Found::Mark { clean, .. } => clean,
            Found::Bad { zero } => zero && item.end == end && item.end - item.offset < PAGE_U64,
        };
        if !sound {
            return false;
        }
    }
    true
}

/// Where a segment's file lies.
struct Place {
    class: crate::segment::Class,
    path: String,
    segment: u32,
}

/// How cells got back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Put {
    InPlace,
    Rewritten,
}

/// Reads a file beside its parity, cell by cell. One that is not there has lost all cells.
fn read_beside(disk: &dyn Disk, path: &str, parity: ParityFile) -> Restored {
    let file = disk.open(path, Mode::Read).ok();
    if let Some(file) = file {
        disk.uncache(file);
    }
    let cell = parity.shape.cell();
    let chunk = CHUNK_BYTES.max(cell);
    let mut healing = Healing::new(parity);
    let (mut at, covered) = (0, healing.covered());
    let mut bytes = vec![0; memory(chunk.min(covered))];
    while at < covered {
        let count = memory(chunk.min(covered - at));
        let part = &mut bytes[..count];
        let (within, unreadable) = file.map_or((0, Vec::new()), |file| read_pages(disk, file, at, part));
        for (place, bytes) in part.chunks(memory(cell)).enumerate() {
            let from = at + place as u64 * cell;
            let to = from + bytes.len() as u64;
            let given =
                to <= at + within as u64 && !unreadable.iter().any(|page| *page < to && from < *page + PAGE_U64);
            healing.push(given.then_some(bytes));
        }
        at += count as u64;
    }
    if let Some(file) = file {
        disk.close(file);
    }
    healing.finish()
}

/// Puts cells back in their place, or else writes the whole file anew.
fn put_back(disk: &dyn Disk, place: &Place, cells: &[(u64, Vec<u8>)], covered: u64) -> Result<Put, Fault> {
    match put_in_place(disk, place, cells) {
        Ok(true) => Ok(Put::InPlace),
        Err(error) if matches!(Fault::write("")(io::Error::from(error.kind())), Fault::Full) => Err(Fault::Full),
        Ok(false) | Err(_) => {
            rewrite(disk, place, cells, covered).map_err(Fault::write(place.path.as_str()))?;
            Ok(Put::Rewritten)
        }
    }
}

/// False when the disk does not give back what it took.
fn put_in_place(disk: &dyn Disk, place: &Place, cells: &[(u64, Vec<u8>)]) -> io::Result<bool> {
    let file = match disk.open(&place.path, Mode::Write) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => disk.open(&place.path, Mode::CreateNew)?,
        other => other?,
    };
    let put = (|| {
        for (offset, cell) in cells {
            disk.write_at(file, *offset, cell)?;
        }
        disk.sync(file)?;
        disk.sync_dir(dir(place.class))?;
        disk.uncache(file);
        for (offset, cell) in cells {
            let mut again = vec![0; cell.len()];
            if read_exact(disk, file, *offset, &mut again).is_err() || again != *cell {
                return Ok(false);
            }
        }
        Ok(true)
    })();
    disk.close(file);
    put
}

/// Writes the file anew under another name and sets the bad one aside, so that its blocks are not used again.
fn rewrite(disk: &dyn Disk, place: &Place, cells: &[(u64, Vec<u8>)], covered: u64) -> io::Result<()> {
    let new_path = format!("{}.new", place.path);
    let (old, new) = (disk.open(&place.path, Mode::Read)?, disk.open(&new_path, Mode::CreateOrEmpty)?);
    let copied = (|| {
        let end = disk.len(old)?.max(covered);
        let mut cells = cells.iter().peekable();
        let mut at = 0;
        while at < end {
            let mut bytes = vec![0; memory(CHUNK_BYTES.min(end - at))];
            let _unreadable = read_pages(disk, old, at, &mut bytes);
            disk.write_at(new, at, &bytes)?;
            at += bytes.len() as u64;
            while let Some((offset, cell)) = cells.next_if(|(offset, cell)| offset + cell.len() as u64 <= at) {
                disk.write_at(new, *offset, cell)?;
            }
        }
        disk.sync(new)
    })();
    disk.close(old);
    disk.close(new);
    copied?;
    disk.create_dir("lost")?;
    disk.rename(&place.path, &format!("lost/{:08x}.bad", place.segment))?;
    disk.rename(&new_path, &place.path)?;
    disk.sync_dir(dir(place.class))?;
    disk.sync_dir("lost")
}

/// Where the right bytes came from, in one word.
pub(crate) const fn word(by: HealedBy) -> &'static str {
    match by {
        HealedBy::Parity => "parity",
        HealedBy::Replica => "replica",
        HealedBy::Source => "source",
        HealedBy::Rewrite => "rewrite",
    }
}
