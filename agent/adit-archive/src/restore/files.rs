// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Files under way: which record gives which bytes of which file. Records come in the order of the box's disk; worker
//! threads open, check and write them as they come.

use super::Fault;
use super::keyring::Keyring;
use super::place::{Fresh, Ground};
use crate::entry::{Entry, Extent, Extents};
use crate::seal::Kind;
use adit_wire::ids::Id;
use adit_wire::record::Record;
use crossbeam_channel::Receiver;
use rustix::io::Errno;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// A file whose content is being fetched.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) entry: Entry,
    /// For a file that comes in pieces.
    pub(super) fresh: Option<Fresh>,
    /// Data bytes that are not written yet.
    left: AtomicU64,
    settled: AtomicBool,
}

/// What one record is for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Use {
    /// All of a file, from this offset of the plaintext on.
    Whole { job: usize, offset: u32 },
    /// A piece of a file, at this place of its data.
    Piece { job: usize, position: u64, bytes: u64 },
}

/// The uses of one record; they are served once, even if the record comes twice.
#[derive(Debug, Default)]
pub(super) struct Uses {
    taken: AtomicBool,
    uses: Vec<Use>,
}

/// What one fetch is for.
pub(super) type Wants = HashMap<Id, Uses>;

pub(super) fn want(wants: &mut Wants, id: Id, used: Use) {
    wants.entry(id).or_default().uses.push(used);
}

impl Uses {
    /// Whether the record came and could be opened.
    pub(super) fn is_taken(&self) -> bool {
        self.taken.load(Ordering::Relaxed)
    }
}

impl Job {
    pub(super) fn new(entry: Entry, fresh: Option<Fresh>) -> Self {
        let left = AtomicU64::new(entry.data_bytes().unwrap_or(entry.size));
        Self { entry, fresh, left, settled: AtomicBool::new(false) }
    }

    /// Nothing is to be done for it any more.
    pub(super) fn skip(&self) {
        self.settled.store(true, Ordering::Relaxed);
    }

    /// After all fetches: what is not whole by now never will be.
    pub(super) fn close(&self, ground: &Ground) {
        if !self.settled.swap(true, Ordering::Relaxed) {
            if let Some(fresh) = &self.fresh {
                ground.abandon(fresh);
            }
            ground.fault(&self.entry.path, Fault::Damaged);
        }
    }

    /// Whether the file is there now.
    pub(super) fn is_whole(&self) -> bool {
        self.left.load(Ordering::Relaxed) == 0
    }

    fn fail(&self, ground: &Ground, errno: Errno) {
        if !self.settled.swap(true, Ordering::Relaxed) {
            if let Some(fresh) = &self.fresh {
                ground.abandon(fresh);
            }
            ground.system_fault(&self.entry.path, errno);
        }
    }

    fn write_whole(&self, ground: &Ground, plain: &[u8], offset: u32) {
        let (Ok(from), Ok(length)) = (usize::try_from(offset), usize::try_from(self.entry.size)) else { return };
        let Some(content) = from.checked_add(length).and_then(|end| plain.get(from..end)) else { return };
        if !self.settled.swap(true, Ordering::Relaxed) {
            ground.write_whole(&self.entry, content);
            self.left.store(0, Ordering::Relaxed);
        }
    }

    fn write_piece(&self, ground: &Ground, plain: &[u8], position: u64) {
        let Some(fresh) = &self.fresh else { return };
        if self.settled.load(Ordering::Relaxed) {
            return;
        }
        let mut written = 0;
        for (offset, from, to) in spread(&self.entry.extents, position, plain.len()) {
            if offset + (to - from) as u64 > self.entry.size {
                return;
            }
            if let Err(errno) = ground.write_piece(fresh, &plain[from..to], offset) {
                return self.fail(ground, errno);
            }
            written += (to - from) as u64;
        }
        if written != plain.len() as u64 {
            // More data than the file has room for: the tree contradicts itself.
            return;
        }
        if self.left.fetch_sub(written, Ordering::AcqRel) == written
            && !self.settled.swap(true, Ordering::Relaxed)
            && let Err(errno) = ground.finish(fresh, &self.entry)
        {
            ground.abandon(fresh);
            ground.system_fault(&self.entry.path, errno);
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

/// A worker's life: takes records until there are no more.
pub(super) fn work(records: &Receiver<Vec<u8>>, wants: &Wants, jobs: &[Job], ground: &Ground, keyring: &Keyring) {
    let Ok(mut opener) = keyring.opener() else { return };
    let mut plain = Vec::new();
    for bytes in records {
        let Ok(record) = Record::parse(&bytes) else { continue };
        let Some(uses) = wants.get(&record.header.id) else { continue };
        let is_content = matches!(opener.open(&record, &mut plain), Ok(Kind::Chunk | Kind::Bundle));
        if !is_content || uses.taken.swap(true, Ordering::Relaxed) {
            continue;
        }
        for used in &uses.uses {
            match *used {
                Use::Whole { job, offset } => jobs[job].write_whole(ground, &plain, offset),
                Use::Piece { job, position, bytes } if bytes == plain.len() as u64 => {
                    jobs[job].write_piece(ground, &plain, position);
                }
                Use::Piece { .. } => {}
            }
        }
    }
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
