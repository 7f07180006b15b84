// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Opens a store, or makes one where there is an empty directory, and says in a sentence what to do when it can't.

use crate::clock;
use crate::event::{Event, Events};
use crate::files::{self, FileError};
use crate::shared::Served;
use crate::store_thread::StoreHandle;
use adit_proto::backup::CreditPool;
use adit_store::{Access, CreateError, DirDisk, Geometry, NewStore, OpenError, Opening, Store};
use adit_wire::ids::StoreId;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The file that makes a directory a store.
const SUPERBLOCK: &str = "store.adt";

/// What the store is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The box's own: made when the directory is empty.
    Box,
    /// Carried from another machine: nothing in it is changed.
    Carried,
}

/// Why there is no store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Something lies there that is no store.
    #[error("open the store in {}: the directory holds other things and no store", .0.display())]
    Occupied(PathBuf),
    /// There is nothing to read.
    #[error("open the store in {}: there is none", .0.display())]
    Absent(PathBuf),
    /// The directory can't be used.
    #[error("open the store")]
    File(#[from] FileError),
    /// It can't be made.
    #[error("make a store in {}", path.display())]
    Create {
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: CreateError,
    },
    /// It can't be opened.
    #[error("open the store in {}", path.display())]
    Open {
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: OpenError,
    },
    /// The system has no randomness or no thread to give.
    #[error("start the store")]
    System(#[source] std::io::Error),
}

impl StoreError {
    /// What a person can do about it.
    #[must_use]
    pub fn advice(&self) -> Option<String> {
        match self {
            Self::Occupied(path) => Some(format!(
                "name an empty or absent directory by `store` in [box], for example {}/adit",
                path.display()
            )),
            Self::Absent(_) => Some("name the directory that holds store.adt".to_owned()),
            Self::File(error) if error.is_denied() => {
                Some("let the user that runs aditd own the store's directory: chown -R USER: DIRECTORY".to_owned())
            }
            Self::Open { source: OpenError::Locked, .. } => {
                Some("another aditd uses this store; stop it first: systemctl stop aditd".to_owned())
            }
            Self::Open { source: OpenError::Newer { .. }, .. } => Some("nothing in it was changed".to_owned()),
            Self::Open { source: OpenError::Disk { source, .. }, .. }
                if source.kind() == std::io::ErrorKind::PermissionDenied =>
            {
                Some("let the user that runs aditd own the store's directory: chown -R USER: DIRECTORY".to_owned())
            }
            Self::File(_) | Self::Create { .. } | Self::Open { .. } | Self::System(_) => None,
        }
    }
}

/// Opens the store of a directory.
///
/// # Errors
/// When it can't be opened or made.
pub fn open(path: &Path, mode: Mode) -> Result<(Store, Opening), StoreError> {
    let access = match mode {
        Mode::Carried => Access::ReadOnly,
        Mode::Box => Access::ReadWrite,
    };
    let names = files::names(path)?;
    let is_store = names.iter().any(|name| name == SUPERBLOCK || name == "store.bak");
    // A fresh file system has lost+found.
    let is_empty = names.iter().all(|name| name == "lost+found" || name.starts_with('.'));
    match mode {
        Mode::Carried if !is_store => return Err(StoreError::Absent(path.to_owned())),
        Mode::Box if !is_store && !is_empty => return Err(StoreError::Occupied(path.to_owned())),
        Mode::Carried => {}
        Mode::Box => {
            files::private_dir(path, SUPERBLOCK)?;
            if !is_store {
                create(path)?;
            }
        }
    }
    let disk = disk(path)?;
    Store::open(disk, access, clock::moment()).map_err(|source| StoreError::Open { path: path.to_owned(), source })
}

fn disk(path: &Path) -> Result<DirDisk, StoreError> {
    DirDisk::open(path).map_err(|error| StoreError::File(FileError::at("open", path)(error)))
}

fn create(path: &Path) -> Result<(), StoreError> {
    let (mut id, mut store_key) = (StoreId::ZERO, [0u8; 32]);
    for bytes in [&mut id.0[..], &mut store_key[..]] {
        aws_lc_rs::rand::fill(bytes).map_err(|_| StoreError::System(std::io::Error::other("no randomness")))?;
    }
    let new = NewStore { id, store_key, geometry: Geometry::default(), created_s: clock::wall_s() };
    Store::create(&disk(path)?, &new).map_err(|source| StoreError::Create { path: path.to_owned(), source })
}

/// Opens the store and starts its thread.
pub(crate) fn serve(path: &Path, mode: Mode, events: &Arc<Events>) -> Result<Served, StoreError> {
    let is_new = !path.join(SUPERBLOCK).exists() && !path.join("store.bak").exists();
    let (store, opening) = open(path, mode)?;
    let what = if is_new { "made anew".to_owned() } else { describe(&opening) };
    events.record(&Event::StoreOpened { what });
    if let (Some(why), Mode::Box) = (&opening.read_only, mode) {
        events.record(&Event::StoreFailed { why: why.clone() });
    }
    let id = store.id();
    let handle = StoreHandle::start(store, Arc::clone(events)).map_err(StoreError::System)?;
    Ok(Served {
        id,
        handle,
        read_only: mode == Mode::Carried,
        path: path.to_owned(),
        credit: CreditPool::for_memory(memory_bytes()),
    })
}

/// How an opening went, in words.
#[must_use]
pub fn describe(opening: &Opening) -> String {
    if opening.clean {
        return "closed properly before".to_owned();
    }
    format!(
        "not closed properly before; checked {} bytes, kept {} records above the last promise, cut off {} bytes",
        opening.scanned_bytes, opening.kept_records, opening.cut_bytes
    )
}

/// This machine's memory; 0 when the kernel doesn't say, which means: little.
fn memory_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib = total.and_then(|total| total.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kib.unwrap_or(0).saturating_mul(1_024)
}
