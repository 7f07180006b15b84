// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Opening a store: superblock, ledger, open segments, index, in this order. After a power cut the open segments are
//! read and sealed; nothing below a promise is ever cut, and nothing that verifies is thrown away. Every step may be cut
//! by the next power cut and is done again then.

mod replay;
mod scan;

use crate::bytes::{PAGE, PAGE_U64};
use crate::disk::{Disk, Mode, Sharing, read_exact, read_file, replace_file};
use crate::error::{Fault, OpenError, WriteError};
use crate::heal::Range;
use crate::ledger::{self, DropEntry, Entry, Ledger, ProgressEntry, QuarantineEntry, State};
use crate::retain::RetentionClock;
use crate::scrub::Scrub;
use crate::segment::{Class, OpenSegment, SegmentHeader, dir};
use crate::session::Sessions;
use crate::store::{Handles, Store, Tail, seal_entry, slot};
use crate::superblock::{NAMES, Superblock, SuperblockError};
use crate::types::{Access, Event, Moment, Opening};
use scan::Scan;
use std::cell::RefCell;
use std::io;
use std::sync::Arc;

fn disk_error(what: impl Into<String>) -> impl FnOnce(io::Error) -> OpenError {
    let what = what.into();
    move |source| OpenError::Disk { what, source }
}

/// Opens a store.
pub(crate) fn open(disk: Arc<dyn Disk>, access: Access, now: Moment) -> Result<(Store, Opening), OpenError> {
    let mut events = Vec::new();
    let found = find_superblock(&*disk)?;
    let sharing = match access {
        Access::ReadWrite => Sharing::Exclusive,
        Access::ReadOnly => Sharing::Readers,
    };
    disk.lock("ledger", sharing).map_err(|source| {
        if source.kind() == io::ErrorKind::WouldBlock {
            OpenError::Locked
        } else {
            OpenError::Disk { what: "ledger".to_owned(), source }
        }
    })?;
    let superblock = found.superblock;
    let mut read_only = match access {
        Access::ReadOnly => Some("it was opened for reading only".to_owned()),
        Access::ReadWrite if superblock.ro_compat != 0 => {
            Some("a newer adit wrote it; install that version to take backups again".to_owned())
        }
        Access::ReadWrite => None,
    };
    let loaded = Ledger::load(&*disk, read_only.is_none())?;
    events.extend(loaded.events);
    if let Some(block) = loaded.gap {
        read_only
            .get_or_insert_with(|| format!("ledger block {block} is damaged in both copies, and later blocks exist"));
    }
    if read_only.is_none() {
        repair_superblocks(&*disk, &superblock, &found.damaged, &mut events)?;
        remove_unfinished(&*disk)?;
    }
    let clock = RetentionClock::new(&loaded.state, superblock.created_s, now);
    let index = crate::index::Index::new(superblock.store_key, 0, superblock.memtable_entries(), read_only.is_none());
    let store = Store {
        disk,
        superblock,
        state: loaded.state,
        ledger: loaded.ledger,
        index,
        open: [None, None],
        spare: [None, None],
        next_arrival: 1,
        sessions: Sessions::default(),
        read_only,
        events,
        suspects: RefCell::default(),
        handles: RefCell::new(Handles::default()),
        told_full: false,
        uncovered_ms: [None; 2],
        healed: false,
        scrub: Scrub::default(),
        tails: Vec::new(),
        clock,
    };
    recover(store, now)
}

fn recover(mut store: Store, now: Moment) -> Result<(Store, Opening), OpenError> {
    let mut opening = Opening::default();
    if store.read_only.is_none() {
        store.finish_rewrites()?;
        store.move_unknown_files()?;
    }
    store.drop_copies(now)?;
    let known = store.state.quarantine.len();
    let missing = store.missing_segments();
    let (missing, mut mended) = store.mend_missing(missing)?;
    let scans = store.scan_open_segments(&mut mended)?;
    let arrivals = store.state.segments.values().filter_map(|state| state.sealed.as_ref());
    let sealed = arrivals.map(|sealed| sealed.last_arrival).max().unwrap_or(0);
    let open = scans.iter().filter_map(|scan| scan.footer.entries.last()).map(|entry| entry.arrival).max();
    store.next_arrival = sealed.max(open.unwrap_or(0)) + 1;
    // Without an open segment there is nothing that a power cut could have torn.
    opening.clean = scans.iter().all(|scan| scan.clean);
    for scan in &scans {
        opening.scanned_bytes += scan.file_bytes;
        opening.cut_bytes += scan.file_bytes.saturating_sub(scan.end.max(PAGE_U64));
        let kept = scan.footer.entries.iter().filter(|entry| entry.offset >= scan.promised_end);
        opening.kept_records += if opening.clean { 0 } else { kept.count() as u64 };
        for mark in &scan.marks {
            store.state.note_progress(mark.source, mark.key_id, mark.seq);
        }
    }
    if store.read_only.is_some() {
        store.keep_tails(scans, missing);
    } else if opening.clean && missing.is_empty() {
        store.continue_segments(scans);
    } else {
        store.seal_segments(scans, missing, now)?;
    }
    if store.read_only.is_none() {
        store.remove_stray_parity();
        let sealed = store.state.segments.iter().filter(|(_, state)| state.sealed.is_some());
        store.scrub = Scrub::load(&*store.disk, sealed.map(|(segment, _)| *segment));
    }
    store.load_index(&mut opening)?;
    store.tell_quarantined(known);
    opening.read_only.clone_from(&store.read_only);
    if store.read_only.is_none() {
        let settled = store.settle_suspects(now).and_then(|()| store.admit(&mended, now));
        settled.map_err(|error| disk_error("the ledger")(io::Error::other(error)))?;
    }
    Ok((store, opening))
}

struct FoundSuperblock {
    superblock: Superblock,
    damaged: Vec<&'static str>,
}

/// The superblock from either copy. A copy that is too new refuses, whatever the other says.
fn find_superblock(disk: &dyn Disk) -> Result<FoundSuperblock, OpenError> {
    let mut good: Option<Superblock> = None;
    let mut damaged = Vec::new();
    let mut absent = 0;
    for name in NAMES {
        let page = match read_file(disk, name) {
            Ok(page) => page,
            Err(error) => {
                absent += usize::from(error.kind() == io::ErrorKind::NotFound);
                damaged.push(name);
                continue;
            }
        };
        match Superblock::from_page(&page) {
            Ok(superblock) => good = good.or(Some(superblock)),
            Err(SuperblockError::Newer(what)) => return Err(OpenError::Newer { what }),
            Err(SuperblockError::Damaged) => damaged.push(name),
        }
    }
    match good {
        Some(superblock) => Ok(FoundSuperblock { superblock, damaged }),
        None if absent == NAMES.len() => Err(OpenError::NotAStore),
        None => Err(OpenError::Superblock),
    }
}

fn repair_superblocks(
    disk: &dyn Disk,
    superblock: &Superblock,
    damaged: &[&'static str],
    events: &mut Vec<Event>,
) -> Result<(), OpenError> {
    for name in damaged {
        replace_file(disk, "", name, &superblock.to_page()).map_err(Fault::write(*name))?;
        events.push(Event::SuperblockRepaired(name));
    }
    Ok(())
}

/// Removes files whose writing was cut before they got their name.
fn remove_unfinished(disk: &dyn Disk) -> Result<(), OpenError> {
    for dir in ["", ledger::DIRS[0], ledger::DIRS[1], crate::cover::DIR] {
        for name in disk.list(dir).map_err(disk_error(dir))? {
            if name.ends_with(".new") {
                let path = if dir.is_empty() { name } else { format!("{dir}/{name}") };
                disk.remove(&path).map_err(Fault::write(path.as_str()))?;
            }
        }
    }
    Ok(())
}

impl Store {
    /// Moves what no ALLOC names to `lost/`: it is reported, never deleted.
    fn move_unknown_files(&mut self) -> Result<(), OpenError> {
        for class in [Class::Data, Class::Meta] {
            let mut moved = false;
            for name in self.disk.list(dir(class)).map_err(disk_error(dir(class)))? {
                if self.is_removed(class, &name) {
                    let path = format!("{}/{name}", dir(class));
                    self.disk.remove(&path).map_err(Fault::write(path.as_str()))?;
                    continue;
                }
                let known = crate::segment::number(&name)
                    .and_then(|number| self.state.segments.get(&number))
                    .is_some_and(|state| state.class == class);
                if !known {
                    let from = format!("{}/{name}", dir(class));
                    self.disk.create_dir("lost").map_err(Fault::write("lost"))?;
                    let to = format!("lost/{name}");
                    self.disk.rename(&from, &to).map_err(Fault::write(from.as_str()))?;
                    self.events.push(Event::LostFile(from));
                    moved = true;
                }
            }
            if moved {
                self.disk.sync_dir("lost").map_err(Fault::sync("lost"))?;
                self.disk.sync_dir(dir(class)).map_err(Fault::sync(dir(class)))?;
            }
        }
        Ok(())
    }

    /// Whether a file is a segment of this store that a DROP or REWRITE removed, just before a cut.
    fn is_removed(&self, class: Class, name: &str) -> bool {
        let number = crate::segment::number(name);
        let gone = |number: &u32| *number < self.state.next_segment && !self.state.segments.contains_key(number);
        let Some(number) = number.filter(gone) else { return false };
        let mut page = [0; PAGE];
        let path = crate::segment::path(class, number);
        let read = self.disk.open(&path, Mode::Read).and_then(|file| {
            let read = read_exact(&*self.disk, file, 0, &mut page);
            self.disk.close(file);
            read
        });
        read.is_ok()
            && SegmentHeader::from_page(&page).is_some_and(|header| {
                (header.number, header.class, header.store) == (number, class, self.superblock.id)
            })
    }

    /// Copies that no REWRITE names are worth nothing.
    fn drop_copies(&mut self, now: Moment) -> Result<(), OpenError> {
        let copies = self.state.segments.iter().filter(|(_, state)| state.copy);
        let copies: Vec<(u32, Class)> = copies.map(|(number, state)| (*number, state.class)).collect();
        for (segment, class) in copies {
            if self.read_only.is_some() {
                self.state.segments.remove(&segment);
                continue;
            }
            let path = crate::segment::path(class, segment);
            match self.disk.remove(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(Fault::write(path)(error).into()),
                Ok(()) | Err(_) => {}
            }
            self.disk.sync_dir(dir(class)).map_err(Fault::sync(dir(class)))?;
            let drop = [Entry::Drop(DropEntry { segment })];
            let clean = self.state.clean.clone();
            self.ledger.append(&*self.disk, &mut self.state, now.wall_s, &drop)?;
            self.state.clean = clean;
        }
        Ok(())
    }

    /// A file that a heal wrote anew gets its name, unless the bad one still has it.
    fn finish_rewrites(&self) -> Result<(), OpenError> {
        for class in [Class::Data, Class::Meta] {
            for name in self.disk.list(dir(class)).map_err(disk_error(dir(class)))? {
                let Some(proper) = name.strip_suffix(".new") else { continue };
                let (from, to) = (format!("{}/{name}", dir(class)), format!("{}/{proper}", dir(class)));
                let done = match self.disk.open(&to, Mode::Read) {
                    Ok(file) => {
                        self.disk.close(file);
                        self.disk.remove(&from)
                    }
                    Err(_) => self.disk.rename(&from, &to),
                };
                done.and_then(|()| self.disk.sync_dir(dir(class))).map_err(Fault::write(from.as_str()))?;
            }
        }
        Ok(())
    }

    /// Segments that are gone or short, from their parity. Answers those that stay so, and those that came back.
    fn mend_missing(&mut self, missing: Vec<QuarantineEntry>) -> Result<(Vec<QuarantineEntry>, Vec<Range>), OpenError> {
        let (mut left, mut mended) = (Vec::new(), Vec::new());
        for entry in missing {
            if self.read_only.is_none() && self.mend_found(entry.segment)? && self.is_framed(entry.segment) {
                mended.push((entry.segment, 0, entry.to));
            } else {
                left.push(entry);
            }
        }
        Ok((left, mended))
    }

    fn mend_found(&mut self, segment: u32) -> Result<bool, OpenError> {
        match self.mend(segment) {
            Err(WriteError::DiskFull) => Ok(false),
            other => other.map_err(|error| disk_error("a damaged segment")(io::Error::other(error))),
        }
    }

    /// Sealed segments that are gone or short, and are not known to be.
    fn missing_segments(&self) -> Vec<QuarantineEntry> {
        let sealed =
            self.state.segments.iter().filter_map(|(number, state)| Some((number, state, state.sealed.as_ref()?)));
        sealed
            .filter(|(number, state, sealed)| {
                let length =
                    self.disk.open(&crate::segment::path(state.class, **number), Mode::Read).and_then(|file| {
                        let length = self.disk.len(file);
                        self.disk.close(file);
                        length
                    });
                length.ok() != Some(sealed.length) && !self.state.is_quarantined(**number, 0)
            })
            .map(|(number, _, sealed)| QuarantineEntry { segment: *number, from: 0, to: sealed.length, promised: true })
            .collect()
    }

    /// Tells of promised bytes that opening found damaged.
    fn tell_quarantined(&mut self, known: usize) {
        let fresh = self.state.quarantine.iter().skip(known).filter(|range| range.promised);
        let ranges: Vec<_> = fresh.map(|range| (range.segment, range.from, range.to)).collect();
        if ranges.is_empty() {
            return;
        }
        // A damaged index was told of already; the range is what matters.
        let (_, records) = self.records_in(&ranges).unwrap_or_else(|_| (Vec::new(), vec![0; ranges.len()]));
        for ((segment, from, to), records) in ranges.into_iter().zip(records) {
            self.events.push(Event::Quarantined { segment, from, to, records, promised: true });
        }
    }

    /// A store that may not write takes the tails as they are.
    fn keep_tails(&mut self, scans: Vec<Scan>, missing: Vec<QuarantineEntry>) {
        let (block, hash) = self.ledger.head();
        let holes = scans.iter().flat_map(|scan| scan.quarantine());
        for entry in missing.into_iter().chain(holes) {
            self.state.apply(block, hash, &Entry::Quarantine(entry));
        }
        for scan in scans {
            if let Some(file) = scan.file {
                self.disk.close(file);
            }
            self.tails.push(Tail { segment: scan.segment, footer: scan.footer, end: scan.end });
        }
    }

    /// After a proper end the open segments go on where they stopped.
    fn continue_segments(&mut self, scans: Vec<Scan>) {
        for scan in scans {
            let class = scan.header.class;
            let Some(file) = scan.file else {
                self.spare[slot(class)] = Some(scan.segment);
                continue;
            };
            let limit = self.superblock.segment_bytes(class);
            let buffer = self.superblock.buffer_bytes();
            let mut segment = OpenSegment::resume(scan.header, file, scan.footer, scan.end, limit, buffer);
            self.resume_parity(&mut segment);
            self.open[slot(class)] = Some(segment);
        }
    }

    /// After a power cut the open segments are sealed behind their last good record; empty ones go.
    fn seal_segments(&mut self, scans: Vec<Scan>, missing: Vec<QuarantineEntry>, now: Moment) -> Result<(), OpenError> {
        let mut holes: Vec<Entry> = missing.into_iter().map(Entry::Quarantine).collect();
        let mut ends = vec![Entry::Progress(ProgressEntry::new(&self.durable_progress()))];
        for scan in scans {
            holes.extend(scan.quarantine().into_iter().map(Entry::Quarantine));
            let (class, segment) = (scan.header.class, scan.segment);
            if scan.is_empty() {
                if let Some(file) = scan.file {
                    self.disk.close(file);
                    let path = crate::segment::path(class, segment);
                    self.disk.remove(&path).map_err(Fault::write(path.as_str()))?;
                    self.disk.sync_dir(dir(class)).map_err(Fault::sync(dir(class)))?;
                }
                ends.push(Entry::Drop(DropEntry { segment }));
                continue;
            }
            let Some(file) = scan.file else { continue };
            let limit = self.superblock.segment_bytes(class);
            let mut open = OpenSegment::resume(scan.header, file, scan.footer, scan.end, limit, 0);
            if scan.header_damaged {
                open.write_header(&*self.disk)?;
            }
            let sealed = open.seal_cut(&*self.disk)?;
            self.cover_sealed(segment, file, sealed.length, sealed.footer_hash)?;
            ends.push(Entry::Seal(seal_entry(&open, sealed)));
            self.disk.close(file);
        }
        for entries in holes.chunks(256).chain(ends.chunks(256)) {
            self.ledger.append(&*self.disk, &mut self.state, now.wall_s, entries)?;
        }
        Ok(())
    }
}

/// What a segment without a scan would need: the state's view of it.
pub(crate) fn promised_end(state: &State, segment: u32) -> u64 {
    state.segments.get(&segment).map_or(0, |state| state.promised_end)
}
