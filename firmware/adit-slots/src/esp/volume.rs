// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Sectors, clusters and the file allocation table of a FAT32 volume (Microsoft's FAT specification, 1.03, sections 3 to 5).
//!
//! Nothing on the volume is believed: a cluster number is checked before it is used, and every walk along a chain is
//! bounded by what the volume can hold. Writes are whole sectors; what is written to the table goes to all of its copies.

use super::EspError;
use embedded_io::{Read, Seek, SeekFrom, Write};

/// Largest sector, bytes.
pub(super) const SECTOR_BYTES_MAX: usize = 4096;
/// Entry of a free cluster.
const FREE: u32 = 0;
/// Entry of a cluster that the disk cannot keep.
const DEFECT: u32 = 0x0FFF_FFF7;
/// Entry of the last cluster of a chain.
pub(super) const LAST: u32 = 0x0FFF_FFFF;
/// Entries from here on mean the same.
pub(super) const LAST_MIN: u32 = 0x0FFF_FFF8;
const ENTRY_MASK: u32 = 0x0FFF_FFFF;

/// A volume and two of its sectors: one of data, one of the table.
#[derive(Debug)]
pub(super) struct Volume<D> {
    disk: D,
    /// Where the volume begins on the disk, bytes.
    offset: u64,
    pub(super) sector_bytes: usize,
    sectors_per_cluster: u64,
    table_start: u64,
    table_sectors: u64,
    table_copies: u64,
    data_start: u64,
    info_sector: u64,
    /// Clusters have the numbers 2 to `clusters` + 1.
    pub(super) clusters: u32,
    pub(super) root: u32,
    buffer: [u8; SECTOR_BYTES_MAX],
    loaded: Option<u64>,
    table: [u8; SECTOR_BYTES_MAX],
    table_loaded: Option<u64>,
    table_dirty: bool,
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |field| u16::from_le_bytes(*field))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |field| u32::from_le_bytes(*field))
}

impl<D: Read + Write + Seek> Volume<D> {
    pub(super) fn open(mut disk: D, offset: u64) -> Result<Self, EspError<D::Error>> {
        let mut boot = [0; 512];
        disk.seek(SeekFrom::Start(offset)).map_err(EspError::Disk)?;
        disk.read_exact(&mut boot).map_err(read_error)?;
        let sector_bytes = usize::from(u16_at(&boot, 11));
        let sectors_per_cluster = u64::from(boot.get(13).copied().unwrap_or(0));
        let reserved = u64::from(u16_at(&boot, 14));
        let table_copies = u64::from(boot.get(16).copied().unwrap_or(0));
        let (sectors, table_sectors) = (u64::from(u32_at(&boot, 32)), u64::from(u32_at(&boot, 36)));
        let old_fields_are_zero = u16_at(&boot, 17) == 0 && u16_at(&boot, 19) == 0 && u16_at(&boot, 22) == 0;
        let fat32 = old_fields_are_zero
            && matches!(sector_bytes, 512 | 1024 | 2048 | 4096)
            && sectors_per_cluster.is_power_of_two()
            && (1..=2).contains(&table_copies)
            && reserved > 0
            // All copies of the table are kept equal.
            && u16_at(&boot, 40) & 0x80 == 0
            && u16_at(&boot, 510) == 0xAA55;
        if !fat32 {
            return Err(EspError::NotFat32);
        }
        // All are products and sums of numbers of at most 32 bits.
        let data_start = reserved.saturating_add(table_copies.saturating_mul(table_sectors));
        let held = sectors.checked_sub(data_start).and_then(|held| held.checked_div(sectors_per_cluster));
        let held = held.ok_or(EspError::NotFat32)?;
        let described = table_sectors.saturating_mul(sector_bytes as u64 / 4).saturating_sub(2);
        let clusters = u32::try_from(held.min(described)).map_err(|_| EspError::NotFat32)?;
        let root = u32_at(&boot, 44);
        let volume = Self {
            disk,
            offset,
            sector_bytes,
            sectors_per_cluster,
            table_start: reserved,
            table_sectors,
            table_copies,
            data_start,
            info_sector: u64::from(u16_at(&boot, 48)),
            clusters,
            root,
            buffer: [0; SECTOR_BYTES_MAX],
            loaded: None,
            table: [0; SECTOR_BYTES_MAX],
            table_loaded: None,
            table_dirty: false,
        };
        if clusters >= DEFECT.saturating_sub(2) || !volume.holds(root) {
            return Err(EspError::NotFat32);
        }
        Ok(volume)
    }

    /// Whether a number is a cluster of this volume.
    pub(super) const fn holds(&self, cluster: u32) -> bool {
        cluster >= 2 && cluster.saturating_sub(2) < self.clusters
    }

    pub(super) const fn cluster_bytes(&self) -> u64 {
        self.sectors_per_cluster.saturating_mul(self.sector_bytes as u64)
    }

    pub(super) const fn sectors_per_cluster(&self) -> u64 {
        self.sectors_per_cluster
    }

    /// First sector of a cluster.
    pub(super) const fn sector_of(&self, cluster: u32) -> u64 {
        let before = (cluster.saturating_sub(2) as u64).saturating_mul(self.sectors_per_cluster);
        self.data_start.saturating_add(before)
    }

    const fn position(&self, sector: u64) -> u64 {
        self.offset.saturating_add(sector.saturating_mul(self.sector_bytes as u64))
    }

    /// Fills `out` from a place in a cluster. The caller keeps within the cluster.
    pub(super) fn read_data(&mut self, cluster: u32, at: u64, out: &mut [u8]) -> Result<(), EspError<D::Error>> {
        let position = self.position(self.sector_of(cluster)).saturating_add(at);
        self.disk.seek(SeekFrom::Start(position)).map_err(EspError::Disk)?;
        self.disk.read_exact(out).map_err(read_error)
    }

    /// Writes whole sectors of a cluster. The caller keeps within the cluster.
    pub(super) fn write_data(&mut self, cluster: u32, at: u64, bytes: &[u8]) -> Result<(), EspError<D::Error>> {
        self.loaded = None;
        let position = self.position(self.sector_of(cluster)).saturating_add(at);
        self.disk.seek(SeekFrom::Start(position)).map_err(EspError::Disk)?;
        self.disk.write_all(bytes).map_err(EspError::Disk)
    }

    /// A sector's bytes, kept until another one is asked for.
    pub(super) fn sector(&mut self, sector: u64) -> Result<&mut [u8], EspError<D::Error>> {
        let position = self.position(sector);
        let bytes = self.buffer.get_mut(..self.sector_bytes).ok_or(EspError::NotFat32)?;
        if self.loaded != Some(sector) {
            self.loaded = None;
            self.disk.seek(SeekFrom::Start(position)).map_err(EspError::Disk)?;
            self.disk.read_exact(bytes).map_err(read_error)?;
            self.loaded = Some(sector);
        }
        Ok(bytes)
    }

    /// Writes the sector that was asked for last, as the caller changed it.
    pub(super) fn write_sector(&mut self) -> Result<(), EspError<D::Error>> {
        let Some(sector) = self.loaded else { return Ok(()) };
        let position = self.position(sector);
        let bytes = self.buffer.get(..self.sector_bytes).ok_or(EspError::NotFat32)?;
        self.disk.seek(SeekFrom::Start(position)).map_err(EspError::Disk)?;
        self.disk.write_all(bytes).map_err(EspError::Disk)
    }

    /// Everything written so far is on the medium when this returns.
    pub(super) fn flush(&mut self) -> Result<(), EspError<D::Error>> {
        self.write_table()?;
        self.disk.flush().map_err(EspError::Disk)
    }

    fn write_table(&mut self) -> Result<(), EspError<D::Error>> {
        let (Some(index), true) = (self.table_loaded, self.table_dirty) else { return Ok(()) };
        for copy in 0..self.table_copies {
            self.write_table_copy(copy, index)?;
        }
        self.table_dirty = false;
        Ok(())
    }

    fn write_table_copy(&mut self, copy: u64, index: u64) -> Result<(), EspError<D::Error>> {
        let position = self.position(self.table_sector(copy, index));
        let bytes = self.table.get(..self.sector_bytes).ok_or(EspError::NotFat32)?;
        self.disk.seek(SeekFrom::Start(position)).map_err(EspError::Disk)?;
        self.disk.write_all(bytes).map_err(EspError::Disk)
    }

    const fn table_sector(&self, copy: u64, index: u64) -> u64 {
        self.table_start.saturating_add(copy.saturating_mul(self.table_sectors)).saturating_add(index)
    }

    fn load_table(&mut self, index: u64) -> Result<(), EspError<D::Error>> {
        if self.table_loaded != Some(index) {
            self.write_table()?;
            self.table_loaded = None;
            let position = self.position(self.table_sector(0, index));
            let bytes = self.table.get_mut(..self.sector_bytes).ok_or(EspError::NotFat32)?;
            self.disk.seek(SeekFrom::Start(position)).map_err(EspError::Disk)?;
            self.disk.read_exact(bytes).map_err(read_error)?;
            self.table_loaded = Some(index);
        }
        Ok(())
    }

    fn entry(&mut self, cluster: u32) -> Result<&mut [u8; 4], EspError<D::Error>> {
        let per_sector = self.sector_bytes as u64 / 4;
        let index = u64::from(cluster).checked_div(per_sector).ok_or(EspError::NotFat32)?;
        self.load_table(index)?;
        let within = u64::from(cluster).checked_rem(per_sector).and_then(|within| usize::try_from(within).ok());
        let within = within.ok_or(EspError::NotFat32)?;
        let entries = self.table.get_mut(within.saturating_mul(4)..);
        entries.and_then(|entries| entries.first_chunk_mut()).ok_or(EspError::NotFat32)
    }

    /// The table's entry of a cluster, as it stands.
    pub(super) fn next(&mut self, cluster: u32) -> Result<u32, EspError<D::Error>> {
        Ok(u32::from_le_bytes(*self.entry(cluster)?) & ENTRY_MASK)
    }

    /// Sets the table's entry of a cluster; it is written before another sector of the table is read, or by a flush.
    pub(super) fn set_next(&mut self, cluster: u32, next: u32) -> Result<(), EspError<D::Error>> {
        let entry = self.entry(cluster)?;
        // The upper four bits are reserved and stay.
        *entry = ((u32::from_le_bytes(*entry) & !ENTRY_MASK) | (next & ENTRY_MASK)).to_le_bytes();
        self.table_dirty = true;
        Ok(())
    }

    /// The first free cluster from `from` on.
    pub(super) fn free_from(&mut self, from: u32) -> Result<u32, EspError<D::Error>> {
        let end = self.clusters.saturating_add(2);
        for cluster in from.max(2)..end {
            if self.next(cluster)? == FREE {
                return Ok(cluster);
            }
        }
        Err(EspError::Full)
    }

    /// Chains the free clusters from `first` to `last` in their order.
    pub(super) fn chain_free(&mut self, first: u32, last: u32) -> Result<(), EspError<D::Error>> {
        let mut next = LAST;
        for cluster in (first..=last).rev() {
            if self.next(cluster)? == FREE {
                self.set_next(cluster, next)?;
                next = cluster;
            }
        }
        Ok(())
    }

    /// Frees every cluster from `from` on that has no bit in `used`, a bit for each cluster; answers how many.
    pub(super) fn free_unused(&mut self, from: u32, used: &[u8]) -> Result<u32, EspError<D::Error>> {
        let end = self.clusters.saturating_add(2);
        let mut freed = 0_u32;
        for (cluster, bit) in (from..end).zip(0_usize..used.len().saturating_mul(8)) {
            let is_used = used.get(bit / 8).is_some_and(|byte| byte & mask(bit) != 0);
            if !is_used && !matches!(self.next(cluster)?, FREE | DEFECT) {
                self.set_next(cluster, FREE)?;
                freed = freed.saturating_add(1);
            }
        }
        Ok(freed)
    }

    /// Makes the other copies of the table equal to the first one; answers how many sectors differed.
    pub(super) fn level_table(&mut self) -> Result<u32, EspError<D::Error>> {
        self.write_table()?;
        let mut differed = 0_u32;
        for copy in 1..self.table_copies {
            for index in 0..self.table_sectors {
                self.load_table(index)?;
                self.sector(self.table_sector(copy, index))?;
                if self.buffer.get(..self.sector_bytes) != self.table.get(..self.sector_bytes) {
                    self.loaded = None;
                    self.write_table_copy(copy, index)?;
                    differed = differed.saturating_add(1);
                }
            }
        }
        Ok(differed)
    }

    /// Says that the count of free clusters is unknown: this driver does not keep it, and others must not believe an old
    /// one. Does nothing when it says so already.
    pub(super) fn forget_free_count(&mut self) -> Result<(), EspError<D::Error>> {
        let sector = self.info_sector;
        if sector == 0 || sector >= self.table_start {
            return Ok(());
        }
        let info = self.sector(sector)?;
        let ours = u32_at(info, 0) == 0x4161_5252 && u32_at(info, 484) == 0x6141_7272;
        if ours && u32_at(info, 488) != u32::MAX {
            if let Some(counts) = info.get_mut(488..496) {
                counts.fill(0xFF);
            }
            self.write_sector()?;
        }
        Ok(())
    }

    /// Gives the disk back.
    pub(super) fn into_disk(self) -> D {
        self.disk
    }
}

/// The bit of a number within its byte.
pub(super) const fn mask(bit: usize) -> u8 {
    match bit % 8 {
        0 => 1,
        1 => 2,
        2 => 4,
        3 => 8,
        4 => 16,
        5 => 32,
        6 => 64,
        _ => 128,
    }
}

fn read_error<E>(error: embedded_io::ReadExactError<E>) -> EspError<E> {
    match error {
        embedded_io::ReadExactError::UnexpectedEof => EspError::Damaged,
        embedded_io::ReadExactError::Other(error) => EspError::Disk(error),
    }
}
