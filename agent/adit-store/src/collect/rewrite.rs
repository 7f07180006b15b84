// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Copying what is left of sparse segments, verbatim, every hash checked, read back before the originals go.

use super::Stop;
use crate::bytes::PAGE_U64;
use crate::error::Fault;
use crate::index::{Loc, copy_tag, tag};
use crate::ledger::{AllocEntry, DropEntry, Entry, RewriteEntry};
use crate::segment::{Class, Footer, Found, NO_KEY, OpenSegment, Sealed, SegmentHeader, Walk, path};
use crate::store::{Store, seal_entry};
use crate::types::Moment;
use adit_wire::ids::{Id, KeyId};
use adit_wire::record::Record;
use std::sync::Arc;

/// Bytes that are copied, or compared, in one turn.
const TURN_BYTES: u64 = 1 << 20;

/// Some segments of one class whose live records go to a new one.
#[derive(Debug)]
pub(super) struct Copying {
    class: Class,
    from: Vec<u32>,
    /// Segments of `from` whose footers are read.
    listed: usize,
    items: Vec<Item>,
    copied: usize,
    target: Option<OpenSegment>,
    sealed: Option<Sealed>,
    compared_to: u64,
    compared: usize,
    pub(super) io_bytes: u64,
}

#[derive(Clone, Copy, Debug)]
struct Item {
    arrival: u64,
    number: u32,
    loc: Loc,
    id: Id,
    key_id: KeyId,
}

/// What one turn came to.
pub(super) enum Turn {
    More,
    Ended { segments: u64, records: u64, freed_bytes: u64 },
}

const NOTHING: Turn = Turn::Ended { segments: 0, records: 0, freed_bytes: 0 };

impl Copying {
    pub(super) const fn new(class: Class, from: Vec<u32>) -> Self {
        Self {
            class,
            from,
            listed: 0,
            items: Vec::new(),
            copied: 0,
            target: None,
            sealed: None,
            compared_to: PAGE_U64,
            compared: 0,
            io_bytes: 0,
        }
    }

    pub(super) fn turn(&mut self, store: &mut Store, now: Moment) -> Result<Turn, Stop> {
        if self.listed < self.from.len() {
            return self.list(store);
        }
        if self.items.is_empty() {
            return Ok(NOTHING);
        }
        if self.target.is_none() {
            self.items.sort_unstable_by_key(|item| item.arrival);
            self.create(store, now)?;
        }
        let whole = if self.copied < self.items.len() {
            self.copy(store)?
        } else if self.sealed.is_none() {
            self.seal(store)?;
            true
        } else {
            self.compare(store)
        };
        if !whole {
            // Damage was found on the way: the segments stay as they are, for healing.
            self.abandon(store, now)?;
            return Ok(NOTHING);
        }
        if self.sealed.is_some() && self.compared == self.items.len() {
            self.finish(store, now)
        } else {
            Ok(Turn::More)
        }
    }

    /// Lists what the index still wants of the next segment.
    fn list(&mut self, store: &Store) -> Result<Turn, Stop> {
        let segment = self.from[self.listed];
        let key = &store.superblock.store_key;
        let read = store.handle(segment).ok().and_then(|file| store.read_footer(segment, file));
        let Some((footer, _)) = read else {
            // Verification will tell of the footer.
            self.from.remove(self.listed);
            return Ok(if self.from.is_empty() { NOTHING } else { Turn::More });
        };
        let before = self.items.len();
        for entry in &footer.entries {
            let Some(source) = store.state.source(entry.source).map(|state| state.source.id) else { continue };
            let key_id = footer.key_ids.get(usize::from(entry.key)).copied().filter(|_| entry.key != NO_KEY);
            let key_id = key_id.unwrap_or(KeyId::ZERO);
            for tag in [tag(key, &source, &entry.id), copy_tag(key, &source, &key_id)] {
                let Some(number) = store.index.find(&*store.disk, &tag)? else { continue };
                let loc = store.index.loc(&*store.disk, number)?;
                if (loc.segment, loc.offset) == (segment, entry.offset) && store.index.is_present(number) {
                    self.items.push(Item { arrival: entry.arrival, number, loc, id: entry.id, key_id });
                    break;
                }
            }
        }
        self.io_bytes += Footer::bytes(footer.entries.len(), footer.key_ids.len());
        self.listed += 1;
        let bytes: u64 = self.items.iter().map(|item| crate::verify::record_span(item.loc.length)).sum();
        let records = self.items.len();
        let room = bytes + Footer::bytes(records, records.min(65_535)) + 4 * PAGE_U64;
        if room > store.superblock.segment_bytes(self.class) || records > 65_000 {
            // Too many small ones: the last segment waits for the next collection.
            self.items.truncate(before);
            self.listed -= 1;
            self.from.truncate(self.listed);
        }
        Ok(if self.from.is_empty() { NOTHING } else { Turn::More })
    }

    fn create(&mut self, store: &mut Store, now: Moment) -> Result<(), Stop> {
        let entry = AllocEntry { segment: store.state.next_segment, class: self.class, created_s: now.wall_s };
        let header = SegmentHeader {
            class: self.class,
            number: entry.segment,
            store: store.superblock.id,
            geometry: store.superblock.geometry,
            created_s: now.wall_s,
            alloc_block: store.ledger.head().0 + 1,
        };
        store.note(now, &[Entry::Copy(entry)]).map_err(Stop::Write)?;
        let limit = store.superblock.segment_bytes(self.class);
        let made = OpenSegment::create(&*store.disk, header, limit, store.superblock.buffer_bytes());
        self.target = Some(made.map_err(|fault| Stop::Write(store.fail(fault)))?);
        Ok(())
    }

    fn copy(&mut self, store: &mut Store) -> Result<bool, Stop> {
        let disk = Arc::clone(&store.disk);
        let key = store.superblock.store_key;
        let until = self.io_bytes + TURN_BYTES;
        while self.io_bytes < until {
            let Some(item) = self.items.get(self.copied) else { break };
            let Some(target) = &mut self.target else { break };
            let Ok(bytes) = store.read_loc(&item.loc, item.id) else { return Ok(false) };
            let Ok(record) = Record::assume_checked(&bytes) else { return Ok(false) };
            if record.header.id != item.id {
                return Ok(false);
            }
            let place = (item.loc.source, item.arrival);
            if let Err(fault) = target.add(&*disk, &key, place, &record, item.key_id) {
                return Err(Stop::Write(store.fail(fault)));
            }
            self.io_bytes += 2 * u64::from(item.loc.length);
            self.copied += 1;
        }
        Ok(true)
    }

    fn seal(&mut self, store: &mut Store) -> Result<(), Stop> {
        let Some(target) = &mut self.target else { return Ok(()) };
        let sealed = target.seal(&*store.disk, &store.superblock.store_key);
        let sealed = sealed.map_err(|fault| Stop::Write(store.fail(fault)))?;
        self.sealed = Some(sealed);
        store.disk.uncache(target.file());
        self.io_bytes += 1;
        Ok(())
    }

    /// Reads the copy back: record by record what was meant to be there, each with its hash.
    fn compare(&mut self, store: &Store) -> bool {
        let (Some(target), Some(sealed)) = (&self.target, &self.sealed) else { return false };
        let key = store.superblock.store_key;
        let mut walk = Walk::new(&*store.disk, target.file(), &key, target.number(), self.compared_to, sealed.length);
        let until = self.compared_to + TURN_BYTES;
        while self.compared < self.items.len() {
            let Some(item) = walk.next() else { return false };
            match &item.found {
                Found::Record { envelope, record, .. } => {
                    let wanted = &self.items[self.compared];
                    let listed = &target.footer().entries[self.compared];
                    let same = record.header.id == wanted.id
                        && envelope.arrival == wanted.arrival
                        && envelope.source == wanted.loc.source
                        && (listed.offset, listed.hash) == (item.offset, record.hash);
                    if !same {
                        return false;
                    }
                    self.compared += 1;
                }
                Found::Pad { .. } => {}
                Found::Mark { .. } | Found::Bad { .. } => return false,
            }
            self.io_bytes += item.end - self.compared_to;
            self.compared_to = item.end;
            if self.compared_to >= until {
                break;
            }
        }
        true
    }

    /// From here on the copies are the records.
    fn finish(&mut self, store: &mut Store, now: Moment) -> Result<Turn, Stop> {
        let (Some(target), Some(sealed)) = (self.target.take(), self.sealed) else { return Ok(NOTHING) };
        let mut moves = Vec::with_capacity(self.items.len());
        for (item, listed) in self.items.iter().zip(&target.footer().entries) {
            // What was found damaged or sent again meanwhile is not what was copied.
            if store.index.loc(&*store.disk, item.number)? == item.loc && store.index.is_present(item.number) {
                moves.push((item.number, Loc { segment: target.number(), offset: listed.offset, ..item.loc }));
            } else {
                self.target = Some(target);
                self.abandon(store, now)?;
                return Ok(NOTHING);
            }
        }
        let records = self.items.len() as u64;
        let seal = Entry::Seal(seal_entry(&target, sealed));
        let rewrite = RewriteEntry { from: self.from.clone(), to: vec![target.number()], records };
        let gone: Vec<_> =
            self.from.iter().filter_map(|segment| Some((*segment, store.state.segments.get(segment)?))).collect();
        let lengths = gone.iter().filter_map(|(_, state)| state.sealed.as_ref()).map(|sealed| sealed.length);
        let freed_bytes = lengths.sum::<u64>().saturating_sub(sealed.length);
        let parity = target.parity_file(sealed.length, sealed.footer_hash);
        store.keep_parity(target.number(), parity).map_err(Stop::Write)?;
        store.note(now, &[seal, Entry::Rewrite(rewrite)]).map_err(Stop::Write)?;
        store.disk.close(target.file());
        let disk = Arc::clone(&store.disk);
        store.index.move_to(&*disk, &moves).map_err(|fault| Stop::Write(store.moved(fault)))?;
        for segment in &self.from {
            store.remove_segment(self.class, *segment);
        }
        Ok(Turn::Ended { segments: self.from.len() as u64, records, freed_bytes })
    }

    fn abandon(&mut self, store: &mut Store, now: Moment) -> Result<(), Stop> {
        let Some(target) = self.target.take() else { return Ok(()) };
        let segment = target.number();
        store.disk.close(target.file());
        let removed = store.disk.remove(&path(self.class, segment));
        removed.map_err(Fault::write("a copy")).map_err(|fault| Stop::Write(store.fail(fault)))?;
        store.note(now, &[Entry::Drop(DropEntry { segment })]).map_err(Stop::Write)?;
        Ok(())
    }

    /// After an error: what can be cleaned up is, the rest goes at the next start.
    pub(super) fn give_up(mut self, store: &mut Store, now: Moment) {
        if store.read_only.is_none() && self.abandon(store, now).is_err() {
            log::warn!("a copy under way goes at the next start");
        }
    }
}
