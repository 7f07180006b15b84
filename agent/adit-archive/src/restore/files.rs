// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Files under way: which record gives which bytes of which file. Records come in the order of the box's disk; each is
//! written where it belongs as it comes, and a file gets its name with the last of them.

use super::Fault;
use super::place::{Fresh, Ground};
use crate::entry::{Entry, Extent, Extents};
use adit_wire::ids::Id;
use rustix::io::Errno;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// A file whose content is being fetched. One that goes before it is whole leaves nothing behind and is reported.
#[derive(Debug)]
pub(super) struct Job<'g> {
    entry: Entry,
    ground: &'g Ground,
    /// For a file that comes in pieces.
    fresh: Option<Fresh>,
    /// Data bytes that are not written yet.
    left: AtomicU64,
    settled: AtomicBool,
}

/// What one record is for.
#[derive(Clone, Debug)]
pub(super) enum Use<'g> {
    /// All of a file, from this offset of the plaintext on.
    Whole { job: Arc<Job<'g>>, offset: u32 },
    /// A piece of a file, at this place of its data.
    Piece { job: Arc<Job<'g>>, position: u64, bytes: u64 },
}

/// The uses of one record; they are served once, even if the record comes twice.
#[derive(Debug)]
pub(super) struct Uses<'g> {
    taken: AtomicBool,
    /// A step before wanted it too.
    pub(super) again: bool,
    uses: Vec<Use<'g>>,
}

/// What is fetched at once.
#[derive(Debug, Default)]
pub(super) struct Step<'g> {
    pub(super) wants: HashMap<Id, Uses<'g>>,
}

impl<'g> Step<'g> {
    /// Notes a use; `again` is asked once for each record.
    pub(super) fn want(&mut self, id: Id, used: Use<'g>, again: impl FnOnce() -> bool) {
        let fresh = || Uses { taken: AtomicBool::new(false), again: again(), uses: Vec::new() };
        self.wants.entry(id).or_insert_with(fresh).uses.push(used);
    }
}

/// Writes the content of an opened record.
pub(super) fn serve(uses: &Uses<'_>, plain: &[u8]) {
    if uses.taken.swap(true, Ordering::Relaxed) {
        return;
    }
    for used in &uses.uses {
        match used {
            Use::Whole { job, offset } => job.write_whole(plain, *offset),
            Use::Piece { job, position, bytes } if *bytes == plain.len() as u64 => job.write_piece(plain, *position),
            Use::Piece { .. } => {}
        }
    }
}

impl<'g> Job<'g> {
    pub(super) fn new(entry: Entry, fresh: Option<Fresh>, ground: &'g Ground) -> Self {
        let left = AtomicU64::new(entry.data_bytes().unwrap_or(entry.size));
        Self { entry, ground, fresh, left, settled: AtomicBool::new(false) }
    }

    fn fail(&self, errno: Errno) {
        if !self.settled.swap(true, Ordering::Relaxed) {
            if let Some(fresh) = &self.fresh {
                self.ground.abandon(fresh);
            }
            self.ground.system_fault(&self.entry.path, errno);
        }
    }

    fn write_whole(&self, plain: &[u8], offset: u32) {
        let (Ok(from), Ok(length)) = (usize::try_from(offset), usize::try_from(self.entry.size)) else { return };
        let Some(content) = from.checked_add(length).and_then(|end| plain.get(from..end)) else { return };
        if !self.settled.swap(true, Ordering::Relaxed) {
            self.ground.write_whole(&self.entry, content);
            self.left.store(0, Ordering::Relaxed);
        }
    }

    fn write_piece(&self, plain: &[u8], position: u64) {
        let Some(fresh) = &self.fresh else { return };
        if self.settled.load(Ordering::Relaxed) {
            return;
        }
        let mut written = 0;
        for (offset, from, to) in spread(&self.entry.extents, position, plain.len()) {
            if offset + (to - from) as u64 > self.entry.size {
                return;
            }
            if let Err(errno) = self.ground.write_piece(fresh, &plain[from..to], offset) {
                return self.fail(errno);
            }
            written += (to - from) as u64;
        }
        if written != plain.len() as u64 {
            // More data than the file has room for: the tree contradicts itself.
            return;
        }
        if self.left.fetch_sub(written, Ordering::AcqRel) == written
            && !self.settled.swap(true, Ordering::Relaxed)
            && let Err(errno) = self.ground.finish(fresh, &self.entry)
        {
            self.ground.abandon(fresh);
            self.ground.system_fault(&self.entry.path, errno);
        }
    }
}

impl Drop for Job<'_> {
    fn drop(&mut self) {
        if !self.settled.swap(true, Ordering::Relaxed) {
            if let Some(fresh) = &self.fresh {
                self.ground.abandon(fresh);
            }
            self.ground.fault(&self.entry.path, Fault::Damaged);
        }
        if self.left.load(Ordering::Relaxed) != 0
            && let Some(group) = self.entry.link_group
        {
            self.ground.lose_group(group);
        }
    }
}

/// Where data from `position` on lies in the file: file offset, and the range of the data.
fn spread(extents: &Extents, position: u64, bytes: usize) -> Vec<(u64, usize, usize)> {
    let extents: &[Extent] = match extents {
        Extents::Here(extents) => extents,
        Extents::Whole | Extents::Chunk(_) => return vec![(position, 0, bytes)],
    };
    let mut places = Vec::new();
    let (mut start, mut from) = (0u64, 0usize);
    for extent in extents {
        let end = start + extent.bytes;
        let at = position + from as u64;
        if from < bytes && at < end && at >= start {
            let room = usize::try_from(end - at).unwrap_or(usize::MAX);
            let to = bytes.min(from.saturating_add(room));
            places.push((extent.offset + (at - start), from, to));
            from = to;
        }
        start = end;
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_spreads_over_extents() {
        let extents = Extents::Here(vec![
            Extent { offset: 100, bytes: 10 },
            Extent { offset: 200, bytes: 5 },
            Extent { offset: 300, bytes: 10 },
        ]);
        assert_eq!(spread(&extents, 0, 25), vec![(100, 0, 10), (200, 10, 15), (300, 15, 25)]);
        assert_eq!(spread(&extents, 8, 4), vec![(108, 0, 2), (200, 2, 4)]);
        assert_eq!(spread(&extents, 15, 3), vec![(300, 0, 3)]);
        assert_eq!(spread(&extents, 20, 9), vec![(305, 0, 5)]);
        assert_eq!(spread(&Extents::Whole, 7, 3), vec![(7, 0, 3)]);
    }
}
