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
                own_like_directory(&file, path);
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

/// Root makes files for the agent's user: whoever owns the directory owns what is made in it. Others can't give files
/// away, and needn't.
fn own_like_directory(file: &File, path: &Path) {
    use std::os::unix::fs::MetadataExt as _;
    let (Some(Ok(dir)), Ok(made)) = (path.parent().map(std::fs::metadata), file.metadata()) else { return };
    if dir.uid() != made.uid() {
        // Refused means: not root. Then the file is as usable as its maker is.
        let _not_root = std::os::unix::fs::fchown(file, Some(dir.uid()), Some(dir.gid()));
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

/// Makes a directory that only its owner may enter, if there is none. One that is there and open to others is closed to
/// them when it is empty or holds `mark`; else it may be somebody else's, and it is refused.
///
/// # Errors
/// When it can't be made, or is open to others and not ours.
pub fn private_dir(path: &Path, mark: &str) -> Result<(), FileError> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(DIR_MODE)
        .create(path)
        .map_err(FileError::at("create directory", path))?;
    let metadata = std::fs::metadata(path).map_err(FileError::at("open", path))?;
    if metadata.permissions().mode() & 0o077 == 0 {
        return Ok(());
    }
    let names = names(path)?;
    let ours = names.iter().all(|name| name == "lost+found" || name == mark) || names.iter().any(|name| name == mark);
    if !ours {
        let why = "it is open to other users and holds other things; name another directory, or chmod 700 this one";
        return Err(FileError::at("use", path)(std::io::Error::other(why)));
    }
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(DIR_MODE))
        .map_err(FileError::at("close to others", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).expect("there").permissions().mode() & 0o777
    }

    fn open_to_all(dir: &Path, file: Option<&str>) {
        std::fs::create_dir(dir).expect("made");
        std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o755)).expect("set");
        if let Some(file) = file {
            std::fs::write(dir.join(file), "").expect("written");
        }
    }

    #[test]
    fn only_our_own_directories_are_closed_to_others() {
        let dir = tempfile::tempdir().expect("directory");
        let at = |name: &str| dir.path().join(name);
        open_to_all(&at("empty"), None);
        open_to_all(&at("ours"), Some("identity"));
        open_to_all(&at("home"), Some("holiday.jpg"));
        for name in ["new", "empty", "ours"] {
            private_dir(&at(name), "identity").expect(name);
            assert_eq!(mode(&at(name)), 0o700, "{name}");
        }
        let error = private_dir(&at("home"), "identity").expect_err("not ours");
        assert!(error.source.to_string().contains("chmod 700"), "{error}");
        assert_eq!(mode(&at("home")), 0o755);
    }

    #[test]
    fn a_replaced_file_is_old_or_new_after_every_step() {
        let dir = tempfile::tempdir().expect("directory");
        let path = dir.path().join("fact");
        std::fs::write(&path, "old").expect("written");
        let steps = replacing(dir.path(), "fact", b"new".to_vec());
        for step in &steps {
            let text = std::fs::read_to_string(&path).expect("read");
            assert!(text == "old" || text == "new");
            step.apply().expect("applied");
        }
        assert_eq!(std::fs::read_to_string(&path).expect("read"), "new");
        assert_eq!(mode(&path), 0o600);
    }

    #[test]
    fn what_root_makes_belongs_to_the_directorys_owner() {
        use std::os::unix::fs::MetadataExt as _;
        let dir = tempfile::tempdir().expect("directory");
        let is_root = std::os::unix::fs::chown(dir.path(), Some(12_345), Some(12_345)).is_ok();
        let steps = replacing(dir.path(), "fact", b"new".to_vec());
        if is_root {
            apply(&steps).expect("applied");
            assert_eq!(std::fs::metadata(dir.path().join("fact")).expect("there").uid(), 12_345);
        } else {
            apply(&steps).expect("applied");
            let own = std::fs::metadata(dir.path()).expect("there").uid();
            assert_eq!(std::fs::metadata(dir.path().join("fact")).expect("there").uid(), own);
        }
    }

    #[test]
    fn a_file_that_is_too_long_is_not_read() {
        let dir = tempfile::tempdir().expect("directory");
        std::fs::write(dir.path().join("f"), [0u8; 11]).expect("written");
        assert!(read(&dir.path().join("f"), 10).is_err());
        assert_eq!(read(&dir.path().join("f"), 11).expect("read").len(), 11);
    }
}
