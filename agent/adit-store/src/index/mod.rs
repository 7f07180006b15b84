// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The index: from (source, id) to a number, from a number to a place, and which numbers are here, healthy and complete.
//!
//! Derived from segments and ledger, never the truth: whatever does not verify is thrown away and rebuilt. A bounded
//! memtable takes new records; tables on disk hold the rest (12 bits of filter and 3 bits of state per record in memory).
//! Numbers are given in the order of arrival and mean nothing outside one generation.

mod bits;
mod collect;
mod marks;
mod table;

pub(crate) use bits::Bitmap;
pub(crate) use table::{Damaged, Loc, NOWHERE, Tag, WriteFault};

use crate::bytes::{memory, narrow};
use crate::disk::{Disk, read_file, replace_file};
use crate::error::Fault;
use adit_wire::ids::{Id, KeyId, LedgerHash, SourceId};
use marks::Marks;
use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use table::{Contents, Keys, PageCache, Pages, Table, each_edge, pack};

/// Tables of one size before they are merged.
const FAN: usize = 8;
/// Reference numbers held in memory before a table is written.
const EDGE_WORDS_MAX: usize = 2 << 20;
const ROOT: &str = "idx";

/// The index of one store.
#[derive(Debug)]
pub(crate) struct Index {
    store_key: [u8; 32],
    generation: u32,
    memtable_entries: usize,
    /// False when nothing may be written: then the memtable grows.
    writable: bool,
    tables: Vec<Table>,
    memory: Memtable,
    healed: BTreeMap<u32, Loc>,
    present: Bitmap,
    bad: Bitmap,
    complete: Bitmap,
    /// Records and bytes by source.
    totals: BTreeMap<u32, (u64, u64)>,
    cache: RefCell<PageCache>,
    /// While a collection runs: old numbers that got a healthy copy since it began.
    fresh: Option<Bitmap>,
    /// Every record that arrived before this is in a table.
    pub(crate) tables_until: u64,
}

#[derive(Debug, Default)]
struct Memtable {
    first: u32,
    tags: HashMap<Tag, u32>,
    locs: Vec<Loc>,
    edges: Vec<u32>,
}

/// What was loaded from disk.
#[derive(Debug)]
pub(crate) struct LoadedIndex {
    pub(crate) index: Index,
    /// Ranges set aside by later ledger blocks are not in the bits yet.
    pub(crate) ledger_block: u64,
    pub(crate) ledger_hash: LedgerHash,
}

/// A record for the index.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrival {
    pub(crate) tag: Tag,
    pub(crate) loc: Loc,
    /// False when its bytes lie in a range that was set aside.
    pub(crate) healthy: bool,
}

/// What [`Index::insert`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Inserted {
    New(u32),
    /// A damaged or unseen record has a healthy copy now.
    Healed(u32),
    /// The first copy stays.
    Repeat(u32),
}

fn dir(generation: u32) -> String {
    format!("{ROOT}/{generation:08x}")
}

/// The tag of a record.
pub(crate) fn tag(store_key: &[u8; 32], source: &SourceId, id: &Id) -> Tag {
    keyed(store_key, b"adit index", source, &id.0)
}

/// The tag under which the key record of a key id is found.
pub(crate) fn key_tag(store_key: &[u8; 32], source: &SourceId, key_id: &KeyId) -> Tag {
    keyed(store_key, b"adit key id", source, &key_id.0)
}

/// The tag of a key record's second copy.
pub(crate) fn copy_tag(store_key: &[u8; 32], source: &SourceId, key_id: &KeyId) -> Tag {
    keyed(store_key, b"adit key copy", source, &key_id.0)
}

fn keyed(store_key: &[u8; 32], what: &[u8], source: &SourceId, name: &[u8]) -> Tag {
    let mut message = [0; 13 + 16 + 32];
    let mut at = 0;
    for part in [what, &source.0, name] {
        message[at..at + part.len()].copy_from_slice(part);
        at += part.len();
    }
    let hash = blake3::keyed_hash(store_key, &message[..at]);
    let mut tag = [0; 12];
    tag.copy_from_slice(&hash.as_bytes()[..12]);
    tag
}

impl Index {
    /// An empty index of the next free generation.
    pub(crate) fn new(store_key: [u8; 32], generation: u32, memtable_entries: usize, writable: bool) -> Self {
        Self {
            store_key,
            generation,
            memtable_entries,
            writable,
            tables: Vec::new(),
            memory: Memtable::default(),
            healed: BTreeMap::new(),
            present: Bitmap::default(),
            bad: Bitmap::default(),
            complete: Bitmap::default(),
            totals: BTreeMap::new(),
            cache: RefCell::default(),
            fresh: None,
            tables_until: 0,
        }
    }

    /// Generations that lie on the disk, ascending.
    pub(crate) fn generations(disk: &dyn Disk) -> Vec<u32> {
        let names = disk.list(ROOT).unwrap_or_default();
        names.iter().filter_map(|name| u32::from_str_radix(name, 16).ok()).collect()
    }

    /// Removes a generation's files. What can't be removed is tried again at the next start.
    pub(crate) fn remove_generation(disk: &dyn Disk, generation: u32) -> std::io::Result<()> {
        let dir = dir(generation);
        for name in disk.list(&dir)? {
            disk.remove(&format!("{dir}/{name}"))?;
        }
        disk.remove_dir(&dir)
    }

    /// Makes a generation's directory.
    pub(crate) fn create_dir(disk: &dyn Disk, generation: u32) -> Result<(), Fault> {
        disk.create_dir(ROOT).map_err(Fault::write(ROOT))?;
        disk.sync_dir("").map_err(Fault::sync(ROOT))?;
        disk.create_dir(&dir(generation)).map_err(Fault::write(ROOT))?;
        disk.sync_dir(ROOT).map_err(Fault::sync(ROOT))
    }

    /// Loads a generation; `None` when it has no marks or anything does not verify.
    pub(crate) fn load(
        disk: &dyn Disk,
        store_key: [u8; 32],
        generation: u32,
        memtable_entries: usize,
        writable: bool,
    ) -> Option<LoadedIndex> {
        let dir = dir(generation);
        let (marks, bitmaps) = Marks::from_bytes(&read_file(disk, &format!("{dir}/marks")).ok()?)?;
        if marks.generation != generation {
            return None;
        }
        let mut index = Self::new(store_key, generation, memtable_entries, writable);
        for (first, count) in &marks.tables {
            index.tables.push(Table::open(disk, &dir, index.keys(), *first, *count).ok()?);
        }
        index.memory.first = marks.numbers;
        [index.present, index.bad, index.complete] = bitmaps;
        index.totals = marks.totals.iter().map(|(source, records, bytes)| (*source, (*records, *bytes))).collect();
        for (number, loc) in &marks.healed {
            index.healed.insert(*number, Loc::from_bytes(loc)?);
        }
        index.tables_until = marks.next_arrival;
        Some(LoadedIndex { index, ledger_block: marks.ledger_block, ledger_hash: LedgerHash(marks.ledger_hash) })
    }

    /// Makes sure that this generation is not loaded again.
    pub(crate) fn invalidate(&self, disk: &dyn Disk) {
        let path = format!("{}/marks", dir(self.generation));
        if self.writable && disk.remove(&path).and_then(|()| disk.sync_dir(&dir(self.generation))).is_err() {
            log::error!("cannot remove {path}; remove the directory {ROOT} by hand while the store is closed");
        }
    }

    pub(crate) const fn generation(&self) -> u32 {
        self.generation
    }

    const fn keys(&self) -> Keys<'_> {
        Keys { store_key: &self.store_key, generation: self.generation }
    }

    const fn pages<'a>(&'a self, disk: &'a dyn Disk) -> Pages<'a> {
        Pages { disk, keys: self.keys(), cache: &self.cache }
    }

    /// How many numbers were given.
    pub(crate) fn numbers(&self) -> u32 {
        self.memory.first + narrow(self.memory.locs.len())
    }

    /// Whether one more record can be numbered. A little room is kept for key records and snapshots.
    pub(crate) fn is_full(&self) -> bool {
        self.numbers() >= u32::MAX - 1024
    }

    /// The number of a tag.
    pub(crate) fn find(&self, disk: &dyn Disk, tag: &Tag) -> Result<Option<u32>, Damaged> {
        if let Some(number) = self.memory.tags.get(tag) {
            return Ok(Some(*number));
        }
        let pages = self.pages(disk);
        for table in self.tables.iter().rev() {
            if let Some(number) = table.find(&pages, tag)? {
                return Ok(Some(number));
            }
        }
        Ok(None)
    }

    /// Where a number lies.
    pub(crate) fn loc(&self, disk: &dyn Disk, number: u32) -> Result<Loc, Damaged> {
        if let Some(place) = number.checked_sub(self.memory.first) {
            return self.memory.locs.get(memory(place.into())).copied().ok_or(Damaged);
        }
        if let Some(loc) = self.healed.get(&number) {
            return Ok(*loc);
        }
        let place = self.tables.partition_point(|table| table.first <= number).checked_sub(1).ok_or(Damaged)?;
        let table = self.tables.get(place).filter(|table| number < table.first + table.count).ok_or(Damaged)?;
        table.loc(&self.pages(disk), number)
    }

    /// Here and healthy.
    pub(crate) fn is_ok(&self, number: u32) -> bool {
        self.present.get(number) && !self.bad.get(number)
    }

    /// Known to be damaged, and no healthy copy came since.
    pub(crate) fn is_bad(&self, number: u32) -> bool {
        self.bad.get(number)
    }

    /// Here, healthy, and so is everything below it.
    pub(crate) fn is_complete(&self, number: u32) -> bool {
        self.is_ok(number) && self.complete.get(number)
    }

    pub(crate) fn set_complete(&mut self, number: u32) {
        self.complete.set(number);
    }

    /// Records that are known to be damaged. What was never seen does not count: a node whose children a power cut took
    /// was promised to nobody, and a snapshot that misses something is incomplete.
    pub(crate) fn damaged(&self) -> u64 {
        self.bad.count()
    }

    /// Records and bytes of a source.
    pub(crate) fn totals(&self, source: u32) -> (u64, u64) {
        self.totals.get(&source).copied().unwrap_or_default()
    }

    /// Takes a record. The first healthy copy wins for ever.
    pub(crate) fn insert(&mut self, disk: &dyn Disk, arrival: Arrival) -> Result<Inserted, Damaged> {
        let Arrival { tag, loc, healthy } = arrival;
        if let Some(number) = self.find(disk, &tag)? {
            if self.is_ok(number) || !healthy {
                return Ok(Inserted::Repeat(number));
            }
            self.set_loc(number, loc);
            if let Some(fresh) = &mut self.fresh {
                fresh.set(number);
            }
            if !self.present.get(number) {
                self.count(loc);
            }
            self.present.set(number);
            self.bad.clear(number);
            self.complete.clear(number);
            return Ok(Inserted::Healed(number));
        }
        let number = self.push(tag, loc);
        self.count(loc);
        self.present.set(number);
        if !healthy {
            self.bad.set(number);
        }
        Ok(Inserted::New(number))
    }

    /// Numbers a record that is referenced but was never seen.
    pub(crate) fn insert_unseen(&mut self, tag: Tag, source: u32) -> u32 {
        self.push(tag, Loc { segment: NOWHERE, offset: 0, length: 0, source, class: 0, height: 0 })
    }

    fn push(&mut self, tag: Tag, loc: Loc) -> u32 {
        let number = self.numbers();
        self.memory.tags.insert(tag, number);
        self.memory.locs.push(loc);
        number
    }

    fn count(&mut self, loc: Loc) {
        let (records, bytes) = self.totals.entry(loc.source).or_default();
        *records += 1;
        *bytes += u64::from(loc.length);
    }

    fn set_loc(&mut self, number: u32, loc: Loc) {
        match number.checked_sub(self.memory.first) {
            Some(place) => self.memory.locs[memory(place.into())] = loc,
            None => {
                self.healed.insert(number, loc);
            }
        }
    }

    /// A second name for a number.
    pub(crate) fn alias(&mut self, tag: Tag, number: u32) {
        self.memory.tags.insert(tag, number);
    }

    /// Notes a node's references; it is complete if all of them are.
    pub(crate) fn add_edges(&mut self, number: u32, height: u8, refs: &[u32]) {
        self.memory.edges.push(number);
        self.memory.edges.push(pack(height, refs.len()));
        self.memory.edges.extend_from_slice(refs);
        if refs.iter().all(|number| self.is_complete(*number)) {
            self.complete.set(number);
        }
    }

    /// Whether the memtable should be written as a table. Everything in it must be durable in segments then.
    pub(crate) fn wants_table(&self) -> bool {
        let memory = &self.memory;
        self.writable
            && (memory.locs.len() >= self.memtable_entries
                || memory.tags.len() >= 2 * self.memtable_entries
                || memory.edges.len() >= EDGE_WORDS_MAX)
    }

    /// Writes the memtable as a table, merges tables, and replaces the marks. `next_arrival` is the first arrival that
    /// is not in the index; everything before it is durable.
    pub(crate) fn write_tables(
        &mut self,
        disk: &dyn Disk,
        next_arrival: u64,
        ledger: (u64, LedgerHash),
    ) -> Result<(), WriteFault> {
        if !self.writable {
            return Ok(());
        }
        let dir = dir(self.generation);
        if !self.memory.locs.is_empty() || !self.memory.tags.is_empty() {
            self.write_memtable(disk, &dir)?;
        }
        let mut obsolete = Vec::new();
        while let Some(count) = self.mergeable() {
            let place = self.tables.len() - count;
            let (first, count) = table::merge(disk, &dir, self.keys(), &self.tables[place..])?;
            let merged = Table::open(disk, &dir, self.keys(), first, count)?;
            obsolete.extend(self.tables.drain(place..));
            self.tables.push(merged);
        }
        disk.sync_dir(&dir).map_err(|error| WriteFault::Disk(Fault::sync(&dir)(error)))?;
        self.write_marks(disk, &dir, next_arrival, ledger)?;
        self.tables_until = next_arrival;
        for table in obsolete {
            table.close(disk);
            let path = format!("{dir}/{}", table::name(table.first, table.count));
            // A file that stays costs room only, and goes with its generation.
            if let Err(error) = disk.remove(&path) {
                log::warn!("cannot remove {path}: {error}");
            }
        }
        Ok(())
    }

    fn write_memtable(&mut self, disk: &dyn Disk, dir: &str) -> Result<(), WriteFault> {
        let mut run: Vec<(Tag, u32)> = self.memory.tags.iter().map(|(tag, number)| (*tag, *number)).collect();
        run.sort_unstable();
        let (first, count) = (self.memory.first, narrow(self.memory.locs.len()));
        let contents = Contents {
            first,
            count,
            run_entries: narrow(run.len()),
            edge_words: self.memory.edges.len() as u64,
            run: &mut run.into_iter().map(Ok),
            locs: &mut |each| {
                self.memory.locs.iter().for_each(|loc| each(*loc));
                Ok(())
            },
            edges: &mut |each| {
                self.memory.edges.iter().for_each(|word| each(*word));
                Ok(())
            },
        };
        table::write(disk, dir, self.keys(), contents)?;
        self.tables.push(Table::open(disk, dir, self.keys(), first, count)?);
        self.memory = Memtable { first: first + count, ..Memtable::default() };
        Ok(())
    }

    /// How many of the newest tables are of one size and so many that they should become one.
    fn mergeable(&self) -> Option<usize> {
        let level = |table: &Table| {
            let mut size = self.memtable_entries as u64 * FAN as u64;
            let mut level = 0;
            while u64::from(table.count.max(table.run_entries / 2)) >= size {
                size *= FAN as u64;
                level += 1;
            }
            level
        };
        let newest = level(self.tables.last()?);
        let same = self.tables.iter().rev().take_while(|table| level(table) <= newest).count();
        (same >= FAN).then_some(same)
    }

    fn write_marks(
        &self,
        disk: &dyn Disk,
        dir: &str,
        next_arrival: u64,
        (ledger_block, LedgerHash(ledger_hash)): (u64, LedgerHash),
    ) -> Result<(), WriteFault> {
        let marks = Marks {
            generation: self.generation,
            ledger_block,
            ledger_hash,
            next_arrival,
            numbers: self.memory.first,
            tables: self.tables.iter().map(|table| (table.first, table.count)).collect(),
            healed: self.healed.iter().map(|(number, loc)| (*number, loc.to_bytes())).collect(),
            totals: self.totals.iter().map(|(source, (records, bytes))| (*source, *records, *bytes)).collect(),
            ..Marks::default()
        };
        let bytes = marks.to_bytes([&self.present, &self.bad, &self.complete]);
        replace_file(disk, dir, "marks", &bytes).map_err(|error| WriteFault::Disk(Fault::write("idx marks")(error)))
    }

    /// Calls `each` for every number and place.
    pub(crate) fn for_locs(&self, disk: &dyn Disk, each: &mut dyn FnMut(u32, Loc)) -> Result<(), Damaged> {
        for table in &self.tables {
            table.for_locs(disk, self.keys(), &mut |number, loc| {
                each(number, self.healed.get(&number).copied().unwrap_or(loc));
            })?;
        }
        for (number, loc) in (self.memory.first..).zip(&self.memory.locs) {
            each(number, *loc);
        }
        Ok(())
    }

    /// Calls `each` for every node: number, height, references.
    pub(crate) fn for_edges(&self, disk: &dyn Disk, each: &mut dyn FnMut(u32, u8, &[u32])) -> Result<(), Damaged> {
        for table in &self.tables {
            table.for_edges(disk, self.keys(), each)?;
        }
        each_edge(&self.memory.edges, each);
        Ok(())
    }

    /// Marks records as damaged, and every node above them as incomplete.
    pub(crate) fn set_bad(&mut self, disk: &dyn Disk, numbers: &[u32]) -> Result<(), Damaged> {
        for number in numbers {
            self.bad.set(*number);
            self.complete.clear(*number);
        }
        self.settle_complete(disk)
    }

    /// Nodes above what is not complete are not complete.
    fn settle_complete(&mut self, disk: &dyn Disk) -> Result<(), Damaged> {
        loop {
            let mut incomplete = Vec::new();
            self.for_edges(disk, &mut |number, _, refs| {
                if self.complete.get(number) && !refs.iter().all(|number| self.is_complete(*number)) {
                    incomplete.push(number);
                }
            })?;
            if incomplete.is_empty() {
                return Ok(());
            }
            for number in incomplete {
                self.complete.clear(number);
            }
        }
    }

    /// Records are as they should be again, and so may be the nodes above them. Answers nodes whose references were never
    /// noted, because they were damaged when the index was built.
    pub(crate) fn clear_bad(&mut self, disk: &dyn Disk, numbers: &[u32]) -> Result<Vec<(u32, Loc)>, Damaged> {
        let mut nodes = BTreeMap::new();
        for number in numbers {
            self.bad.clear(*number);
            let loc = self.loc(disk, *number)?;
            if loc.height == 0 {
                self.complete.set(*number);
            } else {
                nodes.insert(*number, loc);
            }
        }
        self.for_edges(disk, &mut |number, _, _| {
            nodes.remove(&number);
        })?;
        Ok(nodes.into_iter().collect())
    }

    /// Finds nodes that became complete since something below them was healed.
    pub(crate) fn refresh_complete(&mut self, disk: &dyn Disk) -> Result<(), Damaged> {
        loop {
            let mut complete = Vec::new();
            self.for_edges(disk, &mut |number, _, refs| {
                let whole = self.is_ok(number) && refs.iter().all(|number| self.is_complete(*number));
                if whole && !self.complete.get(number) {
                    complete.push(number);
                }
            })?;
            if complete.is_empty() {
                return Ok(());
            }
            for number in complete {
                self.complete.set(number);
            }
        }
    }

    /// Every number that a node of this height reaches, itself included. One pass over the edges per level.
    pub(crate) fn closure(&self, disk: &dyn Disk, root: u32, height: u8) -> Result<Bitmap, Damaged> {
        let mut reached = Bitmap::default();
        reached.set(root);
        for level in (1..=height).rev() {
            self.for_edges(disk, &mut |number, height, refs| {
                if height == level && reached.get(number) {
                    refs.iter().for_each(|number| reached.set(*number));
                }
            })?;
        }
        Ok(reached)
    }
}

#[cfg(test)]
mod tests;
