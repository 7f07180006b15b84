// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Bringing the index up to the segments: load what verifies, replay what came later, or rebuild all of it. Records are
//! taken in the order of their arrival, so that the first healthy copy wins as it did when they came.

use super::scan::Lister;
use crate::bytes::PAGE_U64;
use crate::disk::Mode;
use crate::error::OpenError;
use crate::index::{Arrival, Damaged, Index, Inserted, Loc, NOWHERE, WriteFault, copy_tag, key_tag, tag};
use crate::segment::{Footer, FooterEntry, Found, Walk, path};
use crate::store::Store;
use crate::types::{Event, Opening};
use adit_wire::ids::{KeyId, SourceId};
use adit_wire::record::{Class, Record};
use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};
use std::sync::Arc;

/// One segment's records that are not in the index yet.
#[derive(Debug)]
struct Cursor {
    segment: u32,
    footer: Footer,
    next: usize,
}

/// Why replaying stopped.
enum ReplayError {
    /// A table did not verify: rebuild.
    Damaged,
    Open(OpenError),
}

impl From<Damaged> for ReplayError {
    fn from(_: Damaged) -> Self {
        Self::Damaged
    }
}

impl Store {
    /// Loads the index and replays what it misses, or rebuilds it.
    pub(super) fn load_index(&mut self, opening: &mut Opening) -> Result<(), OpenError> {
        let generations = Index::generations(&*self.disk);
        let newest = generations.last().copied();
        let why = match newest.and_then(|generation| self.try_load(generation)) {
            Some(index) => {
                self.index = index.0;
                let caught_up = self
                    .apply_removals(index.1)
                    .and_then(|()| self.apply_quarantine(index.1))
                    .and_then(|()| self.replay());
                match caught_up {
                    Ok(()) => None,
                    Err(ReplayError::Damaged) => Some("a table is damaged"),
                    Err(ReplayError::Open(error)) => return Err(error),
                }
            }
            None if newest.is_none() => Some("there was none"),
            None => Some("its marks are damaged or do not fit the ledger"),
        };
        if let Some(why) = why {
            self.rebuild(newest.map_or(1, |newest| newest.saturating_add(1)))?;
            opening.index_rebuilt = true;
            if newest.is_some() {
                self.events.push(Event::IndexRebuilt(why.to_owned()));
            }
        }
        if opening.index_rebuilt || std::mem::take(&mut self.healed) {
            // Nodes came before what healed the records below them. A table that is damaged now shows when it is used.
            let disk = Arc::clone(&self.disk);
            if self.index.refresh_complete(&*disk).is_err() {
                log::warn!("the index just read is damaged");
            }
        }
        if self.read_only.is_none() {
            for generation in generations.into_iter().filter(|generation| *generation != self.index.generation()) {
                // What stays is tried again at the next start.
                if let Err(error) = Index::remove_generation(&*self.disk, generation) {
                    log::warn!("cannot remove index generation {generation:08x}: {error}");
                }
            }
        }
        Ok(())
    }

    /// A generation and the ledger block up to which its bits are right, if it fits ledger and segments.
    fn try_load(&self, generation: u32) -> Option<(Index, u64)> {
        let entries = self.superblock.memtable_entries();
        let writable = self.read_only.is_none();
        let loaded = Index::load(&*self.disk, self.superblock.store_key, generation, entries, writable)?;
        let (block, hash) = self.ledger.head();
        let fits = loaded.ledger_block < block || (loaded.ledger_block == block && loaded.ledger_hash == hash);
        let fits = fits && loaded.index.tables_until <= self.next_arrival && !loaded.index.is_mostly_dead();
        fits.then_some((loaded.index, loaded.ledger_block))
    }

    fn rebuild(&mut self, generation: u32) -> Result<(), OpenError> {
        let (key, entries) = (self.superblock.store_key, self.superblock.memtable_entries());
        let writable = self.read_only.is_none();
        self.index = Index::new(key, generation, entries, writable);
        if writable {
            Index::create_dir(&*self.disk, generation)?;
        }
        self.replay().map_err(|error| match error {
            ReplayError::Damaged => OpenError::Disk {
                what: "the index just written".to_owned(),
                source: std::io::ErrorKind::InvalidData.into(),
            },
            ReplayError::Open(error) => error,
        })
    }

    /// Segments removed since the marks were written: what was copied lies elsewhere, the rest was swept before.
    fn apply_removals(&mut self, block: u64) -> Result<(), ReplayError> {
        if self.state.removed_block <= block {
            return Ok(());
        }
        let disk = Arc::clone(&self.disk);
        let store_key = self.superblock.store_key;
        let copies = self.state.segments.iter().filter(|(_, state)| state.rewrite_block > block);
        let copies: Vec<u32> = copies.map(|(segment, _)| *segment).collect();
        for segment in copies {
            let footer = self.footer_of(segment);
            let mut moves = Vec::with_capacity(footer.entries.len());
            for entry in &footer.entries {
                let Some(source) = self.state.source(entry.source).map(|state| state.source.id) else { continue };
                let key_id = footer.key_ids.get(usize::from(entry.key)).copied().unwrap_or(KeyId::ZERO);
                for tag in [tag(&store_key, &source, &entry.id), copy_tag(&store_key, &source, &key_id)] {
                    let Some(number) = self.index.find(&*disk, &tag)? else { continue };
                    let loc = self.index.loc(&*disk, number)?;
                    // The other copy of a key record lies where it lay.
                    if !self.state.segments.contains_key(&loc.segment) {
                        moves.push((number, Loc { segment, offset: entry.offset, ..loc }));
                        break;
                    }
                }
            }
            self.index.move_to(&*disk, &moves).map_err(|fault| match fault {
                WriteFault::Damaged => ReplayError::Damaged,
                WriteFault::Disk(fault) => ReplayError::Open(fault.into()),
            })?;
        }
        let mut gone = Vec::new();
        self.index.for_locs(&*disk, &mut |number, loc| {
            if loc.segment != NOWHERE && !self.state.segments.contains_key(&loc.segment) {
                gone.push((number, loc));
            }
        })?;
        Ok(self.index.forget(&*disk, &gone)?)
    }

    /// Ranges set aside since the marks were written.
    fn apply_quarantine(&mut self, block: u64) -> Result<(), ReplayError> {
        let ranges: Vec<_> = self.state.quarantine.iter().filter(|range| range.block > block).copied().collect();
        if ranges.is_empty() {
            return Ok(());
        }
        let mut numbers = Vec::new();
        self.index.for_locs(&*self.disk, &mut |number, loc| {
            let within = |range: &crate::ledger::Quarantine| {
                range.segment == loc.segment && (range.from..range.to).contains(&loc.offset)
            };
            if ranges.iter().any(within) {
                numbers.push(number);
            }
        })?;
        let disk = Arc::clone(&self.disk);
        Ok(self.index.set_bad(&*disk, &numbers)?)
    }

    /// Takes every record that arrived since the tables were written, in the order of arrival.
    fn replay(&mut self) -> Result<(), ReplayError> {
        let from = self.index.tables_until;
        let mut waiting: BTreeSet<(u64, u32)> = BTreeSet::new();
        for (segment, state) in &self.state.segments {
            if let Some(sealed) = state.sealed.as_ref().filter(|sealed| sealed.last_arrival >= from) {
                waiting.insert((sealed.first_arrival.max(from), *segment));
            }
        }
        for (segment, footer) in self.unsealed() {
            let first = footer.entries.iter().map(|entry| entry.arrival).find(|arrival| *arrival >= from);
            waiting.extend(first.map(|first| (first, segment)));
        }
        let mut cursors: Vec<Cursor> = Vec::new();
        let mut heap: BinaryHeap<Reverse<(u64, usize)>> = BinaryHeap::new();
        loop {
            // Footers are read when their turn comes: few segments overlap in time.
            let due = heap.peek().map(|Reverse((arrival, _))| *arrival);
            if let Some((first, segment)) =
                waiting.first().copied().filter(|(first, _)| due.is_none_or(|due| *first <= due))
            {
                waiting.remove(&(first, segment));
                let footer = self.footer_of(segment);
                let next = footer.entries.partition_point(|entry| entry.arrival < from);
                if let Some(entry) = footer.entries.get(next) {
                    heap.push(Reverse((entry.arrival, cursors.len())));
                    cursors.push(Cursor { segment, footer, next });
                }
                continue;
            }
            let Some(Reverse((_, place))) = heap.pop() else { return Ok(()) };
            let cursor = &mut cursors[place];
            let entry = cursor.footer.entries[cursor.next];
            let key_id = cursor.footer.key_id(&entry);
            let segment = cursor.segment;
            cursor.next += 1;
            match cursor.footer.entries.get(cursor.next) {
                Some(entry) => heap.push(Reverse((entry.arrival, place))),
                None => cursor.footer = Footer::default(),
            }
            self.replay_one(segment, &entry, key_id)?;
        }
    }

    fn replay_one(&mut self, segment: u32, entry: &FooterEntry, key_id: KeyId) -> Result<(), ReplayError> {
        let Some(source) = self.state.source(entry.source).map(|state| state.source.id) else { return Ok(()) };
        let disk = Arc::clone(&self.disk);
        let store_key = self.superblock.store_key;
        let loc = Loc {
            segment,
            offset: entry.offset,
            length: entry.length,
            source: entry.source,
            class: entry.class as u8,
            height: entry.height,
        };
        let mut arrival = Arrival {
            tag: tag(&store_key, &source, &entry.id),
            loc,
            healthy: !self.state.is_quarantined(segment, entry.offset),
        };
        let node = matches!(entry.class, Class::Node | Class::Snapshot) && arrival.healthy;
        let bytes = if node { self.read_loc(&loc, entry.id).ok() } else { None };
        arrival.healthy &= !node || bytes.is_some();
        let inserted = self.index.insert(&*disk, arrival)?;
        self.healed |= matches!(inserted, Inserted::Healed(_));
        match (inserted, entry.class) {
            (Inserted::New(number) | Inserted::Healed(number), Class::Key) => {
                self.index.set_complete(number);
                self.index.alias(key_tag(&store_key, &source, &key_id), number);
            }
            (Inserted::Repeat(first), Class::Key) => self.replay_key_copy(&source, key_id, first, arrival)?,
            (Inserted::New(number) | Inserted::Healed(number), Class::Data) => self.index.set_complete(number),
            (inserted, Class::Node | Class::Snapshot) => {
                if let Some(record) = bytes.as_deref().and_then(|bytes| Record::assume_checked(bytes).ok()) {
                    let refs = self.replay_refs(&source, entry.source, &record)?;
                    self.index_refs(inserted, &record, &refs);
                }
            }
            (Inserted::Repeat(_), Class::Data) => {}
        }
        if self.index.wants_table() {
            let written = self.index.write_tables(&*disk, entry.arrival + 1, self.ledger.head());
            written.map_err(|fault| match fault {
                WriteFault::Damaged => ReplayError::Damaged,
                WriteFault::Disk(fault) => ReplayError::Open(fault.into()),
            })?;
        }
        Ok(())
    }

    /// A key record's second copy has a name of its own.
    fn replay_key_copy(
        &mut self,
        source: &SourceId,
        key_id: KeyId,
        first: u32,
        arrival: Arrival,
    ) -> Result<(), ReplayError> {
        let disk = Arc::clone(&self.disk);
        let same = self.index.loc(&*disk, first)?;
        if (same.segment, same.offset) != (arrival.loc.segment, arrival.loc.offset) {
            let tag = copy_tag(&self.superblock.store_key, source, &key_id);
            if let Inserted::New(number) | Inserted::Healed(number) =
                self.index.insert(&*disk, Arrival { tag, ..arrival })?
            {
                self.index.set_complete(number);
            }
        }
        Ok(())
    }

    /// Numbers of a node's references. What was never seen, because its segment is lost, is numbered as absent.
    pub(crate) fn replay_refs(
        &mut self,
        source: &SourceId,
        number: u32,
        record: &Record<'_>,
    ) -> Result<Vec<u32>, Damaged> {
        let disk = Arc::clone(&self.disk);
        let mut refs = Vec::with_capacity(record.header.refs_count());
        for id in record.node_refs.iter().chain(record.data_refs.iter()) {
            let tag = tag(&self.superblock.store_key, source, &id);
            refs.push(match self.index.find(&*disk, &tag)? {
                Some(number) => number,
                None => self.index.insert_unseen(tag, number),
            });
        }
        Ok(refs)
    }

    /// Segments that are open, or that a read-only store found open.
    fn unsealed(&self) -> Vec<(u32, &Footer)> {
        let open = self.open.iter().flatten().map(|segment| (segment.number(), segment.footer()));
        open.chain(self.tails.iter().map(|tail| (tail.segment, &tail.footer))).collect()
    }

    /// A segment's list of records; read anew from its records if the footer is damaged.
    pub(crate) fn footer_of(&self, segment: u32) -> Footer {
        if let Some((_, footer)) = self.unsealed().into_iter().find(|(number, _)| *number == segment) {
            return footer.clone();
        }
        let Some(state) = self.state.segments.get(&segment) else { return Footer::default() };
        let Ok(file) = self.disk.open(&path(state.class, segment), Mode::Read) else { return Footer::default() };
        let footer = self.read_footer(segment, file).map(|(footer, _)| footer).unwrap_or_else(|| {
            let mut lister = Lister::default();
            let end = self.disk.len(file).unwrap_or(0);
            let mut walk = Walk::new(&*self.disk, file, &self.superblock.store_key, segment, PAGE_U64, end);
            while let Some(item) = walk.next() {
                if let Found::Record { envelope, record, .. } = &item.found {
                    lister.add(envelope, item.offset, record);
                }
            }
            lister.footer
        });
        self.disk.close(file);
        footer
    }
}
