// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Directory entries of a FAT32 volume: reading short and long names, and making the three entries that every slot file
//! takes. One entry has 32 bytes (Microsoft's FAT specification, sections 6 and 7).

use super::EspError;
use super::volume::Volume;
use embedded_io::{Read, Seek, Write};

pub(super) const ENTRY_BYTES: usize = 32;
/// Entries of a slot file: two of the long name, the short one.
pub(super) const TRIPLE: usize = 3;
/// First byte of a deleted entry, and of the end of a folder.
const DELETED: u8 = 0xE5;
const END: u8 = 0;
const ATTRIBUTES: usize = 11;
const FOLDER: u8 = 0x10;
const VOLUME_LABEL: u8 = 0x08;
const LONG_NAME: u8 = 0x0F;
/// Characters in one entry of a long name, and where their low bytes lie in it.
const LONG_CHARS: [usize; 13] = [1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30];
/// Longest long name that is read, characters: longer ones are no file of ours.
pub(super) const LONG_NAME_MAX: usize = 2 * LONG_CHARS.len();
/// The first of January 1980, the first day that a date field can hold.
const DATE_1980: [u8; 2] = [0x21, 0];

/// Where an entry lies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct EntryAt {
    pub(super) sector: u64,
    pub(super) index: usize,
}

/// A file or folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    name: [u8; LONG_NAME_MAX],
    name_length: usize,
    pub(super) short: [u8; 11],
    pub(super) is_folder: bool,
    pub(super) cluster: u32,
    pub(super) size_bytes: u32,
    /// The entries of its long name that were found before it, in their order, and its own; as many as `entries` says.
    at: [EntryAt; TRIPLE],
    entries: usize,
}

impl Entry {
    /// The long name, or the short one with its dot.
    pub(super) fn name(&self) -> &[u8] {
        self.name.get(..self.name_length).unwrap_or_default()
    }

    /// Where its entries lie, the short one last.
    pub(super) fn places(&self) -> &[EntryAt] {
        self.at.get(..self.entries).unwrap_or_default()
    }

    /// The sector of all three entries, and the first one's index, when it has three in one sector.
    pub(super) fn in_one_sector(&self) -> Option<EntryAt> {
        let [first, second, third] = self.at;
        let together = self.entries == TRIPLE
            && first.sector == third.sector
            && second.sector == third.sector
            && second.index == first.index.saturating_add(1)
            && third.index == first.index.saturating_add(2);
        together.then_some(first)
    }
}

/// An entry's bytes and where they lie.
type Raw = ([u8; ENTRY_BYTES], EntryAt);

/// A place in a folder, moving forward.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cursor {
    pub(super) cluster: u32,
    sector_in_cluster: u64,
    index: usize,
    /// Clusters that may still follow; a folder has at most 2 MiB.
    clusters_left: u32,
}

const FOLDER_BYTES_MAX: u64 = 2 << 20;

impl Cursor {
    pub(super) fn new<D: Read + Write + Seek>(volume: &Volume<D>, cluster: u32) -> Self {
        let clusters = FOLDER_BYTES_MAX.checked_div(volume.cluster_bytes()).unwrap_or(0).max(1);
        Self { cluster, sector_in_cluster: 0, index: 0, clusters_left: u32::try_from(clusters).unwrap_or(u32::MAX) }
    }

    /// The sector that it stands in; moves to the next one first when this one is through. `None` at the chain's end.
    fn sector<D: Read + Write + Seek>(&mut self, volume: &mut Volume<D>) -> Result<Option<u64>, EspError<D::Error>> {
        if self.index >= volume.sector_bytes / ENTRY_BYTES {
            self.index = 0;
            self.sector_in_cluster = self.sector_in_cluster.saturating_add(1);
        }
        if self.sector_in_cluster >= volume.sectors_per_cluster() {
            let next = volume.next(self.cluster)?;
            if !volume.holds(next) {
                return Ok(None);
            }
            self.clusters_left = self.clusters_left.checked_sub(1).ok_or(EspError::Damaged)?;
            (self.cluster, self.sector_in_cluster) = (next, 0);
        }
        Ok(Some(volume.sector_of(self.cluster).saturating_add(self.sector_in_cluster)))
    }

    fn raw<D: Read + Write + Seek>(&mut self, volume: &mut Volume<D>) -> Result<Option<Raw>, EspError<D::Error>> {
        let Some(sector) = self.sector(volume)? else { return Ok(None) };
        let at = EntryAt { sector, index: self.index };
        let start = self.index.saturating_mul(ENTRY_BYTES);
        let raw = volume.sector(sector)?.get(start..).and_then(|rest| rest.first_chunk().copied());
        self.index = self.index.saturating_add(1);
        Ok(raw.filter(|raw| raw.first() != Some(&END)).map(|raw| (raw, at)))
    }

    /// The next file or folder; `None` at the end. Deleted entries, labels, and the folder's names of itself and of its
    /// parent are passed over.
    pub(super) fn next<D: Read + Write + Seek>(
        &mut self,
        volume: &mut Volume<D>,
    ) -> Result<Option<Entry>, EspError<D::Error>> {
        let mut long = LongName::default();
        while let Some((raw, at)) = self.raw(volume)? {
            let attributes = raw.get(ATTRIBUTES).copied().unwrap_or(0);
            if raw.first() == Some(&DELETED) {
                long = LongName::default();
            } else if attributes & 0x3F == LONG_NAME {
                long.add(&raw, at);
            } else if attributes & VOLUME_LABEL != 0 || raw.first() == Some(&b'.') {
                long = LongName::default();
            } else {
                return Ok(Some(long.finish(&raw, at)));
            }
        }
        Ok(None)
    }
}

/// The entries of a long name, which stand before the short one, the last part first.
#[derive(Clone, Copy, Debug, Default)]
struct LongName {
    chars: [u8; LONG_NAME_MAX],
    at: [EntryAt; 2],
    entries: usize,
    expected: u8,
    checksum: u8,
    readable: bool,
}

impl LongName {
    fn add(&mut self, raw: &[u8; ENTRY_BYTES], at: EntryAt) {
        let [ordinal, ..] = *raw;
        let checksum = raw.get(13).copied().unwrap_or(0);
        if ordinal & 0x40 != 0 {
            *self = Self { expected: ordinal & 0x3F, checksum, readable: true, ..Self::default() };
        }
        let part = usize::from(ordinal & 0x3F).wrapping_sub(1);
        // Longer names than two parts, or parts out of order, are somebody else's: only their short name is read.
        if ordinal & 0x3F != self.expected || checksum != self.checksum || part >= 2 {
            self.readable = false;
            return;
        }
        self.expected = self.expected.wrapping_sub(1);
        if let Some(place) = self.at.get_mut(self.entries) {
            *place = at;
            self.entries = self.entries.saturating_add(1);
        }
        let chars = self.chars.get_mut(part.saturating_mul(LONG_CHARS.len())..).unwrap_or_default();
        let mut ended = false;
        for (out, low) in chars.iter_mut().zip(LONG_CHARS) {
            let char = [raw.get(low), raw.get(low.saturating_add(1))].map(|byte| byte.copied().unwrap_or(0));
            ended |= char == [0, 0];
            *out = if ended { 0 } else { char[0] };
            self.readable &= ended || (char[1] == 0 && char[0].is_ascii_graphic());
        }
    }

    fn finish(self, raw: &[u8; ENTRY_BYTES], at: EntryAt) -> Entry {
        let short: [u8; 11] = raw.first_chunk().copied().unwrap_or_default();
        let field = |at: usize| raw.get(at..).and_then(|rest| rest.first_chunk::<2>()).copied().unwrap_or_default();
        let ([c, d], [a, b]) = (field(20), field(26));
        let attributes = raw.get(ATTRIBUTES).copied().unwrap_or(0);
        let mut entry = Entry {
            name: [0; LONG_NAME_MAX],
            name_length: 0,
            short,
            is_folder: attributes & FOLDER != 0,
            cluster: u32::from_le_bytes([a, b, c, d]) & 0x0FFF_FFFF,
            size_bytes: raw.last_chunk().map_or(0, |size| u32::from_le_bytes(*size)),
            at: [EntryAt::default(); TRIPLE],
            entries: 0,
        };
        let whole = self.readable && self.expected == 0 && self.checksum == checksum_of(&short);
        let places = self.at.iter().take(if whole { self.entries } else { 0 }).chain([&at]);
        for (out, place) in entry.at.iter_mut().zip(places) {
            *out = *place;
            entry.entries = entry.entries.saturating_add(1);
        }
        if whole {
            entry.name = self.chars;
            entry.name_length = self.chars.iter().position(|char| *char == 0).unwrap_or(LONG_NAME_MAX);
        } else {
            let (stem, ending) = short.split_first_chunk::<8>().map_or((&[][..], &[][..]), |(s, e)| (&s[..], e));
            let dot: &[u8] = if ending.trim_ascii_end().is_empty() { b"" } else { b"." };
            let parts = stem.trim_ascii_end().iter().chain(dot).chain(ending.trim_ascii_end());
            for (out, char) in entry.name.iter_mut().zip(parts) {
                *out = *char;
                entry.name_length = entry.name_length.saturating_add(1);
            }
        }
        entry
    }
}

/// The sum over a short name that ties a long name to it.
fn checksum_of(short: &[u8; 11]) -> u8 {
    short.iter().fold(0_u8, |sum, byte| sum.rotate_right(1).wrapping_add(*byte))
}

/// The short name of a slot file: letters and digits that its long name decides, and `salt` where two would be equal. The
/// ending tells drivers that read no long names that a file being written is nothing to start.
pub(super) fn short_name(long: &[u8], salt: u32) -> [u8; 11] {
    let mut hash =
        long.iter().fold(0x811C_9DC5_u32 ^ salt, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193));
    let mut short = *b"A0000000EFI";
    for out in short.iter_mut().skip(1).take(7) {
        let digit = usize::try_from(hash & 0x1F).unwrap_or(0);
        *out = b"0123456789ABCDEFGHJKLMNPQRSTUVWX".get(digit).copied().unwrap_or(b'0');
        // The digits beyond the hash's 32 bits come from its rotation.
        hash = hash.rotate_right(5);
    }
    if long.ends_with(b".new") {
        short[8..].copy_from_slice(b"NEW");
    }
    short
}

/// The three entries of a file with a name of 14 to 26 ASCII characters. `kept` is the short entry that a rename keeps
/// besides its name.
pub(super) fn triple(long: &[u8], short: [u8; 11], kept: &[u8; ENTRY_BYTES]) -> Option<[u8; TRIPLE * ENTRY_BYTES]> {
    if !(14..=LONG_NAME_MAX).contains(&long.len()) {
        return None;
    }
    let mut out = [0; TRIPLE * ENTRY_BYTES];
    for (number, entry) in (0..2_usize).zip(out.chunks_exact_mut(ENTRY_BYTES)) {
        // The last part stands first.
        let part = 1_usize.wrapping_sub(number);
        *entry.first_mut()? = if part == 1 { 0x42 } else { 0x01 };
        *entry.get_mut(ATTRIBUTES)? = LONG_NAME;
        *entry.get_mut(13)? = checksum_of(&short);
        for (place, low) in LONG_CHARS.iter().enumerate() {
            let index = part.wrapping_mul(LONG_CHARS.len()).wrapping_add(place);
            let char: [u8; 2] = match index.cmp(&long.len()) {
                core::cmp::Ordering::Less => [*long.get(index)?, 0],
                core::cmp::Ordering::Equal => [0, 0],
                core::cmp::Ordering::Greater => [0xFF, 0xFF],
            };
            entry.get_mut(*low..)?.first_chunk_mut::<2>().map(|out| *out = char)?;
        }
    }
    let entry = out.last_chunk_mut::<ENTRY_BYTES>()?;
    *entry = *kept;
    entry.get_mut(..11)?.copy_from_slice(&short);
    Some(out)
}

/// A short entry of a new file, without its name.
pub(super) fn short_entry(cluster: u32, size_bytes: u32) -> [u8; ENTRY_BYTES] {
    let mut entry = [0; ENTRY_BYTES];
    let [a, b, c, d] = cluster.to_le_bytes();
    for (at, bytes) in [(16, DATE_1980), (18, DATE_1980), (20, [c, d]), (24, DATE_1980), (26, [a, b])] {
        if let Some(out) = entry.get_mut(at..).and_then(|rest| rest.first_chunk_mut()) {
            *out = bytes;
        }
    }
    entry[ATTRIBUTES] = 0x20;
    entry[28..].copy_from_slice(&size_bytes.to_le_bytes());
    entry
}

/// Where three entries can go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Room {
    /// Over deleted entries.
    Deleted(EntryAt),
    /// At the folder's end; everything behind in that sector is zeroed.
    AtEnd(EntryAt),
    /// At the begin of this sector, which lies behind the folder's end; the entries from the end on become deleted ones.
    Behind {
        /// Where the end is.
        end: EntryAt,
        /// The next sector.
        sector: u64,
    },
    /// The folder is full: a cluster must be chained behind this one. `end` as above, when there is one.
    Full {
        /// The folder's last cluster.
        last: u32,
        /// Where the end is.
        end: Option<EntryAt>,
    },
}

/// Finds room for three entries in one sector, and for an end behind them where they come last.
pub(super) fn room<D: Read + Write + Seek>(volume: &mut Volume<D>, folder: u32) -> Result<Room, EspError<D::Error>> {
    let mut cursor = Cursor::new(volume, folder);
    let per_sector = volume.sector_bytes / ENTRY_BYTES;
    let mut end = None;
    while let Some(sector) = cursor.sector(volume)? {
        if let Some(end) = end {
            return Ok(Room::Behind { end, sector });
        }
        let mut free = 0_usize;
        for (index, raw) in (0..per_sector).zip(volume.sector(sector)?.chunks_exact(ENTRY_BYTES)) {
            match raw.first() {
                Some(&END) if index.saturating_add(TRIPLE) < per_sector => {
                    return Ok(Room::AtEnd(EntryAt { sector, index }));
                }
                Some(&END) => {
                    end = Some(EntryAt { sector, index });
                    break;
                }
                Some(&DELETED) => free = free.saturating_add(1),
                _ => free = 0,
            }
            if free == TRIPLE {
                return Ok(Room::Deleted(EntryAt { sector, index: index.saturating_sub(2) }));
            }
        }
        cursor.index = per_sector;
    }
    Ok(Room::Full { last: cursor.cluster, end })
}

/// Marks entries of one sector as deleted, in the sector's buffer only.
pub(super) fn mark_deleted(sector: &mut [u8], indices: impl Iterator<Item = usize>) {
    for index in indices {
        if let Some(first) = sector.get_mut(index.saturating_mul(ENTRY_BYTES)) {
            *first = DELETED;
        }
    }
}
