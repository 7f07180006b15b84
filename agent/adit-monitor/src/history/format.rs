// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The bytes of history: blocks, which hold a span of time of all series of a host column by column, and the journal of the
//! day that is under way. Drawn in agent/FORMAT.md. Pure: bytes in, bytes out; any bytes are read without panic, and no
//! length is believed before it is checked.

use std::fmt;

/// Bytes of a block before its packed columns.
pub const BLOCK_HEAD_BYTES: usize = 32;
/// Bytes at the beginning of a journal.
pub const JOURNAL_HEAD: [u8; 8] = *b"ADHJ\x01\0\0\0";
/// Series of one host.
pub const SERIES_MAX: usize = 4_096;
/// Slots of one block.
pub const SLOTS_MAX: usize = 672;
/// Columns of a block before packing, bytes: all series with every slot at its longest would be more, and is refused.
pub const RAW_BYTES_MAX: usize = 16 << 20;
/// Longest record of a journal, bytes.
pub const RECORD_BYTES_MAX: usize = 512 << 10;
const MAGIC: [u8; 4] = *b"ADHB";
const VERSION: u8 = 1;
const RECORD_HEAD_BYTES: usize = 9;
const LEVEL: i32 = 12;
const CRC: crc::Crc<u32> = crc::Crc::<u32>::new(&crc::CRC_32_ISCSI);

/// A resolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tier {
    /// One value every five minutes.
    Minutes,
    /// Least, mean and greatest of an hour.
    Hours,
    /// The same of a day.
    Days,
}

impl Tier {
    /// Seconds of one slot.
    #[must_use]
    pub const fn step_s(self) -> u64 {
        match self {
            Self::Minutes => 300,
            Self::Hours => 3_600,
            Self::Days => 86_400,
        }
    }

    /// Slots of one block: a day, 28 days, 364 days.
    #[must_use]
    pub const fn slots(self) -> u16 {
        match self {
            Self::Minutes => 288,
            Self::Hours => 672,
            Self::Days => 364,
        }
    }

    const fn number(self) -> u8 {
        match self {
            Self::Minutes => 1,
            Self::Hours => 2,
            Self::Days => 3,
        }
    }

    const fn from_number(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Minutes),
            2 => Some(Self::Hours),
            3 => Some(Self::Days),
            _ => None,
        }
    }
}

/// Names a series of a host: a component's id and the number of a quantity.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SeriesKey {
    /// The component's stable id.
    pub component: String,
    /// The quantity's number on the wire.
    pub quantity: u8,
}

/// What a slot holds. In five-minute slots all three are the value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Never above `mean`.
    pub least: i64,
    /// The mean.
    pub mean: i64,
    /// Never below `mean`.
    pub greatest: i64,
}

impl Span {
    /// One value.
    #[must_use]
    pub const fn of(value: i64) -> Self {
        Self { least: value, mean: value, greatest: value }
    }
}

/// One series of a block: a span, or nothing, for every slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Series {
    /// Which.
    pub key: SeriesKey,
    /// In the order of time.
    pub slots: Vec<Option<Span>>,
}

/// A span of time of all series of a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// Its resolution.
    pub tier: Tier,
    /// Its first slot: seconds since 1970 divided by the tier's step.
    pub start: u32,
    /// Slots of each series.
    pub count: u16,
    /// The series.
    pub series: Vec<Series>,
}

/// What a block's head says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockHead {
    /// Its resolution.
    pub tier: Tier,
    /// Its first slot.
    pub start: u32,
    /// Slots.
    pub count: u16,
    series: u16,
    raw_bytes: u32,
    /// Bytes of the packed columns behind the head.
    pub packed_bytes: u32,
    packed_crc: u32,
}

/// Why bytes are no history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FormatError {
    /// They end early.
    Truncated,
    /// They are no block or journal, or of a newer version.
    Head,
    /// A checksum does not fit.
    Checksum,
    /// A number, a count or a text is beyond its limit.
    Rule,
}

impl fmt::Display for FormatError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Truncated => "history ends early",
            Self::Head => "these bytes are no history, or of a newer version",
            Self::Checksum => "a checksum of the history does not fit",
            Self::Rule => "history breaks the rule of its sizes",
        })
    }
}

impl std::error::Error for FormatError {}

impl Block {
    /// The block's bytes.
    ///
    /// # Errors
    /// When it has more series, slots or bytes than a block holds.
    pub fn encode(&self) -> Result<Vec<u8>, FormatError> {
        let raw = self.raw()?;
        let packed = zstd::bulk::compress(&raw, LEVEL).map_err(|_| FormatError::Rule)?;
        let length = |bytes: usize| u32::try_from(bytes).map_err(|_| FormatError::Rule);
        let mut bytes = Vec::with_capacity(BLOCK_HEAD_BYTES + packed.len());
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&[VERSION, self.tier.number(), 0, 0]);
        bytes.extend_from_slice(&self.start.to_le_bytes());
        bytes.extend_from_slice(&self.count.to_le_bytes());
        bytes.extend_from_slice(&u16::try_from(self.series.len()).map_err(|_| FormatError::Rule)?.to_le_bytes());
        bytes.extend_from_slice(&length(raw.len())?.to_le_bytes());
        bytes.extend_from_slice(&length(packed.len())?.to_le_bytes());
        bytes.extend_from_slice(&CRC.checksum(&packed).to_le_bytes());
        bytes.extend_from_slice(&CRC.checksum(&bytes).to_le_bytes());
        bytes.extend_from_slice(&packed);
        Ok(bytes)
    }

    /// The columns before packing.
    fn raw(&self) -> Result<Vec<u8>, FormatError> {
        let slots = usize::from(self.count);
        let even = self.series.iter().all(|series| series.slots.len() == slots);
        if !even || slots > SLOTS_MAX || self.series.len() > SERIES_MAX {
            return Err(FormatError::Rule);
        }
        let mut raw = Vec::new();
        for series in &self.series {
            put_key(&mut raw, &series.key)?;
        }
        for series in &self.series {
            put_column(&mut raw, self.tier, &series.slots);
        }
        if raw.len() > RAW_BYTES_MAX { Err(FormatError::Rule) } else { Ok(raw) }
    }

    /// Reads the packed columns that belong to a head.
    ///
    /// # Errors
    /// When they are damaged.
    pub fn decode(head: &BlockHead, packed: &[u8]) -> Result<Self, FormatError> {
        if CRC.checksum(packed) != head.packed_crc {
            return Err(FormatError::Checksum);
        }
        let raw_bytes = usize::try_from(head.raw_bytes).map_err(|_| FormatError::Rule)?;
        let raw = zstd::bulk::decompress(packed, raw_bytes).map_err(|_| FormatError::Rule)?;
        let mut reader = Reader(&raw);
        let mut series = Vec::new();
        for _ in 0..head.series {
            series.push(Series { key: reader.key()?, slots: Vec::new() });
        }
        for series in &mut series {
            series.slots = reader.column(head.tier, usize::from(head.count))?;
        }
        if !reader.0.is_empty() {
            return Err(FormatError::Rule);
        }
        Ok(Self { tier: head.tier, start: head.start, count: head.count, series })
    }
}

impl BlockHead {
    /// Reads a head.
    ///
    /// # Errors
    /// When the bytes are none.
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let head = bytes.first_chunk::<BLOCK_HEAD_BYTES>().ok_or(FormatError::Truncated)?;
        let (before, crc) = head.split_at(BLOCK_HEAD_BYTES - 4);
        let mut reader = Reader(crc);
        if CRC.checksum(before) != reader.u32()? {
            return Err(FormatError::Checksum);
        }
        let mut reader = Reader(before);
        let (magic, version, tier) = (reader.take(4)?, reader.byte()?, reader.byte()?);
        reader.take(2)?;
        let tier = Tier::from_number(tier).filter(|_| magic == MAGIC && version == VERSION).ok_or(FormatError::Head)?;
        let head = Self {
            tier,
            start: reader.u32()?,
            count: reader.u16()?,
            series: reader.u16()?,
            raw_bytes: reader.u32()?,
            packed_bytes: reader.u32()?,
            packed_crc: reader.u32()?,
        };
        let fits = usize::from(head.count) <= SLOTS_MAX
            && usize::from(head.series) <= SERIES_MAX
            && [head.raw_bytes, head.packed_bytes].iter().all(|bytes| (*bytes as usize) <= RAW_BYTES_MAX);
        if fits { Ok(head) } else { Err(FormatError::Rule) }
    }
}

/// A record of a journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// The series of the ticks behind it.
    Series(Vec<SeriesKey>),
    /// The values of one tick, in the order of the series.
    Tick {
        /// Seconds since 1970 divided by 300.
        tick: u32,
        /// The values; none for what could not be read.
        values: Vec<Option<i64>>,
    },
}

impl Record {
    /// The record's bytes.
    ///
    /// # Errors
    /// When it has more series than a host may have.
    pub fn encode(&self) -> Result<Vec<u8>, FormatError> {
        let mut payload = Vec::new();
        let kind = match self {
            Self::Series(keys) if keys.len() <= SERIES_MAX => {
                for key in keys {
                    put_key(&mut payload, key)?;
                }
                1
            }
            Self::Tick { tick, values } if values.len() <= SERIES_MAX => {
                payload.extend_from_slice(&tick.to_le_bytes());
                put_presence(&mut payload, values.iter().map(Option::is_some));
                values.iter().flatten().for_each(|value| put_number(&mut payload, zigzag(*value)));
                2
            }
            Self::Series(_) | Self::Tick { .. } => return Err(FormatError::Rule),
        };
        let length = u32::try_from(payload.len()).map_err(|_| FormatError::Rule)?;
        let mut bytes = vec![kind];
        bytes.extend_from_slice(&length.to_le_bytes());
        let mut digest = CRC.digest();
        digest.update(&bytes);
        digest.update(&payload);
        bytes.extend_from_slice(&digest.finalize().to_le_bytes());
        bytes.extend_from_slice(&payload);
        Ok(bytes)
    }
}

/// Reads a journal; answers what is whole and how many bytes that is. What a crash tore off ends it.
#[must_use]
pub fn read_journal(bytes: &[u8]) -> (Vec<Record>, usize) {
    let Some(mut rest) = bytes.strip_prefix(&JOURNAL_HEAD) else { return (Vec::new(), 0) };
    let (mut records, mut series) = (Vec::new(), 0);
    while let Ok((record, bytes)) = read_record(rest, series) {
        if let Record::Series(keys) = &record {
            series = keys.len();
        }
        records.push(record);
        rest = &rest[bytes..];
    }
    (records, bytes.len() - rest.len())
}

fn read_record(bytes: &[u8], series: usize) -> Result<(Record, usize), FormatError> {
    let mut reader = Reader(bytes);
    let (kind, length, crc) = (reader.byte()?, reader.u32()?, reader.u32()?);
    let length = usize::try_from(length).ok().filter(|length| *length <= RECORD_BYTES_MAX).ok_or(FormatError::Rule)?;
    let payload = reader.take(length)?;
    let mut digest = CRC.digest();
    digest.update(&bytes[..RECORD_HEAD_BYTES - 4]);
    digest.update(payload);
    if digest.finalize() != crc {
        return Err(FormatError::Checksum);
    }
    let mut reader = Reader(payload);
    let record = match kind {
        1 => {
            let mut keys = Vec::new();
            while !reader.0.is_empty() && keys.len() < SERIES_MAX {
                keys.push(reader.key()?);
            }
            Record::Series(keys)
        }
        2 => {
            let tick = reader.u32()?;
            let present = reader.presence(series)?;
            let value = |present: bool| present.then(|| reader.number().map(unzigzag)).transpose();
            Record::Tick { tick, values: present.into_iter().map(value).collect::<Result<_, _>>()? }
        }
        _ => return Err(FormatError::Head),
    };
    if reader.0.is_empty() { Ok((record, RECORD_HEAD_BYTES + length)) } else { Err(FormatError::Rule) }
}

fn put_key(raw: &mut Vec<u8>, key: &SeriesKey) -> Result<(), FormatError> {
    raw.push(u8::try_from(key.component.len()).map_err(|_| FormatError::Rule)?);
    raw.extend_from_slice(key.component.as_bytes());
    raw.push(key.quantity);
    Ok(())
}

/// A bit for each; one byte 1 instead when all are there.
fn put_presence(raw: &mut Vec<u8>, present: impl Iterator<Item = bool> + Clone) {
    let all = present.clone().all(|present| present);
    raw.push(u8::from(all));
    if all {
        return;
    }
    let mut byte = 0u8;
    let mut filled = 0u32;
    for bit in present {
        byte |= u8::from(bit) << filled;
        filled += 1;
        if filled == 8 {
            raw.push(byte);
            (byte, filled) = (0, 0);
        }
    }
    if filled > 0 {
        raw.push(byte);
    }
}

/// Presence; the means, each by its difference from the one before; above five minutes also what is below and above them.
fn put_column(raw: &mut Vec<u8>, tier: Tier, slots: &[Option<Span>]) {
    put_presence(raw, slots.iter().map(Option::is_some));
    let mut before = 0i64;
    for span in slots.iter().flatten() {
        put_number(raw, zigzag(span.mean.wrapping_sub(before)));
        before = span.mean;
    }
    if tier == Tier::Minutes {
        return;
    }
    for span in slots.iter().flatten() {
        put_number(raw, span.mean.abs_diff(span.least));
    }
    for span in slots.iter().flatten() {
        put_number(raw, span.greatest.abs_diff(span.mean));
    }
}

fn put_number(raw: &mut Vec<u8>, mut value: u64) {
    loop {
        let [low, ..] = value.to_le_bytes();
        value >>= 7;
        if value == 0 {
            return raw.push(low & 0x7f);
        }
        raw.push(low | 0x80);
    }
}

const fn zigzag(value: i64) -> u64 {
    (value.cast_unsigned() << 1) ^ (value >> 63).cast_unsigned()
}

const fn unzigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ (value & 1).cast_signed().wrapping_neg()
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], FormatError> {
        let (bytes, rest) = self.0.split_at_checked(count).ok_or(FormatError::Truncated)?;
        self.0 = rest;
        Ok(bytes)
    }

    fn byte(&mut self) -> Result<u8, FormatError> {
        Ok(self.take(1)?[0])
    }

    fn u16(&mut self) -> Result<u16, FormatError> {
        let bytes = self.take(2)?;
        Ok(u16::from_le_bytes([bytes[0], bytes[1]]))
    }

    fn u32(&mut self) -> Result<u32, FormatError> {
        let bytes = self.take(4)?;
        Ok(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }

    fn number(&mut self) -> Result<u64, FormatError> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if (bits << shift) >> shift != bits {
                return Err(FormatError::Rule);
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(FormatError::Rule)
    }

    fn key(&mut self) -> Result<SeriesKey, FormatError> {
        let length = usize::from(self.byte()?);
        let component = core::str::from_utf8(self.take(length)?).map_err(|_| FormatError::Rule)?.to_owned();
        Ok(SeriesKey { component, quantity: self.byte()? })
    }

    fn presence(&mut self, count: usize) -> Result<Vec<bool>, FormatError> {
        match self.byte()? {
            1 => Ok(vec![true; count]),
            0 => {
                let bytes = self.take(count.div_ceil(8))?;
                Ok((0..count).map(|index| bytes[index / 8] >> (index % 8) & 1 == 1).collect())
            }
            _ => Err(FormatError::Rule),
        }
    }

    fn column(&mut self, tier: Tier, count: usize) -> Result<Vec<Option<Span>>, FormatError> {
        let present = self.presence(count)?;
        let mut slots: Vec<Option<Span>> = Vec::with_capacity(count);
        let mut before = 0i64;
        for present in present {
            slots.push(if present {
                before = before.wrapping_add(unzigzag(self.number()?));
                Some(Span::of(before))
            } else {
                None
            });
        }
        if tier != Tier::Minutes {
            for span in slots.iter_mut().flatten() {
                span.least = span.mean.checked_sub_unsigned(self.number()?).ok_or(FormatError::Rule)?;
            }
            for span in slots.iter_mut().flatten() {
                span.greatest = span.mean.checked_add_unsigned(self.number()?).ok_or(FormatError::Rule)?;
            }
        }
        Ok(slots)
    }
}

#[cfg(test)]
mod tests;
