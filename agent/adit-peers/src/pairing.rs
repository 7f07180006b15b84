// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The durable order of a pairing on the maker's side, as steps over the state directory.
//!
//! M1 the peer's file under a temporary name; M2 the token is renamed to burnt: the commit point; M3 the peer's file gets
//! its name. A crash before M2 registers nothing and burns nothing; after M2, the next start finishes M3. Whether a proof is
//! good is judged in adit-proto; this module only makes the judgement durable.

use crate::files::{self, FileError, Step};
use crate::peers::{Peer, PeerDir, PeerName};
use crate::tokens::TokenDir;
use adit_wire::ids::{Mac, PublicKey, TokenId};
use adit_wire::pair::Role;

/// HMAC-SHA-256 over parts.
#[must_use]
pub fn hmac(key: &[u8; 32], parts: &[&[u8]]) -> Mac {
    use aws_lc_rs::hmac;
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, key));
    for part in parts {
        context.update(part);
    }
    Mac::from_slice(context.sign().as_ref()).unwrap_or_default()
}

/// The steps that turn a token into a peer.
#[must_use]
pub fn registering(peers: &PeerDir, tokens: &TokenDir, token: &TokenId, peer: &Peer) -> Vec<Step> {
    let unfinished = peers.unfinished_file_of(&peer.name, &token.to_string());
    let sync = Step::SyncDir { path: peers.path().to_owned() };
    let mut steps = vec![Step::Write { path: unfinished.clone(), bytes: peer.to_text().into_bytes() }, sync];
    steps.extend(tokens.burning(token, &peer.key));
    steps.extend(finishing(peers, &peer.name, unfinished));
    steps
}

fn finishing(peers: &PeerDir, name: &PeerName, unfinished: std::path::PathBuf) -> [Step; 2] {
    [Step::Rename { from: unfinished, to: peers.file_of(name) }, Step::SyncDir { path: peers.path().to_owned() }]
}

/// What became of a pairing that a crash had cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mended {
    /// Its token was burnt: the peer is registered now.
    Finished(PeerName),
    /// Its token was not burnt: nothing is left of it.
    Undone(PeerName),
}

/// Finishes or undoes what a crash has cut. Called at every start, before the listener opens.
///
/// # Errors
/// When the directories can't be read or changed.
pub fn mend(peers: &PeerDir, tokens: &TokenDir) -> Result<Vec<Mended>, FileError> {
    let mut mended = Vec::new();
    for unfinished in peers.unfinished()? {
        let path = peers.path().join(&unfinished.file);
        let burnt = unfinished.key.is_some_and(|key| tokens.was_burnt_by(&unfinished.token, &key));
        if burnt {
            // The rename of the token may not have been durable yet, although it is seen now.
            Step::SyncDir { path: tokens.path().to_owned() }.apply()?;
            files::apply(&finishing(peers, &unfinished.name, path))?;
            mended.push(Mended::Finished(unfinished.name));
        } else {
            files::apply(&[Step::Remove { path }, Step::SyncDir { path: peers.path().to_owned() }])?;
            mended.push(Mended::Undone(unfinished.name));
        }
    }
    Ok(mended)
}

/// The peer that a pairing with a monitor makes of the monitor.
#[must_use]
pub fn monitor_peer(name: PeerName, role: Role, key: PublicKey, addresses: Vec<String>, paired_s: u64) -> Peer {
    Peer { name, role, key, addresses, source: None, former_keys: Vec::new(), paired_s }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Now;
    use crate::tokens::{Known, TokenFile};
    use std::path::Path;

    const TOKEN: TokenId = TokenId([7; 8]);
    const KEY: PublicKey = PublicKey([8; 32]);

    fn dirs(root: &Path) -> (PeerDir, TokenDir) {
        for inside in ["peers", "tokens"] {
            std::fs::create_dir_all(root.join(inside)).expect("made");
        }
        (PeerDir::new(root.join("peers")), TokenDir::new(root.join("tokens")))
    }

    fn peer() -> Peer {
        monitor_peer(PeerName::new("web1").expect("name"), Role::Monitor, KEY, Vec::new(), 1)
    }

    fn now() -> Now {
        Now { boot: "b".to_owned(), boot_ms: 1, wall_s: 1 }
    }

    fn make_token(tokens: &TokenDir) {
        let token = TokenFile {
            id: TOKEN,
            mac_key: [1; 32],
            role: Role::Monitor,
            name: PeerName::new("web1").expect("name"),
            rejoin: false,
            own_name: false,
            boot: "b".to_owned(),
            deadline_boot_ms: 1_000,
        };
        files::apply(&tokens.making(&token)).expect("made");
    }

    /// Whether the peer is registered, and whether the token is burnt.
    fn outcome(peers: &PeerDir, tokens: &TokenDir) -> (bool, bool) {
        let (table, errors) = peers.load().expect("read");
        assert!(errors.is_empty(), "{errors:?}");
        let burnt = matches!(tokens.find(&TOKEN).expect("read"), Known::Burnt { by: KEY, .. });
        (table.by_key(&KEY).is_some(), burnt)
    }

    #[test]
    fn every_crash_point_registers_and_burns_together_or_not_at_all() {
        let count = {
            let dir = tempfile::tempdir().expect("directory");
            let (peers, tokens) = dirs(dir.path());
            registering(&peers, &tokens, &TOKEN, &peer()).len()
        };
        let mut registered = Vec::new();
        for done in 0..=count {
            let dir = tempfile::tempdir().expect("directory");
            let (peers, tokens) = dirs(dir.path());
            make_token(&tokens);
            let steps = registering(&peers, &tokens, &TOKEN, &peer());
            files::apply(&steps[..done]).expect("done");
            mend(&peers, &tokens).expect("mended");
            let (is_registered, is_burnt) = outcome(&peers, &tokens);
            assert_eq!(is_registered, is_burnt, "after {done} steps");
            assert_eq!(tokens.any_live(&now()), !is_burnt, "after {done} steps");
            assert_eq!(peers.unfinished().expect("listed"), [], "after {done} steps");
            assert_eq!(mend(&peers, &tokens).expect("mended"), [], "mending twice changes nothing");
            registered.push(is_registered);
        }
        assert_eq!(registered, [false, false, false, true, true, true, true]);
    }

    #[test]
    fn a_torn_temporary_file_is_removed() {
        let whole = peer().to_text().into_bytes();
        for length in 0..whole.len() {
            let dir = tempfile::tempdir().expect("directory");
            let (peers, tokens) = dirs(dir.path());
            make_token(&tokens);
            let path = peers.unfinished_file_of(&peer().name, &TOKEN.to_string());
            std::fs::write(path, &whole[..length]).expect("written");
            assert_eq!(mend(&peers, &tokens).expect("mended"), [Mended::Undone(peer().name)], "{length} bytes");
            assert_eq!(outcome(&peers, &tokens), (false, false), "{length} bytes");
        }
    }

    #[test]
    fn a_token_burnt_by_another_key_finishes_nobody() {
        let dir = tempfile::tempdir().expect("directory");
        let (peers, tokens) = dirs(dir.path());
        make_token(&tokens);
        files::apply(&registering(&peers, &tokens, &TOKEN, &peer())[..2]).expect("done");
        files::apply(&tokens.burning(&TOKEN, &PublicKey([9; 32]))).expect("burnt");
        assert_eq!(mend(&peers, &tokens).expect("mended"), [Mended::Undone(peer().name)]);
    }

    #[test]
    fn the_mac_is_the_one_of_rfc_4231() {
        // Test case 1 with its key of 20 bytes padded by zeros, which HMAC does anyway.
        let mut key = [0u8; 32];
        key[..20].fill(0x0b);
        let mac = hmac(&key, &[b"Hi ", b"There"]);
        assert_eq!(mac.to_string(), "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
    }
}
