// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A disk in one of its states, read and written as a stream without building an image: what is written stays in memory.
//!
//! A view remembers which sectors were read. A function of nothing but the view gives the same answer for every state that
//! is equal in the sectors that it read before; [`Memo`] asks it once for all of them. That makes it cheap to judge
//! thousands of states, most of which differ only in sectors that nobody looks at, and leaves nothing out.

use super::replay::{Image, Mark, Replay, State, mark};
use anyhow::Result;
use std::collections::{BTreeMap, HashMap};
use std::io::{self, Read, Seek, SeekFrom, Write};

/// First sector of a run, and the one behind it.
type Run = (u64, u64);
/// Runs of sectors that an asking read, and the answers by their content.
type Known<A> = (Vec<Run>, HashMap<Mark, A>);

/// A disk in one state.
#[derive(Debug)]
pub struct View<'a> {
    replay: &'a Replay,
    image: Image,
    written: BTreeMap<u64, (Vec<u8>, Mark)>,
    /// Sectors that were read, in no order.
    read: Vec<Run>,
}

impl Replay {
    /// The disk in `state`.
    ///
    /// # Errors
    /// When the state is not of this log.
    pub fn view(&self, state: &State) -> Result<View<'_>> {
        Ok(View { replay: self, image: self.rebuild(state)?, written: BTreeMap::new(), read: Vec::new() })
    }
}

impl<'a> View<'a> {
    /// The disk from byte `start` on, a sector's begin, as a stream.
    pub const fn part(&mut self, start: u64) -> Part<'_, 'a> {
        Part { view: self, start, at: 0 }
    }

    fn sectors(&mut self, first: u64, end: u64) -> Result<Vec<u8>> {
        match self.read.last_mut() {
            Some(last) if last.0 <= first && first <= last.1 => last.1 = last.1.max(end),
            _ => self.read.push((first, end)),
        }
        let size = self.replay.sector_bytes;
        let mut out = vec![0; usize::try_from(end - first)? * size];
        self.replay.read(&self.image, first, &mut out)?;
        for (sector, (bytes, _)) in self.written.range(first..end) {
            let start = usize::try_from(sector - first)? * size;
            out[start..start + size].copy_from_slice(bytes);
        }
        Ok(out)
    }

    /// Equal for equal content of these runs of sectors.
    fn mark(&self, runs: &[Run]) -> Mark {
        let mut sum = Mark::default();
        let mut add = |mark: Mark| sum.iter_mut().zip(mark).for_each(|(sum, word)| *sum ^= word);
        for (first, end) in runs {
            add(self.replay.mark_of(&self.image, *first, *end));
            for (sector, (_, mark)) in self.written.range(*first..*end) {
                // In the place of what the state holds there.
                add(self.replay.mark_of(&self.image, *sector, *sector + 1));
                add(*mark);
            }
        }
        sum
    }
}

/// A disk from some byte on.
#[derive(Debug)]
pub struct Part<'v, 'a> {
    view: &'v mut View<'a>,
    start: u64,
    at: u64,
}

impl Part<'_, '_> {
    /// Byte on the disk, and how many of `length` bytes the disk has from there.
    fn place(&self, length: usize) -> (u64, usize) {
        let position = self.start.saturating_add(self.at);
        let left = self.view.replay.size_bytes.saturating_sub(position);
        (position, length.min(usize::try_from(left).unwrap_or(usize::MAX)))
    }

    /// The sectors around some bytes, their content, and where the bytes begin in it.
    fn around(&mut self, position: u64, count: usize) -> io::Result<(u64, Vec<u8>, usize)> {
        let size = self.view.replay.sector_bytes as u64;
        let (first, end) = (position / size, (position + count as u64).div_ceil(size));
        let bytes = self.view.sectors(first, end).map_err(io::Error::other)?;
        Ok((first, bytes, usize::try_from(position % size).map_err(io::Error::other)?))
    }
}

impl Read for Part<'_, '_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let (position, count) = self.place(buffer.len());
        let (_, bytes, from) = self.around(position, count)?;
        buffer[..count].copy_from_slice(&bytes[from..from + count]);
        self.at += count as u64;
        Ok(count)
    }
}

impl Write for Part<'_, '_> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let (position, count) = self.place(buffer.len());
        let (first, mut bytes, from) = self.around(position, count)?;
        bytes[from..from + count].copy_from_slice(&buffer[..count]);
        for (sector, block) in (first..).zip(bytes.chunks_exact(self.view.replay.sector_bytes)) {
            let mark = mark(sector, blake3::hash(block).as_bytes());
            self.view.written.insert(sector, (block.to_vec(), mark));
        }
        self.at += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for Part<'_, '_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let end = self.view.replay.size_bytes.saturating_sub(self.start);
        let place = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
            SeekFrom::End(by) => end.checked_add_signed(by),
        };
        self.at = place.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}

/// Answers to one question about views, which must follow from the view alone. What a question writes is gone after it.
#[derive(Debug)]
pub struct Memo<A> {
    /// What was of use last stands first.
    known: Vec<Known<A>>,
    asked: usize,
}

impl<A> Default for Memo<A> {
    fn default() -> Self {
        Self { known: Vec::new(), asked: 0 }
    }
}

impl<A: Clone> Memo<A> {
    /// The answer: one that is known for the same bytes, else what `question` says.
    ///
    /// # Errors
    /// The question's, which are not remembered.
    pub fn ask<'a>(&mut self, view: &mut View<'a>, question: impl FnOnce(&mut View<'a>) -> Result<A>) -> Result<A> {
        let hit = self.known.iter().position(|(runs, answers)| answers.contains_key(&view.mark(runs)));
        if let Some(index) = hit {
            self.known[..=index].rotate_right(1);
            let (runs, answers) = &self.known[0];
            let answer = answers[&view.mark(runs)].clone();
            // Whoever asks has, by this answer, read these sectors too.
            view.read.extend_from_slice(runs);
            return Ok(answer);
        }
        self.asked += 1;
        let read_before = std::mem::take(&mut view.read);
        let written = view.written.clone();
        let answer = question(view);
        let mut runs = std::mem::replace(&mut view.read, read_before);
        view.read.extend_from_slice(&runs);
        view.written = written;
        let answer = answer?;
        merge(&mut runs);
        let mark = view.mark(&runs);
        match self.known.iter_mut().find(|(known, _)| *known == runs) {
            Some((_, answers)) => drop(answers.insert(mark, answer.clone())),
            None => self.known.insert(0, (runs, HashMap::from([(mark, answer.clone())]))),
        }
        Ok(answer)
    }

    /// How often the question had to be asked.
    #[must_use]
    pub const fn asked(&self) -> usize {
        self.asked
    }
}

/// Sorts runs and joins those that touch.
fn merge(runs: &mut Vec<Run>) {
    runs.sort_unstable();
    runs.dedup_by(|next, kept| {
        let touches = next.0 <= kept.1;
        if touches {
            kept.1 = kept.1.max(next.1);
        }
        touches
    });
}

#[cfg(test)]
mod tests {
    use super::super::log::by_hand::{Request, SECTOR, bytes};
    use super::super::log::{End, Log};
    use super::super::replay::{Plan, Points};
    use super::*;

    const DISK_BYTES: u64 = 8 * SECTOR as u64;

    /// Three writes, to sectors 1, 5 and 1 again, over a disk of zeros.
    fn states(folder: &std::path::Path) -> (Replay, Vec<State>) {
        let (base, log) = (folder.join("base"), folder.join("log"));
        std::fs::write(&base, []).unwrap();
        let write = |sector, byte| Request::write(sector, &[byte; SECTOR]);
        let requests = [write(1, 1), Request::flush(), write(5, 2), Request::flush(), write(1, 3), Request::flush()];
        std::fs::write(&log, bytes(&requests, 6)).unwrap();
        let replay = Replay::new(&base, DISK_BYTES, Log::open(&log, End::Closed).unwrap()).unwrap();
        let plan = Plan { points: Points::EveryWrite, from_entry: 0, lost: 0, torn: 0, within: None, seed: 1 };
        let states = replay.states(&plan).unwrap().distinct;
        assert_eq!(states.len(), 4);
        (replay, states)
    }

    fn byte(view: &mut View<'_>, sector: u64) -> Result<u8> {
        let mut one = [0];
        view.part(sector * SECTOR as u64).read_exact(&mut one)?;
        Ok(one[0])
    }

    #[test]
    fn a_question_is_asked_once_for_the_bytes_that_it_reads() {
        let folder = tempfile::tempdir().unwrap();
        let (replay, states) = states(folder.path());
        let mut memo = Memo::default();
        let mut answers = Vec::new();
        for state in states.iter().chain(&states) {
            let mut view = replay.view(state).unwrap();
            // Which sector is read second depends on the first.
            let answer =
                memo.ask(&mut view, |view| Ok((byte(view, 1)?, if byte(view, 1)? == 3 { byte(view, 5)? } else { 0 })));
            answers.push(answer.unwrap());
        }
        assert_eq!(answers[..4], [(0, 0), (1, 0), (1, 0), (3, 2)]);
        assert_eq!(answers[..4], answers[4..]);
        assert_eq!(memo.asked(), 3, "the state that differs in sector 5 alone is equal to whoever reads sector 1");
    }

    #[test]
    fn what_is_written_stays_in_the_view_and_a_question_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let (replay, states) = states(folder.path());
        let mut view = replay.view(&states[3]).unwrap();
        let mut part = view.part(SECTOR as u64);
        part.seek(SeekFrom::Start(SECTOR as u64 - 1)).unwrap();
        part.write_all(&[7, 8]).unwrap();
        assert_eq!((byte(&mut view, 1).unwrap(), byte(&mut view, 2).unwrap()), (3, 8));
        let mut memo = Memo::default();
        let mut sum = |view: &mut View<'_>| {
            memo.ask(view, |view| {
                let sum = byte(view, 2)? + byte(view, 1)?;
                view.part(2 * SECTOR as u64).write_all(&[100])?;
                Ok(sum)
            })
        };
        // Neither the sector that was written before nor the one that the question writes is mixed up with the state's.
        assert_eq!(sum(&mut view).unwrap(), 11);
        assert_eq!(sum(&mut view).unwrap(), 11);
        assert_eq!(sum(&mut replay.view(&states[3]).unwrap()).unwrap(), 3);
        assert_eq!(byte(&mut view, 2).unwrap(), 8);
        assert_eq!(memo.asked(), 2);
        assert_eq!(view.part(0).seek(SeekFrom::End(0)).unwrap(), DISK_BYTES);
        assert_eq!(view.part(DISK_BYTES).read(&mut [0]).unwrap(), 0);
    }
}
