// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Verification without a key: every byte is read, every hash computed, both ledger copies and superblocks compared. What
//! is damaged is set aside: promises that rest on it count as incomplete, and the source is asked for it again.

use crate::bytes::{PAGE, PAGE_U64};
use crate::disk::{FileId, Mode, read_exact, read_file};
use crate::error::{ReadError, WriteError};
use crate::heal::Range;
use crate::index::tag;
use crate::ledger::{Entry, QuarantineEntry};
use crate::segment::{Footer, Found, SegmentHeader, TRAILER_BYTES, Walk};
use crate::store::Store;
use crate::superblock::{NAMES, Superblock};
use crate::types::{Event, Moment, Step, VerifyReport};
use adit_wire::admin::DAMAGED_IDS_MAX;
use adit_wire::ids::{Id, SourceId};
use adit_wire::record::{HEADER_BYTES, Header};
use std::collections::VecDeque;
use std::sync::Arc;

/// Places reported one by one; more are only counted by not being clean.
const PLACES_MAX: usize = 1_000;

/// A verification of everything, done in steps.
#[derive(Debug)]
pub struct Verification {
    waiting: VecDeque<u32>,
    current: Option<Current>,
    done: u64,
    total: u64,
    started: bool,
    /// One segment alone is read: ledger, superblocks and snapshots are others' work.
    alone: bool,
    report: VerifyReport,
    /// Damage found in this step.
    found: Vec<Range>,
    /// Bytes between records that are not zero.
    strays: Vec<Range>,
}

/// The segment that is being read.
#[derive(Debug)]
struct Current {
    segment: u32,
    file: FileId,
    at: u64,
    end: u64,
    /// `None` when the footer is damaged: then records are checked by themselves only.
    footer: Option<Footer>,
    next: usize,
}

impl Store {
    /// Starts a verification of everything.
    #[must_use]
    pub fn verification(&self) -> Verification {
        let total = self.state.segments.iter().map(|(number, state)| {
            let open = self.open.iter().flatten().find(|segment| segment.number() == *number);
            let sealed = state.sealed.as_ref().map_or(0, |sealed| sealed.length);
            open.map_or(sealed, |segment| segment.end())
        });
        Verification {
            waiting: self.state.segments.keys().copied().collect(),
            current: None,
            done: 0,
            total: total.sum(),
            started: false,
            alone: false,
            report: VerifyReport::default(),
            found: Vec::new(),
            strays: Vec::new(),
        }
    }

    /// Sets aside what reads found damaged.
    pub(crate) fn settle_suspects(&mut self, now: Moment) -> Result<(), WriteError> {
        let suspects = std::mem::take(&mut *self.suspects.borrow_mut());
        if suspects.is_empty() {
            return Ok(());
        }
        let mut ranges = Vec::new();
        let scanned = self.index.for_locs(&*self.disk, &mut |_, loc| {
            if suspects.contains(&(loc.segment, loc.offset)) {
                ranges.push((loc.segment, loc.offset, loc.offset + record_span(loc.length)));
            }
        });
        scanned.map_err(|_| self.index_damaged())?;
        ranges.sort_unstable();
        ranges.dedup();
        self.set_aside(&ranges, now).map(|_| ())
    }

    /// Heals damaged ranges, or notes them in the ledger and in the index. Answers those that stay damaged.
    pub(crate) fn set_aside(&mut self, ranges: &[Range], now: Moment) -> Result<Vec<Range>, WriteError> {
        let fresh: Vec<_> = ranges
            .iter()
            // What collection removed meanwhile needs no healing.
            .filter(|range| self.state.segments.contains_key(&range.0) && !self.is_known(range))
            .copied()
            .collect();
        if fresh.is_empty() {
            return Ok(Vec::new());
        }
        let fresh = self.heal_ranges(&fresh, now)?;
        if fresh.is_empty() {
            return Ok(fresh);
        }
        let entries: Vec<Entry> = fresh
            .iter()
            .map(|(segment, from, to)| {
                Entry::Quarantine(QuarantineEntry { segment: *segment, from: *from, to: *to, promised: true })
            })
            .collect();
        for entries in entries.chunks(256) {
            if self.read_only.is_none() {
                self.note(now, entries)?;
            } else {
                let (block, hash) = self.ledger.head();
                entries.iter().for_each(|entry| self.state.apply(block, hash, entry));
            }
        }
        let (numbers, records) = self.records_in(&fresh)?;
        let disk = Arc::clone(&self.disk);
        self.index.set_bad(&*disk, &numbers).map_err(|_| self.index_damaged())?;
        for ((segment, from, to), records) in fresh.iter().copied().zip(records) {
            self.events.push(Event::Quarantined { segment, from, to, records, promised: true });
        }
        Ok(fresh)
    }

    /// Numbers of the records in some ranges, and how many lie in each.
    pub(crate) fn records_in(&mut self, ranges: &[(u32, u64, u64)]) -> Result<(Vec<u32>, Vec<u64>), WriteError> {
        let mut numbers = Vec::new();
        let mut records = vec![0; ranges.len()];
        let scanned = self.index.for_locs(&*self.disk, &mut |number, loc| {
            let within =
                |(segment, from, to): &(u32, u64, u64)| *segment == loc.segment && (*from..*to).contains(&loc.offset);
            if let Some(place) = ranges.iter().position(within) {
                numbers.push(number);
                records[place] += 1;
            }
        });
        scanned.map_err(|_| self.index_damaged())?;
        Ok((numbers, records))
    }

    fn is_healthy(&self, source: &SourceId, id: &Id) -> bool {
        let tag = tag(&self.superblock.store_key, source, id);
        matches!(self.index.find(&*self.disk, &tag), Ok(Some(number)) if self.index.is_ok(number))
    }

    /// Whether a range was set aside before.
    fn is_known(&self, (segment, from, to): &(u32, u64, u64)) -> bool {
        let ranges = self.state.quarantine.iter();
        ranges.into_iter().any(|known| known.segment == *segment && known.from <= *from && *to <= known.to)
    }

    /// A sealed segment's footer and where it begins, if it is what its SEAL says.
    pub(crate) fn read_footer(&self, segment: u32, file: FileId) -> Option<(Footer, u64)> {
        let sealed = self.state.segments.get(&segment)?.sealed.as_ref()?;
        let mut trailer = [0; TRAILER_BYTES];
        read_exact(&*self.disk, file, sealed.length.checked_sub(TRAILER_BYTES as u64)?, &mut trailer).ok()?;
        let offset = Footer::locate(&trailer, sealed.length)?;
        let mut header = [0; PAGE];
        read_exact(&*self.disk, file, 0, &mut header).ok()?;
        let mut bytes = vec![0; crate::bytes::memory(sealed.length - offset)];
        read_exact(&*self.disk, file, offset, &mut bytes).ok()?;
        let footer = Footer::from_bytes(&bytes, &header, &sealed.footer_hash)?;
        Some((footer, offset))
    }
}

/// Bytes from a record's envelope to the next.
pub(crate) const fn record_span(length: u32) -> u64 {
    crate::bytes::align(crate::segment::ENVELOPE_BYTES as u64 + length as u64, crate::segment::UNIT)
}

/// The records that lie from here on by their own headers, up to the first that the index doesn't know in its place:
/// nothing else vouches for a header whose record is damaged.
fn by_headers(store: &Store, current: &Current, from: u64, to: u64) -> Vec<(SourceId, Id, u64)> {
    let mut found = Vec::new();
    let mut at = from;
    while let Some((source, id, length)) = header_at(store, current, at).filter(|_| at < to) {
        found.push((source, id, at));
        at += record_span(length);
    }
    found
}

fn header_at(store: &Store, current: &Current, offset: u64) -> Option<(SourceId, Id, u32)> {
    let mut header = [0; HEADER_BYTES];
    read_exact(&*store.disk, current.file, offset + crate::segment::ENVELOPE_BYTES as u64, &mut header).ok()?;
    let id = Header::from_bytes(&header).ok()?.id;
    store.state.sources.iter().map(|state| state.source.id).find_map(|source| {
        let tag = tag(&store.superblock.store_key, &source, &id);
        let number = store.index.find(&*store.disk, &tag).ok().flatten()?;
        let loc = store.index.loc(&*store.disk, number).ok()?;
        ((loc.segment, loc.offset) == (current.segment, offset)).then_some((source, id, loc.length))
    })
}

impl Verification {
    /// A verification of one segment.
    pub(crate) fn of_segment(store: &Store, segment: u32) -> Self {
        let total =
            store.state.segments.get(&segment).and_then(|state| state.sealed.as_ref()).map_or(0, |it| it.length);
        Self { waiting: VecDeque::from([segment]), alone: true, total, ..store.verification() }
    }

    /// Reads about `max_bytes` more. Damage found is set aside at once; a store that may not write notes it in memory.
    ///
    /// # Errors
    /// When the disk fails in a way that is not damage.
    pub fn step(&mut self, store: &mut Store, max_bytes: u64, now: Moment) -> Result<Step, ReadError> {
        if !self.started {
            self.started = true;
            if store.read_only.is_none() && !self.alone {
                match store.sync(now) {
                    // What a full disk does not take was never promised; all that lies there is read.
                    Ok(()) | Err(WriteError::DiskFull) => {}
                    Err(error) => return Err(ReadError::Write(error)),
                }
            }
        }
        let until = self.done.saturating_add(max_bytes.max(1));
        while self.done < until {
            if self.current.is_none() {
                let Some(segment) = self.waiting.pop_front() else { return self.finish(store, now) };
                self.frame(store, segment, now)?;
                self.start(store, segment);
                continue;
            }
            self.read(store, until)?;
        }
        self.settle(store, now)?;
        Ok(Step::Working { done: self.done, total: self.total.max(self.done) })
    }

    fn settle(&mut self, store: &mut Store, now: Moment) -> Result<(), ReadError> {
        let found = std::mem::take(&mut self.found);
        let left = store.set_aside(&found, now).map_err(ReadError::Write)?;
        let strays = std::mem::take(&mut self.strays);
        let left_strays = store.heal_ranges(&strays, now).map_err(ReadError::Write)?;
        for (segment, _, end) in &left_strays {
            self.place(format!("segment {segment:08x}: stray bytes before {end}"));
        }
        self.report.healed_ranges.extend(strays.iter().filter(|stray| !left_strays.contains(stray)));
        let healed = found.iter().filter(|range| store.read_only.is_none() && !left.contains(range));
        self.report.healed_ranges.extend(healed);
        self.report.damaged_ranges.extend(if store.read_only.is_some() { found } else { left });
        Ok(())
    }

    fn place(&mut self, what: String) {
        if self.report.damaged_places.len() < PLACES_MAX {
            self.report.damaged_places.push(what);
        }
    }

    /// Without its header or footer a segment is read the hard way: parity first.
    fn frame(&mut self, store: &mut Store, segment: u32, now: Moment) -> Result<(), ReadError> {
        if !self.alone && store.has_wrong_parity(segment) {
            self.place(format!("{} is damaged", crate::cover::path(segment)));
        }
        if store.read_only.is_some() || store.is_framed(segment) {
            return Ok(());
        }
        store.mend(segment)?;
        let length =
            store.state.segments.get(&segment).and_then(|state| state.sealed.as_ref()).map_or(0, |it| it.length);
        if store.is_framed(segment) {
            let healed =
                if store.quarantined_in(segment).is_empty() { (segment, 0, PAGE_U64) } else { (segment, 0, length) };
            if store.admit(&[healed], now)?.is_empty() {
                self.report.healed_ranges.push(healed);
            }
        }
        Ok(())
    }

    fn start(&mut self, store: &Store, segment: u32) {
        // Collection may have removed it meanwhile.
        let Some(state) = store.state.segments.get(&segment) else { return };
        let path = crate::segment::path(state.class, segment);
        let open = store.open.iter().flatten().find(|open| open.number() == segment);
        if open.is_none() && state.sealed.is_none() && state.promised_end == 0 {
            let scanned = store.tails.iter().find(|tail| tail.segment == segment);
            if scanned.is_none_or(|tail| tail.footer.entries.is_empty()) {
                return;
            }
        }
        let Ok(file) = store.disk.open(&path, Mode::Read) else {
            if !store.is_known(&(segment, 0, 1)) {
                self.place(format!("{path} is missing"));
                let end = state.sealed.as_ref().map_or(state.promised_end, |sealed| sealed.length);
                self.found.push((segment, 0, end));
            }
            return;
        };
        store.disk.uncache(file);
        let mut header = [0; PAGE];
        let right = read_exact(&*store.disk, file, 0, &mut header).is_ok()
            && SegmentHeader::from_page(&header).is_some_and(|header| {
                (header.number, header.class, header.store) == (segment, state.class, store.superblock.id)
            });
        if !right && !store.is_known(&(segment, 0, PAGE_U64)) {
            self.place(format!("{path}: the header is damaged"));
        }
        self.report.segments += 1;
        self.done += PAGE_U64;
        self.report.bytes += PAGE_U64;
        let tail = store.tails.iter().find(|tail| tail.segment == segment);
        let (footer, end) = if let Some(open) = open {
            (Some(open.footer().clone()), open.durable())
        } else if let Some(tail) = tail {
            (Some(tail.footer.clone()), tail.end)
        } else {
            let length = state.sealed.as_ref().map_or(0, |sealed| sealed.length);
            match store.read_footer(segment, file) {
                Some((footer, offset)) => {
                    self.done += length - offset;
                    self.report.bytes += length - offset;
                    (Some(footer), offset)
                }
                None => {
                    if !store.is_known(&(segment, 0, 1)) {
                        self.place(format!("{path}: the footer is damaged"));
                    }
                    (None, length)
                }
            }
        };
        self.current = Some(Current { segment, file, at: PAGE_U64, end, footer, next: 0 });
    }

    /// Reads the current segment up to `until` bytes in all, or to its end.
    fn read(&mut self, store: &mut Store, until: u64) -> Result<(), ReadError> {
        let Some(mut current) = self.current.take() else { return Ok(()) };
        let disk = Arc::clone(&store.disk);
        let key = store.superblock.store_key;
        let mut walk = Walk::new(&*disk, current.file, &key, current.segment, current.at, current.end);
        while self.done < until {
            let Some(item) = walk.next() else {
                disk.close(current.file);
                return Ok(());
            };
            let (offset, end) = (item.offset, item.end);
            let stray = match item.found {
                Found::Record { envelope, record, clean } => {
                    self.report.records += 1;
                    let set_aside = store.is_known(&(current.segment, offset, end));
                    self.check_listed(&mut current, offset, &record, set_aside);
                    let source = store.state.source(envelope.source).map(|state| state.source.id);
                    let tag = source.map(|source| tag(&key, &source, &record.header.id));
                    let known = tag.map_or(Ok(None), |tag| store.index.find(&*disk, &tag));
                    if !matches!(known, Ok(Some(_))) {
                        self.place(format!("segment {:08x}: the index misses the record at {offset}", current.segment));
                        // The index is rebuilt at the next start; what is stored is fine.
                        let error = store.index_damaged();
                        log::error!("{error}");
                    }
                    !clean
                }
                Found::Pad { clean } | Found::Mark { clean, .. } => !clean,
                Found::Bad { zero } => {
                    self.bad(store, &mut current, offset, end, zero);
                    false
                }
            };
            if stray {
                self.strays.push((current.segment, offset, end));
            }
            current.at = end;
            self.done += end - offset;
            self.report.bytes += end - offset;
        }
        self.current = Some(current);
        Ok(())
    }

    /// A footer does not list what could not be read when it was written; the disk may give it again later.
    fn check_listed(
        &mut self,
        current: &mut Current,
        offset: u64,
        record: &adit_wire::record::Record<'_>,
        set_aside: bool,
    ) {
        let Some(footer) = &current.footer else { return };
        let listed = footer
            .entries
            .get(current.next)
            .is_some_and(|entry| entry.offset == offset && entry.hash == record.hash && entry.id == record.header.id);
        if listed {
            current.next += 1;
        } else if !set_aside {
            let what = format!("segment {:08x}: the record at {offset} is not what its footer lists", current.segment);
            self.place(what);
        }
    }

    fn bad(&mut self, store: &Store, current: &mut Current, from: u64, to: u64, zero: bool) {
        let entries = current.footer.as_ref().map_or(&[][..], |footer| &footer.entries);
        let lost = entries[current.next.min(entries.len())..].iter().take_while(|entry| entry.offset < to).count();
        let named: Vec<_> = entries[current.next.min(entries.len())..][..lost]
            .iter()
            .filter_map(|entry| Some((store.state.source(entry.source)?.source.id, entry.id, entry.offset)))
            .collect();
        current.next += lost;
        let unlisted = if named.is_empty() { by_headers(store, current, from, to) } else { Vec::new() };
        for (source, id, offset) in named.into_iter().chain(unlisted) {
            self.name(store, (source, id), (current.segment, offset));
        }
        // A segment that was cut ends with zeros up to its footer.
        let gap = zero && to == current.end && to - from < PAGE_U64 && lost == 0;
        // Without a footer, what follows the last record is the footer itself, and was reported.
        let footer = current.footer.is_none() && to == current.end;
        if !gap && !footer && !store.is_known(&(current.segment, from, to)) {
            self.found.push((current.segment, from, to));
        }
    }

    /// Names a record whose copy at this place is damaged, unless a healthy copy lies elsewhere.
    fn name(&mut self, store: &Store, (source, id): (SourceId, Id), place: (u32, u64)) {
        let tag = tag(&store.superblock.store_key, &source, &id);
        let healthy_elsewhere = matches!(store.index.find(&*store.disk, &tag), Ok(Some(number))
            if store.index.is_ok(number)
                && store.index.loc(&*store.disk, number).is_ok_and(|loc| (loc.segment, loc.offset) != place));
        if !healthy_elsewhere && self.report.damaged_ids.len() < DAMAGED_IDS_MAX {
            self.report.damaged_ids.push((source, id));
        }
    }

    fn finish(&mut self, store: &mut Store, now: Moment) -> Result<Step, ReadError> {
        self.settle(store, now)?;
        if self.alone {
            return Ok(Step::Finished(std::mem::take(&mut self.report)));
        }
        self.report.damaged_ids.retain(|(source, id)| !store.is_healthy(source, id));
        let mut places = Vec::new();
        for (blocks, damage) in [store.ledger.verify(&*store.disk), store.ledger.verify_older(&*store.disk)] {
            self.report.ledger_blocks += blocks;
            places.extend(damage);
        }
        for name in NAMES {
            let page = read_file(&*store.disk, name).ok();
            let same = page.is_some_and(|page| Superblock::from_page(&page).as_ref() == Ok(&store.superblock));
            if !same {
                places.push(format!("superblock {name} is damaged"));
            }
        }
        let index = store.index.for_locs(&*store.disk, &mut |_, _| {});
        if index.and_then(|()| store.index.for_edges(&*store.disk, &mut |_, _, _| {})).is_err() {
            places.push(store.index_damaged().to_string());
        }
        places.into_iter().for_each(|what| self.place(what));
        self.report.damaged_records = store.index.damaged();
        self.report.incomplete_snapshots = store
            .state
            .sources
            .iter()
            .flat_map(|state| state.snapshots.iter().map(move |snapshot| (state.source.id, snapshot)))
            .filter(|(source, snapshot)| !store.is_snapshot_complete(source, snapshot))
            .map(|(source, snapshot)| (source, snapshot.seq))
            .collect();
        Ok(Step::Finished(std::mem::take(&mut self.report)))
    }
}
