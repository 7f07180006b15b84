// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The run keys of one source, opened as their key records arrive, shared by all threads of a restore.

use crate::keys::{Certified, RecoveryKey};
use crate::run_key::{OpenKeyError, Opened, open_key_record};
use crate::seal::{Kind, OpenError, Opener};
use adit_wire::ids::{KeyId, SourceId};
use adit_wire::record::Record;
use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

type OpenKey = Box<dyn Fn(&[u8]) -> Result<Opened, OpenKeyError> + Send + Sync>;

/// Opens key records by the rule that its maker gave, and remembers what was in them.
pub struct Keyring {
    source: SourceId,
    open: OpenKey,
    opened: Mutex<HashMap<KeyId, Opened>>,
    refused: Mutex<Vec<OpenKeyError>>,
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keyring").field("source", &self.source).finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Keyring {
    /// A keyring that opens key records by this rule.
    #[must_use]
    pub fn new(source: SourceId, open: impl Fn(&[u8]) -> Result<Opened, OpenKeyError> + Send + Sync + 'static) -> Self {
        Self { source, open: Box::new(open), opened: Mutex::default(), refused: Mutex::default() }
    }

    /// A keyring for a certified source.
    #[must_use]
    pub fn certified(certified: Certified, recovery: RecoveryKey) -> Self {
        let source = certified.source();
        Self::new(source, move |record| open_key_record(record, &certified, &recovery))
    }

    /// Takes a key record. One that may not be trusted is remembered as refused.
    pub(super) fn add(&self, record: &[u8]) {
        if let Ok(key) = Record::parse(record).map(|record| record.body)
            && let Ok((fields, ..)) = adit_wire::signed::KeyRecord::read(key)
            && self.knows(&fields.key_id)
        {
            return;
        }
        match (self.open)(record) {
            Ok(opened) => drop(lock(&self.opened).insert(opened.run_key.id(), opened)),
            Err(error) => lock(&self.refused).push(error),
        }
    }

    /// Whether records of this key id can be opened.
    #[must_use]
    pub fn knows(&self, key_id: &KeyId) -> bool {
        lock(&self.opened).contains_key(key_id)
    }

    /// Why key records were refused, so far.
    #[must_use]
    pub fn refused(&self) -> Vec<OpenKeyError> {
        lock(&self.refused).clone()
    }

    /// An opener for one thread.
    pub(super) fn opener(&self) -> std::io::Result<ThreadOpener<'_>> {
        Ok(ThreadOpener { keyring: self, opener: Opener::new(self.source)? })
    }
}

/// Opens records on one thread, fetching keys from the ring as they are needed.
#[derive(Debug)]
pub(super) struct ThreadOpener<'k> {
    keyring: &'k Keyring,
    opener: Opener,
}

impl ThreadOpener<'_> {
    /// Opens into a buffer that is used again.
    pub(super) fn open(&mut self, record: &Record<'_>, plain: &mut Vec<u8>) -> Result<Kind, OpenError> {
        let key_id = record.header.key_id;
        if !self.opener.knows(&key_id)
            && let Some(opened) = lock(&self.keyring.opened).get(&key_id)
        {
            self.opener.add(opened);
        }
        self.opener.open_into(record, plain)
    }
}
