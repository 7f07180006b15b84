// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A source that is open for reading: the connection, its history, who vouches for it, and the keyring that opens its
//! runs. `restore`, `recover`, `ls` and `drill` all begin here.

use crate::exit::Exit;
use crate::failure::Failure;
use crate::history::{self, History, Item};
use crate::net::{Net, Way};
use crate::progress::Meter;
use crate::prompt::KeyArgs;
use crate::reading::{LinkFetcher, Trust, prove};
use crate::recovering::{fetch_failure, key_failure, open_key};
use crate::source;
use crate::state::StateDir;
use crate::text::fill_random;
use crate::upload::state_failure;
use crate::{recovery, text};
use adit_archive::keys::RecoveryKey;
use adit_archive::node::NodeError;
use adit_archive::restore::{
    AdoptError, DrillReport, Keyring, ReadError, Report, RestoreError, Target, TreeReader, adopt_state, drill,
    restore as restore_tree,
};
use adit_link::{Door, Link};
use std::path::Path;

/// A source of this state directory, opened by the recovery key.
#[derive(Debug)]
pub struct OpenSource {
    net: Net,
    link: Link,
    history: History,
    recovery: RecoveryKey,
    trust: Trust,
}

/// What reading needs.
#[derive(Clone, Debug)]
pub struct Reading<'a> {
    /// The network thread.
    pub net: &'a Net,
    /// The connection on which the source is open.
    pub link: &'a Link,
    /// Its snapshots.
    pub history: &'a History,
    /// Who vouches for them.
    pub trust: &'a Trust,
    /// The recovery key.
    pub recovery: &'a RecoveryKey,
}

impl OpenSource {
    /// Dials the paired box, proves the recovery key and lists the history.
    ///
    /// # Errors
    /// When any of it fails.
    pub fn paired(state: &StateDir, key: &KeyArgs) -> Result<Self, Failure> {
        let keys = source::keys(state)?;
        let (way, _) = Way::paired(state)?;
        let recovery = recovery::open(key)?;
        let net = Net::start()?;
        let (link, history) = net.run(async {
            let link = way.connect(Door::Main).await?;
            prove(&link, &recovery, keys.source()).await?;
            let history = history::list(&link, keys.source()).await?;
            Ok::<_, Failure>((link, history))
        })?;
        let trust = Trust::of(&history, &recovery);
        Ok(Self { net, link, history, recovery, trust })
    }

    /// What reading needs.
    #[must_use]
    pub const fn reading(&self) -> Reading<'_> {
        let Self { net, link, history, recovery, trust } = self;
        Reading { net, link, history, trust, recovery }
    }

    /// Takes leave of the box.
    pub fn close(self) {
        self.net.run(self.link.close(None));
    }
}

impl<'a> Reading<'a> {
    fn checked(&self, item: &Item, meter: &Meter) -> Result<Keyring, Failure> {
        if let Some(warning) = self.trust.check(self.history, item)? {
            meter.note(&warning);
        }
        let (trust, history, recovery) = (self.trust.clone(), self.history.clone(), self.recovery.clone());
        Ok(Keyring::new(history.source, move |record| open_key(record, &trust, &history, &recovery)))
    }

    /// Fetches over this connection.
    #[must_use]
    pub const fn fetcher(&self) -> LinkFetcher<'a> {
        LinkFetcher::new(self.net, self.link, self.history.source)
    }

    /// Brings a snapshot back, or a part of it.
    ///
    /// # Errors
    /// When the snapshot may not be believed, or nothing could be restored at all.
    pub fn restore(&self, item: &Item, target: &Target) -> Result<Report, Failure> {
        let meter = Meter::bytes("restore");
        let keyring = self.checked(item, &meter)?;
        let result = restore_tree(&self.fetcher(), &keyring, item.snapshot.root, target, &|files, bytes| {
            meter.show(|elapsed| {
                let rate = bytes.saturating_mul(1000) / u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX).max(1);
                format!("{} files  {}  {}/s", text::count(files), text::bytes(bytes), text::bytes(rate))
            });
        });
        meter.finish();
        let report = result.map_err(|error| restore_failure(item, &keyring, error))?;
        if report.files + report.dirs + report.others == 0
            && !report.faults.is_empty()
            && let Some(error) = keyring.refused().first()
        {
            return Err(key_failure(error));
        }
        Ok(report)
    }

    /// Restores random files below an empty directory and compares them with the disk.
    ///
    /// # Errors
    /// As [`Self::restore`].
    pub fn drill(&self, item: &Item, count: usize, scratch: &Path) -> Result<DrillReport, Failure> {
        let meter = Meter::bytes("drill");
        let keyring = self.checked(item, &meter)?;
        drill(&self.fetcher(), &keyring, item.snapshot.root, count, scratch, &mut fill_random)
            .map_err(|error| restore_failure(item, &keyring, error))
    }

    /// Shows every entry at or below the wanted paths; answers the first paths of parts that are lost.
    ///
    /// # Errors
    /// When the snapshot may not be believed or read.
    pub fn entries(
        &self,
        item: &Item,
        paths: Vec<Vec<u8>>,
        visit: &mut dyn FnMut(&adit_archive::entry::Entry) -> bool,
    ) -> Result<Vec<Vec<u8>>, Failure> {
        let keyring = self.checked(item, &Meter::bytes("ls"))?;
        let fetcher = self.fetcher();
        let read = |error| read_failure(item, &keyring, error);
        TreeReader::new(&fetcher, &keyring).map_err(read)?.entries(item.snapshot.root, paths, visit).map_err(read)
    }

    /// Writes the local state of a snapshot, so that the next run sends nothing that is there.
    ///
    /// # Errors
    /// When the tree can't be read or the directory not be written.
    pub fn adopt_state(&self, item: &Item, dir: &Path) -> Result<(), Failure> {
        let keyring = self.checked(item, &Meter::bytes("adopt"))?;
        let fetcher = self.fetcher();
        let read = |error| read_failure(item, &keyring, error);
        let mut reader = TreeReader::new(&fetcher, &keyring).map_err(read)?;
        adopt_state(&mut reader, item.snapshot.root, dir, item.snapshot.seq, item.head).map_err(|error| match error {
            AdoptError::Read(error) => read(error),
            AdoptError::State(error) => state_failure(&error),
        })
    }
}

fn restore_failure(item: &Item, keyring: &Keyring, error: RestoreError) -> Failure {
    match error {
        RestoreError::Target { path, source } => Failure::io("restore to", &path, &source),
        RestoreError::Path(_) => {
            Failure::new(Exit::Usage, error.to_string(), "name paths as they were saved, without `..`")
        }
        RestoreError::Read(error) => read_failure(item, keyring, error),
    }
}

/// When no run's key opened, that is what a person must hear, not which record could not be read.
fn read_failure(item: &Item, keyring: &Keyring, error: ReadError) -> Failure {
    let snapshot = format!("snapshot {} ({})", item.snapshot.seq, text::short(&item.head));
    match (&error, keyring.refused().first()) {
        (ReadError::Fetch(error), _) => fetch_failure(error),
        (ReadError::Node(_, NodeError::Version(_)), _) => Failure::newer(snapshot),
        (ReadError::Opener(_), _) => Failure::internal(error.to_string()),
        (ReadError::Damaged(..), Some(refused)) => key_failure(refused),
        (ReadError::Damaged(..) | ReadError::Node(..) | ReadError::Info(..), _) => Failure::new(
            Exit::Damaged,
            format!("{snapshot} can't be read: {error}"),
            "`adit verify` says how much of the box is damaged; `adit snapshots` lists others to try",
        ),
    }
}
