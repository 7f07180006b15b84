// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A whole disk that an image is to be written to: what the system says of it, why it must not be touched, and the writing
//! with a second look. Knows `/sys` and `/proc` below a root, so that tests bring their own. Never writes to a disk of which
//! anything is in use.

use crate::table::{Table, TableError};
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

/// Bytes that are written and compared at a time.
const PIECE_BYTES: usize = 4 << 20;
/// How deep devices may stand on each other: partition, mirror, encryption, volume.
const HOLDERS_DEEP_MAX: usize = 8;

/// Why a disk was not written.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// A file of the system's, or the device.
    #[error("access {}", path.display())]
    Access {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Not a whole disk.
    #[error("{} is {what}, not a whole disk such as /dev/sdb", path.display())]
    NotADisk {
        /// The path.
        path: PathBuf,
        /// What it is.
        what: &'static str,
    },
    /// Something on it is in use.
    #[error("{disk} is in use: {by}; unmount or stop that first")]
    InUse {
        /// The disk.
        disk: String,
        /// What uses it.
        by: String,
    },
    /// The disk refuses writes.
    #[error("{0} is read-only")]
    ReadOnly(String),
    /// Smaller than the image.
    #[error("{disk} has {have_bytes} bytes, the image needs {need_bytes}")]
    TooSmall {
        /// The disk.
        disk: String,
        /// Its size.
        have_bytes: u64,
        /// The image's.
        need_bytes: u64,
    },
    /// Sectors of another size than the image was made for.
    #[error(
        "{disk} has sectors of {disk_bytes} bytes, the image is for {image_bytes}; build with --sector-bytes {disk_bytes}"
    )]
    Sectors {
        /// The disk.
        disk: String,
        /// The disk's.
        disk_bytes: u64,
        /// The image's.
        image_bytes: u64,
    },
    /// What was read back differs.
    #[error("what was read back differs from what was written, at byte {0}; the disk is broken, take another")]
    Differs(u64),
    /// The partition table.
    #[error("fit the partition table to the disk")]
    Table(#[from] TableError),
}

/// What the system says of a disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disk {
    /// Its name in `/sys/class/block`, such as `sdb`.
    pub name: String,
    /// Its model, empty if unknown.
    pub model: String,
    /// Its serial number, empty if unknown.
    pub serial: String,
    /// Its size in bytes.
    pub size_bytes: u64,
    /// Its logical sectors in bytes.
    pub sector_bytes: u64,
    /// Whether it refuses writes.
    pub read_only: bool,
    /// What uses it or a part of it: mount points, swap, other devices.
    pub users: Vec<String>,
}

impl Disk {
    /// Looks at a device node. `root` is `/`, or a folder with `sys` and `proc` in a test.
    pub fn of_node(root: &Path, node: &Path) -> Result<Self, DeviceError> {
        let metadata = node.metadata().map_err(|source| access(node, source))?;
        if !metadata.file_type().is_block_device() {
            return Err(DeviceError::NotADisk { path: node.to_owned(), what: "no block device" });
        }
        let (major, minor) = (rustix::fs::major(metadata.rdev()), rustix::fs::minor(metadata.rdev()));
        let link = root.join(format!("sys/dev/block/{major}:{minor}"));
        let target = link.canonicalize().map_err(|source| access(&link, source))?;
        let name = target.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        Self::of_name(root, &name)
    }

    /// Looks at a disk by its name in `/sys/class/block`.
    pub fn of_name(root: &Path, name: &str) -> Result<Self, DeviceError> {
        let folder = root.join("sys/class/block").join(name);
        if folder.join("partition").exists() {
            return Err(DeviceError::NotADisk { path: folder, what: "a partition" });
        }
        let size = folder.join("size");
        let sectors = std::fs::read_to_string(&size).map_err(|source| access(&size, source))?;
        let text = |path: &str| std::fs::read_to_string(folder.join(path)).unwrap_or_default().trim().to_owned();
        let first =
            |paths: &[&str]| paths.iter().map(|path| text(path)).find(|text| !text.is_empty()).unwrap_or_default();
        Ok(Self {
            name: name.to_owned(),
            model: first(&["device/model", "device/name"]),
            serial: first(&["serial", "device/serial", "device/cid"]),
            // The kernel counts in units of 512 bytes here, whatever the disk's own sectors are.
            size_bytes: sectors.trim().parse::<u64>().unwrap_or_default().saturating_mul(512),
            sector_bytes: text("queue/logical_block_size").parse().unwrap_or(512),
            read_only: text("ro") == "1",
            users: users(root, &folder)?,
        })
    }

    /// What a person must type to show that this is the disk that is meant: its serial number, or what else it has.
    #[must_use]
    pub fn word(&self) -> &str {
        [&self.serial, &self.model, &self.name].into_iter().find(|word| !word.is_empty()).map_or("", String::as_str)
    }

    /// Refuses a disk of which anything is in use.
    pub fn check_idle(&self) -> Result<(), DeviceError> {
        let in_use = |by: &String| Err(DeviceError::InUse { disk: self.name.clone(), by: by.clone() });
        self.users.first().map_or(Ok(()), in_use)
    }

    /// Refuses a disk that must not be written, or does not take the image.
    pub fn check(&self, image: &Table) -> Result<(), DeviceError> {
        self.check_idle()?;
        let disk = self.name.clone();
        if self.read_only {
            return Err(DeviceError::ReadOnly(disk));
        }
        let (disk_bytes, image_bytes) = (self.sector_bytes, image.sector_size.bytes());
        if disk_bytes != image_bytes {
            return Err(DeviceError::Sectors { disk, disk_bytes, image_bytes });
        }
        let (have_bytes, need_bytes) = (self.size_bytes, image.disk_bytes());
        if have_bytes < need_bytes { Err(DeviceError::TooSmall { disk, have_bytes, need_bytes }) } else { Ok(()) }
    }
}

/// Everything that keeps a disk busy: mounted or swapped to, itself, its partitions, and what stands on them.
fn users(root: &Path, folder: &Path) -> Result<Vec<String>, DeviceError> {
    let read = |path: &str| {
        let path = root.join(path);
        std::fs::read_to_string(&path).map_err(|source| access(&path, source))
    };
    // `36 35 98:0 /mnt1 /mnt2 rw,noatime …`: third the device, fifth the mount point (proc(5)).
    let mounts = read("proc/self/mountinfo")?;
    let mounts: Vec<(&str, &str)> =
        mounts.lines().filter_map(|line| line.split(' ').nth(2).zip(line.split(' ').nth(4))).collect();
    let swaps = read("proc/swaps")?;
    let swaps: BTreeSet<&str> = swaps.lines().skip(1).filter_map(|line| line.split_whitespace().next()).collect();
    let mut users = Vec::new();
    let mut waiting = vec![(folder.to_owned(), 0)];
    while let Some((folder, depth)) = waiting.pop() {
        let name = folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let number = std::fs::read_to_string(folder.join("dev")).unwrap_or_default();
        users.extend(
            mounts.iter().filter(|(device, _)| *device == number.trim()).map(|(_, at)| format!("mounted at {at}")),
        );
        if swaps.contains(format!("/dev/{name}").as_str()) {
            users.push(format!("{name} is swap space"));
        }
        for holder in entries(&folder.join("holders")) {
            let holder_name = holder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            users.push(format!("{holder_name} stands on {name}"));
            if depth < HOLDERS_DEEP_MAX {
                waiting.push((root.join("sys/class/block").join(holder_name), depth + 1));
            }
        }
        if depth < HOLDERS_DEEP_MAX {
            let parts = entries(&folder).into_iter().filter(|below| below.join("partition").exists());
            waiting.extend(parts.map(|part| (part, depth + 1)));
        }
    }
    // What is mounted says more than what stands between.
    users.sort_by_key(|user| !user.starts_with("mounted"));
    Ok(users)
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    let mut entries: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    entries.sort();
    entries
}

/// Writes an image with its table to a disk, fits the table to the disk's end, and reads everything back past the cache.
pub fn write(image: &[u8], table: &Table, device: &mut File) -> Result<(), DeviceError> {
    let failed = |source| DeviceError::Access { path: PathBuf::from("the disk"), source };
    device.seek(SeekFrom::Start(0)).map_err(failed)?;
    for piece in image.chunks(PIECE_BYTES) {
        device.write_all(piece).map_err(failed)?;
    }
    device.sync_all().map_err(failed)?;
    // What comes from the cache proves nothing.
    rustix::fs::fadvise(&*device, 0, None, rustix::fs::Advice::DontNeed).map_err(|errno| failed(errno.into()))?;
    compare(image, device)?;
    table.write(&mut *device)?;
    device.sync_all().map_err(failed)?;
    if Table::read(&mut *device)? == *table { Ok(()) } else { Err(DeviceError::Table(TableError::None)) }
}

fn compare(image: &[u8], device: &mut File) -> Result<(), DeviceError> {
    let failed = |source| DeviceError::Access { path: PathBuf::from("the disk"), source };
    device.seek(SeekFrom::Start(0)).map_err(failed)?;
    let mut buffer = vec![0; PIECE_BYTES];
    let mut at = 0;
    for piece in image.chunks(PIECE_BYTES) {
        let read = buffer.get_mut(..piece.len()).unwrap_or_default();
        device.read_exact(read).map_err(failed)?;
        if let Some(index) = read.iter().zip(piece).position(|(one, other)| one != other) {
            return Err(DeviceError::Differs(at + index as u64));
        }
        at += piece.len() as u64;
    }
    Ok(())
}

fn access(path: &Path, source: io::Error) -> DeviceError {
    DeviceError::Access { path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Sha256;
    use crate::table::SectorSize;
    use std::io::Cursor;

    /// A system with one disk `sdb` of 8 GiB with two partitions, the second of which may hold more.
    struct System(tempfile::TempDir);

    impl System {
        fn new() -> Self {
            let system = Self(tempfile::tempdir().unwrap());
            let block = "sys/class/block";
            for (path, text) in [
                ("sdb/size", "16777216\n"),
                ("sdb/dev", "8:16\n"),
                ("sdb/ro", "0\n"),
                ("sdb/queue/logical_block_size", "512\n"),
                ("sdb/device/model", "STICK 3000   \n"),
                ("sdb/device/serial", "S-1\n"),
                ("sdb/sdb2/partition", "2\n"),
                ("sdb/sdb2/dev", "8:18\n"),
                ("sdb2/partition", "2\n"),
                ("dm-0/dev", "254:0\n"),
            ] {
                system.put(&format!("{block}/{path}"), text);
            }
            system.put("proc/swaps", "Filename Type\n");
            system.put("proc/self/mountinfo", "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n");
            system
        }

        fn put(&self, path: &str, text: &str) {
            let path = self.0.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }

        fn disk(&self) -> Disk {
            Disk::of_name(self.0.path(), "sdb").unwrap()
        }
    }

    fn table(sector_size: SectorSize) -> Table {
        Table::new(sector_size, &Sha256::of(b"uki"))
    }

    #[test]
    fn an_idle_disk_is_taken_and_known_by_its_serial() {
        let disk = System::new().disk();
        assert_eq!((disk.word(), disk.model.as_str(), disk.size_bytes), ("S-1", "STICK 3000", 8 << 30));
        assert!(disk.check(&table(SectorSize::B512)).is_ok());
        assert_eq!(Disk { serial: String::new(), ..disk }.word(), "STICK 3000");
    }

    #[test]
    fn whatever_is_in_use_is_refused() {
        let in_use = |path: &str, text: &str| {
            let system = System::new();
            system.put(path, text);
            system.disk().check(&table(SectorSize::B512)).unwrap_err().to_string()
        };
        let mounts = "proc/self/mountinfo";
        assert_eq!(
            in_use(mounts, "9 1 8:18 / /home rw - ext4 x rw\n"),
            "sdb is in use: mounted at /home; unmount or stop that first"
        );
        assert_eq!(
            in_use(mounts, "9 1 8:16 / /mnt rw - vfat x rw\n"),
            "sdb is in use: mounted at /mnt; unmount or stop that first"
        );
        assert_eq!(
            in_use("proc/swaps", "Filename\n/dev/sdb2 partition 1\n"),
            "sdb is in use: sdb2 is swap space; unmount or stop that first"
        );
        let holder = "sys/class/block/sdb/sdb2/holders/dm-0/x";
        assert_eq!(in_use(holder, ""), "sdb is in use: dm-0 stands on sdb2; unmount or stop that first");
        let system = System::new();
        system.put(holder, "");
        system.put(mounts, "9 1 254:0 / / rw - ext4 x rw\n");
        assert_eq!(system.disk().users, ["mounted at /", "dm-0 stands on sdb2"]);
    }

    #[test]
    fn disks_that_do_not_fit_are_refused() {
        let system = System::new();
        let disk = system.disk();
        let small = Disk { size_bytes: (196 << 20) - 1, ..disk.clone() };
        assert!(matches!(small.check(&table(SectorSize::B512)), Err(DeviceError::TooSmall { .. })));
        assert!(matches!(disk.check(&table(SectorSize::B4096)), Err(DeviceError::Sectors { .. })));
        let read_only = Disk { read_only: true, ..disk };
        assert!(matches!(read_only.check(&table(SectorSize::B512)), Err(DeviceError::ReadOnly(_))));
        let part = Disk::of_name(system.0.path(), "sdb2").unwrap_err().to_string();
        assert!(part.ends_with("is a partition, not a whole disk such as /dev/sdb"), "{part}");
        assert!(matches!(Disk::of_name(system.0.path(), "sdz"), Err(DeviceError::Access { .. })));
        let file = Disk::of_node(system.0.path(), &system.0.path().join("proc/swaps")).unwrap_err();
        assert!(matches!(file, DeviceError::NotADisk { what: "no block device", .. }));
    }

    #[test]
    fn an_image_arrives_whole_and_its_table_reaches_the_end() {
        let table = table(SectorSize::B512);
        let mut image = vec![0; usize::try_from(table.disk_bytes()).unwrap()];
        table.write(Cursor::new(&mut image)).unwrap();
        image[5 << 20] = 7;
        let mut disk = tempfile::tempfile().unwrap();
        let size = table.disk_bytes() + (100 << 20);
        // What was on the disk before must not shine through.
        disk.set_len(size).unwrap();
        disk.seek(SeekFrom::Start(150 << 20)).unwrap();
        disk.write_all(b"an old file system").unwrap();
        write(&image, &table, &mut disk).unwrap();
        assert_eq!(Table::read(&mut disk).unwrap(), table);
        let mut last = [0; 8];
        disk.seek(SeekFrom::Start(size - 512)).unwrap();
        disk.read_exact(&mut last).unwrap();
        assert_eq!(&last, b"EFI PART");
        disk.seek(SeekFrom::Start(150 << 20)).unwrap();
        disk.read_exact(&mut last).unwrap();
        assert_eq!(last, [0; 8]);
        disk.rewind().unwrap();
        disk.write_all(&image).unwrap();
        assert!(compare(&image, &mut disk).is_ok());
        image[5 << 20] = 9;
        assert!(matches!(compare(&image, &mut disk), Err(DeviceError::Differs(at)) if at == 5 << 20));
    }
}
