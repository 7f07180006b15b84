// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What collection asks of the index: edges and places in slices, forgetting the dead, new places for what was copied.
//!
//! Places in the edges are counted in words from the very first table on. Merging tables keeps the order of the words, so
//! such a place stays right while new records arrive.

use super::table::each_edge_until;
use super::{Bitmap, Damaged, Index, Loc, Tag, WriteFault, memory};
use crate::disk::Disk;
use std::collections::BTreeMap;

impl Index {
    /// Words of all edges.
    pub(crate) fn edge_words(&self) -> u64 {
        self.tables.iter().map(super::table::Table::edge_words).sum::<u64>() + self.memory.edges.len() as u64
    }

    /// The entries that begin in the next `max_words` words from one on where an entry begins, those of one table at most;
    /// answers how many words they take.
    pub(crate) fn edges_from(
        &self,
        disk: &dyn Disk,
        from: u64,
        max_words: u64,
        each: &mut dyn FnMut(u32, u8, &[u32]),
    ) -> Result<u64, Damaged> {
        let mut before = 0;
        for table in &self.tables {
            let words = table.edge_words();
            if from < before + words {
                return table.edges_from(disk, self.keys(), from - before, max_words, each);
            }
            before += words;
        }
        let words = self.memory.edges.get(memory(from - before)..).ok_or(Damaged)?;
        Ok(each_edge_until(words, memory(max_words), each) as u64)
    }

    /// First number and count of each table: while they are the same, so are places in the runs.
    pub(crate) fn shape(&self) -> Vec<(u32, u32)> {
        self.tables.iter().map(|table| (table.first, table.count)).collect()
    }

    /// The tags of some pages of the runs, from a table and a page on; answers where to go on, `None` at the end.
    pub(crate) fn tags_from(
        &self,
        disk: &dyn Disk,
        (place, page): (usize, u32),
        pages: u32,
        each: &mut dyn FnMut(Tag, u32),
    ) -> Result<Option<(usize, u32)>, Damaged> {
        let Some(table) = self.tables.get(place) else {
            self.memory.tags.iter().for_each(|(tag, number)| each(*tag, *number));
            return Ok(None);
        };
        let next = table.tags_from(disk, self.keys(), page, pages, each)?;
        Ok(Some(next.map_or((place + 1, 0), |page| (place, page))))
    }

    /// Places of some numbers, in their order.
    pub(crate) fn locs_from(
        &self,
        disk: &dyn Disk,
        numbers: std::ops::Range<u32>,
        each: &mut dyn FnMut(u32, Loc),
    ) -> Result<(), Damaged> {
        for table in &self.tables {
            let within = numbers.start.max(table.first)..numbers.end.min(table.first + table.count);
            if !within.is_empty() {
                table.locs_from(disk, self.keys(), within, &mut |number, loc| {
                    each(number, self.healed.get(&number).copied().unwrap_or(loc));
                })?;
            }
        }
        let memory = (self.memory.first..).zip(&self.memory.locs);
        memory.filter(|(number, _)| numbers.contains(number)).for_each(|(number, loc)| each(number, *loc));
        Ok(())
    }

    pub(crate) fn is_present(&self, number: u32) -> bool {
        self.present.get(number)
    }

    /// From now on, old numbers that get a healthy copy are remembered.
    pub(crate) fn watch_fresh(&mut self) {
        self.fresh = Some(Bitmap::default());
    }

    pub(crate) fn is_fresh(&self, number: u32) -> bool {
        self.fresh.as_ref().is_some_and(|fresh| fresh.get(number))
    }

    /// Everything below `end` that is not live is gone; what is only kept is not complete any more. `dead` is what each
    /// source loses: records and bytes.
    pub(crate) fn sweep(&mut self, live: &Bitmap, kept: &Bitmap, end: u32, dead: &BTreeMap<u32, (u64, u64)>) {
        for number in 0..end {
            if live.get(number) {
                continue;
            }
            self.complete.clear(number);
            if !kept.get(number) {
                self.present.clear(number);
                self.bad.clear(number);
            }
        }
        for (source, (records, bytes)) in dead {
            let totals = self.totals.entry(*source).or_default();
            *totals = (totals.0.saturating_sub(*records), totals.1.saturating_sub(*bytes));
        }
        self.fresh = None;
    }

    /// Records whose segments are gone, found after a cut: what was swept before the marks were written.
    pub(crate) fn forget(&mut self, disk: &dyn Disk, gone: &[(u32, Loc)]) -> Result<(), Damaged> {
        for (number, loc) in gone {
            if self.present.get(*number) {
                let totals = self.totals.entry(loc.source).or_default();
                *totals = (totals.0.saturating_sub(1), totals.1.saturating_sub(loc.length.into()));
            }
            self.present.clear(*number);
            self.bad.clear(*number);
            self.complete.clear(*number);
        }
        self.settle_complete(disk)
    }

    /// Records lie elsewhere now. In memory at once, in the tables on return.
    pub(crate) fn move_to(&mut self, disk: &dyn Disk, moves: &[(u32, Loc)]) -> Result<(), WriteFault> {
        for (number, loc) in moves {
            self.set_loc(*number, *loc);
        }
        if !self.writable {
            return Ok(());
        }
        let dir = super::dir(self.generation);
        for table in &self.tables {
            let within = |number: u32| (table.first..table.first + table.count).contains(&number);
            let mut moved: Vec<(u32, Loc)> = moves.iter().filter(|(number, _)| within(*number)).copied().collect();
            if !moved.is_empty() {
                moved.sort_unstable_by_key(|(number, _)| *number);
                self.cache.borrow_mut().clear();
                table.move_locs(disk, &dir, self.keys(), &moved)?;
            }
        }
        for (number, _) in moves {
            self.healed.remove(number);
        }
        Ok(())
    }

    /// Whether so many numbers are dead that the index should be made anew.
    pub(crate) fn is_mostly_dead(&self) -> bool {
        self.numbers() > 65_536 && self.present.count() * 2 < u64::from(self.numbers())
    }
}
