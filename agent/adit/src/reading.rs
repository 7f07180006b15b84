// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The way back: a connection on which one source's history is open for reading, and records fetched over it.
//!
//! It decides which snapshot may be believed (certificate by the recovery key, then signature or chain of heads) before
//! anything of it is fetched. What records hold is the archive crate's to open and check.

use crate::exit::Exit;
use crate::failure::Failure;
use crate::history::{History, Item};
use crate::net::{self, Net};
use adit_archive::keys::{Certified, RecoveryKey};
use adit_archive::restore::{FetchError, Fetched, Fetcher};
use adit_link::{Link, LinkError};
use adit_wire::frame::Message as _;
use adit_wire::ids::{Id, PublicKey, SourceId};
use adit_wire::list::Ids;
use adit_wire::read::{FETCH_IDS_MAX, Fetch, Fetched as FetchedMessage, METHOD_RECORD, Prove, Proved, Scope};
use adit_wire::refusal::Code;

/// Opens one source for reading by the recovery key's proof.
///
/// # Errors
/// When the box refuses it or the link ends.
pub async fn prove(link: &Link, recovery: &RecoveryKey, source: SourceId) -> Result<(), Failure> {
    let signature = recovery.prove_read(&link.channel_binding(), &source);
    let request = Prove { source, recovery_key: recovery.signing().public(), signature };
    let conversation = link.open().map_err(|error| net::link_failure(&error))?;
    conversation.send(&request, true).await.map_err(|error| net::link_failure(&error))?;
    match conversation.recv().await {
        Ok(Some(frame)) => net::read::<Proved>(&frame).map(drop),
        Ok(None) => Err(net::link_failure(&LinkError::Protocol("the answer is missing"))),
        // The box knows another recovery key for this source, or none: for a person that is one thing.
        Err(LinkError::Refused(refusal)) if refusal.code.is_some_and(is_about_the_key) => {
            Err(Failure::wrong_recovery_key())
        }
        Err(error) => Err(net::link_failure(&error)),
    }
}

const fn is_about_the_key(code: Code) -> bool {
    matches!(code, Code::Signature | Code::ProofNeeded | Code::RecoveryUnknown)
}

/// Who vouches for a source's snapshots, and what a person must hear about it.
#[derive(Clone, Debug)]
pub struct Trust {
    /// The certificate by the recovery key.
    pub certified: Option<Certified>,
    keys: Vec<(u32, PublicKey)>,
}

impl Trust {
    /// What the recovery key vouches for; without a certificate only the box says which key is the source's.
    #[must_use]
    pub fn of(history: &History, recovery: &RecoveryKey) -> Self {
        let certified = history.certified(&recovery.signing().public());
        let keys = match &certified {
            Some(certified) => vec![(certified.epoch(), certified.signing_key())],
            None => history.snapshots.iter().map(|item| (item.snapshot.epoch, history.signing_key)).collect(),
        };
        Self { certified, keys }
    }

    /// Judges a snapshot; answers a warning when only the box vouches for who wrote it. Content is safe even then where
    /// there is a certificate: it names the seed, and no id fits content that was made without the seed.
    ///
    /// # Errors
    /// When its signature does not lead to a key that counts.
    pub fn check(&self, history: &History, item: &Item) -> Result<Option<String>, Failure> {
        let believed = history.believes(item, &self.keys);
        match &self.certified {
            Some(_) if believed => Ok(None),
            Some(certified) if item.snapshot.epoch < certified.epoch() => Ok(Some(format!(
                "warning: snapshot {} is older than the source's certificate (epoch {} before {}), and no newer snapshot \
                 names it yet",
                item.snapshot.seq,
                item.snapshot.epoch,
                certified.epoch()
            ))),
            None if believed => Ok(Some(
                "warning: this source is not certified: only the box says which key wrote it; `adit certify` on its \
                 request ends that"
                    .to_owned(),
            )),
            Some(_) | None => Err(Failure::new(
                Exit::Damaged,
                format!("snapshot {} is not signed by a key that the recovery key certified", item.snapshot.seq),
                "do not trust this copy: the box or somebody with access to it made it up",
            )),
        }
    }
}

/// Fetches records of one source over one link.
#[derive(Debug)]
pub struct LinkFetcher<'a> {
    net: &'a Net,
    link: &'a Link,
    source: SourceId,
}

impl<'a> LinkFetcher<'a> {
    /// A fetcher; the source must be open on the link.
    #[must_use]
    pub const fn new(net: &'a Net, link: &'a Link, source: SourceId) -> Self {
        Self { net, link, source }
    }

    async fn batch(
        &self,
        scope: Scope,
        keys: bool,
        ids: &[u8],
        sink: &mut dyn FnMut(&[u8]),
        fetched: &mut Fetched,
    ) -> Result<(), LinkError> {
        let conversation = self.link.open()?;
        let ids = Ids::new(ids).unwrap_or_default();
        conversation.send(&Fetch { source: self.source, scope, keys, ids }, true).await?;
        loop {
            let frame = conversation.recv().await?.ok_or(LinkError::Protocol("the answer is missing"))?;
            if frame.kind.service == FetchedMessage::KIND.service && frame.kind.method == METHOD_RECORD {
                sink(&frame.body);
                continue;
            }
            let end: FetchedMessage<'_> = frame.message()?;
            fetched.absent.extend(end.absent.iter());
            fetched.damaged.extend(end.damaged.iter());
            return Ok(());
        }
    }
}

impl Fetcher for LinkFetcher<'_> {
    fn fetch(&self, scope: Scope, keys: bool, ids: &[Id], sink: &mut dyn FnMut(&[u8])) -> Result<Fetched, FetchError> {
        let mut fetched = Fetched::default();
        let net = self.net;
        for ids in ids.chunks(FETCH_IDS_MAX) {
            let packed: Vec<u8> = ids.iter().flat_map(|id| id.0).collect();
            net.run(self.batch(scope, keys, &packed, sink, &mut fetched))
                .map_err(|error| FetchError(Box::new(net::link_failure(&error))))?;
        }
        Ok(fetched)
    }
}
