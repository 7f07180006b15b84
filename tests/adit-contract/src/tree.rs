// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Trees for tests: makes files of every odd kind, describes a tree by everything a backup must keep, and compares.

use rustix::fs::{AtFlags, CWD, FileType, Mode, StatxFlags, XattrFlags};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{CString, OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

/// Everything that a backup must bring back of one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Type and permission bits.
    pub mode: u32,
    /// Owner and group.
    pub owner: (u32, u32),
    /// Modification time, nanoseconds since 1970.
    pub modified_ns: i128,
    /// Size of a regular file.
    pub size: u64,
    /// Hash of a regular file's content; target of a symbolic link.
    pub content: Vec<u8>,
    /// Device numbers of a device node.
    pub device: u64,
    /// Extended attributes, ACLs included.
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    /// First path, in byte order, of the files that are the same file.
    pub same_as: Option<OsString>,
}

/// Describes the tree below `root`, by path relative to it.
///
/// # Errors
/// When something cannot be read.
pub fn describe(root: &Path) -> io::Result<BTreeMap<OsString, Entry>> {
    describe_but(root, &mut |_, error| Err(error))
}

/// Describes what this user can read; answers the paths that he cannot read as well.
///
/// # Errors
/// When something cannot be read for another reason than its permissions.
pub fn describe_readable(root: &Path) -> io::Result<(BTreeMap<OsString, Entry>, BTreeSet<OsString>)> {
    let mut unreadable = BTreeSet::new();
    let entries = describe_but(root, &mut |path, error| {
        if error.kind() != io::ErrorKind::PermissionDenied {
            return Err(error);
        }
        unreadable.insert(path.clone());
        Ok(())
    })?;
    Ok((entries, unreadable))
}

fn describe_but(
    root: &Path,
    refused: &mut dyn FnMut(&OsString, io::Error) -> io::Result<()>,
) -> io::Result<BTreeMap<OsString, Entry>> {
    let mut entries = BTreeMap::new();
    let mut pending = vec![OsString::new()];
    let mut links: BTreeMap<(u64, u64), Vec<OsString>> = BTreeMap::new();
    while let Some(relative) = pending.pop() {
        let path = root.join(&relative);
        let metadata = fs::symlink_metadata(&path)?;
        if metadata.is_dir() {
            match children(&path, &relative) {
                Ok(names) => pending.extend(names),
                Err(error) => {
                    refused(&relative, error)?;
                    continue;
                }
            }
        } else if metadata.nlink() > 1 {
            links.entry((metadata.dev(), metadata.ino())).or_default().push(relative.clone());
        }
        match entry(&path, &metadata) {
            Ok(entry) => drop(entries.insert(relative, entry)),
            Err(error) => refused(&relative, error)?,
        }
    }
    for mut group in links.into_values().filter(|group| group.len() > 1) {
        group.sort();
        for member in &group {
            if let Some(entry) = entries.get_mut(member) {
                entry.same_as = Some(group[0].clone());
            }
        }
    }
    Ok(entries)
}

fn children(path: &Path, relative: &OsString) -> io::Result<Vec<OsString>> {
    let names = fs::read_dir(path)?.map(|child| {
        let mut name = relative.clone();
        if !name.is_empty() {
            name.push("/");
        }
        name.push(child?.file_name());
        Ok(name)
    });
    names.collect()
}

fn entry(path: &Path, metadata: &fs::Metadata) -> io::Result<Entry> {
    let content = if metadata.is_file() {
        hash(path)?
    } else if metadata.is_symlink() {
        fs::read_link(path)?.into_os_string().into_vec()
    } else {
        Vec::new()
    };
    let kind = FileType::from_raw_mode(metadata.mode());
    let device_node = matches!(kind, FileType::CharacterDevice | FileType::BlockDevice);
    Ok(Entry {
        mode: metadata.mode(),
        owner: (metadata.uid(), metadata.gid()),
        modified_ns: i128::from(metadata.mtime()) * 1_000_000_000 + i128::from(metadata.mtime_nsec()),
        size: if metadata.is_file() { metadata.size() } else { 0 },
        content,
        device: if device_node { metadata.rdev() } else { 0 },
        xattrs: xattrs(path)?,
        same_as: None,
    })
}

fn hash(path: &Path) -> io::Result<Vec<u8>> {
    let mut hasher = blake3::Hasher::new();
    let mut file = File::open(path)?;
    let mut buffer = vec![0u8; 1 << 16];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hasher.finalize().as_bytes().to_vec()),
            read => hasher.update(&buffer[..read]),
        };
    }
}

fn xattrs(path: &Path) -> io::Result<BTreeMap<Vec<u8>, Vec<u8>>> {
    let mut names = vec![0u8; 64 << 10];
    let length = match rustix::fs::llistxattr(path, &mut names) {
        Ok(length) => length,
        Err(rustix::io::Errno::OPNOTSUPP) => 0,
        Err(error) => return Err(error.into()),
    };
    let mut found = BTreeMap::new();
    for name in names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let mut value = vec![0u8; 64 << 10];
        let length = rustix::fs::lgetxattr(path, OsStr::from_bytes(name), &mut value)?;
        value.truncate(length);
        found.insert(name.to_vec(), value);
    }
    Ok(found)
}

/// How two trees differ, one line each, at most twenty.
///
/// # Errors
/// When something cannot be read.
pub fn differences(left: &Path, right: &Path) -> io::Result<Vec<String>> {
    let (left, right) = (describe(left)?, describe(right)?);
    let mut lines = Vec::new();
    for (path, entry) in &left {
        match right.get(path) {
            None => lines.push(format!("{path:?} is missing")),
            Some(other) if other != entry => lines.push(format!("{path:?}: expected {entry:?}, got {other:?}")),
            Some(_) => {}
        }
    }
    lines.extend(right.keys().filter(|path| !left.contains_key(*path)).map(|path| format!("{path:?} is extra")));
    lines.truncate(20);
    Ok(lines)
}

/// Makes a directory with one file of every odd kind that this user may make; answers how many kinds.
///
/// # Errors
/// When a file that every user may make cannot be made.
pub fn make_odd(dir: &Path) -> io::Result<usize> {
    fs::create_dir_all(dir)?;
    let mut kinds = 0usize;
    let mut made = || kinds += 1;
    fs::write(dir.join("empty"), b"")?;
    made();
    fs::write(dir.join("inline"), b"sixty-four bytes or fewer")?;
    made();
    fs::write(dir.join(OsStr::from_bytes(b"not utf-8 \xff\xfe")), b"name")?;
    made();
    fs::write(dir.join("two\nlines\tand a tab"), b"name")?;
    made();
    fs::write(dir.join("x".repeat(255)), b"longest name")?;
    made();
    symlink("target that is not there", dir.join("dangling"))?;
    symlink(".", dir.join("loop"))?;
    made();
    fs::write(dir.join("linked"), noise(5_000, 1))?;
    fs::hard_link(dir.join("linked"), dir.join("linked too"))?;
    fs::create_dir(dir.join("sub"))?;
    fs::hard_link(dir.join("linked"), dir.join("sub/linked far away"))?;
    made();
    sparse(&dir.join("sparse"))?;
    made();
    fs::write(dir.join("large"), noise(3_000_000, 2))?;
    made();
    rustix::fs::mknodat(CWD, dir.join("fifo"), FileType::Fifo, Mode::from_raw_mode(0o640), 0)?;
    made();
    fs::create_dir(dir.join("sticky"))?;
    fs::set_permissions(dir.join("sticky"), fs::Permissions::from_mode(0o1777))?;
    fs::write(dir.join("setuid"), b"#!/bin/sh\n")?;
    fs::set_permissions(dir.join("setuid"), fs::Permissions::from_mode(0o4755))?;
    made();
    let old = File::create(dir.join("before 1970"))?;
    old.set_modified(UNIX_EPOCH - Duration::new(86_400, 123_456_789))?;
    let far = File::create(dir.join("after 2106"))?;
    far.set_modified(UNIX_EPOCH + Duration::new(5_000_000_000, 1))?;
    made();
    let deep = (0..60).fold(dir.join("deep"), |path, level| path.join(format!("level {level}")));
    fs::create_dir_all(&deep)?;
    fs::write(deep.join("bottom"), b"deep")?;
    made();
    fs::create_dir(dir.join("empty directory"))?;
    made();
    if set_xattr(&dir.join("inline"), "user.note", b"an attribute").is_ok() {
        set_xattr(&dir.join("sub"), "user.large", &noise(3_000, 3))?;
        made();
    }
    if set_xattr(&dir.join("linked"), "system.posix_acl_access", &acl()).is_ok() {
        made();
    }
    if rustix::process::geteuid().is_root() {
        let device = rustix::fs::makedev(1, 3);
        let mode = Mode::from_raw_mode(0o600);
        if rustix::fs::mknodat(CWD, dir.join("character device"), FileType::CharacterDevice, mode, device).is_ok() {
            made();
        }
        std::os::unix::fs::lchown(dir.join("dangling"), Some(1234), Some(5678))?;
        std::os::unix::fs::chown(dir.join("large"), Some(65_534), Some(65_534))?;
        made();
    }
    Ok(kinds)
}

/// user::rw-, user:1000:r--, group::r--, mask::r--, other::r-- in the kernel's layout (acl(5), posix_acl_xattr.h).
fn acl() -> Vec<u8> {
    let entries: [(u16, u16, u32); 5] =
        [(0x01, 6, u32::MAX), (0x02, 4, 1000), (0x04, 4, u32::MAX), (0x10, 4, u32::MAX), (0x20, 4, u32::MAX)];
    let mut bytes = 2u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in entries {
        bytes.extend(tag.to_le_bytes());
        bytes.extend(permissions.to_le_bytes());
        bytes.extend(id.to_le_bytes());
    }
    bytes
}

fn set_xattr(path: &Path, name: &str, value: &[u8]) -> io::Result<()> {
    let name = CString::new(name)?;
    Ok(rustix::fs::lsetxattr(path, name.as_c_str(), value, XattrFlags::empty())?)
}

/// Data, a hole of 10 MiB, data, a hole to the end.
fn sparse(path: &Path) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(&noise(70_000, 4))?;
    file.seek(SeekFrom::Start(10 << 20))?;
    file.write_all(&noise(70_000, 5))?;
    file.set_len(20 << 20)
}

/// Bytes that do not compress, the same for the same seed (xorshift64*).
#[must_use]
pub fn noise(count: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(count + 8);
    while bytes.len() < count {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        bytes.extend(state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes());
    }
    bytes.truncate(count);
    bytes
}

/// Makes `count` small files of mixed sizes in directories of a hundred.
///
/// # Errors
/// When a file cannot be written.
pub fn make_small(dir: &Path, count: usize, seed: u64) -> io::Result<()> {
    for index in 0..count {
        let folder = dir.join(format!("d{:04}", index / 100));
        if index % 100 == 0 {
            fs::create_dir_all(&folder)?;
        }
        // Most files are small: sizes follow roughly what home and configuration directories hold.
        let salt = seed.wrapping_add(u64::try_from(index).unwrap_or(0));
        let size = [40, 200, 900, 2_500, 7_000, 30_000][usize::try_from(salt % 6).unwrap_or(0)];
        let mut text = format!("file {index} of seed {seed}\n").into_bytes();
        text.extend(noise(size / 2, salt));
        text.resize(size.max(text.len()), b'.');
        fs::write(folder.join(format!("f{index:06}.txt")), text)?;
    }
    Ok(())
}

/// Blocks of 512 bytes that a file occupies: tells whether holes came back as holes.
///
/// # Errors
/// When the file cannot be asked.
pub fn blocks(path: &Path) -> io::Result<u64> {
    let stat = rustix::fs::statx(CWD, path, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::BLOCKS)?;
    Ok(stat.stx_blocks)
}

/// Where a source path lies below the directory that it was restored to.
#[must_use]
pub fn restored(to: &Path, source: &Path) -> PathBuf {
    to.join(source.strip_prefix("/").unwrap_or(source))
}
