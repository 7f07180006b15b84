// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The scrub: every segment, its parity, the ledger's copies and the superblocks are read again and again, a little at a
//! time, and healed where they rot. It only reads ahead of need; who calls decides how fast ([`Store::scrub_rate`]).
//!
//! Never-read segments come first, the newest of them before the others, then those that were read longest ago. How far it
//! is lies in `par/scrub`: losing that file costs a second reading, nothing else.

use crate::bytes::{Fields, narrow};
use crate::cover::{self, DIR};
use crate::disk::{Disk, FileId, Mode, read_file, replace_file};
use crate::error::{Fault, OpenError, ReadError, WriteError};
use crate::heal::word;
use crate::ledger::{Entry, HealEntry};
use crate::parity::Encoder;
use crate::segment::OpenSegment;
use crate::store::Store;
use crate::superblock::{NAMES, Superblock};
use crate::types::{Event, Heal, Moment, ScrubStatus, ScrubStep, Step};
use crate::verify::Verification;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

/// A whole cycle takes no longer than this, if it is called as often as [`Store::scrub_rate`] says.
pub const SCRUB_CYCLE_S: u64 = 30 * 86_400;
/// A segment is read again when its last reading is so long ago: early enough that the cycle holds.
const AGAIN_S: u64 = SCRUB_CYCLE_S / 10 * 8;
/// Ledger and superblocks are small, and all else rests on them.
const LEDGER_AGAIN_S: u64 = 86_400;
/// Bytes a second at least: a new segment of 256 MiB is read within two minutes.
const RATE_MIN: u64 = 2 << 20;
const MAGIC: &[u8; 8] = b"ADITSCR1";
const NAME: &str = "scrub";

/// What the scrub knows.
#[derive(Debug, Default)]
pub(crate) struct Scrub {
    /// When each segment was read through, seconds since 1970.
    done: BTreeMap<u32, u64>,
    /// When ledger and superblocks were.
    ledger_s: u64,
    /// The ledger file that is read next.
    ledger_file: u32,
    /// Open segments to be read before the ledger; `None` while its turn has not come.
    open_left: Option<Vec<u32>>,
    task: Option<Task>,
    /// Sealed segments without right parity.
    uncovered: BTreeSet<u32>,
    /// Segments that lost more than parity gives back, since they were read last.
    hopeless: BTreeSet<u32>,
    /// A person wants everything read that was read before this.
    asked_s: u64,
}

/// What is under way.
#[derive(Debug)]
enum Task {
    Read { segment: u32, reading: Box<Verification> },
    Cover { segment: u32, file: FileId, parity: Box<Encoder>, length: u64 },
}

impl Scrub {
    /// magic | ledger_s u64 | {segment u32, when u64} each | BLAKE3.
    fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&self.ledger_s.to_le_bytes());
        // A segment whose parity is still to be made is read again after a restart.
        let done: Vec<_> = self.done.iter().filter(|(segment, _)| !self.uncovered.contains(segment)).collect();
        bytes.extend_from_slice(&narrow(done.len()).to_le_bytes());
        for (segment, when) in done {
            bytes.extend_from_slice(&segment.to_le_bytes());
            bytes.extend_from_slice(&when.to_le_bytes());
        }
        let hash = blake3::hash(&bytes);
        bytes.extend_from_slice(hash.as_bytes());
        bytes
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (body, hash) = bytes.split_last_chunk::<32>()?;
        if blake3::hash(body).as_bytes() != hash {
            return None;
        }
        let mut fields = Fields::new(body);
        if fields.bytes(8)? != MAGIC {
            return None;
        }
        let ledger_s = fields.u64()?;
        let count = fields.u32()?;
        let done = (0..count).map(|_| Some((fields.u32()?, fields.u64()?))).collect::<Option<_>>()?;
        Some(Self { done, ledger_s, ..Self::default() })
    }

    /// What was noted before, and what has no parity.
    pub(crate) fn load(disk: &dyn Disk, sealed: impl Iterator<Item = u32>) -> Self {
        let noted = read_file(disk, &format!("{DIR}/{NAME}")).ok();
        let mut scrub = noted.and_then(|bytes| Self::from_bytes(&bytes)).unwrap_or_default();
        let names: BTreeSet<String> = disk.list(DIR).unwrap_or_default().into_iter().collect();
        let sealed: BTreeSet<u32> = sealed.collect();
        scrub.done.retain(|segment, _| sealed.contains(segment));
        scrub.uncovered = sealed.into_iter().filter(|segment| !names.contains(&cover::name(*segment))).collect();
        scrub
    }

    /// A segment lost more than parity gives back; that is tried again when it is read in turn.
    pub(crate) fn beyond_parity(&mut self, segment: u32) {
        self.hopeless.insert(segment);
    }

    pub(crate) fn is_hopeless(&self, segment: u32) -> bool {
        self.hopeless.contains(&segment)
    }

    /// A segment is to get its parity.
    pub(crate) fn lacks_parity(&mut self, segment: u32) {
        self.uncovered.insert(segment);
    }
}

impl Store {
    /// Reads about `max_bytes` more, heals what it finds, and notes how far it is.
    ///
    /// # Errors
    /// When the disk fails in a way that is not damage.
    pub fn scrub_step(&mut self, max_bytes: u64, now: Moment) -> Result<ScrubStep, ReadError> {
        if self.read_only.is_some() {
            return Ok(ScrubStep::Idle);
        }
        let Some(task) = self.scrub.task.take().or_else(|| self.next_task(now)) else {
            return self.scrub_ledger(now);
        };
        match task {
            Task::Read { segment, mut reading } => match reading.step(self, max_bytes, now)? {
                Step::Working { .. } => self.scrub.task = Some(Task::Read { segment, reading }),
                Step::Finished(_) => self.segment_read(segment, now)?,
            },
            Task::Cover { segment, file, mut parity, length } => {
                let disk = Arc::clone(&self.disk);
                if !cover::encode(&*disk, file, &mut parity, length, max_bytes) {
                    // What can't be read is found by the next reading, and computed after it.
                    disk.close(file);
                    self.scrub.uncovered.remove(&segment);
                } else if parity.covered() < length {
                    self.scrub.task = Some(Task::Cover { segment, file, parity, length });
                } else {
                    disk.close(file);
                    self.segment_covered(segment, &parity)?;
                }
            }
        }
        Ok(ScrubStep::Working)
    }

    /// What comes next; `None` when everything was read lately.
    fn next_task(&mut self, now: Moment) -> Option<Task> {
        let sealed = self.state.segments.iter().filter(|(_, state)| state.sealed.is_some());
        let due = |segment: &u32| self.scrub.done.get(segment).copied().unwrap_or(0);
        let oldest = sealed.map(|(segment, _)| *segment).min_by_key(|segment| (due(segment), u32::MAX - segment));
        let fresh = |segment: &u32| due(segment) > self.scrub.asked_s && due(segment) + AGAIN_S > now.wall_s;
        // What no reading has found sound gets no parity: that would make its damage look right.
        let sound = self.scrub.uncovered.iter().rev().find(|segment| due(segment) > 0).copied();
        if let Some(segment) = sound {
            let sealed =
                self.state.segments.get(&segment).and_then(|state| Some((state.class, state.sealed.as_ref()?)));
            let opened = sealed.and_then(|(class, sealed)| {
                let fits = self.shape().fits(sealed.length) && self.quarantined_in(segment).is_empty();
                let file = self.disk.open(&crate::segment::path(class, segment), Mode::Read).ok().filter(|_| fits)?;
                Some((file, sealed.length))
            });
            match opened {
                Some((file, length)) => {
                    let parity = Box::new(Encoder::new(self.shape()));
                    return Some(Task::Cover { segment, file, parity, length });
                }
                None => self.scrub.uncovered.remove(&segment),
            };
        }
        let segment = oldest.filter(|segment| !fresh(segment))?;
        self.scrub.hopeless.remove(&segment);
        Some(Task::Read { segment, reading: Box::new(Verification::of_segment(self, segment)) })
    }

    /// A segment was read through and what could be healed of it was.
    fn segment_read(&mut self, segment: u32, now: Moment) -> Result<(), ReadError> {
        let known = self.quarantined_in(segment);
        if !known.is_empty() {
            self.heal_ranges(&known, now)?;
        }
        if self.state.segments.get(&segment).is_none_or(|state| state.sealed.is_none()) {
            return Ok(());
        }
        self.has_wrong_parity(segment);
        self.scrub.done.insert(segment, now.wall_s);
        Ok(self.note_scrub()?)
    }

    /// Whether a sealed segment's parity is there and damaged. If it is, or is not there, the scrub will make it.
    pub(crate) fn has_wrong_parity(&mut self, segment: u32) -> bool {
        let sealed = self.state.segments.get(&segment).and_then(|state| state.sealed.as_ref());
        let Some(sealed) = sealed.filter(|sealed| self.shape().fits(sealed.length)) else { return false };
        let parity = cover::read(&*self.disk, segment, self.shape());
        let whole = parity.is_some_and(|parity| {
            parity.is_whole() && parity.covered == sealed.length && parity.footer_hash == sealed.footer_hash
        });
        if !whole {
            self.scrub.uncovered.insert(segment);
        }
        !whole && self.disk.list(DIR).is_ok_and(|names| names.contains(&cover::name(segment)))
    }

    fn segment_covered(&mut self, segment: u32, parity: &Encoder) -> Result<(), WriteError> {
        self.scrub.uncovered.remove(&segment);
        let sealed = self.state.segments.get(&segment).and_then(|state| state.sealed.as_ref());
        let hash = sealed.filter(|sealed| sealed.length == parity.covered()).map(|sealed| sealed.footer_hash);
        if let Some(hash) = hash {
            self.rewrite_parity(segment, &parity.to_file(segment, hash))?;
        }
        self.note_scrub()
    }

    fn scrub_ledger(&mut self, now: Moment) -> Result<ScrubStep, ReadError> {
        let fresh = self.scrub.ledger_s > self.scrub.asked_s && self.scrub.ledger_s + LEDGER_AGAIN_S > now.wall_s;
        if fresh {
            return Ok(ScrubStep::Idle);
        }
        let open = self.open.iter().flatten().map(OpenSegment::number);
        if let Some(segment) = self.scrub.open_left.get_or_insert_with(|| open.collect()).pop() {
            self.scrub.task = Some(Task::Read { segment, reading: Box::new(Verification::of_segment(self, segment)) });
            return Ok(ScrubStep::Working);
        }
        let file = self.scrub.ledger_file;
        if file == 0 {
            self.heal_superblocks()?;
        }
        let disk = Arc::clone(&self.disk);
        match self.ledger.heal(&*disk, file) {
            Ok(events) => self.events.extend(events),
            Err(OpenError::DiskFull) => {}
            Err(OpenError::Disk { what, source }) => return Err(self.fail(Fault::Write(what, source)).into()),
            Err(error) => return Err(self.fail(Fault::Write("ledger".to_owned(), io::Error::other(error))).into()),
        }
        if file < self.ledger.newest_file() {
            self.scrub.ledger_file = file + 1;
        } else {
            self.scrub.ledger_file = 0;
            self.scrub.open_left = None;
            self.scrub.ledger_s = now.wall_s;
            self.note_scrub()?;
        }
        Ok(ScrubStep::Working)
    }

    fn heal_superblocks(&mut self) -> Result<(), WriteError> {
        for name in NAMES {
            let page = read_file(&*self.disk, name).ok();
            if page.is_some_and(|page| Superblock::from_page(&page).as_ref() == Ok(&self.superblock)) {
                continue;
            }
            let written = replace_file(&*self.disk, "", name, &self.superblock.to_page());
            match written.map_err(Fault::write(name)) {
                Ok(()) => self.events.push(Event::SuperblockRepaired(name)),
                Err(Fault::Full) => {}
                Err(fault) => return Err(self.fail(fault)),
            }
        }
        Ok(())
    }

    fn note_scrub(&mut self) -> Result<(), WriteError> {
        let segments = &self.state.segments;
        self.scrub.done.retain(|segment, _| segments.contains_key(segment));
        let written = self.disk.create_dir(DIR);
        let written = written.and_then(|()| replace_file(&*self.disk, DIR, NAME, &self.scrub.to_bytes()));
        match written.map_err(Fault::write("par/scrub")) {
            // Without room it is read once more after the next start.
            Ok(()) | Err(Fault::Full) => Ok(()),
            Err(fault) => Err(self.fail(fault)),
        }
    }

    /// Bytes a second at which a whole cycle takes half its time, so that nights off and busy days do not matter.
    #[must_use]
    pub fn scrub_rate(&self) -> u64 {
        (self.sealed_bytes() * 2 / SCRUB_CYCLE_S).max(RATE_MIN)
    }

    /// Everything is to be read again, from now on.
    pub fn scrub_now(&mut self, now: Moment) {
        self.scrub.asked_s = now.wall_s;
    }

    /// How far the scrub is.
    #[must_use]
    pub fn scrub_status(&self) -> ScrubStatus {
        let sealed =
            || self.state.segments.iter().filter(|(_, state)| state.sealed.is_some()).map(|(segment, _)| segment);
        let done = || sealed().filter_map(|segment| self.scrub.done.get(segment));
        ScrubStatus {
            segments: sealed().count() as u64,
            never_read: (sealed().count() - done().count()) as u64,
            oldest_s: done().min().copied().unwrap_or(0),
            without_parity: self.scrub.uncovered.len() as u64,
            ledger_s: self.scrub.ledger_s,
            left_to_read: done().filter(|when| **when <= self.scrub.asked_s).count() as u64,
            bytes: self.sealed_bytes(),
        }
    }

    fn sealed_bytes(&self) -> u64 {
        self.state.segments.values().filter_map(|state| state.sealed.as_ref()).map(|sealed| sealed.length).sum()
    }

    /// The newest heals that the ledger tells of, newest first.
    #[must_use]
    pub fn heals(&self, count_max: usize) -> Vec<Heal> {
        let mut heals = Vec::new();
        self.ledger.each_entry(&*self.disk, &mut |wall_s, entry| {
            if let Entry::Heal(HealEntry { segment, from, to, id, by }) = entry {
                heals.push(Heal { at_s: wall_s, segment: *segment, from: *from, to: *to, id: *id, by: word(*by) });
            }
        });
        heals.reverse();
        heals.truncate(count_max);
        heals
    }
}
