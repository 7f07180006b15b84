// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Small files that are whole or absent.
//!
//! A change to the state directory is a list of [`Step`]s, so that a test can stop after any of them and see that the next
//! start finds its way. This module knows no meaning of the files it writes; it never follows a path it was not given.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// Mode of every file below the state directory.
pub const FILE_MODE: u32 = 0o600;
/// Mode of the state directory and the directories in it.
pub const DIR_MODE: u32 = 0o700;

/// One change of the file system, durable as far as its own description says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// The file holds exactly these bytes, and they are on stable storage; its name may not be.
    Write {
        /// Where.
        path: PathBuf,
        /// What.
        bytes: Vec<u8>,
    },
    /// The file has another name; not durable before the directory is synced.
    Rename {
        /// The present name.
        from: PathBuf,
        /// The new name; what was there is replaced.
        to: PathBuf,
    },
    /// The file is gone; not durable before the directory is synced. It may be gone already.
    Remove {
        /// Which.
        path: PathBuf,
    },
    /// All names of the directory are on stable storage.
    SyncDir {
        /// Which.
        path: PathBuf,
    },
}

/// What failed on which path.
#[derive(Debug, thiserror::Error)]
#[error("{doing} {}", path.display())]
pub struct FileError {
    /// What was done, as a verb.
    pub doing: &'static str,
    /// Where.
    pub path: PathBuf,
    /// Why it failed.
    #[source]
    pub source: std::io::Error,
}

impl FileError {
    /// An error of the operation `doing` on `path`.
    pub fn at(doing: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self { doing, path: path.to_owned(), source }
    }

    /// Whether the file or directory is not there.
    #[must_use]
    pub fn is_absent(&self) -> bool {
        self.source.kind() == std::io::ErrorKind::NotFound
    }

    /// Whether the user may not do this.
    #[must_use]
    pub fn is_denied(&self) -> bool {
        self.source.kind() == std::io::ErrorKind::PermissionDenied
    }
}

impl Step {
    /// Does the step.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn apply(&self) -> Result<(), FileError> {
        match self {
            Self::Write { path, bytes } => {
                let mut options = OpenOptions::new();
                options.write(true).create(true).truncate(true).mode(FILE_MODE);
                let mut file = options.open(path).map_err(FileError::at("create", path))?;
                file.write_all(bytes).map_err(FileError::at("write", path))?;
                file.sync_all().map_err(FileError::at("sync", path))
            }
            Self::Rename { from, to } => std::fs::rename(from, to).map_err(FileError::at("rename", from)),
            Self::Remove { path } => match std::fs::remove_file(path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(FileError::at("remove", path)(error)),
                Ok(()) | Err(_) => Ok(()),
            },
            Self::SyncDir { path } => {
                File::open(path).and_then(|dir| dir.sync_all()).map_err(FileError::at("sync directory", path))
            }
        }
    }
}

/// Does the steps in their order; stops at the first that fails.
///
/// # Errors
/// The error of the step that failed.
pub fn apply(steps: &[Step]) -> Result<(), FileError> {
    steps.iter().try_for_each(Step::apply)
}

/// The steps after which `dir/name` holds `bytes`, whole, whatever was there before.
#[must_use]
pub fn replacing(dir: &Path, name: &str, bytes: Vec<u8>) -> Vec<Step> {
    let temporary = dir.join(format!(".{name}.part"));
    vec![
        Step::Write { path: temporary.clone(), bytes },
        Step::Rename { from: temporary, to: dir.join(name) },
        Step::SyncDir { path: dir.to_owned() },
    ]
}

/// Reads a file of at most `bytes_max` bytes.
///
/// # Errors
/// When it can't be read or is longer.
pub fn read(path: &Path, bytes_max: u64) -> Result<Vec<u8>, FileError> {
    use std::io::Read as _;
    let file = File::open(path).map_err(FileError::at("open", path))?;
    let mut bytes = Vec::new();
    file.take(bytes_max.saturating_add(1)).read_to_end(&mut bytes).map_err(FileError::at("read", path))?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > bytes_max {
        return Err(FileError::at("read", path)(std::io::Error::other(format!("it is longer than {bytes_max} bytes"))));
    }
    Ok(bytes)
}

/// The names in a directory that are UTF-8, sorted; an absent directory has none.
///
/// # Errors
/// When the directory can't be read.
pub fn names(dir: &Path) -> Result<Vec<String>, FileError> {
    let entries = match std::fs::read_dir(dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(FileError::at("list", dir))?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(FileError::at("list", dir))?;
        if let Ok(name) = entry.file_name().into_string() {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// Makes a directory that only its owner may enter, if there is none, and tightens one that is open to others.
///
/// # Errors
/// When it can't be made.
pub fn private_dir(path: &Path) -> Result<(), FileError> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(DIR_MODE)
        .create(path)
        .map_err(FileError::at("create directory", path))?;
    let metadata = std::fs::metadata(path).map_err(FileError::at("open", path))?;
    let mode = metadata.permissions().mode();
    if mode & 0o077 != 0 {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(DIR_MODE))
            .map_err(FileError::at("close to others", path))?;
    }
    Ok(())
}
