// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Makes a FAT32 file system in memory from a list of files (Microsoft's "FAT32 File System Specification"): without times,
//! every file in one piece, so the same files give the same bytes. It stands apart from `esp`, which reads and changes
//! file systems by a library: that library's folders do not stand up to a check by fsck. Never changes a file system.

use crate::table::SectorSize;
use std::collections::BTreeSet;

/// Bytes of a cluster where sectors have 512: the smallest ESP with enough clusters for FAT32 has 128 MiB then.
pub const CLUSTER_BYTES: usize = 1024;
/// Clusters below which a file system counts as FAT16 (the specification's section 3.5).
pub const CLUSTERS_MIN: usize = 65_525;
/// The longest name of a file, in characters of UTF-16.
pub const NAME_UNITS_MAX: usize = 255;

const LABEL: &[u8; 11] = b"ADIT-ESP   ";
const ENTRY_BYTES: usize = 32;
const RESERVED_SECTORS_MIN: usize = 32;
const INFO_SECTOR: usize = 1;
const COPY_SECTOR: usize = 6;
const MEDIA: u8 = 0xf8;
const FOLDER: u8 = 0x10;
const ARCHIVE: u8 = 0x20;
const VOLUME: u8 = 0x08;
const LONG: u8 = 0x0f;
const END_OF_CHAIN: u32 = 0x0fff_ffff;
/// 1980-01-01, the first day that FAT knows: an image has no time of its own.
const DATE: u16 = 1 << 5 | 1;
/// Characters of a name that one long entry takes, and where they stand in it.
const LONG_UNITS: usize = 13;
const LONG_PLACES: [usize; LONG_UNITS] = [1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30];

/// Why a file system could not be made.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
pub enum FatError {
    /// A size that gives too few clusters for FAT32, or more than it can count.
    #[error("a FAT32 file system cannot have {0} bytes")]
    Size(u64),
    /// The files need more than there is.
    #[error("files need {need} clusters of the ESP, it has {have}")]
    Full {
        /// Clusters that the files and folders need.
        need: usize,
        /// Clusters there are.
        have: usize,
    },
    /// A name that FAT cannot hold, or that is there already.
    #[error("file {0:?} cannot be put on the ESP")]
    Name(String),
}

/// Makes a file system of `size_bytes` that holds some files, by their path such as `EFI/BOOT/BOOTX64.EFI`. Entries stand in
/// their folder in the order of the files.
pub fn make(
    size_bytes: u64,
    sector_size: SectorSize,
    volume_id: u32,
    files: &[(&str, &[u8])],
) -> Result<Vec<u8>, FatError> {
    let geometry = Geometry::new(size_bytes, sector_size)?;
    let mut root = Folder::default();
    for (path, content) in files {
        let parts: Vec<&str> = path.split('/').collect();
        root.add(&parts, content).ok_or_else(|| FatError::Name((*path).to_owned()))?;
    }
    let mut volume =
        Volume { bytes: vec![0; geometry.total()], fat: vec![0x0fff_ff00 | u32::from(MEDIA), END_OF_CHAIN], geometry };
    let need = root.clusters(&volume.geometry, true);
    if need > volume.geometry.clusters {
        return Err(FatError::Full { need, have: volume.geometry.clusters });
    }
    volume.folder(&root, None);
    volume.tables();
    volume.sectors(volume_id);
    Ok(volume.bytes)
}

struct Geometry {
    sector: usize,
    cluster: usize,
    sectors: usize,
    reserved: usize,
    fat_sectors: usize,
    clusters: usize,
}

impl Geometry {
    fn new(size_bytes: u64, sector_size: SectorSize) -> Result<Self, FatError> {
        let failed = FatError::Size(size_bytes);
        let (sector, cluster) = match sector_size {
            SectorSize::B512 => (512, CLUSTER_BYTES),
            SectorSize::B4096 => (4096, 4096),
        };
        let sectors = usize::try_from(size_bytes).ok().filter(|size| u32::try_from(size / sector).is_ok());
        let sectors = sectors.ok_or_else(|| failed.clone())? / sector;
        // As if the tables themselves needed no room: a little larger than needed, which is allowed.
        let fat_sectors = ((sectors * sector / cluster + 2) * 4).div_ceil(sector);
        // Clusters begin at multiples of 4 KiB, as disks like it.
        let align = 4096 / sector;
        let reserved = (RESERVED_SECTORS_MIN + 2 * fat_sectors).next_multiple_of(align) - 2 * fat_sectors;
        let data = sectors.checked_sub(reserved + 2 * fat_sectors).ok_or_else(|| failed.clone())?;
        let clusters = data * sector / cluster;
        if !(CLUSTERS_MIN..0x0fff_fff0).contains(&clusters) {
            return Err(failed);
        }
        Ok(Self { sector, cluster, sectors, reserved, fat_sectors, clusters })
    }

    const fn total(&self) -> usize {
        self.sectors * self.sector
    }

    /// Where a cluster begins, in bytes.
    const fn place(&self, cluster: usize) -> usize {
        (self.reserved + 2 * self.fat_sectors) * self.sector + (cluster - 2) * self.cluster
    }
}

#[derive(Default)]
struct Folder<'a> {
    entries: Vec<(String, Node<'a>)>,
}

enum Node<'a> {
    Folder(Folder<'a>),
    File(&'a [u8]),
}

impl<'a> Folder<'a> {
    fn add(&mut self, parts: &[&str], content: &'a [u8]) -> Option<()> {
        let (name, below) = parts.split_first()?;
        let forbidden = |character: char| character < ' ' || "\"*/:<>?\\|".contains(character);
        let plain = !name.is_empty()
            && !name.contains(forbidden)
            && !name.ends_with(['.', ' '])
            && name.encode_utf16().count() <= NAME_UNITS_MAX;
        let there = self.entries.iter_mut().find(|(there, _)| there.eq_ignore_ascii_case(name));
        match (there, below.is_empty()) {
            (Some((_, Node::Folder(folder))), false) => folder.add(below, content),
            (None, _) if plain => {
                let node = if below.is_empty() {
                    Node::File(content)
                } else {
                    let mut folder = Folder::default();
                    folder.add(below, content)?;
                    Node::Folder(folder)
                };
                self.entries.push(((*name).to_owned(), node));
                Some(())
            }
            _ => None,
        }
    }

    /// Clusters of this folder and all in it.
    fn clusters(&self, geometry: &Geometry, is_root: bool) -> usize {
        let below = self.entries.iter().map(|(_, node)| match node {
            Node::Folder(folder) => folder.clusters(geometry, false),
            Node::File(content) => content.len().div_ceil(geometry.cluster),
        });
        self.own_clusters(geometry, is_root) + below.sum::<usize>()
    }

    fn own_clusters(&self, geometry: &Geometry, is_root: bool) -> usize {
        // The root holds the label; any other folder itself and the one above. One empty entry ends each.
        let fixed = if is_root { 2 } else { 3 };
        let entries: usize =
            self.entries.iter().map(|(name, _)| 1 + name.encode_utf16().count().div_ceil(LONG_UNITS)).sum();
        ((fixed + entries) * ENTRY_BYTES).div_ceil(geometry.cluster)
    }
}

struct Volume {
    bytes: Vec<u8>,
    fat: Vec<u32>,
    geometry: Geometry,
}

impl Volume {
    /// Takes the next clusters as one chain; 0 for none, as an empty file has.
    fn take(&mut self, clusters: usize) -> usize {
        let first = self.fat.len();
        for number in (first + 1..).take(clusters.saturating_sub(1)) {
            self.fat.push(u32::try_from(number).unwrap_or(END_OF_CHAIN));
        }
        if clusters == 0 {
            return 0;
        }
        self.fat.push(END_OF_CHAIN);
        first
    }

    /// Writes a folder and all in it, and returns its first cluster.
    fn folder(&mut self, folder: &Folder<'_>, parent: Option<usize>) -> usize {
        let first = self.take(folder.own_clusters(&self.geometry, parent.is_none()));
        let mut table = Vec::new();
        if let Some(parent) = parent {
            // The root is written as cluster 0 here.
            let above = if parent == 2 { 0 } else { parent };
            table.extend(entry(*b".          ", FOLDER, first, 0));
            table.extend(entry(*b"..         ", FOLDER, above, 0));
        } else {
            table.extend(entry(*LABEL, VOLUME, 0, 0));
        }
        let mut taken = BTreeSet::new();
        for (name, node) in &folder.entries {
            let short = short_name(name, &mut taken);
            if *name != plain_text(short) {
                table.extend(long_entries(name, short));
            }
            table.extend(match node {
                Node::Folder(below) => entry(short, FOLDER, self.folder(below, Some(first)), 0),
                Node::File(content) => entry(short, ARCHIVE, self.file(content), content.len()),
            });
        }
        let place = self.geometry.place(first);
        self.bytes[place..place + table.len()].copy_from_slice(&table);
        first
    }

    fn file(&mut self, content: &[u8]) -> usize {
        let first = self.take(content.len().div_ceil(self.geometry.cluster));
        if first != 0 {
            let place = self.geometry.place(first);
            self.bytes[place..place + content.len()].copy_from_slice(content);
        }
        first
    }

    /// Both copies of the allocation table.
    fn tables(&mut self) {
        let table: Vec<u8> = self.fat.iter().flat_map(|next| next.to_le_bytes()).collect();
        for copy in 0..2 {
            let place = (self.geometry.reserved + copy * self.geometry.fat_sectors) * self.geometry.sector;
            self.bytes[place..place + table.len()].copy_from_slice(&table);
        }
    }

    /// Boot sector and information sector, and their copies.
    fn sectors(&mut self, volume_id: u32) {
        let geometry = &self.geometry;
        let mut boot = vec![0; 512];
        boot[..11].copy_from_slice(b"\xeb\x58\x90ADITFAT ");
        let mut put = |at: usize, bytes: usize, value: usize| {
            boot[at..at + bytes].copy_from_slice(&value.to_le_bytes()[..bytes]);
        };
        put(11, 2, geometry.sector);
        put(13, 1, geometry.cluster / geometry.sector);
        put(14, 2, geometry.reserved);
        put(16, 1, 2);
        put(21, 1, usize::from(MEDIA));
        put(24, 2, 32);
        put(26, 2, 64);
        put(32, 4, geometry.sectors);
        put(36, 4, geometry.fat_sectors);
        put(44, 4, 2);
        put(48, 2, INFO_SECTOR);
        put(50, 2, COPY_SECTOR);
        put(64, 1, 0x80);
        put(66, 1, 0x29);
        put(510, 2, 0xaa55);
        boot[67..71].copy_from_slice(&volume_id.to_le_bytes());
        boot[71..82].copy_from_slice(LABEL);
        boot[82..90].copy_from_slice(b"FAT32   ");
        // Jump to itself: nobody starts this as a boot sector.
        boot[90..92].copy_from_slice(b"\xeb\xfe");
        let mut info = vec![0; 512];
        info[..4].copy_from_slice(b"RRaA");
        info[484..488].copy_from_slice(b"rrAa");
        let free = (geometry.clusters + 2).saturating_sub(self.fat.len());
        for (at, value) in [(488, free), (492, self.fat.len())] {
            info[at..at + 4].copy_from_slice(&value.to_le_bytes()[..4]);
        }
        info[510..].copy_from_slice(&[0x55, 0xaa]);
        let sector = geometry.sector;
        for first in [0, COPY_SECTOR] {
            self.bytes[first * sector..][..512].copy_from_slice(&boot);
            self.bytes[(first + INFO_SECTOR) * sector..][..512].copy_from_slice(&info);
        }
    }
}

fn entry(name: [u8; 11], attributes: u8, cluster: usize, size: usize) -> [u8; ENTRY_BYTES] {
    let mut entry = [0; ENTRY_BYTES];
    let cluster = cluster.to_le_bytes();
    entry[..11].copy_from_slice(&name);
    entry[11] = attributes;
    for at in [16, 18, 24] {
        entry[at..at + 2].copy_from_slice(&DATE.to_le_bytes());
    }
    entry[20..22].copy_from_slice(&cluster[2..4]);
    entry[26..28].copy_from_slice(&cluster[..2]);
    entry[28..].copy_from_slice(&size.to_le_bytes()[..4]);
    entry
}

/// The entries in front of a short one that hold the long name, last part first.
fn long_entries(name: &str, short: [u8; 11]) -> Vec<u8> {
    let check = short.iter().fold(0_u8, |sum, byte| sum.rotate_right(1).wrapping_add(*byte));
    let units: Vec<u16> = name.encode_utf16().collect();
    let count = units.len().div_ceil(LONG_UNITS);
    let mut entries = Vec::new();
    for (number, part) in (1_u8..).zip(units.chunks(LONG_UNITS)).collect::<Vec<_>>().into_iter().rev() {
        let mut entry = [0; ENTRY_BYTES];
        let last = if usize::from(number) == count { 0x40 } else { 0 };
        (entry[0], entry[11], entry[13]) = (number | last, LONG, check);
        // A zero ends the name if there is room; the rest is filled with ones.
        let padded = part.iter().copied().chain([0]).chain(std::iter::repeat(0xffff));
        for (place, unit) in LONG_PLACES.into_iter().zip(padded) {
            entry[place..place + 2].copy_from_slice(&unit.to_le_bytes());
        }
        entries.extend(entry);
    }
    entries
}

/// A name of eight and three characters that no other file of the folder has.
fn short_name(name: &str, taken: &mut BTreeSet<[u8; 11]>) -> [u8; 11] {
    let (stem, extension) = name.rsplit_once('.').unwrap_or((name, ""));
    let clean = |text: &str| -> Vec<u8> {
        let kept = text.chars().filter(|character| !matches!(character, '.' | ' '));
        let allowed = |character: char| character.is_ascii_alphanumeric() || "$%'-_@~`!(){}^#&".contains(character);
        kept.map(|character| if allowed(character) { character.to_ascii_uppercase() as u8 } else { b'_' }).collect()
    };
    let (stem, extension) = (clean(stem), clean(extension));
    let place = |stem: &[u8], tail: &[u8]| {
        let mut short = [b' '; 11];
        let kept = stem.len().min(8 - tail.len());
        short[..kept].copy_from_slice(&stem[..kept]);
        short[kept..kept + tail.len()].copy_from_slice(tail);
        let kept = extension.len().min(3);
        short[8..8 + kept].copy_from_slice(&extension[..kept]);
        short
    };
    let whole = place(&stem, b"");
    let fits = plain_text(whole).eq_ignore_ascii_case(name);
    let numbered = (1..).map(|number| place(&stem, format!("~{number}").as_bytes()));
    let mut candidates = fits.then_some(whole).into_iter().chain(numbered);
    candidates.find(|short| taken.insert(*short)).unwrap_or(whole)
}

/// What a short name reads as: `BOOTX64.EFI`.
fn plain_text(short: [u8; 11]) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
    let (stem, extension) = (text(&short[..8]), text(&short[8..]));
    if extension.is_empty() { stem } else { format!("{stem}.{extension}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::esp::Esp;
    use crate::table::ESP_4K_BYTES;
    use adit_slots::layout::ESP_BYTES;
    use std::io::Cursor;

    const SLOT: &str = "EFI/Linux/adit_001.002.003.efi";

    fn files() -> Vec<(&'static str, Vec<u8>)> {
        vec![
            ("EFI/BOOT/BOOTX64.EFI", vec![1; 100_000]),
            ("loader/loader.conf", b"timeout 0\n".to_vec()),
            (SLOT, (0..3_000_000_u32).flat_map(u32::to_le_bytes).collect()),
            ("adit.toml", Vec::new()),
        ]
    }

    fn of(size: u64, sector_size: SectorSize, files: &[(&str, Vec<u8>)]) -> Result<Vec<u8>, FatError> {
        let files: Vec<(&str, &[u8])> = files.iter().map(|(path, bytes)| (*path, bytes.as_slice())).collect();
        make(size, sector_size, 0xad17_0001, &files)
    }

    /// The reader is a library that knows nothing of this writer.
    #[test]
    fn another_program_reads_the_files_back() {
        for (size, sector_size) in [(ESP_BYTES, SectorSize::B512), (ESP_4K_BYTES, SectorSize::B4096)] {
            let mut many = files();
            let names: Vec<String> = (0..200).map(|number| format!("many/a long name, number {number}.text")).collect();
            many.extend(names.iter().map(|name| (name.as_str(), name.as_bytes().to_vec())));
            let mut bytes = of(size, sector_size, &many).unwrap();
            assert!(bytes == of(size, sector_size, &many).unwrap(), "the same files give the same bytes");
            let esp = Esp::open(Cursor::new(&mut bytes)).unwrap();
            let mut list = esp.list().unwrap();
            list.sort();
            let mut expected: Vec<_> =
                many.iter().map(|(path, bytes)| ((*path).to_owned(), bytes.len() as u64)).collect();
            expected.sort();
            assert_eq!(list, expected);
            assert!(many.iter().all(|(path, content)| esp.read(path).unwrap() == *content));
        }
    }

    /// A running box renames a slot by changing this one sector.
    #[test]
    fn the_entries_of_a_slot_lie_in_one_sector() {
        let bytes = of(ESP_BYTES, SectorSize::B512, &files()).unwrap();
        let short =
            bytes.chunks(ENTRY_BYTES).position(|entry| entry.starts_with(b"ADIT_0~1EFI")).unwrap() * ENTRY_BYTES;
        let sector = &bytes[short / 512 * 512..][..512];
        // Behind `.` and `..`: two entries for the long name, the second part first, and the short one.
        assert_eq!((&sector[..2], &sector[32..35]), (&b". "[..], &b".. "[..]));
        assert_eq!((sector[64 + 11], sector[96 + 11], short % 512), (LONG, LONG, 128));
        assert_eq!((sector[64], sector[96]), (0x42, 0x01));
    }

    #[test]
    fn sizes_have_limits() {
        let size = |bytes, sector_size| of(bytes, sector_size, &files()).err();
        assert_eq!(size(64 << 20, SectorSize::B512), Some(FatError::Size(64 << 20)));
        assert_eq!(size(ESP_BYTES, SectorSize::B4096), Some(FatError::Size(ESP_BYTES)));
        assert_eq!(size(0, SectorSize::B512), Some(FatError::Size(0)));
        let full = of(ESP_BYTES, SectorSize::B512, &[("x", vec![1; 192 << 20])]);
        assert!(matches!(full, Err(FatError::Full { need: 196_609, .. })), "{full:?}");
    }

    #[test]
    fn names_that_fat_cannot_hold_are_refused() {
        let long = "x".repeat(NAME_UNITS_MAX + 1);
        for path in ["", "/x", "a//b", "a:b", "a.", "x/", "a/../b", long.as_str()] {
            assert_eq!(of(ESP_BYTES, SectorSize::B512, &[(path, vec![])]), Err(FatError::Name(path.to_owned())));
        }
        let twice = [("EFI/x", vec![]), ("efi/X", vec![])];
        assert_eq!(of(ESP_BYTES, SectorSize::B512, &twice), Err(FatError::Name("efi/X".to_owned())));
        assert!(of(ESP_BYTES, SectorSize::B512, &[(&long[1..], vec![])]).is_ok());
    }

    #[test]
    fn short_names_are_their_own() {
        let mut taken = BTreeSet::new();
        let mut short = |name| plain_text(short_name(name, &mut taken));
        assert_eq!(short("BOOTX64.EFI"), "BOOTX64.EFI");
        assert_eq!(short("loader.conf"), "LOADER~1.CON");
        assert_eq!(short("loader.config"), "LOADER~2.CON");
        assert_eq!(short("Linux"), "LINUX");
        assert_eq!(short("linux."), "LINUX~1");
    }
}
