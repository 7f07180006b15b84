// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The machine's disks as the kernel tells them, and their partitions as the GPT on them says.

use adit_slots::layout::STATE_TYPE;
use anyhow::{Context as _, Result, ensure};
use gpt::disk::LogicalBlockSize;
use gpt::partition::Partition as Entry;
use gpt::{GptConfig, GptDisk};
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// What the kernel makes of memory, files and arrays; none is a disk that a person can hold.
const NO_DISKS: [&str; 8] = ["loop", "ram", "zram", "dm-", "md", "sr", "fd", "nbd"];
/// What is written over at each end of a disk that becomes blank, bytes.
const MARKS_BYTES: usize = 1 << 20;
/// How long a node may take to appear after the kernel was told to read partitions.
const NODE_WAIT: Duration = Duration::from_secs(5);

/// One disk.
#[derive(Clone, Debug)]
pub(crate) struct Disk {
    /// The kernel's name, such as `sda`.
    pub(crate) node: String,
    /// Its serial number; empty when it has none.
    pub(crate) serial: String,
    /// Its maker's name for the model.
    pub(crate) model: String,
    /// Its size.
    pub(crate) bytes: u64,
    /// Bytes of a logical sector.
    pub(crate) sector_bytes: u64,
    /// What its table of partitions holds; nothing without one.
    pub(crate) partitions: Vec<Partition>,
}

/// One partition.
#[derive(Clone, Debug)]
pub(crate) struct Partition {
    /// Its type, as text in capitals.
    pub(crate) kind: String,
    /// Its own GUID, as text in small letters.
    pub(crate) uuid: String,
    /// Its size.
    pub(crate) bytes: u64,
    /// Its node.
    pub(crate) path: PathBuf,
}

impl Partition {
    /// What lies in it, in words.
    fn content(&self) -> String {
        if self.kind == STATE_TYPE { "the box's record of its versions".to_owned() } else { content(&self.path) }
    }
}

impl Disk {
    /// Its node.
    pub(crate) fn path(&self) -> PathBuf {
        Path::new("/dev").join(&self.node)
    }

    /// The first partition of a type.
    pub(crate) fn partition(&self, kind: &str) -> Option<&Partition> {
        self.partitions.iter().find(|partition| partition.kind == kind)
    }

    /// A name for people: model and serial number.
    pub(crate) fn title(&self) -> String {
        match (self.model.as_str(), self.serial.as_str()) {
            ("", "") => self.node.clone(),
            (model, "") => format!("{model} ({})", self.node),
            ("", serial) => serial.to_owned(),
            (model, serial) => format!("{model} {serial}"),
        }
    }

    fn read(node: &str) -> Option<Self> {
        let folder = Path::new("/sys/block").join(node);
        let bytes = number(&folder.join("size"))?.checked_mul(512).filter(|bytes| *bytes > 0)?;
        let sector_bytes = number(&folder.join("queue/logical_block_size")).unwrap_or(512);
        let mut disk = Self {
            node: node.to_owned(),
            serial: serial(&folder),
            model: first_text(&folder, &["device/model"]),
            bytes,
            sector_bytes,
            partitions: Vec::new(),
        };
        disk.partitions = disk.read_partitions().unwrap_or_default();
        Some(disk)
    }

    fn read_partitions(&self) -> Result<Vec<Partition>> {
        let table = table(File::open(self.path())?, self.sector_bytes, false)?;
        Ok(table
            .partitions()
            .iter()
            .filter(|(_, entry)| entry.is_used())
            .map(|(number, entry)| Partition {
                kind: entry.part_type_guid.guid.to_string().to_uppercase(),
                uuid: entry.part_guid.to_string(),
                bytes: entry.last_lba.saturating_sub(entry.first_lba).saturating_add(1) * self.sector_bytes,
                path: self.partition_path(*number),
            })
            .collect())
    }

    /// `sda1`, but `nvme0n1p1`.
    fn partition_path(&self, number: u32) -> PathBuf {
        let between = if self.node.ends_with(|last: char| last.is_ascii_digit()) { "p" } else { "" };
        Path::new("/dev").join(format!("{}{between}{number}", self.node))
    }

    /// Lets the last partition end where the disk ends, with the second table behind it. Answers whether anything changed.
    pub(crate) fn grow_last(&self) -> Result<bool> {
        let grown = self.grow_table()?;
        if grown {
            self.tell_kernel()?;
        }
        Ok(grown)
    }

    fn grow_table(&self) -> Result<bool> {
        let file = OpenOptions::new().read(true).write(true).open(self.path())?;
        let mut table = table(Ends::of(file, self.bytes)?, self.sector_bytes, true)?;
        let mut entries = table.partitions().clone();
        let end = self.last_usable();
        let moved = table.primary_header().is_ok_and(|header| header.backup_lba != self.bytes / self.sector_bytes - 1);
        let damaged = table.primary_header().is_err() || table.backup_header().is_err();
        let last = entries.values_mut().filter(|entry| entry.is_used()).max_by_key(|entry| entry.first_lba);
        let last = last.context("the table of partitions is empty")?;
        if !(moved || damaged || last.last_lba < end) {
            return Ok(false);
        }
        last.last_lba = last.last_lba.max(end);
        table.update_partitions(entries)?;
        table.write()?.apply(self.sector_bytes)?;
        Ok(true)
    }

    /// The last sector that a partition may have: whole MiB, before the second table of 33 sectors at 512 bytes, 5 at 4,096.
    fn last_usable(&self) -> u64 {
        let sectors = self.bytes / self.sector_bytes;
        let table = 1 + (128_u64 * 128).div_ceil(self.sector_bytes);
        let align = (1 << 20) / self.sector_bytes;
        (sectors.saturating_sub(table) / align * align).saturating_sub(1)
    }

    /// What one partition over the whole disk would hold, bytes.
    pub(crate) fn partition_room(&self) -> u64 {
        (self.last_usable() + 1).saturating_mul(self.sector_bytes).saturating_sub(1 << 20)
    }

    /// Makes a table with one partition over the whole disk; whatever was there is gone. Answers the partition's node.
    pub(crate) fn partition_whole(&self, name: &str, kind: &'static str) -> Result<PathBuf> {
        self.blank()?;
        let mut file = OpenOptions::new().read(true).write(true).open(self.path())?;
        let sectors = u32::try_from(self.bytes / self.sector_bytes - 1).unwrap_or(u32::MAX);
        gpt::mbr::ProtectiveMBR::with_lb_size(sectors).overwrite_lba0(&mut file)?;
        let config = GptConfig::new().writable(true).logical_block_size(sector_size(self.sector_bytes)?);
        let mut table = config.create_from_device(file, None)?;
        let first_lba = (1 << 20) / self.sector_bytes;
        let guid = kind.parse().context("a partition type is no GUID")?;
        let entry = Entry {
            part_type_guid: gpt::partition_types::Type { guid, os: gpt::partition_types::OperatingSystem::None },
            part_guid: random_uuid()?.parse().context("the kernel's random UUID is none")?,
            first_lba,
            last_lba: self.last_usable(),
            flags: 0,
            name: name.to_owned(),
        };
        table.update_partitions(BTreeMap::from([(1, entry)]))?;
        table.write()?.sync_all()?;
        self.tell_kernel()?;
        let path = self.partition_path(1);
        wait_for(&path)?;
        // An old file system can lie exactly where the partition begins.
        let mut partition = OpenOptions::new().write(true).open(&path)?;
        partition.write_all(&vec![0; MARKS_BYTES])?;
        partition.sync_all()?;
        Ok(path)
    }

    /// Lets nothing be found again that lay here: tables and superblocks are at both ends.
    pub(crate) fn blank(&self) -> Result<()> {
        let blank = vec![0; MARKS_BYTES];
        let mut file = OpenOptions::new().read(true).write(true).open(self.path())?;
        file.write_all(&blank)?;
        file.seek(SeekFrom::Start(self.bytes.saturating_sub(blank.len() as u64)))?;
        file.write_all(&blank)?;
        file.sync_all()?;
        // Partitions that are gone have no nodes either; nothing of them is in use.
        Ok(adit_sys::read_partitions_again(&file)?)
    }

    fn tell_kernel(&self) -> Result<()> {
        let file = File::open(self.path())?;
        adit_sys::read_partitions_again(&file)
            .with_context(|| format!("read the partitions of {} again", self.node))?;
        let disk = Self::read(&self.node).context("the disk is gone")?;
        disk.partitions.iter().try_for_each(|partition| wait_for(&partition.path))
    }

    /// What lies on the disk, in words: nothing, a table of partitions, or the mark of a file system.
    pub(crate) fn holds(&self) -> Result<String> {
        if !self.partitions.is_empty() {
            let names: Vec<String> = self.partitions.iter().map(Partition::content).collect();
            return Ok(format!("{} partitions: {}", self.partitions.len(), names.join(", ")));
        }
        let mut file = File::open(self.path())?;
        let words = content_of(&mut file, self.bytes)?;
        Ok(if words.is_empty() && !is_blank(&mut file, self.bytes)? { "unknown data".to_owned() } else { words })
    }
}

/// A table of partitions in a file or on an overlay.
fn table<D: gpt::DiskDevice>(device: D, sector_bytes: u64, writable: bool) -> Result<GptDisk<D>> {
    let config = GptConfig::new().writable(writable).logical_block_size(sector_size(sector_bytes)?);
    Ok(config.change_partition_count(true).open_from_device(device)?)
}

fn sector_size(bytes: u64) -> Result<LogicalBlockSize> {
    match bytes {
        512 => Ok(LogicalBlockSize::Lb512),
        4_096 => Ok(LogicalBlockSize::Lb4096),
        other => anyhow::bail!("a disk has sectors of {other} bytes"),
    }
}

/// All disks, by node.
pub(crate) fn disks() -> Vec<Disk> {
    let Ok(entries) = fs::read_dir("/sys/block") else { return Vec::new() };
    let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let mut disks: Vec<Disk> = names
        .filter(|name| !NO_DISKS.iter().any(|kind| name.starts_with(kind)))
        .filter_map(|name| Disk::read(&name))
        .collect();
    disks.sort_by(|one, other| one.node.cmp(&other.node));
    disks
}

fn serial(folder: &Path) -> String {
    let plain = first_text(folder, &["device/serial", "serial", "device/wwid"]);
    // A page of vital product data: four bytes of head, then the number.
    let page = || fs::read(folder.join("device/vpd_pg80")).ok();
    let paged = || page().and_then(|page| Some(String::from_utf8_lossy(page.get(4..)?).trim().to_owned()));
    let is_plain =
        fs::exists(folder.join("device/serial")).unwrap_or(false) || fs::exists(folder.join("serial")).unwrap_or(false);
    let told = if is_plain { plain } else { paged().filter(|serial| !serial.is_empty()).unwrap_or(plain) };
    if told.is_empty() { usb_serial(folder) } else { told }
}

/// The serial number of the USB device that a disk is: sticks and bridges have none of a disk's own.
fn usb_serial(folder: &Path) -> String {
    let Ok(device) = fs::canonicalize(folder.join("device")) else { return String::new() };
    let usb = device.ancestors().find(|folder| folder.join("idVendor").exists());
    usb.map(|folder| first_text(folder, &["serial"])).unwrap_or_default()
}

fn first_text(folder: &Path, files: &[&str]) -> String {
    let read = |file: &&str| fs::read_to_string(folder.join(file)).ok();
    let mut found = files.iter().filter_map(read).map(|text| text.trim().to_owned());
    found.find(|text| !text.is_empty()).unwrap_or_default()
}

pub(crate) fn number(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

pub(crate) fn random_uuid() -> Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/uuid")?.trim().to_owned())
}

fn wait_for(path: &Path) -> Result<()> {
    let until = Instant::now() + NODE_WAIT;
    while !path.exists() {
        anyhow::ensure!(Instant::now() < until, "{} does not appear", path.display());
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// What lies in a partition, in words.
pub(crate) fn content(path: &Path) -> String {
    let read = || {
        let mut file = File::open(path)?;
        let bytes = file.seek(SeekFrom::End(0))?;
        content_of(&mut file, bytes)
    };
    match read() {
        Ok(words) if words.is_empty() => "blank".to_owned(),
        Ok(words) => words,
        Err(error) => format!("not readable ({error:#})"),
    }
}

/// Known marks: where they lie, what they are, what they mean. Sources: the kernel's headers of each.
const MARKS: [(u64, &[u8], &str); 11] = [
    (0x438, b"\x53\xef", "ext4"),
    (0x10040, b"_BHRfS_M", "btrfs"),
    (0, b"XFSB", "XFS"),
    (0, b"LUKS\xba\xbe", "LUKS"),
    (0x1000, b"\xfc\x4e\x2b\xa9", "md member"),
    (0x218, b"LVM2 001", "LVM"),
    (3, b"NTFS    ", "NTFS"),
    (0x52, b"FAT32", "FAT32"),
    (0x36, b"FAT1", "FAT"),
    (0x20008, b"\x0c\xb1\xba\x00\x00\x00\x00\x00", "ZFS"),
    (0x1fe, b"\x55\xaa", "a boot sector"),
];
/// How much of the beginning decides whether something is there at all.
const LOOKED_AT_BYTES: usize = 256 << 10;

/// Places of a disk that are looked at before it counts as blank, and how much is read at each.
const SAMPLES: u64 = 128;
const SAMPLE_BYTES: usize = 16 << 10;

fn content_of(file: &mut (impl Read + Seek), bytes: u64) -> Result<String> {
    let mut head = vec![0; LOOKED_AT_BYTES.min(usize::try_from(bytes).unwrap_or(usize::MAX))];
    file.seek(SeekFrom::Start(0))?;
    file.read_exact(&mut head)?;
    let marked = |(at, mark, _): &&(u64, &[u8], &str)| {
        let at = usize::try_from(*at).unwrap_or(usize::MAX);
        head.get(at..).is_some_and(|rest| rest.starts_with(mark))
    };
    if let Some((_, _, name)) = MARKS.iter().find(marked) {
        let label = if *name == "ext4" { text_at(&head, 0x478, 16) } else { String::new() };
        return Ok(if label.is_empty() { (*name).to_owned() } else { format!("{name} \"{label}\"") });
    }
    Ok(if head.iter().all(|byte| *byte == 0) { String::new() } else { "unknown data".to_owned() })
}

/// Whether samples from all over a disk hold nothing: its beginning alone may have been wiped, or never been used.
fn is_blank(file: &mut (impl Read + Seek), bytes: u64) -> Result<bool> {
    let mut sample = vec![0; SAMPLE_BYTES];
    let last = bytes.saturating_sub(SAMPLE_BYTES as u64);
    for number in 0..=SAMPLES {
        file.seek(SeekFrom::Start(last / SAMPLES * number))?;
        file.read_exact(&mut sample)?;
        if sample.iter().any(|byte| *byte != 0) {
            return Ok(false);
        }
    }
    // A table of partitions keeps a copy of itself at the very end.
    file.seek(SeekFrom::Start(last))?;
    file.read_exact(&mut sample)?;
    Ok(sample.iter().all(|byte| *byte == 0))
}

fn text_at(bytes: &[u8], at: usize, length: usize) -> String {
    let field = bytes.get(at..at + length).unwrap_or_default();
    let text = field.split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(text).into_owned()
}

/// Both ends of a disk in memory: what tables of partitions are made of. What is written stays there until it is known in
/// which order it must reach the disk.
#[derive(Debug)]
struct Ends {
    file: File,
    at: u64,
    bytes: u64,
    head: Vec<u8>,
    tail: Vec<u8>,
}

/// Room for a table at each end, bytes: 34 sectors of 512 bytes, or 6 of 4,096, and some.
const END_BYTES: usize = 64 << 10;

impl Ends {
    fn of(mut file: File, bytes: u64) -> Result<Self> {
        ensure!(bytes >= 4 * END_BYTES as u64, "a disk of {bytes} bytes has no room for a table");
        let mut ends = [vec![0; END_BYTES], vec![0; END_BYTES]];
        for (from, end) in [0, bytes - END_BYTES as u64].into_iter().zip(&mut ends) {
            file.seek(SeekFrom::Start(from))?;
            file.read_exact(end)?;
        }
        let [head, tail] = ends;
        Ok(Self { file, at: 0, bytes, head, tail })
    }

    /// Writes both ends, each step on stable storage before the next: the second table, then the entries of the first, then
    /// its header. A cut leaves one of the two whole.
    fn apply(mut self, sector_bytes: u64) -> Result<()> {
        let entries = usize::try_from(2 * sector_bytes)?;
        let steps = [
            (self.bytes - END_BYTES as u64, &self.tail[..]),
            (2 * sector_bytes, &self.head[entries..]),
            (0, &self.head[..entries]),
        ];
        for (at, bytes) in steps {
            self.file.seek(SeekFrom::Start(at))?;
            self.file.write_all(bytes)?;
            self.file.sync_data()?;
        }
        Ok(())
    }

    /// The part of one of the ends that lies where the device stands.
    fn here(&mut self) -> Option<&mut [u8]> {
        let from_tail = self.at.checked_sub(self.bytes - END_BYTES as u64);
        match from_tail {
            Some(at) => self.tail.get_mut(usize::try_from(at).ok()?..),
            None => self.head.get_mut(usize::try_from(self.at).ok()?..),
        }
    }
}

impl Read for Ends {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let at = self.at;
        let read = match self.here() {
            Some(here) => {
                let length = here.len().min(buffer.len());
                buffer[..length].copy_from_slice(&here[..length]);
                length
            }
            None => {
                self.file.seek(SeekFrom::Start(at))?;
                self.file.read(buffer)?
            }
        };
        self.at += read as u64;
        Ok(read)
    }
}

impl Write for Ends {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let here = self.here().ok_or_else(|| io::Error::other("a table of partitions lies at the ends of a disk"))?;
        let length = here.len().min(bytes.len());
        here[..length].copy_from_slice(&bytes[..length]);
        self.at += length as u64;
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for Ends {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.bytes.checked_add_signed(by),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        self.at = at.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use adit_slots::layout::{DATA_TYPE, ESP_TYPE};

    /// A file as a disk: two partitions, the last one small.
    fn disk(bytes: u64, sector_bytes: u64) -> (tempfile::NamedTempFile, Disk) {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(bytes).unwrap();
        let mut device = OpenOptions::new().read(true).write(true).open(file.path()).unwrap();
        let sectors = u32::try_from(bytes / sector_bytes - 1).unwrap();
        gpt::mbr::ProtectiveMBR::with_lb_size(sectors).overwrite_lba0(&mut device).unwrap();
        let size = sector_size(sector_bytes).unwrap();
        let config = GptConfig::new().writable(true).logical_block_size(size);
        let mut table = config.create_from_device(device, None).unwrap();
        let mib = (1 << 20) / sector_bytes;
        let entry = |kind: &str, first_lba| Entry {
            part_type_guid: gpt::partition_types::Type {
                guid: kind.parse().unwrap(),
                os: gpt::partition_types::OperatingSystem::None,
            },
            part_guid: random_uuid().unwrap().parse().unwrap(),
            first_lba,
            last_lba: first_lba + mib - 1,
            flags: 0,
            name: String::new(),
        };
        let entries = BTreeMap::from([(1, entry(ESP_TYPE, mib)), (2, entry(DATA_TYPE, 2 * mib))]);
        table.update_partitions(entries).unwrap();
        table.write().unwrap();
        let disk = Disk {
            node: file.path().to_str().unwrap().to_owned(),
            serial: String::new(),
            model: String::new(),
            bytes,
            sector_bytes,
            partitions: Vec::new(),
        };
        (file, disk)
    }

    fn last_lba(disk: &Disk) -> u64 {
        let table = table(File::open(disk.path()).unwrap(), disk.sector_bytes, false).unwrap();
        assert!(table.primary_header().is_ok() && table.backup_header().is_ok());
        assert_eq!(table.partitions().len(), 2);
        table.partitions()[&2].last_lba
    }

    #[test]
    fn a_stick_is_known_by_its_usb_number() {
        let root = tempfile::tempdir().unwrap();
        let stick = root.path().join("usb1/1-2");
        let device = stick.join("1-2:1.0/host0/0:0:0:0");
        let folder = root.path().join("block/sda");
        fs::create_dir_all(&device).unwrap();
        fs::create_dir_all(&folder).unwrap();
        std::os::unix::fs::symlink(&device, folder.join("device")).unwrap();
        assert_eq!(serial(&folder), "");
        fs::write(stick.join("idVendor"), "46f4\n").unwrap();
        fs::write(stick.join("serial"), "1-0000 5\n").unwrap();
        assert_eq!(serial(&folder), "1-0000 5");
        fs::write(device.join("vpd_pg80"), b"\0\x80\0\x04disk").unwrap();
        assert_eq!(serial(&folder), "disk");
    }

    #[test]
    fn the_last_partition_fills_a_disk_that_has_grown() {
        for sector_bytes in [512, 4_096] {
            let (file, mut disk) = disk(8 << 20, sector_bytes);
            assert!(disk.grow_table().unwrap());
            assert_eq!((last_lba(&disk) + 1) * sector_bytes, 7 << 20);
            assert!(!disk.grow_table().unwrap(), "there is nothing to do any more");
            file.as_file().set_len(64 << 20).unwrap();
            disk.bytes = 64 << 20;
            assert!(disk.grow_table().unwrap());
            assert_eq!((last_lba(&disk) + 1) * sector_bytes, 63 << 20);
        }
    }

    #[test]
    fn a_damaged_first_table_is_made_again_from_the_second() {
        let (file, disk) = disk(8 << 20, 512);
        std::os::unix::fs::FileExt::write_all_at(file.as_file(), &[0xff; 64], 512).unwrap();
        assert!(disk.grow_table().unwrap());
        assert_eq!((last_lba(&disk) + 1) * 512, 7 << 20);
    }

    #[test]
    fn marks_of_file_systems_are_known() {
        let mut bytes = vec![0; 1 << 20];
        assert_eq!(content_of(&mut io::Cursor::new(&bytes), 1 << 20).unwrap(), "");
        bytes[0x438..0x43a].copy_from_slice(b"\x53\xef");
        bytes[0x478..0x47d].copy_from_slice(b"photo");
        assert_eq!(content_of(&mut io::Cursor::new(&bytes), 1 << 20).unwrap(), "ext4 \"photo\"");
        bytes[0x438] = 0;
        assert_eq!(content_of(&mut io::Cursor::new(&bytes), 1 << 20).unwrap(), "unknown data");
    }

    #[test]
    fn a_disk_whose_beginning_was_wiped_is_not_blank() {
        let size = 64_usize << 20;
        let is = |bytes: &Vec<u8>| is_blank(&mut io::Cursor::new(bytes), size as u64).unwrap();
        let mut bytes = vec![0; size];
        assert!(is(&bytes));
        bytes[size - 512] = 1;
        assert!(!is(&bytes), "the second table of partitions");
        bytes[size - 512] = 0;
        bytes[30 << 20..32 << 20].fill(0xe5);
        assert!(!is(&bytes), "files in the middle");
    }
}
