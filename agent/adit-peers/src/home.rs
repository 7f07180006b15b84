// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A daemon's state directory: who this machine is, whom it knows and which tokens are out.
//!
//! Everything in it is small, mode 0600 in directories of mode 0700, and written whole. It holds one secret, the identity's
//! seed; a state directory that is copied is a cloned machine, which the peers notice.

use crate::files::{self, FileError};
use crate::peers::{PeerDir, hex, unhex};
use crate::tokens::TokenDir;
use adit_link::Identity;
use adit_wire::ids::PublicKey;
use std::fs::File;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

const IDENTITY: &str = "identity";
const IDENTITY_HEAD: &str = "adit identity v1";
const LISTENING: &str = "listening";
const LOCK: &str = "lock";
const PENDING: &str = "pairing";

/// An open state directory.
#[derive(Debug)]
pub struct Home {
    dir: PathBuf,
}

/// Why the state can't be used.
#[derive(Debug, thiserror::Error)]
pub enum HomeError {
    /// The file system refuses.
    #[error(transparent)]
    File(#[from] FileError),
    /// The identity's file is no identity.
    #[error("read the identity in {0}")]
    Identity(PathBuf),
    /// Another daemon runs on this state.
    #[error("lock {0}: another program runs on this state directory")]
    Locked(PathBuf),
}

impl HomeError {
    /// What a person can do about it.
    #[must_use]
    pub fn advice(&self) -> Option<String> {
        match self {
            Self::File(error) if error.is_denied() => Some(
                "run it as the user that owns the state directory, usually root, or name another one by `state` in the configuration"
                    .to_owned(),
            ),
            Self::File(_) => None,
            Self::Identity(path) => Some(format!(
                "restore the file from a copy; or remove {} to become a new machine that must be paired again",
                path.display()
            )),
            Self::Locked(_) => Some("stop it first: systemctl stop aditd, or adit-monitor".to_owned()),
        }
    }
}

/// Keeps other daemons away from a state directory until it is dropped.
#[derive(Debug)]
pub struct HomeLock(#[expect(dead_code, reason = "held for its lock")] File);

/// A redemption that was begun and not yet confirmed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PendingPairing {
    /// The maker's key.
    pub maker: PublicKey,
    /// The token's text; it is worth nothing once it is burnt.
    pub token: String,
}

impl Home {
    /// Opens the directory, making what is missing.
    ///
    /// # Errors
    /// When it can't be made or entered.
    pub fn open(dir: &Path) -> Result<Self, HomeError> {
        files::private_dir(dir, IDENTITY)?;
        for inside in ["peers", "tokens"] {
            // Closed to others by the directory above, whatever its own mode.
            std::fs::DirBuilder::new()
                .recursive(true)
                .mode(files::DIR_MODE)
                .create(dir.join(inside))
                .map_err(FileError::at("create directory", &dir.join(inside)))?;
        }
        Ok(Self { dir: dir.to_owned() })
    }

    /// Where it lies.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The peers' files.
    #[must_use]
    pub fn peers(&self) -> PeerDir {
        PeerDir::new(self.dir.join("peers"))
    }

    /// The tokens' files.
    #[must_use]
    pub fn tokens(&self) -> TokenDir {
        TokenDir::new(self.dir.join("tokens"))
    }

    /// Keeps other agents away. Commands that only change files of their own don't need it.
    ///
    /// # Errors
    /// When another agent holds it.
    pub fn lock(&self) -> Result<HomeLock, HomeError> {
        let path = self.dir.join(LOCK);
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(FileError::at("open", &path))?;
        match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(HomeLock(file)),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(HomeError::Locked(self.dir.clone())),
            Err(error) => Err(FileError::at("lock", &path)(error.into()).into()),
        }
    }

    /// This machine's identity; made and stored at the first call.
    ///
    /// # Errors
    /// When the file is damaged or can't be written.
    pub fn identity(&self) -> Result<Identity, HomeError> {
        if let Some(identity) = self.stored_identity()? {
            return Ok(identity);
        }
        // `aditd token` may be typed while the daemon starts for the first time: only one of them makes the key.
        let dir = File::open(&self.dir).map_err(FileError::at("open", &self.dir))?;
        dir.lock().map_err(FileError::at("lock", &self.dir))?;
        if let Some(identity) = self.stored_identity()? {
            return Ok(identity);
        }
        let identity = Identity::generate();
        let text = format!("{IDENTITY_HEAD}\n{}\n", hex(identity.seed()));
        files::apply(&files::replacing(&self.dir, IDENTITY, text.into_bytes()))?;
        Ok(identity)
    }

    fn stored_identity(&self) -> Result<Option<Identity>, HomeError> {
        let path = self.dir.join(IDENTITY);
        let bytes = match files::read(&path, 4 << 10) {
            Ok(bytes) => bytes,
            Err(error) if error.is_absent() => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let text = core::str::from_utf8(&bytes).ok().and_then(|text| text.strip_prefix(IDENTITY_HEAD));
        let seed = text.and_then(unhex).and_then(|seed| <[u8; 32]>::try_from(seed).ok());
        seed.map(|seed| Some(Identity::from_seed(seed))).ok_or(HomeError::Identity(path))
    }

    /// The address on which the running agent listens, when the configuration leaves the port open.
    #[must_use]
    pub fn listening(&self) -> Option<std::net::SocketAddrV6> {
        let bytes = files::read(&self.dir.join(LISTENING), 256).ok()?;
        core::str::from_utf8(&bytes).ok()?.trim().parse().ok()
    }

    /// Stores the address on which the agent listens.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn put_listening(&self, address: std::net::SocketAddrV6) -> Result<(), FileError> {
        files::apply(&files::replacing(&self.dir, LISTENING, format!("{address}\n").into_bytes()))
    }

    /// The redemption that was begun and not confirmed.
    #[must_use]
    pub fn pending_pairing(&self) -> Option<PendingPairing> {
        let bytes = files::read(&self.dir.join(PENDING), 4 << 10).ok()?;
        let text = core::str::from_utf8(&bytes).ok()?;
        let (maker, token) = text.trim().split_once(' ')?;
        let maker = unhex(maker).and_then(|bytes| PublicKey::from_slice(&bytes))?;
        Some(PendingPairing { maker, token: token.to_owned() })
    }

    /// Stores that a redemption is begun.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn begin_pairing(&self, pending: &PendingPairing) -> Result<(), FileError> {
        let text = format!("{} {}\n", pending.maker, pending.token);
        files::apply(&files::replacing(&self.dir, PENDING, text.into_bytes()))
    }

    /// Stores that no redemption is under way.
    ///
    /// # Errors
    /// When the file can't be removed.
    pub fn end_pairing(&self) -> Result<(), FileError> {
        files::apply(&[
            files::Step::Remove { path: self.dir.join(PENDING) },
            files::Step::SyncDir { path: self.dir.clone() },
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> (tempfile::TempDir, Home) {
        let dir = tempfile::tempdir().expect("directory");
        let state = Home::open(&dir.path().join("state")).expect("opened");
        (dir, state)
    }

    #[test]
    fn two_programs_that_start_at_once_make_one_identity() {
        for _ in 0..20 {
            let (_dir, state) = state();
            let ask = || state.identity().expect("made or read").public_key();
            let keys =
                std::thread::scope(|scope| [0; 4].map(|_| scope.spawn(ask)).map(|asked| asked.join().expect("asked")));
            assert_eq!(keys, [keys[0]; 4]);
        }
    }

    #[test]
    fn the_identity_stays() {
        let (_dir, state) = state();
        let first = state.identity().expect("made").public_key();
        assert_eq!(state.identity().expect("read").public_key(), first);
    }

    #[test]
    fn a_damaged_identity_is_not_replaced_silently() {
        let (_dir, state) = state();
        state.identity().expect("made");
        std::fs::write(state.dir().join("identity"), "adit identity v1\nab").expect("written");
        let error = state.identity().expect_err("damaged");
        assert!(matches!(error, HomeError::Identity(_)) && error.advice().is_some());
    }

    #[test]
    fn one_agent_at_a_time() {
        let (_dir, state) = state();
        let held = state.lock().expect("locked");
        assert!(matches!(state.lock(), Err(HomeError::Locked(_))));
        drop(held);
        state.lock().expect("free again");
    }
}
