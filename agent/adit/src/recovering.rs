// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The recovery door: a machine that knows nothing but the recovery key and the sheet proves itself, sees its sources,
//! and may take one over. Taking over makes a new device key and a new signing key; id and seed stay, so that nothing is
//! uploaded again.

use crate::exit::Exit;
use crate::failure::Failure;
use crate::history::{History, Item};
use crate::job::Base;
use crate::net::{self, Way};
use crate::pin::Pin;
use crate::reading::{LinkFetcher, Trust};
use crate::source;
use crate::state::{StateDir, names};
use crate::text::{fill_random, now_s};
use adit_archive::keys::{RecoveryKey, RecoveryPublic, Seed, SourceKeys};
use adit_archive::restore::Fetcher as _;
use adit_archive::run_key::{OpenKeyError, Opened, open_by_seed, open_key_record, open_uncertified};
use adit_link::{Door, Link};
use adit_wire::ids::{Id, PublicKey, SourceId, StoreId};
use adit_wire::pair::Role;
use adit_wire::read::Scope;
use adit_wire::record::{Class, Record};
use adit_wire::recover::{Adopt, Adopted, Recover, Recovered};

/// One source that the recovery key opens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its id.
    pub source: SourceId,
    /// The name it is registered under.
    pub name: String,
    /// Number of its newest snapshot; 0 for none.
    pub newest_seq: u64,
    /// Its head.
    pub newest_head: Id,
    /// When that one was received, seconds since 1970.
    pub received_s: u64,
}

/// Dials the recovery door and proves the recovery key.
///
/// # Errors
/// When the box can't be reached or knows no source of this key.
pub async fn knock(way: &Way, recovery: &RecoveryKey) -> Result<(Link, StoreId, Vec<Found>), Failure> {
    let link = way.connect(Door::Recover).await?;
    let signature = recovery.prove_recover(&link.channel_binding(), &way.expected, &way.identity.public_key());
    let request = Recover { recovery_key: recovery.signing().public(), signature };
    let frame = net::ask(&link, &request).await?;
    let recovered: Recovered<'_> = net::read(&frame)?;
    let mut found = Vec::new();
    for source in recovered.sources.iter() {
        let source = source.map_err(|_| {
            Failure::new(Exit::Refused, "the box's list of sources is malformed", "update both programs")
        })?;
        found.push(Found {
            source: source.source,
            name: source.name.to_owned(),
            newest_seq: source.newest_seq,
            newest_head: source.newest_head,
            received_s: source.received_s,
        });
    }
    Ok((link, recovered.store, found))
}

/// The source that a person names, by its name or the first digits of its id; the only one needs no name.
///
/// # Errors
/// When there is none of that name, or several and no name.
pub fn choose<'a>(found: &'a [Found], name: Option<&str>) -> Result<&'a Found, Failure> {
    let names = || found.iter().map(|source| source.name.as_str()).collect::<Vec<_>>().join(", ");
    match (name, found) {
        (Some(name), _) => {
            let is_id = |source: &&Found| name.len() >= 8 && source.source.to_string().starts_with(name);
            found.iter().find(|source| source.name == name).or_else(|| found.iter().find(is_id)).ok_or_else(|| {
                Failure::new(
                    Exit::Refused,
                    format!("this recovery key opens no source named {name} there"),
                    format!("it opens: {}", names()),
                )
            })
        }
        (None, [one]) => Ok(one),
        (None, _) => Err(Failure::new(
            Exit::Usage,
            format!("this recovery key opens {} sources there", found.len()),
            format!("give --source NAME, one of: {}", names()),
        )),
    }
}

/// Opens a key record as strictly as is possible: by the certificate of its epoch; an older epoch's by the seed that the
/// certificate names (the old signing key is gone with the old machine); without a certificate by the box's word.
///
/// # Errors
/// Why nothing in it may be trusted.
pub fn open_key(
    record: &[u8],
    trust: &Trust,
    history: &History,
    recovery: &RecoveryKey,
) -> Result<Opened, OpenKeyError> {
    match &trust.certified {
        None => open_uncertified(record, &history.source, &history.signing_key, recovery),
        Some(certified) => match open_key_record(record, certified, recovery) {
            Err(OpenKeyError::Signature) => open_by_seed(record, certified, recovery),
            other => other,
        },
    }
}

/// The seed of a source, out of the key record of its newest snapshot. `None` for a source without snapshots.
///
/// # Errors
/// When it can't be fetched or opened.
pub fn seed(
    fetcher: &LinkFetcher<'_>,
    trust: &Trust,
    history: &History,
    recovery: &RecoveryKey,
) -> Result<Option<Seed>, Failure> {
    let Some(newest) = history.snapshots.last() else { return Ok(None) };
    let mut seed: Option<Result<Seed, OpenKeyError>> = None;
    fetcher
        .fetch(Scope::Records, true, &[newest.snapshot.root, newest.snapshot.info], &mut |bytes| {
            let is_key = Record::parse(bytes).is_ok_and(|record| record.header.class == Class::Key);
            if is_key && !matches!(seed, Some(Ok(_))) {
                seed = Some(open_key(bytes, trust, history, recovery).map(|opened| opened.seed));
            }
        })
        .map_err(|error| fetch_failure(&error))?;
    match seed {
        Some(Ok(seed)) => Ok(Some(seed)),
        Some(Err(error)) => Err(key_failure(&error)),
        None => Err(Failure::refused(adit_wire::refusal::Code::Damaged as u16, "the newest snapshot's key record")),
    }
}

/// The sentence of a fetch that failed: the link's own, if it was the link.
#[must_use]
pub fn fetch_failure(error: &adit_archive::restore::FetchError) -> Failure {
    error.0.downcast_ref::<Failure>().cloned().unwrap_or_else(|| Failure::internal(error.to_string()))
}

/// The sentence of a key record that does not open.
#[must_use]
pub fn key_failure(error: &OpenKeyError) -> Failure {
    match error {
        OpenKeyError::NotForUs(_) => Failure::wrong_recovery_key(),
        OpenKeyError::Record(_)
        | OpenKeyError::Class(_)
        | OpenKeyError::Layout(_)
        | OpenKeyError::Signature
        | OpenKeyError::OtherSource(_)
        | OpenKeyError::Suite(_)
        | OpenKeyError::Unwrap
        | OpenKeyError::KeyCheck
        | OpenKeyError::Epoch { .. }
        | OpenKeyError::Seed => Failure::new(
            Exit::Damaged,
            format!("a run's key does not open: {error}"),
            "`adit verify` says how much of the box is damaged; another snapshot may be whole",
        ),
    }
}

/// What an adoption needs.
#[derive(Debug)]
pub struct Adoption<'a> {
    /// Where the source lives from now on.
    pub state: &'a StateDir,
    /// The way that was typed.
    pub way: &'a Way,
    /// The addresses that were typed.
    pub addresses: &'a [String],
    /// The store.
    pub store: StoreId,
    /// The source.
    pub found: &'a Found,
    /// Its history.
    pub history: &'a History,
    /// Its seed, if it has snapshots.
    pub seed: Option<Seed>,
    /// The recovery key.
    pub recovery: &'a RecoveryKey,
    /// More recipients of future runs.
    pub recipients: &'a [RecoveryPublic],
}

impl Adoption<'_> {
    /// Refuses a state directory that belongs to another source.
    ///
    /// # Errors
    /// When it does.
    pub fn check_state(state: &StateDir, source: SourceId) -> Result<(), Failure> {
        match state.source() {
            Ok(known) if known.id(state)? != source => Err(Failure::new(
                Exit::Usage,
                format!("{} belongs to the source {}", state.path().display(), known.name),
                "give another --state directory",
            )),
            Ok(_) | Err(_) => Ok(()),
        }
    }

    /// Takes the source over: the box first, then this machine's files. Cut off between the two, the same command again
    /// ends it, one epoch later. The link's key is the new device key: the caller dialled with it.
    ///
    /// # Errors
    /// When the box refuses or a file can't be written.
    pub async fn run(&self, link: &Link, newest: Option<&Item>) -> Result<(), Failure> {
        let epochs = self.history.snapshots.iter().map(|item| item.snapshot.epoch);
        let certified = self.history.certified(&self.recovery.signing().public()).map(|certified| certified.epoch());
        let epoch = epochs.chain(certified).max().unwrap_or(0).saturating_add(1);
        let keys = match self.seed.clone() {
            Some(seed) => SourceKeys::adopt(self.found.source, seed, epoch, &mut fill_random),
            None => {
                let mut fresh = [0; 32];
                fill_random(&mut fresh);
                SourceKeys::adopt(self.found.source, Seed::new(fresh), epoch, &mut fill_random)
            }
        };
        let request = keys.request(&self.found.name).map_err(|error| Failure::internal(error.to_string()))?;
        let certificate = self.recovery.certify(&request).map_err(|error| Failure::internal(error.to_string()))?;
        let device_key: PublicKey = self.way.identity.public_key();
        self.state.write(names::IDENTITY, &self.way.identity.seed()[..])?;
        net::read::<Adopted<'_>>(&net::ask(link, &Adopt { certificate: &certificate, device_key }).await?)?;
        self.install(&keys, &certificate, newest)
    }

    fn install(&self, keys: &SourceKeys, certificate: &[u8], newest: Option<&Item>) -> Result<(), Failure> {
        let mut pin = Pin {
            key: self.way.expected.to_string(),
            name: String::new(),
            role: Role::Source.word().to_owned(),
            store: self.store.to_string(),
            addresses: self.addresses.to_vec(),
            address_record: String::new(),
            certified_epoch: keys.epoch(),
            paired_s: now_s(),
        };
        if let Ok(Some(known)) = Pin::read(self.state)
            && known.key == pin.key
        {
            pin.name = known.name;
        }
        pin.write(self.state)?;
        if let Some(newest) = newest {
            let base = Base { head: newest.head.to_string(), seq: newest.snapshot.seq };
            self.state.write_toml(names::BASE, &base)?;
        }
        let mut recipients = vec![self.recovery.public()];
        recipients.extend_from_slice(self.recipients);
        source::install(self.state, keys, &self.found.name, &recipients, Some(certificate))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(name: &str, byte: u8) -> Found {
        Found {
            source: SourceId([byte; 16]),
            name: name.to_owned(),
            newest_seq: 1,
            newest_head: Id::ZERO,
            received_s: 0,
        }
    }

    #[test]
    fn choosing_a_source() {
        let two = [found("web1", 1), found("web2", 2)];
        assert_eq!(choose(&two, Some("web2")).unwrap().source, SourceId([2; 16]));
        assert_eq!(choose(&two[..1], None).unwrap().name, "web1");
        assert_eq!(choose(&two, Some(&"02".repeat(6))).unwrap().name, "web2");
        let failure = choose(&two, None).unwrap_err();
        assert_eq!((failure.exit, failure.next.as_str()), (Exit::Usage, "give --source NAME, one of: web1, web2"));
        assert_eq!(choose(&two, Some("x")).unwrap_err().exit, Exit::Refused);
    }
}
