// SPDX-License-Identifier: Apache-2.0 OR MIT
//! History on disk with a fixed budget per host: five minutes for 35 days, hours for two years, days for ten years. One
//! directory per host: a journal of the day that is under way, and one append-only file per tier.
//!
//! Nothing about series is kept in memory: what is read is read from the files. A crash at any moment loses at most the
//! record that was being written. Every tier above the first is made from the one below it, once, when its span is over.

pub mod export;
pub mod format;

use adit_peers::files::FileError;
use format::{BLOCK_HEAD_BYTES, Block, BlockHead, JOURNAL_HEAD, Record, Series, SeriesKey, Span, Tier, read_journal};
use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, HashMap};
use std::fs::{File, OpenOptions};
use std::hash::{Hash as _, Hasher as _};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

/// Days of five-minute values.
pub const MINUTES_KEPT_DAYS: u64 = 35;
/// Days of hourly values.
pub const HOURS_KEPT_DAYS: u64 = 731;
/// Days of daily values.
pub const DAYS_KEPT_DAYS: u64 = 3_653;
/// Days of one block of hours.
const MONTH_DAYS: u64 = 28;
/// Days of one block of days.
const YEAR_DAYS: u64 = 364;
/// Stale days of five-minute values that are cut off together.
const TRIM_DAYS: u64 = 7;
/// Longest journal that is read, bytes.
const JOURNAL_BYTES_MAX: u64 = 64 << 20;
/// Points of one answer.
pub const POINTS_MAX: usize = 4_096;
const DAY_S: u64 = 86_400;
const TICK_S: u64 = 300;

/// The history of all hosts.
#[derive(Debug)]
pub struct History {
    dir: PathBuf,
    tails: HashMap<String, Tail>,
}

/// What is known of a journal that is written.
#[derive(Clone, Copy, Debug)]
struct Tail {
    /// Of the series that the journal's last dictionary names.
    series: u64,
    tick: u64,
}

/// One point of a chart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Point {
    /// Its beginning, seconds since 1970.
    pub at_s: u64,
    /// Least, mean, greatest.
    pub span: Span,
}

/// Which values are wanted.
#[derive(Clone, Copy, Debug)]
pub struct Query<'a> {
    /// Whose.
    pub host: &'a str,
    /// Which series.
    pub key: &'a SeriesKey,
    /// From, seconds since 1970.
    pub from_s: u64,
    /// Until, seconds since 1970, exclusive.
    pub until_s: u64,
    /// At most so many points, at most [`POINTS_MAX`].
    pub points_max: usize,
}

impl History {
    /// The history below a directory.
    #[must_use]
    pub fn new(dir: PathBuf) -> Self {
        Self { dir, tails: HashMap::new() }
    }

    /// Notes the values of a host at a time. Within one slot of five minutes the first ones stay.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn append(&mut self, host: &str, wall_s: u64, values: &[(SeriesKey, Option<i64>)]) -> Result<(), FileError> {
        let tick = wall_s / TICK_S;
        let place = Place::of(&self.dir, host);
        let tail = match self.tails.get(host) {
            Some(tail) => *tail,
            None => place.tail()?,
        };
        let is_late = tick <= tail.tick;
        // A clock that went back by more than an hour: what was written keeps its time, and this day begins anew.
        let jumped_back = is_late && tail.tick - tick > 3_600 / TICK_S;
        if is_late && !jumped_back {
            self.tails.insert(host.to_owned(), tail);
            return Ok(());
        }
        let mut tail = tail;
        if tail.tick != 0 && (jumped_back || day_of(tick) != day_of(tail.tick)) {
            place.close_day(wall_s)?;
            tail.series = 0;
        }
        let mut hasher = DefaultHasher::new();
        values.iter().for_each(|(key, _)| key.hash(&mut hasher));
        let series = hasher.finish().max(1);
        let mut records = Vec::new();
        if series != tail.series {
            records.push(Record::Series(values.iter().map(|(key, _)| key.clone()).collect()));
        }
        let tick_number = u32::try_from(tick).unwrap_or(u32::MAX);
        records.push(Record::Tick { tick: tick_number, values: values.iter().map(|(_, value)| *value).collect() });
        place.write(&records)?;
        self.tails.insert(host.to_owned(), Tail { series, tick });
        Ok(())
    }

    /// The series of a host that were written lately.
    ///
    /// # Errors
    /// When the files can't be read.
    pub fn series(&self, host: &str) -> Result<Vec<SeriesKey>, FileError> {
        let place = Place::of(&self.dir, host);
        let mut keys: Vec<SeriesKey> = place.day_under_way()?.into_iter().flat_map(|block| keys_of(&block)).collect();
        if let Some(last) = place.heads(Tier::Minutes)?.pop() {
            keys.extend(place.block(Tier::Minutes, &last)?.iter().flat_map(keys_of));
        }
        keys.sort();
        keys.dedup();
        Ok(keys)
    }

    /// The values of a series, in at most so many points.
    ///
    /// # Errors
    /// When the files can't be read.
    pub fn query(&self, query: &Query<'_>) -> Result<Vec<Point>, FileError> {
        let points_max = query.points_max.clamp(1, POINTS_MAX);
        let width_s = query.until_s.saturating_sub(query.from_s) / points_max as u64;
        // The finest tier that still reaches back to the beginning and is not finer than what is shown.
        let tiers = [Tier::Days, Tier::Hours, Tier::Minutes];
        let tier = tiers.into_iter().find(|tier| tier.step_s() <= width_s).unwrap_or(Tier::Minutes);
        let slots = self.slots(query, tier)?;
        let bucket_s = width_s.max(tier.step_s()).div_ceil(tier.step_s()) * tier.step_s();
        let mut buckets: BTreeMap<u64, Mean> = BTreeMap::new();
        for (at_s, span) in slots {
            buckets.entry(at_s / bucket_s * bucket_s).or_default().add(span);
        }
        Ok(buckets.into_iter().filter_map(|(at_s, mean)| Some(Point { at_s, span: mean.span()? })).collect())
    }

    /// All slots of a series in a tier; where only a coarser one reaches back, its slots.
    fn slots(&self, query: &Query<'_>, tier: Tier) -> Result<BTreeMap<u64, Span>, FileError> {
        let place = Place::of(&self.dir, query.host);
        let mut slots = BTreeMap::new();
        let mut covered_s = u64::MAX;
        for from in [Tier::Minutes, Tier::Hours, Tier::Days] {
            let mut found: BTreeMap<u64, Mean> = BTreeMap::new();
            let blocks = place.blocks(from, |head| {
                let start_s = u64::from(head.start) * from.step_s();
                start_s < query.until_s && start_s + u64::from(head.count) * from.step_s() > query.from_s
            })?;
            let today = if from == Tier::Minutes { place.day_under_way()? } else { None };
            let mut first_s = covered_s;
            for block in blocks.iter().chain(&today) {
                first_s = first_s.min(u64::from(block.start) * from.step_s());
                let series = block.series.iter().filter(|series| series.key == *query.key);
                for (index, span) in series.flat_map(|series| series.slots.iter().enumerate()) {
                    let at_s = (u64::from(block.start) + index as u64) * from.step_s();
                    if let Some(span) =
                        span.filter(|_| (query.from_s..query.until_s).contains(&at_s) && at_s < covered_s)
                    {
                        found.entry(at_s / tier.step_s() * tier.step_s()).or_default().add(span);
                    }
                }
            }
            for (at_s, mean) in found {
                if let Some(span) = mean.span() {
                    slots.entry(at_s).or_insert(span);
                }
            }
            covered_s = first_s;
        }
        Ok(slots)
    }

    /// Bytes on disk of one host.
    ///
    /// # Errors
    /// When the files can't be looked at.
    pub fn bytes(&self, host: &str) -> Result<u64, FileError> {
        let place = Place::of(&self.dir, host);
        let names = adit_peers::files::names(&place.dir)?;
        Ok(names.iter().filter_map(|name| std::fs::metadata(place.dir.join(name)).ok()).map(|file| file.len()).sum())
    }

    /// An agent is gone, and its history with it.
    ///
    /// # Errors
    /// When it can't be removed.
    pub fn remove(&mut self, host: &str) -> Result<(), FileError> {
        self.tails.remove(host);
        let place = Place::of(&self.dir, host);
        match std::fs::remove_dir_all(&place.dir) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(FileError::at("remove", &place.dir)(error))
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }
}

const fn day_of(tick: u64) -> u64 {
    tick / (DAY_S / TICK_S)
}

fn keys_of(block: &Block) -> Vec<SeriesKey> {
    block.series.iter().map(|series| series.key.clone()).collect()
}

/// A mean under way.
#[derive(Clone, Copy, Debug, Default)]
struct Mean {
    least: Option<i64>,
    greatest: Option<i64>,
    sum: i128,
    count: i64,
}

impl Mean {
    fn add(&mut self, span: Span) {
        self.least = Some(self.least.map_or(span.least, |least| least.min(span.least)));
        self.greatest = Some(self.greatest.map_or(span.greatest, |greatest| greatest.max(span.greatest)));
        self.sum += i128::from(span.mean);
        self.count += 1;
    }

    fn span(&self) -> Option<Span> {
        let mean = self.sum.checked_div(i128::from(self.count))?;
        Some(Span { least: self.least?, mean: i64::try_from(mean).ok()?, greatest: self.greatest? })
    }
}

/// The files of one host.
struct Place {
    dir: PathBuf,
}

impl Place {
    fn of(dir: &Path, host: &str) -> Self {
        Self { dir: dir.join(host) }
    }

    fn journal(&self) -> PathBuf {
        self.dir.join("journal")
    }

    fn file(&self, tier: Tier) -> PathBuf {
        self.dir.join(match tier {
            Tier::Minutes => "minutes",
            Tier::Hours => "hours",
            Tier::Days => "days",
        })
    }

    /// What a journal of an earlier start holds.
    fn tail(&self) -> Result<Tail, FileError> {
        let (records, _) = self.read_journal()?;
        let ticks = records.iter().rev().find_map(|record| match record {
            Record::Tick { tick, .. } => Some(u64::from(*tick)),
            Record::Series(_) => None,
        });
        Ok(Tail { series: 0, tick: ticks.unwrap_or(0) })
    }

    /// The whole records, and their bytes.
    fn read_journal(&self) -> Result<(Vec<Record>, usize), FileError> {
        match adit_peers::files::read(&self.journal(), JOURNAL_BYTES_MAX) {
            Ok(bytes) => Ok(read_journal(&bytes)),
            Err(error) if error.is_absent() => Ok((Vec::new(), 0)),
            Err(error) => Err(error),
        }
    }

    /// Appends records; a record that a crash tore off is cut off first.
    fn write(&self, records: &[Record]) -> Result<(), FileError> {
        let path = self.journal();
        std::fs::create_dir_all(&self.dir).map_err(FileError::at("create directory", &self.dir))?;
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let mut file = options.open(&path).map_err(FileError::at("open", &path))?;
        let length = file.metadata().map_err(FileError::at("read", &path))?.len();
        let mut bytes = Vec::new();
        // A dictionary begins every journal and follows every start, so that only then the whole file must be read.
        if matches!(records, [Record::Series(_), ..]) {
            let (_, whole) = self.read_journal()?;
            file.set_len(whole as u64).map_err(FileError::at("cut", &path))?;
            file.seek(SeekFrom::End(0)).map_err(FileError::at("seek", &path))?;
            if whole == 0 {
                bytes.extend_from_slice(&JOURNAL_HEAD);
            }
        } else {
            file.seek(SeekFrom::Start(length)).map_err(FileError::at("seek", &path))?;
        }
        for record in records {
            bytes.extend(record.encode().map_err(|error| FileError::at("write", &path)(std::io::Error::other(error)))?);
        }
        file.write_all(&bytes).map_err(FileError::at("write", &path))
    }

    /// The journal as a block; none when it is empty.
    fn day_under_way(&self) -> Result<Option<Block>, FileError> {
        let (records, _) = self.read_journal()?;
        let ticks = records.iter().filter_map(|record| match record {
            Record::Tick { tick, .. } => Some(u64::from(*tick)),
            Record::Series(_) => None,
        });
        let Some(first) = ticks.min() else { return Ok(None) };
        let slots = usize::from(Tier::Minutes.slots());
        let start = day_of(first) * slots as u64;
        let mut order: Vec<usize> = Vec::new();
        let mut places: HashMap<&SeriesKey, usize> = HashMap::new();
        let mut series: Vec<Series> = Vec::new();
        for record in &records {
            match record {
                Record::Series(keys) => {
                    order.clear();
                    for key in keys {
                        let at = *places.entry(key).or_insert(series.len());
                        if at == series.len() && series.len() < format::SERIES_MAX {
                            series.push(Series { key: key.clone(), slots: vec![None; slots] });
                        }
                        order.push(at);
                    }
                }
                Record::Tick { tick, values } => {
                    let Some(slot) = u64::from(*tick).checked_sub(start).and_then(|slot| usize::try_from(slot).ok())
                    else {
                        continue;
                    };
                    for (at, value) in order.iter().zip(values) {
                        if let Some(place) = series.get_mut(*at).and_then(|series| series.slots.get_mut(slot)) {
                            *place = value.map(Span::of);
                        }
                    }
                }
            }
        }
        let start = u32::try_from(start).unwrap_or(u32::MAX);
        Ok(Some(Block { tier: Tier::Minutes, start, count: Tier::Minutes.slots(), series }))
    }

    /// The day is over: its journal becomes a block, and what is complete above it too.
    fn close_day(&self, wall_s: u64) -> Result<(), FileError> {
        if let Some(block) = self.day_under_way()? {
            self.append(&block)?;
        }
        let journal = self.journal();
        std::fs::remove_file(&journal).or_else(absent).map_err(FileError::at("remove", &journal))?;
        let today = wall_s / DAY_S;
        self.derive(Tier::Minutes, Tier::Hours, MONTH_DAYS, today)?;
        self.derive(Tier::Hours, Tier::Days, YEAR_DAYS, today)?;
        self.trim(Tier::Minutes, MINUTES_KEPT_DAYS, TRIM_DAYS, today)?;
        self.trim(Tier::Hours, HOURS_KEPT_DAYS, MONTH_DAYS, today)?;
        self.trim(Tier::Days, DAYS_KEPT_DAYS, YEAR_DAYS, today)
    }

    /// Makes the blocks of `to` whose span is over and which are not there yet, from those of `from`.
    fn derive(&self, from: Tier, to: Tier, span_days: u64, today: u64) -> Result<(), FileError> {
        let slots = u64::from(to.slots());
        let span_of = |head: &BlockHead| u64::from(head.start) * from.step_s() / DAY_S / span_days;
        let made: Vec<u32> = self.heads(to)?.iter().map(|(_, head)| head.start).collect();
        let mut spans: Vec<u64> = self.heads(from)?.iter().map(|(_, head)| span_of(head)).collect();
        spans.sort_unstable();
        spans.dedup();
        for span in spans.into_iter().filter(|span| (span + 1) * span_days <= today) {
            let start = u32::try_from(span * slots).unwrap_or(u32::MAX);
            if made.contains(&start) {
                continue;
            }
            let blocks = self.blocks(from, |head| span_of(head) == span)?;
            let mut columns: BTreeMap<SeriesKey, Vec<Mean>> = BTreeMap::new();
            for block in &blocks {
                for series in &block.series {
                    let column = columns
                        .entry(series.key.clone())
                        .or_insert_with(|| vec![Mean::default(); usize::from(to.slots())]);
                    for (index, value) in series.slots.iter().enumerate() {
                        let slot = (u64::from(block.start) + index as u64) * from.step_s() / to.step_s() - span * slots;
                        let place = usize::try_from(slot).ok().and_then(|slot| column.get_mut(slot));
                        if let (Some(place), Some(value)) = (place, value) {
                            place.add(*value);
                        }
                    }
                }
            }
            let series = columns.into_iter().take(format::SERIES_MAX);
            let series = series.map(|(key, column)| Series { key, slots: column.iter().map(Mean::span).collect() });
            self.append(&Block { tier: to, start, count: to.slots(), series: series.collect() })?;
        }
        Ok(())
    }

    /// Appends a block behind the last whole one; it is on stable storage afterwards.
    fn append(&self, block: &Block) -> Result<(), FileError> {
        let path = self.file(block.tier);
        let bytes = block.encode().map_err(|error| FileError::at("write", &path)(std::io::Error::other(error)))?;
        let end = self.heads(block.tier)?.last().map_or(0, |(at, head)| end_of(*at, head));
        let mut options = OpenOptions::new();
        let mut file =
            options.write(true).create(true).truncate(false).open(&path).map_err(FileError::at("open", &path))?;
        file.set_len(end).map_err(FileError::at("cut", &path))?;
        file.seek(SeekFrom::Start(end)).map_err(FileError::at("seek", &path))?;
        file.write_all(&bytes).map_err(FileError::at("write", &path))?;
        file.sync_all().map_err(FileError::at("sync", &path))
    }

    /// Drops blocks that are older than they are kept, when enough of them are; and those from a clock that stood in the
    /// future.
    fn trim(&self, tier: Tier, kept_days: u64, at_least_days: u64, today: u64) -> Result<(), FileError> {
        let heads = self.heads(tier)?;
        let last_day = |head: &BlockHead| (u64::from(head.start) + u64::from(head.count)) * tier.step_s() / DAY_S;
        let stays = |head: &BlockHead| {
            last_day(head) + kept_days > today && u64::from(head.start) * tier.step_s() / DAY_S <= today + 1
        };
        let stale_days: u64 = heads
            .iter()
            .filter(|(_, head)| !stays(head))
            .map(|(_, head)| u64::from(head.count) * tier.step_s() / DAY_S)
            .sum();
        if stale_days < at_least_days {
            return Ok(());
        }
        let path = self.file(tier);
        let mut kept = Vec::new();
        for (at, head) in heads.iter().filter(|(_, head)| stays(head)) {
            kept.extend(self.bytes_of(tier, *at, head)?);
        }
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        adit_peers::files::apply(&adit_peers::files::replacing(&self.dir, name, kept))
    }

    /// The heads of all whole blocks of a tier, and where they stand.
    fn heads(&self, tier: Tier) -> Result<Vec<(u64, BlockHead)>, FileError> {
        let path = self.file(tier);
        let mut file = match File::open(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.map_err(FileError::at("open", &path))?,
        };
        let length = file.metadata().map_err(FileError::at("read", &path))?.len();
        let (mut heads, mut at) = (Vec::new(), 0u64);
        let mut bytes = [0u8; BLOCK_HEAD_BYTES];
        while at + BLOCK_HEAD_BYTES as u64 <= length {
            file.seek(SeekFrom::Start(at)).map_err(FileError::at("seek", &path))?;
            file.read_exact(&mut bytes).map_err(FileError::at("read", &path))?;
            let Ok(head) = BlockHead::decode(&bytes) else { break };
            if head.tier != tier || end_of(at, &head) > length {
                break;
            }
            heads.push((at, head));
            at = end_of(at, &head);
        }
        Ok(heads)
    }

    fn bytes_of(&self, tier: Tier, at: u64, head: &BlockHead) -> Result<Vec<u8>, FileError> {
        let path = self.file(tier);
        let mut file = File::open(&path).map_err(FileError::at("open", &path))?;
        file.seek(SeekFrom::Start(at)).map_err(FileError::at("seek", &path))?;
        let mut bytes = vec![0u8; BLOCK_HEAD_BYTES + head.packed_bytes as usize];
        file.read_exact(&mut bytes).map_err(FileError::at("read", &path))?;
        Ok(bytes)
    }

    /// A block; none when it is damaged, which costs its span and nothing else.
    fn block(&self, tier: Tier, (at, head): &(u64, BlockHead)) -> Result<Option<Block>, FileError> {
        let bytes = self.bytes_of(tier, *at, head)?;
        Ok(Block::decode(head, &bytes[BLOCK_HEAD_BYTES..]).ok())
    }

    fn blocks(&self, tier: Tier, wanted: impl Fn(&BlockHead) -> bool) -> Result<Vec<Block>, FileError> {
        let mut blocks = Vec::new();
        for place in self.heads(tier)?.iter().filter(|(_, head)| wanted(head)) {
            blocks.extend(self.block(tier, place)?);
        }
        Ok(blocks)
    }
}

fn end_of(at: u64, head: &BlockHead) -> u64 {
    at + BLOCK_HEAD_BYTES as u64 + u64::from(head.packed_bytes)
}

fn absent(error: std::io::Error) -> std::io::Result<()> {
    if error.kind() == std::io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

#[cfg(test)]
mod tests;
