// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Storage as the store sees it: files by path below one directory, explicit flushes, explicit directory flushes.
//!
//! It stands apart so that the same store runs on a directory and on a simulated disk that loses power. Nothing here
//! knows what the bytes mean. A write is durable after [`Disk::sync`] of its file, a new or changed name after
//! [`Disk::sync_dir`] of its directory, and neither before.

mod dir;
mod sim;

pub use dir::DirDisk;
pub use sim::{Faults, Image, PowerCut, SimDisk};

use crate::bytes::{PAGE, PAGE_U64, memory};
use std::fmt;
use std::io;

/// An open file of a [`Disk`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileId(pub u64);

/// How to open a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// An existing file, for reading.
    Read,
    /// An existing file, for reading and writing.
    Write,
    /// A file that must not exist yet.
    CreateNew,
    /// A file that is emptied if it exists.
    CreateOrEmpty,
}

/// Who else may open the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// Nobody.
    Exclusive,
    /// Other readers.
    Readers,
}

/// Files by path, relative to the store's directory, with `/` between parts. Errors are [`io::Error`]s:
/// [`io::ErrorKind::NotFound`] and [`io::ErrorKind::StorageFull`] are told apart by callers.
pub trait Disk: Send + Sync + fmt::Debug {
    /// Opens a file.
    ///
    /// # Errors
    /// The disk's answer.
    fn open(&self, path: &str, mode: Mode) -> io::Result<FileId>;

    /// Forgets an open file. What was not flushed stays unflushed.
    fn close(&self, file: FileId);

    /// Reads up to `bytes.len()` bytes; fewer only at the end of the file.
    ///
    /// # Errors
    /// The disk's answer.
    fn read_at(&self, file: FileId, offset: u64, bytes: &mut [u8]) -> io::Result<usize>;

    /// Writes all of `bytes`.
    ///
    /// # Errors
    /// The disk's answer. Part of the bytes may be written.
    fn write_at(&self, file: FileId, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Cuts or lengthens a file; new bytes are zero.
    ///
    /// # Errors
    /// The disk's answer.
    fn set_len(&self, file: FileId, bytes: u64) -> io::Result<()>;

    /// Asks for room for the bytes up to `end`, without changing the file's length. A hint: doing nothing is right too.
    ///
    /// # Errors
    /// The disk's answer, when there is surely no room.
    fn reserve(&self, file: FileId, end: u64) -> io::Result<()>;

    /// Lets go of what the system keeps of the file in memory, so that the next read comes from the disk itself: what
    /// verification reads must not be what was written a minute ago. A hint: doing nothing is right where there is no cache.
    fn uncache(&self, file: FileId);

    /// The file's length.
    ///
    /// # Errors
    /// The disk's answer.
    fn len(&self, file: FileId) -> io::Result<u64>;

    /// Makes a file's contents and length durable.
    ///
    /// # Errors
    /// The disk's answer. After one, nothing written since the last good flush may be trusted.
    fn sync(&self, file: FileId) -> io::Result<()>;

    /// Gives a file another name; an existing file of that name is replaced at once.
    ///
    /// # Errors
    /// The disk's answer.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    /// The disk's answer.
    fn remove(&self, path: &str) -> io::Result<()>;

    /// Names of the files and directories in a directory, sorted. An absent directory is empty.
    ///
    /// # Errors
    /// The disk's answer.
    fn list(&self, dir: &str) -> io::Result<Vec<String>>;

    /// Makes a directory; one that exists is fine.
    ///
    /// # Errors
    /// The disk's answer.
    fn create_dir(&self, dir: &str) -> io::Result<()>;

    /// Removes an empty directory.
    ///
    /// # Errors
    /// The disk's answer.
    fn remove_dir(&self, dir: &str) -> io::Result<()>;

    /// Makes the names in a directory durable; `""` is the store's own directory.
    ///
    /// # Errors
    /// The disk's answer.
    fn sync_dir(&self, dir: &str) -> io::Result<()>;

    /// Free bytes, if the disk can tell.
    ///
    /// # Errors
    /// The disk's answer.
    fn free_bytes(&self) -> io::Result<Option<u64>>;

    /// Keeps other processes out until this disk is dropped. `path` is an existing file or
    /// directory.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] when another process is in.
    fn lock(&self, path: &str, sharing: Sharing) -> io::Result<()>;
}

/// Reads exactly `bytes.len()` bytes.
///
/// # Errors
/// The disk's answer; [`io::ErrorKind::UnexpectedEof`] when the file is shorter.
pub(crate) fn read_exact(disk: &dyn Disk, file: FileId, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
    if disk.read_at(file, offset, bytes)? == bytes.len() { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

/// Fills `bytes` from the file. Answers how many are within it, and the offsets of pages that the disk does not give;
/// these, and what lies behind the end, are zeros.
pub(crate) fn read_pages(disk: &dyn Disk, file: FileId, offset: u64, bytes: &mut [u8]) -> (usize, Vec<u64>) {
    if let Ok(count) = disk.read_at(file, offset, bytes) {
        bytes[count..].fill(0);
        return (count, Vec::new());
    }
    let (mut done, mut within, mut unreadable) = (0, 0, Vec::new());
    while done < bytes.len() {
        let at = offset + done as u64;
        let count = (PAGE - memory(at % PAGE_U64)).min(bytes.len() - done);
        let page = &mut bytes[done..done + count];
        match disk.read_at(file, at, page) {
            Ok(read) => {
                page[read..].fill(0);
                within += read;
            }
            Err(_) => {
                page.fill(0);
                within += count;
                unreadable.push(at & !(PAGE_U64 - 1));
            }
        }
        done += count;
    }
    (within, unreadable)
}

/// Reads a whole small file.
///
/// # Errors
/// The disk's answer.
pub(crate) fn read_file(disk: &dyn Disk, path: &str) -> io::Result<Vec<u8>> {
    let file = disk.open(path, Mode::Read)?;
    let read = || {
        let mut bytes = vec![0; usize::try_from(disk.len(file)?).map_err(|_| io::ErrorKind::FileTooLarge)?];
        read_exact(disk, file, 0, &mut bytes)?;
        Ok(bytes)
    };
    let result = read();
    disk.close(file);
    result
}

/// Writes a whole file under another name first, so that under `path` lies the old or the new one, whole.
///
/// # Errors
/// The disk's answer.
pub(crate) fn replace_file(disk: &dyn Disk, dir: &str, name: &str, bytes: &[u8]) -> io::Result<()> {
    let join = |name: &str| if dir.is_empty() { name.to_owned() } else { format!("{dir}/{name}") };
    let new = join(&format!("{name}.new"));
    let file = disk.open(&new, Mode::CreateOrEmpty)?;
    let written = disk.write_at(file, 0, bytes).and_then(|()| disk.sync(file));
    disk.close(file);
    written?;
    disk.rename(&new, &join(name))?;
    disk.sync_dir(dir)
}
