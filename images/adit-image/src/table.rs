// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The partition table of a disk that boots: a GPT with four partitions in a fixed order, the last of which grows to the
//! disk's end at every start. GUIDs are derived from the first image's digest, so that building twice gives the same bytes.
//! Never touches what is inside a partition.

use crate::digest::Sha256;
use adit_slots::layout;
use gpt::GptConfig;
use gpt::disk::LogicalBlockSize;
use gpt::mbr::ProtectiveMBR;
use gpt::partition_types::{OperatingSystem, Type};
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::io::{self, Read, Seek, SeekFrom, Write};
use uuid::Uuid;

/// The EFI system partition's type.
pub const ESP: Uuid = kind(layout::ESP_TYPE);
/// Type of the partition that holds the state record and the key set.
pub const STATE: Uuid = kind(layout::STATE_TYPE);
/// Type of the partition that holds keys, peers and the agent's state.
pub const VAR: Uuid = kind(layout::VAR_TYPE);
/// Type of the partition that holds what others keep here.
pub const DATA: Uuid = kind(layout::DATA_TYPE);
/// Size of the ESP on disks with sectors of 4096 bytes: FAT32 has at least 65,525 clusters, and none is smaller than a sector.
pub const ESP_4K_BYTES: u64 = 260 << 20;

/// Why a table could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// The device or file.
    #[error("access the partition table")]
    Access(#[from] io::Error),
    /// Neither copy of the table is whole, with either size of sectors.
    #[error("no partition table of type GPT")]
    None,
    /// The library that knows the format refused.
    #[error("write the partition table")]
    Gpt(#[source] gpt::GptError),
    /// The protective MBR.
    #[error("write the protective MBR")]
    Mbr(#[source] gpt::mbr::MBRError),
    /// The partitions need more room than there is.
    #[error("partitions need {need_bytes} bytes, the disk has {have_bytes}")]
    TooSmall {
        /// Needed, in bytes.
        need_bytes: u64,
        /// There, in bytes.
        have_bytes: u64,
    },
}

/// Size of a disk's logical sectors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SectorSize {
    /// 512 bytes: nearly every disk.
    #[default]
    B512,
    /// 4096 bytes: "4Kn" disks.
    B4096,
}

impl SectorSize {
    /// In bytes.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        match self {
            Self::B512 => 512,
            Self::B4096 => 4096,
        }
    }

    const fn block(self) -> LogicalBlockSize {
        match self {
            Self::B512 => LogicalBlockSize::Lb512,
            Self::B4096 => LogicalBlockSize::Lb4096,
        }
    }
}

impl std::str::FromStr for SectorSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "512" => Ok(Self::B512),
            "4096" => Ok(Self::B4096),
            other => Err(format!("sectors have 512 or 4096 bytes, not {other}")),
        }
    }
}

/// One partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    /// Its name, such as `adit-esp`.
    pub name: String,
    /// What it is for.
    pub kind: Uuid,
    /// Which one it is.
    pub guid: Uuid,
    /// Where it begins, in bytes from the start of the disk.
    pub start_bytes: u64,
    /// Its size in bytes.
    pub size_bytes: u64,
}

/// A partition table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// Which disk it is.
    pub guid: Uuid,
    /// Size of the disk's sectors.
    pub sector_size: SectorSize,
    /// Partitions in the order of their places.
    pub partitions: Vec<Partition>,
}

impl Table {
    /// The table of a new image whose first slot holds an image of this digest.
    #[must_use]
    pub fn new(sector_size: SectorSize, uki: &Sha256) -> Self {
        let esp_bytes = match sector_size {
            SectorSize::B512 => layout::ESP_BYTES,
            SectorSize::B4096 => ESP_4K_BYTES,
        };
        let mut start_bytes = layout::ALIGN_BYTES;
        let parts = [
            (layout::ESP_NAME, ESP, esp_bytes),
            (layout::STATE_NAME, STATE, layout::STATE_BYTES),
            (layout::VAR_NAME, VAR, layout::VAR_BYTES),
            (layout::DATA_NAME, DATA, layout::DATA_BYTES_IMAGE),
        ];
        let partitions = (1_u8..).zip(parts).map(|(number, (name, kind, size_bytes))| {
            let partition =
                Partition { name: name.to_owned(), kind, guid: derived(uki, number), start_bytes, size_bytes };
            start_bytes += size_bytes;
            partition
        });
        let partitions = partitions.collect();
        Self { guid: derived(uki, 0), sector_size, partitions }
    }

    /// The smallest disk that takes the table, in bytes.
    #[must_use]
    pub fn disk_bytes(&self) -> u64 {
        let end = self.partitions.iter().map(|partition| partition.start_bytes + partition.size_bytes).max();
        end.unwrap_or_default() + layout::ALIGN_BYTES
    }

    /// The first partition of a kind.
    #[must_use]
    pub fn partition(&self, kind: Uuid) -> Option<&Partition> {
        self.partitions.iter().find(|partition| partition.kind == kind)
    }

    /// Writes the protective MBR, the table, and its copy at the very end of the device.
    pub fn write(&self, mut device: impl Read + Write + Seek + Debug) -> Result<(), TableError> {
        let (have_bytes, need_bytes) = (device.seek(SeekFrom::End(0))?, self.disk_bytes());
        if have_bytes < need_bytes {
            return Err(TableError::TooSmall { need_bytes, have_bytes });
        }
        let sector = self.sector_size.bytes();
        let sectors = u32::try_from(have_bytes / sector - 1).unwrap_or(u32::MAX);
        ProtectiveMBR::with_lb_size(sectors).overwrite_lba0(&mut device).map_err(TableError::Mbr)?;
        let config = GptConfig::new().writable(true).logical_block_size(self.sector_size.block());
        let mut disk = config.create_from_device(device, Some(self.guid)).map_err(TableError::Gpt)?;
        let partition = |partition: &Partition| gpt::partition::Partition {
            part_type_guid: Type { guid: partition.kind, os: OperatingSystem::None },
            part_guid: partition.guid,
            first_lba: partition.start_bytes / sector,
            last_lba: (partition.start_bytes + partition.size_bytes) / sector - 1,
            flags: 0,
            name: partition.name.clone(),
        };
        let partitions: BTreeMap<_, _> = (1_u32..).zip(self.partitions.iter().map(partition)).collect();
        disk.update_partitions(partitions).map_err(TableError::Gpt)?;
        disk.write_inplace().map_err(TableError::Gpt)
    }

    /// Reads the table of a device, from its copy if need be. The size of sectors is found out.
    pub fn read(mut device: impl Read + Write + Seek + Debug) -> Result<Self, TableError> {
        for sector_size in [SectorSize::B512, SectorSize::B4096] {
            device.seek(SeekFrom::Start(0))?;
            let config = GptConfig::new().logical_block_size(sector_size.block());
            let Ok(disk) = config.open_from_device(&mut device) else { continue };
            let sector = sector_size.bytes();
            let used = disk.partitions().values().filter(|partition| partition.is_used());
            let partition = |partition: &gpt::partition::Partition| {
                let sectors = partition.last_lba.checked_sub(partition.first_lba)?.checked_add(1)?;
                Some(Partition {
                    name: partition.name.clone(),
                    kind: partition.part_type_guid.guid,
                    guid: partition.part_guid,
                    start_bytes: partition.first_lba.checked_mul(sector)?,
                    size_bytes: sectors.checked_mul(sector)?,
                })
            };
            let mut partitions: Vec<Partition> = used.map(partition).collect::<Option<_>>().ok_or(TableError::None)?;
            partitions.sort_by_key(|partition| partition.start_bytes);
            return Ok(Self { guid: *disk.guid(), sector_size, partitions });
        }
        Err(TableError::None)
    }
}

const fn kind(text: &str) -> Uuid {
    match Uuid::try_parse(text) {
        Ok(kind) => kind,
        Err(_) => panic!("a partition's type is a GUID"),
    }
}

/// A GUID of version 8 (RFC 9562, 5.8: bits of one's own) from a digest and a number.
fn derived(uki: &Sha256, number: u8) -> Uuid {
    let mut seed = b"adit partition v1\0".to_vec();
    seed.extend(uki.0);
    seed.push(number);
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&Sha256::of(&seed).0[..16]);
    bytes[6] = bytes[6] & 0x0f | 0x80;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    Uuid::from_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    fn digest(text: &str) -> Sha256 {
        Sha256::of(text.as_bytes())
    }

    #[test]
    fn a_table_is_read_back_from_either_copy() {
        for sector_size in [SectorSize::B512, SectorSize::B4096] {
            let table = Table::new(sector_size, &digest("uki"));
            let size = usize::try_from(table.disk_bytes()).unwrap();
            let mut disk = vec![0; size];
            table.write(Cursor::new(&mut disk)).unwrap();
            assert_eq!(Table::read(Cursor::new(&mut disk)).unwrap(), table);
            assert_eq!(&disk[510..512], [0x55, 0xaa], "a protective MBR");
            let sector = usize::try_from(sector_size.bytes()).unwrap();
            assert_eq!(&disk[size - sector..size - sector + 8], b"EFI PART");
            disk[..16 * sector].fill(0);
            assert_eq!(Table::read(Cursor::new(&mut disk)).unwrap(), table, "the copy at the end");
            disk[size - sector..].fill(0);
            assert!(matches!(Table::read(Cursor::new(&mut disk)), Err(TableError::None)));
        }
    }

    #[test]
    fn partitions_follow_each_other_and_the_copy_moves_with_the_end() {
        let table = Table::new(SectorSize::B512, &digest("uki"));
        let places: Vec<_> =
            table.partitions.iter().map(|p| (p.name.as_str(), p.start_bytes >> 20, p.size_bytes >> 20)).collect();
        assert_eq!(
            places,
            [("adit-esp", 1, 192), ("adit-state", 193, 1), ("adit-var", 194, 64), ("adit-data", 258, 1)]
        );
        assert_eq!(table.disk_bytes(), 260 << 20);
        let mut larger = vec![0; 300 << 20];
        table.write(Cursor::new(&mut larger)).unwrap();
        assert_eq!(&larger[(300 << 20) - 512..][..8], b"EFI PART");
        let mut small = vec![0; (260 << 20) - 512];
        assert!(matches!(table.write(Cursor::new(&mut small)), Err(TableError::TooSmall { .. })));
    }

    #[test]
    fn the_same_image_gives_the_same_names_and_another_gives_others() {
        let of = |text| Table::new(SectorSize::B512, &digest(text));
        assert_eq!(of("a"), of("a"));
        assert_ne!(of("a").guid, of("b").guid);
        let mut guids: Vec<Uuid> = of("a").partitions.iter().map(|p| p.guid).collect();
        guids.push(of("a").guid);
        guids.sort();
        guids.dedup();
        assert_eq!(guids.len(), 5);
        assert!(guids.iter().all(|guid| guid.get_version_num() == 8));
    }
}
