// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The state directory of a source or an admin identity: 0700, every file 0600, every change written aside, synced and
//! renamed. It owns names and permissions of the files; what they mean belongs to whoever reads them. A name either has
//! its old bytes or its new ones. The archive engine keeps its own files here too (state, journal), and so does the list
//! of runs that aditd of the same host reads: one directory is what a backup of this machine leaves out.

use crate::exit::Exit;
use crate::failure::Failure;
use adit_link::Identity;
use adit_wire::ids::SourceId;
use serde::{Deserialize, Serialize};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// Where a source keeps its state when `--state` is not given.
pub const STATE_DEFAULT: &str = "/var/lib/adit-source";
/// Larger state files of this module than this are not ours, bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Names of the files in a state directory.
pub mod names {
    /// Seed of the device key, 32 bytes.
    pub const IDENTITY: &str = "identity.key";
    /// The source's secret keys.
    pub const SOURCE_KEYS: &str = "source.keys";
    /// The source's name and id.
    pub const SOURCE: &str = "source.toml";
    /// Public recovery files, one per recipient.
    pub const RECIPIENTS: &str = "recipients";
    /// The certificate, once there is one.
    pub const CERTIFICATE: &str = "certificate";
    /// The pinned box.
    pub const BOX: &str = "box.toml";
    /// A pairing that may have happened.
    pub const PENDING_PAIR: &str = "pair.pending";
    /// Receipts of the box, newest last.
    pub const RECEIPTS: &str = "receipts";
    /// The snapshot from which an adopted source goes on.
    pub const BASE: &str = "base.toml";
    /// What the newest run counted.
    pub const LAST: &str = "last.toml";
    /// This machine's share of the key of the box's data.
    pub const SHARE: &str = "unlock-share";
    /// One that was sent, and perhaps taken.
    pub const SHARE_NEW: &str = "unlock-share.new";
    /// When and where the box's data were last seen open.
    pub const SEEN: &str = "unlock-seen.toml";
    /// Held by the one run.
    pub const LOCK: &str = "lock";
}

/// A state directory.
#[derive(Clone, Debug)]
pub struct StateDir {
    path: PathBuf,
}

/// Proof that this process alone uses the state directory.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

/// Name and id of the source, beside its keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceFile {
    /// The source's name.
    pub name: String,
    /// The source's id in hex.
    pub source: String,
    /// When it was set up, seconds since 1970.
    pub made_s: u64,
}

impl SourceFile {
    /// The id.
    ///
    /// # Errors
    /// When the text is no id.
    pub fn id(&self, state: &StateDir) -> Result<SourceId, Failure> {
        crate::text::source_id(&self.source)
            .ok_or_else(|| Failure::state(&state.file(names::SOURCE), "the source id is not 32 hex digits"))
    }
}

impl StateDir {
    /// A state directory that may not exist yet.
    #[must_use]
    pub const fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The path of one of its files.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Makes the directory with mode 0700, or checks that an existing one is closed to others.
    ///
    /// # Errors
    /// When it can't be made or belongs to nobody in particular.
    pub fn create(&self) -> Result<(), Failure> {
        self.create_sub(&self.path)
    }

    fn create_sub(&self, path: &Path) -> Result<(), Failure> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(|error| Failure::io("create the state directory", path, &error))?;
        let metadata = fs::metadata(path).map_err(|error| Failure::io("read", path, &error))?;
        if metadata.permissions().mode() & 0o077 != 0 {
            fs::set_permissions(path, fs::Permissions::from_mode(0o700))
                .map_err(|error| Failure::io("close to other users", path, &error))?;
        }
        Ok(())
    }

    /// Makes a directory within it.
    ///
    /// # Errors
    /// As [`Self::create`].
    pub fn create_dir(&self, name: &str) -> Result<PathBuf, Failure> {
        let path = self.file(name);
        self.create_sub(&path)?;
        Ok(path)
    }

    /// Takes the one lock.
    ///
    /// # Errors
    /// When another run holds it, or there is no state directory.
    pub fn lock(&self) -> Result<Lock, Failure> {
        let path = self.file(names::LOCK);
        let file =
            OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path).map_err(|error| {
                if error.kind() == io::ErrorKind::NotFound {
                    Failure::not_set_up(&self.path)
                } else {
                    Failure::io("lock", &path, &error)
                }
            })?;
        match file.try_lock() {
            Ok(()) => Ok(Lock { _file: file }),
            Err(fs::TryLockError::WouldBlock) => Err(Failure::new(
                Exit::Running,
                format!("another adit runs with {}", self.path.display()),
                "wait until it ends; `adit status` shows how it is doing",
            )),
            Err(fs::TryLockError::Error(error)) => Err(Failure::io("lock", &path, &error)),
        }
    }

    /// The bytes of a file, or `None` when there is none.
    ///
    /// # Errors
    /// When it can't be read or is far too large.
    pub fn read(&self, name: &str) -> Result<Option<Vec<u8>>, Failure> {
        let path = self.file(name);
        match File::open(&path) {
            Ok(file) => {
                let mut bytes = Vec::new();
                file.take(FILE_BYTES_MAX + 1)
                    .read_to_end(&mut bytes)
                    .map_err(|error| Failure::io("read", &path, &error))?;
                if bytes.len() as u64 > FILE_BYTES_MAX {
                    return Err(Failure::state(&path, "it is far too large"));
                }
                Ok(Some(bytes))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Failure::io("read", &path, &error)),
        }
    }

    /// The text of a file, or `None` when there is none.
    ///
    /// # Errors
    /// As [`Self::read`], and when it is not UTF-8.
    pub fn read_text(&self, name: &str) -> Result<Option<String>, Failure> {
        self.read(name)?
            .map(|bytes| String::from_utf8(bytes).map_err(|_| Failure::state(&self.file(name), "it is not text")))
            .transpose()
    }

    /// The parsed TOML of a file, or `None` when there is none.
    ///
    /// # Errors
    /// As [`Self::read_text`], and when it does not parse.
    pub fn read_toml<T: for<'de> Deserialize<'de>>(&self, name: &str) -> Result<Option<T>, Failure> {
        self.read_text(name)?
            .map(|text| toml::from_str(&text).map_err(|error| Failure::state(&self.file(name), error.message())))
            .transpose()
    }

    /// Replaces a file's bytes; on return the new bytes are on stable storage.
    ///
    /// # Errors
    /// When any step fails; the old bytes stay.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<(), Failure> {
        write_private(&self.file(name), bytes)
    }

    /// Replaces a file by TOML.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub fn write_toml<T: Serialize>(&self, name: &str, value: &T) -> Result<(), Failure> {
        let text = toml::to_string(value).map_err(|error| Failure::internal(error.to_string()))?;
        self.write(name, text.as_bytes())
    }

    /// Removes a file; it is gone for good on return. No file is fine.
    ///
    /// # Errors
    /// When it can't be removed.
    pub fn remove(&self, name: &str) -> Result<(), Failure> {
        let path = self.file(name);
        match fs::remove_file(&path) {
            Ok(()) => sync_dir(&self.path),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(Failure::io("remove", &path, &error)),
        }
    }

    /// Whether a file is there.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.file(name).exists()
    }

    /// The device key, or `None` before `init` or `pair`.
    ///
    /// # Errors
    /// When the file is unreadable or no seed.
    pub fn identity(&self) -> Result<Option<Identity>, Failure> {
        let Some(bytes) = self.read(names::IDENTITY)? else { return Ok(None) };
        let seed: [u8; 32] =
            bytes.try_into().map_err(|_| Failure::state(&self.file(names::IDENTITY), "it does not hold 32 bytes"))?;
        Ok(Some(Identity::from_seed(seed)))
    }

    /// The device key; makes one when there is none.
    ///
    /// # Errors
    /// As [`Self::identity`] and [`Self::write`].
    pub fn identity_or_new(&self) -> Result<Identity, Failure> {
        if let Some(identity) = self.identity()? {
            return Ok(identity);
        }
        let identity = Identity::generate();
        self.write(names::IDENTITY, &identity.seed()[..])?;
        Ok(identity)
    }

    /// Name and id of the source.
    ///
    /// # Errors
    /// When the directory holds no source.
    pub fn source(&self) -> Result<SourceFile, Failure> {
        self.read_toml(names::SOURCE)?.ok_or_else(|| Failure::not_set_up(&self.path))
    }
}

/// Writes a file of mode 0600 aside, syncs it, renames it into place and syncs the directory.
///
/// # Errors
/// When any step fails.
pub fn write_private(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let fail = |error: io::Error| Failure::io("write to", path, &error);
    let name = path.file_name().ok_or_else(|| fail(io::ErrorKind::InvalidInput.into()))?;
    let mut aside_name = std::ffi::OsString::from(".");
    aside_name.push(name);
    aside_name.push(".new");
    let aside = path.with_file_name(aside_name);
    let mut file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&aside).map_err(fail)?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(fail)?;
    fs::rename(&aside, path).map_err(fail)?;
    sync_dir(path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or_else(|| Path::new(".")))
}

/// Writes a new file of mode 0600; an existing one is never overwritten.
///
/// # Errors
/// When it exists or can't be written.
pub fn write_new(path: &Path, bytes: &[u8], mode: u32) -> Result<(), Failure> {
    let fail = |error: io::Error| Failure::io("write", path, &error);
    let mut file = OpenOptions::new().create_new(true).write(true).mode(mode).open(path).map_err(fail)?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(fail)
}

fn sync_dir(path: &Path) -> Result<(), Failure> {
    File::open(path).and_then(|dir| dir.sync_all()).map_err(|error| Failure::io("sync", path, &error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn new_state() -> (tempfile::TempDir, StateDir) {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::new(dir.path().join("state"));
        state.create().unwrap();
        (dir, state)
    }

    #[test]
    fn directory_and_files_are_private() {
        let (_dir, state) = new_state();
        state.write("x", b"1").unwrap();
        state.write("x", b"2").unwrap();
        assert_eq!(fs::metadata(state.path()).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(fs::metadata(state.file("x")).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(state.read("x").unwrap().unwrap(), b"2");
        assert_eq!(fs::read_dir(state.path()).unwrap().count(), 1, "nothing is left aside");
    }

    #[test]
    fn an_open_directory_is_closed() {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        StateDir::new(dir.path().to_owned()).create().unwrap();
        assert_eq!(fs::metadata(dir.path()).unwrap().permissions().mode() & 0o777, 0o700);
    }

    #[test]
    fn a_second_run_says_so() {
        let (_dir, state) = new_state();
        let held = state.lock().unwrap();
        let failure = state.lock().unwrap_err();
        assert_eq!(failure.exit, Exit::Running);
        assert!(failure.render().contains("another adit runs with"), "{failure:?}");
        drop(held);
        state.lock().unwrap();
    }

    #[test]
    fn the_identity_stays_the_same() {
        let (_dir, state) = new_state();
        assert!(state.identity().unwrap().is_none());
        let key = state.identity_or_new().unwrap().public_key();
        assert_eq!(state.identity_or_new().unwrap().public_key(), key);
        state.write(names::IDENTITY, b"short").unwrap();
        assert_eq!(state.identity().unwrap_err().exit, Exit::LocalIo);
    }

    #[test]
    fn no_source_is_told_with_the_next_step() {
        let (_dir, state) = new_state();
        assert_eq!(state.source().unwrap_err().exit, Exit::NotPaired);
        let file = SourceFile { name: "web1".to_owned(), source: "0b".repeat(16), made_s: 5 };
        state.write_toml(names::SOURCE, &file).unwrap();
        assert_eq!(state.source().unwrap(), file);
        assert_eq!(state.source().unwrap().id(&state).unwrap(), SourceId([0x0b; 16]));
    }

    #[test]
    fn a_new_file_never_overwrites() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("k");
        write_new(&path, b"1", 0o600).unwrap();
        assert_eq!(write_new(&path, b"2", 0o600).unwrap_err().exit, Exit::LocalIo);
        assert_eq!(fs::read(&path).unwrap(), b"1");
    }
}
