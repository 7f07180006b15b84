// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The archive that a kernel unpacks as its first file system: cpio in the "newc" form (kernel documentation,
//! driver-api/early-userspace/buffer-format). Sorted, owned by root, without times: the same entries give the same bytes.
//! Device nodes are entries like others, so no privilege is needed to make them.

use std::collections::BTreeMap;
use std::io::{self, Write};

/// The largest file in an archive, in bytes. The kernel holds all of it in memory.
pub const FILE_BYTES_MAX: u64 = 256 << 20;
/// The longest path in an archive, in bytes; the kernel's own limit (PATH_MAX) less the closing zero.
pub const PATH_BYTES_MAX: usize = 4095;

const MAGIC: &[u8] = b"070701";
const HEADER_BYTES: usize = 110;
const TRAILER: &str = "TRAILER!!!";
const TYPE_MASK: u32 = 0o170_000;
const DIRECTORY: u32 = 0o040_000;
const CHARACTER: u32 = 0o020_000;
const REGULAR: u32 = 0o100_000;
const SYMLINK: u32 = 0o120_000;

/// One entry of an archive. Permissions are the lowest 12 bits of a mode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// A directory.
    Directory {
        /// Permissions.
        permissions: u32,
    },
    /// A regular file.
    File {
        /// Permissions.
        permissions: u32,
        /// Content.
        bytes: Vec<u8>,
    },
    /// A symbolic link.
    Symlink {
        /// Where it points.
        target: String,
    },
    /// A character device node.
    Character {
        /// Permissions.
        permissions: u32,
        /// Device number, first half.
        major: u32,
        /// Device number, second half.
        minor: u32,
    },
}

/// Why an archive could not be made or read.
#[derive(Debug, thiserror::Error)]
pub enum CpioError {
    /// A path that is empty, absolute, too long, or has an empty, `.` or `..` part.
    #[error("archive path {0:?} is not a plain relative path")]
    Path(String),
    /// Two different entries for one path.
    #[error("archive path {0:?} is used twice")]
    Twice(String),
    /// A file above [`FILE_BYTES_MAX`].
    #[error("archive file {path:?} has {bytes} bytes, at most {FILE_BYTES_MAX} fit")]
    TooLarge {
        /// The file.
        path: String,
        /// Its size in bytes.
        bytes: u64,
    },
    /// Bytes that are not a whole archive in this form.
    #[error("archive is damaged at byte {at}: {what}")]
    Damaged {
        /// Offset from the start of the archive.
        at: usize,
        /// What was expected there.
        what: &'static str,
    },
}

/// Entries by path. Add them, then [`Archive::write`]; missing parents are made as directories with mode 0755.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Archive {
    entries: BTreeMap<String, Entry>,
}

impl Archive {
    /// Adds an entry at a relative path such as `dev/console`. The same entry may be added again; a different one may not.
    pub fn add(&mut self, path: &str, entry: Entry) -> Result<(), CpioError> {
        let plain = path.len() <= PATH_BYTES_MAX
            && !path.contains('\0')
            && path.split('/').all(|part| !matches!(part, "" | "." | ".."));
        if !plain || path == TRAILER {
            return Err(CpioError::Path(path.to_owned()));
        }
        if let Entry::File { bytes, .. } = &entry
            && bytes.len() as u64 > FILE_BYTES_MAX
        {
            return Err(CpioError::TooLarge { path: path.to_owned(), bytes: bytes.len() as u64 });
        }
        for (at, _) in path.match_indices('/') {
            let parent = path.get(..at).unwrap_or_default();
            let parent_entry = self.entries.entry(parent.to_owned()).or_insert(Entry::Directory { permissions: 0o755 });
            if !matches!(parent_entry, Entry::Directory { .. }) {
                return Err(CpioError::Twice(parent.to_owned()));
            }
        }
        match self.entries.get(path) {
            Some(there) if *there != entry => Err(CpioError::Twice(path.to_owned())),
            Some(_) => Ok(()),
            None => {
                self.entries.insert(path.to_owned(), entry);
                Ok(())
            }
        }
    }

    /// Adds a directory with mode 0755.
    pub fn directory(&mut self, path: &str) -> Result<(), CpioError> {
        self.add(path, Entry::Directory { permissions: 0o755 })
    }

    /// Adds a regular file.
    pub fn file(&mut self, path: &str, permissions: u32, bytes: Vec<u8>) -> Result<(), CpioError> {
        self.add(path, Entry::File { permissions: permissions & 0o7777, bytes })
    }

    /// What is in the archive, sorted by path.
    pub fn entries(&self) -> impl Iterator<Item = (&str, &Entry)> {
        self.entries.iter().map(|(path, entry)| (path.as_str(), entry))
    }

    /// Writes the archive.
    pub fn write(&self, out: &mut impl Write) -> io::Result<()> {
        for (number, (path, entry)) in (1_u32..).zip(&self.entries) {
            let (mode, links, device, bytes) = match entry {
                Entry::Directory { permissions } => (DIRECTORY | permissions, 2, (0, 0), &[][..]),
                Entry::File { permissions, bytes } => (REGULAR | permissions, 1, (0, 0), bytes.as_slice()),
                Entry::Symlink { target } => (SYMLINK | 0o777, 1, (0, 0), target.as_bytes()),
                Entry::Character { permissions, major, minor } => {
                    (CHARACTER | permissions, 1, (*major, *minor), &[][..])
                }
            };
            write_record(out, &Record { number, mode, links, device, path }, bytes)?;
        }
        write_record(out, &Record { number: 0, mode: 0, links: 1, device: (0, 0), path: TRAILER }, &[])
    }

    /// The archive as bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.write(&mut bytes).expect("a vector takes every write");
        bytes
    }

    /// Reads one archive, as [`Archive::write`] makes it. Owners, times and inode numbers are not kept.
    pub fn read(bytes: &[u8]) -> Result<Self, CpioError> {
        let mut archive = Self::default();
        let mut at = 0;
        loop {
            let start = at;
            let damaged = |what| CpioError::Damaged { at: start, what };
            let header = bytes.get(at..at + HEADER_BYTES).ok_or_else(|| damaged("a header"))?;
            if !header.starts_with(MAGIC) {
                return Err(damaged("the magic 070701"));
            }
            let field = |index: usize| hex(header, index).ok_or_else(|| damaged("eight hexadecimal digits"));
            let (mode, size, path_size) = (field(1)?, field(6)? as usize, field(11)? as usize);
            at += HEADER_BYTES;
            let path = bytes.get(at..at + path_size).and_then(|path| path.strip_suffix(b"\0"));
            let path = path.and_then(|path| std::str::from_utf8(path).ok()).ok_or_else(|| damaged("a path"))?;
            at = (at + path_size).next_multiple_of(4);
            let content = bytes.get(at..at + size).ok_or_else(|| damaged("content"))?;
            at = (at + size).next_multiple_of(4);
            if at > bytes.len() {
                return Err(damaged("padding"));
            }
            if path == TRAILER {
                return Ok(archive);
            }
            let permissions = mode & 0o7777;
            let entry = match mode & TYPE_MASK {
                DIRECTORY => Entry::Directory { permissions },
                REGULAR => Entry::File { permissions, bytes: content.to_vec() },
                CHARACTER => Entry::Character { permissions, major: field(9)?, minor: field(10)? },
                SYMLINK => {
                    Entry::Symlink { target: String::from_utf8(content.to_vec()).map_err(|_| damaged("a target"))? }
                }
                _ => return Err(damaged("a known type of entry")),
            };
            archive.add(path, entry)?;
        }
    }
}

struct Record<'a> {
    number: u32,
    mode: u32,
    links: u32,
    device: (u32, u32),
    path: &'a str,
}

fn write_record(out: &mut impl Write, record: &Record<'_>, bytes: &[u8]) -> io::Result<()> {
    let too_large = |_| io::Error::new(io::ErrorKind::InvalidInput, "an entry of more than 4 GiB");
    let size = u32::try_from(bytes.len()).map_err(too_large)?;
    let path_size = u32::try_from(record.path.len() + 1).map_err(too_large)?;
    let (major, minor) = record.device;
    // Inode, mode, uid, gid, links, mtime, size, device of the file system (two), device of a node (two), path, checksum.
    let fields = [record.number, record.mode, 0, 0, record.links, 0, size, 0, 0, major, minor, path_size, 0];
    out.write_all(MAGIC)?;
    for field in fields {
        write!(out, "{field:08X}")?;
    }
    out.write_all(record.path.as_bytes())?;
    let written = HEADER_BYTES + record.path.len();
    out.write_all(&[0; 4][..(written + 1).next_multiple_of(4) - written])?;
    out.write_all(bytes)?;
    out.write_all(&[0; 4][..bytes.len().next_multiple_of(4) - bytes.len()])
}

fn hex(header: &[u8], index: usize) -> Option<u32> {
    let start = MAGIC.len() + index * 8;
    let digits = header.get(start..start + 8)?;
    if !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn small() -> Archive {
        let mut archive = Archive::default();
        archive.file("init", 0o755, b"#!/bin/sh\n".to_vec()).unwrap();
        archive.add("dev/console", Entry::Character { permissions: 0o600, major: 5, minor: 1 }).unwrap();
        archive.add("sh", Entry::Symlink { target: "init".to_owned() }).unwrap();
        archive
    }

    /// Written by hand from the kernel's description of the format, not by the writer under test.
    #[test]
    fn the_bytes_are_those_of_the_format() {
        let golden = concat!(
            "07070100000001000041ED00000000000000000000000200000000000000000000000000000000",
            "00000000000000000000000400000000dev\0\0\0",
            "070701000000020000218000000000000000000000000100000000000000000000000000000000",
            "00000005000000010000000C00000000dev/console\0\0\0",
            "07070100000003000081ED000000000000000000000001000000000000000A0000000000000000",
            "00000000000000000000000500000000init\0\0#!/bin/sh\n\0\0",
            "070701000000040000A1FF00000000000000000000000100000000000000040000000000000000",
            "00000000000000000000000300000000sh\0\0\0\0init",
            "070701000000000000000000000000000000000000000100000000000000000000000000000000",
            "00000000000000000000000B00000000TRAILER!!!\0\0\0\0",
        );
        assert_eq!(String::from_utf8(small().to_bytes()).unwrap(), golden);
    }

    #[test]
    fn the_order_of_adding_does_not_matter_and_reading_gives_it_back() {
        let mut other = Archive::default();
        other.add("sh", Entry::Symlink { target: "init".to_owned() }).unwrap();
        other.directory("dev").unwrap();
        other.add("dev/console", Entry::Character { permissions: 0o600, major: 5, minor: 1 }).unwrap();
        other.file("init", 0o755, b"#!/bin/sh\n".to_vec()).unwrap();
        assert_eq!(other.to_bytes(), small().to_bytes());
        assert_eq!(Archive::read(&small().to_bytes()).unwrap(), small());
    }

    #[test]
    fn every_truncation_is_an_error() {
        let bytes = small().to_bytes();
        for length in 0..bytes.len() {
            assert!(Archive::read(&bytes[..length]).is_err(), "{length} of {} bytes were read", bytes.len());
        }
    }

    #[test]
    fn damage_never_panics() {
        let bytes = small().to_bytes();
        for at in 0..bytes.len() {
            for value in [0, b'F', 0xff] {
                let mut damaged = bytes.clone();
                damaged[at] = value;
                drop(Archive::read(&damaged));
            }
        }
        let sizes = String::from_utf8(bytes).unwrap().replace("0000000A", "FFFFFFFF");
        assert!(matches!(Archive::read(sizes.as_bytes()), Err(CpioError::Damaged { .. })));
    }

    #[test]
    fn what_does_not_belong_into_an_archive_is_refused() {
        let mut archive = small();
        for path in ["", "/init", "a//b", "../x", "a/./b", "dev/", TRAILER] {
            assert!(matches!(archive.directory(path), Err(CpioError::Path(_))), "{path}");
        }
        assert!(matches!(archive.file("init", 0o755, Vec::new()), Err(CpioError::Twice(_))));
        assert!(matches!(archive.directory("init/below"), Err(CpioError::Twice(_))));
        let huge = vec![0; usize::try_from(FILE_BYTES_MAX).unwrap() + 1];
        assert!(matches!(archive.file("huge", 0o644, huge), Err(CpioError::TooLarge { .. })));
        assert!(archive.directory(&"x".repeat(PATH_BYTES_MAX)).is_ok());
        assert!(matches!(archive.directory(&"x".repeat(PATH_BYTES_MAX + 1)), Err(CpioError::Path(_))));
    }
}
