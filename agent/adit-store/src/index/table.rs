// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Index tables: immutable files that cover a range of record numbers. Each holds a run (tags, sorted), the places of its
//! numbers, the edges of its nodes, a Bloom filter and fences; every page carries a keyed check. Derived: a table that
//! does not verify is thrown away with the whole generation.

use crate::bytes::{Fields, PAGE, PAGE_U64, memory, narrow};
use crate::disk::{Disk, FileId, Mode, read_exact};
use crate::error::Fault;
use std::cell::RefCell;

/// An index tag: keyed hash of what is looked up.
pub(crate) type Tag = [u8; 12];

const PAYLOAD: usize = PAGE - 16;
const RUN_ENTRY: usize = 16;
const RUN_PER_PAGE: usize = PAYLOAD / RUN_ENTRY;
/// Bytes of one [`Loc`].
pub(crate) const LOC_BYTES: usize = 20;
const LOC_PER_PAGE: usize = PAYLOAD / LOC_BYTES;
const EDGES_PER_PAGE: u64 = (PAYLOAD / 4) as u64;
/// Words of the edges of one node.
const ENTRY_WORDS_MAX: u64 = 2 + 4_096;
const MAGIC: &[u8; 8] = b"ADITIDX1";
/// Slots of the page cache: 4 MiB.
const CACHE_SLOTS: usize = 1024;

/// Where a record lies and what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Loc {
    /// [`NOWHERE`] for a record that is referenced but was never seen.
    pub(crate) segment: u32,
    pub(crate) offset: u64,
    pub(crate) length: u32,
    pub(crate) source: u32,
    pub(crate) class: u8,
    pub(crate) height: u8,
}

/// No segment.
pub(crate) const NOWHERE: u32 = u32::MAX;

impl Loc {
    pub(crate) fn to_bytes(self) -> [u8; LOC_BYTES] {
        let mut bytes = [0; LOC_BYTES];
        let place = u32::try_from(self.offset / 64).expect("segments are at most 2^32 bytes");
        bytes[..4].copy_from_slice(&self.segment.to_le_bytes());
        bytes[4..8].copy_from_slice(&place.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.length.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.source.to_le_bytes());
        bytes[16] = self.class;
        bytes[17] = self.height;
        bytes
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut fields = Fields::new(bytes);
        Some(Self {
            segment: fields.u32()?,
            offset: u64::from(fields.u32()?) * 64,
            length: fields.u32()?,
            source: fields.u32()?,
            class: fields.u8()?,
            height: fields.u8()?,
        })
    }
}

/// The secret and the generation that page checks are made with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Keys<'a> {
    pub(crate) store_key: &'a [u8; 32],
    pub(crate) generation: u32,
}

impl Keys<'_> {
    fn page_check(&self, first: u32, count: u32, page: u32, payload: &[u8]) -> [u8; 8] {
        let mut hasher = blake3::Hasher::new_keyed(self.store_key);
        hasher.update(b"adit page");
        for part in [self.generation, first, count, page] {
            hasher.update(&part.to_le_bytes());
        }
        hasher.update(payload);
        let mut check = [0; 8];
        check.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
        check
    }
}

/// Something derived does not verify.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Damaged;

/// Pages of each section, in the order in which they lie behind the header page.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sections {
    run: u32,
    loc: u32,
    edges: u32,
    bloom: u32,
    fences: u32,
}

/// An open table.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) first: u32,
    pub(crate) count: u32,
    pub(crate) run_entries: u32,
    edge_words: u64,
    sections: Sections,
    file: FileId,
    bloom: Vec<u32>,
    fences: Vec<Tag>,
}

/// A table's file name.
pub(crate) fn name(first: u32, count: u32) -> String {
    format!("{first:08x}-{count:08x}.tab")
}

fn pages(items: u64, per_page: usize) -> u32 {
    u32::try_from(items.div_ceil(per_page as u64)).expect("tables have fewer than 2^32 pages")
}

impl Table {
    /// Opens a table and reads its filter and fences.
    pub(crate) fn open(disk: &dyn Disk, dir: &str, keys: Keys<'_>, first: u32, count: u32) -> Result<Self, Damaged> {
        let file = disk.open(&format!("{dir}/{}", name(first, count)), Mode::Read).map_err(|_| Damaged)?;
        let opened = Self::read_header(disk, file, keys, first, count).and_then(|mut table| {
            let bloom = table.section(disk, keys, table.bloom_start(), table.sections.bloom)?;
            table.bloom = bloom.as_chunks::<4>().0.iter().map(|word| u32::from_le_bytes(*word)).collect();
            table.bloom.truncate(table.bloom.len() / 8 * 8);
            let blocks = bloom_blocks(table.run_entries.into());
            table.bloom.truncate(blocks * 8);
            let fences =
                table.section(disk, keys, table.bloom_start() + table.sections.bloom, table.sections.fences)?;
            table.fences = fences.as_chunks::<12>().0.to_vec();
            table.fences.truncate(table.sections.run as usize);
            Ok(table)
        });
        if opened.is_err() {
            disk.close(file);
        }
        opened
    }

    fn read_header(disk: &dyn Disk, file: FileId, keys: Keys<'_>, first: u32, count: u32) -> Result<Self, Damaged> {
        let mut page = [0; PAGE];
        read_exact(disk, file, 0, &mut page).map_err(|_| Damaged)?;
        let payload = checked(&page, keys, first, count, 0)?;
        let mut fields = Fields::new(payload);
        let parse = |fields: &mut Fields<'_>| {
            let magic = fields.bytes(8)?;
            let run_entries = fields.u32()?;
            let edge_words = fields.u64()?;
            let sections = Sections {
                run: fields.u32()?,
                loc: fields.u32()?,
                edges: fields.u32()?,
                bloom: fields.u32()?,
                fences: fields.u32()?,
            };
            (magic == MAGIC).then_some((run_entries, edge_words, sections))
        };
        let (run_entries, edge_words, sections) = parse(&mut fields).ok_or(Damaged)?;
        Ok(Self { first, count, run_entries, edge_words, sections, file, bloom: Vec::new(), fences: Vec::new() })
    }

    const fn loc_start(&self) -> u32 {
        1 + self.sections.run
    }

    const fn edges_start(&self) -> u32 {
        self.loc_start() + self.sections.loc
    }

    const fn bloom_start(&self) -> u32 {
        self.edges_start() + self.sections.edges
    }

    fn section(&self, disk: &dyn Disk, keys: Keys<'_>, start: u32, count: u32) -> Result<Vec<u8>, Damaged> {
        let mut bytes = Vec::with_capacity(count as usize * PAYLOAD);
        for page in start..start + count {
            bytes.extend_from_slice(&self.page(disk, keys, page)?);
        }
        Ok(bytes)
    }

    fn page(&self, disk: &dyn Disk, keys: Keys<'_>, page: u32) -> Result<[u8; PAYLOAD], Damaged> {
        let mut bytes = [0; PAGE];
        read_exact(disk, self.file, u64::from(page) * PAGE_U64, &mut bytes).map_err(|_| Damaged)?;
        let payload = checked(&bytes, keys, self.first, self.count, page)?;
        payload.try_into().map_err(|_| Damaged)
    }

    /// The number of a tag.
    pub(crate) fn find(&self, pages: &Pages<'_>, tag: &Tag) -> Result<Option<u32>, Damaged> {
        if !bloom_has(&self.bloom, tag) {
            return Ok(None);
        }
        let Some(page) = self.fences.partition_point(|fence| fence <= tag).checked_sub(1) else { return Ok(None) };
        let entries = RUN_PER_PAGE.min(self.run_entries as usize - page * RUN_PER_PAGE);
        pages.with(self, 1 + narrow(page), |payload| {
            let entries = &payload.as_chunks::<RUN_ENTRY>().0[..entries];
            let found = entries.binary_search_by(|entry| entry[..12].cmp(tag)).ok()?;
            Some(run_entry(&entries[found]).1)
        })
    }

    /// The place of a number of this table.
    pub(crate) fn loc(&self, pages: &Pages<'_>, number: u32) -> Result<Loc, Damaged> {
        let place = (number - self.first) as usize;
        let (page, within) = (place / LOC_PER_PAGE, place % LOC_PER_PAGE * LOC_BYTES);
        let loc = pages.with(self, self.loc_start() + narrow(page), |payload| {
            Loc::from_bytes(&payload[within..within + LOC_BYTES])
        })?;
        loc.ok_or(Damaged)
    }

    /// All places, in the order of numbers.
    pub(crate) fn for_locs(
        &self,
        disk: &dyn Disk,
        keys: Keys<'_>,
        each: &mut dyn FnMut(u32, Loc),
    ) -> Result<(), Damaged> {
        let mut number = self.first;
        for page in 0..self.sections.loc {
            let payload = self.page(disk, keys, self.loc_start() + page)?;
            for loc in payload.chunks_exact(LOC_BYTES).take((self.first + self.count - number) as usize) {
                each(number, Loc::from_bytes(loc).ok_or(Damaged)?);
                number += 1;
            }
        }
        Ok(())
    }

    /// All edges: a node's number, its height, the numbers it references.
    pub(crate) fn for_edges(
        &self,
        disk: &dyn Disk,
        keys: Keys<'_>,
        each: &mut dyn FnMut(u32, u8, &[u32]),
    ) -> Result<(), Damaged> {
        let mut words: Vec<u32> = Vec::new();
        let mut left = self.edge_words;
        for page in 0..self.sections.edges {
            let payload = self.page(disk, keys, self.edges_start() + page)?;
            let take = memory(left.min((PAYLOAD / 4) as u64));
            words.extend(payload.as_chunks::<4>().0[..take].iter().map(|word| u32::from_le_bytes(*word)));
            left -= take as u64;
            let used = each_edge(&words, each);
            words.drain(..used);
        }
        if words.is_empty() { Ok(()) } else { Err(Damaged) }
    }

    pub(crate) const fn edge_words(&self) -> u64 {
        self.edge_words
    }

    /// The entries of the edges that begin in the next `max_words` words from one on where an entry begins; answers how many
    /// words they take.
    pub(crate) fn edges_from(
        &self,
        disk: &dyn Disk,
        keys: Keys<'_>,
        from: u64,
        max_words: u64,
        each: &mut dyn FnMut(u32, u8, &[u32]),
    ) -> Result<u64, Damaged> {
        // One entry has at most 2 + 4,096 words.
        let until = self.edge_words.min(from + max_words + ENTRY_WORDS_MAX);
        let first = from / EDGES_PER_PAGE;
        let count = until.div_ceil(EDGES_PER_PAGE) - first;
        let mut bytes = vec![0; memory(count) * PAGE];
        let offset = (u64::from(self.edges_start()) + first) * PAGE_U64;
        read_exact(disk, self.file, offset, &mut bytes).map_err(|_| Damaged)?;
        let mut words = Vec::with_capacity(memory(count * EDGES_PER_PAGE));
        for (page, number) in bytes.as_chunks::<PAGE>().0.iter().zip(self.edges_start() + narrow(memory(first))..) {
            let payload = checked(page, keys, self.first, self.count, number)?;
            words.extend(payload.as_chunks::<4>().0.iter().map(|word| u32::from_le_bytes(*word)));
        }
        let words = &words[memory(from % EDGES_PER_PAGE)..][..memory(until - from)];
        let used = each_edge_until(words, memory(max_words), each) as u64;
        if used >= max_words.min(until - from) { Ok(used) } else { Err(Damaged) }
    }

    /// The tags of some pages of the run; answers the page behind the last, or `None` at the end.
    pub(crate) fn tags_from(
        &self,
        disk: &dyn Disk,
        keys: Keys<'_>,
        from: u32,
        count: u32,
        each: &mut dyn FnMut(Tag, u32),
    ) -> Result<Option<u32>, Damaged> {
        let to = self.sections.run.min(from.saturating_add(count));
        let mut bytes = vec![0; (to - from) as usize * PAGE];
        read_exact(disk, self.file, u64::from(1 + from) * PAGE_U64, &mut bytes).map_err(|_| Damaged)?;
        for (page, number) in bytes.as_chunks::<PAGE>().0.iter().zip(from..) {
            let payload = checked(page, keys, self.first, self.count, 1 + number)?;
            let entries = RUN_PER_PAGE.min((self.run_entries as usize).saturating_sub(number as usize * RUN_PER_PAGE));
            for entry in &payload.as_chunks::<RUN_ENTRY>().0[..entries] {
                let (tag, number) = run_entry(entry);
                each(tag, number);
            }
        }
        Ok((to < self.sections.run).then_some(to))
    }

    /// The places of some numbers of this table, in their order.
    pub(crate) fn locs_from(
        &self,
        disk: &dyn Disk,
        keys: Keys<'_>,
        numbers: std::ops::Range<u32>,
        each: &mut dyn FnMut(u32, Loc),
    ) -> Result<(), Damaged> {
        let place = |number: u32| (number - self.first) as usize;
        let first = place(numbers.start) / LOC_PER_PAGE;
        let count = place(numbers.end).div_ceil(LOC_PER_PAGE) - first;
        let mut bytes = vec![0; count * PAGE];
        let start = self.loc_start() + narrow(first);
        read_exact(disk, self.file, u64::from(start) * PAGE_U64, &mut bytes).map_err(|_| Damaged)?;
        let mut number = self.first + narrow(first * LOC_PER_PAGE);
        for (page, index) in bytes.as_chunks::<PAGE>().0.iter().zip(start..) {
            let payload = checked(page, keys, self.first, self.count, index)?;
            for loc in payload.chunks_exact(LOC_BYTES) {
                if numbers.contains(&number) {
                    each(number, Loc::from_bytes(loc).ok_or(Damaged)?);
                }
                number += 1;
            }
        }
        Ok(())
    }

    /// Writes new places over old ones; durable on return. A page that a power cut tears makes the whole index be rebuilt.
    pub(crate) fn move_locs(
        &self,
        disk: &dyn Disk,
        dir: &str,
        keys: Keys<'_>,
        moves: &[(u32, Loc)],
    ) -> Result<(), WriteFault> {
        let path = format!("{dir}/{}", name(self.first, self.count));
        let file = disk.open(&path, Mode::Write).map_err(|error| WriteFault::Disk(Fault::write(&path)(error)))?;
        let moved = self.move_into(disk, file, &path, keys, moves);
        disk.close(file);
        moved
    }

    fn move_into(
        &self,
        disk: &dyn Disk,
        file: FileId,
        path: &str,
        keys: Keys<'_>,
        moves: &[(u32, Loc)],
    ) -> Result<(), WriteFault> {
        let page_of = |number: u32| self.loc_start() + (number - self.first) / narrow(LOC_PER_PAGE);
        for moves in moves.chunk_by(|a, b| page_of(a.0) == page_of(b.0)) {
            let Some((first, _)) = moves.first() else { continue };
            let page = page_of(*first);
            let mut payload = self.page(disk, keys, page)?;
            for (number, loc) in moves {
                let within = (number - self.first) as usize % LOC_PER_PAGE * LOC_BYTES;
                payload[within..within + LOC_BYTES].copy_from_slice(&loc.to_bytes());
            }
            let mut bytes = [0; PAGE];
            bytes[..PAYLOAD].copy_from_slice(&payload);
            let check = keys.page_check(self.first, self.count, page, &payload);
            bytes[PAYLOAD..PAYLOAD + 8].copy_from_slice(&check);
            let written = disk.write_at(file, u64::from(page) * PAGE_U64, &bytes);
            written.map_err(|error| WriteFault::Disk(Fault::write(path)(error)))?;
        }
        disk.sync(file).map_err(|error| WriteFault::Disk(Fault::sync(path)(error)))
    }

    pub(crate) fn close(&self, disk: &dyn Disk) {
        disk.close(self.file);
    }

    fn run_iter<'a>(
        &'a self,
        disk: &'a dyn Disk,
        keys: Keys<'a>,
    ) -> impl Iterator<Item = Result<(Tag, u32), Damaged>> + 'a {
        let entries = self.run_entries as usize;
        (0..self.sections.run).flat_map(move |page| {
            let count = RUN_PER_PAGE.min(entries - page as usize * RUN_PER_PAGE);
            match self.page(disk, keys, 1 + page) {
                Ok(payload) => {
                    payload.as_chunks::<RUN_ENTRY>().0[..count].iter().map(|entry| Ok(run_entry(entry))).collect()
                }
                Err(damaged) => vec![Err(damaged)],
            }
        })
    }
}

/// Calls `each` for every whole node in `words`; answers how many words that were.
pub(crate) fn each_edge(words: &[u32], each: &mut dyn FnMut(u32, u8, &[u32])) -> usize {
    each_edge_until(words, words.len(), each)
}

/// The same for nodes that begin before a word.
pub(crate) fn each_edge_until(words: &[u32], until: usize, each: &mut dyn FnMut(u32, u8, &[u32])) -> usize {
    let mut at = 0;
    while let Some([number, packed]) = words.get(at..at + 2).filter(|_| at < until) {
        let count = (packed & 0xffff) as usize;
        let Some(refs) = words.get(at + 2..at + 2 + count) else { break };
        each(*number, packed.to_le_bytes()[2], refs);
        at += 2 + count;
    }
    at
}

fn run_entry(entry: &[u8; RUN_ENTRY]) -> (Tag, u32) {
    let mut tag = [0; 12];
    tag.copy_from_slice(&entry[..12]);
    let mut number = [0; 4];
    number.copy_from_slice(&entry[12..]);
    (tag, u32::from_le_bytes(number))
}

fn checked<'p>(page: &'p [u8; PAGE], keys: Keys<'_>, first: u32, count: u32, number: u32) -> Result<&'p [u8], Damaged> {
    let (payload, rest) = page.split_at(PAYLOAD);
    let right = keys.page_check(first, count, number, payload) == rest[..8] && rest[8..] == [0; 8];
    if right { Ok(payload) } else { Err(Damaged) }
}

/// Pages through a small cache.
#[derive(Debug)]
pub(crate) struct Pages<'a> {
    pub(crate) disk: &'a dyn Disk,
    pub(crate) keys: Keys<'a>,
    pub(crate) cache: &'a RefCell<PageCache>,
}

/// A direct-mapped cache of table pages.
#[derive(Debug, Default)]
pub(crate) struct PageCache {
    slots: Vec<Option<Slot>>,
}

#[derive(Debug)]
struct Slot {
    file: FileId,
    page: u32,
    payload: Box<[u8; PAYLOAD]>,
}

impl PageCache {
    /// Forgets everything: pages were written anew.
    pub(crate) fn clear(&mut self) {
        self.slots.clear();
    }
}

impl Pages<'_> {
    fn with<T>(&self, table: &Table, page: u32, read: impl FnOnce(&[u8; PAYLOAD]) -> T) -> Result<T, Damaged> {
        let mut cache = self.cache.borrow_mut();
        if cache.slots.is_empty() {
            cache.slots.resize_with(CACHE_SLOTS, || None);
        }
        let mixed =
            table.file.0.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ u64::from(page).wrapping_mul(0x2545_f491_4f6c_dd1d);
        let slot = &mut cache.slots[memory(mixed >> 32) % CACHE_SLOTS];
        let hit = slot.as_ref().is_some_and(|slot| slot.file == table.file && slot.page == page);
        if !hit {
            let payload = Box::new(table.page(self.disk, self.keys, page)?);
            *slot = Some(Slot { file: table.file, page, payload });
        }
        slot.as_ref().map(|slot| read(&slot.payload)).ok_or(Damaged)
    }
}

/// 32-byte blocks of the filter: 12 bits a key.
fn bloom_blocks(entries: u64) -> usize {
    memory((entries * 12).div_ceil(256).max(1))
}

const SALTS: [u32; 8] =
    [0x47b6_137b, 0x4497_4d91, 0x8824_ad5b, 0xa2b7_289d, 0x7054_95c7, 0x2df1_424b, 0x9efc_4947, 0x5c6b_fb31];

fn bloom_place(blocks: usize, tag: &Tag) -> (usize, u32) {
    let (high, low) = tag.split_at(8);
    let mut wide = [0; 8];
    wide.copy_from_slice(high);
    let mut narrow = [0; 4];
    narrow.copy_from_slice(low);
    let product = u128::from(u64::from_le_bytes(wide)) * blocks as u128;
    (usize::try_from(product >> 64).expect("below the number of blocks"), u32::from_le_bytes(narrow))
}

fn bloom_has(bloom: &[u32], tag: &Tag) -> bool {
    let (block, key) = bloom_place(bloom.len() / 8, tag);
    let words = &bloom[block * 8..block * 8 + 8];
    SALTS.iter().zip(words).all(|(salt, word)| word & (1 << (key.wrapping_mul(*salt) >> 27)) != 0)
}

fn bloom_add(bloom: &mut [u32], tag: &Tag) {
    let (block, key) = bloom_place(bloom.len() / 8, tag);
    let words = &mut bloom[block * 8..block * 8 + 8];
    for (salt, word) in SALTS.iter().zip(words) {
        *word |= 1 << (key.wrapping_mul(*salt) >> 27);
    }
}

/// Gives all items of one section to a consumer.
type Feed<'a, T> = &'a mut dyn FnMut(&mut dyn FnMut(T)) -> Result<(), Damaged>;

/// What a new table is made of.
pub(crate) struct Contents<'a> {
    pub(crate) first: u32,
    pub(crate) count: u32,
    pub(crate) run_entries: u32,
    pub(crate) edge_words: u64,
    /// Sorted by tag.
    pub(crate) run: &'a mut dyn Iterator<Item = Result<(Tag, u32), Damaged>>,
    pub(crate) locs: Feed<'a, Loc>,
    pub(crate) edges: Feed<'a, u32>,
}

/// Why a table was not written.
#[derive(Debug)]
pub(crate) enum WriteFault {
    Damaged,
    Disk(Fault),
}

impl From<Damaged> for WriteFault {
    fn from(_: Damaged) -> Self {
        Self::Damaged
    }
}

/// Writes pages one behind the other, in large writes.
struct Writer<'a> {
    disk: &'a dyn Disk,
    file: FileId,
    path: &'a str,
    keys: Keys<'a>,
    first: u32,
    count: u32,
    page: u32,
    at: u64,
    payload: Vec<u8>,
    buffer: Vec<u8>,
    fault: Option<Fault>,
}

impl Writer<'_> {
    fn push(&mut self, bytes: &[u8]) {
        if self.payload.len() + bytes.len() > PAYLOAD {
            self.end_page();
        }
        self.payload.extend_from_slice(bytes);
    }

    fn end_page(&mut self) {
        if self.payload.is_empty() {
            return;
        }
        self.payload.resize(PAYLOAD, 0);
        let check = self.keys.page_check(self.first, self.count, self.page, &self.payload);
        self.buffer.extend_from_slice(&self.payload);
        self.buffer.extend_from_slice(&check);
        self.buffer.extend_from_slice(&[0; 8]);
        self.payload.clear();
        self.page += 1;
        if self.buffer.len() >= 256 << 10 {
            self.hand_over();
        }
    }

    fn hand_over(&mut self) {
        if self.fault.is_none() {
            let written = self.disk.write_at(self.file, self.at, &self.buffer);
            self.fault = written.map_err(Fault::write(self.path)).err();
        }
        self.at += self.buffer.len() as u64;
        self.buffer.clear();
    }
}

/// Writes a table; the file is durable on return, its name is not.
pub(crate) fn write(disk: &dyn Disk, dir: &str, keys: Keys<'_>, contents: Contents<'_>) -> Result<(), WriteFault> {
    let path = format!("{dir}/{}", name(contents.first, contents.count));
    let file = disk.open(&path, Mode::CreateOrEmpty).map_err(|error| WriteFault::Disk(Fault::write(&path)(error)))?;
    let written = write_into(disk, file, &path, keys, contents);
    disk.close(file);
    written
}

fn write_into(
    disk: &dyn Disk,
    file: FileId,
    path: &str,
    keys: Keys<'_>,
    contents: Contents<'_>,
) -> Result<(), WriteFault> {
    let Contents { first, count, run_entries, edge_words, run, locs, edges } = contents;
    let blocks = bloom_blocks(run_entries.into());
    let run_pages = pages(run_entries.into(), RUN_PER_PAGE);
    let sections = Sections {
        run: run_pages,
        loc: pages(count.into(), LOC_PER_PAGE),
        edges: pages(edge_words, PAYLOAD / 4),
        bloom: pages(blocks as u64 * 8, PAYLOAD / 4),
        fences: pages(run_pages.into(), PAYLOAD / 12),
    };
    let mut writer = Writer {
        disk,
        file,
        path,
        keys,
        first,
        count,
        page: 0,
        at: 0,
        payload: Vec::with_capacity(PAYLOAD),
        buffer: Vec::new(),
        fault: None,
    };
    writer.push(MAGIC);
    writer.push(&run_entries.to_le_bytes());
    writer.push(&edge_words.to_le_bytes());
    for part in [sections.run, sections.loc, sections.edges, sections.bloom, sections.fences] {
        writer.push(&part.to_le_bytes());
    }
    writer.end_page();
    let mut bloom = vec![0; blocks * 8];
    let mut fences: Vec<Tag> = Vec::with_capacity(run_pages as usize);
    for (place, entry) in run.enumerate() {
        let (tag, number) = entry?;
        if place % RUN_PER_PAGE == 0 {
            fences.push(tag);
        }
        bloom_add(&mut bloom, &tag);
        writer.push(&tag);
        writer.push(&number.to_le_bytes());
    }
    writer.end_page();
    locs(&mut |loc| writer.push(&loc.to_bytes()))?;
    writer.end_page();
    edges(&mut |word| writer.push(&word.to_le_bytes()))?;
    writer.end_page();
    bloom.iter().for_each(|word| writer.push(&word.to_le_bytes()));
    writer.end_page();
    fences.iter().for_each(|fence| writer.push(fence));
    writer.end_page();
    writer.hand_over();
    match writer.fault {
        Some(fault) => Err(WriteFault::Disk(fault)),
        None => disk.sync(file).map_err(|error| WriteFault::Disk(Fault::sync(path)(error))),
    }
}

/// Writes one table out of several that cover neighbouring ranges.
pub(crate) fn merge(disk: &dyn Disk, dir: &str, keys: Keys<'_>, tables: &[Table]) -> Result<(u32, u32), WriteFault> {
    let first = tables.first().map_or(0, |table| table.first);
    let count = tables.iter().map(|table| table.count).sum();
    let mut runs: Vec<_> = tables.iter().map(|table| table.run_iter(disk, keys).peekable()).collect();
    let mut run = std::iter::from_fn(|| {
        let mut best: Option<(usize, Tag)> = None;
        for (place, run) in runs.iter_mut().enumerate() {
            match run.peek() {
                Some(Ok((tag, _))) if best.is_none_or(|(_, low)| *tag < low) => best = Some((place, *tag)),
                Some(Err(damaged)) => return Some(Err(*damaged)),
                Some(Ok(_)) | None => {}
            }
        }
        runs[best?.0].next()
    });
    let contents = Contents {
        first,
        count,
        run_entries: tables.iter().map(|table| table.run_entries).sum(),
        edge_words: tables.iter().map(|table| table.edge_words).sum(),
        run: &mut run,
        locs: &mut |each| tables.iter().try_for_each(|table| table.for_locs(disk, keys, &mut |_, loc| each(loc))),
        edges: &mut |each| {
            tables.iter().try_for_each(|table| {
                table.for_edges(disk, keys, &mut |number, height, refs| {
                    each(number);
                    each(pack(height, refs.len()));
                    refs.iter().for_each(|word| each(*word));
                })
            })
        },
    };
    write(disk, dir, keys, contents)?;
    Ok((first, count))
}

/// Height and number of refs in one word.
pub(crate) fn pack(height: u8, refs: usize) -> u32 {
    u32::from(height) << 16 | narrow(refs)
}
