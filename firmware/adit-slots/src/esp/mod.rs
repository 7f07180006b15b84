// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The slot files on the ESP, changed in such an order that a power cut at any write leaves a bootable slot.
//!
//! The firmware reads FAT32, so slots are files on it, and no file system that a kernel mounts promises an order of writes.
//! This one does: it changes the volume itself, by whole sectors, with a flush between steps that must not be mixed up.
//!
//! - [`Esp::rename`] is one sector where the name's three entries share one. Else the new name is written first, and then
//!   the old one is marked deleted; a cut between leaves two names for one file, and [`Esp::heal`] drops one.
//! - [`Esp::write`] puts data into free clusters, then chains them, then writes the name: a file is absent or whole.
//! - [`Esp::delete`] marks the name. Only [`Esp::heal`] frees clusters, and only what no file on the volume uses.
//!
//! The disk's `flush` must return only when all that was written is on the medium. That of a `std::fs::File` does nothing:
//! give a type whose `flush` is `File::sync_data`. Open the partition only while nobody has it mounted, and call
//! [`Esp::heal`] once at every start. Foreign files are left alone. Any bytes on the volume give an error or an answer,
//! never a panic or a walk without end.

mod folder;
mod volume;

use crate::decide::Fix;
use crate::layout::SLOT_FOLDER;
use crate::name::{Mark, SlotFile};
use embedded_io::{Error as _, ErrorKind, Read, Seek, Write};
use folder::{Cursor, ENTRY_BYTES, Entry, EntryAt, Room, TRIPLE, mark_deleted, room, short_entry, short_name, triple};
use volume::{LAST, LAST_MIN, SECTOR_BYTES_MAX, Volume, mask};

/// Slot files that are looked at; more than these are somebody's mistake.
pub const FILES_MAX: usize = 16;
/// Folders within folders that are walked when clusters are freed.
const DEPTH_MAX: usize = 8;
/// Files and folders of a volume that are walked when clusters are freed.
const ENTRIES_MAX: u32 = 65_536;
/// Tries to find a short name that no other file has.
const SHORT_NAMES_MAX: u32 = 64;

/// Why the ESP was not read or changed. Nothing that could start was lost by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum EspError<E> {
    /// The disk reports an error, or refuses to be written.
    #[error("the disk refuses")]
    Disk(E),
    /// The image's source reports an error.
    #[error("the image's source fails")]
    Source(#[cfg_attr(feature = "defmt", defmt(Debug2Format))] ErrorKind),
    /// The volume is no FAT32.
    #[error("no FAT32 volume")]
    NotFat32,
    /// The volume's structures contradict each other.
    #[error("the volume is damaged")]
    Damaged,
    /// No room is left.
    #[error("the volume is full")]
    Full,
    /// No such file or folder.
    #[error("no such file")]
    NotFound,
    /// A file with this name exists.
    #[error("a file with this name exists")]
    Exists,
    /// More slot files than [`FILES_MAX`].
    #[error("too many slot files")]
    TooMany,
    /// The version or a count has no name of fixed length.
    #[error("no slot file can have this name")]
    Name,
}

/// What [`Esp::heal`] found and put in order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Healed {
    /// Second names of a file that were dropped.
    pub names: u32,
    /// Clusters that no file used.
    pub clusters: u32,
    /// Sectors in which the copies of the allocation table differed.
    pub table_sectors: u32,
}

/// A file that is being read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct OpenFile {
    /// Its length, bytes.
    pub size_bytes: u32,
    cluster: u32,
    at: u32,
}

/// The ESP on a disk.
#[derive(Debug)]
pub struct Esp<D> {
    volume: Volume<D>,
}

impl<D: Read + Write + Seek> Esp<D> {
    /// Opens the volume that begins at `offset_bytes` on a disk: 0 where the disk is the partition itself.
    ///
    /// # Errors
    /// [`EspError::NotFat32`], or the disk's.
    pub fn open(disk: D, offset_bytes: u64) -> Result<Self, EspError<D::Error>> {
        Ok(Self { volume: Volume::open(disk, offset_bytes)? })
    }

    /// Gives the disk back.
    pub fn into_disk(self) -> D {
        self.volume.into_disk()
    }

    /// The slot files, in the folder's order; answers how many.
    ///
    /// # Errors
    /// See [`EspError`].
    pub fn files(&mut self, out: &mut [SlotFile; FILES_MAX]) -> Result<usize, EspError<D::Error>> {
        let mut count = 0_usize;
        let folder = self.slot_folder()?;
        let mut cursor = Cursor::new(&self.volume, folder);
        while let Some(entry) = cursor.next(&mut self.volume)? {
            let Some(file) = SlotFile::parse(entry.name()).filter(|_| !entry.is_folder) else { continue };
            *out.get_mut(count).ok_or(EspError::TooMany)? = file;
            count = count.saturating_add(1);
        }
        Ok(count)
    }

    /// Opens a slot's file.
    ///
    /// # Errors
    /// [`EspError::NotFound`], or another.
    pub fn open_slot(&mut self, file: SlotFile) -> Result<OpenFile, EspError<D::Error>> {
        let entry = self.find_slot(file)?;
        Ok(OpenFile { size_bytes: entry.size_bytes, cluster: entry.cluster, at: 0 })
    }

    /// Opens any file by its path from the root: names of at most 26 characters, letters in any case.
    ///
    /// # Errors
    /// [`EspError::NotFound`], or another.
    pub fn open_path(&mut self, path: &[&str]) -> Result<OpenFile, EspError<D::Error>> {
        let entry = self.find_path(path)?;
        Ok(OpenFile { size_bytes: entry.size_bytes, cluster: entry.cluster, at: 0 })
    }

    /// Reads on: as much as lies in one cluster and fits `out`; 0 at the end.
    ///
    /// # Errors
    /// [`EspError::Damaged`] when the file's chain ends before the file does, or the disk's.
    pub fn read(&mut self, file: &mut OpenFile, out: &mut [u8]) -> Result<usize, EspError<D::Error>> {
        let left = u64::from(file.size_bytes.saturating_sub(file.at));
        if left == 0 || out.is_empty() {
            return Ok(0);
        }
        let cluster_bytes = self.volume.cluster_bytes();
        let within = u64::from(file.at).checked_rem(cluster_bytes).ok_or(EspError::Damaged)?;
        if within == 0 && file.at > 0 {
            file.cluster = self.volume.next(file.cluster)?;
        }
        if !self.volume.holds(file.cluster) {
            return Err(EspError::Damaged);
        }
        let count = left.min(cluster_bytes.saturating_sub(within)).min(out.len() as u64);
        let count = usize::try_from(count).map_err(|_| EspError::Damaged)?;
        let out = out.get_mut(..count).ok_or(EspError::Damaged)?;
        self.volume.read_data(file.cluster, within, out)?;
        file.at = file.at.saturating_add(u32::try_from(count).map_err(|_| EspError::Damaged)?);
        Ok(count)
    }

    /// Writes a slot's file of `size_bytes` bytes from a source. The file is absent until all of it is on the medium.
    /// `progress` hears how many bytes are written, for a watchdog.
    ///
    /// # Errors
    /// [`EspError::Exists`], [`EspError::Full`], [`EspError::Source`] when the source fails or ends too early, or another.
    pub fn write(
        &mut self,
        file: SlotFile,
        size_bytes: u32,
        source: &mut impl Read,
        progress: &mut dyn FnMut(u64),
    ) -> Result<(), EspError<D::Error>> {
        let folder = self.slot_folder()?;
        self.has_no(file)?;
        let name = file.name().ok_or(EspError::Name)?;
        let short = self.free_short_name(folder, name.as_bytes())?;
        self.volume.forget_free_count()?;
        // A folder that must grow does so first: its cluster is then no longer among the free ones.
        let place = self.make_room(folder)?;
        let cluster_bytes = self.volume.cluster_bytes();
        let clusters = u64::from(size_bytes).div_ceil(cluster_bytes.max(1));
        let (mut first, mut last) = (0_u32, 1_u32);
        for number in 0..clusters {
            last = self.volume.free_from(last.saturating_add(1))?;
            first = if number == 0 { last } else { first };
            let done = number.saturating_mul(cluster_bytes);
            self.fill_cluster(last, u64::from(size_bytes).saturating_sub(done).min(cluster_bytes), source)?;
            progress(done.saturating_add(cluster_bytes).min(u64::from(size_bytes)));
        }
        self.volume.flush()?;
        if clusters > 0 {
            self.volume.chain_free(first, last)?;
            self.volume.flush()?;
        }
        let entries = triple(name.as_bytes(), short, &short_entry(first, size_bytes)).ok_or(EspError::Name)?;
        self.put(place, &entries)
    }

    /// Writes one cluster from the source: whole sectors, the last one filled with zeros.
    fn fill_cluster(&mut self, cluster: u32, bytes: u64, source: &mut impl Read) -> Result<(), EspError<D::Error>> {
        let mut buffer = [0; SECTOR_BYTES_MAX];
        let mut at = 0_u64;
        while at < bytes {
            let count = usize::try_from(bytes.saturating_sub(at)).unwrap_or(usize::MAX).min(buffer.len());
            let (filled, rest) = buffer.split_at_mut_checked(count).ok_or(EspError::Damaged)?;
            source.read_exact(filled).map_err(|error| match error {
                embedded_io::ReadExactError::UnexpectedEof => EspError::Source(ErrorKind::InvalidData),
                embedded_io::ReadExactError::Other(error) => EspError::Source(error.kind()),
            })?;
            rest.fill(0);
            let whole = count.next_multiple_of(self.volume.sector_bytes);
            self.volume.write_data(cluster, at, buffer.get(..whole).ok_or(EspError::Damaged)?)?;
            at = at.saturating_add(count as u64);
        }
        Ok(())
    }

    /// Gives a slot's file another mark. In one sector where its entries share one; else the new name first.
    ///
    /// # Errors
    /// [`EspError::NotFound`], [`EspError::Exists`], or another.
    pub fn rename(&mut self, from: SlotFile, to: Mark) -> Result<(), EspError<D::Error>> {
        let folder = self.slot_folder()?;
        let entry = self.find_slot(from)?;
        let new = SlotFile { version: from.version, mark: to };
        self.has_no(new)?;
        let name = new.name().ok_or(EspError::Name)?;
        let short = self.free_short_name(folder, name.as_bytes())?;
        let kept = self.short_entry_of(&entry)?;
        let entries = triple(name.as_bytes(), short, &kept).ok_or(EspError::Name)?;
        if let Some(at) = entry.in_one_sector() {
            self.overwrite(at, &entries)?;
            self.volume.write_sector()?;
            return self.volume.flush();
        }
        self.volume.forget_free_count()?;
        let place = self.make_room(folder)?;
        self.put(place, &entries)?;
        self.unlink(&entry)
    }

    /// Takes a slot's file out of its folder. Its clusters are free after the next [`Esp::heal`].
    ///
    /// # Errors
    /// [`EspError::NotFound`], or another.
    pub fn delete(&mut self, file: SlotFile) -> Result<(), EspError<D::Error>> {
        let entry = self.find_slot(file)?;
        self.unlink(&entry)
    }

    /// Takes any file out of its folder, as [`Esp::open_path`] finds it: a preseed that was used.
    ///
    /// # Errors
    /// [`EspError::NotFound`] also when it is a folder, or another.
    pub fn delete_path(&mut self, path: &[&str]) -> Result<(), EspError<D::Error>> {
        let entry = self.find_path(path)?;
        if entry.is_folder {
            return Err(EspError::NotFound);
        }
        self.unlink(&entry)
    }

    /// Makes what `decide::fixes` asks for. A file that is gone already, or has its new name, is no error.
    ///
    /// # Errors
    /// See [`EspError`].
    pub fn fix(&mut self, fix: Fix) -> Result<(), EspError<D::Error>> {
        let done = match fix {
            Fix::Rename { from, to } => self.rename(from, to),
            Fix::Delete(file) => self.delete(file),
        };
        if matches!(done, Err(EspError::NotFound)) { Ok(()) } else { done }
    }

    /// Puts in order what a power cut left: second names of one file are dropped, the copies of the allocation table made
    /// equal, clusters that nothing uses freed. `scratch` holds a bit for each cluster; with less than that the volume is
    /// walked more than once. On a volume where a chain is broken, closed or shared, nothing but names is changed.
    ///
    /// # Errors
    /// [`EspError::Damaged`] for such a volume: the slots may start all the same, but a person should make it anew.
    pub fn heal(&mut self, scratch: &mut [u8]) -> Result<Healed, EspError<D::Error>> {
        let names = self.drop_second_names()?;
        let (mut clusters, mut table_sectors) = (0_u32, 0_u32);
        let window = u32::try_from(scratch.len().saturating_mul(8)).unwrap_or(u32::MAX).max(1);
        let mut from = 2_u32;
        while self.volume.holds(from) && !scratch.is_empty() {
            scratch.fill(0);
            self.mark_used(from, scratch)?;
            if from == 2 {
                table_sectors = self.volume.level_table()?;
            }
            clusters = clusters.saturating_add(self.volume.free_unused(from, scratch)?);
            from = from.saturating_add(window);
        }
        if clusters > 0 {
            self.volume.forget_free_count()?;
        }
        if clusters > 0 || table_sectors > 0 {
            self.volume.flush()?;
        }
        Ok(Healed { names, clusters, table_sectors })
    }

    /// Of two names for one file the one stays that promises less: the record leads, and the fixes rename it again.
    fn drop_second_names(&mut self) -> Result<u32, EspError<D::Error>> {
        let mut dropped = 0_u32;
        for _ in 0..FILES_MAX {
            let Some(second) = self.second_name()? else { return Ok(dropped) };
            self.unlink(&second)?;
            dropped = dropped.saturating_add(1);
        }
        Err(EspError::TooMany)
    }

    fn second_name(&mut self) -> Result<Option<Entry>, EspError<D::Error>> {
        let promise = |mark: Mark| match mark {
            Mark::New => 0,
            Mark::Counted { left, .. } => u16::from(left).saturating_add(1),
            Mark::Good => u16::MAX,
        };
        let folder = self.slot_folder()?;
        let mut seen: [Option<(Entry, u16)>; FILES_MAX] = [None; FILES_MAX];
        let mut count = 0_usize;
        let mut cursor = Cursor::new(&self.volume, folder);
        while let Some(entry) = cursor.next(&mut self.volume)? {
            let Some(file) = SlotFile::parse(entry.name()).filter(|_| !entry.is_folder && entry.cluster != 0) else {
                continue;
            };
            let rank = promise(file.mark);
            let first = seen.iter().flatten().find(|(other, _)| other.cluster == entry.cluster);
            if let Some((other, other_rank)) = first {
                return Ok(Some(if rank >= *other_rank { entry } else { *other }));
            }
            *seen.get_mut(count).ok_or(EspError::TooMany)? = Some((entry, rank));
            count = count.saturating_add(1);
        }
        Ok(None)
    }

    /// Sets the bits of every cluster that a file or folder uses, from the cluster `from` on.
    fn mark_used(&mut self, from: u32, bits: &mut [u8]) -> Result<(), EspError<D::Error>> {
        // A sound volume has each cluster in one chain, so all chains together are no longer than the volume.
        let mut steps = self.volume.clusters.saturating_mul(2).saturating_add(1024);
        let mut entries = ENTRIES_MAX;
        let root = self.volume.root;
        self.mark_chain(root, 1, from, bits, &mut steps)?;
        let mut walk: [Option<Cursor>; DEPTH_MAX] = [None; DEPTH_MAX];
        let mut depth = 0_usize;
        walk[0] = Some(Cursor::new(&self.volume, root));
        while let Some(cursor) = walk.get_mut(depth).and_then(Option::as_mut) {
            let Some(entry) = cursor.next(&mut self.volume)? else {
                let Some(up) = depth.checked_sub(1) else { return Ok(()) };
                depth = up;
                continue;
            };
            entries = entries.checked_sub(1).ok_or(EspError::Damaged)?;
            let clusters = u64::from(entry.size_bytes).div_ceil(self.volume.cluster_bytes().max(1));
            if entry.is_folder || clusters > 0 || entry.cluster != 0 {
                let clusters = if entry.is_folder { 1 } else { clusters };
                self.mark_chain(entry.cluster, clusters, from, bits, &mut steps)?;
            }
            if entry.is_folder && self.volume.holds(entry.cluster) {
                depth = depth.saturating_add(1);
                *walk.get_mut(depth).ok_or(EspError::Damaged)? = Some(Cursor::new(&self.volume, entry.cluster));
            }
        }
        Ok(())
    }

    /// Sets the bits of one chain, which must have `clusters` clusters or more, and an end.
    fn mark_chain(
        &mut self,
        first: u32,
        clusters: u64,
        from: u32,
        bits: &mut [u8],
        steps: &mut u32,
    ) -> Result<(), EspError<D::Error>> {
        let (mut cluster, mut length) = (first, 0_u64);
        while self.volume.holds(cluster) {
            *steps = steps.checked_sub(1).ok_or(EspError::Damaged)?;
            length = length.saturating_add(1);
            if let Some(bit) = cluster.checked_sub(from).and_then(|bit| usize::try_from(bit).ok())
                && let Some(byte) = bits.get_mut(bit / 8)
            {
                if *byte & mask(bit) != 0 {
                    return Err(EspError::Damaged);
                }
                *byte |= mask(bit);
            }
            cluster = self.volume.next(cluster)?;
        }
        if cluster >= LAST_MIN && length >= clusters { Ok(()) } else { Err(EspError::Damaged) }
    }

    fn slot_folder(&mut self) -> Result<u32, EspError<D::Error>> {
        let folder = self.find_path(&SLOT_FOLDER)?;
        if folder.is_folder && self.volume.holds(folder.cluster) { Ok(folder.cluster) } else { Err(EspError::NotFound) }
    }

    fn find_path(&mut self, path: &[&str]) -> Result<Entry, EspError<D::Error>> {
        let mut folder = self.volume.root;
        let mut found = None;
        for name in path {
            if found.is_some_and(|entry: Entry| !entry.is_folder || !self.volume.holds(entry.cluster)) {
                return Err(EspError::NotFound);
            }
            let mut cursor = Cursor::new(&self.volume, folder);
            found = None;
            while let Some(entry) = cursor.next(&mut self.volume)? {
                if entry.name().eq_ignore_ascii_case(name.as_bytes()) {
                    folder = entry.cluster;
                    found = Some(entry);
                    break;
                }
            }
            if found.is_none() {
                return Err(EspError::NotFound);
            }
        }
        found.ok_or(EspError::NotFound)
    }

    fn find_slot(&mut self, file: SlotFile) -> Result<Entry, EspError<D::Error>> {
        let folder = self.slot_folder()?;
        let mut cursor = Cursor::new(&self.volume, folder);
        while let Some(entry) = cursor.next(&mut self.volume)? {
            if !entry.is_folder && SlotFile::parse(entry.name()) == Some(file) {
                return Ok(entry);
            }
        }
        Err(EspError::NotFound)
    }

    fn has_no(&mut self, file: SlotFile) -> Result<(), EspError<D::Error>> {
        match self.find_slot(file) {
            Err(EspError::NotFound) => Ok(()),
            Ok(_) => Err(EspError::Exists),
            Err(error) => Err(error),
        }
    }

    fn free_short_name(&mut self, folder: u32, long: &[u8]) -> Result<[u8; 11], EspError<D::Error>> {
        for salt in 0..SHORT_NAMES_MAX {
            let short = short_name(long, salt);
            let mut cursor = Cursor::new(&self.volume, folder);
            let mut taken = false;
            while let Some(entry) = cursor.next(&mut self.volume)? {
                taken |= entry.short == short;
            }
            if !taken {
                return Ok(short);
            }
        }
        Err(EspError::TooMany)
    }

    fn short_entry_of(&mut self, entry: &Entry) -> Result<[u8; ENTRY_BYTES], EspError<D::Error>> {
        let at = entry.places().last().ok_or(EspError::Damaged)?;
        let start = at.index.saturating_mul(ENTRY_BYTES);
        let sector = self.volume.sector(at.sector)?;
        sector.get(start..).and_then(|rest| rest.first_chunk().copied()).ok_or(EspError::Damaged)
    }

    /// Finds a place for three entries that one write of one sector can fill, and makes one where there is none.
    fn make_room(&mut self, folder: u32) -> Result<(EntryAt, bool), EspError<D::Error>> {
        match room(&mut self.volume, folder)? {
            Room::Deleted(at) => Ok((at, false)),
            Room::AtEnd(at) => Ok((at, true)),
            Room::Behind { end, sector } => {
                self.zero_sector(sector)?;
                self.move_end(Some(end))?;
                Ok((EntryAt { sector, index: 0 }, true))
            }
            Room::Full { last, end } => {
                let cluster = self.volume.free_from(2)?;
                self.volume.forget_free_count()?;
                let first = self.volume.sector_of(cluster);
                for sector in 0..self.volume.sectors_per_cluster() {
                    self.zero_sector(first.saturating_add(sector))?;
                }
                self.volume.flush()?;
                self.volume.set_next(cluster, LAST)?;
                self.volume.flush()?;
                self.volume.set_next(last, cluster)?;
                self.volume.flush()?;
                self.move_end(end)?;
                Ok((EntryAt { sector: first, index: 0 }, true))
            }
        }
    }

    fn zero_sector(&mut self, sector: u64) -> Result<(), EspError<D::Error>> {
        self.volume.sector(sector)?.fill(0);
        self.volume.write_sector()
    }

    /// Turns the entries from a folder's end to the end of its sector into deleted ones; the next sector must begin with an
    /// end by then.
    fn move_end(&mut self, end: Option<EntryAt>) -> Result<(), EspError<D::Error>> {
        self.volume.flush()?;
        let Some(end) = end else { return Ok(()) };
        let per_sector = self.volume.sector_bytes / ENTRY_BYTES;
        mark_deleted(self.volume.sector(end.sector)?, end.index..per_sector);
        self.volume.write_sector()?;
        self.volume.flush()
    }

    /// Writes three entries where [`Self::make_room`] found room, and has them on the medium.
    fn put(
        &mut self,
        (at, at_end): (EntryAt, bool),
        entries: &[u8; TRIPLE * ENTRY_BYTES],
    ) -> Result<(), EspError<D::Error>> {
        self.overwrite(at, entries)?;
        if at_end {
            let behind = at.index.saturating_add(TRIPLE).saturating_mul(ENTRY_BYTES);
            self.volume.sector(at.sector)?.get_mut(behind..).unwrap_or_default().fill(0);
        }
        self.volume.write_sector()?;
        self.volume.flush()
    }

    fn overwrite(&mut self, at: EntryAt, entries: &[u8; TRIPLE * ENTRY_BYTES]) -> Result<(), EspError<D::Error>> {
        let start = at.index.saturating_mul(ENTRY_BYTES);
        let sector = self.volume.sector(at.sector)?;
        let place = sector.get_mut(start..).and_then(|rest| rest.first_chunk_mut()).ok_or(EspError::Damaged)?;
        *place = *entries;
        Ok(())
    }

    /// Marks a file's entries deleted: all in one write where they share a sector, else the short one first, because a file
    /// without its long name would show up under the short one.
    fn unlink(&mut self, entry: &Entry) -> Result<(), EspError<D::Error>> {
        let (short, long) = entry.places().split_last().ok_or(EspError::Damaged)?;
        let beside = long.iter().filter(|at| at.sector == short.sector).map(|at| at.index);
        mark_deleted(self.volume.sector(short.sector)?, beside.chain([short.index]));
        self.volume.write_sector()?;
        self.volume.flush()?;
        for at in long.iter().filter(|at| at.sector != short.sector) {
            mark_deleted(self.volume.sector(at.sector)?, core::iter::once(at.index));
            self.volume.write_sector()?;
        }
        if long.iter().any(|at| at.sector != short.sector) { self.volume.flush() } else { Ok(()) }
    }
}
