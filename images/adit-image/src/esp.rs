// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The EFI system partition of an image or a disk, opened through a window onto it: what is on it, and how a file gets
//! there. Never mounts anything. A running box changes its ESP by other means, which survive a power cut; these do not.

use fatfs::{Date, DateTime, FileSystem, FsOptions, Time, TimeProvider};
use std::io::{self, Read, Seek, SeekFrom, Write};

/// The largest file that is read from an ESP, in bytes.
pub const FILE_BYTES_MAX: u64 = 256 << 20;
/// The most files and folders that are listed.
pub const ENTRIES_MAX: usize = 4096;

/// Why an ESP could not be made, read or changed.
#[derive(Debug, thiserror::Error)]
pub enum EspError {
    /// The file system as a whole.
    #[error("use the FAT file system of the ESP")]
    Volume(#[source] io::Error),
    /// A boot sector that is not one of FAT32, or does not fit the partition.
    #[error("partition holds no FAT32 file system that fits it")]
    Geometry,
    /// One file in it.
    #[error("{what} {path} on the ESP")]
    File {
        /// What was being done.
        what: &'static str,
        /// The file.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file above [`FILE_BYTES_MAX`].
    #[error("file {0} on the ESP has more than {FILE_BYTES_MAX} bytes")]
    TooLarge(String),
    /// More entries than [`ENTRIES_MAX`].
    #[error("the ESP holds more than {ENTRIES_MAX} files")]
    TooMany,
}

/// An open file system.
pub struct Esp<D: Read + Write + Seek>(FileSystem<D>);

impl<D: Read + Write + Seek> Esp<D> {
    /// Opens a file system that begins where the stream does.
    pub fn open(mut device: D) -> Result<Self, EspError> {
        let mut boot = [0; 512];
        let size = device.seek(SeekFrom::End(0)).and_then(|size| {
            device.seek(SeekFrom::Start(0))?;
            device.read_exact(&mut boot)?;
            device.seek(SeekFrom::Start(0)).map(|_| size)
        });
        if !plausible(&boot, size.map_err(EspError::Volume)?) {
            return Err(EspError::Geometry);
        }
        FileSystem::new(device, FsOptions::new().time_provider(&EPOCH)).map(Self).map_err(EspError::Volume)
    }

    /// Paths of all files with their sizes in bytes, in the order of their directory entries.
    pub fn list(&self) -> Result<Vec<(String, u64)>, EspError> {
        let mut files = Vec::new();
        let mut seen = 0_usize;
        let mut waiting = vec![(String::new(), self.0.root_dir())];
        while let Some((parent, folder)) = waiting.pop() {
            let mut below = Vec::new();
            for entry in folder.iter() {
                let entry = entry.map_err(|source| file("list", &parent, source))?;
                let name = entry.file_name();
                if name == "." || name == ".." {
                    continue;
                }
                seen += 1;
                // A damaged file system may hold a folder within itself.
                if seen > ENTRIES_MAX {
                    return Err(EspError::TooMany);
                }
                let path = if parent.is_empty() { name } else { format!("{parent}/{name}") };
                if entry.is_dir() {
                    below.push((path, entry.to_dir()));
                } else {
                    files.push((path, entry.len()));
                }
            }
            waiting.extend(below.into_iter().rev());
        }
        Ok(files)
    }

    /// The content of a file.
    pub fn read(&self, path: &str) -> Result<Vec<u8>, EspError> {
        let mut open = self.0.root_dir().open_file(path).map_err(|source| file("open", path, source))?;
        let mut bytes = Vec::new();
        let read = (&mut open).take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes);
        read.map_err(|source| file("read", path, source))?;
        if bytes.len() as u64 > FILE_BYTES_MAX { Err(EspError::TooLarge(path.to_owned())) } else { Ok(bytes) }
    }

    /// Writes a file, replacing one of that name, into a folder that is there. What could not be written whole is removed.
    pub fn write(&mut self, path: &str, content: &[u8]) -> Result<(), EspError> {
        let root = self.0.root_dir();
        let mut open = root.create_file(path).map_err(|source| file("write", path, source))?;
        let written = open.truncate().and_then(|()| open.write_all(content)).and_then(|()| open.flush());
        drop(open);
        written.map_err(|source| {
            // Why it could not be written says more than why it could not be removed.
            drop(root.remove(path));
            file("write", path, source)
        })
    }

    /// Writes out what is pending and marks the file system as clean.
    pub fn close(self) -> Result<(), EspError> {
        self.0.unmount().map_err(EspError::Volume)
    }
}

impl<D: Read + Write + Seek> std::fmt::Debug for Esp<D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Esp({:08x})", self.0.volume_id())
    }
}

/// Whether a boot sector describes a FAT32 file system within so many bytes: the library computes with what it reads there.
fn plausible(boot: &[u8; 512], size: u64) -> bool {
    let number =
        |at: usize, width: usize| boot[at..at + width].iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
    let (sector, cluster, reserved, fats) = (number(11, 2), number(13, 1), number(14, 2), number(16, 1));
    let (sectors_16, fat_16, sectors, fat) = (number(19, 2), number(22, 2), number(32, 4), number(36, 4));
    let in_front = reserved + fats * fat;
    boot[510..] == [0x55, 0xaa]
        && [512, 4096].contains(&sector)
        && cluster.is_power_of_two()
        && reserved >= 2
        && (1..=2).contains(&fats)
        && (sectors_16, fat_16) == (0, 0)
        && fat > 0
        && in_front < sectors
        && (sectors - in_front) / cluster + 2 <= fat * sector / 4
        && (2..fat * sector / 4).contains(&number(44, 4))
        && number(48, 2) < reserved
        && number(50, 2) < reserved
        && sectors * sector <= size
}

fn file(what: &'static str, path: &str, source: io::Error) -> EspError {
    EspError::File { what, path: path.to_owned(), source }
}

static EPOCH: FixedTime = FixedTime;

/// Every file is as old as the file system's epoch, 1980: an image has no time of its own.
#[derive(Debug)]
struct FixedTime;

impl TimeProvider for FixedTime {
    fn get_current_date(&self) -> Date {
        Date { year: 1980, month: 1, day: 1 }
    }

    fn get_current_date_time(&self) -> DateTime {
        DateTime { date: self.get_current_date(), time: Time { hour: 0, min: 0, sec: 0, millis: 0 } }
    }
}

/// A part of a disk as a stream of its own.
#[derive(Debug)]
pub struct Window<D> {
    device: D,
    start: u64,
    bytes: u64,
    at: u64,
}

impl<D: Read + Write + Seek> Window<D> {
    /// The `bytes` bytes from `start` on.
    #[must_use]
    pub const fn new(device: D, start: u64, bytes: u64) -> Self {
        Self { device, start, bytes, at: 0 }
    }

    fn length(&self, wanted: usize) -> usize {
        usize::try_from(self.bytes.saturating_sub(self.at)).map_or(wanted, |left| left.min(wanted))
    }
}

impl<D: Read + Write + Seek> Read for Window<D> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.length(buffer.len());
        self.device.seek(SeekFrom::Start(self.start.saturating_add(self.at)))?;
        let read = self.device.read(buffer.get_mut(..length).unwrap_or_default())?;
        self.at += read as u64;
        Ok(read)
    }
}

impl<D: Read + Write + Seek> Write for Window<D> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let length = self.length(buffer.len());
        self.device.seek(SeekFrom::Start(self.start.saturating_add(self.at)))?;
        let written = self.device.write(buffer.get(..length).unwrap_or_default())?;
        self.at += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.device.flush()
    }
}

impl<D: Read + Write + Seek> Seek for Window<D> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.bytes.checked_add_signed(by),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        self.at = at.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        Ok(self.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::SectorSize;
    use adit_slots::layout::ESP_BYTES;
    use std::io::Cursor;

    const FILES: [(&str, &[u8]); 2] =
        [("loader/loader.conf", b"timeout 0\n"), ("EFI/Linux/adit_001.002.003.efi", &[7; 5000])];

    fn made() -> Vec<u8> {
        crate::fat::make(ESP_BYTES, SectorSize::B512, 1, &FILES).unwrap()
    }

    #[test]
    fn files_change_within_the_window() {
        let mut disk = vec![0xee; 1 << 20];
        disk.append(&mut made());
        disk.extend([0xee; 4096]);
        let mut esp = Esp::open(Window::new(Cursor::new(&mut disk), 1 << 20, ESP_BYTES)).unwrap();
        esp.write("adit.toml", b"hostname = \"box\"\n").unwrap();
        esp.write("adit.toml", b"x").unwrap();
        assert!(matches!(esp.read("loader/gone.conf"), Err(EspError::File { what: "open", .. })));
        assert!(matches!(esp.write("a/b", b""), Err(EspError::File { what: "write", .. })));
        assert!(matches!(esp.write("huge", &vec![1; 193 << 20]), Err(EspError::File { what: "write", .. })));
        esp.close().unwrap();
        let esp = Esp::open(Window::new(Cursor::new(&mut disk), 1 << 20, ESP_BYTES)).unwrap();
        let list =
            [(FILES[1].0, 5000), ("adit.toml", 1), (FILES[0].0, 10)].map(|(path, bytes)| (path.to_owned(), bytes));
        let mut found = esp.list().unwrap();
        found.sort();
        assert_eq!(found, list, "nothing is left of what did not fit");
        assert_eq!(esp.read(FILES[1].0).unwrap(), FILES[1].1);
        drop(esp);
        assert_eq!(&disk[..16], [0xee; 16]);
        assert_eq!(&disk[disk.len() - 4096..], [0xee; 4096]);
    }

    #[test]
    fn a_damaged_file_system_is_an_error_and_no_panic() {
        assert!(matches!(Esp::open(Cursor::new(vec![0; 4096])), Err(EspError::Geometry)));
        assert!(matches!(Esp::open(Cursor::new(vec![0; 9])), Err(EspError::Volume(_))));
        let mut bytes = made();
        let reserved = 512 * usize::from(u16::from_le_bytes([bytes[14], bytes[15]]));
        // Boot sector, allocation table, and the folders, which lie in the first clusters.
        let fat = 512 * usize::from(u16::from_le_bytes([bytes[36], bytes[37]]));
        let folders = reserved + 2 * fat;
        for at in (0..64).chain(reserved..reserved + 64).chain((folders..folders + 6 * 1024).step_by(3)) {
            let whole = bytes[at];
            for change in [0xff, 1] {
                bytes[at] = whole ^ change;
                if let Ok(esp) = Esp::open(Cursor::new(&mut bytes)) {
                    drop(
                        esp.list().map(|list| list.iter().map(|(path, _)| esp.read(path).is_ok()).collect::<Vec<_>>()),
                    );
                }
            }
            bytes[at] = whole;
        }
    }
}
