// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The disk of a real box: a directory. One descriptor per open file serves writing and flushing, so that no write-back
//! error is lost between two descriptors.

use super::{Disk, FileId, Mode, Sharing};
use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// A directory as a [`Disk`].
#[derive(Debug)]
pub struct DirDisk {
    root: PathBuf,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    next: u64,
    files: HashMap<FileId, Arc<File>>,
    lock: Option<File>,
}

impl DirDisk {
    /// The disk over an existing directory.
    ///
    /// # Errors
    /// When the directory is not there or is none.
    pub fn open(root: impl AsRef<Path>) -> io::Result<Self> {
        let root = root.as_ref().to_path_buf();
        if !std::fs::metadata(&root)?.is_dir() {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        Ok(Self { root, open: Mutex::default() })
    }

    fn path(&self, path: &str) -> PathBuf {
        if path.is_empty() { self.root.clone() } else { self.root.join(path) }
    }

    fn file(&self, file: FileId) -> io::Result<Arc<File>> {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.files.get(&file).map(Arc::clone).ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl Disk for DirDisk {
    fn open(&self, path: &str, mode: Mode) -> io::Result<FileId> {
        let mut options = OpenOptions::new();
        options.read(true);
        match mode {
            Mode::Read => {}
            Mode::Write => {
                options.write(true);
            }
            Mode::CreateNew => {
                options.write(true).create_new(true);
            }
            Mode::CreateOrEmpty => {
                options.write(true).create(true).truncate(true);
            }
        }
        let file = options.open(self.path(path))?;
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.next += 1;
        let id = FileId(open.next);
        open.files.insert(id, Arc::new(file));
        Ok(id)
    }

    fn close(&self, file: FileId) {
        let closed = self.open.lock().unwrap_or_else(PoisonError::into_inner).files.remove(&file);
        drop(closed);
    }

    fn read_at(&self, file: FileId, offset: u64, bytes: &mut [u8]) -> io::Result<usize> {
        let file = self.file(file)?;
        let mut done = 0;
        while let Some(rest) = bytes.get_mut(done..).filter(|rest| !rest.is_empty()) {
            match file.read_at(rest, offset + done as u64) {
                Ok(0) => break,
                Ok(count) => done += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    fn write_at(&self, file: FileId, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.file(file)?.write_all_at(bytes, offset)
    }

    fn set_len(&self, file: FileId, bytes: u64) -> io::Result<()> {
        self.file(file)?.set_len(bytes)
    }

    fn reserve(&self, file: FileId, end: u64) -> io::Result<()> {
        let file = self.file(file)?;
        match rustix::fs::fallocate(&*file, rustix::fs::FallocateFlags::KEEP_SIZE, 0, end) {
            Ok(()) => Ok(()),
            Err(rustix::io::Errno::NOSPC | rustix::io::Errno::DQUOT) => Err(io::ErrorKind::StorageFull.into()),
            // File systems that can't reserve lose only the early warning.
            Err(_) => Ok(()),
        }
    }

    fn uncache(&self, file: FileId) {
        // Pages that were not flushed yet stay, as they must; a file system that cannot do it keeps its cache.
        let _hint =
            self.file(file).map(|file| rustix::fs::fadvise(&*file, 0, None, rustix::fs::Advice::DontNeed)).is_ok();
    }

    fn len(&self, file: FileId) -> io::Result<u64> {
        Ok(self.file(file)?.metadata()?.len())
    }

    fn sync(&self, file: FileId) -> io::Result<()> {
        self.file(file)?.sync_data()
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        std::fs::rename(self.path(from), self.path(to))
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        std::fs::remove_file(self.path(path))
    }

    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        let entries = match std::fs::read_dir(self.path(dir)) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut names = Vec::new();
        for entry in entries {
            // A name that is not UTF-8 is none of ours.
            if let Ok(name) = entry?.file_name().into_string() {
                names.push(name);
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    fn create_dir(&self, dir: &str) -> io::Result<()> {
        std::fs::create_dir_all(self.path(dir))
    }

    fn remove_dir(&self, dir: &str) -> io::Result<()> {
        std::fs::remove_dir(self.path(dir))
    }

    fn sync_dir(&self, dir: &str) -> io::Result<()> {
        File::open(self.path(dir))?.sync_all()
    }

    fn free_bytes(&self) -> io::Result<Option<u64>> {
        let stat = rustix::fs::statvfs(&self.root)?;
        Ok(Some(stat.f_bavail.saturating_mul(stat.f_frsize)))
    }

    fn lock(&self, path: &str, sharing: Sharing) -> io::Result<()> {
        let file = File::open(self.path(path))?;
        let how = match sharing {
            Sharing::Exclusive => rustix::fs::FlockOperation::NonBlockingLockExclusive,
            Sharing::Readers => rustix::fs::FlockOperation::NonBlockingLockShared,
        };
        rustix::fs::flock(&file, how)?;
        self.open.lock().unwrap_or_else(PoisonError::into_inner).lock = Some(file);
        Ok(())
    }
}
