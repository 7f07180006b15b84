// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The state directory: who this machine is and whom it knows (adit-peers), and what only an agent remembers.
//!
//! Everything in it is small, mode 0600 in directories of mode 0700, and written whole. It holds one secret, the identity's
//! seed; a state directory that is copied is a cloned machine, which the peers notice.

use crate::files::{self, FileError};
use crate::health::Remembered;
use crate::peers::{hex, unhex};
use adit_peers::home::Home;
use adit_wire::ids::{PublicKey, SourceId};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

pub use adit_peers::home::{HomeError as StateError, HomeLock as StateLock, PendingPairing};

const ADDRESS: &str = "address";
const HEARD: &str = "heard";
const HEALTH_MEMORY: &str = "health-memory";
const HEALTH_EXPECTED: &str = "health-expected";
/// An order to the running agent, with the id in hexadecimal behind it.
const FORGET_PREFIX: &str = "forget-";
const PERIODS: &str = "periods";
const VERIFIED: &str = "verified";

/// An open state directory: what every daemon has, and what only an agent remembers.
#[derive(Debug)]
pub struct State {
    home: Home,
    dir: PathBuf,
}

impl std::ops::Deref for State {
    type Target = Home;

    fn deref(&self) -> &Home {
        &self.home
    }
}

/// The signed address record's number and what it was last made from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AddressState {
    /// Rises with every change.
    pub seq: u64,
    /// Packed addresses of the last record.
    pub packed: Vec<u8>,
}

impl State {
    /// Opens the directory, making what is missing.
    ///
    /// # Errors
    /// When it can't be made or entered.
    pub fn open(dir: &Path) -> Result<Self, StateError> {
        Ok(Self { home: Home::open(dir)?, dir: dir.to_owned() })
    }

    /// The address record's number and last content; nothing when there was none.
    #[must_use]
    pub fn address(&self) -> AddressState {
        let text = files::read(&self.dir.join(ADDRESS), 4 << 10).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        let parsed = text.and_then(|text| {
            let (seq, packed) = text.trim().split_once(' ').unwrap_or_else(|| (text.trim(), ""));
            Some(AddressState { seq: seq.parse().ok()?, packed: unhex(packed)? })
        });
        parsed.unwrap_or_default()
    }

    /// Stores the address record's number before a record with it is shown to anyone.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn put_address(&self, address: &AddressState) -> Result<(), FileError> {
        let text = format!("{} {}\n", address.seq, hex(&address.packed));
        files::apply(&files::replacing(&self.dir, ADDRESS, text.into_bytes()))
    }

    /// When each key was last heard, seconds since 1970. A loss of this file loses no promise.
    #[must_use]
    pub fn heard(&self) -> BTreeMap<PublicKey, u64> {
        let text = files::read(&self.dir.join(HEARD), 1 << 20).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        let lines = text.unwrap_or_default();
        lines
            .lines()
            .filter_map(|line| {
                let (key, seconds) = line.split_once(' ')?;
                Some((unhex(key).and_then(|bytes| PublicKey::from_slice(&bytes))?, seconds.parse().ok()?))
            })
            .collect()
    }

    /// Stores when each key was last heard.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn put_heard(&self, heard: &BTreeMap<PublicKey, u64>) -> Result<(), FileError> {
        let text: String = heard.iter().map(|(key, seconds)| format!("{key} {seconds}\n")).collect();
        files::apply(&files::replacing(&self.dir, HEARD, text.into_bytes()))
    }

    /// How often each source said it means to send, seconds. Without this file a day is assumed.
    #[must_use]
    pub fn periods(&self) -> BTreeMap<SourceId, u32> {
        let text = files::read(&self.dir.join(PERIODS), 1 << 20).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        let lines = text.unwrap_or_default();
        lines
            .lines()
            .filter_map(|line| {
                let (source, seconds) = line.split_once(' ')?;
                Some((unhex(source).and_then(|bytes| SourceId::from_slice(&bytes))?, seconds.parse().ok()?))
            })
            .collect()
    }

    /// Stores how often each source means to send.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn put_periods(&self, periods: &BTreeMap<SourceId, u32>) -> Result<(), FileError> {
        let text: String = periods.iter().map(|(source, seconds)| format!("{source} {seconds}\n")).collect();
        files::apply(&files::replacing(&self.dir, PERIODS, text.into_bytes()))
    }

    /// What health remembers; nothing when it was never stored or cannot be read.
    #[must_use]
    pub(crate) fn health_remembered(&self) -> Remembered {
        let read = |name: &str, most: usize| {
            files::read(&self.dir.join(name), u64::try_from(most).unwrap_or(u64::MAX)).unwrap_or_default()
        };
        Remembered {
            memory: read(HEALTH_MEMORY, adit_health::memory::BYTES_MAX),
            expected: read(HEALTH_EXPECTED, adit_health::expect::BYTES_MAX),
        }
    }

    /// Stores what health remembers.
    ///
    /// # Errors
    /// When it can't be written.
    pub(crate) fn put_health_remembered(&self, remembered: &Remembered) -> Result<(), FileError> {
        files::apply(&files::replacing(&self.dir, HEALTH_MEMORY, remembered.memory.clone()))?;
        files::apply(&files::replacing(&self.dir, HEALTH_EXPECTED, remembered.expected.clone()))
    }

    /// Orders that a thing is not missed any more, from the agent's next look on.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn forget(&self, id: &str) -> Result<(), FileError> {
        files::apply(&files::replacing(&self.dir, &forget_name(id), Vec::new()))
    }

    /// The ids of things that are not to be missed any more, until [`Self::obeyed`].
    pub(crate) fn forgotten(&self) -> Vec<String> {
        let names = std::fs::read_dir(&self.dir).into_iter().flatten().flatten();
        let id = |name: std::ffi::OsString| String::from_utf8(unhex(name.to_str()?.strip_prefix(FORGET_PREFIX)?)?).ok();
        names.filter_map(|entry| id(entry.file_name())).collect()
    }

    /// The orders to forget these ids are obeyed.
    ///
    /// # Errors
    /// When their files can't be removed.
    pub(crate) fn obeyed(&self, ids: &[String]) -> Result<(), FileError> {
        let gone = |id: &String| files::Step::Remove { path: self.dir.join(forget_name(id)) };
        let mut steps: Vec<files::Step> = ids.iter().map(gone).collect();
        steps.extend((!ids.is_empty()).then(|| files::Step::SyncDir { path: self.dir.clone() }));
        files::apply(&steps)
    }

    /// When the whole store was last read through, seconds since 1970.
    #[must_use]
    pub fn verified_s(&self) -> Option<u64> {
        let bytes = files::read(&self.dir.join(VERIFIED), 256).ok()?;
        core::str::from_utf8(&bytes).ok()?.trim().parse().ok()
    }

    /// Stores when the whole store was last read through.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn put_verified(&self, seconds: u64) -> Result<(), FileError> {
        files::apply(&files::replacing(&self.dir, VERIFIED, format!("{seconds}\n").into_bytes()))
    }
}

fn forget_name(id: &str) -> String {
    format!("{FORGET_PREFIX}{}", hex(id.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    fn state() -> (tempfile::TempDir, State) {
        let dir = tempfile::tempdir().expect("directory");
        let state = State::open(&dir.path().join("state")).expect("opened");
        (dir, state)
    }

    #[test]
    fn nobody_else_may_enter() {
        let (_dir, state) = state();
        state.identity().expect("made");
        let mode = |path: &Path| std::fs::metadata(path).expect("there").permissions().mode() & 0o777;
        assert_eq!(mode(state.dir()), 0o700);
        assert_eq!(mode(&state.dir().join("peers")), 0o700);
        assert_eq!(mode(&state.dir().join("identity")), 0o600);
    }

    #[test]
    fn health_is_remembered_and_orders_to_forget_stand_until_obeyed() {
        let (dir, state) = state();
        assert_eq!(state.health_remembered(), Remembered::default());
        let remembered = Remembered { memory: vec![1, 2], expected: vec![3] };
        state.put_health_remembered(&remembered).expect("stored");
        state.forget("naa.5000 c500/ü").expect("ordered");
        let again = State::open(&dir.path().join("state")).expect("opened");
        assert_eq!(again.health_remembered(), remembered);
        assert_eq!(again.forgotten(), ["naa.5000 c500/ü"]);
        assert_eq!(state.forgotten(), ["naa.5000 c500/ü"], "until it is obeyed");
        state.obeyed(&again.forgotten()).expect("removed");
        assert!(again.forgotten().is_empty());
    }

    #[test]
    fn small_facts_come_back() {
        let (_dir, state) = state();
        assert_eq!(state.address(), AddressState::default());
        let address = AddressState { seq: 7, packed: vec![1; 18] };
        state.put_address(&address).expect("written");
        assert_eq!(state.address(), address);
        let heard = BTreeMap::from([(PublicKey([3; 32]), 12)]);
        state.put_heard(&heard).expect("written");
        assert_eq!(state.heard(), heard);
        let periods = BTreeMap::from([(SourceId([6; 16]), 3_600)]);
        state.put_periods(&periods).expect("written");
        assert_eq!(state.periods(), periods);
        assert_eq!(state.verified_s(), None);
        state.put_verified(99).expect("written");
        assert_eq!(state.verified_s(), Some(99));
        let pending = PendingPairing { maker: PublicKey([4; 32]), token: "adit1xyz".to_owned() };
        state.begin_pairing(&pending).expect("written");
        assert_eq!(state.pending_pairing(), Some(pending));
        state.end_pairing().expect("removed");
        assert_eq!(state.pending_pairing(), None);
    }
}
