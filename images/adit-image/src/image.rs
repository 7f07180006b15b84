// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The raw image of a disk that boots: partition table and ESP with the boot loader and one good slot. Holes stay holes when
//! it is written. Never larger than needed: the box grows it to its disk.

use crate::arch::Arch;
use crate::digest::Sha256;
use crate::fat::{self, FatError};
use crate::table::{ESP, SectorSize, Table, TableError};
use adit_slots::layout;
use adit_slots::version::{Version, VersionError};
use std::fs::File;
use std::io::{self, Cursor, Seek, SeekFrom, Write};
use std::path::Path;

/// What systemd-boot is told. Its list is sorted by version and entries without a try left come last, so the first that
/// matches is the newest that may be tried.
pub const LOADER_CONF: &str = "timeout 0\neditor no\nauto-entries no\nauto-firmware no\ndefault adit_*\n";
/// Pieces of zeros of this size are left out of files, in bytes.
const HOLE_BYTES: usize = 64 << 10;

/// Why an image could not be put together.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The file system with the boot loader.
    #[error("make the ESP")]
    Fat(#[from] FatError),
    /// The partition table.
    #[error("make the partition table")]
    Table(#[from] TableError),
    /// A version that does not fit a slot's file name.
    #[error("name the slot")]
    Version(#[from] VersionError),
    /// An image above the limit of a slot.
    #[error("image of {bytes} bytes does not fit a slot of {} bytes", layout::UKI_BYTES_MAX)]
    TooLarge {
        /// Its size.
        bytes: u64,
    },
}

/// What goes onto the disk.
#[derive(Debug, Clone, Copy)]
pub struct Parts<'a> {
    /// The machine it is for.
    pub arch: Arch,
    /// The version of the unified kernel image.
    pub version: Version,
    /// The disk's sectors.
    pub sector_size: SectorSize,
    /// systemd-boot.
    pub loader: &'a [u8],
    /// The unified kernel image.
    pub uki: &'a [u8],
}

impl Parts<'_> {
    /// The bytes of the disk.
    pub fn assemble(&self) -> Result<Vec<u8>, ImageError> {
        let bytes = self.uki.len() as u64;
        if bytes > layout::UKI_BYTES_MAX {
            return Err(ImageError::TooLarge { bytes });
        }
        let digest = Sha256::of(self.uki);
        let table = Table::new(self.sector_size, &digest);
        let mut disk = vec![0; usize::try_from(table.disk_bytes()).unwrap_or(usize::MAX)];
        table.write(Cursor::new(&mut disk))?;
        let slot = slot_path(self.version)?;
        let boot = match self.arch {
            Arch::X86_64 => layout::BOOT_FILE_X86_64,
            Arch::Aarch64 => layout::BOOT_FILE_AARCH64,
        };
        let files = [(boot, self.loader), (layout::LOADER_CONF, LOADER_CONF.as_bytes()), (slot.as_str(), self.uki)];
        let partition = table.partition(ESP).ok_or(TableError::None)?;
        let [a, b, c, d, ..] = digest.0;
        let esp = fat::make(partition.size_bytes, self.sector_size, u32::from_le_bytes([a, b, c, d]), &files)?;
        let start = usize::try_from(partition.start_bytes).unwrap_or(usize::MAX);
        disk[start..start + esp.len()].copy_from_slice(&esp);
        Ok(disk)
    }
}

/// Where a good slot's file lies: `EFI/Linux/adit_001.002.003.efi`.
pub fn slot_path(version: Version) -> Result<String, VersionError> {
    let text = version.file_text()?;
    Ok(format!("{}/adit_{}.efi", layout::SLOT_FOLDER.join("/"), String::from_utf8_lossy(&text)))
}

/// Writes bytes to an empty file, leaving out what is zero.
fn write_sparse(file: &mut (impl Write + Seek), bytes: &[u8]) -> io::Result<()> {
    let mut hole = false;
    for piece in bytes.chunks(HOLE_BYTES) {
        hole = piece.iter().all(|byte| *byte == 0);
        if hole {
            file.seek(SeekFrom::Current(i64::try_from(piece.len()).unwrap_or(i64::MAX)))?;
        } else {
            file.write_all(piece)?;
        }
    }
    if hole {
        // A file ends with its last byte written.
        file.seek(SeekFrom::Current(-1))?;
        file.write_all(&[0])?;
    }
    file.flush()
}

/// Writes a file whole or not at all, leaving out what is zero.
pub fn write_file(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut unfinished = path.as_os_str().to_owned();
    unfinished.push(".unfinished");
    write_sparse(&mut File::create(&unfinished)?, bytes)?;
    std::fs::rename(&unfinished, path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::esp::{Esp, Window};
    use adit_slots::esp;
    use adit_slots::name::{Mark, SlotFile};
    use embedded_io_adapters::std::FromStd;

    #[test]
    fn a_disk_holds_the_loader_and_one_slot() {
        for sector_size in [SectorSize::B512, SectorSize::B4096] {
            let uki = vec![3; 2_000_000];
            let parts =
                Parts { arch: Arch::X86_64, version: Version::new(1, 2, 3), sector_size, loader: b"MZ", uki: &uki };
            let mut disk = parts.assemble().unwrap();
            assert!(parts.assemble().unwrap() == disk);
            let table = Table::read(Cursor::new(&mut disk)).unwrap();
            assert_eq!(table.sector_size, sector_size);
            let esp = table.partition(ESP).unwrap().clone();
            let esp = Esp::open(Window::new(Cursor::new(&mut disk), esp.start_bytes, esp.size_bytes)).unwrap();
            assert!(esp.read("EFI/Linux/adit_001.002.003.efi").unwrap() == uki);
            assert_eq!(esp.read("EFI/BOOT/BOOTX64.EFI").unwrap(), b"MZ");
            assert_eq!(esp.read("loader/loader.conf").unwrap(), LOADER_CONF.as_bytes());
        }
    }

    /// A box changes its ESP by code of its own: it must find what was made here, and what it writes must be read here.
    #[test]
    fn a_box_finds_its_slot_and_puts_another_beside_it() {
        for sector_size in [SectorSize::B512, SectorSize::B4096] {
            let (version, next) = (Version::new(1, 2, 3), Version::new(1, 3, 0));
            let (uki, candidate) = (vec![3; 2_000_001], vec![4; 3_000_001]);
            let parts = Parts { arch: Arch::X86_64, version, sector_size, loader: b"MZ", uki: &uki };
            let mut disk = parts.assemble().unwrap();
            let part = Table::read(Cursor::new(&mut disk)).unwrap().partition(ESP).unwrap().clone();
            let mut own = esp::Esp::open(FromStd::new(Cursor::new(&mut disk)), part.start_bytes).unwrap();
            let good = SlotFile { version, mark: Mark::Good };
            let mut files = [SlotFile { version: Version::default(), mark: Mark::New }; esp::FILES_MAX];
            assert_eq!(own.files(&mut files).unwrap(), 1);
            assert_eq!(files[0], good);
            let bytes = u32::try_from(candidate.len()).unwrap();
            let staged = SlotFile { version: next, mark: Mark::New };
            own.write(staged, bytes, &mut FromStd::new(candidate.as_slice()), &mut |_| ()).unwrap();
            own.rename(staged, Mark::TRIAL).unwrap();
            assert_eq!(own.heal(&mut vec![0; 1 << 16]).unwrap(), esp::Healed::default());
            let esp = Esp::open(Window::new(Cursor::new(&mut disk), part.start_bytes, part.size_bytes)).unwrap();
            assert!(esp.read("EFI/Linux/adit_001.002.003.efi").unwrap() == uki);
            assert!(esp.read("EFI/Linux/adit_001.003.000+3-0.efi").unwrap() == candidate);
        }
    }

    #[test]
    fn what_does_not_fit_a_slot_is_refused() {
        let uki = vec![0; usize::try_from(layout::UKI_BYTES_MAX).unwrap() + 1];
        let version = Version::new(1, 2, 3);
        let parts = Parts { arch: Arch::X86_64, version, sector_size: SectorSize::B512, loader: b"MZ", uki: &uki };
        assert!(matches!(parts.assemble(), Err(ImageError::TooLarge { .. })));
        assert!(Parts { uki: &uki[1..], ..parts }.assemble().is_ok());
        let long = Parts { uki: &uki[1..], version: Version::new(1, 2, 1000), ..parts };
        assert!(matches!(long.assemble(), Err(ImageError::Version(VersionError::Part))));
    }

    #[test]
    fn holes_read_back_as_zeros() {
        for bytes in
            [vec![0; 3 * HOLE_BYTES], [vec![0; HOLE_BYTES], vec![1; 7]].concat(), vec![2; HOLE_BYTES + 1], vec![]]
        {
            let mut file = tempfile::tempfile().unwrap();
            write_sparse(&mut file, &bytes).unwrap();
            file.rewind().unwrap();
            let mut back = Vec::new();
            io::Read::read_to_end(&mut file, &mut back).unwrap();
            assert!(back == bytes);
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("file");
            write_file(&path, &bytes).unwrap();
            assert!(std::fs::read(&path).unwrap() == bytes);
            assert_eq!(folder.path().read_dir().unwrap().count(), 1, "nothing unfinished is left");
        }
    }
}
