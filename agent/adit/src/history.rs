// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A source's snapshots as the box lists them, and which of them may be believed: a snapshot counts when the key that
//! the recovery key certified for its epoch signed it, or when a believed later one names its head.

use crate::exit::Exit;
use crate::failure::Failure;
use crate::net;
use crate::text;
use adit_archive::keys::{Certified, verify};
use adit_link::Link;
use adit_wire::ids::{Id, PublicKey, SourceId};
use adit_wire::read::{List, Listed, Listing};
use adit_wire::signed::{PREFIX_SNAPSHOT, Snapshot};

/// One snapshot of a list; its signature is not checked yet.
#[derive(Clone, Debug)]
pub struct Item {
    /// Its head.
    pub head: Id,
    /// Its fields.
    pub snapshot: Snapshot,
    /// Its signed body with signature.
    pub body: Vec<u8>,
    /// When the box received it, seconds since 1970.
    pub received_s: u64,
    /// Records that its run stored.
    pub new_records: u64,
    /// Bytes that its run stored.
    pub new_bytes: u64,
}

/// What the box lists.
#[derive(Clone, Debug)]
pub struct History {
    /// The source.
    pub source: SourceId,
    /// Its newest certificate; empty for an uncertified source.
    pub certificate: Vec<u8>,
    /// The signing key that the box has registered.
    pub signing_key: PublicKey,
    /// Ascending by number.
    pub snapshots: Vec<Item>,
    /// Heads of snapshots whose signed body the box has lost: they cannot be restored, the others can.
    pub damaged: Vec<Id>,
}

/// Asks for all snapshots of a source.
///
/// # Errors
/// When the link ends, the box refuses or the answer is malformed.
pub async fn list(link: &Link, source: SourceId) -> Result<History, Failure> {
    let mut history = History {
        source,
        certificate: Vec::new(),
        signing_key: PublicKey::ZERO,
        snapshots: Vec::new(),
        damaged: Vec::new(),
    };
    loop {
        let after_seq = history.snapshots.last().map_or(0, |item| item.snapshot.seq);
        let frame = net::ask(link, &List { source, after_seq }).await?;
        let listed: Listed<'_> = net::read(&frame)?;
        history.certificate = listed.certificate.to_vec();
        history.signing_key = listed.signing_key;
        let before = history.snapshots.len();
        for item in listed.snapshots.iter() {
            history.take(&item.map_err(|_| malformed())?)?;
        }
        if !listed.more || history.snapshots.len() == before {
            return Ok(history);
        }
    }
}

fn malformed() -> Failure {
    Failure::new(Exit::Refused, "the box's list of snapshots is malformed", "update adit")
}

impl History {
    fn take(&mut self, item: &Listing<'_>) -> Result<(), Failure> {
        if item.body.is_empty() {
            // A page that begins after the last whole snapshot may name it again.
            if !self.damaged.contains(&item.head) {
                self.damaged.push(item.head);
            }
            return Ok(());
        }
        let (snapshot, _, _) = Snapshot::read(item.body).map_err(|_| malformed())?;
        self.snapshots.push(Item {
            head: item.head,
            snapshot,
            body: item.body.to_vec(),
            received_s: item.received_s,
            new_records: item.new_records,
            new_bytes: item.new_bytes,
        });
        Ok(())
    }

    /// The certificate, if this recovery key signed it for this source.
    #[must_use]
    pub fn certified(&self, recovery_signing_key: &PublicKey) -> Option<Certified> {
        let certified = Certified::verify(&self.certificate, recovery_signing_key).ok()?;
        (certified.source() == self.source).then_some(certified)
    }

    /// The snapshot that a person names: `latest`, a number, or the first digits of its id.
    ///
    /// # Errors
    /// When there is none, or the digits fit several.
    pub fn find(&self, name: &str) -> Result<&Item, Failure> {
        let none = || {
            Failure::new(
                Exit::Refused,
                format!("there is no snapshot {name} of this source"),
                "`adit snapshots` lists what there is",
            )
        };
        if name == "latest" {
            return self.snapshots.last().ok_or_else(|| {
                Failure::new(Exit::Refused, "the box has no snapshot of this source", "`adit backup PATH…` makes one")
            });
        }
        let lower = name.to_ascii_lowercase();
        let fits = |item: &&Item| lower.len() >= 6 && text::to_hex(&item.head.0).starts_with(&lower);
        let mut found = self.snapshots.iter().filter(fits);
        match (found.next(), found.next()) {
            (Some(item), None) => Ok(item),
            (Some(_), Some(_)) => Err(Failure::new(
                Exit::Usage,
                format!("several snapshots begin with {name}"),
                "give more digits of the id",
            )),
            (None, _) => {
                let number = name.parse::<u64>().map_err(|_| none())?;
                self.snapshots.iter().find(|item| item.snapshot.seq == number).ok_or_else(none)
            }
        }
    }

    /// Whether a snapshot may be believed under these keys: signed by the key of its epoch, or named by the head chain of
    /// a later one that is.
    #[must_use]
    pub fn believes(&self, item: &Item, keys: &[(u32, PublicKey)]) -> bool {
        if Id(*blake3::hash(&item.body).as_bytes()) != item.head || item.snapshot.source != self.source {
            return false;
        }
        if is_signed(item, keys) {
            return true;
        }
        // Walk forward: each later snapshot must name the head before it, up to one that is signed.
        let mut head = item.head;
        for later in self.snapshots.iter().filter(|later| later.snapshot.seq > item.snapshot.seq) {
            let whole = Id(*blake3::hash(&later.body).as_bytes()) == later.head;
            if later.snapshot.prev_head != head || !whole {
                return false;
            }
            if is_signed(later, keys) {
                return true;
            }
            head = later.head;
        }
        false
    }
}

fn is_signed(item: &Item, keys: &[(u32, PublicKey)]) -> bool {
    let Ok((snapshot, body, signature)) = Snapshot::read(&item.body) else { return false };
    keys.iter().any(|(epoch, key)| *epoch == snapshot.epoch && verify(key, PREFIX_SNAPSHOT, &[body], &signature))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::fill_random;
    use adit_archive::keys::{RecoveryKey, SourceKeys};
    use adit_wire::signed::Completeness;

    fn item(keys: &SourceKeys, seq: u64, prev_head: Id) -> Item {
        let snapshot = Snapshot {
            source: keys.source(),
            epoch: keys.epoch(),
            seq,
            prev_head,
            root: Id([1; 32]),
            info: Id([2; 32]),
            nodes: 1,
            records: 2,
            state: Completeness::Complete,
        };
        let mut body = snapshot.to_bytes().to_vec();
        let signature = keys.signing().sign(PREFIX_SNAPSHOT, &[&body]);
        body.extend_from_slice(&signature.0);
        let head = Id(*blake3::hash(&body).as_bytes());
        Item { head, snapshot, body, received_s: 0, new_records: 0, new_bytes: 0 }
    }

    fn history(keys: &SourceKeys, snapshots: Vec<Item>) -> History {
        History {
            source: keys.source(),
            certificate: Vec::new(),
            signing_key: keys.signing().public(),
            snapshots,
            damaged: Vec::new(),
        }
    }

    #[test]
    fn names_of_snapshots() {
        let keys = SourceKeys::generate(&mut fill_random);
        let one = item(&keys, 1, Id::ZERO);
        let two = item(&keys, 2, one.head);
        let history = history(&keys, vec![one.clone(), two]);
        assert_eq!(history.find("latest").unwrap().snapshot.seq, 2);
        assert_eq!(history.find("1").unwrap().snapshot.seq, 1);
        assert_eq!(history.find(&text::short(&one.head)).unwrap().snapshot.seq, 1);
        assert_eq!(history.find("zzzzzz").unwrap_err().exit, Exit::Refused);
        assert!(history.find("9").unwrap_err().what.starts_with("there is no snapshot 9"));
    }

    #[test]
    fn one_lost_snapshot_does_not_hide_the_others() {
        let keys = SourceKeys::generate(&mut fill_random);
        let one = item(&keys, 1, Id::ZERO);
        let mut history = history(&keys, Vec::new());
        let listing = |body| Listing { head: one.head, body, received_s: 0, new_records: 0, new_bytes: 0 };
        for _ in 0..2 {
            history.take(&listing(&[])).unwrap();
        }
        history.take(&listing(&one.body)).unwrap();
        assert_eq!((history.snapshots.len(), history.damaged.as_slice()), (1, &[one.head][..]));
        assert_eq!(history.take(&listing(&one.body[..9])).unwrap_err().exit, Exit::Refused);
    }

    #[test]
    fn an_older_epoch_is_believed_through_the_chain_only() {
        let old = SourceKeys::generate(&mut fill_random);
        let new = SourceKeys::adopt(old.source(), old.seed().clone(), 2, &mut fill_random);
        let one = item(&old, 1, Id::ZERO);
        let two = item(&new, 2, one.head);
        let keys = [(2, new.signing().public())];
        let chained = history(&new, vec![one.clone(), two]);
        assert!(chained.believes(&chained.snapshots[0], &keys));
        let forged = item(&old, 1, Id([9; 32]));
        let torn = history(&new, vec![forged, chained.snapshots[1].clone()]);
        assert!(!torn.believes(&torn.snapshots[0], &keys));
        assert!(torn.believes(&torn.snapshots[1], &keys));
        let mut altered = one;
        altered.body[30] ^= 1;
        let altered = history(&old, vec![altered]);
        assert!(!altered.believes(&altered.snapshots[0], &[(1, old.signing().public())]));
    }

    #[test]
    fn only_a_certificate_of_this_source_by_this_key_counts() {
        let recovery = RecoveryKey::generate(&mut fill_random);
        let [keys, other] = [(); 2].map(|()| SourceKeys::generate(&mut fill_random));
        let mut history = history(&keys, Vec::new());
        assert!(history.certified(&recovery.signing().public()).is_none());
        history.certificate = recovery.certify(&other.request("web2").unwrap()).unwrap();
        assert!(history.certified(&recovery.signing().public()).is_none());
        history.certificate = recovery.certify(&keys.request("web1").unwrap()).unwrap();
        assert_eq!(history.certified(&recovery.signing().public()).unwrap().name(), "web1");
        assert!(history.certified(&other.signing().public()).is_none());
    }
}
