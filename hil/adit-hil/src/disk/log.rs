// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The write log: what QEMU's `blklogwrites` and Linux's dm-log-writes record. One sector of superblock, then entry after
//! entry: a sector that begins with four little-endian numbers, and the sectors that were written.
//!
//! ```text
//! superblock  magic u64 | version u64 | entries u64 | sector bytes u32
//! entry       sector u64 | count u64 | flags u64 | length u64      FLUSH 1, FUA 2, DISCARD 4 (no data), MARK 8
//!             a mark has `length` bytes of text in the same sector; everything else has length 0
//! ```
//!
//! An entry stands in the log when its request *began*: a flush may be recorded while an earlier write is still under
//! way. Guests that matter wait for their writes first. There is no checksum: end a recorded machine with the monitor's
//! `stop` (which waits for what is under way) before it is killed.

use super::{SECTOR_BYTES, SECTOR_BYTES_MAX};
use anyhow::{Context, Result, bail, ensure};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// First number of a log.
pub const MAGIC: u64 = 0x006a_7366_7773_6872;
/// The only version there is.
pub const VERSION: u64 = 1;
/// Most entries that are read.
pub const ENTRIES_MAX: usize = 4 << 20;
/// Bytes of an entry before its padding.
const ENTRY_BYTES: usize = 32;
const FLUSH: u64 = 1;
const FUA: u64 = 2;
const DISCARD: u64 = 4;
const MARK: u64 = 8;

/// One request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// First sector.
    pub sector: u64,
    /// Sectors written or discarded; `sector + count` fits.
    pub count: u64,
    flags: u64,
    /// Where its data, or the text of a mark, begins in the log file, in bytes.
    pub data_offset: u64,
    /// Bytes of a mark's text.
    pub mark_bytes: u64,
}

impl Entry {
    /// Everything before it is on stable storage.
    pub fn flushes(&self) -> bool {
        self.flags & FLUSH != 0
    }

    /// Is itself on stable storage when it ends.
    pub fn forced(&self) -> bool {
        self.flags & FUA != 0
    }

    /// Gives its sectors up. The replay reads zeros there, as a sparse image does; a guest may count on nothing, and an
    /// overlay of which less than a cluster is given up keeps what it held.
    pub fn discards(&self) -> bool {
        self.flags & DISCARD != 0 && self.count > 0
    }

    /// Carries data.
    pub fn writes(&self) -> bool {
        self.flags & (DISCARD | MARK) == 0 && self.count > 0
    }
}

/// How the recording ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// QEMU closed it: every entry that the superblock counts must be whole.
    Closed,
    /// QEMU was killed, or still runs: the log ends at the first entry that is not whole.
    Cut,
}

/// A log that was read and found well-formed.
#[derive(Debug)]
pub struct Log {
    file: File,
    sector_bytes: u32,
    entries: Vec<Entry>,
}

impl Log {
    /// Reads the log at `path`. The superblock's count may lag behind: entries after it are taken as long as they are
    /// whole.
    pub fn open(path: &Path, end: End) -> Result<Self> {
        let file = File::open(path).with_context(|| format!("open {}", path.display()))?;
        Self::read(file, end, ENTRIES_MAX).with_context(|| format!("read write log {}", path.display()))
    }

    fn read(file: File, end: End, entries_max: usize) -> Result<Self> {
        let length = file.metadata().context("ask for its length")?.len();
        let mut head = [0; 28];
        ensure!(length >= 28, "{length} bytes hold no superblock");
        file.read_exact_at(&mut head, 0).context("read the superblock")?;
        let (magic, version, promised) = (number(&head, 0), number(&head, 8), number(&head, 16));
        let sector_bytes = u32::from_le_bytes([head[24], head[25], head[26], head[27]]);
        ensure!(
            magic == MAGIC,
            "magic {magic:#x} instead of {MAGIC:#x}: nothing was recorded, or this is no write log"
        );
        ensure!(version == VERSION, "version {version} instead of {VERSION}");
        ensure!(
            sector_bytes.is_power_of_two() && (SECTOR_BYTES..=SECTOR_BYTES_MAX).contains(&sector_bytes),
            "sectors of {sector_bytes} bytes"
        );
        let mut entries = Vec::new();
        let mut offset = u64::from(sector_bytes);
        loop {
            let index = entries.len();
            let must = end == End::Closed && u64::try_from(index)? < promised;
            match entry(&file, offset, length, u64::from(sector_bytes)) {
                Ok(Some((entry, next))) => {
                    ensure!(index < entries_max, "more than {entries_max} entries");
                    entries.push(entry);
                    offset = next;
                }
                Ok(None) if must => bail!("entry {index} of {promised} is missing"),
                Err(error) if must => return Err(error.context(format!("entry {index} of {promised}"))),
                Ok(None) | Err(_) => break,
            }
        }
        Ok(Self { file, sector_bytes, entries })
    }

    /// Bytes of a sector.
    pub fn sector_bytes(&self) -> u32 {
        self.sector_bytes
    }

    /// Every entry, in the order in which they began.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The text of a mark.
    pub fn mark(&self, entry: &Entry) -> Result<Option<Vec<u8>>> {
        if entry.flags & MARK == 0 {
            return Ok(None);
        }
        let mut text = vec![0; usize::try_from(entry.mark_bytes)?];
        self.read_at(&mut text, entry.data_offset)?;
        Ok(Some(text))
    }

    /// Fills `buffer` from the log file.
    pub(crate) fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<()> {
        self.file.read_exact_at(buffer, offset).with_context(|| format!("read the write log at {offset}"))
    }
}

fn number(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 8).and_then(|b| b.try_into().ok()).map_or(0, u64::from_le_bytes)
}

/// The entry at `offset` and where the next one begins; `None` where the log was never written.
fn entry(file: &File, offset: u64, length: u64, sector_bytes: u64) -> Result<Option<(Entry, u64)>> {
    let data_offset = offset.checked_add(sector_bytes).filter(|end| *end <= length);
    let data_offset = data_offset.with_context(|| format!("its head at {offset} ends after the file"))?;
    let mut head = [0; ENTRY_BYTES];
    file.read_exact_at(&mut head, offset).with_context(|| format!("read its head at {offset}"))?;
    let (sector, count, flags, mark_bytes) = (number(&head, 0), number(&head, 8), number(&head, 16), number(&head, 24));
    if sector == 0 && count == 0 && flags == 0 && mark_bytes == 0 {
        return Ok(None);
    }
    ensure!(flags & !(FLUSH | FUA | DISCARD | MARK) == 0, "flags {flags:#x} are not known");
    ensure!(count > 0 || flags != 0, "writes nothing and flushes nothing");
    let end = sector.checked_add(count).and_then(|end| end.checked_mul(sector_bytes));
    ensure!(end.is_some(), "{count} sectors from {sector} end after the largest disk");
    if flags & MARK != 0 {
        let room = sector_bytes - u64::try_from(ENTRY_BYTES)?;
        ensure!(count == 0 && mark_bytes <= room, "a mark of {count} sectors and {mark_bytes} bytes");
        let text_offset = offset + u64::try_from(ENTRY_BYTES)?;
        return Ok(Some((Entry { sector, count, flags, data_offset: text_offset, mark_bytes }, data_offset)));
    }
    ensure!(mark_bytes == 0, "length {mark_bytes} without being a mark");
    let data_bytes = if flags & DISCARD != 0 { 0 } else { count * sector_bytes };
    let next = data_offset.checked_add(data_bytes).filter(|end| *end <= length);
    let next = next.with_context(|| format!("its {data_bytes} bytes of data end after the file"))?;
    Ok(Some((Entry { sector, count, flags, data_offset, mark_bytes }, next)))
}

/// Logs made by hand, for the tests of this module and of the replay.
#[cfg(test)]
pub(crate) mod by_hand {
    use super::*;

    pub(crate) const SECTOR: usize = 512;

    /// One request as a test says it.
    #[derive(Debug, Clone)]
    pub(crate) struct Request {
        pub(crate) sector: u64,
        pub(crate) count: u64,
        pub(crate) flags: u64,
        pub(crate) data: Vec<u8>,
    }

    impl Request {
        pub(crate) fn write(sector: u64, data: &[u8]) -> Self {
            Self { sector, count: (data.len() / SECTOR) as u64, flags: 0, data: data.to_vec() }
        }
        pub(crate) fn forced(self) -> Self {
            Self { flags: self.flags | FUA, ..self }
        }
        pub(crate) fn flush() -> Self {
            Self { sector: 0, count: 0, flags: FLUSH, data: vec![] }
        }
        pub(crate) fn discard(sector: u64, count: u64) -> Self {
            Self { sector, count, flags: DISCARD, data: vec![] }
        }
    }

    /// The bytes of a log of `requests` whose superblock counts `promised`.
    pub(crate) fn bytes(requests: &[Request], promised: u64) -> Vec<u8> {
        let mut log = Vec::new();
        for value in [MAGIC, VERSION, promised, SECTOR as u64] {
            log.extend(value.to_le_bytes());
        }
        log.resize(SECTOR, 0);
        for request in requests {
            let start = log.len();
            let mark_bytes = if request.flags & MARK == 0 { 0 } else { request.data.len() as u64 };
            for value in [request.sector, request.count, request.flags, mark_bytes] {
                log.extend(value.to_le_bytes());
            }
            if request.flags & MARK != 0 {
                log.extend(&request.data);
            }
            log.resize(start + SECTOR, 0);
            if request.flags & MARK == 0 {
                log.extend(&request.data);
            }
        }
        log
    }
}

#[cfg(test)]
mod tests {
    use super::by_hand::{Request, SECTOR, bytes};
    use super::*;
    use std::io::Write;

    fn open(bytes: &[u8], end: End) -> Result<Log> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(bytes).unwrap();
        Log::open(file.path(), end)
    }

    fn sample() -> Vec<Request> {
        let mark = Request { sector: 0, count: 0, flags: MARK, data: b"mounted".to_vec() };
        let write = Request::write(7, &[0x55; 2 * SECTOR]);
        vec![write, Request::flush(), Request::discard(100, 50), mark, Request::write(9, &[0xaa; SECTOR]).forced()]
    }

    #[test]
    fn every_kind_of_entry_is_read() {
        let log = open(&bytes(&sample(), 5), End::Closed).unwrap();
        let seen: Vec<_> =
            log.entries().iter().map(|e| (e.sector, e.count, e.writes(), e.flushes(), e.forced())).collect();
        assert_eq!(
            seen,
            [
                (7, 2, true, false, false),
                (0, 0, false, true, false),
                (100, 50, false, false, false),
                (0, 0, false, false, false),
                (9, 1, true, false, true)
            ]
        );
        assert!(log.entries()[2].discards());
        assert_eq!(log.mark(&log.entries()[3]).unwrap().unwrap(), b"mounted");
        let mut data = [0; SECTOR];
        log.read_at(&mut data, log.entries()[4].data_offset).unwrap();
        assert_eq!(data, [0xaa; SECTOR]);
    }

    #[test]
    fn a_log_cut_anywhere_names_the_entry_or_ends_before_it() {
        let whole = bytes(&sample(), 5);
        // The sector in which each entry begins, and where its data ends.
        let ends = [512 * 4, 512 * 5, 512 * 6, 512 * 7, 512 * 9];
        for length in 0..whole.len() {
            let whole_entries = ends.iter().filter(|end| **end <= length).count();
            let strict = open(&whole[..length], End::Closed);
            let text = format!("{:#}", strict.unwrap_err());
            if length < 28 {
                assert!(text.contains("superblock"), "{length}: {text}");
                continue;
            }
            assert!(text.contains(&format!("entry {whole_entries} of 5")), "{length}: {text}");
            let cut = open(&whole[..length], End::Cut).unwrap();
            assert_eq!(cut.entries().len(), whole_entries, "{length}");
        }
    }

    #[test]
    fn a_superblock_that_lags_loses_nothing() {
        let mut log = bytes(&sample(), 2);
        log.resize(log.len() + 100 * SECTOR, 0);
        assert_eq!(open(&log, End::Closed).unwrap().entries().len(), 5);
        // A hole ends the log, and is an error before the promised count.
        log[512 * 4..512 * 5].fill(0);
        assert_eq!(open(&log, End::Cut).unwrap().entries().len(), 1);
        assert!(format!("{:#}", open(&log, End::Closed).unwrap_err()).contains("entry 1 of 2 is missing"));
    }

    #[test]
    fn entries_have_a_limit() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&bytes(&sample(), 5)).unwrap();
        let read = |entries_max| Log::read(file.try_clone().unwrap(), End::Closed, entries_max);
        assert!(read(5).is_ok());
        assert_eq!(read(4).unwrap_err().to_string(), "more than 4 entries");
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let check = |request: Request, expected: &str| {
            let error = format!("{:#}", open(&bytes(&[request], 1), End::Closed).unwrap_err());
            assert!(error.contains(expected) && error.contains("entry 0 of 1"), "{error}");
        };
        let request = |sector, count, flags| Request { sector, count, flags, data: vec![] };
        check(request(0, 0, 16), "not known");
        check(request(7, 0, 0), "writes nothing");
        check(request(u64::MAX, 2, DISCARD), "largest disk");
        check(request(u64::MAX / 512, 2, DISCARD), "largest disk");
        check(request(0, 2, 0), "end after the file");
        check(request(0, u64::MAX / 1024, 0), "end after the file");
        check(Request { sector: 0, count: 0, flags: MARK, data: vec![1; SECTOR] }, "a mark of");
        let mut log = bytes(&sample(), 5);
        log[24] = 3;
        assert!(format!("{:#}", open(&log, End::Closed).unwrap_err()).contains("sectors of"));
        log[8] = 2;
        assert!(format!("{:#}", open(&log, End::Closed).unwrap_err()).contains("version 2"));
        log[0] = 0;
        assert!(format!("{:#}", open(&log, End::Closed).unwrap_err()).contains("magic"));
    }
}
