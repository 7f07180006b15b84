// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A fetcher with its keyring: asks for key records once, and again only where a record needs one that is not there yet.
//! Shared by all threads of a restore.

use super::keyring::Keyring;
use super::{FetchError, Fetched, Fetcher};
use adit_wire::ids::Id;
use adit_wire::read::Scope;
use adit_wire::record::{Class, HEADER_BYTES, Header};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Where records come from.
pub(super) struct Line<'a> {
    fetcher: &'a dyn Fetcher,
    pub(super) keyring: &'a Keyring,
    with_keys: AtomicBool,
    /// Records that arrived, key records not counted.
    pub(super) records: AtomicU64,
}

impl<'a> Line<'a> {
    pub(super) const fn new(fetcher: &'a dyn Fetcher, keyring: &'a Keyring) -> Self {
        Self { fetcher, keyring, with_keys: AtomicBool::new(true), records: AtomicU64::new(0) }
    }

    /// Hands every record that can be opened to `sink`, unchecked but for its header.
    pub(super) fn fetch(&self, scope: Scope, ids: &[Id], sink: &mut dyn FnMut(&[u8])) -> Result<Fetched, FetchError> {
        let mut keyless = Vec::new();
        let with_keys = self.with_keys.swap(false, Ordering::Relaxed);
        let mut fetched = self.pass(scope, with_keys, ids, sink, &mut keyless)?;
        if !keyless.is_empty() {
            keyless.sort_unstable();
            keyless.dedup();
            let again = std::mem::take(&mut keyless);
            let more = self.pass(Scope::Records, true, &again, sink, &mut keyless)?;
            fetched.absent.extend(more.absent);
            fetched.damaged.extend(more.damaged);
            // What still has no key can't be opened: for the reader it is damaged.
            fetched.damaged.extend(keyless);
        }
        Ok(fetched)
    }

    fn pass(
        &self,
        scope: Scope,
        with_keys: bool,
        ids: &[Id],
        sink: &mut dyn FnMut(&[u8]),
        keyless: &mut Vec<Id>,
    ) -> Result<Fetched, FetchError> {
        let (keyring, records) = (self.keyring, &self.records);
        self.fetcher.fetch(scope, with_keys, ids, &mut |bytes| {
            let Some(Ok(header)) = bytes.first_chunk::<HEADER_BYTES>().map(Header::from_bytes) else { return };
            match header.class {
                Class::Key => keyring.add(bytes),
                Class::Data | Class::Node if !keyring.knows(&header.key_id) => keyless.push(header.id),
                Class::Data | Class::Node | Class::Snapshot => {
                    records.fetch_add(1, Ordering::Relaxed);
                    sink(bytes);
                }
            }
        })
    }
}
